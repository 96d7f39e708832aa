/* The live engine: the caches of all devices of a domain in shared memory, run by whoever misses.
 *
 * Glossary
 *   area     what the devices of a domain share for it: the protocol, directories, caches. All zero but for its head when it is created
 *   frame    a place of a cache: which line it holds, the controller's entry, a lock, and line_bytes of data
 *   memory   the windows, mapped at an address of the engine's own; only directories read and write it
 *   line     numbered through all windows of the domain: (address - first window) / line_bytes
 *   device   numbered within the domain, from 0; `first` is what people add
 *
 * Helping. A thread that misses steps its own cache's controller, then delivers what that sent, and what those send, one after the other
 * and each under the lock of the one controller that it is given to, until nothing is left. So a transaction is carried out by one
 * thread; caches and directories of others are passive. What stalls is kept and given again.
 *
 * Over several hosts (struct coh_wire) controllers of other hosts are reached by messages. Whoever receives one steps the controller that it
 * is for, and delivers what comes of that as above; what stalls is kept until something has changed. A step that does the program's access
 * is made in the program's own process, so a message that brings it about is passed on to there. The thread whose access waits helps to
 * receive. What cannot be delivered, because the process that it is for is lost, loses its line: the directory remembers it, and whoever
 * waits is told. What was under way to a process when that died is not missed by anybody but the one who waits for what comes of it; so once a
 * device is lost, who waits for COH_GIVE_UP_NS gives the line up in the same way.
 *
 * Locks. A frame's lock guards its tag, its entry and its data; a directory entry's lock guards the entry and the line's memory. Nobody
 * waits for anything while holding one, and no two are held at once, but for those that page_cache.c tries to get in addition. Besides,
 * threads of a device that look for a free frame in one set take turns by a lock that is private to their process; it is held while frame
 * locks of that set are taken, never the other way round.
 *
 * Hits take no lock to load: the frame's control word is read before and after the data, and is the same only if nothing
 * changed between. A store is one compare-and-swap of that word, the store, and a plain store of the word. Why that is
 * sequentially consistent, and why the caller's processor matters: coherence/README.md.
 *
 * Death. Who dies holding a frame's lock leaves the entry whole (it is one word), so the lock is taken over. Who dies in the middle of a
 * transaction leaves the directory busy, and nobody will end it: that line is lost, and who wants it is told -EHOSTDOWN. Everything
 * else of a dead device goes on being served, out of its cache as out of its window.
 */
#ifndef COH_ENGINE_H
#define COH_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "coherence/core.h"
#include "fabric/fabric.h"
#include "fabric/futex.h"

enum {
  COH_LINE_LEAST = 64,
  COH_LINE_MOST = 4096,
  COH_WAYS_MOST = 64,
  COH_TEXT_SIZE = 64 << 10,
  COH_HINTS = 1024,
  COH_SET_LOCKS = 64,
  COH_BUFFERS = 16,
  COH_WAITING = 256,
  COH_PARKED_MOST = 1 << 16
};
#define COH_GIVE_UP_NS 2000000000ull

/* What all devices of a domain agree on. Numbers are checked by whoever fills it in. */
struct coh_shape {
  int devices, first;
  uintptr_t base;      /* address of the domain's first window, for people */
  size_t window_bytes; /* a multiple of line_bytes */
  size_t line_bytes;   /* COH_LINE_LEAST to COH_LINE_MOST, of pages 4 KiB to 2 MiB; a power of two */
  size_t sets;         /* of each device's cache, a power of two; a page has one of its own */
  int ways;
  char sharers[12]; /* as for coh_sharer_kind_make */
  bool paged;       /* a cache of pages: pages.h */
  bool tracked;     /* counters are kept: every access takes the long way */
  bool traced;      /* and recorded (then it is tracked, too) */
};

/* The control word of a frame. The version changes with everything that is changed in the frame: a reader would have to be kept from
 * running for exactly 2^32 changes to take two of them for one. */
#define COH_FRAME_TOKEN 0xffffull  /* of the lock: its holder's device + 1, 0 when free */
#define COH_FRAME_READ 0x10000ull  /* the program may read it without a step, */
#define COH_FRAME_WRITE 0x20000ull /* or write it; neither when accesses are tracked, so that every one makes a step */
#define COH_FRAME_VERSION 0x100000000ull

