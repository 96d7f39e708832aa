/* Random accesses of many devices and threads through the coherent caches, against what a sequential memory would answer: over protocols, kinds
 * of sharer sets, sizes of lines and pages, and caches so small that they evict all the time; and that a broken protocol shows. */
#include <fcntl.h>
#include <sys/syscall.h>

#include "coherence/engine.h"
#include "tests/command.h"
#include "tests/mutant.h"
#include "tests/session.h"
#include "tests/stress.h"

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
  struct stress stress = {.seed = seed,
                          .threads = threads,
                          .steps = getenv("UMA_TEST_LONG") ? 50 * steps
                                   : getenv("UMA_HOSTS")   ? steps / 4
                                                           : steps};
  int result = uma_spawn(&config, devices, stress_run, &stress);
  cr_assert_eq(result, 0, "mode %d, %s, %d devices, %d threads, line %zu, cache %zu, ways %d, sharers %d, seed %u: %d (%s)",
               config.coherence, config.protocol ? config.protocol : "-", devices, threads, config.line, config.cache, config.ways,
               config.sharers, seed, result, result < 0 ? uma_last_error() : "");
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
    struct stress stress = {.seed = seed, .threads = 2, .steps = 3000};
    int result = command_capture_spawn(&config, 4, stress_run, &stress, &said);
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
