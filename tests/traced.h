/* For tests of traces: a session of three devices whose sharing is known, because they take turns.
 *
 *   apart     devices 0 and 1 each store bytes of their own of one line
 *   together  all devices add to one counter
 *   mixed     as apart, but device 1 sometimes loads what device 0 stores
 *   cleared   device 0 clears the line, then 1 and 2 each store bytes of their own
 *   table     all devices load it, nobody stores to it
 *   own       each device's own array
 *   even      a symmetric block: each device stores to the next one's as soon as it returns
 *   reused    a block that is freed, and allocated again at the same place by another call
 */
#ifndef TESTS_TRACED_H
#define TESTS_TRACED_H

#include <stdint.h>
#include <sys/mman.h>

#include "tests/command.h"
#include "tests/session.h"

enum { TRACED_DEVICES = 3, TRACED_ROUNDS = 10, TRACED_LINE = 64, TRACED_OWN = 1024, TRACED_REUSED = 4096 };

struct traced_places {
  unsigned char *apart, *together, *mixed, *cleared, *table, *reused;
};

struct traced_session {
  struct traced_places at;
  unsigned char *own[TRACED_DEVICES], *even[TRACED_DEVICES];
  int apart_line, cleared_line, own_line, even_line, first_line, second_line; /* of this file: where they were allocated */
  bool is_reused;                                                             /* the second block lies where the first one did */
  struct uma_counters counters[TRACED_DEVICES];                               /* before devices left */
  char folder[32], path[64];
};

static inline int traced_allocate(struct traced_session *session)
{
  struct traced_places at;
  session->apart_line = __LINE__ + 1;
  at.apart = uma_memalign_on(1, TRACED_LINE, TRACED_LINE);
  at.together = uma_memalign_on(0, TRACED_LINE, TRACED_LINE);
  at.mixed = uma_memalign_on(0, TRACED_LINE, TRACED_LINE);
  at.table = uma_memalign_on(2, TRACED_LINE, TRACED_LINE);
  session->cleared_line = __LINE__ + 1;
  at.cleared = uma_calloc_on(2, 1, TRACED_LINE);
  session->first_line = __LINE__ + 1;
  at.reused = uma_memalign_on(0, TRACED_LINE, TRACED_REUSED);
  CHECK(at.apart && at.together && at.mixed && at.cleared && at.table && at.reused);
  uma_st((uint32_t *)at.reused, 1);
  CHECK(!uma_free(at.reused));
  session->second_line = __LINE__ + 1;
  unsigned char *again = uma_memalign_on(0, TRACED_LINE, TRACED_REUSED);
  uma_st((uint32_t *)(again + 8), 1);
  session->is_reused = again == at.reused;
  session->at = at;
  return 0;
}

static inline int traced_turn(const struct traced_places *at, int round, int me)
{
  if (me < 2) uma_st((uint32_t *)at->apart + 4 * me, (uint32_t)round);
  uma_fetch_add((uint64_t *)at->together + 2, 1);
  if (me == 1 && round % 4 == 1) CHECK(uma_ld((uint32_t *)at->mixed) == (uint32_t)round);
  if (me < 2) uma_st((uint32_t *)at->mixed + 4 * me, (uint32_t)round);
  if (me > 0) uma_st((uint16_t *)at->cleared + me, (uint16_t)round);
  (void)uma_ld(at->table + 1);
  return 0;
}

static inline int traced_play(void *argument)
{
  struct traced_session *session = argument;
  int me = uma_device();
  CHECK(me || !traced_allocate(session));
  CHECK(!uma_barrier());
  if (!me) session->own_line = __LINE__ + 1;
  uint32_t *own = uma_memalign_on(me, TRACED_LINE, TRACED_OWN);
  if (!me) session->even_line = __LINE__ + 1;
  session->even[me] = uma_alloc_symmetric(TRACED_LINE);
  uma_st((unsigned char *)uma_symmetric(session->even[me], (me + 1) % TRACED_DEVICES), 1);
  session->own[me] = (unsigned char *)own;
  for (int i = 0; i < TRACED_OWN / 4; i++) uma_st(own + i, (uint32_t)i);
  for (int turn = 0; turn < TRACED_ROUNDS * TRACED_DEVICES; turn++) {
    CHECK(!uma_barrier());
    if (turn % TRACED_DEVICES == me) CHECK(!traced_turn(&session->at, turn / TRACED_DEVICES, me));
  }
  CHECK(!uma_barrier());
  CHECK(!uma_counters(me, &session->counters[me]));
  return uma_barrier();
}

/* Records such a session; traced_end removes its trace. */
static inline struct traced_session *traced_begin(void)
{
  char *said;
  struct traced_session *session = mmap(NULL, sizeof *session, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  strcpy(session->folder, "/tmp/uma-trace-XXXXXX");
  cr_assert(mkdtemp(session->folder));
  snprintf(session->path, sizeof session->path, "%s/trace.json", session->folder);
  struct uma_config config = {.coherence = UMA_COHERENCE_LINE, .trace = session->path, .memory = 16 << 20, .timeout = 120};
  int result = command_capture_spawn(&config, TRACED_DEVICES, traced_play, session, &said);
  cr_assert_eq(result, 0, "%d (%s): %s", result, result < 0 ? uma_last_error() : "", said);
  free(said);
  return session;
}

static inline void traced_end(struct traced_session *session)
{
  char line[64], *said;
  snprintf(line, sizeof line, "rm -r %s", session->folder);
  cr_expect_eq(command_run(line, &said), 0, "%s", said);
  free(said);
  munmap(session, sizeof *session);
}

#endif
