/* `uma bench`: statistics, rows as JSON, names, errors, a small real run, and the report. Nothing here depends on how fast this host is. */
#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/bare.h"
#include "bench/report.h"
#include "tests/rows.h"

/* ---- statistics */

Test(bench, median_least_most_of_odd_and_even_samples)
{
  const double odd[] = {5, 1, 3}, even[] = {4, 1, 2, 9}, one[] = {7};
  struct bench_statistics statistics;
  bench_statistics(odd, 3, &statistics);
  cr_expect(statistics.median == 3 && statistics.min == 1 && statistics.max == 5 && statistics.n == 3);
  bench_statistics(even, 4, &statistics);
  cr_expect(statistics.median == 3 && statistics.min == 1 && statistics.max == 9 && statistics.n == 4);
  bench_statistics(one, 1, &statistics);
  cr_expect(statistics.median == 7 && statistics.min == 7 && statistics.max == 7 && statistics.n == 1);
  cr_expect(odd[0] == 5 && even[3] == 9, "samples are left as they were");
}

Test(bench, sizes_and_times_are_scaled_to_be_read)
{
  char text[32];
  cr_expect_str_eq(bench_size_text(8, text, sizeof text), "8 B");
  cr_expect_str_eq(bench_size_text(65536, text, sizeof text), "64 KiB");
  cr_expect_str_eq(bench_size_text(1536 << 10, text, sizeof text), "1.5 MiB");
  cr_expect_str_eq(bench_size_text(0, text, sizeof text), "-");
  cr_expect_str_eq(bench_value_text(70.92, "ns", text, sizeof text), "70.9 ns");
  cr_expect_str_eq(bench_value_text(1500, "ns", text, sizeof text), "1.50 µs");
  cr_expect_str_eq(bench_value_text(2.5e9, "ns", text, sizeof text), "2.50 s");
  cr_expect_str_eq(bench_value_text(12.34, "GB/s", text, sizeof text), "12.3 GB/s");
  cr_expect_str_eq(bench_value_text(0.35142, "-", text, sizeof text), "0.3514");
}

/* ---- rows */

static struct bench_row row_of(const char *name, const char *path, const char *mode, size_t bytes, const char *metric, const char *unit,
                               double median)
{
  struct bench_row row = {
      .clock = "measured", .profile = "-", .devices = 2, .bytes = bytes, .median = median, .min = median / 2, .max = median * 2, .n = 10};
  snprintf(row.bench, sizeof row.bench, "%s", name);
  snprintf(row.path, sizeof row.path, "%s", path);
  snprintf(row.mode, sizeof row.mode, "%s", mode);
  snprintf(row.metric, sizeof row.metric, "%s", metric);
  snprintf(row.unit, sizeof row.unit, "%s", unit);
  return row;
}

static char *row_text(const struct bench_row *row)
{
  char *text = NULL;
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  cr_assert_eq(bench_row_write(out, row), 0);
  fclose(out);
  return text;
}

static void expect_key(const json_t *object, const char *key, bool text)
{
  const json_t *value = json_object_get(object, key);
  cr_expect(text ? json_is_string(value) : json_is_number(value), "\"%s\" is missing or of another type", key);
}

/* One line is one object with the keys of the contract, and nothing else. */
static void expect_row(const char *line)
{
  static const char *const texts[] = {"bench", "path", "mode", "clock", "profile", "metric", "unit"};
  static const char *const numbers[] = {"devices", "bytes", "median", "min", "max", "n"};
  json_t *object = json_loads(line, 0, NULL);
  cr_assert(json_is_object(object), "no JSON object: %s", line);
  for (int i = 0; i < 7; i++) expect_key(object, texts[i], true);
  for (int i = 0; i < 6; i++) expect_key(object, numbers[i], false);
  cr_expect_eq(json_object_size(object), 13);
  json_decref(object);
}

Test(bench, a_row_is_one_json_object_and_comes_back)
{
  struct bench_row row = row_of("transfer.read", "rma", "supernode", (size_t)1 << 26, "bandwidth", "GB/s", 12.5), back;
  char why[256] = "", *text = row_text(&row);
  expect_row(text);
  cr_expect_eq(strchr(text, '\n'), text + strlen(text) - 1, "one line");
  cr_assert_eq(bench_row_parse(text, &back, why, sizeof why), 0, "%s", why);
  cr_expect(bench_row_same(&row, &back));
  cr_expect(back.median == row.median && back.min == row.min && back.max == row.max && back.n == row.n);
  free(text);
}

