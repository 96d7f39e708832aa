/* Worlds of the checker: what can happen next, what it leads to, and the one spelling of worlds that are alike.
 *
 * Packed: the number of messages; per line the directory's state, owner and requestor, members and memory's bit; per line and cache its
 * state, acks and data bit; then three bytes a message, in ascending order. To choose among the spellings, each cache gets a signature
 * that does not depend on names; only renamings that put the signatures into ascending order are spelled out, mostly one.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "coherence/world.h"

/* A message in 21 bits; source and target are a device or HOME_BITS. */
enum { HOME_BITS = 7, ACKS_BIAS = 8 };
enum { FRESH_AT = 0, ACKS_AT = 1, REQUESTOR_AT = 5, TARGET_AT = 8, SOURCE_AT = 11, LINE_AT = 14, TYPE_AT = 15 };

static uint32_t device_bits(int device)
{
  return device < 0 ? HOME_BITS : (uint32_t)device;
}

static int bits_device(uint32_t bits)
{
  return (bits & 7) == HOME_BITS ? COH_HOME : (int)(bits & 7);
}

static uint32_t pack_message(const struct coh_message *message, int line, bool fresh)
{
  return (uint32_t)fresh << FRESH_AT | (uint32_t)(message->acks + ACKS_BIAS) << ACKS_AT | device_bits(message->requestor) << REQUESTOR_AT |
         device_bits(message->target) << TARGET_AT | device_bits(message->source) << SOURCE_AT | (uint32_t)line << LINE_AT |
         (uint32_t)message->type << TYPE_AT;
}

static struct coh_move unpack_message(uint32_t bits, int place)
{
  return (struct coh_move){.input = {.type = (uint8_t)(bits >> TYPE_AT),
                                     .acks = (int16_t)((int)(bits >> ACKS_AT & 15) - ACKS_BIAS),
                                     .source = (int16_t)bits_device(bits >> SOURCE_AT),
                                     .target = (int16_t)bits_device(bits >> TARGET_AT),
                                     .requestor = (int16_t)bits_device(bits >> REQUESTOR_AT)},
                           .line = (int)(bits >> LINE_AT & 1),
                           .message = place,
                           .fresh = bits >> FRESH_AT & 1};
}

/* ---- The kind ---------------------------------------------------------------------------------------------------- */

static uint8_t members_of(const struct coh_world_kind *kind, const uint64_t *set)
{
  unsigned members = 0;
  for (int d = kind->sharers.ops->next(&kind->sharers, set, 0); d >= 0; d = kind->sharers.ops->next(&kind->sharers, set, d + 1))
    members |= 1u << d;
  return (uint8_t)members;
}

static uint8_t rename_members(const uint8_t *renaming, int caches, unsigned members)
{
  unsigned renamed = 0;
  for (int c = 0; c < caches; c++) renamed |= (members >> c & 1) << renaming[c];
  return (uint8_t)renamed;
}

/* All sets that adding devices can make. */
static void make_sets(struct coh_world_kind *kind)
{
  for (unsigned chosen = 0; chosen < 1u << kind->caches; chosen++) {
    uint64_t set = 0;
    for (int c = 0; c < kind->caches; c++)
      if (chosen >> c & 1) kind->sharers.ops->add(&kind->sharers, &set, c);
    kind->sets[members_of(kind, &set)] = set;
  }
}

/* A renaming must carry the set that a device makes to the set that its new name makes. */
static bool sets_follow(const struct coh_world_kind *kind, const uint8_t *renaming)
{
  for (int c = 0; c < kind->caches; c++) {
    uint64_t set = 0, renamed = 0;
    kind->sharers.ops->add(&kind->sharers, &set, c);
    kind->sharers.ops->add(&kind->sharers, &renamed, renaming[c]);
    if (rename_members(renaming, kind->caches, members_of(kind, &set)) != members_of(kind, &renamed)) return false;
  }
  return true;
}

