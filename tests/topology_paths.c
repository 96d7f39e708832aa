/* Ways between devices: which there are, what lies on them, that their resources are numbered densely, and that the closed form of a copy is
 * what a clock with queues gives. */
#include "tests/topology_clock.h"

#include <errno.h>
#include <string.h>

static void expect_steps(const struct fab_path *path, const char *kinds)
{
  static const char letters[] = "MPHNUDA";
  char got[64] = "";
  for (int leg = 0; leg < path->count; leg++) {
    for (int i = 0; i < path->leg[leg].count; i++) strncat(got, &letters[path->leg[leg].step[i].kind], 1);
    if (leg < path->count - 1) strcat(got, "|");
  }
  cr_expect_str_eq(got, kinds);
}

/* M memory, P PCIe, H host, N NIC, U up, D down, A across; | stored and forwarded */
static const struct {
  const char *profile;
  uint64_t a, b;
  enum fab_reach reach;
  const char *load_store, *direct, *staged; /* NULL: there is no such way */
  enum fab_way best;
} cases[] = {
    {"h100-8", 0, 0, FAB_REACH_SELF, "M", "MPPM", "MPH|HPM", FAB_WAY_LOAD_STORE},
    {"h100-8", 0, 7, FAB_REACH_LOAD_STORE, "MUDM", "MPPM", "MPH|HPM", FAB_WAY_LOAD_STORE},
    {"h100-8", 7, 8, FAB_REACH_MESSAGE, NULL, "MPNUDNPM", "MPH|HNUDNH|HPM", FAB_WAY_DIRECT},
    {"h100-8", 0, 1023, FAB_REACH_MESSAGE, NULL, "MPNUUDDNPM", "MPH|HNUUDDNH|HPM", FAB_WAY_DIRECT},
    {"cloudmatrix384", 0, 7, FAB_REACH_LOAD_STORE, "MUDM", "MPPM", "MPH|HPM", FAB_WAY_LOAD_STORE},
    {"cloudmatrix384", 7, 8, FAB_REACH_LOAD_STORE, "MUUDDM", "MPNUDNPM", "MPH|HNUDNH|HPM", FAB_WAY_LOAD_STORE},
    {"mtt-s4000-kuae", 3, 4, FAB_REACH_LOAD_STORE, "MAM", "MPPM", "MPH|HPM", FAB_WAY_LOAD_STORE},
    {"mtt-s4000-kuae", 3, 12, FAB_REACH_MESSAGE, NULL, "MPNUDNPM", "MPH|HNUDNH|HPM", FAB_WAY_STAGED},
    {"scalex-10240", 639, 640, FAB_REACH_MESSAGE, NULL, "MPNUUDDNPM", "MPH|HNUUDDNH|HPM", FAB_WAY_DIRECT},
    {"gb200-nvl72", 0, 71, FAB_REACH_LOAD_STORE, "MUDM", "MPNUDNPM", "MPH|HNUDNH|HPM", FAB_WAY_LOAD_STORE},
};

Test(topology_paths, which_there_are)
{
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const char *const expected[] = {NULL, cases[i].load_store, cases[i].direct, cases[i].staged};
    struct topology_clock clock;
    struct fab_path path;
    clock_open(&clock, cases[i].profile, 0);
    cr_expect_eq(fab_topology_reach(&clock.topology, cases[i].a, cases[i].b), cases[i].reach);
    for (int way = FAB_WAY_LOAD_STORE; way <= FAB_WAY_STAGED; way++) {
      int result = fab_topology_path(&clock.topology, cases[i].a, cases[i].b, (enum fab_way)way, &path);
      cr_expect_eq(result, expected[way] ? 0 : -EHOSTUNREACH, "%s %lu %lu way %d", cases[i].profile, cases[i].a, cases[i].b, way);
      if (!result) expect_steps(&path, expected[way]);
    }
    cr_assert_eq(fab_topology_path(&clock.topology, cases[i].a, cases[i].b, FAB_WAY_BEST, &path), 0);
    cr_expect_eq(path.way, cases[i].best);
    clock_close(&clock);
  }
}

static void mark(const struct topology_clock *clock, const struct fab_path *path)
{
  char text[96];
  for (int leg = 0; leg < path->count; leg++)
    for (int i = 0; i < path->leg[leg].count; i++) {
      const struct fab_step *step = &path->leg[leg].step[i];
      cr_assert_lt(step->resource, fab_topology_resources(&clock->topology));
      cr_assert(*fab_step_text(&clock->topology, step, text, sizeof text));
      clock->free[step->resource] = 1 + step->kind; /* one resource is of one kind */
    }
}

