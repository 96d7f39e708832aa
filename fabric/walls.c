/* State, power, parts and efficiency of a machine on paper. */
#include "fabric/walls.h"

#include <errno.h>
#include <math.h>

#include "fabric/table.h"
#include "fabric/topology_print.h"

/* ---- Coverage ---------------------------------------------------------------------------------------------------- */

void fab_coverage(const struct fab_topology *topology, double devices, struct fab_coverage *coverage)
{
  const struct fab_device_kind *kind = &topology->kind[0];
  double memory = devices * (double)kind->memory_bytes, lines = memory / (double)kind->line_bytes;
  *coverage = (struct fab_coverage){
      .devices = devices,
      .memory = memory,
      .lines = lines,
      .full = lines * (1 + ceil(devices / 8)),
      .limited = lines * (1 + ceil(4 * ceil(log2(devices)) / 8)),
      .coarse = lines * (1 + ceil(fmin(devices, 64) / 8)),
      .translation = devices * ceil(memory / (1 << 21)) * 8,
      .address_bits = (int)ceil(log2(memory)),
  };
}

static const char *share(double bytes, double memory, char *text, size_t room)
{
  char size[40];
  double percent = 100 * bytes / memory;
  snprintf(text, room, percent < 1000 ? "%s (%.3g %%)" : "%s (%.0f %%)", fab_text_bytes(bytes, size, sizeof size), percent);
  return text;
}

void fab_print_coverage(FILE *out, bool html, const struct fab_topology *topology)
{
  static const double sizes[] = {8, 384, 640, 10240, 100000, 1000000};
  static const struct fab_column columns[] = {{"devices", 10},    {"memory", 9},     {"bits", 5},         {"full map", 22},
                                              {"4 pointers", 20}, {"64 groups", 20}, {"page tables", 20}, {"of one device", 14}};
  struct fab_table table = {.out = out, .html = html, .count = 8, .columns = columns};
  char title[200], cells[8][FAB_CELL];
  snprintf(title, sizeof title, "One address space over %s: state by capacity", topology->kind[0].name);
  fab_table_begin(&table, title,
                  "Directory bytes of all lines together (a line is what one load brings) and their share of the memory; page tables of 2 "
                  "MiB pages when "
                  "each device maps everything.");
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    struct fab_coverage coverage;
    fab_coverage(topology, sizes[i], &coverage);
    fab_text_count(sizes[i], cells[0], FAB_CELL);
    fab_text_bytes(coverage.memory, cells[1], FAB_CELL);
    snprintf(cells[2], FAB_CELL, "%d", coverage.address_bits);
    share(coverage.full, coverage.memory, cells[3], FAB_CELL);
    share(coverage.limited, coverage.memory, cells[4], FAB_CELL);
    share(coverage.coarse, coverage.memory, cells[5], FAB_CELL);
    share(coverage.translation, coverage.memory, cells[6], FAB_CELL);
    fab_text_bytes(coverage.translation / sizes[i], cells[7], FAB_CELL);
    fab_table_row(&table, cells);
  }
  fab_table_end(&table);
}

/* ---- Parts ------------------------------------------------------------------------------------------------------- */

void fab_parts(const struct fab_profile *profile, const struct fab_topology *topology, int network, int index, struct fab_parts *parts)
{
  const struct fab_topology_stage *stage = &topology->network[network].stage[index];
  uint64_t members = stage->size / stage->below; /* of what it joins */
  double units = (double)stage->units, fan = (double)members, above = ceil((double)topology->devices / (double)stage->size);
  double links = stage->mesh ? above * fan * (fan - 1) / 2 * (double)stage->lanes : units * (double)stage->lanes;
  *parts = (struct fab_parts){.links = links, .switches = stage->mesh ? 0 : above * (double)stage->switches};
  if (profile->link[stage->link[0]].medium != FAB_BOARD) parts->cables = links;
}

