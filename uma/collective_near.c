/* Collectives inside one group (session.h), for sizes beyond a slot: straight from the users' buffers into the users' buffers.
 *
 * A chunk takes two meetings. At the first everybody says where its buffers are; then each device does its part of the work, reading
 * and writing the memory of all others by load and store; the second tells that all are done. In between
 *   - a source is only read, and each byte of a target is written by one device: the one whose part it is;
 *   - an all-reduce may be in place, so a part of a target can be the same part of a source, never anything that another device reads:
 *     each step of a part is read completely before it is written.
 * Windows need one chunk for everything. Where some device's buffers are private memory (everybody sees that at the
 * same meeting, so all agree), chunks are as long as scratch memory allows; a private source is copied into scratch
 * before the first meeting and a private result out of it after the second. Others touch scratch between the
 * two meetings only, so one scratch buffer for each direction is enough.
 */
#include <string.h>

#include "uma/clock.h"
#include "uma/collective_work.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define STAGE_BYTES ((size_t)256 << 10) /* of private memory at a time: the scratch of some devices fits the second level cache */

#define PAST_CACHE_BYTES ((size_t)8 << 20) /* from here on results are not kept in the cache: it cannot hold sources and targets */

/* What a device contributes to the opening meeting. */
struct post {
  uint64_t source, target; /* addresses in windows */
  uint32_t source_is_staged, target_is_staged;
};

static size_t smaller(size_t a, size_t b)
{
  return a < b ? a : b;
}

/* ---- Chunks */

size_t uma_work_limit(size_t most, int divisor)
{
  size_t limit = smaller(most, uma_scratch_bytes(uma_self.shape.devices)) / (size_t)divisor;
  return limit - limit % FAB_CACHE_LINE;
}

static void stage_source(struct uma_work *work)
{
  unsigned char *scratch = uma_scratch_of(&work->meeting, work->meeting.me, UMA_SCRATCH_IN);
  const unsigned char *src = (const unsigned char *)work->what->src + work->offset;
  for (int g = 0; g < work->blocks; g++) memcpy(scratch + (size_t)g * work->length, src + (size_t)g * work->block, work->length);
}

static void locate(struct uma_work *work, int i, const struct post *post)
{
  const unsigned char *source = (const unsigned char *)(uintptr_t)post->source + work->offset;
  unsigned char *target = (unsigned char *)(uintptr_t)post->target + work->offset;
  work->source[i] = post->source_is_staged ? uma_scratch_of(&work->meeting, i, UMA_SCRATCH_IN) : source;
  work->stride[i] = post->source_is_staged ? work->length : work->block;
  work->target[i] = post->target_is_staged ? uma_scratch_of(&work->meeting, i, UMA_SCRATCH_OUT) : target;
}

/* A private source is staged before anybody can know whether others have private buffers too, in the length that follows if so. */
int uma_work_open(struct uma_work *work)
{
  const struct uma_collective *what = work->what;
  bool stage = work->has_src && !uma_range_is_near(what->src, (size_t)work->blocks * work->block);
  work->target_is_staged = work->pushes && work->has_dst && !uma_range_is_near(what->dst, work->block);
  work->length = smaller(work->limit, work->block - work->offset);
  if (stage) stage_source(work);
  *(struct post *)uma_meeting_mine(&work->meeting) =
      (struct post){(uintptr_t)what->src, (uintptr_t)what->dst, stage, work->target_is_staged};
  int error = uma_meeting_meet(&work->meeting, NULL, NULL);
  if (error) return error;
  bool staged = work->chunked;
  for (int i = 0; i < work->meeting.count; i++) {
    const struct post *post = uma_meeting_data(&work->meeting, i);
    locate(work, i, post);
    staged |= post->source_is_staged || post->target_is_staged;
  }
  if (!staged) work->length = work->block - work->offset;
  return 0;
}

int uma_work_close(struct uma_work *work)
{
  int error = uma_meeting_meet(&work->meeting, NULL, NULL);
  if (error || !work->target_is_staged) return error;
  memcpy((unsigned char *)work->what->dst + work->offset, work->target[work->meeting.me], work->length);
  return 0;
}

/* ---- Parts */

void uma_work_reduce(const struct uma_work *work, void *dst, int g, size_t offset, size_t bytes)
{
  const struct uma_collective *what = work->what;
  const void *from[UMA_MAX_DEVICES];
  for (size_t done = 0; done < bytes; done += UMA_STEP_BYTES) {
    size_t step = smaller(UMA_STEP_BYTES, bytes - done);
    for (int i = 0; i < work->meeting.count; i++) from[i] = work->source[i] + (size_t)g * work->stride[i] + offset + done;
    uma_reduce_many((unsigned char *)dst + done, from, work->meeting.count, step / work->element, what->type, what->op);
  }
}

void uma_work_fetch(const struct uma_work *work)
{
  const struct uma_meeting *meeting = &work->meeting;
  unsigned char *dst = (unsigned char *)work->what->dst + work->offset;
  for (int step = 0; step < meeting->count; step++) {
    int i = (meeting->me + step) % meeting->count; /* everybody begins with its own, so that not all read the same one at once */
    const unsigned char *from = work->source[i] + (work->blocks > 1 ? (size_t)uma_self.device * work->stride[i] : 0);
    unsigned char *to = dst + (size_t)(uma_self.first + i) * work->block;
    if (to != from) memcpy(to, from, work->length);
  }
}

