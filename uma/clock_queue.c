/* Flights through the modelled machine, and the queues of what they share.
 *
 * Queues are booked in the order in which processes come by, which need not be the order of their clocks. So a resource knows its latest busy
 * times, and work goes into the first idle time that is long enough, however late it is booked. Devices that use resources of their own, or the same ones for the same time
 * each, get the same times in every run; others that race for one may not.
 *
 * A queue is guarded by a lock that is held for some ten instructions. Who finds that its holder was lost takes it over, and with it a queue that is
 * idle again, as nobody knows how far the other came.
 *
 * Over several hosts a flight is carried through the steps whose queues are here; then the host that has the next one's is asked to carry it on. A
 * chunk is through before the next one starts, so the queues of all hosts see the same order as those of one. What a lost host had is passed as if
 * nobody else were there. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "uma/clock.h"
#include "uma/stream.h"
#include "uma/wait.h"

/* A path; what a control message on it takes, which is too short to queue; and what a line or page takes alone. */
struct way {
  struct fab_path path;
  struct coh_moment control, line;
  uint64_t line_busy[FAB_PATH_LEGS][FAB_LEG_STEPS]; /* for how long such a line occupies each step: a division that misses do not repeat */
  bool leaves;                                      /* some queue is on another host: */
  int16_t away[FAB_PATH_LEGS][FAB_LEG_STEPS];       /* a device there; -1: it is here */
};
static _Atomic(struct way *) *ways; /* of this process, found so far: [from][to] */

/* What words cost, found so far: by this process's device (fork.c changes it) and home, kind of access, and size of 1 to 8 bytes. 0: not yet. */
struct word_costs {
  _Atomic uint64_t ticks[FAB_ACCESS_ATOMIC + 1][4];
};
static struct word_costs *word_costs;

int uma_clock_ways_open(void)
{
  size_t devices = (size_t)uma_self.shape.devices;
  ways = calloc(devices * devices, sizeof *ways);
  word_costs = calloc(devices * devices, sizeof *word_costs);
  return ways && word_costs ? 0 : uma_fail(-ENOMEM, "no memory for the ways of a profile's machine");
}

void uma_clock_ways_close(void)
{
  size_t devices = (size_t)uma_self.shape.devices;
  for (size_t i = 0; i < devices * devices; i++) free(ways[i]);
  free(ways);
  free(word_costs);
  ways = NULL;
  word_costs = NULL;
}

/* ---- Queues ------------------------------------------------------------------------------------------------------ */

static void lock_queue(struct uma_queue *queue)
{
  uint32_t mine = (uint32_t)uma_self.device + 1, none = 0;
  if (atomic_compare_exchange_strong_explicit(&queue->lock, &none, mine, memory_order_acquire, memory_order_relaxed)) return;
  struct uma_waiter waiter = {0};
  for (unsigned turns = 1;; turns++) {
    uint32_t holder = 0;
    if (atomic_compare_exchange_weak_explicit(&queue->lock, &holder, mine, memory_order_acquire, memory_order_relaxed)) return;
    if (!uma_wait_step(&waiter)) fab_nap();
    if (turns % 64) continue;
    if (!holder || holder == mine || !uma_is_lost((int)holder - 1) || !atomic_compare_exchange_strong(&queue->lock, &holder, mine))
      continue;
    queue->count = 0;
    return;
  }
}

/* Puts it at place `at`, or into a neighbour that it touches; the first one goes when there are too many. */
static void insert(struct uma_queue *queue, uint32_t at, uint64_t begin, uint64_t end)
{
  bool follows = at > 0 && queue->busy[at - 1].end == begin, leads = at < queue->count && queue->busy[at].begin == end;
  if (follows && leads) {
    queue->busy[at - 1].end = queue->busy[at].end;
    memmove(&queue->busy[at], &queue->busy[at + 1], (--queue->count - at) * sizeof queue->busy[0]);
  } else if (follows) {
    queue->busy[at - 1].end = end;
  } else if (leads) {
    queue->busy[at].begin = begin;
  } else {
    if (queue->count == UMA_BUSY_TIMES) {
      if (at == 0) return;
      memmove(&queue->busy[0], &queue->busy[1], --queue->count * sizeof queue->busy[0]);
      at--;
    }
    memmove(&queue->busy[at + 1], &queue->busy[at], (queue->count++ - at) * sizeof queue->busy[0]);
    queue->busy[at].begin = begin;
    queue->busy[at].end = end;
  }
}

