/* Virtual time of the devices, and queues for what they share.
 *
 * Why a clock never goes back and its parts add up: it is only changed by forward(), which adds what is missing to a later time by one
 * compare-and-swap, and gives just that to the parts. It saturates at FAB_TICKS_MOST, and a duration is at most that, so no sum overflows.
 *
 * Queues are booked in the order in which processes come by, which need not be the order of their clocks. So a resource knows its latest busy
 * times, and work goes into the first idle time that is long enough, however late it is booked. Devices that use resources of their own, or the same ones for the same time
 * each, get the same times in every run; others that race for one may not.
 *
 * A queue is guarded by a lock that is held for some ten instructions. Who waits for it very long takes it that its holder has died, and goes on
 * without: the worst that can come of it is a wrong time. */
#include "uma/clock.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fabric/profile.h"
#include "uma/stream.h"

#define CONTROL_BYTES 24 /* of a message without data, as uma_counters has it */

/* A path; what a control message on it takes, which is too short to queue; and what a line or page takes alone. */
struct way {
  struct fab_path path;
  struct coh_moment control, line;
};
static _Atomic(struct way *) *paths; /* of this process, found so far: [from][to] */
static _Thread_local int paused;

/* What words cost, found so far: by this process's device (fork.c changes it) and home, kind of access, and size of 1 to 8 bytes. 0: not yet. */
struct word_costs {
  _Atomic uint64_t ticks[FAB_ACCESS_ATOMIC + 1][4];
};
static struct word_costs *word_costs;

/* ---- The area ---------------------------------------------------------------------------------------------------- */

size_t uma_clock_offset(void)
{
  return (sizeof(struct uma_board) + 4095) / 4096 * 4096;
}

static size_t queues_offset(const struct fab_topology *topology)
{
  size_t clocks = sizeof(struct uma_clock) + (size_t)topology->devices * UMA_MAILBOXES * sizeof(struct uma_device_clock);
  return (clocks + sizeof(struct uma_queue) - 1) / sizeof(struct uma_queue) * sizeof(struct uma_queue);
}

static size_t area_bytes(const struct fab_topology *topology)
{
  return queues_offset(topology) + fab_topology_resources(topology) * sizeof(struct uma_queue);
}

/* The first of the mistakes, and how many more there are. */
static int refuse(const char *profile, const char *report)
{
  int lines = 0, length = (int)strcspn(report, "\n");
  for (const char *c = report; *c; c++) lines += *c == '\n';
  if (lines < 2) return uma_fail(-EINVAL, "profile: %.*s", length, report);
  return uma_fail(-EINVAL, "profile: %.*s (and %d more: `uma topology %s` tells)", length, report, lines - 1, profile);
}

static int make_topology(const char *name, int devices, struct fab_topology *topology)
{
  char *text = NULL;
  size_t size;
  FILE *report = open_memstream(&text, &size);
  if (!report) return uma_fail(-ENOMEM, "no memory for a profile");
  struct fab_profile *profile = fab_profile_load(name, report);
  int result = profile ? fab_topology_make(profile, (uint64_t)devices, topology, report) : -EINVAL;
  fclose(report);
  if (result) refuse(name, text);
  fab_profile_free(profile);
  free(text);
  return result ? -EINVAL : 0;
}

int uma_clock_check(const char *profile, int devices, size_t *bytes)
{
  struct fab_topology topology;
  int result = make_topology(profile, devices, &topology);
  if (!result) *bytes = area_bytes(&topology);
  return result;
}

static int map_area(int board_fd, size_t bytes, struct uma_clock **clock)
{
  *clock = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, board_fd, (off_t)uma_clock_offset());
  return *clock == MAP_FAILED ? uma_fail(-errno, "cannot map %zu bytes of modelled clocks: %s", bytes, strerror(errno)) : 0;
}

