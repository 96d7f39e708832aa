/* The profile that `uma calibrate` writes, from the rows that it measured.
 *
 * Curves say what operations take as a whole. The terms of the ways (latencies, bandwidths) follow from the same rows, so that what has no
 * curve, as a load of one word, adds up from them. A bandwidth is the best of all sizes: only what several devices do at once waits for it. */
#include "bench/calibrate.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "bench/report.h"
#include "fabric/profile.h"
#include "fabric/uring.h"
#include "uma.h"

const struct bench_curve_source bench_curve_sources[] = {
    [FAB_GET] = {"transfer.read", "rma", "supernode", NULL, false},
    [FAB_PUT] = {"transfer.write", "rma", "supernode", NULL, false},
    [FAB_MESSAGE] = {"transfer.pingpong", "message", "supernode", "transfer.stream", false},
    [FAB_CACHED_GET] = {"transfer.get.hot", "rma", "supernode", NULL, false},
    [FAB_CACHED_PUT] = {"transfer.put.hot", "rma", "supernode", NULL, false},
    [FAB_READ] = {"transfer.read", "direct", "supernode", NULL, false},
    [FAB_WRITE] = {"transfer.write", "direct", "supernode", NULL, false},
    [FAB_FAR_GET] = {"transfer.read", "message", "stacked", NULL, false},
    [FAB_FAR_PUT] = {"transfer.write", "message", "stacked", NULL, false},
    [FAB_FAR_MESSAGE] = {"transfer.pingpong", "message", "stacked", "transfer.stream", false},
    [FAB_CHASE] = {"latency.chase", "direct", "supernode", NULL, false},
    [FAB_OWN_CHASE] = {"latency.chase.local", "direct", "supernode", NULL, false},
    [FAB_CACHED_READ] = {"stream.read", "direct", "supernode", NULL, true},
    [FAB_CACHED_WRITE] = {"stream.write", "direct", "supernode", NULL, true},
};

/* Those of the benchmarks; all powers of two up to 4 KiB, where prefetchers bring lines in pairs and streams, and time does not rise smoothly; and
 * both sides of where the library changes its ways (32 and 64 KiB) and of the caches' sizes. */
const size_t bench_curve_sizes[] = {8,         32,       64,         128,      256,      512,      1 << 10,  2 << 10,
                                    4 << 10,   16 << 10, 24 << 10,   28 << 10, 32 << 10, 64 << 10, 96 << 10, 256 << 10,
                                    768 << 10, 1 << 20,  1280 << 10, 2 << 20,  4 << 20,  6 << 20,  12 << 20, 16 << 20};
const int bench_curve_size_count = sizeof bench_curve_sizes / sizeof bench_curve_sizes[0];
_Static_assert(sizeof bench_curve_sizes / sizeof bench_curve_sizes[0] <= FAB_CURVE_POINTS, "a curve has room for them");

const size_t *bench_sizes_of_curve(int operation, int *count)
{
  static size_t chase_sizes[BENCH_CHASE_SIZES];
  if (bench_curve_sources[operation].by_bandwidth) return bench_sweep_sizes(true, count);
  *count = bench_curve_size_count;
  if (operation != FAB_CHASE && operation != FAB_OWN_CHASE) return bench_curve_sizes;
  *count = bench_chase_sizes(true, false, chase_sizes);
  return chase_sizes;
}

struct writer {
  FILE *out;
  const struct bench_rows *rows;
  int missing; /* rows */
  int depth;   /* of groups that are open */
};

