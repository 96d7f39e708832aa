/* The modelled clock over several hosts: the same times, to the tick, as the same program has on one. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tests/hosts.h"
#include "uma/clock.h"

#define MACHINE "h100-8"
#define STAGED_MACHINE "mtt-s4000-kuae" /* servers of 8, joined through bounce buffers */

enum { DEVICES_MOST = 12, MARKS_MOST = 32 };

/* What a device tells: its time after each step. */
struct marks {
  int device, count;
  double ns[MARKS_MOST];
};
_Static_assert(sizeof(struct marks) <= 512, "written to a pipe at once");

static struct marks own;
static int tell_end;

static void mark(void)
{
  if (own.count < MARKS_MOST) own.ns[own.count++] = uma_modelled_ns();
}

static int tell(void)
{
  own.device = uma_device();
  CHECK(write(tell_end, &own, sizeof own) == (ssize_t)sizeof own);
  return 0;
}

/* A session on so many hosts; everybody's marks. */
static void run_on(int hosts, int devices, const struct uma_config *settings, int (*function)(void *), struct marks *marks)
{
  struct uma_config config = *settings;
  int ends[2];
  cr_assert(!pipe(ends));
  tell_end = ends[1];
  config.hosts = hosts;
  config.memory = config.memory ? config.memory : (size_t)4 << 20;
  config.timeout = 100;
  int result = uma_spawn(&config, devices, function, NULL);
  cr_assert_eq(result, 0, "%d devices of %s on %d hosts: %d (%s)", devices, config.profile, hosts, result,
               result < 0 ? uma_last_error() : "");
  close(ends[1]);
  for (int d = 0; d < devices; d++) {
    struct marks one;
    cr_assert_eq(read(ends[0], &one, sizeof one), (ssize_t)sizeof one);
    marks[one.device] = one;
  }
  close(ends[0]);
}

/* `share`: of the time on one host, how much another one may differ; 0: not by a tick. */
static void compare(int hosts, int devices, struct uma_config settings, int (*function)(void *), double share)
{
  static struct marks one[DEVICES_MOST], several[DEVICES_MOST];
  run_on(1, devices, &settings, function, one);
  run_on(hosts, devices, &settings, function, several);
  for (int d = 0; d < devices; d++) {
    cr_assert(one[d].count > 0 && one[d].count == several[d].count);
    for (int i = 0; i < one[d].count; i++) {
      double expected = one[d].ns[i], got = several[d].ns[i], most = share * expected + 0.001;
      cr_assert(got >= expected - most && got <= expected + most, "%s, %d hosts, device %d, mark %d: %.2f ns, on one host %.2f ns",
                settings.profile, hosts, d, i, got, expected);
    }
  }
}

/* ---- Accesses ---- */

/* One device after the other, so that nobody races. */
static int access_lines(void *unused)
{
  int me = uma_device(), n = uma_device_count();
  size_t bytes = 10000;
  uint64_t *words = uma_alloc_symmetric(bytes);
  char *block = malloc(bytes);
  CHECK(words && block);
  memset(block, me, bytes);
  for (int turn = 0; turn < n; turn++) {
    CHECK(!uma_barrier());
    for (int d = 0; d < n && turn == me; d++) {
      uint64_t *there = uma_symmetric(words, d);
      uint64_t before = uma_ld(there);
      CHECK(before == (me ? (uint64_t)me - 1 : 0));
      uma_st(there, (uint64_t)me);
      uma_fetch_add(there + 1, 1ul);
      CHECK(!uma_get(block, there + 16, bytes - 128) && !uma_put(there + 16, block, bytes - 128));
    }
    mark();
  }
  free(block);
  CHECK(!uma_barrier());
  return tell();
}

Test(clock_hosts, misses_of_lines_take_what_they_take_on_one_host)
{
  static const char *const protocols[] = {"msi", "mesi", "moesi", "mesif"};
  for (int i = 0; i < 4; i++)
    compare(2, 4, (struct uma_config){.profile = MACHINE, .coherence = UMA_COHERENCE_LINE, .protocol = protocols[i]}, access_lines, 0);
  compare(3, 5, (struct uma_config){.profile = MACHINE, .coherence = UMA_COHERENCE_LINE, .line = 256}, access_lines, 0);
}

