/* The labs' pages in headless Chromium: stepped through by keyboard, forwards and backwards, the right cells lit, no error on the console.
 * `make test-pages` installs Chromium and puppeteer-core; without them this is skipped. The looking is done by tests/pages.mjs. */
#include <criterion/criterion.h>

#include "tests/command.h"

#define LABS "examples/labs"

static void skip_where_it_cannot_run(void)
{
  char path[512];
#ifdef UMA_SAN
  cr_skip_test("a student's compiler knows nothing of sanitizers");
#endif
  snprintf(path, sizeof path, "%s/pages/node_modules/puppeteer-core", session_build());
  if (access(LABS "/lab.mk", R_OK)) cr_skip_test("not run in the repository's root");
  if (access("/usr/bin/chromium", X_OK) || access(path, R_OK))
    cr_skip_test("no Chromium or no puppeteer-core: make test-pages installs them");
}

/* All pages that a right and a typically wrong solution of each lab make. */
Test(labs_pages, are_walked_through_by_keyboard)
{
  char *said, *line, out[] = "/tmp/uma-pages-XXXXXX";
  skip_where_it_cannot_run();
  cr_assert(mkdtemp(out));
  if (asprintf(
          &line,
          "export MAKEFLAGS=; for work in " LABS "/solutions/*/right* " LABS "/solutions/*/wrong-2*; do lab=$(basename $(dirname $work)); "
          "make -s -C " LABS "/$lab grade WORK=$PWD/$work OUT=%s/$lab-$(basename $work) UMA=$PWD \"STUDENT=$(head -n 1 $work/student)\" "
          ">/dev/null || echo \"$work cannot be graded\"; done; "
          "TMPDIR=%s node tests/pages.mjs %s/pages $(find %s -name '*.html' | sort)",
          out, out, session_build(), out) < 0)
    abort();
  cr_expect_eq(command_run(line, &said), 0, "%s", said);
  cr_expect(strstr(said, " pages, 0 mistakes"), "%s", said);
  printf("%s", said);
  free(said), free(line);
  if (asprintf(&line, "rm -rf %s", out) < 0) abort();
  command_run(line, &said);
  free(said), free(line);
}
