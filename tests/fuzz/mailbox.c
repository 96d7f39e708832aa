/* Fuzzing of the mailboxes and of what is asked of a device: device 0 of two groups of two, whose network is this file. The memory, the heaps, the locks,
 * the mailboxes are a session's own; devices 2 and 3, of the other group, send what the input says.
 *
 * The first byte of an input chooses whether windows are cached. Then each byte is something that happens: a message begins (any header, or one made
 * of numbers that are worth trying), goes on, ends well or is cut off; something that was sent ends; a device is lost or leaves; there is silence; device 0 sends,
 * receives, asks. While it waits, what happens comes out of the input as well; at its end all others are lost, so that nothing waits for ever.
 *
 * What must hold: no byte goes where none belongs (the sanitizer's part, also for what is sent, and for buffers that are freed as soon as a call has
 * returned); a request changes its home only; each that has come whole is answered once; answers that cannot be are errors. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/net.h"
#include "uma/config.h"
#include "uma/heap.h"
#include "uma/mailbox.h"
#include "uma/mutex.h"
#include "uma/remote.h"
#include "uma/session.h"
#include "uma/wait.h"

enum { DEVICES = 4, FAR = 2, MEMORY = 1 << 16, PAYLOAD_MOST = 1 << 16, SENDS_MOST = 1024, SLOTS = 8, ROOM_MOST = 4096, PAUSES_MOST = 50 };
#define CLAIM_MOST ((uint64_t)(1 << 20) - 1) /* of what needs memory; there is also what no memory is large enough for */

/* What happens; an input's byte modulo HAPPENINGS. */
enum happening {
  ANYTHING_COMES,
  MESSAGE_COMES,
  MESSAGE_COMES_TOO,
  QUESTION_COMES,
  QUESTION_COMES_TOO,
  MESSAGE_ENDS,
  SENT,
  SENT_TOO,
  LOSE,
  LEAVE,
  PAUSE,   /* nothing happens until device 0 has slept */
  RECEIVE, /* from here on device 0 is at it */
  SEND,
  FINISH,
  ASK,
  HAPPENINGS
};

struct end { /* device 0's endpoint of a channel */
  const struct fab_ops *ops;
  struct fab_sink sink;
  bool lost[DEVICES];
  struct under_way { /* a message to it */
    bool open;
    struct fab_header header;
    void *cookie;
    unsigned char *last; /* where its last byte goes, or NULL */
  } from[DEVICES][FAB_CHANNELS];
};

struct sent {
  struct end *end;
  int device;
  struct fab_send *send;
};

static struct harness {
  struct fuzz_input in;
  struct end *ends[UMA_MAILBOXES];
  struct sent sent[SENDS_MOST];
  unsigned sent_count;
  bool waiting, turn; /* device 0 waits in a call; or it is the network's turn, once */
  bool silent;
  unsigned pauses;
  unsigned asked, answered;
  struct slot {
    struct uma_request *request;
    void *buffer;
    size_t room;
    bool sending;
  } slots[SLOTS];
} h;

/* ---- What comes -------------------------------------------------------------------------------------------------- */

static void end_message(struct end *end, int device, int channel, int error)
{
  struct under_way *from = &end->from[device][channel];
  if (!from->open) return;
  from->open = false;
  if (from->last && !error) *from->last = 1;
  h.asked += from->header.kind == UMA_KIND_REQUEST && end == h.ends[FAB_ENGINE] && !error && channel < UMA_MAILBOXES;
  end->sink.complete(end->sink.context, device, channel, &from->header, from->cookie, error);
}

