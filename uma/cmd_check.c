/* `uma check`: proves a coherence protocol on a small system, or shows the shortest way to break it; with --random, tries a large one. */
#include <argp.h>
#include <errno.h>
#include <error.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coherence/check.h"
#include "coherence/random.h"
#include "uma/commands.h"

enum { EXIT_BROKEN = 1, EXIT_USAGE = 2, EXIT_INCOMPLETE = 3 };

/* Flags as they were given; NULL: not. What is valid depends on --random, so they are read when all are known. */
struct arguments {
  const char *protocol, *html, *sharers, *caches, *lines, *depth, *memory, *seed, *steps, *devices, *lose;
  bool random, atomic;
};

static void check_arguments(struct argp_state *state, const struct arguments *arguments)
{
  const char *sharers = arguments->sharers;
  if (sharers && strcmp(sharers, "full") && strcmp(sharers, "limited") && strcmp(sharers, "coarse"))
    argp_failure(state, EXIT_USAGE, 0, "--sharers: \"%s\" is not valid; expected full, limited or coarse", sharers);
  if (arguments->random && (arguments->caches || arguments->depth || arguments->memory || arguments->atomic))
    argp_failure(
        state, EXIT_USAGE, 0,
        "--caches, --depth, --memory and --atomic do not go with --random; it takes --devices, --lines, --seed, --steps and --lose");
  if (!arguments->random && (arguments->seed || arguments->steps || arguments->devices || arguments->lose))
    argp_failure(state, EXIT_USAGE, 0, "--seed, --steps, --devices and --lose go with --random only");
}

