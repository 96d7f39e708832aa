/* What the files of the uring fabric share: uring.c (endpoints, links, the ring), uring_connect.c (how connections come about) and uring_stream.c
 * (bytes on a connection).
 *
 * Glossary
 *   remote   an endpoint of some device, as seen from here: (device, channel)
 *   link     one TCP connection; for a moment there may be two with one remote, when both sides connected at once
 *   held     said of a link whose sends wait until the other side has welcomed the connection
 *   hot      said of a link that has received lately: progress looks whether there is more, at the price of a system call, instead of
 *            waiting to be told by the kernel; on a busy connection that is faster by a third
 *   bounce   pinned memory of a link: two halves to receive into, two halves to send staged payload from
 */
#ifndef FAB_URING_H
#define FAB_URING_H

#include <liburing.h>
#include <netinet/in.h>

#include "fabric/fabric.h"

#define FAB_URING_HALF (64u << 10)
#define FAB_URING_VERSION 2u /* of what is on the wire */
#define FAB_URING_BATCH 16   /* messages that one system call may gather */
/* Of connections on the loopback, where there is no network to spare; every kernel has it. Pacing, as by bbr, doubles the time of 16 MiB. */
#define FAB_LOOPBACK_CONGESTION "reno"

/* The first bytes of a connection, from the side that opened it; and the welcome, which says that the other side will use it too. */
struct fab_uring_hello {
  uint64_t magic;
  uint32_t version, reserved;
  unsigned char key[FAB_KEY_BYTES];
  int32_t from_device, from_channel, to_device, to_channel;
};
_Static_assert(sizeof(struct fab_uring_hello) == 48, "wire structure");

/* What a message begins with on the wire. */
struct fab_uring_wire {
  uint32_t magic, flags;
  struct fab_header header;
};
_Static_assert(sizeof(struct fab_uring_wire) == 40, "wire structure");

enum fab_uring_op { FAB_URING_ACCEPT, FAB_URING_CONNECT, FAB_URING_GREET, FAB_URING_HELLO, FAB_URING_RECEIVE, FAB_URING_SEND };

/* Where the bytes of the receive in flight go. */
enum fab_uring_mode {
  FAB_URING_PARSE,  /* into the bounce buffer, behind `fill`: headers, and payload that is copied from there */
  FAB_URING_DIRECT, /* payload, straight to its destination */
  FAB_URING_STAGED, /* payload, into one half of the bounce buffer */
};

struct fab_uring_rx {
  enum fab_uring_mode mode;
  int looks;   /* PARSE: while positive the link is hot, and this many more looks may fail before it is cold */
  size_t fill; /* PARSE: bytes of an incomplete header at the beginning of the buffer. Of the hello before that */
  int half;    /* STAGED: where the receive in flight goes */
  bool open;   /* in the middle of a message: what follows is valid */
  struct fab_uring_wire wire;
  unsigned char *target;
  size_t room, stored, rest; /* rest: payload bytes still to come */
  void *cookie;
};

struct fab_uring_tx {
  struct fab_send *queue, **end;
  bool ready; /* messages may be sent */
  bool in_flight;
  struct fab_uring_wire wires[FAB_URING_BATCH];
  struct iovec vectors[2 * FAB_URING_BATCH];
  struct msghdr message;
  /* of the staged send at the head of the queue: */
  size_t copied;             /* bytes of header and payload that were copied into halves */
  int half;                  /* the one that is sent next or now */
  size_t length[2], done[2]; /* of each half: bytes in it, and how many of them have left */
};

struct fab_uring_link {
  struct fab_uring_endpoint *endpoint;
  struct fab_uring_link *next, *previous;   /* all links of the endpoint */
  struct fab_uring_link *next_rx, *next_tx; /* to be armed, to be sent on, at the next flush */
  bool queued_rx, queued_tx;
  int fd, remote; /* remote: index, or -1 before its hello is verified */
  int operations; /* in flight in the kernel; the link outlives them */
  bool initiated, dead;
  bool greeted, held;    /* of one that was initiated: the hello has left; see above */
  unsigned char *bounce; /* 2 halves to receive into, 2 to send from */
  int slot;              /* of the bounce buffer among the registered ones, or -1 */
  struct sockaddr_in address;
  struct fab_uring_hello hello;
  struct fab_uring_rx rx;
  struct fab_uring_tx tx;
};

