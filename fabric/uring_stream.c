/* The bytes on one connection of the uring fabric: messages into a stream and out of it.
 *
 * At most one send and one receive of a link are in flight, because a TCP stream has one order. Overlap comes from elsewhere: a staged
 * payload is copied into or out of one half of the bounce buffer while the other half is on its way, and one system call gathers many
 * messages.
 *
 * Receiving has three modes (enum fab_uring_mode). PARSE takes whatever comes and copies payload to its destination; when much
 * of a payload is still to come, the next receives are limited to it, DIRECT to the destination or STAGED through the halves, so
 * that they never reach into the next message. Payload beyond the `room` that sink.arrive gave is counted and dropped.
 */
#include "fabric/uring.h"

#include <errno.h>
#include <string.h>

#define WIRE_MAGIC 0x4d414d55u
#define WIRE_STAGED 1u
#define WIRE_BYTES sizeof(struct fab_uring_wire)
#define DIRECT_MIN (16u << 10) /* from here on a receive of its own is cheaper than a copy */
#define BUFFER_BYTES (2 * (size_t)FAB_URING_HALF)

static size_t least(size_t a, size_t b)
{
  return a < b ? a : b;
}

/* ---- receiving */

static int remote_device(const struct fab_uring_link *link)
{
  return link->remote / FAB_CHANNELS;
}

static int remote_channel(const struct fab_uring_link *link)
{
  return link->remote % FAB_CHANNELS;
}

static void finish_message(struct fab_uring_link *link, int error)
{
  const struct fab_sink *sink = &link->endpoint->config.sink;
  struct fab_uring_rx *rx = &link->rx;
  rx->open = false;
  sink->complete(sink->context, remote_device(link), remote_channel(link), &rx->wire.header, rx->cookie, error);
}

void fab_uring_receive_lost(struct fab_uring_link *link)
{
  if (link->rx.open) finish_message(link, -EHOSTDOWN);
}

static size_t storable(const struct fab_uring_rx *rx)
{
  return least(rx->rest, rx->room - rx->stored);
}

static void store(struct fab_uring_rx *rx, const unsigned char *bytes, size_t count)
{
  size_t kept = least(count, rx->room - rx->stored);
  if (kept) memcpy(rx->target + rx->stored, bytes, kept);
  rx->stored += kept;
}

static void begin_message(struct fab_uring_link *link)
{
  const struct fab_sink *sink = &link->endpoint->config.sink;
  struct fab_uring_rx *rx = &link->rx;
  rx->open = true;
  rx->rest = rx->wire.header.bytes;
  rx->room = rx->stored = 0;
  rx->cookie = NULL;
  rx->target = sink->arrive(sink->context, remote_device(link), remote_channel(link), &rx->wire.header, &rx->room, &rx->cookie);
}

/* Takes one header, or payload of the open message, from `bytes`; returns how many were taken, 0 when more must come first. */
static size_t parse_step(struct fab_uring_link *link, const unsigned char *bytes, size_t count)
{
  struct fab_uring_rx *rx = &link->rx;
  if (!rx->open) {
    if (count < WIRE_BYTES) return 0;
    memcpy(&rx->wire, bytes, WIRE_BYTES);
    if (rx->wire.magic != WIRE_MAGIC || (rx->wire.flags & ~WIRE_STAGED)) {
      fab_uring_reject(link, "a malformed message header");
      return 0;
    }
    begin_message(link);
    count = WIRE_BYTES;
  } else {
    count = least(count, rx->rest);
    store(rx, bytes, count);
    rx->rest -= count;
  }
  if (!rx->rest) finish_message(link, 0);
  return count;
}

static void parse(struct fab_uring_link *link, size_t bytes)
{
  struct fab_uring_rx *rx = &link->rx;
  size_t at = 0, end = rx->fill + bytes;
  for (size_t step; at < end && (step = parse_step(link, link->bounce + at, end - at)); at += step) continue;
  rx->fill = end - at;
  if (at && rx->fill) memmove(link->bounce, link->bounce + at, rx->fill);
}

static enum fab_uring_mode next_mode(const struct fab_uring_rx *rx)
{
  if (!rx->open || rx->rest < DIRECT_MIN) return FAB_URING_PARSE;
  if (rx->wire.flags & WIRE_STAGED) return FAB_URING_STAGED;
  return storable(rx) ? FAB_URING_DIRECT : FAB_URING_PARSE;
}

