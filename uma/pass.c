/* Descriptors over an abstract unix socket; see pass.h.
 *
 *     receiver                 giver
 *        |------- hello ------->|        which receiver, what it expects
 *        |<-- welcome, note ----|        what there is; the end, if that is not what is expected
 *        |-------- taken ------>|
 *        |<-- batch, 250 fds ---|        as many times as it takes
 *        |-------- taken ------>|
 *
 * ("taken" is MAGIC again.) SOCK_SEQPACKET keeps messages whole. The giver waits for each "taken", so at most one batch is on its way: the
 * kernel refuses to hold more descriptors in messages than a process of that user may have open. The kernel vouches for the user at the other
 * end (SO_PEERCRED), of the listener too: abstract names are seen by everybody.
 *
 * The giver is one poll over the listener and all who have not said hello yet, so that one who stays silent holds up nobody. */
#include "uma/pass.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fabric/futex.h"
#include "uma/session.h"

#define LIMIT_NS 60000000000u
#define BATCH 250   /* the kernel allows 253 a message */
#define SILENT 64   /* connections without a hello that are kept, besides one a receiver */
#define REST_US 500 /* before another attempt when the kernel holds too many descriptors */
#define MAGIC 0x73736170616d75u
#define VERSION 1u

struct hello {
  uint64_t magic;
  uint32_t version;
  int32_t index;
  uint32_t count, bytes; /* expected */
};
_Static_assert(sizeof(struct hello) == 24, "on the wire");

struct welcome {
  uint64_t magic;
  uint32_t version;
  uint32_t count, bytes; /* given; the note follows */
  uint32_t reserved;
};
_Static_assert(sizeof(struct welcome) == 24, "on the wire");

struct batch {
  uint32_t first, count;
  uint8_t present[BATCH]; /* 1: a descriptor comes along; 0: there is none, -1 */
  uint8_t reserved[6];
};
_Static_assert(sizeof(struct batch) == 264, "on the wire");

union control {
  struct cmsghdr header;
  char room[CMSG_SPACE(BATCH * sizeof(int))];
};

/* ---- sockets */

static socklen_t address_of(const char *name, struct sockaddr_un *address)
{
  size_t length = strnlen(name, UMA_PASS_NAME - 1);
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  memcpy(address->sun_path + 1, name, length); /* after a 0: abstract */
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

static bool is_own_user(int fd)
{
  struct ucred peer;
  socklen_t length = sizeof peer;
  return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) && peer.uid == geteuid();
}

/* Bounds the next calls on the socket; by at least a millisecond, since 0 would mean for ever. */
static void set_limit(int fd, uint64_t until_ns)
{
  uint64_t now_ns = fab_now_ns(), left_us = now_ns + 1000000 < until_ns ? (until_ns - now_ns) / 1000 : 1000;
  struct timeval left = {(time_t)(left_us / 1000000), (suseconds_t)(left_us % 1000000)};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &left, sizeof left);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof left);
}

static int send_whole(int fd, const struct msghdr *message, uint64_t until_ns)
{
  set_limit(fd, until_ns);
  while (sendmsg(fd, message, MSG_NOSIGNAL) < 0) {
    if (errno == EAGAIN) return -ETIMEDOUT;
    if (errno != EINTR && errno != ETOOMANYREFS) return -errno;
    if (fab_now_ns() >= until_ns) return -ETIMEDOUT;
    if (errno == ETOOMANYREFS) usleep(REST_US); /* other processes of this user pass descriptors too */
  }
  return 0;
}

