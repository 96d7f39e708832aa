/* Loads libfabric and forwards its functions; see ofi_load.h. They may be called once fab_ofi_load has returned 0. */
#include "fabric/ofi_load.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define LIBRARY "libfabric.so.1"

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

static void load(void)
{
  void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
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
  return library.getinfo(version, node, service, flags, hints, info);
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
