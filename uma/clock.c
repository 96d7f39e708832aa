/* Virtual time of the devices, and where it lies.
 *
 * Why a clock never goes back and its parts add up: it is only changed by forward(), which adds what is missing to a later time by one
 * compare-and-swap, and gives just that to the parts. It saturates at FAB_TICKS_MOST, and a duration is at most that, so no sum of two overflows;
 * who comes to that end is told, as nothing beyond it is true. Each thread also remembers what it saw last, and says so should it see less. */
#include "uma/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fabric/profile.h"
#include "uma/stream.h"

_Thread_local int uma_clock_paused;
static _Thread_local uint64_t seen UMA_CLOCK_THREAD; /* of the own clock, the latest */
static _Atomic bool complained;

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

/* By Fowler, Noll and Vo (FNV-1a, 64 bits). A topology is made in zeroed memory, and has no pointers. */
static uint64_t digest_of(const struct fab_topology *topology)
{
  uint64_t digest = 0xcbf29ce484222325u;
  for (const unsigned char *at = (const unsigned char *)topology; at < (const unsigned char *)(topology + 1); at++)
    digest = (digest ^ *at) * 0x100000001b3u;
  return digest;
}

int uma_clock_check(const char *profile, int devices, size_t *bytes, uint64_t *digest)
{
  struct fab_topology topology = {0};
  int result = make_topology(profile, devices, &topology);
  if (result) return result;
  *bytes = area_bytes(&topology);
  *digest = digest_of(&topology);
  return 0;
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
  if (!result && digest_of(&clock->topology) != shape->clock_digest)
    result = uma_fail(-EINVAL, "profile: \"%s\" says something else here than where the session was started", shape->profile);
  munmap(clock, shape->clock_bytes);
  return result;
}

int uma_clock_open(int board_fd)
{
  struct uma_clock *clock;
  if (!uma_self.shape.clock_bytes) return 0;
  int result = uma_clock_ways_open();
  if (!result) result = map_area(board_fd, uma_self.shape.clock_bytes, &clock);
  if (!result) uma_self.clock = clock;
  seen = 0;
  return result;
}

void uma_clock_close(void)
{
  if (!uma_self.clock) return;
  uma_clock_ways_close();
  munmap(uma_self.clock, uma_self.shape.clock_bytes);
  uma_self.clock = NULL;
}

struct uma_queue *uma_clock_queue(uint64_t resource)
{
  return (struct uma_queue *)((unsigned char *)uma_self.clock + queues_offset(&uma_self.clock->topology)) + resource;
}

struct uma_clock_state uma_clock_state(const struct uma_device_clock *clock)
{
  struct uma_clock_state state = {
      .moment.ticks = atomic_load(&clock->now), .work = atomic_load(&clock->work), .operations = atomic_load(&clock->operations)};
  for (int i = 0; i < UMA_PARTS_OF_TIME; i++) state.moment.parts[i] = atomic_load(&clock->parts[i]);
  return state;
}

static void tell(const struct uma_clock_state *state, struct uma_modelled *modelled)
{
  double ns[UMA_PARTS_OF_TIME];
  for (int i = 0; i < UMA_PARTS_OF_TIME; i++) ns[i] = fab_ns_of_ticks(state->moment.parts[i]);
  *modelled = (struct uma_modelled){.ns = fab_ns_of_ticks(state->moment.ticks),
                                    .compute_ns = ns[UMA_COMPUTING],
                                    .memory_ns = ns[UMA_MEMORY],
                                    .scale_up_ns = ns[UMA_SCALE_UP],
                                    .staging_ns = ns[UMA_STAGING],
                                    .network_ns = ns[UMA_NETWORK],
                                    .waiting_ns = ns[UMA_WAITING],
                                    .work_ns = fab_ns_of_ticks(state->work),
                                    .operations_ns = fab_ns_of_ticks(state->operations)};
}

