/* Fuzzing of the coherence engine over two hosts: two devices here, two there, all in one thread, with honest engines on both sides and anything
 * sent in between.
 *
 * The first bytes of an input choose the protocol, the sharers and whether accesses are tracked. Then each byte is something that happens: a
 * message of the input's choice comes to a device of either host, one that an engine has sent is carried to where it belongs, a device reads,
 * writes or evicts. While an access waits, what happens comes out of the input as well; at its end all messages are carried in their order.
 *
 * What must hold: nothing crashes or waits for ever, what is kept until later is bounded; and as long as every message was an engine's own, none is
 * refused, no access fails, and each reads what was written last. */
#include <errno.h>

#include "coherence/engine.h"
#include "tests/fuzz/fuzz.h"

enum { DEVICES = 4, HOSTS = 2, PER_HOST = DEVICES / HOSTS, LINE = 64, LINES = 8, WINDOW = LINE * LINES, WORDS = DEVICES * WINDOW / 8 };
enum { LETTERS_MOST = 256, HANGS = 2000 };

enum happening { MESSAGE_COMES, MESSAGE_COMES_TOO, ANYTHING_COMES, CARRY, CARRY_TOO, RETRY, GET, PUT, ATOMIC, EVICT, FLUSH, HAPPENINGS };

struct letter {
  int device;
  struct coh_message message;
  uint64_t line;
  bool has_data;
  unsigned char data[LINE];
};

static struct harness {
  struct fuzz_input in;
  struct coh_engine *engines[DEVICES];
  struct coh_wire wires[HOSTS];
  struct letter letters[LETTERS_MOST];
  unsigned letter_count;
  bool hostile; /* a message came that no engine had sent */
  unsigned asked;
  uint64_t words[WORDS], value; /* what memory holds */
} h;

static struct region {
  void *memory;
  size_t bytes;
} areas[HOSTS], windows[HOSTS];

/* ---- The wire ---------------------------------------------------------------------------------------------------- */

static void record(const struct letter *letter)
{
  const uint8_t begin[] = {ANYTHING_COMES, (uint8_t)letter->device}, bytes = letter->has_data ? 8 : 0;
  fuzz_record(begin, sizeof begin);
  fuzz_record(&letter->message, sizeof letter->message);
  fuzz_record(&letter->line, sizeof letter->line);
  fuzz_record(&bytes, 1);
  fuzz_record(letter->data, bytes);
}

static int send_letter(void *context, int device, const struct coh_message *message, uint64_t line, const void *data,
                       const struct coh_stamp *stamp)
{
  FUZZ_CHECK(device >= 0 && device < DEVICES && line < DEVICES * LINES);
  FUZZ_CHECK(message->type >= COH_FIRST_MESSAGE && message->type < h.engines[0]->protocol->message_count);
  if (h.letter_count == LETTERS_MOST) {
    FUZZ_CHECK(h.hostile);
    return -EHOSTDOWN;
  }
  struct letter *letter = &h.letters[h.letter_count++];
  *letter = (struct letter){.device = device, .message = *message, .line = line, .has_data = data};
  if (data) memcpy(letter->data, data, LINE);
  record(letter);
  return 0;
}

static void refuse(void *context, int device, uint64_t line)
{
  FUZZ_CHECK(h.hostile);
  coh_refused(h.engines[device], line);
}

static void lose(void *context, int device, uint64_t line)
{
  FUZZ_CHECK(h.hostile);
  coh_lose(h.engines[device], line);
}

static void carry(unsigned place)
{
  if (!h.letter_count) return;
  place %= h.letter_count;
  struct letter letter = h.letters[place];
  memmove(&h.letters[place], &h.letters[place + 1], (--h.letter_count - place) * sizeof letter);
  int result = coh_deliver(h.engines[letter.device], &letter.message, letter.line, letter.has_data ? letter.data : NULL, NULL);
  FUZZ_CHECK(!result || h.hostile);
}

static void retry_all(void)
{
  for (int d = 0; d < DEVICES; d++) coh_retry(h.engines[d]);
}

/* Until every message has come; messages of no engine's making could beget each other for ever. */
static void carry_all(void)
{
  for (unsigned i = 0; h.letter_count && i < LETTERS_MOST * 4; i++) {
    carry(0);
    retry_all();
  }
  FUZZ_CHECK(!h.letter_count || h.hostile);
}

/* ---- Messages of no engine's making ------------------------------------------------------------------------------ */

static void message_comes(struct fuzz_input *in)
{
  uint8_t type = fuzz_byte(in), between = fuzz_byte(in), of = fuzz_byte(in), line = fuzz_byte(in);
  unsigned char data[LINE];
  struct coh_message message = {.type = type % 32,
                                .source = (int16_t)((between & 7) - 1),
                                .target = (int16_t)((between >> 3 & 7) - 1),
                                .requestor = (int16_t)((of & 7) - 1),
                                .acks = (int16_t)((of >> 3 & 7) - 2)};
  bool carries = message.type < h.engines[0]->protocol->message_count && h.engines[0]->protocol->messages[message.type].data;
  memset(data, line, sizeof data);
  h.hostile = true;
  coh_deliver(h.engines[type >> 5 & 3], &message, line & 63, carries != (line >> 7) ? data : NULL, NULL);
}