/* A line of the profile, indented: what ends with { opens a group, what begins with } closes one. */
static void line(struct writer *writer, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void line(struct writer *writer, const char *format, ...)
{
  va_list arguments;
  writer->depth -= *format == '}';
  fprintf(writer->out, "%*s", 2 * writer->depth, "");
  va_start(arguments, format);
  vfprintf(writer->out, format, arguments);
  va_end(arguments);
  fputc('\n', writer->out);
  writer->depth += format[strlen(format) - 1] == '{';
}

/* ---- Numbers of rows --------------------------------------------------------------------------------------------- */

/* The median, which a profile needs: a missing one is reported once. */
static double median_of(struct writer *writer, const char *bench, const char *path, const char *mode, size_t bytes, const char *metric)
{
  const struct bench_row *row = bench_rows_find(writer->rows, bench, path, mode, -1, bytes, metric);
  if (row && row->median > 0) return row->median;
  if (!writer->missing++)
    fprintf(stderr, "uma calibrate: no measured row of %s, path %s, mode %s, %zu bytes, %s above 0; expected one\n", bench, path, mode,
            bytes, metric);
  return 1;
}

static double latency_of(struct writer *writer, const char *bench, const char *path, const char *mode, size_t bytes)
{
  return median_of(writer, bench, path, mode, bytes, "latency");
}

static double time_of(struct writer *writer, int operation, size_t bytes)
{
  const struct bench_curve_source *source = &bench_curve_sources[operation];
  if (!source->by_bandwidth) return latency_of(writer, source->bench, source->path, source->mode, bytes);
  return (double)bytes / median_of(writer, source->bench, source->path, source->mode, bytes, "bandwidth");
}

static double gap_of(struct writer *writer, int operation, size_t bytes)
{
  const struct bench_curve_source *source = &bench_curve_sources[operation];
  return (double)bytes / median_of(writer, source->stream, source->path, source->mode, bytes, "bandwidth");
}

/* Bytes a second, the best of all sizes and of the operations [first, last]. */
static double best_rate(struct writer *writer, int first, int last)
{
  double best = 0;
  for (int operation = first; operation <= last; operation++)
    for (int i = 0; i < bench_curve_size_count; i++) {
      double bytes = (double)bench_curve_sizes[i], ns = time_of(writer, operation, bench_curve_sizes[i]);
      if (bench_curve_sources[operation].stream) ns = fmin(ns, gap_of(writer, operation, bench_curve_sizes[i]));
      best = fmax(best, 1e9 * bytes / ns);
    }
  return best;
}

/* ---- Texts ------------------------------------------------------------------------------------------------------- */

enum { TEXT = 48 };

static const char *duration(double ns, char *text)
{
  if (ns < 1e3) snprintf(text, TEXT, "%.4g ns", ns);
  else if (ns < 1e6) snprintf(text, TEXT, "%.4g us", ns / 1e3);
  else snprintf(text, TEXT, "%.4g ms", ns / 1e6);
  return text;
}

static const char *rate(double bytes_per_second, char *text)
{
  snprintf(text, TEXT, "%.4g GB/s", bytes_per_second / 1e9);
  return text;
}

static const char *size(size_t bytes, char *text)
{
  return bench_size_text(bytes, text, TEXT);
}

static void measured(struct writer *writer, const char *key, const char *value, const char *what)
{
  line(writer, "%s = { value = \"%s\"; status = \"measured\"; source = \"calibration: %s\"; };", key, value, what);
}

static void derived(struct writer *writer, const char *key, const char *value, const char *formula)
{
  line(writer, "%s = { value = \"%s\"; status = \"derived\"; formula = \"%s\"; source = \"calibration\"; };", key, value, formula);
}

static void assumed(struct writer *writer, const char *key, const char *value, const char *low, const char *high, const char *reason)
{
  line(writer, "%s = { value = \"%s\"; status = \"assumed\"; low = \"%s\"; high = \"%s\"; reason = \"%s\"; };", key, value, low, high,
       reason);
}

/* Assumed, and so by construction. */
static void counted(struct writer *writer, const char *key, const char *value, const char *reason)
{
  assumed(writer, key, value, value, value, reason);
}

/* ---- The parts of a profile -------------------------------------------------------------------------------------- */

/* A processor's name may have what a text may not. */
static void processor(char *text, size_t room)
{
  bench_host_processor(text, room);
  for (char *c = text; *c; c++)
    if (*c == '"' || *c == '\\' || *c < ' ') *c = ' ';
}

static void write_title(struct writer *writer)
{
  char name[200], date[32];
  struct utsname kernel;
  struct tm local;
  time_t now = time(NULL);
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  uname(&kernel);
  processor(name, sizeof name);
  strftime(date, sizeof date, "%Y-%m-%d %H:%M", localtime_r(&now, &local));
  line(writer, "# Written by `uma calibrate`; the next one replaces it.");
  line(writer, "title = \"This host: %ld x %s\";", processors, name);
  line(writer,
       "about = \"Devices are processes: loads and stores through shared memory, and messages by TCP over the loopback between coherence "
       "domains. Measured with two devices, each on a processor of its own.\";");
  line(writer, "sources = {");
  line(writer, "calibration = \"uma calibrate, %s, %ld x %s, Linux %s\";", date, processors, name, kernel.release);
  line(writer, "libuma = \"libuma %s\";", UMA_VERSION);
  line(writer, "};");
}

static size_t cache_bytes(void)
{
  long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return bytes > 0 ? (size_t)bytes : (size_t)1 << 20;
}

static void write_accelerator(struct writer *writer)
{
  char text[TEXT];
  struct sysinfo info;
  long cache_line = sysconf(_SC_LEVEL1_DCACHE_LINESIZE), processors = sysconf(_SC_NPROCESSORS_ONLN);
  sysinfo(&info);
  line(writer, "accelerators = ( {");
  line(writer, "name = \"process of this host\";");
  derived(writer, "memory", size((size_t)info.totalram * info.mem_unit / (size_t)(processors > 0 ? processors : 1) >> 20 << 20, text),
          "memory of the host / processors");
  measured(writer, "memory_bandwidth", rate(best_rate(writer, FAB_GET, FAB_CACHED_PUT), text),
           "transfers within the host, the best of all sizes");
  measured(writer, "memory_latency", duration(latency_of(writer, "latency.hot.chain", "direct", "supernode", 8), text),
           "latency.hot.chain, a load that hits the cache");
  measured(writer, "store_latency", duration(latency_of(writer, "latency.hot.store", "direct", "supernode", 8), text), "latency.hot.store");
  measured(writer, "atomic_latency", duration(latency_of(writer, "sync.fetch_add", "direct", "supernode", 8), text), "sync.fetch_add");
  measured(writer, "line", size(cache_line > 0 ? (size_t)cache_line : 64, text), "sysconf");
  measured(writer, "cache", size(cache_bytes(), text), "sysconf, second level");
  line(writer, "flops = {");
  static const char *const types[] = {"fp64", "fp32"};
  for (int i = 0; i < 2; i++) {
    char bench[TEXT];
    snprintf(bench, sizeof bench, "host.flops.%s", types[i]);
    snprintf(text, sizeof text, "%.4g GFLOPS", median_of(writer, bench, "raw", "-", 0, "rate"));
    measured(writer, types[i], text, "multiplications and additions in plain C");
  }
  line(writer, "};");
  assumed(writer, "power", "10 W", "3 W", "30 W", "no meter; a processor of a server of 100 to 400 W");
  line(writer, "} );");
}

/* A staged message copies between windows and the bounce buffers of its sockets: that is PCIe here. */
static void write_host(struct writer *writer)
{
  char text[TEXT];
  const char *part = "contained in nic_latency, and in the curves";
  double best = best_rate(writer, FAB_GET, FAB_CACHED_PUT);
  line(writer, "host = {");
  counted(writer, "pcie_latency", "0 ns", part);
  measured(writer, "pcie_bandwidth", rate(best, text), "a copy between window and bounce buffer, the best of all sizes");
  counted(writer, "pcie_overhead", "0 ns", part);
  counted(writer, "memory_latency", "0 ns", part);
  measured(writer, "memory_bandwidth", rate(best, text), "transfers within the host, the best of all sizes");
  line(writer, "bounce_buffer = { value = \"%s\"; status = \"published\"; source = \"libuma: fabric/uring.h\"; };",
       size(FAB_URING_HALF, text));
  line(writer, "};");
}

/* Loads go there and back over two links each way. */
static double link_latency(struct writer *writer)
{
  double load = latency_of(writer, "latency.hot.chain", "direct", "supernode", 8);
  return fmax(0, time_of(writer, FAB_GET, 8) - load) / 4;
}

static void write_links(struct writer *writer)
{
  char text[TEXT];
  line(writer, "links = {");
  line(writer, "shm = {");
  line(writer, "medium = \"board\";");
  derived(writer, "latency", duration(link_latency(writer), text), "(transfer.read of 8 B - latency.hot.chain) / 4");
  measured(writer, "bandwidth", rate(best_rate(writer, FAB_GET, FAB_MESSAGE), text),
           "transfers between two processors, the best of all sizes");
  counted(writer, "overhead", "0 ns", "in the curves");
  assumed(writer, "energy", "1 pJ/bit", "0.1 pJ/bit", "10 pJ/bit", "caches and memory of one host; no meter");
  line(writer, "};");
  line(writer, "loopback = {");
  line(writer, "medium = \"board\";");
  counted(writer, "latency", "0 ns", "contained in nic_latency");
  measured(writer, "bandwidth", rate(best_rate(writer, FAB_FAR_GET, FAB_FAR_MESSAGE), text), "messages over TCP, the best of all sizes");
  counted(writer, "overhead", "0 ns", "in the curves");
  assumed(writer, "energy", "10 pJ/bit", "1 pJ/bit", "100 pJ/bit", "some copies in the memory of one host; no meter");
  line(writer, "};");
  line(writer, "};");
}

static void write_stage(struct writer *writer, const char *link, const char *what)
{
  line(writer, "stages = ( {");
  line(writer, "level = \"host\";");
  line(writer, "link = \"%s\";", link);
  counted(writer, "lanes", "1 links", what);
  counted(writer, "switches", "1 switches", what);
  line(writer, "} );");
  line(writer, "};");
}

static void write_networks(struct writer *writer)
{
  char text[TEXT];
  double load = latency_of(writer, "latency.hot.chain", "direct", "supernode", 8);
  double message = fmax(0, time_of(writer, FAB_MESSAGE, 8) - load - 2 * link_latency(writer));
  line(writer, "levels = ( {");
  line(writer, "name = \"worker\";");
  counted(writer, "of", "1 devices", "a device is a process");
  line(writer, "}, {");
  line(writer, "name = \"host\";");
  line(writer, "of = { value = \"%d workers\"; status = \"published\"; source = \"libuma\"; };", UMA_MAX_DEVICES);
  line(writer, "} );");
  line(writer, "scale_up = {");
  line(writer, "coherent = true;");
  line(writer, "by_session = true;");
  derived(writer, "message_latency", duration(message, text), "transfer.pingpong of 8 B - latencies of its way");
  write_stage(writer, "shm", "caches and memory of the host, taken as one switch");
  line(writer, "scale_out = {");
  line(writer, "staged = true;");
  counted(writer, "nics", "1 nics", "a process has its own sockets");
  derived(writer, "nic_latency", duration(fmax(0, time_of(writer, FAB_FAR_MESSAGE, 8) - load) / 2, text),
          "(transfer.pingpong of 8 B, stacked - latency.hot.chain) / 2");
  counted(writer, "nic_overhead", "0 ns", "in the curves");
  write_stage(writer, "loopback", "the kernel's TCP over the loopback");
}

/* A row of a curve's table: a text for each size. */
static void write_row(struct writer *writer, const char *key, int operation, const char *(*cell)(struct writer *, int, size_t, char *))
{
  char texts[64 * FAB_CURVE_POINTS], text[TEXT];
  size_t used = 0;
  int count;
  const size_t *sizes = bench_sizes_of_curve(operation, &count);
  for (int i = 0; i < count; i++)
    used += (size_t)snprintf(texts + used, sizeof texts - used, "%s\"%s\"", i ? ", " : "", cell(writer, operation, sizes[i], text));
  line(writer, "%s = ( %s );", key, texts);
}

static const char *size_cell(struct writer *writer, int operation, size_t bytes, char *text)
{
  return size(bytes, text);
}

static const char *time_cell(struct writer *writer, int operation, size_t bytes, char *text)
{
  return duration(time_of(writer, operation, bytes), text);
}

static const char *gap_cell(struct writer *writer, int operation, size_t bytes, char *text)
{
  return duration(gap_of(writer, operation, bytes), text);
}

static void write_curves(struct writer *writer)
{
  line(writer, "operations = {");
  for (int operation = 0; operation < FAB_CURVES; operation++) {
    const struct bench_curve_source *source = &bench_curve_sources[operation];
    line(writer, "%s = {", fab_operation_names[operation]);
    line(writer, "status = \"measured\";");
    line(writer, "source = \"calibration: %s%s%s, %s\";", source->bench, source->stream ? " and " : "",
         source->stream ? source->stream : "", source->mode);
    write_row(writer, "bytes", operation, size_cell);
    write_row(writer, "time", operation, time_cell);
    if (source->stream) write_row(writer, "gap", operation, gap_cell);
    line(writer, "};");
  }
  line(writer, "};");
}

int bench_calibrate_write(FILE *out, const struct bench_rows *rows)
{
  struct writer writer = {out, rows, 0, 0};
  write_title(&writer);
  write_accelerator(&writer);
  write_host(&writer);
  write_links(&writer);
  write_networks(&writer);
  write_curves(&writer);
  return writer.missing ? -ENODATA : 0;
}
