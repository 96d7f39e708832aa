/* `uma bench`: its arguments, and what is done with the rows. The benchmarks are in bench/. */
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/harness.h"
#include "bench/parts.h"
#include "bench/report.h"
#include "uma/clock.h"
#include "uma/commands.h"

enum { LIST = 256, QUICK, JSON, REPORT, FROM, PEERS, NO_PEERS, TRACE, PROFILE, MODE, SENSITIVITY };

static const struct argp_option options[] = {
    {"list", LIST, NULL, 0, "name the benchmarks and stop", 0},
    {"quick", QUICK, NULL, 0, "fewer sizes, devices and repetitions: about a minute", 0},
    {"json", JSON, "FILE", 0, "write the rows to FILE, one JSON object a line (- is standard output)", 0},
    {"report", REPORT, "DIR", 0, "write DIR/index.html: pictures, targets, all rows (needs gnuplot)", 0},
    {"from", FROM, "FILE", 0, "measure nothing; take the rows that --json wrote (for --report)", 0},
    {"peers", PEERS, NULL, 0, "also Open MPI and OpenSHMEM (the default where they are installed)", 0},
    {"no-peers", NO_PEERS, NULL, 0, "without them", 0},
    {"profile", PROFILE, "P[,Q...]", 0, "model these machines as well (uma topology lists them; or files)", 0},
    {"mode", MODE, "both|modelled", 0, "with --profile: rows of both clocks (the default), or modelled ones only", 0},
    {"sensitivity", SENSITIVITY, NULL, 0,
     "modelled results with each assumed number of the machines at its low and its high (without NAME: of program.*)", 0},
    {"trace", TRACE, "FILE", 0, "the request trace for kvpool (default: a generated one)", 0},
    {0}};

struct arguments {
  struct bench_options bench;
  const char *json, *report, *from, *mode;
  char *profiles;
  bool list;
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
  struct arguments *arguments = state->input;
  switch (key) {
  case LIST: arguments->list = true; break;
  case QUICK: arguments->bench.quick = true; break;
  case JSON: arguments->json = text; break;
  case REPORT: arguments->report = text; break;
  case FROM: arguments->from = text; break;
  case PEERS: arguments->bench.peers = 1; break;
  case NO_PEERS: arguments->bench.peers = 0; break;
  case SENSITIVITY: arguments->bench.sensitivity = true; break;
  case TRACE: arguments->bench.trace = text; break;
  case PROFILE: arguments->profiles = text; break;
  case MODE:
    if (strcmp(text, "both") && strcmp(text, "modelled")) argp_error(state, "--mode: \"%s\" is not valid; expected both or modelled", text);
    arguments->mode = text;
    break;
  case ARGP_KEY_ARGS:
    arguments->bench.names = state->argv + state->next;
    arguments->bench.name_count = state->argc - state->next;
    break;
  default: return ARGP_ERR_UNKNOWN;
  }
  return 0;
}

static const struct argp parser = {
    options,
    parse_option,
    "[NAME...]",
    "Measures the communication wall: the same work by load and store in a supernode and by messages between "
    "stacked servers, beside plain memory, plain sockets and other libraries.\vNAME chooses the benchmarks "
    "that begin with it; --list names them all.",
    NULL,
    NULL,
    NULL};

/* The names between the commas, each of a machine that can be modelled; NULL-ended, the caller's. 0 or -EINVAL. */
static int split_profiles(struct arguments *arguments)
{
  char **names = calloc(strlen(arguments->profiles) / 2 + 2, sizeof *names), *rest = arguments->profiles;
  int count = 0;
  size_t bytes;
  uint64_t digest;
  if (!names) return -ENOMEM;
  for (char *name; (name = strsep(&rest, ","));) {
    int result = uma_clock_check(name, 1, &bytes, &digest);
    if (result) fprintf(stderr, "uma bench: --profile: %s\n", uma_last_error());
    if (result) {
      free(names);
      return result;
    }
    names[count++] = name;
  }
  arguments->bench.profiles = names;
  arguments->bench.modelled_only |= (arguments->mode && !strcmp(arguments->mode, "modelled"));
  return 0;
}