static void received_direct(struct fab_uring_link *link, size_t bytes)
{
  link->rx.stored += bytes;
  link->rx.rest -= bytes;
  if (!link->rx.rest) finish_message(link, 0);
}

/* The next receive is started into the other half before this half is copied. */
static void received_staged(struct fab_uring_link *link, size_t bytes)
{
  struct fab_uring_rx *rx = &link->rx;
  const unsigned char *half = link->bounce + (size_t)rx->half * FAB_URING_HALF;
  rx->rest -= bytes;
  rx->half = !rx->half;
  if (rx->rest) {
    fab_uring_prepare_receive(link);
    io_uring_submit(&link->endpoint->ring);
  }
  store(rx, half, bytes);
  if (rx->rest) return;
  finish_message(link, 0);
  rx->mode = FAB_URING_PARSE;
  fab_uring_arm(link);
}

void fab_uring_received(struct fab_uring_link *link, size_t bytes)
{
  struct fab_uring_rx *rx = &link->rx;
  if (rx->mode == FAB_URING_STAGED) {
    received_staged(link, bytes);
    return;
  }
  if (rx->mode == FAB_URING_DIRECT) received_direct(link, bytes);
  else parse(link, bytes);
  if (link->dead) return;
  rx->mode = next_mode(rx);
  fab_uring_arm(link);
}

/* Into bounce memory; registered, if there was a place in the ring's table. */
static void prepare_bounce(struct fab_uring_link *link, unsigned char *buffer, size_t bytes)
{
  struct io_uring_sqe *sqe = fab_uring_sqe(link->endpoint);
  if (link->slot < 0) io_uring_prep_recv(sqe, link->fd, buffer, bytes, 0);
  else io_uring_prep_read_fixed(sqe, link->fd, buffer, (unsigned)bytes, 0, link->slot);
  fab_uring_tag(link->endpoint, sqe, link, FAB_URING_RECEIVE);
}

/* A look completes at once, with -EAGAIN when there is nothing. */
static void prepare_look(struct fab_uring_link *link, unsigned char *buffer, size_t bytes)
{
  struct io_uring_sqe *sqe = fab_uring_sqe(link->endpoint);
  io_uring_prep_recv(sqe, link->fd, buffer, bytes, MSG_DONTWAIT);
  fab_uring_tag(link->endpoint, sqe, link, FAB_URING_RECEIVE);
}

void fab_uring_prepare_receive(struct fab_uring_link *link)
{
  struct fab_uring_rx *rx = &link->rx;
  bool look = rx->looks && !link->endpoint->sleepers;
  if (rx->mode == FAB_URING_PARSE) {
    (look ? prepare_look : prepare_bounce)(link, link->bounce + rx->fill, BUFFER_BYTES - rx->fill);
  } else if (rx->mode == FAB_URING_STAGED) {
    prepare_bounce(link, link->bounce + (size_t)rx->half * FAB_URING_HALF, least(rx->rest, FAB_URING_HALF));
  } else {
    struct io_uring_sqe *sqe = fab_uring_sqe(link->endpoint);
    io_uring_prep_recv(sqe, link->fd, rx->target + rx->stored, least(storable(rx), 1u << 30), MSG_WAITALL);
    fab_uring_tag(link->endpoint, sqe, link, FAB_URING_RECEIVE);
  }
}

/* ---- sending: fab_send.sent counts bytes of the wire header and the payload */

static size_t total(const struct fab_send *send)
{
  return WIRE_BYTES + send->header.bytes;
}

static bool is_staged(const struct fab_send *send)
{
  return send->staged && send->header.bytes;
}

static struct fab_uring_wire wire_of(const struct fab_send *send)
{
  return (struct fab_uring_wire){WIRE_MAGIC, is_staged(send) ? WIRE_STAGED : 0, send->header};
}

void fab_uring_fail_sends(struct fab_uring_link *link, int error)
{
  for (struct fab_send *send = link->tx.queue, *next; send; send = next) {
    next = send->next;
    send->status = error;
  }
  link->tx.queue = NULL;
}

static void pop(struct fab_uring_tx *tx)
{
  struct fab_send *send = tx->queue;
  tx->queue = send->next;
  tx->copied = 0;
  send->status = 0;
}

static void advance(struct fab_uring_tx *tx, size_t bytes)
{
  while (bytes) {
    struct fab_send *send = tx->queue;
    size_t step = least(bytes, total(send) - send->sent);
    send->sent += step;
    bytes -= step;
    if (send->sent == total(send)) pop(tx);
  }
}

