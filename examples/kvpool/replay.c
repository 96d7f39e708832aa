/* The replay: the same few steps for every policy, which differ in who serves a request and in whether an index is shared.
 *
 * A request changes the index first and learns what it has to read and to write, then moves the bytes. A hit is read from where it is,
 * this device's window or another's, into private memory, and its checksum is verified. A miss is computed in private memory
 * (here: filled by its id; the modelled clock is told of --flops operations) and put where the index says.
 *
 *   pooled   Request i is served by device i mod N, out of the one pool of its domain. The index is changed in the order of the trace:
 *            the turn is a word in every window, and who is done with the index passes it on by a signal to the next device of the
 *            domain. Bytes are moved outside of the turn, by many devices at once; cache.c says why that is safe.
 *   private  The same devices, but everyone has an index and blocks of its own; nobody waits for anybody.
 *   router   A thread on device 0 looks at each request in the order of the trace and sends its block ids by message to the device
 *            that should have most of them; devices serve what they receive. Messages pass between domains as well, so this needs
 *            no shared memory. At the end the router's count of hits must be that of the devices.
 */
#include "examples/kvpool/replay.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uma.h>

#include "examples/kvpool/router.h"

#define ROUTE_TAG 1
#define ROUTE_END UINT64_MAX

/* A message of the router: a request, or its end. */
struct route {
  uint64_t number; /* of the request in the trace; ROUTE_END: there are no more */
  uint64_t ids[];
};

static void verify(const struct kv_station *station, const struct kv_step *step)
{
  if (kv_block_check(station->work, station->options->block_bytes, step->id)) return;
  fprintf(stderr, "kvpool: device %d: block %llu at %p (window of device %d) is damaged: it holds id %llu and checksum %016llx\n",
          station->device, (unsigned long long)step->id, (void *)step->entry->data, uma_home(step->entry->data),
          (unsigned long long)station->work->id, (unsigned long long)station->work->checksum);
  exit(1);
}

static void check(int error)
{
  if (!error) return;
  fprintf(stderr, "kvpool: device %d: %s\n", uma_device(), uma_last_error());
  exit(1);
}

static void read_block(struct kv_station *station, const struct kv_step *step)
{
  struct kv_entry *entry = step->entry;
  size_t bytes = station->options->block_bytes;
  check(uma_wait_until(&entry->written, UMA_GE, step->written));
  check(uma_get(station->work, entry->data, bytes));
  check(uma_signal(&entry->read, 1, UMA_SIGNAL_ADD));
  verify(station, step);
  *(entry->member == station->member ? &station->counts.read_local : &station->counts.read_remote) += bytes;
}

/* What a model would compute, in the first of these types that the modelled device has. */
static void compute_block(const struct kv_station *station)
{
  static const enum uma_dtype types[] = {UMA_BF16, UMA_FP16, UMA_FP32, UMA_FP64};
  const struct kv_options *options = station->options;
  int error = -ENOTSUP;
  for (size_t i = 0; i < sizeof types / sizeof *types && error == -ENOTSUP; i++)
    error = uma_compute((double)options->flops, (double)options->block_bytes, types[i]);
  check(error);
}

static void write_block(struct kv_station *station, const struct kv_step *step)
{
  struct kv_entry *entry = step->entry;
  size_t bytes = station->options->block_bytes;
  kv_block_fill(station->work, bytes, step->id);
  if (station->options->flops) compute_block(station);
  check(uma_wait_until(&entry->written, UMA_GE, step->written));
  check(uma_wait_until(&entry->read, UMA_GE, step->read));
  check(uma_put(entry->data, station->work, bytes));
  check(uma_signal(&entry->written, step->written + 1, UMA_SIGNAL_SET));
  *(entry->member == station->member ? &station->counts.written_local : &station->counts.written_remote) += bytes;
}

static void move_blocks(struct kv_station *station)
{
  for (size_t i = 0; i < station->plan.count; i++) {
    const struct kv_step *step = &station->plan.steps[i];
    if (step->is_read) read_block(station, step);
    else write_block(station, step);
  }
}

static void look_up(struct kv_station *station, const uint64_t *ids, size_t count)
{
  kv_cache_request(station->cache, station->member, ids, count, &station->plan);
  station->counts.requests++;
  station->counts.refs += count;
  station->counts.hits += station->plan.hits;
  station->counts.evictions += station->plan.evictions;
}

