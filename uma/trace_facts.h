/* What a trace says about each line: what its sharing cost, who touched which bytes of which block, and what kind of sharing that makes it.
 * All of it is exact: every message and the first touch of every byte are in the trace. */
#ifndef UMA_TRACE_FACTS_H
#define UMA_TRACE_FACTS_H

#include <uthash.h>

#include "uma/trace_read.h"

enum { UMA_TRACE_MISSES = COH_MISS_UPGRADE + 1 }; /* by enum coh_miss */

/* An allocated block, from its allocation to its end; another may lie there later. */
struct uma_trace_block {
  uint64_t address, bytes;
  char site[COH_SITE_SIZE];
  struct uma_trace_block *next; /* of all that ever were */
};

/* A block that a line's bytes belonged to when they were touched. NULL: none was allocated there. */
struct uma_trace_use {
  const struct uma_trace_block *block;
  uint64_t accesses; /* that missed or touched new bytes */
};

struct uma_trace_device {
  int device;
  uint64_t misses[UMA_TRACE_MISSES];
  uint64_t *loads, *stores; /* touched bytes of the line, as bits */
  uint64_t sums[COH_SUMS];  /* all its accesses */
};

struct uma_trace_line {
  uint64_t address;
  uint64_t misses[UMA_TRACE_MISSES], invalidations, messages, bytes, steps;
  uint64_t sums[COH_SUMS];   /* all accesses */
  uint64_t writebacks, hops; /* lines that came to memory; messages that went to another device */
  int device_count, use_count;
  struct uma_trace_device *devices; /* in order */
  struct uma_trace_use *uses;       /* the most accessed first, once ranked */
  UT_hash_handle hh;
};

struct uma_trace_facts {
  const struct uma_trace *trace;
  struct uma_trace_line *lines;
  struct uma_trace_block *blocks;
  void *live; /* tree of the blocks that are allocated */
  uint64_t messages[COH_CLASSES], bytes, steps;
  double end_us;
};

void uma_trace_facts_init(struct uma_trace_facts *facts, const struct uma_trace *trace);
int uma_trace_facts_add(struct uma_trace_facts *facts);   /* the trace's newest event; 0 or -ENOMEM */
void uma_trace_facts_rank(struct uma_trace_facts *facts); /* the lines: what costs most first */
void uma_trace_facts_free(struct uma_trace_facts *facts);

/* Misses that other devices' stores caused, and upgrades: what the sharing of the line cost. */
uint64_t uma_trace_cost(const struct uma_trace_line *line);
uint64_t uma_trace_device_misses(const struct uma_trace_device *device); /* of all kinds, without upgrades */
/* "private", "read only", "true sharing", "false sharing", "mostly true sharing" or "mostly false sharing"; trace_facts.c says when. */
const char *uma_trace_verdict(const struct uma_trace *trace, const struct uma_trace_line *line);
/* The next run of set bits at or after `from`: its length (0: none), and its beginning. */
uint32_t uma_trace_run(const uint64_t *bits, uint32_t count, uint32_t from, uint32_t *begin);

/* ---- trace_top.c */
void uma_trace_print_top(FILE *out, const struct uma_trace_facts *facts, int most);
int uma_trace_json_top(FILE *out, const struct uma_trace_facts *facts, int most); /* 0 or -EIO */
/* "file.c:12: bytes 64-127 of 1024": what of the block lies in the line. */
void uma_trace_place(const struct uma_trace *trace, const struct uma_trace_line *line, const struct uma_trace_use *use, char *text,
                     size_t size);

/* ---- trace_ladder.c: the line's life as a ladder, from its step number `from` on */
struct uma_trace_ladder {
  const struct uma_trace *trace;
  struct coh_ladder ladder;
  uint64_t line, seen; /* steps */
  uint64_t from, most;
};
void uma_trace_ladder_init(struct uma_trace_ladder *view, const struct uma_trace *trace, uint64_t line, uint64_t from, uint64_t most);
int uma_trace_ladder_add(struct uma_trace_ladder *view); /* the trace's newest event; 0 or -ENOMEM */
/* Title and verdict, when all events were seen. */
void uma_trace_ladder_end(struct uma_trace_ladder *view, const struct uma_trace_line *line);

#endif
