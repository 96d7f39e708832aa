/* Sessions over several hosts, which share no memory: plain and explicit accesses, what is asked of other hosts, the death and the silence of
 * a host, settings that do not go together. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "tests/command.h"
#include "tests/session.h"

enum { WORDS = 96, MEMORY = 1 << 20 };

static struct uma_config config_of(int coherence, int hosts)
{
  return (struct uma_config){.coherence = coherence, .hosts = hosts, .memory = MEMORY, .timeout = 120};
}

static void run(const struct uma_config *config, int devices, int (*function)(void *), void *argument)
{
  int result = uma_spawn(config, devices, function, argument);
  cr_assert_eq(result, 0, "%d devices on %d hosts, coherence %d, provider \"%s\": %d (%s)", devices, config->hosts, config->coherence,
               config->provider ? config->provider : "", result, result < 0 ? uma_last_error() : "");
}

/* ---- All that reaches other hosts ---- */

static int tell_where_devices_are(void *unused)
{
  int me = uma_device(), devices = uma_device_count();
  for (int d = 0; d < devices; d++) {
    bool same_host = d * 2 / devices == me * 2 / devices;
    CHECK(uma_reachable(d) && uma_path(d) == (d == me ? UMA_PATH_SELF : same_host ? UMA_PATH_MAP : UMA_PATH_RMA));
    CHECK(uma_server(d) == d * 2 / devices && uma_domain(d) == 0);
  }
  return 0;
}

/* A list of raw pointers through the windows of all devices, each node allocated by the device after its home. */
struct node {
  struct node *next;
  long value;
};

static int walk_a_list(void *unused)
{
  int me = uma_device(), devices = uma_device_count();
  struct node **head = uma_alloc_symmetric(sizeof *head);
  struct node *node = uma_malloc_on((me + 1) % devices, sizeof *node);
  CHECK(head && node && uma_home(node) == (me + 1) % devices);
  uma_st(&node->value, (long)me);
  uma_st(&node->next, (struct node *)NULL);
  uma_st(head, node);
  CHECK(!uma_barrier());
  long sum = 0;
  for (int d = 0; d < devices; d++) {
    struct node *first = uma_ld((struct node **)uma_symmetric(head, d));
    sum += uma_ld(&first->value);
  }
  CHECK(sum == (long)devices * (devices - 1) / 2);
  CHECK(!uma_barrier());
  CHECK(!uma_free(node) && uma_free(node) == -EALREADY);
  struct uma_usage usage;
  for (int d = 0; d < devices; d++) CHECK(!uma_usage(d, &usage) && usage.capacity == MEMORY);
  CHECK(!uma_malloc_on((me + 1) % devices, 2 * MEMORY) && errno == ENOMEM);
  return 0;
}

static int meet_and_lock(void *unused)
{
  int me = uma_device(), devices = uma_device_count(), last = devices - 1;
  struct {
    struct uma_lock lock;
    struct uma_barrier barrier;
  } *names = uma_alloc_symmetric(sizeof *names), copy;
  long *counter = uma_alloc_symmetric(sizeof *counter), value;
  names = uma_symmetric(names, 0);
  counter = uma_symmetric(counter, last);
  if (me == 0) {
    CHECK(!uma_lock_create(last, &copy.lock) && !uma_barrier_create(last, &copy.barrier));
    CHECK(!uma_put(names, &copy, sizeof copy));
  }
  CHECK(!uma_barrier() && !uma_get(&copy, names, sizeof copy));
  for (int round = 1; round <= 20; round++) {
    CHECK(!uma_lock(&copy.lock));
    value = uma_ld(counter);
    uma_st(counter, value + 1);
    CHECK(!uma_unlock(&copy.lock));
    CHECK(!uma_barrier_wait(&copy.barrier, devices));
    CHECK(uma_ld(counter) == (long)round * devices);
    CHECK(!uma_barrier_wait(&copy.barrier, devices));
  }
  if (me) return 0;
  CHECK(!uma_barrier_destroy(&copy.barrier) && uma_barrier_wait(&copy.barrier, devices) == -EINVAL);
  CHECK(!uma_lock_destroy(&copy.lock));
  return 0;
}

