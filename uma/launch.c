/* The launcher: front, keeper, devices.
 *
 *     front (uma run, or the caller of uma_spawn)
 *       keeper           creates the shared memory, starts the devices, watches them, ends the session
 *         device 0 ... n-1
 *
 * Two processes rather than one, so that the session ends properly however either dies:
 *   - the front dies: the keeper gets SIGTERM (PR_SET_PDEATHSIG) and ends the session as if it had been asked to.
 *   - the keeper dies: devices get SIGKILL, as its children (PR_SET_PDEATHSIG), and as holders of a lifeline (session.c).
 *   - devices create each other (fork.c): they become children of the keeper in the same way, and it finds them on the board (adopt).
 *   - a device starts processes of its own and dies: they become children of the keeper (PR_SET_CHILD_SUBREAPER), which ends them.
 * Shared memory is unnamed (memfd), sockets are inherited: there is nothing that could stay behind but processes.
 *
 * The keeper is one thread around one poll: a signalfd (children, requests to end) and, with --tag-output, the devices' output. It
 * ends the session by SIGTERM to the devices and, GRACE_NS later, SIGKILL to all that is left below it. */
#include "uma/launch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "uma/clock.h"
#include "uma/coherent.h"
#include "uma/config.h"
#include "uma/exchange.h"
#include "uma/heap.h"
#include "uma/output.h"
#include "uma/session.h"

#define GRACE_NS 1000000000u
#define STATUS_TIMEOUT 124
#define STATUS_CANNOT_RUN 127
#define CONNECTIONS 4 /* descriptors that a provider of libfabric takes for a peer, generously */

/* What keeper and devices tell the front: why the session could not start. In memory shared by all of them. */
struct outcome {
  _Atomic int taken; /* the first to set it writes */
  int error;
  char sentence[600];
};

struct keeper {
  const struct uma_program *program;
  struct uma_config config;
  struct uma_shape shape;
  struct uma_board *boards[UMA_MAX_DEVICES]; /* [host] */
  struct outcome *outcome;
  const char *name; /* for messages: "uma run" or "uma_spawn" */
  pid_t front, self;
  sigset_t caller_mask;
  struct rlimit caller_files;
  int signal_fd, spool_fd;                                                                  /* spool_fd: -1 without a trace */
  int board_fd[UMA_MAX_DEVICES];                                                            /* [host] */
  int segment_fd[UMA_MAX_DEVICES], windows_fd[UMA_MAX_DEVICES], frames_fd[UMA_MAX_DEVICES]; /* [group] */
  int lend_fd[UMA_MAX_DEVICES], borrow_fd[UMA_MAX_DEVICES];                                 /* with cached pages, [device] */
  int listen_fd[UMA_MAX_DEVICES][UMA_MAILBOXES];
  int wake_fd[UMA_MAX_DEVICES];
  int lifeline[UMA_MAX_DEVICES]; /* writing ends */
  pid_t pid[UMA_MAX_DEVICES];    /* 0 once it has ended */
  struct uma_output *output;     /* with tag_output */
  struct uma_exchange *exchange; /* where there are endpoints of fab_ofi */
  int started, running;
  int status; /* of the session so far */
  bool ending;
  uint64_t kill_at_ns, timeout_at_ns; /* 0: never */
};

static int say_outcome(struct outcome *outcome, int error)
{
  int free = 0;
  if (!atomic_compare_exchange_strong(&outcome->taken, &free, 1)) return error;
  snprintf(outcome->sentence, sizeof outcome->sentence, "%s", uma_last_error());
  outcome->error = error;
  return error;
}

/* ---- what devices inherit */

static bool has_sockets(const struct keeper *k)
{
  return k->shape.groups > 1 && !uma_shape_is_by_ofi(&k->shape);
}

static struct uma_board *board_of(const struct keeper *k, int device)
{
  return k->boards[uma_shape_host(&k->shape, device)];
}

/* The same on all hosts. */
static void publish_port(struct keeper *k, int index, uint16_t port)
{
  for (int host = 0; host < k->shape.hosts; host++) k->boards[host]->ports[index] = port;
}