static void keep_renaming(struct coh_world_kind *kind, const uint8_t *renaming)
{
  if (!sets_follow(kind, renaming)) return;
  memcpy(kind->renamings[kind->renaming_count], renaming, COH_WORLD_CACHES);
  for (int c = 0; c < kind->caches; c++) kind->origins[kind->renaming_count][renaming[c]] = (uint8_t)c;
  kind->renaming_count++;
}

static void make_renamings(struct coh_world_kind *kind, uint8_t *renaming, int chosen, unsigned used)
{
  if (chosen == kind->caches) keep_renaming(kind, renaming);
  for (int name = 0; chosen < kind->caches && name < kind->caches; name++) {
    if (used >> name & 1) continue;
    renaming[chosen] = (uint8_t)name;
    make_renamings(kind, renaming, chosen + 1, used | 1u << name);
  }
}

int coh_world_kind_make(struct coh_world_kind *kind, const struct coh_protocol *protocol, const char *sharers, int caches, int lines)
{
  uint8_t renaming[COH_WORLD_CACHES] = {0};
  /* so small that the set is inexact even here */
  int parameter = !strcmp(sharers, "limited") ? 1 : !strcmp(sharers, "coarse") ? 2 : 0;
  *kind = (struct coh_world_kind){.protocol = protocol, .caches = caches, .lines = lines};
  int result = coh_sharer_kind_make(sharers, caches, parameter, &kind->sharers);
  if (result || kind->sharers.words != 1) return -EINVAL;
  make_sets(kind);
  make_renamings(kind, renaming, 0, 0);
  return 0;
}

void coh_world_init(const struct coh_world_kind *kind, struct coh_world *world)
{
  memset(world, 0, sizeof *world);
  for (int l = 0; l < kind->lines; l++) world->lines[l].memory_version = 1;
}

/* ---- Moves ------------------------------------------------------------------------------------------------------- */

int coh_world_moves(const struct coh_world_kind *kind, const struct coh_world *world, struct coh_move *moves)
{
  int count = 0;
  for (int m = 0; m < world->message_count; m++) /* equal messages stand side by side; which one comes makes no difference */
    if (!m || world->messages[m] != world->messages[m - 1]) moves[count++] = unpack_message(world->messages[m], m);
  for (int line = 0; line < kind->lines; line++)
    for (int cache = 0; cache < kind->caches; cache++)
      for (int access = 0; access < COH_FIRST_MESSAGE; access++) {
        if (access == COH_EVICT && !world->lines[line].caches[cache].state) continue; /* there is nothing to evict */
        moves[count++] = (struct coh_move){.input = coh_access(access, cache), .line = line, .message = -1};
      }
  return count;
}

static void forget_store(struct coh_world *world, int line)
{
  struct coh_world_line *at = &world->lines[line];
  at->memory_version = 0;
  memset(at->versions, 0, sizeof at->versions);
  for (int m = 0; m < world->message_count; m++)
    if ((int)(world->messages[m] >> LINE_AT & 1) == line) world->messages[m] &= ~(1u << FRESH_AT);
}

static bool add_message(struct coh_world *world, const struct coh_message *message, int line, bool fresh)
{
  if (world->message_count == COH_WORLD_MESSAGES) return false;
  world->messages[world->message_count++] = pack_message(message, line, fresh);
  return true;
}

static bool add_sends(const struct coh_world_kind *kind, struct coh_world *world, int line, bool fresh, const struct coh_outcome *outcome)
{
  bool fits = true;
  for (int i = 0; i < outcome->send_count; i++) {
    struct coh_message message = outcome->sends[i].message;
    bool is_fresh = outcome->sends[i].data && fresh;
    if (!outcome->sends[i].many) {
      fits &= add_message(world, &message, line, is_fresh);
      continue;
    }
    for (int d = coh_outcome_target(&kind->sharers, outcome, 0); d >= 0; d = coh_outcome_target(&kind->sharers, outcome, d + 1)) {
      message.target = (int16_t)d;
      fits &= add_message(world, &message, line, is_fresh);
    }
  }
  return fits;
}

