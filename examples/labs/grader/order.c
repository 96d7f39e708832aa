/* Orders: see order.h. All executions are tried: each load with each store to its location, each order of the stores. Tests have no loops. */
#include <string.h>

#include "order.h"

struct search {
  const struct uma_litmus *test;
  enum order_model model;
  enum order_verdict verdict;
  struct order_graph now, *found;
  uint64_t registers[UMA_LITMUS_THREADS][UMA_LITMUS_ALL_REGISTERS];
  bool found_coherent; /* the forbidden one that is kept breaks no location by itself */
};

static bool touches_memory(const struct uma_litmus_step *step)
{
  return step->op == UMA_LITMUS_LOAD || step->op == UMA_LITMUS_STORE || uma_litmus_is_locked(step);
}

/* ---- Events ------------------------------------------------------------------------------------------------------ */

/* The accesses of a thread, and which earlier ones a full fence lies behind. */
static bool add_thread(struct order_graph *graph, const struct uma_litmus *test, int thread, const struct order_marks *marks)
{
  uint32_t before = 0, fenced = 0;
  int number = 0;
  for (int s = 0; s < test->threads[thread].count; s++) {
    const struct uma_litmus_step *step = &test->threads[thread].steps[s];
    if (step->op == UMA_LITMUS_FENCE_FULL) fenced = before;
    if (!touches_memory(step)) continue;
    if (graph->count == ORDER_EVENTS || number == ORDER_ACCESSES) return false;
    graph->fences[graph->count] = fenced;
    graph->events[graph->count] = (struct order_event){.thread = thread,
                                                       .number = number,
                                                       .location = step->location,
                                                       .reads = step->op != UMA_LITMUS_STORE,
                                                       .writes = step->op != UMA_LITMUS_LOAD,
                                                       .acquire = marks && step->op != UMA_LITMUS_STORE && marks->acquire[thread][number],
                                                       .release = marks && step->op != UMA_LITMUS_LOAD && marks->release[thread][number]};
    before |= 1u << graph->count++;
    if (marks && marks->fence[thread][number]) fenced = before;
    number++;
  }
  return true;
}

static bool add_events(struct order_graph *graph, const struct uma_litmus *test, const struct order_marks *marks)
{
  if (test->location_count > ORDER_EVENTS) return false;
  for (int l = 0; l < test->location_count; l++)
    graph->events[graph->count++] =
        (struct order_event){.thread = -1, .number = l, .location = l, .writes = true, .written = test->locations[l].initial};
  for (int t = 0; t < test->thread_count; t++)
    if (!add_thread(graph, test, t, marks)) return false;
  return true;
}

/* ---- Values ------------------------------------------------------------------------------------------------------ */

static uint64_t changed(const struct uma_litmus_step *step, uint64_t old, uint64_t operand, uint64_t compared)
{
  switch (step->op) {
  case UMA_LITMUS_FETCH_ADD: return old + operand;
  case UMA_LITMUS_FETCH_AND: return old & operand;
  case UMA_LITMUS_FETCH_OR: return old | operand;
  case UMA_LITMUS_FETCH_XOR: return old ^ operand;
  case UMA_LITMUS_CAS: return old == uma_litmus_low(compared, step->size) ? operand : old;
  default: return operand;
  }
}

static void do_access(struct order_graph *graph, int e, const struct uma_litmus_step *step, uint64_t *registers, uint32_t *made_of)
{
  struct order_event *event = &graph->events[e];
  uint64_t operand = uma_litmus_operand(step, registers), old = 0;
  graph->needs[e] = step->immediate || !event->writes ? 0 : made_of[step->source];
  if (event->reads) event->read = old = uma_litmus_low(graph->events[graph->source[e]].written, step->size);
  if (event->writes) event->written = uma_litmus_low(changed(step, old, operand, registers[step->reg]), step->size);
  if (!event->reads) return;
  uma_litmus_set(&registers[step->reg], old, step->size);
  made_of[step->reg] = 1u << e;
}

