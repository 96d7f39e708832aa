/* Judging protocol tables: see protocol.h. The proof is the library's checker (coherence/check.h), and what it finds is a shortest run; this
 * file reads from that run which of the typical mistakes it shows. It knows no names of states or messages, only rights and classes. */
#include <stdlib.h>
#include <string.h>

#include "page.h"
#include "protocol.h"

enum { BYTES_MOST = 512 << 20, ACCESSES = 20000, EVICT_ONE_IN = 8, DEVICES_LEAST = 4, DEVICES_MOST = 7 };

struct coh_protocol *protocol_load(struct lab *lab, const char *file)
{
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  char *text = lab_read(lab, file), *said = NULL;
  size_t size;
  FILE *report = open_memstream(&said, &size);
  if (!protocol || !report) lab_stop(lab, "out of memory");
  int result = coh_protocol_parse(text, file, protocol, report);
  fclose(report);
  if (result) {
    fputs(said, stdout);
    said[strcspn(said, "\n")] = 0;
    lab_stop(lab, "the file has mistakes; the first: %s", said);
  }
  free(text), free(said);
  return protocol;
}

int protocol_transient_states(const struct coh_protocol *protocol, enum coh_role role)
{
  int count = 0;
  for (int s = 0; s < protocol->controllers[role].state_count; s++) count += !protocol->controllers[role].states[s].stable;
  return count;
}

/* ---- What a counterexample shows --------------------------------------------------------------------------------- */

struct finding {
  const char *key, *help;
};

static const struct coh_message_type *type_of(const struct coh_ladder *ladder, const struct coh_message *message)
{
  return &ladder->protocol->messages[message->type];
}

static const struct coh_state *cache_state(const struct coh_ladder *ladder, int state)
{
  return &ladder->protocol->controllers[COH_CACHE].states[state];
}

/* What the device may do with the line at the end of the run. */
static enum coh_right right_at_end(const struct coh_ladder *ladder, int device)
{
  int state = 0;
  for (int s = 0; s < ladder->step_count; s++)
    if (ladder->steps[s].input.target == device && ladder->steps[s].result == COH_DONE) state = ladder->steps[s].state;
  return (enum coh_right)cache_state(ladder, state)->right;
}

/* A cache was sent a forward, and goes on with the right that it had. */
static bool ignored_a_forward(const struct coh_ladder *ladder, int device)
{
  for (int s = 0; s < ladder->step_count; s++) {
    const struct coh_ladder_step *step = &ladder->steps[s];
    if (step->input.target != device || type_of(ladder, &step->input)->class != COH_FORWARD) continue;
    if (step->from == step->state && cache_state(ladder, step->state)->right) return true;
  }
  return false;
}

static bool forward_is_under_way(const struct coh_ladder *ladder, int device)
{
  for (int a = 0; a < ladder->arrow_count; a++)
    if (ladder->arrows[a].received < 0 && ladder->arrows[a].message.target == device &&
        type_of(ladder, &ladder->arrows[a].message)->class == COH_FORWARD)
      return true;
  return false;
}

/* A reader that nobody told, that was told and did not care, or that will be told too late. */
static struct finding stale_reader(const struct coh_ladder *ladder)
{
  for (int d = 0; d < ladder->devices; d++) {
    if (right_at_end(ladder, d) != COH_RIGHT_READ && right_at_end(ladder, d) != COH_RIGHT_WRITE) continue;
    if (ignored_a_forward(ladder, d))
      return (struct finding){"keeps-copy",
                              "A cache was told that its copy is not to be used any more, and keeps the right to read it. See "
                              "which state it goes to in that step."};
    if (forward_is_under_way(ladder, d))
      return (struct finding){"did-not-wait", "One cache stores while the message that takes another's copy away is still under way. Who "
                                              "wants to write must first have got an ack of every sharer: that takes a state of its own."};
  }
  return (struct finding){"not-told", "One cache stores, another goes on reading its copy: nobody told it. When the directory gives the "
                                      "right to write, all sharers must hear of it."};
}

/* Data came to the home in a cell that does not write it. */
static bool home_dropped_data(const struct coh_ladder *ladder)
{
  for (int s = 0; s < ladder->step_count; s++) {
    const struct coh_ladder_step *step = &ladder->steps[s];
    char did[256];
    if (step->input.target >= 0 || !type_of(ladder, &step->input)->data || step->event < 0) continue;
    coh_ladder_did(ladder, step, did, sizeof did);
    if (!strstr(did, "write_memory")) return true;
  }
  return false;
}

