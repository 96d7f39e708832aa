/* The network of the simulated fabric: all endpoints of a `struct fab_sim` live in one process, and everything follows from its seed.
 *
 *     struct fab_sim *sim = fab_sim_create(&(struct fab_sim_options){.seed = 1, .devices = 4});
 *     fab_sim.open(&(struct fab_config){.sim = sim, .device = d, .devices = 4, ...}, &endpoint)   for each device
 *     fab_sim.send(...); fab_sim_step(sim) until it returns 0, or fab_sim.progress(endpoint) of each in turn
 *
 * Not thread-safe: the caller has one thread, or threads that hand the right to call to one another, for all endpoints together.
 * Time is virtual, in ns, and moves only from one delivery to the next. It stands while the endpoint that is due next is not open yet or
 * does not ask: so the order of deliveries does not depend on who asks first. A message arrives in the moment of its upcall. */
#ifndef FAB_SIM_H
#define FAB_SIM_H

#include "fabric/fabric.h"

struct fab_sim_options {
  uint64_t seed;
  int devices;                 /* 1 .. 65536 */
  bool unordered;              /* messages overtake each other between the same two endpoints too; false: as fabric.h promises */
  int kinds;                   /* the adversary sometimes slows one header.kind below this number; 0: it knows no kinds */
  void (*idle)(void *context); /* an endpoint that sleeps lets others run; NULL: there is nobody else */
  void *idle_context;
};

struct fab_sim *fab_sim_create(const struct fab_sim_options *options); /* NULL with errno EINVAL or ENOMEM */
void fab_sim_destroy(struct fab_sim *sim);                             /* with the endpoints that are still open, without upcalls */

int fab_sim_step(struct fab_sim *sim); /* delivers what is due first, to whom it is for; 0: nothing is, or its endpoint is not open yet */
uint64_t fab_sim_now_ns(const struct fab_sim *sim);
int fab_sim_under_way(const struct fab_sim *sim); /* how many deliveries are to come */
void fab_sim_wait(struct fab_sim *sim, uint64_t ns);
void fab_sim_calm(struct fab_sim *sim); /* nobody is slow, until the adversary's next mood */

/* `device` is gone: nothing that is under way from it or to it arrives, what it calls fails with -EHOSTDOWN, and each of the others
 * learns it some time later by sink.lost. 0 or -ENOMEM. */
int fab_sim_lose(struct fab_sim *sim, int device);

#endif
