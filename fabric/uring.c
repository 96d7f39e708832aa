/* The fabric between coherence domains: TCP sockets, on the loopback or between hosts, driven by io_uring. MSG only.
 *
 * An endpoint has one ring. An operation in the kernel is named by its link and kind (fab_uring_tag); a link is freed only once none of its
 * operations is left, so a completion never finds a link that is gone. What is to be started is collected (rx_due, tx_due) and
 * handed to the kernel together; sends leave within send, receives are started by the next progress.
 * Progress costs a few loads when nothing happened: it enters the kernel only for new work, or when the kernel asks for it
 * (IORING_SQ_TASKRUN: something is ready for a waiting operation, which is carried out on entry; no interrupt is sent to this thread for
 * it). Only on hot links does it look each time, for a while, because being told costs both sides more than looking.
 *
 * Connections. Two endpoints use one, in both directions: TCP's acknowledgements then travel with messages. The opener's hello proves the
 * job's key before anything else is accepted; what is bad is counted, reported once, and dropped. When both open at once, the one of the
 * endpoint with the lower number is used: the higher one holds its sends until the lower one has welcomed its connection, or
 * has opened one, to which they then move. Nothing was sent on the one that is given up, so messages stay in order.
 * Whatever comes on an accepted connection is read all the same: close sends what is held without waiting for the welcome.
 *
 * Threads. The kernel cancels what an exiting thread has started; such operations complete with -ECANCELED and are started again by
 * whoever calls progress (is_transient).
 *
 * Death. The end of a connection's stream, or a refused connection, ends a link: everything that had arrived was delivered before, since
 * the stream ends behind it. Between hosts it also ends when the other kernel is silent for config.silence_ns. A device is lost when its last link has ended and nobody waits to be accepted. uring_close sends the end of
 * stream behind the last message and keeps reading until all of it was acknowledged: closing with unread bytes would discard what is
 * still on its way.
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

#define HELLO_MAGIC 0x6f6c6c6568616d75ull
#define WELCOME_MAGIC 0x636c6577616d75ull
#define RING_ENTRIES 256
#define REGISTERED 64  /* links with registered bounce buffers; further ones work without */
#define REAP_BATCH 256 /* completions handled by one call of progress */
#define HOT_LINKS 4    /* at most, of an endpoint */
#define HOT_LOOKS 128  /* looks that may fail in a row; a look costs about 0.3 us */
#define SPARE_STRANGERS 64
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

static int take_slot(struct fab_uring_endpoint *e, unsigned char *bounce)
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
static uint32_t address_of(const struct fab_uring_endpoint *e, int device)
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

static void set_options(const struct fab_uring_endpoint *e, int fd)
{
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_SNDBUF, SOCKET_BYTES);
  if (address_of(e, e->config.device)) set_silence(fd, e->config.silence_ns);
}

