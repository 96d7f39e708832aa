/* Runs a litmus test: each thread is a device, each location lies in a window.
 *
 * Iterations come in batches. A batch has one instance of every location for each of its iterations, so that nothing has to be reset
 * between two of them: device 0 checks and counts the outcomes when all are done. Before an iteration every thread touches some of its
 * locations (so their lines begin it in other caches each time), meets the others, and waits a little at random, so that it is ahead
 * in some iterations and behind in others. With more threads than processors it also gives way to the others at random between steps; where
 * a step can take as long as many others (access mode `line`: a miss) it waits there instead, and longer.
 *
 * Where things are: locations in windows, reached by uma_ld, uma_st and the atomics only, so that this file is the same in every
 * access mode; in mode none these are the processor's mov, xchg and lock instructions. All else (the meeting, results) is in the
 * arena, so that it does not disturb the caches of the mode under test. There are two kinds of arenas:
 *
 *   near   The devices are processes that this one forks (uma_spawn), and the arena is memory that they share.
 *   far    A PMIx launcher has started the devices, on any number of hosts, and all of them run every test. Each has an arena of its own;
 *          they meet by uma_barrier and gather results by uma_allgather. Threads are spread over the devices, so that two threads sit on
 *          two hosts where there are two; the devices that are left over only meet.
 *
 * Why it is correct: a thread writes only its own row of `results`, and instances only before the meeting that precedes their
 * iteration (all writers the same initial value) or in it. Meetings order all the rest: whoever leaves one (acquire) has seen what every
 * thread did before it (release). No thread waits except in a meeting, and all have equally many. A lost device ends the session.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "uma/config.h"
#include "uma/litmus.h"
#include "uma/pmix.h"
#include "uma/session.h"
#include "uma/wait.h"

#define BATCH 2048             /* iterations at most; a power of two */
#define SLOT 8                 /* bytes of a location */
#define MOST_DELAY 128         /* turns of a loop */
#define MOST_CACHED_DELAY 4096 /* where a miss takes a microsecond */
#define MOST_FAR_DELAY 65536   /* where it may go over a network */
#define WINDOW ((size_t)64 << 20)
#define PAGED_WINDOW ((size_t)1 << 30) /* room for a page of up to 64 KiB for every instance of every location; costs what is touched */

#if defined(__x86_64__)
#define FENCE_FULL() __builtin_ia32_mfence()
#define FENCE_STORE() __builtin_ia32_sfence()
#define FENCE_LOAD() __builtin_ia32_lfence()
#else
#define FENCE_FULL() atomic_thread_fence(memory_order_seq_cst)
#define FENCE_STORE() atomic_thread_fence(memory_order_release)
#define FENCE_LOAD() atomic_thread_fence(memory_order_acquire)
#endif

/* Where the locations are; device 0 decides before the first meeting. */
struct placement {
  int error;                                      /* there is no room for them */
  size_t stride;                                  /* from one instance of a location to the next */
  unsigned char *locations[UMA_LITMUS_LOCATIONS]; /* their first instances */
};

typedef uint64_t row[BATCH][UMA_LITMUS_OBSERVED]; /* registers of one thread, in the places of the outcome */

struct arena {
  _Alignas(2 * FAB_CACHE_LINE) _Atomic uint64_t arrived; /* at all meetings so far, by all threads; near arenas only */
  _Alignas(2 * FAB_CACHE_LINE) struct placement placement;
  row results[UMA_LITMUS_THREADS + 1]; /* the last one is that of devices without a thread */
};

struct worker;
/* All of these are meetings. 0 or -errno. */
struct arena_ops {
  int (*meet)(struct worker *w);
  int (*publish)(struct worker *w); /* from then on all know the placement */
  int (*collect)(struct worker *w); /* from then on device 0 has all results */
};

struct job {
  const struct uma_litmus *test;
  const struct uma_litmus_options *options;
  const struct arena_ops *ops;
  struct arena *arena;
  int outcomes_fd;     /* device 0 writes the histogram here when it is complete */
  bool crowded;        /* more threads than processors */
  bool cached;         /* accesses go through caches */
  uint64_t most_delay; /* in turns of a loop */
  size_t batch;        /* iterations of one; a power of two */
};

