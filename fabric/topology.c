/* Makes a topology of a profile, and finds ways in it.
 *
 * A network is a tree of stages: unit u of what a stage joins has one link up to that stage's switches and one down. Two devices meet at
 * the first stage that has both in one unit; the way is up from the one to there, and down to the other. A mesh joins its units directly,
 * and whoever goes further up leaves it out. Numbers of units are quotients of device numbers, so nothing is stored for a unit. */
#include "fabric/topology.h"

#include <errno.h>
#include <math.h>
#include <string.h>

const char *const fab_way_names[] = {"best", "load/store", "direct", "staged"};

enum { UP_NETWORK, OUT_NETWORK };

static uint64_t femtojoules_a_byte(const struct fab_quantity *energy)
{
  return (uint64_t)llround(energy->value * 8000);
}

static uint64_t whole(const struct fab_quantity *quantity)
{
  return (uint64_t)llround(quantity->value);
}

static uint64_t units_of(uint64_t devices, uint64_t size)
{
  return (devices + size - 1) / size;
}

/* ---- Making ------------------------------------------------------------------------------------------------------ */

static void make_kinds(const struct fab_profile *profile, struct fab_topology *topology)
{
  uint64_t last = 0;
  topology->kind_count = profile->accelerator_count;
  for (int i = 0; i < profile->accelerator_count; i++) {
    const struct fab_accelerator *from = &profile->accelerator[i];
    struct fab_device_kind *kind = &topology->kind[i];
    strcpy(kind->name, from->name);
    last = profile->accelerator_count == 1 ? UINT64_MAX : last + whole(&from->devices);
    kind->last = last;
    kind->memory_bytes = whole(&from->memory);
    kind->memory_bandwidth = whole(&from->memory_bandwidth);
    kind->load = fab_ticks_of_ns(from->memory_latency.value);
    kind->store = fab_ticks_of_ns(from->store_latency.value);
    kind->atomic = fab_ticks_of_ns(from->atomic_latency.value);
    kind->cache_bytes = whole(&from->cache);
    kind->memory_energy = femtojoules_a_byte(&from->memory_energy);
    kind->line_bytes = whole(&from->line);
    for (int dtype = 0; dtype < FAB_DTYPES; dtype++) kind->flops[dtype] = from->flops[dtype].value;
    kind->watts = from->power.value;
  }
}

static void make_levels(const struct fab_profile *profile, struct fab_topology *topology)
{
  topology->level_count = profile->level_count;
  for (int i = 0; i < profile->level_count; i++) {
    struct fab_topology_level *level = &topology->level[i];
    strcpy(level->name, profile->level[i].name);
    level->size = fab_profile_devices(profile, i);
    level->units = units_of(topology->devices, level->size);
  }
}

static void make_links(const struct fab_profile *profile, struct fab_topology *topology)
{
  topology->link_count = profile->link_count;
  for (int i = 0; i < profile->link_count; i++) {
    const struct fab_link *from = &profile->link[i];
    struct fab_topology_link *link = &topology->link[i];
    strcpy(link->name, from->name);
    link->latency = fab_ticks_of_ns(from->latency.value);
    link->overhead = fab_ticks_of_ns(from->overhead.value);
    link->bandwidth = whole(&from->bandwidth);
    link->energy = femtojoules_a_byte(&from->energy);
  }
}

static void make_host(const struct fab_profile *profile, struct fab_topology *topology)
{
  const struct fab_host *host = &profile->host;
  const struct fab_network *out = &profile->scale_out;
  topology->coherent = profile->scale_up.coherent;
  topology->staged = out->staged;
  topology->by_session = profile->scale_up.by_session;
  topology->chunk = whole(&host->bounce_buffer);
  topology->pcie_latency = fab_ticks_of_ns(host->pcie_latency.value);
  topology->pcie_overhead = fab_ticks_of_ns(host->pcie_overhead.value);
  topology->pcie_bandwidth = whole(&host->pcie_bandwidth);
  topology->pcie_energy = femtojoules_a_byte(&host->pcie_energy);
  topology->host_latency = fab_ticks_of_ns(host->memory_latency.value);
  topology->host_bandwidth = whole(&host->memory_bandwidth);
  topology->nic_latency = fab_ticks_of_ns(out->nic_latency.value);
  topology->nic_overhead = fab_ticks_of_ns(out->nic_overhead.value);
  topology->message_latency = fab_ticks_of_ns(profile->scale_up.message_latency.value);
  topology->devices_per_nic = out->stage_count ? topology->level[0].size / whole(&out->nics) : 0;
}

