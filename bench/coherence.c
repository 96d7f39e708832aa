/* What the coherent caches cost (access mode `line`, protocol MESI): hits, misses, and each kind of transition that a miss can be.
 *
 * Misses are loads or stores of many lines, one word of each, that lie in device 1's window, in an order that no prefetcher guesses. A
 * preparation that is not timed brings all caches into the wanted state, beginning with uma_flush. "raw" is the same work on a plain
 * mapping: of a line that the other core has modified, which is what the processor's own protocol does for such a miss.
 *
 * coherence.transition.*: from which state of device 0's cache to which, as a whole (metric latency). In distributed systems one splits it
 * into fetching data and waiting for acks. Here the thread that misses carries out everything itself, so waiting is work: the data part
 * is the same transition with nobody to invalidate, `s_to_m.0`, and what 1, 4 or 8 sharers add to it, round by round, is the part of
 * invalidations and acks (metric acks). The other transitions invalidate no sharers and are data alone:
 *
 *   i_to_s    clean home memory, other sharers       m_to_s   the data is an owner's, which keeps a copy, and memory gets it, too
 *   i_to_m    clean home memory, no copies           m_to_m   the owner hands the line over
 */
#include "bench/harness.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "bench/words.h"
#include "coherence/check.h"
#include "fabric/futex.h"

#define PROTOCOL "mesi"

static void barrier(void)
{
  bench_check(uma_barrier(), "uma_barrier");
}

static void flush(void)
{
  bench_check(uma_flush(), "uma_flush");
}

/* ---- lines in an order of their own */

struct lines {
  unsigned char *first;
  size_t count, bytes; /* count: a power of two; bytes: of a line */
};

/* A generator of full period: from 0 on it comes to every line once, and back to 0. */
static size_t following(const struct lines *lines, size_t line)
{
  return (line * 0x9E3779B5u + 0x7F4A7C15u) & (lines->count - 1);
}

static uint64_t *word_of(const struct lines *lines, size_t line)
{
  return (uint64_t *)(lines->first + line * lines->bytes);
}

/* Makes the first word of each line the number of the line that follows, so that one access waits for the one before it. */
static void link_lines(const struct lines *lines)
{
  for (size_t line = 0; line < lines->count; line++) uma_st(word_of(lines, line), following(lines, line));
}

static void walk(const struct lines *lines)
{
  size_t line = 0;
  for (size_t i = 0; i < lines->count; i++) line = uma_ld(word_of(lines, line));
  bench_require(!line, "a walk through all lines ends at line %zu instead of where it began", line);
}

/* Collective: `bytes` of every window, where a line begins; device 1's. */
static unsigned char *lines_memory(size_t bytes, size_t line)
{
  unsigned char *mine = uma_alloc_symmetric(bytes + line);
  bench_require(mine, "no device memory: %s", uma_last_error());
  uintptr_t first = (uintptr_t)uma_symmetric(mine, 1);
  return (unsigned char *)((first + line - 1) & ~(line - 1));
}

/* ---- hits */

static void hit_body(void *raw)
{
  uint64_t *mine = uma_alloc_symmetric(64), *word = uma_symmetric(mine, 1);
  bench_require(mine, "no device memory: %s", uma_last_error());
  struct bench_variant loads[] = {
      {"coherence.hit.load", "line", NULL, 8, BENCH_LATENCY, 1, NULL, bench_load, word, NULL},
      {"coherence.hit.load", "raw", "-", 8, BENCH_LATENCY, 1, NULL, bench_load_plain, raw, NULL},
  };
  struct bench_variant chains[] = {
      {"coherence.hit.chain", "line", NULL, 8, BENCH_LATENCY, 1, NULL, bench_chain, word, NULL},
      {"coherence.hit.chain", "raw", "-", 8, BENCH_LATENCY, 1, NULL, bench_chain_plain, raw, NULL},
  };
  struct bench_variant stores[] = {
      {"coherence.hit.store", "line", NULL, 8, BENCH_LATENCY, 1, NULL, bench_store, word, NULL},
      {"coherence.hit.store", "raw", "-", 8, BENCH_LATENCY, 1, NULL, bench_store_plain, raw, NULL},
      {"coherence.hit.exchange", "raw", "-", 8, BENCH_LATENCY, 1, NULL, bench_exchange_plain, raw, NULL},
  };
  struct bench_variant adds[] = {
      {"coherence.hit.fetch_add", "line", NULL, 8, BENCH_LATENCY, 1, NULL, bench_add, word, NULL},
      {"coherence.hit.fetch_add", "raw", "-", 8, BENCH_LATENCY, 1, NULL, bench_add_plain, raw, NULL},
  };
  if (uma_device() == 1) uma_st(mine, (uintptr_t)mine);
  *(uintptr_t *)raw = (uintptr_t)raw;
  barrier();
  bench_compare(loads, 2);
  bench_compare(chains, 2);
  bench_compare(stores, 3);
  bench_compare(adds, 2);
}

