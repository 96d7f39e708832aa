/* Lab 2: Load/store or copy.
 *
 * What is counted is exact: accesses, misses and upgrades by the caches, messages by the functions of this file that stand in front of the
 * library's. What is a time is these counts, times the constants of the student's machine: no clock is read. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "page.h"
#include "wall.h"

enum { LINE = 64, MOST_WORDS = 8192, SIZES = 14, LEAST_BYTES = 8, STAGES = 3, SEEN = 11 };

/* The machine that is modelled: nobody's product, but of the right size for boards in one cabinet. A miss: a line is asked for and comes; one at a time. A
 * message: its sender's and its receiver's software. Its bytes are copied into a bounce buffer, carried, and copied out: STAGES times. */
struct model {
  double miss_ns, message_ns, bytes_per_ns;
};

struct functions {
  uint64_t (*ping_by_load_store)(const struct court *, int, uint64_t);
  uint64_t (*ping_by_message)(int, uint64_t);
  void (*stream_by_load_store)(const uint64_t *, uint64_t *, size_t);
  void (*stream_by_message)(const uint64_t *, uint64_t *, size_t, size_t);
};

struct counts {
  uint64_t loads, stores, misses, upgrades, messages, bytes;
};

/* Shared with the devices. */
struct run {
  struct functions f;
  int rounds;
  uint64_t spin, caught[2], seed;
  size_t chunk, words[SIZES];
  struct counts counts[SIZES];
  int wrong[SIZES]; /* words that did not come, or came wrong */
  int size_count;
  size_t first_wrong[SIZES];
};

/* ---- Counting messages: the student's calls come here first ---------------------------------------------------------- */

static struct counts *counting; /* in the shared run, while the student's function runs */

static void count_message(size_t bytes)
{
  if (!counting) return;
  __atomic_fetch_add(&counting->messages, 1, __ATOMIC_RELAXED);
  __atomic_fetch_add(&counting->bytes, bytes, __ATOMIC_RELAXED);
}

int uma_send(int device, int tag, const void *buffer, size_t bytes)
{
  int (*send)(int, int, const void *, size_t) = dlsym(RTLD_NEXT, "uma_send");
  count_message(bytes);
  return send(device, tag, buffer, bytes);
}

int uma_isend(int device, int tag, const void *buffer, size_t bytes, struct uma_request **request)
{
  int (*send)(int, int, const void *, size_t, struct uma_request **) = dlsym(RTLD_NEXT, "uma_isend");
  count_message(bytes);
  return send(device, tag, buffer, bytes, request);
}

/* ---- The task ---------------------------------------------------------------------------------------------------- */

static struct model model_of(struct lab *lab)
{
  return (struct model){(double)(100 * lab_number(lab, "miss", 3, 9)), (double)(500 * lab_number(lab, "message", 4, 16)),
                        (double)(4 * lab_number(lab, "bytes", 2, 6))};
}

static size_t chunk_of(struct lab *lab)
{
  return (size_t)2048 << lab_number(lab, "chunk", 0, 2);
}

static void task(struct lab *lab)
{
  struct model model = model_of(lab);
  lab_say(lab, "  your ping-pong: %ld rounds, spin %ld; your messages: chunks of %zu bytes", lab_number(lab, "rounds", 20, 60),
          lab_number(lab, "spin", 100, 999), chunk_of(lab));
  lab_say(lab, "  your machine: a miss or an upgrade %.0f ns; a message %.0f ns, and %d times its bytes at %.0f bytes a ns", model.miss_ns,
          model.message_ns, STAGES, model.bytes_per_ns);
}

static struct run *make_run(struct lab *lab)
{
  struct run *run = lab_shared(lab, sizeof *run);
  run->f = (struct functions){lab_function(lab, "ping_by_load_store"), lab_function(lab, "ping_by_message"),
                              lab_function(lab, "stream_by_load_store"), lab_function(lab, "stream_by_message")};
  run->rounds = (int)lab_number(lab, "rounds", 20, 60), run->spin = (uint64_t)lab_number(lab, "spin", 100, 999);
  run->chunk = chunk_of(lab), run->seed = lab_seed(lab, "words");
  run->size_count = SIZES;
  for (int s = 0; s < SIZES; s++) run->words[s] = (size_t)1 << s;
  run->words[SEEN + 1] = run->chunk / 8 + 3, run->words[SEEN + 2] = 2 * (run->chunk / 8) + 1; /* with a tail */
  return run;
}

