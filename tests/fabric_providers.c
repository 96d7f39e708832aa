/* The ofi fabric over each provider of libfabric that this host has: messages, large and small, put, get, atomics, a killed peer; a silent
 * one; strangers; and what the fabric does for providers that want more than those here do (local registration, atomics by message). */
#include "tests/fabric_world.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fabric/ofi.h"

#define PROVIDERS 16
#define ROUNDS 50
#define LARGE 300000

/* What a node does with its endpoint before it begins: stands for a provider that wants or has less. */
static void (*adapt)(struct fab_ofi_endpoint *e);

static void adapted(struct node *node)
{
  if (adapt) adapt((struct fab_ofi_endpoint *)node->endpoint);
}

/* Each message is answered by the next, small and large, copied, lent and staged. */
static int talk(struct node *node)
{
  static unsigned char data[LARGE];
  for (int i = 0; i < ROUNDS; i++) {
    size_t bytes = i % 10 == 9 ? LARGE : (size_t)i * 100;
    if (i % 2 == node->device) {
      pattern_fill(data, bytes, (unsigned)i);
      must(node_send(node, !node->device, i, data, bytes, i % 20 == 19) == 0);
      continue;
    }
    struct world_message *message = node_receive(node);
    must(message->error == 0 && message->header.tag == i && message->room == bytes);
    must(pattern_holds(message->data, bytes, (unsigned)i));
    message_free(message);
  }
  return 0;
}

static int access_memory(struct node *node)
{
  static unsigned char data[WORLD_WINDOW / 2], back[sizeof data];
  const struct fab_ops *ops = node->ops;
  int other = !node->device;
  uint64_t old = 1;
  pattern_fill(data, sizeof data, (unsigned)node->device);
  for (size_t bytes = 1; bytes <= sizeof data; bytes *= 4) {
    must(ops->put(node->endpoint, other, 1024, data, bytes) == 0);
    must(ops->get(node->endpoint, other, 1024, back, bytes) == 0 && !memcmp(data, back, bytes));
  }
  for (int i = 0; i < ROUNDS; i++) must(ops->atomic(node->endpoint, FAB_ADD, 0, 8, 8, 1, 0, &old) == 0);
  must(ops->atomic(node->endpoint, FAB_STORE, other, 2, 2, 0xabcd, 0, NULL) == 0);
  must(ops->atomic(node->endpoint, FAB_LOAD, other, 2, 2, 0, 0, &old) == 0 && old == 0xabcd);
  must(ops->atomic(node->endpoint, FAB_CAS, other, 16, 4, 7, 0, &old) == 0 && old == 0);
  must(ops->atomic(node->endpoint, FAB_CAS, other, 16, 4, 9, 0, &old) == 0 && old == 7);
  must(ops->put(node->endpoint, other, WORLD_WINDOW - 4, data, 5) == -EFAULT);
  must(ops->atomic(node->endpoint, FAB_ADD, other, WORLD_WINDOW, 8, 1, 0, &old) == -EFAULT);
  return 0;
}

static int body(struct node *node)
{
  adapted(node);
  must(talk(node) == 0 && access_memory(node) == 0);
  atomic_fetch_add(&node->world->shared[0], 1);
  while (atomic_load(&node->world->shared[0]) < 2) node_step(node);
  uint64_t sum;
  must(node->ops->get(node->endpoint, 0, 8, &sum, sizeof sum) == 0 && sum == 2 * ROUNDS);
  atomic_fetch_add(&node->world->shared[1], 1); /* nobody leaves while the other still reads */
  while (atomic_load(&node->world->shared[1]) < 2) node_step(node);
  return 0;
}

static bool runs_over(const char *provider, int (*run)(struct node *node))
{
  struct world world;
  world_create(&world, &fab_ofi, 2);
  world.config.provider = provider;
  bool well = world_run(&world, run);
  world_destroy(&world);
  return well;
}

/* It is killed while device 0 waits for its answer: nobody says so but the provider. */
static int die(struct node *node)
{
  node_meet(node, 2);
  must(node_send(node, 0, 1, NULL, 0, false) == 0);
  while (node->arrived < 1) node_step(node);
  atomic_store(&node->world->shared[0], 1);
  raise(SIGKILL);
  return 1;
}

