/* Fuzzing of the coherence engine over hosts, all in one thread, with honest engines on all sides and anything sent in between. Of lines: two devices
 * here, two there. Of pages: four hosts of one device each, because a process has one page table; it holds the windows of all hosts at different addresses.
 *
 * The first bytes of an input choose the protocol, the sharers and whether accesses are tracked. Then each byte is something that happens: a
 * message of the input's choice comes to a device of any host, one that an engine has sent is carried to where it belongs, a device reads,
 * writes or evicts; of pages plainly, after a fault. While an access waits, what happens comes out of the input as well; at its end all
 * messages are carried in their order.
 *
 * What must hold: nothing crashes or waits for ever, what is kept until later is bounded; and as long as every message was an engine's own, none is
 * refused, no access fails, and each reads what was written last. */
#include <errno.h>

#include <sys/mman.h>
#include <unistd.h>

#include "coherence/pages.h"
#include "tests/fuzz/fuzz.h"

enum { DEVICES = 4, HOSTS_MOST = DEVICES, LINE = 64, PAGE = 4096, LINES = 8, WORDS = DEVICES * LINES * (LINE / 8) };
enum { LETTERS_MOST = 256, HANGS = 2000 };

enum happening { MESSAGE_COMES, MESSAGE_COMES_TOO, ANYTHING_COMES, CARRY, CARRY_TOO, RETRY, GET, PUT, ATOMIC, EVICT, FLUSH, HAPPENINGS };

struct letter {
  int device;
  struct coh_message message;
  uint64_t line;
  bool has_data;
  unsigned char data[PAGE];
};

static struct harness {
  struct fuzz_input in;
  int hosts, per_host;
  size_t line_bytes, window_bytes;
  struct coh_engine *engines[DEVICES];
  struct coh_wire wires[HOSTS_MOST];
  unsigned letter_count;
  bool hostile; /* a message came that no engine had sent */
  unsigned asked;
  uint64_t words[WORDS], value; /* what memory holds */
} h;

static struct letter letters[LETTERS_MOST];

static struct region {
  void *memory;
  size_t bytes;
} areas[HOSTS_MOST], windows[HOSTS_MOST];

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

