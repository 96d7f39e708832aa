/* Latency of loads: a chain of pointers through memory of growing size, each load waiting for the one before it.
 *
 * Remote chains are written by device 1, in its window or in a plain shared mapping, and walked by device 0, so that the pages of both were
 * touched by the same process. The modelled clock sees no plain loads: in its passes a walk is charged to it. It knows no page tables, nor how many
 * loads that do not wait for each other are under way, so huge pages and latency.hot.load have no modelled rows. */
#include "bench/calibrate.h"
#include "bench/harness.h"
#include "bench/sweeps.h"
#include "bench/words.h"

#include <sys/sysinfo.h>

#define CHASE_MOST (512 * MiB)
#define QUICK_MOST (64 * MiB)
#define LAP_MOST (4 * MiB)

/* chain_walk on the modelled clock, which is not told where in its memory a chain has come to. */
static void chain_walk_charged(void *context, long count)
{
  const struct chain *chain = context;
  if (!uma_device()) bench_check(uma_charge_chase(chain->at, chain->bytes, 8 * (uint64_t)count), "uma_charge_chase");
}

/* A lap through a chain that fits into a cache; the other chains of the comparison were in its place. */
static void lap(void *context)
{
  struct chain *chain = context;
  if (chain->bytes <= LAP_MOST) chain_walk(context, (long)(chain->bytes / CHAIN_LINE / 8));
}

/* The walk must come back to its beginning after exactly as many steps as there are lines. A long chain is only touched, so that the
 * walk meets no page faults: it was made in the same way. */
static void verify(const struct chain *chain)
{
  size_t steps = 0, lines = chain->bytes / CHAIN_LINE;
  void **begin = chain->at, **at = begin;
  for (size_t i = 0; i < chain->bytes; i += 4 * KiB) bench_keep(*((volatile unsigned char *)begin + i));
  if (chain->bytes > LAP_MOST) return;
  do at = *at;
  while (++steps < lines && at != begin);
  bench_require(at == begin && steps == lines, "the chain of %zu lines closes after %zu", lines, steps);
}

/* Memory of this host bounds the largest chain: three copies of it must fit easily. */
static size_t chase_most(void)
{
  struct sysinfo info;
  size_t most = CHASE_MOST;
  sysinfo(&info);
  while (most > MiB && most * 8 > (size_t)info.totalram * info.mem_unit) most /= 2;
  return most;
}

int bench_chase_sizes(bool quick, bool few, size_t *sizes)
{
  int count = 0;
  size_t step = few ? 16 : 4, most = chase_most();
  if (quick && most > QUICK_MOST) most = QUICK_MOST;
  for (size_t bytes = 4 * KiB; bytes < most; bytes *= step) sizes[count++] = bytes;
  sizes[count++] = most;
  return count;
}

static void compare_chains(size_t bytes, unsigned char *remote, unsigned char *local, unsigned char *raw)
{
  if (uma_device() == 1) {
    chain_build(remote, bytes);
    chain_build(raw, bytes);
  }
  if (uma_device() == 0) chain_build(local, bytes);
  bench_check(uma_barrier(), "uma_barrier");
  struct chain chains[] = {{(void **)remote, bytes}, {(void **)raw, bytes}, {(void **)local, bytes}};
  if (uma_device() == 0)
    for (int i = 0; i < 3; i++) verify(&chains[i]);
  void (*walk)(void *, long) = bench_run.profile ? chain_walk_charged : chain_walk;
  struct bench_variant variants[] = {
      {"latency.chase", "direct", NULL, bytes, BENCH_LATENCY, 8, NULL, walk, &chains[0], lap},
      {"latency.chase", "raw", "-", bytes, BENCH_LATENCY, 8, NULL, chain_walk, &chains[1], lap},
      {"latency.chase.local", "direct", NULL, bytes, BENCH_LATENCY, 8, NULL, walk, &chains[2], lap},
  };
  bench_compare(variants, 3);
}

static void chase_body(void *raw)
{
  bool quick = bench_run.options.quick;
  size_t sizes[BENCH_CHASE_SIZES];
  int count = bench_chase_sizes(quick, quick && !bench_run.options.sizes, sizes);
  size_t most = sizes[count - 1];
  unsigned char *mine = uma_alloc_symmetric(most);
  bench_require(mine, "no %zu bytes of device memory: %s", most, uma_last_error());
  for (int i = 0; i < count; i++) compare_chains(sizes[i], uma_symmetric(mine, 1), uma_symmetric(mine, 0), raw);
}

