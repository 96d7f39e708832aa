/* `uma calibrate`: the profile that it writes is complete and is found, the modelled clock gives back what was measured, and what is wrong is
 * named. Most of it is tried with made-up measurements (--from); nothing judges a time of this host. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "bench/calibrate.h"
#include "bench/harness.h"
#include "fabric/topology.h"
#include "tests/command.h"
#include "tests/session.h"

enum { CHECKED = 14 }; /* operations that --check looks at, each at all its sizes */

/* A folder of its own for each test, where also its profiles are. */
static char folder[64];

static void begin(void)
{
  strcpy(folder, "/tmp/uma-calibrate-XXXXXX");
  cr_assert(mkdtemp(folder));
  setenv("UMA_PROFILES", folder, 1);
}

/* Nothing but the named files may be left in the folder. */
static void end(const char *const *expected)
{
  DIR *directory = opendir(folder);
  for (struct dirent *entry; (entry = readdir(directory));) {
    bool known = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
    for (int i = 0; expected[i]; i++) known |= !strcmp(expected[i], entry->d_name);
    cr_expect(known, "%s was left in %s", entry->d_name, folder);
    unlinkat(dirfd(directory), entry->d_name, 0);
  }
  closedir(directory);
  cr_expect_eq(rmdir(folder), 0);
}

/* ---- Made-up measurements: a time of each operation that is linear in its bytes -------------------------------------- */

static double law(enum fab_operation operation, double bytes)
{
  static const double first[FAB_CURVES] = {60, 12, 200, 2, 3, 50, 9, 8000, 7000, 3000, 3, 2, 1, 2};
  static const double each[FAB_CURVES] = {0.1, 0.2, 0.15, 0.02, 0.03, 0.12, 0.22, 0.6, 0.5, 0.4, 2e-6, 1e-6, 0.01, 0.02};
  return first[operation] + each[operation] * bytes;
}

static void add(struct bench_rows *rows, const char *bench, const char *path, const char *mode, size_t bytes, const char *metric,
                double median)
{
  struct bench_row row = bench_row_of(bench, path, mode, 2, bytes, metric, !strcmp(metric, "latency") ? "ns" : "GB/s");
  row.median = row.min = row.max = median;
  row.n = 1;
  cr_assert_eq(bench_rows_add(rows, &row), 0);
}

static void add_operation(struct bench_rows *rows, enum fab_operation operation, enum fab_operation as, size_t bytes)
{
  const struct bench_curve_source *source = &bench_curve_sources[operation];
  double ns = law(as, (double)bytes);
  if (source->by_bandwidth) add(rows, source->bench, source->path, source->mode, bytes, "bandwidth", (double)bytes / ns);
  else add(rows, source->bench, source->path, source->mode, bytes, "latency", ns);
  if (source->stream) add(rows, source->stream, source->path, source->mode, bytes, "bandwidth", (double)bytes / (0.8 * ns));
}

/* What is larger than the cache is not cached, however often it was touched. */
static enum fab_operation as_it_is(enum fab_operation operation, size_t bytes)
{
  long cache = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (operation < FAB_CACHED_GET || operation > FAB_CACHED_PUT || bytes <= (size_t)(cache > 0 ? cache : 1 << 20)) return operation;
  return operation == FAB_CACHED_GET ? FAB_GET : FAB_PUT;
}

static void make_up(struct bench_rows *rows)
{
  add(rows, "latency.hot.chain", "direct", "supernode", 8, "latency", 1.5);
  add(rows, "latency.hot.store", "direct", "supernode", 8, "latency", 0.5);
  add(rows, "sync.fetch_add", "direct", "supernode", 8, "latency", 5);
  add(rows, "host.flops.fp64", "raw", "-", 0, "rate", 10);
  add(rows, "host.flops.fp32", "raw", "-", 0, "rate", 20);
  for (int operation = 0; operation < FAB_CURVES; operation++) {
    int count;
    const size_t *sizes = bench_sizes_of_curve(operation, &count);
    for (int i = 0; i < count; i++) add_operation(rows, (enum fab_operation)operation, (enum fab_operation)operation, sizes[i]);
    for (int i = 0; sizes == bench_curve_sizes && i < bench_check_size_count; i++)
      add_operation(rows, (enum fab_operation)operation, as_it_is((enum fab_operation)operation, bench_check_sizes[i]),
                    bench_check_sizes[i]);
  }
  for (int i = 0; i < bench_check_size_count; i++) {
    add(rows, "transfer.copy", "copy", "supernode", bench_check_sizes[i], "latency", law(FAB_GET, (double)bench_check_sizes[i]));
    add(rows, "transfer.copy", "message", "stacked", bench_check_sizes[i], "latency", law(FAB_FAR_GET, (double)bench_check_sizes[i]));
  }
}