/* All threads once, with what the stores hold now; returns whether a store has changed. */
static bool run_threads(struct search *s)
{
  bool moved = false;
  int e = s->test->location_count;
  for (int t = 0; t < s->test->thread_count; t++) {
    const struct uma_litmus_thread *thread = &s->test->threads[t];
    uint32_t made_of[UMA_LITMUS_ALL_REGISTERS] = {0};
    memcpy(s->registers[t], thread->initial, sizeof thread->initial);
    for (int i = 0; i < thread->count; i++) {
      const struct uma_litmus_step *step = &thread->steps[i];
      if (uma_litmus_is_local(step)) {
        uma_litmus_do_local(step, s->registers[t]);
        made_of[step->reg] = (step->op == UMA_LITMUS_MOVE ? 0 : made_of[step->reg]) | (step->immediate ? 0 : made_of[step->source]);
      } else if (touches_memory(step)) {
        uint64_t before = s->now.events[e].written;
        do_access(&s->now, e, step, s->registers[t], made_of);
        moved |= s->now.events[e++].written != before;
      }
    }
  }
  return moved;
}

/* False when the values never come to rest: a value out of thin air. */
static bool settle(struct search *s)
{
  for (int e = s->test->location_count; e < s->now.count; e++) s->now.events[e].written = 0;
  for (int round = 0; round <= s->now.count; round++)
    if (!run_threads(s)) return true;
  return false;
}

static bool has_outcome(const struct search *s)
{
  struct uma_litmus_outcome outcome = {0};
  for (int i = 0; i < s->test->observed_count; i++) {
    const struct uma_litmus_observed *observed = &s->test->observed[i];
    uint64_t value = observed->thread < 0 ? 0 : s->registers[observed->thread][observed->index];
    int last = -1;
    for (int e = 0; e < s->now.count && observed->thread < 0; e++)
      if (s->now.events[e].writes && s->now.events[e].location == observed->index && s->now.place[e] > last)
        last = s->now.place[e], value = s->now.events[e].written;
    outcome.values[i] = uma_litmus_low(value, observed->size);
  }
  return uma_litmus_asked(s->test, &outcome);
}

/* ---- Happens before ---------------------------------------------------------------------------------------------- */

static bool in_program(const struct order_event *a, const struct order_event *b)
{
  return a->thread < 0 ? b->thread >= 0 : a->thread == b->thread && a->number < b->number;
}

static bool is_kept(const struct order_graph *graph, enum order_model model, int from, int to)
{
  const struct order_event *a = &graph->events[from], *b = &graph->events[to];
  if (model == ORDER_SC || a->thread < 0 || graph->fences[to] >> from & 1) return true;
  if (model == ORDER_TSO) return !(a->writes && !a->reads && b->reads && !b->writes);
  return a->acquire || b->release || graph->needs[to] >> from & 1;
}

/* rf, co or fr: what the execution says of two accesses to one location. */
static enum order_edge communicates(const struct order_graph *graph, int from, int to)
{
  const struct order_event *a = &graph->events[from], *b = &graph->events[to];
  if (a->location != b->location) return ORDER_NONE;
  if (b->reads && graph->source[to] == from) return ORDER_RF;
  if (a->writes && b->writes && graph->place[from] < graph->place[to]) return ORDER_CO;
  if (a->reads && b->writes && graph->place[graph->source[from]] < graph->place[to]) return ORDER_FR;
  return ORDER_NONE;
}

enum order_edge order_edge(const struct order_graph *graph, enum order_model model, int from, int to)
{
  const struct order_event *a = &graph->events[from], *b = &graph->events[to];
  bool program = in_program(a, b);
  if (from == to) return ORDER_NONE;
  if (program && is_kept(graph, model, from, to)) return ORDER_KEPT;
  enum order_edge edge = communicates(graph, from, to);
  if (edge == ORDER_RF && model != ORDER_SC && a->thread == b->thread) edge = ORDER_NONE;
  return edge ? edge : program ? ORDER_LOST : ORDER_NONE;
}

/* Breadth first from `start` back to it over `next`: the length of the shortest cycle through it, or 0. */
static int cycle_through(const uint32_t *next, int count, int start, int *cycle)
{
  int queue[ORDER_EVENTS], before[ORDER_EVENTS], head = 0, tail = 0;
  uint32_t seen = 0;
  queue[tail++] = start;
  while (head < tail) {
    int at = queue[head++];
    if (next[at] >> start & 1) {
      int length = 0;
      for (int e = at; e != start; e = before[e]) cycle[length++] = e;
      cycle[length++] = start;
      return length;
    }
    for (int e = 0; e < count; e++)
      if (next[at] >> e & 1 && !(seen >> e & 1)) seen |= 1u << e, before[e] = at, queue[tail++] = e;
  }
  return 0;
}

