/* `uma topology`: the machine that a profile describes, and what it costs to cross it. */
#include <argp.h>
#include <errno.h>
#include <error.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fabric/published.h"
#include "fabric/sensitivity.h"
#include "fabric/topology_print.h"
#include "fabric/walls.h"
#include "uma/commands.h"

enum { EXIT_USAGE = 2 };

enum { KEY_LIST = 0x100, KEY_MACHINES, KEY_PUBLISHED, KEY_NUMBERS, KEY_COVERAGE, KEY_POWER, KEY_PARTS, KEY_EFFICIENCY, KEY_SENSITIVITY };

struct arguments {
  const char *profile, *devices, *format, *path, *bytes;
  int all;   /* KEY_LIST, KEY_MACHINES, KEY_PUBLISHED: of all profiles, or 0 */
  int table; /* KEY_NUMBERS and so on: of the profile, or 0 */
};

static error_t parse(int key, char *text, struct argp_state *state)
{
  struct arguments *arguments = state->input;
  switch (key) {
  case 'n': arguments->devices = text; return 0;
  case 'f':
    if (strcmp(text, "text") && strcmp(text, "dot") && strcmp(text, "svg"))
      argp_failure(state, EXIT_USAGE, 0, "--format: \"%s\" is not valid; expected text, dot or svg", text);
    arguments->format = text;
    return 0;
  case 'p': arguments->path = text; return 0;
  case 'b': arguments->bytes = text; return 0;
  case KEY_LIST:
  case KEY_MACHINES:
  case KEY_PUBLISHED: arguments->all = key; return 0;
  case KEY_NUMBERS:
  case KEY_COVERAGE:
  case KEY_POWER:
  case KEY_PARTS:
  case KEY_EFFICIENCY:
  case KEY_SENSITIVITY: arguments->table = key; return 0;
  case ARGP_KEY_ARG:
    if (arguments->profile) argp_failure(state, EXIT_USAGE, 0, "one profile at a time, not \"%s\" as well", text);
    arguments->profile = text;
    return 0;
  case ARGP_KEY_END:
    if (!arguments->profile && !arguments->all)
      argp_failure(state, EXIT_USAGE, 0, "which profile? Expected a name (uma topology --list) or a file");
    return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static int list_profile(const char *name)
{
  char devices[32];
  struct fab_profile *profile = fab_profile_load(name, stderr);
  if (!profile) return EXIT_USAGE;
  printf("%-18s %9s  %s\n", name, fab_text_count((double)fab_profile_devices(profile, profile->level_count - 1), devices, sizeof devices),
         profile->title);
  fab_profile_free(profile);
  return 0;
}

/* Those that come with uma, and what `uma calibrate` has written. */
static int list_profiles(void)
{
  const char *name;
  char calibrated[4096];
  int result = 0;
  for (int i = 0; (name = fab_shipped_profile(i)); i++) result |= list_profile(name);
  if (!fab_profile_path(FAB_THIS_HOST, calibrated, sizeof calibrated) && !access(calibrated, R_OK)) result |= list_profile(FAB_THIS_HOST);
  return result;
}

/* "A,B" of a machine of that many devices. */
static struct fab_pair read_pair(const struct arguments *arguments, uint64_t devices)
{
  struct fab_pair pair = {.wanted = arguments->path, .bytes = (uint64_t)uma_cmd_number("--bytes", arguments->bytes, 1, 1L << 50, 1 << 20)};
  if (!arguments->path) return pair;
  char *end, *comma = strchr(arguments->path, ',');
  errno = 0;
  pair.a = strtoull(arguments->path, &end, 10);
  bool good = comma && end == comma && end != arguments->path;
  if (good) pair.b = strtoull(comma + 1, &end, 10);
  if (!good || errno || !comma[1] || *end || strpbrk(arguments->path, "+- ") || pair.a >= devices || pair.b >= devices)
    error(EXIT_USAGE, 0, "--path: \"%s\" is not valid; expected A,B, two devices of 0 to %llu", arguments->path,
          (unsigned long long)(devices - 1));
  return pair;
}

static void print_text(const struct arguments *arguments, struct fab_profile *profile, const struct fab_topology *topology)
{
  struct fab_pair pair = read_pair(arguments, topology->devices);
  switch (arguments->table) {
  case KEY_NUMBERS: fab_print_numbers(stdout, profile); return;
  case KEY_COVERAGE: fab_print_coverage(stdout, false, topology); return;
  case KEY_POWER: fab_print_power(stdout, false, profile, topology); return;
  case KEY_PARTS: fab_print_parts(stdout, false, profile, topology); return;
  case KEY_EFFICIENCY: fab_print_efficiency(stdout, false, profile, topology, NULL); return;
  case KEY_SENSITIVITY: fab_print_sensitivity(stdout, false, profile, topology->devices); return;
  default: break;
  }
  if (pair.wanted) fab_print_ways(stdout, topology, &pair);
  else fab_print_topology(stdout, profile, topology);
}

static void print(const struct arguments *arguments, struct fab_profile *profile, const struct fab_topology *topology)
{
  struct fab_pair pair = read_pair(arguments, topology->devices);
  const char *format = arguments->format ? arguments->format : "text";
  if (!strcmp(format, "dot")) fab_print_topology_dot(stdout, profile, topology);
  else if (!strcmp(format, "svg")) fab_print_topology_svg(stdout, profile, topology, &pair);
  else print_text(arguments, profile, topology);
}

int uma_cmd_topology(int argc, char **argv)
{
  static const struct argp_option options[] = {
      {"list", KEY_LIST, 0, 0, "the profiles that come with uma", 1},
      {"machines", KEY_MACHINES, 0, 0, "all of them side by side", 1},
      {"published", KEY_PUBLISHED, 0, 0, "the model against published measurements, with the error of each", 1},
      {"devices", 'n', "N", 0, "only so many of its devices (default all)", 0},
      {"format", 'f', "FORMAT", 0, "text, dot or svg (default text)", 0},
      {"path", 'p', "A,B", 0, "the ways from device A to device B, term by term", 0},
      {"bytes", 'b', "N", 0, "of the copy in --path (default 1048576)", 0},
      {"numbers", KEY_NUMBERS, 0, 0, "every number of the profile, with its status and source", 0},
      {"coverage", KEY_COVERAGE, 0, 0, "what one address space costs from 8 to 1,000,000 such devices: directories, page tables", 0},
      {"power", KEY_POWER, 0, 0, "watts, and energy of an operation and of a byte", 0},
      {"parts", KEY_PARTS, 0, 0, "how many links, switches and cables", 0},
      {"efficiency", KEY_EFFICIENCY, 0, 0, "generality x chip x node x cluster x stability", 0},
      {"sensitivity", KEY_SENSITIVITY, 0, 0, "how much hangs on the numbers that are assumed", 0},
      {0},
  };
  struct argp argp = {.options = options,
                      .parser = parse,
                      .args_doc = "PROFILE|FILE",
                      .doc = "Prints the machine that a profile describes, and what it costs to cross it."};
  struct arguments arguments = {0};
  struct fab_topology topology;
  argp_err_exit_status = EXIT_USAGE;
  argp_parse(&argp, argc, argv, 0, NULL, &arguments);
  if (arguments.all == KEY_LIST) return list_profiles();
  if (arguments.all)
    return (arguments.all == KEY_MACHINES ? fab_print_machines(stdout, false) : fab_published_print(stdout, false)) ? 1 : 0;
  struct fab_profile *profile = fab_profile_load(arguments.profile, stderr);
  if (!profile) return EXIT_USAGE;
  long devices = uma_cmd_number("--devices", arguments.devices, 1, 1000000000, 0);
  int result = fab_topology_make(profile, (uint64_t)devices, &topology, stderr);
  if (!result) print(&arguments, profile, &topology);
  fab_profile_free(profile);
  return result ? EXIT_USAGE : 0;
}
