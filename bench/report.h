/* The report: rows in, one HTML page out. It measures nothing, and works as well from rows that were saved. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "bench/rows.h"

/* ---- report.c. Before measuring: makes the directory and looks for what pictures need. 0, or -errno after a message on standard error. */
int bench_report_prepare(const char *directory);
int bench_make_directories(const char *directory); /* it and those above it, where they are missing; 0 or -errno */
/* Writes directory/index.html, in a directory that was prepared. 0, or -errno after a message on standard error.
 * `from` is the file that the rows were read from; NULL: they were measured just now, here. */
int bench_report(const struct bench_rows *rows, const char *directory, const char *from);
void bench_html(FILE *html, const char *text); /* escaped */

/* ---- wall.c. The wall in one sentence; false when the rows for it are missing. */
bool bench_wall_sentence(const struct bench_rows *rows, char *text, size_t room);

/* ---- sensitivity.c. How results change with each assumed number of the machines, the strongest first; nothing without such rows. Returns how many
 * results there are. */
int bench_sensitivity_print(FILE *out, bool html, const struct bench_rows *rows);

/* ---- parts.c. Programs on machines on paper: stacked bars, and tables; nothing without such rows. */
void bench_programs_section(FILE *html, const struct bench_rows *rows);

/* ---- host.c. The host as rows of a table. */
void bench_host_table(FILE *html);
void bench_host_processor(char *text, size_t room); /* its name */

/* ---- machines.c. Modelled machines, as they follow from the shipped profiles; 0 or negative. */
int bench_machines(FILE *html);

/* ---- targets.c. What the project set out to reach, against the rows. */
enum bench_verdict { BENCH_NOT_MEASURED, BENCH_REACHED, BENCH_MISSED };
struct bench_target {
  char what[120], wanted[48], measured[120];
  enum bench_verdict verdict;
};
#define BENCH_TARGETS 96
int bench_targets(const struct bench_rows *rows, struct bench_target *targets); /* how many, at most BENCH_TARGETS */

/* ---- figures.c. All pictures with their headings and explanations; 0 or -errno. */
int bench_figures(FILE *html, const struct bench_rows *rows);

/* ---- plot.c. Pictures by gnuplot, as SVG inside the page. */
struct bench_curve {
  const char *label, *color;
  const char *bench, *path, *mode; /* which rows; mode NULL: any */
  int devices;
  bool dashed;
};
struct bench_plot {
  const char *metric; /* of the rows; "latency" is drawn in time, anything else in its unit */
  const char *x, *y;  /* axis titles */
  bool linear;        /* the y axis, from 0 */
  const struct bench_curve *curves;
  int count;
};
/* Lines over bytes. 0 and nothing drawn when no row fits; 1 drawn; or -errno. */
int bench_plot_lines(FILE *html, const struct bench_rows *rows, const struct bench_plot *plot);

struct bench_group {
  const char *label; /* of the group on the x axis */
  const char *bench;
  int devices;
  size_t bytes;
};
struct bench_bars {
  const char *metric; /* of the rows; "latency" is drawn in time on a logarithmic axis, anything else from 0 */
  const char *y;      /* axis title */
  const struct bench_group *groups;
  int group_count;
  const struct bench_curve *curves; /* one bar of each group a curve; bench and devices come from the group */
  int curve_count;
};
/* Same result. */
int bench_plot_bars(FILE *html, const struct bench_rows *rows, const struct bench_bars *bars);

#endif
