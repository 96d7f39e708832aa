/* A coherence protocol as tables: the document of this folder.
 *
 * Glossary
 *   line        the unit that is kept coherent; its home is the device whose window holds it
 *   cache       the controller that a device has for a line: a state, and how many acks it still awaits
 *   directory   the controller that the home has for a line: a state, the owner, the sharers
 *   input       what a controller is given: a message, or one of the three accesses of the program (load, store, evict)
 *   event       an input together with facts about it; which one, the table `event_of` says
 *   cell        what a controller in a state does on an event: actions, then the next state. Empty: it cannot happen. Stall: not yet,
 *               give the input again once the state has changed
 *   action      one small deed: send a message, take the data, note the owner ...
 *   stable      a state in which no transaction is under way; the others are transient (of a directory: busy)
 *   right       what a program may do with a line in this state without telling anybody: none, read, read-write
 *   sharers     the devices that may hold a copy, not counting the owner; possibly more than those that do (coherence/sharers.h)
 *   requestor   the device whose access began the transaction that a message belongs to
 *
 * A struct coh_protocol is filled from a text (coherence/README.md documents the language) and never changes afterwards. It holds no
 * pointer, so it may lie in shared memory. The same tables move live lines (coherence/core.h), are proved (coherence/check.h) and
 * printed (coh_print).
 *
 * Invariants of a loaded protocol:
 *   state 0 of each controller is its initial state, and stable
 *   every cell's next state, actions, and every action's message exist
 *   for every message that a controller has an event for, event_of is defined under all facts
 */
#ifndef COH_PROTOCOL_H
#define COH_PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { COH_MAX_MESSAGES = 32, COH_MAX_STATES = 48, COH_MAX_EVENTS = 48, COH_MAX_ACTIONS = 48, COH_MAX_CELL_ACTIONS = 8 };
enum { COH_NAME_SIZE = 24, COH_MEANING_SIZE = 112 };

enum coh_role { COH_CACHE, COH_DIRECTORY, COH_ROLES };
enum coh_right { COH_RIGHT_NONE, COH_RIGHT_READ, COH_RIGHT_WRITE };
enum coh_class { COH_ACCESS, COH_REQUEST, COH_FORWARD, COH_RESPONSE, COH_CLASSES };

/* The first inputs are the program's accesses; the messages of the protocol follow. */
enum { COH_LOAD, COH_STORE, COH_EVICT, COH_FIRST_MESSAGE };

/* Facts about an input, as bits. Each has a word in the language for yes and one for no. */
enum coh_fact {
  COH_FACT_OWNER = 1, /* directory: it comes from the owner              from-owner, from-other */
  COH_FACT_ALONE = 2, /* directory: no sharer but the sender is left     alone, others          */
  COH_FACT_LAST = 4,  /* cache: with it, all acks have come              last, more             */
  COH_FACTS = 8,      /* combinations */
};

enum coh_verb {
  COH_DO_SEND,          /* a declared action; all others are words of the language */
  COH_DO_FILL,          /* cache: the line takes the message's data */
  COH_DO_LOAD,          /* cache: the waiting load reads the line */
  COH_DO_STORE,         /* cache: the waiting store writes the line */
  COH_DO_WRITE_MEMORY,  /* directory: memory takes the message's data */
  COH_DO_SET_OWNER,     /* directory: the requestor becomes the owner */
  COH_DO_CLEAR_OWNER,   /* directory: nobody is the owner */
  COH_DO_ADD_SHARER,    /* directory: the requestor becomes a sharer */
  COH_DO_ADD_OWNER,     /* directory: the owner becomes a sharer as well */
  COH_DO_REMOVE_SHARER, /* directory: the requestor is no sharer any more */
  COH_DO_CLEAR_SHARERS, /* directory: there are no sharers */
};

enum coh_target { COH_TO_HOME, COH_TO_REQUESTOR, COH_TO_OWNER, COH_TO_SHARERS };
enum coh_cell_kind { COH_CELL_EMPTY, COH_CELL_STALL, COH_CELL_GO };

struct coh_message_type {
  char name[COH_NAME_SIZE], meaning[COH_MEANING_SIZE];
  uint8_t class; /* enum coh_class */
  bool data;     /* carries the line */
  bool acks;     /* carries how many acks to await */
  bool ack;      /* is one of these acks */
  int line;      /* of the file, as below */
};

