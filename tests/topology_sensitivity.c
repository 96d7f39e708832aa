/* What hangs on assumed numbers: which sway a result, how far, in which order; and that the profile is as before. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/sensitivity.h"

Test(topology_sensitivity, of_a_load_over_the_bus)
{
  struct fab_profile *profile = fab_profile_load("scalex640", stderr);
  struct fab_sway sways[FAB_PROFILE_QUANTITIES];
  int count = fab_sensitivity(profile, 0, FAB_FARTHEST_LOAD, sways, FAB_PROFILE_QUANTITIES);
  cr_assert_geq(count, 2);
  cr_expect_str_eq(sways[0].quantity->name, "links.bus.latency");
  /* 600 ns of memory and eight hops of 200 ns, at 120 and at 500 ns a hop */
  cr_expect(fabs(sways[0].low - (600 + 8 * 120) / 2200.0) < 1e-3, "%g", sways[0].low);
  cr_expect(fabs(sways[0].high - (600 + 8 * 500) / 2200.0) < 1e-3, "%g", sways[0].high);
  for (int i = 1; i < count; i++) {
    double before = fmax(fabs(sways[i - 1].low - 1), fabs(sways[i - 1].high - 1));
    cr_expect_leq(fmax(fabs(sways[i].low - 1), fabs(sways[i].high - 1)), before);
    cr_expect_eq(sways[i].quantity->quantity->status, FAB_ASSUMED);
  }
  cr_expect_eq(fab_profile_find(profile, "links.bus.latency")->value, 200);
  fab_profile_free(profile);
}

Test(topology_sensitivity, of_all_machines)
{
  for (int i = 0; fab_shipped_profile(i); i++) {
    struct fab_profile *profile = fab_profile_load(fab_shipped_profile(i), stderr);
    struct fab_sway sways[4];
    uint64_t n = fab_profile_devices(profile, profile->level_count - 1);
    for (int measure = 0; measure < FAB_MEASURES; measure++) {
      int count = fab_sensitivity(profile, n > 2000 ? 2000 : n, (enum fab_measure)measure, sways, 4);
      cr_expect(count >= 0 && count <= 4, "%s %s: %d", profile->name, fab_measure_names[measure], count);
    }
    fab_profile_free(profile);
  }
}

Test(topology_sensitivity, as_a_table)
{
  struct fab_profile *profile = fab_profile_load("scalex640", stderr);
  char *text;
  size_t size;
  FILE *out = open_memstream(&text, &size);
  fab_print_sensitivity(out, false, profile, 640);
  fclose(out);
  cr_expect(strstr(text, "load of 8 B from the farthest device in reach: 2.2 us"), "%s", text);
  cr_expect(strstr(text, "200 ns, 120 ns to 500 ns"), "%s", text);
  cr_expect_null(strstr(text, "nan"));
  free(text);
  fab_profile_free(profile);
}
