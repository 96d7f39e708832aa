/* A machine on paper: a profile describes one real system in published numbers. It is a text (libconfig), found by the name of one that
 * comes with the library (fabric/profiles/NAME.conf) or by path. The document of the language is fabric/profiles/README.md.
 *
 * Glossary
 *   quantity     a number that says what it is: value with unit, status, source. No other number stands in a profile
 *   status       published: the source says so. derived: follows from published ones by the formula that is written beside. measured: by
 *                `uma calibrate` on this host. assumed: nobody says; a plausible range low .. high stands beside, so that one can compute how
 *                much hangs on it
 *   server       the innermost level: what shares one host
 *   device       one accelerator with its memory
 *   level        servers are made of devices, supernodes of servers ...: what is counted. Innermost first; the last is the whole machine
 *   network      scale-up: devices load from and store to each other's memory. scale-out: between NICs, for messages
 *   stage        of a network: the switches (or the mesh) that join, inside one unit of its level, the units of the stage below
 *   link         a kind of cable: latency and overhead of one crossing with the switch behind it, bandwidth and energy of one direction
 *   curve        what one operation takes by its size, at points where somebody measured it: between them on straight lines. Goes before
 *                what the terms of its way add up to
 *
 * A loaded profile is plain numbers in base units: bytes, bytes a second, ns, operations a second, W, pJ/bit, counts, ratios.
 * fabric/topology.h makes a machine of it. To see how a result depends on a number, change quantity.value between the two. */
#ifndef FAB_PROFILE_H
#define FAB_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
  FAB_LEVELS = 6,
  FAB_STAGES = 4,
  FAB_LINKS = 12,
  FAB_ACCELERATORS = 4,
  FAB_PROFILE_QUANTITIES = 256,
  FAB_MACHINE_NAME = 40,
  FAB_CURVE_POINTS = 24
};

enum fab_dimension {
  FAB_BYTES,            /* B, KB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB */
  FAB_BYTES_PER_SECOND, /* MB/s, GB/s, TB/s, and Mb/s, Gb/s, Tb/s in bits */
  FAB_DURATION,         /* ps, ns, us, ms, s; held in ns */
  FAB_LONG_DURATION,    /* min, h, days, years; held in s */
  FAB_OPERATIONS,       /* a second: GFLOPS, TFLOPS, PFLOPS, TOPS ... */
  FAB_POWER,            /* mW, W, kW, MW */
  FAB_ENERGY_PER_BIT,   /* fJ/bit, pJ/bit, nJ/bit; held in pJ/bit */
  FAB_RATIO,            /* "1.04 x", "60 %" */
  FAB_COUNT,            /* whole, at least 1, of the thing that the unit names: "8 devices" */
  FAB_DIMENSIONS
};

enum fab_status { FAB_ABSENT, FAB_PUBLISHED, FAB_DERIVED, FAB_MEASURED, FAB_ASSUMED, FAB_STATUSES };
enum fab_dtype { FAB_FP64, FAB_FP32, FAB_TF32, FAB_BF16, FAB_FP16, FAB_FP8, FAB_INT8, FAB_DTYPES };

struct fab_quantity {
  double value;     /* in the base unit; 0 where status is FAB_ABSENT */
  double low, high; /* assumed: the plausible range; otherwise the value */
  enum fab_status status;
  enum fab_dimension dimension;
  const char *text; /* as it is written: "400 GB/s" */
  const char *unit; /* the written unit */
  const char *low_text, *high_text;
  const char *document; /* title, table, date; NULL: assumed */
  const char *place;    /* in the document, or ""; assumed: the reason */
  const char *formula;  /* derived only */
  int line;             /* of the file */
};

struct fab_accelerator {
  char name[FAB_MACHINE_NAME];
  struct fab_quantity devices; /* how many of them the machine has; absent when it has no others */
  struct fab_quantity memory, memory_bandwidth, memory_latency;
  struct fab_quantity memory_energy; /* optional */
  struct fab_quantity store_latency,
      atomic_latency;        /* in its own memory, until the next instruction may go on; until the old value is back */
  struct fab_quantity line;  /* what one load brings at most */
  struct fab_quantity cache; /* optional: of what it has touched since it last met others, so much is as near as its own memory */
  struct fab_quantity flops[FAB_DTYPES]; /* dense; absent where it has none */
  struct fab_quantity power;
};

