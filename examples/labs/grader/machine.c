/* The machine of machine.h: a queue of messages over coherence/core.h. An access is at its end when no message is under way; a load or a
 * store must then have been done, and have met the last store. */
#include <stdio.h>
#include <string.h>

#include "machine.h"

enum { STEPS_MOST = 10000 };

struct letter {
  struct coh_message message;
  uint32_t version;
};

struct queue {
  struct letter letters[MACHINE_MESSAGES];
  int first, count;
};

void machine_init(struct machine *machine, const struct coh_protocol *protocol, int devices)
{
  memset(machine, 0, sizeof *machine);
  machine->protocol = protocol;
  coh_sharer_kind_make("full", devices, 0, &machine->sharers);
}

static void name_of(int device, char *name, size_t size)
{
  if (device < 0) snprintf(name, size, "the home");
  else snprintf(name, size, "cache C%d", device);
}

static void post(struct machine *machine, struct queue *queue, const struct coh_message *message, bool data, uint32_t version)
{
  if (queue->count == MACHINE_MESSAGES) {
    snprintf(machine->wrong, sizeof machine->wrong, "more than %d messages are under way", MACHINE_MESSAGES);
    return;
  }
  queue->letters[(queue->first + queue->count++) % MACHINE_MESSAGES] = (struct letter){*message, version};
  machine->sent[message->type]++;
  machine->messages++;
  machine->data += data;
}

static void post_all(struct machine *machine, struct queue *queue, const struct coh_outcome *outcome, uint32_t version)
{
  for (int i = 0; i < outcome->send_count; i++) {
    struct coh_message message = outcome->sends[i].message;
    bool data = outcome->sends[i].data;
    if (!outcome->sends[i].many) {
      post(machine, queue, &message, data, version);
      continue;
    }
    for (int d = coh_outcome_target(&machine->sharers, outcome, 0); d >= 0; d = coh_outcome_target(&machine->sharers, outcome, d + 1)) {
      message.target = (int16_t)d;
      post(machine, queue, &message, data, version);
    }
  }
}

/* Why a step was not done. */
static void complain(struct machine *machine, const struct coh_message *input, const struct coh_outcome *outcome)
{
  const struct coh_controller *controller = &machine->protocol->controllers[input->target < 0 ? COH_DIRECTORY : COH_CACHE];
  char who[32];
  name_of(input->target, who, sizeof who);
  if (outcome->result == COH_STALLED)
    snprintf(machine->wrong, sizeof machine->wrong, "%s stalls %s in state %s, and nothing is under way that could change that", who,
             machine->protocol->messages[input->type].name, controller->states[outcome->from].name);
  else
    snprintf(machine->wrong, sizeof machine->wrong, "%s in state %s has no cell for %s", who, controller->states[outcome->from].name,
             outcome->event < 0 ? machine->protocol->messages[input->type].name : controller->events[outcome->event].name);
}

static void check_data(struct machine *machine, int device, const char *deed)
{
  if (machine->versions[device] != machine->last && !machine->wrong[0])
    snprintf(machine->wrong, sizeof machine->wrong, "a %s at cache C%d meets old data", deed, device);
}

static void do_cache(struct machine *machine, struct queue *queue, const struct letter *letter, const struct coh_outcome *outcome)
{
  int device = letter->message.target;
  if (outcome->deeds & COH_DEED_FILL) machine->versions[device] = letter->version;
  if (outcome->deeds & COH_DEED_LOAD) check_data(machine, device, "load");
  if (outcome->deeds & COH_DEED_STORE) check_data(machine, device, "store");
  post_all(machine, queue, outcome, machine->versions[device]);
  if (outcome->deeds & COH_DEED_STORE) machine->versions[device] = ++machine->last;
}

static void do_directory(struct machine *machine, struct queue *queue, const struct letter *letter, const struct coh_outcome *outcome)
{
  if (outcome->deeds & COH_DEED_WRITE_MEMORY) machine->memory = letter->version;
  post_all(machine, queue, outcome, machine->memory);
}

/* One step; what it did is added to *deeds. COH_STALLED: nothing was done. */
static enum coh_result step(struct machine *machine, struct queue *queue, const struct letter *letter, unsigned *deeds)
{
  const struct coh_message *input = &letter->message;
  bool at_home = input->target < 0;
  struct coh_outcome outcome;
  if (at_home) coh_directory_step(machine->protocol, &machine->sharers, &machine->directory, input, &outcome);
  else coh_cache_step(machine->protocol, &machine->caches[input->target], input, &outcome);
  if (outcome.result == COH_UNHANDLED || (outcome.result == COH_STALLED && !queue->count)) complain(machine, input, &outcome);
  if (outcome.result != COH_DONE) return outcome.result;
  machine->ran[at_home ? COH_DIRECTORY : COH_CACHE][outcome.from][outcome.event]++;
  if (at_home) do_directory(machine, queue, letter, &outcome);
  else do_cache(machine, queue, letter, &outcome);
  *deeds |= outcome.deeds;
  return COH_DONE;
}

static void check_end(struct machine *machine, int type, int device, unsigned deeds)
{
  static const unsigned wanted[] = {COH_DEED_LOAD, COH_DEED_STORE, 0};
  static const char *const names[] = {"load", "store", "eviction"};
  if (machine->wrong[0] || (deeds & wanted[type]) == wanted[type]) return;
  snprintf(machine->wrong, sizeof machine->wrong, "a %s by cache C%d never happens: all its messages have come, and no cell did it",
           names[type], device);
}

bool machine_access(struct machine *machine, int type, int device)
{
  struct queue queue = {0};
  struct letter letter = {.message = coh_access(type, device)};
  unsigned deeds = 0;
  int steps = 0;
  if (machine->wrong[0]) return false;
  step(machine, &queue, &letter, &deeds);
  while (queue.count && !machine->wrong[0]) {
    letter = queue.letters[queue.first];
    queue.first = (queue.first + 1) % MACHINE_MESSAGES;
    queue.count--;
    if (step(machine, &queue, &letter, &deeds) == COH_STALLED && !machine->wrong[0]) /* back into the queue, without counting it */
      queue.letters[(queue.first + queue.count++) % MACHINE_MESSAGES] = letter;
    if (++steps == STEPS_MOST) snprintf(machine->wrong, sizeof machine->wrong, "one access takes more than %d messages", STEPS_MOST);
  }
  check_end(machine, type, device, deeds);
  return !machine->wrong[0];
}
