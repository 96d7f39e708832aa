/* Two counters of two devices, on one cache line or apart: what false sharing costs, through caches of lines.
 *
 *     uma run -n 2 --coherence line --stats build/examples/sharing 8       counters 8 bytes apart: one line
 *     uma run -n 2 --coherence line --stats build/examples/sharing 64      a line for each
 * With --trace FILE, `uma trace FILE --top 3` names the line, who stores where in it, and the call below that allocated it. */
#include <stdio.h>
#include <stdlib.h>
#include <uma.h>

#define TURNS 10000
#define TOGETHER 10 /* after so many turns they meet, so that neither runs far ahead */

int main(int argc, char **argv)
{
  size_t apart = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
  if (apart < sizeof(uint64_t) || apart % sizeof(uint64_t) || apart > 4096) {
    fprintf(stderr, "sharing: expected the distance of the counters in bytes, a multiple of 8 up to 4096\n");
    return 2;
  }
  if (uma_init(NULL)) {
    fprintf(stderr, "sharing: %s\n", uma_last_error());
    return 1;
  }
  unsigned char *counters = uma_alloc_symmetric((size_t)uma_device_count() * apart);
  if (!counters) return 1;
  uint64_t *mine = (uint64_t *)((unsigned char *)uma_symmetric(counters, 0) + (size_t)uma_device() * apart);
  uma_barrier();
  for (int i = 0; i < TURNS; i++) {
    if (i % TOGETHER == 0) uma_barrier();
    uma_st(mine, uma_ld(mine) + 1);
  }
  uma_barrier();
  printf("device %d counted to %lu\n", uma_device(), (unsigned long)uma_ld(mine));
  return uma_finalize() ? 1 : 0;
}
