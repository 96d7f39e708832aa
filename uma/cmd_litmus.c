/* `uma litmus`: runs litmus tests, or explains them.
 *
 * The report of a run follows litmus7: each outcome with how often it was seen, * before those where the proposition holds. Positive
 * witnesses speak for the condition, negative ones against it: for ~exists the positive ones are outcomes where the proposition does
 * not hold. The observation counts where it holds, whatever the quantifier. */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#include "fabric/futex.h"
#include "uma/commands.h"
#include "uma/config.h"
#include "uma/litmus.h"

#define EXIT_UNREADABLE 1
#define EXIT_USAGE 2
#define EXIT_REFUTED 3
#define OUTCOME_ROOM (UMA_LITMUS_OBSERVED * (UMA_LITMUS_NAME + 32))
#define MOST_RUNS 1000000000

enum { RUNS = 256, SAME_LINE, SEED, JSON, EXPLAIN, SETTING };

struct arguments {
  struct uma_litmus_options options;
  const char *json;
  bool explain;
  char **files;
  int file_count;
};

static uint64_t read_count(const char *flag, const char *text, uint64_t least, uint64_t most, struct argp_state *state)
{
  char *end;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  if (errno || end == text || *end || *text == '-' || value < least || value > most)
    argp_failure(state, EXIT_USAGE, 0, "--%s: \"%s\" is not valid; expected %" PRIu64 " to %" PRIu64, flag, text, least, most);
  return value;
}

/* The settings of a session that are flags here, too; all others come from the environment. */
static const char *const setting_flags[] = {"coherence", "protocol", "line", "cache", "ways", "page", "sharers"};
enum { SETTINGS = sizeof setting_flags / sizeof setting_flags[0] };

static const struct uma_setting *find_setting(const char *flag)
{
  int i = 0;
  while (strcmp(uma_settings[i].flag, flag)) i++;
  return &uma_settings[i];
}

static void read_setting(const char *flag, const char *text, struct arguments *arguments, struct argp_state *state)
{
  char source[32];
  snprintf(source, sizeof source, "--%s", flag);
  if (uma_setting_read(find_setting(flag), source, text, &arguments->options.config))
    argp_failure(state, EXIT_USAGE, 0, "%s", uma_last_error());
}

