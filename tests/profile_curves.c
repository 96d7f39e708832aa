/* Curves of operations in a profile, caches, and domains that the session draws: what the clock makes of them, and mistakes in them. */
#include <math.h>
#include <unistd.h>

#include "fabric/topology.h"
#include "tests/session.h"

#define KiB ((size_t)1 << 10)

/* h100-8 with what is between the two brackets in it; NULL keeps what it has. */
static char *profile_with(const char *accelerator, const char *scale_up, const char *operations)
{
  const char *text = fab_shipped_profile_text("h100-8"), *line = strstr(text, "  flops = {"), *up = strstr(text, "  coherent = true;");
  char *result;
  if (!line || !up ||
      asprintf(&result, "%.*s%s%.*s%s%s%s", (int)(line - text), text, accelerator ? accelerator : "", (int)(up - line), line,
               scale_up ? scale_up : "", up, operations ? operations : "") < 0)
    abort();
  return result;
}

#define CURVE(name, bytes, time, rest) \
  name " = { status = \"measured\"; source = \"card\"; bytes = " bytes "; time = " time "; " rest " };\n"

static struct fab_profile *parse_text(const char *text, char **said)
{
  size_t size;
  FILE *report = open_memstream(said, &size);
  struct fab_profile *profile = fab_profile_parse(text, "it.conf", report);
  fclose(report);
  return profile;
}

static struct fab_profile *parse(const char *operations, char **said)
{
  char *text = profile_with(NULL, NULL, operations);
  struct fab_profile *profile = parse_text(text, said);
  free(text);
  return profile;
}

Test(profile_curves, lie_on_straight_lines_between_their_points)
{
  char *said;
  struct fab_topology topology;
  struct fab_profile *profile =
      parse("operations = {\n" CURVE("get", "( \"8 B\", \"1 KiB\", \"4 KiB\" )", "( \"100 ns\", \"200 ns\", \"1.1 us\" )", "")
                CURVE("message", "[ \"100 B\" ]", "[ \"1 us\" ]", "gap = [ \"250 ns\" ];") "};\n",
            &said);
  cr_assert(profile && !fab_topology_make(profile, 0, &topology, stderr), "%s", said);
  const struct fab_topology_curve *get = &topology.curve[FAB_GET], *message = &topology.curve[FAB_MESSAGE];
  static const struct {
    uint64_t bytes;
    double ns;
  } points[] = {{0, 100}, {8, 100}, {516, 150}, {1024, 200}, {2560, 650}, {4096, 1100}, {7168, 2000}};
  for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
    cr_expect_float_eq(fab_ns_of_ticks(fab_curve_time(get, points[i].bytes)), points[i].ns, 0.02, "%lu bytes",
                       (unsigned long)points[i].bytes);
  cr_expect_eq(fab_curve_gap(get, 1024), 0);
  cr_expect_eq(fab_curve_time(message, 1 << 20), fab_ticks_of_ns(1000));
  cr_expect_eq(fab_curve_gap(message, 5), fab_ticks_of_ns(250));
  cr_expect_eq(topology.curve[FAB_PUT].count, 0);
  fab_profile_free(profile), free(said);
}

Test(profile_curves, behind_the_last_point_they_do_not_fall)
{
  char *said;
  struct fab_topology topology;
  struct fab_profile *profile =
      parse("operations = {\n" CURVE("get", "( \"8 B\", \"16 B\" )", "( \"100 ns\", \"90 ns\" )", "") "};\n", &said);
  cr_assert(profile && !fab_topology_make(profile, 0, &topology, stderr), "%s", said);
  cr_expect_eq(fab_curve_time(&topology.curve[FAB_GET], UINT64_MAX / 2), fab_ticks_of_ns(90));
  fab_profile_free(profile), free(said);
}

