/* Lines of device 1's window, visited in an order that no prefetcher guesses. */
#ifndef BENCH_LINES_H
#define BENCH_LINES_H

#include "bench/harness.h"

struct lines {
  unsigned char *first;
  size_t count, bytes; /* count: a power of two; bytes: of a line */
};

/* A generator of full period: from 0 on it comes to every line once, and back to 0. */
static inline size_t lines_next(const struct lines *lines, size_t line)
{
  return (line * 0x9E3779B5u + 0x7F4A7C15u) & (lines->count - 1);
}

static inline uint64_t *lines_word(const struct lines *lines, size_t line)
{
  return (uint64_t *)(lines->first + line * lines->bytes);
}

/* Makes the first word of each line the number of the line that follows, so that one access waits for the one before it. */
static inline void lines_link(const struct lines *lines)
{
  for (size_t line = 0; line < lines->count; line++) uma_st(lines_word(lines, line), lines_next(lines, line));
}

static inline void lines_walk(const struct lines *lines)
{
  size_t line = 0;
  for (size_t i = 0; i < lines->count; i++) line = uma_ld(lines_word(lines, line));
  bench_require(!line, "a walk through all lines ends at line %zu instead of where it began", line);
}

/* Collective: `bytes` of every window, where a line begins; device 1's. */
static inline unsigned char *lines_memory(size_t bytes, size_t line)
{
  unsigned char *mine = uma_alloc_symmetric(bytes + line);
  bench_require(mine, "no device memory: %s", uma_last_error());
  uintptr_t first = (uintptr_t)uma_symmetric(mine, 1);
  return (unsigned char *)((first + line - 1) & ~(line - 1));
}

#endif