/* A message of at most that many bytes: how many they are, -EPIPE at the end of the connection, or another -errno. */
static ssize_t receive(int fd, struct msghdr *message, uint64_t until_ns)
{
  ssize_t got;
  set_limit(fd, until_ns);
  do got = recvmsg(fd, message, MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  if (got < 0) return errno == EAGAIN ? -ETIMEDOUT : errno == ECONNRESET ? -EPIPE : -errno;
  if (message->msg_flags & MSG_TRUNC) return -EPROTO;
  return got ? got : -EPIPE;
}

static int send_bytes(int fd, const void *bytes, size_t count, uint64_t until_ns)
{
  struct iovec piece = {(void *)bytes, count};
  return send_whole(fd, &(struct msghdr){.msg_iov = &piece, .msg_iovlen = 1}, until_ns);
}

/* Exactly `count` bytes. */
static int receive_bytes(int fd, void *bytes, size_t count, uint64_t until_ns)
{
  struct iovec piece = {bytes, count};
  ssize_t got = receive(fd, &(struct msghdr){.msg_iov = &piece, .msg_iovlen = 1}, until_ns);
  return got < 0 ? (int)got : (size_t)got == count ? 0 : -EPROTO;
}

/* ---- both */

static int check_sizes(size_t bytes, int shared, int own)
{
  if (bytes > UMA_PASS_NOTE) return uma_fail(-EMSGSIZE, "a note of %zu bytes; at most %zu are possible", bytes, UMA_PASS_NOTE);
  if (shared < 0 || own < 0 || (size_t)shared + (size_t)own > UMA_PASS_FDS)
    return uma_fail(-EINVAL, "%d and %d descriptors for a process; 0 to %d together are possible", shared, own, UMA_PASS_FDS);
  return 0;
}

static int batch_size(int first, int count)
{
  return count - first < BATCH ? count - first : BATCH;
}

/* ---- giving */

struct giver {
  const struct uma_parcel *parcel;
  int receivers, served;
  uint64_t until_ns;
  bool *is_served;       /* [receivers] */
  struct pollfd *polled; /* the listener, and after it who has not said hello, the oldest first */
  int count, room;       /* of polled */
};

static int count_of(const struct uma_parcel *parcel)
{
  return parcel->shared_count + parcel->own_count;
}

static int descriptor_of(const struct uma_parcel *parcel, int receiver, int i)
{
  if (i < parcel->shared_count) return parcel->shared[i];
  return parcel->own[(size_t)receiver * (size_t)parcel->own_count + (size_t)(i - parcel->shared_count)];
}

static int await_taken(int fd, uint64_t until_ns)
{
  uint64_t taken;
  int result = receive_bytes(fd, &taken, sizeof taken, until_ns);
  return result ? result : taken == MAGIC ? 0 : -EPROTO;
}

static int send_batch(struct giver *g, int fd, int receiver, int first)
{
  struct batch batch = {.first = (uint32_t)first, .count = (uint32_t)batch_size(first, count_of(g->parcel))};
  union control control;
  int *fds = (int *)CMSG_DATA(&control.header);
  size_t passed = 0;
  for (uint32_t i = 0; i < batch.count; i++) {
    int given = descriptor_of(g->parcel, receiver, first + (int)i);
    batch.present[i] = given >= 0;
    if (given >= 0) fds[passed++] = given;
  }
  struct iovec piece = {&batch, sizeof batch};
  struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
  control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(passed * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  message.msg_control = passed ? &control : NULL;
  message.msg_controllen = passed ? CMSG_SPACE(passed * sizeof(int)) : 0;
  int result = send_whole(fd, &message, g->until_ns);
  return result ? result : await_taken(fd, g->until_ns);
}

static int send_parcel(struct giver *g, int fd, int receiver)
{
  const struct uma_parcel *parcel = g->parcel;
  struct welcome welcome = {.magic = MAGIC, .version = VERSION, .count = (uint32_t)count_of(parcel), .bytes = (uint32_t)parcel->bytes};
  struct iovec pieces[] = {{&welcome, sizeof welcome}, {(void *)parcel->note, parcel->bytes}};
  int result = send_whole(fd, &(struct msghdr){.msg_iov = pieces, .msg_iovlen = 2}, g->until_ns);
  if (!result) result = await_taken(fd, g->until_ns);
  for (int first = 0; !result && first < count_of(parcel); first += BATCH) result = send_batch(g, fd, receiver, first);
  if (result) return uma_fail(result, "giving descriptors to process %d of this host: %s", receiver, strerror(-result));
  g->is_served[receiver] = true;
  g->served++;
  return 0;
}

static bool is_welcome(const struct giver *g, const struct hello *hello)
{
  return hello->magic == MAGIC && hello->version == VERSION && hello->index >= 0 && hello->index < g->receivers &&
         !g->is_served[hello->index];
}

/* The connection has brought something, or has ended. */
static int hear(struct giver *g, int slot)
{
  int fd = g->polled[slot].fd, result = 0;
  struct hello hello;
  memmove(&g->polled[slot], &g->polled[slot + 1], (size_t)(--g->count - slot) * sizeof *g->polled);
  if (!receive_bytes(fd, &hello, sizeof hello, g->until_ns) && is_welcome(g, &hello)) {
    if (hello.count == (uint32_t)count_of(g->parcel) && hello.bytes == g->parcel->bytes) {
      result = send_parcel(g, fd, hello.index);
    } else {
      struct welcome other = {
          .magic = MAGIC, .version = VERSION, .count = (uint32_t)count_of(g->parcel), .bytes = (uint32_t)g->parcel->bytes};
      send_bytes(fd, &other, sizeof other, g->until_ns); /* so that it can say what is wrong */
    }
  }
  close(fd);
  return result;
}

static int admit(struct giver *g)
{
  int fd = accept4(g->polled[0].fd, NULL, NULL, SOCK_CLOEXEC);
  if (fd < 0 && (errno == EMFILE || errno == ENFILE)) return uma_fail(-errno, "giving descriptors: %s", strerror(errno));
  if (fd < 0) return 0; /* gone already */
  if (!is_own_user(fd)) {
    close(fd);
    return 0;
  }
  if (g->count == g->room) {
    close(g->polled[1].fd);
    memmove(&g->polled[1], &g->polled[2], (size_t)(--g->count - 1) * sizeof *g->polled);
  }
  g->polled[g->count++] = (struct pollfd){.fd = fd, .events = POLLIN};
  return 0;
}

static int serve_all(struct giver *g, double limit_s)
{
  int result = 0;
  while (!result && g->served < g->receivers) {
    uint64_t now_ns = fab_now_ns();
    if (now_ns >= g->until_ns)
      return uma_fail(-ETIMEDOUT, "%d of %d processes of this host have not come for their descriptors within %g s",
                      g->receivers - g->served, g->receivers, limit_s);
    int ready = poll(g->polled, (nfds_t)g->count, (int)((g->until_ns - now_ns) / 1000000) + 1);
    if (ready < 0 && errno != EINTR) return uma_fail(-errno, "giving descriptors: %s", strerror(errno));
    if (ready <= 0) continue;
    bool calls = g->polled[0].revents;
    for (int i = g->count - 1; !result && i > 0; i--)
      if (g->polled[i].revents) result = hear(g, i);
    if (!result && calls) result = admit(g);
  }
  return result;
}

int uma_pass_offer(struct uma_pass *pass, char *name)
{
  uint64_t random[2];
  char drawn[UMA_PASS_NAME];
  struct sockaddr_un address;
  if (getrandom(random, sizeof random, 0) != sizeof random) return uma_fail(-EIO, "no random numbers for the name of a socket");
  snprintf(drawn, sizeof drawn, "uma-%016llx%016llx", (unsigned long long)random[0], (unsigned long long)random[1]);
  socklen_t length = address_of(drawn, &address);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) || listen(fd, SOMAXCONN)) {
    int error = errno;
    if (fd >= 0) close(fd);
    return uma_fail(-error, "cannot listen for the other processes of this host: %s", strerror(error));
  }
  *pass = (struct uma_pass){.fd = fd, .limit_ns = LIMIT_NS};
  memcpy(name, drawn, sizeof drawn);
  return 0;
}

