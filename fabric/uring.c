/* The fabric between coherence domains: TCP sockets, on the loopback or between hosts, driven by io_uring. MSG only.
 *
 * An endpoint has one ring. An operation in the kernel is named by its link and kind (fab_uring_tag); a link is freed only once none of its
 * operations is left, so a completion never finds a link that is gone. What is to be started is collected (rx_due, tx_due) and
 * handed to the kernel together; sends leave within send, receives are started by the next progress.
 * Progress costs a few loads when nothing happened: it enters the kernel only for new work, or when the kernel asks for it
 * (IORING_SQ_TASKRUN: something is ready for a waiting operation, which is carried out on entry; no interrupt is sent to this thread for
 * it). Only on hot links does it look each time, for a while, because being told costs both sides more than looking.
 *
 * Threads. The kernel cancels what an exiting thread has started; such operations complete with -ECANCELED and are started again by
 * whoever calls progress (fab_uring_is_transient).
 *
 * Death. The end of a connection's stream, or a refused connection, ends a link: everything that had arrived was delivered before, since
 * the stream ends behind it. A device is lost when its last link has ended and nobody waits to be accepted. Between hosts a link also ends when the
 * other kernel is silent for config.silence_ns; then all devices there are lost. uring_close sends the end of stream behind the last message and
 * keeps reading until all of it was acknowledged: closing with unread bytes would discard what is still on its way.
 */
#include "fabric/uring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <linux/sockios.h>

#include "fabric/futex.h"

#define RING_ENTRIES 256
#define REGISTERED 64  /* links with registered bounce buffers; further ones work without */
#define REAP_BATCH 256 /* completions handled by one call of progress */
#define HOT_LINKS 4    /* at most, of an endpoint */
#define HOT_LOOKS 128  /* looks that may fail in a row; a look costs about 0.3 us */
#define SOCKET_BYTES (4 << 20)
#define CLOSE_NS 2000000000u /* how long close waits for others to take what was sent */
#define MOST_SILENCE_MS 3600000
#define BOUNCE_BYTES (4 * (size_t)FAB_URING_HALF)

/* ---- the ring */

struct io_uring_sqe *fab_uring_sqe(struct fab_uring_endpoint *e)
{
  struct io_uring_sqe *sqe;
  while (!(sqe = io_uring_get_sqe(&e->ring))) io_uring_submit(&e->ring);
  return sqe;
}

void fab_uring_tag(struct fab_uring_endpoint *e, struct io_uring_sqe *sqe, struct fab_uring_link *link, enum fab_uring_op op)
{
  io_uring_sqe_set_data64(sqe, (uintptr_t)link | op); /* links are aligned to 16 bytes */
  e->in_flight++;
  if (link) link->operations++;
}

void fab_uring_arm(struct fab_uring_link *link)
{
  struct fab_uring_endpoint *e = link->endpoint;
  if (link->queued_rx) return;
  link->queued_rx = true;
  link->next_rx = e->rx_due;
  e->rx_due = link;
}

void fab_uring_want_send(struct fab_uring_link *link)
{
  struct fab_uring_endpoint *e = link->endpoint;
  if (link->queued_tx) return;
  link->queued_tx = true;
  link->next_tx = e->tx_due;
  e->tx_due = link;
}

static bool is_dirty(const struct fab_uring_endpoint *e)
{
  return e->tx_due || e->rx_due || e->accept_due || io_uring_sq_ready(&e->ring);
}

static void prepare_accept(struct fab_uring_endpoint *e)
{
  struct io_uring_sqe *sqe = fab_uring_sqe(e);
  io_uring_prep_accept(sqe, e->config.listen_fd, NULL, NULL, SOCK_CLOEXEC);
  fab_uring_tag(e, sqe, NULL, FAB_URING_ACCEPT);
  e->accept_due = false;
}

static void prepare_receives(struct fab_uring_endpoint *e)
{
  struct fab_uring_link *link = e->rx_due;
  e->rx_due = NULL;
  for (; link; link = link->next_rx) {
    link->queued_rx = false;
    fab_uring_prepare_receive(link);
  }
  if (e->accept_due) prepare_accept(e);
}

