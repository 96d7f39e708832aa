/* Who the peers of an ofi endpoint are: the proof of the job's key, who is lost, and the orderly end.
 *
 * Proof. An endpoint has no connections on which a hello could stand first, so every message proves the key by itself: its token is a
 * SipHash-2-4 (Aumasson and Bernstein, 2012) under the job's key of who sends to whom. The key itself never leaves the process.
 *
 * Loss. A device fails when the provider reports an error for anything to it, when it breaks the protocol, when lose() says so, when all
 * its endpoints have said BYE, or when it owes us something (the rest of a message, a RETURN, an answer, room for a send; if it is watched,
 * always) and is silent for config.silence_ns although it is probed. A provider does not notice by itself that a peer died to which it has nothing to say; the
 * probe is something to say. But `tcp;ofi_rxm` and `net` of libfabric 1.17 may go on trying to connect again, and never give up. Failing only sets a flag,
 * from anywhere. The next settlement, in progress, ends all that is under way: sends
 * fail, the half-received message completes with -EHOSTDOWN, and sink.lost is called, once. A read into the receiver's memory that is still
 * with the provider, or a write out of the sender's, is waited for, GRACE_NS at most.
 *
 * Knocking. Who listens at a TCP port does so until its endpoint closes, so silence need not run out when a device died and its host lives: a
 * connection to the peer's address is tried, and when that host's kernel refuses it the device is lost. No other answer says anything, nor does
 * none: a device that is stopped, or whose queue of connections is full, does not refuse. Only neighbours on a link, or on this host, are knocked at
 * (SO_DONTROUTE), because a gateway may refuse what it does not let pass. The less often, the longer a peer is silent.
 *
 * End. close sends BYE behind the last message to everybody it spoke with, and waits until each has answered FAREWELL (all was read) or
 * BYE, or is lost: closing at once could take away what is still on its way. Meanwhile messages are read and thrown away; who speaks for the
 * first time only now gets its BYE as well.
 */
#include "fabric/ofi.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fabric/futex.h"

#define LOOK_NS 100000000ull /* between looks for who is silent; who has been since the last one is probed */
#define LATE_NS 500000000ull
#define SILENCE_NS 20000000000ull
#define KNOCK_NS 200000000ull /* of silence before the first */
#define GRACE_NS 1000000000ull
#define PART_NS 2000000000ull /* how long close waits for others to read what was sent */
#define EMPTY_POLLS 64        /* in a row: nothing more comes of a device that is dead */

/* ---- proof */

static uint64_t rotate(uint64_t x, int bits)
{
  return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
  v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
  v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
  v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
  v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
  v[3] ^= word;
  sip_round(v);
  sip_round(v);
  v[0] ^= word;
}

