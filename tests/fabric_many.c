/* Eight processes send to one, all send to all, both ways at once more than the rings and socket buffers hold, and to themselves. */
#include "tests/fabric_world.h"

#include <stdlib.h>

#define SMALL 500
#define LARGE (24u << 20)

static int receive_counted(struct node *node, int senders)
{
  int next[WORLD_MAX] = {0};
  for (int i = 0; i < SMALL * senders; i++) {
    struct world_message *message = node_receive(node);
    must(message->header.tag == next[message->device]++);
    must(pattern_holds(message->data, message->room, (unsigned)(message->device * SMALL + message->header.tag)));
    message_free(message);
  }
  return 0;
}

static int send_small(struct node *node, int device)
{
  unsigned char data[300];
  for (int i = 0; i < SMALL; i++) {
    pattern_fill(data, (size_t)(i % 300), (unsigned)(node->device * SMALL + i));
    must(node_send(node, device, i, data, (size_t)(i % 300), false) == 0);
  }
  return 0;
}

static int many_to_one(struct node *node)
{
  return node->device ? send_small(node, 0) : receive_counted(node, node->world->devices - 1);
}

static int all_to_all(struct node *node)
{
  for (int d = 0; d < node->world->devices; d++) must(send_small(node, (node->device + d) % node->world->devices) == 0);
  return receive_counted(node, node->world->devices);
}

/* One message from each side of every pair is far larger than what is between them, and nobody receives before it has sent. */
static int both_ways(struct node *node)
{
  int other = !node->device;
  unsigned char *data = malloc(LARGE);
  pattern_fill(data, LARGE, (unsigned)node->device);
  struct fab_send sends[2] = {{.header = {.bytes = LARGE}, .payload = data}, {.header = {.bytes = LARGE}, .payload = data, .staged = true}};
  node_post(node, other, &sends[0]);
  node_post(node, other, &sends[1]);
  for (int i = 0; i < 2; i++) {
    struct world_message *message = node_receive(node);
    must(message->room == LARGE && pattern_holds(message->data, LARGE, (unsigned)other));
    message_free(message);
  }
  must(node_finish(node, &sends[0]) == 0 && node_finish(node, &sends[1]) == 0);
  free(data);
  return 0;
}

static int to_itself(struct node *node)
{
  static unsigned char data[2 << 20];
  pattern_fill(data, sizeof data, 3);
  for (size_t bytes = 0; bytes <= sizeof data; bytes = bytes * 3 + 1) {
    struct fab_send send = {.header = {.bytes = bytes}, .payload = data};
    node_post(node, node->device, &send);
    struct world_message *message = node_receive(node);
    must(message->device == node->device && message->room == bytes && pattern_holds(message->data, bytes, 3));
    message_free(message);
    must(node_finish(node, &send) == 0);
  }
  return 0;
}

static void over_all(int devices, int (*body)(struct node *node))
{
  const struct fab_ops *ops;
  for (int i = 0; (ops = world_fabric(FAB_MSG, i)); i++) {
    struct world world;
    world_create(&world, ops, devices);
    cr_expect(world_run(&world, body), "%s", ops->name);
    world_destroy(&world);
  }
}

Test(fabric_many, many_to_one)
{
  over_all(8, many_to_one);
}
Test(fabric_many, all_to_all)
{
  over_all(8, all_to_all);
}
Test(fabric_many, both_ways)
{
  over_all(2, both_ways);
}
Test(fabric_many, to_itself)
{
  over_all(1, to_itself);
}
