/* Messages of the ofi fabric: out of the caller's memory into the network, and back.
 *
 * A message goes in one of four ways. Up to FAB_OFI_PAYLOAD bytes: header and payload are copied into one send buffer, and the send is
 * done. Longer: the payload is written to a berth of the receiver, where that has offered any (ofi_berth.c). Else a loan: the sender registers the
 * payload and sends the header, the receiver fetches the bytes straight to where they are wanted (fi_read) and says RETURN. `staged`, or memory
 * that cannot be registered: fragments, through the send buffers.
 *
 * Order. Messages, fragments, loans, what was written and BYE carry a sequence number for each pair of endpoints. The provider keeps the order of
 * sends (FI_ORDER_SAS) but not always that of their completions, so what is early waits in its receive buffer (peer.held); and so
 * does everything behind a loan that is being fetched. Other kinds are small answers, and are acted upon at once.
 *
 * Back-pressure. A send waits in its peer's queue while no send buffer is free, its peer holds its share, or the provider says -FI_EAGAIN;
 * the provider lets senders wait while a receiver does not read (FI_RM_ENABLED). Answers wait as bits and counts in struct fab_ofi_peer,
 * answers to atomics in the receive buffers in which the questions came. So nothing here ever allocates.
 *
 * Safety. Nothing of a message is looked at before its token proved the job's key, and then every field is checked. What is
 * bad is counted, reported once, and dropped; a peer that proved the key and then speaks nonsense is lost.
 */
#include "fabric/ofi.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WIRE_MAGIC (0x6f6d7500u + FAB_OFI_VERSION)
#define WIRE_BYTES sizeof(struct fab_ofi_wire)

static size_t least(size_t a, size_t b)
{
  return a < b ? a : b;
}

static unsigned char *payload_of(const struct fab_ofi_buffer *buffer)
{
  return (unsigned char *)(buffer->wire + 1);
}

static bool is_sequenced(uint32_t kind)
{
  return kind <= FAB_OFI_BYE || kind == FAB_OFI_WRITTEN;
}

/* ---- sending */

/* A send buffer with the wire's header in it; NULL when there is none for this peer now. */
static struct fab_ofi_buffer *draft(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, enum fab_ofi_kind kind)
{
  struct fab_ofi_buffer *buffer = e->free;
  if (!buffer || !peer->known || peer->in_flight >= FAB_OFI_SHARE) return NULL;
  e->free = buffer->next;
  int number = fab_ofi_number(e, peer);
  buffer->op.peer = number;
  *buffer->wire = (struct fab_ofi_wire){
      .magic = WIRE_MAGIC, .kind = kind, .from = e->number, .to = number, .freed = (uint16_t)peer->freed, .token = peer->token_out};
  if (is_sequenced(kind)) buffer->wire->sequence = peer->sequence_out;
  return buffer;
}

static void put_back(struct fab_ofi_endpoint *e, struct fab_ofi_buffer *buffer)
{
  buffer->next = e->free;
  e->free = buffer;
}

/* Gives a draft to the provider. False: it does not take it now, or never (then the device fails); the buffer is free again. */
static bool post(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, struct fab_ofi_buffer *buffer, size_t payload)
{
  void *registration = e->memory_mr ? fi_mr_desc(e->memory_mr) : NULL;
  ssize_t error = fi_send(e->ep, buffer->wire, WIRE_BYTES + payload, registration, peer->address, &buffer->op);
  if (error) {
    put_back(e, buffer);
    if (error != -FI_EAGAIN) fab_ofi_fail(e, fab_ofi_device_of(e, peer));
    return false;
  }
  if (is_sequenced(buffer->wire->kind)) {
    peer->sequence_out++;
    peer->met = true;
  }
  peer->freed &= ~(uint32_t)buffer->wire->freed;
  if (!peer->freed) peer->due &= ~(1u << FAB_OFI_FREED);
  peer->in_flight++;
  e->in_flight++;
  return true;
}

void fab_ofi_sent(struct fab_ofi_endpoint *e, struct fab_ofi_buffer *buffer)
{
  e->peers[buffer->op.peer].in_flight--;
  e->in_flight--;
  put_back(e, buffer);
}