static int create_listeners(struct keeper *k)
{
  int refused = fab_uring_available();
  if (refused)
    return uma_fail(refused,
                    "mode stacked sends messages by io_uring, which this system refuses (%s); allow it (kernel.io_uring_disabled, seccomp) "
                    "or use --fabric ofi, or --mode supernode",
                    strerror(-refused));
  for (int d = 0; d < k->shape.devices; d++)
    for (int c = 0; c < UMA_MAILBOXES; c++) {
      uint16_t port = 0;
      int result = uma_listen((struct in_addr){htonl(INADDR_LOOPBACK)}, &k->listen_fd[d][c], &port);
      if (result) return result;
      publish_port(k, d * FAB_CHANNELS + c, port);
    }
  return 0;
}

/* Between groups. */
static int create_links(struct keeper *k)
{
  for (int d = 0; d < k->shape.devices; d++) {
    k->wake_fd[d] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (k->wake_fd[d] < 0) return uma_fail(-errno, "cannot create an eventfd: %s", strerror(errno));
  }
  int result = uma_shape_has_contacts(&k->shape) ? uma_exchange_open(k->shape.devices, &k->exchange) : 0;
  return result || !has_sockets(k) ? result : create_listeners(k);
}

static bool caches_pages(const struct keeper *k)
{
  return k->shape.coherence == UMA_COHERENCE_PAGE;
}

/* How devices get at each other's page tables, see coherent.c. */
static int create_lenders(struct keeper *k)
{
  for (int d = 0; d < k->shape.devices; d++) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
      return uma_fail(-errno, "cannot create a socket pair: %s", strerror(errno));
    k->borrow_fd[d] = fds[0];
    k->lend_fd[d] = fds[1];
  }
  return 0;
}

/* Descriptors that the keeper, or a device, holds at most, generously. */
static int raise_file_limit(struct keeper *k)
{
  rlim_t groups = (rlim_t)k->shape.groups, devices = (rlim_t)k->shape.devices;
  rlim_t each = 1 + (groups > 1 ? 1 + UMA_MAILBOXES : 0) + (uma_shape_has_contacts(&k->shape) ? CONNECTIONS * FAB_CHANNELS : 0);
  rlim_t need = 64 + 4 * groups + (caches_pages(k) ? 3 * devices : 0) + devices * (each + (k->config.tag_output == UMA_ON ? 2 : 0));
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  k->caller_files = limit;
  if (limit.rlim_max < need)
    return uma_fail(-EMFILE, "%d devices need %lu open files, but the limit is %lu; raise it (ulimit -n) or use fewer devices",
                    k->shape.devices, (unsigned long)need, (unsigned long)limit.rlim_max);
  if (limit.rlim_cur < need) limit.rlim_cur = need;
  if (setrlimit(RLIMIT_NOFILE, &limit))
    return uma_fail(-errno, "cannot raise the limit of open files to %lu: %s", (unsigned long)need, strerror(errno));
  return 0;
}

static int create_shared(struct keeper *k)
{
  int result = raise_file_limit(k);
  for (int host = 0; !result && host < k->shape.hosts; host++) {
    result = uma_board_create(&k->shape, &k->boards[host], &k->board_fd[host]);
    if (!result) memcpy(k->boards[host]->key, k->boards[0]->key, sizeof k->boards[host]->key);
  }
  for (int group = 0; !result && group < k->shape.groups; group++) {
    int first = uma_shape_first(&k->shape, group, k->shape.groups), next = uma_shape_first(&k->shape, group + 1, k->shape.groups);
    result = uma_segment_create(&k->shape, first, next - first, &k->segment_fd[group], &k->windows_fd[group]);
    if (!result) result = uma_coherent_frames(&k->shape, first, &k->frames_fd[group]);
  }
  if (!result && k->shape.groups > 1) result = create_links(k);
  if (!result && caches_pages(k)) result = create_lenders(k);
  if (!result && k->shape.traced) result = uma_coherent_spool(k->config.trace, &k->spool_fd);
  if (!result && k->config.tag_output == UMA_ON) result = uma_output_open(k->shape.devices, &k->output);
  return result;
}

/* ---- becoming a device: everything here runs in the child */

