/* Fuzzing of the ofi fabric: one endpoint over a network in memory (network.h), and peers that send it anything.
 *
 * The first bytes of an input say what the provider is like. Then each byte is something that happens: a message comes (any bytes, or one that is
 * built with the right proof and a field or two of the input's choice), something that the endpoint posted ends, comes back from its
 * receiver as if that had sent it, or is refused; the layer above sends, puts, gets, releases what it adopted, loses a device, sleeps. While the endpoint waits for
 * something inside, what happens comes out of the input as well; at its end everything ends well, so that nothing waits for ever.
 *
 * What must hold: upcalls only come of messages that proved the key, one for each at most, in the order begin, end; what did not prove it is
 * counted as dropped; nobody is given a payload that somebody else has adopted; buffers are neither lost nor made; nothing is written behind `room` (the sanitizer's part) or when the message has ended; every
 * send ends; after close no object of libfabric is left. */
#include <errno.h>

#include "fabric/futex.h"
#include "fabric/ofi.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/network.h"

enum {
  DEVICES = 3,
  ME = 1,
  NUMBERS = DEVICES * FAB_CHANNELS,
  WINDOW = 4096,
  SENDS_MOST = 64,
  LOCALS_MOST = 64,
  ROOM_MOST = 1 << 17,
  ADOPTED = 40000
};
enum { MAGIC = 0x6f6d7500 + FAB_OFI_VERSION, STEP_NS = 8000000, ADOPTED_MOST = DEVICES * FAB_CHANNELS * FAB_OFI_BERTHS };
#define SILENCE_NS 30000000000ull /* until a device that owes something is lost, and everything that may take time has been given up */

/* What happens; an input's byte modulo HAPPENINGS. */
enum happening {
  ANYTHING_COMES,
  MESSAGE_COMES,
  MESSAGE_COMES_TOO,
  FRAGMENT_COMES,
  SOMETHING_ENDS,
  SOMETHING_FAILS,
  SOMETHING_RETURNS,
  PROGRESS,
  SEND,
  PUT,
  GET,
  ATOMIC,
  LOSE,
  MEET,
  TIME_PASSES,
  REFUSE,
  RECEIVE_FAILS,
  SLEEP,
  RELEASE,
  HAPPENINGS
};

struct arrived { /* the open message of a peer */
  bool open;
  unsigned char *memory;
  size_t room;
};

static struct harness {
  struct fuzz_input in;
  struct fab_ofi_endpoint *e;
  struct fab_endpoint *endpoint;
  unsigned char *window, key[FAB_KEY_BYTES];
  bool waiting;                                       /* the endpoint is inside an operation that waits */
  bool closing, late;                                 /* late: so much time has passed that a read may have been given up */
  uint64_t unproved, proved[NUMBERS], begun[NUMBERS]; /* messages that were handed over; of proved ones those that begin something */
  uint32_t next_sequence[NUMBERS];
  bool lost[DEVICES];
  struct arrived arrived[NUMBERS];
  unsigned char *adopted[ADOPTED_MOST];
  int adopted_count;
  struct fab_send sends[SENDS_MOST];
  int send_count;
  void *locals[LOCALS_MOST + NUMBERS]; /* memory that may be used until the endpoint is closed */
  int local_count;
} h;

/* ---- The layer above --------------------------------------------------------------------------------------------- */

static void *local_memory(size_t bytes)
{
  FUZZ_CHECK(h.local_count < LOCALS_MOST);
  void *memory = malloc(bytes ? bytes : 1);
  if (!memory) abort();
  memset(memory, 0x11, bytes);
  return h.locals[h.local_count++] = memory;
}