static bool push_copied(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, struct fab_send *send)
{
  do {
    struct fab_ofi_buffer *buffer = draft(e, peer, send->sent ? FAB_OFI_FRAGMENT : FAB_OFI_MESSAGE);
    if (!buffer) return false;
    size_t bytes = least(send->header.bytes - send->sent, FAB_OFI_PAYLOAD);
    buffer->wire->header = send->header;
    if (bytes) memcpy(payload_of(buffer), (const unsigned char *)send->payload + send->sent, bytes);
    if (!post(e, peer, buffer, bytes)) return false;
    send->sent += bytes;
  } while (send->sent < send->header.bytes);
  peer->queue = send->next;
  send->status = 0;
  return true;
}

static void add_loan(struct fab_ofi_peer *peer, struct fab_send *send)
{
  peer->queue = send->next;
  send->next = NULL;
  if (!peer->lent) peer->lent_end = &peer->lent;
  *peer->lent_end = send;
  peer->lent_end = &send->next;
}

static bool push_loan(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, struct fab_send *send)
{
  struct fab_ofi_loan loan;
  struct fid_mr *mr = NULL;
  struct fab_ofi_buffer *buffer = draft(e, peer, FAB_OFI_LOAN);
  if (!buffer) return false;
  if (fab_ofi_lend(e, send->payload, send->header.bytes, &mr, &loan)) {
    put_back(e, buffer);
    return push_copied(e, peer, send);
  }
  buffer->wire->header = send->header;
  memcpy(payload_of(buffer), &loan, sizeof loan);
  if (!post(e, peer, buffer, sizeof loan)) {
    if (mr) fi_close(&mr->fid);
    return false;
  }
  send->lent = mr;
  add_loan(peer, send);
  return true;
}

static bool push_written(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, struct fab_send *send)
{
  struct fab_ofi_buffer *buffer = draft(e, peer, FAB_OFI_WRITTEN);
  if (!buffer) return false;
  if (!send->lent && !fab_ofi_write(e, peer, send)) {
    put_back(e, buffer);
    return false;
  }
  buffer->wire->header = send->header;
  buffer->wire->berth = (uint16_t)fab_ofi_berth_of(send);
  if (!post(e, peer, buffer, 0)) return false;
  peer->queue = send->next;
  fab_ofi_announced(e, send, 0);
  return true;
}

/* The first of the queue. False: not all of it could leave. */
static bool push(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer)
{
  struct fab_send *send = peer->queue;
  bool copied = send->staged || send->sent || send->header.bytes <= FAB_OFI_PAYLOAD;
  if (copied) return push_copied(e, peer, send);
  return send->lent || fab_ofi_can_write(e, peer, send->header.bytes) ? push_written(e, peer, send) : push_loan(e, peer, send);
}

void fab_ofi_want(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer)
{
  if (peer->busy) return;
  peer->busy = true;
  peer->next_busy = e->busy;
  e->busy = peer;
}

void fab_ofi_send(struct fab_endpoint *endpoint, int device, enum fab_channel channel, struct fab_send *send)
{
  struct fab_ofi_endpoint *e = (struct fab_ofi_endpoint *)endpoint;
  struct fab_ofi_peer *peer = &e->peers[device * FAB_CHANNELS + (int)channel];
  send->sent = 0;
  send->next = NULL;
  send->lent = NULL;
  send->status = fab_ofi_gone(e, peer) || peer->ended ? -EHOSTDOWN : FAB_PENDING;
  if (send->status != FAB_PENDING) return;
  bool first = !peer->queue;
  if (first) peer->queue_end = &peer->queue;
  *peer->queue_end = send;
  peer->queue_end = &send->next;
  if (first && !push(e, peer)) fab_ofi_want(e, peer);
}

static bool say(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, enum fab_ofi_kind kind)
{
  struct fab_ofi_buffer *buffer = draft(e, peer, kind);
  if (buffer && kind == FAB_OFI_OFFER) buffer->wire->header = fab_ofi_describe_berths(e, peer);
  return buffer && post(e, peer, buffer, 0);
}

bool fab_ofi_ask(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, const struct fab_header *question)
{
  struct fab_ofi_buffer *buffer = draft(e, peer, FAB_OFI_ATOMIC);
  if (!buffer) return false;
  buffer->wire->sequence = e->question;
  buffer->wire->header = *question;
  return post(e, peer, buffer, 0);
}