struct coh_state {
  char name[COH_NAME_SIZE], meaning[COH_MEANING_SIZE];
  uint8_t right; /* enum coh_right; COH_RIGHT_NONE for a directory */
  bool stable;
  bool holds_data; /* cache: what the line holds may still be read or sent; derived from the cells */
  int line;
};

struct coh_event {
  char name[COH_NAME_SIZE], meaning[COH_MEANING_SIZE];
  uint32_t inputs;    /* the access or the messages that it stands for, as bits */
  uint8_t facts;      /* which facts it depends on, */
  uint8_t facts_true; /* and which of them must hold */
  int line;
};

struct coh_action {
  char name[COH_NAME_SIZE], meaning[COH_MEANING_SIZE];
  uint8_t verb;    /* enum coh_verb */
  uint8_t message; /* of COH_DO_SEND, as are its target */
  uint8_t to;      /* enum coh_target */
  int line;        /* 0: a word of the language */
};

struct coh_cell {
  uint8_t kind; /* enum coh_cell_kind */
  uint8_t next;
  uint8_t count;
  uint8_t actions[COH_MAX_CELL_ACTIONS]; /* run from left to right */
  int line;
};

struct coh_controller {
  int state_count, event_count, action_count;
  uint8_t facts_of[COH_MAX_MESSAGES];           /* per input: the facts that its events depend on */
  int8_t event_of[COH_MAX_MESSAGES][COH_FACTS]; /* -1: no event */
  struct coh_cell cells[COH_MAX_STATES][COH_MAX_EVENTS];
  struct coh_state states[COH_MAX_STATES];
  struct coh_event events[COH_MAX_EVENTS];
  struct coh_action actions[COH_MAX_ACTIONS];
};

struct coh_protocol {
  char name[COH_NAME_SIZE], meaning[COH_MEANING_SIZE];
  int message_count; /* with the accesses */
  struct coh_message_type messages[COH_MAX_MESSAGES];
  struct coh_controller controllers[COH_ROLES];
};

extern const char *const coh_role_names[COH_ROLES];
extern const char *const coh_right_names[3];
extern const char *const coh_class_names[COH_CLASSES];
extern const char *const coh_target_names[4];
extern const char *const coh_fact_words[3][2]; /* by bit, then [holds] */

/* ---- protocol.c: the meaning of the tables; parse.c: the language ------------------------------------------------ */

/* Fills *protocol from a text; `file` is what mistakes are reported under: one "file:line: sentence" each, all of them, to `report`.
 * Returns 0, or -EINVAL when there were mistakes: then *protocol is not to be used. */
int coh_protocol_parse(const char *text, const char *file, struct coh_protocol *protocol, FILE *report);

/* The text of a shipped protocol (any case) or of a file; freed by the caller. -ENOENT when it is neither, said in `report` as well. */
int coh_protocol_text(const char *name_or_path, char **text, FILE *report);
/* That text, parsed. */
int coh_protocol_load(const char *name_or_path, struct coh_protocol *protocol, FILE *report);

/* The words of the language for one controller, as actions; returns how many. */
int coh_builtin_actions(enum coh_role role, struct coh_action *actions);

/* Checks the meaning of the parsed tables and derives the rest; used by coh_protocol_parse. Returns the number of mistakes. */
int coh_protocol_check(struct coh_protocol *protocol, const char *file, FILE *report);

/* "fill, load, unblock", "stall" or "": what a cell does, in the file's words. */
void coh_cell_text(const struct coh_controller *controller, const struct coh_cell *cell, char *text, size_t size);

/* ---- shipped.c: the protocols that come with the library --------------------------------------------------------- */

const char *coh_shipped_name(int index);        /* lower case; NULL after the last */
const char *coh_shipped_text(const char *name); /* any case; NULL for none */

/* ---- print.c ----------------------------------------------------------------------------------------------------- */

enum coh_format { COH_FORMAT_TEXT, COH_FORMAT_HTML, COH_FORMAT_DOT };

/* The table and the state graph of one controller, or of both with COH_ROLES. */
void coh_print(FILE *out, const struct coh_protocol *protocol, enum coh_role role, enum coh_format format);
/* The table alone, as HTML; cell ids are "ROLE-STATE-EVENT" by number (c-3-5, d-0-2). */
void coh_print_html_table(FILE *out, const struct coh_protocol *protocol, enum coh_role role);
void coh_print_html_style(FILE *out);

#endif