static void begin_send(struct fuzz_input *in)
{
  static const size_t sizes[] = {0, 8, 200, FAB_OFI_PAYLOAD, FAB_OFI_PAYLOAD + 1, 3 * FAB_OFI_PAYLOAD, 100000};
  uint8_t to = fuzz_byte(in), how = fuzz_byte(in);
  if (h.send_count == SENDS_MOST || h.local_count == LOCALS_MOST) return;
  struct fab_send *send = &h.sends[h.send_count++];
  *send = (struct fab_send){.header = {.kind = how, .tag = to, .bytes = sizes[how % 7]}, .staged = how & 0x40};
  send->payload = how & 0x80 && send->header.bytes < WINDOW ? h.window : local_memory(send->header.bytes);
  h.endpoint->ops->send(h.endpoint, to % DEVICES, (enum fab_channel)(to / DEVICES % FAB_CHANNELS), send);
}

static void *arrive(void *context, int device, int channel, const struct fab_header *header, size_t *room, void **cookie)
{
  int number = device * FAB_CHANNELS + channel;
  struct arrived *arrived = &h.arrived[number];
  FUZZ_CHECK(number >= 0 && number < NUMBERS && !arrived->open && !h.closing && !h.lost[device]);
  FUZZ_CHECK(h.begun[number]++ < h.proved[number]);
  arrived->open = true;
  arrived->room = header->a & 1 ? header->a % 1000 : header->bytes;
  if (arrived->room > ROOM_MOST) arrived->room = ROOM_MOST;
  arrived->memory = malloc(arrived->room ? arrived->room : 1);
  if (!arrived->memory) abort();
  *room = arrived->room;
  *cookie = arrived;
  return arrived->memory;
}

static void complete(void *context, int device, int channel, const struct fab_header *header, void *cookie, int error)
{
  struct arrived *arrived = cookie;
  FUZZ_CHECK(arrived == &h.arrived[device * FAB_CHANNELS + channel] && arrived->open && !h.closing);
  FUZZ_CHECK(!error || error == -EHOSTDOWN);
  if (network_writes_to(arrived->memory, arrived->room)) {
    FUZZ_CHECK(error && h.late);
    network_forget(arrived->memory, arrived->room);
  }
  free(arrived->memory);
  arrived->open = false;
  if (header->b & 1) begin_send(&h.in); /* an upcall may send */
}

static void release(int index)
{
  unsigned char *payload = h.adopted[index];
  h.adopted[index] = h.adopted[--h.adopted_count];
  h.endpoint->ops->release(h.endpoint, payload);
}

static void adopt(void *context, int device, int channel, const struct fab_header *header, void *payload)
{
  int number = device * FAB_CHANNELS + channel;
  FUZZ_CHECK(number >= 0 && number < NUMBERS && !h.arrived[number].open && !h.closing && !h.lost[device]);
  FUZZ_CHECK(h.begun[number]++ < h.proved[number] && header->bytes <= ADOPTED && h.adopted_count < ADOPTED_MOST);
  for (int i = 0; i < h.adopted_count; i++)
    FUZZ_CHECK(h.adopted[i] + ADOPTED <= (unsigned char *)payload || h.adopted[i] >= (unsigned char *)payload + ADOPTED);
  memset(payload, 0x33, header->bytes);
  h.adopted[h.adopted_count++] = payload;
  if (header->b & 2) release(h.adopted_count - 1); /* an upcall may do that, too */
}

static void lost(void *context, int device, bool in_order)
{
  FUZZ_CHECK(!h.lost[device] && !h.closing);
  h.lost[device] = true;
}

/* ---- Messages ---------------------------------------------------------------------------------------------------- */

/* The proof, as the head of ofi_message.c says it. */
static bool proves(const struct fab_ofi_wire *wire, size_t bytes)
{
  return bytes >= sizeof *wire && wire->magic == MAGIC && wire->from >= 0 && wire->from < NUMBERS && wire->to == h.e->number &&
         wire->token == fab_ofi_token(h.key, wire->from, wire->to);
}

