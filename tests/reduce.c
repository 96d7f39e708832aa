/* The reduction kernels: every type and operation, odd sizes, any alignment, against one element at a time. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "uma/reduce.h"

#define MOST 600

static const enum uma_type types[] = {UMA_INT32, UMA_INT64, UMA_UINT32, UMA_UINT64, UMA_FLOAT32, UMA_FLOAT64};
static const size_t counts[] = {0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 511, 513, MOST};

static uint64_t state;

static uint64_t draw(void)
{
  state = state * 6364136223846793005u + 1442695040888963407u;
  return state >> 20 ^ state << 31;
}

static void seed(void)
{
  const char *text = getenv("UMA_TEST_SEED");
  state = text ? strtoull(text, NULL, 0) : 20240607;
  fprintf(stderr, "UMA_TEST_SEED=%llu\n", (unsigned long long)state);
}

static void fill(unsigned char *bytes, size_t count, enum uma_type type)
{
  for (size_t i = 0; i < count; i++) {
    uint64_t word = draw();
    double real = (double)(int64_t)word / 1e18;
    float small = (float)real;
    size_t size = uma_type_size(type);
    memcpy(bytes + i * size, type == UMA_FLOAT64 ? (void *)&real : type == UMA_FLOAT32 ? (void *)&small : (void *)&word, size);
  }
}

#define ONE_ARITHMETIC(T, U) \
  T a, b; \
  memcpy(&a, acc, sizeof a); \
  memcpy(&b, in, sizeof b); \
  if (op == UMA_SUM) a = (T)((U)a + (U)b); \
  if (op == UMA_PROD) a = (T)((U)a * (U)b); \
  if (op == UMA_MIN) a = a < b ? a : b; \
  if (op == UMA_MAX) a = a > b ? a : b;
#define ONE_INTEGER(name, T, U) \
  static void one_##name(void *acc, const void *in, enum uma_op op) \
  { \
    ONE_ARITHMETIC(T, U) \
    if (op == UMA_AND) a &= b; \
    if (op == UMA_OR) a |= b; \
    if (op == UMA_XOR) a ^= b; \
    memcpy(acc, &a, sizeof a); \
  }
#define ONE_FLOAT(name, T) \
  static void one_##name(void *acc, const void *in, enum uma_op op) \
  { \
    ONE_ARITHMETIC(T, T) \
    memcpy(acc, &a, sizeof a); \
  }
ONE_INTEGER(int32, int32_t, uint32_t)
ONE_INTEGER(int64, int64_t, uint64_t)
ONE_INTEGER(uint32, uint32_t, uint32_t)
ONE_INTEGER(uint64, uint64_t, uint64_t)
ONE_FLOAT(float32, float)
ONE_FLOAT(float64, double)
static void (*const one[])(void *acc, const void *in, enum uma_op op) = {
    [UMA_INT32] = one_int32,   [UMA_INT64] = one_int64,     [UMA_UINT32] = one_uint32,
    [UMA_UINT64] = one_uint64, [UMA_FLOAT32] = one_float32, [UMA_FLOAT64] = one_float64,
};

static void reduce_slowly(unsigned char *dst, unsigned char (*sources)[MOST * 8 + 64], const size_t *shifts, int n, size_t count,
                          enum uma_type type, enum uma_op op)
{
  size_t size = uma_type_size(type);
  memcpy(dst, sources[0] + shifts[0], count * size);
  for (int s = 1; s < n; s++)
    for (size_t i = 0; i < count; i++) one[type](dst + i * size, sources[s] + shifts[s] + i * size, op);
}

/* In `where` 0 the destination is apart, in 1 and 2 it is the first or second source. */
static void check_many(enum uma_type type, enum uma_op op, int n, size_t count, int where)
{
  static unsigned char sources[9][MOST * 8 + 64], apart[MOST * 8 + 64], expected[MOST * 8];
  const void *from[9];
  size_t shifts[9], bytes = count * uma_type_size(type);
  for (int s = 0; s < n; s++) {
    shifts[s] = draw() % 33;
    from[s] = sources[s] + shifts[s];
    fill(sources[s] + shifts[s], count, type);
  }
  reduce_slowly(expected, sources, shifts, n, count, type, op);
  unsigned char *dst = where ? (unsigned char *)from[where - 1] : apart + draw() % 33;
  unsigned char behind = dst[bytes];
  uma_reduce_many(dst, from, n, count, type, op);
  cr_assert(!memcmp(dst, expected, bytes), "type %d op %d, %d sources, %zu elements, in place %d", type, op, n, count, where);
  cr_assert_eq(dst[bytes], behind);
}

