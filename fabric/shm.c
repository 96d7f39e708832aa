/* The fabric of one host: shared memory. MAP and RMA are plain copies and processor atomics on the mapped windows.
 *
 * MSG: for each ordered pair of devices one ring with a single producer and a single consumer, in fab_config.rings, which must be
 * zeroed when the first endpoint opens; a device opens once (again while fab_shm_is_unused). A ring has two parts: slots of one cache line, and a bulk area of bytes.
 * A message begins with a slot that holds its header; up to SLOT_INLINE bytes of payload lie in the same line. Longer payload lies in
 * the bulk area in fragments, the first announced by the header's slot, each further one by a slot of its own.
 *
 * Why it is correct. Only the producer writes slots and bulk; it publishes a slot, and the bulk bytes that the slot announces, by a release
 * store of the slot's `lap`, which pairs with the consumer's acquire load of it (slot_ready). Lap numbers differ between two uses of a
 * slot, and payload never lies over a lap word, so stale bytes are never taken for a message. Only the consumer writes the ring's
 * struct credit: a release store once it has copied, which pairs with the producer's acquire load (refresh_credit). No other word
 * decides anything, so a process that is killed at any instruction leaves its ring either with a whole slot more or without.
 *
 * Credit is returned when a quarter of the slots or of the bulk area was consumed. No deadlock: a producer waits only while more
 * than a quarter is in use (a fragment is at most a quarter of the bulk area), and a consumer with nothing left to read holds back less.
 *
 * A receiver polls only the rings of devices that ever sent to it: they set their bit in its inbox before their first message.
 * Whoever publishes a slot or credit rings the other's bell (fabric/futex.h); with wake_fds the bell's sound is a write to an eventfd.
 */
#include "fabric/fabric.h"
#include "fabric/futex.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SLOT_INLINE 24
#define RING_BUDGET (16ull << 30) /* bytes of address space for all rings of a domain */
#define RING_MIN 4096u
#define RING_MAX (256u << 10)
/* Small enough that the two copies of a message overlap, large enough to hide a slot's cost: streams of 8 and 16 KiB are three times as fast by
 * fragments of 2 KiB as by those of 8 KiB, but longer messages arrive a third later. */
#define FRAGMENT 2048u
#define FRAGMENT_OF_LONG 4096u
#define LONG_MESSAGE (16u << 10)
#define RECEIVE_BATCH 64 /* slots taken from one ring before the next ring has its turn */
#define MAX_COUNT 1024
#define ROUND_UP(value, unit) (((value) + (unit)-1) / (unit) * (unit))

struct slot {
  _Alignas(FAB_CACHE_LINE) _Atomic uint32_t lap; /* 1 + how often the ring had wrapped when this was published */
  uint32_t fragment;                             /* bytes of the bulk area that come with it */
  struct fab_header header;                      /* in a message's first slot only */
  unsigned char data[SLOT_INLINE];               /* the whole payload when it is not longer */
};
_Static_assert(sizeof(struct slot) == FAB_CACHE_LINE, "an 8-byte message is one cache line");

struct credit { /* totals since the beginning, written by the consumer */
  _Alignas(FAB_CACHE_LINE) _Atomic uint64_t slots;
  _Atomic uint64_t bulk;
};

struct inbox { /* of a device; hardly ever written, so that everybody holds a copy of its lines */
  _Alignas(2 * FAB_CACHE_LINE) struct fab_bell bell;
  _Atomic uint64_t senders[MAX_COUNT / 64]; /* bit s: device first + s has sent to it */
};

struct producer { /* this endpoint's side of the ring to one device */
  struct slot *slots;
  unsigned char *bulk;
  struct credit *credit;
  uint32_t index, lap;        /* of the next slot */
  uint32_t bulk_at;           /* of the next fragment */
  bool announced;             /* the bit in its inbox is set */
  uint64_t used, bulk_used;   /* totals */
  uint64_t freed, bulk_freed; /* credit as last seen */
  struct fab_send *queue, **queue_end;
  struct peer *next_waiting; /* in endpoint.waiting while queue is not empty */
};