static int touch_pages(void *unused)
{
  int me = uma_device(), n = uma_device_count();
  volatile uint64_t *words = uma_alloc_symmetric(65536);
  CHECK(words);
  for (int turn = 0; turn < n; turn++) {
    CHECK(!uma_barrier());
    for (int d = 0; d < n && turn == me; d++) {
      volatile uint64_t *there = uma_symmetric((void *)words, d);
      there[0] = there[4096] + 1;
    }
    mark();
  }
  CHECK(!uma_barrier());
  return tell();
}

Test(clock_hosts, faults_of_pages_take_what_they_take_on_one_host)
{
  compare(2, 4, (struct uma_config){.profile = MACHINE, .coherence = UMA_COHERENCE_PAGE}, touch_pages, 0);
}

/* Everybody at once: times depend on who comes first, but nothing waits for ever, no count is lost, and each clock's parts add up. */
static int race(void *unused)
{
  enum { WORDS = 64, STEPS = 150 };
  int me = uma_device(), n = uma_device_count();
  uint64_t *words = uma_alloc_symmetric(WORDS * 64), sum = 0, random = (uint64_t)me + 1;
  struct uma_modelled m;
  double last = 0;
  CHECK(words);
  for (int i = 0; i < WORDS * 8; i++) uma_st(&words[i], 0ul);
  CHECK(!uma_barrier());
  for (int i = 0; i < STEPS; i++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    uint64_t *word = (uint64_t *)uma_symmetric(words, (int)(random >> 60) % n) + (random >> 40) % WORDS * 8;
    uma_fetch_add(word, 1ul);
    (void)uma_ld((uint64_t *)uma_symmetric(words, (int)(random >> 50) % n) + (random >> 33) % WORDS * 8);
    CHECK(uma_modelled_ns() > last);
    last = uma_modelled_ns();
  }
  CHECK(!uma_barrier());
  for (int d = 0; d < n; d++)
    for (int i = 0; i < WORDS; i++) sum += uma_ld((uint64_t *)uma_symmetric(words, d) + i * 8);
  CHECK(sum == (uint64_t)n * STEPS && !uma_modelled(me, &m));
  double parts = m.compute_ns + m.memory_ns + m.scale_up_ns + m.staging_ns + m.network_ns + m.waiting_ns;
  CHECK(parts > m.ns - 0.1 && parts < m.ns + 0.1);
  return uma_barrier();
}

Test(clock_hosts, devices_that_race_have_times_all_the_same)
{
  struct uma_config config = {.hosts = 2, .coherence = UMA_COHERENCE_LINE, .cache = 4096, .ways = 2, .memory = 1 << 20, .timeout = 100};
  config.profile = MACHINE;
  int result = uma_spawn(&config, 4, race, NULL);
  cr_assert_eq(result, 0, "lines: %d (%s)", result, result < 0 ? uma_last_error() : "");
  config.profile = STAGED_MACHINE;
  config.coherence = UMA_COHERENCE_PAGE;
  result = uma_spawn(&config, 3, race, NULL);
  cr_assert_eq(result, 0, "pages: %d (%s)", result, result < 0 ? uma_last_error() : "");
}

/* ---- Meeting ---- */

static int meet(void *unused)
{
  int me = uma_device(), n = uma_device_count();
  struct {
    struct uma_lock lock;
    struct uma_barrier barrier;
  } names;
  uint64_t *words = uma_alloc_symmetric(2 * sizeof *words);
  char block[3000] = {0};
  CHECK(words && !uma_barrier());
  if (me == 0) CHECK(!uma_lock_create(n - 1, &names.lock) && !uma_barrier_create(n - 1, &names.barrier));
  CHECK(!uma_broadcast(&names, sizeof names, 0));
  mark();
  CHECK(!uma_compute(0, 3.35e12 * 1e-6 * (me + 1), UMA_FP8) && !uma_barrier());
  mark();
  CHECK(!uma_compute(0, 3.35e12 * 1e-6 * (n - me), UMA_FP8) && !uma_barrier_wait(&names.barrier, n));
  mark();
  for (int turn = 0; turn < n; turn++) { /* who has the lock for long makes the others wait: signals tell who is next */
    if (turn == me) CHECK(!uma_lock(&names.lock) && !uma_compute(0, 3.35e12 * 1e-6, UMA_FP8) && !uma_unlock(&names.lock));
    if (turn == me) CHECK(!uma_signal(uma_symmetric(words, (me + 1) % n), (uint64_t)turn + 1, UMA_SIGNAL_SET));
    if (turn + 1 == me) CHECK(!uma_wait_until(words, UMA_GE, (uint64_t)me));
  }
  mark();
  CHECK(!uma_barrier());
  if (me == 0) CHECK(!uma_send(n - 1, 1, block, sizeof block) && !uma_recv(n - 1, 2, block, 8, NULL));
  if (me == n - 1) CHECK(!uma_recv(0, 1, block, sizeof block, NULL) && !uma_send(0, 2, block, 8));
  mark();
  CHECK(!uma_barrier());
  mark();
  return tell();
}

