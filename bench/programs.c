/* Small programs on machines on paper: what a supernode and stacked servers are asked to do, and where the modelled time goes (parts.h).
 *
 * Each is run as the machine would run it: in mode supernode where one scale-up network joins all its devices, else in mode stacked, with a
 * server for each scale-up network. What is really done is checked; what is computed is charged by uma_compute. The cache of keys and values is
 * the example, run by `uma compare` as a user would: a pool for each scale-up network, so the more devices one joins, the fewer blocks are computed
 * again. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "bench/harness.h"
#include "bench/parts.h"

enum { DEVICES = 16, NODES = 256, NODE = 64, SIDE = 512, SWEEPS = 4 };
#define GRADIENTS (4 * MiB)
#define TOKENS_BYTES (64 * KiB) /* for each other device */
#define LAYER_TOKENS 512.0
#define LAYER_WIDTH 4096.0
/* Llama 3 8B: 2 x 8e9 operations a token; its keys and values are 2 x 32 layers x 8 heads x 128 values of 2 B: 125,000 operations a byte. */
#define KV_BYTES (64 * KiB)
#define KV_FLOPS "8000000000"

static int me(void)
{
  return uma_device();
}

static int devices(void)
{
  return uma_device_count();
}

static void *symmetric(size_t bytes)
{
  void *memory = uma_alloc_symmetric(bytes);
  bench_require(memory, "no %zu bytes of device memory: %s", bytes, uma_last_error());
  return memory;
}

/* ---- chase: a list through the memories of all devices, walked by each of them from a node of its own */

static unsigned char *node_of(unsigned char *nodes, int node)
{
  return (unsigned char *)uma_symmetric(nodes, node * 7 % devices()) + node * NODE;
}

static void *chase_prepare(void)
{
  unsigned char *nodes = symmetric(NODES * NODE);
  for (int node = 0; node < NODES; node++)
    if (uma_home(node_of(nodes, node)) == me()) uma_st((uintptr_t *)node_of(nodes, node), (uintptr_t)node_of(nodes, (node + 1) % NODES));
  return nodes;
}

static void chase_run(void *nodes)
{
  unsigned char *begin = node_of(nodes, me() * NODES / devices());
  uintptr_t at = (uintptr_t)begin;
  for (int i = 0; i < NODES; i++) at = uma_ld((uintptr_t *)at);
  bench_require(at == (uintptr_t)begin, "a walk through %d nodes does not end where it began", NODES);
}

/* ---- allreduce, alltoall: two buffers */

struct buffers {
  double *dst, *src;
};

static struct buffers *two_buffers(size_t bytes)
{
  static struct buffers buffers;
  buffers = (struct buffers){symmetric(bytes), symmetric(bytes)};
  for (size_t i = 0; i < bytes / sizeof(double); i++) buffers.src[i] = me() + 1;
  return &buffers;
}

static void require_all(const double *values, size_t bytes, double value)
{
  for (size_t i = 0; i < bytes / sizeof *values; i++)
    bench_require(values[i] == value, "element %zu is %g instead of %g", i, values[i], value);
}

static double sum_of_all(void)
{
  return devices() * (devices() + 1) / 2.0;
}

static void *allreduce_prepare(void)
{
  return two_buffers(GRADIENTS);
}

static void allreduce_run(void *argument)
{
  struct buffers *buffers = argument;
  bench_check(uma_allreduce(buffers->dst, buffers->src, GRADIENTS / sizeof(double), UMA_FLOAT64, UMA_SUM), "uma_allreduce");
  require_all(buffers->dst, GRADIENTS, sum_of_all());
}

static void *alltoall_prepare(void)
{
  return two_buffers(TOKENS_BYTES * (size_t)devices());
}

static void alltoall_run(void *argument)
{
  struct buffers *buffers = argument;
  bench_check(uma_alltoall(buffers->dst, buffers->src, TOKENS_BYTES), "uma_alltoall");
  for (int d = 0; d < devices(); d++) require_all(buffers->dst + (size_t)d * TOKENS_BYTES / sizeof(double), TOKENS_BYTES, d + 1);
}