/* Work of `ticks` that can begin at `head`: when it is done. */
static uint64_t book(struct uma_queue *queue, uint64_t head, uint64_t ticks)
{
  uint32_t at = 0;
  lock_queue(queue);
  for (; at < queue->count && head + ticks > queue->busy[at].begin; at++)
    if (queue->busy[at].end > head) head = queue->busy[at].end;
  uint64_t done = fab_later(head, ticks);
  insert(queue, at, head, done);
  atomic_store_explicit(&queue->lock, 0, memory_order_release);
  return done;
}

static enum uma_part_of_time part_of(const struct fab_step *step)
{
  switch ((enum fab_step_kind)step->kind) {
  case FAB_STEP_MEMORY: return UMA_MEMORY;
  case FAB_STEP_PCIE:
  case FAB_STEP_HOST: return UMA_STAGING;
  case FAB_STEP_NIC: return UMA_NETWORK;
  case FAB_STEP_UP:
  case FAB_STEP_DOWN:
  case FAB_STEP_ACROSS: break;
  }
  return step->network ? UMA_NETWORK : UMA_SCALE_UP;
}

/* Its next step; false: that is for another host. `alone`: then nobody else is there. */
static inline bool take_step(const struct way *way, size_t bytes, bool alone, struct coh_flight *flight)
{
  const struct fab_step *step = &way->path.leg[flight->leg].step[flight->step];
  bool line = bytes == uma_self.shape.line;
  uint64_t busy = line ? way->line_busy[flight->leg][flight->step] : fab_step_busy(step, bytes), done = flight->head;
  bool away = way->leaves && busy && way->away[flight->leg][flight->step] >= 0;
  if (away && !alone) return false;
  if (away) done = fab_later(done, busy);
  else if (busy) done = book(uma_clock_queue(step->resource), done, busy);
  flight->tail = fab_later(done > flight->tail ? done : flight->tail, step->latency);
  flight->head = fab_later(flight->head, step->latency);
  return true;
}

/* On through the legs: see fabric/topology.h. */
static struct coh_flight carry(const struct way *way, size_t bytes, bool alone, struct coh_flight flight)
{
  for (; flight.leg < (uint32_t)way->path.count; flight.leg++, flight.step = 0) {
    if (!flight.step) flight.head = flight.tail;
    for (; flight.step < (uint32_t)way->path.leg[flight.leg].count; flight.step++)
      if (!take_step(way, bytes, alone, &flight)) return flight;
  }
  return flight;
}

static bool has_landed(const struct way *way, const struct coh_flight *flight)
{
  return flight->leg >= (uint32_t)way->path.count;
}

/* From wherever it is all the way. */
static uint64_t arrival(const struct way *way, int from, int to, size_t bytes, struct coh_flight flight)
{
  flight = carry(way, bytes, false, flight);
  while (!has_landed(way, &flight)) {
    int error = uma_clock_ask_carry_on(way->away[flight.leg][flight.step], from, to, bytes, &flight);
    flight = carry(way, bytes, error, flight);
  }
  return flight.tail;
}

static uint64_t pass(const struct way *way, int from, int to, size_t bytes, uint64_t ready)
{
  return arrival(way, from, to, bytes, (struct coh_flight){.tail = ready});
}

