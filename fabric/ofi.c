/* The fabric of several hosts: libfabric. RMA and MSG between reliable unconnected endpoints (FI_EP_RDM).
 *
 *     open (finds a provider, binds to one address)   contact (what others need)   ... exchange ...   connect (all contacts)
 *
 * An endpoint has one completion queue, and another one where it has an endpoint of libfabric apart for accesses (ofi_memory.c). Every
 * operation in the provider's hands begins with a struct fab_ofi_op, which lies in the endpoint until the endpoint closes, so a completion never
 * finds an operation that is gone, however late it comes. poll_queue is the only reader of the queues: of the first in progress and in every wait,
 * so the provider moves whenever a caller is inside (FI_PROGRESS_MANUAL; providers that have threads of their own need no help and do not mind);
 * of the other in the waits of accesses.
 *
 * All of it belongs to whoever has the caller's serialisation (FI_THREAD_DOMAIN); the upcalls run in it. Threads and descriptors
 * of the provider are those of the process that opens: open after fork.
 *
 * Sleeping. poll_fd is readable when something new has come to the provider (FI_WAIT_FD) or a timer is due: soon while sends wait for room,
 * at once when the provider refuses to let us sleep (fi_trywait), every millisecond when it has no descriptor, else with the next look for
 * silent peers. progress sets the timer while anybody sleeps, hence the rule to call it between sleep_begin and sleep. Something new: since
 * sleep_begin (EPOLLET); what came before is the business of progress. A descriptor may stay readable for ever (`net` of libfabric 1.17 never
 * takes its signal back). While nobody sleeps poll_fd does not watch the provider: the kernel would tell it of every byte that comes, which
 * is three percent of a small put.
 *
 * Errors. A completion with an error means that the device at the other end is lost: see ofi_peer.c.
 */
#include "fabric/ofi.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "fabric/futex.h"

#define BUFFERS (FAB_OFI_RECEIVES + FAB_OFI_SENDS)
#define MEMORY_BYTES ((BUFFERS + 1) * (size_t)FAB_OFI_BUFFER) /* the last one is for the operands of atomics */
#define POLL_BATCH 16
#define LOOK_CALLS 256 /* calls of progress between two looks at the clock */
#define IDLE_TICK_NS 250000000L
#define SHORT_TICK_NS 1000000L

/* ---- completions */

static void post_receive(struct fab_ofi_endpoint *e, struct fab_ofi_buffer *buffer)
{
  void *registration = e->memory_mr ? fi_mr_desc(e->memory_mr) : NULL;
  if (!fi_recv(e->ep, buffer->wire, FAB_OFI_BUFFER, registration, FI_ADDR_UNSPEC, &buffer->op)) return;
  buffer->next = e->unposted;
  e->unposted = buffer;
}

void fab_ofi_recycle(struct fab_ofi_endpoint *e, struct fab_ofi_buffer *buffer)
{
  post_receive(e, buffer);
}

static void post_unposted(struct fab_ofi_endpoint *e)
{
  struct fab_ofi_buffer *list = e->unposted;
  e->unposted = NULL;
  for (struct fab_ofi_buffer *next; list; list = next) {
    next = list->next;
    post_receive(e, list);
  }
}

static void end_access(struct fab_ofi_access *access, int error)
{
  access->done = true;
  access->error = error;
}

/* A failed receive says nothing of any peer: somebody sent more than a buffer holds, or the endpoint closes. */
static void complete(struct fab_ofi_endpoint *e, struct fab_ofi_op *op, size_t bytes, int error)
{
  switch (op->use) {
  case FAB_OFI_RECEIVE:
    if (!error) fab_ofi_received(e, (struct fab_ofi_buffer *)op, bytes);
    else if (error != -FI_ECANCELED) post_receive(e, (struct fab_ofi_buffer *)op);
    break;
  case FAB_OFI_SEND:
    if (error) fab_ofi_fail(e, op->peer / FAB_CHANNELS);
    fab_ofi_sent(e, (struct fab_ofi_buffer *)op);
    break;
  case FAB_OFI_PULL: fab_ofi_pulled(e, &e->peers[op->peer], error); break;
  case FAB_OFI_WRITE: fab_ofi_wrote(e, (struct fab_ofi_write *)op, error); break;
  case FAB_OFI_ACCESS: end_access((struct fab_ofi_access *)op, error); break;
  case FAB_OFI_REFUSE:
    if (error == -FI_ECANCELED) break;
    e->dropped++;
    fab_ofi_refuse(e, op);
    break;
  }
}

