/* Worlds of the checker: what can happen next, what it leads to, and the one spelling of worlds that are alike.
 *
 * A cache's part in a line is 16 bits: its own entry, its data bit, and what the directory says of it; all of a line is the parts of its
 * caches, the directory's state, memory's bit and the messages. Packed: the number of messages; per line the directory's state with
 * memory's bit, and the parts; then three bytes a message, in ascending order.
 *
 * To choose among the spellings, each cache has a key that does not depend on names: its parts, and a sum over the messages that mention
 * it. Each line has a key likewise, of its caches' keys. The spelling is the least of those that put the lines and then the caches in
 * ascending order: which renamings these are does not depend on the names that a world happens to have, nor does, therefore, the least.
 * Mostly it is one; caches of one key that no message mentions can trade names without a trace, so their order is left as it is.
 */
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "coherence/world.h"

/* A part. Zero is the initial one. */
enum { STATE_AT = 0, ACKS_AT = 6, FRESH_AT = 12, MEMBER_AT = 13, OWNER_AT = 14, REQUESTOR_AT = 15 };
enum { STATE_MASK = 63, ACKS_MASK = 63, ACKS_SIGN = 32, DIRECTORY_MASK = 1 << MEMBER_AT | 1 << OWNER_AT | 1 << REQUESTOR_AT };
_Static_assert((int)COH_MAX_STATES <= STATE_MASK + 1, "a state fits into a part");
_Static_assert((int)COH_WORLD_ACKS < ACKS_SIGN, "and so do the acks");

/* A message in 20 bits; a device is its number or HOME_BITS. */
enum { DEVICE_BITS = 3, DEVICES_BITS = 3 * DEVICE_BITS, DEVICE_MASK = 7, DEVICES_MASK = 511, HOME_BITS = 7, COUNT_BIAS = 8 };
enum { M_FRESH_AT = 0, M_ACKS_AT = 1, M_REQUESTOR_AT = 5, M_TARGET_AT = 8, M_SOURCE_AT = 11, M_LINE_AT = 14, M_TYPE_AT = 15 };
_Static_assert((int)COH_WORLD_CACHES <= HOME_BITS && (int)COH_WORLD_DEVICES == HOME_BITS + 1, "devices have three bits");

static uint32_t device_bits(int device)
{
  return (uint32_t)device & DEVICE_MASK;
}

static int bits_device(uint32_t bits)
{
  return (bits & DEVICE_MASK) == HOME_BITS ? COH_HOME : (int)(bits & DEVICE_MASK);
}

static uint32_t pack_message(const struct coh_message *message, int line, bool fresh)
{
  return (uint32_t)fresh << M_FRESH_AT | (uint32_t)(message->acks + COUNT_BIAS) << M_ACKS_AT |
         device_bits(message->requestor) << M_REQUESTOR_AT | device_bits(message->target) << M_TARGET_AT |
         device_bits(message->source) << M_SOURCE_AT | (uint32_t)line << M_LINE_AT | (uint32_t)message->type << M_TYPE_AT;
}

static int line_of(uint32_t message)
{
  return (int)(message >> M_LINE_AT & 1);
}

