/* Sharer sets: every kind covers what was added, counts what it names, and forgets no more than it may. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coherence/sharers.h"

static const char *const names[] = {"full", "limited", "coarse"};

/* count, has and next tell the same members; each device of the model is one. */
static void expect_consistent(const struct coh_sharer_kind *kind, const uint64_t *set, const bool *model)
{
  int members = 0, next = kind->ops->next(kind, set, 0);
  for (int d = 0; d < kind->devices; d++) {
    bool has = kind->ops->has(kind, set, d);
    cr_assert(has || !model[d], "%s of %d devices lost device %d", kind->ops->name, kind->devices, d);
    cr_assert_eq(has, next == d);
    members += has;
    if (has) next = kind->ops->next(kind, set, d + 1);
  }
  cr_assert_eq(next, -1);
  cr_assert_eq(kind->ops->count(kind, set), members);
  cr_assert_eq(coh_sharers_count_but(kind, set, 0, kind->devices - 1),
               members - kind->ops->has(kind, set, 0) - (kind->devices > 1 && kind->ops->has(kind, set, kind->devices - 1)));
}

static void try_kind(const struct coh_sharer_kind *kind)
{
  uint64_t set[COH_MAX_SHARER_WORDS] = {0};
  bool model[COH_MAX_DEVICES] = {0};
  cr_assert_leq(kind->words, COH_MAX_SHARER_WORDS);
  for (int i = 0; i < 300; i++) {
    int device = rand() % kind->devices;
    model[device] = rand() % 3 != 0;
    (model[device] ? kind->ops->add : kind->ops->remove)(kind, set, device);
    if (i % 50 == 49) {
      coh_sharers_clear(kind, set);
      memset(model, 0, sizeof model);
    }
    expect_consistent(kind, set, model);
  }
}

Test(sharers, every_kind_covers_what_was_added)
{
  static const int devices[] = {1, 2, 3, 8, 63, 64, 65, 200, 1023, 1024};
  const char *seed = getenv("UMA_TEST_SEED");
  srand(seed ? (unsigned)atoi(seed) : 7);
  printf("UMA_TEST_SEED=%s\n", seed ? seed : "7");
  for (int k = 0; k < 3; k++)
    for (int d = 0; d < 10; d++)
      for (int parameter = 0; parameter < 6; parameter++) {
        struct coh_sharer_kind kind;
        if (k == 0 && parameter > 1) continue;
        cr_assert_eq(coh_sharer_kind_make(names[k], devices[d], parameter, &kind), 0);
        try_kind(&kind);
      }
}

Test(sharers, full_map_and_few_pointers_are_exact)
{
  for (int k = 0; k < 2; k++) {
    struct coh_sharer_kind kind;
    uint64_t set[COH_MAX_SHARER_WORDS] = {0};
    cr_assert_eq(coh_sharer_kind_make(names[k], 1024, 0, &kind), 0);
    kind.ops->add(&kind, set, 1023);
    kind.ops->add(&kind, set, 5);
    kind.ops->add(&kind, set, 5);
    cr_expect_eq(kind.ops->count(&kind, set), 2);
    kind.ops->remove(&kind, set, 5);
    cr_expect_eq(kind.ops->count(&kind, set), 1);
    cr_expect_eq(kind.ops->next(&kind, set, 0), 1023);
  }
}

Test(sharers, too_many_pointers_stand_for_all)
{
  struct coh_sharer_kind kind;
  uint64_t set[COH_MAX_SHARER_WORDS] = {0};
  cr_assert_eq(coh_sharer_kind_make("limited", 100, 2, &kind), 0);
  for (int d = 10; d < 13; d++) kind.ops->add(&kind, set, d);
  cr_expect_eq(kind.ops->count(&kind, set), 100);
  kind.ops->remove(&kind, set, 10);
  cr_expect_eq(kind.ops->count(&kind, set), 100);
}

Test(sharers, bad_choices_are_refused)
{
  struct coh_sharer_kind kind;
  cr_expect_eq(coh_sharer_kind_make("exact", 8, 0, &kind), -EINVAL);
  cr_expect_eq(coh_sharer_kind_make("full", 0, 0, &kind), -EINVAL);
  cr_expect_eq(coh_sharer_kind_make("full", 1025, 0, &kind), -EINVAL);
  cr_expect_eq(coh_sharer_kind_make("limited", 8, 16, &kind), -EINVAL);
  cr_expect_eq(coh_sharer_kind_make("coarse", 8, -1, &kind), -EINVAL);
}
