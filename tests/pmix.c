/* Processes that a PMIx launcher starts know their rank and who shares a host with them, exchange records, and end together. */
#include <errno.h>

#include "tests/hosts.h"
#include "uma/pmix.h"
#include "uma/session.h"

static void expect_said(const char *line, const char *said, const char *wanted)
{
  cr_expect(strstr(said, wanted), "%s: \"%s\" is missing in: %s", line, wanted, said);
}

/* The part of tests/programs/job.c on `count` processes of this host: all must say that it is right. */
static void expect_right(int count, const char *part)
{
  char line[256], *said;
  snprintf(line, sizeof line, "-n %d " HOSTS_SANITIZED "%s/tests/programs/job %s", count, session_build(), part);
  cr_expect_eq(hosts_run_on_one(line, &said), 0, "%s: %s", line, said);
  snprintf(line, sizeof line, "%s is right", part);
  int right = command_count(said, line);
  cr_expect_eq(right, count, "%s: %d of %d: %s", part, right, count, said);
  free(said);
}

Test(pmix, hosts_are_numbered_by_their_lowest_rank)
{
  struct {
    uint32_t mark[6];
    int size, hosts, host_of[6];
  } cases[] = {
      {{0}, 1, 1, {0}},
      {{5, 5, 5}, 3, 1, {0, 0, 0}},
      {{0, 0, 2, 2}, 4, 2, {0, 0, 1, 1}},
      {{9, 3, 9, 3, UINT32_MAX, 0}, 6, 4, {0, 1, 0, 1, 2, 3}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    int host_of[6];
    cr_expect_eq(uma_pmix_number_hosts(cases[i].mark, cases[i].size, host_of), cases[i].hosts);
    for (int r = 0; r < cases[i].size; r++) cr_expect_eq(host_of[r], cases[i].host_of[r], "case %zu, rank %d", i, r);
  }
}

Test(pmix, without_a_launcher)
{
  char byte = 0;
  unsetenv("PMIX_RANK");
  setenv("PMIX_NAMESPACE", "job", 1);
  cr_expect(!uma_pmix_present());
  setenv("PMIX_RANK", "0", 1);
  cr_expect(uma_pmix_present());
  unsetenv("PMIX_NAMESPACE");
  cr_expect(!uma_pmix_present());
  cr_expect_eq(uma_pmix_gather("record", &byte, 1, &byte), -ENOTCONN);
  cr_expect(strstr(uma_last_error(), "\"record\" before the launcher is connected"), "%s", uma_last_error());
  cr_expect_eq(uma_pmix_barrier(), -ENOTCONN);
  uma_pmix_close();
}

Test(pmix, without_the_library)
{
  char folder[] = "/tmp/uma-pmix-XXXXXX", line[512], *said;
  cr_assert(mkdtemp(folder));
  snprintf(line, sizeof line,
           "echo no library >%s/libpmix.so.2; LD_LIBRARY_PATH=%s PMIX_RANK=0 PMIX_NAMESPACE=job %s/tests/programs/job layout; status=$?; "
           "rm -r %s; exit $status",
           folder, folder, session_build(), folder);
  cr_expect_eq(command_run(line, &said), 1, "%s", said);
  expect_said(line, said, "started by a PMIx launcher, but libpmix.so.2 cannot be used (");
  expect_said(line, said, "install libpmix2, or start by `uma run`");
  free(said);
}

Test(pmix, a_launcher_without_pmix)
{
  static const char *const sizes[] = {"SLURM_STEP_NUM_TASKS", "PMI_SIZE"};
  char line[256], *said;
  for (int i = 0; i < 2; i++) {
    snprintf(line, sizeof line, "env %s=3 %s/examples/hello", sizes[i], session_build());
    cr_expect_eq(command_run(line, &said), 1, "%s: %s", line, said);
    snprintf(line, sizeof line, "a launcher started 3 processes (%s) that do not know of each other", sizes[i]);
    expect_said(sizes[i], said, line);
    expect_said(sizes[i], said, "expected srun --mpi=pmix, the mpirun of Open MPI, prterun, or `uma run`");
    free(said);
    snprintf(line, sizeof line, "env %s=1 %s/examples/hello", sizes[i], session_build());
    cr_expect_eq(command_run(line, &said), 0, "%s: %s", line, said);
    free(said);
    snprintf(line, sizeof line, "env %s=3 %s/uma run -n 2 %s/examples/hello", sizes[i], session_build(), session_build());
    cr_expect_eq(command_run(line, &said), 0, "%s: %s", line, said);
    free(said);
  }
}

Test(pmix, one_host)
{
  expect_right(1, "layout");
  expect_right(4, "layout");
}

Test(pmix, records_reach_all)
{
  expect_right(1, "gather");
  expect_right(4, "gather");
  expect_right(32, "gather");
}

Test(pmix, mistakes_are_told)
{
  expect_right(3, "mistakes");
}

Test(pmix, opens_again)
{
  expect_right(2, "again");
}

Test(pmix, processors_are_those_of_all)
{
  expect_right(1, "bound");
  expect_right(2, "bound");
  expect_right(4, "bound");
}

Test(pmix, beside_mpi)
{
  expect_right(2, "around_mpi");
  expect_right(2, "within_mpi");
}

Test(pmix, one_ends_all)
{
  char line[256], *said;
  snprintf(line, sizeof line, "-n 3 %s/tests/programs/job stop", session_build());
  cr_expect_eq(hosts_run_on_one(line, &said), 7, "%s", said);
  expect_said(line, said, "uma: the last rank gives up");
  free(said);
}

/* ---- two hosts */

static void expect_over_two(const char *options, const char *part, int status, const char *const *wanted)
{
  char line[256];
  snprintf(line, sizeof line, "%s " HOSTS_SANITIZED "%s/tests/programs/job %s", options, session_build(), part);
  hosts_expect(line, status, wanted);
}

Test(pmix, two_hosts)
{
  expect_over_two(
      "", "layout", 0,
      HOSTS_WANTED("rank 0 of 4 on host 0 of 2", "rank 1 of 4 on host 0 of 2", "rank 2 of 4 on host 1 of 2", "rank 3 of 4 on host 1 of 2"));
  expect_over_two("--devices 1", "again", 0, HOSTS_WANTED("rank 0 of 2 on host 0 of 2", "rank 1 of 2 on host 1 of 2"));
  expect_over_two("--devices 3", "gather", 0, HOSTS_WANTED("gather is right"));
}

Test(pmix, one_ends_all_on_two_hosts)
{
  expect_over_two("", "stop", 7, HOSTS_WANTED("uma: the last rank gives up"));
}

Test(pmix, the_link_between_two_hosts_is_cut)
{
  expect_over_two("--cut \"cut now\"", "cut", 0,
                  HOSTS_WANTED("rank 0 saw the link cut", "rank 1 saw the link cut", "rank 2 saw the link cut", "rank 3 saw the link cut"));
}

Test(pmix, two_hosts_are_bounded_in_time_and_told_what_is_wrong)
{
  char *said;
  cr_expect_eq(hosts_run("--seconds 1 sleep 1000", &said), 124, "%s", said);
  free(said);
  cr_expect_eq(hosts_run("--device 2 true", &said), 2);
  expect_said("--device", said, "--device: unknown; --launcher, --devices, --seconds, --cut and --until are known");
  free(said);
  cr_expect_eq(hosts_run("--launcher ssh true", &said), 2);
  expect_said("--launcher ssh", said, "--launcher ssh: unknown; mpirun, prterun and srun are known");
  free(said);
  cr_expect_eq(hosts_run("--devices 0 true", &said), 2);
  expect_said("--devices 0", said, "\"0\" is not a number from 1");
  free(said);
  cr_expect_eq(hosts_run("--seconds", &said), 2);
  expect_said("--seconds", said, "--seconds wants a value");
  free(said);
  cr_expect_eq(hosts_run("--devices 2", &said), 2);
  expect_said("--devices 2", said, "which program?");
  free(said);
}
