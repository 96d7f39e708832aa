/* A device that dies by SIGKILL in the middle of accesses through the line caches: what it had is still served, the lines that it was working
 * on are lost and say so, everything else goes on, and nobody hangs. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "tests/command.h"
#include "tests/session.h"

enum { WORDS = 96, VICTIM = 1 };

struct plan {
  unsigned delay_us, seed;
};

static uint64_t draw(uint64_t *state)
{
  uint64_t z = *state += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  return z ^ z >> 27;
}

static int check_word(uint64_t value, uint64_t *seen)
{
  CHECK(value >= *seen);
  *seen = value;
  return 0;
}

/* Word w is written by one device only, ever larger numbers; who reads it sees none go back. Ranges report a lost line as an error. */
static int work(uint64_t *words, unsigned seed, int steps, int *lost)
{
  uint64_t random = seed * 977u + (unsigned)uma_device(), seen[WORDS] = {0};
  static uint64_t written; /* by this device */
  *lost = 0;
  for (int i = 0; i < steps || uma_device() == VICTIM; i++) {
    uint64_t w = draw(&random) % WORDS, value = ++written;
    bool mine = (int)(w % (uint64_t)uma_device_count()) == uma_device();
    int result = mine ? uma_put(&words[w], &value, sizeof value) : uma_get(&value, &words[w], sizeof value);
    CHECK(!result || (result == -EHOSTDOWN && strstr(uma_last_error(), "lost together with a device")));
    if (result) ++*lost;
    else if (!mine) CHECK(!check_word(value, &seen[w]));
  }
  return 0;
}

static int work_until_killed(void *argument)
{
  struct plan *plan = argument;
  pthread_t killer;
  int lost;
  uint64_t *words = uma_alloc_symmetric(WORDS * sizeof *words);
  CHECK(words);
  words = uma_symmetric(words, 0);
  CHECK(!uma_barrier());
  if (uma_device() == VICTIM) CHECK(!pthread_create(&killer, NULL, session_die_later, &plan->delay_us));
  if (work(words, plan->seed, 4000, &lost)) return 99;
  while (uma_alive(VICTIM)) usleep(100); /* the whole session sees it */
  if (work(words, plan->seed + 1, 4000, &lost)) return 99;
  /* at most some lines are lost: the victim was at work on one line, and on one that had to make room */
  int refused = 0;
  for (int w = 0; w < WORDS; w += 8) {
    uint64_t value;
    refused += uma_get(&value, &words[w], sizeof value) != 0;
  }
  CHECK(refused <= 2);
  return 0;
}

static void run(const char *protocol, size_t cache, unsigned seed)
{
  struct uma_config config = {.coherence = UMA_COHERENCE_LINE,
                              .protocol = protocol,
                              .cache = cache,
                              .ways = 2,
                              .memory = 1 << 20,
                              .timeout = 60,
                              .on_failure = UMA_ON_FAILURE_CONTINUE};
  struct plan plan = {seed * 7919 % 3000, seed};
  char *said;
  int result = command_capture_spawn(&config, 4, work_until_killed, &plan, &said);
  cr_assert_eq(result, 128 + SIGKILL, "%s, seed %u: %d: %s", protocol, seed, result, said);
  cr_assert(!strstr(said, "does not hold") && !strstr(said, "code 99") && !strstr(said, "did not end"), "%s, seed %u: %s", protocol, seed,
            said);
  free(said);
}

Test(coherent_death, the_others_go_on)
{
  static const char *const protocols[] = {"msi", "mesi", "moesi", "mesif"};
  const char *given = getenv("UMA_TEST_SEED");
  unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : 1u;
  printf("UMA_TEST_SEED=%u\n", seed);
  for (unsigned i = 0; i < 16; i++) run(protocols[i % 4], i % 3 ? 64 * 4 : 64 * 64, seed + i);
}

static int leave_modified_lines(void *unused)
{
  uint64_t *words = uma_alloc_symmetric(4096), value;
  words = uma_symmetric(words, 0);
  if (uma_device() == VICTIM) {
    for (uint64_t i = 0; i < 512; i++) uma_st(&words[i], i + 1);
    CHECK(!uma_barrier());
    kill(getpid(), SIGKILL);
  }
  CHECK(!uma_barrier());
  while (uma_alive(VICTIM)) usleep(100);
  for (uint64_t i = 0; i < 512 && uma_device() == 0; i++) {
    CHECK(uma_ld(&words[i]) == i + 1);
    value = i + 2;
    CHECK(!uma_put(&words[i], &value, sizeof value));
  }
  return 0;
}

Test(coherent_death, what_the_dead_had_is_served)
{
  struct uma_config config = {
      .coherence = UMA_COHERENCE_LINE, .memory = 1 << 20, .timeout = 60, .on_failure = UMA_ON_FAILURE_CONTINUE, .cache = 64 * 1024};
  char *said;
  cr_expect_eq(command_capture_spawn(&config, 3, leave_modified_lines, NULL, &said), 128 + SIGKILL, "%s", said);
  cr_expect(!strstr(said, "does not hold"), "%s", said);
  free(said);
}
