/* The spool's records, put in order, as a Chrome trace; the format stands in trace.h. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <uthash.h>

#include "coherence/trace.h"

enum { WIDEST_NS = 50 };

/* A message under way, by what it says; how many of its like were sent and received so far. */
struct arrow_key {
  uint64_t address;
  struct coh_message message;
  char padding[6];
};
_Static_assert(sizeof(struct arrow_key) == 24, "compared byte by byte");

struct arrow {
  struct arrow_key key;
  uint64_t id;
  uint32_t sent, received;
  UT_hash_handle hh;
};

struct writer {
  FILE *out;
  const struct coh_protocol *protocol;
  const struct coh_shape *shape; /* of the first domain; all have the same sizes */
  const unsigned char *spool;
  const struct coh_record **records;
  uint32_t *width_ns; /* of each record's slice */
  size_t count;
  uint64_t begin_ns, arrow_count;
  struct arrow *arrows;
  bool any;
};

/* ---- Reading the spool ------------------------------------------------------------------------------------------- */

static bool is_record(const struct coh_record *record, size_t left)
{
  return left >= sizeof *record && record->size >= sizeof *record && record->size <= left && record->size % 8 == 0 &&
         record->kind <= COH_RECORD_SUM;
}

/* By domain, and then by number. */
static int compare(const void *a, const void *b)
{
  const struct coh_record *x = *(const struct coh_record *const *)a, *y = *(const struct coh_record *const *)b;
  if (x->first != y->first) return x->first < y->first ? -1 : 1;
  return x->number < y->number ? -1 : x->number > y->number;
}

static int index_records(struct writer *w, size_t bytes)
{
  size_t at = 0, room = 0;
  for (; at < bytes && is_record((const void *)(w->spool + at), bytes - at); at += ((const struct coh_record *)(w->spool + at))->size) {
    if (w->count == room) {
      const struct coh_record **larger = realloc(w->records, (room = room ? 2 * room : 4096) * sizeof(void *));
      if (!larger) return -ENOMEM;
      w->records = larger;
    }
    w->records[w->count++] = (const struct coh_record *)(w->spool + at);
  }
  if (w->count) qsort(w->records, w->count, sizeof(void *), compare);
  return at == bytes ? 0 : -EIO;
}

static int home_of(const struct writer *w, uint64_t address)
{
  return w->shape->first + (int)((address - w->shape->base) / w->shape->window_bytes);
}

/* The device in whose process an event is drawn. */
static int place_of(const struct writer *w, const struct coh_record *record)
{
  if (record->kind == COH_RECORD_STEP && record->input.target >= 0) return record->input.target;
  if (record->kind == COH_RECORD_STEP) return home_of(w, record->address);
  return record->kind == COH_RECORD_TOUCH ? record->input.target : record->actor;
}

static bool is_at_home(const struct coh_record *record)
{
  return record->kind == COH_RECORD_STEP && record->input.target < 0;
}

