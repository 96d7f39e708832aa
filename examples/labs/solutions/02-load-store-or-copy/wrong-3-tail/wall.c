/* Wrong: what is left over behind the last whole chunk is forgotten. */
#include <sched.h>
#include <uma.h>

#include "wall.h"

enum { TAG = 1 };

static uint64_t await(const uint64_t *word, uint64_t old)
{
  uint64_t value;
  while ((value = uma_ld(word)) == old) sched_yield();
  return value;
}

uint64_t ping_by_load_store(const struct court *court, int rounds, uint64_t spin)
{
  bool first = uma_device() == 0;
  uint64_t caught = 0, last = 0, *mine = first ? court->from_0 : court->from_1, *other = first ? court->from_1 : court->from_0;
  for (uint64_t k = 1; k <= (uint64_t)rounds; k++) {
    if (first) uma_st(mine, k);
    caught += last = await(other, last);
    if (!first) uma_st(mine, k + spin);
  }
  return caught;
}

uint64_t ping_by_message(int rounds, uint64_t spin)
{
  uint64_t caught = 0, value;
  bool first = uma_device() == 0;
  for (uint64_t k = 1; k <= (uint64_t)rounds; k++) {
    if (first) uma_send(1, TAG, &k, sizeof k);
    uma_recv(first, TAG, &value, sizeof value, NULL);
    caught += value;
    value += spin;
    if (!first) uma_send(0, TAG, &value, sizeof value);
  }
  return caught;
}

void stream_by_load_store(const uint64_t *src, uint64_t *dst, size_t words)
{
  for (size_t i = 0; dst && i < words; i++) dst[i] = uma_ld(&src[i]);
}

void stream_by_message(const uint64_t *src, uint64_t *dst, size_t words, size_t chunk)
{
  size_t bytes = words * sizeof *dst;
  for (size_t at = 0; at + chunk <= bytes; at += chunk) {
    size_t part = bytes - at < chunk ? bytes - at : chunk;
    if (uma_device() == 0) uma_send(1, TAG, (const char *)src + at, part);
    else uma_recv(0, TAG, (char *)dst + at, part, NULL);
  }
}
