/* Programs on machines on paper: their rows, the stacked bars, and the tables beside them. Nothing here runs anything. */
#include "bench/parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report.h"
#include "fabric/table.h"
#include "fabric/topology_print.h"

const struct bench_part bench_parts[BENCH_PARTS] = {
    {"compute", "compute", "#0b7a53"},        {"memory", "local memory", "#14b8a6"}, {"scale_up", "scale-up", "#1d4ed8"},
    {"staging", "staging copies", "#ea8a00"}, {"network", "network", "#c1121f"},     {"waiting", "waiting", "#94a3b8"},
};

/* ---- One program */

void bench_parts_mean(const struct uma_modelled *modelled, int devices, double part[BENCH_PARTS])
{
  memset(part, 0, BENCH_PARTS * sizeof *part);
  for (int d = 0; d < devices; d++) {
    const double parts[BENCH_PARTS] = {modelled[d].compute_ns, modelled[d].memory_ns,  modelled[d].scale_up_ns,
                                       modelled[d].staging_ns, modelled[d].network_ns, modelled[d].waiting_ns};
    for (int i = 0; i < BENCH_PARTS; i++) part[i] += parts[i] / devices;
  }
}

void bench_program_run(const struct bench_program *program, struct fab_run *run)
{
  const double *part = program->part;
  *run = (struct fab_run){program->operations, program->work, part[0] + part[1], part[2], part[3] + part[4], part[5]};
}

/* Factors, of the run where it says something, else of the profile. */
static void find_factors(struct bench_program *program, const struct fab_profile *profile, const struct fab_topology *topology)
{
  struct fab_run run;
  double by_run[FAB_FACTORS];
  struct fab_factor factors[FAB_FACTORS];
  bench_program_run(program, &run);
  fab_run_factors(&run, by_run);
  program->efficiency = fab_efficiency(profile, topology, by_run, factors);
  for (int i = 0; i < FAB_FACTORS; i++) program->factor[i] = factors[i].status ? factors[i].value : NAN;
  if (!(program->operations > 0)) program->efficiency = NAN;
}

void bench_program_make(const struct bench_row *identity, const struct uma_modelled *modelled, const struct fab_profile *profile,
                        const struct fab_topology *topology, struct bench_program *program)
{
  int devices = (int)topology->devices;
  *program = (struct bench_program){.row = *identity};
  bench_parts_mean(modelled, devices, program->part);
  for (int d = 0; d < devices; d++) {
    program->row.median += modelled[d].ns / devices;
    program->work += modelled[d].work_ns / devices;
    program->operations += modelled[d].operations_ns / devices;
  }
  find_factors(program, profile, topology);
}

/* ---- Rows */

static int add(const struct bench_program *program, const char *metric, const char *unit, double value, struct bench_row *rows, int count)
{
  if (isnan(value)) return count;
  rows[count] = program->row;
  snprintf(rows[count].metric, sizeof rows->metric, "%s", metric);
  snprintf(rows[count].unit, sizeof rows->unit, "%s", unit);
  rows[count].median = rows[count].min = rows[count].max = value;
  rows[count].n = 1;
  return count + 1;
}

int bench_program_rows(const struct bench_program *program, struct bench_row rows[BENCH_PROGRAM_ROWS])
{
  int count = add(program, "time", "ns", program->row.median, rows, 0);
  for (int i = 0; i < BENCH_PARTS; i++) count = add(program, bench_parts[i].metric, "ns", program->part[i], rows, count);
  if (isnan(program->efficiency)) return count;
  count = add(program, "work", "ns", program->work, rows, count);
  count = add(program, "operations", "ns", program->operations, rows, count);
  for (int i = 0; i < FAB_FACTORS; i++) count = add(program, fab_factor_names[i], "-", program->factor[i], rows, count);
  return add(program, "efficiency", "-", program->efficiency, rows, count);
}

static double value_of(const struct bench_rows *rows, const struct bench_row *time, const char *metric, const char *unit)
{
  struct bench_row wanted = *time;
  snprintf(wanted.metric, sizeof wanted.metric, "%s", metric);
  snprintf(wanted.unit, sizeof wanted.unit, "%s", unit);
  const struct bench_row *row = bench_rows_find_same(rows, &wanted);
  return row ? row->median : NAN;
}

/* False where the row is no program's time. */
static bool take(const struct bench_rows *rows, const struct bench_row *row, struct bench_program *program)
{
  if (strcmp(row->metric, "time") || !bench_row_modelled(row) || bench_row_varied(row)) return false;
  *program = (struct bench_program){.row = *row, .efficiency = value_of(rows, row, "efficiency", "-")};
  for (int i = 0; i < BENCH_PARTS; i++) {
    program->part[i] = value_of(rows, row, bench_parts[i].metric, "ns");
    if (isnan(program->part[i])) return false;
  }
  program->work = value_of(rows, row, "work", "ns");
  program->operations = value_of(rows, row, "operations", "ns");
  for (int i = 0; i < FAB_FACTORS; i++) program->factor[i] = value_of(rows, row, fab_factor_names[i], "-");
  return true;
}

