/* Payloads of 0 bytes to 8 MiB arrive unchanged, staged or not; what does not fit the room is cut off and the next message is whole. */
#include "tests/fabric_world.h"

#include <stdlib.h>

#define LARGEST (8u << 20)

static const size_t sizes[] = {0,    1,    7,     8,     24,    25,    63,    64,     65,     1000,    4096,     8191,
                               8192, 8193, 16384, 65495, 65496, 65536, 65537, 131072, 262144, 1000003, 1u << 20, LARGEST};
#define SIZES (int)(sizeof sizes / sizeof *sizes)

static int send_all(struct node *node, unsigned char *data)
{
  for (int staged = 0; staged < 2; staged++)
    for (int i = 0; i < SIZES; i++) {
      pattern_fill(data, sizes[i], (unsigned)i);
      must(node_send(node, 1, i, data, sizes[i], staged) == 0);
    }
  return 0;
}

static int receive_all(struct node *node)
{
  size_t most = node->world->most_room;
  for (int i = 0; i < 2 * SIZES; i++) {
    struct world_message *message = node_receive(node);
    must(message->error == 0 && message->header.tag == i % SIZES && message->header.bytes == sizes[i % SIZES]);
    must(message->header.kind == 7 && message->header.a == 1 && message->header.b == 2);
    must(message->room == (most && most < sizes[i % SIZES] ? most : sizes[i % SIZES]));
    must(pattern_holds(message->data, message->room, (unsigned)(i % SIZES)));
    message_free(message);
  }
  must(node->arrived == 2 * SIZES && node->completed == 2 * SIZES);
  return 0;
}

static int body(struct node *node)
{
  unsigned char *data = malloc(LARGEST);
  int result = node->device == 0 ? send_all(node, data) : receive_all(node);
  free(data);
  return result;
}

static void over_all(size_t most_room)
{
  const struct fab_ops *ops;
  for (int i = 0; (ops = world_fabric(FAB_MSG, i)); i++) {
    struct world world;
    world_create(&world, ops, 2);
    world.most_room = most_room;
    cr_expect(world_run(&world, body), "%s, room %zu", ops->name, most_room);
    world_destroy(&world);
  }
}

Test(fabric_sizes, all_of_it)
{
  over_all(0);
}
Test(fabric_sizes, room_for_10_bytes)
{
  over_all(10);
}
Test(fabric_sizes, room_for_100_000_bytes)
{
  over_all(100000);
}
