/* Two hosts of two devices each, with a network between them: stress, litmus tests, kernels and windows of stacked servers over it, and what waits
 * when its link is cut. */
#include <glob.h>
#include <jansson.h>

#include "tests/hosts.h"
#include "uma/litmus.h"

static bool is_long(void)
{
  return getenv("UMA_TEST_LONG");
}

/* The program of this build, with settings, as all four devices. */
static int run(const char *options, const char *settings, const char *program, char **said)
{
  char line[900];
  snprintf(line, sizeof line, "%s --seconds %d " HOSTS_SANITIZED "env UMA_INTERFACE=data %s %s/%s", options, is_long() ? 3000 : 280,
           settings, session_build(), program);
  return hosts_run(line, said);
}

/* Every device, or only one, says the words. */
static void expect_said(const char *settings, const char *program, int times, const char *words)
{
  char *said;
  int result = run("", settings, program, &said), found = command_count(said, words);
  cr_expect(result == 0 && found == times, "%s %s: %d, \"%s\" %d times instead of %d in: %s", settings, program, result, words, found,
            times, said);
  free(said);
}

static void stress(const char *settings, int threads, int steps)
{
  const char *seed = getenv("UMA_TEST_SEED");
  char program[100];
  snprintf(program, sizeof program, "tests/programs/stress %s %d %d", seed ? seed : "1", threads, is_long() ? 50 * steps : steps);
  printf("UMA_TEST_SEED=%s\n", seed ? seed : "1");
  expect_said(settings, program, 4, "no stale value");
}

Test(two_hosts, stress_in_mode_line)
{
  stress("UMA_COHERENCE=line UMA_MEMORY=1M", 2, 40);
  stress("UMA_COHERENCE=line UMA_MEMORY=1M UMA_CACHE=256 UMA_WAYS=2 UMA_SHARERS=coarse", 1, 30);
}

Test(two_hosts, stress_in_mode_page)
{
  stress("UMA_COHERENCE=page UMA_MEMORY=1M", 2, 40);
}

/* ---- Litmus tests */

/* The states that were seen are among those that sequential consistency allows. */
static void expect_consistent(const struct uma_litmus *test, const json_t *report, uint64_t runs)
{
  struct uma_litmus_outcomes allowed;
  char text[2048];
  size_t i;
  json_t *state;
  cr_assert_eq(uma_litmus_explore(test, UMA_LITMUS_SC, &allowed), 0);
  cr_expect_eq((uint64_t)json_integer_value(json_object_get(report, "runs")), runs, "%s", test->name);
  json_array_foreach(json_object_get(report, "states"), i, state)
  {
    const char *seen = json_string_value(json_object_get(state, "state"));
    bool found = false;
    for (size_t a = 0; a < allowed.count && !found; a++) {
      uma_litmus_format(test, &allowed.list[a], text, sizeof text);
      found = !strcmp(text, seen);
    }
    cr_expect(found, "%s: %s was seen and SC forbids it", test->name, seen);
  }
  free(allowed.list);
}

/* One object a line, by the name of the test. */
static json_t *read_reports(const char *path)
{
  json_t *reports = json_object(), *one;
  FILE *file = fopen(path, "r");
  cr_assert(file, "%s", path);
  while ((one = json_loadf(file, JSON_DISABLE_EOF_CHECK, NULL)))
    json_object_set_new(reports, json_string_value(json_object_get(one, "name")), one);
  fclose(file);
  return reports;
}

static void run_litmus_tests(const char *mode)
{
  char path[] = "/tmp/uma-two-hosts-XXXXXX", program[200], *said;
  uint64_t runs = is_long() ? 2000 : 30;
  glob_t files;
  close(mkstemp(path));
  snprintf(program, sizeof program, "uma litmus --coherence %s --runs %llu --json %s tests/litmus/*.litmus", mode, (unsigned long long)runs,
           path);
  int result = run("", "", program, &said);
  cr_expect(result == 0 || result == 3, "%s: %d: %s", program, result, said);
  json_t *reports = read_reports(path);
  unlink(path);
  cr_assert_eq(glob("tests/litmus/*.litmus", 0, NULL, &files), 0);
  cr_expect_eq(json_object_size(reports), files.gl_pathc, "%s", said);
  for (size_t f = 0; f < files.gl_pathc; f++) {
    struct uma_litmus *test;
    cr_assert_eq(uma_litmus_read(files.gl_pathv[f], &test), 0);
    expect_consistent(test, json_object_get(reports, test->name), runs);
    uma_litmus_free(test);
  }
  globfree(&files);
  json_decref(reports);
  free(said);
}

