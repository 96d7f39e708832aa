/* Random runs of many devices: the shipped protocols survive them, a mutant does not, and a seed means one run. */
#include <criterion/criterion.h>

#include "coherence/random.h"
#include "tests/mutant.h"

static uint64_t test_seed(void)
{
  const char *text = getenv("UMA_TEST_SEED");
  uint64_t seed = text ? strtoull(text, NULL, 10) : 20240607;
  printf("UMA_TEST_SEED=%llu\n", (unsigned long long)seed);
  return seed;
}

static struct coh_random_options options_for(const char *sharers, int devices, uint64_t seed, uint64_t steps)
{
  struct coh_random_options options = {.lines = 24, .seed = seed, .steps = steps};
  cr_assert_eq(coh_sharer_kind_make(sharers, devices, 0, &options.sharers), 0);
  return options;
}

Test(check_random, shipped_protocols_survive)
{
  static const char *const sharers[] = {"full", "limited", "coarse"};
  static const int devices[] = {8, 33, 64};
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  uint64_t seed = test_seed();
  for (int p = 0; coh_shipped_name(p); p++)
    for (int s = 0; s < 3; s++)
      for (int d = 0; d < 3; d++) {
        struct coh_random_options options = options_for(sharers[s], devices[d], seed++, 100000);
        struct coh_random_result result;
        cr_assert_eq(coh_protocol_load(coh_shipped_name(p), protocol, stderr), 0);
        cr_assert_eq(coh_random(protocol, &options, &result), 0);
        cr_expect_not(result.broken, "%s, %d devices, %s, seed %llu: %s", protocol->name, devices[d], sharers[s],
                      (unsigned long long)options.seed, result.sentence);
        cr_expect_gt(result.rests, 2);
      }
  free(protocol);
}

Test(check_random, a_mutant_breaks_and_replays_from_its_seed)
{
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  struct coh_random_options options = options_for("full", 16, test_seed(), 1000000);
  struct coh_random_result first, again;
  char *text = mutant_text(coh_shipped_text("moesi"), "cache", "OM_AC", "Fwd-GetM", "data");
  cr_assert(text);
  cr_assert_eq(coh_protocol_parse(text, "mutant", protocol, stderr), 0);
  cr_assert_eq(coh_random(protocol, &options, &first), 0);
  cr_assert_eq(coh_random(protocol, &options, &again), 0);
  cr_assert(first.broken);
  cr_expect_str_eq(first.sentence, again.sentence);
  cr_expect_eq(first.steps, again.steps);
  cr_expect_eq(first.time_ns, again.time_ns);
  cr_expect_gt(first.ladder.step_count, 0);
  coh_ladder_free(&first.ladder);
  coh_ladder_free(&again.ladder);
  free(text);
  free(protocol);
}

Test(check_random, a_thousand_devices)
{
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  struct coh_random_options options = options_for("coarse", COH_MAX_DEVICES, test_seed(), 20000);
  struct coh_random_result result;
  cr_assert_eq(coh_protocol_load("mesif", protocol, stderr), 0);
  cr_assert_eq(coh_random(protocol, &options, &result), 0);
  cr_expect_not(result.broken, "%s", result.sentence);
  free(protocol);
}
