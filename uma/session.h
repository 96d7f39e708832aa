/* What a session consists of, in memory: start here to read the uma/ layer.
 *
 * Glossary
 *   board     One shared memory file a host: the session's shape, and one member record a device. Written by the launcher before the devices
 *             start; afterwards members change as devices of this host join and leave, and any are lost. Bookkeeping only, no data passes
 *             through it.
 *   group     The devices of one domain on one host: they share memory. Groups are blocks of devices, as domains and hosts are.
 *   segment   One shared memory file a group, with everything that its devices share besides their windows: barriers,
 *             locks, heaps, collective slots, message rings. Its layout follows from the shape alone (struct uma_layout).
 *   windows   One shared memory file a group: its devices' windows, side by side. All three are unnamed memfds that devices inherit.
 *   keeper    The process between `uma run` (or the caller of uma_spawn) and the devices: starts them, watches them, ends them (launch.c).
 *   channel   Application threads and the copy engine are two parties within a device, each with endpoints, mailbox, barrier of its own.
 *
 * Address of byte `offset` of device d's window: shape.base + d * shape.memory + offset, in every process.
 */
#ifndef UMA_SESSION_H
#define UMA_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fabric/fabric.h"
#include "fabric/futex.h"
#include "uma.h"
#include "uma/mutex.h"

struct uma_heap;
struct uma_mailbox;
struct uma_collective_area;
struct coh_engine;
struct uma_wire;
struct uma_clock;

/* The shape of a session: everything that all devices must agree on. */
struct uma_shape {
  int devices, hosts, servers, domains, groups;
  uintptr_t base;                         /* first address of device 0's window */
  size_t memory;                          /* bytes of a window, a multiple of the huge page size when those are on, else of 4 KiB */
  int hugepages, numa, on_failure, stats; /* as in struct uma_config, as are these: */
  int coherence, ways, sharers, prefetch, faults;
  size_t line, cache, frames; /* line: of pages the page */
  char protocol[256];
  int fabric;                       /* what crosses domains: UMA_FABRIC_* */
  char provider[64], interface[64]; /* of libfabric; empty: as it likes, the loopback */
  uint64_t silence_ns;
  bool traced;
  char profile[256];     /* of the modelled machine; empty: none */
  size_t clock_bytes;    /* of its clocks (clock.h); 0: none */
  uint64_t clock_digest; /* of the machine */
  bool create;           /* only device 0 is started; fork.c */
  bool oversubscribed;   /* more devices than processors */
};

static inline int uma_shape_server(const struct uma_shape *shape, int device)
{
  return (int)((long)device * shape->servers / shape->devices);
}

/* Devices of `part` when `devices` are split into `parts` equal blocks as uma_shape_server does: the first one. */
static inline int uma_shape_first(const struct uma_shape *shape, int part, int parts)
{
  return (int)(((long)part * shape->devices + parts - 1) / parts);
}

/* With several domains each is one server, which lies on one host; so domains or hosts decide who shares memory, whichever there are more of. */
static inline int uma_shape_domain(const struct uma_shape *shape, int device)
{
  return (int)((long)device * shape->domains / shape->devices);
}

static inline int uma_shape_host(const struct uma_shape *shape, int device)
{
  return (int)((long)device * shape->hosts / shape->devices);
}

static inline int uma_shape_group(const struct uma_shape *shape, int device)
{
  return (int)((long)device * shape->groups / shape->devices);
}

enum uma_member_state {
  UMA_MEMBER_NEW,    /* started */
  UMA_MEMBER_JOINED, /* inside uma_init .. uma_finalize */
  UMA_MEMBER_LEFT,   /* after uma_finalize */
  UMA_MEMBER_ABSENT, /* its process ended well without ever joining; the launcher writes it */
  UMA_MEMBER_FORKED, /* fork.c: another device has begun to create it; follows NEW or FREE */
  UMA_MEMBER_ENDED,  /* fork.c: it had left, and its process is gone; the launcher writes it */
  UMA_MEMBER_FREE,   /* fork.c: and another device has waited for that */
};

struct uma_member {
  _Alignas(FAB_CACHE_LINE) _Atomic uint32_t state; /* enum uma_member_state; the device writes it */
  _Atomic uint32_t lost;                           /* the launcher writes it once the process is gone; never taken back */
  _Atomic int32_t pid;                             /* of the process that joined; fork.c: 0 once it is gone */
};