/* ---- On the devices ---------------------------------------------------------------------------------------------- */

static uint64_t misses_of(const struct uma_counters *counters)
{
  return counters->misses_cold + counters->misses_capacity + counters->misses_conflict + counters->misses_true_sharing +
         counters->misses_false_sharing;
}

/* What both devices have counted since `before`, into the place for it. Called by both, between barriers. */
static void add_counters(struct counts *counts, const struct uma_counters *before)
{
  struct uma_counters now = {0};
  uma_counters(uma_device(), &now);
  uint64_t misses = misses_of(&now) - misses_of(before);
  __atomic_fetch_add(&counts->loads, now.loads - before->loads, __ATOMIC_RELAXED);
  __atomic_fetch_add(&counts->stores, now.stores - before->stores, __ATOMIC_RELAXED);
  __atomic_fetch_add(&counts->misses, misses, __ATOMIC_RELAXED);
  __atomic_fetch_add(&counts->upgrades, now.upgrades - before->upgrades, __ATOMIC_RELAXED);
  counting = NULL;
  uma_barrier();
}

static void begin(struct counts *counts, struct uma_counters *before)
{
  uma_barrier();
  uma_counters(uma_device(), before);
  uma_barrier();
  counting = counts;
}

static void end(struct counts *counts, const struct uma_counters *before)
{
  uma_barrier();
  add_counters(counts, before);
}

static int ping_load_store_on_device(void *argument)
{
  struct run *run = argument;
  struct uma_counters before = {0};
  uint64_t *block = uma_alloc_symmetric(2 * LINE);
  if (!block) return 1;
  block = (uint64_t *)(((uintptr_t)block + LINE - 1) / LINE * LINE);
  struct court court = {uma_symmetric(block, 1), uma_symmetric(block, 0)};
  uma_st(uma_device() ? court.from_1 : court.from_0, 0);
  uma_barrier();
  uma_ld(court.from_0), uma_ld(court.from_1); /* both have both lines, for reading */
  begin(&run->counts[0], &before);
  run->caught[uma_device()] = run->f.ping_by_load_store(&court, run->rounds, run->spin);
  end(&run->counts[0], &before);
  return 0;
}

static int ping_message_on_device(void *argument)
{
  struct run *run = argument;
  struct uma_counters before = {0};
  begin(&run->counts[0], &before);
  run->caught[uma_device()] = run->f.ping_by_message(run->rounds, run->spin);
  end(&run->counts[0], &before);
  return 0;
}

static uint64_t word_at(const struct run *run, int size, size_t i)
{
  uint64_t seed = run->seed + (uint64_t)size * MOST_WORDS + i;
  return lab_draw(&seed) | 1;
}

static void compare(struct run *run, int size, const uint64_t *dst)
{
  for (size_t i = run->words[size]; i-- > 0;)
    if (dst[i] != word_at(run, size, i)) run->wrong[size]++, run->first_wrong[size] = i;
}

/* Each size has lines of its own, which nobody's cache holds. */
static int stream_load_store_on_device(void *argument)
{
  static uint64_t dst[MOST_WORDS + 8], values[MOST_WORDS];
  struct run *run = argument;
  struct uma_counters before = {0};
  for (int s = 0; s < run->size_count; s++) {
    size_t bytes = run->words[s] * sizeof(uint64_t);
    uint64_t *src = uma_alloc_symmetric(bytes + LINE);
    if (!src) return 1;
    src = (uint64_t *)(((uintptr_t)uma_symmetric(src, 0) + LINE - 1) / LINE * LINE);
    for (size_t i = 0; i < run->words[s]; i++) values[i] = word_at(run, s, i);
    if (!uma_device()) uma_put(src, values, bytes);
    memset(dst, 0, sizeof dst);
    uma_flush();
    begin(&run->counts[s], &before);
    run->f.stream_by_load_store(src, uma_device() ? dst : NULL, run->words[s]);
    end(&run->counts[s], &before);
    if (uma_device()) compare(run, s, dst);
  }
  return uma_barrier();
}