static uint64_t pass_all(const struct way *way, int from, int to, size_t bytes, uint64_t ready)
{
  size_t chunk = way->path.chunk && way->path.chunk < bytes ? way->path.chunk : bytes;
  uint64_t last = pass(way, from, to, chunk, ready);
  for (size_t done = chunk; done < bytes; done += chunk) last = pass(way, from, to, bytes - done < chunk ? bytes - done : chunk, ready);
  return last;
}

static void add(struct coh_moment *moment, enum uma_part_of_time part, uint64_t ticks)
{
  moment->parts[part] = fab_later(moment->parts[part], ticks);
}

/* Latencies to their steps, and up to `elapsed` of the bytes' time to the narrowest; beyond what the path takes alone it is waiting. */
static void explain(const struct fab_path *path, size_t bytes, bool control, uint64_t elapsed, struct coh_moment *moment)
{
  const struct fab_step *narrowest = NULL;
  uint64_t most = 0, latency = 0, skipped = control ? path->leg[0].step[0].latency : 0;
  for (int l = 0; l < path->count; l++)
    for (int i = l == 0 && control; i < path->leg[l].count; i++) {
      const struct fab_step *step = &path->leg[l].step[i];
      uint64_t busy = fab_step_busy(step, bytes);
      add(moment, part_of(step), step->latency);
      latency = fab_ticks_add(latency, step->latency);
      if (narrowest && busy <= most) continue;
      narrowest = step;
      most = busy;
    }
  uint64_t alone = path->count == 1 ? latency + most : fab_path_ticks(path, bytes, 0) - skipped;
  uint64_t taken = elapsed < alone ? elapsed : alone, moving = taken > latency ? taken - latency : 0;
  if (narrowest) add(moment, part_of(narrowest), moving);
  add(moment, UMA_WAITING, elapsed - taken);
}

/* Which queues are on other hosts. */
static void find_away(struct way *way)
{
  const struct uma_shape *shape = &uma_self.shape;
  for (int l = 0; l < way->path.count; l++)
    for (int i = 0; i < way->path.leg[l].count; i++) {
      int owner = (int)fab_topology_owner(&uma_self.clock->topology, way->path.leg[l].step[i].resource);
      bool away = uma_shape_host(shape, owner) != uma_shape_host(shape, uma_self.device);
      way->away[l][i] = away ? (int16_t)owner : -1;
      way->leaves |= away;
    }
}

static enum fab_way wanted_way(int from, int to)
{
  const struct fab_topology *topology = &uma_self.clock->topology;
  if (!topology->by_session || uma_domain(from) == uma_domain(to)) return FAB_WAY_BEST;
  return topology->staged ? FAB_WAY_STAGED : FAB_WAY_DIRECT;
}

static const struct way *way_between(int from, int to)
{
  _Atomic(struct way *) *place = &ways[(size_t)from * (size_t)uma_self.shape.devices + (size_t)to];
  struct way *way = atomic_load_explicit(place, memory_order_acquire), *none = NULL;
  if (way) return way;
  way = calloc(1, sizeof *way);
  struct fab_path *path = way ? &way->path : NULL;
  if (!path || fab_topology_path(&uma_self.clock->topology, (uint64_t)from, (uint64_t)to, wanted_way(from, to), path)) abort();
  way->control.ticks = fab_request_ticks(path);
  explain(path, FAB_REQUEST_BYTES, true, way->control.ticks, &way->control);
  way->line.ticks = fab_path_ticks(path, uma_self.shape.line, 0);
  explain(path, uma_self.shape.line, false, way->line.ticks, &way->line);
  for (int l = 0; l < path->count; l++)
    for (int i = 0; i < path->leg[l].count; i++) way->line_busy[l][i] = fab_step_busy(&path->leg[l].step[i], uma_self.shape.line);
  if (uma_self.shape.hosts > 1) find_away(way);
  if (atomic_compare_exchange_strong(place, &none, way)) return way;
  free(way);
  return none;
}

