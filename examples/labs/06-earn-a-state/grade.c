/* Lab 6: MESI and MOESI, and what their states save. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "page.h"
#include "protocol.h"

enum { PREDICTED = 4, NUMBERS = 4 };

static const int points_mesi[PROTOCOL_PATTERNS] = {3, 2, 2, 2, 2, 3}, points_moesi[PROTOCOL_PATTERNS] = {2, 4, 3, 3, 2, 2};

/* What MSI, MESI and MOESI cost in this lab. */
static void make_contracts(struct lab *lab, struct contract contracts[3])
{
  contracts[0] = contracts[1] = contracts[2] = protocol_contract(lab, true);
  contracts[1].exclusive = contracts[2].exclusive = contracts[2].owned = true;
  contracts[2].relays = false;
}

static void task(struct lab *lab)
{
  static struct pattern patterns[PROTOCOL_PATTERNS];
  protocol_say_contract(lab);
  protocol_patterns(lab, patterns);
  const struct pattern *readers = &patterns[2], *writer = &patterns[3];
  int rounds = patterns[0].count / 3, loads = 0;
  for (int i = 1; i < readers->count && readers->steps[i].type == COH_LOAD; i++) loads++;
  lab_say(lab, "  your patterns: %d rounds of each; %d devices; producer-consumer has %d readers; in read-mostly device %d writes", rounds,
          patterns[1].devices, loads, writer->steps[writer->count - 1].device);
}

/* ---- The prediction ---------------------------------------------------------------------------------------------- */

/* The four numbers behind the name at the beginning of a line; how many there are. */
static int read_row(const char *text, const char *name, long numbers[NUMBERS])
{
  size_t length = strlen(name);
  for (; text; text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL) {
    if (strncmp(text, name, length) || !isspace((unsigned char)text[length])) continue;
    return sscanf(text + length, "%ld %ld %ld %ld", &numbers[0], &numbers[1], &numbers[2], &numbers[3]);
  }
  return 0;
}

static void true_row(const struct contract contracts[3], const struct pattern *pattern, long numbers[NUMBERS])
{
  struct cost costs[3];
  for (int c = 0; c < 3; c++) costs[c] = contract_cost(&contracts[c], pattern);
  for (int c = 0; c < 2; c++) {
    numbers[2 * c] = (long)costs[c + 1].messages - (long)costs[c].messages;
    numbers[2 * c + 1] = (long)costs[c + 1].data - (long)costs[c].data;
  }
}

static bool is_predicted(struct lab *lab)
{
  static struct pattern patterns[PROTOCOL_PATTERNS];
  char *text = lab_read(lab, "prediction.txt");
  bool whole = true;
  long numbers[NUMBERS];
  protocol_patterns(lab, patterns);
  for (int p = 0; p < PREDICTED; p++) whole &= read_row(text, patterns[p].name, numbers) == NUMBERS;
  free(text);
  return whole;
}

/* Says which numbers are wrong, not what they should be. */
static void judge_row(struct lab *lab, const struct pattern *pattern, const long *said, const long *right)
{
  static const char *const names[NUMBERS] = {"MESI, messages", "MESI, with the line", "MOESI, messages", "MOESI, with the line"};
  char wrong[160] = "", what[64];
  int points = 0;
  for (int n = 0; n < NUMBERS; n++) {
    points += said[n] == right[n];
    if (said[n] != right[n])
      snprintf(wrong + strlen(wrong), sizeof wrong - strlen(wrong), "%s%s (%s)", wrong[0] ? "; " : "", names[n],
               said[n] > right[n] ? "too high" : "too low");
    if (said[n] < 0 && right[n] >= 0)
      lab_mistake(lab, "no-saving",
                  "You predict that a state saves something where it saves nothing. E helps who reads and then writes what "
                  "nobody else has; a reader who takes a line from another is not alone.");
  }
  snprintf(what, sizeof what, "prediction for %s", pattern->name);
  lab_credit(lab, points, NUMBERS, what, "look again at %s", wrong);
}

