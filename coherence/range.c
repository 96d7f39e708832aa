/* Ranges, atomic words, and giving everything up: by lines, each a hit or an access of its own (engine.h). Nothing here takes a lock but that of
 * one frame, by the inline hits. */
#include <errno.h>

#include "coherence/engine.h"
#include "coherence/pages.h"
#include "coherence/tally.h"

static bool hit_get(struct coh_engine *engine, uint64_t line, struct coh_access *access)
{
  uint64_t control;
  uint32_t index = coh_hint(engine, line);
  struct coh_frame *frame = &engine->frames[index];
  if (!coh_is_readable(frame, line, &control)) return false;
  engine->ops->perform(engine, frame, access);
  if (!coh_is_unchanged(frame, control)) return false;
  coh_frame_note(engine, index);
  return true;
}

static bool hit_put(struct coh_engine *engine, uint64_t line, struct coh_access *access)
{
  uint64_t control;
  uint32_t index = coh_hint(engine, line);
  if (!coh_hit_lock(engine, index, line, &control)) return false;
  engine->ops->perform(engine, &engine->frames[index], access);
  coh_hit_unlock(engine, index, control);
  return true;
}

static int do_range(struct coh_engine *engine, struct coh_access *access, uint64_t offset, size_t bytes)
{
  for (size_t part; bytes; bytes -= part, offset += part) {
    size_t left = engine->shape.line_bytes - (offset & engine->line_mask);
    uint64_t line = offset >> engine->line_shift;
    part = bytes < left ? bytes : left;
    access->offset = (uint32_t)(offset & engine->line_mask);
    access->bytes = (uint32_t)part;
    bool hit = access->deed == COH_GET ? hit_get(engine, line, access) : hit_put(engine, line, access);
    int result = hit ? 0 : coh_access_line(engine, line, access);
    if (result) return result;
    if (access->get) access->get = (unsigned char *)access->get + part;
    if (access->put) access->put = (const unsigned char *)access->put + part;
  }
  return 0;
}

int coh_get(struct coh_engine *engine, void *local, uint64_t offset, size_t bytes)
{
  struct coh_access access = {.input = COH_LOAD, .deed = COH_GET, .get = local};
  return do_range(engine, &access, offset, bytes);
}

int coh_put(struct coh_engine *engine, uint64_t offset, const void *local, size_t bytes)
{
  struct coh_access access = {.input = COH_STORE, .deed = COH_PUT, .put = local};
  return do_range(engine, &access, offset, bytes);
}

int coh_atomic(struct coh_engine *engine, enum fab_atomic op, uint64_t offset, unsigned bytes, uint64_t operand, uint64_t expected,
               uint64_t *old)
{
  struct coh_access access = {.input = op == FAB_LOAD ? COH_LOAD : COH_STORE,
                              .deed = COH_ATOMIC,
                              .op = (uint8_t)op,
                              .offset = (uint32_t)(offset & engine->line_mask),
                              .bytes = bytes,
                              .operand = operand,
                              .expected = expected};
  int result = coh_access_line(engine, offset >> engine->line_shift, &access);
  *old = access.old;
  return result;
}

int coh_flush(struct coh_engine *engine)
{
  int first = 0;
  if (engine->tally) coh_tally_flush(engine);
  if (engine->pages) return coh_pages_flush(engine);
  for (size_t i = 0; i < engine->frame_count; i++) {
    struct coh_patience patience = {0};
    uint64_t line_1 = atomic_load_explicit(&engine->frames[i].line_1, memory_order_relaxed);
    int result = line_1 ? coh_evict(engine, line_1 - 1) : 0;
    for (; result == -EAGAIN; result = coh_evict(engine, line_1 - 1)) coh_wait_turn(&patience);
    if (result && !first) first = result;
  }
  return first;
}
