/* A small machine that runs a protocol, one access at a time, each to its end, messages in the order in which they were sent: it counts
 * exactly what an access costs. (Whether a protocol is right under any order is the checker's work, coherence/check.h.) One line; caches
 * without limit. */
#ifndef LAB_MACHINE_H
#define LAB_MACHINE_H

#include "coherence/core.h"
#include "coherence/ladder.h"

enum { MACHINE_DEVICES = 16, MACHINE_MESSAGES = 128 };

struct machine {
  const struct coh_protocol *protocol;
  struct coh_sharer_kind sharers;
  union {
    struct coh_directory_entry directory;
    uint64_t room[1 + COH_MAX_SHARER_WORDS];
  };
  struct coh_cache_entry caches[MACHINE_DEVICES];
  uint32_t versions[MACHINE_DEVICES], memory, last; /* data, as numbers of stores */
  uint64_t sent[COH_MAX_MESSAGES], data, messages;
  uint64_t ran[COH_ROLES][COH_MAX_STATES][COH_MAX_EVENTS]; /* how often each cell was taken */
  char wrong[256];                                         /* what went wrong first, or "" */
};

void machine_init(struct machine *machine, const struct coh_protocol *protocol, int devices);
/* False when something is wrong: then, and ever after, `wrong` says what. */
bool machine_access(struct machine *machine, int type, int device);

#endif
