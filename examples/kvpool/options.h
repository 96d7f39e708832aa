/* What kvpool is told on its command line. */
#ifndef KV_OPTIONS_H
#define KV_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kv_policy { KV_POOLED, KV_PRIVATE, KV_ROUTER };

struct kv_options {
  const char *trace; /* NULL: generated */
  size_t requests;   /* 0: all of the file, or the generator's default */
  size_t blocks;     /* a device */
  size_t block_bytes;
  enum kv_policy policy;
  uint64_t flops; /* of computing a block, on the modelled clock */
  uint64_t seed;
  bool verbose, help;
};

const char *kv_policy_name(enum kv_policy policy);

/* 0, or the exit status after a message on stderr; no message when `silent` (one device of many speaks). --help is printed too,
 * and then `help` is set. */
int kv_options_parse(int argc, char **argv, bool silent, struct kv_options *options);

#endif
