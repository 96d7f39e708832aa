/* Beyond the exhaustive sizes: many devices and lines under a seeded adversary, over the same core and real sharer sets.
 *
 * Everything happens in one thread and virtual time, and follows from the seed: programs load, store and evict at random, hot lines more
 * than others; messages travel over the simulated fabric (fabric/sim.h), each with its own delay, so that they overtake each other. From
 * time to time the programs pause; then the system must come to rest.
 * After each step the invariants of the line are checked, and each load and store must meet the last completed store.
 *
 * On request one device is lost. Caches and directories are passive and lie in shared memory, so those of the lost device go on to answer;
 * what is lost is its thread, which delivered the messages of the transactions that it began. So from that step on
 *   it begins no access, and every message whose requestor it is vanishes;
 *   a line whose directory works on its transaction is lost: it stays busy for ever, what others ask of it is refused ("device lost") and
 *   their caches go back to where they were; what they may already do there goes on;
 *   on all other lines everything goes on, and a cache of the lost device that waited for an answer keeps waiting, and answering.
 * A message that vanishes is one that is late for ever, and protocols must be right however late a message is. So losing a device can
 * stop a line, but never make a load wrong. All invariants stay in force; only the lost device's caches and the directories of lost lines
 * need not come to rest. */
#ifndef COH_RANDOM_H
#define COH_RANDOM_H

#include "coherence/ladder.h"

struct coh_random_options {
  struct coh_sharer_kind sharers; /* with the number of devices, 2..1024 */
  int lines;                      /* 1..1024 */
  uint64_t seed, steps;
  int ladder_steps;   /* how many of the line's last steps a failure shows; 0: 40 */
  int lose_1;         /* the device to lose, + 1; 0: none */
  uint64_t lose_step; /* after how many steps; 0: the seed says, in the first half of all */
};

struct coh_random_result {
  bool broken; /* then the sentence and the ladder say what and how */
  uint64_t steps, accesses, messages, stalls, rests;
  uint64_t time_ns;           /* virtual */
  uint64_t lost_step;         /* after which the device was lost; 0: it was not */
  uint64_t refused, vanished; /* accesses of others to lost lines; messages of the lost device */
  int lines_lost;
  int line; /* that broke */
  char sentence[256];
  struct coh_ladder ladder; /* when broken; freed by the caller */
};

/* 0, -EINVAL (lose_1 is no device), or -ENOMEM. */
int coh_random(const struct coh_protocol *protocol, const struct coh_random_options *options, struct coh_random_result *result);

#endif
