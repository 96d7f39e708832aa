/* `uma calibrate`: which benchmarks it runs, at which sizes, and the modelled clock held against the measured one.
 *
 * Everything is measured in a few passes over all sizes, those of the curves and those of the check by turns, so that a drift of the host's
 * speed meets both. The benchmarks are those of `uma bench`, with nothing in them changed but the sizes. */
#include "bench/calibrate.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "bench/harness.h"
#include "fabric/futex.h"
#include "fabric/profile.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

enum { LEAST_PASSES = 2, MOST_PASSES = 14, SECONDS_A_PASS = 8, APART_PERCENT = 20 };

static const char *const curve_cases[] = {"transfer.read",   "transfer.write", "transfer.get.hot", "transfer.put.hot", "transfer.pingpong",
                                          "transfer.stream", "latency.hot",    "latency.chase",    "stream",           "sync.fetch_add"};
static const char *const check_cases[] = {"transfer.copy"}; /* besides: what no curve was made of */
const size_t bench_check_sizes[] = {16, 3 * KiB, 8 * KiB, 20 * KiB, 48 * KiB, 128 * KiB, 512 * KiB, 1536 * KiB, 3 * MiB, 8 * MiB};
const int bench_check_size_count = COUNT(bench_check_sizes);

enum { MOST_SIZES = COUNT(bench_check_sizes) + FAB_CURVE_POINTS };

/* ---- Measuring --------------------------------------------------------------------------------------------------- */

/* Both lists in one, rising; how many. */
static int merge_sizes(bool check, size_t *sizes)
{
  int count = 0, c = 0;
  for (int i = 0; i < bench_curve_size_count; i++) {
    while (check && c < COUNT(bench_check_sizes) && bench_check_sizes[c] < bench_curve_sizes[i]) sizes[count++] = bench_check_sizes[c++];
    sizes[count++] = bench_curve_sizes[i];
  }
  while (check && c < COUNT(bench_check_sizes)) sizes[count++] = bench_check_sizes[c++];
  return count;
}

static int choose_cases(bool check, char *names[])
{
  int count = 0;
  for (int i = 0; i < COUNT(curve_cases); i++) names[count++] = (char *)curve_cases[i];
  for (int i = 0; check && i < COUNT(check_cases); i++) names[count++] = (char *)check_cases[i];
  return count;
}

/* Multiplications and additions that do not wait for each other, in vectors as wide as a cache line. */
#define FLOPS(name, type) \
  static double name(void) \
  { \
    typedef type vector __attribute__((vector_size(64))); \
    enum { ROUNDS = 20000, CHAINS = 4, LANES = sizeof(vector) / sizeof(type) }; \
    vector sums[CHAINS] = {{0}}, factor = {0}; \
    factor += (type)0.5; \
    uint64_t begin = fab_now_ns(); \
    for (int round = 0; round < ROUNDS; round++) \
      for (int i = 0; i < CHAINS; i++) sums[i] = sums[i] * factor + factor; \
    uint64_t ns = fab_now_ns() - begin; \
    bench_keep(&sums[0]); \
    return 2.0 * ROUNDS * CHAINS * LANES / (double)(ns ? ns : 1); \
  }
FLOPS(flops_64, double)
FLOPS(flops_32, float)

static int add_flops(struct bench_rows *rows)
{
  static const struct {
    const char *bench;
    double (*measure)(void);
  } kinds[] = {{"host.flops.fp64", flops_64}, {"host.flops.fp32", flops_32}};
  enum { SAMPLES = 15 };
  int result = 0;
  for (int k = 0; k < COUNT(kinds) && !result; k++) {
    double samples[SAMPLES];
    struct bench_statistics statistics;
    struct bench_row row = bench_row_of(kinds[k].bench, "raw", "-", 1, 0, "rate", "GFLOPS");
    for (int i = 0; i < SAMPLES; i++) samples[i] = kinds[k].measure();
    bench_statistics(samples, SAMPLES, &statistics);
    row.median = statistics.midmean;
    row.min = statistics.min;
    row.max = statistics.max;
    row.n = SAMPLES;
    result = bench_rows_add(rows, &row);
  }
  return result;
}

