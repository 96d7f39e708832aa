/* Lab 8: Consistency and fences. Every verdict is by exploration of all that a model allows; nothing runs on this machine's processor. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "lab.h"
#include "order.h"
#include "page.h"

enum { PROGRAMS = 4, TESTS = 5, POOL = 12, WORDS = 32, MODELS = 3, COLUMN = 300, ROW = 74, NODE = 236, HIGH = 36, BOW = 140, LEFT = 110 };

/* clang-format off */
/* The programs as they are without any fence. Students add fences, and change nothing else. */
static const struct program {
  const char *name, *file, *text;
  int fences;   /* the fewest, x86 */
  int costs[2]; /* the least on the weak machine, by the price of a fence */
} programs[PROGRAMS] = {
    {"queue",
     "queue.litmus",
     "X86_64 queue\n"
     "{ uint64_t a; uint64_t b; uint64_t flag; }\n"
     " P0 | P1 ;\n"
     " movq $1,(a) | movq (flag),%rax ;\n"
     " movq $1,(b) | movq (a),%rbx ;\n"
     " movq $1,(flag) | movq (b),%rcx ;\n"
     "exists (1:rax=1 /\\ (1:rbx=0 \\/ 1:rcx=0))\n",
     0,
     {2, 2}},
    {"dekker",
     "dekker.litmus",
     "X86_64 dekker\n"
     "{ uint64_t x; uint64_t y; }\n"
     " P0 | P1 ;\n"
     " movq $1,(x) | movq $1,(y) ;\n"
     " movq (y),%rax | movq (x),%rax ;\n"
     "exists (0:rax=0 /\\ 1:rax=0)\n",
     2,
     {2, 6}},
    {"seqlock",
     "seqlock.litmus",
     "X86_64 seqlock\n"
     "{ uint64_t s; uint64_t a; uint64_t b; }\n"
     " P0 | P1 ;\n"
     " movq $1,(s) | movq (s),%rax ;\n"
     " movq $1,(a) | movq (a),%rbx ;\n"
     " movq $1,(b) | movq (b),%rcx ;\n"
     " movq $2,(s) | movq (s),%rdx ;\n"
     "exists ((1:rax=0 /\\ 1:rdx=0 /\\ (1:rbx=1 \\/ 1:rcx=1)) \\/ (1:rax=2 /\\ 1:rdx=2 /\\ (1:rbx=0 \\/ 1:rcx=0)))\n",
     0,
     {4, 6}},
    {"spinlock",
     "spinlock.litmus",
     "X86_64 spinlock\n"
     "{ uint64_t l; uint64_t x; }\n"
     " P0 | P1 ;\n"
     " movq $1,%rax | movq $1,%rax ;\n"
     " xchgq %rax,(l) | xchgq %rax,(l) ;\n"
     " movq (x),%rbx | movq (x),%rbx ;\n"
     " addq $1,%rbx | addq $1,%rbx ;\n"
     " movq %rbx,(x) | movq %rbx,(x) ;\n"
     " movq $0,(l) | movq $0,(l) ;\n"
     "exists (0:rax=0 /\\ 1:rax=0 /\\ x=1)\n",
     0,
     {4, 4}},
};

