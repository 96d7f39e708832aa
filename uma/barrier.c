/* Barriers among some of the devices: a counter a round, in the home's part of the segment.
 *
 * Why it is correct: the last call of a round clears `arrived`, then adds one to `round`; whoever waits has read `round` before it arrived,
 * and the round cannot end without it. Nobody arrives at the next round before it has seen this one's end (release store, acquire
 * load), hence after the clearing. What each did before it arrived is ordered before that end by the counter (acq_rel). */
#include <errno.h>
#include <time.h>

#include "uma/clock.h"
#include "uma/coherent.h"
#include "uma/remote.h"
#include "uma/session.h"
#include "uma/wait.h"

static struct uma_barrier_slot *slots_of(int device)
{
  return (struct uma_barrier_slot *)uma_segment_at(uma_self.layout.barriers) + (size_t)(device - uma_self.first) * UMA_BARRIERS;
}

static int check_home(int device)
{
  int exists = uma_server(device); /* leaves the sentence */
  if (exists < 0) return exists;
  if (uma_is_near(device)) return 0;
  return uma_fail(-EREMOTE, "a barrier of device %d is in another domain; only its own domain's devices meet there", device);
}

static int check(const struct uma_barrier *barrier)
{
  return barrier ? check_home(barrier->home) : uma_fail(-EINVAL, "the barrier is NULL");
}

/* ---- on this host, for this device or another */

static int create(struct uma_barrier_slot *slots, struct uma_barrier_answer *answer)
{
  for (uint32_t i = 0; i < UMA_BARRIERS; i++) {
    uint32_t free = 0;
    if (atomic_load_explicit(&slots[i].created, memory_order_relaxed) || !atomic_compare_exchange_strong(&slots[i].created, &free, 1))
      continue;
    answer->value = i;
    return 0;
  }
  return -ENOSPC;
}

static int destroy(struct uma_barrier_slot *slot)
{
  if (atomic_load(&slot->arrived) && !uma_any_lost()) return -EBUSY;
  atomic_store(&slot->arrived, 0);
  atomic_store(&slot->created, 0);
  return 0;
}

static void end_round(struct uma_barrier_slot *slot, uint32_t round)
{
  atomic_store_explicit(&slot->arrived, 0, memory_order_relaxed);
  atomic_store_explicit(&slot->round, round + 1, memory_order_release); /* pairs with the load in has_ended */
  fab_bell_ring(&slot->bell);
}

static bool has_ended(struct uma_barrier_slot *slot, uint32_t round)
{
  return atomic_load_explicit(&slot->round, memory_order_acquire) != round;
}

/* On the modelled clock: a round ends for all when the last has come. */
static void note_arrival(_Atomic uint64_t *latest, uint64_t ticks)
{
  uint64_t before = atomic_load_explicit(latest, memory_order_relaxed);
  while (before < ticks && !atomic_compare_exchange_weak_explicit(latest, &before, ticks, memory_order_relaxed, memory_order_relaxed))
    continue;
}

/* One call too many is taken back. */
static int arrive(struct uma_barrier_slot *slot, uint64_t count, struct uma_barrier_answer *answer)
{
  uint32_t now = atomic_load_explicit(&slot->round, memory_order_acquire);
  if (uma_self.clock) note_arrival(&slot->latest[now & 1], answer->ticks);
  uint32_t arrived = atomic_fetch_add_explicit(&slot->arrived, 1, memory_order_acq_rel) + 1;
  if (count < 1 || arrived > count) {
    atomic_fetch_sub(&slot->arrived, 1);
    return -EINVAL;
  }
  if (arrived == count) end_round(slot, now);
  answer->value = now;
  return 0;
}

static int look(struct uma_barrier_slot *slot, uint32_t round, struct uma_barrier_answer *answer)
{
  answer->value = has_ended(slot, round);
  answer->ticks = atomic_load_explicit(&slot->latest[round & 1], memory_order_relaxed);
  return 0;
}

int uma_barrier_apply(enum uma_barrier_op op, int home, uint32_t index, uint64_t argument, struct uma_barrier_answer *answer)
{
  struct uma_barrier_slot *slots = slots_of(home);
  if (op == UMA_BARRIER_CREATE) return create(slots, answer);
  bool exists = index < UMA_BARRIERS && atomic_load_explicit(&slots[index].created, memory_order_acquire);
  answer->value = 1; /* a barrier goes when its rounds have ended */
  if (!exists) return op == UMA_BARRIER_LOOK ? 0 : -ENOENT;
  switch (op) {
  case UMA_BARRIER_DESTROY: return destroy(&slots[index]);
  case UMA_BARRIER_ARRIVE: return arrive(&slots[index], argument, answer);
  default: return look(&slots[index], (uint32_t)argument, answer);
  }
}