/* `where`: the mailbox, the sender, its channel, and whether all comes at once. Messages of a sender come one after the other. */
static void begin_message(uint8_t where, const struct fab_header *header, const void *payload, size_t bytes)
{
  struct end *end = h.ends[where & 1];
  int device = FAR + (where >> 1 & 1), channel = (where >> 2 & 3) % FAB_CHANNELS;
  struct under_way *from = &end->from[device][channel];
  size_t room = 0;
  end_message(end, device, channel, 0);
  if (end->lost[device]) return;
  *from = (struct under_way){.open = true, .header = *header};
  if (header->bytes < SIZE_MAX / 2) from->header.bytes &= CLAIM_MOST;
  unsigned char *memory = end->sink.arrive(end->sink.context, device, channel, &from->header, &room, &from->cookie);
  FUZZ_CHECK(room <= from->header.bytes && (memory || !room));
  if (room) memcpy(memory, payload, bytes < room ? bytes : room);
  from->last = room > bytes ? &memory[room - 1] : NULL;
  if (where & 16) end_message(end, device, channel, 0);
}

static void anything_comes(struct fuzz_input *in)
{
  static unsigned char payload[PAYLOAD_MOST];
  struct fab_header header;
  uint8_t where = fuzz_byte(in);
  fuzz_take(in, &header, sizeof header);
  size_t bytes = fuzz_take(in, payload, fuzz_half(in) % sizeof payload);
  begin_message(where, &header, payload, bytes);
}

/* Small, or one at which something may go wrong. */
static uint64_t number(struct fuzz_input *in)
{
  static const uint64_t edges[] = {
      MEMORY - 8,        MEMORY - 1,   MEMORY,           MEMORY + 1,          (uint64_t)FAR * MEMORY, UMA_LOCKS - 1,
      UMA_LOCKS,         UMA_BARRIERS, INT32_MAX,        UINT32_MAX,          (uint64_t)1 << 32,      (uint64_t)1 << 48,
      (uint64_t)1 << 62, SIZE_MAX / 2, SIZE_MAX / 2 + 1, UINT64_MAX - MEMORY, UINT64_MAX - 7,         UINT64_MAX};
  enum { EDGES = sizeof edges / sizeof edges[0] };
  uint8_t byte = fuzz_byte(in);
  uint64_t any;
  if (byte < 192) return byte;
  if (byte < 192 + EDGES) return edges[byte - 192];
  if (byte < 240) return uma_self.shape.base + (uint64_t)fuzz_half(in) * 16;
  fuzz_take(in, &any, sizeof any);
  return any;
}

static struct fab_header header_of(uint32_t kind, struct fuzz_input *in)
{
  return (struct fab_header){.kind = kind, .tag = (fuzz_byte(in) & 31) - 4, .bytes = number(in), .a = number(in), .b = number(in)};
}

static void message_comes(struct fuzz_input *in)
{
  uint8_t where = fuzz_byte(in), payload[256];
  struct fab_header header = header_of(fuzz_byte(in) % (UMA_KIND_REQUEST + 2), in);
  begin_message(where, &header, payload, fuzz_take(in, payload, fuzz_byte(in)));
}

static void question_comes(struct fuzz_input *in)
{
  uint8_t where = fuzz_byte(in);
  struct fab_header header = header_of(UMA_KIND_REQUEST, in);
  struct uma_question question = {.offset = number(in), .bytes = number(in), .operand = number(in), .expected = number(in)};
  question.ticks = question.expected;
  question.op = fuzz_byte(in) % 16;
  question.size = fuzz_byte(in);
  header.bytes = sizeof question;
  begin_message(where | FAB_ENGINE, &header, &question, sizeof question);
}

/* ---- What was sent ----------------------------------------------------------------------------------------------- */

static void record(const struct end *end, int device, int channel, const struct fab_send *send)
{
  const uint8_t begin[] = {ANYTHING_COMES, (uint8_t)(channel | (device - FAR) << 1 | (end == h.ends[FAB_ENGINE]) << 2 | 16)};
  uint16_t bytes = send->header.bytes < PAYLOAD_MOST ? (uint16_t)send->header.bytes : 0;
  fuzz_record(begin, sizeof begin);
  fuzz_record(&send->header, sizeof send->header);
  fuzz_record(&bytes, sizeof bytes);
  fuzz_record(send->payload, bytes);
}

