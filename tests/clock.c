/* The modelled clock: it agrees with closed forms, is the same in every run, knows where time went, and refuses what it cannot model. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fabric/forms.h"
#include "tests/session.h"
#include "uma/clock.h"

#define MACHINE "h100-8"
#define STAGED_MACHINE "mtt-s4000-kuae" /* servers of 8, joined through bounce buffers */

static void run_on(const char *profile, int devices, struct uma_config config, int (*function)(void *), void *argument)
{
  config.profile = profile;
  config.memory = config.memory ? config.memory : (size_t)16 << 20;
  config.timeout = 120;
  int result = uma_spawn(&config, devices, function, argument);
  cr_assert_eq(result, 0, "%d devices of %s: %d (%s)", devices, profile, result, result < 0 ? uma_last_error() : "");
}

static struct fab_topology machine(const char *name, int devices)
{
  struct fab_topology topology = {0};
  struct fab_profile *profile = fab_profile_load(name, stderr);
  if (!profile || fab_topology_make(profile, (uint64_t)devices, &topology, stderr)) abort();
  fab_profile_free(profile);
  return topology;
}

static bool agrees(double ns, uint64_t ticks)
{
  double form = fab_ns_of_ticks(ticks);
  if (ns >= form * 0.99 && ns <= form * 1.01) return true;
  fprintf(stderr, "device %d: modelled %.2f ns, the closed form %.2f ns\n", uma_device(), ns, form);
  return false;
}

/* What a barrier takes when all come at once. */
static double barrier_ns(void)
{
  uma_barrier();
  double before = uma_modelled_ns();
  uma_barrier();
  return uma_modelled_ns() - before;
}

/* ---- Closed forms */

static int chase(void *argument)
{
  int me = uma_device(), far = uma_device_count() - 1;
  struct fab_topology topology = machine(MACHINE, uma_device_count());
  uint64_t *cells = uma_alloc_symmetric(100 * sizeof *cells), form;
  CHECK(cells);
  for (int i = 0; i < 100; i++) cells[i] = (uint64_t)(i + 1);
  CHECK(!uma_barrier());
  double before = uma_modelled_ns();
  uint64_t at = 0, *there = uma_symmetric(cells, far);
  for (int i = 0; i < 100; i++) at = uma_ld(&there[at]);
  CHECK(at == 100 && !fab_form_chase(&topology, (uint64_t)me, (uint64_t)far, 100, &form));
  CHECK(agrees(uma_modelled_ns() - before, form));
  return uma_barrier();
}

Test(clock, a_pointer_chase_takes_what_its_closed_form_says)
{
  run_on(MACHINE, 4, (struct uma_config){0}, chase, NULL);
}

/* Pieces go round by messages: each device sends while it receives. */
static int ring(void *argument)
{
  enum { BYTES = 4 << 20 };
  int me = uma_device(), n = uma_device_count();
  size_t piece = BYTES / (size_t)n;
  struct fab_topology topology = machine(MACHINE, n);
  char *out = calloc(1, piece), *in = calloc(1, piece);
  uint64_t form;
  CHECK(out && in && !uma_barrier());
  double before = uma_modelled_ns();
  for (int step = 0; step < 2 * (n - 1); step++) {
    struct uma_request *send;
    CHECK(!uma_isend((me + 1) % n, step, out, piece, &send) && !uma_recv((me + n - 1) % n, step, in, piece, NULL) && !uma_wait(send, NULL));
  }
  CHECK(!fab_form_ring_allreduce(&topology, (uint64_t)n, BYTES, &form) && agrees(uma_modelled_ns() - before, form));
  free(out);
  free(in);
  return uma_barrier();
}

Test(clock, a_ring_all_reduce_takes_what_its_closed_form_says)
{
  run_on(MACHINE, 8, (struct uma_config){0}, ring, NULL);
}

