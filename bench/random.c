/* Random access: updates of a table over all devices, and a linked list over all devices.
 *
 * random.gups follows the rules of the HPC Challenge RandomAccess benchmark: a table of 2^k words holds its own indices; 4 updates for
 * each word, table[r mod 2^k] ^= r, with r from the stream r <- 2 r, xor 7 when a one was shifted out (multiplication by x modulo x^64 +
 * x^2 + x + 1). Each device takes an equal piece of the stream. Doing all updates again must bring the indices back; plain updates race
 * and may miss up to 1 % of the words, atomic updates and messages none. Stacked devices look 1024 updates ahead, sort them by home and
 * exchange them.
 *
 * random.list: nodes lie on all devices in a scattered order, and device 0 follows the pointers; in stacked mode it gets each node by
 * uma_get. */
#include "bench/harness.h"

#include <stdlib.h>

#define POLYNOMIAL 7
#define LOOK_AHEAD 1024
#define LINE 64

/* ---- the stream of random words */

static uint64_t next_random(uint64_t r)
{
  return (r << 1) ^ ((r >> 63) ? POLYNOMIAL : 0);
}

/* The product of two polynomials over the field of two elements, modulo the stream's. */
static uint64_t multiply(uint64_t a, uint64_t b)
{
  uint64_t product = 0;
  for (; b; b >>= 1, a = next_random(a))
    if (b & 1) product ^= a;
  return product;
}

/* The word at `place` in the stream that begins with 1: x to the power of place. */
static uint64_t random_at(uint64_t place)
{
  uint64_t power = 1;
  for (uint64_t square = 2; place; place >>= 1, square = multiply(square, square))
    if (place & 1) power = multiply(power, square);
  return power;
}

/* ---- the table */

struct table {
  uint64_t *words[16];           /* each device's part */
  uint64_t *outgoing, *incoming; /* stacked: for each device a count and LOOK_AHEAD updates */
  size_t words_each, mask;
  int shift; /* index >> shift is the home */
};

static size_t updates_each(const struct table *table)
{
  return 4 * table->words_each;
}

static void update_plain(struct table *table)
{
  uint64_t r = random_at(updates_each(table) * (size_t)uma_device());
  size_t low = table->words_each - 1;
  for (size_t i = 0; i < updates_each(table); i++, r = next_random(r)) {
    size_t index = r & table->mask;
    table->words[index >> table->shift][index & low] ^= r;
  }
}

static void update_atomic(struct table *table)
{
  uint64_t r = random_at(updates_each(table) * (size_t)uma_device());
  size_t low = table->words_each - 1;
  for (size_t i = 0; i < updates_each(table); i++, r = next_random(r)) {
    size_t index = r & table->mask;
    uma_fetch_xor(&table->words[index >> table->shift][index & low], r);
  }
}

static uint64_t *slot(uint64_t *slots, int device)
{
  return slots + (size_t)device * (LOOK_AHEAD + 1);
}

static void apply(struct table *table)
{
  uint64_t *mine = table->words[uma_device()];
  size_t low = table->words_each - 1;
  for (int device = 0; device < uma_device_count(); device++) {
    const uint64_t *updates = slot(table->incoming, device);
    for (uint64_t i = 1; i <= updates[0]; i++) mine[updates[i] & low] ^= updates[i];
  }
}

static void update_by_messages(struct table *table)
{
  uint64_t r = random_at(updates_each(table) * (size_t)uma_device());
  for (size_t done = 0; done < updates_each(table); done += LOOK_AHEAD) {
    for (int device = 0; device < uma_device_count(); device++) slot(table->outgoing, device)[0] = 0;
    for (size_t i = 0; i < LOOK_AHEAD; i++, r = next_random(r)) {
      uint64_t *updates = slot(table->outgoing, (int)((r & table->mask) >> table->shift));
      updates[++updates[0]] = r;
    }
    bench_check(uma_alltoall(table->incoming, table->outgoing, (LOOK_AHEAD + 1) * sizeof(uint64_t)), "uma_alltoall");
    apply(table);
  }
}

