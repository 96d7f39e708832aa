/* Other launchers than mpirun, Slurm's srun and PRRTE's prterun, start sessions as mpirun does: who is on which of two hosts, exchange of records,
 * coherent programs, what a link that is cut does. And what each of the three makes of a death. */
#include "tests/hosts.h"

#define SESSION "UMA_INTERFACE=data UMA_MEMORY=8M "
#define GREETINGS \
  HOSTS_WANTED("device 0 of 4: device 3 was here", "device 1 of 4: device 0 was here", "device 2 of 4: device 1 was here", \
               "device 3 of 4: device 2 was here")

/* The program of this build, with its arguments. */
static void expect(const char *launcher, const char *options, const char *settings, const char *program, int status,
                   const char *const *wanted)
{
  char line[512];
  snprintf(line, sizeof line, "--launcher %s %s --seconds 200 " HOSTS_SANITIZED "env " SESSION "%s %s/%s", launcher, options, settings,
           session_build(), program);
  hosts_expect(line, status, wanted);
}

static void tells_who_is_where(const char *launcher)
{
  expect(
      launcher, "", "", "tests/programs/job layout", 0,
      HOSTS_WANTED("rank 0 of 4 on host 0 of 2", "rank 1 of 4 on host 0 of 2", "rank 2 of 4 on host 1 of 2", "rank 3 of 4 on host 1 of 2"));
  expect(launcher, "--devices 1", "", "tests/programs/job again", 0,
         HOSTS_WANTED("rank 0 of 2 on host 0 of 2", "rank 1 of 2 on host 1 of 2"));
}

static void exchanges_records(const char *launcher)
{
  expect(launcher, "--devices 3", "", "tests/programs/job gather", 0, HOSTS_WANTED("gather is right"));
  expect(launcher, "", "", "tests/programs/job mistakes", 0, HOSTS_WANTED("mistakes is right"));
}

static void starts_coherent_programs(const char *launcher)
{
  expect(launcher, "", "UMA_COHERENCE=page", "examples/hello", 0, GREETINGS);
  expect(launcher, "", "UMA_COHERENCE=line", "tests/programs/stress 1 2 20", 0, HOSTS_WANTED("no stale value"));
  expect(launcher, "", "UMA_COHERENCE=page", "tests/programs/stress 1 2 20", 0, HOSTS_WANTED("no stale value"));
  expect(launcher, "", "UMA_COHERENCE=page", "examples/parmacs/radix -n 20011 -p 4", 0, HOSTS_WANTED(": verified"));
}

static void survives_a_cut_that_ends_all_waits(const char *launcher)
{
  expect(launcher, "--cut \"now cut\"", "UMA_COHERENCE=line UMA_SILENCE=2 UMA_MEMORY=32M", "tests/programs/cut", 0,
         HOSTS_WANTED("device 0: all is done", "device 1: all is done", "device 2: all is done", "device 3: all is done"));
}

#define OF_BOTH(name) \
  Test(launchers, srun_##name) \
  { \
    name("srun"); \
  } \
  Test(launchers, prterun_##name) \
  { \
    name("prterun"); \
  }
OF_BOTH(tells_who_is_where)
OF_BOTH(exchanges_records)
OF_BOTH(starts_coherent_programs)
OF_BOTH(survives_a_cut_that_ends_all_waits)

/* ---- Death */

/* The launcher ends all others, which would wait for ever, and says by its status what happened. */
static void end(const char *launcher, const char *how, int status)
{
  char program[100];
  snprintf(program, sizeof program, "tests/programs/die %s", how);
  expect(launcher, "", "UMA_COHERENCE=line", program, status, HOSTS_WANTED(""));
}

static void end_with_the_status_of_the_first(const char *launcher)
{
  expect(launcher, "", "", "tests/programs/job stop", 7, HOSTS_WANTED("uma: the last rank gives up"));
  end(launcher, "kill", 137);
  end(launcher, "exit", 3);
  end(launcher, "silently", 1);
  end(launcher, "properly", 5);
}

Test(launchers, mpirun_ends_the_job_with_who_dies)
{
  end_with_the_status_of_the_first("mpirun");
}

Test(launchers, prterun_ends_the_job_with_who_dies)
{
  end_with_the_status_of_the_first("prterun");
}

/* Its status is the largest of all; the others are killed. */
Test(launchers, srun_ends_the_job_with_who_dies)
{
  expect("srun", "", "", "tests/programs/job stop", 7, HOSTS_WANTED("uma: the last rank gives up"));
  end("srun", "kill", 137);
  end("srun", "exit", 137);
  end("srun", "silently", 137);
  end("srun", "properly", 5);
}

/* ---- Slurm's own */

Test(launchers, srun_may_deal_processes_out_in_turn)
{
  setenv("SLURM_DISTRIBUTION", "cyclic", 1);
  expect(
      "srun", "", "", "tests/programs/job layout", 0,
      HOSTS_WANTED("rank 0 of 4 on host 0 of 2", "rank 1 of 4 on host 1 of 2", "rank 2 of 4 on host 0 of 2", "rank 3 of 4 on host 1 of 2"));
  expect("srun", "", "UMA_COHERENCE=page", "examples/hello", 0, GREETINGS);
}

Test(launchers, srun_without_pmix_is_told)
{
  expect("srun", "", "env -u PMIX_RANK", "examples/hello", 1, HOSTS_WANTED("a launcher started 4 processes (SLURM_STEP_NUM_TASKS)"));
}

Test(launchers, srun_is_bounded_in_time)
{
  hosts_expect("--launcher srun --seconds 1 sleep 1000", 124, HOSTS_WANTED(""));
}