/* The library's collectives hold a meeting before and one after what the forms are about. */
static int collectives(void *argument)
{
  size_t bytes = 4 << 20;
  int n = uma_device_count();
  struct fab_topology topology = machine(MACHINE, n);
  char *src = uma_alloc_symmetric(bytes), *dst = uma_alloc_symmetric(bytes);
  uint64_t reduce, exchange; /* an all-to-all in which each reads what is for it */
  CHECK(src && dst);
  memset(src, 0, bytes);
  CHECK(!fab_form_direct_allreduce(&topology, (uint64_t)n, bytes, &reduce));
  CHECK(!fab_form_gather(&topology, (uint64_t)n, bytes / (size_t)n, &exchange));
  double meeting = barrier_ns(), before = uma_modelled_ns();
  CHECK(!uma_allreduce(dst, src, bytes / 4, UMA_INT32, UMA_SUM));
  CHECK(agrees(uma_modelled_ns() - before - 2 * meeting, reduce));
  CHECK(!uma_barrier());
  before = uma_modelled_ns();
  CHECK(!uma_alltoall(dst, src, bytes / (size_t)n));
  CHECK(agrees(uma_modelled_ns() - before - 2 * meeting, exchange));
  return uma_barrier();
}

Test(clock, direct_all_reduce_and_an_all_to_all_that_reads_take_what_their_closed_forms_say)
{
  run_on(MACHINE, 2, (struct uma_config){0}, collectives, NULL);
  run_on(MACHINE, 8, (struct uma_config){0}, collectives, NULL);
}

/* Domains of one device: a binomial tree of messages. The last to have it took as long as the form says. */
static int broadcast(void *argument)
{
  size_t bytes = 256 << 10;
  int n = uma_device_count();
  struct fab_topology topology = machine(MACHINE, n);
  char *buffer = uma_malloc(bytes);
  uint64_t form;
  CHECK(buffer && !uma_barrier());
  double before = uma_modelled_ns(), took, longest;
  CHECK(!uma_broadcast(buffer, bytes, 0));
  took = uma_modelled_ns() - before;
  CHECK(!uma_allreduce(&longest, &took, 1, UMA_FLOAT64, UMA_MAX));
  CHECK(!fab_form_broadcast(&topology, (uint64_t)n, bytes, &form) && agrees(longest, form));
  return uma_barrier();
}

Test(clock, a_broadcast_tree_takes_what_its_closed_form_says)
{
  run_on(MACHINE, 8, (struct uma_config){.servers = 8, .mode = UMA_MODE_STACKED}, broadcast, NULL);
}

/* Reads by copy of every size go there and back, and a word takes the same whether it is loaded or copied; also where both are messages. */
static int reads(void *argument)
{
  static const size_t sizes[] = {8, 64, 4096, 1 << 20, (9 << 20) + 12345};
  int last = uma_device_count() - 1;
  struct fab_topology topology = machine(argument, last + 1);
  char *block = uma_alloc_symmetric(sizes[4]), *there = uma_symmetric(block, last);
  CHECK(block && !uma_barrier());
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] && uma_device() == 0; i++) {
    uint64_t form;
    double before = uma_modelled_ns();
    CHECK(!uma_get(block, there, sizes[i]) && !fab_read_ticks(&topology, 0, (uint64_t)last, sizes[i], &form));
    double got = uma_modelled_ns() - before;
    CHECK(agrees(got, form));
    before = uma_modelled_ns();
    (void)uma_ld((uint64_t *)there);
    double loaded = uma_modelled_ns() - before;
    CHECK(i ? got > 0.999 * loaded : got > 0.999 * loaded && got < 1.001 * loaded);
    before = uma_modelled_ns();
    CHECK(!uma_put(there, block, sizes[i]) && uma_modelled_ns() - before < got);
    before = uma_modelled_ns();
    CHECK(!uma_get(block, block + 4, 4) && !fab_read_ticks(&topology, 0, 0, 4, &form) && agrees(uma_modelled_ns() - before, form));
  }
  return uma_barrier();
}

Test(clock, a_read_by_copy_is_a_request_and_the_way_back)
{
  run_on(MACHINE, 2, (struct uma_config){0}, reads, MACHINE);
  run_on("cloudmatrix384", 9, (struct uma_config){0}, reads, "cloudmatrix384");
  run_on(MACHINE, 9, (struct uma_config){0}, reads, MACHINE);
  run_on(STAGED_MACHINE, 9, (struct uma_config){0}, reads, STAGED_MACHINE);
}