#define UMA_BOARD_MAGIC 0x31414d55424c4942u
struct uma_board {
  uint64_t magic;
  struct uma_shape shape;
  unsigned char key[FAB_KEY_BYTES];
  _Atomic uint32_t lost_count;                    /* how many members are lost: one look tells that none is */
  _Atomic uint32_t joined_count, absent_count;    /* how many ever joined; how many ended without */
  struct fab_bell ends;                           /* fork.c: rung when a device's process is gone */
  uint16_t ports[UMA_MAX_DEVICES * FAB_CHANNELS]; /* of the uring endpoints; 0 where there are none */
  uint32_t addresses[UMA_MAX_DEVICES];            /* their IPv4 addresses; 0: the loopback */
  struct uma_member members[UMA_MAX_DEVICES];
};

#define UMA_LOCKS 65536 /* a device */
struct uma_lock_slot {
  _Alignas(FAB_CACHE_LINE) struct uma_mutex mutex;
  _Atomic uint32_t created;  /* 0 free, 1 in use */
  _Atomic uint64_t released; /* on the modelled clock, the last time */
};

#define UMA_BARRIERS 4096 /* a device */
struct uma_barrier_slot {
  _Alignas(FAB_CACHE_LINE) _Atomic uint32_t arrived; /* to the round under way */
  _Atomic uint32_t created;                          /* 0 free, 1 in use */
  _Alignas(FAB_CACHE_LINE) _Atomic uint32_t round;   /* how many have been held */
  struct fab_bell bell;
  _Atomic uint64_t latest[2]; /* on the modelled clock: who came last to rounds of even and of odd number */
};
_Static_assert(sizeof(struct uma_barrier_slot) == 2 * FAB_CACHE_LINE, "shared structure");

/* Byte offsets into a segment; each area belongs to the file that is named. Areas of a device are `count` in a row. */
struct uma_layout {
  size_t bells;    /* sync.c: struct fab_bell, a cache line each, [count]: rung by uma_signal, for uma_wait_until */
  size_t locks;    /* sync.c: struct uma_lock_slot [count][UMA_LOCKS] */
  size_t barriers; /* barrier.c: struct uma_barrier_slot [count][UMA_BARRIERS] */
  size_t heaps;    /* heap.c: uma_heap_bytes(memory) each, rounded up to pages, [count] */
  size_t heap_stride;
  size_t collectives; /* meeting.c: uma_collective_bytes(count) */
  size_t collapsed;   /* memory.c: a bit for each huge page of a window that is one already, [count] */
  size_t collapsed_stride;
  size_t rings;     /* fabric/shm.c: fab_shm_bytes(count) */
  size_t coherence; /* coherent.c: uma_coherent_bytes, nothing in mode none */
  size_t signals;   /* clock_charge.c: with a modelled clock, a time for each word of the windows, [count] windows; else nothing */
  size_t bytes;     /* of the whole segment */
};
enum { UMA_MAILBOXES = FAB_ENGINE + 1 }; /* channels that have one: application and copy engine */
void uma_layout_compute(const struct uma_shape *shape, int first, int count, struct uma_layout *layout);

/* This process's view of its session. Written by uma_init and uma_finalize only; read by everybody without a lock. */
struct uma_session {
  bool joined;
  bool rehearses; /* private memory is in the place of the windows: uma_rehearse */
  int device, domain, group;
  int first, count;               /* the devices of this group: [first, first + count) */
  int domain_first, domain_count; /* those of this domain */
  struct uma_shape shape;         /* a copy of the board's */
  struct uma_layout layout;
  struct uma_board *board;
  unsigned char *segment;      /* mapped wherever the kernel chose */
  struct coh_engine *engine;   /* NULL in mode none */
  struct uma_wire *wire;       /* of a domain on several hosts: how the engine reaches them; else NULL */
  struct uma_wire *clock_wire; /* with several hosts and a modelled clock: how other hosts are asked; `wire` where there is one */
  struct coh_engine *lines;    /* the same when it caches lines, which plain accesses do not reach; else NULL */
  struct coh_engine *hits;     /* the same again, unless each hit is charged to a modelled clock */
  struct uma_clock *clock;     /* clock.h; NULL without a profile */
  unsigned char *memory;       /* the group's windows where this library may touch them: an alias, or the windows themselves */
  int lifeline_fd;             /* its hang-up is the death of the keeper, and ends this process */
  struct uma_mailbox *mailbox[UMA_MAILBOXES]; /* [FAB_ENGINE] is NULL when there is one group */
};
extern struct uma_session uma_self __attribute__((visibility("hidden"))); /* not exported: found without a detour */

