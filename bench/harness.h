/* The harness: how every benchmark of `uma bench` is run.
 *
 * Glossary
 *   case      One named benchmark, `family.name`. Its run function starts sessions (bench_spawn) and lets their devices compare variants.
 *   variant   One way to do the work of a comparison: a window's load, a plain mapping's load, uma_get ...
 *   series    The samples of one row. A sample is the mean of one timed stretch of many operations.
 *   round     One stretch of every variant of a comparison, one after the other: A B A B. Ratios hold although the host's speed drifts.
 *   pass      One run of all chosen cases, each followed by its peers. Samples of all passes are in the same series.
 *   board     Shared memory between this process and all devices it starts: the series, and the first error.
 *
 * A row is the median, least and largest sample of a series. Everything that fails, in whichever process, ends up on the board
 * (bench_fail) and makes the command fail; series are written after their operations were checked only.
 */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/rows.h"
#include "uma.h"

#define BENCH_SAMPLES 128
#define BENCH_SERIES 65536
#define BENCH_VARIANTS 8

#define KiB ((size_t)1 << 10)
#define MiB ((size_t)1 << 20)

struct bench_options {
  bool quick;
  int peers;           /* 1 wanted, 0 not, -1 when installed */
  const char *trace;   /* for kvpool; NULL: its own generator */
  char **profiles;     /* machines that are modelled as well; NULL: none, and ended by it */
  bool modelled_only;  /* nothing is measured */
  bool sensitivity;    /* also with each assumed number of the profiles at its low and its high */
  const size_t *sizes; /* rising, from 64 B on of whole lines, instead of those of the benchmarks; NULL: these */
  int size_count;
  bool midmean;    /* rows have that for their median */
  int passes;      /* that measure; 0: 3 */
  double limit_ns; /* how long all rounds of one comparison may last, roughly; 0: as quick says */
  char **names;    /* prefixes of the cases to run; none: all */
  int name_count;
};

struct bench_series {
  struct bench_row row;
  int count;
  int n;              /* samples that a peer took for those kept here, its medians; 0: none */
  double least, most; /* a peer's extremes */
  double samples[BENCH_SAMPLES];
};

struct bench_board {
  atomic_int failed;
  char error[512];    /* written by who set `failed` */
  atomic_long shared; /* bench_share */
  int series_count;   /* device 0 adds series while devices run, this process otherwise */
  struct bench_series series[BENCH_SERIES];
};

/* Everything that a benchmark looks at. Set before the first case; devices inherit it and only write to the board. */
struct bench_run {
  struct bench_options options;
  struct bench_board *board;
  bool terminal; /* progress is shown */
  int rounds, passes;
  const char *profile;   /* of the machine that this pass models; NULL: it measures */
  const char *end;       /* at which end of its range a number of that profile is, "low" or "high"; NULL: none is */
  int pass, done, total; /* progress: which pass, cases done and to do in all passes */
  double stretch_ns;     /* how long one timed stretch should last */
  double limit_ns;       /* how long all rounds of one comparison may last, roughly */
  char directory[512];   /* of this program: peers and examples are beside it */
};
extern struct bench_run bench_run;

struct bench_case {
  const char *name, *help;
  int (*run)(void); /* 0, or -errno after bench_fail */
};

/* One family a file; each array ends with an empty case. */
extern const struct bench_case bench_latency_cases[];
extern const struct bench_case bench_transfer_cases[];
extern const struct bench_case bench_message_cases[];
extern const struct bench_case bench_random_cases[];
extern const struct bench_case bench_sync_cases[];
extern const struct bench_case bench_collective_cases[];
extern const struct bench_case bench_stream_cases[];
extern const struct bench_case bench_coherence_cases[];
extern const struct bench_case bench_transition_cases[];
extern const struct bench_case bench_traffic_cases[];
extern const struct bench_case bench_page_cases[];
extern const struct bench_case bench_kernel_cases[];
extern const struct bench_case bench_session_cases[];
extern const struct bench_case bench_kvpool_cases[];
extern const struct bench_case bench_ofi_cases[];
extern const struct bench_case bench_hosts_cases[];
extern const struct bench_case bench_program_cases[]; /* on modelled machines only */

/* ---- suite.c */
extern char *bench_default_machines[]; /* on which programs are modelled when no others are named; ended by NULL */
void bench_list(FILE *out);
/* The chosen cases with their peers, as rows. 0, or -errno after a message on standard error; rows of what was completed are kept. */
int bench_suite(const struct bench_options *options, struct bench_rows *rows);

/* ---- harness.c: in this process */
int bench_start(const struct bench_options *options); /* 0 or -errno */
void bench_finish(struct bench_rows *rows);           /* the rows of all series, in the order in which they began */
bool bench_selected(const char *name);                /* chosen on the command line? */
void bench_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void bench_progress_end(void);