static bool same_work(const struct bench_program *a, const struct bench_program *b)
{
  return !strcmp(a->row.bench, b->row.bench) && a->row.devices == b->row.devices && a->row.bytes == b->row.bytes;
}

int bench_programs_find(const struct bench_rows *rows, struct bench_program *programs)
{
  int count = 0;
  for (size_t i = 0; i < rows->count && count < BENCH_PROGRAMS; i++) {
    struct bench_program program;
    int at = 0;
    if (!take(rows, &rows->row[i], &program)) continue;
    for (int other = 0; other < count; other++) /* behind the last of the same work, or at the end */
      if (same_work(&programs[other], &program)) at = other + 1;
    if (!at) at = count;
    memmove(&programs[at + 1], &programs[at], (size_t)(count++ - at) * sizeof *programs);
    programs[at] = program;
  }
  return count;
}

/* ---- The picture */

enum { WIDTH = 1240, LEFT = 250, BAR = 780, THICK = 30, STEP = 38, HEAD = 42, LEGEND = 44 };

/* How many programs from `first` on are of the same work. */
static int group_of(const struct bench_program *programs, int count, int first)
{
  int size = 1;
  while (first + size < count && same_work(&programs[first], &programs[first + size])) size++;
  return size;
}

static void text_at(FILE *out, double x, double y, const char *style, const char *text)
{
  fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, style);
  bench_html(out, text);
  fprintf(out, "</text>\n");
}

static void draw_legend(FILE *out)
{
  double x = LEFT;
  for (int i = 0; i < BENCH_PARTS; i++) {
    fprintf(out, "<rect x=\"%.1f\" y=\"12\" width=\"18\" height=\"18\" rx=\"3\" fill=\"%s\"/>\n", x, bench_parts[i].color);
    text_at(out, x + 25, 27, "font-size=\"17\"", bench_parts[i].label);
    x += 25 + 9.5 * (double)strlen(bench_parts[i].label) + 28;
  }
}

/* The parts side by side, each with its share where there is room for it. */
static void draw_bar(FILE *out, const struct bench_program *program, double y, double longest)
{
  double x = LEFT;
  char share[32];
  for (int i = 0; i < BENCH_PARTS; i++) {
    double width = BAR * program->part[i] / longest, percent = 100 * program->part[i] / program->row.median;
    if (width <= 0) continue;
    fprintf(out, "<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%d\" fill=\"%s\"><title>", x, y, width, THICK, bench_parts[i].color);
    snprintf(share, sizeof share, ": %.1f %%", percent);
    bench_html(out, bench_parts[i].label);
    fprintf(out, "%s</title></rect>\n", share);
    snprintf(share, sizeof share, "%.0f %%", percent);
    if (width > 46) text_at(out, x + width / 2, y + 21, "font-size=\"15\" fill=\"#fff\" text-anchor=\"middle\"", share);
    x += width;
  }
}

/* "12.3 µs", and how many times the shortest of its group. */
static void draw_total(FILE *out, const struct bench_program *program, double y, double shortest, double longest)
{
  char value[40], text[80];
  double times = program->row.median / shortest;
  bench_value_text(program->row.median, "ns", value, sizeof value);
  snprintf(text, sizeof text, times > 1.05 ? "%s, %.*f×" : "%s", value, times < 10, times);
  text_at(out, LEFT + BAR * program->row.median / longest + 10, y + 21, "font-size=\"17\" font-weight=\"600\"", text);
}

static double draw_group(FILE *out, const struct bench_program *programs, int size, double y)
{
  double shortest = INFINITY, longest = 0;
  char title[200], bytes[32];
  for (int i = 0; i < size; i++) {
    shortest = fmin(shortest, programs[i].row.median);
    longest = fmax(longest, programs[i].row.median);
  }
  snprintf(title, sizeof title, "%s, %d device%s", bench_program_title(programs->row.bench), programs->row.devices,
           programs->row.devices == 1 ? "" : "s");
  if (programs->row.bytes)
    snprintf(title + strlen(title), sizeof title - strlen(title), ", %s", bench_size_text(programs->row.bytes, bytes, sizeof bytes));
  text_at(out, 8, y + 26, "font-size=\"19\" font-weight=\"600\"", title);
  y += HEAD;
  for (int i = 0; i < size; i++, y += STEP) {
    text_at(out, LEFT - 12, y + 21, "font-size=\"17\" text-anchor=\"end\"", programs[i].row.profile);
    if (!(longest > 0)) continue;
    draw_bar(out, &programs[i], y, longest);
    draw_total(out, &programs[i], y, shortest, longest);
  }
  return y + 8;
}

static double picture_height(const struct bench_program *programs, int count)
{
  double height = LEGEND;
  for (int first = 0; first < count;) {
    int size = group_of(programs, count, first);
    height += HEAD + size * STEP + 8;
    first += size;
  }
  return height;
}

