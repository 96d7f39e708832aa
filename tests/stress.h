/* Random accesses of all devices of a session, of one or two threads each, against what a sequential memory would answer. */
#ifndef TESTS_STRESS_H
#define TESTS_STRESS_H

#include <stdbool.h>

enum { STRESS_THREADS = 2 }; /* of a device, at most */

struct stress {
  unsigned seed;
  int threads, steps; /* steps: of each thread */
  bool keeps;         /* caches are not flushed at the end, which would be looked at in memory */
};

/* What every device runs, in any access mode but none. 0, or it said on standard error what was wrong. */
int stress_run(void *stress);

#endif