Test(bench, a_broken_row_is_an_error_that_names_what_was_expected)
{
  struct bench_row row = row_of("a", "b", "-", 8, "latency", "ns", 1), out;
  char why[256], long_name[300] = "{\"bench\":\"";
  cr_expect_eq(bench_row_parse("not json", &out, why, sizeof why), -EINVAL);
  cr_expect(strstr(why, "JSON"), "%s", why);
  cr_expect_eq(bench_row_parse("[1]", &out, why, sizeof why), -EINVAL);
  cr_expect_eq(bench_row_parse("{\"bench\":\"x\"}", &out, why, sizeof why), -EINVAL);
  cr_expect(strstr(why, "\"path\""), "%s", why);
  memset(long_name + strlen(long_name), 'x', 200);
  strcat(long_name, "\"}");
  cr_expect_eq(bench_row_parse(long_name, &out, why, sizeof why), -EINVAL);
  row.n = 0;
  char *text = row_text(&row);
  cr_expect_eq(bench_row_parse(text, &out, why, sizeof why), -EINVAL);
  cr_expect(strstr(why, "\"n\""), "%s", why);
  free(text);
}

/* ---- the command */

Test(bench, list_names_every_benchmark)
{
  static const char *const names[] = {
      "latency.chase",   "transfer.read", "transfer.pingpong", "random.gups",    "sync.barrier",      "collective",
      "stream",          "kvpool",        "coherence.hit",     "coherence.miss", "coherence.traffic", "page.miss",
      "page.transition", "ofi.rma",       "ofi.miss",          "ofi.page",       "ofi.talk"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) command_expect("bench --list", 0, names[i]);
}

Test(bench, wrong_arguments_are_named)
{
  command_expect("bench no.such.benchmark", 1, "'no.such.benchmark'");
  command_expect("bench no.such.benchmark", 1, "latency.chase");
  command_expect("bench --from /nowhere/rows.json", 1, "'/nowhere/rows.json'");
  command_expect("bench --colour", 64, "--colour");
}

static void write_text(const char *file, const char *text)
{
  FILE *out = fopen(file, "w");
  cr_assert(out, "%s", file);
  fputs(text, out);
  fclose(out);
}

Test(bench, a_broken_line_of_a_rows_file_is_told_with_its_number)
{
  char directory[] = "/tmp/uma-bench-test-XXXXXX", file[64], arguments[128], wanted[128];
  cr_assert(mkdtemp(directory));
  snprintf(file, sizeof file, "%s/rows.json", directory);
  struct bench_row row = row_of("latency.hot.load", "direct", "supernode", 8, "latency", "ns", 1);
  char *good = row_text(&row), two[1024];
  snprintf(two, sizeof two, "%s{\"bench\":7}\n", good);
  write_text(file, two);
  snprintf(arguments, sizeof arguments, "bench --from %s", file);
  snprintf(wanted, sizeof wanted, "%s:2: expected \"bench\"", file);
  command_expect(arguments, 1, wanted);
  free(good);
  unlink(file);
  rmdir(directory);
}

Test(bench, a_real_run_writes_valid_rows, .timeout = 120)
{
  char *said, *save = NULL;
  int rows = 0, ours = 0;
  cr_assert_eq(command_uma(&said, "bench --quick --no-peers latency.hot sync.fetch_add transfer.get"), 0, "%s", said);
  for (char *line = strtok_r(said, "\n", &save); line; line = strtok_r(NULL, "\n", &save), rows++) {
    struct bench_row row;
    char why[256] = "";
    expect_row(line);
    cr_assert_eq(bench_row_parse(line, &row, why, sizeof why), 0, "%s: %s", line, why);
    cr_expect(row.median > 0 && row.min <= row.median && row.median <= row.max && row.n > 0, "%s", line);
    cr_expect_str_eq(row.clock, "measured");
    ours += !strncmp(row.bench, "latency.hot", 11) || !strncmp(row.bench, "sync.fetch_add", 14) ||
            !strncmp(row.bench, "transfer.get", 12) || !strncmp(row.bench, "host.line", 9);
  }
  cr_expect(rows > 10 && ours == rows, "%d rows, %d of them asked for", rows, ours);
  free(said);
}

