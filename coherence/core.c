/* One step of a controller, read from the tables.
 *
 * The input and the facts that its events depend on give the event, the event and the state give the cell, and the cell's actions run
 * from left to right. Nothing is changed before it is certain that the cell exists and does not stall. The caller holds the entry's
 * lock; a step is some tens of nanoseconds, and its outcome is the caller's own, so that messages are sent after the lock is released.
 */
#include <string.h>

#include "coherence/core.h"

/* Looks the cell up; NULL when there is none or it stalls. */
static const struct coh_cell *begin(const struct coh_controller *controller, int state, const struct coh_message *message, int facts,
                                    struct coh_outcome *outcome)
{
  outcome->send_count = 0;
  outcome->deeds = 0;
  outcome->target_count = 0;
  outcome->from = outcome->state = (uint8_t)state;
  outcome->result = COH_UNHANDLED;
  outcome->event = controller->event_of[message->type][facts];
  if (outcome->event < 0) return NULL;
  const struct coh_cell *cell = &controller->cells[state][outcome->event];
  if (cell->kind == COH_CELL_STALL) outcome->result = COH_STALLED;
  if (cell->kind != COH_CELL_GO) return NULL;
  outcome->result = COH_DONE;
  outcome->state = cell->next;
  return cell;
}

static struct coh_send *add_send(const struct coh_protocol *protocol, const struct coh_action *action, const struct coh_message *input,
                                 struct coh_outcome *outcome)
{
  const struct coh_message_type *type = &protocol->messages[action->message];
  struct coh_send *send = &outcome->sends[outcome->send_count++];
  send->data = type->data;
  send->many = false;
  send->message = (struct coh_message){
      .type = action->message, .acks = type->ack ? -1 : 0, .source = input->target, .target = COH_HOME, .requestor = input->requestor};
  return send;
}

/* ---- Cache ------------------------------------------------------------------------------------------------------- */

/* A cache hands on the number of acks of the message that it answers. */
static void cache_send(const struct coh_protocol *protocol, const struct coh_action *action, const struct coh_message *input,
                       struct coh_outcome *outcome)
{
  struct coh_send *send = add_send(protocol, action, input, outcome);
  if (action->to == COH_TO_REQUESTOR) send->message.target = input->requestor;
  if (protocol->messages[action->message].acks && action->to == COH_TO_REQUESTOR) send->message.acks = input->acks;
}

void coh_cache_step(const struct coh_protocol *protocol, struct coh_cache_entry *entry, const struct coh_message *message,
                    struct coh_outcome *outcome)
{
  const struct coh_controller *controller = &protocol->controllers[COH_CACHE];
  const struct coh_message_type *type = &protocol->messages[message->type];
  int awaited = entry->acks + (type->acks || type->ack ? message->acks : 0);
  bool counts = controller->facts_of[message->type] & COH_FACT_LAST;
  const struct coh_cell *cell = begin(controller, entry->state, message, counts && awaited == 0 ? COH_FACT_LAST : 0, outcome);
  if (!cell) return;
  if (counts) entry->acks = (int16_t)awaited;
  for (int i = 0; i < cell->count; i++) {
    const struct coh_action *action = &controller->actions[cell->actions[i]];
    if (action->verb == COH_DO_SEND) cache_send(protocol, action, message, outcome);
    else outcome->deeds |= (uint16_t)(1 << action->verb);
  }
  entry->state = cell->next;
}

void coh_cache_take_back(const struct coh_protocol *protocol, struct coh_cache_entry *entry, int before, int begun)
{
  const struct coh_state *states = protocol->controllers[COH_CACHE].states;
  bool has_what_was = states[begun].holds_data || !states[before].holds_data;
  if (entry->state == begun && has_what_was) *entry = (struct coh_cache_entry){.state = (uint8_t)before};
  else if (!states[entry->state].stable) *entry = (struct coh_cache_entry){0};
}

/* ---- Directory --------------------------------------------------------------------------------------------------- */

static int directory_facts(int wanted, const struct coh_sharer_kind *kind, const struct coh_directory_entry *entry,
                           const struct coh_message *message)
{
  int facts = 0;
  if (wanted & COH_FACT_OWNER && coh_owner(entry) == message->source) facts |= COH_FACT_OWNER;
  if (wanted & COH_FACT_ALONE && !coh_sharers_count_but(kind, entry->sharers, message->source, COH_NOBODY)) facts |= COH_FACT_ALONE;
  return facts;
}

