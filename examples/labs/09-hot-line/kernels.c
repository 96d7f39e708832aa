/* The three kernels. Their results are right. Their lines are hot. */
#include <string.h>
#include <uma.h>

#include "kernels.h"

/* ---- The histogram ----------------------------------------------------------------------------------------------- */

void *histogram_create(int devices, int bins)
{
  return uma_calloc_on(0, (size_t)bins, sizeof(uint64_t));
}

void histogram_add(void *histogram, int bin)
{
  uma_fetch_add((uint64_t *)histogram + bin, 1);
}

void histogram_finish(void *histogram)
{
}

uint64_t histogram_read(void *histogram, int bin)
{
  return uma_ld((uint64_t *)histogram + bin);
}

/* ---- The counters ------------------------------------------------------------------------------------------------ */

void *counters_create(int devices)
{
  return uma_calloc_on(0, (size_t)devices, sizeof(uint64_t));
}

void counters_count(void *counters, uint64_t amount)
{
  uint64_t *mine = (uint64_t *)counters + uma_device();
  uma_st(mine, uma_ld(mine) + amount);
}

uint64_t counters_read(void *counters, int device)
{
  return uma_ld((uint64_t *)counters + device);
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
