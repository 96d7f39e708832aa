/* Large payloads that the ofi fabric writes to where they are adopted: they arrive whole and in order, over each provider; nobody waits for a place; who is
 * killed in the middle leaves nothing that anybody sees; what makes no sense is refused. */
#include "tests/fabric_world.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fabric/ofi.h"

enum { ADOPTED = 100000, ROUNDS = 60, HELD = 3 * FAB_OFI_BERTHS, KILLS = 6, PROVIDERS = 16 };

static bool has_berths(const char *provider)
{
  return !strcmp(provider, "net") || !strcmp(provider, "tcp;ofi_rxm");
}

static size_t size_of(int i)
{
  static const size_t sizes[] = {0, ADOPTED, 100, FAB_OFI_PAYLOAD, FAB_OFI_PAYLOAD + 1, ADOPTED + 1, 70000, 20000};
  return sizes[i % 8];
}

/* Both send at once, several under way; some payloads are too large to be adopted, some go in fragments. */
static int talk(struct node *node)
{
  static unsigned char data[8][ADOPTED + 1];
  struct fab_send sends[8];
  for (int i = 0; i < ROUNDS; i++) {
    struct fab_send *send = &sends[i % 8];
    size_t bytes = size_of(i);
    if (i >= 8) must(node_finish(node, send) == 0);
    pattern_fill(data[i % 8], bytes, (unsigned)i);
    *send = (struct fab_send){.header = {.tag = i, .bytes = bytes}, .payload = data[i % 8], .staged = i % 24 == 6};
    node_post(node, !node->device, send);
    if (i % 3 == 0) continue;
    while (node->first) message_free(node_receive(node)); /* now and then, so that some have to wait */
  }
  for (int i = 0; i < 8; i++) must(node_finish(node, &sends[i]) == 0);
  return 0;
}

static int next_tag; /* of what comes */

static int check_next(struct node *node)
{
  struct world_message *message = node_receive(node);
  must(message->error == 0 && message->header.tag == next_tag && message->room == size_of(next_tag));
  must(pattern_holds(message->data, message->room, (unsigned)next_tag));
  next_tag++;
  message_free(message);
  return 0;
}

/* One after the other, so that everything can be looked at. */
static int exchange(struct node *node)
{
  static unsigned char data[ADOPTED + 1];
  for (int i = 0; i < ROUNDS; i++) {
    pattern_fill(data, size_of(i), (unsigned)i);
    must(node_send(node, !node->device, i, data, size_of(i), false) == 0 || node->lost);
    must(check_next(node) == 0);
  }
  return 0;
}

static int leave_together(struct node *node)
{
  atomic_fetch_add(&node->world->shared[0], 1);
  while (atomic_load(&node->world->shared[0]) < 2) node_step(node);
  return 0;
}

static int talk_and_count(struct node *node)
{
  must(exchange(node) == 0 && talk(node) == 0);
  atomic_store(&node->world->shared[1 + node->device], (uint64_t)node->adopted);
  return leave_together(node);
}

Test(fabric_berths, payloads_arrive_over_each_provider, .timeout = 120)
{
  static struct fab_ofi_provider providers[PROVIDERS];
  int count = fab_ofi_providers(NULL, providers, PROVIDERS);
  cr_assert(count > 0, "%d", count);
  for (int i = 0; i < count; i++) {
    struct world world;
    world_create(&world, &fab_ofi, 2);
    world.config.provider = providers[i].name;
    world.config.adopted_bytes = ADOPTED;
    cr_expect(world_run(&world, talk_and_count), "%s", providers[i].name);
    for (int d = 0; d < 2; d++)
      cr_expect((world.shared[1 + d] > 0) == has_berths(providers[i].name), "%s: device %d adopted %llu", providers[i].name, d,
                (unsigned long long)world.shared[1 + d]);
    world_destroy(&world);
  }
}

/* The receiver keeps all that it adopts, and then gives it back at once, last first. */
static int hold(struct node *node)
{
  struct world_message *held[HELD];
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < HELD; i++) {
      held[i] = node_receive(node);
      must(held[i]->error == 0 && held[i]->header.tag == i && pattern_holds(held[i]->data, ADOPTED, (unsigned)i));
    }
    must(node->adopted == (round + 1) * FAB_OFI_BERTHS); /* the rest was lent */
    for (int i = 0; i < HELD; i++) must(pattern_holds(held[i]->data, ADOPTED, (unsigned)i));
    for (int i = HELD - 1; i >= 0; i--) message_free(held[i]);
    atomic_fetch_add(&node->world->shared[1], 1);
    for (int i = 0; i < 10000; i++) node_step(node); /* what is free again is said */
  }
  return leave_together(node);
}

