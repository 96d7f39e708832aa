/* Fuzzing of the wire: a device of a session over two hosts of two devices each, whose network is this file. Its memory, its engine of lines, its modelled
 * clock, the wire are a session's own; the devices of the other host send what the input says.
 *
 * The first byte of an input chooses which host is this one, whether a clock is charged, and whether there is an engine. Then each byte is something that
 * happens: a letter begins (any, or one made of numbers that are worth trying), ends well or is cut off; something that was sent ends; a device is lost;
 * this device reads, writes, asks. While it waits, what happens comes out of the input as well; at its end all others are lost, so that
 * nothing waits for ever.
 *
 * What must hold: no byte goes where none belongs (the sanitizer's part); what cannot be a letter of the other host is counted as refused; each question of
 * the clock that makes a letter is answered, once. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "coherence/engine.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/net.h"
#include "uma/clock.h"
#include "uma/config.h"
#include "uma/session.h"
#include "uma/wait.h"
#include "uma/wire.h"

enum { DEVICES = 4, PER_HOST = 2, MEMORY = 1 << 16, LINE = 64, LINES = MEMORY / LINE, SENDS_MOST = 1024, PAYLOAD_MOST = 256 };
#define CLAIM_MOST ((uint64_t)(1 << 20) - 1)

enum how { OTHER_HOST = 1, CLOCK = 2, NO_ENGINE = 4, HOWS = 8 }; /* without an engine there is a clock */

/* What happens; an input's byte modulo HAPPENINGS. */
enum happening {
  ANYTHING_COMES,
  LETTER_COMES,
  LETTER_COMES_TOO,
  QUESTION_COMES,
  LETTER_ENDS,
  SENT,
  LOSE,
  GET, /* from here on this device is at it */
  PUT,
  ATOMIC,
  FLUSH,
  ASK,
  HAPPENINGS
};

static struct harness {
  struct fuzz_input in;
  struct fab_sink sink;
  int others; /* the first device of the other host */
  bool lost[DEVICES];
  struct under_way {
    bool open;
    struct fab_header header;
    void *cookie;
    unsigned char payload[PAYLOAD_MOST], *room;
    size_t stored;
  } from[DEVICES];
  struct fab_send *sent[SENDS_MOST];
  int sent_to[SENDS_MOST];
  unsigned sent_count, asked, answered, nonsense;
} h;

/* ---- What comes -------------------------------------------------------------------------------------------------- */

static bool is_question(const struct fab_header *header)
{
  return header->kind == UMA_WIRE_QUESTION && header->bytes == sizeof(struct uma_clock_letter) && uma_self.clock;
}

/* By what a letter of the engine must be, in any state of it. */
static bool is_nonsense(const struct fab_header *header)
{
  size_t stamp = header->kind == UMA_WIRE_TIMED ? sizeof(struct coh_stamp) : 0;
  switch (header->kind) {
  case UMA_WIRE_MESSAGE:
  case UMA_WIRE_TIMED: break;
  case UMA_WIRE_QUESTION:
  case UMA_WIRE_ANSWER: return header->bytes != sizeof(struct uma_clock_letter) || !uma_self.clock;
  case UMA_WIRE_REFUSAL:
  case UMA_WIRE_LOSS: return false;
  default: return true;
  }
  int source = (int16_t)(header->b >> 16);
  if (source == COH_HOME) source = header->a < (uint64_t)DEVICES * LINES ? (int)(header->a / LINES) : DEVICES;
  bool theirs = source >= h.others && source < h.others + PER_HOST;
  return header->tag < 0 || header->tag > UINT8_MAX || !theirs || (header->bytes != stamp && header->bytes != stamp + LINE);
}

static void end_letter(int device, int error)
{
  struct under_way *from = &h.from[device];
  if (!from->open) return;
  from->open = false;
  if (from->stored) memcpy(from->room, from->payload, from->stored);
  h.asked += !error && is_question(&from->header);
  h.nonsense += !error && is_nonsense(&from->header);
  h.sink.complete(h.sink.context, device, FAB_SERVICE, &from->header, from->cookie, error);
}