static bool say_answer(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer)
{
  struct fab_ofi_buffer *answer = peer->answers, *buffer = draft(e, peer, FAB_OFI_ANSWER);
  if (!buffer) return false;
  buffer->wire->sequence = answer->wire->sequence;
  buffer->wire->header = answer->wire->header;
  if (!post(e, peer, buffer, 0)) return false;
  peer->answers = answer->next;
  fab_ofi_recycle(e, answer);
  return true;
}

static bool say_due(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, enum fab_ofi_kind kind)
{
  if (!(peer->due & 1u << kind)) return true;
  if (!say(e, peer, kind)) return false;
  peer->due &= ~(1u << kind);
  return true;
}

static void pull(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer);

/* Everything that is due to one peer, BYE last; true when nothing is left. */
static bool pump_one(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer)
{
  if (!say_due(e, peer, FAB_OFI_FAREWELL)) return false;
  if (fab_ofi_gone(e, peer)) return true;
  if (peer->pull_due) pull(e, peer);
  for (; peer->owed; peer->owed--)
    if (!say(e, peer, FAB_OFI_RETURN)) return false;
  while (peer->answers)
    if (!say_answer(e, peer)) return false;
  if (!say_due(e, peer, FAB_OFI_ECHO) || !say_due(e, peer, FAB_OFI_PROBE) || !say_due(e, peer, FAB_OFI_OFFER)) return false;
  while (peer->queue)
    if (!push(e, peer)) return false;
  return say_due(e, peer, FAB_OFI_FREED) && say_due(e, peer, FAB_OFI_BYE) && !peer->pull_due;
}

int fab_ofi_pump(struct fab_ofi_endpoint *e)
{
  int before = e->in_flight;
  struct fab_ofi_peer *waiting = e->busy;
  e->busy = NULL;
  for (struct fab_ofi_peer *peer = waiting, *next; peer; peer = next) {
    next = peer->next_busy;
    peer->busy = false;
    if (!pump_one(e, peer)) fab_ofi_want(e, peer);
  }
  return e->in_flight - before;
}

/* ---- receiving */

static void drop(struct fab_ofi_endpoint *e, const char *why)
{
  if (e->dropped++ == 0) fprintf(stderr, "uma: device %d: dropped a message that has %s (reported once)\n", e->config.device, why);
}

static void begin(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, const struct fab_header *header)
{
  const struct fab_sink *sink = &e->config.sink;
  int number = fab_ofi_number(e, peer);
  peer->open = true;
  peer->header = *header;
  peer->rest = header->bytes;
  peer->room = peer->stored = 0;
  peer->cookie = NULL;
  peer->target = NULL;
  if (e->closing) return;
  peer->target = sink->arrive(sink->context, number / FAB_CHANNELS, number % FAB_CHANNELS, &peer->header, &peer->room, &peer->cookie);
}

void fab_ofi_finish(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, int error)
{
  const struct fab_sink *sink = &e->config.sink;
  int number = fab_ofi_number(e, peer);
  peer->open = false;
  if (e->closing) return;
  sink->complete(sink->context, number / FAB_CHANNELS, number % FAB_CHANNELS, &peer->header, peer->cookie, error);
}

static void store(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, const unsigned char *bytes, size_t count)
{
  size_t kept = e->closing ? 0 : least(count, peer->room - peer->stored);
  if (kept) memcpy(peer->target + peer->stored, bytes, kept);
  peer->stored += kept;
  peer->rest -= count;
  if (!peer->rest) fab_ofi_finish(e, peer, 0);
}

/* Fetches the next piece of the loan; again later when the provider does not take it now. */
static void pull(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer)
{
  size_t bytes = fab_ofi_piece(e, peer->rest);
  void *registration = peer->pull_mr ? fi_mr_desc(peer->pull_mr) : NULL;
  peer->pull = (struct fab_ofi_op){.use = FAB_OFI_PULL, .peer = fab_ofi_number(e, peer)};
  ssize_t error = fi_read(e->ep, peer->target + peer->stored, bytes, registration, peer->address, peer->loan.address + peer->stored,
                          peer->loan.key, &peer->pull);
  peer->pull_due = error == -FI_EAGAIN;
  peer->pull_posted = !error;
  peer->pull_bytes = bytes;
  if (peer->pull_due) fab_ofi_want(e, peer);
  else if (error) fab_ofi_fail(e, fab_ofi_device_of(e, peer));
}