static void anything_comes(struct fuzz_input *in)
{
  struct coh_message message;
  uint64_t line;
  unsigned char data[LINE];
  int device = fuzz_byte(in) % DEVICES;
  fuzz_take(in, &message, sizeof message);
  fuzz_take(in, &line, sizeof line);
  bool has_data = fuzz_take(in, data, fuzz_byte(in) % (LINE + 1)) > 0;
  h.hostile = true;
  coh_deliver(h.engines[device], &message, line, has_data ? data : NULL, NULL);
}

/* ---- Devices ----------------------------------------------------------------------------------------------------- */

static void happens_outside(enum happening what, struct fuzz_input *in)
{
  switch (what) {
  case MESSAGE_COMES:
  case MESSAGE_COMES_TOO: message_comes(in); break;
  case ANYTHING_COMES: anything_comes(in); break;
  case CARRY:
  case CARRY_TOO: carry(fuzz_byte(in)); break;
  case RETRY: retry_all(); break;
  default: break;
  }
}

static void progress(void *context)
{
  if (fuzz_more(&h.in)) happens_outside((enum happening)(fuzz_byte(&h.in) % HAPPENINGS), &h.in);
  else carry(0);
  retry_all();
}

/* Once nonsense was sent, whoever is waited for for long counts as lost. */
static bool is_lost(int device)
{
  h.asked++;
  FUZZ_CHECK(h.hostile || h.asked < HANGS);
  return h.hostile;
}

/* Nobody else carries messages meanwhile, so nothing may be under way that the access would wait for. */
static void access_line(enum happening how, struct fuzz_input *in)
{
  struct coh_engine *engine = h.engines[fuzz_byte(in) % DEVICES];
  unsigned word = fuzz_byte(in) % WORDS;
  uint64_t value = ++h.value, old = 0;
  int result = 0;
  carry_all();
  h.asked = 0;
  switch (how) {
  case GET: result = coh_get(engine, &old, (uint64_t)word * 8, sizeof old); break;
  case PUT: result = coh_put(engine, (uint64_t)word * 8, &value, sizeof value); break;
  case ATOMIC: result = coh_atomic(engine, FAB_ADD, (uint64_t)word * 8, 8, 1, 0, &old); break;
  case EVICT: result = coh_evict(engine, word / (LINE / 8)); break;
  default: result = coh_flush(engine);
  }
  if (h.hostile) return;
  FUZZ_CHECK(!result);
  if (how == GET || how == ATOMIC) FUZZ_CHECK(old == h.words[word]);
  if (how == PUT) h.words[word] = value;
  if (how == ATOMIC) h.words[word]++;
}

static void happens(enum happening what, struct fuzz_input *in)
{
  if (what >= GET) access_line(what, in);
  else happens_outside(what, in);
}

/* ---- One input --------------------------------------------------------------------------------------------------- */

static const struct coh_protocol *protocol_at(unsigned index)
{
  static struct coh_protocol protocols[8];
  unsigned count = 0;
  while (count < 8 && coh_shipped_name((int)count)) count++;
  struct coh_protocol *protocol = &protocols[index % count];
  if (!protocol->message_count && coh_protocol_load(coh_shipped_name((int)(index % count)), protocol, stderr)) abort();
  return protocol;
}

/* Zeroed memory; the same again when as much is asked for as the last time. */
static void *zeroed(struct region *region, size_t bytes)
{
  if (region->bytes != bytes) {
    free(region->memory);
    *region = (struct region){aligned_alloc(4096, (bytes + 4095) / 4096 * 4096), bytes};
  }
  if (!region->memory) abort();
  return memset(region->memory, 0, bytes);
}

static void open_host(int host, const struct coh_shape *shape, const struct coh_protocol *protocol)
{
  struct coh_area *area = zeroed(&areas[host], coh_area_bytes(shape));
  unsigned char *window = zeroed(&windows[host], (size_t)DEVICES * WINDOW);
  coh_area_format(area, shape, protocol, "");
  h.wires[host] = (struct coh_wire){NULL, host * PER_HOST, PER_HOST, send_letter, refuse, lose, progress};
  for (int d = host * PER_HOST; d < (host + 1) * PER_HOST; d++) {
    if (coh_engine_open(area, d, window, is_lost, -1, &h.engines[d])) abort();
    h.engines[d]->wire = &h.wires[host];
  }
}

void fuzz_coherence(const uint8_t *bytes, size_t count)
{
  static const char *const sharers[] = {"full", "limited", "coarse"};
  h = (struct harness){.in = {bytes, bytes + count}};
  uint8_t which = fuzz_byte(&h.in), how = fuzz_byte(&h.in);
  struct coh_shape shape = {.devices = DEVICES, .window_bytes = WINDOW, .line_bytes = LINE, .sets = 2, .ways = 2, .tracked = how & 0x80};
  strcpy(shape.sharers, sharers[how % 3]);
  for (int host = 0; host < HOSTS; host++) open_host(host, &shape, protocol_at(which));
  while (fuzz_more(&h.in)) happens((enum happening)(fuzz_byte(&h.in) % HAPPENINGS), &h.in);
  carry_all();
  for (int d = 0; d < DEVICES; d++) {
    FUZZ_CHECK(!h.engines[d]->refused || h.hostile);
    FUZZ_CHECK(h.engines[d]->parked_count <= COH_PARKED_MOST);
    coh_engine_close(h.engines[d]);
  }
}