static int run_hit(void)
{
  struct bench_session session = {.devices = 2, .mode = UMA_MODE_SUPERNODE, .protocol = PROTOCOL};
  void *raw = bench_map(4 * KiB);
  int result = raw ? bench_spawn(&session, hit_body, raw) : -EIO;
  bench_unmap(raw, 4 * KiB);
  return result;
}

/* ---- misses: clean home memory, and what the processor takes for a line of the other core */

#define LINE_MOST (4 * KiB)

static void prepare_miss(void *context)
{
  if (!uma_device()) flush();
}

static void miss(void *context, long count)
{
  if (!uma_device()) walk(context);
}

/* Device 1 modifies every line of the processor; the numbers stay what they are. */
static void prepare_plain(void *context)
{
  const struct lines *lines = context;
  if (uma_device() != 1) return;
  for (size_t line = 0; line < lines->count; line++) {
    volatile uint64_t *word = word_of(lines, line);
    for (size_t at = 0; at < lines->bytes / 8; at += 8) word[at] = at ? line : following(lines, line);
  }
}

static void read_plain(void *context, long count)
{
  const struct lines *lines = context;
  uint64_t copy[LINE_MOST / 8];
  size_t line = 0;
  if (uma_device()) return;
  for (size_t i = 0; i < lines->count; i++) {
    memcpy(copy, word_of(lines, line), lines->bytes);
    bench_keep(copy[0]);
    line = copy[0];
  }
}

struct miss_case {
  void *raw;
  size_t line, bytes; /* all lines */
};

static void miss_body(void *argument)
{
  const struct miss_case *one = argument;
  size_t count = one->bytes / one->line;
  struct lines lines = {lines_memory(one->bytes, one->line), count, one->line}, plain = {one->raw, count, one->line};
  if (uma_device() == 1) {
    link_lines(&lines);
    flush();
  }
  barrier();
  struct bench_variant variants[] = {
      {"coherence.miss", "line", NULL, one->line, BENCH_LATENCY, (double)count, prepare_miss, miss, &lines, NULL},
      {"coherence.miss", "raw", "-", one->line, BENCH_LATENCY, (double)count, prepare_plain, read_plain, &plain, NULL},
  };
  bench_compare(variants, 2);
}

static int run_miss(void)
{
  struct miss_case cases[] = {{NULL, 64, 256 * KiB}, {NULL, LINE_MOST, 512 * KiB}}; /* they fit into a cache */
  int result = 0;
  for (int i = 0; i < 2 && !result; i++) {
    struct bench_session session = {.devices = 2, .mode = UMA_MODE_SUPERNODE, .protocol = PROTOCOL, .line = cases[i].line};
    cases[i].raw = bench_map(cases[i].bytes);
    result = cases[i].raw ? bench_spawn(&session, miss_body, &cases[i]) : -EIO;
    bench_unmap(cases[i].raw, cases[i].bytes);
  }
  return result;
}

/* ---- one line written in turn by two devices, which see by the line itself that it is their turn */

#define SPINS_BEFORE_YIELD 4096

struct turns {
  uint64_t *word;
  uint64_t turn; /* how many came so far */
};

static void take_turns(void *context, long count)
{
  struct turns *turns = context;
  for (long i = 0; i < count; i++, turns->turn += 2) {
    uint64_t wanted = turns->turn + (uint64_t)uma_device();
    for (unsigned spins = 1; uma_ld(turns->word) != wanted; spins++)
      if (spins % SPINS_BEFORE_YIELD == 0) sched_yield();
    uma_st(turns->word, wanted + 1);
  }
}

/* uma_ld and uma_st of memory that is in no window are the processor's. */
static void pingpong_body(void *raw)
{
  struct turns line = {(uint64_t *)lines_memory(64, 64), 0}, plain = {raw, 0};
  if (uma_device() == 1) uma_st(line.word, UINT64_C(0));
  barrier();
  struct bench_variant variants[] = {
      {"coherence.pingpong", "line", NULL, 64, BENCH_LATENCY, 2, NULL, take_turns, &line, NULL},
      {"coherence.pingpong", "raw", "-", 64, BENCH_LATENCY, 2, NULL, take_turns, &plain, NULL},
  };
  bench_compare(variants, 2);
}

