/* The targets of the project and what the rows say about them. Ratios are between rows of one run; nothing is rounded in our favour. */
#include "bench/report.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

struct list {
  const struct bench_rows *rows;
  struct bench_target *targets;
  int count;
};

enum relation { AT_MOST, AT_LEAST };

static struct bench_target *add(struct list *list, const char *what, enum relation relation, const char *wanted)
{
  struct bench_target *target = &list->targets[list->count++];
  *target = (struct bench_target){.verdict = BENCH_NOT_MEASURED};
  snprintf(target->what, sizeof target->what, "%s", what);
  snprintf(target->wanted, sizeof target->wanted, "%s%s", relation == AT_MOST ? "at most " : "at least ", wanted);
  snprintf(target->measured, sizeof target->measured, "not measured");
  return target;
}

static void judge(struct bench_target *target, bool reached, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(target->measured, sizeof target->measured, format, arguments);
  va_end(arguments);
  target->verdict = reached ? BENCH_REACHED : BENCH_MISSED;
}

/* The median, or NAN. */
static double median(const struct list *list, const char *bench, const char *path, const char *mode, int devices, size_t bytes,
                     const char *metric)
{
  const struct bench_row *row = bench_rows_find(list->rows, bench, path, mode, devices, bytes, metric);
  return row && row->median > 0 ? row->median : NAN;
}

static double peer_latency(const struct list *list, const char *bench, int devices, size_t bytes)
{
  return fmin(median(list, bench, "mpi", NULL, devices, bytes, "latency"), median(list, bench, "oshmem", NULL, devices, bytes, "latency"));
}

/* ---- a ratio of two paths over all sizes */

struct spread {
  double least, most, mean; /* geometric */
  size_t least_at, most_at;
  int count;
};

struct side {
  const char *bench, *path, *mode;
};

static struct spread compare(const struct list *list, const struct side *a, const struct side *b, int devices, const char *metric,
                             size_t from, size_t to)
{
  struct spread spread = {.least = INFINITY, .most = -INFINITY};
  double sum = 0;
  for (size_t i = 0; i < list->rows->count; i++) {
    const struct bench_row *row = &list->rows->row[i];
    if (strcmp(row->bench, a->bench) || strcmp(row->path, a->path) || strcmp(row->metric, metric) || row->devices != devices) continue;
    if ((a->mode && strcmp(row->mode, a->mode)) || row->bytes < from || row->bytes > to) continue;
    double other = median(list, b->bench, b->path, b->mode, devices, row->bytes, metric), ratio = row->median / other;
    if (!isfinite(ratio) || ratio <= 0) continue;
    if (ratio < spread.least) spread.least = ratio, spread.least_at = row->bytes;
    if (ratio > spread.most) spread.most = ratio, spread.most_at = row->bytes;
    sum += log(ratio);
    spread.count++;
  }
  spread.mean = spread.count ? exp(sum / spread.count) : NAN;
  return spread;
}

/* A window costs what a plain mapping costs. */
static void same_cost(struct list *list, const char *what, const char *bench, const char *metric)
{
  const struct side window = {bench, "direct", NULL}, plain = {bench, "raw", NULL};
  struct spread spread = compare(list, &window, &plain, 2, metric, 0, BENCH_ANY);
  struct bench_target *target = add(list, what, AT_LEAST, "");
  snprintf(target->wanted, sizeof target->wanted, "1.00 ± 0.03");
  if (spread.count) judge(target, fabs(spread.mean - 1) <= 0.03, "%.3f (sizes from %.2f to %.2f)", spread.mean, spread.least, spread.most);
}

static void time_limit(struct list *list, const char *what, const char *bench, size_t bytes, double limit_ns)
{
  char wanted[32];
  double ns = median(list, bench, "rma", "supernode", 2, bytes, "latency");
  snprintf(wanted, sizeof wanted, "%.0f ns", limit_ns);
  struct bench_target *target = add(list, what, AT_MOST, wanted);
  if (!isnan(ns)) judge(target, ns <= limit_ns, "%.1f ns", ns);
}

