/* The seeded scheduler: see random.h.
 *
 * A step is one input into one controller: an access that a program begins, or the delivery of the message that is due first. Messages
 * travel over the simulated fabric, unordered, between the devices' endpoints; a line's directory is at its home, device line % devices.
 * A message that stalls is parked at its controller, and on its way again after a later step of it. Data is the number of the store that
 * wrote it, per line. The last steps of all lines are kept in a ring, from which a failure's ladder is made.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "coherence/random.h"
#include "fabric/draw.h"
#include "fabric/sim.h"

enum { RING = 8192, LADDER_STEPS = 40, REST_EVERY = 20000 };

/* A message with the line that it is about and the data that it carries. */
struct letter {
  struct coh_message message;
  int line;
  uint32_t version;
};

/* A stalled message, in its line's list. */
struct parked {
  struct letter letter;
  struct parked *next;
};

/* From which state to which a cache went when an access sent a request. */
struct begun {
  uint8_t before, state;
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
  uint64_t random;
  struct fab_sim *sim;
  struct fab_endpoint **endpoints; /* per device */
  struct parked **parked;          /* per line */
  struct parked *spare;
  int parked_count;
  uint8_t *directories;
  uint32_t *memory_versions, *last_versions, *versions; /* per line; per line; per line and device */
  struct coh_cache_entry *caches;
  struct begun *begun; /* per line and device: its last request */
  struct record *ring;
  uint64_t recorded;
  struct letter delivered; /* the last one */
  uint64_t lose_step;      /* UINT64_MAX: nobody is lost any more */
  int lost_1;              /* the lost device + 1 */
  bool failed;             /* the run is over: broken, or `error` */
  int error;
};

static int below(struct world *world, int n)
{
  return fab_draw_below(&world->random, n);
}

/* ---- Messages under way ------------------------------------------------------------------------------------------ */

static struct fab_header pack(const struct letter *letter)
{
  const struct coh_message *message = &letter->message;
  return (struct fab_header){.kind = message->type,
                             .tag = letter->line,
                             .a = (uint64_t)(uint16_t)message->acks | (uint64_t)(uint16_t)message->source << 16 |
                                  (uint64_t)(uint16_t)message->target << 32 | (uint64_t)(uint16_t)message->requestor << 48,
                             .b = letter->version};
}

static struct letter unpack(const struct fab_header *header)
{
  return (struct letter){.message = {.type = (uint8_t)header->kind,
                                     .acks = (int16_t)header->a,
                                     .source = (int16_t)(header->a >> 16),
                                     .target = (int16_t)(header->a >> 32),
                                     .requestor = (int16_t)(header->a >> 48)},
                         .line = header->tag,
                         .version = (uint32_t)header->b};
}

static int device_at(const struct world *world, int controller, int line)
{
  return controller == COH_HOME ? line % world->options->sharers.devices : controller;
}

static void launch(struct world *world, const struct letter *letter)
{
  struct fab_send send = {.header = pack(letter)};
  struct fab_endpoint *from = world->endpoints[device_at(world, letter->message.source, letter->line)];
  fab_sim.send(from, device_at(world, letter->message.target, letter->line), FAB_ENGINE, &send);
  if (send.status) world->failed = true, world->error = send.status;
}

static void park(struct world *world, const struct letter *letter)
{
  struct parked *place = world->spare;
  if (place) world->spare = place->next;
  else place = malloc(sizeof *place);
  if (!place) {
    world->failed = true;
    world->error = -ENOMEM;
    return;
  }
  *place = (struct parked){*letter, world->parked[letter->line]};
  world->parked[letter->line] = place;
  world->parked_count++;
}

static struct letter take_parked(struct world *world, struct parked **link)
{
  struct parked *taken = *link;
  *link = taken->next;
  taken->next = world->spare;
  world->spare = taken;
  world->parked_count--;
  return taken->letter;
}

/* The controller has made a step: one of those that stalled there, near the newest, is on its way again. When it finds the controller
 * busy it is parked again, and whatever ends that makes a step too: so as long as steps are made, all are tried. */
static void unpark(struct world *world, int line, int target)
{
  struct parked **chosen = NULL;
  int skip = below(world, 8);
  for (struct parked **place = &world->parked[line]; *place && skip >= 0; place = &(*place)->next)
    if ((*place)->letter.message.target == target) chosen = place, skip--;
  if (!chosen) return;
  struct letter letter = take_parked(world, chosen);
  launch(world, &letter);
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

static size_t entry_of(const struct world *world, int line, int device)
{
  return (size_t)line * (size_t)world->options->sharers.devices + (size_t)device;
}

static bool is_lost(struct world *world, int line)
{
  return world->lost_1 && directory_of(world, line)->requestor_1 == world->lost_1;
}

static void check(struct world *world, int line, bool resting)
{
  size_t first = entry_of(world, line, 0);
  struct coh_view view = {world->protocol,
                          &world->options->sharers,
                          directory_of(world, line),
                          world->caches + first,
                          world->versions + first,
                          world->memory_versions[line],
                          world->last_versions[line],
                          resting,
                          world->lost_1};
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
    struct letter letter = {outcome->sends[i].message, line, outcome->sends[i].data ? version : 0};
    if (!outcome->sends[i].many) {
      launch(world, &letter);
      continue;
    }
    for (int d = coh_outcome_target(kind, outcome, 0); d >= 0; d = coh_outcome_target(kind, outcome, d + 1)) {
      letter.message.target = (int16_t)d;
      launch(world, &letter);
    }
  }
}