/* ---- layer: a layer of a transformer, forward, its matrices split among all devices (Shoeybi and others: Megatron-LM, 2019)
 *
 * With t tokens, width h, n devices: attention 8 t h^2 and the rest 16 t h^2 operations, 4 h^2 and 8 h^2 weights, each over n; behind each of
 * the two a sum of t h values of 2 bytes over all devices. */

#define LAYER_BYTES ((size_t)(LAYER_TOKENS * LAYER_WIDTH * 2))

/* In that type, or the first of the others that the device has. */
static void compute(double flops, double bytes, enum uma_dtype wanted)
{
  const enum uma_dtype types[] = {wanted, UMA_BF16, UMA_FP16, UMA_FP8, UMA_TF32, UMA_FP32, UMA_FP64};
  int result = -ENOTSUP;
  for (size_t i = 0; i < sizeof types / sizeof types[0] && result == -ENOTSUP; i++) result = uma_compute(flops, bytes, types[i]);
  bench_check(result, "uma_compute");
}

static void *layer_prepare(void)
{
  return two_buffers(LAYER_BYTES);
}

static void layer_run(void *argument)
{
  struct buffers *buffers = argument;
  double square = LAYER_WIDTH * LAYER_WIDTH / devices();
  for (int half = 0; half < 2; half++) {
    double weights = half ? 8 * square : 4 * square;
    compute(2 * LAYER_TOKENS * weights, 2 * weights, UMA_BF16);
    bench_check(uma_allreduce(buffers->dst, buffers->src, LAYER_BYTES / sizeof(double), UMA_FLOAT64, UMA_SUM), "uma_allreduce");
  }
  require_all(buffers->dst, LAYER_BYTES, sum_of_all());
}

/* ---- stencil: Jacobi's iteration in strips, a row of each neighbour fetched before each sweep */

struct strip {
  float *now, *next; /* SIDE + 2 rows: the first and the last are the neighbours' */
};

static float *row_of(float *grid, int row)
{
  return grid + (size_t)row * SIDE;
}

static void *stencil_prepare(void)
{
  static struct strip strip;
  strip = (struct strip){symmetric((SIDE + 2) * SIDE * sizeof(float)), symmetric((SIDE + 2) * SIDE * sizeof(float))};
  for (int row = 0; row < SIDE + 2; row++)
    for (int column = 0; column < SIDE; column++) row_of(strip.now, row)[column] = row_of(strip.next, row)[column] = (float)me();
  return &strip;
}

static void sweep(const struct strip *strip)
{
  for (int row = 1; row <= SIDE; row++)
    for (int column = 1; column < SIDE - 1; column++) {
      const float *at = row_of(strip->now, row) + column;
      row_of(strip->next, row)[column] = 0.25f * (at[-1] + at[1] + at[-SIDE] + at[SIDE]);
    }
  compute(4.0 * SIDE * SIDE, 2.0 * sizeof(float) * SIDE * SIDE, UMA_FP32);
}

static void fetch_rows(const struct strip *strip)
{
  size_t bytes = SIDE * sizeof(float);
  if (me() > 0) bench_check(uma_get(strip->now, uma_symmetric(row_of(strip->now, SIDE), me() - 1), bytes), "uma_get");
  if (me() < devices() - 1)
    bench_check(uma_get(row_of(strip->now, SIDE + 1), uma_symmetric(row_of(strip->now, 1), me() + 1), bytes), "uma_get");
}

static void stencil_run(void *argument)
{
  struct strip strip = *(struct strip *)argument;
  for (int i = 0; i < SWEEPS; i++) {
    fetch_rows(&strip);
    sweep(&strip);
    bench_barrier();
    strip = (struct strip){strip.next, strip.now};
  }
  float border = row_of(strip.now, 1)[SIDE / 2], middle = row_of(strip.now, SIDE / 2)[SIDE / 2];
  bench_require(middle == (float)me() && (me() ? border < middle && border > middle - 1 : border == middle),
                "%d sweeps make %g at the border and %g in the middle", SWEEPS, (double)border, (double)middle);
}

