/* `uma protocol`: prints the table and the state graph of a coherence protocol. */
#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "coherence/protocol.h"
#include "uma/commands.h"

#define EXIT_USAGE 2

struct arguments {
  const char *protocol;
  enum coh_role role;
  enum coh_format format;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
  static const char *const formats[] = {"text", "html", "dot"};
  struct arguments *arguments = state->input;
  switch (key) {
  case 'c': arguments->role = COH_CACHE; return 0;
  case 'd': arguments->role = COH_DIRECTORY; return 0;
  case 'f':
    for (int i = 0; i < 3; i++)
      if (!strcmp(text, formats[i])) {
        arguments->format = (enum coh_format)i;
        return 0;
      }
    argp_failure(state, EXIT_USAGE, 0, "--format: \"%s\" is not valid; expected text, html or dot", text);
    return 0;
  case ARGP_KEY_ARG:
    if (arguments->protocol) argp_failure(state, EXIT_USAGE, 0, "one protocol at a time, not \"%s\" as well", text);
    arguments->protocol = text;
    return 0;
  case ARGP_KEY_NO_ARGS: argp_failure(state, EXIT_USAGE, 0, "which protocol? Expected msi, mesi, moesi, mesif or a file"); return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

int uma_cmd_protocol(int argc, char **argv)
{
  static const struct argp_option options[] = {
      {"cache", 'c', 0, 0, "only the cache controller", 0},
      {"directory", 'd', 0, 0, "only the directory controller", 0},
      {"format", 'f', "FORMAT", 0, "text, html or dot (default text)", 0},
      {0},
  };
  struct argp argp = {
      .options = options,
      .parser = parse,
      .args_doc = "NAME|FILE",
      .doc =
          "Prints a coherence protocol: its tables, and the graph of its states.\vThe shipped protocols are msi, mesi, moesi and mesif."};
  struct arguments arguments = {.role = COH_ROLES};
  argp_err_exit_status = EXIT_USAGE;
  argp_parse(&argp, argc, argv, 0, NULL, &arguments);
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  if (!protocol) return 1;
  int result = coh_protocol_load(arguments.protocol, protocol, stderr);
  if (!result) coh_print(stdout, protocol, arguments.role, arguments.format);
  free(protocol);
  return result ? EXIT_USAGE : 0;
}
