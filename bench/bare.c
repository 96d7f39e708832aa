/* Bare page faults: see bare.h. The handler is installed around what is compared only, so SIGBUS is the library's the rest of the time.
 *
 * Each kernel operation that a fault cannot avoid is made once: UFFDIO_COPY allocates a page, copies into it and maps it (of 64 KiB that takes 8 us;
 * pwrite and UFFDIO_CONTINUE 10 us, a copy through another mapping and UFFDIO_CONTINUE 15 us or more). */
#include "bench/bare.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/harness.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

static struct bare *served;
static enum bare_deed deed;
static struct sigaction before;

/* ---- One fault. What fails inside of a signal handler ends the device, and the session says so ---- */

static void must(bool done)
{
  if (!done) abort();
}

static void fill(const struct bare *bare, size_t at, const unsigned char *from, bool writable)
{
  struct uffdio_copy copy = {
      .dst = (uintptr_t)bare->window + at, .src = (uintptr_t)from, .len = bare->page, .mode = writable ? 0 : UFFDIO_COPY_MODE_WP};
  must(!ioctl(bare->uffds[uma_device()], UFFDIO_COPY, &copy));
}

static void protect(const struct bare *bare, size_t at, int device, bool on)
{
  struct uffdio_writeprotect change = {.range = {(uintptr_t)bare->window + at, bare->page}, .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0};
  must(!ioctl(bare->uffds[device], UFFDIO_WRITEPROTECT, &change));
}

/* The device may be writing: it is stopped before its page is read. */
static void copy_from(const struct bare *bare, size_t at, int device, void *page)
{
  protect(bare, at, device, true);
  must(pread(bare->frames, page, bare->page, (off_t)((size_t)device * bare->bytes + at)) == (ssize_t)bare->page);
}

static void take_from(const struct bare *bare, size_t at, int device, void *page)
{
  copy_from(bare, at, device, page);
  must(!fallocate(bare->frames, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)((size_t)device * bare->bytes + at), (off_t)bare->page));
}

void bare_share(const struct bare *bare, size_t at, void *page)
{
  copy_from(bare, at, uma_device(), page);
}

void bare_yield(const struct bare *bare, size_t at, void *page)
{
  take_from(bare, at, uma_device(), page);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
  const struct bare *bare = served;
  size_t at = ((uintptr_t)info->si_addr & ~(bare->page - 1)) - (uintptr_t)bare->window;
  must(at < bare->bytes);
  switch (deed) {
  case BARE_UPGRADE: protect(bare, at, uma_device(), false); return;
  case BARE_TURN:
    take_from(bare, at, !uma_device(), bare->spare);
    fill(bare, at, bare->spare, true);
    break;
  case BARE_READ:
  case BARE_WRITE: fill(bare, at, bare->home + at % bare->home_bytes, deed == BARE_WRITE); break;
  }
}

void bare_serve(struct bare *bare, enum bare_deed next)
{
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigfillset(&action.sa_mask);
  served = bare;
  deed = next;
  bench_require(!sigaction(SIGBUS, &action, &before), "sigaction: %s", strerror(errno));
}

void bare_rest(void)
{
  bench_require(!sigaction(SIGBUS, &before, NULL), "sigaction: %s", strerror(errno));
}

void bare_drop(struct bare *bare)
{
  off_t mine = (off_t)((size_t)uma_device() * bare->bytes);
  int result = fallocate(bare->frames, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, mine, (off_t)bare->bytes);
  bench_require(!result, "fallocate: %s", strerror(errno));
}

/* ---- Beginning and end ---- */

static int create_uffd(bool thread)
{
  struct uffdio_api api = {.api = UFFD_API,
                           .features = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
                                       UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_SIGBUS};
  int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | (thread ? 0 : UFFD_USER_MODE_ONLY));
  if (fd < 0 || !ioctl(fd, UFFDIO_API, &api)) return fd;
  close(fd);
  return -1;
}

bool bare_allowed(bool thread)
{
  int fd = create_uffd(thread);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

int bare_open(struct bare *bare, size_t page, size_t count)
{
  size_t bytes = page * count;
  *bare = (struct bare){.page = page, .bytes = bytes, .home_bytes = bytes};
  bare->home = bench_map(bytes);
  bare->frames = memfd_create("bench-frames", MFD_CLOEXEC);
  if (!bare->home) return -EIO;
  if (bare->frames >= 0 && !ftruncate(bare->frames, (off_t)(2 * bytes)) && !socketpair(AF_UNIX, SOCK_STREAM, 0, bare->channel)) return 0;
  return bench_fail("no bare pages to compare with: %s", strerror(errno));
}

void bare_close(struct bare *bare)
{
  for (int d = 0; d < 2; d++)
    if (bare->channel[d] > 0) close(bare->channel[d]);
  if (bare->frames > 0) close(bare->frames);
  bench_unmap(bare->home, bare->bytes);
}

/* A descriptor to the other device, and its one. */
static int swap_descriptors(int channel, int mine)
{
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
  } out = {.header = {.cmsg_len = CMSG_LEN(sizeof mine), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}}, in;
  char byte = 0;
  int theirs = -1;
  struct iovec data = {&byte, 1};
  struct msghdr sent = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &out, .msg_controllen = sizeof out}, got = sent;
  got.msg_control = &in;
  memcpy(CMSG_DATA(&out.header), &mine, sizeof mine);
  bench_require(sendmsg(channel, &sent, 0) == 1 && recvmsg(channel, &got, MSG_CMSG_CLOEXEC) == 1, "a socket: %s", strerror(errno));
  bench_require(got.msg_controllen >= CMSG_LEN(sizeof theirs), "the other device's descriptor did not come");
  memcpy(&theirs, CMSG_DATA(&in.header), sizeof theirs);
  return theirs;
}

/* The same address in both devices: whoever protects the other's page names it by its own. */
static void *window_at(const struct bare *bare)
{
  void *const wanted = (void *)0x180000000000;
  off_t mine = (off_t)((size_t)uma_device() * bare->bytes);
  void *window = mmap(wanted, bare->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, bare->frames, mine);
  bench_require(window == wanted, "no bare pages at %p: %s", wanted, strerror(errno));
  return window;
}

void bare_join(struct bare *bare)
{
  int me = uma_device(), fd = create_uffd(false);
  bench_require(fd >= 0, "userfaultfd: %s", strerror(errno));
  bare->window = window_at(bare);
  bare->spare = malloc(bare->page);
  bench_require(bare->spare, "no memory for a page of %zu B", bare->page);
  struct uffdio_register range = {.range = {(uintptr_t)bare->window, bare->bytes},
                                  .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP};
  bench_require(!ioctl(fd, UFFDIO_REGISTER, &range), "userfaultfd: %s", strerror(errno));
  bare->uffds[me] = fd;
  bare->uffds[!me] = swap_descriptors(bare->channel[me], fd);
}
