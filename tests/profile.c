/* The shipped profiles load, say of each number where it is from, are found by name, by path and among the user's own,
 * and single numbers of them can be replaced. */
#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fabric/topology.h"
#include "tests/command.h"

Test(profile, all_that_are_shipped_load)
{
  int count = 0;
  for (const char *name; (name = fab_shipped_profile(count)); count++) {
    struct fab_profile *profile = fab_profile_load(name, stderr);
    cr_assert(profile, "%s", name);
    cr_expect_str_eq(profile->name, name);
    cr_expect(*profile->title);
    struct fab_topology topology;
    cr_expect_eq(fab_topology_make(profile, 0, &topology, stderr), 0);
    fab_profile_free(profile);
  }
  cr_expect_eq(count, 15);
  cr_expect_null(fab_shipped_profile(-1));
}

Test(profile, every_number_says_where_it_is_from)
{
  for (int i = 0; fab_shipped_profile(i); i++) {
    struct fab_profile *profile = fab_profile_load(fab_shipped_profile(i), stderr);
    cr_assert(profile && profile->quantity_count > 30);
    for (int j = 0; j < profile->quantity_count; j++) {
      const struct fab_quantity *quantity = profile->quantity[j].quantity;
      const char *name = profile->quantity[j].name;
      char source[400];
      cr_expect(*fab_source_text(quantity, source, sizeof source), "%s %s", profile->name, name);
      cr_expect(*quantity->text && *quantity->unit, "%s %s", profile->name, name);
      cr_expect(quantity->low <= quantity->value && quantity->value <= quantity->high);
      cr_expect_eq(quantity->status == FAB_DERIVED, quantity->formula != NULL, "%s %s", profile->name, name);
      cr_expect_eq(quantity->status == FAB_ASSUMED, quantity->document == NULL, "%s %s", profile->name, name);
      cr_expect_eq(fab_profile_find(profile, name), quantity, "%s %s is twice", profile->name, name);
    }
    fab_profile_free(profile);
  }
}

/* What the data sheets say, in base units. */
Test(profile, numbers_are_what_was_published)
{
  static const struct {
    const char *profile, *name;
    double value;
  } facts[] = {
      {"mtt-s4000-kuae", "accelerators.0.memory", 48e9},
      {"mtt-s4000-kuae", "accelerators.0.memory_bandwidth", 768e9},
      {"mtt-s4000-kuae", "accelerators.0.flops.fp16", 98e12},
      {"mtt-s5000-kuae", "accelerators.0.memory_bandwidth", 1.6e12},
      {"mtt-s5000-kuae", "efficiency.chip", 0.6},
      {"scalex640", "pue", 1.04},
      {"scalex-10240", "levels.cluster.of", 16},
      {"scalex-10240", "links.fabric.bandwidth", 50e9},
      {"h100-8", "links.nvlink.bandwidth", 400e9},
      {"h200-8", "accelerators.0.memory", 141e9},
      {"h20-8", "accelerators.0.flops.bf16", 148e12},
      {"a100-pcie-8", "accelerators.0.power", 300},
      {"gb200-nvl72", "scale_up.rack.lanes", 18},
      {"gb200-nvl72", "accelerators.0.power", 1200},
      {"cloudmatrix384", "links.ub.bandwidth", 28e9},
      {"scalex640", "links.bus.bandwidth", 224e9},
      {"mixed-h100-s5000", "accelerators.1.memory", 80e9},
  };
  for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
    struct fab_profile *profile = fab_profile_load(facts[i].profile, stderr);
    const struct fab_quantity *quantity = fab_profile_find(profile, facts[i].name);
    cr_assert(quantity, "%s", facts[i].name);
    cr_expect(fabs(quantity->value / facts[i].value - 1) < 1e-9, "%s %s: %g", facts[i].profile, facts[i].name, quantity->value);
    fab_profile_free(profile);
  }
}

/* The README of the profiles has a row for each of these. */
Test(profile, numbers_that_nobody_verified_say_so)
{
  static const struct {
    const char *profile, *name;
  } quoted[] = {
      {"h100-8", "links.ndr.bandwidth"},  {"h200-8", "links.ndr.bandwidth"},       {"h20-8", "links.ndr.bandwidth"},
      {"h800-8", "links.ndr.bandwidth"},  {"h20-8", "accelerators.0.flops.bf16"},  {"h20-8", "host.pcie_bandwidth"},
      {"mtlink2-c256", "levels.rack.of"}, {"mtlink2-c256", "levels.supernode.of"}, {"huashan-next", "levels.supernode.of"},
      {"br20x", "levels.supernode.of"},
  };
  enum { QUOTED = sizeof quoted / sizeof *quoted };
  int found = 0;
  for (int i = 0; fab_shipped_profile(i); i++) {
    struct fab_profile *profile = fab_profile_load(fab_shipped_profile(i), stderr);
    for (int j = 0; j < profile->quantity_count; j++) {
      const char *document = profile->quantity[j].quantity->document, *name = profile->quantity[j].name;
      if (!document || !strstr(document, "document not reached")) continue;
      bool known = false;
      for (int k = 0; k < QUOTED; k++) known = known || (!strcmp(quoted[k].profile, profile->name) && !strcmp(quoted[k].name, name));
      cr_expect(known, "%s %s", profile->name, name);
      found++;
    }
    fab_profile_free(profile);
  }
  cr_expect_eq(found, QUOTED, "%d", found);
}

