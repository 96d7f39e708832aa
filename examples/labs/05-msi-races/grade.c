/* Lab 5: MSI when messages race. */
#include "coherence/random.h"
#include "protocol.h"

enum { RUNS = 4, STEPS = 300000, LINES = 6 };

static const int points_of[PROTOCOL_PATTERNS] = {2, 3, 3, 3, 7, 7};

static void grade_table(struct lab *lab)
{
  protocol_load(lab, "msi.protocol");
  lab_check(lab, 5, true, "the table loads", "-");
}

static void grade_coherence(struct lab *lab)
{
  struct coh_protocol *protocol = protocol_load(lab, "msi.protocol");
  struct coh_check_options options = {.sharers = "full", .caches = 2, .lines = 1, .atomic = true};
  if (!protocol_prove(lab, protocol, &options, 10, "2 caches, one transaction at a time: coherent in every state", "ladder.html"))
    lab_stop(lab, "races are looked at when it works without them");
  options.atomic = false;
  if (!protocol_prove(lab, protocol, &options, 15, "2 caches: coherent in every state", "ladder.html"))
    lab_stop(lab, "more is looked at when 2 caches are right");
  options.caches = 3;
  if (!protocol_prove(lab, protocol, &options, 15, "3 caches: coherent in every state", "ladder.html"))
    lab_stop(lab, "2 lines are looked at when 3 caches are right");
  options.caches = options.lines = 2;
  protocol_prove(lab, protocol, &options, 5, "2 caches, 2 lines: coherent in every state", "ladder.html");
}

/* Seeded, so it fails again in the same way. */
static bool runs_long(struct lab *lab, const struct coh_protocol *protocol, uint64_t seed)
{
  struct coh_random_options options = {.lines = LINES, .seed = seed, .steps = STEPS};
  struct coh_random_result result;
  coh_sharer_kind_make("full", (int)lab_number(lab, "devices at random", 8, 32), 0, &options.sharers);
  if (coh_random(protocol, &options, &result)) lab_stop(lab, "the random run cannot be made");
  if (result.broken) {
    coh_ladder_text(stdout, &result.ladder);
    FILE *page = lab_picture(lab, "random.html", "the last steps of a random run that broke it, to step through");
    coh_ladder_html(page, &result.ladder);
    fclose(page);
  }
  coh_ladder_free(&result.ladder);
  return !result.broken;
}

static void grade_long_runs(struct lab *lab)
{
  struct coh_protocol *protocol = protocol_load(lab, "msi.protocol");
  uint64_t seed = lab_seed(lab, "random");
  int whole = 0;
  protocol_must_be_right(lab, protocol, false);
  while (whole < RUNS && runs_long(lab, protocol, lab_draw(&seed))) whole++;
  lab_credit(lab, 10 * whole / RUNS, 10, "long random runs of many devices", "run %d of %d broke; the last steps of it are above",
             whole + 1, RUNS);
}

static void grade_messages(struct lab *lab)
{
  static struct machine ran;
  struct coh_protocol *protocol = protocol_load(lab, "msi.protocol");
  struct contract contract = protocol_contract(lab, true);
  protocol_must_be_right(lab, protocol, false);
  protocol_price_all(lab, protocol, &contract, points_of, &ran);
  protocol_table_page(lab, protocol, &ran, "table.html");
}

static void grade_leanness(struct lab *lab)
{
  struct coh_protocol *protocol = protocol_load(lab, "msi.protocol");
  struct contract contract = protocol_contract(lab, true);
  bool notices = contract.notices;
  int caches = protocol->controllers[COH_CACHE].state_count, homes = protocol->controllers[COH_DIRECTORY].state_count;
  int messages = protocol->message_count - COH_FIRST_MESSAGE;
  protocol_must_be_right(lab, protocol, false);
  protocol_must_follow(lab, protocol, &contract);
  protocol_count(lab, 7, caches, notices ? 11 : 10, "no state of the cache more than needed");
  protocol_count(lab, 4, homes, 7, "no state of the directory more than needed");
  protocol_count(lab, 4, messages, notices ? 11 : 10, "no message type more than needed");
}

const struct lab_plan lab_plan = {
    .number = 5,
    .title = "MSI with races",
    .task = protocol_say_contract,
    .groups = {{"the table", 5, grade_table, 0},
               {"coherent", 45, grade_coherence, 20},
               {"long runs", 10, grade_long_runs, 20},
               {"messages", 25, grade_messages, 0},
               {"lean", 15, grade_leanness, 0}},
};