Test(two_hosts, mode_line_is_sequentially_consistent)
{
  run_litmus_tests("line");
}

Test(two_hosts, mode_page_is_sequentially_consistent_between_devices)
{
  run_litmus_tests("page");
}

Test(two_hosts, litmus_tests_want_enough_devices)
{
  char *said;
  int result = run("--devices 1", "", "uma litmus --coherence line --runs 10 tests/litmus/IRIW.litmus", &said);
  cr_expect_eq(result, 1);
  cr_expect(strstr(said, "IRIW: 4 threads are more than the 2 devices that were started"), "%s", said);
  free(said);
}

/* ---- Kernels */

Test(two_hosts, kernels)
{
  static const char *const kernels[] = {"radix -n 20011", "lu -n 96 -b 8", "fft -n 4096", "stencil -n 50 -i 60", "barnes -n 300 -s 2"};
  char program[100];
  for (size_t k = 0; k < sizeof kernels / sizeof kernels[0]; k++) {
    snprintf(program, sizeof program, "examples/parmacs/%s -p 4", kernels[k]);
    expect_said("UMA_COHERENCE=page UMA_MEMORY=64M", program, 1, ": verified");
  }
  expect_said("UMA_COHERENCE=page UMA_MEMORY=64M", "tests/parmacs_macros 4 once", 1, "all macros, 4 processes");
}

/* ---- Windows of other domains */

Test(two_hosts, windows_of_stacked_servers_by_rma)
{
  expect_said("UMA_MODE=stacked UMA_FABRIC=ofi UMA_MEMORY=32M", "tests/programs/windows", 4, "windows are right");
  expect_said("UMA_MODE=stacked UMA_FABRIC=ofi UMA_SERVERS=4 UMA_PROVIDER=net UMA_MEMORY=32M", "tests/programs/windows", 4,
              "windows are right");
}

/* ---- The cut */

/* All four devices say of each of the waits that it ended with the error, and that they are done; `pages` loads ended their threads instead. */
static void cut(const char *settings, const char *const *waits, int pages)
{
  char *said, wanted[100];
  int result = run("--cut \"now cut\"", settings, "tests/programs/cut", &said);
  cr_expect_eq(result, 0, "%s: %d: %s", settings, result, said);
  for (; *waits; waits++) {
    snprintf(wanted, sizeof wanted, ": %s ended", *waits);
    cr_expect_eq(command_count(said, wanted), 4, "%s: not four times \"%s\" in: %s", settings, wanted, said);
  }
  cr_expect_eq(command_count(said, "all is done"), 4, "%s: not all are done: %s", settings, said);
  cr_expect_eq(command_count(said, "the page was lost together with a device"), pages, "%s: not %d pages were lost: %s", settings, pages,
               said);
  free(said);
}

#define SILENT "UMA_SILENCE=2 UMA_MEMORY=32M "
#define ALL "all that meet", "receive", "receive from any", "their lock", "the lock that they hold", "a signal"
#define NAMED "their barrier", "a barrier here"

Test(two_hosts, the_cut_ends_all_waits_in_mode_line)
{
  cut(SILENT "UMA_COHERENCE=line", (const char *const[]){ALL, NAMED, "get and put", NULL}, 0);
}

Test(two_hosts, the_cut_ends_all_waits_in_mode_page)
{
  cut(SILENT "UMA_COHERENCE=page", (const char *const[]){ALL, NAMED, NULL}, 8);
}

Test(two_hosts, the_cut_ends_all_waits_of_stacked_servers)
{
  cut(SILENT "UMA_MODE=stacked UMA_SERVERS=2", (const char *const[]){ALL, "get and put", NULL}, 0);
  cut(SILENT "UMA_MODE=stacked UMA_SERVERS=2 UMA_FABRIC=ofi", (const char *const[]){ALL, "get and put", NULL}, 0);
}