static void describe_inheritance(const struct keeper *k, int device, int lifeline, struct uma_inheritance *to)
{
  int group = uma_shape_group(&k->shape, device), first = uma_shape_first(&k->shape, group, k->shape.groups);
  *to = (struct uma_inheritance){
      .device = device,
      .board_fd = k->board_fd[uma_shape_host(&k->shape, device)],
      .segment_fd = k->segment_fd[group],
      .windows_fd = k->windows_fd[group],
      .frames_fd = k->frames_fd[group],
      .spool_fd = k->spool_fd,
      .lifeline_fd = lifeline,
      .lend_fd = -1,
      .exchange_fd = k->exchange ? uma_exchange_end(k->exchange, device) : -1,
      .listen_fd = {-1, -1},
  };
  if (caches_pages(k)) {
    to->lend_fd = k->lend_fd[device];
    to->borrow_fds = &k->borrow_fd[first];
    if (k->shape.create) to->lend_fds = k->lend_fd;
  }
  if (has_sockets(k)) memcpy(to->listen_fd, k->listen_fd[device], sizeof to->listen_fd);
  if (k->shape.groups > 1) to->wake_fds = &k->wake_fd[first];
}

static int group_size(const struct keeper *k, int device)
{
  int group = uma_shape_group(&k->shape, device);
  return uma_shape_first(&k->shape, group + 1, k->shape.groups) - uma_shape_first(&k->shape, group, k->shape.groups);
}

static void pass_on(int fd)
{
  if (fd >= 0) fcntl(fd, F_SETFD, 0);
}

/* Appends a list of descriptors, which are passed on; NULL: none. */
static char *export_list(char *end, const int *fds, int count)
{
  for (int i = 0; fds && i < count; i++) {
    pass_on(fds[i]);
    end += sprintf(end, ",%d", fds[i]);
  }
  return end;
}

/* The variable that uma_init reads, see session.c: inherit. */
static void export_inheritance(const struct keeper *k, const struct uma_inheritance *from)
{
  static char text[3 * UMA_MAX_DEVICES * 8 + 128];
  int fds[] = {from->board_fd,    from->segment_fd, from->windows_fd,  from->frames_fd,    from->spool_fd,
               from->lifeline_fd, from->lend_fd,    from->exchange_fd, from->listen_fd[0], from->listen_fd[1]};
  char *end = text + sprintf(text, "%d", from->device);
  end = export_list(end, fds, sizeof fds / sizeof fds[0]);
  end = export_list(end, from->wake_fds, group_size(k, from->device));
  end = export_list(end, from->borrow_fds, group_size(k, from->device));
  export_list(end, from->lend_fds, group_size(k, from->device));
  setenv("UMA_SESSION", text, 1);
}

static void settle_process(struct keeper *k, int device)
{
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != k->self) raise(SIGKILL); /* it died before the line above */
  prctl(PR_SET_CHILD_SUBREAPER, 0);
  if (device > 0) {
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0) dup2(null, STDIN_FILENO);
    close(null);
  }
  if (k->output) uma_output_redirect(k->output, device);
  if (k->shape.groups == 1 && !caches_pages(k)) setrlimit(RLIMIT_NOFILE, &k->caller_files);
  sigprocmask(SIG_SETMASK, &k->caller_mask, NULL);
}

static void run_program(struct keeper *k, const struct uma_inheritance *from)
{
  export_inheritance(k, from);
  execvp(k->program->argv[0], k->program->argv);
  uma_fail(-errno, "cannot run \"%s\": %s", k->program->argv[0], strerror(errno));
  say_outcome(k->outcome, -errno);
  _exit(STATUS_CANNOT_RUN);
}

