/* The fabric between hosts: put and get of the fabric `ofi`, beside a bare loop over libfabric.
 *
 * Both use the same provider, the same kind of endpoint (FI_EP_RDM on loopback, with a completion queue on which one could sleep),
 * registered memory, and puts that are complete when their bytes are in the other device's memory; both spin on their queue, and
 * device 1 only keeps its own endpoint moving meanwhile. So the difference is what the fabric adds. The path `spin` is the bare loop with a
 * queue on which nobody can sleep: tcp then asks each connection itself instead of asking the kernel which of them has something,
 * which is faster for one connection and not for many. Here the fabric is used without a session of several hosts around it. */
#include "bench/harness.h"

#include <errno.h>
#include <string.h>

#include "fabric/fabric.h"
#include "fabric/ofi_load.h"

#define PROVIDER "tcp;ofi_rxm"
#define MOST MiB

enum { SLEEPY, SPINNING, RAWS };

/* What the devices say to each other; shared. */
struct meeting {
  struct fab_contact contacts[2 * FAB_CHANNELS];
  unsigned char raw_address[2][RAWS][64];
  uint64_t raw_key[2][RAWS];
  atomic_long finished; /* how many stretches device 0 has ended */
  unsigned char windows[2][MOST], raw_windows[2][RAWS][MOST];
};

struct raw {
  struct fi_info *info;
  struct fid_fabric *fabric;
  struct fid_domain *domain;
  struct fid_cq *cq;
  struct fid_av *av;
  struct fid_ep *ep;
  struct fid_mr *mr;
  fi_addr_t other;
  uint64_t key;
};

struct line {
  struct meeting *meeting;
  struct fab_endpoint *endpoint;
  struct raw *raw;
  unsigned char *local;
  size_t bytes;
  long *stretches; /* of this device */
};

/* ---- the bare loop */

static int raw_info(struct fi_info **info)
{
  struct fi_info *hints = fab_ofi_load() ? NULL : fi_allocinfo();
  if (!hints) return -ENOMEM;
  hints->caps = FI_MSG | FI_RMA;
  hints->mode = FI_CONTEXT | FI_CONTEXT2;
  hints->ep_attr->type = FI_EP_RDM;
  hints->domain_attr->threading = FI_THREAD_DOMAIN;
  hints->domain_attr->control_progress = hints->domain_attr->data_progress = FI_PROGRESS_MANUAL;
  hints->fabric_attr->prov_name = strdup(PROVIDER);
  int error = fi_getinfo(FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION), "127.0.0.1", NULL, FI_SOURCE, hints, info);
  fi_freeinfo(hints);
  return error;
}

static int raw_open(struct raw *raw, enum fi_wait_obj wait, void *window)
{
  struct fi_cq_attr queue = {.format = FI_CQ_FORMAT_MSG, .wait_obj = wait};
  struct fi_av_attr addresses = {.type = FI_AV_TABLE};
  int error = raw_info(&raw->info);
  if (!error) error = fi_fabric(raw->info->fabric_attr, &raw->fabric, NULL);
  if (!error) error = fi_domain(raw->fabric, raw->info, &raw->domain, NULL);
  if (!error) error = fi_cq_open(raw->domain, &queue, &raw->cq, NULL);
  if (!error) error = fi_av_open(raw->domain, &addresses, &raw->av, NULL);
  if (!error) error = fi_endpoint(raw->domain, raw->info, &raw->ep, NULL);
  if (!error) error = fi_ep_bind(raw->ep, &raw->cq->fid, FI_TRANSMIT | FI_RECV);
  if (!error) error = fi_ep_bind(raw->ep, &raw->av->fid, 0);
  if (!error) error = fi_enable(raw->ep);
  if (!error) error = fi_mr_reg(raw->domain, window, MOST, FI_REMOTE_READ | FI_REMOTE_WRITE, 0, 1, 0, &raw->mr, NULL);
  return error;
}

static void raw_meet(struct meeting *meeting, struct raw *raw, int which)
{
  int own = uma_device();
  size_t room = sizeof meeting->raw_address[own][which];
  bench_check(raw_open(raw, which == SLEEPY ? FI_WAIT_FD : FI_WAIT_NONE, meeting->raw_windows[own][which]), "libfabric");
  bench_check(fi_getname(&raw->ep->fid, meeting->raw_address[own][which], &room), "fi_getname");
  meeting->raw_key[own][which] = fi_mr_key(raw->mr);
  bench_barrier();
  bench_require(fi_av_insert(raw->av, meeting->raw_address[!own][which], 1, &raw->other, 0, NULL) == 1, "fi_av_insert failed");
  raw->key = meeting->raw_key[!own][which];
}

