/* Stacked servers joined by libfabric (--fabric ofi): windows of other domains are read and written by the network, whatever their program does;
 * atomics, signals, messages and collectives; death and silence; with caches inside of the domains; settings that do not go with it. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/hosts.h"
#include "tests/pattern.h"

#define MEMORY ((size_t)32 << 20)
#define MOST (((size_t)5 << 20) + 3)
#define ROUNDS 150

static struct uma_config config_of(int servers, int hosts, const char *provider)
{
  return (struct uma_config){.mode = UMA_MODE_STACKED,
                             .fabric = UMA_FABRIC_OFI,
                             .coherence = UMA_COHERENCE_NONE,
                             .servers = servers,
                             .hosts = hosts,
                             .provider = provider,
                             .memory = MEMORY,
                             .timeout = 120};
}

static void run(const struct uma_config *config, int devices, int (*function)(void *))
{
  int result = uma_spawn(config, devices, function, NULL);
  cr_assert_eq(result, 0, "%d devices in %d servers on %d hosts, provider \"%s\": %d (%s)", devices, config->servers, config->hosts,
               config->provider, result, result < 0 ? uma_last_error() : "");
}

/* As emulated servers and as hosts, over a provider with atomics and one without, with one device a domain and with two. */
static void run_shapes(int (*function)(void *))
{
  static const char *const providers[] = {"tcp;ofi_rxm", "net"};
  for (int p = 0; p < 2; p++) {
    struct uma_config servers = config_of(2, 1, providers[p]), hosts = config_of(2, 2, providers[p]);
    run(&servers, 2, function);
    run(&hosts, 2, function);
  }
  struct uma_config both = config_of(4, 2, "net"), pairs = config_of(2, 1, "net");
  run(&both, 4, function);
  run(&pairs, 4, function);
}

static int tell_the_path(void *unused)
{
  for (int d = 0; d < uma_device_count(); d++) {
    bool own = uma_domain(d) == uma_domain(uma_device());
    CHECK(uma_reachable(d) == own && uma_path(d) == (d == uma_device() ? UMA_PATH_SELF : own ? UMA_PATH_MAP : UMA_PATH_RMA));
    errno = 0;
    CHECK(own || (!uma_malloc_on(d, 8) && errno == EREMOTE));
  }
  return 0;
}

Test(rma, is_the_path_to_other_domains)
{
  run_shapes(tell_the_path);
}

/* ---- Bytes ------------------------------------------------------------------------------------------------------- */

/* Nothing is aligned, and the bytes around stay as they are. Each device writes into the next window only. */
static int put_and_get(void *unused)
{
  static const size_t sizes[] = {0, 1, 7, 8, 4095, 65537, MOST};
  int me = uma_device(), devices = uma_device_count(), next = (me + 1) % devices, before = (me + devices - 1) % devices;
  unsigned char *mine = uma_alloc_symmetric(MOST + 16), *local = malloc(MOST + 16), *theirs = uma_symmetric(mine, next);
  CHECK(mine && local);
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    size_t bytes = sizes[s];
    memset(mine, 0xee, MOST + 16);
    CHECK(!uma_barrier());
    pattern_fill(local + 1, bytes, (unsigned)me);
    CHECK(!uma_put(theirs + 5, local + 1, bytes));
    memset(local, 0x77, bytes + 16);
    CHECK(!uma_get(local + 3, theirs + 5, bytes));
    CHECK(pattern_holds(local + 3, bytes, (unsigned)me) && local[2] == 0x77 && local[3 + bytes] == 0x77);
    CHECK(!uma_barrier());
    CHECK(pattern_holds(mine + 5, bytes, (unsigned)before) && mine[4] == 0xee && mine[5 + bytes] == 0xee);
    CHECK(!uma_barrier());
  }
  free(local);
  return 0;
}

Test(rma, bytes_of_any_size_and_place)
{
  run_shapes(put_and_get);
}