/* Owns fd from here on, also when it fails. */
static struct fab_uring_link *link_new(struct fab_uring_endpoint *e, int fd)
{
  struct fab_uring_link *link = calloc(1, sizeof *link);
  unsigned char *bounce = mmap(NULL, BOUNCE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (!link || bounce == MAP_FAILED) {
    if (bounce != MAP_FAILED) munmap(bounce, BOUNCE_BYTES);
    free(link);
    close(fd);
    return NULL;
  }
  set_options(e, fd);
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

/* ---- connecting: connect, greet, and of the higher hello (the welcome) | accept, hello, and to the higher greet (the welcome) */

static void prepare_connect(struct fab_uring_link *link)
{
  struct io_uring_sqe *sqe = fab_uring_sqe(link->endpoint);
  io_uring_prep_connect(sqe, link->fd, (struct sockaddr *)&link->address, sizeof link->address);
  fab_uring_tag(link->endpoint, sqe, link, FAB_URING_CONNECT);
}

static void prepare_greet(struct fab_uring_link *link)
{
  struct io_uring_sqe *sqe = fab_uring_sqe(link->endpoint);
  size_t done = link->rx.fill;
  io_uring_prep_send(sqe, link->fd, (unsigned char *)&link->hello + done, sizeof link->hello - done, MSG_NOSIGNAL | MSG_WAITALL);
  fab_uring_tag(link->endpoint, sqe, link, FAB_URING_GREET);
}

static void prepare_hello(struct fab_uring_link *link)
{
  struct io_uring_sqe *sqe = fab_uring_sqe(link->endpoint);
  size_t done = link->rx.fill;
  io_uring_prep_recv(sqe, link->fd, (unsigned char *)&link->hello + done, sizeof link->hello - done, MSG_WAITALL);
  fab_uring_tag(link->endpoint, sqe, link, FAB_URING_HELLO);
}

static struct fab_uring_hello hello_to(const struct fab_uring_endpoint *e, int remote)
{
  struct fab_uring_hello hello = {.magic = HELLO_MAGIC, .version = FAB_URING_VERSION};
  memcpy(hello.key, e->config.key, FAB_KEY_BYTES);
  hello.from_device = e->config.device;
  hello.from_channel = (int)e->config.channel;
  hello.to_device = remote / FAB_CHANNELS;
  hello.to_channel = remote % FAB_CHANNELS;
  return hello;
}

static int own_number(const struct fab_uring_endpoint *e)
{
  return e->config.device * FAB_CHANNELS + (int)e->config.channel;
}

/* The answer to a hello. */
static struct fab_uring_hello welcome_of(struct fab_uring_hello hello)
{
  hello.magic = WELCOME_MAGIC;
  return hello;
}

/* Opens a connection to a remote; NULL with errno set. */
static struct fab_uring_link *connect_to(struct fab_uring_endpoint *e, int remote)
{
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct fab_uring_link *link = fd < 0 ? NULL : link_new(e, fd);
  if (!link) return NULL;
  link->initiated = true;
  link->held = remote < own_number(e);
  link->remote = remote;
  link->hello = hello_to(e, remote);
  link->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(e->config.ports[remote])};
  uint32_t address = address_of(e, remote / FAB_CHANNELS);
  link->address.sin_addr.s_addr = address ? address : htonl(INADDR_LOOPBACK);
  e->devices[remote / FAB_CHANNELS].links++;
  prepare_connect(link);
  return link;
}

/* Both sides have agreed: messages may pass. */
static void establish(struct fab_uring_link *link)
{
  link->slot = take_slot(link->endpoint, link->bounce);
  link->rx.fill = 0;
  link->held = link->held && link->endpoint->closing; /* then it is `held` until all has left */
  link->tx.ready = true;
  fab_uring_arm(link);
  if (link->tx.queue) fab_uring_want_send(link);
}

static bool is_transient(const struct fab_uring_endpoint *e, int result)
{
  return !e->closing && (result == -ECANCELED || result == -EINTR || result == -EAGAIN || result == -ENOBUFS);
}

/* A connect that was cancelled half way is begun again with a new socket. */
static void reconnect(struct fab_uring_link *link)
{
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    fab_uring_kill(link);
    return;
  }
  close(link->fd);
  link->fd = fd;
  set_options(link->endpoint, fd);
  prepare_connect(link);
}

static void on_connect(struct fab_uring_link *link, int result)
{
  if (is_transient(link->endpoint, result)) reconnect(link);
  else if (result < 0) fab_uring_kill(link);
  else prepare_greet(link);
}

/* The remote is to say whether it takes this connection. */
static void await_welcome(struct fab_uring_link *link)
{
  link->rx.fill = 0;
  link->greeted = true;
  link->tx.ready = link->endpoint->closing;
  if (link->tx.ready) fab_uring_want_send(link);
  prepare_hello(link);
}

static void on_greet(struct fab_uring_link *link, int result)
{
  if (result > 0) link->rx.fill += (size_t)result;
  else if (!is_transient(link->endpoint, result)) {
    fab_uring_kill(link);
    return;
  }
  if (link->rx.fill < sizeof link->hello) prepare_greet(link);
  else if (link->held) await_welcome(link);
  else establish(link);
}

/* Who connects and says nothing must not use up the descriptors: the oldest such goes when there are more than there can be peers. */
static void limit_strangers(struct fab_uring_endpoint *e)
{
  struct fab_uring_link *oldest = NULL;
  if (e->strangers <= e->config.devices * FAB_CHANNELS + SPARE_STRANGERS) return;
  for (struct fab_uring_link *link = e->links; link; link = link->next)
    if (link->remote < 0 && !link->dead) oldest = link;
  if (oldest) shutdown(oldest->fd, SHUT_RDWR);
}

static void on_accept(struct fab_uring_endpoint *e, int result)
{
  e->accept_due = !e->closing && result != -EINVAL && result != -EBADF; /* these two: it listens no more */
  if (result < 0) return;
  struct fab_uring_link *link = link_new(e, result);
  if (!link) return;
  prepare_hello(link);
  e->strangers++;
  limit_strangers(e);
}

static bool same_key(const unsigned char *a, const unsigned char *b)
{
  unsigned char differences = 0;
  for (int i = 0; i < FAB_KEY_BYTES; i++) differences |= a[i] ^ b[i];
  return !differences;
}

