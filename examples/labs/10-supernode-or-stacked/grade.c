/* Lab 10: Supernode or stacked.
 *
 * Requests come to the devices in turn, in the same order in every run, so hits and bytes are exact. The oracle is a simulation of the same
 * requests: of the pool as the handout asks for it, and of stacked servers, each with a cache of its own. */
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "page.h"
#include "pool.h"

enum {
  DEVICES = 4,
  REQUESTS = 320,
  LENGTH = 8,
  SIZES = 5,
  MOST_PLACES = 96,
  MOST_MOVES = 8192,
  SHOWN_US = 1600,
  BLOCK_WORDS = BLOCK_BYTES / 8
};

/* The modelled machine of the timeline, in microseconds: a block from this device's memory, from another's, and computed anew. Orders of
 * magnitude for a block of some dozen tokens; what matters is that they lie far apart. */
enum { NEAR_US = 2, FAR_US = 6, COMPUTE_US = 60 };

static const int sizes[SIZES] = {6, 12, 24, 48, 96};

enum kind { READ, WRITE, COMPUTE };

struct move {
  uint8_t kind, device, home;
  uint64_t key;
};

/* Shared with the devices. */
struct run {
  struct turns turns;
  void *(*create)(int, int);
  bool (*lookup)(void *, uint64_t, void *);
  void (*insert)(void *, uint64_t, const void *);
  void *pool;
  int places, move_count;
  uint64_t keys[REQUESTS][LENGTH];
  uint64_t held[DEVICES][MOST_PLACES]; /* the key that each place holds, as written */
  uint64_t hits, wrong_blocks, reads, far_bytes, no_place, twice, unwritten, first_home[DEVICES];
  struct move moves[MOST_MOVES];
};

static struct run *run;       /* of this process: the machine's functions have no other argument */
static unsigned char *blocks; /* this device's places */

/* ---- The task ---------------------------------------------------------------------------------------------------- */

static bool is_fifo(struct lab *lab)
{
  return lab_number(lab, "policy", 0, 1);
}

static void task(struct lab *lab)
{
  lab_say(lab, "  your number: when no place is free, the block goes that was %s",
          is_fifo(lab) ? "inserted first, however often it was used (FIFO)" : "least recently used (LRU)");
}

/* Conversations: a system prompt that many share, then turns that few share. */
static void draw_requests(struct lab *lab, struct run *to)
{
  uint64_t seed = lab_seed(lab, "requests"), prompts = (uint64_t)lab_number(lab, "prompts", 9, 14), users = 40;
  for (int r = 0; r < REQUESTS; r++) {
    uint64_t a = lab_draw(&seed) % prompts, b = lab_draw(&seed) % prompts, prompt = a < b ? a : b, user = lab_draw(&seed) % users;
    int shared = 3 + (int)(prompt % 4);
    for (int i = 0; i < LENGTH; i++)
      to->keys[r][i] = i < shared ? 1 + prompt * LENGTH + (uint64_t)i : 1000 + (prompt * users + user) * LENGTH + (uint64_t)i;
  }
}

static struct run *make_run(struct lab *lab, int places)
{
  struct run *made = lab_shared(lab, sizeof *made);
  made->create = lab_function(lab, "pool_create"), made->lookup = lab_function(lab, "pool_lookup");
  made->insert = lab_function(lab, "pool_insert");
  made->places = places;
  turns_init(&made->turns, DEVICES);
  draw_requests(lab, made);
  return made;
}

/* ---- The machine ------------------------------------------------------------------------------------------------- */

static void fill(uint64_t key, uint64_t block[BLOCK_WORDS])
{
  uint64_t seed = key;
  block[0] = key;
  for (int w = 1; w < BLOCK_WORDS; w++) block[w] = lab_draw(&seed);
}

static bool is_place(int device, int place)
{
  bool is = device >= 0 && device < DEVICES && place >= 0 && place < run->places;
  run->no_place += !is;
  return is;
}

static void note(enum kind kind, int home, uint64_t key)
{
  if (kind != COMPUTE && home != uma_device()) run->far_bytes += BLOCK_BYTES;
  if (run->move_count < MOST_MOVES) run->moves[run->move_count++] = (struct move){(uint8_t)kind, (uint8_t)uma_device(), (uint8_t)home, key};
}

static unsigned char *place_of(int device, int place)
{
  return (unsigned char *)uma_symmetric(blocks, device) + (size_t)place * BLOCK_BYTES;
}

void block_read(int device, int place, void *block)
{
  if (!is_place(device, place)) return;
  run->reads++;
  run->unwritten += !run->held[device][place];
  note(READ, device, run->held[device][place]);
  uma_get(block, place_of(device, place), BLOCK_BYTES);
}

