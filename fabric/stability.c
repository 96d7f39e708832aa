/* Stability: of the time of a job on all devices, how much makes progress, when each failure throws it back to its last checkpoint.
 *
 * Failures come at random, one of any device stops all: the mean time between failures M of n devices is that of one : n. Writing a checkpoint
 * takes d, what all devices save at what storage takes in; a restart takes R, with reading it back. Between two checkpoints the job works for t,
 * Daly's optimum (J. T. Daly, A higher order estimate of the optimum checkpoint interval for restart dumps, FGCS 22, 2006, equations 20 and 37;
 * its first term is Young's, CACM 17(9), 1974):
 *     t = sqrt(2 d M) (1 + sqrt(d / 2M) / 3 + d / 18 M) - d, and M where d >= 2 M
 *     t of work takes M exp(R / M) (exp((t + d) / M) - 1) of time
 * Where that time goes: a failure begins a restart, which the next one may cut short, so 1 - exp(-R / M) of all time is in restarts; t and d pass
 * once; the rest is work that is done again. */
#include <math.h>
#include <string.h>

#include "fabric/table.h"
#include "fabric/topology_print.h"
#include "fabric/walls.h"

static double daly_interval(double write, double mtbf)
{
  double ratio = write / (2 * mtbf);
  return ratio >= 1 ? mtbf : sqrt(2 * write * mtbf) * (1 + sqrt(ratio) / 3 + ratio / 9) - write;
}

void fab_stability_of(struct fab_stability *s)
{
  double segment, up = exp(-s->restart / s->mtbf);
  s->interval = daly_interval(s->write, s->mtbf);
  segment = s->write > 0 ? s->mtbf * expm1((s->interval + s->write) / s->mtbf) : 1; /* who saves in no time does so always */
  s->value = up * (s->write > 0 ? s->interval / segment : 1);
  s->writing = up * s->write / segment;
  s->restarting = 1 - up;
  s->repeating = fmax(0, 1 - s->value - s->writing - s->restarting);
}

/* The mean of what all devices save, and with how much of them known. */
static double checkpoint_bytes(const struct fab_topology *topology, double share)
{
  double memory = 0;
  uint64_t first = 0;
  for (int i = 0; i < topology->kind_count && first < topology->devices; i++) {
    uint64_t last = topology->kind[i].last < topology->devices ? topology->kind[i].last : topology->devices;
    memory += (double)(last - first) * (double)topology->kind[i].memory_bytes;
    first = last;
  }
  return share * memory / (double)topology->devices;
}

enum end { AS_IS, WORST, BEST };

/* `worst`: which end of its range makes the machine less stable. */
static double at_end(const struct fab_quantity *quantity, enum end end, bool low_is_worst)
{
  if (end == AS_IS) return quantity->value;
  return (end == WORST) == low_is_worst ? quantity->low : quantity->high;
}

static void stability_at(const struct fab_reliability *from, const struct fab_topology *topology, enum end end, struct fab_stability *s)
{
  *s = (struct fab_stability){.mtbf = at_end(&from->mtbf, end, true) / (double)topology->devices,
                              .bytes = checkpoint_bytes(topology, at_end(&from->state, end, false))};
  s->write = s->bytes / at_end(&from->storage_bandwidth, end, true);
  s->restart = at_end(&from->restart, end, false) + s->write;
  fab_stability_of(s);
}

bool fab_stability(const struct fab_profile *profile, const struct fab_topology *topology, struct fab_stability *stability)
{
  struct fab_stability end;
  if (!profile->reliability.mtbf.status) return false;
  stability_at(&profile->reliability, topology, AS_IS, stability);
  stability_at(&profile->reliability, topology, WORST, &end);
  stability->low = end.value;
  stability_at(&profile->reliability, topology, BEST, &end);
  stability->high = end.value;
  return true;
}

enum fab_status fab_stability_status(const struct fab_profile *profile)
{
  const struct fab_reliability *from = &profile->reliability;
  const struct fab_quantity *const all[] = {&from->mtbf, &from->state, &from->storage_bandwidth, &from->restart};
  for (int i = 0; i < 4; i++)
    if (all[i]->status == FAB_ASSUMED) return FAB_ASSUMED;
  return FAB_DERIVED;
}

/* ---- The table --------------------------------------------------------------------------------------------------- */

