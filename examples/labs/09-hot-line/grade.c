/* Lab 9: Find the hot line.
 *
 * The devices act one at a time, in the same order in every run, so what the caches count is exact: a kernel has one number of coherence
 * misses, not one a run. */
#include <dlfcn.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices.h"
#include "kernels.h"
#include "page.h"

enum { DEVICES = 4, ITEMS = 400, READ_EVERY = 50, BAG = 4, BAGS = 250, LINE = 64, CACHE = 16 << 10, HOT_LINES = 6, LINES = 8, WORDS = 8 };

struct functions {
  void *(*histogram_create)(int, int);
  void (*histogram_add)(void *, int);
  void (*histogram_finish)(void *);
  uint64_t (*histogram_read)(void *, int);
  void *(*counters_create)(int);
  void (*counters_count)(void *, uint64_t);
  uint64_t (*counters_read)(void *, int);
  void *(*bag_create)(int, int, const uint32_t *, const int *);
  void (*bag_sum)(void *, const int *, int, uint32_t *);
  void (*bag_finish)(void *);
  uint64_t (*bag_uses)(void *, int);
};

/* What the devices share. Items are drawn before they start; what they find is compared when they have ended. */
struct run {
  struct turns turns;
  struct functions f;
  void *object;
  int bins, rows;
  int items[DEVICES][ITEMS];
  uint64_t amounts[DEVICES][ITEMS];
  int lookups[DEVICES][BAGS][BAG];
  uint32_t values[MOST_ROWS * DIMENSION];
  int user[MOST_ROWS];
  uint64_t found[MOST_ROWS], seen[ITEMS / READ_EVERY][DEVICES];
  uint32_t sums[DEVICES][BAGS][DIMENSION];
  struct uma_counters before[DEVICES], after[DEVICES];
};

static int rows_of(struct lab *lab)
{
  return 32 * (int)lab_number(lab, "rows", 24, 30);
}

static int bins_of(struct lab *lab)
{
  return (int)lab_number(lab, "bins", 20, 56);
}

/* Merging costs each device the lines of the bins once; so much twice is allowed. */
static uint64_t most_histogram_misses(struct lab *lab)
{
  return 2 * DEVICES * (uint64_t)((bins_of(lab) + 7) / 8);
}

/* Device 0 misses each other's counter when it reads. */
static uint64_t most_counter_misses(void)
{
  return (DEVICES - 1) * (ITEMS / READ_EVERY);
}

/* As much as merging costs when each device goes once over the uses of all rows. */
static uint64_t most_bag_misses(struct lab *lab)
{
  return DEVICES * (uint64_t)(rows_of(lab) / 8);
}

/* One lookup in eight may be of any row. Such a row is fetched from another device and given back to it, with at most 3 messages each; the
 * rest of the 13 is for the first use of each row, for finding rows, and for merging. */
static uint64_t most_bag_hops(void)
{
  return 13 * DEVICES * BAGS * BAG / 8;
}

static void task(struct lab *lab)
{
  lab_say(lab, "  your histogram has %d bins, your table %d rows", bins_of(lab), rows_of(lab));
  lab_say(lab, "  coherence misses (true and false sharing) at most: histogram %lu, counters %lu, bag %lu", most_histogram_misses(lab),
          most_counter_misses(), most_bag_misses(lab));
  lab_say(lab, "  messages of the bag from one device to another (hops) at most: %lu", most_bag_hops());
}

