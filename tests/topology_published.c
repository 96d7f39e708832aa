/* What the model says of published measurements: how large its errors may be, and that each row says where it is from. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/published.h"

Test(topology_published, errors_are_as_stated)
{
  static const struct {
    const char *group;
    double most;                                            /* the geometric mean */
  } limits[] = {{"NCCL ring all-reduce, 8 x H100", 0.0969}, /* ASTRA-sim's own */
                {"NCCL ring all-reduce, 4 x H100", 0.1201},
                {"DeepEP low-latency dispatch, H800", 0.25},
                {"DeepEP low-latency combine, H800", 0.20},
                {"CloudMatrix384, reading another NPU", 0.20}};
  struct fab_published rows[FAB_PUBLISHED_ROWS];
  int count = fab_published_rows(rows, stderr), deepep = 0;
  cr_assert_eq(count, 6 + 4 + 12 + 4);
  for (int i = 0; i < count; i++) {
    cr_expect(*rows[i].source && *rows[i].what && rows[i].published > 0 && isfinite(rows[i].modelled));
    cr_expect(fabs(rows[i].modelled / rows[i].published - 1) < 0.5, "%s %s", rows[i].group, rows[i].what);
    deepep += !strncmp(rows[i].group, "DeepEP", 6);
  }
  cr_expect_eq(deepep, 12);
  for (int i = 0; i < 5; i++) {
    double error = fab_published_error(rows, count, limits[i].group);
    cr_expect(error > 0 && error <= limits[i].most, "%s: %.3f", limits[i].group, error);
  }
  cr_expect_eq(fab_published_error(rows, count, "nothing"), 0);
}

Test(topology_published, as_a_page)
{
  char *text;
  size_t size;
  FILE *out = open_memstream(&text, &size);
  cr_assert_eq(fab_published_print(out, true), 0);
  fclose(out);
  cr_expect(strstr(text, "<td>256 ranks</td><td class=\"n\">194 us</td>"));
  cr_expect(strstr(text, "<td>the profile has it from here</td>"));
  free(text);
}
