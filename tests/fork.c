/* Devices that create each other: what the copy sees, numbers, waiting, failures, and that nothing stays behind. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/command.h"
#include "tests/session.h"

static struct uma_config config_of(int coherence)
{
  return (struct uma_config){.create = UMA_ON, .memory = (size_t)16 << 20, .timeout = 60, .coherence = coherence};
}

static void run(int devices, int coherence, int (*function)(void *), void *argument)
{
  struct uma_config config = config_of(coherence);
  int result = uma_spawn(&config, devices, function, argument);
  cr_expect_eq(result, 0, "%d devices: %d (%s)", devices, result, result < 0 ? uma_last_error() : "");
}

/* Forks until all devices exist. Returns 0 in device 0, the number of the device elsewhere. */
static int fork_all(void)
{
  int device;
  while ((device = uma_fork()) > 0) continue;
  return device == 0 ? uma_device() : device == -ENOSPC ? 0 : device;
}

static int wait_for_all(void)
{
  for (int d = 1; d < uma_device_count(); d++) {
    int result = uma_wait_device(d);
    if (result) return result;
  }
  return 0;
}

/* ---- the copy */

static int set_before, set_after;

static int see_globals(void *argument)
{
  CHECK(uma_device() == 0 && uma_device_count() == 4);
  int *global = uma_calloc_on(3, 4, sizeof *global), private_value = 5;
  set_before = 42;
  for (int d = 1; d < 4; d++) {
    int device = uma_fork();
    CHECK(device >= 0);
    if (!device) {
      CHECK(uma_device() == d && set_before == 42 && set_after == d - 1 && private_value == 5 && uma_alive(0));
      private_value = 6;
      uma_st(&global[d], d * 10);
      char byte;
      CHECK(read(STDIN_FILENO, &byte, 1) == 0);
      return 0;
    }
    CHECK(device == d);
    set_after = d;
  }
  CHECK(uma_fork() == -ENOSPC && strstr(uma_last_error(), "all 4 devices"));
  CHECK(!wait_for_all() && private_value == 5);
  for (int d = 1; d < 4; d++) CHECK(uma_ld(&global[d]) == d * 10);
  return 0;
}

Test(fork, the_copy_has_the_memory_of_its_creator)
{
  run(4, UMA_COHERENCE_NONE, see_globals, NULL);
  run(4, UMA_COHERENCE_LINE, see_globals, NULL);
  run(4, UMA_COHERENCE_PAGE, see_globals, NULL);
}

/* All that a device of a session does works in one that was created: barrier, messages, collectives, locks, signals. */
static int work_together(void *argument)
{
  struct uma_lock lock;
  CHECK(!uma_lock_create(0, &lock));
  uint64_t *word = uma_calloc_on(uma_device_count() - 1, 2, sizeof *word);
  int me = fork_all(), devices = uma_device_count(), neighbour = (me + 1) % devices, token = -1;
  CHECK(me >= 0 && me == uma_device());
  CHECK(!uma_barrier());
  if (me == 0) CHECK(!uma_send(neighbour, 1, &me, sizeof me));
  CHECK(!uma_recv((me + devices - 1) % devices, 1, &token, sizeof token, NULL));
  if (me != 0) CHECK(!uma_send(neighbour, 1, &me, sizeof me));
  CHECK(token == (me + devices - 1) % devices);
  int sum;
  CHECK(!uma_allreduce(&sum, &me, 1, UMA_INT32, UMA_SUM) && sum == devices * (devices - 1) / 2);
  for (int i = 0; i < 50; i++) {
    CHECK(!uma_lock(&lock));
    uma_st(&word[0], uma_ld(&word[0]) + 1);
    CHECK(!uma_unlock(&lock));
  }
  CHECK(!uma_signal(&word[1], 1, UMA_SIGNAL_ADD) && !uma_wait_until(&word[1], UMA_EQ, (uint64_t)devices));
  CHECK(uma_ld(&word[0]) == 50u * (unsigned)devices);
  return 0;
}

Test(fork, created_devices_are_whole_devices)
{
  for (int devices = 2; devices <= 8; devices *= 2) run(devices, UMA_COHERENCE_NONE, work_together, NULL);
  run(4, UMA_COHERENCE_LINE, work_together, NULL);
  run(4, UMA_COHERENCE_PAGE, work_together, NULL);
}