static struct run *make_run(struct lab *lab)
{
  struct run *run = lab_shared(lab, sizeof *run);
  run->f =
      (struct functions){lab_function(lab, "histogram_create"), lab_function(lab, "histogram_add"),   lab_function(lab, "histogram_finish"),
                         lab_function(lab, "histogram_read"),   lab_function(lab, "counters_create"), lab_function(lab, "counters_count"),
                         lab_function(lab, "counters_read"),    lab_function(lab, "bag_create"),      lab_function(lab, "bag_sum"),
                         lab_function(lab, "bag_finish"),       lab_function(lab, "bag_uses")};
  uint64_t seed = lab_seed(lab, "items");
  run->bins = bins_of(lab), run->rows = rows_of(lab);
  turns_init(&run->turns, DEVICES);
  for (int d = 0; d < DEVICES; d++)
    for (int i = 0; i < ITEMS; i++) {
      run->items[d][i] = (int)(lab_draw(&seed) % (uint64_t)run->bins);
      run->amounts[d][i] = 1 + lab_draw(&seed) % 9;
    }
  for (int r = 0; r < run->rows; r++) run->user[r] = (int)(lab_draw(&seed) % DEVICES);
  for (int v = 0; v < run->rows * DIMENSION; v++) run->values[v] = (uint32_t)(lab_draw(&seed) % 100);
  return run;
}

/* Seven in eight of the rows that this device uses most. */
static void draw_lookups(struct lab *lab, struct run *run)
{
  uint64_t seed = lab_seed(lab, "lookups");
  for (int d = 0; d < DEVICES; d++)
    for (int i = 0; i < BAGS * BAG; i++) {
      bool any = lab_draw(&seed) % 8 == 0;
      int row;
      do row = (int)(lab_draw(&seed) % (uint64_t)run->rows);
      while (!any && run->user[row] != d);
      run->lookups[d][i / BAG][i % BAG] = row;
    }
}

/* ---- On the devices ---------------------------------------------------------------------------------------------- */

/* Device 0 makes the object; then all count from here. Returns false where there is none. */
static bool begin(struct run *run, void *object)
{
  if (!uma_device()) run->object = object;
  uma_barrier();
  uma_counters(uma_device(), &run->before[uma_device()]);
  uma_barrier();
  if (!run->object && !uma_device()) fprintf(stderr, "create returned NULL: %s\n", uma_last_error());
  return run->object;
}

static void end(struct run *run)
{
  uma_barrier();
  uma_counters(uma_device(), &run->after[uma_device()]);
  uma_barrier();
}

static int histogram_on_device(void *argument)
{
  struct run *run = argument;
  if (!begin(run, uma_device() ? NULL : run->f.histogram_create(DEVICES, run->bins))) return 1;
  for (int i = 0; i <= ITEMS; i++) {
    turns_await(&run->turns);
    if (i < ITEMS) run->f.histogram_add(run->object, run->items[uma_device()][i]);
    else run->f.histogram_finish(run->object);
    turns_pass(&run->turns);
  }
  end(run);
  for (int b = 0; b < run->bins && !uma_device(); b++) run->found[b] = run->f.histogram_read(run->object, b);
  return uma_barrier();
}

static int counters_on_device(void *argument)
{
  struct run *run = argument;
  if (!begin(run, uma_device() ? NULL : run->f.counters_create(DEVICES))) return 1;
  for (int i = 0; i < ITEMS; i++) {
    turns_await(&run->turns);
    if (!uma_device() && i && i % READ_EVERY == 0)
      for (int d = 0; d < DEVICES; d++) run->seen[i / READ_EVERY][d] = run->f.counters_read(run->object, d);
    run->f.counters_count(run->object, run->amounts[uma_device()][i]);
    turns_pass(&run->turns);
  }
  end(run);
  for (int d = 0; d < DEVICES && !uma_device(); d++) run->found[d] = run->f.counters_read(run->object, d);
  return uma_barrier();
}

static int bag_on_device(void *argument)
{
  struct run *run = argument;
  if (!begin(run, uma_device() ? NULL : run->f.bag_create(DEVICES, run->rows, run->values, run->user))) return 1;
  for (int i = 0; i <= BAGS; i++) {
    turns_await(&run->turns);
    if (i < BAGS) run->f.bag_sum(run->object, run->lookups[uma_device()][i], BAG, run->sums[uma_device()][i]);
    else run->f.bag_finish(run->object);
    turns_pass(&run->turns);
  }
  end(run);
  for (int r = 0; r < run->rows && !uma_device(); r++) run->found[r] = run->f.bag_uses(run->object, r);
  return uma_barrier();
}

