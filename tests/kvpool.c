/* The kvpool example: hit rates as a naive cache gives them, every policy in every mode, and errors that name what is wrong.
 *
 * The program is run as a user would, by the `uma` command of the build directory that UMA_BUILD names (default: build). It
 * verifies every block it reads and fails on a damaged one, so each run here also tests the bytes. Random traces print their seed and
 * take it from UMA_TEST_SEED. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define PUBLIC_TRACE "../shared/data/mooncake/conversation_trace.jsonl"

struct outcome {
  int status; /* exit status, or -1 */
  char text[16384];
};

/* Runs `uma run FLAGS -- kvpool ARGUMENTS`; both come as one format: "FLAGS -- ARGUMENTS". */
static void __attribute__((format(printf, 2, 3))) run(struct outcome *outcome, const char *format, ...)
{
  char words[1024], command[2048];
  va_list list;
  va_start(list, format);
  vsnprintf(words, sizeof words, format, list);
  va_end(list);
  const char *build = getenv("UMA_BUILD") ? getenv("UMA_BUILD") : "build";
  char *arguments = strstr(words, " -- ");
  cr_assert(arguments);
  *arguments = '\0';
  snprintf(command, sizeof command, "%s/uma run --timeout 300 %s -- %s/examples/kvpool %s 2>&1", build, words, build, arguments + 4);
  FILE *pipe = popen(command, "r");
  cr_assert(pipe, "cannot run %s", command);
  size_t bytes = fread(outcome->text, 1, sizeof outcome->text - 1, pipe);
  outcome->text[bytes] = '\0';
  int ended = pclose(pipe);
  outcome->status = WIFEXITED(ended) ? WEXITSTATUS(ended) : -1;
}

/* The JSON object on the last line. */
static json_t *result_of(const struct outcome *outcome)
{
  cr_assert_eq(outcome->status, 0, "exit status %d: %s", outcome->status, outcome->text);
  const char *last = strrchr(outcome->text, '{');
  json_error_t wrong;
  json_t *object = last ? json_loads(last, JSON_DISABLE_EOF_CHECK, &wrong) : NULL;
  cr_assert(object, "no JSON object on the last line of: %s", outcome->text);
  return object;
}

static long number(const struct outcome *outcome, const char *name)
{
  json_t *object = result_of(outcome);
  json_t *value = json_object_get(object, name);
  cr_assert(json_is_integer(value), "no \"%s\" in: %s", name, outcome->text);
  long result = (long)json_integer_value(value);
  json_decref(object);
  return result;
}

static double rate(const struct outcome *outcome)
{
  json_t *object = result_of(outcome);
  double result = json_real_value(json_object_get(object, "hit_rate"));
  json_decref(object);
  return result;
}

static void expect_failure(const struct outcome *outcome, int status, const char *said)
{
  cr_expect_eq(outcome->status, status, "exit status %d instead of %d: %s", outcome->status, status, outcome->text);
  cr_expect(strstr(outcome->text, said), "expected \"%s\" in: %s", said, outcome->text);
  const char *first = strstr(outcome->text, "kvpool: ");
  cr_expect(!first || !strstr(first + 1, "kvpool: "), "said more than once: %s", outcome->text);
}

/* ---- random traces, and the naive cache */

#define REQUESTS 300
#define REQUEST_MAX 24

struct request {
  size_t count;
  unsigned ids[REQUEST_MAX];
};

static unsigned next_random(unsigned *state)
{
  *state = *state * 1664525u + 1013904223u;
  return *state >> 8;
}

static unsigned test_seed(void)
{
  const char *text = getenv("UMA_TEST_SEED");
  unsigned seed = text ? (unsigned)strtoul(text, NULL, 0) : 1;
  cr_log_info("UMA_TEST_SEED=%u", seed);
  return seed;
}

/* Requests begin as some earlier one did, then go on with ids out of a small range: these return elsewhere, and twice in a request. */
static void make_requests(struct request *requests, unsigned seed)
{
  unsigned state = seed;
  for (size_t i = 0; i < REQUESTS; i++) {
    struct request *request = &requests[i];
    const struct request *model = &requests[i ? next_random(&state) % i : 0];
    request->count = next_random(&state) % (REQUEST_MAX + 1);
    size_t kept = model->count ? next_random(&state) % (model->count + 1) : 0;
    for (size_t k = 0; k < request->count; k++) request->ids[k] = k < kept && i ? model->ids[k] : next_random(&state) % 500;
  }
}

