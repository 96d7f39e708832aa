/* Published measurements, and what the closed forms say of the same. What a row needs beyond its profile is software: constants of NCCL's own
 * cost model, one measured start of DeepEP, the code of a link. They stand below with where they are from. None was fitted to a row; neither
 * the forms nor the virtual clock have them.
 *
 * NCCL, profile alone: ring all-reduce of 4 and of 8 H100. ASTRA-sim's documentation shows times up to 2 GiB (read off its chart, to 25 us), and
 * says that the bus bandwidth ends at 741.34 / 2 GB/s; NVIDIA says 370 GB/s. nccl-tests define bus bandwidth as 2 (n - 1) / n bytes over time.
 *
 * NCCL with its software: all sizes. NCCL takes the quickest of three protocols, each with a start, a latency of a step and a share of the
 * links. So do we; the latency of a step is in place of those of memory and links, which it holds.
 *
 * DeepEP: low-latency dispatch and combine on H800. Each rank has 128 tokens of 7168 values and sends each to 8 experts that lie anywhere:
 * 1024 messages, 1 / n of them to itself. Dispatch: FP8 with an FP32 scale per 128 values and a header; combine: BF16. Until June 2025 all
 * went by RDMA, even within a server; then by NVLink where there is some, but only 8 to 64 ranks were measured again. What a call takes
 * besides its bytes is what others measured with one token.
 *
 * Llama 3: what of 54 days on 16,384 H100 made progress. How often they failed is from there as well, how long a restart takes is not.
 *
 * CloudMatrix384: 512 bytes of another NPU, and the bandwidth of one of its two dies. The two latencies are where the profile has those of a
 * hop and of the memory from. UB sends 128 symbols for 120 of its packets. */
#include "fabric/published.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "fabric/forms.h"
#include "fabric/table.h"
#include "fabric/walls.h"

struct list {
  struct fab_published *rows;
  int count;
  FILE *report;
};

static struct fab_published *add(struct list *list, const char *group, const char *profile, const char *unit, double published,
                                 const char *source, const char *remark)
{
  struct fab_published *row = &list->rows[list->count++];
  *row =
      (struct fab_published){.group = group, .profile = profile, .unit = unit, .published = published, .source = source, .remark = remark};
  return row;
}

static int load(struct list *list, const char *name, struct fab_topology *topology)
{
  struct fab_profile *profile = fab_profile_load(name, list->report);
  if (!profile) return -errno;
  int result = fab_topology_make(profile, 0, topology, list->report);
  fab_profile_free(profile);
  return result;
}

static double us(uint64_t ticks)
{
  return fab_ns_of_ticks(ticks) / 1000;
}

/* ---- NCCL -------------------------------------------------------------------------------------------------------- */

enum { SIZES = 22 };

/* Times of 2^first bytes, of twice that and so on; 0: not measured, or left out. */
struct series {
  const char *group, *card, *profile, *source, *remark;
  uint64_t ranks;
  int first;
  double us[SIZES];
};

#define ALONE(n) "NCCL ring all-reduce, " n " x H100"
#define SOFTWARE(n) "NCCL all-reduce, with its software, " n " cards"
#define CHART(n) "ASTRA-sim documentation, NCCL over HGX-H100, " n " GPUs, 2024"
#define BENCH "waynehacking8/nccl-collectives-bench, June 2026"

/* In microseconds, as its charts have them. */
#define CHART_TIMES_8 1310, 2550, 5070, 10130
#define CHART_TIMES_4 1100, 2190, 4380, 8690

static const char
    alone_remark[] =
        "Times are read off a chart, to 25 us. NVLink's numbers are the input that ASTRA-sim was validated with; its own error, over all "
        "sizes from 8 B, is 9.69 % for 8 and 12.01 % for 4.",
    software_remark[] =
        "Starts, steps and shares of the links are constants of NCCL 2.30.7. ASTRA-sim states 12.01 % for 4 and 20.63 % for 2.",
    eight_remark[] =
        "Starts, steps and shares of the links are constants of NCCL 2.30.7. ASTRA-sim states 9.69 %. Left out, as they stand out of their "
        "own series: 32 B of H20 (24.6 us; 13.1 in place) and 2 MiB of PyTorch (291 us).";

