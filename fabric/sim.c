/* The simulated fabric: many endpoints in one process, virtual time, and an adversary who delays, reorders and loses; see sim.h.
 *
 * A message under way is a flight: a slot of a pool, and a key (due time, number, slot) in a heap. Numbers count up, so equal times are
 * told apart and a seed means one run on every machine. Without payload, a message is copied at send and has left. With payload it
 * arrives in two deliveries, the header with the first half of the bytes and the end with the rest, and has left with the second; the
 * bytes are copied from where they are to where they are wanted. So nothing is allocated for a message once the pool is large enough.
 *
 * Delays are mostly short and sometimes long, and every MOOD_EVERY deliveries the adversary makes up his mind whom he slows: one device,
 * one kind, both or neither. Order: `latest_ns` of a pair of endpoints is when its last message ends, and the next begins later.
 *
 * Upcalls may send, which may move the pool: no pointer into it is kept across an upcall. A flight that must not be delivered any more
 * is DROPPED and leaves the heap when it is due. A flight whose sender is gone (`send` NULL at its end) completes with -EHOSTDOWN.
 */
#include "fabric/sim.h"
#include "fabric/draw.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOOD_EVERY = 500, NOBODY = -2, SLOT_BITS = 24, FIRST_ROOM = 256, MAX_DEVICES = 1 << 16 };
enum { NO_SLOT = 1u << SLOT_BITS };
enum what { FREE, HEADER, END, NOTICE, DROPPED };

struct flight {
  struct fab_header header;
  struct fab_send *send; /* whose payload it is; NULL: it has none, or its sender is gone */
  uint32_t from, to;     /* ports: device * FAB_CHANNELS + channel */
  enum what what;
  uint32_t next_free;
  uint64_t end_ns;
  unsigned char *target; /* as arrive said, from HEADER to END */
  size_t room;
  void *cookie;
};

struct key {
  uint64_t due_ns;
  uint64_t order; /* number << SLOT_BITS | slot */
};

struct port {
  struct endpoint *endpoint; /* NULL: not open yet, or gone */
  bool gone;                 /* closed, or its device is lost */
};

struct endpoint {
  struct fab_endpoint base;
  struct fab_config config;
  struct fab_sim *sim;
  uint32_t port;
  bool lost[]; /* by device: it knows */
};

struct fab_sim {
  struct fab_sim_options options;
  uint64_t random, now_ns, next_number, deliveries;
  int64_t slow_device, slow_kind; /* whom the adversary has in mind, or NOBODY */
  struct key *heap;
  struct flight *flights;
  uint32_t count, room, first_free; /* of the heap; of heap and flights; NO_SLOT: all are in use */
  struct port *ports;
  bool *down;          /* by device */
  uint64_t *latest_ns; /* by pair of ports; NULL when unordered */
};

static int device_of(uint32_t port)
{
  return (int)(port / FAB_CHANNELS);
}

static uint32_t port_count(const struct fab_sim *sim)
{
  return (uint32_t)sim->options.devices * FAB_CHANNELS;
}

/* ---- the pool and the heap */

