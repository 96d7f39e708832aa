/* Lab 3: litmus tests that tell broken protocols from right ones.
 *
 * A test tells a protocol when the outcome that it asks for cannot happen with the right protocols, but can with that one: found by trying
 * all orders (litmus_world.h), so that a test that would have to be lucky counts, and one that is only lucky does not. */
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "lab.h"
#include "litmus_world.h"
#include "mutant.h"
#include "page.h"

enum { TESTS_LEAST = 5, TESTS_MOST = 8, BROKEN = 6, WANTED = 5, USEFUL = 4, VALUES = 4, WALKS = 4000, ROOM = 1024, BARS = 16 };

/* One cell of a shipped protocol changed: the student sees what happens, not which. */
static const struct broken {
  const char *protocol, *role, *state, *events, *rest;
} pool[] = {
    {"msi", "cache", "S", "Inv", "ack"},
    {"moesi", "directory", "S", "GetM", "data clear_sharers set_owner -> M_U"},
    {"msi", "cache", "IM_A", "Inv-Ack", "store unblock -> M"},
    {"msi", "cache", "SM_A", "Inv-Ack", "store unblock -> M"},
    {"mesi", "directory", "M", "GetS", "data add_sharer -> S_U"},
    {"msi", "cache", "M", "Fwd-GetM", "data -> S"},
    {"msi", "directory", "S_DU", "Data", "- -> S_U"},
    {"mesi", "cache", "IS_D", "Data", "load unblock -> S"},
    {"msi", "directory", "S", "GetS", "data -> S_U"},
    {"mesi", "cache", "E", "Fwd-GetM", "data -> E"},
    {"moesi", "directory", "O", "GetM", "fwd_M clear_sharers set_owner -> M_U"},
    {"moesi", "cache", "M", "Fwd-GetS", "data"},
    {"mesi", "cache", "E", "Fwd-GetS", "data data_home -> E"},
    {"msi", "cache", "IM_AD", "Data", "store unblock -> M"},
};
enum { POOL = sizeof pool / sizeof pool[0] };

static const char *const right_names[] = {"msi", "mesi", "moesi"};
enum { RIGHT = sizeof right_names / sizeof right_names[0] };

struct tests {
  int count;
  char names[TESTS_MOST + 1][64];
  struct uma_litmus *list[TESTS_MOST + 1];
};

struct verdicts {
  bool sound[TESTS_MOST];         /* no right protocol shows what it asks for */
  bool tells[TESTS_MOST][BROKEN]; /* and this broken one does */
};

/* ---- The student's own ------------------------------------------------------------------------------------------- */

static long first_value(struct lab *lab)
{
  return 10 * lab_number(lab, "value", 2, 99);
}

/* Which of the pool: drawn without putting back. */
static void choose(struct lab *lab, int chosen[BROKEN])
{
  int order[POOL];
  uint64_t seed = lab_seed(lab, "broken");
  for (int i = 0; i < POOL; i++) order[i] = i;
  for (int b = 0; b < BROKEN; b++) {
    int at = b + (int)(lab_draw(&seed) % (uint64_t)(POOL - b)), taken = order[at];
    order[at] = order[b];
    chosen[b] = order[b] = taken;
  }
}

static char *broken_text(const struct broken *broken)
{
  return mutant_text(coh_shipped_text(broken->protocol), broken->role, broken->state, broken->events, broken->rest);
}

static struct coh_protocol *parse_text(struct lab *lab, const char *text, const char *name)
{
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  if (!protocol || !text || coh_protocol_parse(text, name, protocol, stderr)) lab_stop(lab, "the judge's protocol %s cannot be read", name);
  return protocol;
}

static void load_protocols(struct lab *lab, struct coh_protocol *right[RIGHT], struct coh_protocol *broken[BROKEN])
{
  int chosen[BROKEN];
  choose(lab, chosen);
  for (int r = 0; r < RIGHT; r++) right[r] = parse_text(lab, coh_shipped_text(right_names[r]), right_names[r]);
  for (int b = 0; b < BROKEN; b++) {
    char *text = broken_text(&pool[chosen[b]]);
    broken[b] = parse_text(lab, text, "broken");
    free(text);
  }
}

