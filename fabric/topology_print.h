/* A topology, and the ways in it, for people: as text, as a graph for graphviz, as a picture. What has thousands of parts is shown by one of
 * them and a number. */
#ifndef FAB_TOPOLOGY_PRINT_H
#define FAB_TOPOLOGY_PRINT_H

#include "fabric/topology.h"

struct fab_pair {
  bool wanted;
  uint64_t a, b;  /* devices */
  uint64_t bytes; /* of the copy whose cost is told */
};

/* ---- topology_print.c */
void fab_print_topology(FILE *out, const struct fab_profile *profile, const struct fab_topology *topology);
/* Every way from pair->a to pair->b, term by term. */
void fab_print_ways(FILE *out, const struct fab_topology *topology, const struct fab_pair *pair);
/* Every number of the profile with its status and source. */
void fab_print_numbers(FILE *out, const struct fab_profile *profile);
void fab_print_topology_dot(FILE *out, const struct fab_profile *profile, const struct fab_topology *topology);

/* ---- topology_svg.c. With the ways of the pair when it is wanted. */
void fab_print_topology_svg(FILE *out, const struct fab_profile *profile, const struct fab_topology *topology, const struct fab_pair *pair);

/* ---- units.c: numbers for people, into text; return text. Three or four digits, powers of 1000. */
const char *fab_text_ticks(uint64_t ticks, char *text, size_t room);              /* "1.28 us" */
const char *fab_text_seconds(double seconds, char *text, size_t room);            /* "13.9 min" */
const char *fab_text_bytes(double bytes, char *text, size_t room);                /* "80 GB" */
const char *fab_text_bandwidth(double bytes_per_second, char *text, size_t room); /* "400 GB/s" */
const char *fab_text_count(double count, char *text, size_t room);                /* "10,240" */
const char *fab_text_power(double watts, char *text, size_t room);                /* "5.6 kW" */

#endif