static void notices_death(const char *provider)
{
  struct world world;
  struct node node;
  uint64_t word = 0;
  world_create(&world, &fab_ofi, 2);
  world.config.provider = provider;
  world.config.silence_ns = 2000000000;
  world_start(&world, 1, die);
  cr_assert(node_open(&node, &world, 0) == 0);
  node_meet(&node, 2);
  message_free(node_receive(&node));
  cr_expect(node_send(&node, 1, 2, NULL, 0, false) == 0);
  while (!atomic_load(&world.shared[0])) node_step(&node);
  cr_expect(!world_ended_well(&world, 1));
  int put = node.ops->put(node.endpoint, 1, 0, &word, sizeof word);
  int get = node.ops->get(node.endpoint, 1, 0, &word, sizeof word);
  cr_expect(get == -EHOSTDOWN, "%s: put %d, get %d", provider, put, get);
  while (!node.lost) node_step(&node);
  cr_expect(node.lost == 1 && node_send(&node, 1, 3, NULL, 0, false) == -EHOSTDOWN, "%s", provider);
  node_close(&node);
  world_destroy(&world);
}

/* Nobody answers, ever: it is alive for the network and silent for us, like a host whose cable is cut. */
static int freeze(struct node *node)
{
  node_meet(node, 2);
  must(node_send(node, 0, 1, NULL, 0, false) == 0);
  while (!atomic_load(&node->world->shared[0])) node_step(node);
  raise(SIGSTOP);
  return 1;
}

static int freeze_at_once(struct node *node)
{
  raise(SIGSTOP);
  return 1;
}

static void expect_all_to_fail(struct node *node, struct fab_send *lent)
{
  uint64_t word = 0;
  cr_expect(node->ops->get(node->endpoint, 1, 0, &word, sizeof word) == -EHOSTDOWN);
  cr_expect(node->ops->put(node->endpoint, 1, 0, &word, sizeof word) == -EHOSTDOWN);
  cr_expect(node->ops->atomic(node->endpoint, FAB_ADD, 1, 0, 8, 1, 0, &word) == -EHOSTDOWN);
  while (!node->lost) node_step(node);
  cr_expect(lent->status == -EHOSTDOWN && node->lost == 1 && node_send(node, 1, 3, NULL, 0, false) == -EHOSTDOWN);
}

/* shm's processes leave a file behind when they are killed, and look at each other's memory: only the orderly part is for it. */
static bool may_be_killed(const char *provider)
{
  return !strstr(provider, "shm");
}

Test(fabric_providers, each_that_is_offered, .timeout = 120)
{
  static struct fab_ofi_provider providers[PROVIDERS];
  int count = fab_ofi_providers(NULL, providers, PROVIDERS), chosen = 0;
  cr_assert(count > 0, "%d", count);
  for (int i = 0; i < count; i++) {
    cr_log_info("%s: %s", providers[i].name, providers[i].remark);
    chosen += providers[i].chosen;
    cr_expect(runs_over(providers[i].name, body), "%s", providers[i].name);
    if (may_be_killed(providers[i].name)) notices_death(providers[i].name);
  }
  cr_expect(chosen == 1, "%d are chosen by default", chosen);
}

Test(fabric_providers, silence_is_a_loss, .timeout = 60)
{
  static unsigned char data[LARGE];
  struct fab_send lent = {.header = {.bytes = LARGE}, .payload = data};
  struct world world;
  struct node node;
  world_create(&world, &fab_ofi, 2);
  world.config.silence_ns = 500000000;
  world_start(&world, 1, freeze);
  cr_assert(node_open(&node, &world, 0) == 0);
  message_free(node_receive(&node));
  atomic_store(&world.shared[0], 1);
  int status;
  cr_assert(waitpid(world.pids[1], &status, WUNTRACED) == world.pids[1] && WIFSTOPPED(status));
  node_post(&node, 1, &lent);
  expect_all_to_fail(&node, &lent);
  world_kill(&world, 1);
  cr_expect(!world_ended_well(&world, 1));
  node_close(&node);
  world_destroy(&world);
}

/* Killed before anything connected to it. */
Test(fabric_providers, who_never_answered_is_lost, .timeout = 60)
{
  struct world world;
  struct node node;
  struct fab_send send = {.header = {.bytes = 0}};
  world_create(&world, &fab_ofi, 2);
  world.config.silence_ns = 500000000;
  world_start(&world, 1, freeze_at_once);
  cr_assert(node_open(&node, &world, 0) == 0);
  node_meet(&node, 2);
  world_kill(&world, 1);
  cr_expect(!world_ended_well(&world, 1));
  node_post(&node, 1, &send);
  cr_expect(node_finish(&node, &send) == -EHOSTDOWN && node.lost == 1);
  node_close(&node);
  world_destroy(&world);
}

