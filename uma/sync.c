/* Barriers, locks, signals, fences.
 *
 * A barrier is a meeting of the devices of a group (meeting.h). Over several groups everybody meets at home, the first devices of the groups exchange
 * messages (dissemination: log2 rounds, each device hears of all others), and everybody meets again.
 * A lock is a uma_mutex in its home's part of the segment. From another group it is asked for by message (remote.c), again
 * and again while it is held. A signal changes the word, then rings the bell of the word's home; the waiter announces itself there before its last look. */
#include <errno.h>
#include <string.h>

#include "uma/clock.h"
#include "uma/coherent.h"
#include "uma/mailbox.h"
#include "uma/meeting.h"
#include "uma/remote.h"
#include "uma/session.h"
#include "uma/wait.h"

#define PLAIN_STORE_NS 1000000L /* how late uma_wait_until may notice a plain store, once it sleeps */
#define BARRIER_TAG (1 << 30)   /* apart from the steps of collective.c */

static int lost_device(void)
{
  return uma_fail(-EHOSTDOWN, "a device of the session was lost");
}

/* A meeting to which nobody contributes. */
static int meet_own_group(enum fab_channel channel)
{
  struct uma_meeting meeting;
  uma_meeting_open(&meeting, channel);
  return uma_meeting_meet(&meeting, NULL, NULL) ? lost_device() : 0;
}

static int group_first(int group)
{
  return uma_shape_first(&uma_self.shape, group, uma_self.shape.groups);
}

/* *latest, if it is not NULL, becomes the largest of all groups'. */
static int meet_other_groups(enum fab_channel channel, uint64_t *latest)
{
  int groups = uma_self.shape.groups, result = 0;
  uint64_t in = 0, out = latest ? *latest : 0;
  for (int hop = 1; hop < groups && !result; hop *= 2) {
    result = uma_mailbox_exchange(uma_self.mailbox[channel], UMA_KIND_COLLECTIVE, BARRIER_TAG + hop,
                                  group_first((uma_self.group + hop) % groups), &out, latest ? sizeof out : 1,
                                  group_first((uma_self.group + groups - hop) % groups), &in, latest ? sizeof in : 1);
    if (latest && in > out) out = in;
  }
  if (latest) *latest = out;
  return result;
}

/* The modelled machine does not know how many hosts this is carried out on: on its clock the devices of a domain hold one meeting. The first of
 * each group goes into the second of these here at the time of the last of all groups. */
static int meet_as_one(enum fab_channel channel)
{
  uma_clock_pause();
  int result = meet_own_group(channel);
  if (!result && uma_self.device == uma_self.first) {
    struct coh_moment moment = {.ticks = uma_clock_last_meeting(channel)};
    result = meet_other_groups(channel, &moment.ticks);
    uma_clock_go_on();
    uma_clock_reach(&moment);
  } else {
    uma_clock_go_on();
  }
  int met = meet_own_group(channel);
  return result ? result : met;
}

int uma_meet_all(enum fab_channel channel)
{
  if (uma_self.clock && uma_self.shape.groups > uma_self.shape.domains) return meet_as_one(channel);
  int result = meet_own_group(channel);
  if (result || uma_self.shape.groups == 1) return result;
  if (uma_self.device == uma_self.first) result = meet_other_groups(channel, NULL);
  int met = meet_own_group(channel);
  return result ? result : met;
}

int uma_barrier(void)
{
  if (!uma_self.joined) return uma_fail(-EINVAL, "uma_barrier was called outside of a session");
  uma_coherent_release();
  return uma_meet_all(FAB_APPLICATION);
}

/* ---- locks */

static struct uma_lock_slot *slots_of(int device)
{
  return (struct uma_lock_slot *)uma_segment_at(uma_self.layout.locks) + (size_t)(device - uma_self.first) * UMA_LOCKS;
}

static int claim_slot(struct uma_lock_slot *slots)
{
  for (int i = 0; i < UMA_LOCKS; i++) {
    uint32_t free = 0;
    if (!atomic_load_explicit(&slots[i].created, memory_order_relaxed) && atomic_compare_exchange_strong(&slots[i].created, &free, 1))
      return i;
  }
  return -ENOSPC;
}

static int destroy_slot(struct uma_lock_slot *slot, int device)
{
  int result = uma_mutex_trylock_for(&slot->mutex, device);
  if (result == -EBUSY) return result;
  atomic_store(&slot->created, 0);
  uma_mutex_unlock_for(&slot->mutex, device);
  return 0;
}

static bool is_taken(int result)
{
  return !result || result == -EOWNERDEAD;
}

/* On the modelled clock a lock is taken no earlier than it was released. */
static int try(struct uma_lock_slot *slot, int device, uint64_t *ticks)
{
  int result = uma_mutex_trylock_for(&slot->mutex, device);
  if (is_taken(result)) *ticks = atomic_load(&slot->released);
  return result;
}

