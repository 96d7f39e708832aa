/* Bytes that depend on seed and position. Places a power of two apart never agree, nor do seeds less than 254 apart, so pieces that are swapped,
 * shifted or lost show, however large or small they are. */
#ifndef TESTS_PATTERN_H
#define TESTS_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline unsigned char pattern_at(size_t at, unsigned seed)
{
  return (unsigned char)((at * 0x9e3779b97f4a7c15ull + seed * 0x0102000000000000ull) >> 56);
}

static inline void pattern_fill(unsigned char *data, size_t bytes, unsigned seed)
{
  for (size_t i = 0; i < bytes; i++) data[i] = pattern_at(i, seed);
}

static inline bool pattern_holds(const unsigned char *data, size_t bytes, unsigned seed)
{
  for (size_t i = 0; i < bytes; i++)
    if (data[i] != pattern_at(i, seed)) return false;
  return true;
}

#endif
