/* put, get and atomics on the memory of others do what they say, also when four processes do them at once. */
#include "tests/fabric_world.h"

#include <string.h>

#define ADDS 20000
#define ADDS_OVER_A_NETWORK 1000

static uint64_t apply(struct node *node, enum fab_atomic op, uint64_t offset, size_t size, uint64_t operand, uint64_t expected)
{
  uint64_t old = 0;
  cr_assert(node->ops->atomic(node->endpoint, op, 1, offset, size, operand, expected, &old) == 0);
  return old;
}

static void check_size(struct node *node, size_t size)
{
  uint64_t all = size == 8 ? ~0ull : (1ull << 8 * size) - 1, offset = 64 * size;
  apply(node, FAB_STORE, offset, size, all, 0);
  cr_expect(apply(node, FAB_LOAD, offset, size, 0, 0) == all);
  cr_expect(apply(node, FAB_LOAD, offset + size, size, 0, 0) == 0, "the neighbour is untouched");
  if (size < 4) return;
  cr_expect(apply(node, FAB_ADD, offset, size, 2, 0) == all); /* wraps */
  cr_expect(apply(node, FAB_SWAP, offset, size, 12, 0) == 1);
  cr_expect(apply(node, FAB_CAS, offset, size, 99, 13) == 12);
  cr_expect(apply(node, FAB_CAS, offset, size, 10, 12) == 12);
  cr_expect(apply(node, FAB_AND, offset, size, 6, 0) == 10);
  cr_expect(apply(node, FAB_OR, offset, size, 5, 0) == 2);
  cr_expect(apply(node, FAB_XOR, offset, size, 3, 0) == 7);
  cr_expect(apply(node, FAB_LOAD, offset, size, 0, 0) == 4);
  cr_expect(apply(node, FAB_LOAD, offset + size, size, 0, 0) == 0);
}

/* The home of what device 0 works on, until that is done. */
static int serve(struct node *node)
{
  while (!atomic_load(&node->world->shared[0])) node_step(node);
  return 0;
}

static void check_alone(const struct fab_ops *ops)
{
  struct world world;
  struct node node;
  unsigned char data[1000], back[1000];
  world_create(&world, ops, 3);
  for (int device = 1; device < 3; device++) world_start(&world, device, serve);
  cr_assert(node_open(&node, &world, 0) == 0);
  node_meet(&node, 3);
  for (size_t size = 1; size <= 8; size *= 2) check_size(&node, size);
  cr_expect(ops->atomic(node.endpoint, FAB_STORE, 1, 8, 8, 42, 0, NULL) == 0);
  pattern_fill(data, sizeof data, 9);
  cr_expect(ops->put(node.endpoint, 2, 4001, data, sizeof data) == 0);
  cr_expect(ops->get(node.endpoint, 2, 4001, back, sizeof back) == 0 && !memcmp(data, back, sizeof data));
  cr_expect(ops->get(node.endpoint, 1, 4001, back, 1) == 0 && back[0] == 0, "another device's window is untouched");
  atomic_store(&world.shared[0], 1);
  for (int device = 1; device < 3; device++) cr_expect(world_ended_well(&world, device));
  node_close(&node);
  world_destroy(&world);
}

static int adds(const struct fab_ops *ops)
{
  return ops->capabilities & FAB_MAP ? ADDS : ADDS_OVER_A_NETWORK;
}

/* Who has finished stays until all have: others need a home that calls progress. */
static int add_all(struct node *node)
{
  uint64_t old;
  int count = adds(node->ops), devices = node->world->devices;
  for (int i = 0; i < count; i++) must(node->ops->atomic(node->endpoint, FAB_ADD, 0, 128, 8, 1, 0, &old) == 0);
  for (int i = 0; i < count; i++) must(node->ops->atomic(node->endpoint, FAB_ADD, 0, 256, 4, 1, 0, &old) == 0);
  atomic_fetch_add(&node->world->shared[0], 1);
  while (atomic_load(&node->world->shared[0]) < (uint64_t)devices) node_step(node);
  return 0;
}

static void check_together(const struct fab_ops *ops)
{
  struct world world;
  struct node node;
  world_create(&world, ops, 4);
  cr_expect(world_run(&world, add_all));
  cr_assert(node_open(&node, &world, 0) == 0);
  uint64_t sum = 0;
  cr_expect(ops->get(node.endpoint, 0, 128, &sum, sizeof sum) == 0 && sum == 4 * (uint64_t)adds(ops));
  cr_expect(ops->get(node.endpoint, 0, 256, &sum, sizeof sum) == 0 && sum == 4 * (uint64_t)adds(ops));
  node_close(&node);
  world_destroy(&world);
}

Test(fabric_rma, one_process)
{
  const struct fab_ops *ops;
  for (int i = 0; (ops = world_fabric(FAB_RMA, i)); i++) check_alone(ops);
}

Test(fabric_rma, four_processes_add)
{
  const struct fab_ops *ops;
  for (int i = 0; (ops = world_fabric(FAB_RMA, i)); i++) check_together(ops);
}