static void received(const unsigned char *bytes, size_t count)
{
  struct fab_ofi_wire wire = {0};
  memcpy(&wire, bytes, count < sizeof wire ? count : sizeof wire);
  if (!proves(&wire, count)) h.unproved++;
  else if (wire.kind == FAB_OFI_MESSAGE || wire.kind == FAB_OFI_LOAN || wire.kind == FAB_OFI_WRITTEN) h.proved[wire.from]++;
}

static bool is_sequenced(uint32_t kind)
{
  return kind <= FAB_OFI_BYE || kind == FAB_OFI_WRITTEN;
}

static void stamp(struct fab_ofi_wire *wire, int from, uint32_t kind)
{
  wire->magic = MAGIC;
  wire->kind = kind;
  wire->from = from;
  wire->to = h.e->number;
  wire->token = fab_ofi_token(h.key, from, wire->to);
}

static void anything_comes(struct fuzz_input *in)
{
  unsigned char bytes[256];
  size_t count = fuzz_take(in, bytes, fuzz_byte(in));
  network_deliver(bytes, count);
}

/* How long the payload has to be. */
static size_t right_length(const struct fab_ofi_wire *wire)
{
  uint64_t bytes = wire->kind == FAB_OFI_MESSAGE    ? wire->header.bytes
                   : wire->kind == FAB_OFI_FRAGMENT ? h.e->peers[wire->from].rest
                   : wire->kind == FAB_OFI_LOAN     ? sizeof(struct fab_ofi_loan)
                                                    : 0;
  return bytes < FAB_OFI_PAYLOAD ? (size_t)bytes : FAB_OFI_PAYLOAD;
}

/* One with a proof; bits of `wrong` spoil something. */
static void message_comes(struct fuzz_input *in, uint32_t kind)
{
  static struct {
    struct fab_ofi_wire wire;
    unsigned char payload[FAB_OFI_BUFFER];
  } message;
  uint8_t wrong = fuzz_byte(in);
  int from = fuzz_byte(in) % NUMBERS;
  struct fab_ofi_wire *wire = &message.wire;
  memset(wire, 0, sizeof *wire);
  stamp(wire, from, kind);
  if (wrong & 0x80) fuzz_take(in, &wire->header, sizeof wire->header);
  else wire->header = (struct fab_header){.kind = wrong & 7, .tag = 1 << (wrong & 3), .bytes = fuzz_half(in), .a = fuzz_byte(in)};
  wire->header.b = wire->header.a >> 1;
  wire->sequence = is_sequenced(kind) ? h.next_sequence[from] : h.e->question;
  const struct fab_ofi_peer *peer = &h.e->peers[from];
  if (kind == FAB_OFI_WRITTEN) wire->berth = fuzz_byte(in) % FAB_OFI_BERTHS;
  if (kind == FAB_OFI_FREED) wire->freed = fuzz_byte(in) & (uint16_t)(peer->offered & ~peer->free_berths);
  size_t payload = right_length(wire);
  if (wrong & 0x40) payload = fuzz_half(in) % sizeof message.payload;
  if (wrong & 0x20) wire->sequence += (uint32_t)(int8_t)fuzz_byte(in);
  else if (is_sequenced(kind)) h.next_sequence[from]++;
  if (wrong & 0x10) fuzz_take(in, (unsigned char *)wire + fuzz_byte(in) % (sizeof *wire - 4), 1 + (size_t)(wrong & 3));
  network_deliver((const unsigned char *)&message, wrong & 8 ? fuzz_byte(in) : sizeof *wire + payload);
}

/* What the endpoint sent comes back as its receiver's own words, in their order. */
static void come_back(const struct network_operation *sent)
{
  static unsigned char copy[FAB_OFI_BUFFER];
  struct fab_ofi_wire *wire = (struct fab_ofi_wire *)(void *)copy;
  memcpy(copy, sent->memory, sent->bytes);
  int from = wire->to;
  stamp(wire, from, wire->kind);
  if (is_sequenced(wire->kind)) wire->sequence = h.next_sequence[from]++;
  if (wire->kind == FAB_OFI_LOAN) wire->kind = (h.in.end - h.in.at) & 1 ? FAB_OFI_RETURN : FAB_OFI_LOAN;
  network_deliver(copy, wire->kind == FAB_OFI_RETURN ? sizeof *wire : sent->bytes);
}