static void share_of_memcpy(struct list *list, const char *what, const char *bench, size_t from, size_t to)
{
  const struct side ours = {bench, "rma", NULL}, plain = {bench, "raw", NULL};
  struct spread spread = compare(list, &ours, &plain, 2, "bandwidth", from, to);
  char size[32];
  struct bench_target *target = add(list, what, AT_LEAST, "0.95 of memcpy");
  if (spread.count)
    judge(target, spread.least >= 0.95, "%.2f, the least at %s", spread.least, bench_size_text(spread.least_at, size, sizeof size));
}

/* ---- against the better of the peers */

static void beat(struct list *list, const char *what, const char *bench, const char *path, int devices, size_t bytes, double factor)
{
  char wanted[32], ours_text[32], peer_text[32];
  double ours = median(list, bench, path, "supernode", devices, bytes, "latency"), peer = peer_latency(list, bench, devices, bytes);
  snprintf(wanted, sizeof wanted, "%.4g× faster", factor);
  struct bench_target *target = add(list, what, AT_LEAST, wanted);
  if (isnan(ours) || isnan(peer)) return;
  judge(target, peer / ours >= factor, "%.2f× (%s; peer %s)", peer / ours, bench_value_text(ours, "ns", ours_text, sizeof ours_text),
        bench_value_text(peer, "ns", peer_text, sizeof peer_text));
}

static void never_slower(struct list *list, const char *what, const char *bench, int devices)
{
  double least = INFINITY;
  size_t at = 0;
  char size[32];
  for (size_t i = 0; i < list->rows->count; i++) {
    const struct bench_row *row = &list->rows->row[i];
    if (strcmp(row->bench, bench) || strcmp(row->path, "direct") || strcmp(row->metric, "latency") || row->devices != devices) continue;
    double ratio = peer_latency(list, bench, devices, row->bytes) / row->median;
    if (ratio < least) least = ratio, at = row->bytes;
  }
  struct bench_target *target = add(list, what, AT_LEAST, "1× at every size");
  if (isfinite(least)) judge(target, least >= 1, at ? "%.2f×, the least at %s" : "%.2f×", least, bench_size_text(at, size, sizeof size));
}

/* ---- messages, pages, sessions */

static void messages(struct list *list)
{
  const struct side ours = {"transfer.pingpong", "message", "stacked"}, raw = {"transfer.pingpong", "raw", NULL};
  const struct side our_stream = {"transfer.stream", "message", "stacked"}, raw_stream = {"transfer.stream", "raw", NULL};
  struct spread latency = compare(list, &ours, &raw, 2, "latency", 0, 4096);
  struct spread bandwidth = compare(list, &our_stream, &raw_stream, 2, "bandwidth", 1 << 20, BENCH_ANY);
  char size[32];
  struct bench_target *target = add(list, "Messages by io_uring: latency up to 4 KiB against a raw TCP connection", AT_MOST, "1.2×");
  if (latency.count)
    judge(target, latency.most <= 1.2, "%.2f×, the most at %s", latency.most, bench_size_text(latency.most_at, size, sizeof size));
  target = add(list, "Messages by io_uring: bandwidth from 1 MiB against a raw TCP connection", AT_LEAST, "0.9×");
  if (bandwidth.count)
    judge(target, bandwidth.least >= 0.9, "%.2f×, the least at %s", bandwidth.least,
          bench_size_text(bandwidth.least_at, size, sizeof size));
}

static void pages(struct list *list)
{
  double small = median(list, "latency.pages.never", NULL, NULL, -1, BENCH_ANY, "latency");
  double huge = median(list, "latency.pages.always", NULL, NULL, -1, BENCH_ANY, "latency");
  struct bench_target *target = add(list, "Huge pages: the longest chase gains", AT_LEAST, "1.2×");
  if (!isnan(small) && !isnan(huge))
    judge(target, small / huge >= 1.2, "%.2f× (%.0f ns, with huge pages %.0f ns)", small / huge, small, huge);
}

static void sessions(struct list *list)
{
  double seconds = median(list, "session.start", NULL, NULL, 256, BENCH_ANY, "time");
  struct bench_target *target = add(list, "256 devices start, pass a barrier and end", AT_MOST, "5 s");
  if (!isnan(seconds)) judge(target, seconds < 5, "%.2f s", seconds);
}

/* ---- coherent caches, and uma_ld and uma_st without them */

