/* Reads the protocol language (documented in README.md) into the tables of protocol.h.
 *
 * A file is a sequence of lines; `#` begins a comment, and ` : ` the meaning of what was named before. A line that is a heading
 * ("messages", "cache states" ...) begins a section; every other line is one entry of its section, read by one small function.
 * Sections stand in a fixed order, so that each name is known before it is used. A mistake is reported with its line and reading goes
 * on with the next line, so that one run reports all of them. What can only be seen in the whole is left to protocol.c.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "coherence/protocol.h"

enum { MAX_WORDS = 64, MAX_LINE = 512 };

struct reader {
  struct coh_protocol *protocol;
  const char *file;
  FILE *report;
  int line, mistakes, section; /* section -1: before the first */
  unsigned sections_seen;
  enum coh_role role;
  char *words[MAX_WORDS];
  int word_count;
  const char *meaning;
};

static void mistake(struct reader *reader, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void mistake(struct reader *reader, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  fprintf(reader->report, "%s:%d: ", reader->file, reader->line);
  vfprintf(reader->report, format, arguments);
  fputc('\n', reader->report);
  va_end(arguments);
  reader->mistakes++;
}

static bool is(const char *word, const char *wanted)
{
  return strcmp(word, wanted) == 0;
}

static struct coh_controller *controller_of(struct reader *reader)
{
  return &reader->protocol->controllers[reader->role];
}

/* Copies the name and the meaning of the current line; false when the name cannot be one. */
static bool take_name(struct reader *reader, const char *word, char *name, char *meaning)
{
  if (strlen(word) >= COH_NAME_SIZE) {
    mistake(reader, "the name \"%s\" is longer than %d characters", word, COH_NAME_SIZE - 1);
    return false;
  }
  if (strpbrk(word, ",<>&\"'\\")) {
    mistake(reader, "the name \"%s\" has a character that names may not have; use letters, digits, - and _", word);
    return false;
  }
  snprintf(name, COH_NAME_SIZE, "%s", word);
  if (meaning) snprintf(meaning, COH_MEANING_SIZE, "%s", reader->meaning);
  return true;
}

/* ---- Finding names ----------------------------------------------------------------------------------------------- */

static int find_word(const char *const *words, int count, const char *word)
{
  for (int i = 0; i < count; i++)
    if (is(words[i], word)) return i;
  return -1;
}

static int find_message(const struct coh_protocol *protocol, const char *name)
{
  for (int i = 0; i < protocol->message_count; i++)
    if (is(protocol->messages[i].name, name)) return i;
  return -1;
}

static int find_state(const struct coh_controller *controller, const char *name)
{
  for (int i = 0; i < controller->state_count; i++)
    if (is(controller->states[i].name, name)) return i;
  return -1;
}

static int find_event(const struct coh_controller *controller, const char *name)
{
  for (int i = 0; i < controller->event_count; i++)
    if (is(controller->events[i].name, name)) return i;
  return -1;
}

static int find_action(const struct coh_controller *controller, const char *name)
{
  for (int i = 0; i < controller->action_count; i++)
    if (is(controller->actions[i].name, name)) return i;
  return -1;
}

/* ---- One line of each section ------------------------------------------------------------------------------------ */

static bool is_room(struct reader *reader, int count, int most, const char *what)
{
  if (count < most) return true;
  mistake(reader, "more than %d %s", most, what);
  return false;
}

static bool has_words(struct reader *reader, int least, int most, const char *shape)
{
  if (reader->word_count >= least && reader->word_count <= most) return true;
  mistake(reader, "expected \"%s\"", shape);
  return false;
}

static void read_carries(struct reader *reader, const char *text, struct coh_message_type *type)
{
  type->data = is(text, "data") || is(text, "data+acks");
  type->acks = is(text, "acks") || is(text, "data+acks");
  type->ack = is(text, "ack");
  if (!type->data && !type->acks && !type->ack && !is(text, "-"))
    mistake(reader, "message %s carries \"%s\"; expected -, data, acks, data+acks or ack", type->name, text);
}

static void read_message(struct reader *reader)
{
  struct coh_protocol *protocol = reader->protocol;
  struct coh_message_type type = {.line = reader->line};
  if (!has_words(reader, 3, 3, "NAME request|forward|response -|data|acks|data+acks|ack : meaning") ||
      !is_room(reader, protocol->message_count, COH_MAX_MESSAGES, "messages") ||
      !take_name(reader, reader->words[0], type.name, type.meaning))
    return;
  int class = find_word(coh_class_names, COH_CLASSES, reader->words[1]);
  if (class <= COH_ACCESS)
    mistake(reader, "message %s is of class \"%s\"; expected request, forward or response", type.name, reader->words[1]);
  if (find_message(protocol, type.name) >= 0) mistake(reader, "message %s is declared twice", type.name);
  type.class = (uint8_t)(class < 0 ? 0 : class);
  read_carries(reader, reader->words[2], &type);
  protocol->messages[protocol->message_count++] = type;
}

/* A cache's state has an access right, a directory's has none. */
static void read_state(struct reader *reader)
{
  struct coh_controller *controller = controller_of(reader);
  struct coh_state state = {.line = reader->line};
  bool cache = reader->role == COH_CACHE;
  const char *transient = cache ? "transient" : "busy";
  const char *shape = cache ? "NAME none|read|read-write stable|transient : meaning" : "NAME stable|busy : meaning";
  if (!has_words(reader, cache ? 3 : 2, cache ? 3 : 2, shape) || !is_room(reader, controller->state_count, COH_MAX_STATES, "states") ||
      !take_name(reader, reader->words[0], state.name, state.meaning))
    return;
  const char *kind = reader->words[cache ? 2 : 1];
  int right = cache ? find_word(coh_right_names, 3, reader->words[1]) : COH_RIGHT_NONE;
  if (right < 0) mistake(reader, "state %s has the right \"%s\"; expected none, read or read-write", state.name, reader->words[1]);
  if (!is(kind, "stable") && !is(kind, transient))
    mistake(reader, "state %s is \"%s\"; expected stable or %s", state.name, kind, transient);
  if (find_state(controller, state.name) >= 0) mistake(reader, "%s state %s is declared twice", coh_role_names[reader->role], state.name);
  state.right = (uint8_t)(right < 0 ? 0 : right);
  state.stable = is(kind, "stable");
  if (!controller->state_count && !state.stable)
    mistake(reader, "state %s is the first and so the initial one, but not stable", state.name);
  controller->states[controller->state_count++] = state;
}

static void read_fact(struct reader *reader, const char *word, struct coh_event *event)
{
  for (int bit = 0; bit < 3; bit++)
    for (int holds = 0; holds < 2; holds++)
      if (is(coh_fact_words[bit][holds], word)) {
        bool fits = (reader->role == COH_CACHE) == (1 << bit == COH_FACT_LAST);
        if (!fits) mistake(reader, "event %s: a %s does not know whether \"%s\"", event->name, coh_role_names[reader->role], word);
        if (event->facts & (1 << bit)) mistake(reader, "event %s: \"%s\" and another word about the same fact", event->name, word);
        event->facts |= (uint8_t)(1 << bit);
        event->facts_true |= (uint8_t)(holds << bit);
        return;
      }
  mistake(reader, "event %s: \"%s\" is not a fact; expected %s", event->name, word,
          reader->role == COH_CACHE ? "last or more" : "from-owner, from-other, alone or others");
}

static void read_inputs(struct reader *reader, char *list, struct coh_event *event)
{
  char *rest;
  for (char *word = strtok_r(list, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
    int input = find_message(reader->protocol, word);
    if (input < 0) mistake(reader, "event %s stands for an unknown message \"%s\"", event->name, word);
    else if (input < COH_FIRST_MESSAGE && reader->role == COH_DIRECTORY)
      mistake(reader, "event %s: a directory has no accesses", event->name);
    else event->inputs |= 1u << input;
  }
}

static void read_event(struct reader *reader)
{
  struct coh_controller *controller = controller_of(reader);
  struct coh_event event = {.line = reader->line};
  if (!has_words(reader, 2, 5, "NAME MESSAGE[,MESSAGE...] [FACT...] : meaning") ||
      !is_room(reader, controller->event_count, COH_MAX_EVENTS, "events") ||
      !take_name(reader, reader->words[0], event.name, event.meaning))
    return;
  read_inputs(reader, reader->words[1], &event);
  if (find_event(controller, event.name) >= 0) mistake(reader, "%s event %s is declared twice", coh_role_names[reader->role], event.name);
  for (int i = 2; i < reader->word_count; i++) read_fact(reader, reader->words[i], &event);
  controller->events[controller->event_count++] = event;
}

static void read_target(struct reader *reader, struct coh_action *action, const char *word)
{
  int to = find_word(coh_target_names, 4, word);
  bool cache = reader->role == COH_CACHE;
  bool fits = to == COH_TO_REQUESTOR || (cache ? to == COH_TO_HOME : to == COH_TO_OWNER || to == COH_TO_SHARERS);
  if (!fits)
    mistake(reader, "action %s sends to \"%s\"; expected %s", action->name, word,
            cache ? "home or requestor" : "requestor, owner or sharers");
  action->to = (uint8_t)(to < 0 ? 0 : to);
}

static void read_action(struct reader *reader)
{
  struct coh_controller *controller = controller_of(reader);
  struct coh_action action = {.verb = COH_DO_SEND, .line = reader->line};
  if (!has_words(reader, 5, 5, "NAME send MESSAGE to TARGET : meaning") ||
      !is_room(reader, controller->action_count, COH_MAX_ACTIONS, "actions") ||
      !take_name(reader, reader->words[0], action.name, action.meaning))
    return;
  if (!is(reader->words[1], "send") || !is(reader->words[3], "to")) mistake(reader, "expected \"NAME send MESSAGE to TARGET : meaning\"");
  int message = find_message(reader->protocol, reader->words[2]);
  if (message < COH_FIRST_MESSAGE) mistake(reader, "action %s sends an unknown message \"%s\"", action.name, reader->words[2]);
  int same = find_action(controller, action.name);
  if (same >= 0 || is(action.name, "stall"))
    mistake(reader,
            same >= 0 && controller->actions[same].line ? "%s action %s is declared twice" : "%s action %s is a word of the language",
            coh_role_names[reader->role], action.name);
  read_target(reader, &action, reader->words[4]);
  action.message = (uint8_t)(message < 0 ? 0 : message);
  controller->actions[controller->action_count++] = action;
}

/* The actions of a cell, words [2, end). */
static void read_deeds(struct reader *reader, int end, struct coh_cell *cell)
{
  struct coh_controller *controller = controller_of(reader);
  if (end == 3 && is(reader->words[2], "-")) return;
  for (int i = 2; i < end; i++) {
    int action = find_action(controller, reader->words[i]);
    if (is(reader->words[i], "stall")) mistake(reader, "stall is what the whole cell does; it stands alone and names no next state");
    else if (action < 0) mistake(reader, "unknown %s action \"%s\"", coh_role_names[reader->role], reader->words[i]);
    else if (cell->count == COH_MAX_CELL_ACTIONS) mistake(reader, "more than %d actions in a cell", COH_MAX_CELL_ACTIONS);
    else cell->actions[cell->count++] = (uint8_t)action;
  }
}

static void put_cell(struct reader *reader, const char *state_name, const char *event_name, struct coh_cell cell, bool stay)
{
  struct coh_controller *controller = controller_of(reader);
  int state = find_state(controller, state_name), event = find_event(controller, event_name);
  if (state < 0) mistake(reader, "unknown %s state \"%s\"", coh_role_names[reader->role], state_name);
  if (event < 0) mistake(reader, "unknown %s event \"%s\"", coh_role_names[reader->role], event_name);
  if (state < 0 || event < 0) return;
  struct coh_cell *place = &controller->cells[state][event];
  if (place->kind != COH_CELL_EMPTY) {
    mistake(reader, "duplicate cell: state %s, event %s already stands in line %d", state_name, event_name, place->line);
    return;
  }
  if (stay) cell.next = (uint8_t)state;
  *place = cell;
}

/* Both lists are cut at their commas; every pair is a cell. */
static void put_cells(struct reader *reader, const struct coh_cell *cell, bool stay)
{
  char events[MAX_LINE], *state_rest, *event_rest;
  for (char *state = strtok_r(reader->words[0], ",", &state_rest); state; state = strtok_r(NULL, ",", &state_rest)) {
    snprintf(events, sizeof events, "%s", reader->words[1]);
    for (char *event = strtok_r(events, ",", &event_rest); event; event = strtok_r(NULL, ",", &event_rest))
      put_cell(reader, state, event, *cell, stay);
  }
}

static void read_transition(struct reader *reader)
{
  struct coh_controller *controller = controller_of(reader);
  struct coh_cell cell = {.kind = COH_CELL_GO, .line = reader->line};
  if (!has_words(reader, 3, MAX_WORDS, "STATE[,STATE...] EVENT[,EVENT...] ACTION... [-> NEXT]")) return;
  int end = reader->word_count;
  bool moves = end >= 4 && is(reader->words[end - 2], "->");
  if (moves) {
    int next = find_state(controller, reader->words[end - 1]);
    if (next < 0) mistake(reader, "unknown next state \"%s\" of the %s", reader->words[end - 1], coh_role_names[reader->role]);
    cell.next = (uint8_t)(next < 0 ? 0 : next);
    end -= 2;
  }
  if (end == 3 && !moves && is(reader->words[2], "stall")) cell.kind = COH_CELL_STALL;
  else read_deeds(reader, end, &cell);
  put_cells(reader, &cell, !moves);
}

/* ---- The file ---------------------------------------------------------------------------------------------------- */

static const struct section {
  const char *first, *second;
  enum coh_role role;
  void (*read)(struct reader *reader);
} sections[] = {
    {"messages", NULL, COH_CACHE, read_message},
    {"cache", "states", COH_CACHE, read_state},
    {"cache", "events", COH_CACHE, read_event},
    {"cache", "actions", COH_CACHE, read_action},
    {"cache", "transitions", COH_CACHE, read_transition},
    {"directory", "states", COH_DIRECTORY, read_state},
    {"directory", "events", COH_DIRECTORY, read_event},
    {"directory", "actions", COH_DIRECTORY, read_action},
    {"directory", "transitions", COH_DIRECTORY, read_transition},
};
enum { SECTIONS = sizeof sections / sizeof sections[0] };

static const char *section_name(int section)
{
  static _Thread_local char name[32];
  snprintf(name, sizeof name, "%s%s%s", sections[section].first, sections[section].second ? " " : "",
           sections[section].second ? sections[section].second : "");
  return name;
}

/* True when the line is a heading. */
static bool read_heading(struct reader *reader)
{
  for (int i = 0; i < SECTIONS; i++) {
    const struct section *section = &sections[i];
    if (reader->word_count != (section->second ? 2 : 1) || !is(reader->words[0], section->first)) continue;
    if (section->second && !is(reader->words[1], section->second)) continue;
    if (reader->sections_seen & (1u << i)) mistake(reader, "a second section \"%s\"", section_name(i));
    if (reader->sections_seen >> (i + 1)) mistake(reader, "section \"%s\" comes too late; the README gives the order", section_name(i));
    reader->sections_seen |= 1u << i;
    reader->section = i;
    reader->role = section->role;
    return true;
  }
  return false;
}

static void read_protocol_name(struct reader *reader)
{
  if (!is(reader->words[0], "protocol") || reader->word_count != 2)
    mistake(reader, "expected \"protocol NAME : meaning\" before the first section");
  else take_name(reader, reader->words[1], reader->protocol->name, reader->protocol->meaning);
}

/* Cuts the comment and the meaning off, and the rest into words. */
static void split(struct reader *reader, char *text)
{
  char *comment = strchr(text, '#'), *rest;
  if (comment) *comment = 0;
  char *meaning = strstr(text, " : ");
  reader->meaning = "";
  if (meaning) {
    *meaning = 0;
    meaning += 3;
    meaning += strspn(meaning, " \t");
    for (size_t n = strlen(meaning); n && strchr(" \t\r", meaning[n - 1]); n--) meaning[n - 1] = 0;
    reader->meaning = meaning;
  }
  reader->word_count = 0;
  for (char *word = strtok_r(text, " \t\r", &rest); word; word = strtok_r(NULL, " \t\r", &rest)) {
    if (reader->word_count == MAX_WORDS) {
      mistake(reader, "more than %d words in a line", MAX_WORDS);
      return;
    }
    reader->words[reader->word_count++] = word;
  }
}

static void read_line(struct reader *reader, char *text)
{
  split(reader, text);
  if (!reader->word_count || read_heading(reader)) return;
  if (reader->section < 0) read_protocol_name(reader);
  else sections[reader->section].read(reader);
}

static void read_lines(struct reader *reader, const char *text)
{
  char line[MAX_LINE];
  for (reader->line = 1; *text; reader->line++) {
    size_t length = strcspn(text, "\n");
    if (length >= sizeof line) mistake(reader, "the line is longer than %d characters", MAX_LINE - 1);
    else {
      memcpy(line, text, length);
      line[length] = 0;
      read_line(reader, line);
    }
    text += length + (text[length] == '\n');
  }
}

/* The accesses are inputs like messages, and the words of the language actions like declared ones. */
static void set_words(struct coh_protocol *protocol)
{
  static const char *const accesses[] = {"load", "store", "evict"};
  memset(protocol, 0, sizeof *protocol);
  for (int i = 0; i < COH_FIRST_MESSAGE; i++) snprintf(protocol->messages[i].name, COH_NAME_SIZE, "%s", accesses[i]);
  protocol->message_count = COH_FIRST_MESSAGE;
  for (int role = 0; role < COH_ROLES; role++) {
    struct coh_controller *controller = &protocol->controllers[role];
    controller->action_count = coh_builtin_actions((enum coh_role)role, controller->actions);
  }
}

int coh_protocol_parse(const char *text, const char *file, struct coh_protocol *protocol, FILE *report)
{
  struct reader reader = {.protocol = protocol, .file = file, .report = report, .section = -1};
  set_words(protocol);
  read_lines(&reader, text);
  if (!protocol->name[0]) mistake(&reader, "the line \"protocol NAME : meaning\" is missing");
  for (int i = 0; i < SECTIONS; i++)
    if (!(reader.sections_seen & (1u << i))) mistake(&reader, "the section \"%s\" is missing", section_name(i));
  /* what is wrong in the whole means little while parts could not be read */
  if (!reader.mistakes) reader.mistakes = coh_protocol_check(protocol, file, report);
  return reader.mistakes ? -EINVAL : 0;
}

static char *read_file(FILE *file)
{
  size_t held = 0, room = 1 << 16, most = 1 << 20;
  char *text = malloc(room);
  for (size_t got; text && held < most && (got = fread(text + held, 1, room - held - 1, file)) > 0;) {
    held += got;
    if (room - held > 1) continue;
    char *larger = realloc(text, room *= 2);
    if (!larger) free(text);
    text = larger;
  }
  if (text) text[held] = 0;
  return text;
}

int coh_protocol_text(const char *name_or_path, char **text, FILE *report)
{
  const char *shipped = coh_shipped_text(name_or_path);
  FILE *file = shipped ? NULL : fopen(name_or_path, "r");
  if (shipped) {
    *text = strdup(shipped);
    return *text ? 0 : -ENOMEM;
  }
  if (!file) {
    int error = errno;
    fprintf(report, "\"%s\" is neither a protocol nor a file that can be read (%s); the protocols are", name_or_path, strerror(error));
    for (int i = 0; coh_shipped_name(i); i++) fprintf(report, "%s %s", i ? "," : "", coh_shipped_name(i));
    fputc('\n', report);
    return -ENOENT;
  }
  *text = read_file(file);
  fclose(file);
  return *text ? 0 : -ENOMEM;
}

int coh_protocol_load(const char *name_or_path, struct coh_protocol *protocol, FILE *report)
{
  char *text;
  int result = coh_protocol_text(name_or_path, &text, report);
  if (result) return result;
  result = coh_protocol_parse(text, name_or_path, protocol, report);
  free(text);
  return result;
}
