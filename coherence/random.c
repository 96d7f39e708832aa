/* The seeded scheduler: see random.h.
 *
 * A step is one input into one controller: an access that a program begins, or the delivery of the message that is due first. A message
 * that stalls is parked at its controller, and on its way again after a later step of it. Messages under way are a heap by due time; equal times are told apart by a number that counts up, so
 * that a seed means one run on every machine. Data is the number of the store that wrote it, per line. The last steps of all lines are
 * kept in a ring, from which a failure's ladder is made.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "coherence/random.h"

enum { RING = 8192, LADDER_STEPS = 40, REST_EVERY = 20000, MOOD_EVERY = 500, NOBODY = -2 };

struct flight {
  uint64_t due_ns, number;
  struct coh_message message;
  uint32_t version;
  int line;
};

/* A stalled message, in its line's list. */
struct parked {
  struct flight flight;
  struct parked *next;
};

struct record {
  struct coh_message input;
  int line;
  struct coh_outcome outcome;
};

struct world {
  const struct coh_protocol *protocol;
  const struct coh_random_options *options;
  struct coh_random_result *result;
  uint64_t random, now_ns, next_number;
  struct flight *flights;
  int flight_count, flight_room, parked_count;
  struct parked **parked; /* per line */
  uint8_t *directories;
  uint32_t *memory_versions, *last_versions, *versions; /* per line; per line; per line and device */
  struct coh_cache_entry *caches;
  struct record *ring;
  uint64_t recorded;
  int slow_device, slow_type; /* whom the adversary has in mind, or NOBODY */
  bool failed;
};

/* splitmix64 */
static uint64_t draw(struct world *world)
{
  uint64_t z = world->random += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return z ^ z >> 31;
}

static int below(struct world *world, int n)
{
  return (int)(draw(world) % (uint64_t)n);
}

/* ---- Messages under way ------------------------------------------------------------------------------------------ */

static bool is_before(const struct flight *a, const struct flight *b)
{
  return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->number < b->number;
}

static void sift_up(struct flight *flights, int at)
{
  struct flight moved = flights[at];
  for (; at && is_before(&moved, &flights[(at - 1) / 2]); at = (at - 1) / 2) flights[at] = flights[(at - 1) / 2];
  flights[at] = moved;
}

static void sift_down(struct flight *flights, int count)
{
  struct flight moved = flights[count];
  int at = 0;
  for (int child; (child = 2 * at + 1) < count; at = child) {
    if (child + 1 < count && is_before(&flights[child + 1], &flights[child])) child++;
    if (!is_before(&flights[child], &moved)) break;
    flights[at] = flights[child];
  }
  flights[at] = moved;
}

static struct flight take_first(struct world *world)
{
  struct flight first = world->flights[0];
  if (--world->flight_count) sift_down(world->flights, world->flight_count);
  return first;
}

/* Mostly short, sometimes long, and very long for whom the adversary has in mind. */
static uint64_t delay_ns(struct world *world, const struct coh_message *message)
{
  uint64_t delay = 20 + (uint64_t)below(world, 200);
  if (!below(world, 8)) delay += (uint64_t)below(world, 5000);
  bool slow = message->source == world->slow_device || message->target == world->slow_device || message->type == world->slow_type;
  return slow ? delay * 20 : delay;
}

static void launch(struct world *world, const struct coh_message *message, int line, uint32_t version)
{
  if (world->flight_count == world->flight_room) {
    struct flight *larger = realloc(world->flights, 2 * (size_t)world->flight_room * sizeof *larger);
    if (!larger) abort();
    world->flights = larger;
    world->flight_room *= 2;
  }
  world->flights[world->flight_count] =
      (struct flight){world->now_ns + delay_ns(world, message), world->next_number++, *message, version, line};
  sift_up(world->flights, world->flight_count++);
}