/* A new file, whose name is stored in `path`. */
static FILE *new_file(char *path)
{
  strcpy(path, "/tmp/uma-kvpool-XXXXXX");
  int descriptor = mkstemp(path);
  cr_assert(descriptor >= 0);
  return fdopen(descriptor, "w");
}

static void write_requests(const struct request *requests, char *path)
{
  FILE *file = new_file(path);
  for (size_t i = 0; i < REQUESTS; i++) {
    fprintf(file, "{\"timestamp\": %zu, \"input_length\": %zu, \"output_length\": 1, \"hash_ids\": [", i, 512 * requests[i].count);
    for (size_t k = 0; k < requests[i].count; k++) fprintf(file, "%s%u", k ? ", " : "", requests[i].ids[k]);
    fprintf(file, "]}\n");
  }
  fclose(file);
}

/* Blocks side by side with the time of their last use: slow, and plain to see. */
struct naive {
  size_t capacity, count;
  unsigned ids[4096];
  unsigned long used[4096], time;
};

static size_t naive_find(const struct naive *cache, unsigned id)
{
  size_t i = 0;
  while (i < cache->count && cache->ids[i] != id) i++;
  return i;
}

static void naive_touch(struct naive *cache, unsigned id)
{
  size_t place = naive_find(cache, id);
  if (place == cache->count && cache->count < cache->capacity) cache->count++;
  else if (place == cache->count) {
    place = 0;
    for (size_t i = 1; i < cache->count; i++)
      if (cache->used[i] < cache->used[place]) place = i;
  }
  cache->ids[place] = id;
  cache->used[place] = ++cache->time;
}

static long naive_request(struct naive *cache, const struct request *request)
{
  size_t hits = 0;
  while (hits < request->count && naive_find(cache, request->ids[hits]) < cache->count) hits++;
  for (size_t k = 0; k < request->count; k++) naive_touch(cache, request->ids[k]);
  return (long)hits;
}

static long naive_hits(const struct request *requests, size_t caches, size_t capacity)
{
  struct naive *cache = calloc(caches, sizeof *cache);
  long hits = 0;
  for (size_t i = 0; i < caches; i++) cache[i].capacity = capacity;
  for (size_t i = 0; i < REQUESTS; i++) hits += naive_request(&cache[i % caches], &requests[i]);
  free(cache);
  return hits;
}

Test(kvpool, hits_are_those_of_a_naive_cache)
{
  static const size_t shapes[][2] = {{1, 1}, {1, 40}, {2, 3}, {3, 20}, {8, 1}, {8, 10}}; /* devices, blocks */
  static struct request requests[REQUESTS];
  static struct outcome pooled, private;
  char path[64];
  unsigned seed = test_seed();
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    size_t devices = shapes[i][0], blocks = shapes[i][1];
    make_requests(requests, seed + (unsigned)i);
    write_requests(requests, path);
    run(&pooled, "-n %zu -- --policy pooled --blocks %zu --block-bytes 256 --trace %s", devices, blocks, path);
    run(&private, "-n %zu -- --policy private --blocks %zu --block-bytes 256 --trace %s", devices, blocks, path);
    unlink(path);
    cr_expect_eq(number(&pooled, "hit_blocks"), naive_hits(requests, 1, devices * blocks), "pooled, %zu x %zu: %s", devices, blocks,
                 pooled.text);
    cr_expect_eq(number(&private, "hit_blocks"), naive_hits(requests, devices, blocks), "private, %zu x %zu: %s", devices, blocks,
                 private.text);
  }
}

Test(kvpool, a_generated_trace_is_the_same_in_every_run_and_like_the_public_one)
{
  static struct outcome first, again;
  run(&first, "-n 4 -- --block-bytes 64 --blocks 2000");
  run(&again, "-n 4 -- --block-bytes 64 --blocks 2000");
  cr_expect_eq(number(&first, "hit_blocks"), number(&again, "hit_blocks"));
  cr_expect_eq(number(&first, "evictions"), number(&again, "evictions"));
  double mean = (double)number(&first, "block_refs") / (double)number(&first, "requests");
  cr_expect(mean > 20 && mean < 28, "%f blocks a request, expected about 24", mean);
}

