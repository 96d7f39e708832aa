/* Counting: see tally.h for what is counted.
 *
 * Counters of a device are changed by whoever steps one of its controllers, so they are atomic. What tells the kinds of misses apart belongs to
 * the device that misses alone: a history of all lines it ever had and a fully associative LRU cache of the same size, without data
 * ("shadow"), both private to its process and guarded by one mutex, which is taken while the frame's lock is held and nothing inside.
 * Who takes a line away from a frame notes the time in the frame's record, under the frame's lock. Times are numbers of coh_area_next;
 * the 32 bits of a byte's stamp are compared by their difference, which is right for 2^31 events.
 */
#include "coherence/tally.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#include "coherence/trace.h"

const char *const coh_counter_names[COH_COUNTERS] = {
    "loads",
    "stores",
    "hits",
    "cold misses",
    "capacity misses",
    "conflict misses",
    "true sharing misses",
    "false sharing misses",
    "upgrades",
    "evictions",
    "invalidations sent",
    "invalidations received",
    "writebacks",
    "request messages",
    "forward messages",
    "response messages",
    "request bytes",
    "forward bytes",
    "response bytes",
    "prefetched pages",
    "hops",
};
const char *const coh_miss_names[] = {"", "cold", "capacity", "conflict", "true sharing", "false sharing", "upgrade"};

struct history {
  uint64_t line, lost_stamp;   /* 0: it was not lost to another device, but evicted */
  bool had, in_shadow;         /* ever, and in the shadow now */
  uint8_t pending;             /* enum coh_miss: a miss that has begun; COH_MISS_FALSE until the end tells whether it is */
  uint64_t sums[COH_SUMS];     /* of all accesses */
  struct history *prev, *next; /* in the shadow */
  UT_hash_handle hh;
};

struct coh_tally {
  pthread_mutex_t mutex;
  struct history *lines, *shadow; /* the shadow: the one used last first */
  size_t shadow_count;
  struct coh_counters *counters; /* [devices] */
  uint32_t *stamps;
};

int coh_tally_open(struct coh_engine *engine)
{
  struct coh_tally *tally = calloc(1, sizeof *tally);
  if (!tally) return -ENOMEM;
  pthread_mutex_init(&tally->mutex, NULL);
  tally->counters = coh_area_counters(engine->area, 0);
  tally->stamps = coh_area_stamps(engine->area);
  engine->tally = tally;
  return 0;
}

/* A miss of another thread may be pending. */
void coh_tally_flush(struct coh_engine *engine)
{
  pthread_mutex_lock(&engine->tally->mutex);
  for (struct history *line = engine->tally->lines; line; line = line->hh.next) {
    line->had = line->in_shadow = false;
    if (!line->pending) line->lost_stamp = 0;
  }
  engine->tally->shadow = NULL;
  engine->tally->shadow_count = 0;
  pthread_mutex_unlock(&engine->tally->mutex);
}

void coh_tally_close(struct coh_engine *engine)
{
  struct history *line = engine->tally->lines, *following;
  HASH_CLEAR(hh, engine->tally->lines); /* the table; the lines are still a list */
  for (; line; line = following) {
    following = line->hh.next;
    if (engine->shape.traced && line->sums[COH_SUM_LOADS] + line->sums[COH_SUM_STORES]) coh_trace_sum(engine, line->line, line->sums);
    free(line);
  }
  pthread_mutex_destroy(&engine->tally->mutex);
  free(engine->tally);
  engine->tally = NULL;
}

static void add(struct coh_engine *engine, int device, int counter, uint64_t amount)
{
  atomic_fetch_add_explicit(&engine->tally->counters[device].values[counter], amount, memory_order_relaxed);
}

static int home_of(const struct coh_engine *engine, uint64_t line)
{
  return (int)(line / engine->window_lines);
}

void coh_tally_prefetch(struct coh_engine *engine)
{
  add(engine, engine->me, COH_PREFETCHES, 1);
}

/* ---- Why it missed ----------------------------------------------------------------------------------------------- */

/* The line's history, in the first place of the shadow from now on; *known: was it there before, *near: in the shadow? */
static struct history *visit(struct coh_engine *engine, uint64_t line, int input, bool hit, bool *known, bool *near)
{
  struct coh_tally *tally = engine->tally;
  struct history *found;
  HASH_FIND(hh, tally->lines, &line, sizeof line, found);
  *known = found && found->had;
  if (!found) {
    found = calloc(1, sizeof *found);
    if (!found) abort(); /* counters that are not exact are of no use */
    found->line = line;
    HASH_ADD(hh, tally->lines, line, sizeof line, found);
  }
  found->had = true;
  found->sums[input == COH_STORE ? COH_SUM_STORES : COH_SUM_LOADS]++;
  found->sums[COH_SUM_HITS] += hit;
  *near = found->in_shadow;
  if (found->in_shadow) DL_DELETE(tally->shadow, found);
  else tally->shadow_count++;
  DL_PREPEND(tally->shadow, found);
  found->in_shadow = true;
  if (tally->shadow_count > engine->capacity) {
    struct history *last = tally->shadow->prev;
    DL_DELETE(tally->shadow, last);
    last->in_shadow = false;
    tally->shadow_count--;
  }
  return found;
}

