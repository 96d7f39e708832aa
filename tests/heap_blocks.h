/* For the tests of the heap: heaps with and without a window behind them, and blocks whose contents can be verified. */
#ifndef TESTS_HEAP_BLOCKS_H
#define TESTS_HEAP_BLOCKS_H

#include <criterion/criterion.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "uma/heap.h"
#include "uma/mutex.h"

#define BLOCK_KiB ((size_t)1024)
#define BLOCK_MiB ((size_t)1048576)

static inline void *block_shared_memory(size_t bytes)
{
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  cr_assert(memory != MAP_FAILED, "%zu bytes of shared memory", bytes);
  return memory;
}

static inline struct uma_heap *block_heap(size_t window_bytes, uint64_t address)
{
  struct uma_heap *heap = block_shared_memory(uma_heap_bytes(window_bytes));
  uma_heap_format(heap, window_bytes, address);
  return heap;
}

static inline void block_check(struct uma_heap *heap)
{
  const char *fault = uma_heap_invalid(heap);
  cr_assert(fault == NULL, "%s", fault ? fault : "");
}

/* fork() for a child that does not outlive a test that fails. */
static inline pid_t block_fork(void)
{
  pid_t parent = getpid(), pid = fork();
  cr_assert(pid >= 0, "fork");
  if (pid == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)) _exit(1);
  return pid;
}

/* The seed from UMA_TEST_SEED, or one of today; printed so that a failure can be had again. */
static inline uint64_t block_seed(void)
{
  const char *text = getenv("UMA_TEST_SEED");
  uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)(uintptr_t)&text * 0x9e3779b97f4a7c15u >> 20;
  fprintf(stderr, "UMA_TEST_SEED=%llu\n", (unsigned long long)seed);
  return seed;
}

static inline uint64_t block_random(uint64_t *state) /* splitmix64 */
{
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

/* Mostly small, sometimes pages. */
static inline size_t block_random_bytes(uint64_t *state, size_t most)
{
  unsigned log = 4 + block_random(state) % 16;
  size_t bytes = 1 + block_random(state) % ((size_t)1 << log);
  return bytes < most ? bytes : most;
}

/* Every word of a block depends on where the block is and how large; the first says how large. */
static inline void block_fill(unsigned char *window, uint64_t offset, size_t bytes)
{
  uint64_t *words = (uint64_t *)(window + offset);
  words[0] = bytes;
  for (size_t i = 1; i < bytes / 8; i++) words[i] = (offset ^ bytes) * 0x9e3779b97f4a7c15u + i;
}

static inline int block_intact(const unsigned char *window, uint64_t offset)
{
  const uint64_t *words = (const uint64_t *)(window + offset);
  size_t bytes = words[0];
  if (bytes < 8 || bytes > BLOCK_MiB) return 0;
  for (size_t i = 1; i < bytes / 8; i++)
    if (words[i] != (offset ^ bytes) * 0x9e3779b97f4a7c15u + i) return 0;
  return 1;
}

#endif
