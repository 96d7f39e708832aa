/* What the tests of fabrics have in common: see fabric_world.h. */
#include "tests/fabric_world.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

const struct fab_ops *world_fabric(unsigned capability, int index)
{
  const struct fab_ops *ops;
  for (int i = 0; (ops = fab_at(i)); i++) {
    bool refused = ops == &fab_uring && fab_uring_available();
    if (refused && index == 0) cr_log_warn("uring is skipped: %s", strerror(-fab_uring_available()));
    if (!(ops->capabilities & capability) || refused) continue;
    if (index-- == 0) return ops;
  }
  return NULL;
}

static int listener(uint16_t *port)
{
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  cr_assert(fd >= 0 && !bind(fd, (struct sockaddr *)&address, length) && !listen(fd, 128));
  cr_assert(!getsockname(fd, (struct sockaddr *)&address, &length));
  *port = ntohs(address.sin_port);
  return fd;
}

static void *shared_memory(size_t bytes)
{
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  cr_assert(memory != MAP_FAILED);
  return memory;
}

/* ---- Taking turns ------------------------------------------------------------------------------------------------ */

static void hand_over(struct world *world)
{
  do world->turn = (world->turn + 1) % (WORLD_MAX + 1);
  while (!world->actors[world->turn].running);
  pthread_cond_signal(&world->actors[world->turn].handed);
}

/* Waits for the turn of `actor`; with the lock. A killed one goes no further. */
static void await_turn(struct world *world, int actor)
{
  while (world->turn != actor) pthread_cond_wait(&world->actors[actor].handed, &world->lock);
  if (!world->actors[actor].killed) return;
  world->actors[actor].running = false;
  hand_over(world);
  pthread_mutex_unlock(&world->lock);
  pthread_exit(NULL);
}

/* Whoever calls has the turn. */
static void take_turns(void *context)
{
  struct world *world = context;
  int actor = world->turn;
  pthread_mutex_lock(&world->lock);
  hand_over(world);
  await_turn(world, actor);
  pthread_mutex_unlock(&world->lock);
}

static int run_node(struct world *world, int device, int (*body)(struct node *node));

static void *act(void *argument)
{
  struct world_actor *actor = argument;
  struct world *world = actor->world;
  int device = (int)(actor - world->actors);
  pthread_mutex_lock(&world->lock);
  await_turn(world, device);
  pthread_mutex_unlock(&world->lock);
  actor->well = run_node(world, device, actor->body) == 0;
  pthread_mutex_lock(&world->lock);
  actor->running = false;
  hand_over(world);
  pthread_mutex_unlock(&world->lock);
  return NULL;
}

static void start_actor(struct world *world, int device, int (*body)(struct node *node))
{
  struct world_actor *actor = &world->actors[device];
  actor->world = world;
  actor->body = body;
  actor->running = true;
  actor->killed = actor->well = false;
  cr_assert(pthread_create(&actor->thread, NULL, act, actor) == 0);
}

static bool actor_ended_well(struct world *world, int device)
{
  struct world_actor *actor = &world->actors[device];
  while (actor->running) take_turns(world);
  pthread_join(actor->thread, NULL);
  return actor->well;
}

static uint64_t sim_seed(void)
{
  const char *given = getenv("UMA_TEST_SEED");
  uint64_t seed = given ? strtoull(given, NULL, 0) : 1;
  cr_log_info("UMA_TEST_SEED=%llu", (unsigned long long)seed);
  return seed;
}

static void create_sim(struct world *world)
{
  struct fab_sim_options options = {.seed = sim_seed(), .devices = world->devices, .idle = take_turns, .idle_context = world};
  world->config.sim = fab_sim_create(&options);
  cr_assert(world->config.sim);
  pthread_mutex_init(&world->lock, NULL);
  for (int i = 0; i <= WORLD_MAX; i++) pthread_cond_init(&world->actors[i].handed, NULL);
  world->turn = WORLD_MAX;
  world->actors[WORLD_MAX].running = true;
}

/* ---- Contacts ---------------------------------------------------------------------------------------------------- */

