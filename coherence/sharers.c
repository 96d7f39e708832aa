/* The three kinds of sharer sets. Sets are plain words; whoever holds the directory entry's lock may change them. */
#include <errno.h>
#include <string.h>

#include "coherence/sharers.h"

static int smaller(int a, int b)
{
  return a < b ? a : b;
}

static int next_bit(const uint64_t *words, int from, int bits)
{
  for (int word = from / 64; word * 64 < bits; word++) {
    uint64_t rest = words[word] & (word == from / 64 ? ~0ull << (from % 64) : ~0ull);
    if (rest) return word * 64 + __builtin_ctzll(rest);
  }
  return -1;
}

/* ---- Full map ---------------------------------------------------------------------------------------------------- */

static int full_words(int devices, int parameter)
{
  return (devices + 63) / 64;
}

static int full_initial(int devices)
{
  return 1;
}

static void full_add(const struct coh_sharer_kind *kind, uint64_t *set, int device)
{
  set[device / 64] |= 1ull << (device % 64);
}

static void full_remove(const struct coh_sharer_kind *kind, uint64_t *set, int device)
{
  set[device / 64] &= ~(1ull << (device % 64));
}

static bool full_has(const struct coh_sharer_kind *kind, const uint64_t *set, int device)
{
  return set[device / 64] >> (device % 64) & 1;
}

static int full_count(const struct coh_sharer_kind *kind, const uint64_t *set)
{
  int count = 0;
  for (int i = 0; i < kind->words; i++) count += __builtin_popcountll(set[i]);
  return count;
}

static int full_next(const struct coh_sharer_kind *kind, const uint64_t *set, int from)
{
  return from < kind->devices ? next_bit(set, from, kind->devices) : -1;
}

/* ---- Limited pointers: 16-bit numbers, the first of them counts; device numbers stand in ascending order ---------- */

enum { LIMITED_MOST = 15, OVERFLOWN = 0xffff };

static int limited_words(int devices, int parameter)
{
  return (parameter + 1 + 3) / 4;
}

static int limited_initial(int devices)
{
  return 3;
}

static int limited_get(const uint64_t *set, int slot)
{
  return (int)(set[slot / 4] >> (slot % 4 * 16) & 0xffff);
}

static void limited_set(uint64_t *set, int slot, int value)
{
  set[slot / 4] = (set[slot / 4] & ~(0xffffull << (slot % 4 * 16))) | (uint64_t)value << (slot % 4 * 16);
}

static bool limited_has(const struct coh_sharer_kind *kind, const uint64_t *set, int device)
{
  int count = limited_get(set, 0);
  if (count == OVERFLOWN) return true;
  for (int i = 1; i <= count; i++)
    if (limited_get(set, i) == device) return true;
  return false;
}

static void limited_add(const struct coh_sharer_kind *kind, uint64_t *set, int device)
{
  int count = limited_get(set, 0), slot = count + 1;
  if (limited_has(kind, set, device)) return;
  if (count == kind->parameter) {
    coh_sharers_clear(kind, set);
    limited_set(set, 0, OVERFLOWN);
    return;
  }
  for (; slot > 1 && limited_get(set, slot - 1) > device; slot--) limited_set(set, slot, limited_get(set, slot - 1));
  limited_set(set, slot, device);
  limited_set(set, 0, count + 1);
}

static void limited_remove(const struct coh_sharer_kind *kind, uint64_t *set, int device)
{
  int count = limited_get(set, 0), kept = 0;
  if (count == OVERFLOWN) return;
  for (int i = 1; i <= count; i++)
    if (limited_get(set, i) != device) limited_set(set, ++kept, limited_get(set, i));
  for (int i = kept + 1; i <= count; i++) limited_set(set, i, 0);
  limited_set(set, 0, kept);
}

static int limited_count(const struct coh_sharer_kind *kind, const uint64_t *set)
{
  int count = limited_get(set, 0);
  return count == OVERFLOWN ? kind->devices : count;
}