struct consumer { /* this endpoint's side of the ring from one device */
  struct slot *slots;
  unsigned char *bulk;
  struct credit *credit;
  uint32_t index, lap;
  uint32_t bulk_at;
  bool polled;                /* it is in endpoint.active */
  bool open;                  /* in the middle of a message */
  uint64_t taken, bulk_taken; /* totals */
  uint64_t returned, bulk_returned;
  struct fab_header header; /* of the open message */
  unsigned char *target;
  size_t room, stored, rest; /* rest: bytes still to come */
  void *cookie;
};

struct peer {
  struct producer out;
  struct consumer in;
  int index; /* device - first */
  bool lost;
};

struct endpoint {
  struct fab_endpoint base;
  struct fab_config config;
  uint32_t slots, bulk; /* of a ring */
  struct inbox *inboxes;
  struct inbox *inbox;    /* this device's */
  _Atomic uint32_t rings; /* bell.rings when sleep_begin was called */
  struct peer *waiting;
  int actives;
  int *active;   /* indices of the peers whose rings are polled */
  int *wake_fds; /* what config.wake_fds is, when there are any */
  struct peer peers[];
};

/* ---- layout: inboxes [count], credit [receiver][sender], rings [receiver][sender] */

static size_t ring_bytes(int count)
{
  size_t share = RING_BUDGET / ((size_t)count * (size_t)count), bytes = RING_MAX;
  while (bytes > RING_MIN && bytes > share) bytes /= 2;
  return bytes;
}

static size_t rings_offset(int count)
{
  return ROUND_UP((size_t)count * sizeof(struct inbox) + (size_t)count * (size_t)count * sizeof(struct credit), (size_t)4096);
}

size_t fab_shm_bytes(int devices)
{
  return rings_offset(devices) + (size_t)devices * (size_t)devices * ring_bytes(devices);
}

static size_t pair(const struct endpoint *e, int sender, int receiver)
{
  return (size_t)receiver * (size_t)e->config.count + (size_t)sender;
}

static struct credit *credit_of(const struct endpoint *e, int sender, int receiver)
{
  return (struct credit *)(e->inboxes + e->config.count) + pair(e, sender, receiver);
}

static struct slot *slots_of(const struct endpoint *e, int sender, int receiver)
{
  unsigned char *rings = (unsigned char *)e->config.rings + rings_offset(e->config.count);
  return (struct slot *)(void *)(rings + pair(e, sender, receiver) * ring_bytes(e->config.count));
}

bool fab_shm_is_unused(const void *rings, int count, int index)
{
  const struct inbox *inboxes = rings;
  uint64_t bits = 0;
  for (int word = 0; word < MAX_COUNT / 64; word++) bits |= atomic_load(&inboxes[index].senders[word]);
  for (int i = 0; i < count; i++) bits |= atomic_load(&inboxes[i].senders[index / 64]) & (uint64_t)1 << (index % 64);
  return !bits;
}

/* ---- opening and closing */

static void peer_init(struct endpoint *e, int index)
{
  struct peer *peer = &e->peers[index];
  int self = e->config.device - e->config.first;
  peer->index = index;
  peer->out = (struct producer){.slots = slots_of(e, self, index), .credit = credit_of(e, self, index), .lap = 1};
  peer->out.bulk = (unsigned char *)(peer->out.slots + e->slots);
  peer->in = (struct consumer){.slots = slots_of(e, index, self), .credit = credit_of(e, index, self), .lap = 1};
  peer->in.bulk = (unsigned char *)(peer->in.slots + e->slots);
}

static bool valid(const struct fab_config *config)
{
  int self = config->device - config->first;
  return config->channel == FAB_APPLICATION && config->count >= 1 && config->count <= MAX_COUNT && self >= 0 && self < config->count &&
         config->rings;
}

static void endpoint_free(struct endpoint *e)
{
  free(e->active);
  free(e->wake_fds);
  free(e);
}

