/* Lab 4: MSI for atomic transactions. */
#include <stdlib.h>

#include "protocol.h"

static const int points_of[PROTOCOL_PATTERNS] = {2, 4, 4, 4, 8, 8};

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
  struct machine alone;
  machine_init(&alone, protocol, 1);
  static const uint8_t accesses[] = {COH_LOAD, COH_STORE, COH_LOAD, COH_EVICT, COH_STORE, COH_EVICT, COH_LOAD, COH_EVICT, COH_LOAD};
  for (int i = 0; i < (int)sizeof accesses; i++) machine_access(&alone, accesses[i], 0);
  lab_check(lab, 5, !alone.wrong[0], "a cache that is alone reads what it wrote", "%s", alone.wrong);
  if (!protocol_prove(lab, protocol, &options, 15, "2 caches: coherent in every state", "ladder.html"))
    lab_stop(lab, "3 caches are looked at when 2 are right");
  options.caches = 3;
  protocol_prove(lab, protocol, &options, 20, "3 caches: coherent in every state", "ladder.html");
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

static void grade_messages(struct lab *lab)
{
  static struct machine ran;
  struct coh_protocol *protocol = protocol_load(lab, "msi.protocol");
  struct contract contract = protocol_contract(lab, false);
  protocol_must_be_right(lab, protocol, true);
  protocol_every_access_ends(lab, protocol, 10, &ran);
  protocol_price_all(lab, protocol, &contract, points_of, &ran);
  protocol_table_page(lab, protocol, &ran, "table.html");
  look_for_sharing(lab, protocol);
}

static void grade_leanness(struct lab *lab)
{
  struct coh_protocol *protocol = protocol_load(lab, "msi.protocol");
  struct contract contract = protocol_contract(lab, false);
  int messages = protocol->message_count - COH_FIRST_MESSAGE, most = contract.notices ? 10 : 9;
  protocol_must_be_right(lab, protocol, true);
  protocol_must_follow(lab, protocol, &contract);
  lab_check(lab, 4, protocol->controllers[COH_CACHE].state_count <= 3, "a cache of 3 states",
            "it has %d; which of them differ in what they do?", protocol->controllers[COH_CACHE].state_count);
  lab_check(lab, 3, protocol->controllers[COH_DIRECTORY].state_count <= 3, "a directory of 3 states", "it has %d",
            protocol->controllers[COH_DIRECTORY].state_count);
  lab_check(lab, 3, messages <= most, "no message type more than needed", "it has %d; %d are enough", messages, most);
}

const struct lab_plan lab_plan = {
    .number = 4,
    .title = "MSI, one thing at a time",
    .task = protocol_say_contract,
    .groups = {{"the table", 10, grade_table, 0},
               {"coherent", 40, grade_coherence, 0},
               {"messages", 40, grade_messages, 0},
               {"lean", 10, grade_leanness, 0}},
};
