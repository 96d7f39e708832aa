/* The command line, by glibc's argp. argp's own --help ends the process, which a device of a session must not do before it has
 * left the session; so --help is an option of ours here. */
#include "examples/kvpool/options.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "examples/kvpool/block.h"

#define EXIT_USAGE 2
#define BLOCKS_MAX ((size_t)1 << 32)
#define BLOCK_BYTES_MAX ((size_t)1 << 30)

static const char *const policies[] = {[KV_POOLED] = "pooled", [KV_PRIVATE] = "private", [KV_ROUTER] = "router"};
#define POLICY_COUNT (sizeof policies / sizeof *policies)

static const struct argp_option arguments[] = {
    {"trace", 't', "FILE", 0, "replay this trace in the Mooncake format (default: a generated one)", 0},
    {"blocks", 'b', "N", 0, "blocks that each device holds (default: 1000)", 0},
    {"block-bytes", 's', "BYTES", 0, "size of a block, a multiple of 64, with an optional K or M (default: 64K)", 0},
    {"policy", 'p', "WORD", 0,
     "pooled: one cache over all devices of a domain; private: one cache a device; "
     "router: private caches behind a cache-aware router (default: pooled)",
     0},
    {"flops", 'f', "N", 0, "operations that computing a block takes, on the modelled clock (default: 0)", 0},
    {"requests", 'n', "N", 0, "replay the first N requests only (default: all of the file, 4000 generated ones)", 0},
    {"seed", 'r', "N", 0, "seed of the generated trace (default: 1)", 0},
    {"verbose", 'v', NULL, 0, "one line a device as well", 0},
    {"help", 'h', NULL, 0, "print this", 0},
    {"usage", 0, NULL, OPTION_ALIAS, NULL, 0},
    {0},
};

const char *kv_policy_name(enum kv_policy policy)
{
  return policies[policy];
}

/* A whole number in [least, most], with K or M behind it where `scaled`. */
static error_t read_number(struct argp_state *state, const char *name, bool scaled, uint64_t least, uint64_t most, const char *text,
                           uint64_t *value)
{
  char *end;
  errno = 0;
  uint64_t number = strtoull(text, &end, 10);
  unsigned shift = scaled && *end == 'K' ? 10 : scaled && *end == 'M' ? 20 : 0;
  bool whole = text[0] >= '0' && text[0] <= '9' && !errno && end[shift != 0] == '\0';
  if (!whole || number > most >> shift || number << shift < least) {
    argp_error(state, "--%s %s: expected a whole number from %llu to %llu", name, text, (unsigned long long)least,
               (unsigned long long)most);
    return EINVAL;
  }
  *value = number << shift;
  return 0;
}

static error_t read_policy(struct argp_state *state, const char *text, enum kv_policy *policy)
{
  for (size_t i = 0; i < POLICY_COUNT; i++) {
    if (strcmp(text, policies[i]) != 0) continue;
    *policy = (enum kv_policy)i;
    return 0;
  }
  argp_error(state, "--policy %s: expected pooled, private or router", text);
  return EINVAL;
}

static error_t read_block_bytes(struct argp_state *state, const char *text, size_t *bytes)
{
  error_t error = read_number(state, "block-bytes", true, KV_BLOCK_MIN, BLOCK_BYTES_MAX, text, bytes);
  if (error || *bytes % KV_BLOCK_MIN == 0) return error;
  argp_error(state, "--block-bytes %s: expected a multiple of %d", text, KV_BLOCK_MIN);
  return EINVAL;
}

static error_t read_option(int key, char *text, struct argp_state *state)
{
  struct kv_options *options = state->input;
  switch (key) {
  case 't': options->trace = text; return 0;
  case 'b': return read_number(state, "blocks", false, 1, BLOCKS_MAX, text, &options->blocks);
  case 's': return read_block_bytes(state, text, &options->block_bytes);
  case 'p': return read_policy(state, text, &options->policy);
  case 'n': return read_number(state, "requests", false, 1, SIZE_MAX, text, &options->requests);
  case 'f': return read_number(state, "flops", false, 0, UINT64_MAX, text, &options->flops);
  case 'r': return read_number(state, "seed", false, 0, UINT64_MAX, text, &options->seed);
  case 'v': options->verbose = true; return 0;
  case 'h': options->help = true; return 0;
  case ARGP_KEY_ARG: argp_error(state, "%s: expected options only", text); return EINVAL;
  default: return ARGP_ERR_UNKNOWN;
  }
}

int kv_options_parse(int argc, char **argv, bool silent, struct kv_options *options)
{
  static const struct argp argp = {
      .options = arguments,
      .parser = read_option,
      .doc = "Replays a trace of requests to a language model against a cache of key-value blocks in device memory.",
  };
  *options = (struct kv_options){.blocks = 1000, .block_bytes = 64 << 10, .policy = KV_POOLED, .seed = 1};
  unsigned flags = ARGP_NO_HELP | ARGP_NO_EXIT | (silent ? ARGP_NO_ERRS : 0);
  if (argp_parse(&argp, argc, argv, flags, NULL, options)) return EXIT_USAGE;
  if (options->help && !silent) argp_help(&argp, stdout, ARGP_HELP_SHORT_USAGE | ARGP_HELP_PRE_DOC | ARGP_HELP_LONG, "kvpool");
  return 0;
}
