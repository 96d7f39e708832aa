/* What it costs that memory is on another host: misses of the coherent caches there, barrier, message and all-reduce, each beside the same
 * messages by bare libfabric (bare_link.h). Two hosts of one device each, over loopback; protocol MESI.
 *
 *   ofi.miss.read       home has the line clean, and nobody has a copy: GetS, Data-E, Unblock
 *   ofi.miss.write      the same, a store: GetM, Data, Unblock
 *   ofi.upgrade         a store to a line that both have for reading: GetM, Data and Inv-Ack, Unblock
 *   ofi.turn.read       home's own cache has it modified; what that says to its home stays on the host: GetS, Data, Unblock
 *   ofi.turn.write      the same, a store: GetM, Data, Unblock
 *   ofi.page.*          the same of pages of 4 KiB to 2 MiB
 *   ofi.fault.*         what a page's miss needs besides: that fault served by bare kernel operations (bare.h)
 *
 * Device 0 accesses, device 1 is home. A message is a header of 64 B, with the line behind it in an answer that has data; a page of more than 4 KiB
 * is written to where it is wanted, from where it lies, and the header follows (of 64 KiB that takes 21 us, as one message or as one that is fetched
 * 31 us, in pieces of 16 KiB 32 us). The last message (Unblock) is not waited for, but sent and received in both. Where home has the page modified,
 * it takes it from itself by bare kernel operations, too. What has come is filled in from where it came to.
 */
#include "bench/harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bare.h"
#include "bench/bare_link.h"
#include "bench/lines.h"

#define PROTOCOL "mesi"
#define HEADER ((size_t)64)
#define SHORT_PAGE (4 * KiB) /* rides in the message */
#define MEMORY (16 * MiB)    /* of all lines, at most */
enum { LINES = 64, WARM_UPS = 8 };

static const size_t page_sizes[] = {SHORT_PAGE, 16 * KiB, 64 * KiB, 2 * MiB};
enum { PAGE_SIZES = sizeof page_sizes / sizeof page_sizes[0] };

/* Who has the lines when device 0 comes. */
enum owner { NOBODY, BOTH, HOME };

struct miss {
  const char *bench, *page_bench;
  bool stores;
  enum owner owner;
  const char *fault_bench;
  enum bare_deed deed;
};
static const struct miss misses[] = {
    {"ofi.miss.read", "ofi.page.read", false, NOBODY, "ofi.fault.read", BARE_READ},
    {"ofi.miss.write", "ofi.page.write", true, NOBODY, "ofi.fault.write", BARE_WRITE},
    {"ofi.upgrade", "ofi.page.upgrade", true, BOTH, "ofi.fault.upgrade", BARE_UPGRADE},
    {"ofi.turn.read", "ofi.page.turn.read", false, HOME, "ofi.fault.read", BARE_READ},
    {"ofi.turn.write", "ofi.page.turn.write", true, HOME, "ofi.fault.write", BARE_WRITE},
};
enum { MISSES = sizeof misses / sizeof misses[0] };

/* Shared by both devices. */
struct meeting {
  struct bare_contact contacts[2];
  unsigned char *windows[2]; /* of one line each */
  struct bare bare;
  bool paged;
  size_t line_bytes, line_count;
};

struct lab {
  const struct miss *miss;
  const struct lines *lines;
  uint64_t *written; /* the value that all lines hold */
  struct bare_link *link;
  struct bare *bare;
  unsigned char *memory; /* lines for the bare loop */
  int answers;           /* of it */
};

/* ---- misses */

static void store_all(struct lab *lab)
{
  size_t line = 0;
  for (size_t i = 0; i < lab->lines->count; i++, line = lines_next(lab->lines, line)) uma_st(lines_word(lab->lines, line), *lab->written);
}

static void load_all(const struct lab *lab)
{
  size_t wrong = 0, line = 0;
  for (size_t i = 0; i < lab->lines->count; i++, line = lines_next(lab->lines, line))
    wrong += uma_ld(lines_word(lab->lines, line)) != *lab->written;
  bench_require(!wrong, "%s: %zu of %zu lines do not hold what was written last", lab->miss->bench, wrong, lab->lines->count);
}

static void prepare(void *context)
{
  struct lab *lab = context;
  bool home = uma_device() == 1;
  bench_flush();
  bench_barrier();
  ++*lab->written;
  if (home) store_all(lab);
  if (home && lab->miss->owner != HOME) bench_flush();
  bench_barrier();
  if (lab->miss->owner == BOTH) load_all(lab);
  if (lab->miss->stores) ++*lab->written;
}

static void make(void *context, long count)
{
  struct lab *lab = context;
  if (uma_device()) return;
  if (lab->miss->stores) store_all(lab);
  else load_all(lab);
}

/* ---- the same messages, bare */

static unsigned char message[HEADER + SHORT_PAGE];

static void ask(struct lab *lab)
{
  bare_send(lab->link, message, HEADER);
  for (int i = 0; i < lab->answers; i++) bare_receive(lab->link);
  bare_send(lab->link, message, HEADER);
}

