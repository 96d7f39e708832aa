/* Two-sided messages of one channel: matching of what arrives with what is awaited, over the shm rings inside the domain and the
 * endpoint between groups (between domains as --fabric says, else ofi). Used by the public messages (message.c), collectives across groups, and
 * by remote access (remote.c). */
#ifndef UMA_MAILBOX_H
#define UMA_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/fabric.h"
#include "uma.h"

/* Kinds of header. Matching compares kind, device and tag; kinds never mix. */
enum uma_kind {
  UMA_KIND_MESSAGE = 1, /* uma_send; tag is the user's */
  UMA_KIND_PULL,        /* uma_send of device memory inside the domain: only its address comes, matched as a MESSAGE */
  UMA_KIND_COLLECTIVE,  /* between devices of different groups inside a collective; tag is the step */
  UMA_KIND_REPLY,       /* answer to a PULL or a REQUEST; tag is its number, `a` its result */
  UMA_KIND_REQUEST,     /* to a copy engine: handled on arrival, never matched (remote.c) */
};

struct uma_mailbox;
struct uma_inheritance;

/* Opens this device's mailboxes: that of the application threads over shm, and the network when there are several groups; that of the copy
 * engine only then, over the network. 0 or -errno. */
int uma_mailboxes_open(const struct uma_inheritance *inheritance);
/* Where groups are joined by fab_ofi: the contacts of this device's endpoints, by channel; those of all endpoints of all devices. 0 or -errno. */
int uma_mailboxes_contact(struct fab_contact contacts[FAB_CHANNELS]);
int uma_mailboxes_connect(const struct fab_contact *contacts);
void uma_mailbox_close(enum fab_channel channel); /* nothing where there is none */

/* Blocking; for one message between any two devices. The channel's owner calls them: application threads
 * that of FAB_APPLICATION, the copy engine that of FAB_ENGINE; the receiver must use the same channel. */
int uma_mailbox_send(struct uma_mailbox *box, int device, enum uma_kind kind, int tag, const void *buffer, size_t bytes);
int uma_mailbox_recv(struct uma_mailbox *box, int device, enum uma_kind kind, int tag, void *buffer, size_t bytes,
                     struct uma_status *status);
/* Both at once, so that rings of devices cannot deadlock. */
int uma_mailbox_exchange(struct uma_mailbox *box, enum uma_kind kind, int tag, int to, const void *out, size_t out_bytes, int from,
                         void *in, size_t in_bytes);

/* One operation under way. start_* return a request or NULL with errno ENOMEM; finish waits, and gives the request back. */
struct uma_request *uma_mailbox_start_send(struct uma_mailbox *box, int device, enum uma_kind kind, int tag, const void *buffer,
                                           size_t bytes);
struct uma_request *uma_mailbox_start_recv(struct uma_mailbox *box, int device, enum uma_kind kind, int tag, void *buffer, size_t bytes);
int uma_mailbox_finish(struct uma_request *request, struct uma_status *status);
bool uma_mailbox_test(struct uma_request *request); /* makes progress; true once finish would not wait */

/* A question to the copy engine of `device` in another group: a header with a payload out, a REPLY back into `answer`. Returns the reply's result. */
int uma_mailbox_ask(struct uma_mailbox *box, int device, int op, uint64_t a, const void *out, size_t out_bytes, void *answer,
                    size_t answer_bytes);

int uma_mailbox_no_answer(int device); /* -EPROTO with the sentence, for who does not accept what it answered */

/* Where uma_shape_has_rma: the network's endpoint, to put, get and do atomics on windows of other groups; nobody else uses the mailbox until
 * leave. */
struct fab_endpoint *uma_mailbox_enter(struct uma_mailbox *box);
void uma_mailbox_leave(struct uma_mailbox *box);

/* Sends without waiting for anything, also from inside an upcall. The payload must stay, unless `copy`: then it is copied here. */
void uma_mailbox_post(struct uma_mailbox *box, int device, enum fab_channel channel, const struct fab_header *header, const void *payload,
                      bool copy);

/* The copy engine between jobs: handles what arrives, and returns whether anything did; sleeps until something does, or wake_fd is readable, or a
 * while has passed, and returns whether an endpoint woke it. What others do to this device's window by RMA only does the latter. */
bool uma_mailbox_serve(struct uma_mailbox *box);
bool uma_mailbox_rest(struct uma_mailbox *box, int wake_fd);

#endif
