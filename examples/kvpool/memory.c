/* Setting up: every device puts its blocks and their index entries into its own window, the domain's first device the trace, and
 * it too (pooled) or every device (private, router) the head of an index. The board, at the same offset in all windows, is
 * how they find each other's.
 *
 * Each phase ends with an agreement on whether all devices got through it. It is a barrier too: what was stored in a phase may be
 * read in the next. The lowest device that failed says why, so that of a thousand one speaks.
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uma.h>

#include "examples/kvpool/replay.h"

#define GENERATED_REQUESTS 4000
#define PAGE 4096
#define MEMORY_MARGIN ((size_t)2 << 20) /* the heap's rounding up */

struct complaint {
  bool failed;
  char text[512];
};

static void __attribute__((format(printf, 2, 3))) complain(struct complaint *complaint, const char *format, ...)
{
  va_list list;
  va_start(list, format);
  vsnprintf(complaint->text, sizeof complaint->text, format, list);
  va_end(list);
  complaint->failed = true;
}

static int agree(const struct kv_station *station, const struct complaint *complaint)
{
  int32_t mine = complaint->failed ? station->device : INT_MAX, lowest;
  int error = uma_allreduce(&lowest, &mine, 1, UMA_INT32, UMA_MIN);
  if (error) fprintf(stderr, "kvpool: %s\n", uma_last_error());
  else if (lowest == station->device) fprintf(stderr, "kvpool: %s\n", complaint->text);
  return error || lowest != INT_MAX;
}

static void find_domain(struct kv_station *station)
{
  int own = uma_domain(station->device), end = station->device + 1;
  station->first = station->device;
  while (station->first > 0 && uma_domain(station->first - 1) == own) station->first--;
  while (end < station->devices && uma_domain(end) == own) end++;
  station->domain = end - station->first;
}

static struct kv_board *board_of(const struct kv_station *station, int device)
{
  return uma_symmetric(station->board, device);
}

static bool has_index(const struct kv_station *station)
{
  return station->options->policy != KV_POOLED || station->device == station->first;
}

static int cache_members(const struct kv_station *station)
{
  return station->options->policy == KV_POOLED ? station->domain : 1;
}

/* What the fullest window, that of a domain's first device, has to hold. */
static size_t needed_bytes(const struct kv_station *station, size_t trace_bytes)
{
  const struct kv_options *options = station->options;
  int members = cache_members(station);
  size_t cache = kv_cache_bytes(members, (size_t)members * options->blocks);
  return options->blocks * (options->block_bytes + sizeof(struct kv_entry)) + cache + trace_bytes + MEMORY_MARGIN;
}

static void complain_of_memory(struct complaint *complaint, const struct kv_station *station, size_t trace_bytes)
{
  size_t window = 0, mega = (size_t)1 << 20;
  uma_window(station->device, &window);
  complain(complaint, "a window of %zuM is too small for %zu blocks of %zu bytes: run with --memory %zuM or more", window / mega,
           station->options->blocks, station->options->block_bytes, (needed_bytes(station, trace_bytes) + mega - 1) / mega);
}

static void read_trace(const struct kv_options *options, struct kv_draft *draft, struct complaint *complaint)
{
  if (options->trace) {
    size_t limit = options->requests ? options->requests : SIZE_MAX;
    complaint->failed = kv_parse(options->trace, limit, draft, complaint->text, sizeof complaint->text) < 0;
  } else if (kv_generate(options->requests ? options->requests : GENERATED_REQUESTS, options->seed, draft)) {
    complain(complaint, "no memory to generate so many requests");
  }
}

/* The trace goes into the window of the domain's first device. */
static int share_trace(struct kv_station *station, size_t *trace_bytes)
{
  struct complaint complaint = {0};
  struct kv_draft draft = {0};
  int first = station->first;
  if (first == station->device) read_trace(station->options, &draft, &complaint);
  if (first == station->device && !complaint.failed) {
    *trace_bytes = kv_trace_bytes(&draft);
    void *memory = uma_malloc(*trace_bytes);
    if (memory) station->board->trace = kv_trace_pack(&draft, memory);
    else complain_of_memory(&complaint, station, *trace_bytes);
  }
  kv_draft_free(&draft);
  int status = agree(station, &complaint);
  if (!status) station->trace = board_of(station, first)->trace;
  return status;
}

static int share_index(struct kv_station *station, size_t trace_bytes)
{
  struct complaint complaint = {0};
  int members = cache_members(station);
  size_t capacity = (size_t)members * station->options->blocks;
  if (has_index(station)) {
    void *memory = uma_memalign_on(station->device, 64, kv_cache_bytes(members, capacity));
    if (memory) station->board->cache = kv_cache_init(memory, members, capacity);
    else complain_of_memory(&complaint, station, trace_bytes);
  }
  int status = agree(station, &complaint);
  bool pooled = station->options->policy == KV_POOLED;
  if (!status) station->cache = board_of(station, pooled ? station->first : station->device)->cache;
  station->member = pooled ? station->device - station->first : 0;
  return status;
}

static int give_blocks(struct kv_station *station, size_t trace_bytes)
{
  struct complaint complaint = {0};
  const struct kv_options *options = station->options;
  struct kv_entry *entries = uma_memalign_on(station->device, _Alignof(struct kv_entry), options->blocks * sizeof *entries);
  unsigned char *data = uma_memalign_on(station->device, KV_BLOCK_MIN, options->blocks * options->block_bytes);
  station->work = aligned_alloc(KV_BLOCK_MIN, options->block_bytes);
  station->plan.steps = calloc(station->trace->longest + 1, sizeof *station->plan.steps);
  if (!entries || !data) complain_of_memory(&complaint, station, trace_bytes);
  else if (!station->work || !station->plan.steps) complain(&complaint, "no memory for a block of %zu bytes", options->block_bytes);
  else kv_cache_give(station->cache, station->member, entries, options->blocks, data, options->block_bytes);
  station->board->blocks = data;
  return agree(station, &complaint);
}

/* Has the kernel allocate the own blocks, then map all that this device will reach, so that the replay is not a measurement of
 * first touches: a real device's page tables are complete before it serves. */
static int touch_blocks(struct kv_station *station)
{
  struct complaint complaint = {0};
  size_t bytes = station->options->blocks * station->options->block_bytes;
  memset(station->board->blocks, 0, bytes);
  int status = agree(station, &complaint);
  bool pooled = station->options->policy == KV_POOLED;
  for (int i = 0; i < station->domain && pooled && !status; i++) {
    const volatile unsigned char *blocks = board_of(station, station->first + i)->blocks;
    for (size_t at = 0; at < bytes; at += PAGE) (void)blocks[at];
  }
  return status ? status : agree(station, &complaint);
}

static int share_board(struct kv_station *station)
{
  struct complaint complaint = {0};
  station->board = uma_alloc_symmetric(sizeof *station->board);
  if (station->board) *station->board = (struct kv_board){0};
  else complain(&complaint, "no memory in the windows: %s", strerror(errno));
  return agree(station, &complaint);
}

int kv_station_open(struct kv_station *station, const struct kv_options *options)
{
  *station = (struct kv_station){.options = options, .device = uma_device(), .devices = uma_device_count()};
  size_t trace_bytes = 0;
  find_domain(station);
  int status = share_board(station);
  if (!status) status = share_trace(station, &trace_bytes);
  if (!status) status = share_index(station, trace_bytes);
  if (!status) status = give_blocks(station, trace_bytes);
  if (!status) status = touch_blocks(station);
  return status;
}

void kv_station_close(struct kv_station *station)
{
  free(station->work);
  free(station->plan.steps);
}
