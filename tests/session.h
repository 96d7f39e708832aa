/* For tests that run sessions: a device's function returns 0 when all its CHECKs hold. */
#ifndef TESTS_SESSION_H
#define TESTS_SESSION_H

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "uma.h"

/* A place for windows that is not the default; ThreadSanitizer allows only some. */
#if defined(__SANITIZE_THREAD__)
#define SESSION_OTHER_BASE ((uintptr_t)0x551000000000)
#else
#define SESSION_OTHER_BASE ((uintptr_t)0x300000000000)
#endif

#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "%s:%d: device %d: %s does not hold (last error: %s)\n", __FILE__, __LINE__, uma_device(), #condition, \
              uma_last_error()); \
      return 99; \
    } \
  } while (0)

/* The number of hosts to run on where a test does not say; `make test` runs some suites over several (UMA_TEST_HOSTS). */
static inline int session_hosts(int devices, int servers)
{
  const char *text = getenv("UMA_TEST_HOSTS");
  int hosts = text ? atoi(text) : 1;
  return hosts > 0 && hosts <= devices && devices <= 16 && (servers == 1 || servers % hosts == 0) ? hosts : 1;
}

/* Runs the function as every device and expects all to succeed. provider: of libfabric, which then carries what crosses domains; NULL: sockets. */
static inline void session_run_over(const char *provider, int devices, int servers, int mode, int (*function)(void *), void *argument)
{
  struct uma_config config = {.servers = servers,
                              .hosts = session_hosts(devices, servers),
                              .mode = mode,
                              .fabric = provider ? UMA_FABRIC_OFI : UMA_FABRIC_URING,
                              .provider = provider,
                              .memory = (size_t)64 << 20,
                              .timeout = 120};
  int result = uma_spawn(&config, devices, function, argument);
  cr_assert_eq(result, 0, "%d devices in %d servers, mode %d, provider %s: %d (%s)", devices, servers, mode, provider ? provider : "-",
               result, result < 0 ? uma_last_error() : "");
}

static inline void session_run(int devices, int servers, int mode, int (*function)(void *), void *argument)
{
  session_run_over(NULL, devices, servers, mode, function, argument);
}

/* On one device, on several, with more than there are processors, and in several coherence domains, which sockets join or libfabric. */
static inline void session_run_shapes(int (*function)(void *), void *argument)
{
  session_run(1, 1, UMA_MODE_SUPERNODE, function, argument);
  session_run(2, 2, UMA_MODE_SUPERNODE, function, argument);
  session_run(5, 2, UMA_MODE_SUPERNODE, function, argument);
  session_run(2, 2, UMA_MODE_STACKED, function, argument);
  session_run(5, 2, UMA_MODE_STACKED, function, argument);
  session_run_over("tcp;ofi_rxm", 2, 2, UMA_MODE_STACKED, function, argument);
  session_run_over("net", 5, 2, UMA_MODE_STACKED, function, argument);
}

static inline int session_do_nothing(void *unused)
{
  return 0;
}

/* No session begins with these settings, and the sentence says why. */
static inline void session_expect_refusal(struct uma_config config, int devices, const char *sentence)
{
  cr_expect_lt(uma_spawn(&config, devices, session_do_nothing, NULL), 0, "%s", sentence);
  cr_expect(strstr(uma_last_error(), sentence), "%s; expected: %s", uma_last_error(), sentence);
}

/* A thread of a device that is to die in the middle of what it does; the argument points to an unsigned. */
static inline void *session_die_later(void *delay_us)
{
  usleep(*(unsigned *)delay_us);
  kill(getpid(), SIGKILL);
  return NULL;
}

/* Where `uma` and the examples were built. */
static inline const char *session_build(void)
{
  const char *build = getenv("UMA_BUILD");
  return build ? build : "build";
}

#endif