static int stream_message_on_device(void *argument)
{
  static uint64_t dst[MOST_WORDS + 8], src[MOST_WORDS];
  struct run *run = argument;
  struct uma_counters before = {0};
  for (int s = 0; s < run->size_count; s++) {
    for (size_t i = 0; i < run->words[s]; i++) src[i] = word_at(run, s, i);
    memset(dst, 0, sizeof dst);
    begin(&run->counts[s], &before);
    run->f.stream_by_message(uma_device() ? NULL : src, uma_device() ? dst : NULL, run->words[s], run->chunk);
    end(&run->counts[s], &before);
    if (uma_device()) compare(run, s, dst);
  }
  return uma_barrier();
}

/* The caches count in sessions that are traced; the trace itself is of no interest. */
static void run_on_devices(struct lab *lab, struct run *run, int (*function)(void *))
{
  struct uma_config config = {.coherence = UMA_COHERENCE_LINE, .line = LINE, .memory = 64 << 20, .trace = "/dev/null"};
  devices_run(lab, &config, 2, function, run);
}

/* ---- Ping-pong --------------------------------------------------------------------------------------------------- */

static bool check_caught(struct lab *lab, const struct run *run, int points)
{
  uint64_t n = (uint64_t)run->rounds, thrown = n * (n + 1) / 2, back = thrown + n * run->spin;
  return lab_check(lab, points, run->caught[0] == back && run->caught[1] == thrown, "the sums of what was caught",
                   "device 0 caught %lu, expected %lu; device 1 caught %lu, expected %lu. Does each wait until the other has thrown?",
                   run->caught[0], back, run->caught[1], thrown);
}

static void grade_ping_load_store(struct lab *lab)
{
  struct run *run = make_run(lab);
  const struct counts *c = &run->counts[0];
  uint64_t throws = 2 * (uint64_t)run->rounds;
  run_on_devices(lab, run, ping_load_store_on_device);
  if (!check_caught(lab, run, 6)) lab_stop(lab, "counted when it is right");
  bool stores = lab_check(lab, 6, c->stores == throws, "one store a throw", "%lu stores for %lu throws", c->stores, throws);
  if (!stores && c->stores == 2 * throws)
    lab_mistake(lab, "two-stores",
                "Each throw stores twice. A word that changes is its own flag: the number itself tells that it has come.");
  lab_check(lab, 8, c->misses == throws && c->upgrades == throws && !c->messages, "a miss and an upgrade a throw, no message",
            "%lu misses, %lu upgrades and %lu messages for %lu throws", c->misses, c->upgrades, c->messages, throws);
}

static void grade_ping_message(struct lab *lab)
{
  struct run *run = make_run(lab);
  const struct counts *c = &run->counts[0];
  uint64_t throws = 2 * (uint64_t)run->rounds;
  run_on_devices(lab, run, ping_message_on_device);
  if (!check_caught(lab, run, 5)) lab_stop(lab, "counted when it is right");
  lab_check(lab, 10, c->messages == throws && c->bytes == 8 * throws, "one message of 8 bytes a throw",
            "%lu messages of %lu bytes together for %lu throws", c->messages, c->bytes, throws);
  if (c->messages == 2 * throws)
    lab_mistake(
        lab, "acks",
        "Each message is answered by one that says that it has come. The throw back says that already, and messages do not get lost.");
}

/* ---- Streaming --------------------------------------------------------------------------------------------------- */

static bool check_words(struct lab *lab, const struct run *run, int points)
{
  int bad = -1;
  for (int s = run->size_count - 1; s >= 0; s--)
    if (run->wrong[s]) bad = s;
  return lab_check(lab, points, bad < 0, "the words that were sent came", "of %zu words %d are wrong, the first is word %zu",
                   bad < 0 ? 0 : run->words[bad], bad < 0 ? 0 : run->wrong[bad], bad < 0 ? 0 : run->first_wrong[bad]);
}