/* A pass for each assumed number takes a while: of programs, when nothing was chosen. 0 or -EINVAL. */
static int choose_sensitivity(struct arguments *arguments)
{
  static char *programs[] = {"program.", NULL};
  if (!arguments->bench.sensitivity) return 0;
  if (arguments->mode && strcmp(arguments->mode, "modelled")) {
    fprintf(stderr, "uma bench: --sensitivity --mode %s: only modelled results hang on assumed numbers; expected --mode modelled\n",
            arguments->mode);
    return -EINVAL;
  }
  arguments->bench.modelled_only = true;
  if (!arguments->profiles) arguments->bench.profiles = bench_default_machines;
  if (arguments->bench.name_count) return 0;
  arguments->bench.names = programs;
  arguments->bench.name_count = 1;
  return 0;
}

/* Finds out what cannot be written before anything is measured. The report first: rows may go to its directory. */
static int prepare(const struct arguments *arguments)
{
  int result = arguments->report ? bench_report_prepare(arguments->report) : 0;
  return result ? result : bench_output_check("uma bench", arguments->json);
}

static void print_tables(const struct bench_rows *rows)
{
  struct bench_program *programs = calloc(BENCH_PROGRAMS, sizeof *programs);
  int count = programs ? bench_programs_find(rows, programs) : 0;
  char sentence[600];
  bench_rows_print(rows, stdout);
  putchar('\n');
  bench_programs_table(stdout, false, programs, count);
  bench_programs_efficiency(stdout, false, programs, count);
  bench_sensitivity_print(stdout, false, rows);
  if (bench_wall_sentence(rows, sentence, sizeof sentence)) printf("%s\n", sentence);
  free(programs);
}

/* Rows to files, the tables to people. Machines that read standard output get rows. */
static int deliver(const struct arguments *arguments, const struct bench_rows *rows)
{
  bool people = isatty(STDOUT_FILENO) || arguments->report;
  int result = 0;
  if (arguments->json) result = bench_rows_save(rows, arguments->json);
  if (people && (!arguments->json || strcmp(arguments->json, "-"))) print_tables(rows);
  else if (!people && !arguments->json) result = bench_rows_save(rows, "-");
  if (arguments->report && !result) result = bench_report(rows, arguments->report, arguments->from);
  return result;
}

/* Measures, or reads, and delivers; 0 or what failed. */
static int bench(const struct arguments *arguments)
{
  struct bench_rows rows = {0};
  int result = prepare(arguments), delivered = 0;
  if (result) return result;
  result = arguments->from ? bench_rows_load(&rows, arguments->from) : bench_suite(&arguments->bench, &rows);
  if (rows.count) delivered = deliver(arguments, &rows);
  if (!result && !rows.count) {
    fprintf(stderr, "uma bench: no rows\n");
    result = 1;
  }
  bench_rows_free(&rows);
  return result ? result : delivered;
}

int uma_cmd_bench(int argc, char **argv)
{
  struct arguments arguments = {.bench.peers = -1};
  argp_parse(&parser, argc, argv, 0, NULL, &arguments);
  if (arguments.list) {
    bench_list(stdout);
    return EXIT_SUCCESS;
  }
  if (arguments.mode && !arguments.profiles) {
    fprintf(stderr, "uma bench: --mode %s: expected --profile with it\n", arguments.mode);
    return EXIT_FAILURE;
  }
  if (arguments.from && (arguments.profiles || arguments.bench.sensitivity)) {
    fprintf(stderr, "uma bench: --from measures nothing; expected it without --profile and --sensitivity\n");
    return EXIT_FAILURE;
  }
  int result = choose_sensitivity(&arguments);
  if (!result && arguments.profiles) result = split_profiles(&arguments);
  if (!result) result = bench(&arguments);
  if (arguments.profiles) free(arguments.bench.profiles);
  return result ? EXIT_FAILURE : EXIT_SUCCESS;
}