static int run_chase(void)
{
  size_t most = chase_most();
  struct bench_session session = {.devices = 2, .mode = UMA_MODE_SUPERNODE, .memory = most + 64 * MiB};
  void *raw = bench_map(most);
  int result = raw ? bench_spawn(&session, chase_body, raw) : -1;
  bench_unmap(raw, most);
  return result;
}

/* ---- one hot word */

static void hot_body(void *raw)
{
  uint64_t *mine = uma_alloc_symmetric(64);
  bench_require(mine, "no device memory: %s", uma_last_error());
  void *remote = uma_symmetric(mine, 1);
  struct bench_variant loads[] = {
      {"latency.hot.load", "direct", NULL, 8, BENCH_LATENCY, 1, NULL, bench_load, remote, NULL},
      {"latency.hot.load", "raw", "-", 8, BENCH_LATENCY, 1, NULL, bench_load_plain, raw, NULL},
  };
  struct bench_variant chains[] = {
      {"latency.hot.chain", "direct", NULL, 8, BENCH_LATENCY, 1, NULL, bench_chain, remote, NULL},
      {"latency.hot.chain", "raw", "-", 8, BENCH_LATENCY, 1, NULL, bench_chain_plain, raw, NULL},
  };
  struct bench_variant stores[] = {
      {"latency.hot.store", "direct", NULL, 8, BENCH_LATENCY, 1, NULL, bench_store, remote, NULL},
      {"latency.hot.store", "raw", "-", 8, BENCH_LATENCY, 1, NULL, bench_store_plain, raw, NULL},
  };
  if (uma_device() == 1) *mine = (uintptr_t)mine;
  *(uintptr_t *)raw = (uintptr_t)raw;
  bench_check(uma_barrier(), "uma_barrier");
  if (!bench_run.profile) bench_compare(loads, 2);
  bench_compare(chains, 2);
  bench_compare(stores, 2);
}

static int run_hot(void)
{
  struct bench_session session = {.devices = 2, .mode = UMA_MODE_SUPERNODE};
  void *raw = bench_map(4 * KiB);
  int result = raw ? bench_spawn(&session, hot_body, raw) : -1;
  bench_unmap(raw, 4 * KiB);
  return result;
}

/* ---- huge pages: a property of the session, so the rounds are sessions */

static void pages_body(void *bench)
{
  size_t bytes = chase_most();
  unsigned char *mine = uma_alloc_symmetric(bytes);
  bench_require(mine, "no %zu bytes of device memory: %s", bytes, uma_last_error());
  unsigned char *remote = uma_symmetric(mine, 1);
  if (uma_device() == 1) chain_build(remote, bytes);
  bench_check(uma_barrier(), "uma_barrier");
  struct chain chain = {(void **)remote, bytes};
  if (uma_device() == 0) verify(&chain);
  struct bench_variant variant = {bench, "direct", NULL, bytes, BENCH_LATENCY, 8, NULL, chain_walk, &chain, NULL};
  bench_compare(&variant, 1);
}

static int run_pages(void)
{
  struct bench_session small = {.devices = 2, .mode = UMA_MODE_SUPERNODE, .memory = chase_most() + 64 * MiB}, huge = small;
  int result = 0;
  if (bench_run.profile) return 0;
  huge.hugepages = UMA_HUGEPAGES_ALWAYS;
  for (int round = 0; round < (bench_run.options.quick ? 1 : 2) && !result; round++) {
    result = bench_spawn(&small, pages_body, "latency.pages.never");
    if (!result) result = bench_spawn(&huge, pages_body, "latency.pages.always");
  }
  return result;
}

const struct bench_case bench_latency_cases[] = {
    {"latency.hot", "one word that stays in the cache, by uma_ld and uma_st", run_hot},
    {"latency.chase", "a chain of pointers through 4 KiB to 512 MiB: remote window, own window, plain mapping", run_chase},
    {"latency.pages", "the longest chain with --hugepages never and always", run_pages},
    {NULL, NULL, NULL},
};