static bool is_on(const struct way *way, const struct coh_flight *flight)
{
  return flight->leg < (uint32_t)way->path.count && flight->step < (uint32_t)way->path.leg[flight->leg].count &&
         flight->head <= FAB_TICKS_MOST && flight->tail <= FAB_TICKS_MOST;
}

/* Nothing is believed that another host says. */
bool uma_clock_carry_on(int from, int to, uint64_t bytes, struct coh_flight *flight)
{
  int devices = uma_self.shape.devices;
  if (from < 0 || from >= devices || to < 0 || to >= devices) return false;
  const struct way *way = way_between(from, to);
  if (!is_on(way, flight)) return false;
  *flight = carry(way, bytes, false, *flight);
  return true;
}

const struct fab_path *uma_clock_path(int from, int to)
{
  return &way_between(from, to)->path;
}

static uint64_t software_ticks(const struct fab_path *path, int from, int to, enum uma_flight_kind how)
{
  bool message = how == UMA_FLIGHT_MESSAGE || how == UMA_FLIGHT_GATHER;
  return message && path->way == FAB_WAY_LOAD_STORE && from != to ? uma_self.clock->topology.message_latency : 0;
}

static const struct fab_topology_curve *curve_named(enum fab_operation operation)
{
  const struct fab_topology_curve *curve = &uma_self.clock->topology.curve[operation];
  return curve->count ? curve : NULL;
}

/* What the profile says that such an operation between two devices takes as a whole; NULL: nothing. */
static const struct fab_topology_curve *curve_of(const struct fab_path *path, enum uma_flight_kind how)
{
  enum { NONE = -1 };
  static const int operations[][2] = {
      [UMA_FLIGHT_COPY] = {NONE, NONE},
      [UMA_FLIGHT_MESSAGE] = {FAB_MESSAGE, FAB_FAR_MESSAGE},
      [UMA_FLIGHT_GATHER] = {FAB_MESSAGE, FAB_FAR_MESSAGE},
      [UMA_FLIGHT_CONTROL] = {NONE, NONE},
      [UMA_FLIGHT_GET] = {FAB_GET, FAB_FAR_GET},
      [UMA_FLIGHT_PUT] = {FAB_PUT, FAB_FAR_PUT},
      [UMA_FLIGHT_CACHED_GET] = {FAB_CACHED_GET, NONE},
      [UMA_FLIGHT_CACHED_PUT] = {FAB_CACHED_PUT, NONE},
      [UMA_FLIGHT_READ] = {FAB_READ, FAB_FAR_GET},
      [UMA_FLIGHT_WRITE] = {FAB_WRITE, FAB_FAR_PUT},
      [UMA_FLIGHT_CACHED_READ] = {FAB_CACHED_READ, NONE},
      [UMA_FLIGHT_CACHED_WRITE] = {FAB_CACHED_WRITE, NONE},
  };
  int operation = operations[how][path->way != FAB_WAY_LOAD_STORE];
  return operation == NONE ? NULL : curve_named((enum fab_operation)operation);
}

static const struct fab_topology_curve *curve_between(int from, int to, enum uma_flight_kind how)
{
  return from == to ? NULL : curve_of(uma_clock_path(from, to), how);
}

bool uma_clock_knows(int from, int to, enum uma_flight_kind how)
{
  return curve_between(from, to, how) != NULL;
}

uint64_t uma_clock_departure(int from, int to, size_t bytes)
{
  const struct fab_topology_curve *curve = curve_between(from, to, UMA_FLIGHT_MESSAGE);
  uint64_t gap = curve ? fab_curve_gap(curve, bytes) : 0;
  return gap ? gap : fab_leg_busy(&uma_clock_path(from, to)->leg[0], bytes);
}

/* What the target of a flight sends for before it can begin; NULL: nothing, or a curve has it. */
static const struct coh_moment *request_of(int from, int to, enum uma_flight_kind how)
{
  static const bool asks[UMA_FLIGHT_CACHED_WRITE + 1] = {[UMA_FLIGHT_GET] = true,
                                                         [UMA_FLIGHT_CACHED_GET] = true,
                                                         [UMA_FLIGHT_READ] = true,
                                                         [UMA_FLIGHT_CACHED_READ] = true,
                                                         [UMA_FLIGHT_GATHER] = true};
  return asks[how] && from != to && !curve_between(from, to, how) ? &way_between(to, from)->control : NULL;
}