/* A cache that could write gave its right up in a cell that sends no data to anybody. */
static bool owner_dropped_data(const struct coh_ladder *ladder)
{
  for (int s = 0; s < ladder->step_count; s++) {
    const struct coh_ladder_step *step = &ladder->steps[s];
    bool sends = false;
    if (step->input.target < 0 || cache_state(ladder, step->from)->right != COH_RIGHT_WRITE ||
        cache_state(ladder, step->state)->right == COH_RIGHT_WRITE)
      continue;
    for (int a = 0; a < ladder->arrow_count; a++) sends |= ladder->arrows[a].sent == s && type_of(ladder, &ladder->arrows[a].message)->data;
    if (!sends) return true;
  }
  return false;
}

static struct finding old_data(const struct coh_ladder *ladder)
{
  const struct coh_ladder_step *last = &ladder->steps[ladder->step_count - 1];
  bool from_home = type_of(ladder, &last->input)->data && last->input.source < 0;
  if (home_dropped_data(ladder))
    return (struct finding){"not-written", "The home got the modified line and did not write it to memory: write_memory."};
  if (owner_dropped_data(ladder))
    return (struct finding){"data-dropped", "A cache that had modified the line gave it up and sent the data to nobody."};
  if (from_home)
    return (struct finding){"old-memory", "The directory answered from memory although a cache had modified the line. It must forward such "
                                          "a request to the owner, who has the data."};
  return stale_reader(ladder);
}

/* What the last step received was sent by an eviction. */
static bool gives_the_line_up(const struct coh_ladder *ladder)
{
  for (int a = 0; a < ladder->arrow_count; a++)
    if (ladder->arrows[a].received == ladder->step_count - 1 && ladder->arrows[a].sent >= 0)
      return ladder->steps[ladder->arrows[a].sent].input.type == COH_EVICT;
  return false;
}

static struct finding no_cell(const struct coh_ladder *ladder)
{
  const struct coh_ladder_step *last = &ladder->steps[ladder->step_count - 1];
  const struct coh_message_type *type = type_of(ladder, &last->input);
  bool at_home = last->input.target < 0;
  if (type->ack && !at_home && cache_state(ladder, last->from)->right == COH_RIGHT_WRITE)
    return (struct finding){"did-not-wait",
                            "A cache writes already, and an ack of a sharer still comes: until then that sharer may have read "
                            "its copy. Who wants to write waits for the last ack, in a state of its own."};
  if (type->ack)
    return (struct finding){"ack-overtakes",
                            "An ack came in a state that does not expect it. Acks and data travel separately: an ack may "
                            "come before the data says how many there are. Each state that waits for both needs cells for both."};
  if (at_home && gives_the_line_up(ladder))
    return (struct finding){"late-put",
                            "A line given back arrives when its sender is not the owner any more: its message and another's request "
                            "have crossed. The directory must answer it, and do nothing else."};
  if (!at_home && type->class == COH_FORWARD && !cache_state(ladder, last->from)->stable)
    return (struct finding){"forward-while-waiting",
                            "A cache that waits is sent a request of another: both began at the same time, and the "
                            "other's came first. Look which stable state the directory thinks it is in."};
  if (!at_home && type->class == COH_FORWARD && last->from == 0)
    return (struct finding){"gone",
                            "The directory sends something to a cache that has given the line up. Either it must hear of that, or the "
                            "cache must answer from its initial state, too."};
  if (!at_home && type->class == COH_FORWARD)
    return (struct finding){"disagree",
                            "The directory takes this cache for something that it is not any more: in an earlier step one of the two "
                            "changed its state, and the other did not. Who is the owner now, by each of their tables?"};
  return (struct finding){"no-cell",
                          "A controller gets something in a state that has no cell for it. If that may happen, write the cell; if "
                          "not, an earlier step of the run is wrong."};
}

