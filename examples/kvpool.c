/* The pooled KV cache: what is a supernode's one address space worth to the serving of language models?
 *
 *     uma run -n 8 build/examples/kvpool [--policy pooled|private|router] [--trace FILE] [--blocks N] [--block-bytes BYTES]
 *
 * A served model keeps the keys and values of past prompts in blocks of 512 tokens, so that a prompt that begins as an earlier
 * one did is not computed again. A supernode pools the blocks of all devices in one cache; stacked servers keep private ones. This
 * program replays a trace of requests (Mooncake's format, or a generated one) against either. Blocks are really stored in the windows,
 * really read on a hit, and verified. --policy pooled has one pool for each domain, as its index is shared by load and store: in mode
 * supernode that is one for all. The time that is reported is that of the index, the copies and the checks; what a miss costs a real
 * model, which has to compute the block, is not in it, but in modelled times with --flops.
 *
 * Where to read, easiest first:
 *   examples/kvpool/trace.c, parse.c, generate.c   requests
 *   examples/kvpool/cache.c                        the index: raw pointers across windows; the order that makes it safe
 *   examples/kvpool/router.c                       the strong baseline: private caches behind a router that knows them
 *   examples/kvpool/memory.c                       who puts what into which window
 *   examples/kvpool/replay.c                       the work itself
 * Below: the beginning, the end and the report. Device 0 prints; its last line on stdout is one JSON object.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <uma.h>

#include "examples/kvpool/replay.h"

static double now_seconds(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static struct kv_counts sum(const struct kv_counts *counts, int devices)
{
  struct kv_counts total = {0};
  for (int i = 0; i < devices; i++) {
    total.requests += counts[i].requests;
    total.refs += counts[i].refs;
    total.hits += counts[i].hits;
    total.evictions += counts[i].evictions;
    total.read_local += counts[i].read_local;
    total.read_remote += counts[i].read_remote;
    total.written_local += counts[i].written_local;
    total.written_remote += counts[i].written_remote;
  }
  return total;
}

static double hit_rate(const struct kv_counts *counts)
{
  return counts->refs ? (double)counts->hits / (double)counts->refs : 0;
}

static void print_row(const char *who, const struct kv_counts *c)
{
  printf("%-8s %8llu %9llu %9llu  %.4f %10llu %9.1f %9.1f %9.1f %9.1f\n", who, (unsigned long long)c->requests, (unsigned long long)c->refs,
         (unsigned long long)c->hits, hit_rate(c), (unsigned long long)c->evictions, (double)c->read_local / 1e6,
         (double)c->read_remote / 1e6, (double)c->written_local / 1e6, (double)c->written_remote / 1e6);
}

static void print_table(const struct kv_station *station, const struct kv_counts *counts, const struct kv_counts *total, double seconds)
{
  const struct kv_options *options = station->options;
  double moved = (double)(total->read_local + total->read_remote + total->written_local + total->written_remote);
  printf("%s: %d devices in %d domain%s with %zu blocks of %zu bytes each, %s\n", kv_policy_name(options->policy), station->devices,
         uma_domain_count(), uma_domain_count() == 1 ? "" : "s", options->blocks, options->block_bytes,
         options->trace ? options->trace : "a generated trace");
  printf("                                                                --- MB read ----  -- MB written --\n");
  printf("device   requests    blocks      hits    rate  evictions     local    remote     local    remote\n");
  for (int i = 0; options->verbose && i < station->devices; i++) {
    char name[16];
    snprintf(name, sizeof name, "%d", i);
    print_row(name, &counts[i]);
  }
  print_row("all", total);
  printf("%.3f s, %.2f GB/s (measured)\n", seconds, moved / seconds / 1e9);
}

static void set(json_t *object, const char *name, uint64_t value)
{
  json_object_set_new(object, name, json_integer((json_int_t)value));
}

static void print_json(const struct kv_station *station, const struct kv_counts *total, double seconds)
{
  const struct kv_options *options = station->options;
  json_t *object = json_object();
  json_object_set_new(object, "policy", json_string(kv_policy_name(options->policy)));
  json_object_set_new(object, "mode", json_string(uma_domain_count() == 1 ? "supernode" : "stacked"));
  set(object, "devices", (uint64_t)station->devices);
  set(object, "blocks", options->blocks);
  set(object, "block_bytes", options->block_bytes);
  set(object, "requests", total->requests);
  set(object, "block_refs", total->refs);
  set(object, "hit_blocks", total->hits);
  json_object_set_new(object, "hit_rate", json_real(hit_rate(total)));
  set(object, "evictions", total->evictions);
  set(object, "read_bytes", total->read_local + total->read_remote);
  set(object, "written_bytes", total->written_local + total->written_remote);
  set(object, "local_bytes", total->read_local + total->written_local);
  set(object, "remote_bytes", total->read_remote + total->written_remote);
  json_object_set_new(object, "seconds", json_real(seconds));
  json_object_set_new(object, "clock", json_string("measured"));
  json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
  printf("\n");
  json_decref(object);
}

/* From when the first device began to when the last one ended: no device can have seen more of it than the first. */
static int longest(double begin, double *seconds)
{
  int error = uma_barrier();
  double mine = now_seconds() - begin;
  return error ? error : uma_allreduce(seconds, &mine, 1, UMA_FLOAT64, UMA_MAX);
}

static int report(const struct kv_station *station, double begin)
{
  struct kv_counts counts[UMA_MAX_DEVICES];
  double seconds = 0;
  int error = longest(begin, &seconds);
  if (!error) error = uma_allgather(counts, &station->counts, sizeof *counts);
  if (error) {
    fprintf(stderr, "kvpool: device %d: %s\n", station->device, uma_last_error());
    return 1;
  }
  if (station->device != 0) return 0;
  struct kv_counts total = sum(counts, station->devices);
  print_table(station, counts, &total, seconds);
  print_json(station, &total, seconds);
  return 0;
}

static int run(const struct kv_options *options)
{
  struct kv_station station;
  int status = kv_station_open(&station, options);
  if (!status) {
    double begin = now_seconds();
    kv_replay(&station);
    status = report(&station, begin);
  }
  kv_station_close(&station);
  return status;
}

int main(int argc, char **argv)
{
  int error = uma_init(NULL);
  if (error) {
    fprintf(stderr, "kvpool: %s: %s\n", uma_strerror(error), uma_last_error());
    return 1;
  }
  struct kv_options options;
  int status = kv_options_parse(argc, argv, uma_device() != 0, &options);
  if (!status && !options.help) status = run(&options);
  uma_finalize();
  return status;
}
