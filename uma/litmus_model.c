/* What a memory model allows a litmus test to end in: a machine of that model, and every way in which it can go on.
 *
 * SC (sequential consistency): one memory; the threads take turns in any order, and each access happens at once.
 * TSO (total store order, as x86 has it; Sewell and others, "x86-TSO", CACM 53(7), 2010): each thread has a queue of its stores. A load
 * sees the youngest of its own thread's queued stores to the location, else memory. The oldest store of any queue may reach memory at
 * any time. mfence and the atomic instructions wait until their thread's queue is empty. sfence and lfence order nothing further here:
 * neither queued stores nor loads ever overtake each other.
 *
 * The search visits every state once: a stack of states still to be continued, a hash table of all states ever seen, both of the packed
 * form. Steps that touch registers only are taken at once, since nobody else can tell when they happen. Tests have no loops, so it ends.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "uma/litmus.h"
#include "uma/session.h"

struct store {
  uint8_t location, size;
  uint64_t value;
};

struct processor {
  uint8_t next;   /* step */
  uint8_t queued; /* stores that did not reach memory yet, the oldest first */
  uint64_t registers[UMA_LITMUS_ALL_REGISTERS];
  struct store queue[UMA_LITMUS_STEPS];
};

struct machine {
  uint64_t memory[UMA_LITMUS_LOCATIONS];
  struct processor processors[UMA_LITMUS_THREADS];
};

struct state {
  struct state *below; /* in the stack */
  UT_hash_handle hh;
  unsigned char packed[];
};

struct search {
  const struct uma_litmus *test;
  enum uma_litmus_model model;
  uint32_t used[UMA_LITMUS_THREADS]; /* a bit for each register that the thread names */
  struct state *seen, *stack;
  struct uma_litmus_tally *outcomes;
};

/* ---- Packing */

static unsigned char *put(unsigned char *to, const void *from, size_t bytes)
{
  memcpy(to, from, bytes);
  return to + bytes;
}

static const unsigned char *get(const unsigned char *from, void *to, size_t bytes)
{
  memcpy(to, from, bytes);
  return from + bytes;
}

static size_t pack(const struct search *s, const struct machine *m, unsigned char *packed)
{
  unsigned char *to = put(packed, m->memory, (size_t)s->test->location_count * sizeof m->memory[0]);
  for (int t = 0; t < s->test->thread_count; t++) {
    const struct processor *p = &m->processors[t];
    to = put(to, &p->next, 1);
    to = put(to, &p->queued, 1);
    for (int r = 0; r < UMA_LITMUS_ALL_REGISTERS; r++)
      if (s->used[t] >> r & 1) to = put(to, &p->registers[r], sizeof p->registers[r]);
    for (int q = 0; q < p->queued; q++) {
      to = put(to, &p->queue[q].location, 1);
      to = put(to, &p->queue[q].size, 1);
      to = put(to, &p->queue[q].value, sizeof p->queue[q].value);
    }
  }
  return (size_t)(to - packed);
}

static void unpack(const struct search *s, const unsigned char *from, struct machine *m)
{
  from = get(from, m->memory, (size_t)s->test->location_count * sizeof m->memory[0]);
  for (int t = 0; t < s->test->thread_count; t++) {
    struct processor *p = &m->processors[t];
    from = get(from, &p->next, 1);
    from = get(from, &p->queued, 1);
    for (int r = 0; r < UMA_LITMUS_ALL_REGISTERS; r++)
      if (s->used[t] >> r & 1) from = get(from, &p->registers[r], sizeof p->registers[r]);
    for (int q = 0; q < p->queued; q++) {
      from = get(from, &p->queue[q].location, 1);
      from = get(from, &p->queue[q].size, 1);
      from = get(from, &p->queue[q].value, sizeof p->queue[q].value);
    }
  }
}

/* ---- The machine */

static void write_memory(struct machine *m, const struct store *store)
{
  uint64_t *word = &m->memory[store->location], all = uma_litmus_low(~UINT64_C(0), store->size);
  *word = (*word & ~all) | (store->value & all);
}