/* ---- wherever it is */

static int operate(enum uma_barrier_op op, int home, uint32_t index, uint64_t argument, struct uma_barrier_answer *answer)
{
  if (uma_is_local(home)) return uma_barrier_apply(op, home, index, argument, answer);
  return uma_remote_barrier(op, home, index, argument, answer);
}

static int explain(int result, const struct uma_barrier *barrier)
{
  switch (result) {
  case -ENOENT: return uma_fail(-EINVAL, "no barrier %u at device %d", barrier->index, barrier->home);
  case -EBUSY: return uma_fail(result, "devices wait at barrier %u of device %d", barrier->index, barrier->home);
  case -EINVAL:
    return uma_fail(result, "one call too many for a round at barrier %u of device %d, or a round of none", barrier->index, barrier->home);
  default: return result;
  }
}

int uma_barrier_create(int device, struct uma_barrier *barrier)
{
  struct uma_barrier_answer answer = {0};
  if (!barrier) return uma_fail(-EINVAL, "uma_barrier_create: the barrier is NULL");
  int result = check_home(device);
  if (!result) result = operate(UMA_BARRIER_CREATE, device, 0, 0, &answer);
  if (result == -ENOSPC) return uma_fail(result, "all %d barriers of device %d are in use", UMA_BARRIERS, device);
  if (!result) *barrier = (struct uma_barrier){device, (uint32_t)answer.value};
  return result;
}

int uma_barrier_destroy(const struct uma_barrier *barrier)
{
  struct uma_barrier_answer answer = {0};
  int result = check(barrier);
  return result ? result : explain(operate(UMA_BARRIER_DESTROY, barrier->home, barrier->index, 0, &answer), barrier);
}

static int await_end(struct uma_barrier_slot *slot, uint32_t round)
{
  struct uma_waiter waiter = {0};
  while (!has_ended(slot, round)) {
    if (uma_wait_step(&waiter)) continue;
    if (uma_any_lost() && !has_ended(slot, round)) return uma_fail(-EHOSTDOWN, "a device of the session was lost");
    uint32_t rings = fab_bell_begin(&slot->bell);
    if (!has_ended(slot, round)) fab_bell_sleep(&slot->bell, rings, UMA_SLEEP_NS);
    fab_bell_end(&slot->bell);
  }
  return 0;
}

/* The barrier of another host cannot be slept on: asks again, after pauses that grow from 20 us to 1 ms. */
static int ask_for_end(const struct uma_barrier *barrier, uint64_t round, struct uma_barrier_answer *answer)
{
  int result = operate(UMA_BARRIER_LOOK, barrier->home, barrier->index, round, answer);
  for (long pause_ns = 20000; !result && !answer->value; pause_ns = pause_ns < 500000 ? pause_ns * 2 : 1000000) {
    if (uma_any_lost()) return uma_fail(-EHOSTDOWN, "a device of the session was lost");
    nanosleep(&(struct timespec){.tv_nsec = pause_ns}, NULL);
    result = operate(UMA_BARRIER_LOOK, barrier->home, barrier->index, round, answer);
  }
  return explain(result, barrier);
}

static int meet(const struct uma_barrier *barrier, int count, struct uma_barrier_answer *answer)
{
  int result = operate(UMA_BARRIER_ARRIVE, barrier->home, barrier->index, count < 1 ? 0 : (uint64_t)count, answer);
  uint32_t round = (uint32_t)answer->value;
  if (result) return explain(result, barrier);
  if (!uma_is_local(barrier->home)) return ask_for_end(barrier, round, answer);
  struct uma_barrier_slot *slot = &slots_of(barrier->home)[barrier->index];
  result = await_end(slot, round);
  return result ? result : look(slot, round, answer);
}

int uma_barrier_wait(const struct uma_barrier *barrier, int count)
{
  struct uma_barrier_answer answer = {0};
  int result = check(barrier);
  if (result) return result;
  uma_coherent_release();
  uma_crossing();
  if (uma_self.clock) uma_clock_access(barrier->home, FAB_ACCESS_ATOMIC, sizeof(uint32_t));
  if (uma_self.clock) answer.ticks = uma_clock_moment().ticks;
  result = meet(barrier, count, &answer);
  if (uma_self.clock && !result) {
    uma_clock_reach(&(struct coh_moment){.ticks = answer.ticks});
    uma_clock_forget();
    uma_clock_look(barrier->home);
  }
  uma_crossing();
  return result;
}
