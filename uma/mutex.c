/* The owner-death aware mutex of mutex.h: a futex lock with three states (free, held, held with waiters).
 *
 * Why nobody sleeps for ever: a sleeper has set UMA_MUTEX_WAITERS in the very word that it sleeps on, so the owner's exchange to 0
 * sees it and wakes one; whoever slept takes the lock with the mark set, because others may sleep still. Every sleep is bounded, so an owner
 * that died without unlocking is noticed at the next look. Acquire: the successful compare-and-swap. Release: the exchange to 0. */
#include "uma/mutex.h"

#include <errno.h>
#include <stddef.h>

#include "uma/wait.h"

static uint32_t own_token = 1;
static bool (*device_is_lost)(int device);

void uma_mutex_identify(int device, bool (*is_lost)(int device))
{
  own_token = (uint32_t)device + 1;
  device_is_lost = is_lost;
}

static bool owner_is_lost(uint32_t word)
{
  uint32_t token = word & ~UMA_MUTEX_WAITERS;
  return token && token != own_token && device_is_lost && device_is_lost((int)token - 1);
}

/* One attempt for the owner `token`. `mark` is UMA_MUTEX_WAITERS once this thread has slept. */
static int take(struct uma_mutex *mutex, uint32_t token, uint32_t mark)
{
  uint32_t word = 0;
  if (atomic_compare_exchange_strong(&mutex->word, &word, token | mark)) return 0;
  if (!owner_is_lost(word)) return -EBUSY;
  uint32_t waiters = (word & UMA_MUTEX_WAITERS) | mark;
  return atomic_compare_exchange_strong(&mutex->word, &word, token | waiters) ? -EOWNERDEAD : -EBUSY;
}

int uma_mutex_trylock(struct uma_mutex *mutex)
{
  return take(mutex, own_token, 0);
}

int uma_mutex_trylock_for(struct uma_mutex *mutex, int device)
{
  return take(mutex, (uint32_t)device + 1, 0);
}

int uma_mutex_lock(struct uma_mutex *mutex)
{
  struct uma_waiter waiter = {0};
  uint32_t mark = 0;
  for (;;) {
    uint32_t word = atomic_load_explicit(&mutex->word, memory_order_relaxed);
    if (!word || owner_is_lost(word)) {
      int result = take(mutex, own_token, mark);
      if (result != -EBUSY) return result;
    }
    if (!mark && uma_wait_step(&waiter)) continue;
    mark = UMA_MUTEX_WAITERS;
    if (!word) continue;
    if ((word & mark) || atomic_compare_exchange_strong(&mutex->word, &word, word | mark))
      fab_futex_wait(&mutex->word, word | mark, UMA_SLEEP_NS);
  }
}

static int release(struct uma_mutex *mutex, uint32_t token)
{
  uint32_t word = atomic_load_explicit(&mutex->word, memory_order_relaxed);
  if ((word & ~UMA_MUTEX_WAITERS) != token) return -EPERM;
  word = atomic_exchange(&mutex->word, 0);
  if (word & UMA_MUTEX_WAITERS) fab_futex_wake(&mutex->word, 1);
  return 0;
}

int uma_mutex_holder(struct uma_mutex *mutex)
{
  return (int)(atomic_load_explicit(&mutex->word, memory_order_relaxed) & ~UMA_MUTEX_WAITERS) - 1;
}

int uma_mutex_unlock(struct uma_mutex *mutex)
{
  return release(mutex, own_token);
}

int uma_mutex_unlock_for(struct uma_mutex *mutex, int device)
{
  return release(mutex, (uint32_t)device + 1);
}