static void read_payload(const struct fab_send *send)
{
  const volatile unsigned char *payload = send->payload;
  unsigned char sum = 0;
  for (uint64_t i = 0; i < send->header.bytes; i++) sum ^= payload[i];
  (void)sum;
}

static void end_send(unsigned place, int error)
{
  struct fab_send *send = h.sent[place].send;
  if (atomic_load(&uma_self.board->members[h.sent[place].device].state) == UMA_MEMBER_LEFT)
    error = -EHOSTDOWN; /* nobody takes it any more */
  memmove(&h.sent[place], &h.sent[place + 1], (--h.sent_count - place) * sizeof h.sent[0]);
  if (!error) read_payload(send);
  send->status = error;
}

static void net_send(struct fab_endpoint *endpoint, int device, enum fab_channel channel, struct fab_send *send)
{
  struct end *end = (struct end *)endpoint;
  FUZZ_CHECK(device >= FAR && device < DEVICES && (int)channel < UMA_MAILBOXES);
  record(end, device, channel, send);
  h.answered += send->header.kind == UMA_KIND_REPLY;
  send->status = end->lost[device] || h.sent_count == SENDS_MOST ? -EHOSTDOWN : FAB_PENDING;
  if (send->status == FAB_PENDING) h.sent[h.sent_count++] = (struct sent){end, device, send};
}

/* ---- The network ------------------------------------------------------------------------------------------------- */

static void lose_all(void)
{
  for (int d = 1; d < DEVICES; d++) uma_board_lose(uma_self.board, d);
}

static void happens_outside(enum happening what, struct fuzz_input *in)
{
  uint8_t which;
  switch (what) {
  case ANYTHING_COMES: anything_comes(in); break;
  case MESSAGE_COMES:
  case MESSAGE_COMES_TOO: message_comes(in); break;
  case QUESTION_COMES:
  case QUESTION_COMES_TOO: question_comes(in); break;
  case MESSAGE_ENDS:
    which = fuzz_byte(in);
    end_message(h.ends[which & 1], FAR + (which >> 1 & 1), (which >> 2 & 3) % FAB_CHANNELS, 0);
    break;
  case SENT:
  case SENT_TOO:
    which = fuzz_byte(in);
    if (h.sent_count) end_send(which % h.sent_count, which > 250 ? -EHOSTDOWN : 0);
    break;
  case LOSE: uma_board_lose(uma_self.board, 1 + fuzz_byte(in) % (DEVICES - 1)); break;
  case LEAVE: atomic_store(&uma_self.board->members[1 + fuzz_byte(in) % (DEVICES - 1)].state, UMA_MEMBER_LEFT); break;
  case PAUSE: h.silent = h.waiting && h.pauses++ < PAUSES_MOST; break;
  default: break;
  }
}

static int net_progress(struct fab_endpoint *endpoint)
{
  if (h.silent) return 0;
  if (h.waiting && !fuzz_more(&h.in)) lose_all();
  if ((!h.waiting && !h.turn) || !fuzz_more(&h.in)) return 0;
  h.turn = false;
  happens_outside((enum happening)(fuzz_byte(&h.in) % HAPPENINGS), &h.in);
  return 1;
}

static void net_lose(struct fab_endpoint *endpoint, int device)
{
  struct end *end = (struct end *)endpoint;
  for (int channel = 0; channel < FAB_CHANNELS; channel++) end_message(end, device, channel, -EHOSTDOWN);
  for (unsigned i = 0; i < h.sent_count;)
    if (h.sent[i].end == end && h.sent[i].device == device) end_send(i, -EHOSTDOWN);
    else i++;
  end->lost[device] = true;
  end->sink.lost(end->sink.context, device, false);
}

static int net_open(const struct fab_config *config, struct fab_endpoint **endpoint);

