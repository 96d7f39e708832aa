/* A process of a job that a PMIx launcher started; tests/pmix.c runs it. The first argument says what is done; it says so when all is well. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <ifaddrs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "uma/pmix.h"
#include "uma/session.h"

#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "%s:%d: rank %d: %s does not hold (last error: %s)\n", __FILE__, __LINE__, job.rank, #condition, uma_last_error()); \
      exit(99); \
    } \
  } while (0)

static struct uma_job job;

static void fill(unsigned char *record, size_t bytes, int rank)
{
  for (size_t i = 0; i < bytes; i++) record[i] = (unsigned char)(i * 7 + (size_t)rank * 31 + bytes);
}

static void expect_gathered(size_t bytes)
{
  unsigned char *mine = malloc(bytes), *all = malloc(bytes * (size_t)job.size);
  fill(mine, bytes, job.rank);
  CHECK(!uma_pmix_gather("record", mine, bytes, all));
  for (int r = 0; r < job.size; r++) {
    fill(mine, bytes, r);
    CHECK(!memcmp(all + (size_t)r * bytes, mine, bytes));
  }
  free(mine);
  free(all);
}

static void gather(void)
{
  static const size_t sizes[] = {1, 8, 1024, 1024, 1000, 65536};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) expect_gathered(sizes[i]);
  for (int i = 0; i < 10; i++) CHECK(!uma_pmix_barrier());
}

/* Those with one host name, and no others, are on one host. */
static void layout(void)
{
  char name[64] = "", (*names)[64] = malloc((size_t)job.size * sizeof *names);
  gethostname(name, sizeof name - 1);
  CHECK(!uma_pmix_gather("name", name, sizeof name, names));
  int next = 0;
  for (int r = 0; r < job.size; r++) {
    for (int s = 0; s < r; s++) CHECK(!strcmp(names[r], names[s]) == (job.host_of[r] == job.host_of[s]));
    CHECK(job.host_of[r] >= 0 && job.host_of[r] <= next);
    next += job.host_of[r] == next;
  }
  CHECK(job.hosts == next && job.host == job.host_of[job.rank] && job.host_of[0] == 0);
  free(names);
  printf("rank %d of %d on host %d of %d\n", job.rank, job.size, job.host, job.hosts);
}

static void mistakes(void)
{
  char record[64] = "", name[600], *all = malloc((size_t)job.size * sizeof record);
  struct uma_job again;
  int wrong = job.size - 1; /* the rank that brings another size */
  CHECK(uma_pmix_open(&again) == -EALREADY);
  CHECK(uma_pmix_gather("x", record, 0, all) == -EMSGSIZE && strstr(uma_last_error(), "0 bytes of \"x\"; 1 to 1048576 are possible"));
  CHECK(uma_pmix_gather("x", record, UMA_PMIX_MOST + 1, all) == -EMSGSIZE);
  memset(name, 'n', sizeof name - 1);
  name[sizeof name - 1] = 0;
  CHECK(uma_pmix_gather(name, record, 1, all) == -EINVAL && strstr(uma_last_error(), "is longer than"));
  snprintf(name, sizeof name,
           job.rank == wrong ? "rank 0 brought 32 bytes of \"x\" instead of 64" : "rank %d brought 64 bytes of \"x\" instead of 32", wrong);
  CHECK(uma_pmix_gather("x", record, job.rank == wrong ? 64 : 32, all) == -EPROTO && strstr(uma_last_error(), name));
  free(all);
  expect_gathered(10);
}

static void again(void)
{
  for (int i = 0; i < 3; i++) {
    uma_pmix_close();
    CHECK(uma_pmix_gather("x", "", 1, (char[1]){0}) == -ENOTCONN && uma_pmix_barrier() == -ENOTCONN);
    CHECK(!uma_pmix_open(&job));
    layout();
    gather();
  }
}

/* Each on one processor, as launchers bind processes: a session is not taken for crowded because its processes are. */
static void bound(void)
{
  cpu_set_t all, one;
  int mine = 0;
  CHECK(!sched_getaffinity(0, sizeof all, &all));
  for (int left = job.rank % CPU_COUNT(&all); left || !CPU_ISSET(mine, &all); mine++) left -= CPU_ISSET(mine, &all);
  CPU_ZERO(&one);
  CPU_SET(mine, &one);
  CHECK(!sched_setaffinity(0, sizeof one, &one));
  uma_pmix_close();
  CHECK(!uma_init(NULL));
  CHECK(uma_self.shape.oversubscribed == (job.size > CPU_COUNT(&all)));
  CHECK(!uma_finalize());
}