static error_t parse(int key, char *text, struct argp_state *state)
{
  struct arguments *arguments = state->input;
  if (key >= SETTING && key < SETTING + SETTINGS) {
    read_setting(setting_flags[key - SETTING], text, arguments, state);
    return 0;
  }
  switch (key) {
  case RUNS: arguments->options.runs = read_count("runs", text, 1, MOST_RUNS, state); return 0;
  case SEED: arguments->options.seed = read_count("seed", text, 0, UINT64_MAX, state); return 0;
  case SAME_LINE: arguments->options.same_line = true; return 0;
  case JSON: arguments->json = text; return 0;
  case EXPLAIN: arguments->explain = true; return 0;
  case ARGP_KEY_ARGS:
    arguments->files = state->argv + state->next;
    arguments->file_count = state->argc - state->next;
    return 0;
  case ARGP_KEY_NO_ARGS: argp_failure(state, EXIT_USAGE, 0, "no file was given; expected uma litmus [FLAGS] FILE.litmus..."); return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

/* ---- What was seen */

struct summary {
  uint64_t holds, total; /* iterations in which the proposition held; all */
  bool validated;        /* the condition, with its quantifier */
};

static struct summary summarise(const struct uma_litmus *test, const struct uma_litmus_outcomes *seen)
{
  struct summary s = {0};
  for (size_t i = 0; i < seen->count; i++) {
    s.total += seen->list[i].count;
    if (uma_litmus_holds(test, &seen->list[i])) s.holds += seen->list[i].count;
  }
  s.validated = test->quantifier == UMA_LITMUS_EXISTS ? s.holds > 0 : test->quantifier == UMA_LITMUS_FORALL ? s.holds == s.total : !s.holds;
  return s;
}

static const char *observation(const struct summary *s)
{
  return !s->holds ? "Never" : s->holds == s->total ? "Always" : "Sometimes";
}

static bool refuted(const struct uma_litmus *test, const struct summary *s)
{
  return test->quantifier != UMA_LITMUS_EXISTS && !s->validated;
}

static void print_run(FILE *out, const struct uma_litmus *test, const struct uma_litmus_outcomes *seen, double seconds)
{
  static const char *const kinds[] = {"Allowed", "Forbidden", "Required"};
  struct summary s = summarise(test, seen);
  char text[OUTCOME_ROOM];
  fprintf(out, "Test %s %s\nHistogram (%zu states)\n", test->name, kinds[test->quantifier], seen->count);
  for (size_t i = 0; i < seen->count; i++) {
    uma_litmus_format(test, &seen->list[i], text, sizeof text);
    fprintf(out, "%-6" PRIu64 "%c>%s\n", seen->list[i].count, uma_litmus_holds(test, &seen->list[i]) ? '*' : ':', text);
  }
  uint64_t positive = test->quantifier == UMA_LITMUS_NOT_EXISTS ? s.total - s.holds : s.holds;
  fprintf(out, "%s\n\nWitnesses\nPositive: %" PRIu64 ", Negative: %" PRIu64 "\n", s.validated ? "Ok" : "No", positive, s.total - positive);
  fprintf(out, "Condition %s %s is %svalidated\n", uma_litmus_quantifier_name(test->quantifier), test->condition_text,
          s.validated ? "" : "NOT ");
  fprintf(out, "Observation %s %s %" PRIu64 " %" PRIu64 "\nTime %s %.2f\n\n", test->name, observation(&s), s.holds, s.total - s.holds,
          test->name, seconds);
}

static int write_json(FILE *file, const struct uma_litmus *test, const struct uma_litmus_options *options,
                      const struct uma_litmus_outcomes *seen)
{
  char text[OUTCOME_ROOM];
  struct summary s = summarise(test, seen);
  json_t *states = json_array();
  for (size_t i = 0; i < seen->count; i++) {
    uma_litmus_format(test, &seen->list[i], text, sizeof text);
    json_array_append_new(states, json_pack("{s:s, s:I, s:b}", "state", text, "count", (json_int_t)seen->list[i].count, "holds",
                                            uma_litmus_holds(test, &seen->list[i])));
  }
  const char *modes = find_setting("coherence")->values;
  for (int i = 1; i < options->config.coherence; i++) modes += strcspn(modes, "|") + 1;
  json_t *object =
      json_pack("{s:s, s:i, s:I, s:s%, s:b, s:o, s:s, s:s, s:I, s:I, s:s, s:b}", "name", test->name, "threads", test->thread_count, "runs",
                (json_int_t)s.total, "mode", modes, strcspn(modes, "|"), "same_line", options->same_line, "states", states, "quantifier",
                uma_litmus_quantifier_name(test->quantifier), "condition", test->condition_text, "positive", (json_int_t)s.holds,
                "negative", (json_int_t)(s.total - s.holds), "observation", observation(&s), "validated", s.validated);
  int result = !object || json_dumpf(object, file, JSON_COMPACT) || fputc('\n', file) == EOF ? -EIO : 0;
  json_decref(object);
  return result;
}

static int run_test(const struct uma_litmus *test, const struct uma_litmus_options *options, FILE *json)
{
  struct uma_litmus_outcomes seen;
  uint64_t begin_ns = fab_now_ns();
  int result = uma_litmus_run(test, options, &seen);
  if (result == UMA_LITMUS_SILENT) return 0;
  if (result) {
    fprintf(stderr, "uma litmus: %s\n", uma_last_error());
    return result == -EINVAL ? EXIT_USAGE : EXIT_UNREADABLE;
  }
  FILE *out = json == stdout ? stderr : stdout;
  print_run(out, test, &seen, (double)(fab_now_ns() - begin_ns) / 1e9);
  fflush(out);
  struct summary s = summarise(test, &seen);
  if (json && write_json(json, test, options, &seen)) {
    fprintf(stderr, "uma litmus: cannot write the outcomes of %s as JSON\n", test->name);
    result = EXIT_UNREADABLE;
  }
  free(seen.list);
  return result ? result : refuted(test, &s) ? EXIT_REFUTED : 0;
}

/* ---- What the models say */

static void print_rows(const struct uma_litmus *test, const struct uma_litmus_outcomes *sets)
{
  char text[OUTCOME_ROOM];
  printf("  SC         TSO        outcome\n");
  for (size_t i = 0; i < sets[UMA_LITMUS_TSO].count; i++) { /* what SC allows, TSO allows */
    const struct uma_litmus_outcome *outcome = &sets[UMA_LITMUS_TSO].list[i];
    uma_litmus_format(test, outcome, text, sizeof text);
    printf("%c %-10s allowed    %s\n", uma_litmus_holds(test, outcome) ? '*' : ' ',
           uma_litmus_contains(test, &sets[UMA_LITMUS_SC], outcome) ? "allowed" : "forbidden", text);
  }
}

/* Whether the file says what the model says. */
static bool print_verdict(const struct uma_litmus *test, enum uma_litmus_model model, const struct uma_litmus_outcomes *set)
{
  bool allowed = uma_litmus_any_asked(test, set);
  int stated = uma_litmus_stated(test, model);
  printf("%-3s %s the outcome that is asked for%s\n", uma_litmus_model_name(model), allowed ? "allows" : "forbids",
         stated < 0          ? ""
         : stated == allowed ? ", as the file says"
                             : "; the file says otherwise");
  return stated < 0 || stated == allowed;
}

static int explain(const struct uma_litmus *test)
{
  struct uma_litmus_outcomes sets[UMA_LITMUS_MODELS] = {0};
  bool agreed = true;
  int result = 0;
  for (int m = 0; m < UMA_LITMUS_MODELS && !result; m++) result = uma_litmus_explore(test, m, &sets[m]);
  if (!result) {
    printf("Test %s: %s %s\n", test->name, uma_litmus_quantifier_name(test->quantifier), test->condition_text);
    print_rows(test, sets);
    for (int m = 0; m < UMA_LITMUS_MODELS; m++) agreed = print_verdict(test, m, &sets[m]) && agreed;
    printf("\n");
  } else fprintf(stderr, "uma litmus: %s\n", uma_last_error());
  for (int m = 0; m < UMA_LITMUS_MODELS; m++) free(sets[m].list);
  return result ? EXIT_UNREADABLE : agreed ? 0 : EXIT_REFUTED;
}

/* ---- Files */

static int do_file(const struct arguments *arguments, const char *path, FILE *json)
{
  struct uma_litmus *test;
  if (uma_litmus_read(path, &test)) {
    fprintf(stderr, "uma litmus: %s\n", uma_last_error());
    return EXIT_UNREADABLE;
  }
  if (test->filter_ignored) fprintf(stderr, "uma litmus: %s: the filter is ignored\n", path);
  int status = arguments->explain ? explain(test) : run_test(test, &arguments->options, json);
  uma_litmus_free(test);
  return status;
}

/* Of the files' statuses, that of failing counts more than that of being refuted. */
static int do_files(const struct arguments *arguments, FILE *json)
{
  int status = 0;
  for (int i = 0; i < arguments->file_count; i++) {
    int one = do_file(arguments, arguments->files[i], json);
    if (one && (!status || status == EXIT_REFUTED)) status = one;
  }
  return status;
}

/* On the devices of a launcher when there are any. */
static int run_files(const struct arguments *arguments, FILE *json)
{
  int joined = arguments->explain ? 0 : uma_litmus_join(&arguments->options);
  if (joined < 0) {
    fprintf(stderr, "uma litmus: %s\n", uma_last_error());
    return joined == -EINVAL ? EXIT_USAGE : EXIT_UNREADABLE;
  }
  int status = do_files(arguments, json);
  if (joined && uma_finalize() && !status) {
    fprintf(stderr, "uma litmus: %s\n", uma_last_error());
    status = EXIT_UNREADABLE;
  }
  return status;
}

static const struct argp_option own_options[] = {
    {"runs", RUNS, "N", 0, "iterations of each test, 1 to 1000000000 (default 100000)", 0},
    {"same-line", SAME_LINE, NULL, 0, "pack all locations into one cache line, not each into its own", 0},
    {"seed", SEED, "S", 0, "of the random delays (default 1)", 0},
    {"json", JSON, "FILE", 0, "also write one JSON object a test to FILE (- is standard output; the report then goes to standard error)",
     0},
    {"explain", EXPLAIN, NULL, 0, "run nothing; print which outcomes SC and x86-TSO allow", 0}};
enum { OWN_OPTIONS = sizeof own_options / sizeof own_options[0] };

/* The own ones, and those of the settings. */
static void make_options(struct argp_option *options, char texts[SETTINGS][256])
{
  memcpy(options, own_options, sizeof own_options);
  for (int i = 0; i < SETTINGS; i++) {
    const struct uma_setting *setting = find_setting(setting_flags[i]);
    snprintf(texts[i], 256, "%s: %s (default %s)", setting->help, setting->values, setting->initial);
    options[OWN_OPTIONS + i] = (struct argp_option){setting->flag, SETTING + i, "VALUE", 0, texts[i], 1};
  }
  options[OWN_OPTIONS + SETTINGS] = (struct argp_option){0};
}

int uma_cmd_litmus(int argc, char **argv)
{
  struct arguments arguments = {.options = {.runs = 100000, .seed = 1}};
  struct argp_option options[OWN_OPTIONS + SETTINGS + 1];
  char texts[SETTINGS][256];
  make_options(options, texts);
  struct argp argp = {
      .options = options,
      .parser = parse,
      .args_doc = "FILE.litmus...",
      .doc =
          "Runs litmus tests (herd and litmus7 format, X86_64 or X86), each thread on a device of its own, and counts the outcomes. A PMIx "
          "launcher brings the devices onto several hosts: mpirun --host A:2,B:2 uma litmus --coherence line FILE.litmus\v"
          "Exit status: 0 all files ran (what was observed is information); 3 a ~exists was observed, a forall was violated, or with "
          "--explain a file's statement such as \"SC=forbidden TSO=allowed\" is wrong; 1 a file cannot be read, parsed or run; 2 a bad "
          "flag.",
  };
  argp_err_exit_status = EXIT_USAGE;
  argp_parse(&argp, argc, argv, 0, NULL, &arguments);
  if (uma_config_resolve(&arguments.options.config)) {
    fprintf(stderr, "uma litmus: %s\n", uma_last_error());
    return EXIT_USAGE;
  }
  FILE *json = !arguments.json ? NULL : strcmp(arguments.json, "-") ? fopen(arguments.json, "we") : stdout;
  if (arguments.json && !json) {
    fprintf(stderr, "uma litmus: --json %s: %s\n", arguments.json, strerror(errno));
    return EXIT_UNREADABLE;
  }
  int status = run_files(&arguments, json);
  if (json && fclose(json)) {
    fprintf(stderr, "uma litmus: --json %s: %s\n", arguments.json, strerror(errno));
    status = EXIT_UNREADABLE;
  }
  return status;
}
