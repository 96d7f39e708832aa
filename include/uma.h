/* libuma: processes as the devices of a supernode, their memories in one address space.
 *
 * A session has uma_device_count() devices; each is one process with one window of device memory. Windows lie side by
 * side in one range of addresses that is the same in every process, so a pointer into any window is valid, and means
 * the same byte, on every device of the same coherence domain. Memory of another domain is reached by uma_copy, uma_get,
 * uma_put, the atomics and messages only; a plain access to it ends the process with a message. With --coherence line no window is
 * reached by plain accesses: use uma_ld, uma_st, the atomics, copies and messages, which go through coherent caches of lines.
 *
 * Conventions, for all that follows:
 *   - Functions return 0 or a positive result, or a negative errno. Allocation returns a pointer, or NULL with errno set.
 *     uma_strerror() explains a code; uma_last_error() tells what exactly was wrong in the calling thread's last failure.
 *   - Sizes are bytes unless a parameter is called `count`.
 *   - Every function may be called by any thread of any device at any time after uma_init, unless its comment says
 *     otherwise. Collective functions are called by all devices, in the same order, by one thread of each at a time.
 *   - Functions that wait spin briefly, then yield, then sleep. They return -EHOSTDOWN when what they wait for can no
 *     longer come because a device was lost (only seen with --on-failure continue; otherwise the session ends).
 */
#ifndef UMA_H
#define UMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "uma/settings.h"

