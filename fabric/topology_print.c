/* A topology as text and as a graph. */
#include "fabric/topology_print.h"

#include <inttypes.h>
#include <string.h>

enum { TEXT = 96 };

static const char *const network_names[] = {"scale-up", "scale-out"};

/* ---- Text -------------------------------------------------------------------------------------------------------- */

static void print_kind(FILE *out, const struct fab_device_kind *kind, uint64_t count)
{
  char number[TEXT], memory[TEXT], bandwidth[TEXT], load[TEXT];
  fprintf(out, "  %s x %s: %s at %s, load %s, %.0f W;", fab_text_count((double)count, number, TEXT), kind->name,
          fab_text_bytes((double)kind->memory_bytes, memory, TEXT), fab_text_bandwidth((double)kind->memory_bandwidth, bandwidth, TEXT),
          fab_text_ticks(kind->load, load, TEXT), kind->watts);
  for (int dtype = 0; dtype < FAB_DTYPES; dtype++)
    if (kind->flops[dtype] > 0) fprintf(out, " %s %.4g", fab_dtype_names[dtype], kind->flops[dtype] / 1e12);
  fprintf(out, " T/s\n");
}

static void print_kinds(FILE *out, const struct fab_topology *topology)
{
  uint64_t first = 0;
  fprintf(out, "devices\n");
  for (int i = 0; i < topology->kind_count && first < topology->devices; i++) {
    uint64_t last = topology->kind[i].last < topology->devices ? topology->kind[i].last : topology->devices;
    print_kind(out, &topology->kind[i], last - first);
    first = last;
  }
}

static void print_levels(FILE *out, const struct fab_topology *topology)
{
  char units[TEXT], size[TEXT];
  fprintf(out, "levels\n");
  for (int i = 0; i < topology->level_count; i++) {
    const struct fab_topology_level *level = &topology->level[i];
    fprintf(out, "  %s %s%s of %s devices\n", fab_text_count((double)level->units, units, TEXT), level->name, level->units == 1 ? "" : "s",
            fab_text_count((double)level->size, size, TEXT));
  }
}

static void print_stage(FILE *out, const struct fab_profile *profile, const struct fab_topology *topology, int network, int index)
{
  const struct fab_topology_stage *stage = &topology->network[network].stage[index];
  const struct fab_network *from = network ? &profile->scale_out : &profile->scale_up;
  char bandwidth[TEXT], latency[TEXT], switches[TEXT];
  for (int kind = 0; kind < topology->kind_count; kind++) {
    const struct fab_topology_link *link = &topology->link[stage->link[kind]];
    if (kind && stage->link[kind] == stage->link[0]) continue;
    fprintf(out, "  in each %s: %" PRIu64 " x %s (%s, %s a hop)", topology->level[stage->level].name, stage->lanes, link->name,
            fab_text_bandwidth((double)link->bandwidth, bandwidth, TEXT), fab_text_ticks(link->latency, latency, TEXT));
    if (stage->below == 1) fprintf(out, stage->mesh ? " between any two devices\n" : " from each device");
    else fprintf(out, stage->mesh ? " between any two groups of %" PRIu64 " devices\n" : " from each %" PRIu64 " devices", stage->below);
    if (stage->mesh) continue;
    fprintf(out, " to %s switches", fab_text_count((double)stage->switches, switches, TEXT));
    if (index) fprintf(out, ", oversubscribed %.4g : 1", from->stage[index].oversubscription.value);
    fprintf(out, "\n");
  }
}

static void print_network(FILE *out, const struct fab_profile *profile, const struct fab_topology *topology, int network)
{
  const struct fab_topology_network *from = &topology->network[network];
  char domain[TEXT];
  if (!from->stage_count) {
    fprintf(out, "%s network: none\n", network_names[network]);
    return;
  }
  fprintf(out, "%s network: joins %s devices; %s\n", network_names[network], fab_text_count((double)from->domain, domain, TEXT),
          network ? topology->staged ? "messages, staged through bounce buffers in host memory" : "messages; NICs reach device memory"
          : topology->coherent ? "loads and stores, coherent"
                               : "loads and stores, not coherent");
  for (int i = 0; i < from->stage_count; i++) print_stage(out, profile, topology, network, i);
}

