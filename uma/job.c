/* Joining under a PMIx launcher: see job.h.
 *
 *   1. All learn who is on which host (pmix.h), and number the devices: host by host, within a host by rank. Hosts take the blocks of devices that
 *      are as long as they are (uma_shape_first), so their sizes may differ by one at most.
 *   2. Device 0 decides: its settings become the shape of the session, and it draws the job's key. Everybody gets both.
 *   3. The first device of each host creates what the devices of that host share, as the keeper does under `uma run`, and passes the descriptors on
 *      over a private socket (pass.h), whose name is exchanged.
 *   4. From here on joining is the same as under `uma run` (session.c), but for the exchange of contacts, which goes by PMIx.
 *
 * There is no keeper. Most launchers end a job of which a process died; one that does not (mpirun --enable-recovery) tells nobody of it either, so the
 * devices of a host watch each other's processes (watch.h), and those of other hosts are watched as always (wire.c, fabric/).
 * All of it happens in uma_init and uma_finalize, by one thread. */
#include "uma/job.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "uma/coherent.h"
#include "uma/config.h"
#include "uma/exchange.h"
#include "uma/pass.h"
#include "uma/pmix.h"
#include "uma/watch.h"

static struct uma_job job;
static int device_of[UMA_MAX_DEVICES];   /* [rank] */
static pid_t processes[UMA_MAX_DEVICES]; /* [device] that share this one's numbers of processes; 0: not such, or this one */
static bool joined;

/* ---- devices */

static int size_of_host(int host)
{
  int size = 0;
  for (int r = 0; r < job.size; r++) size += job.host_of[r] == host;
  return size;
}

/* Block b of devices goes to the first host of its size that has none yet. */
static int number_devices(void)
{
  bool taken[UMA_MAX_DEVICES] = {false};
  struct uma_shape shape = {.devices = job.size, .hosts = job.hosts};
  int least = INT_MAX, most = 0;
  for (int h = 0; h < job.hosts; h++) {
    int size = size_of_host(h);
    least = size < least ? size : least;
    most = size > most ? size : most;
  }
  if (most - least > 1)
    return uma_fail(-EINVAL, "the launcher put %d to %d processes on a host; expected numbers that differ by one at most", least, most);
  for (int b = 0; b < job.hosts; b++) {
    int first = uma_shape_first(&shape, b, job.hosts), size = uma_shape_first(&shape, b + 1, job.hosts) - first, host = 0;
    while (host < job.hosts && (taken[host] || size_of_host(host) != size)) host++;
    if (host == job.hosts) return uma_fail(-EINVAL, "%d processes cannot be split evenly over %d hosts", job.size, job.hosts);
    taken[host] = true;
    for (int r = 0; r < job.size; r++)
      if (job.host_of[r] == host) device_of[r] = first++;
  }
  return 0;
}

int uma_job_gather(const char *what, const void *mine, size_t bytes, void *all)
{
  unsigned char *by_rank = malloc((size_t)job.size * bytes);
  if (!by_rank) return uma_fail(-ENOMEM, "no memory to exchange %s", what);
  int result = uma_pmix_gather(what, mine, bytes, by_rank);
  for (int r = 0; r < job.size && !result; r++)
    memcpy((unsigned char *)all + (size_t)device_of[r] * bytes, by_rank + (size_t)r * bytes, bytes);
  free(by_rank);
  return result;
}

/* ---- the shape */

struct decision { /* device 0's, but for the last three */
  int error;
  char sentence[600];
  struct uma_shape shape;
  unsigned char key[FAB_KEY_BYTES];
  cpu_set_t processors; /* on which the process may run */
  pid_t process;
  ino_t space; /* in which that number is valid; 0: unknown */
};

/* On several hosts no setting is needed to say how many; on one it may ask for more, to force the boundary. */
static int decide(const struct uma_config *given, struct decision *decision)
{
  struct uma_config config = given ? *given : (struct uma_config){0};
  int result = uma_config_resolve(&config);
  if (!result && job.hosts > 1 && config.hosts != 1 && config.hosts != job.hosts)
    result = uma_fail(-EINVAL, "hosts: %d is not valid; the launcher started processes on %d hosts", config.hosts, job.hosts);
  if (job.hosts > 1) config.hosts = job.hosts;
  if (!result) result = uma_config_shape(&config, job.size, &decision->shape);
  if (!result && decision->shape.create)
    result = uma_fail(-EINVAL, "create: the launcher has started all devices already; expected a session of `uma run`");
  if (!result && decision->shape.traced) result = uma_fail(-EINVAL, "trace: \"%s\": only a session of `uma run` is traced", config.trace);
  if (result) snprintf(decision->sentence, sizeof decision->sentence, "%s", uma_last_error());
  if (getrandom(decision->key, sizeof decision->key, 0) != sizeof decision->key) abort(); /* cannot fail for so few bytes */
  return decision->error = result;
}

