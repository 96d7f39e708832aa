/* State of an address space, power, parts and efficiency of machines on paper, against numbers worked out by hand. */
#include "tests/topology_clock.h"

#include <math.h>
#include <string.h>

#include "fabric/walls.h"

static struct fab_profile *open_machine(const char *name, uint64_t devices, struct fab_topology *topology)
{
  struct fab_profile *profile = fab_profile_load(name, stderr);
  cr_assert(profile && !fab_topology_make(profile, devices, topology, stderr));
  return profile;
}

static void expect_near(double value, double expected, const char *what)
{
  cr_expect(fabs(value / expected - 1) < 1e-6, "%s: %g, expected %g", what, value, expected);
}

Test(topology_walls, coverage)
{
  struct fab_topology topology;
  struct fab_coverage coverage;
  struct fab_profile *profile = open_machine("h100-8", 0, &topology); /* 80 GB in lines of 128 B */
  fab_coverage(&topology, 8, &coverage);
  expect_near(coverage.memory, 640e9, "memory");
  expect_near(coverage.lines, 5e9, "lines");
  expect_near(coverage.full, 10e9, "full: a byte of state, a byte of 8 bits");
  expect_near(coverage.limited, 5e9 * 3, "limited: 4 pointers of 3 bits");
  expect_near(coverage.coarse, 10e9, "coarse");
  cr_expect_eq(coverage.address_bits, 40);
  fab_coverage(&topology, 1000000, &coverage);
  expect_near(coverage.full / coverage.lines, 125001, "full");
  expect_near(coverage.limited / coverage.lines, 11, "limited: 4 pointers of 20 bits");
  expect_near(coverage.coarse / coverage.lines, 9, "coarse");
  expect_near(coverage.translation, 1e6 * ceil(80e15 / 2097152) * 8, "page tables");
  cr_expect_gt(coverage.full, coverage.memory, "a full map of a million devices is larger than what it maps");
  fab_profile_free(profile);
}

Test(topology_walls, parts)
{
  struct fab_topology topology;
  struct fab_parts parts;
  struct fab_profile *profile = open_machine("cloudmatrix384", 0, &topology);
  fab_parts(profile, &topology, 0, 0, &parts);
  cr_expect_eq(parts.switches, 48 * 7);
  cr_expect_eq(parts.links, 384 * 14);
  cr_expect_eq(parts.cables, 0, "on the boards of the nodes");
  fab_parts(profile, &topology, 0, 1, &parts);
  cr_expect_eq(parts.switches, 112);
  cr_expect_eq(parts.links, 48 * 112);
  cr_expect_eq(parts.cables, 48 * 112);
  fab_profile_free(profile);
  profile = open_machine("mtt-s4000-kuae", 0, &topology);
  fab_parts(profile, &topology, 0, 0, &parts);
  cr_expect_eq(parts.links, 128 * 28, "a mesh of 8 in each of 128 servers");
  cr_expect_eq(parts.switches, 0);
  fab_profile_free(profile);
  profile = open_machine("gb200-nvl72", 72, &topology);
  fab_parts(profile, &topology, 0, 0, &parts);
  cr_expect_eq(parts.cables, 72 * 18);
  cr_expect_eq(parts.switches, 18);
  fab_profile_free(profile);
}

Test(topology_walls, power)
{
  struct fab_topology topology;
  struct fab_power power;
  struct fab_profile *profile = open_machine("scalex640", 0, &topology);
  fab_power(profile, &topology, &power);
  expect_near(power.devices, 640 * 600.0, "cards");
  expect_near(power.hosts, 80 * 1200.0, "hosts");
  expect_near(power.switches, (80 * 2 + 80) * 250.0 + 24 * 1500.0, "switches");
  expect_near(power.drawn, 1.04 * power.total, "PUE");
  fab_profile_free(profile);
  profile = open_machine("mixed-h100-s5000", 520, &topology);
  fab_power(profile, &topology, &power);
  expect_near(power.devices, 520 * 700.0, "both kinds take 700 W");
  fab_profile_free(profile);
}

Test(topology_walls, efficiency)
{
  struct fab_factor factors[FAB_FACTORS];
  struct fab_topology topology;
  struct fab_stability stability;
  struct fab_profile *profile = open_machine("mtt-s5000-kuae", 0, &topology);
  cr_assert(fab_stability(profile, &topology, &stability));
  expect_near(fab_efficiency(profile, &topology, NULL, factors), 0.85 * 0.60 * 0.97 * 0.95 * stability.value, "product");
  cr_expect_str_eq(factors[1].name, "chip");
  cr_expect_eq(factors[1].status, FAB_PUBLISHED);
  const double run[FAB_FACTORS] = {NAN, 0.4, NAN, 0.5, NAN};
  expect_near(fab_efficiency(profile, &topology, run, factors), 0.85 * 0.40 * 0.97 * 0.50 * stability.value, "with what a run measured");
  cr_expect_eq(factors[3].status, FAB_MEASURED);
  cr_expect_null(factors[3].quantity);
  fab_profile_free(profile);
}

Test(topology_walls, factors_of_a_run)
{
  double factors[FAB_FACTORS];
  struct fab_run run = {.operations = 40, .work = 50, .local = 60, .scale_up = 10, .network = 30, .waiting = 20};
  fab_run_factors(&run, factors);
  expect_near(factors[1], 0.8, "chip: operations of work");
  expect_near(factors[2], 50 / 75.0, "node: work of local, scale-up and a quarter of the waiting");
  expect_near(factors[3], 75 / 120.0, "cluster: of all time");
  expect_near(factors[1] * factors[2] * factors[3], 40 / 120.0, "their product is what was reached");
  cr_expect(isnan(factors[0]) && isnan(factors[4]), "generality and stability no run tells");
  run.scale_up = run.network = 0;
  fab_run_factors(&run, factors);
  expect_near(factors[2], 50 / 80.0, "waiting goes with the node where nobody talked");
  expect_near(factors[3], 1, "and costs no cluster");
  run.operations = 0;
  fab_run_factors(&run, factors);
  cr_expect(isnan(factors[1]) && isnan(factors[2]) && isnan(factors[3]), "who computes nothing has no efficiency");
}