/* The caller's list of descriptors need not live as long as the endpoint. */
static struct endpoint *endpoint_new(const struct fab_config *config)
{
  size_t count = (size_t)config->count;
  struct endpoint *e = calloc(1, sizeof *e + count * sizeof *e->peers);
  if (!e) return NULL;
  e->base.ops = &fab_shm;
  e->config = *config;
  e->active = calloc(count, sizeof *e->active);
  e->wake_fds = calloc(count, sizeof *e->wake_fds);
  if (!e->active || !e->wake_fds) {
    endpoint_free(e);
    return NULL;
  }
  if (config->wake_fds) e->config.wake_fds = memcpy(e->wake_fds, config->wake_fds, count * sizeof *e->wake_fds);
  return e;
}

static int shm_open(const struct fab_config *config, struct fab_endpoint **endpoint)
{
  if (!valid(config)) return -EINVAL;
  struct endpoint *e = endpoint_new(config);
  if (!e) return -ENOMEM;
  e->slots = (uint32_t)(ring_bytes(config->count) / 8 / sizeof(struct slot));
  e->bulk = (uint32_t)(ring_bytes(config->count) - e->slots * sizeof(struct slot));
  e->inboxes = config->rings;
  e->inbox = &e->inboxes[config->device - config->first];
  for (int i = 0; i < config->count; i++) peer_init(e, i);
  *endpoint = &e->base;
  return 0;
}

static void fail_queue(struct producer *out, int error)
{
  for (struct fab_send *send = out->queue, *next; send; send = next) {
    next = send->next;
    send->status = error;
  }
  out->queue = NULL;
}

static void shm_close(struct fab_endpoint *endpoint)
{
  struct endpoint *e = (struct endpoint *)endpoint;
  for (struct peer *peer = e->waiting; peer; peer = peer->out.next_waiting) fail_queue(&peer->out, -ECANCELED);
  endpoint_free(e);
}

/* ---- RMA */

static unsigned char *window_at(struct fab_endpoint *endpoint, int device, uint64_t offset)
{
  const struct fab_config *config = &((struct endpoint *)endpoint)->config;
  return config->windows + (size_t)(device - config->first) * config->window_bytes + offset;
}

static int shm_put(struct fab_endpoint *endpoint, int device, uint64_t offset, const void *local, size_t bytes)
{
  memmove(window_at(endpoint, device, offset), local, bytes);
  return 0;
}

static int shm_get(struct fab_endpoint *endpoint, int device, uint64_t offset, void *local, size_t bytes)
{
  memmove(local, window_at(endpoint, device, offset), bytes);
  return 0;
}

static int shm_atomic(struct fab_endpoint *endpoint, enum fab_atomic op, int device, uint64_t offset, size_t size, uint64_t operand,
                      uint64_t expected, uint64_t *old)
{
  uint64_t before = fab_atomic_apply(op, window_at(endpoint, device, offset), size, operand, expected);
  if (old) *old = before;
  return 0;
}

/* ---- sending */

static void wake(struct endpoint *e, int index)
{
  struct fab_bell *bell = &e->inboxes[index].bell;
  if (!e->config.wake_fds) {
    fab_bell_ring(bell);
    return;
  }
  atomic_thread_fence(memory_order_seq_cst); /* as in fab_bell_ring */
  uint64_t one = 1;
  if (atomic_load_explicit(&bell->sleepers, memory_order_relaxed) && write(e->config.wake_fds[index], &one, sizeof one) < 0)
    return; /* a full counter: it is readable already */
}

static void refresh_credit(struct producer *out)
{
  out->freed = atomic_load_explicit(&out->credit->slots, memory_order_acquire);
  out->bulk_freed = atomic_load_explicit(&out->credit->bulk, memory_order_acquire);
}

static bool has_room(struct endpoint *e, struct producer *out, uint64_t bulk)
{
  if (out->used - out->freed < e->slots && out->bulk_used + bulk - out->bulk_freed <= e->bulk) return true;
  refresh_credit(out);
  return out->used - out->freed < e->slots && out->bulk_used + bulk - out->bulk_freed <= e->bulk;
}

