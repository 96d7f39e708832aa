/* Joining and leaving a session, and the questions about it.
 *
 * uma_init finds what this process inherited in the variable UMA_SESSION (written by the launcher, launch.c): descriptors of
 * the board, of its group's segment and windows, a lifeline, and listening sockets. Without the variable a PMIx launcher may have started the
 * process (job.c); else it makes a session of one device for itself. uma_self is written here only, before any other function of the library may run and after the last has.
 *
 * The lifeline is the reading end of a pipe that nobody writes to. The kernel is asked to send SIGKILL when it hangs up, so a device ends with its
 * keeper however that dies, without a thread that watches. */
#include "uma/session.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "uma/clock.h"
#include "uma/coherent.h"
#include "uma/collective.h"
#include "uma/config.h"
#include "uma/exchange.h"
#include "uma/heap.h"
#include "uma/job.h"
#include "uma/mailbox.h"
#include "uma/pmix.h"
#include "uma/stream.h"
#include "uma/wait.h"
#include "uma/watch.h"
#include "uma/wire.h"

struct uma_session uma_self;
struct uma_fast_ uma_fast_;
__thread const char *uma_site_;
bool uma_wait_yields_at_once;
char uma_crossing_mark;

/* ---- errors */

static _Thread_local char last_error[640];

int uma_fail(int error, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(last_error, sizeof last_error, format, arguments);
  va_end(arguments);
  return error;
}

const char *uma_last_error(void)
{
  return last_error;
}

const char *uma_strerror(int error)
{
  switch (abs(error)) {
  case 0: return "success";
  case EFAULT: return "the address is in no window of this session";
  case EINVAL: return "an argument is not valid";
  case ENOMEM: return "the window has no room";
  case EALREADY: return "done already (a block freed twice, a session joined twice)";
  case EREMOTE: return "the memory is in another coherence domain";
  case EHOSTDOWN: return "a device of the session was lost";
  case EOWNERDEAD: return "the lock is held now, but its last owner was lost while it held it";
  case EBUSY: return "held by another device";
  case EPERM: return "not held by this device";
  case EMSGSIZE: return "the message was longer than the buffer";
  case EEXIST: return "the addresses of the windows are taken";
  case ENOSPC: return "all of a kind are in use (locks, barriers, devices)";
  case ENOTCONN: return "the session cannot be complete: a device ended without joining";
  default: return strerror(abs(error));
  }
}

/* ---- layout and creation of shared memory */

static size_t reserve(size_t *end, size_t bytes)
{
  size_t begin = *end;
  *end = (begin + bytes + 4095) / 4096 * 4096;
  return begin;
}

void uma_layout_compute(const struct uma_shape *shape, int first, int count, struct uma_layout *layout)
{
  size_t end = 0, n = (size_t)count;
  layout->bells = reserve(&end, n * FAB_CACHE_LINE);
  layout->locks = reserve(&end, n * UMA_LOCKS * sizeof(struct uma_lock_slot));
  layout->barriers = reserve(&end, n * UMA_BARRIERS * sizeof(struct uma_barrier_slot));
  layout->heap_stride = (uma_heap_bytes(shape->memory) + 4095) / 4096 * 4096;
  layout->heaps = reserve(&end, n * layout->heap_stride);
  layout->collectives = reserve(&end, uma_collective_bytes(count));
  layout->collapsed_stride = (shape->memory / ((size_t)2 << 20) / 8 + FAB_CACHE_LINE) / FAB_CACHE_LINE * FAB_CACHE_LINE;
  layout->collapsed = reserve(&end, n * layout->collapsed_stride);
  layout->rings = reserve(&end, fab_shm_bytes(count));
  layout->coherence = reserve(&end, uma_coherent_bytes(shape, first));
  layout->signals = reserve(&end, shape->clock_bytes ? (size_t)count * shape->memory : 0);
  layout->bytes = end;
}

static int create_memory(const char *name, size_t bytes, int *fd)
{
  *fd = memfd_create(name, MFD_CLOEXEC);
  if (*fd < 0) return uma_fail(-errno, "cannot create shared memory: %s", strerror(errno));
  if (!ftruncate(*fd, (off_t)bytes)) return 0;
  int error = errno;
  close(*fd);
  return uma_fail(-error, "cannot size shared memory to %zu bytes: %s", bytes, strerror(error));
}