static int serve(struct uma_pass *pass, int receivers, const struct uma_parcel *parcel)
{
  struct giver g = {.parcel = parcel, .receivers = receivers, .until_ns = fab_now_ns() + pass->limit_ns, .count = 1};
  g.room = 1 + receivers + SILENT;
  g.is_served = calloc((size_t)receivers + 1, sizeof *g.is_served);
  g.polled = calloc((size_t)g.room, sizeof *g.polled);
  int result = -ENOMEM;
  if (!g.is_served || !g.polled) {
    uma_fail(result, "no memory for %d processes", receivers);
  } else {
    g.polled[0] = (struct pollfd){.fd = pass->fd, .events = POLLIN};
    result = serve_all(&g, (double)pass->limit_ns / 1e9);
    for (int i = 1; i < g.count; i++) close(g.polled[i].fd);
  }
  free(g.is_served);
  free(g.polled);
  return result;
}

int uma_pass_give(struct uma_pass *pass, int receivers, const struct uma_parcel *parcel)
{
  int result = receivers < 0 ? uma_fail(-EINVAL, "descriptors for %d processes", receivers) : 0;
  if (!result) result = check_sizes(parcel->bytes, parcel->shared_count, parcel->own_count);
  if (!result) result = serve(pass, receivers, parcel);
  uma_pass_withdraw(pass);
  return result;
}

void uma_pass_withdraw(struct uma_pass *pass)
{
  if (pass->fd >= 0) close(pass->fd);
  pass->fd = -1;
}

/* ---- taking */

static int dial(const char *name, uint64_t until_ns, int *fd)
{
  struct sockaddr_un address;
  socklen_t length = address_of(name, &address);
  int error = 0;
  *fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (*fd < 0) return -errno;
  set_limit(*fd, until_ns);
  do error = connect(*fd, (struct sockaddr *)&address, length) ? errno : 0;
  while (error == EINTR);
  if (!error && !is_own_user(*fd)) error = EPERM;
  if (!error) return 0;
  close(*fd);
  return error == EAGAIN ? -ETIMEDOUT : -error;
}

static int fail_taking(int error)
{
  const char *why = strerror(-error);
  switch (-error) {
  case EMFILE: why = "this process may not have so many files open (ulimit -n)"; break;
  case EPERM: why = "it belongs to another user"; break;
  case EPROTO: why = "it says what makes no sense"; break;
  case ECONNREFUSED:
  case ECONNRESET:
  case EPIPE: why = "it has ended, or turned this process away"; break;
  }
  return uma_fail(error, "cannot get descriptors from the leader of this host: %s", why);
}