Test(profile_curves, mistakes_are_named)
{
  static const struct {
    const char *text, *sentence;
  } mistakes[] = {
      {"operations = 3;", "operations is not a group"},
      {"operations = { grab = {}; };", "unknown key grab in operations; expected get, put, message, cached_get"},
      {"operations = { get = 5; };", "operations.get is not a group"},
      {"operations = { get = { status = \"measured\"; source = \"card\"; bytes = ( \"8 B\" ); }; };",
       "operations.get has no time; expected one"},
      {"operations = {" CURVE("get", "\"8 B\"", "( \"1 ns\" )", "") "};", "bytes is not a list; expected ( \"NUMBER UNIT\", ... )"},
      {"operations = {" CURVE("get", "( 8 )", "( \"1 ns\" )", "") "};", "number 1 of bytes: expected a text as \"NUMBER UNIT\""},
      {"operations = {" CURVE("get", "( \"8 ns\" )", "( \"1 ns\" )", "") "};",
       "number 1 of bytes: \"8 ns\" has a unit of another dimension"},
      {"operations = {" CURVE("get", "( \"8 B\" )", "( \"1 ns\", \"2 ns\" )", "") "};",
       "get has 1 sizes, 2 times and 0 gaps; expected as many of each, or no gaps"},
      {"operations = {" CURVE("get", "( \"8 B\", \"9 B\" )", "( \"1 ns\", \"2 ns\" )", "gap = ( \"1 ns\" );") "};",
       "get has 2 sizes, 2 times and 1 gaps"},
      {"operations = {" CURVE("get", "( \"8 B\", \"8 B\" )", "( \"1 ns\", \"2 ns\" )", "") "};",
       "size 2 is not larger than the one before"},
      {"operations = { get = { status = \"assumed\"; source = \"card\"; bytes = ( \"8 B\" ); time = ( \"1 ns\" ); }; };",
       "get is assumed; expected that the points of a curve are published or measured"},
      {"operations = { get = { status = \"measured\"; source = \"rumour\"; bytes = ( \"8 B\" ); time = ( \"1 ns\" ); }; };",
       "get has the source \"rumour\"; expected KEY"},
  };
  for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
    char *said;
    cr_expect_null(parse(mistakes[i].text, &said), "%s", mistakes[i].text);
    cr_expect(strstr(said, mistakes[i].sentence) && !strncmp(said, "it.conf:", 8), "expected: %s\nsaid: %s", mistakes[i].sentence, said);
    free(said);
  }
}

Test(profile_curves, more_points_than_fit_are_refused)
{
  char text[4096], *said;
  size_t used =
      (size_t)snprintf(text, sizeof text, "operations = { get = { status = \"measured\"; source = \"card\"; time = (); bytes = ( ");
  for (int i = 0; i <= FAB_CURVE_POINTS; i++) used += (size_t)snprintf(text + used, sizeof text - used, "%s\"%d B\"", i ? ", " : "", i + 1);
  snprintf(text + used, sizeof text - used, " ); }; };");
  cr_expect_null(parse(text, &said));
  cr_expect(strstr(said, "bytes has 25 numbers; expected at most 24"), "%s", said);
  free(said);
}

/* ---- What the clock charges -------------------------------------------------------------------------------------- */

static double took(double *before)
{
  double now = uma_modelled_ns(), ns = now - *before;
  *before = now;
  return ns;
}

static bool is_about(double ns, double expected)
{
  if (fabs(ns - expected) < 0.05) return true;
  fprintf(stderr, "device %d: %.2f ns instead of %.2f\n", uma_device(), ns, expected);
  return false;
}

/* A get costs what its curve says, one of what lies in the cache less, until the devices have met. */
static int near(void *argument)
{
  char *block = uma_alloc_symmetric(64 * KiB), *local = malloc(64 * KiB);
  CHECK(block && local && !uma_barrier());
  if (uma_device() == 0) {
    char *there = uma_symmetric(block, 1);
    uint64_t *word = (uint64_t *)(there + 32 * KiB);
    double now = uma_modelled_ns();
    CHECK(!uma_get(local, there, KiB) && is_about(took(&now), 5000));
    CHECK(!uma_get(local, there, KiB) && is_about(took(&now), 50));
    CHECK(!uma_put(there + 512, local, 512) && is_about(took(&now), 60));
    CHECK(!uma_put(there + 4 * KiB, local, KiB) && is_about(took(&now), 6000));
    CHECK(!uma_get(local, there, 64 * KiB) && is_about(took(&now), 5000)); /* more than the cache: what was in it goes */
    CHECK(!uma_get(local, there, KiB) && is_about(took(&now), 5000));
    (void)uma_ld(word);
    double first = took(&now);
    (void)uma_ld(word + 1);
    CHECK(took(&now) < first); /* the same line */
  }
  CHECK(!uma_barrier());
  if (uma_device() == 0) {
    double now = uma_modelled_ns();
    CHECK(!uma_get(local, uma_symmetric(block, 1), KiB) && is_about(took(&now), 5000));
  }
  free(local);
  return uma_barrier();
}