/* Through a copy engine, by rows, from one foreign window to another, and over the end of a window. */
static int copy_otherwise(void *unused)
{
  size_t bytes = (size_t)1 << 20, window;
  int me = uma_device(), devices = uma_device_count(), next = (me + 1) % devices, before = (me + devices - 1) % devices;
  unsigned char *source = uma_alloc_symmetric(bytes), *sink = uma_alloc_symmetric(bytes), *local = malloc(bytes), grid[13 * 10];
  struct uma_stream *stream;
  CHECK(source && sink && local && !uma_stream_create(&stream));
  pattern_fill(source, bytes, (unsigned)me);
  CHECK(!uma_barrier());
  CHECK(!uma_copy_async(local, uma_symmetric(source, next), bytes, stream) && !uma_stream_wait(stream));
  CHECK(pattern_holds(local, bytes, (unsigned)next));
  CHECK(!uma_copy_async(uma_symmetric(sink, next), uma_symmetric(source, before), bytes, stream) && !uma_stream_wait(stream));
  CHECK(!uma_barrier() && pattern_holds(sink, bytes, (unsigned)((me + 2 * devices - 2) % devices)) && !uma_barrier());
  CHECK(!uma_copy_2d(grid, 13, uma_symmetric(source, next), 100, 13, 10));
  pattern_fill(local, 1000, (unsigned)next);
  for (int i = 0; i < 13 * 10; i++) CHECK(grid[i] == local[i / 13 * 100 + i % 13]);
  CHECK(!uma_stream_destroy(stream));
  unsigned char *last = uma_window(devices - 1, &window);
  CHECK(uma_get(local, last + window - 10, 100) == -EFAULT && uma_put(last + window - 10, local, 100) == -EFAULT);
  CHECK(!uma_get(local, last - 50, 100) && !uma_get(grid, last, 50) && !memcmp(local + 50, grid, 50));
  return uma_barrier();
}

Test(rma, copies_by_streams_and_rows)
{
  run_shapes(copy_otherwise);
}

/* The home computes and never calls the library: its window is reached all the same. */
static int compute_meanwhile(void *unused)
{
  uint64_t *word = uma_alloc_symmetric(sizeof *word), *theirs = uma_symmetric(word, 1), zero = 0;
  CHECK(word && !uma_barrier());
  if (uma_device() == 0) {
    for (int i = 0; i < 30; i++) CHECK(!uma_get(&zero, theirs, sizeof zero) && zero == 0);
    uma_st(theirs, (uint64_t)1);
  } else if (uma_device() == 1) {
    while (!__atomic_load_n(word, __ATOMIC_ACQUIRE)) continue;
  }
  return uma_barrier();
}

Test(rma, needs_no_call_of_the_home)
{
  run_shapes(compute_meanwhile);
}

static int touch_plainly(void *unused)
{
  int *word = uma_alloc_symmetric(sizeof *word);
  if (uma_device() == 0) *(volatile int *)uma_symmetric(word, 1) = 1;
  return uma_barrier();
}

Test(rma, a_plain_store_stays_illegal)
{
  struct uma_config config = config_of(2, 1, "net");
  char *said;
  cr_expect_eq(command_capture_spawn(&config, 2, touch_plainly, NULL, &said), 128 + SIGSEGV);
  cr_expect(strstr(said, "illegal plain store") && strstr(said, "another coherence domain") && strstr(said, "uma_copy"), "%s", said);
  free(said);
}

/* ---- Words ------------------------------------------------------------------------------------------------------- */

struct words { /* of device 0 */
  uint64_t sum, pairs, flags, guess;
  uint32_t small;
  uint8_t byte;
  uint16_t half;
  double real;
};

/* All add to the same words, the home by its processor's own instructions; nothing is lost. */
static int contend(void *unused)
{
  struct words *mine = uma_alloc_symmetric(sizeof *mine), *w = uma_symmetric(mine, 0);
  int me = uma_device(), rounds = me ? ROUNDS : 100 * ROUNDS;
  CHECK(mine);
  memset(mine, 0, sizeof *mine);
  CHECK(!uma_barrier());
  for (int i = 0; i < rounds; i++) {
    uma_fetch_add(&w->sum, 3);
    if (me) uma_fetch_add(&w->small, 1u);
    else __atomic_fetch_add(&w->small, 1u, __ATOMIC_SEQ_CST);
    uma_fetch_xor(&w->flags, (uint64_t)1 << (8 + me));
    for (uint64_t old = uma_ld(&w->guess), seen; (seen = uma_cas(&w->guess, old, old + 1)) != old; old = seen) continue;
  }
  uma_fetch_or(&w->flags, (uint64_t)1 << me);
  CHECK(!uma_barrier());
  unsigned all = ROUNDS * (100u + (unsigned)uma_device_count() - 1);
  CHECK(uma_ld(&w->sum) == 3u * all && uma_ld(&w->small) == all && uma_ld(&w->guess) == all);
  CHECK(uma_ld(&w->flags) == ((uint64_t)1 << uma_device_count()) - 1);
  return uma_barrier();
}

