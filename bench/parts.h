/* Where the modelled time of a program went on a machine on paper, in six parts that add up to it, and what of the machine's stated rate it
 * reached: as rows, as a picture of stacked bars, as tables. By `uma compare`, `uma bench` and the report. */
#ifndef BENCH_PARTS_H
#define BENCH_PARTS_H

#include "bench/rows.h"
#include "fabric/walls.h"
#include "uma.h"

enum { BENCH_PARTS = 6, BENCH_PROGRAM_ROWS = 1 + BENCH_PARTS + 2 + FAB_FACTORS + 1, BENCH_PROGRAMS = 128 };

/* One program on one machine: the mean of its devices. In rows each value has a metric of its own: time, the parts by their names; of
 * programs that charged operations (uma_compute) also work, operations, the factors by theirs, and their product, efficiency. */
struct bench_program {
  struct bench_row row;                       /* bench, mode, profile, devices, bytes: who it was; median: all its time, ns */
  double part[BENCH_PARTS], work, operations; /* ns; the last two as in struct uma_modelled */
  double factor[FAB_FACTORS];                 /* NaN: nothing is known of it, so it counts as 1 */
  double efficiency;                          /* NaN: no operations were charged */
};
extern const struct bench_part {
  const char *metric, *label, *color; /* "scale_up", "scale-up" */
} bench_parts[BENCH_PARTS];

void bench_parts_mean(const struct uma_modelled *modelled, int devices, double part[BENCH_PARTS]); /* in the order of bench_parts */
/* Of the topology's devices, which did `modelled`; the factors that a run does not give are the profile's. */
void bench_program_make(const struct bench_row *identity, const struct uma_modelled *modelled, const struct fab_profile *profile,
                        const struct fab_topology *topology, struct bench_program *program);
void bench_program_run(const struct bench_program *program, struct fab_run *run);
int bench_program_rows(const struct bench_program *program, struct bench_row rows[BENCH_PROGRAM_ROWS]); /* how many */
/* All programs that have rows, those of one kind of work side by side, at most BENCH_PROGRAMS; how many. */
int bench_programs_find(const struct bench_rows *rows, struct bench_program *programs);

/* Stacked bars, one a machine; those of the same work have one scale. A whole SVG. */
void bench_programs_svg(FILE *out, const struct bench_program *programs, int count);
void bench_programs_table(FILE *out, bool html, const struct bench_program *programs, int count);
void bench_programs_efficiency(FILE *out, bool html, const struct bench_program *programs, int count); /* nothing where none computed */

/* ---- programs.c. What a program is, for people; the name itself where it is none of the suite's. */
const char *bench_program_title(const char *bench);

#endif
