/* The devices of a session access memory at random: see stress.h. */
#include "tests/stress.h"

#include <pthread.h>

#include "coherence/engine.h"
#include "tests/session.h"
#include "uma/session.h"

enum { ROWS = 4, WORDS = 12, COUNTERS = 6 };

/* In the window of the device that writes it. A row is written word by word and then its round is published: who has seen the round sees
 * no older word. Rows are packed without regard to lines, so that lines are shared truly and falsely. */
struct rows {
  struct {
    uint64_t round, words[WORDS];
  } row[STRESS_THREADS][ROWS];
  uint64_t counters[COUNTERS];
  uint32_t lock;
  uint64_t guarded[3]; /* equal whenever nobody holds the lock */
  uint64_t bulk[40];   /* written as one range by the device */
};

struct worker {
  const struct stress *stress;
  struct rows *mine;
  int thread, failed;
  uint64_t random, added, taken, rounds[ROWS], bulk;
};

static uint64_t draw(struct worker *w, uint64_t below)
{
  uint64_t z = w->random += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return (z ^ z >> 31) % below;
}

static struct rows *rows_of(struct worker *w, int device)
{
  return uma_symmetric(w->mine, device);
}

static int stale(struct worker *w, const char *what, uint64_t got, uint64_t least)
{
  fprintf(stderr, "stale value: device %d, thread %d: %s is %llu, but %llu was seen before\n", uma_device(), w->thread, what,
          (unsigned long long)got, (unsigned long long)least);
  return 1;
}

static int write_row(struct worker *w)
{
  int r = (int)draw(w, ROWS);
  uint64_t round = ++w->rounds[r];
  for (int i = 0; i < WORDS; i++) uma_st(&w->mine->row[w->thread][r].words[i], round);
  uma_st(&w->mine->row[w->thread][r].round, round);
  return 0;
}

/* Between the two looks at the round the word has a value between them, or is already of the next one. */
static int read_row(struct worker *w)
{
  struct rows *rows = rows_of(w, (int)draw(w, (uint64_t)uma_device_count()));
  int t = (int)draw(w, (uint64_t)w->stress->threads), r = (int)draw(w, ROWS), i = (int)draw(w, WORDS);
  uint64_t before = uma_ld(&rows->row[t][r].round), word = uma_ld(&rows->row[t][r].words[i]), after = uma_ld(&rows->row[t][r].round);
  if (word < before) return stale(w, "a word", word, before);
  if (after < before) return stale(w, "a round", after, before);
  if (word > after + 1) return stale(w, "a round", after, word - 1);
  return 0;
}

static int count(struct worker *w)
{
  struct rows *rows = rows_of(w, (int)draw(w, (uint64_t)uma_device_count()));
  uma_fetch_add(&rows->counters[draw(w, COUNTERS)], UINT64_C(1));
  w->added++;
  return 0;
}

static int change_guarded(struct worker *w)
{
  struct rows *rows = rows_of(w, (int)draw(w, (uint64_t)uma_device_count()));
  if (uma_cas(&rows->lock, 0u, (uint32_t)uma_device() + 1)) return 0;
  uint64_t first = uma_ld(&rows->guarded[0]);
  for (int i = 0; i < 3; i++) {
    uint64_t value = uma_ld(&rows->guarded[i]);
    if (value != first) return stale(w, "a guarded word", value, first);
    uma_st(&rows->guarded[i], first + 1);
  }
  w->taken++;
  return uma_swap(&rows->lock, 0u) != (uint32_t)uma_device() + 1 ? stale(w, "the lock", 0, 1) : 0;
}

/* A range is not atomic, but no word of it goes back. */
static int move_range(struct worker *w)
{
  uint64_t values[40], again[40];
  if (w->thread == 0 && draw(w, 2)) {
    w->bulk++;
    for (int i = 0; i < 40; i++) values[i] = w->bulk;
    return uma_put(w->mine->bulk, values, sizeof values) != 0;
  }
  struct rows *rows = rows_of(w, (int)draw(w, (uint64_t)uma_device_count()));
  if (uma_get(values, rows->bulk, sizeof values) || uma_get(again, rows->bulk, sizeof again)) return 1;
  for (int i = 0; i < 40; i++)
    if (again[i] < values[i]) return stale(w, "a word of a range", again[i], values[i]);
  return 0;
}

