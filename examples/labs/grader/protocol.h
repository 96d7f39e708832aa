/* Judging protocol tables: load, prove, price, show. Each ends the group (lab_stop) when there is nothing to go on with. */
#ifndef LAB_PROTOCOL_H
#define LAB_PROTOCOL_H

#include "coherence/check.h"
#include "lab.h"
#include "traffic.h"

/* The student's file, parsed; never NULL. The mistakes that the loader finds are the message. */
struct coh_protocol *protocol_load(struct lab *lab, const char *file);

/* Explores all states; credits the points when nothing is broken. Else prints a shortest run that breaks it, writes it as ladder.html to
 * step through, and tells the typical mistake that it shows. */
bool protocol_prove(struct lab *lab, const struct coh_protocol *protocol, const struct coh_check_options *options, int points,
                    const char *what);

/* Ends the group unless the protocol is right; for groups whose figures mean nothing otherwise. */
void protocol_must_be_right(struct lab *lab, const struct coh_protocol *protocol, bool atomic);

/* Runs the pattern; credits the points when it costs exactly what the contract says. The cells that ran are added to `ran`. */
bool protocol_price(struct lab *lab, const struct coh_protocol *protocol, const struct contract *contract, const struct pattern *pattern,
                    int points, struct machine *ran);

/* Loads, stores and evictions by all at random: every access must end, and be done. */
bool protocol_every_access_ends(struct lab *lab, const struct coh_protocol *protocol, int points, struct machine *ran);

/* Both tables, each cell lit by how often it ran. */
void protocol_table_page(struct lab *lab, const struct coh_protocol *protocol, const struct machine *ran);

int protocol_transient_states(const struct coh_protocol *protocol, enum coh_role role);

#endif
