/* `uma compare` and `uma bench --profile`: modelled values of programs on machines on paper, apart from measured ones; wrong arguments. */
#include <criterion/criterion.h>
#include <string.h>

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
  expect("compare h100-8 -- /bin/false", 1, (const char *const[]){"the program ended with status 1", NULL});
}

Test(compare, bench_models_machines_in_rows_of_their_own, .timeout = 120)
{
  expect("bench --quick --no-peers --profile h100-8,mtt-s4000-kuae --mode modelled --json - latency.hot", 0,
         (const char *const[]){
             "\"bench\":\"latency.hot.load\",\"path\":\"direct\",\"mode\":\"supernode\",\"clock\":\"modelled\",\"profile\":\"h100-8\"",
             "\"profile\":\"mtt-s4000-kuae\"", NULL});
  expect("bench --profile no-such-machine latency.hot", 1, (const char *const[]){"--profile", "no-such-machine", NULL});
  expect("bench --mode modelled latency.hot", 1, (const char *const[]){"--mode modelled", "expected --profile", NULL});
}
