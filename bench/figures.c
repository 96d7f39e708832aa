/* The figures of the report: which rows are drawn together, in which colours, and what is said about them. A figure without rows is left
 * out. */
#include <string.h>

#include "bench/report.h"

#define LOAD "#0b7a53"
#define GET "#14b8a6"
#define IN_DOMAIN "#1d4ed8"
#define STACKED "#c1121f"
#define STAGED "#f472b6"
#define RAW "#64748b"
#define MPI "#7c3aed"
#define OSHMEM "#ea8a00"

#define COUNT(array) (int)(sizeof(array) / sizeof((array)[0]))

static const struct bench_curve wall_latency[] = {
    {"remote load", LOAD, "transfer.read", "direct", "supernode", 2, false},
    {"uma_get", GET, "transfer.read", "rma", "supernode", 2, false},
    {"message, supernode", IN_DOMAIN, "transfer.pingpong", "message", "supernode", 2, false},
    {"message, stacked", STACKED, "transfer.pingpong", "message", "stacked", 2, false},
    {"staged uma_copy, stacked", STAGED, "transfer.copy", "message", "stacked", 2, false},
    {"raw TCP", RAW, "transfer.pingpong", "raw", NULL, 2, true},
};

static const struct bench_curve wall_bandwidth[] = {
    {"remote load", LOAD, "transfer.read", "direct", "supernode", 2, false},
    {"uma_get", GET, "transfer.read", "rma", "supernode", 2, false},
    {"messages, supernode", IN_DOMAIN, "transfer.stream", "message", "supernode", 2, false},
    {"messages, stacked", STACKED, "transfer.stream", "message", "stacked", 2, false},
    {"staged uma_copy, stacked", STAGED, "transfer.copy", "message", "stacked", 2, false},
    {"raw TCP", RAW, "transfer.stream", "raw", NULL, 2, true},
};

static const struct bench_curve get_peers[] = {
    {"uma_get", GET, "transfer.get.hot", "rma", "supernode", 2, false},
    {"memcpy", RAW, "transfer.get.hot", "raw", NULL, 2, true},
    {"MPI get + flush", MPI, "transfer.get.hot", "mpi", NULL, 2, false},
    {"OpenSHMEM get", OSHMEM, "transfer.get.hot", "oshmem", NULL, 2, false},
};

static const struct bench_curve put_peers[] = {
    {"uma_put", GET, "transfer.put.hot", "rma", "supernode", 2, false},
    {"memcpy", RAW, "transfer.put.hot", "raw", NULL, 2, true},
    {"MPI put + flush", MPI, "transfer.put.hot", "mpi", NULL, 2, false},
    {"OpenSHMEM put + quiet", OSHMEM, "transfer.put.hot", "oshmem", NULL, 2, false},
};

static const struct bench_curve read_peers[] = {
    {"remote load", LOAD, "transfer.read", "direct", "supernode", 2, false},
    {"uma_get", GET, "transfer.read", "rma", "supernode", 2, false},
    {"memcpy", RAW, "transfer.read", "raw", NULL, 2, true},
    {"MPI get + flush", MPI, "transfer.read", "mpi", NULL, 2, false},
    {"OpenSHMEM get", OSHMEM, "transfer.read", "oshmem", NULL, 2, false},
};

static const struct bench_curve message_peers[] = {
    {"message, supernode", IN_DOMAIN, "transfer.pingpong", "message", "supernode", 2, false},
    {"MPI send and receive", MPI, "transfer.pingpong", "mpi", NULL, 2, false},
    {"message, stacked", STACKED, "transfer.pingpong", "message", "stacked", 2, false},
    {"raw TCP", RAW, "transfer.pingpong", "raw", NULL, 2, true},
};

static const struct bench_curve allreduce_2[] = {
    {"supernode", LOAD, "collective.allreduce", "direct", "supernode", 2, false},
    {"stacked", STACKED, "collective.allreduce", "message", "stacked", 2, false},
    {"MPI", MPI, "collective.allreduce", "mpi", NULL, 2, false},
    {"OpenSHMEM", OSHMEM, "collective.allreduce", "oshmem", NULL, 2, false},
};

static const struct bench_curve allreduce_8[] = {
    {"supernode", LOAD, "collective.allreduce", "direct", "supernode", 8, false},
    {"stacked", STACKED, "collective.allreduce", "message", "stacked", 8, false},
    {"MPI", MPI, "collective.allreduce", "mpi", NULL, 8, false},
    {"OpenSHMEM", OSHMEM, "collective.allreduce", "oshmem", NULL, 8, false},
};