void fab_print_parts(FILE *out, bool html, const struct fab_profile *profile, const struct fab_topology *topology)
{
  static const char *const names[] = {"scale-up", "scale-out"};
  static const struct fab_column columns[] = {{"network", -10}, {"in each", -12}, {"link", -12},  {"medium", -8},
                                              {"links", 12},    {"switches", 10}, {"cables", 12}, {"links a device", 15}};
  struct fab_table table = {.out = out, .html = html, .count = 8, .columns = columns};
  struct fab_parts all = {0};
  char title[200], number[40], cells[8][FAB_CELL];
  snprintf(title, sizeof title, "Parts of %s with %s devices", topology->name,
           fab_text_count((double)topology->devices, number, sizeof number));
  fab_table_begin(&table, title, NULL);
  for (int network = 0; network <= 2; network++)
    for (int i = 0; i < (network == 2 ? 1 : topology->network[network].stage_count); i++) {
      struct fab_parts parts = all;
      const struct fab_topology_stage *stage = network < 2 ? &topology->network[network].stage[i] : NULL;
      if (stage) fab_parts(profile, topology, network, i, &parts);
      snprintf(cells[0], FAB_CELL, "%s", stage ? names[network] : "both");
      snprintf(cells[1], FAB_CELL, "%s", stage ? topology->level[stage->level].name : "");
      snprintf(cells[2], FAB_CELL, "%s", stage ? topology->link[stage->link[0]].name : "");
      snprintf(cells[3], FAB_CELL, "%s", stage ? fab_medium_names[profile->link[stage->link[0]].medium] : "");
      fab_text_count(parts.links, cells[4], FAB_CELL);
      fab_text_count(parts.switches, cells[5], FAB_CELL);
      fab_text_count(parts.cables, cells[6], FAB_CELL);
      snprintf(cells[7], FAB_CELL, "%.3g", parts.links / (double)topology->devices);
      fab_table_row(&table, cells);
      all = (struct fab_parts){all.links + parts.links, all.switches + parts.switches, all.cables + parts.cables};
    }
  fab_table_end(&table);
}

/* ---- Power ------------------------------------------------------------------------------------------------------- */

void fab_power(const struct fab_profile *profile, const struct fab_topology *topology, struct fab_power *power)
{
  const struct fab_network *const networks[] = {&profile->scale_up, &profile->scale_out};
  *power = (struct fab_power){.pue = profile->pue.status ? profile->pue.value : 1};
  uint64_t first = 0;
  for (int i = 0; i < topology->kind_count && first < topology->devices; i++) {
    uint64_t last = topology->kind[i].last < topology->devices ? topology->kind[i].last : topology->devices;
    power->devices += (double)(last - first) * topology->kind[i].watts;
    first = last;
  }
  power->hosts = (double)topology->level[0].units * profile->host.power.value;
  for (int network = 0; network < 2; network++)
    for (int i = 0; i < topology->network[network].stage_count; i++) {
      struct fab_parts parts;
      fab_parts(profile, topology, network, i, &parts);
      power->switches += parts.switches * networks[network]->switch_power.value;
    }
  power->total = power->devices + power->hosts + power->switches;
  power->drawn = power->total * power->pue;
}

static void power_row(const struct fab_table *table, const char *what, const char *value, const char *remark)
{
  char cells[3][FAB_CELL];
  snprintf(cells[0], FAB_CELL, "%s", what);
  snprintf(cells[1], FAB_CELL, "%s", value);
  snprintf(cells[2], FAB_CELL, "%s", remark);
  fab_table_row(table, cells);
}