void block_write(int device, int place, const void *block)
{
  uint64_t key = *(const uint64_t *)block;
  if (!is_place(device, place)) return;
  for (int d = 0; d < DEVICES; d++)
    for (int p = 0; p < run->places; p++) run->twice += run->held[d][p] == key && (d != device || p != place);
  if (!run->held[device][place]) run->first_home[device]++;
  run->held[device][place] = key;
  note(WRITE, device, key);
  uma_put(place_of(device, place), block, BLOCK_BYTES);
}

static void serve(uint64_t key)
{
  static uint64_t block[BLOCK_WORDS], right[BLOCK_WORDS];
  fill(key, right);
  memset(block, 0, sizeof block);
  if (run->lookup(run->pool, key, block)) {
    run->hits++;
    run->wrong_blocks += memcmp(block, right, sizeof block) != 0;
    return;
  }
  note(COMPUTE, uma_device(), key);
  run->insert(run->pool, key, right);
}

static int on_device(void *argument)
{
  run = argument;
  blocks = uma_alloc_symmetric((size_t)run->places * BLOCK_BYTES);
  if (!blocks) return 1;
  if (!uma_device()) run->pool = run->create(DEVICES, run->places);
  uma_barrier();
  if (!run->pool) return 1;
  for (int r = uma_device(); r < REQUESTS; r += DEVICES) {
    turns_await(&run->turns);
    for (int i = 0; i < LENGTH; i++) serve(run->keys[r][i]);
    turns_pass(&run->turns);
  }
  return uma_barrier();
}

static struct run *run_pool(struct lab *lab, int places)
{
  struct run *made = make_run(lab, places);
  struct uma_config config = {.memory = 16 << 20};
  devices_run(lab, &config, DEVICES, on_device, made);
  return made;
}

/* ---- The oracle -------------------------------------------------------------------------------------------------- */

struct oracle {
  uint64_t hits, far_bytes;
  int move_count;
  struct move moves[MOST_MOVES];
};

struct slot {
  uint64_t key, when;
};

/* Where a new block goes: a free place of this device, else of the lowest that has one, else the oldest. Places in [first, end). */
static int choose(const struct slot *slots, int first, int end, int own, int places)
{
  int oldest = first;
  for (int s = own; s < own + places; s++)
    if (!slots[s].key) return s;
  for (int s = first; s < end; s++) {
    if (!slots[s].key) return s;
    if (slots[s].when < slots[oldest].when) oldest = s;
  }
  return oldest;
}

static void oracle_move(struct oracle *oracle, enum kind kind, int device, int home, uint64_t key)
{
  if (kind != COMPUTE && device != home) oracle->far_bytes += BLOCK_BYTES;
  if (oracle->move_count < MOST_MOVES)
    oracle->moves[oracle->move_count++] = (struct move){(uint8_t)kind, (uint8_t)device, (uint8_t)home, key};
}

/* Pooled: all places are one cache. Stacked: each device has its own. */
static void ask_oracle(const struct run *requests, int places, bool fifo, bool pooled, struct oracle *oracle)
{
  static struct slot slots[DEVICES * MOST_PLACES];
  uint64_t clock = 0;
  memset(slots, 0, sizeof slots), memset(oracle, 0, sizeof *oracle);
  for (int n = 0; n < REQUESTS * LENGTH; n++) {
    int device = n / LENGTH % DEVICES, own = device * places, first = pooled ? 0 : own, end = pooled ? DEVICES * places : own + places;
    uint64_t key = requests->keys[n / LENGTH][n % LENGTH];
    int s = first;
    while (s < end && slots[s].key != key) s++;
    if (s < end) {
      oracle->hits++;
      if (!fifo) slots[s].when = ++clock;
      oracle_move(oracle, READ, device, s / places, key);
      continue;
    }
    s = choose(slots, first, end, own, places);
    slots[s] = (struct slot){key, ++clock};
    oracle_move(oracle, COMPUTE, device, device, key);
    oracle_move(oracle, WRITE, device, s / places, key);
  }
}

/* ---- Pictures ---------------------------------------------------------------------------------------------------- */