static void make_curves(const struct fab_profile *profile, struct fab_topology *topology)
{
  for (int operation = 0; operation < FAB_CURVES; operation++) {
    const struct fab_curve *from = &profile->curve[operation];
    struct fab_topology_curve *curve = &topology->curve[operation];
    curve->count = (uint64_t)from->count;
    for (int i = 0; i < from->count; i++) {
      curve->point[i].bytes = (uint64_t)llround(from->point[i].bytes);
      curve->point[i].time = fab_ticks_of_ns(from->point[i].time);
      curve->point[i].gap = fab_ticks_of_ns(from->point[i].gap);
    }
  }
}

static void make_network(const struct fab_profile *profile, const struct fab_network *from, uint64_t base, struct fab_topology *topology,
                         struct fab_topology_network *network)
{
  uint64_t below = base;
  network->stage_count = from->stage_count;
  for (int i = 0; i < from->stage_count; i++) {
    struct fab_topology_stage *stage = &network->stage[i];
    stage->below = below;
    stage->size = fab_profile_devices(profile, from->stage[i].level);
    stage->units = units_of(topology->devices, below);
    stage->mesh = from->stage[i].mesh;
    stage->level = (uint8_t)from->stage[i].level;
    stage->lanes = whole(&from->stage[i].lanes);
    stage->switches = whole(&from->stage[i].switches);
    for (int kind = 0; kind < FAB_ACCELERATORS; kind++) stage->link[kind] = (uint8_t)from->stage[i].link[kind];
    stage->first_resource = topology->resources;
    topology->resources += stage->units * (stage->mesh ? stage->size / below : 2);
    below = stage->size;
  }
  network->domain = from->stage_count ? below : 1;
}

int fab_topology_make(const struct fab_profile *profile, uint64_t devices, struct fab_topology *topology, FILE *report)
{
  uint64_t most = fab_profile_devices(profile, profile->level_count - 1);
  if (devices > most) {
    fprintf(report, "%llu devices: the profile %s has %llu; expected at most that many\n", (unsigned long long)devices, profile->name,
            (unsigned long long)most);
    return -EINVAL;
  }
  *topology = (struct fab_topology){.devices = devices ? devices : most};
  strcpy(topology->name, profile->name);
  make_kinds(profile, topology);
  make_levels(profile, topology);
  make_links(profile, topology);
  make_host(profile, topology);
  make_curves(profile, topology);
  uint64_t servers = topology->level[0].units, per_nic = topology->devices_per_nic;
  topology->first_pcie = topology->first_memory + 2 * topology->devices;
  topology->first_host = topology->first_pcie + 2 * topology->devices;
  topology->first_nic = topology->first_host + 2 * servers;
  topology->resources = topology->first_nic + (per_nic ? 2 * units_of(topology->devices, per_nic) : 0);
  make_network(profile, &profile->scale_up, 1, topology, &topology->network[UP_NETWORK]);
  make_network(profile, &profile->scale_out, per_nic, topology, &topology->network[OUT_NETWORK]);
  return 0;
}

/* ---- Asking ------------------------------------------------------------------------------------------------------ */

uint64_t fab_topology_resources(const struct fab_topology *topology)
{
  return topology->resources;
}

/* Resources of stages come last, in the order of the stages. */
static uint64_t owner_of_link(const struct fab_topology *topology, uint64_t resource)
{
  const struct fab_topology_stage *last = NULL;
  for (int n = 0; n < 2; n++)
    for (int i = 0; i < topology->network[n].stage_count; i++)
      if (topology->network[n].stage[i].first_resource <= resource) last = &topology->network[n].stage[i];
  if (!last) return 0;
  return (resource - last->first_resource) / (last->mesh ? last->size / last->below : 2) * last->below;
}