Test(clock_hosts, barriers_locks_signals_and_messages_take_what_they_take_on_one_host)
{
  struct uma_config lines = {.profile = MACHINE, .coherence = UMA_COHERENCE_LINE};
  compare(2, 2, lines, meet, 0);
  compare(2, 5, lines, meet, 0);
  compare(3, 4, lines, meet, 0);
}

static int collect(void *unused)
{
  size_t sizes[] = {8, 4000, 100000};
  int n = uma_device_count();
  char *src = calloc((size_t)n, sizes[2]), *dst = calloc((size_t)n, sizes[2]);
  CHECK(src && dst && !uma_barrier());
  for (int i = 0; i < 3; i++) {
    CHECK(!uma_allreduce(dst, src, sizes[i] / 8, UMA_INT64, UMA_SUM));
    mark();
    CHECK(!uma_allgather(dst, src, sizes[i]));
    mark();
    CHECK(!uma_reduce_scatter(dst, src, sizes[i] / 8, UMA_INT64, UMA_SUM));
    mark();
    CHECK(!uma_alltoall(dst, src, sizes[i]));
    mark();
    CHECK(!uma_broadcast(src, sizes[i], n - 1));
    mark();
  }
  free(src);
  free(dst);
  CHECK(!uma_barrier());
  return tell();
}

Test(clock_hosts, collectives_take_what_they_take_on_one_host)
{
  struct uma_config lines = {.profile = MACHINE, .coherence = UMA_COHERENCE_LINE};
  compare(2, 4, lines, collect, 0);
  compare(3, 5, lines, collect, 0);
}

/* ---- Servers that are joined by messages ---- */

/* Copies and messages in both directions, by turns and side by side where they share nothing; atomics, which are messages there. */
static int cross_domains(void *unused)
{
  int me = uma_device(), n = uma_device_count(), other = (me + n / 2) % n;
  size_t bytes = 3 << 20;
  char *block = uma_alloc_symmetric(bytes), *mine = malloc(bytes);
  uint64_t *word = uma_alloc_symmetric(sizeof *word);
  struct uma_stream *stream;
  CHECK(block && mine && word && !uma_stream_create(&stream));
  *word = 0;
  memset(mine, me, bytes);
  for (int turn = 0; turn < n; turn++) {
    CHECK(!uma_barrier());
    if (turn == me) CHECK(!uma_copy(uma_symmetric(block, other), mine, bytes) && !uma_get(mine, uma_symmetric(block, other), 100000));
    if (turn == me) uma_fetch_add((uint64_t *)uma_symmetric(word, other), 1ul);
    if (turn == me) CHECK(!uma_send(other, 1, mine, bytes));
    if (turn == other) CHECK(!uma_recv(other, 1, mine, bytes, NULL));
    if (turn == me) CHECK(!uma_copy_async(uma_symmetric(block, other), mine, 50000, stream) && !uma_stream_wait(stream));
    CHECK(!uma_compute(0, 448e9 * 0.02, UMA_FP8)); /* messages of the next barrier come when all this is over */
    mark();
  }
  CHECK(!uma_barrier() && !uma_allreduce(mine, block, 100, UMA_INT32, UMA_SUM));
  mark();
  CHECK(!uma_stream_destroy(stream) && !uma_barrier());
  free(mine);
  return tell();
}

Test(clock_hosts, servers_joined_by_messages_take_what_they_take_on_one_host)
{
  struct uma_config stacked = {.profile = MACHINE, .mode = UMA_MODE_STACKED, .servers = 4, .memory = (size_t)16 << 20};
  compare(2, 4, stacked, cross_domains, 0);
  stacked.profile = STAGED_MACHINE; /* hosts that share its NICs and host buffers */
  compare(2, 4, stacked, cross_domains, 0);
  compare(4, 8, stacked, cross_domains, 0.01); /* messages of their barriers race for the NICs */
}

