/* The targets; what each is fed with, its own file says. */
#include "tests/fuzz/fuzz.h"

const struct fuzz_target fuzz_targets[] = {
    {"ofi", fuzz_ofi},
    {"coherence", fuzz_coherence},
    {"protocol", fuzz_protocol},
    {NULL, NULL},
};