static void save(const struct bench_rows *rows)
{
  char path[128];
  snprintf(path, sizeof path, "%s/rows.json", folder);
  cr_assert_eq(bench_rows_save(rows, path), 0);
}

static struct bench_row *find(struct bench_rows *rows, const char *bench, const char *mode, size_t bytes)
{
  return (struct bench_row *)bench_rows_find(rows, bench, NULL, mode, -1, bytes, NULL);
}

/* ---- Tests ------------------------------------------------------------------------------------------------------- */

static void expect_number(struct fab_profile *profile, const char *name, double value)
{
  const struct fab_quantity *quantity = fab_profile_find(profile, name);
  cr_assert(quantity, "%s", name);
  cr_expect(fabs(quantity->value / value - 1) < 1e-3, "%s: %g, not %g", name, quantity->value, value);
}

Test(calibrate, the_profile_has_the_numbers_that_were_measured)
{
  struct bench_rows rows = {0};
  struct fab_topology topology;
  char *said;
  begin();
  make_up(&rows);
  save(&rows);
  cr_assert_eq(command_uma(&said, "calibrate --from %s/rows.json", folder), 0, "%s", said);
  cr_expect(strstr(said, "transfer.pingpong") && strstr(said, "written: ") && strstr(said, "this-host.conf"), "%s", said);
  struct fab_profile *profile = fab_profile_load(FAB_THIS_HOST, stderr);
  cr_assert(profile && !fab_topology_make(profile, 4, &topology, stderr));
  expect_number(profile, "accelerators.0.memory_latency", 1.5);
  expect_number(profile, "accelerators.0.atomic_latency", 5);
  expect_number(profile, "accelerators.0.flops.fp32", 20e9);
  expect_number(profile, "links.shm.latency", (law(FAB_GET, 8) - 1.5) / 4);
  expect_number(profile, "scale_out.nic_latency", (law(FAB_FAR_MESSAGE, 8) - 1.5) / 2);
  for (int operation = 0; operation < FAB_CURVES; operation++) {
    int count;
    const size_t *sizes = bench_sizes_of_curve(operation, &count);
    cr_assert_eq(profile->curve[operation].count, count);
    cr_expect_eq(profile->curve[operation].status, FAB_MEASURED);
    for (int i = 0; i < bench_check_size_count; i++) {
      if (bench_check_sizes[i] < sizes[0]) continue;
      double ns = fab_ns_of_ticks(fab_curve_time(&topology.curve[operation], bench_check_sizes[i]));
      cr_expect(fabs(ns / law((enum fab_operation)operation, (double)bench_check_sizes[i]) - 1) < 0.05, "%s, %zu bytes: %g ns",
                fab_operation_names[operation], bench_check_sizes[i], ns);
    }
  }
  fab_profile_free(profile), bench_rows_free(&rows), free(said);
  end((const char *const[]){"rows.json", "this-host.conf", NULL});
}

Test(calibrate, the_modelled_clock_gives_back_what_was_measured, .timeout = 280)
{
  struct bench_rows rows = {0};
  char *said, sentence[128];
  begin();
  make_up(&rows);
  save(&rows);
  snprintf(sentence, sizeof sentence, "0 of %d rows are more than 20 %% apart", CHECKED * bench_check_size_count);
  cr_expect_eq(command_uma(&said, "calibrate --check --from %s/rows.json", folder), 0, "%s", said);
  cr_expect(strstr(said, sentence), "%s", said);
  free(said);
  /* sizes between those of the curves, which the profile does not see */
  find(&rows, "transfer.pingpong", "stacked", 48 * KiB)->median *= 1.5;
  find(&rows, "transfer.read", "supernode", 3 * KiB)->median *= 0.5;
  save(&rows);
  snprintf(sentence, sizeof sentence, "2 of %d rows are more than 20 %% apart (*); the worst by a factor of 2.0",
           CHECKED * bench_check_size_count);
  cr_expect_eq(command_uma(&said, "calibrate --check --from %s/rows.json", folder), 1, "%s", said);
  cr_expect(strstr(said, sentence), "%s", said);
  bench_rows_free(&rows), free(said);
  end((const char *const[]){"rows.json", "this-host.conf", NULL});
}