/* To the sharers but the requestor and the owner, as they are at this place in the cell. */
static void send_to_sharers(const struct coh_sharer_kind *kind, const struct coh_directory_entry *entry, struct coh_send *send,
                            struct coh_outcome *outcome)
{
  send->many = true;
  outcome->skip = send->message.requestor;
  outcome->skip_2 = (int16_t)coh_owner(entry);
  outcome->target_count = (int16_t)coh_sharers_count_but(kind, entry->sharers, outcome->skip, outcome->skip_2);
  memcpy(outcome->targets, entry->sharers, (size_t)kind->words * sizeof *entry->sharers);
}

static void directory_send(const struct coh_protocol *protocol, const struct coh_sharer_kind *kind, const struct coh_directory_entry *entry,
                           const struct coh_action *action, const struct coh_message *input, struct coh_outcome *outcome)
{
  struct coh_send *send = add_send(protocol, action, input, outcome);
  if (action->to == COH_TO_REQUESTOR) send->message.target = input->requestor;
  if (action->to == COH_TO_OWNER) send->message.target = (int16_t)coh_owner(entry);
  if (action->to == COH_TO_SHARERS) send_to_sharers(kind, entry, send, outcome);
}

static void directory_do(const struct coh_protocol *protocol, const struct coh_sharer_kind *kind, struct coh_directory_entry *entry,
                         const struct coh_action *action, const struct coh_message *input, struct coh_outcome *outcome)
{
  switch ((enum coh_verb)action->verb) {
  case COH_DO_SEND: directory_send(protocol, kind, entry, action, input, outcome); break;
  case COH_DO_SET_OWNER: entry->owner_1 = (uint16_t)(input->requestor + 1); break;
  case COH_DO_CLEAR_OWNER: entry->owner_1 = 0; break;
  case COH_DO_ADD_SHARER: kind->ops->add(kind, entry->sharers, input->requestor); break;
  case COH_DO_REMOVE_SHARER: kind->ops->remove(kind, entry->sharers, input->requestor); break;
  case COH_DO_CLEAR_SHARERS: coh_sharers_clear(kind, entry->sharers); break;
  case COH_DO_ADD_OWNER:
    if (entry->owner_1) kind->ops->add(kind, entry->sharers, coh_owner(entry));
    break;
  default: outcome->deeds |= (uint16_t)(1 << action->verb);
  }
}

/* How many acks to await is known once the cell has named all it invalidates. */
static void announce_acks(const struct coh_protocol *protocol, struct coh_outcome *outcome)
{
  for (int i = 0; i < outcome->send_count && outcome->target_count; i++)
    if (protocol->messages[outcome->sends[i].message.type].acks) outcome->sends[i].message.acks = outcome->target_count;
}

void coh_directory_step(const struct coh_protocol *protocol, const struct coh_sharer_kind *kind, struct coh_directory_entry *entry,
                        const struct coh_message *message, struct coh_outcome *outcome)
{
  const struct coh_controller *controller = &protocol->controllers[COH_DIRECTORY];
  int facts = directory_facts(controller->facts_of[message->type], kind, entry, message);
  const struct coh_cell *cell = begin(controller, entry->state, message, facts, outcome);
  if (!cell) return;
  for (int i = 0; i < cell->count; i++) directory_do(protocol, kind, entry, &controller->actions[cell->actions[i]], message, outcome);
  announce_acks(protocol, outcome);
  if (controller->states[cell->next].stable) entry->requestor_1 = 0;
  else if (controller->states[entry->state].stable) entry->requestor_1 = (uint16_t)(message->requestor + 1);
  entry->state = cell->next;
}

int coh_outcome_target(const struct coh_sharer_kind *kind, const struct coh_outcome *outcome, int from)
{
  if (!outcome->target_count) return -1;
  int device = kind->ops->next(kind, outcome->targets, from);
  while (device >= 0 && (device == outcome->skip || device == outcome->skip_2))
    device = kind->ops->next(kind, outcome->targets, device + 1);
  return device;
}
