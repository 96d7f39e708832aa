/* Collectives of 2, 4, 8 devices in both modes. `bytes` is the larger of a device's two buffers, as is usual for such tables.
 *
 * Before a size is timed its result is checked bit for bit against one that every device computes for itself: contributions are a function
 * of the device and the index, and sums are folded in the order of the devices, first inside each domain, as the library does. */
#include "bench/harness.h"

struct collective {
  double *dst, *src; /* device memory */
  size_t bytes;
  void (*step)(void *context, long count);
};

/* Values whose sums are rounded, so that another order of additions would show. */
static double value(int device, size_t index)
{
  return 1.0 / (double)(3 + device * 7 + (int)(index % 1021));
}

static size_t devices(void)
{
  return (size_t)uma_device_count();
}

static void broadcast(void *context, long count)
{
  struct collective *c = context;
  for (long i = 0; i < count; i++) bench_check(uma_broadcast(c->dst, c->bytes, 0), "uma_broadcast");
}

static void allgather(void *context, long count)
{
  struct collective *c = context;
  for (long i = 0; i < count; i++) bench_check(uma_allgather(c->dst, c->src, c->bytes / devices()), "uma_allgather");
}

static void reduce_scatter(void *context, long count)
{
  struct collective *c = context;
  for (long i = 0; i < count; i++)
    bench_check(uma_reduce_scatter(c->dst, c->src, c->bytes / devices() / 8, UMA_FLOAT64, UMA_SUM), "uma_reduce_scatter");
}

static void allreduce(void *context, long count)
{
  struct collective *c = context;
  for (long i = 0; i < count; i++) bench_check(uma_allreduce(c->dst, c->src, c->bytes / 8, UMA_FLOAT64, UMA_SUM), "uma_allreduce");
}

static void alltoall(void *context, long count)
{
  struct collective *c = context;
  for (long i = 0; i < count; i++) bench_check(uma_alltoall(c->dst, c->src, c->bytes / devices()), "uma_alltoall");
}

/* ---- what must come out, element by element; `each` elements belong to one device */

/* The sum of a domain's devices in their order; the domains' sums are then added up in theirs. */
static double domain_sum(size_t index, int *device)
{
  int domain = uma_domain(*device);
  double sum = value((*device)++, index);
  while (*device < uma_device_count() && uma_domain(*device) == domain) sum += value((*device)++, index);
  return sum;
}

static double sum_at(size_t index)
{
  int device = 0;
  double sum = domain_sum(index, &device);
  while (device < uma_device_count()) sum += domain_sum(index, &device);
  return sum;
}

static double expected(const struct collective *c, size_t i)
{
  size_t each = c->bytes / 8 / devices();
  if (c->step == broadcast) return value(0, i);
  if (c->step == allgather) return value((int)(i / each), i % each);
  if (c->step == alltoall) return value((int)(i / each), (size_t)uma_device() * each + i % each);
  return sum_at(c->step == allreduce ? i : (size_t)uma_device() * each + i);
}

static void verify(const struct collective *c, const char *bench)
{
  size_t elements = c->bytes / 8, results = c->step == reduce_scatter ? elements / devices() : elements;
  for (size_t i = 0; i < elements; i++) {
    c->src[i] = value(uma_device(), i);
    c->dst[i] = c->step == broadcast && !uma_device() ? value(0, i) : -1;
  }
  bench_check(uma_barrier(), "uma_barrier");
  c->step((void *)c, 1);
  for (size_t i = 0; i < results; i++) {
    double right = expected(c, i);
    bench_require(!memcmp(&c->dst[i], &right, sizeof right), "%s of %zu bytes: element %zu is %.17g, not %.17g", bench, c->bytes, i,
                  c->dst[i], right);
  }
  bench_check(uma_barrier(), "uma_barrier");
}

/* ---- cases */

struct plan {
  const char *bench;
  void (*step)(void *context, long count);
};

/* Stacked collectives of many devices move everything through sockets: the quick run leaves out what takes seconds. */
static size_t size_most(void)
{
  if (!bench_run.options.quick) return 64 * MiB;
  return uma_device_count() == 2 && uma_domain_count() == 1 ? 16 * MiB : MiB;
}

static void body(void *argument)
{
  const struct plan *plan = argument;
  int count;
  const size_t *sizes = bench_sizes(&count);
  size_t most = size_most();
  struct collective c = {uma_alloc_symmetric(most), uma_alloc_symmetric(most), 0, plan->step};
  bench_require(c.dst && c.src, "no device memory: %s", uma_last_error());
  for (int s = 0; s < count && sizes[s] <= most; s++) {
    bool whole = plan->step == broadcast || plan->step == allreduce;
    c.bytes = sizes[s];
    if (!whole && c.bytes < 8 * devices()) continue; /* less than one element for each device */
    verify(&c, plan->bench);
    struct bench_variant variant = {
        plan->bench, uma_domain_count() > 1 ? "message" : "direct", NULL, c.bytes, BENCH_LATENCY | BENCH_BANDWIDTH, 1, NULL, plan->step, &c,
        NULL};
    bench_compare(&variant, 1);
  }
}

static int run(struct plan plan, const int *counts, int count)
{
  int result = 0;
  for (int i = 0; i < count && !result; i++) {
    struct bench_session session = {.devices = counts[i], .mode = UMA_MODE_SUPERNODE};
    result = bench_spawn(&session, body, &plan);
    session.mode = UMA_MODE_STACKED;
    if (!result) result = bench_spawn(&session, body, &plan);
  }
  return result;
}

static int run_counts(const char *bench, void (*step)(void *, long))
{
  int count;
  const int *counts = bench_device_counts(&count);
  return run((struct plan){bench, step}, counts, count);
}

static int run_broadcast(void)
{
  return run_counts("collective.broadcast", broadcast);
}

static int run_allgather(void)
{
  return run_counts("collective.allgather", allgather);
}

static int run_reduce_scatter(void)
{
  return run_counts("collective.reduce_scatter", reduce_scatter);
}

static int run_allreduce(void)
{
  static const int counts[] = {2, 4, 8};
  return run((struct plan){"collective.allreduce", allreduce}, counts, 3);
}

static int run_alltoall(void)
{
  return run_counts("collective.alltoall", alltoall);
}

const struct bench_case bench_collective_cases[] = {
    {"collective.broadcast", "one buffer to all", run_broadcast},
    {"collective.allgather", "a part from each to all", run_allgather},
    {"collective.reduce_scatter", "sums of doubles, a part to each", run_reduce_scatter},
    {"collective.allreduce", "sums of doubles to all, 2, 4, 8 devices", run_allreduce},
    {"collective.alltoall", "a part from each to each", run_alltoall},
    {NULL, NULL, NULL},
};