#ifdef __cplusplus
extern "C" {
#endif

#define UMA_MAX_DEVICES 1024

/* ---- Session ------------------------------------------------------------------------------------------------- */

#define UMA_FIELD_COUNT int
#define UMA_FIELD_SIZE size_t
#define UMA_FIELD_SECONDS double
#define UMA_FIELD_ADDRESS uintptr_t
#define UMA_FIELD_CHOICE int
#define UMA_FIELD_SWITCH int
#define UMA_FIELD_TEXT const char *
#define UMA_FIELD_(KIND, field, flag, value, values, help) UMA_FIELD_##KIND field;

/* All settings of uma/settings.h. A zeroed struct leaves everything to the environment and the defaults. */
struct uma_config {
  UMA_SETTINGS(UMA_FIELD_)
};

/* Values of the CHOICE fields, in the order of the table's words. */
enum { UMA_MODE_SUPERNODE = 1, UMA_MODE_STACKED };
enum { UMA_FABRIC_URING = 1, UMA_FABRIC_OFI };
enum { UMA_COHERENCE_NONE = 1, UMA_COHERENCE_LINE, UMA_COHERENCE_PAGE };
enum { UMA_FAULTS_AUTO = 1, UMA_FAULTS_SIGNAL, UMA_FAULTS_THREAD };
enum { UMA_SHARERS_FULL = 1, UMA_SHARERS_LIMITED, UMA_SHARERS_COARSE };
enum { UMA_HUGEPAGES_NEVER = 1, UMA_HUGEPAGES_ALWAYS };
enum { UMA_NUMA_AUTO = 1, UMA_NUMA_NONE, UMA_NUMA_INTERLEAVE };
enum { UMA_ON_FAILURE_END = 1, UMA_ON_FAILURE_CONTINUE };
enum { UMA_OFF = 1, UMA_ON };

/* Joins the session that `uma run`, uma_spawn or a PMIx launcher (mpirun, srun) started this process for; without any, starts a session of one
 * device. `config` is used for a session of one device, and under a PMIx launcher that of device 0 (elsewhere the launcher has decided); NULL is all defaults.
 * Errors: -EINVAL a bad setting; -EEXIST something is mapped where the windows must go (uma_last_error names it, UMA_BASE
 * is the way out); -EALREADY called twice; -ENOMEM. One thread, once. */
int uma_init(const struct uma_config *config);

/* Collective: waits until all devices came here (once one was lost, for nobody; with --create, for nobody), then leaves the session. Windows are unmapped. */
int uma_finalize(void);

/* Runs function(argument) as every device of a new session of `devices` processes (forked from the caller) and waits for all.
 * The session is joined before the function is called, and left after it returns. Returns 0 when all returned 0; otherwise
 * the exit status of the first device that failed (1 to 255, 128 + the signal's number for a signal), or -errno when the session
 * could not start. The caller itself is not a device. `config` as for `uma run`; NULL is all defaults. */
int uma_spawn(const struct uma_config *config, int devices, int (*function)(void *argument), void *argument);

/* Starts another device as a copy of this one, as fork(2) does, in a session that began with device 0 alone (`uma run --create`,
 * config.create). Returns 0 in the new device and its number in the caller: the lowest that does not exist yet, or that uma_wait_device has
 * waited for. The new device has its own place in the session, an empty standard input, and this process's memory as it was; what
 * stdio has buffered is copied too, so flush first. Locks that the caller holds stay the caller's. Barriers and collectives of the whole
 * session wait until all uma_device_count() devices exist; uma_finalize waits for nobody in such a session.
 * Errors: -EINVAL the session was not started for it; -ENOSPC all devices exist; -EBUSY this process has other threads (streams make one),
 * which a copy would lack; -EAGAIN or -ENOMEM from fork(2). Any device, but one thread. */
int uma_fork(void);
bool uma_can_fork(void); /* whether the session was started for it */

/* Waits until a device that uma_fork started has left the session and its process has ended; its number is free again then.
 * Errors: -ECHILD no such device; -EDEADLK this device; -EHOSTDOWN it was lost. */
int uma_wait_device(int device);

/* For programs that begin as one process, where all devices exist from the beginning: each repeats what device 0 does, up to the point from which
 * it is needed, and changes nothing by it. From uma_rehearse(true) to uma_rehearse(false) this process has private memory, all zero at first, in
 * the place of all windows of its domain, and what it stores there is forgotten. Meanwhile only loads, stores, uma_get and uma_put use windows.
 * Errors: -EOPNOTSUPP not with --coherence page; -EALREADY it does, or does not, rehearse; those of uma_flush. One thread, without streams. */
int uma_rehearse(bool on);

const char *uma_strerror(int error); /* explains a return value; any sign, never NULL */
const char *uma_last_error(void);    /* one sentence on the calling thread's last failure in this library, "" when none */

/* ---- Who and where ------------------------------------------------------------------------------------------- */

enum uma_path {
  UMA_PATH_SELF = 1, /* this device's own memory */
  UMA_PATH_MAP,      /* mapped: reached by this processor's own load and store */
  UMA_PATH_RMA,      /* reached over a network: in this domain through caches, in others by uma_get, uma_put, atomics (--fabric ofi) */
  UMA_PATH_MSG,      /* another coherence domain: reached by messages only */
};

int uma_device(void);       /* this device, 0 .. uma_device_count() - 1; -EINVAL outside of a session */
int uma_device_count(void); /* -EINVAL outside of a session */
int uma_server_count(void);
int uma_domain_count(void);
int uma_server(int device);         /* which server it sits in; -EINVAL for no device */
int uma_domain(int device);         /* which coherence domain; -EINVAL for no device */
enum uma_path uma_path(int device); /* how this device reaches it; 0 for no device */
bool uma_reachable(int device);     /* by plain load and store? */
bool uma_alive(int device);         /* false once it was lost */

int uma_home(const void *pointer);           /* the device whose window holds it, or -EFAULT */
void *uma_window(int device, size_t *bytes); /* where its window begins, and its size unless NULL; NULL for no device */

/* ---- Device memory ------------------------------------------------------------------------------------------- */

/* Blocks of at least `bytes`, aligned to 16 unless said otherwise, not initialised unless said otherwise. Any device may
 * allocate in and free from every window that it reaches by load and store. NULL with errno: ENOMEM the window is full,
 * EINVAL no such device, size 0 or an alignment that is no power of two, EREMOTE a window of another domain. */
void *uma_malloc(size_t bytes);
void *uma_malloc_on(int device, size_t bytes);
void *uma_calloc_on(int device, size_t count, size_t size); /* zeroed */
void *uma_memalign_on(int device, size_t alignment, size_t bytes);

/* Collective. A block at the same offset in every window; returns this device's, NULL with errno on all devices if any
 * window lacks the room. All devices pass the same size. Freed by a collective uma_free_symmetric. */
void *uma_alloc_symmetric(size_t bytes);
void *uma_symmetric(const void *pointer, int device); /* the same offset in another window, NULL for no window or device */
int uma_free_symmetric(void *pointer);

/* 0, also for NULL. -EFAULT in no window, -EINVAL not the beginning of a block, -EALREADY freed before, -EREMOTE in another
 * domain. Nothing changes on an error. */
int uma_free(void *pointer);

/* Who looks at a trace wants to know where a block was allocated: the calls leave their place in the source behind. */
extern __thread const char *uma_site_;
static inline size_t uma_from_(size_t argument, const char *site)
{
  uma_site_ = site;
  return argument;
}
#define UMA_TEXT_(x) #x
#define UMA_LINE_(line) UMA_TEXT_(line)
#define UMA_FROM_(argument) uma_from_(argument, __FILE__ ":" UMA_LINE_(__LINE__))
#define uma_malloc(bytes) uma_malloc(UMA_FROM_(bytes))
#define uma_malloc_on(device, bytes) uma_malloc_on(device, UMA_FROM_(bytes))
#define uma_calloc_on(device, count, size) uma_calloc_on(device, count, UMA_FROM_(size))
#define uma_memalign_on(device, alignment, bytes) uma_memalign_on(device, alignment, UMA_FROM_(bytes))
#define uma_alloc_symmetric(bytes) uma_alloc_symmetric(UMA_FROM_(bytes))

struct uma_usage {
  size_t capacity;     /* bytes of the window */
  size_t used;         /* bytes in allocated blocks, rounded up as they are stored */
  size_t peak;         /* the most that `used` ever was */
  size_t largest_free; /* bytes of the largest free run of pages */
  size_t blocks;       /* allocated blocks */
};
int uma_usage(int device, struct uma_usage *usage);

/* ---- Coherent caches (--coherence line, page) ----------------------------------------------------------------- */

/* Gives up all that this device's cache holds: what was stored is in the windows then, and the next accesses miss. uma_finalize does it
 * too. Nothing to do in mode none. -EHOSTDOWN: a line was lost together with the device that worked on it; all others were given up. */
int uma_flush(void);

/* Makes a range of windows present in this device's cache, for reading or for writing as well; of pages that is what system calls need, which
 * return EFAULT for memory that is absent (--coherence page, --faults signal). Returns how many bytes from the beginning are there, which
 * can be fewer; others may take any of them away again at any time. In mode none, and on private memory, all bytes are there.
 * -EFAULT the range leaves the windows, -EINVAL no such access, -EHOSTDOWN the first byte is lost. */
enum uma_access { UMA_READ = 1, UMA_WRITE };
ptrdiff_t uma_prefetch(const void *pointer, size_t bytes, enum uma_access access);

/* What a device's cache and home did since the session began. Accesses are of the program, each within one line; messages and bytes
 * (24 a message, and the line where it is carried) are counted where they are sent. */
struct uma_counters {
  uint64_t loads, stores, hits;
  uint64_t misses_cold, misses_capacity, misses_conflict; /* never had; even a fully associative cache would miss; it would not */
  uint64_t misses_true_sharing, misses_false_sharing;     /* lost to another's store: of these bytes since, or of others */
  uint64_t upgrades, evictions;                           /* stores to a line held for reading; lines given up for others */
  uint64_t invalidations_sent, invalidations_received, writebacks;
  uint64_t requests, forwards, responses; /* messages by class */
  uint64_t request_bytes, forward_bytes, response_bytes;
  uint64_t prefetches; /* pages that came along with one that was read in order */
  uint64_t hops;       /* messages that went to another device */
};
/* -EINVAL: no such device; -EREMOTE: in another domain; -ENODATA: only sessions with --coherence line and --stats or --trace count. */
int uma_counters(int device, struct uma_counters *counters);

/* ---- Loads, stores and atomics ------------------------------------------------------------------------------- */

/* Type-generic and coherent in every access mode, on pointers into any window of any domain and on private memory:
 *     uma_ld(p)  uma_st(p, v)                       any scalar
 *     uma_swap(p, v)  uma_cas(p, expected, v)       4 and 8 bytes; both return the old value, cas stored if it was `expected`
 *     uma_fetch_add|and|or|xor(p, v)                32 and 64 bit integers; return the old value
 * Loads acquire, stores release, the rest is sequentially consistent. Where memory is reached by messages or by RMA they are atomic with
 * those of its home as well, and if that is lost the process ends with a message, as for an illegal plain access. */

enum uma_atomic {
  UMA_ATOMIC_LOAD,
  UMA_ATOMIC_STORE,
  UMA_ATOMIC_SWAP,
  UMA_ATOMIC_CAS,
  UMA_ATOMIC_ADD,
  UMA_ATOMIC_AND,
  UMA_ATOMIC_OR,
  UMA_ATOMIC_XOR,
};

/* The access mode `line` gives sequential consistency: all of these appear to happen one after the other, in the order in which each
 * thread called them. The mode `none` has the processor's memory model; README.md, "Which memory model". */

/* What the inlines of this header look at. Addresses in [indirect_base, + indirect_bytes) take the slow path; a range inside
 * [direct_base, + direct_bytes) is window memory that plain loads and stores reach. Written by uma_init only. */
struct uma_fast_ {
  uintptr_t indirect_base;
  uintptr_t indirect_bytes;
  uintptr_t direct_base;
  uintptr_t direct_bytes;
};
extern struct uma_fast_ uma_fast_;
/* Values travel as their lowest `size` bytes, 1, 2, 4 or 8. */
uint64_t uma_load_slow_(const void *pointer, size_t size);
void uma_store_slow_(void *pointer, size_t size, uint64_t value);
uint64_t uma_atomic_slow_(enum uma_atomic op, void *pointer, size_t size, uint64_t operand, uint64_t expected); /* the old value */
int uma_get_slow_(void *local, const void *global, size_t bytes);
int uma_put_slow_(void *global, const void *local, size_t bytes);

static inline bool uma_indirect_(const volatile void *pointer)
{
  return __builtin_expect((uintptr_t)pointer - uma_fast_.indirect_base < uma_fast_.indirect_bytes, 0);
}

/* clang-format off */
#define UMA_VALUE_(p) __typeof__(((void)0, *(p))) /* the pointed-to type without its qualifiers */
#define UMA_BITS_(value) __extension__({ \
  uint64_t uma_bits_ = 0; \
  _Static_assert(sizeof(value) <= sizeof uma_bits_, "scalars of 1, 2, 4 or 8 bytes only"); \
  memcpy(&uma_bits_, &(value), sizeof(value)); \
  uma_bits_; })

