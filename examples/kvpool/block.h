/* What is in a block: an id, a checksum, and bytes that stand for keys and values. See block.c. */
#ifndef KV_BLOCK_H
#define KV_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KV_BLOCK_MIN 64 /* a block's size is a multiple of it */

struct kv_block {
  uint64_t id;
  uint64_t checksum; /* of the words behind it, and of the id */
  uint64_t words[];
};

void kv_block_fill(struct kv_block *block, size_t bytes, uint64_t id);
bool kv_block_check(const struct kv_block *block, size_t bytes, uint64_t id);

#endif
