/* Collectives: every kind gives on every device what one device working alone would compute, wherever the buffers are. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/session.h"
#include "uma/collective.h"
#include "uma/reduce.h"
#include "uma/session.h"

#define GUARD 64

/* One collective to be tried. Where buffers are: a bit for each device modulo 32, set for private memory. */
struct trial {
  enum uma_collective_kind kind;
  enum uma_type type;
  enum uma_op op;
  size_t count;
  int root;
  uint32_t private_src, private_dst;
  bool in_place, on_stream;
  size_t shift; /* of the buffers, from an aligned address */
  uint64_t seed;
};

/* The buffers of a device for one trial. */
struct buffers {
  unsigned char *src_block, *dst_block; /* as they were allocated */
  unsigned char *src, *dst;
  size_t src_bytes, dst_bytes;
};

static const char *const kinds[] = {"broadcast", "allgather", "reduce-scatter", "allreduce", "alltoall"};

static uint64_t mix(uint64_t x)
{
  x = (x ^ x >> 31) * 0x7fb5d329728ea185u;
  x = (x ^ x >> 27) * 0x81dadef4bc2dd44du;
  return x ^ x >> 33;
}

/* ---- What is expected */

/* Element `index` of device's source. Reals are odd fractions, so that another order of additions would give other bits. */
static void element(const struct trial *trial, int device, size_t index, unsigned char *at)
{
  uint64_t word = mix(trial->seed + (uint64_t)device * 1000003 + mix(index));
  double real = (double)(word >> 11) / 9007199254740993.0 + 0.5;
  float small = (float)real;
  if (trial->kind != UMA_ALLREDUCE && trial->kind != UMA_REDUCE_SCATTER) *at = (unsigned char)word;
  else if (trial->type == UMA_FLOAT64) memcpy(at, &real, sizeof real);
  else if (trial->type == UMA_FLOAT32) memcpy(at, &small, sizeof small);
  else memcpy(at, &word, uma_type_size(trial->type));
}

static size_t element_bytes(const struct trial *trial)
{
  return trial->kind == UMA_ALLREDUCE || trial->kind == UMA_REDUCE_SCATTER ? uma_type_size(trial->type) : 1;
}

static int group_of(int device)
{
  return uma_shape_group(&uma_self.shape, device);
}

/* The element at `index` reduced over all devices: in the order of the devices in each group, then in that of the groups. */
static void reduced(const struct trial *trial, size_t index, unsigned char *at)
{
  unsigned char group[8], own[8];
  for (int d = 0; d < uma_device_count(); d++) {
    bool first = !d || group_of(d) != group_of(d - 1);
    bool last = d == uma_device_count() - 1 || group_of(d + 1) != group_of(d);
    element(trial, d, index, own);
    if (first) memcpy(group, own, sizeof own);
    else uma_reduce(group, own, 1, trial->type, trial->op);
    if (last && group_of(d) == 0) memcpy(at, group, uma_type_size(trial->type));
    else if (last) uma_reduce(at, group, 1, trial->type, trial->op);
  }
}

static void expect(const struct trial *trial, size_t index, unsigned char *at)
{
  size_t me = (size_t)uma_device();
  switch (trial->kind) {
  case UMA_BROADCAST: element(trial, trial->root, index, at); break;
  case UMA_ALLGATHER: element(trial, (int)(index / trial->count), index % trial->count, at); break;
  case UMA_REDUCE_SCATTER: reduced(trial, me * trial->count + index, at); break;
  case UMA_ALLREDUCE: reduced(trial, index, at); break;
  case UMA_ALLTOALL: element(trial, (int)(index / trial->count), me * trial->count + index % trial->count, at); break;
  }
}

/* ---- One trial */

static unsigned char *allocate(bool is_private, size_t bytes)
{
  unsigned char *block = is_private ? malloc(bytes + 3 * GUARD) : uma_malloc(bytes + 3 * GUARD);
  if (block) memset(block, 0xa5, bytes + 3 * GUARD);
  return block;
}