/* Small tests; the verdicts are computed, not noted here. */
static const char *const pool[POOL] = {
     "X86_64 SB\n"
     "{ uint64_t x; uint64_t y; }\n"
     " P0 | P1 ;\n"
     " movq $1,(x) | movq $1,(y) ;\n"
     " movq (y),%rax | movq (x),%rax ;\n"
     "exists (0:rax=0 /\\ 1:rax=0)\n",
     "X86_64 SB+one-mfence\n"
     "{ uint64_t x; uint64_t y; }\n"
     " P0 | P1 ;\n"
     " movq $1,(x) | movq $1,(y) ;\n"
     " mfence | movq (x),%rax ;\n"
     " movq (y),%rax | ;\n"
     "exists (0:rax=0 /\\ 1:rax=0)\n",
     "X86_64 SB+mfences\n"
     "{ uint64_t x; uint64_t y; }\n"
     " P0 | P1 ;\n"
     " movq $1,(x) | movq $1,(y) ;\n"
     " mfence | mfence ;\n"
     " movq (y),%rax | movq (x),%rax ;\n"
     "exists (0:rax=0 /\\ 1:rax=0)\n",
     "X86_64 MP\n"
     "{ uint64_t x; uint64_t y; }\n"
     " P0 | P1 ;\n"
     " movq $1,(x) | movq (y),%rax ;\n"
     " movq $1,(y) | movq (x),%rbx ;\n"
     "exists (1:rax=1 /\\ 1:rbx=0)\n",
     "X86_64 MP+one-mfence\n"
     "{ uint64_t x; uint64_t y; }\n"
     " P0 | P1 ;\n"
     " movq $1,(x) | movq (y),%rax ;\n"
     " mfence | movq (x),%rbx ;\n"
     " movq $1,(y) | ;\n"
     "exists (1:rax=1 /\\ 1:rbx=0)\n",
     "X86_64 LB\n"
     "{ uint64_t x; uint64_t y; }\n"
     " P0 | P1 ;\n"
     " movq (x),%rax | movq (y),%rax ;\n"
     " movq $1,(y) | movq $1,(x) ;\n"
     "exists (0:rax=1 /\\ 1:rax=1)\n",
     "X86_64 R\n"
     "{ uint64_t x; uint64_t y; }\n"
     " P0 | P1 ;\n"
     " movq $1,(x) | movq $2,(y) ;\n"
     " movq $1,(y) | movq (x),%rax ;\n"
     "exists (y=2 /\\ 1:rax=0)\n",
     "X86_64 S\n"
     "{ uint64_t x; uint64_t y; }\n"
     " P0 | P1 ;\n"
     " movq $2,(x) | movq (y),%rax ;\n"
     " movq $1,(y) | movq $1,(x) ;\n"
     "exists (x=2 /\\ 1:rax=1)\n",
     "X86_64 2+2W\n"
     "{ uint64_t x; uint64_t y; }\n"
     " P0 | P1 ;\n"
     " movq $1,(x) | movq $1,(y) ;\n"
     " movq $2,(y) | movq $2,(x) ;\n"
     "exists (x=1 /\\ y=1)\n",
     "X86_64 CoRR\n"
     "{ uint64_t x; }\n"
     " P0 | P1 ;\n"
     " movq $1,(x) | movq (x),%rax ;\n"
     " | movq (x),%rbx ;\n"
     "exists (1:rax=1 /\\ 1:rbx=0)\n",
     "X86_64 IRIW\n"
     "{ uint64_t x; uint64_t y; }\n"
     " P0 | P1 | P2 | P3 ;\n"
     " movq $1,(x) | movq $1,(y) | movq (x),%rax | movq (y),%rax ;\n"
     " | | movq (y),%rbx | movq (x),%rbx ;\n"
     "exists (2:rax=1 /\\ 2:rbx=0 /\\ 3:rax=1 /\\ 3:rbx=0)\n",
     "X86_64 SB+rfi\n"
     "{ uint64_t x; uint64_t y; }\n"
     " P0 | P1 ;\n"
     " movq $1,(x) | movq $1,(y) ;\n"
     " movq (x),%rcx | movq (y),%rcx ;\n"
     " movq (y),%rax | movq (x),%rax ;\n"
     "exists (0:rax=0 /\\ 1:rax=0)\n",
};
/* clang-format on */

static const char *const model_names[MODELS] = {"SC", "TSO", "weak"};

/* ---- Tests ------------------------------------------------------------------------------------------------------- */

static struct uma_litmus *parse(struct lab *lab, const char *path, const char *text)
{
  struct uma_litmus *test;
  if (uma_litmus_parse(path, text, strlen(text), &test)) lab_stop(lab, "%s", uma_last_error());
  return test;
}