Test(kvpool, policies_rank_as_they_should_and_modes_do_not_change_hits)
{
  static struct outcome pooled, private, router, stacked;
  const char *arguments = "--requests 2000 --blocks 1000 --block-bytes 1K";
  run(&pooled, "-n 4 -- --policy pooled %s", arguments);
  run(&private, "-n 4 -- --policy private %s", arguments);
  run(&router, "-n 4 -- --policy router %s", arguments);
  cr_expect(rate(&private) < rate(&router));
  cr_expect(rate(&private) < rate(&pooled));
  cr_expect(number(&pooled, "remote_bytes") > 0);
  cr_expect_eq(number(&private, "remote_bytes"), 0);
  cr_expect_eq(number(&router, "remote_bytes"), 0);

  run(&stacked, "-n 4 --servers 2 --mode stacked -- --policy private %s", arguments);
  cr_expect_eq(number(&stacked, "hit_blocks"), number(&private, "hit_blocks"));
  run(&stacked, "-n 4 --servers 4 --mode stacked -- --policy router %s", arguments);
  cr_expect_eq(number(&stacked, "hit_blocks"), number(&router, "hit_blocks"));
}

Test(kvpool, bytes_are_those_of_the_blocks)
{
  static struct outcome outcome;
  run(&outcome, "-n 2 -- --requests 500 --blocks 100 --block-bytes 4K");
  long bytes = number(&outcome, "local_bytes") + number(&outcome, "remote_bytes");
  cr_expect_eq(number(&outcome, "read_bytes"), 4096 * number(&outcome, "hit_blocks"));
  cr_expect_eq(number(&outcome, "written_bytes"), 4096 * (number(&outcome, "evictions") + 200));
  cr_expect_eq(number(&outcome, "read_bytes") + number(&outcome, "written_bytes"), bytes);
}

Test(kvpool, a_broken_line_is_named_with_what_was_expected)
{
  static const char *const lines[][2] = {
      {"{\"timestamp\": 1, \"input_length\": 5, \"output_length\": 5, \"hash_ids\": [1, 2", "expected one JSON object"},
      {"", "expected one JSON object"},
      {"[1, 2]", "expected a JSON object"},
      {"17", "expected a JSON object"},
      {"{\"input_length\": 5, \"output_length\": 5, \"hash_ids\": [1]}", "\"timestamp\" is missing"},
      {"{\"timestamp\": 1, \"input_length\": \"5\", \"output_length\": 5, \"hash_ids\": [1]}", "\"input_length\" is not a number"},
      {"{\"timestamp\": 1, \"input_length\": 5, \"output_length\": -5, \"hash_ids\": [1]}", "\"output_length\" is not a number"},
      {"{\"timestamp\": 1, \"input_length\": 5, \"output_length\": 5}", "\"hash_ids\" is missing"},
      {"{\"timestamp\": 1, \"input_length\": 5, \"output_length\": 5, \"hash_ids\": 3}", "\"hash_ids\" is no array"},
      {"{\"timestamp\": 1, \"input_length\": 5, \"output_length\": 5, \"hash_ids\": [1, -2]}", "hash_ids[1] is not a whole number"},
      {"{\"timestamp\": 1, \"input_length\": 5, \"output_length\": 5, \"hash_ids\": [\"a\"]}", "hash_ids[0] is not a whole number"},
  };
  static struct outcome outcome;
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    char path[64], place[96];
    FILE *file = new_file(path);
    fprintf(file, "{\"timestamp\": 1, \"input_length\": 5, \"output_length\": 5, \"hash_ids\": [1]}\n%s\n", lines[i][0]);
    fclose(file);
    snprintf(place, sizeof place, "%s:2: ", path);
    run(&outcome, "-n 2 -- --trace %s", path);
    unlink(path);
    expect_failure(&outcome, 1, place);
    expect_failure(&outcome, 1, lines[i][1]);
  }
}

Test(kvpool, a_trace_that_is_empty_or_absent_is_named)
{
  static struct outcome outcome;
  char path[64];
  fclose(new_file(path));
  run(&outcome, "-n 2 -- --trace %s", path);
  expect_failure(&outcome, 1, "the file is empty");
  unlink(path);
  run(&outcome, "-n 2 --servers 2 --mode stacked -- --policy private --trace %s", path);
  expect_failure(&outcome, 1, path);
}

