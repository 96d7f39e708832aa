/* Blocks at a given place of a window: the lowest that fits is found, exactly it is taken, and comes back whole. */
#include <errno.h>

#include "tests/heap_blocks.h"

#define PAGE ((uint64_t)UMA_HEAP_PAGE)

Test(heap_place, finds_the_lowest_place_at_or_above)
{
  struct uma_heap *heap = block_heap(64 * PAGE, 0);
  cr_assert_eq(uma_heap_alloc(heap, 4 * PAGE, 16), 0);
  cr_assert_eq(uma_heap_find(heap, 0, PAGE), 4 * PAGE);
  cr_assert_eq(uma_heap_find(heap, 10 * PAGE + 1, PAGE), 11 * PAGE);
  cr_assert_eq(uma_heap_find(heap, 0, 60 * PAGE), 4 * PAGE);
  cr_assert_eq(uma_heap_find(heap, 0, 61 * PAGE), UMA_HEAP_FULL);
  cr_assert_eq(uma_heap_find(heap, 5 * PAGE, 60 * PAGE), UMA_HEAP_FULL);
  cr_assert_eq(uma_heap_find(heap, 0, SIZE_MAX), UMA_HEAP_FULL);
}

Test(heap_place, takes_exactly_what_is_free)
{
  struct uma_heap *heap = block_heap(64 * PAGE, 0);
  cr_assert_eq(uma_heap_take(heap, 8 * PAGE, 2 * PAGE), 0);
  cr_assert_eq(uma_heap_take(heap, 9 * PAGE, PAGE), -EBUSY);
  cr_assert_eq(uma_heap_take(heap, 7 * PAGE, 2 * PAGE), -EBUSY);
  cr_assert_eq(uma_heap_take(heap, 63 * PAGE, 2 * PAGE), -EBUSY);
  cr_assert_eq(uma_heap_take(heap, 64 * PAGE, PAGE), -EBUSY);
  block_check(heap);
  cr_assert_eq(uma_heap_free(heap, 8 * PAGE), 0);
  cr_assert_eq(uma_heap_find(heap, 0, 64 * PAGE), 0);
  block_check(heap);
}
