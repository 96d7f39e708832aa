/* A block has its class before it; classes are powers of two, so that one of a class fits for all that want it. */
#include "uma/spare.h"

#include <stdlib.h>

#define LEAST ((size_t)512)    /* bytes of the smallest class; the largest has 64 KiB, and what is longer is left to malloc */
#define MOST ((size_t)1 << 20) /* bytes that are kept */

struct uma_spare {
  _Alignas(max_align_t) int class;
  struct uma_spare *next; /* of those that are kept */
  _Alignas(max_align_t) unsigned char bytes[];
};

void *uma_spare_take(struct uma_spares *spares, size_t bytes)
{
  int class = 0;
  while (class < UMA_SPARE_CLASSES && LEAST << class < bytes) class ++;
  struct uma_spare *spare = class < UMA_SPARE_CLASSES ? spares->kept[class] : NULL;
  if (spare) {
    spares->kept[class] = spare->next;
    spares->bytes -= LEAST << class;
    return spare->bytes;
  }
  spare = malloc(sizeof *spare + (class < UMA_SPARE_CLASSES ? LEAST << class : bytes));
  if (!spare) return NULL;
  spare->class = class;
  return spare->bytes;
}

void uma_spare_give(struct uma_spares *spares, void *memory)
{
  struct uma_spare *spare = (struct uma_spare *)(void *)((unsigned char *)memory - offsetof(struct uma_spare, bytes));
  size_t bytes = LEAST << spare->class;
  if (spare->class == UMA_SPARE_CLASSES || spares->bytes + bytes > MOST) {
    free(spare);
    return;
  }
  spare->next = spares->kept[spare->class];
  spares->kept[spare->class] = spare;
  spares->bytes += bytes;
}

void uma_spares_close(struct uma_spares *spares)
{
  for (int class = 0; class < UMA_SPARE_CLASSES; class ++)
    for (struct uma_spare *next, *spare = spares->kept[class]; spare; spare = next) {
      next = spare->next;
      free(spare);
    }
  *spares = (struct uma_spares){0};
}
