/* The engine of coherence/ in a session: its shape out of the settings, its memory, and windows' ranges through it.
 *
 * Cached pages need each other's userfaultfd. A device lends its own by sending it once into a socket pair that the launcher made; the reading
 * ends are inherited by all devices of the domain, which look at the message (MSG_PEEK) and get a descriptor of their own each time,
 * when they first have to change that device's page table. The message stays for the others. */
#include "uma/coherent.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "coherence/pages.h"
#include "coherence/tally.h"
#include "coherence/trace.h"
#include "uma/clock.h"
#include "uma/exchange.h"
#include "uma/wait.h"
#include "uma/wire.h"

static const char *const sharer_names[] = {"", "full", "limited", "coarse"};

/* ---- The shape --------------------------------------------------------------------------------------------------- */

/* Of the domain of a device; over several hosts each has an area of the same shape, in which it uses what is its own devices'. */
static struct coh_shape shape_of(const struct uma_shape *shape, int device)
{
  int domain = uma_shape_domain(shape, device), first = uma_shape_first(shape, domain, shape->domains);
  int count = uma_shape_first(shape, domain + 1, shape->domains) - first;
  struct coh_shape made = {
      .devices = count,
      .first = first,
      .base = shape->base + (size_t)first * shape->memory,
      .window_bytes = shape->memory,
      .line_bytes = shape->line,
      .paged = shape->coherence == UMA_COHERENCE_PAGE,
      .sets = shape->cache / shape->line / (size_t)shape->ways,
      .ways = shape->ways,
      .tracked = (shape->stats == UMA_ON || shape->traced) && shape->hosts == 1, /* who wrote what is known to one host only */
      .traced = shape->traced,
  };
  strcpy(made.sharers, sharer_names[shape->sharers]);
  if (!made.paged) return made;
  made.ways = made.sets = 1;
  while (made.sets < (size_t)count * shape->memory / shape->line) made.sets *= 2;
  return made;
}

size_t uma_coherent_bytes(const struct uma_shape *shape, int first)
{
  struct coh_shape made = shape_of(shape, first);
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

int uma_coherent_format(const struct uma_shape *shape, int first, void *area)
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
  struct coh_shape made = shape_of(shape, first);
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
    return uma_fail(-EREMOTE, "device %d is in another domain or on another host; the devices there know its counters", device);
  if (!uma_self.engine || !uma_self.engine->tally)
    return uma_fail(-ENODATA, "nothing is counted in this session; start it with --coherence line and --stats or --trace");
  read_counters(uma_self.engine->area, device - uma_self.domain_first, values);
  memcpy(counters, values, sizeof *counters);
  return 0;
}

/* ---- The trace --------------------------------------------------------------------------------------------------- */

/* Could the file be written at the end? Better known now than after hours; nothing is created, for the session may not come to its end. */
static bool may_write(const char *path, const char *folder)
{
  if (!access(path, W_OK)) return true;
  return errno == ENOENT && !access(folder, W_OK | X_OK);
}

