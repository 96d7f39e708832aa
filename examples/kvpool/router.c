/* A cache-aware router in front of private caches: the strong baseline against which a pool has to show what it is worth.
 *
 * The router keeps an index of every device's cache, without the bytes, and updates it by every request that it sends. Here it is
 * exact, which favours the router: a real one learns late, or guesses, what a device has evicted.
 *
 * Its rule: the device with the longest cached prefix, and among equal ones that which was given the fewest blocks so far. Devices
 * that were given more than their share are left out, otherwise the system prompt that all requests begin with would draw all of
 * them to the device which saw the first. The share may be exceeded by a twentieth, and by 64 blocks so that the beginning is not a
 * strict round-robin. If nobody is within the share, the least loaded device takes the request.
 */
#include "examples/kvpool/router.h"

#include <errno.h>
#include <stdlib.h>

#define SHARE_EXCESS 20 /* one part in */
#define SHARE_SLACK 64

static int init_shadow(struct kv_shadow *shadow, size_t blocks)
{
  void *memory = malloc(kv_cache_bytes(1, blocks));
  shadow->entries = aligned_alloc(_Alignof(struct kv_entry), blocks * sizeof *shadow->entries);
  if (!memory || !shadow->entries) {
    free(memory);
    return -ENOMEM;
  }
  shadow->cache = kv_cache_init(memory, 1, blocks);
  kv_cache_give(shadow->cache, 0, shadow->entries, blocks, NULL, 0);
  return 0;
}

int kv_router_init(struct kv_router *router, int devices, size_t blocks, size_t longest_request)
{
  *router = (struct kv_router){.devices = devices, .shadows = calloc((size_t)devices, sizeof *router->shadows)};
  router->plan.steps = calloc(longest_request + 1, sizeof *router->plan.steps);
  if (!router->shadows || !router->plan.steps) return -ENOMEM;
  for (int i = 0; i < devices; i++)
    if (init_shadow(&router->shadows[i], blocks)) return -ENOMEM;
  return 0;
}

void kv_router_free(struct kv_router *router)
{
  for (int i = 0; router->shadows && i < router->devices; i++) {
    free(router->shadows[i].cache);
    free(router->shadows[i].entries);
  }
  free(router->shadows);
  free(router->plan.steps);
}

static bool within_share(const struct kv_router *router, const struct kv_shadow *shadow, size_t count)
{
  uint64_t scale = (uint64_t)router->devices * SHARE_EXCESS;
  return (shadow->given + count) * scale <= (router->total + count) * (SHARE_EXCESS + 1) + SHARE_SLACK * scale;
}

static int least_loaded(const struct kv_router *router)
{
  int least = 0;
  for (int i = 1; i < router->devices; i++)
    if (router->shadows[i].given < router->shadows[least].given) least = i;
  return least;
}

static int best_device(const struct kv_router *router, const uint64_t *ids, size_t count)
{
  int best = least_loaded(router);
  size_t longest = kv_cache_prefix(router->shadows[best].cache, ids, count);
  for (int i = 0; i < router->devices; i++) {
    const struct kv_shadow *shadow = &router->shadows[i];
    if (!within_share(router, shadow, count)) continue;
    size_t prefix = kv_cache_prefix(shadow->cache, ids, count);
    if (prefix < longest || (prefix == longest && shadow->given >= router->shadows[best].given)) continue;
    longest = prefix;
    best = i;
  }
  return best;
}

int kv_router_choose(struct kv_router *router, const uint64_t *ids, size_t count)
{
  int device = best_device(router, ids, count);
  struct kv_shadow *shadow = &router->shadows[device];
  kv_cache_request(shadow->cache, 0, ids, count, &router->plan);
  shadow->given += count;
  router->total += count;
  router->hits += router->plan.hits;
  return device;
}
