/* The engine over several hosts: devices that share no memory reach each other's controllers by messages, which overtake each other; seeded
 * accesses against what a sequential memory would answer; memory that is lent to the wire does not change; messages that are none are dropped. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "coherence/engine.h"

enum { LINE = 64, LARGE_LINE = 8192, WORDS = 512, MOST = 8, SLOTS = 4096, AHEAD = 4, COUNTERS = 4, LENT_MOST = 64 };

struct letter {
  struct coh_message message;
  bool has_data;
  uint64_t line;
  unsigned char data[LARGE_LINE];
};

/* Messages to one device's process; whoever takes one may take one of the next few instead of the first. */
struct inbox {
  pthread_mutex_t mutex;
  unsigned count;
  struct letter letters[SLOTS];
};

struct cluster {
  int devices, hosts, steps;
  unsigned seed;
  size_t line_bytes, window_bytes;
  struct inbox *inboxes;
  struct coh_area *areas[MOST]; /* of each host */
  unsigned char *windows[MOST];
  _Atomic int *arrived; /* at all meetings */
};

/* A message whose data is still in its home's memory. */
struct loan {
  int device;
  struct coh_message message;
  uint64_t line;
  const void *data;
};

struct node {
  const struct cluster *cluster;
  struct coh_engine *engine;
  struct coh_wire wire;
  int me, meetings;
  _Atomic bool leaves;
  uint64_t random;
  pthread_mutex_t loans_mutex;
  struct loan loans[LENT_MOST];
  int loan_count, lent;
};

#define MUST(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "%s:%d: device %d: %s does not hold\n", __FILE__, __LINE__, node->me, #condition); \
      return 1; \
    } \
  } while (0)

static uint64_t draw(struct node *node, uint64_t below)
{
  uint64_t z = node->random += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  return (z ^ z >> 27) % below;
}

/* ---- The wire ---- */

static void post(struct node *node, int device, const struct coh_message *message, uint64_t line, const void *data)
{
  struct inbox *inbox = &node->cluster->inboxes[device];
  pthread_mutex_lock(&inbox->mutex);
  if (inbox->count == SLOTS) abort();
  struct letter *letter = &inbox->letters[inbox->count++];
  *letter = (struct letter){.message = *message, .has_data = data, .line = line};
  if (data) memcpy(letter->data, data, node->cluster->line_bytes);
  pthread_mutex_unlock(&inbox->mutex);
}

/* What is lent is read later. */
static int send_letter(void *context, int device, const struct coh_message *message, uint64_t line, void *data, enum coh_data_use use,
                       const struct coh_stamp *stamp)
{
  struct node *node = context;
  if (use != COH_DATA_LENT) post(node, device, message, line, data);
  if (use == COH_DATA_GIVEN) coh_buffer_give(node->engine, data);
  if (use != COH_DATA_LENT) return 0;
  pthread_mutex_lock(&node->loans_mutex);
  if (node->loan_count == LENT_MOST) abort();
  node->loans[node->loan_count++] = (struct loan){device, *message, line, data};
  node->lent++;
  pthread_mutex_unlock(&node->loans_mutex);
  return 0;
}

static void end_loans(struct node *node)
{
  pthread_mutex_lock(&node->loans_mutex);
  for (int i = 0; i < node->loan_count; i++) {
    post(node, node->loans[i].device, &node->loans[i].message, node->loans[i].line, node->loans[i].data);
    coh_return_memory(node->engine, node->loans[i].line);
  }
  node->loan_count = 0;
  pthread_mutex_unlock(&node->loans_mutex);
}

static bool take_letter(struct node *node, struct letter *letter)
{
  struct inbox *inbox = &node->cluster->inboxes[node->me];
  pthread_mutex_lock(&inbox->mutex);
  unsigned count = inbox->count;
  if (count) {
    unsigned place = (unsigned)(rand() % AHEAD) % count;
    *letter = inbox->letters[place];
    memmove(&inbox->letters[place], &inbox->letters[place + 1], (--inbox->count - place) * sizeof *letter);
  }
  pthread_mutex_unlock(&inbox->mutex);
  return count;
}

