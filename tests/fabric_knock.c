/* A device that was killed is lost soon although it may be silent for long and nobody says so, because its address refuses connections; one that is
 * only stopped is not lost by that, however often it is knocked at. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "fabric/ofi.h"
#include "tests/fabric_world.h"

#define KNOCKS 4

static const char *const providers[] = {"tcp;ofi_rxm", "net", "sockets"};
enum { PROVIDERS = sizeof providers / sizeof providers[0] };

/* Stops, and when it goes on says so. */
static int stop(struct node *node)
{
  node_meet(node, 2);
  must(node_send(node, 0, 1, NULL, 0, false) == 0);
  while (!atomic_load(&node->world->shared[0])) node_step(node);
  raise(SIGSTOP);
  must(node_send(node, 0, 2, NULL, 0, false) == 0);
  message_free(node_receive(node));
  return 0;
}

static int never(struct node *node)
{
  raise(SIGSTOP);
  return 1;
}

/* Device 0, once device 1 has stopped. */
static void begin(const char *provider, int (*body)(struct node *node), struct world *world, struct node *node)
{
  int status;
  world_create(world, &fab_ofi, 2);
  world->config.provider = provider;
  world->config.silence_ns = 1000000000000;
  world->config.watch = true;
  world_start(world, 1, body);
  cr_assert(node_open(node, world, 0) == 0);
  node_meet(node, 2);
  if (body == stop) message_free(node_receive(node));
  atomic_store(&world->shared[0], 1);
  cr_assert(waitpid(world->pids[1], &status, WUNTRACED) == world->pids[1] && WIFSTOPPED(status));
}

static void end(struct world *world, struct node *node)
{
  node_close(node);
  world_destroy(world);
}

static uint64_t knocks_of(const struct node *node)
{
  return ((const struct fab_ofi_endpoint *)node->endpoint)->knocks;
}

static void expect_to_be_lost(const char *provider, int (*body)(struct node *node))
{
  struct world world;
  struct node node;
  begin(provider, body, &world, &node);
  world_kill(&world, 1);
  cr_expect(!world_ended_well(&world, 1));
  while (!node.lost) node_step(&node);
  cr_expect(node.lost == 1 && node.lost_device == 1 && node_send(&node, 1, 3, NULL, 0, false) == -EHOSTDOWN, "%s", provider);
  end(&world, &node);
}

Test(fabric_knock, who_was_killed_is_lost, .timeout = 120)
{
  for (int p = 0; p < PROVIDERS; p++) expect_to_be_lost(providers[p], stop);
}

Test(fabric_knock, who_was_killed_before_it_spoke_is_lost, .timeout = 120)
{
  for (int p = 0; p < PROVIDERS; p++) expect_to_be_lost(providers[p], never);
}

static void expect_to_live(const char *provider)
{
  struct world world;
  struct node node;
  begin(provider, stop, &world, &node);
  for (uint64_t before = knocks_of(&node); knocks_of(&node) < before + KNOCKS;) node_step(&node);
  cr_expect(!node.lost, "%s", provider);
  kill(world.pids[1], SIGCONT);
  struct world_message *message = node_receive(&node);
  cr_expect(message->header.tag == 2 && message->error == 0, "%s", provider);
  message_free(message);
  cr_expect(node_send(&node, 1, 3, NULL, 0, false) == 0, "%s", provider);
  while (!node.lost) node_step(&node); /* it leaves in order */
  cr_expect(world_ended_well(&world, 1), "%s", provider);
  end(&world, &node);
}

Test(fabric_knock, who_is_stopped_lives, .timeout = 120)
{
  for (int p = 0; p < PROVIDERS; p++) expect_to_live(providers[p]);
}
