/* The reduction loops of reduce.h, written once and stamped out for every type and operation.
 *
 * A kernel is d[i] = a[i] op b[i]; there is a second form for four sources, so that reducing many windows goes over the result
 * less often. Types are declared without alignment (any pointer will do) and may alias (callers hand in bytes). `ivdep` tells
 * the compiler that no iteration needs the result of another, which holds where d is a or b itself: it then vectorises without
 * testing for overlap. Where the processor has wider vectors the loader picks the clone that uses them; that
 * needs ifuncs, which the sanitizers cannot start up with, and is there on x86-64 only. All clones do the same operations in the
 * same order on each element, so the bits of a result do not depend on the processor: no fused multiply-add can arise here.
 */
#include "uma/reduce.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && !defined(UMA_SAN)
#define REDUCE_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define REDUCE_CLONES
#endif

/* X(name, UMA_ name, type of an element, type of its sums and products: unsigned, so that they wrap) */
#define REDUCE_INTEGERS(X) \
  X(int32, UMA_INT32, int32_t, uint32_t) \
  X(int64, UMA_INT64, int64_t, uint64_t) \
  X(uint32, UMA_UINT32, uint32_t, uint32_t) \
  X(uint64, UMA_UINT64, uint64_t, uint64_t)
#define REDUCE_FLOATS(X) \
  X(float32, UMA_FLOAT32, float, float) \
  X(float64, UMA_FLOAT64, double, double)
#define REDUCE_TYPES(X) REDUCE_INTEGERS(X) REDUCE_FLOATS(X)

#define APPLY_SUM(U, p, q) ((U)(p) + (U)(q))
#define APPLY_PROD(U, p, q) ((U)(p) * (U)(q))
#define APPLY_MIN(U, p, q) ((p) < (q) ? (p) : (q))
#define APPLY_MAX(U, p, q) ((p) > (q) ? (p) : (q))
#define APPLY_AND(U, p, q) ((p) & (q))
#define APPLY_OR(U, p, q) ((p) | (q))
#define APPLY_XOR(U, p, q) ((p) ^ (q))

#define REDUCE_KERNEL(name, T, U, OP) \
  REDUCE_CLONES static void name##_##OP##_2(void *dst, const void *const *from, size_t count) \
  { \
    name##_t *d = dst; \
    const name##_t *a = from[0], *b = from[1]; \
    _Pragma("GCC ivdep") for (size_t i = 0; i < count; i++) \
    { \
      T p = a[i], q = b[i]; \
      d[i] = (T)APPLY_##OP(U, p, q); \
    } \
  } \
  REDUCE_CLONES static void name##_##OP##_4(void *dst, const void *const *from, size_t count) \
  { \
    name##_t *d = dst; \
    const name##_t *a = from[0], *b = from[1], *c = from[2], *e = from[3]; \
    _Pragma("GCC ivdep") for (size_t i = 0; i < count; i++) \
    { \
      T p = a[i], q = b[i], r = c[i], s = e[i]; \
      p = (T)APPLY_##OP(U, p, q); \
      p = (T)APPLY_##OP(U, p, r); \
      d[i] = (T)APPLY_##OP(U, p, s); \
    } \
  }

/* unaligned_int32_t and so on: an element at any address */
#define REDUCE_ELEMENT(name, TYPE, T, U) typedef T unaligned_##name##_t __attribute__((aligned(1), may_alias));
#define REDUCE_ARITHMETIC(name, TYPE, T, U) \
  REDUCE_KERNEL(unaligned_##name, T, U, SUM) \
  REDUCE_KERNEL(unaligned_##name, T, U, MIN) REDUCE_KERNEL(unaligned_##name, T, U, MAX) REDUCE_KERNEL(unaligned_##name, T, U, PROD)
#define REDUCE_BITWISE(name, TYPE, T, U) \
  REDUCE_KERNEL(unaligned_##name, T, U, AND) REDUCE_KERNEL(unaligned_##name, T, U, OR) REDUCE_KERNEL(unaligned_##name, T, U, XOR)

REDUCE_TYPES(REDUCE_ELEMENT)
REDUCE_TYPES(REDUCE_ARITHMETIC)
REDUCE_INTEGERS(REDUCE_BITWISE)

typedef void reduce_kernel(void *dst, const void *const *from, size_t count);

#define REDUCE_PAIR(name, OP) [UMA_##OP] = {unaligned_##name##_##OP##_2, unaligned_##name##_##OP##_4}
#define REDUCE_ROW_ARITHMETIC(name) REDUCE_PAIR(name, SUM), REDUCE_PAIR(name, MIN), REDUCE_PAIR(name, MAX), REDUCE_PAIR(name, PROD)
#define REDUCE_ROW_INTEGER(name, TYPE, T, U) \
  [TYPE] = {REDUCE_ROW_ARITHMETIC(name), REDUCE_PAIR(name, AND), REDUCE_PAIR(name, OR), REDUCE_PAIR(name, XOR)},
#define REDUCE_ROW_FLOAT(name, TYPE, T, U) [TYPE] = {REDUCE_ROW_ARITHMETIC(name)},

static reduce_kernel *const kernels[UMA_FLOAT64 + 1][UMA_XOR + 1][2] = {REDUCE_INTEGERS(REDUCE_ROW_INTEGER)
                                                                            REDUCE_FLOATS(REDUCE_ROW_FLOAT)};

void uma_reduce(void *acc, const void *in, size_t count, enum uma_type type, enum uma_op op)
{
  kernels[type][op][0](acc, (const void *const[]){acc, in}, count);
}

void uma_reduce_many(void *dst, const void *const *sources, int n, size_t count, enum uma_type type, enum uma_op op)
{
  if (n == 1 && dst != sources[0]) memcpy(dst, sources[0], count * uma_type_size(type));
  if (n == 1) return;
  reduce_kernel *two = kernels[type][op][0], *four = kernels[type][op][1];
  /* dst may be sources[1], so that the first step has to read both of these at once */
  int done = n >= 4 ? 4 : 2;
  (n >= 4 ? four : two)(dst, sources, count);
  for (; done + 3 <= n; done += 3) four(dst, (const void *const[]){dst, sources[done], sources[done + 1], sources[done + 2]}, count);
  for (; done < n; done++) two(dst, (const void *const[]){dst, sources[done]}, count);
}
