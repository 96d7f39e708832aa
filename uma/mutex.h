/* A mutual exclusion between threads of all devices that survives the death of its owner; lives in shared memory.
 *
 * `word` is 0 (free) or the owner's token, its device number + 1; UMA_MUTEX_WAITERS is added while somebody may sleep.
 * Only the owner clears its token, except that whoever sees that the owner's device is lost (the flags given to uma_mutex_identify,
 * set by the launcher once the process is gone) replaces the token by its own with one compare-and-swap, and is told -EOWNERDEAD. */
#ifndef UMA_MUTEX_H
#define UMA_MUTEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define UMA_MUTEX_WAITERS 0x80000000u

struct uma_mutex {
  _Atomic uint32_t word;
};

/* Who this process is; before it, device 0 of nobody who can be lost. is_lost may be NULL. */
void uma_mutex_identify(int device, bool (*is_lost)(int device));

int uma_mutex_lock(struct uma_mutex *mutex);    /* 0, or -EOWNERDEAD: held, and what it guards may be half changed */
int uma_mutex_trylock(struct uma_mutex *mutex); /* the same, or -EBUSY */
int uma_mutex_unlock(struct uma_mutex *mutex);  /* 0, or -EPERM: not held by this device */
/* The same on behalf of another device, which asked for it by message. */
int uma_mutex_trylock_for(struct uma_mutex *mutex, int device);
int uma_mutex_unlock_for(struct uma_mutex *mutex, int device);
int uma_mutex_holder(struct uma_mutex *mutex); /* a device; -1: free */

#endif