static void raw_close(struct raw *raw)
{
  struct fid *all[] = {&raw->ep->fid, &raw->mr->fid, &raw->cq->fid, &raw->av->fid, &raw->domain->fid, &raw->fabric->fid};
  for (int i = 0; i < 6; i++) fi_close(all[i]);
  fi_freeinfo(raw->info);
}

static void raw_wait(struct raw *raw)
{
  struct fi_cq_msg_entry entry;
  ssize_t count;
  do count = fi_cq_read(raw->cq, &entry, 1);
  while (count == -FI_EAGAIN);
  bench_require(count == 1, "libfabric: %s", fi_strerror((int)-count));
}

static ssize_t raw_post(struct line *line, bool put, void *context)
{
  struct raw *raw = line->raw;
  struct iovec vector = {line->local, line->bytes};
  struct fi_rma_iov remote = {0, line->bytes, raw->key};
  struct fi_msg_rma message = {&vector, NULL, 1, raw->other, &remote, 1, context, 0};
  return put ? fi_writemsg(raw->ep, &message, FI_COMPLETION | FI_DELIVERY_COMPLETE)
             : fi_read(raw->ep, line->local, line->bytes, NULL, raw->other, 0, raw->key, context);
}

static void raw_move(struct line *line, bool put)
{
  struct fi_context2 context;
  struct fi_cq_msg_entry entry;
  ssize_t error;
  while ((error = raw_post(line, put, &context)) == -FI_EAGAIN) fi_cq_read(line->raw->cq, &entry, 1);
  bench_require(!error, "libfabric: %s", fi_strerror((int)-error));
  raw_wait(line->raw);
}

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
  struct fi_cq_msg_entry entry;
  while (goes_on(line)) fi_cq_read(line->raw->cq, &entry, 1);
  ++*line->stretches;
}

static void serve(struct line *line)
{
  while (goes_on(line)) fab_ofi.progress(line->endpoint);
  ++*line->stretches;
}

static void raw_put(void *context, long count)
{
  if (uma_device()) return serve_raw(context);
  for (long i = 0; i < count; i++) raw_move(context, true);
  end_stretch(context);
}

static void raw_get(void *context, long count)
{
  if (uma_device()) return serve_raw(context);
  for (long i = 0; i < count; i++) raw_move(context, false);
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

/* ---- the case */

static void lost(void *context, int device, bool in_order)
{
  bench_die("the other device was lost");
}

static void fabric_meet(struct line *line)
{
  struct meeting *meeting = line->meeting;
  struct fab_config config = {.device = uma_device(), .devices = 2, .count = 2, .provider = PROVIDER, .sink = {.lost = lost}};
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
static void measure(struct line *lines, size_t bytes)
{
  int metric = bytes == MOST ? BENCH_BANDWIDTH : BENCH_LATENCY;
  lines[SLEEPY].bytes = lines[SPINNING].bytes = bytes;
  verify(&lines[SLEEPY], put, get);
  verify(&lines[SLEEPY], raw_put, raw_get);
  verify(&lines[SPINNING], raw_put, raw_get);
  compare(lines, "ofi.put", metric, put, raw_put);
  compare(lines, "ofi.get", metric, get, raw_get);
}

static void body(void *meeting)
{
  static unsigned char local[MOST];
  struct raw raws[RAWS] = {0};
  long stretches = 0;
  struct line lines[RAWS] = {{.meeting = meeting, .local = local, .stretches = &stretches}};
  fabric_meet(&lines[SLEEPY]);
  lines[SPINNING] = lines[SLEEPY];
  for (int which = 0; which < RAWS; which++) {
    raw_meet(meeting, &raws[which], which);
    lines[which].raw = &raws[which];
  }
  measure(lines, 8);
  measure(lines, 4 * KiB);
  measure(lines, MOST);
  fab_ofi.close(lines[SLEEPY].endpoint);
  bench_barrier();
  for (int which = 0; which < RAWS; which++) raw_close(&raws[which]);
}

static int run_ofi(void)
{
  struct bench_session session = {.devices = 2, .mode = UMA_MODE_SUPERNODE};
  struct meeting *meeting = bench_map(sizeof *meeting);
  int result = meeting ? bench_spawn(&session, body, meeting) : -EIO;
  bench_unmap(meeting, sizeof *meeting);
  return result;
}

const struct bench_case bench_ofi_cases[] = {
    {"ofi", "put and get of the fabric between hosts, and of bare libfabric, both over " PROVIDER " on loopback", run_ofi},
    {NULL, NULL, NULL},
};