static int send_letter(void *context, int device, const struct coh_message *message, uint64_t line, void *data, enum coh_data_use use,
                       const struct coh_stamp *stamp)
{
  FUZZ_CHECK(device >= 0 && device < DEVICES && line < DEVICES * LINES && use == COH_DATA_STAYS); /* lines are short */
  FUZZ_CHECK(message->type >= COH_FIRST_MESSAGE && message->type < h.engines[0]->protocol->message_count);
  if (h.letter_count == LETTERS_MOST) {
    FUZZ_CHECK(h.hostile);
    return -EHOSTDOWN;
  }
  struct letter *letter = &letters[h.letter_count++];
  letter->device = device;
  letter->message = *message;
  letter->line = line;
  letter->has_data = data;
  if (data) memcpy(letter->data, data, h.line_bytes);
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
  struct letter letter = letters[place];
  memmove(&letters[place], &letters[place + 1], (--h.letter_count - place) * sizeof letter);
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
  unsigned char data[PAGE];
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
  unsigned char data[PAGE] = {0};
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

/* The first words of a page are those of a line. */
static uint64_t offset_of(unsigned word)
{
  return word / (LINE / 8) * h.line_bytes + word % (LINE / 8) * 8;
}

/* As the handler of a page fault, and then the instruction that had faulted. Where anybody may send anything the page may be gone again by then. */
static int access_page(enum happening how, struct coh_engine *engine, uint64_t offset, uint64_t value, uint64_t *old)
{
  volatile uint64_t *place = (volatile uint64_t *)(engine->base + offset);
  int result = coh_pages_fault(engine, offset, how != GET);
  if (result || h.hostile) return result;
  *old = *place;
  if (how == PUT) *place = value;
  if (how == ATOMIC) ++*place;
  return 0;
}

static int access_cache(enum happening how, struct coh_engine *engine, uint64_t offset, uint64_t value, uint64_t *old)
{
  switch (how) {
  case GET: return coh_get(engine, old, offset, sizeof *old);
  case PUT: return coh_put(engine, offset, &value, sizeof value);
  case ATOMIC: return coh_atomic(engine, FAB_ADD, offset, 8, 1, 0, old);
  case EVICT: return coh_evict(engine, offset / h.line_bytes);
  default: return coh_flush(engine);
  }
}

/* Nobody else carries messages meanwhile, so nothing may be under way that the access would wait for. */
static void access_line(enum happening how, struct fuzz_input *in)
{
  uint8_t who = fuzz_byte(in);
  struct coh_engine *engine = h.engines[who % DEVICES];
  unsigned word = fuzz_byte(in) % WORDS;
  uint64_t value = ++h.value, old = 0;
  carry_all();
  h.asked = 0;
  if (engine->pages && who & 0x80) coh_pages_release(engine);
  int result = (engine->pages && how < EVICT ? access_page : access_cache)(how, engine, offset_of(word), value, &old);
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

/* Where the kernel refuses, there is nothing to be tried. */
static void open_pages(int host, struct coh_engine *engine)
{
  static int files[HOSTS_MOST];
  struct coh_page_config config = {.budget = COH_BUDGET_LEAST, .prefetch = 4};
  if (!files[host]) files[host] = memfd_create("frames", MFD_CLOEXEC);
  config.frames_fd = files[host];
  FUZZ_CHECK(!ftruncate(files[host], 0) && !ftruncate(files[host], (off_t)coh_pages_file_bytes(&engine->shape)));
  if (!coh_pages_open(engine, &config)) return;
  fprintf(stderr, "pages cannot be cached here\n");
  exit(0);
}

/* The addresses of a host's windows. */
static uintptr_t base_of(int host)
{
  static unsigned char *bases[HOSTS_MOST];
  if (!bases[host]) bases[host] = mmap(NULL, DEVICES * h.window_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  FUZZ_CHECK(bases[host] != MAP_FAILED);
  return (uintptr_t)bases[host];
}

static void open_host(int host, struct coh_shape *shape, const struct coh_protocol *protocol)
{
  if (shape->paged) shape->base = base_of(host);
  struct coh_area *area = zeroed(&areas[host], coh_area_bytes(shape));
  unsigned char *window = zeroed(&windows[host], DEVICES * h.window_bytes);
  coh_area_format(area, shape, protocol, "");
  h.wires[host] = (struct coh_wire){NULL, host * h.per_host, h.per_host, send_letter, refuse, lose, progress};
  for (int d = host * h.per_host; d < (host + 1) * h.per_host; d++) {
    if (coh_engine_open(area, d, window, is_lost, -1, &h.engines[d])) abort();
    h.engines[d]->wire = &h.wires[host];
    if (shape->paged) open_pages(host, h.engines[d]);
  }
}

static void close_device(int device)
{
  struct coh_engine *engine = h.engines[device];
  FUZZ_CHECK(!engine->refused || h.hostile);
  FUZZ_CHECK(engine->parked_count <= COH_PARKED_MOST);
  if (engine->pages) coh_pages_close(engine);
  coh_engine_close(engine);
}

static void run(const uint8_t *bytes, size_t count, bool paged)
{
  static const char *const sharers[] = {"full", "limited", "coarse"};
  h = (struct harness){.in = {bytes, bytes + count}, .hosts = paged ? HOSTS_MOST : 2, .line_bytes = paged ? PAGE : LINE};
  h.per_host = DEVICES / h.hosts;
  h.window_bytes = LINES * h.line_bytes;
  uint8_t which = fuzz_byte(&h.in), how = fuzz_byte(&h.in);
  struct coh_shape shape = {.devices = DEVICES,
                            .window_bytes = h.window_bytes,
                            .line_bytes = h.line_bytes,
                            .paged = paged,
                            .sets = paged ? DEVICES * LINES : 2,
                            .ways = paged ? 1 : 2,
                            .tracked = how & 0x80};
  strcpy(shape.sharers, sharers[how % 3]);
  for (int host = 0; host < h.hosts; host++) open_host(host, &shape, protocol_at(which));
  while (fuzz_more(&h.in)) happens((enum happening)(fuzz_byte(&h.in) % HAPPENINGS), &h.in);
  carry_all();
  for (int d = 0; d < DEVICES; d++) close_device(d);
}

void fuzz_coherence(const uint8_t *bytes, size_t count)
{
  run(bytes, count, false);
}

void fuzz_pages(const uint8_t *bytes, size_t count)
{
  run(bytes, count, true);
}
