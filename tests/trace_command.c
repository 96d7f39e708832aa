/* The command `uma trace`: which lines are shared and how, by whom, at what cost; one line's life; and what it says to bad input. */
#include <jansson.h>

#include "coherence/tally.h"
#include "tests/traced.h"

static void expect_said(const char *line, int status, int wanted, char *said, const char *part)
{
  cr_expect_eq(status, wanted, "%s: exit status %d, said: %s", line, status, said);
  cr_expect(strstr(said, part), "%s: expected \"%s\", said: %s", line, part, said);
  free(said);
}

/* `uma trace` with the trace's path in place of each %s; standard output and error together. */
static int trace(const struct traced_session *session, const char *arguments, char **said)
{
  char form[512], line[768];
  snprintf(form, sizeof form, "%s/uma trace %s", session_build(), arguments);
  snprintf(line, sizeof line, form, session->path, session->path, session->path);
  return command_run(line, said);
}

static void expect(const struct traced_session *session, const char *arguments, int wanted, const char *part)
{
  char *said;
  int status = trace(session, arguments, &said);
  expect_said(arguments, status, wanted, said, part);
}

/* ---- Facts ---- */

/* All lines as the command tells them, in an array. */
static json_t *read_lines(const struct traced_session *session)
{
  char *said, path[80];
  json_error_t error;
  json_t *lines = json_array(), *line;
  cr_assert_eq(trace(session, "%s --top 100000 --json %s.lines", &said), 0, "%s", said);
  free(said);
  snprintf(path, sizeof path, "%s.lines", session->path);
  FILE *file = fopen(path, "r");
  cr_assert(file);
  while ((line = json_loadf(file, JSON_DISABLE_EOF_CHECK, &error))) json_array_append_new(lines, line);
  fclose(file);
  return lines;
}

static const json_t *line_at(const json_t *lines, const void *address)
{
  char text[32];
  size_t i;
  json_t *line;
  snprintf(text, sizeof text, "0x%zx", (size_t)address);
  json_array_foreach(lines, i, line) if (!strcmp(json_string_value(json_object_get(line, "line")), text)) return line;
  cr_assert_fail("line %s is missing", text);
  return NULL;
}

static json_int_t number(const json_t *object, const char *name)
{
  return json_integer_value(json_object_get(object, name));
}

static json_int_t misses(const json_t *object, const char *kind)
{
  return number(json_object_get(object, "misses"), kind);
}

static void expect_verdict(const json_t *line, const char *verdict)
{
  char *text = json_dumps(line, 0);
  cr_expect_str_eq(json_string_value(json_object_get(line, "verdict")), verdict, "expected %s: %s", verdict, text);
  free(text);
}

/* The device's ranges of `access` ("loads" or "stores"), as JSON. */
static void expect_ranges(const json_t *line, int device, const char *access, const char *ranges)
{
  size_t i;
  json_t *one;
  char *text = NULL;
  json_array_foreach(json_object_get(line, "devices"), i, one) if (number(one, "device") == device) text =
      json_dumps(json_object_get(one, access), JSON_COMPACT);
  cr_expect(text && !strcmp(text, ranges), "device %d %s %s, not %s", device, access, text ? text : "nothing", ranges);
  free(text);
}

static void expect_block(const json_t *line, int place, int source_line, json_int_t bytes)
{
  const json_t *block = json_array_get(json_object_get(line, "blocks"), (size_t)place);
  const char *site = json_string_value(json_object_get(block, "site"));
  char wanted[80];
  snprintf(wanted, sizeof wanted, "traced.h:%d", source_line);
  cr_assert(site, "block %d is missing", place);
  cr_expect(strstr(site, wanted), "%s, not %s", site, wanted);
  cr_expect_eq(number(block, "bytes"), bytes);
}

