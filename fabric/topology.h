/* The machine that a profile describes: where each device sits, the way between any two, and what it costs.
 *
 *     struct fab_topology topology;
 *     fab_topology_make(profile, devices, &topology, stderr);          devices 0: all that the profile has
 *     fab_topology_path(&topology, a, b, FAB_WAY_BEST, &path);         a few legs of a few steps
 *     fab_path_ticks(&path, bytes, 0);                                 closed form, nobody else on the way
 *
 * Devices are numbered from the innermost level out: device d sits in unit d / size of each level. Nothing is made for a single device, so a
 * topology is small, whatever its size, and a path takes time in proportion to its stages. A topology has no pointers: it may lie in
 * shared memory. Everything here is a pure function of its arguments.
 *
 * Time is counted in ticks of 10 ps: fine enough for 32 bytes at 3 TB/s, and 64 bits hold 5.8 years. Durations are at most FAB_TICKS_MOST
 * (a year: saturating), so that the sum of a clock that has not passed a year and one more duration never overflows.
 *
 * How a clock charges a path, with others on the way. A path is a list of *legs*, a leg a list of *steps*. Within a leg bytes stream
 * (cut-through): the first byte, `head`, meets the latencies alone, as links carry several messages by turns; the last byte, `tail`, is not
 * across a resource before that has done all the work that it was given. Between legs each chunk is stored and forwarded. A chunk that is ready
 * at time t does a leg like this:
 *     head = tail = t; for each step: fab_step_pass(step, bytes, &free[step.resource], &head, &tail)
 * and `tail` is when the next leg may begin with it. With nobody else this adds up to fab_path_ticks, to the tick. Pass chunks in about the
 * order of their times: what comes later but was ready earlier waits behind what came first.
 *
 * Resources are numbered densely, 0 .. fab_topology_resources() - 1, so an array of that many `free` times is the whole state of the queues. */
#ifndef FAB_TOPOLOGY_H
#define FAB_TOPOLOGY_H

#include "fabric/profile.h"

#define FAB_TICKS_PER_NS 100ULL
#define FAB_TICKS_PER_SECOND (1000000000ULL * FAB_TICKS_PER_NS)
#define FAB_TICKS_MOST (366ULL * 86400 * FAB_TICKS_PER_SECOND)
_Static_assert(UINT64_MAX / FAB_TICKS_PER_SECOND / 86400 / 366 >= 2, "a year and one more duration fit");

/* How one device reaches the memory of another. */
enum fab_reach { FAB_REACH_SELF = 1, FAB_REACH_LOAD_STORE, FAB_REACH_MESSAGE };

enum fab_way {
  FAB_WAY_BEST,       /* load and store inside a scale-up domain; otherwise direct or staged as the profile's scale_out.staged says */
  FAB_WAY_LOAD_STORE, /* over the scale-up network */
  FAB_WAY_DIRECT,     /* by message; the NIC reads and writes device memory */
  FAB_WAY_STAGED,     /* by message through bounce buffers in host memory on both sides */
};

enum fab_step_kind {
  FAB_STEP_MEMORY, /* a device's memory is read or written */
  FAB_STEP_PCIE,   /* a device's slot, one direction */
  FAB_STEP_HOST,   /* host memory of a server is read or written */
  FAB_STEP_NIC,    /* a NIC with its software, one direction */
  FAB_STEP_UP,     /* a link to the switches of a stage */
  FAB_STEP_DOWN,   /* and from them */
  FAB_STEP_ACROSS, /* a link of a mesh */
};

struct fab_step {
  uint64_t resource;  /* shared with everybody whose path has the same number */
  uint64_t latency;   /* ticks until the first byte is across */
  uint64_t overhead;  /* ticks for which a message occupies it besides its bytes; of links side by side, their share */
  uint64_t bandwidth; /* bytes a second; 0: its bytes cost nothing here */
  uint64_t energy;    /* fJ a byte */
  uint8_t kind;       /* enum fab_step_kind */
  uint8_t network;    /* 0 scale-up, 1 scale-out; of UP, DOWN, ACROSS */
  uint8_t stage;
  uint8_t link; /* index in the topology's links */
};

enum { FAB_LEG_STEPS = 2 * FAB_STAGES + 6, FAB_PATH_LEGS = 3 };

struct fab_leg {
  int count;
  struct fab_step step[FAB_LEG_STEPS];
};

