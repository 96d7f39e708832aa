/* What the files of the ofi fabric share: ofi.c (endpoints, completions, sleeping), ofi_choose.c (providers), ofi_message.c (messages),
 * ofi_berth.c (payloads that are written before they are announced), ofi_memory.c (windows, put, get, atomics), ofi_peer.c (proof of the key, loss
 * of peers, the end).
 *
 * Glossary
 *   number   of an endpoint: device * FAB_CHANNELS + channel
 *   peer     an endpoint, as seen from here; this one is among them
 *   token    what proves the job's key: a keyed hash of who sends to whom, in every message; the key itself never travels
 *   loan     a large payload that stays where it is: its sender registers it, the receiver fetches it and says RETURN
 *   berth    a place at a receiver where one peer may write a large payload, before it says so
 *   due      what a peer is to get as soon as there is a buffer and the provider takes it
 *   reach    the endpoint by which others' memory is accessed
 *   knock    a connection that is tried for nothing but whether anybody listens where a silent peer should
 *   failing  said of a device that is as good as lost, until the next settlement tells the layer above
 */
#ifndef FAB_OFI_H
#define FAB_OFI_H

#include "fabric/fabric.h"
#include "fabric/ofi_load.h"

#define FAB_OFI_VERSION 2u    /* of what is on the wire, and of contacts */
#define FAB_OFI_BUFFER 16384u /* the longest message on the wire: what ofi_rxm sends without a handshake of its own */
#define FAB_OFI_RECEIVES 128
#define FAB_OFI_SENDS 128
#define FAB_OFI_REFUSES 32
#define FAB_OFI_SHARE 32  /* send buffers that one peer may hold */
#define FAB_OFI_BERTHS 4  /* that one peer gets */
#define FAB_OFI_WRITES 16 /* to berths, under way at once */
/* Puts, gets and loans are moved in pieces of this size: more than the buffers of a TCP connection hold makes both ends stop and go (over
 * loopback 1 MiB at once takes four times as long, and its median jumps). */
#define FAB_OFI_PIECE ((size_t)512 << 10)

enum fab_ofi_kind {
  FAB_OFI_MESSAGE = 1, /* a header, and the payload's first bytes */
  FAB_OFI_FRAGMENT,    /* more of it */
  FAB_OFI_LOAN,        /* a header, and a struct fab_ofi_loan */
  FAB_OFI_BYE,         /* nothing comes behind this */
  FAB_OFI_FAREWELL,    /* BYE was read, and so everything before it. Up to BYE, and WRITTEN, kinds are sequenced, the others not */
  FAB_OFI_RETURN,      /* of the oldest loan */
  FAB_OFI_ATOMIC,      /* header: kind is the operation, tag the size, bytes the offset, a and b operand and expected */
  FAB_OFI_ANSWER,      /* to the ATOMIC with the same sequence. header: tag is 0 or -errno, a the old value */
  FAB_OFI_PROBE,       /* are you there? */
  FAB_OFI_ECHO,        /* yes */
  FAB_OFI_WRITTEN,     /* a header; the payload is in the berth */
  FAB_OFI_OFFER,       /* berths. header: tag is how many, bytes what one holds, a and b address and key of the first */
  FAB_OFI_FREED,       /* nothing but that berths are free again */
  FAB_OFI_KINDS
};

/* What a message begins with on the wire. */
struct fab_ofi_wire {
  uint32_t magic, kind;
  int32_t from, to; /* numbers */
  uint32_t sequence;
  uint16_t berth, freed; /* berth: of WRITTEN. freed: of the receiver's, a bit for each that it may write to again */
  uint64_t token;
  struct fab_header header;
};
_Static_assert(sizeof(struct fab_ofi_wire) == 64, "wire structure");

struct fab_ofi_loan {
  uint64_t address, key;
};
_Static_assert(sizeof(struct fab_ofi_loan) == 16, "wire structure");

#define FAB_OFI_PAYLOAD (FAB_OFI_BUFFER - sizeof(struct fab_ofi_wire)) /* of one message on the wire, at most */

enum fab_ofi_use { FAB_OFI_RECEIVE, FAB_OFI_SEND, FAB_OFI_PULL, FAB_OFI_WRITE, FAB_OFI_ACCESS, FAB_OFI_REFUSE };