static void grade_stream_load_store(struct lab *lab)
{
  struct run *run = make_run(lab);
  int loads = -1, misses = -1;
  run_on_devices(lab, run, stream_load_store_on_device);
  if (!check_words(lab, run, 8)) lab_stop(lab, "counted when it is right");
  for (int s = run->size_count - 1; s >= 0; s--) {
    const struct counts *c = &run->counts[s];
    if (c->loads != run->words[s] || c->stores || c->messages) loads = s;
    if (c->misses != (run->words[s] + 7) / 8) misses = s;
  }
  const struct counts *c = &run->counts[loads < 0 ? 0 : loads], *m = &run->counts[misses < 0 ? 0 : misses];
  lab_check(lab, 6, loads < 0, "one load a word", "for %zu words: %lu loads, %lu stores, %lu messages", run->words[loads < 0 ? 0 : loads],
            c->loads, c->stores, c->messages);
  if (loads >= 0 && !c->messages && c->loads > run->words[loads])
    lab_mistake(lab, "loads-twice",
                "Words are loaded more than once, or in pieces: keep what a load gave you, and load 8 bytes at a time.");
  if (loads >= 0 && c->loads < run->words[loads])
    lab_mistake(lab, "bulk",
                "There are fewer loads than words: that is a copy (uma_get, uma_copy), or a message. Here each word is loaded by uma_ld.");
  lab_check(lab, 6, misses < 0, "one miss a line", "for %zu words: %lu misses", run->words[misses < 0 ? 0 : misses], m->misses);
}

static void grade_stream_message(struct lab *lab)
{
  struct run *run = make_run(lab);
  int messages = -1, bytes = -1;
  bool tails = true;
  run_on_devices(lab, run, stream_message_on_device);
  for (int s = 0; s < run->size_count; s++) tails &= !run->wrong[s] == (run->words[s] * 8 % run->chunk == 0);
  if (!check_words(lab, run, 8)) {
    if (tails) lab_mistake(lab, "tail", "Whole chunks come, what is left over does not: the last message is shorter than the others.");
    lab_stop(lab, "counted when it is right");
  }
  for (int s = run->size_count - 1; s >= 0; s--) {
    const struct counts *c = &run->counts[s];
    if (c->messages != (run->words[s] * 8 + run->chunk - 1) / run->chunk) messages = s;
    if (c->bytes != run->words[s] * 8 || c->loads || c->stores) bytes = s;
  }
  const struct counts *m = &run->counts[messages < 0 ? 0 : messages], *b = &run->counts[bytes < 0 ? 0 : bytes];
  size_t words = run->words[messages < 0 ? 0 : messages];
  lab_check(lab, 6, messages < 0, "one message a chunk", "for %zu words in chunks of %zu bytes: %lu messages", words, run->chunk,
            m->messages);
  if (messages >= 0 && m->messages == words && words > 1)
    lab_mistake(lab, "word-at-a-time", "A message for each word: each costs as much as some thousand bytes. Send chunks.");
  else if (messages >= 0 && m->messages > 1)
    lab_mistake(lab, "extra-messages",
                "There are more messages than chunks. Nobody has to be told the size, which both know, nor that a chunk has come.");
  lab_check(lab, 6, bytes < 0, "no more bytes than there are, no device memory", "for %zu words: %lu bytes, %lu loads, %lu stores",
            run->words[bytes < 0 ? 0 : bytes], b->bytes, b->loads, b->stores);
}

/* ---- Claims ------------------------------------------------------------------------------------------------------ */

static double load_store_ns(const struct model *model, double misses)
{
  return misses * model->miss_ns;
}

static double message_ns(const struct model *model, double messages, double bytes)
{
  return messages * model->message_ns + STAGES * bytes / model->bytes_per_ns;
}

/* The smallest power of two at which messages are faster, with a miss for each `grain` bytes. */
static double crossover(const struct model *model, size_t chunk, double grain)
{
  for (double bytes = LEAST_BYTES;; bytes *= 2) {
    double messages = (double)(((size_t)bytes + chunk - 1) / chunk), misses = bytes < grain ? 1 : bytes / grain;
    if (message_ns(model, messages, bytes) < load_store_ns(model, misses)) return bytes;
  }
}