static enum order_verdict verdict_of(struct lab *lab, const struct uma_litmus *test, const struct order_marks *marks,
                                     enum order_model model, struct order_graph *graph)
{
  enum order_verdict verdict;
  if (!order_explain(test, marks, model, &verdict, graph)) lab_stop(lab, "%s has too many accesses", test->name);
  return verdict;
}

/* SC and TSO are explored by machines, too, step by step: both must come to the same verdict. */
static bool is_allowed(struct lab *lab, const struct uma_litmus *test, enum order_model model)
{
  struct order_graph graph;
  struct uma_litmus_outcomes outcomes;
  bool allowed = verdict_of(lab, test, NULL, model, &graph) == ORDER_ALLOWED;
  if (model == ORDER_WEAK) return allowed;
  if (uma_litmus_explore(test, model == ORDER_SC ? UMA_LITMUS_SC : UMA_LITMUS_TSO, &outcomes)) lab_stop(lab, "%s", uma_last_error());
  bool reached = uma_litmus_any_asked(test, &outcomes);
  free(outcomes.list);
  if (reached != allowed) lab_stop(lab, "a mistake of the judge: its two models of %s disagree on %s", model_names[model], test->name);
  return allowed;
}

static bool is_fence(const struct uma_litmus_step *step)
{
  return step->op == UMA_LITMUS_FENCE_FULL || step->op == UMA_LITMUS_FENCE_STORE || step->op == UMA_LITMUS_FENCE_LOAD;
}

static int count_fences(const struct uma_litmus *test, bool full)
{
  int count = 0;
  for (int t = 0; t < test->thread_count; t++)
    for (int s = 0; s < test->threads[t].count; s++) {
      const struct uma_litmus_step *step = &test->threads[t].steps[s];
      count += is_fence(step) && (!full || step->op == UMA_LITMUS_FENCE_FULL);
    }
  return count;
}

/* The next step that is no fence, or NULL. */
static const struct uma_litmus_step *next_access(const struct uma_litmus_thread *thread, int *at)
{
  while (*at < thread->count && is_fence(&thread->steps[*at])) (*at)++;
  return *at < thread->count ? &thread->steps[(*at)++] : NULL;
}

static bool same_step(const struct uma_litmus_step *a, const struct uma_litmus_step *b)
{
  return a->op == b->op && a->size == b->size && a->location == b->location && a->reg == b->reg && a->immediate == b->immediate &&
         (a->immediate ? a->value == b->value : a->source == b->source);
}

/* The same question: what can be seen, and the proposition about it. */
static bool same_question(const struct uma_litmus *a, const struct uma_litmus *b)
{
  if (a->quantifier != b->quantifier || a->condition != b->condition || a->node_count != b->node_count ||
      a->observed_count != b->observed_count)
    return false;
  for (int o = 0; o < a->observed_count; o++)
    if (strcmp(a->observed[o].name, b->observed[o].name)) return false;
  for (int n = 0; n < a->node_count; n++) {
    const struct uma_litmus_node *x = &a->nodes[n], *y = &b->nodes[n];
    if (x->kind != y->kind || x->left != y->left || x->right != y->right || x->value != y->value) return false;
  }
  return true;
}

static bool same_thread(const struct uma_litmus_thread *mine, const struct uma_litmus_thread *plain)
{
  const struct uma_litmus_step *a, *b;
  int i = 0, j = 0;
  if (memcmp(mine->initial, plain->initial, sizeof plain->initial)) return false;
  do {
    a = next_access(mine, &i), b = next_access(plain, &j);
    if (!a != !b || (a && !same_step(a, b))) return false;
  } while (a);
  return true;
}

/* Nothing but fences was added: the same steps, initial values, and the same question. */
static bool same_program(const struct uma_litmus *mine, const struct uma_litmus *plain)
{
  if (mine->thread_count != plain->thread_count || mine->location_count != plain->location_count || !same_question(mine, plain))
    return false;
  for (int l = 0; l < plain->location_count; l++)
    if (strcmp(mine->locations[l].name, plain->locations[l].name) || mine->locations[l].initial != plain->locations[l].initial)
      return false;
  for (int t = 0; t < plain->thread_count; t++)
    if (!same_thread(&mine->threads[t], &plain->threads[t])) return false;
  return true;
}