static int map_memory(int fd, size_t bytes, void **memory)
{
  *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  return *memory == MAP_FAILED ? uma_fail(-errno, "cannot map %zu bytes of shared memory: %s", bytes, strerror(errno)) : 0;
}

int uma_segment_create(const struct uma_shape *shape, int first, int count, int *segment_fd, int *windows_fd)
{
  struct uma_layout layout;
  void *segment;
  uma_layout_compute(shape, first, count, &layout);
  int result = create_memory("uma-segment", layout.bytes, segment_fd);
  if (result) return result;
  result = map_memory(*segment_fd, layout.bytes, &segment);
  if (!result) {
    for (int i = 0; i < count; i++)
      uma_heap_format((struct uma_heap *)((unsigned char *)segment + layout.heaps + (size_t)i * layout.heap_stride), shape->memory,
                      shape->base + (size_t)(first + i) * shape->memory);
    if (uma_shape_is_cached(shape)) result = uma_coherent_format(shape, first, (unsigned char *)segment + layout.coherence);
    munmap(segment, layout.bytes);
    if (!result) result = create_memory("uma-windows", (size_t)count * shape->memory, windows_fd);
  }
  if (result) close(*segment_fd);
  return result;
}

int uma_board_create(const struct uma_shape *shape, struct uma_board **board, int *fd)
{
  void *memory;
  int result = create_memory("uma-board", shape->clock_bytes ? uma_clock_offset() + shape->clock_bytes : sizeof **board, fd);
  if (result) return result;
  result = uma_clock_create(shape, *fd);
  if (!result) result = map_memory(*fd, sizeof **board, &memory);
  if (result) {
    close(*fd);
    return result;
  }
  *board = memory;
  (*board)->shape = *shape;
  if (getrandom((*board)->key, sizeof(*board)->key, 0) != sizeof(*board)->key) abort(); /* cannot fail for so few bytes */
  (*board)->magic = UMA_BOARD_MAGIC;
  return 0;
}

/* ---- joining */

int uma_session_arm(int fd)
{
  struct pollfd hangup = {.fd = fd};
  if (fd < 0) return 0;
  if (fcntl(fd, F_SETOWN, getpid()) || fcntl(fd, F_SETSIG, SIGKILL) || fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK))
    return uma_fail(-errno, "cannot watch the launcher: %s", strerror(errno));
  if (poll(&hangup, 1, 0) > 0) raise(SIGKILL);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  return 0;
}

/* Which lists there are, and how long they are, the shape tells. */
static void split_lists(struct uma_inheritance *from)
{
  const int *list = from->lists;
  if (!list) return;
  if (uma_self.shape.groups > 1) from->wake_fds = list;
  if (uma_self.shape.groups > 1) list += uma_self.count;
  if (uma_self.shape.coherence != UMA_COHERENCE_PAGE) return;
  from->borrow_fds = list;
  if (uma_self.shape.create) from->lend_fds = list + uma_self.count;
}

static int open_clock_wire(const struct uma_inheritance *from)
{
  if (!uma_shape_has_far_clocks(&uma_self.shape)) return 0;
  uma_self.clock_wire = uma_self.wire;
  return uma_self.wire ? 0 : uma_wire_open(from->net, NULL, &uma_self.clock_wire);
}

static void set_fast_paths(void)
{
  const struct uma_shape *shape = &uma_self.shape;
  uma_fast_.direct_base = (uintptr_t)uma_window_of(uma_self.domain_first);
  uma_fast_.direct_bytes = uma_self.lines || uma_self.clock ? 0 : (size_t)uma_self.domain_count * shape->memory;
  uma_fast_.indirect_base = shape->base;
  uma_fast_.indirect_bytes = shape->domains > 1 || uma_self.lines || uma_self.clock ? (size_t)shape->devices * shape->memory : 0;
}