static double read_claim(struct lab *lab, const char *text, const char *name)
{
  size_t length = strlen(name);
  double value;
  for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
    if (!strncmp(line, name, length) && sscanf(line + length, "%lf", &value) == 1) return value;
  lab_stop(lab, "claims.txt: expected a line \"%s NUMBER\"", name);
}

static bool is_near(double claimed, double right)
{
  return claimed > right * 0.98 && claimed < right * 1.02;
}

static void draw_wall(struct lab *lab, const struct model *model)
{
  struct run *loads = make_run(lab), *messages = make_run(lab);
  double x[SEEN + 1], y[2][SEEN + 1];
  loads->size_count = messages->size_count = SEEN + 1;
  run_on_devices(lab, loads, stream_load_store_on_device);
  run_on_devices(lab, messages, stream_message_on_device);
  for (int s = 0; s <= SEEN; s++) {
    x[s] = (double)loads->words[s] * 8;
    y[0][s] = load_store_ns(model, (double)loads->counts[s].misses);
    y[1][s] = message_ns(model, (double)messages->counts[s].messages, (double)messages->counts[s].bytes);
    if (y[0][s] <= 0 || y[1][s] <= 0) return; /* nothing was moved: there is nothing to see */
  }
  FILE *out = lab_picture(lab, "wall.html", "your counts, times the constants of your machine");
  page_begin(out, "The communication wall",
             "Modelled: what your functions did (misses, messages, bytes, exactly counted), times the constants of your machine. Below the "
             "crossing loads win, above it messages do.");
  struct page_curve curves[2] = {{"load/store", SEEN + 1, x, y[0]}, {"message", SEEN + 1, x, y[1]}};
  page_plot(out, &(struct page_plot){.title = "Time to stream so many bytes, by loads and by messages",
                                     .x_label = "bytes",
                                     .y_label = "ns",
                                     .x_log = true,
                                     .y_log = true,
                                     .curve_count = 2,
                                     .curves = curves});
  page_end(out);
}

static void grade_claims(struct lab *lab)
{
  struct model model = model_of(lab);
  char *text = lab_read(lab, "claims.txt");
  double by_load = read_claim(lab, text, "ping_load_store_ns"), by_message = read_claim(lab, text, "ping_message_ns");
  double size = read_claim(lab, text, "crossover_bytes"), right = crossover(&model, chunk_of(lab), LINE);
  double ping = load_store_ns(&model, 4), pong = message_ns(&model, 2, 16);
  lab_check(lab, 5, is_near(by_load, ping), "claim: a round of ping-pong by load and store",
            "you claim %.0f ns; how many misses and upgrades has a round, and what does each cost on your machine?", by_load);
  if (is_near(by_load, ping / 2))
    lab_mistake(lab, "upgrades",
                "Half of a round's cost is missing: a store into a line that the other has read must take it away first (an upgrade), and "
                "the other misses then. That is twice for each throw.");
  lab_check(lab, 5, is_near(by_message, pong), "claim: a round of ping-pong by messages",
            "you claim %.0f ns; how many messages has a round, and what does each cost?", by_message);
  if (!lab_check(lab, 15, size >= right / 2 && size <= right * 2, "claim: from which size on messages are faster, within one step",
                 "you claim %.0f bytes; set the times of both ways equal", size)) {
    double by_word = crossover(&model, chunk_of(lab), sizeof(uint64_t));
    if (size >= by_word / 2 && size <= by_word * 2)
      lab_mistake(lab, "per-word",
                  "It fits a machine that misses once a word. Here eight words come with one miss: the others of the line hit.");
  }
  free(text);
  draw_wall(lab, &model);
}

const struct lab_plan lab_plan = {
    .number = 2,
    .title = "Load/store or copy",
    .task = task,
    .groups = {{"ping-pong by load/store", 20, grade_ping_load_store, 0},
               {"ping-pong by message", 15, grade_ping_message, 0},
               {"streaming by load/store", 20, grade_stream_load_store, 0},
               {"streaming by message", 20, grade_stream_message, 0},
               {"claims", 25, grade_claims, 20}},
};