/* Threads of one device, and its copy engine, reach the same window at once. */
static void *add_and_copy(void *words)
{
  struct words *w = words;
  uint64_t block[64];
  for (int i = 0; i < 100; i++) {
    uma_fetch_add(&w->sum, 1);
    memset(block, i, sizeof block);
    if (uma_put(w + 1, block, sizeof block) || uma_get(block, w + 1, sizeof block)) return words;
  }
  return NULL;
}

static int use_threads(void *unused)
{
  int me = uma_device(), next = (me + 1) % uma_device_count();
  struct words *mine = uma_alloc_symmetric(sizeof *mine + 512), *theirs = uma_symmetric(mine, next);
  unsigned char *source = uma_alloc_symmetric(MOST), *local = malloc(MOST);
  pthread_t threads[3];
  struct uma_stream *stream;
  void *fault;
  CHECK(mine && source && local && !uma_stream_create(&stream));
  mine->sum = 0;
  pattern_fill(source, MOST, (unsigned)me);
  CHECK(!uma_barrier());
  for (int i = 0; i < 3; i++) CHECK(!pthread_create(&threads[i], NULL, add_and_copy, theirs));
  for (int i = 0; i < 5; i++) CHECK(!uma_copy_async(local, uma_symmetric(source, next), MOST, stream));
  for (int i = 0; i < 3; i++) CHECK(!pthread_join(threads[i], &fault) && !fault);
  CHECK(!uma_stream_destroy(stream) && pattern_holds(local, MOST, (unsigned)next));
  free(local);
  CHECK(!uma_barrier() && uma_ld(&mine->sum) == 300);
  return uma_barrier();
}

static int all_sizes(void *unused)
{
  struct words *mine = uma_alloc_symmetric(sizeof *mine), *w = uma_symmetric(mine, (uma_device() + 1) % uma_device_count());
  CHECK(mine);
  memset(mine, 0, sizeof *mine);
  CHECK(!uma_barrier());
  uma_st(&w->byte, (uint8_t)200);
  uma_st(&w->half, (uint16_t)60000);
  uma_st(&w->real, -1.25);
  CHECK(uma_ld(&w->byte) == 200 && uma_ld(&w->half) == 60000 && uma_ld(&w->real) == -1.25);
  CHECK(uma_swap(&w->real, 2.5) == -1.25 && uma_swap(&w->small, 7u) == 0 && uma_fetch_and(&w->small, 5u) == 7);
  CHECK(uma_cas(&w->small, 4u, 9u) == 5 && uma_cas(&w->small, 5u, 9u) == 5 && uma_ld(&w->small) == 9);
  CHECK(!uma_barrier() && mine->byte == 200 && mine->half == 60000 && mine->real == 2.5 && mine->small == 9);
  return uma_barrier();
}

Test(rma, atomics_are_atomic_with_those_of_the_home)
{
  run_shapes(contend);
  run_shapes(all_sizes);
}

Test(rma, threads_are_equals)
{
  run_shapes(use_threads);
}

/* Waiters sleep long before the signal comes; what was put before it is there. */
static int signal_sleepers(void *unused)
{
  struct {
    uint64_t word, data[512];
  } *mine = uma_alloc_symmetric(sizeof *mine), *theirs;
  int me = uma_device(), devices = uma_device_count();
  uint64_t data[512];
  CHECK(mine);
  memset(mine, 0, sizeof *mine);
  theirs = uma_symmetric(mine, (me + 1) % devices);
  CHECK(!uma_barrier());
  for (uint64_t lap = 1; lap <= 10; lap++) {
    if (me) CHECK(!uma_wait_until(&mine->word, UMA_EQ, lap));
    else usleep(3000);
    for (int i = 0; i < 512; i++) {
      CHECK(!me || mine->data[i] == lap * 1000 + (uint64_t)i);
      data[i] = lap * 1000 + (uint64_t)i;
    }
    CHECK(!uma_put_signal(theirs->data, data, sizeof data, &theirs->word, lap, UMA_SIGNAL_SET));
    if (!me) CHECK(!uma_wait_until(&mine->word, UMA_GE, lap));
  }
  CHECK(!uma_barrier());
  CHECK(!uma_signal(&theirs->word, 1, UMA_SIGNAL_ADD) && !uma_wait_until(&mine->word, UMA_EQ, 11));
  CHECK(uma_reachable((me + 1) % devices) || uma_wait_until(&theirs->word, UMA_EQ, 0) == -EREMOTE);
  return uma_barrier();
}