static void net_close(struct fab_endpoint *endpoint)
{
  struct end *end = (struct end *)endpoint;
  unsigned kept = 0;
  for (unsigned i = 0; i < h.sent_count; i++)
    if (h.sent[i].end != end) h.sent[kept++] = h.sent[i];
  h.sent_count = kept;
  free(end);
}

static void net_sleep_end(struct fab_endpoint *endpoint)
{
  h.silent = false;
}

static const struct fab_ops net = {FUZZ_NET,         .open = net_open,         .close = net_close,
                                   .send = net_send, .progress = net_progress, .sleep_end = net_sleep_end,
                                   .lose = net_lose};

static int net_open(const struct fab_config *config, struct fab_endpoint **endpoint)
{
  struct end *end = calloc(1, sizeof *end);
  if (!end) return -ENOMEM;
  end->ops = &net;
  end->sink = config->sink;
  h.ends[config->channel] = end;
  *endpoint = (struct fab_endpoint *)end;
  return 0;
}

/* ---- Device 0 ---------------------------------------------------------------------------------------------------- */

static enum uma_kind kind_of(uint8_t byte)
{
  return byte & 1 ? UMA_KIND_COLLECTIVE : UMA_KIND_MESSAGE;
}

static void start(bool sending, struct fuzz_input *in)
{
  struct slot *slot = &h.slots[fuzz_byte(in) % SLOTS];
  uint8_t device = fuzz_byte(in), kind = fuzz_byte(in);
  int tag = (fuzz_byte(in) & 31) - 4;
  size_t room = fuzz_half(in) % ROOM_MOST;
  if (slot->request) return;
  *slot = (struct slot){.buffer = calloc(1, room + 1), .room = room, .sending = sending};
  if (!slot->buffer) abort();
  if (sending)
    slot->request =
        uma_mailbox_start_send(uma_self.mailbox[FAB_APPLICATION], 1 + device % (DEVICES - 1), kind_of(kind), tag, slot->buffer, room);
  else
    slot->request = uma_mailbox_start_recv(uma_self.mailbox[FAB_APPLICATION], device % DEVICES ? device % DEVICES : UMA_ANY_DEVICE,
                                           kind_of(kind), tag, slot->buffer, room);
  FUZZ_CHECK(slot->request);
}

static void finish(struct slot *slot)
{
  struct uma_status status = {0};
  if (!slot->request) return;
  int result = uma_mailbox_finish(slot->request, &status);
  FUZZ_CHECK(result <= 0 && (slot->sending || status.bytes <= slot->room));
  free(slot->buffer);
  *slot = (struct slot){0};
}

static void ask_for_barrier(int home, uint64_t n, uint8_t op)
{
  struct uma_barrier_answer answer = {0};
  FUZZ_CHECK(uma_remote_barrier(op % (UMA_BARRIER_LOOK + 1), home, (uint32_t)n, n, &answer) <= 0);
}

static void ask_for_lock(int home, uint64_t n, uint8_t op)
{
  uint64_t ticks = n;
  int result = uma_remote_lock(op % (UMA_LOCK_DESTROY + 1), home, (uint32_t)n, &ticks);
  FUZZ_CHECK(result <= 0 || (op % (UMA_LOCK_DESTROY + 1) == UMA_LOCK_CREATE && result < UMA_LOCKS));
}

static void ask_for_memory(int home, uint64_t n)
{
  uint64_t offset = 0;
  int result = uma_remote_alloc(home, n, 16, &offset);
  FUZZ_CHECK(result < 0 || (!result && offset % 16 == 0 && offset <= MEMORY && n <= MEMORY - offset));
}

