/* Moving bytes between two devices, without the other's help: by load and store, uma_get and uma_put, uma_copy, and memcpy on a plain
 * mapping.
 *
 * transfer.read, write, copy are real transfers: before every timed walk the other device (the home) writes all of the memory, so that
 * its lines are the home's, and the walk visits slots of the operation's size in a scattered order. Reads are chained: where the next
 * one begins depends on the bytes of the last, so that a small one shows latency and not how many the processor overlaps. Every slot
 * carries the number of the walk, and is checked. The same in stacked mode, where the operations are carried out by messages.
 * The modelled clock sees no plain loads and stores: in its passes what is direct is charged to it.
 * transfer.get.hot and put.hot use one address again and again: the cost of the call itself. */
#include "bench/harness.h"

#include <string.h>

#define LINE 64
#define SPREAD_LEAST (8 * MiB) /* some second-level caches: of lines that half fit into the home's, some runs find many and some few */
#define SPREAD_QUICK (16 * MiB)
#define SPREAD_MOST (64 * MiB)

struct walk {
  unsigned char *remote; /* `spread` bytes, written by the home */
  unsigned char *local;  /* `bytes` of this device */
  size_t bytes, stride, spread;
  uint64_t stamp; /* of this walk: in the first word of every slot */
};

static size_t spread_of(size_t bytes)
{
  size_t spread = 16 * bytes, most = bench_run.options.quick ? SPREAD_QUICK : SPREAD_MOST;
  if (spread > most) spread = most > bytes ? most : bytes;
  return spread < SPREAD_LEAST ? SPREAD_LEAST : spread;
}

/* A power of two, as slot_at needs it. */
static size_t slots_of(const struct walk *walk)
{
  size_t slots = 1;
  while (2 * slots * walk->stride <= walk->spread) slots *= 2;
  return slots;
}

/* In stacked mode an operation takes microseconds; a part of the slots is enough. */
static size_t visits_of(const struct walk *walk)
{
  size_t slots = slots_of(walk), most = walk->bytes < MiB ? 64 : 4;
  return uma_domain_count() > 1 && slots > most ? most : slots;
}

/* The home writes every word; with many slots in between, the scattered walk finds no pattern to prefetch. */
static void write_all(void *context)
{
  struct walk *walk = context;
  walk->stamp++;
  if (uma_device() != 1) return;
  uint64_t *words = (uint64_t *)walk->remote;
  for (size_t i = 0; i < walk->spread / sizeof *words; i++) words[i] = walk->stamp;
  bench_keep(words);
}

typedef uint64_t (*bench_access)(unsigned char *local, unsigned char *remote, size_t bytes);

#define ALWAYS static inline __attribute__((always_inline))

/* Steps of the golden section come back to a page's neighbourhood last of all; slots is a power of two, so an odd factor visits each
 * once. */
ALWAYS size_t slot_at(size_t visit, size_t slots)
{
  return (visit * ((size_t)((double)slots * 0.6180339887) | 1)) & (slots - 1);
}

/* `words`: how many of the slot's words an access adds up. */
ALWAYS void read_walk(struct walk *walk, bench_access access, size_t words)
{
  size_t slots = slots_of(walk), visits = visits_of(walk), stride = walk->stride, bytes = walk->bytes;
  uint64_t zero = bench_zero(), last = 0, sum = 0;
  for (size_t visit = 0; visit < visits; visit++) {
    last = access(walk->local, walk->remote + slot_at(visit, slots) * stride + (last & zero), bytes);
    sum += last;
  }
  bench_require(sum == visits * walk->stamp * words, "a read of %zu bytes returned old bytes", bytes);
}

ALWAYS uint64_t word_at(const unsigned char *bytes)
{
  uint64_t word;
  memcpy(&word, bytes, sizeof word);
  return word;
}

