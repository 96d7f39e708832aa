/* Contacts, from each device to all: see exchange.h.
 *
 * A device sends its contacts as one message into its socket. When the keeper has those of all devices that live, it writes them into an unnamed
 * file and sends everybody a descriptor of it; those of devices that have ended stay zero. The keeper never waits here, and the devices
 * wait for nothing else: who dies before it gave anything is reported by uma_exchange_ended. */
#include "uma/exchange.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "uma/job.h"
#include "uma/mailbox.h"
#include "uma/wire.h"

struct card { /* what a device gives */
  struct fab_contact contacts[FAB_CHANNELS];
};

/* ---- sockets */

int uma_listen(struct in_addr where, int *fd, uint16_t *port)
{
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = where};
  socklen_t length = sizeof address;
  char text[INET_ADDRSTRLEN];
  *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (*fd < 0 || bind(*fd, (struct sockaddr *)&address, length) || listen(*fd, SOMAXCONN) ||
      getsockname(*fd, (struct sockaddr *)&address, &length))
    return uma_fail(-errno, "cannot listen on %s: %s", inet_ntop(AF_INET, &where, text, sizeof text), strerror(errno));
  *port = ntohs(address.sin_port);
  return 0;
}

union control {
  struct cmsghdr header;
  char room[CMSG_SPACE(sizeof(int))];
};

