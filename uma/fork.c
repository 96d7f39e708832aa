/* Devices that create each other: uma_fork and uma_wait_device.
 *
 *     creator                   middle            new device                          keeper
 *     claim a number: FORKED
 *     fork                      fork, exit        (the keeper's child from here on)
 *     wait for a report                           reopen what is a process's own
 *                                                 pid, JOINED on the board; report    finds the pid when it needs it (launch.c: adopt)
 *     return the number                           return 0                            its end: pid 0, ENDED
 *     uma_wait_device: FREE
 *
 * The keeper is the reaper of its session (PR_SET_CHILD_SUBREAPER), so a device whose parent, the middle process, is gone becomes its child,
 * and is watched and ended like those that it started itself. A process number is on the board before the creator goes on, so the keeper
 * knows all devices whenever it sees that one has ended.
 *
 * What is a process's own: the number, the lifeline, the mailbox, and the view of the coherent caches (pages are not copied). Everything else, above all the
 * mappings, is the same in the copy. The lifeline's hang-up signal belongs to an open file description and goes to one process, so the
 * new device opens the pipe once more. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "uma/clock.h"
#include "uma/coherent.h"
#include "uma/mailbox.h"
#include "uma/session.h"
#include "uma/wait.h"

#if defined(__SANITIZE_THREAD__)
#define OWN_THREADS 2 /* it has one of its own */
#else
#define OWN_THREADS 1
#endif

struct report {
  int result;
  char sentence[600];
};

/* ---- a number for the new device */

static bool may_claim(int device, uint32_t state)
{
  if (uma_is_lost(device)) return false;
  if (state == UMA_MEMBER_NEW) return true;
  return state == UMA_MEMBER_FREE && fab_shm_is_unused(uma_segment_at(uma_self.layout.rings), uma_self.count, device - uma_self.first);
}

static int claim(int *device, uint32_t *former)
{
  for (int d = 1; d < uma_self.shape.devices; d++) {
    _Atomic uint32_t *state = &uma_self.board->members[d].state;
    *former = atomic_load(state);
    if (!may_claim(d, *former) || !atomic_compare_exchange_strong(state, former, UMA_MEMBER_FORKED)) continue;
    *device = d;
    return 0;
  }
  return uma_fail(-ENOSPC, "all %d devices of the session exist", uma_self.shape.devices);
}

/* ---- the new device */

static int reopen_lifeline(void)
{
  char path[64];
  if (uma_self.lifeline_fd < 0) return 0;
  snprintf(path, sizeof path, "/proc/self/fd/%d", uma_self.lifeline_fd);
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return uma_fail(-errno, "cannot open the lifeline to the launcher (%s): %s", path, strerror(errno));
  close(uma_self.lifeline_fd);
  uma_self.lifeline_fd = fd;
  return uma_session_arm(fd);
}

static int reopen_mailbox(void)
{
  struct uma_inheritance none = {.listen_fd = {-1, -1}};
  uma_mailbox_close(FAB_APPLICATION);
  return uma_mailboxes_open(&none);
}

static void empty_input(void)
{
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null < 0) return;
  dup2(null, STDIN_FILENO);
  close(null);
}

static int become(int device)
{
  struct uma_member *member = &uma_self.board->members[device];
  uma_self.device = device;
  uma_mutex_identify(device, uma_is_lost);
  int result = reopen_lifeline();
  if (!result) result = uma_coherent_after_fork();
  if (!result) result = reopen_mailbox();
  if (result) return result;
  uma_space_settle();
  empty_input();
  atomic_store(&member->pid, getpid());
  atomic_store(&member->state, UMA_MEMBER_JOINED);
  atomic_fetch_add(&uma_self.board->joined_count, 1);
  return 0;
}

/* ---- between the two */

static void send_report(int fd, int result)
{
  struct report report = {.result = result};
  if (result) snprintf(report.sentence, sizeof report.sentence, "%s", uma_last_error());
  if (write(fd, &report, sizeof report) < 0) return; /* the creator is gone: the keeper knows */
}

/* Returns in the new device only. */
static void run_middle(int report_fd, int device)
{
  pid_t pid = fork();
  if (pid > 0) _exit(0);
  int result = pid < 0 ? uma_fail(-errno, "cannot start device %d: %s", device, strerror(errno)) : become(device);
  send_report(report_fd, result);
  if (result) _exit(1);
}