/* What goes out is what the head of ofi.h promises. */
static void look_at(const struct network_operation *sent)
{
  const struct fab_ofi_wire *wire = sent->memory;
  FUZZ_CHECK(sent->bytes >= sizeof *wire && sent->bytes <= FAB_OFI_BUFFER && wire->magic == MAGIC && wire->to == sent->peer);
  FUZZ_CHECK(wire->from == h.e->number && wire->kind > 0 && wire->kind < FAB_OFI_KINDS);
  FUZZ_CHECK(wire->berth < FAB_OFI_BERTHS && wire->freed < 1 << FAB_OFI_BERTHS && (!wire->berth || wire->kind == FAB_OFI_WRITTEN));
  FUZZ_CHECK(wire->token == fab_ofi_token(h.key, wire->from, wire->to));
}

/* As another endpoint would have sent it. */
static void record(const struct network_operation *sent)
{
  struct {
    uint8_t happening, count;
    unsigned char bytes[254];
  } words = {.happening = ANYTHING_COMES, .count = (uint8_t)(sent->bytes < 96 ? sent->bytes : 96)};
  struct fab_ofi_wire wire;
  memcpy(words.bytes, sent->memory, words.count);
  memcpy(&wire, sent->memory, sizeof wire);
  stamp(&wire, wire.to, wire.kind);
  memcpy(words.bytes, &wire, sizeof wire);
  fuzz_record(&words, 2 + (size_t)words.count);
}

static void something_ends(unsigned index, int error, bool returns)
{
  if (!network_pending()) return;
  index %= network_pending();
  const struct network_operation *operation = network_operation(index);
  if (operation->what == NETWORK_SEND) look_at(operation);
  if (operation->what == NETWORK_SEND) record(operation);
  if (operation->what == NETWORK_SEND && returns) come_back(operation);
  network_complete(index, error);
}

/* The clock cannot be turned; what the endpoint remembers of it can. */
static void time_passes(uint64_t ns)
{
  h.e->tick_ns = fab_now_ns(); /* a look is due, and not late */
  for (int i = 0; i < NUMBERS; i++) h.e->peers[i].silent_since_ns -= ns;
  for (int d = 0; d < DEVICES; d++) h.e->devices[d].since_ns -= ns;
  if (ns) h.late = true;
}

/* ---- At the end: everything ends well ---------------------------------------------------------------------------- */

static void answer_well(const struct network_operation *sent)
{
  struct fab_ofi_wire answer = {0};
  const struct fab_ofi_wire *wire = sent->memory;
  if (wire->kind != FAB_OFI_ATOMIC && wire->kind != FAB_OFI_BYE && wire->kind != FAB_OFI_LOAN) return;
  uint32_t kind = wire->kind == FAB_OFI_ATOMIC ? FAB_OFI_ANSWER : wire->kind == FAB_OFI_BYE ? FAB_OFI_FAREWELL : FAB_OFI_RETURN;
  stamp(&answer, wire->to, kind);
  answer.sequence = wire->sequence;
  network_deliver((const unsigned char *)&answer, sizeof answer);
}

static void end_well(void)
{
  if (!network_pending()) {
    time_passes(SILENCE_NS);
    return;
  }
  const struct network_operation *first = network_operation(0);
  bool deaf = first->what == NETWORK_SEND && network_posted() == 0; /* all receives hold what never has its turn: the peer is lost */
  if (first->what == NETWORK_SEND) record(first);
  if (first->what == NETWORK_SEND && !deaf) answer_well(first);
  network_complete(0, deaf ? FI_EIO : 0);
}

/* ---- What happens ------------------------------------------------------------------------------------------------ */

