/* `uma check`: proves a coherence protocol on a small system, or shows the shortest way to break it. */
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coherence/check.h"
#include "uma/commands.h"

enum { EXIT_BROKEN = 1, EXIT_USAGE = 2, EXIT_INCOMPLETE = 3 };

struct arguments {
  const char *protocol, *html;
  struct coh_check_options options;
};

static long number(struct argp_state *state, const char *flag, const char *text, long least, long most)
{
  char *end;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno || end == text || *end || value < least || value > most)
    argp_failure(state, EXIT_USAGE, 0, "%s: \"%s\" is not valid; expected %ld to %ld", flag, text, least, most);
  return value;
}

static const char *sharers_name(struct argp_state *state, const char *text)
{
  if (strcmp(text, "full") && strcmp(text, "limited") && strcmp(text, "coarse"))
    argp_failure(state, EXIT_USAGE, 0, "--sharers: \"%s\" is not valid; expected full, limited or coarse", text);
  return text;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
  struct arguments *arguments = state->input;
  struct coh_check_options *options = &arguments->options;
  switch (key) {
  case 'c': options->caches = (int)number(state, "--caches", text, 2, COH_WORLD_CACHES); return 0;
  case 'l': options->lines = (int)number(state, "--lines", text, 1, COH_WORLD_LINES); return 0;
  case 's': options->sharers = sharers_name(state, text); return 0;
  case 'd': options->depth = (int)number(state, "--depth", text, 1, 1000000); return 0;
  case 'm': options->bytes_most = (size_t)number(state, "--memory", text, 1, 1 << 20) << 20; return 0;
  case 'h': arguments->html = text; return 0;
  case ARGP_KEY_ARG:
    if (arguments->protocol) argp_failure(state, EXIT_USAGE, 0, "one protocol at a time, not \"%s\" as well", text);
    arguments->protocol = text;
    return 0;
  case ARGP_KEY_NO_ARGS: argp_failure(state, EXIT_USAGE, 0, "which protocol? Expected msi, mesi, moesi, mesif or a file"); return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
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
          printf("%s %s+%s", unused++ ? "," : role ? "  never used, directory:" : "  never used, cache:", controller->states[s].name,
                 controller->events[e].name);
    if (unused) printf("\n");
  }
}

static void print_result(const struct coh_protocol *protocol, const struct coh_check_options *options, const struct coh_check_result *result, double seconds)
{
  static const char *const verdicts[] = {
      "proved: in every state one writer or many readers, every load returns the last completed store, no event is unhandled, and the system can come to rest",
      "BROKEN", "nothing is broken as far as this depth; there is more", "nothing is broken so far, but there is no more room (--memory)"};
  printf("%s, %d caches, %d line%s, sharers %s\n", protocol->name, options->caches, options->lines, options->lines > 1 ? "s" : "", options->sharers);
  printf("  %llu states, %llu transitions, the farthest state %d steps away\n", (unsigned long long)result->states,
         (unsigned long long)result->transitions, result->depth);
  printf("  %.2f s, %.0f states/s, %.0f MB\n", seconds, (double)result->states / seconds, (double)result->bytes / 1e6);
  if (result->verdict == COH_PROVED) print_unused(protocol, result);
  printf("  %s%s%s\n", verdicts[result->verdict], result->sentence[0] ? ": " : "", result->sentence);
}

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

static int explore(const struct coh_protocol *protocol, const struct arguments *arguments)
{
  static const int exits[] = {0, EXIT_BROKEN, 0, EXIT_INCOMPLETE};
  struct coh_check_result result;
  double begin = seconds_now();
  int error = coh_check(protocol, &arguments->options, &result);
  if (error) {
    fprintf(stderr, "uma check: %s\n", strerror(-error));
    return EXIT_INCOMPLETE;
  }
  print_result(protocol, &arguments->options, &result, seconds_now() - begin);
  int status = exits[result.verdict];
  if (result.verdict == COH_BROKEN) {
    printf("\n");
    coh_ladder_text(stdout, &result.ladder);
    if (arguments->html) status = write_html(&result.ladder, arguments->html);
  }
  coh_ladder_free(&result.ladder);
  return status;
}

int uma_cmd_check(int argc, char **argv)
{
  static const struct argp_option flags[] = {
      {"caches", 'c', "N", 0, "caches, 2 to 4 (default 3)", 0},
      {"lines", 'l', "N", 0, "lines, 1 or 2 (default 1)", 0},
      {"sharers", 's', "KIND", 0, "full, limited or coarse sets of sharers (default full)", 0},
      {"depth", 'd', "N", 0, "look at runs of up to N steps only", 0},
      {"memory", 'm', "MIB", 0, "use at most this much memory (default 2048)", 0},
      {"html", 'h', "FILE", 0, "write a counterexample as a page to step through", 0},
      {0},
  };
  struct argp argp = {.options = flags, .parser = parse, .args_doc = "PROTOCOL",
                      .doc = "Proves a coherence protocol (msi, mesi, moesi, mesif or a file) by visiting every state that a small system can reach, under "
                             "every order of delivery.\vExit status: 0 nothing is broken, 1 broken, 2 bad input, 3 out of memory before the end."};
  struct arguments arguments = {.options = {.sharers = "full", .caches = 3, .lines = 1}};
  argp_err_exit_status = EXIT_USAGE;
  argp_parse(&argp, argc, argv, 0, NULL, &arguments);
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  if (!protocol) return EXIT_INCOMPLETE;
  int status = coh_protocol_load(arguments.protocol, protocol, stderr) ? EXIT_USAGE : explore(protocol, &arguments);
  free(protocol);
  return status;
}
