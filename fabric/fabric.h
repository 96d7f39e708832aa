/* A fabric moves bytes and messages between devices. It knows devices and links; it knows nothing of heaps, tags, coherence.
 *
 * A fabric is one constant table of operations with capability bits:
 *     MAP  memory of others is mapped into this process
 *     RMA  put, get and atomics on memory of others, by device and offset
 *     MSG  ordered, reliable messages of any size between endpoints
 * What a fabric cannot do is filled with the stubs of fabric/enosys.c, so callers never test for NULL.
 *
 * An endpoint is a device's end of a fabric. A device opens one for each channel: one for its application threads,
 * one for its copy engine, one for what devices have to say to each other whatever their programs do. Endpoints are not thread-safe: the caller serialises all calls on one endpoint, and upcalls of its
 * sink run inside those calls. Upcalls may call send and release, and no other operation.
 *
 * Endpoints over a network find each other by contacts: what `contact` says of one is brought to all others by whatever means, and given
 * to `connect`. Their RMA moves only while somebody at the home, too, calls progress or waits in an operation.
 *
 * Messages: the caller owns a struct fab_send until its status leaves FAB_PENDING. Messages from one endpoint to another arrive in
 * the order in which they were sent. The receiver's sink says, at the header, where the bytes go; they are stored straight there.
 */
#ifndef FAB_FABRIC_H
#define FAB_FABRIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fab_capability { FAB_MAP = 1, FAB_RMA = 2, FAB_MSG = 4 };
enum fab_channel { FAB_APPLICATION, FAB_ENGINE, FAB_SERVICE, FAB_CHANNELS };
enum fab_atomic { FAB_LOAD, FAB_STORE, FAB_SWAP, FAB_CAS, FAB_ADD, FAB_AND, FAB_OR, FAB_XOR };

#define FAB_PENDING 1
#define FAB_KEY_BYTES 16

/* What every message begins with; a wire structure. `kind`, `tag`, `a` and `b` belong to the layer above. */
struct fab_header {
  uint32_t kind;
  int32_t tag;
  uint64_t bytes; /* of payload behind the header */
  uint64_t a, b;
};
_Static_assert(sizeof(struct fab_header) == 32, "wire structure");

struct fab_send {
  struct fab_header header;
  const void *payload;
  bool staged; /* copy the payload through bounce buffers, as for device memory that the network cannot reach */
  int status;  /* FAB_PENDING; then 0 (the payload may be used again) or -errno; read and written under the endpoint's serialisation */
  /* the fabric's own: */
  size_t sent;
  struct fab_send *next;
  void *lent; /* ofi: the registration under which the receiver fetches the payload, or the write by which it goes */
};

/* What others need to reach an endpoint; a wire structure. Zeroed: there is no such endpoint, or its fabric needs no contacts. */
struct fab_contact {
  uint32_t version;
  uint32_t bytes;                      /* of address */
  uint64_t memory_address, memory_key; /* of its device's window */
  uint64_t memory_bytes;               /* 0: it has none */
  unsigned char address[224];
};
_Static_assert(sizeof(struct fab_contact) == 256, "wire structure");

struct fab_sink {
  void *context;
  /* A header arrived from `device`. Returns where its payload goes and in *room how many bytes of it may be stored (the rest is
   * discarded); *cookie comes back with complete. Not called to store when header->bytes is 0, but always called. */
  void *(*arrive)(void *context, int device, int channel, const struct fab_header *header, size_t *room, void **cookie);
  /* The payload is stored (error 0), or the sender was lost in the middle of it (error -EHOSTDOWN). */
  void (*complete)(void *context, int device, int channel, const struct fab_header *header, void *cookie, int error);
  /* Both at once, of a payload that is there already and need not be copied: it is the sink's until that calls release. Only for sinks that have
   * an upper bound (config.adopted_bytes); they get the two others as well. */
  void (*adopt)(void *context, int device, int channel, const struct fab_header *header, void *payload);
  /* The link to `device` is gone; every message that comes later from or goes to it fails. Called once for a device. in_order: it has closed
   * its endpoints, as far as they spoke with this one, and everything that it sent has come (only ofi can tell). */
  void (*lost)(void *context, int device, bool in_order);
  /* Is `device` known to be lost by other means? Asked while put, get or atomic waits inside; NULL: nobody can tell. */
  bool (*is_lost)(void *context, int device);
};

struct fab_sim;

struct fab_config {
  int device, devices;
  enum fab_channel channel;
  struct fab_sink sink;
  /* MAP and RMA: windows of the devices [first, first + count), side by side from `windows`, `window_bytes` each */
  unsigned char *windows;
  size_t window_bytes;
  int first, count;
  /* shm: the rings of those devices, fab_shm_bytes(count) of zeroed shared memory, and eventfds (or NULL: futexes), one a device,
   * that wake a sleeping receiver */
  void *rings;
  const int *wake_fds;
  /* uring: this endpoint's listening socket, the port of every endpoint at [device * FAB_CHANNELS + channel], the job's key */
  int listen_fd;
  const uint16_t *ports;
  const uint32_t
      *addresses; /* IPv4, in network order, of every device; 0, or all of it NULL: the loopback. Devices of a host lie together */
  unsigned char key[FAB_KEY_BYTES];
  /* ofi: the job's key, as above, and: libfabric's name of a provider (NULL: the best that is offered); the interface, by its name or
   * one of its addresses (NULL: loopback, "any": as the provider likes); how long a device that owes something may be silent before it
   * is lost (0: 20 s), or, if it is watched, any device whose endpoint of this channel is known. The texts are read by open only.
   * uring, between hosts: how long a host may be silent on a connection, and, if it is watched, any other host */
  const char *provider, *interface;
  uint64_t silence_ns;
  bool watch;
  size_t adopted_bytes; /* ofi: of a payload that the sink adopts, at most; 0: none */
  /* sim: the network (fabric/sim.h) */
  struct fab_sim *sim;
};

