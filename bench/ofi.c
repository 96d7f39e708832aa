/* Windows over a network: put and get of the fabric `ofi`, and uma_put and uma_get of a session of stacked servers that it joins (--fabric ofi), each
 * beside a bare loop over libfabric.
 *
 * All use the same provider, endpoints of one kind (FI_EP_RDM on loopback), registered memory, and puts that are complete when their bytes are in the
 * other device's memory; all spin on their queue, and device 1 only keeps its own endpoint moving meanwhile; in the session its copy engine does that,
 * and its program sleeps. So the difference is what the fabric, or the library, adds. The bare loop `raw` has completion queues on which one could
 * sleep, as a home needs them that is not to spin for ever; `spin` has none such in either device: tcp then asks each connection itself instead of
 * asking the kernel which of them has something, which is faster for one connection and not for many. The fabric has the one for what it serves, and the
 * other for its own puts and gets. */
#include "bench/harness.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "bench/bare_link.h"
#include "fabric/fabric.h"

#define MOST MiB

enum { SLEEPY, SPINNING, RAWS };

/* What the devices say to each other; shared. */
struct meeting {
  struct fab_contact contacts[2 * FAB_CHANNELS];
  struct bare_contact raw_contacts[RAWS][2];
  atomic_long finished; /* how many stretches device 0 has ended */
  unsigned char windows[2][MOST], raw_windows[2][RAWS][MOST];
};

struct line {
  struct meeting *meeting;
  struct fab_endpoint *endpoint;
  struct bare_link *raw;
  unsigned char *local, *theirs; /* theirs: in a session, in the window of device 1 */
  size_t bytes;
  long *stretches; /* of this device */
};

/* ---- steps: device 0 works, device 1 keeps its endpoint moving until it hears that the stretch has ended */

static void end_stretch(struct line *line)
{
  atomic_store(&line->meeting->finished, ++*line->stretches);
}

static bool goes_on(const struct line *line)
{
  return atomic_load(&line->meeting->finished) <= *line->stretches;
}

static void serve_raw(struct line *line)
{
  while (goes_on(line)) bare_progress(line->raw);
  ++*line->stretches;
}

static void serve(struct line *line)
{
  while (goes_on(line)) fab_ofi.progress(line->endpoint);
  ++*line->stretches;
}

static void raw_put(void *context, long count)
{
  const struct line *line = context;
  if (uma_device()) return serve_raw(context);
  for (long i = 0; i < count; i++) bare_put(line->raw, line->local, line->bytes);
  end_stretch(context);
}

static void raw_get(void *context, long count)
{
  const struct line *line = context;
  if (uma_device()) return serve_raw(context);
  for (long i = 0; i < count; i++) bare_get(line->raw, line->local, line->bytes);
  end_stretch(context);
}

static void put(void *context, long count)
{
  struct line *line = context;
  if (uma_device()) return serve(line);
  for (long i = 0; i < count; i++) bench_check(fab_ofi.put(line->endpoint, 1, 0, line->local, line->bytes), "put");
  end_stretch(line);
}

static void get(void *context, long count)
{
  struct line *line = context;
  if (uma_device()) return serve(line);
  for (long i = 0; i < count; i++) bench_check(fab_ofi.get(line->endpoint, 1, 0, line->local, line->bytes), "get");
  end_stretch(line);
}

