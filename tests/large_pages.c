/* Pages of 16 KiB to 2 MiB between hosts: whole pages arrive as they were written, at random accesses, with few frames, by every provider; who is
 * killed in the middle leaves no page half filled. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "tests/command.h"
#include "tests/session.h"
#include "tests/stress.h"

enum { VICTIM = 3, PAGES = 24, ROUNDS = 3 };

static const size_t sizes[] = {16 << 10, 64 << 10, 2 << 20};

static struct uma_config config_of(size_t page, const char *provider)
{
  return (struct uma_config){
      .coherence = UMA_COHERENCE_PAGE, .hosts = 2, .page = page, .provider = provider, .memory = 2 * PAGES * page, .timeout = 60};
}

static unsigned seed_of_run(void)
{
  const char *given = getenv("UMA_TEST_SEED");
  unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : 1u;
  printf("UMA_TEST_SEED=%u\n", seed);
  return seed;
}

Test(large_pages, random_accesses, .timeout = 200)
{
  static const char *const protocols[] = {"msi", "mesi", "moesi", "mesif"}, *const providers[] = {"tcp;ofi_rxm", "net"};
  unsigned seed = seed_of_run();
  for (unsigned i = 0; i < 8; i++) {
    struct uma_config config = config_of(sizes[i % 3], providers[i / 4]);
    struct stress stress = {.seed = seed + i, .threads = 1 + (int)(i & 1), .steps = sizes[i % 3] > 64 << 10 ? 40 : 150};
    config.protocol = protocols[i % 4];
    int result = uma_spawn(&config, 4, stress_run, &stress);
    cr_expect_eq(result, 0, "%s, pages of %zu, seed %u: %d (%s)", protocols[i % 4], sizes[i % 3], seed + i, result,
                 result < 0 ? uma_last_error() : "");
  }
}

/* Each device writes all words of its pages, then checks those of the next one, which are on the other host every second time; there are fewer frames
 * than pages. */
static int write_and_check(void *argument)
{
  size_t words = *(size_t *)argument / sizeof(uint64_t) * PAGES;
  int me = uma_device(), n = uma_device_count();
  uint64_t *mine = uma_alloc_symmetric(words * sizeof *mine);
  CHECK(mine);
  for (uint64_t round = 1; round <= ROUNDS; round++) {
    uint64_t *theirs = uma_symmetric(mine, (me + 1) % n), writer = (uint64_t)me + round;
    for (size_t i = 0; i < words; i++) theirs[i] = writer * words + i;
    CHECK(!uma_barrier());
    theirs = uma_symmetric(mine, (me + 2) % n);
    writer = (uint64_t)((me + 1) % n) + round;
    for (size_t i = 0; i < words; i++)
      if (theirs[i] != writer * words + i) CHECK(i == words); /* says where by failing */
    CHECK(!uma_barrier());
  }
  return 0;
}

Test(large_pages, every_byte_arrives, .timeout = 200)
{
  static const char *const providers[] = {"tcp;ofi_rxm", "net"};
  for (int i = 0; i < 4; i++) {
    size_t page = sizes[i & 1];
    struct uma_config config = config_of(page, providers[i / 2]);
    config.frames = 16 * page;
    config.protocol = i % 2 ? "moesi" : "mesi";
    int result = uma_spawn(&config, 4, write_and_check, &page);
    cr_expect_eq(result, 0, "%s, pages of %zu: %d (%s)", providers[i / 2], page, result, result < 0 ? uma_last_error() : "");
  }
}

/* The victim writes ever larger numbers into all words of a page and gives the page up; no word of it goes back, whatever happens to it. */
static int read_until_killed(void *argument)
{
  static uint64_t seen[(64 << 10) / sizeof(uint64_t)], now[sizeof seen / sizeof seen[0]];
  enum { WORDS = sizeof seen / sizeof seen[0] };
  unsigned char *memory = uma_alloc_symmetric(2 * sizeof seen);
  uint64_t *page = (uint64_t *)(((uintptr_t)uma_symmetric(memory, 0) + sizeof seen - 1) & ~(sizeof seen - 1));
  pthread_t killer;
  CHECK(memory && !uma_barrier());
  if (uma_device() == VICTIM) CHECK(!pthread_create(&killer, NULL, session_die_later, argument));
  for (uint64_t round = 1; uma_device() == VICTIM || uma_alive(VICTIM); round++) {
    for (int i = 0; i < WORDS; i++) now[i] = round;
    int result = uma_device() == VICTIM ? uma_put(page, now, sizeof now) : uma_get(now, page, sizeof now);
    CHECK(!result || result == -EHOSTDOWN);
    for (int i = 0; i < WORDS && !result && uma_device() != VICTIM; i++) {
      CHECK(now[i] >= seen[i]);
      seen[i] = now[i];
    }
  }
  CHECK(uma_barrier() == -EHOSTDOWN);
  return 0;
}

Test(large_pages, a_device_killed_in_the_middle_leaves_no_page_half_filled, .timeout = 200)
{
  unsigned seed = seed_of_run();
  for (unsigned i = 0; i < 6; i++) {
    struct uma_config config = config_of(64 << 10, i % 2 ? "net" : "tcp;ofi_rxm");
    unsigned delay_us = (seed + i) * 7919 % 30000;
    char *said;
    config.on_failure = UMA_ON_FAILURE_CONTINUE;
    config.silence = 1000;
    int result = command_capture_spawn(&config, 4, read_until_killed, &delay_us, &said);
    cr_expect_eq(result, 128 + SIGKILL, "seed %u: %d: %s", seed + i, result, said);
    cr_expect(!strstr(said, "code 99") && !strstr(said, "did not end"), "seed %u: %s", seed + i, said);
    free(said);
  }
}