static void stop(void)
{
  if (job.rank == job.size - 1) uma_pmix_abort(7, "the last rank gives up");
  alarm(60);
  for (;;) pause();
}

/* MPI uses the same library; it is loaded like this so that no compiler of MPI's is needed. */
static void *in_mpi(const char *name)
{
  void *mpi = dlopen("libmpi.so.40", RTLD_NOW | RTLD_GLOBAL), *symbol = mpi ? dlsym(mpi, name) : NULL;
  CHECK(symbol);
  return symbol;
}

static void enter_mpi(void)
{
  int (*init)(int *, char ***);
  memcpy(&init, &(void *){in_mpi("MPI_Init")}, sizeof init);
  CHECK(!init(NULL, NULL));
}

static void leave_mpi(void)
{
  int (*finalize)(void);
  memcpy(&finalize, &(void *){in_mpi("MPI_Finalize")}, sizeof finalize);
  CHECK(!finalize());
}

/* Opened before MPI, and used after it. */
static void around_mpi(void)
{
  enter_mpi();
  layout();
  gather();
  leave_mpi();
  gather();
}

/* main has entered MPI before it opened. */
static void within_mpi(void)
{
  layout();
  gather();
  uma_pmix_close();
  leave_mpi();
}

/* ---- the network between hosts, as tests/two_hosts.sh makes it */

static struct sockaddr_in address_of_link(void)
{
  struct ifaddrs *all, *one;
  struct sockaddr_in address = {0};
  CHECK(!getifaddrs(&all));
  for (one = all; one; one = one->ifa_next)
    if (!strcmp(one->ifa_name, "data") && one->ifa_addr && one->ifa_addr->sa_family == AF_INET)
      memcpy(&address, one->ifa_addr, sizeof address);
  freeifaddrs(all);
  CHECK(address.sin_family == AF_INET);
  return address;
}

static int try_link(const struct sockaddr_in *to)
{
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), error = connect(fd, (const struct sockaddr *)to, sizeof *to) ? errno : 0;
  close(fd);
  return error;
}

/* Host 0 reaches host 1 until the link is cut, and PMIx goes on. */
static void cut(void)
{
  struct sockaddr_in mine = address_of_link(), *all = malloc((size_t)job.size * sizeof *all);
  socklen_t length = sizeof mine;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), tries = 0;
  CHECK(!bind(listener, (struct sockaddr *)&mine, sizeof mine) && !listen(listener, SOMAXCONN));
  CHECK(!getsockname(listener, (struct sockaddr *)&mine, &length));
  CHECK(!uma_pmix_gather("address", &mine, sizeof mine, all));
  CHECK(!try_link(&all[job.size - 1 - job.rank])); /* one on the other host */
  CHECK(!uma_pmix_barrier());
  if (job.rank == 0) {
    printf("cut now\n");
    fflush(stdout);
    while (!try_link(&all[job.size - 1]) && tries++ < 1000) usleep(20000);
    CHECK(try_link(&all[job.size - 1]) == ENETUNREACH);
  }
  CHECK(!uma_pmix_barrier());
  expect_gathered(100);
  printf("rank %d saw the link cut\n", job.rank);
  free(all);
}

static const struct {
  const char *name;
  void (*run)(void);
} parts[] = {{"layout", layout}, {"gather", gather},         {"mistakes", mistakes},     {"again", again}, {"bound", bound},
             {"stop", stop},     {"around_mpi", around_mpi}, {"within_mpi", within_mpi}, {"cut", cut}};

int main(int argc, char **argv)
{
  if (!uma_pmix_present()) {
    fprintf(stderr, "no PMIx launcher started this\n");
    return 2;
  }
  if (argc == 2 && !strcmp(argv[1], "within_mpi")) enter_mpi();
  if (uma_pmix_open(&job)) {
    fprintf(stderr, "%s\n", uma_last_error());
    return 1;
  }
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
    if (argc == 2 && !strcmp(argv[1], parts[i].name)) {
      parts[i].run();
      printf("%s is right\n", argv[1]);
      uma_pmix_close();
      return 0;
    }
  return 3;
}
