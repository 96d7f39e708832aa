/* Waiting between processes: the pause of a spin, futexes, and bells.
 *
 * A bell is an eventcount in shared memory. A waiter announces itself (fab_bell_begin), looks once more for what it waits for,
 * sleeps (fab_bell_sleep), and takes the announcement back (fab_bell_end). Who makes something happen rings afterwards.
 * Why no wake-up is lost: the ringer's store precedes its sequentially consistent fence and its look at `sleepers`; the waiter's
 * increment of `sleepers` precedes its own fence and its second look. One of the two sees the other. Every sleep is
 * bounded in time as well, so that a ringer killed between its store and its ring delays a waiter and does not hang it.
 */
#ifndef FAB_FUTEX_H
#define FAB_FUTEX_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FAB_CACHE_LINE 64

static inline void fab_pause(void)
{
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static inline uint64_t fab_now_ns(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Leaves the processor to others for a moment, when yielding did not help. Linux 6.18 lets threads that only yield starve the rest of a crowded
 * processor for seconds, among them those that are waited for. */
static inline void fab_nap(void)
{
  nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}

static inline void fab_futex_wait(_Atomic uint32_t *word, uint32_t expected, long timeout_ns)
{
  struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
  syscall(SYS_futex, word, FUTEX_WAIT, expected, &timeout, NULL, 0);
}

static inline void fab_futex_wake(_Atomic uint32_t *word, int waiters)
{
  syscall(SYS_futex, word, FUTEX_WAKE, waiters, NULL, NULL, 0);
}

struct fab_bell {
  _Atomic uint32_t rings;
  _Atomic uint32_t sleepers;
};

static inline uint32_t fab_bell_begin(struct fab_bell *bell)
{
  atomic_fetch_add(&bell->sleepers, 1);
  atomic_thread_fence(memory_order_seq_cst); /* pairs with the one in fab_bell_ring */
  return atomic_load(&bell->rings);
}

static inline void fab_bell_sleep(struct fab_bell *bell, uint32_t rings, long timeout_ns)
{
  fab_futex_wait(&bell->rings, rings, timeout_ns);
}

static inline void fab_bell_end(struct fab_bell *bell)
{
  atomic_fetch_sub(&bell->sleepers, 1);
}

/* Returns whether anybody was asleep. */
static inline int fab_bell_ring(struct fab_bell *bell)
{
  atomic_thread_fence(memory_order_seq_cst);
  if (!atomic_load_explicit(&bell->sleepers, memory_order_relaxed)) return 0;
  atomic_fetch_add(&bell->rings, 1);
  fab_futex_wake(&bell->rings, INT32_MAX);
  return 1;
}

#endif
