/* How the coherence engine reaches controllers on other hosts: see wire.h.
 *
 *     engine (any thread)  -> send    -> parcel -> endpoint          under the mutex
 *     endpoint -> arrive, complete    -> letter -> queue             upcalls, under the mutex; or adopt
 *     queue -> coh_deliver            without the mutex, because what is delivered may send
 *
 * A thread of this process receives whatever the program does; threads that wait for an answer help. Both take letters out of the queue and
 * deliver them; the engine is correct for every order. What stalls there is tried again by the thread, which does not sleep longer than
 * a millisecond while there is any: what it waits for may be done by another process of this host, silently.
 *
 * Nobody waits while holding the mutex, and the engine calls send without any lock of its own, so there is no deadlock. Letters and
 * parcels come out of pools, because a thread may be interrupted inside of malloc by what makes it need one (a page fault).
 *
 * What is on the wire: a fab_header, whose kind, tag (the type), a (the line) and b (who) are the message, and the line's data, behind a stamp where
 * a modelled clock is charged. Its key was proved by the fabric; every field is checked by coh_deliver.
 *
 * A question of the modelled clock is answered in the upcall itself, without waiting for anything; so who waits for an answer, in the middle of whatever
 * the engine does, gets it as long as the other process lives. */
#include "uma/wire.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "uma/clock.h"
#include "uma/coherent.h"
#include "uma/session.h"
#include "uma/wait.h"

#define POOL_BYTES ((size_t)64 << 10) /* by which a pool grows */
#define STALLED_SLEEP_MS 1
#define TURNS 1000     /* at the mutex, before a thread sleeps there */
#define SMALL_BYTES 96 /* of a payload that needs no buffer */

struct letter {
  struct letter *next;
  int from;
  struct fab_header header;
  unsigned char *payload; /* `small`, or a buffer of the engine, or NULL; or, */
  bool adopted;           /* a place of the endpoint */
  unsigned char small[SMALL_BYTES];
};

struct parcel {
  struct parcel *next;
  struct fab_send send;
  unsigned char *payload; /* likewise */
  bool lent;              /* it is the memory of the line */
  unsigned char small[SMALL_BYTES];
};
_Static_assert(sizeof(struct uma_clock_letter) <= SMALL_BYTES && sizeof(struct coh_stamp) <= SMALL_BYTES, "fit");

/* Somebody who waits for an answer. */
struct ask {
  struct ask *next;
  uint64_t number;
  int device;
  struct uma_clock_letter *letter;
  _Atomic bool answered, failed;
};

/* Objects of one size; under the mutex. The first word of what is free, and of slabs, is the link to the next. */
struct pool {
  void *free, *slabs;
  size_t bytes; /* of an object */
};

struct uma_wire {
  struct coh_wire face; /* what the engine knows */
  struct coh_engine *engine;
  struct fab_endpoint *endpoint;
  pthread_mutex_t mutex;
  struct pool letters, parcels;
  struct letter *queue, **queue_end;
  struct parcel *sent; /* whose data is not the caller's yet */
  struct ask *asks;
  uint64_t last_ask;
  struct uma_losses losses;
  pthread_t thread;
  bool running;
  _Atomic bool stopping;
  _Atomic unsigned looks;      /* of threads that wait */
  _Atomic unsigned deliveries; /* batches of letters, by whomever */
};

/* Whoever has the mutex has it for a microsecond or two; to sleep for it would take fifty. */
static void lock(struct uma_wire *wire)
{
  for (int turn = 0; turn < TURNS; turn++) {
    if (!pthread_mutex_trylock(&wire->mutex)) return;
    sched_yield();
  }
  pthread_mutex_lock(&wire->mutex);
}

/* ---- pools */

static void *pool_take(struct pool *pool)
{
  if (!pool->free) {
    unsigned char *slab = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (slab == MAP_FAILED) abort(); /* a message would be lost */
    *(void **)(void *)slab = pool->slabs;
    pool->slabs = slab;
    size_t at = pool->bytes; /* one at least fits behind the link */
    do {
      *(void **)(void *)(slab + at) = pool->free;
      pool->free = slab + at;
    } while ((at += pool->bytes) + pool->bytes <= POOL_BYTES);
  }
  void *object = pool->free;
  pool->free = *(void **)object;
  return object;
}

