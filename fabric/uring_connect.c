/* Connections of the uring fabric: connect, greet, and of the higher hello (the welcome) | accept, hello, and to the higher greet (the welcome).
 *
 * Two endpoints use one, in both directions: TCP's acknowledgements then travel with messages. The opener's hello proves the
 * job's key before anything else is accepted; what is bad is counted, reported once, and dropped. When both open at once, the one of the
 * endpoint with the lower number is used: the higher one holds its sends until the lower one has welcomed its connection, or
 * has opened one, to which they then move. Nothing was sent on the one that is given up, so messages stay in order.
 * Whatever comes on an accepted connection is read all the same: close sends what is held without waiting for the welcome. */
#include "fabric/uring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HELLO_MAGIC 0x6f6c6c6568616d75ull
#define WELCOME_MAGIC 0x636c6577616d75ull
#define SPARE_STRANGERS 64

static void prepare_connect(struct fab_uring_link *link)
{
  struct io_uring_sqe *sqe = fab_uring_sqe(link->endpoint);
  io_uring_prep_connect(sqe, link->fd, (struct sockaddr *)&link->address, sizeof link->address);
  fab_uring_tag(link->endpoint, sqe, link, FAB_URING_CONNECT);
}

static void prepare_greet(struct fab_uring_link *link)
{
  struct io_uring_sqe *sqe = fab_uring_sqe(link->endpoint);
  size_t done = link->rx.fill;
  io_uring_prep_send(sqe, link->fd, (unsigned char *)&link->hello + done, sizeof link->hello - done, MSG_NOSIGNAL | MSG_WAITALL);
  fab_uring_tag(link->endpoint, sqe, link, FAB_URING_GREET);
}

static void prepare_hello(struct fab_uring_link *link)
{
  struct io_uring_sqe *sqe = fab_uring_sqe(link->endpoint);
  size_t done = link->rx.fill;
  io_uring_prep_recv(sqe, link->fd, (unsigned char *)&link->hello + done, sizeof link->hello - done, MSG_WAITALL);
  fab_uring_tag(link->endpoint, sqe, link, FAB_URING_HELLO);
}

static struct fab_uring_hello hello_to(const struct fab_uring_endpoint *e, int remote)
{
  struct fab_uring_hello hello = {.magic = HELLO_MAGIC, .version = FAB_URING_VERSION};
  memcpy(hello.key, e->config.key, FAB_KEY_BYTES);
  hello.from_device = e->config.device;
  hello.from_channel = (int)e->config.channel;
  hello.to_device = remote / FAB_CHANNELS;
  hello.to_channel = remote % FAB_CHANNELS;
  return hello;
}

static int own_number(const struct fab_uring_endpoint *e)
{
  return e->config.device * FAB_CHANNELS + (int)e->config.channel;
}

/* The answer to a hello. */
static struct fab_uring_hello welcome_of(struct fab_uring_hello hello)
{
  hello.magic = WELCOME_MAGIC;
  return hello;
}

/* Opens a connection to a remote; NULL with errno set. */
struct fab_uring_link *fab_uring_connect(struct fab_uring_endpoint *e, int remote)
{
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct fab_uring_link *link = fd < 0 ? NULL : fab_uring_link_new(e, fd);
  if (!link) return NULL;
  link->initiated = true;
  link->held = remote < own_number(e);
  link->remote = remote;
  link->hello = hello_to(e, remote);
  link->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(e->config.ports[remote])};
  uint32_t address = fab_uring_address_of(e, remote / FAB_CHANNELS);
  link->address.sin_addr.s_addr = address ? address : htonl(INADDR_LOOPBACK);
  e->devices[remote / FAB_CHANNELS].links++;
  prepare_connect(link);
  return link;
}

/* Both sides have agreed: messages may pass. */
static void establish(struct fab_uring_link *link)
{
  link->slot = fab_uring_take_slot(link->endpoint, link->bounce);
  link->rx.fill = 0;
  link->held = link->held && link->endpoint->closing; /* then it is `held` until all has left */
  link->tx.ready = true;
  fab_uring_arm(link);
  if (link->tx.queue) fab_uring_want_send(link);
}

bool fab_uring_is_transient(const struct fab_uring_endpoint *e, int result)
{
  return !e->closing && (result == -ECANCELED || result == -EINTR || result == -EAGAIN || result == -ENOBUFS);
}

/* A connect that was cancelled half way is begun again with a new socket. */
static void reconnect(struct fab_uring_link *link)
{
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    fab_uring_kill(link);
    return;
  }
  close(link->fd);
  link->fd = fd;
  fab_uring_set_options(link->endpoint, fd);
  prepare_connect(link);
}

void fab_uring_connected(struct fab_uring_link *link, int result)
{
  if (fab_uring_is_transient(link->endpoint, result)) {
    reconnect(link);
  } else if (result < 0) {
    fab_uring_note_end(link, result);
    fab_uring_kill(link);
  } else {
    prepare_greet(link);
  }
}