/* For `uma litmus --coherence line --protocol build/broken-1.protocol`, on real devices. */
static void write_broken(struct lab *lab)
{
  int chosen[BROKEN];
  choose(lab, chosen);
  for (int b = 0; b < BROKEN; b++) {
    char file[32], *text = broken_text(&pool[chosen[b]]);
    snprintf(file, sizeof file, "broken-%d.protocol", b + 1);
    FILE *out = lab_output(lab, file);
    fputs(text, out);
    fclose(out), free(text);
  }
}

static void task(struct lab *lab)
{
  long value = first_value(lab);
  lab_say(lab, "  your values: store %ld to %ld, nothing else; %d broken protocols are yours, %d of them must be told", value,
          value + VALUES - 1, BROKEN, WANTED);
}

/* ---- Reading the tests ------------------------------------------------------------------------------------------- */

static void read_tests(struct lab *lab, struct tests *tests)
{
  glob_t found;
  tests->count = 0;
  if (glob(lab_work(lab, "*.litmus"), 0, NULL, &found)) lab_stop(lab, "there is no file that ends in .litmus");
  for (size_t i = 0; i < found.gl_pathc && tests->count < TESTS_MOST; i++) {
    snprintf(tests->names[tests->count], sizeof tests->names[0], "%s", strrchr(found.gl_pathv[i], '/') + 1);
    if (!uma_litmus_read(found.gl_pathv[i], &tests->list[tests->count])) tests->count++;
  }
  globfree(&found);
}

/* Immediate values that the test stores and that are not the student's; the first of them, or -1. */
static long foreign_value(const struct uma_litmus *test, long first)
{
  for (int t = 0; t < test->thread_count; t++)
    for (int s = 0; s < test->threads[t].count; s++) {
      const struct uma_litmus_step *step = &test->threads[t].steps[s];
      bool stores = step->op == UMA_LITMUS_STORE || step->op == UMA_LITMUS_SWAP;
      if (stores && step->immediate && ((long)step->value < first || (long)step->value >= first + VALUES)) return (long)step->value;
    }
  return -1;
}

static bool is_well_made(struct lab *lab, const char *path, const char *name, struct uma_litmus **test)
{
  char what[96], why[128] = "";
  struct litmus_result result;
  snprintf(what, sizeof what, "%s is a test that the judge can run", name);
  if (uma_litmus_read(path, test)) return lab_check(lab, 2, false, what, "%s", uma_last_error());
  long foreign = foreign_value(*test, first_value(lab));
  if (foreign >= 0)
    return lab_check(lab, 2, false, what, "it stores %ld; yours are %ld to %ld", foreign, first_value(lab), first_value(lab) + VALUES - 1);
  if ((*test)->quantifier != UMA_LITMUS_EXISTS)
    return lab_check(lab, 2, false, what, "the condition must begin with exists: it says the outcome that must not happen");
  struct coh_protocol *right = parse_text(lab, coh_shipped_text("msi"), "msi");
  if (litmus_explore(*test, right, &result, why, sizeof why)) return lab_check(lab, 2, false, what, "%s", why);
  free(result.outcomes.list), free(right);
  return lab_check(lab, 2, !result.cut, what, "it has more than %d states; make it smaller", LITMUS_STATES_MOST);
}

/* 2 points each for the first five; files beyond the eighth are not looked at. */
static void grade_files(struct lab *lab)
{
  glob_t found;
  int good = 0;
  write_broken(lab);
  if (glob(lab_work(lab, "*.litmus"), 0, NULL, &found)) lab_stop(lab, "there is no file that ends in .litmus");
  for (size_t i = 0; i < found.gl_pathc && good < TESTS_LEAST; i++) {
    struct uma_litmus *test = NULL;
    good += is_well_made(lab, found.gl_pathv[i], strrchr(found.gl_pathv[i], '/') + 1, &test);
  }
  if (found.gl_pathc < TESTS_LEAST || found.gl_pathc > TESTS_MOST)
    lab_say(lab, "       there are %zu tests; expected %d to %d", found.gl_pathc, TESTS_LEAST, TESTS_MOST);
  globfree(&found);
}

/* ---- Judging ----------------------------------------------------------------------------------------------------- */

static bool shows(struct lab *lab, const struct uma_litmus *test, const struct coh_protocol *protocol)
{
  struct litmus_result result;
  char why[128];
  if (litmus_explore(test, protocol, &result, why, sizeof why)) lab_stop(lab, "%s", why);
  bool asked = uma_litmus_any_asked(test, &result.outcomes);
  free(result.outcomes.list);
  return asked;
}