/* Nothing came: the new device ended before it could say so. If it had joined, its end is the keeper's matter. */
static int judge_silence(int device)
{
  if (atomic_load(&uma_self.board->members[device].state) != UMA_MEMBER_FORKED) return 0;
  return uma_fail(-ECHILD, "device %d ended while it was created", device);
}

static int read_report(int fd, int device)
{
  struct report report;
  ssize_t got;
  while ((got = read(fd, &report, sizeof report)) < 0 && errno == EINTR) continue;
  if (got != sizeof report) return judge_silence(device);
  return report.result ? uma_fail(report.result, "%s", report.sentence) : 0;
}

/* 0 in the new device, its number in the creator, or -errno. */
static int copy_process(int device)
{
  int fds[2];
  if (pipe2(fds, O_CLOEXEC)) return uma_fail(-errno, "cannot create a pipe: %s", strerror(errno));
  pid_t middle = fork();
  if (middle == 0) {
    close(fds[0]);
    run_middle(fds[1], device);
    close(fds[1]);
    return 0;
  }
  close(fds[1]);
  int result = middle < 0 ? uma_fail(-errno, "cannot start device %d: %s", device, strerror(errno)) : read_report(fds[0], device);
  while (middle > 0 && waitpid(middle, NULL, 0) < 0 && errno == EINTR) continue;
  close(fds[0]);
  return result ? result : device;
}

static int check_process(void)
{
  struct stat threads;
  if (!uma_self.joined) return uma_fail(-EINVAL, "uma_fork was called outside of a session");
  if (!uma_self.shape.create)
    return uma_fail(-EINVAL, "this session was not started for uma_fork; use uma run --create, or create in struct uma_config");
  if (!stat("/proc/self/task", &threads) && (int)threads.st_nlink > 2 + OWN_THREADS + uma_coherent_threads())
    return uma_fail(-EBUSY, "device %d has %d threads, and a copy would have one; call uma_fork before threads and streams begin",
                    uma_self.device, (int)threads.st_nlink - 2);
  return 0;
}

bool uma_can_fork(void)
{
  return uma_self.joined && uma_self.shape.create;
}

int uma_fork(void)
{
  int device = 0;
  uint32_t former = UMA_MEMBER_NEW, forked = UMA_MEMBER_FORKED;
  int result = check_process();
  if (!result) result = claim(&device, &former);
  if (result) return result;
  if (uma_self.clock) uma_clock_raise(device, uma_clock_of(uma_self.device));
  uma_coherent_before_fork();
  result = copy_process(device);
  if (result == 0) return 0;
  int served = uma_coherent_go_on();
  if (served) result = served;
  if (result < 0) atomic_compare_exchange_strong(&uma_self.board->members[device].state, &forked, former);
  return result;
}

/* ---- the end of a device */

static int check_wait(int device)
{
  if (uma_server(device) < 0) return -EINVAL; /* it has left the sentence */
  if (device == uma_self.device) return uma_fail(-EDEADLK, "uma_wait_device: device %d waits for itself", device);
  if (device == 0 || !uma_self.shape.create || atomic_load(&uma_self.board->members[device].state) == UMA_MEMBER_NEW)
    return uma_fail(-ECHILD, "uma_wait_device: device %d was not started by uma_fork", device);
  return 0;
}

static bool is_over(int device)
{
  uint32_t state = atomic_load(&uma_self.board->members[device].state);
  return state == UMA_MEMBER_ENDED || state == UMA_MEMBER_FREE || uma_is_lost(device);
}

int uma_wait_device(int device)
{
  int result = check_wait(device);
  if (result) return result;
  struct fab_bell *bell = &uma_self.board->ends;
  struct uma_waiter waiter = {0};
  while (!is_over(device)) {
    if (uma_wait_step(&waiter)) continue;
    uint32_t rings = fab_bell_begin(bell);
    if (!is_over(device)) fab_bell_sleep(bell, rings, UMA_SLEEP_NS);
    fab_bell_end(bell);
  }
  uma_crossing();
  if (uma_self.clock) uma_clock_raise(uma_self.device, uma_clock_of(device));
  uint32_t ended = UMA_MEMBER_ENDED;
  atomic_compare_exchange_strong(&uma_self.board->members[device].state, &ended, UMA_MEMBER_FREE);
  return uma_is_lost(device) ? uma_fail(-EHOSTDOWN, "device %d was lost", device) : 0;
}