/* The remote is to say whether it takes this connection. */
static void await_welcome(struct fab_uring_link *link)
{
  link->rx.fill = 0;
  link->greeted = true;
  link->tx.ready = link->endpoint->closing;
  if (link->tx.ready) fab_uring_want_send(link);
  prepare_hello(link);
}

void fab_uring_greeted(struct fab_uring_link *link, int result)
{
  if (result > 0) link->rx.fill += (size_t)result;
  else if (!fab_uring_is_transient(link->endpoint, result)) {
    fab_uring_kill(link);
    return;
  }
  if (link->rx.fill < sizeof link->hello) prepare_greet(link);
  else if (link->held) await_welcome(link);
  else establish(link);
}

/* Who connects and says nothing must not use up the descriptors: the oldest such goes when there are more than there can be peers. */
static void limit_strangers(struct fab_uring_endpoint *e)
{
  struct fab_uring_link *oldest = NULL;
  if (e->strangers <= e->config.devices * FAB_CHANNELS + SPARE_STRANGERS) return;
  for (struct fab_uring_link *link = e->links; link; link = link->next)
    if (link->remote < 0 && !link->dead) oldest = link;
  if (oldest) shutdown(oldest->fd, SHUT_RDWR);
}

void fab_uring_accepted(struct fab_uring_endpoint *e, int result)
{
  e->accept_due = !e->closing && result != -EINVAL && result != -EBADF; /* these two: it listens no more */
  if (result < 0) return;
  struct fab_uring_link *link = fab_uring_link_new(e, result);
  if (!link) return;
  prepare_hello(link);
  e->strangers++;
  limit_strangers(e);
}

static bool same_key(const unsigned char *a, const unsigned char *b)
{
  unsigned char differences = 0;
  for (int i = 0; i < FAB_KEY_BYTES; i++) differences |= a[i] ^ b[i];
  return !differences;
}

/* Why a hello is not acceptable; NULL when it is. */
static const char *fault_of(const struct fab_uring_endpoint *e, const struct fab_uring_hello *hello)
{
  if (hello->magic != HELLO_MAGIC) return "bytes that are no hello";
  if (hello->version != FAB_URING_VERSION) return "a hello of another version";
  if (!same_key(hello->key, e->config.key)) return "a wrong key";
  if (hello->to_device != e->config.device || hello->to_channel != (int)e->config.channel) return "a hello for another endpoint";
  if (hello->from_device < 0 || hello->from_device >= e->config.devices) return "a device number out of range";
  if (hello->from_channel < 0 || hello->from_channel >= FAB_CHANNELS) return "a channel number out of range";
  if (e->remotes[hello->from_device * FAB_CHANNELS + hello->from_channel].accepted) return "a second hello of the same endpoint";
  return NULL;
}

/* Sends that are held go to the link that the remote has opened. */
static void move_sends(struct fab_uring_link *from, struct fab_uring_link *to)
{
  to->tx.queue = from->tx.queue;
  to->tx.end = from->tx.end;
  from->tx.queue = NULL;
  fab_uring_kill(from);
}

/* Decides on which link everything to the remote goes, now that it has opened this one. */
static void adopt(struct fab_uring_link *link)
{
  struct fab_uring_endpoint *e = link->endpoint;
  struct fab_uring_remote *remote = &e->remotes[link->remote];
  struct fab_uring_link *before = remote->out;
  remote->accepted = link;
  if (!before || (before->held && !e->closing)) remote->out = link;
  if (!before && link->remote > own_number(e)) {
    link->hello = welcome_of(link->hello);
    link->rx.fill = 0;
    prepare_greet(link);
    return;
  }
  if (before && remote->out == link) move_sends(before, link);
  establish(link);
}

static void verify(struct fab_uring_link *link)
{
  struct fab_uring_endpoint *e = link->endpoint;
  const char *fault = fault_of(e, &link->hello);
  if (fault) {
    fab_uring_reject(link, fault);
    return;
  }
  if (e->devices[link->hello.from_device].lost) {
    fab_uring_kill(link);
    return;
  }
  e->strangers--;
  link->remote = link->hello.from_device * FAB_CHANNELS + link->hello.from_channel;
  e->devices[link->hello.from_device].links++;
  adopt(link);
}

static void verify_welcome(struct fab_uring_link *link)
{
  struct fab_uring_hello expected = welcome_of(hello_to(link->endpoint, link->remote));
  if (memcmp(&link->hello, &expected, sizeof expected) != 0) fab_uring_reject(link, "bytes that are no welcome");
  else establish(link);
}

/* Before it was complete. Who says nothing at all may be a peer that uses another connection instead. */
static void hello_ends(struct fab_uring_link *link)
{
  if (!link->rx.fill) fab_uring_kill(link);
  else fab_uring_reject(link, link->initiated ? "an incomplete welcome" : "an incomplete hello");
}

void fab_uring_heard(struct fab_uring_link *link, int result)
{
  if (result > 0) link->rx.fill += (size_t)result;
  else if (!fab_uring_is_transient(link->endpoint, result)) {
    hello_ends(link);
    return;
  }
  if (link->rx.fill < sizeof link->hello) prepare_hello(link);
  else if (link->initiated) verify_welcome(link);
  else verify(link);
}