struct fab_uring_remote {
  struct fab_uring_link *out;      /* everything to it goes there; changes only while nothing was sent on it */
  struct fab_uring_link *accepted; /* opened by the other side */
  bool closed;
};

struct fab_uring_device {
  int links;
  bool ending; /* has no link any more; lost, unless a connection that it opened before is still to be accepted */
  bool lost;
  bool unreachable; /* a link ended because nothing came from its host any more */
};

struct fab_uring_endpoint {
  struct fab_endpoint base;
  struct fab_config config;
  struct io_uring ring;
  int in_flight; /* operations in the kernel */
  int sleepers;
  int hot;          /* how many links are */
  int failed_looks; /* completions that said so, of those that the call of progress has reaped */
  bool busy;        /* inside progress: sends of upcalls leave at its end */
  bool accept_due, closing;
  bool any_ending;   /* any device is `ending` */
  int strangers;     /* links whose hello is not verified yet */
  uint64_t rejected; /* connections that were dropped for what they sent */
  struct fab_uring_link *links;
  struct fab_uring_link *rx_due, *tx_due;
  uint64_t slots_free; /* bit i: entry i of the ring's table of registered buffers is free */
  struct fab_uring_device *devices;
  struct fab_uring_remote *remotes; /* [device * FAB_CHANNELS + channel] */
};

/* ---- uring.c */
/* A submission entry; submits when the queue is full. */
struct io_uring_sqe *fab_uring_sqe(struct fab_uring_endpoint *e);
/* Says whose completion it will be (NULL: the endpoint's), and counts it. Behind io_uring_prep_*. */
void fab_uring_tag(struct fab_uring_endpoint *e, struct io_uring_sqe *sqe, struct fab_uring_link *link, enum fab_uring_op op);
void fab_uring_arm(struct fab_uring_link *link);                        /* receive more, at the next flush */
void fab_uring_want_send(struct fab_uring_link *link);                  /* look at the queue of sends, at the next flush */
void fab_uring_reject(struct fab_uring_link *link, const char *why);    /* counts, reports once, closes */
void fab_uring_kill(struct fab_uring_link *link);                       /* closes once nothing is in flight */
void fab_uring_note_end(const struct fab_uring_link *link, int result); /* why it ends: the kernel's result */

/* A link over a socket, which it owns from here on, also when it fails: then NULL. */
struct fab_uring_link *fab_uring_link_new(struct fab_uring_endpoint *e, int fd);
void fab_uring_set_options(const struct fab_uring_endpoint *e, int fd);        /* of a socket */
int fab_uring_take_slot(struct fab_uring_endpoint *e, unsigned char *bounce);  /* registers it; -1: there is no place */
uint32_t fab_uring_address_of(const struct fab_uring_endpoint *e, int device); /* 0 where there are none */

/* ---- uring_connect.c */
struct fab_uring_link *fab_uring_connect(struct fab_uring_endpoint *e, int remote); /* NULL with errno set */
bool fab_uring_is_transient(const struct fab_uring_endpoint *e, int result);        /* an operation that is to be started again */
/* Completions, with the kernel's result, of: */
void fab_uring_connected(struct fab_uring_link *link, int result); /* FAB_URING_CONNECT */
void fab_uring_greeted(struct fab_uring_link *link, int result);   /* FAB_URING_GREET */
void fab_uring_heard(struct fab_uring_link *link, int result);     /* FAB_URING_HELLO */
void fab_uring_accepted(struct fab_uring_endpoint *e, int result); /* FAB_URING_ACCEPT */

/* ---- uring_stream.c */
void fab_uring_prepare_receive(struct fab_uring_link *link);
void fab_uring_received(struct fab_uring_link *link, size_t bytes);
void fab_uring_receive_lost(struct fab_uring_link *link); /* completes a half-received message */
void fab_uring_prepare_send(struct fab_uring_link *link);
void fab_uring_stage_ahead(struct fab_uring_link *link); /* copies the next chunk while the kernel sends the current one */
void fab_uring_sent(struct fab_uring_link *link, size_t bytes);
void fab_uring_fail_sends(struct fab_uring_link *link, int error);

#endif
