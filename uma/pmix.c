/* A client of the launcher's PMIx server; see pmix.h.
 *
 * libpmix is loaded when a launcher is there and not before: most programs need none, and a machine without it runs everything else. The
 * structures that cross the border are those of the PMIx standard, the same in all libraries that go by the name libpmix.so.2 (3.x to 5.x),
 * and its headers' macros, which call more of the library than they say, stay unused.
 *
 * An exchange is put, commit, fence with collection of data, get. The fence brings all data to the server of each host, so a get that finds nothing
 * there (PMIX_IMMEDIATE) is an error and not something to wait for. Keys carry the number of the exchange, because a value that was
 * read once may be remembered by the library.
 *
 * The connection lasts until the process exits, whatever is opened and closed: after PMIx_Finalize and another PMIx_Init, Open MPI 4.1 does not tell
 * a process who is on its host any more.
 *
 * Hosts: each process finds the lowest rank on its own host, from the launcher's list of who is there, or by the names of hosts if there is none, and all
 * exchange it. A launcher need not tell all processes the same: Open MPI 4.1 tells the numbers of nodes (PMIX_NODEID) on some nodes only. */
#include "uma/pmix.h"

#include <dlfcn.h>
#include <errno.h>
#include <pmix.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "uma/session.h"

#define LIBRARY "libpmix.so.2"

static struct {
  pmix_status_t (*init)(pmix_proc_t *self, pmix_info_t *info, size_t count);
  pmix_status_t (*finalize)(const pmix_info_t *info, size_t count);
  pmix_status_t (*abort)(int status, const char *sentence, pmix_proc_t *processes, size_t count);
  pmix_status_t (*put)(pmix_scope_t scope, const char *key, pmix_value_t *value);
  pmix_status_t (*commit)(void);
  pmix_status_t (*fence)(const pmix_proc_t *processes, size_t count, const pmix_info_t *info, size_t infos);
  pmix_status_t (*get)(const pmix_proc_t *process, const char *key, const pmix_info_t *info, size_t count, pmix_value_t **value);
  const char *(*error_string)(pmix_status_t status);
} library;
static char load_error[256] = "a function is missing"; /* empty once the library is loaded */

static struct {
  bool connected, open;
  pid_t pid; /* who is connected; a copy made by fork is not */
  pmix_proc_t self;
  int size, hosts;
  int *host_of; /* [size] */
} client;
static unsigned exchanges;

/* ---- the library */

/* dlsym returns an object pointer, which ISO C does not convert to a function's. */
static bool find(void *handle, const char *name, void *function)
{
  void *symbol = dlsym(handle, name);
  memcpy(function, &symbol, sizeof symbol);
  return symbol;
}

static void load(void)
{
  void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    snprintf(load_error, sizeof load_error, "%s", dlerror());
    return;
  }
  bool complete = find(handle, "PMIx_Init", &library.init) && find(handle, "PMIx_Finalize", &library.finalize) &&
                  find(handle, "PMIx_Abort", &library.abort) && find(handle, "PMIx_Put", &library.put) &&
                  find(handle, "PMIx_Commit", &library.commit) && find(handle, "PMIx_Fence", &library.fence) &&
                  find(handle, "PMIx_Get", &library.get) && find(handle, "PMIx_Error_string", &library.error_string);
  if (complete) load_error[0] = 0;
}

/* ---- values */

static pmix_info_t flag(const char *key)
{
  pmix_info_t info = {.value = {.type = PMIX_BOOL, .data.flag = true}};
  snprintf(info.key, sizeof info.key, "%s", key);
  return info;
}

static void free_value(pmix_value_t *value)
{
  if (value->type == PMIX_STRING) free(value->data.string);
  if (value->type == PMIX_BYTE_OBJECT) free(value->data.bo.bytes);
  free(value);
}

/* Of one rank, or of the job (PMIX_RANK_WILDCARD). The caller frees *value. */
static pmix_status_t get(pmix_rank_t rank, const char *key, pmix_value_t **value)
{
  pmix_proc_t process = client.self;
  pmix_info_t at_once = flag(PMIX_IMMEDIATE);
  process.rank = rank;
  *value = NULL;
  pmix_status_t status = library.get(&process, key, &at_once, 1, value);
  return status == PMIX_SUCCESS && !*value ? PMIX_ERR_NOT_FOUND : status;
}