uint64_t fab_topology_owner(const struct fab_topology *topology, uint64_t resource)
{
  if (resource < topology->first_pcie) return (resource - topology->first_memory) / 2;
  if (resource < topology->first_host) return (resource - topology->first_pcie) / 2;
  if (resource < topology->first_nic) return (resource - topology->first_host) / 2 * topology->level[0].size;
  uint64_t per_nic = topology->devices_per_nic, nics = per_nic ? units_of(topology->devices, per_nic) : 0;
  if (resource < topology->first_nic + 2 * nics) return (resource - topology->first_nic) / 2 * per_nic;
  return owner_of_link(topology, resource);
}

uint64_t fab_topology_unit(const struct fab_topology *topology, int level, uint64_t device)
{
  return device / topology->level[level].size;
}

int fab_topology_common_level(const struct fab_topology *topology, uint64_t a, uint64_t b)
{
  int level = a == b ? -1 : 0;
  while (level >= 0 && a / topology->level[level].size != b / topology->level[level].size) level++;
  return level;
}

static int kind_of(const struct fab_topology *topology, uint64_t device)
{
  int kind = 0;
  while (kind < topology->kind_count - 1 && device >= topology->kind[kind].last) kind++;
  return kind;
}

const struct fab_device_kind *fab_topology_kind(const struct fab_topology *topology, uint64_t device)
{
  return &topology->kind[kind_of(topology, device)];
}

enum fab_reach fab_topology_reach(const struct fab_topology *topology, uint64_t a, uint64_t b)
{
  uint64_t domain = topology->network[UP_NETWORK].domain;
  return a == b ? FAB_REACH_SELF : a / domain == b / domain ? FAB_REACH_LOAD_STORE : FAB_REACH_MESSAGE;
}

/* ---- Ways -------------------------------------------------------------------------------------------------------- */

static void add_memory(const struct fab_topology *topology, uint64_t device, bool read, struct fab_leg *leg)
{
  const struct fab_device_kind *kind = fab_topology_kind(topology, device);
  leg->step[leg->count++] = (struct fab_step){.kind = FAB_STEP_MEMORY,
                                              .resource = topology->first_memory + 2 * device + !read,
                                              .latency = read ? kind->load : 0,
                                              .bandwidth = kind->memory_bandwidth,
                                              .energy = kind->memory_energy};
}

/* `in`: into the device. `engine`: a copy engine must be started; a NIC reads and writes by itself. */
static void add_pcie(const struct fab_topology *topology, uint64_t device, bool in, bool engine, struct fab_leg *leg)
{
  leg->step[leg->count++] = (struct fab_step){.kind = FAB_STEP_PCIE,
                                              .resource = topology->first_pcie + 2 * device + in,
                                              .latency = topology->pcie_latency,
                                              .overhead = engine ? topology->pcie_overhead : 0,
                                              .bandwidth = topology->pcie_bandwidth,
                                              .energy = topology->pcie_energy};
}

static void add_host(const struct fab_topology *topology, uint64_t device, bool read, struct fab_leg *leg)
{
  leg->step[leg->count++] = (struct fab_step){.kind = FAB_STEP_HOST,
                                              .resource = topology->first_host + 2 * fab_topology_unit(topology, 0, device) + read,
                                              .latency = read ? topology->host_latency : 0,
                                              .bandwidth = topology->host_bandwidth};
}

/* The bytes of a NIC are those of its link. */
static void add_nic(const struct fab_topology *topology, uint64_t device, bool in, struct fab_leg *leg)
{
  leg->step[leg->count++] = (struct fab_step){.kind = FAB_STEP_NIC,
                                              .network = OUT_NETWORK,
                                              .resource = topology->first_nic + 2 * (device / topology->devices_per_nic) + in,
                                              .latency = topology->nic_latency,
                                              .overhead = topology->nic_overhead};
}

