/* Traces: collected in a draft that grows, then packed into one block of device memory.
 *
 * The packed trace holds raw pointers into itself. They mean the same bytes on every device that reaches the window it
 * lies in, so nobody but the one who packs it needs a copy. It is never changed afterwards: readers take no lock.
 */
#include "examples/kvpool/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Makes room for `wanted` elements; returns 0 or -ENOMEM. */
static int grow(void **array, size_t *room, size_t wanted, size_t element_bytes)
{
  size_t larger = *room ? *room : 1024;
  while (larger < wanted) larger *= 2;
  if (larger == *room) return 0;
  void *moved = reallocarray(*array, larger, element_bytes);
  if (!moved) return -ENOMEM;
  *array = moved;
  *room = larger;
  return 0;
}

int kv_draft_add(struct kv_draft *draft, const uint64_t *ids, size_t count)
{
  if (grow((void **)&draft->ids, &draft->ids_room, draft->refs + count, sizeof *draft->ids) ||
      grow((void **)&draft->ends, &draft->ends_room, draft->requests + 1, sizeof *draft->ends))
    return -ENOMEM;
  if (count) memcpy(draft->ids + draft->refs, ids, count * sizeof *ids);
  draft->refs += count;
  draft->ends[draft->requests++] = draft->refs;
  if (count > draft->longest) draft->longest = count;
  return 0;
}

void kv_draft_free(struct kv_draft *draft)
{
  free(draft->ids);
  free(draft->ends);
  *draft = (struct kv_draft){0};
}

size_t kv_trace_bytes(const struct kv_draft *draft)
{
  return sizeof(struct kv_trace) + draft->requests * sizeof(struct kv_request) + draft->refs * sizeof(uint64_t);
}

struct kv_trace *kv_trace_pack(const struct kv_draft *draft, void *memory)
{
  struct kv_trace *trace = memory;
  trace->requests = draft->requests;
  trace->refs = draft->refs;
  trace->longest = draft->longest;
  uint64_t *ids = (uint64_t *)(trace->request + draft->requests);
  if (draft->refs) memcpy(ids, draft->ids, draft->refs * sizeof *ids);
  for (size_t i = 0, begin = 0; i < draft->requests; begin = draft->ends[i++])
    trace->request[i] = (struct kv_request){.ids = ids + begin, .count = draft->ends[i] - begin};
  return trace;
}
