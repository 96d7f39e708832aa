/* Element-wise reductions: the arithmetic of the collectives, one loop for each type and operation. */
#ifndef UMA_REDUCE_H
#define UMA_REDUCE_H

#include <stdbool.h>
#include <stddef.h>

#include "uma.h"

/* Bytes of an element, 0 for no type. */
static inline size_t uma_type_size(enum uma_type type)
{
  static const unsigned char sizes[] = {0, 4, 8, 4, 8, 4, 8};
  return (unsigned)type < sizeof sizes ? sizes[type] : 0;
}

/* Is there such a reduction? */
static inline bool uma_op_applies(enum uma_type type, enum uma_op op)
{
  if ((unsigned)type - UMA_INT32 > UMA_FLOAT64 - UMA_INT32 || (unsigned)op - UMA_SUM > UMA_XOR - UMA_SUM) return false;
  return type < UMA_FLOAT32 || op <= UMA_PROD;
}

/* acc[i] = acc[i] op in[i]. Any alignment. `in` may equal `acc`, and must not overlap it otherwise.
 * Integers wrap. MIN is acc < in ? acc : in and MAX is acc > in ? acc : in, also for floats: where one is NaN the result is `in`. */
void uma_reduce(void *acc, const void *in, size_t count, enum uma_type type, enum uma_op op);

/* dst[i] = sources[0][i] op sources[1][i] op ..., from left to right; n is at least 1. dst may equal sources[0] or
 * sources[1], and must not overlap any source otherwise. Fastest when `count` elements fit the first level cache. */
void uma_reduce_many(void *dst, const void *const *sources, int n, size_t count, enum uma_type type, enum uma_op op);

#endif
