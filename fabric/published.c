/* Published measurements, and what the closed forms say of the same.
 *
 * NCCL: ring all-reduce of 4 and of 8 H100. ASTRA-sim's documentation shows times up to 2 GiB (read off its chart, to 25 us), and says that the bus
 * bandwidth ends at 741.34 / 2 GB/s; NVIDIA says 370 GB/s. nccl-tests define bus bandwidth as 2 (n - 1) / n bytes over time.
 *
 * DeepEP: low-latency dispatch and combine on H800. Each rank has 128 tokens of 7168 values and sends each to 8 experts that lie anywhere:
 * 1024 messages, 1 / n of them to itself. Dispatch: FP8 with an FP32 scale per 128 values; combine: BF16. The model has the network and the
 * memory; it has neither the kernels' start nor their packing, and so stays below what was measured.
 *
 * CloudMatrix384: reading memory of another NPU, 512 bytes, and the bandwidth of one of its two dies. The two latencies are where the
 * profile has those of a hop and of the memory from. */
#include "fabric/published.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "fabric/forms.h"
#include "fabric/table.h"

struct list {
  struct fab_published *rows;
  int count;
  FILE *report;
};

static const char
    nccl_remark[] =
        "Times are read off a chart, to 25 us. NVLink's numbers are the input that ASTRA-sim was validated with; its own error, over all "
        "sizes from 8 B, is 9.69 % for 8 and 12.01 % for 4.",
    deepep_remark[] =
        "The model has the network and the memory, not the start of kernels and their packing: it stays below what was measured.",
    cloudmatrix_remark[] =
        "A die has half of the links of its NPU. The model knows no headers and credits: the payload of UB is some 85 %.";

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

/* GB/s, of 8: bytes by microseconds are MB/s. */
static void add_bus_bandwidth(struct list *list, const char *group, const char *source, double modelled)
{
  struct fab_published *row = add(list, group, "h100-8", "GB/s", 370.67, source, nccl_remark);
  snprintf(row->what, sizeof row->what, "bus bandwidth, largest");
  row->modelled = modelled;
  row = add(list, group, "h100-8", "GB/s", 370, "NVIDIA in nccl-tests issue 212, May 2024: 370 GB/s with NCCL_ALGO=RING", nccl_remark);
  snprintf(row->what, sizeof row->what, "bus bandwidth, NVIDIA's word");
  row->modelled = modelled;
}

static int add_nccl(struct list *list)
{
  enum { SIZES = 4, FIRST_LOG2 = 28 };
  static const struct {
    const char *group, *source;
    uint64_t n;
    double us[SIZES]; /* of 256, 512, 1024, 2048 MiB */
  } charts[] = {
      {"NCCL ring all-reduce, 8 x H100", "ASTRA-sim documentation, NCCL over HGX-H100, 8 GPUs, 2024", 8, {1310, 2550, 5070, 10130}},
      {"NCCL ring all-reduce, 4 x H100", "ASTRA-sim documentation, NCCL over HGX-H100, 4 GPUs, 2024", 4, {1100, 2190, 4380, 8690}}};
  struct fab_topology topology;
  uint64_t ticks = 0;
  int result = load(list, "h100-8", &topology);
  for (int chart = 0; chart < 2 && !result; chart++) {
    for (int i = 0; i < SIZES && !result; i++) {
      uint64_t bytes = 1ULL << (FIRST_LOG2 + i);
      struct fab_published *row = add(list, charts[chart].group, "h100-8", "us", charts[chart].us[i], charts[chart].source, nccl_remark);
      snprintf(row->what, sizeof row->what, "%llu MiB", (unsigned long long)(bytes >> 20));
      result = fab_form_ring_allreduce(&topology, charts[chart].n, bytes, &ticks);
      row->modelled = us(ticks);
    }
    if (!chart) add_bus_bandwidth(list, charts[0].group, charts[0].source, 1.75 * (double)(1ULL << 31) / us(ticks) / 1000);
  }
  return result;
}