static void sort_messages(struct coh_world *world)
{
  for (int i = 1; i < world->message_count; i++) {
    uint32_t message = world->messages[i];
    int place = i;
    for (; place && world->messages[place - 1] > message; place--) world->messages[place] = world->messages[place - 1];
    world->messages[place] = message;
  }
}

/* The deeds of a cache. Its messages carry the line as it is before a store. */
static enum coh_move_result do_cache(const struct coh_world_kind *kind, struct coh_world *next, const struct coh_move *move,
                                     const struct coh_outcome *outcome)
{
  struct coh_world_line *line = &next->lines[move->line];
  uint32_t *version = &line->versions[move->input.target];
  if (outcome->deeds & COH_DEED_FILL) *version = move->fresh;
  if (outcome->deeds & COH_DEED_LOAD && !*version) return COH_MOVE_STALE_LOAD;
  if (outcome->deeds & COH_DEED_STORE && !*version) return COH_MOVE_STALE_STORE;
  if (!add_sends(kind, next, move->line, *version, outcome)) return COH_MOVE_CROWDED;
  if (outcome->deeds & COH_DEED_STORE) {
    forget_store(next, move->line);
    *version = 1;
  }
  if (!kind->protocol->controllers[COH_CACHE].states[outcome->state].holds_data) *version = 0;
  return COH_MOVED;
}

static enum coh_move_result do_directory(const struct coh_world_kind *kind, struct coh_world *next, const struct coh_move *move,
                                         const struct coh_outcome *outcome)
{
  struct coh_world_line *line = &next->lines[move->line];
  if (outcome->deeds & COH_DEED_WRITE_MEMORY) line->memory_version = move->fresh;
  line->members = members_of(kind, line->directory.sharers);
  return add_sends(kind, next, move->line, line->memory_version, outcome) ? COH_MOVED : COH_MOVE_CROWDED;
}

enum coh_move_result coh_world_move(const struct coh_world_kind *kind, const struct coh_world *world, const struct coh_move *move,
                                    struct coh_world *next, struct coh_outcome *outcome)
{
  bool at_home = move->input.target == COH_HOME;
  memcpy(next, world, offsetof(struct coh_world, messages) + sizeof(uint32_t) * (size_t)world->message_count);
  struct coh_world_line *line = &next->lines[move->line];
  if (at_home) coh_directory_step(kind->protocol, &kind->sharers, &line->directory, &move->input, outcome);
  else coh_cache_step(kind->protocol, &line->caches[move->input.target], &move->input, outcome);
  if (outcome->result != COH_DONE) return outcome->result == COH_STALLED ? COH_MOVE_STALLED : COH_MOVE_UNHANDLED;
  if (move->message >= 0) {
    next->message_count--;
    for (int m = move->message; m < next->message_count; m++) next->messages[m] = next->messages[m + 1];
  }
  enum coh_move_result result = (at_home ? do_directory : do_cache)(kind, next, move, outcome);
  sort_messages(next);
  return result;
}

const struct coh_invariant *coh_world_broken(const struct coh_world_kind *kind, const struct coh_world *world, struct coh_breach *breach,
                                             int *line)
{
  for (int l = 0; l < kind->lines; l++) {
    const struct coh_world_line *at = &world->lines[l];
    struct coh_view view = {
        kind->protocol, &kind->sharers, &at->directory, at->caches, at->versions, at->memory_version, 1, world->message_count == 0, 0};
    *line = l;
    const struct coh_invariant *broken = coh_broken_invariant(&view, breach);
    if (broken) return broken;
  }
  return NULL;
}

/* ---- Spelling ---------------------------------------------------------------------------------------------------- */