static void print_host(FILE *out, const struct fab_topology *topology)
{
  char a[TEXT], b[TEXT], c[TEXT], d[TEXT];
  fprintf(out, "host of each %s\n  PCIe %s, %s, %s to start a transfer; ", topology->level[0].name,
          fab_text_bandwidth((double)topology->pcie_bandwidth, a, TEXT), fab_text_ticks(topology->pcie_latency, b, TEXT),
          fab_text_ticks(topology->pcie_overhead, c, TEXT));
  fprintf(out, "memory %s", fab_text_bandwidth((double)topology->host_bandwidth, d, TEXT));
  fprintf(out, ", bounce buffers of %s\n", fab_text_bytes((double)topology->chunk, a, TEXT));
  if (topology->devices_per_nic)
    fprintf(out, "  a NIC for %" PRIu64 " device%s, %s at each end of a message\n", topology->devices_per_nic,
            topology->devices_per_nic == 1 ? "" : "s", fab_text_ticks(topology->nic_latency, b, TEXT));
}

void fab_print_topology(FILE *out, const struct fab_profile *profile, const struct fab_topology *topology)
{
  int counts[FAB_STATUSES] = {0};
  fprintf(out, "%s: %s\n", profile->name, profile->title);
  if (*profile->about) fprintf(out, "%s\n", profile->about);
  fprintf(out, "\n");
  print_kinds(out, topology);
  print_levels(out, topology);
  for (int network = 0; network < 2; network++) print_network(out, profile, topology, network);
  print_host(out, topology);
  for (int i = 0; i < profile->quantity_count; i++) counts[profile->quantity[i].quantity->status]++;
  fprintf(out, "numbers: ");
  for (int status = FAB_PUBLISHED, printed = 0; status < FAB_STATUSES; status++)
    if (counts[status]) fprintf(out, "%s%d %s", printed++ ? ", " : "", counts[status], fab_status_names[status]);
  fprintf(out, "\n");
}

static void print_step(FILE *out, const struct fab_topology *topology, const struct fab_step *step, uint64_t bytes, bool narrowest)
{
  char name[TEXT], latency[TEXT], overhead[TEXT], bandwidth[TEXT], busy[TEXT];
  fprintf(out, "    %-44s %10s %10s %12s %10s%s\n", fab_step_text(topology, step, name, TEXT), fab_text_ticks(step->latency, latency, TEXT),
          fab_text_ticks(step->overhead, overhead, TEXT),
          step->bandwidth ? fab_text_bandwidth((double)step->bandwidth, bandwidth, TEXT) : "-",
          fab_text_ticks(fab_step_busy(step, bytes), busy, TEXT), narrowest ? " *" : "");
}

static void print_leg(FILE *out, const struct fab_topology *topology, const struct fab_leg *leg, uint64_t bytes)
{
  uint64_t busy = fab_leg_busy(leg, bytes);
  char latency[TEXT], text[TEXT];
  bool marked = false;
  for (int i = 0; i < leg->count; i++) {
    bool narrowest = !marked && fab_step_busy(&leg->step[i], bytes) == busy;
    print_step(out, topology, &leg->step[i], bytes, narrowest);
    marked |= narrowest;
  }
  fprintf(out, "    %-44s %10s %23s %10s\n", "latencies add up; of the bytes counts *", fab_text_ticks(fab_leg_latency(leg), latency, TEXT),
          "", fab_text_ticks(busy, text, TEXT));
}

static void print_way(FILE *out, const struct fab_topology *topology, const struct fab_path *path, const struct fab_pair *pair)
{
  uint64_t chunk = path->chunk && path->chunk < pair->bytes ? path->chunk : pair->bytes;
  char size[TEXT], total[TEXT], piece[TEXT], rate[TEXT];
  uint64_t ticks = fab_path_ticks(path, pair->bytes, 0);
  fprintf(out, "  %s: %s take %s", fab_way_names[path->way], fab_text_bytes((double)pair->bytes, size, TEXT),
          fab_text_ticks(ticks, total, TEXT));
  if (ticks) fprintf(out, " (%s)", fab_text_bandwidth((double)pair->bytes * (double)FAB_TICKS_PER_SECOND / (double)ticks, rate, TEXT));
  fprintf(out, ", %.3g uJ\n", fab_path_picojoules(path, pair->bytes) / 1e6);
  fprintf(out, "    %-44s %10s %10s %12s %10s\n", "step", "latency", "overhead", "bandwidth", fab_text_bytes((double)chunk, piece, TEXT));
  for (int leg = 0; leg < path->count; leg++) print_leg(out, topology, &path->leg[leg], chunk);
  if (path->count > 1 && pair->bytes > chunk)
    fprintf(out, "    %" PRIu64 " chunks, pipelined: all legs once, then the longest leg for each other chunk\n",
            (pair->bytes + chunk - 1) / chunk);
}