/* `note`: what else was measured, or NULL. */
static void against_raw(struct list *list, const char *what, const char *bench, const char *path, size_t bytes, double limit,
                        const char *note)
{
  char wanted[32], ours_text[32], raw_text[32];
  double ours = median(list, bench, path, NULL, 2, bytes, "latency"), raw = median(list, bench, "raw", NULL, 2, bytes, "latency");
  snprintf(wanted, sizeof wanted, "%.3g×", limit);
  struct bench_target *target = add(list, what, AT_MOST, wanted);
  if (isnan(ours) || isnan(raw)) return;
  judge(target, ours / raw <= limit, "%.2f× (%s; plain %s%s)", ours / raw, bench_value_text(ours, "ns", ours_text, sizeof ours_text),
        bench_value_text(raw, "ns", raw_text, sizeof raw_text), note ? note : "");
}

/* One after the other as fast as the processor goes, beside the target that lets each access wait for the one before. */
static const char *independent(const struct list *list, const char *bench, const char *path, char *text, size_t room)
{
  double ours = median(list, bench, path, NULL, 2, 8, "latency"), raw = median(list, bench, "raw", NULL, 2, 8, "latency");
  *text = 0;
  if (!isnan(ours) && !isnan(raw)) snprintf(text, room, "; loads that do not wait: %.2f ns, plain %.2f ns", ours, raw);
  return text;
}

static void hits(struct list *list)
{
  char note[80] = "";
  against_raw(list, "Load hit in a coherent cache against a plain L1 load", "coherence.hit.chain", "line", 8, 6,
              independent(list, "coherence.hit.load", "line", note, sizeof note));
  double exchange = median(list, "coherence.hit.exchange", "raw", NULL, 2, 8, "latency");
  note[0] = 0;
  if (!isnan(exchange)) snprintf(note, sizeof note, ", plain exchange %.2f ns", exchange);
  against_raw(list, "Store hit in a coherent cache against a plain store", "coherence.hit.store", "line", 8, 10, note);
  against_raw(list, "Fetch-add hit in a coherent cache against a plain one", "coherence.hit.fetch_add", "line", 8, 2, NULL);
}

static void cache_time(struct list *list, const char *what, const char *bench, size_t bytes, double limit_ns)
{
  char wanted[32], text[32];
  double ns = median(list, bench, "line", NULL, 2, bytes, "latency");
  struct bench_target *target = add(list, what, AT_MOST, bench_value_text(limit_ns, "ns", wanted, sizeof wanted));
  if (!isnan(ns)) judge(target, ns <= limit_ns, "%s", bench_value_text(ns, "ns", text, sizeof text));
}

/* A line's way to the other core and back was measured before and after everything; half of it is one transfer. */
static void miss_against_transfer(struct list *list)
{
  double start = median(list, "host.line.start", "raw", NULL, 2, 64, "latency");
  double end = median(list, "host.line.end", "raw", NULL, 2, 64, "latency");
  double miss = median(list, "coherence.miss", "line", NULL, 2, 64, "latency"), transfer = (start + end) / 4;
  struct bench_target *target = add(list, "Read miss of 64 B against the transfer of a dirty line between two cores", AT_MOST, "12×");
  if (!isnan(miss) && !isnan(transfer))
    judge(target, miss / transfer <= 12, "%.2f× (%.0f ns; transfer %.0f ns)", miss / transfer, miss, transfer);
}

static void coherence(struct list *list)
{
  char note[80];
  hits(list);
  cache_time(list, "Read miss of 64 B served by clean home memory", "coherence.miss", 64, 600);
  miss_against_transfer(list);
  cache_time(list, "Read miss of 4 KiB served by clean home memory", "coherence.miss", 4096, 1500);
  cache_time(list, "A line written in turn by two devices, a turn", "coherence.pingpong", 64, 1200);
  double two = median(list, "coherence.misses", "line", NULL, 2, 64, "rate"),
         eight = median(list, "coherence.misses", "line", NULL, 8, 64, "rate");
  struct bench_target *target = add(list, "Misses of 8 devices together against those of 2", AT_LEAST, "0.7×");
  if (!isnan(two) && !isnan(eight)) judge(target, eight / two >= 0.7, "%.2f× (%.1f and %.1f M/s)", eight / two, eight, two);
  against_raw(list, "uma_ld without caches against a plain load", "latency.hot.chain", "direct", 8, 1.2,
              independent(list, "latency.hot.load", "direct", note, sizeof note));
  against_raw(list, "uma_st without caches against a plain store", "latency.hot.store", "direct", 8, 1.2, NULL);
}

