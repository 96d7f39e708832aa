/* What the coherent caches cost (access mode `line`, protocol MESI): hits, misses, a line that goes to and fro; and what the checker does.
 *
 * Misses are loads of many lines, one word of each, that lie in another device's window; that device has written them and given them up
 * (uma_flush) before, which is not timed. "raw" is the same on a plain mapping: loads of lines that the other core has modified, which is
 * what the processor's own protocol does for such a miss.
 */
#include "bench/harness.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "bench/lines.h"
#include "bench/words.h"
#include "coherence/check.h"
#include "fabric/futex.h"

#define PROTOCOL "mesi"

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
  bench_barrier();
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

/* Device 1 writes the lines and gives them up: its core was the last to touch what device 0 will fetch. */
static void prepare_miss(void *context)
{
  if (!uma_device()) bench_flush();
  bench_barrier();
  if (uma_device() != 1) return;
  lines_link(context);
  bench_flush();
}

static void miss(void *context, long count)
{
  if (!uma_device()) lines_walk(context);
}

/* Device 1 modifies every line of the processor; the numbers stay what they are. */
static void prepare_plain(void *context)
{
  const struct lines *lines = context;
  if (uma_device() != 1) return;
  for (size_t line = 0; line < lines->count; line++) {
    volatile uint64_t *word = lines_word(lines, line);
    for (size_t at = 0; at < lines->bytes / 8; at += 8) word[at] = at ? line : lines_next(lines, line);
  }
}

static void read_plain(void *context, long count)
{
  const struct lines *lines = context;
  uint64_t copy[LINE_MOST / 8];
  size_t line = 0;
  if (uma_device()) return;
  for (size_t i = 0; i < lines->count; i++) {
    memcpy(copy, lines_word(lines, line), lines->bytes);
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
  bench_barrier();
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

/* ---- misses of all devices at a time; how many of them is a property of the session, so the rounds are sessions */

enum { LINES_OF_EACH = 2048, WALKS = 8 };

/* Each device misses all its lines and gives them up, several times, so that how long sleepers take to wake matters little. From the first
 * device's begin to the last one's end, by the one clock of this host: devices that share a core begin one after the other. */
static double walk_together_ns(const struct lines *lines)
{
  uint64_t begin, end;
  bench_flush();
  bench_barrier();
  begin = fab_now_ns();
  for (int i = 0; i < WALKS; i++) {
    lines_walk(lines);
    bench_flush();
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
  lines_link(&lines);
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
    {"coherence.misses", "misses of 2 and of 8 devices at a time, and giving the lines up", run_misses},
    {"coherence.check", "states a second of the protocol checker, MESI of 4 caches", run_check},
    {NULL, NULL, NULL},
};
