/* The devices of a session over two hosts wait for the other host in every way while the link is cut; tests/two_hosts.c runs it. Every wait must end
 * and say that a device was lost; the program then says so and leaves the session.
 *
 * Each device has a partner on the other host. Every wait has a thread of its own, but for what the main thread does. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/programs/check.h"

#define STEP 4096 /* a page, and several lines */
#define STEPS 4096
#define AGREED 3 /* a tag that nobody else waits for */

/* In each window. */
struct shared {
  uint64_t signal;
  struct uma_lock own, lent; /* both live here; the device holds `own`, and its partner `lent` */
  struct uma_barrier barrier;
};

static struct shared *mine, here, there; /* copies: what is named lives outside of windows */
static unsigned char *ground;            /* STEPS places in the partner's window that nobody has accessed: each has to be asked for */
static int me, partner;
static bool pages; /* mode page: whoever loads or stores what is lost ends in abort(), with a message */
static struct timespec begin;

/* ---- the waits */

static int receive(void)
{
  char byte;
  return uma_recv(partner, 1, &byte, 1, NULL);
}

static int receive_from_any(void)
{
  char byte;
  return uma_recv(UMA_ANY_DEVICE, 2, &byte, 1, NULL);
}

static int take_their_lock(void)
{
  return uma_lock(&there.own);
}

/* It is had in the end, as its holder is lost. */
static int take_the_lock_that_they_hold(void)
{
  int result = uma_lock(&here.lent);
  return result == -EOWNERDEAD ? -EHOSTDOWN : result;
}

static int wait_for_a_signal(void)
{
  return uma_wait_until(&mine->signal, UMA_NE, 0);
}

static int wait_at_their_barrier(void)
{
  return uma_barrier_wait(&there.barrier, uma_device_count() + 1);
}

static int wait_at_a_barrier_here(void)
{
  return uma_barrier_wait(&here.barrier, uma_device_count() + 1);
}

static int get_and_put(void)
{
  uint64_t value = 0;
  int result = 0;
  for (int i = 0; i < STEPS && !result; i += 2) {
    result = uma_get(&value, ground + (size_t)i * STEP, sizeof value);
    if (!result) result = uma_put(ground + (size_t)i * STEP, &value, sizeof value);
    usleep(5000);
  }
  return result;
}

static int load_plainly(void)
{
  uint64_t sum = 0;
  for (int i = 1; i < STEPS; i += 2) {
    sum += *(volatile uint64_t *)(ground + (size_t)i * STEP);
    usleep(5000);
  }
  return sum != 0;
}

static int meet_all(void)
{
  double sum, one = 1;
  int result = 0;
  while (!result) {
    result = uma_barrier();
    if (!result) result = uma_allreduce(&sum, &one, 1, UMA_FLOAT64, UMA_SUM);
  }
  return result;
}

/* ---- all of them */

static struct way {
  const char *name;
  int (*wait)(void);
  bool coherent, plain; /* within one domain only; by plain loads and stores, in mode page only */
  atomic_bool ended;
} ways[] = {{"receive", receive, false, false, false},
            {"receive from any", receive_from_any, false, false, false},
            {"their lock", take_their_lock, false, false, false},
            {"the lock that they hold", take_the_lock_that_they_hold, false, false, false},
            {"a signal", wait_for_a_signal, false, false, false},
            {"their barrier", wait_at_their_barrier, true, false, false},
            {"a barrier here", wait_at_a_barrier_here, true, false, false},
            {"get and put", get_and_put, false, false, false},
            {"plain loads", load_plainly, true, true, false}};
enum { WAYS = sizeof ways / sizeof ways[0] };
static _Thread_local struct way *way_of_thread;

static bool is_possible(const struct way *way)
{
  return (!way->coherent || uma_reachable(partner)) && (!way->plain || pages);
}

static void report(const char *name, const char *how)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  printf("device %d: %s %s (%.1f s)\n", me, name, how, (double)(now.tv_sec - begin.tv_sec) + (double)(now.tv_nsec - begin.tv_nsec) / 1e9);
  fflush(stdout);
}

static void *run(void *argument)
{
  struct way *way = way_of_thread = argument;
  int result = way->wait();
  if (result == -EHOSTDOWN) report(way->name, "ended");
  else fprintf(stderr, "device %d: %s returned %d (%s)\n", uma_device(), way->name, result, uma_last_error());
  atomic_store(&way->ended, true);
  return NULL;
}

/* The thread that aborts stays here, so that the others can end. */
static void keep_from_aborting(int number)
{
  if (!pages || !way_of_thread) return;
  atomic_store(&way_of_thread->ended, true);
  for (;;) pause();
}

static void await_all(void)
{
  for (int w = 0; w < WAYS; w++)
    while (is_possible(&ways[w]) && !atomic_load(&ways[w].ended)) usleep(1000);
}

static void prepare(void)
{
  int half = uma_device_count() / 2;
  me = uma_device();
  partner = (me + half) % (2 * half);
  mine = uma_alloc_symmetric(sizeof *mine);
  ground = uma_symmetric(uma_alloc_symmetric((size_t)STEPS * STEP), partner);
  CHECK(mine && ground);
  CHECK(!uma_lock_create(me, &here.own) && !uma_lock_create(me, &here.lent) && !uma_barrier_create(me, &here.barrier));
  CHECK(!uma_lock(&here.own) && !uma_put(mine, &here, sizeof here) && !uma_barrier());
  CHECK(!uma_get(&there, uma_symmetric(mine, partner), sizeof there) && !uma_lock(&there.lent) && !uma_barrier());
  CHECK(!uma_get(&here, mine, sizeof here));
  signal(SIGABRT, keep_from_aborting);
}

/* Nobody needs the link any more for the meeting before the cut: all others have told device 0 that they left it. Whether they hear that it was told
 * is not asked. */
static void agree(void)
{
  CHECK(!uma_barrier());
  if (me) uma_send(0, AGREED, NULL, 0);
  for (int d = 1; !me && d < uma_device_count(); d++) CHECK(!uma_recv(d, AGREED, NULL, 0, NULL));
}

int main(void)
{
  pthread_t thread;
  if (uma_init(NULL)) {
    fprintf(stderr, "cut: %s\n", uma_last_error());
    return 1;
  }
  pages = getenv("UMA_COHERENCE") && !strcmp(getenv("UMA_COHERENCE"), "page");
  prepare();
  for (int w = 0; w < WAYS; w++)
    if (is_possible(&ways[w])) CHECK(!pthread_create(&thread, NULL, run, &ways[w]));
  usleep(200000); /* most wait by now */
  agree();
  clock_gettime(CLOCK_MONOTONIC, &begin);
  if (uma_device() == 0) report("now", "cut");
  CHECK(meet_all() == -EHOSTDOWN);
  report("all that meet", "ended");
  await_all();
  CHECK(!uma_alive(partner) && uma_recv(partner, 1, NULL, 0, NULL) == -EHOSTDOWN);
  uma_finalize();
  report("all is", "done");
  return 0;
}