/* `where`: the sender, and whether all comes at once. Letters of a sender come one after the other. */
static void begin_letter(uint8_t where, const struct fab_header *header, const void *payload, size_t bytes)
{
  int device = h.others + (where & 1);
  struct under_way *from = &h.from[device];
  size_t room = 0;
  end_letter(device, 0);
  if (h.lost[device]) return;
  *from = (struct under_way){.open = true, .header = *header};
  if (header->bytes < SIZE_MAX / 2) from->header.bytes &= CLAIM_MOST;
  from->room = h.sink.arrive(h.sink.context, device, FAB_SERVICE, &from->header, &room, &from->cookie);
  FUZZ_CHECK(room <= from->header.bytes && room <= PAYLOAD_MOST && (from->room || !room));
  from->stored = room;
  memcpy(from->payload, payload, bytes < room ? bytes : room);
  if (where & 2) end_letter(device, 0);
}

static void anything_comes(struct fuzz_input *in)
{
  uint8_t where = fuzz_byte(in), payload[PAYLOAD_MOST];
  struct fab_header header;
  fuzz_take(in, &header, sizeof header);
  size_t bytes = fuzz_take(in, payload, fuzz_byte(in));
  begin_letter(where, &header, payload, bytes);
}

/* Of a kind, a type, a line, and devices that may be, with a payload as long as it should be, or not. */
static void letter_comes(struct fuzz_input *in)
{
  uint8_t where = fuzz_byte(in), kind = fuzz_byte(in), between = fuzz_byte(in), of = fuzz_byte(in), payload[PAYLOAD_MOST];
  struct fab_header header = {.kind = kind % 8, .tag = (fuzz_byte(in) & 63) - 1, .a = fuzz_byte(in) * (uint64_t)LINES / 32};
  uint16_t acks = (uint16_t)((of >> 3 & 7) - 2), source = (uint16_t)((between & 7) - 1), target = (uint16_t)((between >> 3 & 7) - 1),
           requestor = (uint16_t)((of & 7) - 1);
  header.a += of >> 6;
  header.b = acks | (uint64_t)source << 16 | (uint64_t)target << 32 | (uint64_t)requestor << 48;
  header.bytes = (header.kind == UMA_WIRE_TIMED ? sizeof(struct coh_stamp) : 0) + (kind & 8 ? LINE : 0) + (kind >= 0xf0);
  begin_letter(where, &header, payload, fuzz_take(in, payload, fuzz_byte(in)));
}

static void question_comes(struct fuzz_input *in)
{
  uint8_t where = fuzz_byte(in), op = fuzz_byte(in);
  struct uma_clock_letter letter;
  struct fab_header header = {.kind = op & 0x80 ? UMA_WIRE_ANSWER : UMA_WIRE_QUESTION, .a = fuzz_byte(in) % 8, .bytes = sizeof letter};
  fuzz_take(in, &letter, fuzz_byte(in) % (sizeof letter + 1));
  if (op & 0x40) letter.version = UMA_CLOCK_VERSION;
  letter.op = op & 7;
  begin_letter(where, &header, &letter, sizeof letter);
}

/* ---- What was sent ----------------------------------------------------------------------------------------------- */

static void record(int device, const struct fab_send *send)
{
  const uint8_t begin[] = {ANYTHING_COMES, (uint8_t)((uma_self.device - uma_self.first) | 2)}, bytes = (uint8_t)send->header.bytes;
  fuzz_record(begin, sizeof begin);
  fuzz_record(&send->header, sizeof send->header);
  fuzz_record(&bytes, sizeof bytes);
  fuzz_record(send->payload, bytes);
}

