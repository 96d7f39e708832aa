/* Gathering facts about lines; see trace_facts.h.
 *
 * The verdict. A line that one device touches is private, one that nobody stores to is read only. Else, when no byte that one device
 * stores is touched by another, its sharing is false. Where bytes overlap, the misses tell what the overlap amounts to: a block that was
 * cleared by one device and then used by several, each in its own bytes, has false sharing misses and no true ones. With both kinds it
 * is "mostly" the one of which there are more. When no miss was due to sharing (each copy was fetched once), the overlap alone decides.
 *
 * Blocks that are allocated at one time do not overlap, so they form a tree in which "neither before nor after" means "the one that
 * contains it"; an access is counted for the block that is in the tree when it happens.
 */
#include "uma/trace_facts.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

void uma_trace_facts_init(struct uma_trace_facts *facts, const struct uma_trace *trace)
{
  *facts = (struct uma_trace_facts){.trace = trace};
}

/* ---- Blocks ------------------------------------------------------------------------------------------------------ */

static int compare_blocks(const void *a, const void *b)
{
  const struct uma_trace_block *x = a, *y = b;
  if (x->address + x->bytes <= y->address) return -1;
  return y->address + y->bytes <= x->address;
}

static struct uma_trace_block *find_block(const struct uma_trace_facts *facts, uint64_t address, uint64_t bytes)
{
  struct uma_trace_block key = {.address = address, .bytes = bytes};
  struct uma_trace_block *const *found = tfind(&key, &facts->live, compare_blocks);
  return found ? *found : NULL;
}

static int add_block(struct uma_trace_facts *facts, const struct uma_trace_event *event)
{
  if (!event->bytes) return 0;
  /* Blocks of which the trace does not say that they were freed: their records were lost with whoever freed them. */
  for (struct uma_trace_block *old; (old = find_block(facts, event->address, event->bytes));) tdelete(old, &facts->live, compare_blocks);
  struct uma_trace_block *block = calloc(1, sizeof *block);
  if (!block) return -ENOMEM;
  block->address = event->address;
  block->bytes = event->bytes;
  strcpy(block->site, event->site);
  block->next = facts->blocks;
  facts->blocks = block;
  return tsearch(block, &facts->live, compare_blocks) ? 0 : -ENOMEM;
}

static void end_block(struct uma_trace_facts *facts, uint64_t address)
{
  struct uma_trace_block *block = find_block(facts, address, 1);
  if (block && block->address == address) tdelete(block, &facts->live, compare_blocks);
}

static int add_use(struct uma_trace_facts *facts, struct uma_trace_line *line, uint64_t address)
{
  const struct uma_trace_block *block = find_block(facts, address, 1);
  for (int i = 0; i < line->use_count; i++)
    if (line->uses[i].block == block) {
      line->uses[i].accesses++;
      return 0;
    }
  struct uma_trace_use *larger = realloc(line->uses, (size_t)(line->use_count + 1) * sizeof *larger);
  if (!larger) return -ENOMEM;
  line->uses = larger;
  line->uses[line->use_count++] = (struct uma_trace_use){block, 1};
  return 0;
}

/* ---- Lines and devices ------------------------------------------------------------------------------------------- */

static struct uma_trace_line *line_at(struct uma_trace_facts *facts, uint64_t address)
{
  struct uma_trace_line *line;
  HASH_FIND(hh, facts->lines, &address, sizeof address, line);
  if (line) return line;
  line = calloc(1, sizeof *line);
  if (!line) return NULL;
  line->address = address;
  HASH_ADD(hh, facts->lines, address, sizeof line->address, line);
  return line;
}

static struct uma_trace_device *insert_device(struct uma_trace_line *line, int place, int device, size_t words)
{
  struct uma_trace_device *larger = realloc(line->devices, (size_t)(line->device_count + 1) * sizeof *larger);
  if (!larger) return NULL;
  line->devices = larger;
  uint64_t *bits = calloc(2 * words, sizeof *bits);
  if (!bits) return NULL;
  memmove(larger + place + 1, larger + place, (size_t)(line->device_count++ - place) * sizeof *larger);
  larger[place] = (struct uma_trace_device){.device = device, .loads = bits, .stores = bits + words};
  return &larger[place];
}