static int complete_error(struct fab_ofi_endpoint *e, struct fid_cq *cq)
{
  struct fi_cq_err_entry entry = {0};
  if (fi_cq_readerr(cq, &entry, 0) <= 0) return 0;
  if (entry.op_context) complete(e, entry.op_context, 0, entry.err ? -entry.err : -EIO);
  return 1;
}

static int poll_queue(struct fab_ofi_endpoint *e, struct fid_cq *cq)
{
  struct fi_cq_msg_entry entries[POLL_BATCH];
  ssize_t count = fi_cq_read(cq, entries, POLL_BATCH);
  if (count == -FI_EAVAIL) return complete_error(e, cq);
  for (ssize_t i = 0; i < count; i++) complete(e, entries[i].op_context, entries[i].len, 0);
  return count > 0 ? (int)count : 0;
}

int fab_ofi_poll(struct fab_ofi_endpoint *e)
{
  return poll_queue(e, e->cq);
}

int fab_ofi_poll_reach(struct fab_ofi_endpoint *e)
{
  return poll_queue(e, e->reach_cq);
}

static void set_timer(const struct fab_ofi_endpoint *e, long ns)
{
  struct itimerspec timer = {.it_value = {ns / 1000000000, ns % 1000000000}};
  timerfd_settime(e->timer_fd, 0, &timer, NULL);
}

static void arm(struct fab_ofi_endpoint *e)
{
  struct fid *queue = &e->cq->fid;
  long ns = e->busy || e->any_failing || !e->watched ? SHORT_TICK_NS : IDLE_TICK_NS;
  if (e->watched && fi_trywait(e->fabric, &queue, 1)) ns = 1;
  set_timer(e, ns);
}

int fab_ofi_progress(struct fab_endpoint *endpoint)
{
  struct fab_ofi_endpoint *e = (struct fab_ofi_endpoint *)endpoint;
  int moved = fab_ofi_poll(e);
  if (e->busy) moved += fab_ofi_pump(e);
  if (e->unposted) post_unposted(e);
  if (e->sleepers || ++e->calls % LOOK_CALLS == 0) fab_ofi_tick(e);
  if (e->any_failing) moved += fab_ofi_settle(e, false);
  if (e->sleepers) arm(e);
  return moved;
}

/* ---- sleeping */