/* ---- Running them */

static const struct program {
  const char *bench, *title;
  size_t bytes;
  void *(*prepare)(void); /* collective, not counted */
  void (*run)(void *prepared);
} programs[] = {
    {"program.chase", "Pointer chase through all memories", NODES *NODE, chase_prepare, chase_run},
    {"program.allreduce", "All-reduce of gradients", GRADIENTS, allreduce_prepare, allreduce_run},
    {"program.alltoall", "All-to-all of tokens for experts", TOKENS_BYTES, alltoall_prepare, alltoall_run},
    {"program.layer", "A transformer layer, split over all devices", LAYER_BYTES, layer_prepare, layer_run},
    {"program.stencil", "A stencil in strips", SIDE *SIDE * sizeof(float), stencil_prepare, stencil_run},
    {"program.kvpool", "Cache of keys and values, a pool for each domain", KV_BYTES, NULL, NULL},
};

const char *bench_program_title(const char *bench)
{
  for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++)
    if (!strcmp(programs[i].bench, bench)) return programs[i].title;
  return bench;
}

/* One program in a session. */
struct job {
  const struct program *program;
  struct uma_modelled *spent; /* by device, in memory that devices share with this process */
};

/* The clocks when all have begun, and when all have ended. */
static void job_body(void *argument)
{
  struct job *job = argument;
  struct uma_modelled before, after;
  void *prepared = job->program->prepare();
  bench_barrier();
  bench_check(uma_modelled(me(), &before), "uma_modelled");
  job->program->run(prepared);
  bench_barrier();
  bench_check(uma_modelled(me(), &after), "uma_modelled");
  job->spent[me()] = (struct uma_modelled){.ns = after.ns - before.ns,
                                           .compute_ns = after.compute_ns - before.compute_ns,
                                           .memory_ns = after.memory_ns - before.memory_ns,
                                           .scale_up_ns = after.scale_up_ns - before.scale_up_ns,
                                           .staging_ns = after.staging_ns - before.staging_ns,
                                           .network_ns = after.network_ns - before.network_ns,
                                           .waiting_ns = after.waiting_ns - before.waiting_ns,
                                           .work_ns = after.work_ns - before.work_ns,
                                           .operations_ns = after.operations_ns - before.operations_ns};
}

static void record(const struct bench_program *program)
{
  struct bench_row rows[BENCH_PROGRAM_ROWS];
  int count = bench_program_rows(program, rows);
  for (int i = 0; i < count; i++) bench_record(&rows[i], rows[i].median);
}

/* The machine of this pass with as many of the devices as it has. */
static int open_machine(struct fab_profile **profile, struct fab_topology *topology)
{
  *profile = fab_profile_load(bench_run.profile, stderr);
  if (!*profile) return bench_fail("%s cannot be modelled", bench_run.profile);
  uint64_t all = fab_profile_devices(*profile, (*profile)->level_count - 1);
  int result = fab_topology_make(*profile, all < DEVICES ? all : DEVICES, topology, stderr);
  return result ? bench_fail("%s cannot be modelled", bench_run.profile) : 0;
}

/* One for each scale-up network; more than one is mode stacked. */
static int servers_of(const struct fab_topology *topology)
{
  int n = (int)topology->devices, domain = (int)topology->network[0].domain;
  return domain > 0 ? (n + domain - 1) / domain : n;
}

static int run_job(const struct program *program, const struct fab_profile *profile, const struct fab_topology *topology)
{
  int n = (int)topology->devices, servers = servers_of(topology);
  bool stacked = servers > 1;
  struct bench_session session = {
      .devices = n, .mode = stacked ? UMA_MODE_STACKED : UMA_MODE_SUPERNODE, .servers = servers, .memory = 64 * MiB};
  struct job job = {program, bench_map((size_t)n * sizeof *job.spent)};
  struct bench_row row = bench_row_of(program->bench, "-", stacked ? "stacked" : "supernode", n, program->bytes, "time", "ns");
  if (!job.spent) return -EIO;
  bench_row_model(&row, bench_run.profile);
  int result = bench_spawn(&session, job_body, &job);
  if (!result) {
    struct bench_program outcome;
    bench_program_make(&row, job.spent, profile, topology, &outcome);
    record(&outcome);
  }
  bench_unmap(job.spent, (size_t)n * sizeof *job.spent);
  return result;
}