static void pool_give(struct pool *pool, void *object)
{
  *(void **)object = pool->free;
  pool->free = object;
}

static void pool_close(struct pool *pool)
{
  for (void *slab = pool->slabs, *next; slab; slab = next) {
    next = *(void **)slab;
    munmap(slab, POOL_BYTES);
  }
}

/* ---- what is on the wire */

static uint64_t pack(const struct coh_message *message)
{
  return (uint64_t)(uint16_t)message->acks | (uint64_t)(uint16_t)message->source << 16 | (uint64_t)(uint16_t)message->target << 32 |
         (uint64_t)(uint16_t)message->requestor << 48;
}

static struct coh_message unpack(const struct fab_header *header)
{
  uint64_t b = header->b;
  return (struct coh_message){.type = (uint8_t)header->tag,
                              .acks = (int16_t)b,
                              .source = (int16_t)(b >> 16),
                              .target = (int16_t)(b >> 32),
                              .requestor = (int16_t)(b >> 48)};
}

/* ---- payloads */

/* Most that any message carries. */
static size_t payload_most(const struct uma_wire *wire)
{
  return wire->engine ? wire->engine->shape.line_bytes + sizeof(struct coh_stamp) : SMALL_BYTES;
}

/* NULL: of nothing, or of more than any message carries. */
static unsigned char *take_room(struct uma_wire *wire, size_t bytes, unsigned char *small)
{
  if (!bytes || bytes > payload_most(wire)) return NULL;
  return bytes <= SMALL_BYTES ? small : coh_buffer_take(wire->engine);
}

static void give_room(struct uma_wire *wire, unsigned char *room, const unsigned char *small)
{
  if (room && room != small) coh_buffer_give(wire->engine, room);
}

/* ---- sending */

/* What goes behind a header, in two parts, either of which may be NULL. */
struct cargo {
  const void *stamp;
  size_t stamp_bytes;
  void *data;
  size_t data_bytes;
  enum coh_data_use use;
};

static void reclaim(struct uma_wire *wire)
{
  for (struct parcel **at = &wire->sent; *at;) {
    struct parcel *parcel = *at;
    if (parcel->send.status == FAB_PENDING) {
      at = &parcel->next;
      continue;
    }
    *at = parcel->next;
    if (parcel->lent) coh_return_memory(wire->engine, parcel->send.header.a);
    else give_room(wire, parcel->payload, parcel->small);
    pool_give(&wire->parcels, parcel);
  }
}

/* The data is not needed any more. */
static void give_back(struct uma_wire *wire, uint64_t line, const struct cargo *cargo)
{
  if (cargo->use == COH_DATA_GIVEN) coh_buffer_give(wire->engine, cargo->data);
  if (cargo->use == COH_DATA_LENT) coh_return_memory(wire->engine, line);
}

/* What need not stay goes as it is, unless a stamp stands before it. */
static void load(struct uma_wire *wire, struct parcel *parcel, const struct cargo *cargo)
{
  if (cargo->use != COH_DATA_STAYS && !cargo->stamp) {
    parcel->payload = cargo->data;
    parcel->lent = cargo->use == COH_DATA_LENT;
    return;
  }
  parcel->payload = take_room(wire, parcel->send.header.bytes, parcel->small);
  if (cargo->stamp_bytes) memcpy(parcel->payload, cargo->stamp, cargo->stamp_bytes);
  if (cargo->data_bytes) memcpy(parcel->payload + cargo->stamp_bytes, cargo->data, cargo->data_bytes);
  give_back(wire, parcel->send.header.a, cargo);
}

/* Under the mutex. */
static int post(struct uma_wire *wire, int to, struct fab_header header, const struct cargo *cargo)
{
  struct parcel *parcel = pool_take(&wire->parcels);
  header.bytes = cargo->stamp_bytes + cargo->data_bytes;
  *parcel = (struct parcel){.send = {.header = header, .status = FAB_PENDING}};
  load(wire, parcel, cargo);
  parcel->send.payload = parcel->payload;
  wire->endpoint->ops->send(wire->endpoint, to, FAB_SERVICE, &parcel->send);
  int result = parcel->send.status < 0 ? -EHOSTDOWN : 0;
  parcel->next = wire->sent;
  wire->sent = parcel;
  return result;
}

