/* The lines of a trace whose sharing costs most, as a table for people and as one JSON object a line. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>

#include "uma/trace_facts.h"

enum { MOST_RUNS = 8, MOST_DEVICES = 32, MOST_USES = 4 };

static const char *plural(uint64_t count)
{
  return count == 1 ? "" : "s";
}

void uma_trace_place(const struct uma_trace *trace, const struct uma_trace_line *line, const struct uma_trace_use *use, char *text,
                     size_t size)
{
  const struct uma_trace_block *block = use->block;
  if (!block) {
    snprintf(text, size, "not in an allocated block");
    return;
  }
  uint64_t begin = line->address > block->address ? line->address - block->address : 0;
  uint64_t end = line->address + trace->line_bytes - block->address;
  snprintf(text, size, "%s: bytes %" PRIu64 "-%" PRIu64 " of %" PRIu64, block->site[0] ? block->site : "a block of unknown origin", begin,
           (end < block->bytes ? end : block->bytes) - 1, block->bytes);
}

/* ---- The table --------------------------------------------------------------------------------------------------- */

static void print_head(FILE *out, const struct uma_trace_facts *facts)
{
  const struct uma_trace *trace = facts->trace;
  uint64_t messages = 0;
  unsigned lines = HASH_COUNT(facts->lines);
  for (int class = COH_REQUEST; class < COH_CLASSES; class ++) messages += facts->messages[class];
  fprintf(out, "%s, %d device%s, lines of %zu bytes, %.3f ms, %u line%s used\n", trace->protocol->name, trace->devices,
          plural((uint64_t)trace->devices), trace->line_bytes, facts->end_us / 1e3, lines, plural(lines));
  fprintf(out, "%" PRIu64 " message%s", messages, plural(messages));
  for (int class = COH_REQUEST; class < COH_CLASSES; class ++)
    fprintf(out, "%s %" PRIu64 " %s%s", class == COH_REQUEST ? ":" : ",", facts->messages[class], coh_class_names[class],
            plural(facts->messages[class]));
  fprintf(out, "; %" PRIu64 " bytes\n\n", facts->bytes);
  fprintf(out, "%4s  %-18s %4s %9s %9s %9s %9s %10s  %s\n", "#", "line", "home", "coherence", "upgrades", "invalid-", "messages", "bytes",
          "verdict");
  fprintf(out, "%4s  %-18s %4s %9s %9s %9s\n", "", "", "", "misses", "", "ations");
}

static void print_runs(FILE *out, const char *name, const uint64_t *bits, uint32_t count)
{
  uint32_t begin, runs = 0;
  for (uint32_t length, at = 0; (length = uma_trace_run(bits, count, at, &begin)); at = begin + length) {
    if (runs++ >= MOST_RUNS) continue;
    fprintf(out, runs == 1 ? "  %s " : ",", name);
    fprintf(out, "%u", begin);
    if (length > 1) fprintf(out, "-%u", begin + length - 1);
  }
  if (runs > MOST_RUNS) fprintf(out, " and %u more", runs - MOST_RUNS);
}

static void print_uses(FILE *out, const struct uma_trace_facts *facts, const struct uma_trace_line *line)
{
  char place[COH_SITE_SIZE + 96];
  for (int i = 0; i < line->use_count && i < MOST_USES; i++) {
    uma_trace_place(facts->trace, line, &line->uses[i], place, sizeof place);
    fprintf(out, "      %s", place);
    if (line->use_count > 1) fprintf(out, " (%" PRIu64 " access%s)", line->uses[i].accesses, line->uses[i].accesses == 1 ? "" : "es");
    fputc('\n', out);
  }
  if (line->use_count > MOST_USES) fprintf(out, "      and %d more blocks\n", line->use_count - MOST_USES);
}

static void print_kinds(FILE *out, const struct uma_trace_line *line)
{
  bool any = false;
  for (int kind = COH_MISS_COLD; kind < COH_MISS_UPGRADE; kind++) {
    if (!line->misses[kind]) continue;
    fprintf(out, "%s %" PRIu64 " %s", any ? "," : "      misses:", line->misses[kind], coh_miss_names[kind]);
    any = true;
  }
  if (any) fputc('\n', out);
}

static void print_sums(FILE *out, const struct uma_trace_line *line)
{
  fprintf(out, "      %" PRIu64 " loads and %" PRIu64 " stores, of which %" PRIu64 " hit; %" PRIu64 " hop%s, %" PRIu64 " writeback%s\n",
          line->sums[COH_SUM_LOADS], line->sums[COH_SUM_STORES], line->sums[COH_SUM_HITS], line->hops, plural(line->hops), line->writebacks,
          plural(line->writebacks));
}

