/* Sets of outcomes: a hash table while they grow, a sorted list when they are complete. */
#include <errno.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "uma/litmus.h"
#include "uma/session.h"

struct uma_litmus_tally {
  struct uma_litmus_outcome outcome; /* values beyond observed_count are 0 */
  UT_hash_handle hh;
};

int uma_litmus_tally_add(struct uma_litmus_tally **tally, const struct uma_litmus *test, const uint64_t *values)
{
  struct uma_litmus_tally *entry = NULL;
  unsigned bytes = (unsigned)((size_t)test->observed_count * sizeof values[0]);
  HASH_FIND(hh, *tally, values, bytes, entry);
  if (!entry) {
    entry = calloc(1, sizeof *entry);
    if (!entry) return -ENOMEM;
    memcpy(entry->outcome.values, values, bytes);
    HASH_ADD_KEYPTR(hh, *tally, entry->outcome.values, bytes, entry);
    if (!entry->hh.tbl) {
      free(entry);
      return -ENOMEM;
    }
  }
  entry->outcome.count++;
  return 0;
}

static int compare(const void *left, const void *right)
{
  const struct uma_litmus_outcome *a = left, *b = right;
  for (int i = 0; i < UMA_LITMUS_OBSERVED; i++)
    if (a->values[i] != b->values[i]) return a->values[i] < b->values[i] ? -1 : 1;
  return 0;
}

int uma_litmus_tally_end(struct uma_litmus_tally **tally, const struct uma_litmus *test, struct uma_litmus_outcomes *outcomes)
{
  struct uma_litmus_tally *entry = *tally, *next;
  size_t count = 0;
  struct uma_litmus_outcome *list = calloc(HASH_COUNT(*tally) + 1, sizeof *list);
  HASH_CLEAR(hh, *tally); /* the entries stay linked in the order in which they came */
  for (; entry; entry = next) {
    next = entry->hh.next;
    if (list) list[count++] = entry->outcome;
    free(entry);
  }
  if (!list) return uma_fail(-ENOMEM, "%s: out of memory for its outcomes", test->name);
  qsort(list, count, sizeof *list, compare);
  *outcomes = (struct uma_litmus_outcomes){count, list};
  return 0;
}

bool uma_litmus_contains(const struct uma_litmus *test, const struct uma_litmus_outcomes *set, const struct uma_litmus_outcome *outcome)
{
  return set->count && bsearch(outcome, set->list, set->count, sizeof *outcome, compare);
}

bool uma_litmus_any_asked(const struct uma_litmus *test, const struct uma_litmus_outcomes *set)
{
  for (size_t i = 0; i < set->count; i++)
    if (uma_litmus_asked(test, &set->list[i])) return true;
  return false;
}