static int dispatch(struct uma_wire *wire, int device, const struct fab_header *header, const struct cargo *cargo)
{
  int to = uma_self.domain_first + device, result = -EHOSTDOWN;
  uma_crossing();
  lock(wire);
  if (!uma_is_lost(to)) result = post(wire, to, *header, cargo);
  else give_back(wire, header->a, cargo);
  reclaim(wire);
  pthread_mutex_unlock(&wire->mutex);
  return result;
}

static int wire_send(void *context, int device, const struct coh_message *message, uint64_t line, void *data, enum coh_data_use use,
                     const struct coh_stamp *stamp)
{
  const struct uma_wire *wire = context;
  struct fab_header header = {.kind = stamp ? UMA_WIRE_TIMED : UMA_WIRE_MESSAGE, .tag = message->type, .a = line, .b = pack(message)};
  struct cargo cargo = {stamp, stamp ? sizeof *stamp : 0, data, data ? wire->engine->shape.line_bytes : 0, use};
  return dispatch(context, device, &header, &cargo);
}

static void wire_refuse(void *context, int device, uint64_t line)
{
  dispatch(context, device, &(struct fab_header){.kind = UMA_WIRE_REFUSAL, .a = line}, &(struct cargo){0});
}

static void wire_lose(void *context, int device, uint64_t line)
{
  dispatch(context, device, &(struct fab_header){.kind = UMA_WIRE_LOSS, .a = line}, &(struct cargo){0});
}

/* ---- receiving */

static struct letter *take_letter(struct uma_wire *wire, int from, const struct fab_header *header, bool adopted)
{
  struct letter *letter = pool_take(&wire->letters);
  letter->next = NULL;
  letter->from = from;
  letter->header = *header;
  letter->adopted = adopted;
  return letter;
}

static void *arrive(void *context, int device, int channel, const struct fab_header *header, size_t *room, void **cookie)
{
  struct uma_wire *wire = context;
  struct letter *letter = take_letter(wire, device, header, false);
  letter->payload = take_room(wire, header->bytes, letter->small);
  *cookie = letter;
  *room = letter->payload ? header->bytes : 0;
  return letter->payload;
}

static void discard(struct uma_wire *wire, struct letter *letter)
{
  if (letter->adopted) wire->endpoint->ops->release(wire->endpoint, letter->payload);
  else give_room(wire, letter->payload, letter->small);
  pool_give(&wire->letters, letter);
}

/* Of the modelled clock, and done with at once; false: it is none that there can be. */
static bool complete_clock(struct uma_wire *wire, const struct letter *letter)
{
  const struct fab_header *header = &letter->header;
  struct uma_clock_letter said;
  if (header->kind != UMA_WIRE_QUESTION && header->kind != UMA_WIRE_ANSWER) return false;
  if (header->bytes != sizeof said || !uma_self.clock) return false;
  memcpy(&said, letter->payload, sizeof said);
  if (header->kind == UMA_WIRE_QUESTION) {
    uma_clock_answer(&said);
    post(wire, letter->from, (struct fab_header){.kind = UMA_WIRE_ANSWER, .a = header->a},
         &(struct cargo){.stamp = &said, .stamp_bytes = sizeof said});
    return true;
  }
  for (struct ask *ask = wire->asks; ask; ask = ask->next) {
    if (ask->number != header->a || ask->device != letter->from || atomic_load(&ask->answered)) continue;
    *ask->letter = said;
    atomic_store_explicit(&ask->answered, true, memory_order_release); /* pairs with the acquire in await_answer */
  }
  return true;
}

static void complete(void *context, int device, int channel, const struct fab_header *header, void *cookie, int error)
{
  struct uma_wire *wire = context;
  struct letter *letter = cookie;
  if (error || complete_clock(wire, letter) || !wire->engine) {
    discard(wire, letter);
    return;
  }
  *wire->queue_end = letter;
  wire->queue_end = &letter->next;
}

static void adopt(void *context, int device, int channel, const struct fab_header *header, void *payload)
{
  struct letter *letter = take_letter(context, device, header, true);
  letter->payload = payload;
  complete(context, device, channel, header, letter, 0);
}