static void sleep_meanwhile(struct line *line)
{
  while (goes_on(line)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  ++*line->stretches;
}

static void session_put(void *context, long count)
{
  struct line *line = context;
  if (uma_device()) return sleep_meanwhile(line);
  for (long i = 0; i < count; i++) bench_check(uma_put(line->theirs, line->local, line->bytes), "uma_put");
  end_stretch(line);
}

static void session_get(void *context, long count)
{
  struct line *line = context;
  if (uma_device()) return sleep_meanwhile(line);
  for (long i = 0; i < count; i++) bench_check(uma_get(line->local, line->theirs, line->bytes), "uma_get");
  end_stretch(line);
}

/* ---- the cases */

struct ways { /* what is compared with the bare loop */
  const char *put_bench, *get_bench;
  void (*put)(void *, long), (*get)(void *, long);
};
static const struct ways fabric_ways = {"ofi.put", "ofi.get", put, get},
                         session_ways = {"ofi.rma.put", "ofi.rma.get", session_put, session_get};

static void lost(void *context, int device, bool in_order)
{
  bench_die("the other device was lost");
}

static void fabric_meet(struct line *line)
{
  struct meeting *meeting = line->meeting;
  struct fab_config config = {.device = uma_device(), .devices = 2, .count = 2, .provider = BARE_PROVIDER, .sink = {.lost = lost}};
  config.windows = meeting->windows[0];
  config.window_bytes = MOST;
  memset(config.key, 0x5a, sizeof config.key);
  bench_check(fab_ofi.open(&config, &line->endpoint), "open");
  bench_check(fab_ofi.contact(line->endpoint, &meeting->contacts[uma_device() * FAB_CHANNELS]), "contact");
  bench_barrier();
  bench_check(fab_ofi.connect(line->endpoint, meeting->contacts), "connect");
  bench_barrier();
}

/* What was put comes back by get. */
static void verify(struct line *line, void (*put_one)(void *, long), void (*get_one)(void *, long))
{
  memset(line->local, 0x11, line->bytes);
  put_one(line, 1);
  memset(line->local, 0, line->bytes);
  get_one(line, 1);
  if (!uma_device())
    bench_require(line->local[0] == 0x11 && line->local[line->bytes - 1] == 0x11, "%zu bytes came back changed", line->bytes);
}

static void compare(struct line *lines, const char *bench, int metric, void (*ours)(void *, long), void (*theirs)(void *, long))
{
  size_t bytes = lines[SLEEPY].bytes;
  struct bench_variant variants[] = {
      {bench, "rma", NULL, bytes, metric, 1, NULL, ours, &lines[SLEEPY], NULL},
      {bench, "raw", "-", bytes, metric, 1, NULL, theirs, &lines[SLEEPY], NULL},
      {bench, "spin", "-", bytes, metric, 1, NULL, theirs, &lines[SPINNING], NULL},
  };
  bench_compare(variants, 3);
}

/* One size, everything about it. */
static void measure(struct line *lines, const struct ways *ways, size_t bytes)
{
  int metric = bytes == MOST ? BENCH_LATENCY | BENCH_BANDWIDTH : BENCH_LATENCY;
  lines[SLEEPY].bytes = lines[SPINNING].bytes = bytes;
  verify(&lines[SLEEPY], ways->put, ways->get);
  verify(&lines[SLEEPY], raw_put, raw_get);
  verify(&lines[SPINNING], raw_put, raw_get);
  compare(lines, ways->put_bench, metric, ways->put, raw_put);
  compare(lines, ways->get_bench, metric, ways->get, raw_get);
}

/* first: how it is reached by what is compared. */
static void measure_all(const struct line *first, const struct ways *ways, const size_t *sizes, size_t count)
{
  struct bare_link raws[RAWS];
  struct line lines[RAWS] = {*first, *first};
  for (int which = 0; which < RAWS; which++) {
    enum fi_wait_obj wait = which == SLEEPY ? FI_WAIT_FD : FI_WAIT_NONE;
    bare_link_open(&raws[which], wait, lines[0].meeting->raw_windows[uma_device()][which], MOST, lines[0].meeting->raw_contacts[which]);
    lines[which].raw = &raws[which];
  }
  for (size_t i = 0; i < count; i++) measure(lines, ways, sizes[i]);
  if (first->endpoint) fab_ofi.close(first->endpoint);
  bench_barrier();
  for (int which = 0; which < RAWS; which++) bare_link_close(&raws[which]);
}

static void fabric_body(void *meeting)
{
  static unsigned char local[MOST];
  static const size_t sizes[] = {8, 64, 512, 4 * KiB, 32 * KiB, 256 * KiB, MOST}; /* peer_mpi.c has the same */
  struct line line = {.meeting = meeting, .local = local, .stretches = &(long){0}};
  fabric_meet(&line);
  measure_all(&line, &fabric_ways, sizes, sizeof sizes / sizeof sizes[0]);
}

static void session_body(void *meeting)
{
  static unsigned char local[MOST];
  static const size_t sizes[] = {8, 4 * KiB, MOST};
  struct line line = {.meeting = meeting, .local = local, .stretches = &(long){0}};
  line.theirs = uma_symmetric(uma_alloc_symmetric(MOST), 1);
  bench_require(line.theirs, "no window: %s", uma_last_error());
  measure_all(&line, &session_ways, sizes, sizeof sizes / sizeof sizes[0]);
}

static int run(const struct bench_session *session, void (*body)(void *))
{
  struct meeting *meeting = bench_map(sizeof *meeting);
  int result = meeting ? bench_spawn(session, body, meeting) : -EIO;
  bench_unmap(meeting, sizeof *meeting);
  return result;
}

static int run_fabric(void)
{
  return run(&(struct bench_session){.devices = 2, .mode = UMA_MODE_SUPERNODE}, fabric_body);
}

static int run_session(void)
{
  return run(&(struct bench_session){.devices = 2, .mode = UMA_MODE_STACKED, .rma = true, .memory = 16 * MiB}, session_body);
}

const struct bench_case bench_ofi_cases[] = {
    {"ofi.rma", "put and get of the fabric between hosts, and of bare libfabric, both over " BARE_PROVIDER " on loopback", run_fabric},
    {"ofi.rma.session", "uma_put and uma_get between stacked servers with --fabric ofi, and bare libfabric", run_session},
    {NULL, NULL, NULL},
};
