/* What paths, accesses and computing cost when nobody else is on the way. Products of 64 bits are made in 128; results saturate. */
#include <errno.h>
#include <math.h>

#include "fabric/topology.h"

typedef unsigned __int128 wide;

static uint64_t narrow(wide ticks)
{
  return ticks > FAB_TICKS_MOST ? FAB_TICKS_MOST : (uint64_t)ticks;
}

uint64_t fab_ticks_of_ns(double ns)
{
  double ticks = ns * (double)FAB_TICKS_PER_NS;
  return ticks >= (double)FAB_TICKS_MOST ? FAB_TICKS_MOST : ticks <= 0 ? 0 : (uint64_t)llround(ticks);
}

uint64_t fab_ticks_of_bytes(uint64_t bytes, uint64_t bytes_per_second)
{
  if (!bytes_per_second) return 0;
  if (bytes < (UINT64_MAX - bytes_per_second) / FAB_TICKS_PER_SECOND) /* the quotient of 64 bits takes a tenth of the time */
    return (bytes * FAB_TICKS_PER_SECOND + bytes_per_second - 1) / bytes_per_second;
  return narrow(((wide)bytes * FAB_TICKS_PER_SECOND + bytes_per_second - 1) / bytes_per_second);
}

uint64_t fab_ticks_add(uint64_t a, uint64_t b)
{
  return narrow((wide)a + b);
}

uint64_t fab_step_busy(const struct fab_step *step, uint64_t bytes)
{
  return fab_ticks_add(step->overhead, fab_ticks_of_bytes(bytes, step->bandwidth));
}

uint64_t fab_leg_latency(const struct fab_leg *leg)
{
  uint64_t sum = 0;
  for (int i = 0; i < leg->count; i++) sum = fab_ticks_add(sum, leg->step[i].latency);
  return sum;
}

uint64_t fab_leg_busy(const struct fab_leg *leg, uint64_t bytes)
{
  uint64_t most = 0;
  for (int i = 0; i < leg->count; i++) {
    uint64_t busy = fab_step_busy(&leg->step[i], bytes);
    if (busy > most) most = busy;
  }
  return most;
}

uint64_t fab_path_latency(const struct fab_path *path)
{
  uint64_t sum = 0;
  for (int i = 0; i < path->count; i++) sum = fab_ticks_add(sum, fab_leg_latency(&path->leg[i]));
  return sum;
}

uint64_t fab_path_bandwidth(const struct fab_path *path)
{
  uint64_t least = UINT64_MAX;
  for (int i = 0; i < path->count; i++)
    for (int j = 0; j < path->leg[i].count; j++) {
      uint64_t bandwidth = path->leg[i].step[j].bandwidth;
      if (bandwidth && bandwidth < least) least = bandwidth;
    }
  return least;
}

/* A copy that nobody disturbs: when each step is free again. */
struct pipeline {
  const struct fab_path *path;
  uint64_t free[FAB_PATH_LEGS][FAB_LEG_STEPS];
};

static uint64_t pass(struct pipeline *pipeline, uint64_t bytes)
{
  uint64_t tail = 0;
  for (int l = 0; l < pipeline->path->count; l++) {
    const struct fab_leg *leg = &pipeline->path->leg[l];
    uint64_t head = tail;
    for (int i = 0; i < leg->count; i++) fab_step_pass(&leg->step[i], bytes, &pipeline->free[l][i], &head, &tail);
  }
  return tail;
}

/* Chunk after chunk. From some chunk on each comes out one longest leg after the one before; of very long copies the middle is skipped. */
uint64_t fab_path_ticks(const struct fab_path *path, uint64_t bytes, uint64_t chunk)
{
  enum { WALKED = 1024 };
  struct pipeline pipeline = {.path = path};
  if (!chunk) chunk = path->chunk;
  if (!chunk || chunk > bytes) chunk = bytes;
  uint64_t full = chunk ? bytes / chunk : 1, rest = chunk ? bytes % chunk : 0, walked = full < WALKED ? full : WALKED, done = 0,
           longest = 0;
  for (int l = 0; l < path->count; l++) {
    uint64_t busy = fab_leg_busy(&path->leg[l], chunk);
    longest = busy > longest ? busy : longest;
  }
  for (uint64_t i = 0; i < walked; i++) done = fab_ticks_add(pass(&pipeline, chunk), 0);
  if (rest) done = fab_ticks_add(pass(&pipeline, rest), 0);
  return narrow((wide)(full - walked) * longest + done);
}

uint64_t fab_request_ticks(const struct fab_path *path)
{
  return fab_path_ticks(path, FAB_REQUEST_BYTES, 0) - path->leg[0].step[0].latency;
}