/* The whole slot as this thread sees it. */
static uint64_t read_memory(const struct machine *m, const struct processor *p, int location)
{
  uint64_t value = m->memory[location];
  for (int q = 0; q < p->queued; q++) {
    if (p->queue[q].location != location) continue;
    uint64_t all = uma_litmus_low(~UINT64_C(0), p->queue[q].size);
    value = (value & ~all) | (p->queue[q].value & all);
  }
  return value;
}

static void drain_one(struct machine *m, struct processor *p)
{
  write_memory(m, &p->queue[0]);
  p->queued--;
  memmove(p->queue, p->queue + 1, p->queued * sizeof p->queue[0]);
}

static void store(const struct search *s, struct machine *m, struct processor *p, const struct uma_litmus_step *step)
{
  struct store made = {step->location, step->size, uma_litmus_operand(step, p->registers)};
  if (s->model == UMA_LITMUS_SC) write_memory(m, &made);
  else p->queue[p->queued++] = made;
}

static void change_at_once(struct machine *m, struct processor *p, const struct uma_litmus_step *step)
{
  uint64_t operand = uma_litmus_operand(step, p->registers), old = uma_litmus_low(m->memory[step->location], step->size), changed = operand;
  switch (step->op) {
  case UMA_LITMUS_FETCH_ADD: changed = old + operand; break;
  case UMA_LITMUS_FETCH_AND: changed = old & operand; break;
  case UMA_LITMUS_FETCH_OR: changed = old | operand; break;
  case UMA_LITMUS_FETCH_XOR: changed = old ^ operand; break;
  case UMA_LITMUS_CAS: changed = old == uma_litmus_low(p->registers[step->reg], step->size) ? operand : old; break;
  default: break;
  }
  write_memory(m, &(struct store){step->location, step->size, changed});
  uma_litmus_set(&p->registers[step->reg], old, step->size);
}

static void take_step(const struct search *s, struct machine *m, struct processor *p, const struct uma_litmus_step *step)
{
  if (uma_litmus_is_local(step)) uma_litmus_do_local(step, p->registers);
  else if (uma_litmus_is_locked(step)) change_at_once(m, p, step);
  else if (step->op == UMA_LITMUS_STORE) store(s, m, p, step);
  else if (step->op == UMA_LITMUS_LOAD) uma_litmus_set(&p->registers[step->reg], read_memory(m, p, step->location), step->size);
  p->next++;
}

static const struct uma_litmus_step *next_step(const struct search *s, const struct machine *m, int thread)
{
  const struct uma_litmus_thread *t = &s->test->threads[thread];
  int next = m->processors[thread].next;
  return next < t->count ? &t->steps[next] : NULL;
}

static bool must_drain_before(const struct uma_litmus_step *step)
{
  return uma_litmus_is_locked(step) || step->op == UMA_LITMUS_FENCE_FULL;
}

static void take_local_steps(const struct search *s, struct machine *m)
{
  const struct uma_litmus_step *step;
  for (int t = 0; t < s->test->thread_count; t++)
    while ((step = next_step(s, m, t)) &&
           (uma_litmus_is_local(step) || step->op == UMA_LITMUS_FENCE_STORE || step->op == UMA_LITMUS_FENCE_LOAD))
      take_step(s, m, &m->processors[t], step);
}

/* ---- The search */

/* Remembers the state, to be continued, unless it was seen before. */
static int visit(struct search *s, struct machine *m)
{
  unsigned char packed[sizeof *m];
  struct state *state = NULL;
  take_local_steps(s, m);
  size_t bytes = pack(s, m, packed);
  HASH_FIND(hh, s->seen, packed, bytes, state);
  if (state) return 0;
  if (HASH_COUNT(s->seen) >= UMA_LITMUS_MAX_STATES)
    return uma_fail(-E2BIG, "%s: more than %d states", s->test->name, UMA_LITMUS_MAX_STATES);
  state = malloc(sizeof *state + bytes);
  if (!state) return uma_fail(-ENOMEM, "%s: out of memory for its states", s->test->name);
  memcpy(state->packed, packed, bytes);
  HASH_ADD_KEYPTR(hh, s->seen, state->packed, bytes, state);
  if (!state->hh.tbl) {
    free(state);
    return uma_fail(-ENOMEM, "%s: out of memory for its states", s->test->name);
  }
  state->below = s->stack;
  s->stack = state;
  return 0;
}

