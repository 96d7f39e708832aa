/* Which provider of libfabric carries the ofi fabric, and on which interface.
 *
 * A provider must offer reliable unconnected endpoints (FI_EP_RDM) with messages that keep their order and one-sided reads and writes;
 * libfabric lists those that do, the best first. The first one is taken that is not passed over; the reasons are in the table below, and
 * a provider that is named is taken in any case. Atomics are welcome and not required, because a home can carry them out itself; they are used
 * only where they are atomic with the home's processor, too.
 *
 * An endpoint listens on one address only: loopback, unless an interface was asked for. Providers whose addresses are none of the
 * Internet's (shm, efa, psm3 ...) choose their own.
 */
#include "fabric/ofi.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#define API FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION)
#define LOOPBACK "127.0.0.1"

static const struct {
  const char *part, *why;
} passed_over[] = {
    {"shm", "for one host only, and leaves files in /dev/shm when a process is killed"},
    {"sockets", "deprecated by libfabric, needs milliseconds for a message"},
    {"udp", "datagrams made reliable in software, slow"},
    {"ofi_rxd", "datagrams made reliable in software, slow"},
};

/* Why it is not chosen unless it is named; NULL: it may be. */
static const char *why_not(const struct fi_info *info)
{
  for (size_t i = 0; i < sizeof passed_over / sizeof passed_over[0]; i++)
    if (strstr(info->fabric_attr->prov_name, passed_over[i].part)) return passed_over[i].why;
  return NULL;
}

/* ---- interfaces */

static bool is_address(const char *text)
{
  unsigned char address[sizeof(struct in6_addr)];
  return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

/* Better: the Internet's version 4 before 6. */
static bool first_address(const struct ifaddrs *all, const char *name, char *text, socklen_t room)
{
  static const int families[] = {AF_INET, AF_INET6};
  for (int f = 0; f < 2; f++)
    for (const struct ifaddrs *one = all; one; one = one->ifa_next) {
      if (!one->ifa_addr || one->ifa_addr->sa_family != families[f] || strcmp(one->ifa_name, name) != 0) continue;
      socklen_t length = families[f] == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
      if (!getnameinfo(one->ifa_addr, length, text, room, NULL, 0, NI_NUMERICHOST)) return true;
    }
  return false;
}

static void report_interface(const struct ifaddrs *all, const char *name)
{
  fprintf(stderr, "uma: interface '%s': there is none of this name. Valid: any, an address of this host, or", name);
  for (const struct ifaddrs *one = all; one; one = one->ifa_next)
    if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET) fprintf(stderr, " %s", one->ifa_name);
  fprintf(stderr, "\n");
}

/* The address to bind to, as text; "" for whatever the provider likes. 0 or -ENODEV. */
static int source_of(const char *interface, char *text, socklen_t room)
{
  struct ifaddrs *all;
  if (!interface || is_address(interface) || !strcmp(interface, "any")) {
    snprintf(text, room, "%s", !interface ? LOOPBACK : strcmp(interface, "any") ? interface : "");
    return 0;
  }
  if (getifaddrs(&all)) return -errno;
  int result = first_address(all, interface, text, room) ? 0 : -ENODEV;
  if (result) report_interface(all, interface);
  freeifaddrs(all);
  return result;
}

/* ---- asking libfabric */

static struct fi_info *hints_for(const char *provider, uint64_t capabilities)
{
  struct fi_info *hints = fi_allocinfo();
  if (!hints) return NULL;
  hints->caps = FI_MSG | FI_RMA | capabilities;
  hints->mode = FI_CONTEXT | FI_CONTEXT2;
  hints->ep_attr->type = FI_EP_RDM;
  hints->tx_attr->msg_order = hints->rx_attr->msg_order = FI_ORDER_SAS;
  hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT;
  hints->domain_attr->threading = FI_THREAD_DOMAIN;
  hints->domain_attr->control_progress = hints->domain_attr->data_progress = FI_PROGRESS_MANUAL;
  hints->domain_attr->resource_mgmt = FI_RM_ENABLED;
  if (provider) hints->fabric_attr->prov_name = strdup(provider);
  return hints;
}

/* All that fit, on the address `source`. */
static int ask(const char *provider, uint64_t capabilities, const char *source, struct fi_info **list)
{
  struct fi_info *hints = hints_for(provider, capabilities);
  if (!hints) return -ENOMEM;
  int error = fi_getinfo(API, *source ? source : NULL, NULL, *source ? FI_SOURCE : 0, hints, list);
  fi_freeinfo(hints);
  return error;
}

static bool has_internet_address(const struct fi_info *info)
{
  return info->addr_format == FI_SOCKADDR || info->addr_format == FI_SOCKADDR_IN || info->addr_format == FI_SOCKADDR_IN6;
}

/* A copy of the entry of `info` that has these capabilities too, or of `info`. To other addresses than the Internet's the source means
 * nothing, or the wrong thing. */
static struct fi_info *refine(const struct fi_info *info, uint64_t capabilities, const char *source)
{
  struct fi_info *list, *copy;
  const char *from = has_internet_address(info) ? source : "";
  if (ask(info->fabric_attr->prov_name, capabilities, from, &list)) return fi_dupinfo(info);
  copy = fi_dupinfo(list);
  fi_freeinfo(list);
  return copy;
}

static const struct fi_info *best_of(const struct fi_info *list, bool named)
{
  const struct fi_info *one = list;
  while (one && !named && why_not(one)) one = one->next;
  return one;
}