static const struct series alone[] = {
    {ALONE("8"), "", "h100-8", CHART("8"), alone_remark, 8, 28, {CHART_TIMES_8}},
    {ALONE("4"), "", "h100-8", CHART("4"), alone_remark, 4, 28, {CHART_TIMES_4}},
};

static const struct series software[] = {
    {SOFTWARE("8"),
     ", H20",
     "h20-8",
     "H20: nccl-tests in DeepEP issue 303, 2025",
     eight_remark,
     8,
     2,
     {12.49, 12.49, 12.52, 0, 14.50, 15.50, 15.70, 16.26, 16.38, 16.49, 16.69}},
    {SOFTWARE("8"),
     ", PyTorch",
     "h100-8",
     "PyTorch: Triton-distributed issue 57, July 2025",
     eight_remark,
     8,
     7,
     {19.19, 0, 0, 19.50, 0, 0, 0, 20.71, 22.65, 23.05, 23.71, 24.76, 25.24, 32.42, 0, 59.43, 90.51, 135.68}},
    {SOFTWARE("8"), "", "h100-8", CHART("8"), eight_remark, 8, 28, {CHART_TIMES_8}},
    {SOFTWARE("4"), ", CUDA graph", "h100-8", BENCH, software_remark, 4, 3, {16.08, 15.33, 15.76, 16.40, 16.34, 17.03, 16.78, 16.88,
                                                                             15.25, 15.52, 15.46, 16.19, 16.77, 16.76, 17.26, 17.38,
                                                                             20.12, 24.00, 34.62, 47.78, 67.73, 105.81}},
    {SOFTWARE("4"),
     "",
     "h100-8",
     BENCH,
     software_remark,
     4,
     25,
     {175.81, 329.39, 617.74, 1186.22, 2315.40, 4532.51, 8926.72, 17744.6, 35187.6}},
    {SOFTWARE("4"), ", chart", "h100-8", CHART("4"), software_remark, 4, 28, {CHART_TIMES_4}},
    {SOFTWARE("6"), "", "h100-8", BENCH, software_remark, 6, 28, {1303.95, 2541.76, 4982.10, 9913.24, 19571.9, 39013.7}},
    {SOFTWARE("2"), "", "h100-8", BENCH, software_remark, 2, 28, {893.35, 1707.22, 3274.66, 6356.08, 12491.0, 24729.1}},
};

/* NCCL 2.30.7, src/graph/tuning.cc (ring, NVLink) and topo.h (SM90: 20.6 GB/s of each of 18 links). */
static int nccl_ticks(const struct fab_topology *machine, uint64_t n, uint64_t bytes, uint64_t *ticks)
{
  static const double link = 18 * 20.6e9;
  static const struct {
    double start_us, step_us, bandwidth;
  } protocols[] = {
      {6.6, 0.6, 141e9 /* LL: half of the link, at most this */}, {14.0, 1.9, 0.92 * link /* LL128 */}, {8.4, 3.4, link /* Simple */}};
  struct fab_topology topology = *machine;
  *ticks = FAB_TICKS_MOST;
  for (int i = 0; i < topology.link_count; i++) topology.link[i].latency = 0;
  for (int i = 0; i < topology.kind_count; i++) topology.kind[i].load = 0;
  for (int i = 0; i < 3; i++) {
    uint64_t taken;
    topology.message_latency = fab_ticks_of_ns(1000 * protocols[i].step_us);
    topology.link[topology.network[0].stage[0].link[0]].bandwidth = (uint64_t)protocols[i].bandwidth;
    int result = fab_form_ring_allreduce(&topology, n, bytes, &taken);
    if (result) return result;
    taken = fab_ticks_add(taken, fab_ticks_of_ns(1000 * protocols[i].start_us));
    *ticks = taken < *ticks ? taken : *ticks;
  }
  return 0;
}

typedef int nccl_model(const struct fab_topology *topology, uint64_t n, uint64_t bytes, uint64_t *ticks);