static int signal_each_other(void *unused)
{
  int me = uma_device(), devices = uma_device_count(), next = (me + 1) % devices;
  uint64_t *word = uma_alloc_symmetric(sizeof *word), *data = uma_alloc_symmetric(4096), block[512];
  for (uint64_t round = 1; round <= 20; round++) {
    for (int i = 0; i < 512; i++) block[i] = round * 1000 + (uint64_t)me;
    CHECK(!uma_put_signal(uma_symmetric(data, next), block, sizeof block, uma_symmetric(word, next), 1, UMA_SIGNAL_ADD));
    CHECK(!uma_wait_until(word, UMA_GE, round));
    CHECK(!uma_get(block, data, sizeof block) && block[511] == round * 1000 + (uint64_t)((me + devices - 1) % devices));
    CHECK(!uma_barrier());
  }
  return 0;
}

static int (*const functions[])(void *) = {tell_where_devices_are, walk_a_list, meet_and_lock, signal_each_other};

Test(hosts, all_calls_reach_other_hosts)
{
  for (int coherence = UMA_COHERENCE_LINE; coherence <= UMA_COHERENCE_PAGE; coherence++)
    for (size_t f = 0; f < sizeof functions / sizeof functions[0]; f++) {
      struct uma_config config = config_of(coherence, 2);
      run(&config, 2, functions[f], NULL);
      run(&config, 5, functions[f], NULL);
    }
}

Test(hosts, any_provider_carries_them)
{
  static const char *const providers[] = {"tcp;ofi_rxm", "net", "sockets", "shm"};
  for (int p = 0; p < 4; p++) {
    struct uma_config config = config_of(UMA_COHERENCE_LINE, 2);
    config.provider = providers[p];
    run(&config, 3, walk_a_list, NULL);
  }
}

static int store_plainly(void *unused)
{
  int *mine = uma_alloc_symmetric(sizeof *mine), devices = uma_device_count();
  for (int round = 0; round < 10; round++) {
    *(int *)uma_symmetric(mine, (uma_device() + 1) % devices) = uma_device() + 100 * round;
    CHECK(!uma_barrier() && *mine == (uma_device() + devices - 1) % devices + 100 * round);
    CHECK(!uma_barrier());
  }
  return 0;
}

Test(hosts, plain_stores_reach_other_hosts_by_pages)
{
  static const size_t pages[] = {4 << 10, 16 << 10, 64 << 10};
  for (int p = 0; p < 3; p++)
    for (int hosts = 2; hosts <= 4; hosts++) {
      struct uma_config config = config_of(UMA_COHERENCE_PAGE, hosts);
      config.page = pages[p];
      run(&config, 4, store_plainly, NULL);
    }
}

/* ---- Death ---- */

struct plan {
  unsigned delay_us, seed;
  int victim;
};

/* Word w is written by one device only, ever larger numbers; who reads it sees none go back. What is lost is an error. */
static int work(const struct plan *plan, uint64_t *words, int steps)
{
  uint64_t random = plan->seed * 977u + (unsigned)uma_device(), seen[WORDS] = {0};
  static uint64_t written;
  for (int i = 0; i < steps || uma_device() == plan->victim; i++) {
    random = random * 6364136223846793005ull + 1442695040888963407ull;
    uint64_t w = (random >> 33) % WORDS, value = ++written, home = (random >> 20) % (uint64_t)uma_device_count();
    bool mine = (int)(w % (uint64_t)uma_device_count()) == uma_device();
    uint64_t *word = (uint64_t *)uma_symmetric(words, (int)home) + w;
    int result = mine ? uma_put(word, &value, sizeof value) : uma_get(&value, word, sizeof value);
    CHECK(!result || (result == -EHOSTDOWN && strstr(uma_last_error(), "lost together with a device")));
    if (result || mine || home) continue;
    CHECK(value >= seen[w]);
    seen[w] = value;
  }
  return 0;
}

static int work_until_killed(void *argument)
{
  struct plan *plan = argument;
  pthread_t killer;
  uint64_t *words = uma_alloc_symmetric(WORDS * sizeof *words), value;
  CHECK(words && !uma_barrier());
  if (uma_device() == plan->victim) CHECK(!pthread_create(&killer, NULL, session_die_later, &plan->delay_us));
  if (work(plan, words, 1000)) return 99;
  while (uma_alive(plan->victim)) usleep(1000); /* all hosts come to know it */
  if (work(plan, words, 1000)) return 99;
  CHECK(uma_barrier() == -EHOSTDOWN);
  uma_get(&value, words, sizeof value); /* may be lost, but does not hang */
  uma_flush();
  return 0;
}

