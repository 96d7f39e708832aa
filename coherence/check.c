/* Explores all states, breadth first.
 *
 * Packed worlds (world.h) lie one behind the other in an arena; a hash table finds them again. Each knows the state that it was first
 * reached from, so the way to any state is replayed from the beginning: a move is the right one when the world after it packs to the
 * next state on the way. Of the edges only deliveries are kept; after the exploration, the states that lead to rest are found by
 * walking these edges backwards: edges mostly lead to later states, so few passes from the last state to the first suffice.
 * All moves out of a state are taken before any of the worlds after them is looked up, so that memory fetches the slots meanwhile.
 * All is in reserved address space that costs what is touched; `bytes_most` bounds it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "coherence/check.h"

enum { NO_STATE = -1 };
#define DEFAULT_BYTES (2ull << 30)

/* A state. Its place in the arena is in words. */
struct record {
  uint32_t state;  /* its number */
  uint32_t parent; /* a place; the initial state is its own */
  uint64_t packed[];
};
enum { RECORD_WORDS = sizeof(struct record) / sizeof(uint64_t) };

struct slot {
  uint32_t place_1; /* place + 1; 0: free */
  uint32_t hash;
};

/* The world after a move. */
struct successor {
  uint64_t packed[COH_PACKED_WORDS];
  int words;
  uint32_t hash;
  bool delivered;
  struct coh_world world;
};

struct explorer {
  struct coh_world_kind kind;
  struct coh_check_result *result;
  const struct coh_check_options *options;
  uint64_t *edges_of; /* where the deliveries of a state begin; one more than states, for the end */
  uint64_t *arena;
  uint32_t *edges;
  struct slot *slots;
  uint64_t state_most, arena_used, edge_count, slot_count, bytes_most; /* arena_used in words */
  bool full;
  struct successor successors[COH_WORLD_MOVES];
};

