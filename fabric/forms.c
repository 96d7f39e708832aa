/* Closed forms. By symmetry one device, or one pair at each level, stands for all; so each takes time in proportion to the stages. */
#include "fabric/forms.h"

#include <errno.h>
#include <math.h>

static uint64_t smaller(uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
  return a > b ? a : b;
}

static uint64_t times(uint64_t ticks, uint64_t count)
{
  unsigned __int128 product = (unsigned __int128)ticks * count;
  return product > FAB_TICKS_MOST ? FAB_TICKS_MOST : (uint64_t)product;
}

/* How many devices have the step's resource in common. */
static uint64_t sharers(const struct fab_topology *topology, const struct fab_step *step)
{
  switch ((enum fab_step_kind)step->kind) {
  case FAB_STEP_HOST: return topology->level[0].size;
  case FAB_STEP_NIC: return topology->devices_per_nic;
  case FAB_STEP_UP:
  case FAB_STEP_DOWN: return topology->network[step->network].stage[step->stage].below;
  default: return 1;
  }
}

/* A copy when `senders` devices side by side make one like it at once. */
static uint64_t crowded_ticks(const struct fab_topology *topology, struct fab_path *path, uint64_t senders, uint64_t bytes)
{
  for (int leg = 0; leg < path->count; leg++)
    for (int i = 0; i < path->leg[leg].count; i++) {
      struct fab_step *step = &path->leg[leg].step[i];
      uint64_t crowd = smaller(senders, sharers(topology, step));
      step->overhead = times(step->overhead, crowd);
      step->bandwidth = step->bandwidth ? larger(1, step->bandwidth / crowd) : 0;
    }
  uint64_t software = path->way == FAB_WAY_LOAD_STORE ? topology->message_latency : 0;
  return fab_ticks_add(software, fab_path_ticks(path, bytes, 0));
}

static int step_ticks(const struct fab_topology *topology, uint64_t a, uint64_t b, uint64_t senders, uint64_t bytes, uint64_t *ticks)
{
  struct fab_path path;
  int result = fab_topology_path(topology, a, b, FAB_WAY_BEST, &path);
  if (!result) *ticks = crowded_ticks(topology, &path, senders, bytes);
  return result;
}

static bool fits(const struct fab_topology *topology, uint64_t n)
{
  return n >= 1 && n <= topology->devices;
}

/* Of one neighbour after another, all that a ring needs. */
struct ring {
  uint64_t sum, least, slowest, busiest; /* of steps; busiest: how long a step keeps one resource */
};

static uint64_t busy_ticks(const struct fab_path *path, uint64_t bytes)
{
  uint64_t chunk = path->chunk && path->chunk < bytes ? path->chunk : larger(bytes, 1), most = 0;
  for (int leg = 0; leg < path->count; leg++) {
    uint64_t all = fab_ticks_add(times(fab_leg_busy(&path->leg[leg], chunk), bytes / chunk),
                                 bytes % chunk ? fab_leg_busy(&path->leg[leg], bytes % chunk) : 0);
    most = larger(most, all);
  }
  return most;
}

static int add_neighbours(const struct fab_topology *topology, uint64_t a, uint64_t b, uint64_t count, uint64_t bytes, struct ring *ring)
{
  struct fab_path path;
  int result = count ? fab_topology_path(topology, a, b, FAB_WAY_BEST, &path) : 0;
  if (result || !count) return result;
  uint64_t step = crowded_ticks(topology, &path, 1, bytes);
  ring->sum = fab_ticks_add(ring->sum, times(step, count));
  ring->least = smaller(ring->least, step);
  ring->slowest = larger(ring->slowest, step);
  ring->busiest = larger(ring->busiest, busy_ticks(&path, bytes));
  return 0;
}

/* The neighbours of a ring differ by the level that joins them: 0 and 1, and at each level the last device of a unit with the first of the
 * next; and the end with the beginning. */
int fab_form_ring_allreduce(const struct fab_topology *topology, uint64_t n, uint64_t bytes, uint64_t *ticks)
{
  struct ring ring = {.least = UINT64_MAX};
  if (!fits(topology, n)) return -EINVAL;
  if (n == 1) return *ticks = 0, 0;
  uint64_t piece = bytes / n + (bytes % n > 0), crossing = n - 1, last = 1;
  int result = add_neighbours(topology, n - 1, 0, 1, piece, &ring);
  for (int level = 0; level < topology->level_count && !result; level++) {
    uint64_t beyond = (n - 1) / topology->level[level].size;
    result = add_neighbours(topology, last - 1, last, crossing - beyond, piece, &ring);
    crossing = beyond;
    last = topology->level[level].size;
  }
  if (result) return result;
  uint64_t around = times(ring.sum, 2), whole = 2 * (n - 1), queued = fab_ticks_add(times(ring.busiest, whole - 1), ring.slowest);
  around = around < FAB_TICKS_MOST ? around - 2 * ring.least : FAB_TICKS_MOST;
  *ticks = larger(around, queued);
  return 0;
}