struct coh_frame {
  _Atomic uint64_t control;
  _Atomic uint64_t line_1; /* the line + 1; 0: never used. Changes under the lock */
  struct coh_cache_entry entry;
  uint32_t held;         /* of pages: where the data is (page_cache.c) */
  _Atomic uint64_t used; /* the cache's clock at the last use; of pages, when the device got a right to it, in ns */
};
_Static_assert(sizeof(struct coh_frame) == 32, "lies in shared memory");

struct coh_cache_clock { /* counts how often another frame became the one used last */
  _Alignas(FAB_CACHE_LINE) _Atomic uint64_t now;
  _Atomic uint64_t resident; /* pages that the device holds */
};

/* A modelled clock, given by the layer above: a transaction begins at some moment, each of its messages takes a hop, and the access is done at the
 * moment of the step that does it, or when the last message that this needs has come. Parts say where the time went; the engine does not look at them. */
enum { COH_MOMENT_PARTS = 6 };
struct coh_moment {
  uint64_t ticks, parts[COH_MOMENT_PARTS];
};
/* How far a message to another host has come on its way, whose other end only that host knows: times of its first and its last byte, and the place
 * where it is. The engine does not look at it. */
#define COH_ARRIVED UINT32_MAX
struct coh_flight {
  uint64_t head, tail;
  uint32_t leg, step; /* leg COH_ARRIVED: it was all the way, and goes to another process of the host */
};
/* Of such a message: when it departed or has arrived, the latest of what led to it, and its flight. A wire structure. */
struct coh_stamp {
  uint64_t ticks;
  struct coh_moment front;
  struct coh_flight flight;
};
_Static_assert(sizeof(struct coh_stamp) == 88, "wire structure");
struct coh_clock {
  void *context;
  bool (*begin)(void *context, struct coh_moment *moment); /* false: this one is not charged */
  void (*hop)(void *context, int from, int to, bool data,
              struct coh_moment *moment); /* devices of the domain; *moment: it departs, it arrives */
  /* A hop in two parts: until it leaves this host; on the other one, from *moment, when it departed, to its arrival. */
  void (*depart)(void *context, int from, int to, bool data, uint64_t ticks, struct coh_flight *flight);
  void (*land)(void *context, int from, int to, bool data, const struct coh_flight *flight, struct coh_moment *moment);
  void (*end)(void *context, const struct coh_moment *moment);
};

/* What becomes of data that is sent: it stays the engine's, and is copied; it is a buffer, which the wire gives back by coh_buffer_give when it is
 * sent; it is the line's memory, and the wire calls coh_return_memory then. The latter two also when it could not be sent. */
enum coh_data_use { COH_DATA_STAYS, COH_DATA_GIVEN, COH_DATA_LENT };

/* How controllers on other hosts are reached; given by the layer above. */
struct coh_wire {
  void *context;
  int first, count; /* the devices whose caches and windows are on this host */
  /* To the process of `device`, with line_bytes of data and a stamp unless they are NULL. Never waits for the receiver. 0, or -EHOSTDOWN: it is
   * lost. */
  int (*send)(void *context, int device, const struct coh_message *message, uint64_t line, void *data, enum coh_data_use use,
              const struct coh_stamp *stamp);
  /* Tells that process, by coh_refused, that its access to the line will never be done: the line is lost. */
  void (*refuse)(void *context, int device, uint64_t line);
  /* Tells the home's process, by coh_lose, that a transaction of the line will never end. */
  void (*lose)(void *context, int device, uint64_t line);
  void (*progress)(void *context); /* receives what has come, by coh_deliver; called by threads that wait, without any lock */
};

struct coh_waiting; /* engine.c: an access that a message will do */
struct coh_parked;  /* engine.c: a message that stalled */

/* One that waits, by its line. */
struct coh_place {
  _Atomic uint64_t line_1; /* 0: free */
  struct coh_waiting *wait;
};

struct coh_counters; /* tally.h */
struct coh_tally;
struct coh_area;
struct coh_pages;

/* One process's view. Written by coh_engine_open only, except for what is said to change. */
struct coh_engine {
  uintptr_t base; /* what a hit needs comes first; `bytes` are of all windows */
  size_t bytes, line_mask;
  unsigned line_shift;
  _Atomic uint32_t last;    /* of this device's frames the one used last; changes */
  struct coh_frame *frames; /* of this device, and their data */
  unsigned char *data;
  int me;
  _Atomic uint32_t hints[COH_HINTS]; /* by line: the frame where it was seen last; change */