/* Servers that exchange messages: the accessors do not reach the other domain. */
static int reads_by_message(void *argument)
{
  size_t bytes = 1 << 20;
  int last = uma_device_count() - 1;
  struct fab_topology topology = machine(STAGED_MACHINE, last + 1);
  char *block = uma_alloc_symmetric(bytes);
  uint64_t form;
  CHECK(block && !uma_barrier() && !fab_read_ticks(&topology, 0, (uint64_t)last, bytes, &form));
  double before = uma_modelled_ns();
  if (uma_device() == 0) CHECK(!uma_get(block, uma_symmetric(block, last), bytes) && agrees(uma_modelled_ns() - before, form));
  return uma_barrier();
}

Test(clock, a_read_between_servers_is_a_message_and_its_answer)
{
  run_on(STAGED_MACHINE, 16, (struct uma_config){.servers = 2, .mode = UMA_MODE_STACKED}, reads_by_message, NULL);
}

/* Who moves bytes between two others asks the one to send them. */
static int copy_of_others(void *argument)
{
  size_t bytes = 4096;
  struct fab_topology topology = machine(MACHINE, uma_device_count());
  struct fab_path ask, send;
  char *block = uma_alloc_symmetric(bytes);
  CHECK(block && !fab_topology_path(&topology, 0, 1, FAB_WAY_BEST, &ask) && !fab_topology_path(&topology, 1, 2, FAB_WAY_BEST, &send));
  CHECK(!uma_barrier());
  double before = uma_modelled_ns();
  if (uma_device() == 0) {
    CHECK(!uma_copy(uma_symmetric(block, 2), uma_symmetric(block, 1), bytes));
    CHECK(agrees(uma_modelled_ns() - before, fab_request_ticks(&ask) + fab_path_ticks(&send, bytes, 0)));
  }
  return uma_barrier();
}

Test(clock, a_copy_between_two_others_begins_with_a_request)
{
  run_on(MACHINE, 3, (struct uma_config){0}, copy_of_others, NULL);
}

/* From one server to the next: device memory, PCIe, host buffer, NIC, network, and back, chunk after chunk. */
static int staged_copy(void *argument)
{
  size_t bytes = (9 << 20) + 12345;
  int last = uma_device_count() - 1;
  struct fab_topology topology = machine(STAGED_MACHINE, last + 1);
  struct fab_path path;
  struct uma_modelled split;
  char *block = uma_alloc_symmetric(bytes);
  CHECK(block && !fab_topology_path(&topology, 0, (uint64_t)last, FAB_WAY_BEST, &path) && path.way == FAB_WAY_STAGED);
  CHECK(!uma_barrier());
  double before = uma_modelled_ns();
  if (uma_device() == 0) {
    CHECK(!uma_copy(uma_symmetric(block, last), block, bytes));
    double took = uma_modelled_ns() - before, form = fab_ns_of_ticks(fab_path_ticks(&path, bytes, 0));
    CHECK(took > form - 0.011 && took < form + 0.011);
    CHECK(!uma_modelled(0, &split) && split.staging_ns > 0 && split.network_ns > 0);
  }
  return uma_barrier();
}

Test(clock, a_staged_copy_takes_what_its_closed_form_says_to_the_tick)
{
  run_on(STAGED_MACHINE, 9, (struct uma_config){0}, staged_copy, NULL);
}

/* ---- Time */

static bool adds_up(int device)
{
  struct uma_modelled m;
  if (uma_modelled(device, &m)) return false;
  double sum = m.compute_ns + m.memory_ns + m.scale_up_ns + m.staging_ns + m.network_ns + m.waiting_ns;
  return sum > m.ns - 0.1 && sum < m.ns + 0.1;
}

