/* What lies in a device's cache on the modelled clock, for profiles whose accelerators have one (`cache`).
 *
 * The library does not see the plain stores of others, but they may count on being seen only by who has met the writer since: at a barrier, by
 * a message, a signal, a lock. So a thread remembers which ranges of other devices' memory it has touched since it last met others, in
 * whole lines, the newest first, up to the size of the cache; all of a range is there or none of it. Ranges that touch become one, so a
 * program that goes through memory in order needs few; one that jumps about in more places than are remembered finds less than a real cache
 * would keep. One range that is larger than the cache is remembered, too, for those who know what it takes to go through such a one again. Only the
 * thread itself touches its list. */
#include <string.h>

#include "uma/clock.h"

enum { RANGES = 16 };

struct range {
  uintptr_t begin, end;
};
static _Thread_local struct range ranges[RANGES]; /* the newest first */
static _Thread_local int range_count;

void uma_clock_forget(void)
{
  range_count = 0;
}

static void drop(int i)
{
  memmove(&ranges[i], &ranges[i + 1], (size_t)(--range_count - i) * sizeof ranges[0]);
}

/* To the front; what it touches becomes part of it. Then the oldest go, until all fit. */
static void add(struct range range, uint64_t room)
{
  for (int i = 0; i < range_count;)
    if (ranges[i].begin <= range.end && range.begin <= ranges[i].end && ranges[i].end - ranges[i].begin + range.end - range.begin <= room) {
      range.begin = ranges[i].begin < range.begin ? ranges[i].begin : range.begin;
      range.end = ranges[i].end > range.end ? ranges[i].end : range.end;
      drop(i);
    } else {
      i++;
    }
  if (range_count == RANGES) range_count--;
  memmove(&ranges[1], &ranges[0], (size_t)range_count++ * sizeof ranges[0]);
  ranges[0] = range;
  uint64_t kept = 0;
  for (int i = 0; i < range_count; i++) {
    kept += ranges[i].end - ranges[i].begin;
    if (kept > room) range_count = i;
  }
}

static bool is_there(const void *pointer, size_t bytes, bool whatever_its_size)
{
  const struct fab_device_kind *kind = fab_topology_kind(&uma_self.clock->topology, (uint64_t)uma_self.device);
  if (!kind->cache_bytes) return false;
  uintptr_t begin = (uintptr_t)pointer / kind->line_bytes * kind->line_bytes;
  uintptr_t end = ((uintptr_t)pointer + bytes + kind->line_bytes - 1) / kind->line_bytes * kind->line_bytes;
  for (int i = 0; i < range_count; i++) {
    bool fits = whatever_its_size || ranges[i].end - ranges[i].begin <= kind->cache_bytes;
    if (fits && ranges[i].begin <= begin && end <= ranges[i].end) return true;
  }
  add((struct range){begin, end}, whatever_its_size && end - begin > kind->cache_bytes ? end - begin : kind->cache_bytes);
  return false;
}

bool uma_clock_cached(const void *pointer, size_t bytes)
{
  return is_there(pointer, bytes, false);
}

bool uma_clock_touched(const void *pointer, size_t bytes)
{
  return is_there(pointer, bytes, true);
}
