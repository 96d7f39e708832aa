/* The pooled cache of keys and values (examples/kvpool): its hit rate by policy, on 8 devices.
 * The example is run as a user would run it, by `uma run`; its last line is one JSON object. */
#include "bench/harness.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#define DEVICES "8"

static const struct policy {
  const char *name, *mode, *servers;
} policies[] = {{"private", "stacked", "8"}, {"router", "stacked", "8"}, {"pooled", "supernode", "1"}};

static void keep_line(void *context, const char *line)
{
  if (*line) snprintf(context, 4096, "%s", line);
}

static void record(const struct policy *policy, const char *metric, const char *unit, int devices, size_t bytes, double value)
{
  char bench[48];
  bool direct = !strcmp(policy->mode, "supernode");
  snprintf(bench, sizeof bench, "kvpool.%s", policy->name);
  struct bench_row row = bench_row_of(bench, direct ? "direct" : "message", policy->mode, devices, bytes, metric, unit);
  bench_record(&row, value);
}

static int take_result(const struct policy *policy, const char *line)
{
  json_t *object = json_loads(line, 0, NULL);
  const json_t *rate = json_object_get(object, "hit_rate"), *seconds = json_object_get(object, "seconds");
  const json_t *block = json_object_get(object, "block_bytes"), *refs = json_object_get(object, "block_refs");
  bool right = json_is_number(rate) && json_is_integer(refs) && json_integer_value(refs) > 0;
  size_t bytes = (size_t)json_integer_value(block);
  if (right) record(policy, "hit_rate", "-", atoi(DEVICES), bytes, json_number_value(rate));
  if (right && json_is_number(seconds) && json_number_value(seconds) > 0)
    record(policy, "rate", "M/s", atoi(DEVICES), bytes, (double)json_integer_value(refs) / json_number_value(seconds) / 1e6);
  json_decref(object);
  return right ? 0 : bench_fail("kvpool --policy %s: its last line is no result: '%.200s'", policy->name, line);
}

static int run_policy(const struct policy *policy)
{
  char uma[600], example[600], last[4096] = "";
  const char *trace = bench_run.options.trace, *blocks = bench_run.options.quick ? "1000" : "5000";
  const char *source[] = {trace ? "--trace" : "--requests", trace ? trace : bench_run.options.quick ? "3000" : "12000"};
  snprintf(uma, sizeof uma, "%s/uma", bench_run.directory);
  snprintf(example, sizeof example, "%s/examples/kvpool", bench_run.directory);
  const char *arguments[] = {uma,       "run",     "-n",       DEVICES,      "--mode",        policy->mode, "--servers", policy->servers,
                             "--",      example,   "--policy", policy->name, "--block-bytes", "4096",       "--blocks",  blocks,
                             source[0], source[1], NULL};
  bench_progress("kvpool.%s", policy->name);
  struct bench_child child = {(char *const *)arguments, NULL, 120, keep_line, last};
  int result = bench_child_run(&child);
  bench_child_after();
  return result ? result : take_result(policy, last);
}

/* The example is beside the command in the build directory, and not where the command was installed. */
static int run_kvpool(void)
{
  char example[600];
  int result = 0;
  snprintf(example, sizeof example, "%s/examples/kvpool", bench_run.directory);
  if (access(example, X_OK)) {
    if (bench_run.options.name_count) return bench_fail("%s: %s; it is built by make", example, strerror(errno));
    if (!bench_run.pass) fprintf(stderr, "%s: kvpool is left out: there is no %s\n", bench_command, example);
    return 0;
  }
  for (int i = 0; i < 3 && !result; i++) result = run_policy(&policies[i]);
  return result;
}

const struct bench_case bench_kvpool_cases[] = {
    {"kvpool", "a cache for served models: hit rate private, with a router, pooled (8 devices)", run_kvpool},
    {NULL, NULL, NULL},
};