int uma_session_attach(struct uma_inheritance *from)
{
  struct uma_session *self = &uma_self;
  void *memory;
  int result = map_memory(from->board_fd, sizeof(struct uma_board), &memory);
  if (result) return result;
  self->board = memory;
  if (self->board->magic != UMA_BOARD_MAGIC || from->device < 0 || from->device >= self->board->shape.devices)
    return uma_fail(-EINVAL, "UMA_SESSION does not name a session of this version of libuma");
  self->shape = self->board->shape;
  self->device = from->device;
  self->domain = uma_shape_domain(&self->shape, self->device);
  self->domain_first = uma_shape_first(&self->shape, self->domain, self->shape.domains);
  self->domain_count = uma_shape_first(&self->shape, self->domain + 1, self->shape.domains) - self->domain_first;
  self->group = uma_shape_group(&self->shape, self->device);
  self->first = uma_shape_first(&self->shape, self->group, self->shape.groups);
  self->count = uma_shape_first(&self->shape, self->group + 1, self->shape.groups) - self->first;
  split_lists(from);
  uma_layout_compute(&self->shape, self->first, self->count, &self->layout);
  result = map_memory(from->segment_fd, self->layout.bytes, &memory);
  if (result) return result;
  self->segment = memory;
  result = uma_clock_open(from->board_fd);
  if (!result) result = uma_space_reserve(&self->shape);
  if (!result) result = uma_space_map(&self->shape, self->first, self->count, from->windows_fd);
  if (!result && uma_shape_is_cached(&self->shape)) result = uma_coherent_join(from);
  if (!result) result = open_clock_wire(from);
  if (!result) set_fast_paths();
  return result;
}

/* Two orders of the same race: here join, then look for the absent; in the launcher mark absent, then look for joined. */
static int announce(void)
{
  struct uma_board *board = uma_self.board;
  struct uma_member *member = &board->members[uma_self.device];
  if (atomic_load(&member->state) != UMA_MEMBER_NEW)
    return uma_fail(-EALREADY, "device %d has joined this session before", uma_self.device);
  atomic_store(&member->pid, getpid());
  atomic_store(&member->state, UMA_MEMBER_JOINED);
  atomic_fetch_add(&board->joined_count, 1);
  if (!atomic_load(&board->absent_count)) return 0;
  return uma_fail(-ENOTCONN, "%u of %d devices ended without calling uma_init", atomic_load(&board->absent_count), uma_self.shape.devices);
}

static void close_inherited(const struct uma_inheritance *from)
{
  close(from->board_fd);
  close(from->segment_fd);
  close(from->windows_fd);
  if (from->lend_fd >= 0 && !from->lend_fds) close(from->lend_fd);
}

int uma_session_join(struct uma_inheritance *from)
{
  if (uma_self.joined) return uma_fail(-EALREADY, "this process has joined a session already");
  int result = uma_session_arm(from->lifeline_fd);
  if (!result) result = uma_session_attach(from);
  if (!result) result = announce();
  if (result) return result;
  close_inherited(from);
  uma_self.lifeline_fd = from->lifeline_fd;
  uma_mutex_identify(uma_self.device, uma_is_lost);
  uma_wait_yields_at_once = uma_self.shape.oversubscribed;
  uma_self.joined = true;
  result = uma_mailboxes_open(from);
  if (!result && uma_shape_has_contacts(&uma_self.shape)) result = uma_exchange_contacts(from);
  if (!result) result = uma_coherent_serve();
  if (result) return result;
  return uma_self.shape.groups > 1 ? uma_engine_start() : 0;
}

/* UMA_SESSION=device,board,segment,windows,frames,spool,lifeline,lend,exchange,listen0,listen1[,wake...][,borrow...][,lend...]: numbers, all but the first
 * descriptors. The lists are as long as the group has devices, where there are such. */
static int inherit(const char *text, struct uma_inheritance *from, int *lists)
{
  int *field[] = {&from->device,      &from->board_fd, &from->segment_fd,  &from->windows_fd,   &from->frames_fd,   &from->spool_fd,
                  &from->lifeline_fd, &from->lend_fd,  &from->exchange_fd, &from->listen_fd[0], &from->listen_fd[1]};
  int fields = sizeof field / sizeof field[0], i = 0;
  for (char *end; *text && i < fields + 3 * UMA_MAX_DEVICES; text = *end ? end + 1 : end, i++) {
    int value = (int)strtol(text, &end, 10);
    if (end == text || (*end && *end != ','))
      return uma_fail(-EINVAL, "UMA_SESSION: \"%s\" is not a list of numbers; it is set by the launcher only", text);
    if (i >= 1 && value >= 0 && fcntl(value, F_SETFD, FD_CLOEXEC))
      return uma_fail(-EINVAL, "UMA_SESSION: descriptor %d is closed; whatever started this process must pass descriptors on", value);
    *(i < fields ? field[i] : &lists[i - fields]) = value;
  }
  from->lists = i > fields ? lists : NULL;
  return i >= fields ? 0 : uma_fail(-EINVAL, "UMA_SESSION holds %d numbers; expected %d or more", i, fields);
}