/* Without exec the descriptors of all other devices are open here too; above all the lifelines must go, or they would never hang up. */
static void close_foreign(struct keeper *k, const struct uma_inheritance *from)
{
  for (int d = 0; d < k->started; d++) close(k->lifeline[d]);
  close(k->signal_fd);
  if (k->output) uma_output_close(k->output);
  if (k->exchange) uma_exchange_keep(k->exchange, from->device);
  int own = uma_shape_group(&k->shape, from->device);
  for (int d = 0; d < k->shape.devices && has_sockets(k); d++)
    for (int c = 0; c < UMA_MAILBOXES && d != from->device; c++)
      if (k->listen_fd[d][c] >= 0) close(k->listen_fd[d][c]);
  for (int d = 0; d < k->shape.devices && k->shape.groups > 1; d++)
    if (uma_shape_group(&k->shape, d) != own) close(k->wake_fd[d]);
  for (int d = 0; d < k->shape.devices && caches_pages(k); d++) {
    if (d != from->device && !k->shape.create) close(k->lend_fd[d]);
    if (uma_shape_group(&k->shape, d) != own) close(k->borrow_fd[d]);
  }
  for (int group = 0; group < k->shape.groups; group++) {
    if (group == own) continue;
    close(k->segment_fd[group]);
    close(k->windows_fd[group]);
    if (caches_pages(k)) close(k->frames_fd[group]);
  }
  for (int host = 0; host < k->shape.hosts; host++)
    if (host != uma_shape_host(&k->shape, from->device)) close(k->board_fd[host]);
}

static void run_function(struct keeper *k, struct uma_inheritance *from)
{
  struct uma_program program = *k->program;
  struct outcome *outcome = k->outcome;
  close_foreign(k, from);
  int result = uma_session_join(from);
  if (result) {
    say_outcome(outcome, result);
    _exit(STATUS_CANNOT_RUN);
  }
  for (int host = 0; host < k->shape.hosts; host++) munmap(k->boards[host], sizeof *k->boards[host]);
  result = program.function(program.argument);
  if (!result && uma_self.joined) result = uma_finalize();
  fflush(NULL);
  _exit(!result ? 0 : result & 255 ? result & 255 : 1);
}

/* ---- the keeper */

static int start_device(struct keeper *k, int device)
{
  int pipe_fds[2];
  int result = k->output ? uma_output_prepare(k->output, device) : 0;
  if (result || pipe2(pipe_fds, O_CLOEXEC)) return uma_fail(result ? result : -errno, "cannot create a pipe: %s", strerror(errno));
  k->lifeline[device] = pipe_fds[1];
  k->started = device + 1;
  pid_t pid = fork();
  if (pid < 0) return uma_fail(-errno, "cannot start device %d of %d: %s", device, k->shape.devices, strerror(errno));
  if (pid == 0) {
    struct uma_inheritance from;
    describe_inheritance(k, device, pipe_fds[0], &from);
    settle_process(k, device);
    if (k->program->argv) run_program(k, &from);
    run_function(k, &from);
  }
  k->pid[device] = pid;
  k->running++;
  close(pipe_fds[0]);
  if (k->exchange) uma_exchange_started(k->exchange, device);
  for (int c = 0; c < UMA_MAILBOXES && has_sockets(k); c++) {
    close(k->listen_fd[device][c]);
    k->listen_fd[device][c] = -1;
  }
  if (k->output) uma_output_started(k->output, device);
  return 0;
}

/* Takes over the devices that others have created. Each has put its process number on the board before its creator goes on. */
static void adopt(struct keeper *k)
{
  for (int d = 1; k->shape.create && d < k->started; d++) {
    pid_t pid = atomic_load(&k->boards[0]->members[d].pid);
    if (k->pid[d] || !pid) continue;
    k->pid[d] = pid;
    k->running++;
  }
}

static void signal_devices(struct keeper *k, int number)
{
  for (int d = 0; d < k->started; d++)
    if (k->pid[d]) kill(k->pid[d], number);
}

static void begin_end(struct keeper *k, int status)
{
  if (!k->status) k->status = status;
  if (k->ending) return;
  k->ending = true;
  k->kill_at_ns = fab_now_ns() + GRACE_NS;
  adopt(k);
  signal_devices(k, SIGTERM);
  signal_devices(k, SIGCONT);
}

/* Where devices create each other: for uma_wait_device. */
static void vacate(struct keeper *k, int device, bool well)
{
  uint32_t left = UMA_MEMBER_LEFT;
  if (!k->shape.create) return;
  if (well) atomic_compare_exchange_strong(&k->boards[0]->members[device].state, &left, UMA_MEMBER_ENDED);
  fab_bell_ring(&k->boards[0]->ends);
}

