/* The engine of coherence/ in a session: its shape out of the settings, its memory, and windows' ranges through it. */
#include "uma/coherent.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "coherence/tally.h"
#include "coherence/trace.h"
#include "uma/wait.h"

static const char *const sharer_names[] = {"", "full", "limited", "coarse"};

/* ---- The shape --------------------------------------------------------------------------------------------------- */

static struct coh_shape shape_of(const struct uma_shape *shape, int first, int count)
{
  struct coh_shape made = {
      .devices = count,
      .first = first,
      .base = shape->base + (size_t)first * shape->memory,
      .window_bytes = shape->memory,
      .line_bytes = shape->line,
      .sets = (int)(shape->cache / shape->line / (size_t)shape->ways),
      .ways = shape->ways,
      .tracked = shape->stats == UMA_ON || shape->traced,
      .traced = shape->traced,
  };
  strcpy(made.sharers, sharer_names[shape->sharers]);
  return made;
}

size_t uma_coherent_bytes(const struct uma_shape *shape, int first, int count)
{
  struct coh_shape made = shape_of(shape, first, count);
  return uma_shape_is_cached(shape) ? coh_area_bytes(&made) : 0;
}

/* The first of the mistakes, and how many more there are. */
static int refuse_protocol(const struct uma_shape *shape, const char *report)
{
  int lines = 0;
  for (const char *c = report; *c; c++) lines += *c == '\n';
  int length = (int)strcspn(report, "\n");
  if (lines < 2) return uma_fail(-EINVAL, "protocol: %.*s", length, report);
  return uma_fail(-EINVAL, "protocol: %.*s (and %d more: `uma protocol %s` tells)", length, report, lines - 1, shape->protocol);
}

int uma_coherent_format(const struct uma_shape *shape, int first, int count, void *area)
{
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  char *report = NULL, *text = NULL;
  size_t size;
  FILE *mistakes = open_memstream(&report, &size);
  int result = protocol && mistakes ? 0 : uma_fail(-ENOMEM, "no memory for a protocol");
  if (!result) result = coh_protocol_text(shape->protocol, &text, mistakes);
  if (!result) result = coh_protocol_parse(text, shape->protocol, protocol, mistakes);
  if (!result && strlen(text) >= COH_TEXT_SIZE) {
    fprintf(mistakes, "\"%s\" is longer than %d bytes\n", shape->protocol, COH_TEXT_SIZE - 1);
    result = -EINVAL;
  }
  if (mistakes) fclose(mistakes);
  if (result && result != -ENOMEM) result = refuse_protocol(shape, report);
  struct coh_shape made = shape_of(shape, first, count);
  if (!result) coh_area_format(area, &made, protocol, text);
  free(protocol);
  free(report);
  free(text);
  return result;
}

/* ---- What it did ------------------------------------------------------------------------------------------------- */

static void read_counters(struct coh_area *area, int device, uint64_t *values)
{
  struct coh_counters *counters = coh_area_counters(area, device);
  for (int i = 0; i < COH_COUNTERS; i++) values[i] = atomic_load_explicit(&counters->values[i], memory_order_relaxed);
}

/* Rows are counters and columns devices, with all together first; beyond a dozen devices only that. */
void uma_coherent_print(int first, int count, struct coh_area *area)
{
  enum { MOST_COLUMNS = 12 };
  uint64_t values[UMA_MAX_DEVICES][COH_COUNTERS], sum;
  int columns = count <= MOST_COLUMNS ? count : 0;
  for (int d = 0; d < count; d++) read_counters(area, d, values[d]);
  fprintf(stderr, "\n%-24s %14s", coh_area_protocol(area)->name, "all");
  for (int d = 0; d < columns; d++) fprintf(stderr, " %7s %4d", "device", first + d);
  fputc('\n', stderr);
  for (int c = 0; c < COH_COUNTERS; c++) {
    sum = 0;
    for (int d = 0; d < count; d++) sum += values[d][c];
    fprintf(stderr, "%-24s %14llu", coh_counter_names[c], (unsigned long long)sum);
    for (int d = 0; d < columns; d++) fprintf(stderr, " %12llu", (unsigned long long)values[d][c]);
    fputc('\n', stderr);
  }
}

_Static_assert(sizeof(struct uma_counters) == COH_COUNTERS * sizeof(uint64_t), "the same counters in the same order");

int uma_counters(int device, struct uma_counters *counters)
{
  uint64_t values[COH_COUNTERS];
  if (uma_server(device) < 0) return -EINVAL; /* it has left the sentence */
  if (!uma_is_local(device))
    return uma_fail(-EREMOTE, "device %d is in another domain; its own domain's devices know its counters", device);
  if (!uma_self.engine || !uma_self.engine->tally)
    return uma_fail(-ENODATA, "nothing is counted in this session; start it with --coherence line and --stats or --trace");
  read_counters(uma_self.engine->area, device - uma_self.first, values);
  memcpy(counters, values, sizeof *counters);
  return 0;
}