static void do_cache(struct world *world, const struct coh_message *input, int line, uint32_t version, const struct coh_outcome *outcome)
{
  uint32_t *held = &world->versions[entry_of(world, line, input->target)];
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
  else coh_cache_step(world->protocol, &world->caches[entry_of(world, line, input->target)], input, &outcome);
  world->result->steps++;
  if (outcome.result == COH_STALLED) {
    world->result->stalls++;
    return false;
  }
  if (input->type < COH_FIRST_MESSAGE && outcome.send_count)
    world->begun[entry_of(world, line, input->target)] = (struct begun){outcome.from, outcome.state};
  record(world, input, line, &outcome);
  if (outcome.result == COH_UNHANDLED) fail(world, line, "unhandled event (the last step has no cell)", at(input));
  else if (at_home) do_directory(world, line, version, &outcome);
  else do_cache(world, input, line, version, &outcome);
  if (!world->failed) check(world, line, false);
  if (world->parked[line]) unpark(world, line, input->target);
  return true;
}

/* A message of the lost device. It may be the one that was chosen to try next, so another is chosen in its place. */
static void vanish(struct world *world, const struct letter *letter)
{
  world->result->vanished++;
  if (world->parked[letter->line]) unpark(world, letter->line, letter->message.target);
}

/* A request that the directory of a lost line will never take: the access that sent it ends. */
static void refuse(struct world *world, const struct letter *letter)
{
  size_t entry = entry_of(world, letter->line, letter->message.requestor);
  world->result->refused++;
  coh_cache_take_back(world->protocol, &world->caches[entry], world->begun[entry].before, world->begun[entry].state);
  check(world, letter->line, false);
}

/* The sink of all endpoints: no message has a payload; no endpoint leaves the network, for the caches of a lost device still answer. */
static void *on_arrive(void *context, int device, int channel, const struct fab_header *header, size_t *room, void **cookie)
{
  return NULL;
}

static void on_complete(void *context, int device, int channel, const struct fab_header *header, void *cookie, int error)
{
  struct world *world = context;
  struct letter letter = world->delivered = unpack(header);
  world->result->messages++;
  if (letter.message.requestor + 1 == world->lost_1) vanish(world, &letter);
  else if (step(world, &letter.message, letter.line, letter.version)) return;
  else if (is_lost(world, letter.line) && letter.message.target == COH_HOME) refuse(world, &letter);
  else park(world, &letter);
}

/* A quarter of the lines takes three quarters of the accesses. */
static void begin_access(struct world *world)
{
  static const uint8_t accesses[] = {COH_LOAD, COH_LOAD, COH_LOAD, COH_LOAD, COH_STORE, COH_STORE, COH_STORE, COH_EVICT};
  int hot = (world->options->lines + 3) / 4, line = below(world, below(world, 4) ? hot : world->options->lines);
  int device = below(world, world->options->sharers.devices), access = accesses[below(world, sizeof accesses)];
  struct coh_message input = coh_access(access, device);
  bool absent = !world->caches[entry_of(world, line, device)].state;
  if (device + 1 == world->lost_1 || (access == COH_EVICT && absent)) return;
  world->result->accesses++;
  fab_sim_wait(world->sim, (uint64_t)below(world, 10));
  step(world, &input, line, 0);
}

/* ---- Losing a device --------------------------------------------------------------------------------------------- */

/* Of the messages that are parked: those of the lost device vanish, and those that a lost line's directory will never take are refused. */
static void lose_parked(struct world *world, int line)
{
  for (struct parked **place = &world->parked[line]; *place;) {
    const struct coh_message *message = &(*place)->letter.message;
    bool vanishes = message->requestor + 1 == world->lost_1;
    if (!vanishes && (!is_lost(world, line) || message->target != COH_HOME)) {
      place = &(*place)->next;
      continue;
    }
    struct letter letter = take_parked(world, place);
    if (vanishes) world->result->vanished++;
    else refuse(world, &letter);
  }
}

static void lose_when_due(struct world *world)
{
  struct coh_random_result *result = world->result;
  if (result->steps < world->lose_step) return;
  world->lost_1 = world->options->lose_1;
  world->lose_step = UINT64_MAX;
  result->lost_step = result->steps;
  for (int line = 0; line < world->options->lines; line++) {
    result->lines_lost += is_lost(world, line);
    lose_parked(world, line);
  }
}

