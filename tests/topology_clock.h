/* A clock as fabric/topology.h tells to build one: copies queue on what they share. */
#ifndef TESTS_TOPOLOGY_CLOCK_H
#define TESTS_TOPOLOGY_CLOCK_H

#include <criterion/criterion.h>
#include <stdlib.h>

#include "fabric/topology.h"

struct topology_clock {
  struct fab_topology topology;
  uint64_t *free; /* by resource: when it is free again */
};

static inline void clock_open(struct topology_clock *clock, const char *name, uint64_t devices)
{
  struct fab_profile *profile = fab_profile_load(name, stderr);
  cr_assert(profile, "%s", name);
  cr_assert_eq(fab_topology_make(profile, devices, &clock->topology, stderr), 0);
  fab_profile_free(profile);
  clock->free = calloc(fab_topology_resources(&clock->topology), sizeof *clock->free);
  cr_assert(clock->free);
}

static inline void clock_close(struct topology_clock *clock)
{
  free(clock->free);
}

static inline uint64_t clock_leg(struct topology_clock *clock, const struct fab_leg *leg, uint64_t ready, uint64_t bytes)
{
  uint64_t head = ready, tail = ready;
  for (int i = 0; i < leg->count; i++) fab_step_pass(&leg->step[i], bytes, &clock->free[leg->step[i].resource], &head, &tail);
  return tail;
}

struct clock_copy {
  uint64_t a, b, ready, done; /* done: when its last byte has arrived */
};

/* Copies of `bytes` each, side by side: the first chunk of each, then the second ... */
static inline void clock_copies(struct topology_clock *clock, struct clock_copy *copies, uint64_t count, enum fab_way way, uint64_t bytes)
{
  uint64_t sent = 0, size = 0;
  do {
    for (uint64_t i = 0; i < count; i++) {
      struct fab_path path;
      uint64_t at = copies[i].ready, left = bytes - sent;
      cr_assert_eq(fab_topology_path(&clock->topology, copies[i].a, copies[i].b, way, &path), 0, "%lu to %lu", copies[i].a, copies[i].b);
      size = path.chunk && path.chunk < left ? path.chunk : left;
      for (int leg = 0; leg < path.count; leg++) at = clock_leg(clock, &path.leg[leg], at, size);
      copies[i].done = at;
    }
    sent += size;
  } while (sent < bytes);
}

static inline uint64_t clock_copy(struct topology_clock *clock, uint64_t a, uint64_t b, enum fab_way way, uint64_t ready, uint64_t bytes)
{
  struct clock_copy copy = {a, b, ready, 0};
  clock_copies(clock, &copy, 1, way, bytes);
  return copy.done;
}

#endif
