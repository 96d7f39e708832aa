/* Makes a trace like the public one: conversations of several turns that all begin with one system prompt.
 *
 * Of twenty requests thirteen open a conversation: the system prompt's block, for every fourth one more blocks of one of 63 common
 * instructions, then a prompt of its own. Seven continue an earlier one: all blocks of the request some distance back but the
 * last, which was not full, then new blocks for the answer and the next question. Lengths, distances and the ranks of the
 * instructions are drawn log-uniformly (each power of two equally often), which for ranks is Zipf's law with exponent 1. All
 * arithmetic is on integers: a seed gives the same trace on every machine.
 *
 * The constants are set so that 12,031 requests come near the public conversation trace of as many (in brackets): 23.6 blocks a
 * request (24.0); with 8 devices of 5,000 blocks a hit rate of 0.33 as a pool (0.351) and 0.106 as private caches (0.106).
 */
#include <stdbool.h>
#include <string.h>

#include "examples/kvpool/trace.h"

#define LONGEST 256 /* blocks: 128K tokens */
#define INSTRUCTIONS_LOG2 6
#define INSTRUCTION_MAX 4 /* blocks */
#define NEW_MAX_LOG2 5    /* a new part has 1 to 63 blocks */
#define NEAREST_LOG2 6    /* a conversation goes on after 64 to 4095 requests */
#define FARTHEST_LOG2 11

struct generator {
  uint64_t state;
  uint64_t next_id;
  struct kv_draft *draft;
  uint64_t ids[LONGEST];
  size_t count;
};

static uint64_t draw(struct generator *generator, uint64_t below) /* splitmix64 */
{
  uint64_t z = generator->state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return (z ^ (z >> 31)) % below;
}

static uint64_t draw_log(struct generator *generator, unsigned from_log2, unsigned to_log2)
{
  uint64_t power = (uint64_t)1 << (from_log2 + draw(generator, to_log2 - from_log2 + 1));
  return power + draw(generator, power);
}

static void push(struct generator *generator, uint64_t id)
{
  if (generator->count < LONGEST) generator->ids[generator->count++] = id;
}

static void push_new(struct generator *generator)
{
  for (uint64_t left = draw_log(generator, 0, NEW_MAX_LOG2); left > 0; left--) push(generator, generator->next_id++);
}

static void open_conversation(struct generator *generator)
{
  push(generator, 0);
  if (draw(generator, 4) == 0) {
    uint64_t rank = draw_log(generator, 0, INSTRUCTIONS_LOG2 - 1);
    for (uint64_t i = 0; i < 1 + rank % INSTRUCTION_MAX; i++) push(generator, rank * INSTRUCTION_MAX + i);
  }
  push_new(generator);
}

/* False when there is no request that far back, or it is too long to be continued. */
static bool continue_conversation(struct generator *generator)
{
  const struct kv_draft *draft = generator->draft;
  uint64_t distance = draw_log(generator, NEAREST_LOG2, FARTHEST_LOG2);
  if (distance > draft->requests) return false;
  size_t old = draft->requests - distance;
  size_t begin = old ? draft->ends[old - 1] : 0;
  size_t kept = draft->ends[old] - begin - 1;
  if (kept >= LONGEST - LONGEST / 4) return false;
  memcpy(generator->ids, draft->ids + begin, kept * sizeof *generator->ids);
  generator->count = kept;
  push_new(generator);
  return true;
}

int kv_generate(size_t requests, uint64_t seed, struct kv_draft *draft)
{
  struct generator generator = {.state = seed, .next_id = (INSTRUCTION_MAX + 1) << INSTRUCTIONS_LOG2, .draft = draft};
  int error = 0;
  while (!error && draft->requests < requests) {
    generator.count = 0;
    if (draw(&generator, 20) < 13 || !continue_conversation(&generator)) open_conversation(&generator);
    error = kv_draft_add(draft, generator.ids, generator.count);
  }
  return error;
}
