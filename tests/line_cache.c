/* One cache of lines: which line goes when room is needed, what counts as which kind of miss, and what uma_flush leaves. */
#include <errno.h>

#include "coherence/engine.h"
#include "tests/command.h"
#include "tests/session.h"
#include "uma/session.h"

enum { LINE = 64 };

static void run_with(struct uma_config config, int devices, int (*function)(void *))
{
  char *said;
  FILE *file = tmpfile(); /* the table of counters */
  int saved = dup(STDERR_FILENO);
  config.coherence = UMA_COHERENCE_LINE;
  config.memory = 1 << 20;
  config.timeout = 60;
  dup2(fileno(file), STDERR_FILENO);
  int result = uma_spawn(&config, devices, function, NULL);
  dup2(saved, STDERR_FILENO);
  close(saved);
  rewind(file);
  said = command_read_all(file);
  fclose(file);
  cr_assert_eq(result, 0, "%d (%s): %s", result, result < 0 ? uma_last_error() : "", said);
  free(said);
}

/* Of this device's cache since the last call. */
static struct uma_counters since(struct uma_counters *before)
{
  struct uma_counters now = {0}, difference;
  if (uma_counters(uma_device(), &now)) abort();
  for (size_t i = 0; i < sizeof now / sizeof(uint64_t); i++) ((uint64_t *)&difference)[i] = ((uint64_t *)&now)[i] - ((uint64_t *)before)[i];
  *before = now;
  return difference;
}

static unsigned char *lines_of(size_t count)
{
  return uma_memalign_on(0, 4096, count * LINE);
}

/* ---- Replacement ---- */

/* Loads lines by number; what missed, as a text of m and h. */
static const char *pattern(unsigned char *lines, const char *order)
{
  static char text[64];
  struct uma_counters counters = {0};
  int n = 0;
  since(&counters);
  for (; order[n]; n++) {
    uma_ld(lines + (order[n] - 'a') * LINE);
    text[n] = since(&counters).hits ? 'h' : 'm';
  }
  text[n] = 0;
  return text;
}

/* Lines a, b, ... all fall into one set of four ways. */
static int replace_least_recently_used(void *unused)
{
  unsigned char *lines = lines_of(16);
  CHECK(lines);
  CHECK(!strcmp(pattern(lines, "abcdabcd"), "mmmmhhhh"));
  CHECK(!strcmp(pattern(lines, "ea"), "mm"));       /* e took the place of a, and a that of b */
  CHECK(!strcmp(pattern(lines, "cdeaf"), "hhhhm")); /* f takes that of c */
  CHECK(!strcmp(pattern(lines, "deafc"), "hhhhm"));
  return 0;
}

Test(line_cache, least_recently_used_goes_first)
{
  run_with((struct uma_config){.cache = 4 * LINE, .ways = 4, .stats = UMA_ON}, 1, replace_least_recently_used);
}

/* The same without counting, where hits pass by the controllers: which lines are there is seen in the frames. */
static bool is_held(const void *line)
{
  uint64_t number = (uint64_t)((const unsigned char *)line - (unsigned char *)uma_window(0, NULL)) / LINE;
  struct coh_frame *frame = coh_frame_find(uma_self.engine, 0, number);
  bool held = frame && frame->entry.state;
  if (frame) coh_frame_unlock(uma_self.engine, frame);
  return held;
}

static int replace_uncounted(void *unused)
{
  unsigned char *lines = lines_of(16);
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 4; i++) uma_ld(lines + i * LINE);
    uma_ld(lines), uma_st(lines + 2 * LINE, (unsigned char)round), uma_ld(lines + 3 * LINE); /* 1 was used the longest time ago */
    uma_ld(lines + 4 * LINE);
    CHECK(is_held(lines) && !is_held(lines + LINE) && is_held(lines + 2 * LINE) && is_held(lines + 3 * LINE) && is_held(lines + 4 * LINE));
    CHECK(uma_ld(lines + 2 * LINE) == round);
    CHECK(!uma_flush());
    CHECK(!is_held(lines) && !is_held(lines + 4 * LINE));
  }
  return 0;
}

Test(line_cache, least_recently_used_goes_first_uncounted)
{
  run_with((struct uma_config){.cache = 4 * LINE, .ways = 4}, 1, replace_uncounted);
}

/* ---- Kinds of misses ---- */

static int tell_misses_apart(void *unused)
{
  struct uma_counters counters = {0}, d;
  unsigned char *lines = lines_of(64); /* two sets of two ways: even and odd lines */
  since(&counters);
  for (int i = 0; i < 6; i += 2) uma_ld(lines + i * LINE);
  d = since(&counters);
  CHECK(d.misses_cold == 3 && d.loads == 3 && d.hits == 0 && d.evictions == 1);
  uma_ld(lines); /* pushed out of its set, but a cache of four lines in any place would have had it */
  d = since(&counters);
  CHECK(d.misses_conflict == 1 && d.misses_capacity == 0);
  for (int i = 8; i < 16; i++) uma_ld(lines + i * LINE);
  since(&counters);
  uma_ld(lines); /* eight others since: no cache of four lines has it */
  d = since(&counters);
  CHECK(d.misses_capacity == 1 && d.misses_conflict == 0 && d.misses_cold == 0);
  CHECK(!uma_flush());
  since(&counters);
  uma_ld(lines);
  d = since(&counters);
  CHECK(d.misses_cold == 1);
  return 0;
}

Test(line_cache, cold_capacity_and_conflict_misses)
{
  run_with((struct uma_config){.cache = 4 * LINE, .ways = 2, .stats = UMA_ON}, 1, tell_misses_apart);
}