static void meet(unsigned which)
{
  struct fab_contact contacts[NUMBERS] = {0};
  for (int i = 0; i < NUMBERS; i++) {
    if (!(which >> i & 1)) continue;
    contacts[i] = (struct fab_contact){.version = FAB_OFI_VERSION, .bytes = 1, .memory_key = 5, .memory_bytes = i % 2 ? WINDOW : 0};
    contacts[i].address[0] = (unsigned char)i;
  }
  FUZZ_CHECK(h.endpoint->ops->connect(h.endpoint, contacts) == 0);
}

static void refuse(struct fuzz_input *in)
{
  static const int errors[] = {-FI_EAGAIN, -FI_ENOMEM, -FI_EIO, -FI_EINVAL};
  uint8_t what = fuzz_byte(in);
  if (what % 5 == NETWORK_WHATS) network_refuse_memory(what >> 5, what & 16 ? -FI_ENOMEM : -FI_ENOKEY);
  else network_refuse((enum network_what)(what % 5), what >> 5, errors[what >> 3 & 3]);
}

static void access_memory(enum happening how, struct fuzz_input *in)
{
  static const size_t sizes[] = {1, 2, 4, 8};
  int device = fuzz_byte(in) % DEVICES;
  uint8_t what = fuzz_byte(in);
  uint64_t offset = (uint64_t)(what >> 5) * 8, old;
  size_t bytes = what % 32 * 100 + 1;
  if (h.local_count == LOCALS_MOST || (device == ME && !h.window)) return;
  const struct fab_ops *ops = h.endpoint->ops;
  enum fab_atomic op = (enum fab_atomic)(what % 8);
  h.waiting = true;
  if (how == PUT) ops->put(h.endpoint, device, offset, local_memory(bytes), bytes);
  else if (how == GET) ops->get(h.endpoint, device, offset, local_memory(bytes), bytes);
  else ops->atomic(h.endpoint, op, device, offset, sizes[op > FAB_STORE ? 2 + (what >> 3 & 1) : what >> 3 & 3], what, 1, &old);
  h.waiting = false;
}

static void sleep_a_little(void)
{
  h.endpoint->ops->sleep_begin(h.endpoint);
  h.endpoint->ops->progress(h.endpoint);
  h.endpoint->ops->sleep(h.endpoint, 0);
  h.endpoint->ops->sleep_end(h.endpoint);
}

/* What the network and the peers do. */
static void happens_outside(enum happening what, struct fuzz_input *in)
{
  switch (what) {
  case ANYTHING_COMES: anything_comes(in); break;
  case MESSAGE_COMES:
  case MESSAGE_COMES_TOO: message_comes(in, fuzz_byte(in) % (FAB_OFI_KINDS + 1)); break;
  case FRAGMENT_COMES: message_comes(in, FAB_OFI_FRAGMENT); break;
  case SOMETHING_ENDS: something_ends(fuzz_byte(in), 0, false); break;
  case SOMETHING_FAILS: something_ends(fuzz_byte(in), FI_EIO, false); break;
  case SOMETHING_RETURNS: something_ends(fuzz_byte(in), 0, true); break;
  case REFUSE: refuse(in); break;
  case RECEIVE_FAILS: network_fail_receive(FI_ETRUNC); break;
  case TIME_PASSES: time_passes((uint64_t)fuzz_byte(in) * STEP_NS); break;
  default: break;
  }
}

static void happens(enum happening what, struct fuzz_input *in)
{
  switch (what) {
  case PROGRESS: h.endpoint->ops->progress(h.endpoint); break;
  case SEND: begin_send(in); break;
  case PUT:
  case GET:
  case ATOMIC: access_memory(what, in); break;
  case LOSE:
    h.waiting = true;
    h.endpoint->ops->lose(h.endpoint, fuzz_byte(in) % DEVICES);
    h.waiting = false;
    break;
  case MEET: meet(fuzz_byte(in)); break;
  case SLEEP: sleep_a_little(); break;
  case RELEASE:
    if (h.adopted_count) release(fuzz_byte(in) % h.adopted_count);
    break;
  default: happens_outside(what, in);
  }
}