int uma_clock_create(const struct uma_shape *shape, int board_fd)
{
  struct uma_clock *clock;
  if (!shape->clock_bytes) return 0;
  int result = map_area(board_fd, shape->clock_bytes, &clock);
  if (result) return result;
  result = make_topology(shape->profile, shape->devices, &clock->topology);
  if (!result && area_bytes(&clock->topology) != shape->clock_bytes)
    result = uma_fail(-EINVAL, "profile: \"%s\" has changed while the session started", shape->profile);
  munmap(clock, shape->clock_bytes);
  return result;
}

int uma_clock_open(int board_fd)
{
  size_t devices = (size_t)uma_self.shape.devices;
  if (!uma_self.shape.clock_bytes) return 0;
  paths = calloc(devices * devices, sizeof *paths);
  word_costs = calloc(devices * devices, sizeof *word_costs);
  if (!paths || !word_costs) return uma_fail(-ENOMEM, "no memory for the ways of a profile's machine");
  struct uma_clock *clock;
  int result = map_area(board_fd, uma_self.shape.clock_bytes, &clock);
  if (!result) uma_self.clock = clock;
  return result;
}

void uma_clock_close(void)
{
  size_t devices = (size_t)uma_self.shape.devices;
  if (!uma_self.clock) return;
  for (size_t i = 0; i < devices * devices; i++) free(paths[i]);
  free(paths);
  free(word_costs);
  paths = NULL;
  word_costs = NULL;
  munmap(uma_self.clock, uma_self.shape.clock_bytes);
  uma_self.clock = NULL;
}

void uma_clock_read(const struct uma_shape *shape, int board_fd, struct uma_modelled *modelled)
{
  struct uma_clock *clock;
  if (!shape->clock_bytes || map_area(board_fd, shape->clock_bytes, &clock)) return;
  for (int d = 0; d < shape->devices; d++) uma_clock_tell(&clock->devices[d][FAB_APPLICATION], &modelled[d]);
  munmap(clock, shape->clock_bytes);
}

static struct uma_queue *queue_of(uint64_t resource)
{
  return (struct uma_queue *)((unsigned char *)uma_self.clock + queues_offset(&uma_self.clock->topology)) + resource;
}

static struct uma_device_clock *own_clock(void)
{
  return &uma_self.clock->devices[uma_self.device][uma_own_channel()];
}

/* fab_ticks_add of two durations that are in range. */
static inline uint64_t later(uint64_t ticks, uint64_t duration)
{
  return ticks + duration < FAB_TICKS_MOST ? ticks + duration : FAB_TICKS_MOST;
}

/* ---- Clocks ------------------------------------------------------------------------------------------------------ */

/* Not before `until`; how much was missing. */
static uint64_t forward(struct uma_device_clock *clock, uint64_t until)
{
  uint64_t now = atomic_load_explicit(&clock->now, memory_order_relaxed);
  if (until > FAB_TICKS_MOST) until = FAB_TICKS_MOST;
  while (now < until)
    if (atomic_compare_exchange_weak_explicit(&clock->now, &now, until, memory_order_acq_rel, memory_order_relaxed)) return until - now;
  return 0;
}

static void give(struct uma_device_clock *clock, enum uma_part_of_time part, uint64_t ticks)
{
  if (ticks) atomic_fetch_add_explicit(&clock->parts[part], ticks, memory_order_relaxed);
}

struct coh_moment uma_clock_moment(void)
{
  return (struct coh_moment){.ticks = atomic_load_explicit(&own_clock()->now, memory_order_relaxed)};
}

/* What is missing is taken from the end: the newest parts first do not matter, so each gets its share, and waiting what no part explains. */
void uma_clock_reach(const struct coh_moment *moment)
{
  struct uma_device_clock *clock = own_clock();
  uint64_t missing = paused ? 0 : forward(clock, moment->ticks), sum = 0, given = 0;
  if (!missing) return;
  for (int i = 0; i < UMA_PARTS_OF_TIME; i++) sum = fab_ticks_add(sum, moment->parts[i]);
  for (int i = 0; i < UMA_PARTS_OF_TIME; i++) {
    uint64_t share = sum <= missing ? moment->parts[i] : (uint64_t)((unsigned __int128)moment->parts[i] * missing / sum);
    give(clock, (enum uma_part_of_time)i, share);
    given += share;
  }
  give(clock, UMA_WAITING, missing - given);
}

