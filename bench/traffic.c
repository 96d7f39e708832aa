/* The traffic of the coherence protocols: messages and bytes an access, counted by the library while 4 devices work on lines of a window
 * in the patterns by which the literature tells protocols apart. Devices that share lines take turns by barriers, so that the counts are
 * exact: they are the same in every run, on every host.
 *
 *   private     every device reads and then writes lines that it alone uses, and gives them up after each sweep
 *   migratory   one device after the other reads and then writes all lines
 *   producer    device 0 writes all lines, device 1 reads them
 *   readmostly  all devices read all lines, then one of them writes some
 *
 * A message is 24 bytes, and the line (64) where it is carried. The path of a row is the protocol. */
#include "bench/harness.h"

#include <errno.h>

enum { DEVICES = 4, LINES = 64, LINE = 64, ROUNDS = 8, SOME = 8 };

static uint64_t *word_of(unsigned char *lines, int line)
{
  return (uint64_t *)(lines + line * LINE);
}

static void add_to_all(unsigned char *lines)
{
  for (int line = 0; line < LINES; line++) {
    uint64_t value = uma_ld(word_of(lines, line));
    uma_st(word_of(lines, line), value + 1);
  }
}

/* Writes every line of which the number is a multiple of `step`. */
static void write_lines(unsigned char *lines, int step, uint64_t value)
{
  for (int line = 0; line < LINES; line += step) uma_st(word_of(lines, line), value);
}

static void read_lines(unsigned char *lines, int step, uint64_t expected)
{
  for (int line = 0; line < LINES; line++) {
    uint64_t value = uma_ld(word_of(lines, line));
    bench_require(line % step || value == expected, "line %d holds %lu instead of %lu", line, (unsigned long)value,
                  (unsigned long)expected);
  }
}

/* ---- patterns: `lines` are in device 1's window, `mine` in this device's */

static void private_lines(unsigned char *lines, unsigned char *mine)
{
  for (int round = 0; round < ROUNDS; round++) {
    add_to_all(mine);
    bench_flush();
  }
}

static void migratory(unsigned char *lines, unsigned char *mine)
{
  for (int turn = 0; turn < ROUNDS * DEVICES; turn++) {
    if (turn % DEVICES == uma_device()) add_to_all(lines);
    bench_barrier();
  }
}

static void producer(unsigned char *lines, unsigned char *mine)
{
  for (uint64_t round = 1; round <= ROUNDS; round++) {
    if (uma_device() == 0) write_lines(lines, 1, round);
    bench_barrier();
    if (uma_device() == 1) read_lines(lines, 1, round);
    bench_barrier();
  }
}

static void read_mostly(unsigned char *lines, unsigned char *mine)
{
  for (uint64_t round = 0; round < ROUNDS; round++) {
    for (int reader = 0; reader < DEVICES; reader++) {
      if (reader == uma_device()) read_lines(lines, SOME, round);
      bench_barrier();
    }
    if (round % DEVICES == (uint64_t)uma_device()) write_lines(lines, SOME, round + 1);
    bench_barrier();
  }
}

static const struct pattern {
  const char *bench;
  void (*run)(unsigned char *lines, unsigned char *mine);
  int step;      /* in the end every line of which the number is a multiple of this */
  uint64_t left; /* holds this, in device 1's window */
} patterns[] = {
    {"coherence.traffic.private", private_lines, 1, ROUNDS},
    {"coherence.traffic.migratory", migratory, 1, ROUNDS *DEVICES},
    {"coherence.traffic.producer", producer, 1, ROUNDS},
    {"coherence.traffic.readmostly", read_mostly, SOME, ROUNDS},
};
enum { PATTERNS = sizeof patterns / sizeof patterns[0] };

/* ---- counting */

struct traffic {
  uint64_t accesses, messages, bytes;
};

/* Of all devices since the session began. */
static struct traffic traffic_so_far(void)
{
  struct traffic sum = {0};
  for (int device = 0; device < DEVICES; device++) {
    struct uma_counters counters;
    bench_check(uma_counters(device, &counters), "uma_counters");
    sum.accesses += counters.loads + counters.stores;
    sum.messages += counters.requests + counters.forwards + counters.responses;
    sum.bytes += counters.request_bytes + counters.forward_bytes + counters.response_bytes;
  }
  return sum;
}

static void record(const char *bench, const char *protocol, const struct traffic *before, const struct traffic *after)
{
  double accesses = (double)(after->accesses - before->accesses);
  struct bench_row messages = bench_row_of(bench, protocol, "supernode", DEVICES, LINE, "messages", "msg");
  struct bench_row bytes = bench_row_of(bench, protocol, "supernode", DEVICES, LINE, "bytes", "B");
  bench_record(&messages, (double)(after->messages - before->messages) / accesses);
  bench_record(&bytes, (double)(after->bytes - before->bytes) / accesses);
}

/* Collective: begins with empty caches and lines of zeros. */
static void count_pattern(const struct pattern *pattern, const char *protocol)
{
  struct traffic before, after;
  unsigned char *mine = uma_alloc_symmetric((LINES + 1) * LINE);
  bench_require(mine, "no device memory: %s", uma_last_error());
  unsigned char *first = mine + (-(uintptr_t)mine & (LINE - 1));
  write_lines(first, 1, 0);
  bench_flush();
  bench_barrier();
  before = traffic_so_far();
  bench_barrier();
  pattern->run(uma_symmetric(first, 1), first);
  bench_barrier();
  after = traffic_so_far();
  bench_barrier();
  if (!uma_device()) record(pattern->bench, protocol, &before, &after);
  if (uma_device() == 1) read_lines(first, pattern->step, pattern->left);
  bench_barrier();
  bench_check(uma_free_symmetric(mine), "uma_free_symmetric");
}

static void traffic_body(void *protocol)
{
  for (int i = 0; i < PATTERNS; i++) count_pattern(&patterns[i], protocol);
}

static int run_traffic(void)
{
  static const char *const protocols[] = {"msi", "mesi", "moesi", "mesif"};
  int result = 0;
  for (int i = 0; i < 4 && !result; i++) {
    struct bench_session session = {.devices = DEVICES, .mode = UMA_MODE_SUPERNODE, .protocol = protocols[i], .counted = true};
    result = bench_spawn(&session, traffic_body, (void *)protocols[i]);
  }
  return result;
}

const struct bench_case bench_traffic_cases[] = {
    {"coherence.traffic", "messages and bytes an access, by protocol and pattern of sharing", run_traffic},
    {NULL, NULL, NULL},
};