static int add_series(struct list *list, const struct series *series, nccl_model *model)
{
  struct fab_topology topology;
  int result = load(list, series->profile, &topology);
  for (int i = 0; i < SIZES && !result; i++) {
    if (series->us[i] == 0) continue;
    uint64_t bytes = 1ULL << (series->first + i), ticks = 0;
    int unit = bytes >> 30 ? 3 : bytes >> 20 ? 2 : bytes >> 10 ? 1 : 0;
    struct fab_published *row = add(list, series->group, series->profile, "us", series->us[i], series->source, series->remark);
    snprintf(row->what, sizeof row->what, "%llu %s%s", (unsigned long long)(bytes >> 10 * unit),
             (const char *[]){"B", "KiB", "MiB", "GiB"}[unit], series->card);
    result = model(&topology, series->ranks, bytes, &ticks);
    row->modelled = us(ticks);
  }
  return result;
}

/* GB/s, of 8, from the time of the largest: bytes by microseconds are MB/s. */
static void add_bus_bandwidth(struct list *list)
{
  double modelled = 1.75 * (double)(1ULL << 31) / list->rows[list->count - 1].modelled / 1000;
  struct fab_published *row = add(list, alone[0].group, "h100-8", "GB/s", 370.67, alone[0].source, alone_remark);
  snprintf(row->what, sizeof row->what, "bus bandwidth, largest");
  row->modelled = modelled;
  row = add(list, alone[0].group, "h100-8", "GB/s", 370, "NVIDIA in nccl-tests issue 212, May 2024: 370 GB/s with NCCL_ALGO=RING",
            alone_remark);
  snprintf(row->what, sizeof row->what, "bus bandwidth, NVIDIA's word");
  row->modelled = modelled;
}

static int add_nccl(struct list *list)
{
  int result = add_series(list, &alone[0], fab_form_ring_allreduce);
  if (!result) add_bus_bandwidth(list);
  if (!result) result = add_series(list, &alone[1], fab_form_ring_allreduce);
  for (size_t i = 0; i < sizeof software / sizeof *software && !result; i++) result = add_series(list, &software[i], nccl_ticks);
  return result;
}

/* ---- DeepEP ------------------------------------------------------------------------------------------------------ */

enum { TOKENS = 128, HIDDEN = 7168, EXPERTS = 8, DISPATCH = HIDDEN + HIDDEN / 128 * 4 + 16, COMBINE = 2 * HIDDEN };

static const char start_source[] = "Ant Group, optimising low-latency DeepEP on H20, 2025: 37 us with 1 token, and with 8",
                  new_source[] = "DeepEP, docs/legacy.md, Low-latency kernels, June 2025",
                  old_source[] = "DeepEP, README of February 2025, Low-latency kernels with pure RDMA",
                  deepep_remark[] =
                      "All that a call takes besides its bytes is the 37 us of one token among 16 ranks of H20, less what the "
                      "model has of them. 128 and 256 ranks were measured before NVLink was used.";

/* No scale-up network: all goes by the NICs. */
static struct fab_topology by_rdma(const struct fab_topology *machine)
{
  struct fab_topology topology = *machine;
  topology.network[0] = (struct fab_topology_network){.domain = 1};
  return topology;
}

static int deepep_ticks(const struct fab_topology *topology, uint64_t ranks, double tokens, uint64_t bytes, uint64_t *ticks)
{
  return fab_form_alltoall(topology, ranks, tokens * EXPERTS / (double)ranks, bytes, ticks);
}

/* What a call takes besides its bytes, of the measurement with one token; and that as a row. */
static int add_start(struct list *list, const char *group, uint64_t *start)
{
  struct fab_topology h20;
  uint64_t whole = fab_ticks_of_ns(37000), ticks = 0;
  int result = load(list, "h20-8", &h20);
  if (!result) result = deepep_ticks(&h20, 16, 1, DISPATCH, &ticks);
  if (result) return result;
  struct fab_published *row = add(list, group, "h20-8", "us", us(whole), start_source, deepep_remark);
  snprintf(row->what, sizeof row->what, "1 token, 16 ranks of H20");
  row->modelled = us(whole);
  row->input = true;
  *start = whole - ticks;
  return 0;
}

