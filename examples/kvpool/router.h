/* Which device a request should go to when every device has a cache of its own. See router.c. */
#ifndef KV_ROUTER_H
#define KV_ROUTER_H

#include "examples/kvpool/cache.h"

struct kv_shadow {
  struct kv_cache *cache; /* what the device holds, without the bytes */
  struct kv_entry *entries;
  uint64_t given; /* blocks of the requests that it was sent */
};

struct kv_router {
  int devices;
  struct kv_shadow *shadows; /* [devices] */
  struct kv_plan plan;
  uint64_t total; /* blocks of all requests so far */
  uint64_t hits;  /* that the devices should see */
};

int kv_router_init(struct kv_router *router, int devices, size_t blocks, size_t longest_request); /* 0 or -ENOMEM, to be freed either way */
void kv_router_free(struct kv_router *router);
int kv_router_choose(struct kv_router *router, const uint64_t *ids, size_t count); /* the device; it is taken as sent there */

#endif
