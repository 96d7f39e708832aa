/* What access mode `page` costs (protocol MESI): faults by what they need, each beside the kernel operations that it cannot avoid (bare.h,
 * rows "raw"); accesses to pages that are there, beside a plain mapping; the barrier; and who serves faults.
 *
 *   page.miss.read            home has the page clean; in an order that is no sequence, so that nothing comes along
 *   page.miss.read.sequential the same in order: eight pages come at a time
 *   page.miss.write           the same, a store
 *   page.upgrade              a store to a page that this device alone has read: home need not be asked
 *   page.upgrade.shared       the same when the other device has read it, too, and given it up
 *   page.turn                 a store to a page that the other device has stored to
 *   page.evict                a page is given up that was read; page.evict.modified: one that was stored to, and goes home
 *
 * Each touches many pages once. Before it, not timed, device 1 writes them all, so that what is copied comes from the other core.
 */
#include "bench/harness.h"

#include <errno.h>

#include "bench/bare.h"
#include "bench/lines.h"
#include "bench/sweeps.h"

#define PROTOCOL "mesi"
#define PAGE (4 * KiB)
enum { PAGES = 256 };

static const struct bench_session two_devices = {
    .devices = 2, .mode = UMA_MODE_SUPERNODE, .memory = 64 * MiB, .protocol = PROTOCOL, .paged = true};

/* The first word of a page links to the next one; stores go to the second, and count. */
struct pages {
  struct lines cached; /* in device 1's window */
  struct lines plain;  /* in the bare window, and at its home */
  struct lines home;
  struct bare *bare;
  uint64_t stored;
};

static void store_all(const struct lines *lines, uint64_t value)
{
  size_t page = 0;
  for (size_t i = 0; i < lines->count; i++, page = lines_next(lines, page)) uma_st(lines_word(lines, page) + 1, value);
}

static void expect_stored(const struct lines *lines, uint64_t value)
{
  size_t wrong = 0;
  for (size_t page = 0; page < lines->count; page++) wrong += uma_ld(lines_word(lines, page) + 1) != value;
  bench_require(!wrong, "%zu of %zu pages do not hold what was stored last", wrong, lines->count);
}

/* ---- by the library */

static void prepare_clean(void *context)
{
  struct pages *pages = context;
  bench_flush();
  bench_barrier();
  if (uma_device() != 1) return;
  lines_link(&pages->cached);
  bench_flush();
}

static void prepare_read(void *context)
{
  const struct pages *pages = context;
  prepare_clean(context);
  bench_barrier();
  if (!uma_device()) lines_walk(&pages->cached);
}

static void prepare_shared(void *context)
{
  const struct pages *pages = context;
  prepare_clean(context);
  bench_barrier();
  lines_walk(&pages->cached);
  bench_barrier();
  if (uma_device()) bench_flush();
}

static void prepare_owned(void *context)
{
  struct pages *pages = context;
  if (uma_device() == 1) store_all(&pages->cached, ++pages->stored);
}

static void read_pages(void *context, long count)
{
  const struct pages *pages = context;
  if (!uma_device()) lines_walk(&pages->cached);
}

static void prepare_modified(void *context)
{
  struct pages *pages = context;
  prepare_read(context);
  if (!uma_device()) store_all(&pages->cached, ++pages->stored);
}

static void give_up(void *context, long count)
{
  if (!uma_device()) bench_flush();
}

static void read_in_order(void *context, long count)
{
  const struct lines *lines = &((const struct pages *)context)->cached;
  size_t wrong = 0;
  if (uma_device()) return;
  for (size_t page = 0; page < lines->count; page++) wrong += uma_ld(lines_word(lines, page)) != lines_next(lines, page);
  bench_require(!wrong, "%zu of %zu pages do not hold their links", wrong, lines->count);
}

static void write_pages(void *context, long count)
{
  struct pages *pages = context;
  if (!uma_device()) store_all(&pages->cached, ++pages->stored);
}

/* ---- by the kernel's operations alone */

static void prepare_bare(void *context)
{
  struct pages *pages = context;
  bare_drop(pages->bare);
  if (uma_device() != 1) return;
  memset(pages->home.first, 1, pages->home.count * PAGE);
  lines_link(&pages->home);
}