static void release(bool is_private, unsigned char *block)
{
  if (is_private) free(block);
  else if (uma_free(block)) abort();
}

static bool is_private(uint32_t mask)
{
  return mask >> (uma_device() & 31) & 1;
}

static void prepare(const struct trial *trial, struct buffers *buffers)
{
  size_t all = (size_t)uma_device_count() * trial->count, size = element_bytes(trial);
  buffers->src_bytes = (trial->kind == UMA_REDUCE_SCATTER || trial->kind == UMA_ALLTOALL ? all : trial->count) * size;
  buffers->dst_bytes = (trial->kind == UMA_ALLGATHER || trial->kind == UMA_ALLTOALL ? all : trial->count) * size;
  buffers->src_block = allocate(is_private(trial->private_src), buffers->src_bytes);
  buffers->dst_block = trial->in_place ? buffers->src_block : allocate(is_private(trial->private_dst), buffers->dst_bytes);
  if (!buffers->src_block || !buffers->dst_block) abort();
  buffers->src = buffers->src_block + GUARD + trial->shift;
  buffers->dst = buffers->dst_block + GUARD + trial->shift;
  if (trial->kind == UMA_BROADCAST && trial->root != uma_device()) return;
  for (size_t i = 0; i < buffers->src_bytes / size; i++) element(trial, uma_device(), i, buffers->src + i * size);
}

static int run(const struct trial *trial, const struct buffers *b, struct uma_stream *stream)
{
  switch (trial->kind) {
  case UMA_BROADCAST:
    return stream ? uma_broadcast_async(b->dst, trial->count, trial->root, stream) : uma_broadcast(b->dst, trial->count, trial->root);
  case UMA_ALLGATHER:
    return stream ? uma_allgather_async(b->dst, b->src, trial->count, stream) : uma_allgather(b->dst, b->src, trial->count);
  case UMA_REDUCE_SCATTER:
    return stream ? uma_reduce_scatter_async(b->dst, b->src, trial->count, trial->type, trial->op, stream)
                  : uma_reduce_scatter(b->dst, b->src, trial->count, trial->type, trial->op);
  case UMA_ALLREDUCE:
    return stream ? uma_allreduce_async(b->dst, b->src, trial->count, trial->type, trial->op, stream)
                  : uma_allreduce(b->dst, b->src, trial->count, trial->type, trial->op);
  case UMA_ALLTOALL: return stream ? uma_alltoall_async(b->dst, b->src, trial->count, stream) : uma_alltoall(b->dst, b->src, trial->count);
  }
  return -EINVAL;
}

static int complain(const struct trial *trial, const char *what, size_t index)
{
  fprintf(
      stderr, "device %d of %d: %s of %zu (type %d op %d root %d private %x %x in place %d stream %d shift %zu seed %llu): %s at %zu; %s\n",
      uma_device(), uma_device_count(), kinds[trial->kind], trial->count, trial->type, trial->op, trial->root, trial->private_src,
      trial->private_dst, trial->in_place, trial->on_stream, trial->shift, (unsigned long long)trial->seed, what, index, uma_last_error());
  return 1;
}

static int compare(const struct trial *trial, const struct buffers *b)
{
  size_t size = element_bytes(trial);
  unsigned char right[8];
  for (size_t i = 0; i < b->dst_bytes / size; i++) {
    expect(trial, i, right);
    if (memcmp(right, b->dst + i * size, size)) return complain(trial, "wrong element", i);
  }
  for (int i = 1; i <= GUARD; i++)
    if (b->dst[-i] != 0xa5 || b->dst[b->dst_bytes + (size_t)i - 1] != 0xa5) return complain(trial, "wrote beyond the result", 0);
  if (trial->in_place) return 0;
  for (size_t i = 0; i < b->src_bytes / size; i++) {
    element(trial, uma_device(), i, right);
    if (memcmp(right, b->src + i * size, size)) return complain(trial, "changed its source", i);
  }
  return 0;
}