/* 16 byte vectors, which every 64-bit processor has; the pointers come from the allocator and are aligned. */
typedef uint64_t bench_vector __attribute__((vector_size(16)));

ALWAYS uint64_t by_load(unsigned char *local, unsigned char *remote, size_t bytes)
{
  if (bytes < LINE) return *(volatile uint64_t *)remote;
  const bench_vector *from = (const bench_vector *)remote;
  bench_vector a = {0}, b = {0}, c = {0}, d = {0};
  for (size_t i = 0; i < bytes / 16; i += 4) a += from[i], b += from[i + 1], c += from[i + 2], d += from[i + 3];
  a += b + c + d;
  return a[0] + a[1];
}

ALWAYS uint64_t by_get(unsigned char *local, unsigned char *remote, size_t bytes)
{
  if (uma_get(local, remote, bytes)) return 0;
  bench_keep(local);
  return word_at(local);
}

ALWAYS uint64_t by_copy(unsigned char *local, unsigned char *remote, size_t bytes)
{
  if (uma_copy(local, remote, bytes)) return 0;
  bench_keep(local);
  return word_at(local);
}

ALWAYS uint64_t by_memcpy(unsigned char *local, unsigned char *remote, size_t bytes)
{
  memcpy(local, remote, bytes);
  bench_keep(local);
  return word_at(local);
}

/* by_load on the modelled clock. */
ALWAYS uint64_t by_charged(unsigned char *local, unsigned char *remote, size_t bytes)
{
  bench_check(uma_charge_reads(remote, bytes), "uma_charge_reads");
  return word_at(remote);
}

static void read_direct(void *context, long count)
{
  struct walk *walk = context;
  if (uma_device()) return;
  if (bench_run.profile) read_walk(walk, by_charged, 1);
  else read_walk(walk, by_load, walk->bytes < LINE ? 1 : walk->bytes / 8);
}

static void read_get(void *context, long count)
{
  if (!uma_device()) read_walk(context, by_get, 1);
}

static void read_copy(void *context, long count)
{
  if (!uma_device()) read_walk(context, by_copy, 1);
}

static void read_memcpy(void *context, long count)
{
  if (!uma_device()) read_walk(context, by_memcpy, 1);
}

/* ---- writes */

ALWAYS uint64_t store_to(unsigned char *local, unsigned char *remote, size_t bytes)
{
  uint64_t word = word_at(local);
  if (bytes < LINE) {
    *(volatile uint64_t *)remote = word;
    return 0;
  }
  bench_vector *to = (bench_vector *)remote, value = {word, word};
  for (size_t i = 0; i < bytes / 16; i += 4) {
    to[i] = value, to[i + 1] = value, to[i + 2] = value, to[i + 3] = value;
    __asm__ volatile("" : : : "memory"); /* stores of a program, not one call of memset */
  }
  return 0;
}

ALWAYS uint64_t put_to(unsigned char *local, unsigned char *remote, size_t bytes)
{
  return uma_put(remote, local, bytes) != 0;
}

ALWAYS uint64_t memcpy_to(unsigned char *local, unsigned char *remote, size_t bytes)
{
  memcpy(remote, local, bytes);
  bench_keep(remote);
  return 0;
}

ALWAYS void write_walk(struct walk *walk, bench_access access)
{
  size_t slots = slots_of(walk), visits = visits_of(walk), stride = walk->stride, bytes = walk->bytes;
  uint64_t failed = 0;
  for (size_t visit = 0; visit < visits; visit++) failed |= access(walk->local, walk->remote + slot_at(visit, slots) * stride, bytes);
  uma_quiet(); /* the stores have left the processor's buffer */
  bench_require(!failed, "a write of %zu bytes failed: %s", bytes, uma_last_error());
}

#define WRITTEN UINT64_C(0x1111111111111111)

