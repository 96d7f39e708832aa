/* Random accesses of many devices and threads through the coherent caches, against what a sequential memory would answer: over protocols, kinds
 * of sharer sets, sizes of lines and pages, and caches so small that they evict all the time; and that a broken protocol shows. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "coherence/engine.h"
#include "tests/command.h"
#include "tests/mutant.h"
#include "tests/session.h"
#include "uma/session.h"

enum { ROWS = 4, WORDS = 12, COUNTERS = 6, MOST_THREADS = 2 };

/* In the window of the device that writes it. A row is written word by word and then its round is published: who has seen the round sees
 * no older word. Rows are packed without regard to lines, so that lines are shared truly and falsely. */
struct rows {
  struct {
    uint64_t round, words[WORDS];
  } row[MOST_THREADS][ROWS];
  uint64_t counters[COUNTERS];
  uint32_t lock;
  uint64_t guarded[3]; /* equal whenever nobody holds the lock */
  uint64_t bulk[40];   /* written as one range by the device */
};

struct stress {
  unsigned seed;
  int threads, steps;
};

struct worker {
  const struct stress *stress;
  struct rows *mine;
  int thread, failed;
  uint64_t random, added, taken, rounds[ROWS], bulk;
};

static uint64_t draw(struct worker *w, uint64_t below)
{
  uint64_t z = w->random += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return (z ^ z >> 31) % below;
}

static struct rows *rows_of(struct worker *w, int device)
{
  return uma_symmetric(w->mine, device);
}

static int stale(struct worker *w, const char *what, uint64_t got, uint64_t least)
{
  fprintf(stderr, "stale value: device %d, thread %d: %s is %llu, but %llu was seen before\n", uma_device(), w->thread, what,
          (unsigned long long)got, (unsigned long long)least);
  return 1;
}

static int write_row(struct worker *w)
{
  int r = (int)draw(w, ROWS);
  uint64_t round = ++w->rounds[r];
  for (int i = 0; i < WORDS; i++) uma_st(&w->mine->row[w->thread][r].words[i], round);
  uma_st(&w->mine->row[w->thread][r].round, round);
  return 0;
}

/* Between the two looks at the round the word has a value between them, or is already of the next one. */
static int read_row(struct worker *w)
{
  struct rows *rows = rows_of(w, (int)draw(w, (uint64_t)uma_device_count()));
  int t = (int)draw(w, (uint64_t)w->stress->threads), r = (int)draw(w, ROWS), i = (int)draw(w, WORDS);
  uint64_t before = uma_ld(&rows->row[t][r].round), word = uma_ld(&rows->row[t][r].words[i]), after = uma_ld(&rows->row[t][r].round);
  if (word < before) return stale(w, "a word", word, before);
  if (after < before) return stale(w, "a round", after, before);
  if (word > after + 1) return stale(w, "a round", after, word - 1);
  return 0;
}

static int count(struct worker *w)
{
  struct rows *rows = rows_of(w, (int)draw(w, (uint64_t)uma_device_count()));
  uma_fetch_add(&rows->counters[draw(w, COUNTERS)], UINT64_C(1));
  w->added++;
  return 0;
}

static int change_guarded(struct worker *w)
{
  struct rows *rows = rows_of(w, (int)draw(w, (uint64_t)uma_device_count()));
  if (uma_cas(&rows->lock, 0u, (uint32_t)uma_device() + 1)) return 0;
  uint64_t first = uma_ld(&rows->guarded[0]);
  for (int i = 0; i < 3; i++) {
    uint64_t value = uma_ld(&rows->guarded[i]);
    if (value != first) return stale(w, "a guarded word", value, first);
    uma_st(&rows->guarded[i], first + 1);
  }
  w->taken++;
  return uma_swap(&rows->lock, 0u) != (uint32_t)uma_device() + 1 ? stale(w, "the lock", 0, 1) : 0;
}

/* A range is not atomic, but no word of it goes back. */
static int move_range(struct worker *w)
{
  uint64_t values[40], again[40];
  if (w->thread == 0 && draw(w, 2)) {
    w->bulk++;
    for (int i = 0; i < 40; i++) values[i] = w->bulk;
    return uma_put(w->mine->bulk, values, sizeof values) != 0;
  }
  struct rows *rows = rows_of(w, (int)draw(w, (uint64_t)uma_device_count()));
  if (uma_get(values, rows->bulk, sizeof values) || uma_get(again, rows->bulk, sizeof again)) return 1;
  for (int i = 0; i < 40; i++)
    if (again[i] < values[i]) return stale(w, "a word of a range", again[i], values[i]);
  return 0;
}

static void *work(void *argument)
{
  struct worker *w = argument;
  static int (*const deeds[])(struct worker *) = {write_row, read_row, read_row, read_row, count, change_guarded, move_range};
  for (int i = 0; i < w->stress->steps && !w->failed; i++) w->failed = deeds[draw(w, sizeof deeds / sizeof deeds[0])](w);
  return NULL;
}