Test(rma, signals_wake_who_sleeps)
{
  run_shapes(signal_sleepers);
}

/* ---- Messages, collectives, locks -------------------------------------------------------------------------------- */

static int talk(void *unused)
{
  static const size_t sizes[] = {0, 8, 20000, 3 << 20};
  int me = uma_device(), devices = uma_device_count();
  unsigned char *out = malloc(3 << 20), *in = uma_malloc(3 << 20);
  struct uma_request *request;
  struct uma_status status;
  CHECK(out && in);
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    pattern_fill(out, sizes[s], (unsigned)me);
    CHECK(!uma_isend((me + 1) % devices, (int)s, out, sizes[s], &request));
    CHECK(!uma_recv((me + devices - 1) % devices, (int)s, in, sizes[s], &status) && status.bytes == sizes[s]);
    CHECK(pattern_holds(in, sizes[s], (unsigned)status.device) && !uma_wait(request, NULL));
  }
  double sums[1000], own[1000];
  for (int i = 0; i < 1000; i++) own[i] = me + i;
  CHECK(!uma_allreduce(sums, own, 1000, UMA_FLOAT64, UMA_SUM));
  for (int i = 0; i < 1000; i++) CHECK(sums[i] == devices * (devices - 1) / 2 + i * devices);
  int all[8], root = me == 1 ? 42 : 0;
  CHECK(!uma_broadcast(&root, sizeof root, 1) && root == 42 && !uma_allgather(all, &me, sizeof me));
  for (int d = 0; d < devices; d++) CHECK(all[d] == d);
  return 0;
}

static int lock(void *unused)
{
  struct uma_lock *mine = uma_alloc_symmetric(sizeof *mine), copy;
  uint64_t *counter = uma_symmetric(uma_alloc_symmetric(sizeof *counter), 0);
  if (uma_device() == 0) CHECK(!uma_lock_create(uma_device_count() - 1, mine));
  CHECK(!uma_barrier() && !uma_get(&copy, uma_symmetric(mine, 0), sizeof copy));
  for (int i = 0; i < 30; i++) {
    CHECK(!uma_lock(&copy));
    uint64_t value = uma_ld(counter);
    uma_st(counter, value + 1);
    CHECK(!uma_unlock(&copy));
  }
  CHECK(!uma_barrier() && uma_ld(counter) == 30u * (unsigned)uma_device_count());
  return uma_barrier();
}

Test(rma, messages_collectives_and_locks_go_on)
{
  run_shapes(talk);
  run_shapes(lock);
}

/* PMIx, too, exchanges what the endpoints must know of each other. */
Test(rma, under_a_launcher)
{
  char line[256], *said;
  snprintf(line, sizeof line,
           "-n 2 -x UMA_MODE=stacked -x UMA_SERVERS=2 -x UMA_FABRIC=ofi -x UMA_MEMORY=32M " HOSTS_SANITIZED "%s/tests/programs/windows",
           session_build());
  cr_expect_eq(hosts_run_on_one(line, &said), 0, "%s", said);
  cr_expect(strstr(said, "windows are right"), "%s", said);
  free(said);
}

Test(rma, other_providers_carry_it)
{
  static const char *const providers[] = {"sockets", "shm"};
  for (int p = 0; p < 2; p++) {
    struct uma_config config = config_of(2, 1, providers[p]);
    run(&config, 2, all_sizes);
    run(&config, 2, copy_otherwise);
  }
}

/* A domain's own caches stay coherent: what others write goes through them, so the path is that of messages. */
static int past_no_cache(void *unused)
{
  int me = uma_device(), devices = uma_device_count(), far = (me + 2) % devices;
  uint64_t *mine = uma_alloc_symmetric(sizeof *mine), *theirs = uma_symmetric(mine, far), value = 5;
  CHECK(mine && uma_path(far) == UMA_PATH_MSG);
  uma_st(mine, (uint64_t)0);
  CHECK(!uma_barrier());
  for (uint64_t round = 1; round <= 20; round++) {
    CHECK(uma_ld(mine) == round - 1 && uma_ld((uint64_t *)uma_symmetric(mine, me ^ 1)) == round - 1); /* cached in both */
    CHECK(!uma_barrier());
    CHECK(!uma_put(theirs, &round, sizeof round));
    CHECK(!uma_barrier());
    CHECK(!uma_get(&value, theirs, sizeof value) && value == round);
  }
  CHECK(!uma_barrier() && uma_fetch_add(theirs, 1) == 20 && !uma_barrier() && uma_ld(mine) == 21);
  return uma_barrier();
}