/* ---- coherent caches */

struct wanted_row {
  const char *bench, *path;
  int devices;
  size_t bytes;
  const char *metric;
};

static void expect_rows(const struct bench_rows *rows, const struct wanted_row *wanted, size_t count)
{
  for (size_t i = 0; i < count; i++) {
    const struct bench_row *row =
        bench_rows_find(rows, wanted[i].bench, wanted[i].path, NULL, wanted[i].devices, wanted[i].bytes, wanted[i].metric);
    cr_expect(row && row->n > 1, "%s %s %s of %zu bytes", wanted[i].bench, wanted[i].path, wanted[i].metric, wanted[i].bytes);
    if (row && strcmp(row->metric, "acks")) cr_expect(row->min > 0, "%s %s: %g", row->bench, row->path, row->min);
  }
}

Test(bench, coherent_caches_and_their_raw_counterparts_are_measured, .timeout = 120)
{
  static const struct wanted_row wanted[] = {
      {"coherence.hit.load", "line", 2, 8, "latency"},
      {"coherence.hit.load", "raw", 2, 8, "latency"},
      {"coherence.hit.chain", "line", 2, 8, "latency"},
      {"coherence.hit.chain", "raw", 2, 8, "latency"},
      {"coherence.hit.store", "line", 2, 8, "latency"},
      {"coherence.hit.store", "raw", 2, 8, "latency"},
      {"coherence.hit.exchange", "raw", 2, 8, "latency"},
      {"coherence.hit.fetch_add", "line", 2, 8, "latency"},
      {"coherence.hit.fetch_add", "raw", 2, 8, "latency"},
      {"coherence.miss", "line", 2, 64, "latency"},
      {"coherence.miss", "raw", 2, 64, "latency"},
      {"coherence.miss", "line", 2, 4096, "latency"},
      {"coherence.miss", "raw", 2, 4096, "latency"},
      {"coherence.pingpong", "line", 2, 64, "latency"},
      {"coherence.pingpong", "raw", 2, 64, "latency"},
      {"coherence.misses", "line", 2, 64, "rate"},
      {"coherence.misses", "line", 8, 64, "rate"},
      {"coherence.transition.i_to_s", "line", 9, 64, "latency"},
      {"coherence.transition.m_to_s", "line", 9, 64, "latency"},
      {"coherence.transition.i_to_m", "line", 9, 64, "latency"},
      {"coherence.transition.m_to_m", "line", 9, 64, "latency"},
      {"coherence.transition.s_to_m.0", "line", 9, 64, "latency"},
      {"coherence.transition.s_to_m.1", "line", 9, 64, "acks"},
      {"coherence.transition.s_to_m.4", "line", 9, 64, "acks"},
      {"coherence.transition.s_to_m.8", "line", 9, 64, "acks"},
      {"coherence.transition.s_to_m.8", "line", 9, 64, "latency"},
      {"coherence.check", "-", 4, 0, "rate"},
  };
  struct bench_rows rows = rows_of_run("coherence.hit coherence.miss coherence.pingpong coherence.transition coherence.check");
  expect_rows(&rows, wanted, sizeof wanted / sizeof wanted[0]);
  bench_rows_free(&rows);
}