/* Who is late makes the others wait, by a barrier, a message, a signal, a lock. */
static int meet(void *argument)
{
  struct uma_modelled m;
  struct uma_lock lock;
  uint64_t *word = uma_alloc_symmetric(sizeof *word);
  int me = uma_device();
  double late = 1e6;
  CHECK(word);
  *word = 0;
  CHECK(!uma_barrier());
  if (me == 1) CHECK(!uma_compute(3.35e12 * 1e-3, 3.35e12 * 1e-3, UMA_FP8)); /* a millisecond of memory */
  CHECK(!uma_barrier() && uma_modelled_ns() >= late);
  CHECK(!uma_modelled(me, &m) && (me == 0 ? m.waiting_ns >= late * 0.9 && m.waiting_ns <= m.ns : m.memory_ns >= late));
  if (me == 1) CHECK(!uma_compute(0, 3.35e12 * 1e-3, UMA_FP8) && !uma_send(0, 1, &late, sizeof late));
  if (me == 0) CHECK(!uma_recv(1, 1, &late, sizeof late, NULL) && uma_modelled_ns() >= 2 * late);
  if (me == 1) CHECK(!uma_compute(0, 3.35e12 * 1e-3, UMA_FP8) && !uma_signal(uma_symmetric(word, 0), 1, UMA_SIGNAL_SET));
  if (me == 0) CHECK(!uma_wait_until(word, UMA_EQ, 1) && uma_modelled_ns() >= 3 * late);
  if (me == 1) CHECK(!uma_lock_create(1, &lock) && !uma_lock(&lock) && !uma_send(0, 2, &lock, sizeof lock));
  if (me == 0) CHECK(!uma_recv(1, 2, &lock, sizeof lock, NULL) && uma_modelled_ns() < 3.5 * late);
  if (me == 1) CHECK(!uma_compute(0, 3.35e12 * 1e-3, UMA_FP8) && !uma_unlock(&lock));
  if (me == 0) CHECK(!uma_lock(&lock) && uma_modelled_ns() >= 4 * late && !uma_unlock(&lock));
  CHECK(adds_up(me));
  return uma_barrier();
}

Test(clock, who_meets_goes_on_at_the_time_of_the_last)
{
  run_on(MACHINE, 2, (struct uma_config){0}, meet, NULL);
}

/* What an all-gather takes by itself is not waiting, also where a device's own bytes follow each other; what others had before it is. */
static int wait_in_a_collective(void *argument)
{
  size_t bytes = 1 << 20;
  int me = uma_device(), n = uma_device_count();
  struct uma_modelled before, after;
  char *src = uma_alloc_symmetric(bytes), *dst = uma_alloc_symmetric(bytes * (size_t)n);
  CHECK(src && dst && !uma_barrier() && !uma_modelled(me, &before));
  CHECK(!uma_allgather(dst, src, bytes) && !uma_modelled(me, &after));
  double took = after.ns - before.ns;
  CHECK(after.waiting_ns - before.waiting_ns < 0.01 * took && after.scale_up_ns - before.scale_up_ns > 0.8 * took);
  CHECK(!uma_barrier());
  struct coh_moment moment = uma_clock_moment(); /* its link is busy for as long as sixteen of these take */
  if (me == 0) uma_clock_fly(0, 1, 16 * bytes, UMA_FLIGHT_COPY, &moment);
  CHECK(!uma_barrier() && !uma_modelled(me, &before));
  CHECK(!uma_allgather(dst, src, bytes) && !uma_modelled(me, &after));
  double waited = after.waiting_ns - before.waiting_ns, longer = after.ns - before.ns - took;
  CHECK(longer > 3 * took && waited > 0.9 * longer && waited < 1.1 * longer && adds_up(me));
  return uma_barrier();
}

Test(clock, waiting_inside_a_collective_is_waiting)
{
  run_on(MACHINE, 4, (struct uma_config){0}, wait_in_a_collective, NULL);
}