static void draw_rates(struct lab *lab, const double hits[SIZES])
{
  static struct oracle pooled, stacked;
  struct run *requests = make_run(lab, sizes[0]);
  double x[SIZES], y[3][SIZES];
  bool differs = false;
  for (int s = 0; s < SIZES; s++) {
    ask_oracle(requests, sizes[s], is_fifo(lab), true, &pooled), ask_oracle(requests, sizes[s], is_fifo(lab), false, &stacked);
    x[s] = sizes[s];
    y[0][s] = 100.0 * (double)stacked.hits / (REQUESTS * LENGTH), y[2][s] = 100.0 * (double)pooled.hits / (REQUESTS * LENGTH);
    y[1][s] = 100.0 * hits[s] / (REQUESTS * LENGTH);
    differs |= hits[s] != (double)pooled.hits;
  }
  FILE *out = lab_picture(lab, "hits.html", "hit rate against capacity");
  page_begin(out, "Hit rate against capacity",
             "The same requests, the same memory for each device: kept by each for itself (stacked), or by all together (pooled). Exactly "
             "counted.");
  struct page_curve curves[3] = {{"stacked", SIZES, x, y[0]}, {"yours", SIZES, x, y[1]}, {"pool of the oracle", SIZES, x, y[2]}};
  page_plot(out, &(struct page_plot){.title = "How many of the blocks were found",
                                     .x_label = "places of each device",
                                     .y_label = "percent",
                                     .x_log = true,
                                     .curve_count = differs ? 3 : 2,
                                     .curves = curves});
  page_end(out);
}

static int duration_us(const struct move *move)
{
  return move->kind == COMPUTE ? COMPUTE_US : move->device == move->home ? NEAR_US : FAR_US;
}

static void draw_move(FILE *out, const struct move *move, int begin_us)
{
  static const char *const verbs[] = {"reads", "writes", "computes"};
  double scale = 900.0 / SHOWN_US, width = duration_us(move) * scale;
  bool far = move->home != move->device && move->kind != COMPUTE;
  fprintf(out, "<rect class=\"item\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"36\" fill=\"%s\" data-say=\"%d us: device %d %s block %lu",
          100 + begin_us * scale, 10 + move->device * 46, width < 1.5 ? 1.5 : width,
          move->kind == COMPUTE ? "#c5ccd6" : page_colour(far ? 5 : 0), begin_us, move->device, verbs[move->kind], move->key);
  if (move->kind != COMPUTE) fprintf(out, ", at device %d", move->home);
  fputs("\"/>\n", out);
}

/* A lane for each device, all beginning at 0; each device does one thing after the other. Returns when the last one has done all. */
static int draw_lanes(FILE *out, const struct move *moves, int count)
{
  int now_us[DEVICES] = {0}, last_us = 0;
  fprintf(out, "<svg viewBox=\"0 0 1040 %d\" width=\"1040\">\n", 20 + DEVICES * 46);
  for (int d = 0; d < DEVICES; d++) fprintf(out, "<text x=\"0\" y=\"%d\">device %d</text>\n", 33 + d * 46, d);
  for (int m = 0; m < count; m++) {
    int begin = now_us[moves[m].device];
    now_us[moves[m].device] += duration_us(&moves[m]);
    if (begin + duration_us(&moves[m]) <= SHOWN_US) draw_move(out, &moves[m], begin);
  }
  fputs("</svg>\n", out);
  for (int d = 0; d < DEVICES; d++)
    if (now_us[d] > last_us) last_us = now_us[d];
  return last_us;
}

/* From the middle on, when the caches are full. */
static void draw_timeline(struct lab *lab, const struct run *mine)
{
  static struct oracle stacked;
  char text[160];
  ask_oracle(mine, mine->places, is_fifo(lab), false, &stacked);
  FILE *out = lab_picture(lab, "timeline.html", "who moves which block when, yours and stacked");
  snprintf(text, sizeof text,
           "Modelled: a block from this device's memory takes %d us (blue), from another's %d us (red), computing it anew %d us (grey).",
           NEAR_US, FAR_US, COMPUTE_US);
  page_begin(out, "Timeline of transfers", text);
  page_heading(out, "Your pool");
  int half = mine->move_count / 2, mine_us = draw_lanes(out, mine->moves + half, mine->move_count - half);
  page_heading(out, "Stacked: each device for itself");
  half = stacked.move_count / 2;
  int stacked_us = draw_lanes(out, stacked.moves + half, stacked.move_count - half);
  fprintf(out, "<p>For the second half of all requests yours takes %.1f ms, stacked %.1f ms (modelled; %d places of each device).</p>\n",
          mine_us / 1e3, stacked_us / 1e3, mine->places);
  page_end(out);
}

/* ---- Judging ----------------------------------------------------------------------------------------------------- */