/* The same pair of devices, in two domains: by message, although the machine has them under one switch. */
static int far(void *argument)
{
  uint64_t *block = uma_alloc_symmetric(64 * KiB), local[128];
  struct uma_modelled split;
  CHECK(block && !uma_barrier());
  if (uma_device() == 0) {
    uint64_t *there = uma_symmetric(block, 1);
    double now = uma_modelled_ns();
    CHECK(!uma_get(local, there, sizeof local) && is_about(took(&now), 7000));
    CHECK(!uma_get(local, there, sizeof local) && is_about(took(&now), 7000)); /* no cache reaches there */
    CHECK(!uma_put(there, local, sizeof local) && is_about(took(&now), 8000));
    (void)uma_ld(there);
    CHECK(is_about(took(&now), 7000));
    CHECK(!uma_modelled(0, &split) && split.network_ns > 0);
    CHECK(!uma_send(1, 1, local, sizeof local));
  } else {
    double now = uma_modelled_ns();
    CHECK(!uma_recv(0, 1, local, sizeof local, NULL) && took(&now) > 9000);
  }
  return uma_barrier();
}

static void run_with(struct uma_config config, int (*function)(void *))
{
  char path[] = "/tmp/uma-curves-XXXXXX.conf";
  int fd = mkstemps(path, 5);
  char *text =
      profile_with("  cache = { value = \"16 KiB\"; status = \"measured\"; source = \"card\"; };\n", "  by_session = true;\n",
                   "operations = {\n" CURVE("get", "( \"8 B\" )", "( \"5 us\" )", "") CURVE("put", "( \"8 B\" )", "( \"6 us\" )", "")
                       CURVE("cached_get", "( \"8 B\" )", "( \"50 ns\" )", "") CURVE("cached_put", "( \"8 B\" )", "( \"60 ns\" )", "")
                           CURVE("far_get", "( \"8 B\" )", "( \"7 us\" )", "") CURVE("far_put", "( \"8 B\" )", "( \"8 us\" )", "")
                               CURVE("far_message", "( \"8 B\" )", "( \"9 us\" )", "gap = ( \"1 us\" );") "};\n");
  FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
  cr_assert(file && fputs(text, file) >= 0 && !fclose(file));
  free(text);
  config.profile = path;
  config.memory = (size_t)16 << 20;
  config.timeout = 120;
  int result = uma_spawn(&config, 2, function, NULL);
  unlink(path);
  cr_assert_eq(result, 0, "%d (%s)", result, result < 0 ? uma_last_error() : "");
}

Test(profile_curves, what_lies_in_the_cache_costs_less_until_devices_meet)
{
  run_with((struct uma_config){0}, near);
}

Test(profile_curves, the_sessions_domains_decide_who_goes_by_message)
{
  run_with((struct uma_config){.servers = 2, .mode = UMA_MODE_STACKED}, far);
}

Test(profile_curves, by_session_needs_a_network_for_all)
{
  char *said, *text = profile_with(NULL, "  by_session = true;\n", NULL), *out = strstr(text, "scale_out = {"),
              *rest = strstr(text, "pue = {");
  memmove(out, rest, strlen(rest) + 1);
  cr_expect_null(parse_text(text, &said));
  cr_expect(strstr(said, "scale_up is by_session, but scale_out does not join all 1024 devices; expected that it does"), "%s", said);
  free(said), free(text);
}