/* A sentence about how the device ended and the status that follows for the session; NULL when it ended well. */
static const char *judge(struct keeper *k, int device, int wait_status, int *status, char *text, size_t room)
{
  struct uma_board *board = board_of(k, device);
  struct uma_member *member = &board->members[device];
  uint32_t new_state = UMA_MEMBER_NEW;
  *status = 1;
  if (WIFSIGNALED(wait_status)) {
    *status = 128 + WTERMSIG(wait_status);
    snprintf(text, room, "was killed by signal %d (%s)", WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)));
    return text;
  }
  if (WEXITSTATUS(wait_status)) {
    *status = WEXITSTATUS(wait_status);
    snprintf(text, room, "exited with code %d", *status);
    return text;
  }
  if (atomic_load(&member->state) == UMA_MEMBER_JOINED) return "exited without calling uma_finalize, while the others may wait for it";
  if (!atomic_compare_exchange_strong(&member->state, &new_state, UMA_MEMBER_ABSENT)) return NULL;
  atomic_fetch_add(&board->absent_count, 1); /* pairs with announce() in session.c */
  return atomic_load(&board->joined_count) ? "exited without calling uma_init, while others did" : NULL;
}

/* The devices of other hosts are told as well: a provider keeps it to itself when who is to answer dies, and they would wait for its silence. */
static void blame(struct keeper *k, int device, int status)
{
  if (k->shape.on_failure == UMA_ON_FAILURE_CONTINUE) {
    if (!k->status) k->status = status;
    for (int host = 0; host < k->shape.hosts; host++) uma_board_lose(k->boards[host], device);
  } else {
    begin_end(k, status);
  }
}

static void device_ended(struct keeper *k, int device, int wait_status)
{
  char text[128];
  int status;
  pid_t pid = k->pid[device];
  k->pid[device] = 0;
  k->running--;
  if (k->shape.create) atomic_store(&k->boards[0]->members[device].pid, 0); /* before anything adopts */
  const char *sentence = judge(k, device, wait_status, &status, text, sizeof text);
  if (sentence && !k->ending) {
    if (!atomic_load(&k->outcome->taken)) fprintf(stderr, "%s: device %d (process %d) %s\n", k->name, device, (int)pid, sentence);
    blame(k, device, status);
  }
  if (k->exchange) uma_exchange_ended(k->exchange, device);
  vacate(k, device, !sentence);
}

static int device_of(const struct keeper *k, pid_t pid)
{
  int d = 0;
  while (d < k->started && k->pid[d] != pid) d++;
  return d < k->started ? d : -1;
}

static void reap(struct keeper *k)
{
  int wait_status;
  for (pid_t pid; (pid = waitpid(-1, &wait_status, WNOHANG)) > 0;) {
    adopt(k);
    int device = device_of(k, pid);
    if (device >= 0) device_ended(k, device, wait_status);
  }
  adopt(k);
}

static void take_signals(struct keeper *k)
{
  struct signalfd_siginfo info;
  while (read(k->signal_fd, &info, sizeof info) == sizeof info) {
    int number = (int)info.ssi_signo;
    if (number == SIGCHLD) continue;
    if (!k->ending) fprintf(stderr, "%s: ended by signal %d (%s)\n", k->name, number, strsignal(number));
    else k->kill_at_ns = fab_now_ns(); /* asked twice: no more grace */
    begin_end(k, 128 + number);
  }
}

static void check_clock(struct keeper *k)
{
  uint64_t now = fab_now_ns();
  if (k->timeout_at_ns && now >= k->timeout_at_ns && !k->ending) {
    fprintf(stderr, "%s: the session did not end within %g s\n", k->name, k->config.timeout);
    begin_end(k, STATUS_TIMEOUT);
  }
  if (k->kill_at_ns && now >= k->kill_at_ns) signal_devices(k, SIGKILL);
}

static int poll_timeout_ms(const struct keeper *k)
{
  uint64_t at = k->ending ? k->kill_at_ns : k->timeout_at_ns, now = fab_now_ns();
  if (!at) return -1;
  if (at <= now) return 10;
  uint64_t ms = (at - now) / 1000000 + 1;
  return ms > 60000 ? 60000 : (int)ms;
}

