/* The modelled clock at its limits: a year, a clock that is set back, who dies with a queue locked, many signals at once. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/command.h"
#include "tests/session.h"
#include "uma/clock.h"

#define MACHINE "h100-8"

static int run_on(const char *profile, int devices, struct uma_config config, int (*function)(void *), void *argument)
{
  config.profile = profile;
  config.memory = config.memory ? config.memory : (size_t)4 << 20;
  config.timeout = 60;
  return uma_spawn(&config, devices, function, argument);
}

static void expect_well(const char *profile, int devices, struct uma_config config, int (*function)(void *), void *argument)
{
  int result = run_on(profile, devices, config, function, argument);
  cr_assert_eq(result, 0, "%d devices of %s: %d (%s)", devices, profile, result, result < 0 ? uma_last_error() : "");
}

static int pass_seconds(double seconds)
{
  return uma_compute(0, (double)uma_self.clock->topology.kind[0].memory_bandwidth * seconds, UMA_FP8);
}

/* ---- Signals ---- */

/* Each word has a time of its own, however many there are: who waits for an early one does not wait for a late one. Device 1 looks only when all
 * have been signalled; plain loads are not charged. */
static int signal_words(void *unused)
{
  enum { WORDS = 20000 };
  uint64_t *words = uma_alloc_symmetric((WORDS + 1) * sizeof *words), *there = uma_symmetric(words, 1);
  double *told = (double *)(void *)&there[WORDS], now; /* when it began, then when it is over */
  CHECK(words);
  memset(words, 0, (WORDS + 1) * sizeof *words);
  CHECK(!uma_barrier());
  double begin = uma_modelled_ns();
  for (int i = 0; i < WORDS && uma_device() == 0; i++) CHECK(!pass_seconds(3e-6) && !uma_signal(&there[i], 1, UMA_SIGNAL_SET));
  if (uma_device() == 0) *(volatile double *)told = uma_modelled_ns();
  while (!(now = *(volatile double *)told)) usleep(1000);
  double step = (now - begin) / WORDS;
  CHECK(step > 3000 && step < 10000);
  for (int i = 0; i < WORDS && uma_device() == 1; i++) {
    CHECK(!uma_wait_until(&words[i], UMA_EQ, 1));
    CHECK(uma_modelled_ns() >= begin + step * i && uma_modelled_ns() <= begin + step * (i + 2));
  }
  return uma_barrier();
}

Test(clock_limits, every_signalled_word_has_its_own_time)
{
  expect_well(MACHINE, 2, (struct uma_config){0}, signal_words, NULL);
}

/* ---- A year ---- */

static bool adds_up(const struct coh_moment *state)
{
  uint64_t sum = 0;
  for (int i = 0; i < UMA_PARTS_OF_TIME; i++) sum += state->parts[i];
  return sum == state->ticks && state->ticks <= FAB_TICKS_MOST;
}

static int do_everything(char *block, size_t bytes, const struct uma_lock *lock)
{
  int me = uma_device(), n = uma_device_count(), next = (me + 1) % n, before = (me + n - 1) % n;
  char *other = malloc(bytes);
  struct uma_request *send;
  struct uma_stream *stream;
  CHECK(other && !uma_get(other, uma_symmetric(block, next), bytes) && !uma_barrier());
  CHECK(!uma_put((char *)uma_symmetric(block, next) + bytes, other, bytes) && !uma_barrier());
  CHECK(!uma_isend(next, 1, block, bytes, &send) && !uma_recv(before, 1, other, bytes, NULL) && !uma_wait(send, NULL));
  CHECK(!uma_allreduce(other, block, bytes / 8, UMA_INT64, UMA_SUM) && !uma_broadcast(block, bytes, 0));
  CHECK(!uma_lock(lock) && !uma_unlock(lock));
  uma_fetch_add((uint64_t *)uma_symmetric(block, next), 1ul);
  CHECK(!uma_stream_create(&stream) && !uma_copy_async(other, uma_symmetric(block, next), bytes, stream) && !uma_stream_wait(stream));
  CHECK(!uma_stream_destroy(stream));
  free(other);
  return 0;
}

/* Everything that there is, across the end of a year: no time goes back, none goes beyond, and the parts add up all the time. */
static int cross_the_year(void *unused)
{
  size_t bytes = 100000;
  char *block = uma_alloc_symmetric(2 * bytes);
  struct uma_lock lock;
  struct uma_modelled m;
  double year = fab_ns_of_ticks(FAB_TICKS_MOST), last = 0;
  int me = uma_device();
  CHECK(block);
  for (size_t i = 0; i < 2 * bytes / 8; i++) uma_st((uint64_t *)(void *)block + i, 0ul);
  if (me == 0) CHECK(!uma_lock_create(0, &lock));
  CHECK(!uma_broadcast(&lock, sizeof lock, 0) && !pass_seconds((year - uma_modelled_ns()) * 1e-9 - 2e-3));
  CHECK(uma_modelled_ns() < year && !uma_modelled(me, &m));
  for (int i = 0; i < 40; i++) {
    CHECK(!do_everything(block, bytes, &lock) && !pass_seconds(1e-4));
    struct coh_moment state = uma_clock_state(&uma_self.clock->devices[me][FAB_APPLICATION]).moment;
    struct coh_moment engine = uma_clock_state(&uma_self.clock->devices[me][FAB_ENGINE]).moment;
    CHECK(uma_modelled_ns() >= last && adds_up(&state) && adds_up(&engine));
    last = uma_modelled_ns();
  }
  CHECK(last == year && uma_modelled(me, &m) == -ERANGE && strstr(uma_last_error(), "a year"));
  return uma_barrier();
}