static void print_access(FILE *out, const struct fab_topology *topology, const struct fab_pair *pair)
{
  static const char *const names[] = {"a load", "a store", "an atomic"};
  char text[TEXT];
  uint64_t ticks;
  for (int access = FAB_ACCESS_LOAD; access <= FAB_ACCESS_ATOMIC; access++)
    if (!fab_access_ticks(topology, pair->a, pair->b, (enum fab_access)access, 8, &ticks))
      fprintf(out, "  %s of 8 B by device %" PRIu64 ": %s\n", names[access], pair->a, fab_text_ticks(ticks, text, TEXT));
}

/* The ways above are those of bytes that device a sends. */
static void print_read(FILE *out, const struct fab_topology *topology, const struct fab_pair *pair)
{
  char size[TEXT], all[TEXT], request[TEXT];
  struct fab_path path;
  uint64_t ticks;
  if (fab_topology_path(topology, pair->a, pair->b, FAB_WAY_BEST, &path) || fab_read_ticks(topology, pair->a, pair->b, pair->bytes, &ticks))
    return;
  fprintf(out, "  a get of %s by device %" PRIu64 ", %s: %s", fab_text_bytes((double)pair->bytes, size, TEXT), pair->a,
          fab_way_names[path.way], fab_text_ticks(ticks, all, TEXT));
  if (pair->a != pair->b) fprintf(out, ", of which its request %s", fab_text_ticks(fab_request_ticks(&path), request, TEXT));
  fprintf(out, "\n");
}

/* What was measured as a whole, besides what the terms of a way add up to. */
static void print_curves(FILE *out, const struct fab_topology *topology, uint64_t bytes)
{
  char size[TEXT], time[TEXT];
  for (int i = 0; i < FAB_CURVES; i++)
    if (topology->curve[i].count)
      fprintf(out, "  measured: a %s of %s takes %s\n", fab_operation_names[i], fab_text_bytes((double)bytes, size, TEXT),
              fab_text_ticks(fab_curve_time(&topology->curve[i], bytes), time, TEXT));
}

void fab_print_ways(FILE *out, const struct fab_topology *topology, const struct fab_pair *pair)
{
  static const enum fab_way ways[] = {FAB_WAY_LOAD_STORE, FAB_WAY_DIRECT, FAB_WAY_STAGED};
  struct fab_path path, best;
  int level = fab_topology_common_level(topology, pair->a, pair->b);
  fab_topology_path(topology, pair->a, pair->b, FAB_WAY_BEST, &best);
  fprintf(out, "from device %" PRIu64 " to device %" PRIu64 ": %s%s; the best way is %s\n", pair->a, pair->b,
          level < 0 ? "the same device" : "in the same ", level < 0 ? "" : topology->level[level].name, fab_way_names[best.way]);
  for (int i = 0; i < 3; i++)
    if (!fab_topology_path(topology, pair->a, pair->b, ways[i], &path)) print_way(out, topology, &path, pair);
    else fprintf(out, "  %s: there is no such way\n", fab_way_names[ways[i]]);
  print_access(out, topology, pair);
  print_read(out, topology, pair);
  if (pair->a != pair->b) print_curves(out, topology, pair->bytes);
}

static void print_curve_points(FILE *out, const char *name, const struct fab_curve *curve)
{
  char title[TEXT], size[TEXT], time[TEXT], gap[TEXT];
  for (int i = 0; i < curve->count; i++) {
    const struct fab_curve_point *point = &curve->point[i];
    snprintf(title, sizeof title, "operations.%s, %s", name, fab_text_bytes(point->bytes, size, TEXT));
    fprintf(out, "%-40s %-14s %-9s %s", title, fab_text_ticks(fab_ticks_of_ns(point->time), time, TEXT), fab_status_names[curve->status],
            curve->document);
    if (*curve->place) fprintf(out, ": %s", curve->place);
    if (point->gap > 0) fprintf(out, "; gap %s", fab_text_ticks(fab_ticks_of_ns(point->gap), gap, TEXT));
    fprintf(out, "\n");
  }
}