static bool overlays(const struct trial *trial)
{
  return trial->kind == UMA_BROADCAST || (trial->in_place && trial->kind == UMA_ALLREDUCE);
}

static int try(const struct trial *asked, struct uma_stream *stream)
{
  struct trial trial = *asked;
  struct buffers buffers;
  trial.in_place = overlays(asked);
  prepare(&trial, &buffers);
  int error = run(&trial, &buffers, trial.on_stream ? stream : NULL);
  if (!error && trial.on_stream) error = uma_stream_wait(stream);
  int result = error ? complain(&trial, uma_strerror(error), 0) : compare(&trial, &buffers);
  release(is_private(trial.private_src), buffers.src_block);
  if (!trial.in_place) release(is_private(trial.private_dst), buffers.dst_block);
  return result;
}

/* ---- Shapes and sizes */

struct shape {
  int devices, servers;
  bool stacked;
  const char *provider; /* of libfabric, between domains; NULL: sockets */
};
static const struct shape shapes[] = {{1, 1, 0, NULL}, {2, 1, 0, NULL}, {3, 1, 0, NULL}, {4, 2, 0, NULL}, {5, 1, 0, NULL},
                                      {8, 1, 0, NULL}, {2, 2, 1, NULL}, {3, 2, 1, NULL}, {3, 3, 1, NULL}, {5, 2, 1, NULL},
                                      {5, 3, 1, NULL}, {8, 3, 1, NULL}, {5, 3, 1, "net"}};

static struct uma_config config_of(const struct shape *shape, int hosts)
{
  return (struct uma_config){.servers = shape->servers,
                             .hosts = hosts,
                             .mode = shape->stacked ? UMA_MODE_STACKED : UMA_MODE_SUPERNODE,
                             .fabric = shape->provider ? UMA_FABRIC_OFI : UMA_FABRIC_URING,
                             .provider = shape->provider,
                             .memory = 64 << 20,
                             .timeout = 120};
}

static void spawn(const struct shape *shape, int (*function)(void *), void *argument)
{
  struct uma_config config = config_of(shape, session_hosts(shape->devices, shape->servers));
  int result = uma_spawn(&config, shape->devices, function, argument);
  cr_assert_eq(result, 0, "%d devices on %d servers, %s: %d", shape->devices, shape->servers, shape->stacked ? "stacked" : "supernode",
               result);
}

static void on_all_shapes(int (*function)(void *), void *argument)
{
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) spawn(&shapes[i], function, argument);
}

/* `bytes` is what the larger of the two buffers holds. */
static size_t count_for(const struct trial *trial, size_t bytes)
{
  bool many = trial->kind != UMA_BROADCAST && trial->kind != UMA_ALLREDUCE;
  return bytes / element_bytes(trial) / (many ? (size_t)uma_device_count() : 1);
}

static int try_sizes(struct trial *trial, struct uma_stream *stream)
{
  static const size_t sizes[] = {1, 8, 24, 1000, 4096, 4104, 30001, 150000, 700001};
  int result = 0;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes && !result; i++) {
    trial->count = count_for(trial, sizes[i]);
    trial->seed++;
    trial->on_stream = i & 1;
    trial->root = (int)(i % (size_t)uma_device_count());
    result = try(trial, stream);
  }
  return result;
}

static int every_kind(void *argument)
{
  const struct trial *from = argument;
  struct uma_stream *stream;
  int result = uma_stream_create(&stream);
  for (int kind = UMA_BROADCAST; kind <= UMA_ALLTOALL && !result; kind++) {
    struct trial trial = *from;
    trial.kind = (enum uma_collective_kind)kind;
    result = try_sizes(&trial, stream);
  }
  return result ? result : uma_stream_destroy(stream);
}

