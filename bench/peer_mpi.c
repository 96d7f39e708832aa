/* What `uma bench` measures, done with MPI: two-sided messages, RMA (one passive epoch, lock_all, and a flush after every operation),
 * barrier, all-reduce.
 *
 *     mpirun -n 2 mpi [--quick] NAME...       NAME: a case of `uma bench`
 *
 * Prints the same rows as `uma bench`, one JSON object a line. The loops mirror those of bench/transfer.c and others: the same sizes,
 * the same walks over memory that the other side has just written, chained reads. Counts are chosen by rank 0 from a first run, so that
 * a stretch lasts a millisecond or five. */
#define _GNU_SOURCE
#include <mpi.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE 64
#define MiB ((size_t)1 << 20)
#define SPREAD_LEAST (1 * MiB)
#define SPREAD_QUICK (16 * MiB)
#define SPREAD_MOST (64 * MiB)
#define IN_FLIGHT 64
#define ROUNDS 5

static int rank, ranks;
static bool quick;
static unsigned char *window_memory, *local;
static MPI_Win window;

enum { LATENCY = 1, BANDWIDTH = 2, RATE = 4 };

struct work {
  const char *bench;
  int metrics;
  double operations; /* in one count of step */
  size_t bytes, stride, spread;
  uint64_t stamp;
  void (*prepare)(struct work *work);
  void (*step)(struct work *work, long count);
};

/* ---- measuring */

static double stretch(struct work *work, long count)
{
  double begin, total = 0;
  if (!work->prepare) {
    MPI_Barrier(MPI_COMM_WORLD);
    begin = MPI_Wtime();
    work->step(work, count);
    return (MPI_Wtime() - begin) * 1e9;
  }
  for (long i = 0; i < count; i++) {
    MPI_Barrier(MPI_COMM_WORLD);
    work->prepare(work);
    MPI_Barrier(MPI_COMM_WORLD);
    begin = MPI_Wtime();
    work->step(work, 1);
    total += MPI_Wtime() - begin;
  }
  return total * 1e9;
}