static void print_watts(const struct fab_table *table, const struct fab_profile *profile, const struct fab_power *power)
{
  char value[FAB_CELL], remark[FAB_CELL];
  power_row(table, "accelerators", fab_text_power(power->devices, value, FAB_CELL), "at full load");
  power_row(table, "hosts", profile->host.power.status ? fab_text_power(power->hosts, value, FAB_CELL) : "?", "without their accelerators");
  power_row(table, "switches", fab_text_power(power->switches, value, FAB_CELL),
            profile->scale_up.switch_power.status || profile->scale_out.switch_power.status ? "" : "the profile has no power of switches");
  snprintf(remark, sizeof remark, "PUE %.3g, %s", power->pue,
           profile->pue.status ? fab_status_names[profile->pue.status] : "not stated: taken as 1");
  power_row(table, "drawn", fab_text_power(power->drawn, value, FAB_CELL), remark);
  snprintf(remark, sizeof remark, "beyond the machines: %.3g %% of what they take", 100 * (power->pue - 1));
  power_row(table, "cooling and supply", fab_text_power(power->drawn - power->total, value, FAB_CELL), remark);
}

static void print_operations(const struct fab_table *table, const struct fab_topology *topology, double all, double pue)
{
  const struct fab_device_kind *kind = &topology->kind[0];
  for (int dtype = 0; dtype < FAB_DTYPES; dtype++) {
    char what[FAB_CELL], value[FAB_CELL], remark[FAB_CELL];
    if (kind->flops[dtype] <= 0) continue;
    snprintf(what, sizeof what, "an operation in %s", fab_dtype_names[dtype]);
    snprintf(value, sizeof value, "%.3g pJ", 1e12 * kind->watts / kind->flops[dtype]);
    snprintf(remark, sizeof remark, "of the card; with all that is drawn %.3g pJ",
             1e12 * all * pue / (double)topology->devices / kind->flops[dtype]);
    power_row(table, what, value, remark);
  }
}

/* A byte to the nearest and the farthest device that is reached by load and store, and to the farthest of all by each way that there is. */
static void print_bytes(const struct fab_table *table, const struct fab_topology *topology)
{
  static const enum fab_way ways[] = {FAB_WAY_LOAD_STORE, FAB_WAY_DIRECT, FAB_WAY_STAGED};
  uint64_t targets[] = {1, topology->network[0].domain - 1, topology->devices - 1};
  struct fab_path path;
  for (int target = 0; target < 3; target++)
    for (int i = 0; i < 3; i++) {
      char what[FAB_CELL], value[FAB_CELL];
      bool again = (target && targets[target] == targets[target - 1]) || (target < 2 && ways[i] != FAB_WAY_LOAD_STORE) || !targets[target];
      if (again || fab_topology_path(topology, 0, targets[target], ways[i], &path)) continue;
      double picojoules = fab_path_picojoules(&path, 1000000) / 1e6;
      snprintf(what, sizeof what, "a byte from device 0 to %llu, %s", (unsigned long long)targets[target], fab_way_names[ways[i]]);
      snprintf(value, sizeof value, "%.4g pJ", picojoules);
      power_row(table, what, value, "memory, PCIe and links; hosts and NICs are not counted");
    }
}

void fab_print_power(FILE *out, bool html, const struct fab_profile *profile, const struct fab_topology *topology)
{
  static const struct fab_column columns[] = {{"", -44}, {"", 12}, {"", -50}};
  struct fab_table table = {.out = out, .html = html, .count = 3, .columns = columns};
  struct fab_power power;
  char title[200], number[40];
  fab_power(profile, topology, &power);
  snprintf(title, sizeof title, "Power and energy of %s with %s devices", topology->name,
           fab_text_count((double)topology->devices, number, sizeof number));
  fab_table_begin(&table, title, NULL);
  print_watts(&table, profile, &power);
  print_operations(&table, topology, power.total, power.pue);
  print_bytes(&table, topology);
  fab_table_end(&table);
}

/* ---- Efficiency -------------------------------------------------------------------------------------------------- */

const char *const fab_factor_names[FAB_FACTORS] = {"generality", "chip", "node", "cluster", "stability"};

enum { GENERALITY, CHIP, NODE, CLUSTER, STABILITY };

