/* One word again and again, by this library and without it: loops that differ in nothing else, for device 0. The context is the word. */
#ifndef BENCH_WORDS_H
#define BENCH_WORDS_H

#include "bench/harness.h"

static inline void bench_load(void *context, long count)
{
  volatile uint64_t *word = context;
  if (uma_device()) return;
  for (long i = 0; i < count; i++) bench_keep(uma_ld(word));
}

static inline void bench_load_plain(void *context, long count)
{
  volatile uint64_t *word = context;
  if (uma_device()) return;
  for (long i = 0; i < count; i++) bench_keep(*word);
}

/* The word holds its own address: each load waits for the one before it. */
static inline void bench_chain(void *context, long count)
{
  uintptr_t *at = context;
  if (uma_device()) return;
  for (long i = 0; i < count; i++) at = (uintptr_t *)uma_ld(at);
  bench_keep(at);
}

static inline void bench_chain_plain(void *context, long count)
{
  volatile uintptr_t *at = context;
  if (uma_device()) return;
  for (long i = 0; i < count; i++) at = (volatile uintptr_t *)*at;
  bench_keep(at);
}

static inline void bench_store(void *context, long count)
{
  volatile uint64_t *word = context;
  if (uma_device()) return;
  for (long i = 0; i < count; i++) uma_st(word, (uint64_t)i);
}

static inline void bench_store_plain(void *context, long count)
{
  volatile uint64_t *word = context;
  if (uma_device()) return;
  for (long i = 0; i < count; i++) *word = (uint64_t)i;
}

/* What a sequentially consistent store is on many processors. */
static inline void bench_exchange_plain(void *context, long count)
{
  uint64_t *word = context;
  if (uma_device()) return;
  for (long i = 0; i < count; i++) bench_keep(__atomic_exchange_n(word, (uint64_t)i, __ATOMIC_SEQ_CST));
}

static inline void bench_add(void *context, long count)
{
  uint64_t *word = context;
  if (uma_device()) return;
  for (long i = 0; i < count; i++) bench_keep(uma_fetch_add(word, UINT64_C(1)));
}

static inline void bench_add_plain(void *context, long count)
{
  uint64_t *word = context;
  if (uma_device()) return;
  for (long i = 0; i < count; i++) bench_keep(__atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST));
}

#endif