static pmix_status_t get_number(pmix_rank_t rank, const char *key, uint32_t *number)
{
  pmix_value_t *value;
  pmix_status_t status = get(rank, key, &value);
  if (status != PMIX_SUCCESS) return status;
  bool fits = value->type == PMIX_UINT32;
  if (fits) *number = value->data.uint32;
  free_value(value);
  return fits ? PMIX_SUCCESS : PMIX_ERR_TYPE_MISMATCH;
}

/* ---- exchanges */

static int fail(const char *what, pmix_status_t status)
{
  return uma_fail(-EPROTO, "PMIx: %s: %s (%d)", what, library.error_string(status), status);
}

static pmix_status_t fence(bool collect)
{
  pmix_proc_t all = client.self;
  pmix_info_t collected = flag(PMIX_COLLECT_DATA);
  all.rank = PMIX_RANK_WILDCARD;
  return library.fence(&all, 1, &collected, collect);
}

static pmix_status_t publish(const char *key, const void *mine, size_t bytes)
{
  pmix_value_t value = {.type = PMIX_BYTE_OBJECT, .data.bo = {.bytes = (char *)mine, .size = bytes}};
  pmix_status_t status = library.put(PMIX_GLOBAL, key, &value);
  if (status == PMIX_SUCCESS) status = library.commit();
  return status == PMIX_SUCCESS ? fence(true) : status;
}

static int fetch(const char *what, const char *key, int rank, size_t bytes, void *to)
{
  pmix_value_t *value;
  pmix_status_t status = get((pmix_rank_t)rank, key, &value);
  if (status != PMIX_SUCCESS)
    return uma_fail(-EPROTO, "PMIx: rank %d brought no \"%s\": %s (%d)", rank, what, library.error_string(status), status);
  bool fits = value->type == PMIX_BYTE_OBJECT && value->data.bo.size == bytes;
  if (fits) memcpy(to, value->data.bo.bytes, bytes);
  size_t brought = value->type == PMIX_BYTE_OBJECT ? value->data.bo.size : 0;
  free_value(value);
  if (fits) return 0;
  return uma_fail(-EPROTO, "PMIx: rank %d brought %zu bytes of \"%s\" instead of %zu; all processes need the same build of the library",
                  rank, brought, what, bytes);
}

int uma_pmix_gather(const char *what, const void *mine, size_t bytes, void *all)
{
  char key[PMIX_MAX_KEYLEN + 1];
  if (!client.open) return uma_fail(-ENOTCONN, "PMIx: an exchange of \"%s\" before the launcher is connected", what);
  if (!bytes || bytes > UMA_PMIX_MOST)
    return uma_fail(-EMSGSIZE, "PMIx: an exchange of %zu bytes of \"%s\"; 1 to %zu are possible", bytes, what, UMA_PMIX_MOST);
  if (snprintf(key, sizeof key, "uma.%u.%s", exchanges, what) >= (int)sizeof key)
    return uma_fail(-EINVAL, "PMIx: the name of an exchange is longer than %d characters: %s", PMIX_MAX_KEYLEN - 16, what);
  exchanges++;
  pmix_status_t status = publish(key, mine, bytes);
  if (status != PMIX_SUCCESS) return fail(what, status);
  int result = 0;
  for (int r = 0; !result && r < client.size; r++) result = fetch(what, key, r, bytes, (char *)all + (size_t)r * bytes);
  return result;
}

int uma_pmix_barrier(void)
{
  if (!client.open) return uma_fail(-ENOTCONN, "PMIx: a barrier before the launcher is connected");
  pmix_status_t status = fence(false);
  return status == PMIX_SUCCESS ? 0 : fail("barrier", status);
}

/* ---- hosts */

int uma_pmix_number_hosts(const uint32_t *mark, int size, int *host_of)
{
  int hosts = 0;
  for (int r = 0; r < size; r++) {
    int same = 0;
    while (mark[same] != mark[r]) same++;
    host_of[r] = same < r ? host_of[same] : hosts++;
  }
  return hosts;
}

/* Of a list such as "2,3". */
static uint32_t lowest_of(const char *ranks)
{
  uint32_t lowest = client.self.rank;
  for (const char *rank = ranks; rank; rank = strchr(rank, ',')) {
    uint32_t number = (uint32_t)strtoul(rank += *rank == ',', NULL, 10);
    if (number < lowest) lowest = number;
  }
  return lowest;
}

