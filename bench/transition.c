/* Misses of a coherent cache (MESI), of lines or of pages, by the states that they go from and to, as the literature on distributed shared
 * memory reports them: fetching the data, and waiting for acks.
 *
 * Here the thread that misses carries out everything itself, so waiting is work. The data part of S to M is the same transition with
 * nobody to invalidate, `s_to_m.0`; what 1, 4 or 8 sharers add to it, round by round, is the part of invalidations and acks (metric
 * acks, beside the metric latency of the whole). The others have no sharers to invalidate and are data alone:
 *
 *   i_to_s    clean home memory, other sharers       m_to_s   the data is an owner's, which keeps a copy, and memory gets it, too
 *   i_to_m    clean home memory, no copies           m_to_m   the owner hands the line over
 *
 * Device 0 makes the transition of many lines; before it, not timed, all devices bring their caches into the states that it needs. Every
 * round of stores has a value of its own, so that loads can check what they get.
 */
#include "bench/harness.h"

#include "bench/bare.h"
#include "bench/lines.h"

enum { WRITER = 3, SHARERS_MOST = 8 };

struct kind {
  const char *family, *path;
  size_t line, count; /* lines of so many bytes, so many of them */
};
static const struct kind of_lines = {"coherence.transition", "line", 64, 512}, of_pages = {"page.transition", "page", 4 * KiB, 64};

struct transition {
  const char *name;
  int readers;    /* so many devices from device 1 on have a copy */
  bool stores;    /* what device 0 does, and is timed */
  bool owned;     /* before it, another device has the lines modified; otherwise it has given them up to their home */
  bool shared;    /* device 0 has a copy */
  bool forgotten; /* the readers give theirs up again */
};

static const struct transition fetches[] = {
    {"i_to_s", 2, false, false, false, false},
    {"m_to_s", 0, false, true, false, false},
    {"i_to_m", 0, true, false, false, false},
    {"m_to_m", 0, true, true, false, false},
};
static const struct transition upgrades[] = {
    {"s_to_m.0", 1, true, false, true, true},
    {"s_to_m.1", 1, true, false, true, false},
    {"s_to_m.4", 4, true, false, true, false},
    {"s_to_m.8", SHARERS_MOST, true, false, true, false},
};
enum { FETCHES = sizeof fetches / sizeof fetches[0], UPGRADES = sizeof upgrades / sizeof upgrades[0] };

struct lab {
  char bench[48];
  const struct transition *transition;
  const struct lines *lines;
  uint64_t *written; /* the value that all lines hold, shared by the labs of this device */
};

static void store_all(struct lab *lab)
{
  size_t line = 0;
  for (size_t i = 0; i < lab->lines->count; i++, line = lines_next(lab->lines, line)) uma_st(lines_word(lab->lines, line), *lab->written);
}

static void load_all(struct lab *lab)
{
  size_t line = 0, wrong = 0;
  for (size_t i = 0; i < lab->lines->count; i++, line = lines_next(lab->lines, line))
    wrong += uma_ld(lines_word(lab->lines, line)) != *lab->written;
  bench_require(!wrong, "%s: %zu of %zu lines do not hold what was written last", lab->bench, wrong, lab->lines->count);
}

/* Another device writes all lines first, so that what is fetched is not in the processor's caches already (WRITER is on another core than
 * device 0, which matters where there are two). */
static void prepare_transition(void *context)
{
  struct lab *lab = context;
  const struct transition *transition = lab->transition;
  int me = uma_device();
  bench_flush();
  bench_barrier();
  ++*lab->written;
  if (me == WRITER) store_all(lab);
  if (me == WRITER && !transition->owned) bench_flush();
  bench_barrier();
  if (me ? me <= transition->readers : transition->shared) load_all(lab);
  bench_barrier();
  if (transition->forgotten && me) bench_flush();
  if (transition->stores) ++*lab->written;
}

static void make_transition(void *context, long count)
{
  struct lab *lab = context;
  if (uma_device()) return;
  if (lab->transition->stores) store_all(lab);
  else load_all(lab);
}

static struct bench_row row_of(const struct kind *kind, const struct transition *transition, const char *metric)
{
  char bench[48];
  snprintf(bench, sizeof bench, "%s.%s", kind->family, transition->name);
  return bench_row_of(bench, kind->path, "supernode", uma_device_count(), kind->line, metric, "ns");
}

static struct bench_series *latency_of(const struct kind *kind, const struct transition *transition)
{
  struct bench_row row = row_of(kind, transition, "latency");
  return bench_series(&row);
}

/* What sharers add, round by round: samples of one comparison stand at the same places of their series. */
static void record_acks(const struct kind *kind, const struct transition *transition, int since)
{
  const struct bench_series *whole = latency_of(kind, transition), *data = latency_of(kind, &upgrades[0]);
  struct bench_row row = row_of(kind, transition, "acks");
  for (int i = since; whole && data && i < whole->count && i < data->count; i++) bench_record(&row, whole->samples[i] - data->samples[i]);
}

static void compare_transitions(const struct kind *kind, const struct transition *transitions, int count, const struct lines *lines,
                                uint64_t *written)
{
  struct bench_variant variants[BENCH_VARIANTS];
  struct lab labs[BENCH_VARIANTS];
  for (int i = 0; i < count; i++) {
    labs[i] = (struct lab){.transition = &transitions[i], .lines = lines, .written = written};
    snprintf(labs[i].bench, sizeof labs[i].bench, "%s.%s", kind->family, transitions[i].name);
    variants[i] = (struct bench_variant){.bench = labs[i].bench,
                                         .path = kind->path,
                                         .bytes = lines->bytes,
                                         .metrics = BENCH_LATENCY,
                                         .operations = (double)lines->count,
                                         .prepare = prepare_transition,
                                         .step = make_transition,
                                         .context = &labs[i]};
  }
  bench_compare(variants, count);
  bench_barrier();
  load_all(&labs[count - 1]);
}

static void transition_body(void *context)
{
  const struct kind *kind = context;
  struct lines lines = {lines_memory(kind->count * kind->line, kind->line), kind->count, kind->line};
  struct lab first = {.lines = &lines, .written = &(uint64_t){0}};
  if (uma_device() == 1) store_all(&first);
  bench_barrier();
  compare_transitions(kind, fetches, FETCHES, &lines, first.written);
  bench_barrier();
  int since = uma_device() ? 0 : latency_of(kind, &upgrades[0])->count;
  compare_transitions(kind, upgrades, UPGRADES, &lines, first.written);
  for (int i = 1; i < UPGRADES && !uma_device(); i++) record_acks(kind, &upgrades[i], since);
}

static int run_transition(void)
{
  struct bench_session session = {.devices = SHARERS_MOST + 1, .mode = UMA_MODE_SUPERNODE, .protocol = "mesi"};
  return bench_spawn(&session, transition_body, (void *)&of_lines);
}

static int run_page_transition(void)
{
  struct bench_session session = {
      .devices = SHARERS_MOST + 1, .mode = UMA_MODE_SUPERNODE, .memory = 16 * MiB, .protocol = "mesi", .paged = true};
  return bare_allowed(false) ? bench_spawn(&session, transition_body, (void *)&of_pages) : 0;
}

const struct bench_case bench_transition_cases[] = {
    {"coherence.transition", "misses of a cache of lines by the states that they go from and to", run_transition},
    {"page.transition", "the same of a cache of pages", run_page_transition},
    {NULL, NULL, NULL},
};