static int run_program(const char *bench)
{
  const struct program *program = programs;
  struct fab_profile *profile = NULL;
  struct fab_topology topology = {0};
  while (strcmp(program->bench, bench)) program++;
  int result = open_machine(&profile, &topology);
  if (!result) result = run_job(program, profile, &topology);
  fab_profile_free(profile);
  return result;
}

static int run_chase(void)
{
  return run_program("program.chase");
}

static int run_allreduce(void)
{
  return run_program("program.allreduce");
}

static int run_alltoall(void)
{
  return run_program("program.alltoall");
}

static int run_layer(void)
{
  return run_program("program.layer");
}

static int run_stencil(void)
{
  return run_program("program.stencil");
}

/* ---- kvpool, which is a program of its own: its rows are those of `uma compare` under another name */

static void take_row(void *context, const char *line)
{
  struct bench_row row;
  char why[256];
  if (bench_row_parse(line, &row, why, sizeof why)) return; /* what the program itself says */
  snprintf(row.bench, sizeof row.bench, "program.kvpool");
  bench_row_model(&row, bench_run.profile);
  row.bytes = KV_BYTES;
  bench_record(&row, row.median);
}

/* The example is beside the command in the build directory, and not where the command was installed. */
static int run_kvpool(void)
{
  char uma[600], example[600], devices_text[16], block_text[16], servers_text[16];
  struct fab_profile *profile = NULL;
  struct fab_topology topology = {0};
  snprintf(uma, sizeof uma, "%s/uma", bench_run.directory);
  snprintf(example, sizeof example, "%s/examples/kvpool", bench_run.directory);
  if (access(example, X_OK)) return bench_run.options.name_count ? bench_fail("%s: %s; it is built by make", example, strerror(errno)) : 0;
  int result = open_machine(&profile, &topology);
  fab_profile_free(profile);
  if (result) return result;
  bool stacked = servers_of(&topology) > 1;
  snprintf(devices_text, sizeof devices_text, "%d", (int)topology.devices);
  snprintf(servers_text, sizeof servers_text, "%d", servers_of(&topology));
  snprintf(block_text, sizeof block_text, "%zu", KV_BYTES);
  const char *arguments[] = {
      uma,        "compare", "--json",        "-",        "-n",      devices_text, bench_run.profile, "--",  example,
      "--policy", "pooled",  "--block-bytes", block_text, "--flops", KV_FLOPS,     "--blocks",        "100", "--requests",
      "400",      NULL};
  const char *const environment[] = {"UMA_MEMORY", "64M", "UMA_MODE", stacked ? "stacked" : "supernode", "UMA_SERVERS", servers_text, NULL};
  struct bench_child child = {(char *const *)arguments, environment, 120, take_row, NULL};
  result = bench_child_run(&child);
  bench_child_after();
  return result;
}

const struct bench_case bench_program_cases[] = {
    {"program.chase", "on a modelled machine: a list through all memories (as all of program.*: where its time goes)", run_chase},
    {"program.allreduce", "on a modelled machine: sums of 4 MiB, 16 devices", run_allreduce},
    {"program.alltoall", "on a modelled machine: 64 KiB from each to each, 16 devices", run_alltoall},
    {"program.layer", "on a modelled machine: a transformer layer, split over 16 devices", run_layer},
    {"program.stencil", "on a modelled machine: Jacobi's iteration, 16 devices", run_stencil},
    {"program.kvpool", "on a modelled machine: the cache of keys and values, a pool for each domain, 16 devices", run_kvpool},
    {NULL, NULL, NULL},
};