static int check_sums(const struct worker *workers, struct rows *mine)
{
  uint64_t own[2] = {0}, all[2], found[2] = {0};
  for (int t = 0; t < workers->stress->threads; t++) {
    own[0] += workers[t].added;
    own[1] += workers[t].taken;
  }
  CHECK(!uma_allreduce(all, own, 2, UMA_UINT64, UMA_SUM));
  for (int d = 0; d < uma_device_count(); d++) {
    struct rows *rows = uma_symmetric(mine, d);
    for (int c = 0; c < COUNTERS; c++) found[0] += uma_ld(&rows->counters[c]);
    found[1] += uma_ld(&rows->guarded[1]);
  }
  CHECK(found[0] == all[0]);
  CHECK(found[1] == all[1]);
  return 0;
}

/* While nobody accesses anything. */
static int check_invariants(struct rows *mine)
{
  struct coh_breach breach;
  uint64_t first = (uint64_t)((unsigned char *)mine - (unsigned char *)uma_window(0, NULL)) >> uma_self.engine->line_shift;
  CHECK(!uma_barrier());
  for (uint64_t line = 0; line <= sizeof *mine >> uma_self.engine->line_shift && !uma_self.wire; line++) /* all controllers are here */
    CHECK(!coh_engine_broken(uma_self.engine, first + line, &breach));
  CHECK(!uma_barrier());
  return 0;
}

/* Everything that was stored lies in memory. */
static int check_flushed(const struct worker *workers, struct rows *mine)
{
  CHECK(!uma_flush());
  CHECK(!uma_barrier());
  const struct rows *memory = (const void *)(uma_self.memory + ((unsigned char *)mine - (unsigned char *)uma_window(uma_self.first, NULL)));
  for (int t = 0; t < workers->stress->threads; t++)
    for (int r = 0; r < ROWS; r++) {
      CHECK(memory->row[t][r].round == workers[t].rounds[r]);
      CHECK(memory->row[t][r].words[WORDS - 1] == workers[t].rounds[r]);
    }
  CHECK(memory->bulk[0] == workers->bulk && memory->bulk[39] == workers->bulk);
  return 0;
}

static int run_device(void *argument)
{
  const struct stress *stress = argument;
  struct worker workers[MOST_THREADS] = {0};
  pthread_t threads[MOST_THREADS];
  struct rows *mine = uma_alloc_symmetric(sizeof *mine);
  CHECK(mine);
  for (int t = 0; t < stress->threads; t++) {
    workers[t] = (struct worker){.stress = stress, .mine = mine, .thread = t};
    workers[t].random = stress->seed * 1000003u + (unsigned)(uma_device() * MOST_THREADS + t);
  }
  CHECK(!uma_barrier());
  for (int t = 0; t < stress->threads; t++) CHECK(!pthread_create(&threads[t], NULL, work, &workers[t]));
  for (int t = 0; t < stress->threads; t++) pthread_join(threads[t], NULL);
  for (int t = 0; t < stress->threads; t++) CHECK(!workers[t].failed);
  CHECK(!uma_barrier());
  int result = check_invariants(mine);
  if (!result) result = check_sums(workers, mine);
  return result ? result : check_flushed(workers, mine);
}

static unsigned seed_of_tests(void)
{
  const char *given = getenv("UMA_TEST_SEED");
  unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : 1u;
  printf("UMA_TEST_SEED=%u\n", seed);
  return seed;
}

#if defined(__SANITIZE_THREAD__)
static const bool order_is_seen = false;
#else
static const bool order_is_seen = true;
#endif

static bool may_serve_the_kernel(void)
{
  int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
  if (fd >= 0) close(fd);
  return fd >= 0 || !access("/dev/userfaultfd", R_OK | W_OK);
}

static const struct uma_config base = {.coherence = UMA_COHERENCE_LINE, .memory = 1 << 20, .timeout = 120};

static void run(struct uma_config config, int devices, int threads, int steps, unsigned seed)
{
  struct stress stress = {seed, threads, getenv("UMA_TEST_LONG") ? 50 * steps : getenv("UMA_HOSTS") ? steps / 4 : steps};
  int result = uma_spawn(&config, devices, run_device, &stress);
  cr_assert_eq(result, 0, "mode %d, %s, %d devices, %d threads, line %zu, cache %zu, ways %d, sharers %d, seed %u: %d (%s)",
               config.protocol, devices, threads, config.line, config.cache, config.ways, config.sharers, seed, result,
               result < 0 ? uma_last_error() : "");
}

Test(coherent_stress, protocols_and_sharer_sets)
{
  unsigned seed = seed_of_tests();
  for (int p = 0; coh_shipped_name(p); p++)
    for (int sharers = UMA_SHARERS_FULL; sharers <= UMA_SHARERS_COARSE; sharers++) {
      struct uma_config config = base;
      config.protocol = coh_shipped_name(p);
      config.sharers = sharers;
      run(config, 5, 1, 3000, seed++);
      config.cache = 64 * 4; /* four frames */
      config.ways = 2;
      run(config, 3, 2, 2000, seed++);
    }
}