static struct uma_trace_device *device_of(struct uma_trace_line *line, int device, size_t words)
{
  int low = 0, high = line->device_count;
  while (low < high) {
    int middle = (low + high) / 2;
    if (line->devices[middle].device < device) low = middle + 1;
    else high = middle;
  }
  if (low < line->device_count && line->devices[low].device == device) return &line->devices[low];
  return insert_device(line, low, device, words);
}

/* The program of event->device touched bytes, by a step or without one; or a miss of it ended. */
static int add_access(struct uma_trace_facts *facts, struct uma_trace_line *line, const struct uma_trace_event *event)
{
  struct uma_trace_device *device = device_of(line, event->device, facts->trace->line_bytes / 64);
  if (!device) return -ENOMEM;
  device->misses[event->miss]++;
  line->misses[event->miss]++;
  if (!event->bytes) return 0;
  uint64_t *bits = event->input.type == COH_STORE ? device->stores : device->loads;
  for (uint64_t at = event->offset; at < event->offset + event->bytes; at++) bits[at / 64] |= 1ull << at % 64;
  return add_use(facts, line, line->address + event->offset);
}

/* Did a message take away what the program could read? As the counters of tally.c count it. */
static bool is_invalidation(const struct coh_protocol *protocol, const struct uma_trace_event *event)
{
  const struct coh_state *states = protocol->controllers[COH_CACHE].states;
  return event->input.type >= COH_FIRST_MESSAGE && event->input.target >= 0 && states[event->from].right > COH_RIGHT_NONE &&
         states[event->state].right == COH_RIGHT_NONE;
}

/* The device where a controller is. */
static int place_of(const struct uma_trace_facts *facts, const struct uma_trace_line *line, int controller)
{
  return controller < 0 ? uma_trace_home(facts->trace, line->address) : controller;
}

static bool writes_memory(const struct coh_protocol *protocol, const struct uma_trace_event *event)
{
  const struct coh_controller *directory = &protocol->controllers[COH_DIRECTORY];
  if (event->input.target >= 0 || event->event < 0) return false;
  const struct coh_cell *cell = &directory->cells[event->from][event->event];
  for (int i = 0; i < cell->count; i++)
    if (directory->actions[cell->actions[i]].verb == COH_DO_WRITE_MEMORY) return true;
  return false;
}

static int add_sums(struct uma_trace_facts *facts, struct uma_trace_line *line, const struct uma_trace_event *event)
{
  struct uma_trace_device *device = device_of(line, event->device, facts->trace->line_bytes / 64);
  if (!device) return -ENOMEM;
  for (int i = 0; i < COH_SUMS; i++) {
    device->sums[i] += event->sums[i];
    line->sums[i] += event->sums[i];
  }
  return 0;
}

static void count_sends(struct uma_trace_facts *facts, struct uma_trace_line *line)
{
  for (int i = 0; i < facts->trace->event.send_count; i++) {
    const struct coh_message_type *type = &facts->trace->protocol->messages[facts->trace->sends[i].type];
    uint64_t bytes = COH_WIRE_BYTES + (type->data ? facts->trace->line_bytes : 0);
    facts->messages[type->class]++;
    facts->bytes += bytes;
    line->bytes += bytes;
    line->hops += place_of(facts, line, facts->trace->sends[i].source) != place_of(facts, line, facts->trace->sends[i].target);
  }
  line->messages += (uint64_t)facts->trace->event.send_count;
}

int uma_trace_facts_add(struct uma_trace_facts *facts)
{
  const struct uma_trace_event *event = &facts->trace->event;
  if (event->time_us > facts->end_us) facts->end_us = event->time_us;
  if (event->kind == UMA_TRACE_ALLOC) return add_block(facts, event);
  if (event->kind == UMA_TRACE_FREE) return end_block(facts, event->address), 0;
  struct uma_trace_line *line = line_at(facts, event->address);
  if (!line) return -ENOMEM;
  if (event->kind == UMA_TRACE_SUM) return add_sums(facts, line, event);
  if (event->kind == UMA_TRACE_STEP) {
    facts->steps++;
    line->steps++;
    line->invalidations += is_invalidation(facts->trace->protocol, event);
    line->writebacks += writes_memory(facts->trace->protocol, event);
    count_sends(facts, line);
  }
  return event->bytes || event->miss ? add_access(facts, line, event) : 0;
}