static void idle(void)
{
  if (h.closing) end_well();
  else if (h.waiting && fuzz_more(&h.in)) happens_outside((enum happening)(fuzz_byte(&h.in) % HAPPENINGS), &h.in);
  else if (h.waiting) end_well();
}

/* ---- What must hold ---------------------------------------------------------------------------------------------- */

static int length_of(const struct fab_ofi_buffer *list)
{
  int length = 0;
  for (; list; list = list->next) length++;
  return length;
}

static void check(void)
{
  int receives = (int)network_posted() + length_of(h.e->unposted);
  for (int i = 0; i < NUMBERS; i++) receives += length_of(h.e->peers[i].held) + length_of(h.e->peers[i].answers);
  int writes = h.e->writing;
  for (const struct fab_ofi_write *write = h.e->free_write; write; write = write->next) writes++;
  for (int i = 0; i < FAB_OFI_WRITES; i++) writes += h.e->writes[i].send && h.e->writes[i].ended;
  FUZZ_CHECK(writes == FAB_OFI_WRITES);
  FUZZ_CHECK(receives == FAB_OFI_RECEIVES);
  FUZZ_CHECK(length_of(h.e->free) + h.e->in_flight == FAB_OFI_SENDS);
  FUZZ_CHECK(h.e->dropped >= h.unproved);
}

/* ---- One input --------------------------------------------------------------------------------------------------- */

static void begin(struct fuzz_input *in)
{
  uint8_t how = fuzz_byte(in);
  struct network_config network = {.idle = idle, .received = received, .atomics = how & 1, .message_most = how & 2 ? 1 << 16 : 1 << 30};
  if (how & 4) network.mr_mode |= FI_MR_LOCAL;
  if (how & 8) network.mr_mode |= FI_MR_VIRT_ADDR | FI_MR_ENDPOINT;
  network_reset(&network);
  memset(h.key, 0x5a, sizeof h.key);
  h.window = calloc(1, WINDOW);
  if (!h.window) abort();
  struct fab_config config = {.device = ME,
                              .devices = DEVICES,
                              .channel = FAB_APPLICATION,
                              .sink = {NULL, arrive, complete, adopt, lost},
                              .windows = how & 16 ? NULL : h.window,
                              .window_bytes = WINDOW,
                              .first = ME,
                              .count = 1,
                              .adopted_bytes = how & 64 ? ADOPTED : 0};
  memcpy(config.key, h.key, sizeof h.key);
  FUZZ_CHECK(fab_ofi.open(&config, &h.endpoint) == 0);
  h.e = (struct fab_ofi_endpoint *)h.endpoint;
  if (!(how & 32)) meet(~0u);
}

static void end(void)
{
  for (enum network_what what = 0; what < NETWORK_WHATS; what++) network_refuse(what, 0, 0);
  network_refuse_memory(0, 0);
  meet(~0u);
  for (int i = 0; i < NUMBERS; i++) /* what is open stays so: no upcall comes any more */
    if (h.arrived[i].open) h.locals[h.local_count++] = h.arrived[i].memory;
  h.closing = true;
  h.endpoint->ops->close(h.endpoint);
  FUZZ_CHECK(network_objects() == 0);
  for (int i = 0; i < h.send_count; i++) FUZZ_CHECK(h.sends[i].status <= 0);
  for (int i = 0; i < h.local_count; i++) free(h.locals[i]);
  free(h.window);
}

void fuzz_ofi(const uint8_t *bytes, size_t count)
{
  network_load();
  h = (struct harness){.in = {bytes, bytes + count}};
  begin(&h.in);
  while (fuzz_more(&h.in)) {
    happens((enum happening)(fuzz_byte(&h.in) % HAPPENINGS), &h.in);
    check();
  }
  end();
}