/* Every resource is on the way of some pair; none is on it as two kinds of thing. */
Test(topology_paths, resources_are_dense)
{
  static const struct {
    const char *profile;
    uint64_t devices;
  } machines[] = {{"h100-8", 264}, {"cloudmatrix384", 24}, {"gb200-nvl72", 76}, {"mixed-h100-s5000", 0}, {"a100-pcie-8", 20}};
  for (size_t m = 0; m < sizeof machines / sizeof machines[0]; m++) {
    struct topology_clock clock;
    struct fab_path path;
    uint64_t unused = 0;
    clock_open(&clock, machines[m].profile, machines[m].devices);
    uint64_t devices = clock.topology.devices;
    for (uint64_t a = 0; a < devices; a++)
      for (uint64_t b = 0; b < devices; b++)
        for (int way = FAB_WAY_LOAD_STORE; way <= FAB_WAY_STAGED && (a / 8 == b / 8 || a % 8 == b % 8); way++)
          if (!fab_topology_path(&clock.topology, a, b, (enum fab_way)way, &path)) mark(&clock, &path);
    for (uint64_t i = 0; i < fab_topology_resources(&clock.topology); i++) unused += !clock.free[i];
    cr_expect_eq(unused, 0, "%s: %lu of %lu", machines[m].profile, unused, fab_topology_resources(&clock.topology));
    clock_close(&clock);
  }
}

Test(topology_paths, of_no_device)
{
  struct topology_clock clock;
  struct fab_path path;
  clock_open(&clock, "h100-8", 8);
  cr_expect_eq(fab_topology_path(&clock.topology, 0, 8, FAB_WAY_BEST, &path), -EINVAL);
  cr_expect_eq(fab_topology_path(&clock.topology, UINT64_MAX, 0, FAB_WAY_BEST, &path), -EINVAL);
  clock_close(&clock);
}

Test(topology_paths, levels_and_kinds)
{
  struct topology_clock clock;
  clock_open(&clock, "mixed-h100-s5000", 0);
  const struct fab_topology *topology = &clock.topology;
  cr_expect_eq(fab_topology_common_level(topology, 5, 5), -1);
  cr_expect_eq(fab_topology_common_level(topology, 0, 7), 0);
  cr_expect_eq(fab_topology_common_level(topology, 7, 8), 1);
  cr_expect_eq(fab_topology_unit(topology, 0, 511), 63);
  cr_expect_str_eq(fab_topology_kind(topology, 511)->name, "NVIDIA H100 SXM 80 GB");
  cr_expect_str_eq(fab_topology_kind(topology, 512)->name, "Moore Threads MTT S5000");
  struct fab_path path;
  cr_assert_eq(fab_topology_path(topology, 520, 521, FAB_WAY_LOAD_STORE, &path), 0);
  cr_expect_eq(path.leg[0].step[1].bandwidth, 392000000000);
  clock_close(&clock);
}

/* The header's promise, to the tick: nobody else on the way. */
Test(topology_paths, closed_form_is_the_clock)
{
  const char *seed = getenv("UMA_TEST_SEED");
  srand(seed ? (unsigned)atoi(seed) : 3);
  printf("UMA_TEST_SEED=%s\n", seed ? seed : "3");
  for (int round = 0; round < 600; round++) {
    struct topology_clock clock;
    struct fab_path path;
    clock_open(&clock, fab_shipped_profile(round % 15), 0);
    uint64_t devices = clock.topology.devices, a = (uint64_t)rand() % devices, b = (uint64_t)rand() % (round % 2 ? devices : 8);
    uint64_t bytes = (uint64_t)rand() % (round % 3 ? 100000000 : 5000);
    enum fab_way way = (enum fab_way)(round % 4);
    if (!fab_topology_path(&clock.topology, a, b, way, &path)) {
      uint64_t done = clock_copy(&clock, a, b, way, 1000, bytes) - 1000;
      cr_expect_eq(done, fab_path_ticks(&path, bytes, 0), "%s %lu to %lu by %d, %lu bytes: %lu, not %lu", fab_shipped_profile(round % 15),
                   a, b, way, bytes, done, fab_path_ticks(&path, bytes, 0));
    }
    clock_close(&clock);
  }
}

/* Two that send over one link take it in turn; two that do not share do not wait. */
Test(topology_paths, shared_links_queue)
{
  struct topology_clock clock;
  clock_open(&clock, "mtt-s4000-kuae", 0); /* two cards share a NIC */
  uint64_t bytes = 1 << 20, alone = clock_copy(&clock, 0, 8, FAB_WAY_DIRECT, 0, bytes);
  uint64_t other = clock_copy(&clock, 2, 10, FAB_WAY_DIRECT, 0, bytes), behind = clock_copy(&clock, 1, 9, FAB_WAY_DIRECT, 0, bytes);
  cr_expect_eq(other, alone);
  cr_expect_eq(behind - alone, fab_ticks_of_bytes(bytes, 50000000000));
  clock_close(&clock);
}