/* The interface of the default route, or the only one that is up. */
static int choose_interface(char *name, size_t room)
{
  FILE *routes = fopen("/proc/net/route", "re");
  char line[256], interface[IFNAMSIZ], found[IFNAMSIZ] = "";
  unsigned destination;
  while (routes && fgets(line, sizeof line, routes))
    if (sscanf(line, "%15s %x", interface, &destination) == 2 && !destination && !*found) strcpy(found, interface);
  if (routes) fclose(routes);
  struct ifaddrs *all;
  int several = 0;
  if (!*found && !getifaddrs(&all)) {
    for (struct ifaddrs *one = all; one; one = one->ifa_next) {
      bool candidate = one->ifa_addr && one->ifa_addr->sa_family == AF_INET && one->ifa_flags & IFF_UP && !(one->ifa_flags & IFF_LOOPBACK);
      if (!candidate || !strcmp(found, one->ifa_name)) continue;
      several += *found != 0;
      snprintf(found, sizeof found, "%s", one->ifa_name);
    }
    freeifaddrs(all);
  }
  if (*found && !several) return snprintf(name, room, "%s", found), 0;
  return uma_fail(-EINVAL, "interface: this host has %s network interface and no default route; say by UMA_INTERFACE where others reach it",
                  several ? "more than one" : "no");
}

/* What may differ from host to host. */
static int fit_to_host(const struct uma_config *given, struct uma_shape *shape)
{
  struct uma_config config = given ? *given : (struct uma_config){0};
  int result = uma_config_resolve(&config);
  if (result) return result;
  snprintf(shape->interface, sizeof shape->interface, "%s", config.interface);
  return job.hosts > 1 && !*shape->interface ? choose_interface(shape->interface, sizeof shape->interface) : 0;
}

/* Launchers bind processes to processors: a host has for us what all of its processes have together. */
static bool is_oversubscribed(const struct decision *all)
{
  cpu_set_t processors;
  int sharing = 0;
  CPU_ZERO(&processors);
  for (int r = 0; r < job.size; r++) {
    if (job.host_of[r] != job.host) continue;
    CPU_OR(&processors, &processors, &all[device_of[r]].processors);
    sharing++;
  }
  return sharing > CPU_COUNT(&processors);
}

static void describe_process(struct decision *mine)
{
  struct stat space;
  if (sched_getaffinity(0, sizeof mine->processors, &mine->processors)) CPU_ZERO(&mine->processors);
  mine->process = getpid();
  mine->space = stat("/proc/self/ns/pid", &space) ? 0 : space.st_ino;
}

static void note_processes(const struct decision *all)
{
  int own = device_of[job.rank];
  for (int r = 0; r < job.size; r++) {
    int d = device_of[r];
    bool near = d != own && job.host_of[r] == job.host && all[d].space && all[d].space == all[own].space;
    processes[d] = near ? all[d].process : 0;
  }
}

static int agree(const struct uma_config *config, struct decision *agreed)
{
  struct decision mine = {0}, *all = calloc((size_t)job.size, sizeof *all);
  if (!all) {
    uma_fail(-ENOMEM, "no memory to start a session");
    return -ENOMEM;
  }
  if (device_of[job.rank] == 0) decide(config, &mine);
  describe_process(&mine);
  int result = uma_job_gather("settings", &mine, sizeof mine, all);
  if (!result && all[0].error) result = uma_fail(all[0].error, "%s", all[0].sentence);
  if (!result) *agreed = all[0];
  if (!result && (agreed->shape.devices < 1 || agreed->shape.devices != job.size || agreed->shape.hosts < 1 || agreed->shape.groups < 1)) {
    uma_fail(-EINVAL, "the settings of device 0 are of another version of libuma");
    result = -EINVAL;
  }
  if (!result) agreed->shape.oversubscribed = is_oversubscribed(all);
  if (!result) note_processes(all);
  free(all);
  return result;
}

/* ---- what the devices of a host share */

enum {
  BOARD,
  SEGMENT,
  WINDOWS,
  FRAMES,
  LEND,
  LISTS
}; /* descriptors for one device; from LISTS on wake and borrow descriptors of its group */

struct share {
  const struct uma_shape *shape;
  int first, count; /* devices of this host */
  int longest;      /* devices of its largest group */
  int each;         /* descriptors for one device */
  int *fds;         /* [count][each]; -1 where there is none */
};

static int *fds_of(const struct share *share, int device)
{
  return &share->fds[(size_t)(device - share->first) * (size_t)share->each];
}

