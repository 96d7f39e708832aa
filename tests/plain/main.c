/* Runs all tests one after the other, each in a process of its own: see criterion/criterion.h beside this file.
 *     all [--filter PATTERN] of SUITE/NAME;     other arguments are those of Criterion, and ignored */
#include <fnmatch.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/plain/criterion/criterion.h"

#define TEST_SECONDS 300

struct plain_test *plain_tests;
int plain_failures;

static int run(const struct plain_test *test)
{
  int status;
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    alarm(TEST_SECONDS);
    if (test->init) test->init();
    test->run();
    if (test->fini) test->fini();
    fflush(NULL);
    _exit(plain_failures ? 1 : 0);
  }
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
  const char *filter = "*";
  int passed = 0, failed = 0, skipped = 0;
  for (int i = 1; i + 1 < argc; i++)
    if (!strcmp(argv[i], "--filter")) filter = argv[i + 1];
  for (struct plain_test *test = plain_tests; test; test = test->next) {
    char name[256];
    snprintf(name, sizeof name, "%s/%s", test->suite, test->name);
    if (fnmatch(filter, name, 0)) continue;
    int result = run(test);
    if (result == PLAIN_SKIPPED) skipped++;
    else if (result) failed++;
    else passed++;
    if (result && result != PLAIN_SKIPPED) fprintf(stderr, "[FAIL] %s: %d\n", name, result);
  }
  printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
  return failed || !passed;
}
