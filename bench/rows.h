/* Rows: what a benchmark says, one JSON object a line, and the statistics in them. Nothing here knows how rows are measured. */
#ifndef BENCH_ROWS_H
#define BENCH_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* A row is identified by everything up to `unit`. Fixed text fields, so that a row may be copied and may lie in shared memory. */
struct bench_row {
  char bench[48];    /* family.name */
  char path[16];     /* direct, line, rma, copy, message, atomic, raw, mpi, oshmem ...; a protocol */
  char mode[16];     /* supernode, stacked, or - where neither means anything */
  char clock[16];    /* measured or modelled */
  char profile[192]; /* of the modelled machine, or - */
  int devices;
  size_t bytes;    /* of one operation */
  char metric[16]; /* latency, bandwidth, rate, time, hit_rate, acks, messages, bytes; of programs those of parts.h */
  char unit[8];    /* ns, GB/s, M/s, s, msg, B, or - for a share of one */
  double median, min, max;
  int n; /* samples behind the three */
};

struct bench_rows {
  struct bench_row *row;
  size_t count, room;
};

struct bench_statistics {
  double median, min, max;
  double midmean; /* of the middle half of all samples: like a median, and steady where a host has two speeds */
  int n;
};

/* `samples` is not changed. n is at least 1; the median of an even number is the mean of the middle two. */
void bench_statistics(const double *samples, int n, struct bench_statistics *statistics);

/* The command that runs, as messages name it: "uma bench", unless another one says so at its beginning. */
extern const char *bench_command;

bool bench_row_modelled(const struct bench_row *row);
/* Of a machine with one assumed number at an end of its range, from bench/sensitivity.c: its profile is "MACHINE:NUMBER=VALUE (low)" or "(high)". */
bool bench_row_varied(const struct bench_row *row);
bool bench_row_same(const struct bench_row *a, const struct bench_row *b); /* the same identity? */
int bench_row_write(FILE *out, const struct bench_row *row);               /* 0 or -EIO */
/* 0, or -EINVAL with what was wrong, and what was expected, in `why`. */
int bench_row_parse(const char *line, struct bench_row *row, char *why, size_t why_bytes);

int bench_rows_add(struct bench_rows *rows, const struct bench_row *row); /* 0 or -ENOMEM */
void bench_rows_free(struct bench_rows *rows);
/* Adds a file's rows. On an error says file:line and the reason on standard error, and returns -errno. */
int bench_rows_load(struct bench_rows *rows, const char *file);
int bench_rows_save(const struct bench_rows *rows, const char *file); /* "-" is standard output */
/* Whether a file could be written there; "-" and NULL: yes. Leaves nothing behind. 0, or -errno after a message that begins with `who`. */
int bench_output_check(const char *who, const char *file);

/* The first measured row that fits: NULL, -1 devices and BENCH_ANY bytes fit everything. NULL when there is none. */
#define BENCH_ANY ((size_t)-1)
const struct bench_row *bench_rows_find(const struct bench_rows *rows, const char *bench, const char *path, const char *mode, int devices,
                                        size_t bytes, const char *metric);
/* The row of that identity, or NULL. */
const struct bench_row *bench_rows_find_same(const struct bench_rows *rows, const struct bench_row *identity);

/* "8 B", "64 KiB", "1.5 MiB" into `text`, and returned; "-" for 0. */
const char *bench_size_text(size_t bytes, char *text, size_t room);
/* A value with its unit, scaled to be read: 1500 ns becomes "1.50 us". */
const char *bench_value_text(double value, const char *unit, char *text, size_t room);

/* The compact table of `uma bench`. */
void bench_rows_print(const struct bench_rows *rows, FILE *out);

#endif
