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

/* ---- Efficiency, as vendors state it: generality x chip x node x cluster x stability. */
enum { FAB_FACTORS = 5 };
struct fab_factor {
  const char *name, *meaning;
  double value, low, high;             /* 1 for all where neither the run nor the profile says anything */
  enum fab_status status;              /* FAB_MEASURED: by the run */
  const struct fab_quantity *quantity; /* the profile's, or NULL */
};
/* `run`: what a run measured instead, by factor; NaN: the profile's number. NULL: all from the profile. Returns the product. */
double fab_efficiency(const struct fab_profile *profile, const double run[FAB_FACTORS], struct fab_factor factors[FAB_FACTORS]);

/* ---- Tables. */
void fab_print_coverage(FILE *out, bool html, const struct fab_topology *topology);
void fab_print_power(FILE *out, bool html, const struct fab_profile *profile, const struct fab_topology *topology);
void fab_print_parts(FILE *out, bool html, const struct fab_profile *profile, const struct fab_topology *topology);
/* All shipped profiles, a row each: size, memory, reach, power, parts, what a byte and a load to the farthest device cost. 0 or -errno. */
int fab_print_machines(FILE *out, bool html);
void fab_print_efficiency(FILE *out, bool html, const struct fab_profile *profile, const double run[FAB_FACTORS]);

#endif