/* ---- numbers */

/* Created devices store to a word in turn, and all see it; device 0 too, which has known others by the same numbers. */
static int store_and_see(const struct uma_barrier *barrier, int *word, int round)
{
  int others = uma_device_count() - 1;
  for (int turn = 0; turn < 3 * others; turn++) {
    int value = round * 100 + turn;
    if (turn % others == uma_device() - 1) uma_st(word, value);
    CHECK(!uma_barrier_wait(barrier, others + 1));
    CHECK(uma_ld(word) == value);
    CHECK(!uma_barrier_wait(barrier, others + 1));
  }
  return 0;
}

static int create_again(void *argument)
{
  struct uma_barrier barrier;
  int *words = uma_calloc_on(0, 2, sizeof *words);
  CHECK(words && !uma_barrier_create(0, &barrier));
  for (int round = 0; round < 5; round++) {
    int me = fork_all();
    CHECK(me >= 0);
    uma_fetch_add(&words[0], me);
    int result = store_and_see(&barrier, &words[1], round);
    if (me || result) return result;
    CHECK(!wait_for_all());
    CHECK(uma_ld(&words[0]) == uma_device_count() * (uma_device_count() - 1) / 2 * (round + 1));
  }
  return 0;
}

/* Device 1 creates 2 and ends before it; device 0 has ended first. */
static int create_in_a_chain(void *argument)
{
  _Atomic int *ended = argument;
  int first = uma_fork();
  CHECK(first >= 0);
  if (first) return 0;
  CHECK(uma_device() == 1);
  int second = uma_fork();
  CHECK(second >= 0);
  if (second) return 0;
  CHECK(uma_device() == 2 && !uma_wait_device(1));
  atomic_store(ended, 1);
  return 0;
}

static int mistakes(void *argument)
{
  CHECK(uma_wait_device(0) == -EDEADLK && uma_wait_device(1) == -ECHILD && uma_wait_device(9) == -EINVAL);
  struct uma_stream *stream;
  CHECK(!uma_stream_create(&stream));
  char *block = uma_malloc(16);
  CHECK(!uma_copy_async(block, "x", 2, stream) && !uma_stream_wait(stream));
  CHECK(uma_fork() == -EBUSY && strstr(uma_last_error(), "threads"));
  CHECK(!uma_stream_destroy(stream));
  return 0;
}

static int fork_in_an_ordinary_session(void *argument)
{
  CHECK(uma_fork() == -EINVAL && strstr(uma_last_error(), "--create"));
  return 0;
}

Test(fork, numbers_are_given_again_once_they_are_free)
{
  run(4, UMA_COHERENCE_NONE, create_again, NULL);
  run(4, UMA_COHERENCE_LINE, create_again, NULL);
  run(4, UMA_COHERENCE_PAGE, create_again, NULL);
  run(2, UMA_COHERENCE_PAGE, create_again, NULL);
}

Test(fork, any_device_creates_and_the_session_lasts_until_the_last_ends)
{
  _Atomic int *ended = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  run(3, UMA_COHERENCE_NONE, create_in_a_chain, ended);
  cr_expect_eq(*ended, 1);
}

Test(fork, mistakes_are_told)
{
  run(2, UMA_COHERENCE_NONE, mistakes, NULL);
  struct uma_config config = {.memory = 1 << 20, .timeout = 60};
  cr_expect_eq(uma_fork(), -EINVAL);
  cr_expect_eq(uma_spawn(&config, 2, fork_in_an_ordinary_session, NULL), 0);
  config = (struct uma_config){.create = UMA_ON, .memory = 1 << 20, .servers = 2, .mode = UMA_MODE_STACKED};
  cr_expect_eq(uma_spawn(&config, 2, mistakes, NULL), -EINVAL);
  cr_expect(strstr(uma_last_error(), "create: "), "%s", uma_last_error());
}

/* ---- failures */

static int exit_with_seven(void *argument)
{
  int me = fork_all();
  while (me != 2) pause();
  return 7;
}

static int die(void *argument)
{
  int me = fork_all();
  while (me != 2) pause();
  return raise(SIGKILL);
}

