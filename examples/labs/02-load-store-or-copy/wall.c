/* Across the wall. As it stands, nobody waits for anybody, and nothing is moved. */
#include <sched.h>
#include <uma.h>

#include "wall.h"

uint64_t ping_by_load_store(const struct court *court, int rounds, uint64_t spin)
{
  uint64_t caught = 0;
  for (uint64_t k = 1; k <= (uint64_t)rounds; k++) {
    if (uma_device() == 0) {
      uma_st(court->from_0, k);
      caught += uma_ld(court->from_1);
    } else {
      caught += uma_ld(court->from_0);
      uma_st(court->from_1, k + spin);
    }
  }
  return caught;
}

uint64_t ping_by_message(int rounds, uint64_t spin)
{
  return 0;
}

void stream_by_load_store(const uint64_t *src, uint64_t *dst, size_t words)
{
}

void stream_by_message(const uint64_t *src, uint64_t *dst, size_t words, size_t chunk)
{
}
