/* Patterns and their costs. The model keeps who owns the line, who holds a copy, and whom the directory takes for a sharer; an access
 * then costs what the handout's list of messages says. */
#include <string.h>

#include "traffic.h"

/* ---- Patterns ---------------------------------------------------------------------------------------------------- */

static void begin(struct pattern *pattern, const char *name, int devices)
{
  *pattern = (struct pattern){.name = name, .devices = devices};
}

static void add(struct pattern *pattern, int type, int device)
{
  if (pattern->count == TRAFFIC_STEPS) return;
  pattern->steps[pattern->count].type = (uint8_t)type;
  pattern->steps[pattern->count++].device = (uint8_t)(device % pattern->devices);
}

void pattern_private(struct pattern *pattern, int devices, int device, int rounds)
{
  begin(pattern, "private", devices);
  for (int r = 0; r < rounds; r++) add(pattern, COH_LOAD, device), add(pattern, COH_STORE, device), add(pattern, COH_EVICT, device);
}

void pattern_migratory(struct pattern *pattern, int devices, int rounds)
{
  begin(pattern, "migratory", devices);
  for (int r = 0; r < rounds; r++)
    for (int d = 0; d < devices; d++) add(pattern, COH_LOAD, d), add(pattern, COH_STORE, d);
}

void pattern_producer_consumer(struct pattern *pattern, int devices, int producer, int readers, int rounds)
{
  begin(pattern, "producer-consumer", devices);
  for (int r = 0; r < rounds; r++) {
    add(pattern, COH_STORE, producer);
    for (int d = 1; d <= readers; d++) add(pattern, COH_LOAD, producer + d);
  }
}

void pattern_read_mostly(struct pattern *pattern, int devices, int writer, int loads, int rounds)
{
  begin(pattern, "read-mostly", devices);
  for (int r = 0; r < rounds; r++) {
    for (int l = 0; l < loads; l++)
      for (int d = 0; d < devices; d++) add(pattern, COH_LOAD, d);
    add(pattern, COH_STORE, writer);
  }
}

void pattern_write_write(struct pattern *pattern, int devices, int rounds)
{
  begin(pattern, "write-write", devices);
  for (int r = 0; r < rounds; r++)
    for (int d = 0; d < devices; d++) add(pattern, COH_STORE, d);
}

void pattern_evictions(struct pattern *pattern, int devices, int readers, int rounds)
{
  begin(pattern, "evictions", devices);
  for (int r = 0; r < rounds; r++) {
    for (int d = 0; d < readers; d++) add(pattern, COH_LOAD, d);
    for (int d = 0; d < readers; d++) add(pattern, COH_EVICT, d);
    add(pattern, COH_STORE, r);
    add(pattern, COH_EVICT, r);
  }
}

bool pattern_run(const struct pattern *pattern, struct machine *machine)
{
  for (int i = 0; i < pattern->count; i++)
    if (!machine_access(machine, pattern->steps[i].type, pattern->steps[i].device)) return false;
  return true;
}

/* ---- Costs ------------------------------------------------------------------------------------------------------- */

struct model {
  const struct contract *contract;
  int owner; /* -1: nobody */
  bool modified, holds[MACHINE_DEVICES], listed[MACHINE_DEVICES];
  struct cost cost;
};

static void send(struct model *model, int messages, int data)
{
  model->cost.messages += (uint64_t)messages;
  model->cost.data += (uint64_t)data;
}

static int listed_but(const struct model *model, int device)
{
  int count = 0;
  for (int d = 0; d < MACHINE_DEVICES; d++) count += model->listed[d] && d != device && d != model->owner;
  return count;
}

/* GetS and the line. An owner is asked with a Fwd-GetS. */
static void load(struct model *model, int device)
{
  const struct contract *contract = model->contract;
  if (model->holds[device]) return;
  send(model, 1 + contract->confirms, 0);
  if (model->owner < 0) {
    bool alone = contract->exclusive && !listed_but(model, -1);
    send(model, 1, 1);
    model->holds[device] = true;
    if (alone) model->owner = device, model->modified = false;
    else model->listed[device] = true;
    return;
  }
  send(model, 1, 0);
  send(model, contract->owned ? 1 : 2, contract->owned ? 1 : 2);
  model->holds[device] = model->listed[device] = true;
  if (contract->owned) { /* memory is not told */
    model->modified = true;
    return;
  }
  model->listed[model->owner] = true;
  model->owner = -1;
}

/* GetM and the line, or the right to write it; an Inv to each other sharer. An owner is asked with a Fwd-GetM. */
static void store(struct model *model, int device)
{
  const struct contract *contract = model->contract;
  int others = listed_but(model, device), owner = model->owner;
  bool alone = owner == device && !others;
  if (alone && (model->modified || contract->exclusive)) {
    model->modified = true;
    return;
  }
  send(model, 1 + contract->confirms, 0);
  send(model, others * (1 + contract->confirms), 0);
  if (owner >= 0 && owner != device) send(model, 1 + 1 + contract->relays, 1 + contract->relays);
  else send(model, 1, owner == device ? 0 : 1); /* an owner has the data already */
  memset(model->holds, 0, sizeof model->holds);
  memset(model->listed, 0, sizeof model->listed);
  model->holds[device] = model->modified = true;
  model->owner = device;
}

static void evict(struct model *model, int device)
{
  const struct contract *contract = model->contract;
  bool owner = model->owner == device;
  if (!model->holds[device]) return;
  model->holds[device] = false;
  if (owner) {
    send(model, 1 + contract->confirms, model->modified);
    model->owner = -1;
  } else if (contract->notices) {
    send(model, 1 + contract->confirms, 0);
    model->listed[device] = false;
  }
}

struct cost contract_cost(const struct contract *contract, const struct pattern *pattern)
{
  static void (*const accesses[])(struct model * model, int device) = {load, store, evict};
  struct model model = {.contract = contract, .owner = -1};
  for (int i = 0; i < pattern->count; i++) accesses[pattern->steps[i].type](&model, pattern->steps[i].device);
  return model.cost;
}