static uint64_t load_ticks(double messages, uint64_t overhead, uint64_t bandwidth, uint64_t bytes)
{
  double each = (double)overhead + (bandwidth ? (double)bytes * (double)FAB_TICKS_PER_SECOND / (double)bandwidth : 0);
  double all = messages * each;
  return all >= (double)FAB_TICKS_MOST ? FAB_TICKS_MOST : (uint64_t)llround(all);
}

/* What the busiest link of each stage carries: from the devices of one unit to all that lie beyond it in the same network. `near`: how many
 * devices another network serves. */
static uint64_t busiest_stage(const struct fab_topology *topology, int network, uint64_t n, uint64_t near, double messages, uint64_t bytes)
{
  const struct fab_topology_network *from = &topology->network[network];
  uint64_t reached = smaller(n, larger(from->domain, 1)), most = 0;
  for (int i = 0; i < from->stage_count; i++) {
    const struct fab_topology_stage *stage = &from->stage[i];
    uint64_t inside = smaller(n, stage->below), beyond = reached > larger(inside, near) ? reached - larger(inside, near) : 0;
    double count = stage->mesh ? (double)inside * (double)inside * (beyond > 0) : (double)inside * (double)beyond;
    for (int kind = 0; kind < topology->kind_count; kind++) {
      const struct fab_topology_link *link = &topology->link[stage->link[kind]];
      most = larger(most, load_ticks(count * messages, link->overhead / stage->lanes, link->bandwidth * stage->lanes, bytes));
    }
  }
  return most;
}

/* The host's side of messages to `far` devices beyond the scale-up domain. */
static uint64_t busiest_host(const struct fab_topology *topology, uint64_t n, uint64_t far, double messages, uint64_t bytes)
{
  double out = messages * (double)far;
  uint64_t server = smaller(n, topology->level[0].size),
           most = load_ticks(out, topology->staged ? topology->pcie_overhead : 0, topology->pcie_bandwidth, bytes);
  most = larger(most, load_ticks(out * (double)smaller(n, topology->devices_per_nic), topology->nic_overhead, 0, bytes));
  if (topology->staged) most = larger(most, load_ticks(out * (double)server, 0, topology->host_bandwidth, bytes));
  return most;
}

int fab_form_alltoall(const struct fab_topology *topology, uint64_t n, double messages, uint64_t bytes, uint64_t *ticks)
{
  struct fab_path path;
  if (!fits(topology, n)) return -EINVAL;
  if (n == 1) return *ticks = 0, 0;
  int result = fab_topology_path(topology, 0, n - 1, FAB_WAY_BEST, &path);
  if (result) return result;
  uint64_t near = smaller(n, larger(topology->network[0].domain, 1)), far = n - near, busy = 0;
  for (int kind = 0; kind < topology->kind_count; kind++)
    busy = larger(busy, load_ticks(2 * messages * (double)(n - 1), 0, topology->kind[kind].memory_bandwidth, bytes));
  busy = larger(busy, busiest_stage(topology, 0, n, 0, messages, bytes));
  if (far) busy = larger(busy, busiest_stage(topology, 1, n, near, messages, bytes));
  if (far) busy = larger(busy, busiest_host(topology, n, far, messages, bytes));
  *ticks = fab_ticks_add(fab_ticks_add(topology->message_latency, fab_path_latency(&path)), busy);
  return 0;
}

int fab_form_gather(const struct fab_topology *topology, uint64_t n, uint64_t bytes, uint64_t *ticks)
{
  struct fab_path path;
  uint64_t sending;
  int result = fab_form_alltoall(topology, n, 1, bytes, &sending);
  if (!result && n > 1) result = fab_topology_path(topology, 0, n - 1, FAB_WAY_BEST, &path);
  if (!result) *ticks = n > 1 ? fab_ticks_add(fab_request_ticks(&path), sending) : 0;
  return result;
}

int fab_form_direct_allreduce(const struct fab_topology *topology, uint64_t n, uint64_t bytes, uint64_t *ticks)
{
  uint64_t part = n ? (bytes + n - 1) / n : 0, reading, writing;
  int result = fab_form_gather(topology, n, part, &reading);
  if (!result) result = fab_form_alltoall(topology, n, 1, part, &writing);
  if (!result) *ticks = fab_ticks_add(reading, writing);
  return result;
}

int fab_form_broadcast(const struct fab_topology *topology, uint64_t n, uint64_t bytes, uint64_t *ticks)
{
  uint64_t sum = 0, first, last;
  if (!fits(topology, n)) return -EINVAL;
  for (uint64_t distance = 1; distance < n; distance *= 2) {
    uint64_t senders = smaller(distance, n - distance);
    int result = step_ticks(topology, 0, distance, senders, bytes, &first);
    if (!result) result = step_ticks(topology, senders - 1, senders - 1 + distance, senders, bytes, &last);
    if (result) return result;
    sum = fab_ticks_add(sum, larger(first, last));
  }
  *ticks = sum;
  return 0;
}

int fab_form_chase(const struct fab_topology *topology, uint64_t a, uint64_t b, uint64_t hops, uint64_t *ticks)
{
  uint64_t load;
  int result = fab_access_ticks(topology, a, b, FAB_ACCESS_LOAD, sizeof(void *), &load);
  if (!result) *ticks = times(load, hops);
  return result;
}