struct fab_endpoint; /* each fabric's own; begins with `const struct fab_ops *ops` */

struct fab_ops {
  const char *name;
  unsigned capabilities;
  int (*open)(const struct fab_config *config, struct fab_endpoint **endpoint);
  void (*close)(struct fab_endpoint *endpoint);
  /* Own contact; and those of all endpoints, at [device * FAB_CHANNELS + channel], from anywhere trusted. connect may be called again when
   * more are known; what was sent to an endpoint before it was known waits. -EINVAL for a contact that is malformed. */
  int (*contact)(struct fab_endpoint *endpoint, struct fab_contact *contact);
  int (*connect)(struct fab_endpoint *endpoint, const struct fab_contact *contacts);

  /* RMA. Offsets are from the beginning of the device's window, and are checked by the caller. */
  int (*put)(struct fab_endpoint *endpoint, int device, uint64_t offset, const void *local, size_t bytes);
  int (*get)(struct fab_endpoint *endpoint, int device, uint64_t offset, void *local, size_t bytes);
  /* `size` is 1, 2, 4 or 8 for load and store, 4 or 8 otherwise; `old` may be NULL for a store. Atomic also with what the home's own processor
   * does by its atomic instructions. */
  int (*atomic)(struct fab_endpoint *endpoint, enum fab_atomic op, int device, uint64_t offset, size_t size, uint64_t operand,
                uint64_t expected, uint64_t *old);

  /* MSG. send never blocks: what cannot leave now is queued, and leaves in later calls of progress. */
  void (*send)(struct fab_endpoint *endpoint, int device, enum fab_channel channel, struct fab_send *send);
  /* Moves whatever can be moved without waiting; returns how many things happened (0: nothing to do now). */
  int (*progress)(struct fab_endpoint *endpoint);
  /* Sleeping: after sleep_begin every arrival makes sleep return or the descriptor readable, until sleep_end. Call progress
   * once between sleep_begin and sleep, or an arrival of just before may be missed. sleep is the one call
   * that may run without the caller's serialisation. */
  void (*sleep_begin)(struct fab_endpoint *endpoint);
  void (*sleep)(struct fab_endpoint *endpoint, long timeout_ns);
  void (*sleep_end)(struct fab_endpoint *endpoint);
  int (*descriptor)(struct fab_endpoint *endpoint); /* readable when awake is due; -1: only sleep() can tell */
  /* The caller knows that `device` is dead (shared memory cannot tell). In this call or later calls of progress: what arrived from it
   * before is delivered, what is half received is completed with -EHOSTDOWN, queued sends to it fail with -EHOSTDOWN, sink.lost is
   * called if it was not yet. New sends to it fail at once. */
  void (*lose)(struct fab_endpoint *endpoint, int device);
  void (*release)(struct fab_endpoint *endpoint, void *payload); /* that was adopted; until the endpoint closes, which ends it as well */
};

struct fab_endpoint {
  const struct fab_ops *ops;
};

extern const struct fab_ops fab_shm;   /* shm.c: one host, shared memory: MAP, RMA, MSG */
extern const struct fab_ops fab_uring; /* uring.c: TCP sockets by io_uring: MSG */
extern const struct fab_ops fab_ofi;   /* ofi.c: libfabric, several hosts: RMA, MSG */
extern const struct fab_ops fab_sim;   /* sim.c: one process, virtual time, a seeded adversary: MAP, RMA, MSG; no hardware */

/* Has the index-th device neither sent nor received anything yet? Only then another endpoint may open its rings. */
bool fab_shm_is_unused(const void *rings, int count, int index);
size_t fab_shm_bytes(int devices);       /* size of fab_config.rings (a hole-y file: only what is used costs memory) */
const struct fab_ops *fab_at(int index); /* fabric.c: all fabrics, in order; NULL behind the last */
int fab_uring_available(void);           /* 0, or the -errno with which the kernel refuses io_uring */

/* ofi_choose.c: the providers of libfabric that have an endpoint on `interface` (as in fab_config) and could carry this fabric, in
 * libfabric's order. Returns how many there are, at most `room`, or -errno. Slow: a third of a second for the first call. */
struct fab_ofi_provider {
  char name[48], domain[48];
  bool chosen;      /* by a fab_config without a provider */
  bool fit;         /* could be chosen; false: only when named */
  char remark[160]; /* why it was or was not chosen, and what it lacks */
};
int fab_ofi_providers(const char *interface, struct fab_ofi_provider *providers, int room);
const char *fab_ofi_version(void); /* of libfabric, "1.17" or "not usable" */

/* enosys.c: shared stubs */
int fab_no_contact(struct fab_endpoint *endpoint, struct fab_contact *contact);
int fab_no_connect(struct fab_endpoint *endpoint, const struct fab_contact *contacts);
void fab_no_release(struct fab_endpoint *endpoint, void *payload);
int fab_enosys_put(struct fab_endpoint *endpoint, int device, uint64_t offset, const void *local, size_t bytes);
int fab_enosys_get(struct fab_endpoint *endpoint, int device, uint64_t offset, void *local, size_t bytes);
int fab_enosys_atomic(struct fab_endpoint *endpoint, enum fab_atomic op, int device, uint64_t offset, size_t size, uint64_t operand,
                      uint64_t expected, uint64_t *old);

/* atomic.c: one atomic operation on mapped memory: what shm does, and what a home does for others. Sizes as for fab_ops.atomic. */
uint64_t fab_atomic_apply(enum fab_atomic op, void *pointer, size_t size, uint64_t operand, uint64_t expected);

#endif
