/* The meaning of a parsed protocol: what only the whole tables show, and what is derived from them.
 *
 * parse.c has filled messages, states, events, actions and cells, and all names in them exist. Here the facts of each input are compiled
 * into event_of, then each check walks the tables once and reports every mistake under the line of the thing that is wrong.
 */
#include <stdarg.h>
#include <string.h>

#include "coherence/protocol.h"

const char *const coh_role_names[COH_ROLES] = {"cache", "directory"};
const char *const coh_right_names[3] = {"none", "read", "read-write"};
const char *const coh_class_names[COH_CLASSES] = {"access", "request", "forward", "response"};
const char *const coh_target_names[4] = {"home", "requestor", "owner", "sharers"};
const char *const coh_fact_words[3][2] = {{"from-other", "from-owner"}, {"others", "alone"}, {"more", "last"}};

struct judge {
  struct coh_protocol *protocol;
  const char *file;
  FILE *report;
  int mistakes;
};

static void mistake(struct judge *judge, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void mistake(struct judge *judge, int line, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  fprintf(judge->report, "%s:%d: ", judge->file, line);
  vfprintf(judge->report, format, arguments);
  fputc('\n', judge->report);
  va_end(arguments);
  judge->mistakes++;
}

int coh_builtin_actions(enum coh_role role, struct coh_action *actions)
{
  static const struct coh_action words[] = {
      {.name = "fill", .verb = COH_DO_FILL, .meaning = "the line takes the message's data"},
      {.name = "load", .verb = COH_DO_LOAD, .meaning = "the waiting load reads the line"},
      {.name = "store", .verb = COH_DO_STORE, .meaning = "the waiting store writes the line"},
      {.name = "write_memory", .verb = COH_DO_WRITE_MEMORY, .meaning = "memory takes the message's data"},
      {.name = "set_owner", .verb = COH_DO_SET_OWNER, .meaning = "the requestor becomes the owner"},
      {.name = "clear_owner", .verb = COH_DO_CLEAR_OWNER, .meaning = "nobody is the owner"},
      {.name = "add_sharer", .verb = COH_DO_ADD_SHARER, .meaning = "the requestor becomes a sharer"},
      {.name = "add_owner", .verb = COH_DO_ADD_OWNER, .meaning = "the owner becomes a sharer as well"},
      {.name = "remove_sharer", .verb = COH_DO_REMOVE_SHARER, .meaning = "the requestor is no sharer any more"},
      {.name = "clear_sharers", .verb = COH_DO_CLEAR_SHARERS, .meaning = "there are no sharers"},
  };
  int first = role == COH_CACHE ? 0 : 3, end = role == COH_CACHE ? 3 : 10;
  memcpy(actions, words + first, (size_t)(end - first) * sizeof *words);
  return end - first;
}

static bool cell_does(const struct coh_controller *controller, const struct coh_cell *cell, enum coh_verb verb)
{
  for (int i = 0; i < cell->count; i++)
    if (controller->actions[cell->actions[i]].verb == verb) return true;
  return false;
}

void coh_cell_text(const struct coh_controller *controller, const struct coh_cell *cell, char *text, size_t size)
{
  size_t used = 0;
  text[0] = 0;
  if (cell->kind == COH_CELL_STALL) snprintf(text, size, "stall");
  for (int i = 0; i < cell->count && used < size; i++)
    used += (size_t)snprintf(text + used, size - used, "%s%s", i ? " " : "", controller->actions[cell->actions[i]].name);
}

/* ---- Events ------------------------------------------------------------------------------------------------------ */

static void facts_text(int facts, int holding, char *text, size_t size)
{
  size_t used = 0;
  text[0] = 0;
  for (int bit = 0; bit < 3; bit++)
    if (facts & (1 << bit)) used += (size_t)snprintf(text + used, size - used, " %s", coh_fact_words[bit][(holding >> bit) & 1]);
}

/* Each combination of facts that the input's events look at must lead to exactly one of them. */
static void compile_input(struct judge *judge, enum coh_role role, int input)
{
  struct coh_controller *controller = &judge->protocol->controllers[role];
  char words[64];
  int facts = 0, last_line = 0;
  memset(controller->event_of[input], -1, sizeof controller->event_of[input]);
  for (int e = 0; e < controller->event_count; e++)
    if (controller->events[e].inputs >> input & 1) facts |= controller->events[e].facts, last_line = controller->events[e].line;
  controller->facts_of[input] = (uint8_t)facts;
  for (int holding = 0; last_line && holding < COH_FACTS; holding++) {
    int8_t *place = &controller->event_of[input][holding];
    facts_text(facts, holding, words, sizeof words);
    for (int e = 0; e < controller->event_count; e++) {
      const struct coh_event *event = &controller->events[e];
      if (!(event->inputs >> input & 1) || (holding & event->facts) != event->facts_true) continue;
      if (*place >= 0 && !(holding & ~facts))
        mistake(judge, event->line, "%s%s is event %s and event %s at once", judge->protocol->messages[input].name, words,
                controller->events[*place].name, event->name);
      *place = (int8_t)e;
    }
    if (*place < 0 && !(holding & ~facts))
      mistake(judge, last_line, "%s%s is no event of the %s", judge->protocol->messages[input].name, words, coh_role_names[role]);
  }
}

static void check_events_used(struct judge *judge, enum coh_role role)
{
  const struct coh_controller *controller = &judge->protocol->controllers[role];
  for (int e = 0; e < controller->event_count; e++) {
    bool used = false;
    for (int s = 0; s < controller->state_count; s++) used |= controller->cells[s][e].kind != COH_CELL_EMPTY;
    if (!used)
      mistake(judge, controller->events[e].line, "unused %s event %s: no transition is about it", coh_role_names[role],
              controller->events[e].name);
  }
  for (int access = 0; role == COH_CACHE && access < COH_FIRST_MESSAGE; access++)
    if (controller->event_of[access][0] < 0)
      mistake(judge, controller->events[0].line, "the cache has no event for the access %s", judge->protocol->messages[access].name);
}

/* ---- Messages and actions ---------------------------------------------------------------------------------------- */

static void check_actions_used(struct judge *judge, enum coh_role role)
{
  const struct coh_controller *controller = &judge->protocol->controllers[role];
  uint64_t used = 0;
  for (int s = 0; s < controller->state_count; s++)
    for (int e = 0; e < controller->event_count; e++)
      for (int i = 0; i < controller->cells[s][e].count; i++) used |= 1ull << controller->cells[s][e].actions[i];
  for (int a = 0; a < controller->action_count; a++)
    if (controller->actions[a].line && !(used >> a & 1))
      mistake(judge, controller->actions[a].line, "unused %s action %s", coh_role_names[role], controller->actions[a].name);
}

/* What is sent must be an event where it arrives. */
static void check_sends(struct judge *judge, enum coh_role role, uint32_t *sent)
{
  const struct coh_controller *controller = &judge->protocol->controllers[role];
  for (int a = 0; a < controller->action_count; a++) {
    const struct coh_action *action = &controller->actions[a];
    if (action->verb != COH_DO_SEND) continue;
    enum coh_role to = action->to == COH_TO_HOME ? COH_DIRECTORY : COH_CACHE;
    *sent |= 1u << action->message;
    if (judge->protocol->controllers[to].event_of[action->message][0] < 0)
      mistake(judge, action->line, "action %s sends %s, but the %s has no event for it", action->name,
              judge->protocol->messages[action->message].name, coh_role_names[to]);
  }
}

static void check_messages(struct judge *judge)
{
  uint32_t sent = 0;
  for (int role = 0; role < COH_ROLES; role++) check_sends(judge, (enum coh_role)role, &sent);
  for (int m = COH_FIRST_MESSAGE; m < judge->protocol->message_count; m++) {
    const struct coh_message_type *type = &judge->protocol->messages[m];
    bool received =
        judge->protocol->controllers[COH_CACHE].event_of[m][0] >= 0 || judge->protocol->controllers[COH_DIRECTORY].event_of[m][0] >= 0;
    if (!received && !(sent >> m & 1)) mistake(judge, type->line, "unused message %s", type->name);
    if (received && !(sent >> m & 1)) mistake(judge, type->line, "message %s is never sent", type->name);
  }
}

/* ---- States ------------------------------------------------------------------------------------------------------ */

static uint64_t successors(const struct coh_controller *controller, int state)
{
  uint64_t next = 0;
  for (int e = 0; e < controller->event_count; e++)
    if (controller->cells[state][e].kind == COH_CELL_GO) next |= 1ull << controller->cells[state][e].next;
  return next;
}

static void check_reachable(struct judge *judge, enum coh_role role)
{
  const struct coh_controller *controller = &judge->protocol->controllers[role];
  uint64_t reached = 1, before;
  do {
    before = reached;
    for (int s = 0; s < controller->state_count; s++)
      if (reached >> s & 1) reached |= successors(controller, s);
  } while (reached != before);
  for (int s = 0; s < controller->state_count; s++) {
    const struct coh_state *state = &controller->states[s];
    if (!(reached >> s & 1))
      mistake(judge, state->line, "%s state %s cannot be reached from %s", coh_role_names[role], state->name, controller->states[0].name);
    if (!(successors(controller, s) & ~(1ull << s)))
      mistake(judge, state->line, "%s state %s has no way out", coh_role_names[role], state->name);
  }
}

/* An access of the program that the right allows must hit, and one that it forbids must not. */
static void check_hit(struct judge *judge, const struct coh_state *state, const struct coh_cell *cell, enum coh_right needed,
                      const char *access)
{
  const struct coh_controller *cache = &judge->protocol->controllers[COH_CACHE];
  bool hits = cell->kind == COH_CELL_GO && cell_does(cache, cell, needed == COH_RIGHT_READ ? COH_DO_LOAD : COH_DO_STORE);
  if (state->right >= needed && !hits)
    mistake(judge, cell->line ? cell->line : state->line, "state %s has the right %s, but a %s does not hit there", state->name,
            coh_right_names[state->right], access);
  if (cell->kind == COH_CELL_GO && needed == COH_RIGHT_READ && state->right < needed && hits)
    mistake(judge, cell->line, "a load hits in state %s, which has no right to read", state->name);
}

/* A load may be done where the line may be read before or after, a store only where it may be written after. */
static void check_deeds(struct judge *judge, const struct coh_state *state, const struct coh_cell *cell)
{
  const struct coh_controller *cache = &judge->protocol->controllers[COH_CACHE];
  const struct coh_state *next = &cache->states[cell->next];
  if (cell_does(cache, cell, COH_DO_STORE) && next->right != COH_RIGHT_WRITE)
    mistake(judge, cell->line, "a store is done on the way from %s to %s, which has the right %s", state->name, next->name,
            coh_right_names[next->right]);
  if (cell_does(cache, cell, COH_DO_LOAD) && state->right == COH_RIGHT_NONE && next->right == COH_RIGHT_NONE &&
      !cell_does(cache, cell, COH_DO_FILL))
    mistake(judge, cell->line, "a load is done on the way from %s to %s, neither of which may be read", state->name, next->name);
}

static void check_rights(struct judge *judge)
{
  const struct coh_controller *cache = &judge->protocol->controllers[COH_CACHE];
  for (int s = 0; s < cache->state_count; s++) {
    const struct coh_state *state = &cache->states[s];
    if (cache->event_of[COH_LOAD][0] >= 0) check_hit(judge, state, &cache->cells[s][cache->event_of[COH_LOAD][0]], COH_RIGHT_READ, "load");
    if (cache->event_of[COH_STORE][0] >= 0)
      check_hit(judge, state, &cache->cells[s][cache->event_of[COH_STORE][0]], COH_RIGHT_WRITE, "store");
    for (int e = 0; e < cache->event_count; e++)
      if (cache->cells[s][e].kind == COH_CELL_GO) check_deeds(judge, state, &cache->cells[s][e]);
  }
}

static bool brings_data(const struct coh_protocol *protocol, const struct coh_event *event)
{
  for (int m = 0; m < protocol->message_count; m++)
    if (event->inputs >> m & 1 && !protocol->messages[m].data) return false;
  return true;
}

/* A cell may take data only from messages that carry it. */
static void check_data(struct judge *judge, enum coh_role role)
{
  const struct coh_controller *controller = &judge->protocol->controllers[role];
  enum coh_verb taking = role == COH_CACHE ? COH_DO_FILL : COH_DO_WRITE_MEMORY;
  for (int s = 0; s < controller->state_count; s++)
    for (int e = 0; e < controller->event_count; e++)
      if (cell_does(controller, &controller->cells[s][e], taking) && !brings_data(judge->protocol, &controller->events[e]))
        mistake(judge, controller->cells[s][e].line, "the message's data is taken, but %s carries none", controller->events[e].name);
}

/* ---- Which states hold data -------------------------------------------------------------------------------------- */

static bool cell_sends_data(const struct coh_protocol *protocol, const struct coh_cell *cell)
{
  const struct coh_controller *cache = &protocol->controllers[COH_CACHE];
  for (int i = 0; i < cell->count; i++) {
    const struct coh_action *action = &cache->actions[cell->actions[i]];
    if (action->verb == COH_DO_SEND && protocol->messages[action->message].data) return true;
  }
  return false;
}

/* Does the cell, or what follows it, use what the line held before? */
static bool cell_needs_data(const struct coh_protocol *protocol, const struct coh_cell *cell)
{
  const struct coh_controller *cache = &protocol->controllers[COH_CACHE];
  if (cell->kind != COH_CELL_GO || cell_does(cache, cell, COH_DO_FILL)) return false;
  return cell_sends_data(protocol, cell) || cell_does(cache, cell, COH_DO_LOAD) || cell_does(cache, cell, COH_DO_STORE) ||
         cache->states[cell->next].holds_data;
}

static void derive_holds_data(struct coh_protocol *protocol)
{
  struct coh_controller *cache = &protocol->controllers[COH_CACHE];
  for (bool again = true; again;) {
    again = false;
    for (int s = 0; s < cache->state_count; s++)
      for (int e = 0; e < cache->event_count && !cache->states[s].holds_data; e++)
        if (cell_needs_data(protocol, &cache->cells[s][e])) cache->states[s].holds_data = again = true;
  }
}

int coh_protocol_check(struct coh_protocol *protocol, const char *file, FILE *report)
{
  struct judge judge = {protocol, file, report, 0};
  for (int role = 0; role < COH_ROLES; role++)
    for (int m = 0; m < COH_MAX_MESSAGES; m++) compile_input(&judge, (enum coh_role)role, m);
  check_messages(&judge);
  check_rights(&judge);
  for (int r = 0; r < COH_ROLES; r++) {
    enum coh_role role = (enum coh_role)r;
    check_events_used(&judge, role);
    check_actions_used(&judge, role);
    check_reachable(&judge, role);
    check_data(&judge, role);
  }
  derive_holds_data(protocol);
  return judge.mistakes;
}
