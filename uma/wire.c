/* How the coherence engine reaches controllers on other hosts: see wire.h.
 *
 *     engine (any thread)  -> send    -> parcel -> endpoint          under the mutex
 *     endpoint -> arrive, complete    -> letter -> queue             upcalls, under the mutex
 *     queue -> coh_deliver            without the mutex, because what is delivered may send
 *
 * A thread of this process receives whatever the program does; threads that wait for an answer help. Both take letters out of the queue and
 * deliver them; the engine is correct for every order. What stalls there is tried again by the thread, which does not sleep longer than
 * a millisecond while there is any: what it waits for may be done by another process of this host, silently.
 *
 * Nobody waits while holding the mutex, and the engine calls send without any lock of its own, so there is no deadlock. Letters and
 * parcels come out of pools, because a thread may be interrupted inside of malloc by what makes it need one (a page fault).
 *
 * What is on the wire: a fab_header, whose kind, tag (the type), a (the line) and b (who) are the message, and the line's data. Its key was
 * proved by the fabric; every field is checked by coh_deliver. */
#include "uma/wire.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "uma/coherent.h"
#include "uma/session.h"
#include "uma/wait.h"

enum wire_kind { WIRE_MESSAGE = 1, WIRE_REFUSAL, WIRE_LOSS };
#define POOL_BYTES ((size_t)64 << 10) /* by which a pool grows */
#define STALLED_SLEEP_MS 1

struct letter {
  struct letter *next;
  int from;
  struct fab_header header;
  unsigned char *data; /* a buffer of the engine, or NULL */
};

struct parcel {
  struct parcel *next;
  struct fab_send send;
  unsigned char *data;
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
  struct uma_losses losses;
  pthread_t thread;
  bool running;
  _Atomic bool stopping;
};

/* ---- pools */

