/* Access to windows of other domains: requests that the home device's copy engine carries out (remote.c), and what they
 * have in common with local access. */
#ifndef UMA_REMOTE_H
#define UMA_REMOTE_H

#include <stddef.h>
#include <stdint.h>

#include "fabric/fabric.h"
#include "uma.h"

enum uma_lock_op { UMA_LOCK_CREATE, UMA_LOCK_TRY, UMA_LOCK_RELEASE, UMA_LOCK_DESTROY };

/* Each asks `home`, a device of another domain, and waits for the answer: 0 (or the lock operation's result), or -errno. Ranges lie
 * inside of home's window. Bytes travel staged. */
int uma_remote_get(int home, void *local, const void *global, size_t bytes);
int uma_remote_put(int home, void *global, const void *local, size_t bytes);
int uma_remote_atomic(int home, enum uma_atomic op, void *pointer, size_t size, uint64_t operand, uint64_t expected, uint64_t *old);
int uma_remote_signal(int home, uint64_t *word, uint64_t value, enum uma_signal how);
int uma_remote_lock(enum uma_lock_op op, int home, uint32_t index);

/* The home's side; the engine's mailbox calls them at the header and at the end of a request. */
struct uma_mailbox;
void *uma_remote_arrive(int device, int channel, const struct fab_header *header, size_t *room, void **cookie);
void uma_remote_complete(struct uma_mailbox *box, int device, int channel, const struct fab_header *header, void *cookie, int error);

/* sync.c: one operation on memory of this domain, for this device or on behalf of another. */
int uma_lock_apply(enum uma_lock_op op, int home, uint32_t index, int device);
void uma_signal_apply(uint64_t *word, uint64_t value, enum uma_signal how, int home);

#endif
