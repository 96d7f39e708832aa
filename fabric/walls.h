/* What grows with a machine besides its speed: the state that an address space needs, power, parts; and what of the speed arrives. Each as
 * numbers and as a table, text or HTML. */
#ifndef FAB_WALLS_H
#define FAB_WALLS_H

#include "fabric/topology.h"

/* ---- Coverage of the address space by capacity, with `devices` of the first kind of the topology. In bytes of the whole machine. */
struct fab_coverage {
  double devices, memory, lines; /* lines: of what a load brings */
  double full, limited, coarse;  /* directories: a bit a device; 4 pointers; a bit for each of 64 groups. A state byte each, besides */
  double translation;            /* page tables of 2 MiB pages, when each device maps all memory */
  int address_bits;              /* of the pooled memory */
};
void fab_coverage(const struct fab_topology *topology, double devices, struct fab_coverage *coverage);

/* ---- Power, at full load. */
struct fab_power {
  double devices, hosts, switches, total, drawn; /* W; drawn: total x PUE */
  double pue;                                    /* 1 where the profile says nothing */
};
void fab_power(const struct fab_profile *profile, const struct fab_topology *topology, struct fab_power *power);

/* ---- Complexity: the parts of a stage. */
struct fab_parts {
  double links, switches, cables; /* cables: the links that are no traces on a board */
};
void fab_parts(const struct fab_profile *profile, const struct fab_topology *topology, int network, int stage, struct fab_parts *parts);

/* ---- Stability (stability.c): of the time of a job on all devices, what makes progress. */
struct fab_stability {
  double mtbf, bytes, write, restart;           /* s between failures of the machine; bytes of a device, s to write them, s of a restart */
  double interval;                              /* s of work between two checkpoints */
  double value, writing, repeating, restarting; /* shares of all time, which add up to 1: progress, and what it costs */
  double low, high;                             /* of value, with all assumed numbers at their worst and at their best */
};
void fab_stability_of(struct fab_stability *stability); /* interval and shares, of mtbf, write and restart */
/* False: the profile says nothing of its failures. */
bool fab_stability(const struct fab_profile *profile, const struct fab_topology *topology, struct fab_stability *stability);
enum fab_status fab_stability_status(const struct fab_profile *profile); /* assumed where one of its numbers is, else derived */

/* ---- Efficiency, as vendors state it: generality x chip x node x cluster x stability. */
enum { FAB_FACTORS = 5 };
struct fab_factor {
  const char *name, *meaning;
  double value, low, high;             /* 1 for all where neither the run nor the profile says anything */
  enum fab_status status;              /* FAB_MEASURED: by the run */
  const struct fab_quantity *quantity; /* the profile's, or NULL */
  const struct fab_quantity *stated;   /* by the vendor, where value is the model's; or NULL */
  bool modelled;                       /* by fab_stability */
};
extern const char *const fab_factor_names[FAB_FACTORS];
/* `run`: what a run measured instead, by factor; NaN: the profile's number, or the model's. NULL: nothing. Returns the product. */
double fab_efficiency(const struct fab_profile *profile, const struct fab_topology *topology, const double run[FAB_FACTORS],
                      struct fab_factor factors[FAB_FACTORS]);

/* A run on the machine: where the modelled time of its devices went (their sum or their mean, ns), and what it computed.
 *   local       computing, and device memory
 *   scale_up    the network of loads and stores
 *   network     staging copies, NICs, and what is between servers
 *   waiting     for others: goes with scale_up and network as these stand to each other, and with local where both are 0
 *   work        of local, what computing took; operations: what it would have taken at the card's stated rate */
struct fab_run {
  double operations, work, local, scale_up, network, waiting;
};
/* What the run says of each factor; NaN: nothing.
 *   chip     operations : work
 *   node     work : all but the network and the waiting that goes with it
 *   cluster  all but the network and the waiting that goes with it : all time
 * Their product is what of the stated rate the run reached: its model FLOPs utilisation. Nothing when it computed nothing. */
void fab_run_factors(const struct fab_run *run, double factors[FAB_FACTORS]);

/* ---- Tables. */
void fab_print_coverage(FILE *out, bool html, const struct fab_topology *topology);
void fab_print_power(FILE *out, bool html, const struct fab_profile *profile, const struct fab_topology *topology);
void fab_print_parts(FILE *out, bool html, const struct fab_profile *profile, const struct fab_topology *topology);
/* All shipped profiles, a row each: size, memory, reach, power, parts, what a byte and a load to the farthest device cost. 0 or -errno. */
int fab_print_machines(FILE *out, bool html);
void fab_print_stability(FILE *out, bool html, const struct fab_profile *profile, const struct fab_topology *topology); /* with its terms */
/* run NULL: all from the profile, followed by the terms of its stability. */
void fab_print_efficiency(FILE *out, bool html, const struct fab_profile *profile, const struct fab_topology *topology,
                          const struct fab_run *run);

#endif
