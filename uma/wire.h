/* The engine's messages to other hosts (struct coh_wire of coherence/engine.h), and questions of the modelled clock (clock.h), over the fabric ofi, on
 * a channel of their own. */
#ifndef UMA_WIRE_H
#define UMA_WIRE_H

#include "fabric/fabric.h"

struct uma_wire;
struct coh_engine;
struct uma_clock_letter;

enum uma_wire_kind { /* of a fab_header: a wire value */
                     UMA_WIRE_MESSAGE = 1,
                     UMA_WIRE_TIMED, /* the same, behind a stamp */
                     UMA_WIRE_REFUSAL,
                     UMA_WIRE_LOSS,
                     UMA_WIRE_QUESTION, /* of the modelled clock; a: its number */
                     UMA_WIRE_ANSWER
};

/* Opens this device's endpoint, of the fabric `net` (NULL: fab_ofi), and gives the engine, if there is one, its wire; then contacts are exchanged; connect starts the thread that
 * receives. 0 or -errno with the sentence. */
int uma_wire_open(const struct fab_ops *net, struct coh_engine *engine, struct uma_wire **wire);
int uma_wire_contact(struct uma_wire *wire, struct fab_contact *contact);
int uma_wire_connect(struct uma_wire *wire, const struct fab_contact *contacts); /* of all endpoints of all devices */
void uma_wire_help(struct uma_wire *wire); /* receives and delivers what has come; by threads that wait for something else */
/* Asks the process of another host's device, whose uma_clock_answer turns the question into the answer. Any thread, which waits. 0; -EHOSTDOWN. */
int uma_wire_ask(struct uma_wire *wire, int device, struct uma_clock_letter *letter);
void uma_wire_close(struct uma_wire *wire); /* once nobody needs this device any more */

/* Of any endpoint to other hosts: its sink's `lost`. A device that has not left in order is lost, for all devices of this host. */
void uma_wire_lost(void *context, int device, bool in_order);
/* What all endpoints of fab_ofi in a session have in common. */
void uma_wire_configure(struct fab_config *config, enum fab_channel channel);

#endif
