/* The harness in the process that runs the benchmarks: the board, sessions, pinning, progress, and the round trip of one line.
 *
 * The board is shared memory made before any device. While a session runs this process waits in uma_spawn and only device 0 adds
 * series; otherwise only this process does. So series need no lock. The first error is claimed by one exchange of `failed`. */
#include "bench/harness.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bare_link.h"
#include "fabric/futex.h"
#include "fabric/profile.h"

struct bench_run bench_run;

#define SESSION_SECONDS 240 /* a session that lasts longer hangs */

static void find_directory(void)
{
  ssize_t length = readlink("/proc/self/exe", bench_run.directory, sizeof bench_run.directory - 1);
  bench_run.directory[length > 0 ? length : 0] = 0;
  char *slash = strrchr(bench_run.directory, '/');
  if (slash) *slash = 0;
}

int bench_start(const struct bench_options *options)
{
  /* Many short stretches: on a shared host some meet the time slices of others, and the median is of those that did not. */
  bench_run = (struct bench_run){.options = *options, .terminal = isatty(STDERR_FILENO), .passes = 3};
  bench_run.rounds = options->quick ? 9 : 15;
  bench_run.stretch_ns = options->quick ? 0.7e6 : 2e6;
  bench_run.limit_ns = options->limit_ns > 0 ? options->limit_ns : options->quick ? 60e6 : 500e6;
  if (options->passes) bench_run.passes = options->passes;
  bench_run.board = mmap(NULL, sizeof *bench_run.board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (bench_run.board == MAP_FAILED) {
    fprintf(stderr, "%s: no memory for results: %s\n", bench_command, strerror(errno));
    return -ENOMEM;
  }
  find_directory();
  return 0;
}

void bench_finish(struct bench_rows *rows)
{
  struct bench_board *board = bench_run.board;
  for (int i = 0; i < board->series_count; i++) {
    struct bench_series *series = &board->series[i];
    struct bench_statistics statistics;
    if (!series->count) continue;
    bench_statistics(series->samples, series->count, &statistics);
    series->row.median = bench_run.options.midmean ? statistics.midmean : statistics.median;
    series->row.min = statistics.min;
    series->row.max = statistics.max;
    series->row.n = statistics.n;
    if (series->n) {
      series->row.min = series->least;
      series->row.max = series->most;
      series->row.n = series->n;
    }
    bench_rows_add(rows, &series->row);
  }
  munmap(board, sizeof *board);
}

bool bench_selected(const char *name)
{
  for (int i = 0; i < bench_run.options.name_count; i++)
    if (!strncmp(name, bench_run.options.names[i], strlen(bench_run.options.names[i]))) return true;
  return !bench_run.options.name_count;
}

/* ---- errors and samples */

int bench_fail(const char *format, ...)
{
  va_list arguments;
  if (atomic_exchange(&bench_run.board->failed, 1)) return -EIO;
  va_start(arguments, format);
  vsnprintf(bench_run.board->error, sizeof bench_run.board->error, format, arguments);
  va_end(arguments);
  return -EIO;
}

struct bench_series *bench_series(const struct bench_row *identity)
{
  struct bench_board *board = bench_run.board;
  for (int i = 0; i < board->series_count; i++)
    if (bench_row_same(&board->series[i].row, identity)) return &board->series[i];
  if (board->series_count == BENCH_SERIES) return NULL;
  board->series[board->series_count] = (struct bench_series){.row = *identity}; /* one may have been there and given up */
  return &board->series[board->series_count++];
}

/* What a case takes from this host's clock has no place in a pass that models. */
void bench_record(const struct bench_row *identity, double sample)
{
  if (bench_run.profile && strcmp(identity->clock, "modelled")) return;
  struct bench_series *series = bench_series(identity);
  if (!series || series->count == BENCH_SAMPLES)
    bench_fail("%s: more than %d rows of %d samples", identity->bench, BENCH_SERIES, BENCH_SAMPLES);
  else series->samples[series->count++] = sample;
}

void bench_record_row(const struct bench_row *row)
{
  struct bench_series *series = bench_run.profile ? NULL : bench_series(row);
  bench_record(row, row->median);
  if (!series) return;
  if (!series->n || row->min < series->least) series->least = row->min;
  if (!series->n || row->max > series->most) series->most = row->max;
  series->n += row->n;
}

struct bench_row bench_row_of(const char *bench, const char *path, const char *mode, int devices, size_t bytes, const char *metric,
                              const char *unit)
{
  struct bench_row row = {.clock = "measured", .profile = "-", .devices = devices, .bytes = bytes};
  snprintf(row.bench, sizeof row.bench, "%s", bench);
  snprintf(row.path, sizeof row.path, "%s", path);
  snprintf(row.mode, sizeof row.mode, "%s", mode);
  snprintf(row.metric, sizeof row.metric, "%s", metric);
  snprintf(row.unit, sizeof row.unit, "%s", unit);
  return row;
}

void bench_row_model(struct bench_row *row, const char *profile)
{
  const char *slash = memrchr(profile, '/', fab_profile_base(profile));
  snprintf(row->clock, sizeof row->clock, "modelled");
  snprintf(row->profile, sizeof row->profile, bench_run.end ? "%s (%s)" : "%s", slash ? slash + 1 : profile, bench_run.end);
}

/* ---- progress */

void bench_progress(const char *format, ...)
{
  va_list arguments;
  char text[128];
  if (!bench_run.terminal) return;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  /* one write: devices and this process share the terminal */
  dprintf(STDERR_FILENO, "\r\033[K[%3d%%] pass %d of %d  %s", bench_run.total ? 100 * bench_run.done / bench_run.total : 0,
          bench_run.pass + 1, bench_run.passes, text);
}

void bench_progress_end(void)
{
  if (bench_run.terminal) dprintf(STDERR_FILENO, "\r\033[K");
}

/* ---- sessions */

/* Refused by some containers: the run is noisier then, and no less right. */
static void pin_all_threads(const cpu_set_t *set)
{
  DIR *threads = opendir("/proc/self/task");
  if (!threads) return;
  for (struct dirent *thread; (thread = readdir(threads));)
    if (atoi(thread->d_name) > 0) sched_setaffinity(atoi(thread->d_name), sizeof *set, set);
  closedir(threads);
}

/* A device with all its threads, those of the library among them: else the scheduler moves two devices onto one processor, for seconds at a time. */
void bench_pin(int device)
{
  static cpu_set_t allowed; /* of the whole program: what this process could use before it was pinned */
  if (!CPU_COUNT(&allowed)) sched_getaffinity(0, sizeof allowed, &allowed);
  int wanted = device % CPU_COUNT(&allowed);
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &allowed) || wanted--) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    pin_all_threads(&one);
    return;
  }
}