/* The home checks what the last walk wrote, then takes its lines back. */
static void rewrite_all(void *context)
{
  struct walk *walk = context;
  size_t slots = slots_of(walk), visits = visits_of(walk);
  if (uma_device() == 1 && walk->stamp)
    for (size_t visit = 0; visit<visits; visit += visits> 4 ? visits / 4 : 1)
      bench_require(word_at(walk->remote + slot_at(visit, slots) * walk->stride) == WRITTEN, "a write of %zu bytes did not arrive",
                    walk->bytes);
  write_all(context);
}

/* store_to, and on the modelled clock. */
ALWAYS uint64_t charged_to(unsigned char *local, unsigned char *remote, size_t bytes)
{
  bench_check(uma_charge_writes(remote, bytes), "uma_charge_writes");
  return store_to(local, remote, bytes);
}

static void write_direct(void *context, long count)
{
  if (uma_device()) return;
  if (bench_run.profile) write_walk(context, charged_to);
  else write_walk(context, store_to);
}

static void write_put(void *context, long count)
{
  if (!uma_device()) write_walk(context, put_to);
}

static void write_memcpy(void *context, long count)
{
  if (!uma_device()) write_walk(context, memcpy_to);
}

/* ---- the cases of real transfers */

struct memories {
  unsigned char *remote, *local, *raw;
};

static struct memories allocate(void *raw, bool spread)
{
  int count;
  const size_t *sizes = bench_sizes(&count);
  size_t largest = sizes[count - 1], bytes = spread ? SPREAD_MOST : largest;
  unsigned char *mine = uma_alloc_symmetric(bytes), *local = uma_alloc_symmetric(largest);
  bench_require(mine && local, "no device memory: %s", uma_last_error());
  memset(local, 0x11, largest);
  memset(mine, 0, bytes);
  if (uma_device() == 1 && raw) memset(raw, 0, bytes); /* touched by the same device as the window */
  bench_check(uma_barrier(), "uma_barrier");
  return (struct memories){uma_symmetric(mine, 1), local, raw};
}

struct way {
  const char *path;
  void (*step)(void *context, long count);
};

/* Compares ways to move each size; the way called raw uses the plain mapping, the others the window of device 1. */
static void compare_walks(const char *bench, void (*prepare)(void *), const struct way *ways, int count, void *raw)
{
  int sizes_count;
  const size_t *sizes = bench_sizes(&sizes_count);
  struct memories memories = allocate(raw, true);
  for (int s = 0; s < sizes_count; s++) {
    struct walk walks[BENCH_VARIANTS];
    struct bench_variant variants[BENCH_VARIANTS];
    for (int i = 0; i < count; i++) {
      bool plain = !strcmp(ways[i].path, "raw");
      walks[i] = (struct walk){plain ? memories.raw : memories.remote, memories.local,      sizes[s],
                               sizes[s] < LINE ? LINE : sizes[s],      spread_of(sizes[s]), 0};
      variants[i] = (struct bench_variant){
          bench,   ways[i].path, plain ? "-" : NULL, sizes[s], BENCH_LATENCY | BENCH_BANDWIDTH, (double)visits_of(&walks[i]),
          prepare, ways[i].step, &walks[i],          NULL};
    }
    bench_compare(variants, count);
  }
}

static void read_body(void *raw)
{
  static const struct way ways[] = {{"direct", read_direct}, {"rma", read_get}, {"raw", read_memcpy}};
  compare_walks("transfer.read", write_all, ways, 3, raw);
}

static void read_stacked_body(void *raw)
{
  static const struct way ways[] = {{"message", read_get}};
  compare_walks("transfer.read", write_all, ways, 1, NULL);
}

static void write_body(void *raw)
{
  static const struct way ways[] = {{"direct", write_direct}, {"rma", write_put}, {"raw", write_memcpy}};
  compare_walks("transfer.write", rewrite_all, ways, 3, raw);
}

static void write_stacked_body(void *raw)
{
  static const struct way ways[] = {{"message", write_put}};
  compare_walks("transfer.write", rewrite_all, ways, 1, NULL);
}