struct worker {
  const struct job *job;
  int thread; /* UMA_LITMUS_THREADS: none */
  uint64_t random, meetings;
  uint32_t touched; /* a bit for each location that the thread uses */
  struct uma_litmus_tally *tally;
};

/* ---- Chance and meetings */

/* splitmix64 (Steele, Lea, Flood, OOPSLA 2014) */
static uint64_t mix(uint64_t *state)
{
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

static void delay(uint64_t turns)
{
  for (volatile uint64_t left = turns; left; left--) {
  }
}

/* ---- Arenas */

static int meet_near(struct worker *w)
{
  _Atomic uint64_t *arrived = &w->job->arena->arrived;
  uint64_t all = ++w->meetings * (uint64_t)w->job->test->thread_count;
  struct uma_waiter waiter = {0};
  atomic_fetch_add_explicit(arrived, 1, memory_order_acq_rel); /* pairs with the load below, in the other threads */
  while (atomic_load_explicit(arrived, memory_order_acquire) < all)
    if (!uma_wait_step(&waiter)) usleep(50);
  return 0;
}

static int meet_far(struct worker *w)
{
  return uma_barrier();
}

static int publish_far(struct worker *w)
{
  return uma_broadcast(&w->job->arena->placement, sizeof w->job->arena->placement, 0);
}

static int device_of(const struct worker *w, int thread)
{
  return thread * uma_device_count() / w->job->test->thread_count;
}

static int collect_far(struct worker *w)
{
  size_t bytes = w->job->batch * sizeof w->job->arena->results[0][0];
  unsigned char *all = malloc((size_t)uma_device_count() * bytes);
  if (!all) return -ENOMEM;
  int result = uma_allgather(all, w->job->arena->results[w->thread], bytes);
  for (int t = 0; t < w->job->test->thread_count && !result; t++)
    memcpy(w->job->arena->results[t], all + (size_t)device_of(w, t) * bytes, bytes);
  free(all);
  return result;
}

static const struct arena_ops near_ops = {.meet = meet_near, .publish = meet_near, .collect = meet_near};
static const struct arena_ops far_ops = {.meet = meet_far, .publish = publish_far, .collect = collect_far};

/* The place of iteration `i` of a batch: each once, in another order in every batch, the same order in all threads. */
static size_t place_of(const struct worker *w, uint64_t batch, size_t i)
{
  uint64_t state = w->job->options->seed + batch;
  uint64_t order = mix(&state);
  return (i * (order | 1) + (order >> 32)) & (w->job->batch - 1);
}

static void *instance(const struct worker *w, int location, size_t place)
{
  const struct placement *placement = &w->job->arena->placement;
  return placement->locations[location] + place * placement->stride;
}

/* ---- One iteration */

static inline uint64_t load(void *p, unsigned size)
{
  switch (size) {
  case 1: return uma_ld((uint8_t *)p);
  case 2: return uma_ld((uint16_t *)p);
  case 4: return uma_ld((uint32_t *)p);
  default: return uma_ld((uint64_t *)p);
  }
}

static inline void store(void *p, uint64_t value, unsigned size)
{
  switch (size) {
  case 1: uma_st((uint8_t *)p, (uint8_t)value); break;
  case 2: uma_st((uint16_t *)p, (uint16_t)value); break;
  case 4: uma_st((uint32_t *)p, (uint32_t)value); break;
  default: uma_st((uint64_t *)p, value); break;
  }
}

static inline uint64_t change_4(uint32_t *p, const struct uma_litmus_step *step, uint32_t operand, uint32_t expected)
{
  switch (step->op) {
  case UMA_LITMUS_SWAP: return uma_swap(p, operand);
  case UMA_LITMUS_FETCH_ADD: return uma_fetch_add(p, operand);
  case UMA_LITMUS_FETCH_AND: return uma_fetch_and(p, operand);
  case UMA_LITMUS_FETCH_OR: return uma_fetch_or(p, operand);
  case UMA_LITMUS_FETCH_XOR: return uma_fetch_xor(p, operand);
  default: return uma_cas(p, expected, operand);
  }
}

static inline uint64_t change_8(uint64_t *p, const struct uma_litmus_step *step, uint64_t operand, uint64_t expected)
{
  switch (step->op) {
  case UMA_LITMUS_SWAP: return uma_swap(p, operand);
  case UMA_LITMUS_FETCH_ADD: return uma_fetch_add(p, operand);
  case UMA_LITMUS_FETCH_AND: return uma_fetch_and(p, operand);
  case UMA_LITMUS_FETCH_OR: return uma_fetch_or(p, operand);
  case UMA_LITMUS_FETCH_XOR: return uma_fetch_xor(p, operand);
  default: return uma_cas(p, expected, operand);
  }
}

static inline uint64_t change(void *p, const struct uma_litmus_step *step, const uint64_t *registers)
{
  uint64_t operand = uma_litmus_operand(step, registers), expected = registers[step->reg];
  return step->size == 4 ? change_4(p, step, (uint32_t)operand, (uint32_t)expected) : change_8(p, step, operand, expected);
}

static inline void take_step(const struct uma_litmus_step *step, void *const *at, uint64_t *registers)
{
  switch (step->op) {
  case UMA_LITMUS_LOAD: uma_litmus_set(&registers[step->reg], load(at[step->location], step->size), step->size); break;
  case UMA_LITMUS_STORE: store(at[step->location], uma_litmus_operand(step, registers), step->size); break;
  case UMA_LITMUS_FENCE_FULL: FENCE_FULL(); break;
  case UMA_LITMUS_FENCE_STORE: FENCE_STORE(); break;
  case UMA_LITMUS_FENCE_LOAD: FENCE_LOAD(); break;
  default:
    if (uma_litmus_is_local(step)) uma_litmus_do_local(step, registers);
    else uma_litmus_set(&registers[step->reg], change(at[step->location], step, registers), step->size);
  }
}

/* Where the thread pauses between its steps, -1 for nowhere, and for how many turns; 0: it gives way to others. */
struct pause {
  int before;
  uint64_t turns;
};

/* Between two steps is nothing but the way to the next one, and one pause. */
static void take_steps(const struct uma_litmus_thread *thread, void *const *at, uint64_t *registers, struct pause pause)
{
  for (int i = 0; i < thread->count; i++) {
    if (i == pause.before && pause.turns) delay(pause.turns);
    else if (i == pause.before) sched_yield();
    take_step(&thread->steps[i], at, registers);
  }
}

/* Loads or stores (the value that is there) make the line come here, shared or exclusive. */
static void touch(const struct worker *w, void *const *at, uint64_t chance)
{
  for (int l = 0; l < w->job->test->location_count; l++, chance >>= 2) {
    if (!(w->touched >> l & 1)) continue;
    if ((chance & 3) == 1) load(at[l], SLOT);
    if ((chance & 3) == 2) store(at[l], w->job->test->locations[l].initial, SLOT);
  }
}

static int iterate(struct worker *w, size_t place)
{
  if (w->thread == UMA_LITMUS_THREADS) return w->job->ops->meet(w);
  const struct uma_litmus *test = w->job->test;
  const struct uma_litmus_thread *thread = &test->threads[w->thread];
  uint64_t registers[UMA_LITMUS_ALL_REGISTERS], chance = mix(&w->random);
  void *at[UMA_LITMUS_LOCATIONS];
  memcpy(registers, thread->initial, sizeof registers);
  for (int l = 0; l < test->location_count; l++) at[l] = instance(w, l, place);
  touch(w, at, chance >> 32);
  bool pauses = (w->job->crowded || w->job->cached) && (chance & 3), yields = w->job->crowded && !(w->job->cached && (chance & 4));
  uint64_t most = w->job->most_delay;
  struct pause pause = {pauses ? (int)(chance >> 16 & 0xff) % (thread->count + 1) : -1, yields ? 0 : 1 + (chance >> 40) % most};
  int result = w->job->ops->meet(w);
  if (result) return result;
  delay((chance >> 8 & 1) * (chance >> 24) % most);
  take_steps(thread, at, registers, pause);
  uint64_t *seen = w->job->arena->results[w->thread][place];
  for (int i = 0; i < test->observed_count; i++)
    if (test->observed[i].thread == w->thread) seen[i] = uma_litmus_low(registers[test->observed[i].index], test->observed[i].size);
  return 0;
}

/* ---- Batches */

/* Each location is set by another thread in every batch. */
static void prepare(const struct worker *w, uint64_t batch)
{
  const struct uma_litmus *test = w->job->test;
  for (int l = 0; l < test->location_count; l++) {
    if ((l + batch) % (uint64_t)test->thread_count != (uint64_t)w->thread) continue;
    for (size_t place = 0; place < w->job->batch; place++) store(instance(w, l, place), test->locations[l].initial, SLOT);
  }
}

static int count_outcomes(struct worker *w, uint64_t batch, size_t iterations)
{
  const struct uma_litmus *test = w->job->test;
  for (size_t n = 0; n < iterations; n++) {
    size_t place = place_of(w, batch, n);
    uint64_t values[UMA_LITMUS_OBSERVED] = {0};
    for (int i = 0; i < test->observed_count; i++) {
      const struct uma_litmus_observed *o = &test->observed[i];
      values[i] = o->thread < 0 ? load(instance(w, o->index, place), o->size) : w->job->arena->results[o->thread][place][i];
    }
    if (uma_litmus_tally_add(&w->tally, test, values)) return -ENOMEM;
  }
  return 0;
}

static int run_batch(struct worker *w, uint64_t batch, size_t iterations)
{
  prepare(w, batch);
  int result = w->job->ops->meet(w);
  for (size_t i = 0; i < iterations && !result; i++) result = iterate(w, place_of(w, batch, i));
  if (!result) result = w->job->ops->collect(w);
  if (!result && !w->thread) result = count_outcomes(w, batch, iterations);
  return result ? result : w->job->ops->meet(w); /* nobody prepares what is still being counted */
}

static int run_batches(struct worker *w)
{
  int result = 0;
  for (uint64_t left = w->job->options->runs, batch = 0; left && !result; batch++) {
    size_t iterations = left < w->job->batch ? left : w->job->batch;
    result = run_batch(w, batch, iterations);
    left -= iterations;
  }
  return result;
}

/* ---- Devices */

/* Device 0 places the locations: packed into the same lines of its own window, or one by one into the devices' windows in turn. */
static int place_locations(const struct job *job)
{
  struct placement *placement = &job->arena->placement;
  int count = job->test->location_count;
  bool packed = job->options->same_line;
  size_t line = job->cached ? uma_self.shape.line : FAB_CACHE_LINE;
  size_t stride = packed ? ((size_t)count * SLOT + line - 1) / line * line : line;
  unsigned char *block = NULL;
  placement->stride = stride;
  for (int l = 0; l < count; l++) {
    if (!l || !packed) block = uma_memalign_on(packed ? 0 : l % uma_device_count(), line, stride * BATCH);
    if (!block) return -errno;
    placement->locations[l] = packed ? block + (size_t)l * SLOT : block;
  }
  return 0;
}

/* A session may run many tests. */
static void free_locations(const struct job *job)
{
  for (int l = 0; l < job->test->location_count; l++)
    if (!l || !job->options->same_line) uma_free(job->arena->placement.locations[l]);
}

static int write_all(int fd, const void *from, size_t bytes)
{
  for (size_t done = 0; done < bytes;) {
    ssize_t wrote = write(fd, (const char *)from + done, bytes - done);
    if (wrote < 0 && errno != EINTR) return -errno;
    if (wrote > 0) done += (size_t)wrote;
  }
  return 0;
}

static int deliver(struct worker *w)
{
  struct uma_litmus_outcomes outcomes = {0};
  int result = uma_litmus_tally_end(&w->tally, w->job->test, &outcomes);
  if (!result) result = write_all(w->job->outcomes_fd, outcomes.list, outcomes.count * sizeof *outcomes.list);
  free(outcomes.list);
  return result;
}

static void become_thread(struct worker *w, int number)
{
  const struct uma_litmus_thread *thread = &w->job->test->threads[number];
  w->thread = number;
  for (int i = 0; i < thread->count; i++)
    if (!uma_litmus_is_local(&thread->steps[i])) w->touched |= 1u << thread->steps[i].location;
  w->random = w->job->options->seed + 0x100000000u * (unsigned)(number + 1);
}

static int run_device(void *argument)
{
  const struct job *job = argument;
  struct worker w = {.job = job, .thread = UMA_LITMUS_THREADS};
  for (int t = 0; t < job->test->thread_count; t++)
    if (device_of(&w, t) == uma_device()) become_thread(&w, t);
  if (!w.thread) job->arena->placement.error = place_locations(job);
  int result = job->ops->publish(&w);
  if (!result) result = job->arena->placement.error;
  if (!result) result = run_batches(&w);
  if (!result && !w.thread) result = deliver(&w);
  if (!result && !w.thread) free_locations(job);
  if (result) fprintf(stderr, "uma litmus: device %d: %s\n", uma_device(), uma_strerror(result));
  return result ? 1 : 0;
}

static int read_outcomes(int fd, struct uma_litmus_outcomes *outcomes)
{
  off_t bytes = lseek(fd, 0, SEEK_END);
  struct uma_litmus_outcome *list = malloc((size_t)bytes + 1);
  if (!list) return uma_fail(-ENOMEM, "out of memory for %lld bytes of outcomes", (long long)bytes);
  if (pread(fd, list, (size_t)bytes, 0) != bytes) {
    free(list);
    return uma_fail(-EIO, "cannot read the outcomes: %s", strerror(errno));
  }
  *outcomes = (struct uma_litmus_outcomes){(size_t)bytes / sizeof *list, list};
  return 0;
}

static struct uma_config config_of(const struct uma_litmus_options *options)
{
  struct uma_config config = options->config;
  if (!config.memory) config.memory = config.coherence == UMA_COHERENCE_PAGE ? PAGED_WINDOW : WINDOW;
  return config;
}

int uma_litmus_join(const struct uma_litmus_options *options)
{
  struct uma_config config = config_of(options);
  if (!uma_pmix_present()) return 0;
  int result = uma_init(&config);
  return result ? result : 1;
}

static int run_far(struct job *job)
{
  int threads = job->test->thread_count, devices = uma_device_count();
  job->crowded = uma_self.shape.oversubscribed;
  job->most_delay = MOST_FAR_DELAY;
  if (threads > devices)
    return uma_fail(-E2BIG, "%s: %d threads are more than the %d devices that were started", job->test->name, threads, devices);
  int result = run_device(job);
  return result || uma_device() == 0 ? result : UMA_LITMUS_SILENT;
}

static int run_near(struct job *job)
{
  struct uma_config config = config_of(job->options);
  job->crowded = job->test->thread_count > uma_host_processors();
  job->most_delay = job->cached ? MOST_CACHED_DELAY : MOST_DELAY;
  return uma_spawn(&config, job->test->thread_count, run_device, job);
}

int uma_litmus_run(const struct uma_litmus *test, const struct uma_litmus_options *options, struct uma_litmus_outcomes *outcomes)
{
  bool far = uma_self.joined;
  struct job job = {.test = test, .options = options, .ops = far ? &far_ops : &near_ops, .batch = BATCH};
  while (job.batch / 2 >= options->runs) job.batch /= 2;
  job.cached = options->config.coherence > UMA_COHERENCE_NONE;
  job.arena = mmap(NULL, sizeof *job.arena, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (job.arena == MAP_FAILED) return uma_fail(-errno, "cannot map memory for the results: %s", strerror(errno));
  job.outcomes_fd = memfd_create("uma-litmus", MFD_CLOEXEC);
  int result = job.outcomes_fd < 0 ? uma_fail(-errno, "cannot create memory for the outcomes: %s", strerror(errno)) : 0;
  if (!result) result = far ? run_far(&job) : run_near(&job);
  if (result > 0 && result != UMA_LITMUS_SILENT) result = uma_fail(-EIO, "%s: a device failed with status %d", test->name, result);
  if (!result) result = read_outcomes(job.outcomes_fd, outcomes);
  if (job.outcomes_fd >= 0) close(job.outcomes_fd);
  munmap(job.arena, sizeof *job.arena);
  return result;
}