/* Each step ends with a barrier: a rate is that of all devices. */
#define UPDATE_STEP(name, update) \
  static void name(void *context, long count) \
  { \
    for (long i = 0; i < count; i++) { \
      update(context); \
      bench_check(uma_barrier(), "uma_barrier"); \
    } \
  }

UPDATE_STEP(plain_step, update_plain)
UPDATE_STEP(atomic_step, update_atomic)
UPDATE_STEP(message_step, update_by_messages)

static void fill(struct table *table)
{
  int me = uma_device();
  for (size_t i = 0; i < table->words_each; i++) table->words[me][i] = (size_t)me * table->words_each + i;
  bench_check(uma_barrier(), "uma_barrier");
}

/* Two runs cancel out but for lost updates. `allowed` in words of the whole table. */
static void verify(struct table *table, const struct bench_variant *variant, double allowed_share)
{
  uint64_t wrong = 0, all = 0;
  int me = uma_device();
  fill(table);
  variant->step(table, 2);
  for (size_t i = 0; i < table->words_each; i++) wrong += table->words[me][i] != (size_t)me * table->words_each + i;
  bench_check(uma_allreduce(&all, &wrong, 1, UMA_UINT64, UMA_SUM), "uma_allreduce");
  bench_require((double)all <= allowed_share * (double)(table->mask + 1), "%s %s: %lu of %zu words are wrong", variant->bench,
                variant->path, (unsigned long)all, table->mask + 1);
}

static struct table make_table(size_t words, void *raw)
{
  int devices = uma_device_count();
  struct table table = {.words_each = words / (size_t)devices, .mask = words - 1};
  size_t bytes = table.words_each * sizeof(uint64_t);
  table.shift = __builtin_ctzl(table.words_each);
  uint64_t *mine = raw ? raw : uma_alloc_symmetric(bytes);
  bench_require(mine, "no device memory: %s", uma_last_error());
  for (int device = 0; device < devices; device++)
    table.words[device] = raw ? mine + (size_t)device * table.words_each : uma_symmetric(mine, device);
  fill(&table);
  return table;
}

static size_t table_words(int devices)
{
  size_t words = bench_run.options.quick ? (size_t)1 << 20 : (size_t)1 << 23;
  return uma_domain_count() > 1 ? words / 16 : words;
}

static struct bench_variant update_variant(const char *path, const char *mode, void (*step)(void *, long), struct table *table)
{
  size_t words = table->mask + 1;
  return (struct bench_variant){"random.gups", path,  mode, words * sizeof(uint64_t), BENCH_RATE, 4.0 * (double)words, NULL,
                                step,          table, NULL};
}

static void gups_body(void *raw)
{
  size_t words = table_words(uma_device_count());
  struct table window = make_table(words, NULL), plain = make_table(words, raw);
  struct bench_variant variants[] = {
      update_variant("direct", NULL, plain_step, &window),
      update_variant("raw", "-", plain_step, &plain),
      update_variant("atomic", NULL, atomic_step, &window),
  };
  verify(&window, &variants[0], 0.01);
  verify(&window, &variants[2], 0);
  bench_compare(variants, 3);
}

static void gups_stacked_body(void *unused)
{
  struct table table = make_table(table_words(uma_device_count()), NULL);
  size_t bytes = (size_t)uma_device_count() * (LOOK_AHEAD + 1) * sizeof(uint64_t);
  table.outgoing = uma_malloc(bytes);
  table.incoming = uma_malloc(bytes);
  bench_require(table.outgoing && table.incoming, "no device memory: %s", uma_last_error());
  memset(table.outgoing, 0, bytes);
  struct bench_variant variant = update_variant("message", NULL, message_step, &table);
  verify(&table, &variant, 0);
  bench_compare(&variant, 1);
}

static int run_gups(void)
{
  int count, result = 0;
  const int *devices = bench_device_counts(&count);
  size_t bytes = 64 * MiB;
  for (int i = 0; i < count && !result; i++) {
    struct bench_session session = {.devices = devices[i], .mode = UMA_MODE_SUPERNODE};
    void *raw = bench_map(bytes);
    result = raw ? bench_spawn(&session, gups_body, raw) : -1;
    bench_unmap(raw, bytes);
    session.mode = UMA_MODE_STACKED;
    if (!result) result = bench_spawn(&session, gups_stacked_body, NULL);
  }
  return result;
}