static const struct bench_curve others_2[] = {
    {"broadcast", LOAD, "collective.broadcast", "direct", "supernode", 2, false},
    {"all-gather", IN_DOMAIN, "collective.allgather", "direct", "supernode", 2, false},
    {"reduce-scatter", MPI, "collective.reduce_scatter", "direct", "supernode", 2, false},
    {"all-to-all", OSHMEM, "collective.alltoall", "direct", "supernode", 2, false},
    {"broadcast, stacked", LOAD, "collective.broadcast", "message", "stacked", 2, true},
    {"all-gather, stacked", IN_DOMAIN, "collective.allgather", "message", "stacked", 2, true},
    {"reduce-scatter, stacked", MPI, "collective.reduce_scatter", "message", "stacked", 2, true},
    {"all-to-all, stacked", OSHMEM, "collective.alltoall", "message", "stacked", 2, true},
};

static const struct bench_curve chase[] = {
    {"window of another device", LOAD, "latency.chase", "direct", "supernode", 2, false},
    {"own window", IN_DOMAIN, "latency.chase.local", "direct", "supernode", 2, false},
    {"plain mapping", RAW, "latency.chase", "raw", NULL, 2, true},
};

static const struct bench_curve streaming[] = {
    {"read, window", LOAD, "stream.read", "direct", "supernode", 2, false},
    {"read, plain mapping", RAW, "stream.read", "raw", NULL, 2, true},
    {"write, window", IN_DOMAIN, "stream.write", "direct", "supernode", 2, false},
    {"write, plain mapping", OSHMEM, "stream.write", "raw", NULL, 2, true},
};

static const struct line_figure {
  const char *section; /* heading before the figure, or NULL */
  const char *title, *text;
  struct bench_plot plot;
} line_figures[] = {
    {"The wall",
     "Time by size",
     "How long until the bytes are there. Loads and gets read what another device has just written; messages are half a round trip.",
     {"latency", "bytes moved", "time", false, wall_latency, COUNT(wall_latency)}},
    {NULL,
     "Bandwidth by size",
     "Bytes over time; messages and raw TCP as a stream in one direction.",
     {"bandwidth", "bytes moved", "GB/s", false, wall_bandwidth, COUNT(wall_bandwidth)}},
    {"Beside other libraries",
     "Reading what another process wrote",
     "A real transfer: every line comes from the other core.",
     {"latency", "bytes", "time", false, read_peers, COUNT(read_peers)}},
    {NULL,
     "Messages, half a round trip",
     "Two-sided send and receive between two processes.",
     {"latency", "bytes", "time", false, message_peers, COUNT(message_peers)}},
    {NULL,
     "Get of one hot address",
     "The bytes are in the cache: what remains is the cost of the call.",
     {"latency", "bytes", "time", false, get_peers, COUNT(get_peers)}},
    {NULL,
     "Put to one hot address",
     "The same for writes, until they are complete at the target.",
     {"latency", "bytes", "time", false, put_peers, COUNT(put_peers)}},
    {"Collectives",
     "All-reduce of 2 devices",
     "Sums of doubles; results were compared bit for bit.",
     {"latency", "bytes of a buffer", "time", false, allreduce_2, COUNT(allreduce_2)}},
    {NULL,
     "All-reduce of 8 devices",
     "More devices than cores on a small host: waiting then costs switches between processes.",
     {"latency", "bytes of a buffer", "time", false, allreduce_8, COUNT(allreduce_8)}},
    {NULL,
     "The other collectives, 2 devices",
     "Full lines: supernode. Dashed: stacked.",
     {"latency", "bytes of the larger buffer", "time", false, others_2, COUNT(others_2)}},
    {"A window is plain memory",
     "Pointer chase",
     "Each load waits for the one before it. The curves should lie on each other.",
     {"latency", "bytes of the chain", "ns a load", true, chase, COUNT(chase)}},
    {NULL,
     "Streaming",
     "One core through a remote window, and through a plain shared mapping.",
     {"bandwidth", "bytes", "GB/s", true, streaming, COUNT(streaming)}},
};

static const struct bench_curve paths[] = {
    {"supernode", LOAD, NULL, "direct", "supernode", 0, false},
    {"coherent cache", LOAD, NULL, "line", "supernode", 0, false},
    {"plain mapping", RAW, NULL, "raw", NULL, 0, false},
    {"stacked", STACKED, NULL, "message", "stacked", 0, false},
    {"MPI", MPI, NULL, "mpi", NULL, 0, false},
    {"OpenSHMEM", OSHMEM, NULL, "oshmem", NULL, 0, false},
};