Test(fabric_providers, the_one_that_is_chosen_by_default)
{
  cr_expect(runs_over(NULL, body));
}

Test(fabric_providers, unknown_names_are_errors)
{
  struct fab_config config = {.devices = 1, .provider = "no-such-provider"};
  struct fab_endpoint *endpoint;
  cr_expect(fab_ofi.open(&config, &endpoint) < 0);
  config = (struct fab_config){.devices = 1, .interface = "no-such-interface"};
  cr_expect(fab_ofi.open(&config, &endpoint) == -ENODEV);
}

/* ---- providers that are not here */

static void without_atomics(struct fab_ofi_endpoint *e)
{
  e->native_atomics = false;
}

static void with_local_registration(struct fab_ofi_endpoint *e)
{
  e->register_local = true;
}

Test(fabric_providers, atomics_by_message)
{
  adapt = without_atomics;
  cr_expect(runs_over("tcp;ofi_rxm", body));
}

Test(fabric_providers, local_memory_is_registered)
{
  adapt = with_local_registration;
  cr_expect(runs_over("tcp;ofi_rxm", body));
}

/* ---- strangers: endpoints of libfabric that say what they should not */

/* An endpoint of its own makes the connection; what goes over it is written here. To node 0, whichever of its addresses. */
static void say_to(struct node *node, struct node *stranger, fi_addr_t address, const struct fab_ofi_wire *wire, size_t bytes)
{
  struct fab_ofi_endpoint *e = (struct fab_ofi_endpoint *)stranger->endpoint;
  struct fab_ofi_buffer *buffer = e->free;
  cr_assert(buffer);
  e->free = buffer->next;
  memcpy(buffer->wire, wire, sizeof *wire);
  buffer->op.peer = 0;
  while (fi_send(e->ep, buffer->wire, bytes, NULL, address, &buffer->op) == -FI_EAGAIN) {
    node_step(stranger);
    node_step(node);
    struct fab_ofi_endpoint *to = (struct fab_ofi_endpoint *)node->endpoint;
    if (to->reach_cq) fab_ofi_poll_reach(to);
  }
  e->in_flight++;
  e->peers[0].in_flight++;
}

static void say(struct node *node, struct node *stranger, const struct fab_ofi_wire *wire, size_t bytes)
{
  say_to(node, stranger, ((struct fab_ofi_endpoint *)stranger->endpoint)->peers[0].address, wire, bytes);
}

static struct fab_ofi_wire good(const struct node *stranger)
{
  const struct fab_ofi_endpoint *e = (struct fab_ofi_endpoint *)stranger->endpoint;
  const unsigned char key[FAB_KEY_BYTES] = {1}; /* not the job's */
  return (struct fab_ofi_wire){
      .magic = 0x6f6d7500u + FAB_OFI_VERSION, .kind = FAB_OFI_MESSAGE, .from = e->number, .token = fab_ofi_token(key, e->number, 0)};
}

static uint64_t dropped(const struct node *node)
{
  return ((const struct fab_ofi_endpoint *)node->endpoint)->dropped;
}

static void expect_dropped(struct node *node, struct node *stranger, const struct fab_ofi_wire *wire, size_t bytes, const char *what)
{
  uint64_t before = dropped(node);
  say(node, stranger, wire, bytes);
  for (int i = 0; i < 1000000 && dropped(node) == before; i++) {
    node_step(stranger);
    node_step(node);
  }
  cr_expect(dropped(node) == before + 1 && node->arrived == 0, "%s", what);
}

static void strangers_without_key(struct node *node, struct node *stranger)
{
  struct fab_ofi_wire wire = good(stranger);
  expect_dropped(node, stranger, &wire, sizeof wire, "a token under another key");
  wire.magic++;
  expect_dropped(node, stranger, &wire, sizeof wire, "another version");
  expect_dropped(node, stranger, &wire, 10, "half a header");
  wire = good(stranger);
  wire.from = node->world->devices * FAB_CHANNELS;
  expect_dropped(node, stranger, &wire, sizeof wire, "a sender out of range");
  wire.from = -1;
  expect_dropped(node, stranger, &wire, sizeof wire, "a negative sender");
  wire = good(stranger);
  wire.to = 1;
  expect_dropped(node, stranger, &wire, sizeof wire, "another receiver");
}