/* Found backwards; told from its beginning. */
static bool find_cycle(const uint32_t *next, struct order_graph *graph)
{
  int cycle[ORDER_EVENTS];
  graph->cycle_length = 0;
  for (int e = 0; e < graph->count; e++) {
    int length = cycle_through(next, graph->count, e, cycle);
    if (!length || (graph->cycle_length && length >= graph->cycle_length)) continue;
    graph->cycle_length = length;
    for (int i = 0; i < length; i++) graph->cycle[i] = cycle[length - 1 - i];
  }
  return graph->cycle_length;
}

/* Each location by itself is in order, and nobody came between the load and the store of an atomic instruction. */
static bool is_coherent(struct order_graph *graph)
{
  uint32_t next[ORDER_EVENTS] = {0};
  for (int a = 0; a < graph->count; a++) {
    const struct order_event *event = &graph->events[a];
    if (event->reads && event->writes && graph->place[a] != graph->place[graph->source[a]] + 1) return false;
    for (int b = 0; b < graph->count; b++) {
      bool program = event->location == graph->events[b].location && in_program(event, &graph->events[b]);
      if (a != b && (program || communicates(graph, a, b))) next[a] |= 1u << b;
    }
  }
  return !find_cycle(next, graph);
}

bool order_cycle(struct order_graph *graph, enum order_model model)
{
  uint32_t next[ORDER_EVENTS] = {0};
  for (int a = 0; a < graph->count; a++)
    for (int b = 0; b < graph->count; b++) {
      enum order_edge edge = order_edge(graph, model, a, b);
      if (edge && edge != ORDER_LOST) next[a] |= 1u << b;
    }
  return find_cycle(next, graph);
}

/* ---- Every execution --------------------------------------------------------------------------------------------- */

static void judge(struct search *s)
{
  if (s->verdict == ORDER_ALLOWED || !has_outcome(s)) return;
  bool coherent = is_coherent(&s->now);
  bool better = s->verdict == ORDER_NEVER || (coherent && !s->found_coherent);
  if (coherent && !order_cycle(&s->now, s->model)) s->verdict = ORDER_ALLOWED, better = true;
  else s->verdict = ORDER_FORBIDDEN;
  if (coherent && s->found_coherent && s->now.cycle_length < s->found->cycle_length) better = true;
  if (better) *s->found = s->now, s->found_coherent = coherent;
}

/* Gives the stores from `e` on their places, each in every way. */
static void place_stores(struct search *s, int e, const int *taken)
{
  while (e < s->now.count && !s->now.events[e].writes) e++;
  if (e == s->now.count) {
    judge(s);
    return;
  }
  int stores = 0, location = s->now.events[e].location;
  for (int other = s->test->location_count; other < s->now.count; other++)
    stores += s->now.events[other].writes && s->now.events[other].location == location;
  for (int place = 1; place <= stores; place++) {
    int now[UMA_LITMUS_LOCATIONS];
    memcpy(now, taken, sizeof now);
    if (taken[location] >> place & 1) continue;
    now[location] |= 1 << place, s->now.place[e] = place;
    place_stores(s, e + 1, now);
  }
}

static void choose_sources(struct search *s, int e)
{
  while (e < s->now.count && !s->now.events[e].reads) e++;
  if (e == s->now.count) {
    int taken[UMA_LITMUS_LOCATIONS] = {0};
    if (settle(s)) place_stores(s, s->test->location_count, taken);
    return;
  }
  for (int store = 0; store < s->now.count; store++) {
    if (store == e || !s->now.events[store].writes || s->now.events[store].location != s->now.events[e].location) continue;
    s->now.source[e] = store;
    choose_sources(s, e + 1);
  }
}

bool order_explain(const struct uma_litmus *test, const struct order_marks *marks, enum order_model model, enum order_verdict *verdict,
                   struct order_graph *graph)
{
  struct search s = {.test = test, .model = model, .verdict = ORDER_NEVER, .found = graph};
  memset(graph, 0, sizeof *graph);
  if (!add_events(&s.now, test, marks)) return false;
  choose_sources(&s, 0);
  *verdict = s.verdict;
  return true;
}
