/* Transactions: see engine.h for who carries them out and which locks there are.
 *
 * A transaction begins with an access that its cache's controller does not do at once, and ends when no message that came of it is under
 * way any more. Its messages are parcels on the stack of the thread; the newest is delivered first, for no better reason than that
 * there are fewer at a time then (protocols are proved for every order). Data travels in buffers of the transaction: what a step sends is
 * copied under the sender's lock, and from the buffer into the line or memory under the receiver's. What came by the wire stays where it
 * came to; a buffer whose last parcel goes by the wire goes along. Memory that goes to another host as a large line is not copied but lent to
 * the wire: the directory's entry says so, and until it is returned a message that would change that memory stalls.
 *
 * Why nobody waits for ever, if the protocol is proved: locks are held for one step only; a parcel that stalls waits for the transaction
 * that keeps the controller busy, whose thread delivers its own parcels meanwhile; and whose thread died, that is noticed.
 */
#include "coherence/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coherence/modelled.h"
#include "coherence/pages.h"
#include "coherence/tally.h"

enum { LOCAL_PARCELS = 32, LOOK_EVERY = 64 };
/* Buffers of a transaction: its own, the caller's, and memory. */
enum { NO_BUFFER = -1, LOCAL_BUFFERS = 2, BUFFERS = 16, ARRIVED = BUFFERS, LENT, ALL_BUFFERS };
#define LOST UINT16_MAX /* in the place of the holder of a directory entry's lock */

struct parcel {
  struct coh_message message;
  int8_t buffer; /* of its data */
  bool arrived;
  uint64_t ticks; /* of a modelled clock: when it departed, or has arrived */
};

struct buffer {
  unsigned char *bytes;
  int parcels; /* that it belongs to */
};

/* An access that waits for the step that does it: of the thread that carries out the transaction, or, over several hosts, of any that
 * receives. `done` is set under the frame's lock, and read by the thread that waits. */
struct coh_waiting {
  struct coh_access *access; /* NULL of an eviction, and of what came by the wire */
  _Atomic bool done;
  _Atomic int error;
  struct coh_wait_time time;
};

struct transaction {
  struct coh_engine *engine;
  uint64_t line;
  int home;
  struct coh_waiting wait;
  bool by_wire; /* it goes on with a message of another host */
  bool stepped; /* some controller has made a step */
  int error;
  uint8_t before, begun; /* the own cache's state before the first step and after it */
  struct coh_time time;
  struct parcel *parcels;
  int parcel_count, parcel_room;
  struct buffer buffers[ALL_BUFFERS];
  struct parcel local_parcels[LOCAL_PARCELS];
};

/* A broken protocol has no way to go on. What comes from another host may be anything: it is dropped, and an access that it has made impossible
 * fails. */
static void fault(struct transaction *t, const struct coh_message *input, int state, const char *what)
{
  struct coh_engine *engine = t->engine;
  const struct coh_controller *controller = &engine->protocol->controllers[input->target < 0 ? COH_DIRECTORY : COH_CACHE];
  char who[32] = "the directory";
  if (t->by_wire && atomic_fetch_add(&engine->refused, 1)) return; /* reported once */
  if (input->target >= 0) snprintf(who, sizeof who, "the cache of device %d", engine->shape.first + input->target);
  fprintf(stderr, "libuma: device %d: protocol %s, line 0x%zx: %s in state %s %s %s; `uma check` shows how it comes to that\n",
          engine->shape.first + engine->me, engine->protocol->name, (size_t)(engine->shape.base + (t->line << engine->line_shift)), who,
          controller->states[state].name, what, engine->protocol->messages[input->type].name);
  if (!engine->wire) abort();
  if (!t->by_wire) t->error = -EHOSTDOWN;
}

/* ---- Who sends, and to whom -------------------------------------------------------------------------------------- */

static int target_of(const struct transaction *t, const struct coh_message *message)
{
  return message->target == COH_HOME ? t->home : message->target;
}

static struct coh_hop hop_of(const struct transaction *t, const struct coh_message *message)
{
  return (struct coh_hop){.from = message->source == COH_HOME ? t->home : message->source,
                          .to = target_of(t, message),
                          .data = t->engine->protocol->messages[message->type].data};
}

/* On the modelled clock the message comes to its controller. */
static void arrive(struct transaction *t, struct parcel *parcel)
{
  struct coh_hop hop = hop_of(t, &parcel->message);
  if (!parcel->arrived) parcel->ticks = coh_time_hop(t->engine->modelled, &t->time, &hop, parcel->ticks);
  parcel->arrived = true;
  coh_time_step(&t->time, parcel->ticks, parcel->message.target == COH_HOME);
}

/* ---- Parcels and their data -------------------------------------------------------------------------------------- */