#define uma_ld(p) __extension__({ \
  UMA_VALUE_(p) uma_ld_value_; \
  __typeof__(p) uma_ld_pointer_ = (p); \
  if (uma_indirect_(uma_ld_pointer_)) { \
    uint64_t uma_ld_bits_ = uma_load_slow_((const void *)uma_ld_pointer_, sizeof uma_ld_value_); \
    memcpy(&uma_ld_value_, &uma_ld_bits_, sizeof uma_ld_value_); \
  } else __atomic_load(uma_ld_pointer_, &uma_ld_value_, __ATOMIC_ACQUIRE); \
  uma_ld_value_; })

#define uma_st(p, v) __extension__({ \
  __typeof__(p) uma_st_pointer_ = (p); \
  UMA_VALUE_(p) uma_st_value_ = (v); \
  if (uma_indirect_(uma_st_pointer_)) uma_store_slow_((void *)uma_st_pointer_, sizeof uma_st_value_, UMA_BITS_(uma_st_value_)); \
  else __atomic_store(uma_st_pointer_, &uma_st_value_, __ATOMIC_RELEASE); \
  (void)0; })

#define uma_swap(p, v) __extension__({ \
  __typeof__(p) uma_swap_pointer_ = (p); \
  UMA_VALUE_(p) uma_swap_value_ = (v), uma_swap_old_; \
  if (uma_indirect_(uma_swap_pointer_)) { \
    uint64_t uma_swap_bits_ = uma_atomic_slow_(UMA_ATOMIC_SWAP, (void *)uma_swap_pointer_, sizeof uma_swap_value_, UMA_BITS_(uma_swap_value_), 0); \
    memcpy(&uma_swap_old_, &uma_swap_bits_, sizeof uma_swap_old_); \
  } else __atomic_exchange(uma_swap_pointer_, &uma_swap_value_, &uma_swap_old_, __ATOMIC_SEQ_CST); \
  uma_swap_old_; })