/* Of a loan only as much is fetched as there is room for. */
static void begin_pull(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer)
{
  peer->pulling = true;
  peer->rest = e->closing ? 0 : least(peer->room, peer->header.bytes);
  if (peer->rest && e->register_local && fab_ofi_register(e, peer->target, peer->rest, FI_READ, &peer->pull_mr)) {
    fab_ofi_fail(e, fab_ofi_device_of(e, peer));
    return;
  }
  if (peer->rest) pull(e, peer);
  else fab_ofi_pulled(e, peer, 0);
}

static void take_loan(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, const struct fab_ofi_buffer *buffer)
{
  memcpy(&peer->loan, payload_of(buffer), sizeof peer->loan);
  peer->pull_bytes = 0;
  fab_ofi_offer(e, peer, buffer->wire->header.bytes);
  begin(e, peer, &buffer->wire->header);
  begin_pull(e, peer);
}

/* Why a sequenced message cannot be what its sender means; NULL when it can. */
static const char *fault_in_turn(const struct fab_ofi_endpoint *e, const struct fab_ofi_peer *peer, const struct fab_ofi_wire *wire,
                                 size_t payload)
{
  switch (wire->kind) {
  case FAB_OFI_MESSAGE: return peer->open || payload != least(wire->header.bytes, FAB_OFI_PAYLOAD) ? "a bad length" : NULL;
  case FAB_OFI_FRAGMENT: return !peer->open || payload != least(peer->rest, FAB_OFI_PAYLOAD) ? "a fragment out of place" : NULL;
  case FAB_OFI_LOAN: return peer->open || payload != sizeof(struct fab_ofi_loan) ? "a bad loan" : NULL;
  case FAB_OFI_WRITTEN: return peer->open || payload || !fab_ofi_is_written(e, peer, wire) ? "a bad berth" : NULL;
  default: return payload ? "a bad length" : NULL;
  }
}

static void take(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, const struct fab_ofi_buffer *buffer)
{
  const struct fab_ofi_wire *wire = buffer->wire;
  const char *fault = fault_in_turn(e, peer, wire, buffer->payload);
  if (fault) {
    drop(e, fault);
    fab_ofi_fail(e, fab_ofi_device_of(e, peer));
    return;
  }
  if (wire->kind == FAB_OFI_BYE) {
    fab_ofi_said_bye(e, peer);
  } else if (wire->kind == FAB_OFI_LOAN) {
    take_loan(e, peer, buffer);
  } else if (wire->kind == FAB_OFI_WRITTEN) {
    fab_ofi_adopt(e, peer, wire);
  } else {
    if (wire->kind == FAB_OFI_MESSAGE) begin(e, peer, &wire->header);
    store(e, peer, payload_of(buffer), buffer->payload);
  }
}

/* Takes what has its turn. */
static void drain(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer)
{
  struct fab_ofi_buffer *buffer;
  while ((buffer = peer->held) && !peer->pulling && buffer->wire->sequence == peer->sequence_in && !fab_ofi_gone(e, peer)) {
    peer->held = buffer->next;
    peer->sequence_in++;
    take(e, peer, buffer);
    fab_ofi_recycle(e, buffer);
  }
}

void fab_ofi_pulled(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, int error)
{
  peer->pull_posted = false;
  if (error) fab_ofi_fail(e, fab_ofi_device_of(e, peer));
  if (error || peer->lost) return; /* lost: it came too late, and the message has ended */
  peer->heard = true;
  peer->stored += peer->pull_bytes;
  peer->rest -= peer->pull_bytes;
  if (peer->rest) {
    pull(e, peer);
    return;
  }
  if (peer->pull_mr) fi_close(&peer->pull_mr->fid);
  peer->pull_mr = NULL;
  peer->pulling = false;
  peer->owed++;
  fab_ofi_want(e, peer);
  fab_ofi_finish(e, peer, 0);
  drain(e, peer);
}

