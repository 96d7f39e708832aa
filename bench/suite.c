/* The suite: which cases there are, and in which order they run.
 *
 * One pass runs every chosen case once, each family followed by its peers; several passes add samples to the same series, so that
 * a drift of the host's speed meets all of them. The round trip of one line between two cores is measured before and after everything.
 * Then comes a pass for each machine that is modelled. Programs (programs.c) are only modelled: on the machines that --profile names, else on
 * three that stand for a supernode, for stacked servers, and for stacked servers whose messages are staged in host memory. A whole run ends
 * with what hangs on assumed numbers (sensitivity.c), of one program on one machine; --sensitivity says it of others. */
#include "bench/harness.h"

#include <errno.h>
#include <stdlib.h>

static const struct bench_case *const families[] = {
    bench_session_cases, bench_latency_cases,    bench_transfer_cases,  bench_message_cases,    bench_stream_cases,  bench_random_cases,
    bench_sync_cases,    bench_collective_cases, bench_coherence_cases, bench_transition_cases, bench_traffic_cases, bench_page_cases,
    bench_kernel_cases,  bench_kvpool_cases,     bench_ofi_cases,       bench_hosts_cases,      bench_program_cases,
};
static const size_t family_count = sizeof families / sizeof families[0];

void bench_list(FILE *out)
{
  for (size_t f = 0; f < family_count; f++)
    for (const struct bench_case *one = families[f]; one->name; one++) fprintf(out, "  %-26s %s\n", one->name, one->help);
}

/* What peers do is compared with cases of several families: those, then the peers. */
static const struct peer_group {
  size_t last_family; /* they run behind it */
  int devices;
  const char *names[8];
} peer_groups[] = {
    {3, 2, {"transfer.read", "transfer.write", "transfer.get.hot", "transfer.put.hot", "transfer.pingpong", "transfer.stream"}},
    {7, 2, {"sync.message_rate", "sync.fetch_add", "sync.barrier", "collective.allreduce"}},
    {7, 4, {"sync.barrier", "collective.allreduce"}},
    {7, 8, {"sync.barrier", "collective.allreduce"}},
    {14, 2, {"ofi.put", "ofi.get"}},
};

static int run_peers(size_t family)
{
  int result = 0;
  for (size_t g = 0; g < sizeof peer_groups / sizeof peer_groups[0] && !result; g++) {
    const char *chosen[9];
    int n = 0;
    if (peer_groups[g].last_family != family) continue;
    for (int i = 0; i < 8 && peer_groups[g].names[i]; i++)
      if (bench_selected(peer_groups[g].names[i])) chosen[n++] = peer_groups[g].names[i];
    chosen[n] = NULL;
    if (n) result = bench_peers_run(chosen, peer_groups[g].devices);
  }
  return result;
}

/* What failed is told once and left out of the passes that follow; the rest goes on, and the command fails in the end. */
static bool *failed, peers_failed; /* by case, in the order of the families */

static void tell(const char *what)
{
  struct bench_board *board = bench_run.board;
  bench_fail("it failed");
  fprintf(stderr, "%s%s: %s: %s\n", bench_run.terminal ? "\r\033[K" : "", bench_command, what, board->error);
  atomic_store(&board->failed, 0);
}

char *bench_default_machines[] = {"scalex640", "h100-8", "mtt-s4000-kuae", NULL};
static char *const swayed_machine = "h100-8", *swayed_program = "program.layer";

/* Programs in the passes of machines; everything else in those that measure, and on machines that were asked for. */
static bool belongs(size_t family, const char *profile)
{
  bool program = families[family] == bench_program_cases;
  return profile ? program || bench_run.options.profiles != NULL : !program;
}

static void run_family(size_t family, int *index)
{
  for (const struct bench_case *one = families[family]; one->name; one++, ++*index) {
    if (!belongs(family, bench_run.profile) || !bench_selected(one->name) || failed[*index]) continue;
    bench_progress("%s", one->name);
    failed[*index] = one->run() != 0;
    if (failed[*index]) tell(one->name);
    bench_run.done++;
  }
  if (!bench_run.options.peers || bench_run.profile || peers_failed || !run_peers(family)) return;
  peers_failed = true;
  tell("a peer (--no-peers runs without them)");
}