/* Vectors for what is left of one message; returns how many. */
static int gather_one(struct fab_send *send, struct fab_uring_wire *wire, struct iovec *vectors)
{
  int count = 0;
  size_t payload_at = send->sent > WIRE_BYTES ? send->sent - WIRE_BYTES : 0;
  *wire = wire_of(send);
  if (send->sent < WIRE_BYTES) vectors[count++] = (struct iovec){(unsigned char *)wire + send->sent, WIRE_BYTES - send->sent};
  if (send->header.bytes > payload_at)
    vectors[count++] = (struct iovec){(unsigned char *)(uintptr_t)send->payload + payload_at, send->header.bytes - payload_at};
  return count;
}

static void prepare_gathered(struct fab_uring_link *link)
{
  struct fab_uring_tx *tx = &link->tx;
  int vectors = 0, messages = 0;
  for (struct fab_send *send = tx->queue; send && !is_staged(send) && messages < FAB_URING_BATCH; send = send->next, messages++)
    vectors += gather_one(send, &tx->wires[messages], &tx->vectors[vectors]);
  tx->message = (struct msghdr){.msg_iov = tx->vectors, .msg_iovlen = (size_t)vectors};
  struct io_uring_sqe *sqe = fab_uring_sqe(link->endpoint);
  io_uring_prep_sendmsg(sqe, link->fd, &tx->message, MSG_NOSIGNAL | MSG_WAITALL);
  fab_uring_tag(link->endpoint, sqe, link, FAB_URING_SEND);
}

static unsigned char *half_of(const struct fab_uring_link *link, int half)
{
  return link->bounce + BUFFER_BYTES + (size_t)half * FAB_URING_HALF;
}

/* Fills a half with the next bytes of the staged send. */
static void fill_half(struct fab_uring_link *link, int half)
{
  struct fab_uring_tx *tx = &link->tx;
  struct fab_send *send = tx->queue;
  unsigned char *to = half_of(link, half);
  size_t bytes = least(total(send) - tx->copied, FAB_URING_HALF), head = 0;
  if (!tx->copied) {
    struct fab_uring_wire wire = wire_of(send);
    memcpy(to, &wire, head = WIRE_BYTES);
  }
  memcpy(to + head, (const unsigned char *)send->payload + tx->copied + head - WIRE_BYTES, bytes - head);
  tx->copied += bytes;
  tx->length[half] = bytes;
  tx->done[half] = 0;
}

static void prepare_staged(struct fab_uring_link *link)
{
  struct fab_uring_tx *tx = &link->tx;
  if (!tx->length[tx->half]) fill_half(link, tx->half);
  struct io_uring_sqe *sqe = fab_uring_sqe(link->endpoint);
  size_t done = tx->done[tx->half];
  io_uring_prep_send(sqe, link->fd, half_of(link, tx->half) + done, tx->length[tx->half] - done, MSG_NOSIGNAL | MSG_WAITALL);
  fab_uring_tag(link->endpoint, sqe, link, FAB_URING_SEND);
}

void fab_uring_prepare_send(struct fab_uring_link *link)
{
  struct fab_uring_tx *tx = &link->tx;
  if (!tx->ready || tx->in_flight || !tx->queue || link->dead) return;
  tx->in_flight = true;
  if (is_staged(tx->queue)) prepare_staged(link);
  else prepare_gathered(link);
}

void fab_uring_stage_ahead(struct fab_uring_link *link)
{
  struct fab_uring_tx *tx = &link->tx;
  if (!tx->in_flight || !is_staged(tx->queue) || tx->length[!tx->half] || tx->copied == total(tx->queue)) return;
  fill_half(link, !tx->half);
}

static void sent_staged(struct fab_uring_tx *tx, size_t bytes)
{
  tx->done[tx->half] += bytes;
  if (tx->done[tx->half] == tx->length[tx->half]) {
    tx->length[tx->half] = 0;
    tx->half = !tx->half;
  }
  advance(tx, bytes);
}

void fab_uring_sent(struct fab_uring_link *link, size_t bytes)
{
  struct fab_uring_tx *tx = &link->tx;
  if (is_staged(tx->queue)) sent_staged(tx, bytes);
  else advance(tx, bytes);
  if (tx->queue) fab_uring_want_send(link);
}