/* An operation in the provider's hands; its completion finds it by its context. */
struct fab_ofi_op {
  struct fi_context2 context;
  enum fab_ofi_use use;
  int peer; /* number; of PULL, WRITE and SEND */
};

struct fab_ofi_buffer {
  struct fab_ofi_op op; /* first */
  struct fab_ofi_buffer *next;
  struct fab_ofi_wire *wire; /* FAB_OFI_BUFFER bytes begin here */
  size_t payload;            /* of what came */
};

/* Of a payload to a berth. */
struct fab_ofi_write {
  struct fab_ofi_op op; /* first */
  struct fab_ofi_write *next;
  struct fab_send *send; /* NULL: free, or given up */
  int berth, error;
  bool ended, announced; /* announced: its message has left, or never will */
};

/* A put, get or atomic of the provider. There is one at a time; one that is given up is left to the provider until close. */
struct fab_ofi_access {
  struct fab_ofi_op op; /* first */
  struct fab_ofi_access *next;
  bool done;
  int error;
};

struct fab_ofi_peer {
  bool known; /* by its contact: `address` and `memory_*` are valid */
  bool met;   /* a sequenced message went either way */
  bool ended; /* has said BYE */
  bool lost;
  fi_addr_t address;
  uint64_t memory_address, memory_key, memory_bytes;
  uint64_t token_in, token_out;
  /* to it */
  struct fab_send *queue, **queue_end;
  struct fab_send *lent, **lent_end; /* loans, in the order of their messages */
  uint32_t sequence_out;
  int in_flight;       /* send buffers */
  unsigned due, owed;  /* due: bits 1 << kind; owed: RETURNs */
  bool pull_due, busy; /* busy: it is in endpoint.busy */
  struct fab_ofi_peer *next_busy;
  struct fab_ofi_buffer *answers, **answers_end; /* receive buffers that hold ANSWERs */
  /* from it */
  uint32_t sequence_in;
  struct fab_ofi_buffer *held; /* arrived, not yet their turn; by sequence */
  bool open;                   /* in the middle of a message: what follows is valid */
  struct fab_header header;
  unsigned char *target;
  size_t room, stored, rest; /* rest: bytes still to come, or to be fetched */
  void *cookie;
  bool pulling, pull_posted; /* the open message is a loan; a read of it is in the provider's hands */
  struct fab_ofi_op pull;
  struct fab_ofi_loan loan;
  size_t pull_bytes;
  struct fid_mr *pull_mr;
  /* berths there, for what goes to it: of those that it offered the free ones, a bit each; */
  uint32_t offered, free_berths;
  uint64_t offered_address, offered_key;
  size_t offered_bytes; /* that each holds */
  int writing;          /* to it */
  /* and here, for what comes from it: which it has got, which of these are the layer's above, and which are free again and it does not know */
  uint32_t berths, adopted, freed;
  int first_berth;
  /* is it alive? */
  bool heard; /* since the last look */
  uint64_t silent_since_ns;
  int knock_fd;      /* a connection that is being tried; -1: none */
  uint64_t knock_ns; /* how long it may be silent before the next */
};

struct fab_ofi_device {
  bool failing, lost;
  bool parted;       /* all its endpoints have said BYE, before anything failed */
  uint64_t since_ns; /* failing */
};