void uma_clock_spend(enum uma_part_of_time part, uint64_t ticks)
{
  struct coh_moment moment = uma_clock_moment();
  moment.ticks = fab_ticks_add(moment.ticks, ticks);
  moment.parts[part] = ticks;
  uma_clock_reach(&moment);
}

void uma_clock_raise(int device, uint64_t ticks)
{
  struct uma_device_clock *clock = &uma_self.clock->devices[device][FAB_APPLICATION];
  give(clock, UMA_WAITING, forward(clock, ticks));
}

uint64_t uma_clock_of(int device)
{
  return atomic_load_explicit(&uma_self.clock->devices[device][FAB_APPLICATION].now, memory_order_acquire);
}

void uma_clock_pause(void)
{
  paused++;
}

void uma_clock_go_on(void)
{
  paused--;
}

/* ---- Queues ------------------------------------------------------------------------------------------------------ */

static void lock_queue(struct uma_queue *queue)
{
  for (int turns = 0; turns < 1 << 20 && atomic_exchange_explicit(&queue->lock, 1, memory_order_acquire); turns++)
    if (turns % 64 == 63) sched_yield();
    else fab_pause();
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
  if (queue->count > UMA_BUSY_TIMES) queue->count = 0; /* left by a holder that died */
  for (; at < queue->count && head + ticks > queue->busy[at].begin; at++)
    if (queue->busy[at].end > head) head = queue->busy[at].end;
  uint64_t done = later(head, ticks);
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

/* One chunk through the legs: see fabric/topology.h. */
static uint64_t pass(const struct fab_path *path, size_t bytes, uint64_t ready)
{
  uint64_t tail = ready;
  for (int l = 0; l < path->count; l++) {
    uint64_t head = tail;
    for (int i = 0; i < path->leg[l].count; i++) {
      const struct fab_step *step = &path->leg[l].step[i];
      uint64_t busy = fab_step_busy(step, bytes), done = busy ? book(queue_of(step->resource), head, busy) : head;
      tail = later(done > tail ? done : tail, step->latency);
      head = later(head, step->latency);
    }
  }
  return tail;
}

static uint64_t pass_all(const struct fab_path *path, size_t bytes, uint64_t ready)
{
  size_t chunk = path->chunk && path->chunk < bytes ? path->chunk : bytes;
  uint64_t last = pass(path, chunk, ready);
  for (size_t done = chunk; done < bytes; done += chunk) last = pass(path, bytes - done < chunk ? bytes - done : chunk, ready);
  return last;
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
      moment->parts[part_of(step)] += step->latency;
      latency = fab_ticks_add(latency, step->latency);
      if (narrowest && busy <= most) continue;
      narrowest = step;
      most = busy;
    }
  uint64_t alone = path->count == 1 ? latency + most : fab_path_ticks(path, bytes, 0) - skipped;
  uint64_t taken = elapsed < alone ? elapsed : alone, moving = taken > latency ? taken - latency : 0;
  if (narrowest) moment->parts[part_of(narrowest)] += moving;
  moment->parts[UMA_WAITING] += elapsed - taken;
}

static enum fab_way wanted_way(int from, int to)
{
  const struct fab_topology *topology = &uma_self.clock->topology;
  if (!topology->by_session || uma_domain(from) == uma_domain(to)) return FAB_WAY_BEST;
  return topology->staged ? FAB_WAY_STAGED : FAB_WAY_DIRECT;
}

