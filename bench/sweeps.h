/* Loops through much memory, for device 0: a chain of pointers, and streams. Several compare windows with plain mappings by them.
 *
 * The chain visits every line of the memory once, in an order that no prefetcher guesses: position p lies at line chain_mix(p), which is a
 * bijection of the line numbers. */
#ifndef BENCH_SWEEPS_H
#define BENCH_SWEEPS_H

#include "bench/harness.h"

/* ---- Chains */

#define CHAIN_LINE 64

/* Multiplication by an odd number and a shifted exclusive or are bijections of `bits`-bit numbers. */
static inline size_t chain_mix(size_t x, int bits)
{
  size_t mask = ((size_t)1 << bits) - 1;
  x = (x * 0x9E3779B97F4A7C15u) & mask;
  x ^= x >> (bits + 1) / 2;
  x = (x * 0xD6E8FEB86659FD93u) & mask;
  return x ^ x >> (bits + 1) / 2;
}

static inline void chain_build(unsigned char *memory, size_t bytes)
{
  size_t lines = bytes / CHAIN_LINE;
  int bits = __builtin_ctzl(lines);
  size_t here = chain_mix(0, bits);
  for (size_t p = 1; p <= lines; p++) {
    size_t next = chain_mix(p & (lines - 1), bits);
    *(void **)(memory + here * CHAIN_LINE) = memory + next * CHAIN_LINE;
    here = next;
  }
}

struct chain {
  void **at; /* where the walk goes on */
  size_t bytes;
};

static inline void chain_walk(void *context, long count)
{
  struct chain *chain = context;
  void **at = chain->at;
  if (uma_device()) return;
  for (long i = 0; i < count; i++) {
    at = *at;
    at = *at;
    at = *at;
    at = *at;
    at = *at;
    at = *at;
    at = *at;
    at = *at;
  }
  chain->at = at;
  bench_keep(at);
}

/* ---- Streams */

typedef uint64_t bench_vector __attribute__((vector_size(16)));

struct sweep {
  bench_vector *words;
  size_t bytes;
};

static inline void sweep_read(void *context, long count)
{
  struct sweep *sweep = context;
  if (uma_device()) return;
  for (long n = 0; n < count; n++) {
    bench_vector a = {0}, b = {0}, c = {0}, d = {0};
    for (size_t i = 0; i < sweep->bytes / 16; i += 4)
      a += sweep->words[i], b += sweep->words[i + 1], c += sweep->words[i + 2], d += sweep->words[i + 3];
    a += b + c + d;
    bench_keep(a[0] + a[1]);
  }
}

static inline void sweep_write(void *context, long count)
{
  struct sweep *sweep = context;
  if (uma_device()) return;
  for (long n = 0; n < count; n++) {
    bench_vector value = {(uint64_t)n, (uint64_t)n};
    for (size_t i = 0; i < sweep->bytes / 16; i += 4) {
      sweep->words[i] = value, sweep->words[i + 1] = value, sweep->words[i + 2] = value, sweep->words[i + 3] = value;
      __asm__ volatile("" : : : "memory"); /* keeps the loop a loop */
    }
  }
}

#endif