static void *pool_take(struct pool *pool)
{
  if (!pool->free) {
    unsigned char *slab = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (slab == MAP_FAILED) abort(); /* a message would be lost */
    *(void **)(void *)slab = pool->slabs;
    pool->slabs = slab;
    for (size_t at = pool->bytes; at + pool->bytes <= POOL_BYTES; at += pool->bytes) {
      *(void **)(void *)(slab + at) = pool->free;
      pool->free = slab + at;
    }
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

/* ---- sending */

static void reclaim(struct uma_wire *wire)
{
  for (struct parcel **at = &wire->sent; *at;) {
    struct parcel *parcel = *at;
    if (parcel->send.status == FAB_PENDING) {
      at = &parcel->next;
      continue;
    }
    *at = parcel->next;
    if (parcel->data) coh_buffer_give(wire->engine, parcel->data);
    pool_give(&wire->parcels, parcel);
  }
}

/* Small data goes with the header at once; what has to wait needs memory that stays. */
static int dispatch(struct uma_wire *wire, int device, const struct fab_header *header, const void *data)
{
  int to = uma_self.domain_first + device, result = 0;
  uma_crossing();
  pthread_mutex_lock(&wire->mutex);
  if (uma_is_lost(to)) {
    result = -EHOSTDOWN;
  } else {
    struct parcel *parcel = pool_take(&wire->parcels);
    *parcel = (struct parcel){.send = {.header = *header, .status = FAB_PENDING}, .data = data ? coh_buffer_take(wire->engine) : NULL};
    if (data) parcel->send.payload = memcpy(parcel->data, data, header->bytes);
    wire->endpoint->ops->send(wire->endpoint, to, FAB_SERVICE, &parcel->send);
    if (parcel->send.status < 0) result = -EHOSTDOWN;
    parcel->next = wire->sent;
    wire->sent = parcel;
    reclaim(wire);
  }
  pthread_mutex_unlock(&wire->mutex);
  return result;
}

static int wire_send(void *context, int device, const struct coh_message *message, uint64_t line, const void *data)
{
  struct uma_wire *wire = context;
  struct fab_header header = {.kind = WIRE_MESSAGE, .tag = message->type, .a = line, .b = pack(message)};
  if (data) header.bytes = wire->engine->shape.line_bytes;
  return dispatch(wire, device, &header, data);
}

static void wire_refuse(void *context, int device, uint64_t line)
{
  dispatch(context, device, &(struct fab_header){.kind = WIRE_REFUSAL, .a = line}, NULL);
}

static void wire_lose(void *context, int device, uint64_t line)
{
  dispatch(context, device, &(struct fab_header){.kind = WIRE_LOSS, .a = line}, NULL);
}

/* ---- receiving */

static void *arrive(void *context, int device, int channel, const struct fab_header *header, size_t *room, void **cookie)
{
  struct uma_wire *wire = context;
  struct letter *letter = pool_take(&wire->letters);
  bool has_data = header->bytes && header->bytes <= wire->engine->shape.line_bytes;
  *letter = (struct letter){.from = device, .header = *header, .data = has_data ? coh_buffer_take(wire->engine) : NULL};
  *cookie = letter;
  *room = has_data ? header->bytes : 0;
  return letter->data;
}

static void discard(struct uma_wire *wire, struct letter *letter)
{
  if (letter->data) coh_buffer_give(wire->engine, letter->data);
  pool_give(&wire->letters, letter);
}

static void complete(void *context, int device, int channel, const struct fab_header *header, void *cookie, int error)
{
  struct uma_wire *wire = context;
  struct letter *letter = cookie;
  if (error) {
    discard(wire, letter);
    return;
  }
  letter->next = NULL;
  *wire->queue_end = letter;
  wire->queue_end = &letter->next;
}

/* Nobody speaks for controllers of another host than its own; devices of this host pass on what was for them. */
static bool may_speak(const struct uma_wire *wire, const struct letter *letter, const struct coh_message *message)
{
  size_t home = letter->header.a / wire->engine->window_lines, source = message->source >= 0 ? (size_t)message->source : home;
  if (uma_is_local(letter->from)) return true;
  return source < (size_t)uma_self.domain_count &&
         uma_shape_group(&uma_self.shape, uma_self.domain_first + (int)source) == uma_shape_group(&uma_self.shape, letter->from);
}

/* What is no message at all gets a type that there is none of, so the engine counts it with what else it refuses. */
static void deliver(struct uma_wire *wire, const struct letter *letter)
{
  const struct fab_header *header = &letter->header;
  size_t line_bytes = wire->engine->shape.line_bytes;
  struct coh_message message = unpack(header);
  bool good = header->kind == WIRE_MESSAGE && header->tag >= 0 && header->tag <= UINT8_MAX &&
              (header->bytes == 0 || header->bytes == line_bytes) && may_speak(wire, letter, &message);
  if (!good) message.type = UINT8_MAX;
  if (header->kind == WIRE_REFUSAL) coh_refused(wire->engine, header->a);
  else if (header->kind == WIRE_LOSS) coh_lose(wire->engine, header->a);
  else coh_deliver(wire->engine, &message, header->a, good ? letter->data : NULL);
}

static void tell_lost(struct uma_wire *wire)
{
  for (int device; (device = uma_next_lost(&wire->losses)) >= 0;) wire->endpoint->ops->lose(wire->endpoint, device);
}

/* Under the mutex: moves what can be moved; the letters that have come are the caller's. */
static struct letter *receive(struct uma_wire *wire)
{
  if (uma_any_lost()) tell_lost(wire);
  wire->endpoint->ops->progress(wire->endpoint);
  reclaim(wire);
  struct letter *letters = wire->queue;
  wire->queue = NULL;
  wire->queue_end = &wire->queue;
  return letters;
}

static bool deliver_all(struct uma_wire *wire, struct letter *letters)
{
  if (!letters) return false;
  uma_crossing();
  for (struct letter *letter = letters; letter; letter = letter->next) deliver(wire, letter);
  uma_crossing();
  pthread_mutex_lock(&wire->mutex);
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
  return coh_retry(wire->engine) || any;
}

static void wire_progress(void *context)
{
  step(context);
}

void uma_wire_help(struct uma_wire *wire)
{
  step(wire);
}

static void rest(struct uma_wire *wire)
{
  struct fab_endpoint *endpoint = wire->endpoint;
  struct pollfd arrival = {.fd = endpoint->ops->descriptor(endpoint), .events = POLLIN};
  pthread_mutex_lock(&wire->mutex);
  endpoint->ops->sleep_begin(endpoint);
  struct letter *letters = receive(wire);
  pthread_mutex_unlock(&wire->mutex);
  if (!deliver_all(wire, letters)) poll(&arrival, 1, coh_stalls(wire->engine) ? STALLED_SLEEP_MS : (int)(UMA_SLEEP_NS / 1000000));
  pthread_mutex_lock(&wire->mutex);
  endpoint->ops->sleep_end(endpoint);
  pthread_mutex_unlock(&wire->mutex);
}

/* Gives way at once, always: it is not the one who waits for an answer. */
static void *serve(void *context)
{
  struct uma_wire *wire = context;
  struct uma_waiter fresh = {.steps = UMA_EAGER_LOOKS + UMA_PATIENT_LOOKS}, waiter = fresh;
  while (!atomic_load_explicit(&wire->stopping, memory_order_acquire)) {
    if (step(wire)) waiter = fresh;
    else if (!uma_wait_step(&waiter)) rest(wire);
  }
  return NULL;
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

static int open_endpoint(struct uma_wire *wire)
{
  struct fab_config config = {.sink = {.context = wire, .arrive = arrive, .complete = complete, .lost = uma_wire_lost}};
  uma_wire_configure(&config, FAB_SERVICE);
  int error = fab_ofi.open(&config, &wire->endpoint);
  return error ? uma_fail(error, "cannot open an endpoint to the other hosts (see `uma info` for providers): %s", strerror(-error)) : 0;
}

int uma_wire_open(struct coh_engine *engine, struct uma_wire **opened)
{
  struct uma_wire *wire = calloc(1, sizeof *wire);
  if (!wire) return uma_fail(-ENOMEM, "no memory for the links to other hosts");
  wire->engine = engine;
  wire->letters.bytes = (sizeof(struct letter) + 15) / 16 * 16;
  wire->parcels.bytes = (sizeof(struct parcel) + 15) / 16 * 16;
  wire->queue_end = &wire->queue;
  pthread_mutex_init(&wire->mutex, NULL);
  int result = open_endpoint(wire);
  if (result) {
    free(wire);
    return result;
  }
  wire->face = (struct coh_wire){.context = wire,
                                 .first = uma_self.first - uma_self.domain_first,
                                 .count = uma_self.count,
                                 .send = wire_send,
                                 .refuse = wire_refuse,
                                 .lose = wire_lose,
                                 .progress = wire_progress};
  engine->wire = &wire->face;
  *opened = wire;
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
  wire->engine->wire = NULL;
  pthread_mutex_destroy(&wire->mutex);
  pool_close(&wire->letters);
  pool_close(&wire->parcels);
  free(wire);
}