static int access_staged(void *unused)
{
  int me = uma_device(), n = uma_device_count();
  uint64_t *words = uma_alloc_symmetric(4096);
  CHECK(words);
  for (int turn = 0; turn < n; turn++) {
    CHECK(!uma_barrier());
    for (int d = 0; d < n && turn == me; d++) {
      uint64_t *there = uma_symmetric(words, d);
      CHECK(uma_ld(there) == 0 && uma_fetch_add(there + 8, 1ul) == (uint64_t)me);
    }
    mark();
  }
  CHECK(!uma_barrier());
  return tell();
}

Test(clock_hosts, one_domain_over_staged_servers_takes_what_it_takes_on_one_host)
{
  struct uma_config lines = {.profile = STAGED_MACHINE, .coherence = UMA_COHERENCE_LINE, .memory = 1 << 20};
  compare(2, 10, lines, access_staged, 0.01); /* messages of their barriers race for the NICs, on one host as well */
}

/* ---- Hosts with a network between them, which PMIx brings together ---- */

static double time_of(const char *said, int device)
{
  char words[32];
  double ns = 0;
  snprintf(words, sizeof words, "device %d at ", device);
  const char *found = strstr(said, words);
  cr_assert(found && sscanf(found + strlen(words), "%lf", &ns) == 1 && ns > 0, "device %d says no time: %s", device, said);
  return ns;
}

static void compare_separate(const char *settings)
{
  char line[600], *one, *several;
  snprintf(line, sizeof line, "env UMA_PROFILE=" MACHINE " UMA_MEMORY=4M %s %s/uma run -n 4 -- %s/tests/programs/modelled", settings,
           session_build(), session_build());
  int status = command_run(line, &one);
  cr_assert_eq(status, 0, "%s: %d: %s", line, status, one);
  snprintf(line, sizeof line,
           "--devices 2 " HOSTS_SANITIZED "env UMA_INTERFACE=data UMA_PROFILE=" MACHINE " UMA_MEMORY=4M %s %s/tests/programs/modelled",
           settings, session_build());
  status = hosts_run(line, &several);
  cr_assert_eq(status, 0, "%s: %d: %s", line, status, several);
  for (int d = 0; d < 4; d++)
    cr_assert_eq(time_of(several, d), time_of(one, d), "%s, device %d: %.2f ns, on one host %.2f ns", settings, d, time_of(several, d),
                 time_of(one, d));
  free(one);
  free(several);
}

Test(clock_hosts, separate_hosts_have_the_times_of_one)
{
  compare_separate("UMA_COHERENCE=line");
  compare_separate("UMA_MODE=stacked UMA_SERVERS=2");
}

/* ---- Everybody's time ---- */

static int ask_times(void *unused)
{
  struct uma_modelled m;
  int me = uma_device(), n = uma_device_count();
  CHECK(!uma_compute(0, 3.35e12 * 1e-3 * (me + 1), UMA_FP8)); /* milliseconds of memory */
  CHECK(!uma_barrier());
  for (int d = 0; d < n; d++) CHECK(!uma_modelled(d, &m) && m.memory_ns >= 1e6 * (d + 1) && m.memory_ns < 1.1e6 * (d + 1));
  CHECK(uma_modelled(n, &m) == -EINVAL);
  return uma_barrier();
}

Test(clock_hosts, every_device_may_ask_for_the_time_of_every_other)
{
  struct uma_config config = {.profile = MACHINE, .coherence = UMA_COHERENCE_LINE, .hosts = 2, .memory = 1 << 20, .timeout = 60};
  int result = uma_spawn(&config, 4, ask_times, NULL);
  cr_assert_eq(result, 0, "%d (%s)", result, result < 0 ? uma_last_error() : "");
}

/* ---- Questions of other hosts ---- */

static bool is_refused(struct uma_clock_letter letter)
{
  uma_clock_answer(&letter);
  return letter.op == UMA_CLOCK_REFUSED && letter.version == UMA_CLOCK_VERSION;
}

