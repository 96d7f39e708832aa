/* Wrong: the uses in the lines of the values: who counts takes the values from who reads them. */
#include <string.h>
#include <uma.h>

#include "kernels.h"

/* ---- The histogram: each device counts in private; once, at the end, what it has goes to the shared bins -------------- */

struct histogram {
  int bins;
  uint64_t counts[MOST_BINS];
};

static uint64_t added[MOST_BINS];

void *histogram_create(int devices, int bins)
{
  struct histogram *histogram = uma_calloc_on(0, 1, sizeof *histogram);
  if (histogram) uma_st(&histogram->bins, bins);
  return histogram;
}

void histogram_add(void *histogram, int bin)
{
  added[bin]++;
}

void histogram_finish(void *histogram)
{
  struct histogram *shared = histogram;
  int bins = uma_ld(&shared->bins);
  for (int b = 0; b < bins; b++)
    if (added[b]) uma_fetch_add(&shared->counts[b], added[b]);
}

uint64_t histogram_read(void *histogram, int bin)
{
  return uma_ld(&((struct histogram *)histogram)->counts[bin]);
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

/* ---- The embedding bag ------------------------------------------------------------------------------------------- */

struct row {
  uint64_t uses;
  uint32_t values[DIMENSION];
};

void *bag_create(int devices, int rows, const uint32_t *values, const int *user)
{
  struct row *table = uma_calloc_on(0, (size_t)rows, sizeof *table);
  for (int r = 0; table && r < rows; r++) uma_put(table[r].values, values + r * DIMENSION, sizeof table[r].values);
  return table;
}

void bag_sum(void *bag, const int *rows, int count, uint32_t *sum)
{
  memset(sum, 0, DIMENSION * sizeof *sum);
  for (int i = 0; i < count; i++) {
    struct row *row = (struct row *)bag + rows[i];
    for (int d = 0; d < DIMENSION; d++) sum[d] += uma_ld(&row->values[d]);
    uma_fetch_add(&row->uses, 1);
  }
}

void bag_finish(void *bag)
{
}

uint64_t bag_uses(void *bag, int row)
{
  return uma_ld(&((struct row *)bag)[row].uses);
}