Test(collective, device_memory)
{
  on_all_shapes(every_kind, &(struct trial){.type = UMA_FLOAT64, .op = UMA_SUM});
}

Test(collective, device_memory_in_place_unaligned)
{
  on_all_shapes(every_kind, &(struct trial){.type = UMA_FLOAT32, .op = UMA_SUM, .in_place = true, .shift = 5});
}

Test(collective, private_memory)
{
  on_all_shapes(every_kind, &(struct trial){.type = UMA_INT32, .op = UMA_MAX, .private_src = ~0u, .private_dst = ~0u});
}

Test(collective, private_memory_in_place)
{
  on_all_shapes(every_kind, &(struct trial){.type = UMA_FLOAT64, .op = UMA_SUM, .private_src = ~0u, .private_dst = ~0u, .in_place = true});
}

Test(collective, mixed_memory)
{
  on_all_shapes(every_kind, &(struct trial){.type = UMA_UINT64, .op = UMA_XOR, .private_src = 0x52, .private_dst = 0x89, .shift = 1});
}

/* ---- Types and operations */

static int every_operation(void *argument)
{
  int result = 0;
  for (int kind = UMA_REDUCE_SCATTER; kind <= UMA_ALLREDUCE && !result; kind++)
    for (int type = UMA_INT32; type <= UMA_FLOAT64 && !result; type++)
      for (int op = UMA_SUM; op <= UMA_XOR && !result; op++) {
        struct trial trial = {.kind = (enum uma_collective_kind)kind, .type = (enum uma_type)type, .op = (enum uma_op)op, .count = 37};
        if (!uma_op_applies(trial.type, trial.op)) continue;
        result = try(&trial, NULL);
        trial.count = 5003;
        if (!result) result = try(&trial, NULL);
      }
  return result;
}

Test(collective, types_and_operations)
{
  spawn(&(struct shape){2, 1, false, NULL}, every_operation, NULL);
  spawn(&(struct shape){5, 1, false, NULL}, every_operation, NULL);
  spawn(&(struct shape){5, 2, true, NULL}, every_operation, NULL);
}

/* ---- Random trials */

static struct trial random_trial(uint64_t seed)
{
  uint64_t a = mix(seed), b = mix(a), c = mix(b);
  struct trial trial = {.kind = a % 5,
                        .type = UMA_INT32 + (a >> 8) % 6,
                        .op = UMA_SUM + (a >> 16) % 7,
                        .in_place = a >> 40 & 1,
                        .on_stream = (a >> 41 & 7) == 0,
                        .shift = (a >> 44) % 3 ? 0 : (a >> 50) % 40,
                        .seed = seed};
  trial.root = (int)((a >> 24) % (uint64_t)uma_device_count());
  if (!uma_op_applies(trial.type, trial.op)) trial.op = UMA_SUM + (a >> 16) % 4;
  if (b % 3 == 0) trial.private_src = trial.private_dst = (uint32_t)(c & c >> 32);
  if (b % 3 == 1 && b >> 8 & 1) trial.private_src = (uint32_t)c;
  if (trial.in_place) trial.private_dst = trial.private_src;
  trial.count = count_for(&trial, (size_t)(b >> 20) % ((size_t)1 << (3 + (b >> 10) % 16)));
  return trial;
}

static int random_trials(void *argument)
{
  uint64_t seed = *(uint64_t *)argument;
  struct uma_stream *stream;
  int result = uma_stream_create(&stream);
  for (uint64_t i = 0; i < 150 && !result; i++) {
    struct trial trial = random_trial(seed + i);
    result = try(&trial, stream);
  }
  return result ? result : uma_stream_destroy(stream);
}

Test(collective, random_stress)
{
  const char *text = getenv("UMA_TEST_SEED");
  uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)getpid() * 1000000;
  fprintf(stderr, "UMA_TEST_SEED=%llu\n", (unsigned long long)seed);
  on_all_shapes(random_trials, &seed);
}

