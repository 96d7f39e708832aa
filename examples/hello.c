/* The first program: every device writes into its neighbour's memory by a plain store.      uma run -n 4 build/examples/hello */
#include <stdio.h>
#include <uma.h>

int main(void)
{
  if (uma_init(NULL)) {
    fprintf(stderr, "hello: %s\n", uma_last_error());
    return 1;
  }
  int me = uma_device(), devices = uma_device_count();
  int *mine = uma_alloc_symmetric(sizeof *mine); /* an int at the same offset in every window */
  if (!mine) return 1;
  int *theirs = uma_symmetric(mine, (me + 1) % devices);

  *theirs = me; /* no copy call, no message: a store to an address */
  uma_barrier();
  printf("device %d of %d: device %d was here\n", me, devices, *mine);
  return uma_finalize() ? 1 : 0;
}