/* Where the profile says how often its devices fail, that decides; what the vendor states is kept beside. */
static void model_stability(const struct fab_profile *profile, const struct fab_topology *topology, struct fab_factor *factor)
{
  struct fab_stability stability;
  if (!fab_stability(profile, topology, &stability)) return;
  factor->stated = factor->quantity;
  factor->quantity = NULL;
  factor->modelled = true;
  factor->status = fab_stability_status(profile);
  factor->value = stability.value, factor->low = stability.low, factor->high = stability.high;
}

double fab_efficiency(const struct fab_profile *profile, const struct fab_topology *topology, const double run[FAB_FACTORS],
                      struct fab_factor factors[FAB_FACTORS])
{
  static const struct {
    const char *meaning;
    size_t offset;
  } all[FAB_FACTORS] = {
      {"of the work, how much runs on it", offsetof(struct fab_efficiency, generality)},
      {"of the stated rate, how much one card reaches", offsetof(struct fab_efficiency, chip)},
      {"of its cards, how much a server reaches", offsetof(struct fab_efficiency, node)},
      {"of its servers, how much the cluster reaches", offsetof(struct fab_efficiency, cluster)},
      {"of the time, how much makes progress", offsetof(struct fab_efficiency, stability)},
  };
  double product = 1;
  for (int i = 0; i < FAB_FACTORS; i++) {
    const struct fab_quantity *from = (const void *)((const char *)&profile->efficiency + all[i].offset);
    struct fab_factor *factor = &factors[i];
    *factor = (struct fab_factor){.name = fab_factor_names[i], .meaning = all[i].meaning, .value = 1, .low = 1, .high = 1};
    if (run && !isnan(run[i])) {
      factor->value = factor->low = factor->high = run[i];
      factor->status = FAB_MEASURED;
    } else if (from->status) {
      factor->value = from->value, factor->low = from->low, factor->high = from->high;
      factor->status = from->status;
      factor->quantity = from;
    }
    if (i == STABILITY && factor->status != FAB_MEASURED) model_stability(profile, topology, factor);
    product *= factor->value;
  }
  return product;
}

/* All but the network and the waiting that goes with it. */
static double within_of(const struct fab_run *run)
{
  double both = run->scale_up + run->network;
  return run->local + run->scale_up + run->waiting * (both > 0 ? run->scale_up / both : 1);
}

static double time_of(const struct fab_run *run)
{
  return run->local + run->scale_up + run->network + run->waiting;
}

/* What a factor of the run is a ratio of, ns: one of CHIP, NODE, CLUSTER. */
struct terms {
  double over, under;
  const char *over_name, *under_name;
};

static struct terms terms_of(const struct fab_run *run, int factor)
{
  switch (factor) {
  case CHIP: return (struct terms){run->operations, run->work, "operations at the stated rate", "work"};
  case NODE: return (struct terms){run->work, within_of(run), "work", "time but for the network"};
  default: return (struct terms){within_of(run), time_of(run), "time but for the network", "all time"};
  }
}

void fab_run_factors(const struct fab_run *run, double factors[FAB_FACTORS])
{
  for (int i = 0; i < FAB_FACTORS; i++) factors[i] = NAN;
  if (!(run->operations > 0) || !(run->work > 0) || !(run->local > 0)) return;
  for (int i = CHIP; i <= CLUSTER; i++) {
    struct terms terms = terms_of(run, i);
    factors[i] = terms.over / terms.under;
  }
}

/* "this run: 12.4 us of operations at the stated rate : 13.1 us of work" */
static void run_source(const struct fab_run *run, int factor, char *text, size_t room)
{
  struct terms terms = terms_of(run, factor);
  char first[40], second[40];
  snprintf(text, room, "this run: %s of %s : %s of %s", fab_text_ticks(fab_ticks_of_ns(terms.over), first, sizeof first), terms.over_name,
           fab_text_ticks(fab_ticks_of_ns(terms.under), second, sizeof second), terms.under_name);
}

