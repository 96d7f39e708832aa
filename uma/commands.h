/* The subcommands of `uma`; each gets its own argv, argv[0] being "uma NAME", and returns an exit status. */
#ifndef UMA_COMMANDS_H
#define UMA_COMMANDS_H

#include <stdio.h>

struct fab_profile;
struct fab_topology;
struct uma_modelled;

int uma_cmd_run(int argc, char **argv);
int uma_cmd_info(int argc, char **argv);
int uma_cmd_litmus(int argc, char **argv);
int uma_cmd_bench(int argc, char **argv);
int uma_cmd_protocol(int argc, char **argv);
int uma_cmd_check(int argc, char **argv);
int uma_cmd_topology(int argc, char **argv);
int uma_cmd_compare(int argc, char **argv);
int uma_cmd_calibrate(int argc, char **argv);
int uma_cmd_trace(int argc, char **argv);
int uma_cmd_lab(int argc, char **argv);

/* cmd_number.c: the flag's number; `otherwise` when `text` is NULL (the flag was not given). Ends the program with a usage error for anything but
 * a number from `least` to `most`. */
long uma_cmd_number(const char *flag, const char *text, long least, long most, long otherwise);

/* cmd_modelled.c: for each kind of device of the topology, where its devices' time went, as a bar of which the whole is `longest`; and the efficiency. */
void uma_cmd_print_modelled(FILE *out, const char *name, const struct fab_profile *profile, const struct fab_topology *topology,
                            const struct uma_modelled *modelled, double longest);
double uma_cmd_longest(const struct uma_modelled *modelled, int count); /* ns */

#endif