/* Where userfaultfd is forbidden there is nothing to measure, and no error. */
Test(bench, page_faults_and_their_bare_operations_are_measured, .timeout = 120)
{
  static const struct wanted_row wanted[] = {
      {"page.miss.read", "page", 2, 4096, "latency"},
      {"page.miss.read", "raw", 2, 4096, "latency"},
      {"page.miss.read.sequential", "page", 2, 4096, "latency"},
      {"page.miss.write", "page", 2, 4096, "latency"},
      {"page.miss.write", "raw", 2, 4096, "latency"},
      {"page.upgrade", "page", 2, 4096, "latency"},
      {"page.upgrade", "raw", 2, 4096, "latency"},
      {"page.upgrade.shared", "page", 2, 4096, "latency"},
      {"page.turn", "page", 2, 4096, "latency"},
      {"page.turn", "raw", 2, 4096, "latency"},
      {"page.evict", "page", 2, 4096, "latency"},
      {"page.evict.modified", "page", 2, 4096, "latency"},
      {"page.barrier", "page", 2, 0, "latency"},
      {"page.barrier", "page", 4, 0, "latency"},
      {"page.transition.i_to_s", "page", 9, 4096, "latency"},
      {"page.transition.m_to_s", "page", 9, 4096, "latency"},
      {"page.transition.i_to_m", "page", 9, 4096, "latency"},
      {"page.transition.m_to_m", "page", 9, 4096, "latency"},
      {"page.transition.s_to_m.0", "page", 9, 4096, "latency"},
      {"page.transition.s_to_m.8", "page", 9, 4096, "latency"},
      {"page.transition.s_to_m.8", "page", 9, 4096, "acks"},
      {"page.hit.chase", "page", 2, 1 << 20, "latency"},
      {"page.hit.chase", "raw", 2, 1 << 20, "latency"},
      {"page.hit.read", "page", 2, 4 << 20, "bandwidth"},
      {"page.hit.read", "raw", 2, 4 << 20, "bandwidth"},
      {"page.hit.write", "page", 2, 4 << 20, "bandwidth"},
      {"page.hit.write", "raw", 2, 4 << 20, "bandwidth"},
  };
  static const struct wanted_row by_thread[] = {
      {"page.faults.signal", "page", 2, 4096, "latency"},
      {"page.faults.thread", "page", 2, 4096, "latency"},
  };
  struct bench_rows rows = rows_of_run("page.");
  if (bare_allowed(false)) expect_rows(&rows, wanted, sizeof wanted / sizeof wanted[0]);
  if (bare_allowed(true)) expect_rows(&rows, by_thread, 2);
  bench_rows_free(&rows);
}

Test(bench, the_fabric_between_hosts_is_measured_beside_bare_libfabric, .timeout = 120)
{
  static const char *const benches[] = {"ofi.put", "ofi.get", "ofi.rma.put", "ofi.rma.get"}, *const paths[] = {"rma", "raw", "spin"};
  struct bench_rows rows = rows_of_run("ofi.rma");
  for (int i = 0; i < 12; i++) {
    const char *bench = benches[i / 3], *path = paths[i % 3];
    cr_expect(bench_rows_find(&rows, bench, path, NULL, 2, 8, "latency"), "%s %s", bench, path);
    cr_expect(bench_rows_find(&rows, bench, path, NULL, 2, 4096, "latency"), "%s %s", bench, path);
    cr_expect(bench_rows_find(&rows, bench, path, NULL, 2, 1 << 20, "bandwidth"), "%s %s", bench, path);
  }
  bench_rows_free(&rows);
}

Test(bench, what_other_hosts_hold_is_measured_beside_the_same_messages, .timeout = 120)
{
  static const struct wanted_row wanted[] = {
      {"ofi.miss.read", "line", 2, 64, "latency"},   {"ofi.miss.read", "raw", 2, 64, "latency"},
      {"ofi.miss.write", "line", 2, 64, "latency"},  {"ofi.miss.write", "raw", 2, 64, "latency"},
      {"ofi.upgrade", "line", 2, 64, "latency"},     {"ofi.upgrade", "raw", 2, 64, "latency"},
      {"ofi.turn.read", "line", 2, 64, "latency"},   {"ofi.turn.read", "raw", 2, 64, "latency"},
      {"ofi.turn.write", "line", 2, 64, "latency"},  {"ofi.turn.write", "raw", 2, 64, "latency"},
      {"ofi.message", "message", 2, 8, "latency"},   {"ofi.message", "raw", 2, 8, "latency"},
      {"ofi.barrier", "message", 2, 0, "latency"},   {"ofi.barrier", "raw", 2, 0, "latency"},
      {"ofi.allreduce", "message", 2, 8, "latency"}, {"ofi.allreduce", "raw", 2, 8, "latency"},
  };
  static const struct wanted_row pages[] = {
      {"ofi.page.read", "page", 2, 4096, "latency"},       {"ofi.page.read", "raw", 2, 4096, "latency"},
      {"ofi.page.turn.write", "page", 2, 4096, "latency"}, {"ofi.page.turn.write", "raw", 2, 4096, "latency"},
      {"ofi.fault.write", "raw", 2, 4096, "latency"},      {"ofi.page.read", "page", 2, 65536, "latency"},
      {"ofi.page.read", "raw", 2, 65536, "latency"},       {"ofi.page.upgrade", "page", 2, 2 << 20, "latency"},
      {"ofi.fault.write", "raw", 2, 2 << 20, "latency"},
  };
  struct bench_rows rows = rows_of_run("ofi.miss ofi.page ofi.talk");
  expect_rows(&rows, wanted, sizeof wanted / sizeof wanted[0]);
  if (bare_allowed(false)) expect_rows(&rows, pages, sizeof pages / sizeof pages[0]);
  bench_rows_free(&rows);
}