/* Room on the stack for the data of most transactions, where lines are short. */
struct room {
  unsigned char bytes[LOCAL_BUFFERS][COH_LINE_MOST];
};

static int local_buffers(const struct coh_engine *engine)
{
  return engine->shape.line_bytes <= COH_LINE_MOST ? LOCAL_BUFFERS : 0;
}

static void open_transaction(struct transaction *t, struct coh_engine *engine, uint64_t line, struct coh_access *access, struct room *room)
{
  t->engine = engine;
  t->line = line;
  t->home = (int)(line / engine->window_lines);
  t->wait.access = access;
  atomic_init(&t->wait.done, !access);
  atomic_init(&t->wait.error, 0);
  t->by_wire = t->stepped = t->time.charged = false;
  t->time.now = t->time.home_now = 0;
  t->error = 0;
  t->before = t->begun = 0;
  t->parcels = t->local_parcels;
  t->parcel_count = 0;
  t->parcel_room = LOCAL_PARCELS;
  memset(t->buffers, 0, sizeof t->buffers);
  for (int i = 0; i < local_buffers(engine); i++) t->buffers[i].bytes = (unsigned char *)room + (size_t)i * COH_LINE_MOST;
}

static struct coh_directory_entry *directory_of(struct coh_engine *engine, uint64_t line)
{
  return (struct coh_directory_entry *)(engine->directories + line * engine->directory_bytes);
}

void coh_return_memory(struct coh_engine *engine, uint64_t line)
{
  __atomic_fetch_sub(&directory_of(engine, line)->lent, 1, __ATOMIC_RELEASE); /* pairs with the acquire in is_lent */
}

static void close_transaction(struct transaction *t)
{
  if (t->buffers[LENT].bytes) coh_return_memory(t->engine, t->line); /* its message was given up */
  if (t->parcels != t->local_parcels) free(t->parcels);
  for (int i = local_buffers(t->engine); i < BUFFERS; i++)
    if (t->buffers[i].bytes) coh_buffer_give(t->engine, t->buffers[i].bytes);
}

static void add_parcel(struct transaction *t, const struct coh_message *message, int buffer)
{
  if (t->parcel_count == t->parcel_room) {
    struct parcel *larger = malloc(2 * (size_t)t->parcel_room * sizeof *larger);
    if (!larger) abort(); /* a message would be lost */
    memcpy(larger, t->parcels, (size_t)t->parcel_room * sizeof *larger);
    if (t->parcels != t->local_parcels) free(t->parcels);
    t->parcels = larger;
    t->parcel_room *= 2;
  }
  t->parcels[t->parcel_count++] = (struct parcel){.message = *message, .buffer = (int8_t)buffer, .ticks = t->time.now};
  if (buffer >= 0) t->buffers[buffer].parcels++;
}

static int free_buffer(struct transaction *t)
{
  for (int i = 0; i < BUFFERS; i++) {
    struct buffer *buffer = &t->buffers[i];
    if (buffer->parcels) continue;
    if (!buffer->bytes) buffer->bytes = coh_buffer_take(t->engine);
    return i;
  }
  abort(); /* that many lines are under way in no protocol that has 8 actions a cell and is proved */
}

static bool sends_data(const struct coh_outcome *outcome)
{
  for (int i = 0; i < outcome->send_count; i++)
    if (outcome->sends[i].data) return true;
  return false;
}

/* Would this device get data that it may read already, because it only asks for the right to write? Then what it has is the newest, and nobody
 * can change that while the directory works on its request. */
static bool has_data_already(const struct transaction *t, const struct coh_outcome *outcome)
{
  struct coh_engine *engine = t->engine;
  if (t->by_wire || engine->protocol->controllers[COH_CACHE].states[t->begun].right == COH_RIGHT_NONE) return false;
  for (int i = 0; i < outcome->send_count; i++)
    if (outcome->sends[i].data && (outcome->sends[i].many || outcome->sends[i].message.target != engine->me)) return false;
  return coh_frame_right(engine, engine->me, t->line) > COH_RIGHT_NONE;
}

/* Under the directory's lock. A load first: where the place is not in this process's page table yet, it brings the pages around along, which a
 * store does not. */
static void put_memory(struct transaction *t, const struct parcel *parcel, unsigned char *memory)
{
  (void)*(volatile const unsigned char *)memory;
  memcpy(memory, t->buffers[parcel->buffer].bytes, t->engine->shape.line_bytes);
}

/* Is it in the middle of being sent? Who died with it will not send the rest. */
static bool is_lent(const struct transaction *t, const struct coh_directory_entry *entry)
{
  return __atomic_load_n(&entry->lent, __ATOMIC_ACQUIRE) && (t->home == t->engine->me || !t->engine->is_lost(t->home));
}

