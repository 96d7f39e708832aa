/* Collectives where windows are cached: in chunks, through private memory.
 *
 * Devices must not reach into each other's windows past caches of lines, nor sockets into cached pages, so each copies a chunk of its source out of its cache, takes part in the
 * collective with private memory, and copies the result back in. All devices go in the same chunks, wherever their buffers are. Elements are
 * combined as without chunks, so the results are the same bits. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "uma/coherent.h"
#include "uma/collective_work.h"

#define MOST_BYTES ((size_t)256 << 10) /* of a chunk of all blocks */
#define LEAST_BYTES ((size_t)64)       /* a multiple of every element's size */

static int fetch(void *local, const unsigned char *from, size_t bytes)
{
  if (uma_is_cached(from, bytes)) return uma_cached_get(local, from, bytes);
  memcpy(local, from, bytes);
  return 0;
}

static int store(unsigned char *to, const void *local, size_t bytes)
{
  if (uma_is_cached(to, bytes)) return uma_cached_put(to, local, bytes);
  memcpy(to, local, bytes);
  return 0;
}

/* Bytes [offset, + length) of each block, side by side, and back. */
static int gather(unsigned char *chunk, const struct uma_spread *spread, const void *src, size_t offset, size_t length)
{
  int result = 0;
  for (size_t b = 0; b < spread->src_blocks && !result; b++)
    result = fetch(chunk + b * length, (const unsigned char *)src + b * spread->block + offset, length);
  return result;
}

static int scatter(void *dst, const struct uma_spread *spread, const unsigned char *chunk, size_t offset, size_t length)
{
  int result = 0;
  for (size_t b = 0; b < spread->dst_blocks && !result; b++)
    result = store((unsigned char *)dst + b * spread->block + offset, chunk + b * length, length);
  return result;
}

static int run_chunk(const struct uma_collective *what, const struct uma_spread *spread, enum fab_channel channel, unsigned char *in,
                     unsigned char *out, size_t offset, size_t length)
{
  struct uma_collective part = *what;
  bool is_broadcast = what->kind == UMA_BROADCAST, is_root = is_broadcast && what->root == uma_self.device;
  int result = is_broadcast && !is_root ? 0 : gather(in, spread, what->src, offset, length);
  part.src = in;
  part.dst = is_broadcast ? in : out;
  part.count = length / spread->element;
  if (!result) result = uma_collective_run_plain(&part, channel);
  return result || is_root ? result : scatter(what->dst, spread, part.dst, offset, length);
}

int uma_collective_cached(const struct uma_collective *what, const struct uma_spread *spread, enum fab_channel channel)
{
  size_t many = spread->src_blocks > spread->dst_blocks ? spread->src_blocks : spread->dst_blocks;
  size_t most = MOST_BYTES / many / LEAST_BYTES * LEAST_BYTES, limit = most ? most : LEAST_BYTES, length;
  unsigned char *memory = malloc((spread->src_blocks + spread->dst_blocks) * limit);
  int result = 0;
  if (!memory) return uma_fail(-ENOMEM, "no memory for a chunk of a collective");
  for (size_t offset = 0; offset < spread->block && !result; offset += length) {
    length = spread->block - offset < limit ? spread->block - offset : limit;
    result = run_chunk(what, spread, channel, memory, memory + spread->src_blocks * limit, offset, length);
  }
  free(memory);
  return result;
}
