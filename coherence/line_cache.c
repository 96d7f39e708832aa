/* The frames of the caches: finding, locking and choosing them.
 *
 * A device's cache has `sets` sets of `ways` frames; a line can be in any frame of the one set that its number says. Only threads of the
 * device itself put a line into a frame, one at a time a set (the set lock, private to the process), and only into one whose
 * controller is in its initial state, under the frame's lock. So a line is in one frame at most. Everybody may look for a line
 * without a lock: whoever reads all tags of the set and does not find it, while it left one frame and came into another, has seen it at a
 * moment between the two when it was in none; messages to it then are messages to a cache without the line.
 *
 * LRU: a frame that is used and was not the one used last gets the next number of the cache's clock. With several threads in one cache two
 * frames may get the same number.
 *
 * A lock's holder that died is replaced: the entry is one word, so it is as it was before or after the step.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "coherence/engine.h"
#include "coherence/tally.h"

enum { SPINS = 100, FAR_SPINS = 8, CLOCK_EVERY = 64, LOOK_EVERY = 256 };
#define YIELD_NS 2000000u /* then a turn is a sleep: who waited for longer may be waiting for this processor */
#define LONG_WAIT_NS 10000000000u

static void complain(struct coh_patience *patience, uint64_t waited_ns)
{
  if (patience->complained || waited_ns < LONG_WAIT_NS) return;
  patience->complained = true;
  fprintf(stderr, "libuma: an access has waited for more than 10 s; a protocol that deadlocks is found by `uma check`\n");
}

void coh_wait_turn(struct coh_patience *patience)
{
  unsigned turns = ++patience->turns;
  if (patience->sleeps) {
    fab_nap();
  } else if (patience->far ? turns % FAR_SPINS : turns < SPINS) {
    fab_pause();
    return;
  } else {
    sched_yield();
  }
  if (turns % CLOCK_EVERY) return;
  uint64_t now = fab_now_ns();
  if (!patience->since_ns) patience->since_ns = now;
  patience->sleeps = now - patience->since_ns > YIELD_NS;
  complain(patience, now - patience->since_ns);
}

/* ---- Locks ------------------------------------------------------------------------------------------------------- */

/* The holder's token, or 0 when it was free and is ours now. */
static uint64_t try_lock(struct coh_frame *frame, uint64_t mine)
{
  uint64_t control = atomic_load_explicit(&frame->control, memory_order_relaxed);
  while (!(control & COH_FRAME_TOKEN))
    if (atomic_compare_exchange_weak(&frame->control, &control, control | mine)) return 0;
  return control;
}

static void lock(struct coh_engine *engine, struct coh_frame *frame)
{
  uint64_t mine = (uint64_t)engine->me + 1, held;
  struct coh_patience patience = {0};
  while ((held = try_lock(frame, mine))) {
    coh_wait_turn(&patience);
    if (patience.turns % LOOK_EVERY || !engine->is_lost((int)(held & COH_FRAME_TOKEN) - 1)) continue;
    uint64_t ours = (held & ~COH_FRAME_TOKEN) | mine;
    if (atomic_compare_exchange_strong(&frame->control, &held, ours)) return;
  }
}

void coh_frame_unlock(struct coh_engine *engine, struct coh_frame *frame)
{
  uint64_t version = (atomic_load_explicit(&frame->control, memory_order_relaxed) & ~(COH_FRAME_VERSION - 1)) + COH_FRAME_VERSION;
  atomic_store_explicit(&frame->control, version | engine->controls[frame->entry.state], memory_order_release);
}

/* ---- Frames ------------------------------------------------------------------------------------------------------ */

static struct coh_frame *set_of(struct coh_engine *engine, int device, uint64_t line)
{
  size_t set = line & (engine->shape.sets - 1);
  return engine->all_frames + (size_t)device * engine->frame_count + set * (size_t)engine->shape.ways;
}

static bool holds(const struct coh_frame *frame, uint64_t line)
{
  return atomic_load_explicit(&frame->line_1, memory_order_acquire) == line + 1;
}

struct coh_frame *coh_frame_find(struct coh_engine *engine, int device, uint64_t line)
{
  struct coh_frame *set = set_of(engine, device, line);
  for (int way = 0; way < engine->shape.ways; way++) {
    if (!holds(&set[way], line)) continue;
    lock(engine, &set[way]);
    if (holds(&set[way], line)) return &set[way];
    coh_frame_unlock(engine, &set[way]); /* it went meanwhile: see the head of this file */
    return NULL;
  }
  return NULL;
}

struct coh_frame *coh_frame_try(struct coh_engine *engine, int device, uint64_t line)
{
  struct coh_frame *set = set_of(engine, device, line);
  for (int way = 0; way < engine->shape.ways; way++) {
    if (!holds(&set[way], line) || try_lock(&set[way], (uint64_t)engine->me + 1)) continue;
    if (holds(&set[way], line)) return &set[way];
    coh_frame_unlock(engine, &set[way]);
  }
  return NULL;
}

void coh_frame_use(struct coh_engine *engine, uint32_t index)
{
  uint64_t now = atomic_load_explicit(&engine->clock->now, memory_order_relaxed) + 1;
  atomic_store_explicit(&engine->clock->now, now, memory_order_relaxed);
  atomic_store_explicit(&engine->frames[index].used, now, memory_order_relaxed);
  atomic_store_explicit(&engine->last, index, memory_order_relaxed);
}