static int watch(int poll_fd, int fd, uint32_t events)
{
  struct epoll_event event = {.events = events, .data.fd = fd};
  return epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static void ofi_sleep_begin(struct fab_endpoint *endpoint)
{
  struct fab_ofi_endpoint *e = (struct fab_ofi_endpoint *)endpoint;
  struct epoll_event seen[2];
  if (e->sleepers++ == 0 && e->wait_fd >= 0) e->watched = !watch(e->poll_fd, e->wait_fd, EPOLLIN | EPOLLET);
  epoll_wait(e->poll_fd, seen, 2, 0);
}

static void ofi_sleep(struct fab_endpoint *endpoint, long timeout_ns)
{
  struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
  ppoll(&(struct pollfd){.fd = ((struct fab_ofi_endpoint *)endpoint)->poll_fd, .events = POLLIN}, 1, &timeout, NULL);
}

static void ofi_sleep_end(struct fab_endpoint *endpoint)
{
  struct fab_ofi_endpoint *e = (struct fab_ofi_endpoint *)endpoint;
  if (--e->sleepers > 0) return;
  set_timer(e, 0);
  if (e->watched) epoll_ctl(e->poll_fd, EPOLL_CTL_DEL, e->wait_fd, NULL);
  e->watched = false;
}

static int ofi_descriptor(struct fab_endpoint *endpoint)
{
  return ((struct fab_ofi_endpoint *)endpoint)->poll_fd;
}

static int open_descriptors(struct fab_ofi_endpoint *e)
{
  e->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  e->poll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (e->timer_fd < 0 || e->poll_fd < 0) return -errno;
  return watch(e->poll_fd, e->timer_fd, EPOLLIN);
}

/* ---- opening */

/* With a descriptor to sleep on where the provider has one. */
static int open_queue(struct fab_ofi_endpoint *e)
{
  struct fi_cq_attr attributes = {.format = FI_CQ_FORMAT_MSG, .wait_obj = FI_WAIT_FD};
  attributes.size = BUFFERS + FAB_OFI_WRITES + (size_t)e->numbers + 1; /* and a pull of each peer, an access: it never overflows */
  int error = fi_cq_open(e->domain, &attributes, &e->cq, NULL);
  if (!error && !fi_control(&e->cq->fid, FI_GETWAIT, &e->wait_fd)) return 0;
  e->wait_fd = -1;
  if (!error) fi_close(&e->cq->fid);
  e->cq = NULL;
  attributes.wait_obj = FI_WAIT_NONE;
  return fi_cq_open(e->domain, &attributes, &e->cq, NULL);
}

int fab_ofi_open_endpoint(struct fab_ofi_endpoint *e, struct fid_cq *cq, struct fid_ep **ep)
{
  int error = fi_endpoint(e->domain, e->info, ep, NULL);
  if (error) return error;
  error = fi_ep_bind(*ep, &cq->fid, FI_TRANSMIT | FI_RECV);
  if (!error) error = fi_ep_bind(*ep, &e->av->fid, 0);
  if (!error) error = fi_enable(*ep);
  if (!error) return 0;
  fi_close(&(*ep)->fid);
  *ep = NULL;
  return error;
}

static int open_endpoint(struct fab_ofi_endpoint *e)
{
  struct fi_av_attr addresses = {.type = e->info->domain_attr->av_type, .count = (size_t)e->numbers};
  int error = fi_fabric(e->info->fabric_attr, &e->fabric, NULL);
  if (!error) error = fi_domain(e->fabric, e->info, &e->domain, NULL);
  if (!error) error = open_queue(e);
  if (!error) error = fi_av_open(e->domain, &addresses, &e->av, NULL);
  return error ? error : fab_ofi_open_endpoint(e, e->cq, &e->ep);
}

static struct fab_ofi_buffer *buffer_at(struct fab_ofi_endpoint *e, int index, enum fab_ofi_use use)
{
  struct fab_ofi_buffer *buffer = &e->buffers[index];
  buffer->op.use = use;
  buffer->wire = (struct fab_ofi_wire *)(void *)(e->memory + (size_t)index * FAB_OFI_BUFFER);
  return buffer;
}

static int open_buffers(struct fab_ofi_endpoint *e)
{
  int error = e->register_local ? fab_ofi_register(e, e->memory, MEMORY_BYTES, FI_SEND | FI_RECV | FI_READ | FI_WRITE, &e->memory_mr) : 0;
  if (error) return error;
  for (int i = 0; i < FAB_OFI_RECEIVES; i++) post_receive(e, buffer_at(e, i, FAB_OFI_RECEIVE));
  for (int i = FAB_OFI_RECEIVES; i < BUFFERS; i++) {
    struct fab_ofi_buffer *buffer = buffer_at(e, i, FAB_OFI_SEND);
    buffer->next = e->free;
    e->free = buffer;
  }
  for (int i = 0; i < FAB_OFI_WRITES; i++) {
    e->writes[i].next = e->free_write;
    e->free_write = &e->writes[i];
  }
  return 0;
}

static void close_fid(struct fid *fid)
{
  if (fid) fi_close(fid);
}

static void close_descriptor(int fd)
{
  if (fd >= 0) close(fd);
}

/* Whatever of it is there; in the order that libfabric asks for. */
static void endpoint_free(struct fab_ofi_endpoint *e)
{
  if (e->reach_cq) close_fid(&e->reach->fid);
  if (e->ep) close_fid(&e->ep->fid);
  for (int i = 0; e->peers && i < e->numbers; i++) {
    if (e->peers[i].pull_mr) close_fid(&e->peers[i].pull_mr->fid);
    fab_ofi_end_knock(&e->peers[i]);
  }
  if (e->window_mr) close_fid(&e->window_mr->fid);
  if (e->memory_mr) close_fid(&e->memory_mr->fid);
  if (e->reach_cq) close_fid(&e->reach_cq->fid);
  fab_ofi_close_berths(e);
  if (e->cq) close_fid(&e->cq->fid);
  if (e->av) close_fid(&e->av->fid);
  if (e->domain) close_fid(&e->domain->fid);
  if (e->fabric) close_fid(&e->fabric->fid);
  if (e->info) fi_freeinfo(e->info);
  close_descriptor(e->timer_fd);
  close_descriptor(e->poll_fd);
  if (e->memory) munmap(e->memory, MEMORY_BYTES);
  for (struct fab_ofi_access *access = e->abandoned, *next; access; access = next) {
    next = access->next;
    free(access);
  }
  free(e->access);
  free(e->buffers);
  free(e->devices);
  free(e->peers);
  free(e);
}

static struct fab_ofi_endpoint *endpoint_new(const struct fab_config *config)
{
  struct fab_ofi_endpoint *e = calloc(1, sizeof *e);
  if (!e) return NULL;
  e->base.ops = &fab_ofi;
  e->config = *config;
  e->numbers = config->devices * FAB_CHANNELS;
  e->number = config->device * FAB_CHANNELS + (int)config->channel;
  e->accessed = e->wait_fd = e->timer_fd = e->poll_fd = -1;
  e->peers = calloc((size_t)e->numbers, sizeof *e->peers);
  e->devices = calloc((size_t)config->devices, sizeof *e->devices);
  e->buffers = calloc(BUFFERS, sizeof *e->buffers);
  e->access = calloc(1, sizeof *e->access);
  for (int i = 0; e->peers && i < e->numbers; i++) e->peers[i].knock_fd = -1;
  void *memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  e->memory = memory == MAP_FAILED ? NULL : memory;
  if (e->peers && e->devices && e->buffers && e->access && e->memory) return e;
  endpoint_free(e);
  return NULL;
}

static void write_tokens(struct fab_ofi_endpoint *e)
{
  for (int i = 0; i < e->numbers; i++) {
    e->peers[i].token_in = fab_ofi_token(e->config.key, i, e->number);
    e->peers[i].token_out = fab_ofi_token(e->config.key, e->number, i);
  }
}

static int ofi_open(const struct fab_config *config, struct fab_endpoint **endpoint)
{
  if (config->device < 0 || config->device >= config->devices) return -EINVAL;
  struct fab_ofi_endpoint *e = endpoint_new(config);
  if (!e) return -ENOMEM;
  write_tokens(e);
  int error = fab_ofi_choose(config->provider, config->interface, fab_ofi_adopts(config) ? 0 : FI_ATOMIC, &e->info);
  if (!error) error = open_endpoint(e);
  if (!error) e->register_local = e->info->domain_attr->mr_mode & FI_MR_LOCAL;
  if (!error) e->native_atomics = fab_ofi_has_atomics(e->info, e->domain);
  if (!error) error = fab_ofi_register_window(e);
  if (!error) error = fab_ofi_open_berths(e);
  if (!error) error = open_buffers(e);
  if (!error) error = open_descriptors(e);
  if (error) endpoint_free(e);
  else *endpoint = &e->base;
  return error;
}

static void ofi_close(struct fab_endpoint *endpoint)
{
  struct fab_ofi_endpoint *e = (struct fab_ofi_endpoint *)endpoint;
  fab_ofi_part(e);
  endpoint_free(e);
}

/* ---- contacts */

static int ofi_contact(struct fab_endpoint *endpoint, struct fab_contact *contact)
{
  struct fab_ofi_endpoint *e = (struct fab_ofi_endpoint *)endpoint;
  size_t bytes = sizeof contact->address;
  *contact = (struct fab_contact){.version = FAB_OFI_VERSION};
  int error = fi_getname(&e->ep->fid, contact->address, &bytes);
  if (error) return error;
  contact->bytes = (uint32_t)bytes;
  fab_ofi_describe_window(e, contact);
  return 0;
}

static int meet(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, const struct fab_contact *contact)
{
  if (contact->version != FAB_OFI_VERSION || contact->bytes > sizeof contact->address) return -EINVAL;
  if (fi_av_insert(e->av, contact->address, 1, &peer->address, 0, NULL) != 1) return -EINVAL;
  peer->memory_address = contact->memory_address;
  peer->memory_key = contact->memory_key;
  peer->memory_bytes = contact->memory_bytes;
  peer->known = peer->heard = true; /* its silence begins now */
  return 0;
}

static int ofi_connect(struct fab_endpoint *endpoint, const struct fab_contact *contacts)
{
  struct fab_ofi_endpoint *e = (struct fab_ofi_endpoint *)endpoint;
  for (int i = 0; i < e->numbers; i++) {
    if (!contacts[i].bytes || e->peers[i].known) continue;
    int error = meet(e, &e->peers[i], &contacts[i]);
    if (error) return error;
  }
  return 0;
}

const struct fab_ops fab_ofi = {
    .name = "ofi",
    .capabilities = FAB_RMA | FAB_MSG,
    .open = ofi_open,
    .close = ofi_close,
    .contact = ofi_contact,
    .connect = ofi_connect,
    .put = fab_ofi_put,
    .get = fab_ofi_get,
    .atomic = fab_ofi_atomic,
    .send = fab_ofi_send,
    .progress = fab_ofi_progress,
    .sleep_begin = ofi_sleep_begin,
    .sleep = ofi_sleep,
    .sleep_end = ofi_sleep_end,
    .descriptor = ofi_descriptor,
    .lose = fab_ofi_lose,
    .release = fab_ofi_release,
};
