/* Pages that a device takes out of its own page table before it waits for others: whatever is written, read and written again around barriers,
 * by changing owners and a second thread of each device, what a device reads is what was written last. */
#include <pthread.h>
#include <stdatomic.h>

#include "coherence/protocol.h"
#include "tests/command.h"
#include "tests/session.h"

enum { PAGES = 48, ROUNDS = 30, PAGE = 4096 };

struct phases {
  unsigned seed;
  bool threads;
};

static uint64_t scatter(uint64_t z)
{
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return z ^ z >> 31;
}

/* Who writes a page in a round: for some always the same, for some another each time, and some are left alone for a while. */
static int writer_of(unsigned seed, int round, int page)
{
  uint64_t draw = scatter(seed * 1000003ull + (uint64_t)page * 997 + (page % 3 ? 0 : (uint64_t)round));
  return page % 5 == 4 && round % 4 ? -1 : (int)(draw % (uint64_t)uma_device_count());
}

static uint64_t value_of(int round, int page, int word)
{
  return scatter((uint64_t)round * 4096 + (uint64_t)page * 64 + (uint64_t)word) | 1;
}

/* The last round until this one in which the page was written; 0: never. */
static int round_of(unsigned seed, int round, int page)
{
  while (round && writer_of(seed, round, page) < 0) round--;
  return round;
}

struct reader {
  uint64_t *pages;
  atomic_bool stop;
  uint64_t sum;
};

/* Reads all the time, so that pages come back while they are released. */
static void *keep_reading(void *argument)
{
  struct reader *reader = argument;
  for (uint64_t i = 0; !atomic_load(&reader->stop); i++)
    reader->sum += __atomic_load_n(&reader->pages[scatter(i) % PAGES * (PAGE / 8)], __ATOMIC_RELAXED);
  return NULL;
}

static int write_and_read(uint64_t *pages, unsigned seed)
{
  enum { WORDS = 4, APART = PAGE / 8 / WORDS };
  for (int round = 1; round <= ROUNDS; round++) {
    for (int p = 0; p < PAGES; p++)
      if (writer_of(seed, round, p) == uma_device())
        for (int w = 0; w < WORDS; w++) __atomic_store_n(&pages[p * (PAGE / 8) + w * APART], value_of(round, p, w), __ATOMIC_RELAXED);
    CHECK(!uma_barrier());
    for (int p = 0; p < PAGES; p++) {
      int last = round_of(seed, round, p), w = (int)(scatter((uint64_t)p + (uint64_t)round) % WORDS);
      if (scatter(seed + (uint64_t)(p * round)) % 3) continue;
      CHECK(__atomic_load_n(&pages[p * (PAGE / 8) + w * APART], __ATOMIC_RELAXED) == (last ? value_of(last, p, w) : 0));
    }
    CHECK(!uma_barrier());
  }
  return 0;
}

static int go_through_phases(void *argument)
{
  const struct phases *phases = argument;
  uint64_t *pages = uma_symmetric(uma_alloc_symmetric(PAGES * PAGE), 0);
  struct reader reader = {.pages = pages};
  pthread_t thread;
  if (phases->threads) CHECK(!pthread_create(&thread, NULL, keep_reading, &reader));
  int result = write_and_read(pages, phases->seed);
  atomic_store(&reader.stop, true);
  if (phases->threads) pthread_join(thread, NULL);
  return result;
}

static void run(struct uma_config config, int devices, bool threads, unsigned seed)
{
  struct phases phases = {seed, threads};
  config.coherence = UMA_COHERENCE_PAGE;
  config.memory = (size_t)2 << 20;
  config.timeout = 100;
  int result = uma_spawn(&config, devices, go_through_phases, &phases);
  cr_assert_eq(result, 0, "%d devices, protocol %s, seed %u (UMA_TEST_SEED): %d (%s)", devices, config.protocol, seed, result,
               result < 0 ? uma_last_error() : "");
}

static unsigned seed_of_tests(void)
{
  const char *text = getenv("UMA_TEST_SEED");
  return text ? (unsigned)strtoul(text, NULL, 10) : 1;
}

Test(page_release, what_is_read_was_written_last)
{
  unsigned seed = seed_of_tests();
  for (int p = 0; coh_shipped_name(p); p++) {
    struct uma_config config = {.protocol = coh_shipped_name(p)};
    run(config, 3, false, seed++);
    run(config, 2, true, seed++);
  }
}

Test(page_release, with_few_frames_and_with_large_pages)
{
  unsigned seed = seed_of_tests();
  struct uma_config few = {.protocol = "mesi", .frames = (size_t)16 * PAGE}, large = {.protocol = "moesi", .page = (size_t)16 << 10};
  run(few, 3, true, seed++);
  run(large, 3, true, seed++);
}

/* Pages that are read and written in turn, with a barrier between: neither side loses its page to the other more often than it must. */
static int write_and_read_in_turn(void *unused)
{
  enum { TURNS = 50 };
  uint64_t *word = uma_symmetric(uma_alloc_symmetric(PAGE), 0);
  struct uma_counters before, after;
  CHECK(!uma_barrier());
  CHECK(!uma_counters(uma_device(), &before));
  for (uint64_t turn = 1; turn <= TURNS; turn++) {
    if (uma_device() == 0) *word = turn;
    CHECK(!uma_barrier());
    CHECK(__atomic_load_n(word, __ATOMIC_RELAXED) == turn);
    CHECK(!uma_barrier());
  }
  CHECK(!uma_counters(uma_device(), &after));
  if (uma_device() == 0) CHECK(after.upgrades - before.upgrades >= TURNS - 2 && after.upgrades - before.upgrades <= TURNS);
  else CHECK(after.misses_true_sharing - before.misses_true_sharing >= TURNS - 2);
  return 0;
}

Test(page_release, no_more_messages_than_before)
{
  struct uma_config config = {.coherence = UMA_COHERENCE_PAGE, .memory = (size_t)2 << 20, .stats = UMA_ON, .timeout = 60};
  char *said; /* the table of counters */
  int result = command_capture_spawn(&config, 2, write_and_read_in_turn, NULL, &said);
  cr_assert_eq(result, 0, "%d (%s): %s", result, result < 0 ? uma_last_error() : "", said);
  free(said);
}
