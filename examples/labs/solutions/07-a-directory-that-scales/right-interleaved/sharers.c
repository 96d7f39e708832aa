/* Lab 7, solution. Bits are read and written one by one: nothing here is timed. */
#include <stddef.h>

#include "sharers.h"

enum { COUNT_BITS = 4, POINTERS_MOST = 14, CROWDED = 15 };

static unsigned get(const uint64_t *set, int at, int width)
{
  unsigned value = 0;
  for (int b = 0; b < width; b++) value |= (unsigned)(set[(at + b) / 64] >> ((at + b) % 64) & 1) << b;
  return value;
}

static void put(uint64_t *set, int at, int width, unsigned value)
{
  for (int b = 0; b < width; b++) {
    uint64_t bit = 1ull << ((at + b) % 64);
    if (value >> b & 1) set[(at + b) / 64] |= bit;
    else set[(at + b) / 64] &= ~bit;
  }
}

/* ---- Full map ---- */

static int full_bits(int devices, int budget)
{
  return devices;
}

static void full_add(int devices, int budget, uint64_t *set, int device)
{
  set[device / 64] |= 1ull << (device % 64);
}

static void full_remove(int devices, int budget, uint64_t *set, int device)
{
  set[device / 64] &= ~(1ull << (device % 64));
}

static int full_next(int devices, int budget, const uint64_t *set, int from)
{
  for (int d = from; d < devices; d++)
    if (set[d / 64] >> (d % 64) & 1) return d;
  return -1;
}

const struct sharer_set full_map = {full_bits, full_add, full_remove, full_next};

/* ---- Numbers, used by limited and best ---- */

static int width_of(int devices)
{
  int width = 1;
  while (1 << width < devices) width++;
  return width;
}

static int room_of(int devices, int budget)
{
  int room = (budget - COUNT_BITS) / width_of(devices);
  return room < POINTERS_MOST ? room : POINTERS_MOST;
}

static int number_at(int devices, const uint64_t *set, int i)
{
  return (int)get(set, COUNT_BITS + i * width_of(devices), width_of(devices));
}

static int find_number(int devices, const uint64_t *set, int device)
{
  int count = (int)get(set, 0, COUNT_BITS);
  for (int i = 0; i < count; i++)
    if (number_at(devices, set, i) == device) return i;
  return -1;
}

/* False when there is no room. */
static int add_number(int devices, int budget, uint64_t *set, int device)
{
  int count = (int)get(set, 0, COUNT_BITS);
  if (find_number(devices, set, device) >= 0) return 1;
  if (count == room_of(devices, budget)) return 0;
  put(set, COUNT_BITS + count * width_of(devices), width_of(devices), (unsigned)device);
  put(set, 0, COUNT_BITS, (unsigned)count + 1);
  return 1;
}

static void remove_number(int devices, uint64_t *set, int device)
{
  int count = (int)get(set, 0, COUNT_BITS), at = find_number(devices, set, device), width = width_of(devices);
  if (at < 0) return;
  put(set, COUNT_BITS + at * width, width, (unsigned)number_at(devices, set, count - 1));
  put(set, COUNT_BITS + (count - 1) * width, width, 0);
  put(set, 0, COUNT_BITS, (unsigned)count - 1);
}

static int next_number(int devices, const uint64_t *set, int from)
{
  int least = -1, count = (int)get(set, 0, COUNT_BITS);
  for (int i = 0; i < count; i++) {
    int device = number_at(devices, set, i);
    if (device >= from && (least < 0 || device < least)) least = device;
  }
  return least;
}

/* ---- Limited pointers ---- */

static int budget_bits(int devices, int budget)
{
  return budget;
}

static void limited_add(int devices, int budget, uint64_t *set, int device)
{
  if (get(set, 0, COUNT_BITS) == CROWDED || add_number(devices, budget, set, device)) return;
  for (int b = COUNT_BITS; b < budget; b++) put(set, b, 1, 0);
  put(set, 0, COUNT_BITS, CROWDED);
}

static void limited_remove(int devices, int budget, uint64_t *set, int device)
{
  if (get(set, 0, COUNT_BITS) != CROWDED) remove_number(devices, set, device);
}

static int limited_next(int devices, int budget, const uint64_t *set, int from)
{
  if (get(set, 0, COUNT_BITS) == CROWDED) return from < devices ? from : -1;
  return next_number(devices, set, from);
}

const struct sharer_set limited = {budget_bits, limited_add, limited_remove, limited_next};

/* ---- Coarse vector ---- */

static int coarse_group(int devices, int budget, int device)
{
  int size = (devices + budget - 1) / budget;
  int groups = (devices + size - 1) / size;
  return device % groups;
}

static void coarse_add(int devices, int budget, uint64_t *set, int device)
{
  put(set, coarse_group(devices, budget, device), 1, 1);
}

static void coarse_remove(int devices, int budget, uint64_t *set, int device)
{
  if (devices <= budget) put(set, device, 1, 0);
}

static int coarse_next(int devices, int budget, const uint64_t *set, int from)
{
  for (int d = from; d < devices; d++)
    if (get(set, coarse_group(devices, budget, d), 1)) return d;
  return -1;
}

const struct sharer_set coarse = {budget_bits, coarse_add, coarse_remove, coarse_next};

/* ---- Numbers, then a coarse vector in the same bits; a full map where that fits ---- */

static int best_group(int devices, int budget, int device)
{
  int bits = budget - COUNT_BITS, size = (devices + bits - 1) / bits;
  return COUNT_BITS + device / size;
}

static void best_add(int devices, int budget, uint64_t *set, int device)
{
  int numbers[POINTERS_MOST], count = (int)get(set, 0, COUNT_BITS);
  if (devices <= budget) {
    full_add(devices, budget, set, device);
    return;
  }
  if (count == CROWDED) put(set, best_group(devices, budget, device), 1, 1);
  if (count == CROWDED || add_number(devices, budget, set, device)) return;
  for (int i = 0; i < count; i++) numbers[i] = number_at(devices, set, i);
  for (int b = 0; b < budget; b++) put(set, b, 1, 0);
  put(set, 0, COUNT_BITS, CROWDED);
  for (int i = 0; i < count; i++) put(set, best_group(devices, budget, numbers[i]), 1, 1);
  put(set, best_group(devices, budget, device), 1, 1);
}

static void best_remove(int devices, int budget, uint64_t *set, int device)
{
  if (devices <= budget) full_remove(devices, budget, set, device);
  else if (get(set, 0, COUNT_BITS) != CROWDED) remove_number(devices, set, device);
}

static int best_next(int devices, int budget, const uint64_t *set, int from)
{
  if (devices <= budget) return full_next(devices, budget, set, from);
  if (get(set, 0, COUNT_BITS) != CROWDED) return next_number(devices, set, from);
  for (int d = from; d < devices; d++)
    if (get(set, best_group(devices, budget, d), 1)) return d;
  return -1;
}

const struct sharer_set best = {budget_bits, best_add, best_remove, best_next};