/* About the line at byte `at` of the memory, or the page there of the bare window. */
static void reply(struct lab *lab, size_t at)
{
  size_t bytes = lab->lines->bytes;
  bool is_short = bytes <= SHORT_PAGE, is_taken = lab->bare && lab->miss->owner == HOME;
  unsigned char *data = is_short ? message + HEADER : is_taken ? lab->memory : lab->memory + at;
  bare_receive(lab->link);
  if (is_taken) (lab->miss->stores ? bare_yield : bare_share)(lab->bare, at, data);
  if (lab->answers > 1) bare_send(lab->link, message, HEADER);
  if (!is_short) bare_write(lab->link, data, bytes);
  bare_send(lab->link, message, is_short ? HEADER + bytes : HEADER);
  bare_receive(lab->link);
}

static void trips(void *context, long count)
{
  struct lab *lab = context;
  for (size_t i = 0, line = 0; i < lab->lines->count; i++, line = lines_next(lab->lines, line))
    if (uma_device()) reply(lab, line * lab->lines->bytes);
    else ask(lab);
  bare_settle(lab->link);
}

/* Every page once, faults served like this. */
static void touch_bare(const struct lab *lab, enum bare_deed deed)
{
  const struct lines lines = {lab->bare->window, lab->lines->count, lab->lines->bytes};
  size_t page = 0, wrong = 0;
  bare_serve(lab->bare, deed);
  for (size_t i = 0; i < lines.count; i++, page = lines_next(&lines, page)) {
    unsigned char *byte = lines.first + page * lines.bytes;
    if (deed == BARE_READ) wrong += *byte != 1;
    else *byte = 1;
  }
  bare_rest();
  bench_require(!wrong, "%zu of %zu bare pages do not hold what their home does", wrong, lines.count);
}

static void prepare_trips(void *context)
{
  const struct lab *lab = context;
  if (!lab->bare || lab->miss->owner != HOME) return;
  bare_drop(lab->bare);
  if (uma_device()) touch_bare(lab, BARE_WRITE);
}

static void prepare_fault(void *context)
{
  const struct lab *lab = context;
  bare_drop(lab->bare);
  if (!uma_device()) memset(lab->bare->home, 1, lab->bare->home_bytes);
  bench_barrier();
  if (!uma_device() && lab->miss->deed == BARE_UPGRADE) touch_bare(lab, BARE_READ);
}

static void fault(void *context, long count)
{
  const struct lab *lab = context;
  if (!uma_device()) touch_bare(lab, lab->miss->deed);
}

/* ---- cases */

static struct bench_variant variant(const char *bench, const char *path, struct lab *lab)
{
  bool raw = !strcmp(path, "raw");
  return (struct bench_variant){.bench = bench,
                                .path = path,
                                .mode = raw ? "-" : NULL,
                                .bytes = lab->lines->bytes,
                                .metrics = BENCH_LATENCY,
                                .operations = (double)lab->lines->count,
                                .prepare = raw ? prepare_trips : prepare,
                                .step = raw ? trips : make,
                                .context = lab};
}

static void compare_miss(struct lab *lab, const char *bench, const char *path)
{
  struct bench_variant variants[] = {variant(bench, path, lab), variant(bench, "raw", lab), variant(lab->miss->fault_bench, "raw", lab)};
  variants[2].prepare = prepare_fault;
  variants[2].step = fault;
  bench_compare(variants, lab->bare ? 3 : 2);
  bench_barrier();
  load_all(lab);
}

/* Connections are made by the first messages. */
static void warm_up(struct lab *lab)
{
  lab->miss = &misses[0];
  for (int i = 0; i < WARM_UPS; i++) {
    prepare(lab);
    bench_barrier();
    make(lab, 1);
    bench_barrier();
  }
}

static void miss_body(void *context)
{
  struct meeting *meeting = context;
  struct bare bare = meeting->bare;
  struct bare_link link;
  size_t bytes = meeting->line_bytes, count = meeting->line_count;
  struct lines lines = {lines_memory(count * bytes, bytes), count, bytes};
  struct lab lab = {.lines = &lines, .written = &(uint64_t){0}, .link = &link, .bare = meeting->paged ? &bare : NULL};
  lab.memory = malloc(count * bytes);
  bench_require(lab.memory, "no memory for %zu lines of %zu B", count, bytes);
  memset(lab.memory, 1, count * bytes); /* or all of it would be one page of zeros */
  if (meeting->paged) bare_join(&bare);
  bare_link_open(&link, FI_WAIT_FD, meeting->windows[uma_device()], bytes, meeting->contacts);
  bare_listen(&link);
  bench_barrier();
  warm_up(&lab);
  for (int i = 0; i < MISSES; i++) {
    lab.miss = &misses[i];
    lab.answers = misses[i].owner == BOTH ? 2 : 1;
    compare_miss(&lab, meeting->paged ? misses[i].page_bench : misses[i].bench, meeting->paged ? "page" : "line");
  }
  bench_barrier();
  bare_link_close(&link);
  free(lab.memory);
}