static int send_held(struct node *node)
{
  static unsigned char data[ADOPTED];
  must(node_send(node, 0, -1, data, ADOPTED, false) == 0); /* then it has berths */
  while (!((struct fab_ofi_endpoint *)node->endpoint)->peers[0].offered) node_step(node);
  for (uint64_t round = 0; round < 2; round++) {
    while (atomic_load(&node->world->shared[1]) < round) node_step(node);
    while (__builtin_popcount(((struct fab_ofi_endpoint *)node->endpoint)->peers[0].free_berths) < FAB_OFI_BERTHS) node_step(node);
    for (int i = 0; i < HELD; i++) {
      pattern_fill(data, ADOPTED, (unsigned)i);
      must(node_send(node, 0, i, data, ADOPTED, false) == 0);
    }
  }
  return leave_together(node);
}

static int hold_or_send(struct node *node)
{
  if (node->device) return send_held(node);
  struct world_message *first = node_receive(node);
  must(first->header.tag == -1 && !first->adopter);
  message_free(first);
  return hold(node);
}

Test(fabric_berths, who_keeps_what_it_adopted_lets_nobody_wait, .timeout = 60)
{
  struct world world;
  world_create(&world, &fab_ofi, 2);
  world.config.adopted_bytes = ADOPTED;
  cr_expect(world_run(&world, hold_or_send));
  world_destroy(&world);
}

static int send_for_ever(struct node *node)
{
  static unsigned char data[ADOPTED];
  for (int i = 0;; i++) {
    pattern_fill(data, ADOPTED, (unsigned)i);
    must(node_send(node, 0, i, data, ADOPTED, false) == 0);
  }
}

/* Every message is whole, also the last one; what is half there has no message. */
Test(fabric_berths, a_sender_killed_in_the_middle_leaves_nothing_half, .timeout = 60)
{
  for (int kill = 0; kill < KILLS; kill++) {
    struct world world;
    struct node node;
    int count = 0;
    world_create(&world, &fab_ofi, 2);
    world.config.provider = kill % 2 ? "net" : "tcp;ofi_rxm";
    world.config.adopted_bytes = ADOPTED;
    world.config.silence_ns = 500000000;
    world.config.watch = true; /* nothing may be owed when it dies */
    world_start(&world, 1, send_for_ever);
    cr_assert(node_open(&node, &world, 0) == 0);
    node_meet(&node, 2);
    while (!node.lost) {
      node_step(&node);
      while (node.first) {
        struct world_message *message = node_receive(&node);
        cr_assert(message->error || (message->header.tag == count && pattern_holds(message->data, ADOPTED, (unsigned)count)));
        message_free(message);
        if (++count == 40 + 7 * kill) world_kill(&world, 1);
      }
    }
    cr_expect(!world_ended_well(&world, 1) && node.adopted > 30, "%d adopted", node.adopted);
    node_close(&node);
    world_destroy(&world);
  }
}

/* The sender's memory is not its own before the write has ended; a receiver that stops reading is lost, and then it is. */
static int freeze(struct node *node)
{
  struct world_message *first = node_receive(node);
  message_free(first);
  for (int i = 0; i < 10000; i++) node_step(node); /* the offer leaves */
  atomic_store(&node->world->shared[0], 1);
  raise(SIGSTOP);
  return 1;
}

Test(fabric_berths, a_receiver_that_falls_silent_gives_payloads_back, .timeout = 60)
{
  static unsigned char data[FAB_OFI_BERTHS + 2][4 << 20];
  struct fab_send sends[FAB_OFI_BERTHS + 2];
  struct world world;
  struct node node;
  world_create(&world, &fab_ofi, 2);
  world.config.adopted_bytes = sizeof data[0];
  world.config.silence_ns = 500000000;
  world_start(&world, 1, freeze);
  cr_assert(node_open(&node, &world, 0) == 0);
  node_meet(&node, 2);
  cr_assert(node_send(&node, 1, 0, data[0], sizeof data[0], false) == 0);
  while (!atomic_load(&world.shared[0])) node_step(&node);
  for (int i = 0; i < FAB_OFI_BERTHS + 2; i++) {
    sends[i] = (struct fab_send){.header = {.tag = i, .bytes = sizeof data[i]}, .payload = data[i]};
    node_post(&node, 1, &sends[i]);
  }
  while (!node.lost) node_step(&node);
  for (int i = 0; i < FAB_OFI_BERTHS + 2; i++)
    cr_expect(sends[i].status == 0 || sends[i].status == -EHOSTDOWN, "%d: %d", i, sends[i].status);
  cr_expect(sends[FAB_OFI_BERTHS + 1].status == -EHOSTDOWN);
  world_kill(&world, 1);
  cr_expect(!world_ended_well(&world, 1));
  node_close(&node);
  world_destroy(&world);
}