/* "failures every 3.09 h, a checkpoint of 32.8 s every 13.9 min, restarts of 10.5 min" */
static void stability_source(const struct fab_profile *profile, const struct fab_topology *topology, char *text, size_t room)
{
  struct fab_stability s;
  char failures[40], write[40], interval[40], restart[40];
  if (!fab_stability(profile, topology, &s)) return;
  snprintf(text, room, "a failure every %s, a checkpoint of %s every %s, a restart of %s", fab_text_seconds(s.mtbf, failures, 40),
           fab_text_seconds(s.write, write, 40), fab_text_seconds(s.interval, interval, 40), fab_text_seconds(s.restart, restart, 40));
}

/* What the vendor states beside what the model says. */
static void print_stated(const struct fab_table *table, const struct fab_quantity *stated)
{
  char cells[6][FAB_CELL] = {"  as stated"};
  snprintf(cells[1], FAB_CELL, "%.4g %%", 100 * stated->value);
  snprintf(cells[3], FAB_CELL, "%s", fab_status_names[stated->status]);
  snprintf(cells[4], FAB_CELL, "by its vendor; not in the product");
  fab_source_text(stated, cells[5], FAB_CELL);
  fab_table_row(table, cells);
}

/* `model`: what stability follows from. */
static void print_factor(const struct fab_table *table, const struct fab_factor *factor, const struct fab_run *run, int index,
                         const char *model)
{
  char cells[6][FAB_CELL];
  bool ran = run && factor->status && !factor->quantity && !factor->modelled;
  snprintf(cells[0], FAB_CELL, "%s", factor->name);
  snprintf(cells[1], FAB_CELL, "%.1f %%", 100 * factor->value);
  cells[2][0] = cells[5][0] = 0;
  if (factor->low < factor->high) snprintf(cells[2], FAB_CELL, "%.1f to %.1f %%", 100 * factor->low, 100 * factor->high);
  snprintf(cells[3], FAB_CELL, "%s", ran ? "modelled" : factor->status ? fab_status_names[factor->status] : "not given");
  snprintf(cells[4], FAB_CELL, "%s", factor->meaning);
  if (ran) run_source(run, index, cells[5], FAB_CELL);
  else if (factor->modelled) snprintf(cells[5], FAB_CELL, "%s", model);
  else if (factor->quantity) fab_source_text(factor->quantity, cells[5], FAB_CELL);
  fab_table_row(table, cells);
  if (factor->stated) print_stated(table, factor->stated);
}

void fab_print_efficiency(FILE *out, bool html, const struct fab_profile *profile, const struct fab_topology *topology,
                          const struct fab_run *run)
{
  static const struct fab_column columns[] = {{"factor", -12}, {"value", 8},          {"range", 16},
                                              {"status", -10}, {"what it says", -46}, {"source", -40}};
  struct fab_table table = {.out = out, .html = html, .count = 6, .columns = columns};
  struct fab_factor factors[FAB_FACTORS];
  char title[200], model[FAB_CELL] = "", cells[6][FAB_CELL];
  double by_run[FAB_FACTORS], low = 1, high = 1;
  stability_source(profile, topology, model, sizeof model);
  if (run) fab_run_factors(run, by_run);
  double product = fab_efficiency(profile, topology, run ? by_run : NULL, factors);
  snprintf(title, sizeof title, "Efficiency of %s: generality x chip x node x cluster x stability", profile->name);
  fab_table_begin(&table, title, NULL);
  for (int i = 0; i < FAB_FACTORS; i++) {
    print_factor(&table, &factors[i], run, i, model);
    low *= factors[i].low, high *= factors[i].high;
  }
  snprintf(cells[0], FAB_CELL, "product");
  snprintf(cells[1], FAB_CELL, "%.1f %%", 100 * product);
  snprintf(cells[2], FAB_CELL, "%.1f to %.1f %%", 100 * low, 100 * high);
  for (int i = 3; i < 6; i++) cells[i][0] = 0;
  fab_table_row(&table, cells);
  fab_table_end(&table);
  if (!run) fab_print_stability(out, html, profile, topology);
}