static void grade_prediction(struct lab *lab)
{
  static struct pattern patterns[PROTOCOL_PATTERNS];
  struct contract contracts[3];
  long said[NUMBERS] = {0}, right[NUMBERS];
  make_contracts(lab, contracts);
  protocol_patterns(lab, patterns);
  if (!is_predicted(lab)) lab_stop(lab, "prediction.txt: 4 lines with 4 numbers each are expected; the traffic is measured after that");
  char *text = lab_read(lab, "prediction.txt");
  for (int p = 0; p < PREDICTED; p++) {
    read_row(text, patterns[p].name, said);
    true_row(contracts, &patterns[p], right);
    judge_row(lab, &patterns[p], said, right);
  }
  free(text);
}

/* ---- The protocols ----------------------------------------------------------------------------------------------- */

/* Copied from lab 5 first; the file is not there when the lab begins. */
static struct coh_protocol *load(struct lab *lab, const char *file, const char *from)
{
  FILE *there = fopen(lab_work(lab, file), "re");
  if (!there) lab_stop(lab, "there is no %s yet: copy your %s to it, and add the state", file, from);
  fclose(there);
  return protocol_load(lab, file);
}

static bool all_cost(const struct coh_protocol *protocol, const struct contract *contract, const struct pattern *patterns)
{
  bool all = true;
  for (int p = 0; p < PROTOCOL_PATTERNS; p++) all = all && protocol_costs(protocol, contract, &patterns[p]);
  return all;
}

static void grade_traffic(struct lab *lab, const struct coh_protocol *protocol, const struct contract *contract, const int *points,
                          const char *table)
{
  static struct machine ran;
  if (!is_predicted(lab)) lab_stop(lab, "the traffic is measured when prediction.txt is filled in");
  protocol_must_be_right(lab, protocol, false);
  protocol_price_all(lab, protocol, contract, points, &ran);
  protocol_table_page(lab, protocol, &ran, table);
}

static void prove(struct lab *lab, const struct coh_protocol *protocol, int points, const char *page)
{
  struct coh_check_options options = {.sharers = "full", .caches = 2, .lines = 1};
  if (!protocol_prove(lab, protocol, &options, points, "2 caches: coherent in every state", page))
    lab_stop(lab, "3 caches are looked at when 2 are right");
  options.caches = 3;
  protocol_prove(lab, protocol, &options, points, "3 caches: coherent in every state", page);
}

static struct coh_protocol *load_mesi(struct lab *lab)
{
  return load(lab, "mesi.protocol", "msi.protocol of lab 5");
}

static struct coh_protocol *load_moesi(struct lab *lab)
{
  return load(lab, "moesi.protocol", "mesi.protocol");
}

/* Coherent, and with the state for which the group is: nobody is credited for a copy of what was there before. */
static void must_have(struct lab *lab, const struct coh_protocol *protocol, const struct contract *before, const char *key,
                      const char *help)
{
  static struct pattern patterns[PROTOCOL_PATTERNS];
  struct contract other = *before;
  protocol_patterns(lab, patterns);
  other.relays = !before->relays;
  if (!all_cost(protocol, before, patterns) && !all_cost(protocol, &other, patterns)) return;
  lab_mistake(lab, key, "%s", help);
  lab_stop(lab, "it costs what the protocol before costs");
}

static const char no_e[] =
    "This costs what MSI costs. Who reads a line that nobody has must become its owner, so that its first store needs no "
    "message.";
static const char no_o[] =
    "This costs what MESI costs. An owner whose line is read must stay its owner and send the line once, to the reader; "
    "memory need not hear of it.";

static void grade_mesi(struct lab *lab)
{
  struct contract contracts[3];
  struct coh_protocol *protocol = load_mesi(lab);
  make_contracts(lab, contracts);
  must_have(lab, protocol, &contracts[0], "no-E", no_e);
  prove(lab, protocol, 10, "ladder-mesi.html");
}

static void grade_mesi_traffic(struct lab *lab)
{
  struct contract contracts[3];
  make_contracts(lab, contracts);
  grade_traffic(lab, load_mesi(lab), &contracts[1], points_mesi, "table-mesi.html");
}