static void term_row(const struct fab_table *table, const char *term, const char *value, const char *remark)
{
  char cells[5][FAB_CELL] = {0};
  snprintf(cells[0], FAB_CELL, "%s", term);
  snprintf(cells[1], FAB_CELL, "%s", value);
  snprintf(cells[4], FAB_CELL, "%s", remark);
  fab_table_row(table, cells);
}

static void quantity_row(const struct fab_table *table, const char *term, const struct fab_quantity *quantity)
{
  char cells[5][FAB_CELL] = {0};
  snprintf(cells[0], FAB_CELL, "%s", term);
  snprintf(cells[1], FAB_CELL, "%s", quantity->text);
  if (quantity->low < quantity->high) snprintf(cells[2], FAB_CELL, "%s to %s", quantity->low_text, quantity->high_text);
  snprintf(cells[3], FAB_CELL, "%s", fab_status_names[quantity->status]);
  fab_source_text(quantity, cells[4], FAB_CELL);
  size_t used = strlen(cells[4]);
  if (quantity->formula && used < FAB_CELL) snprintf(cells[4] + used, FAB_CELL - used, "; = %s", quantity->formula);
  fab_table_row(table, cells);
}

static void share_row(const struct fab_table *table, const char *term, double share, const char *remark)
{
  char value[FAB_CELL];
  snprintf(value, sizeof value, "%.2f %%", 100 * share);
  term_row(table, term, value, remark);
}

static void print_given(const struct fab_table *table, const struct fab_reliability *from)
{
  quantity_row(table, "between failures of one device", &from->mtbf);
  quantity_row(table, "of its memory, what a checkpoint saves", &from->state);
  quantity_row(table, "storage, for each device", &from->storage_bandwidth);
  quantity_row(table, "restart", &from->restart);
}

static void print_derived(const struct fab_table *table, const struct fab_stability *s, double devices)
{
  char value[FAB_CELL], remark[FAB_CELL], text[40];
  snprintf(remark, sizeof remark, "one device's : %s devices", fab_text_count(devices, text, sizeof text));
  term_row(table, "M: between failures of the machine", fab_text_seconds(s->mtbf, value, FAB_CELL), remark);
  snprintf(remark, sizeof remark, "%s of each device : its storage", fab_text_bytes(s->bytes, text, sizeof text));
  term_row(table, "d: writing a checkpoint", fab_text_seconds(s->write, value, FAB_CELL), remark);
  term_row(table, "R: restart, with reading it", fab_text_seconds(s->restart, value, FAB_CELL), "restart + d");
  snprintf(remark, sizeof remark, "Daly's optimum; Young's: sqrt(2 d M) = %s",
           fab_text_seconds(sqrt(2 * s->write * s->mtbf), text, sizeof text));
  term_row(table, "t: work between two checkpoints", fab_text_seconds(s->interval, value, FAB_CELL), remark);
  share_row(table, "time in checkpoints", s->writing, "d for each t of work");
  share_row(table, "time of work done again", s->repeating, "since the last checkpoint");
  share_row(table, "time in restarts", s->restarting, "1 - exp(-R / M)");
  snprintf(remark, sizeof remark, "%.2f to %.2f %% with all assumed numbers at their worst and at their best", 100 * s->low, 100 * s->high);
  share_row(table, "time that makes progress", s->value, remark);
}

void fab_print_stability(FILE *out, bool html, const struct fab_profile *profile, const struct fab_topology *topology)
{
  static const struct fab_column columns[] = {{"term", -40}, {"value", 12}, {"range", 24}, {"status", -10}, {"source", -40}};
  struct fab_table table = {.out = out, .html = html, .count = 5, .columns = columns};
  struct fab_stability stability;
  char title[200], number[40];
  if (!fab_stability(profile, topology, &stability)) return;
  snprintf(title, sizeof title, "Stability of %s with %s devices", topology->name,
           fab_text_count((double)topology->devices, number, sizeof number));
  fab_table_begin(
      &table, title,
      "A job on all devices, which a failure of any throws back to its last checkpoint (Young, 1974; Daly, 2006). What a vendor "
      "states itself is in the table of efficiency.");
  print_given(&table, &profile->reliability);
  print_derived(&table, &stability, (double)topology->devices);
  fab_table_end(&table);
}