static struct finding find(const struct coh_check_result *result)
{
  const struct coh_ladder *ladder = &result->ladder;
  const char *said = result->sentence;
  if (!strncmp(said, "unhandled", 9)) return no_cell(ladder);
  if (!strncmp(said, "single writer", 13)) return stale_reader(ladder);
  if (!strncmp(said, "stale load", 10) || !strncmp(said, "lost store", 10) || !strncmp(said, "reads last", 10)) return old_data(ladder);
  if (!strncmp(said, "data is kept", 12))
    return home_dropped_data(ladder)
               ? (struct finding){"not-written", "The home got the modified line and did not write it to memory: write_memory."}
               : (struct finding){"data-dropped", "A cache that had modified the line gave it up and sent the data to nobody."};
  if (!strncmp(said, "directory covers", 16))
    return (struct finding){"not-noted",
                            "A cache has a copy that the directory does not know of: add_sharer, add_owner or set_owner is missing "
                            "where it got it, or one is taken away too many."};
  if (!strncmp(said, "deadlock", 8))
    return (struct finding){"deadlock",
                            "Messages are under way, and whoever they go to stalls them. Who is to leave that state, and by which "
                            "message? Responses and forwards must never wait for a request."};
  return (struct finding){"waits-for-ever", "A controller stays in a state that waits for a message which nobody will send: see who should "
                                            "have sent it, and in which cell."};
}

static void show_broken(struct lab *lab, const struct coh_check_result *result, const char *file)
{
  struct finding finding = find(result);
  printf("\n");
  coh_ladder_text(stdout, &result->ladder);
  printf("\n");
  FILE *page = lab_picture(lab, file, "the shortest run that breaks it, to step through");
  coh_ladder_html(page, &result->ladder);
  fclose(page);
  lab_mistake(lab, finding.key, "%s", finding.help);
}

bool protocol_prove(struct lab *lab, const struct coh_protocol *protocol, const struct coh_check_options *options, int points,
                    const char *what, const char *page)
{
  struct coh_check_result result;
  struct coh_check_options bounded = *options;
  bounded.bytes_most = BYTES_MOST;
  int error = coh_check(protocol, &bounded, &result);
  if (error) lab_stop(lab, "the checker cannot run: %s", strerror(-error));
  if (result.verdict == COH_BROKEN) show_broken(lab, &result, page);
  lab_check(lab, points, result.verdict == COH_PROVED, what, "%s",
            result.verdict == COH_BROKEN ? result.sentence : "it has more states than there is room for: does something grow without end?");
  coh_ladder_free(&result.ladder);
  return result.verdict == COH_PROVED;
}

void protocol_must_be_right(struct lab *lab, const struct coh_protocol *protocol, bool atomic)
{
  struct coh_check_options options = {.sharers = "full", .caches = 2, .lines = 1, .atomic = atomic, .bytes_most = BYTES_MOST};
  struct coh_check_result result;
  int error = coh_check(protocol, &options, &result);
  coh_ladder_free(&result.ladder);
  if (error || result.verdict != COH_PROVED) lab_stop(lab, "this is looked at when it is coherent");
}

/* ---- What it costs ----------------------------------------------------------------------------------------------- */

static void add_ran(struct machine *sum, const struct machine *machine)
{
  for (int role = 0; role < COH_ROLES; role++)
    for (int s = 0; s < COH_MAX_STATES; s++)
      for (int e = 0; e < COH_MAX_EVENTS; e++) sum->ran[role][s][e] += machine->ran[role][s][e];
}

/* "2 GetS, 1 Data" */
static void sent_text(const struct machine *machine, const uint64_t *before, char *text, size_t size)
{
  size_t used = 0;
  snprintf(text, size, "nothing");
  for (int m = COH_FIRST_MESSAGE; m < machine->protocol->message_count && used < size; m++)
    if (machine->sent[m] != before[m])
      used += (size_t)snprintf(text + used, size - used, "%s%llu %s", used ? ", " : "", (unsigned long long)(machine->sent[m] - before[m]),
                               machine->protocol->messages[m].name);
}

