/* A block has its order before it, a power of two, so that one of an order fits for all that want it. */
#include "uma/spare.h"

#include <stdlib.h>

#define LEAST ((size_t)512)      /* bytes of the smallest order; the largest has 64 KiB, and what is longer is left to malloc */
#define MOST ((size_t)512 << 10) /* bytes that are kept of an order: twice what may be on its way from one device to another */

struct uma_spare {
  _Alignas(max_align_t) int order;
  struct uma_spare *next; /* of those that are kept */
  _Alignas(max_align_t) unsigned char bytes[];
};

void *uma_spare_take(struct uma_spares *spares, size_t bytes)
{
  int order = 0;
  while (order < UMA_SPARE_ORDERS && LEAST << order < bytes) order++;
  struct uma_spare *spare = order < UMA_SPARE_ORDERS ? spares->kept[order].first : NULL;
  if (spare) {
    spares->kept[order].first = spare->next;
    spares->kept[order].bytes -= LEAST << order;
    return spare->bytes;
  }
  spare = malloc(sizeof *spare + (order < UMA_SPARE_ORDERS ? LEAST << order : bytes));
  if (!spare) return NULL;
  spare->order = order;
  return spare->bytes;
}

void uma_spare_give(struct uma_spares *spares, void *memory)
{
  struct uma_spare *spare = (struct uma_spare *)(void *)((unsigned char *)memory - offsetof(struct uma_spare, bytes));
  int order = spare->order;
  if (order == UMA_SPARE_ORDERS || spares->kept[order].bytes + (LEAST << order) > MOST) {
    free(spare);
    return;
  }
  spare->next = spares->kept[order].first;
  spares->kept[order].first = spare;
  spares->kept[order].bytes += LEAST << order;
}

void uma_spares_close(struct uma_spares *spares)
{
  for (int order = 0; order < UMA_SPARE_ORDERS; order++)
    for (struct uma_spare *next, *spare = spares->kept[order].first; spare; spare = next) {
      next = spare->next;
      free(spare);
    }
  *spares = (struct uma_spares){0};
}