/* ---- The run ----------------------------------------------------------------------------------------------------- */

/* The first message that is parked at a line that is not lost; NULL when there is none. */
static const struct letter *first_parked(struct world *world)
{
  for (int line = 0; line < world->options->lines; line++)
    if (world->parked[line] && !is_lost(world, line)) return &world->parked[line]->letter;
  return NULL;
}

/* Nobody begins anything: what is under way must end, and soon. */
static void rest(struct world *world)
{
  uint64_t crowd = (uint64_t)fab_sim_under_way(world->sim) + (uint64_t)world->parked_count;
  uint64_t patience = 1000 + 200 * crowd * (uint64_t)world->options->sharers.devices;
  fab_sim_calm(world->sim);
  while (patience-- && !world->failed && fab_sim_step(world->sim)) lose_when_due(world);
  if (fab_sim_under_way(world->sim))
    fail(world, world->delivered.line, "livelock: the system does not come to rest", at(&world->delivered.message));
  const struct letter *stuck = first_parked(world);
  if (stuck)
    fail(world, stuck->line, "deadlock: a message is stalled, and nothing is under way that could change that", at(&stuck->message));
  for (int line = 0; line < world->options->lines && !world->failed; line++) check(world, line, true);
  world->result->rests++;
}

static void run(struct world *world)
{
  uint64_t next_rest = REST_EVERY;
  int crowd = world->options->sharers.devices * 2;
  while (world->result->steps < world->options->steps && !world->failed) {
    int under_way = fab_sim_under_way(world->sim);
    lose_when_due(world);
    if (under_way && (under_way > crowd || below(world, 3))) fab_sim_step(world->sim);
    else begin_access(world);
    if (world->result->steps >= next_rest) rest(world), next_rest = world->result->steps + REST_EVERY;
  }
  if (!world->failed) rest(world);
}

/* ---- Beginning and end ------------------------------------------------------------------------------------------- */

static void free_parked(struct parked *place)
{
  while (place) {
    struct parked *next = place->next;
    free(place);
    place = next;
  }
}

static void close_world(struct world *world)
{
  for (int line = 0; world->parked && line < world->options->lines; line++) free_parked(world->parked[line]);
  free_parked(world->spare);
  fab_sim_destroy(world->sim);
  free(world->endpoints);
  free(world->parked);
  free(world->directories);
  free(world->memory_versions);
  free(world->last_versions);
  free(world->versions);
  free(world->caches);
  free(world->ring);
  free(world->begun);
}

static bool open_sim(struct world *world)
{
  int devices = world->options->sharers.devices;
  struct fab_sim_options options = {
      .seed = ~world->options->seed, .devices = devices, .unordered = true, .kinds = world->protocol->message_count};
  struct fab_config config = {.devices = devices, .channel = FAB_ENGINE, .sink = {world, on_arrive, on_complete, NULL}};
  world->endpoints = calloc((size_t)devices, sizeof(struct fab_endpoint *));
  world->sim = config.sim = fab_sim_create(&options);
  bool opened = world->endpoints && world->sim;
  for (; opened && config.device < devices; config.device++) opened = !fab_sim.open(&config, &world->endpoints[config.device]);
  return opened;
}

static bool open_world(struct world *world)
{
  size_t lines = (size_t)world->options->lines, entries = lines * (size_t)world->options->sharers.devices;
  world->directories = calloc(lines, coh_directory_entry_size(&world->options->sharers));
  world->parked = calloc(lines, sizeof(struct parked *));
  world->memory_versions = calloc(lines, sizeof(uint32_t));
  world->last_versions = calloc(lines, sizeof(uint32_t));
  world->versions = calloc(entries, sizeof(uint32_t));
  world->caches = calloc(entries, sizeof *world->caches);
  world->ring = calloc(RING, sizeof *world->ring);
  world->begun = calloc(entries, sizeof *world->begun);
  return world->directories && world->parked && world->memory_versions && world->last_versions && world->versions && world->caches &&
         world->ring && world->begun && open_sim(world);
}

static uint64_t choose_lose_step(struct world *world)
{
  const struct coh_random_options *options = world->options;
  if (!options->lose_1) return UINT64_MAX;
  return options->lose_step ? options->lose_step : 1 + fab_draw(&world->random) % (options->steps / 2 + 1);
}

int coh_random(const struct coh_protocol *protocol, const struct coh_random_options *options, struct coh_random_result *result)
{
  struct world world = {.protocol = protocol, .options = options, .result = result, .random = options->seed};
  if (options->lose_1 < 0 || options->lose_1 > options->sharers.devices) return -EINVAL;
  *result = (struct coh_random_result){0};
  coh_ladder_init(&result->ladder, protocol, options->sharers.devices);
  world.lose_step = choose_lose_step(&world);
  world.error = open_world(&world) ? 0 : -ENOMEM;
  if (!world.error) {
    run(&world);
    result->time_ns = fab_sim_now_ns(world.sim);
  }
  close_world(&world);
  return world.error;
}