Test(calibrate, measures_this_host, .timeout = 280)
{
  struct fab_topology topology;
  char *said;
  begin();
  cr_assert_eq(command_uma(&said, "calibrate --seconds 1 --output %s/new/folder/mine.conf", folder), 0, "%s", said);
  free(said);
  char path[128];
  snprintf(path, sizeof path, "%s/new/folder/mine.conf", folder);
  struct fab_profile *profile = fab_profile_load(path, stderr);
  cr_assert(profile && !fab_topology_make(profile, 0, &topology, stderr));
  for (int i = 0; i < profile->quantity_count; i++) {
    const struct fab_quantity *quantity = profile->quantity[i].quantity;
    if (quantity->status == FAB_MEASURED) cr_expect(quantity->value > 0, "%s: %g", profile->quantity[i].name, quantity->value);
  }
  for (int operation = 0; operation < FAB_CURVES; operation++)
    for (int i = 0; i < profile->curve[operation].count; i++)
      cr_expect(profile->curve[operation].point[i].time > 0, "%s, point %d", fab_operation_names[operation], i);
  fab_profile_free(profile);
  cr_expect_eq(unlink(path), 0);
  *strrchr(path, '/') = 0;
  cr_expect_eq(rmdir(path), 0, "something was left in %s", path);
  *strrchr(path, '/') = 0;
  cr_expect_eq(rmdir(path), 0);
  end((const char *const[]){NULL});
}

Test(calibrate, the_profile_is_found_by_name)
{
  struct bench_rows rows = {0};
  char *said;
  begin();
  cr_expect_eq(command_uma(&said, "topology --list"), 0);
  cr_expect(!strstr(said, "this-host"), "%s", said);
  free(said);
  make_up(&rows);
  save(&rows);
  cr_assert_eq(command_uma(&said, "calibrate --from %s/rows.json", folder), 0, "%s", said);
  free(said);
  cr_expect_eq(command_uma(&said, "topology --list"), 0);
  cr_expect(strstr(said, "this-host") && strstr(said, "1,024  This host: "), "%s", said);
  free(said);
  cr_expect_eq(command_uma(&said, "topology this-host --path 0,1 --bytes 100000"), 0);
  cr_expect(strstr(said, "measured: a far_message of 100 KB takes 43 us"), "%s", said);
  free(said);
  cr_expect_eq(command_uma(&said, "topology this-host --numbers"), 0);
  cr_expect(strstr(said, "operations.get, 8 B") && strstr(said, "measured  uma calibrate, 20"), "%s", said);
  free(said);
  cr_expect_eq(command_uma(&said, "compare -n 2 this-host h100-8 -- %s/examples/hello", session_build()), 0, "%s", said);
  cr_expect(strstr(said, "this-host, process of this host: "), "%s", said);
  free(said), bench_rows_free(&rows);
  end((const char *const[]){"rows.json", "this-host.conf", NULL});
}

Test(calibrate, without_it_this_host_is_no_profile)
{
  static const char *const commands[] = {"topology this-host", "bench --profile this-host latency.hot", "run --profile this-host -- true",
                                         "compare this-host -- true"};
  begin();
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
    char *said;
    cr_expect_neq(command_uma(&said, "%s", commands[i]), 0, "%s", commands[i]);
    cr_expect(strstr(said, "run `uma calibrate` first") && strstr(said, folder), "uma %s: %s", commands[i], said);
    free(said);
  }
  end((const char *const[]){NULL});
}

Test(calibrate, bad_input_is_named)
{
  struct bench_rows rows = {0};
  char path[128], *said;
  begin();
  command_expect("calibrate --seconds 0", 2, "--seconds: \"0\" is not valid; expected 1 to 3600");
  command_expect("calibrate --seconds soon", 2, "--seconds: \"soon\" is not valid");
  command_expect("calibrate now", 2, "\"now\": expected options only");
  command_expect("calibrate --from x --seconds 1", 2, "--from measures nothing; expected it without --json and --seconds");
  command_expect("calibrate --from /nowhere/rows.json", 1, "uma calibrate: cannot read '/nowhere/rows.json'");
  command_expect("calibrate --output /proc/nowhere/this.conf", 1, "\"/proc/nowhere\" cannot be created: ");
  command_expect("calibrate --output /dev/null/this.conf", 1, "\"/dev/null\" is no folder");
  command_expect("calibrate --output /proc/this.conf", 1, "\"/proc\" cannot be written to: "); /* whoever may write there by its rights */
  command_expect("calibrate --output ''", 1, "\"\" cannot be written: No such file or directory");
  command_expect("calibrate --json /nowhere/rows", 1, "--json: cannot write '/nowhere/rows'");
  command_expect("calibrate --output /tmp", 1, "\"/tmp\" cannot be written: Is a directory");
  make_up(&rows);
  find(&rows, "transfer.write", "stacked", 8)->median = 0;
  save(&rows);
  cr_expect_eq(command_uma(&said, "calibrate --from %s/rows.json", folder), 1);
  cr_expect(strstr(said, "no measured row of transfer.write, path message, mode stacked, 8 bytes, latency above 0; expected one"), "%s",
            said);
  free(said), bench_rows_free(&rows);
  snprintf(path, sizeof path, "%s/this-host.conf", folder);
  cr_expect_neq(access(path, F_OK), 0, "a profile was written");
  end((const char *const[]){"rows.json", NULL});
}
