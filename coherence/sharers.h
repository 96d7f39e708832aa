/* Sets of sharers: which devices may hold a copy of a line.
 *
 * A set may name devices that hold none (then they are sent an Inv for nothing), but never misses one that does. Three kinds, chosen
 * per session as an operation table; a set itself is `words` 64-bit words without pointers, all zero when empty:
 *   full      one bit a device: exact
 *   limited   up to `parameter` device numbers; one more, and it stands for all devices until it is cleared
 *   coarse    one bit for each group of `parameter` devices
 */
#ifndef COH_SHARERS_H
#define COH_SHARERS_H

#include <stdbool.h>
#include <stdint.h>

enum { COH_MAX_DEVICES = 1024, COH_MAX_SHARER_WORDS = COH_MAX_DEVICES / 64 };

struct coh_sharer_kind;

struct coh_sharer_ops {
  const char *name;
  int parameter_least, parameter_most;
  int (*words)(int devices, int parameter);
  int (*initial)(int devices); /* a good parameter */
  void (*add)(const struct coh_sharer_kind *kind, uint64_t *set, int device);
  void (*remove)(const struct coh_sharer_kind *kind, uint64_t *set, int device); /* without effect where that cannot be told */
  bool (*has)(const struct coh_sharer_kind *kind, const uint64_t *set, int device);
  int (*count)(const struct coh_sharer_kind *kind, const uint64_t *set);
  int (*next)(const struct coh_sharer_kind *kind, const uint64_t *set, int from); /* the first member >= from, or -1 */
};

struct coh_sharer_kind {
  const struct coh_sharer_ops *ops;
  int devices, parameter, words;
};

/* "full", "limited" or "coarse"; `parameter` 0 takes a good one. -EINVAL for an unknown name, or numbers out of range. */
int coh_sharer_kind_make(const char *name, int devices, int parameter, struct coh_sharer_kind *kind);

void coh_sharers_clear(const struct coh_sharer_kind *kind, uint64_t *set);
/* How many members there are besides these two (-1: nobody). */
int coh_sharers_count_but(const struct coh_sharer_kind *kind, const uint64_t *set, int device, int other);

#endif