/* Who has the key of the job, and speaks nonsense. */
static void nonsense(struct node *node, struct node *stranger)
{
  struct fab_ofi_wire wire = good(stranger);
  wire.token = ((struct fab_ofi_endpoint *)stranger->endpoint)->peers[0].token_out;
  wire.kind = FAB_OFI_KINDS;
  expect_dropped(node, stranger, &wire, sizeof wire, "an unknown kind");
  wire.kind = FAB_OFI_RETURN;
  expect_dropped(node, stranger, &wire, sizeof wire, "a loan that was never given");
  wire.kind = FAB_OFI_MESSAGE;
  wire.sequence = 1u << 31;
  expect_dropped(node, stranger, &wire, sizeof wire, "a sequence far away");
  wire.sequence = 0;
  wire.kind = FAB_OFI_FRAGMENT;
  expect_dropped(node, stranger, &wire, sizeof wire, "a fragment of nothing");
  while (!node->lost) node_step(node);
  cr_expect(node->lost_device == 1);
}

/* One process for both, so that what was dropped can be seen. */
Test(fabric_providers, strangers_are_dropped, .timeout = 60)
{
  struct world world;
  struct node node, stranger;
  world_create(&world, &fab_ofi, 3);
  cr_assert(node_open(&node, &world, 0) == 0 && node_open(&stranger, &world, 1) == 0);
  node_step(&node);
  strangers_without_key(&node, &stranger);
  nonsense(&node, &stranger);
  node_close(&stranger);
  node_close(&node);
  world_destroy(&world);
}

static int offer_memory(struct node *node)
{
  node_meet(node, 2);
  while (!atomic_load(&node->world->shared[0])) node_step(node);
  return 0;
}

/* Where an endpoint of libfabric is there for accesses alone, it takes no message, whatever proof it brings, and keeps none. */
Test(fabric_providers, who_accesses_memory_takes_no_messages_there, .timeout = 60)
{
  struct world world;
  struct node node, stranger;
  world_create(&world, &fab_ofi, 3);
  world.config.provider = "tcp;ofi_rxm";
  world_start(&world, 1, offer_memory);
  cr_assert(node_open(&node, &world, 0) == 0 && node_open(&stranger, &world, 2) == 0);
  node_meet(&node, 3);
  node_step(&stranger);
  uint64_t word = 1;
  cr_assert(node.ops->put(node.endpoint, 1, 0, &word, sizeof word) == 0);
  struct fab_ofi_endpoint *e = (struct fab_ofi_endpoint *)node.endpoint, *other = (struct fab_ofi_endpoint *)stranger.endpoint;
  unsigned char address[64];
  size_t bytes = sizeof address;
  fi_addr_t reach;
  cr_assert(e->reach_cq && !fi_getname(&e->reach->fid, address, &bytes) && fi_av_insert(other->av, address, 1, &reach, 0, NULL) == 1);
  struct fab_ofi_wire wire = good(&stranger);
  wire.token = other->peers[0].token_out;
  say_to(&node, &stranger, reach, &wire, sizeof wire);
  for (int i = 0; i < 1000000 && !e->dropped; i++) {
    node_step(&stranger);
    fab_ofi_poll_reach(e);
  }
  cr_expect(e->dropped == 1 && node.arrived == 0);
  cr_expect(node.ops->get(node.endpoint, 1, 0, &word, sizeof word) == 0 && word == 1, "goes on");
  atomic_store(&world.shared[0], 1);
  cr_expect(world_ended_well(&world, 1));
  node_close(&stranger);
  node_close(&node);
  world_destroy(&world);
}

/* SipHash's own test vector: 8 bytes 00 01 ... 07 under the key 00 01 ... 0f. */
Test(fabric_providers, the_token_is_siphash)
{
  unsigned char key[FAB_KEY_BYTES];
  for (int i = 0; i < FAB_KEY_BYTES; i++) key[i] = (unsigned char)i;
  cr_expect_eq(fab_ofi_token(key, 0x07060504, 0x03020100), 0x93f5f5799a932462ull);
}