static const struct bench_curve page_paths[] = {
    {"cached page", LOAD, NULL, "page", "supernode", 0, false},
    {"bare kernel operations", RAW, NULL, "raw", NULL, 0, false},
};

static const struct bench_curve protocols[] = {
    {"MSI", RAW, NULL, "msi", NULL, 0, false},
    {"MESI", IN_DOMAIN, NULL, "mesi", NULL, 0, false},
    {"MOESI", LOAD, NULL, "moesi", NULL, 0, false},
    {"MESIF", OSHMEM, NULL, "mesif", NULL, 0, false},
};

static const struct bench_group barriers[] = {
    {"2 devices", "sync.barrier", 2, 0}, {"4 devices", "sync.barrier", 4, 0}, {"8 devices", "sync.barrier", 8, 0}};
static const struct bench_group atomics[] = {{"fetch-add, 8 B", "sync.fetch_add", 2, 8}, {"lock and unlock", "sync.lock", 2, 0}};
static const struct bench_group reductions[] = {
    {"8 B", "collective.allreduce", 2, 8}, {"64 KiB", "collective.allreduce", 2, 65536}, {"16 MiB", "collective.allreduce", 2, 16 << 20}};
static const struct bench_group reductions_8[] = {
    {"8 B", "collective.allreduce", 8, 8}, {"64 KiB", "collective.allreduce", 8, 65536}, {"1 MiB", "collective.allreduce", 8, 1 << 20}};
static const struct bench_group caches[] = {
    {"load, hit", "coherence.hit.chain", 2, 8},          {"store, hit", "coherence.hit.store", 2, 8},
    {"fetch-add, hit", "coherence.hit.fetch_add", 2, 8}, {"miss, 64 B", "coherence.miss", 2, 64},
    {"miss, 4 KiB", "coherence.miss", 2, 4096},          {"ping-pong, a turn", "coherence.pingpong", 2, 64},
};
static const struct bench_group transitions[] = {
    {"I to S", "coherence.transition.i_to_s", 9, 64},        {"M to S", "coherence.transition.m_to_s", 9, 64},
    {"I to M", "coherence.transition.i_to_m", 9, 64},        {"M to M", "coherence.transition.m_to_m", 9, 64},
    {"S to M", "coherence.transition.s_to_m.0", 9, 64},      {"+ 1 sharer", "coherence.transition.s_to_m.1", 9, 64},
    {"+ 4 sharers", "coherence.transition.s_to_m.4", 9, 64}, {"+ 8 sharers", "coherence.transition.s_to_m.8", 9, 64},
};
static const struct bench_group faults[] = {
    {"read", "page.miss.read", 2, 4096},       {"read, in order", "page.miss.read.sequential", 2, 4096},
    {"write", "page.miss.write", 2, 4096},     {"upgrade", "page.upgrade", 2, 4096},
    {"written in turn", "page.turn", 2, 4096}, {"read, served by a thread", "page.faults.thread", 2, 4096},
};
static const struct bench_group page_transitions[] = {
    {"I to S", "page.transition.i_to_s", 9, 4096},        {"M to S", "page.transition.m_to_s", 9, 4096},
    {"I to M", "page.transition.i_to_m", 9, 4096},        {"M to M", "page.transition.m_to_m", 9, 4096},
    {"S to M", "page.transition.s_to_m.0", 9, 4096},      {"+ 1 sharer", "page.transition.s_to_m.1", 9, 4096},
    {"+ 4 sharers", "page.transition.s_to_m.4", 9, 4096}, {"+ 8 sharers", "page.transition.s_to_m.8", 9, 4096},
};
static const struct bench_group traffic[] = {
    {"private", "coherence.traffic.private", 4, 64},
    {"migratory", "coherence.traffic.migratory", 4, 64},
    {"producer-consumer", "coherence.traffic.producer", 4, 64},
    {"read-mostly", "coherence.traffic.readmostly", 4, 64},
};