static int run_pingpong(void)
{
  struct bench_session session = {.devices = 2, .mode = UMA_MODE_SUPERNODE, .protocol = PROTOCOL};
  void *raw = bench_map(4 * KiB);
  int result = raw ? bench_spawn(&session, pingpong_body, raw) : -EIO;
  bench_unmap(raw, 4 * KiB);
  return result;
}

/* ---- transitions of device 0's cache */

#define TRANSITION_LINES 512
enum { WRITER = 2, SHARERS_MOST = 8 };

static const struct transition {
  const char *bench;
  bool stores;    /* what device 0 does, and is timed */
  bool written;   /* before it, another device has modified the lines */
  bool shared;    /* device 0 has a copy */
  int readers;    /* so many others as well, from device 1 on */
  bool forgotten; /* which give them up again */
} fetches[] =
    {
        {"coherence.transition.i_to_s", false, false, false, 2, false},
        {"coherence.transition.m_to_s", false, true, false, 0, false},
        {"coherence.transition.i_to_m", true, false, false, 0, false},
        {"coherence.transition.m_to_m", true, true, false, 0, false},
},
  upgrades[] = {
      {"coherence.transition.s_to_m.0", true, false, true, 1, true},
      {"coherence.transition.s_to_m.1", true, false, true, 1, false},
      {"coherence.transition.s_to_m.4", true, false, true, 4, false},
      {"coherence.transition.s_to_m.8", true, false, true, SHARERS_MOST, false},
};
enum { FETCHES = sizeof fetches / sizeof fetches[0], UPGRADES = sizeof upgrades / sizeof upgrades[0] };

struct lab {
  const struct transition *transition;
  const struct lines *lines;
  uint64_t *written; /* the value that all lines hold, shared by the labs of this device */
};

static void store_all(struct lab *lab)
{
  size_t line = 0;
  for (size_t i = 0; i < lab->lines->count; i++, line = following(lab->lines, line)) uma_st(word_of(lab->lines, line), *lab->written);
}

static void load_all(struct lab *lab)
{
  size_t line = 0, wrong = 0;
  for (size_t i = 0; i < lab->lines->count; i++, line = following(lab->lines, line))
    wrong += uma_ld(word_of(lab->lines, line)) != *lab->written;
  bench_require(!wrong, "%s: %zu of %zu lines do not hold what was written last", lab->transition->bench, wrong, lab->lines->count);
}

static void prepare_transition(void *context)
{
  struct lab *lab = context;
  const struct transition *transition = lab->transition;
  int me = uma_device();
  flush();
  barrier();
  if (transition->written) ++*lab->written;
  if (transition->written && me == WRITER) store_all(lab);
  if (me ? me <= transition->readers : transition->shared) load_all(lab);
  barrier();
  if (transition->forgotten && me) flush();
  if (transition->stores) ++*lab->written;
}

static void make_transition(void *context, long count)
{
  struct lab *lab = context;
  if (uma_device()) return;
  if (lab->transition->stores) store_all(lab);
  else load_all(lab);
}

static struct bench_series *series_of(const char *bench, const char *metric)
{
  struct bench_row row = bench_row_of(bench, "line", "supernode", uma_device_count(), 64, metric, "ns");
  return bench_series(&row);
}

/* What sharers add, round by round: samples of one comparison stand at the same places of their series. */
static void record_acks(const char *bench, int since)
{
  const struct bench_series *whole = series_of(bench, "latency"), *data = series_of(upgrades[0].bench, "latency");
  struct bench_row row = bench_row_of(bench, "line", "supernode", uma_device_count(), 64, "acks", "ns");
  for (int i = since; whole && data && i < whole->count && i < data->count; i++) bench_record(&row, whole->samples[i] - data->samples[i]);
}

static void compare_transitions(const struct transition *transitions, int count, const struct lines *lines, uint64_t *written)
{
  struct bench_variant variants[BENCH_VARIANTS];
  struct lab labs[BENCH_VARIANTS];
  for (int i = 0; i < count; i++) {
    labs[i] = (struct lab){&transitions[i], lines, written};
    variants[i] = (struct bench_variant){.bench = transitions[i].bench,
                                         .path = "line",
                                         .bytes = lines->bytes,
                                         .metrics = BENCH_LATENCY,
                                         .operations = (double)lines->count,
                                         .prepare = prepare_transition,
                                         .step = make_transition,
                                         .context = &labs[i]};
  }
  bench_compare(variants, count);
  barrier();
  load_all(&labs[0]);
}

static void transition_body(void *unused)
{
  struct lines lines = {lines_memory(TRANSITION_LINES * 64, 64), TRANSITION_LINES, 64};
  struct lab first = {&fetches[0], &lines, &(uint64_t){0}};
  if (uma_device() == 1) store_all(&first);
  barrier();
  compare_transitions(fetches, FETCHES, &lines, first.written);
  barrier();
  int since = uma_device() ? 0 : series_of(upgrades[0].bench, "latency")->count;
  compare_transitions(upgrades, UPGRADES, &lines, first.written);
  for (int i = 1; i < UPGRADES && !uma_device(); i++) record_acks(upgrades[i].bench, since);
}

