/* The range of addresses that holds all windows, and what happens to a plain access that it cannot serve.
 *
 * The whole range is reserved without access rights first, so that it is ours in every process or the start fails; the windows
 * of this device's own group are then mapped over their part. What stays reserved belongs to other domains: touching it raises
 * SIGSEGV, whose handler says what happened and lets the process die by the same signal. Faults elsewhere go to whoever
 * handled SIGSEGV before. The handler reads only memory that was written before it was installed, and calls write(2) alone. */
#include <errno.h>
#include <inttypes.h>
#include <numa.h>
#include <numaif.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "uma/session.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static struct sigaction former_action;

static size_t range_bytes(const struct uma_shape *shape)
{
  return (size_t)shape->devices * shape->memory;
}

/* Finds who sits in [begin, end): "0x…-0x… /usr/lib/x.so". */
static int report_collision(uintptr_t begin, uintptr_t end)
{
  FILE *maps = fopen("/proc/self/maps", "re");
  char *line = NULL, name[512] = "";
  size_t room = 0;
  uintptr_t low = 0, high = 0;
  while (maps && getline(&line, &room, maps) > 0) {
    name[0] = 0;
    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*s %*s %*s %511[^\n]", &low, &high, name) >= 2 && low < end && high > begin) break;
    low = high = 0;
  }
  free(line);
  if (maps) fclose(maps);
  return uma_fail(-EEXIST,
                  "the windows need 0x%zx-0x%zx, where 0x%zx-0x%zx is mapped already (%s); choose another place with --base or UMA_BASE",
                  (size_t)begin, (size_t)end, (size_t)low, (size_t)high, name[0] ? name : "anonymous memory");
}

static const char *access_name(const void *context)
{
#if defined(__x86_64__)
  return ((const ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2 ? "store to" : "load from";
#else
  return "access to";
#endif
}

/* Why a window of this domain is not to be had. */
static const char *near_reason(void)
{
  if (uma_self.lines)
    return "which is kept coherent by caches of lines (--coherence line). Reach it by uma_ld, uma_st, the atomics, uma_get, uma_put or "
           "uma_copy.";
  return "which a process that a device has forked does not have with --coherence page.";
}

static void explain(uintptr_t address, const char *access)
{
  char text[512];
  int home = (int)((address - uma_self.shape.base) / uma_self.shape.memory);
  const char *why = uma_is_near(home) ? near_reason()
                                      : "which is in another coherence domain. Reach it by uma_copy, uma_get, uma_put, uma_ld, "
                                        "uma_st or messages.";
  int length = snprintf(text, sizeof text, "libuma: device %d (server %d): illegal plain %s 0x%zx, memory of device %d (server %d), %s\n",
                        uma_self.device, uma_shape_server(&uma_self.shape, uma_self.device), access, (size_t)address, home,
                        uma_shape_server(&uma_self.shape, home), why);
  if (write(STDERR_FILENO, text, (size_t)length) < 0) return;
}

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
  uintptr_t address = (uintptr_t)info->si_addr;
  bool ours = info->si_code > 0 && uma_self.joined && address - uma_self.shape.base < range_bytes(&uma_self.shape);
  if (ours) {
    explain(address, access_name(context));
  } else if (former_action.sa_flags & SA_SIGINFO) {
    former_action.sa_sigaction(signal_number, info, context);
    return;
  } else if (former_action.sa_handler != SIG_DFL && former_action.sa_handler != SIG_IGN) {
    former_action.sa_handler(signal_number);
    return;
  }
  /* Returning repeats the access, which now ends the process with the signal that it deserves. */
  signal(SIGSEGV, SIG_DFL);
  if (info->si_code <= 0) raise(SIGSEGV);
}

int uma_space_reserve(const struct uma_shape *shape)
{
  void *want = (void *)shape->base;
  void *got = mmap(want, range_bytes(shape), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (got == MAP_FAILED && errno != EEXIST) return uma_fail(-errno, "cannot reserve the address space of the windows: %s", strerror(errno));
  if (got == want) return 0;
  if (got != MAP_FAILED) munmap(got, range_bytes(shape)); /* a kernel that takes MAP_FIXED_NOREPLACE as a hint */
  return report_collision(shape->base, shape->base + range_bytes(shape));
}

void uma_space_settle(void)
{
  const struct uma_shape *shape = &uma_self.shape;
  unsigned char *windows = uma_self.memory;
  if (shape->numa == UMA_NUMA_NONE || numa_available() < 0 || numa_num_configured_nodes() < 2) return;
  if (shape->numa == UMA_NUMA_INTERLEAVE) {
    numa_interleave_memory(windows, (size_t)uma_self.count * shape->memory, numa_all_nodes_ptr);
    return;
  }
  int node = (int)((long)uma_self.device * numa_num_configured_nodes() / shape->devices);
  numa_tonode_memory(windows + (size_t)(uma_self.device - uma_self.first) * shape->memory, shape->memory, node);
  numa_run_on_node(node);
}

int uma_space_map(const struct uma_shape *shape, int first, int count, int windows_fd)
{
  unsigned char *windows = (unsigned char *)shape->base + (size_t)first * shape->memory;
  size_t bytes = (size_t)count * shape->memory;
  bool cached = uma_shape_is_cached(shape);
  int flags = MAP_SHARED | MAP_NORESERVE | (cached ? 0 : MAP_FIXED);
  windows = mmap(cached ? NULL : windows, bytes, PROT_READ | PROT_WRITE, flags, windows_fd, 0);
  if (windows == MAP_FAILED)
    return uma_fail(-errno, "cannot map the windows of devices %d to %d: %s", first, first + count - 1, strerror(errno));
  uma_self.memory = windows;
  if (shape->hugepages == UMA_HUGEPAGES_ALWAYS) madvise(windows, bytes, MADV_HUGEPAGE); /* memory.c does what this cannot */
  uma_space_settle();
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
  sigaction(SIGSEGV, &action, &former_action);
  return 0;
}

void uma_space_release(const struct uma_shape *shape)
{
  struct sigaction current;
  sigaction(SIGSEGV, NULL, &current);
  if (current.sa_sigaction == on_fault) sigaction(SIGSEGV, &former_action, NULL);
  if (uma_shape_is_cached(shape)) munmap(uma_self.memory, (size_t)uma_self.count * shape->memory);
  munmap((void *)shape->base, range_bytes(shape));
}