static void end_send(unsigned place, int error)
{
  struct fab_send *send = h.sent[place];
  const volatile unsigned char *payload = send->payload;
  unsigned char sum = 0;
  for (uint64_t i = 0; i < send->header.bytes && !error; i++) sum ^= payload[i];
  (void)sum;
  h.sent_count--;
  memmove(&h.sent[place], &h.sent[place + 1], (h.sent_count - place) * sizeof h.sent[0]);
  memmove(&h.sent_to[place], &h.sent_to[place + 1], (h.sent_count - place) * sizeof h.sent_to[0]);
  send->status = error;
}

static void net_send(struct fab_endpoint *endpoint, int device, enum fab_channel channel, struct fab_send *send)
{
  FUZZ_CHECK(device >= h.others && device < h.others + PER_HOST && channel == FAB_SERVICE && send->header.bytes < PAYLOAD_MOST);
  record(device, send);
  h.answered += send->header.kind == UMA_WIRE_ANSWER;
  send->status = h.lost[device] || h.sent_count == SENDS_MOST ? -EHOSTDOWN : FAB_PENDING;
  if (send->status != FAB_PENDING) return;
  h.sent_to[h.sent_count] = device;
  h.sent[h.sent_count++] = send;
}

/* ---- The network ------------------------------------------------------------------------------------------------- */

static void lose_all(void)
{
  for (int d = 0; d < DEVICES; d++)
    if (d != uma_self.device) uma_board_lose(uma_self.board, d);
}

static void happens_outside(enum happening what, struct fuzz_input *in)
{
  uint8_t which;
  switch (what) {
  case ANYTHING_COMES: anything_comes(in); break;
  case LETTER_COMES:
  case LETTER_COMES_TOO: letter_comes(in); break;
  case QUESTION_COMES: question_comes(in); break;
  case LETTER_ENDS: end_letter(h.others + (fuzz_byte(in) & 1), 0); break;
  case SENT:
    which = fuzz_byte(in);
    if (h.sent_count) end_send(which % h.sent_count, which > 250 ? -EHOSTDOWN : 0);
    break;
  case LOSE:
    which = fuzz_byte(in);
    uma_board_lose(uma_self.board, which & 1 ? h.others + (which >> 1 & 1) : uma_self.first + 1); /* this device is the first */
    break;
  default: break;
  }
}

static int net_progress(struct fab_endpoint *endpoint)
{
  if (fuzz_more(&h.in)) happens_outside((enum happening)(fuzz_byte(&h.in) % HAPPENINGS), &h.in);
  else lose_all(); /* a delivery may wait as well: it asks for a time */
  return 1;
}

static void net_lose(struct fab_endpoint *endpoint, int device)
{
  if (device >= h.others && device < h.others + PER_HOST) end_letter(device, -EHOSTDOWN);
  for (unsigned i = 0; i < h.sent_count;)
    if (h.sent_to[i] == device) end_send(i, -EHOSTDOWN);
    else i++;
  h.lost[device] = true;
  h.sink.lost(h.sink.context, device, false);
}

static int net_open(const struct fab_config *config, struct fab_endpoint **endpoint);

static const struct fab_ops net = {FUZZ_NET,         .open = net_open,         .close = fuzz_net_nothing,
                                   .send = net_send, .progress = net_progress, .sleep_end = fuzz_net_nothing,
                                   .lose = net_lose};

static int net_open(const struct fab_config *config, struct fab_endpoint **endpoint)
{
  static struct fab_endpoint one = {&net};
  h.sink = config->sink;
  *endpoint = &one;
  return 0;
}

/* ---- This device ------------------------------------------------------------------------------------------------- */

static void access_line(enum happening how, struct fuzz_input *in)
{
  uint64_t offset = ((uint64_t)(fuzz_byte(in) % DEVICES) * LINES + fuzz_byte(in) % LINES) * LINE, value = offset;
  int result;
  if (!uma_self.engine) return;
  if (how == GET) result = coh_get(uma_self.engine, &value, offset, sizeof value);
  else if (how == PUT) result = coh_put(uma_self.engine, offset, &value, sizeof value);
  else if (how == ATOMIC) result = coh_atomic(uma_self.engine, FAB_ADD, offset, 8, 1, 0, &value);
  else result = coh_flush(uma_self.engine);
  FUZZ_CHECK(result <= 0);
}