struct fab_path {
  enum fab_way way; /* never FAB_WAY_BEST */
  int count;        /* of legs: 1, or 3 when staged */
  uint64_t chunk;   /* bytes of one bounce buffer when staged; otherwise 0: all goes at once */
  struct fab_leg leg[FAB_PATH_LEGS];
};

/* One kind of device, for charging what it does by itself. */
struct fab_device_kind {
  char name[FAB_MACHINE_NAME];
  uint64_t last;                           /* devices of this kind end before this number */
  uint64_t memory_bytes, memory_bandwidth; /* bytes, bytes a second */
  uint64_t load, store, atomic;            /* ticks, in its own memory */
  uint64_t cache_bytes;                    /* 0: what it has touched does not get nearer */
  uint64_t memory_energy;                  /* fJ a byte */
  uint64_t line_bytes;
  double flops[FAB_DTYPES]; /* a second; 0: it has none */
  double watts;
};

struct fab_topology_level {
  char name[FAB_MACHINE_NAME];
  uint64_t size;  /* devices of one full unit */
  uint64_t units; /* of this machine; the last one may be part of a unit */
};

struct fab_topology_stage {
  uint64_t below, size;           /* devices of one unit that it joins, and of one that joins them */
  uint64_t units;                 /* that it joins, in the whole machine */
  uint64_t first_resource;        /* UP of unit u: first + 2 u, DOWN: + 1; mesh: first + u * (size / below) + number of the other within */
  uint64_t lanes, switches;       /* links from each unit; switches of one unit of its level */
  uint8_t mesh;                   /* bool */
  uint8_t level;                  /* inside one unit of which it joins */
  uint8_t link[FAB_ACCELERATORS]; /* by kind of device */
};

struct fab_topology_network {
  int stage_count;
  struct fab_topology_stage stage[FAB_STAGES];
  uint64_t domain; /* devices that it joins */
};

struct fab_topology_link {
  char name[FAB_MACHINE_NAME];
  uint64_t latency, overhead, bandwidth, energy; /* as in a step, of one link */
};

/* struct fab_curve of a profile, in ticks. */
struct fab_topology_curve {
  uint64_t count;
  struct {
    uint64_t bytes, time, gap;
  } point[FAB_CURVE_POINTS];
};

struct fab_topology {
  char name[FAB_MACHINE_NAME]; /* of the profile */
  uint64_t devices;
  int kind_count, level_count, link_count;
  struct fab_device_kind kind[FAB_ACCELERATORS];
  struct fab_topology_level level[FAB_LEVELS];
  struct fab_topology_link link[FAB_LINKS];
  struct fab_topology_network network[2]; /* scale-up, scale-out */
  struct fab_topology_curve curve[FAB_CURVES];
  uint8_t coherent, staged, by_session; /* bool */
  uint64_t devices_per_nic, chunk;
  uint64_t pcie_latency, pcie_overhead, pcie_bandwidth, pcie_energy;
  uint64_t host_latency, host_bandwidth;
  uint64_t nic_latency, nic_overhead;
  uint64_t
      message_latency; /* of software, for a message or a step of a collective over the scale-up network: besides what its path takes */
  /* Where the resources of each sort begin: memory 2 d read, + 1 written; slot 2 d out, + 1 in; host 2 s written, + 1 read; NIC 2 n out, + 1 in; then stages */
  uint64_t first_memory, first_pcie, first_host, first_nic, resources;
};

/* ---- topology.c. 0; or -EINVAL after a line on `report` that says what the profile has and what was asked for. */
int fab_topology_make(const struct fab_profile *profile, uint64_t devices, struct fab_topology *topology, FILE *report);

uint64_t fab_topology_resources(const struct fab_topology *topology);
/* The first device whose paths use the resource. */
uint64_t fab_topology_owner(const struct fab_topology *topology, uint64_t resource);
uint64_t fab_topology_unit(const struct fab_topology *topology, int level, uint64_t device);
int fab_topology_common_level(const struct fab_topology *topology, uint64_t a, uint64_t b); /* the innermost that holds both; -1: a is b */
const struct fab_device_kind *fab_topology_kind(const struct fab_topology *topology, uint64_t device);
enum fab_reach fab_topology_reach(const struct fab_topology *topology, uint64_t a, uint64_t b);

