/* Closed forms: what collectives and chases take on a topology when all begin at once and nothing else runs. Devices are 0 .. n - 1.
 *
 * A step of a collective is a copy of one device to another, by the best way, and what its software adds (topology->message_latency within
 * a scale-up domain). Where several copies of a step go over one resource they follow each other there: its bytes count that many times.
 * Formulas (t(x): one copy of x bytes; n devices; b bytes):
 *     ring all-reduce      2 (n - 1) t(b / n)              Patarasuk and Yuan, 2009. Where neighbours differ: a piece goes round twice, but
 *                          for two steps, and meets every t; or the narrowest link carries 2 (n - 1) pieces, if that is longer
 *     all-to-all           longest latency + the busiest resource's bytes: a lower bound, reached where one stage joins all
 *     gather               a request on the longest way, then as all-to-all: each reads what is for it of all others
 *     direct all-reduce    gather + all-to-all, of b / n each: all read what they add up, then write the sums
 *     broadcast, tree      sum of t(b) over distances 1, 2, 4 ..: the binomial tree
 *     pointer chase        hops x a load there and back
 *     read by copy         fab_read_ticks (topology.h): a request there, then a copy back
 *     staged copy          fab_path_ticks (topology.h): all legs once, then the longest leg for each other chunk */
#ifndef FAB_FORMS_H
#define FAB_FORMS_H

#include "fabric/topology.h"

/* All: 0 and ticks; -EINVAL n is not 1 .. devices; -EHOSTUNREACH two of them have no way to each other. */
int fab_form_ring_allreduce(const struct fab_topology *topology, uint64_t n, uint64_t bytes, uint64_t *ticks);
int fab_form_direct_allreduce(const struct fab_topology *topology, uint64_t n, uint64_t bytes, uint64_t *ticks);
/* Each device sends `messages` (on average) of `bytes` to each other device. */
int fab_form_alltoall(const struct fab_topology *topology, uint64_t n, double messages, uint64_t bytes, uint64_t *ticks);
int fab_form_gather(const struct fab_topology *topology, uint64_t n, uint64_t bytes, uint64_t *ticks); /* `bytes` of each other one */
int fab_form_broadcast(const struct fab_topology *topology, uint64_t n, uint64_t bytes, uint64_t *ticks);
/* A chain of `hops` loads, each of which needs the one before, from device a through the memory of device b. */
int fab_form_chase(const struct fab_topology *topology, uint64_t a, uint64_t b, uint64_t hops, uint64_t *ticks);

#endif