static bool is_before(const struct key *a, const struct key *b)
{
  return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static void push(struct fab_sim *sim, uint64_t due_ns, uint32_t slot)
{
  struct key key = {due_ns, sim->next_number++ << SLOT_BITS | slot};
  uint32_t at = sim->count++;
  for (; at && is_before(&key, &sim->heap[(at - 1) / 2]); at = (at - 1) / 2) sim->heap[at] = sim->heap[(at - 1) / 2];
  sim->heap[at] = key;
}

static uint32_t first_slot(const struct fab_sim *sim)
{
  return sim->heap[0].order & (NO_SLOT - 1);
}

static void pop(struct fab_sim *sim)
{
  struct key *heap = sim->heap, moved = heap[--sim->count];
  uint32_t at = 0;
  for (uint32_t child; (child = 2 * at + 1) < sim->count; at = child) {
    if (child + 1 < sim->count) child += is_before(&heap[child + 1], &heap[child]);
    if (!is_before(&heap[child], &moved)) break;
    heap[at] = heap[child];
  }
  heap[at] = moved;
}

static void release(struct fab_sim *sim, uint32_t slot)
{
  sim->flights[slot].what = FREE;
  sim->flights[slot].next_free = sim->first_free;
  sim->first_free = slot;
}

static bool grow(struct fab_sim *sim)
{
  uint32_t room = sim->room ? 2 * sim->room : FIRST_ROOM;
  if (room > NO_SLOT) return false;
  struct key *heap = realloc(sim->heap, room * sizeof *heap);
  if (heap) sim->heap = heap;
  struct flight *flights = heap ? realloc(sim->flights, room * sizeof *flights) : NULL;
  if (!flights) return false;
  sim->flights = flights;
  for (uint32_t slot = room; slot-- > sim->room;) release(sim, slot);
  sim->room = room;
  return true;
}

/* A flight that is not yet in the heap; NO_SLOT when there is no memory. */
static uint32_t take(struct fab_sim *sim, uint32_t from, uint32_t to, enum what what)
{
  if (sim->first_free == NO_SLOT && !grow(sim)) return NO_SLOT;
  uint32_t slot = sim->first_free;
  struct flight *flight = &sim->flights[slot];
  sim->first_free = flight->next_free;
  flight->send = NULL;
  flight->from = from;
  flight->to = to;
  flight->what = what;
  return slot;
}

/* ---- the adversary */

static uint64_t delay_ns(struct fab_sim *sim)
{
  uint64_t delay = 20 + (uint64_t)fab_draw_below(&sim->random, 200);
  return fab_draw_below(&sim->random, 8) ? delay : delay + (uint64_t)fab_draw_below(&sim->random, 5000);
}

static uint64_t flight_delay_ns(struct fab_sim *sim, const struct flight *flight)
{
  bool slow = device_of(flight->from) == sim->slow_device || device_of(flight->to) == sim->slow_device ||
              (int64_t)flight->header.kind == sim->slow_kind;
  return slow ? delay_ns(sim) * 20 : delay_ns(sim);
}

static void change_mood(struct fab_sim *sim)
{
  sim->slow_device = fab_draw_below(&sim->random, 3) ? NOBODY : fab_draw_below(&sim->random, sim->options.devices);
  sim->slow_kind = fab_draw_below(&sim->random, 3) || !sim->options.kinds ? NOBODY : fab_draw_below(&sim->random, sim->options.kinds);
}

/* Puts a new flight on its way. */
static void launch(struct fab_sim *sim, uint32_t slot)
{
  struct flight *flight = &sim->flights[slot];
  uint64_t due_ns = sim->now_ns + flight_delay_ns(sim, flight), lasts_ns = 0;
  if (flight->send) lasts_ns = flight->header.bytes / 8 + flight_delay_ns(sim, flight);
  if (sim->latest_ns) {
    uint64_t *latest_ns = &sim->latest_ns[(size_t)flight->from * port_count(sim) + flight->to];
    if (due_ns <= *latest_ns) due_ns = *latest_ns + 1;
    *latest_ns = due_ns + lasts_ns;
  }
  flight->end_ns = due_ns + lasts_ns;
  push(sim, due_ns, slot);
}

/* ---- flights that do not arrive */

static void fail_send(struct flight *flight, int error)
{
  if (flight->send) flight->send->status = error;
  flight->send = NULL;
}

/* Its sender is gone: what has not begun to arrive will not, what has is completed with an error in its time. */
static void cut(struct flight *flight, int error)
{
  fail_send(flight, error);
  if (flight->what == HEADER) flight->what = DROPPED;
}

static void drop(struct flight *flight)
{
  fail_send(flight, -EHOSTDOWN);
  flight->what = DROPPED;
}

static bool is_alive(const struct flight *flight)
{
  return flight->what != FREE && flight->what != DROPPED;
}

/* ---- delivering */

/* The endpoint that what is due first is for; NULL: nothing is under way, or it is not open yet. */
static struct endpoint *first_target(struct fab_sim *sim)
{
  while (sim->count) {
    uint32_t slot = first_slot(sim);
    struct flight *flight = &sim->flights[slot];
    const struct port *port = &sim->ports[flight->to];
    if (is_alive(flight) && !port->gone) return port->endpoint;
    fail_send(flight, -EHOSTDOWN);
    release(sim, slot);
    pop(sim);
  }
  return NULL;
}

static void *arrive(struct endpoint *e, uint32_t from, const struct fab_header *header, size_t *room, void **cookie)
{
  *room = 0;
  *cookie = NULL;
  void *target = e->config.sink.arrive(e->config.sink.context, device_of(from), (int)(from % FAB_CHANNELS), header, room, cookie);
  if (*room > header->bytes) *room = header->bytes;
  return target;
}

static void complete(struct endpoint *e, uint32_t from, const struct fab_header *header, void *cookie, int error)
{
  e->config.sink.complete(e->config.sink.context, device_of(from), (int)(from % FAB_CHANNELS), header, cookie, error);
}

static void deliver_bare(struct endpoint *e, uint32_t slot)
{
  struct fab_header header = e->sim->flights[slot].header;
  uint32_t from = e->sim->flights[slot].from;
  size_t room;
  void *cookie;
  release(e->sim, slot);
  arrive(e, from, &header, &room, &cookie);
  complete(e, from, &header, cookie, 0);
}

/* The flight stays, with its end to come. */
static void deliver_header(struct endpoint *e, uint32_t slot)
{
  struct fab_header header = e->sim->flights[slot].header;
  size_t room;
  void *cookie, *target = arrive(e, e->sim->flights[slot].from, &header, &room, &cookie);
  struct flight *flight = &e->sim->flights[slot];
  flight->what = END;
  flight->target = target;
  flight->room = room;
  flight->cookie = cookie;
  if (room / 2) memcpy(target, flight->send->payload, room / 2);
  push(e->sim, flight->end_ns, slot);
}

static void deliver_end(struct endpoint *e, uint32_t slot)
{
  struct flight flight = e->sim->flights[slot];
  size_t half = flight.room / 2;
  release(e->sim, slot);
  if (flight.send && flight.room) memcpy(flight.target + half, (const unsigned char *)flight.send->payload + half, flight.room - half);
  if (flight.send) flight.send->status = 0;
  complete(e, flight.from, &flight.header, flight.cookie, flight.send ? 0 : -EHOSTDOWN);
}

/* `e` has learned that the device is lost. */
static void forget(struct endpoint *e, int device)
{
  struct fab_sim *sim = e->sim;
  if (e->lost[device]) return;
  e->lost[device] = true;
  for (uint32_t slot = 0; slot < sim->room; slot++) {
    struct flight *flight = &sim->flights[slot];
    if (!is_alive(flight)) continue;
    if (flight->from == e->port && device_of(flight->to) == device) cut(flight, -EHOSTDOWN);
    if (flight->to != e->port || device_of(flight->from) != device) continue;
    struct flight dropped = *flight;
    drop(flight);
    if (dropped.what == END) complete(e, dropped.from, &dropped.header, dropped.cookie, -EHOSTDOWN);
  }
  e->config.sink.lost(e->config.sink.context, device, false);
}

static void deliver_first(struct endpoint *e)
{
  struct fab_sim *sim = e->sim;
  uint32_t slot = first_slot(sim);
  struct flight *flight = &sim->flights[slot];
  int from = device_of(flight->from);
  if (sim->heap[0].due_ns > sim->now_ns) sim->now_ns = sim->heap[0].due_ns;
  pop(sim);
  if (++sim->deliveries % MOOD_EVERY == 0) change_mood(sim);
  if (flight->what == END) {
    deliver_end(e, slot);
  } else if (flight->what == NOTICE || e->lost[from]) {
    fail_send(flight, -EHOSTDOWN);
    release(sim, slot);
    forget(e, from);
  } else if (flight->send) {
    deliver_header(e, slot);
  } else {
    deliver_bare(e, slot);
  }
}

/* ---- the network */

static bool allocate(struct fab_sim *sim)
{
  size_t ports = port_count(sim);
  sim->first_free = NO_SLOT;
  sim->ports = calloc(ports, sizeof *sim->ports);
  sim->down = calloc((size_t)sim->options.devices, sizeof *sim->down);
  if (!sim->options.unordered) sim->latest_ns = calloc(ports * ports, sizeof *sim->latest_ns);
  return sim->ports && sim->down && (sim->latest_ns || sim->options.unordered) && grow(sim);
}

struct fab_sim *fab_sim_create(const struct fab_sim_options *options)
{
  if (options->devices < 1 || options->devices > MAX_DEVICES || options->kinds < 0) {
    errno = EINVAL;
    return NULL;
  }
  struct fab_sim *sim = calloc(1, sizeof *sim);
  if (!sim) return NULL;
  sim->options = *options;
  sim->random = options->seed;
  sim->slow_device = sim->slow_kind = NOBODY;
  if (allocate(sim)) return sim;
  fab_sim_destroy(sim);
  errno = ENOMEM;
  return NULL;
}

void fab_sim_destroy(struct fab_sim *sim)
{
  if (!sim) return;
  for (uint32_t port = 0; sim->ports && port < port_count(sim); port++) free(sim->ports[port].endpoint);
  free(sim->heap);
  free(sim->flights);
  free(sim->ports);
  free(sim->down);
  free(sim->latest_ns);
  free(sim);
}

int fab_sim_step(struct fab_sim *sim)
{
  struct endpoint *e = first_target(sim);
  if (e) deliver_first(e);
  return e != NULL;
}

uint64_t fab_sim_now_ns(const struct fab_sim *sim)
{
  return sim->now_ns;
}

int fab_sim_under_way(const struct fab_sim *sim)
{
  return (int)sim->count;
}

void fab_sim_wait(struct fab_sim *sim, uint64_t ns)
{
  sim->now_ns += ns;
}

void fab_sim_calm(struct fab_sim *sim)
{
  sim->slow_device = sim->slow_kind = NOBODY;
}

static int notify(struct endpoint *e, int device)
{
  if (device == e->config.device) return 0;
  uint32_t slot = take(e->sim, (uint32_t)device * FAB_CHANNELS, e->port, NOTICE);
  if (slot == NO_SLOT) return -ENOMEM;
  e->sim->flights[slot].header = (struct fab_header){.kind = UINT32_MAX};
  launch(e->sim, slot);
  return 0;
}

int fab_sim_lose(struct fab_sim *sim, int device)
{
  int error = 0;
  if (sim->down[device]) return 0;
  sim->down[device] = true;
  for (uint32_t slot = 0; slot < sim->room; slot++)
    if (is_alive(&sim->flights[slot]) && device_of(sim->flights[slot].from) == device) cut(&sim->flights[slot], -EHOSTDOWN);
  for (uint32_t port = 0; port < port_count(sim); port++) {
    if (device_of(port) == device) sim->ports[port].gone = true;
    else if (sim->ports[port].endpoint && !error) error = notify(sim->ports[port].endpoint, device);
  }
  return error;
}

/* ---- the operations */

static bool valid(const struct fab_config *config)
{
  return config->sim && config->devices == config->sim->options.devices && config->device >= 0 && config->device < config->devices &&
         (unsigned)config->channel < FAB_CHANNELS;
}

static int sim_open(const struct fab_config *config, struct fab_endpoint **endpoint)
{
  if (!valid(config)) return -EINVAL;
  struct fab_sim *sim = config->sim;
  uint32_t port = (uint32_t)config->device * FAB_CHANNELS + (uint32_t)config->channel;
  if (sim->ports[port].endpoint) return -EBUSY;
  if (sim->down[config->device]) return -EHOSTDOWN;
  struct endpoint *e = calloc(1, sizeof *e + (size_t)config->devices * sizeof *e->lost);
  int error = e ? 0 : -ENOMEM;
  if (!error) *e = (struct endpoint){.base.ops = &fab_sim, .config = *config, .sim = sim, .port = port};
  for (int device = 0; device < config->devices && !error; device++)
    if (sim->down[device]) error = notify(e, device);
  if (error) {
    free(e);
    return error;
  }
  sim->ports[port] = (struct port){.endpoint = e};
  *endpoint = &e->base;
  return 0;
}

static void sim_close(struct fab_endpoint *endpoint)
{
  struct endpoint *e = (struct endpoint *)endpoint;
  struct fab_sim *sim = e->sim;
  for (uint32_t slot = 0; slot < sim->room; slot++) {
    struct flight *flight = &sim->flights[slot];
    if (is_alive(flight) && flight->from == e->port && flight->send) cut(flight, -ECANCELED);
    if (is_alive(flight) && flight->to == e->port) drop(flight);
  }
  sim->ports[e->port] = (struct port){.gone = true};
  free(e);
}

/* The device's memory, once time has passed; NULL when it cannot be reached. */
static unsigned char *reach(struct fab_endpoint *endpoint, int device, uint64_t offset)
{
  struct endpoint *e = (struct endpoint *)endpoint;
  const struct fab_config *config = &e->config;
  e->sim->now_ns += delay_ns(e->sim);
  if (e->sim->down[device] || e->sim->down[config->device]) return NULL;
  return config->windows + (size_t)(device - config->first) * config->window_bytes + offset;
}

static int sim_put(struct fab_endpoint *endpoint, int device, uint64_t offset, const void *local, size_t bytes)
{
  unsigned char *window = reach(endpoint, device, offset);
  if (!window) return -EHOSTDOWN;
  memmove(window, local, bytes);
  return 0;
}

static int sim_get(struct fab_endpoint *endpoint, int device, uint64_t offset, void *local, size_t bytes)
{
  const unsigned char *window = reach(endpoint, device, offset);
  if (!window) return -EHOSTDOWN;
  memmove(local, window, bytes);
  return 0;
}

static int sim_atomic(struct fab_endpoint *endpoint, enum fab_atomic op, int device, uint64_t offset, size_t size, uint64_t operand,
                      uint64_t expected, uint64_t *old)
{
  unsigned char *window = reach(endpoint, device, offset);
  if (!window) return -EHOSTDOWN;
  uint64_t before = fab_atomic_apply(op, window, size, operand, expected);
  if (old) *old = before;
  return 0;
}

static void sim_send(struct fab_endpoint *endpoint, int device, enum fab_channel channel, struct fab_send *send)
{
  struct endpoint *e = (struct endpoint *)endpoint;
  struct fab_sim *sim = e->sim;
  send->status = -EHOSTDOWN;
  if (e->lost[device] || sim->down[e->config.device]) return;
  uint32_t slot = take(sim, e->port, (uint32_t)device * FAB_CHANNELS + (uint32_t)channel, HEADER);
  send->status = -ENOMEM;
  if (slot == NO_SLOT) return;
  struct flight *flight = &sim->flights[slot];
  flight->header = send->header;
  if (send->header.bytes) flight->send = send;
  send->status = send->header.bytes ? FAB_PENDING : 0;
  launch(sim, slot);
}

/* One delivery a call: whoever calls may do something else between any two. */
static int sim_progress(struct fab_endpoint *endpoint)
{
  struct endpoint *e = (struct endpoint *)endpoint;
  bool due = first_target(e->sim) == e;
  if (due) deliver_first(e);
  return due;
}

static void sim_lose(struct fab_endpoint *endpoint, int device)
{
  forget((struct endpoint *)endpoint, device);
}

/* Others have their turn; what arrives for the sleeper waits until it asks. */
static void sim_sleep(struct fab_endpoint *endpoint, long timeout_ns)
{
  const struct fab_sim_options *options = &((struct endpoint *)endpoint)->sim->options;
  if (options->idle) options->idle(options->idle_context);
}

static void sim_no_sleep(struct fab_endpoint *endpoint)
{
}

static int sim_descriptor(struct fab_endpoint *endpoint)
{
  return -1;
}

const struct fab_ops fab_sim = {
    .name = "sim",
    .capabilities = FAB_MAP | FAB_RMA | FAB_MSG,
    .open = sim_open,
    .close = sim_close,
    .contact = fab_no_contact,
    .connect = fab_no_connect,
    .put = sim_put,
    .get = sim_get,
    .atomic = sim_atomic,
    .send = sim_send,
    .progress = sim_progress,
    .sleep_begin = sim_no_sleep,
    .sleep = sim_sleep,
    .sleep_end = sim_no_sleep,
    .descriptor = sim_descriptor,
    .lose = sim_lose,
    .release = fab_no_release,
};