static bool is_named(pmix_rank_t rank, const char *host)
{
  pmix_value_t *value;
  if (get(rank, PMIX_HOSTNAME, &value) != PMIX_SUCCESS) return false;
  bool same = value->type == PMIX_STRING && !strcmp(value->data.string, host);
  free_value(value);
  return same;
}

static pmix_status_t lowest_with_same_name(uint32_t *lowest)
{
  pmix_value_t *value;
  pmix_status_t status = get(client.self.rank, PMIX_HOSTNAME, &value);
  if (status != PMIX_SUCCESS) return status;
  *lowest = 0;
  while (value->type == PMIX_STRING && *lowest < client.self.rank && !is_named(*lowest, value->data.string)) ++*lowest;
  status = value->type == PMIX_STRING ? PMIX_SUCCESS : PMIX_ERR_TYPE_MISMATCH;
  free_value(value);
  return status;
}

/* The lowest rank on this host. */
static pmix_status_t lowest_peer(uint32_t *lowest)
{
  pmix_value_t *value;
  if (get(PMIX_RANK_WILDCARD, PMIX_LOCAL_PEERS, &value) != PMIX_SUCCESS) return lowest_with_same_name(lowest);
  bool fits = value->type == PMIX_STRING;
  if (fits) *lowest = lowest_of(value->data.string);
  free_value(value);
  return fits ? PMIX_SUCCESS : lowest_with_same_name(lowest);
}

static int find_size(void)
{
  uint32_t size;
  pmix_status_t status = get_number(PMIX_RANK_WILDCARD, PMIX_JOB_SIZE, &size);
  if (status != PMIX_SUCCESS) return fail("the size of the job (" PMIX_JOB_SIZE ")", status);
  if (size > INT32_MAX || client.self.rank >= size)
    return uma_fail(-EPROTO, "PMIx: rank %u in a job of %u processes", client.self.rank, size);
  client.size = (int)size;
  return 0;
}

static int exchange_lowest(uint32_t *mark)
{
  uint32_t mine;
  pmix_status_t status = lowest_peer(&mine);
  if (status != PMIX_SUCCESS)
    return fail("the launcher does not tell which ranks are on one host (" PMIX_LOCAL_PEERS ", " PMIX_HOSTNAME ")", status);
  return uma_pmix_gather("lowest rank on the host", &mine, sizeof mine, mark);
}

static int find_hosts(void)
{
  size_t size = (size_t)client.size;
  uint32_t *mark = calloc(size, sizeof *mark);
  if (!client.host_of) client.host_of = calloc(size, sizeof *client.host_of);
  int result = -ENOMEM;
  if (mark && client.host_of) result = exchange_lowest(mark);
  else uma_fail(result, "no memory for %zu ranks", size);
  if (!result) client.hosts = uma_pmix_number_hosts(mark, client.size, client.host_of);
  free(mark);
  return result;
}

/* ---- opening and closing */

bool uma_pmix_present(void)
{
  return getenv("PMIX_RANK") && getenv("PMIX_NAMESPACE");
}

/* At exit. One that is still open ends without a word, by which the launcher knows that something is wrong. */
static void disconnect(void)
{
  if (client.connected && !client.open && client.pid == getpid()) library.finalize(NULL, 0);
}

static int connect_launcher(void)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, load);
  if (load_error[0])
    return uma_fail(-ELIBACC, "started by a PMIx launcher, but " LIBRARY " cannot be used (%s); install libpmix2, or start by `uma run`",
                    load_error);
  pmix_status_t status = library.init(&client.self, NULL, 0);
  if (status != PMIX_SUCCESS) return fail("cannot connect to the launcher", status);
  client.connected = true;
  client.pid = getpid();
  atexit(disconnect);
  return 0;
}

int uma_pmix_open(struct uma_job *job)
{
  if (client.open) return uma_fail(-EALREADY, "PMIx: open already");
  int result = client.connected ? 0 : connect_launcher();
  client.open = !result;
  if (!result && !client.size) result = find_size();
  if (!result && !client.hosts) result = find_hosts();
  client.open = !result;
  if (result) return result;
  int rank = (int)client.self.rank;
  *job =
      (struct uma_job){.rank = rank, .size = client.size, .host = client.host_of[rank], .hosts = client.hosts, .host_of = client.host_of};
  return 0;
}

void uma_pmix_close(void)
{
  client.open = false;
}

void uma_pmix_abort(int status, const char *sentence)
{
  fprintf(stderr, "uma: %s\n", sentence);
  if (client.connected) library.abort(status, sentence, NULL, 0);
  _exit(status);
}