static void find_tests(struct lab *lab, int numbers[TESTS])
{
  uint64_t seed = lab_seed(lab, "tests");
  uint32_t taken = 0;
  for (int t = 0; t < TESTS; t++) {
    do numbers[t] = (int)(lab_draw(&seed) % POOL);
    while (taken >> numbers[t] & 1);
    taken |= 1u << numbers[t];
  }
}

static int fence_price(struct lab *lab)
{
  return lab_number(lab, "price", 0, 1) ? 3 : 1;
}

static void task(struct lab *lab)
{
  int numbers[TESTS];
  find_tests(lab, numbers);
  lab_say(lab, "  your weak machine: an acquire or a release costs 1, a fence %d", fence_price(lab));
  lab_say(lab, "  your tests for verdicts.txt:");
  for (int t = 0; t < TESTS; t++) lab_say(lab, "\n%s", pool[numbers[t]]);
}

/* ---- The picture ------------------------------------------------------------------------------------------------- */

static const char *const edge_colours[] = {"", "#1c2430", "#9aa5b1", "#009e73", "#0072b2", "#b3261e"};
static const char *const edge_names[] = {
    "", "in this order", "not kept in this order", "read from (rf)", "overwritten by (co)", "read before (fr)"};

static void put_event(char *text, size_t room, const struct uma_litmus *test, const struct order_event *event)
{
  const char *name = test->locations[event->location].name;
  const char *order = event->acquire && event->release ? ", acq+rel" : event->acquire ? ", acquire" : event->release ? ", release" : "";
  if (event->reads && event->writes) snprintf(text, room, "P%d: %s %lu to %lu%s", event->thread, name, event->read, event->written, order);
  else if (event->writes) snprintf(text, room, "P%d: store %s = %lu%s", event->thread, name, event->written, order);
  else snprintf(text, room, "P%d: load %s = %lu%s", event->thread, name, event->read, order);
}

static void node_place(const struct order_event *event, double *x, double *y)
{
  *x = LEFT + event->thread * (COLUMN + 90);
  *y = 10 + event->number * ROW;
}

/* From border to border: down a column straight, across with a bow. */
static void draw_edge(FILE *out, const struct uma_litmus *test, const struct order_graph *graph, int from, int to, enum order_edge edge,
                      bool now)
{
  double x1, y1, x2, y2;
  char a[96], b[96];
  const struct order_event *f = &graph->events[from], *t = &graph->events[to];
  node_place(f, &x1, &y1), node_place(t, &x2, &y2);
  put_event(a, sizeof a, test, f), put_event(b, sizeof b, test, t);
  bool column = f->thread == t->thread, far = abs(f->number - t->number) > 1, down = y2 > y1;
  double bow = column && far ? -BOW : 0;
  if (column && !far) x1 += NODE / 2, x2 += NODE / 2, y1 += down ? HIGH : 0, y2 += down ? 0 : HIGH;
  else y1 += HIGH / 2, y2 += HIGH / 2;
  if (!column) x1 += x1 < x2 ? NODE : 0, x2 += f->thread < t->thread ? 0 : NODE;
  fprintf(
      out,
      "<path class=\"%s\" d=\"M%.0f %.0f Q%.0f %.0f %.0f %.0f\" fill=\"none\" stroke=\"%s\" stroke-width=\"%d\"%s marker-end=\"url(#e%d)\"",
      now ? "item edge" : "edge", x1, y1, (x1 + x2) / 2 + bow, (y1 + y2) / 2, x2, y2, edge_colours[edge], now ? 5 : 2,
      edge == ORDER_LOST ? " stroke-dasharray=\"6 6\"" : "", edge);
  if (now) fprintf(out, " data-say=\"%s: %s → %s\"", edge_names[edge], a, b);
  fputs("/>\n", out);
}