static int run_transition(void)
{
  struct bench_session session = {.devices = SHARERS_MOST + 1, .mode = UMA_MODE_SUPERNODE, .protocol = PROTOCOL};
  return bench_spawn(&session, transition_body, NULL);
}

/* ---- misses of all devices at a time; how many of them is a property of the session, so the rounds are sessions */

enum { LINES_OF_EACH = 2048, WALKS = 8 };

/* Each device misses all its lines and gives them up, several times, so that how long sleepers take to wake matters little. From the first
 * device's begin to the last one's end, by the one clock of this host: devices that share a core begin one after the other. */
static double walk_together_ns(const struct lines *lines)
{
  uint64_t begin, end;
  flush();
  barrier();
  begin = fab_now_ns();
  for (int i = 0; i < WALKS; i++) {
    walk(lines);
    flush();
  }
  end = fab_now_ns();
  bench_check(uma_allreduce(&begin, &begin, 1, UMA_UINT64, UMA_MIN), "uma_allreduce");
  bench_check(uma_allreduce(&end, &end, 1, UMA_UINT64, UMA_MAX), "uma_allreduce");
  return (double)(end - begin);
}

/* Each device's lines lie in the window of the device after it. */
static void misses_body(void *unused)
{
  int devices = uma_device_count();
  unsigned char *mine = uma_alloc_symmetric(LINES_OF_EACH * 64);
  bench_require(mine, "no device memory: %s", uma_last_error());
  struct lines lines = {uma_symmetric(mine, (uma_device() + 1) % devices), LINES_OF_EACH, 64};
  struct bench_row row = bench_row_of("coherence.misses", "line", "supernode", devices, 64, "rate", "M/s");
  link_lines(&lines);
  walk_together_ns(&lines); /* warms up */
  for (int round = 0; round < bench_run.rounds; round++) {
    double ns = walk_together_ns(&lines);
    if (!uma_device()) bench_record(&row, (double)devices * LINES_OF_EACH * WALKS * 1e3 / ns);
  }
}

static int run_misses(void)
{
  int result = 0;
  for (int round = 0; round < (bench_run.options.quick ? 1 : 2); round++)
    for (int devices = 2; devices <= 8 && !result; devices *= 4) {
      struct bench_session session = {.devices = devices, .mode = UMA_MODE_SUPERNODE, .protocol = PROTOCOL};
      result = bench_spawn(&session, misses_body, NULL);
    }
  return result;
}

/* ---- the checker */

static int check_protocol(const struct coh_protocol *protocol)
{
  const struct coh_check_options options = {.sharers = "full", .caches = 4, .lines = 1};
  static struct coh_check_result checked;
  struct bench_row row = bench_row_of("coherence.check", "-", "-", options.caches, 0, "rate", "M/s");
  for (int sample = 0; sample < bench_run.rounds / 3; sample++) {
    uint64_t begin = fab_now_ns();
    int result = coh_check(protocol, &options, &checked);
    if (result) return bench_fail("the checker: %s", uma_strerror(result));
    if (checked.verdict != COH_PROVED) return bench_fail("the checker did not prove %s: %s", PROTOCOL, checked.sentence);
    bench_record(&row, (double)checked.states * 1e3 / (double)(fab_now_ns() - begin));
  }
  return 0;
}

static int run_check(void)
{
  static struct coh_protocol protocol;
  char *text = NULL;
  int result = coh_protocol_text(PROTOCOL, &text, stderr);
  if (!result) result = coh_protocol_parse(text, PROTOCOL, &protocol, stderr);
  free(text);
  return result ? bench_fail("the protocol %s: %s", PROTOCOL, uma_strerror(result)) : check_protocol(&protocol);
}

const struct bench_case bench_coherence_cases[] = {
    {"coherence.hit", "a word in a coherent cache, by uma_ld, uma_st, uma_fetch_add", run_hit},
    {"coherence.miss", "a line of 64 B and of 4 KiB that clean home memory serves", run_miss},
    {"coherence.pingpong", "a line written in turn by two devices, one turn", run_pingpong},
    {"coherence.transition", "misses by the states that they go from and to", run_transition},
    {"coherence.misses", "misses of 2 and of 8 devices at a time, and giving the lines up", run_misses},
    {"coherence.check", "states a second of the protocol checker, MESI of 4 caches", run_check},
    {NULL, NULL, NULL},
};
