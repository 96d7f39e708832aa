/* Barriers, locks, atomics, signals: right with more devices than processors, and within and across domains. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "tests/session.h"

struct shared { /* one in every window */
  uint64_t counter, guarded, word, flags;
  uint32_t small;
  double real;
  struct uma_lock lock;
};

static struct shared *make_shared(void)
{
  struct shared *mine = uma_alloc_symmetric(sizeof *mine);
  if (mine) memset(mine, 0, sizeof *mine);
  return mine && !uma_barrier() ? mine : NULL;
}

/* Every device writes its round to all peers that it reaches, and sees all of them after the barrier. */
static int cross_barriers(void *argument)
{
  uint64_t *rounds = uma_alloc_symmetric(sizeof(uint64_t) * (size_t)uma_device_count());
  CHECK(rounds);
  for (uint64_t round = 1; round <= 300; round++) {
    for (int d = 0; d < uma_device_count(); d++)
      if (uma_reachable(d)) ((volatile uint64_t *)uma_symmetric(rounds, d))[uma_device()] = round;
    CHECK(!uma_barrier());
    for (int d = 0; d < uma_device_count(); d++) CHECK(!uma_reachable(d) || ((volatile uint64_t *)rounds)[d] == round);
    CHECK(!uma_barrier());
  }
  return 0;
}

Test(sync, a_barrier_separates_what_is_before_from_what_is_after)
{
  session_run_shapes(cross_barriers, NULL);
  session_run(24, 4, UMA_MODE_SUPERNODE, cross_barriers, NULL);
  session_run(9, 4, UMA_MODE_STACKED, cross_barriers, NULL);
}

/* All devices add to a word of device 0 by each operation; the sums show that none is lost. */
static int count_together(void *argument)
{
  struct shared *mine = make_shared(), *first = uma_symmetric(mine, 0);
  int me = uma_device(), devices = uma_device_count(), rounds = 200;
  CHECK(mine);
  for (int i = 0; i < rounds; i++) {
    uma_fetch_add(&first->counter, 3);
    uma_fetch_add(&first->small, 1u);
    for (uint64_t old = uma_ld(&first->word), seen; (seen = uma_cas(&first->word, old, old + 2)) != old; old = seen) continue;
    uma_fetch_xor(&first->flags, (uint64_t)1 << (8 + me));
  }
  uma_fetch_or(&first->flags, (uint64_t)1 << me);
  CHECK(!uma_barrier());
  CHECK(uma_ld(&first->counter) == 3u * (unsigned)(rounds * devices) && uma_ld(&first->small) == (unsigned)(rounds * devices));
  CHECK(uma_ld(&first->word) == 2u * (unsigned)(rounds * devices));
  CHECK(uma_ld(&first->flags) == ((uint64_t)1 << devices) - 1);
  CHECK(!uma_barrier());
  struct shared *next = uma_symmetric(mine, (me + 1) % devices);
  uma_st(&next->real, 1.5 + me);
  CHECK(!uma_barrier());
  CHECK(uma_ld(&mine->real) == 1.5 + (me + devices - 1) % devices);
  CHECK(!uma_barrier());
  CHECK(uma_swap(&next->real, -2.0) == 1.5 + me && uma_fetch_and(&next->flags, 0u) == (next == first ? ((uint64_t)1 << devices) - 1 : 0u));
  CHECK(!uma_barrier());
  return 0;
}

Test(sync, atomics_lose_nothing)
{
  session_run_shapes(count_together, NULL);
}

static int lock_together(void *argument)
{
  struct shared *mine = make_shared(), *first = uma_symmetric(mine, 0);
  CHECK(mine);
  if (uma_device() == 0) CHECK(!uma_lock_create(uma_device_count() - 1, &mine->lock));
  CHECK(!uma_barrier());
  struct uma_lock lock;
  CHECK(!uma_copy(&lock, &first->lock, sizeof lock));
  for (int i = 0; i < 100; i++) {
    CHECK(!uma_lock(&lock));
    CHECK(uma_trylock(&lock) == -EBUSY);
    uint64_t value = uma_ld(&first->guarded); /* not atomic as a whole: the lock makes it so */
    uma_st(&first->guarded, value + 1);
    CHECK(!uma_unlock(&lock));
  }
  CHECK(!uma_barrier());
  CHECK(uma_ld(&first->guarded) == 100u * (unsigned)uma_device_count());
  CHECK(!uma_barrier());
  if (uma_device() == 0) CHECK(uma_unlock(&lock) == -EPERM && !uma_lock_destroy(&lock) && uma_lock(&lock) == -EINVAL);
  struct uma_lock nonsense = {.home = uma_device_count(), .index = 0};
  CHECK(uma_lock(&nonsense) == -EINVAL && uma_lock(NULL) == -EINVAL);
  CHECK(!uma_barrier());
  return 0;
}