static void refuse_letter(void *context, int device, uint64_t line)
{
  abort(); /* nobody dies here */
}

static void receive(void *context)
{
  struct node *node = context;
  struct letter letter;
  if (rand() % AHEAD == 0) end_loans(node);
  while (take_letter(node, &letter))
    if (coh_deliver(node->engine, &letter.message, letter.line, letter.has_data ? letter.data : NULL, NULL)) abort();
  coh_retry(node->engine);
}

static void *serve(void *argument)
{
  struct node *node = argument;
  while (!node->leaves) {
    receive(node);
    sched_yield();
  }
  return NULL;
}

/* ---- Devices ---- */

static bool is_lost(int device)
{
  return false;
}

static void meet(struct node *node)
{
  int all = ++node->meetings * node->cluster->devices;
  atomic_fetch_add(node->cluster->arrived, 1);
  while (atomic_load(node->cluster->arrived) < all) sched_yield();
}

static uint64_t offset_of(const struct node *node, int device, uint64_t word)
{
  size_t window_bytes = node->cluster->window_bytes;
  return (uint64_t)device * window_bytes + word * (window_bytes / WORDS);
}

/* A word is written by one device only, ever larger; the first words of each window are counters of all. */
static int play(struct node *node)
{
  const struct cluster *cluster = node->cluster;
  uint64_t seen[MOST][WORDS] = {{0}}, written = 0, value, old;
  for (int i = 0; i < cluster->steps; i++) {
    int home = (int)draw(node, (uint64_t)cluster->devices);
    uint64_t word = COUNTERS + draw(node, 24) * (draw(node, 4) ? 1 : 17);
    bool mine = word % (uint64_t)cluster->devices == (uint64_t)node->me;
    if (draw(node, 5) == 0) {
      MUST(!coh_atomic(node->engine, FAB_ADD, offset_of(node, home, draw(node, COUNTERS)), 8, 1, 0, &old));
    } else if (mine) {
      value = ++written;
      MUST(!coh_put(node->engine, offset_of(node, home, word), &value, 8));
      seen[home][word] = value;
    } else {
      MUST(!coh_get(node->engine, &value, offset_of(node, home, word), 8));
      MUST(value >= seen[home][word]);
      seen[home][word] = value;
    }
  }
  return 0;
}

static int check_counters(struct node *node, uint64_t *sum)
{
  uint64_t value;
  *sum = 0;
  for (int d = 0; d < node->cluster->devices; d++)
    for (uint64_t c = 0; c < COUNTERS; c++) {
      MUST(!coh_get(node->engine, &value, offset_of(node, d, c), 8));
      *sum += value;
    }
  return 0;
}

/* How many additions this device's seed makes. */
static int run_device(const struct cluster *cluster, int me)
{
  int host = me * cluster->hosts / cluster->devices, first = (host * cluster->devices + cluster->hosts - 1) / cluster->hosts;
  int next = ((host + 1) * cluster->devices + cluster->hosts - 1) / cluster->hosts;
  struct node self = {.cluster = cluster, .me = me, .random = cluster->seed * 1000u + (unsigned)me}, *node = &self;
  pthread_t thread;
  uint64_t sum, again;
  self.wire = (struct coh_wire){&self, first, next - first, send_letter, refuse_letter, refuse_letter, receive};
  MUST(!coh_engine_open(cluster->areas[host], me, cluster->windows[host] - (size_t)first * cluster->window_bytes, is_lost, -1,
                        &self.engine));
  self.engine->wire = &self.wire;
  pthread_mutex_init(&self.loans_mutex, NULL);
  MUST(!pthread_create(&thread, NULL, serve, &self));
  meet(node);
  if (play(node)) return 1;
  meet(node);
  if (check_counters(node, &sum)) return 1;
  MUST(!coh_flush(self.engine));
  if (check_counters(node, &again)) return 1;
  MUST(sum == again && sum > 0);
  meet(node);
  self.leaves = true;
  pthread_join(thread, NULL);
  MUST(self.engine->refused == 0);
  MUST((self.lent > 0) == (cluster->line_bytes == LARGE_LINE));
  coh_engine_close(self.engine);
  return 0;
}

