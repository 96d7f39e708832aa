/* Pictures: a gnuplot script from rows, and gnuplot's SVG into the page.
 *
 * gnuplot reads the script from a pipe and writes a file in a temporary directory that is removed. Ids in its SVG are the same in every
 * picture; each copy gets a prefix of its own, because all pictures share one page. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/report.h"

struct canvas {
  char directory[64], file[96];
  FILE *script;
};

static int open_canvas(struct canvas *canvas, int width, int height)
{
  char command[160];
  snprintf(canvas->directory, sizeof canvas->directory, "/tmp/uma-report-XXXXXX");
  if (!mkdtemp(canvas->directory)) {
    int error = errno;
    fprintf(stderr, "uma bench: no temporary directory for pictures: %s\n", strerror(error));
    return -error;
  }
  snprintf(canvas->file, sizeof canvas->file, "%s/plot.svg", canvas->directory);
  snprintf(command, sizeof command, "gnuplot >%s/plot.svg 2>%s/errors", canvas->directory, canvas->directory);
  canvas->script = popen(command, "w");
  if (!canvas->script) {
    rmdir(canvas->directory);
    return -ENOMEM;
  }
  fprintf(canvas->script,
          "set terminal svg size %d,%d dynamic enhanced font 'Helvetica,18' background '#ffffff'\n"
          "set border 3 lc '#9aa4b2'\nset tics nomirror tc '#334155'\nset grid lc '#e2e8f0' lt 1\n"
          "unset key\nset encoding utf8\nset datafile missing '?'\n",
          width, height);
  return 0;
}

/* Copies the picture from <svg on, with ids made its own. */
static void embed(FILE *html, const char *svg)
{
  static int pictures;
  const char *const ids[] = {"gpPt", "gpDot", "gnuplot_", "textbox_"};
  const char *at = strstr(svg, "<svg");
  pictures++;
  while (at && *at) {
    size_t i = 0;
    while (i < 4 && strncmp(at, ids[i], strlen(ids[i]))) i++;
    if (i == 4) fputc(*at++, html);
    else {
      fprintf(html, "p%d%s", pictures, ids[i]);
      at += strlen(ids[i]);
    }
  }
}

static char *read_file(const char *file)
{
  FILE *in = fopen(file, "r");
  char *text = NULL;
  size_t room = 0;
  if (!in) return NULL;
  if (getdelim(&text, &room, 0, in) < 0) {
    free(text);
    text = NULL;
  }
  fclose(in);
  return text;
}

static int complain(const struct canvas *canvas, int status)
{
  char file[96];
  snprintf(file, sizeof file, "%s/errors", canvas->directory);
  char *text = read_file(file);
  fprintf(stderr, "uma bench: gnuplot failed with status %d: %s\n", status, text ? text : "it said nothing");
  free(text);
  return -EIO;
}

/* 1 when the picture is in the page, or -errno. */
static int close_canvas(struct canvas *canvas, FILE *html)
{
  char errors[96];
  int status = pclose(canvas->script);
  char *svg = status ? NULL : read_file(canvas->file);
  int result = svg && strstr(svg, "</svg>") ? 1 : complain(canvas, status);
  if (result == 1) embed(html, svg);
  free(svg);
  snprintf(errors, sizeof errors, "%s/errors", canvas->directory);
  unlink(errors);
  unlink(canvas->file);
  rmdir(canvas->directory);
  return result;
}

/* What the colours mean; in the page, where it finds room on any screen. */
static void write_key(FILE *html, const struct bench_curve *curve)
{
  fprintf(html, "<span><i style=\"border-top: 4px %s %s\"></i>", curve->dashed ? "dotted" : "solid", curve->color);
  bench_html(html, curve->label);
  fprintf(html, "</span>\n");
}

/* ---- axes */

static void size_axis(FILE *script, size_t least, size_t most)
{
  int tics = 0, step = 3;
  char text[32];
  for (size_t bytes = least; bytes < most; bytes *= 2) tics++;
  if (tics > 24) step = 4;
  fprintf(script, "set logscale x 2\nset xrange [%g:%g]\nset xtics (", (double)least * 0.8, (double)most * 1.25);
  tics = 0;
  for (size_t bytes = least; bytes <= most; bytes <<= step)
    fprintf(script, "%s'%s' %zu", tics++ ? ", " : "", bench_size_text(bytes, text, sizeof text), bytes);
  fprintf(script, ")\n");
}

