/* What the devices of a domain share for the engine, and one process's view of it. The layout follows from the shape alone. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "coherence/engine.h"
#include "coherence/tally.h"
#include "coherence/trace.h"

struct coh_area {
  struct coh_shape shape;
  _Atomic uint64_t last; /* number given by coh_area_next */
  _Atomic uint64_t lost; /* lines */
  struct coh_protocol protocol;
  char text[COH_TEXT_SIZE];
};

/* Byte offsets; parts of a device lie in a row. The last three only when tracked or traced. */
struct layout {
  size_t counters, clocks, frames, data, directories, stamps, records, traces, bytes;
};

static size_t reserve(size_t *end, size_t bytes)
{
  size_t begin = *end;
  *end = (begin + bytes + 4095) / 4096 * 4096;
  return begin;
}

static size_t frames_of(const struct coh_shape *shape)
{
  return shape->sets * (size_t)shape->ways;
}

static size_t record_bytes(const struct coh_shape *shape)
{
  return sizeof(uint64_t) + 2 * (shape->line_bytes / 64) * sizeof(uint64_t);
}

static struct coh_sharer_kind sharers_of(const struct coh_shape *shape)
{
  struct coh_sharer_kind kind = {0};
  coh_sharer_kind_make(shape->sharers, shape->devices, 0, &kind);
  return kind;
}

static struct layout layout_of(const struct coh_shape *shape)
{
  struct coh_sharer_kind kind = sharers_of(shape);
  size_t n = (size_t)shape->devices, frames = n * frames_of(shape), memory = n * shape->window_bytes, end = 0;
  struct layout layout;
  reserve(&end, sizeof(struct coh_area));
  layout.counters = reserve(&end, n * sizeof(struct coh_counters));
  layout.clocks = reserve(&end, n * sizeof(struct coh_cache_clock));
  layout.frames = reserve(&end, frames * sizeof(struct coh_frame));
  layout.data = reserve(&end, shape->paged ? 0 : frames * shape->line_bytes);
  layout.directories = reserve(&end, memory / shape->line_bytes * coh_directory_entry_size(&kind));
  layout.stamps = reserve(&end, shape->tracked ? memory * sizeof(uint32_t) : 0);
  layout.records = reserve(&end, shape->tracked ? frames * record_bytes(shape) : 0);
  layout.traces = reserve(&end, shape->traced ? n * sizeof(struct coh_trace_buffer) : 0);
  layout.bytes = end;
  return layout;
}

size_t coh_area_bytes(const struct coh_shape *shape)
{
  return layout_of(shape).bytes;
}

void coh_area_format(struct coh_area *area, const struct coh_shape *shape, const struct coh_protocol *protocol, const char *text)
{
  area->shape = *shape;
  area->protocol = *protocol;
  strncpy(area->text, text, sizeof area->text - 1);
}

const struct coh_shape *coh_area_shape(const struct coh_area *area)
{
  return &area->shape;
}

const struct coh_protocol *coh_area_protocol(const struct coh_area *area)
{
  return &area->protocol;
}

const char *coh_area_text(const struct coh_area *area)
{
  return area->text;
}

static void *at(struct coh_area *area, size_t offset)
{
  return (unsigned char *)area + offset;
}

struct coh_counters *coh_area_counters(struct coh_area *area, int device)
{
  return (struct coh_counters *)at(area, layout_of(&area->shape).counters) + device;
}

struct coh_trace_buffer *coh_area_trace(struct coh_area *area, int device)
{
  return (struct coh_trace_buffer *)at(area, layout_of(&area->shape).traces) + device;
}

uint32_t *coh_area_stamps(struct coh_area *area)
{
  return at(area, layout_of(&area->shape).stamps);
}

struct coh_frame_record *coh_area_record(struct coh_area *area, size_t frame)
{
  return at(area, layout_of(&area->shape).records + frame * record_bytes(&area->shape));
}

uint64_t coh_area_next(struct coh_area *area)
{
  return atomic_fetch_add(&area->last, 1) + 1;
}

void coh_area_lose(struct coh_area *area)
{
  atomic_fetch_add(&area->lost, 1);
}

uint64_t coh_area_lost(struct coh_area *area)
{
  return atomic_load(&area->lost);
}

/* ---- One process's view ------------------------------------------------------------------------------------------ */

