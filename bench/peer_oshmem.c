/* What `uma bench` measures, done with OpenSHMEM: get, put with quiet, fetch-add, barrier, sum to all.
 *
 *     oshrun -n 2 oshmem [--quick] NAME...    NAME: a case of `uma bench`
 *
 * Prints the same rows as `uma bench`, one JSON object a line. The loops mirror those of bench/transfer.c and others. Counts are chosen
 * by PE 0 from a first run, so that a stretch lasts a millisecond or five. */
#define _GNU_SOURCE
#include <sched.h>
#include <shmem.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE 64
#define MiB ((size_t)1 << 20)
#define SPREAD_LEAST (1 * MiB)
#define SPREAD_QUICK (16 * MiB)
#define SPREAD_MOST (64 * MiB)
#define ROUNDS 5

static int me, count_pes;
static bool quick;
static unsigned char *symmetric, *local; /* symmetric: SPREAD_MOST on each PE */
static double *workspace[2], *result;
static long sync_words[2][SHMEM_REDUCE_SYNC_SIZE];
static long shared_in, shared_out;
static long counter;

enum { LATENCY = 1, BANDWIDTH = 2 };

struct work {
  const char *bench;
  int metrics;
  double operations;
  size_t bytes, stride, spread;
  uint64_t stamp;
  void (*prepare)(struct work *work);
  void (*step)(struct work *work, long count);
};

static void require(bool condition, const char *what)
{
  if (condition) return;
  fprintf(stderr, "oshmem peer: %s\n", what);
  shmem_global_exit(1);
}

/* ---- measuring */