static bool is_usable(struct lab *lab, const struct uma_litmus *test)
{
  char why[128];
  struct litmus_result result;
  struct coh_protocol *right = parse_text(lab, coh_shipped_text("msi"), "msi");
  bool usable = foreign_value(test, first_value(lab)) < 0 && test->quantifier == UMA_LITMUS_EXISTS &&
                !litmus_explore(test, right, &result, why, sizeof why);
  if (usable) free(result.outcomes.list);
  free(right);
  return usable;
}

static void judge(struct lab *lab, struct tests *tests, struct verdicts *verdicts)
{
  struct coh_protocol *right[RIGHT], *broken[BROKEN];
  load_protocols(lab, right, broken);
  read_tests(lab, tests);
  memset(verdicts, 0, sizeof *verdicts);
  for (int t = 0; t < tests->count; t++) {
    const struct uma_litmus *test = tests->list[t];
    if (!is_usable(lab, test)) continue;
    verdicts->sound[t] = true;
    for (int r = 0; r < RIGHT && verdicts->sound[t]; r++) verdicts->sound[t] = !shows(lab, test, right[r]);
    for (int b = 0; b < BROKEN; b++) verdicts->tells[t][b] = verdicts->sound[t] && shows(lab, test, broken[b]);
  }
}

static int told_by_all(const struct tests *tests, const struct verdicts *verdicts, char *missed, size_t size)
{
  int told = 0;
  missed[0] = 0;
  for (int b = 0; b < BROKEN; b++) {
    bool any = false;
    for (int t = 0; t < tests->count; t++) any |= verdicts->tells[t][b];
    told += any;
    if (!any) snprintf(missed + strlen(missed), size - strlen(missed), "%sbroken-%d", missed[0] ? ", " : "", b + 1);
  }
  return told;
}

/* Does any thread load a location twice? */
static bool looks_twice(const struct uma_litmus *test)
{
  for (int t = 0; t < test->thread_count; t++) {
    int loads[UMA_LITMUS_LOCATIONS] = {0};
    for (int s = 0; s < test->threads[t].count; s++) {
      const struct uma_litmus_step *step = &test->threads[t].steps[s];
      if (step->op != UMA_LITMUS_STORE && step->op < UMA_LITMUS_FENCE_FULL && !uma_litmus_is_local(step) && ++loads[step->location] > 1)
        return true;
    }
  }
  return false;
}

static void look_for_mistakes(struct lab *lab, const struct tests *tests, const struct verdicts *verdicts)
{
  bool twice = false, reader = false;
  for (int t = 0; t < tests->count; t++) {
    twice |= looks_twice(tests->list[t]);
    reader |= tests->list[t]->thread_count > 2;
    if (!verdicts->sound[t] && is_usable(lab, tests->list[t]))
      lab_mistake(lab, "false-alarm",
                  "A test asks for something that sequential consistency allows: it would call a right protocol broken. Try "
                  "all orders of its threads by hand, or ask `uma litmus --explain`.");
  }
  if (tests->count && !twice)
    lab_mistake(lab, "cold",
                "No thread of yours looks at a location a second time. A copy that should be gone, and is not, can only be seen by a "
                "thread that had it before: let it load the location first, then wait for a sign that it was stored to.");
  if (tests->count && !reader)
    lab_mistake(lab, "two-only",
                "All your tests have two threads. Some protocols go wrong only when there are two sharers, or when a third reads "
                "what went from the first to the second.");
}

static void credit_soundness(struct lab *lab, const struct tests *tests, const struct verdicts *verdicts)
{
  int sound = 0, most = tests->count > TESTS_LEAST ? tests->count : TESTS_LEAST;
  for (int t = 0; t < tests->count; t++) {
    sound += verdicts->sound[t];
    if (!verdicts->sound[t])
      lab_say(lab, "       %s %s", tests->names[t],
              is_usable(lab, tests->list[t]) ? "asks for what a right protocol may show" : "is not judged: see above");
  }
  lab_credit(lab, 30 * sound / most, 30, "no test alarms on a right protocol",
             "%d of %d tests (at least %d) are silent on msi, mesi and moesi", sound, most, TESTS_LEAST);
}