/* A session of devices, each pinned to a core (device modulo cores), that run body(argument). */
struct bench_session {
  int devices;
  int mode;             /* UMA_MODE_SUPERNODE or UMA_MODE_STACKED */
  int servers;          /* 0: in mode stacked two, of half the devices each, else one */
  int hosts;            /* that share no memory, and talk by libfabric over loopback; 0: 1 */
  bool rma;             /* stacked servers reach each other's windows by libfabric over loopback */
  size_t memory;        /* of a window; 0: 256 MiB */
  int hugepages;        /* 0: never */
  const char *protocol; /* of coherent caches, 1 MiB each; NULL: none, windows are mapped as they are */
  size_t line;          /* of theirs; 0: 64 */
  bool paged;           /* they are caches of pages, with room for all windows */
  size_t page;          /* of those; 0: 4 KiB */
  int faults;           /* of those; 0: UMA_FAULTS_SIGNAL */
  bool counted;         /* uma_counters counts, which makes every access slow */
};
int bench_spawn(const struct bench_session *session, void (*body)(void *argument), void *argument);

/* A plain shared mapping that devices inherit: what the windows are compared with. NULL after bench_fail. */
void *bench_map(size_t bytes);
void bench_unmap(void *memory, size_t bytes);

const size_t *bench_sizes(int *count);      /* 8 B to 64 MiB, or what options.sizes has */
const int *bench_device_counts(int *count); /* 2, 4, 8; quick: 2 */
void bench_pin(int device);
int bench_line_round_trip(const char *bench); /* one line between two cores and back, as a row */

/* The identity of a measured row. */
struct bench_row bench_row_of(const char *bench, const char *path, const char *mode, int devices, size_t bytes, const char *metric,
                              const char *unit);

void bench_row_model(struct bench_row *row, const char *profile); /* it is on the modelled clock of that machine */

/* ---- harness.c: anywhere. The first error wins; always returns -EIO. */
int bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
struct bench_series *bench_series(const struct bench_row *identity);
void bench_record(const struct bench_row *identity, double sample);
void bench_record_row(const struct bench_row *row); /* a row that another program measured */

/* ---- sensitivity.c: in this process. Passes on the profile's machine: more of it as it is, then with each assumed number at its low and at its
 * high; keeps the rows of numbers that change a row. `run`: one pass. 0 or -errno. */
int bench_sway(const char *profile, void (*run)(const char *profile));
int bench_sway_count(const char *profile); /* how many passes that will be */

/* ---- child.c: another program, with a line of its standard output at a time */
struct bench_child {
  char *const *arguments;
  const char *const *environment; /* pairs of name and value, ended by NULL */
  int seconds;                    /* then it is ended */
  void (*line)(void *context, const char *line);
  void *context;
};
int bench_child_run(const struct bench_child *child); /* 0, or -EIO after bench_fail */
void bench_child_after(void);                         /* when this process was interrupted meanwhile: ends it now */
bool bench_in_path(const char *program);              /* could it be run by its name? */

/* ---- peers.c */
bool bench_peers_installed(char *missing, size_t room);     /* both peers; else what is missing */
int bench_peers_run(const char *const *names, int devices); /* those of the cases that the peers know, both peers; 0 or -EIO */

/* ---- measure.c: in devices */
void bench_check(int result, const char *what); /* ends the device, and with it the session, when result is negative */
void bench_die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2))); /* the same, with a sentence of its own */
#define bench_require(condition, ...) \
  do { \
    if (!(condition)) bench_die(__VA_ARGS__); \
  } while (0)
long bench_share(long value); /* collective: device 0's value */
void bench_barrier(void);     /* uma_barrier and uma_flush, which do not fail here */
void bench_flush(void);

enum { BENCH_LATENCY = 1, BENCH_BANDWIDTH = 2, BENCH_RATE = 4 };
struct bench_variant {
  const char *bench, *path;
  const char *mode;                        /* NULL: the session's */
  size_t bytes;                            /* of one operation */
  int metrics;                             /* which rows */
  double operations;                       /* in one count of step; 0 means 1 */
  void (*prepare)(void *context);          /* not timed, before every count; NULL: none */
  void (*step)(void *context, long count); /* `count` times the work; with prepare, count is 1 */
  void *context;
  void (*warm)(void *context); /* not timed, before every stretch: what the other variants have displaced; NULL: none */
};
/* Collective: all devices call prepare and step; device 0's time counts. */
void bench_compare(const struct bench_variant *variants, int count);

#define bench_keep(value) __asm__ volatile("" : : "r,m"(value) : "memory") /* the value is needed, and memory may have changed */
static inline uint64_t bench_zero(void)                                    /* 0, which the compiler does not know */
{
  uint64_t zero = 0;
  __asm__ volatile("" : "+r"(zero));
  return zero;
}

#endif