static bool in_cycle(const struct order_graph *graph, int from, int to)
{
  for (int i = 0; i < graph->cycle_length; i++)
    if (graph->cycle[i] == from && graph->cycle[(i + 1) % graph->cycle_length] == to) return true;
  return false;
}

static void draw_nodes(FILE *out, const struct uma_litmus *test, const struct order_graph *graph)
{
  for (int e = test->location_count; e < graph->count; e++) {
    char text[96];
    double x, y;
    node_place(&graph->events[e], &x, &y);
    put_event(text, sizeof text, test, &graph->events[e]);
    fprintf(out,
            "<rect x=\"%.0f\" y=\"%.0f\" width=\"%d\" height=\"%d\" rx=\"6\" fill=\"#fff\" stroke=\"#55657a\"/><text x=\"%.0f\" y=\"%.0f\" "
            "text-anchor=\"middle\" pointer-events=\"none\">",
            x, y, NODE, HIGH, x + NODE / 2, y + 23);
    page_text(out, text);
    fputs("</text>\n", out);
  }
}

/* Edges between neighbours of a thread, and what leads from store to load and back; the rest follows. Initial values come before all. */
static bool is_drawn(const struct order_graph *graph, int from, int to, enum order_edge edge)
{
  const struct order_event *a = &graph->events[from], *b = &graph->events[to];
  if (edge == ORDER_NONE || a->thread < 0) return false;
  if (edge == ORDER_KEPT || edge == ORDER_LOST) return b->number == a->number + 1;
  return true;
}

static void begin_graphs(FILE *page, const char *title, const char *lead)
{
  page_begin(page, title, lead);
  fputs("<style>path.item.now{stroke-width:9}</style>\n", page);
}

static void draw_graph(FILE *out, const struct uma_litmus *test, const struct order_graph *graph, enum order_model model)
{
  int most = 0;
  for (int e = 0; e < graph->count; e++)
    if (graph->events[e].thread >= 0 && graph->events[e].number >= most) most = graph->events[e].number + 1;
  fprintf(out, "<svg viewBox=\"0 0 1040 %d\" width=\"1040\"><defs>", 20 + most * ROW);
  for (int k = ORDER_KEPT; k <= ORDER_FR; k++)
    fprintf(out,
            "<marker id=\"e%d\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"13\" markerHeight=\"13\" "
            "markerUnits=\"userSpaceOnUse\" "
            "orient=\"auto\"><path d=\"M0 0L10 5L0 10z\" fill=\"%s\"/></marker>",
            k, edge_colours[k]);
  fputs("</defs>\n", out);
  for (int from = 0; from < graph->count; from++)
    for (int to = 0; to < graph->count; to++) {
      enum order_edge edge = order_edge(graph, model, from, to);
      if (!in_cycle(graph, from, to) && is_drawn(graph, from, to, edge)) draw_edge(out, test, graph, from, to, edge, false);
    }
  draw_nodes(out, test, graph);
  for (int i = 0; i < graph->cycle_length; i++) {
    int from = graph->cycle[i], to = graph->cycle[(i + 1) % graph->cycle_length];
    enum order_edge edge = order_edge(graph, model, from, to);
    draw_edge(out, test, graph, from, to, edge ? edge : order_edge(graph, ORDER_SC, from, to), true);
  }
  fputs("</svg>\n", out);
}

/* The execution that must not be: with the cycle that forbids it, or, where there is none, with the cycle that SC has. */
static void draw_program(struct lab *lab, FILE *out, const struct uma_litmus *test, const struct order_marks *marks, enum order_model model)
{
  struct order_graph graph;
  enum order_verdict verdict = verdict_of(lab, test, marks, model, &graph);
  char heading[160];
  snprintf(heading, sizeof heading, "%s, %s: %s", test->name, model == ORDER_WEAK ? "weak" : "TSO",
           verdict == ORDER_ALLOWED ? "allowed, the order is not kept where the cycle is dashed" : "forbidden by this cycle");
  page_heading(out, heading);
  if (verdict == ORDER_ALLOWED) order_cycle(&graph, ORDER_SC);
  draw_graph(out, test, &graph, model);
}

