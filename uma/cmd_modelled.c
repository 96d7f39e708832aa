/* Where the modelled time of a session's devices went, and with what efficiency: for people, by `uma compare` and by `uma run --stats`. The numbers are
 * those of bench/parts.h, the factors those of fabric/walls.h. */
#include <stdio.h>

#include "bench/parts.h"
#include "uma/commands.h"

enum { BAR = 60 };

static const struct {
  const char *name;
  char mark;
} parts[BENCH_PARTS] = {{"compute", 'C'}, {"memory", 'M'}, {"scale-up", 'U'}, {"staging", 'S'}, {"network", 'N'}, {"waiting", '.'}};

/* A bar whose whole length is `longest`. */
static void print_bar(FILE *out, const double ns[BENCH_PARTS], double longest)
{
  double sum = 0;
  int drawn = 0;
  fprintf(out, "  |");
  for (int i = 0; i < BENCH_PARTS; i++) {
    sum += ns[i];
    for (; longest > 0 && drawn < (int)(sum / longest * BAR + 0.5); drawn++) fputc(parts[i].mark, out);
  }
  fprintf(out, "%*s|\n", BAR - drawn, "");
}

static void print_kind(FILE *out, const char *machine, const char *kind, const double ns[BENCH_PARTS], double longest)
{
  double sum = 0;
  for (int i = 0; i < BENCH_PARTS; i++) sum += ns[i];
  fprintf(out, "%s, %s: %.3f us modelled\n ", machine, kind, sum / 1e3);
  for (int i = 0; i < BENCH_PARTS; i++) fprintf(out, " %c %s %.1f %%", parts[i].mark, parts[i].name, sum > 0 ? 100 * ns[i] / sum : 0);
  fputc('\n', out);
  print_bar(out, ns, longest);
}

double uma_cmd_longest(const struct uma_modelled *modelled, int count)
{
  double longest = 0;
  for (int i = 0; i < count; i++) longest = modelled[i].ns > longest ? modelled[i].ns : longest;
  return longest;
}

void uma_cmd_print_modelled(FILE *out, const char *name, const struct fab_profile *profile, const struct fab_topology *topology,
                            const struct uma_modelled *modelled, double longest)
{
  static const struct bench_row nobody;
  struct bench_program program;
  struct fab_run run;
  int devices = (int)topology->devices;
  for (int kind = 0, first = 0; kind < topology->kind_count && first < devices; kind++) {
    double ns[BENCH_PARTS];
    int last = topology->kind[kind].last < topology->devices ? (int)topology->kind[kind].last : devices;
    bench_parts_mean(modelled + first, last - first, ns);
    print_kind(out, name, topology->kind[kind].name, ns, longest);
    first = last;
  }
  bench_program_make(&nobody, modelled, profile, topology, &program);
  bench_program_run(&program, &run);
  if (run.operations > 0) fab_print_efficiency(out, false, profile, topology, &run);
  else fprintf(out, "Efficiency of %s: no operations were charged (uma_compute), so the run says nothing of it\n\n", name);
}