/* By its home alone, so that everybody knows who; and only where every copy of it leaves this host. */
static bool may_be_lent(const struct transaction *t, const struct coh_outcome *outcome, const struct coh_directory_entry *entry)
{
  if (t->home != t->engine->me || local_buffers(t->engine) || entry->lent == UINT8_MAX || t->buffers[LENT].bytes) return false;
  for (int i = 0; i < outcome->send_count; i++)
    if (outcome->sends[i].data && (outcome->sends[i].many || coh_is_here(t->engine, target_of(t, &outcome->sends[i].message))))
      return false;
  return true;
}

/* The same: from here on the data is the transaction's. */
static int take_memory(struct transaction *t, const struct coh_outcome *outcome, struct coh_directory_entry *entry, unsigned char *memory)
{
  if (!sends_data(outcome) || has_data_already(t, outcome)) return NO_BUFFER;
  if (may_be_lent(t, outcome, entry)) {
    __atomic_fetch_add(&entry->lent, 1, __ATOMIC_RELAXED);
    t->buffers[LENT].bytes = memory;
    return LENT;
  }
  int buffer = free_buffer(t);
  memcpy(t->buffers[buffer].bytes, memory, t->engine->shape.line_bytes);
  return buffer;
}

/* The same of a cache's line; NULL: of none, which a broken protocol may send. */
static int take_line(struct transaction *t, const struct coh_outcome *outcome, struct coh_frame *frame)
{
  if (!sends_data(outcome) || has_data_already(t, outcome)) return NO_BUFFER;
  int buffer = free_buffer(t);
  if (frame) t->engine->ops->copy_out(t->engine, frame, t->buffers[buffer].bytes);
  else memset(t->buffers[buffer].bytes, 0, t->engine->shape.line_bytes);
  return buffer;
}

static void send_all(struct transaction *t, const struct coh_outcome *outcome, int buffer)
{
  const struct coh_sharer_kind *kind = &t->engine->sharers;
  for (int i = 0; i < outcome->send_count; i++) {
    struct coh_message message = outcome->sends[i].message;
    int data = outcome->sends[i].data ? buffer : NO_BUFFER;
    if (!outcome->sends[i].many) {
      add_parcel(t, &message, data);
      continue;
    }
    for (int d = coh_outcome_target(kind, outcome, 0); d >= 0; d = coh_outcome_target(kind, outcome, d + 1)) {
      message.target = (int16_t)d;
      add_parcel(t, &message, data);
    }
  }
}

/* ---- The directory ----------------------------------------------------------------------------------------------- */

