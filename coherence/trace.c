/* Recording: see trace.h. A thread writes whole records under its device's lock; a buffer that cannot take another one goes to the spool by
 * one write(2), which appends. What the spool refuses (no room on the disk) is counted and said at the end. */
#include "coherence/trace.h"

#include <string.h>
#include <unistd.h>

static void lock(struct coh_trace_buffer *buffer, int me)
{
  struct coh_patience patience = {0};
  uint32_t free = 0;
  while (!atomic_compare_exchange_strong_explicit(&buffer->lock, &free, (uint32_t)me + 1, memory_order_acquire, memory_order_relaxed)) {
    coh_wait_turn(&patience);
    free = 0;
  }
}

static uint64_t count_records(const unsigned char *bytes, size_t used)
{
  uint64_t count = 0;
  for (size_t at = 0; at < used; count++) {
    struct coh_record record;
    memcpy(&record, bytes + at, sizeof record);
    at += record.size;
  }
  return count;
}

static void spill(struct coh_trace_buffer *buffer, int spool)
{
  uint32_t used = atomic_load_explicit(&buffer->used, memory_order_relaxed);
  bool full = buffer->dropped; /* once is for ever: what a part of a buffer was written of could not be told from what follows */
  ssize_t wrote = full || !used ? 0 : write(spool, buffer->bytes, used);
  if (wrote < (ssize_t)used) buffer->dropped += count_records(buffer->bytes, used);
  atomic_store_explicit(&buffer->used, 0, memory_order_relaxed);
}

/* `used` is set last, so that whoever takes the buffer of a dead device finds whole records. */
static void append(struct coh_engine *engine, const struct coh_record *record, const void *more, size_t bytes)
{
  struct coh_trace_buffer *buffer = coh_area_trace(engine->area, engine->me);
  lock(buffer, engine->me);
  if (buffer->used + record->size > COH_TRACE_BUFFER) spill(buffer, engine->spool);
  unsigned char *at = buffer->bytes + buffer->used;
  memcpy(at, record, sizeof *record);
  if (bytes) memcpy(at + sizeof *record, more, bytes);
  atomic_fetch_add_explicit(&buffer->used, record->size, memory_order_release);
  atomic_store_explicit(&buffer->lock, 0, memory_order_release);
}

static int16_t outside(const struct coh_engine *engine, int device)
{
  return (int16_t)(device < 0 ? device : engine->shape.first + device);
}

static struct coh_message rename_devices(const struct coh_engine *engine, struct coh_message message)
{
  message.source = outside(engine, message.source);
  message.target = outside(engine, message.target);
  message.requestor = outside(engine, message.requestor);
  return message;
}

static struct coh_record begin(struct coh_engine *engine, enum coh_record_kind kind, uint64_t address)
{
  return (struct coh_record){.number = coh_area_next(engine->area),
                             .time_ns = fab_now_ns(),
                             .address = address,
                             .size = sizeof(struct coh_record),
                             .kind = (uint8_t)kind,
                             .event = -1,
                             .actor = outside(engine, engine->me),
                             .first = (uint16_t)engine->shape.first};
}

static uint64_t address_of(const struct coh_engine *engine, uint64_t line)
{
  return engine->shape.base + (line << engine->line_shift);
}

static void set_access(struct coh_record *record, const struct coh_access *access)
{
  record->offset = access->offset;
  record->bytes = access->bytes;
}

void coh_trace_step(struct coh_engine *engine, uint64_t line, const struct coh_message *input, const struct coh_outcome *outcome,
                    const struct coh_access *access, enum coh_miss miss)
{
  struct coh_message sends[COH_MAX_CELL_ACTIONS + COH_MAX_DEVICES];
  struct coh_record record = begin(engine, COH_RECORD_STEP, address_of(engine, line));
  int count = 0;
  for (int i = 0; i < outcome->send_count; i++) {
    struct coh_message message = outcome->sends[i].message;
    if (!outcome->sends[i].many) sends[count++] = rename_devices(engine, message);
    for (int d = outcome->sends[i].many ? coh_outcome_target(&engine->sharers, outcome, 0) : -1; d >= 0 && count < COH_MAX_DEVICES;
         d = coh_outcome_target(&engine->sharers, outcome, d + 1)) {
      message.target = (int16_t)d;
      sends[count++] = rename_devices(engine, message);
    }
  }
  if (access) set_access(&record, access);
  record.miss = (uint8_t)miss;
  record.input = rename_devices(engine, *input);
  record.event = outcome->event;
  record.from = outcome->from;
  record.state = outcome->state;
  record.result = (uint8_t)outcome->result;
  record.send_count = (uint16_t)count;
  record.size = (uint16_t)((sizeof record + (size_t)count * sizeof sends[0] + 7) / 8 * 8);
  append(engine, &record, sends, (size_t)count * sizeof sends[0]);
}

void coh_trace_touch(struct coh_engine *engine, uint64_t line, int device, const struct coh_access *access)
{
  struct coh_record record = begin(engine, COH_RECORD_TOUCH, address_of(engine, line));
  struct coh_message input = coh_access(access->input, device);
  record.input = rename_devices(engine, input);
  set_access(&record, access);
  append(engine, &record, NULL, 0);
}

void coh_trace_sum(struct coh_engine *engine, uint64_t line, const uint64_t *sums)
{
  struct coh_record record = begin(engine, COH_RECORD_SUM, address_of(engine, line));
  record.size = (uint16_t)(sizeof record + COH_SUMS * sizeof *sums);
  append(engine, &record, sums, COH_SUMS * sizeof *sums);
}

void coh_trace_block(struct coh_engine *engine, enum coh_record_kind kind, uint64_t address, uint64_t bytes, const char *site,
                     uint64_t number)
{
  struct coh_record record = begin(engine, kind, address);
  if (number) record.number = number;
  char text[COH_SITE_SIZE] = "";
  size_t length = kind == COH_RECORD_ALLOC ? sizeof text : 0;
  if (length) strncpy(text, site, sizeof text - 1);
  record.bytes = bytes;
  record.size = (uint16_t)(sizeof record + length);
  append(engine, &record, text, length);
}

uint64_t coh_trace_drain(struct coh_area *area, int spool)
{
  uint64_t dropped = 0;
  for (int d = 0; d < coh_area_shape(area)->devices; d++) {
    struct coh_trace_buffer *buffer = coh_area_trace(area, d);
    spill(buffer, spool);
    dropped += buffer->dropped;
  }
  return dropped;
}