/* ---- The cluster ---- */

static void *shared(size_t bytes)
{
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  cr_assert(memory != MAP_FAILED);
  return memory;
}

static void create(struct cluster *cluster, const char *protocol_name, const char *sharers, int sets)
{
  static struct coh_protocol protocol;
  struct coh_shape shape = {.devices = cluster->devices, .sets = (size_t)sets, .ways = 2};
  pthread_mutexattr_t attributes;
  if (!cluster->line_bytes) cluster->line_bytes = LINE;
  shape.line_bytes = cluster->line_bytes;
  shape.window_bytes = cluster->window_bytes = cluster->line_bytes == LINE ? 8 * WORDS : 8 * LARGE_LINE;
  strcpy(shape.sharers, sharers);
  cr_assert_eq(coh_protocol_load(protocol_name, &protocol, stderr), 0);
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  cluster->inboxes = shared((size_t)cluster->devices * sizeof *cluster->inboxes);
  cluster->arrived = shared(4096);
  for (int d = 0; d < cluster->devices; d++) pthread_mutex_init(&cluster->inboxes[d].mutex, &attributes);
  for (int h = 0; h < cluster->hosts; h++) {
    cluster->areas[h] = shared(coh_area_bytes(&shape));
    coh_area_format(cluster->areas[h], &shape, &protocol, "");
    cluster->windows[h] = shared((size_t)cluster->devices * cluster->window_bytes);
  }
}

static void run(const char *protocol, const char *sharers, int devices, int hosts, int sets, size_t line_bytes, int steps, unsigned seed)
{
  struct cluster cluster = {.devices = devices, .hosts = hosts, .steps = steps, .seed = seed, .line_bytes = line_bytes};
  pid_t pids[MOST];
  create(&cluster, protocol, sharers, sets);
  for (int d = 0; d < devices; d++) {
    pids[d] = fork();
    if (pids[d]) continue;
    alarm(60);
    srand(seed + (unsigned)d);
    _exit(run_device(&cluster, d));
  }
  for (int d = 0; d < devices; d++) {
    int status;
    waitpid(pids[d], &status, 0);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s, sharers %s, %d devices on %d hosts, seed %u: device %d: %d", protocol,
              sharers, devices, hosts, seed, d, status);
  }
}

/* ---- Strangers ---- */

static int swallow(void *context, int device, const struct coh_message *message, uint64_t line, void *data, enum coh_data_use use,
                   const struct coh_stamp *stamp)
{
  return device % 3 ? 0 : -EHOSTDOWN;
}

static void refuse_nothing(void *context, int device, uint64_t line)
{
}

static void receive_nothing(void *context)
{
}

/* Whatever comes, nothing crashes, and what is none of the session's messages is counted. */
static int take_anything(const struct cluster *cluster)
{
  struct node self = {.cluster = cluster, .random = cluster->seed}, *node = &self;
  unsigned char data[LINE] = {0};
  uint64_t taken = 0;
  self.wire = (struct coh_wire){&self, 0, 2, swallow, refuse_nothing, refuse_nothing, receive_nothing};
  MUST(!coh_engine_open(cluster->areas[0], 0, cluster->windows[0], is_lost, -1, &self.engine));
  self.engine->wire = &self.wire;
  for (int i = 0; i < cluster->steps; i++) {
    struct coh_message message = {.type = (uint8_t)draw(node, draw(node, 8) ? 18 : 256)};
    int16_t *fields[] = {&message.acks, &message.source, &message.target, &message.requestor};
    for (int f = 0; f < 4; f++) *fields[f] = (int16_t)(draw(node, 16) ? (int)draw(node, 6) - 1 : (int)draw(node, 65536));
    uint64_t line = draw(node, 20) ? draw(node, 8) : draw(node, UINT64_MAX);
    taken += coh_deliver(self.engine, &message, line, draw(node, 2) ? data : NULL, NULL) == 0;
    if (i % 100 == 0) coh_retry(self.engine);
  }
  MUST(taken > 0 && self.engine->refused > 0);
  return 0;
}