Test(rma, caches_are_not_passed_by)
{
  for (int coherence = UMA_COHERENCE_LINE; coherence <= UMA_COHERENCE_PAGE; coherence++) {
    struct uma_config config = config_of(2, 1, "net");
    config.coherence = coherence;
    run(&config, 4, past_no_cache);
  }
}

/* A modelled clock is charged what the modelled machine would take, whatever carries the bytes here. */
static int charge(void *times)
{
  unsigned char *mine = uma_alloc_symmetric(1 << 20), *theirs = uma_symmetric(mine, 1), local[1000] = {0};
  if (uma_device() == 0) {
    CHECK(!uma_put(theirs, local, sizeof local) && !uma_copy(mine, theirs, 1 << 20));
    CHECK(uma_fetch_add((uint64_t *)(void *)theirs, 1) == 0 && !uma_signal((uint64_t *)(void *)theirs, 1, UMA_SIGNAL_ADD));
    *(double *)times = uma_modelled_ns();
  }
  return uma_barrier();
}

Test(rma, the_modelled_machine_is_charged_the_same)
{
  double *times = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  cr_assert(times != MAP_FAILED);
  for (int i = 0; i < 2; i++) {
    struct uma_config config = config_of(2, 1, "net");
    config.fabric = i ? UMA_FABRIC_OFI : UMA_FABRIC_URING;
    config.profile = "h100-8";
    cr_assert_eq(uma_spawn(&config, 2, charge, &times[i]), 0, "%s", uma_last_error());
  }
  cr_expect(times[0] > 1000 && times[0] == times[1], "%g ns by sockets, %g ns by RMA", times[0], times[1]);
  munmap(times, 4096);
}

/* ---- Death ------------------------------------------------------------------------------------------------------- */

/* Device 1 waits until the others are out of the barrier, where its death would be an error of theirs. Its death may also come before the put is
 * confirmed. */
static void leave_barrier(uint64_t *left)
{
  const uint64_t yes = 1;
  int me = uma_device();
  if (me != 1) uma_put((uint64_t *)uma_symmetric(left, 1) + me, &yes, sizeof yes);
  for (int d = 0; me == 1 && d < uma_device_count(); d++)
    while (d != me && !uma_ld(&left[d])) usleep(100);
}

/* What is done to the window of device 1, which is killed meanwhile: all of it ends. */
static int outlive(void *argument)
{
  unsigned char *mine = uma_alloc_symmetric(MOST), *theirs = uma_symmetric(mine, 1), *local = malloc(MOST);
  uint64_t *left = uma_alloc_symmetric(3 * sizeof *left);
  struct uma_stream *stream;
  int result = 0;
  pthread_t killer;
  CHECK(mine && local && left && !uma_stream_create(&stream) && !uma_barrier());
  leave_barrier(left);
  if (uma_device() == 1) {
    CHECK(!pthread_create(&killer, NULL, session_die_later, argument));
    for (;;) uma_put(uma_symmetric(mine, 0), local, MOST);
  }
  while (!result) {
    result = uma_put(theirs, local, uma_device() == 2 ? 8 : MOST);
    if (!result) result = uma_get(local, theirs, 100);
  }
  CHECK(result == -EHOSTDOWN && strstr(uma_last_error(), "lost"));
  while (uma_alive(1)) usleep(1000);
  CHECK(uma_get(local, theirs, 8) == -EHOSTDOWN && uma_signal((uint64_t *)(void *)theirs, 1, UMA_SIGNAL_SET) == -EHOSTDOWN);
  CHECK(!uma_copy_async(theirs, local, 100, stream) && uma_stream_wait(stream) == -EHOSTDOWN);
  CHECK(uma_barrier() == -EHOSTDOWN);
  int other = uma_device() == 0 ? 2 : 0;
  CHECK(!uma_put(uma_symmetric(mine + 4096, other), local, 4096) && !uma_get(local, uma_symmetric(mine, other), 4096));
  CHECK(!uma_send(other, 1, local, 8) && !uma_recv(other, 1, local, 8, NULL)); /* neither leaves while the other needs it */
  CHECK(!uma_stream_destroy(stream));
  return 0;
}

