/* What `uma bench` models: programs and their parts, plain loads by calls that are charged, how results hang on assumed numbers; and the rows,
 * pictures and tables of these. No value of a profile is expected: only what must hold of any. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/parts.h"
#include "bench/report.h"
#include "fabric/sensitivity.h"
#include "tests/rows.h"

static struct bench_row modelled_row(const char *name, const char *profile, const char *metric, const char *unit, double value)
{
  struct bench_row row = {.path = "-", .mode = "supernode", .clock = "modelled", .devices = 2, .bytes = 8, .median = value, .n = 1};
  snprintf(row.bench, sizeof row.bench, "%s", name);
  snprintf(row.profile, sizeof row.profile, "%s", profile);
  snprintf(row.metric, sizeof row.metric, "%s", metric);
  snprintf(row.unit, sizeof row.unit, "%s", unit);
  row.min = row.max = value;
  return row;
}

/* ---- programs */

static void expect_parts(const struct bench_program *program)
{
  double sum = 0, product = 1;
  for (int i = 0; i < BENCH_PARTS; i++) {
    cr_expect_geq(program->part[i], 0);
    sum += program->part[i];
  }
  cr_expect(fabs(sum / program->row.median - 1) < 1e-4, "%s on %s: parts of %g ns in %g ns", program->row.bench, program->row.profile, sum,
            program->row.median);
  if (isnan(program->efficiency)) return;
  for (int i = 0; i < FAB_FACTORS; i++) {
    if (isnan(program->factor[i])) continue;
    cr_expect(program->factor[i] > 0 && program->factor[i] <= 1, "factor %d of %s: %g", i, program->row.bench, program->factor[i]);
    product *= program->factor[i];
  }
  cr_expect(fabs(program->efficiency / product - 1) < 1e-4, "%g, not the product %g", program->efficiency, product);
  double reached = program->factor[1] * program->factor[2] * program->factor[3];
  cr_expect(fabs(reached / (program->operations / program->row.median) - 1) < 1e-4, "chip x node x cluster is what was reached");
}

Test(bench_modelled, programs_tell_where_their_time_goes_on_a_supernode_and_on_stacked_servers, .timeout = 120)
{
  static const char *const names[] = {"program.chase", "program.allreduce", "program.alltoall",
                                      "program.layer", "program.stencil",   "program.kvpool"};
  struct bench_rows rows = rows_of_run("--profile cloudmatrix384,mtt-s4000-kuae --mode modelled program.");
  struct bench_program programs[BENCH_PROGRAMS];
  int count = bench_programs_find(&rows, programs), computing = 0;
  cr_assert_eq(count, 12);
  for (int i = 0; i < count; i++) {
    bool stacked = !strcmp(programs[i].row.profile, "mtt-s4000-kuae");
    cr_expect_str_eq(programs[i].row.bench, names[i / 2], "the same work is side by side");
    cr_expect_eq(stacked, i % 2);
    expect_parts(&programs[i]);
    cr_expect_eq(programs[i].part[3] > 0, stacked, "staging copies of %s on %s: %g ns", programs[i].row.bench, programs[i].row.profile,
                 programs[i].part[3]);
    cr_expect_str_eq(programs[i].row.mode, stacked ? "stacked" : "supernode");
    computing += !isnan(programs[i].efficiency);
  }
  cr_expect_eq(computing, 6, "the layer, the stencil and the cache compute");
  for (size_t i = 0; i < rows.count; i++) cr_expect_str_eq(rows.row[i].clock, "modelled");
  bench_rows_free(&rows);
}

Test(bench_modelled, programs_run_on_machines_of_their_own_when_none_is_named, .timeout = 120)
{
  struct bench_rows rows = rows_of_run("program.chase");
  struct bench_program programs[BENCH_PROGRAMS];
  cr_expect_geq(bench_programs_find(&rows, programs), 2);
  bench_rows_free(&rows);
}

/* ---- rows, picture, tables of canned programs */

static struct bench_rows canned_rows(void)
{
  static const char *const metrics[] = {"time", "compute", "memory", "scale_up", "staging", "network", "waiting"};
  static const struct {
    const char *profile;
    double ns[7];
  } machines[] = {{"super & node", {1000, 400, 100, 300, 0, 0, 200}}, {"stacked", {4000, 400, 100, 500, 1000, 1500, 500}}};
  struct bench_rows rows = {0};
  for (int m = 0; m < 2; m++)
    for (int i = 0; i < 7; i++) {
      struct bench_row row = modelled_row("compare.<prog>", machines[m].profile, metrics[i], "ns", machines[m].ns[i]);
      cr_assert_eq(bench_rows_add(&rows, &row), 0);
    }
  return rows;
}

