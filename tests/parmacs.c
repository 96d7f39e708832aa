/* Programs with PARMACS macros: every macro, and the kernels of examples/parmacs, with several numbers of devices. */
#include "tests/command.h"
#include "tests/session.h"

static const char *const modes[] = {"none", "page"};
static const int numbers[] = {1, 2, 4, 8};
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void expect(const char *mode, int devices, const char *program, int status, const char *wanted)
{
  char line[512], *said;
  snprintf(line, sizeof line, "%s/uma run -n %d --create --coherence %s --memory 64M --timeout 100 -- %s/%s", session_build(), devices,
           mode, session_build(), program);
  int result = command_run(line, &said);
  cr_expect_eq(result, status, "%s: %d instead of %d: %s", line, result, status, said);
  cr_expect(strstr(said, wanted), "%s: \"%s\" is missing in: %s", line, wanted, said);
  free(said);
}

/* The program's arguments end with the number of processes, which is that of the devices. */
static void expect_everywhere(const char *program, const char *wanted)
{
  char whole[256];
  for (size_t m = 0; m < COUNT(modes); m++)
    for (size_t i = 0; i < COUNT(numbers); i++) {
      snprintf(whole, sizeof whole, "%s %d", program, numbers[i]);
      expect(modes[m], numbers[i], whole, 0, wanted);
    }
}

Test(parmacs, every_macro)
{
  expect_everywhere("tests/parmacs_macros", "all macros");
}

Test(parmacs, radix_sort)
{
  expect_everywhere("examples/parmacs/radix -n 20011 -p", "verified");
}

Test(parmacs, blocked_lu)
{
  expect_everywhere("examples/parmacs/lu -n 96 -b 8 -p", "verified");
}

Test(parmacs, six_step_fft)
{
  expect_everywhere("examples/parmacs/fft -n 4096 -p", "verified");
}

Test(parmacs, red_black_stencil)
{
  expect_everywhere("examples/parmacs/stencil -n 50 -i 60 -p", "verified");
}

Test(parmacs, barnes_hut)
{
  expect_everywhere("examples/parmacs/barnes -n 300 -s 2 -p", "verified");
}

/* All devices exist from the beginning, on two hosts, and rehearse. */
static void expect_rehearsed(int devices, const char *program, int status, const char *wanted)
{
  char line[512], *said;
  snprintf(line, sizeof line, "%s/uma run -n %d --hosts 2 --coherence page --memory 64M --timeout 100 -- %s/%s", session_build(), devices,
           session_build(), program);
  int result = command_run(line, &said);
  cr_expect_eq(result, status, "%s: %d instead of %d: %s", line, result, status, said);
  char *found = strstr(said, wanted);
  cr_expect(found && !strstr(found + 1, wanted), "%s: not once \"%s\" in: %s", line, wanted, said);
  free(said);
}

Test(parmacs, processes_that_exist_rehearse)
{
  expect_rehearsed(4, "tests/parmacs_macros 4 once", 0, "all macros, 4 processes");
  expect_rehearsed(4, "examples/parmacs/radix -n 20011 -p 4", 0, "verified");
  expect_rehearsed(4, "examples/parmacs/lu -n 96 -b 8 -p 4", 0, "verified");
  expect_rehearsed(4, "examples/parmacs/fft -n 4096 -p 4", 0, "verified");
  expect_rehearsed(4, "examples/parmacs/stencil -n 50 -i 60 -p 4", 0, "verified");
  expect_rehearsed(4, "examples/parmacs/barnes -n 300 -s 2 -p 4", 0, "verified");
}

Test(parmacs, not_all_that_rehearse_are_needed)
{
  expect_rehearsed(5, "examples/parmacs/radix -n 1000 -p 2", 0, "verified");
  expect_rehearsed(3, "examples/parmacs/barnes -n 300 -s 2 -p 1", 0, "verified");
  expect_rehearsed(3, "examples/parmacs/radix -n 1000 -p 4", 1, "CREATE: the session has 3 devices, and the program wants more processes");
  expect_rehearsed(2, "tests/parmacs_macros 2", 1, "CREATE: main() has waited for processes");
}

Test(parmacs, fewer_processes_than_devices)
{
  expect("none", 5, "examples/parmacs/radix -n 1000 -p 3", 0, "verified");
}

Test(parmacs, mistakes_of_starting_are_told)
{
  char line[512], *said;
  expect("none", 3, "examples/parmacs/radix -n 1000 -p 4", 1, "CREATE: the session has 3 devices, and the program wants more processes");
  snprintf(line, sizeof line, "%s/uma run -n 2 %s/examples/parmacs/radix -p 2", session_build(), session_build());
  cr_expect_eq(command_run(line, &said), 1);
  cr_expect(strstr(said, "run with --coherence page, or as one process that creates the others: uma run -n N --create"), "%s", said);
  free(said);
  snprintf(line, sizeof line, "%s/examples/parmacs/radix -p 1 && %s/examples/parmacs/radix -p 2", session_build(), session_build());
  cr_expect_eq(command_run(line, &said), 1);
  cr_expect(strstr(said, "verified") && strstr(said, "not started for uma_fork"), "%s", said);
  free(said);
}

Test(parmacs, with_prefixed_builtins_the_output_is_the_same)
{
  char *plain, *prefixed;
  if (access("examples/parmacs/uma.m4", R_OK)) cr_skip_test("not run in the repository's root");
  cr_expect_eq(command_run("m4 examples/parmacs/uma.m4 tests/parmacs_macros.c.in | tail -n +2", &plain), 0);
  cr_expect_eq(command_run("m4 -P examples/parmacs/uma.m4 tests/parmacs_macros.c.in | tail -n +2", &prefixed), 0);
  cr_expect(strstr(plain, "parmacs_begin()"));
  cr_expect_str_eq(plain, prefixed);
  free(plain);
  free(prefixed);
}