static void broadcast_part(struct uma_work *work)
{
  const struct uma_meeting *meeting = &work->meeting;
  int root = work->what->root - uma_self.first;
  struct uma_part part = uma_part_of(work->length, meeting->me, meeting->count);
  for (size_t done = 0; done < part.bytes; done += UMA_STEP_BYTES) {
    size_t step = smaller(UMA_STEP_BYTES, part.bytes - done), at = part.offset + done;
    for (int i = 0; i < meeting->count; i++)
      if (i != root) memcpy(work->target[i] + at, work->source[root] + at, step);
  }
}

#if defined(__SSE2__)
/* Stores that go to memory without fetching the line first. They are weakly ordered: fence before telling anybody. */
static void copy_past_cache(unsigned char *dst, const unsigned char *src, size_t bytes)
{
  size_t done = (uintptr_t)dst & 15 ? bytes : 0;
  for (; done + 16 <= bytes; done += 16) _mm_stream_si128((__m128i *)(dst + done), _mm_loadu_si128((const __m128i *)(src + done)));
  if ((uintptr_t)dst & 15) done = 0;
  memcpy(dst + done, src + done, bytes - done);
}

static void fence_past_cache(void)
{
  _mm_sfence();
}
#else
static void copy_past_cache(unsigned char *dst, const unsigned char *src, size_t bytes)
{
  memcpy(dst, src, bytes);
}

static void fence_past_cache(void)
{
}
#endif

/* A step is summed up in this device's own target where that cannot destroy a source still to be read (two sources are
 * read together), else in a buffer, and goes to all other targets while it is in the first level cache. */
static void allreduce_step(const struct uma_work *work, size_t at, size_t bytes, bool past_cache)
{
  const struct uma_meeting *meeting = &work->meeting;
  _Alignas(FAB_CACHE_LINE) unsigned char buffer[UMA_STEP_BYTES];
  unsigned char *own = work->target[meeting->me] + at;
  bool direct = !past_cache && (meeting->count <= 2 || work->target[meeting->me] != work->source[meeting->me]);
  unsigned char *sum = direct ? own : buffer;
  uma_work_reduce(work, sum, 0, at, bytes);
  for (int i = 0; i < meeting->count; i++) {
    unsigned char *target = work->target[i] + at;
    if (past_cache) copy_past_cache(target, sum, bytes);
    else if (target != sum) memcpy(target, sum, bytes);
  }
}

static void allreduce_part(const struct uma_work *work)
{
  struct uma_part part = uma_part_of(work->length, work->meeting.me, work->meeting.count);
  bool past_cache = work->length >= PAST_CACHE_BYTES;
  for (size_t done = 0; done < part.bytes; done += UMA_STEP_BYTES)
    allreduce_step(work, part.offset + done, smaller(UMA_STEP_BYTES, part.bytes - done), past_cache);
  if (past_cache) fence_past_cache();
}

static void reduce_scatter_part(struct uma_work *work)
{
  uma_work_reduce(work, (unsigned char *)work->what->dst + work->offset, uma_self.device, 0, work->length);
}

static void do_part(struct uma_work *work)
{
  switch (work->what->kind) {
  case UMA_BROADCAST: broadcast_part(work); break;
  case UMA_ALLREDUCE: allreduce_part(work); break;
  case UMA_REDUCE_SCATTER: reduce_scatter_part(work); break;
  case UMA_ALLGATHER:
  case UMA_ALLTOALL: uma_work_fetch(work); break;
  }
}

/* Of a domain's devices, wherever they are. */
void uma_work_charge(const struct uma_work *work)
{
  int first = uma_self.domain_first, count = uma_self.domain_count;
  size_t part = uma_part_of(work->length, 0, count).bytes; /* the largest: equal ones do not race */
  switch (work->what->kind) {
  case UMA_BROADCAST:
    uma_clock_hand_out(work->what->root, part, true);
    uma_clock_scatter(first, count, part);
    break;
  case UMA_ALLREDUCE:
    uma_clock_gather(first, count, part);
    uma_clock_scatter(first, count, part);
    break;
  case UMA_REDUCE_SCATTER:
  case UMA_ALLGATHER:
  case UMA_ALLTOALL: uma_clock_gather(first, count, work->length); break;
  }
}

size_t uma_work_near_limit(const struct uma_work *work)
{
  return uma_work_limit(STAGE_BYTES, work->blocks);
}

int uma_collective_near(struct uma_work *work)
{
  int error = 0;
  work->chunked = false;
  work->pushes = work->what->kind == UMA_BROADCAST || work->what->kind == UMA_ALLREDUCE;
  work->limit = uma_work_near_limit(work);
  for (work->offset = 0; !error && work->offset < work->block; work->offset += work->length) {
    error = uma_work_open(work);
    if (error) break;
    do_part(work);
    if (uma_self.clock) uma_work_charge(work);
    error = uma_work_close(work);
  }
  return error;
}
