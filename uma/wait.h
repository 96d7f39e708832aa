/* How everything in this library waits: look, yield for a while, then sleep.
 *
 *     struct uma_waiter waiter = {0};
 *     while (!happened())
 *       if (!uma_wait_step(&waiter)) { announce; if (!happened()) sleep UMA_SLEEP_NS at most; take back; check for lost devices }
 *
 * Looking wins while the other side runs on another processor (a line's transfer is about 100 ns; a pause takes as long, so the first looks do
 * without). Yielding wins when there are more devices than processors (about 1 us a switch, where a futex wake-up across processors
 * can cost 30 us on a virtual machine); then who is waited for may want this very processor, so it comes at once. Sleeping
 * frees the processor when the wait is long.
 */
#ifndef UMA_WAIT_H
#define UMA_WAIT_H

#include <sched.h>
#include <stdbool.h>

#include "fabric/futex.h"

#define UMA_EAGER_LOOKS 300    /* without a pause */
#define UMA_PATIENT_LOOKS 1000 /* with one: some 50 us, or UMA_LOOK_NS where a look takes longer */
#define UMA_LOOK_NS 100000     /* as where the network is looked at: the thread that serves it may need this processor */
#define UMA_YIELD_NS 400000    /* how long to yield before the first sleep */
#define UMA_SLEEP_NS 20000000L /* longest sleep between two looks: bounds the delay by a lost wake-up or a lost device */

struct uma_waiter {
  unsigned steps;
  bool slept; /* it was told to sleep: from now on only that */
  uint64_t look_until_ns, yield_until_ns;
};

extern bool uma_wait_yields_at_once; /* session.c: more devices than processors */

/* Looks or yields once; false when it is time to sleep. */
static inline bool uma_wait_step(struct uma_waiter *waiter)
{
  unsigned looks = uma_wait_yields_at_once ? 0 : UMA_EAGER_LOOKS + UMA_PATIENT_LOOKS;
  if (waiter->steps < looks) {
    if (waiter->steps++ >= UMA_EAGER_LOOKS) fab_pause();
    if (waiter->steps % 64) return true;
    uint64_t now_ns = fab_now_ns();
    if (!waiter->look_until_ns) waiter->look_until_ns = now_ns + UMA_LOOK_NS;
    if (now_ns >= waiter->look_until_ns) waiter->steps = looks;
    return true;
  }
  if (waiter->slept) return false;
  if (!waiter->yield_until_ns) waiter->yield_until_ns = fab_now_ns() + UMA_YIELD_NS;
  sched_yield();
  /* the clock is read every 16th time only */
  if (!(++waiter->steps & 15)) waiter->slept = fab_now_ns() >= waiter->yield_until_ns;
  return !waiter->slept;
}

/* Where threads of this process exchange something with other processes. What one thread did before and another does after may be ordered by a
 * chain through those (a message out, one back; a meeting); ThreadSanitizer sees one process only, so it is told. */
#if defined(__SANITIZE_THREAD__)
void __tsan_acquire(void *address);
void __tsan_release(void *address);
extern char uma_crossing_mark;
static inline void uma_crossing(void)
{
  __tsan_acquire(&uma_crossing_mark);
  __tsan_release(&uma_crossing_mark);
}
#else
static inline void uma_crossing(void)
{
}
#endif

#endif