/* Nobody speaks for controllers of another host than its own; devices of this host pass on what was for them. */
static bool may_speak(const struct uma_wire *wire, const struct letter *letter, const struct coh_message *message)
{
  size_t home = letter->header.a / wire->engine->window_lines, source = message->source >= 0 ? (size_t)message->source : home;
  if (uma_is_local(letter->from)) return true;
  return source < (size_t)uma_self.domain_count &&
         uma_shape_group(&uma_self.shape, uma_self.domain_first + (int)source) == uma_shape_group(&uma_self.shape, letter->from);
}

/* The letter's stamp and data, NULL where there is none; false: it has not what a message can have. */
static bool unwrap(const struct uma_wire *wire, const struct letter *letter, struct coh_stamp *stamp, const unsigned char **data)
{
  bool timed = letter->header.kind == UMA_WIRE_TIMED;
  size_t stamp_bytes = timed ? sizeof *stamp : 0, bytes = letter->header.bytes;
  if (letter->header.kind != UMA_WIRE_MESSAGE && !timed) return false;
  if (bytes != stamp_bytes && bytes != stamp_bytes + wire->engine->shape.line_bytes) return false;
  if (timed) memcpy(stamp, letter->payload, sizeof *stamp);
  for (int i = 0; timed && i < COH_MOMENT_PARTS; i++)
    if (stamp->front.parts[i] > FAB_TICKS_MOST) return false;
  *data = bytes > stamp_bytes ? letter->payload + stamp_bytes : NULL;
  return !timed || (stamp->ticks <= FAB_TICKS_MOST && stamp->front.ticks <= FAB_TICKS_MOST);
}

/* What is no message at all gets a type that there is none of, so the engine counts it with what else it refuses. */
static void deliver(struct uma_wire *wire, const struct letter *letter)
{
  const struct fab_header *header = &letter->header;
  const unsigned char *data = NULL;
  struct coh_message message = unpack(header);
  struct coh_stamp stamp;
  bool good = header->tag >= 0 && header->tag <= UINT8_MAX && unwrap(wire, letter, &stamp, &data) && may_speak(wire, letter, &message);
  if (!good) message.type = UINT8_MAX;
  if (header->kind == UMA_WIRE_REFUSAL) coh_refused(wire->engine, header->a);
  else if (header->kind == UMA_WIRE_LOSS) coh_lose(wire->engine, header->a);
  else coh_deliver(wire->engine, &message, header->a, good ? data : NULL, header->kind == UMA_WIRE_TIMED ? &stamp : NULL);
}

static void tell_lost(struct uma_wire *wire)
{
  for (int device; (device = uma_next_lost(&wire->losses)) >= 0;) wire->endpoint->ops->lose(wire->endpoint, device);
}

/* Under the mutex: moves what can be moved. */
static void move(struct uma_wire *wire)
{
  if (uma_any_lost()) tell_lost(wire);
  wire->endpoint->ops->progress(wire->endpoint);
  reclaim(wire);
}

/* The same; the letters that have come are the caller's. */
static struct letter *receive(struct uma_wire *wire)
{
  move(wire);
  struct letter *letters = wire->queue;
  wire->queue = NULL;
  wire->queue_end = &wire->queue;
  return letters;
}

static bool deliver_all(struct uma_wire *wire, struct letter *letters)
{
  if (!letters) return false;
  atomic_fetch_add_explicit(&wire->deliveries, 1, memory_order_relaxed);
  uma_crossing();
  for (struct letter *letter = letters; letter; letter = letter->next) deliver(wire, letter);
  uma_crossing();
  lock(wire);
  for (struct letter *next; letters; letters = next) {
    next = letters->next;
    discard(wire, letters);
  }
  pthread_mutex_unlock(&wire->mutex);
  return true;
}

/* Somebody else who is at it delivers as well as we would. */
static bool step(struct uma_wire *wire)
{
  if (pthread_mutex_trylock(&wire->mutex)) return false;
  struct letter *letters = receive(wire);
  pthread_mutex_unlock(&wire->mutex);
  bool any = deliver_all(wire, letters);
  return (wire->engine && coh_retry(wire->engine)) || any;
}

void uma_wire_help(struct uma_wire *wire)
{
  atomic_fetch_add_explicit(&wire->looks, 1, memory_order_relaxed);
  step(wire);
}

