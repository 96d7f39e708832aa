/* One device of a session that a launcher started, the one that the argument names, is killed while all others wait for it, and the launcher lets
 * them go on: they learn of it, of nobody else's death, and still talk to each other; tests/survive.c runs it. They say so when all is well. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "tests/programs/check.h"

enum { READY = 1, NEVER, DONE }; /* tags */

static int me, devices, victim;

/* When nobody waits for the meeting before any more. */
static void die(void)
{
  for (int d = 0; d < devices; d++)
    if (d != me) CHECK(!uma_recv(d, READY, NULL, 0, NULL));
  raise(SIGKILL);
}

static bool is_paged(void)
{
  const char *coherence = getenv("UMA_COHERENCE");
  return coherence && !strcmp(coherence, "page"); /* who accesses a lost page ends */
}

static void expect_loss(uint64_t *theirs)
{
  uint64_t word = 0;
  CHECK(uma_recv(victim, NEVER, NULL, 0, NULL) == -EHOSTDOWN && uma_barrier() == -EHOSTDOWN);
  int put = is_paged() ? -EHOSTDOWN : uma_put(theirs, &word, sizeof word);
  CHECK(put == -EHOSTDOWN || (!put && uma_path(victim) == UMA_PATH_MAP)); /* its memory is on this host, too */
  for (int d = 0; d < devices; d++) CHECK(uma_alive(d) == (d != victim));
}

/* Each with each, before anybody leaves. */
static void talk(void)
{
  for (int d = 0; d < devices; d++)
    if (d != me && d != victim) CHECK(!uma_send(d, DONE, NULL, 0));
  for (int d = 0; d < devices; d++)
    if (d != me && d != victim) CHECK(!uma_recv(d, DONE, NULL, 0, NULL));
}

int main(int argc, char **argv)
{
  if (argc != 2) return 2;
  CHECK(!uma_init(NULL));
  victim = atoi(argv[1]);
  me = uma_device();
  devices = uma_device_count();
  uint64_t *mine = uma_alloc_symmetric(sizeof *mine);
  CHECK(mine && !uma_barrier());
  if (me == victim) die();
  CHECK(!uma_send(victim, READY, NULL, 0));
  expect_loss(uma_symmetric(mine, victim));
  talk();
  CHECK(!uma_finalize());
  printf("device %d has survived\n", me);
  return 0;
}