static void watch(struct keeper *k)
{
  int room = 1 + 3 * k->shape.devices;
  struct pollfd *fds = calloc((size_t)room, sizeof *fds);
  if (!fds) begin_end(k, 1);
  for (;;) {
    take_signals(k); /* first: starting the devices took some already */
    reap(k);
    check_clock(k);
    if (!k->running || !fds) break;
    fds[0] = (struct pollfd){.fd = k->signal_fd, .events = POLLIN};
    int count = 1 + (k->output ? uma_output_poll_set(k->output, fds + 1) : 0);
    if (k->exchange) count += uma_exchange_poll_set(k->exchange, fds + count);
    poll(fds, (nfds_t)count, poll_timeout_ms(k));
    if (k->exchange) uma_exchange_forward(k->exchange);
    if (k->output) uma_output_forward(k->output);
  }
  free(fds);
}

/* Ends whatever the devices left behind: their processes are children of the keeper now, and so become theirs. */
static void end_orphans(struct keeper *k)
{
  signal_devices(k, SIGKILL);
  for (int rounds = 0; rounds < 1000; rounds++) {
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) continue;
    if (pid < 0) return;
    uma_output_end_children(k->self);
    poll(NULL, 0, 2);
  }
}

static bool all_lost(int device)
{
  return true;
}

/* A group's segment, once its devices have ended. */
struct remains {
  int first, count;
  struct uma_layout layout;
  unsigned char *segment;
};

/* False when it cannot be mapped. */
static bool open_remains(const struct keeper *k, int group, struct remains *remains)
{
  remains->first = uma_shape_first(&k->shape, group, k->shape.groups);
  remains->count = uma_shape_first(&k->shape, group + 1, k->shape.groups) - remains->first;
  uma_layout_compute(&k->shape, remains->first, remains->count, &remains->layout);
  remains->segment = mmap(NULL, remains->layout.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, k->segment_fd[group], 0);
  return remains->segment != MAP_FAILED;
}

static struct coh_area *area_of(const struct remains *remains)
{
  return (struct coh_area *)(remains->segment + remains->layout.coherence);
}

static void print_usage(const struct keeper *k, const struct remains *remains, int groups)
{
  uma_mutex_identify(UMA_MAX_DEVICES, all_lost); /* all owners of heap locks are gone */
  fprintf(stderr, "%-8s %-8s %12s %12s %12s %8s\n", "device", "server", "used", "peak", "capacity", "blocks");
  for (int group = 0; group < groups; group++)
    for (int i = 0; i < remains[group].count; i++) {
      const struct uma_layout *layout = &remains[group].layout;
      struct uma_usage usage;
      int device = remains[group].first + i;
      uma_heap_usage((struct uma_heap *)(remains[group].segment + layout->heaps + (size_t)i * layout->heap_stride), &usage);
      fprintf(stderr, "%-8d %-8d %12zu %12zu %12zu %8zu\n", device, uma_shape_server(&k->shape, device), usage.used, usage.peak,
              usage.capacity, usage.blocks);
    }
  for (int group = 0; group < groups && uma_shape_is_cached(&k->shape) && k->shape.hosts == 1; group++)
    uma_coherent_print(remains[group].first, remains[group].count, area_of(&remains[group]));
}

static void write_trace(struct keeper *k, const struct remains *remains, int groups)
{
  struct coh_area *areas[UMA_MAX_DEVICES];
  for (int group = 0; group < groups; group++) areas[group] = area_of(&remains[group]);
  if (!uma_coherent_trace(k->config.trace, k->spool_fd, areas, groups)) return;
  fprintf(stderr, "%s: %s\n", k->name, uma_last_error());
  if (!k->status) k->status = 1;
}

/* What the session leaves to be told. */
static void report(struct keeper *k)
{
  struct remains *remains = calloc((size_t)k->shape.groups, sizeof *remains);
  int groups = 0;
  while (remains && groups < k->shape.groups && open_remains(k, groups, &remains[groups])) groups++;
  uint64_t lost = 0;
  for (int group = 0; group < groups && uma_shape_is_cached(&k->shape); group++) lost += coh_area_lost(area_of(&remains[group]));
  if (lost)
    fprintf(stderr, "%s: %llu %s of the caches were lost with devices that died while they worked on them\n", k->name,
            (unsigned long long)lost, k->shape.coherence == UMA_COHERENCE_PAGE ? "pages" : "lines");
  if (k->shape.stats == UMA_ON) print_usage(k, remains, groups);
  if (k->shape.traced && groups) write_trace(k, remains, groups);
  for (int group = 0; group < groups; group++) munmap(remains[group].segment, remains[group].layout.bytes);
  free(remains);
}

