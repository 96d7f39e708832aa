/* A sleeping receiver is woken by every arrival, and a sleeping sender by the room that it waits for. Every sleep here has a
 * timeout of an hour, so that one lost wake-up is a hang, which the watchdog of world_run turns into a failure. */
#include "tests/fabric_world.h"

#include <poll.h>
#include <stdlib.h>

#define ROUNDS 2000
#define HOUR_NS 3600000000000L

static void sleep_once(struct node *node, bool (*happened)(struct node *node), bool by_descriptor)
{
  node->ops->sleep_begin(node->endpoint);
  node->ops->progress(node->endpoint);
  int descriptor = node->ops->descriptor(node->endpoint);
  if (!happened(node)) {
    if (by_descriptor && descriptor >= 0) poll(&(struct pollfd){.fd = descriptor, .events = POLLIN}, 1, -1);
    else node->ops->sleep(node->endpoint, HOUR_NS);
  }
  node->ops->sleep_end(node->endpoint);
}

static bool has_message(struct node *node)
{
  return node->first != NULL;
}

static int ping_pong(struct node *node)
{
  uint64_t word = 0;
  for (int i = 0; i < ROUNDS; i++) {
    if (i % 2 == node->device) {
      must(node_send(node, !node->device, i, &word, sizeof word, false) == 0);
      continue;
    }
    while (!has_message(node)) sleep_once(node, has_message, i % 4 < 2);
    struct world_message *message = node_receive(node);
    must(message->header.tag == i);
    message_free(message);
  }
  return 0;
}

static struct fab_send large;

static bool large_has_left(struct node *node)
{
  return large.status != FAB_PENDING;
}

static int one_large(struct node *node)
{
  static unsigned char data[32 << 20];
  if (node->device == 1) {
    message_free(node_receive(node));
    return 0;
  }
  large = (struct fab_send){.header = {.bytes = sizeof data}, .payload = data};
  node_post(node, 1, &large);
  while (!large_has_left(node)) sleep_once(node, large_has_left, false);
  return 0;
}

static void over_all(bool wake_fds, int (*body)(struct node *node))
{
  const struct fab_ops *ops;
  for (int i = 0; (ops = world_fabric(FAB_MSG, i)); i++) {
    struct world world;
    world_create(&world, ops, 2);
    world.wake_fds = wake_fds;
    cr_expect(world_run(&world, body), "%s, wake_fds %d", ops->name, wake_fds);
    world_destroy(&world);
  }
}

Test(fabric_sleep, receiver)
{
  over_all(false, ping_pong);
}
Test(fabric_sleep, receiver_by_eventfd)
{
  over_all(true, ping_pong);
}
Test(fabric_sleep, sender)
{
  over_all(false, one_large);
}
Test(fabric_sleep, sender_by_eventfd)
{
  over_all(true, one_large);
}
