/* What `uma calibrate` does: measures what this host's operations take, writes that as a profile (fabric/profiles/README.md), and looks how far
 * the modelled clock of that profile is from the measured one.
 *
 * The profile is made of few measurements: times of loads, stores and atomics, and curves through 24 sizes from 8 B to 16 MiB. What is
 * held against the model are the same operations at sizes between these (at the sizes of the curves they could only agree), and one that
 * no curve was made of. Both are measured by turns in one run, because a host's speed drifts within minutes. */
#ifndef BENCH_CALIBRATE_H
#define BENCH_CALIBRATE_H

#include <stdbool.h>

#include "bench/rows.h"

/* ---- latency.c: of the chains of latency.chase, rising; how many. `few`: every other one. */
#define BENCH_CHASE_SIZES 16
int bench_chase_sizes(bool quick, bool few, size_t *sizes);

/* ---- stream.c: of sweeps through memory; those of curves, or those of the benchmark alone */
const size_t *bench_sweep_sizes(bool curve, int *count);

extern const size_t bench_check_sizes[];
extern const int bench_check_size_count;

/* ---- calibrate.c. Measures for about so many seconds; `check`: what the model is to be held against, too. 0 or -errno, with a message. */
int bench_calibrate(int seconds, bool check, struct bench_rows *rows);
/* What was measured at some sizes, for people: the mean of the middle half of the samples, the least, the most. */
void bench_calibrate_print(FILE *out, const struct bench_rows *rows);
/* Runs the benchmarks on the modelled clock of the profile, and prints every measured row beside its modelled one. How many are more than 20 %
 * apart; or -errno, with a message. */
int bench_calibrate_check(FILE *out, const struct bench_rows *rows, const char *profile);

/* ---- calibrate_profile.c */
/* Where a curve of the profile is from: rows of the metric latency, or of bandwidth; and where `stream` has a name its gaps, from rows of bandwidth. */
struct bench_curve_source {
  const char *bench, *path, *mode, *stream;
  bool by_bandwidth;
};
extern const struct bench_curve_source bench_curve_sources[]; /* by enum fab_operation */

extern const size_t bench_curve_sizes[]; /* of transfers */
extern const int bench_curve_size_count;
const size_t *bench_sizes_of_curve(int operation, int *count);
/* The profile that follows from the rows. 0; -ENODATA after a message that names a row which it would need. */
int bench_calibrate_write(FILE *out, const struct bench_rows *rows);

#endif
