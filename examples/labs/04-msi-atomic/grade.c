/* Lab 4: MSI for atomic transactions. */
#include <stdlib.h>

#include "protocol.h"

enum { DEVICES_LEAST = 4, DEVICES_MOST = 7, PATTERNS = 6 };

static const int points_of[PATTERNS] = {3, 5, 5, 5, 6, 6};

/* What of the contract is the student's own. */
static struct contract contract_of(struct lab *lab)
{
  bool second = lab_number(lab, "@contract", 0, 1);
  return (struct contract){.relays = second, .notices = second};
}

static void task(struct lab *lab)
{
  struct contract contract = contract_of(lab);
  lab_say(lab, "  your number 1: an owner %s",
          contract.relays ? "relays: its data goes to the home, which sends it on" : "answers by itself");
  lab_say(lab, "  your number 2: a clean copy is given up %s", contract.notices ? "with notice (PutS)" : "silently");
}

static void grade_table(struct lab *lab)
{
  struct coh_protocol *protocol = protocol_load(lab, "msi.protocol");
  lab_check(lab, 5, true, "the table loads", "-");
  int transient = protocol_transient_states(protocol, COH_CACHE) + protocol_transient_states(protocol, COH_DIRECTORY);
  if (transient)
    lab_mistake(lab, "transient",
                "With atomic transactions nothing else happens between a request and its answer: a state that waits is not "
                "needed. The cache can stay where it is until the data comes. (Lab 5 needs such states.)");
  lab_check(lab, 5, !transient, "stable states only", "%d transient or busy states are declared; expected none", transient);
}

static void grade_coherence(struct lab *lab)
{
  struct coh_protocol *protocol = protocol_load(lab, "msi.protocol");
  struct coh_check_options options = {.sharers = "full", .caches = 2, .lines = 1, .atomic = true};
  if (!protocol_prove(lab, protocol, &options, 20, "2 caches: coherent in every state"))
    lab_stop(lab, "3 caches are looked at when 2 are right");
  options.caches = 3;
  protocol_prove(lab, protocol, &options, 20, "3 caches: coherent in every state");
}

static void make_patterns(struct lab *lab, struct pattern *patterns)
{
  int devices = (int)lab_number(lab, "devices", DEVICES_LEAST, DEVICES_MOST), rounds = (int)lab_number(lab, "rounds", 5, 20);
  int device = (int)lab_number(lab, "device", 0, devices - 1), readers = (int)lab_number(lab, "readers", 2, devices - 1);
  pattern_private(&patterns[0], devices, device, rounds);
  pattern_migratory(&patterns[1], devices, rounds);
  pattern_producer_consumer(&patterns[2], devices, device, readers, rounds);
  pattern_read_mostly(&patterns[3], devices, device, 3, rounds);
  pattern_write_write(&patterns[4], devices, rounds);
  pattern_evictions(&patterns[5], devices, readers, rounds);
}

/* The state that was there for reading: without it every reader takes the line from the one before. */
static void look_for_sharing(struct lab *lab, const struct coh_protocol *protocol)
{
  struct machine machine;
  machine_init(&machine, protocol, 3);
  for (int d = 0; d < 3; d++) machine_access(&machine, COH_LOAD, d);
  uint64_t before = machine.messages;
  for (int d = 0; d < 3; d++) machine_access(&machine, COH_LOAD, d);
  if (!machine.wrong[0] && machine.messages != before)
    lab_mistake(lab, "no-sharing",
                "Three caches have loaded the line, and load it once more: that costs messages again. Readers must be able to "
                "have copies at the same time; only a store takes them away.");
}

/* Correct, but by the other contract. */
static void look_for_other_contract(struct lab *lab, const struct coh_protocol *protocol, const struct contract *mine,
                                    const struct pattern *patterns)
{
  struct contract other = {.relays = !mine->relays, .notices = !mine->notices};
  for (int p = 1; p < PATTERNS; p++) {
    struct machine machine;
    machine_init(&machine, protocol, patterns[p].devices);
    struct cost cost = contract_cost(&other, &patterns[p]);
    if (!pattern_run(&patterns[p], &machine) || machine.messages != cost.messages || machine.data != cost.data) return;
  }
  lab_mistake(lab, "other-contract", "This table follows the other numbers: it %s and gives clean copies up %s. Yours are at the top.",
              other.relays ? "relays" : "lets the owner answer", other.notices ? "with notice" : "silently");
}

static void grade_messages(struct lab *lab)
{
  static struct pattern patterns[PATTERNS];
  static struct machine ran;
  struct coh_protocol *protocol = protocol_load(lab, "msi.protocol");
  struct contract contract = contract_of(lab);
  protocol_must_be_right(lab, protocol, true);
  make_patterns(lab, patterns);
  protocol_every_access_ends(lab, protocol, 10, &ran);
  for (int p = 0; p < PATTERNS; p++) protocol_price(lab, protocol, &contract, &patterns[p], points_of[p], &ran);
  protocol_table_page(lab, protocol, &ran);
  look_for_sharing(lab, protocol);
  look_for_other_contract(lab, protocol, &contract, patterns);
}

static void grade_leanness(struct lab *lab)
{
  struct coh_protocol *protocol = protocol_load(lab, "msi.protocol");
  int messages = protocol->message_count - COH_FIRST_MESSAGE, most = contract_of(lab).notices ? 10 : 9;
  protocol_must_be_right(lab, protocol, true);
  lab_check(lab, 4, protocol->controllers[COH_CACHE].state_count <= 3, "a cache of 3 states",
            "it has %d; which of them differ in what they do?", protocol->controllers[COH_CACHE].state_count);
  lab_check(lab, 3, protocol->controllers[COH_DIRECTORY].state_count <= 3, "a directory of 3 states", "it has %d",
            protocol->controllers[COH_DIRECTORY].state_count);
  lab_check(lab, 3, messages <= most, "no message type more than needed", "it has %d; %d are enough", messages, most);
}

const struct lab_plan lab_plan = {
    .number = 4,
    .title = "MSI, one thing at a time",
    .task = task,
    .groups = {{"the table", 10, grade_table, 0},
               {"coherent", 40, grade_coherence, 0},
               {"messages", 40, grade_messages, 0},
               {"lean", 10, grade_leanness, 0}},
};