Test(trace_command, false_sharing)
{
  struct traced_session *session = traced_begin();
  json_t *lines = read_lines(session);
  const json_t *line = line_at(lines, session->at.apart);
  expect_verdict(line, "false sharing");
  cr_expect_eq(number(line, "home"), 1);
  cr_expect_eq(misses(line, "cold"), 2);
  cr_expect_eq(misses(line, "false sharing"), 2 * TRACED_ROUNDS - 2);
  cr_expect_eq(misses(line, "true sharing"), 0);
  expect_ranges(line, 0, "stores", "[[0,3]]");
  expect_ranges(line, 1, "stores", "[[16,19]]");
  expect_ranges(line, 1, "loads", "[]");
  expect_block(line, 0, session->apart_line, TRACED_LINE);
  line = line_at(lines, session->at.cleared);
  expect_verdict(line, "false sharing");
  expect_ranges(line, 0, "stores", "[[0,63]]");
  expect_ranges(line, 2, "stores", "[[4,5]]");
  expect_block(line, 0, session->cleared_line, TRACED_LINE);
  json_decref(lines);
  traced_end(session);
}

Test(trace_command, true_sharing)
{
  struct traced_session *session = traced_begin();
  json_t *lines = read_lines(session);
  const json_t *line = line_at(lines, session->at.together);
  expect_verdict(line, "true sharing");
  cr_expect_eq(misses(line, "true sharing"), TRACED_DEVICES * (TRACED_ROUNDS - 1));
  cr_expect_eq(misses(line, "false sharing"), 0);
  cr_expect_eq(number(line, "invalidations"), TRACED_DEVICES * TRACED_ROUNDS - 1);
  cr_expect_eq(number(line, "writebacks"), 1, "the last one's, when it left");
  cr_expect_gt(number(line, "hops"), TRACED_DEVICES * TRACED_ROUNDS);
  expect_ranges(line, 2, "stores", "[[16,23]]");
  line = line_at(lines, session->at.mixed);
  expect_verdict(line, "mostly false sharing");
  cr_expect_gt(number(line, "upgrades"), 0);
  expect_ranges(line, 1, "loads", "[[0,3]]");
  cr_expect_eq(line_at(lines, session->at.together), json_array_get(lines, 0), "it costs most");
  json_decref(lines);
  traced_end(session);
}

Test(trace_command, what_nobody_shares)
{
  struct traced_session *session = traced_begin();
  json_t *lines = read_lines(session);
  for (int d = 0; d < TRACED_DEVICES; d++) {
    const json_t *line = line_at(lines, session->own[d] + TRACED_LINE);
    expect_verdict(line, "private");
    expect_ranges(line, d, "stores", "[[0,63]]");
    expect_block(line, 0, session->own_line, TRACED_OWN);
    cr_expect_eq(number(line, "home"), d);
  }
  expect_verdict(line_at(lines, session->at.table), "read only");
  for (int d = 0; d < TRACED_DEVICES; d++) expect_block(line_at(lines, session->even[d]), 0, session->even_line, TRACED_LINE);
  json_decref(lines);
  traced_end(session);
}

Test(trace_command, blocks_are_told_apart_in_time)
{
  struct traced_session *session = traced_begin();
  json_t *lines = read_lines(session);
  const json_t *line = line_at(lines, session->at.reused);
  if (session->is_reused) {
    cr_expect_eq(json_array_size(json_object_get(line, "blocks")), 2);
    expect_block(line, 0, session->first_line, TRACED_REUSED);
    expect_block(line, 1, session->second_line, TRACED_REUSED);
    expect_ranges(line, 0, "stores", "[[0,3],[8,11]]");
  } else expect_block(line, 0, session->first_line, TRACED_REUSED);
  json_decref(lines);
  traced_end(session);
}

/* The sum over all lines of what the devices did. */
Test(trace_command, as_exact_as_the_counters)
{
  struct traced_session *session = traced_begin();
  json_t *lines = read_lines(session), *line, *device;
  size_t i, d;
  uint64_t sums[TRACED_DEVICES][9] = {0}, invalidations = 0, received = 0;
  json_array_foreach(lines, i, line)
  {
    invalidations += (uint64_t)number(line, "invalidations");
    json_array_foreach(json_object_get(line, "devices"), d, device)
    {
      uint64_t *sum = sums[number(device, "device")];
      for (int kind = COH_MISS_COLD; kind < COH_MISS_UPGRADE; kind++)
        sum[kind - COH_MISS_COLD] += (uint64_t)misses(device, coh_miss_names[kind]);
      sum[5] += (uint64_t)number(device, "upgrades");
      const json_t *accesses = json_object_get(device, "accesses");
      sum[6] += (uint64_t)number(accesses, "loads");
      sum[7] += (uint64_t)number(accesses, "stores");
      sum[8] += (uint64_t)number(accesses, "hits");
    }
  }
  for (d = 0; d < TRACED_DEVICES; d++) {
    const struct uma_counters *counters = &session->counters[d];
    const uint64_t counted[9] = {counters->misses_cold,
                                 counters->misses_capacity,
                                 counters->misses_conflict,
                                 counters->misses_true_sharing,
                                 counters->misses_false_sharing,
                                 counters->upgrades,
                                 counters->loads,
                                 counters->stores,
                                 counters->hits};
    received += counters->invalidations_received;
    for (int k = 0; k < 9; k++) cr_expect_eq(sums[d][k], counted[k], "device %zu, kind %d: %zu, not %zu", d, k, sums[d][k], counted[k]);
  }
  cr_expect_eq(invalidations, received);
  json_decref(lines);
  traced_end(session);
}