static void serve_walk(struct pages *pages)
{
  bare_serve(pages->bare, BARE_READ);
  lines_walk(&pages->plain);
  bare_rest();
}

static void serve_stores(struct pages *pages, enum bare_deed deed)
{
  bare_serve(pages->bare, deed);
  store_all(&pages->plain, ++pages->stored);
  bare_rest();
}

static void prepare_bare_read(void *context)
{
  prepare_bare(context);
  bench_barrier();
  if (!uma_device()) serve_walk(context);
}

static void prepare_bare_owned(void *context)
{
  prepare_bare(context);
  if (uma_device() == 1) serve_stores(context, BARE_WRITE);
}

static void read_bare(void *context, long count)
{
  if (!uma_device()) serve_walk(context);
}

static void write_bare(void *context, long count)
{
  if (!uma_device()) serve_stores(context, BARE_WRITE);
}

static void upgrade_bare(void *context, long count)
{
  if (!uma_device()) serve_stores(context, BARE_UPGRADE);
}

static void take_bare(void *context, long count)
{
  if (!uma_device()) serve_stores(context, BARE_TURN);
}

/* ---- faults */

static struct bench_variant fault(const char *bench, const char *path, void (*prepare)(void *), void (*step)(void *, long), void *context)
{
  return (struct bench_variant){.bench = bench,
                                .path = path,
                                .mode = strcmp(path, "raw") ? NULL : "-",
                                .bytes = PAGE,
                                .metrics = BENCH_LATENCY,
                                .operations = PAGES,
                                .prepare = prepare,
                                .step = step,
                                .context = context};
}

/* The last comparison ends with device 0's stores: whoever looks then finds them in the library's pages. */
static void miss_body(void *bare)
{
  struct pages pages = {.cached = {lines_memory(PAGES * PAGE, PAGE), PAGES, PAGE}, .bare = bare}, plain = pages;
  bare_join(bare);
  plain.plain = (struct lines){plain.bare->window, PAGES, PAGE};
  plain.home = (struct lines){plain.bare->home, PAGES, PAGE};
  struct bench_variant misses[] = {
      fault("page.miss.read", "page", prepare_clean, read_pages, &pages),
      fault("page.miss.read", "raw", prepare_bare, read_bare, &plain),
      fault("page.miss.read.sequential", "page", prepare_clean, read_in_order, &pages),
      fault("page.miss.write", "page", prepare_clean, write_pages, &pages),
      fault("page.miss.write", "raw", prepare_bare, write_bare, &plain),
  };
  struct bench_variant evictions[] = {
      fault("page.evict", "page", prepare_read, give_up, &pages),
      fault("page.evict.modified", "page", prepare_modified, give_up, &pages),
  };
  struct bench_variant upgrades[] = {
      fault("page.upgrade", "page", prepare_read, write_pages, &pages),
      fault("page.upgrade.shared", "page", prepare_shared, write_pages, &pages),
      fault("page.upgrade", "raw", prepare_bare_read, upgrade_bare, &plain),
      fault("page.turn", "page", prepare_owned, write_pages, &pages),
      fault("page.turn", "raw", prepare_bare_owned, take_bare, &plain),
  };
  bench_compare(misses, 5);
  bench_compare(evictions, 2);
  bench_compare(upgrades, 5);
  bench_barrier();
  long stored = bench_share((long)pages.stored);
  expect_stored(&pages.cached, (uint64_t)stored);
}

static int run_miss(void)
{
  struct bare bare;
  if (!bare_allowed(false)) return 0;
  int result = bare_open(&bare, PAGE, PAGES);
  if (!result) result = bench_spawn(&two_devices, miss_body, &bare);
  bare_close(&bare);
  return result;
}

/* ---- who serves them: a property of the session, so the rounds are sessions */

static void faults_body(void *bench)
{
  struct pages pages = {.cached = {lines_memory(PAGES * PAGE, PAGE), PAGES, PAGE}};
  struct bench_variant variant = fault(bench, "page", prepare_clean, read_pages, &pages);
  bench_compare(&variant, 1);
}