static const struct way *way_between(int from, int to)
{
  _Atomic(struct way *) *place = &paths[(size_t)from * (size_t)uma_self.shape.devices + (size_t)to];
  struct way *way = atomic_load_explicit(place, memory_order_acquire), *none = NULL;
  if (way) return way;
  way = calloc(1, sizeof *way);
  struct fab_path *path = way ? &way->path : NULL;
  if (!path || fab_topology_path(&uma_self.clock->topology, (uint64_t)from, (uint64_t)to, wanted_way(from, to), path)) abort();
  way->control.ticks = fab_path_ticks(path, CONTROL_BYTES, 0) - path->leg[0].step[0].latency;
  explain(path, CONTROL_BYTES, true, way->control.ticks, &way->control);
  way->line.ticks = fab_path_ticks(path, uma_self.shape.line, 0);
  explain(path, uma_self.shape.line, false, way->line.ticks, &way->line);
  if (atomic_compare_exchange_strong(place, &none, way)) return way;
  free(way);
  return none;
}

const struct fab_path *uma_clock_path(int from, int to)
{
  return &way_between(from, to)->path;
}

static uint64_t software_ticks(const struct fab_path *path, int from, int to, enum uma_flight how)
{
  return how == UMA_FLIGHT_MESSAGE && path->way == FAB_WAY_LOAD_STORE && from != to ? uma_self.clock->topology.message_latency : 0;
}

/* What the profile says that such an operation takes as a whole; NULL: nothing. */
static const struct fab_topology_curve *curve_of(const struct fab_path *path, int from, int to, enum uma_flight how)
{
  enum { NONE = -1 };
  static const int operations[][2] = {
      [UMA_FLIGHT_COPY] = {NONE, NONE},
      [UMA_FLIGHT_MESSAGE] = {FAB_MESSAGE, FAB_FAR_MESSAGE},
      [UMA_FLIGHT_CONTROL] = {NONE, NONE},
      [UMA_FLIGHT_GET] = {FAB_GET, FAB_FAR_GET},
      [UMA_FLIGHT_PUT] = {FAB_PUT, FAB_FAR_PUT},
      [UMA_FLIGHT_CACHED_GET] = {FAB_CACHED_GET, NONE},
      [UMA_FLIGHT_CACHED_PUT] = {FAB_CACHED_PUT, NONE},
  };
  int operation = operations[how][path->way != FAB_WAY_LOAD_STORE];
  const struct fab_topology_curve *curve = operation == NONE || from == to ? NULL : &uma_self.clock->topology.curve[operation];
  return curve && curve->count ? curve : NULL;
}

uint64_t uma_clock_departure(int from, int to, size_t bytes)
{
  const struct fab_path *path = uma_clock_path(from, to);
  const struct fab_topology_curve *curve = curve_of(path, from, to, UMA_FLIGHT_MESSAGE);
  uint64_t gap = curve ? fab_curve_gap(curve, bytes) : 0;
  return gap ? gap : fab_leg_busy(&path->leg[0], bytes);
}

/* The time of a curve, shared out as its way's own terms are; what is beyond it is waiting. */
static void explain_curve(const struct fab_path *path, size_t bytes, uint64_t time, uint64_t elapsed, struct coh_moment *moment)
{
  struct coh_moment terms = {0};
  uint64_t taken = elapsed < time ? elapsed : time, sum = 0, given = 0;
  explain(path, bytes, false, fab_path_ticks(path, bytes, 0), &terms);
  for (int i = 0; i < UMA_PARTS_OF_TIME; i++) sum = fab_ticks_add(sum, terms.parts[i]);
  for (int i = 0; i < UMA_PARTS_OF_TIME && sum; i++) {
    uint64_t share = (uint64_t)((unsigned __int128)terms.parts[i] * taken / sum);
    moment->parts[i] += share;
    given += share;
  }
  moment->parts[path->way == FAB_WAY_LOAD_STORE ? UMA_SCALE_UP : UMA_NETWORK] += taken - given; /* rounding */
  moment->parts[UMA_WAITING] += elapsed - taken;
}

