/* Who serves the faults of cached pages.
 *
 * In the thread that faults: the kernel turns the fault into SIGBUS, whose handler runs the protocol and returns to the access. That is the
 * quick way; a system call that touches an absent page returns EFAULT instead. Signals for other addresses go to whoever handled SIGBUS
 * before. The handler may interrupt anything that touches windows; the engine takes no lock that such code could hold, and restores errno.
 *
 * In a thread of its own: the kernel queues the fault and puts the thread that faulted to sleep, also inside of a system call; this thread
 * runs the protocol for it. Two changes of thread a fault, but everything works on windows.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <ucontext.h>
#include <unistd.h>

#include "coherence/pages.h"

/* What the handler looks at; written while it is not installed. */
static struct coh_engine *served;
static void (*on_lost)(uintptr_t address, bool write);
static struct sigaction former_action;

/* ---- In the thread that faults ----------------------------------------------------------------------------------- */

static bool is_write(const void *context)
{
#if defined(__x86_64__)
  return ((const ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2;
#else
#error "tell here whether a fault was a store"
#endif
}

static void pass_on(int number, siginfo_t *info, void *context)
{
  if (former_action.sa_flags & SA_SIGINFO) former_action.sa_sigaction(number, info, context);
  else if (former_action.sa_handler == SIG_DFL || former_action.sa_handler == SIG_IGN) {
    signal(SIGBUS, SIG_DFL); /* returning repeats the access, which ends the process by the signal that it deserves */
    if (info->si_code <= 0) raise(SIGBUS);
  } else former_action.sa_handler(number);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
  struct coh_engine *engine = served;
  uintptr_t address = (uintptr_t)info->si_addr;
  int error = errno;
  if (info->si_code <= 0 || !engine || address - engine->base >= engine->bytes) pass_on(number, info, context);
  else if (coh_pages_fault(engine, address - engine->base, is_write(context))) on_lost(address, is_write(context));
  errno = error;
}

/* ---- In a thread of its own -------------------------------------------------------------------------------------- */

static void serve_one(struct coh_engine *engine, const struct uffd_msg *message)
{
  uintptr_t address = (uintptr_t)message->arg.pagefault.address;
  bool write = message->arg.pagefault.flags & (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP);
  if (coh_pages_fault(engine, address - engine->base, write)) on_lost(address, write);
  struct uffdio_range page = {address & ~(uintptr_t)engine->line_mask, engine->shape.line_bytes};
  ioctl(coh_pages_descriptor(engine), UFFDIO_WAKE, &page); /* also those whose page was there already */
}

static void *serve(void *argument)
{
  struct coh_engine *engine = argument;
  struct pollfd fds[2] = {{.fd = coh_pages_descriptor(engine), .events = POLLIN}, {.fd = engine->pages->wake_fd, .events = POLLIN}};
  while (poll(fds, 2, -1) >= 0 || errno == EINTR) {
    struct uffd_msg message;
    if (fds[1].revents) break;
    if (fds[0].revents && read(fds[0].fd, &message, sizeof message) == sizeof message && message.event == UFFD_EVENT_PAGEFAULT)
      serve_one(engine, &message);
  }
  return NULL;
}

static int start_thread(struct coh_engine *engine)
{
  struct coh_pages *pages = engine->pages;
  sigset_t all, before;
  pages->wake_fd = eventfd(0, EFD_CLOEXEC);
  if (pages->wake_fd < 0) return -errno;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before); /* signals are for the program's threads */
  int result = pthread_create(&pages->thread, NULL, serve, engine);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pages->serves = !result;
  if (result) close(pages->wake_fd);
  return -result;
}

/* ---- Both -------------------------------------------------------------------------------------------------------- */

int coh_pages_serve(struct coh_engine *engine, void (*lost)(uintptr_t address, bool write))
{
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigfillset(&action.sa_mask); /* or a signal's handler could fault while this thread holds a frame */
  served = engine;
  on_lost = lost;
  if (engine->pages->config.thread) return start_thread(engine);
  return sigaction(SIGBUS, &action, &former_action) ? -errno : 0;
}

void coh_pages_stop(struct coh_engine *engine)
{
  struct coh_pages *pages = engine->pages;
  struct sigaction current;
  if (pages->serves) {
    eventfd_write(pages->wake_fd, 1);
    pthread_join(pages->thread, NULL);
    close(pages->wake_fd);
  } else {
    sigaction(SIGBUS, NULL, &current);
    if (current.sa_sigaction == on_signal) sigaction(SIGBUS, &former_action, NULL);
  }
  served = NULL;
}
