/* For tests of programs that a PMIx launcher starts, on this host or over two. All of them run in the root of the repository. */
#ifndef TESTS_HOSTS_H
#define TESTS_HOSTS_H

#include "tests/command.h"
#include "tests/session.h"

#define HOSTS_CANNOT 77 /* tests/two_hosts.sh, where it cannot make them */

/* Before programs that use libpmix, which is what it is. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define HOSTS_SANITIZED "env TSAN_OPTIONS=report_bugs=0 ASAN_OPTIONS=detect_leaks=0 "
#else
#define HOSTS_SANITIZED ""
#endif

/* `line` is the command line after tests/two_hosts.sh: its options, the program, arguments. Skips the test where there cannot be two hosts. */
static inline int hosts_run(const char *line, char **said)
{
  char whole[1024];
  if (access("tests/two_hosts.sh", X_OK)) cr_skip_test("not run in the repository's root");
  snprintf(whole, sizeof whole, "tests/two_hosts.sh %s", line);
  int status = command_run(whole, said);
  if (status == HOSTS_CANNOT) cr_skip_test("%s", *said);
  return status;
}

/* It ends with the status, and says all that is wanted. */
static inline void hosts_expect(const char *line, int status, const char *const *wanted)
{
  char *said;
  int result = hosts_run(line, &said);
  cr_expect_eq(result, status, "%s: %d instead of %d: %s", line, result, status, said);
  for (; *wanted; wanted++) cr_expect(strstr(said, *wanted), "%s: \"%s\" is missing in: %s", line, *wanted, said);
  free(said);
}
#define HOSTS_WANTED(...) ((const char *const[]){__VA_ARGS__, NULL})

/* The same with mpirun's options, on this host. Files of mpirun's go to a folder that is removed. */
static inline int hosts_run_on_one(const char *line, char **said)
{
  char whole[1024], folder[] = "/tmp/uma-mpirun-XXXXXX", *missing;
  if (command_run("command -v mpirun", &missing)) cr_skip_test("mpirun is not installed");
  free(missing);
  cr_assert(mkdtemp(folder));
  snprintf(whole, sizeof whole, "TMPDIR=%s timeout -k 5 100 mpirun --allow-run-as-root --oversubscribe --bind-to none %s </dev/null",
           folder, line);
  int status = command_run(whole, said);
  snprintf(whole, sizeof whole, "rm -rf %s", folder);
  if (system(whole)) cr_log_info("%s is left", folder);
  return status;
}

#endif