int bench_calibrate(int seconds, bool check, struct bench_rows *rows)
{
  size_t sizes[MOST_SIZES];
  char *names[COUNT(curve_cases) + COUNT(check_cases)];
  int passes = seconds / SECONDS_A_PASS < LEAST_PASSES ? LEAST_PASSES : seconds / SECONDS_A_PASS;
  struct bench_options options = {.quick = true, .midmean = true, .sizes = sizes, .names = names};
  options.passes = passes < MOST_PASSES ? passes : MOST_PASSES;
  options.size_count = merge_sizes(check, sizes);
  options.name_count = choose_cases(check, names);
  /* of each case at each size a comparison in both modes, of which most take less than half of their limit */
  options.limit_ns = 1.9e9 * seconds / (options.passes * 2 * options.name_count * options.size_count);
  int result = bench_suite(&options, rows);
  return result ? result : add_flops(rows);
}

/* ---- Telling ----------------------------------------------------------------------------------------------------- */

static void print_row(FILE *out, const char *what, const struct bench_row *row)
{
  char size[32], median[32], least[32], most[32];
  if (!row) return;
  fprintf(out, "%-26s %-10s %9s %12s %12s %12s %5d\n", what, row->mode, bench_size_text(row->bytes, size, sizeof size),
          bench_value_text(row->median, row->unit, median, sizeof median), bench_value_text(row->min, row->unit, least, sizeof least),
          bench_value_text(row->max, row->unit, most, sizeof most), row->n);
}

/* Some sizes of each curve stand for all. */
static void print_operation(FILE *out, const struct bench_rows *rows, const struct bench_curve_source *source)
{
  static const size_t shown[] = {8, 4 * KiB, 64 * KiB, 1 * MiB, 16 * MiB};
  for (int i = 0; i < COUNT(shown); i++)
    print_row(out, source->bench, bench_rows_find(rows, source->bench, source->path, source->mode, 2, shown[i], "latency"));
  for (int i = 0; i < COUNT(shown) && source->stream; i++)
    print_row(out, source->stream, bench_rows_find(rows, source->stream, source->path, source->mode, 2, shown[i], "bandwidth"));
}

/* A host that is busy, or moves to other cores meanwhile, shows in the round trip of a line. */
static void warn_of_drift(FILE *out, const struct bench_rows *rows)
{
  const struct bench_row *start = bench_rows_find(rows, "host.line.start", NULL, NULL, -1, BENCH_ANY, NULL);
  const struct bench_row *end = bench_rows_find(rows, "host.line.end", NULL, NULL, -1, BENCH_ANY, NULL);
  double change = start && end ? fmax(start->median / end->median, end->median / start->median) : 1;
  if (change > 1.5)
    fprintf(out,
            "A line's round trip between two processors changed by a factor of %.1f meanwhile: better calibrate again when this host is "
            "idle.\n",
            change);
}

void bench_calibrate_print(FILE *out, const struct bench_rows *rows)
{
  fprintf(out, "%-26s %-10s %9s %12s %12s %12s %5s\n", "measured", "mode", "size", "middle", "least", "most", "n");
  for (size_t i = 0; i < rows->count; i++) {
    const struct bench_row *row = &rows->row[i];
    bool ours = strcmp(row->mode, "-") && (!strncmp(row->bench, "latency.", 8) || !strcmp(row->bench, "sync.fetch_add"));
    if (ours || !strncmp(row->bench, "host.", 5)) print_row(out, row->bench, row);
  }
  for (int operation = 0; operation < FAB_CURVES; operation++) print_operation(out, rows, &bench_curve_sources[operation]);
  warn_of_drift(out, rows);
}

/* ---- Checking ---------------------------------------------------------------------------------------------------- */

