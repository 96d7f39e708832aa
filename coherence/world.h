/* The small system that the checker explores: a few caches, one or two lines, and the messages under way, in any order.
 *
 * A world is worked on unpacked and stored packed. Two worlds that differ only in the names of caches, or of lines, are one: packing
 * chooses the least of their spellings. Data is one bit, "holds what the last completed store wrote": a store makes its own line's bit
 * true and all others of that line false, so a stale read shows whatever values a program would have written.
 */
#ifndef COH_WORLD_H
#define COH_WORLD_H

#include "coherence/core.h"

enum { COH_WORLD_CACHES = 4, COH_WORLD_LINES = 2, COH_WORLD_MESSAGES = 40 };
enum { COH_WORLD_MOVES = COH_WORLD_MESSAGES + COH_WORLD_CACHES * COH_WORLD_LINES * COH_FIRST_MESSAGE };
enum { COH_PACKED_SIZE = 1 + COH_WORLD_LINES * (3 + 2 * COH_WORLD_CACHES) + 3 * COH_WORLD_MESSAGES };

/* What is the same in all worlds of one exploration. */
struct coh_world_kind {
  const struct coh_protocol *protocol;
  struct coh_sharer_kind sharers; /* sets of one word */
  int caches, lines;
  int renaming_count;                      /* the renamings of caches that a sharer set can follow */
  uint8_t renamings[24][COH_WORLD_CACHES]; /* the new name of each cache, */
  uint8_t origins[24][COH_WORLD_CACHES];   /* and which cache each new name was */
  uint64_t sets[1 << COH_WORLD_CACHES];    /* by members as bits; of those that occur */
};

struct coh_world_line {
  union {
    struct coh_directory_entry directory;
    uint64_t room[2]; /* the entry with a set of one word */
  };
  uint8_t members; /* the set, as bits */
  uint32_t memory_version;
  struct coh_cache_entry caches[COH_WORLD_CACHES];
  uint32_t versions[COH_WORLD_CACHES]; /* 1: of the last completed store, 0: older */
};

struct coh_world {
  struct coh_world_line lines[COH_WORLD_LINES];
  int message_count;
  uint32_t messages[COH_WORLD_MESSAGES]; /* packed, see world.c */
};

/* An access, or the delivery of one message. */
struct coh_move {
  struct coh_message input;
  int line;
  int message; /* its place among the world's messages, -1: an access */
  bool fresh;  /* its data is of the last completed store */
};

enum coh_move_result { COH_MOVED, COH_MOVE_STALLED, COH_MOVE_UNHANDLED, COH_MOVE_STALE_LOAD, COH_MOVE_STALE_STORE, COH_MOVE_CROWDED };

/* -EINVAL when the sharer set needs more than a word. */
int coh_world_kind_make(struct coh_world_kind *kind, const struct coh_protocol *protocol, const char *sharers, int caches, int lines);
void coh_world_init(const struct coh_world_kind *kind, struct coh_world *world);

/* All that could happen next, deliveries first. Returns how many. */
int coh_world_moves(const struct coh_world_kind *kind, const struct coh_world *world, struct coh_move *moves);

/* Does the move. *next is the world after it when COH_MOVED. */
enum coh_move_result coh_world_move(const struct coh_world_kind *kind, const struct coh_world *world, const struct coh_move *move,
                                    struct coh_world *next, struct coh_outcome *outcome);

/* The first invariant that does not hold, or NULL. */
const struct coh_invariant *coh_world_broken(const struct coh_world_kind *kind, const struct coh_world *world, struct coh_breach *breach,
                                             int *line);

int coh_world_pack(const struct coh_world_kind *kind, const struct coh_world *world, uint8_t *packed); /* returns the size */
void coh_world_unpack(const struct coh_world_kind *kind, const uint8_t *packed, struct coh_world *world);

#endif
