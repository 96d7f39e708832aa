/* The index of a cache: a hash table with chains and one list in the order of use, all linked by raw pointers.
 *
 * The entries lie in the windows of all devices of a pool; a chain or the list of use crosses from window to window as it likes, and
 * every device walks it with plain loads. Nothing here calls the library: the same code is the index of a pool, of one device's
 * private cache, and of the router's picture of somebody else's cache.
 *
 * A request hits on its longest prefix of cached blocks. Then all its blocks are touched in order: a cached one becomes the most
 * recently used, another takes a spare entry (the requester's own, then its neighbours') or else that of the block which was least
 * recently used.
 * A cached block behind the first miss is touched but is no hit, and its bytes stay as they are.
 *
 * Why the bytes need no lock: whoever changes the index has the turn, and turns come in the order of the trace. So the steps on
 * one entry are planned in one order: write, reads, write, reads... A step is carried out when all steps planned before it on that entry
 * are done, reads among each other excepted; the two counts tell. A step waits only for steps of earlier requests or for earlier steps
 * of its own, so the oldest unfinished request always gets on and nothing waits for ever.
 */
#include "examples/kvpool/cache.h"

#include <string.h>

static size_t bucket_count(size_t capacity)
{
  size_t count = 64;
  while (count < capacity) count *= 2;
  return count;
}

static size_t head_bytes(int members)
{
  return sizeof(struct kv_cache) + (size_t)members * sizeof(struct kv_entry *);
}

size_t kv_cache_bytes(int members, size_t capacity)
{
  return head_bytes(members) + bucket_count(capacity) * sizeof(struct kv_entry *);
}

struct kv_cache *kv_cache_init(void *memory, int members, size_t capacity)
{
  memset(memory, 0, kv_cache_bytes(members, capacity));
  struct kv_cache *cache = memory;
  cache->buckets = (struct kv_entry **)((unsigned char *)memory + head_bytes(members));
  cache->mask = bucket_count(capacity) - 1;
  cache->members = members;
  return cache;
}

void kv_cache_give(struct kv_cache *cache, int member, struct kv_entry *entries, size_t count, unsigned char *data, size_t block_bytes)
{
  for (size_t i = count; i-- > 0;) {
    entries[i] = (struct kv_entry){.chain = cache->spare[member], .member = member, .data = data ? data + i * block_bytes : NULL};
    cache->spare[member] = &entries[i];
  }
}

static struct kv_entry **bucket_of(const struct kv_cache *cache, uint64_t id)
{
  uint64_t mixed = id * 0x9e3779b97f4a7c15u; /* 2^64 over the golden ratio: neighbouring ids fall far apart */
  return &cache->buckets[(mixed >> 32) & cache->mask];
}

static struct kv_entry *find(const struct kv_cache *cache, uint64_t id)
{
  struct kv_entry *entry = *bucket_of(cache, id);
  while (entry && entry->id != id) entry = entry->chain;
  return entry;
}

static void unlink_from_order(struct kv_cache *cache, struct kv_entry *entry)
{
  *(entry->newer ? &entry->newer->older : &cache->newest) = entry->older;
  *(entry->older ? &entry->older->newer : &cache->oldest) = entry->newer;
}

static void link_newest(struct kv_cache *cache, struct kv_entry *entry)
{
  entry->newer = NULL;
  entry->older = cache->newest;
  *(cache->newest ? &cache->newest->newer : &cache->oldest) = entry;
  cache->newest = entry;
}

static struct kv_entry *take_spare(struct kv_cache *cache, int member)
{
  for (int i = 0; i < cache->members; i++) {
    struct kv_entry **spare = &cache->spare[(member + i) % cache->members];
    struct kv_entry *entry = *spare;
    if (!entry) continue;
    *spare = entry->chain;
    return entry;
  }
  return NULL;
}

static struct kv_entry *evict(struct kv_cache *cache)
{
  struct kv_entry *victim = cache->oldest;
  struct kv_entry **link = bucket_of(cache, victim->id);
  while (*link != victim) link = &(*link)->chain;
  *link = victim->chain;
  unlink_from_order(cache, victim);
  return victim;
}

/* The entry that will hold block `id`, linked everywhere. */
static struct kv_entry *insert(struct kv_cache *cache, int member, uint64_t id, size_t *evictions)
{
  struct kv_entry *entry = take_spare(cache, member);
  if (!entry) {
    entry = evict(cache);
    ++*evictions;
  }
  struct kv_entry **bucket = bucket_of(cache, id);
  entry->id = id;
  entry->chain = *bucket;
  *bucket = entry;
  link_newest(cache, entry);
  return entry;
}

static void plan_read(struct kv_plan *plan, struct kv_entry *entry)
{
  entry->reads++;
  plan->steps[plan->count++] = (struct kv_step){.entry = entry, .id = entry->id, .written = entry->writes, .is_read = true};
}

static void plan_write(struct kv_plan *plan, struct kv_entry *entry)
{
  plan->steps[plan->count++] = (struct kv_step){.entry = entry, .id = entry->id, .written = entry->writes, .read = entry->reads};
  entry->writes++;
}

size_t kv_cache_prefix(const struct kv_cache *cache, const uint64_t *ids, size_t count)
{
  size_t prefix = 0;
  while (prefix < count && find(cache, ids[prefix])) prefix++;
  return prefix;
}

void kv_cache_request(struct kv_cache *cache, int member, const uint64_t *ids, size_t count, struct kv_plan *plan)
{
  plan->count = plan->evictions = 0;
  plan->hits = kv_cache_prefix(cache, ids, count);
  for (size_t i = 0; i < count; i++) {
    struct kv_entry *entry = find(cache, ids[i]);
    if (!entry) {
      plan_write(plan, insert(cache, member, ids[i], &plan->evictions));
      continue;
    }
    unlink_from_order(cache, entry);
    link_newest(cache, entry);
    if (i < plan->hits) plan_read(plan, entry);
  }
}