static void replay_pooled(struct kv_station *station)
{
  const struct kv_trace *trace = station->trace;
  struct kv_board *next = uma_symmetric(station->board, station->first + (station->member + 1) % station->domain);
  uint64_t turn = (uint64_t)station->member; /* of the requests that the domain serves */
  for (size_t i = (size_t)station->device; i < trace->requests; i += (size_t)station->devices, turn += (uint64_t)station->domain) {
    check(uma_wait_until(&station->board->turn, UMA_GE, turn));
    look_up(station, trace->request[i].ids, trace->request[i].count);
    check(uma_signal(&next->turn, turn + 1, UMA_SIGNAL_SET));
    move_blocks(station);
  }
}

static void replay_private(struct kv_station *station)
{
  const struct kv_trace *trace = station->trace;
  for (size_t i = (size_t)station->device; i < trace->requests; i += (size_t)station->devices) {
    look_up(station, trace->request[i].ids, trace->request[i].count);
    move_blocks(station);
  }
}

static size_t route_bytes(const struct kv_station *station)
{
  return sizeof(struct route) + station->trace->longest * sizeof(uint64_t);
}

struct dispatch {
  const struct kv_station *station;
  struct kv_router router;
  struct route *route;
};

static void *dispatch_all(void *argument)
{
  struct dispatch *dispatch = argument;
  const struct kv_trace *trace = dispatch->station->trace;
  struct route *route = dispatch->route;
  for (size_t i = 0; i < trace->requests; i++) {
    size_t bytes = trace->request[i].count * sizeof *route->ids;
    route->number = i;
    memcpy(route->ids, trace->request[i].ids, bytes);
    int device = kv_router_choose(&dispatch->router, route->ids, trace->request[i].count);
    check(uma_send(device, ROUTE_TAG, route, sizeof *route + bytes));
  }
  route->number = ROUTE_END;
  for (int device = 0; device < dispatch->station->devices; device++) check(uma_send(device, ROUTE_TAG, route, sizeof *route));
  return NULL;
}

static void serve_routed(struct kv_station *station, struct route *route)
{
  for (;;) {
    struct uma_status status;
    check(uma_recv(0, ROUTE_TAG, route, route_bytes(station), &status));
    if (route->number == ROUTE_END) return;
    look_up(station, route->ids, (status.bytes - sizeof *route) / sizeof *route->ids);
    move_blocks(station);
  }
}

/* Collective. Only device 0 has the router. */
static void check_foresight(const struct kv_station *station, const struct kv_router *router)
{
  uint64_t hits = 0;
  check(uma_allreduce(&hits, &station->counts.hits, 1, UMA_UINT64, UMA_SUM));
  if (!router || router->hits == hits) return;
  fprintf(stderr, "kvpool: the router foresaw %llu hits, the devices saw %llu\n", (unsigned long long)router->hits,
          (unsigned long long)hits);
  exit(1);
}

static struct route *new_route(const struct kv_station *station)
{
  struct route *route = malloc(route_bytes(station));
  if (route) return route;
  fprintf(stderr, "kvpool: device %d: no memory for a request of %zu blocks\n", station->device, station->trace->longest);
  exit(1);
}

static void start_router(struct dispatch *dispatch, pthread_t *thread)
{
  const struct kv_station *station = dispatch->station;
  int error = kv_router_init(&dispatch->router, station->devices, station->options->blocks, station->trace->longest);
  if (!error) error = pthread_create(thread, NULL, dispatch_all, dispatch);
  if (!error) return;
  fprintf(stderr, "kvpool: cannot start the router of %d devices with %zu blocks each\n", station->devices, station->options->blocks);
  exit(1);
}

/* Device 0 serves requests like the others and has the router as a second thread. */
static void replay_as_router(struct kv_station *station, struct route *route)
{
  struct dispatch dispatch = {.station = station, .route = new_route(station)};
  pthread_t thread;
  start_router(&dispatch, &thread);
  serve_routed(station, route);
  pthread_join(thread, NULL);
  check_foresight(station, &dispatch.router);
  kv_router_free(&dispatch.router);
  free(dispatch.route);
}

static void replay_routed(struct kv_station *station)
{
  struct route *route = new_route(station);
  if (station->device == 0) {
    replay_as_router(station, route);
  } else {
    serve_routed(station, route);
    check_foresight(station, NULL);
  }
  free(route);
}

void kv_replay(struct kv_station *station)
{
  switch (station->options->policy) {
  case KV_POOLED: replay_pooled(station); break;
  case KV_PRIVATE: replay_private(station); break;
  case KV_ROUTER: replay_routed(station); break;
  }
}