  const struct coh_cache_ops *ops;
  const struct coh_protocol *protocol;
  struct coh_shape shape;
  struct coh_sharer_kind sharers;
  struct coh_area *area;
  unsigned char *memory;
  size_t window_lines, frame_count; /* frame_count: of one device */
  size_t capacity;                  /* lines that a cache holds at most */
  unsigned char *directories;
  size_t directory_bytes;
  struct coh_cache_clock *clock; /* this device's */
  struct coh_frame *all_frames;  /* of all devices, and their data */
  unsigned char *all_data;
  uint32_t controls[COH_MAX_STATES]; /* by cache state: COH_FRAME_READ and _WRITE */
  bool (*is_lost)(int device);
  const struct coh_clock *modelled; /* NULL: no clock is */
  const struct coh_wire *wire;      /* NULL: all devices are on this host */
  struct coh_place waiting[COH_WAITING];
  pthread_mutex_t parked_mutex;
  struct coh_parked *parked; /* what came by the wire and stalled; under parked_mutex */
  _Atomic int parked_count;  /* how many these are; likewise, but looked at by anybody */
  _Atomic uint64_t refused;  /* messages that were none */
  struct coh_tally *tally;   /* NULL: not tracked */
  struct coh_pages *pages;   /* NULL: a cache of lines */
  int spool;
  _Atomic(unsigned char *) buffers[COH_BUFFERS]; /* of a line's size, not in use; change */
  atomic_flag set_locks[COH_SET_LOCKS];          /* by set; change */
};

/* What a program does to (a part of) one line. */
enum coh_deed { COH_GET, COH_PUT, COH_ATOMIC, COH_TOUCH /* be there, with the right */ };
struct coh_access {
  uint8_t input; /* COH_LOAD or COH_STORE */
  uint8_t deed;  /* enum coh_deed */
  uint8_t op;    /* enum fab_atomic, of COH_ATOMIC */
  uint32_t offset, bytes;
  void *get;       /* COH_GET: where the bytes go */
  const void *put; /* COH_PUT: where they come from */
  uint64_t operand, expected, old;
};

/* What a kind of cache does with the data of a frame, which is locked: of lines (line_cache.c), of pages (page_cache.c). `from` and `to` are
 * states. Called in this order; each but retract and grant only when the step asks for it. */
struct coh_cache_ops {
  void (*retract)(struct coh_engine *engine, struct coh_frame *frame, int from, int to); /* rights that `to` lacks are gone, data stays */
  void (*fill)(struct coh_engine *engine, struct coh_frame *frame, const unsigned char *bytes, int to);
  void (*copy_out)(struct coh_engine *engine, struct coh_frame *frame, unsigned char *bytes);
  void (*perform)(struct coh_engine *engine, struct coh_frame *frame, struct coh_access *access);
  void (*grant)(struct coh_engine *engine, struct coh_frame *frame, int from, int to); /* rights that `from` lacked are there */
};
extern const struct coh_cache_ops coh_line_ops, coh_page_ops;

/* ---- area.c ------------------------------------------------------------------------------------------------------ */

size_t coh_area_bytes(const struct coh_shape *shape); /* a hole-y file: only what is used costs memory */
/* The head of a zeroed area. The protocol was parsed from `text`, which is kept for traces (at most COH_TEXT_SIZE - 1 bytes). */
void coh_area_format(struct coh_area *area, const struct coh_shape *shape, const struct coh_protocol *protocol, const char *text);
const struct coh_shape *coh_area_shape(const struct coh_area *area);
const struct coh_protocol *coh_area_protocol(const struct coh_area *area);
const char *coh_area_text(const struct coh_area *area);
struct coh_counters *coh_area_counters(struct coh_area *area, int device);
uint64_t coh_area_next(struct coh_area *area); /* counts up, for records and stamps; never 0 */
/* Of tracked sessions: when each byte was written last, by offset; how a frame came to lose its line. Of traced ones: the buffers. */
uint32_t *coh_area_stamps(struct coh_area *area);
struct coh_frame_record *coh_area_record(struct coh_area *area, size_t frame);
struct coh_trace_buffer *coh_area_trace(struct coh_area *area, int device);