/* A pool of each domain: as many naive caches, whose requests are those of the domain's devices. */
static long naive_pools(const struct request *requests, size_t devices, size_t domains, size_t blocks)
{
  struct naive *cache = calloc(domains, sizeof *cache);
  size_t size = devices / domains;
  long hits = 0;
  for (size_t i = 0; i < domains; i++) cache[i].capacity = size * blocks;
  for (size_t i = 0; i < REQUESTS; i++) hits += naive_request(&cache[i % devices / size], &requests[i]);
  free(cache);
  return hits;
}

Test(kvpool, each_domain_has_a_pool_of_its_own)
{
  static const size_t shapes[][3] = {{2, 2, 5}, {4, 2, 10}, {6, 3, 3}, {8, 2, 10}}; /* devices, domains, blocks */
  static struct request requests[REQUESTS];
  static struct outcome outcome;
  char path[64];
  unsigned seed = test_seed();
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    make_requests(requests, seed + 10 + (unsigned)i);
    write_requests(requests, path);
    run(&outcome, "-n %zu --servers %zu --mode stacked -- --policy pooled --blocks %zu --block-bytes 256 --trace %s", shapes[i][0],
        shapes[i][1], shapes[i][2], path);
    unlink(path);
    cr_expect_eq(number(&outcome, "hit_blocks"), naive_pools(requests, shapes[i][0], shapes[i][1], shapes[i][2]), "%zu in %zu: %s",
                 shapes[i][0], shapes[i][1], outcome.text);
    cr_expect_eq(number(&outcome, "requests"), REQUESTS);
  }
}

Test(kvpool, a_small_window_is_an_error_that_says_what_would_do)
{
  static struct outcome outcome;
  run(&outcome, "-n 2 --memory 8M -- --blocks 500 --requests 1000");
  expect_failure(&outcome, 1, "run with --memory ");
  const char *size = strstr(outcome.text, "run with --memory ");
  cr_assert(size);
  int megabytes = atoi(size + strlen("run with --memory "));
  run(&outcome, "-n 2 --memory %dM -- --blocks 500 --requests 1000", megabytes);
  cr_expect_eq(number(&outcome, "requests"), 1000);
}

Test(kvpool, bad_options_are_named)
{
  static const char *const options[][2] = {
      {"--policy shared", "pooled, private or router"}, {"--blocks 0", "--blocks 0"},       {"--blocks 10x", "--blocks 10x"},
      {"--block-bytes 100", "multiple of 64"},          {"--requests -3", "--requests -3"}, {"--blocks 99999999999999999999", "--blocks 9"},
      {"trace.jsonl", "expected options only"},         {"--colour", "--colour"},           {"--flops x", "--flops x"},
  };
  static struct outcome outcome;
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    run(&outcome, "-n 2 -- %s", options[i][0]);
    expect_failure(&outcome, 2, options[i][1]);
  }
  run(&outcome, "-n 2 -- --help");
  cr_expect_eq(outcome.status, 0);
  cr_expect(strstr(outcome.text, "--block-bytes"));
}

/* Private and pooled rates were given with the trace; those of the router come from another implementation of its rule. */
Test(kvpool, the_public_trace_gives_the_known_rates)
{
  static const struct {
    int blocks;
    const char *policy;
    double rate;
  } known[] = {{5000, "private", 0.1063}, {5000, "pooled", 0.3514}, {5000, "router", 0.3493},
               {1000, "private", 0.0609}, {1000, "pooled", 0.1776}, {1000, "router", 0.1724}};
  static struct outcome outcome;
  if (access(PUBLIC_TRACE, R_OK)) cr_skip_test("there is no %s", PUBLIC_TRACE);
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    run(&outcome, "-n 8 -- --trace %s --blocks %d --policy %s --block-bytes 128", PUBLIC_TRACE, known[i].blocks, known[i].policy);
    cr_expect_eq(number(&outcome, "requests"), 12031);
    cr_expect_float_eq(rate(&outcome), known[i].rate, 0.00005, "%s, %d blocks: %s", known[i].policy, known[i].blocks, outcome.text);
  }
}