static const struct checked {
  const char *bench, *path, *mode, *metric;
} checked[] = {
    {"transfer.read", "rma", "supernode", "latency"},         {"transfer.write", "rma", "supernode", "latency"},
    {"transfer.read", "direct", "supernode", "latency"},      {"transfer.write", "direct", "supernode", "latency"},
    {"transfer.copy", "copy", "supernode", "latency"},        {"transfer.get.hot", "rma", "supernode", "latency"},
    {"transfer.put.hot", "rma", "supernode", "latency"},      {"transfer.pingpong", "message", "supernode", "latency"},
    {"transfer.stream", "message", "supernode", "bandwidth"}, {"transfer.read", "message", "stacked", "latency"},
    {"transfer.write", "message", "stacked", "latency"},      {"transfer.copy", "message", "stacked", "latency"},
    {"transfer.pingpong", "message", "stacked", "latency"},   {"transfer.stream", "message", "stacked", "bandwidth"},
};

/* The rows at the sizes of the check on the modelled clock. */
static int run_modelled(const char *profile, struct bench_rows *rows)
{
  char *names[COUNT(curve_cases) + COUNT(check_cases)], *profiles[] = {(char *)profile, NULL};
  struct bench_options options = {.quick = true,
                                  .sizes = bench_check_sizes,
                                  .size_count = COUNT(bench_check_sizes),
                                  .names = names,
                                  .profiles = profiles,
                                  .modelled_only = true};
  options.name_count = choose_cases(true, names);
  return bench_suite(&options, rows);
}

/* The modelled row of the same operation; NULL: none. */
static const struct bench_row *find_modelled(const struct bench_rows *rows, const struct bench_row *measured, const char *profile)
{
  struct bench_row wanted = *measured;
  bench_row_model(&wanted, profile);
  return bench_rows_find_same(rows, &wanted);
}

struct agreement {
  int rows, apart, missing;
  double worst; /* the larger of ratio and 1 / ratio */
};

static void compare_clocks(FILE *out, const struct bench_row *measured, const struct bench_row *modelled, struct agreement *agreement)
{
  char size[32], first[32], second[32];
  double ratio = modelled->median / measured->median, apart = fmax(ratio, 1 / ratio);
  bool beyond = fabs(ratio - 1) * 100 > APART_PERCENT;
  agreement->rows++;
  agreement->apart += beyond;
  agreement->worst = fmax(agreement->worst, apart);
  fprintf(out, "%-20s %-9s %-10s %9s %12s %12s %7.2f%s\n", measured->bench, measured->metric, measured->mode,
          bench_size_text(measured->bytes, size, sizeof size), bench_value_text(measured->median, measured->unit, first, sizeof first),
          bench_value_text(modelled->median, modelled->unit, second, sizeof second), ratio, beyond ? " *" : "");
}

static struct agreement compare_rows(FILE *out, const struct bench_rows *rows, const struct bench_rows *modelled, const char *profile)
{
  struct agreement agreement = {0};
  fprintf(out, "%-20s %-9s %-10s %9s %12s %12s %7s\n", "benchmark", "metric", "mode", "size", "measured", "modelled", "ratio");
  for (int c = 0; c < COUNT(checked); c++)
    for (int i = 0; i < COUNT(bench_check_sizes); i++) {
      const struct bench_row *measured =
          bench_rows_find(rows, checked[c].bench, checked[c].path, checked[c].mode, 2, bench_check_sizes[i], checked[c].metric);
      const struct bench_row *model = measured ? find_modelled(modelled, measured, profile) : NULL;
      if (model && measured->median > 0 && model->median > 0) compare_clocks(out, measured, model, &agreement);
      else agreement.missing++;
    }
  return agreement;
}

int bench_calibrate_check(FILE *out, const struct bench_rows *rows, const char *profile)
{
  struct bench_rows modelled = {0};
  int result = run_modelled(profile, &modelled);
  struct agreement agreement = result ? (struct agreement){0} : compare_rows(out, rows, &modelled, profile);
  bench_rows_free(&modelled);
  if (result) return result;
  if (agreement.missing) {
    fprintf(stderr, "uma calibrate: %d of %d rows of the check are missing; expected all of --check\n", agreement.missing,
            agreement.missing + agreement.rows);
    return -ENODATA;
  }
  fprintf(out, "%d of %d rows are more than %d %% apart (*); the worst by a factor of %.2f\n", agreement.apart, agreement.rows,
          APART_PERCENT, agreement.worst);
  return agreement.apart;
}