/* ---- caches of pages */

/* Against another library that keeps pages coherent: ArgoDSM over MPI shared memory between processes of one host, as measured once on a
 * host of two cores; it is no peer that runs beside. */
static void faster_than(struct list *list, const char *what, const char *bench, int devices, double theirs_ns, double factor)
{
  char wanted[32], ours_text[32], theirs_text[32];
  double ours = median(list, bench, "page", NULL, devices, BENCH_ANY, "latency");
  snprintf(wanted, sizeof wanted, "%.4g× faster", factor);
  struct bench_target *target = add(list, what, AT_LEAST, wanted);
  if (isnan(ours)) return;
  judge(target, theirs_ns / ours >= factor, "%.1f× (%s; ArgoDSM took %s)", theirs_ns / ours,
        bench_value_text(ours, "ns", ours_text, sizeof ours_text), bench_value_text(theirs_ns, "ns", theirs_text, sizeof theirs_text));
}

/* In time; bandwidth counts the other way round. */
static void hit_cost(struct list *list, const char *what, const char *bench, const char *metric)
{
  const struct side page = {bench, "page", NULL}, plain = {bench, "raw", NULL};
  struct spread spread = compare(list, &page, &plain, 2, metric, 0, BENCH_ANY);
  double cost = strcmp(metric, "bandwidth") ? spread.mean : 1 / spread.mean;
  struct bench_target *target = add(list, what, AT_MOST, "1.03×");
  if (spread.count) judge(target, cost <= 1.03, "%.3f×", cost);
}

static void upgrade_of_shared(struct list *list)
{
  double ours = median(list, "page.upgrade.shared", "page", NULL, 2, 4096, "latency");
  double raw = median(list, "page.upgrade", "raw", NULL, 2, 4096, "latency");
  struct bench_target *target = add(list, "Upgrade of a page that home must be asked for against the bare operations", AT_MOST, "1.5×");
  if (!isnan(ours) && !isnan(raw)) judge(target, ours / raw <= 1.5, "%.2f× (%.0f ns; bare %.0f ns)", ours / raw, ours, raw);
}

/* Of the same program: its speed on cached pages as a part of that on plain windows. */
static void kernel_speed(struct list *list, const char *what, const char *bench)
{
  double paged = median(list, bench, "page", NULL, 2, BENCH_ANY, "latency"),
         plain = median(list, bench, "direct", NULL, 2, BENCH_ANY, "latency");
  struct bench_target *target = add(list, what, AT_LEAST, "0.8×");
  if (!isnan(paged) && !isnan(plain))
    judge(target, plain / paged >= 0.8, "%.2f× (%.2f ms; plain windows %.2f ms)", plain / paged, paged / 1e6, plain / 1e6);
}

static void cached_pages(struct list *list)
{
  against_raw(list, "Read fault on a page that home has clean against the bare kernel operations", "page.miss.read", "page", 4096, 1.5,
              NULL);
  against_raw(list, "Store to a page held for reading against the bare kernel operations", "page.upgrade", "page", 4096, 1.5, NULL);
  upgrade_of_shared(list);
  against_raw(list, "A page written in turn by two devices against the bare kernel operations", "page.turn", "page", 4096, 1.5, NULL);
  kernel_speed(list, "LU on cached pages, speed against plain windows", "page.kernel.lu");
  kernel_speed(list, "FFT on cached pages, speed against plain windows", "page.kernel.fft");
  kernel_speed(list, "Stencil on cached pages, speed against plain windows", "page.kernel.stencil");
  faster_than(list, "Read fault in random order against a software DSM", "page.miss.read", 2, 16000, 1.5);
  faster_than(list, "Read fault in order, eight pages at a time, against a software DSM", "page.miss.read.sequential", 2, 9400, 1.5);
  faster_than(list, "Write fault against a software DSM", "page.miss.write", 2, 27000, 2);
  faster_than(list, "Barrier of 2 with cached pages against a software DSM", "page.barrier", 2, 41000, 100);
  faster_than(list, "Barrier of 4 with cached pages against a software DSM", "page.barrier", 4, 8.6e6, 100);
  hit_cost(list, "Pages that are there against a plain mapping: pointer chase", "page.hit.chase", "latency");
  hit_cost(list, "Pages that are there against a plain mapping: streaming reads", "page.hit.read", "bandwidth");
  hit_cost(list, "Pages that are there against a plain mapping: streaming writes", "page.hit.write", "bandwidth");
}