static void place(struct coh_engine *engine)
{
  const struct coh_shape *shape = &engine->shape;
  struct layout layout = layout_of(shape);
  size_t me = (size_t)engine->me;
  engine->line_shift = (unsigned)__builtin_ctzll(shape->line_bytes);
  engine->base = shape->base;
  engine->line_mask = shape->line_bytes - 1;
  engine->bytes = (size_t)shape->devices * shape->window_bytes;
  engine->window_lines = shape->window_bytes >> engine->line_shift;
  engine->frame_count = engine->capacity = frames_of(shape);
  engine->directories = at(engine->area, layout.directories);
  engine->directory_bytes = coh_directory_entry_size(&engine->sharers);
  engine->all_frames = at(engine->area, layout.frames);
  engine->all_data = at(engine->area, layout.data);
  engine->frames = engine->all_frames + me * engine->frame_count;
  engine->data = engine->all_data + (me * engine->frame_count << engine->line_shift);
  engine->last = UINT32_MAX;
  engine->clock = (struct coh_cache_clock *)at(engine->area, layout.clocks) + me;
}

/* Does the access do nothing but what the program wants, and leave the state as it is? */
static bool is_silent(const struct coh_controller *cache, int state, int input)
{
  int8_t event = cache->event_of[input][0];
  const struct coh_cell *cell = &cache->cells[state][event < 0 ? 0 : event];
  return event >= 0 && cell->kind == COH_CELL_GO && cell->next == state && cell->count == 1;
}

/* Which accesses may pass by the controller; none when they are tracked. */
static void derive_controls(struct coh_engine *engine)
{
  const struct coh_controller *cache = &engine->protocol->controllers[COH_CACHE];
  for (int s = 0; s < cache->state_count && !engine->shape.tracked && !engine->shape.paged; s++) {
    int right = cache->states[s].right;
    if (right >= COH_RIGHT_READ && is_silent(cache, s, COH_LOAD)) engine->controls[s] |= COH_FRAME_READ;
    if (right >= COH_RIGHT_WRITE && is_silent(cache, s, COH_STORE)) engine->controls[s] |= COH_FRAME_WRITE;
  }
}

int coh_engine_open(struct coh_area *area, int me, unsigned char *memory, bool (*is_lost)(int device), int spool,
                    struct coh_engine **opened)
{
  struct coh_engine *engine = calloc(1, sizeof *engine);
  if (!engine) return -ENOMEM;
  engine->area = area;
  engine->shape = area->shape;
  engine->protocol = &area->protocol;
  engine->sharers = sharers_of(&area->shape);
  engine->me = me;
  pthread_mutex_init(&engine->parked_mutex, NULL);
  engine->ops = &coh_line_ops;
  engine->memory = memory;
  engine->is_lost = is_lost;
  engine->spool = spool;
  place(engine);
  derive_controls(engine);
  int result = area->shape.tracked ? coh_tally_open(engine) : 0;
  if (result) free(engine);
  else *opened = engine;
  return result;
}

static size_t buffer_bytes(const struct coh_engine *engine)
{
  return engine->shape.line_bytes + sizeof(struct coh_stamp);
}

/* Buffers are mapped and not allocated, because a thread may be interrupted inside of malloc by what makes it need one. */
unsigned char *coh_buffer_take(struct coh_engine *engine)
{
  for (int i = 0; i < COH_BUFFERS; i++) {
    unsigned char *buffer = atomic_exchange(&engine->buffers[i], NULL);
    if (buffer) return buffer;
  }
  void *mapped = mmap(NULL, buffer_bytes(engine), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) abort(); /* data would be lost */
  return mapped;
}

void coh_buffer_give(struct coh_engine *engine, unsigned char *buffer)
{
  for (int i = 0; i < COH_BUFFERS; i++) {
    unsigned char *none = NULL;
    if (atomic_compare_exchange_strong(&engine->buffers[i], &none, buffer)) return;
  }
  munmap(buffer, buffer_bytes(engine));
}

void coh_engine_close(struct coh_engine *engine)
{
  for (int i = 0; i < COH_BUFFERS; i++)
    if (engine->buffers[i]) munmap(engine->buffers[i], buffer_bytes(engine));
  if (engine->tally) coh_tally_close(engine);
  coh_forget_parked(engine);
  free(engine);
}