static bool was_written_since(const struct coh_engine *engine, uint64_t line, const struct coh_access *access, uint64_t since)
{
  const uint32_t *stamps = engine->tally->stamps + (line << engine->line_shift) + access->offset;
  for (uint32_t i = 0; i < access->bytes; i++) {
    uint32_t stamp = __atomic_load_n(&stamps[i], __ATOMIC_RELAXED);
    if (stamp && (int32_t)(stamp - (uint32_t)since) > 0) return true;
  }
  return false;
}

/* A miss begins: visits the line, and notes why it is not there. */
static void begin_miss(struct coh_engine *engine, uint64_t line, int input, struct coh_frame_record *record)
{
  bool known, near;
  pthread_mutex_lock(&engine->tally->mutex);
  struct history *history = visit(engine, line, input, false, &known, &near);
  if (record->lost_stamp) history->lost_stamp = record->lost_stamp;
  if (!known) history->pending = COH_MISS_COLD;
  else if (history->lost_stamp) history->pending = COH_MISS_FALSE;
  else history->pending = near ? COH_MISS_CONFLICT : COH_MISS_CAPACITY;
  pthread_mutex_unlock(&engine->tally->mutex);
  record->lost_stamp = 0;
}

/* The access is about to be done, and with it ends the miss, if it is one. Only now is it known what was written since the line was lost:
 * the store that took it away may have been under way still when the miss began. */
static enum coh_miss end_miss(struct coh_engine *engine, uint64_t line, struct coh_frame_record *record, const struct coh_access *access)
{
  enum coh_miss miss = COH_NO_MISS;
  struct history *history;
  pthread_mutex_lock(&engine->tally->mutex);
  HASH_FIND(hh, engine->tally->lines, &line, sizeof line, history);
  if (history) {
    miss = (enum coh_miss)history->pending;
    if (miss == COH_MISS_FALSE && was_written_since(engine, line, access, history->lost_stamp)) miss = COH_MISS_TRUE;
    history->pending = COH_NO_MISS;
    history->lost_stamp = 0;
  }
  pthread_mutex_unlock(&engine->tally->mutex);
  record->lost_stamp = 0; /* of an upgrade that lost the line on its way */
  if (miss) add(engine, engine->me, COH_MISSES_COLD + (int)miss - COH_MISS_COLD, 1);
  return miss;
}

void coh_tally_reuse(struct coh_engine *engine, const struct coh_frame *frame)
{
  struct coh_frame_record *record = coh_area_record(engine->area, (size_t)(frame - engine->all_frames));
  struct history *history;
  uint64_t line = frame->line_1 - 1;
  pthread_mutex_lock(&engine->tally->mutex);
  HASH_FIND(hh, engine->tally->lines, &line, sizeof line, history);
  if (history) history->lost_stamp = record->lost_stamp;
  pthread_mutex_unlock(&engine->tally->mutex);
  record->lost_stamp = 0;
}

/* ---- What was touched -------------------------------------------------------------------------------------------- */

static uint64_t *touched_of(const struct coh_engine *engine, struct coh_frame_record *record, int input)
{
  return record->touched + (input == COH_STORE ? engine->shape.line_bytes / 64 : 0);
}

/* True when some of the bytes had not been touched like this before. */
static bool touch(const struct coh_engine *engine, struct coh_frame_record *record, const struct coh_access *access)
{
  uint64_t *touched = touched_of(engine, record, access->input);
  bool any = false;
  for (uint32_t at = access->offset; at < access->offset + access->bytes; at++) {
    any |= !(touched[at / 64] >> at % 64 & 1);
    touched[at / 64] |= 1ull << at % 64;
  }
  return any;
}

static void forget_touched(const struct coh_engine *engine, struct coh_frame_record *record)
{
  memset(record->touched, 0, 2 * engine->shape.line_bytes / 64 * sizeof record->touched[0]);
}

static void stamp(struct coh_engine *engine, uint64_t line, const struct coh_access *access)
{
  uint32_t now = (uint32_t)coh_area_next(engine->area), *stamps = engine->tally->stamps + (line << engine->line_shift) + access->offset;
  for (uint32_t i = 0; i < access->bytes; i++) __atomic_store_n(&stamps[i], now ? now : 1, __ATOMIC_RELAXED);
}

/* ---- What was stored into a page ------------------------------------------------------------------------------------ */

static void note_changed(struct coh_engine *engine, uint64_t line, int device, size_t begin, size_t end)
{
  struct coh_access access = {.input = COH_STORE, .offset = (uint32_t)begin, .bytes = (uint32_t)(end - begin)};
  if (begin == end) return;
  stamp(engine, line, &access);
  if (engine->shape.traced) coh_trace_touch(engine, line, device, &access);
}

