/* An endpoint may be used by one thread after another, also when the thread that opened it has ended. */
#include "tests/fabric_world.h"

#include <pthread.h>

#define ROUNDS 100

static void *one_round(void *argument)
{
  struct node *node = argument;
  uint64_t word = 5;
  if (node->device == 0 && node_send(node, 1, 0, &word, sizeof word, false)) return node;
  message_free(node_receive(node));
  if (node->device == 1 && node_send(node, 0, 0, &word, sizeof word, false)) return node;
  return NULL;
}

static int body(struct node *node)
{
  for (int i = 0; i < ROUNDS; i++) {
    pthread_t thread;
    void *failed;
    must(pthread_create(&thread, NULL, one_round, node) == 0);
    must(pthread_join(thread, &failed) == 0 && !failed);
  }
  return 0;
}

Test(fabric_threads, one_after_another)
{
  const struct fab_ops *ops;
  for (int i = 0; (ops = world_fabric(FAB_MSG, i)); i++) {
    struct world world;
    world_create(&world, ops, 2);
    cr_expect(world_run(&world, body), "%s", ops->name);
    world_destroy(&world);
  }
}