/* ---- The exact hot-line table ------------------------------------------------------------------------------------ */

/* The command `uma` of the library that this judge is linked with: beside it in a build, in ../bin where it is installed. */
static bool find_command(char *command)
{
  Dl_info info;
  char folder[PATH_MAX];
  if (!dladdr((void *)(uintptr_t)uma_spawn, &info) || !realpath(info.dli_fname, folder)) return false;
  *strrchr(folder, '/') = 0;
  static const char *const places[] = {"/uma", "/../bin/uma"};
  for (int i = 0; i < 2; i++) {
    snprintf(command, 2 * PATH_MAX, "%s%s", folder, places[i]);
    if (!access(command, X_OK)) return true;
  }
  return false;
}

static void put_runs(FILE *out, const char *verb, json_t *runs)
{
  size_t i;
  json_t *run;
  json_array_foreach(runs, i, run)
  {
    int first = (int)json_integer_value(json_array_get(run, 0)), last = (int)json_integer_value(json_array_get(run, 1));
    fprintf(out, "%s%d", i ? ", " : verb, first);
    if (last > first) fprintf(out, "-%d", last);
  }
}

static void put_devices(FILE *out, json_t *line)
{
  size_t d;
  json_t *device;
  json_array_foreach(json_object_get(line, "devices"), d, device)
  {
    fprintf(out, "%s%d:", d ? "<br>" : "", (int)json_integer_value(json_object_get(device, "device")));
    put_runs(out, " loads ", json_object_get(device, "loads"));
    put_runs(out, json_array_size(json_object_get(device, "loads")) ? "; stores " : " stores ", json_object_get(device, "stores"));
  }
}

static int64_t miss(json_t *line, const char *kind)
{
  return json_integer_value(json_object_get(json_object_get(line, "misses"), kind));
}

static void put_line(FILE *out, json_t *line, int number)
{
  const char *site = json_string_value(json_object_get(json_array_get(json_object_get(line, "blocks"), 0), "site"));
  const char *verdict = json_string_value(json_object_get(line, "verdict")), *slash = site ? strrchr(site, '/') : NULL;
  site = slash ? slash + 1 : site ? site : "?";
  int64_t is_true = miss(line, "true sharing"), is_false = miss(line, "false sharing");
  fprintf(out, "<tr class=\"item\" data-say=\"line %d: %" PRId64 " misses by true, %" PRId64 " by false sharing; allocated at ", number,
          is_true, is_false);
  page_text(out, site);
  fprintf(out, "\"><td>%s<br>%s<td>%d<td>%" PRId64 "<td>%" PRId64 "<td>%" PRId64 "<td>%" PRId64 "<td>",
          json_string_value(json_object_get(line, "line")), site, (int)json_integer_value(json_object_get(line, "home")), is_true, is_false,
          (int64_t)json_integer_value(json_object_get(line, "upgrades")), (int64_t)json_integer_value(json_object_get(line, "messages")));
  page_text(out, verdict);
  fputs("<td class=\"bytes\">", out);
  put_devices(out, line);
  fputs("</tr>\n", out);
}

static void put_table(FILE *out, FILE *lines)
{
  char *text = NULL;
  size_t room = 0;
  fputs("<style>table{font-size:.85em}.bytes{white-space:nowrap}</style><table><tr><th>line, allocated at<th>home<th>true<br>sharing"
        "<th>false<br>sharing<th>upgrades<th>messages<th>verdict<th>bytes that each device touches</tr>\n",
        out);
  for (int number = 1; getline(&text, &room, lines) > 0; number++) {
    json_t *line = json_loads(text, 0, NULL);
    if (line) put_line(out, line, number);
    json_decref(line);
  }
  free(text);
  fputs("</table>\n", out);
}

