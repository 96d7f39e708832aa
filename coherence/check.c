/* Explores all states, breadth first.
 *
 * Packed worlds (world.h) lie one behind the other in an arena; a hash table finds them again. Each knows the state that it was first
 * reached from, so the way to any state is replayed from the beginning: a move is the right one when the world after it packs to the
 * next state on the way. Of the edges only deliveries are kept; after the exploration, the states that lead to rest are found by
 * walking these edges backwards: edges mostly lead to later states, so few passes from the last state to the first suffice.
 * All is in reserved address space that costs what is touched; `bytes_most` bounds it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "coherence/check.h"

enum { NO_STATE = -1 };
#define DEFAULT_BYTES (2ull << 30)

struct node {
  uint32_t place; /* in the arena, in units of 4 bytes */
  uint32_t parent;
  uint64_t edges; /* where its deliveries begin */
};

struct slot {
  uint32_t state_1; /* state + 1; 0: free */
  uint32_t hash;
};

struct explorer {
  struct coh_world_kind kind;
  struct coh_check_result *result;
  const struct coh_check_options *options;
  struct node *nodes; /* one more than states, for the end of the edges */
  uint8_t *arena;     /* a packed world: its size in one byte, then itself */
  uint32_t *edges;
  struct slot *slots;
  uint64_t node_most, arena_used, edge_count, slot_count, bytes_most;
  bool full;
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

static uint32_t hash_of(const uint8_t *bytes, int size)
{
  uint64_t hash = (uint64_t)size * 0x9e3779b97f4a7c15ull, word;
  for (; size >= 8; size -= 8, bytes += 8) {
    memcpy(&word, bytes, 8);
    hash = (hash ^ word) * 0xff51afd7ed558ccdull;
    hash ^= hash >> 32;
  }
  word = 0;
  memcpy(&word, bytes, (size_t)size);
  hash = (hash ^ word) * 0xff51afd7ed558ccdull;
  return (uint32_t)(hash >> 32);
}

static const uint8_t *packed_of(const struct explorer *explorer, uint64_t state, int *size)
{
  const uint8_t *packed = explorer->arena + (uint64_t)explorer->nodes[state].place * 4;
  *size = packed[0];
  return packed + 1;
}

static bool grow_slots(struct explorer *explorer)
{
  uint64_t count = explorer->slot_count ? explorer->slot_count * 2 : 1 << 16;
  struct slot *slots = reserve(count * sizeof *slots);
  if (!slots) return false;
  for (uint64_t i = 0; i < explorer->slot_count; i++) {
    if (!explorer->slots[i].state_1) continue;
    uint64_t at = explorer->slots[i].hash & (count - 1);
    while (slots[at].state_1) at = (at + 1) & (count - 1);
    slots[at] = explorer->slots[i];
  }
  release(explorer->slots, explorer->slot_count * sizeof *slots);
  explorer->slots = slots;
  explorer->slot_count = count;
  return true;
}

static uint64_t bytes_used(const struct explorer *explorer)
{
  return explorer->arena_used + explorer->result->states * sizeof(struct node) + explorer->edge_count * sizeof(uint32_t) +
         explorer->slot_count * sizeof(struct slot);
}

static int64_t append(struct explorer *explorer, const uint8_t *packed, int size, uint32_t hash, struct slot *slot, uint32_t parent)
{
  uint64_t state = explorer->result->states;
  if (state + 1 >= explorer->node_most || bytes_used(explorer) + COH_PACKED_SIZE > explorer->bytes_most) {
    explorer->full = true;
    return NO_STATE;
  }
  uint8_t *to = explorer->arena + explorer->arena_used;
  to[0] = (uint8_t)size;
  memcpy(to + 1, packed, (size_t)size);
  explorer->nodes[state] = (struct node){(uint32_t)(explorer->arena_used / 4), parent, 0};
  explorer->arena_used += ((uint64_t)size + 1 + 3) & ~3ull;
  *slot = (struct slot){(uint32_t)state + 1, hash};
  explorer->result->states++;
  return (int64_t)state;
}

/* The number of a packed world, NO_STATE when there is no room. *is_new tells whether it was met for the first time. */
static int64_t find_or_add(struct explorer *explorer, const uint8_t *packed, int size, uint32_t parent, bool *is_new)
{
  if (explorer->result->states * 2 >= explorer->slot_count && !grow_slots(explorer)) {
    explorer->full = true;
    return NO_STATE;
  }
  uint32_t hash = hash_of(packed, size);
  uint64_t at = hash & (explorer->slot_count - 1);
  *is_new = false;
  for (; explorer->slots[at].state_1; at = (at + 1) & (explorer->slot_count - 1)) {
    if (explorer->slots[at].hash != hash) continue;
    int other_size;
    const uint8_t *other = packed_of(explorer, explorer->slots[at].state_1 - 1, &other_size);
    if (other_size == size && !memcmp(other, packed, (size_t)size)) return explorer->slots[at].state_1 - 1;
  }
  *is_new = true;
  return append(explorer, packed, size, hash, &explorer->slots[at], parent);
}

/* ---- What went wrong --------------------------------------------------------------------------------------------- */

static void name_at(int device, char *name)
{
  snprintf(name, 16, device < 0 ? "the home" : "cache C%d", device);
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

/* ---- The way to a state ------------------------------------------------------------------------------------------ */

/* Takes the move that leads from *world to `state`, and records it. */
static int replay_step(struct explorer *explorer, struct coh_world *world, uint64_t state)
{
  struct coh_move moves[COH_WORLD_MOVES];
  struct coh_outcome outcome;
  struct coh_world next;
  uint8_t packed[COH_PACKED_SIZE];
  int wanted_size;
  const uint8_t *wanted = packed_of(explorer, state, &wanted_size);
  int count = coh_world_moves(&explorer->kind, world, moves);
  for (int m = 0; m < count; m++) {
    if (coh_world_move(&explorer->kind, world, &moves[m], &next, &outcome) != COH_MOVED) continue;
    int size = coh_world_pack(&explorer->kind, &next, packed);
    if (size != wanted_size || memcmp(packed, wanted, (size_t)size) != 0) continue;
    *world = next;
    return coh_ladder_add(&explorer->result->ladder, &explorer->kind.sharers, moves[m].line, &moves[m].input, &outcome, NULL);
  }
  return -EIO;
}

/* Records the shortest way to `state`; *world is then that state, with the names of the way. */
static int replay(struct explorer *explorer, uint64_t state, struct coh_world *world)
{
  int length = 0, result = 0;
  for (uint64_t at = state; at; at = explorer->nodes[at].parent) length++;
  uint32_t *way = malloc(((size_t)length + 1) * sizeof *way);
  if (!way) return -ENOMEM;
  for (uint64_t at = state, i = (uint64_t)length; at; at = explorer->nodes[at].parent) way[--i] = (uint32_t)at;
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
  snprintf(result->ladder.title, sizeof result->ladder.title, "%s, %d caches, %d line%s, sharers %s: a shortest run that breaks it",
           explorer->kind.protocol->name, options->caches, options->lines, options->lines > 1 ? "s" : "", options->sharers);
}

/* `state` itself breaks an invariant. */
static int report_state(struct explorer *explorer, uint64_t state)
{
  struct coh_world world;
  struct coh_breach breach;
  char sentence[200];
  int line, result = replay(explorer, state, &world);
  const struct coh_invariant *broken = coh_world_broken(&explorer->kind, &world, &breach, &line);
  if (result || !broken) return result ? result : -EIO;
  breach_sentence(broken, &breach, sentence, sizeof sentence);
  set_verdict(explorer, sentence);
  return 0;
}

/* A move out of `state` is a mistake: the first such of the replayed world, which may have other names than the one found. */
static int report_move(struct explorer *explorer, uint64_t state)
{
  struct coh_move moves[COH_WORLD_MOVES];
  struct coh_outcome outcome;
  struct coh_world world, next;
  char sentence[200];
  int result = replay(explorer, state, &world);
  if (result) return result;
  int count = coh_world_moves(&explorer->kind, &world, moves);
  for (int m = 0; m < count; m++) {
    enum coh_move_result moved = coh_world_move(&explorer->kind, &world, &moves[m], &next, &outcome);
    if (moved == COH_MOVED || moved == COH_MOVE_STALLED) continue;
    move_sentence(explorer, &moves[m], moved, &outcome, sentence, sizeof sentence);
    set_verdict(explorer, sentence);
    return coh_ladder_add(&explorer->result->ladder, &explorer->kind.sharers, moves[m].line, &moves[m].input, &outcome, sentence);
  }
  return -EIO;
}

static int report_stuck(struct explorer *explorer, uint64_t state, const char *sentence)
{
  struct coh_world world;
  int result = replay(explorer, state, &world);
  if (!result) set_verdict(explorer, sentence);
  return result;
}

/* ---- Exploring --------------------------------------------------------------------------------------------------- */

static void note_cell(struct explorer *explorer, const struct coh_move *move, const struct coh_outcome *outcome)
{
  enum coh_role role = move->input.target < 0 ? COH_DIRECTORY : COH_CACHE;
  if (outcome->event >= 0) explorer->result->cells_used[role][outcome->from] |= 1ull << outcome->event;
}

static void add_edge(struct explorer *explorer, uint64_t *first, int64_t to)
{
  for (uint64_t e = *first; e < explorer->edge_count; e++)
    if (explorer->edges[e] == (uint32_t)to) return;
  explorer->edges[explorer->edge_count++] = (uint32_t)to;
}

/* A load that hits leads back to where it came from. */
static bool changes_nothing(const struct coh_move *move, const struct coh_outcome *outcome)
{
  return move->message < 0 && outcome->from == outcome->state && !outcome->send_count && outcome->deeds == COH_DEED_LOAD;
}

/* One move out of a state. True to go on; false when the exploration ends here, *result then being how. */
static bool take_move(struct explorer *explorer, uint64_t state, const struct coh_world *world, const struct coh_move *move, int *result)
{
  struct coh_outcome outcome;
  struct coh_world next;
  struct coh_breach breach;
  uint8_t packed[COH_PACKED_SIZE];
  bool is_new;
  int line;
  enum coh_move_result moved = coh_world_move(&explorer->kind, world, move, &next, &outcome);
  note_cell(explorer, move, &outcome);
  if (moved == COH_MOVE_STALLED) return true;
  if (moved != COH_MOVED) {
    *result = report_move(explorer, state);
    return false;
  }
  explorer->result->transitions++;
  if (changes_nothing(move, &outcome)) return true;
  int64_t to = find_or_add(explorer, packed, coh_world_pack(&explorer->kind, &next, packed), (uint32_t)state, &is_new);
  if (to == NO_STATE) return false;
  if (move->message >= 0) add_edge(explorer, &explorer->nodes[state].edges, to);
  if (!is_new || !coh_world_broken(&explorer->kind, &next, &breach, &line)) return true;
  *result = report_state(explorer, (uint64_t)to);
  return false;
}

static bool expand(struct explorer *explorer, uint64_t state, int *result)
{
  struct coh_move moves[COH_WORLD_MOVES];
  struct coh_world world;
  int size;
  coh_world_unpack(&explorer->kind, packed_of(explorer, state, &size), &world);
  explorer->nodes[state].edges = explorer->edge_count;
  int count = coh_world_moves(&explorer->kind, &world, moves);
  for (int m = 0; m < count; m++)
    if (!take_move(explorer, state, &world, &moves[m], result)) return false;
  if (!world.message_count || explorer->edge_count > explorer->nodes[state].edges) return true;
  *result = report_stuck(explorer, state, "deadlock: messages are under way, but every one of them is stalled");
  return false;
}

/* All states, or those within the depth; true when nothing ended it early. */
static bool explore(struct explorer *explorer, int *result)
{
  struct coh_check_result *found = explorer->result;
  uint64_t level_end = 1;
  for (uint64_t state = 0; state < found->states; state++) {
    if (state == level_end) {
      found->depth++;
      level_end = found->states;
      if (explorer->options->depth && found->depth >= explorer->options->depth) {
        found->verdict = COH_BOUNDED;
        return false;
      }
    }
    if (!expand(explorer, state, result)) return false;
  }
  explorer->nodes[found->states].edges = explorer->edge_count;
  return true;
}

/* ---- Coming to rest ---------------------------------------------------------------------------------------------- */

static bool leads_to_rest(const struct explorer *explorer, const uint8_t *rests, uint64_t state)
{
  for (uint64_t e = explorer->nodes[state].edges; e < explorer->nodes[state + 1].edges; e++)
    if (rests[explorer->edges[e]]) return true;
  return false;
}

static int check_rest(struct explorer *explorer)
{
  uint64_t count = explorer->result->states, missing = 0, before;
  uint8_t *rests = calloc(count + 1, 1);
  int size, result = 0;
  if (!rests) return -ENOMEM;
  for (uint64_t s = 0; s < count; s++) missing += !(rests[s] = packed_of(explorer, s, &size)[0] == 0);
  do {
    before = missing;
    for (uint64_t s = count; s-- > 0;)
      if (!rests[s] && leads_to_rest(explorer, rests, s)) rests[s] = 1, missing--;
  } while (missing && missing != before);
  for (uint64_t s = 0; s < count && missing; s++)
    if (!rests[s]) {
      result = report_stuck(explorer, s, "livelock: from here, whatever is delivered, the system never comes to rest");
      break;
    }
  free(rests);
  return result;
}

/* ---- Beginning and end ------------------------------------------------------------------------------------------- */

static uint64_t arena_bytes(const struct explorer *explorer)
{
  return explorer->bytes_most + COH_PACKED_SIZE + 8;
}

static uint64_t edge_bytes(const struct explorer *explorer)
{
  return explorer->bytes_most + COH_WORLD_MOVES * sizeof(uint32_t);
}

static bool open_memory(struct explorer *explorer)
{
  explorer->bytes_most = explorer->options->bytes_most ? explorer->options->bytes_most : DEFAULT_BYTES;
  explorer->node_most = explorer->bytes_most / sizeof(struct node);
  if (explorer->node_most >= UINT32_MAX) explorer->node_most = UINT32_MAX - 1;
  explorer->nodes = reserve(explorer->node_most * sizeof(struct node));
  explorer->arena = reserve(arena_bytes(explorer));
  explorer->edges = reserve(edge_bytes(explorer));
  return explorer->nodes && explorer->arena && explorer->edges && grow_slots(explorer);
}

static void close_memory(struct explorer *explorer)
{
  explorer->result->bytes = bytes_used(explorer);
  release(explorer->nodes, explorer->node_most * sizeof(struct node));
  release(explorer->arena, arena_bytes(explorer));
  release(explorer->edges, edge_bytes(explorer));
  release(explorer->slots, explorer->slot_count * sizeof(struct slot));
}

static void add_initial(struct explorer *explorer)
{
  struct coh_world world;
  uint8_t packed[COH_PACKED_SIZE];
  bool is_new;
  coh_world_init(&explorer->kind, &world);
  find_or_add(explorer, packed, coh_world_pack(&explorer->kind, &world, packed), 0, &is_new);
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
