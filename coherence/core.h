/* The core: one input into one controller; out come messages to send and deeds to do on data.
 *
 *     struct coh_message message = coh_access(COH_STORE, device);
 *     coh_cache_step(protocol, &entry, &message, &outcome);           the caller holds the entry's lock
 *     if (outcome.result == COH_STALLED) give the input again once the entry's state has changed
 *     fill the line when outcome.deeds says so, do the load or the store, take the data of each send from the line
 *     release the lock; deliver the sends, in any order, each at any later time
 *
 * The core does no I/O, reads no clock, allocates nothing, and knows no protocol: all it does stands in the tables. It touches nothing
 * but the entry and the outcome. A zeroed entry is in its initial state. Entries are plain and hold no pointers, so they may lie in
 * shared memory. What it leaves to the caller: lines, addresses, data, locks, order and time.
 *
 * Data. `deeds` that take data in (fill, write_memory) are done first, from the message; then the load or the store; a send with `data`
 * carries the line as it was before the store where the same step stores, so protocols send data and store in different cells.
 */
#ifndef COH_CORE_H
#define COH_CORE_H

#include "coherence/protocol.h"
#include "coherence/sharers.h"

enum { COH_HOME = -1, COH_NOBODY = -1 };

/* Within one line. The line's address and data travel beside it. */
struct coh_message {
  uint8_t type;      /* an access, or a message of the protocol */
  int16_t acks;      /* how many acks to await; -1: is one */
  int16_t source;    /* a device, or COH_HOME */
  int16_t target;    /* a device's cache, or COH_HOME: the directory */
  int16_t requestor; /* a device */
};

struct coh_cache_entry {
  uint8_t state;
  uint8_t unused;
  int16_t acks; /* acks awaited; negative while acks came before the number of them */
};

struct coh_directory_entry {
  uint8_t state;
  uint8_t lent;         /* the caller's own, likewise */
  uint16_t owner_1;     /* the owner + 1; 0: nobody */
  uint16_t requestor_1; /* whose transaction keeps it busy, + 1; 0: it is stable */
  uint16_t lock;        /* the caller's own; a step does not look at it */
  uint64_t sharers[];   /* kind->words */
};

enum coh_result {
  COH_DONE,
  COH_STALLED,   /* nothing changed */
  COH_UNHANDLED, /* nothing changed: the protocol has no such cell */
};

enum {
  COH_DEED_FILL = 1 << COH_DO_FILL,
  COH_DEED_LOAD = 1 << COH_DO_LOAD,
  COH_DEED_STORE = 1 << COH_DO_STORE,
  COH_DEED_WRITE_MEMORY = 1 << COH_DO_WRITE_MEMORY
};

struct coh_send {
  struct coh_message message;
  bool data; /* carries the line (of a cache) or memory (of a directory) */
  bool many; /* to each of outcome.targets: the target is to be filled in by coh_outcome_target */
};

struct coh_outcome {
  enum coh_result result;
  int8_t event;        /* -1: the input is none for this controller */
  uint8_t from, state; /* before and after */
  uint8_t send_count;
  uint16_t deeds;       /* COH_DEED_* */
  int16_t target_count; /* of a send to many */
  int16_t skip, skip_2; /* not targets although members: the requestor and the owner */
  struct coh_send sends[COH_MAX_CELL_ACTIONS];
  uint64_t targets[COH_MAX_SHARER_WORDS]; /* the sharers as they were when the cell sent to them; only set when target_count is */
};

_Static_assert(sizeof(struct coh_cache_entry) == 4, "lies in shared memory");
_Static_assert(sizeof(struct coh_directory_entry) == 8, "lies in shared memory");
_Static_assert(sizeof(struct coh_message) == 10, "travels between hosts");

static inline struct coh_message coh_access(int type, int device)
{
  return (struct coh_message){.type = (uint8_t)type, .source = (int16_t)device, .target = (int16_t)device, .requestor = (int16_t)device};
}

static inline int coh_owner(const struct coh_directory_entry *entry)
{
  return entry->owner_1 - 1;
}

static inline size_t coh_directory_entry_size(const struct coh_sharer_kind *kind)
{
  return sizeof(struct coh_directory_entry) + (size_t)kind->words * sizeof(uint64_t);
}

/* May the program do this without a step? For the hit path. */
static inline bool coh_cache_allows(const struct coh_protocol *protocol, const struct coh_cache_entry *entry, enum coh_right right)
{
  return protocol->controllers[COH_CACHE].states[entry->state].right >= right;
}

void coh_cache_step(const struct coh_protocol *protocol, struct coh_cache_entry *entry, const struct coh_message *message,
                    struct coh_outcome *outcome);
void coh_directory_step(const struct coh_protocol *protocol, const struct coh_sharer_kind *kind, struct coh_directory_entry *entry,
                        const struct coh_message *message, struct coh_outcome *outcome);

/* The request with which an access took the entry from `before` to `begun` was not taken and never will be. Back to where it was, unless
 * a message has moved it meanwhile: then it stays where it is when that is stable, and gives the line up when not. It gives it up as well
 * if what was begun holds the line's data no more: pages are gone by then. */
void coh_cache_take_back(const struct coh_protocol *protocol, struct coh_cache_entry *entry, int before, int begun);

/* The first target >= `from` of the sends to many, or -1. */
int coh_outcome_target(const struct coh_sharer_kind *kind, const struct coh_outcome *outcome, int from);

/* ---- invariants.c: what must always hold, for one line ----------------------------------------------------------- */

/* One line as a whole, seen at one moment. Data versions count the stores that were completed; NULL where they are not known. */
struct coh_view {
  const struct coh_protocol *protocol;
  const struct coh_sharer_kind *kind;
  const struct coh_directory_entry *directory;
  const struct coh_cache_entry *caches; /* kind->devices of them */
  const uint32_t *versions;             /* what each cache's line holds */
  uint32_t memory_version;
  uint32_t last_version; /* of the last completed store */
  bool resting;          /* no message is under way and no access waits */
  int lost_1;            /* a device that is lost, + 1, or 0. Its cache, and a directory that works for it, may wait for ever */
};

/* Each is true when it holds, else it has named the devices that break it (COH_NOBODY where fewer do). */
struct coh_breach {
  int device, other;
};

struct coh_invariant {
  const char *name, *meaning;
  bool (*holds)(const struct coh_view *view, struct coh_breach *breach);
};

bool coh_single_writer(const struct coh_view *view, struct coh_breach *breach);
bool coh_reads_last_store(const struct coh_view *view, struct coh_breach *breach);
bool coh_directory_covers(const struct coh_view *view, struct coh_breach *breach);
bool coh_nothing_waits(const struct coh_view *view, struct coh_breach *breach);
bool coh_data_is_kept(const struct coh_view *view, struct coh_breach *breach);

extern const struct coh_invariant coh_invariants[];
extern const int coh_invariant_count;

/* The first invariant that does not hold, or NULL. */
const struct coh_invariant *coh_broken_invariant(const struct coh_view *view, struct coh_breach *breach);

#endif