static int release(struct uma_lock_slot *slot, int device, uint64_t ticks)
{
  if (uma_self.clock && uma_mutex_holder(&slot->mutex) == device) atomic_store(&slot->released, ticks);
  return uma_mutex_unlock_for(&slot->mutex, device);
}

int uma_lock_apply(enum uma_lock_op op, int home, uint32_t index, int device, uint64_t *ticks)
{
  struct uma_lock_slot *slots = slots_of(home);
  if (op == UMA_LOCK_CREATE) return claim_slot(slots);
  if (index >= UMA_LOCKS || !atomic_load_explicit(&slots[index].created, memory_order_acquire)) return -EINVAL;
  switch (op) {
  case UMA_LOCK_TRY: return try(&slots[index], device, ticks);
  case UMA_LOCK_RELEASE: return release(&slots[index], device, *ticks);
  default: return destroy_slot(&slots[index], device);
  }
}

static bool is_possible(const struct uma_lock *lock)
{
  return uma_self.joined && lock && lock->home >= 0 && lock->home < uma_self.shape.devices;
}

/* Of one that is not possible lock_operation has said so. */
static int explain_lock(int result, const struct uma_lock *lock)
{
  if (!is_possible(lock)) return result;
  switch (result) {
  case -EINVAL: return uma_fail(result, "no lock %u at device %d", lock->index, lock->home);
  case -EPERM: return uma_fail(result, "lock %u of device %d is not held by device %d", lock->index, lock->home, uma_self.device);
  case -EBUSY: return uma_fail(result, "lock %u of device %d is held", lock->index, lock->home);
  case -EOWNERDEAD:
    return uma_fail(result, "lock %u of device %d: its owner was lost; it is held by device %d now", lock->index, lock->home,
                    uma_self.device);
  default: return result;
  }
}

/* The operation wherever the lock lives; what it returns there. */
static int lock_operation(enum uma_lock_op op, const struct uma_lock *lock)
{
  if (!is_possible(lock)) return uma_fail(-EINVAL, "not a lock of this session (home %d)", lock ? lock->home : -1);
  uint64_t ticks = uma_self.clock ? uma_clock_moment().ticks : 0;
  int result = uma_is_local(lock->home) ? uma_lock_apply(op, lock->home, lock->index, uma_self.device, &ticks)
                                        : uma_remote_lock(op, lock->home, lock->index, &ticks);
  if (uma_self.clock && op == UMA_LOCK_TRY && is_taken(result)) uma_clock_reach(&(struct coh_moment){.ticks = ticks});
  return result;
}

int uma_lock_create(int device, struct uma_lock *lock)
{
  struct uma_lock created = {.home = device};
  if (!lock) return uma_fail(-EINVAL, "uma_lock_create: the lock is NULL");
  int result = lock_operation(UMA_LOCK_CREATE, &created);
  if (result == -ENOSPC) return uma_fail(result, "all %d locks of device %d are in use", UMA_LOCKS, device);
  if (result < 0) return result;
  created.index = (uint32_t)result;
  *lock = created;
  return 0;
}

int uma_lock_destroy(const struct uma_lock *lock)
{
  return explain_lock(lock_operation(UMA_LOCK_DESTROY, lock), lock);
}

/* On the modelled clock each of these is an atomic operation at the lock's home, however often this host has to look. */
static int charge_lock(int result, const struct uma_lock *lock)
{
  if (!uma_self.clock || !is_taken(result)) return result;
  uma_clock_access(lock->home, FAB_ACCESS_ATOMIC, sizeof(uint32_t));
  uma_clock_forget();
  return result;
}

int uma_trylock(const struct uma_lock *lock)
{
  return charge_lock(explain_lock(lock_operation(UMA_LOCK_TRY, lock), lock), lock);
}

int uma_unlock(const struct uma_lock *lock)
{
  if (is_possible(lock)) charge_lock(0, lock); /* before: it is released when the operation has come there */
  return explain_lock(lock_operation(UMA_LOCK_RELEASE, lock), lock);
}

/* Another group's lock cannot be slept on: ask again, after pauses that grow from 20 us to 1 ms. */
static int lock_by_asking(const struct uma_lock *lock)
{
  for (long pause_ns = 20000;; pause_ns = pause_ns < 500000 ? pause_ns * 2 : 1000000) {
    int result = lock_operation(UMA_LOCK_TRY, lock);
    if (result != -EBUSY) return explain_lock(result, lock);
    nanosleep(&(struct timespec){.tv_nsec = pause_ns}, NULL);
  }
}

static int lock_here(struct uma_lock_slot *slot)
{
  int result = uma_mutex_lock(&slot->mutex);
  if (uma_self.clock && is_taken(result)) uma_clock_reach(&(struct coh_moment){.ticks = atomic_load(&slot->released)});
  return result;
}

