/* Connections to a uring endpoint that bring a wrong key, another version, garbage, half a hello, or bad messages are dropped; none of
 * it crashes or hangs the endpoint, and real peers go on. */
#include "tests/fabric_world.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "fabric/uring.h"

#define HELLO_MAGIC 0x6f6c6c6568616d75ull
#define WIRE_MAGIC 0x4d414d55u

static int dial(const struct world *world)
{
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(world->ports[0]), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  cr_assert(fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof address));
  return fd;
}

static struct fab_uring_hello good_hello(void)
{
  struct fab_uring_hello hello = {.magic = HELLO_MAGIC, .version = FAB_URING_VERSION, .from_device = 2};
  memset(hello.key, 0x5a, sizeof hello.key);
  return hello;
}

/* Whether the endpoint ended the connection; makes it progress meanwhile. */
static bool dropped(struct node *node, int fd)
{
  char bytes[64]; /* a welcome may come first */
  for (int i = 0; i < 10000; i++) {
    node->ops->progress(node->endpoint);
    struct pollfd descriptor = {.fd = fd, .events = POLLIN};
    if (poll(&descriptor, 1, 1) == 1 && recv(fd, bytes, sizeof bytes, 0) <= 0) return true;
  }
  return false;
}

static void expect_dropped(struct node *node, const void *bytes, size_t count, const char *what)
{
  int fd = dial(node->world);
  uint64_t before = ((struct fab_uring_endpoint *)node->endpoint)->rejected;
  cr_assert(send(fd, bytes, count, MSG_NOSIGNAL) == (ssize_t)count);
  if (count < sizeof(struct fab_uring_hello)) shutdown(fd, SHUT_WR);
  cr_expect(dropped(node, fd), "%s", what);
  cr_expect(((struct fab_uring_endpoint *)node->endpoint)->rejected == before + 1, "%s is counted", what);
  close(fd);
}

static void bad_hellos(struct node *node)
{
  struct fab_uring_hello hello = good_hello();
  hello.key[FAB_KEY_BYTES - 1] ^= 1;
  expect_dropped(node, &hello, sizeof hello, "a wrong key");
  hello = good_hello();
  hello.version++;
  expect_dropped(node, &hello, sizeof hello, "another version");
  hello = good_hello();
  hello.from_device = node->world->devices;
  expect_dropped(node, &hello, sizeof hello, "a device out of range");
  hello.from_device = -1;
  expect_dropped(node, &hello, sizeof hello, "a negative device");
  hello = good_hello();
  hello.from_channel = FAB_CHANNELS;
  expect_dropped(node, &hello, sizeof hello, "a channel out of range");
  hello = good_hello();
  hello.to_device = 1;
  expect_dropped(node, &hello, sizeof hello, "a hello for another device");
  hello = good_hello();
  expect_dropped(node, &hello, sizeof hello - 5, "half a hello");
  char garbage[4096];
  memset(garbage, 0xa5, sizeof garbage);
  expect_dropped(node, garbage, sizeof garbage, "garbage");
}

/* A stranger who knows the key, and then speaks nonsense. */
static void bad_header(struct node *node)
{
  struct {
    struct fab_uring_hello hello;
    struct fab_uring_wire wire;
  } talk = {.hello = good_hello(), .wire = {.magic = 1}};
  expect_dropped(node, &talk, sizeof talk, "a malformed header");
}

/* Connections that say nothing: the oldest is dropped once there are too many. */
static void many_silent(struct node *node)
{
  int fds[200];
  for (int i = 0; i < 200; i++) {
    fds[i] = dial(node->world);
    node->ops->progress(node->endpoint);
  }
  cr_expect(dropped(node, fds[0]));
  for (int i = 0; i < 200; i++) close(fds[i]);
}

static int peer(struct node *node)
{
  for (int i = 0; i < 3000; i++) must(node_send(node, 0, i, &i, sizeof i, false) == 0);
  return 0;
}

static void expect_messages(struct node *node, int from, int to)
{
  for (int i = from; i < to; i++) {
    struct world_message *message = node_receive(node);
    cr_assert(message->device == 1 && message->header.tag == i && message->error == 0);
    message_free(message);
  }
}

Test(fabric_strangers, are_dropped, .timeout = 120)
{
  if (fab_uring_available()) cr_skip_test("io_uring: %s", strerror(-fab_uring_available()));
  struct world world;
  struct node node;
  world_create(&world, &fab_uring, 3);
  world_start(&world, 1, peer);
  cr_assert(node_open(&node, &world, 0) == 0);
  expect_messages(&node, 0, 1000);
  bad_hellos(&node);
  expect_messages(&node, 1000, 2000);
  bad_header(&node);
  many_silent(&node);
  expect_messages(&node, 2000, 3000);
  cr_expect(world_ended_well(&world, 1));
  node_close(&node);
  world_destroy(&world);
}

/* Announces 2^63 bytes, brings some, and ends: cut off at the room, and completed with an error. */
Test(fabric_strangers, absurd_length, .timeout = 120)
{
  if (fab_uring_available()) cr_skip_test("io_uring: %s", strerror(-fab_uring_available()));
  static struct {
    struct fab_uring_hello hello;
    struct fab_uring_wire wire;
    char bytes[1 << 20];
  } talk;
  struct world world;
  struct node node;
  world_create(&world, &fab_uring, 3);
  world.most_room = 50000;
  cr_assert(node_open(&node, &world, 0) == 0);
  for (unsigned staged = 0; staged < 2; staged++) {
    talk.hello = good_hello();
    talk.hello.from_device = 1 + (int)staged;
    talk.wire = (struct fab_uring_wire){.magic = WIRE_MAGIC, .flags = staged, .header = {.bytes = 1ull << 63}};
    int fd = dial(&world);
    cr_assert(send(fd, &talk, sizeof talk, MSG_NOSIGNAL) == sizeof talk);
    close(fd);
    struct world_message *message = node_receive(&node);
    cr_expect(message->room == 50000 && message->error != 0);
    message_free(message);
    while (node.lost <= (int)staged) node_step(&node);
  }
  node_close(&node);
  world_destroy(&world);
}