static double now_ns(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static long share(long value)
{
  shared_in = value;
  shmem_barrier_all();
  if (me) shmem_long_get(&shared_out, &shared_in, 1, 0);
  else shared_out = value;
  shmem_barrier_all();
  return shared_out;
}

static double stretch(struct work *work, long count)
{
  double begin, total = 0;
  if (!work->prepare) {
    shmem_barrier_all();
    begin = now_ns();
    work->step(work, count);
    return now_ns() - begin;
  }
  for (long i = 0; i < count; i++) {
    shmem_barrier_all();
    work->prepare(work);
    shmem_barrier_all();
    begin = now_ns();
    work->step(work, 1);
    total += now_ns() - begin;
  }
  return total;
}

static long calibrate(struct work *work, double *ns)
{
  double goal = quick ? 1e6 : 5e6;
  long count = 1, next;
  for (;;) {
    *ns = stretch(work, count);
    next = *ns >= goal / 2 ? count : *ns < goal / 64 ? count * 16 : (long)((double)count * goal / *ns) + 1;
    if (next > 4000000 || (work->prepare && next > 16)) next = count;
    next = share(next);
    if (next == count) return count;
    count = next;
  }
}

static int compare_doubles(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void print_row(const struct work *work, const char *metric, const char *unit, double *samples, int n)
{
  qsort(samples, (size_t)n, sizeof *samples, compare_doubles);
  printf("{\"bench\":\"%s\",\"path\":\"oshmem\",\"mode\":\"-\",\"clock\":\"measured\",\"profile\":\"-\",\"devices\":%d,\"bytes\":%zu,"
         "\"metric\":\"%s\",\"unit\":\"%s\",\"median\":%.7g,\"min\":%.7g,\"max\":%.7g,\"n\":%d}\n",
         work->bench, count_pes, work->bytes, metric, unit, samples[n / 2], samples[0], samples[n - 1], n);
}

static void measure(struct work *work)
{
  double ns[ROUNDS], samples[ROUNDS], once;
  long count = calibrate(work, &once), rounds = share(once > (quick ? 20e6 : 200e6) ? 3 : ROUNDS);
  for (long i = 0; i < rounds; i++) ns[i] = stretch(work, count) / (double)count / work->operations;
  if (me) return;
  if (work->metrics & LATENCY) {
    for (long i = 0; i < rounds; i++) samples[i] = ns[i];
    print_row(work, "latency", "ns", samples, (int)rounds);
  }
  if (work->metrics & BANDWIDTH) {
    for (long i = 0; i < rounds; i++) samples[i] = (double)work->bytes / ns[i];
    print_row(work, "bandwidth", "GB/s", samples, (int)rounds);
  }
}

/* ---- PE 0 reaches into PE 1's memory */

static size_t slot_at(size_t visit, size_t slots)
{
  return (visit * ((size_t)((double)slots * 0.6180339887) | 1)) & (slots - 1);
}

static void write_all(struct work *work)
{
  work->stamp++;
  if (me != 1) return;
  uint64_t *words = (uint64_t *)symmetric;
  for (size_t i = 0; i < work->spread / 8; i++) words[i] = work->stamp;
}

static void read_walk(struct work *work, long count)
{
  size_t slots = work->spread / work->stride;
  uint64_t zero = 0, last = 0, sum = 0;
  if (me) return;
  __asm__ volatile("" : "+r"(zero));
  for (size_t visit = 0; visit < slots; visit++) {
    shmem_getmem(local, symmetric + slot_at(visit, slots) * work->stride + (last & zero), work->bytes, 1);
    memcpy(&last, local, sizeof last);
    sum += last;
  }
  require(sum == slots * work->stamp, "a read returned old bytes");
}

static void write_walk(struct work *work, long count)
{
  size_t slots = work->spread / work->stride;
  if (me) return;
  for (size_t visit = 0; visit < slots; visit++) {
    shmem_putmem(symmetric + slot_at(visit, slots) * work->stride, local, work->bytes, 1);
    shmem_quiet();
  }
}

static void get_hot(struct work *work, long count)
{
  for (long i = 0; i < count && !me; i++) shmem_getmem(local, symmetric, work->bytes, 1);
}

static void put_hot(struct work *work, long count)
{
  for (long i = 0; i < count && !me; i++) {
    shmem_putmem(symmetric, local, work->bytes, 1);
    shmem_quiet();
  }
}

static void fetch_add(struct work *work, long count)
{
  for (long i = 0; i < count && !me; i++) shmem_long_atomic_fetch_add(&counter, 1, 1);
}

static void barrier(struct work *work, long count)
{
  for (long i = 0; i < count; i++) shmem_barrier_all();
}

/* Two sets of work arrays in turn: whoever is through one reduction knows that all have left the one before it. */
static void sum_to_all(struct work *work, long count)
{
  static unsigned turn;
  for (long i = 0; i < count; i++, turn ^= 1)
    shmem_double_sum_to_all(result, (double *)symmetric, (int)(work->bytes / 8), 0, 0, count_pes, workspace[turn], sync_words[turn]);
}

/* ---- cases */

static const struct work cases[] = {
    {.bench = "transfer.read", .metrics = LATENCY | BANDWIDTH, .prepare = write_all, .step = read_walk},
    {.bench = "transfer.write", .metrics = LATENCY | BANDWIDTH, .prepare = write_all, .step = write_walk},
    {.bench = "transfer.get.hot", .metrics = LATENCY | BANDWIDTH, .step = get_hot},
    {.bench = "transfer.put.hot", .metrics = LATENCY | BANDWIDTH, .step = put_hot},
    {.bench = "collective.allreduce", .metrics = LATENCY | BANDWIDTH, .step = sum_to_all},
    {.bench = "sync.fetch_add", .metrics = LATENCY, .bytes = 8, .step = fetch_add},
    {.bench = "sync.barrier", .metrics = LATENCY, .step = barrier},
};

static void measure_size(struct work work, size_t bytes)
{
  size_t most = quick ? SPREAD_QUICK : SPREAD_MOST;
  work.bytes = bytes;
  work.stride = bytes < LINE ? LINE : bytes;
  work.spread = 16 * bytes < SPREAD_LEAST ? SPREAD_LEAST : 16 * bytes > most ? most : 16 * bytes;
  if (work.prepare) work.operations = (double)(work.spread / work.stride);
  if (work.operations == 0) work.operations = 1;
  measure(&work);
}

static void run_case(const struct work *work)
{
  static const size_t few[] = {8, 64, 512, 4096, 65536, 1 << 20, 16 << 20, 0};
  static const size_t many[] = {8, 64, 512, 4096, 16384, 65536, 262144, 1 << 20, 4 << 20, 16 << 20, 64 << 20, 0};
  const size_t *sizes = quick ? few : many, most = quick && count_pes > 2 ? MiB : SPREAD_MOST;
  if (!strncmp(work->bench, "sync.", 5)) measure_size(*work, work->bytes);
  else
    for (; *sizes && *sizes <= most; sizes++) measure_size(*work, *sizes);
}

static void allocate(void)
{
  size_t work_bytes = (SPREAD_MOST / 8 / 2 + 1 + SHMEM_REDUCE_MIN_WRKDATA_SIZE) * sizeof(double);
  symmetric = shmem_align(4096, SPREAD_MOST);
  result = shmem_align(4096, SPREAD_MOST);
  workspace[0] = shmem_align(4096, work_bytes);
  workspace[1] = shmem_align(4096, work_bytes);
  local = shmem_align(4096, SPREAD_MOST);
  require(symmetric && result && workspace[0] && workspace[1] && local, "no memory; SHMEM_SYMMETRIC_SIZE is too small");
  memset(local, 0x11, SPREAD_MOST);
  memset(symmetric, 0, SPREAD_MOST);
  for (int i = 0; i < SHMEM_REDUCE_SYNC_SIZE; i++) sync_words[0][i] = sync_words[1][i] = SHMEM_SYNC_VALUE;
  shmem_barrier_all();
}

int main(int argc, char **argv)
{
  shmem_init();
  me = shmem_my_pe();
  count_pes = shmem_n_pes();
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(me % (int)sysconf(_SC_NPROCESSORS_ONLN), &one);
  sched_setaffinity(0, sizeof one, &one);
  allocate();
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--quick")) quick = true;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++)
      if (!strcmp(argv[i], cases[c].bench)) run_case(&cases[c]);
  }
  fflush(stdout);
  shmem_barrier_all();
  shmem_global_exit(0); /* shmem_finalize of Open MPI 4.1 crashes where a hook of an unloaded component is left behind */
}
