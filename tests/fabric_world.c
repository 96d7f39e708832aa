/* What the tests of fabrics have in common: see fabric_world.h. */
#include "tests/fabric_world.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
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

static void on_lost(void *context, int device)
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
  config.sink = (struct fab_sink){node, on_arrive, on_complete, on_lost};
  config.listen_fd = world->listen_fd[device];
  config.wake_fds = world->wake_fds ? world->wake_fd : NULL;
  return node->ops->open(&config, &node->endpoint);
}

void node_close(struct node *node)
{
  node->ops->close(node->endpoint);
  while (node->first) {
    struct world_message *message = node->first;
    node->first = message->next;
    message_free(message);
  }
}

static void run_device(struct world *world, int device, int (*body)(struct node *node))
{
  struct node node;
  alarm(60);
  for (int i = 0; i < world->devices; i++)
    if (i != device) close(world->listen_fd[i]); /* or connecting to a dead process would succeed */
  int error = node_open(&node, world, device);
  if (error) {
    fprintf(stderr, "%s: open: %s\n", world->ops->name, strerror(-error));
    _exit(2);
  }
  int result = body(&node);
  node_close(&node);
  _exit(result);
}

pid_t world_start(struct world *world, int device, int (*body)(struct node *node))
{
  pid_t pid = fork();
  cr_assert(pid >= 0);
  if (!pid) run_device(world, device, body);
  return pid;
}

bool world_ended_well(pid_t pid)
{
  int status;
  cr_assert(waitpid(pid, &status, 0) == pid);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool world_run(struct world *world, int (*body)(struct node *node))
{
  pid_t pids[WORLD_MAX];
  bool well = true;
  for (int i = 0; i < world->devices; i++) pids[i] = world_start(world, i, body);
  for (int i = 0; i < world->devices; i++) well &= world_ended_well(pids[i]);
  return well;
}

void node_step(struct node *node)
{
  if (!node->ops->progress(node->endpoint)) sched_yield();
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
  free(message->data);
  free(message);
}

static unsigned char pattern_at(size_t at, unsigned seed)
{
  return (unsigned char)((at * 2654435761u + seed * 40503u) >> 11);
}

void pattern_fill(unsigned char *data, size_t bytes, unsigned seed)
{
  for (size_t i = 0; i < bytes; i++) data[i] = pattern_at(i, seed);
}

bool pattern_holds(const unsigned char *data, size_t bytes, unsigned seed)
{
  for (size_t i = 0; i < bytes; i++)
    if (data[i] != pattern_at(i, seed)) return false;
  return true;
}