static void park(struct world *world, const struct flight *flight)
{
  struct parked *place = malloc(sizeof *place);
  if (!place) abort();
  *place = (struct parked){*flight, world->parked[flight->line]};
  world->parked[flight->line] = place;
  world->parked_count++;
}

/* The controller has made a step: one of those that stalled there, near the newest, is on its way again. When it finds the controller
 * busy it is parked again, and whatever ends that makes a step too: so as long as steps are made, all are tried. */
static void unpark(struct world *world, int line, int target)
{
  struct parked **chosen = NULL;
  int skip = below(world, 8);
  for (struct parked **place = &world->parked[line]; *place && skip >= 0; place = &(*place)->next)
    if ((*place)->flight.message.target == target) chosen = place, skip--;
  if (!chosen) return;
  struct parked *taken = *chosen;
  *chosen = taken->next;
  launch(world, &taken->flight.message, line, taken->flight.version);
  world->parked_count--;
  free(taken);
}

/* ---- Failure ----------------------------------------------------------------------------------------------------- */

static void record(struct world *world, const struct coh_message *input, int line, const struct coh_outcome *outcome)
{
  struct record *place = &world->ring[world->recorded++ % RING];
  place->input = *input;
  place->line = line;
  memcpy(&place->outcome, outcome, outcome->target_count ? sizeof *outcome : offsetof(struct coh_outcome, targets));
}

/* The last steps of the line, oldest first. */
static void make_ladder(struct world *world, int line)
{
  const struct coh_random_options *options = world->options;
  struct coh_ladder *ladder = &world->result->ladder;
  uint64_t oldest = world->recorded > RING ? world->recorded - RING : 0, begin = world->recorded;
  int wanted = options->ladder_steps ? options->ladder_steps : LADDER_STEPS;
  while (begin > oldest && wanted)
    if (world->ring[--begin % RING].line == line) wanted--;
  for (uint64_t i = begin; i < world->recorded; i++) {
    const struct record *step = &world->ring[i % RING];
    bool last = i + 1 == world->recorded;
    if (step->line == line)
      coh_ladder_add(ladder, &options->sharers, 0, &step->input, &step->outcome, last ? world->result->sentence : NULL);
  }
  snprintf(ladder->title, sizeof ladder->title, "%s, %d devices, line %d of %d, sharers %s, seed %llu: the last steps of the line",
           world->protocol->name, options->sharers.devices, line, options->lines, options->sharers.ops->name,
           (unsigned long long)options->seed);
  snprintf(ladder->verdict, sizeof ladder->verdict, "%s", world->result->sentence);
}

static void fail(struct world *world, int line, const char *what, struct coh_breach breach)
{
  struct coh_random_result *result = world->result;
  char who[48] = "the home";
  if (world->failed) return;
  if (breach.other >= 0) snprintf(who, sizeof who, "caches C%d and C%d", breach.device, breach.other);
  else if (breach.device >= 0) snprintf(who, sizeof who, "cache C%d", breach.device);
  snprintf(result->sentence, sizeof result->sentence, "step %llu: %s: %s", (unsigned long long)result->steps, what, who);
  result->broken = world->failed = true;
  result->line = line;
  make_ladder(world, line);
}

/* ---- One step ---------------------------------------------------------------------------------------------------- */

static struct coh_directory_entry *directory_of(struct world *world, int line)
{
  return (struct coh_directory_entry *)(world->directories + (size_t)line * coh_directory_entry_size(&world->options->sharers));
}

static void check(struct world *world, int line, bool resting)
{
  size_t first = (size_t)line * (size_t)world->options->sharers.devices;
  struct coh_view view = {world->protocol,         &world->options->sharers,     directory_of(world, line),  world->caches + first,
                          world->versions + first, world->memory_versions[line], world->last_versions[line], resting};
  struct coh_breach breach;
  const struct coh_invariant *broken = coh_broken_invariant(&view, &breach);
  if (broken) fail(world, line, broken->meaning, breach);
}

