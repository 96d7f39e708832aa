/* How much of what is modelled hangs on numbers that nobody has published (`uma bench --sensitivity`): each assumed number of a profile is put to
 * the low and to the high of its range, and the benchmarks run again on that machine. The machine as it is runs five times; what devices race
 * for makes its results differ, and a number counts only when it moves a result out of their range by a thousandth and by as much as that range
 * is wide.
 *
 * The rows of such a machine have its profile as "MACHINE:NUMBER=VALUE (low)"; so the table can be printed from saved rows as well. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "bench/harness.h"
#include "bench/report.h"
#include "fabric/sensitivity.h"
#include "fabric/table.h"

enum { BASE_PASSES = 4, MOST_RESULTS = 400, SHOWN = 8 };

/* ---- Running */

int bench_sway_count(const char *profile)
{
  struct fab_profile *loaded = fab_profile_load(profile, stderr);
  int passes = BASE_PASSES;
  for (int i = 0; loaded && i < loaded->quantity_count; i++) passes += 2 * fab_is_swayed(&loaded->quantity[i]);
  fab_profile_free(loaded);
  return passes;
}

static int run_at(const char *profile, const char *number, const char *text, const char *end, void (*run)(const char *profile))
{
  char *changed;
  if (asprintf(&changed, "%s%c%s=%s", profile, profile[fab_profile_base(profile)] ? ';' : ':', number, text) < 0) return -ENOMEM;
  bench_run.end = end;
  run(changed);
  bench_run.end = NULL;
  free(changed);
  return 0;
}

/* Is the value of another machine than the one that gave least to most? */
static bool differs(double value, double least, double most)
{
  double margin = fmax(most - least, 0.001 * least);
  return value < least - margin || value > most + margin;
}

/* Whether a series from `first` on is not what the machine as it is has. */
static bool sways(const char *profile, int first)
{
  struct bench_board *board = bench_run.board;
  for (int i = first; i < board->series_count; i++) {
    struct bench_row as_is = board->series[i].row;
    bench_row_model(&as_is, profile);
    for (int b = 0; b < first; b++) {
      struct bench_statistics base;
      if (!bench_row_same(&board->series[b].row, &as_is)) continue;
      bench_statistics(board->series[b].samples, board->series[b].count, &base);
      if (differs(board->series[i].samples[0], base.min, base.max)) return true;
    }
  }
  return false;
}

int bench_sway(const char *profile, void (*run)(const char *profile))
{
  struct fab_profile *loaded = fab_profile_load(profile, stderr);
  int result = loaded ? 0 : bench_fail("%s cannot be modelled", profile);
  for (int i = 0; i < BASE_PASSES && !result; i++) run(profile);
  for (int i = 0; !result && i < loaded->quantity_count; i++) {
    const struct fab_quantity *quantity = loaded->quantity[i].quantity;
    int first = bench_run.board->series_count;
    if (!fab_is_swayed(&loaded->quantity[i])) continue;
    result = run_at(profile, loaded->quantity[i].name, quantity->low_text, "low", run);
    if (!result) result = run_at(profile, loaded->quantity[i].name, quantity->high_text, "high", run);
    if (!sways(profile, first)) bench_run.board->series_count = first;
  }
  fab_profile_free(loaded);
  return result;
}

/* ---- Printing */

/* What a number does to a result; the texts point into the rows. */
struct influence {
  const char *name;
  int name_length;
  const char *text[2]; /* low, high: the rows' profiles from the value on */
  double value[2];
  double strength;
};

/* "MACHINE:NUMBER=VALUE (low)": the number of that machine, its value, which end; false for rows of others. */
static bool split(const char *profile, const char *machine, const char **name, const char **value, int *end)
{
  size_t length = strlen(machine);
  const char *last = strrchr(profile, ' ');
  if (strncmp(profile, machine, length) || !last) return false;
  if (profile[length] != ':' && profile[length] != ';') return false;
  *name = profile + length + 1;
  *value = strchr(*name, '=');
  if (!*value || strchr(*value + 1, '=')) return false;
  ++*value;
  *end = !strcmp(last, " (high)");
  return true;
}

static double change_of(double value, double as_is)
{
  return as_is ? value / as_is - 1 : 0;
}

static int by_strength(const void *a, const void *b)
{
  double difference = ((const struct influence *)b)->strength - ((const struct influence *)a)->strength;
  return difference > 0 ? 1 : difference < 0 ? -1 : 0;
}

static struct influence *find(struct influence *influences, int *count, const char *name, int length, double as_is)
{
  for (int i = 0; i < *count; i++)
    if (influences[i].name_length == length && !strncmp(influences[i].name, name, (size_t)length)) return &influences[i];
  influences[*count] = (struct influence){.name = name, .name_length = length, .text = {"?", "?"}, .value = {as_is, as_is}};
  return &influences[(*count)++];
}