static double traffic(const struct bench_rows *rows, const char *pattern, const char *protocol, const char *metric)
{
  char name[48];
  snprintf(name, sizeof name, "coherence.traffic.%s", pattern);
  const struct bench_row *row = bench_rows_find(rows, name, protocol, "supernode", 4, 64, metric);
  cr_assert(row, "%s %s %s", name, protocol, metric);
  return row->median;
}

/* Counts of protocols that take turns do not depend on time: the same in every pass of every run. */
Test(bench, traffic_is_the_same_in_every_run, .timeout = 120)
{
  struct bench_rows rows = rows_of_run("coherence.traffic"), again = rows_of_run("coherence.traffic");
  int compared = 0;
  for (size_t i = 0; i < rows.count; i++) {
    const struct bench_row *row = &rows.row[i];
    if (strncmp(row->bench, "coherence.traffic", 17)) continue;
    double other = traffic(&again, row->bench + strlen("coherence.traffic."), row->path, row->metric);
    cr_expect(row->min == row->max && row->median == other, "%s %s %s: %g to %g, then %g", row->bench, row->path, row->metric, row->min,
              row->max, other);
    compared++;
  }
  cr_expect_eq(compared, 4 * 4 * 2, "4 protocols, 4 patterns, messages and bytes");
  bench_rows_free(&rows);
  bench_rows_free(&again);
}

Test(bench, traffic_orders_the_protocols_as_textbooks_do, .timeout = 120)
{
  static const char *const metrics[] = {"messages", "bytes"}, *const sharing[] = {"migratory", "producer"};
  struct bench_rows rows = rows_of_run("coherence.traffic");
  cr_expect_eq(traffic(&rows, "private", "msi", "messages"), 4, "GetS GetM and 2 answers, 2 Unblocks, PutM Put-Ack for 2 accesses");
  cr_expect_eq(traffic(&rows, "private", "mesi", "messages"), 2.5, "without the upgrade");
  for (int m = 0; m < 2; m++) {
    double mesi = traffic(&rows, "private", "mesi", metrics[m]);
    cr_expect_gt(traffic(&rows, "private", "msi", metrics[m]), mesi, "MESI saves the upgrade of private lines");
    cr_expect_eq(traffic(&rows, "private", "moesi", metrics[m]), mesi);
    cr_expect_eq(traffic(&rows, "private", "mesif", metrics[m]), mesi);
    for (int p = 0; p < 2; p++) {
      double without = traffic(&rows, sharing[p], "mesi", metrics[m]), owned = traffic(&rows, sharing[p], "moesi", metrics[m]);
      cr_expect_lt(owned, without, "MOESI saves the writeback of %s lines: %g, MESI %g", sharing[p], owned, without);
      cr_expect_geq(traffic(&rows, sharing[p], "msi", metrics[m]), without);
    }
  }
  bench_rows_free(&rows);
}

/* ---- the report */

static const struct canned {
  const char *bench, *path, *mode;
  size_t bytes;
  double ns;
} canned[] = {
    {"transfer.read", "direct", "supernode", 8, 70},        {"transfer.read", "direct", "supernode", 4096, 300},
    {"transfer.pingpong", "message", "stacked", 8, 7000},   {"transfer.pingpong", "raw", "-", 8, 6500},
    {"transfer.copy", "copy", "supernode", 8, 70},          {"transfer.copy", "message", "stacked", 8, 9000},
    {"transfer.copy", "copy", "supernode", 1 << 20, 90000}, {"transfer.copy", "message", "stacked", 1 << 20, 170000},
    {"sync.barrier", "direct", "supernode", 0, 180},        {"sync.barrier", "mpi", "-", 0, 200},
    {"sync.barrier", "message", "stacked", 0, 9000},
};