/* Puts it where its turn will come. */
static bool sequence(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, struct fab_ofi_buffer *buffer)
{
  struct fab_ofi_buffer **at = &peer->held;
  uint32_t ahead = buffer->wire->sequence - peer->sequence_in;
  while (*at && (*at)->wire->sequence - peer->sequence_in < ahead) at = &(*at)->next;
  if (ahead >= FAB_OFI_RECEIVES || (*at && (*at)->wire->sequence == buffer->wire->sequence)) {
    drop(e, "a sequence number out of order");
    return false;
  }
  buffer->next = *at;
  *at = buffer;
  if (e->closing && !peer->met) fab_ofi_leave(e, peer);
  peer->met = true;
  drain(e, peer);
  return true;
}

static void end_loan(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer)
{
  struct fab_send *send = peer->lent;
  if (!send) {
    drop(e, "a loan in it that was never given");
    return;
  }
  peer->lent = send->next;
  if (send->lent) fi_close(&((struct fid_mr *)send->lent)->fid);
  send->status = 0;
}

/* The question's buffer keeps the answer until it can leave. */
static void answer(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, struct fab_ofi_buffer *buffer)
{
  fab_ofi_serve(e, &buffer->wire->header);
  buffer->next = NULL;
  if (!peer->answers) peer->answers_end = &peer->answers;
  *peer->answers_end = buffer;
  peer->answers_end = &buffer->next;
  fab_ofi_want(e, peer);
}

static void take_answer(struct fab_ofi_endpoint *e, const struct fab_ofi_peer *peer, const struct fab_ofi_wire *wire)
{
  if (e->accessed != fab_ofi_number(e, peer) || wire->sequence != e->question) return;
  e->answered = true;
  e->answer_error = wire->header.tag < 0 ? wire->header.tag : 0;
  e->answer = wire->header.a;
}

/* What is not sequenced. Returns whether the buffer is kept. */
static bool act(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, struct fab_ofi_buffer *buffer)
{
  switch (buffer->wire->kind) {
  case FAB_OFI_RETURN: end_loan(e, peer); return false;
  case FAB_OFI_ATOMIC: answer(e, peer, buffer); return true;
  case FAB_OFI_ANSWER: take_answer(e, peer, buffer->wire); return false;
  case FAB_OFI_PROBE:
    peer->due |= 1u << FAB_OFI_ECHO;
    fab_ofi_want(e, peer);
    return false;
  case FAB_OFI_FAREWELL: peer->ended = true; return false;
  case FAB_OFI_OFFER:
    if (!fab_ofi_take_offer(peer, &buffer->wire->header)) drop(e, "an offer of berths that makes no sense");
    return false;
  default: return false;
  }
}

/* Why a message from anywhere is not acceptable; NULL when it is. */
static const char *fault_of(const struct fab_ofi_endpoint *e, const struct fab_ofi_wire *wire, size_t bytes)
{
  if (bytes < WIRE_BYTES) return "no whole header";
  if (wire->magic != WIRE_MAGIC) return "no header, or that of another version";
  if (wire->from < 0 || wire->from >= e->numbers) return "a sender's number out of range";
  if (wire->to != e->number) return "another receiver";
  if (wire->token != e->peers[wire->from].token_in) return "no proof of the job's key";
  if (!wire->kind || wire->kind >= FAB_OFI_KINDS || (wire->berth && wire->kind != FAB_OFI_WRITTEN)) return "an unknown kind";
  if (!is_sequenced(wire->kind) && bytes != WIRE_BYTES) return "a bad length";
  return NULL;
}

void fab_ofi_received(struct fab_ofi_endpoint *e, struct fab_ofi_buffer *buffer, size_t bytes)
{
  bool kept = false;
  const char *fault = fault_of(e, buffer->wire, bytes);
  if (fault) {
    drop(e, fault);
  } else {
    struct fab_ofi_peer *peer = &e->peers[buffer->wire->from];
    peer->heard = true;
    buffer->payload = bytes - WIRE_BYTES;
    if (!fab_ofi_take_freed(peer, buffer->wire->freed)) {
      drop(e, "berths in it that were not used");
      fab_ofi_fail(e, fab_ofi_device_of(e, peer));
    }
    if (!fab_ofi_gone(e, peer)) kept = is_sequenced(buffer->wire->kind) ? sequence(e, peer, buffer) : act(e, peer, buffer);
  }
  if (!kept) fab_ofi_recycle(e, buffer);
}