static int many_devices(void *argument)
{
  int result = 0;
  for (int i = 0; i < 10 && !result; i++) {
    struct trial trial = {.kind = (enum uma_collective_kind)(i % 5), .type = UMA_FLOAT64, .op = UMA_SUM, .private_src = i & 1 ? 0x10 : 0};
    trial.in_place = overlays(&trial);
    trial.count = count_for(&trial, i < 5 ? 3000 : 200000);
    result = try(&trial, NULL);
  }
  return result;
}

Test(collective, many_more_devices_than_processors)
{
  spawn(&(struct shape){64, 1, false, NULL}, many_devices, NULL);
  spawn(&(struct shape){33, 4, true, NULL}, many_devices, NULL);
}

/* ---- Two channels at once */

static int both_channels(void *argument)
{
  enum { TIMES = 200, COUNT = 3000 };
  double *sums = uma_malloc(COUNT * sizeof *sums), *ones = uma_malloc(COUNT * sizeof *ones), small, one = 1;
  struct uma_stream *stream;
  int error = uma_stream_create(&stream);
  for (int i = 0; i < COUNT; i++) ones[i] = uma_device() + 1;
  for (int i = 0; i < TIMES && !error; i++) error = uma_allreduce_async(sums, ones, COUNT, UMA_FLOAT64, UMA_SUM, stream);
  for (int i = 0; i < TIMES && !error; i++) {
    error = uma_allreduce(&small, &one, 1, UMA_FLOAT64, UMA_SUM);
    if (small != uma_device_count()) return 2;
  }
  if (!error) error = uma_stream_wait(stream);
  for (int i = 0; i < COUNT && !error; i++)
    if (sums[i] != uma_device_count() * (uma_device_count() + 1) / 2) return 3;
  return error ? 1 : uma_stream_destroy(stream);
}

Test(collective, streams_and_callers_do_not_disturb_each_other)
{
  spawn(&(struct shape){2, 1, false, NULL}, both_channels, NULL);
  spawn(&(struct shape){4, 1, false, NULL}, both_channels, NULL);
  spawn(&(struct shape){4, 2, true, NULL}, both_channels, NULL);
}

/* ---- Nothing, and nonsense */

static int nothing(void *argument)
{
  if (uma_broadcast(NULL, 0, 0) || uma_allgather(NULL, NULL, 0) || uma_alltoall(NULL, NULL, 0)) return 1;
  if (uma_allreduce(NULL, NULL, 0, UMA_INT32, UMA_SUM) || uma_reduce_scatter(NULL, NULL, 0, UMA_INT32, UMA_SUM)) return 2;
  return 0;
}

Test(collective, nothing_to_do)
{
  spawn(&(struct shape){3, 1, false, NULL}, nothing, NULL);
  spawn(&(struct shape){3, 2, true, NULL}, nothing, NULL);
}