void uma_clock_explain(int from, int to, size_t bytes, enum uma_flight how, uint64_t elapsed, struct coh_moment *moment)
{
  const struct fab_path *path = uma_clock_path(from, to);
  const struct fab_topology_curve *curve = curve_of(path, from, to, how);
  if (curve) {
    explain_curve(path, bytes, fab_curve_time(curve, bytes), elapsed, moment);
    return;
  }
  uint64_t software = software_ticks(path, from, to, how);
  moment->parts[UMA_SCALE_UP] += software;
  explain(path, bytes, false, elapsed > software ? elapsed - software : 0, moment);
}

static void add_parts(struct coh_moment *moment, const struct coh_moment *more)
{
  for (int i = 0; i < UMA_PARTS_OF_TIME; i++) moment->parts[i] += more->parts[i];
}

void uma_clock_fly(int from, int to, size_t bytes, enum uma_flight how, struct coh_moment *moment)
{
  const struct way *way = way_between(from, to);
  uint64_t departed = moment->ticks;
  if (paused) return;
  const struct fab_topology_curve *curve = curve_of(&way->path, from, to, how);
  if (curve) {
    bool cached = how == UMA_FLIGHT_CACHED_GET || how == UMA_FLIGHT_CACHED_PUT; /* it uses nothing of its way */
    uint64_t waited = cached ? 0 : pass_all(&way->path, bytes, departed) - departed - fab_path_ticks(&way->path, bytes, 0);
    moment->ticks = later(departed, fab_ticks_add(fab_curve_time(curve, bytes), waited));
    uma_clock_explain(from, to, bytes, how, moment->ticks - departed, moment);
    return;
  }
  if (how == UMA_FLIGHT_CONTROL) {
    moment->ticks = later(departed, way->control.ticks);
    add_parts(moment, &way->control);
    return;
  }
  if (how == UMA_FLIGHT_COPY && bytes == uma_self.shape.line) {
    moment->ticks = pass_all(&way->path, bytes, departed);
    add_parts(moment, &way->line);
    if (moment->ticks > departed + way->line.ticks) moment->parts[UMA_WAITING] += moment->ticks - departed - way->line.ticks;
    return;
  }
  moment->ticks = pass_all(&way->path, bytes, fab_ticks_add(departed, software_ticks(&way->path, from, to, how)));
  uma_clock_explain(from, to, bytes, how, moment->ticks - departed, moment);
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

/* There and back, or what the profile says that it takes. */
static void by_message(int home, enum fab_access access, size_t bytes, struct coh_moment *moment)
{
  bool put = access == FAB_ACCESS_STORE;
  int from = put ? uma_self.device : home, to = put ? home : uma_self.device;
  enum uma_flight how = put ? UMA_FLIGHT_PUT : UMA_FLIGHT_GET;
  if (curve_of(uma_clock_path(from, to), from, to, how)) {
    uma_clock_fly(from, to, bytes, how, moment);
    return;
  }
  uma_clock_fly(uma_self.device, home, bytes, UMA_FLIGHT_CONTROL, moment);
  uma_clock_fly(home, uma_self.device, bytes, UMA_FLIGHT_COPY, moment);
}

/* Words go by turns with what else is on the way: they do not queue, but where they have to be messages they are. */
void uma_clock_access(int home, enum fab_access access, size_t bytes)
{
  const struct fab_topology *topology = &uma_self.clock->topology;
  struct coh_moment moment = uma_clock_moment();
  uint64_t ticks;
  if (paused) return;
  if (word_ticks(home, access, bytes, &ticks)) {
    by_message(home, access, bytes, &moment);
  } else {
    const struct fab_device_kind *kind = fab_topology_kind(topology, (uint64_t)home);
    uint64_t there = access == FAB_ACCESS_LOAD ? kind->load : access == FAB_ACCESS_STORE ? kind->store : kind->atomic;
    moment.ticks = fab_ticks_add(moment.ticks, ticks);
    moment.parts[UMA_MEMORY] = uma_self.device == home ? ticks : there;
    moment.parts[UMA_SCALE_UP] = ticks - moment.parts[UMA_MEMORY];
  }
  uma_clock_reach(&moment);
}