uint64_t uma_clock_alone(int from, int to, size_t bytes, enum uma_flight_kind how, uint64_t begins)
{
  const struct fab_path *path = uma_clock_path(from, to);
  const struct fab_topology_curve *curve = curve_between(from, to, how);
  const struct coh_moment *request = request_of(from, to, how);
  if (curve) return fab_later(begins, fab_curve_time(curve, bytes));
  uint64_t departs = fab_later(fab_later(begins, request ? request->ticks : 0), software_ticks(path, from, to, how));
  return fab_later(departs, fab_path_ticks(path, bytes, 0));
}

/* The time of a curve, shared out as its way's own terms are; what is beyond it is waiting. */
static void explain_curve(const struct fab_path *path, size_t bytes, uint64_t time, uint64_t elapsed, struct coh_moment *moment)
{
  struct coh_moment terms = {0};
  uint64_t taken = elapsed < time ? elapsed : time, sum = 0, given = 0;
  explain(path, bytes, false, fab_path_ticks(path, bytes, 0), &terms);
  for (int i = 0; i < UMA_PARTS_OF_TIME; i++) sum = fab_later(sum, terms.parts[i]);
  for (int i = 0; i < UMA_PARTS_OF_TIME && sum; i++) {
    uint64_t share = (uint64_t)((unsigned __int128)terms.parts[i] * taken / sum);
    add(moment, (enum uma_part_of_time)i, share);
    given += share;
  }
  add(moment, path->way == FAB_WAY_LOAD_STORE ? UMA_SCALE_UP : UMA_NETWORK, taken - given); /* rounding */
  add(moment, UMA_WAITING, elapsed - taken);
}

void uma_clock_explain(int from, int to, size_t bytes, enum uma_flight_kind how, uint64_t elapsed, struct coh_moment *moment)
{
  const struct fab_path *path = uma_clock_path(from, to);
  const struct fab_topology_curve *curve = curve_between(from, to, how);
  if (curve) {
    explain_curve(path, bytes, fab_curve_time(curve, bytes), elapsed, moment);
    return;
  }
  uint64_t software = software_ticks(path, from, to, how);
  add(moment, UMA_SCALE_UP, software);
  explain(path, bytes, false, elapsed > software ? elapsed - software : 0, moment);
}

static void add_parts(struct coh_moment *moment, const struct coh_moment *more)
{
  for (int i = 0; i < UMA_PARTS_OF_TIME; i++) moment->parts[i] = fab_later(moment->parts[i], more->parts[i]);
}

void uma_clock_fly(int from, int to, size_t bytes, enum uma_flight_kind how, struct coh_moment *moment)
{
  if (!uma_clock_paused) uma_clock_fly_always(from, to, bytes, how, moment);
}

/* A line or page has arrived. */
static void explain_line(const struct way *way, uint64_t arrived, struct coh_moment *moment)
{
  uint64_t elapsed = arrived > moment->ticks ? arrived - moment->ticks : 0;
  moment->ticks = arrived;
  add_parts(moment, &way->line);
  if (elapsed > way->line.ticks) add(moment, UMA_WAITING, elapsed - way->line.ticks);
}

/* As a whole, and what it waits for the resources of its way; what lies in the cache uses none of them. */
static uint64_t follow_curve(const struct way *way, const struct fab_topology_curve *curve, int from, int to, size_t bytes,
                             enum uma_flight_kind how, uint64_t departed)
{
  bool cached =
      how == UMA_FLIGHT_CACHED_GET || how == UMA_FLIGHT_CACHED_PUT || how == UMA_FLIGHT_CACHED_READ || how == UMA_FLIGHT_CACHED_WRITE;
  uint64_t alone = fab_later(departed, fab_path_ticks(&way->path, bytes, 0));
  uint64_t through = cached ? alone : pass_all(way, from, to, bytes, departed);
  return fab_later(fab_later(departed, fab_curve_time(curve, bytes)), through > alone ? through - alone : 0);
}

