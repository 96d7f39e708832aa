/* Wrong: the start, untouched. */
/* This is a stacked cluster: each device keeps blocks in its own window, and looks for them there only. */
#include <uma.h>

#include "pool.h"

/* What is in a place. */
struct entry {
  uint64_t key; /* 0: free */
  uint64_t when;
};

struct pool {
  int places; /* of each device */
  uint64_t clock;
  struct entry entries[]; /* device 0's places, then device 1's, … */
};

void *pool_create(int devices, int places)
{
  struct pool *pool = uma_calloc_on(0, 1, sizeof *pool + (size_t)(devices * places) * sizeof pool->entries[0]);
  if (pool) pool->places = places;
  return pool;
}

bool pool_lookup(void *memory, uint64_t key, void *block)
{
  struct pool *pool = memory;
  for (int place = 0; place < pool->places; place++) {
    struct entry *entry = &pool->entries[uma_device() * pool->places + place];
    if (entry->key != key) continue;
    entry->when = ++pool->clock;
    block_read(uma_device(), place, block);
    return true;
  }
  return false;
}

void pool_insert(void *memory, uint64_t key, const void *block)
{
  struct pool *pool = memory;
  struct entry *mine = &pool->entries[uma_device() * pool->places];
  int oldest = 0;
  for (int place = 1; place < pool->places; place++)
    if (mine[place].when < mine[oldest].when) oldest = place;
  mine[oldest] = (struct entry){key, ++pool->clock};
  block_write(uma_device(), oldest, block);
}