static void expect_year_said(const char *profile, struct uma_config config)
{
  char *said;
  config.profile = profile;
  config.memory = (size_t)4 << 20;
  config.timeout = 60;
  int result = command_capture_spawn(&config, 2, cross_the_year, NULL, &said);
  cr_assert_eq(result, 0, "%s: %d: %s", profile, result, said);
  cr_assert(strstr(said, "device 0: its modelled clock has come to a year") &&
                strstr(said, "device 1: its modelled clock has come to a year"),
            "%s", said);
  free(said);
}

Test(clock_limits, a_year_is_the_end_and_is_said)
{
  expect_year_said(MACHINE, (struct uma_config){0});
  expect_year_said(MACHINE, (struct uma_config){.coherence = UMA_COHERENCE_LINE});
  expect_year_said("mtt-s4000-kuae", (struct uma_config){.mode = UMA_MODE_STACKED, .servers = 2});
}

/* Whatever the sizes, nothing wraps: not what a path takes alone, nor queues that are busy for ever. */
static int fly_too_much(void *unused)
{
  static const uint64_t sizes[] = {0, 1, 1ull << 40, 1ull << 50, UINT64_MAX / 100, 1ull << 60, UINT64_MAX};
  uint64_t last = 0;
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    uint64_t alone = fab_path_ticks(uma_clock_path(0, 1), sizes[i], 0);
    struct coh_moment moment = {.ticks = FAB_TICKS_MOST / 2};
    CHECK(alone >= last && alone <= FAB_TICKS_MOST);
    last = alone;
    uma_clock_fly(0, 1, sizes[i], UMA_FLIGHT_MESSAGE, &moment);
    CHECK(moment.ticks >= FAB_TICKS_MOST / 2 && moment.ticks <= FAB_TICKS_MOST);
    for (int p = 0; p < UMA_PARTS_OF_TIME; p++) CHECK(moment.parts[p] <= FAB_TICKS_MOST);
  }
  CHECK(last == FAB_TICKS_MOST);
  for (int i = 0; i < 20; i++) {
    struct coh_moment late = {.ticks = FAB_TICKS_MOST - (uint64_t)i * 1000};
    uma_clock_fly(0, 1, 1 << 20, UMA_FLIGHT_COPY, &late);
    CHECK(late.ticks == FAB_TICKS_MOST);
    uma_clock_reach(&late);
  }
  struct coh_moment state = uma_clock_state(&uma_self.clock->devices[0][FAB_APPLICATION]).moment;
  CHECK(adds_up(&state));
  return 0;
}

Test(clock_limits, no_number_of_bytes_overflows)
{
  expect_well(MACHINE, 2, (struct uma_config){0}, fly_too_much, NULL);
}

/* ---- Never backwards ---- */

static int set_back(void *unused)
{
  CHECK(!pass_seconds(1e-3));
  if (uma_device() == 0) atomic_store(&uma_self.clock->devices[0][FAB_APPLICATION].now, 5);
  if (uma_device() == 1) uma_clock_receive(0, &(struct fab_header){.a = 1000, .b = 10});
  return pass_seconds(1e-3);
}

Test(clock_limits, a_clock_that_runs_backwards_is_noticed)
{
  struct uma_config config = {.profile = MACHINE, .memory = (size_t)4 << 20, .timeout = 60};
  char *said;
  int result = command_capture_spawn(&config, 2, set_back, NULL, &said);
  cr_assert_eq(result, 0, "%d: %s", result, said);
  cr_assert(strstr(said, "device 0: its modelled clock ran backwards"), "%s", said);
  cr_assert(strstr(said, "device 1: a message arrived before it departed"), "%s", said);
  free(said);
}

/* ---- Death ---- */

/* Device 1 dies in the middle of changing a queue that device 0 needs. */
static int die_with_a_queue(void *end)
{
  struct uma_queue *queue = uma_clock_queue(uma_clock_path(0, 0)->leg[0].step[0].resource);
  char *block = uma_alloc_symmetric(2 << 20);
  CHECK(block && !uma_barrier());
  if (uma_device() == 1) {
    while (atomic_exchange(&queue->lock, 2)) continue;
    queue->count = 77;
    CHECK(!uma_send(0, 1, NULL, 0));
    usleep(50000); /* device 0 waits for the queue by now, most likely */
    kill(getpid(), SIGKILL);
  }
  CHECK(!uma_recv(1, 1, NULL, 0, NULL));
  for (int i = 0; i < 3; i++) {
    double before = uma_modelled_ns();
    CHECK(!uma_copy(block + (1 << 20), block, 1 << 20));
    double took = uma_modelled_ns() - before, form = fab_ns_of_ticks(fab_path_ticks(uma_clock_path(0, 0), 1 << 20, 0));
    CHECK(took > form - 0.011 && took < form + 0.011 && queue->count <= UMA_BUSY_TIMES);
  }
  CHECK(write(*(int *)end, "", 1) == 1);
  return 0;
}

Test(clock_limits, who_dies_with_a_queue_locked_stops_nobody)
{
  int ends[2];
  char byte;
  cr_assert(!pipe(ends));
  int result = run_on(MACHINE, 2, (struct uma_config){.on_failure = UMA_ON_FAILURE_CONTINUE}, die_with_a_queue, &ends[1]);
  cr_assert_eq(result, 128 + SIGKILL, "%d", result);
  close(ends[1]);
  cr_assert_eq(read(ends[0], &byte, 1), 1);
  close(ends[0]);
}