/* Why a hello is not acceptable; NULL when it is. */
static const char *fault_of(const struct fab_uring_endpoint *e, const struct fab_uring_hello *hello)
{
  if (hello->magic != HELLO_MAGIC) return "bytes that are no hello";
  if (hello->version != FAB_URING_VERSION) return "a hello of another version";
  if (!same_key(hello->key, e->config.key)) return "a wrong key";
  if (hello->to_device != e->config.device || hello->to_channel != (int)e->config.channel) return "a hello for another endpoint";
  if (hello->from_device < 0 || hello->from_device >= e->config.devices) return "a device number out of range";
  if (hello->from_channel < 0 || hello->from_channel >= FAB_CHANNELS) return "a channel number out of range";
  if (e->remotes[hello->from_device * FAB_CHANNELS + hello->from_channel].accepted) return "a second hello of the same endpoint";
  return NULL;
}

/* Sends that are held go to the link that the remote has opened. */
static void move_sends(struct fab_uring_link *from, struct fab_uring_link *to)
{
  to->tx.queue = from->tx.queue;
  to->tx.end = from->tx.end;
  from->tx.queue = NULL;
  fab_uring_kill(from);
}

/* Decides on which link everything to the remote goes, now that it has opened this one. */
static void adopt(struct fab_uring_link *link)
{
  struct fab_uring_endpoint *e = link->endpoint;
  struct fab_uring_remote *remote = &e->remotes[link->remote];
  struct fab_uring_link *before = remote->out;
  remote->accepted = link;
  if (!before || (before->held && !e->closing)) remote->out = link;
  if (!before && link->remote > own_number(e)) {
    link->hello = welcome_of(link->hello);
    link->rx.fill = 0;
    prepare_greet(link);
    return;
  }
  if (before && remote->out == link) move_sends(before, link);
  establish(link);
}

static void verify(struct fab_uring_link *link)
{
  struct fab_uring_endpoint *e = link->endpoint;
  const char *fault = fault_of(e, &link->hello);
  if (fault) {
    fab_uring_reject(link, fault);
    return;
  }
  if (e->devices[link->hello.from_device].lost) {
    fab_uring_kill(link);
    return;
  }
  e->strangers--;
  link->remote = link->hello.from_device * FAB_CHANNELS + link->hello.from_channel;
  e->devices[link->hello.from_device].links++;
  adopt(link);
}

static void verify_welcome(struct fab_uring_link *link)
{
  struct fab_uring_hello expected = welcome_of(hello_to(link->endpoint, link->remote));
  if (memcmp(&link->hello, &expected, sizeof expected) != 0) fab_uring_reject(link, "bytes that are no welcome");
  else establish(link);
}

/* Before it was complete. Who says nothing at all may be a peer that uses another connection instead. */
static void hello_ends(struct fab_uring_link *link)
{
  if (!link->rx.fill) fab_uring_kill(link);
  else fab_uring_reject(link, link->initiated ? "an incomplete welcome" : "an incomplete hello");
}

static void on_hello(struct fab_uring_link *link, int result)
{
  if (result > 0) link->rx.fill += (size_t)result;
  else if (!is_transient(link->endpoint, result)) {
    hello_ends(link);
    return;
  }
  if (link->rx.fill < sizeof link->hello) prepare_hello(link);
  else if (link->initiated) verify_welcome(link);
  else verify(link);
}

/* ---- completions */

/* After an error of sending, receiving goes on: what the other side sent before it ended is still to be read. */
static void on_send(struct fab_uring_link *link, int result)
{
  link->tx.in_flight = false;
  if (result > 0) {
    fab_uring_sent(link, (size_t)result);
  } else if (is_transient(link->endpoint, result)) {
    fab_uring_want_send(link);
  } else {
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
  } else if (is_transient(link->endpoint, result)) {
    fab_uring_arm(link);
  } else {
    fab_uring_kill(link);
  }
}

static void dispatch(struct fab_uring_link *link, enum fab_uring_op op, int result)
{
  switch (op) {
  case FAB_URING_CONNECT: on_connect(link, result); break;
  case FAB_URING_GREET: on_greet(link, result); break;
  case FAB_URING_HELLO: on_hello(link, result); break;
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
    if (data < 8) on_accept(e, result);
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

/* The link on which everything to this remote goes; NULL with errno set. */
static struct fab_uring_link *link_to(struct fab_uring_endpoint *e, int remote)
{
  struct fab_uring_remote *to = &e->remotes[remote];
  if (!to->out) to->out = connect_to(e, remote);
  return to->out;
}

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

/* A connection to the first device of every other host, which tells when the host is lost although nobody sends to it. */
static void watch_hosts(struct fab_uring_endpoint *e)
{
  uint32_t own = address_of(e, e->config.device);
  for (int d = 0; d < e->config.devices; d++) {
    bool first = d == 0 || address_of(e, d) != address_of(e, d - 1);
    if (first && address_of(e, d) != own) link_to(e, d * FAB_CHANNELS + (int)e->config.channel);
  }
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
};
