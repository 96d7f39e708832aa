/* The `uma` command: picks a subcommand. */
#include <stdio.h>
#include <stdbool.h>
#include <string.h>

#include "uma/commands.h"

static const struct command {
  const char *name, *full_name;
  int (*run)(int argc, char **argv);
  const char *help;
} commands[] = {
    {"run", "uma run", uma_cmd_run, "run a program as the devices of a session"},
    {"info", "uma info", uma_cmd_info, "this host, its NUMA nodes, fabrics and limits"},
    {"litmus", "uma litmus", uma_cmd_litmus, "run litmus tests: which outcomes can be seen"},
    {"bench", "uma bench", uma_cmd_bench, "measure the communication wall"},
    {"protocol", "uma protocol", uma_cmd_protocol, "print a coherence protocol"},
    {"check", "uma check", uma_cmd_check, "prove a coherence protocol, or show how it breaks"},
    {"topology", "uma topology", uma_cmd_topology, "a machine on paper: its topology and what it costs to cross it"},
    {"compare", "uma compare", uma_cmd_compare, "one program on several machines on paper: where its time goes"},
    {"calibrate", "uma calibrate", uma_cmd_calibrate, "measure this host as a machine on paper: the profile this-host"},
    {"trace", "uma trace", uma_cmd_trace, "show what coherence cost in a recorded session"},
    {"lab", "uma lab", uma_cmd_lab, "list, grade, and help with the labs"},
};
static const int command_count = sizeof commands / sizeof commands[0];

static void print_help(FILE *out)
{
  fprintf(out, "uma: processes as the devices of a supernode, one address space for all\n\n");
  for (int i = 0; i < command_count; i++) fprintf(out, "  uma %-9s %s\n", commands[i].name, commands[i].help);
  fprintf(out, "\n`uma COMMAND --help` tells more.\n");
}

int main(int argc, char **argv)
{
  const char *name = argc > 1 ? argv[1] : "";
  for (int i = 0; i < command_count; i++)
    if (!strcmp(name, commands[i].name)) {
      argv[1] = (char *)commands[i].full_name;
      return commands[i].run(argc - 1, argv + 1);
    }
  if (!strcmp(name, "--version")) {
    printf("libuma %s\n", UMA_VERSION);
    return 0;
  }
  bool asked = !strcmp(name, "--help") || !strcmp(name, "help");
  if (*name && !asked) fprintf(stderr, "uma: \"%s\" is not a command\n\n", name);
  print_help(asked ? stdout : stderr);
  return asked ? 0 : 2;
}