/* Runs the pattern up to the first access that costs more or less than it should; false there, and `help` says which. */
static bool compare(struct machine *machine, const struct contract *contract, const struct pattern *pattern, char *help, size_t size)
{
  static const char *const accesses[] = {"load", "store", "eviction"};
  struct pattern so_far = *pattern;
  struct cost before = {0};
  for (int i = 0; i < pattern->count; i++) {
    uint64_t sent[COH_MAX_MESSAGES], messages = machine->messages, data = machine->data;
    char names[160];
    memcpy(sent, machine->sent, sizeof sent);
    if (!machine_access(machine, pattern->steps[i].type, pattern->steps[i].device)) {
      snprintf(help, size, "access %d: %s", i + 1, machine->wrong);
      return false;
    }
    so_far.count = i + 1;
    struct cost cost = contract_cost(contract, &so_far);
    messages = machine->messages - messages, data = machine->data - data;
    if (messages != cost.messages - before.messages || data != cost.data - before.data) {
      sent_text(machine, sent, names, sizeof names);
      snprintf(help, size, "access %d, a %s by C%d, sends %llu messages, %llu with the line (%s); expected %llu, %llu with the line", i + 1,
               accesses[pattern->steps[i].type], pattern->steps[i].device, (unsigned long long)messages, (unsigned long long)data, names,
               (unsigned long long)(cost.messages - before.messages), (unsigned long long)(cost.data - before.data));
      return false;
    }
    before = cost;
  }
  return true;
}

bool protocol_price(struct lab *lab, const struct coh_protocol *protocol, const struct contract *contract, const struct pattern *pattern,
                    int points, struct machine *ran)
{
  struct machine machine;
  char help[LAB_TEXT] = "", what[96];
  machine_init(&machine, protocol, pattern->devices);
  bool same = compare(&machine, contract, pattern, help, sizeof help);
  struct cost cost = contract_cost(contract, pattern);
  snprintf(what, sizeof what, "%s, %d accesses: %llu messages, %llu with the line", pattern->name, pattern->count,
           (unsigned long long)cost.messages, (unsigned long long)cost.data);
  add_ran(ran, &machine);
  return lab_check(lab, points, same, what, "%s", help);
}

bool protocol_every_access_ends(struct lab *lab, const struct coh_protocol *protocol, int points, struct machine *ran)
{
  struct machine machine;
  uint64_t seed = lab_seed(lab, "accesses");
  int devices = (int)lab_number(lab, "devices at random", 3, 6);
  machine_init(&machine, protocol, devices);
  for (int i = 0; i < ACCESSES && !machine.wrong[0]; i++) {
    int device = (int)(lab_draw(&seed) % (uint64_t)devices), type = (int)(lab_draw(&seed) % 2 ? COH_STORE : COH_LOAD);
    if (machine.caches[device].state && lab_draw(&seed) % EVICT_ONE_IN == 0) type = COH_EVICT;
    machine_access(&machine, type, device);
  }
  add_ran(ran, &machine);
  return lab_check(lab, points, !machine.wrong[0], "every access ends, and is done", "%s", machine.wrong);
}

/* ---- The contract of labs 4 to 6 --------------------------------------------------------------------------------- */

struct contract protocol_contract(struct lab *lab, bool confirms)
{
  bool second = lab_number(lab, "@contract", 0, 1);
  return (struct contract){.confirms = confirms, .relays = second, .notices = second};
}

void protocol_say_contract(struct lab *lab)
{
  struct contract contract = protocol_contract(lab, false);
  lab_say(lab, "  your number 1: an owner %s",
          contract.relays ? "relays: its data goes to the home, which sends it on" : "answers by itself");
  lab_say(lab, "  your number 2: a clean copy is given up %s", contract.notices ? "with notice (PutS)" : "silently");
}

void protocol_patterns(struct lab *lab, struct pattern patterns[PROTOCOL_PATTERNS])
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

bool protocol_costs(const struct coh_protocol *protocol, const struct contract *contract, const struct pattern *pattern)
{
  struct machine machine;
  struct cost cost = contract_cost(contract, pattern);
  machine_init(&machine, protocol, pattern->devices);
  return pattern_run(pattern, &machine) && machine.messages == cost.messages && machine.data == cost.data;
}

/* Right, but by other numbers than the student's. */
static void look_for_other_contract(struct lab *lab, const struct coh_protocol *protocol, const struct contract *mine,
                                    const struct pattern *patterns)
{
  for (int other = 0; other < 4; other++) {
    struct contract contract = *mine;
    bool all = true;
    contract.relays = other & 1, contract.notices = other >> 1;
    if (contract.relays == mine->relays && contract.notices == mine->notices) continue;
    for (int p = 0; all && p < PROTOCOL_PATTERNS; p++) all = protocol_costs(protocol, &contract, &patterns[p]);
    if (!all) continue;
    lab_mistake(lab, "other-contract",
                "This table follows other numbers: an owner %s, and clean copies are given up %s. Yours are at the top.",
                contract.relays ? "relays" : "answers by itself", contract.notices ? "with notice" : "silently");
  }
}