void coh_area_lose(struct coh_area *area); /* another line is lost; how many are */
uint64_t coh_area_lost(struct coh_area *area);

/* This process as device `me` of the area. `memory`: the windows of the domain; `is_lost`: has this device died? `spool`: the file of a
 * traced session (trace.h). 0 or -ENOMEM. */
int coh_engine_open(struct coh_area *area, int me, unsigned char *memory, bool (*is_lost)(int device), int spool,
                    struct coh_engine **engine);
void coh_engine_close(struct coh_engine *engine);          /* does not flush */
unsigned char *coh_buffer_take(struct coh_engine *engine); /* line_bytes and a stamp; also from inside a signal handler */
void coh_buffer_give(struct coh_engine *engine, unsigned char *buffer);

/* ---- engine.c ---------------------------------------------------------------------------------------------------- */

/* Does it, with the line in this device's cache. 0, or -EHOSTDOWN when the line is lost. */
int coh_access_line(struct coh_engine *engine, uint64_t line, struct coh_access *access);
/* Gives the line up. 0, -EHOSTDOWN when it is lost, -EAGAIN while it is at work. */
int coh_evict(struct coh_engine *engine, uint64_t line);
/* Delivers a message that came by the wire, and what comes of it, without waiting for anything: what stalls is parked. Whether any of it went on. Data
 * is the caller's again afterwards. */
bool coh_step_arrived(struct coh_engine *engine, const struct coh_message *message, uint64_t line, const void *data,
                      const struct coh_stamp *stamp);
void coh_return_memory(struct coh_engine *engine, uint64_t line); /* see enum coh_data_use; any thread, without waiting */
void coh_refused(struct coh_engine *engine, uint64_t line);       /* see struct coh_wire */
void coh_lose(struct coh_engine *engine, uint64_t line);          /* likewise */
/* All of the line's controllers at one moment at which no device is inside the engine: NULL, or the invariant that does not hold. */
const struct coh_invariant *coh_engine_broken(struct coh_engine *engine, uint64_t line, struct coh_breach *breach);

/* ---- arrival.c --------------------------------------------------------------------------------------------------- */

/* A message came by the wire for a controller of this host; data as the message's type says; the stamp was looked at by who calls. -EINVAL: it is none
 * that could be meant for it, and was counted and dropped. Any thread, without a lock. */
int coh_deliver(struct coh_engine *engine, const struct coh_message *message, uint64_t line, const void *data,
                const struct coh_stamp *stamp);
/* Keeps one that stalls; data and stamp, which are copied, may be NULL. */
void coh_park(struct coh_engine *engine, const struct coh_message *message, uint64_t line, const void *data, const struct coh_stamp *stamp);
/* Tries again what stalled; by whoever receives, now and then. Whether anything went on. */
bool coh_retry(struct coh_engine *engine);
bool coh_stalls(struct coh_engine *engine);        /* is there anything to be tried again? */
void coh_forget_parked(struct coh_engine *engine); /* when it closes: nobody waits for them any more */

/* ---- range.c ------------------------------------------------------------------------------------------------------ */

/* Offsets are bytes from the first window. Not atomic as a whole: each line is. */
int coh_get(struct coh_engine *engine, void *local, uint64_t offset, size_t bytes);
int coh_put(struct coh_engine *engine, uint64_t offset, const void *local, size_t bytes);
/* A naturally aligned word of 1, 2, 4 or 8 bytes. */
int coh_atomic(struct coh_engine *engine, enum fab_atomic op, uint64_t offset, unsigned bytes, uint64_t operand, uint64_t expected,
               uint64_t *old);
/* Gives up all that this device's cache holds; modified lines go home. 0, or -EHOSTDOWN when a line is lost (the others were flushed). */
int coh_flush(struct coh_engine *engine);

/* ---- line_cache.c ------------------------------------------------------------------------------------------------ */

/* The frame that holds the line in the device's cache, locked; NULL when there is none. */
struct coh_frame *coh_frame_find(struct coh_engine *engine, int device, uint64_t line);
/* The same without waiting; NULL also when somebody holds the lock. */
struct coh_frame *coh_frame_try(struct coh_engine *engine, int device, uint64_t line);
/* The first for this device, with a free one taken for the line where none holds it; NULL with the line to evict first, *victim, or
 * with UINT64_MAX there when all are at work. */
