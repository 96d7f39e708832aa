/* Whatever bytes come from the network or as a protocol's text: no crash, no hang, no broken promise. The targets are those of tests/fuzz; here they are
 * given their corpus and seeded changes of it, and, where clang has its fuzzer, that for a minute. */
#include <criterion/criterion.h>
#include <glob.h>
#include <signal.h>
#include <sys/mman.h>

#include "tests/command.h"
#include "tests/fuzz/fuzz.h"

enum { MOST = 1 << 16, CHANGES = 1000, CHANGES_LONG = 50000, SECONDS = 100 };

/* In sanitizer builds the engine itself checks, and ends the process, when two caches have rights that exclude each other. Whoever may send what
 * he likes can bring that about. */
#if defined(UMA_SAN)
enum { RIGHTS_ARE_CHECKED = 1 };
#else
enum { RIGHTS_ARE_CHECKED = 0 };
#endif

/* Shared with the child, so that it is known after its death. */
struct trial {
  size_t count;
  uint8_t bytes[MOST];
};

static uint64_t draw(uint64_t *state, uint64_t below)
{
  uint64_t z = *state += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  return (z ^ z >> 27) % below;
}

static void read_file(const char *path, struct trial *trial)
{
  FILE *file = fopen(path, "r");
  cr_assert(file, "%s", path);
  trial->count = fread(trial->bytes, 1, MOST / 2, file);
  fclose(file);
}

/* A byte is changed, or put in, or a piece is left out or repeated. */
static void change(struct trial *trial, uint64_t *random)
{
  size_t at = trial->count ? draw(random, trial->count) : 0, left = trial->count - at,
         piece = left ? 1 + draw(random, left < 32 ? left : 32) : 0;
  size_t room = MOST - trial->count;
  switch (draw(random, 4)) {
  case 0:
    if (left) trial->bytes[at] = (uint8_t)draw(random, 256);
    break;
  case 1:
    if (!room) return;
    memmove(&trial->bytes[at + 1], &trial->bytes[at], left);
    trial->bytes[at] = (uint8_t)draw(random, 256);
    trial->count++;
    break;
  case 2:
    memmove(&trial->bytes[at], &trial->bytes[at + piece], left - piece);
    trial->count -= piece;
    break;
  default:
    if (piece > room) return;
    memmove(&trial->bytes[at + piece], &trial->bytes[at], left);
    trial->count += piece;
  }
}

static void run_all(const struct fuzz_target *target, const struct trial *seed, uint64_t random, struct trial *trial)
{
  int changes = getenv("UMA_TEST_LONG") ? CHANGES_LONG : CHANGES;
  alarm(SECONDS);
  if (!freopen("/dev/null", "w", stderr)) _exit(2);
  *trial = *seed;
  target->run(trial->bytes, trial->count);
  for (int i = 0; i < changes; i++) {
    *trial = *seed;
    for (uint64_t n = 1 + draw(&random, 8); n; n--) change(trial, &random);
    target->run(trial->bytes, trial->count);
  }
}

/* What the child was at when it died is kept in the build folder. */
static void report(const struct fuzz_target *target, const char *path, const struct trial *trial, int status)
{
  char kept[512];
  snprintf(kept, sizeof kept, "%s/fuzz-%s-found", session_build(), target->name);
  FILE *file = fopen(kept, "w");
  if (file) {
    fwrite(trial->bytes, 1, trial->count, file);
    fclose(file);
  }
  cr_expect(false, "%s, beginning with %s: signal %d, exit %d; the input is in %s", target->name, path, WTERMSIG(status),
            WEXITSTATUS(status), kept);
}

static void replay(const struct fuzz_target *target, const char *path, uint64_t random, struct trial *trial)
{
  static struct trial seed;
  int status;
  read_file(path, &seed);
  fflush(NULL);
  pid_t pid = fork();
  cr_assert(pid >= 0);
  if (!pid) {
    run_all(target, &seed, random, trial);
    exit(0); /* leaks are looked for here */
  }
  waitpid(pid, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status)) report(target, path, trial, status);
}

Test(fuzz, corpus_and_changes_of_it, .timeout = 3600)
{
  const char *given = getenv("UMA_TEST_SEED");
  uint64_t seed = given ? strtoull(given, NULL, 0) : 1;
  struct trial *trial = mmap(NULL, sizeof *trial, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  cr_assert(trial != MAP_FAILED);
  if (access("tests/fuzz/corpus", R_OK)) cr_skip_test("not run in the repository's root");
  printf("UMA_TEST_SEED=%llu\n", (unsigned long long)seed);
  for (const struct fuzz_target *target = fuzz_targets; target->name; target++) {
    char pattern[256];
    glob_t found;
    if (RIGHTS_ARE_CHECKED && (target->run == fuzz_coherence || target->run == fuzz_pages || target->run == fuzz_wire)) continue;
    snprintf(pattern, sizeof pattern, "tests/fuzz/corpus/%s/*", target->name);
    cr_assert_eq(glob(pattern, 0, NULL, &found), 0, "%s", pattern);
    for (size_t i = 0; i < found.gl_pathc; i++) replay(target, found.gl_pathv[i], seed++, trial);
    globfree(&found);
  }
  munmap(trial, sizeof *trial);
}

Test(fuzz, a_minute_of_clangs_fuzzer, .timeout = 1200)
{
  char *said;
  int targets = 0;
  if (access("Makefile", R_OK)) cr_skip_test("not run in the repository's root");
  if (strcmp(session_build(), "build") != 0) cr_skip_test("the fuzzer has sanitizers of its own");
  if (command_run("make -s have-fuzzer", &said)) cr_skip_test("no fuzzer: %s", said);
  free(said);
  for (const struct fuzz_target *target = fuzz_targets; target->name; target++) targets++;
  char line[128];
  snprintf(line, sizeof line, "make -s -j2 fuzz FUZZ_SECONDS=%d", 60 / targets);
  int result = command_run(line, &said);
  cr_expect_eq(result, 0, "%s", said);
  printf("%s", said);
  free(said);
}
