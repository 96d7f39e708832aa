/* Barriers among some of the devices: a counter a round, in the home's part of the segment.
 *
 * Why it is correct: the last call of a round clears `arrived`, then adds one to `round`; whoever waits has read `round` before it arrived,
 * and the round cannot end without it. Nobody arrives at the next round before it has seen this one's end (release store, acquire
 * load), hence after the clearing. What each did before it arrived is ordered before that end by the counter (acq_rel). */
#include <errno.h>

#include "uma/coherent.h"
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
  if (uma_is_local(device)) return 0;
  return uma_fail(-EREMOTE, "a barrier of device %d is in another domain; only its own domain's devices meet there", device);
}

/* NULL with the error when there is none. */
static struct uma_barrier_slot *find(const struct uma_barrier *barrier, int *error)
{
  if (!barrier) {
    *error = uma_fail(-EINVAL, "the barrier is NULL");
    return NULL;
  }
  *error = check_home(barrier->home);
  if (*error) return NULL;
  struct uma_barrier_slot *slots = slots_of(barrier->home);
  if (barrier->index < UMA_BARRIERS && atomic_load_explicit(&slots[barrier->index].created, memory_order_acquire))
    return &slots[barrier->index];
  *error = uma_fail(-EINVAL, "no barrier %u at device %d", barrier->index, barrier->home);
  return NULL;
}

int uma_barrier_create(int device, struct uma_barrier *barrier)
{
  if (!barrier) return uma_fail(-EINVAL, "uma_barrier_create: the barrier is NULL");
  int result = check_home(device);
  if (result) return result;
  struct uma_barrier_slot *slots = slots_of(device);
  for (uint32_t i = 0; i < UMA_BARRIERS; i++) {
    uint32_t free = 0;
    if (atomic_load_explicit(&slots[i].created, memory_order_relaxed) || !atomic_compare_exchange_strong(&slots[i].created, &free, 1))
      continue;
    *barrier = (struct uma_barrier){device, i};
    return 0;
  }
  return uma_fail(-ENOSPC, "all %d barriers of device %d are in use", UMA_BARRIERS, device);
}

int uma_barrier_destroy(const struct uma_barrier *barrier)
{
  int result;
  struct uma_barrier_slot *slot = find(barrier, &result);
  if (!slot) return result;
  if (atomic_load(&slot->arrived) && !uma_any_lost())
    return uma_fail(-EBUSY, "devices wait at barrier %u of device %d", barrier->index, barrier->home);
  atomic_store(&slot->arrived, 0);
  atomic_store(&slot->created, 0);
  return 0;
}

static void end_round(struct uma_barrier_slot *slot, uint32_t round)
{
  atomic_store_explicit(&slot->arrived, 0, memory_order_relaxed);
  atomic_store_explicit(&slot->round, round + 1, memory_order_release); /* pairs with the load in await_end */
  fab_bell_ring(&slot->bell);
}

static bool has_ended(struct uma_barrier_slot *slot, uint32_t round)
{
  return atomic_load_explicit(&slot->round, memory_order_acquire) != round;
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

int uma_barrier_wait(const struct uma_barrier *barrier, int count)
{
  int result;
  struct uma_barrier_slot *slot = find(barrier, &result);
  if (!slot) return result;
  uma_coherent_release();
  uma_crossing();
  uint32_t round = atomic_load_explicit(&slot->round, memory_order_acquire);
  uint32_t arrived = atomic_fetch_add_explicit(&slot->arrived, 1, memory_order_acq_rel) + 1;
  if (count < 1 || arrived > (uint32_t)count) {
    atomic_fetch_sub(&slot->arrived, 1);
    return uma_fail(-EINVAL, "call %u to a round of %d at barrier %u of device %d", arrived, count, barrier->index, barrier->home);
  }
  if (arrived == (uint32_t)count) end_round(slot, round);
  else result = await_end(slot, round);
  uma_crossing();
  return result;
}