static struct coh_breach at(const struct coh_message *input)
{
  return (struct coh_breach){input->target, COH_NOBODY};
}

static void send_all(struct world *world, int line, uint32_t version, const struct coh_outcome *outcome)
{
  const struct coh_sharer_kind *kind = &world->options->sharers;
  for (int i = 0; i < outcome->send_count; i++) {
    struct coh_message message = outcome->sends[i].message;
    uint32_t carried = outcome->sends[i].data ? version : 0;
    if (!outcome->sends[i].many) {
      launch(world, &message, line, carried);
      continue;
    }
    for (int d = coh_outcome_target(kind, outcome, 0); d >= 0; d = coh_outcome_target(kind, outcome, d + 1)) {
      message.target = (int16_t)d;
      launch(world, &message, line, carried);
    }
  }
}

static void do_cache(struct world *world, const struct coh_message *input, int line, uint32_t version, const struct coh_outcome *outcome)
{
  uint32_t *held = &world->versions[(size_t)line * (size_t)world->options->sharers.devices + (size_t)input->target];
  if (outcome->deeds & COH_DEED_FILL) *held = version;
  if (outcome->deeds & COH_DEED_LOAD && *held != world->last_versions[line])
    fail(world, line, "a load returns older data than the last completed store wrote", at(input));
  if (outcome->deeds & COH_DEED_STORE && *held != world->last_versions[line])
    fail(world, line, "a store goes into a line that lacks the last completed store", at(input));
  send_all(world, line, *held, outcome);
  if (outcome->deeds & COH_DEED_STORE) *held = ++world->last_versions[line];
}

static void do_directory(struct world *world, int line, uint32_t version, const struct coh_outcome *outcome)
{
  if (outcome->deeds & COH_DEED_WRITE_MEMORY) world->memory_versions[line] = version;
  send_all(world, line, world->memory_versions[line], outcome);
}

/* One input into its controller; false when it stalled. */
static bool step(struct world *world, const struct coh_message *input, int line, uint32_t version)
{
  struct coh_outcome outcome;
  bool at_home = input->target == COH_HOME;
  if (at_home) coh_directory_step(world->protocol, &world->options->sharers, directory_of(world, line), input, &outcome);
  else
    coh_cache_step(world->protocol, &world->caches[(size_t)line * (size_t)world->options->sharers.devices + (size_t)input->target], input,
                   &outcome);
  world->result->steps++;
  if (outcome.result == COH_STALLED) {
    world->result->stalls++;
    return false;
  }
  record(world, input, line, &outcome);
  if (outcome.result == COH_UNHANDLED) fail(world, line, "unhandled event (the last step has no cell)", at(input));
  else if (at_home) do_directory(world, line, version, &outcome);
  else do_cache(world, input, line, version, &outcome);
  if (!world->failed) check(world, line, false);
  if (world->parked[line]) unpark(world, line, input->target);
  return true;
}

static void deliver(struct world *world)
{
  struct flight flight = take_first(world);
  world->now_ns = flight.due_ns;
  world->result->messages++;
  if (!step(world, &flight.message, flight.line, flight.version)) park(world, &flight);
}

/* A quarter of the lines takes three quarters of the accesses. */
static void begin_access(struct world *world)
{
  static const uint8_t accesses[] = {COH_LOAD, COH_LOAD, COH_LOAD, COH_LOAD, COH_STORE, COH_STORE, COH_STORE, COH_EVICT};
  int hot = (world->options->lines + 3) / 4, line = below(world, below(world, 4) ? hot : world->options->lines);
  int device = below(world, world->options->sharers.devices), access = accesses[below(world, sizeof accesses)];
  struct coh_message input = coh_access(access, device);
  bool absent = !world->caches[(size_t)line * (size_t)world->options->sharers.devices + (size_t)device].state;
  if (access == COH_EVICT && absent) return;
  world->result->accesses++;
  world->now_ns += (uint64_t)below(world, 10);
  step(world, &input, line, 0);
}