/* Several sessions of one device each are hardly what somebody wants who starts a program by srun, and forgets --mpi=pmix. */
static int check_alone(void)
{
  static const char *const sizes[] = {"SLURM_STEP_NUM_TASKS", "PMI_SIZE"};
  for (int i = 0; i < 2; i++) {
    const char *size = getenv(sizes[i]);
    if (size && atoi(size) > 1)
      return uma_fail(
          -EINVAL,
          "a launcher started %s processes (%s) that do not know of each other, as it does not speak PMIx to them; expected srun "
          "--mpi=pmix, the mpirun of Open MPI, prterun, or `uma run`",
          size, sizes[i]);
  }
  return 0;
}

static int join_alone(const struct uma_config *config)
{
  struct uma_config resolved = config ? *config : (struct uma_config){0};
  struct uma_inheritance from = {
      .device = 0, .frames_fd = -1, .spool_fd = -1, .lifeline_fd = -1, .lend_fd = -1, .exchange_fd = -1, .listen_fd = {-1, -1}};
  struct uma_shape shape;
  struct uma_board *board;
  int result = check_alone();
  if (!result) result = uma_config_resolve(&resolved);
  if (!result) result = uma_config_shape(&resolved, 1, &shape);
  if (!result && shape.traced)
    result = uma_fail(-EINVAL, "trace: \"%s\": only a session that `uma run` or uma_spawn started is traced", resolved.trace);
  if (!result) result = uma_board_create(&shape, &board, &from.board_fd);
  if (result) return result;
  munmap(board, sizeof *board);
  result = uma_segment_create(&shape, 0, 1, &from.segment_fd, &from.windows_fd);
  if (!result) result = uma_coherent_frames(&shape, 0, &from.frames_fd);
  return result ? result : uma_session_join(&from);
}

int uma_init(const struct uma_config *config)
{
  int lists[3 * UMA_MAX_DEVICES];
  struct uma_inheritance from = {0};
  const char *text = getenv("UMA_SESSION");
  if (uma_self.joined) return uma_fail(-EALREADY, "uma_init was called before in this process");
  if (!text && uma_pmix_present()) return uma_job_join(config);
  if (!text) return join_alone(config);
  int result = inherit(text, &from, lists);
  if (result) return result;
  result = uma_session_join(&from);
  unsetenv("UMA_SESSION"); /* programs that this one starts are not devices */
  return result;
}

void uma_session_detach(void)
{
  if (uma_self.clock_wire && !uma_self.wire) uma_wire_close(uma_self.clock_wire);
  if (uma_self.engine) uma_coherent_leave();
  uma_fast_ = (struct uma_fast_){0};
  uma_self.joined = false;
  uma_clock_close();
  uma_space_release(&uma_self.shape);
  munmap(uma_self.segment, uma_self.layout.bytes);
  munmap(uma_self.board, sizeof *uma_self.board);
  uma_mutex_identify(0, NULL);
  uma_self = (struct uma_session){0};
}

int uma_finalize(void)
{
  if (!uma_self.joined) return uma_fail(-EINVAL, "uma_finalize was called outside of a session");
  uma_engine_drain();
  int flushed = uma_flush();
  /* From here on nobody asks this device for anything. Where devices create each other nobody ever does, and some may not exist. */
  int result = uma_self.shape.create ? 0 : uma_barrier();
  if (!flushed) flushed = uma_flush(); /* what others had put here meanwhile */
  uma_clock_pause();
  if (uma_self.wire || uma_self.clock_wire) uma_barrier(); /* they may need this process for that */
  uma_clock_go_on();
  uma_mailbox_close(FAB_APPLICATION); /* while the engine still confirms to others what it has read of them */
  uma_engine_stop();
  uma_mailbox_close(FAB_ENGINE);
  uma_watch_stop();
  int lifeline_fd = uma_self.lifeline_fd;
  atomic_store(&uma_self.board->members[uma_self.device].state, UMA_MEMBER_LEFT);
  uma_session_detach();
  if (lifeline_fd >= 0) close(lifeline_fd);
  if (uma_job_joined()) uma_job_leave();
  if (flushed) return flushed;
  return result == -EHOSTDOWN ? 0 : result;
}