void uma_trace_facts_free(struct uma_trace_facts *facts)
{
  struct uma_trace_line *line = facts->lines, *following;
  while (facts->live) tdelete(*(void **)facts->live, &facts->live, compare_blocks);
  for (struct uma_trace_block *block; (block = facts->blocks); free(block)) facts->blocks = block->next;
  HASH_CLEAR(hh, facts->lines); /* the table; the lines are still a list */
  for (; line; line = following) {
    following = line->hh.next;
    for (int d = 0; d < line->device_count; d++) free(line->devices[d].loads);
    free(line->devices);
    free(line->uses);
    free(line);
  }
}

/* ---- Ranking ----------------------------------------------------------------------------------------------------- */

uint64_t uma_trace_cost(const struct uma_trace_line *line)
{
  return line->misses[COH_MISS_TRUE] + line->misses[COH_MISS_FALSE] + line->misses[COH_MISS_UPGRADE];
}

uint64_t uma_trace_device_misses(const struct uma_trace_device *device)
{
  uint64_t sum = 0;
  for (int kind = COH_MISS_COLD; kind < COH_MISS_UPGRADE; kind++) sum += device->misses[kind];
  return sum;
}

static int descending(uint64_t a, uint64_t b)
{
  return a > b ? -1 : a < b;
}

static int compare_lines(struct uma_trace_line *a, struct uma_trace_line *b)
{
  if (uma_trace_cost(a) != uma_trace_cost(b)) return descending(uma_trace_cost(a), uma_trace_cost(b));
  if (a->messages != b->messages) return descending(a->messages, b->messages);
  return descending(b->address, a->address);
}

static int compare_uses(const void *a, const void *b)
{
  return descending(((const struct uma_trace_use *)a)->accesses, ((const struct uma_trace_use *)b)->accesses);
}

void uma_trace_facts_rank(struct uma_trace_facts *facts)
{
  HASH_SORT(facts->lines, compare_lines);
  for (struct uma_trace_line *line = facts->lines; line; line = line->hh.next)
    if (line->use_count) qsort(line->uses, (size_t)line->use_count, sizeof *line->uses, compare_uses);
}

/* ---- The verdict ------------------------------------------------------------------------------------------------- */

/* Is a byte that one device stores touched by another? */
static bool do_bytes_overlap(const struct uma_trace_line *line, size_t words)
{
  uint64_t stored[COH_LINE_MOST / 64] = {0}, touched[COH_LINE_MOST / 64] = {0};
  for (int d = 0; d < line->device_count; d++)
    for (size_t i = 0; i < words; i++) {
      uint64_t stores = line->devices[d].stores[i], touches = stores | line->devices[d].loads[i];
      if (stores & touched[i] || touches & stored[i]) return true;
      stored[i] |= stores;
      touched[i] |= touches;
    }
  return false;
}

static bool is_stored_to(const struct uma_trace_line *line, size_t words)
{
  for (int d = 0; d < line->device_count; d++)
    for (size_t i = 0; i < words; i++)
      if (line->devices[d].stores[i]) return true;
  return false;
}

const char *uma_trace_verdict(const struct uma_trace *trace, const struct uma_trace_line *line)
{
  size_t words = trace->line_bytes / 64;
  uint64_t truly = line->misses[COH_MISS_TRUE], falsely = line->misses[COH_MISS_FALSE];
  if (line->device_count < 2) return "private";
  if (!is_stored_to(line, words)) return "read only";
  if (!do_bytes_overlap(line, words)) return "false sharing";
  if (!falsely) return "true sharing";
  if (!truly) return "false sharing";
  return falsely > truly ? "mostly false sharing" : "mostly true sharing";
}

uint32_t uma_trace_run(const uint64_t *bits, uint32_t count, uint32_t from, uint32_t *begin)
{
  uint32_t at = from;
  while (at < count && !(bits[at / 64] >> at % 64 & 1)) at++;
  *begin = at;
  while (at < count && bits[at / 64] >> at % 64 & 1) at++;
  return at - *begin;
}