#define uma_cas(p, expected, v) __extension__({ \
  __typeof__(p) uma_cas_pointer_ = (p); \
  UMA_VALUE_(p) uma_cas_value_ = (v), uma_cas_old_ = (expected); \
  if (uma_indirect_(uma_cas_pointer_)) { \
    uint64_t uma_cas_bits_ = uma_atomic_slow_(UMA_ATOMIC_CAS, (void *)uma_cas_pointer_, sizeof uma_cas_value_, UMA_BITS_(uma_cas_value_), UMA_BITS_(uma_cas_old_)); \
    memcpy(&uma_cas_old_, &uma_cas_bits_, sizeof uma_cas_old_); \
  } else (void)__atomic_compare_exchange(uma_cas_pointer_, &uma_cas_old_, &uma_cas_value_, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
  uma_cas_old_; })

#define UMA_FETCH_(OP, builtin, p, v) __extension__({ \
  __typeof__(p) uma_fetch_pointer_ = (p); \
  UMA_VALUE_(p) uma_fetch_value_ = (v), uma_fetch_old_; \
  _Static_assert(sizeof uma_fetch_value_ == 4 || sizeof uma_fetch_value_ == 8, "32 and 64 bit integers only"); \
  if (uma_indirect_(uma_fetch_pointer_)) \
    uma_fetch_old_ = (UMA_VALUE_(p))uma_atomic_slow_(OP, (void *)uma_fetch_pointer_, sizeof uma_fetch_value_, (uint64_t)uma_fetch_value_, 0); \
  else uma_fetch_old_ = builtin(uma_fetch_pointer_, uma_fetch_value_, __ATOMIC_SEQ_CST); \
  uma_fetch_old_; })