/* The way of device memory to a NIC through its server's host. */
struct fab_host {
  struct fab_quantity pcie_latency, pcie_bandwidth, pcie_overhead; /* one device's slot, one direction; overhead: start of a DMA transfer */
  struct fab_quantity pcie_energy;                                 /* optional */
  struct fab_quantity memory, memory_latency, memory_bandwidth;
  struct fab_quantity bounce_buffer; /* bytes of one; a staged copy moves chunks of this size */
  struct fab_quantity power;         /* of a server without its devices; optional */
};

enum fab_medium { FAB_BOARD, FAB_COPPER, FAB_OPTICAL, FAB_MEDIA }; /* a trace or backplane; the other two are cables */

struct fab_link {
  char name[FAB_MACHINE_NAME];
  enum fab_medium medium;
  struct fab_quantity latency, bandwidth, overhead, energy; /* overhead: how long a message occupies the link besides its bytes */
};

struct fab_level {
  char name[FAB_MACHINE_NAME];
  struct fab_quantity of; /* "8 devices", "16 servers": the unit names the level below */
};

struct fab_stage {
  int level;                            /* index in levels: the stage joins what is inside one unit of it */
  bool mesh;                            /* a link between any two, no switches */
  int line;                             /* of the file */
  int link[FAB_ACCELERATORS];           /* index in links, for each kind of accelerator */
  struct fab_quantity lanes;            /* links in parallel from each unit below to the switches (mesh: to each other unit) */
  struct fab_quantity switches;         /* of this stage in one unit of its level; mesh: absent */
  struct fab_quantity oversubscription; /* what comes from below : what goes up from here to this stage; first stage: absent */
};

struct fab_network {
  int stage_count; /* 0: the machine has no such network */
  int line;        /* of the file */
  struct fab_stage stage[FAB_STAGES];
  bool coherent;                       /* scale-up: hardware keeps copies consistent */
  bool by_session;                     /* scale-up: it joins what the session's coherence domains join; optional */
  bool staged;                         /* scale-out: NICs reach host memory only, so messages go through bounce buffers */
  struct fab_quantity message_latency; /* scale-up: of the software, for one message or one step of a collective; optional */
  struct fab_quantity nics;            /* scale-out: of one unit of the first level; its devices share them evenly */
  struct fab_quantity nic_latency;     /* scale-out: of a NIC with its software, at each end of a message */
  struct fab_quantity nic_overhead;    /* scale-out: for how long a message occupies a NIC, whatever its size */
  struct fab_quantity switch_power;    /* of one switch; optional */
};

struct fab_efficiency { /* factors of the product; all optional */
  struct fab_quantity generality, chip, node, cluster;
  struct fab_quantity stability; /* as the vendor states it: of profiles without reliability also the factor */
};

#define FAB_RELIABILITY "reliability" /* the group, and how the names of its numbers begin */
/* How often a job that uses all devices is thrown back, and how far: fabric/stability.c. Optional as a whole. */
struct fab_reliability {
  struct fab_quantity mtbf;              /* mean time between failures of one device, with its share of all else that stops a job */
  struct fab_quantity state;             /* of the memory, what a checkpoint saves: a ratio */
  struct fab_quantity storage_bandwidth; /* what it takes in, and gives, for each device */
  struct fab_quantity restart;           /* from a failure until the job begins to read its checkpoint */
};

/* Of what a curve is. Near: over the scale-up network; far: by message between coherence domains. Cached: of what lies in the device's cache. Read and
 * write: by plain loads and stores of another device's memory; cached_read and cached_write: again, with nobody else at it meanwhile, however large it is. Chase: one load of many that wait for each other, by the size of the memory through
 * which they go, which is another device's or the own. */
enum fab_operation {
  FAB_GET,
  FAB_PUT,
  FAB_MESSAGE,
  FAB_CACHED_GET,
  FAB_CACHED_PUT,
  FAB_READ,
  FAB_WRITE,
  FAB_FAR_GET,
  FAB_FAR_PUT,
  FAB_FAR_MESSAGE,
  FAB_CHASE,
  FAB_OWN_CHASE,
  FAB_CACHED_READ,
  FAB_CACHED_WRITE,
  FAB_CURVES
};

