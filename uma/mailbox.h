/* Two-sided messages of one channel: matching of what arrives with what is awaited, over the shm rings inside the domain and the
 * uring endpoint across domains. Used by the public messages (message.c), collectives across domains, and remote access (remote.c). */
#ifndef UMA_MAILBOX_H
#define UMA_MAILBOX_H

#include <stddef.h>
#include <stdint.h>

#include "fabric/fabric.h"
#include "uma.h"

/* Kinds of header. Matching compares kind, device and tag; kinds never mix. */
enum uma_kind {
  UMA_KIND_MESSAGE = 1, /* uma_send; tag is the user's */
  UMA_KIND_COLLECTIVE,  /* between devices of different domains inside a collective; tag is the step */
  UMA_KIND_REPLY,       /* answer to a request of remote.c; tag 0, `a` is the request's number, `b` its result */
  UMA_KIND_REQUEST,     /* to a copy engine: handled on arrival, never matched */
};

struct uma_mailbox;

struct uma_inheritance;

/* Opens this device's mailboxes: that of the application threads over shm, and uring when there are several domains; that of the copy engine
 * only then, over uring. 0 or -errno. */
int uma_mailboxes_open(const struct uma_inheritance *inheritance);
void uma_mailboxes_close(void);

/* Blocking; for one message between two devices of any domains. The channel's owner calls them: application threads
 * that of FAB_APPLICATION, the copy engine that of FAB_ENGINE; the receiver must use the same channel. */
int uma_mailbox_send(struct uma_mailbox *box, int device, enum uma_kind kind, int tag, const void *buffer, size_t bytes);
int uma_mailbox_recv(struct uma_mailbox *box, int device, enum uma_kind kind, int tag, void *buffer, size_t bytes,
                     struct uma_status *status);
/* Both at once, so that rings of devices cannot deadlock. */
int uma_mailbox_exchange(struct uma_mailbox *box, enum uma_kind kind, int tag, int to, const void *out, size_t out_bytes,
                         int from, void *in, size_t in_bytes);

#endif