/* ---- Fences on x86 ----------------------------------------------------------------------------------------------- */

static void tell_allowed(struct lab *lab, const struct program *program, const struct uma_litmus *test)
{
  int full = count_fences(test, true);
  if (full)
    lab_mistake(lab, "one-sided",
                "%s has %d mfence, and it is still allowed: a cycle goes through all threads, and each of its steps from a store to a load "
                "must be closed, in every thread.",
                program->file, full);
  else if (count_fences(test, false))
    lab_mistake(lab, "weak-fence",
                "sfence and lfence order nothing here that x86 does not order anyway: what is left to order is a store before a later "
                "load, and only mfence does that.");
}

/* Of a program that is the given one but for its fences. */
static void judge_fences(struct lab *lab, const struct program *program, const struct uma_litmus *test, const char *verdict,
                         const char *fewest)
{
  bool allowed = is_allowed(lab, test, ORDER_TSO);
  int fences = count_fences(test, false);
  if (!lab_check(lab, 3, !allowed, verdict, "TSO allows it; the graph in fences.html shows how")) tell_allowed(lab, program, test);
  if (allowed) lab_check(lab, 7, false, fewest, "looked at when it is forbidden");
  else if (!lab_check(lab, 7, fences <= program->fences, fewest, "it has %d, fewer are enough", fences))
    lab_mistake(lab, "too-many",
                "A fence is needed on x86 only between a store and a later load of the same thread that others must see in that order. "
                "Loads stay in order, stores stay in order, and exchanges are fences themselves.");
}

static void grade_fences_of(struct lab *lab, const struct program *program, FILE *page)
{
  char *text = lab_read(lab, program->file), verdict[64], fewest[64];
  struct uma_litmus *test = NULL, *plain = parse(lab, program->name, program->text);
  snprintf(verdict, sizeof verdict, "%s: what must not be is forbidden", program->name);
  snprintf(fewest, sizeof fewest, "%s: with the fewest fences", program->name);
  if (uma_litmus_parse(program->file, text, strlen(text), &test)) {
    lab_check(lab, 10, false, verdict, "%s", uma_last_error());
  } else if (!same_program(test, plain)) {
    lab_check(lab, 10, false, verdict, "this is another program: add fences or take them away, and change nothing else");
    lab_mistake(lab, "other-program",
                "%s no longer is the program that was given. It is easy to forbid an outcome by another program, or by another question.",
                program->file);
  } else {
    judge_fences(lab, program, test, verdict, fewest);
    draw_program(lab, page, test, NULL, ORDER_TSO);
  }
  free(text), uma_litmus_free(plain);
  if (test) uma_litmus_free(test);
}

static void grade_fences(struct lab *lab)
{
  FILE *page = lab_picture(lab, "fences.html", "what must not be, as a graph, with your fences on x86 (TSO)");
  begin_graphs(page, "Fences on x86",
               "For each program an execution that must not be. Thick: the cycle that forbids it, or that would. Black: the order of the "
               "program; dashed grey: where it is not kept. Green: a load has its value from that store (rf); red: a load comes before "
               "that store (fr); blue: stores, in order (co).");
  for (int p = 0; p < PROGRAMS; p++) grade_fences_of(lab, &programs[p], page);
  page_end(page);
}

/* ---- Orders on the weak machine ---------------------------------------------------------------------------------- */

struct orders {
  struct order_marks marks;
  int ordered, fences;
};