/* The first run warms up. Rank 0 decides, the others follow. */
static long calibrate(struct work *work, double *ns)
{
  double goal = quick ? 1e6 : 5e6;
  long count = 1, next;
  for (;;) {
    *ns = stretch(work, count);
    next = *ns >= goal / 2 ? count : *ns < goal / 64 ? count * 16 : (long)((double)count * goal / *ns) + 1;
    if (next > 4000000 || (work->prepare && next > 16)) next = count;
    MPI_Bcast(&next, 1, MPI_LONG, 0, MPI_COMM_WORLD);
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
  printf("{\"bench\":\"%s\",\"path\":\"mpi\",\"mode\":\"-\",\"clock\":\"measured\",\"profile\":\"-\",\"devices\":%d,\"bytes\":%zu,"
         "\"metric\":\"%s\",\"unit\":\"%s\",\"median\":%.7g,\"min\":%.7g,\"max\":%.7g,\"n\":%d}\n",
         work->bench, ranks, work->bytes, metric, unit, samples[n / 2], samples[0], samples[n - 1], n);
}

static void measure(struct work *work)
{
  double ns[ROUNDS], samples[ROUNDS], once;
  long count = calibrate(work, &once), rounds = once > (quick ? 20e6 : 200e6) ? 3 : ROUNDS;
  MPI_Bcast(&rounds, 1, MPI_LONG, 0, MPI_COMM_WORLD);
  for (long i = 0; i < rounds; i++) ns[i] = stretch(work, count) / (double)count / work->operations;
  if (rank) return;
  if (work->metrics & LATENCY) {
    for (long i = 0; i < rounds; i++) samples[i] = ns[i];
    print_row(work, "latency", "ns", samples, (int)rounds);
  }
  if (work->metrics & BANDWIDTH) {
    for (long i = 0; i < rounds; i++) samples[i] = (double)work->bytes / ns[i];
    print_row(work, "bandwidth", "GB/s", samples, (int)rounds);
  }
  if (work->metrics & RATE) {
    for (long i = 0; i < rounds; i++) samples[i] = 1e3 / ns[i];
    print_row(work, "rate", "M/s", samples, (int)rounds);
  }
}

static void require(bool condition, const char *what)
{
  if (condition) return;
  fprintf(stderr, "mpi peer: %s\n", what);
  MPI_Abort(MPI_COMM_WORLD, 1);
}

/* ---- one-sided: rank 0 reaches into rank 1's window */

static size_t slot_at(size_t visit, size_t slots)
{
  return (visit * ((size_t)((double)slots * 0.6180339887) | 1)) & (slots - 1);
}

static void get(void *to, size_t offset, size_t bytes)
{
  MPI_Get(to, (int)bytes, MPI_BYTE, 1, (MPI_Aint)offset, (int)bytes, MPI_BYTE, window);
  MPI_Win_flush(1, window);
}

static void put(const void *from, size_t offset, size_t bytes)
{
  MPI_Put(from, (int)bytes, MPI_BYTE, 1, (MPI_Aint)offset, (int)bytes, MPI_BYTE, window);
  MPI_Win_flush(1, window);
}

static void write_all(struct work *work)
{
  work->stamp++;
  if (rank != 1) return;
  uint64_t *words = (uint64_t *)window_memory;
  for (size_t i = 0; i < work->spread / 8; i++) words[i] = work->stamp;
  MPI_Win_sync(window);
}

static void read_walk(struct work *work, long count)
{
  size_t slots = work->spread / work->stride;
  uint64_t zero = 0, last = 0, sum = 0;
  if (rank) return;
  __asm__ volatile("" : "+r"(zero));
  for (size_t visit = 0; visit < slots; visit++) {
    get(local, slot_at(visit, slots) * work->stride + (last & zero), work->bytes);
    memcpy(&last, local, sizeof last);
    sum += last;
  }
  require(sum == slots * work->stamp, "a read returned old bytes");
}

static void write_walk(struct work *work, long count)
{
  size_t slots = work->spread / work->stride;
  if (rank) return;
  for (size_t visit = 0; visit < slots; visit++) put(local, slot_at(visit, slots) * work->stride, work->bytes);
}

static void get_hot(struct work *work, long count)
{
  for (long i = 0; i < count && !rank; i++) get(local, 0, work->bytes);
}

static void put_hot(struct work *work, long count)
{
  for (long i = 0; i < count && !rank; i++) put(local, 0, work->bytes);
}

static void fetch_add(struct work *work, long count)
{
  uint64_t one = 1, old;
  for (long i = 0; i < count && !rank; i++) {
    MPI_Fetch_and_op(&one, &old, MPI_UINT64_T, 1, 0, MPI_SUM, window);
    MPI_Win_flush(1, window);
  }
}

/* ---- two-sided and collective */

static void send(size_t bytes)
{
  MPI_Send(window_memory, (int)bytes, MPI_BYTE, 1 - rank, 7, MPI_COMM_WORLD);
}

static void recv(size_t bytes)
{
  MPI_Recv(window_memory, (int)bytes, MPI_BYTE, 1 - rank, 7, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static void pingpong(struct work *work, long count)
{
  for (long i = 0; i < count; i++) {
    if (!rank) send(work->bytes);
    recv(work->bytes);
    if (rank) send(work->bytes);
  }
}

static void stream(struct work *work, long count)
{
  for (long i = 0; i < count; i++)
    if (!rank) send(work->bytes);
    else recv(work->bytes);
  if (rank) send(8);
  else recv(8);
}

static void burst(struct work *work, long count)
{
  MPI_Request requests[IN_FLIGHT];
  for (long i = 0; i < count; i++) {
    for (int m = 0; m < IN_FLIGHT; m++) {
      unsigned char *place = window_memory + (size_t)m * work->bytes;
      if (rank) MPI_Irecv(place, (int)work->bytes, MPI_BYTE, 0, 7, MPI_COMM_WORLD, &requests[m]);
      else MPI_Isend(place, (int)work->bytes, MPI_BYTE, 1, 7, MPI_COMM_WORLD, &requests[m]);
    }
    MPI_Waitall(IN_FLIGHT, requests, MPI_STATUSES_IGNORE);
  }
  if (rank) send(8);
  else recv(8);
}

static void barrier(struct work *work, long count)
{
  for (long i = 0; i < count; i++) MPI_Barrier(MPI_COMM_WORLD);
}

static void allreduce(struct work *work, long count)
{
  for (long i = 0; i < count; i++) MPI_Allreduce(local, window_memory, (int)(work->bytes / 8), MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
}

/* ---- cases */

static const struct work cases[] = {
    {.bench = "transfer.read", .metrics = LATENCY | BANDWIDTH, .prepare = write_all, .step = read_walk},
    {.bench = "transfer.write", .metrics = LATENCY | BANDWIDTH, .prepare = write_all, .step = write_walk},
    {.bench = "transfer.get.hot", .metrics = LATENCY | BANDWIDTH, .step = get_hot},
    {.bench = "transfer.put.hot", .metrics = LATENCY | BANDWIDTH, .step = put_hot},
    {.bench = "ofi.get", .metrics = LATENCY | BANDWIDTH, .step = get_hot},
    {.bench = "ofi.put", .metrics = LATENCY | BANDWIDTH, .step = put_hot},
    {.bench = "transfer.pingpong", .metrics = LATENCY | BANDWIDTH, .operations = 2, .step = pingpong},
    {.bench = "transfer.stream", .metrics = BANDWIDTH, .step = stream},
    {.bench = "collective.allreduce", .metrics = LATENCY | BANDWIDTH, .step = allreduce},
    {.bench = "sync.fetch_add", .metrics = LATENCY, .bytes = 8, .step = fetch_add},
    {.bench = "sync.message_rate", .metrics = RATE, .bytes = 8, .operations = IN_FLIGHT, .step = burst},
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
  static const size_t between_hosts[] = {8, 64, 512, 4096, 32768, 262144, 1 << 20, 0};
  const size_t *sizes = !strncmp(work->bench, "ofi.", 4) ? between_hosts
                        : quick                          ? few
                                                         : many,
               most = quick && ranks > 2 ? MiB : SPREAD_MOST;
  if (!strncmp(work->bench, "sync.", 5)) measure_size(*work, work->bytes);
  else
    for (; *sizes && *sizes <= most; sizes++) measure_size(*work, *sizes);
}

int main(int argc, char **argv)
{
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(rank % (int)sysconf(_SC_NPROCESSORS_ONLN), &one);
  sched_setaffinity(0, sizeof one, &one);
  MPI_Win_allocate(SPREAD_MOST, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &window_memory, &window);
  local = aligned_alloc(4096, SPREAD_MOST);
  require(local, "no memory");
  memset(local, 0x11, SPREAD_MOST);
  memset(window_memory, 0, SPREAD_MOST);
  MPI_Win_lock_all(MPI_MODE_NOCHECK, window);
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--quick")) quick = true;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++)
      if (!strcmp(argv[i], cases[c].bench)) run_case(&cases[c]);
  }
  MPI_Win_unlock_all(window);
  MPI_Win_free(&window);
  free(local);
  MPI_Finalize();
  return 0;
}