Test(profile, units)
{
  static const struct {
    const char *text;
    enum fab_dimension dimension;
    double value;
  } good[] = {
      {"64 KiB", FAB_BYTES, 65536},  {"400 Gb/s", FAB_BYTES_PER_SECOND, 50e9},
      {"1.5us", FAB_DURATION, 1500}, {"60 %", FAB_RATIO, 0.6},
      {"8 devices", FAB_COUNT, 8},   {"200 TOPS", FAB_OPERATIONS, 200e12},
      {"10 kW", FAB_POWER, 10000},   {"5 pJ/bit", FAB_ENERGY_PER_BIT, 5},
      {"0 ns", FAB_DURATION, 0},
  };
  double value;
  const char *unit;
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    const char *wrong = fab_quantity_parse(good[i].text, good[i].dimension, &value, &unit);
    cr_assert_null(wrong, "%s: %s", good[i].text, wrong);
    cr_expect_float_eq(value, good[i].value, 1e-9 * (1 + good[i].value), "%s: %g", good[i].text, value);
  }
}

Test(profile, of_the_users_own_comes_first)
{
  char folder[] = "/tmp/uma-profiles-XXXXXX", path[64], *said;
  size_t size;
  cr_assert(mkdtemp(folder));
  setenv("UMA_PROFILES", folder, 1);
  cr_assert_eq(fab_profile_path("h100-8", path, sizeof path), 0);
  FILE *file = fopen(path, "w");
  fputs(fab_shipped_profile_text("scalex640"), file);
  fclose(file);
  struct fab_profile *profile = fab_profile_load("h100-8", stderr), *same = fab_profile_load(path, stderr);
  cr_assert(profile && same);
  cr_expect_eq(fab_profile_devices(profile, profile->level_count - 1), 640);
  cr_expect_str_eq(same->name, "h100-8");
  fab_profile_free(profile), fab_profile_free(same);
  FILE *report = open_memstream(&said, &size);
  cr_expect_null(fab_profile_load("h1000", report));
  cr_expect_eq(errno, ENOENT);
  cr_expect_null(fab_profile_load("/dev/zero", report));
  fclose(report);
  cr_expect(
      strstr(said, "\"h1000\" is neither a profile nor a file that can be read (No such file or directory); the profiles are h100-8, "));
  cr_expect(strstr(said, "\"/dev/zero\" is neither a profile nor a file that can be read (File too large)"), "%s", said);
  free(said);
  unlink(path), rmdir(folder);
}

Test(profile, a_number_is_replaced_where_the_profile_is_named)
{
  struct fab_profile *profile = fab_profile_load("h100-8:links.nvlink.latency=123ns; scale_out.nic_latency = 2 us", stderr);
  cr_assert(profile);
  const struct fab_quantity *link = fab_profile_find(profile, "links.nvlink.latency"),
                            *nic = fab_profile_find(profile, "scale_out.nic_latency");
  cr_expect(link->value == 123 && link->low == 123 && link->high == 123 && link->status == FAB_ASSUMED && !strcmp(link->text, "123ns"));
  cr_expect(nic->value == 2000 && !strcmp(nic->text, "2 us"));
  cr_expect_str_eq(profile->name, "h100-8");
  fab_profile_free(profile);
  cr_expect_eq(fab_profile_base("h100-8:a=1;b=2"), 6);
  cr_expect_eq(fab_profile_base("./my:odd.conf"), 13);
}

Test(profile, what_cannot_be_replaced_is_named)
{
  static const char *const wrong[][2] = {
      {"h100-8:links.nvlink.latency=7 GB", "h100-8: links.nvlink.latency: \"7 GB\" has a unit of another dimension"},
      {"h100-8:links.nvlink.latency=", "h100-8: links.nvlink.latency: \"\" is not a number with a unit"},
      {"h100-8:links.nvlink.latency=1 ns;", "h100-8: \"\" changes no number; expected NAME=NUMBER UNIT"},
      {"h100-8:=1 ns", "h100-8: it has no number \"\""},
      {"h100-8:nvlink=1 ns;x=2",
       "it has no number \"nvlink\"; expected one that `uma topology h100-8 --numbers` lists\nh100-8: it has no number \"x\""},
      {"h100-8:scale_out.nics=3 nics", "the topology does not add up"},
      {"h1000:scale_out.nics=3 nics", "\"h1000\" is neither a profile nor a file"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    char *said;
    size_t size;
    FILE *report = open_memstream(&said, &size);
    cr_expect_null(fab_profile_load(wrong[i][0], report), "%s", wrong[i][0]);
    fclose(report);
    cr_expect(strstr(said, wrong[i][1]), "%s: %s", wrong[i][0], said);
    free(said);
  }
}