struct fab_curve {
  int count; /* 0: absent */
  int line;  /* of the file */
  enum fab_status status;
  const char *document, *place;
  struct fab_curve_point {
    double bytes, time, gap; /* ns until all is there, and until the same device may begin the next; without gaps: 0 */
  } point[FAB_CURVE_POINTS]; /* of rising size */
};

struct fab_named_quantity {
  char name[3 * FAB_MACHINE_NAME]; /* "links.nvlink.latency" */
  struct fab_quantity *quantity;
};

struct fab_profile {
  char name[FAB_MACHINE_NAME]; /* of the file */
  const char *title, *about;
  int accelerator_count, link_count, level_count;
  struct fab_accelerator accelerator[FAB_ACCELERATORS];
  struct fab_host host;
  struct fab_link link[FAB_LINKS];
  struct fab_level level[FAB_LEVELS];
  struct fab_network scale_up, scale_out;
  struct fab_curve curve[FAB_CURVES]; /* optional, as a whole and each */
  struct fab_quantity pue;            /* power drawn : power of the machines; optional */
  struct fab_efficiency efficiency;
  struct fab_reliability reliability;
  /* All quantities that the file gives, in the order of the file: for tables and sensitivity */
  int quantity_count;
  struct fab_named_quantity quantity[FAB_PROFILE_QUANTITIES];
  void *config;  /* owns the texts */
  char *changes; /* and this those of what was changed; NULL: nothing */
};

/* ---- profile.c. Reads the profile of that name (one of the user's own, else one that comes with the library) or path (a name with a / or
 * .conf); behind either ":NAME=NUMBER UNIT;..." replaces numbers of it (profile_change.c). Every mistake is reported on its own line,
 * "FILE:LINE: what, and what was expected". Returns the profile, or NULL with errno (EINVAL after mistakes; why the file cannot be read, after
 * a message; ENOMEM). */
struct fab_profile *fab_profile_load(const char *name_or_path, FILE *report);
struct fab_profile *fab_profile_parse(const char *text, const char *file, FILE *report); /* `file` is what mistakes are reported against */
void fab_profile_free(struct fab_profile *profile);
struct fab_quantity *fab_profile_find(struct fab_profile *profile, const char *name); /* "links.nvlink.latency"; NULL: it gives no such */

#define FAB_THIS_HOST "this-host" /* the name of the profile that `uma calibrate` writes among the user's own */

/* Where a profile of the user's own lies: $UMA_PROFILES, or $XDG_CONFIG_HOME/uma, or $HOME/.config/uma; then /NAME.conf. 0, -ENOENT when
 * none of these is set, or -ENAMETOOLONG. */
int fab_profile_path(const char *name, char *path, size_t room);

/* ---- profile_change.c */
size_t fab_profile_base(const char *name); /* how many characters come before the changes, if there are any */
/* "links.nvlink.latency=100 ns;...": 0, or -EINVAL after a line on `report` for each mistake, or -ENOMEM. Once for a profile: it owns the texts. */
int fab_profile_change(struct fab_profile *profile, const char *changes, FILE *report);

/* ---- profile_quantity.c */
extern const char *const fab_dtype_names[FAB_DTYPES];
extern const char *const fab_status_names[FAB_STATUSES]; /* "absent", "published" ... */
extern const char *const fab_medium_names[FAB_MEDIA];
extern const char *const fab_operation_names[FAB_CURVES]; /* "get", "far_message" ... */
/* "NUMBER UNIT" into value and unit (which points into text). NULL, or what was expected instead (of any thread until its next call). */
const char *fab_quantity_parse(const char *text, enum fab_dimension dimension, double *value, const char **unit);

/* "document, place", or the reason of what is assumed; returns text. */
const char *fab_source_text(const struct fab_quantity *quantity, char *text, size_t room);

/* ---- profile_check.c: what only the whole shows. Returns the number of mistakes that it reported against `file`. */
int fab_profile_check(const struct fab_profile *profile, const char *file, FILE *report);
uint64_t fab_profile_devices(const struct fab_profile *profile, int level); /* in one unit of the level; of the last: in the machine */

/* ---- profile_shipped.c: the files of fabric/profiles/, byte for byte */
const char *fab_shipped_profile(int index); /* its name; NULL behind the last */
const char *fab_shipped_profile_text(const char *name);

#endif