enum coh_right coh_frame_right(struct coh_engine *engine, int device, uint64_t line)
{
  struct coh_frame *set = set_of(engine, device, line);
  for (int way = 0; way < engine->shape.ways; way++) {
    uint64_t control = atomic_load_explicit(&set[way].control, memory_order_acquire);
    if (!holds(&set[way], line) || control & COH_FRAME_TOKEN) continue;
    uint8_t state = __atomic_load_n(&set[way].entry.state, __ATOMIC_RELAXED);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&set[way].control, memory_order_relaxed) != control) continue;
    return (enum coh_right)engine->protocol->controllers[COH_CACHE].states[state].right;
  }
  return COH_RIGHT_NONE;
}

int coh_frame_rival(struct coh_engine *engine, int device, uint64_t line, enum coh_right right)
{
  for (int d = 0; d < engine->shape.devices; d++) {
    if (d == device) continue;
    enum coh_right other = coh_frame_right(engine, d, line);
    if ((right == COH_RIGHT_WRITE && other > COH_RIGHT_NONE) || (right == COH_RIGHT_READ && other == COH_RIGHT_WRITE)) return d;
  }
  return COH_NOBODY;
}

/* The frame whose turn it is to go, of those that no transaction holds; NULL when all are at work. Looks without locks: what has changed
 * by the time that it is locked is looked at again. */
static struct coh_frame *choose(struct coh_engine *engine, struct coh_frame *set)
{
  const struct coh_state *states = engine->protocol->controllers[COH_CACHE].states;
  struct coh_frame *chosen = NULL;
  uint64_t oldest = UINT64_MAX;
  for (int way = 0; way < engine->shape.ways; way++) {
    uint8_t state = __atomic_load_n(&set[way].entry.state, __ATOMIC_RELAXED);
    uint64_t used = state ? atomic_load_explicit(&set[way].used, memory_order_relaxed) + 1 : 0; /* one without data first */
    if (!states[state].stable || used >= oldest) continue;
    chosen = &set[way];
    oldest = used;
  }
  return chosen;
}

/* Gives the frame to the line when it holds none any more; else *victim is what it holds. */
static bool take(struct coh_engine *engine, struct coh_frame *frame, uint64_t line, uint64_t *victim)
{
  lock(engine, frame);
  if (frame->entry.state == 0 && frame->entry.acks == 0) {
    if (engine->tally) coh_tally_reuse(engine, frame);
    atomic_store_explicit(&frame->line_1, line + 1, memory_order_release);
    return true;
  }
  *victim = atomic_load_explicit(&frame->line_1, memory_order_relaxed) - 1;
  coh_frame_unlock(engine, frame);
  return false;
}

/* ---- Data: beside the frames, in memory that all devices reach ----------------------------------------------------- */

static void line_fill(struct coh_engine *engine, struct coh_frame *frame, const unsigned char *bytes, int to)
{
  memcpy(coh_frame_data(engine, frame), bytes, engine->shape.line_bytes);
}

static void line_copy_out(struct coh_engine *engine, struct coh_frame *frame, unsigned char *bytes)
{
  memcpy(bytes, coh_frame_data(engine, frame), engine->shape.line_bytes);
}

static void line_perform(struct coh_engine *engine, struct coh_frame *frame, struct coh_access *access)
{
  unsigned char *at = coh_frame_data(engine, frame) + access->offset;
  switch ((enum coh_deed)access->deed) {
  case COH_GET:
    if (access->get) memcpy(access->get, at, access->bytes);
    break;
  case COH_PUT:
    if (access->put) memcpy(at, access->put, access->bytes);
    break;
  case COH_ATOMIC: access->old = coh_apply((enum fab_atomic)access->op, at, access->bytes, access->operand, access->expected); break;
  case COH_TOUCH: break;
  }
}

/* Rights are in the control words, which coh_frame_unlock sets. */
static void line_rights(struct coh_engine *engine, struct coh_frame *frame, int from, int to)
{
}

const struct coh_cache_ops coh_line_ops = {line_rights, line_fill, line_copy_out, line_perform, line_rights};

/* ---- Taking a frame ---------------------------------------------------------------------------------------------- */

static void lock_set(atomic_flag *turn)
{
  struct coh_patience patience = {0};
  while (atomic_flag_test_and_set_explicit(turn, memory_order_acquire)) coh_wait_turn(&patience);
}

struct coh_frame *coh_frame_claim(struct coh_engine *engine, uint64_t line, uint64_t *victim)
{
  struct coh_frame *frame = coh_frame_find(engine, engine->me, line);
  if (frame) return frame;
  atomic_flag *turn = &engine->set_locks[line & (engine->shape.sets - 1) & (COH_SET_LOCKS - 1)];
  *victim = UINT64_MAX;
  lock_set(turn);
  frame = coh_frame_find(engine, engine->me, line); /* another thread of this device may have been first */
  if (!frame && (frame = choose(engine, set_of(engine, engine->me, line))) && !take(engine, frame, line, victim)) frame = NULL;
  atomic_flag_clear_explicit(turn, memory_order_release);
  return frame;
}