/* In one piece: a miss goes through here for each of its messages. */
__attribute__((flatten)) void uma_clock_fly_always(int from, int to, size_t bytes, enum uma_flight_kind how, struct coh_moment *moment)
{
  const struct way *way = way_between(from, to);
  if (how == UMA_FLIGHT_CONTROL) {
    moment->ticks = fab_later(moment->ticks, way->control.ticks);
    add_parts(moment, &way->control);
    return;
  }
  if (how == UMA_FLIGHT_COPY && bytes == uma_self.shape.line) {
    explain_line(way, pass_all(way, from, to, bytes, moment->ticks), moment);
    return;
  }
  const struct fab_topology_curve *curve = curve_between(from, to, how);
  const struct coh_moment *request = request_of(from, to, how);
  if (request) {
    moment->ticks = fab_later(moment->ticks, request->ticks);
    add_parts(moment, request);
  }
  uint64_t departed = moment->ticks;
  if (curve) {
    moment->ticks = follow_curve(way, curve, from, to, bytes, how, departed);
    uma_clock_explain(from, to, bytes, how, moment->ticks - departed, moment);
  } else {
    moment->ticks = pass_all(way, from, to, bytes, fab_later(departed, software_ticks(&way->path, from, to, how)));
    uma_clock_explain(from, to, bytes, how, moment->ticks - departed, moment);
  }
}

/* One that is cut into chunks, by turns here and there, goes all the way at once. */
struct coh_flight uma_clock_depart(int from, int to, enum uma_flight_kind how, uint64_t ticks)
{
  const struct way *way = way_between(from, to);
  size_t bytes = uma_self.shape.line;
  struct coh_flight flight = {.head = ticks, .tail = ticks, .leg = (uint32_t)way->path.count};
  if (how == UMA_FLIGHT_CONTROL) return flight;
  if (!way->path.chunk || way->path.chunk >= bytes) return carry(way, bytes, false, (struct coh_flight){.tail = ticks});
  flight.tail = pass_all(way, from, to, bytes, ticks);
  return flight;
}

void uma_clock_land(int from, int to, enum uma_flight_kind how, const struct coh_flight *flight, struct coh_moment *moment)
{
  const struct way *way = way_between(from, to);
  if (how == UMA_FLIGHT_CONTROL) {
    uma_clock_fly_always(from, to, 0, how, moment);
    return;
  }
  uint64_t tail = is_on(way, flight) ? arrival(way, from, to, uma_self.shape.line, *flight) : flight->tail;
  if (tail > FAB_TICKS_MOST) tail = FAB_TICKS_MOST;
  if (tail < moment->ticks) uma_clock_complain("a message arrived before it departed", moment->ticks, tail);
  explain_line(way, tail > moment->ticks ? tail : moment->ticks, moment);
}

/* 0 and ticks; -EHOSTUNREACH where there is no load and store. */
static int word_ticks(int home, enum fab_access access, size_t bytes, uint64_t *ticks)
{
  _Atomic uint64_t *cost =
      &word_costs[(size_t)uma_self.device * (size_t)uma_self.shape.devices + (size_t)home].ticks[access][bytes <= 1   ? 0
                                                                                                         : bytes <= 2 ? 1
                                                                                                         : bytes <= 4 ? 2
                                                                                                                      : 3];
  *ticks = atomic_load_explicit(cost, memory_order_relaxed);
  if (*ticks) return 0;
  if (uma_clock_path(uma_self.device, home)->way != FAB_WAY_LOAD_STORE) return -EHOSTUNREACH;
  int result = fab_access_ticks(&uma_self.clock->topology, (uint64_t)uma_self.device, (uint64_t)home, access, bytes, ticks);
  if (!result) atomic_store_explicit(cost, *ticks, memory_order_relaxed);
  return result;
}

