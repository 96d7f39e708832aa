/* How one process of a host gives open descriptors to others of the same user on that host, to whom it is not related.
 *
 *     giver                                      each receiver
 *     uma_pass_offer(&pass, name);
 *               ------ name, by any way ------>
 *     uma_pass_give(&pass, 3, &parcel);          uma_pass_take(name, index, fds, count, note, bytes);
 *
 * Nothing has a name in the file system; whoever dies, nothing is left behind. Functions return 0 or -errno, with a sentence left by uma_fail. */
#ifndef UMA_PASS_H
#define UMA_PASS_H

#include <stddef.h>
#include <stdint.h>

#define UMA_PASS_NAME 64              /* bytes of a name, with its end */
#define UMA_PASS_NOTE ((size_t)65536) /* most bytes of a note */
#define UMA_PASS_FDS 65536            /* most descriptors for one receiver */

struct uma_pass {
  int fd;            /* the listening socket; -1 once it is closed */
  uint64_t limit_ns; /* how long uma_pass_give waits for all receivers; uma_pass_offer sets it to a minute */
};

/* A receiver gets the note, the shared descriptors, and after them its own. -1 arrives as -1. */
struct uma_parcel {
  const void *note;
  size_t bytes;
  const int *shared;
  int shared_count;
  const int *own; /* [receivers][own_count] */
  int own_count;
};

/* Listens under a name of 128 random bits, which goes to name[UMA_PASS_NAME]. */
int uma_pass_offer(struct uma_pass *pass, char *name);

/* Gives each of the receivers 0 ... receivers - 1 its parcel, once. Strangers are turned away: other users, who says no proper hello, an index that
 * does not exist or was served. -ETIMEDOUT when not all have come within the limit; -EPIPE when one ended half-way. Ends the offer in any case. */
int uma_pass_give(struct uma_pass *pass, int receivers, const struct uma_parcel *parcel);

/* Ends an offer that is not given. */
void uma_pass_withdraw(struct uma_pass *pass);

/* Receives the parcel for receiver `index`: exactly `count` descriptors, which are close-on-exec, and a note of exactly `bytes`; else nothing. */
int uma_pass_take(const char *name, int index, int *fds, int count, void *note, size_t bytes);

#endif