/* A copy on a stream and computing take as long as the longer of the two. */
static int overlap(void *argument)
{
  size_t bytes = 8 << 20;
  struct uma_stream *stream;
  char *block = uma_alloc_symmetric(bytes);
  CHECK(block && !uma_barrier());
  if (uma_device() == 0) {
    double before = uma_modelled_ns();
    CHECK(!uma_copy(uma_symmetric(block, 1), block, bytes));
    double copy = uma_modelled_ns() - before;
    CHECK(!uma_stream_create(&stream) && !uma_copy_async(uma_symmetric(block, 1), block, bytes, stream));
    before = uma_modelled_ns();
    CHECK(!uma_compute(0, 3.35e12 * copy * 0.5e-9, UMA_FP8) && !uma_stream_wait(stream));
    double both = uma_modelled_ns() - before;
    CHECK(both > copy * 0.99 && both < copy * 1.01);
    CHECK(!uma_stream_destroy(stream));
  }
  return uma_barrier();
}

Test(clock, a_stream_overlaps_with_computing)
{
  run_on(MACHINE, 2, (struct uma_config){0}, overlap, NULL);
}

/* ---- Caches */

/* Three loads of one line: from its home, from this cache, and after the home has written it. */
static int misses(void *argument)
{
  uint64_t *word = uma_alloc_symmetric(4096);
  int me = uma_device();
  double took[3];
  CHECK(word && !uma_barrier());
  for (int i = 0; i < 3; i++) {
    if (i == 2 && me == 1) uma_st(word, 7ul);
    CHECK(!uma_barrier());
    double before = uma_modelled_ns();
    if (me == 0) (void)uma_ld((uint64_t *)uma_symmetric(word, 1));
    took[i] = uma_modelled_ns() - before;
    CHECK(!uma_barrier());
  }
  if (me == 0) CHECK(took[0] > 1.5 * took[1] && took[2] > 1.5 * took[1] && took[1] > 0 && adds_up(0));
  if (me == 0 && argument) memcpy(argument, took, sizeof took);
  return uma_barrier();
}

Test(clock, misses_are_charged_message_by_message)
{
  run_on(MACHINE, 2, (struct uma_config){.coherence = UMA_COHERENCE_LINE}, misses, NULL);
}

/* The engine brings a range line after line, each when the one before has come (coherence/range.c), so that is what a range takes. */
static int ranges(void *argument)
{
  enum { LINE = 64, LINES = 100 };
  char *block = uma_alloc_symmetric((LINES + 1) * LINE), copy[LINES * LINE];
  CHECK(block && !uma_barrier());
  if (uma_device() == 0) {
    double before = uma_modelled_ns();
    CHECK(!uma_get(copy, uma_symmetric(block, 1), LINE));
    double one = uma_modelled_ns() - before;
    CHECK(!uma_get(copy, uma_symmetric(block, 1), LINE));
    double hit = uma_modelled_ns() - before - one, miss = one - hit;
    before = uma_modelled_ns();
    CHECK(!uma_get(copy, (char *)uma_symmetric(block, 1) + LINE, LINES * LINE));
    double all = uma_modelled_ns() - before;
    CHECK(miss > hit && all >= LINES * miss - 1 && all < LINES * miss * 1.01 + hit);
  }
  return uma_barrier();
}

Test(clock, a_range_takes_one_miss_after_the_other)
{
  run_on(MACHINE, 2, (struct uma_config){.coherence = UMA_COHERENCE_LINE}, ranges, NULL);
}

static int faults(void *argument)
{
  uint64_t *word = uma_alloc_symmetric(1 << 16);
  double first, second;
  CHECK(word && !uma_barrier());
  if (uma_device() == 0) {
    volatile uint64_t *there = uma_symmetric(word, 1);
    double before = uma_modelled_ns();
    (void)there[0];
    first = uma_modelled_ns() - before;
    (void)there[1];
    second = uma_modelled_ns() - before - first;
    CHECK(first > 100 && second == 0);
  }
  return uma_barrier();
}

Test(clock, page_faults_are_charged_and_plain_hits_are_not_seen)
{
  run_on(MACHINE, 2, (struct uma_config){.coherence = UMA_COHERENCE_PAGE}, faults, NULL);
}

/* ---- The same again */