static void draw_hot_lines(struct lab *lab, const char *file, const char *kernel, int trace)
{
  char command[2 * PATH_MAX], line[5 * PATH_MAX], about[128];
  FILE *lines = tmpfile();
  if (!lines || !find_command(command)) return;
  snprintf(line, sizeof line, "'%s' trace --top %d --json /dev/fd/%d /dev/fd/%d >/dev/null", command, HOT_LINES, fileno(lines), trace);
  if (system(line)) lab_say(lab, "  no table of hot lines: `%s` failed", line);
  rewind(lines);
  snprintf(about, sizeof about, "The hot lines of your %s", kernel);
  FILE *out = lab_picture(lab, file, about);
  page_begin(out, about,
             "The lines whose sharing costs most, exactly, as uma trace --top counts them. A verdict of true sharing: devices use the same "
             "bytes. False sharing: they only use the same line.");
  put_table(out, lines);
  page_end(out);
  fclose(lines);
}

/* ---- Judging ----------------------------------------------------------------------------------------------------- */

struct cost {
  uint64_t is_true, is_false, hops;
};

/* Runs the kernel; draws its table; what it cost. */
static struct cost run_kernel(struct lab *lab, struct run *run, const char *kernel, const char *file, int (*function)(void *))
{
  struct cost cost = {0};
  char path[64];
  int trace = memfd_create("trace", 0);
  snprintf(path, sizeof path, "/proc/%d/fd/%d", getpid(), trace);
  struct uma_config config = {.coherence = UMA_COHERENCE_LINE, .line = LINE, .cache = CACHE, .memory = 64 << 20, .trace = path};
  devices_run(lab, &config, DEVICES, function, run);
  draw_hot_lines(lab, file, kernel, trace);
  for (int d = 0; d < DEVICES; d++) {
    cost.is_true += run->after[d].misses_true_sharing - run->before[d].misses_true_sharing;
    cost.is_false += run->after[d].misses_false_sharing - run->before[d].misses_false_sharing;
    cost.hops += run->after[d].hops - run->before[d].hops;
  }
  return cost;
}

static void tell_sharing(struct lab *lab, const char *kernel, const struct cost *cost, uint64_t most)
{
  char key[64];
  bool is_false = cost->is_false > most / 2 && cost->is_false > cost->is_true;
  snprintf(key, sizeof key, "%s-sharing-%s", is_false ? "false" : "true", kernel);
  if (is_false)
    lab_mistake(lab, key,
                "The %s: devices use different bytes of the same lines (false sharing). What one device stores to must have lines of its "
                "own: aligned to %d, or in that device's window.",
                kernel, LINE);
  else
    lab_mistake(lab, key,
                "The %s: devices store to the same bytes (true sharing). Padding does not help against that: let each device add up for "
                "itself, and bring the sums together rarely.",
                kernel);
}

static void check_misses(struct lab *lab, int points, const char *kernel, bool right, const struct cost *cost, uint64_t most)
{
  uint64_t misses = cost->is_true + cost->is_false;
  char what[LAB_TEXT];
  snprintf(what, sizeof what, "%s: at most %lu coherence misses", kernel, most);
  if (!right) lab_check(lab, points, false, what, "looked at when the results are right");
  else if (!lab_check(lab, points, misses <= most, what, "%lu: %lu by true, %lu by false sharing. See the table of hot lines", misses,
                      cost->is_true, cost->is_false))
    tell_sharing(lab, kernel, cost, most);
}

static void grade_histogram(struct lab *lab)
{
  struct run *run = make_run(lab);
  uint64_t right[MOST_BINS] = {0}, own[MOST_BINS] = {0};
  int bad = -1;
  struct cost cost = run_kernel(lab, run, "histogram", "hot-histogram.html", histogram_on_device);
  for (int d = 0; d < DEVICES; d++)
    for (int i = 0; i < ITEMS; i++) right[run->items[d][i]]++, own[run->items[d][i]] += d == 0;
  for (int b = run->bins - 1; b >= 0; b--)
    if (run->found[b] != right[b]) bad = b;
  lab_check(lab, 6, bad < 0, "histogram: the same result", "bin %d holds %lu, expected %lu", bad, bad < 0 ? 0 : run->found[bad],
            bad < 0 ? 0 : right[bad]);
  if (bad >= 0 && !memcmp(run->found, own, (size_t)run->bins * sizeof own[0]))
    lab_mistake(lab, "not-merged",
                "These are the counts of device 0 alone: what the others have added up must be brought together in histogram_finish, which "
                "each device calls.");
  check_misses(lab, 18, "histogram", bad < 0, &cost, most_histogram_misses(lab));
}