int fab_read_ticks(const struct fab_topology *topology, uint64_t a, uint64_t b, uint64_t bytes, uint64_t *ticks)
{
  struct fab_path there, back;
  int result = fab_topology_path(topology, a, b, FAB_WAY_BEST, &there);
  if (!result) result = fab_topology_path(topology, b, a, FAB_WAY_BEST, &back);
  if (!result) *ticks = fab_ticks_add(a == b ? 0 : fab_request_ticks(&there), fab_path_ticks(&back, bytes, 0));
  return result;
}

/* ---- Curves ------------------------------------------------------------------------------------------------------ */

/* At x on the line through (x0, y0) and (x1, y1). */
static uint64_t on_line(uint64_t x0, uint64_t y0, uint64_t x1, uint64_t y1, uint64_t x)
{
  double y = (double)y0 + ((double)y1 - (double)y0) * ((double)x - (double)x0) / ((double)x1 - (double)x0);
  if (x > x1 && y < (double)y1) y = (double)y1; /* behind the last point it does not fall, whatever noise has the last two do */
  return y >= (double)FAB_TICKS_MOST ? FAB_TICKS_MOST : y <= 0 ? 0 : (uint64_t)llround(y);
}

/* The point behind `bytes`, or the last: the line through it and the one before is that of `bytes`. */
static uint64_t point_behind(const struct fab_topology_curve *curve, uint64_t bytes)
{
  uint64_t i = 0;
  while (i + 1 < curve->count && curve->point[i].bytes < bytes) i++;
  return i;
}

uint64_t fab_curve_time(const struct fab_topology_curve *curve, uint64_t bytes)
{
  uint64_t i = point_behind(curve, bytes);
  if (i == 0) return curve->point[0].time;
  return on_line(curve->point[i - 1].bytes, curve->point[i - 1].time, curve->point[i].bytes, curve->point[i].time, bytes);
}

uint64_t fab_curve_gap(const struct fab_topology_curve *curve, uint64_t bytes)
{
  uint64_t i = point_behind(curve, bytes);
  if (i == 0) return curve->point[0].gap;
  return on_line(curve->point[i - 1].bytes, curve->point[i - 1].gap, curve->point[i].bytes, curve->point[i].gap, bytes);
}

double fab_path_picojoules(const struct fab_path *path, uint64_t bytes)
{
  double femtojoules = 0;
  for (int i = 0; i < path->count; i++)
    for (int j = 0; j < path->leg[i].count; j++) femtojoules += (double)path->leg[i].step[j].energy * (double)bytes;
  return femtojoules / 1000;
}

static uint64_t own_ticks(const struct fab_device_kind *kind, enum fab_access access)
{
  return access == FAB_ACCESS_LOAD ? kind->load : access == FAB_ACCESS_STORE ? kind->store : kind->atomic;
}

int fab_access_ticks(const struct fab_topology *topology, uint64_t a, uint64_t b, enum fab_access access, uint64_t bytes, uint64_t *ticks)
{
  struct fab_path there, back;
  int result = fab_topology_path(topology, a, b, FAB_WAY_LOAD_STORE, &there);
  if (!result) result = fab_topology_path(topology, b, a, FAB_WAY_LOAD_STORE, &back);
  if (result) return result;
  uint64_t own = own_ticks(fab_topology_kind(topology, b), access);
  /* Both paths begin with a read of memory; what the access does at its home is in `own` instead. */
  uint64_t out = fab_path_latency(&there) - there.leg[0].step[0].latency, home = fab_path_latency(&back) - back.leg[0].step[0].latency;
  const struct fab_path *carries = access == FAB_ACCESS_STORE ? &there : &back;
  uint64_t busy =
      a == b ? fab_ticks_of_bytes(bytes, fab_topology_kind(topology, b)->memory_bandwidth) : fab_leg_busy(&carries->leg[0], bytes);
  *ticks = narrow((wide)own + out + (access == FAB_ACCESS_STORE ? 0 : home) + busy);
  return 0;
}

int fab_compute_ticks(const struct fab_topology *topology, uint64_t device, double flops, double bytes, enum fab_dtype dtype,
                      uint64_t *ticks)
{
  const struct fab_device_kind *kind = fab_topology_kind(topology, device);
  if (device >= topology->devices || !(flops >= 0) || !(bytes >= 0)) return -EINVAL;
  if (flops > 0 && kind->flops[dtype] <= 0) return -ENOTSUP;
  double computing = flops > 0 ? flops / kind->flops[dtype] : 0, moving = bytes / (double)kind->memory_bandwidth;
  *ticks = fab_ticks_of_ns(1e9 * (computing > moving ? computing : moving));
  return 0;
}
