/* The machine of litmus_world.h. A state is every cache, directory and message with the values they hold, and how far each thread is. The
 * search is depth first; of the states that were seen only a hash of 128 bits is kept, so that two states are taken for one with a
 * probability of less than 10^-27 in the largest search. A thread goes on when its access is done, in program order. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lab.h"
#include "litmus_world.h"

enum { MESSAGES = 32, EVICTIONS = 1, MOVES = MESSAGES + LITMUS_THREADS * (1 + LITMUS_LOCATIONS), WALK_MOST = 2000 };

struct letter {
  struct coh_message message;
  int16_t line;
  uint64_t value;
};

struct line {
  union {
    struct coh_directory_entry directory;
    uint64_t room[2];
  };
  uint64_t memory, values[LITMUS_THREADS];
  struct coh_cache_entry caches[LITMUS_THREADS];
};

struct thread {
  int16_t next;    /* step */
  int16_t waiting; /* for its access to be done */
  uint64_t registers[UMA_LITMUS_ALL_REGISTERS];
};

struct state {
  struct line lines[LITMUS_LOCATIONS];
  struct thread threads[LITMUS_THREADS];
  int32_t evictions, letter_count; /* evictions: that may still happen */
  struct letter letters[MESSAGES]; /* sorted */
};

struct world {
  const struct uma_litmus *test;
  const struct coh_protocol *protocol;
  struct coh_sharer_kind sharers;
  bool awaits_rest;
  struct uma_litmus_tally *outcomes;
  struct state *stack;
  uint64_t (*seen)[2]; /* hash table of hashes; {0, 0} is free */
  long stack_count, stack_room, seen_count;
};

struct move {
  enum { DELIVER, ISSUE, EVICT } kind;
  int thread, line, letter;
};

/* ---- Steps of threads -------------------------------------------------------------------------------------------- */

static const struct uma_litmus_step *step_of(const struct world *world, const struct state *state, int thread)
{
  const struct uma_litmus_thread *program = &world->test->threads[thread];
  return state->threads[thread].next < program->count ? &program->steps[state->threads[thread].next] : NULL;
}

static bool is_memory(const struct uma_litmus_step *step)
{
  return step->op == UMA_LITMUS_LOAD || step->op == UMA_LITMUS_STORE || uma_litmus_is_locked(step);
}

/* What nobody else can see is done at once. */
static void run_local(const struct world *world, struct state *state, int thread)
{
  const struct uma_litmus_step *step;
  while ((step = step_of(world, state, thread)) && !is_memory(step)) {
    if (uma_litmus_is_local(step)) uma_litmus_do_local(step, state->threads[thread].registers);
    state->threads[thread].next++;
  }
}

static uint64_t merged(uint64_t old, uint64_t value, unsigned size)
{
  uint64_t all = uma_litmus_low(~UINT64_C(0), size);
  return (old & ~all) | (value & all);
}

/* The thread's access meets the line, whose value may be changed by it. */
static void perform(const struct world *world, struct state *state, int thread, uint64_t *value)
{
  const struct uma_litmus_step *step = step_of(world, state, thread);
  uint64_t *registers = state->threads[thread].registers, operand = uma_litmus_operand(step, registers);
  uint64_t old = uma_litmus_low(*value, step->size);
  if (step->op == UMA_LITMUS_STORE) *value = merged(*value, operand, step->size);
  if (step->op == UMA_LITMUS_SWAP) *value = merged(*value, operand, step->size);
  if (step->op == UMA_LITMUS_FETCH_ADD) *value = merged(*value, old + operand, step->size);
  if (step->op != UMA_LITMUS_STORE) uma_litmus_set(&registers[step->reg], old, step->size);
  state->threads[thread].waiting = false;
  state->threads[thread].next++;
  run_local(world, state, thread);
}

/* ---- Moves ------------------------------------------------------------------------------------------------------- */