static const struct bench_session two_hosts = {
    .devices = 2, .mode = UMA_MODE_SUPERNODE, .hosts = 2, .memory = 2 * MEMORY, .protocol = PROTOCOL};

static int run_with(const struct bench_session *session, void (*body)(void *))
{
  size_t bytes = session->paged ? session->page : 64;
  struct meeting *meeting = bench_map(sizeof *meeting);
  unsigned char *windows = bench_map(2 * bytes);
  int result = meeting && windows ? 0 : -EIO;
  if (!result) {
    *meeting = (struct meeting){.windows = {windows, windows + bytes}, .paged = session->paged, .line_bytes = bytes};
    meeting->line_count = LINES * bytes <= MEMORY ? LINES : MEMORY / bytes;
    result = session->paged ? bare_open(&meeting->bare, bytes, meeting->line_count) : 0;
    meeting->bare.home_bytes = bytes;
    if (!result) result = bench_spawn(session, body, meeting);
    if (session->paged) bare_close(&meeting->bare);
  }
  bench_unmap(windows, 2 * bytes);
  bench_unmap(meeting, sizeof *meeting);
  return result;
}

static int run_miss(void)
{
  return run_with(&two_hosts, miss_body);
}

static int run_page(void)
{
  struct bench_session session = two_hosts;
  int result = 0;
  session.paged = true;
  for (int i = 0; i < PAGE_SIZES && !result && bare_allowed(false); i++) {
    session.page = page_sizes[i];
    result = run_with(&session, miss_body);
  }
  return result;
}

/* ---- what is said between hosts without windows */

struct talk {
  struct bare_link *link;
  size_t bytes; /* of the bare messages, without header */
};

static void meet(void *context, long count)
{
  for (long i = 0; i < count; i++) bench_barrier();
}

static void pass_message(void *context, long count)
{
  uint64_t word = 7;
  struct uma_status status;
  for (long i = 0; i < count; i++) {
    if (!uma_device()) bench_check(uma_send(1, 1, &word, sizeof word), "uma_send");
    bench_check(uma_recv(1 - uma_device(), 1, &word, sizeof word, &status), "uma_recv");
    if (uma_device()) bench_check(uma_send(0, 1, &word, sizeof word), "uma_send");
  }
  bench_require(word == 7, "a message of 8 B came changed");
}

static void add_up(void *context, long count)
{
  double own = uma_device() + 1, sum = 0;
  for (long i = 0; i < count; i++) bench_check(uma_allreduce(&sum, &own, 1, UMA_FLOAT64, UMA_SUM), "uma_allreduce");
  bench_require(!count || sum == 3, "1 and 2 make %g", sum);
}

static void pass_bare(void *context, long count)
{
  struct talk *talk = context;
  for (long i = 0; i < count; i++) {
    if (!uma_device()) bare_send(talk->link, message, HEADER + talk->bytes);
    bare_receive(talk->link);
    if (uma_device()) bare_send(talk->link, message, HEADER + talk->bytes);
  }
  bare_settle(talk->link);
}

/* Both send, then both wait. */
static void exchange_bare(void *context, long count)
{
  struct talk *talk = context;
  for (long i = 0; i < count; i++) {
    bare_send(talk->link, message, HEADER + talk->bytes);
    bare_receive(talk->link);
  }
  bare_settle(talk->link);
}

static void talk_body(void *context)
{
  struct meeting *meeting = context;
  struct bare_link link;
  struct talk byte = {&link, 1}, word = {&link, 8};
  bare_link_open(&link, FI_WAIT_FD, meeting->windows[uma_device()], meeting->line_bytes, meeting->contacts);
  bare_listen(&link);
  const struct bench_variant variants[] = {
      {"ofi.barrier", "message", NULL, 0, BENCH_LATENCY, 1, NULL, meet, NULL, NULL},
      {"ofi.barrier", "raw", "-", 0, BENCH_LATENCY, 1, NULL, exchange_bare, &byte, NULL},
      {"ofi.message", "message", NULL, 8, BENCH_LATENCY, 2, NULL, pass_message, NULL, NULL},
      {"ofi.message", "raw", "-", 8, BENCH_LATENCY, 2, NULL, pass_bare, &word, NULL},
      {"ofi.allreduce", "message", NULL, 8, BENCH_LATENCY, 1, NULL, add_up, NULL, NULL},
      {"ofi.allreduce", "raw", "-", 8, BENCH_LATENCY, 1, NULL, exchange_bare, &word, NULL},
  };
  bench_barrier();
  bench_compare(variants, sizeof variants / sizeof variants[0]);
  bench_barrier();
  bare_link_close(&link);
}

static int run_talk(void)
{
  return run_with(&two_hosts, talk_body);
}

const struct bench_case bench_hosts_cases[] = {
    {"ofi.miss", "a line of another host: read, written, upgraded, taken; beside the same messages by bare libfabric", run_miss},
    {"ofi.page", "the same of pages of 4 KiB to 2 MiB; beside the messages and a bare fault", run_page},
    {"ofi.talk", "barrier, message and all-reduce between two hosts; beside bare libfabric", run_talk},
    {NULL, NULL, NULL},
};