static struct bench_rows canned_rows(void)
{
  struct bench_rows rows = {0};
  for (size_t i = 0; i < sizeof canned / sizeof canned[0]; i++) {
    struct bench_row row = row_of(canned[i].bench, canned[i].path, canned[i].mode, canned[i].bytes, "latency", "ns", canned[i].ns);
    cr_assert_eq(bench_rows_add(&rows, &row), 0);
  }
  return rows;
}

Test(bench, the_wall_in_one_sentence)
{
  struct bench_rows rows = canned_rows(), none = {0};
  char sentence[600];
  cr_assert(bench_wall_sentence(&rows, sentence, sizeof sentence));
  cr_expect_str_eq(sentence,
                   "At 8 B a remote load costs 70.0 ns, the same bytes by message between stacked servers 7.00 µs: a wall of 100×; "
                   "staged copies catch up to within 2× of direct ones at 1 MiB.");
  cr_expect_not(bench_wall_sentence(&none, sentence, sizeof sentence));
  bench_rows_free(&rows);
}

Test(bench, a_target_is_reached_missed_or_not_measured)
{
  struct bench_rows rows = canned_rows();
  struct bench_target targets[BENCH_TARGETS];
  int count = bench_targets(&rows, targets), missed = 0, reached = 0;
  for (int i = 0; i < count; i++) {
    missed += targets[i].verdict == BENCH_MISSED;
    reached += targets[i].verdict == BENCH_REACHED;
    if (!strncmp(targets[i].what, "barrier of 2 ", 13))
      cr_expect_eq(targets[i].verdict, BENCH_MISSED, "1.11 is not 1.5: %s", targets[i].measured);
    if (strstr(targets[i].what, "latency up to 4 KiB")) cr_expect_eq(targets[i].verdict, BENCH_REACHED, "%s", targets[i].measured);
  }
  cr_expect(missed == 1 && reached == 1 && count > 20, "%d missed, %d reached, %d in all", missed, reached, count);
  bench_rows_free(&rows);
}

static char *read_page(const char *directory)
{
  char file[128], *text = NULL;
  size_t room = 0;
  snprintf(file, sizeof file, "%s/deep/index.html", directory);
  FILE *in = fopen(file, "r");
  cr_assert(in, "%s", file);
  cr_assert(getdelim(&text, &room, 0, in) > 0);
  fclose(in);
  unlink(file);
  snprintf(file, sizeof file, "%s/deep", directory);
  cr_expect_eq(rmdir(file), 0, "nothing else is left in %s", file);
  return text;
}

/* gnuplot is no need of the tests; without it the report says so. */
Test(bench, the_report_from_saved_rows, .timeout = 60)
{
  char directory[] = "/tmp/uma-bench-test-XXXXXX", file[64], arguments[256];
  struct bench_rows rows = canned_rows();
  cr_assert(mkdtemp(directory));
  snprintf(file, sizeof file, "%s/rows.json", directory);
  cr_assert_eq(bench_rows_save(&rows, file), 0);
  snprintf(arguments, sizeof arguments, "bench --from %s --report %s/deep", file, directory);
  if (system("command -v gnuplot >/dev/null")) {
    command_expect(arguments, 1, "gnuplot");
    snprintf(arguments, sizeof arguments, "%s/deep", directory);
    rmdir(arguments);
  } else {
    command_expect(arguments, 0, "a wall of 100×");
    char *page = read_page(directory);
    cr_expect(strstr(page, "a wall of 100×") && strstr(page, "<svg") && strstr(page, "</html>") && strstr(page, "missed"));
    cr_expect_not(strstr(page, "src=") || strstr(page, "href=\"http"), "the page refers to nothing outside of it");
    free(page);
  }
  unlink(file);
  cr_expect_eq(rmdir(directory), 0);
  bench_rows_free(&rows);
}
