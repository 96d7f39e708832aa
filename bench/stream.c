/* Streaming through memory: a window of another device against a plain shared mapping, both touched by that device. The claim is a ratio
 * of one. The modelled clock sees no plain loads and stores: in its passes a sweep is charged to it. Also whole sessions: how long devices take to start, meet at a barrier and end. */
#include "bench/calibrate.h"
#include "bench/harness.h"

#include "bench/sweeps.h"
#include "fabric/futex.h"

#define STREAM_MOST (64 * MiB)

/* sweep_read and sweep_write on the modelled clock. */
static void sweep_read_charged(void *context, long count)
{
  const struct sweep *sweep = context;
  if (uma_device()) return;
  for (long n = 0; n < count; n++) bench_check(uma_charge_reads(sweep->words, sweep->bytes), "uma_charge_reads");
}

static void sweep_write_charged(void *context, long count)
{
  const struct sweep *sweep = context;
  if (uma_device()) return;
  for (long n = 0; n < count; n++) bench_check(uma_charge_writes(sweep->words, sweep->bytes), "uma_charge_writes");
}

static void compare_charged(void *window, void *raw, size_t bytes)
{
  struct sweep sweep = {window, bytes};
  struct bench_variant variants[] = {
      {"stream.read", "direct", NULL, bytes, BENCH_BANDWIDTH, 1, NULL, sweep_read_charged, &sweep, NULL},
      {"stream.write", "direct", NULL, bytes, BENCH_BANDWIDTH, 1, NULL, sweep_write_charged, &sweep, NULL},
  };
  bench_compare(variants, 2);
}

static void compare_plain(void *remote, void *raw, size_t bytes)
{
  struct sweep window = {remote, bytes}, plain = {raw, bytes};
  struct bench_variant reads[] = {
      {"stream.read", "direct", NULL, bytes, BENCH_BANDWIDTH, 1, NULL, sweep_read, &window, NULL},
      {"stream.read", "raw", "-", bytes, BENCH_BANDWIDTH, 1, NULL, sweep_read, &plain, NULL},
  };
  struct bench_variant writes[] = {
      {"stream.write", "direct", NULL, bytes, BENCH_BANDWIDTH, 1, NULL, sweep_write, &window, NULL},
      {"stream.write", "raw", "-", bytes, BENCH_BANDWIDTH, 1, NULL, sweep_write, &plain, NULL},
  };
  bench_compare(reads, 2);
  bench_compare(writes, 2);
}

const size_t *bench_sweep_sizes(bool curve, int *count)
{
  static const size_t sizes[] = {64, 512, 4 * KiB, 16 * KiB, 64 * KiB, 256 * KiB, 512 * KiB, MiB, 2 * MiB, 4 * MiB, 16 * MiB, STREAM_MOST};
  static const size_t few[] = {256 * KiB, MiB, 4 * MiB, 16 * MiB, STREAM_MOST};
  *count = curve ? sizeof sizes / sizeof sizes[0] : sizeof few / sizeof few[0];
  return curve ? sizes : few;
}

static void stream_body(void *raw)
{
  int count;
  const size_t *sizes = bench_sweep_sizes(bench_run.options.sizes, &count);
  void *mine = uma_alloc_symmetric(STREAM_MOST);
  bench_require(mine, "no device memory: %s", uma_last_error());
  if (uma_device() == 1) {
    memset(mine, 1, STREAM_MOST);
    memset(raw, 1, STREAM_MOST);
  }
  bench_check(uma_barrier(), "uma_barrier");
  for (int i = 0; i < count; i++) (bench_run.profile ? compare_charged : compare_plain)(uma_symmetric(mine, 1), raw, sizes[i]);
}

static int run_stream(void)
{
  struct bench_session session = {.devices = 2, .mode = UMA_MODE_SUPERNODE};
  void *raw = bench_map(STREAM_MOST);
  int result = raw ? bench_spawn(&session, stream_body, raw) : -1;
  bench_unmap(raw, STREAM_MOST);
  return result;
}

const struct bench_case bench_stream_cases[] = {
    {"stream", "streaming reads and writes of a remote window and of a plain mapping", run_stream},
    {NULL, NULL, NULL},
};

/* ---- sessions */

static void nothing(void *unused)
{
}

static int run_start(void)
{
  static const int counts[] = {2, 16, 256};
  struct bench_row row = {
      .bench = "session.start", .path = "-", .mode = "supernode", .clock = "measured", .profile = "-", .metric = "time", .unit = "s"};
  int result = 0;
  for (int i = 0; i < 3 && !result; i++) {
    struct bench_session session = {.devices = counts[i], .mode = UMA_MODE_SUPERNODE, .memory = 64 * MiB};
    bench_progress("session.start  %d devices", counts[i]);
    uint64_t begin = fab_now_ns();
    result = bench_spawn(&session, nothing, NULL);
    row.devices = counts[i];
    if (!result) bench_record(&row, (double)(fab_now_ns() - begin) / 1e9);
  }
  return result;
}

const struct bench_case bench_session_cases[] = {
    {"session.start", "2, 16, 256 devices start, pass a barrier and end", run_start},
    {NULL, NULL, NULL},
};
