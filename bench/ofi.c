/* The fabric between hosts: put and get of the fabric `ofi`, beside a bare loop over libfabric.
 *
 * Both use the same provider, the same kind of endpoint (FI_EP_RDM on loopback), registered memory, and puts that are complete when their
 * bytes are in the other device's memory; both spin on their completion queue, and device 1 only keeps its own endpoint moving meanwhile. So
 * the difference is what the fabric adds. Here it is used without a session of several hosts around it. */
#include "bench/harness.h"

#include <errno.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_rma.h>
#include <string.h>

#include "fabric/fabric.h"

#define PROVIDER "tcp;ofi_rxm"
#define MOST MiB

/* What the devices say to each other; shared. */
struct meeting {
  struct fab_contact contacts[2 * FAB_CHANNELS];
  unsigned char raw_address[2][64];
  uint64_t raw_key[2];
  atomic_long finished; /* how many stretches device 0 has ended */
  unsigned char windows[2][MOST], raw_windows[2][MOST];
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
  struct raw raw;
  unsigned char *local;
  size_t bytes;
  long *stretches; /* of this device */
};

/* ---- the bare loop */

static int raw_info(struct fi_info **info)
{
  struct fi_info *hints = fi_allocinfo();
  if (!hints) return -ENOMEM;
  hints->caps = FI_MSG | FI_RMA;
  hints->mode = FI_CONTEXT | FI_CONTEXT2;
  hints->ep_attr->type = FI_EP_RDM;
  hints->domain_attr->threading = FI_THREAD_DOMAIN;
  hints->domain_attr->control_progress = hints->domain_attr->data_progress = FI_PROGRESS_MANUAL;
  hints->fabric_attr->prov_name = strdup(PROVIDER);
  int error = fi_getinfo(FI_VERSION(1, 17), "127.0.0.1", NULL, FI_SOURCE, hints, info);
  fi_freeinfo(hints);
  return error;
}

static int raw_open(struct raw *raw, void *window)
{
  struct fi_cq_attr queue = {.format = FI_CQ_FORMAT_MSG};
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

static void raw_meet(struct line *line)
{
  struct meeting *meeting = line->meeting;
  struct raw *raw = &line->raw;
  size_t room = sizeof meeting->raw_address[0];
  bench_check(raw_open(raw, meeting->raw_windows[uma_device()]), "libfabric");
  bench_check(fi_getname(&raw->ep->fid, meeting->raw_address[uma_device()], &room), "fi_getname");
  meeting->raw_key[uma_device()] = fi_mr_key(raw->mr);
  bench_barrier();
  bench_require(fi_av_insert(raw->av, meeting->raw_address[1 - uma_device()], 1, &raw->other, 0, NULL) == 1, "fi_av_insert failed");
  raw->key = meeting->raw_key[1 - uma_device()];
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
  struct raw *raw = &line->raw;
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
  while ((error = raw_post(line, put, &context)) == -FI_EAGAIN) fi_cq_read(line->raw.cq, &entry, 1);
  bench_require(!error, "libfabric: %s", fi_strerror((int)-error));
  raw_wait(&line->raw);
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
  while (goes_on(line)) fi_cq_read(line->raw.cq, &entry, 1);
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

static void lost(void *context, int device)
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

/* What was put comes back by get, in either way. */
static void verify(struct line *line)
{
  for (int way = 0; way < 4; way++) {
    memset(line->local, way < 2 ? 0x11 : 0x22, line->bytes);
    if (way % 2) memset(line->local, 0, line->bytes);
    (way == 0 ? put : way == 1 ? get : way == 2 ? raw_put : raw_get)(line, 1);
    unsigned char wanted = way < 2 ? 0x11 : 0x22;
    if (!uma_device())
      bench_require(line->local[0] == wanted && line->local[line->bytes - 1] == wanted, "%zu bytes came back changed", line->bytes);
    bench_barrier();
  }
}

static void compare(struct line *line, const char *bench, int metric, void (*ours)(void *, long), void (*theirs)(void *, long))
{
  struct bench_variant variants[] = {
      {bench, "rma", NULL, line->bytes, metric, 1, NULL, ours, line, NULL},
      {bench, "raw", "-", line->bytes, metric, 1, NULL, theirs, line, NULL},
  };
  bench_compare(variants, 2);
}

static void body(void *meeting)
{
  static const size_t sizes[] = {8, 4 * KiB, MOST};
  static unsigned char local[MOST];
  long stretches = 0;
  struct line line = {.meeting = meeting, .local = local, .stretches = &stretches};
  fabric_meet(&line);
  raw_meet(&line);
  for (int i = 0; i < 3; i++) {
    int metric = sizes[i] == MOST ? BENCH_BANDWIDTH : BENCH_LATENCY;
    line.bytes = sizes[i];
    verify(&line);
    compare(&line, "ofi.put", metric, put, raw_put);
    compare(&line, "ofi.get", metric, get, raw_get);
  }
  fab_ofi.close(line.endpoint);
  bench_barrier();
  raw_close(&line.raw);
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