/* In order, so that equal states look alike. */
static bool post(struct state *state, const struct coh_message *message, int line, uint64_t value)
{
  struct letter letter;
  int at = state->letter_count;
  if (at == MESSAGES) return false;
  memset(&letter, 0, sizeof letter);
  letter.message = *message, letter.line = (int16_t)line, letter.value = value;
  for (; at && memcmp(&state->letters[at - 1], &letter, sizeof letter) > 0; at--) state->letters[at] = state->letters[at - 1];
  state->letters[at] = letter;
  state->letter_count++;
  return true;
}

static bool post_all(const struct world *world, struct state *state, int line, uint64_t value, const struct coh_outcome *outcome)
{
  bool fits = true;
  for (int i = 0; i < outcome->send_count; i++) {
    struct coh_message message = outcome->sends[i].message;
    uint64_t carried = outcome->sends[i].data ? value : 0;
    if (!outcome->sends[i].many) {
      fits &= post(state, &message, line, carried);
      continue;
    }
    for (int d = coh_outcome_target(&world->sharers, outcome, 0); d >= 0; d = coh_outcome_target(&world->sharers, outcome, d + 1)) {
      message.target = (int16_t)d;
      fits &= post(state, &message, line, carried);
    }
  }
  return fits;
}

/* One input into the cache; false when nothing was done. */
static bool step_cache(const struct world *world, struct state *state, const struct coh_message *input, int number, uint64_t value)
{
  struct line *line = &state->lines[number];
  struct thread *thread = &state->threads[input->target];
  uint64_t *held = &line->values[input->target];
  struct coh_outcome outcome;
  coh_cache_step(world->protocol, &line->caches[input->target], input, &outcome);
  if (outcome.result != COH_DONE) return false;
  if (outcome.deeds & COH_DEED_FILL) *held = value;
  if (!post_all(world, state, number, *held, &outcome)) return false;
  const struct uma_litmus_step *step = step_of(world, state, input->target);
  bool done = outcome.deeds & (COH_DEED_LOAD | COH_DEED_STORE);
  if (done && thread->waiting && step->location == number) perform(world, state, input->target, held);
  if (!world->protocol->controllers[COH_CACHE].states[outcome.state].holds_data) *held = 0; /* nobody can tell what it was */
  return true;
}

static bool step_home(const struct world *world, struct state *state, const struct coh_message *input, int number, uint64_t value)
{
  struct line *line = &state->lines[number];
  struct coh_outcome outcome;
  coh_directory_step(world->protocol, &world->sharers, &line->directory, input, &outcome);
  if (outcome.result != COH_DONE) return false;
  if (outcome.deeds & COH_DEED_WRITE_MEMORY) line->memory = value;
  return post_all(world, state, number, line->memory, &outcome);
}

static bool deliver(const struct world *world, struct state *state, int number)
{
  struct letter letter = state->letters[number];
  state->letter_count--;
  memmove(&state->letters[number], &state->letters[number + 1], (size_t)(state->letter_count - number) * sizeof letter);
  memset(&state->letters[state->letter_count], 0, sizeof letter);
  if (letter.message.target == COH_HOME) return step_home(world, state, &letter.message, letter.line, letter.value);
  return step_cache(world, state, &letter.message, letter.line, letter.value);
}

/* Does the move; false when it is none: it stalls, or the protocol has no such cell. */
static bool take(const struct world *world, struct state *state, const struct move *move)
{
  struct coh_message input;
  if (move->kind == DELIVER) return deliver(world, state, move->letter);
  if (move->kind == EVICT) {
    input = coh_access(COH_EVICT, move->thread);
    state->evictions--;
    return step_cache(world, state, &input, move->line, 0);
  }
  const struct uma_litmus_step *step = step_of(world, state, move->thread);
  input = coh_access(step->op == UMA_LITMUS_LOAD ? COH_LOAD : COH_STORE, move->thread);
  state->threads[move->thread].waiting = true;
  return step_cache(world, state, &input, step->location, 0);
}