struct fab_ofi_endpoint {
  struct fab_endpoint base;
  struct fab_config config;
  int number, numbers;
  struct fi_info *info;
  struct fid_fabric *fabric;
  struct fid_domain *domain;
  struct fid_av *av;
  struct fid_cq *cq;
  struct fid_ep *ep;
  struct fid_ep *reach; /* NULL until the first access; `ep`, or one of its own, with a queue on which nobody can sleep */
  struct fid_cq *reach_cq;
  struct fab_ofi_op refuses[FAB_OFI_REFUSES]; /* receives there of nothing: nobody has anything to say to it */
  struct fab_ofi_peer *peers;                 /* [number] */
  struct fab_ofi_device *devices;
  struct fab_ofi_peer *busy;
  bool any_failing, closing;
  /* buffers: receives, sends, and words for the operands of atomics, in one piece of memory */
  unsigned char *memory;
  struct fid_mr *memory_mr; /* when the provider wants local memory to be registered (FI_MR_LOCAL) */
  struct fab_ofi_buffer *buffers, *free, *unposted;
  int in_flight; /* send buffers */
  /* memory */
  bool register_local;   /* FI_MR_LOCAL */
  bool native_atomics;   /* the provider's; else by message to the home */
  unsigned char *window; /* this device's, or NULL */
  struct fid_mr *window_mr;
  uint64_t next_key;
  /* berths */
  unsigned char *berths;
  struct fid_mr *berths_mr;
  size_t berth_bytes;
  int berth_count, berths_given, *berth_owners; /* owners: numbers */
  struct fab_ofi_write writes[FAB_OFI_WRITES], *free_write;
  int writing;
  struct fab_ofi_access *access, *abandoned;
  int accessed; /* number of the peer whose memory is being accessed, or -1 */
  uint32_t question;
  bool answered;
  int answer_error;
  uint64_t answer;
  /* sleeping */
  int wait_fd, timer_fd, poll_fd; /* wait_fd: the provider's, or -1. poll_fd: either of the two */
  int sleepers;
  bool watched; /* wait_fd, by poll_fd: while anybody sleeps */
  unsigned calls;
  uint64_t tick_ns; /* when to look next who is silent */
  uint64_t knocks;  /* connections that were tried */
  uint64_t dropped; /* messages that were not acceptable */
};

/* ---- ofi_choose.c */
/* With these capabilities if it has them. 0, or -errno after a message. */
int fab_ofi_choose(const char *provider, const char *interface, uint64_t capabilities, struct fi_info **info);
bool fab_ofi_has_atomics(const struct fi_info *info, struct fid_domain *domain); /* all that fab_ops.atomic needs */

/* ---- ofi.c */
int fab_ofi_open_endpoint(struct fab_ofi_endpoint *e, struct fid_cq *cq, struct fid_ep **ep);
int fab_ofi_poll(struct fab_ofi_endpoint *e);       /* takes completions; how many */
int fab_ofi_poll_reach(struct fab_ofi_endpoint *e); /* the same of accesses */
int fab_ofi_progress(struct fab_endpoint *endpoint);
void fab_ofi_recycle(struct fab_ofi_endpoint *e, struct fab_ofi_buffer *buffer); /* a receive buffer is free again */

/* ---- ofi_message.c */
void fab_ofi_send(struct fab_endpoint *endpoint, int device, enum fab_channel channel, struct fab_send *send);
void fab_ofi_received(struct fab_ofi_endpoint *e, struct fab_ofi_buffer *buffer, size_t bytes);
void fab_ofi_sent(struct fab_ofi_endpoint *e, struct fab_ofi_buffer *buffer);
void fab_ofi_pulled(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, int error);
void fab_ofi_finish(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, int error); /* the open message */
void fab_ofi_want(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer);              /* something is due to it */
int fab_ofi_pump(struct fab_ofi_endpoint *e); /* sends what is due to anybody; how many things left */
bool fab_ofi_ask(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, const struct fab_header *question); /* ATOMIC; false: not now */

/* ---- ofi_berth.c: here */
bool fab_ofi_adopts(const struct fab_config *config); /* more than what rides in a message */
int fab_ofi_open_berths(struct fab_ofi_endpoint *e);  /* where the provider allows it and the layer above adopts; 0 or -errno */
void fab_ofi_close_berths(struct fab_ofi_endpoint *e);
void fab_ofi_offer(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, size_t bytes); /* it sent so much: some, if it has none */
struct fab_header fab_ofi_describe_berths(const struct fab_ofi_endpoint *e, const struct fab_ofi_peer *peer); /* of OFFER */
bool fab_ofi_is_written(const struct fab_ofi_endpoint *e, const struct fab_ofi_peer *peer,
                        const struct fab_ofi_wire *wire); /* can it be? */
