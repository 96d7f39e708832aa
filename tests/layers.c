/* Calls go down only: no folder includes a header of a layer above it, and the public headers include nothing of the inside. */
#include "tests/command.h"
#include "tests/session.h"

/* Lines of the folder's files that include any of these folders. */
static void expect_no_include(const char *folder, const char *forbidden)
{
  char line[512], *said;
  snprintf(line, sizeof line, "grep -rnE '#include \"(%s)/' %s --include='*.[ch]'; true", forbidden, folder);
  command_run(line, &said);
  cr_expect_str_eq(said, "", "%s must not include %s: %s", folder, forbidden, said);
  free(said);
}

Test(layers, includes_go_down_only)
{
  if (access("fabric/fabric.h", R_OK)) cr_skip_test("not run in the repository's root");
  expect_no_include("fabric", "uma|coherence|bench|tests|examples");
  expect_no_include("uma", "tests|examples");
  expect_no_include("include", "coherence|fabric|bench|tests|examples");
  char *said;
  command_run("[ ! -d coherence ] || grep -rnE '#include \"(uma|bench|tests|examples)/' coherence --include='*.[ch]'; true", &said);
  cr_expect_str_eq(said, "", "coherence must not include: %s", said);
}

Test(layers, an_installed_copy_builds_a_program)
{
  char *said, line[2048];
  if (access("Makefile", R_OK)) cr_skip_test("not run in the repository's root");
  char folder[] = "/tmp/uma-install-XXXXXX";
  cr_assert(mkdtemp(folder));
  const char *script = "set -e; make -s install PREFIX=%s >/dev/null; export PKG_CONFIG_PATH=%s/lib/pkgconfig; "
                       "for standard in c11 gnu11 gnu17; do cc -std=$standard -Wall -Wextra -Werror examples/hello.c $(pkg-config --cflags "
                       "--libs uma) -o %s/hello; done; "
                       "cc -std=gnu11 examples/hello.c $(pkg-config --cflags uma) -L%s/lib -Wl,-Bstatic -luma -Wl,-Bdynamic $(pkg-config "
                       "--static --libs-only-l uma) -o %s/static; "
                       "LD_LIBRARY_PATH=%s/lib %s/bin/uma run -n 2 %s/hello; %s/bin/uma run -n 2 %s/static";
  snprintf(line, sizeof line, script, folder, folder, folder, folder, folder, folder, folder, folder, folder, folder);
  int result = command_run(line, &said);
  cr_expect_eq(result, 0, "%s", said);
  char *twice = strstr(said, "device 1 of 2: device 0 was here");
  cr_expect(twice && strstr(twice + 1, "device 1 of 2: device 0 was here"), "%s", said);
  snprintf(line, sizeof line, "rm -rf %s", folder);
  command_run(line, &said);
}