static void publish(struct endpoint *e, struct producer *out)
{
  struct slot *slot = &out->slots[out->index];
  atomic_store_explicit(&slot->lap, out->lap, memory_order_release);
  out->used++;
  if (++out->index < e->slots) return;
  out->index = 0;
  out->lap++;
}

static size_t fragment_size(const struct endpoint *e, const struct producer *out, size_t bytes, size_t rest)
{
  size_t wanted = bytes > LONG_MESSAGE ? FRAGMENT_OF_LONG : FRAGMENT;
  size_t most = e->bulk / 4 < wanted ? e->bulk / 4 : wanted, straight = e->bulk - out->bulk_at;
  if (most > straight) most = straight;
  return rest < most ? rest : most;
}

/* Copies the next fragment of `send` into the bulk area; the slot that announces it is not yet published. */
static void fill_fragment(struct endpoint *e, struct producer *out, struct fab_send *send, size_t bytes)
{
  uint32_t occupied = (uint32_t)ROUND_UP(bytes, (size_t)FAB_CACHE_LINE);
  memcpy(out->bulk + out->bulk_at, (const unsigned char *)send->payload + send->sent, bytes);
  out->slots[out->index].fragment = (uint32_t)bytes;
  send->sent += bytes;
  out->bulk_used += occupied;
  out->bulk_at += occupied;
  if (out->bulk_at >= e->bulk) out->bulk_at = 0;
}

static bool push_small(struct endpoint *e, struct producer *out, struct fab_send *send)
{
  if (!has_room(e, out, 0)) return false;
  struct slot *slot = &out->slots[out->index];
  slot->fragment = 0;
  slot->header = send->header;
  if (send->header.bytes) memcpy(slot->data, send->payload, send->header.bytes);
  publish(e, out);
  return true;
}

/* As many fragments as there is room for; true when all have left. */
static bool push_large(struct endpoint *e, struct producer *out, struct fab_send *send)
{
  while (send->sent < send->header.bytes) {
    size_t bytes = fragment_size(e, out, send->header.bytes, send->header.bytes - send->sent);
    if (!has_room(e, out, ROUND_UP(bytes, (size_t)FAB_CACHE_LINE))) return false;
    if (!send->sent) out->slots[out->index].header = send->header;
    fill_fragment(e, out, send, bytes);
    publish(e, out);
  }
  return true;
}

/* Returns whether all of it left. Wakes the receiver if anything did. */
static bool push(struct endpoint *e, struct peer *peer, struct fab_send *send)
{
  struct producer *out = &peer->out;
  uint64_t before = out->used;
  bool done = send->header.bytes <= SLOT_INLINE ? push_small(e, out, send) : push_large(e, out, send);
  if (out->used != before) wake(e, peer->index);
  if (done) send->status = 0;
  return done;
}

static void announce(struct endpoint *e, struct peer *peer)
{
  int self = e->config.device - e->config.first;
  atomic_fetch_or(&e->inboxes[peer->index].senders[self / 64], 1ull << self % 64);
  peer->out.announced = true;
}

static void enqueue(struct endpoint *e, struct peer *peer, struct fab_send *send)
{
  struct producer *out = &peer->out;
  if (!out->queue) {
    out->queue_end = &out->queue;
    out->next_waiting = e->waiting;
    e->waiting = peer;
  }
  *out->queue_end = send;
  out->queue_end = &send->next;
}

static void shm_send(struct fab_endpoint *endpoint, int device, enum fab_channel channel, struct fab_send *send)
{
  struct endpoint *e = (struct endpoint *)endpoint;
  struct peer *peer = &e->peers[device - e->config.first];
  send->status = FAB_PENDING;
  send->sent = 0;
  send->next = NULL;
  if (peer->lost) {
    send->status = -EHOSTDOWN;
    return;
  }
  if (!peer->out.announced) announce(e, peer);
  if (peer->out.queue || !push(e, peer, send)) enqueue(e, peer, send);
}

