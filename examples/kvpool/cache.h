/* The index of a cache of blocks: which block is where, and which was used least recently. See cache.c. */
#ifndef KV_CACHE_H
#define KV_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A place for one block. It lies in the window of the device that holds the block's bytes. */
struct kv_entry {
  /* guarded by the turn (pooled), or used by one device only */
  uint64_t id;
  struct kv_entry *chain;         /* the next in the same bucket, or the next spare one */
  struct kv_entry *newer, *older; /* neighbours in the order of use */
  unsigned char *data;
  uint64_t writes, reads; /* how many were planned so far */
  int member;             /* whose window this is */
  /* counted up outside of the turn, as the planned steps are carried out */
  _Alignas(64) uint64_t written;
  uint64_t read;
};
_Static_assert(sizeof(struct kv_entry) == 128, "one line for the turn, one for the steps");

struct kv_cache {
  struct kv_entry **buckets;
  uint64_t mask;
  struct kv_entry *newest, *oldest;
  int members;
  struct kv_entry *spare[]; /* [members]: entries that never held a block */
};

/* One thing to do with the bytes of an entry, after the index was changed. Carried out when `entry->written` is `written` and,
 * for a write, `entry->read` is `read`. */
struct kv_step {
  struct kv_entry *entry;
  uint64_t id;
  uint64_t written, read;
  bool is_read;
};

struct kv_plan {
  struct kv_step *steps; /* room for as many as the longest request has blocks */
  size_t count, hits, evictions;
};

size_t kv_cache_bytes(int members, size_t capacity); /* of the index without its entries */
struct kv_cache *kv_cache_init(void *memory, int members, size_t capacity);

/* Gives `count` entries with their blocks to the cache. Members may do so at the same time, each for itself. */
void kv_cache_give(struct kv_cache *cache, int member, struct kv_entry *entries, size_t count, unsigned char *data, size_t block_bytes);

size_t kv_cache_prefix(const struct kv_cache *cache, const uint64_t *ids, size_t count); /* how many blocks from the first on are cached */

/* A request of `member`: touches its blocks in order and says in `plan` what is to be read and written. */
void kv_cache_request(struct kv_cache *cache, int member, const uint64_t *ids, size_t count, struct kv_plan *plan);

#endif
