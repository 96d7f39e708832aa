/* A device that rehearses has private memory in the place of the windows, and sees the windows again afterwards. */
#include <errno.h>
#include <string.h>

#include "tests/session.h"

enum { BYTES = 20000 };

static int rehearse(void *unused)
{
  int me = uma_device(), devices = uma_device_count(), next = (me + 1) % devices;
  char *mine = uma_alloc_symmetric(BYTES), *theirs = uma_symmetric(mine, next), copy[100], part[100];
  memset(mine, 'a' + me, BYTES);
  CHECK(!uma_barrier() && theirs[0] == 'a' + next);
  if (me) {
    CHECK(!uma_rehearse(true) && uma_rehearse(true) == -EALREADY);
    for (int i = 0; i < BYTES; i++) CHECK(!mine[i] && !theirs[i]);
    memset(mine, 'x', BYTES);
    memset(theirs, 'y', BYTES);
    CHECK(uma_fetch_add((int *)(void *)(theirs + 8), 1) != 0);
    CHECK(!uma_get(copy, mine, sizeof copy) && copy[99] == 'x');
    memset(part, 'z', sizeof part);
    CHECK(!uma_put(theirs + 100, part, sizeof part) && theirs[199] == 'z' && theirs[200] == 'y');
    CHECK(!uma_send(0, 1, theirs + 100, sizeof part));
  } else
    for (int d = 1; d < devices; d++) CHECK(!uma_recv(d, 1, copy, sizeof copy, NULL) && copy[0] == 'z' && copy[99] == 'z');
  CHECK(!uma_barrier());
  if (!me)
    for (int d = 0; d < devices; d++) {
      char *window = uma_symmetric(mine, d);
      for (int i = 0; i < BYTES; i++) CHECK(window[i] == 'a' + d);
      window[7] = '!';
    }
  CHECK(!uma_barrier());
  if (me) CHECK(mine[7] == 'x' && !uma_rehearse(false));
  CHECK(uma_rehearse(false) == -EALREADY);
  CHECK(mine[7] == '!' && mine[8] == 'a' + me && theirs[7] == '!' && theirs[BYTES - 1] == 'a' + next);
  CHECK(!uma_barrier());
  theirs[9] = '?';
  CHECK(!uma_barrier() && mine[9] == '?');
  if (me && !uma_rehearse(true)) mine[9] = '0'; /* leaves like that */
  return 0;
}

static void run(int devices, int hosts, int faults)
{
  struct uma_config config = {
      .coherence = UMA_COHERENCE_PAGE, .memory = 1 << 20, .page = 8192, .hosts = hosts, .faults = faults, .timeout = 120};
  int result = uma_spawn(&config, devices, rehearse, NULL);
  cr_assert_eq(result, 0, "%d devices on %d hosts: %d (%s)", devices, hosts, result, result < 0 ? uma_last_error() : "");
}

Test(rehearse, what_is_stored_is_forgotten)
{
  run(2, 1, UMA_FAULTS_SIGNAL);
  run(5, 1, UMA_FAULTS_SIGNAL);
  run(4, 2, UMA_FAULTS_SIGNAL);
}

static int be_refused(void *unused)
{
  CHECK(uma_rehearse(true) == -EOPNOTSUPP && strstr(uma_last_error(), "run with --coherence page"));
  CHECK(!uma_can_fork());
  return 0;
}

Test(rehearse, mistakes_are_told)
{
  cr_expect_eq(uma_rehearse(true), -EINVAL);
  cr_expect(strstr(uma_last_error(), "outside of a session"), "%s", uma_last_error());
  for (int coherence = UMA_COHERENCE_NONE; coherence <= UMA_COHERENCE_LINE; coherence++)
    cr_expect_eq(uma_spawn(&(struct uma_config){.coherence = coherence, .timeout = 120}, 2, be_refused, NULL), 0);
}