static void time_tics(FILE *script)
{
  const char *const units[] = {"ns", "µs", "ms", "s"};
  fprintf(script, "set ytics (");
  for (int power = 0; power <= 10; power++)
    fprintf(script, "%s'%d %s' 1e%d", power ? ", " : "", power % 3 == 0 ? 1 : power % 3 == 1 ? 10 : 100, units[power / 3], power);
  fprintf(script, ")\n");
}

static void value_axis(FILE *script, const char *metric, bool linear)
{
  if (linear) {
    fprintf(script, "set yrange [0:*]\n");
    return;
  }
  fprintf(script, "set logscale y 10\n");
  if (!strcmp(metric, "latency")) time_tics(script);
}

/* ---- lines */

static bool fits(const struct bench_row *row, const struct bench_curve *curve, const char *metric)
{
  return !strcmp(row->bench, curve->bench) && !strcmp(row->path, curve->path) && !strcmp(row->metric, metric) &&
         (!curve->mode || !strcmp(row->mode, curve->mode)) && row->devices == curve->devices && row->bytes;
}

static int compare_bytes(const void *a, const void *b)
{
  size_t x = (*(const struct bench_row *const *)a)->bytes, y = (*(const struct bench_row *const *)b)->bytes;
  return (x > y) - (x < y);
}

/* The curve's rows by size, as a named block of data; how many. */
static int write_curve(FILE *script, const struct bench_rows *rows, const struct bench_plot *plot, int c, size_t range[2])
{
  const struct bench_row *chosen[64];
  int count = 0;
  for (size_t i = 0; i < rows->count && count < 64; i++)
    if (fits(&rows->row[i], &plot->curves[c], plot->metric)) chosen[count++] = &rows->row[i];
  if (!count) return 0;
  qsort(chosen, (size_t)count, sizeof(void *), compare_bytes);
  fprintf(script, "$curve%d << EOD\n", c);
  for (int i = 0; i < count; i++)
    fprintf(script, "%zu %.9g %.9g %.9g\n", chosen[i]->bytes, chosen[i]->median, chosen[i]->min, chosen[i]->max);
  fprintf(script, "EOD\n");
  if (chosen[0]->bytes < range[0]) range[0] = chosen[0]->bytes;
  if (chosen[count - 1]->bytes > range[1]) range[1] = chosen[count - 1]->bytes;
  return count;
}

static bool any_fits(const struct bench_rows *rows, const struct bench_plot *plot)
{
  for (size_t i = 0; i < rows->count; i++)
    for (int c = 0; c < plot->count; c++)
      if (fits(&rows->row[i], &plot->curves[c], plot->metric)) return true;
  return false;
}

int bench_plot_lines(FILE *html, const struct bench_rows *rows, const struct bench_plot *plot)
{
  struct canvas canvas = {0};
  size_t range[2] = {BENCH_ANY, 0};
  int points[plot->count], drawn = 0;
  if (!any_fits(rows, plot)) return 0;
  int result = open_canvas(&canvas, 800, 520);
  if (result) return result;
  for (int c = 0; c < plot->count; c++) points[c] = write_curve(canvas.script, rows, plot, c, range);
  size_axis(canvas.script, range[0], range[1]);
  value_axis(canvas.script, plot->metric, plot->linear);
  fprintf(canvas.script, "set xlabel '%s' tc '#334155'\nset ylabel '%s' tc '#334155'\nplot ", plot->x, plot->y);
  for (int c = 0; c < plot->count; c++) {
    const struct bench_curve *curve = &plot->curves[c];
    if (!points[c]) continue;
    fprintf(canvas.script, "%s$curve%d using 1:2 with linespoints lw 2.5 dt %d pt 7 ps 0.6 lc '%s' notitle", drawn++ ? ", " : "", c,
            curve->dashed ? 2 : 1, curve->color);
  }
  fprintf(canvas.script, "\n");
  fprintf(html, "<p class=\"key\">\n");
  for (int c = 0; c < plot->count; c++)
    if (points[c]) write_key(html, &plot->curves[c]);
  fprintf(html, "</p>\n");
  return close_canvas(&canvas, html);
}