static void grade_counters(struct lab *lab)
{
  struct run *run = make_run(lab);
  uint64_t right[DEVICES] = {0}, shown = 0, expected = 0;
  int at = -1;
  bool late = true;
  struct cost cost = run_kernel(lab, run, "counters", "hot-counters.html", counters_on_device);
  for (int i = 0; i < ITEMS; i++) {
    for (int d = 0; d < DEVICES && i && i % READ_EVERY == 0; d++) {
      uint64_t seen = run->seen[i / READ_EVERY][d];
      late &= seen <= right[d];
      if (seen != right[d] && at < 0) at = i, shown = seen, expected = right[d];
    }
    for (int d = 0; d < DEVICES; d++) right[d] += run->amounts[d][i];
  }
  bool ends = !memcmp(right, run->found, sizeof right);
  lab_check(lab, 6, at < 0 && ends, "counters: the same result, at all times",
            at < 0 ? "at the end the counters differ from what was counted" : "device 0 read at item %d: a counter of %lu, expected %lu",
            at, shown, expected);
  if (at >= 0 && late)
    lab_mistake(lab, "too-late",
                "Device 0 sees less than was counted: amounts that are kept back in private variables are invisible. These counters are "
                "read all the time; they need another way than the histogram.");
  check_misses(lab, 15, "counters", at < 0 && ends, &cost, most_counter_misses());
}

static bool sums_are_right(const struct run *run)
{
  for (int d = 0; d < DEVICES; d++)
    for (int i = 0; i < BAGS; i++)
      for (int v = 0; v < DIMENSION; v++) {
        uint32_t sum = 0;
        for (int b = 0; b < BAG; b++) sum += run->values[run->lookups[d][i][b] * DIMENSION + v];
        if (sum != run->sums[d][i][v]) return false;
      }
  return true;
}

static void grade_bag(struct lab *lab)
{
  struct run *run = make_run(lab);
  uint64_t uses[MOST_ROWS] = {0}, most = most_bag_hops();
  int bad = -1;
  draw_lookups(lab, run);
  struct cost cost = run_kernel(lab, run, "bag", "hot-bag.html", bag_on_device);
  for (int d = 0; d < DEVICES; d++)
    for (int i = 0; i < BAGS * BAG; i++) uses[run->lookups[d][i / BAG][i % BAG]]++;
  for (int r = run->rows - 1; r >= 0; r--)
    if (run->found[r] != uses[r]) bad = r;
  bool right = lab_check(lab, 4, sums_are_right(run), "bag: the same sums", "a sum differs from that of the rows' values");
  right &= lab_check(lab, 4, bad < 0, "bag: the same uses", "row %d was used %lu times, expected %lu", bad, bad < 0 ? 0 : run->found[bad],
                     bad < 0 ? 0 : uses[bad]);
  check_misses(lab, 18, "bag", right, &cost, most_bag_misses(lab));
  if (!right) lab_check(lab, 13, false, "bag: placement", "looked at when the results are right");
  else if (!lab_check(lab, 13, cost.hops <= most, "bag: placement", "%lu messages went from one device to another; expected at most %lu",
                      cost.hops, most) &&
           cost.is_true + cost.is_false <= most_bag_misses(lab))
    lab_mistake(lab, "far-home",
                "The lines are no longer hot, but far from where they are used: the caches are too small for the table, so most rows are "
                "fetched again and again. A row whose home is its user needs no message to another device.");
}

/* ---- Eight lines: which sharing is it? --------------------------------------------------------------------------- */

enum sharing { NONE, TRUE_SHARING, FALSE_SHARING };
static const char *const sharings[] = {"none", "true", "false"};

