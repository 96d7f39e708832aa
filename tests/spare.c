/* Memory that is used again: what was given is taken again by whoever wants as much, and no more of it is kept than is said. */
#include <criterion/criterion.h>
#include <string.h>

#include "uma/spare.h"

Test(spare, what_was_given_is_taken_again)
{
  struct uma_spares spares = {0};
  void *first = uma_spare_take(&spares, 3000), *large = uma_spare_take(&spares, 100000);
  cr_assert(first && large && first != large);
  memset(first, 1, 3000), memset(large, 2, 100000);
  uma_spare_give(&spares, first);
  uma_spare_give(&spares, large);
  void *small = uma_spare_take(&spares, 100), *again = uma_spare_take(&spares, 4000);
  cr_expect(small != first && again == first, "one of its size is taken, not a larger one");
  uma_spare_give(&spares, small), uma_spare_give(&spares, again);
  uma_spares_close(&spares);
  cr_expect_eq(spares.kept[0].first, NULL);
}

/* Each size for itself, so that many small ones do not push out large ones. */
Test(spare, as_much_is_kept_as_a_ring_holds)
{
  enum { MANY = 300 };
  struct uma_spares spares = {0};
  void *blocks[MANY];
  static const size_t sizes[] = {1, 8192, 60000};
  for (int s = 0; s < 3; s++) {
    for (int i = 0; i < MANY; i++) cr_assert(blocks[i] = uma_spare_take(&spares, sizes[s]));
    for (int i = 0; i < MANY; i++) uma_spare_give(&spares, blocks[i]);
  }
  for (int order = 0; order < UMA_SPARE_ORDERS; order++) {
    cr_expect_leq(spares.kept[order].bytes, 512 << 10);
    cr_expect_eq(spares.kept[order].first != NULL, order == 0 || order == 4 || order == 7);
  }
  uma_spares_close(&spares);
}