Test(bench_modelled, bars_have_the_lengths_of_their_parts)
{
  struct bench_rows rows = canned_rows();
  struct bench_program programs[BENCH_PROGRAMS];
  char *svg = NULL;
  size_t bytes;
  cr_assert_eq(bench_programs_find(&rows, programs), 2);
  FILE *out = open_memstream(&svg, &bytes);
  bench_programs_svg(out, programs, 2);
  fclose(out);
  cr_expect(!strncmp(svg, "<svg xmlns", 10) && strstr(svg, "</svg>"));
  cr_expect_eq(command_count(svg, "<rect"), 1 + 6 + 4 + 6, "the ground, the legend, and all parts that are not 0: %s", svg);
  cr_expect(strstr(svg, "width=\"97.50\"") && strstr(svg, "width=\"292.50\""), "500 and 1500 of 4000 ns: %s", svg);
  cr_expect(strstr(svg, "4.00 µs, 4.0×") && strstr(svg, ">1.00 µs<"), "%s", svg);
  cr_expect(strstr(svg, "compare.&lt;prog&gt;") && strstr(svg, "super &amp; node"), "names are escaped: %s", svg);
  free(svg);
  bench_rows_free(&rows);
}

Test(bench_modelled, half_a_program_is_none)
{
  struct bench_rows rows = {0};
  struct bench_program programs[BENCH_PROGRAMS];
  struct bench_row time = modelled_row("program.x", "m", "time", "ns", 1), part = modelled_row("program.x", "m", "compute", "ns", 1);
  cr_assert(!bench_rows_add(&rows, &time) && !bench_rows_add(&rows, &part));
  cr_expect_eq(bench_programs_find(&rows, programs), 0);
  bench_rows_free(&rows);
}

/* ---- plain loads and stores */

static const struct bench_row *find_modelled(const struct bench_rows *rows, const char *name, const char *path, size_t bytes)
{
  for (size_t i = 0; i < rows->count; i++) {
    const struct bench_row *row = &rows->row[i];
    if (!strcmp(row->bench, name) && !strcmp(row->path, path) && (bytes == BENCH_ANY || row->bytes == bytes) && bench_row_modelled(row))
      return row;
  }
  return NULL;
}

Test(bench_modelled, plain_loads_and_stores_have_modelled_rows, .timeout = 120)
{
  struct bench_rows rows =
      rows_of_run("--profile h100-8 --mode modelled latency.hot latency.chase latency.pages stream transfer.read transfer.write");
  const struct bench_row *word = find_modelled(&rows, "latency.hot.chain", "direct", 8);
  const struct bench_row *chase = find_modelled(&rows, "latency.chase", "direct", 4096),
                         *read = find_modelled(&rows, "transfer.read", "direct", 8);
  const struct bench_row *near = find_modelled(&rows, "latency.chase.local", "direct", 4096);
  cr_assert(word && chase && read && near);
  cr_expect(chase->median == word->median && read->median == word->median, "a load is a load: %g, %g, %g", chase->median, read->median,
            word->median);
  cr_expect_lt(near->median, chase->median);
  const struct bench_row *small = find_modelled(&rows, "stream.read", "direct", 256 << 10),
                         *large = find_modelled(&rows, "stream.read", "direct", 64 << 20);
  cr_assert(small && large && find_modelled(&rows, "stream.write", "direct", 64 << 20) &&
            find_modelled(&rows, "transfer.write", "direct", 8));
  cr_expect_lt(small->median, large->median, "GB/s");
  cr_expect_null(find_modelled(&rows, "latency.pages.never", "direct", BENCH_ANY), "pages of the device are not modelled");
  cr_expect_null(find_modelled(&rows, "latency.chase", "raw", BENCH_ANY), "and plain mappings neither");
  bench_rows_free(&rows);
}

/* ---- sensitivity */

static char *sensitivity_text(const struct bench_rows *rows, bool html, int *printed)
{
  char *text = NULL;
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  *printed = bench_sensitivity_print(out, html, rows);
  fclose(out);
  return text;
}