/* ---- All machines ------------------------------------------------------------------------------------------------ */

static void machine_row(const struct fab_table *table, const struct fab_profile *profile, const struct fab_topology *topology)
{
  struct fab_parts sum = {0}, parts;
  struct fab_power power;
  struct fab_factor factors[FAB_FACTORS];
  struct fab_path path;
  char cells[11][FAB_CELL] = {0};
  double memory = 0;
  uint64_t first = 0, ticks, domain = topology->network[0].domain;
  for (int i = 0; i < topology->kind_count; first = topology->kind[i++].last)
    memory += (double)((topology->kind[i].last < topology->devices ? topology->kind[i].last : topology->devices) - first) *
              (double)topology->kind[i].memory_bytes;
  for (int network = 0; network < 2; network++)
    for (int i = 0; i < topology->network[network].stage_count; i++) {
      fab_parts(profile, topology, network, i, &parts);
      sum = (struct fab_parts){sum.links + parts.links, sum.switches + parts.switches, sum.cables + parts.cables};
    }
  fab_power(profile, topology, &power);
  snprintf(cells[0], FAB_CELL, "%s", profile->name);
  fab_text_count((double)topology->devices, cells[1], FAB_CELL);
  fab_text_bytes(memory, cells[2], FAB_CELL);
  fab_text_count((double)domain, cells[3], FAB_CELL);
  if (fab_access_ticks(topology, 0, domain - 1, FAB_ACCESS_LOAD, 8, &ticks)) cells[4][0] = 0;
  else fab_text_ticks(ticks, cells[4], FAB_CELL);
  cells[5][0] = cells[6][0] = 0;
  if (!fab_topology_path(topology, 0, topology->devices - 1, FAB_WAY_BEST, &path)) {
    fab_text_ticks(fab_path_ticks(&path, 1 << 20, 0), cells[5], FAB_CELL);
    snprintf(cells[6], FAB_CELL, "%.0f pJ", fab_path_picojoules(&path, 1000) / 1000);
  }
  fab_text_power(power.drawn, cells[7], FAB_CELL);
  fab_text_count(sum.switches, cells[8], FAB_CELL);
  fab_text_count(sum.cables, cells[9], FAB_CELL);
  snprintf(cells[10], FAB_CELL, "%.0f %%", 100 * fab_efficiency(profile, topology, NULL, factors));
  fab_table_row(table, cells);
}

int fab_print_machines(FILE *out, bool html)
{
  static const struct fab_column columns[] = {{"profile", -17}, {"devices", 8},     {"memory", 9},     {"by load", 8},
                                              {"8 B load", 9},  {"1 MiB copy", 10}, {"a byte", 8},     {"drawn", 9},
                                              {"switches", 9},  {"cables", 8},      {"efficiency", 10}};
  struct fab_table table = {.out = out, .html = html, .count = 11, .columns = columns};
  fab_table_begin(&table, "Machines on paper",
                  "By load: devices that one reaches by load and store. 8 B load: from the farthest of these. 1 MiB copy and the energy of "
                  "a byte: from "
                  "the first to the last device, by the best way. Efficiency: the product of five factors, most of them assumed.");
  for (int i = 0; fab_shipped_profile(i); i++) {
    struct fab_topology topology = {0};
    struct fab_profile *profile = fab_profile_load(fab_shipped_profile(i), stderr);
    if (!profile) return -EINVAL;
    int result = fab_topology_make(profile, 0, &topology, stderr);
    if (!result) machine_row(&table, profile, &topology);
    fab_profile_free(profile);
    if (result) return result;
  }
  fab_table_end(&table);
  return 0;
}
