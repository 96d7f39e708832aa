/* `uma compare`: one program on several machines on paper, and where its time goes on each: the communication wall as a stacked bar.
 *
 * Each machine gets a session of its own with --profile; other settings come from the environment, as for any session. What the program
 * prints goes to standard error, so that standard output is the comparison alone. */
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "uma/clock.h"
#include "uma/commands.h"
#include "uma/config.h"
#include "uma/launch.h"

enum { MOST_MACHINES = 8, BAR = 60, EXIT_USAGE = 2 };

struct arguments {
  int devices, machines;
  char *machine[MOST_MACHINES];
  char **program;
};

static const struct {
  const char *name;
  char mark;
} parts[UMA_PARTS_OF_TIME] = {{"compute", 'C'}, {"memory", 'M'}, {"scale-up", 'U'}, {"staging", 'S'}, {"network", 'N'}, {"waiting", '.'}};

static error_t parse(int key, char *text, struct argp_state *state)
{
  struct arguments *arguments = state->input;
  switch (key) {
  case 'n': arguments->devices = (int)uma_cmd_number("-n", text, 1, UMA_MAX_DEVICES, 1); return 0;
  case ARGP_KEY_ARG:
    if (state->quoted && state->next > state->quoted) {
      arguments->program = state->argv + state->next - 1;
      state->next = state->argc; /* the rest is the program's */
      return 0;
    }
    if (arguments->machines == MOST_MACHINES) argp_failure(state, EXIT_USAGE, 0, "\"%s\": more than %d machines", text, MOST_MACHINES);
    arguments->machine[arguments->machines++] = text;
    return 0;
  case ARGP_KEY_END:
    if (!arguments->program || !arguments->machines)
      argp_failure(state, EXIT_USAGE, 0, "expected uma compare [-n N] PROFILE... -- PROGRAM [ARGS]");
    return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

/* The mean of the devices of one kind, [first, last). */
static void mean_parts(const struct uma_modelled *modelled, int first, int last, double ns[UMA_PARTS_OF_TIME])
{
  for (int i = 0; i < UMA_PARTS_OF_TIME; i++) ns[i] = 0;
  for (int d = first; d < last; d++) {
    const double device[] = {modelled[d].compute_ns, modelled[d].memory_ns,  modelled[d].scale_up_ns,
                             modelled[d].staging_ns, modelled[d].network_ns, modelled[d].waiting_ns};
    for (int i = 0; i < UMA_PARTS_OF_TIME; i++) ns[i] += device[i] / (last - first);
  }
}

/* A bar whose whole length is `longest`. */
static void print_bar(const double ns[UMA_PARTS_OF_TIME], double longest)
{
  double sum = 0;
  int drawn = 0;
  printf("  |");
  for (int i = 0; i < UMA_PARTS_OF_TIME; i++) {
    sum += ns[i];
    for (; longest > 0 && drawn < (int)(sum / longest * BAR + 0.5); drawn++) putchar(parts[i].mark);
  }
  printf("%*s|\n", BAR - drawn, "");
}

static void print_kind(const char *machine, const char *kind, const double ns[UMA_PARTS_OF_TIME], double longest)
{
  double sum = 0;
  for (int i = 0; i < UMA_PARTS_OF_TIME; i++) sum += ns[i];
  printf("%s, %s: %.3f us modelled\n ", machine, kind, sum / 1e3);
  for (int i = 0; i < UMA_PARTS_OF_TIME; i++) printf(" %c %s %.1f %%", parts[i].mark, parts[i].name, sum > 0 ? 100 * ns[i] / sum : 0);
  putchar('\n');
  print_bar(ns, longest);
}

static double longest_of(const struct uma_modelled *modelled, int count)
{
  double longest = 0;
  for (int i = 0; i < count; i++) longest = modelled[i].ns > longest ? modelled[i].ns : longest;
  return longest;
}

static int print_machine(const char *name, int devices, const struct uma_modelled *modelled, double longest)
{
  struct fab_topology topology;
  struct fab_profile *profile = fab_profile_load(name, stderr);
  int result = profile ? fab_topology_make(profile, (uint64_t)devices, &topology, stderr) : -errno;
  fab_profile_free(profile);
  for (int kind = 0, first = 0; !result && kind < topology.kind_count && first < devices; kind++) {
    double ns[UMA_PARTS_OF_TIME];
    int last = topology.kind[kind].last < (uint64_t)devices ? (int)topology.kind[kind].last : devices;
    mean_parts(modelled, first, last, ns);
    print_kind(name, topology.kind[kind].name, ns, longest);
    first = last;
  }
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

int uma_cmd_compare(int argc, char **argv)
{
  static const struct argp_option options[] = {{"devices", 'n', "N", 0, "devices (default 1)", 0}, {0}};
  static const struct argp argp = {
      .options = options,
      .parser = parse,
      .args_doc = "PROFILE... -- PROGRAM [ARGS]",
      .doc = "Runs PROGRAM in a session on each modelled machine, and prints where its modelled time went there, for "
             "each kind of device."};
  struct arguments arguments = {.devices = 1};
  argp_err_exit_status = EXIT_USAGE;
  argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &arguments);
  int count = arguments.machines * arguments.devices, result = 0;
  size_t bytes = (size_t)count * sizeof(struct uma_modelled);
  struct uma_modelled *modelled = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (modelled == MAP_FAILED) return 1;
  int output = divert_output();
  for (int m = 0; m < arguments.machines && !result; m++)
    result = run_on(&arguments, arguments.machine[m], modelled + m * arguments.devices);
  restore_output(output);
  double longest = longest_of(modelled, count);
  for (int m = 0; m < arguments.machines && !result; m++)
    result = print_machine(arguments.machine[m], arguments.devices, modelled + m * arguments.devices, longest);
  munmap(modelled, bytes);
  return result < 0 ? (result == -EINVAL ? EXIT_USAGE : 1) : result;
}