static void wire_progress(void *context)
{
  uma_wire_help(context);
}

static void rest(struct uma_wire *wire)
{
  struct fab_endpoint *endpoint = wire->endpoint;
  struct pollfd arrival = {.fd = endpoint->ops->descriptor(endpoint), .events = POLLIN};
  lock(wire);
  endpoint->ops->sleep_begin(endpoint);
  struct letter *letters = receive(wire);
  pthread_mutex_unlock(&wire->mutex);
  bool stalls = wire->engine && coh_stalls(wire->engine);
  if (!deliver_all(wire, letters)) poll(&arrival, 1, stalls ? STALLED_SLEEP_MS : (int)(UMA_SLEEP_NS / 1000000));
  lock(wire);
  endpoint->ops->sleep_end(endpoint);
  pthread_mutex_unlock(&wire->mutex);
}

static unsigned now(_Atomic unsigned *count)
{
  return atomic_load_explicit(count, memory_order_relaxed);
}

/* Gives way at once, always: it is not the one who waits for an answer; and while such a one looks it does not look itself. It stays awake while
 * letters come, whoever takes them: to be woken by each would cost who sends it, and who waits for it, more than the letter does. */
static void *serve(void *context)
{
  struct uma_wire *wire = context;
  struct uma_waiter fresh = {.steps = UMA_EAGER_LOOKS + UMA_PATIENT_LOOKS}, waiter = fresh;
  unsigned looks = 0, deliveries = 0;
  while (!atomic_load_explicit(&wire->stopping, memory_order_acquire)) {
    bool helped = now(&wire->looks) != looks;
    looks = now(&wire->looks);
    if (!helped) step(wire);
    if (now(&wire->deliveries) != deliveries) waiter = fresh;
    deliveries = now(&wire->deliveries);
    if (!uma_wait_step(&waiter)) rest(wire);
  }
  return NULL;
}

/* ---- asking */

/* What comes besides is left to others, or for later: this thread may be in the middle of anything. */
static void receive_only(struct uma_wire *wire)
{
  if (pthread_mutex_trylock(&wire->mutex)) return;
  move(wire);
  pthread_mutex_unlock(&wire->mutex);
}

static int await_answer(struct uma_wire *wire, const struct ask *ask)
{
  struct uma_waiter waiter = {0};
  while (!atomic_load_explicit(&ask->answered, memory_order_acquire)) {
    if (atomic_load(&ask->failed) || uma_is_lost(ask->device)) return atomic_load(&ask->answered) ? 0 : -EHOSTDOWN;
    receive_only(wire);
    if (!uma_wait_step(&waiter)) fab_nap();
  }
  return 0;
}

/* Both under the mutex. */
static void begin_ask(struct uma_wire *wire, struct ask *ask)
{
  ask->number = ++wire->last_ask;
  ask->next = wire->asks;
  wire->asks = ask;
}

static void end_ask(struct uma_wire *wire, const struct ask *ask)
{
  struct ask **at = &wire->asks;
  while (*at != ask) at = &(*at)->next;
  *at = ask->next;
}

int uma_wire_ask(struct uma_wire *wire, int device, struct uma_clock_letter *letter)
{
  struct ask ask = {.device = device, .letter = letter};
  uma_crossing();
  lock(wire);
  begin_ask(wire, &ask);
  struct fab_header question = {.kind = UMA_WIRE_QUESTION, .a = ask.number};
  int result =
      uma_is_lost(device) ? -EHOSTDOWN : post(wire, device, question, &(struct cargo){.stamp = letter, .stamp_bytes = sizeof *letter});
  pthread_mutex_unlock(&wire->mutex);
  if (!result) result = await_answer(wire, &ask);
  lock(wire);
  end_ask(wire, &ask);
  pthread_mutex_unlock(&wire->mutex);
  uma_crossing();
  return result;
}

/* ---- loss */

void uma_wire_lost(void *context, int device, bool in_order)
{
  uint32_t joined = UMA_MEMBER_JOINED, new_state = UMA_MEMBER_NEW;
  struct uma_board *board = uma_self.board;
  if (!in_order) uma_board_lose(board, device);
  else if (!atomic_compare_exchange_strong(&board->members[device].state, &joined, UMA_MEMBER_LEFT))
    atomic_compare_exchange_strong(&board->members[device].state, &new_state,
                                   UMA_MEMBER_LEFT); /* of another host: nobody else writes it here */
}