/* Slices of one track do not overlap. */
static int measure_widths(struct writer *w)
{
  static const uint64_t never = UINT64_MAX;
  uint64_t *next_ns = malloc(2 * COH_MAX_DEVICES * sizeof *next_ns);
  w->width_ns = malloc((w->count + 1) * sizeof *w->width_ns);
  if (!next_ns || !w->width_ns) {
    free(next_ns);
    return -ENOMEM;
  }
  for (int i = 0; i < 2 * COH_MAX_DEVICES; i++) next_ns[i] = never;
  w->begin_ns = never;
  for (size_t i = w->count; i-- > 0;) {
    const struct coh_record *record = w->records[i];
    uint64_t *next = &next_ns[place_of(w, record) * 2 + is_at_home(record)];
    uint64_t gap = *next == never ? WIDEST_NS : *next > record->time_ns ? *next - record->time_ns : 1;
    w->width_ns[i] = gap < WIDEST_NS ? (uint32_t)gap : WIDEST_NS;
    *next = record->time_ns;
    if (record->time_ns < w->begin_ns) w->begin_ns = record->time_ns;
  }
  free(next_ns);
  return 0;
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

static void put_string(FILE *out, const char *text)
{
  json_t *string = json_string(text);
  if (!string) string = json_string("(not UTF-8)");
  json_dumpf(string, out, JSON_ENCODE_ANY);
  json_decref(string);
}

static void begin_event(struct writer *w, const char *phase, const char *category, int device, int thread, uint64_t time_ns)
{
  fprintf(w->out, "%s\n{\"ph\":\"%s\",\"cat\":\"%s\",\"pid\":%d,\"tid\":%d,\"ts\":%.3f", w->any ? "," : "", phase, category, device, thread,
          (double)(time_ns - w->begin_ns) / 1e3);
  w->any = true;
}

static void put_message(struct writer *w, const struct coh_message *message)
{
  fprintf(w->out, "[\"%s\",%d,%d,%d,%d]", w->protocol->messages[message->type].name, message->source, message->target, message->requestor,
          message->acks);
}

/* Counts the message as sent or received, and returns the number of its arrow; 0 for one that was never sent. */
static uint64_t follow(struct writer *w, uint64_t address, const struct coh_message *message, bool sent)
{
  struct arrow_key key;
  struct arrow *arrow;
  memset(&key, 0, sizeof key);
  key.address = address;
  key.message.type = message->type;
  key.message.acks = message->acks;
  key.message.source = message->source;
  key.message.target = message->target;
  key.message.requestor = message->requestor;
  HASH_FIND(hh, w->arrows, &key, sizeof key, arrow);
  if (!arrow) {
    arrow = calloc(1, sizeof *arrow);
    if (!arrow) return 0;
    arrow->key = key;
    arrow->id = ++w->arrow_count << 32;
    HASH_ADD(hh, w->arrows, key, sizeof key, arrow);
  }
  if (sent) return arrow->id + ++arrow->sent;
  return arrow->received < arrow->sent ? arrow->id + ++arrow->received : 0;
}

static void put_arrow(struct writer *w, const struct coh_record *record, const struct coh_message *message, bool sent)
{
  uint64_t id = follow(w, record->address, message, sent);
  if (!id) return;
  begin_event(w, sent ? "s" : "f", "message", place_of(w, record), is_at_home(record), record->time_ns);
  fprintf(w->out, ",\"name\":\"%s\",\"id\":%" PRIu64 "%s}", w->protocol->messages[message->type].name, id, sent ? "" : ",\"bp\":\"e\"");
}

static const struct coh_message *sends_of(const struct coh_record *record)
{
  return (const struct coh_message *)(record + 1);
}

static void put_step(struct writer *w, const struct coh_record *record, uint32_t width_ns)
{
  const struct coh_controller *controller = &w->protocol->controllers[is_at_home(record) ? COH_DIRECTORY : COH_CACHE];
  const char *event = record->event >= 0 ? controller->events[record->event].name : "?";
  begin_event(w, "X", "step", place_of(w, record), is_at_home(record), record->time_ns);
  fprintf(w->out, ",\"dur\":%.3f,\"name\":\"%s %s %s\",\"args\":{\"number\":%" PRIu64 ",\"line\":\"0x%" PRIx64 "\",\"by\":%d,\"input\":",
          (double)width_ns / 1e3, controller->states[record->from].name, event, controller->states[record->state].name, record->number,
          record->address, record->actor);
  put_message(w, &record->input);
  fprintf(w->out, ",\"event\":\"%s\",\"from\":\"%s\",\"state\":\"%s\",\"sends\":[", event, controller->states[record->from].name,
          controller->states[record->state].name);
  for (int i = 0; i < record->send_count; i++) {
    if (i) fputc(',', w->out);
    put_message(w, &sends_of(record)[i]);
  }
  fputc(']', w->out);
  if (record->bytes) fprintf(w->out, ",\"offset\":%u,\"bytes\":%" PRIu64, record->offset, record->bytes);
  if (record->miss) fprintf(w->out, ",\"miss\":\"%s\"", coh_miss_names[record->miss]);
  fputs("}}", w->out);
  if (record->input.type >= COH_FIRST_MESSAGE) put_arrow(w, record, &record->input, false);
  for (int i = 0; i < record->send_count; i++) put_arrow(w, record, &sends_of(record)[i], true);
}

static void put_touch(struct writer *w, const struct coh_record *record)
{
  begin_event(w, "i", "touch", record->input.target, 0, record->time_ns);
  fprintf(w->out,
          ",\"s\":\"t\",\"name\":\"touch\",\"args\":{\"line\":\"0x%" PRIx64 "\",\"access\":\"%s\",\"offset\":%u,\"bytes\":%" PRIu64 "}}",
          record->address, record->input.type == COH_STORE ? "store" : "load", record->offset, record->bytes);
}

static void put_sum(struct writer *w, const struct coh_record *record)
{
  const uint64_t *sums = (const uint64_t *)(record + 1);
  begin_event(w, "i", "sum", record->actor, 0, record->time_ns);
  fprintf(w->out,
          ",\"s\":\"t\",\"name\":\"sum\",\"args\":{\"line\":\"0x%" PRIx64 "\",\"loads\":%" PRIu64 ",\"stores\":%" PRIu64
          ",\"hits\":%" PRIu64 "}}",
          record->address, sums[COH_SUM_LOADS], sums[COH_SUM_STORES], sums[COH_SUM_HITS]);
}

static void put_block(struct writer *w, const struct coh_record *record)
{
  bool allocated = record->kind == COH_RECORD_ALLOC;
  begin_event(w, "i", allocated ? "alloc" : "free", record->actor, 0, record->time_ns);
  fprintf(w->out, ",\"s\":\"p\",\"name\":\"%s\",\"args\":{\"address\":\"0x%" PRIx64 "\"", allocated ? "alloc" : "free", record->address);
  if (allocated) {
    fprintf(w->out, ",\"bytes\":%" PRIu64 ",\"site\":", record->bytes);
    put_string(w->out, (const char *)(record + 1));
  }
  fputs("}}", w->out);
}

static void put_names(struct writer *w, struct coh_area *const *areas, int domains)
{
  for (int i = 0; i < domains; i++) {
    const struct coh_shape *shape = coh_area_shape(areas[i]);
    for (int d = shape->first; d < shape->first + shape->devices; d++) {
      fprintf(w->out, "%s\n{\"ph\":\"M\",\"pid\":%d,\"name\":\"process_name\",\"args\":{\"name\":\"device %d\"}}", w->any ? "," : "", d, d);
      w->any = true;
      for (int thread = 0; thread < 2; thread++)
        fprintf(w->out, ",\n{\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"name\":\"thread_name\",\"args\":{\"name\":\"%s\"}}", d, thread,
                thread ? "directory" : "cache");
    }
  }
}

static void put_all(struct writer *w, struct coh_area *const *areas, int domains)
{
  int devices = 0;
  for (int i = 0; i < domains; i++) devices += coh_area_shape(areas[i])->devices;
  fprintf(w->out,
          "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"version\":\"libuma 1\",\"devices\":%d,\"line_bytes\":%zu,\"base\":\"0x%zx\","
          "\"window_bytes\":%zu,\"sharers\":\"%s\",\"protocol\":\"%s\",\"text\":",
          devices, w->shape->line_bytes, (size_t)w->shape->base, w->shape->window_bytes, w->shape->sharers, w->protocol->name);
  put_string(w->out, coh_area_text(areas[0]));
  fputs("},\"traceEvents\":[", w->out);
  put_names(w, areas, domains);
  for (size_t i = 0; i < w->count; i++) {
    const struct coh_record *record = w->records[i];
    switch ((enum coh_record_kind)record->kind) {
    case COH_RECORD_STEP: put_step(w, record, w->width_ns[i]); break;
    case COH_RECORD_TOUCH: put_touch(w, record); break;
    case COH_RECORD_ALLOC:
    case COH_RECORD_FREE: put_block(w, record); break;
    case COH_RECORD_SUM: put_sum(w, record); break;
    }
  }
  fputs("\n]}\n", w->out);
}

static void free_arrows(struct writer *w)
{
  struct arrow *arrow = w->arrows, *following;
  HASH_CLEAR(hh, w->arrows); /* the table; the arrows are still a list */
  for (; arrow; arrow = following) {
    following = arrow->hh.next;
    free(arrow);
  }
}

int coh_trace_write(FILE *out, int spool, struct coh_area *const *areas, int domains)
{
  struct writer w = {.out = out, .protocol = coh_area_protocol(areas[0]), .shape = coh_area_shape(areas[0])};
  struct stat status;
  if (fstat(spool, &status)) return -errno;
  size_t bytes = (size_t)status.st_size;
  void *mapped = bytes ? mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, spool, 0) : NULL;
  if (mapped == MAP_FAILED) return -errno;
  w.spool = mapped;
  int damaged = index_records(&w, bytes), result = damaged == -ENOMEM ? damaged : measure_widths(&w);
  if (!result) put_all(&w, areas, domains);
  if (!result) result = damaged;
  free_arrows(&w);
  free(w.records);
  free(w.width_ns);
  if (bytes) munmap(mapped, bytes);
  return result;
}
