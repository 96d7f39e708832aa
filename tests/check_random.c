/* Random runs of many devices: the shipped protocols survive them, also when a device is lost; a mutant does not; a seed means one run. */
#include <criterion/criterion.h>
#include <errno.h>

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

static void expect_same(const struct coh_random_result *a, const struct coh_random_result *b)
{
  cr_expect_eq(a->steps, b->steps);
  cr_expect_eq(a->time_ns, b->time_ns);
  cr_expect_eq(a->messages, b->messages);
  cr_expect_eq(a->lost_step, b->lost_step);
  cr_expect_eq(a->lines_lost, b->lines_lost);
  cr_expect_eq(a->refused, b->refused);
  cr_expect_eq(a->vanished, b->vanished);
}

/* Few lines, so that the lost device is often in the middle of something. Returns how many runs lost a line. */
static int lose_many(struct coh_protocol *protocol, const char *sharers, uint64_t seed)
{
  int lines = 0;
  for (int i = 0; i < 20; i++) {
    struct coh_random_options options = options_for(sharers, i % 2 ? 4 : 12, seed + (uint64_t)i, 30000);
    struct coh_random_result result, again;
    options.lines = 6;
    options.lose_1 = 1 + i % 4;
    cr_assert_eq(coh_random(protocol, &options, &result), 0);
    cr_assert_eq(coh_random(protocol, &options, &again), 0);
    expect_same(&result, &again);
    cr_expect_not(result.broken, "%s, %s, %d devices, device %d lost, seed %llu: %s", protocol->name, sharers, options.sharers.devices,
                  options.lose_1 - 1, (unsigned long long)options.seed, result.sentence);
    cr_expect_gt(result.lost_step, 0);
    cr_expect_eq(result.lines_lost > 0, result.refused > 0);
    cr_expect_leq(result.lines_lost, (int)result.vanished);
    lines += result.lines_lost > 0;
  }
  return lines;
}

Test(check_random, a_lost_device_stops_no_more_than_its_transactions)
{
  static const char *const sharers[] = {"full", "limited", "coarse"};
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  uint64_t seed = test_seed();
  for (int p = 0; coh_shipped_name(p); p++) {
    int lines = 0;
    cr_assert_eq(coh_protocol_load(coh_shipped_name(p), protocol, stderr), 0);
    for (int s = 0; s < 3; s++) lines += lose_many(protocol, sharers[s], seed += 100);
    cr_expect_gt(lines, 0, "%s: no run has lost a line", protocol->name);
  }
  free(protocol);
}

/* A mutant of MSI with one cell changed, run without device 2 from step 20 on: the run must break, and say this. */
static void expect_broken(const char *role, const char *state, const char *event, const char *rest, const char *said)
{
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  struct coh_random_options options = options_for("full", 8, test_seed(), 500000);
  struct coh_random_result result;
  char *text = mutant_text(coh_shipped_text("msi"), role, state, event, rest);
  options.lose_1 = 3;
  options.lose_step = 20;
  cr_assert(text);
  cr_assert_eq(coh_protocol_parse(text, "mutant", protocol, stderr), 0);
  cr_assert_eq(coh_random(protocol, &options, &result), 0);
  cr_expect(result.broken && strstr(result.sentence, said), "%s %s: %s", state, event, result.sentence);
  cr_expect_gt(result.lost_step, 0);
  coh_ladder_free(&result.ladder);
  free(text);
  free(protocol);
}

Test(check_random, a_lost_device_hides_no_mistake)
{
  expect_broken("cache", "SM_AD", "Inv", "ack", "while a cache may write");
  expect_broken("directory", "S", "PutS,Stale", "remove_sharer", "stable state"); /* no Put-Ack */
  expect_broken("cache", "IM_A", "Last-Inv-Ack", "store -> M", "deadlock");       /* no Unblock */
}

Test(check_random, only_a_device_can_be_lost)
{
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  struct coh_random_options options = options_for("full", 8, 1, 1000);
  struct coh_random_result result;
  cr_assert_eq(coh_protocol_load("msi", protocol, stderr), 0);
  options.lose_1 = 9;
  cr_expect_eq(coh_random(protocol, &options, &result), -EINVAL);
  options.lose_1 = -1;
  cr_expect_eq(coh_random(protocol, &options, &result), -EINVAL);
  free(protocol);
}