Test(hosts, who_dies_takes_no_other_host_along)
{
  static const char *const protocols[] = {"msi", "mesi", "moesi", "mesif"};
  for (unsigned i = 0; i < 8; i++) {
    struct uma_config config = config_of(UMA_COHERENCE_LINE, 2 + (int)i % 2);
    config.protocol = protocols[i % 4];
    config.cache = 64 * 16;
    config.on_failure = UMA_ON_FAILURE_CONTINUE;
    config.silence = 5;
    config.timeout = 60;
    struct plan plan = {i * 7919 % 20000, i, (int)i % 4};
    char *said;
    int result = command_capture_spawn(&config, 4, work_until_killed, &plan, &said);
    cr_assert_eq(result, 128 + SIGKILL, "%s, victim %d: %d: %s", protocols[i % 4], plan.victim, result, said);
    cr_assert(!strstr(said, "code 99") && !strstr(said, "did not end"), "%s, victim %d: %s", protocols[i % 4], plan.victim, said);
    free(said);
  }
}

static int fall_silent(void *unused)
{
  int *pid = uma_alloc_symmetric(sizeof *pid), victim;
  char byte;
  pid = uma_symmetric(pid, 0);
  if (uma_device() == 1) uma_st(pid, (int)getpid());
  CHECK(!uma_barrier());
  victim = uma_ld(pid);
  CHECK(!uma_barrier());
  if (uma_device() == 1) raise(SIGSTOP);
  CHECK(uma_recv(1, 7, &byte, 1, NULL) == -EHOSTDOWN && !uma_alive(1));
  CHECK(uma_get(&byte, uma_window(1, NULL), 1) == -EHOSTDOWN && uma_barrier() == -EHOSTDOWN);
  kill(victim, SIGKILL);
  return 0;
}

Test(hosts, a_silent_host_is_lost)
{
  struct uma_config config = config_of(UMA_COHERENCE_LINE, 2);
  char *said;
  config.on_failure = UMA_ON_FAILURE_CONTINUE;
  config.silence = 1;
  cr_expect_eq(command_capture_spawn(&config, 2, fall_silent, NULL, &said), 128 + SIGKILL, "%s", said);
  cr_expect(!strstr(said, "code 99"), "%s", said);
  free(said);
}

/* ---- Mistakes ---- */

Test(hosts, settings_that_do_not_go_together_are_told)
{
  session_expect_refusal(config_of(UMA_COHERENCE_LINE, 5), 4, "hosts: 5 is not valid; expected 1 to 4");
  session_expect_refusal(config_of(UMA_COHERENCE_NONE, 2), 4, "coherence: none is not valid with 2 hosts");
  struct uma_config config = config_of(UMA_COHERENCE_LINE, 2);
  config.servers = 3;
  session_expect_refusal(config, 4, "servers: 3 is not valid; expected a multiple of the number of hosts, 2");
  config = config_of(UMA_COHERENCE_LINE, 2);
  config.trace = "x.json";
  session_expect_refusal(config, 4, "trace: \"x.json\"");
  config = config_of(UMA_COHERENCE_LINE, 2);
  config.create = UMA_ON;
  session_expect_refusal(config, 4, "create: a device cannot be copied to another host");
  config = config_of(UMA_COHERENCE_LINE, 2);
  config.silence = 0.1;
  session_expect_refusal(config, 4, "silence: 0.1 s is not valid");
  config = config_of(UMA_COHERENCE_LINE, 2);
  config.provider = "carrier pigeon";
  session_expect_refusal(config, 4, "cannot open an endpoint to the other hosts");
  config = config_of(UMA_COHERENCE_LINE, 2);
  config.interface = "nowhere0";
  session_expect_refusal(config, 4, "cannot open an endpoint to the other hosts");
}

static int stacked_on_hosts(void *unused)
{
  int *word = uma_alloc_symmetric(sizeof *word), mine = uma_device(), far = (mine + 2) % 4;
  CHECK(uma_domain_count() == 4 && !uma_reachable(far) && uma_path(far) == UMA_PATH_MSG);
  CHECK(!uma_put(uma_symmetric(word, far), &mine, sizeof mine) && !uma_barrier() && *word == far);
  return 0;
}

Test(hosts, stacked_servers_may_sit_on_several)
{
  struct uma_config config = config_of(UMA_COHERENCE_NONE, 2);
  config.mode = UMA_MODE_STACKED;
  config.servers = 4;
  run(&config, 4, stacked_on_hosts, NULL);
}
