/* For libFuzzer: UMA_FUZZ_TARGET=NAME build/fuzz/fuzz [options] [corpus ...] */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static const struct fuzz_target *target;

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
  const char *name = getenv("UMA_FUZZ_TARGET");
  for (target = fuzz_targets; target->name && (!name || strcmp(target->name, name) != 0); target++) continue;
  if (target->name) return 0;
  fprintf(stderr, "UMA_FUZZ_TARGET: there is no target \"%s\". Valid:", name ? name : "");
  for (const struct fuzz_target *one = fuzz_targets; one->name; one++) fprintf(stderr, " %s", one->name);
  fprintf(stderr, "\n");
  exit(2);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
  target->run(bytes, count);
  return 0;
}