static void *reserve(uint64_t bytes)
{
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

static void release(void *memory, uint64_t bytes)
{
  if (memory) munmap(memory, bytes);
}

/* ---- The set of states ------------------------------------------------------------------------------------------- */

static uint32_t hash_of(const uint64_t *packed, int words)
{
  uint64_t hash = 0;
  for (int w = 0; w < words; w++) {
    hash = (hash ^ packed[w]) * 0xff51afd7ed558ccdull;
    hash ^= hash >> 32;
  }
  return (uint32_t)(hash * 0x9e3779b97f4a7c15ull >> 32);
}

static struct record *record_at(const struct explorer *explorer, uint64_t place)
{
  return (struct record *)(explorer->arena + place);
}

/* Where the record behind this one begins. */
static uint64_t next_place(const struct explorer *explorer, uint64_t place)
{
  return place + RECORD_WORDS + (uint64_t)coh_packed_words(&explorer->kind, record_at(explorer, place)->packed);
}

/* Equal in the first word: as many messages, so as many words. */
static bool equal(const uint64_t *a, const uint64_t *b, int words)
{
  int w = 0;
  while (w < words && a[w] == b[w]) w++;
  return w == words;
}

static bool grow_slots(struct explorer *explorer)
{
  uint64_t count = explorer->slot_count ? explorer->slot_count * 2 : 1 << 16;
  struct slot *slots = reserve(count * sizeof *slots);
  if (!slots) return false;
  for (uint64_t i = 0; i < explorer->slot_count; i++) {
    if (!explorer->slots[i].place_1) continue;
    uint64_t at = explorer->slots[i].hash & (count - 1);
    while (slots[at].place_1) at = (at + 1) & (count - 1);
    slots[at] = explorer->slots[i];
  }
  release(explorer->slots, explorer->slot_count * sizeof *slots);
  explorer->slots = slots;
  explorer->slot_count = count;
  return true;
}

static uint64_t bytes_used(const struct explorer *explorer)
{
  return (explorer->arena_used + explorer->result->states) * sizeof(uint64_t) + explorer->edge_count * sizeof(uint32_t) +
         explorer->slot_count * sizeof(struct slot);
}

static bool has_room(const struct explorer *explorer)
{
  return explorer->result->states + 1 < explorer->state_most && explorer->arena_used < UINT32_MAX &&
         bytes_used(explorer) + sizeof(struct record) + sizeof explorer->successors->packed <= explorer->bytes_most;
}

static int64_t append(struct explorer *explorer, const uint64_t *packed, int words, uint32_t hash, struct slot *slot, uint32_t parent)
{
  uint64_t state = explorer->result->states;
  if (!has_room(explorer)) {
    explorer->full = true;
    return NO_STATE;
  }
  struct record *record = record_at(explorer, explorer->arena_used);
  *record = (struct record){.state = (uint32_t)state, .parent = parent};
  for (int w = 0; w < words; w++) record->packed[w] = packed[w];
  *slot = (struct slot){(uint32_t)explorer->arena_used + 1, hash};
  explorer->arena_used += RECORD_WORDS + (uint64_t)words;
  explorer->result->states++;
  return (int64_t)state;
}

/* The number of a packed world, NO_STATE when there is no room. *is_new tells whether it was met for the first time. */
static int64_t find_or_add(struct explorer *explorer, const uint64_t *packed, int words, uint32_t hash, uint32_t parent, bool *is_new)
{
  if (explorer->result->states * 4 >= explorer->slot_count * 3 && !grow_slots(explorer)) {
    explorer->full = true;
    return NO_STATE;
  }
  uint64_t at = hash & (explorer->slot_count - 1);
  *is_new = false;
  for (; explorer->slots[at].place_1; at = (at + 1) & (explorer->slot_count - 1)) {
    if (explorer->slots[at].hash != hash) continue;
    const struct record *other = record_at(explorer, explorer->slots[at].place_1 - 1);
    if (equal(other->packed, packed, words)) return other->state;
  }
  *is_new = true;
  return append(explorer, packed, words, hash, &explorer->slots[at], parent);
}

/* ---- What went wrong --------------------------------------------------------------------------------------------- */

static void name_at(int device, char *name)
{
  snprintf(name, 16, device < 0 ? "the home" : "cache C%d", device);
}

static bool is_mistake(enum coh_move_result moved)
{
  return moved >= COH_MOVE_UNHANDLED;
}

/* Why a move is a mistake of the protocol. */
static void move_sentence(const struct explorer *explorer, const struct coh_move *move, enum coh_move_result moved,
                          const struct coh_outcome *outcome, char *sentence, size_t size)
{
  const struct coh_protocol *protocol = explorer->kind.protocol;
  const struct coh_controller *controller = &protocol->controllers[move->input.target < 0 ? COH_DIRECTORY : COH_CACHE];
  char who[16];
  name_at(move->input.target, who);
  if (moved == COH_MOVE_UNHANDLED)
    snprintf(sentence, size, "unhandled event: %s in state %s has no cell for %s", who, controller->states[outcome->from].name,
             outcome->event < 0 ? protocol->messages[move->input.type].name : controller->events[outcome->event].name);
  else if (moved == COH_MOVE_STALE_LOAD)
    snprintf(sentence, size, "stale load: a load at %s returns older data than the last completed store wrote", who);
  else if (moved == COH_MOVE_STALE_STORE)
    snprintf(sentence, size, "lost store: %s stores into a line that lacks the last completed store", who);
  else if (moved == COH_MOVE_ACKS) snprintf(sentence, size, "%s awaits more than %d acks, or got as many too many", who, COH_WORLD_ACKS);
  else snprintf(sentence, size, "more than %d messages are under way", COH_WORLD_MESSAGES);
}

static void breach_sentence(const struct coh_invariant *broken, const struct coh_breach *breach, char *sentence, size_t size)
{
  char one[16], two[16];
  name_at(breach->device, one);
  name_at(breach->other, two);
  if (breach->other >= 0) snprintf(sentence, size, "%s (%s): %s and %s", broken->name, broken->meaning, one, two);
  else snprintf(sentence, size, "%s (%s): %s", broken->name, broken->meaning, one);
}

/* ---- What can happen --------------------------------------------------------------------------------------------- */

static bool is_between(const struct explorer *explorer, const struct coh_world *world)
{
  return !explorer->options->atomic || !world->message_count;
}

/* Deliveries come first. */
static int moves_of(const struct explorer *explorer, const struct coh_world *world, struct coh_move *moves)
{
  int count = coh_world_moves(&explorer->kind, world, moves);
  while (!is_between(explorer, world) && count && moves[count - 1].message < 0) count--;
  return count;
}

static const struct coh_invariant *broken_in(const struct explorer *explorer, const struct coh_world *world, struct coh_breach *breach)
{
  return is_between(explorer, world) ? coh_world_broken(&explorer->kind, world, breach) : NULL;
}

/* ---- The way to a state ------------------------------------------------------------------------------------------ */

/* Takes the move that leads from *world to the state at `place`, and records it. */
static int replay_step(struct explorer *explorer, struct coh_world *world, uint64_t place)
{
  struct coh_move moves[COH_WORLD_MOVES];
  struct coh_outcome outcome;
  struct coh_world next;
  uint64_t packed[COH_PACKED_WORDS];
  int count = moves_of(explorer, world, moves);
  for (int m = 0; m < count; m++) {
    if (coh_world_move(&explorer->kind, world, &moves[m], &next, &outcome) != COH_MOVED) continue;
    if (!equal(record_at(explorer, place)->packed, packed, coh_world_pack(&explorer->kind, &next, packed))) continue;
    *world = next;
    return coh_ladder_add(&explorer->result->ladder, &explorer->kind.sharers, moves[m].line, &moves[m].input, &outcome, NULL);
  }
  return -EIO;
}

/* Records the shortest way to the state at `place`; *world is then that state, with the names of the way. */
static int replay(struct explorer *explorer, uint64_t place, struct coh_world *world)
{
  int length = 0, result = 0;
  for (uint64_t at = place; at; at = record_at(explorer, at)->parent) length++;
  uint32_t *way = malloc(((size_t)length + 1) * sizeof *way);
  if (!way) return -ENOMEM;
  for (int i = length; i-- > 0; place = record_at(explorer, place)->parent) way[i] = (uint32_t)place;
  coh_world_init(&explorer->kind, world);
  for (int i = 0; i < length && !result; i++) result = replay_step(explorer, world, way[i]);
  free(way);
  return result;
}

static void set_verdict(struct explorer *explorer, const char *sentence)
{
  struct coh_check_result *result = explorer->result;
  const struct coh_check_options *options = explorer->options;
  result->verdict = COH_BROKEN;
  snprintf(result->sentence, sizeof result->sentence, "%s", sentence);
  snprintf(result->ladder.verdict, sizeof result->ladder.verdict, "%s", sentence);
  snprintf(result->ladder.title, sizeof result->ladder.title, "%s, %d caches, %d line%s, sharers %s%s: a shortest run that breaks it",
           explorer->kind.protocol->name, options->caches, options->lines, options->lines > 1 ? "s" : "", options->sharers,
           options->atomic ? ", one transaction at a time" : "");
}

/* The state at `place` breaks an invariant itself. */
static int report_state(struct explorer *explorer, uint64_t place)
{
  struct coh_world world;
  struct coh_breach breach;
  char sentence[200];
  int result = replay(explorer, place, &world);
  const struct coh_invariant *broken = broken_in(explorer, &world, &breach);
  if (result || !broken) return result ? result : -EIO;
  breach_sentence(broken, &breach, sentence, sizeof sentence);
  set_verdict(explorer, sentence);
  return 0;
}

/* A move out of the state at `place` is a mistake: the first such of the replayed world, which may have other names than the one found. */
static int report_move(struct explorer *explorer, uint64_t place)
{
  struct coh_move moves[COH_WORLD_MOVES];
  struct coh_outcome outcome;
  struct coh_world world, next;
  char sentence[200];
  int result = replay(explorer, place, &world);
  if (result) return result;
  int count = moves_of(explorer, &world, moves);
  for (int m = 0; m < count; m++) {
    enum coh_move_result moved = coh_world_move(&explorer->kind, &world, &moves[m], &next, &outcome);
    if (!is_mistake(moved)) continue;
    move_sentence(explorer, &moves[m], moved, &outcome, sentence, sizeof sentence);
    set_verdict(explorer, sentence);
    return coh_ladder_add(&explorer->result->ladder, &explorer->kind.sharers, moves[m].line, &moves[m].input, &outcome, sentence);
  }
  return -EIO;
}

static int report_stuck(struct explorer *explorer, uint64_t place, const char *sentence)
{
  struct coh_world world;
  int result = replay(explorer, place, &world);
  if (!result) set_verdict(explorer, sentence);
  return result;
}

/* ---- Exploring --------------------------------------------------------------------------------------------------- */

static void note_cell(struct explorer *explorer, const struct coh_move *move, const struct coh_outcome *outcome)
{
  enum coh_role role = move->input.target < 0 ? COH_DIRECTORY : COH_CACHE;
  if (outcome->event >= 0) explorer->result->cells_used[role][outcome->from] |= 1ull << outcome->event;
}

static void note_stalls(struct explorer *explorer, const struct coh_world *world)
{
  for (int line = 0; line < explorer->kind.lines; line++)
    for (int cache = 0; cache < explorer->kind.caches; cache++) {
      int state = coh_world_cache_state(world, line, cache);
      explorer->result->cells_used[COH_CACHE][state] |= explorer->kind.stalls[state];
    }
}

static void add_edge(struct explorer *explorer, uint64_t *first, int64_t to)
{
  for (uint64_t e = *first; e < explorer->edge_count; e++)
    if (explorer->edges[e] == (uint32_t)to) return;
  explorer->edges[explorer->edge_count++] = (uint32_t)to;
}

/* Takes one move out of *world. The world after it, if there is a new one, becomes the successor. */
static enum coh_move_result take_move(struct explorer *explorer, const struct coh_world *world, const struct coh_move *move,
                                      struct successor *successor)
{
  struct coh_outcome outcome;
  enum coh_move_result moved = coh_world_move(&explorer->kind, world, move, &successor->world, &outcome);
  note_cell(explorer, move, &outcome);
  explorer->result->transitions += moved == COH_MOVED || moved == COH_MOVE_IDLE;
  if (moved != COH_MOVED) return moved;
  successor->words = coh_world_pack(&explorer->kind, &successor->world, successor->packed);
  successor->hash = hash_of(successor->packed, successor->words);
  successor->delivered = move->message >= 0;
  __builtin_prefetch(&explorer->slots[successor->hash & (explorer->slot_count - 1)]);
  return moved;
}

/* True to go on; false when the exploration ends here, *result then being how. */
static bool add_successor(struct explorer *explorer, uint64_t place, const struct successor *successor, int *result)
{
  struct coh_breach breach;
  bool is_new;
  uint64_t state = record_at(explorer, place)->state, added = explorer->arena_used;
  int64_t to = find_or_add(explorer, successor->packed, successor->words, successor->hash, (uint32_t)place, &is_new);
  if (to == NO_STATE) return false;
  if (successor->delivered) add_edge(explorer, &explorer->edges_of[state], to);
  if (!is_new || !broken_in(explorer, &successor->world, &breach)) return true;
  *result = report_state(explorer, added);
  return false;
}

/* Likewise. There are at most COH_WORLD_MOVES edges more; reserved is room for as many beyond bytes_most. */
static bool expand(struct explorer *explorer, uint64_t place, int *result)
{
  struct coh_move moves[COH_WORLD_MOVES];
  struct coh_world world;
  const struct record *record = record_at(explorer, place);
  enum coh_move_result moved = COH_MOVED;
  int taken = 0;
  if (explorer->edge_count * sizeof *explorer->edges > explorer->bytes_most) {
    explorer->full = true;
    return false;
  }
  coh_world_unpack(&explorer->kind, record->packed, &world);
  explorer->edges_of[record->state] = explorer->edge_count;
  note_stalls(explorer, &world);
  int count = moves_of(explorer, &world, moves);
  for (int m = 0; m < count && !is_mistake(moved); m++) {
    moved = take_move(explorer, &world, &moves[m], &explorer->successors[taken]);
    taken += moved == COH_MOVED;
  }
  for (int s = 0; s < taken; s++)
    if (!add_successor(explorer, place, &explorer->successors[s], result)) return false;
  if (is_mistake(moved)) {
    *result = report_move(explorer, place);
    return false;
  }
  if (!world.message_count || explorer->edge_count > explorer->edges_of[record->state]) return true;
  *result = report_stuck(explorer, place, "deadlock: messages are under way, but every one of them is stalled");
  return false;
}

/* All states, or those within the depth; true when nothing ended it early. */
static bool explore(struct explorer *explorer, int *result)
{
  struct coh_check_result *found = explorer->result;
  uint64_t level_end = next_place(explorer, 0);
  for (uint64_t place = 0; place < explorer->arena_used; place = next_place(explorer, place)) {
    if (place == level_end) {
      found->depth++;
      level_end = explorer->arena_used;
      if (explorer->options->depth && found->depth >= explorer->options->depth) {
        found->verdict = COH_BOUNDED;
        return false;
      }
    }
    if (!expand(explorer, place, result)) return false;
  }
  explorer->edges_of[found->states] = explorer->edge_count;
  return true;
}

/* ---- Coming to rest ---------------------------------------------------------------------------------------------- */

static bool leads_to_rest(const struct explorer *explorer, const uint8_t *rests, uint64_t state)
{
  for (uint64_t e = explorer->edges_of[state]; e < explorer->edges_of[state + 1]; e++)
    if (rests[explorer->edges[e]]) return true;
  return false;
}

static int check_rest(struct explorer *explorer)
{
  uint64_t count = explorer->result->states, missing = 0, before;
  uint8_t *rests = calloc(count + 1, 1);
  int result = 0;
  if (!rests) return -ENOMEM;
  for (uint64_t place = 0; place < explorer->arena_used; place = next_place(explorer, place))
    missing += !(rests[record_at(explorer, place)->state] = coh_packed_messages(record_at(explorer, place)->packed) == 0);
  do {
    before = missing;
    for (uint64_t s = count; s-- > 0;)
      if (!rests[s] && leads_to_rest(explorer, rests, s)) rests[s] = 1, missing--;
  } while (missing && missing != before);
  for (uint64_t place = 0; place < explorer->arena_used && missing; place = next_place(explorer, place))
    if (!rests[record_at(explorer, place)->state]) {
      result = report_stuck(explorer, place, "livelock: from here, whatever is delivered, the system never comes to rest");
      break;
    }
  free(rests);
  return result;
}

/* ---- Beginning and end ------------------------------------------------------------------------------------------- */

static uint64_t edge_bytes(const struct explorer *explorer)
{
  return explorer->bytes_most + COH_WORLD_MOVES * sizeof(uint32_t);
}

static bool open_memory(struct explorer *explorer)
{
  explorer->bytes_most = explorer->options->bytes_most ? explorer->options->bytes_most : DEFAULT_BYTES;
  explorer->state_most = explorer->bytes_most / sizeof *explorer->edges_of;
  if (explorer->state_most >= UINT32_MAX) explorer->state_most = UINT32_MAX - 1;
  explorer->edges_of = reserve(explorer->state_most * sizeof *explorer->edges_of);
  explorer->arena = reserve(explorer->bytes_most);
  explorer->edges = reserve(edge_bytes(explorer));
  return explorer->edges_of && explorer->arena && explorer->edges && grow_slots(explorer);
}

static void close_memory(struct explorer *explorer)
{
  explorer->result->bytes = bytes_used(explorer);
  release(explorer->edges_of, explorer->state_most * sizeof *explorer->edges_of);
  release(explorer->arena, explorer->bytes_most);
  release(explorer->edges, edge_bytes(explorer));
  release(explorer->slots, explorer->slot_count * sizeof(struct slot));
}

static void add_initial(struct explorer *explorer)
{
  struct coh_world world;
  uint64_t packed[COH_PACKED_WORDS];
  bool is_new;
  coh_world_init(&explorer->kind, &world);
  int words = coh_world_pack(&explorer->kind, &world, packed);
  find_or_add(explorer, packed, words, hash_of(packed, words), 0, &is_new);
}

int coh_check(const struct coh_protocol *protocol, const struct coh_check_options *options, struct coh_check_result *result)
{
  struct explorer explorer = {.result = result, .options = options};
  *result = (struct coh_check_result){.verdict = COH_PROVED};
  coh_ladder_init(&result->ladder, protocol, options->caches);
  if (options->caches < 2 || options->caches > COH_WORLD_CACHES || options->lines < 1 || options->lines > COH_WORLD_LINES) return -EINVAL;
  int error = coh_world_kind_make(&explorer.kind, protocol, options->sharers, options->caches, options->lines);
  if (error) return error;
  if (open_memory(&explorer)) {
    add_initial(&explorer);
    if (explore(&explorer, &error)) error = check_rest(&explorer);
    if (explorer.full) result->verdict = COH_OUT_OF_MEMORY;
  } else error = -ENOMEM;
  close_memory(&explorer);
  return error;
}
