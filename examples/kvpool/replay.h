/* The devices' side of kvpool: their share of the session's memory, and the replay itself. */
#ifndef KV_REPLAY_H
#define KV_REPLAY_H

#include "examples/kvpool/block.h"
#include "examples/kvpool/cache.h"
#include "examples/kvpool/options.h"
#include "examples/kvpool/trace.h"

/* At the same offset in every window: where the others find what this device shares. */
struct kv_board {
  const struct kv_trace *trace; /* of the domain's first device */
  struct kv_cache *cache;       /* of the domain's first device when pooled, of every device otherwise */
  unsigned char *blocks;        /* this device's */
  _Alignas(64) uint64_t turn;   /* the request of its domain whose turn it is, as far as this device was told */
};

/* What a device did; summed up at the end, so all fields are of one kind. */
struct kv_counts {
  uint64_t requests, refs, hits, evictions;
  uint64_t read_local, read_remote, written_local, written_remote; /* bytes */
};

struct kv_station {
  const struct kv_options *options;
  int device, devices;
  int first, domain; /* device of this one's domain, and how many it has */
  struct kv_board *board;
  const struct kv_trace *trace;
  struct kv_cache *cache;
  int member; /* this device's number in the cache */
  struct kv_plan plan;
  struct kv_block *work; /* one block, private: where the device computes */
  struct kv_counts counts;
};

/* memory.c: collective; 0, or the exit status after whoever knows what is wrong has said it. */
int kv_station_open(struct kv_station *station, const struct kv_options *options);
void kv_station_close(struct kv_station *station);

/* replay.c: collective; runs the trace by the policy of the options. What goes wrong here (a damaged block, a lost device) is said and
 * ends the process, and with it the session. */
void kv_replay(struct kv_station *station);

#endif
