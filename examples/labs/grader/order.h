/* What a memory model allows, as graphs: an execution says from which store each load has its value (rf) and in which order the stores to
 * a location came (co). A load comes before (fr) the stores that follow the one it has its value from. What of the program's
 * order counts besides depends on the model; all of it together is "happens before", and an execution is forbidden when that has a cycle.
 *
 *   SC     all of the program's order counts.
 *   TSO    all but from a store to a later load, unless an mfence or an atomic instruction is between. (x86: Owens, Sarkar, Sewell, 2009)
 *   weak   nothing counts but what is asked for: an acquire is before all that follows in its thread, a release after all that precedes, a fence
 *          orders what is before against what is after it, and a value is computed before it is stored. (In the manner of ARMv8 with
 *          LDAPR and STLR: a release and a later acquire are not ordered. Pulte and others, POPL 2018)
 *
 * In all of them each location by itself is in order, and what one device has seen of another's store, all see. A load that takes a value from
 * a store of its own thread tells nothing about the others (but under SC).
 */
#ifndef LAB_ORDER_H
#define LAB_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "uma/litmus.h"

enum { ORDER_EVENTS = 24, ORDER_ACCESSES = 12 };
enum order_model { ORDER_SC, ORDER_TSO, ORDER_WEAK };
enum order_verdict { ORDER_FORBIDDEN, ORDER_ALLOWED, ORDER_NEVER };                   /* NEVER: no execution at all has the outcome */
enum order_edge { ORDER_NONE, ORDER_KEPT, ORDER_LOST, ORDER_RF, ORDER_CO, ORDER_FR }; /* LOST: the program's order, that does not count */

/* What is asked for at an access: the first of a thread that touches memory is number 0. An acquire of a store, a release of a load ask nothing. */
struct order_marks {
  bool acquire[UMA_LITMUS_THREADS][ORDER_ACCESSES], release[UMA_LITMUS_THREADS][ORDER_ACCESSES];
  bool fence[UMA_LITMUS_THREADS][ORDER_ACCESSES]; /* after it */
};

/* An access; those of thread -1 are the initial values. */
struct order_event {
  int thread, number, location;
  bool reads, writes, acquire, release;
  uint64_t read, written;
};

struct order_graph {
  int count;
  struct order_event events[ORDER_EVENTS];
  int source[ORDER_EVENTS];                           /* of a load: the store that it has its value from */
  int place[ORDER_EVENTS];                            /* of a store: which to its location it is */
  uint32_t fences[ORDER_EVENTS], needs[ORDER_EVENTS]; /* bits: earlier events behind a full fence; loads that the stored value is made of */
  int cycle_length, cycle[ORDER_EVENTS];
};

/* Whether an execution with the outcome that the test asks for is allowed; `graph`: one that is, or else one that is forbidden, with its
 * shortest cycle. NULL marks: none. False: the test has too many accesses. */
bool order_explain(const struct uma_litmus *test, const struct order_marks *marks, enum order_model model, enum order_verdict *verdict,
                   struct order_graph *graph);

/* What leads from one event to another in happens before (or LOST). */
enum order_edge order_edge(const struct order_graph *graph, enum order_model model, int from, int to);

/* Finds the shortest cycle of happens before in this execution; false when there is none. */
bool order_cycle(struct order_graph *graph, enum order_model model);

#endif