static struct coh_message first_parked(const struct world *world, int *line)
{
  *line = 0;
  while (!world->parked[*line]) ++*line;
  return world->parked[*line]->flight.message;
}

/* Nobody begins anything: what is under way must end, and soon. */
static void rest(struct world *world)
{
  uint64_t patience = 1000 + 200ull * (uint64_t)(world->flight_count + world->parked_count) * (uint64_t)world->options->sharers.devices;
  int line;
  world->slow_device = world->slow_type = NOBODY;
  while (world->flight_count && patience-- && !world->failed) deliver(world);
  if (world->flight_count)
    fail(world, world->flights[0].line, "livelock: the system does not come to rest", at(&world->flights[0].message));
  if (world->parked_count && !world->failed) {
    struct coh_message message = first_parked(world, &line);
    fail(world, line, "deadlock: a message is stalled, and nothing is under way that could change that", at(&message));
  }
  for (line = 0; line < world->options->lines && !world->failed; line++) check(world, line, true);
  world->result->rests++;
}

static void change_mood(struct world *world)
{
  world->slow_device = below(world, 3) ? NOBODY : below(world, world->options->sharers.devices);
  world->slow_type = below(world, 3) ? NOBODY : below(world, world->protocol->message_count);
}

static void run(struct world *world)
{
  uint64_t next_rest = REST_EVERY, next_mood = 0;
  int crowd = world->options->sharers.devices * 2;
  while (world->result->steps < world->options->steps && !world->failed) {
    if (world->result->steps >= next_mood) change_mood(world), next_mood += MOOD_EVERY;
    if (world->flight_count && (world->flight_count > crowd || below(world, 3))) deliver(world);
    else begin_access(world);
    if (world->result->steps >= next_rest) rest(world), next_rest = world->result->steps + REST_EVERY;
  }
  if (!world->failed) rest(world);
}

/* ---- Beginning and end ------------------------------------------------------------------------------------------- */

static void close_world(struct world *world)
{
  for (int line = 0; world->parked && line < world->options->lines; line++)
    for (struct parked *place; (place = world->parked[line]);) {
      world->parked[line] = place->next;
      free(place);
    }
  free(world->parked);
  free(world->flights);
  free(world->directories);
  free(world->memory_versions);
  free(world->last_versions);
  free(world->versions);
  free(world->caches);
  free(world->ring);
}

static bool open_world(struct world *world)
{
  size_t lines = (size_t)world->options->lines, entries = lines * (size_t)world->options->sharers.devices;
  world->flight_room = 1024;
  world->flights = malloc((size_t)world->flight_room * sizeof *world->flights);
  world->directories = calloc(lines, coh_directory_entry_size(&world->options->sharers));
  world->parked = calloc(lines, sizeof(struct parked *));
  world->memory_versions = calloc(lines, sizeof(uint32_t));
  world->last_versions = calloc(lines, sizeof(uint32_t));
  world->versions = calloc(entries, sizeof(uint32_t));
  world->caches = calloc(entries, sizeof *world->caches);
  world->ring = calloc(RING, sizeof *world->ring);
  return world->flights && world->directories && world->parked && world->memory_versions && world->last_versions && world->versions &&
         world->caches && world->ring;
}

int coh_random(const struct coh_protocol *protocol, const struct coh_random_options *options, struct coh_random_result *result)
{
  struct world world = {
      .protocol = protocol, .options = options, .result = result, .random = options->seed, .slow_device = NOBODY, .slow_type = NOBODY};
  *result = (struct coh_random_result){0};
  coh_ladder_init(&result->ladder, protocol, options->sharers.devices);
  bool opened = open_world(&world);
  if (opened) run(&world);
  result->time_ns = world.now_ns;
  close_world(&world);
  return opened ? 0 : -ENOMEM;
}
