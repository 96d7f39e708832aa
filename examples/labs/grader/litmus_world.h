/* Litmus tests on a machine of caches: every outcome that a test can have when its loads and stores go through a given protocol, each
 * thread on a cache of its own, each location a line, messages in any order, and now and then an eviction. No luck is needed to see what
 * is rare: all ways are tried. (On real devices: `uma litmus --coherence line --protocol FILE`.) */
#ifndef LAB_LITMUS_WORLD_H
#define LAB_LITMUS_WORLD_H

#include "coherence/core.h"
#include "uma/litmus.h"

enum { LITMUS_THREADS = 4, LITMUS_LOCATIONS = 4, LITMUS_STATES_MOST = 1 << 18 };

struct litmus_result {
  struct uma_litmus_outcomes outcomes; /* freed by the caller */
  long states;                         /* visited */
  bool cut;                            /* there are more than LITMUS_STATES_MOST: outcomes may be missing */
};

/* 0; -EINVAL when the test is too big or has an instruction that this machine lacks: `why` says so. -ENOMEM. */
int litmus_explore(const struct uma_litmus *test, const struct coh_protocol *protocol, struct litmus_result *result, char *why,
                   size_t size);
/* The same by `runs` seeded walks instead: outcomes with how often each was met. Walks that do not come to an end are left out. */
int litmus_walk(const struct uma_litmus *test, const struct coh_protocol *protocol, uint64_t seed, int runs,
                struct uma_litmus_outcomes *outcomes);

#endif
