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

enum { MOST_MACHINES = 8, BAR = 60, EXIT_USAGE = 2, KEY_JSON = 0x100, KEY_SVG };

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

static const struct {
  const char *name;
  char mark;
} parts[BENCH_PARTS] = {{"compute", 'C'}, {"memory", 'M'}, {"scale-up", 'U'}, {"staging", 'S'}, {"network", 'N'}, {"waiting", '.'}};

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

/* A bar whose whole length is `longest`. */
static void print_bar(const double ns[BENCH_PARTS], double longest)
{
  double sum = 0;
  int drawn = 0;
  printf("  |");
  for (int i = 0; i < BENCH_PARTS; i++) {
    sum += ns[i];
    for (; longest > 0 && drawn < (int)(sum / longest * BAR + 0.5); drawn++) putchar(parts[i].mark);
  }
  printf("%*s|\n", BAR - drawn, "");
}

static void print_kind(const char *machine, const char *kind, const double ns[BENCH_PARTS], double longest)
{
  double sum = 0;
  for (int i = 0; i < BENCH_PARTS; i++) sum += ns[i];
  printf("%s, %s: %.3f us modelled\n ", machine, kind, sum / 1e3);
  for (int i = 0; i < BENCH_PARTS; i++) printf(" %c %s %.1f %%", parts[i].mark, parts[i].name, sum > 0 ? 100 * ns[i] / sum : 0);
  putchar('\n');
  print_bar(ns, longest);
}

static double longest_of(const struct uma_modelled *modelled, int count)
{
  double longest = 0;
  for (int i = 0; i < count; i++) longest = modelled[i].ns > longest ? modelled[i].ns : longest;
  return longest;
}

static void print_machine(const char *name, int devices, const struct uma_modelled *modelled, double longest, const struct outcome *outcome)
{
  const struct fab_topology *topology = &outcome->topology;
  struct fab_run run;
  for (int kind = 0, first = 0; kind < topology->kind_count && first < devices; kind++) {
    double ns[BENCH_PARTS];
    int last = topology->kind[kind].last < (uint64_t)devices ? (int)topology->kind[kind].last : devices;
    bench_parts_mean(modelled + first, last - first, ns);
    print_kind(name, topology->kind[kind].name, ns, longest);
    first = last;
  }
  bench_program_run(&outcome->program, &run);
  if (run.operations > 0) fab_print_efficiency(stdout, false, outcome->profile, topology, &run);
  else printf("Efficiency of %s: no operations were charged (uma_compute), so the run says nothing of it\n\n", name);
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
  double longest = longest_of(modelled, arguments->machines * arguments->devices);
  int result = arguments->json ? save_rows(arguments->json, outcomes, arguments->machines) : 0;
  if (!result && arguments->svg) result = save_picture(arguments->svg, outcomes, arguments->machines);
  for (int m = 0; m < arguments->machines && !result && !taken; m++)
    print_machine(arguments->machine[m], arguments->devices, modelled + m * arguments->devices, longest, &outcomes[m]);
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