static bool can_evict(const struct world *world, const struct state *state, int thread, int line)
{
  int at = state->lines[line].caches[thread].state;
  return state->evictions && at && world->protocol->controllers[COH_CACHE].states[at].stable;
}

static int moves_of(const struct world *world, const struct state *state, struct move *moves)
{
  int count = 0;
  for (int m = 0; m < state->letter_count; m++)
    if (!m || memcmp(&state->letters[m], &state->letters[m - 1], sizeof state->letters[m]))
      moves[count++] = (struct move){DELIVER, .letter = m};
  for (int t = 0; t < world->test->thread_count; t++) {
    if (step_of(world, state, t) && !state->threads[t].waiting) moves[count++] = (struct move){ISSUE, .thread = t};
    for (int l = 0; l < world->test->location_count; l++)
      if (can_evict(world, state, t, l)) moves[count++] = (struct move){EVICT, .thread = t, .line = l};
  }
  return count;
}

/* ---- Beginning and end of a run ---------------------------------------------------------------------------------- */

static void begin(const struct world *world, struct state *state)
{
  memset(state, 0, sizeof *state);
  state->evictions = EVICTIONS;
  for (int l = 0; l < world->test->location_count; l++) state->lines[l].memory = world->test->locations[l].initial;
  for (int t = 0; t < world->test->thread_count; t++) {
    memcpy(state->threads[t].registers, world->test->threads[t].initial, sizeof state->threads[t].registers);
    run_local(world, state, t);
  }
}

/* All threads have ended; if the test looks at what locations hold in the end, nothing is under way any more. */
static bool is_over(const struct world *world, const struct state *state)
{
  bool over = !state->letter_count || !world->awaits_rest;
  for (int t = 0; t < world->test->thread_count; t++) over &= !step_of(world, state, t);
  return over;
}

static int record(struct world *world, const struct state *state)
{
  uint64_t values[UMA_LITMUS_OBSERVED] = {0};
  for (int i = 0; i < world->test->observed_count; i++) {
    const struct uma_litmus_observed *observed = &world->test->observed[i];
    const struct line *line = observed->thread < 0 ? &state->lines[observed->index] : NULL;
    int owner = line ? coh_owner(&line->directory) : COH_NOBODY;
    uint64_t value = !line ? state->threads[observed->thread].registers[observed->index] : owner >= 0 ? line->values[owner] : line->memory;
    values[i] = uma_litmus_low(value, observed->size);
  }
  return uma_litmus_tally_add(&world->outcomes, world->test, values);
}

static int open_world(struct world *world, const struct uma_litmus *test, const struct coh_protocol *protocol, char *why, size_t size)
{
  *world = (struct world){.test = test, .protocol = protocol};
  if (test->thread_count > LITMUS_THREADS || test->location_count > LITMUS_LOCATIONS) {
    snprintf(why, size, "%s has %d threads and %d locations; at most %d and %d", test->name, test->thread_count, test->location_count,
             LITMUS_THREADS, LITMUS_LOCATIONS);
    return -EINVAL;
  }
  for (int t = 0; t < test->thread_count; t++)
    for (int s = 0; s < test->threads[t].count; s++) {
      int op = test->threads[t].steps[s].op;
      if (op <= UMA_LITMUS_FETCH_ADD || op >= UMA_LITMUS_FENCE_FULL) continue;
      snprintf(why, size, "%s: of the locked instructions, this machine has xchg and xadd only", test->name);
      return -EINVAL;
    }
  for (int i = 0; i < test->observed_count; i++) world->awaits_rest |= test->observed[i].thread < 0;
  return coh_sharer_kind_make("full", test->thread_count < 2 ? 2 : test->thread_count, 0, &world->sharers);
}

/* ---- All runs ---------------------------------------------------------------------------------------------------- */

