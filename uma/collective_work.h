/* What the three files of the collectives share: collective.c (arguments, small sizes), collective_near.c (inside one group) and
 * collective_far.c (between groups).
 *
 * Vocabulary: a collective works on blocks of `block` bytes. The source is one block, or one for each device of the session
 * (reduce-scatter, all-to-all). Blocks are worked on in chunks: bytes [offset, offset + length) of every block. A part is what one of
 * several devices does of a chunk. i and j number the devices of this group, g those of the session, k the groups.
 */
#ifndef UMA_COLLECTIVE_WORK_H
#define UMA_COLLECTIVE_WORK_H

#include "uma/collective.h"
#include "uma/meeting.h"
#include "uma/reduce.h"
#include "uma/session.h"

/* Reductions go in steps that stay in the first level cache. */
#define UMA_STEP_BYTES ((size_t)8 << 10)

struct uma_work {
  const struct uma_collective *what;
  enum fab_channel channel;
  struct uma_meeting meeting;
  size_t element;        /* bytes of an element, 1 where there is no type */
  size_t block;          /* bytes */
  int blocks;            /* that a source consists of: 1, or one for each device of the session */
  bool has_src, has_dst; /* does it have a source of its own, does it get a result? (the root of a broadcast has the only source) */
  bool pushes;           /* results are written by others straight into dst, not fetched by this device */
  bool chunked;          /* always in chunks of `limit`, wherever the buffers are */
  size_t limit;          /* the longest chunk when anything is staged: what fits a scratch part */
  size_t offset, length; /* the chunk */
  bool target_is_staged; /* this device's */
  /* Where the chunk's first block begins on the i-th device, and how far apart its blocks are; where its result goes. Valid from
   * uma_work_open to uma_work_close. */
  const unsigned char *source[UMA_MAX_DEVICES];
  size_t stride[UMA_MAX_DEVICES];
  unsigned char *target[UMA_MAX_DEVICES];
};

struct uma_part {
  size_t offset, bytes;
};

/* The index-th of `parts` equal parts of `bytes`, in whole cache lines but for the end. */
static inline struct uma_part uma_part_of(size_t bytes, int index, int parts)
{
  size_t lines = (bytes + FAB_CACHE_LINE - 1) / FAB_CACHE_LINE, share = lines / (size_t)parts, rest = lines % (size_t)parts;
  size_t before = (size_t)index * share + ((size_t)index < rest ? (size_t)index : rest);
  size_t begin = before * FAB_CACHE_LINE, end = (before + share + ((size_t)index < rest)) * FAB_CACHE_LINE;
  begin = begin < bytes ? begin : bytes;
  end = end < bytes ? end : bytes;
  return (struct uma_part){begin, end - begin};
}

static inline bool uma_is_reduction(enum uma_collective_kind kind)
{
  return kind == UMA_REDUCE_SCATTER || kind == UMA_ALLREDUCE;
}

/* ---- collective_near.c */
/* The longest chunk so that `divisor` of them fit a scratch part and `most` bytes; the same in all groups. */
size_t uma_work_limit(size_t most, int divisor);
/* Opens the chunk at `offset`: stages a private source, meets, learns where everybody's buffers are, and sets `length`.
 * Closes it: meets, and brings a staged result to its place. Both 0 or -EHOSTDOWN. */
int uma_work_open(struct uma_work *work);
int uma_work_close(struct uma_work *work);
/* dst = the reduction, over the devices of this domain, of bytes [offset, + bytes) of block g of the chunk. dst overlaps no source,
 * unless it is this one source of one or two devices. */
void uma_work_reduce(const struct uma_work *work, void *dst, int g, size_t offset, size_t bytes);
/* Brings the blocks of this domain's devices to this device's dst: all-gather and all-to-all. */
void uma_work_fetch(const struct uma_work *work);
int uma_collective_near(struct uma_work *work);
/* On the modelled clock: what this device reads of all others' memory at once in a chunk, then what it writes there; and how long chunks are where
 * anything is private memory. */
void uma_work_charge(const struct uma_work *work);
size_t uma_work_near_limit(const struct uma_work *work);

/* ---- collective_far.c */
int uma_collective_far(struct uma_work *work);

/* ---- collective_cached.c */
/* Where a collective's blocks are: so many of `block` bytes side by side. */
struct uma_spread {
  size_t element, block, src_blocks, dst_blocks;
};
int uma_collective_cached(const struct uma_collective *what, const struct uma_spread *spread, enum fab_channel channel);

/* ---- collective.c: for buffers that the processor reaches */
int uma_collective_run_plain(const struct uma_collective *what, enum fab_channel channel);

#endif