/* Devices 0 and 1 take turns. */
static int share(void *unused)
{
  struct uma_counters counters = {0}, d;
  uint32_t *line = uma_alloc_symmetric(LINE); /* a page of its own */
  line = uma_symmetric(line, 0);
  bool first = uma_device() == 0;
  CHECK(!uma_barrier());
  if (first) uma_ld(&line[0]);
  CHECK(!uma_barrier());
  if (!first) uma_st(&line[4], 7u); /* takes the line away from device 0 */
  CHECK(!uma_barrier());
  since(&counters);
  if (first) {
    CHECK(uma_ld(&line[1]) == 0);
    d = since(&counters);
    CHECK(d.misses_false_sharing == 1 && d.misses_true_sharing == 0);
  }
  CHECK(!uma_barrier());
  if (!first) uma_st(&line[4], 8u);
  CHECK(!uma_barrier());
  if (first) {
    since(&counters);
    CHECK(uma_ld((uint64_t *)&line[4]) == 8); /* its lower half was written */
    d = since(&counters);
    CHECK(d.misses_true_sharing == 1 && d.misses_false_sharing == 0);
    uma_st(&line[0], 1u); /* both had it for reading */
    d = since(&counters);
    CHECK(d.upgrades == 1 && d.stores == 1 && d.invalidations_sent == 1 && d.misses_true_sharing + d.misses_false_sharing == 0);
  }
  CHECK(!uma_barrier());
  if (!first) {
    since(&counters);
    CHECK(!uma_counters(0, &d) && d.upgrades == 1);
    CHECK(!uma_counters(1, &d) && d.invalidations_received == 1);
  }
  return 0;
}

Test(line_cache, true_and_false_sharing)
{
  run_with((struct uma_config){.stats = UMA_ON}, 2, share);
}

/* All devices at once: the store that takes the line away may still be under way when whoever lost it misses. */
static int contend(void *unused)
{
  enum { TIMES = 20000 };
  struct uma_counters d;
  uint64_t *counter = uma_symmetric(uma_alloc_symmetric(LINE), 0);
  CHECK(!uma_barrier());
  for (int i = 0; i < TIMES; i++) uma_fetch_add(counter, 1);
  CHECK(!uma_counters(uma_device(), &d));
  CHECK(d.misses_false_sharing == 0 && d.misses_cold == 1 && d.stores == TIMES);
  CHECK(d.stores == d.hits + d.misses_cold + d.misses_true_sharing);
  return uma_barrier();
}

Test(line_cache, a_counter_is_not_shared_falsely)
{
  run_with((struct uma_config){.stats = UMA_ON}, 3, contend);
}

/* What a read miss on a clean line of another home costs is what the table of MSI says: GetS, Data, Unblock. */
static int count_messages(void *unused)
{
  struct uma_counters home[2], cache[2];
  uint64_t *word = uma_alloc_symmetric(LINE);
  CHECK(!uma_barrier());
  if (uma_device() == 1) {
    CHECK(!uma_counters(0, &home[0]) && !uma_counters(1, &cache[0]));
    uma_ld((uint64_t *)uma_symmetric(word, 0));
    CHECK(!uma_counters(0, &home[1]) && !uma_counters(1, &cache[1]));
    CHECK(cache[1].requests - cache[0].requests == 1 && cache[1].responses - cache[0].responses == 1);
    CHECK(home[1].responses - home[0].responses == 1 && home[1].forwards == home[0].forwards);
    CHECK(home[1].response_bytes - home[0].response_bytes == 24 + LINE && cache[1].request_bytes - cache[0].request_bytes == 24);
    CHECK(cache[1].hops - cache[0].hops == 2 && home[1].hops - home[0].hops == 1);
  }
  return 0;
}

Test(line_cache, messages_are_counted)
{
  run_with((struct uma_config){.stats = UMA_ON, .protocol = "msi"}, 2, count_messages);
}

static int count_nothing(void *unused)
{
  struct uma_counters counters;
  CHECK(uma_counters(0, &counters) == -ENODATA && strstr(uma_last_error(), "--stats"));
  CHECK(uma_counters(7, &counters) == -EINVAL);
  return 0;
}

Test(line_cache, counters_tell_when_there_are_none)
{
  run_with((struct uma_config){0}, 1, count_nothing);
}

/* ---- Flush ---- */

static int flush(void *unused)
{
  uint64_t *mine = uma_alloc_symmetric(4096), *theirs = uma_symmetric(mine, (uma_device() + 1) % uma_device_count());
  for (uint64_t i = 0; i < 512; i++) uma_st(&theirs[i], i + 1);
  CHECK(!uma_flush());
  CHECK(!uma_barrier());
  const uint64_t *memory = (const void *)(uma_self.memory + ((unsigned char *)mine - (unsigned char *)uma_window(0, NULL)));
  for (uint64_t i = 0; i < 512; i++) CHECK(memory[i] == i + 1);
  return 0;
}

Test(line_cache, flush_brings_everything_home)
{
  for (int p = 0; coh_shipped_name(p); p++) run_with((struct uma_config){.protocol = coh_shipped_name(p)}, 3, flush);
}

/* Device 1 leaves; what it stored into device 0's window is in memory then, without anybody asking for it. */
static int leave(void *unused)
{
  uint64_t *word = uma_symmetric(uma_alloc_symmetric(LINE), 0);
  if (uma_device() == 1) uma_st(word, UINT64_C(77)); /* and returns, which leaves the session */
  const uint64_t *memory = (const void *)(uma_self.memory + ((unsigned char *)word - (unsigned char *)uma_window(0, NULL)));
  while (uma_device() == 0 && __atomic_load_n(memory, __ATOMIC_ACQUIRE) != 77) usleep(100);
  return 0;
}

Test(line_cache, leaving_brings_everything_home)
{
  run_with((struct uma_config){0}, 2, leave);
}
