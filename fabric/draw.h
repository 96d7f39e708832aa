/* Seeded random numbers, the same on every machine: splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators). */
#ifndef FAB_DRAW_H
#define FAB_DRAW_H

#include <stdint.h>

static inline uint64_t fab_draw(uint64_t *state)
{
  uint64_t z = *state += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return z ^ z >> 31;
}

/* 0 .. n - 1, for n up to 2^31 */
static inline int fab_draw_below(uint64_t *state, int n)
{
  return (int)((fab_draw(state) >> 32) * (uint64_t)n >> 32);
}

#endif