/* A bit of everything that no two devices race for; everybody's time into a shared array. */
static int mixture(void *argument)
{
  int me = uma_device(), n = uma_device_count();
  char *block = uma_alloc_symmetric(1 << 20), *other = uma_alloc_symmetric(1 << 20);
  double times[8], now;
  CHECK(block && other);
  for (int round = 0; round < 3; round++) {
    CHECK(!uma_compute(1e9 * (me + 1), 1e6, UMA_FP16) &&
          !uma_copy(uma_symmetric(block, (me + 1) % n), block, (size_t)1000 * (size_t)(me + 1)));
    CHECK(!uma_alltoall(other, block, 4096) && !uma_allreduce(other, block, 1000, UMA_INT64, UMA_SUM));
    uma_fetch_add((uint64_t *)uma_symmetric(block, (me + 1) % n), 1ul);
  }
  now = uma_modelled_ns();
  CHECK(!uma_allgather(times, &now, sizeof now) && adds_up(me));
  if (me == 0) CHECK(write(*(int *)argument, times, sizeof now * (size_t)n) == (ssize_t)sizeof now * n);
  return uma_barrier();
}

Test(clock, is_the_same_in_every_run)
{
  double times[2][4];
  int ends[2];
  cr_assert(!pipe(ends));
  for (int i = 0; i < 2; i++) {
    run_on(MACHINE, 4, (struct uma_config){0}, mixture, &ends[1]);
    cr_assert_eq(read(ends[0], times[i], sizeof times[i]), (ssize_t)sizeof times[i]);
  }
  close(ends[0]);
  close(ends[1]);
  for (int d = 0; d < 4; d++)
    cr_assert(times[0][d] > 0 && times[0][d] == times[1][d], "device %d: %.2f and %.2f ns", d, times[0][d], times[1][d]);
}

/* ---- What is refused */

static int nothing(void *argument)
{
  return 0;
}

static void expect_refusal(struct uma_config config, int devices, const char *words)
{
  config.memory = (size_t)1 << 20;
  int result = uma_spawn(&config, devices, nothing, NULL);
  cr_assert_eq(result, -EINVAL, "%s: %d (%s)", config.profile, result, uma_last_error());
  cr_assert(strstr(uma_last_error(), words), "%s", uma_last_error());
}

Test(clock, refuses_machines_that_it_does_not_have)
{
  expect_refusal((struct uma_config){.profile = "no-such-machine"}, 2, "no-such-machine");
  expect_refusal((struct uma_config){.profile = "mtlink2-c256"}, 257, "257 devices");
}

static bool is_so_long(double ns, double expected)
{
  if (ns > 0.99 * expected && ns < 1.01 * expected) return true;
  fprintf(stderr, "device %d: modelled %.2f ns instead of %.2f ns\n", uma_device(), ns, expected);
  return false;
}

/* What plain loads and stores are charged, as accessors and copies of the same bytes are; a chase is as many loads. */
static int charges_plain_accesses(void *argument)
{
  enum { BYTES = 1 << 16, LOADS = 1000 };
  unsigned char *mine = uma_alloc_symmetric(BYTES), *other = uma_symmetric(mine, 1 - uma_device());
  static unsigned char private[BYTES];
  double begin = uma_modelled_ns(), load, get, put;
  CHECK(mine && !uma_barrier());
  if (!uma_device()) {
    begin = uma_modelled_ns();
    (void)uma_ld((uint64_t *)other);
    load = uma_modelled_ns() - begin;
    begin += load;
    CHECK(!uma_charge_reads(other, 8) && is_so_long(uma_modelled_ns() - begin, load));
    begin = uma_modelled_ns();
    CHECK(!uma_charge_chase(other, BYTES, LOADS) && is_so_long(uma_modelled_ns() - begin, LOADS * load));
    begin = uma_modelled_ns();
    CHECK(!uma_get(private, other, BYTES));
    get = uma_modelled_ns() - begin;
    begin += get;
    CHECK(!uma_charge_reads(other, BYTES) && is_so_long(uma_modelled_ns() - begin, get));
    begin = uma_modelled_ns();
    CHECK(!uma_put(other, private, BYTES));
    put = uma_modelled_ns() - begin;
    begin += put;
    CHECK(!uma_charge_writes(other, BYTES) && is_so_long(uma_modelled_ns() - begin, put));
    begin = uma_modelled_ns();
    CHECK(!uma_charge_reads(mine, BYTES) && uma_modelled_ns() > begin && uma_modelled_ns() - begin < get);
    begin = uma_modelled_ns();
    CHECK(!uma_charge_chase(mine, BYTES, LOADS) && uma_modelled_ns() > begin && uma_modelled_ns() - begin < LOADS * load);
    begin = uma_modelled_ns();
    CHECK(!uma_charge_reads(other, 0) && !uma_charge_chase(other, BYTES, 0) && uma_modelled_ns() == begin);
  }
  CHECK(uma_charge_reads(private, 8) == -EINVAL && strstr(uma_last_error(), "uma_charge_reads: 8 bytes at "));
  CHECK(uma_charge_writes(other, (size_t)1 << 40) == -EINVAL && uma_charge_chase(NULL, 8, 1) == -EINVAL);
  return uma_barrier();
}