Test(topology_paths, time_saturates)
{
  struct topology_clock clock;
  struct fab_path path;
  clock_open(&clock, "h100-8", 0);
  cr_assert_eq(fab_topology_path(&clock.topology, 0, 1023, FAB_WAY_STAGED, &path), 0);
  cr_expect_eq(fab_path_ticks(&path, UINT64_MAX, 0), fab_path_ticks(&path, UINT64_MAX, 0));
  cr_expect_leq(fab_path_ticks(&path, UINT64_MAX, 0), FAB_TICKS_MOST);
  cr_expect_eq(fab_ticks_of_bytes(UINT64_MAX, 1), FAB_TICKS_MOST);
  cr_expect_eq(fab_ticks_of_ns(1e300), FAB_TICKS_MOST);
  cr_expect_eq(fab_ticks_of_ns(-1), 0);
  cr_expect_eq(fab_ticks_add(FAB_TICKS_MOST, FAB_TICKS_MOST), FAB_TICKS_MOST);
  cr_expect_gt(FAB_TICKS_MOST + FAB_TICKS_MOST, FAB_TICKS_MOST);
  cr_expect_eq(fab_ticks_of_bytes(32, 3000000000000), 2); /* 10.7 ps, rounded up */
  cr_expect_eq(fab_ticks_of_ns(936.25), 93625);
  clock_close(&clock);
}

Test(topology_paths, accesses_and_computing)
{
  struct topology_clock clock;
  uint64_t ticks;
  clock_open(&clock, "cloudmatrix384", 0);
  const struct fab_topology *topology = &clock.topology;
  cr_assert_eq(fab_access_ticks(topology, 0, 0, FAB_ACCESS_LOAD, 512, &ticks), 0);
  cr_expect_eq(ticks, 50016);
  cr_assert_eq(fab_access_ticks(topology, 0, 8, FAB_ACCESS_LOAD, 512, &ticks), 0);
  cr_expect_eq(ticks, 50000 + 8 * 17500 + 131); /* memory, four hops there and four back, 512 B at 392 GB/s */
  cr_assert_eq(fab_access_ticks(topology, 0, 8, FAB_ACCESS_STORE, 512, &ticks), 0);
  cr_expect_eq(ticks, 3000 + 4 * 17500 + 131);
  cr_assert_eq(fab_read_ticks(topology, 0, 8, 512, &ticks), 0);
  cr_expect_eq(ticks, 50000 + 8 * 17500 + 131 + 7, "a load, and the 24 bytes of its request");
  cr_expect_eq(fab_read_ticks(topology, 0, 384, 512, &ticks), -EINVAL);
  cr_assert_eq(fab_compute_ticks(topology, 0, 752e12, 0, FAB_BF16, &ticks), 0);
  cr_expect_eq(ticks, FAB_TICKS_PER_SECOND);
  cr_assert_eq(fab_compute_ticks(topology, 0, 1, 6.4e12, FAB_BF16, &ticks), 0);
  cr_expect_eq(ticks, 2 * FAB_TICKS_PER_SECOND);
  cr_expect_eq(fab_compute_ticks(topology, 0, 1, 0, FAB_FP64, &ticks), -ENOTSUP);
  cr_expect_eq(fab_compute_ticks(topology, 0, -1, 0, FAB_BF16, &ticks), -EINVAL);
  clock_close(&clock);
  clock_open(&clock, "h100-8", 0);
  cr_expect_eq(fab_access_ticks(&clock.topology, 0, 8, FAB_ACCESS_LOAD, 8, &ticks), -EHOSTUNREACH);
  clock_close(&clock);
}

/* As large as it gets, without anything for each device. */
Test(topology_paths, a_hundred_thousand_devices)
{
  struct fab_profile *profile = fab_profile_load("huashan-next", stderr);
  struct fab_topology topology;
  struct fab_path path;
  cr_assert_eq(fab_topology_make(profile, 0, &topology, stderr), 0);
  cr_expect_eq(topology.devices, 102400);
  cr_expect_lt(sizeof topology, 16384);
  for (uint64_t a = 0; a < topology.devices; a += 997) {
    cr_assert_eq(fab_topology_path(&topology, a, topology.devices - 1 - a, FAB_WAY_BEST, &path), 0);
    for (int leg = 0; leg < path.count; leg++)
      for (int i = 0; i < path.leg[leg].count; i++) cr_assert_lt(path.leg[leg].step[i].resource, fab_topology_resources(&topology));
  }
  fab_profile_free(profile);
}
