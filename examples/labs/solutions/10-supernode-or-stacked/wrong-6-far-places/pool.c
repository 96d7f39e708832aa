/* Wrong: the first free place, wherever it is. */
#include <uma.h>

#include "pool.h"

/* What is in a place. */
struct entry {
  uint64_t key; /* 0: free */
  uint64_t when;
};

struct pool {
  int devices, places; /* of each device */
  uint64_t clock;
  struct entry entries[]; /* device 0's places, then device 1's, … */
};

void *pool_create(int devices, int places)
{
  struct pool *pool = uma_calloc_on(0, 1, sizeof *pool + (size_t)(devices * places) * sizeof pool->entries[0]);
  if (pool) pool->devices = devices, pool->places = places;
  return pool;
}

bool pool_lookup(void *memory, uint64_t key, void *block)
{
  struct pool *pool = memory;
  for (int e = 0; e < pool->devices * pool->places; e++) {
    if (pool->entries[e].key != key) continue;
    block_read(e / pool->places, e % pool->places, block);
    return true;
  }
  return false;
}

/* A free place here, else a free place anywhere, else the oldest. */
static int choose(const struct pool *pool)
{
  int oldest = 0;
  for (int e = 0; e < pool->devices * pool->places; e++) {
    if (!pool->entries[e].key) return e;
    if (pool->entries[e].when < pool->entries[oldest].when) oldest = e;
  }
  return oldest;
}

void pool_insert(void *memory, uint64_t key, const void *block)
{
  struct pool *pool = memory;
  int e = choose(pool);
  pool->entries[e] = (struct entry){key, ++pool->clock};
  block_write(e / pool->places, e % pool->places, block);
}