static void flush_sends(struct fab_uring_endpoint *e)
{
  struct fab_uring_link *senders = e->tx_due;
  e->tx_due = NULL;
  for (struct fab_uring_link *link = senders; link; link = link->next_tx) {
    link->queued_tx = false;
    fab_uring_prepare_send(link);
  }
  io_uring_submit(&e->ring);
  for (struct fab_uring_link *link = senders; link; link = link->next_tx) fab_uring_stage_ahead(link);
}

static void flush(struct fab_uring_endpoint *e)
{
  if (e->tx_due) flush_sends(e);
  prepare_receives(e);
  if (io_uring_sq_ready(&e->ring)) io_uring_submit(&e->ring);
}

/* ---- links */

int fab_uring_take_slot(struct fab_uring_endpoint *e, unsigned char *bounce)
{
  if (!e->slots_free) return -1;
  int slot = __builtin_ctzll(e->slots_free);
  struct iovec memory = {bounce, BOUNCE_BYTES};
  if (io_uring_register_buffers_update_tag(&e->ring, (unsigned)slot, &memory, NULL, 1) != 1) return -1;
  e->slots_free &= ~(1ull << slot);
  return slot;
}

static void return_slot(struct fab_uring_endpoint *e, int slot)
{
  struct iovec nothing = {NULL, 0};
  if (slot < 0) return;
  if (io_uring_register_buffers_update_tag(&e->ring, (unsigned)slot, &nothing, NULL, 1) == 1) e->slots_free |= 1ull << slot;
}

/* 0 where there are no others. */
uint32_t fab_uring_address_of(const struct fab_uring_endpoint *e, int device)
{
  return e->config.addresses ? e->config.addresses[device] : 0;
}

static void set_option(int fd, int level, int option, int value)
{
  setsockopt(fd, level, option, &value, sizeof value);
}

/* The kernel probes the other host's when nothing comes. */
static void set_silence(int fd, uint64_t silence_ns)
{
  uint64_t milliseconds = silence_ns / 1000000 < MOST_SILENCE_MS ? silence_ns / 1000000 : MOST_SILENCE_MS;
  int half = (int)(milliseconds / 2000), quarter = (int)(milliseconds / 4000);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, half ? half : 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, quarter ? quarter : 1);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)milliseconds);
}

void fab_uring_set_options(const struct fab_uring_endpoint *e, int fd)
{
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_SNDBUF, SOCKET_BYTES);
  if (fab_uring_address_of(e, e->config.device)) set_silence(fd, e->config.silence_ns);
  else setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, FAB_LOOPBACK_CONGESTION, strlen(FAB_LOOPBACK_CONGESTION));
}