/* ---- between hosts */

static void never_slower_than_mpi(struct list *list, const struct side *ours, const char *way)
{
  const struct side mpi = {ours->bench, "mpi", NULL};
  char what[80], size[32];
  snprintf(what, sizeof what, "Between hosts: %s of 8 B to 1 MiB against Open MPI over TCP", way);
  struct bench_target *target = add(list, what, AT_LEAST, "1× at every size");
  struct spread spread = compare(list, &mpi, ours, 2, "latency", 8, 1 << 20);
  if (spread.count)
    judge(target, spread.least >= 1, "%.2f×, the least at %s", spread.least, bench_size_text(spread.least_at, size, sizeof size));
}

/* Against the same messages by bare libfabric, and of pages a bare fault (NULL: of lines). */
static void miss_between_hosts(struct list *list, const char *what, const char *bench, const char *fault, size_t bytes)
{
  char text[80], ours_text[32], raw_text[32];
  const char *path = fault ? "page" : "line";
  double ours = median(list, bench, path, NULL, 2, bytes, "latency"), raw = median(list, bench, "raw", NULL, 2, bytes, "latency");
  if (fault) raw += median(list, fault, "raw", NULL, 2, bytes, "latency");
  snprintf(text, sizeof text, "Between hosts: %s against its bare messages%s", what, fault ? " and a bare fault" : "");
  struct bench_target *target = add(list, text, AT_MOST, "1.5×");
  if (isnan(ours) || isnan(raw)) return;
  judge(target, ours / raw <= 1.5, "%.2f× (%s; bare %s)", ours / raw, bench_value_text(ours, "ns", ours_text, sizeof ours_text),
        bench_value_text(raw, "ns", raw_text, sizeof raw_text));
}

static void misses_between_hosts(struct list *list)
{
  miss_between_hosts(list, "read miss of a line", "ofi.miss.read", NULL, 64);
  miss_between_hosts(list, "write miss of a line", "ofi.miss.write", NULL, 64);
  miss_between_hosts(list, "upgrade of a line", "ofi.upgrade", NULL, 64);
  miss_between_hosts(list, "line that the other has modified", "ofi.turn.write", NULL, 64);
  miss_between_hosts(list, "read miss of a page", "ofi.page.read", "ofi.fault.read", 4096);
  miss_between_hosts(list, "write miss of a page", "ofi.page.write", "ofi.fault.write", 4096);
  miss_between_hosts(list, "page that the other has modified", "ofi.page.turn.write", "ofi.fault.write", 4096);
  miss_between_hosts(list, "read miss of a page of 64 KiB", "ofi.page.read", "ofi.fault.read", 65536);
  miss_between_hosts(list, "write miss of a page of 64 KiB", "ofi.page.write", "ofi.fault.write", 65536);
  miss_between_hosts(list, "page of 64 KiB that the other has modified", "ofi.page.turn.write", "ofi.fault.write", 65536);
}

static void talk_between_hosts(struct list *list)
{
  against_raw(list, "Between hosts: message of 8 B against bare libfabric", "ofi.message", "message", 8, 1.5, NULL);
  against_raw(list, "Between hosts: barrier of 2 against bare libfabric", "ofi.barrier", "message", 0, 1.5, NULL);
  against_raw(list, "Between hosts: all-reduce of 8 B against bare libfabric", "ofi.allreduce", "message", 8, 1.5, NULL);
}