struct coh_frame *coh_frame_claim(struct coh_engine *engine, uint64_t line, uint64_t *victim);
void coh_frame_unlock(struct coh_engine *engine, struct coh_frame *frame);
/* What the device may do with the line, if that can be seen without a lock; a frame that somebody is stepping shows nothing. */
enum coh_right coh_frame_right(struct coh_engine *engine, int device, uint64_t line);
/* A device whose rights exclude this one's: it may read where this one may write, or the other way round; COH_NOBODY. The frame is locked, and
 * its state has just been given these rights, so nobody can have got others since: whoever is found broke the first invariant. */
int coh_frame_rival(struct coh_engine *engine, int device, uint64_t line, enum coh_right right);
void coh_frame_use(struct coh_engine *engine, uint32_t index); /* for LRU: this device's frame becomes the one used last */

static inline unsigned char *coh_frame_data(const struct coh_engine *engine, const struct coh_frame *frame)
{
  return engine->all_data + ((size_t)(frame - engine->all_frames) << engine->line_shift);
}

/* Waiting: a spin, then giving way to others, then naps. Says so once when it takes long. */
struct coh_patience {
  unsigned turns;
  bool far; /* for another host: a turn is long, and who answers here may need this processor */
  bool sleeps, complained;
  uint64_t since_ns; /* 0: not yet long enough to ask the time */
};
void coh_wait_turn(struct coh_patience *patience);

/* Are the device's window and cache on this host? */
static inline bool coh_is_here(const struct coh_engine *engine, int device)
{
  return !engine->wire || (unsigned)(device - engine->wire->first) < (unsigned)engine->wire->count;
}

/* ---- Hits, inline ------------------------------------------------------------------------------------------------ */

static inline uint32_t coh_hint(struct coh_engine *engine, uint64_t line)
{
  return atomic_load_explicit(&engine->hints[line % COH_HINTS], memory_order_relaxed);
}

static inline uint64_t coh_read_word(const void *at, unsigned bytes)
{
  switch (bytes) {
  case 1: return __atomic_load_n((const uint8_t *)at, __ATOMIC_RELAXED);
  case 2: return __atomic_load_n((const uint16_t *)at, __ATOMIC_RELAXED);
  case 4: return __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED);
  default: return __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
  }
}

static inline void coh_write_word(void *at, unsigned bytes, uint64_t value)
{
  switch (bytes) {
  case 1: __atomic_store_n((uint8_t *)at, (uint8_t)value, __ATOMIC_RELAXED); break;
  case 2: __atomic_store_n((uint16_t *)at, (uint16_t)value, __ATOMIC_RELAXED); break;
  case 4: __atomic_store_n((uint32_t *)at, (uint32_t)value, __ATOMIC_RELAXED); break;
  default: __atomic_store_n((uint64_t *)at, value, __ATOMIC_RELAXED);
  }
}

/* The word at a place of a line without asking for its size: the eight bytes around it, shifted; the highest mean nothing. */
static inline uint64_t coh_read_around(const unsigned char *line, size_t offset)
{
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the value must be in the lowest bytes"
#endif
  return __atomic_load_n((const uint64_t *)(line + (offset & ~(size_t)7)), __ATOMIC_RELAXED) >> (offset & 7) * 8;
}

static inline void coh_frame_note(struct coh_engine *engine, uint32_t index)
{
  if (__builtin_expect(atomic_load_explicit(&engine->last, memory_order_relaxed) != index, 0)) coh_frame_use(engine, index);
}

/* ThreadSanitizer does not know a reader that looks twice; under it loads take the lock as well (engine.c). */
#if defined(__SANITIZE_THREAD__)
#define COH_LOCKLESS 0
#else
#define COH_LOCKLESS 1
#endif

/* May the line be read in this frame, as far as one look tells? The control word is read first: it must be the same after the data. */
static inline bool coh_is_readable(const struct coh_frame *frame, uint64_t line, uint64_t *control)
{
  *control = atomic_load_explicit(&frame->control, memory_order_acquire); /* pairs with the release in coh_frame_unlock */
  return COH_LOCKLESS && atomic_load_explicit(&frame->line_1, memory_order_relaxed) == line + 1 &&
         (*control & (COH_FRAME_TOKEN | COH_FRAME_READ)) == COH_FRAME_READ;
}