void uma_clock_read(const struct uma_shape *shape, int host, int board_fd, struct uma_modelled *modelled)
{
  struct uma_clock *clock;
  if (!shape->clock_bytes || map_area(board_fd, shape->clock_bytes, &clock)) return;
  for (int d = uma_shape_first(shape, host, shape->hosts); d < uma_shape_first(shape, host + 1, shape->hosts); d++) {
    struct uma_clock_state state = uma_clock_state(&clock->devices[d][FAB_APPLICATION]);
    tell(&state, &modelled[d]);
  }
  munmap(clock, shape->clock_bytes);
}

static struct uma_device_clock *own_clock(void)
{
  return &uma_self.clock->devices[uma_self.device][uma_own_channel()];
}

/* ---- Clocks ------------------------------------------------------------------------------------------------------ */

void uma_clock_complain(const char *what, uint64_t from, uint64_t to)
{
  if (atomic_exchange(&complained, true)) return;
  fprintf(stderr, "libuma: device %d: %s (%.2f ns, then %.2f ns): modelled times are wrong from here on\n", uma_self.device, what,
          fab_ns_of_ticks(from), fab_ns_of_ticks(to));
}

/* Not before `until`; how much was missing. */
static uint64_t forward(struct uma_device_clock *clock, uint64_t until)
{
  uint64_t now = atomic_load_explicit(&clock->now, memory_order_relaxed);
  if (__builtin_expect(until >= FAB_TICKS_MOST, 0)) {
    uma_clock_complain("its modelled clock has come to a year, where it stops", now, FAB_TICKS_MOST);
    until = FAB_TICKS_MOST;
  }
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

/* Each part gets its share of what was missing, and waiting what no part explains. */
static void share_out(struct uma_device_clock *clock, const struct coh_moment *moment, uint64_t missing)
{
  unsigned __int128 sum = 0;
  uint64_t left = missing;
  for (int i = 0; i < UMA_PARTS_OF_TIME; i++) sum += moment->parts[i];
  for (int i = 0; i < UMA_PARTS_OF_TIME; i++) {
    uint64_t part = moment->parts[i];
    if (!part) continue;
    if (sum > missing) part = (uint64_t)((unsigned __int128)part * missing / sum);
    give(clock, (enum uma_part_of_time)i, part);
    left -= part;
  }
  give(clock, UMA_WAITING, left);
}

void uma_clock_reach(const struct coh_moment *moment)
{
  struct uma_device_clock *clock = own_clock();
  if (uma_clock_paused) return;
  uint64_t now = atomic_load_explicit(&clock->now, memory_order_relaxed), missing = forward(clock, moment->ticks);
  if (__builtin_expect(now < seen, 0)) uma_clock_complain("its modelled clock ran backwards", seen, now);
  seen = now + missing;
  if (missing) share_out(clock, moment, missing);
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

/* ---- Public functions -------------------------------------------------------------------------------------------- */

int uma_modelled(int device, struct uma_modelled *modelled)
{
  if (uma_server(device) < 0) return -EINVAL; /* it has left the sentence */
  if (!uma_self.clock) return uma_fail(-ENODATA, "uma_modelled: no machine is modelled in this session; start it with --profile");
  struct uma_clock_state state = uma_clock_state(&uma_self.clock->devices[device][FAB_APPLICATION]);
  bool here = uma_shape_host(&uma_self.shape, device) == uma_shape_host(&uma_self.shape, uma_self.device);
  int result = here ? 0 : uma_clock_ask_state(device, &state);
  if (result) return uma_fail(result, "uma_modelled: the host of device %d does not answer", device);
  if (state.moment.ticks >= FAB_TICKS_MOST)
    return uma_fail(-ERANGE, "uma_modelled: the clock of device %d has come to a year, where it stops", device);
  tell(&state, modelled);
  return 0;
}

double uma_modelled_ns(void)
{
  return uma_self.clock ? fab_ns_of_ticks(uma_clock_moment().ticks) : 0;
}