/* Descriptors that a device inherits; -1 where there is none. */
struct uma_inheritance {
  int device, board_fd, segment_fd, windows_fd, frames_fd, spool_fd, lifeline_fd;
  int lend_fd;     /* of cached pages: where this device's userfaultfd goes; it is read from borrow_fds */
  int exchange_fd; /* where there are endpoints of fab_ofi: how contacts are exchanged (exchange.h) */
  int listen_fd[UMA_MAILBOXES];
  const int *wake_fds;       /* [count], only with several groups */
  const int *borrow_fds;     /* [count], only with cached pages */
  const int *lend_fds;       /* [count], only with cached pages where devices create each other: what lend_fd is to each of them */
  const int *lists;          /* both, one after the other, as they came out of the environment */
  const struct fab_ops *net; /* the fabric between groups and hosts; NULL: the one that suits */
};

/* ---- session.c: joining and leaving */
int uma_session_join(struct uma_inheritance *inheritance);
/* Of these: uma_self as a device sees the session, its memory, its caches; and nothing of that any more. Without messages and threads. */
int uma_session_attach(struct uma_inheritance *inheritance);
void uma_session_detach(void);
/* Has the kernel end this process when the lifeline hangs up. 0 or -errno. */
int uma_session_arm(int lifeline_fd);
/* Creates the memory of one group's segment and windows (first device `first`); descriptors are close-on-exec. 0 or -errno. */
int uma_segment_create(const struct uma_shape *shape, int first, int count, int *segment_fd, int *windows_fd);
int uma_board_create(const struct uma_shape *shape, struct uma_board **board, int *fd);

/* ---- space.c: the range of addresses, and illegal accesses to it */
int uma_space_reserve(const struct uma_shape *shape);
/* Into the reserved range, or, when they are cached, elsewhere: there they stay without rights. Sets uma_self.memory. */
int uma_space_map(const struct uma_shape *shape, int first, int count, int windows_fd);
void uma_space_release(const struct uma_shape *shape);
void uma_space_settle(void); /* this device's window, and its process, on the NUMA node that is theirs */

static inline unsigned char *uma_window_of(int device)
{
  return (unsigned char *)uma_self.shape.base + (size_t)device * uma_self.shape.memory;
}
static inline bool uma_shape_is_cached(const struct uma_shape *shape) /* accesses go through caches (coherent.h) */
{
  return shape->coherence != UMA_COHERENCE_NONE;
}
/* Groups are joined by fab_ofi; else, where there are several, by fab_uring. */
static inline bool uma_shape_is_by_ofi(const struct uma_shape *shape)
{
  return shape->groups > shape->domains || (shape->domains > 1 && shape->fabric == UMA_FABRIC_OFI);
}
/* Other hosts are asked about modelled times, by fab_ofi. */
static inline bool uma_shape_has_far_clocks(const struct uma_shape *shape)
{
  return shape->hosts > 1 && shape->clock_bytes;
}
/* There are endpoints of fab_ofi that must be told of each other. */
static inline bool uma_shape_has_contacts(const struct uma_shape *shape)
{
  return uma_shape_is_by_ofi(shape) || uma_shape_has_far_clocks(shape);
}
/* Windows of other domains are read and written by the network; else their homes are asked. */
static inline bool uma_shape_has_rma(const struct uma_shape *shape)
{
  return shape->domains > 1 && shape->fabric == UMA_FABRIC_OFI && !uma_shape_is_cached(shape);
}
static inline bool uma_is_local(int device) /* in this group: it shares memory with this device */
{
  return (unsigned)(device - uma_self.first) < (unsigned)uma_self.count;
}
static inline bool uma_is_near(int device) /* in this domain: loads and stores, or the accessors, reach it */
{
  return (unsigned)(device - uma_self.domain_first) < (unsigned)uma_self.domain_count;
}
/* Whether [pointer, + bytes) lies in windows of this domain, of any domain; first device in *home when that is not NULL. */
bool uma_range_is_near(const void *pointer, size_t bytes);
bool uma_range_in_windows(const void *pointer, size_t bytes, int *home);
bool uma_any_lost(void); /* any device at all */
void uma_board_lose(struct uma_board *board, int device);
/* Which devices somebody who keeps this, zeroed at first, was told to be lost. The next one that it was not; -1: none. */
struct uma_losses {
  uint32_t count;
  bool told[UMA_MAX_DEVICES];
};
int uma_next_lost(struct uma_losses *losses);
bool uma_is_lost(int device);
struct uma_heap *uma_heap_of(int device); /* a local device's */
void *uma_segment_at(size_t offset);

/* Records a sentence for uma_last_error and returns `error`. */
int uma_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
