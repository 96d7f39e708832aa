/* Loading a profile reports every mistake with file, line and what was expected; no text makes it crash. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/topology.h"

static struct fab_profile *parse(const char *text, char **said)
{
  size_t size;
  FILE *report = open_memstream(said, &size);
  struct fab_profile *profile = fab_profile_parse(text, "it.conf", report);
  fclose(report);
  return profile;
}

/* The profile with the first `from` behind `section` replaced; *line is where. */
static char *edited(const char *profile, const char *section, const char *from, const char *to, int *line)
{
  const char *text = fab_shipped_profile_text(profile), *place = strstr(text, section);
  char *result;
  place = place ? strstr(place, from) : NULL;
  cr_assert(place, "\"%s\" is not behind %s in %s", from, section, profile);
  *line = 1;
  for (const char *at = text; at < place; at++) *line += *at == '\n';
  if (asprintf(&result, "%.*s%s%s", (int)(place - text), text, to, place + strlen(from)) < 0) abort();
  return result;
}

static const struct mistake {
  const char *profile, *section, *from, *to, *sentence;
  int line; /* 0: that of the edit; otherwise by how much it is off; 1000: anywhere */
} mistakes[] = {
    {"h100-8", "memory = {", "value = \"80 GB\"", "value = \"80\"", "value of memory: \"80\" has no unit; expected for instance \"80 GB\"",
     0},
    {"h100-8", "memory = {", "value = \"80 GB\"", "value = 80", "value of memory is a number without a unit", 0},
    {"h100-8", "memory = {", "value = \"80 GB\"", "value = \"-80 GB\"", "value of memory: \"-80 GB\" is negative", 0},
    {"h100-8", "memory = {", "value = \"80 GB\"", "value = \"0 GB\"", "\"0 GB\" is out of range", 0},
    {"h100-8", "memory = {", "value = \"80 GB\"", "value = \"nan GB\"", "\"nan GB\" is not a number with a unit", 0},
    {"h100-8", "memory = {", "value = \"80 GB\"", "value = \"80 GB/s\"",
     "\"80 GB/s\" has a unit of another dimension; expected for instance \"80 GB\"", 0},
    {"h100-8", "memory = {", "value = \"80 GB\"", "value = \"80 Gigs\"", "\"80 Gigs\" has an unknown unit", 0},
    {"h100-8", "memory = {", "value = \"80 GB\"", "value = \"80 devices\"", "\"80 devices\" is a count", 0},
    {"h100-8", "memory = {", "value = \"80 GB\"", "velue = \"80 GB\"", "memory has no value; expected value = \"NUMBER UNIT\"", 0},
    {"h100-8", "memory = {", "value = \"80 GB\"", "velue = \"80 GB\"", "unknown key velue in the published number memory", 0},
    {"h100-8", "memory = {", "status = \"published\"", "status = \"known\"",
     "memory has the status \"known\"; expected published, derived, measured or assumed", 0},
    {"h100-8", "memory = {", "source = \"card\"", "source = \"cart\"", "memory has the source \"cart\"; expected KEY", 0},
    {"h100-8", "memory = {", " source = \"card\";", "", "memory is published and has no source; expected one", 0},
    {"h100-8", "tf32 = {", "formula = ", "formola = ", "tf32 is derived and has no formula; expected one", 0},
    {"h100-8", "memory_latency = {", " low = \"450 ns\";", "", "memory_latency is assumed and has no low; expected one", 0},
    {"h100-8", "memory_latency = {", "low = \"450 ns\"", "low = \"590 ns\"", "memory_latency is not between its low and its high", 0},
    {"h100-8", "accelerators", "memory_bandwidth = {", "memory_bandwith = {",
     "unknown key memory_bandwith in accelerators.0; expected name, devices, memory", 0},
    {"h100-8", "accelerators", "memory_bandwidth = {", "memory_bandwith = {", "accelerators.0 has no memory_bandwidth; expected one", 1000},
    {"h100-8", "flops", "fp64 = {", "fp46 = {", "unknown key fp46 in accelerators.0.flops; expected fp64, fp32", 0},
    {"h100-8", "medium", "\"board\"", "\"air\"", "medium of link nvlink is not one; expected board, copper or optical", 0},
    {"h100-8", "scale_up", "coherent = true", "coherent = \"yes\"", "coherent is not true or false", 0},
    {"h100-8", "scale_up", "link = \"nvlink\"", "link = \"mvlink\"", "link to nowhere: \"mvlink\" is not among the links", 0},
    {"h100-8", "scale_up", "level = \"server\"", "level = \"shelf\"", "stage to nowhere: \"shelf\" is not among the levels", -1},
    {"h100-8", "levels", "8 devices", "8 cards", "level server is made of \"8 cards\"; expected devices, the level below", 0},
    {"h100-8", "levels", "32 servers", "32.5 servers", "\"32.5 servers\" is not a whole number", 0},
    {"h100-8", "levels", "32 servers", "32 GB", "\"32 GB\" counts nothing; expected for instance \"8 devices\"", 0},
    {"mtlink2-c256", "levels", "name = \"server\"", "name = \"a <b>\"", "the level name \"a <b>\" has a character that names may not have",
     1},
    {"h100-8", "scale_out", "\"8 nics\"", "\"3 nics\"",
     "the topology does not add up: 3 nics for the 8 devices of a server; expected a divisor", 0},
    {"h100-8", "scale_out", "\"256 links\"", "\"64 links\"",
     "the topology does not add up: stage cluster is stated as oversubscribed \"1 x\", but 1.203e+04 GB/s come from below and 3008 GB/s go "
     "up; expected \"4 x\"",
     2},
    {"cloudmatrix384", "scale_up", "switches = {", "swatches = {", "unknown key swatches in scale_up.node", 0},
    {"mixed-h100-s5000", "NVIDIA H100 SXM", "512 devices", "500 devices",
     "the accelerators are 1012 devices, but the levels hold 1024; expected the same", 1000},
    {"mixed-h100-s5000", "scale_up", "( \"nvlink\", \"mtlink2\" )", "( \"nvlink\" )",
     "1 links for 2 kinds of accelerators; expected one for each", 0},
    {"h100-8", "reliability", "10 min", "10 s",
     "value of restart: \"10 s\" has a unit of another dimension; expected for instance \"10 min\"", 0},
    {"h100-8", "reliability", "50677 h", "0 h", "value of mtbf: \"0 h\" is out of range; expected for instance \"10 min\" or \"50000 h\"",
     0},
    {"h100-8", "reliability = {", "storage_bandwidth = {", "storage = {", "unknown key storage in reliability; expected mtbf, state", 0},
    {"h100-8", "reliability = {", "restart = {", "downtime = {", "reliability has no restart; expected one", 1000},
    {"scalex640", "scale_up", "level = \"supernode\"", "level = \"server\"",
     "stage server of scale_up does not lie above the stage before it", -1},
};