static int add_deepep(struct list *list)
{
  enum { TOKENS = 128, HIDDEN = 7168, EXPERTS = 8, SIZES = 6 };
  static const double dispatch[SIZES] = {77, 118, 155, 173, 192, 194}, combine[SIZES] = {114, 195, 273, 314, 369, 360};
  static const char source[] = "DeepEP, docs/legacy.md, Low-latency kernels with pure RDMA, 2025";
  static const struct {
    const char *group;
    const double *us;
    uint64_t bytes; /* of one token */
  } kinds[] = {{"DeepEP low-latency dispatch, H800", dispatch, HIDDEN + HIDDEN / 128 * 4},
               {"DeepEP low-latency combine, H800", combine, (uint64_t)2 * HIDDEN}};
  struct fab_topology topology;
  int result = load(list, "h800-8", &topology);
  for (int kind = 0; kind < 2; kind++)
    for (int i = 0; i < SIZES && !result; i++) {
      uint64_t ranks = 8ULL << i, ticks = 0;
      struct fab_published *row = add(list, kinds[kind].group, "h800-8", "us", kinds[kind].us[i], source, deepep_remark);
      snprintf(row->what, sizeof row->what, "%llu ranks", (unsigned long long)ranks);
      result = fab_form_alltoall(&topology, ranks, (double)TOKENS * EXPERTS / (double)ranks, kinds[kind].bytes, &ticks);
      row->modelled = us(ticks);
    }
  return result;
}

static int add_cloudmatrix(struct list *list)
{
  static const struct {
    const char *what;
    uint64_t from;
    double us, bandwidth;
  } reads[] = {{"inside a node", 1, 1.2, 167}, {"between nodes", 9, 1.9, 164}};
  static const char group[] = "CloudMatrix384, reading another NPU",
                    source[] = "Zuo et al., arXiv 2506.12708, UB latency and bandwidth, June 2025";
  struct fab_topology topology;
  struct fab_path path;
  int result = load(list, "cloudmatrix384", &topology);
  for (int i = 0; i < 2 && !result; i++) {
    uint64_t ticks;
    result = fab_access_ticks(&topology, 0, reads[i].from, FAB_ACCESS_LOAD, 512, &ticks);
    if (!result) result = fab_topology_path(&topology, reads[i].from, 0, FAB_WAY_LOAD_STORE, &path);
    if (result) return result;
    struct fab_published *row = add(list, group, "cloudmatrix384", "us", reads[i].us, source, cloudmatrix_remark);
    snprintf(row->what, sizeof row->what, "latency of 512 B %s", reads[i].what);
    row->modelled = us(ticks);
    row->input = true;
    row = add(list, group, "cloudmatrix384", "GB/s", reads[i].bandwidth, source, cloudmatrix_remark);
    snprintf(row->what, sizeof row->what, "bandwidth of a die %s", reads[i].what);
    row->modelled = (double)fab_path_bandwidth(&path) / 2e9;
  }
  return result;
}

int fab_published_rows(struct fab_published *rows, FILE *report)
{
  struct list list = {.rows = rows, .report = report};
  int result = add_nccl(&list);
  if (!result) result = add_deepep(&list);
  if (!result) result = add_cloudmatrix(&list);
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

static void print_group(struct fab_table *table, const struct fab_published *rows, int count, int first)
{
  char title[200], note[400];
  snprintf(title, sizeof title, "%s (profile %s): the sizes of the errors have a geometric mean of %.1f %%", rows[first].group,
           rows[first].profile, 100 * fab_published_error(rows, count, rows[first].group));
  snprintf(note, sizeof note, "%s. %s", rows[first].source, rows[first].remark);
  fab_table_begin(table, title, note);
  for (int i = first; i < count && !strcmp(rows[i].group, rows[first].group); i++) {
    char cells[5][FAB_CELL];
    snprintf(cells[0], FAB_CELL, "%s", rows[i].what);
    snprintf(cells[1], FAB_CELL, "%.5g %s", rows[i].published, rows[i].unit);
    snprintf(cells[2], FAB_CELL, "%.4g %s", rows[i].modelled, rows[i].unit);
    snprintf(cells[3], FAB_CELL, "%+.1f %%", 100 * error_of(&rows[i]));
    snprintf(cells[4], FAB_CELL, "%s", rows[i].input ? "the profile has it from here" : "");
    fab_table_row(table, cells);
  }
  fab_table_end(table);
}

int fab_published_print(FILE *out, bool html)
{
  static const struct fab_column columns[] = {{"", -36}, {"published", 14}, {"modelled", 14}, {"error", 9}, {"", -30}};
  struct fab_published rows[FAB_PUBLISHED_ROWS] = {0};
  struct fab_table table = {.out = out, .html = html, .count = 5, .columns = columns};
  int count = fab_published_rows(rows, stderr);
  for (int i = 0; i < count && rows[i].group; i++)
    if (!i || strcmp(rows[i].group, rows[i - 1].group)) print_group(&table, rows, count, i);
  return count < 0 ? count : 0;
}
