/* Closed forms of collectives are within 1 % of what a clock with queues gives for the same messages; and what they say is plausible. */
#include "tests/topology_clock.h"

#include <errno.h>
#include <math.h>

#include "fabric/forms.h"

static uint64_t software(const struct topology_clock *clock, uint64_t a, uint64_t b)
{
  return fab_topology_reach(&clock->topology, a, b) == FAB_REACH_LOAD_STORE ? clock->topology.message_latency : 0;
}

static void expect_close(uint64_t formula, uint64_t clock, const char *what, const char *profile, uint64_t n, uint64_t bytes)
{
  double ratio = (double)formula / (double)clock;
  cr_expect(fabs(ratio - 1) < 0.01, "%s on %s, %lu devices, %lu bytes: formula %.2f us, clock %.2f us", what, profile, n, bytes,
            fab_ns_of_ticks(formula) / 1e3, fab_ns_of_ticks(clock) / 1e3);
}

/* In each of 2 (n - 1) rounds everybody sends a piece on when it has the one of before. */
static uint64_t run_ring(struct topology_clock *clock, uint64_t n, uint64_t bytes)
{
  uint64_t *has = calloc(n, sizeof *has), *next = calloc(n, sizeof *next), last = 0, piece = (bytes + n - 1) / n;
  for (uint64_t round = 0; round < 2 * (n - 1); round++) {
    for (uint64_t i = 0; i < n; i++) {
      uint64_t to = (i + 1) % n;
      next[to] = clock_copy(clock, i, to, FAB_WAY_BEST, has[i], piece) + software(clock, i, to);
    }
    for (uint64_t i = 0; i < n; i++) has[i] = next[i];
  }
  for (uint64_t i = 0; i < n; i++) last = has[i] > last ? has[i] : last;
  free(has), free(next);
  return last;
}

/* Everybody sends to all others, beginning with the next one; `read`: once the other has asked for it. */
static uint64_t run_exchange(struct topology_clock *clock, uint64_t n, uint64_t bytes, bool read)
{
  uint64_t last = 0;
  for (uint64_t distance = 1; distance < n; distance++)
    for (uint64_t i = 0; i < n; i++) {
      uint64_t to = (i + distance) % n;
      struct fab_path ask;
      cr_assert_eq(fab_topology_path(&clock->topology, to, i, FAB_WAY_BEST, &ask), 0);
      uint64_t ready = read ? fab_request_ticks(&ask) : 0;
      uint64_t done = clock_copy(clock, i, to, FAB_WAY_BEST, ready, bytes) + software(clock, i, to);
      last = done > last ? done : last;
    }
  return last;
}

static uint64_t run_alltoall(struct topology_clock *clock, uint64_t n, uint64_t bytes)
{
  return run_exchange(clock, n, bytes, false);
}

/* Who has it sends it on; the next distance begins when all have done so. (All copies of a round take one way: their distance is the same.) */
static uint64_t run_broadcast(struct topology_clock *clock, uint64_t n, uint64_t bytes)
{
  struct clock_copy *copies = calloc(n, sizeof *copies);
  uint64_t last = 0;
  for (uint64_t distance = 1; distance < n; distance *= 2) {
    uint64_t count = 0, round = last;
    for (uint64_t i = 0; i < distance && i + distance < n; i++) copies[count++] = (struct clock_copy){i, i + distance, round, 0};
    clock_copies(clock, copies, count, FAB_WAY_BEST, bytes);
    for (uint64_t i = 0; i < count; i++) {
      uint64_t done = copies[i].done + software(clock, copies[i].a, copies[i].b);
      last = done > last ? done : last;
    }
  }
  free(copies);
  return last;
}

struct machine { /* and how many devices of it; a list ends with a profile of NULL */
  const char *profile;
  uint64_t n;
};
static const struct machine machines[] = {{"h100-8", 8},     {"gb200-nvl72", 72},   {"cloudmatrix384", 8},
                                          {"scalex640", 64}, {"mtlink2-c256", 128}, {NULL, 0}};
static const uint64_t sizes[] = {8192, 1 << 20, 256 << 20};

/* A closed form against the same run on the clock, on every machine at every size. */
static void expect_form(const char *what, const struct machine *machine,
                        int (*form)(const struct fab_topology *topology, uint64_t n, uint64_t bytes, uint64_t *ticks),
                        uint64_t (*run)(struct topology_clock *clock, uint64_t n, uint64_t bytes))
{
  for (; machine->profile; machine++)
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
      struct topology_clock clock;
      uint64_t ticks;
      clock_open(&clock, machine->profile, machine->n);
      cr_assert_eq(form(&clock.topology, machine->n, sizes[s], &ticks), 0);
      expect_close(ticks, run(&clock, machine->n, sizes[s]), what, machine->profile, machine->n, sizes[s]);
      clock_close(&clock);
    }
}

Test(topology_forms, ring_allreduce)
{
  expect_form("ring", machines, fab_form_ring_allreduce, run_ring);
}