static inline bool coh_is_unchanged(const struct coh_frame *frame, uint64_t control)
{
  atomic_thread_fence(memory_order_acquire); /* the data before the second look */
  return atomic_load_explicit(&frame->control, memory_order_relaxed) == control;
}

/* An aligned word that this device's cache holds, in the lowest bytes of *value; false when it cannot be had like this. */
static inline bool coh_hit_load(struct coh_engine *engine, uint64_t offset, unsigned bytes, uint64_t *value)
{
  uint64_t line = offset >> engine->line_shift, control;
  uint32_t index = coh_hint(engine, line);
  const struct coh_frame *frame = &engine->frames[index];
  if (!coh_is_readable(frame, line, &control) || offset & (bytes - 1)) return false;
  *value = coh_read_around(engine->data + ((size_t)index << engine->line_shift), offset & engine->line_mask);
  if (!coh_is_unchanged(frame, control)) return false;
  coh_frame_note(engine, index);
  return true;
}

/* Locks the frame when it may be written and holds the line; false when it cannot be had like this. */
static inline bool coh_hit_lock(struct coh_engine *engine, uint32_t index, uint64_t line, uint64_t *control)
{
  struct coh_frame *frame = &engine->frames[index];
  *control = atomic_load_explicit(&frame->control, memory_order_relaxed);
  bool held = atomic_load_explicit(&frame->line_1, memory_order_relaxed) == line + 1 &&
              (*control & (COH_FRAME_TOKEN | COH_FRAME_WRITE)) == COH_FRAME_WRITE;
  /* The version is the one read before the tag, so the tag is still right. Acquire: pairs with the release of whoever unlocked. */
  return held && atomic_compare_exchange_strong(&frame->control, control, *control | (uint64_t)(engine->me + 1));
}

static inline void coh_hit_unlock(struct coh_engine *engine, uint32_t index, uint64_t control)
{
  atomic_store_explicit(&engine->frames[index].control, control + COH_FRAME_VERSION, memory_order_release);
  coh_frame_note(engine, index);
}

static inline bool coh_hit_store(struct coh_engine *engine, uint64_t offset, unsigned bytes, uint64_t value)
{
  uint64_t line = offset >> engine->line_shift, control;
  uint32_t index = coh_hint(engine, line);
  if (offset & (bytes - 1) || !coh_hit_lock(engine, index, line, &control)) return false;
  coh_write_word(engine->data + ((size_t)index << engine->line_shift) + (offset & engine->line_mask), bytes, value);
  coh_hit_unlock(engine, index, control);
  return true;
}

/* The deed of an atomic operation on a word that nobody else touches meanwhile; returns the old value. */
static inline uint64_t coh_apply(enum fab_atomic op, void *at, unsigned bytes, uint64_t operand, uint64_t expected)
{
  uint64_t old = coh_read_word(at, bytes), mask = bytes == 8 ? ~0ull : (1ull << 8 * bytes) - 1;
  switch (op) {
  case FAB_LOAD: return old;
  case FAB_CAS:
    if (old != (expected & mask)) return old;
    /* fall through */
  case FAB_STORE:
  case FAB_SWAP: coh_write_word(at, bytes, operand); break;
  case FAB_ADD: coh_write_word(at, bytes, old + operand); break;
  case FAB_AND: coh_write_word(at, bytes, old & operand); break;
  case FAB_OR: coh_write_word(at, bytes, old | operand); break;
  case FAB_XOR: coh_write_word(at, bytes, old ^ operand); break;
  }
  return old;
}

static inline bool coh_hit_atomic(struct coh_engine *engine, enum fab_atomic op, uint64_t offset, unsigned bytes, uint64_t operand,
                                  uint64_t expected, uint64_t *old)
{
  uint64_t line = offset >> engine->line_shift, control;
  uint32_t index = coh_hint(engine, line);
  if (offset & (bytes - 1) || !coh_hit_lock(engine, index, line, &control)) return false;
  *old = coh_apply(op, engine->data + ((size_t)index << engine->line_shift) + (offset & engine->line_mask), bytes, operand, expected);
  coh_hit_unlock(engine, index, control);
  return true;
}

#endif