Test(sync, a_lock_admits_one_at_a_time)
{
  session_run_shapes(lock_together, NULL);
}

static int die_with_lock(void *argument)
{
  struct shared *mine = make_shared(), *first = uma_symmetric(mine, 0);
  CHECK(mine);
  if (uma_device() == 1) {
    CHECK(!uma_lock_create(0, &first->lock) && !uma_lock(&first->lock));
    uma_st(&first->word, 1);
    raise(SIGKILL);
  }
  while (!uma_ld(&first->word)) usleep(100);
  int result = uma_lock(&first->lock);
  if (result == -EOWNERDEAD) uma_fetch_add(&first->counter, 1);
  CHECK(result == 0 || result == -EOWNERDEAD);
  CHECK(!uma_unlock(&first->lock));
  uma_fetch_add(&first->guarded, 1);
  while (uma_ld(&first->guarded) < 3) usleep(100);
  CHECK(uma_ld(&first->counter) == 1);
  return 0;
}

Test(sync, the_lock_of_a_lost_device_is_passed_on_and_told)
{
  struct uma_config config = {.memory = 1 << 20, .timeout = 60, .on_failure = UMA_ON_FAILURE_CONTINUE};
  cr_expect_eq(uma_spawn(&config, 4, die_with_lock, NULL), 128 + SIGKILL);
}

/* A token goes round by signals; data put before the signal is there. */
static int pass_token(void *argument)
{
  struct {
    uint64_t word, data[64];
  } *mine = uma_alloc_symmetric(sizeof *mine), *next;
  int me = uma_device(), devices = uma_device_count();
  CHECK(mine);
  memset(mine, 0, sizeof *mine);
  CHECK(!uma_barrier());
  next = uma_symmetric(mine, (me + 1) % devices);
  for (uint64_t lap = 1; lap <= 50; lap++) {
    uint64_t data[64];
    if (me > 0 || lap > 1) CHECK(!uma_wait_until(&mine->word, UMA_GE, me > 0 ? lap : lap - 1));
    for (int i = 0; i < 64; i++) {
      if (me > 0 || lap > 1) CHECK(mine->data[i] == (me > 0 ? lap : lap - 1) * 1000 + (uint64_t)i);
      data[i] = lap * 1000 + (uint64_t)i;
    }
    if (next != mine) CHECK(!uma_put_signal(next->data, data, sizeof data, &next->word, 1, UMA_SIGNAL_ADD));
    else memcpy(mine->data, data, sizeof data), mine->word++;
  }
  CHECK(!uma_barrier());
  CHECK(!uma_fence() && !uma_quiet());
  CHECK(uma_signal((uint64_t *)1, 1, UMA_SIGNAL_SET) == -EFAULT && uma_wait_until((uint64_t *)((char *)mine + 1), UMA_EQ, 0) == -EINVAL);
  CHECK(uma_signal(&mine->word, 1, (enum uma_signal)7) == -EINVAL);
  return 0;
}

Test(sync, signals_follow_their_data)
{
  session_run_shapes(pass_token, NULL);
}

static int wait_for_plain_store(void *argument)
{
  uint64_t *mine = uma_alloc_symmetric(sizeof *mine);
  CHECK(mine);
  *mine = 0;
  CHECK(!uma_barrier());
  if (uma_device() == 0) {
    usleep(20000);
    *(volatile uint64_t *)uma_symmetric(mine, 1) = 5;
  } else {
    CHECK(!uma_wait_until(mine, UMA_NE, 0));
  }
  return 0;
}

Test(sync, a_plain_store_ends_a_wait_too)
{
  session_run(2, 1, UMA_MODE_SUPERNODE, wait_for_plain_store, NULL);
}

static void *add_under_lock(void *argument)
{
  struct shared *shared = argument;
  for (int i = 0; i < 2000; i++) uma_fetch_add(&shared->counter, 1);
  return NULL;
}

static int use_threads(void *argument)
{
  struct shared *mine = make_shared(), *first = uma_symmetric(mine, 0);
  pthread_t threads[4];
  CHECK(mine);
  for (int i = 0; i < 4; i++) CHECK(!pthread_create(&threads[i], NULL, add_under_lock, first));
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  CHECK(!uma_barrier());
  CHECK(first->counter == 8000u * (unsigned)uma_device_count());
  return 0;
}

Test(sync, threads_of_a_device_are_equals)
{
  session_run(3, 1, UMA_MODE_SUPERNODE, use_threads, NULL);
}
