/* `uma compare` and `uma bench --profile`: modelled values of programs on machines on paper, apart from measured ones, as text, rows and
 * picture; wrong arguments. */
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#include "bench/parts.h"
#include "tests/command.h"
#include "tests/session.h"

static int run(const char *arguments, char **said)
{
  char line[1024];
  snprintf(line, sizeof line, "UMA_MEMORY=16M %s/uma %s", session_build(), arguments);
  return command_run(line, said);
}

static void expect(const char *arguments, int status, const char *const *words)
{
  char *said;
  int result = run(arguments, &said);
  cr_assert_eq(result, status, "uma %s: %d instead of %d: %s", arguments, result, status, said);
  for (; *words; words++) cr_assert(strstr(said, *words), "uma %s: \"%s\" is missing in: %s", arguments, *words, said);
  free(said);
}

Test(compare, tells_where_time_goes_on_each_machine_and_kind_of_device)
{
  char arguments[512];
  snprintf(arguments, sizeof arguments, "compare -n 2 h100-8 mtt-s4000-kuae -- %s/examples/hello", session_build());
  expect(arguments, 0,
         (const char *const[]){"h100-8, NVIDIA H100", "mtt-s4000-kuae, Moore Threads", "us modelled", "C compute", ". waiting", NULL});
}

Test(compare, wrong_arguments_are_named)
{
  expect("compare h100-8", 2, (const char *const[]){"expected uma compare [-n N] PROFILE... -- PROGRAM", NULL});
  expect("compare no-such-machine -- /bin/true", 2, (const char *const[]){"\"no-such-machine\" is neither a profile nor a file", NULL});
  expect("compare -n 257 mtlink2-c256 -- /bin/true", 2, (const char *const[]){"257 devices", "256", NULL});
  expect("compare --json /nowhere/rows h100-8 -- /bin/true", 1, (const char *const[]){"--json: cannot write '/nowhere/rows'", NULL});
  expect("compare --svg /nowhere/bars h100-8 -- /bin/true", 1, (const char *const[]){"--svg: cannot write '/nowhere/bars'", NULL});
  expect("compare --json - --svg - h100-8 -- /bin/true", 2, (const char *const[]){"expected a file for one of them", NULL});
  expect("compare 'h100-8:host.memory=1 x' -- /bin/true", 2,
         (const char *const[]){"host.memory: \"1 x\" has a unit of another dimension", NULL});
  expect("compare h100-8 -- /bin/false", 1, (const char *const[]){"the program ended with status 1", NULL});
}

/* All machines are looked at first, and no empty file stays. */
Test(compare, a_wrong_machine_runs_and_leaves_nothing)
{
  char folder[] = "/tmp/uma-compare-test-XXXXXX", rows[64], ran[64], arguments[256];
  cr_assert(mkdtemp(folder));
  snprintf(rows, sizeof rows, "%s/rows", folder);
  snprintf(ran, sizeof ran, "%s/ran", folder);
  snprintf(arguments, sizeof arguments, "compare --json %s h100-8 no-such-machine -- /usr/bin/touch %s", rows, ran);
  expect(arguments, 2, (const char *const[]){"\"no-such-machine\" is neither a profile nor a file", NULL});
  cr_expect_neq(access(rows, F_OK), 0, "rows were written");
  cr_expect_neq(access(ran, F_OK), 0, "the program ran");
  cr_expect_eq(rmdir(folder), 0);
}

/* Every row is one of the contract, and parts add up to the time. */
static void expect_rows(const char *text)
{
  char *copy = strdup(text), *save = NULL, why[256];
  double time = 0, parts = 0;
  int rows = 0, metrics = 0;
  for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save), rows++) {
    struct bench_row row;
    cr_assert_eq(bench_row_parse(line, &row, why, sizeof why), 0, "%s: %s", line, why);
    cr_expect(!strcmp(row.bench, "compare.compute") && !strcmp(row.clock, "modelled") && row.devices == 16, "%s", line);
    time += strcmp(row.metric, "time") ? 0 : row.median;
    for (int i = 0; i < BENCH_PARTS; i++) {
      bool is_part = !strcmp(row.metric, bench_parts[i].metric);
      parts += is_part ? row.median : 0;
      metrics += is_part;
    }
  }
  cr_expect(metrics == 2 * BENCH_PARTS && rows > metrics, "%d rows, %d of them parts", rows, metrics);
  cr_expect(time > 0 && parts > 0.9999 * time && parts < 1.0001 * time, "%g ns in parts of %g ns", parts, time);
  free(copy);
}