#define uma_fetch_add(p, v) UMA_FETCH_(UMA_ATOMIC_ADD, __atomic_fetch_add, p, v)
#define uma_fetch_and(p, v) UMA_FETCH_(UMA_ATOMIC_AND, __atomic_fetch_and, p, v)
#define uma_fetch_or(p, v)  UMA_FETCH_(UMA_ATOMIC_OR, __atomic_fetch_or, p, v)
#define uma_fetch_xor(p, v) UMA_FETCH_(UMA_ATOMIC_XOR, __atomic_fetch_xor, p, v)
/* clang-format on */

/* ---- Copies -------------------------------------------------------------------------------------------------- */

/* Bytes are in place (get) or visible to their home (put) when these return. Errors, with nothing copied: -EFAULT the
 * global range does not lie in windows, -EINVAL the ranges overlap, -EHOSTDOWN. */
static inline bool uma_fast_range_(const void *global, const void *other, size_t bytes)
{
  uintptr_t offset = (uintptr_t)global - uma_fast_.direct_base;
  uintptr_t ahead = (uintptr_t)global - (uintptr_t)other, behind = (uintptr_t)other - (uintptr_t)global;
  return __builtin_expect(offset < uma_fast_.direct_bytes && bytes <= uma_fast_.direct_bytes - offset && ahead >= bytes && behind >= bytes,
                          1);
}