void coh_tally_changes(struct coh_engine *engine, uint64_t line, int device, const unsigned char *before, const unsigned char *after)
{
  size_t begin = 0;
  for (size_t at = 0; at < engine->shape.line_bytes; at += sizeof(uint32_t)) {
    if (memcmp(before + at, after + at, sizeof(uint32_t)) != 0) continue;
    note_changed(engine, line, device, begin, at);
    begin = at + sizeof(uint32_t);
  }
  note_changed(engine, line, device, begin, engine->shape.line_bytes);
}

/* ---- Steps ------------------------------------------------------------------------------------------------------- */

/* A step that begins an access. */
static enum coh_miss count_access(struct coh_engine *engine, uint64_t line, const struct coh_outcome *outcome,
                                  struct coh_frame_record *record, const struct coh_access *access)
{
  bool hit = !outcome->send_count, known, near;
  bool readable = engine->protocol->controllers[COH_CACHE].states[outcome->from].right >= COH_RIGHT_READ;
  add(engine, engine->me, access->input == COH_STORE ? COH_STORES : COH_LOADS, 1);
  if (!hit && !readable) {
    begin_miss(engine, line, access->input, record);
    forget_touched(engine, record);
    return COH_NO_MISS;
  }
  pthread_mutex_lock(&engine->tally->mutex);
  visit(engine, line, access->input, hit, &known, &near);
  pthread_mutex_unlock(&engine->tally->mutex);
  add(engine, engine->me, hit ? COH_HITS : COH_UPGRADES, 1);
  return hit ? COH_NO_MISS : COH_MISS_UPGRADE;
}

static void count_sends(struct coh_engine *engine, uint64_t line, const struct coh_message *input, const struct coh_outcome *outcome)
{
  int home = home_of(engine, line), sender = input->target < 0 ? home : input->target;
  for (int i = 0; i < outcome->send_count; i++) {
    const struct coh_send *send = &outcome->sends[i];
    int class = engine->protocol->messages[send->message.type].class - COH_REQUEST, away = 0;
    uint64_t count = send->many ? (uint64_t)outcome->target_count : 1;
    if (!send->many) away = (send->message.target < 0 ? home : send->message.target) != sender;
    for (int d = send->many ? coh_outcome_target(&engine->sharers, outcome, 0) : -1; d >= 0;
         d = coh_outcome_target(&engine->sharers, outcome, d + 1))
      away += d != sender;
    if (send->many) add(engine, home, COH_INVALIDATIONS_SENT, count);
    add(engine, sender, COH_MESSAGES_REQUEST + class, count);
    add(engine, sender, COH_BYTES_REQUEST + class, count * (COH_WIRE_BYTES + (send->data ? engine->shape.line_bytes : 0)));
    add(engine, sender, COH_HOPS, (uint64_t)away);
  }
}

/* Did a message take away what the program could read? */
static bool is_invalidated(const struct coh_engine *engine, const struct coh_message *input, const struct coh_outcome *outcome)
{
  const struct coh_state *states = engine->protocol->controllers[COH_CACHE].states;
  return input->type >= COH_FIRST_MESSAGE && states[outcome->from].right > COH_RIGHT_NONE && states[outcome->state].right == COH_RIGHT_NONE;
}

static enum coh_miss count_frame(struct coh_engine *engine, uint64_t line, const struct coh_message *input,
                                 const struct coh_outcome *outcome, struct coh_frame_record *record, const struct coh_access *access)
{
  enum coh_miss miss = COH_NO_MISS;
  if (input->type == COH_EVICT) add(engine, engine->me, COH_EVICTIONS, 1);
  else if (input->type < COH_FIRST_MESSAGE) miss = count_access(engine, line, outcome, record, access);
  if (is_invalidated(engine, input, outcome)) {
    add(engine, input->target, COH_INVALIDATIONS_RECEIVED, 1);
    record->lost_stamp = coh_area_next(engine->area);
  }
  bool is_done = access && outcome->deeds & (COH_DEED_LOAD | COH_DEED_STORE);
  if (is_done && input->type >= COH_FIRST_MESSAGE) miss = end_miss(engine, line, record, access);
  if (is_done && outcome->deeds & COH_DEED_STORE) stamp(engine, line, access);
  return miss;
}

void coh_tally_step(struct coh_engine *engine, uint64_t line, const struct coh_message *input, const struct coh_outcome *outcome,
                    const struct coh_frame *frame, const struct coh_access *access)
{
  bool is_access = input->type < COH_FIRST_MESSAGE && access, fresh = false;
  enum coh_miss miss = COH_NO_MISS;
  if (frame) {
    struct coh_frame_record *record = coh_area_record(engine->area, (size_t)(frame - engine->all_frames));
    miss = count_frame(engine, line, input, outcome, record, access);
    if (is_access) fresh = touch(engine, record, access);
  }
  if (input->target < 0 && outcome->deeds & COH_DEED_WRITE_MEMORY) add(engine, input->source, COH_WRITEBACKS, 1);
  count_sends(engine, line, input, outcome);
  if (!engine->shape.traced) return;
  if (!is_access || outcome->send_count || outcome->from != outcome->state)
    coh_trace_step(engine, line, input, outcome, is_access ? access : NULL, miss);
  else if (fresh) coh_trace_touch(engine, line, engine->me, access);
}
