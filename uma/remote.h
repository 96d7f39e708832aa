/* What is asked of a device that shares no memory with this one (another domain's, another host's): requests that its copy engine carries out
 * (remote.c), and what they have in common with what is done here. */
#ifndef UMA_REMOTE_H
#define UMA_REMOTE_H

#include <stddef.h>
#include <stdint.h>

#include "fabric/fabric.h"
#include "uma.h"

struct uma_question { /* a wire structure: the payload of all requests but a put, whose payload are its bytes */
  uint64_t offset, bytes, operand, expected;
  uint64_t ticks; /* of the modelled clock */
  uint32_t op, size;
};
_Static_assert(sizeof(struct uma_question) == 48, "wire structure");

enum uma_lock_op { UMA_LOCK_CREATE, UMA_LOCK_TRY, UMA_LOCK_RELEASE, UMA_LOCK_DESTROY };
enum uma_barrier_op { UMA_BARRIER_CREATE, UMA_BARRIER_DESTROY, UMA_BARRIER_ARRIVE, UMA_BARRIER_LOOK };
struct uma_barrier_answer { /* a wire structure */
  uint64_t value;
  uint64_t ticks; /* on the modelled clock */
};

/* Each asks `home`, a device of another group, and waits for the answer: 0 (or the lock operation's result), or -errno. Ranges lie
 * inside of home's window. Bytes travel staged. */
int uma_remote_get(int home, void *local, const void *global, size_t bytes);
int uma_remote_put(int home, void *global, const void *local, size_t bytes);
int uma_remote_atomic(int home, enum uma_atomic op, void *pointer, size_t size, uint64_t operand, uint64_t expected, uint64_t *old);
int uma_remote_signal(int home, uint64_t *word, uint64_t value, enum uma_signal how, uint64_t ticks);
int uma_remote_lock(enum uma_lock_op op, int home, uint32_t index, uint64_t *ticks);
int uma_remote_barrier(enum uma_barrier_op op, int home, uint32_t index, uint64_t argument, struct uma_barrier_answer *answer);
/* In the home's window: 0 with the block's offset, or -ENOMEM; of the block at an offset, as uma_heap_free; the window's use. */
int uma_remote_alloc(int home, size_t bytes, size_t alignment, uint64_t *offset);
int uma_remote_free(int home, uint64_t offset);
int uma_remote_usage(int home, struct uma_usage *usage);

/* The home's side; the engine's mailbox calls them at the header and at the end of a request. */
struct uma_mailbox;
void *uma_remote_arrive(int device, int channel, const struct fab_header *header, size_t *room, void **cookie);
void uma_remote_complete(struct uma_mailbox *box, int device, int channel, const struct fab_header *header, void *cookie, int error);

/* One operation on memory of this group, for this device or on behalf of another: sync.c, barrier.c. `ticks`: of the modelled clock, when whoever
 * asks released the lock, came to the barrier, signalled; or, to a try, when the lock was released last, and to a look, when the last one came. */
int uma_lock_apply(enum uma_lock_op op, int home, uint32_t index, int device, uint64_t *ticks);
/* CREATE returns the index; ARRIVE's argument is how many meet, and its answer the round; LOOK's argument is a round: has it ended (answer)? */
int uma_barrier_apply(enum uma_barrier_op op, int home, uint32_t index, uint64_t argument, struct uma_barrier_answer *answer);
void uma_signal_apply(uint64_t *word, uint64_t value, enum uma_signal how, int home, uint64_t ticks);

#endif