static void grade_results(struct lab *lab)
{
  const struct run *mine = run_pool(lab, sizes[2]);
  bool any = mine->hits && !mine->wrong_blocks;
  lab_check(lab, 10, any, "blocks that are found are the right ones", "%lu of %lu hits gave another block, or none", mine->wrong_blocks,
            mine->hits);
  lab_check(lab, 5, any && !mine->no_place && !mine->unwritten, "only places that exist, and were written",
            "%lu moves to or from places that do not exist (%d devices with %d places each), %lu reads of places never written",
            mine->no_place, DEVICES, mine->places, mine->unwritten);
  bool once = any && !mine->twice &&
              mine->first_home[0] + mine->first_home[1] + mine->first_home[2] + mine->first_home[3] == (uint64_t)(DEVICES * mine->places);
  lab_check(lab, 5, once, "every place is used, no block is kept twice",
            "%lu writes of a block that another place holds; of %d places on each device were used %lu, %lu, %lu, %lu", mine->twice,
            mine->places, mine->first_home[0], mine->first_home[1], mine->first_home[2], mine->first_home[3]);
  if (mine->twice)
    lab_mistake(lab, "kept-twice",
                "The same block lies in several places: memory that others could use. A pool keeps one copy, wherever it is, and every "
                "device reads that.");
  if (mine->first_home[0] == (uint64_t)mine->places && !mine->first_home[1] && !mine->first_home[2] && !mine->first_home[3])
    lab_mistake(lab, "one-window", "All blocks are kept in device 0's window: three quarters of the memory are not used.");
  draw_timeline(lab, mine);
}

/* How many of the sizes give the hits of other caches: one such size may be chance. */
struct likeness {
  int stacked, other_policy;
};

static void compare_with_others(struct lab *lab, const struct run *mine, struct likeness *likeness)
{
  static struct oracle other;
  bool stacked = false;
  for (int fifo = 0; fifo < 2; fifo++) {
    ask_oracle(mine, mine->places, fifo, false, &other);
    stacked |= mine->hits && other.hits == mine->hits;
  }
  ask_oracle(mine, mine->places, !is_fifo(lab), true, &other);
  likeness->stacked += stacked, likeness->other_policy += mine->hits && other.hits == mine->hits;
}

static void tell_likeness(struct lab *lab, const struct likeness *likeness)
{
  if (likeness->stacked > 1)
    lab_mistake(lab, "stacked",
                "This is the hit rate of stacked servers: each device finds only what it keeps itself. Look in all windows; the pointer to "
                "your notes means the same everywhere.");
  if (likeness->other_policy > 1)
    lab_mistake(lab, "other-policy", "This is the hit rate of %s. Yours is at the top: %s.", is_fifo(lab) ? "LRU" : "FIFO",
                is_fifo(lab) ? "what matters is when a block was inserted, not when it was used" : "a hit makes its block the youngest");
}

static void grade_hits(struct lab *lab)
{
  static struct oracle oracle;
  struct likeness likeness = {0};
  double hits[SIZES];
  for (int s = 0; s < SIZES; s++) {
    const struct run *mine = run_pool(lab, sizes[s]);
    char what[64];
    ask_oracle(mine, sizes[s], is_fifo(lab), true, &oracle);
    hits[s] = (double)mine->hits;
    bool right = mine->hits == oracle.hits && !mine->wrong_blocks && !mine->no_place;
    snprintf(what, sizeof what, "%d places: the hits of the oracle", sizes[s]);
    if (!lab_check(lab, 10, right, what, "%lu hits of %d lookups, the oracle has %lu%s", mine->hits, REQUESTS * LENGTH, oracle.hits,
                   right || mine->hits != oracle.hits ? "" : "; but blocks or places are wrong"))
      compare_with_others(lab, mine, &likeness);
  }
  tell_likeness(lab, &likeness);
  draw_rates(lab, hits);
}

static void tell_bytes(struct lab *lab, const struct run *mine, uint64_t most)
{
  if (mine->reads > mine->hits)
    lab_mistake(lab, "reads-to-look",
                "There are more reads than hits: blocks are moved to see what they are. Your notes know the key of each place; read the "
                "block you want, once.");
  else if (mine->far_bytes > most)
    lab_mistake(lab, "far-places",
                "As long as places are free, a device should keep its blocks in its own window: writing them costs nothing remote, nor "
                "does reading them again. Only when it is full, the next window's turn has come.");
}

static void grade_bytes(struct lab *lab)
{
  static struct oracle oracle;
  for (int s = 0; s < SIZES; s++) {
    const struct run *mine = run_pool(lab, sizes[s]);
    char what[64];
    ask_oracle(mine, sizes[s], is_fifo(lab), true, &oracle);
    bool right = mine->hits == oracle.hits && !mine->wrong_blocks && !mine->no_place;
    snprintf(what, sizeof what, "%d places: at most %lu KiB remote", sizes[s], oracle.far_bytes >> 10);
    if (!right) lab_check(lab, 6, false, what, "looked at when the hits are right");
    else if (!lab_check(lab, 6, mine->far_bytes <= oracle.far_bytes, what, "%lu KiB were moved from or to another device",
                        mine->far_bytes >> 10))
      tell_bytes(lab, mine, oracle.far_bytes);
  }
}

const struct lab_plan lab_plan = {
    .number = 10,
    .title = "Supernode or stacked",
    .task = task,
    .groups = {{"results", 20, grade_results, 0}, {"hit rate", 50, grade_hits, 20}, {"remote bytes", 30, grade_bytes, 20}},
};