static int run_faults(void)
{
  struct bench_session by_signal = two_devices, by_thread = two_devices;
  int result = 0;
  by_signal.faults = UMA_FAULTS_SIGNAL;
  by_thread.faults = UMA_FAULTS_THREAD;
  if (!bare_allowed(true)) return 0;
  for (int round = 0; round < (bench_run.options.quick ? 1 : 3) && !result; round++) {
    result = bench_spawn(&by_signal, faults_body, "page.faults.signal");
    if (!result) result = bench_spawn(&by_thread, faults_body, "page.faults.thread");
  }
  return result;
}

/* ---- the barrier */

static void meet(void *context, long count)
{
  for (long i = 0; i < count; i++) bench_barrier();
}

static void barrier_body(void *unused)
{
  struct bench_variant variant = {"page.barrier", "page", NULL, 0, BENCH_LATENCY, 1, NULL, meet, NULL, NULL};
  bench_compare(&variant, 1);
}

static int run_barrier(void)
{
  struct bench_session session = two_devices;
  int result = 0;
  if (!bare_allowed(false)) return 0;
  for (session.devices = 2; session.devices <= 4 && !result; session.devices *= 2) result = bench_spawn(&session, barrier_body, NULL);
  return result;
}

/* ---- pages that are there */

#define HIT_BYTES (4 * MiB)
#define CHASE_BYTES (1 * MiB) /* settles in a core's own cache within a lap or two; more would need many */

/* Not timed, before every stretch: faults on what is absent or not writable yet, and fetches what the other variant has displaced. */
static void lap(void *chain)
{
  chain_walk(chain, CHASE_BYTES / CHAIN_LINE / 8);
}

static void read_once(void *sweep)
{
  sweep_read(sweep, 1);
}

static void write_once(void *sweep)
{
  sweep_write(sweep, 1);
}

static void hit_body(void *raw)
{
  unsigned char *window = lines_memory(HIT_BYTES, PAGE);
  if (uma_device() == 1) {
    chain_build(window, CHASE_BYTES);
    chain_build(raw, CHASE_BYTES);
  }
  bench_barrier();
  struct chain chains[] = {{(void **)window, CHASE_BYTES}, {raw, CHASE_BYTES}};
  for (int i = 0; i < 8; i++) lap(&chains[i % 2]); /* whoever has just faulted needs some until its cache has settled */
  struct sweep sweeps[] = {{(bench_vector *)window, HIT_BYTES}, {raw, HIT_BYTES}};
  struct bench_variant chases[] = {
      {"page.hit.chase", "page", NULL, CHASE_BYTES, BENCH_LATENCY, 8, NULL, chain_walk, &chains[0], lap},
      {"page.hit.chase", "raw", "-", CHASE_BYTES, BENCH_LATENCY, 8, NULL, chain_walk, &chains[1], lap},
  };
  struct bench_variant reads[] = {
      {"page.hit.read", "page", NULL, HIT_BYTES, BENCH_BANDWIDTH, 1, NULL, sweep_read, &sweeps[0], read_once},
      {"page.hit.read", "raw", "-", HIT_BYTES, BENCH_BANDWIDTH, 1, NULL, sweep_read, &sweeps[1], read_once},
  };
  struct bench_variant writes[] = {
      {"page.hit.write", "page", NULL, HIT_BYTES, BENCH_BANDWIDTH, 1, NULL, sweep_write, &sweeps[0], write_once},
      {"page.hit.write", "raw", "-", HIT_BYTES, BENCH_BANDWIDTH, 1, NULL, sweep_write, &sweeps[1], write_once},
  };
  bench_compare(chases, 2);
  bench_compare(reads, 2);
  bench_compare(writes, 2);
}

static int run_hit(void)
{
  if (!bare_allowed(false)) return 0;
  void *raw = bench_map(HIT_BYTES);
  int result = raw ? bench_spawn(&two_devices, hit_body, raw) : -EIO;
  bench_unmap(raw, HIT_BYTES);
  return result;
}

const struct bench_case bench_page_cases[] = {
    {"page.miss", "a page of 4 KiB that faults: read, written, upgraded, taken from another; beside the bare kernel operations", run_miss},
    {"page.faults", "a read fault served by the thread itself and by one of its own", run_faults},
    {"page.barrier", "one barrier of 2 and 4 devices with caches of pages", run_barrier},
    {"page.hit", "pointer chase and streaming over pages that are there", run_hit},
    {NULL, NULL, NULL},
};