static int record(struct search *s, const struct machine *m)
{
  uint64_t values[UMA_LITMUS_OBSERVED] = {0};
  for (int i = 0; i < s->test->observed_count; i++) {
    const struct uma_litmus_observed *o = &s->test->observed[i];
    values[i] = uma_litmus_low(o->thread < 0 ? m->memory[o->index] : m->processors[o->thread].registers[o->index], o->size);
  }
  return uma_litmus_tally_add(&s->outcomes, s->test, values);
}

/* Visits all states that can follow this one; an end is recorded. */
static int go_on(struct search *s, const struct machine *from)
{
  bool ended = true;
  for (int t = 0; t < s->test->thread_count; t++) {
    const struct processor *p = &from->processors[t];
    const struct uma_litmus_step *step = next_step(s, from, t);
    struct machine to;
    int result = 0;
    if (p->queued) {
      to = *from;
      drain_one(&to, &to.processors[t]);
      result = visit(s, &to);
    }
    if (!result && step && !(p->queued && must_drain_before(step))) {
      to = *from;
      take_step(s, &to, &to.processors[t], step);
      result = visit(s, &to);
    }
    if (result) return result;
    ended = ended && !p->queued && !step;
  }
  return ended ? record(s, from) : 0;
}

static void begin(struct search *s, struct machine *m)
{
  for (int l = 0; l < s->test->location_count; l++) m->memory[l] = s->test->locations[l].initial;
  for (int t = 0; t < s->test->thread_count; t++) {
    const struct uma_litmus_thread *thread = &s->test->threads[t];
    memcpy(m->processors[t].registers, thread->initial, sizeof thread->initial);
    for (int i = 0; i < thread->count; i++) s->used[t] |= 1u << thread->steps[i].reg | 1u << thread->steps[i].source;
  }
}

static void forget(struct search *s)
{
  struct state *state = s->seen, *next;
  HASH_CLEAR(hh, s->seen); /* the states stay linked in the order in which they came */
  for (; state; state = next) {
    next = state->hh.next;
    free(state);
  }
}

int uma_litmus_explore(const struct uma_litmus *test, enum uma_litmus_model model, struct uma_litmus_outcomes *outcomes)
{
  struct search s = {.test = test, .model = model};
  struct machine m = {0};
  begin(&s, &m);
  struct machine first = m; /* registers that no step names stay as they are in `m` */
  int result = visit(&s, &first);
  while (!result && s.stack) {
    struct state *state = s.stack;
    s.stack = state->below;
    unpack(&s, state->packed, &m);
    result = go_on(&s, &m);
  }
  forget(&s);
  struct uma_litmus_outcomes found = {0};
  int ended = uma_litmus_tally_end(&s.outcomes, test, &found);
  if (!result) result = ended;
  for (size_t i = 0; i < found.count; i++) found.list[i].count = 1;
  if (result) free(found.list);
  else *outcomes = found;
  return result;
}

const char *uma_litmus_model_name(enum uma_litmus_model model)
{
  return model == UMA_LITMUS_SC ? "SC" : "TSO";
}

int uma_litmus_stated(const struct uma_litmus *test, enum uma_litmus_model model)
{
  const char *name = uma_litmus_model_name(model);
  size_t length = strlen(name);
  for (const char *at = strstr(test->doc, name); at; at = strstr(at + 1, name)) {
    if ((at > test->doc && isalnum((unsigned char)at[-1])) || at[length] != '=') continue;
    if (!strncmp(at + length + 1, "allowed", 7)) return 1;
    if (!strncmp(at + length + 1, "forbidden", 9)) return 0;
  }
  return -1;
}
