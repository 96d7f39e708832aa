/* The targets; what each is fed with, its own file says. */
#include "tests/fuzz/fuzz.h"

const struct fuzz_target fuzz_targets[] = {
    {"ofi", fuzz_ofi},   {"coherence", fuzz_coherence}, {"pages", fuzz_pages}, {"mailbox", fuzz_mailbox},
    {"wire", fuzz_wire}, {"protocol", fuzz_protocol},   {NULL, NULL},
};

void fuzz_record(const void *bytes, size_t count)
{
  static FILE *file;
  const char *path = getenv("UMA_FUZZ_RECORD");
  if (!path) return;
  if (!file) file = fopen(path, "w");
  FUZZ_CHECK(file && fwrite(bytes, 1, count, file) == count && !fflush(file));
}