struct body {
  void (*function)(void *argument);
  void *argument;
};

static int run_body(void *argument)
{
  struct body *body = argument;
  bench_pin(uma_device());
  bench_check(uma_barrier(), "uma_barrier");
  body->function(body->argument);
  bench_check(uma_barrier(), "uma_barrier");
  return 0;
}

/* Counting goes with a table (stats) or with a trace; a trace that is thrown away prints nothing. */
static void set_caches(const struct bench_session *session, struct uma_config *config)
{
  config->coherence = !session->protocol ? UMA_COHERENCE_NONE : session->paged ? UMA_COHERENCE_PAGE : UMA_COHERENCE_LINE;
  if (!session->protocol) return;
  config->protocol = session->protocol;
  config->line = session->line ? session->line : 64;
  config->cache = 1 * MiB;
  config->ways = 8;
  config->page = session->page ? session->page : 4 * KiB;
  config->frames = (size_t)1 << 40;
  config->prefetch = 8;
  config->faults = session->faults ? session->faults : UMA_FAULTS_SIGNAL;
  config->sharers = UMA_SHARERS_FULL;
  config->stats = UMA_OFF;
  config->trace = session->counted ? "/dev/null" : NULL;
}

int bench_spawn(const struct bench_session *session, void (*function)(void *argument), void *argument)
{
  struct body body = {function, argument};
  struct uma_config config = {.mode = session->mode,
                              .servers = session->servers                    ? session->servers
                                         : session->mode == UMA_MODE_STACKED ? 2
                                                                             : 1,
                              .hosts = session->hosts ? session->hosts : 1,
                              .fabric = session->rma ? UMA_FABRIC_OFI : UMA_FABRIC_URING,
                              .provider = session->hosts || session->rma ? BARE_PROVIDER : NULL,
                              .memory = session->memory ? session->memory : 256 * MiB,
                              .timeout = SESSION_SECONDS,
                              .profile = bench_run.profile,
                              .hugepages = session->hugepages ? session->hugepages : UMA_HUGEPAGES_NEVER};
  set_caches(session, &config);
  fflush(NULL);
  int result = uma_spawn(&config, session->devices, run_body, &body);
  if (result < 0)
    return bench_fail("a session of %d devices did not start: %s: %s", session->devices, uma_strerror(result), uma_last_error());
  if (result) bench_fail("a session of %d devices ended with status %d", session->devices, result);
  return atomic_load(&bench_run.board->failed) ? -EIO : 0;
}