/* From now on the line is lost, for everybody. */
static void lose_line(struct coh_engine *engine, struct coh_directory_entry *entry, uint16_t held)
{
  if (__atomic_compare_exchange_n(&entry->lock, &held, LOST, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) coh_area_lose(engine->area);
}

/* False when the line is lost, or its holder has died: nobody can know how far that came. */
static bool lock_directory(struct coh_engine *engine, struct coh_directory_entry *entry)
{
  struct coh_patience patience = {0};
  for (;;) {
    uint16_t held = __atomic_load_n(&entry->lock, __ATOMIC_RELAXED), mine = (uint16_t)(engine->me + 1);
    if (held == LOST) return false;
    if (!held && __atomic_compare_exchange_n(&entry->lock, &held, mine, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return true;
    coh_wait_turn(&patience);
    if (patience.turns % LOOK_EVERY == 0 && held && engine->is_lost(held - 1)) lose_line(engine, entry, held);
  }
}

static void unlock_directory(struct coh_directory_entry *entry)
{
  __atomic_store_n(&entry->lock, 0, __ATOMIC_RELEASE); /* pairs with the acquire in lock_directory */
}

static enum coh_result step_directory(struct transaction *t, const struct parcel *parcel)
{
  struct coh_engine *engine = t->engine;
  struct coh_directory_entry *entry = directory_of(engine, t->line);
  unsigned char *memory = engine->memory + (t->line << engine->line_shift);
  struct coh_outcome outcome;
  int buffer = NO_BUFFER;
  if (!lock_directory(engine, entry)) {
    t->error = -EHOSTDOWN;
    return COH_DONE;
  }
  if (parcel->buffer >= 0 && is_lent(t, entry)) {
    unlock_directory(entry);
    return COH_STALLED;
  }
  coh_directory_step(engine->protocol, &engine->sharers, entry, &parcel->message, &outcome);
  if (outcome.result == COH_DONE) {
    if (outcome.deeds & COH_DEED_WRITE_MEMORY && parcel->buffer >= 0) put_memory(t, parcel, memory);
    buffer = take_memory(t, &outcome, entry, memory);
    if (engine->tally) coh_tally_step(engine, t->line, &parcel->message, &outcome, NULL, NULL);
  }
  unlock_directory(entry);
  if (outcome.result == COH_UNHANDLED) fault(t, &parcel->message, outcome.from, "has no cell for");
  if (outcome.result == COH_DONE) send_all(t, &outcome, buffer);
  return outcome.result;
}

void coh_lose(struct coh_engine *engine, uint64_t line)
{
  if (line >= engine->bytes >> engine->line_shift || !coh_is_here(engine, (int)(line / engine->window_lines))) return;
  struct coh_directory_entry *entry = directory_of(engine, line);
  if (lock_directory(engine, entry)) lose_line(engine, entry, (uint16_t)(engine->me + 1));
}

/* ---- Other hosts ------------------------------------------------------------------------------------------------- */

/* Whose the data is once the wire has it. A buffer that belongs to no other parcel is given away; what is lent goes to one device (several copies
 * of it would have to be returned together). */
static enum coh_data_use use_of(const struct transaction *t, int buffer)
{
  bool last = buffer >= 0 && t->buffers[buffer].parcels == 1;
  if (!last || buffer == ARRIVED) return COH_DATA_STAYS;
  if (buffer == LENT) return COH_DATA_LENT;
  return buffer >= local_buffers(t->engine) ? COH_DATA_GIVEN : COH_DATA_STAYS;
}

/* What cannot be sent is lost together with its receiver, and so is the line. */
static void send_by_wire(struct transaction *t, int device, const struct coh_message *message, int buffer, const struct coh_stamp *stamp)
{
  const struct coh_wire *wire = t->engine->wire;
  unsigned char *data = buffer >= 0 ? t->buffers[buffer].bytes : NULL;
  enum coh_data_use use = use_of(t, buffer);
  if (use != COH_DATA_STAYS) t->buffers[buffer].bytes = NULL;
  if (!wire->send(wire->context, device, message, t->line, data, use, stamp)) return;
  t->error = -EHOSTDOWN;
  if (coh_is_here(t->engine, t->home)) coh_lose(t->engine, t->line);
}

static void send_to_host(struct transaction *t, int device, const struct parcel *parcel)
{
  struct coh_stamp stamp;
  struct coh_hop hop = hop_of(t, &parcel->message);
  if (t->time.charged) coh_time_depart(t->engine->modelled, &t->time, &hop, parcel->ticks, &stamp);
  send_by_wire(t, device, &parcel->message, parcel->buffer, t->time.charged ? &stamp : NULL);
}

/* To the process on this host to which the step belongs. */
static void pass_on(struct transaction *t, const struct coh_message *message, int buffer)
{
  struct coh_stamp stamp = coh_time_stamp(&t->time, t->time.now);
  send_by_wire(t, message->target, message, buffer, t->time.charged ? &stamp : NULL);
}

/* ---- The caches -------------------------------------------------------------------------------------------------- */

/* Accesses whose messages may come by the wire are found by the line, whose frame is locked: then the one that is found cannot leave. Of
 * other lines only the number is looked at. */
static void announce(struct coh_engine *engine, struct coh_waiting *wait, uint64_t line)
{
  struct coh_patience patience = {0};
  for (;; coh_wait_turn(&patience)) /* more than COH_WAITING threads wait: until one does not any more */
    for (int i = 0; i < COH_WAITING; i++) {
      struct coh_place *place = &engine->waiting[i];
      uint64_t free = 0;
      if (!atomic_compare_exchange_strong(&place->line_1, &free, UINT64_MAX)) continue;
      place->wait = wait;
      atomic_store_explicit(&place->line_1, line + 1, memory_order_release); /* pairs with the acquire in find_waiting */
      return;
    }
}

/* There is at most one access, and one eviction, of a line. */
static struct coh_waiting *find_waiting(struct coh_engine *engine, uint64_t line, bool eviction)
{
  for (int i = 0; i < COH_WAITING; i++) {
    struct coh_place *place = &engine->waiting[i];
    if (atomic_load_explicit(&place->line_1, memory_order_acquire) == line + 1 && !place->wait->access == eviction) return place->wait;
  }
  return NULL;
}

static void withdraw(struct coh_engine *engine, uint64_t line, const struct coh_waiting *wait)
{
  for (int i = 0; i < COH_WAITING; i++) {
    struct coh_place *place = &engine->waiting[i];
    if (atomic_load_explicit(&place->line_1, memory_order_acquire) != line + 1 || place->wait != wait) continue;
    atomic_store_explicit(&place->line_1, 0, memory_order_release);
    return;
  }
}

/* The program's access that a step of this input may do; NULL when there is none. */
static struct coh_waiting *waiting_for(struct transaction *t, const struct coh_message *input)
{
  struct coh_waiting *wait = &t->wait;
  if (input->target != t->engine->me) return NULL;
  if (t->engine->wire && input->type >= COH_FIRST_MESSAGE) {
    wait = find_waiting(t->engine, t->line, false);
  }
  return wait && wait->access && !atomic_load_explicit(&wait->done, memory_order_relaxed) ? wait : NULL;
}

static struct coh_access *waiting_access(struct transaction *t, const struct coh_message *input)
{
  struct coh_waiting *wait = waiting_for(t, input);
  return wait ? wait->access : NULL;
}

/* Must the step be made in the process of the device, because it does the access of a thread there, or, with a modelled clock, has to do with one? */
static bool belongs_elsewhere(const struct transaction *t, const struct coh_message *input, const struct coh_outcome *outcome)
{
  if (!t->engine->wire || input->target == t->engine->me) return false;
  bool waits = t->time.charged && !t->engine->protocol->controllers[COH_CACHE].states[outcome->from].stable;
  return waits || outcome->deeds & (COH_DEED_LOAD | COH_DEED_STORE);
}

/* The deeds of a step on the frame's data, in the order that core.h gives them. Returns the buffer of what is sent. */
static int do_deeds(struct transaction *t, struct coh_frame *frame, const struct coh_message *input, const struct coh_outcome *outcome,
                    const unsigned char *arrived)
{
  const struct coh_cache_ops *ops = t->engine->ops;
  if (outcome->deeds & COH_DEED_FILL && arrived) ops->fill(t->engine, frame, arrived, outcome->state);
  int buffer = take_line(t, outcome, frame);
  struct coh_waiting *wait = waiting_for(t, input);
  if (outcome->deeds & (COH_DEED_LOAD | COH_DEED_STORE) && wait) {
    ops->perform(t->engine, frame, wait->access);
    wait->time.done_at = t->time.now;
    if (t->engine->wire && input->type >= COH_FIRST_MESSAGE) withdraw(t->engine, t->line, wait);
    atomic_store_explicit(&wait->done, true, memory_order_release); /* pairs with the acquire in await */
  }
  return buffer;
}

/* The entry is changed by one store, so that it is whole whenever its holder dies. */
static void set_entry(struct coh_frame *frame, const struct coh_cache_entry *entry)
{
  __atomic_store(&frame->entry, (struct coh_cache_entry *)entry, __ATOMIC_RELAXED);
}

/* In sanitizer builds every step that gives a right is checked against all other caches. */
#if defined(UMA_SAN)
enum { CHECKED = 1 };
#else
enum { CHECKED = 0 };
#endif

static void check_rights(const struct transaction *t, const struct coh_message *input, const struct coh_outcome *outcome)
{
  if (!CHECKED) return;
  struct coh_engine *engine = t->engine;
  const struct coh_state *states = engine->protocol->controllers[COH_CACHE].states;
  if (states[outcome->state].right <= states[outcome->from].right) return;
  int rival = coh_frame_rival(engine, input->target, t->line, (enum coh_right)states[outcome->state].right);
  if (rival < 0) return;
  fprintf(stderr, "libuma: the invariant \"%s\" does not hold: device %d has the right %s, but device %d has one as well\n",
          coh_invariants[0].name, engine->shape.first + input->target, coh_right_names[states[outcome->state].right],
          engine->shape.first + rival);
  abort();
}

/* After the first step: is nothing left to wait for? */
static bool is_over(const struct transaction *t, const struct coh_outcome *outcome)
{
  if (t->wait.access) return atomic_load_explicit(&t->wait.done, memory_order_relaxed);
  return t->engine->protocol->controllers[COH_CACHE].states[outcome->state].stable;
}

/* The frame is locked and holds the line; it is unlocked here. */
static void step_frame(struct transaction *t, struct coh_frame *frame, const struct coh_message *input, int data,
                       struct coh_outcome *outcome)
{
  struct coh_engine *engine = t->engine;
  struct coh_cache_entry entry = frame->entry;
  int buffer = NO_BUFFER;
  coh_cache_step(engine->protocol, &entry, input, outcome);
  if (belongs_elsewhere(t, input, outcome)) {
    coh_frame_unlock(engine, frame);
    pass_on(t, input, data);
    outcome->send_count = 0;
    outcome->result = COH_DONE;
    return;
  }
  struct coh_waiting *wait = t->time.charged ? waiting_for(t, input) : NULL;
  if (wait) coh_time_meet(&t->time, &wait->time);
  if (outcome->result == COH_DONE) {
    check_rights(t, input, outcome);
    engine->ops->retract(engine, frame, outcome->from, outcome->state);
    if (engine->tally) coh_tally_step(engine, t->line, input, outcome, frame, waiting_access(t, input));
    buffer = do_deeds(t, frame, input, outcome, data >= 0 ? t->buffers[data].bytes : NULL);
    set_entry(frame, &entry);
    engine->ops->grant(engine, frame, outcome->from, outcome->state);
    if (engine->wire && input->type < COH_FIRST_MESSAGE && !is_over(t, outcome)) announce(engine, &t->wait, t->line);
  }
  coh_frame_unlock(engine, frame);
  if (outcome->result == COH_UNHANDLED) fault(t, input, outcome->from, "has no cell for");
  if (outcome->result == COH_DONE) send_all(t, outcome, buffer);
}

/* A message to a cache that has no frame for the line: its controller is in the initial state, and has to stay there. */
static enum coh_result step_absent(struct transaction *t, const struct coh_message *input)
{
  struct coh_cache_entry entry = {0};
  struct coh_outcome outcome;
  coh_cache_step(t->engine->protocol, &entry, input, &outcome);
  if (outcome.result == COH_UNHANDLED) fault(t, input, 0, "has no cell for");
  if (outcome.result != COH_DONE) return outcome.result;
  if (entry.state || entry.acks) {
    fault(t, input, 0, "leaves it without an access, on");
    return COH_UNHANDLED;
  }
  if (t->engine->tally) coh_tally_step(t->engine, t->line, input, &outcome, NULL, NULL);
  send_all(t, &outcome, take_line(t, &outcome, NULL));
  return COH_DONE;
}

/* ---- Delivery ---------------------------------------------------------------------------------------------------- */

static enum coh_result deliver(struct transaction *t, const struct parcel *parcel)
{
  int device = target_of(t, &parcel->message);
  if (!coh_is_here(t->engine, device)) {
    send_to_host(t, device, parcel);
    return COH_DONE;
  }
  if (parcel->message.target == COH_HOME) return step_directory(t, parcel);
  if (t->engine->pages && device != t->engine->me && coh_pages_keep(t->engine, device, t->line)) return COH_STALLED;
  struct coh_frame *frame = coh_frame_find(t->engine, parcel->message.target, t->line);
  if (!frame) return step_absent(t, &parcel->message);
  struct coh_outcome outcome;
  step_frame(t, frame, &parcel->message, parcel->buffer, &outcome);
  return outcome.result;
}

/* Delivers the newest parcel that does not stall; false when all do. */
static bool deliver_one(struct transaction *t)
{
  for (int i = t->parcel_count - 1; i >= 0; i--) {
    struct parcel parcel = t->parcels[i];
    t->parcels[i] = t->parcels[--t->parcel_count];
    if (t->time.charged && coh_is_here(t->engine, target_of(t, &parcel.message))) arrive(t, &parcel);
    enum coh_result result = deliver(t, &parcel);
    if (parcel.buffer >= 0) t->buffers[parcel.buffer].parcels--;
    t->stepped |= result != COH_STALLED;
    if (result != COH_STALLED) return true;
    add_parcel(t, &parcel.message, parcel.buffer);
    struct parcel last = parcel; /* back to its place */
    t->parcels[t->parcel_count - 1] = t->parcels[i];
    t->parcels[i] = last;
  }
  return false;
}

/* Is the directory at work for a device that died? */
static bool is_line_lost(struct transaction *t)
{
  struct coh_directory_entry *entry = directory_of(t->engine, t->line);
  if (!lock_directory(t->engine, entry)) return true;
  int requestor = entry->requestor_1 - 1;
  bool lost = requestor >= 0 && requestor != t->engine->me && t->engine->is_lost(requestor);
  if (lost) lose_line(t->engine, entry, (uint16_t)(t->engine->me + 1));
  else unlock_directory(entry);
  return lost;
}

/* A directory of this host that is at work for this device, whose transaction has failed, would be so for ever: the line is lost. */
static void lose_begun(struct transaction *t)
{
  struct coh_engine *engine = t->engine;
  struct coh_directory_entry *entry = directory_of(engine, t->line);
  if (!coh_is_here(engine, t->home) || !lock_directory(engine, entry)) return;
  if (entry->requestor_1 == engine->me + 1) lose_line(engine, entry, (uint16_t)(engine->me + 1));
  else unlock_directory(entry);
}

/* The line is lost, or the request was not taken. */
static void take_back(struct transaction *t)
{
  lose_begun(t);
  struct coh_frame *frame = coh_frame_find(t->engine, t->engine->me, t->line);
  if (!frame) return;
  struct coh_cache_entry entry = frame->entry;
  if (t->engine->wire) withdraw(t->engine, t->line, &t->wait);
  coh_cache_take_back(t->engine->protocol, &entry, t->before, t->begun);
  set_entry(frame, &entry);
  coh_frame_unlock(t->engine, frame);
}

/* Whatever it waits for may have been lost with a device, and this is long enough. */
static bool gives_up(const struct transaction *t, const struct coh_patience *patience)
{
  if (!t->engine->wire || !patience->since_ns || fab_now_ns() - patience->since_ns < COH_GIVE_UP_NS) return false;
  for (int d = 0; d < t->engine->shape.devices; d++)
    if (t->engine->is_lost(d)) return true;
  return false;
}

/* Nobody is to wait for the rest of it: also not where the directory is at work for another device, which has given up before. */
static void give_up(struct transaction *t)
{
  const struct coh_wire *wire = t->engine->wire;
  t->error = -EHOSTDOWN;
  if (coh_is_here(t->engine, t->home)) coh_lose(t->engine, t->line);
  else wire->lose(wire->context, t->home, t->line);
}

/* Until nothing is under way any more, or nothing ever will be. */
static void run(struct transaction *t)
{
  struct coh_patience patience = {0};
  while (t->parcel_count && !t->error) {
    if (deliver_one(t)) {
      patience = (struct coh_patience){0};
      continue;
    }
    if (t->engine->wire) t->engine->wire->progress(t->engine->wire->context);
    coh_wait_turn(&patience);
    if (patience.turns % LOOK_EVERY) continue;
    if (coh_is_here(t->engine, t->home) && is_line_lost(t)) t->error = -EHOSTDOWN;
    else if (gives_up(t, &patience)) give_up(t);
  }
  if (t->error) take_back(t);
}

/* Is nothing of the transaction under way on other hosts? */
static bool is_settled(struct transaction *t)
{
  if (t->wait.access) return atomic_load_explicit(&t->wait.done, memory_order_acquire);
  struct coh_frame *frame = coh_frame_find(t->engine, t->engine->me, t->line);
  bool stable = !frame || t->engine->protocol->controllers[COH_CACHE].states[frame->entry.state].stable;
  if (stable) withdraw(t->engine, t->line, &t->wait); /* who finds it has the frame locked */
  if (frame) coh_frame_unlock(t->engine, frame);
  return stable;
}

/* The rest of a transaction comes by the wire. */
static void await(struct transaction *t)
{
  const struct coh_wire *wire = t->engine->wire;
  struct coh_patience patience = {.far = true};
  while (!t->error && !is_settled(t)) {
    wire->progress(wire->context);
    coh_wait_turn(&patience);
    if (patience.turns % LOOK_EVERY) continue;
    if (t->engine->is_lost(t->home) || atomic_load(&t->wait.error)) t->error = -EHOSTDOWN;
    else if (gives_up(t, &patience)) give_up(t);
    if (t->error) take_back(t);
  }
}

/* ---- Accesses ---------------------------------------------------------------------------------------------------- */

/* Steps the access into the locked frame and carries out what comes of it; COH_STALLED: the line is at work for somebody else. */
static enum coh_result begin(struct transaction *t, struct coh_frame *frame, int input)
{
  struct coh_message message = coh_access(input, t->engine->me);
  struct coh_outcome outcome;
  step_frame(t, frame, &message, NO_BUFFER, &outcome);
  t->before = outcome.from;
  t->begun = outcome.state;
  if (outcome.result == COH_DONE) run(t);
  if (outcome.result == COH_DONE && t->engine->wire) await(t);
  return outcome.result;
}

int coh_evict(struct coh_engine *engine, uint64_t line)
{
  struct room room;
  struct transaction t;
  struct coh_frame *frame = coh_frame_find(engine, engine->me, line);
  if (!frame) return 0;
  if (frame->entry.state == 0) {
    coh_frame_unlock(engine, frame);
    return 0;
  }
  open_transaction(&t, engine, line, NULL, &room);
  coh_time_begin(engine->modelled, &t.time, &t.wait.time);
  enum coh_result result = begin(&t, frame, COH_EVICT);
  close_transaction(&t);
  return result == COH_STALLED ? -EAGAIN : t.error;
}

/* Makes a frame free in the line's set; what cannot be evicted because it is lost goes to the end of the queue. */
static void make_room(struct coh_engine *engine, uint64_t victim, int *lost, struct coh_patience *patience)
{
  int result = victim == UINT64_MAX ? -EAGAIN : coh_evict(engine, victim);
  if (result == -EAGAIN) coh_wait_turn(patience);
  if (result != -EHOSTDOWN) return;
  struct coh_frame *frame = coh_frame_find(engine, engine->me, victim);
  if (!frame) return;
  coh_frame_use(engine, (uint32_t)(frame - engine->frames));
  coh_frame_unlock(engine, frame);
  ++*lost;
}

int coh_access_line(struct coh_engine *engine, uint64_t line, struct coh_access *access)
{
  struct room room;
  struct coh_patience patience = {0};
  struct transaction t;
  uint64_t victim;
  int lost = 0;
  open_transaction(&t, engine, line, access, &room);
  coh_time_begin(engine->modelled, &t.time, &t.wait.time);
  while (!atomic_load_explicit(&t.wait.done, memory_order_acquire) && !t.error && lost <= engine->shape.ways) {
    struct coh_frame *frame = coh_frame_claim(engine, line, &victim);
    if (!frame) {
      make_room(engine, victim, &lost, &patience);
      continue;
    }
    uint32_t index = (uint32_t)(frame - engine->frames);
    if (!engine->pages) coh_frame_note(engine, index);
    atomic_store_explicit(&engine->hints[line % COH_HINTS], index, memory_order_relaxed);
    if (begin(&t, frame, access->input) == COH_STALLED) coh_wait_turn(&patience);
  }
  close_transaction(&t);
  bool done = atomic_load_explicit(&t.wait.done, memory_order_acquire);
  if (done && t.time.charged) coh_time_end(engine->modelled, &t.wait.time);
  return done ? 0 : -EHOSTDOWN;
}

/* ---- What comes by the wire -------------------------------------------------------------------------------------- */

/* The line of a message that came by the wire is lost: whoever waits for it is told, and what stalls is not kept. */
static void refuse(struct transaction *t, int requestor)
{
  const struct coh_wire *wire = t->engine->wire;
  if (requestor == t->engine->me) coh_refused(t->engine, t->line);
  else wire->refuse(wire->context, requestor, t->line);
}

static void park(const struct transaction *t, const struct parcel *parcel)
{
  struct coh_stamp stamp = coh_time_stamp(&t->time, parcel->ticks);
  const void *data = parcel->buffer >= 0 ? t->buffers[parcel->buffer].bytes : NULL;
  coh_park(t->engine, &parcel->message, t->line, data, t->time.charged ? &stamp : NULL);
}

bool coh_step_arrived(struct coh_engine *engine, const struct coh_message *message, uint64_t line, const void *data,
                      const struct coh_stamp *stamp)
{
  struct room room;
  struct transaction t;
  int buffer = NO_BUFFER;
  open_transaction(&t, engine, line, NULL, &room);
  t.by_wire = true;
  if (data) {
    buffer = ARRIVED;
    t.buffers[buffer].bytes = (unsigned char *)(uintptr_t)data; /* nobody changes it */
  }
  add_parcel(&t, message, buffer);
  t.parcels[0].arrived = true;
  struct coh_hop hop = hop_of(&t, message);
  if (engine->modelled && stamp) t.parcels[0].ticks = coh_time_resume(engine->modelled, &t.time, &hop, stamp);
  while (t.parcel_count && !t.error && deliver_one(&t)) continue;
  if (t.parcel_count && !t.error && coh_is_here(engine, t.home) && is_line_lost(&t)) t.error = -EHOSTDOWN;
  if (t.error) refuse(&t, message->requestor);
  for (int i = 0; i < t.parcel_count && !t.error; i++) park(&t, &t.parcels[i]);
  close_transaction(&t);
  return t.stepped || t.error;
}

void coh_refused(struct coh_engine *engine, uint64_t line)
{
  if (line >= engine->bytes >> engine->line_shift) return;
  struct coh_frame *frame = coh_frame_find(engine, engine->me, line);
  if (!frame) return;
  for (int eviction = 0; eviction < 2; eviction++) {
    struct coh_waiting *wait = find_waiting(engine, line, eviction);
    if (wait) atomic_store(&wait->error, -EHOSTDOWN);
  }
  coh_frame_unlock(engine, frame);
}

/* ---- Invariants -------------------------------------------------------------------------------------------------- */

const struct coh_invariant *coh_engine_broken(struct coh_engine *engine, uint64_t line, struct coh_breach *breach)
{
  struct coh_cache_entry entries[COH_MAX_DEVICES] = {0};
  struct coh_directory_entry *directory = directory_of(engine, line);
  struct coh_view view = {
      .protocol = engine->protocol, .kind = &engine->sharers, .directory = directory, .caches = entries, .resting = true};
  if (!lock_directory(engine, directory)) return NULL; /* a line that is lost keeps no promise */
  unlock_directory(directory);
  for (int d = 0; d < engine->shape.devices; d++) {
    struct coh_frame *frame = coh_frame_find(engine, d, line);
    if (!frame) continue;
    entries[d] = frame->entry;
    coh_frame_unlock(engine, frame);
  }
  return coh_broken_invariant(&view, breach);
}