/* From the memory of device a to the memory of device b; finding it takes some 100 ns, so who charges one often keeps it. 0; -EINVAL no such
 * device; -EHOSTUNREACH there is no such way between them. A device to itself, by load and store: its memory alone. */
int fab_topology_path(const struct fab_topology *topology, uint64_t a, uint64_t b, enum fab_way way, struct fab_path *path);

/* "server 3 up (nvlink)": what the step is, into text; returns text. */
const char *fab_step_text(const struct fab_topology *topology, const struct fab_step *step, char *text, size_t room);
extern const char *const fab_way_names[]; /* "best", "load/store", "direct", "staged" */

/* ---- path.c: what it costs. All in ticks; nobody else on the way. */
uint64_t fab_ticks_of_ns(double ns);
uint64_t fab_ticks_of_bytes(uint64_t bytes, uint64_t bytes_per_second); /* rounded up */
uint64_t fab_ticks_add(uint64_t a, uint64_t b);                         /* saturates at FAB_TICKS_MOST */
/* The same of two that are at most FAB_TICKS_MOST each, as all are that come from here: their sum cannot overflow. */
static inline uint64_t fab_later(uint64_t ticks, uint64_t duration)
{
  return ticks + duration < FAB_TICKS_MOST ? ticks + duration : FAB_TICKS_MOST;
}
static inline double fab_ns_of_ticks(uint64_t ticks)
{
  return (double)ticks / (double)FAB_TICKS_PER_NS;
}

uint64_t fab_step_busy(const struct fab_step *step, uint64_t bytes);
/* The resource, which has work until *free, is given the chunk; it goes on. */
static inline void fab_step_pass(const struct fab_step *step, uint64_t bytes, uint64_t *free, uint64_t *head, uint64_t *tail)
{
  *free = fab_later(*free > *head ? *free : *head, fab_step_busy(step, bytes));
  *tail = fab_later(*free > *tail ? *free : *tail, step->latency);
  *head = fab_later(*head, step->latency);
}

uint64_t fab_leg_latency(const struct fab_leg *leg);
uint64_t fab_leg_busy(const struct fab_leg *leg, uint64_t bytes); /* of the narrowest step */
uint64_t fab_path_latency(const struct fab_path *path);           /* of no bytes, without overhead */
uint64_t fab_path_bandwidth(const struct fab_path *path);         /* of the narrowest step */
/* A copy of `bytes` in chunks of `chunk` (0: path->chunk), pipelined over the legs: all legs once, then about the longest leg for each other
 * chunk. */
uint64_t fab_path_ticks(const struct fab_path *path, uint64_t bytes, uint64_t chunk);
/* A message without data over that way, as requests and acknowledgements are: no memory is read for it. */
#define FAB_REQUEST_BYTES 24
uint64_t fab_request_ticks(const struct fab_path *path);
double fab_path_picojoules(const struct fab_path *path, uint64_t bytes);

/* By a curve that has points: until an operation of that size is done with nobody else on the way, and until its device may begin the next (0:
 * the curve has no gaps). Straight between points and on behind the last; before the first like the first. */
uint64_t fab_curve_time(const struct fab_topology_curve *curve, uint64_t bytes);
uint64_t fab_curve_gap(const struct fab_topology_curve *curve, uint64_t bytes);

/* What one access of device a to memory of device b takes until the next may depend on it. A load and an atomic go there and back, a store
 * is done when it has arrived. -EHOSTUNREACH where it is not reached by load and store. */
enum fab_access { FAB_ACCESS_LOAD, FAB_ACCESS_STORE, FAB_ACCESS_ATOMIC };
int fab_access_ticks(const struct fab_topology *topology, uint64_t a, uint64_t b, enum fab_access access, uint64_t bytes, uint64_t *ticks);
/* Device a reads memory of device b by copy: a request there, and the bytes back, both by the best way; of its own memory, a copy. 0 or as
 * fab_topology_path. */
int fab_read_ticks(const struct fab_topology *topology, uint64_t a, uint64_t b, uint64_t bytes, uint64_t *ticks);
/* The roofline: the longer of computing and of moving bytes from and to its own memory. -ENOTSUP: the device has no such dtype. */
int fab_compute_ticks(const struct fab_topology *topology, uint64_t device, double flops, double bytes, enum fab_dtype dtype,
                      uint64_t *ticks);

#endif
