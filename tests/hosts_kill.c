/* A device that is killed while others on another host wait for its memory is lost for them at once, by the launcher's word, and not by its silence,
 * for which they would wait longer than the session may last. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/command.h"
#include "tests/session.h"

enum { BYTES = 256 << 10, VICTIM = 3, ROUNDS = 2 };

enum access { GET, PUT, ATOMIC, LARGE_GET, LARGE_PUT, ACCESSES };

struct plan {
  enum access access;
  unsigned delay_us;
};

/* 0, or what it was refused with. An atomic has no way to say so but the device's loss. */
static int reach(enum access access, unsigned char *far, unsigned char *own)
{
  switch (access) {
  case GET: return uma_get(own, far, 8);
  case PUT: return uma_put(far, own, 8);
  case LARGE_GET: return uma_get(own, far, BYTES);
  case LARGE_PUT: return uma_put(far, own, BYTES);
  default: uma_fetch_add((uint64_t *)(void *)far, 1u); return uma_alive(VICTIM) ? 0 : -EHOSTDOWN;
  }
}

static int reach_until_killed(void *argument)
{
  struct plan *plan = argument;
  unsigned char *window = uma_alloc_symmetric(BYTES), *own = malloc(BYTES), *far = uma_symmetric(window, VICTIM);
  pthread_t killer;
  int result = 0;
  CHECK(window && own && !uma_barrier());
  if (uma_device() == VICTIM) CHECK(!pthread_create(&killer, NULL, session_die_later, &plan->delay_us));
  while (uma_device() == VICTIM) pause();
  if (uma_device() < VICTIM - 1) /* of the other host */
    while (!result) result = reach(plan->access, far, own);
  while (uma_alive(VICTIM)) usleep(1000);
  CHECK(result == 0 || result == -EHOSTDOWN);
  CHECK(uma_barrier() == -EHOSTDOWN);
  free(own);
  return 0;
}

static void run(struct uma_config config, const char *provider, enum access access)
{
  config.hosts = 2;
  config.provider = provider;
  config.memory = 1 << 20;
  config.on_failure = UMA_ON_FAILURE_CONTINUE;
  config.silence = 1000;
  config.timeout = 60;
  for (unsigned round = 0; round < ROUNDS; round++) {
    struct plan plan = {access, (round * ACCESSES + access) * 7919 % 20000};
    char *said;
    int result = command_capture_spawn(&config, 4, reach_until_killed, &plan, &said);
    cr_expect_eq(result, 128 + SIGKILL, "%s, access %d, after %u us: %d: %s", provider, access, plan.delay_us, result, said);
    cr_expect(!strstr(said, "code 99"), "%s, access %d: %s", provider, access, said);
    free(said);
  }
}

static const char *const providers[] = {"tcp;ofi_rxm", "net"};

Test(hosts_kill, in_the_middle_of_rma)
{
  for (int p = 0; p < 2; p++)
    for (enum access access = 0; access < ACCESSES; access++)
      run((struct uma_config){.mode = UMA_MODE_STACKED, .fabric = UMA_FABRIC_OFI}, providers[p], access);
}

/* What the victim's memory and cache held is served by its host all the same; so the accesses go on until its loss is known. */
static int use_until_killed(void *argument)
{
  struct plan *plan = argument;
  uint64_t *words = uma_alloc_symmetric(4096), *far = uma_symmetric(words, VICTIM), value = 0;
  pthread_t killer;
  CHECK(words && !uma_barrier());
  if (uma_device() == VICTIM) CHECK(!pthread_create(&killer, NULL, session_die_later, &plan->delay_us));
  for (unsigned i = 0; uma_alive(VICTIM) || uma_device() == VICTIM; i++) {
    uint64_t *word = far + i * 61 % 512;
    int result = i % 2 ? uma_get(&value, word, sizeof value) : uma_put(word, &value, sizeof value);
    CHECK(!result || result == -EHOSTDOWN);
  }
  CHECK(uma_barrier() == -EHOSTDOWN);
  return 0;
}

Test(hosts_kill, in_the_middle_of_coherent_accesses)
{
  for (int p = 0; p < 2; p++)
    for (unsigned round = 0; round < 4; round++) {
      struct uma_config config = {.coherence = round % 2 ? UMA_COHERENCE_PAGE : UMA_COHERENCE_LINE,
                                  .hosts = 2,
                                  .provider = providers[p],
                                  .memory = 1 << 20,
                                  .on_failure = UMA_ON_FAILURE_CONTINUE,
                                  .silence = 1000,
                                  .timeout = 60};
      struct plan plan = {.delay_us = round * 7919 % 20000};
      char *said;
      int result = command_capture_spawn(&config, 4, use_until_killed, &plan, &said);
      cr_expect_eq(result, 128 + SIGKILL, "%s, round %u: %d: %s", providers[p], round, result, said);
      cr_expect(!strstr(said, "code 99"), "%s, round %u: %s", providers[p], round, said);
      free(said);
    }
}