Test(clock, charges_plain_loads_and_stores_that_it_is_told_of)
{
  run_on(MACHINE, 2, (struct uma_config){0}, charges_plain_accesses, NULL);
}

static int cannot_load_from_another_server(void *argument)
{
  uint64_t *mine = uma_alloc_symmetric(8), *other = uma_symmetric(mine, 1 - uma_device());
  CHECK(uma_charge_reads(other, 8) == -EHOSTUNREACH && strstr(uma_last_error(), "plain loads and stores do not reach"));
  CHECK(!uma_charge_reads(mine, 8));
  return uma_barrier();
}

Test(clock, charges_no_plain_loads_where_there_are_none)
{
  run_on(MACHINE, 2, (struct uma_config){.mode = UMA_MODE_STACKED, .servers = 2}, cannot_load_from_another_server, NULL);
}

static int wrong_calls(void *argument)
{
  struct uma_modelled m;
  CHECK(uma_compute(-1, 0, UMA_FP64) == -EINVAL && strstr(uma_last_error(), "-1"));
  CHECK(uma_compute(0.0 / 0.0, 0, UMA_FP64) == -EINVAL);
  CHECK(uma_compute(1, 0, (enum uma_dtype)99) == -EINVAL && strstr(uma_last_error(), "99"));
  CHECK(uma_modelled(5, &m) == -EINVAL);
  CHECK(!uma_compute(1e300, 0, UMA_FP64));
  if (argument) CHECK(uma_modelled(0, &m) == -ERANGE && uma_modelled_ns() > 3e16 && uma_modelled_ns() < 3.2e16); /* it goes no further */
  else CHECK(uma_modelled(0, &m) == -ENODATA && uma_modelled_ns() == 0);
  return 0;
}

Test(clock, refuses_wrong_calls_and_stops_at_a_year)
{
  struct uma_config config = {.memory = (size_t)1 << 20, .timeout = 60};
  cr_assert_eq(uma_spawn(&config, 1, wrong_calls, NULL), 0);
  run_on(MACHINE, 1, (struct uma_config){0}, wrong_calls, "profile");
}

/* Work is what computing took, by whatever bounded it; operations are what of it they would have taken alone. */
static int compute_some(void *argument)
{
  struct uma_modelled told;
  struct fab_topology topology = machine(MACHINE, uma_device_count());
  uint64_t operations, bytes;
  CHECK(!fab_compute_ticks(&topology, 0, 1e12, 1, FAB_BF16, &operations) && !fab_compute_ticks(&topology, 0, 1, 1e10, FAB_BF16, &bytes));
  CHECK(!uma_compute(1e12, 1, UMA_BF16) && !uma_compute(1, 1e10, UMA_BF16) && !uma_modelled(uma_device(), &told));
  CHECK(agrees(told.work_ns, operations + bytes) && agrees(told.operations_ns, operations));
  CHECK(told.compute_ns > 0 && told.memory_ns > 0);
  return 0;
}

Test(clock, tells_work_and_operations_apart)
{
  run_on(MACHINE, 1, (struct uma_config){0}, compute_some, NULL);
}