static void between_hosts(struct list *list)
{
  static const struct {
    const char *bench, *what;
  } ways[] = {{"ofi.put", "put"}, {"ofi.get", "get"}, {"ofi.rma.put", "uma_put"}, {"ofi.rma.get", "uma_get"}};
  char what[80];
  for (int i = 0; i < 4; i++) {
    const struct side ours = {ways[i].bench, "rma", NULL}, raw = {ways[i].bench, "raw", NULL};
    struct spread latency = compare(list, &ours, &raw, 2, "latency", 8, 4096);
    struct spread bandwidth = compare(list, &ours, &raw, 2, "bandwidth", 1 << 20, 1 << 20);
    snprintf(what, sizeof what, "Between hosts: %s of 8 B to 4 KiB against bare libfabric", ways[i].what);
    struct bench_target *target = add(list, what, AT_MOST, "1.15×");
    const struct side spin = {ways[i].bench, "spin", NULL};
    struct spread spinning = compare(list, &ours, &spin, 2, "latency", 8, 4096);
    if (latency.count)
      judge(target, latency.most <= 1.15, "%.2f× (%.2f× where nobody could sleep on the queue)", latency.most, spinning.most);
    snprintf(what, sizeof what, "Between hosts: %s of 1 MiB, bandwidth against bare libfabric", ways[i].what);
    target = add(list, what, AT_LEAST, "0.95×");
    if (bandwidth.count) judge(target, bandwidth.least >= 0.95, "%.2f×", bandwidth.least);
    if (i < 2) never_slower_than_mpi(list, &ours, ways[i].what);
  }
  misses_between_hosts(list);
  talk_between_hosts(list);
}

int bench_targets(const struct bench_rows *rows, struct bench_target *targets)
{
  const size_t K = 1024, M = 1024 * 1024;
  struct list list = {rows, targets, 0};
  same_cost(&list, "Remote window against a plain mapping: pointer chase", "latency.chase", "latency");
  same_cost(&list, "Remote window against a plain mapping: streaming reads", "stream.read", "bandwidth");
  same_cost(&list, "Remote window against a plain mapping: streaming writes", "stream.write", "bandwidth");
  time_limit(&list, "uma_get of 8 B, warm", "transfer.get.hot", 8, 4);
  time_limit(&list, "uma_put of 8 B, warm", "transfer.put.hot", 8, 4);
  time_limit(&list, "uma_get of 4 KiB, warm", "transfer.get.hot", 4 * K, 55);
  time_limit(&list, "uma_put of 4 KiB, warm", "transfer.put.hot", 4 * K, 55);
  share_of_memcpy(&list, "uma_get of 64 KiB and more, warm", "transfer.get.hot", 64 * K, BENCH_ANY);
  share_of_memcpy(&list, "uma_put of 64 KiB and more, warm", "transfer.put.hot", 64 * K, BENCH_ANY);
  share_of_memcpy(&list, "uma_get of 4 KiB, warm, against memcpy", "transfer.get.hot", 4 * K, 4 * K);
  share_of_memcpy(&list, "uma_put of 4 KiB, warm, against memcpy", "transfer.put.hot", 4 * K, 4 * K);
  beat(&list, "uma_get of 8 B against the better peer", "transfer.get.hot", "rma", 2, 8, 3);
  beat(&list, "uma_put of 8 B against the better peer", "transfer.put.hot", "rma", 2, 8, 3);
  beat(&list, "fetch-add against the better peer", "sync.fetch_add", "direct", 2, 8, 20);
  beat(&list, "message of 8 B in the supernode against the peer", "transfer.pingpong", "message", 2, 8, 1.2);
  beat(&list, "barrier of 2 against the better peer", "sync.barrier", "direct", 2, 0, 1.5);
  beat(&list, "all-reduce of 8 B, 2 devices, against the better peer", "collective.allreduce", "direct", 2, 8, 1.15);
  beat(&list, "all-reduce of 64 KiB, 2 devices, against the better peer", "collective.allreduce", "direct", 2, 64 * K, 3);
  beat(&list, "all-reduce of 16 MiB, 2 devices, against the better peer", "collective.allreduce", "direct", 2, 16 * M, 1.4);
  never_slower(&list, "barrier of 4 against the better peer", "sync.barrier", 4);
  never_slower(&list, "barrier of 8 against the better peer", "sync.barrier", 8);
  never_slower(&list, "all-reduce of 4 devices against the better peer", "collective.allreduce", 4);
  never_slower(&list, "all-reduce of 8 devices against the better peer", "collective.allreduce", 8);
  messages(&list);
  pages(&list);
  sessions(&list);
  coherence(&list);
  cached_pages(&list);
  between_hosts(&list);
  return list.count;
}
