/* The shipped protocols are proved, with each kind of sharer set, and no cell of theirs is dead. */
#include <criterion/criterion.h>

#include "coherence/check.h"

static const char *const sharers[] = {"full", "limited", "coarse"};

/* The message of a failed assertion must tell which one it was. */
static void prove(const struct coh_protocol *protocol, const struct coh_check_options *options, struct coh_check_result *result)
{
  cr_assert_eq(coh_check(protocol, options, result), 0);
  cr_assert_eq(result->verdict, COH_PROVED, "%s, %d caches, %d lines, %s: %s", protocol->name, options->caches, options->lines,
               options->sharers, result->sentence);
  printf("%-5s %d caches %d lines %-7s %7llu states\n", protocol->name, options->caches, options->lines, options->sharers,
         (unsigned long long)result->states);
}

static void expect_no_dead_cells(const struct coh_protocol *protocol, uint64_t used[COH_ROLES][COH_MAX_STATES])
{
  for (int role = 0; role < COH_ROLES; role++) {
    const struct coh_controller *controller = &protocol->controllers[role];
    for (int s = 0; s < controller->state_count; s++)
      for (int e = 0; e < controller->event_count; e++)
        cr_expect((controller->cells[s][e].kind != COH_CELL_EMPTY) == (used[role][s] >> e & 1), "%s %s: state %s, event %s", protocol->name,
                  coh_role_names[role], controller->states[s].name, controller->events[e].name);
  }
}

Test(check_proves, three_caches_and_every_kind_of_sharer_set)
{
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  for (int p = 0; coh_shipped_name(p); p++) {
    uint64_t used[COH_ROLES][COH_MAX_STATES] = {0};
    cr_assert_eq(coh_protocol_load(coh_shipped_name(p), protocol, stderr), 0);
    for (int s = 0; s < 3; s++) {
      struct coh_check_options options = {.sharers = sharers[s], .caches = 3, .lines = 1};
      struct coh_check_result result;
      prove(protocol, &options, &result);
      for (int role = 0; role < COH_ROLES; role++)
        for (int state = 0; state < COH_MAX_STATES; state++) used[role][state] |= result.cells_used[role][state];
    }
    expect_no_dead_cells(protocol, used);
  }
  free(protocol);
}

Test(check_proves, four_caches)
{
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  for (int p = 0; coh_shipped_name(p); p++) {
    struct coh_check_options options = {.sharers = "full", .caches = 4, .lines = 1};
    struct coh_check_result result;
    cr_assert_eq(coh_protocol_load(coh_shipped_name(p), protocol, stderr), 0);
    prove(protocol, &options, &result);
  }
  free(protocol);
}

Test(check_proves, two_lines)
{
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  struct coh_check_options options = {.sharers = "full", .caches = 2, .lines = 2};
  struct coh_check_result result;
  cr_assert_eq(coh_protocol_load("mesi", protocol, stderr), 0);
  prove(protocol, &options, &result);
  cr_expect_lt(result.bytes, 2ull << 30);
  free(protocol);
}

Test(check_proves, depth_and_memory_bound_the_exploration)
{
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  struct coh_check_options options = {.sharers = "full", .caches = 3, .lines = 1, .depth = 5};
  struct coh_check_result result;
  cr_assert_eq(coh_protocol_load("mesi", protocol, stderr), 0);
  cr_assert_eq(coh_check(protocol, &options, &result), 0);
  cr_expect_eq(result.verdict, COH_BOUNDED);
  cr_expect_eq(result.depth, 5);
  options = (struct coh_check_options){.sharers = "full", .caches = 3, .lines = 2, .bytes_most = 8 << 20};
  cr_assert_eq(coh_check(protocol, &options, &result), 0);
  cr_expect_eq(result.verdict, COH_OUT_OF_MEMORY);
  cr_expect_lt(result.bytes, 10 << 20);
  free(protocol);
}
