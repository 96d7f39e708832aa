/* Who of this host has died: see watch.h.
 *
 * A thread sleeps on a pidfd of each process, which the kernel makes readable when the last thread of that has ended. Every device does so, and all
 * write the same to the board that they share, so whoever is left knows; what waits looks there every UMA_SLEEP_NS at most. A device is not lost that has
 * put on the board that it leaves, which it does before its process ends.
 *
 * Where the kernel gives no pidfd (a filter of system calls), that process is not watched. */
#include "uma/watch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "uma/session.h"

static struct {
  struct pollfd *fds; /* [count] processes, -1: not watched; behind them what ends the thread */
  int first, count;
  pthread_t thread;
} watch;

static void judge(int device)
{
  if (atomic_load(&uma_self.board->members[device].state) != UMA_MEMBER_LEFT) uma_board_lose(uma_self.board, device);
}

static void unwatch(struct pollfd *process)
{
  close(process->fd);
  process->fd = -1;
}

static void *watch_all(void *unused)
{
  const struct pollfd *stop = &watch.fds[watch.count];
  while (!stop->revents) {
    if (poll(watch.fds, (nfds_t)watch.count + 1, -1) < 0) continue;
    for (int i = 0; i < watch.count; i++) {
      if (!watch.fds[i].revents) continue;
      judge(watch.first + i);
      unwatch(&watch.fds[i]);
    }
  }
  return NULL;
}

static void open_process(pid_t pid, int device, struct pollfd *process)
{
  *process = (struct pollfd){.fd = pid ? pidfd_open(pid, 0) : -1, .events = POLLIN};
  if (pid && process->fd < 0 && errno == ESRCH) judge(device);
}

static int start_thread(void)
{
  sigset_t all, before;
  sigfillset(&all); /* the program's signals go to the program's threads */
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&watch.thread, NULL, watch_all, NULL);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return error;
}

static void close_all(void)
{
  for (int i = 0; i <= watch.count; i++)
    if (watch.fds[i].fd >= 0) close(watch.fds[i].fd);
  free(watch.fds);
  watch.fds = NULL;
}

int uma_watch_start(const pid_t *processes, int first, int count)
{
  watch.fds = calloc((size_t)count + 1, sizeof *watch.fds);
  if (!watch.fds) return uma_fail(-ENOMEM, "no memory to watch %d processes", count);
  watch.first = first;
  watch.count = count;
  for (int i = 0; i < count; i++) open_process(processes[i], first + i, &watch.fds[i]);
  watch.fds[count] = (struct pollfd){.fd = eventfd(0, EFD_CLOEXEC), .events = POLLIN};
  int error = watch.fds[count].fd < 0 ? errno : start_thread();
  if (!error) return 0;
  close_all();
  return uma_fail(-error, "cannot watch the other processes of this host: %s", strerror(error));
}

void uma_watch_stop(void)
{
  uint64_t one = 1;
  if (!watch.fds) return;
  while (write(watch.fds[watch.count].fd, &one, sizeof one) < 0) continue;
  pthread_join(watch.thread, NULL);
  close_all();
}
