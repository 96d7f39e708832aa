/* The checker can fail: each of these one-cell changes to a shipped protocol is loaded without a complaint and found broken, with a run that shows it. */
#include <criterion/criterion.h>

#include "coherence/check.h"
#include "tests/mutant.h"

static const struct mutant {
  const char *what, *protocol, *role, *state, *events, *rest, *sharers;
} mutants[] = {
    {"an invalidation is acknowledged, but the copy stays", "msi", "cache", "S", "Inv", "ack", "full"},
    {"invalidations are not sent", "moesi", "directory", "S", "GetM", "data clear_sharers set_owner -> M_U", "full"},
    {"the store waits for the first ack only", "mesi", "cache", "IM_A", "Inv-Ack", "store unblock -> M", "full"},
    {"the upgrade waits for the first ack only", "msi", "cache", "SM_A", "Inv-Ack", "store unblock -> M", "full"},
    {"unblocked before the acks have come", "msi", "cache", "IM_AD", "Data-Acks", "fill unblock -> IM_A", "full"},
    {"memory answers although an owner has newer data", "mesi", "directory", "M", "GetS", "data add_sharer -> S_U", "full"},
    {"the owner hands the line over and keeps reading", "msi", "cache", "M", "Fwd-GetM", "data -> S", "full"},
    {"a writeback that meets a Fwd-GetM waits for its Put-Ack", "msi", "cache", "MI_A", "Fwd-GetM", "stall", "full"},
    {"a writeback that meets a Fwd-GetS forgets the home", "msi", "cache", "MI_A", "Fwd-GetS", "data -> SI_A", "full"},
    {"an eviction that meets an invalidation goes straight to I", "msi", "cache", "SI_A", "Inv", "ack -> I", "full"},
    {"an invalidation of an evicted copy is not acknowledged", "mesi", "cache", "SI_A", "Inv", "- -> II_A", "full"},
    {"the line given back is not written to memory", "msi", "directory", "M", "PutM", "put_ack clear_owner -> I", "full"},
    {"the owner's data is not written to memory", "msi", "directory", "S_DU", "Data", "- -> S_U", "full"},
    {"a late writeback unseats the new owner", "msi", "directory", "M", "PutS-Last,Stale-Last", "put_ack clear_owner -> I", "full"},
    {"the reader never unblocks", "msi", "cache", "IS_D", "Data", "fill load -> S", "full"},
    {"the reader takes no data", "mesi", "cache", "IS_D", "Data", "load unblock -> S", "full"},
    {"an upgrade goes on reading after its copy was invalidated", "mesi", "cache", "SM_AD", "Inv", "ack", "full"},
    {"a reader is not noted as a sharer", "msi", "directory", "S", "GetS", "data -> S_U", "full"},
    {"the new owner is not noted", "msi", "directory", "M", "GetM", "fwd_M -> M_U", "full"},
    {"the sharers are kept although they were invalidated", "mesi", "directory", "S", "GetM", "inv data set_owner -> M_U", "full"},
    {"an exclusive line is thought to be clean when it comes back", "mesi", "directory", "E", "PutM", "put_ack clear_owner -> I", "full"},
    {"an exclusive copy survives another's store", "mesi", "cache", "E", "Fwd-GetM", "data -> E", "full"},
    {"the owner forgets that it is one", "moesi", "cache", "O", "Fwd-GetS", "data -> S", "full"},
    {"the owned line given back is not written to memory", "moesi", "directory", "O", "PutM", "put_ack clear_owner -> S", "full"},
    {"an owner's upgrade ignores that another's came first", "moesi", "cache", "OM_AC", "Fwd-GetM", "data", "full"},
    {"an owner's upgrade does not invalidate the sharers", "moesi", "directory", "O", "GetM-Owner", "ack_count clear_sharers -> M_U",
     "full"},
    {"two caches forward", "mesif", "cache", "F", "Fwd-GetS", "data", "full"},
    {"the former forwarder is not noted as a sharer", "mesif", "directory", "F", "GetS", "fwd_S set_owner -> F_U", "full"},
    {"a cache without a copy does not acknowledge", "msi", "cache", "I", "Inv", "-", "limited"},
    {"a waiting reader does not acknowledge", "mesif", "cache", "IS_D", "Inv", "stall", "coarse"},
};
enum { MUTANTS = sizeof mutants / sizeof mutants[0] };