int uma_fd_send(int socket, int fd)
{
  union control control = {.header = {.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
  char byte = 0;
  struct iovec data = {&byte, 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
  return sendmsg(socket, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int uma_fd_receive(int socket, int flags)
{
  union control control;
  char byte;
  struct iovec room = {&byte, 1};
  struct msghdr message = {.msg_iov = &room, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  int fd;
  ssize_t got = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  if (got <= 0) return got ? -errno : -ECONNRESET;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (!header || header->cmsg_type != SCM_RIGHTS) return -EMFILE; /* no room for another descriptor */
  memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return fd;
}

/* ---- a device */

static int ask_keeper(int fd, const struct card *mine, struct card *all)
{
  size_t bytes = (size_t)uma_self.shape.devices * sizeof *all;
  if (send(fd, mine, sizeof *mine, MSG_NOSIGNAL) < 0) return uma_fail(-errno, "cannot reach the launcher: %s", strerror(errno));
  int file = uma_fd_receive(fd, 0);
  if (file < 0) return uma_fail(file, "the launcher sends no contacts of the other devices: %s", strerror(-file));
  ssize_t got = pread(file, all, bytes, 0);
  close(file);
  close(fd);
  return got == (ssize_t)bytes ? 0 : uma_fail(-EIO, "the launcher sent %zd bytes of contacts; expected %zu", got, bytes);
}

static bool is_complete(const struct card *all)
{
  enum fab_channel channel = uma_shape_is_by_ofi(&uma_self.shape) ? FAB_APPLICATION : FAB_SERVICE;
  for (int d = 0; d < uma_self.shape.devices; d++)
    if (!all[d].contacts[channel].bytes) return false;
  return true;
}

/* Mailboxes that have sockets need no contacts, and give empty ones. */
int uma_exchange_contacts(const struct uma_inheritance *from)
{
  struct uma_wire *wire = uma_self.wire ? uma_self.wire : uma_self.clock_wire;
  struct card mine = {0}, *all = calloc((size_t)uma_self.shape.devices, sizeof *all);
  if (!all) return uma_fail(-ENOMEM, "no memory for the contacts of %d devices", uma_self.shape.devices);
  int result = uma_mailboxes_contact(mine.contacts);
  if (!result && wire) result = uma_wire_contact(wire, &mine.contacts[FAB_SERVICE]);
  if (!result && uma_job_joined()) result = uma_job_gather("contacts", &mine, sizeof mine, all);
  else if (!result) result = ask_keeper(from->exchange_fd, &mine, all);
  if (!result && !is_complete(all)) result = uma_fail(-ENOTCONN, "a device ended without calling uma_init");
  if (!result) result = uma_mailboxes_connect(all->contacts);
  if (!result && wire) result = uma_wire_connect(wire, all->contacts);
  free(all);
  return result;
}

/* ---- the keeper */

struct uma_exchange {
  int devices, missing; /* missing: devices that have neither given nor ended */
  int fds[UMA_MAX_DEVICES], ends[UMA_MAX_DEVICES];
  bool over[UMA_MAX_DEVICES];
  struct card *cards;
};

int uma_exchange_open(int devices, struct uma_exchange **exchange)
{
  struct uma_exchange *x = calloc(1, sizeof *x);
  struct card *cards = calloc((size_t)devices, sizeof *cards);
  if (!x || !cards) {
    free(x);
    free(cards);
    return uma_fail(-ENOMEM, "no memory for the contacts of %d devices", devices);
  }
  *x = (struct uma_exchange){.devices = devices, .missing = devices, .cards = cards};
  memset(x->fds, -1, sizeof x->fds);
  memset(x->ends, -1, sizeof x->ends);
  *exchange = x;
  for (int d = 0; d < devices; d++) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
      return uma_fail(-errno, "cannot create a socket pair: %s", strerror(errno));
    x->fds[d] = pair[0];
    x->ends[d] = pair[1];
  }
  return 0;
}

int uma_exchange_end(const struct uma_exchange *exchange, int device)
{
  return exchange->ends[device];
}

static void shut(int *fd)
{
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

void uma_exchange_keep(struct uma_exchange *exchange, int device)
{
  for (int d = 0; d < exchange->devices; d++) {
    shut(&exchange->fds[d]);
    if (d != device) shut(&exchange->ends[d]);
  }
}

void uma_exchange_started(struct uma_exchange *exchange, int device)
{
  shut(&exchange->ends[device]);
}

static int write_cards(const struct uma_exchange *x)
{
  size_t bytes = (size_t)x->devices * sizeof *x->cards;
  int file = memfd_create("uma-contacts", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file >= 0 && pwrite(file, x->cards, bytes, 0) == (ssize_t)bytes &&
      !fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL))
    return file;
  if (file >= 0) close(file);
  return -1;
}

/* Without the file nobody gets any, and all find their socket closed. */
static void distribute(struct uma_exchange *x)
{
  int file = write_cards(x);
  for (int d = 0; d < x->devices; d++) {
    if (file >= 0 && x->fds[d] >= 0) uma_fd_send(x->fds[d], file);
    shut(&x->fds[d]);
  }
  if (file >= 0) close(file);
}

static void settle(struct uma_exchange *x, int device)
{
  if (x->over[device]) return;
  x->over[device] = true;
  if (--x->missing == 0) distribute(x);
}

void uma_exchange_ended(struct uma_exchange *exchange, int device)
{
  settle(exchange, device);
}

int uma_exchange_poll_set(const struct uma_exchange *exchange, struct pollfd *fds)
{
  int count = 0;
  for (int d = 0; d < exchange->devices && exchange->missing; d++)
    if (!exchange->over[d] && exchange->fds[d] >= 0) fds[count++] = (struct pollfd){.fd = exchange->fds[d], .events = POLLIN};
  return count;
}

/* A socket that hangs up is that of a process that ended, or is another program by now: the keeper hears of its end. */
void uma_exchange_forward(struct uma_exchange *exchange)
{
  for (int d = 0; d < exchange->devices && exchange->missing; d++) {
    struct card card;
    if (exchange->over[d] || exchange->fds[d] < 0) continue;
    ssize_t got = recv(exchange->fds[d], &card, sizeof card, MSG_DONTWAIT);
    if (got < 0) continue;
    if (got == sizeof card) exchange->cards[d] = card;
    else shut(&exchange->fds[d]);
    settle(exchange, d);
  }
}

void uma_exchange_close(struct uma_exchange *exchange)
{
  for (int d = 0; d < exchange->devices; d++) {
    shut(&exchange->fds[d]);
    shut(&exchange->ends[d]);
  }
  free(exchange->cards);
  free(exchange);
}