static void print_devices(FILE *out, const struct uma_trace_facts *facts, const struct uma_trace_line *line)
{
  uint32_t bytes = (uint32_t)facts->trace->line_bytes;
  for (int i = 0; i < line->device_count && i < MOST_DEVICES; i++) {
    const struct uma_trace_device *device = &line->devices[i];
    fprintf(out, "      device %-4d %7" PRIu64 " misses %7" PRIu64 " upgrades", device->device, uma_trace_device_misses(device),
            device->misses[COH_MISS_UPGRADE]);
    print_runs(out, "loads", device->loads, bytes);
    print_runs(out, "stores", device->stores, bytes);
    fputc('\n', out);
  }
  if (line->device_count > MOST_DEVICES) fprintf(out, "      and %d more devices (--json tells)\n", line->device_count - MOST_DEVICES);
}

void uma_trace_print_top(FILE *out, const struct uma_trace_facts *facts, int most)
{
  int number = 0;
  print_head(out, facts);
  for (const struct uma_trace_line *line = facts->lines; line && number < most; line = line->hh.next) {
    fprintf(out, "%4d  0x%-16" PRIx64 " %4d %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %10" PRIu64 "  %s\n", ++number,
            line->address, uma_trace_home(facts->trace, line->address), line->misses[COH_MISS_TRUE] + line->misses[COH_MISS_FALSE],
            line->misses[COH_MISS_UPGRADE], line->invalidations, line->messages, line->bytes, uma_trace_verdict(facts->trace, line));
    print_uses(out, facts, line);
    print_kinds(out, line);
    print_sums(out, line);
    print_devices(out, facts, line);
  }
  int left = (int)HASH_COUNT(facts->lines) - number;
  if (left > 0) fprintf(out, "\n%d more line%s: --top %d shows all\n", left, plural((uint64_t)left), number + left);
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

/* [[0,7],[16,23]]: the first and the last byte of each run. */
static json_t *json_runs(const uint64_t *bits, uint32_t count)
{
  json_t *runs = json_array();
  uint32_t begin;
  for (uint32_t length, at = 0; (length = uma_trace_run(bits, count, at, &begin)); at = begin + length)
    json_array_append_new(runs, json_pack("[ii]", (int)begin, (int)(begin + length - 1)));
  return runs;
}

static json_t *json_misses(const uint64_t *misses)
{
  json_t *object = json_object();
  for (int kind = COH_MISS_COLD; kind < COH_MISS_UPGRADE; kind++)
    json_object_set_new(object, coh_miss_names[kind], json_integer((json_int_t)misses[kind]));
  return object;
}

static json_t *json_sums(const uint64_t *sums)
{
  return json_pack("{s:I,s:I,s:I}", "loads", (json_int_t)sums[COH_SUM_LOADS], "stores", (json_int_t)sums[COH_SUM_STORES], "hits",
                   (json_int_t)sums[COH_SUM_HITS]);
}

static json_t *json_devices(const struct uma_trace_facts *facts, const struct uma_trace_line *line)
{
  uint32_t bytes = (uint32_t)facts->trace->line_bytes;
  json_t *devices = json_array();
  for (int i = 0; i < line->device_count; i++) {
    const struct uma_trace_device *device = &line->devices[i];
    json_array_append_new(devices,
                          json_pack("{s:i,s:o,s:o,s:I,s:o,s:o}", "device", device->device, "accesses", json_sums(device->sums), "misses",
                                    json_misses(device->misses), "upgrades", (json_int_t)device->misses[COH_MISS_UPGRADE], "loads",
                                    json_runs(device->loads, bytes), "stores", json_runs(device->stores, bytes)));
  }
  return devices;
}

static json_t *json_blocks(const struct uma_trace_line *line)
{
  json_t *blocks = json_array();
  char address[24];
  for (int i = 0; i < line->use_count; i++) {
    const struct uma_trace_block *block = line->uses[i].block;
    if (!block) continue;
    snprintf(address, sizeof address, "0x%" PRIx64, block->address);
    json_array_append_new(blocks, json_pack("{s:s,s:s,s:I,s:I}", "site", block->site, "address", address, "bytes", (json_int_t)block->bytes,
                                            "accesses", (json_int_t)line->uses[i].accesses));
  }
  return blocks;
}

int uma_trace_json_top(FILE *out, const struct uma_trace_facts *facts, int most)
{
  char address[24];
  for (const struct uma_trace_line *line = facts->lines; line && most-- > 0; line = line->hh.next) {
    snprintf(address, sizeof address, "0x%" PRIx64, line->address);
    json_t *object = json_pack("{s:s,s:i,s:s,s:o,s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "line", address, "home",
                               uma_trace_home(facts->trace, line->address), "verdict", uma_trace_verdict(facts->trace, line), "blocks",
                               json_blocks(line), "accesses", json_sums(line->sums), "misses", json_misses(line->misses), "upgrades",
                               (json_int_t)line->misses[COH_MISS_UPGRADE], "invalidations", (json_int_t)line->invalidations, "messages",
                               (json_int_t)line->messages, "bytes", (json_int_t)line->bytes, "hops", (json_int_t)line->hops, "writebacks",
                               (json_int_t)line->writebacks, "devices", json_devices(facts, line));
    int result = object ? json_dumpf(object, out, JSON_COMPACT) : -1;
    json_decref(object);
    if (result || fputc('\n', out) == EOF) return -EIO;
  }
  return 0;
}