#define REFUSED(call, word) \
  if ((call) != -EINVAL || !strstr(uma_last_error(), word)) return fprintf(stderr, "%s: '%s'\n", #call, uma_last_error()), 1

static int nonsense(void *argument)
{
  char a[4096] = {0}, b[4096] = {0};
  REFUSED(uma_broadcast(a, 8, -1), "root -1");
  REFUSED(uma_broadcast(a, 8, uma_device_count()), "root");
  REFUSED(uma_broadcast(NULL, 8, 0), "NULL");
  REFUSED(uma_broadcast(a, SIZE_MAX, 0), "memory");
  REFUSED(uma_allreduce(b, a, 1, (enum uma_type)0, UMA_SUM), "no type");
  REFUSED(uma_allreduce(b, a, 1, (enum uma_type)99, UMA_SUM), "99");
  REFUSED(uma_allreduce(b, a, 1, UMA_INT32, (enum uma_op)8), "no operation");
  REFUSED(uma_allreduce(b, a, 1, UMA_FLOAT64, UMA_XOR), "integers");
  REFUSED(uma_allreduce(b, a, SIZE_MAX / 4, UMA_INT64, UMA_SUM), "memory");
  REFUSED(uma_allreduce(a + 8, a, 2, UMA_INT64, UMA_SUM), "overlap");
  REFUSED(uma_allreduce(NULL, a, 2, UMA_INT64, UMA_SUM), "dst is NULL");
  REFUSED(uma_reduce_scatter(b, a, SIZE_MAX / 8, UMA_INT64, UMA_SUM), "memory");
  REFUSED(uma_reduce_scatter(a, a, 2, UMA_INT64, UMA_SUM), "overlap");
  REFUSED(uma_allgather(a, a, 8), "overlap");
  REFUSED(uma_allgather(b, a, SIZE_MAX / 2), "memory");
  REFUSED(uma_alltoall(a, a, 8), "overlap");
  REFUSED(uma_allreduce_async(b, a, 1, UMA_INT32, UMA_SUM, NULL), "stream");
  int one = 1, sum = 0;
  return uma_allreduce(&sum, &one, 1, UMA_INT32, UMA_SUM) || sum != uma_device_count();
}

static int foreign_window(void *argument)
{
  void *theirs = uma_window((uma_device() + 2) % 4, NULL);
  char mine[64];
  REFUSED(uma_broadcast(theirs, 8, 0), "another domain");
  REFUSED(uma_allreduce(mine, theirs, 1, UMA_INT64, UMA_SUM), "another domain");
  return 0;
}

Test(collective, nonsense_is_refused_before_anything_is_exchanged)
{
  spawn(&(struct shape){3, 1, false, NULL}, nonsense, NULL);
  spawn(&(struct shape){3, 3, true, NULL}, nonsense, NULL);
  spawn(&(struct shape){4, 2, true, NULL}, foreign_window, NULL);
}

Test(collective, outside_of_a_session)
{
  int x = 0;
  cr_assert_eq(uma_broadcast(&x, sizeof x, 0), -EINVAL);
  cr_assert(strstr(uma_last_error(), "session"));
}

/* ---- A lost device */

/* `argument` counts, in memory shared with the test, the devices that were told, and behind that those that came through the first sum. */
static int lose_one(void *argument)
{
  double sum, one = 1;
  _Atomic int *through = (_Atomic int *)argument + 1;
  if (uma_allreduce(&sum, &one, 1, UMA_FLOAT64, UMA_SUM)) return 1;
  atomic_fetch_add(through, 1);
  while (uma_device() == 1 && atomic_load(through) < uma_device_count()) usleep(100);
  if (uma_device() == 1) kill(getpid(), SIGKILL);
  if (uma_allreduce(&sum, &one, 1, UMA_FLOAT64, UMA_SUM) == -EHOSTDOWN && uma_allreduce(&sum, &one, 1, UMA_FLOAT64, UMA_SUM) == -EHOSTDOWN)
    atomic_fetch_add((_Atomic int *)argument, 1);
  return 0;
}

Test(collective, a_lost_device_ends_the_wait)
{
  _Atomic int *told = mmap(NULL, 2 * sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  static const struct shape lossy[] = {{2, 1, false, NULL}, {6, 1, false, NULL}, {5, 2, true, NULL}, {5, 2, true, "net"}};
  for (int i = 0; i < 4; i++) {
    struct uma_config config = config_of(&lossy[i], 1);
    config.on_failure = UMA_ON_FAILURE_CONTINUE;
    atomic_store(&told[0], 0);
    atomic_store(&told[1], 0);
    cr_assert_eq(uma_spawn(&config, lossy[i].devices, lose_one, (void *)told), 128 + SIGKILL);
    cr_assert_eq(atomic_load(told), lossy[i].devices - 1);
  }
}