static error_t parse(int key, char *text, struct argp_state *state)
{
  struct arguments *arguments = state->input;
  switch (key) {
  case 'c': arguments->caches = text; return 0;
  case 'l': arguments->lines = text; return 0;
  case 's': arguments->sharers = text; return 0;
  case 'd': arguments->depth = text; return 0;
  case 'm': arguments->memory = text; return 0;
  case 'h': arguments->html = text; return 0;
  case 'r': arguments->random = true; return 0;
  case 'a': arguments->atomic = true; return 0;
  case 'S': arguments->seed = text; return 0;
  case 'N': arguments->steps = text; return 0;
  case 'D': arguments->devices = text; return 0;
  case 'L': arguments->lose = text; return 0;
  case ARGP_KEY_ARG:
    if (arguments->protocol) argp_failure(state, EXIT_USAGE, 0, "one protocol at a time, not \"%s\" as well", text);
    arguments->protocol = text;
    return 0;
  case ARGP_KEY_NO_ARGS: argp_failure(state, EXIT_USAGE, 0, "which protocol? Expected msi, mesi, moesi, mesif or a file"); return 0;
  case ARGP_KEY_END: check_arguments(state, arguments); return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static struct coh_check_options check_options(const struct arguments *arguments)
{
  return (struct coh_check_options){
      .sharers = arguments->sharers ? arguments->sharers : "full",
      .caches = (int)uma_cmd_number("--caches", arguments->caches, 2, COH_WORLD_CACHES, 3),
      .lines = (int)uma_cmd_number("--lines", arguments->lines, 1, COH_WORLD_LINES, 1),
      .depth = (int)uma_cmd_number("--depth", arguments->depth, 1, 1000000, 0),
      .bytes_most = (size_t)uma_cmd_number("--memory", arguments->memory, 1, 1 << 20, 2048) << 20,
      .atomic = arguments->atomic,
  };
}

/* ---- What is printed --------------------------------------------------------------------------------------------- */

static void print_unused(const struct coh_protocol *protocol, const struct coh_check_result *result)
{
  for (int role = 0; role < COH_ROLES; role++) {
    const struct coh_controller *controller = &protocol->controllers[role];
    int unused = 0;
    for (int s = 0; s < controller->state_count; s++)
      for (int e = 0; e < controller->event_count; e++)
        if (controller->cells[s][e].kind != COH_CELL_EMPTY && !(result->cells_used[role][s] >> e & 1))
          printf("%s %s+%s",
                 unused++ ? ","
                 : role   ? "  never used, directory:"
                          : "  never used, cache:",
                 controller->states[s].name, controller->events[e].name);
    if (unused) printf("\n");
  }
}

static void print_result(const struct coh_protocol *protocol, const struct coh_check_options *options,
                         const struct coh_check_result *result, double seconds)
{
  static const char *const verdicts[] = {"proved: in every state one writer or many readers, every load returns the last completed store, "
                                         "no event is unhandled, and the system can come to rest",
                                         "BROKEN", "nothing is broken as far as this depth; there is more",
                                         "nothing is broken so far, but there is no more room (--memory)"};
  printf("%s, %d caches, %d line%s, sharers %s%s\n", protocol->name, options->caches, options->lines, options->lines > 1 ? "s" : "",
         options->sharers, options->atomic ? ", one transaction at a time" : "");
  printf("  %llu states, %llu transitions, the farthest state %d steps away\n", (unsigned long long)result->states,
         (unsigned long long)result->transitions, result->depth);
  printf("  %.2f s, %.0f states/s, %.0f MB\n", seconds, (double)result->states / seconds, (double)result->bytes / 1e6);
  if (result->verdict == COH_PROVED) print_unused(protocol, result);
  printf("  %s%s%s\n", verdicts[result->verdict], result->sentence[0] ? ": " : "", result->sentence);
}

/* Returns the exit status. */
static int write_html(const struct coh_ladder *ladder, const char *path)
{
  FILE *file = fopen(path, "w");
  if (!file) {
    fprintf(stderr, "uma check: --html: \"%s\" cannot be written: %s\n", path, strerror(errno));
    return EXIT_USAGE;
  }
  coh_ladder_html(file, ladder);
  fclose(file);
  printf("\nThe same to step through: %s\n", path);
  return EXIT_BROKEN;
}

static double seconds_now(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Shows the ladder; returns the exit status. */
static int show_broken(const struct coh_ladder *ladder, const char *html)
{
  printf("\n");
  coh_ladder_text(stdout, ladder);
  return html ? write_html(ladder, html) : EXIT_BROKEN;
}

static int explore(const struct coh_protocol *protocol, const struct arguments *arguments, const struct coh_check_options *options)
{
  static const int exits[] = {0, EXIT_BROKEN, 0, EXIT_INCOMPLETE};
  struct coh_check_result result;
  double begin = seconds_now();
  int error = coh_check(protocol, options, &result);
  if (error) {
    fprintf(stderr, "uma check: %s\n", strerror(-error));
    return EXIT_INCOMPLETE;
  }
  print_result(protocol, options, &result, seconds_now() - begin);
  int status = result.verdict == COH_BROKEN ? show_broken(&result.ladder, arguments->html) : exits[result.verdict];
  coh_ladder_free(&result.ladder);
  return status;
}

static void print_random(const struct coh_protocol *protocol, const struct coh_random_options *options,
                         const struct coh_random_result *result, double seconds)
{
  printf("%s at random, %d devices, %d lines, sharers %s, --seed %llu --steps %llu\n", protocol->name, options->sharers.devices,
         options->lines, options->sharers.ops->name, (unsigned long long)options->seed, (unsigned long long)options->steps);
  printf("  %llu steps: %llu accesses, %llu deliveries, %llu stalls; came to rest %llu times; %.3f ms of virtual time\n",
         (unsigned long long)result->steps, (unsigned long long)result->accesses, (unsigned long long)result->messages,
         (unsigned long long)result->stalls, (unsigned long long)result->rests, (double)result->time_ns / 1e6);
  if (result->lost_step)
    printf("  device %d lost after step %llu: %d line%s lost, %llu accesses of others refused, %llu messages vanished\n",
           options->lose_1 - 1, (unsigned long long)result->lost_step, result->lines_lost, result->lines_lost == 1 ? "" : "s",
           (unsigned long long)result->refused, (unsigned long long)result->vanished);
  printf("  %.2f s, %.0f steps/s\n", seconds, (double)result->steps / seconds);
  printf("  %s%s\n", result->broken ? "BROKEN: " : "nothing is broken", result->sentence);
}

static int run_random(const struct coh_protocol *protocol, const struct arguments *arguments, const struct coh_random_options *options)
{
  struct coh_random_result result;
  double begin = seconds_now();
  int error = coh_random(protocol, options, &result);
  if (error) {
    fprintf(stderr, "uma check: %s\n", strerror(-error));
    return EXIT_INCOMPLETE;
  }
  print_random(protocol, options, &result, seconds_now() - begin);
  int status = result.broken ? show_broken(&result.ladder, arguments->html) : 0;
  coh_ladder_free(&result.ladder);
  return status;
}

/* DEVICE or DEVICE@STEP */
static void read_lose(const char *text, struct coh_random_options *options)
{
  char *end;
  errno = 0;
  long device = strtol(text, &end, 10), step = 0;
  bool valid = end != text && device >= 0 && device < options->sharers.devices;
  if (*end == '@') {
    const char *second = end + 1;
    step = strtol(second, &end, 10);
    valid &= end != second && step >= 1 && (uint64_t)step <= options->steps;
  }
  if (errno || *end || !valid)
    error(EXIT_USAGE, 0, "--lose: \"%s\" is not valid; expected DEVICE or DEVICE@STEP, device 0 to %d, step 1 to %llu", text,
          options->sharers.devices - 1, (unsigned long long)options->steps);
  options->lose_1 = (int)device + 1;
  options->lose_step = (uint64_t)step;
}

static struct coh_random_options random_options(const struct arguments *arguments)
{
  struct coh_random_options options = {
      .lines = (int)uma_cmd_number("--lines", arguments->lines, 1, 1024, 24),
      .seed = (uint64_t)uma_cmd_number("--seed", arguments->seed, 0, LONG_MAX, 1),
      .steps = (uint64_t)uma_cmd_number("--steps", arguments->steps, 1, LONG_MAX, 1000000),
  };
  int devices = (int)uma_cmd_number("--devices", arguments->devices, 2, COH_MAX_DEVICES, 16);
  coh_sharer_kind_make(arguments->sharers ? arguments->sharers : "full", devices, 0, &options.sharers);
  if (arguments->lose) read_lose(arguments->lose, &options);
  return options;
}

/* Reads the numbers, loads the protocol and does it; returns the exit status. */
static int check(const struct arguments *arguments, struct coh_protocol *protocol)
{
  struct coh_check_options exact = {0};
  struct coh_random_options random = {0};
  if (arguments->random) random = random_options(arguments);
  else exact = check_options(arguments);
  if (coh_protocol_load(arguments->protocol, protocol, stderr)) return EXIT_USAGE;
  return arguments->random ? run_random(protocol, arguments, &random) : explore(protocol, arguments, &exact);
}

int uma_cmd_check(int argc, char **argv)
{
  static const struct argp_option flags[] = {
      {"caches", 'c', "N", 0, "caches, 2 to 4 (default 3)", 0},
      {"lines", 'l', "N", 0, "lines, 1 or 2 (default 1)", 0},
      {"sharers", 's', "KIND", 0, "full, limited or coarse sets of sharers (default full)", 0},
      {"depth", 'd', "N", 0, "look at runs of up to N steps only", 0},
      {"memory", 'm', "MIB", 0, "use at most this much memory (default 2048)", 0},
      {"atomic", 'a', 0, 0, "one transaction at a time: no access while a message is under way, so that stable states are enough", 0},
      {"html", 'h', "FILE", 0, "write a counterexample as a page to step through", 0},
      {"random", 'r', 0, 0, "not all states of a small system, but a random run of a large one", 1},
      {"seed", 'S', "N", 0, "which random run (default 1)", 1},
      {"steps", 'N', "N", 0, "how long (default 1000000)", 1},
      {"devices", 'D', "N", 0, "devices, 2 to 1024 (default 16); --lines is then 1 to 1024 (default 24)", 1},
      {"lose", 'L', "D[@STEP]", 0,
       "lose device D after STEP steps (without it, the seed says when): it begins nothing more, and the messages of its transactions "
       "vanish; "
       "lines that wait for them are lost, and all else must go on",
       1},
      {0},
  };
  struct argp argp = {
      .options = flags,
      .parser = parse,
      .args_doc = "PROTOCOL",
      .doc = "Proves a coherence protocol (msi, mesi, moesi, mesif or a file) by visiting every state that a small system can reach, under "
             "every order of delivery.\vExit status: 0 nothing is broken, 1 broken, 2 bad input, 3 out of memory before the end."};
  struct arguments arguments = {0};
  argp_err_exit_status = EXIT_USAGE;
  argp_parse(&argp, argc, argv, 0, NULL, &arguments);
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  if (!protocol) return EXIT_INCOMPLETE;
  int status = check(&arguments, protocol);
  free(protocol);
  return status;
}