/* ---- the list */

struct node {
  _Alignas(LINE) struct node *next;
  uint64_t number;
};

#define NODES_EACH 4096

struct list {
  struct node *at, *begin;
  size_t nodes;
};

/* Node p is number p / devices of device p % devices, at a scattered place; each device links its own to the next device's. */
static struct node *node_at(struct node *mine, size_t position, int devices, bool plain)
{
  size_t number = (position / (size_t)devices * 1597) & (NODES_EACH - 1);
  int device = (int)(position % (size_t)devices);
  struct node *first = plain ? mine + (size_t)device * NODES_EACH : uma_symmetric(mine, device);
  return first + number;
}

static struct list make_list(void *raw)
{
  int devices = uma_device_count();
  size_t nodes = (size_t)devices * NODES_EACH;
  struct node *mine = raw ? raw : uma_alloc_symmetric(NODES_EACH * sizeof *mine);
  bench_require(mine, "no device memory: %s", uma_last_error());
  for (size_t p = (size_t)uma_device(); p < nodes; p += (size_t)devices)
    *node_at(mine, p, devices, raw) = (struct node){.next = node_at(mine, (p + 1) % nodes, devices, raw), .number = p};
  bench_check(uma_barrier(), "uma_barrier");
  struct node *begin = node_at(mine, 0, devices, raw);
  return (struct list){begin, begin, nodes};
}

/* One count is one hop. */
static void walk_plain(void *context, long count)
{
  struct list *list = context;
  const struct node *at = list->at;
  if (uma_device()) return;
  uint64_t number = at->number;
  for (long i = 0; i < count; i++) at = at->next;
  bench_require(at->number == (number + (size_t)count) % list->nodes, "after %ld nodes the list is at %lu", count,
                (unsigned long)at->number);
  list->at = (struct node *)at;
}

static void walk_by_get(void *context, long count)
{
  struct list *list = context;
  struct node *at = list->at;
  struct node copy;
  if (uma_device()) return;
  for (long i = 0; i <= count; i++) {
    bench_check(uma_get(&copy, at, sizeof copy), "uma_get");
    list->at = at;
    at = copy.next;
  }
}

static void list_body(void *raw)
{
  struct list window = make_list(NULL), plain = make_list(raw);
  struct bench_variant variants[] = {
      {"random.list", "direct", NULL, sizeof(struct node), BENCH_LATENCY, 1, NULL, walk_plain, &window, NULL},
      {"random.list", "raw", "-", sizeof(struct node), BENCH_LATENCY, 1, NULL, walk_plain, &plain, NULL},
  };
  bench_compare(variants, 2);
}

static void list_stacked_body(void *unused)
{
  struct list list = make_list(NULL);
  struct bench_variant variant = {"random.list", "message", NULL, sizeof(struct node), BENCH_LATENCY, 1, NULL, walk_by_get, &list, NULL};
  bench_compare(&variant, 1);
}

static int run_list(void)
{
  int count, result = 0;
  const int *devices = bench_device_counts(&count);
  for (int i = 0; i < count && !result; i++) {
    size_t bytes = (size_t)devices[i] * NODES_EACH * sizeof(struct node);
    struct bench_session session = {.devices = devices[i], .mode = UMA_MODE_SUPERNODE};
    void *raw = bench_map(bytes);
    result = raw ? bench_spawn(&session, list_body, raw) : -1;
    bench_unmap(raw, bytes);
    session.mode = UMA_MODE_STACKED;
    if (!result) result = bench_spawn(&session, list_stacked_body, NULL);
  }
  return result;
}

const struct bench_case bench_random_cases[] = {
    {"random.gups", "random updates of a table over all devices (RandomAccess rules), verified", run_gups},
    {"random.list", "a linked list over all devices, one hop", run_list},
    {NULL, NULL, NULL},
};