static int add_deepep(struct list *list)
{
  static const struct {
    const char *group, *source;
    int count, by_nvlink; /* how many are measured, from 8 ranks on; how many of them use NVLink */
    uint64_t bytes;       /* of one token */
    double us[6];
  } kinds[] = {{"DeepEP low-latency dispatch, H800", new_source, 6, 4, DISPATCH, {77, 118, 155, 173, 192, 194}},
               {"DeepEP low-latency combine, H800", new_source, 6, 4, COMBINE, {114, 195, 273, 314, 369, 360}},
               {"DeepEP low-latency dispatch by RDMA alone, H800", old_source, 4, 0, DISPATCH, {163, 173, 182, 186}},
               {"DeepEP low-latency combine by RDMA alone, H800", old_source, 4, 0, COMBINE, {318, 329, 350, 353}}};
  struct fab_topology both, rdma;
  uint64_t start = 0;
  int result = load(list, "h800-8", &both);
  if (!result) result = add_start(list, kinds[0].group, &start);
  if (!result) rdma = by_rdma(&both);
  for (int kind = 0; kind < 4; kind++)
    for (int i = 0; i < kinds[kind].count && !result; i++) {
      uint64_t ranks = 8ULL << i, ticks = 0;
      struct fab_published *row = add(list, kinds[kind].group, "h800-8", "us", kinds[kind].us[i], kinds[kind].source, deepep_remark);
      snprintf(row->what, sizeof row->what, "%llu ranks", (unsigned long long)ranks);
      result = deepep_ticks(i < kinds[kind].by_nvlink ? &both : &rdma, ranks, TOKENS, kinds[kind].bytes, &ticks);
      row->modelled = us(fab_ticks_add(start, ticks));
    }
  return result;
}

/* ---- CloudMatrix384 ---------------------------------------------------------------------------------------------- */

static int add_cloudmatrix(struct list *list)
{
  static const struct {
    const char *what;
    uint64_t from;
    double us, reading, writing;
  } places[] = {{"inside a node", 1, 1.2, 167, 137}, {"between nodes", 9, 1.9, 164, 135}};
  static const char reading[] = "CloudMatrix384, reading another NPU", writing[] = "CloudMatrix384, writing to another NPU",
                    source[] = "Zuo et al., arXiv 2506.12708 v2, section 3.2, Table 1, June 2025",
                    remark[] =
                        "A die has half of the links of its NPU, 196 GB/s; 120 of 128 symbols are its packets (UB Base Specification "
                        "2.0, RS(128,120)). Their headers, and why writing is slower, are not modelled.";
  struct fab_topology topology;
  struct fab_path path[2];
  int result = load(list, "cloudmatrix384", &topology);
  for (int i = 0; i < 2 && !result; i++) {
    uint64_t ticks;
    result = fab_access_ticks(&topology, 0, places[i].from, FAB_ACCESS_LOAD, 512, &ticks);
    if (!result) result = fab_topology_path(&topology, places[i].from, 0, FAB_WAY_LOAD_STORE, &path[i]);
    if (result) return result;
    struct fab_published *row = add(list, reading, "cloudmatrix384", "us", places[i].us, source, remark);
    snprintf(row->what, sizeof row->what, "latency of 512 B %s", places[i].what);
    row->modelled = us(ticks);
    row->input = true;
  }
  for (int i = 0; i < 4 && !result; i++) {
    bool write = i >= 2;
    double published = write ? places[i % 2].writing : places[i % 2].reading;
    struct fab_published *row = add(list, write ? writing : reading, "cloudmatrix384", "GB/s", published, source, remark);
    snprintf(row->what, sizeof row->what, "bandwidth of a die %s", places[i % 2].what);
    row->modelled = (double)fab_path_bandwidth(&path[i % 2]) / 2e9 * 120 / 128;
  }
  return result;
}

/* ---- Llama 3 ----------------------------------------------------------------------------------------------------- */