Test(reduce, many_sources_in_order)
{
  seed();
  for (size_t t = 0; t < sizeof types / sizeof *types; t++)
    for (enum uma_op op = UMA_SUM; op <= UMA_XOR; op++)
      for (int n = 1; n <= 9 && uma_op_applies(types[t], op); n++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
          for (int where = 0; where <= 2 && where <= n; where++) check_many(types[t], op, n, counts[c], where);
}

Test(reduce, one_source_into_an_accumulator)
{
  static unsigned char sources[2][MOST * 8 + 64], expected[MOST * 8];
  static const size_t shifts[2] = {1, 6};
  seed();
  for (size_t t = 0; t < sizeof types / sizeof *types; t++)
    for (enum uma_op op = UMA_SUM; op <= UMA_XOR; op++) {
      if (!uma_op_applies(types[t], op)) continue;
      for (int s = 0; s < 2; s++) fill(sources[s] + shifts[s], MOST, types[t]);
      reduce_slowly(expected, sources, shifts, 2, MOST, types[t], op);
      uma_reduce(sources[0] + shifts[0], sources[1] + shifts[1], MOST, types[t], op);
      cr_assert(!memcmp(sources[0] + shifts[0], expected, MOST * uma_type_size(types[t])), "type %d op %d", types[t], op);
    }
}

Test(reduce, signed_integers_wrap)
{
  int32_t a[17], b[17];
  for (int i = 0; i < 17; i++) {
    a[i] = INT32_MAX;
    b[i] = 2;
  }
  uma_reduce(a, b, 17, UMA_INT32, UMA_SUM);
  for (int i = 0; i < 17; i++) cr_assert_eq(a[i], INT32_MIN + 1);
  uma_reduce(a, b, 17, UMA_INT32, UMA_PROD);
  for (int i = 0; i < 17; i++) cr_assert_eq(a[i], 2);
}

Test(reduce, where_one_is_no_number_the_second_counts)
{
  double a[9], b[9];
  for (enum uma_op op = UMA_MIN; op <= UMA_MAX; op++)
    for (int i = 0; i < 9; i++) {
      for (int j = 0; j < 9; j++) {
        a[j] = j < 5 ? NAN : 1;
        b[j] = j < 5 ? 2 : NAN;
      }
      uma_reduce(a, b, 9, UMA_FLOAT64, op);
      cr_assert(i < 5 ? a[i] == 2 : isnan(a[i]));
    }
}

Test(reduce, only_integers_have_bitwise_operations)
{
  for (enum uma_op op = UMA_AND; op <= UMA_XOR; op++) {
    cr_assert(uma_op_applies(UMA_INT32, op) && uma_op_applies(UMA_UINT64, op));
    cr_assert_not(uma_op_applies(UMA_FLOAT32, op));
    cr_assert_not(uma_op_applies(UMA_FLOAT64, op));
  }
  cr_assert_not(uma_op_applies((enum uma_type)0, UMA_SUM));
  cr_assert_not(uma_op_applies((enum uma_type)7, UMA_SUM));
  cr_assert_not(uma_op_applies((enum uma_type) - 1, UMA_SUM));
  cr_assert_not(uma_op_applies(UMA_INT32, (enum uma_op)0));
  cr_assert_not(uma_op_applies(UMA_INT32, (enum uma_op)8));
  cr_assert_eq(uma_type_size((enum uma_type)7), 0);
  cr_assert_eq(uma_type_size((enum uma_type)0), 0);
}