static void add_link(const struct fab_topology *topology, int network, int stage_index, uint64_t device, enum fab_step_kind kind,
                     uint64_t resource, struct fab_leg *leg)
{
  const struct fab_topology_stage *stage = &topology->network[network].stage[stage_index];
  int index = stage->link[kind_of(topology, device)];
  const struct fab_topology_link *link = &topology->link[index];
  leg->step[leg->count++] = (struct fab_step){.kind = (uint8_t)kind,
                                              .network = (uint8_t)network,
                                              .stage = (uint8_t)stage_index,
                                              .link = (uint8_t)index,
                                              .resource = resource,
                                              .latency = link->latency,
                                              .overhead = link->overhead / stage->lanes, /* a message occupies one of them */
                                              .bandwidth = link->bandwidth * stage->lanes,
                                              .energy = link->energy};
}

/* The stage that has both devices in one unit; its count of stages when none has. */
static int meeting_stage(const struct fab_topology_network *network, uint64_t a, uint64_t b)
{
  int stage = 0;
  while (stage < network->stage_count && a / network->stage[stage].size != b / network->stage[stage].size) stage++;
  return stage;
}

static void add_network(const struct fab_topology *topology, int which, uint64_t a, uint64_t b, struct fab_leg *leg)
{
  const struct fab_topology_stage *stages = topology->network[which].stage;
  int top = meeting_stage(&topology->network[which], a, b);
  const struct fab_topology_stage *meeting = &stages[top];
  if (meeting->mesh) {
    uint64_t fan = meeting->size / meeting->below;
    uint64_t resource = meeting->first_resource + a / meeting->below * fan + b % meeting->size / meeting->below;
    add_link(topology, which, top, a, FAB_STEP_ACROSS, resource, leg);
    return;
  }
  for (int i = 0; i <= top; i++)
    if (!stages[i].mesh) add_link(topology, which, i, a, FAB_STEP_UP, stages[i].first_resource + 2 * (a / stages[i].below), leg);
  for (int i = top; i >= 0; i--)
    if (!stages[i].mesh) add_link(topology, which, i, b, FAB_STEP_DOWN, stages[i].first_resource + 2 * (b / stages[i].below) + 1, leg);
}

/* Steps that are not used stay as they are: a path is large, and made often. */
static void begin(struct fab_path *path, enum fab_way way, int legs, uint64_t chunk)
{
  path->way = way;
  path->count = legs;
  path->chunk = chunk;
  for (int leg = 0; leg < FAB_PATH_LEGS; leg++) path->leg[leg].count = 0;
}

static void make_self(const struct fab_topology *topology, uint64_t device, struct fab_path *path)
{
  begin(path, FAB_WAY_LOAD_STORE, 1, 0);
  add_memory(topology, device, true, &path->leg[0]);
  path->leg[0].step[0].bandwidth /= 2; /* read and written */
  path->leg[0].step[0].energy *= 2;
}

static void make_load_store(const struct fab_topology *topology, uint64_t a, uint64_t b, struct fab_path *path)
{
  begin(path, FAB_WAY_LOAD_STORE, 1, 0);
  add_memory(topology, a, true, &path->leg[0]);
  add_network(topology, UP_NETWORK, a, b, &path->leg[0]);
  add_memory(topology, b, false, &path->leg[0]);
}

static void add_between_hosts(const struct fab_topology *topology, uint64_t a, uint64_t b, struct fab_leg *leg)
{
  add_nic(topology, a, false, leg);
  add_network(topology, OUT_NETWORK, a, b, leg);
  add_nic(topology, b, true, leg);
}

static void make_direct(const struct fab_topology *topology, uint64_t a, uint64_t b, bool inside, struct fab_path *path)
{
  begin(path, FAB_WAY_DIRECT, 1, 0);
  struct fab_leg *leg = &path->leg[0];
  add_memory(topology, a, true, leg);
  add_pcie(topology, a, false, inside, leg);
  if (!inside) add_between_hosts(topology, a, b, leg);
  add_pcie(topology, b, true, false, leg);
  add_memory(topology, b, false, leg);
}