/* Owns fd from here on, also when it fails. */
struct fab_uring_link *fab_uring_link_new(struct fab_uring_endpoint *e, int fd)
{
  struct fab_uring_link *link = calloc(1, sizeof *link);
  unsigned char *bounce = mmap(NULL, BOUNCE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (!link || bounce == MAP_FAILED) {
    if (bounce != MAP_FAILED) munmap(bounce, BOUNCE_BYTES);
    free(link);
    close(fd);
    return NULL;
  }
  fab_uring_set_options(e, fd);
  *link = (struct fab_uring_link){.endpoint = e, .fd = fd, .remote = -1, .bounce = bounce, .slot = -1, .next = e->links};
  if (e->links) e->links->previous = link;
  e->links = link;
  return link;
}

static void unlink_due(struct fab_uring_link *link)
{
  struct fab_uring_endpoint *e = link->endpoint;
  struct fab_uring_link **at;
  if (link->queued_rx) {
    for (at = &e->rx_due; *at != link; at = &(*at)->next_rx) continue;
    *at = link->next_rx;
  }
  if (link->queued_tx) {
    for (at = &e->tx_due; *at != link; at = &(*at)->next_tx) continue;
    *at = link->next_tx;
  }
}

static void link_free(struct fab_uring_link *link)
{
  struct fab_uring_endpoint *e = link->endpoint;
  unlink_due(link);
  if (link->next) link->next->previous = link->previous;
  if (link->previous) link->previous->next = link->next;
  else e->links = link->next;
  if (link->rx.looks) e->hot--;
  return_slot(e, link->slot);
  munmap(link->bounce, BOUNCE_BYTES);
  close(link->fd);
  free(link);
}

static void device_ends(struct fab_uring_endpoint *e, int device)
{
  e->devices[device].ending = e->any_ending = true;
}

/* Who holds sends for the welcome on the accepted link will not get it any more, and is told. */
static void leave_remote(const struct fab_uring_link *link, struct fab_uring_remote *remote)
{
  if (remote->accepted == link) remote->accepted = NULL;
  if (remote->out != link) return;
  remote->out = NULL;
  if (remote->accepted) shutdown(remote->accepted->fd, SHUT_WR);
}

/* The end of a link that is dead and has nothing in flight. */
static void bury(struct fab_uring_link *link)
{
  struct fab_uring_endpoint *e = link->endpoint;
  int remote = link->remote;
  e->strangers -= remote < 0;
  if (!e->closing) fab_uring_receive_lost(link);
  fab_uring_fail_sends(link, e->closing ? -ECANCELED : -EHOSTDOWN);
  if (remote >= 0) leave_remote(link, &e->remotes[remote]);
  link_free(link);
  if (remote < 0 || --e->devices[remote / FAB_CHANNELS].links || e->closing) return;
  device_ends(e, remote / FAB_CHANNELS);
}

void fab_uring_kill(struct fab_uring_link *link)
{
  struct fab_uring_remote *remote = link->remote < 0 ? NULL : &link->endpoint->remotes[link->remote];
  link->dead = true;
  shutdown(link->fd, SHUT_RDWR);
  if (remote && remote->out == link) remote->closed = true;
}

void fab_uring_reject(struct fab_uring_link *link, const char *why)
{
  struct fab_uring_endpoint *e = link->endpoint;
  if (e->rejected++ == 0) fprintf(stderr, "uma: device %d: dropped a connection that sent %s (reported once)\n", e->config.device, why);
  fab_uring_kill(link);
}

/* ---- watching other hosts: by a connection to the first device of each, which ends although nobody sends on it */

/* The link on which everything to this remote goes; NULL with errno set. */
static struct fab_uring_link *link_to(struct fab_uring_endpoint *e, int remote)
{
  struct fab_uring_remote *to = &e->remotes[remote];
  if (!to->out) to->out = fab_uring_connect(e, remote);
  return to->out;
}

static void watch_device(struct fab_uring_endpoint *e, int device)
{
  link_to(e, device * FAB_CHANNELS + (int)e->config.channel);
}

/* Of another host. */
static bool is_first(const struct fab_uring_endpoint *e, int device)
{
  uint32_t address = fab_uring_address_of(e, device);
  return address != fab_uring_address_of(e, e->config.device) && (device == 0 || address != fab_uring_address_of(e, device - 1));
}

static void watch_hosts(struct fab_uring_endpoint *e)
{
  for (int d = 0; d < e->config.devices; d++)
    if (is_first(e, d)) watch_device(e, d);
}

/* The first one is lost: with its host, or alone; then each of the others has to be watched. */
static void watch_others(struct fab_uring_endpoint *e, int first)
{
  uint32_t address = fab_uring_address_of(e, first);
  for (int d = first + 1; d < e->config.devices && fab_uring_address_of(e, d) == address; d++) {
    if (e->devices[d].lost || e->devices[d].links) continue;
    if (e->devices[first].unreachable) device_ends(e, d);
    else watch_device(e, d);
  }
}

void fab_uring_note_end(const struct fab_uring_link *link, int result)
{
  bool cut = result == -ETIMEDOUT || result == -EHOSTUNREACH || result == -ENETUNREACH || result == -ENETDOWN;
  if (cut && link->remote >= 0) link->endpoint->devices[link->remote / FAB_CHANNELS].unreachable = true;
}

/* ---- completions */

/* After an error of sending, receiving goes on: what the other side sent before it ended is still to be read. */
static void on_send(struct fab_uring_link *link, int result)
{
  link->tx.in_flight = false;
  if (result > 0) {
    fab_uring_sent(link, (size_t)result);
  } else if (fab_uring_is_transient(link->endpoint, result)) {
    fab_uring_want_send(link);
  } else {
    fab_uring_note_end(link, result);
    link->endpoint->remotes[link->remote].closed = true;
    fab_uring_fail_sends(link, link->endpoint->closing ? -ECANCELED : -EHOSTDOWN);
    if (!link->endpoint->closing) shutdown(link->fd, SHUT_RDWR);
  }
}

static void heat(struct fab_uring_link *link)
{
  if (!link->rx.looks && link->endpoint->hot == HOT_LINKS) return;
  if (!link->rx.looks) link->endpoint->hot++;
  link->rx.looks = HOT_LOOKS;
}

static void cool(struct fab_uring_link *link)
{
  link->endpoint->failed_looks++;
  if (link->rx.looks && --link->rx.looks == 0) link->endpoint->hot--;
}

static void on_receive(struct fab_uring_link *link, int result)
{
  if (result > 0 && !link->endpoint->closing) {
    heat(link);
    fab_uring_received(link, (size_t)result);
  } else if (result > 0) {
    link->rx = (struct fab_uring_rx){.mode = FAB_URING_PARSE, .looks = link->rx.looks}; /* into the bounce buffer, and nowhere */
    fab_uring_arm(link);
  } else if (result == -EAGAIN) {
    cool(link);
    fab_uring_arm(link);
  } else if (fab_uring_is_transient(link->endpoint, result)) {
    fab_uring_arm(link);
  } else {
    fab_uring_note_end(link, result);
    fab_uring_kill(link);
  }
}

static void dispatch(struct fab_uring_link *link, enum fab_uring_op op, int result)
{
  switch (op) {
  case FAB_URING_CONNECT: fab_uring_connected(link, result); break;
  case FAB_URING_GREET: fab_uring_greeted(link, result); break;
  case FAB_URING_HELLO: fab_uring_heard(link, result); break;
  case FAB_URING_RECEIVE: on_receive(link, result); break;
  case FAB_URING_SEND: on_send(link, result); break;
  case FAB_URING_ACCEPT: break;
  }
}

static void on_link(struct fab_uring_link *link, enum fab_uring_op op, int result)
{
  link->operations--;
  if (!link->dead) dispatch(link, op, result);
  if (link->dead && !link->operations) bury(link);
}

static int reap(struct fab_uring_endpoint *e)
{
  int reaped = 0;
  struct io_uring_cqe *cqe;
  e->failed_looks = 0;
  for (; reaped < REAP_BATCH && io_uring_cq_ready(&e->ring); reaped++) {
    io_uring_peek_cqe(&e->ring, &cqe);
    uint64_t data = io_uring_cqe_get_data64(cqe);
    int result = cqe->res;
    io_uring_cqe_seen(&e->ring, cqe);
    e->in_flight--;
    if (data < 8) fab_uring_accepted(e, result);
    else on_link((struct fab_uring_link *)(uintptr_t)(data & ~7ull), (enum fab_uring_op)(data & 7), result);
  }
  return reaped - e->failed_looks;
}

/* Whether the kernel has completions that only entering it brings. */
static bool kernel_asks(const struct fab_uring_endpoint *e)
{
  return IO_URING_READ_ONCE(*e->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* Whether a connection that somebody opened is not accepted yet, or its hello has come and is not read. The order matters: bytes leave
 * the socket before the completion shows. */
static bool has_newcomers(struct fab_uring_endpoint *e)
{
  int unread;
  struct pollfd listener = {.fd = e->config.listen_fd, .events = POLLIN};
  if (poll(&listener, 1, 0) > 0 && listener.revents == POLLIN) return true;
  for (struct fab_uring_link *link = e->links; link; link = link->next)
    if (link->remote < 0 && !link->dead && !ioctl(link->fd, SIOCINQ, &unread) && unread) return true;
  return io_uring_cq_ready(&e->ring) || kernel_asks(e);
}

/* Declares those lost whose last link has ended, once nothing of theirs can be waiting on another connection. */
static void settle_ending(struct fab_uring_endpoint *e)
{
  if (has_newcomers(e)) return;
  e->any_ending = false;
  for (int d = 0; d < e->config.devices; d++) {
    struct fab_uring_device *device = &e->devices[d];
    bool lost = device->ending && !device->links && !device->lost;
    device->ending = false;
    if (!lost) continue;
    device->lost = true;
    e->config.sink.lost(e->config.sink.context, d, false);
    if (e->config.watch && is_first(e, d)) watch_others(e, d);
  }
}

static int uring_progress(struct fab_endpoint *endpoint)
{
  struct fab_uring_endpoint *e = (struct fab_uring_endpoint *)endpoint;
  e->busy = true;
  if (is_dirty(e)) flush(e);
  if (kernel_asks(e)) io_uring_get_events(&e->ring);
  int reaped = reap(e);
  if (e->any_ending) settle_ending(e);
  if (e->sleepers && is_dirty(e)) flush(e);
  else if (e->tx_due) flush_sends(e);
  e->busy = false;
  return reaped;
}

/* ---- sending */

static void enqueue(struct fab_uring_tx *tx, struct fab_send *send)
{
  if (!tx->queue) tx->end = &tx->queue;
  *tx->end = send;
  tx->end = &send->next;
}

static void uring_send(struct fab_endpoint *endpoint, int device, enum fab_channel channel, struct fab_send *send)
{
  struct fab_uring_endpoint *e = (struct fab_uring_endpoint *)endpoint;
  int remote = device * FAB_CHANNELS + (int)channel;
  send->status = FAB_PENDING;
  send->sent = 0;
  send->next = NULL;
  if (e->devices[device].lost || e->remotes[remote].closed) {
    send->status = -EHOSTDOWN;
    return;
  }
  struct fab_uring_link *link = link_to(e, remote);
  if (!link) {
    send->status = -errno;
    return;
  }
  enqueue(&link->tx, send);
  fab_uring_want_send(link);
  if (!e->busy) flush_sends(e);
}

static void uring_lose(struct fab_endpoint *endpoint, int device)
{
  struct fab_uring_endpoint *e = (struct fab_uring_endpoint *)endpoint;
  for (int channel = 0; channel < FAB_CHANNELS; channel++) e->remotes[device * FAB_CHANNELS + channel].closed = true;
  if (!e->devices[device].links) device_ends(e, device);
  for (struct fab_uring_link *link = e->links; link; link = link->next)
    if (link->remote >= 0 && link->remote / FAB_CHANNELS == device) shutdown(link->fd, SHUT_RDWR); /* what has arrived can still be read */
}

/* ---- sleeping */

static void uring_sleep_begin(struct fab_endpoint *endpoint)
{
  ((struct fab_uring_endpoint *)endpoint)->sleepers++;
}

static void uring_sleep(struct fab_endpoint *endpoint, long timeout_ns)
{
  struct fab_uring_endpoint *e = (struct fab_uring_endpoint *)endpoint;
  struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
  ppoll(&(struct pollfd){.fd = e->ring.ring_fd, .events = POLLIN}, 1, &timeout, NULL);
}

static void uring_sleep_end(struct fab_endpoint *endpoint)
{
  ((struct fab_uring_endpoint *)endpoint)->sleepers--;
}

static int uring_descriptor(struct fab_endpoint *endpoint)
{
  return ((struct fab_uring_endpoint *)endpoint)->ring.ring_fd;
}

/* ---- opening and closing */

static int ring_init(struct io_uring *ring)
{
  int error = io_uring_queue_init(RING_ENTRIES, ring, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
  return error == -EINVAL ? io_uring_queue_init(RING_ENTRIES, ring, 0) : error; /* before Linux 5.19 */
}

int fab_uring_available(void)
{
  static _Atomic int answer = 1; /* 1: not yet asked */
  int known = atomic_load(&answer);
  if (known <= 0) return known;
  struct io_uring ring;
  known = ring_init(&ring);
  if (!known) io_uring_queue_exit(&ring);
  atomic_store(&answer, known);
  return known;
}

static int prepare_listener(const struct fab_config *config)
{
  int bytes = SOCKET_BYTES, flags = fcntl(config->listen_fd, F_GETFL);
  if (flags < 0) return -errno;
  if (flags & O_NONBLOCK) fcntl(config->listen_fd, F_SETFL, flags & ~O_NONBLOCK); /* or an accept in the ring would not wait */
  setsockopt(config->listen_fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  return 0;
}

static void endpoint_free(struct fab_uring_endpoint *e)
{
  free(e->remotes);
  free(e->devices);
  free(e);
}

static struct fab_uring_endpoint *endpoint_new(const struct fab_config *config)
{
  struct fab_uring_endpoint *e = calloc(1, sizeof *e);
  if (!e) return NULL;
  e->base.ops = &fab_uring;
  e->config = *config;
  e->accept_due = true;
  e->devices = calloc((size_t)config->devices, sizeof *e->devices);
  e->remotes = calloc((size_t)config->devices * FAB_CHANNELS, sizeof *e->remotes);
  if (e->devices && e->remotes) return e;
  endpoint_free(e);
  return NULL;
}

static int uring_open(const struct fab_config *config, struct fab_endpoint **endpoint)
{
  if (config->device < 0 || config->device >= config->devices || !config->ports) return -EINVAL;
  int error = prepare_listener(config);
  if (error) return error;
  struct fab_uring_endpoint *e = endpoint_new(config);
  if (!e) return -ENOMEM;
  error = ring_init(&e->ring);
  if (error) {
    endpoint_free(e);
    return error;
  }
  e->slots_free = io_uring_register_buffers_sparse(&e->ring, REGISTERED) ? 0 : ~0ull;
  if (config->watch) watch_hosts(e);
  flush(e);
  *endpoint = &e->base;
  return 0;
}

static bool is_drained(int fd)
{
  int unacknowledged = 0;
  return ioctl(fd, SIOCOUTQ, &unacknowledged) || !unacknowledged;
}

/* Whether sends are held that go without a welcome, because the endpoint closes. */
static bool has_held(const struct fab_uring_link *link)
{
  return link->held && link->tx.queue && !link->dead;
}

/* Ends the stream behind what was sent; of held sends the loop of close does it. */
static void begin_end(struct fab_uring_link *link)
{
  if (!has_held(link)) {
    shutdown(link->fd, link->tx.ready ? SHUT_WR : SHUT_RDWR);
    return;
  }
  link->tx.ready = link->greeted;
  fab_uring_want_send(link);
}

static void wait_a_little(struct fab_uring_endpoint *e)
{
  struct io_uring_cqe *cqe;
  struct __kernel_timespec pause = {.tv_nsec = 1000000};
  flush(e);
  io_uring_wait_cqe_timeout(&e->ring, &cqe, &pause);
  reap(e);
}

static void uring_close(struct fab_endpoint *endpoint)
{
  struct fab_uring_endpoint *e = (struct fab_uring_endpoint *)endpoint;
  uint64_t deadline = fab_now_ns() + CLOSE_NS;
  e->closing = e->busy = true;
  e->sleepers++;                            /* from now on receives wait instead of looking */
  shutdown(e->config.listen_fd, SHUT_RDWR); /* ends the accept; later connects are refused */
  for (struct fab_uring_link *link = e->links; link; link = link->next) begin_end(link);
  while (e->links || e->in_flight) {
    bool late = fab_now_ns() > deadline;
    for (struct fab_uring_link *link = e->links; link; link = link->next)
      if (late || (!has_held(link) && is_drained(link->fd))) shutdown(link->fd, SHUT_RDWR);
    wait_a_little(e);
  }
  io_uring_queue_exit(&e->ring);
  endpoint_free(e);
}

const struct fab_ops fab_uring = {
    .name = "uring",
    .capabilities = FAB_MSG,
    .open = uring_open,
    .close = uring_close,
    .contact = fab_no_contact,
    .connect = fab_no_connect,
    .put = fab_enosys_put,
    .get = fab_enosys_get,
    .atomic = fab_enosys_atomic,
    .send = uring_send,
    .progress = uring_progress,
    .sleep_begin = uring_sleep_begin,
    .sleep = uring_sleep,
    .sleep_end = uring_sleep_end,
    .descriptor = uring_descriptor,
    .lose = uring_lose,
    .release = fab_no_release,
};