static int answer(void *unused)
{
  uint64_t *word = uma_alloc_symmetric(sizeof *word);
  const struct fab_path *path = uma_clock_path(0, 1);
  struct uma_clock_letter flight = {.version = UMA_CLOCK_VERSION,
                                    .op = UMA_CLOCK_CARRY_ON,
                                    .carry_on = {.from = 0, .to = 1, .bytes = 1000}},
                          bad = flight;
  CHECK(word && !uma_barrier());
  if (uma_device() == 1) CHECK(!uma_recv(0, 1, NULL, 0, NULL));
  uma_clock_answer(&flight);
  if (uma_device() == 0) CHECK(!uma_send(1, 1, NULL, 0));
  CHECK(flight.op == UMA_CLOCK_CARRY_ON && flight.carry_on.flight.leg == (uint32_t)path->count);
  CHECK(uma_device() || flight.carry_on.flight.tail == fab_path_ticks(path, 1000, 0)); /* device 1 may have had to wait */
  CHECK(is_refused(flight));                                                           /* it has landed */
  for (int i = 0; i < 8; i++) {
    struct uma_clock_letter letter = bad;
    if (i == 0) letter.version++;
    if (i == 1) letter.op = 77;
    if (i == 2) letter.carry_on.from = -1;
    if (i == 3) letter.carry_on.to = uma_device_count();
    if (i == 4) letter.carry_on.flight.leg = UINT32_MAX;
    if (i == 5) letter.carry_on.flight.step = (uint32_t)path->leg[0].count;
    if (i == 6) letter.carry_on.flight.head = FAB_TICKS_MOST + 1;
    if (i == 7) letter.carry_on.flight.tail = UINT64_MAX;
    CHECK(is_refused(letter));
  }
  struct uma_clock_letter signal = {.version = UMA_CLOCK_VERSION, .op = UMA_CLOCK_NOTED_SIGNAL, .signal = {.word = (uintptr_t)word}};
  CHECK(!is_refused(signal));
  for (uint64_t beyond = 0; beyond < 3; beyond++) {
    signal.signal.word = beyond == 0   ? 0
                         : beyond == 1 ? (uintptr_t)word + 4
                                       : (uintptr_t)uma_window(uma_device_count() - 1, NULL) + (4 << 20);
    CHECK(is_refused(signal));
  }
  for (int64_t device = -1; device < 5; device++) {
    struct uma_clock_letter state = {.version = UMA_CLOCK_VERSION, .op = UMA_CLOCK_STATE, .state = {.device = device}};
    CHECK(is_refused(state) == (device < 0 || device >= uma_device_count()));
  }
  return uma_barrier();
}

Test(clock_hosts, questions_without_sense_are_refused)
{
  struct uma_config config = {.profile = MACHINE, .memory = (size_t)4 << 20, .timeout = 60};
  int result = uma_spawn(&config, 2, answer, NULL);
  cr_assert_eq(result, 0, "%d (%s)", result, result < 0 ? uma_last_error() : "");
}

/* ---- Death ---- */

/* Device 3 dies; who needs a queue or a clock of its host asks the other device there, or, if there is none, goes on without. */
static int outlive(void *argument)
{
  int me = uma_device(), n = uma_device_count(), hosts = *(int *)argument;
  uint64_t *words = uma_alloc_symmetric(4096), value;
  struct uma_modelled m;
  unsigned soon_us = 20000;
  pthread_t killer;
  CHECK(words && !uma_barrier());
  if (me == 3) CHECK(!pthread_create(&killer, NULL, session_die_later, &soon_us));
  double last = 0;
  for (int i = 0; me == 3 || i < 200 || uma_alive(3); i++) { /* lines may be lost with it: these are errors */
    if (uma_get(&value, (uint64_t *)uma_symmetric(words, i % n) + i % 500, sizeof value)) continue;
    uma_put((uint64_t *)uma_symmetric(words, (i + me) % n) + i % 500, &value, sizeof value);
    CHECK(uma_modelled_ns() >= last);
    last = uma_modelled_ns();
  }
  CHECK(uma_barrier() == -EHOSTDOWN && !uma_modelled(me, &m) && m.ns > 0);
  int asked = uma_modelled(3, &m); /* device 2 may have left before */
  CHECK(asked == -EHOSTDOWN || (asked == 0 && hosts == 2));
  return 0;
}

Test(clock_hosts, who_dies_takes_no_clock_along)
{
  for (int hosts = 2; hosts <= 4; hosts += 2) {
    struct uma_config config = {.profile = MACHINE,
                                .hosts = hosts,
                                .coherence = UMA_COHERENCE_LINE,
                                .on_failure = UMA_ON_FAILURE_CONTINUE,
                                .memory = 1 << 20,
                                .silence = 5,
                                .timeout = 60};
    char *said;
    int result = command_capture_spawn(&config, 4, outlive, &hosts, &said);
    cr_assert_eq(result, 128 + SIGKILL, "%d hosts: %d: %s", hosts, result, said);
    cr_assert(!strstr(said, "code 99") && !strstr(said, "did not end"), "%d hosts: %s", hosts, said);
    free(said);
  }
}