void protocol_price_all(struct lab *lab, const struct coh_protocol *protocol, const struct contract *contract, const int *points,
                        struct machine *ran)
{
  static struct pattern patterns[PROTOCOL_PATTERNS];
  bool all = true;
  protocol_patterns(lab, patterns);
  for (int p = 0; p < PROTOCOL_PATTERNS; p++) all &= protocol_price(lab, protocol, contract, &patterns[p], points[p], ran);
  if (!all) look_for_other_contract(lab, protocol, contract, patterns);
}

void protocol_must_follow(struct lab *lab, const struct coh_protocol *protocol, const struct contract *contract)
{
  static struct pattern patterns[PROTOCOL_PATTERNS];
  protocol_patterns(lab, patterns);
  for (int p = 0; p < PROTOCOL_PATTERNS; p++)
    if (!protocol_costs(protocol, contract, &patterns[p]))
      lab_stop(lab, "how lean it is counts when it sends the messages that were agreed on");
}

void protocol_count(struct lab *lab, int points, int count, int enough, const char *what)
{
  lab_credit(lab, points - 2 * (count > enough ? count - enough : 0), points, what, "it has %d; %d are enough", count, enough);
}

/* ---- The table, lit ---------------------------------------------------------------------------------------------- */

static uint64_t most_ran(const struct machine *ran)
{
  uint64_t most = 1;
  for (int role = 0; role < COH_ROLES; role++)
    for (int s = 0; s < COH_MAX_STATES; s++)
      for (int e = 0; e < COH_MAX_EVENTS; e++)
        if (ran->ran[role][s][e] > most) most = ran->ran[role][s][e];
  return most;
}

/* ["c-0-1","I on Store","3"] */
static void put_cells(FILE *out, const struct coh_protocol *protocol, const struct machine *ran)
{
  for (int role = 0; role < COH_ROLES; role++) {
    const struct coh_controller *controller = &protocol->controllers[role];
    for (int s = 0; s < controller->state_count; s++)
      for (int e = 0; e < controller->event_count; e++)
        if (controller->cells[s][e].kind == COH_CELL_GO)
          fprintf(out, "[\"%c-%d-%d\",\"%s, %s on %s\",%llu],\n", coh_role_names[role][0], s, e, coh_role_names[role],
                  controller->states[s].name, controller->events[e].name, (unsigned long long)ran->ran[role][s][e]);
  }
}

static const char lighting[] =
    "for(const [id,name,count] of cells){const cell=document.getElementById(id);cell.classList.add('item');cell.dataset.count=count;\n"
    " cell.dataset.say=name+': '+(count?'ran '+count+(count>1?' times':' time'):'never ran')+'. '+cell.textContent;\n"
    " cell.insertAdjacentHTML('beforeend','<div class=\"ran\">'+(count||'never')+'</div>');\n"
    " const heat=count?0.12+0.88*Math.log(1+count)/Math.log(1+most):0;\n"
    " cell.style.background=count?`rgba(255,190,40,${heat.toFixed(2)})`:'#f3d6d3'}\n";

void protocol_table_page(struct lab *lab, const struct coh_protocol *protocol, const struct machine *ran, const char *page)
{
  char title[64];
  snprintf(title, sizeof title, "%s: how often each cell ran", protocol->name);
  FILE *out = lab_picture(lab, page, "the table, its cells lit by how often they ran");
  page_begin(out, title, "Over all access patterns of this grading. The warmer, the more often; red: never.");
  coh_print_html_style(out);
  fputs("<style>body{font-size:18px;max-width:none}table.coh{font-size:15px}.coh thead "
        "th{top:3.5em}.ran{color:#55657a;font-size:.85em;text-align:right}</style>\n",
        out);
  for (int role = 0; role < COH_ROLES; role++) {
    page_heading(out, role ? "The directory" : "The cache");
    coh_print_html_table(out, protocol, (enum coh_role)role);
  }
  fputs("<script>\nconst cells=[\n", out);
  put_cells(out, protocol, ran);
  fprintf(out, "];\nconst most=%llu;\n%s</script>\n", (unsigned long long)most_ran(ran), lighting);
  page_end(out);
}
