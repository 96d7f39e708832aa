/* The parts that are the same in every network which a target plays to a session: there are messages only, and nobody sleeps. */
#ifndef TESTS_FUZZ_NET_H
#define TESTS_FUZZ_NET_H

#include <sys/eventfd.h>

#include "fabric/fabric.h"

static inline void fuzz_net_nothing(struct fab_endpoint *endpoint)
{
}

static inline void fuzz_net_sleep(struct fab_endpoint *endpoint, long timeout_ns)
{
}

/* Always readable. */
static inline int fuzz_net_descriptor(struct fab_endpoint *endpoint)
{
  static int readable;
  if (!readable) readable = eventfd(1, EFD_CLOEXEC);
  return readable;
}

#define FUZZ_NET \
  .name = "fuzz", .capabilities = FAB_MSG, .contact = fab_no_contact, .connect = fab_no_connect, .put = fab_enosys_put, \
  .get = fab_enosys_get, .atomic = fab_enosys_atomic, .sleep_begin = fuzz_net_nothing, .sleep = fuzz_net_sleep, \
  .descriptor = fuzz_net_descriptor

#endif