static void ask(struct fuzz_input *in)
{
  uint8_t what = fuzz_byte(in), op = fuzz_byte(in);
  uint64_t n = number(in) % (MEMORY - ROOM_MOST), old = 0;
  int home = FAR + (what >> 4 & 1), result = 0;
  unsigned char *window = uma_window_of(home) + n, *local = calloc(1, ROOM_MOST);
  struct uma_usage usage;
  if (!local) abort();
  switch (what % 9) {
  case 0: result = uma_remote_get(home, local, window, (size_t)op * 16); break;
  case 1: result = uma_remote_put(home, window, local, (size_t)op * 16); break;
  case 2: result = uma_remote_atomic(home, op % (UMA_ATOMIC_XOR + 1), window, 8, n, 1, &old); break;
  case 3: result = uma_remote_signal(home, (uint64_t *)(void *)(window - n % 8), n, UMA_SIGNAL_SET + op % 2, n); break;
  case 4: ask_for_lock(home, n, op); break;
  case 5: ask_for_barrier(home, n, op); break;
  case 6: ask_for_memory(home, n); break;
  case 7: result = uma_remote_free(home, n); break;
  default: result = uma_remote_usage(home, &usage);
  }
  free(local);
  FUZZ_CHECK(result <= 0);
}

static void happens(struct fuzz_input *in)
{
  enum happening what = (enum happening)(*in->at % HAPPENINGS);
  if (what < RECEIVE) {
    h.turn = true;
    uma_mailbox_serve(uma_self.mailbox[FAB_ENGINE]);
    return;
  }
  fuzz_byte(in);
  h.waiting = true;
  switch (what) {
  case RECEIVE:
  case SEND: start(what == SEND, in); break;
  case FINISH: finish(&h.slots[fuzz_byte(in) % SLOTS]); break;
  default: ask(in);
  }
  h.waiting = h.silent = false;
}

/* ---- One input --------------------------------------------------------------------------------------------------- */

static void begin(uint8_t how)
{
  struct uma_config config = {.mode = UMA_MODE_STACKED,
                              .servers = 2,
                              .memory = MEMORY,
                              .cache = 64 * 16,
                              .coherence = how & 1 ? UMA_COHERENCE_LINE : UMA_COHERENCE_NONE};
  struct uma_inheritance from = {.frames_fd = -1, .spool_fd = -1, .lifeline_fd = -1, .lend_fd = -1, .exchange_fd = -1, .net = &net};
  struct uma_shape shape;
  struct uma_board *board;
  FUZZ_CHECK(!uma_config_resolve(&config) && !uma_config_shape(&config, DEVICES, &shape));
  FUZZ_CHECK(!uma_board_create(&shape, &board, &from.board_fd) && !munmap(board, sizeof *board));
  FUZZ_CHECK(!uma_segment_create(&shape, 0, FAR, &from.segment_fd, &from.windows_fd) && !uma_session_attach(&from));
  close(from.board_fd);
  close(from.segment_fd);
  close(from.windows_fd);
  uma_self.joined = true;
  uma_mutex_identify(0, uma_is_lost);
  uma_wait_yields_at_once = true;
  FUZZ_CHECK(!uma_mailboxes_open(&from));
}

/* Of all in this group only device 0 was asked for anything. */
static void check_neighbour(void)
{
  static const unsigned char nothing[MEMORY];
  struct uma_usage usage;
  uma_heap_usage(uma_heap_of(1), &usage);
  FUZZ_CHECK(!usage.used);
  FUZZ_CHECK(!memcmp(uma_self.memory + MEMORY, nothing, MEMORY));
}

void fuzz_mailbox(const uint8_t *bytes, size_t count)
{
  h = (struct harness){.in = {bytes, bytes + count}};
  begin(fuzz_byte(&h.in));
  while (fuzz_more(&h.in)) happens(&h.in);
  FUZZ_CHECK(h.answered == h.asked);
  lose_all();
  for (int c = 0; c < UMA_MAILBOXES; c++) uma_mailbox_serve(uma_self.mailbox[c]);
  for (int i = 0; i < SLOTS; i++) finish(&h.slots[i]);
  check_neighbour();
  for (int c = 0; c < UMA_MAILBOXES; c++) uma_mailbox_close((enum fab_channel)c);
  uma_session_detach();
}
