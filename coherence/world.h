/* The small system that the checker explores: a few caches, one or two lines, and the messages under way, in any order.
 *
 * A world is worked on unpacked and stored packed. Two worlds that differ only in the names of caches, or of lines, are one: packing
 * spells them alike. Data is one bit, "holds what the last completed store wrote": a store makes its own line's bit
 * true and all others of that line false, so a stale read shows whatever values a program would have written.
 */
#ifndef COH_WORLD_H
#define COH_WORLD_H

#include "coherence/core.h"

enum { COH_WORLD_CACHES = 4, COH_WORLD_LINES = 2, COH_WORLD_MESSAGES = 40 };
enum { COH_WORLD_ACKS = 31 };   /* the most that a cache may await, or have got too many */
enum { COH_WORLD_DEVICES = 8 }; /* as messages name them, in three bits: the caches, and the home */
enum { COH_WORLD_MOVES = COH_WORLD_MESSAGES + COH_WORLD_CACHES * COH_WORLD_LINES * COH_FIRST_MESSAGE };
/* The most that a packed world takes, and room to write a word where its bytes end. */
enum { COH_PACKED_WORDS = (1 + COH_WORLD_LINES * (1 + 2 * COH_WORLD_CACHES) + 3 * COH_WORLD_MESSAGES) / 8 + 2 };

/* An access, or the delivery of one message. */
struct coh_move {
  struct coh_message input;
  int8_t line;
  int8_t message; /* its place among the world's messages, -1: an access */
  bool fresh;     /* its data is of the last completed store */
};

/* A renaming of the caches. */
struct coh_renaming {
  uint8_t origins[COH_WORLD_CACHES];                                           /* which cache each new name was, */
  uint16_t places;                                                             /* the same as bits, 4 * name + cache */
  uint16_t devices[COH_WORLD_DEVICES * COH_WORLD_DEVICES * COH_WORLD_DEVICES]; /* what the devices of a message become */
};

/* What is the same in all worlds of one exploration. */
struct coh_world_kind {
  const struct coh_protocol *protocol;
  struct coh_sharer_kind sharers; /* sets of one word */
  int caches, lines;
  int renaming_count; /* the renamings of caches that a sharer set can follow, */
  bool any_renaming;  /* which may be all */
  struct coh_renaming renamings[24];
  uint8_t renaming_of[1 << 2 * COH_WORLD_CACHES]; /* by origins, two bits each */
  uint64_t sets[1 << COH_WORLD_CACHES];           /* by members as bits; of those that occur */
  struct coh_move accesses[COH_WORLD_LINES][COH_WORLD_CACHES][COH_FIRST_MESSAGE];
  uint8_t tried[COH_MAX_STATES];   /* by state of the cache: the accesses that can happen, as bits; the others stall, */
  uint64_t stalls[COH_MAX_STATES]; /* and these are their events */
};

struct coh_world_line {
  union {
    struct coh_directory_entry directory;
    uint64_t room[2]; /* the entry with a set of one word */
  };
  bool memory_fresh;                    /* it holds what the last completed store wrote */
  uint16_t parts[COH_WORLD_CACHES];     /* each cache's part in the line, and in its directory, see world.c */
  uint32_t mentions[COH_WORLD_DEVICES]; /* sums over the messages that name the device, see world.c */
};

struct coh_world {
  struct coh_world_line lines[COH_WORLD_LINES];
  int message_count;
  uint32_t messages[COH_WORLD_MESSAGES]; /* packed, see world.c */
};

enum coh_move_result {
  COH_MOVED,
  COH_MOVE_IDLE, /* it was done, and led back to the same world: a load that hits */
  COH_MOVE_STALLED,
  COH_MOVE_UNHANDLED, /* this and the rest are mistakes of the protocol */
  COH_MOVE_STALE_LOAD,
  COH_MOVE_STALE_STORE,
  COH_MOVE_CROWDED,
  COH_MOVE_ACKS,
};

/* -EINVAL when the sharer set needs more than a word. */
int coh_world_kind_make(struct coh_world_kind *kind, const struct coh_protocol *protocol, const char *sharers, int caches, int lines);
void coh_world_init(const struct coh_world_kind *kind, struct coh_world *world);

int coh_world_cache_state(const struct coh_world *world, int line, int cache);

/* All that could happen next but accesses that stall, deliveries first. Returns how many. Of an unpacked world, no two are alike. */
int coh_world_moves(const struct coh_world_kind *kind, const struct coh_world *world, struct coh_move *moves);

/* Does the move. *next is the world after it when COH_MOVED. */
enum coh_move_result coh_world_move(const struct coh_world_kind *kind, const struct coh_world *world, const struct coh_move *move,
                                    struct coh_world *next, struct coh_outcome *outcome);

/* The first invariant that does not hold, or NULL. */
const struct coh_invariant *coh_world_broken(const struct coh_world_kind *kind, const struct coh_world *world, struct coh_breach *breach);

/* Returns how many words; what fills the last one up is 0. `packed` has room for COH_PACKED_WORDS. */
int coh_world_pack(const struct coh_world_kind *kind, const struct coh_world *world, uint64_t *packed);
void coh_world_unpack(const struct coh_world_kind *kind, const uint64_t *packed, struct coh_world *world);
int coh_packed_words(const struct coh_world_kind *kind, const uint64_t *packed); /* of a packed world */
int coh_packed_messages(const uint64_t *packed);                                 /* under way in it */

#endif