static uint32_t mix(uint32_t value)
{
  value *= 0x9e3779b1u;
  return value ^ value >> 15;
}

/* The messages as they concern each cache, without names. */
static void sign_messages(const struct coh_world_kind *kind, const struct coh_world *world, const int *line_names, uint32_t *signatures)
{
  for (int m = 0; m < world->message_count; m++) {
    uint32_t bits = world->messages[m];
    uint32_t plain = bits >> TYPE_AT << 6 | (uint32_t)line_names[bits >> LINE_AT & 1] << 5 | (bits & 31);
    int roles[] = {bits_device(bits >> SOURCE_AT), bits_device(bits >> TARGET_AT), bits_device(bits >> REQUESTOR_AT)};
    for (int role = 0; role < 3; role++)
      if (roles[role] >= 0) signatures[roles[role]] += mix(plain * 4 + (uint32_t)role + 1);
  }
}

static void sign(const struct coh_world_kind *kind, const struct coh_world *world, const int *line_names, uint32_t *signatures)
{
  for (int c = 0; c < kind->caches; c++) {
    signatures[c] = 0;
    for (int l = 0; l < kind->lines; l++) {
      const struct coh_world_line *line = &world->lines[l];
      uint32_t own = line->caches[c].state | (uint32_t)(line->caches[c].acks + ACKS_BIAS) << 8 | line->versions[c] << 12 |
                     (uint32_t)(line->members >> c & 1) << 13 | (uint32_t)(line->directory.owner_1 == c + 1) << 14 |
                     (uint32_t)(line->directory.requestor_1 == c + 1) << 15 | (uint32_t)line_names[l] << 16;
      signatures[c] += mix(own);
    }
  }
  sign_messages(kind, world, line_names, signatures);
}

/* The signatures in the order that a renaming puts the caches in, against another such order: less than, 0, greater than. */
static int compare_orders(const uint32_t *signatures, const uint8_t *origins, const uint32_t *best, const uint8_t *best_origins, int caches)
{
  for (int c = 0; c < caches; c++) {
    uint32_t a = signatures[origins[c]], b = best[best_origins[c]];
    if (a != b) return a < b ? -1 : 1;
  }
  return 0;
}

static int rename_device(const uint8_t *renaming, int device)
{
  return device < 0 ? device : renaming[device];
}

static uint8_t *pack_line(const struct coh_world_kind *kind, const struct coh_world_line *line, const uint8_t *renaming, uint8_t *to)
{
  const struct coh_directory_entry *directory = &line->directory;
  to[0] = directory->state;
  to[1] = (uint8_t)((rename_device(renaming, directory->owner_1 - 1) + 1) | (rename_device(renaming, directory->requestor_1 - 1) + 1) << 4);
  to[2] = (uint8_t)(rename_members(renaming, kind->caches, line->members) | line->memory_version << 7);
  to += 3;
  for (int c = 0; c < kind->caches; c++) {
    to[2 * renaming[c]] = line->caches[c].state;
    to[2 * renaming[c] + 1] = (uint8_t)((line->caches[c].acks + ACKS_BIAS) | (int)line->versions[c] << 7);
  }
  return to + 2 * kind->caches;
}

static uint32_t rename_message(uint32_t bits, const int *line_names, const uint8_t *names)
{
  uint32_t kept = bits & ~(7u << SOURCE_AT | 7u << TARGET_AT | 7u << REQUESTOR_AT | 1u << LINE_AT);
  return kept | (uint32_t)names[bits >> SOURCE_AT & 7] << SOURCE_AT | (uint32_t)names[bits >> TARGET_AT & 7] << TARGET_AT |
         (uint32_t)names[bits >> REQUESTOR_AT & 7] << REQUESTOR_AT | (uint32_t)line_names[bits >> LINE_AT & 1] << LINE_AT;
}