static void ask(struct fuzz_input *in)
{
  uint8_t what = fuzz_byte(in);
  int home = h.others + (what >> 2 & 1);
  struct coh_flight flight = {0};
  struct uma_clock_state state;
  uint64_t ticks;
  if (!uma_self.clock) return;
  if (what % 3 == 0) FUZZ_CHECK(uma_clock_ask_carry_on(home, uma_self.device, home, what, &flight) <= 0);
  if (what % 3 == 1) FUZZ_CHECK(uma_clock_ask_signal(home, uma_window_of(home), &ticks) <= 0);
  if (what % 3 == 2) FUZZ_CHECK(uma_clock_ask_state(home, &state) <= 0);
}

static void happens(struct uma_wire *wire, struct fuzz_input *in)
{
  enum happening what = (enum happening)(*in->at % HAPPENINGS);
  if (what < GET) {
    uma_wire_help(wire);
    return;
  }
  fuzz_byte(in);
  if (what == ASK) ask(in);
  else access_line(what, in);
}

/* ---- One input --------------------------------------------------------------------------------------------------- */

/* Each way once: a machine is read from its profile. */
static const struct uma_shape *shape_of(unsigned how)
{
  static struct uma_shape shapes[HOWS];
  struct uma_shape *shape = &shapes[how];
  struct uma_config config = {.mode = how & NO_ENGINE ? UMA_MODE_STACKED : UMA_MODE_SUPERNODE,
                              .hosts = DEVICES / PER_HOST,
                              .servers = DEVICES / PER_HOST,
                              .memory = MEMORY,
                              .line = LINE,
                              .cache = LINE * 16,
                              .coherence = how & NO_ENGINE ? UMA_COHERENCE_NONE : UMA_COHERENCE_LINE,
                              .profile = how & (CLOCK | NO_ENGINE) ? "h100-8" : NULL};
  if (!shape->devices) FUZZ_CHECK(!uma_config_resolve(&config) && !uma_config_shape(&config, DEVICES, shape));
  return shape;
}

static void begin(unsigned how)
{
  const struct uma_shape *shape = shape_of(how);
  struct uma_inheritance from = {.device = how & OTHER_HOST ? PER_HOST : 0,
                                 .frames_fd = -1,
                                 .spool_fd = -1,
                                 .lifeline_fd = -1,
                                 .lend_fd = -1,
                                 .exchange_fd = -1,
                                 .net = &net};
  struct uma_board *board;
  h.others = PER_HOST - from.device;
  FUZZ_CHECK(!uma_board_create(shape, &board, &from.board_fd) && !munmap(board, sizeof *board));
  FUZZ_CHECK(!uma_segment_create(shape, from.device, PER_HOST, &from.segment_fd, &from.windows_fd) && !uma_session_attach(&from));
  close(from.board_fd);
  close(from.segment_fd);
  close(from.windows_fd);
  uma_self.joined = true;
  uma_wait_yields_at_once = true;
}

void fuzz_wire(const uint8_t *bytes, size_t count)
{
  h = (struct harness){.in = {bytes, bytes + count}};
  begin(fuzz_byte(&h.in) % HOWS);
  struct uma_wire *wire = uma_self.wire ? uma_self.wire : uma_self.clock_wire;
  while (fuzz_more(&h.in)) happens(wire, &h.in);
  uma_wire_help(wire);
  FUZZ_CHECK(h.answered == h.asked);
  FUZZ_CHECK(!uma_self.engine || uma_self.engine->refused >= h.nonsense);
  uma_wire_help(wire);
  uma_session_detach();
}
