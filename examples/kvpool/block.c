/* Blocks: filled by their id, checked by a sum that depends on every word and on its place.
 *
 * The sum is that of Fletcher on 64-bit words (one running sum of the words, one of the running sums), which tells exchanged and
 * shifted words as well as changed ones, and costs two additions a word.
 */
#include "examples/kvpool/block.h"

static size_t word_count(size_t bytes)
{
  return (bytes - sizeof(struct kv_block)) / sizeof(uint64_t);
}

static uint64_t checksum(const struct kv_block *block, size_t bytes)
{
  uint64_t sum = block->id, sums = 0;
  size_t count = word_count(bytes);
  for (size_t i = 0; i < count; i++) {
    sum += block->words[i];
    sums += sum;
  }
  return sum ^ (sums << 32 | sums >> 32);
}

void kv_block_fill(struct kv_block *block, size_t bytes, uint64_t id)
{
  size_t count = word_count(bytes);
  uint64_t word = (id + 1) * 0x9e3779b97f4a7c15u;
  for (size_t i = 0; i < count; i++) block->words[i] = word + i * 0xd1342543de82ef95u;
  block->id = id;
  block->checksum = checksum(block, bytes);
}

bool kv_block_check(const struct kv_block *block, size_t bytes, uint64_t id)
{
  return block->id == id && block->checksum == checksum(block, bytes);
}