/* ---- who and where */

static bool is_device(int device)
{
  return uma_self.joined && device >= 0 && device < uma_self.shape.devices;
}

static int no_device(int device)
{
  if (!uma_self.joined) return uma_fail(-EINVAL, "this process has not joined a session; call uma_init first");
  return uma_fail(-EINVAL, "device %d does not exist; expected 0 to %d", device, uma_self.shape.devices - 1);
}

int uma_device(void)
{
  return uma_self.joined ? uma_self.device : no_device(0);
}

int uma_device_count(void)
{
  return uma_self.joined ? uma_self.shape.devices : no_device(0);
}

int uma_server_count(void)
{
  return uma_self.joined ? uma_self.shape.servers : no_device(0);
}

int uma_domain_count(void)
{
  return uma_self.joined ? uma_self.shape.domains : no_device(0);
}

int uma_server(int device)
{
  return is_device(device) ? uma_shape_server(&uma_self.shape, device) : no_device(device);
}

int uma_domain(int device)
{
  return is_device(device) ? uma_shape_domain(&uma_self.shape, device) : no_device(device);
}

enum uma_path uma_path(int device)
{
  if (!is_device(device)) return (enum uma_path)0;
  if (device == uma_self.device) return UMA_PATH_SELF;
  if (uma_is_local(device)) return UMA_PATH_MAP;
  return uma_is_near(device) || uma_shape_has_rma(&uma_self.shape) ? UMA_PATH_RMA : UMA_PATH_MSG;
}

bool uma_reachable(int device)
{
  return is_device(device) && uma_is_near(device);
}

bool uma_is_lost(int device)
{
  return uma_any_lost() && atomic_load(&uma_self.board->members[device].lost);
}

bool uma_any_lost(void)
{
  return uma_self.joined && atomic_load_explicit(&uma_self.board->lost_count, memory_order_acquire);
}

void uma_board_lose(struct uma_board *board, int device)
{
  if (!atomic_exchange(&board->members[device].lost, 1)) atomic_fetch_add(&board->lost_count, 1);
}

/* A device that is marked after the count was read is found the next time. */
int uma_next_lost(struct uma_losses *losses)
{
  if (atomic_load(&uma_self.board->lost_count) == losses->count) return -1;
  for (int device = 0; device < uma_self.shape.devices; device++) {
    if (losses->told[device] || !uma_is_lost(device)) continue;
    losses->told[device] = true;
    losses->count++;
    return device;
  }
  return -1;
}

bool uma_alive(int device)
{
  return is_device(device) && !uma_is_lost(device);
}

bool uma_range_in_windows(const void *pointer, size_t bytes, int *home)
{
  size_t range = (size_t)uma_self.shape.devices * uma_self.shape.memory;
  uintptr_t offset = (uintptr_t)pointer - uma_self.shape.base;
  if (!uma_self.joined || offset >= range || bytes > range - offset) return false;
  if (home) *home = (int)(offset / uma_self.shape.memory);
  return true;
}

bool uma_range_is_near(const void *pointer, size_t bytes)
{
  uintptr_t offset = (uintptr_t)pointer - (uintptr_t)uma_window_of(uma_self.domain_first);
  size_t all = (size_t)uma_self.domain_count * uma_self.shape.memory;
  return offset < all && bytes <= all - offset;
}

int uma_home(const void *pointer)
{
  int home;
  if (uma_range_in_windows(pointer, 1, &home)) return home;
  return uma_fail(-EFAULT, "%p is in no window", pointer);
}

void *uma_window(int device, size_t *bytes)
{
  if (!is_device(device)) {
    no_device(device);
    return NULL;
  }
  if (bytes) *bytes = uma_self.shape.memory;
  return uma_window_of(device);
}

void *uma_segment_at(size_t offset)
{
  return uma_self.segment + offset;
}

struct uma_heap *uma_heap_of(int device)
{
  return uma_segment_at(uma_self.layout.heaps + (size_t)(device - uma_self.first) * uma_self.layout.heap_stride);
}