static int spell(const struct coh_world_kind *kind, const struct coh_world *world, const int *line_names, const uint8_t *renaming,
                 uint8_t *packed)
{
  struct coh_world sorted;
  uint8_t names[8] = {[HOME_BITS] = HOME_BITS}, *to = packed;
  memcpy(names, renaming, COH_WORLD_CACHES);
  *to++ = (uint8_t)world->message_count;
  for (int l = 0; l < kind->lines; l++) to = pack_line(kind, &world->lines[kind->lines == 1 ? 0 : line_names[l]], renaming, to);
  sorted.message_count = world->message_count;
  for (int m = 0; m < world->message_count; m++) sorted.messages[m] = rename_message(world->messages[m], line_names, names);
  sort_messages(&sorted);
  for (int m = 0; m < world->message_count; m++, to += 3) {
    to[0] = (uint8_t)(sorted.messages[m] >> 16);
    to[1] = (uint8_t)(sorted.messages[m] >> 8);
    to[2] = (uint8_t)sorted.messages[m];
  }
  return (int)(to - packed);
}

/* Of the renamings, with either naming of the lines, the best by signatures. */
static void find_best(const struct coh_world_kind *kind, uint32_t signatures[][COH_WORLD_CACHES], int *best_swap, int *best_renaming)
{
  *best_swap = *best_renaming = 0;
  for (int swap = 0; swap < kind->lines; swap++)
    for (int r = 0; r < kind->renaming_count; r++)
      if (compare_orders(signatures[swap], kind->origins[r], signatures[*best_swap], kind->origins[*best_renaming], kind->caches) < 0)
        *best_swap = swap, *best_renaming = r;
}

int coh_world_pack(const struct coh_world_kind *kind, const struct coh_world *world, uint8_t *packed)
{
  static const int line_names[COH_WORLD_LINES][2] = {{0, 1}, {1, 0}};
  uint32_t signatures[COH_WORLD_LINES][COH_WORLD_CACHES];
  uint8_t other[COH_PACKED_SIZE] = {0};
  int best_swap, best;
  for (int swap = 0; swap < kind->lines; swap++) sign(kind, world, line_names[swap], signatures[swap]);
  find_best(kind, signatures, &best_swap, &best);
  int size = spell(kind, world, line_names[best_swap], kind->renamings[best], packed);
  for (int swap = best_swap; swap < kind->lines; swap++)
    for (int r = swap == best_swap ? best + 1 : 0; r < kind->renaming_count; r++) {
      if (compare_orders(signatures[swap], kind->origins[r], signatures[best_swap], kind->origins[best], kind->caches) != 0) continue;
      spell(kind, world, line_names[swap], kind->renamings[r], other);
      if (memcmp(other, packed, (size_t)size) < 0) memcpy(packed, other, (size_t)size);
    }
  return size;
}

void coh_world_unpack(const struct coh_world_kind *kind, const uint8_t *packed, struct coh_world *world)
{
  world->message_count = *packed++;
  for (int l = 0; l < kind->lines; l++) {
    struct coh_world_line *line = &world->lines[l];
    line->directory = (struct coh_directory_entry){.state = packed[0], .owner_1 = packed[1] & 15, .requestor_1 = packed[1] >> 4};
    line->members = packed[2] & 15;
    line->directory.sharers[0] = kind->sets[line->members];
    line->memory_version = packed[2] >> 7;
    packed += 3;
    for (int c = 0; c < kind->caches; c++, packed += 2) {
      line->caches[c] = (struct coh_cache_entry){.state = packed[0], .acks = (int16_t)((packed[1] & 127) - ACKS_BIAS)};
      line->versions[c] = packed[1] >> 7;
    }
  }
  for (int m = 0; m < world->message_count; m++, packed += 3)
    world->messages[m] = (uint32_t)packed[0] << 16 | (uint32_t)packed[1] << 8 | packed[2];
}
