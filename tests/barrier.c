/* Barriers among some of the devices: nobody passes before all have come, rounds follow each other, and mistakes are told. */
#include <errno.h>

#include "tests/session.h"

#define ROUNDS 300

/* Devices of the same parity meet; each counts itself, and sees all of its group counted. */
static int meet_in_groups(void *argument)
{
  struct shared {
    struct uma_barrier barriers[2];
    int counts[2][2]; /* [parity][round & 1] */
  } *shared = uma_symmetric(uma_alloc_symmetric(sizeof *shared), 0);
  int me = uma_device(), devices = uma_device_count(), parity = me % 2, members = (devices + 1 - parity) / 2;
  if (me == 0) {
    memset(shared->counts, 0, sizeof shared->counts);
    CHECK(!uma_barrier_create(devices - 1, &shared->barriers[0]) && !uma_barrier_create(0, &shared->barriers[1]));
  }
  CHECK(!uma_barrier());
  const struct uma_barrier *barrier = &shared->barriers[parity];
  for (int round = 0; round < ROUNDS; round++) {
    int *count = &shared->counts[parity][round & 1];
    uma_fetch_add(count, 1);
    CHECK(!uma_barrier_wait(barrier, members));
    CHECK(uma_ld(count) == members * (round / 2 + 1));
  }
  CHECK(!uma_barrier());
  if (me == 0) CHECK(!uma_barrier_destroy(&shared->barriers[0]) && !uma_barrier_destroy(&shared->barriers[1]));
  if (me == 0) CHECK(uma_barrier_wait(&shared->barriers[0], members) == -EINVAL);
  return 0;
}

static int mistakes(void *argument)
{
  struct uma_barrier barrier, all;
  int made = 0;
  CHECK(uma_barrier_create(0, NULL) == -EINVAL && uma_barrier_create(7, &barrier) == -EINVAL);
  CHECK(uma_barrier_wait(&(struct uma_barrier){0, 5}, 1) == -EINVAL && uma_barrier_wait(&(struct uma_barrier){0, 1u << 30}, 1) == -EINVAL);
  CHECK(uma_barrier_wait(NULL, 1) == -EINVAL && uma_barrier_destroy(NULL) == -EINVAL);
  CHECK(!uma_barrier_create(0, &barrier) && uma_barrier_wait(&barrier, 0) == -EINVAL && !uma_barrier_wait(&barrier, 1));
  while (!uma_barrier_create(0, &all)) made++;
  CHECK(made > 1000 && uma_barrier_create(0, &all) == -ENOSPC);
  return 0;
}

static int only_in_the_own_domain(void *argument)
{
  struct uma_barrier barrier;
  CHECK(uma_barrier_create(1 - uma_device(), &barrier) == -EREMOTE && !uma_barrier_create(uma_device(), &barrier));
  CHECK(!uma_barrier_wait(&barrier, 1));
  return 0;
}

Test(barrier, groups_of_devices_meet)
{
  for (int devices = 2; devices <= 8; devices++) session_run(devices, 1, UMA_MODE_SUPERNODE, meet_in_groups, NULL);
}

Test(barrier, mistakes_are_told)
{
  session_run(1, 1, UMA_MODE_SUPERNODE, mistakes, NULL);
  session_run(2, 2, UMA_MODE_STACKED, only_in_the_own_domain, NULL);
}
