/* One step of the core: what comes out, and that a step that cannot be taken changes nothing. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "coherence/core.h"

static struct coh_protocol *protocol;
static struct coh_sharer_kind kind;
static union {
  struct coh_directory_entry entry;
  uint64_t room[1 + COH_MAX_SHARER_WORDS];
} home;
static struct coh_outcome outcome;

static void prepare(void)
{
  protocol = malloc(sizeof *protocol);
  cr_assert_eq(coh_protocol_load("mesi", protocol, stderr), 0);
  cr_assert_eq(coh_sharer_kind_make("full", 1024, 0, &kind), 0);
}

static void finish(void)
{
  free(protocol);
}

static int type_of(const char *name)
{
  for (int m = 0; m < protocol->message_count; m++)
    if (!strcmp(protocol->messages[m].name, name)) return m;
  cr_assert_fail("no message %s", name);
  return -1;
}

static struct coh_message request(const char *name, int device)
{
  return (struct coh_message){.type = (uint8_t)type_of(name), .source = (int16_t)device, .target = COH_HOME, .requestor = (int16_t)device};
}

static void at_home(const char *name, int device)
{
  struct coh_message message = request(name, device);
  coh_directory_step(protocol, &kind, &home.entry, &message, &outcome);
}

static const char *home_state(void)
{
  return protocol->controllers[COH_DIRECTORY].states[home.entry.state].name;
}

Test(protocol_core, a_miss_asks_the_home_and_a_hit_asks_nobody, .init = prepare, .fini = finish)
{
  struct coh_cache_entry entry = {0};
  struct coh_message store = coh_access(COH_STORE, 5);
  cr_expect_not(coh_cache_allows(protocol, &entry, COH_RIGHT_READ));
  coh_cache_step(protocol, &entry, &store, &outcome);
  cr_expect_eq(outcome.result, COH_DONE);
  cr_assert_eq(outcome.send_count, 1);
  cr_expect_eq(outcome.sends[0].message.type, type_of("GetM"));
  cr_expect_eq(outcome.sends[0].message.target, COH_HOME);
  cr_expect_eq(outcome.sends[0].message.requestor, 5);
  struct coh_message data = {.type = (uint8_t)type_of("Data"), .source = COH_HOME, .target = 5, .requestor = 5};
  coh_cache_step(protocol, &entry, &data, &outcome);
  cr_expect_eq(outcome.deeds, COH_DEED_FILL | COH_DEED_STORE);
  coh_cache_step(protocol, &entry, &store, &outcome);
  cr_expect_eq(outcome.send_count, 0);
  cr_expect_eq(outcome.deeds, COH_DEED_STORE);
  cr_expect(coh_cache_allows(protocol, &entry, COH_RIGHT_WRITE));
}

Test(protocol_core, acks_may_come_before_their_number, .init = prepare, .fini = finish)
{
  struct coh_cache_entry entry = {0};
  struct coh_message store = coh_access(COH_STORE, 0);
  struct coh_message ack = {.type = (uint8_t)type_of("Inv-Ack"), .acks = -1, .source = 1, .target = 0, .requestor = 0};
  struct coh_message data = {.type = (uint8_t)type_of("Data"), .acks = 2, .source = COH_HOME, .target = 0, .requestor = 0};
  coh_cache_step(protocol, &entry, &store, &outcome);
  coh_cache_step(protocol, &entry, &ack, &outcome);
  coh_cache_step(protocol, &entry, &data, &outcome);
  cr_expect_eq(outcome.deeds, COH_DEED_FILL);
  coh_cache_step(protocol, &entry, &ack, &outcome);
  cr_expect_eq(outcome.deeds, COH_DEED_STORE);
  cr_expect_eq(entry.acks, 0);
}

Test(protocol_core, a_busy_directory_stalls_and_a_wrong_message_is_refused_without_a_trace, .init = prepare, .fini = finish)
{
  struct coh_cache_entry entry = {0};
  at_home("GetS", 3);
  cr_expect_str_eq(home_state(), "E_U");
  cr_expect_eq(home.entry.requestor_1, 4);
  uint64_t before[1 + COH_MAX_SHARER_WORDS];
  memcpy(before, home.room, sizeof before);
  at_home("GetM", 4);
  cr_expect_eq(outcome.result, COH_STALLED);
  cr_expect_eq(outcome.send_count, 0);
  at_home("Inv", 4);
  cr_expect_eq(outcome.result, COH_UNHANDLED);
  cr_expect_arr_eq(before, home.room, sizeof before);
  struct coh_message put_ack = {.type = (uint8_t)type_of("Put-Ack"), .source = COH_HOME, .target = 0, .requestor = 0};
  coh_cache_step(protocol, &entry, &put_ack, &outcome);
  cr_expect_eq(outcome.result, COH_UNHANDLED);
  cr_expect_eq(entry.state, 0);
}

/* Sharers are told in bulk, but for the requestor; the targets outlive the set that they came from. */
Test(protocol_core, a_thousand_sharers_are_invalidated, .init = prepare, .fini = finish)
{
  int reached = 0;
  for (int d = 0; d < 1000; d++) {
    at_home("GetS", d);
    if (d == 1) at_home("Data", 0);
    at_home("Unblock", d);
  }
  cr_expect_str_eq(home_state(), "S");
  at_home("GetM", 7);
  cr_expect_str_eq(home_state(), "M_U");
  cr_expect_eq(outcome.target_count, 999);
  cr_expect_eq(coh_owner(&home.entry), 7);
  cr_expect_eq(kind.ops->count(&kind, home.entry.sharers), 0);
  for (int d = coh_outcome_target(&kind, &outcome, 0); d >= 0; d = coh_outcome_target(&kind, &outcome, d + 1)) {
    cr_expect_neq(d, 7);
    reached++;
  }
  cr_expect_eq(reached, 999);
  for (int i = 0; i < outcome.send_count; i++)
    if (outcome.sends[i].message.type == type_of("Data")) cr_expect_eq(outcome.sends[i].message.acks, 999);
}

static int state_of(const char *name)
{
  const struct coh_controller *cache = &protocol->controllers[COH_CACHE];
  for (int s = 0; s < cache->state_count; s++)
    if (!strcmp(cache->states[s].name, name)) return s;
  cr_assert_fail("no state %s", name);
  return -1;
}

Test(protocol_core, a_request_that_is_not_taken_is_taken_back, .init = prepare, .fini = finish)
{
  static const char *const now[] = {"SM_AD", "IM_AD", "E"}; /* not moved since; moved, and in between; moved, and stable */
  static const char *const expected[] = {"S", "I", "E"};
  for (int i = 0; i < 3; i++) {
    struct coh_cache_entry entry = {.state = (uint8_t)state_of(now[i])};
    coh_cache_take_back(protocol, &entry, state_of("S"), state_of("SM_AD"));
    cr_expect_eq(entry.state, state_of(expected[i]), "%s", now[i]);
  }
}