static int group_first(const struct uma_shape *shape, int group)
{
  return uma_shape_first(shape, group, shape->groups);
}

static int share_open(const struct uma_shape *shape, int device, struct share *share)
{
  int host = uma_shape_host(shape, device), first = uma_shape_first(shape, host, shape->hosts);
  *share = (struct share){.shape = shape, .first = first, .count = uma_shape_first(shape, host + 1, shape->hosts) - first};
  share->longest = (shape->devices + shape->groups - 1) / shape->groups;
  share->each = LISTS + 2 * share->longest;
  size_t all = (size_t)share->count * (size_t)share->each;
  share->fds = malloc(all * sizeof *share->fds);
  if (!share->fds) return uma_fail(-ENOMEM, "no memory to start a session");
  memset(share->fds, -1, all * sizeof *share->fds);
  return 0;
}

static void close_all(const int *fds, int count)
{
  for (int i = 0; i < count; i++)
    if (fds[i] >= 0) close(fds[i]);
}

/* What the leader has no use for itself. The devices of a group have the same descriptors but for what they lend. */
static void close_others(const struct share *share, int device)
{
  const struct uma_shape *shape = share->shape;
  for (int d = share->first; d < share->first + share->count; d++) {
    int group = uma_shape_group(shape, d);
    if (d != device) close_all(&fds_of(share, d)[LEND], 1);
    if (group == uma_shape_group(shape, device) || d != group_first(shape, group)) continue;
    close_all(&fds_of(share, d)[SEGMENT], LEND - SEGMENT);
    close_all(&fds_of(share, d)[LISTS], share->each - LISTS);
  }
}

static int create_pair(const struct share *share, int device, int first, int next)
{
  int wake = -1, pair[2] = {-1, -1};
  if (share->shape->groups > 1) wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (share->shape->groups > 1 && wake < 0) return uma_fail(-errno, "cannot create an eventfd: %s", strerror(errno));
  if (share->shape->coherence == UMA_COHERENCE_PAGE && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
    return uma_fail(-errno, "cannot create a socket pair: %s", strerror(errno));
  fds_of(share, device)[LEND] = pair[1];
  for (int d = first; d < next; d++) {
    fds_of(share, d)[LISTS + device - first] = wake;
    fds_of(share, d)[LISTS + share->longest + device - first] = pair[0];
  }
  return 0;
}

static int create_group(const struct share *share, int first, int next)
{
  int segment, windows, frames = -1;
  int result = uma_segment_create(share->shape, first, next - first, &segment, &windows);
  if (!result) result = uma_coherent_frames(share->shape, first, &frames);
  for (int d = first; d < next && !result; d++) {
    fds_of(share, d)[SEGMENT] = segment;
    fds_of(share, d)[WINDOWS] = windows;
    fds_of(share, d)[FRAMES] = frames;
    result = create_pair(share, d, first, next);
  }
  return result;
}

static int create_share(const struct share *share, const unsigned char *key)
{
  struct uma_board *board;
  int fd, result = uma_board_create(share->shape, &board, &fd), end = share->first + share->count;
  if (result) return result;
  memcpy(board->key, key, sizeof board->key);
  munmap(board, sizeof *board);
  for (int d = share->first; d < end; d++) fds_of(share, d)[BOARD] = fd;
  for (int g = uma_shape_group(share->shape, share->first); g < share->shape->groups && group_first(share->shape, g) < end && !result; g++)
    result = create_group(share, group_first(share->shape, g), group_first(share->shape, g + 1));
  return result;
}

/* The leader gives, all others of its host take. */
static int distribute(const struct share *share, int device, struct uma_pass *pass, const char *name)
{
  int result;
  if (device == share->first) {
    struct uma_parcel parcel = {.note = "", .bytes = 1, .own = share->fds + share->each, .own_count = share->each};
    result = share->count > 1 ? uma_pass_give(pass, share->count - 1, &parcel) : 0;
    if (share->count == 1) uma_pass_withdraw(pass);
    close_others(share, device);
  } else {
    char note;
    result = uma_pass_take(name, device - share->first - 1, fds_of(share, device), share->each, &note, 1);
  }
  return result;
}

static int obtain_share(struct share *share, int device, const unsigned char *key)
{
  struct uma_pass pass = {.fd = -1};
  bool leads = device == share->first;
  char name[UMA_PASS_NAME] = "", *names = calloc((size_t)job.size, UMA_PASS_NAME);
  int result = names ? 0 : uma_fail(-ENOMEM, "no memory to start a session");
  if (!result && leads) result = create_share(share, key);
  if (!result && leads) result = uma_pass_offer(&pass, name);
  if (!result) result = uma_job_gather("names of sockets", name, sizeof name, names);
  if (!result) result = distribute(share, device, &pass, names + (size_t)share->first * UMA_PASS_NAME);
  free(names);
  return result;
}

/* ---- sockets between domains */

static int address_of(const char *interface, struct in_addr *address)
{
  struct ifaddrs *all;
  int result = -ENODEV;
  address->s_addr = htonl(INADDR_LOOPBACK);
  if (!*interface || inet_pton(AF_INET, interface, address) == 1) return 0;
  if (getifaddrs(&all)) return uma_fail(-errno, "cannot list the interfaces of this host: %s", strerror(errno));
  for (struct ifaddrs *one = all; one && result; one = one->ifa_next) {
    if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET || strcmp(one->ifa_name, interface) != 0) continue;
    *address = ((struct sockaddr_in *)(void *)one->ifa_addr)->sin_addr;
    result = 0;
  }
  freeifaddrs(all);
  return result ? uma_fail(result, "interface: \"%s\" is no interface of this host with an address, and no address", interface) : 0;
}

