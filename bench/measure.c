/* Measuring, in the devices: comparisons of variants in interleaved rounds.
 *
 *     struct bench_variant variants[] = {{.bench = "transfer.get.hot", .path = "rma", .step = get}, {..., .path = "raw", .step = copy}};
 *     bench_compare(variants, 2);
 *
 * All devices call it with the same variants. First each variant is warmed up and told how many counts make one stretch; then come the
 * rounds. A stretch begins with a barrier, and device 0's clock decides. Device 0 alone chooses counts and rounds; the others learn them
 * by bench_share, whose two barriers keep the word from being overwritten before everybody has read it. */
#include "bench/harness.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "fabric/futex.h"

#define LEAST_ROUNDS 2
#define MOST_COUNT 4000000L
#define MODELLED_SMALL 16
#define MODELLED_LARGE 2

void bench_check(int result, const char *what)
{
  if (result >= 0) return;
  bench_fail("device %d: %s: %s: %s", uma_device(), what, uma_strerror(result), uma_last_error());
  _exit(1);
}

void bench_die(const char *format, ...)
{
  va_list arguments;
  char text[400];
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  bench_fail("device %d: %s", uma_device(), text);
  _exit(1);
}

void bench_barrier(void)
{
  bench_check(uma_barrier(), "uma_barrier");
}

void bench_flush(void)
{
  bench_check(uma_flush(), "uma_flush");
}

long bench_share(long value)
{
  if (!uma_device()) atomic_store(&bench_run.board->shared, value);
  bench_barrier();
  value = atomic_load(&bench_run.board->shared);
  bench_barrier();
  return value;
}

/* On the clock of this pass. */
static double now_ns(void)
{
  return bench_run.profile ? uma_modelled_ns() : (double)fab_now_ns();
}

/* Nanoseconds of `count` counts, as this device saw them. */
static double stretch(const struct bench_variant *variant, long count)
{
  double begin, total = 0;
  if (variant->warm) variant->warm(variant->context);
  if (!variant->prepare) {
    bench_barrier();
    begin = now_ns();
    variant->step(variant->context, count);
    return now_ns() - begin;
  }
  for (long i = 0; i < count; i++) {
    bench_barrier();
    variant->prepare(variant->context);
    bench_barrier();
    begin = now_ns();
    variant->step(variant->context, 1);
    total += now_ns() - begin;
  }
  return total;
}

/* Collective: how many counts make one stretch, and how long that took, preparations included. The first run warms up. */
static long calibrate(const struct bench_variant *variant, double *round_ns)
{
  double goal = bench_run.stretch_ns, spent;
  long count = 1;
  uint64_t begin = fab_now_ns();
  spent = stretch(variant, 1);
  *round_ns = (double)(fab_now_ns() - begin);
  for (;;) {
    long next = spent >= goal ? count : spent < goal / 64 ? count * 16 : (long)((double)count * goal / spent) + 1;
    if (*round_ns > bench_run.limit_ns / 8) next = count; /* what surrounds the timed part takes the time */
    next = bench_share(next < MOST_COUNT ? next : MOST_COUNT);
    if (next == count) return count;
    count = next;
    begin = fab_now_ns();
    spent = stretch(variant, count);
    *round_ns = (double)(fab_now_ns() - begin);
    if (bench_share(spent >= goal / 2 || count == MOST_COUNT)) return count;
  }
}

static void record(const struct bench_variant *variant, double ns_per_count)
{
  double operations = variant->operations > 0 ? variant->operations : 1, ns = ns_per_count / operations;
  const char *mode = variant->mode ? variant->mode : uma_domain_count() > 1 ? "stacked" : "supernode";
  static const struct {
    int metric;
    const char *name, *unit;
  } metrics[] = {{BENCH_LATENCY, "latency", "ns"}, {BENCH_BANDWIDTH, "bandwidth", "GB/s"}, {BENCH_RATE, "rate", "M/s"}};
  for (int i = 0; i < 3; i++) {
    if (!(variant->metrics & metrics[i].metric)) continue;
    struct bench_row row =
        bench_row_of(variant->bench, variant->path, mode, uma_device_count(), variant->bytes, metrics[i].name, metrics[i].unit);
    if (bench_run.profile) bench_row_model(&row, bench_run.profile);
    bench_record(&row, i == 0 ? ns : i == 1 ? (double)variant->bytes / ns : 1e3 / ns);
  }
}

static void announce(const struct bench_variant *variant)
{
  char size[32];
  if (uma_device()) return;
  bench_progress("%s  %d devices  %s", variant->bench, uma_device_count(), bench_size_text(variant->bytes, size, sizeof size));
}

/* Modelled times need no calibration and no rounds. What the library does not see, as plain mappings, takes none and has no row. Of a stretch
 * without preparation only what follows its first count: measured stretches are so long that how they begin and end does not count. */
static void compare_modelled(const struct bench_variant *variants, int count)
{
  for (int i = 0; i < count; i++) {
    long counts = variants[i].bytes >= 64 * KiB ? MODELLED_LARGE : MODELLED_SMALL;
    stretch(&variants[i], 1); /* fills caches */
    double first = variants[i].prepare ? 0 : stretch(&variants[i], 1);
    double ns = stretch(&variants[i], variants[i].prepare ? counts : 1 + counts) - first;
    if (!uma_device() && ns > 0) record(&variants[i], ns / (double)counts);
  }
}

void bench_compare(const struct bench_variant *variants, int count)
{
  long counts[BENCH_VARIANTS], rounds;
  double total_ns = 0, round_ns;
  announce(&variants[0]);
  if (bench_run.profile) {
    compare_modelled(variants, count);
    return;
  }
  for (int i = 0; i < count; i++) {
    counts[i] = calibrate(&variants[i], &round_ns);
    total_ns += round_ns;
  }
  rounds = (long)(bench_run.limit_ns / (total_ns + 1));
  rounds = bench_share(rounds < LEAST_ROUNDS ? LEAST_ROUNDS : rounds > bench_run.rounds ? bench_run.rounds : rounds);
  /* Where memory is large enough to limit the rounds, it takes as many again until the first ones are not slower than the last. */
  long warming = rounds < bench_run.rounds ? rounds : 0;
  for (long round = -warming; round < rounds; round++)
    for (int i = 0; i < count; i++) {
      double ns = stretch(&variants[i], counts[i]);
      if (!uma_device() && round >= 0) record(&variants[i], ns / (double)counts[i]);
    }
}
