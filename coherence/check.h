/* The exhaustive checker: every state that a small system of caches can reach, under every order of delivery, with loads, stores and
 * evictions by every cache at any time. Breadth first, so that a counterexample is one of the shortest.
 *
 * A run that ends with COH_PROVED shows, for that size: all invariants of coherence/core.h hold in every state; every load and every
 * store works on what the last completed store wrote; no input comes in a state that has no cell for it; from every state the system
 * comes to rest by deliveries alone, if only they happen in the right order (so there is neither deadlock nor forced livelock). */
#ifndef COH_CHECK_H
#define COH_CHECK_H

#include "coherence/ladder.h"
#include "coherence/world.h"

enum coh_verdict {
  COH_PROVED,
  COH_BROKEN,        /* the ladder shows how */
  COH_BOUNDED,       /* nothing broken as far as `depth` steps; there is more */
  COH_OUT_OF_MEMORY, /* nothing broken in the states that `bytes_most` has room for */
};

struct coh_check_options {
  const char *sharers; /* full, limited, coarse */
  int caches, lines;   /* 2..4, 1..2 */
  int depth;           /* longest run to look at; 0: all */
  size_t bytes_most;   /* 0: 2 GiB */
  bool atomic;         /* one transaction at a time: no access while a message is under way. The invariants are then looked at in between,
                          so that stable states are enough for a protocol */
};

struct coh_check_result {
  enum coh_verdict verdict;
  uint64_t states, transitions, bytes;
  int depth;                                      /* of the farthest state */
  uint64_t cells_used[COH_ROLES][COH_MAX_STATES]; /* bits by event */
  char sentence[256];                             /* what is broken */
  struct coh_ladder ladder;                       /* when broken; freed by the caller */
};

/* 0 (see the verdict), -EINVAL for options out of range, -ENOMEM. */
int coh_check(const struct coh_protocol *protocol, const struct coh_check_options *options, struct coh_check_result *result);

#endif