static struct coh_move unpack_message(uint32_t bits, int place)
{
  return (struct coh_move){.input = {.type = (uint8_t)(bits >> M_TYPE_AT),
                                     .acks = (int16_t)((int)(bits >> M_ACKS_AT & 15) - COUNT_BIAS),
                                     .source = (int16_t)bits_device(bits >> M_SOURCE_AT),
                                     .target = (int16_t)bits_device(bits >> M_TARGET_AT),
                                     .requestor = (int16_t)bits_device(bits >> M_REQUESTOR_AT)},
                           .line = (int8_t)line_of(bits),
                           .message = (int8_t)place,
                           .fresh = bits >> M_FRESH_AT & 1};
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

static unsigned origins_index(const struct coh_world_kind *kind, const uint8_t *origins)
{
  unsigned index = 0;
  for (int c = 0; c < kind->caches; c++) index |= (unsigned)origins[c] << 2 * c;
  return index;
}

static unsigned place_bit(int name, int cache)
{
  return 1u << (name * COH_WORLD_CACHES + cache);
}

/* `devices` are those of a message, as they lie in it. */
static uint16_t rename_devices(const struct coh_world_kind *kind, const uint8_t *renaming, unsigned devices)
{
  unsigned renamed = 0;
  for (int at = 0; at < DEVICES_BITS; at += DEVICE_BITS) {
    unsigned device = devices >> at & HOME_BITS;
    renamed |= (device < (unsigned)kind->caches ? renaming[device] : device) << at;
  }
  return (uint16_t)renamed;
}

static void keep_renaming(struct coh_world_kind *kind, const uint8_t *renaming)
{
  struct coh_renaming *kept = &kind->renamings[kind->renaming_count];
  if (!sets_follow(kind, renaming)) return;
  for (int c = 0; c < kind->caches; c++) {
    kept->origins[renaming[c]] = (uint8_t)c;
    kept->places |= (uint16_t)place_bit(renaming[c], c);
  }
  for (unsigned d = 0; d < 1u << DEVICES_BITS; d++) kept->devices[d] = rename_devices(kind, renaming, d);
  kind->renaming_of[origins_index(kind, kept->origins)] = (uint8_t)kind->renaming_count++;
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

static void make_accesses(struct coh_world_kind *kind)
{
  for (int line = 0; line < kind->lines; line++)
    for (int cache = 0; cache < kind->caches; cache++)
      for (int access = 0; access < COH_FIRST_MESSAGE; access++)
        kind->accesses[line][cache][access] = (struct coh_move){.input = coh_access(access, cache), .line = (int8_t)line, .message = -1};
}

/* Whether an access stalls is looked up here once for all worlds. One whose events have facts is always tried. */
static void make_stalls(struct coh_world_kind *kind)
{
  const struct coh_controller *controller = &kind->protocol->controllers[COH_CACHE];
  for (int state = 0; state < controller->state_count; state++)
    for (int access = 0; access < COH_FIRST_MESSAGE; access++) {
      int8_t event = controller->event_of[access][0];
      if (!state && access == COH_EVICT) continue; /* there is nothing to evict */
      if (!controller->facts_of[access] && event >= 0 && controller->cells[state][event].kind == COH_CELL_STALL)
        kind->stalls[state] |= 1ull << event;
      else kind->tried[state] |= (uint8_t)(1 << access);
    }
}

int coh_world_kind_make(struct coh_world_kind *kind, const struct coh_protocol *protocol, const char *sharers, int caches, int lines)
{
  static const int all_renamings[COH_WORLD_CACHES + 1] = {1, 1, 2, 6, 24};
  uint8_t renaming[COH_WORLD_CACHES] = {0};
  /* so small that the set is inexact even here */
  int parameter = !strcmp(sharers, "limited") ? 1 : !strcmp(sharers, "coarse") ? 2 : 0;
  *kind = (struct coh_world_kind){.protocol = protocol, .caches = caches, .lines = lines};
  int result = coh_sharer_kind_make(sharers, caches, parameter, &kind->sharers);
  if (result || kind->sharers.words != 1) return -EINVAL;
  make_sets(kind);
  make_accesses(kind);
  make_stalls(kind);
  make_renamings(kind, renaming, 0, 0);
  kind->any_renaming = kind->renaming_count == all_renamings[caches];
  return 0;
}

void coh_world_init(const struct coh_world_kind *kind, struct coh_world *world)
{
  memset(world, 0, sizeof *world);
  for (int l = 0; l < kind->lines; l++) world->lines[l].memory_fresh = true;
}

/* ---- Parts and mentions ------------------------------------------------------------------------------------------ */

static struct coh_cache_entry part_entry(unsigned part)
{
  int acks = (int)((part >> ACKS_AT & ACKS_MASK) ^ ACKS_SIGN) - ACKS_SIGN;
  return (struct coh_cache_entry){.state = part >> STATE_AT & STATE_MASK, .acks = (int16_t)acks};
}

static unsigned entry_part(const struct coh_cache_entry *entry)
{
  return (unsigned)entry->state << STATE_AT | ((unsigned)entry->acks & ACKS_MASK) << ACKS_AT;
}

/* Writes into the parts what the directory says of the caches. */
static void spread_directory(const struct coh_world_kind *kind, struct coh_world_line *line)
{
  unsigned members = members_of(kind, line->directory.sharers);
  for (int c = 0; c < kind->caches; c++) {
    unsigned said = (members >> c & 1) << MEMBER_AT | (unsigned)(line->directory.owner_1 == c + 1) << OWNER_AT |
                    (unsigned)(line->directory.requestor_1 == c + 1) << REQUESTOR_AT;
    line->parts[c] = (uint16_t)((line->parts[c] & ~DIRECTORY_MASK) | said);
  }
}

/* The same backwards. */
static void gather_directory(const struct coh_world_kind *kind, struct coh_world_line *line, int state)
{
  unsigned members = 0;
  line->directory = (struct coh_directory_entry){.state = (uint8_t)state};
  for (int c = 0; c < kind->caches; c++) {
    members |= (unsigned)(line->parts[c] >> MEMBER_AT & 1) << c;
    if (line->parts[c] >> OWNER_AT & 1) line->directory.owner_1 = (uint16_t)(c + 1);
    if (line->parts[c] >> REQUESTOR_AT & 1) line->directory.requestor_1 = (uint16_t)(c + 1);
  }
  line->directory.sharers[0] = kind->sets[members];
}

/* What a message adds to the sum of a device that it names in one of three roles: 1, so that the low byte counts the mentions (fewer than
 * 256, so 0 is certain to mean none), and above it a signature of the message without names. It leaves out the data bit, which a store
 * changes in many messages at once: two worlds of equal keys need not be alike, they are only more work to tell apart. */
static uint32_t mention(uint32_t message, int role)
{
  uint64_t plain = message >> M_TYPE_AT << 4 | (message >> M_ACKS_AT & 15);
  return ((uint32_t)(plain * 0x9e3779b97f4a7c15ull >> 16 * role) & ~255u) | 1;
}
_Static_assert(3 * COH_WORLD_MESSAGES < 256, "the mentions can be counted in a byte");

static void mention_all(struct coh_world *world, uint32_t message, uint32_t sign)
{
  uint32_t *mentions = world->lines[line_of(message)].mentions;
  mentions[message >> M_SOURCE_AT & DEVICE_MASK] += mention(message, 0) * sign;
  mentions[message >> M_TARGET_AT & DEVICE_MASK] += mention(message, 1) * sign;
  mentions[message >> M_REQUESTOR_AT & DEVICE_MASK] += mention(message, 2) * sign;
}

static bool add_message(struct coh_world *world, const struct coh_message *message, int line, bool fresh)
{
  if (world->message_count == COH_WORLD_MESSAGES) return false;
  uint32_t bits = pack_message(message, line, fresh);
  world->messages[world->message_count++] = bits;
  mention_all(world, bits, 1);
  return true;
}

/* *next becomes the world without the message that the move delivers. */
static void copy_without(const struct coh_world *world, const struct coh_move *move, struct coh_world *next)
{
  int count = 0;
  memcpy(next->lines, world->lines, sizeof next->lines);
  for (int m = 0; m < world->message_count; m++) {
    next->messages[count] = world->messages[m];
    count += m != move->message;
  }
  next->message_count = count;
  if (move->message >= 0) mention_all(next, world->messages[move->message], -1u);
}

/* ---- Moves ------------------------------------------------------------------------------------------------------- */

int coh_world_cache_state(const struct coh_world *world, int line, int cache)
{
  return world->lines[line].parts[cache] >> STATE_AT & STATE_MASK;
}

int coh_world_moves(const struct coh_world_kind *kind, const struct coh_world *world, struct coh_move *moves)
{
  int count = 0;
  for (int m = 0; m < world->message_count; m++) /* equal messages stand side by side; which one comes makes no difference */
    if (!m || world->messages[m] != world->messages[m - 1]) moves[count++] = unpack_message(world->messages[m], m);
  for (int line = 0; line < kind->lines; line++)
    for (int cache = 0; cache < kind->caches; cache++) {
      unsigned tried = kind->tried[coh_world_cache_state(world, line, cache)];
      for (int access = 0; tried; access++, tried >>= 1)
        if (tried & 1) moves[count++] = kind->accesses[line][cache][access];
    }
  return count;
}

static void forget_store(const struct coh_world_kind *kind, struct coh_world *world, int line)
{
  struct coh_world_line *at = &world->lines[line];
  at->memory_fresh = false;
  for (int c = 0; c < kind->caches; c++) at->parts[c] &= (uint16_t) ~(1u << FRESH_AT);
  for (int m = 0; m < world->message_count; m++)
    if (line_of(world->messages[m]) == line) world->messages[m] &= ~(1u << M_FRESH_AT);
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

/* A load that hits leads back to where it came from. */
static bool changes_nothing(const struct coh_move *move, const struct coh_outcome *outcome)
{
  return move->message < 0 && outcome->from == outcome->state && !outcome->send_count && outcome->deeds == COH_DEED_LOAD;
}

static enum coh_move_result undone(const struct coh_outcome *outcome)
{
  return outcome->result == COH_STALLED ? COH_MOVE_STALLED : COH_MOVE_UNHANDLED;
}

/* A cache's messages carry the line as it is before a store. */
static enum coh_move_result move_cache(const struct coh_world_kind *kind, const struct coh_world *world, const struct coh_move *move,
                                       struct coh_world *next, struct coh_outcome *outcome)
{
  unsigned part = world->lines[move->line].parts[move->input.target];
  struct coh_cache_entry entry = part_entry(part);
  coh_cache_step(kind->protocol, &entry, &move->input, outcome);
  if (outcome->result != COH_DONE) return undone(outcome);
  bool fresh = outcome->deeds & COH_DEED_FILL ? move->fresh : part >> FRESH_AT & 1;
  if (outcome->deeds & COH_DEED_LOAD && !fresh) return COH_MOVE_STALE_LOAD;
  if (outcome->deeds & COH_DEED_STORE && !fresh) return COH_MOVE_STALE_STORE;
  if (entry.acks > COH_WORLD_ACKS || entry.acks < -COH_WORLD_ACKS) return COH_MOVE_ACKS;
  if (changes_nothing(move, outcome)) return COH_MOVE_IDLE;
  copy_without(world, move, next);
  if (!add_sends(kind, next, move->line, fresh, outcome)) return COH_MOVE_CROWDED;
  if (outcome->deeds & COH_DEED_STORE) forget_store(kind, next, move->line);
  fresh = fresh && kind->protocol->controllers[COH_CACHE].states[outcome->state].holds_data;
  next->lines[move->line].parts[move->input.target] =
      (uint16_t)((part & DIRECTORY_MASK) | (unsigned)fresh << FRESH_AT | entry_part(&entry));
  return COH_MOVED;
}

static enum coh_move_result move_directory(const struct coh_world_kind *kind, const struct coh_world *world, const struct coh_move *move,
                                           struct coh_world *next, struct coh_outcome *outcome)
{
  struct coh_world_line line = world->lines[move->line], *after = &next->lines[move->line];
  coh_directory_step(kind->protocol, &kind->sharers, &line.directory, &move->input, outcome);
  if (outcome->result != COH_DONE) return undone(outcome);
  copy_without(world, move, next);
  memcpy(after->room, line.room, sizeof line.room);
  if (outcome->deeds & COH_DEED_WRITE_MEMORY) after->memory_fresh = move->fresh;
  spread_directory(kind, after);
  return add_sends(kind, next, move->line, after->memory_fresh, outcome) ? COH_MOVED : COH_MOVE_CROWDED;
}

enum coh_move_result coh_world_move(const struct coh_world_kind *kind, const struct coh_world *world, const struct coh_move *move,
                                    struct coh_world *next, struct coh_outcome *outcome)
{
  if (move->input.target == COH_HOME) return move_directory(kind, world, move, next, outcome);
  return move_cache(kind, world, move, next, outcome);
}

const struct coh_invariant *coh_world_broken(const struct coh_world_kind *kind, const struct coh_world *world, struct coh_breach *breach)
{
  for (int l = 0; l < kind->lines; l++) {
    const struct coh_world_line *line = &world->lines[l];
    struct coh_cache_entry caches[COH_WORLD_CACHES];
    uint32_t versions[COH_WORLD_CACHES];
    for (int c = 0; c < kind->caches; c++) {
      caches[c] = part_entry(line->parts[c]);
      versions[c] = line->parts[c] >> FRESH_AT & 1;
    }
    struct coh_view view = {
        kind->protocol, &kind->sharers, &line->directory, caches, versions, line->memory_fresh, 1, world->message_count == 0, 0};
    const struct coh_invariant *broken = coh_broken_invariant(&view, breach);
    if (broken) return broken;
  }
  return NULL;
}

/* ---- Spelling ---------------------------------------------------------------------------------------------------- */

/* Names for the caches: who each was, and the keys in that order. */
struct order {
  uint64_t key_of[COH_WORLD_CACHES]; /* by old name */
  uint64_t keys[COH_WORLD_CACHES];   /* by new name */
  uint8_t origins[COH_WORLD_CACHES];
};

static unsigned directory_byte(const struct coh_world_line *line)
{
  return line->directory.state | (unsigned)line->memory_fresh << 7;
}

static uint64_t line_key(const struct coh_world_kind *kind, const struct coh_world_line *line)
{
  uint64_t sum = 0;
  for (int c = 0; c < kind->caches; c++) {
    uint64_t value = ((uint64_t)line->mentions[c] << 16 | line->parts[c]) * 0x9e3779b97f4a7c15ull;
    sum += value ^ value >> 29;
  }
  return sum;
}

/* Of two lines: less than 0 when the first comes first whatever their names, 0 when that is not known. */
static int compare_lines(const struct coh_world_kind *kind, const struct coh_world_line *line, const struct coh_world_line *other)
{
  int difference = (int)directory_byte(line) - (int)directory_byte(other);
  if (difference) return difference;
  uint64_t key = line_key(kind, line), other_key = line_key(kind, other);
  return (key > other_key) - (key < other_key);
}

/* The parts, and below them the mentions, whose count remains in the lowest byte. */
static uint64_t cache_key(const struct coh_world_kind *kind, const struct coh_world *world, int first_line, int cache)
{
  const struct coh_world_line *first = &world->lines[first_line], *second = &world->lines[!first_line];
  uint64_t parts = (uint64_t)first->parts[cache] << 48;
  uint32_t mentions = first->mentions[cache];
  if (kind->lines > 1) {
    parts |= (uint64_t)second->parts[cache] << 32;
    mentions += second->mentions[cache] + (second->mentions[cache] & ~255u) * 4; /* so that it matters of which line they are */
  }
  return parts | mentions;
}

static bool is_mentioned(uint64_t key)
{
  return key & 255;
}

static void sort_caches(const struct coh_world_kind *kind, struct order *order)
{
  for (int c = 0; c < kind->caches; c++) {
    uint64_t key = order->key_of[c];
    int place = c;
    for (; place && order->keys[place - 1] > key; place--) {
      order->keys[place] = order->keys[place - 1];
      order->origins[place] = order->origins[place - 1];
    }
    order->keys[place] = key;
    order->origins[place] = (uint8_t)c;
  }
}

static void take_order(const struct coh_world_kind *kind, struct order *order, const uint8_t *origins)
{
  memcpy(order->origins, origins, sizeof order->origins);
  for (int c = 0; c < kind->caches; c++) order->keys[c] = order->key_of[origins[c]];
}

/* The place of the first key that another order has otherwise, or the number of caches. */
static int first_difference(const struct coh_world_kind *kind, const struct order *order, const uint8_t *origins)
{
  int c = 0;
  while (c < kind->caches && order->key_of[origins[c]] == order->keys[c]) c++;
  return c;
}

/* Sorts as far as the renamings that are allowed can. */
static void choose_order(const struct coh_world_kind *kind, struct order *order)
{
  take_order(kind, order, kind->renamings[0].origins);
  for (int r = 1; r < kind->renaming_count; r++) {
    int c = first_difference(kind, order, kind->renamings[r].origins);
    if (c < kind->caches && order->key_of[kind->renamings[r].origins[c]] < order->keys[c])
      take_order(kind, order, kind->renamings[r].origins);
  }
}

/* Can caches trade names so that the keys stay in order? Where only some renamings are allowed, that is looked up anyway. */
static bool has_ties(const struct coh_world_kind *kind, const struct order *order)
{
  bool tie = !kind->any_renaming;
  for (int c = 1; c < kind->caches; c++) tie |= order->keys[c] == order->keys[c - 1] && is_mentioned(order->keys[c]);
  return tie;
}

/* Which cache may have which name, as the bits of renamings' places: any with the name's key. Caches that no message mentions keep their
 * names, since trading them changes nothing; but where only some renamings are allowed, the others may not be able to trade alone. */
static unsigned tied_places(const struct coh_world_kind *kind, const struct order *order)
{
  unsigned places = 0;
  for (int name = 0; name < kind->caches; name++) {
    bool keeps = kind->any_renaming && !is_mentioned(order->keys[name]);
    for (int cache = 0; cache < kind->caches; cache++)
      if (keeps ? order->origins[name] == cache : order->key_of[cache] == order->keys[name]) places |= place_bit(name, cache);
  }
  return places;
}

/* The messages under their new names, in ascending order. */
static uint8_t *spell_messages(const struct coh_world *world, int first_line, const struct coh_renaming *renaming, uint8_t *to)
{
  uint32_t sorted[COH_WORLD_MESSAGES];
  for (int m = 0; m < world->message_count; m++) {
    uint32_t bits = world->messages[m], devices = bits >> M_REQUESTOR_AT & DEVICES_MASK;
    bits ^= (devices ^ renaming->devices[devices]) << M_REQUESTOR_AT ^ (uint32_t)first_line << M_LINE_AT;
    int place = m;
    for (; place && sorted[place - 1] > bits; place--) sorted[place] = sorted[place - 1];
    sorted[place] = bits;
  }
  for (int m = 0; m < world->message_count; m++, to += 3) {
    uint32_t little_endian = htole32(sorted[m]);
    memcpy(to, &little_endian, 4);
  }
  return to;
}

static int spell(const struct coh_world_kind *kind, const struct coh_world *world, int first_line, const struct coh_renaming *renaming,
                 uint64_t *packed)
{
  uint8_t *to = (uint8_t *)packed;
  *to++ = (uint8_t)world->message_count;
  for (int l = 0; l < kind->lines; l++) {
    const struct coh_world_line *line = &world->lines[l ^ first_line];
    *to++ = (uint8_t)directory_byte(line);
    for (int c = 0; c < kind->caches; c++, to += 2) memcpy(to, &line->parts[renaming->origins[c]], 2);
  }
  to = spell_messages(world, first_line, renaming, to);
  memset(to, 0, 8);
  return (int)(to - (uint8_t *)packed + 7) / 8;
}

static void keep_less(uint64_t *packed, const uint64_t *other, int words)
{
  for (int w = 0; w < words; w++) {
    if (packed[w] == other[w]) continue;
    if (other[w] < packed[w]) memcpy(packed, other, sizeof *packed * (size_t)words);
    return;
  }
}

/* The least spelling with the lines in this order. */
static int pack_lines(const struct coh_world_kind *kind, const struct coh_world *world, int first_line, uint64_t *packed)
{
  struct order order;
  uint64_t other[COH_PACKED_WORDS];
  for (int c = 0; c < kind->caches; c++) order.key_of[c] = cache_key(kind, world, first_line, c);
  if (kind->any_renaming) sort_caches(kind, &order);
  else choose_order(kind, &order);
  int chosen = kind->renaming_of[origins_index(kind, order.origins)];
  int words = spell(kind, world, first_line, &kind->renamings[chosen], packed);
  if (!has_ties(kind, &order)) return words;
  unsigned places = tied_places(kind, &order);
  for (int r = 0; r < kind->renaming_count; r++) {
    if (r == chosen || kind->renamings[r].places & ~places) continue;
    spell(kind, world, first_line, &kind->renamings[r], other);
    keep_less(packed, other, words);
  }
  return words;
}

int coh_world_pack(const struct coh_world_kind *kind, const struct coh_world *world, uint64_t *packed)
{
  uint64_t other[COH_PACKED_WORDS];
  if (kind->lines == 1) return pack_lines(kind, world, 0, packed);
  int order = compare_lines(kind, &world->lines[0], &world->lines[1]);
  int words = pack_lines(kind, world, order > 0, packed);
  if (order) return words;
  pack_lines(kind, world, 1, other);
  keep_less(packed, other, words);
  return words;
}

void coh_world_unpack(const struct coh_world_kind *kind, const uint64_t *packed, struct coh_world *world)
{
  const uint8_t *from = (const uint8_t *)packed;
  world->message_count = *from++;
  for (int l = 0; l < kind->lines; l++) {
    struct coh_world_line *line = &world->lines[l];
    int directory = *from++;
    line->memory_fresh = directory >> 7;
    memset(line->mentions, 0, sizeof line->mentions);
    memcpy(line->parts, from, 2 * (size_t)kind->caches);
    gather_directory(kind, line, directory & 127);
    from += 2 * kind->caches;
  }
  for (int m = 0; m < world->message_count; m++, from += 3) {
    world->messages[m] = (uint32_t)from[2] << 16 | (uint32_t)from[1] << 8 | from[0];
    mention_all(world, world->messages[m], 1);
  }
}

int coh_packed_messages(const uint64_t *packed)
{
  return *(const uint8_t *)packed;
}

int coh_packed_words(const struct coh_world_kind *kind, const uint64_t *packed)
{
  return (1 + kind->lines * (1 + 2 * kind->caches) + 3 * coh_packed_messages(packed) + 7) / 8;
}