uint64_t fab_ofi_token(const unsigned char key[FAB_KEY_BYTES], int from, int to)
{
  uint64_t k[2];
  memcpy(k, key, sizeof k);
  uint64_t v[4] = {k[0] ^ 0x736f6d6570736575ull, k[1] ^ 0x646f72616e646f6dull, k[0] ^ 0x6c7967656e657261ull, k[1] ^ 0x7465646279746573ull};
  sip_word(v, (uint64_t)(uint32_t)from << 32 | (uint32_t)to);
  sip_word(v, 8ull << 56); /* the length */
  v[2] ^= 0xff;
  for (int i = 0; i < 4; i++) sip_round(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- loss */

void fab_ofi_fail(struct fab_ofi_endpoint *e, int device)
{
  struct fab_ofi_device *d = &e->devices[device];
  if (d->failing || d->lost) return;
  d->failing = e->any_failing = true;
  d->since_ns = fab_now_ns();
}

static void fail_sends(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, int error)
{
  for (struct fab_send *send = peer->queue, *next; send; send = next) {
    next = send->next;
    if (send->lent) fab_ofi_announced(e, send, error);
    else send->status = error;
  }
  for (struct fab_send *send = peer->lent, *next; send; send = next) {
    next = send->next;
    if (send->lent) fi_close(&((struct fid_mr *)send->lent)->fid);
    send->status = error;
  }
  peer->queue = peer->lent = NULL;
}

static void recycle_all(struct fab_ofi_endpoint *e, struct fab_ofi_buffer **list)
{
  for (struct fab_ofi_buffer *buffer = *list, *next; buffer; buffer = next) {
    next = buffer->next;
    fab_ofi_recycle(e, buffer);
  }
  *list = NULL;
}

/* Ends what is under way with one endpoint; only a farewell may still go to it. */
static void quench(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer)
{
  fail_sends(e, peer, -EHOSTDOWN);
  recycle_all(e, &peer->held);
  recycle_all(e, &peer->answers);
  peer->due &= 1u << FAB_OFI_FAREWELL;
  peer->owed = 0;
  peer->pull_due = false;
}

static void bury(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer)
{
  peer->lost = true;
  fab_ofi_end_knock(peer);
  if (peer->pull_mr) fi_close(&peer->pull_mr->fid);
  peer->pull_mr = NULL;
  peer->pulling = false;
  fab_ofi_give_up_writes(e, fab_ofi_number(e, peer), -EHOSTDOWN);
  if (peer->open) fab_ofi_finish(e, peer, -EHOSTDOWN);
}

static bool settle_device(struct fab_ofi_endpoint *e, int device, bool now)
{
  struct fab_ofi_peer *peers = &e->peers[device * FAB_CHANNELS];
  struct fab_ofi_device *d = &e->devices[device];
  bool moving = false;
  for (int channel = 0; channel < FAB_CHANNELS; channel++) {
    quench(e, &peers[channel]);
    moving |= peers[channel].pull_posted || peers[channel].writing;
  }
  if (moving && !now && fab_now_ns() - d->since_ns < GRACE_NS) return false;
  d->failing = false;
  d->lost = true;
  for (int channel = 0; channel < FAB_CHANNELS; channel++) bury(e, &peers[channel]);
  if (!e->closing) e->config.sink.lost(e->config.sink.context, device, d->parted);
  return true;
}

int fab_ofi_settle(struct fab_ofi_endpoint *e, bool now)
{
  int lost = 0;
  e->any_failing = false;
  for (int device = 0; device < e->config.devices; device++) {
    if (!e->devices[device].failing) continue;
    if (settle_device(e, device, now)) lost++;
    else e->any_failing = true;
  }
  return lost;
}

/* What is known to be dead sends no more: what has arrived from it comes out of the provider within a few polls. */
void fab_ofi_lose(struct fab_endpoint *endpoint, int device)
{
  struct fab_ofi_endpoint *e = (struct fab_ofi_endpoint *)endpoint;
  if (e->devices[device].lost) return;
  for (int empty = 0; empty < EMPTY_POLLS && !e->devices[device].failing;) empty = fab_ofi_poll(e) ? 0 : empty + 1;
  fab_ofi_fail(e, device);
  fab_ofi_settle(e, false);
}

/* ---- knocking */

void fab_ofi_end_knock(struct fab_ofi_peer *peer)
{
  if (peer->knock_fd >= 0) close(peer->knock_fd);
  peer->knock_fd = -1;
  peer->knock_ns = KNOCK_NS;
}

/* 0, or why there is no connection (yet). */
static int begin_knock(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer)
{
  struct sockaddr_in address;
  size_t bytes = sizeof address;
  int on = 1;
  if (e->info->addr_format != FI_SOCKADDR_IN || fi_av_lookup(e->av, peer->address, &address, &bytes)) return -EAFNOSUPPORT;
  peer->knock_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (peer->knock_fd < 0 || setsockopt(peer->knock_fd, SOL_SOCKET, SO_DONTROUTE, &on, sizeof on)) return -errno;
  e->knocks++;
  return connect(peer->knock_fd, (struct sockaddr *)&address, sizeof address) ? -errno : 0;
}

static int await_knock(const struct fab_ofi_peer *peer)
{
  struct pollfd door = {.fd = peer->knock_fd, .events = POLLOUT};
  int error = 0;
  socklen_t bytes = sizeof error;
  if (poll(&door, 1, 0) <= 0) return -EINPROGRESS;
  return getsockopt(peer->knock_fd, SOL_SOCKET, SO_ERROR, &error, &bytes) ? -errno : -error;
}

/* Of one that has been silent for so long: whether its address refuses connections, as far as is known by now. */
static bool is_refused(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, uint64_t silent_ns)
{
  if (peer->knock_fd < 0 && silent_ns < peer->knock_ns) return false;
  int result = peer->knock_fd < 0 ? begin_knock(e, peer) : await_knock(peer);
  if (result == -EINPROGRESS) return false;
  fab_ofi_end_knock(peer);
  peer->knock_ns = 2 * silent_ns;
  return result == -ECONNREFUSED;
}

/* ---- silence */

static bool owes(const struct fab_ofi_endpoint *e, const struct fab_ofi_peer *peer)
{
  bool busy = peer->queue || peer->lent || peer->writing || peer->answers || peer->owed || peer->due || peer->pull_due;
  int number = fab_ofi_number(e, peer);
  bool watched = e->config.watch && number != e->number && number % FAB_CHANNELS == (int)e->config.channel;
  return peer->known && (watched || busy || peer->open || peer->held || e->accessed == number);
}

static void look_at(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, uint64_t now_ns)
{
  uint64_t most_ns = e->config.silence_ns ? e->config.silence_ns : SILENCE_NS;
  if (peer->lost) {
    if (now_ns - e->devices[fab_ofi_device_of(e, peer)].since_ns > PART_NS) peer->due = 0; /* a farewell that nobody takes */
    return;
  }
  if (peer->heard || !owes(e, peer)) {
    peer->heard = false;
    peer->silent_since_ns = now_ns;
    fab_ofi_end_knock(peer);
    return;
  }
  uint64_t silent_ns = now_ns - peer->silent_since_ns;
  if (silent_ns > most_ns || is_refused(e, peer, silent_ns)) fab_ofi_fail(e, fab_ofi_device_of(e, peer));
  if (silent_ns < LOOK_NS / 2) return;
  peer->due |= 1u << FAB_OFI_PROBE;
  fab_ofi_want(e, peer);
}

void fab_ofi_tick(struct fab_ofi_endpoint *e)
{
  uint64_t now_ns = fab_now_ns();
  if (now_ns < e->tick_ns) return;
  /* While nobody called for a while nobody was probed: that is not the others' silence. Shorter delays count, or a busy host would never
   * find out; what has come meanwhile was heard before this. */
  uint64_t late_ns = now_ns > e->tick_ns + LATE_NS ? now_ns - e->tick_ns - LATE_NS : 0;
  e->tick_ns = now_ns + LOOK_NS;
  for (int i = 0; i < e->numbers; i++) {
    e->peers[i].silent_since_ns += late_ns;
    look_at(e, &e->peers[i], now_ns);
  }
}

/* ---- the end */

static bool all_ended(const struct fab_ofi_endpoint *e, int device)
{
  const struct fab_ofi_peer *peers = &e->peers[device * FAB_CHANNELS];
  for (int channel = 0; channel < FAB_CHANNELS; channel++)
    if (peers[channel].met && !peers[channel].ended) return false;
  return true;
}

void fab_ofi_said_bye(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer)
{
  int device = fab_ofi_device_of(e, peer);
  peer->ended = true;
  peer->due |= 1u << FAB_OFI_FAREWELL;
  fab_ofi_want(e, peer);
  if (e->closing || !all_ended(e, device)) return;
  e->devices[device].parted = !e->devices[device].failing;
  fab_ofi_fail(e, device);
}

static bool is_waited_for(const struct fab_ofi_endpoint *e, const struct fab_ofi_peer *peer)
{
  return peer->met && !fab_ofi_gone(e, peer) && fab_ofi_number(e, peer) != e->number && (!peer->ended || peer->due);
}

static bool is_anybody_waited_for(const struct fab_ofi_endpoint *e)
{
  for (int i = 0; i < e->numbers; i++)
    if (is_waited_for(e, &e->peers[i])) return true;
  return e->in_flight > 0 || e->writing > 0;
}

void fab_ofi_leave(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer)
{
  peer->due |= 1u << FAB_OFI_BYE;
  fab_ofi_want(e, peer);
}

void fab_ofi_part(struct fab_ofi_endpoint *e)
{
  uint64_t deadline_ns = fab_now_ns() + PART_NS;
  e->closing = true;
  for (int i = 0; i < e->numbers; i++) {
    struct fab_ofi_peer *peer = &e->peers[i];
    fail_sends(e, peer, -ECANCELED);
    if (is_waited_for(e, peer)) fab_ofi_leave(e, peer);
  }
  while (is_anybody_waited_for(e) && fab_now_ns() < deadline_ns)
    if (!fab_ofi_progress(&e->base)) nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
  for (int i = 0; i < e->numbers; i++) fab_ofi_give_up_writes(e, i, -ECANCELED);
}