static void *work(void *argument)
{
  struct worker *w = argument;
  static int (*const deeds[])(struct worker *) = {write_row, read_row, read_row, read_row, count, change_guarded, move_range};
  for (int i = 0; i < w->stress->steps && !w->failed; i++) w->failed = deeds[draw(w, sizeof deeds / sizeof deeds[0])](w);
  return NULL;
}

static int check_sums(const struct worker *workers, struct rows *mine)
{
  uint64_t own[2] = {0}, all[2], found[2] = {0};
  for (int t = 0; t < workers->stress->threads; t++) {
    own[0] += workers[t].added;
    own[1] += workers[t].taken;
  }
  CHECK(!uma_allreduce(all, own, 2, UMA_UINT64, UMA_SUM));
  for (int d = 0; d < uma_device_count(); d++) {
    struct rows *rows = uma_symmetric(mine, d);
    for (int c = 0; c < COUNTERS; c++) found[0] += uma_ld(&rows->counters[c]);
    found[1] += uma_ld(&rows->guarded[1]);
  }
  CHECK(found[0] == all[0]);
  CHECK(found[1] == all[1]);
  return 0;
}

/* While nobody accesses anything. */
static int check_invariants(struct rows *mine)
{
  struct coh_breach breach;
  uint64_t first = (uint64_t)((unsigned char *)mine - (unsigned char *)uma_window(0, NULL)) >> uma_self.engine->line_shift;
  CHECK(!uma_barrier());
  for (uint64_t line = 0; line <= sizeof *mine >> uma_self.engine->line_shift && !uma_self.wire; line++) /* all controllers are here */
    CHECK(!coh_engine_broken(uma_self.engine, first + line, &breach));
  CHECK(!uma_barrier());
  return 0;
}

/* Everything that was stored lies in memory. */
static int check_flushed(const struct worker *workers, struct rows *mine)
{
  CHECK(!uma_flush());
  CHECK(!uma_barrier());
  const struct rows *memory = (const void *)(uma_self.memory + ((unsigned char *)mine - (unsigned char *)uma_window(uma_self.first, NULL)));
  for (int t = 0; t < workers->stress->threads; t++)
    for (int r = 0; r < ROWS; r++) {
      CHECK(memory->row[t][r].round == workers[t].rounds[r]);
      CHECK(memory->row[t][r].words[WORDS - 1] == workers[t].rounds[r]);
    }
  CHECK(memory->bulk[0] == workers->bulk && memory->bulk[39] == workers->bulk);
  return 0;
}

int stress_run(void *argument)
{
  const struct stress *stress = argument;
  struct worker workers[STRESS_THREADS] = {0};
  pthread_t threads[STRESS_THREADS];
  struct rows *mine = uma_alloc_symmetric(sizeof *mine);
  CHECK(mine);
  for (int t = 0; t < stress->threads; t++) {
    workers[t] = (struct worker){.stress = stress, .mine = mine, .thread = t};
    workers[t].random = stress->seed * 1000003u + (unsigned)(uma_device() * STRESS_THREADS + t);
  }
  CHECK(!uma_barrier());
  for (int t = 0; t < stress->threads; t++) CHECK(!pthread_create(&threads[t], NULL, work, &workers[t]));
  for (int t = 0; t < stress->threads; t++) pthread_join(threads[t], NULL);
  for (int t = 0; t < stress->threads; t++) CHECK(!workers[t].failed);
  CHECK(!uma_barrier());
  int result = check_invariants(mine);
  if (!result) result = check_sums(workers, mine);
  return result || stress->keeps ? result : check_flushed(workers, mine);
}