static void load_mutant(const struct mutant *mutant, struct coh_protocol *protocol)
{
  char *text = mutant_text(coh_shipped_text(mutant->protocol), mutant->role, mutant->state, mutant->events, mutant->rest);
  cr_assert(text, "%s: the cell %s %s is not in %s", mutant->what, mutant->state, mutant->events, mutant->protocol);
  cr_assert_eq(coh_protocol_parse(text, mutant->what, protocol, stderr), 0, "%s", mutant->what);
  free(text);
}

Test(check_mutants, all_are_caught)
{
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  for (int m = 0; m < MUTANTS; m++) {
    struct coh_check_options options = {.sharers = mutants[m].sharers, .caches = 3, .lines = 1};
    struct coh_check_result result;
    load_mutant(&mutants[m], protocol);
    cr_assert_eq(coh_check(protocol, &options, &result), 0);
    cr_expect_eq(result.verdict, COH_BROKEN, "%s: not caught", mutants[m].what);
    cr_expect_gt(result.ladder.step_count, 0, "%s: no run shows it", mutants[m].what);
    cr_expect_neq(result.sentence[0], 0);
    printf("%-60s %2d steps: %s\n", mutants[m].what, result.ladder.step_count, result.sentence);
    coh_ladder_free(&result.ladder);
  }
  free(protocol);
}

/* Each Ping that a cache gets it takes for an ack, and sends itself another. */
static const char endless[] = "protocol Endless : counts acks without end\n"
                              "messages\n"
                              "  Req   request   -    : asks\n"
                              "  Ans   response  data : answers\n"
                              "  Ping  response  ack  : an ack to oneself\n"
                              "cache states\n"
                              "  I  none  stable    : idle\n"
                              "  W  none  transient : waits for the answer\n"
                              "cache events\n"
                              "  Load   load      : the program reads\n"
                              "  Store  store     : the program writes\n"
                              "  Evict  evict     : the copy is given back\n"
                              "  Ans    Ans       : the answer\n"
                              "  Ping   Ping more : an ack of several\n"
                              "  Last   Ping last : the last\n"
                              "cache actions\n"
                              "  req    send Req to home\n"
                              "  ping   send Ping to requestor\n"
                              "cache transitions\n"
                              "  I  Load,Store        req       -> W\n"
                              "  I  Ping,Last         ping\n"
                              "  W  Load,Store,Evict  stall\n"
                              "  W  Ans               fill ping -> I\n"
                              "  W  Ping,Last         -\n"
                              "directory states\n"
                              "  I  stable : even\n"
                              "  J  busy   : odd\n"
                              "directory events\n"
                              "  Req  Req : a request\n"
                              "directory actions\n"
                              "  ans  send Ans to requestor\n"
                              "directory transitions\n"
                              "  I  Req  ans -> J\n"
                              "  J  Req  ans -> I\n";

Test(check_mutants, acks_without_end_are_caught)
{
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  struct coh_check_options options = {.sharers = "full", .caches = 2, .lines = 1};
  struct coh_check_result result;
  cr_assert_eq(coh_protocol_parse(endless, "endless", protocol, stderr), 0);
  cr_assert_eq(coh_check(protocol, &options, &result), 0);
  cr_expect_eq(result.verdict, COH_BROKEN);
  cr_expect(strstr(result.sentence, "acks"), "%s", result.sentence);
  coh_ladder_free(&result.ladder);
  free(protocol);
}