static void copy_body(void *raw)
{
  static const struct way ways[] = {{"copy", read_copy}, {"raw", read_memcpy}};
  compare_walks("transfer.copy", write_all, ways, 2, raw);
}

static void copy_stacked_body(void *raw)
{
  static const struct way ways[] = {{"message", read_copy}};
  compare_walks("transfer.copy", write_all, ways, 1, NULL);
}

static int run_pair(void (*supernode)(void *), void (*stacked)(void *))
{
  struct bench_session session = {.devices = 2, .mode = UMA_MODE_SUPERNODE};
  void *raw = bench_map(SPREAD_MOST);
  int result = raw ? bench_spawn(&session, supernode, raw) : -1;
  bench_unmap(raw, SPREAD_MOST);
  session.mode = UMA_MODE_STACKED;
  if (!result && stacked) result = bench_spawn(&session, stacked, NULL);
  return result;
}

static int run_read(void)
{
  return run_pair(read_body, read_stacked_body);
}

static int run_write(void)
{
  return run_pair(write_body, write_stacked_body);
}

static int run_copy(void)
{
  return run_pair(copy_body, copy_stacked_body);
}

/* ---- one hot address */

#define HOT(name, call) \
  static void name(void *context, long count) \
  { \
    struct walk *walk = context; \
    unsigned char *local = walk->local, *remote = walk->remote; \
    size_t bytes = walk->bytes; \
    if (uma_device()) return; \
    for (long i = 0; i < count; i++) { \
      call; \
      bench_keep(local); \
    } \
  }

HOT(hot_get, uma_get(local, remote, bytes))
HOT(hot_put, uma_put(remote, local, bytes))
HOT(hot_memcpy_from, memcpy(local, remote, bytes))
HOT(hot_memcpy_to, memcpy(remote, local, bytes))

static void compare_hot(const char *bench, const struct way *ways, void *raw)
{
  int count;
  const size_t *sizes = bench_sizes(&count);
  struct memories memories = allocate(raw, false);
  for (int s = 0; s < count; s++) {
    struct walk window = {memories.remote, memories.local, sizes[s], sizes[s], sizes[s], 0}, plain = window;
    plain.remote = memories.raw;
    struct bench_variant variants[] = {
        {bench, "rma", NULL, sizes[s], BENCH_LATENCY | BENCH_BANDWIDTH, 1, NULL, ways[0].step, &window, NULL},
        {bench, "raw", "-", sizes[s], BENCH_LATENCY | BENCH_BANDWIDTH, 1, NULL, ways[1].step, &plain, NULL},
    };
    bench_compare(variants, 2);
  }
}

static void get_hot_body(void *raw)
{
  static const struct way ways[] = {{"rma", hot_get}, {"raw", hot_memcpy_from}};
  compare_hot("transfer.get.hot", ways, raw);
}

static void put_hot_body(void *raw)
{
  static const struct way ways[] = {{"rma", hot_put}, {"raw", hot_memcpy_to}};
  compare_hot("transfer.put.hot", ways, raw);
}

static int run_get_hot(void)
{
  return run_pair(get_hot_body, NULL);
}

static int run_put_hot(void)
{
  return run_pair(put_hot_body, NULL);
}

const struct bench_case bench_transfer_cases[] = {
    {"transfer.read", "reads of what another device has just written: loads, uma_get, memcpy; stacked: uma_get by messages", run_read},
    {"transfer.write", "writes to memory of another device: stores, uma_put, memcpy; stacked: uma_put by messages", run_write},
    {"transfer.copy", "uma_copy from another device: direct, and staged between stacked servers", run_copy},
    {"transfer.get.hot", "uma_get of one address: the cost of the call", run_get_hot},
    {"transfer.put.hot", "uma_put to one address: the cost of the call", run_put_hot},
    {NULL, NULL, NULL},
};