#define CONTACTS_BYTES (WORLD_MAX * FAB_CHANNELS * sizeof(struct fab_contact) + sizeof(uint64_t))

/* How often an endpoint was opened: the word behind the contacts. */
static _Atomic uint64_t *openings(const struct world *world)
{
  return (_Atomic uint64_t *)(void *)(world->contacts + WORLD_MAX * FAB_CHANNELS);
}

static int publish(struct node *node)
{
  struct world *world = node->world;
  struct fab_contact contact;
  int error = node->ops->contact(node->endpoint, &contact);
  if (error) return error;
  uint32_t bytes = contact.bytes;
  struct fab_contact *mine = &world->contacts[node->device * FAB_CHANNELS];
  contact.bytes = 0;
  *mine = contact;
  atomic_store((_Atomic uint32_t *)&mine->bytes, bytes); /* from here on it is valid */
  atomic_fetch_add(openings(world), 1);
  return 0;
}

/* Introduces whoever has opened an endpoint meanwhile. */
static void meet(struct node *node)
{
  uint64_t now = atomic_load(openings(node->world));
  if (now == node->seen) return;
  node->seen = now;
  cr_assert(node->ops->connect(node->endpoint, node->world->contacts) == 0);
}

/* ---- Worlds ------------------------------------------------------------------------------------------------------ */

void world_create(struct world *world, const struct fab_ops *ops, int devices)
{
  *world = (struct world){.ops = ops, .devices = devices, .shared = shared_memory(4096)};
  world->config = (struct fab_config){.devices = devices, .count = devices, .window_bytes = WORLD_WINDOW, .ports = world->ports};
  world->config.windows = shared_memory((size_t)devices * WORLD_WINDOW);
  world->config.rings = shared_memory(fab_shm_bytes(devices));
  memset(world->config.key, 0x5a, FAB_KEY_BYTES);
  for (int i = 0; i < devices; i++) {
    world->listen_fd[i] = listener(&world->ports[i * FAB_CHANNELS]);
    world->wake_fd[i] = eventfd(0, EFD_CLOEXEC);
  }
  world->contacts = shared_memory(CONTACTS_BYTES);
  world->config.provider = "tcp;ofi_rxm";
  if (ops == &fab_sim) create_sim(world);
}

void world_destroy(struct world *world)
{
  for (int i = 0; i < world->devices; i++) {
    close(world->listen_fd[i]);
    close(world->wake_fd[i]);
  }
  munmap(world->config.windows, (size_t)world->devices * WORLD_WINDOW);
  munmap(world->config.rings, fab_shm_bytes(world->devices));
  munmap((void *)world->shared, 4096);
  munmap(world->contacts, CONTACTS_BYTES);
  fab_sim_destroy(world->config.sim);
}

static void *on_arrive(void *context, int device, int channel, const struct fab_header *header, size_t *room, void **cookie)
{
  struct node *node = context;
  struct world_message *message = calloc(1, sizeof *message);
  size_t most = node->world->most_room;
  node->arrived++;
  message->header = *header;
  message->device = device;
  message->channel = channel;
  message->room = most && most < header->bytes ? most : header->bytes;
  message->data = malloc(message->room + 1);
  message->data[message->room] = 0xee;
  *room = message->room;
  *cookie = message;
  return message->data;
}

static void on_complete(void *context, int device, int channel, const struct fab_header *header, void *cookie, int error)
{
  struct node *node = context;
  struct world_message *message = cookie;
  message->error = error;
  if (message->device != device || message->channel != channel || memcmp(header, &message->header, sizeof *header) != 0) abort();
  if (message->data[message->room] != 0xee) abort(); /* written beyond its room */
  node->completed++;
  *node->end = message;
  node->end = &message->next;
}

static void on_adopt(void *context, int device, int channel, const struct fab_header *header, void *payload)
{
  struct node *node = context;
  struct world_message *message = calloc(1, sizeof *message);
  *message = (struct world_message){.header = *header, .data = payload, .room = header->bytes, .device = device, .channel = channel};
  message->adopter = node;
  node->adopted++;
  *node->end = message;
  node->end = &message->next;
}