static void credit_told(struct lab *lab, const struct tests *tests, const struct verdicts *verdicts)
{
  char missed[128], what[96];
  int told = told_by_all(tests, verdicts, missed, sizeof missed);
  snprintf(what, sizeof what, "%d of %d broken protocols are told", WANTED, BROKEN);
  lab_credit(lab, 10 * told, 10 * WANTED, what, "%d are; not told: %s", told, missed);
}

static void credit_use(struct lab *lab, const struct tests *tests, const struct verdicts *verdicts)
{
  int useful = 0;
  for (int t = 0; t < tests->count; t++) {
    bool tells = false;
    for (int b = 0; b < BROKEN; b++) tells |= verdicts->tells[t][b];
    useful += tells;
    if (!tells) lab_say(lab, "       %s tells none of your broken protocols", tests->names[t]);
  }
  lab_credit(lab, 10 * useful / USEFUL, 10, "four tests or more tell something", "%d do", useful);
}

/* ---- The histogram ----------------------------------------------------------------------------------------------- */

/* The outcomes of one test on a right and on a broken machine, side by side. */
static void draw_test(FILE *out, const struct uma_litmus *test, const struct coh_protocol *right, const struct coh_protocol *broken,
                      int number, uint64_t seed)
{
  static char texts[BARS][ROOM];
  static const char *series[2] = {"a right protocol", NULL};
  const char *names[BARS];
  double values[2 * BARS] = {0};
  bool alarming[2 * BARS] = {0};
  struct uma_litmus_outcomes seen[2];
  int count = 0;
  char name[32], title[128];
  if (litmus_walk(test, right, seed, WALKS, &seen[0]) || litmus_walk(test, broken, seed, WALKS, &seen[1])) return;
  for (int s = 0; s < 2; s++)
    for (size_t i = 0; i < seen[s].count; i++) {
      int at = 0;
      char text[ROOM];
      uma_litmus_format(test, &seen[s].list[i], text, sizeof text);
      while (at < count && strcmp(texts[at], text)) at++;
      if (at == BARS) continue;
      if (at == count) snprintf(texts[count], sizeof texts[0], "%s", text), names[count] = texts[count], count++;
      values[2 * at + s] = (double)seen[s].list[i].count;
      alarming[2 * at + s] = uma_litmus_asked(test, &seen[s].list[i]);
    }
  snprintf(name, sizeof name, "broken-%d", number);
  snprintf(title, sizeof title, "%s: %s %s", test->name, uma_litmus_quantifier_name(test->quantifier), test->condition_text);
  series[1] = name;
  page_bars(out, &(struct page_bars){.title = title,
                                     .unit = "runs",
                                     .group_count = count,
                                     .series_count = 2,
                                     .groups = names,
                                     .series = series,
                                     .values = values,
                                     .alarming = alarming});
  free(seen[0].list), free(seen[1].list);
}

static void draw(struct lab *lab, const struct tests *tests, const struct verdicts *verdicts)
{
  struct coh_protocol *right[RIGHT], *broken[BROKEN];
  load_protocols(lab, right, broken);
  FILE *out = lab_picture(lab, "histogram.html", "outcomes on a right and on a broken protocol");
  page_begin(out, "Break it first",
             "Seeded runs of each test on a right protocol and on a broken one. Red: the outcome that must not happen.");
  for (int t = 0; t < tests->count; t++) {
    int b = 0;
    while (b < BROKEN - 1 && !verdicts->tells[t][b]) b++;
    if (is_usable(lab, tests->list[t])) draw_test(out, tests->list[t], right[0], broken[b], b + 1, lab_seed(lab, "walks"));
  }
  page_end(out);
}

static void grade_verdicts(struct lab *lab)
{
  static struct tests tests;
  static struct verdicts verdicts;
  judge(lab, &tests, &verdicts);
  credit_soundness(lab, &tests, &verdicts);
  credit_told(lab, &tests, &verdicts);
  credit_use(lab, &tests, &verdicts);
  look_for_mistakes(lab, &tests, &verdicts);
  draw(lab, &tests, &verdicts);
}

const struct lab_plan lab_plan = {
    .number = 3,
    .title = "Break it first",
    .task = task,
    .groups = {{"the tests", 10, grade_files, 0}, {"what they tell", 90, grade_verdicts, 60}},
};
