/* Stress of the coherent caches by the devices of a session that a launcher started; tests/two_hosts.c runs it. The arguments are the seed, threads
 * of a device, and steps of each. One session after the other, for every shipped protocol; all other settings come from the environment. */
#include "tests/stress.h"

#include <stdio.h>
#include <stdlib.h>

#include "coherence/protocol.h"
#include "uma.h"

static int run_session(const char *protocol, struct stress *stress)
{
  int result = uma_init(&(struct uma_config){.protocol = protocol});
  if (!result) result = stress_run(stress);
  if (!result) result = uma_finalize();
  if (result) fprintf(stderr, "%s, seed %u: %d (%s)\n", protocol, stress->seed, result, uma_last_error());
  return result;
}

int main(int argc, char **argv)
{
  if (argc != 4) return 2;
  struct stress stress = {.seed = (unsigned)atoi(argv[1]), .threads = atoi(argv[2]), .steps = atoi(argv[3])};
  if (stress.threads < 1 || stress.threads > STRESS_THREADS) return 2;
  for (int p = 0; coh_shipped_name(p); p++, stress.seed++)
    if (run_session(coh_shipped_name(p), &stress)) return 1;
  printf("no stale value\n");
  return 0;
}