/* Who has left, in order or not, answers no more. Under the mutex. */
static void lost(void *context, int device, bool in_order)
{
  struct uma_wire *wire = context;
  for (struct ask *ask = wire->asks; ask; ask = ask->next)
    if (ask->device == device) atomic_store(&ask->failed, true);
  uma_wire_lost(context, device, in_order);
}

/* ---- beginning and end */

void uma_wire_configure(struct fab_config *config, enum fab_channel channel)
{
  const struct uma_shape *shape = &uma_self.shape;
  config->device = uma_self.device;
  config->devices = shape->devices;
  config->channel = channel;
  config->provider = *shape->provider ? shape->provider : NULL;
  config->interface = *shape->interface ? shape->interface : NULL;
  /* One endpoint of a device moves whatever the program does; the others may be silent for as long as that computes. */
  config->watch = channel == FAB_SERVICE || (channel == FAB_ENGINE && !uma_self.wire);
  config->silence_ns = config->watch ? shape->silence_ns : UINT64_MAX;
  memcpy(config->key, uma_self.board->key, sizeof config->key);
}

static int open_endpoint(const struct fab_ops *net, struct uma_wire *wire)
{
  struct fab_config config = {.sink = {.context = wire, .arrive = arrive, .complete = complete, .adopt = adopt, .lost = lost}};
  config.adopted_bytes = payload_most(wire);
  uma_wire_configure(&config, FAB_SERVICE);
  int error = (net ? net : &fab_ofi)->open(&config, &wire->endpoint);
  return error ? uma_fail(error, "cannot open an endpoint to the other hosts (see `uma info` for providers): %s", strerror(-error)) : 0;
}

int uma_wire_open(const struct fab_ops *net, struct coh_engine *engine, struct uma_wire **opened)
{
  struct uma_wire *wire = calloc(1, sizeof *wire);
  if (!wire) return uma_fail(-ENOMEM, "no memory for the links to other hosts");
  wire->engine = engine;
  wire->letters.bytes = (sizeof(struct letter) + 15) / 16 * 16;
  wire->parcels.bytes = (sizeof(struct parcel) + 15) / 16 * 16;
  wire->queue_end = &wire->queue;
  pthread_mutex_init(&wire->mutex, NULL);
  int result = open_endpoint(net, wire);
  if (result) {
    free(wire);
    return result;
  }
  *opened = wire;
  if (!engine) return 0;
  wire->face = (struct coh_wire){.context = wire,
                                 .first = uma_self.first - uma_self.domain_first,
                                 .count = uma_self.count,
                                 .send = wire_send,
                                 .refuse = wire_refuse,
                                 .lose = wire_lose,
                                 .progress = wire_progress};
  engine->wire = &wire->face;
  return 0;
}

int uma_wire_contact(struct uma_wire *wire, struct fab_contact *contact)
{
  int error = wire->endpoint->ops->contact(wire->endpoint, contact);
  return error ? uma_fail(error, "an endpoint has no address: %s", strerror(-error)) : 0;
}

int uma_wire_connect(struct uma_wire *wire, const struct fab_contact *contacts)
{
  sigset_t all, before;
  int error = -wire->endpoint->ops->connect(wire->endpoint, contacts);
  if (error) return uma_fail(-error, "the contacts of the other devices are not valid: %s", strerror(error));
  sigfillset(&all); /* the program's signals go to the program's threads */
  pthread_sigmask(SIG_SETMASK, &all, &before);
  error = pthread_create(&wire->thread, NULL, serve, wire);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  wire->running = !error;
  return error ? uma_fail(-error, "cannot start the thread that receives from other hosts: %s", strerror(error)) : 0;
}

void uma_wire_close(struct uma_wire *wire)
{
  atomic_store_explicit(&wire->stopping, true, memory_order_release);
  if (wire->running) pthread_join(wire->thread, NULL);
  wire->endpoint->ops->close(wire->endpoint);
  reclaim(wire);
  if (wire->engine) wire->engine->wire = NULL;
  pthread_mutex_destroy(&wire->mutex);
  pool_close(&wire->letters);
  pool_close(&wire->parcels);
  free(wire);
}
