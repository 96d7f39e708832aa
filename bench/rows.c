/* Rows of results: statistics, JSON lines in and out, look-up, and the table on a terminal. */
#include "bench/rows.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *bench_command = "uma bench";

static int compare_doubles(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

void bench_statistics(const double *samples, int n, struct bench_statistics *statistics)
{
  double sorted[n];
  memcpy(sorted, samples, sizeof sorted);
  qsort(sorted, (size_t)n, sizeof sorted[0], compare_doubles);
  statistics->median = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
  int first = n / 4, end = n - first;
  double sum = 0;
  for (int i = first; i < end; i++) sum += sorted[i];
  statistics->midmean = sum / (end - first);
  statistics->min = sorted[0];
  statistics->max = sorted[n - 1];
  statistics->n = n;
}

bool bench_row_same(const struct bench_row *a, const struct bench_row *b)
{
  return a->bytes == b->bytes && a->devices == b->devices && !strcmp(a->bench, b->bench) && !strcmp(a->path, b->path) &&
         !strcmp(a->mode, b->mode) && !strcmp(a->metric, b->metric) && !strcmp(a->clock, b->clock) && !strcmp(a->profile, b->profile) &&
         !strcmp(a->unit, b->unit);
}

/* ---- JSON */

int bench_row_write(FILE *out, const struct bench_row *row)
{
  json_t *object = json_pack("{ss ss ss ss ss si sI ss ss sf sf sf si}", "bench", row->bench, "path", row->path, "mode", row->mode, "clock",
                             row->clock, "profile", row->profile, "devices", row->devices, "bytes", (json_int_t)row->bytes, "metric",
                             row->metric, "unit", row->unit, "median", row->median, "min", row->min, "max", row->max, "n", row->n);
  int failed = !object || json_dumpf(object, out, JSON_COMPACT | JSON_REAL_PRECISION(7)) || fputc('\n', out) == EOF;
  json_decref(object);
  return failed ? -EIO : 0;
}

/* Copies the text under `key`; false when it is missing, no text, or too long. */
static bool text_field(const json_t *object, const char *key, char *field, size_t room)
{
  const char *text = json_string_value(json_object_get(object, key));
  if (!text || !*text || strlen(text) >= room) return false;
  strcpy(field, text);
  return true;
}

static const char *parse_texts(const json_t *object, struct bench_row *row)
{
  if (!text_field(object, "bench", row->bench, sizeof row->bench)) return "\"bench\": a name";
  if (!text_field(object, "path", row->path, sizeof row->path)) return "\"path\": a name";
  if (!text_field(object, "mode", row->mode, sizeof row->mode)) return "\"mode\": \"supernode\", \"stacked\" or \"-\"";
  if (!text_field(object, "clock", row->clock, sizeof row->clock)) return "\"clock\": \"measured\" or \"modelled\"";
  if (strcmp(row->clock, "measured") && strcmp(row->clock, "modelled")) return "\"clock\": \"measured\" or \"modelled\"";
  if (!text_field(object, "profile", row->profile, sizeof row->profile)) return "\"profile\": a name or \"-\"";
  if (!text_field(object, "metric", row->metric, sizeof row->metric)) return "\"metric\": a name";
  if (!text_field(object, "unit", row->unit, sizeof row->unit)) return "\"unit\": a name or \"-\"";
  return NULL;
}

static const char *parse_numbers(const json_t *object, struct bench_row *row)
{
  static const char *const keys[] = {"median", "min", "max"};
  double *const fields[] = {&row->median, &row->min, &row->max};
  const json_t *devices = json_object_get(object, "devices"), *bytes = json_object_get(object, "bytes"), *n = json_object_get(object, "n");
  if (!json_is_integer(devices) || json_integer_value(devices) < 0) return "\"devices\": a whole number";
  if (!json_is_integer(bytes) || json_integer_value(bytes) < 0) return "\"bytes\": a whole number";
  if (!json_is_integer(n) || json_integer_value(n) < 1) return "\"n\": a positive whole number";
  for (int i = 0; i < 3; i++) {
    const json_t *number = json_object_get(object, keys[i]);
    if (!json_is_number(number)) return "\"median\", \"min\", \"max\": numbers";
    *fields[i] = json_number_value(number);
  }
  row->devices = (int)json_integer_value(devices);
  row->bytes = (size_t)json_integer_value(bytes);
  row->n = (int)json_integer_value(n);
  return NULL;
}

int bench_row_parse(const char *line, struct bench_row *row, char *why, size_t why_bytes)
{
  json_error_t error;
  json_t *object = json_loads(line, 0, &error);
  struct bench_row parsed = {0};
  const char *expected = NULL;
  if (!object) {
    snprintf(why, why_bytes, "not JSON (%s); expected one row, a JSON object, a line", error.text);
    return -EINVAL;
  }
  expected = json_is_object(object) ? parse_texts(object, &parsed) : "a JSON object";
  if (!expected) expected = parse_numbers(object, &parsed);
  json_decref(object);
  if (expected) {
    snprintf(why, why_bytes, "expected %s", expected);
    return -EINVAL;
  }
  *row = parsed;
  return 0;
}

/* ---- lists of rows */

int bench_rows_add(struct bench_rows *rows, const struct bench_row *row)
{
  if (rows->count == rows->room) {
    size_t room = rows->room ? 2 * rows->room : 64;
    struct bench_row *grown = realloc(rows->row, room * sizeof *grown);
    if (!grown) return -ENOMEM;
    rows->row = grown;
    rows->room = room;
  }
  rows->row[rows->count++] = *row;
  return 0;
}

void bench_rows_free(struct bench_rows *rows)
{
  free(rows->row);
  *rows = (struct bench_rows){0};
}

static int load_lines(struct bench_rows *rows, FILE *in, const char *file)
{
  char *line = NULL, why[256];
  size_t room = 0;
  int result = 0;
  for (long number = 1; !result && getline(&line, &room, in) >= 0; number++) {
    struct bench_row row;
    if (line[strspn(line, " \t\r\n")] == 0) continue;
    result = bench_row_parse(line, &row, why, sizeof why);
    if (result) fprintf(stderr, "%s: %s:%ld: %s\n", bench_command, file, number, why);
    else result = bench_rows_add(rows, &row);
  }
  free(line);
  return result;
}

int bench_rows_load(struct bench_rows *rows, const char *file)
{
  FILE *in = fopen(file, "r");
  if (!in) {
    int error = errno;
    fprintf(stderr, "%s: cannot read '%s': %s; expected a file of rows that --json wrote\n", bench_command, file, strerror(error));
    return -error;
  }
  int result = load_lines(rows, in, file);
  fclose(in);
  return result;
}

int bench_output_check(const char *who, const char *file)
{
  if (!file || !strcmp(file, "-")) return 0;
  int made = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  int fd = made < 0 && errno == EEXIST ? open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : made, error = errno;
  if (made >= 0) unlink(file);
  if (fd >= 0) return close(fd), 0;
  fprintf(stderr, "%s: cannot write '%s': %s\n", who, file, strerror(error));
  return -error;
}

int bench_rows_save(const struct bench_rows *rows, const char *file)
{
  bool standard = !strcmp(file, "-");
  FILE *out = standard ? stdout : fopen(file, "w");
  int result = 0, error = errno;
  if (!out) {
    fprintf(stderr, "%s: cannot write '%s': %s\n", bench_command, file, strerror(error));
    return -error;
  }
  for (size_t i = 0; i < rows->count && !result; i++) result = bench_row_write(out, &rows->row[i]);
  if ((standard ? fflush(out) : fclose(out)) && !result) result = -EIO;
  if (result) fprintf(stderr, "%s: writing '%s': %s\n", bench_command, file, strerror(-result));
  return result;
}

bool bench_row_modelled(const struct bench_row *row)
{
  return !strcmp(row->clock, "modelled");
}

bool bench_row_varied(const struct bench_row *row)
{
  const char *end = strrchr(row->profile, ' ');
  return end && (!strcmp(end, " (low)") || !strcmp(end, " (high)"));
}

static bool fits(const char *wanted, const char *text)
{
  return !wanted || !strcmp(wanted, text);
}

const struct bench_row *bench_rows_find(const struct bench_rows *rows, const char *bench, const char *path, const char *mode, int devices,
                                        size_t bytes, const char *metric)
{
  for (size_t i = 0; i < rows->count; i++) {
    const struct bench_row *row = &rows->row[i];
    if ((devices < 0 || row->devices == devices) && (bytes == BENCH_ANY || row->bytes == bytes) && fits(bench, row->bench) &&
        fits(path, row->path) && fits(mode, row->mode) && fits(metric, row->metric) && !bench_row_modelled(row))
      return row;
  }
  return NULL;
}

const struct bench_row *bench_rows_find_same(const struct bench_rows *rows, const struct bench_row *identity)
{
  for (size_t i = 0; i < rows->count; i++)
    if (bench_row_same(&rows->row[i], identity)) return &rows->row[i];
  return NULL;
}

/* ---- for people */

const char *bench_size_text(size_t bytes, char *text, size_t room)
{
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  double value = (double)bytes;
  for (; value >= 1024 && unit < 4; unit++) value /= 1024;
  snprintf(text, room, value == floor(value) ? "%.0f %s" : "%.1f %s", value, units[unit]);
  if (!bytes) snprintf(text, room, "-");
  return text;
}

/* Three significant digits. */
static void digits(double value, const char *unit, char *text, size_t room)
{
  double size = fabs(value);
  int decimals = size >= 100 || size == 0 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.01 ? 3 : 5;
  snprintf(text, room, "%.*f%s%s", decimals, value, *unit ? " " : "", unit);
}

const char *bench_value_text(double value, const char *unit, char *text, size_t room)
{
  static const char *const times[] = {"ns", "µs", "ms", "s"};
  int scale = 0;
  if (!strcmp(unit, "-")) snprintf(text, room, "%.4f", value);
  else if (strcmp(unit, "ns")) digits(value, unit, text, room);
  else {
    for (; fabs(value) >= 999.5 && scale < 3; scale++) value /= 1000;
    digits(value, times[scale], text, room);
  }
  return text;
}

/* printf counts bytes, and the micro sign has two. */
static int wide(const char *text, int columns)
{
  return columns + (strstr(text, "µ") ? 1 : 0);
}

/* Programs and what numbers sway have tables of their own (parts.h, report.h). */
static bool has_own_table(const struct bench_row *row)
{
  return bench_row_varied(row) || !strncmp(row->bench, "program.", 8);
}

/* The machines of modelled rows, in the order in which they come; returns their number. */
enum { MOST_MACHINES = 8 };
static int find_machines(const struct bench_rows *rows, const char *machines[MOST_MACHINES])
{
  int count = 0;
  for (size_t i = 0; i < rows->count; i++) {
    int known = 0;
    if (!bench_row_modelled(&rows->row[i]) || has_own_table(&rows->row[i])) continue;
    while (known < count && strcmp(machines[known], rows->row[i].profile)) known++;
    if (known == count && count < MOST_MACHINES) machines[count++] = rows->row[i].profile;
  }
  return count;
}

/* The same work on the machine's clock, or the host's for NULL; NULL when there is no such row. */
static const struct bench_row *counterpart(const struct bench_rows *rows, const struct bench_row *row, const char *machine)
{
  struct bench_row wanted = *row;
  snprintf(wanted.clock, sizeof wanted.clock, "%s", machine ? "modelled" : "measured");
  snprintf(wanted.profile, sizeof wanted.profile, "%s", machine ? machine : "-");
  return bench_rows_find_same(rows, &wanted);
}

static void print_values(const struct bench_row *measured, FILE *out)
{
  char text[3][32] = {"-", "-", "-"};
  double values[] = {measured ? measured->median : 0, measured ? measured->min : 0, measured ? measured->max : 0};
  for (int i = 0; i < 3; i++) {
    if (measured) bench_value_text(values[i], measured->unit, text[i], sizeof text[i]);
    fprintf(out, " %*s", wide(text[i], 10), text[i]);
  }
  fprintf(out, " %4d", measured ? measured->n : 0);
}

/* Measured values have columns of their own, and each modelled machine one. */
void bench_rows_print(const struct bench_rows *rows, FILE *out)
{
  const char *machines[MOST_MACHINES];
  char size[32], text[32];
  int count = find_machines(rows, machines);
  size_t here = 0;
  for (size_t i = 0; i < rows->count; i++) here += !has_own_table(&rows->row[i]);
  if (!here) return;
  fprintf(out, "%-28s %-9s %-9s %3s %9s %-9s %10s %10s %10s %4s", "bench", "path", "mode", "dev", "size", "metric", "measured", "min",
          "max", "n");
  for (int m = 0; m < count; m++) fprintf(out, "  %16s", machines[m]);
  fprintf(out, "%s\n", count ? "  (modelled)" : "");
  for (size_t i = 0; i < rows->count; i++) {
    const struct bench_row *row = &rows->row[i], *measured = bench_row_modelled(row) ? counterpart(rows, row, NULL) : row;
    bool first = !has_own_table(row) && (!bench_row_modelled(row) || !measured);
    for (int m = 0; m < count && first && bench_row_modelled(row);
         m++) { /* of those that were only modelled the first machine's row stands for all */
      const struct bench_row *other = counterpart(rows, row, machines[m]);
      if (other) {
        first = other == row;
        break;
      }
    }
    if (!first) continue;
    fprintf(out, "%-28s %-9s %-9s %3d %9s %-9s", row->bench, row->path, row->mode, row->devices,
            bench_size_text(row->bytes, size, sizeof size), row->metric);
    print_values(measured, out);
    for (int m = 0; m < count; m++) {
      const struct bench_row *modelled = counterpart(rows, row, machines[m]);
      snprintf(text, sizeof text, "-");
      if (modelled) bench_value_text(modelled->median, modelled->unit, text, sizeof text);
      fprintf(out, "  %*s", wide(text, 16), text);
    }
    fputc('\n', out);
  }
}