static const struct bar_figure {
  const char *section, *title, *text;
  struct bench_bars bars;
} bar_figures[] = {
    {"Synchronisation and reductions at a glance",
     "Barrier",
     "One barrier of all devices. Shorter bars are better; the axis is logarithmic.",
     {"latency", "time", barriers, COUNT(barriers), paths, COUNT(paths)}},
    {NULL,
     "Atomics and locks",
     "On a word, and a lock, of another device, wanted by nobody else.",
     {"latency", "time", atomics, COUNT(atomics), paths, COUNT(paths)}},
    {NULL,
     "All-reduce of 2 devices",
     "Three sizes of the curve, as bars.",
     {"latency", "time", reductions, COUNT(reductions), paths, COUNT(paths)}},
    {NULL,
     "All-reduce of 8 devices",
     "The same with eight devices.",
     {"latency", "time", reductions_8, COUNT(reductions_8), paths, COUNT(paths)}},
    {"Coherent caches",
     "Hits and misses",
     "uma_ld, uma_st and uma_fetch_add through a cache of lines (MESI), beside the same on plain memory, where a miss is a line that the "
     "other core has modified.",
     {"latency", "time", caches, COUNT(caches), paths, COUNT(paths)}},
    {NULL,
     "Misses by transition",
     "From which state of the cache to which. What sharers add to S to M is the price of invalidating them and of their acks; the rest is "
     "fetching the data.",
     {"latency", "time", transitions, COUNT(transitions), paths, COUNT(paths)}},
    {NULL,
     "Page faults",
     "A page of 4 KiB that is absent, or held for reading and written, beside the kernel operations that it cannot do without (delivery of "
     "the signal, allocation and copy of the page, changes of page tables).",
     {"latency", "time", faults, COUNT(faults), page_paths, COUNT(page_paths)}},
    {NULL,
     "Page faults by transition",
     "The same transitions as of lines. Invalidating a sharer means a hole in its memory, and an interrupt of the core that it runs on.",
     {"latency", "time", page_transitions, COUNT(page_transitions), page_paths, COUNT(page_paths)}},
    {NULL,
     "Messages an access, by protocol",
     "MESI saves the upgrade that MSI pays on private data: who reads a line alone may write it without asking. MOESI saves the writeback "
     "that the others pay when a consumer, or the next writer, reads a modified line: its owner keeps it.",
     {"messages", "messages an access", traffic, COUNT(traffic), protocols, COUNT(protocols)}},
    {NULL,
     "Bytes an access, by protocol",
     "The same runs: 24 bytes a message, and 64 more where it carries the line. The counts are exact; they are the same on every host.",
     {"bytes", "bytes an access", traffic, COUNT(traffic), protocols, COUNT(protocols)}},
};

/* Figures stand in a grid that begins with a heading. */
static void begin_figure(FILE *html, const char *kind, const char *section, const char *title, const char *text, bool *open)
{
  if (section && *open) fprintf(html, "</div>\n");
  if (section) fprintf(html, "<h2>%s</h2>\n<div class=\"grid\">\n", section);
  if (section) *open = true;
  fprintf(html, "<figure class=\"%s\"><figcaption><b>%s</b> %s</figcaption>\n", kind, title, text);
}

static bool has_lines(const struct bench_rows *rows, const struct bench_plot *plot)
{
  for (int c = 0; c < plot->count; c++)
    if (bench_rows_find(rows, plot->curves[c].bench, plot->curves[c].path, plot->curves[c].mode, plot->curves[c].devices, BENCH_ANY,
                        plot->metric))
      return true;
  return false;
}

static bool has_bars(const struct bench_rows *rows, const struct bench_bars *bars)
{
  for (int g = 0; g < bars->group_count; g++)
    if (bench_rows_find(rows, bars->groups[g].bench, NULL, NULL, bars->groups[g].devices, bars->groups[g].bytes, bars->metric)) return true;
  return false;
}

/* A section's heading goes with its first figure that has rows. */
static int line_part(FILE *html, const struct bench_rows *rows, bool *open)
{
  const char *section = NULL;
  for (int i = 0; i < COUNT(line_figures); i++) {
    const struct line_figure *figure = &line_figures[i];
    if (figure->section) section = figure->section;
    if (!has_lines(rows, &figure->plot)) continue;
    begin_figure(html, "lines", section, figure->title, figure->text, open);
    section = NULL;
    int result = bench_plot_lines(html, rows, &figure->plot);
    if (result < 0) return result;
    fprintf(html, "</figure>\n");
  }
  return 0;
}

static int bar_part(FILE *html, const struct bench_rows *rows, bool *open)
{
  const char *section = NULL;
  for (int i = 0; i < COUNT(bar_figures); i++) {
    const struct bar_figure *figure = &bar_figures[i];
    if (figure->section) section = figure->section;
    if (!has_bars(rows, &figure->bars)) continue;
    begin_figure(html, "bars", section, figure->title, figure->text, open);
    section = NULL;
    int result = bench_plot_bars(html, rows, &figure->bars);
    if (result < 0) return result;
    fprintf(html, "</figure>\n");
  }
  return 0;
}

int bench_figures(FILE *html, const struct bench_rows *rows)
{
  bool open = false;
  int result = line_part(html, rows, &open);
  if (!result) result = bar_part(html, rows, &open);
  if (open) fprintf(html, "</div>\n");
  return result;
}
