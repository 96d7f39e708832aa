/* The allocator of one window. Its bookkeeping lies in the control segment, never in the window: it hands out page and byte
 * numbers and never touches what it hands out. Knows nothing of sessions or addresses. */
#ifndef UMA_HEAP_H
#define UMA_HEAP_H

#include <stddef.h>
#include <stdint.h>

#include "uma.h"

#define UMA_HEAP_PAGE 4096
#define UMA_HEAP_FULL UINT64_MAX

struct uma_heap; /* in shared memory; holds no pointers */

/* Bytes of bookkeeping for a window, and its initial state (the memory is zeroed and begins at a cache line; only a constant amount
 * of it is touched). window_bytes is a multiple of UMA_HEAP_PAGE below 16 TiB. `address` is where the window begins, a multiple of
 * UMA_HEAP_PAGE: blocks are aligned as addresses, which differs from their offsets where an alignment exceeds the window's own. */
size_t uma_heap_bytes(size_t window_bytes);
void uma_heap_format(struct uma_heap *heap, size_t window_bytes, uint64_t address);

/* Offset in the window, or UMA_HEAP_FULL. bytes > 0; alignment: a power of two; blocks are aligned to 16 at least. */
uint64_t uma_heap_alloc(struct uma_heap *heap, size_t bytes, size_t alignment);
/* For symmetric blocks: the lowest offset >= from at which whole pages for `bytes` are free now, or UMA_HEAP_FULL; and allocating exactly there
 * (offset a multiple of the page): 0 or -EBUSY. Freed by uma_heap_free. */
uint64_t uma_heap_find(struct uma_heap *heap, uint64_t from, size_t bytes);
int uma_heap_take(struct uma_heap *heap, uint64_t offset, size_t bytes);
/* 0, -EINVAL offset is not the beginning of a block, -EALREADY it was freed before (as far as can be told). */
int uma_heap_free(struct uma_heap *heap, uint64_t offset);
/* Usable size of the block at this offset, or 0. */
size_t uma_heap_block_bytes(struct uma_heap *heap, uint64_t offset);
void uma_heap_usage(struct uma_heap *heap, struct uma_usage *usage);
/* NULL, or which invariant is broken: a sentence. For tests and debug builds. */
const char *uma_heap_invalid(struct uma_heap *heap);

#endif
