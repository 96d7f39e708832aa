/* Beyond the exhaustive sizes: many devices and lines under a seeded adversary, over the same core and real sharer sets.
 *
 * Everything happens in one thread and virtual time, and follows from the seed: programs load, store and evict at random, hot lines more
 * than others; every message gets its own delay, so that messages overtake each other; now and then the adversary makes one device or
 * one kind of message slow for a while. From time to time the programs pause; then the system must come to rest.
 * After each step the invariants of the line are checked, and each load and store must meet the last completed store. */
#ifndef COH_RANDOM_H
#define COH_RANDOM_H

#include "coherence/ladder.h"

struct coh_random_options {
  struct coh_sharer_kind sharers; /* with the number of devices, 2..1024 */
  int lines;                      /* 1..1024 */
  uint64_t seed, steps;
  int ladder_steps; /* how many of the line's last steps a failure shows; 0: 40 */
};

struct coh_random_result {
  bool broken; /* then the sentence and the ladder say what and how */
  uint64_t steps, accesses, messages, stalls, rests;
  uint64_t time_ns; /* virtual */
  int line;         /* that broke */
  char sentence[256];
  struct coh_ladder ladder; /* when broken; freed by the caller */
};

/* 0, or -ENOMEM. */
int coh_random(const struct coh_protocol *protocol, const struct coh_random_options *options, struct coh_random_result *result);

#endif