static void on_lost(void *context, int device, bool in_order)
{
  struct node *node = context;
  node->lost++;
  node->lost_device = device;
}

int node_open(struct node *node, struct world *world, int device)
{
  *node = (struct node){.world = world, .device = device, .ops = world->ops, .lost_device = -1};
  node->end = &node->first;
  struct fab_config config = world->config;
  config.device = device;
  config.sink = (struct fab_sink){.context = node, .arrive = on_arrive, .complete = on_complete, .adopt = on_adopt, .lost = on_lost};
  config.listen_fd = world->listen_fd[device];
  config.wake_fds = world->wake_fds ? world->wake_fd : NULL;
  int error = node->ops->open(&config, &node->endpoint);
  if (!error) error = publish(node);
  if (!error) meet(node);
  return error;
}

void node_close(struct node *node)
{
  while (node->first) message_free(node_receive(node));
  node->ops->close(node->endpoint);
}

/* What `body` returns, or 2. */
static int run_node(struct world *world, int device, int (*body)(struct node *node))
{
  struct node node;
  int error = node_open(&node, world, device);
  if (error) {
    fprintf(stderr, "%s: open: %s\n", world->ops->name, strerror(-error));
    return 2;
  }
  if (world->together) node_meet(&node, world->devices);
  int result = body(&node);
  node_close(&node);
  return result;
}

static void run_process(struct world *world, int device, int (*body)(struct node *node))
{
  alarm(60);
  for (int i = 0; i < world->devices; i++)
    if (i != device) close(world->listen_fd[i]); /* or connecting to a dead process would succeed */
  _exit(run_node(world, device, body));
}

void world_start(struct world *world, int device, int (*body)(struct node *node))
{
  if (world->ops == &fab_sim) {
    alarm(60);
    start_actor(world, device, body);
    return;
  }
  world->pids[device] = fork();
  cr_assert(world->pids[device] >= 0);
  if (!world->pids[device]) run_process(world, device, body);
}

bool world_ended_well(struct world *world, int device)
{
  int status;
  if (world->ops == &fab_sim) return actor_ended_well(world, device);
  cr_assert(waitpid(world->pids[device], &status, 0) == world->pids[device]);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void world_kill(struct world *world, int device)
{
  if (world->ops != &fab_sim) {
    kill(world->pids[device], SIGKILL);
    return;
  }
  world->actors[device].killed = true;
  cr_assert(fab_sim_lose(world->config.sim, device) == 0);
}

bool world_run(struct world *world, int (*body)(struct node *node))
{
  bool well = true;
  world->together = true;
  for (int i = 0; i < world->devices; i++) world_start(world, i, body);
  for (int i = 0; i < world->devices; i++) well &= world_ended_well(world, i);
  return well;
}

void node_yield(struct node *node)
{
  if (node->ops == &fab_sim) take_turns(node->world);
  else sched_yield();
}

void node_step(struct node *node)
{
  meet(node);
  if (!node->ops->progress(node->endpoint)) node_yield(node);
}

void node_meet(struct node *node, int devices)
{
  while (atomic_load(openings(node->world)) < (uint64_t)devices) node_step(node);
  meet(node);
}

void node_post(struct node *node, int device, struct fab_send *send)
{
  node->ops->send(node->endpoint, device, FAB_APPLICATION, send);
}

int node_finish(struct node *node, struct fab_send *send)
{
  while (send->status == FAB_PENDING) node_step(node);
  return send->status;
}

int node_send(struct node *node, int device, int tag, const void *payload, size_t bytes, bool staged)
{
  struct fab_send send = {.header = {.kind = 7, .tag = tag, .bytes = bytes, .a = 1, .b = 2}, .payload = payload, .staged = staged};
  node_post(node, device, &send);
  return node_finish(node, &send);
}

struct world_message *node_receive(struct node *node)
{
  while (!node->first) node_step(node);
  struct world_message *message = node->first;
  node->first = message->next;
  if (!node->first) node->end = &node->first;
  return message;
}

void message_free(struct world_message *message)
{
  if (message->adopter) message->adopter->ops->release(message->adopter->endpoint, message->data);
  else free(message->data);
  free(message);
}
