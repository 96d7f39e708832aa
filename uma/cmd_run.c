/* `uma run`: flags from the table of settings, then the launcher. */
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fabric/topology.h"
#include "uma/commands.h"
#include "uma/config.h"
#include "uma/launch.h"

#define SETTING_KEY 1000
#define EXIT_USAGE 2

struct arguments {
  int devices;
  struct uma_config config;
  char **program;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
  struct arguments *arguments = state->input;
  char source[64], *end;
  if (key >= SETTING_KEY && key < SETTING_KEY + uma_setting_count) {
    const struct uma_setting *setting = &uma_settings[key - SETTING_KEY];
    snprintf(source, sizeof source, "--%s", setting->flag);
    if (uma_setting_read(setting, source, text ? text : "1", &arguments->config))
      argp_failure(state, EXIT_USAGE, 0, "%s", uma_last_error());
    return 0;
  }
  switch (key) {
  case 'n':
    errno = 0;
    arguments->devices = (int)strtol(text, &end, 10);
    if (errno || end == text || *end || arguments->devices < 1 || arguments->devices > UMA_MAX_DEVICES)
      argp_failure(state, EXIT_USAGE, 0, "-n: \"%s\" is not valid; expected 1 to %d devices", text, UMA_MAX_DEVICES);
    return 0;
  case ARGP_KEY_ARG:
    arguments->program = state->argv + state->next - 1;
    state->next = state->argc; /* the rest is the program's */
    return 0;
  case ARGP_KEY_NO_ARGS:
    argp_failure(state, EXIT_USAGE, 0, "no program was given; expected uma run -n N [FLAGS] -- PROGRAM [ARGS]");
    return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

/* One option a setting, with its variable, values and default in the help. */
static struct argp_option *make_options(void)
{
  struct argp_option *options = calloc((size_t)uma_setting_count + 2, sizeof *options);
  char variable[64], *help;
  if (!options) exit(1);
  options[0] = (struct argp_option){"devices", 'n', "N", 0, "devices, 1 to 1024 (default 1)", 0};
  for (int i = 0; i < uma_setting_count; i++) {
    const struct uma_setting *setting = &uma_settings[i];
    uma_setting_variable(setting, variable);
    if (asprintf(&help, "%s: %s (%s, default %s)", setting->help, setting->values, variable, setting->initial) < 0) exit(1);
    bool is_switch = setting->kind == UMA_SETTING_SWITCH;
    options[i + 1] = (struct argp_option){setting->flag, SETTING_KEY + i, "VALUE", is_switch ? OPTION_ARG_OPTIONAL : 0, help, 0};
  }
  return options;
}

/* The settings with what the environment says; *resolved is untouched where they are wrong, which the launcher tells. */
static bool wants_stats(const struct arguments *arguments, struct uma_config *resolved)
{
  struct uma_config config = arguments->config;
  if (uma_config_resolve(&config) || config.stats != UMA_ON || !*config.profile) return false;
  *resolved = config;
  return true;
}

/* Where the session's keeper puts the modelled times, for --stats with --profile; NULL: nobody asks. */
static struct uma_modelled *want_modelled(const struct arguments *arguments)
{
  struct uma_config config;
  if (!wants_stats(arguments, &config)) return NULL;
  size_t bytes = (size_t)arguments->devices * sizeof(struct uma_modelled);
  void *modelled = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return modelled == MAP_FAILED ? NULL : modelled;
}

/* As `uma compare` does, after what the keeper told. */
static void print_modelled(const struct arguments *arguments, const struct uma_modelled *modelled)
{
  struct uma_config config;
  struct fab_topology topology;
  if (!wants_stats(arguments, &config)) return;
  struct fab_profile *profile = fab_profile_load(config.profile, stderr);
  if (profile && !fab_topology_make(profile, (uint64_t)arguments->devices, &topology, stderr))
    uma_cmd_print_modelled(stderr, config.profile, profile, &topology, modelled, uma_cmd_longest(modelled, arguments->devices));
  fab_profile_free(profile);
}

int uma_cmd_run(int argc, char **argv)
{
  struct arguments arguments = {.devices = 1};
  struct argp argp = {
      .options = make_options(),
      .parser = parse,
      .args_doc = "-- PROGRAM [ARGS]",
      .doc =
          "Runs PROGRAM as each device of a new session.\v"
          "The session ends with the first device that fails; its exit code (128 + the signal's number for a signal) is that of uma run, "
          "124 after --timeout. Device 0 reads the standard input.",
  };
  setenv("ARGP_HELP_FMT", "rmargin=100,opt-doc-col=26", 0);
  argp_err_exit_status = EXIT_USAGE;
  argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &arguments);
  for (int i = 1; i <= uma_setting_count; i++) free((char *)argp.options[i].doc);
  free((void *)argp.options);
  unsetenv("ARGP_HELP_FMT");
  struct uma_program program = {.argv = arguments.program, .modelled = want_modelled(&arguments)};
  int result = uma_launch(&arguments.config, arguments.devices, &program);
  if (result >= 0 && program.modelled) print_modelled(&arguments, program.modelled);
  if (result >= 0) return result;
  fprintf(stderr, "uma run: %s\n", uma_last_error());
  return result == -EINVAL ? EXIT_USAGE : result == -ENOENT || result == -EACCES ? 127 : 1;
}
