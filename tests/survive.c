/* Where the launcher lets a job go on of which a process died (mpirun --enable-recovery), the death of any device is known soon to all others, on its
 * own host and on others, although it may be silent for longer than the test may last; and nobody else is taken for dead. */
#include "tests/hosts.h"

#define RECOVERY "OMPI_MCA_orte_enable_recovery" /* of mpirun */
#define PATIENT "UMA_SILENCE=1000 UMA_MEMORY=8M "

static void expect_survivors(const char *settings, int devices, int victim, int result, const char *said)
{
  cr_expect_eq(result, 0, "%s, device %d of %d: %d: %s", settings, victim, devices, result, said);
  cr_expect_eq(command_count(said, "has survived"), devices - 1, "%s, device %d of %d: %s", settings, victim, devices, said);
}

/* As many devices on each of two hosts, of which each dies once. */
static void over_two(int each, const char *settings)
{
  char line[512], *said;
  setenv(RECOVERY, "1", 1);
  for (int victim = 0; victim < 2 * each; victim++) {
    snprintf(line, sizeof line,
             "--devices %d --until \"%d has survived\" " HOSTS_SANITIZED "env UMA_INTERFACE=data " PATIENT
             "%s %s/tests/programs/survive %d",
             each, 2 * each - 1, settings, session_build(), victim);
    int result = hosts_run(line, &said);
    expect_survivors(settings, 2 * each, victim, result, said);
    free(said);
  }
}

Test(survive, in_mode_line)
{
  over_two(2, "UMA_COHERENCE=line");
  over_two(1, "UMA_COHERENCE=line UMA_PROVIDER=net");
}

Test(survive, in_mode_page)
{
  over_two(2, "UMA_COHERENCE=page");
}

Test(survive, stacked_servers)
{
  over_two(2, "UMA_MODE=stacked UMA_SERVERS=2");
  over_two(1, "UMA_MODE=stacked UMA_SERVERS=2");
}

Test(survive, stacked_servers_over_libfabric)
{
  over_two(2, "UMA_MODE=stacked UMA_SERVERS=2 UMA_FABRIC=ofi");
  over_two(1, "UMA_MODE=stacked UMA_SERVERS=2 UMA_FABRIC=ofi UMA_PROVIDER=net");
}

/* Without any network. */
Test(survive, on_one_host)
{
  char line[512], *said;
  setenv(RECOVERY, "1", 1);
  for (int victim = 0; victim < 3; victim++) {
    snprintf(line, sizeof line, "--enable-recovery -n 3 " HOSTS_SANITIZED "env " PATIENT "%s/tests/programs/survive %d", session_build(),
             victim);
    int result = hosts_run_on_one(line, &said);
    expect_survivors("one host", 3, victim, result, said);
    free(said);
  }
}
