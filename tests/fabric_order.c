/* Messages of mixed sizes from one endpoint to another arrive whole, once, in the order in which they were sent. */
#include "tests/fabric_world.h"

#include <stdlib.h>

#define MESSAGES 3000
#define IN_FLIGHT 32

static unsigned seed;

static size_t size_of(unsigned number)
{
  unsigned random = (number + seed) * 2246822519u;
  random ^= random >> 15;
  return random % 16 ? random % 100 : (random >> 8) % 60000;
}

static int send_all(struct node *node)
{
  static struct fab_send sends[IN_FLIGHT];
  static unsigned char data[IN_FLIGHT][60000];
  for (unsigned i = 0; i < MESSAGES; i++) {
    struct fab_send *send = &sends[i % IN_FLIGHT];
    must(node_finish(node, send) == 0);
    *send = (struct fab_send){.header = {.tag = (int)i, .bytes = size_of(i)}, .payload = data[i % IN_FLIGHT], .staged = i % 5 == 0};
    pattern_fill(data[i % IN_FLIGHT], size_of(i), i);
    node_post(node, 1, send);
  }
  for (int i = 0; i < IN_FLIGHT; i++) must(node_finish(node, &sends[i]) == 0);
  return 0;
}

static int receive_all(struct node *node)
{
  for (unsigned i = 0; i < MESSAGES; i++) {
    struct world_message *message = node_receive(node);
    must(message->device == 0 && message->error == 0);
    must(message->header.tag == (int)i && message->header.bytes == size_of(i));
    must(pattern_holds(message->data, message->room, i));
    message_free(message);
  }
  return 0;
}

static int body(struct node *node)
{
  return node->device == 0 ? send_all(node) : receive_all(node);
}

Test(fabric_order, mixed_sizes)
{
  const char *given = getenv("UMA_TEST_SEED");
  seed = given ? (unsigned)strtoul(given, NULL, 0) : 1u;
  cr_log_info("UMA_TEST_SEED=%u", seed);
  const struct fab_ops *ops;
  for (int i = 0; (ops = world_fabric(FAB_MSG, i)); i++) {
    struct world world;
    world_create(&world, ops, 2);
    cr_expect(world_run(&world, body), "%s, seed %u", ops->name, seed);
    world_destroy(&world);
  }
}