Test(trace_command, table_for_people)
{
  struct traced_session *session = traced_begin();
  char part[160];
  expect(session, "%s --top 1", 0, "MESI, 3 devices, lines of 64 bytes");
  expect(session, "%s --top 1", 0, " more lines: --top ");
  expect(session, "%s", 0, "misses: 3 cold, 27 true sharing\n");
  expect(session, "%s", 0, "device 1         10 misses       0 upgrades  stores 16-19\n");
  snprintf(part, sizeof part, "traced.h:%d: bytes 0-63 of 64\n", session->apart_line);
  expect(session, "%s", 0, part);
  traced_end(session);
}

/* ---- One line ---- */

Test(trace_command, the_life_of_a_line)
{
  struct traced_session *session = traced_begin();
  char arguments[160], *said, *form = arguments;
  snprintf(form, sizeof arguments, "%%s --line 0x%zx", (size_t)session->at.apart + 5);
  cr_expect_eq(trace(session, arguments, &said), 0, "%s", said);
  cr_expect(strstr(said, "I>IM_AD"), "%s", said);
  cr_expect(strstr(said, "Store (bytes 0-3): get_M"), "%s", said);
  cr_expect(strstr(said, "Data (false sharing miss): fill store unblock"), "%s", said);
  cr_expect(strstr(said, "Fwd-GetM"), "%s", said);
  cr_expect(strstr(said, "false sharing: 0 true and 18 false sharing misses"), "%s", said);
  cr_expect_null(strstr(said, "left out"), "%s", said);
  cr_expect_null(strstr(said, "under way"), "%s", said);
  free(said);
  snprintf(form, sizeof arguments, "%%s --line %zx --from 7 --steps 5", (size_t)session->at.apart);
  cr_expect_eq(trace(session, arguments, &said), 0, "%s", said);
  cr_expect(strstr(said, "steps 7 to 11 of "), "%s", said);
  cr_expect(strstr(said, "\n   7 ") && strstr(said, "\n  11 ") && !strstr(said, "\n  12 "), "%s", said);
  cr_expect(strstr(said, "go on by --from 12"), "%s", said);
  free(said);
  traced_end(session);
}

Test(trace_command, the_life_as_a_page)
{
  struct traced_session *session = traced_begin();
  char arguments[160], *said;
  snprintf(arguments, sizeof arguments, "%%s --line 0x%zx --from 5 --html %%s.html && cat %%s.html", (size_t)session->at.together);
  cr_expect_eq(trace(session, arguments, &said), 0, "%s", said);
  cr_expect(strstr(said, "<svg") && strstr(said, "const skipped=4;") && strstr(said, "id=\"d-0-0\""));
  cr_expect(strstr(said, "Store (bytes 16-23)"));
  cr_expect_null(strstr(said, "http"), "the page needs nothing from elsewhere");
  cr_expect_null(strstr(said, "src="), "the page needs nothing from elsewhere");
  free(said);
  traced_end(session);
}

/* ---- Bad input ---- */