/* What a device does to the line: words that it loads and stores, or -1. */
struct touch {
  int loads, stores;
};

/* One of six ways to use a line, with words and devices drawn at random. */
static enum sharing draw_use(uint64_t *seed, struct touch touches[DEVICES])
{
  int way = (int)(lab_draw(seed) % 6), word = (int)(lab_draw(seed) % WORDS), device = (int)(lab_draw(seed) % DEVICES);
  int other = (word + 1 + (int)(lab_draw(seed) % (WORDS - 1))) % WORDS;
  for (int d = 0; d < DEVICES; d++) {
    int own = (word + d) % WORDS;
    touches[d] = (struct touch){-1, -1};
    if (way == 0) touches[d] = (struct touch){word, word};                      /* all add to one word */
    else if (way == 1) touches[d] = (struct touch){own, own};                   /* each adds to its own */
    else if (way == 2) touches[d].loads = own;                                  /* nobody stores */
    else if (d == device && way == 3) touches[d] = (struct touch){other, word}; /* nobody else is there */
    else if (d == device) touches[d].stores = word;                             /* one stores, the others load: that word, or another */
    else if (way > 3) touches[d].loads = way == 4 ? word : other;
  }
  static const enum sharing verdicts[] = {TRUE_SHARING, FALSE_SHARING, NONE, NONE, TRUE_SHARING, FALSE_SHARING};
  return verdicts[way];
}

static void put_touch(FILE *out, const char *verb, int word)
{
  if (word >= 0) fprintf(out, " %s %d-%d", verb, word * 8, word * 8 + 7);
}

static void put_use(FILE *out, int number, const struct touch touches[DEVICES])
{
  fprintf(out, "<tr class=\"item\" data-say=\"line %d: true, false or none?\"><td>%d<td class=\"bytes\">", number, number);
  for (int d = 0; d < DEVICES; d++) {
    if (touches[d].loads < 0 && touches[d].stores < 0) continue;
    fprintf(out, "device %d:", d);
    put_touch(out, "loads", touches[d].loads), put_touch(out, "stores", touches[d].stores);
    fputs("<br>", out);
  }
  fputs("</tr>\n", out);
}

static bool read_answer(const char *text, int number, char *answer)
{
  int line;
  for (; text; text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL)
    if (sscanf(text, "%d %7s", &line, answer) == 2 && line == number) return true;
  return false;
}

static void grade_found(struct lab *lab)
{
  char *text = lab_read(lab, "found.txt"), answer[8];
  uint64_t seed = lab_seed(lab, "lines");
  int right = 0, by_line = 0;
  FILE *out = lab_picture(lab, "lines.html", "your eight lines for found.txt");
  page_begin(out, "Eight lines",
             "Each device does this again and again, in turn. Is it true sharing, false sharing, or none that costs anything?");
  fputs("<table><tr><th>line<th>bytes that each device touches</tr>\n", out);
  for (int l = 0; l < LINES; l++) {
    struct touch touches[DEVICES];
    enum sharing sharing = draw_use(&seed, touches);
    put_use(out, l, touches);
    if (!read_answer(text, l, answer)) continue;
    right += !strcmp(answer, sharings[sharing]);
    by_line += sharing == FALSE_SHARING && !strcmp(answer, "true");
  }
  fputs("</table>\n", out);
  page_end(out);
  lab_credit(lab, 2 * right, 2 * LINES, "found.txt: the sharing of eight lines", "%d of %d are right; the lines are in lines.html", right,
             LINES);
  if (by_line)
    lab_mistake(lab, "by-line",
                "%d of your lines are called true sharing although no byte is both stored by one device and used by another: the same line "
                "is not enough.",
                by_line);
  free(text);
}

const struct lab_plan lab_plan = {
    .number = 9,
    .title = "Find the hot line",
    .task = task,
    .groups = {{"found", 16, grade_found, 0},
               {"histogram", 24, grade_histogram, 0},
               {"counters", 21, grade_counters, 0},
               {"embedding bag", 39, grade_bag, 0}},
};
