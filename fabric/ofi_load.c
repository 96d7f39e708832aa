/* Loads libfabric and forwards its functions; see ofi_load.h. They may be called once fab_ofi_load has returned 0. */
#include "fabric/ofi_load.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libfabric.so.1"
/* Each endpoint of ofi_rxm makes, and clears, this many buffers of 16 KiB; its default is 1024, half of the time in which a session of several
 * hosts starts. Hints do not reach it. Senders wait when all are full. Who has set it otherwise has. */
#define RXM_RECEIVES "128"
#define SIGNALS 32 /* without those of real time */

static struct {
  int (*getinfo)(uint32_t version, const char *node, const char *service, uint64_t flags, const struct fi_info *hints,
                 struct fi_info **info);
  void (*freeinfo)(struct fi_info *info);
  struct fi_info *(*dupinfo)(const struct fi_info *info);
  int (*fabric)(struct fi_fabric_attr *attr, struct fid_fabric **fabric, void *context);
  uint32_t (*version)(void);
  const char *(*strerror)(int error);
} library;
static int loaded = -ELIBACC;

/* dlsym returns an object pointer, which ISO C does not convert to a function's. */
static int find(void *handle, const char *name, void *function)
{
  void *symbol = dlsym(handle, name);
  memcpy(function, &symbol, sizeof symbol);
  return symbol ? 0 : -ELIBACC;
}

/* Some providers (psm) put signal handlers of their own in the place of the program's as soon as they are loaded. */
struct handlers {
  struct sigaction of[SIGNALS];
};

static void save_handlers(struct handlers *handlers)
{
  for (int s = 1; s < SIGNALS; s++) sigaction(s, NULL, &handlers->of[s]);
}

static void restore_handlers(const struct handlers *handlers)
{
  for (int s = 1; s < SIGNALS; s++) {
    struct sigaction now;
    if (!sigaction(s, NULL, &now) && now.sa_sigaction != handlers->of[s].sa_sigaction) sigaction(s, &handlers->of[s], NULL);
  }
}

static void load(void)
{
  struct handlers handlers;
  setenv("FI_OFI_RXM_MSG_RX_SIZE", RXM_RECEIVES, 0);
  save_handlers(&handlers);
  void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
  restore_handlers(&handlers);
  if (!handle) return;
  int error = find(handle, "fi_getinfo", &library.getinfo);
  if (!error) error = find(handle, "fi_freeinfo", &library.freeinfo);
  if (!error) error = find(handle, "fi_dupinfo", &library.dupinfo);
  if (!error) error = find(handle, "fi_fabric", &library.fabric);
  if (!error) error = find(handle, "fi_version", &library.version);
  if (!error) error = find(handle, "fi_strerror", &library.strerror);
  bool fits = !error && library.version() == FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION);
  loaded = fits ? 0 : -ELIBACC;
}

int fab_ofi_load(void)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, load);
  return loaded;
}

int fi_getinfo(uint32_t version, const char *node, const char *service, uint64_t flags, const struct fi_info *hints, struct fi_info **info)
{
  struct handlers handlers;
  save_handlers(&handlers); /* the first call loads providers, too */
  int error = library.getinfo(version, node, service, flags, hints, info);
  restore_handlers(&handlers);
  return error;
}

void fi_freeinfo(struct fi_info *info)
{
  library.freeinfo(info);
}

struct fi_info *fi_dupinfo(const struct fi_info *info)
{
  return library.dupinfo(info);
}

int fi_fabric(struct fi_fabric_attr *attr, struct fid_fabric **fabric, void *context)
{
  return library.fabric(attr, fabric, context);
}

uint32_t fi_version(void)
{
  return library.version();
}

const char *fi_strerror(int error)
{
  return library.strerror(error);
}