/* Beside the trace, so that it is on a disk that is meant to hold it. */
int uma_coherent_spool(const char *path, int *spool)
{
  char *copy = strdup(path);
  if (!copy) return uma_fail(-ENOMEM, "no memory to record a trace");
  const char *folder = dirname(copy);
  if (may_write(path, folder)) {
    *spool = open(folder, O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
    if (*spool < 0) *spool = memfd_create("uma-trace", MFD_CLOEXEC); /* a file system without unnamed files */
    if (*spool < 0) uma_fail(-errno, "trace: cannot create a file for the records: %s", strerror(errno));
  } else {
    uma_fail(-EINVAL, "trace: \"%s\" cannot be written: %s", path, strerror(errno));
  }
  free(copy);
  if (*spool >= 0) fcntl(*spool, F_SETFL, O_APPEND);
  return *spool >= 0 ? 0 : -EINVAL;
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

static int borrow_fds[UMA_MAX_DEVICES], borrow_count; /* of this group's devices */
static int lend_fds[UMA_MAX_DEVICES], lend_count;     /* where devices create each other */

int uma_coherent_frames(const struct uma_shape *shape, int first, int *fd)
{
  struct coh_shape made = shape_of(shape, first);
  *fd = -1;
  if (shape->coherence != UMA_COHERENCE_PAGE) return 0;
  *fd = memfd_create("uma-frames", MFD_CLOEXEC);
  if (*fd >= 0 && !ftruncate(*fd, (off_t)coh_pages_file_bytes(&made))) return 0;
  return uma_fail(-errno, "cannot create the file of all devices' pages: %s", strerror(errno));
}

static bool is_lost_here(int device)
{
  return uma_is_lost(uma_self.domain_first + device);
}

static int borrow_uffd(int device)
{
  return uma_fd_receive(borrow_fds[device + uma_self.domain_first - uma_self.first], MSG_PEEK | MSG_DONTWAIT);
}

static int lend_uffd(int fd, int to)
{
  int error = to < 0 ? 0 : uma_fd_send(to, fd);
  return error ? uma_fail(error, "cannot lend the page table to the other devices: %s", strerror(-error)) : 0;
}

static void on_lost_page(uintptr_t address, bool store)
{
  char text[256];
  int length = snprintf(text, sizeof text, "libuma: device %d: %s 0x%zx: the page was lost together with a device that was working on it\n",
                        uma_self.device, store ? "store to" : "load from", (size_t)address);
  if (write(STDERR_FILENO, text, (size_t)length) < 0) abort();
  abort();
}

static int refuse_pages(int error)
{
  bool thread = uma_self.shape.faults == UMA_FAULTS_THREAD;
  if (error == -EPERM || error == -EACCES)
    return uma_fail(error, "userfaultfd is not allowed here (%s); %s, or use --coherence line", strerror(-error),
                    thread
                        ? "--faults thread needs sysctl vm.unprivileged_userfaultfd=1, or rights on /dev/userfaultfd; use --faults signal"
                        : "containers often forbid it by seccomp: allow userfaultfd(2) there");
  if (error == -ENOSYS)
    return uma_fail(error, "this kernel's userfaultfd cannot keep pages of shared memory coherent; that takes Linux 6.4 or later; use "
                           "--coherence line");
  return uma_fail(error, "cannot open a cache of pages: %s", strerror(-error));
}

static int join_pages(const struct uma_inheritance *from)
{
  size_t windows = (size_t)uma_self.domain_count * uma_self.shape.memory, budget = uma_self.shape.frames;
  struct coh_page_config config = {.frames_fd = from->frames_fd,
                                   .budget = (budget < windows ? budget : windows) / uma_self.shape.line,
                                   .prefetch = uma_self.shape.prefetch,
                                   .thread = uma_self.shape.faults == UMA_FAULTS_THREAD,
                                   .borrow = borrow_uffd};
  if (config.budget < COH_BUDGET_LEAST) config.budget = COH_BUDGET_LEAST;
  borrow_count = from->borrow_fds ? uma_self.count : 0;
  for (int d = 0; d < borrow_count; d++) borrow_fds[d] = from->borrow_fds[d];
  lend_count = from->lend_fds ? uma_self.count : 0;
  for (int d = 0; d < lend_count; d++) lend_fds[d] = from->lend_fds[d];
  int result = coh_pages_open(uma_self.engine, &config);
  if (result) return refuse_pages(result);
  return lend_uffd(coh_pages_descriptor(uma_self.engine), from->lend_fd);
}

int uma_coherent_join(const struct uma_inheritance *from)
{
  struct coh_area *area = uma_segment_at(uma_self.layout.coherence);
  int me = uma_self.device - uma_self.domain_first;
  unsigned char *memory =
      uma_self.memory - (size_t)(uma_self.first - uma_self.domain_first) * uma_self.shape.memory; /* of all windows, were they here */
  int result = coh_engine_open(area, me, memory, is_lost_here, from->spool_fd, &uma_self.engine);
  if (result) return uma_fail(result, "no memory for the coherence engine");
  if (uma_self.count < uma_self.domain_count) result = uma_wire_open(from->net, uma_self.engine, &uma_self.wire);
  if (result) return result;
  if (uma_self.clock) uma_self.engine->modelled = &uma_clock_engine;
  if (uma_self.shape.coherence == UMA_COHERENCE_PAGE) return join_pages(from);
  uma_self.lines = uma_self.engine;
  uma_self.hits = uma_self.clock ? NULL : uma_self.engine;
  return 0;
}

int uma_coherent_serve(void)
{
  int result = uma_self.engine && uma_self.engine->pages ? coh_pages_serve(uma_self.engine, on_lost_page) : 0;
  return result ? uma_fail(result, "nobody can serve page faults: %s", strerror(-result)) : 0;
}

void uma_coherent_leave(void)
{
  if (uma_self.engine->pages) {
    int frames_fd = uma_self.engine->pages->config.frames_fd;
    coh_pages_stop(uma_self.engine);
    coh_pages_close(uma_self.engine);
    close(frames_fd);
    for (int d = 0; d < borrow_count; d++) close(borrow_fds[d]);
    for (int d = 0; d < lend_count; d++) close(lend_fds[d]);
  }
  int spool = uma_self.engine->spool;
  if (uma_self.wire) uma_wire_close(uma_self.wire);
  coh_engine_close(uma_self.engine); /* which still writes to it */
  if (spool >= 0) close(spool);
}

int uma_coherent_threads(void)
{
  return uma_self.engine && uma_self.engine->pages && uma_self.engine->pages->serves;
}

void uma_coherent_before_fork(void)
{
  if (!uma_self.engine) return;
  if (uma_self.engine->tally) coh_tally_flush(uma_self.engine); /* or it would be counted twice */
  if (uma_self.engine->pages) coh_pages_stop(uma_self.engine);
}

int uma_coherent_go_on(void)
{
  return uma_coherent_serve();
}

/* The copy has no pages, and its addresses are not even reserved. Its number may have been that of a process that is gone, whose userfaultfd
 * it takes back first. */
static int forget_pages(struct coh_engine *copied, struct uma_inheritance *from)
{
  char byte;
  int me = uma_self.device - uma_self.first;
  *from = (struct uma_inheritance){.frames_fd = copied->pages->config.frames_fd,
                                   .spool_fd = copied->spool,
                                   .lend_fd = lend_fds[me],
                                   .lend_fds = lend_fds,
                                   .borrow_fds = borrow_fds};
  while (recv(borrow_fds[me], &byte, 1, MSG_DONTWAIT) > 0) continue;
  coh_pages_close(copied);
  return uma_space_reserve(&uma_self.shape);
}

int uma_coherent_after_fork(void)
{
  struct coh_engine *copied = uma_self.engine;
  if (!copied) return 0;
  struct uma_inheritance from = {.spool_fd = copied->spool};
  int result = copied->pages ? forget_pages(copied, &from) : 0;
  copied->shape.traced = false; /* what the creator did, it tells itself */
  coh_engine_close(copied);
  uma_self.engine = uma_self.lines = uma_self.hits = NULL;
  if (!result) result = uma_coherent_join(&from);
  return result ? result : uma_coherent_serve();
}

void uma_coherent_release(void)
{
  if (uma_self.engine && uma_self.engine->pages) coh_pages_release(uma_self.engine);
}

int uma_rehearse(bool on)
{
  if (!uma_self.joined) return uma_fail(-EINVAL, "uma_rehearse was called outside of a session");
  if (!uma_self.engine || !uma_self.engine->pages)
    return uma_fail(-EOPNOTSUPP, "uma_rehearse needs pages in the place of the windows; run with --coherence page");
  if (on == uma_self.rehearses) return uma_fail(-EALREADY, "this device rehearses %s", on ? "already" : "no more");
  int result = on ? uma_flush() : 0;
  if (!result) result = on ? coh_pages_hide(uma_self.engine) : coh_pages_show(uma_self.engine);
  if (result) return uma_fail(result, "the windows of device %d cannot be exchanged: %s", uma_self.device, strerror(-result));
  uma_self.rehearses = on;
  return 0;
}

bool uma_is_cached(const void *pointer, size_t bytes)
{
  uintptr_t begin = (uintptr_t)pointer, base = (uintptr_t)uma_window_of(uma_self.domain_first);
  return uma_self.engine && !uma_self.rehearses && begin < base + (size_t)uma_self.domain_count * uma_self.shape.memory &&
         begin + bytes > base;
}

static uint64_t offset_of(const void *global)
{
  return (uint64_t)((const unsigned char *)global - uma_window_of(uma_self.domain_first));
}

static int lost_line(int result, const void *global)
{
  if (!result) return 0;
  return uma_fail(result, "a line at %p or above was lost together with a device that was working on it", global);
}

/* A range between a cache, which is in the device's own memory, and that memory; what misses is charged by the engine besides. */
static void charge_cache(size_t bytes)
{
  struct coh_moment moment = uma_clock_moment();
  uma_clock_fly(uma_self.device, uma_self.device, bytes, UMA_FLIGHT_COPY, &moment);
  uma_clock_reach(&moment);
}

int uma_cached_get(void *local, const void *global, size_t bytes)
{
  uma_crossing();
  if (uma_self.clock && uma_self.lines) charge_cache(bytes);
  if (!uma_self.lines) return memcpy(local, global, bytes), 0; /* what is absent comes as it is touched */
  return lost_line(coh_get(uma_self.engine, local, offset_of(global), bytes), global);
}

int uma_cached_put(void *global, const void *local, size_t bytes)
{
  uma_crossing();
  if (uma_self.clock && uma_self.lines) charge_cache(bytes);
  if (!uma_self.lines) return memcpy(global, local, bytes), 0;
  return lost_line(coh_put(uma_self.engine, offset_of(global), local, bytes), global);
}

ptrdiff_t uma_prefetch(const void *pointer, size_t bytes, enum uma_access access)
{
  size_t present = bytes;
  int result = 0;
  if (!uma_self.joined) return uma_fail(-EINVAL, "uma_prefetch was called outside of a session");
  if (access != UMA_READ && access != UMA_WRITE)
    return uma_fail(-EINVAL, "uma_prefetch: %d is not valid; expected UMA_READ or UMA_WRITE", (int)access);
  if (bytes > PTRDIFF_MAX) return uma_fail(-EINVAL, "uma_prefetch: %zu bytes are more than memory can hold", bytes);
  if (uma_range_in_windows(pointer, 1, NULL) && !uma_range_is_near(pointer, bytes))
    return uma_fail(-EFAULT, "uma_prefetch: %zu bytes at %p leave this domain's windows", bytes, pointer);
  if (!uma_is_cached(pointer, 1) || uma_self.lines) return (ptrdiff_t)bytes;
  result = coh_pages_fetch(uma_self.engine, offset_of(pointer), bytes, access == UMA_WRITE, &present);
  return present || !result ? (ptrdiff_t)present : lost_line(result, pointer);
}

int uma_flush(void)
{
  if (!uma_self.joined) return uma_fail(-EINVAL, "uma_flush was called outside of a session");
  if (!uma_self.engine) return 0;
  int result = coh_flush(uma_self.engine);
  return result ? uma_fail(result, "a line that this device's cache held was lost together with the device that was working on it") : 0;
}

static bool is_traced(void)
{
  return uma_self.engine && uma_self.engine->shape.traced;
}

uint64_t uma_coherent_moment(void)
{
  return is_traced() ? coh_area_next(uma_self.engine->area) : 0;
}

void uma_coherent_allocated(const void *block, size_t bytes, const char *site, uint64_t moment)
{
  if (is_traced()) coh_trace_block(uma_self.engine, COH_RECORD_ALLOC, (uintptr_t)block, bytes, site ? site : "", moment);
}

void uma_coherent_freed(const void *block, uint64_t moment)
{
  if (is_traced()) coh_trace_block(uma_self.engine, COH_RECORD_FREE, (uintptr_t)block, 0, "", moment);
}