Test(rma, a_dead_home_is_an_error_and_no_wait)
{
  static const char *const providers[] = {"tcp;ofi_rxm", "net"};
  for (unsigned i = 0; i < 6; i++) {
    struct uma_config config = config_of(3, i < 4 ? 1 : 3, providers[i % 2]); /* over hosts only silence may tell */
    unsigned delay_us = i * 7919 % 30000;
    char *said;
    config.on_failure = UMA_ON_FAILURE_CONTINUE;
    config.silence = 5;
    config.timeout = 60;
    int result = command_capture_spawn(&config, 3, outlive, &delay_us, &said);
    cr_assert_eq(result, 128 + SIGKILL, "%s, after %u us: %d: %s", config.provider, delay_us, result, said);
    cr_assert(!strstr(said, "code 99") && !strstr(said, "did not end"), "%s, after %u us: %s", config.provider, delay_us, said);
    free(said);
  }
}

static int fall_silent(void *unused)
{
  int *pid = uma_alloc_symmetric(sizeof *pid), mine = getpid(), victim = 0;
  uint64_t *left = uma_alloc_symmetric(2 * sizeof *left);
  char byte, *window = uma_window(1, NULL);
  if (uma_device() == 1) CHECK(!uma_put(uma_symmetric(pid, 0), &mine, sizeof mine));
  CHECK(left && !uma_barrier());
  leave_barrier(left);
  if (uma_device() == 1) raise(SIGSTOP);
  victim = *pid;
  while (!uma_get(&byte, window, 1)) continue;
  CHECK(!uma_alive(1) && uma_recv(1, 7, &byte, 1, NULL) == -EHOSTDOWN && uma_barrier() == -EHOSTDOWN);
  kill(victim, SIGKILL);
  return 0;
}

Test(rma, a_silent_home_is_lost)
{
  for (int hosts = 1; hosts <= 2; hosts++) {
    struct uma_config config = config_of(2, hosts, hosts == 1 ? "tcp;ofi_rxm" : "net");
    char *said;
    config.on_failure = UMA_ON_FAILURE_CONTINUE;
    config.silence = 1;
    cr_expect_eq(command_capture_spawn(&config, 2, fall_silent, NULL, &said), 128 + SIGKILL, "%s", said);
    cr_expect(!strstr(said, "code 99"), "%s", said);
    free(said);
  }
}

static int wait_for_ever_by_an_atomic(void *unused)
{
  uint64_t *word = uma_alloc_symmetric(sizeof *word), *left = uma_alloc_symmetric(2 * sizeof *left);
  CHECK(word && left && !uma_barrier());
  leave_barrier(left);
  if (uma_device() == 1) raise(SIGKILL);
  for (;;) uma_fetch_add((uint64_t *)uma_symmetric(word, 1), 1);
}

Test(rma, an_atomic_on_a_lost_device_ends_the_process)
{
  struct uma_config config = config_of(2, 1, "net");
  char *said;
  config.on_failure = UMA_ON_FAILURE_CONTINUE;
  cr_expect_neq(command_capture_spawn(&config, 2, wait_for_ever_by_an_atomic, NULL, &said), 0);
  cr_expect(strstr(said, "an atomic operation on") && strstr(said, "(device 1) failed: a device of the session was lost"), "%s", said);
  free(said);
}

/* ---- Settings ---------------------------------------------------------------------------------------------------- */

Test(rma, settings_that_do_not_go_with_it_are_told)
{
  struct uma_config config = config_of(1, 1, "net");
  session_expect_refusal(config, 2, "fabric: ofi is not valid with one coherence domain on one host");
  config = config_of(2, 1, "net");
  config.mode = UMA_MODE_SUPERNODE;
  session_expect_refusal(config, 2, "fabric: ofi is not valid with one coherence domain on one host");
  config = config_of(2, 2, "net");
  config.mode = UMA_MODE_SUPERNODE;
  session_expect_refusal(config, 2, "coherence: none is not valid with 2 hosts");
  config = config_of(2, 1, "net");
  config.fabric = 3;
  session_expect_refusal(config, 2, "fabric: 3 is not valid; expected 1 to 2 for uring|ofi");
  config = config_of(2, 1, "carrier pigeon");
  session_expect_refusal(config, 2, "cannot open an endpoint for messages by libfabric");
  command_expect("run -n 2 --servers 2 --mode stacked --fabric verbs true", 2, "fabric: \"verbs\" is not valid; expected uring|ofi");
}