/* Continues the sends that found their ring full; returns in how many rings something moved. */
static int push_waiting(struct endpoint *e)
{
  int moved = 0;
  for (struct peer **link = &e->waiting, *peer; (peer = *link);) {
    struct producer *out = &peer->out;
    uint64_t before = out->used;
    while (out->queue) {
      struct fab_send *send = out->queue, *next = send->next;
      if (!push(e, peer, send)) break;
      out->queue = next;
    }
    moved += out->used != before;
    if (out->queue) link = &out->next_waiting;
    else *link = out->next_waiting;
  }
  return moved;
}

/* ---- receiving */

static bool slot_ready(const struct consumer *in)
{
  return atomic_load_explicit(&in->slots[in->index].lap, memory_order_acquire) == in->lap; /* pairs with publish */
}

static void return_credit(struct endpoint *e, struct peer *peer)
{
  struct consumer *in = &peer->in;
  in->returned = in->taken;
  in->bulk_returned = in->bulk_taken;
  atomic_store_explicit(&in->credit->bulk, in->bulk_taken, memory_order_release); /* these pair with refresh_credit */
  atomic_store_explicit(&in->credit->slots, in->taken, memory_order_release);
  wake(e, peer->index);
}

static void release_slot(struct endpoint *e, struct peer *peer)
{
  struct consumer *in = &peer->in;
  in->taken++;
  if (++in->index == e->slots) {
    in->index = 0;
    in->lap++;
  }
  if (in->taken - in->returned >= e->slots / 4 || in->bulk_taken - in->bulk_returned >= e->bulk / 4) return_credit(e, peer);
}

static void take_small(struct endpoint *e, struct peer *peer, const struct slot *slot)
{
  const struct fab_sink *sink = &e->config.sink;
  int device = e->config.first + peer->index;
  size_t room = 0, bytes = slot->header.bytes;
  void *cookie = NULL;
  void *target = sink->arrive(sink->context, device, FAB_APPLICATION, &slot->header, &room, &cookie);
  if (bytes > room) bytes = room;
  if (bytes) memcpy(target, slot->data, bytes);
  sink->complete(sink->context, device, FAB_APPLICATION, &slot->header, cookie, 0);
}

static void finish_message(struct endpoint *e, struct peer *peer, int error)
{
  const struct fab_sink *sink = &e->config.sink;
  peer->in.open = false;
  sink->complete(sink->context, e->config.first + peer->index, FAB_APPLICATION, &peer->in.header, peer->in.cookie, error);
}

static void begin_message(struct endpoint *e, struct peer *peer, const struct slot *slot)
{
  const struct fab_sink *sink = &e->config.sink;
  struct consumer *in = &peer->in;
  in->open = true;
  in->header = slot->header;
  in->rest = slot->header.bytes;
  in->stored = in->room = 0;
  in->cookie = NULL;
  in->target = sink->arrive(sink->context, e->config.first + peer->index, FAB_APPLICATION, &in->header, &in->room, &in->cookie);
}

static void take_fragment(struct endpoint *e, struct consumer *in, size_t bytes)
{
  size_t store = in->room - in->stored < bytes ? in->room - in->stored : bytes;
  uint32_t occupied = (uint32_t)ROUND_UP(bytes, (size_t)FAB_CACHE_LINE);
  if (store) memcpy(in->target + in->stored, in->bulk + in->bulk_at, store);
  in->stored += store;
  in->rest -= bytes;
  in->bulk_taken += occupied;
  in->bulk_at += occupied;
  if (in->bulk_at >= e->bulk) in->bulk_at = 0;
}

static void take_slot(struct endpoint *e, struct peer *peer)
{
  struct consumer *in = &peer->in;
  const struct slot *slot = &in->slots[in->index];
  if (!in->open && slot->header.bytes <= SLOT_INLINE) {
    take_small(e, peer, slot);
    release_slot(e, peer);
    return;
  }
  if (!in->open) begin_message(e, peer, slot);
  take_fragment(e, in, slot->fragment);
  release_slot(e, peer);
  if (!in->rest) finish_message(e, peer, 0);
}

static int receive(struct endpoint *e, struct peer *peer)
{
  int taken = 0;
  while (taken < RECEIVE_BATCH && slot_ready(&peer->in)) {
    take_slot(e, peer);
    taken++;
  }
  return taken;
}

