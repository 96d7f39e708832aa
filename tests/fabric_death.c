/* A sender that is killed in the middle of a message, or ends in good order, is noticed once; what it sent before arrives;
 * others are not disturbed. */
#include "tests/fabric_world.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define LARGE (64u << 20)

/* Sends a small message and a large one, of which the receiver takes only the beginning. */
static int victim(struct node *node)
{
  static unsigned char data[LARGE];
  must(node_send(node, 0, 1, data, 100, false) == 0);
  node_send(node, 0, 2, data, LARGE, node->world->most_room == 1);
  return 1; /* it is killed before */
}

static int bystander(struct node *node)
{
  for (int i = 0; i < 1000; i++) must(node_send(node, 0, 100 + i, &i, sizeof i, false) == 0);
  return 0;
}

static void receive_from_victim(struct node *node)
{
  while (node->arrived < 2) node_step(node);
  world_kill(node->world, 1);
  cr_expect(!world_ended_well(node->world, 1));
  struct world_message *small = node_receive(node);
  cr_expect(small->header.tag == 1 && small->error == 0);
  message_free(small);
  node->ops->lose(node->endpoint, 1);
  struct world_message *large = node_receive(node);
  cr_expect(large->header.tag == 2 && large->error == -EHOSTDOWN, "%s: error %d", node->ops->name, large->error);
  message_free(large);
  while (!node->lost) node_step(node);
  node->ops->lose(node->endpoint, 1);
  cr_expect(node->lost == 1 && node->lost_device == 1);
  cr_expect(node_send(node, 1, 0, NULL, 0, false) == -EHOSTDOWN);
}

static void kill_in_the_middle(const struct fab_ops *ops, size_t most_room)
{
  struct world world;
  struct node node;
  world_create(&world, ops, 3);
  world.most_room = most_room;
  world_start(&world, 1, victim);
  cr_assert(node_open(&node, &world, 0) == 0);
  receive_from_victim(&node);
  world_start(&world, 2, bystander);
  for (int i = 0; i < 1000; i++) {
    struct world_message *message = node_receive(&node);
    cr_expect(message->device == 2 && message->header.tag == 100 + i && message->error == 0);
    message_free(message);
  }
  cr_expect(world_ended_well(&world, 2));
  node_close(&node);
  world_destroy(&world);
}

/* An endpoint that sends a lot to somebody who is killed, before or after the connection. */
static int sleeper(struct node *node)
{
  atomic_store(&node->world->shared[0], 1);
  while (!atomic_load(&node->world->shared[1])) node_yield(node);
  return 1; /* it is killed before */
}

static void send_to_the_dead(const struct fab_ops *ops)
{
  struct world world;
  struct node node;
  world_create(&world, ops, 2);
  world_start(&world, 1, sleeper);
  cr_assert(node_open(&node, &world, 0) == 0);
  close(world.listen_fd[1]);
  world.listen_fd[1] = -1;
  while (!atomic_load(&world.shared[0])) node_yield(&node);
  unsigned char *data = calloc(1, LARGE);
  struct fab_send first = {.header = {.bytes = LARGE}, .payload = data}, second = {.header = {.bytes = 8}, .payload = data};
  node_post(&node, 1, &first);
  node_post(&node, 1, &second);
  for (int i = 0; i < 100; i++) node_step(&node);
  world_kill(&world, 1);
  cr_expect(!world_ended_well(&world, 1));
  node.ops->lose(node.endpoint, 1);
  int small = node_finish(&node, &second); /* 0 where small payloads are copied, and leave behind a large one that waits */
  cr_expect(node_finish(&node, &first) == -EHOSTDOWN && (small == -EHOSTDOWN || small == 0), "%s: second %d", ops->name, small);
  while (!node.lost) node_step(&node);
  cr_expect(node.lost == 1);
  node_close(&node);
  free(data);
  world_destroy(&world);
}

/* 40 messages of 100 KB, more than half of them still in socket buffers when the sender closes and is gone. */
static int last_words(struct node *node)
{
  static unsigned char data[100000];
  pattern_fill(data, sizeof data, 5);
  for (int i = 0; i < 40; i++) must(node_send(node, 0, i, data, sizeof data, i % 2) == 0);
  return 0;
}

static int listen_slowly(struct node *node)
{
  if (node->device == 1) return last_words(node);
  uint64_t word = 1;
  int sent = node_send(node, 1, 0, &word, sizeof word, false); /* never read by the other side, which may be gone already */
  must(sent == 0 || sent == -EHOSTDOWN);
  usleep(20000);
  for (int i = 0; i < 40; i++) {
    struct world_message *message = node_receive(node);
    must(message->error == 0 && message->header.tag == i && pattern_holds(message->data, message->room, 5));
    message_free(message);
  }
  return 0;
}

Test(fabric_death, killed_in_the_middle, .timeout = 120)
{
  const struct fab_ops *ops;
  for (int i = 0; (ops = world_fabric(FAB_MSG, i)); i++) {
    kill_in_the_middle(ops, 0);
    kill_in_the_middle(ops, 1); /* staged */
  }
}

Test(fabric_death, queue_to_the_dead, .timeout = 120)
{
  const struct fab_ops *ops;
  for (int i = 0; (ops = world_fabric(FAB_MSG, i)); i++) send_to_the_dead(ops);
}

Test(fabric_death, orderly_end)
{
  const struct fab_ops *ops;
  for (int i = 0; (ops = world_fabric(FAB_MSG, i)); i++) {
    struct world world;
    world_create(&world, ops, 2);
    cr_expect(world_run(&world, listen_slowly), "%s", ops->name);
    world_destroy(&world);
  }
}