void fab_ofi_adopt(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, const struct fab_ofi_wire *wire);
void fab_ofi_release(struct fab_endpoint *endpoint, void *payload);
/* there; false: what the peer says makes no sense */
bool fab_ofi_take_offer(struct fab_ofi_peer *peer, const struct fab_header *offer);
bool fab_ofi_take_freed(struct fab_ofi_peer *peer, uint32_t berths);
bool fab_ofi_can_write(const struct fab_ofi_endpoint *e, const struct fab_ofi_peer *peer, size_t bytes);
bool fab_ofi_write(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer,
                   struct fab_send *send); /* send->lent is the write; false: not now */
int fab_ofi_berth_of(const struct fab_send *send);
void fab_ofi_announced(struct fab_ofi_endpoint *e, struct fab_send *send,
                       int error); /* its message has left; or, with an error, never will */
void fab_ofi_wrote(struct fab_ofi_endpoint *e, struct fab_ofi_write *write, int error);
void fab_ofi_give_up_writes(struct fab_ofi_endpoint *e, int peer, int error);

/* ---- ofi_memory.c */
uint64_t fab_ofi_remote_address(const struct fab_ofi_endpoint *e, const void *memory, const void *beginning); /* of what is registered */
int fab_ofi_put(struct fab_endpoint *endpoint, int device, uint64_t offset, const void *local, size_t bytes);
int fab_ofi_get(struct fab_endpoint *endpoint, int device, uint64_t offset, void *local, size_t bytes);
int fab_ofi_atomic(struct fab_endpoint *endpoint, enum fab_atomic op, int device, uint64_t offset, size_t size, uint64_t operand,
                   uint64_t expected, uint64_t *old);
void fab_ofi_refuse(struct fab_ofi_endpoint *e, struct fab_ofi_op *op); /* whatever comes next to `reach` */
int fab_ofi_register(struct fab_ofi_endpoint *e, const void *memory, size_t bytes, uint64_t access, struct fid_mr **mr);
int fab_ofi_register_window(struct fab_ofi_endpoint *e);
void fab_ofi_describe_window(const struct fab_ofi_endpoint *e, struct fab_contact *contact);
/* The registration of a payload that is lent: 0 with *mr, NULL when it lies in the window; -errno: it must be copied. */
int fab_ofi_lend(struct fab_ofi_endpoint *e, const void *payload, size_t bytes, struct fid_mr **mr, struct fab_ofi_loan *loan);
void fab_ofi_serve(struct fab_ofi_endpoint *e, struct fab_header *question); /* an ATOMIC becomes its ANSWER */

/* ---- ofi_peer.c */
uint64_t fab_ofi_token(const unsigned char key[FAB_KEY_BYTES], int from, int to);
void fab_ofi_fail(struct fab_ofi_endpoint *e, int device); /* it is lost; said at the next settlement */
int fab_ofi_settle(struct fab_ofi_endpoint *e, bool now);  /* ends everything with devices that are failing; how many are lost */
void fab_ofi_said_bye(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer);
void fab_ofi_tick(struct fab_ofi_endpoint *e); /* who is silent? */
void fab_ofi_end_knock(struct fab_ofi_peer *peer);
void fab_ofi_lose(struct fab_endpoint *endpoint, int device);
void fab_ofi_leave(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer); /* says BYE behind everything else */
void fab_ofi_part(struct fab_ofi_endpoint *e); /* waits until everybody has read what was sent; before closing */

static inline int fab_ofi_number(const struct fab_ofi_endpoint *e, const struct fab_ofi_peer *peer)
{
  return (int)(peer - e->peers);
}

static inline int fab_ofi_device_of(const struct fab_ofi_endpoint *e, const struct fab_ofi_peer *peer)
{
  return fab_ofi_number(e, peer) / FAB_CHANNELS;
}

/* How much of `bytes` is moved next. */
static inline size_t fab_ofi_piece(const struct fab_ofi_endpoint *e, size_t bytes)
{
  size_t most = e->info->ep_attr->max_msg_size, piece = most < FAB_OFI_PIECE ? most : FAB_OFI_PIECE;
  return bytes < piece ? bytes : piece;
}

/* No more with it, in either direction. */
static inline bool fab_ofi_gone(const struct fab_ofi_endpoint *e, const struct fab_ofi_peer *peer)
{
  return peer->lost || e->devices[fab_ofi_device_of(e, peer)].failing;
}

#endif