int uma_lock(const struct uma_lock *lock)
{
  int result = lock_operation(UMA_LOCK_TRY, lock);
  if (result != -EBUSY) return charge_lock(explain_lock(result, lock), lock);
  if (!uma_is_local(lock->home)) return charge_lock(lock_by_asking(lock), lock);
  return charge_lock(explain_lock(lock_here(&slots_of(lock->home)[lock->index]), lock), lock);
}

/* ---- signals */

static struct fab_bell *bell_of(int device)
{
  return uma_segment_at(uma_self.layout.bells + (size_t)(device - uma_self.first) * FAB_CACHE_LINE);
}

/* What it takes was charged by who signals. */
void uma_signal_apply(uint64_t *word, uint64_t value, enum uma_signal how, int home, uint64_t ticks)
{
  uma_crossing();
  if (uma_self.clock) uma_clock_note_signal(word, ticks);
  uma_clock_pause();
  if (how == UMA_SIGNAL_ADD) uma_fetch_add(word, value);
  else uma_st(word, value);
  uma_clock_go_on();
  fab_bell_ring(bell_of(home));
}

static int check_word(const uint64_t *word, int *home)
{
  if (!uma_range_in_windows(word, sizeof *word, home)) return uma_fail(-EFAULT, "the word at %p is in no window", (void *)word);
  return (uintptr_t)word % sizeof *word ? uma_fail(-EINVAL, "the word at %p is not aligned to 8 bytes", (void *)word) : 0;
}

int uma_signal(uint64_t *word, uint64_t value, enum uma_signal how)
{
  int home, result = check_word(word, &home);
  if (result) return result;
  if (how != UMA_SIGNAL_SET && how != UMA_SIGNAL_ADD)
    return uma_fail(-EINVAL, "signal: %d is not valid; expected UMA_SIGNAL_SET or UMA_SIGNAL_ADD", how);
  uint64_t ticks = uma_self.clock ? uma_clock_signal(word) : 0;
  if (!uma_is_local(home)) return uma_remote_signal(home, word, value, how, ticks);
  uma_signal_apply(word, value, how, home, ticks);
  return 0;
}

int uma_put_signal(void *dst, const void *src, size_t bytes, uint64_t *word, uint64_t value, enum uma_signal how)
{
  int home, result = check_word(word, &home);
  if (!result) result = uma_put(dst, src, bytes); /* complete at its home when it returns, whichever way it went */
  return result ? result : uma_signal(word, value, how);
}

static bool holds(uint64_t have, enum uma_compare compare, uint64_t want)
{
  switch (compare) {
  case UMA_EQ: return have == want;
  case UMA_NE: return have != want;
  case UMA_LT: return have < want;
  case UMA_LE: return have <= want;
  case UMA_GT: return have > want;
  case UMA_GE: return have >= want;
  }
  return true;
}

/* What is lost is an error here, and not the end as for a load. */
static int look(const uint64_t *word, uint64_t *value)
{
  if (uma_self.lines) return uma_get(value, word, sizeof *value);
  *value = uma_ld(word);
  return 0;
}

static int wait_for_word(const uint64_t *word, int home, enum uma_compare compare, uint64_t value)
{
  uint64_t have;
  int result;
  struct uma_waiter waiter = {0};
  struct fab_bell *bell =
      bell_of(uma_is_local(home) ? home : uma_self.device); /* that of another host is out of reach: looks now and then */
  while (!(result = look(word, &have)) && !holds(have, compare, value)) {
    if (uma_wait_step(&waiter)) continue;
    uint32_t rings = fab_bell_begin(bell);
    result = look(word, &have);
    if (!result && !holds(have, compare, value)) fab_bell_sleep(bell, rings, PLAIN_STORE_NS);
    fab_bell_end(bell);
    if (uma_any_lost()) return lost_device();
  }
  uma_crossing();
  return result;
}

int uma_wait_until(const uint64_t *word, enum uma_compare compare, uint64_t value)
{
  int home, result = check_word(word, &home);
  if (result) return result;
  if (!uma_is_near(home)) return uma_fail(-EREMOTE, "the word at %p is in another domain's window (device %d)", (void *)word, home);
  if (compare < UMA_EQ || compare > UMA_GE) return uma_fail(-EINVAL, "compare: %d is not valid; expected UMA_EQ to UMA_GE", compare);
  uma_clock_pause(); /* how often it looks says nothing about the modelled machine */
  result = wait_for_word(word, home, compare, value);
  uma_clock_go_on();
  if (uma_self.clock && !result) uma_clock_signalled(word);
  return result;
}

/* Puts inside the domain are stores, and puts across domains are complete when they return: order is the processor's matter. */
int uma_fence(void)
{
  atomic_thread_fence(memory_order_release);
  return 0;
}

int uma_quiet(void)
{
  atomic_thread_fence(memory_order_seq_cst);
  return 0;
}
