/* The communication wall in three numbers: 8 bytes of device 1's memory reach device 0 by a load, a get, and a message.
 *
 *     uma run -n 2 build/examples/wall                              one supernode: all three work
 *     uma run -n 2 --servers 2 --mode stacked build/examples/wall   two stacked servers: there is no load, a get is a message underneath
 */
#include <stdio.h>
#include <time.h>
#include <uma.h>

#define REPEATS 20000

static double now_ns(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e9 * (double)now.tv_sec + (double)now.tv_nsec;
}

#define NS_EACH(statement) __extension__({ \
  double begin_ = now_ns(); \
  for (int i_ = 0; i_ < REPEATS; i_++) { statement; } \
  (now_ns() - begin_) / REPEATS; })

int main(void)
{
  if (uma_init(NULL) || uma_device_count() < 2) return fprintf(stderr, "wall: run by uma run -n 2\n"), 1;
  long *cell = uma_alloc_symmetric(sizeof *cell), value = 0;
  if (!cell) return fprintf(stderr, "wall: %s\n", uma_last_error()), 1;
  long *remote = uma_symmetric(cell, 1);
  int me = uma_device();
  *cell = me;
  uma_barrier();
  if (me == 0 && uma_reachable(1)) printf("load     %8.1f ns\n", NS_EACH(value += *(volatile long *)remote));
  if (me == 0) printf("uma_get  %8.1f ns\n", NS_EACH(uma_get(&value, remote, sizeof value)));
  if (me == 0) printf("message  %8.1f ns one way\n", NS_EACH(uma_send(1, 0, &value, 8); uma_recv(1, 0, &value, 8, NULL)) / 2);
  if (me == 1) NS_EACH(uma_recv(0, 0, &value, 8, NULL); uma_send(0, 0, &value, 8));
  return uma_finalize() ? 1 : 0;
}