Test(trace_command, bad_flags_are_named)
{
  struct traced_session *session = traced_begin();
  char arguments[160];
  expect(session, "# %s", 2, "which trace? Expected a file that `uma run --coherence line --trace FILE` wrote");
  expect(session, "%s %s", 2, "one trace at a time");
  expect(session, "%s --top 0", 2, "--top: \"0\" is not valid; expected 1 to");
  expect(session, "%s --top all", 2, "--top: \"all\" is not valid");
  expect(session, "%s --frob", 2, "unrecognized option '--frob'");
  expect(session, "%s --html x.html", 2, "--html, --from and --steps go with --line only");
  expect(session, "%s --line 0x1 --top 3", 2, "--top and --json do not go with --line");
  expect(session, "%s --line here", 2, "--line: \"here\" is not valid; expected a hexadecimal address");
  expect(session, "%s --line 0x10", 2, "--line: 0x10 lies in no window; expected 0x");
  expect(session, "%s --json /nowhere/x", 2, "--json: \"/nowhere/x\" cannot be written: No such file or directory");
  snprintf(arguments, sizeof arguments, "%%s --line 0x%zx", (size_t)session->at.reused + 2048);
  expect(session, arguments, 2, "--line: nobody used the line at 0x");
  snprintf(arguments, sizeof arguments, "%%s --line 0x%zx --from 100000", (size_t)session->at.apart);
  expect(session, arguments, 2, "--from: 100000 is not valid; expected 1 to ");
  snprintf(arguments, sizeof arguments, "%%s --line 0x%zx --steps 0", (size_t)session->at.apart);
  expect(session, arguments, 2, "--steps: \"0\" is not valid; expected 1 to 20000");
  snprintf(arguments, sizeof arguments, "%%s --line 0x%zx --html /nowhere/x", (size_t)session->at.apart);
  expect(session, arguments, 2, "--html: \"/nowhere/x\" cannot be written");
  traced_end(session);
}

Test(trace_command, bad_files_are_named)
{
  struct traced_session *session = traced_begin();
  expect(session, "%s.no", 2, "trace.json.no: cannot be read: No such file or directory");
  expect(session, "/tmp", 2, "/tmp: cannot be read: Is a directory");
  expect(session, "/dev/null", 2, "/dev/null: is empty; expected a file that");
  expect(session, "/dev/zero", 2, "/dev/zero: is not JSON");
  traced_end(session);
}

/* What it says to the trace when the filter has changed it. */
static void expect_changed(const struct traced_session *session, const char *filter, const char *part)
{
  char line[512], *said;
  snprintf(line, sizeof line, "%s <%s | %s/uma trace /dev/stdin", filter, session->path, session_build());
  int status = command_run(line, &said);
  expect_said(line, status, 2, said, part);
}

Test(trace_command, damaged_traces_are_refused)
{
  struct traced_session *session = traced_begin();
  expect_changed(session, "echo hello", "is not JSON");
  expect_changed(session, "echo '{\"a\":1}'", "is not a trace of libuma");
  expect_changed(session, "printf '{\"traceEvents\":[\\n]}'", "is not a trace of libuma");
  expect_changed(session, "head -c 300", "is not a trace of libuma");
  expect_changed(session, "head -n 40", "/dev/stdin:41: the file ends in the middle");
  expect_changed(session, "sed '1s/libuma 1/libuma 7/'", "its version is \"libuma 7\"; this command reads \"libuma 1\"");
  expect_changed(session, "sed '1s/protocol MESI/protocl MESI/'", "its protocol is not valid");
  expect_changed(session, "sed '1s/\"devices\":3/\"devices\":0/'", "otherData: 0 devices");
  expect_changed(session, "sed '1s/\"line_bytes\":64/\"line_bytes\":65/'", "lines of 65 bytes");
  expect_changed(session, "sed '30s/.*/nonsense/'", "/dev/stdin:30: is not JSON");
  expect_changed(session, "sed 's/\"from\":\"I\"/\"from\":\"Q\"/'", "\"Q\" is no state of this controller in MESI");
  expect_changed(session, "sed 's/\\[\"GetM\",/[\"GetX\",/'", "\"GetX\" is no message of MESI");
  expect_changed(session, "sed 's/\\[\"GetM\",1,/[\"GetM\",3,/'", "expected devices 0 to 2, or -1 for the home");
  expect_changed(session, "sed 's/\"offset\":0,/\"offset\":64,/'", "do not lie in a line of 64");
  expect_changed(session, "sed 's/\"line\":\"0x/\"line\":\"0x7/'", "the address lies in no window");
  expect_changed(session, "sed 's/\"sends\"/\"sents\"/'", "a step: Object item not found: sends");
  expect_changed(session, "grep -v '\"cat\":\"step\"'", "no coherence message was sent in this session");
  traced_end(session);
}