static int go_on(void *argument)
{
  struct uma_barrier barrier;
  CHECK(!uma_barrier_create(0, &barrier));
  int me = fork_all();
  CHECK(me >= 0);
  if (me == 2) raise(SIGKILL);
  CHECK(uma_barrier_wait(&barrier, 4) == -EHOSTDOWN && !uma_alive(2) && uma_alive(3));
  if (me) return 0;
  CHECK(!uma_wait_device(1) && uma_wait_device(2) == -EHOSTDOWN && !uma_wait_device(3));
  int device = uma_fork(); /* 1 and 3 may come again, the number of the lost one not */
  CHECK(device >= 0);
  if (device == 0) return uma_device() == 1 ? 0 : 51;
  CHECK(device == 1 && !uma_wait_device(1));
  return 0;
}

/* Device 1 wants to end only when it is killed. */
static int be_stubborn(void *argument)
{
  _Atomic int *pids = argument;
  if (fork_all() == 0) return 3;
  signal(SIGTERM, SIG_IGN);
  atomic_store(&pids[0], getpid());
  for (;;) pause();
}

Test(fork, failures_are_reported_and_end_the_session)
{
  struct uma_config config = config_of(UMA_COHERENCE_NONE);
  char *said;
  cr_expect_eq(command_capture_spawn(&config, 4, exit_with_seven, NULL, &said), 7);
  cr_expect(strstr(said, "device 2 ") && strstr(said, "exited with code 7"), "%s", said);
  free(said);
  cr_expect_eq(command_capture_spawn(&config, 4, die, NULL, &said), 128 + SIGKILL);
  cr_expect(strstr(said, "device 2 ") && strstr(said, "killed by signal 9"), "%s", said);
  free(said);
}

Test(fork, a_session_may_go_on_without_a_created_device)
{
  struct uma_config config = config_of(UMA_COHERENCE_NONE);
  char *said;
  config.on_failure = UMA_ON_FAILURE_CONTINUE;
  int result = command_capture_spawn(&config, 4, go_on, NULL, &said);
  cr_expect_eq(result, 128 + SIGKILL, "%d: %s", result, said);
  cr_expect(strstr(said, "device 2 ") && !strstr(said, "device 1 ") && !strstr(said, "device 3 "), "%s", said);
  free(said);
}

Test(fork, a_created_device_has_no_more_grace_than_others)
{
  struct uma_config config = config_of(UMA_COHERENCE_NONE);
  _Atomic int *pids = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  char *said;
  cr_expect_eq(command_capture_spawn(&config, 2, be_stubborn, (void *)pids, &said), 3);
  free(said);
  cr_expect(!pids[0] || (kill(pids[0], 0) && errno == ESRCH), "the device is still there");
}

/* ---- nothing stays behind */

static int note_and_wait(void *argument)
{
  _Atomic int *pids = argument;
  pids[8] = getppid();
  int me = fork_all();
  pids[me] = getpid();
  while (me >= 0) pause();
  return 1;
}

static bool is_gone(pid_t pid)
{
  for (int i = 0; i < 500 && !kill(pid, 0); i++) usleep(10000);
  return kill(pid, 0) && errno == ESRCH;
}

/* The victim: 8 the keeper, 9 the launcher, else a device; all devices end with it. */
static void kill_one(int victim)
{
  struct uma_config config = config_of(UMA_COHERENCE_NONE);
  _Atomic int *pids = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t front = fork();
  if (front == 0) {
    if (!freopen("/dev/null", "w", stderr)) _exit(99);
    _exit(uma_spawn(&config, 4, note_and_wait, (void *)pids) & 255);
  }
  pids[9] = front;
  for (int d = 0; d < 4; d++)
    while (!pids[d]) usleep(1000);
  kill(pids[victim], SIGKILL);
  int status;
  waitpid(front, &status, 0);
  if (victim < 4) cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGKILL, "victim %d: %d", victim, status);
  for (int d = 0; d < 4; d++) cr_expect(is_gone(pids[d]), "victim %d: device %d is still there", victim, d);
}

Test(fork, nothing_outlives_whoever_is_killed)
{
  kill_one(0);
  kill_one(3);
  kill_one(8);
  kill_one(9);
}