Test(coherent_wire, anything_may_come)
{
  for (int p = 0; coh_shipped_name(p); p++) {
    struct cluster cluster = {.devices = 4, .hosts = 2, .steps = 30000, .seed = 7u + (unsigned)p};
    int status;
    create(&cluster, coh_shipped_name(p), "full", 4);
    pid_t pid = fork();
    if (!pid) {
      alarm(60);
      if (!freopen("/dev/null", "w", stderr)) _exit(2);
      _exit(take_anything(&cluster));
    }
    waitpid(pid, &status, 0);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: %d", coh_shipped_name(p), status);
  }
}

Test(coherent_wire, devices_on_several_hosts)
{
  static const char *const kinds[] = {"full", "limited", "coarse"};
  const char *given = getenv("UMA_TEST_SEED");
  unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : 1u;
  int steps = getenv("UMA_TEST_LONG") ? 30000 : 1500;
  printf("UMA_TEST_SEED=%u\n", seed);
  for (int p = 0; coh_shipped_name(p); p++)
    for (int k = 0; k < 3; k++) {
      run(coh_shipped_name(p), kinds[k], 2, 2, 4, LINE, steps, seed++);
      run(coh_shipped_name(p), kinds[k], 5, 2, 64, LINE, steps, seed++);
      run(coh_shipped_name(p), kinds[k], 6, 3, 2, LINE, steps, seed++);
      run(coh_shipped_name(p), kinds[k], 4, 2, 2, LARGE_LINE, steps, seed++);
    }
}

/* ---- Lent memory ---- */

/* What the home of one line has sent. */
struct sent {
  int count, type;
  enum coh_data_use use;
  const unsigned char *data;
};

static int note(void *context, int device, const struct coh_message *message, uint64_t line, void *data, enum coh_data_use use,
                const struct coh_stamp *stamp)
{
  struct sent *sent = context;
  *sent = (struct sent){sent->count + 1, message->type, use, data};
  return 0;
}

static int message_of(const struct coh_protocol *protocol, const char *name)
{
  for (int m = COH_FIRST_MESSAGE; m < protocol->message_count; m++)
    if (!strcmp(protocol->messages[m].name, name)) return m;
  cr_assert_fail("%s", name);
  return -1;
}

static void hear(struct coh_engine *engine, const char *name, const void *data)
{
  struct coh_message message = {.type = (uint8_t)message_of(engine->protocol, name), .acks = -1, .source = 1, .requestor = 1};
  message.target = COH_HOME;
  cr_assert_eq(coh_deliver(engine, &message, 0, data, NULL), 0, "%s", name);
}

/* Device 1 of another host writes a line and gives it up, while this one's wire still reads what it was sent before. */
Test(coherent_wire, lent_memory_stays_as_it_is_until_it_comes_back)
{
  static unsigned char written[LARGE_LINE] = {7};
  struct cluster cluster = {.devices = 2, .hosts = 2, .line_bytes = LARGE_LINE};
  struct sent sent = {0};
  struct coh_wire wire = {&sent, 0, 1, note, refuse_nothing, refuse_nothing, receive_nothing};
  struct coh_engine *engine;
  create(&cluster, "msi", "full", 4);
  cr_assert_eq(coh_engine_open(cluster.areas[0], 0, cluster.windows[0], is_lost, -1, &engine), 0);
  engine->wire = &wire;
  hear(engine, "GetM", NULL);
  cr_expect(sent.count == 1 && sent.use == COH_DATA_LENT && sent.data == cluster.windows[0]);
  hear(engine, "Unblock", NULL);
  hear(engine, "PutM", written);
  cr_expect(sent.count == 1 && cluster.windows[0][0] == 0 && coh_stalls(engine), "it came too early");
  coh_retry(engine);
  cr_expect(sent.count == 1 && cluster.windows[0][0] == 0 && coh_stalls(engine), "nothing has changed");
  coh_return_memory(engine, 0);
  coh_retry(engine);
  cr_expect(sent.count == 2 && sent.type == message_of(engine->protocol, "Put-Ack") && cluster.windows[0][0] == 7 && !coh_stalls(engine));
  coh_engine_close(engine);
}
