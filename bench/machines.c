/* Machines on paper in the report: nothing here was measured; all of it follows from the profiles that come with the library. */
#include "bench/report.h"
#include "fabric/published.h"
#include "fabric/sensitivity.h"
#include "fabric/topology_print.h"
#include "fabric/walls.h"

/* One machine in detail: how it is built, and what its size costs. */
static int write_machine(FILE *html, const char *name)
{
  struct fab_topology topology;
  struct fab_profile *profile = fab_profile_load(name, stderr);
  int result = profile ? fab_topology_make(profile, 0, &topology, stderr) : -1;
  if (!result) {
    struct fab_pair pair = {.wanted = true, .b = topology.devices - 1, .bytes = 1 << 20};
    fprintf(html, "<figure class=\"bars\">\n");
    fab_print_topology_svg(html, profile, &topology, &pair);
    fprintf(html, "</figure>\n");
    fab_print_coverage(html, true, &topology);
    fab_print_power(html, true, profile, &topology);
    fab_print_parts(html, true, profile, &topology);
    fab_print_efficiency(html, true, profile, &topology, NULL);
    fab_print_sensitivity(html, true, profile, topology.devices);
  }
  fab_profile_free(profile);
  return result;
}

int bench_machines(FILE *html)
{
  fprintf(
      html,
      "<h2>Machines on paper</h2>\n<p class=\"note\">Modelled, not measured: computed from profiles of real systems, each number with its "
      "source (<code>uma topology NAME --numbers</code>). Where nobody has published a number it is assumed; "
      "<code>uma topology NAME --sensitivity</code> says how much hangs on it, <code>uma bench --profile NAME --sensitivity</code> of "
      "whole "
      "programs.</p>\n");
  int result = fab_print_machines(html, true);
  if (!result) fprintf(html, "<h2>The model against published measurements</h2>\n");
  if (!result) result = fab_published_print(html, true);
  if (!result) fprintf(html, "<h2>One machine in detail</h2>\n");
  return result ? result : write_machine(html, "scalex-10240");
}