static void make_staged(const struct fab_topology *topology, uint64_t a, uint64_t b, bool inside, struct fab_path *path)
{
  begin(path, FAB_WAY_STAGED, inside ? 2 : 3, topology->chunk);
  struct fab_leg *first = &path->leg[0], *last = &path->leg[path->count - 1];
  add_memory(topology, a, true, first);
  add_pcie(topology, a, false, true, first);
  add_host(topology, a, false, first);
  if (!inside) {
    add_host(topology, a, true, &path->leg[1]);
    add_between_hosts(topology, a, b, &path->leg[1]);
    add_host(topology, b, false, &path->leg[1]);
  }
  add_host(topology, b, true, last);
  add_pcie(topology, b, true, true, last);
  add_memory(topology, b, false, last);
}

int fab_topology_path(const struct fab_topology *topology, uint64_t a, uint64_t b, enum fab_way way, struct fab_path *path)
{
  if (a >= topology->devices || b >= topology->devices) return -EINVAL;
  enum fab_reach reach = fab_topology_reach(topology, a, b);
  bool inside = fab_topology_unit(topology, 0, a) == fab_topology_unit(topology, 0, b);
  const struct fab_topology_network *out = &topology->network[OUT_NETWORK];
  bool messages = inside || (out->stage_count && meeting_stage(out, a, b) < out->stage_count);
  if (way == FAB_WAY_BEST) way = reach != FAB_REACH_MESSAGE ? FAB_WAY_LOAD_STORE : topology->staged ? FAB_WAY_STAGED : FAB_WAY_DIRECT;
  if (way == FAB_WAY_LOAD_STORE ? reach == FAB_REACH_MESSAGE : !messages) return -EHOSTUNREACH;
  if (way == FAB_WAY_LOAD_STORE && a == b) make_self(topology, a, path);
  else if (way == FAB_WAY_LOAD_STORE) make_load_store(topology, a, b, path);
  else if (way == FAB_WAY_DIRECT) make_direct(topology, a, b, inside, path);
  else make_staged(topology, a, b, inside, path);
  return 0;
}

/* ---- Saying ------------------------------------------------------------------------------------------------------ */

static const char *name_below(const struct fab_topology *topology, const struct fab_topology_stage *stage, int network)
{
  for (int i = 0; i < topology->level_count; i++)
    if (topology->level[i].size == stage->below && stage->below > 1) return topology->level[i].name;
  return network == OUT_NETWORK ? "NIC" : "device";
}

static const char *link_text(const struct fab_topology *topology, const struct fab_step *step, char *text, size_t room)
{
  const struct fab_topology_stage *stage = &topology->network[step->network].stage[step->stage];
  unsigned long long index = step->resource - stage->first_resource, fan = stage->size / stage->below;
  const char *below = name_below(topology, stage, step->network), *name = topology->link[step->link].name;
  if (step->kind == FAB_STEP_ACROSS)
    snprintf(text, room, "%s: %s %llu to %llu", name, below, index / fan, index / fan / fan * fan + index % fan);
  else
    snprintf(text, room, "%s: %s %llu %s %s switch", name, below, index / 2, step->kind == FAB_STEP_UP ? "to" : "from",
             topology->level[stage->level].name);
  return text;
}

const char *fab_step_text(const struct fab_topology *topology, const struct fab_step *step, char *text, size_t room)
{
  unsigned long long resource = step->resource, index;
  switch ((enum fab_step_kind)step->kind) {
  case FAB_STEP_MEMORY:
    index = resource - topology->first_memory;
    snprintf(text, room, "memory of device %llu, %s", index / 2, index % 2 ? "written" : "read");
    break;
  case FAB_STEP_PCIE:
    index = resource - topology->first_pcie;
    snprintf(text, room, "PCIe %s device %llu", index % 2 ? "to" : "from", index / 2);
    break;
  case FAB_STEP_HOST:
    index = resource - topology->first_host;
    snprintf(text, room, "host buffer of %s %llu, %s", topology->level[0].name, index / 2, index % 2 ? "read" : "written");
    break;
  case FAB_STEP_NIC:
    index = resource - topology->first_nic;
    snprintf(text, room, "NIC %llu, %s", index / 2, index % 2 ? "in" : "out");
    break;
  case FAB_STEP_UP:
  case FAB_STEP_DOWN:
  case FAB_STEP_ACROSS: return link_text(topology, step, text, room);
  }
  return text;
}
