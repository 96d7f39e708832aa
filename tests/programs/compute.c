/* A program that computes and talks, on a modelled machine: as much by operations as by bytes, then 64 KiB of the last device's memory for each, and a meeting. */
#include <stdio.h>
#include <stdlib.h>
#include <uma.h>

#define BYTES 65536

static int fail(const char *what)
{
  fprintf(stderr, "compute: device %d: %s: %s\n", uma_device(), what, uma_last_error());
  return 1;
}

int main(void)
{
  if (uma_init(NULL)) return fail("uma_init");
  char *mine = uma_alloc_symmetric(BYTES), *copy = calloc(1, BYTES);
  if (!mine || !copy) return fail("memory");
  if (uma_compute(1e9, 1, UMA_FP32) || uma_compute(1, 1e8, UMA_FP32)) return fail("uma_compute");
  if (uma_get(copy, uma_symmetric(mine, uma_device_count() - 1), BYTES) || uma_barrier()) return fail("uma_get");
  printf("device %d of %d has computed\n", uma_device(), uma_device_count());
  free(copy);
  return uma_finalize() ? 1 : 0;
}
