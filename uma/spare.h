/* Blocks of memory that come and go quickly, kept to be used again.
 *
 * What is given back to malloc at the top of its heap goes back to the kernel, and comes again by page faults: in a stream of messages, with
 * each of them. Zero is an empty set. Not thread-safe. */
#ifndef UMA_SPARE_H
#define UMA_SPARE_H

#include <stddef.h>

#define UMA_SPARE_ORDERS 8

struct uma_spares {
  struct {
    struct uma_spare *first;
    size_t bytes;           /* of all of them */
  } kept[UMA_SPARE_ORDERS]; /* by size */
};

/* At least `bytes`, aligned as malloc's; NULL: no memory. */
void *uma_spare_take(struct uma_spares *spares, size_t bytes);
/* What take gave; not NULL. */
void uma_spare_give(struct uma_spares *spares, void *memory);
/* Frees those that are kept. */
void uma_spares_close(struct uma_spares *spares);

#endif