static inline int uma_get(void *local, const void *global, size_t bytes)
{
  if (!uma_fast_range_(global, local, bytes)) return uma_get_slow_(local, global, bytes);
  memcpy(local, global, bytes);
  return 0;
}

static inline int uma_put(void *global, const void *local, size_t bytes)
{
  if (!uma_fast_range_(global, local, bytes)) return uma_put_slow_(global, local, bytes);
  memcpy(global, local, bytes);
  return 0;
}

/* Any to any: windows of any domain, or private memory. Inside a domain the bytes move once. Across domains they are staged as
 * stacked servers do it: device memory, bounce buffer, socket, bounce buffer, device memory, in chunks that overlap; with --fabric ofi they are
 * read from or written to the other domain's window directly, and through a buffer of this device where both ends are in other domains. */
int uma_copy(void *dst, const void *src, size_t bytes);

/* `height` rows of `width` bytes; a row begins `dst_pitch` and `src_pitch` bytes after the one before it.
 * -EINVAL when a pitch is smaller than the width, or the ranges overlap. */
int uma_copy_2d(void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width, size_t height);

/* ---- Streams ------------------------------------------------------------------------------------------------- */

/* A stream is a queue of work that the device's copy engine (one thread) carries out in order, while the device computes.
 * Memory given to it must stay valid until the work is done. Streams and events belong to the process that made them. */
struct uma_stream;
struct uma_event;

int uma_stream_create(struct uma_stream **stream);
int uma_stream_wait(struct uma_stream *stream);    /* until all its work is done; the first error of that work, once */
int uma_stream_query(struct uma_stream *stream);   /* 1 all done, 0 not yet */
int uma_stream_destroy(struct uma_stream *stream); /* waits first */

int uma_copy_async(void *dst, const void *src, size_t bytes, struct uma_stream *stream);
int uma_copy_2d_async(void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width, size_t height,
                      struct uma_stream *stream);

int uma_event_create(struct uma_event **event);
int uma_event_record(struct uma_event *event, struct uma_stream *stream); /* reached when all work before it is done */
int uma_event_query(struct uma_event *event);                             /* 1 reached, 0 not yet, -EINVAL never recorded */
int uma_event_wait(struct uma_event *event);
int uma_event_elapsed(struct uma_event *start, struct uma_event *end, double *milliseconds); /* -EAGAIN when not both were reached */
int uma_event_destroy(struct uma_event *event);

/* ---- Messages ------------------------------------------------------------------------------------------------ */

#define UMA_ANY_DEVICE (-1)
#define UMA_ANY_TAG (-1)

struct uma_status {
  int device; /* who sent it */
  int tag;
  size_t bytes; /* that were received */
};
struct uma_request; /* one send or receive under way; ends with uma_wait or a uma_test that returned 1 */

/* Tags are 0 or positive. Messages from one device with one tag arrive in order. uma_send returns when the buffer may be
 * used again, which may need the receiver. -EMSGSIZE the message was longer than the buffer (its beginning was stored);
 * -EINVAL no such device or a bad tag; -EHOSTDOWN. `status` may be NULL. */
int uma_send(int device, int tag, const void *buffer, size_t bytes);
int uma_recv(int device, int tag, void *buffer, size_t bytes, struct uma_status *status);
int uma_isend(int device, int tag, const void *buffer, size_t bytes, struct uma_request **request);
int uma_irecv(int device, int tag, void *buffer, size_t bytes, struct uma_request **request);
int uma_wait(struct uma_request *request, struct uma_status *status);
int uma_test(struct uma_request *request, struct uma_status *status); /* 1 done, 0 not yet */