static void run_pass(const char *profile)
{
  int index = 0;
  bench_run.profile = profile;
  for (size_t family = 0; family < family_count; family++) run_family(family, &index);
  bench_run.profile = NULL;
  bench_run.pass++;
}

static int all_cases(void)
{
  int count = 0;
  for (size_t f = 0; f < family_count; f++)
    for (const struct bench_case *one = families[f]; one->name; one++) count++;
  return count;
}

static int count_failures(void)
{
  int failures = peers_failed;
  for (int i = 0; i < all_cases(); i++) failures += failed[i];
  return failures;
}

/* How many cases a pass on that machine (NULL: one that measures) has. */
static int count_cases(const char *profile)
{
  int count = 0;
  for (size_t f = 0; f < family_count; f++)
    for (const struct bench_case *one = families[f]; one->name; one++) count += belongs(f, profile) && bench_selected(one->name);
  return count;
}

/* Every name must choose something. */
static int check_names(const struct bench_options *options)
{
  for (int i = 0; i < options->name_count; i++) {
    bool known = false;
    for (size_t f = 0; f < family_count; f++)
      for (const struct bench_case *one = families[f]; one->name; one++)
        known |= !strncmp(one->name, options->names[i], strlen(options->names[i]));
    if (known && *options->names[i]) continue;
    fprintf(stderr, "%s: no benchmark is called, or begins with, '%s'; there are:\n", bench_command, options->names[i]);
    bench_list(stderr);
    return -EINVAL;
  }
  return 0;
}

/* Peers that were asked for must be there; left open, they run when they are. */
static int choose_peers(void)
{
  char missing[700];
  bool installed = bench_peers_installed(missing, sizeof missing);
  if (bench_run.options.peers == 1 && !installed) {
    fprintf(stderr, "%s: --peers: there is no %s\n", bench_command, missing);
    return -ENOENT;
  }
  bench_run.options.peers = bench_run.options.peers && installed;
  return 0;
}

/* A run of everything has an example of what hangs on assumed numbers. */
static bool has_example(void)
{
  return !bench_run.options.profiles && !bench_run.options.name_count;
}

static int run_example(void)
{
  char *names[] = {swayed_program};
  bench_run.options.names = names;
  bench_run.options.name_count = 1;
  int result = bench_sway(swayed_machine, run_pass);
  bench_run.options.name_count = 0;
  return result;
}

static void plan(int measured, char *const *machines)
{
  bench_run.passes = measured;
  bench_run.total = measured * count_cases(NULL);
  for (; *machines; machines++) {
    int passes = 1 + (bench_run.options.sensitivity ? bench_sway_count(*machines) : 0);
    bench_run.passes += passes;
    bench_run.total += passes * count_cases(*machines);
  }
  int example = has_example() ? bench_sway_count(swayed_machine) : 0; /* of one case each */
  bench_run.passes += example;
  bench_run.total += example;
}

static int run_all(void)
{
  static char *const none[] = {NULL};
  char *const *machines = bench_run.options.profiles ? bench_run.options.profiles : bench_default_machines;
  int result = 0, measured = bench_run.options.modelled_only || !count_cases(NULL) ? 0 : bench_run.passes;
  if (!count_cases(*machines)) machines = none;
  plan(measured, machines);
  if (measured) result = bench_line_round_trip("host.line.start");
  for (int i = 0; i < measured && !result; i++) run_pass(NULL);
  if (measured && !result) result = bench_line_round_trip("host.line.end");
  for (; *machines && !result; machines++) {
    run_pass(*machines);
    if (bench_run.options.sensitivity) result = bench_sway(*machines, run_pass);
  }
  if (has_example() && !result) result = run_example();
  bench_progress_end();
  if (result) tell("the suite");
  int failures = count_failures();
  if (failures) fprintf(stderr, "%s: %d failed; the rows of the others are complete\n", bench_command, failures);
  return result ? result : failures ? -EIO : 0;
}

int bench_suite(const struct bench_options *options, struct bench_rows *rows)
{
  int result = check_names(options);
  if (!result) result = bench_start(options);
  if (result) return result;
  failed = calloc((size_t)all_cases(), sizeof *failed);
  peers_failed = false;
  result = failed ? choose_peers() : -ENOMEM;
  if (!failed) fprintf(stderr, "%s: no memory for so many cases\n", bench_command);
  if (!result) result = run_all();
  bench_finish(rows);
  free(failed);
  return result;
}