static void grade_moesi(struct lab *lab)
{
  struct contract contracts[3];
  struct coh_protocol *protocol = load_moesi(lab);
  make_contracts(lab, contracts);
  must_have(lab, protocol, &contracts[1], "no-O", no_o);
  prove(lab, protocol, 12, "ladder-moesi.html");
}

/* ---- Before and after -------------------------------------------------------------------------------------------- */

static double measured(const struct coh_protocol *protocol, const struct pattern *pattern, bool data)
{
  struct machine machine;
  machine_init(&machine, protocol, pattern->devices);
  pattern_run(pattern, &machine);
  return (double)(data ? machine.data : machine.messages);
}

static void draw_bars(FILE *out, const struct coh_protocol *const protocols[2], const struct contract *msi, const struct pattern *shown,
                      bool data)
{
  static const char *const series[] = {"MSI", "MESI, yours", "MOESI, yours"};
  const char *names[PREDICTED];
  double values[PREDICTED * 3];
  for (int p = 0; p < PREDICTED; p++) {
    struct cost cost = contract_cost(msi, &shown[p]);
    names[p] = shown[p].name;
    values[3 * p] = (double)(data ? cost.data : cost.messages);
    for (int s = 0; s < 2; s++) values[3 * p + 1 + s] = measured(protocols[s], &shown[p], data);
  }
  page_bars(out, &(struct page_bars){.title = data ? "Messages that carry the line" : "All messages",
                                     .unit = "messages",
                                     .group_count = PREDICTED,
                                     .series_count = 3,
                                     .groups = names,
                                     .series = series,
                                     .values = values});
}

static void grade_moesi_traffic(struct lab *lab)
{
  static struct pattern patterns[PROTOCOL_PATTERNS];
  struct contract contracts[3];
  struct coh_protocol *moesi = load_moesi(lab), *mesi = load_mesi(lab);
  make_contracts(lab, contracts);
  grade_traffic(lab, moesi, &contracts[2], points_moesi, "table-moesi.html");
  protocol_patterns(lab, patterns);
  FILE *page = lab_picture(lab, "bars.html", "messages before and after, by pattern");
  page_begin(page, "What E and O save", "The same accesses, three protocols. Arrow keys go from bar to bar.");
  for (int data = 0; data < 2; data++) draw_bars(page, (const struct coh_protocol *const[]){mesi, moesi}, &contracts[0], patterns, data);
  page_end(page);
}

static void grade_leanness(struct lab *lab)
{
  struct contract contracts[3];
  struct coh_protocol *mesi = load_mesi(lab), *moesi = load_moesi(lab);
  make_contracts(lab, contracts);
  int more = contracts[0].notices;
  const struct coh_controller *caches[] = {&mesi->controllers[COH_CACHE], &moesi->controllers[COH_CACHE]};
  protocol_must_be_right(lab, mesi, false);
  protocol_must_be_right(lab, moesi, false);
  protocol_must_follow(lab, mesi, &contracts[1]);
  protocol_must_follow(lab, moesi, &contracts[2]);
  protocol_count(lab, 3, caches[0]->state_count, 12 + more, "MESI: no state of the cache more than needed");
  protocol_count(lab, 3, caches[1]->state_count, 16 + more, "MOESI: no state of the cache more than needed");
  protocol_count(lab, 2, mesi->message_count - COH_FIRST_MESSAGE, 12 + more, "MESI: no message type more than needed");
  protocol_count(lab, 2, moesi->message_count - COH_FIRST_MESSAGE, 14 + more, "MOESI: no message type more than needed");
}

const struct lab_plan lab_plan = {
    .number = 6,
    .title = "Earn a state",
    .task = task,
    .groups = {{"the prediction", 16, grade_prediction, 0},
               {"MESI, coherent", 20, grade_mesi, 20},
               {"MESI, traffic", 14, grade_mesi_traffic, 0},
               {"MOESI, coherent", 24, grade_moesi, 20},
               {"MOESI, traffic", 16, grade_moesi_traffic, 0},
               {"lean", 10, grade_leanness, 0}},
};
