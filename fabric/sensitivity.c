/* Each assumed number is set to its low and to its high in turn, and the machine made anew. */
#include "fabric/sensitivity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/forms.h"
#include "fabric/table.h"
#include "fabric/topology_print.h"
#include "fabric/walls.h"

const char *const fab_measure_names[FAB_MEASURES] = {
    "load of 8 B from the farthest device in reach",
    "copy of 1 MiB from the first to the last device",
    "ring all-reduce of 256 MiB",
    "all-to-all of 64 KiB",
    "hour of progress, with failures, checkpoints and restarts",
};

static uint64_t hour_of_progress(const struct fab_profile *profile, const struct fab_topology *topology)
{
  struct fab_stability stability = {.value = 1};
  fab_stability(profile, topology, &stability);
  return fab_ticks_of_ns(3600e9 / stability.value);
}

int fab_measure(const struct fab_profile *profile, const struct fab_topology *topology, enum fab_measure measure, uint64_t *ticks)
{
  uint64_t n = topology->devices, domain = topology->network[0].domain;
  struct fab_path path;
  int result = 0;
  switch (measure) {
  case FAB_FARTHEST_LOAD: return fab_access_ticks(topology, 0, (domain < n ? domain : n) - 1, FAB_ACCESS_LOAD, 8, ticks);
  case FAB_FARTHEST_COPY:
    result = fab_topology_path(topology, 0, n - 1, FAB_WAY_BEST, &path);
    if (!result) *ticks = fab_path_ticks(&path, 1 << 20, 0);
    return result;
  case FAB_ALLREDUCE: return fab_form_ring_allreduce(topology, n, 256 << 20, ticks);
  case FAB_PROGRESS: return *ticks = hour_of_progress(profile, topology), 0;
  default: return fab_form_alltoall(topology, n, 1, 64 << 10, ticks);
  }
}

static int measure_with(const struct fab_profile *profile, uint64_t n, enum fab_measure measure, struct fab_quantity *quantity,
                        double value, double *ticks)
{
  struct fab_topology topology;
  double before = quantity->value;
  uint64_t measured = 0;
  quantity->value = value;
  int result = fab_topology_make(profile, n, &topology, stderr);
  if (!result) result = fab_measure(profile, &topology, measure, &measured);
  quantity->value = before;
  *ticks = (double)measured;
  return result;
}

static double strength(const struct fab_sway *sway)
{
  return fmax(fabs(sway->low - 1), fabs(sway->high - 1));
}

static int by_strength(const void *a, const void *b)
{
  double difference = strength(b) - strength(a);
  return difference > 0 ? 1 : difference < 0 ? -1 : 0;
}

static bool is_of_reliability(const struct fab_named_quantity *named)
{
  return !strncmp(named->name, FAB_RELIABILITY ".", strlen(FAB_RELIABILITY "."));
}

static bool has_range(const struct fab_named_quantity *named)
{
  return named->quantity->status == FAB_ASSUMED && named->quantity->low < named->quantity->high;
}

bool fab_is_swayed(const struct fab_named_quantity *named)
{
  static const bool timed[FAB_DIMENSIONS] = {
      [FAB_BYTES] = true, [FAB_BYTES_PER_SECOND] = true, [FAB_DURATION] = true, [FAB_OPERATIONS] = true};
  return has_range(named) && timed[named->quantity->dimension] && !is_of_reliability(named);
}

/* Counts stay, but all that is assumed of reliability is tried: no topology depends on it. */
static bool is_tried(const struct fab_named_quantity *named)
{
  return fab_is_swayed(named) || (is_of_reliability(named) && has_range(named));
}

int fab_sensitivity(struct fab_profile *profile, uint64_t n, enum fab_measure measure, struct fab_sway *sways, int room)
{
  struct fab_sway all[FAB_PROFILE_QUANTITIES];
  double as_is = 0, low = 0, high = 0;
  int count = 0, result = measure_with(profile, n, measure, profile->quantity[0].quantity, profile->quantity[0].quantity->value, &as_is);
  for (int i = 0; i < profile->quantity_count && !result && as_is > 0; i++) {
    struct fab_quantity *quantity = profile->quantity[i].quantity;
    if (!is_tried(&profile->quantity[i])) continue;
    result = measure_with(profile, n, measure, quantity, quantity->low, &low);
    if (!result) result = measure_with(profile, n, measure, quantity, quantity->high, &high);
    struct fab_sway sway = {&profile->quantity[i], low / as_is, high / as_is};
    if (!result && strength(&sway) >= 0.001) all[count++] = sway;
  }
  if (result) return result;
  qsort(all, (size_t)count, sizeof all[0], by_strength);
  if (count > room) count = room;
  for (int i = 0; i < count; i++) sways[i] = all[i];
  return count;
}

static void print_measure(struct fab_table *table, struct fab_profile *profile, uint64_t n, enum fab_measure measure)
{
  enum { SHOWN = 8 };
  struct fab_sway sways[SHOWN] = {0};
  double as_is = 0;
  char title[200], text[40], cells[4][FAB_CELL];
  int count = fab_sensitivity(profile, n, measure, sways, SHOWN);
  if (count < 0 || measure_with(profile, n, measure, profile->quantity[0].quantity, profile->quantity[0].quantity->value, &as_is)) return;
  snprintf(title, sizeof title, "%s: %s", fab_measure_names[measure], fab_text_ticks((uint64_t)as_is, text, sizeof text));
  fab_table_begin(table, title, count ? NULL : "No assumed number sways it.");
  for (int i = 0; i < count && sways[i].quantity; i++) {
    const struct fab_quantity *quantity = sways[i].quantity->quantity;
    snprintf(cells[0], FAB_CELL, "%s", sways[i].quantity->name);
    snprintf(cells[1], FAB_CELL, "%s, %s to %s", quantity->text, quantity->low_text, quantity->high_text);
    snprintf(cells[2], FAB_CELL, "%+.1f %%", 100 * (sways[i].low - 1));
    snprintf(cells[3], FAB_CELL, "%+.1f %%", 100 * (sways[i].high - 1));
    fab_table_row(table, cells);
  }
  fab_table_end(table);
}

void fab_print_sensitivity(FILE *out, bool html, struct fab_profile *profile, uint64_t n)
{
  static const struct fab_column columns[] = {{"assumed", -36}, {"as", -34}, {"at its low", 11}, {"at its high", 11}};
  struct fab_table table = {.out = out, .html = html, .count = 4, .columns = columns};
  for (int measure = 0; measure < FAB_MEASURES; measure++) print_measure(&table, profile, n, (enum fab_measure)measure);
}