void bench_programs_svg(FILE *out, const struct bench_program *programs, int count)
{
  double y = LEGEND;
  fprintf(out,
          "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" width=\"%d\" height=\"%.0f\" font-family=\"Helvetica, Arial, "
          "sans-serif\" fill=\"#0f172a\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
          WIDTH, picture_height(programs, count), WIDTH, picture_height(programs, count));
  draw_legend(out);
  for (int first = 0; first < count;) {
    int size = group_of(programs, count, first);
    y = draw_group(out, programs + first, size, y);
    first += size;
  }
  fprintf(out, "</svg>\n");
}

/* ---- Tables */

enum { WORK_CELLS = 4 };
#define WORK_COLUMNS \
  {"program", -18}, {"machine", -18}, {"mode", -9}, \
  { \
    "devices", 7 \
  }

static void work_cells(const struct bench_program *program, char cells[][FAB_CELL])
{
  snprintf(cells[0], FAB_CELL, "%s", program->row.bench);
  snprintf(cells[1], FAB_CELL, "%s", program->row.profile);
  snprintf(cells[2], FAB_CELL, "%s", program->row.mode);
  snprintf(cells[3], FAB_CELL, "%d", program->row.devices);
}

void bench_programs_table(FILE *out, bool html, const struct bench_program *programs, int count)
{
  enum { COLUMNS = WORK_CELLS + 1 + BENCH_PARTS };
  struct fab_column columns[COLUMNS] = {WORK_COLUMNS, {"time", 9}};
  struct fab_table table = {.out = out, .html = html, .count = COLUMNS, .columns = columns};
  char cells[COLUMNS][FAB_CELL];
  for (int i = 0; i < BENCH_PARTS; i++) columns[WORK_CELLS + 1 + i] = (struct fab_column){bench_parts[i].metric, 8};
  if (!count) return;
  fab_table_begin(&table, "Where the modelled time goes", "Mean of the devices; the shares add up to the time.");
  for (int p = 0; p < count; p++) {
    const struct bench_program *program = &programs[p];
    work_cells(program, cells);
    fab_text_ticks(fab_ticks_of_ns(program->row.median), cells[WORK_CELLS], FAB_CELL);
    for (int i = 0; i < BENCH_PARTS; i++)
      snprintf(cells[WORK_CELLS + 1 + i], FAB_CELL, "%.1f %%", program->row.median > 0 ? 100 * program->part[i] / program->row.median : 0);
    fab_table_row(&table, cells);
  }
  fab_table_end(&table);
}

static void percent(double share, char *cell)
{
  if (isnan(share)) snprintf(cell, FAB_CELL, "-");
  else snprintf(cell, FAB_CELL, share < 0.01 ? "%.2f %%" : "%.1f %%", 100 * share);
}

void bench_programs_efficiency(FILE *out, bool html, const struct bench_program *programs, int count)
{
  static const struct fab_column columns[] = {WORK_COLUMNS,   {"generality", 10}, {"chip", 8},   {"node", 8},
                                              {"cluster", 8}, {"stability", 9},   {"product", 8}};
  enum { COLUMNS = sizeof columns / sizeof columns[0] };
  struct fab_table table = {.out = out, .html = html, .count = COLUMNS, .columns = columns};
  char cells[COLUMNS][FAB_CELL];
  int shown = 0;
  for (int p = 0; p < count; p++) {
    if (isnan(programs[p].efficiency)) continue;
    if (!shown++)
      fab_table_begin(
          &table, "Efficiency: generality x chip x node x cluster x stability",
          "From the run: chip = operations at the stated rate : work (all that uma_compute charges, by the roofline); node = work : time "
          "but for the network; cluster = time but for the network : all time. Waiting goes with scale-up and network as these stand to "
          "each "
          "other. Generality and stability are the profile's, the latter for so many devices.");
    work_cells(&programs[p], cells);
    for (int i = 0; i < FAB_FACTORS; i++) percent(programs[p].factor[i], cells[WORK_CELLS + i]);
    percent(programs[p].efficiency, cells[COLUMNS - 1]);
    fab_table_row(&table, cells);
  }
  if (shown) fab_table_end(&table);
}

void bench_programs_section(FILE *html, const struct bench_rows *rows)
{
  struct bench_program *programs = calloc(BENCH_PROGRAMS, sizeof *programs);
  int count = programs ? bench_programs_find(rows, programs) : 0;
  if (count) {
    fprintf(
        html,
        "<h2>Where the time goes on machines on paper</h2>\n<p class=\"note\">Modelled, not measured: the same programs on a supernode and "
        "on "
        "stacked servers (<code>uma bench program</code>; of your own: <code>uma compare</code>). Bars of one program have one scale; the "
        "number behind a bar says how many times the shortest it is.</p>\n<figure class=\"bars\">\n");
    bench_programs_svg(html, programs, count);
    fprintf(html, "</figure>\n");
    bench_programs_table(html, true, programs, count);
    bench_programs_efficiency(html, true, programs, count);
  }
  free(programs);
}
