/* The communication wall in three numbers: how long until device 0 has 8 bytes that device 1 wrote, by a load, a get, and a message.
 *
 *     uma run -n 2 build/examples/wall                              one supernode: all three work
 *     uma run -n 2 --servers 2 --mode stacked build/examples/wall   two stacked servers: no load, and a get is messages underneath
 *
 * Device 1 writes a ring of lines just before each measurement; device 0 follows it, so each step waits for the one before. */
#include <stdio.h>
#include <time.h>
#include <uma.h>

#define LINES 4096
#define HOP 2053 /* odd: all lines are visited; large: no prefetcher foresees it */

struct line {
  _Alignas(64) long next;
};
static long at;

static void rewrite_ring(struct line *ring)
{
  uma_barrier();
  for (long i = 0; uma_device() == 1 && i < LINES; i++) ring[i].next = (i + HOP) % LINES;
  uma_barrier();
}

static double now_ns(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e9 * (double)now.tv_sec + (double)now.tv_nsec;
}

#define NS_EACH(step) \
  __extension__({ \
    double begin_ = now_ns(); \
    for (int i_ = 0; i_ < LINES; i_++) { \
      step; \
    } \
    (now_ns() - begin_) / LINES; \
  })

int main(void)
{
  if (uma_init(NULL)) return fprintf(stderr, "wall: %s\n", uma_last_error()), 1;
  if (uma_device_count() < 2) return fprintf(stderr, "wall: needs two devices, run by uma run -n 2\n"), 2;
  struct line *mine = uma_alloc_symmetric(LINES * sizeof *mine);
  if (!mine) return fprintf(stderr, "wall: %s\n", uma_last_error()), 1;
  struct line *ring = uma_symmetric(mine, 1);
  int me = uma_device();

  rewrite_ring(ring);
  if (me == 0 && uma_reachable(1)) printf("load     %8.1f ns\n", NS_EACH(at = ((volatile struct line *)ring)[at].next));
  rewrite_ring(ring);
  if (me == 0) printf("uma_get  %8.1f ns\n", NS_EACH(uma_get(&at, &ring[at].next, sizeof at)));
  if (me == 0) printf("message  %8.1f ns, half of a ping-pong\n", NS_EACH(uma_send(1, 0, &at, 8); uma_recv(1, 0, &at, 8, NULL)) / 2);
  if (me == 1) NS_EACH(uma_recv(0, 0, &at, 8, NULL); uma_send(0, 0, &at, 8));
  return uma_finalize() ? 1 : 0;
}