/* ---- The trace --------------------------------------------------------------------------------------------------- */

/* Beside the trace, so that it is on a disk that is meant to hold it. */
int uma_coherent_spool(const char *path, int *spool)
{
  char *copy = strdup(path);
  FILE *probe = fopen(path, "a"); /* better now than after hours */
  int error = errno;
  if (!copy || !probe) {
    free(copy);
    return uma_fail(-EINVAL, "trace: \"%s\" cannot be written: %s", path, strerror(error));
  }
  fclose(probe);
  *spool = open(dirname(copy), O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
  free(copy);
  if (*spool < 0) *spool = memfd_create("uma-trace", MFD_CLOEXEC); /* a file system without unnamed files */
  if (*spool < 0) return uma_fail(-errno, "trace: cannot create a file for the records: %s", strerror(errno));
  fcntl(*spool, F_SETFL, O_APPEND);
  return 0;
}

int uma_coherent_trace(const char *path, int spool, struct coh_area *const *areas, int domains)
{
  uint64_t dropped = 0;
  FILE *file = fopen(path, "w");
  if (!file) return uma_fail(-errno, "trace: \"%s\" cannot be written: %s", path, strerror(errno));
  for (int i = 0; i < domains; i++) dropped += coh_trace_drain(areas[i], spool);
  int result = coh_trace_write(file, spool, areas, domains);
  if (fclose(file) && !result) result = -errno;
  if (dropped)
    fprintf(stderr, "trace: %llu records are missing; the disk of \"%s\" had no room for them\n", (unsigned long long)dropped, path);
  return result ? uma_fail(result, "trace: \"%s\" could not be written whole: %s", path, strerror(-result)) : 0;
}

/* ---- A device ---------------------------------------------------------------------------------------------------- */

static bool is_lost_here(int device)
{
  return uma_is_lost(uma_self.first + device);
}

int uma_coherent_join(int spool)
{
  struct coh_area *area = uma_segment_at(uma_self.layout.coherence);
  int result = coh_engine_open(area, uma_self.device - uma_self.first, uma_self.memory, is_lost_here, spool, &uma_self.engine);
  return result ? uma_fail(result, "no memory for the coherence engine") : 0;
}

void uma_coherent_leave(void)
{
  if (uma_self.engine->spool >= 0) close(uma_self.engine->spool);
  coh_engine_close(uma_self.engine);
}

void uma_coherent_before_fork(void)
{
  if (uma_self.engine && uma_self.engine->tally) coh_tally_flush(uma_self.engine); /* or it would be counted twice */
}

int uma_coherent_after_fork(void)
{
  if (!uma_self.engine) return 0;
  int spool = uma_self.engine->spool;
  coh_engine_close(uma_self.engine);
  return uma_coherent_join(spool);
}

bool uma_is_cached(const void *pointer, size_t bytes)
{
  uintptr_t begin = (uintptr_t)pointer, base = (uintptr_t)uma_window_of(uma_self.first);
  return uma_self.engine && begin < base + (size_t)uma_self.count * uma_self.shape.memory && begin + bytes > base;
}

static uint64_t offset_of(const void *global)
{
  return (uint64_t)((const unsigned char *)global - uma_window_of(uma_self.first));
}

static int lost_line(int result, const void *global)
{
  if (!result) return 0;
  return uma_fail(result, "a line at %p or above was lost together with a device that was working on it", global);
}

int uma_cached_get(void *local, const void *global, size_t bytes)
{
  uma_crossing();
  return lost_line(coh_get(uma_self.engine, local, offset_of(global), bytes), global);
}

int uma_cached_put(void *global, const void *local, size_t bytes)
{
  uma_crossing();
  return lost_line(coh_put(uma_self.engine, offset_of(global), local, bytes), global);
}

int uma_flush(void)
{
  if (!uma_self.joined) return uma_fail(-EINVAL, "uma_flush was called outside of a session");
  if (!uma_self.engine) return 0;
  int result = coh_flush(uma_self.engine);
  return result ? uma_fail(result, "a line that this device's cache held was lost together with the device that was working on it") : 0;
}

void uma_coherent_block(bool allocated, const void *block, size_t bytes, const char *site)
{
  if (!uma_self.engine || !uma_self.engine->shape.traced) return;
  coh_trace_block(uma_self.engine, allocated ? COH_RECORD_ALLOC : COH_RECORD_FREE, (uintptr_t)block, bytes, site ? site : "");
}