/* ---- Synchronisation ----------------------------------------------------------------------------------------- */

int uma_barrier(void); /* collective; all stores and puts made before it are visible after it */

/* A lock is named by a small value that may be copied, stored in windows and sent. It lives with its home device, outside of the
 * windows. Not recursive. -EOWNERDEAD: the lock was taken, but its last owner was lost while it held it. */
struct uma_lock {
  int32_t home;
  uint32_t index;
};
int uma_lock_create(int device, struct uma_lock *lock); /* -ENOSPC no more locks there */
int uma_lock_destroy(const struct uma_lock *lock);      /* -EBUSY held */
int uma_lock(const struct uma_lock *lock);              /* 0 or -EOWNERDEAD, both with the lock held; -EINVAL no such lock */
int uma_trylock(const struct uma_lock *lock);           /* -EBUSY held by another */
int uma_unlock(const struct uma_lock *lock);            /* -EPERM not held by this device */

/* A barrier among some of the devices, named and placed as a lock is. Each round ends when `count` calls have come to it; all pass
 * the same count. Errors: -ENOSPC no more barriers there; -EREMOTE it is in another domain; -EINVAL no such barrier, or more calls than
 * `count`; -EBUSY devices wait there; -EHOSTDOWN a device was lost, after which the barrier is of no use. */
struct uma_barrier {
  int32_t home;
  uint32_t index;
};
int uma_barrier_create(int device, struct uma_barrier *barrier);
int uma_barrier_destroy(const struct uma_barrier *barrier);
int uma_barrier_wait(const struct uma_barrier *barrier, int count); /* stores made before it are visible after it */

enum uma_compare { UMA_EQ = 1, UMA_NE, UMA_LT, UMA_LE, UMA_GT, UMA_GE };
enum uma_signal { UMA_SIGNAL_SET = 1, UMA_SIGNAL_ADD };

/* Changes a word in any window and wakes who waits for it. uma_put_signal makes the bytes visible before the signal. */
int uma_signal(uint64_t *word, uint64_t value, enum uma_signal how);
int uma_put_signal(void *dst, const void *src, size_t bytes, uint64_t *word, uint64_t value, enum uma_signal how);
/* Waits until `*word compare value` (unsigned). `word` is in a window of this domain. A plain store of another device is noticed
 * too, though perhaps a millisecond late. Returns when it holds, having acquired. */
int uma_wait_until(const uint64_t *word, enum uma_compare compare, uint64_t value);

int uma_fence(void); /* puts and stores before it become visible before those after it */
int uma_quiet(void); /* all puts and stores of this device are visible everywhere; streams are not included */

/* ---- Collectives --------------------------------------------------------------------------------------------- */

enum uma_type { UMA_INT32 = 1, UMA_INT64, UMA_UINT32, UMA_UINT64, UMA_FLOAT32, UMA_FLOAT64 };
enum uma_op { UMA_SUM = 1, UMA_MIN, UMA_MAX, UMA_PROD, UMA_AND, UMA_OR, UMA_XOR }; /* the last three: integers only */

/* All devices pass the same sizes. Buffers may be device or private memory (device memory is faster: peers reach it directly).
 * Reductions combine contributions in the order of the devices, inside each domain first and then the domains' results in their order, so
 * results are the same bits on every device and in every run of the same shape.
 * dst == src is allowed where both have the same size; other overlaps are -EINVAL. Large arrays work in O(1) extra memory. */
int uma_broadcast(void *buffer, size_t bytes, int root);
int uma_allgather(void *dst, const void *src, size_t bytes); /* dst: device_count x bytes, in the order of the devices */
int uma_reduce_scatter(void *dst, const void *src, size_t count, enum uma_type type,
                       enum uma_op op); /* src: device_count x count; dst: count */
