/* A little of everything, by one device after the other; then each device says its modelled time: tests/clock_hosts.c compares sessions by it. */
#include <stdio.h>
#include <string.h>

#include "uma.h"

static int run(void)
{
  static char block[20000];
  int me = uma_device(), n = uma_device_count();
  char *mine = uma_alloc_symmetric(sizeof block);
  uint64_t *word = uma_alloc_symmetric(sizeof *word);
  if (!mine || !word) return 1;
  for (int turn = 0; turn < n; turn++) {
    int other = (turn + n / 2) % n;
    if (uma_barrier()) return 1;
    if (turn == me && (uma_copy(uma_symmetric(mine, other), block, sizeof block) || uma_send(other, 1, block, sizeof block))) return 1;
    if (turn == me && uma_signal(uma_symmetric(word, other), (uint64_t)turn + 1, UMA_SIGNAL_SET)) return 1;
    if (other == me && (uma_recv(turn, 1, block, sizeof block, NULL) || uma_wait_until(word, UMA_EQ, (uint64_t)turn + 1))) return 1;
    if (uma_compute(0, 3e9, UMA_FP8)) return 1; /* messages of the next barrier come later */
  }
  return uma_allreduce(mine, block, 100, UMA_INT64, UMA_SUM) || uma_barrier();
}

int main(void)
{
  int result = uma_init(NULL);
  if (!result) result = run();
  if (result) fprintf(stderr, "device %d: %s\n", uma_device(), uma_last_error());
  printf("device %d at %.2f ns\n", uma_device(), uma_modelled_ns());
  return result || uma_finalize();
}
