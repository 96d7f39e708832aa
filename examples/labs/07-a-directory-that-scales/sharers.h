/* Sets of sharers: what a directory knows of who has a copy of a line. Given; do not change it.
 *
 * A set may name devices that hold no copy: they are sent an invalidation for nothing. It must never leave one out that was added and not
 * removed: it would go on reading old data. Sets are plain words, all zero when empty; there are millions of them (one a line), so they
 * must be small, and all that is known of a set must lie in its own bits. */
#ifndef SHARERS_H
#define SHARERS_H

#include <stdint.h>

#define DEVICES_MOST 1024

struct sharer_set {
  int (*bits)(int devices, int budget);                            /* how many bits of `set` are used */
  void (*add)(int devices, int budget, uint64_t *set, int device); /* it has a copy; maybe it had one before */
  void (*remove)(int devices, int budget, uint64_t *set,
                 int device); /* it has given its copy up; without effect where that cannot be told */
  int (*next)(int devices, int budget, const uint64_t *set, int from); /* the first member >= from, or -1 */
};

extern const struct sharer_set full_map; /* exact, one bit a device; the budget does not count */
extern const struct sharer_set limited;  /* numbers of devices, as many as fit into `budget` bits; one more, and all are members */
extern const struct sharer_set coarse;   /* one bit for each group of devices, at most `budget` groups; which devices, your task says */
extern const struct sharer_set best;     /* your own, within `budget` bits */

#endif
