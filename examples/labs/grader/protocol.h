/* Judging protocol tables: load, prove, price, show. Each ends the group (lab_stop) when there is nothing to go on with. */
#ifndef LAB_PROTOCOL_H
#define LAB_PROTOCOL_H

#include "coherence/check.h"
#include "lab.h"
#include "traffic.h"

/* The student's file, parsed; never NULL. The mistakes that the loader finds are the message. */
struct coh_protocol *protocol_load(struct lab *lab, const char *file);

/* Explores all states; credits the points when nothing is broken. Else prints a shortest run that breaks it, writes it as a page to step
 * through, and tells the typical mistake that it shows. */
bool protocol_prove(struct lab *lab, const struct coh_protocol *protocol, const struct coh_check_options *options, int points,
                    const char *what, const char *page);

/* Ends the group unless the protocol is right; for groups whose figures mean nothing otherwise. */
void protocol_must_be_right(struct lab *lab, const struct coh_protocol *protocol, bool atomic);

/* The contract of labs 4 to 6: what of it is the student's own is the same in all of them. */
struct contract protocol_contract(struct lab *lab, bool confirms);
void protocol_say_contract(struct lab *lab);

/* Patterns with the student's own numbers of devices and rounds: private, migratory, producer-consumer, read-mostly, write-write,
 * evictions. */
enum { PROTOCOL_PATTERNS = 6 };
void protocol_patterns(struct lab *lab, struct pattern patterns[PROTOCOL_PATTERNS]);

/* Runs the pattern; credits the points when it costs exactly what the contract says. The cells that ran are added to `ran`. */
bool protocol_price(struct lab *lab, const struct coh_protocol *protocol, const struct contract *contract, const struct pattern *pattern,
                    int points, struct machine *ran);

/* All patterns, with so many points each; and whether what costs otherwise follows the other contract. */
void protocol_price_all(struct lab *lab, const struct coh_protocol *protocol, const struct contract *contract, const int *points,
                        struct machine *ran);

/* Ends the group unless all patterns cost what the contract says. */
void protocol_must_follow(struct lab *lab, const struct coh_protocol *protocol, const struct contract *contract);

/* Loads, stores and evictions by all at random: every access must end, and be done. */
bool protocol_every_access_ends(struct lab *lab, const struct coh_protocol *protocol, int points, struct machine *ran);

/* Both tables, each cell lit by how often it ran. */
void protocol_table_page(struct lab *lab, const struct coh_protocol *protocol, const struct machine *ran, const char *page);

/* Whether the pattern costs what the contract says; says nothing. */
bool protocol_costs(const struct coh_protocol *protocol, const struct contract *contract, const struct pattern *pattern);

/* Credits the points; two less for each of `count` above `enough`. */
void protocol_count(struct lab *lab, int points, int count, int enough, const char *what);

int protocol_transient_states(const struct coh_protocol *protocol, enum coh_role role);

#endif
