/* Wrong: each bin has a line of its own, but all devices store to it. */
#include <string.h>
#include <uma.h>

#include "kernels.h"

/* ---- The histogram ----------------------------------------------------------------------------------------------- */

void *histogram_create(int devices, int bins)
{
  return uma_calloc_on(0, (size_t)bins, 8 * sizeof(uint64_t));
}

void histogram_add(void *histogram, int bin)
{
  uma_fetch_add((uint64_t *)histogram + 8 * bin, 1);
}

void histogram_finish(void *histogram)
{
}

uint64_t histogram_read(void *histogram, int bin)
{
  return uma_ld((uint64_t *)histogram + 8 * bin);
}

/* ---- The counters: each in a line of its own, at home with who counts ------------------------------------------------- */

enum { LINE = 64 };

void *counters_create(int devices)
{
  uint64_t **counters = uma_calloc_on(0, (size_t)devices, sizeof *counters);
  for (int d = 0; counters && d < devices; d++) {
    uint64_t *counter = uma_memalign_on(d, LINE, LINE);
    uma_st(counter, 0);
    uma_st(&counters[d], counter);
  }
  return counters;
}

void counters_count(void *counters, uint64_t amount)
{
  uint64_t *mine = uma_ld((uint64_t **)counters + uma_device());
  uma_st(mine, uma_ld(mine) + amount);
}

uint64_t counters_read(void *counters, int device)
{
  return uma_ld(uma_ld((uint64_t **)counters + device));
}

/* ---- The embedding bag: rows at home with who uses them most, uses apart from values and counted in private ------------ */

struct bag {
  int rows;
  uint32_t *values[MOST_ROWS];
  uint64_t uses[MOST_ROWS];
};

static uint64_t used[MOST_ROWS];

void *bag_create(int devices, int rows, const uint32_t *values, const int *user)
{
  struct bag *bag = uma_calloc_on(0, 1, sizeof *bag);
  if (!bag) return NULL;
  uma_st(&bag->rows, rows);
  for (int r = 0; r < rows; r++) {
    uint32_t *row = uma_memalign_on(user[r], 64, DIMENSION * sizeof *row);
    uma_put(row, values + r * DIMENSION, DIMENSION * sizeof *row);
    uma_st(&bag->values[r], row);
  }
  return bag;
}

/* Where a row is never changes: each device looks it up once. */
static const uint32_t *find(struct bag *bag, int row)
{
  static const uint32_t *found[MOST_ROWS];
  if (!found[row]) found[row] = uma_ld(&bag->values[row]);
  return found[row];
}

void bag_sum(void *bag, const int *rows, int count, uint32_t *sum)
{
  uint32_t row[DIMENSION];
  memset(sum, 0, sizeof row);
  for (int i = 0; i < count; i++) {
    uma_get(row, find(bag, rows[i]), sizeof row);
    for (int d = 0; d < DIMENSION; d++) sum[d] += row[d];
    used[rows[i]]++;
  }
}

void bag_finish(void *bag)
{
  struct bag *shared = bag;
  int rows = uma_ld(&shared->rows);
  for (int r = 0; r < rows; r++)
    if (used[r]) uma_fetch_add(&shared->uses[r], used[r]);
}

uint64_t bag_uses(void *bag, int row)
{
  return uma_ld(&((struct bag *)bag)->uses[row]);
}