void fab_print_numbers(FILE *out, const struct fab_profile *profile)
{
  for (int i = 0; i < profile->quantity_count; i++) {
    const struct fab_named_quantity *named = &profile->quantity[i];
    const struct fab_quantity *quantity = named->quantity;
    char source[400];
    fprintf(out, "%-40s %-14s %-9s %s", named->name, quantity->text, fab_status_names[quantity->status],
            fab_source_text(quantity, source, sizeof source));
    if (quantity->formula) fprintf(out, "; = %s", quantity->formula);
    if (quantity->status == FAB_ASSUMED) fprintf(out, "; %s to %s", quantity->low_text, quantity->high_text);
    fprintf(out, "\n");
  }
  for (int i = 0; i < FAB_CURVES; i++) print_curve_points(out, fab_operation_names[i], &profile->curve[i]);
}

/* ---- Graph ------------------------------------------------------------------------------------------------------- */

/* One unit of each level is drawn with what is in it; the others are one node that says how many they are. */
static void dot_devices(FILE *out, const struct fab_topology *topology)
{
  uint64_t size = topology->level[0].size < topology->devices ? topology->level[0].size : topology->devices, shown = size > 8 ? 7 : size;
  for (uint64_t i = 0; i < shown; i++) fprintf(out, "  d%" PRIu64 " [label=\"device %" PRIu64 "\", shape=box];\n", i, i);
  if (size > shown) fprintf(out, "  d%" PRIu64 " [label=\"%" PRIu64 " more devices\", shape=box, style=dashed];\n", shown, size - shown);
}

static int dot_device_nodes(const struct fab_topology *topology)
{
  uint64_t size = topology->level[0].size < topology->devices ? topology->level[0].size : topology->devices;
  return size > 8 ? 8 : (int)size;
}

static void dot_first_stage(FILE *out, const struct fab_topology *topology, int network, const char *edge)
{
  const struct fab_topology_stage *stage = &topology->network[network].stage[0];
  int nodes = dot_device_nodes(topology);
  for (int i = 0; i < nodes; i++)
    if (!stage->mesh) fprintf(out, "  d%d -- n%ds0 [%s];\n", i, network, edge);
    else
      for (int j = i + 1; j < nodes; j++) fprintf(out, "  d%d -- d%d [%s];\n", i, j, i || j > 1 ? "" : edge);
}

static void dot_stage(FILE *out, const struct fab_topology *topology, int network, int index)
{
  const struct fab_topology_stage *stage = &topology->network[network].stage[index];
  const struct fab_topology_link *link = &topology->link[stage->link[0]];
  uint64_t others = (topology->devices < stage->size ? topology->devices : stage->size) / stage->below;
  char edge[2 * TEXT], bandwidth[TEXT], latency[TEXT];
  snprintf(edge, sizeof edge, "label=\"%" PRIu64 " x %s\\n%s, %s\"", stage->lanes, link->name,
           fab_text_bandwidth((double)link->bandwidth, bandwidth, TEXT), fab_text_ticks(link->latency, latency, TEXT));
  if (!stage->mesh)
    fprintf(out, "  n%ds%d [label=\"%s, %s\\n%" PRIu64 " switches\", shape=hexagon];\n", network, index, topology->level[stage->level].name,
            network_names[network], stage->switches);
  if (!index) {
    dot_first_stage(out, topology, network, edge);
    return;
  }
  if (topology->network[network].stage[index - 1].mesh) fprintf(out, "  d0 -- n%ds%d [%s];\n", network, index, edge);
  else fprintf(out, "  n%ds%d -- n%ds%d [%s];\n", network, index - 1, network, index, edge);
  if (others > 1) {
    fprintf(out, "  n%ds%dothers [label=\"%" PRIu64 " more of these\", shape=box3d, style=dashed];\n", network, index, others - 1);
    fprintf(out, "  n%ds%dothers -- n%ds%d;\n", network, index, network, index);
  }
}

static void put_quoted(FILE *out, const char *text)
{
  fputc('"', out);
  for (; *text; text++) fprintf(out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
  fputc('"', out);
}

void fab_print_topology_dot(FILE *out, const struct fab_profile *profile, const struct fab_topology *topology)
{
  fprintf(out, "graph ");
  put_quoted(out, profile->name);
  fprintf(out, " {\n  label=");
  put_quoted(out, profile->title);
  fprintf(out, ";\n  rankdir=BT;\n  node [fontname=\"Helvetica\"];\n  edge [fontname=\"Helvetica\", fontsize=10];\n");
  dot_devices(out, topology);
  for (int network = 0; network < 2; network++)
    for (int i = 0; i < topology->network[network].stage_count; i++) dot_stage(out, topology, network, i);
  fprintf(out, "}\n");
}