static uint64_t times(uint64_t ticks, uint64_t count)
{
  return count && ticks > FAB_TICKS_MOST / count ? FAB_TICKS_MOST : ticks * count;
}

static void access_by_load_store(int home, enum fab_access access, uint64_t ticks, struct coh_moment *moment)
{
  const struct fab_device_kind *kind = fab_topology_kind(&uma_self.clock->topology, (uint64_t)home);
  uint64_t there = access == FAB_ACCESS_LOAD ? kind->load : access == FAB_ACCESS_STORE ? kind->store : kind->atomic;
  moment->ticks = fab_later(moment->ticks, ticks);
  moment->parts[UMA_MEMORY] = uma_self.device == home || there > ticks ? ticks : there;
  moment->parts[UMA_SCALE_UP] = ticks - moment->parts[UMA_MEMORY];
}

/* There and back, or what the profile says that it takes: a get of its bytes, but for a store that has a curve of its own. */
static void access_by_message(int home, enum fab_access access, size_t bytes, struct coh_moment *moment)
{
  int me = uma_self.device;
  if (access == FAB_ACCESS_STORE && curve_between(me, home, UMA_FLIGHT_PUT)) uma_clock_fly_always(me, home, bytes, UMA_FLIGHT_PUT, moment);
  else uma_clock_fly_always(home, me, bytes, UMA_FLIGHT_GET, moment);
}

/* Words go by turns with what else is on the way: they do not queue, but where they have to be messages they are. */
void uma_clock_access(int home, enum fab_access access, size_t bytes)
{
  struct coh_moment moment = uma_clock_moment();
  uint64_t ticks;
  if (uma_clock_paused) return;
  if (!word_ticks(home, access, bytes, &ticks)) access_by_load_store(home, access, ticks, &moment);
  else access_by_message(home, access, bytes, &moment);
  uma_clock_reach(&moment);
}

/* A profile without a curve knows no caches: every load goes to the memory. */
void uma_clock_chase(int home, size_t bytes, uint64_t loads)
{
  const struct fab_topology_curve *curve = curve_named(home == uma_self.device ? FAB_OWN_CHASE : FAB_CHASE);
  struct coh_moment one = uma_clock_moment(), all = one;
  uint64_t ticks;
  if (uma_clock_paused || !loads) return;
  if (word_ticks(home, FAB_ACCESS_LOAD, sizeof(uint64_t), &ticks)) access_by_message(home, FAB_ACCESS_LOAD, sizeof(uint64_t), &one);
  else access_by_load_store(home, FAB_ACCESS_LOAD, curve ? fab_curve_time(curve, bytes) : ticks, &one);
  uint64_t elapsed = one.ticks - all.ticks;
  all.ticks = fab_later(all.ticks, times(elapsed, loads));
  for (int i = 0; i < UMA_PARTS_OF_TIME; i++) all.parts[i] = times(one.parts[i], loads);
  uma_clock_reach(&all);
}

void uma_clock_look(int home)
{
  struct coh_moment moment = uma_clock_moment();
  uint64_t ticks;
  if (uma_clock_paused) return;
  if (!word_ticks(home, FAB_ACCESS_LOAD, sizeof(uint64_t), &ticks)) {
    access_by_load_store(home, FAB_ACCESS_LOAD, ticks, &moment);
  } else {
    const struct fab_path *back = uma_clock_path(home, uma_self.device);
    uma_clock_fly_always(uma_self.device, home, 0, UMA_FLIGHT_CONTROL, &moment);
    ticks = fab_path_ticks(back, sizeof(uint64_t), 0);
    moment.ticks = fab_later(moment.ticks, ticks);
    explain(back, sizeof(uint64_t), false, ticks, &moment);
  }
  uma_clock_reach(&moment);
}