/* The note comes with the welcome, if what there is is what is expected. */
static int receive_welcome(int fd, struct welcome *welcome, void *note, size_t bytes, uint64_t until_ns)
{
  struct iovec pieces[] = {{welcome, sizeof *welcome}, {note, bytes}};
  ssize_t got = receive(fd, &(struct msghdr){.msg_iov = pieces, .msg_iovlen = 2}, until_ns);
  if (got < 0) return (int)got;
  return (size_t)got >= sizeof *welcome && welcome->magic == MAGIC && welcome->version == VERSION ? (int)got : -EPROTO;
}

static int agree(int fd, int index, int count, void *note, size_t bytes, uint64_t until_ns)
{
  struct hello hello = {.magic = MAGIC, .version = VERSION, .index = index, .count = (uint32_t)count, .bytes = (uint32_t)bytes};
  struct welcome welcome = {0};
  int result = send_bytes(fd, &hello, sizeof hello, until_ns);
  if (!result) result = receive_welcome(fd, &welcome, note, bytes, until_ns);
  if (result < 0) return fail_taking(result);
  if (welcome.count != hello.count || welcome.bytes != hello.bytes)
    return uma_fail(-EINVAL,
                    "the leader of this host gives %u descriptors and %u bytes, and %u and %u are expected; all processes need the same "
                    "build of the library",
                    welcome.count, welcome.bytes, hello.count, hello.bytes);
  return (size_t)result == sizeof welcome + bytes ? 0 : fail_taking(-EPROTO);
}

static void close_all(const int *fds, int count)
{
  for (int i = 0; i < count; i++)
    if (fds[i] >= 0) close(fds[i]);
}

/* What came along with a message; returns how many. */
static int unpack(struct msghdr *message, int *fds)
{
  struct cmsghdr *header = CMSG_FIRSTHDR(message);
  if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return 0;
  size_t bytes = header->cmsg_len - CMSG_LEN(0);
  memcpy(fds, CMSG_DATA(header), bytes);
  return (int)(bytes / sizeof(int));
}

/* Descriptors [first, + a batch) of `count`; on failure none is left open. */
static int receive_batch(int fd, int first, int count, int *fds, uint64_t until_ns)
{
  struct batch batch;
  union control control;
  int came[sizeof control / sizeof(int)], wanted = 0, used = 0;
  struct iovec piece = {&batch, sizeof batch};
  struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t got = receive(fd, &message, until_ns);
  if (got < 0 && got != -EPROTO) return (int)got;
  int held = unpack(&message, came);
  bool fits = got == sizeof batch && batch.first == (uint32_t)first && batch.count == (uint32_t)batch_size(first, count);
  for (uint32_t i = 0; fits && i < batch.count; i++) wanted += batch.present[i] != 0;
  if (!fits || wanted != held) {
    close_all(came, held);
    return message.msg_flags & MSG_CTRUNC ? -EMFILE : -EPROTO;
  }
  for (uint32_t i = 0; i < batch.count; i++) fds[first + (int)i] = batch.present[i] ? came[used++] : -1;
  return 0;
}

static int say_taken(int fd, uint64_t until_ns)
{
  uint64_t taken = MAGIC;
  return send_bytes(fd, &taken, sizeof taken, until_ns);
}

static int collect(int fd, int *fds, int count, uint64_t until_ns)
{
  int held = 0, result = say_taken(fd, until_ns);
  while (!result && held < count) {
    result = receive_batch(fd, held, count, fds, until_ns);
    if (result) break;
    held += batch_size(held, count);
    result = say_taken(fd, until_ns);
  }
  if (!result) return 0;
  close_all(fds, held);
  return fail_taking(result);
}

int uma_pass_take(const char *name, int index, int *fds, int count, void *note, size_t bytes)
{
  uint64_t until_ns = fab_now_ns() + LIMIT_NS;
  int fd, result = check_sizes(bytes, count, 0);
  if (result) return result;
  int *taken = malloc((size_t)count * sizeof *taken + bytes + 1); /* and the note after them */
  if (!taken) return uma_fail(-ENOMEM, "no memory for %d descriptors", count);
  result = dial(name, until_ns, &fd);
  if (result) {
    fail_taking(result);
  } else {
    result = agree(fd, index, count, taken + count, bytes, until_ns);
    if (!result) result = collect(fd, taken, count, until_ns);
    close(fd);
  }
  if (!result && count) memcpy(fds, taken, (size_t)count * sizeof *taken);
  if (!result && bytes) memcpy(note, taken + count, bytes);
  free(taken);
  return result;
}