int uma_allreduce(void *dst, const void *src, size_t count, enum uma_type type, enum uma_op op);
int uma_alltoall(void *dst, const void *src, size_t bytes); /* both device_count x bytes; never in place */

/* The same on a stream: all devices put their collectives on streams in the same order (over all streams of a device). */
int uma_broadcast_async(void *buffer, size_t bytes, int root, struct uma_stream *stream);
int uma_allgather_async(void *dst, const void *src, size_t bytes, struct uma_stream *stream);
int uma_reduce_scatter_async(void *dst, const void *src, size_t count, enum uma_type type, enum uma_op op, struct uma_stream *stream);
int uma_allreduce_async(void *dst, const void *src, size_t count, enum uma_type type, enum uma_op op, struct uma_stream *stream);
int uma_alltoall_async(void *dst, const void *src, size_t bytes, struct uma_stream *stream);

/* ---- The modelled clock (--profile) --------------------------------------------------------------------------- */

/* With a profile, device d of the session is device d of the machine that the profile describes, and all that goes through this library
 * is charged to virtual clocks as it would have been there: accessors, misses of the caches and page faults message by message, copies and
 * messages with each step of their way, waiting for each other, collectives by what they really do. Plain loads, stores and
 * instructions are not seen: uma_compute and uma_charge_* charge what they stand for. Application threads of a device share one clock; a
 * stream has the copy engine's, and who waits for it goes on no earlier. Programs that do the same in the same order get the same times;
 * where devices race (for a lock, a link, a line) times depend on who was first. Modelled times are never to be added to measured ones. */

enum uma_dtype { UMA_FP64 = 1, UMA_FP32, UMA_TF32, UMA_BF16, UMA_FP16, UMA_FP8, UMA_INT8 };

/* Charges work that is not really done: the longer of `flops` operations at the peak of the type and `bytes` from and to the device's own memory
 * (Williams, Waterman, Patterson: Roofline, 2009). Nothing without a profile. -EINVAL negative numbers or no such type; -ENOTSUP the modelled device
 * has no such type. */
int uma_compute(double flops, double bytes, enum uma_dtype dtype);

/* Charge plain loads and stores that the program really does, of memory in this device's domain that lies in one window. reads, writes: all bytes
 * once, many under way at a time. chase: so many loads, each of which waits for the one before, all over the bytes. Profiles of machines whose caches
 * were measured (uma calibrate) know what those save; to others every chased load goes to the memory. Nothing without a profile. -EINVAL not in one
 * window; -EHOSTUNREACH of another domain. */
int uma_charge_reads(const void *pointer, size_t bytes);
int uma_charge_writes(const void *pointer, size_t bytes);
int uma_charge_chase(const void *pointer, size_t bytes, uint64_t loads);

/* A device's virtual time since the session began, and where it went; the six parts add up to it. */
struct uma_modelled {
  double ns;
  double compute_ns;    /* uma_compute, bound by operations */
  double memory_ns;     /* device memory: of accesses, and uma_compute bound by bytes */
  double scale_up_ns;   /* the network of loads and stores, with its software */
  double staging_ns;    /* PCIe and buffers in host memory */
  double network_ns;    /* NICs and the network between servers */
  double waiting_ns;    /* for other devices, and in queues */
  double work_ns;       /* no part: all that uma_compute charged, whether operations or bytes bound it */
  double operations_ns; /* no part: what its operations alone would take at the peak */
};
/* Any device's. -EINVAL no such device; -ENODATA no machine is modelled; -ERANGE its clock has come to a year, where it stops; -EHOSTDOWN its host is
 * lost. */
int uma_modelled(int device, struct uma_modelled *modelled);
double uma_modelled_ns(void); /* of the calling thread's clock; 0 without a profile */

#ifdef __cplusplus
}
#endif

#endif