static void hash(const struct state *state, uint64_t pair[2])
{
  size_t bytes = offsetof(struct state, letters) + (size_t)state->letter_count * sizeof state->letters[0];
  const uint64_t *words = (const uint64_t *)(const void *)state;
  uint64_t a = 0x9e3779b97f4a7c15ull, b = 0xc2b2ae3d27d4eb4full;
  for (size_t i = 0; i < bytes / sizeof *words; i++) {
    a = (a ^ words[i]) * 0xff51afd7ed558ccdull;
    a ^= a >> 32;
    b = (b ^ words[i]) * 0xc4ceb9fe1a85ec53ull;
    b ^= b >> 29;
  }
  pair[0] = a | 1, pair[1] = b;
}
_Static_assert(sizeof(struct state) % sizeof(uint64_t) == 0 && sizeof(struct letter) % sizeof(uint64_t) == 0, "hashed by words");

/* True when the state was not seen before. */
static bool is_new(struct world *world, const struct state *state)
{
  uint64_t pair[2], at;
  hash(state, pair);
  for (at = pair[0] % (2 * LITMUS_STATES_MOST); world->seen[at][0]; at = (at + 1) % (2 * LITMUS_STATES_MOST))
    if (world->seen[at][0] == pair[0] && world->seen[at][1] == pair[1]) return false;
  memcpy(world->seen[at], pair, sizeof pair);
  world->seen_count++;
  return true;
}

static int push(struct world *world, const struct state *state)
{
  if (world->stack_count == world->stack_room) {
    long room = world->stack_room ? 2 * world->stack_room : 256;
    struct state *stack = realloc(world->stack, (size_t)room * sizeof *stack);
    if (!stack) return -ENOMEM;
    world->stack = stack, world->stack_room = room;
  }
  world->stack[world->stack_count++] = *state;
  return 0;
}

static int visit(struct world *world, const struct state *state)
{
  if (!is_new(world, state)) return 0;
  return is_over(world, state) ? record(world, state) : push(world, state);
}

static int search(struct world *world)
{
  struct move moves[MOVES];
  struct state state, next;
  begin(world, &state);
  int result = visit(world, &state);
  while (!result && world->stack_count && world->seen_count < LITMUS_STATES_MOST) {
    state = world->stack[--world->stack_count];
    int count = moves_of(world, &state, moves);
    for (int m = 0; m < count && !result; m++) {
      next = state;
      if (take(world, &next, &moves[m])) result = visit(world, &next);
    }
  }
  return result;
}

int litmus_explore(const struct uma_litmus *test, const struct coh_protocol *protocol, struct litmus_result *result, char *why, size_t size)
{
  struct world world;
  int error = open_world(&world, test, protocol, why, size);
  if (error) return error;
  world.seen = calloc(2 * LITMUS_STATES_MOST, sizeof *world.seen);
  error = world.seen ? search(&world) : -ENOMEM;
  *result = (struct litmus_result){.states = world.seen_count, .cut = world.stack_count > 0};
  int ended = uma_litmus_tally_end(&world.outcomes, test, &result->outcomes);
  free(world.seen), free(world.stack);
  return error ? error : ended;
}

/* ---- Some runs --------------------------------------------------------------------------------------------------- */

static int walk(struct world *world, uint64_t *seed)
{
  struct move moves[MOVES];
  struct state state, next;
  begin(world, &state);
  for (int s = 0; s < WALK_MOST && !is_over(world, &state); s++) {
    int count = moves_of(world, &state, moves);
    if (!count) return 0;
    next = state;
    if (take(world, &next, &moves[lab_draw(seed) % (uint64_t)count])) state = next;
  }
  return is_over(world, &state) ? record(world, &state) : 0;
}

int litmus_walk(const struct uma_litmus *test, const struct coh_protocol *protocol, uint64_t seed, int runs,
                struct uma_litmus_outcomes *outcomes)
{
  struct world world;
  char why[128];
  int error = open_world(&world, test, protocol, why, sizeof why);
  for (int r = 0; r < runs && !error; r++) error = walk(&world, &seed);
  int ended = uma_litmus_tally_end(&world.outcomes, test, outcomes);
  return error ? error : ended;
}