static void prepare_keeper(struct keeper *k, const sigset_t *watched)
{
  k->self = getpid();
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  prctl(PR_SET_NAME, "uma-keeper");
  if (getppid() != k->front) _exit(128 + SIGTERM);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, SIG_DFL);
  k->signal_fd = signalfd(-1, watched, SFD_CLOEXEC | SFD_NONBLOCK);
  if (k->config.timeout > 0) k->timeout_at_ns = fab_now_ns() + (uint64_t)(fmin(k->config.timeout, 1e9) * 1e9);
}

static int keep(struct keeper *k, const sigset_t *watched)
{
  prepare_keeper(k, watched);
  k->spool_fd = -1;
  int result = create_shared(k);
  int first_ones = k->shape.create ? 1 : k->shape.devices;
  for (int d = 0; !result && d < first_ones && !k->ending; d++) {
    result = start_device(k, d);
    if (k->shape.create) k->started = k->shape.devices;
    take_signals(k);
    reap(k);
  }
  if (result) {
    say_outcome(k->outcome, result);
    begin_end(k, 1);
  }
  watch(k);
  end_orphans(k);
  if (k->output) uma_output_flush(k->output);
  if (!result) report(k);
  for (int host = 0; !result && k->program->modelled && host < k->shape.hosts; host++)
    uma_clock_read(&k->shape, host, k->board_fd[host], k->program->modelled);
  return k->status;
}

/* ---- the front */

static int wait_for_keeper(pid_t keeper, bool forward, const sigset_t *watched)
{
  int status;
  while (forward) {
    int number = sigwaitinfo(watched, NULL);
    if (number == SIGCHLD && waitpid(keeper, &status, WNOHANG) == keeper) break;
    if (number > 0 && number != SIGCHLD) kill(keeper, number);
  }
  if (!forward)
    while (waitpid(keeper, &status, 0) < 0 && errno == EINTR) continue;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run_keeper(struct keeper *k)
{
  sigset_t watched;
  sigemptyset(&watched);
  int numbers[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP};
  for (int i = 0; i < 4; i++) sigaddset(&watched, numbers[i]);
  fflush(NULL);
  pthread_sigmask(SIG_BLOCK, &watched, &k->caller_mask);
  k->front = getpid();
  pid_t keeper = fork();
  if (keeper == 0) _exit(keep(k, &watched));
  int error = errno;
  bool forward = k->program->argv;
  if (!forward) pthread_sigmask(SIG_SETMASK, &k->caller_mask, NULL);
  if (keeper < 0) return uma_fail(-error, "cannot start the session: %s", strerror(error));
  int status = wait_for_keeper(keeper, forward, &watched);
  return k->outcome->error ? uma_fail(k->outcome->error, "%s", k->outcome->sentence) : status;
}

int uma_launch(const struct uma_config *config, int devices, const struct uma_program *program)
{
  struct keeper *k = calloc(1, sizeof *k);
  if (!k) return uma_fail(-ENOMEM, "no memory to start a session");
  k->config = config ? *config : (struct uma_config){0};
  k->program = program;
  k->name = program->argv ? "uma run" : "uma_spawn";
  k->outcome = mmap(NULL, sizeof *k->outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int result = k->outcome == MAP_FAILED ? uma_fail(-ENOMEM, "no memory to start a session") : uma_config_resolve(&k->config);
  if (!result) result = uma_config_shape(&k->config, devices, &k->shape);
  if (!result) result = run_keeper(k);
  if (k->outcome != MAP_FAILED) munmap(k->outcome, sizeof *k->outcome);
  free(k);
  return result;
}

int uma_spawn(const struct uma_config *config, int devices, int (*function)(void *argument), void *argument)
{
  struct uma_program program = {.function = function, .argument = argument};
  if (uma_self.joined) return uma_fail(-EALREADY, "uma_spawn was called by a device of a session; sessions do not nest");
  if (!function) return uma_fail(-EINVAL, "uma_spawn: the function is NULL");
  return uma_launch(config, devices, &program);
}