static void read_order(struct lab *lab, struct orders all[PROGRAMS], const char *line, int number)
{
  char program[WORDS], order[WORDS];
  int thread, access, p = 0;
  if (sscanf(line, "%31s P%d %d %31s", program, &thread, &access, order) != 4)
    lab_stop(lab, "orders.txt:%d: expected program, thread, access and order, such as \"queue P0 3 fence\", not \"%.60s\"", number, line);
  while (p < PROGRAMS && strcmp(program, programs[p].name)) p++;
  if (p == PROGRAMS) lab_stop(lab, "orders.txt:%d: \"%s\" is no program; expected queue, dekker, seqlock or spinlock", number, program);
  if (thread < 0 || thread > 1 || access < 1 || access > 4)
    lab_stop(lab, "orders.txt:%d: P%d %d: expected P0 or P1, and an access of 1 to 4", number, thread, access);
  struct order_marks *marks = &all[p].marks;
  bool *mark = !strcmp(order, "acquire")   ? &marks->acquire[thread][access - 1]
               : !strcmp(order, "release") ? &marks->release[thread][access - 1]
               : !strcmp(order, "fence")   ? &marks->fence[thread][access - 1]
                                           : NULL;
  if (!mark) lab_stop(lab, "orders.txt:%d: \"%s\" is no order; expected acquire, release or fence", number, order);
  if (*mark) return;
  *mark = true;
  if (order[0] == 'f') all[p].fences++;
  else all[p].ordered++;
}

static void read_orders(struct lab *lab, struct orders all[PROGRAMS])
{
  char *text = lab_read(lab, "orders.txt"), *rest = text, *line;
  for (int number = 1; (line = strsep(&rest, "\n")); number++) {
    line += strspn(line, " \t\r");
    line[strcspn(line, "#\r")] = 0;
    if (line[0]) read_order(lab, all, line, number);
  }
  free(text);
}

/* Acquire and release where they are: a store that should acquire, a load that should release. */
static void look_for_wrong_side(struct lab *lab, const struct uma_litmus *test, const struct orders *orders)
{
  struct order_graph graph;
  verdict_of(lab, test, &orders->marks, ORDER_WEAK, &graph);
  for (int e = test->location_count; e < graph.count; e++) {
    const struct order_event *event = &graph.events[e];
    bool acquire = orders->marks.acquire[event->thread][event->number], release = orders->marks.release[event->thread][event->number];
    if ((acquire && !event->reads) || (release && !event->writes))
      lab_mistake(lab, "wrong-side",
                  "%s, P%d, access %d: an acquire belongs to a load (what follows waits for it), a release to a store (it waits for what "
                  "precedes). The other way round they order nothing.",
                  test->name, event->thread, event->number + 1);
  }
}

/* The first mark without which the outcome still is forbidden. */
static bool find_useless(struct lab *lab, const struct uma_litmus *test, const struct orders *orders, char *text, size_t room)
{
  static const char *const names[] = {"acquire", "release", "fence"};
  for (int t = 0; t < test->thread_count; t++)
    for (int a = 0; a < ORDER_ACCESSES; a++)
      for (int k = 0; k < 3; k++) {
        struct order_marks marks = orders->marks;
        struct order_graph graph;
        bool *mark = k == 0 ? &marks.acquire[t][a] : k == 1 ? &marks.release[t][a] : &marks.fence[t][a];
        if (!*mark) continue;
        *mark = false;
        if (verdict_of(lab, test, &marks, ORDER_WEAK, &graph) == ORDER_ALLOWED) continue;
        snprintf(text, room, "P%d %d %s", t, a + 1, names[k]);
        return true;
      }
  return false;
}

static void tell_missing(struct lab *lab, const struct program *program, const struct orders *orders)
{
  if (!strcmp(program->name, "dekker") && orders->ordered && !orders->fences)
    lab_mistake(lab, "release-acquire",
                "Dekker must order a store before a later load. A release orders what precedes it, an acquire what follows: neither does. "
                "This takes a fence, on any machine.");
  else if (orders->ordered)
    lab_mistake(lab, "one-end",
                "%s: a release is of no use without an acquire on the other side, nor the other way round; and each store that must not "
                "come too early, each load that must not, needs its own.",
                program->name);
}