/* Those that move the result, the strongest first; how many. */
static int find_influences(const struct bench_rows *rows, const struct bench_row *as_is, struct influence *influences)
{
  int count = 0, kept = 0;
  for (size_t i = 0; i < rows->count; i++) {
    const struct bench_row *row = &rows->row[i];
    struct bench_row wanted = *as_is;
    const char *name, *value;
    int end;
    memcpy(wanted.profile, row->profile, sizeof wanted.profile);
    if (!bench_row_varied(row) || !bench_row_same(row, &wanted) || !split(row->profile, as_is->profile, &name, &value, &end)) continue;
    if (count == FAB_PROFILE_QUANTITIES) break;
    struct influence *influence = find(influences, &count, name, (int)(value - 1 - name), as_is->median);
    influence->text[end] = value;
    influence->value[end] = row->median;
    if (differs(row->median, as_is->min, as_is->max))
      influence->strength = fmax(influence->strength, fabs(change_of(row->median, as_is->median)));
  }
  for (int i = 0; i < count; i++)
    if (influences[i].strength > 0) influences[kept++] = influences[i];
  qsort(influences, (size_t)kept, sizeof *influences, by_strength);
  return kept;
}

/* One row of a result: its time; of those without one its rate, or bandwidth. */
static bool is_result(const struct bench_rows *rows, const struct bench_row *row)
{
  static const char *const metrics[] = {"time", "latency", "rate", "bandwidth"};
  int rank = 0;
  if (!bench_row_modelled(row) || bench_row_varied(row)) return false;
  while (rank < 4 && strcmp(row->metric, metrics[rank])) rank++;
  for (size_t i = 0; i < rows->count; i++)
    for (int better = 0; better < rank; better++) {
      struct bench_row other = rows->row[i];
      if (strcmp(other.metric, metrics[better])) continue;
      memcpy(other.metric, row->metric, sizeof other.metric);
      memcpy(other.unit, row->unit, sizeof other.unit);
      if (bench_row_same(&other, row)) return false;
    }
  return rank < 4;
}

static void print_end(double value, const struct bench_row *as_is, char *cell)
{
  char text[40];
  snprintf(cell, FAB_CELL, "%s (%+.1f %%)", bench_value_text(value, as_is->unit, text, sizeof text), 100 * change_of(value, as_is->median));
}

static void print_influence(const struct fab_table *table, const struct influence *influence, const struct bench_row *as_is)
{
  char cells[5][FAB_CELL];
  int lengths[2];
  for (int end = 0; end < 2; end++) lengths[end] = (int)(strrchr(influence->text[end], ' ') - influence->text[end]);
  snprintf(cells[0], FAB_CELL, "%.*s", influence->name_length, influence->name);
  snprintf(cells[1], FAB_CELL, "%.*s to %.*s", lengths[0], influence->text[0], lengths[1], influence->text[1]);
  print_end(influence->value[0], as_is, cells[2]);
  bench_value_text(as_is->median, as_is->unit, cells[3], FAB_CELL);
  print_end(influence->value[1], as_is, cells[4]);
  fab_table_row(table, cells);
}

/* "transfer.read, direct, supernode, 2 devices, 8 B: latency on h100-8" */
static void name_result(const struct bench_row *row, char *text, size_t room)
{
  char size[32];
  int used = snprintf(text, room, "%s", row->bench);
  if (strcmp(row->path, "-")) used += snprintf(text + used, room - (size_t)used, ", %s", row->path);
  used += snprintf(text + used, room - (size_t)used, ", %s, %d devices", row->mode, row->devices);
  if (row->bytes) used += snprintf(text + used, room - (size_t)used, ", %s", bench_size_text(row->bytes, size, sizeof size));
  snprintf(text + used, room - (size_t)used, ": %s on %s", row->metric, row->profile);
}

static void print_result(FILE *out, bool html, const struct bench_row *as_is, const struct influence *influences, int count)
{
  static const struct fab_column columns[] = {
      {"assumed number", -36}, {"range", -24}, {"at its low", 22}, {"as it is", 12}, {"at its high", 22}};
  struct fab_table table = {.out = out, .html = html, .count = 5, .columns = columns};
  char title[420], note[160] = "", least[40], most[40];
  name_result(as_is, title, sizeof title);
  bench_value_text(as_is->min, as_is->unit, least, sizeof least);
  bench_value_text(as_is->max, as_is->unit, most, sizeof most);
  if (strcmp(least, most)) snprintf(note, sizeof note, "By itself %s to %s in %d runs, as devices race. ", least, most, as_is->n);
  if (count > SHOWN) snprintf(note + strlen(note), sizeof note - strlen(note), "The strongest %d of %d.", SHOWN, count);
  fab_table_begin(&table, title, *note ? note : NULL);
  for (int i = 0; i < count && i < SHOWN; i++) print_influence(&table, &influences[i], as_is);
  fab_table_end(&table);
}

int bench_sensitivity_print(FILE *out, bool html, const struct bench_rows *rows)
{
  struct influence influences[FAB_PROFILE_QUANTITIES];
  int printed = 0;
  for (size_t i = 0; i < rows->count && printed < MOST_RESULTS; i++) {
    int count = is_result(rows, &rows->row[i]) ? find_influences(rows, &rows->row[i], influences) : 0;
    if (!count) continue;
    if (html && !printed)
      fprintf(out, "<h2>What hangs on assumptions</h2>\n<p class=\"note\">Modelled results with each number that nobody has published at "
                   "the low and the high "
                   "of its plausible range, one at a time; the strongest first.</p>\n");
    printed++;
    print_result(out, html, &rows->row[i], influences, count);
  }
  return printed;
}