static int limited_next(const struct coh_sharer_kind *kind, const uint64_t *set, int from)
{
  int count = limited_get(set, 0);
  if (count == OVERFLOWN) return from < kind->devices ? from : -1;
  for (int i = 1; i <= count; i++)
    if (limited_get(set, i) >= from) return limited_get(set, i);
  return -1;
}

/* ---- Coarse vector: a bit for each group of `parameter` devices --------------------------------------------------- */

static int coarse_words(int devices, int parameter)
{
  return ((devices + parameter - 1) / parameter + 63) / 64;
}

/* One word, but never the full map under another name. */
static int coarse_initial(int devices)
{
  int group = (devices + 63) / 64;
  return group < 2 ? 2 : group;
}

static int coarse_size(const struct coh_sharer_kind *kind, int group)
{
  return smaller(kind->parameter, kind->devices - group * kind->parameter);
}

static void coarse_add(const struct coh_sharer_kind *kind, uint64_t *set, int device)
{
  full_add(kind, set, device / kind->parameter);
}

static void coarse_remove(const struct coh_sharer_kind *kind, uint64_t *set, int device)
{
  if (coarse_size(kind, device / kind->parameter) == 1) full_remove(kind, set, device / kind->parameter);
}

static bool coarse_has(const struct coh_sharer_kind *kind, const uint64_t *set, int device)
{
  return full_has(kind, set, device / kind->parameter);
}

static int coarse_count(const struct coh_sharer_kind *kind, const uint64_t *set)
{
  int groups = (kind->devices + kind->parameter - 1) / kind->parameter;
  int count = full_count(kind, set) * kind->parameter;
  return full_has(kind, set, groups - 1) ? count - kind->parameter + coarse_size(kind, groups - 1) : count;
}

static int coarse_next(const struct coh_sharer_kind *kind, const uint64_t *set, int from)
{
  if (from >= kind->devices) return -1;
  int groups = (kind->devices + kind->parameter - 1) / kind->parameter, group = next_bit(set, from / kind->parameter, groups);
  if (group < 0) return -1;
  return group == from / kind->parameter ? from : group * kind->parameter;
}

/* ---- Choice ------------------------------------------------------------------------------------------------------ */

#define OPERATIONS(kind, least, most) \
  { \
#kind, least, most, kind##_words, kind##_initial, kind##_add, kind##_remove, kind##_has, kind##_count, kind##_next \
  }
static const struct coh_sharer_ops kinds[] = {
    OPERATIONS(full, 1, 1),
    OPERATIONS(limited, 1, LIMITED_MOST),
    OPERATIONS(coarse, 1, COH_MAX_DEVICES),
};

int coh_sharer_kind_make(const char *name, int devices, int parameter, struct coh_sharer_kind *kind)
{
  if (devices < 1 || devices > COH_MAX_DEVICES) return -EINVAL;
  for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    const struct coh_sharer_ops *ops = &kinds[i];
    if (strcmp(ops->name, name) != 0) continue;
    if (!parameter) parameter = ops->initial(devices);
    if (parameter < ops->parameter_least || parameter > ops->parameter_most) return -EINVAL;
    *kind = (struct coh_sharer_kind){ops, devices, parameter, ops->words(devices, parameter)};
    return 0;
  }
  return -EINVAL;
}

void coh_sharers_clear(const struct coh_sharer_kind *kind, uint64_t *set)
{
  memset(set, 0, (size_t)kind->words * sizeof *set);
}

int coh_sharers_count_but(const struct coh_sharer_kind *kind, const uint64_t *set, int device, int other)
{
  int count = kind->ops->count(kind, set);
  if (device >= 0) count -= kind->ops->has(kind, set, device);
  if (other >= 0 && other != device) count -= kind->ops->has(kind, set, other);
  return count;
}