static int add_llama(struct list *list)
{
  struct fab_topology topology;
  struct fab_stability stability = {0};
  struct fab_profile *profile = fab_profile_load("h100-8", list->report);
  int result = profile ? fab_topology_make(profile, 0, &topology, list->report) : -errno;
  if (!result) {
    topology.devices = 16384; /* more than the profile's cluster has: stability asks for no network */
    fab_stability(profile, &topology, &stability);
    struct fab_published *row = add(
        list, "Llama 3 405B, time that made progress", "h100-8", "%", 90,
        "Llama Team, The Llama 3 Herd of Models, arXiv 2407.21783, July 2024, as reported by DatacenterDynamics: above 90 % of 54 days",
        "The time between failures (419 in 54 days) and the storage are from there, too; what a checkpoint saves and how long a restart "
        "takes are assumed, and not fitted. Above 90 % is counted as 90 %.");
    snprintf(row->what, sizeof row->what, "54 days on 16,384 cards");
    row->modelled = 100 * stability.value;
  }
  fab_profile_free(profile);
  return result;
}

/* ---- All --------------------------------------------------------------------------------------------------------- */

int fab_published_rows(struct fab_published *rows, FILE *report)
{
  struct list list = {.rows = rows, .report = report};
  int result = add_nccl(&list);
  if (!result) result = add_deepep(&list);
  if (!result) result = add_cloudmatrix(&list);
  if (!result) result = add_llama(&list);
  return result ? result : list.count;
}

static double error_of(const struct fab_published *row)
{
  return row->modelled / row->published - 1;
}

double fab_published_error(const struct fab_published *rows, int count, const char *group)
{
  double logs = 0;
  int used = 0;
  for (int i = 0; i < count; i++)
    if (!strcmp(rows[i].group, group) && !rows[i].input) {
      /* an error of 0 would make the whole mean 0 */
      logs += log(fmax(fabs(error_of(&rows[i])), 0.001));
      used++;
    }
  return used ? exp(logs / used) : 0;
}

static bool same_group(const struct fab_published *a, const struct fab_published *b)
{
  return !strcmp(a->group, b->group);
}

/* Every source of a group once, and the remark. */
static void make_note(const struct fab_published *rows, int count, char *note, size_t room)
{
  size_t used = 0;
  for (int i = 0; i < count && same_group(&rows[i], rows) && used < room; i++) {
    bool again = false;
    for (int k = 0; k < i; k++) again = again || !strcmp(rows[k].source, rows[i].source);
    if (!again) used += (size_t)snprintf(note + used, room - used, "%s%s", i ? "; " : "", rows[i].source);
  }
  if (used < room) snprintf(note + used, room - used, ". %s", rows->remark);
}

static void print_group(struct fab_table *table, const struct fab_published *rows, int count, double error)
{
  char title[200], note[1000];
  snprintf(title, sizeof title, "%s: the sizes of the errors have a geometric mean of %.1f %%", rows->group, 100 * error);
  make_note(rows, count, note, sizeof note);
  fab_table_begin(table, title, note);
  for (int i = 0; i < count && same_group(&rows[i], rows); i++) {
    char cells[6][FAB_CELL];
    snprintf(cells[0], FAB_CELL, "%s", rows[i].what);
    snprintf(cells[1], FAB_CELL, "%.5g %s", rows[i].published, rows[i].unit);
    snprintf(cells[2], FAB_CELL, "%.4g %s", rows[i].modelled, rows[i].unit);
    snprintf(cells[3], FAB_CELL, "%+.1f %%", 100 * error_of(&rows[i]));
    snprintf(cells[4], FAB_CELL, "%s", rows[i].profile);
    snprintf(cells[5], FAB_CELL, "%s", rows[i].input ? "the model has it from here" : "");
    fab_table_row(table, cells);
  }
  fab_table_end(table);
}

int fab_published_print(FILE *out, bool html)
{
  static const struct fab_column columns[] = {{"", -36}, {"published", 14}, {"modelled", 14}, {"error", 9}, {"profile", -16}, {"", -30}};
  struct fab_published rows[FAB_PUBLISHED_ROWS] = {0};
  struct fab_table table = {.out = out, .html = html, .count = 6, .columns = columns};
  int count = fab_published_rows(rows, stderr);
  for (int i = 0; i < count && rows[i].group; i++)
    if (!i || !same_group(&rows[i], &rows[i - 1]))
      print_group(&table, &rows[i], count - i, fab_published_error(rows, count, rows[i].group));
  return count < 0 ? count : 0;
}
