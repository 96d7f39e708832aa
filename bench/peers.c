/* The peers: the same measurements done by Open MPI and its OpenSHMEM, as programs of their own that print rows (peer_mpi.c,
 * peer_oshmem.c). What is between hosts is compared with Open MPI over TCP; UCX and shared memory would take that over, and are excluded.
 *
 * They run in every pass right after the family of cases that they are compared with. All of their files go to one directory, in memory
 * where there is /dev/shm, which is removed afterwards, however they ended. */
#include "bench/harness.h"

#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

#define PEER_SECONDS 100
#define MOST_ARGUMENTS 40

static const struct peer {
  const char *program, *launcher;
  const char *options[10]; /* of the launcher */
  const char *knows[12];
} peers[] = {
    {"mpi",
     "mpirun",
     {NULL},
     {"transfer.read", "transfer.write", "transfer.get.hot", "transfer.put.hot", "transfer.pingpong", "transfer.stream",
      "sync.message_rate", "sync.fetch_add", "sync.barrier", "collective.allreduce"}},
    {"mpi", "mpirun", {"--mca", "btl", "tcp,self", "--mca", "pml", "ob1", "--mca", "osc", "^sm,ucx"}, {"ofi.put", "ofi.get"}},
    {"oshmem",
     "oshrun",
     {NULL},
     {"transfer.read", "transfer.write", "transfer.get.hot", "transfer.put.hot", "sync.fetch_add", "sync.barrier", "collective.allreduce"}},
};

enum { PEERS = sizeof peers / sizeof peers[0] };

static const char *program_of(const struct peer *peer, char *file, size_t room)
{
  snprintf(file, room, "%s/peers/%s", bench_run.directory, peer->program);
  return file;
}

bool bench_peers_installed(char *missing, size_t room)
{
  char file[600];
  for (int i = 0; i < PEERS; i++) {
    if (access(program_of(&peers[i], file, sizeof file), X_OK)) {
      snprintf(missing, room, "%s (built where the compilers of Open MPI and OpenSHMEM are installed)", file);
      return false;
    }
    if (!bench_in_path(peers[i].launcher)) {
      snprintf(missing, room, "%s (in Debian: openmpi-bin)", peers[i].launcher);
      return false;
    }
  }
  return true;
}

/* ---- their directory */

static int make_directory(char *directory, size_t room)
{
  snprintf(directory, room, "%s/uma-peers-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
  return mkdtemp(directory) ? 0 : bench_fail("no directory %s for the peers: %s", directory, strerror(errno));
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *where)
{
  return remove(path);
}

static void remove_directory(const char *directory)
{
  nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- one run */

static void take_line(void *context, const char *line)
{
  struct bench_row row;
  char why[256];
  const struct peer *peer = context;
  if (!*line) return;
  if (bench_row_parse(line, &row, why, sizeof why)) bench_fail("%s printed '%.100s': %s", peer->program, line, why);
  else bench_record_row(&row);
}

static bool knows(const struct peer *peer, const char *name)
{
  for (int i = 0; i < 12 && peer->knows[i]; i++)
    if (!strcmp(peer->knows[i], name)) return true;
  return false;
}

static int run_peer(const struct peer *peer, const char *const *names, int devices, const char *directory)
{
  char file[600], count[16], *arguments[MOST_ARGUMENTS];
  const char *const environment[] = {"TMPDIR",
                                     directory,
                                     "OMPI_MCA_orte_tmpdir_base",
                                     directory,
                                     "OMPI_MCA_btl_vader_backing_directory",
                                     directory,
                                     "UCX_POSIX_DIR",
                                     directory,
                                     "UCX_LOG_LEVEL",
                                     "error",
                                     "OMPI_MCA_btl_base_warn_component_unused",
                                     "0",
                                     "OMPI_MCA_mpi_warn_on_fork",
                                     "0",
                                     "SHMEM_SYMMETRIC_SIZE",
                                     "512M",
                                     NULL};
  int n = 0, first;
  snprintf(count, sizeof count, "%d", devices);
  char *const launch[] = {(char *)peer->launcher, "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", count};
  for (size_t i = 0; i < sizeof launch / sizeof launch[0]; i++) arguments[n++] = launch[i];
  for (int i = 0; peer->options[i]; i++) arguments[n++] = (char *)peer->options[i];
  arguments[n++] = (char *)program_of(peer, file, sizeof file);
  if (bench_run.options.quick) arguments[n++] = "--quick";
  first = n;
  for (; *names && n < MOST_ARGUMENTS - 1; names++)
    if (knows(peer, *names)) arguments[n++] = (char *)*names;
  arguments[n] = NULL;
  if (n == first) return 0;
  bench_progress("%s  %d processes", peer->program, devices);
  struct bench_child child = {arguments, environment, PEER_SECONDS, take_line, (void *)peer};
  return bench_child_run(&child);
}

int bench_peers_run(const char *const *names, int devices)
{
  char directory[64];
  int result = make_directory(directory, sizeof directory);
  if (result) return result;
  for (int i = 0; i < PEERS && !result; i++) result = run_peer(&peers[i], names, devices, directory);
  remove_directory(directory);
  bench_child_after();
  return result;
}
