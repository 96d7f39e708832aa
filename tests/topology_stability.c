/* Stability of machines on paper: the optimum that Daly published, what random failures really cost, and what the profiles say of theirs. */
#include <math.h>
#include <string.h>

#include "fabric/draw.h"
#include "fabric/sensitivity.h"
#include "fabric/walls.h"
#include "tests/topology_clock.h"

#define MINUTE 60.0
#define HOUR 3600.0

static struct fab_stability stability_of(double mtbf, double write, double restart)
{
  struct fab_stability stability = {.mtbf = mtbf, .write = write, .restart = restart};
  fab_stability_of(&stability);
  return stability;
}

/* Figures 3 to 5 of the paper: checkpoints of 5 minutes, restarts of 10. */
Test(topology_stability, the_interval_is_that_of_the_paper)
{
  static const struct {
    double mtbf, interval;
  } figures[] = {{24 * HOUR, 117 * MINUTE}, {6 * HOUR, 57 * MINUTE}, {15 * MINUTE, 9.1 * MINUTE}};
  for (int i = 0; i < 3; i++) {
    struct fab_stability stability = stability_of(figures[i].mtbf, 5 * MINUTE, 10 * MINUTE);
    cr_expect(fabs(stability.interval / figures[i].interval - 1) < 0.007, "%g min", stability.interval / MINUTE);
  }
  cr_expect_eq(stability_of(10, 20, 1).interval, 10, "whose checkpoint takes twice as long as it lives works for as long");
}

/* ---- A job that random failures hit */

static uint64_t random_state;

static double next_failure(double mtbf)
{
  return -mtbf * log(((double)(fab_draw(&random_state) >> 11) + 1) * 0x1p-53);
}

/* What of the time made progress when it works for `interval` between checkpoints; *restarting: what of it was in restarts. */
static double run_job(const struct fab_stability *s, double interval, double *restarting)
{
  enum { SEGMENTS = 200000 };
  double time = 0, lost = 0, left = next_failure(s->mtbf);
  for (int segment = 0; segment < SEGMENTS;) {
    double needed = interval + s->write;
    if (left >= needed) {
      time += needed, left -= needed, segment++;
      continue;
    }
    time += left;
    while ((left = next_failure(s->mtbf)) < s->restart) time += left, lost += left;
    time += s->restart, lost += s->restart, left -= s->restart;
  }
  *restarting = lost / time;
  return SEGMENTS * interval / time;
}

Test(topology_stability, random_failures_cost_what_the_form_says)
{
  static const double mtbf[] = {24 * HOUR, 3 * HOUR, 30 * MINUTE};
  const char *seed = getenv("UMA_TEST_SEED");
  random_state = seed ? strtoull(seed, NULL, 10) : 7;
  printf("UMA_TEST_SEED=%llu\n", (unsigned long long)random_state);
  for (int i = 0; i < 3; i++) {
    struct fab_stability s = stability_of(mtbf[i], 33, 10 * MINUTE);
    double restarting, other, value = run_job(&s, s.interval, &restarting);
    cr_expect(fabs(value / s.value - 1) < 0.01, "every %g h: %g, not %g", mtbf[i] / HOUR, value, s.value);
    cr_expect(fabs(restarting / s.restarting - 1) < 0.03, "every %g h: restarts %g, not %g", mtbf[i] / HOUR, restarting, s.restarting);
    cr_expect(run_job(&s, s.interval / 3, &other) < value && run_job(&s, s.interval * 3, &other) < value, "it is the optimum");
  }
}

static void expect_shares(const struct fab_stability *s)
{
  const double shares[] = {s->value, s->writing, s->repeating, s->restarting};
  double sum = 0;
  for (int i = 0; i < 4; i++) {
    cr_expect(shares[i] >= 0 && shares[i] <= 1, "share %d is %g", i, shares[i]);
    sum += shares[i];
  }
  cr_expect(fabs(sum - 1) < 1e-9, "%g", sum);
}

Test(topology_stability, shares_add_up_whatever_the_numbers)
{
  static const double seconds[] = {0, 1e-6, 1, 60, 3600, 1e6, 1e12};
  for (int m = 1; m < 7; m++)
    for (int w = 0; w < 7; w++)
      for (int r = 0; r < 7; r++) {
        struct fab_stability s = stability_of(seconds[m], seconds[w], seconds[r]);
        expect_shares(&s);
      }
  cr_expect_eq(stability_of(HOUR, 0, 0).value, 1);
  cr_expect_lt(stability_of(1e-6, 60, 60).value, 1e-9, "who never gets that far");
}

/* ---- Profiles */

static struct fab_profile *open_machine(const char *name, uint64_t devices, struct fab_topology *topology)
{
  struct fab_profile *profile = fab_profile_load(name, stderr);
  cr_assert(profile && !fab_topology_make(profile, devices, topology, stderr), "%s", name);
  return profile;
}

