/* A trace of requests to a language model, in the memory of one device and readable by all that reach it by load/store. */
#ifndef KV_TRACE_H
#define KV_TRACE_H

#include <stddef.h>
#include <stdint.h>

struct kv_request {
  const uint64_t *ids; /* the prompt's blocks of 512 tokens, in order; equal ids are equal prompts up to there */
  size_t count;
};

struct kv_trace {
  size_t requests, refs; /* refs: blocks of all requests together */
  size_t longest;        /* blocks of the longest request */
  struct kv_request request[];
};

/* A trace that still grows, in private memory. Zeroed is empty. */
struct kv_draft {
  uint64_t *ids;
  size_t *ends; /* request i ends before ids[ends[i]] */
  size_t requests, refs, longest;
  size_t ids_room, ends_room;
};
int kv_draft_add(struct kv_draft *draft, const uint64_t *ids, size_t count); /* 0 or -ENOMEM */
void kv_draft_free(struct kv_draft *draft);

/* The finished trace in `memory` of kv_trace_bytes(), with plain pointers into it. */
size_t kv_trace_bytes(const struct kv_draft *draft);
struct kv_trace *kv_trace_pack(const struct kv_draft *draft, void *memory);

/* parse.c: the first `limit` requests of a file in the Mooncake format. Negative with a sentence in `error` (file:line, and
 * what was expected) when it cannot be read. */
int kv_parse(const char *path, size_t limit, struct kv_draft *draft, char *error, size_t error_bytes);

/* generate.c: a trace of the same kind out of a seed. 0 or -ENOMEM. */
int kv_generate(size_t requests, uint64_t seed, struct kv_draft *draft);

#endif