static int form_alltoall(const struct fab_topology *topology, uint64_t n, uint64_t bytes, uint64_t *ticks)
{
  return fab_form_alltoall(topology, n, 1, bytes, ticks);
}

Test(topology_forms, alltoall)
{
  expect_form("all-to-all", machines, form_alltoall, run_alltoall);
}

static uint64_t run_gather(struct topology_clock *clock, uint64_t n, uint64_t bytes)
{
  return run_exchange(clock, n, bytes, true);
}

Test(topology_forms, gather)
{
  expect_form("gather", machines, fab_form_gather, run_gather);
}

Test(topology_forms, direct_allreduce_is_a_gather_and_an_alltoall)
{
  struct topology_clock clock, after;
  uint64_t direct, reading, writing, ring;
  clock_open(&clock, "h100-8", 8);
  cr_assert_eq(fab_form_direct_allreduce(&clock.topology, 8, 1 << 20, &direct), 0);
  cr_assert_eq(fab_form_gather(&clock.topology, 8, 1 << 17, &reading), 0);
  cr_assert_eq(fab_form_alltoall(&clock.topology, 8, 1, 1 << 17, &writing), 0);
  cr_expect_eq(direct, reading + writing);
  cr_expect_eq(reading - writing, 2 * 18000 + 6, "a request crosses two links, with 24 bytes at 400 GB/s");
  clock_open(&after, "h100-8", 8);
  expect_close(direct, run_exchange(&clock, 8, 1 << 17, true) + run_alltoall(&after, 8, 1 << 17), "direct", "h100-8", 8, 1 << 20);
  clock_close(&after);
  cr_assert_eq(fab_form_ring_allreduce(&clock.topology, 8, 64, &ring), 0);
  cr_assert_eq(fab_form_direct_allreduce(&clock.topology, 8, 64, &direct), 0);
  cr_expect_lt(direct, ring, "few bytes: two latencies are less than fourteen");
  clock_close(&clock);
}

Test(topology_forms, broadcast)
{
  static const struct machine trees[] = {{"h100-8", 8},           {"h100-8", 256},        {"gb200-nvl72", 72},
                                         {"cloudmatrix384", 384}, {"mtt-s4000-kuae", 64}, {NULL, 0}};
  expect_form("broadcast", trees, fab_form_broadcast, run_broadcast);
}

Test(topology_forms, pointer_chase)
{
  struct topology_clock clock;
  uint64_t one, many;
  clock_open(&clock, "gb200-nvl72", 0);
  cr_assert_eq(fab_form_chase(&clock.topology, 0, 71, 1, &one), 0);
  cr_assert_eq(fab_form_chase(&clock.topology, 0, 71, 1000000, &many), 0);
  cr_expect_eq(many, one * 1000000);
  cr_expect_eq(one, 60000 + 4 * 20000 + 1); /* 600 ns of memory, two hops of 200 ns there and back, 8 bytes */
  cr_expect_eq(fab_form_chase(&clock.topology, 0, 72, 1, &one), -EHOSTUNREACH);
  clock_close(&clock);
}

/* Supernode against stacked servers: the same collective on the same number of cards. */
Test(topology_forms, the_wall_is_there)
{
  struct topology_clock supernode, stacked;
  uint64_t inside, across;
  clock_open(&supernode, "scalex640", 640);
  clock_open(&stacked, "a100-pcie-8", 640);
  cr_assert_eq(fab_form_alltoall(&supernode.topology, 640, 1, 65536, &inside), 0);
  cr_assert_eq(fab_form_alltoall(&stacked.topology, 640, 1, 65536, &across), 0);
  cr_expect_gt(across, 5 * inside);
  clock_close(&supernode), clock_close(&stacked);
}

Test(topology_forms, bad_numbers)
{
  struct topology_clock clock;
  uint64_t ticks;
  clock_open(&clock, "h100-8", 8);
  cr_expect_eq(fab_form_ring_allreduce(&clock.topology, 0, 8, &ticks), -EINVAL);
  cr_expect_eq(fab_form_ring_allreduce(&clock.topology, 9, 8, &ticks), -EINVAL);
  cr_expect_eq(fab_form_alltoall(&clock.topology, 9, 1, 8, &ticks), -EINVAL);
  cr_expect_eq(fab_form_broadcast(&clock.topology, 9, 8, &ticks), -EINVAL);
  cr_expect_eq(fab_form_gather(&clock.topology, 0, 8, &ticks), -EINVAL);
  cr_expect_eq(fab_form_gather(&clock.topology, 9, 8, &ticks), -EINVAL);
  cr_expect(!fab_form_gather(&clock.topology, 1, 8, &ticks) && ticks == 0);
  cr_assert_eq(fab_form_ring_allreduce(&clock.topology, 1, 8, &ticks), 0);
  cr_expect_eq(ticks, 0);
  cr_assert_eq(fab_form_ring_allreduce(&clock.topology, 8, UINT64_MAX, &ticks), 0);
  cr_expect_leq(ticks, FAB_TICKS_MOST);
  clock_close(&clock);
}