Test(bench_modelled, numbers_are_sorted_by_their_influence)
{
  static const struct {
    const char *profile;
    double ns;
  } canned[] = {{"m", 100},
                {"m:links.a.latency=1 ns (low)", 90},
                {"m:links.a.latency=3 ns (high)", 120},
                {"m:links.b.latency=1 ns (low)", 100},
                {"m:links.b.latency=9 ns (high)", 250},
                {"m:links.c.latency=1 ns (low)", 100},
                {"m:links.c.latency=9 ns (high)", 100.01},
                {"other:links.d.latency=1 ns (low)", 7}};
  struct bench_rows rows = {0};
  int printed;
  for (size_t i = 0; i < sizeof canned / sizeof canned[0]; i++) {
    struct bench_row row = modelled_row("program.x", canned[i].profile, "time", "ns", canned[i].ns);
    cr_assert_eq(bench_rows_add(&rows, &row), 0);
  }
  char *text = sensitivity_text(&rows, false, &printed), *html = sensitivity_text(&rows, true, &printed);
  const char *a = strstr(text, "links.a.latency"), *b = strstr(text, "links.b.latency");
  cr_expect_eq(printed, 1);
  cr_assert(a && b);
  cr_expect_lt(b, a, "the strongest first: %s", text);
  cr_expect(strstr(text, "1 ns to 9 ns") && strstr(text, "250 ns (+150.0 %)") && strstr(text, "90.0 ns (-10.0 %)"), "%s", text);
  cr_expect_not(strstr(text, "links.c") || strstr(text, "links.d"), "what changes nothing, and other machines: %s", text);
  cr_expect(strstr(html, "<h2>") && strstr(html, "</table>"));
  free(text);
  free(html);
  bench_rows_free(&rows);
}

Test(bench_modelled, results_differ_by_racing_more_than_by_a_number)
{
  struct bench_row as_is = modelled_row("program.x", "m", "time", "ns", 100), low = as_is, high = as_is;
  struct bench_rows rows = {0};
  int printed;
  as_is.min = 90, as_is.max = 105, as_is.n = 5;
  strcpy(low.profile, "m:links.a.latency=1 ns (low)"), low.median = 80;
  strcpy(high.profile, "m:links.a.latency=3 ns (high)"), high.median = 115;
  cr_assert(!bench_rows_add(&rows, &as_is) && !bench_rows_add(&rows, &low) && !bench_rows_add(&rows, &high));
  char *text = sensitivity_text(&rows, false, &printed);
  cr_expect_eq(printed, 0, "%s", text);
  free(text);
  bench_rows_free(&rows);
}

/* A load from the other device hangs on the latencies of memory and link, whatever the machine; the rest of its numbers are left out. */
Test(bench_modelled, each_assumed_number_is_tried_at_both_ends, .timeout = 300)
{
  struct bench_rows rows = rows_of_run("--profile scalex640 --sensitivity latency.hot");
  struct fab_profile *profile = fab_profile_load("scalex640", stderr);
  int printed, low = 0, high = 0, swayed = 0;
  for (int i = 0; i < profile->quantity_count; i++) swayed += fab_is_swayed(&profile->quantity[i]);
  for (size_t i = 0; i < rows.count; i++) {
    if (strcmp(rows.row[i].bench, "latency.hot.chain")) continue;
    low += bench_row_varied(&rows.row[i]) && strstr(rows.row[i].profile, "(low)");
    high += bench_row_varied(&rows.row[i]) && strstr(rows.row[i].profile, "(high)");
  }
  cr_expect(low == high && low > 0 && low < swayed, "%d at their low, %d at their high, of %d", low, high, swayed);
  char *text = sensitivity_text(&rows, false, &printed);
  cr_expect_geq(printed, 2);
  cr_expect(strstr(text, "accelerators.0.memory_latency") &&
                strstr(text, "latency.hot.chain, direct, supernode, 2 devices, 8 B: latency on scalex640"),
            "%s", text);
  cr_expect_not(strstr(text, "power") || strstr(text, "efficiency"), "%s", text);
  free(text);
  fab_profile_free(profile);
  bench_rows_free(&rows);
}

/* ---- bad input */

Test(bench_modelled, wrong_arguments_are_named)
{
  command_expect("bench --sensitivity --profile h100-8 --mode both latency.hot", 1, "--sensitivity --mode both: only modelled results");
  command_expect("bench --profile h100-8:links.nvlink.latency=7 latency.hot", 1, "links.nvlink.latency: \"7\" has no unit");
  command_expect("bench --profile h100-8:links.none.latency=7ns latency.hot", 1, "it has no number \"links.none.latency\"");
  command_expect("bench --profile h100-8:links.nvlink.latency latency.hot", 1, "with a number of its own: PROFILE:NAME=NUMBER UNIT");
  command_expect("bench --from /dev/null --sensitivity", 1, "--from measures nothing; expected it without --profile and --sensitivity");
}
