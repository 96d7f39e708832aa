/* A device of another host that has the job's key and sends anything while threads of the others work: messages that name lines of its choice, in any
 * order, between honest ones. Nothing crashes or hangs, what is none of the session's messages is counted, and no other line is changed. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>

#include "coherence/engine.h"
#include "tests/command.h"
#include "tests/stress.h"
#include "uma/session.h"

enum { DEVICES = 4, PARTNER = 1, HOSTILE = 3, BAD_BYTES = 64 << 10, PAGE = 4096, BURST = 8, BURSTS = 500, THREADS = 2, READY = 1 };

struct plan {
  struct stress stress;
  unsigned seed;
};

static unsigned char *bad; /* BAD_BYTES in this device's window, and so in each: nothing is said of other lines than these */
static _Atomic bool over;  /* all that is checked has been */
static _Thread_local sigjmp_buf retreat;
static _Thread_local bool ready;

static uint64_t draw(uint64_t *random, uint64_t below)
{
  uint64_t z = *random += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  return (z ^ z >> 27) % below;
}

/* ---- Who sends anything */

static uint64_t bad_line(uint64_t *random)
{
  unsigned char *place = (unsigned char *)uma_symmetric(bad, (int)draw(random, DEVICES)) + draw(random, BAD_BYTES);
  return ((uintptr_t)place - uma_self.engine->base) >> uma_self.engine->line_shift;
}

static int16_t any_device(uint64_t *random)
{
  return (int16_t)(draw(random, 32) ? (int)draw(random, DEVICES + 1) - 1 : (int)draw(random, 65536));
}

/* Most have the type, the length and the parties that some message could have. */
static void send_anything(uint64_t *random, unsigned char *data)
{
  const struct coh_engine *engine = uma_self.engine;
  const struct coh_protocol *protocol = engine->protocol;
  uint64_t line = bad_line(random), most = draw(random, 32) ? protocol->message_count : 256;
  int to = (int)draw(random, PARTNER + 1);
  struct coh_message message = {.type = (uint8_t)draw(random, most), .acks = (int16_t)((int)draw(random, DEVICES + 2) - 2)};
  message.source = draw(random, 2) ? HOSTILE : any_device(random);
  message.target = draw(random, 2) ? (int16_t)to : any_device(random);
  message.requestor = any_device(random);
  bool carries = message.type < protocol->message_count && protocol->messages[message.type].data;
  bool with_data = carries == (draw(random, 16) > 0);
  engine->wire->send(engine->wire->context, to, &message, line, with_data ? data : NULL, COH_DATA_STAYS, NULL);
  if (!draw(random, 200)) engine->wire->refuse(engine->wire->context, to, line);
  if (!draw(random, 2000)) engine->wire->lose(engine->wire->context, to, line);
}

/* So many and no more: who sends faster than others receive keeps them from their work, whatever it sends. */
static void *be_hostile(void *argument)
{
  uint64_t random = ((struct plan *)argument)->seed;
  static unsigned char data[PAGE];
  memset(data, 0xa5, sizeof data);
  for (int burst = 0; burst < BURSTS && !over; burst++) {
    for (int i = 0; i < BURST; i++) send_anything(&random, data);
    usleep(50);
  }
  return NULL;
}

/* ---- Who works on those lines; what comes of it is nobody's business */

/* In mode page a lost page ends the process: the thread goes on with another. */
static void retreat_from_page(int number)
{
  if (ready) siglongjmp(retreat, 1);
}

static void *work_on_bad(void *argument)
{
  uint64_t random = ((struct plan *)argument)->seed + 1 + (unsigned)uma_device(), value = 0;
  sigsetjmp(retreat, 1);
  ready = true;
  while (!over) {
    unsigned char *place = (unsigned char *)uma_symmetric(bad, (int)draw(&random, DEVICES)) + draw(&random, BAD_BYTES / 8) * 8;
    int result = draw(&random, 2) ? uma_get(&value, place, sizeof value) : uma_put(place, &value, sizeof value);
    if (result && result != -EHOSTDOWN) abort();
  }
  return NULL;
}

/* ---- A device */

/* When nobody waits for the good work of any other any more. What waits for ever on the bad lines ends with this device. */
static int die(void)
{
  for (int d = 0; d < DEVICES; d++)
    if (d != HOSTILE) CHECK(!uma_recv(d, READY, NULL, 0, NULL));
  raise(SIGKILL);
  return 1;
}

static int play(void *argument)
{
  struct plan *plan = argument;
  pthread_t threads[THREADS], hostile;
  unsigned char *room = uma_alloc_symmetric(BAD_BYTES + PAGE);
  int own = uma_device() == PARTNER || uma_device() == HOSTILE ? THREADS : 0;
  CHECK(room);
  bad = (unsigned char *)(((uintptr_t)room + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
  signal(SIGABRT, retreat_from_page);
  CHECK(!uma_barrier());
  for (int t = 0; t < own; t++) CHECK(!pthread_create(&threads[t], NULL, work_on_bad, plan));
  if (uma_device() == HOSTILE) CHECK(!pthread_create(&hostile, NULL, be_hostile, plan));
  if (stress_run(&plan->stress)) return 99;
  if (uma_device() == HOSTILE) return die();
  CHECK(!uma_send(HOSTILE, READY, NULL, 0));
  over = true;
  for (int t = 0; t < own; t++) pthread_join(threads[t], NULL);
  CHECK(uma_device() > PARTNER || uma_self.engine->refused);
  uma_finalize(); /* it may tell of lines that are lost */
  return 0;
}

static void run(struct uma_config config, const char *protocol, int steps, unsigned seed)
{
  struct stress stress = {.seed = seed, .threads = THREADS, .steps = getenv("UMA_TEST_LONG") ? 50 * steps : steps, .keeps = true};
  struct plan plan = {stress, seed};
  char *said;
  config.hosts = 2;
  config.protocol = protocol;
  config.memory = 1 << 20;
  config.on_failure = UMA_ON_FAILURE_CONTINUE;
  config.silence = 1000;
  config.timeout = getenv("UMA_TEST_LONG") ? 3000 : 100;
  int result = command_capture_spawn(&config, DEVICES, play, &plan, &said);
  cr_expect_eq(result, 128 + SIGKILL, "mode %d, %s, seed %u: %d: %s", config.coherence, protocol, seed, result, said);
  cr_expect(!strstr(said, "code 99") && !strstr(said, "stale value"), "mode %d, %s, seed %u: %s", config.coherence, protocol, seed, said);
  free(said);
}

static unsigned first_seed(void)
{
  const char *given = getenv("UMA_TEST_SEED");
  unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : 1u;
  printf("UMA_TEST_SEED=%u\n", seed);
  return seed;
}

Test(coherent_hostile, lines)
{
  unsigned seed = first_seed();
  for (int p = 0; coh_shipped_name(p); p++) run((struct uma_config){.coherence = UMA_COHERENCE_LINE}, coh_shipped_name(p), 200, seed++);
}

Test(coherent_hostile, pages)
{
  unsigned seed = first_seed();
  for (int p = 0; coh_shipped_name(p); p++) run((struct uma_config){.coherence = UMA_COHERENCE_PAGE}, coh_shipped_name(p), 100, seed++);
}