Test(topology_stability, follows_from_the_numbers_of_the_profile)
{
  struct fab_topology topology;
  struct fab_stability s, half;
  struct fab_profile *profile = open_machine("h100-8:reliability.restart=20 min", 1024, &topology);
  cr_assert(fab_stability(profile, &topology, &s));
  cr_expect(fabs(s.mtbf / (50677 * HOUR / 1024) - 1) < 1e-9);
  cr_expect(fabs(s.bytes / 4e9 - 1) < 1e-9, "5 %% of 80 GB");
  cr_expect(fabs(s.write / (4e9 / 122e6) - 1) < 1e-9);
  cr_expect(fabs(s.restart / (1200 + 4e9 / 122e6) - 1) < 1e-9, "reads what it wrote");
  cr_expect_eq(s.value, stability_of(s.mtbf, s.write, s.restart).value);
  cr_assert(!fab_topology_make(profile, 512, &topology, stderr) && fab_stability(profile, &topology, &half));
  cr_expect_gt(half.value, s.value, "fewer devices fail less often");
  fab_profile_free(profile);
}

Test(topology_stability, of_all_machines)
{
  for (int i = 0; fab_shipped_profile(i); i++) {
    struct fab_topology topology;
    struct fab_stability s;
    struct fab_factor factors[FAB_FACTORS];
    struct fab_profile *profile = open_machine(fab_shipped_profile(i), 0, &topology);
    cr_assert(fab_stability(profile, &topology, &s), "%s", profile->name);
    expect_shares(&s);
    cr_expect(s.low < s.value && s.value < s.high && s.high < 1, "%s: %g, %g, %g", profile->name, s.low, s.value, s.high);
    fab_efficiency(profile, &topology, NULL, factors);
    cr_expect(factors[4].modelled && factors[4].value == s.value && factors[4].status == FAB_ASSUMED);
    fab_profile_free(profile);
  }
}

/* Checkpoints of several kinds of cards: what the average card saves. */
Test(topology_stability, of_several_kinds)
{
  struct fab_topology topology;
  struct fab_stability s;
  struct fab_profile *profile = open_machine("mixed-h100-s5000:accelerators.0.memory=160 GB", 0, &topology);
  cr_assert(fab_stability(profile, &topology, &s));
  cr_expect(fabs(s.bytes / (0.05 * 120e9) - 1) < 1e-9, "%g", s.bytes);
  fab_profile_free(profile);
}

Test(topology_stability, what_the_vendor_states_is_kept_beside)
{
  struct fab_topology topology;
  struct fab_stability s;
  struct fab_factor factors[FAB_FACTORS];
  struct fab_profile *profile = open_machine("mtt-s5000-kuae", 0, &topology);
  fab_efficiency(profile, &topology, NULL, factors);
  cr_assert(factors[4].modelled && factors[4].stated);
  cr_expect(factors[4].stated->value == 0.9 && factors[4].stated->status == FAB_PUBLISHED);
  profile->reliability.mtbf.status = FAB_ABSENT; /* as in a profile without the group */
  cr_expect_not(fab_stability(profile, &topology, &s));
  fab_efficiency(profile, &topology, NULL, factors);
  cr_expect(!factors[4].modelled && factors[4].value == 0.9 && factors[4].quantity && !factors[4].stated);
  fab_profile_free(profile);
}

Test(topology_stability, hangs_on_what_is_assumed)
{
  struct fab_profile *profile = fab_profile_load("scalex-10240", stderr);
  struct fab_sway sways[FAB_PROFILE_QUANTITIES];
  int count = fab_sensitivity(profile, 0, FAB_PROGRESS, sways, FAB_PROFILE_QUANTITIES), own = 0;
  cr_assert_geq(count, 4);
  cr_expect_str_eq(sways[0].quantity->name, "reliability.mtbf");
  cr_expect(sways[0].low > 1 && sways[0].high < 1, "who fails more often takes longer: %g, %g", sways[0].low, sways[0].high);
  for (int i = 0; i < count; i++) own += !strncmp(sways[i].quantity->name, "reliability.", 12);
  cr_expect_eq(own, 4);
  for (int i = 0; i < profile->quantity_count; i++)
    cr_expect_not(fab_is_swayed(&profile->quantity[i]) && strstr(profile->quantity[i].name, "reliability"), "no clock depends on it");
  count = fab_sensitivity(profile, 0, FAB_FARTHEST_LOAD, sways, FAB_PROFILE_QUANTITIES);
  for (int i = 0; i < count; i++) cr_expect_null(strstr(sways[i].quantity->name, "reliability"));
  fab_profile_free(profile);
}

Test(topology_stability, as_a_table)
{
  struct fab_topology topology;
  struct fab_profile *profile = open_machine("mtt-s5000-kuae", 0, &topology);
  char *text;
  size_t size;
  FILE *out = open_memstream(&text, &size);
  fab_print_efficiency(out, false, profile, &topology, NULL);
  fclose(out);
  static const char *const words[] = {"a failure every 3 h, a checkpoint of 32.8 s every 13.7 min, a restart of 10.5 min",
                                      "  as stated       90 %                    published   by its vendor; not in the product",
                                      "Stability of mtt-s5000-kuae with 10,000 devices",
                                      "30000 h        5000 h to 100000 h  assumed",
                                      "4 GB of each device : its storage",
                                      "Daly's optimum; Young's: sqrt(2 d M) = 14 min",
                                      "time that makes progress                       87.15 %"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) cr_expect(strstr(text, words[i]), "%s: %s", words[i], text);
  free(text);
  fab_profile_free(profile);
}