void *bench_map(size_t bytes)
{
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory != MAP_FAILED) return memory;
  bench_fail("no plain mapping of %zu bytes to compare with: %s", bytes, strerror(errno));
  return NULL;
}

void bench_unmap(void *memory, size_t bytes)
{
  if (memory) munmap(memory, bytes);
}

const size_t *bench_sizes(int *count)
{
  static const size_t quick[] = {8, 64, 512, 4 * KiB, 64 * KiB, 1 * MiB, 16 * MiB};
  static const size_t full[] = {8, 64, 512, 4 * KiB, 16 * KiB, 64 * KiB, 256 * KiB, 1 * MiB, 4 * MiB, 16 * MiB, 64 * MiB};
  if (bench_run.options.sizes) {
    *count = bench_run.options.size_count;
    return bench_run.options.sizes;
  }
  *count = bench_run.options.quick ? sizeof quick / sizeof quick[0] : sizeof full / sizeof full[0];
  return bench_run.options.quick ? quick : full;
}

const int *bench_device_counts(int *count)
{
  static const int counts[] = {2, 4, 8};
  *count = bench_run.options.quick ? 1 : 3;
  return counts;
}

/* ---- the round trip of one line */

#define TRIPS 20000
struct line {
  _Alignas(FAB_CACHE_LINE) atomic_uint turn;
};

/* Waits for the other side; yields now and then, for a host with one core. */
static void await_turn(struct line *line, unsigned turn)
{
  for (unsigned spins = 1; atomic_load_explicit(&line->turn, memory_order_acquire) != turn; spins++)
    if (spins % 4096 == 0) sched_yield();
}

static void answer_turns(struct line *line, int samples)
{
  bench_pin(1);
  for (unsigned trip = 0; trip < (unsigned)samples * TRIPS; trip++) {
    await_turn(line, 2 * trip + 1);
    atomic_store_explicit(&line->turn, 2 * trip + 2, memory_order_release);
  }
}

static double time_turns(struct line *line, int sample)
{
  uint64_t begin = fab_now_ns();
  for (unsigned trip = (unsigned)sample * TRIPS; trip < (unsigned)(sample + 1) * TRIPS; trip++) {
    atomic_store_explicit(&line->turn, 2 * trip + 1, memory_order_release);
    await_turn(line, 2 * trip + 2);
  }
  return (double)(fab_now_ns() - begin) / TRIPS;
}

int bench_line_round_trip(const char *bench)
{
  enum { SAMPLES = 5 };
  struct bench_row row = bench_row_of(bench, "raw", "-", 2, FAB_CACHE_LINE, "latency", "ns");
  struct line *line = bench_map(sizeof *line);
  if (!line) return -EIO;
  cpu_set_t before;
  sched_getaffinity(0, sizeof before, &before);
  fflush(NULL);
  pid_t child = fork();
  if (child < 0) return bench_fail("fork: %s", strerror(errno));
  if (!child) {
    answer_turns(line, SAMPLES);
    _exit(0);
  }
  bench_pin(0);
  for (int sample = 0; sample < SAMPLES; sample++) bench_record(&row, time_turns(line, sample));
  waitpid(child, NULL, 0);
  sched_setaffinity(0, sizeof before, &before);
  bench_unmap(line, sizeof *line);
  return 0;
}