Test(profile_mistakes, each_is_named_with_its_line)
{
  for (size_t m = 0; m < sizeof mistakes / sizeof mistakes[0]; m++) {
    const struct mistake *mistake = &mistakes[m];
    char *said, where[64];
    int line;
    char *text = edited(mistake->profile, mistake->section, mistake->from, mistake->to, &line);
    cr_expect_null(parse(text, &said), "%s", mistake->sentence);
    cr_expect_eq(errno, EINVAL);
    const char *sentence = strstr(said, mistake->sentence);
    cr_expect(sentence, "expected: %s\nsaid: %s", mistake->sentence, said);
    const char *begin = sentence ? sentence : said;
    while (begin > said && begin[-1] != '\n') begin--;
    snprintf(where, sizeof where, "it.conf:%d: ", line + mistake->line);
    cr_expect(mistake->line == 1000 || !strncmp(begin, where, strlen(where)), "expected: %s%s\nsaid: %s", where, mistake->sentence, said);
    cr_expect_eq(strncmp(begin, "it.conf:", 8), 0, "%s", said);
    free(text), free(said);
  }
}

Test(profile_mistakes, no_network_joins_all)
{
  const char *text = fab_shipped_profile_text("scalex-10240"), *out = strstr(text, "scale_out = {"), *rest = strstr(text, "pue = {");
  char *without, *said;
  cr_assert(out && rest && asprintf(&without, "%.*s%s", (int)(out - text), text, rest) > 0);
  cr_expect_null(parse(without, &said));
  cr_expect(
      strstr(said, "the topology does not add up: 10240 devices, but no network joins more than 640; expected a stage of level cluster"),
      "%s", said);
  free(without), free(said);
}

Test(profile_mistakes, all_are_reported_at_once)
{
  char *said;
  int lines = 0;
  cr_assert_null(parse(
      "title = \"x\";\nsources = {};\naccelerators = ( { name = 3; } );\nhost = {};\nlinks = { a = { medium = 1; }; };\nlevels = ();\n",
      &said));
  for (const char *at = said; (at = strchr(at, '\n')); at++) lines++;
  cr_expect_geq(lines, 20, "%s", said);
  free(said);
}

Test(profile_mistakes, a_mistake_of_the_syntax)
{
  char *said;
  cr_assert_null(parse("title = \"x\";\nlinks = {\n", &said));
  cr_expect(strstr(said, "it.conf:") && strstr(said, "syntax error"), "%s", said);
  free(said);
  cr_assert_null(parse("title = \"x\";\ntitle = \"y\";\n", &said));
  cr_expect(strstr(said, "it.conf:2: duplicate setting name"), "%s", said);
  free(said);
  cr_assert_null(parse("", &said));
  cr_expect(strstr(said, "the profile has no title; expected one"), "%s", said);
  free(said);
}

Test(profile_mistakes, more_devices_than_the_profile_has)
{
  struct fab_profile *profile = fab_profile_load("scalex640", stderr);
  struct fab_topology topology;
  char *said;
  size_t size;
  FILE *report = open_memstream(&said, &size);
  cr_expect_eq(fab_topology_make(profile, 641, &topology, report), -EINVAL);
  fclose(report);
  cr_expect_str_eq(said, "641 devices: the profile scalex640 has 640; expected at most that many\n");
  free(said);
  fab_profile_free(profile);
}

Test(profile_mistakes, rubbish_is_survived)
{
  const char *seed = getenv("UMA_TEST_SEED");
  char *said;
  srand(seed ? (unsigned)atoi(seed) : 5);
  printf("UMA_TEST_SEED=%s\n", seed ? seed : "5");
  for (int round = 0; round < 400; round++) {
    char *text = strdup(fab_shipped_profile_text(fab_shipped_profile(round % 15)));
    size_t length = strlen(text);
    for (int i = 0; i < 1 + round % 20; i++) text[(size_t)rand() % length] = (char)(32 + rand() % 95);
    if (round % 3 == 0) text[(size_t)rand() % length] = 0;
    fab_profile_free(parse(text, &said));
    free(text), free(said);
  }
}