/* ---- bars */

static const struct bench_row *bar_row(const struct bench_rows *rows, const struct bench_bars *bars, int g, const struct bench_curve *curve)
{
  const struct bench_group *group = &bars->groups[g];
  return bench_rows_find(rows, group->bench, curve->path, curve->mode, group->devices, group->bytes, bars->metric);
}

static bool any_bar(const struct bench_rows *rows, const struct bench_bars *bars, const struct bench_curve *curve)
{
  for (int g = 0; g < bars->group_count; g++)
    if (bar_row(rows, bars, g, curve)) return true;
  return false;
}

/* One block a curve: position, value, label. Bars of a group stand side by side, groups one unit apart. */
static void write_bars(FILE *script, const struct bench_rows *rows, const struct bench_bars *bars, const struct bench_curve *curve,
                       int place, int places)
{
  bool time = !strcmp(bars->metric, "latency");
  char text[32];
  fprintf(script, "$bars%d << EOD\n", place);
  for (int g = 0; g < bars->group_count; g++) {
    const struct bench_row *row = bar_row(rows, bars, g, curve);
    if (!row) continue;
    double position = g + (place - (places - 1) / 2.0) * 0.86 / places;
    fprintf(script, "%.4f %.9g \"%s\"\n", position, row->median, bench_value_text(row->median, time ? "ns" : "", text, sizeof text));
  }
  fprintf(script, "EOD\n");
}

static double least_bar(const struct bench_rows *rows, const struct bench_bars *bars)
{
  double least = 1e18;
  for (int g = 0; g < bars->group_count; g++)
    for (int c = 0; c < bars->curve_count; c++) {
      const struct bench_row *row = bar_row(rows, bars, g, &bars->curves[c]);
      if (row && row->median < least) least = row->median;
    }
  return least;
}

static void bar_axes(FILE *script, const struct bench_rows *rows, const struct bench_bars *bars, int places)
{
  if (strcmp(bars->metric, "latency")) fprintf(script, "set yrange [0:*]\nset offsets 0,0,graph 0.08,0\n");
  else {
    fprintf(script, "set logscale y 10\nset yrange [%g:*]\nset offsets 0,0,0,0\n", least_bar(rows, bars) / 3);
    time_tics(script);
  }
  fprintf(script, "set grid noxtics\nset boxwidth %.4f\nset style fill solid 0.92 noborder\nset xrange [-0.55:%.2f]\nset xtics (",
          0.78 / places, bars->group_count - 0.45);
  for (int g = 0; g < bars->group_count; g++) fprintf(script, "%s'%s' %d", g ? ", " : "", bars->groups[g].label, g);
  fprintf(script, ")\nset ylabel '%s' tc '#334155'\n", bars->y);
}

int bench_plot_bars(FILE *html, const struct bench_rows *rows, const struct bench_bars *bars)
{
  struct canvas canvas = {0};
  const struct bench_curve *shown[16];
  int places = 0;
  for (int c = 0; c < bars->curve_count && places < 16; c++)
    if (any_bar(rows, bars, &bars->curves[c])) shown[places++] = &bars->curves[c];
  if (!places) return 0;
  int result = open_canvas(&canvas, 1240, 400);
  if (result) return result;
  FILE *script = canvas.script;
  for (int p = 0; p < places; p++) write_bars(script, rows, bars, shown[p], p, places);
  bar_axes(script, rows, bars, places);
  fprintf(script, "plot ");
  for (int p = 0; p < places; p++)
    fprintf(script,
            "%s$bars%d using 1:2 with boxes lc '%s' notitle, $bars%d using 1:2:3 with labels offset 0,0.6 font ',16' tc '#334155' notitle",
            p ? ", " : "", p, shown[p]->color, p);
  fprintf(script, "\n");
  fprintf(html, "<p class=\"key\">\n");
  for (int p = 0; p < places; p++) write_key(html, shown[p]);
  fprintf(html, "</p>\n");
  return close_canvas(&canvas, html);
}