struct place { /* where a device is reached */
  uint32_t address;
  uint16_t ports[FAB_CHANNELS];
};

static int open_listeners(const struct uma_shape *shape, struct uma_inheritance *from, struct place *place)
{
  struct in_addr address;
  int result = address_of(shape->interface, &address);
  place->address = address.s_addr;
  for (int c = 0; c < UMA_MAILBOXES && !result; c++) result = uma_listen(address, &from->listen_fd[c], &place->ports[c]);
  return result;
}

/* The board is this host's; all its devices write the same into it, before any of them sends. */
static int exchange_places(const struct uma_shape *shape, struct uma_inheritance *from)
{
  struct place mine = {0}, *all = calloc((size_t)shape->devices, sizeof *all);
  struct uma_board *board = MAP_FAILED;
  if (!all) return uma_fail(-ENOMEM, "no memory to start a session");
  int result = open_listeners(shape, from, &mine);
  if (!result) result = uma_job_gather("addresses", &mine, sizeof mine, all);
  if (!result) board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, from->board_fd, 0);
  if (!result && board == MAP_FAILED) result = uma_fail(-errno, "cannot map the board: %s", strerror(errno));
  for (int d = 0; d < shape->devices && !result; d++) {
    board->addresses[d] = all[d].address;
    memcpy(&board->ports[d * FAB_CHANNELS], all[d].ports, sizeof all[d].ports);
  }
  if (board != MAP_FAILED) munmap(board, sizeof *board);
  free(all);
  return result;
}

/* ---- all together */

static int join(const struct decision *agreed, const struct share *share, int device)
{
  int *fds = fds_of(share, device);
  struct uma_inheritance from = {.device = device,
                                 .board_fd = fds[BOARD],
                                 .segment_fd = fds[SEGMENT],
                                 .windows_fd = fds[WINDOWS],
                                 .frames_fd = fds[FRAMES],
                                 .spool_fd = -1,
                                 .lifeline_fd = -1,
                                 .lend_fd = fds[LEND],
                                 .exchange_fd = -1,
                                 .listen_fd = {-1, -1}};
  const struct uma_shape *shape = &agreed->shape;
  if (shape->groups > 1) from.wake_fds = &fds[LISTS];
  if (shape->coherence == UMA_COHERENCE_PAGE) from.borrow_fds = &fds[LISTS + share->longest];
  int result = shape->domains > 1 && !uma_shape_is_by_ofi(shape) ? exchange_places(shape, &from) : 0;
  return result ? result : uma_session_join(&from);
}

int uma_job_join(const struct uma_config *config)
{
  struct decision agreed = {0};
  struct share share = {0};
  int result = uma_pmix_open(&job), device = 0;
  if (!result && (job.size < 1 || job.size > UMA_MAX_DEVICES))
    result = uma_fail(-EINVAL, "devices: %d is not valid; expected 1 to %d", job.size, UMA_MAX_DEVICES);
  if (!result) result = number_devices();
  if (!result) result = agree(config, &agreed);
  if (!result) {
    device = device_of[job.rank];
    result = share_open(&agreed.shape, device, &share);
  }
  if (!result) result = fit_to_host(config, &agreed.shape);
  if (!result) result = obtain_share(&share, device, agreed.key);
  joined = !result;
  if (!result) result = join(&agreed, &share, device);
  joined = !result;
  if (!result) result = uma_watch_start(processes + share.first, share.first, share.count);
  free(share.fds);
  if (result) uma_pmix_close();
  return result;
}

bool uma_job_joined(void)
{
  return joined;
}

void uma_job_leave(void)
{
  joined = false;
  uma_pmix_close();
}
