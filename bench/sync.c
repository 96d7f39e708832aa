/* Synchronisation: barrier, lock, fetch-add and signal, in both modes; fetch-add also on a plain mapping.
 * Contended cases end with a barrier, so that their rate is that of all devices together; counters and owners are checked. */
#include "bench/harness.h"

#include <sched.h>

struct shared {
  uint64_t *counter; /* in device 1's window */
  uint64_t *signals; /* one word in each window; this device's */
  uint64_t turn;     /* of the signals: how many came so far */
  struct uma_lock lock;
  uint64_t added; /* by this device */
};

static void barrier_step(void *context, long count)
{
  for (long i = 0; i < count; i++) bench_check(uma_barrier(), "uma_barrier");
}

static void lock_once(struct shared *shared)
{
  bench_check(uma_lock(&shared->lock), "uma_lock");
  bench_check(uma_unlock(&shared->lock), "uma_unlock");
}

static void lock_alone(void *context, long count)
{
  if (uma_device()) return;
  for (long i = 0; i < count; i++) lock_once(context);
}

/* The counter is changed by plain load and store: only the lock keeps it right. */
static void lock_all(void *context, long count)
{
  struct shared *shared = context;
  for (long i = 0; i < count; i++) {
    bench_check(uma_lock(&shared->lock), "uma_lock");
    uint64_t next = uma_ld(shared->counter) + 1;
    uma_st(shared->counter, next);
    bench_check(uma_unlock(&shared->lock), "uma_unlock");
  }
  shared->added += (uint64_t)count;
  bench_check(uma_barrier(), "uma_barrier");
}

static void add_alone(void *context, long count)
{
  struct shared *shared = context;
  if (uma_device()) return;
  for (long i = 0; i < count; i++) uma_fetch_add(shared->counter, UINT64_C(1));
  shared->added += (uint64_t)count;
}

static void add_plain(void *context, long count)
{
  if (uma_device()) return;
  for (long i = 0; i < count; i++) __atomic_fetch_add((uint64_t *)context, 1, __ATOMIC_SEQ_CST);
}

static void add_all(void *context, long count)
{
  struct shared *shared = context;
  for (long i = 0; i < count; i++) uma_fetch_add(shared->counter, UINT64_C(1));
  shared->added += (uint64_t)count;
  bench_check(uma_barrier(), "uma_barrier");
}

/* Devices 0 and 1 raise each other's word in turn. */
static void signal_step(void *context, long count)
{
  struct shared *shared = context;
  if (uma_device() > 1) return;
  uint64_t *other = uma_symmetric(shared->signals, 1 - uma_device());
  for (long i = 0; i < count; i++) {
    shared->turn++;
    if (!uma_device()) bench_check(uma_signal(other, shared->turn, UMA_SIGNAL_SET), "uma_signal");
    bench_check(uma_wait_until(shared->signals, UMA_GE, shared->turn), "uma_wait_until");
    if (uma_device()) bench_check(uma_signal(other, shared->turn, UMA_SIGNAL_SET), "uma_signal");
  }
}

static struct shared begin(void)
{
  struct shared shared = {0};
  uint64_t *mine = uma_alloc_symmetric(64);
  shared.signals = uma_alloc_symmetric(64);
  bench_require(mine && shared.signals, "no device memory: %s", uma_last_error());
  *mine = *shared.signals = 0;
  shared.counter = uma_symmetric(mine, 1);
  if (!uma_device()) bench_check(uma_lock_create(1, &shared.lock), "uma_lock_create");
  bench_check(uma_broadcast(&shared.lock, sizeof shared.lock, 0), "uma_broadcast");
  bench_check(uma_barrier(), "uma_barrier");
  return shared;
}

/* What all added is what the counter holds. */
static void verify(struct shared *shared)
{
  uint64_t all = 0;
  bench_check(uma_allreduce(&all, &shared->added, 1, UMA_UINT64, UMA_SUM), "uma_allreduce");
  uint64_t counter = uma_ld(shared->counter);
  bench_require(counter == all, "the counter holds %lu after %lu additions", (unsigned long)counter, (unsigned long)all);
}

static const char *path(void)
{
  return uma_domain_count() > 1 ? "message" : "direct";
}

static void barrier_body(void *unused)
{
  struct bench_variant variant = {"sync.barrier", path(), NULL, 0, BENCH_LATENCY, 1, NULL, barrier_step, NULL, NULL};
  bench_compare(&variant, 1);
}

static void lock_body(void *unused)
{
  struct shared shared = begin();
  double devices = uma_device_count();
  struct bench_variant alone = {"sync.lock", path(), NULL, 0, BENCH_LATENCY, 1, NULL, lock_alone, &shared, NULL};
  struct bench_variant all = {"sync.lock.contended", path(), NULL, 0, BENCH_RATE, devices, NULL, lock_all, &shared, NULL};
  bench_compare(&alone, 1);
  bench_compare(&all, 1);
  verify(&shared);
}

static void add_body(void *raw)
{
  struct shared shared = begin();
  double devices = uma_device_count();
  struct bench_variant alone[] = {
      {"sync.fetch_add", path(), NULL, 8, BENCH_LATENCY, 1, NULL, add_alone, &shared, NULL},
      {"sync.fetch_add", "raw", "-", 8, BENCH_LATENCY, 1, NULL, add_plain, raw, NULL},
  };
  struct bench_variant all = {"sync.fetch_add.contended", path(), NULL, 8, BENCH_RATE, devices, NULL, add_all, &shared, NULL};
  bench_compare(alone, raw ? 2 : 1);
  bench_compare(&all, 1);
  verify(&shared);
}

static void signal_body(void *unused)
{
  struct shared shared = begin();
  struct bench_variant variant = {"sync.signal", "direct", NULL, 8, BENCH_LATENCY, 2, NULL, signal_step, &shared, NULL};
  bench_compare(&variant, 1);
}

static int run_modes(int devices, void (*body)(void *), void *raw)
{
  struct bench_session session = {.devices = devices, .mode = UMA_MODE_SUPERNODE};
  int result = bench_spawn(&session, body, raw);
  session.mode = UMA_MODE_STACKED;
  return result ? result : bench_spawn(&session, body, NULL);
}

static int run_barrier(void)
{
  int result = 0;
  for (int devices = 2; devices <= 8 && !result; devices *= 2) result = run_modes(devices, barrier_body, NULL);
  return result;
}

static int run_counts(void (*body)(void *), void *raw)
{
  int count, result = 0;
  const int *devices = bench_device_counts(&count);
  for (int i = 0; i < count && !result; i++) result = run_modes(devices[i], body, raw);
  return result;
}

static int run_lock(void)
{
  return run_counts(lock_body, NULL);
}

static int run_add(void)
{
  void *raw = bench_map(4 * KiB);
  int result = raw ? run_counts(add_body, raw) : -1;
  bench_unmap(raw, 4 * KiB);
  return result;
}

static int run_signal(void)
{
  struct bench_session session = {.devices = 2, .mode = UMA_MODE_SUPERNODE};
  return bench_spawn(&session, signal_body, NULL);
}

const struct bench_case bench_sync_cases[] = {
    {"sync.barrier", "one barrier of 2, 4, 8 devices", run_barrier},
    {"sync.lock", "a lock of another device: alone, and wanted by all", run_lock},
    {"sync.fetch_add", "a counter of another device: alone, and wanted by all", run_add},
    {"sync.signal", "uma_signal there and back, half of it", run_signal},
    {NULL, NULL, NULL},
};