Test(compare, writes_rows_and_a_picture)
{
  char folder[] = "/tmp/uma-compare-XXXXXX", picture[64], arguments[512], *said;
  cr_assert(mkdtemp(folder));
  snprintf(picture, sizeof picture, "%s/bars.svg", folder);
  snprintf(arguments, sizeof arguments, "compare -n 16 --json - --svg %s scalex640 h100-8 -- %s/tests/programs/compute 2>/dev/null",
           picture, session_build());
  cr_assert_eq(run(arguments, &said), 0, "%s", said);
  expect_rows(said);
  free(said);
  FILE *file = fopen(picture, "r");
  cr_assert(file);
  said = command_read_all(file);
  fclose(file);
  cr_expect(strstr(said, "<svg") && strstr(said, "scalex640") && strstr(said, "h100-8") && strstr(said, "</svg>"), "%s", said);
  free(said);
  unlink(picture), rmdir(folder);
}

Test(compare, tells_the_factors_of_the_efficiency_with_their_sources)
{
  char arguments[512];
  snprintf(arguments, sizeof arguments, "compare -n 16 h100-8 -- %s/tests/programs/compute", session_build());
  expect(arguments, 0,
         (const char *const[]){"Efficiency of h100-8: generality x chip x node x cluster x stability", "generality",
                               "this run: ", "of operations at the stated rate : ", "of time but for the network", "of all time",
                               "modelled", "product", NULL});
  snprintf(arguments, sizeof arguments, "compare -n 2 h100-8 -- %s/examples/hello", session_build());
  expect(arguments, 0, (const char *const[]){"no operations were charged (uma_compute)", NULL});
}

/* The same numbers as on standard output of `uma compare`, after what --stats tells besides; also by the environment. */
Test(compare, stats_of_a_run_on_a_machine_tell_them_too)
{
  char arguments[512], *compared, *ran;
  snprintf(arguments, sizeof arguments, "%s/tests/programs/compute", session_build());
  cr_assert_eq(command_uma(&compared, "compare -n 2 h100-8 -- %s", arguments), 0, "%s", compared);
  cr_assert_eq(command_uma(&ran, "run -n 2 --stats --profile h100-8 -- %s", arguments), 0, "%s", ran);
  const char *table = strstr(compared, "h100-8, NVIDIA H100");
  cr_assert(table && strstr(table, "product") && strstr(ran, "capacity"), "%s", compared);
  const char *same = strstr(ran, "h100-8, NVIDIA H100");
  cr_assert(same, "%s", ran);
  size_t length = (size_t)(strstr(table, "product") - table);
  cr_expect(!strncmp(table, same, length), "%s\n%s", table, same);
  free(ran);
  cr_assert_eq(command_uma(&ran, "run -n 2 --profile h100-8 -- %s", arguments), 0, "%s", ran);
  cr_expect_null(strstr(ran, "Efficiency"), "nobody asked: %s", ran);
  free(ran);
  cr_assert_eq(command_uma(&ran, "run -n 2 --stats -- %s", arguments), 0, "%s", ran);
  cr_expect_null(strstr(ran, "Efficiency"), "no machine: %s", ran);
  free(ran);
  free(compared);
}

Test(compare, bench_models_machines_in_rows_of_their_own, .timeout = 120)
{
  expect("bench --quick --no-peers --profile h100-8,mtt-s4000-kuae --mode modelled --json - latency.hot", 0,
         (const char *const[]){
             "\"bench\":\"latency.hot.chain\",\"path\":\"direct\",\"mode\":\"supernode\",\"clock\":\"modelled\",\"profile\":\"h100-8\"",
             "\"profile\":\"mtt-s4000-kuae\"", NULL});
  expect("bench --profile no-such-machine latency.hot", 1, (const char *const[]){"--profile", "no-such-machine", NULL});
  expect("bench --mode modelled latency.hot", 1, (const char *const[]){"--mode modelled", "expected --profile", NULL});
}
