/* Counting and recording what the live engine does; only in sessions that ask for it, where every access makes a step.
 *
 * Counters lie in the area, one set a device, and are exact. Misses are told apart as Hill does (cold: the device never had the line;
 * capacity: a cache of the same size with any line in any place would have missed as well; conflict: it would not), and those that another
 * device's store caused: true sharing when a byte of the access that missed was written since the line was lost, false sharing when not.
 *
 * Of pages only faults are accesses, and an access is the 8 bytes around the address that faulted. What was stored to a page while it
 * could be written is found by comparing it with a copy (its twin): a word of 4 bytes that holds something else was written.
 */
#ifndef COH_TALLY_H
#define COH_TALLY_H

#include "coherence/engine.h"

enum coh_counter {
  COH_LOADS, /* accesses of the program, each within one line */
  COH_STORES,
  COH_HITS, /* of both: done without a message */
  COH_MISSES_COLD,
  COH_MISSES_CAPACITY,
  COH_MISSES_CONFLICT,
  COH_MISSES_TRUE_SHARING,
  COH_MISSES_FALSE_SHARING,
  COH_UPGRADES, /* stores to a line that could be read, which had to ask */
  COH_EVICTIONS,
  COH_INVALIDATIONS_SENT,     /* by the directories of this device's window, to sharers */
  COH_INVALIDATIONS_RECEIVED, /* messages that took a copy away from this device */
  COH_WRITEBACKS,             /* lines that this device's cache sent to memory */
  COH_MESSAGES_REQUEST,       /* that this device sent, as cache or as home; three classes in a row, like their bytes */
  COH_MESSAGES_FORWARD,
  COH_MESSAGES_RESPONSE,
  COH_BYTES_REQUEST, /* COH_WIRE_BYTES a message, and the line where it carries it */
  COH_BYTES_FORWARD,
  COH_BYTES_RESPONSE,
  COH_PREFETCHES, /* pages that came along with one that was read in order; loads and misses of their own */
  COH_HOPS,       /* messages that went to another device */
  COH_COUNTERS,
};
enum { COH_WIRE_BYTES = 24 }; /* struct coh_message and the line's address, padded */
extern const char *const coh_counter_names[COH_COUNTERS];

struct coh_counters {
  _Alignas(FAB_CACHE_LINE) _Atomic uint64_t values[COH_COUNTERS];
};

/* What a tracked frame has besides: when a message took its line away, and which bytes the program touched since it came, as bits. */
struct coh_frame_record {
  uint64_t lost_stamp;
  uint64_t touched[]; /* line_bytes / 64 words for loads, as many for stores */
};

enum coh_miss { COH_NO_MISS, COH_MISS_COLD, COH_MISS_CAPACITY, COH_MISS_CONFLICT, COH_MISS_TRUE, COH_MISS_FALSE, COH_MISS_UPGRADE };
extern const char *const coh_miss_names[];

/* tally.c. Called under the lock of the frame or directory entry that was stepped. */
int coh_tally_open(struct coh_engine *engine); /* 0 or -ENOMEM */
void coh_tally_close(struct coh_engine *engine);
/* A step was made. `frame` is NULL for a directory or a cache without the line; `access` is the program's, when the input is one. */
void coh_tally_step(struct coh_engine *engine, uint64_t line, const struct coh_message *input, const struct coh_outcome *outcome,
                    const struct coh_frame *frame, const struct coh_access *access);
/* The device has lost the right to store to a page that was `before` when it got it: the words that differ were stored to meanwhile. */
void coh_tally_changes(struct coh_engine *engine, uint64_t line, int device, const unsigned char *before, const unsigned char *after);
void coh_tally_reuse(struct coh_engine *engine, const struct coh_frame *frame); /* this device's; is about to hold another line */
void coh_tally_prefetch(struct coh_engine *engine);
void coh_tally_flush(struct coh_engine *engine); /* the cache is about to be emptied: as if new */

#endif
