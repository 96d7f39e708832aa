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
    int rows;
    double most;                                               /* the geometric mean */
  } limits[] = {{"NCCL ring all-reduce, 8 x H100", 6, 0.0969}, /* ASTRA-sim's own, here and below */
                {"NCCL ring all-reduce, 4 x H100", 4, 0.1201},
                {"NCCL all-reduce, with its software, 8 cards", 26, 0.0969},
                {"NCCL all-reduce, with its software, 4 cards", 35, 0.1201},
                {"NCCL all-reduce, with its software, 6 cards", 6, 0.05},
                {"NCCL all-reduce, with its software, 2 cards", 6, 0.2063},
                {"DeepEP low-latency dispatch, H800", 7, 0.05},
                {"DeepEP low-latency combine, H800", 6, 0.05},
                {"DeepEP low-latency dispatch by RDMA alone, H800", 4, 0.10},
                {"DeepEP low-latency combine by RDMA alone, H800", 4, 0.05},
                {"CloudMatrix384, reading another NPU", 4, 0.12},
                {"CloudMatrix384, writing to another NPU", 2, 0.40},
                {"Llama 3 405B, time that made progress", 1, 0.05}};
  enum { GROUPS = sizeof limits / sizeof *limits };
  struct fab_published rows[FAB_PUBLISHED_ROWS];
  int count = fab_published_rows(rows, stderr), all = 0, input = 0;
  for (int i = 0; i < count; i++) {
    cr_expect(*rows[i].source && *rows[i].what && rows[i].published > 0 && isfinite(rows[i].modelled));
    cr_expect(fabs(rows[i].modelled / rows[i].published - 1) < 0.5, "%s %s", rows[i].group, rows[i].what);
    input += rows[i].input;
  }
  cr_expect_eq(input, 3);
  for (int i = 0; i < GROUPS; i++) {
    double error = fab_published_error(rows, count, limits[i].group);
    int found = 0;
    cr_expect(error > 0 && error <= limits[i].most, "%s: %.3f", limits[i].group, error);
    for (int k = 0; k < count; k++) found += !strcmp(rows[k].group, limits[i].group);
    cr_expect_eq(found, limits[i].rows, "%s has %d rows", limits[i].group, found);
    all += found;
  }
  cr_expect_eq(all, count);
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
  cr_expect(strstr(text, "<td>the model has it from here</td>"));
  free(text);
}
