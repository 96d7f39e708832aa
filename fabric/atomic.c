/* Atomic operations on mapped memory whose operation and size are known only at run time.
 *
 * One function for each width, made by one macro from the same text, so that the widths cannot differ in meaning.
 * All are sequentially consistent. `pointer` is aligned to `size`; operands are taken modulo 2^(8 * size).
 */
#include "fabric/fabric.h"

#include <stdatomic.h>

#define APPLY(bits) \
  static uint64_t apply_##bits(enum fab_atomic op, _Atomic uint##bits##_t *cell, uint##bits##_t operand, uint##bits##_t expected) \
  { \
    switch (op) { \
    case FAB_LOAD: return atomic_load(cell); \
    case FAB_STORE: atomic_store(cell, operand); return 0; \
    case FAB_SWAP: return atomic_exchange(cell, operand); \
    case FAB_CAS: atomic_compare_exchange_strong(cell, &expected, operand); return expected; \
    case FAB_ADD: return atomic_fetch_add(cell, operand); \
    case FAB_AND: return atomic_fetch_and(cell, operand); \
    case FAB_OR: return atomic_fetch_or(cell, operand); \
    case FAB_XOR: return atomic_fetch_xor(cell, operand); \
    } \
    return 0; \
  }
APPLY(8)
APPLY(16)
APPLY(32)
APPLY(64)

uint64_t fab_atomic_apply(enum fab_atomic op, void *pointer, size_t size, uint64_t operand, uint64_t expected)
{
  switch (size) {
  case 1: return apply_8(op, pointer, (uint8_t)operand, (uint8_t)expected);
  case 2: return apply_16(op, pointer, (uint16_t)operand, (uint16_t)expected);
  case 4: return apply_32(op, pointer, (uint32_t)operand, (uint32_t)expected);
  default: return apply_64(op, pointer, operand, expected);
  }
}