static void grade_orders_of(struct lab *lab, const struct program *program, const struct orders *orders, FILE *page)
{
  struct uma_litmus *test = parse(lab, program->name, program->text);
  struct order_graph graph;
  int price = fence_price(lab), cost = orders->ordered + price * orders->fences, least = program->costs[price > 1];
  bool forbidden = verdict_of(lab, test, &orders->marks, ORDER_WEAK, &graph) != ORDER_ALLOWED;
  char what[64], useless[WORDS];
  draw_program(lab, page, test, &orders->marks, ORDER_WEAK);
  snprintf(what, sizeof what, "%s: what must not be is forbidden", program->name);
  if (!lab_check(lab, 4, forbidden, what, "the weak machine allows it; the graph in orders.html shows how"))
    tell_missing(lab, program, orders);
  look_for_wrong_side(lab, test, orders);
  snprintf(what, sizeof what, "%s: at the least cost", program->name);
  if (!lab_check(lab, 6, forbidden && cost <= least, what, forbidden ? "it costs %d, less is enough" : "looked at when it is forbidden",
                 cost) &&
      forbidden) {
    if (find_useless(lab, test, orders, useless, sizeof useless))
      lab_mistake(lab, "not-needed", "%s: it is forbidden without \"%s\", too.", program->name, useless);
    else
      lab_mistake(lab, "dear",
                  "%s: nothing of it can be left out, but other orders do the same for less. What does one fence order at once, and how "
                  "many acquires or releases would that take?",
                  program->name);
  }
  uma_litmus_free(test);
}

static void grade_orders(struct lab *lab)
{
  struct orders all[PROGRAMS] = {0};
  read_orders(lab, all);
  FILE *page = lab_picture(lab, "orders.html", "what must not be, as a graph, with your orders on the weak machine");
  begin_graphs(page, "Acquire, release, fences",
               "For each program an execution that must not be. Thick: the cycle that forbids it, or that would. Black: order that is kept "
               "because you asked for it; dashed grey: where the program's order is not kept. Green: rf; red: fr; blue: co.");
  for (int p = 0; p < PROGRAMS; p++) grade_orders_of(lab, &programs[p], &all[p], page);
  page_end(page);
}

/* ---- Verdicts ---------------------------------------------------------------------------------------------------- */

/* The student's words on the test, lower half of each model: 1 allowed, 0 forbidden, -1 not said. */
static void read_verdict(const char *text, const char *name, int said[MODELS])
{
  size_t length = strlen(name);
  for (int m = 0; m < MODELS; m++) said[m] = -1;
  for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
    if (strncmp(line, name, length) || !isspace((unsigned char)line[length])) continue;
    size_t bytes = strcspn(line, "\n");
    for (int m = 0; m < MODELS; m++) {
      char word[WORDS];
      snprintf(word, sizeof word, " %s=", model_names[m]);
      const char *at = memmem(line, bytes, word, strlen(word));
      if (at) at += strlen(word), said[m] = !strncmp(at, "allowed", 7) ? 1 : !strncmp(at, "forbidden", 9) ? 0 : -1;
    }
  }
}

static void grade_verdicts(struct lab *lab)
{
  char *text = lab_read(lab, "verdicts.txt");
  int numbers[TESTS], weaker = 0;
  find_tests(lab, numbers);
  for (int t = 0; t < TESTS; t++) {
    struct uma_litmus *test = parse(lab, "test", pool[numbers[t]]);
    int said[MODELS], right = 0;
    read_verdict(text, test->name, said);
    for (int m = 0; m < MODELS; m++) right += said[m] == is_allowed(lab, test, (enum order_model)m);
    for (int m = 1; m < MODELS; m++) weaker += said[m] == 0 && said[m - 1] == 1;
    lab_check(lab, 4, right == MODELS, test->name, "%d of the %d verdicts are right; `uma litmus --explain` knows SC and TSO", right,
              MODELS);
    uma_litmus_free(test);
  }
  if (weaker)
    lab_mistake(lab, "upside-down",
                "Something is allowed by one model and forbidden by a weaker one. SC allows the least, TSO more, the weak machine most.");
  free(text);
}

const struct lab_plan lab_plan = {
    .number = 8,
    .title = "Consistency and fences",
    .task = task,
    .groups = {{"fences on x86", 40, grade_fences, 0},
               {"orders on the weak machine", 40, grade_orders, 0},
               {"verdicts", 20, grade_verdicts, 0}},
};