/* Adds those who sent for the first time to the rings that are polled. */
static void admit(struct endpoint *e, int word, uint64_t senders)
{
  for (; senders; senders &= senders - 1) {
    struct peer *peer = &e->peers[word * 64 + __builtin_ctzll(senders)];
    if (peer->in.polled) continue;
    peer->in.polled = true;
    e->active[e->actives++] = peer->index;
  }
}

static void admit_newcomers(struct endpoint *e)
{
  int known = 0;
  uint64_t bits[MAX_COUNT / 64];
  int words = (e->config.count + 63) / 64;
  for (int w = 0; w < words; w++) {
    bits[w] = atomic_load_explicit(&e->inbox->senders[w], memory_order_relaxed);
    known += __builtin_popcountll(bits[w]);
  }
  if (known == e->actives) return;
  for (int w = 0; w < words; w++) admit(e, w, bits[w]);
}

static int shm_progress(struct fab_endpoint *endpoint)
{
  struct endpoint *e = (struct endpoint *)endpoint;
  int moved = e->waiting ? push_waiting(e) : 0;
  admit_newcomers(e);
  for (int i = 0; i < e->actives; i++) moved += receive(e, &e->peers[e->active[i]]);
  return moved;
}

static void shm_lose(struct fab_endpoint *endpoint, int device)
{
  struct endpoint *e = (struct endpoint *)endpoint;
  struct peer *peer = &e->peers[device - e->config.first];
  if (peer->lost) return;
  peer->lost = true;
  while (receive(e, peer)) continue;
  fail_queue(&peer->out, -EHOSTDOWN); /* an empty queue leaves endpoint.waiting in the next push_waiting */
  if (peer->in.open) finish_message(e, peer, -EHOSTDOWN);
  e->config.sink.lost(e->config.sink.context, device, false);
}

/* ---- sleeping */

static void shm_sleep_begin(struct fab_endpoint *endpoint)
{
  struct endpoint *e = (struct endpoint *)endpoint;
  atomic_store_explicit(&e->rings, fab_bell_begin(&e->inbox->bell), memory_order_relaxed);
}

static int own_descriptor(const struct endpoint *e)
{
  return e->config.wake_fds ? e->config.wake_fds[e->config.device - e->config.first] : -1;
}

static void shm_sleep(struct fab_endpoint *endpoint, long timeout_ns)
{
  struct endpoint *e = (struct endpoint *)endpoint;
  if (!e->config.wake_fds) {
    fab_bell_sleep(&e->inbox->bell, atomic_load_explicit(&e->rings, memory_order_relaxed), timeout_ns);
    return;
  }
  struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
  ppoll(&(struct pollfd){.fd = own_descriptor(e), .events = POLLIN}, 1, &timeout, NULL);
}

static void shm_sleep_end(struct fab_endpoint *endpoint)
{
  struct endpoint *e = (struct endpoint *)endpoint;
  fab_bell_end(&e->inbox->bell);
  if (!e->config.wake_fds) return;
  uint64_t rings;
  struct pollfd own = {.fd = own_descriptor(e), .events = POLLIN};
  if (poll(&own, 1, 0) == 1 && read(own.fd, &rings, sizeof rings) < 0) return; /* nobody else reads it, so it has something */
}

static int shm_descriptor(struct fab_endpoint *endpoint)
{
  return own_descriptor((struct endpoint *)endpoint);
}

const struct fab_ops fab_shm = {
    .name = "shm",
    .capabilities = FAB_MAP | FAB_RMA | FAB_MSG,
    .open = shm_open,
    .close = shm_close,
    .contact = fab_no_contact,
    .connect = fab_no_connect,
    .put = shm_put,
    .get = shm_get,
    .atomic = shm_atomic,
    .send = shm_send,
    .progress = shm_progress,
    .sleep_begin = shm_sleep_begin,
    .sleep = shm_sleep,
    .sleep_end = shm_sleep_end,
    .descriptor = shm_descriptor,
    .lose = shm_lose,
    .release = fab_no_release,
};
