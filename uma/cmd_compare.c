/* `uma compare`: one program on several machines on paper, and where its time goes on each: the communication wall as a stacked bar; and what of
 * the machine's stated rate it reached (fabric/walls.h has the factors).
 *
 * Each machine gets a session of its own with --profile; other settings come from the environment, as for any session. What the program
 * prints goes to standard error, so that standard output is the comparison alone. Rows (--json) and picture (--svg) are of the mean of all
 * devices of a machine; the text tells each kind of device apart. */
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/harness.h"
#include "bench/parts.h"
#include "uma/clock.h"
#include "uma/commands.h"
#include "uma/config.h"
#include "uma/launch.h"

enum { MOST_MACHINES = 8, EXIT_USAGE = 2, KEY_JSON = 0x100, KEY_SVG };

struct arguments {
  int devices, machines;
  char *machine[MOST_MACHINES];
  char **program;
  const char *json, *svg;
};

struct outcome {
  struct fab_profile *profile;
  struct fab_topology topology;
  struct bench_program program;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
  struct arguments *arguments = state->input;
  switch (key) {
  case 'n': arguments->devices = (int)uma_cmd_number("-n", text, 1, UMA_MAX_DEVICES, 1); return 0;
  case KEY_JSON: arguments->json = text; return 0;
  case KEY_SVG: arguments->svg = text; return 0;
  case ARGP_KEY_ARG:
    if (state->quoted && state->next > state->quoted) {
      arguments->program = state->argv + state->next - 1;
      state->next = state->argc; /* the rest is the program's */
      return 0;
    }
    if (arguments->machines == MOST_MACHINES)
      argp_failure(state, EXIT_USAGE, 0, "\"%s\" is one too many; expected at most %d machines", text, MOST_MACHINES);
    arguments->machine[arguments->machines++] = text;
    return 0;
  case ARGP_KEY_END:
    if (!arguments->program || !arguments->machines)
      argp_failure(state, EXIT_USAGE, 0, "expected uma compare [-n N] PROFILE... -- PROGRAM [ARGS]");
    return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

/* The machine once more, for its names and factors, and the mean of its devices. */
static int open_outcome(const struct arguments *arguments, const char *machine, int mode, const struct uma_modelled *modelled,
                        struct outcome *outcome)
{
  char bench[sizeof outcome->program.row.bench];
  const char *slash = strrchr(arguments->program[0], '/');
  outcome->profile = fab_profile_load(machine, stderr);
  if (!outcome->profile) return -errno;
  int result = fab_topology_make(outcome->profile, (uint64_t)arguments->devices, &outcome->topology, stderr);
  if (result) return result;
  snprintf(bench, sizeof bench, "compare.%s", slash ? slash + 1 : arguments->program[0]);
  struct bench_row row = bench_row_of(bench, "-", mode == UMA_MODE_STACKED ? "stacked" : "supernode", arguments->devices, 0, "time", "ns");
  bench_row_model(&row, machine);
  bench_program_make(&row, modelled, outcome->profile, &outcome->topology, &outcome->program);
  return 0;
}

static int save_rows(const char *file, const struct outcome *outcomes, int count)
{
  struct bench_rows rows = {0};
  int result = 0;
  for (int m = 0; m < count; m++) {
    struct bench_row row[BENCH_PROGRAM_ROWS];
    int metrics = bench_program_rows(&outcomes[m].program, row);
    for (int i = 0; i < metrics && !result; i++) result = bench_rows_add(&rows, &row[i]);
  }
  if (!result) result = bench_rows_save(&rows, file);
  bench_rows_free(&rows);
  return result;
}

static int save_picture(const char *file, const struct outcome *outcomes, int count)
{
  struct bench_program programs[MOST_MACHINES];
  FILE *out = !strcmp(file, "-") ? stdout : fopen(file, "w");
  for (int m = 0; m < count; m++) programs[m] = outcomes[m].program;
  if (out) bench_programs_svg(out, programs, count);
  if (out && !(out == stdout ? fflush(out) : fclose(out))) return 0;
  fprintf(stderr, "uma compare: writing '%s': %s\n", file, strerror(errno));
  return -EIO;
}

/* Rows, picture and text, or less: standard output is for one of them. */
static int deliver(const struct arguments *arguments, const struct uma_modelled *modelled, const struct outcome *outcomes)
{
  bool taken = (arguments->json && !strcmp(arguments->json, "-")) || (arguments->svg && !strcmp(arguments->svg, "-"));
  double longest = uma_cmd_longest(modelled, arguments->machines * arguments->devices);
  int result = arguments->json ? save_rows(arguments->json, outcomes, arguments->machines) : 0;
  if (!result && arguments->svg) result = save_picture(arguments->svg, outcomes, arguments->machines);
  for (int m = 0; m < arguments->machines && !result && !taken; m++)
    uma_cmd_print_modelled(stdout, arguments->machine[m], outcomes[m].profile, &outcomes[m].topology, modelled + m * arguments->devices,
                           longest);
  return result;
}

static int run_on(const struct arguments *arguments, const char *machine, struct uma_modelled *modelled)
{
  struct uma_config config = {.profile = machine};
  struct uma_program program = {.argv = arguments->program, .modelled = modelled};
  int result = uma_launch(&config, arguments->devices, &program);
  if (result < 0) fprintf(stderr, "uma compare: %s: %s\n", machine, uma_last_error());
  else if (result) fprintf(stderr, "uma compare: %s: the program ended with status %d\n", machine, result);
  return result;
}

/* The program's output to standard error; what standard output was. */
static int divert_output(void)
{
  fflush(stdout);
  int output = dup(STDOUT_FILENO);
  dup2(STDERR_FILENO, STDOUT_FILENO);
  return output;
}

static void restore_output(int output)
{
  dup2(output, STDOUT_FILENO);
  close(output);
}

/* All machines; the program's modelled times, by machine and device. */
static int run_all(const struct arguments *arguments, struct uma_modelled *modelled)
{
  int output = divert_output(), result = 0;
  for (int m = 0; m < arguments->machines && !result; m++)
    result = run_on(arguments, arguments->machine[m], modelled + m * arguments->devices);
  restore_output(output);
  return result;
}

static int compare(const struct arguments *arguments, int mode)
{
  struct outcome *outcomes = calloc(MOST_MACHINES, sizeof *outcomes);
  size_t bytes = (size_t)(arguments->machines * arguments->devices) * sizeof(struct uma_modelled);
  struct uma_modelled *modelled = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int result = outcomes && modelled != MAP_FAILED ? run_all(arguments, modelled) : -ENOMEM;
  for (int m = 0; m < arguments->machines && !result; m++)
    result = open_outcome(arguments, arguments->machine[m], mode, modelled + m * arguments->devices, &outcomes[m]);
  if (!result) result = deliver(arguments, modelled, outcomes);
  for (int m = 0; outcomes && m < arguments->machines; m++) fab_profile_free(outcomes[m].profile);
  if (modelled != MAP_FAILED) munmap(modelled, bytes);
  free(outcomes);
  return result;
}

/* What cannot be modelled or written is found out before anything runs. 0 or -errno. */
static int check(const struct arguments *arguments)
{
  size_t bytes;
  uint64_t digest;
  for (int m = 0; m < arguments->machines; m++) {
    int result = uma_clock_check(arguments->machine[m], arguments->devices, &bytes, &digest);
    if (result) fprintf(stderr, "uma compare: %s: %s\n", arguments->machine[m], uma_last_error());
    if (result) return result;
  }
  int result = bench_output_check("uma compare: --json", arguments->json);
  return result ? result : bench_output_check("uma compare: --svg", arguments->svg);
}

int uma_cmd_compare(int argc, char **argv)
{
  static const struct argp_option options[] = {
      {"devices", 'n', "N", 0, "devices (default 1)", 0},
      {"json", KEY_JSON, "FILE", 0, "write rows to FILE, one JSON object a line, as uma bench does (- is standard output)", 0},
      {"svg", KEY_SVG, "FILE", 0, "write the bars as a picture (- is standard output)", 0},
      {0}};
  static const struct argp argp = {
      .options = options,
      .parser = parse,
      .args_doc = "PROFILE... -- PROGRAM [ARGS]",
      .doc = "Runs PROGRAM in a session on each modelled machine, and prints where its modelled time went there, for "
             "each kind of device, and with what efficiency."};
  struct arguments arguments = {.devices = 1};
  struct uma_config config = {0};
  bench_command = "uma compare";
  argp_err_exit_status = EXIT_USAGE;
  argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &arguments);
  if (arguments.json && arguments.svg && !strcmp(arguments.json, "-") && !strcmp(arguments.svg, "-")) {
    fprintf(stderr, "uma compare: --json - and --svg -: expected a file for one of them\n");
    return EXIT_USAGE;
  }
  int result = check(&arguments);
  if (!result && (result = uma_config_resolve(&config))) fprintf(stderr, "uma compare: %s\n", uma_last_error());
  if (!result) result = compare(&arguments, config.mode);
  return result < 0 ? (result == -EINVAL ? EXIT_USAGE : 1) : result;
}