int fab_ofi_choose(const char *provider, const char *interface, uint64_t capabilities, struct fi_info **info)
{
  char source[INET6_ADDRSTRLEN + 16] = "";
  struct fi_info *list = NULL;
  int error = fab_ofi_load();
  if (error)
    fprintf(stderr, "uma: libfabric.so.1 (Debian: libfabric1) is not installed, or not of version %d.%d, with which libuma was built\n",
            FI_MAJOR_VERSION, FI_MINOR_VERSION);
  if (!error) error = source_of(interface, source, sizeof source);
  if (error) return error;
  error = ask(provider, 0, source, &list);
  const struct fi_info *best = error ? NULL : best_of(list, provider != NULL);
  *info = best ? refine(best, capabilities, source) : NULL;
  if (list) fi_freeinfo(list);
  if (best) return *info ? 0 : -ENOMEM;
  fprintf(stderr, "uma: no provider of libfabric%s%s on %s has ordered messages and RMA%s%s. `uma info` lists those that have\n",
          provider ? " named " : "", provider ? provider : "", *source ? source : "any interface", error ? ": " : "",
          error ? fi_strerror(-error) : "");
  return error ? error : -ENODATA;
}

/* ---- atomics */

static bool can(struct fid_domain *domain, enum fi_datatype type, enum fi_op op, uint64_t flags)
{
  struct fi_atomic_attr attributes;
  return fi_query_atomic(domain, type, op, &attributes, flags) == 0 && attributes.count > 0;
}

/* Providers whose atomics are locked instructions of the home's processor, carried out there in software (in libfabric's sources: util_atomic.c
 * and who calls it), and so atomic with those of the home's own threads. fi_atomic(3) promises no such thing, and NICs do not keep
 * it. ofi_rxd is left out: with libfabric 1.17 its atomics end in its own segmentation fault. */
static bool is_of_the_processor(const struct fi_info *info)
{
  static const char *const parts[] = {"ofi_rxm", "sockets", "shm"};
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
    if (strstr(info->fabric_attr->prov_name, parts[i])) return true;
  return false;
}

bool fab_ofi_has_atomics(const struct fi_info *info, struct fid_domain *domain)
{
  if (!(info->caps & FI_ATOMIC) || !is_of_the_processor(info)) return false;
  static const enum fi_datatype types[] = {FI_UINT8, FI_UINT16, FI_UINT32, FI_UINT64};
  static const enum fi_op ops[] = {FI_ATOMIC_READ, FI_ATOMIC_WRITE, FI_SUM, FI_BAND, FI_BOR, FI_BXOR};
  bool all = can(domain, FI_UINT32, FI_CSWAP, FI_COMPARE_ATOMIC) && can(domain, FI_UINT64, FI_CSWAP, FI_COMPARE_ATOMIC);
  for (int t = 0; t < 4; t++)
    for (int o = 0; o < (t < 2 ? 2 : 6); o++) all = all && can(domain, types[t], ops[o], FI_FETCH_ATOMIC);
  return all;
}

/* ---- telling which there are */

static bool opens_with_atomics(struct fi_info *info)
{
  struct fid_fabric *fabric;
  struct fid_domain *domain;
  bool has = false;
  if (fi_fabric(info->fabric_attr, &fabric, NULL)) return false;
  if (!fi_domain(fabric, info, &domain, NULL)) {
    has = fab_ofi_has_atomics(info, domain);
    fi_close(&domain->fid);
  }
  fi_close(&fabric->fid);
  return has;
}

static void describe(const struct fi_info *info, const char *source, bool chosen, bool later, struct fab_ofi_provider *provider)
{
  struct fi_info *full = refine(info, FI_ATOMIC, source);
  const char *against = why_not(info);
  *provider = (struct fab_ofi_provider){.chosen = chosen, .fit = !against};
  snprintf(provider->name, sizeof provider->name, "%s", info->fabric_attr->prov_name);
  snprintf(provider->domain, sizeof provider->domain, "%s", info->domain_attr->name);
  const char *place = chosen ? "the first that fits" : against ? against : later ? "fits, listed later" : "fits";
  snprintf(provider->remark, sizeof provider->remark, "%s%s", place,
           full && opens_with_atomics(full) ? "" : "; no atomics for us: the home carries them out");
  if (full) fi_freeinfo(full);
}

static bool is_known(const struct fab_ofi_provider *providers, int count, const struct fi_info *info)
{
  for (int i = 0; i < count; i++)
    if (!strcmp(providers[i].name, info->fabric_attr->prov_name)) return true;
  return false;
}

int fab_ofi_providers(const char *interface, struct fab_ofi_provider *providers, int room)
{
  char source[INET6_ADDRSTRLEN + 16] = "";
  struct fi_info *list;
  int count = 0, error = fab_ofi_load();
  if (!error) error = source_of(interface, source, sizeof source);
  if (!error) error = ask(NULL, 0, source, &list);
  if (error) return error == -FI_ENODATA ? 0 : error;
  const struct fi_info *best = best_of(list, false);
  bool later = false;
  for (const struct fi_info *one = list; one && count < room; one = one->next) {
    if (is_known(providers, count, one)) continue;
    describe(one, source, one == best, later, &providers[count++]);
    later |= one == best;
  }
  fi_freeinfo(list);
  return count;
}

const char *fab_ofi_version(void)
{
  static char text[16];
  if (fab_ofi_load()) return "not usable";
  uint32_t version = fi_version();
  snprintf(text, sizeof text, "%u.%u", FI_MAJOR(version), FI_MINOR(version));
  return text;
}