Test(coherent_stress, line_sizes_and_tiny_caches)
{
  unsigned seed = seed_of_tests();
  for (size_t line = COH_LINE_LEAST; line <= COH_LINE_MOST; line *= 4)
    for (int ways = 1; ways <= 4; ways += 3) {
      struct uma_config config = base;
      config.protocol = line % 256 ? "moesi" : "mesif";
      config.line = line;
      config.ways = ways;
      config.cache = line * (size_t)ways;
      run(config, 4, 1, 1500, seed++);
      config.cache *= 8;
      run(config, 2, 2, 4000, seed++);
    }
}

/* The same accesses are plain ones here, served by page faults. The rows of all devices are more pages than a device has frames. */
Test(coherent_stress, pages)
{
  unsigned seed = seed_of_tests();
  for (int p = 0; coh_shipped_name(p); p++)
    for (int sharers = UMA_SHARERS_FULL; sharers <= UMA_SHARERS_COARSE; sharers++) {
      struct uma_config config = base;
      config.coherence = UMA_COHERENCE_PAGE;
      config.protocol = coh_shipped_name(p);
      config.sharers = sharers;
      run(config, 4, 1, 400, seed++);
      config.page = 16384;
      run(config, 2, 2, 300, seed++);
    }
}

Test(coherent_stress, pages_by_a_thread_that_serves)
{
  struct uma_config config = base;
  config.coherence = UMA_COHERENCE_PAGE;
  config.faults = UMA_FAULTS_THREAD;
  if (!order_is_seen) cr_skip_test("the sanitizer does not see the order that the kernel makes between who faults and who serves");
  if (!may_serve_the_kernel()) cr_skip_test("faults of the kernel may be served by the privileged only");
  run(config, 3, 2, 200, seed_of_tests());
}

Test(coherent_stress, counted_and_traced)
{
  char folder[] = "/tmp/uma-stress-XXXXXX", path[64];
  cr_assert(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/trace.json", folder);
  struct uma_config config = base;
  config.protocol = "mesi";
  config.trace = path;
  config.cache = 64 * 8;
  config.ways = 4;
  run(config, 3, 2, 600, seed_of_tests());
  unlink(path);
  rmdir(folder);
}

/* ---- Broken protocols ---- */

struct mutant {
  const char *protocol, *role, *state, *events, *rest;
};

static const struct mutant mutants[] = {
    {"msi", "cache", "S", "Inv", "ack"},                                         /* the copy stays after it was to be dropped */
    {"mesi", "cache", "M", "Fwd-GetM", "data -> S"},                             /* likewise, of the old owner */
    {"mesi", "cache", "IM_A", "Inv-Ack", "store unblock -> M"},                  /* the first ack is taken for the last */
    {"mesi", "directory", "M", "PutM", "put_ack clear_owner -> I"},              /* what was written back is thrown away */
    {"moesi", "directory", "O", "GetM", "fwd_M clear_sharers set_owner -> M_U"}, /* sharers beside the owner are forgotten */
};

/* A session that must fail: by a value that a device sees to be stale, or by a cell that is missing. */
static void expect_broken(const struct mutant *mutant, const char *path)
{
  char *said = NULL, *text = mutant_text(coh_shipped_text(mutant->protocol), mutant->role, mutant->state, mutant->events, mutant->rest);
  cr_assert(text, "%s: no cell %s %s", mutant->protocol, mutant->state, mutant->events);
  FILE *file = fopen(path, "w");
  fputs(text, file);
  fclose(file);
  free(text);
  struct uma_config config = base;
  config.protocol = path;
  config.cache = 64 * 16;
  config.ways = 4;
  config.timeout = 60;
  bool shown = false;
  for (unsigned seed = 1; seed <= 20 && !shown; seed++) {
    struct stress stress = {seed, 2, 3000};
    int result = command_capture_spawn(&config, 4, run_device, &stress, &said);
    shown = result != 0;
    if (shown)
      cr_expect(strstr(said, "stale value") || strstr(said, "does not hold") || strstr(said, "has no cell"), "%d (%s): %s", result,
                uma_last_error(), said);
    free(said);
  }
  cr_expect(shown, "%s with %s %s: %s: nothing was seen", mutant->protocol, mutant->state, mutant->events, mutant->rest);
}

Test(coherent_stress, a_broken_protocol_shows)
{
  char path[] = "/tmp/uma-mutant-XXXXXX";
  int fd = mkstemp(path);
  cr_assert(fd >= 0);
  close(fd);
  for (size_t i = 0; i < sizeof mutants / sizeof mutants[0]; i++) expect_broken(&mutants[i], path);
  unlink(path);
}
