/* Lines of a trace into events: see trace_read.h. The first line is the head, up to where the list of events begins; the last is "]}". */
#include "uma/trace_read.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define VERSION "libuma 1"
#define EXPECTED "expected a file that `uma run --coherence line --trace FILE` wrote"

__attribute__((format(printf, 2, 3))) static int refuse(const struct uma_trace *trace, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "uma trace: %s", trace->path);
  if (trace->line_number > 1) fprintf(stderr, ":%lu", trace->line_number);
  fputs(": ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  return -EINVAL;
}

/* The next line without what ends it: its length, or a negative errno when the file ends before the list of events does. */
static ssize_t read_line(struct uma_trace *trace)
{
  errno = 0;
  ssize_t length = getline(&trace->text, &trace->room, trace->file);
  if (length < 0 && ferror(trace->file)) return refuse(trace, "cannot be read: %s", strerror(errno));
  trace->line_number++;
  if (length <= 0 || trace->text[length - 1] != '\n') return refuse(trace, "the file ends in the middle; its end is missing");
  length--;
  if (length && trace->text[length - 1] == ',') length--;
  trace->text[length] = 0;
  return length;
}

/* ---- The head ---------------------------------------------------------------------------------------------------- */

static int refuse_sizes(const struct uma_trace *trace, json_int_t devices, json_int_t line_bytes, json_int_t window_bytes)
{
  return refuse(trace,
                "otherData: %" JSON_INTEGER_FORMAT " devices, lines of %" JSON_INTEGER_FORMAT " bytes and windows of %" JSON_INTEGER_FORMAT
                " cannot be; " EXPECTED,
                devices, line_bytes, window_bytes);
}

static int read_sizes(struct uma_trace *trace, json_int_t devices, json_int_t line_bytes, json_int_t window_bytes, const char *base)
{
  char *end;
  trace->base = strtoull(base, &end, 16);
  bool is_line = line_bytes >= COH_LINE_LEAST && line_bytes <= COH_LINE_MOST && !(line_bytes & (line_bytes - 1));
  bool is_place = devices >= 1 && devices <= COH_MAX_DEVICES && window_bytes > 0 && window_bytes < (json_int_t)1 << 52;
  if (!is_line || !is_place || window_bytes % line_bytes) return refuse_sizes(trace, devices, line_bytes, window_bytes);
  if (end == base || *end || trace->base % (uint64_t)line_bytes || trace->base >> 62)
    return refuse(trace, "otherData: base: \"%s\" is no address of a window; " EXPECTED, base);
  trace->devices = (int)devices;
  trace->line_bytes = (size_t)line_bytes;
  trace->window_bytes = (size_t)window_bytes;
  return 0;
}

static int read_head(struct uma_trace *trace, json_t *root)
{
  const char *version = NULL, *base, *name, *text;
  json_int_t devices, line_bytes, window_bytes;
  json_error_t error;
  json_unpack(root, "{s:{s:s}}", "otherData", "version", &version);
  if (!version || strncmp(version, "libuma ", 7)) return refuse(trace, "is not a trace of libuma; " EXPECTED);
  if (strcmp(version, VERSION)) return refuse(trace, "its version is \"%s\"; this command reads \"" VERSION "\"", version);
  if (json_unpack_ex(root, &error, 0, "{s:{s:I,s:I,s:I,s:s,s:s,s:s}}", "otherData", "devices", &devices, "line_bytes", &line_bytes,
                     "window_bytes", &window_bytes, "base", &base, "protocol", &name, "text", &text))
    return refuse(trace, "otherData: %s", error.text);
  int result = read_sizes(trace, devices, line_bytes, window_bytes, base);
  if (result) return result;
  trace->protocol = malloc(sizeof *trace->protocol);
  if (!trace->protocol) return -ENOMEM;
  return coh_protocol_parse(text, name, trace->protocol, stderr) ? refuse(trace, "its protocol is not valid") : 0;
}

/* The head alone becomes a whole by closing what it opens. */
static int parse_head(struct uma_trace *trace)
{
  ssize_t length = getline(&trace->text, &trace->room, trace->file);
  if (length < 0) return refuse(trace, "cannot be read: %s", strerror(errno));
  trace->line_number = 1;
  while (length && isspace((unsigned char)trace->text[length - 1])) length--;
  char *whole = NULL;
  if (asprintf(&whole, "%.*s]}", (int)length, trace->text) < 0) return -ENOMEM;
  json_t *root = json_loads(whole, 0, NULL);
  free(whole);
  int result = root ? read_head(trace, root) : refuse(trace, "is not a trace of libuma, one event a line; " EXPECTED);
  json_decref(root);
  return result;
}

int uma_trace_open(struct uma_trace *trace, const char *path)
{
  memset(trace, 0, sizeof *trace);
  trace->path = path;
  trace->file = fopen(path, "r");
  if (!trace->file) return refuse(trace, "cannot be read: %s", strerror(errno));
  int first = getc(trace->file), result;
  if (first == EOF)
    result = ferror(trace->file) ? refuse(trace, "cannot be read: %s", strerror(errno)) : refuse(trace, "is empty; " EXPECTED);
  else if (first != '{') result = refuse(trace, "is not JSON; " EXPECTED);
  else result = ungetc(first, trace->file) == EOF ? -EIO : parse_head(trace);
  if (result) uma_trace_close(trace);
  return result;
}

void uma_trace_close(struct uma_trace *trace)
{
  fclose(trace->file);
  free(trace->text);
  free(trace->protocol);
}

/* ---- Names and numbers ------------------------------------------------------------------------------------------- */

/* Names lie within structs of `stride` bytes. The number of the one that is `name`, or -1. */
static int look_up(const char *names, size_t stride, int count, const char *name)
{
  for (int i = 0; i < count; i++)
    if (!strcmp(names + (size_t)i * stride, name)) return i;
  return -1;
}

static int read_state(const struct uma_trace *trace, const struct coh_controller *controller, const char *name, uint8_t *state)
{
  int found = look_up(controller->states[0].name, sizeof controller->states[0], controller->state_count, name);
  if (found < 0) return refuse(trace, "\"%s\" is no state of this controller in %s", name, trace->protocol->name);
  *state = (uint8_t)found;
  return 0;
}

static int read_event_name(const struct uma_trace *trace, const struct coh_controller *controller, const char *name, int8_t *event)
{
  int found = look_up(controller->events[0].name, sizeof controller->events[0], controller->event_count, name);
  if (found < 0 && strcmp(name, "?")) return refuse(trace, "\"%s\" is no event of this controller in %s", name, trace->protocol->name);
  *event = (int8_t)found;
  return 0;
}

static int read_miss(const struct uma_trace *trace, const char *name, enum coh_miss *miss)
{
  *miss = COH_NO_MISS;
  while (*miss < COH_MISS_UPGRADE && strcmp(coh_miss_names[*miss], name)) ++*miss;
  return strcmp(coh_miss_names[*miss], name) ? refuse(trace, "\"%s\" is no kind of miss", name) : 0;
}

static bool is_device(const struct uma_trace *trace, json_int_t device)
{
  return device >= 0 && device < trace->devices;
}

static int read_message(const struct uma_trace *trace, json_t *array, struct coh_message *message)
{
  const char *name;
  json_int_t source, target, requestor, acks;
  json_error_t error;
  if (json_unpack_ex(array, &error, 0, "[s,I,I,I,I!]", &name, &source, &target, &requestor, &acks))
    return refuse(trace, "a message: %s", error.text);
  int type = look_up(trace->protocol->messages[0].name, sizeof trace->protocol->messages[0], trace->protocol->message_count, name);
  if (type < 0) return refuse(trace, "\"%s\" is no message of %s", name, trace->protocol->name);
  bool known = (source == COH_HOME || is_device(trace, source)) && (target == COH_HOME || is_device(trace, target)) &&
               (requestor == COH_NOBODY || is_device(trace, requestor));
  if (!known || acks < -COH_MAX_DEVICES || acks > COH_MAX_DEVICES)
    return refuse(trace, "%s: from, to, requestor or acks is not valid; expected devices 0 to %d, or -1 for the home", name,
                  trace->devices - 1);
  *message = (struct coh_message){(uint8_t)type, (int16_t)acks, (int16_t)source, (int16_t)target, (int16_t)requestor};
  return 0;
}

static int read_address(struct uma_trace *trace, const char *text)
{
  char *end;
  trace->event.address = strtoull(text, &end, 16);
  if (*end || !uma_trace_in_windows(trace, trace->event.address)) return refuse(trace, "%s: the address lies in no window", text);
  return 0;
}

static int read_line_address(struct uma_trace *trace, const char *text)
{
  int result = read_address(trace, text);
  if (!result && (trace->event.address - trace->base) % trace->line_bytes) result = refuse(trace, "%s: no line begins there", text);
  return result;
}

static int read_access(struct uma_trace *trace, json_int_t offset, json_int_t bytes)
{
  json_int_t line = (json_int_t)trace->line_bytes;
  if (offset < 0 || bytes < 0 || offset > line || bytes > line - offset)
    return refuse(trace, "bytes %" JSON_INTEGER_FORMAT " from offset %" JSON_INTEGER_FORMAT " on do not lie in a line of %zu", bytes,
                  offset, trace->line_bytes);
  trace->event.offset = (uint32_t)offset;
  trace->event.bytes = (uint64_t)bytes;
  return 0;
}

/* ---- Events ------------------------------------------------------------------------------------------------------ */

static int read_sends(struct uma_trace *trace, json_t *sends)
{
  size_t count = json_array_size(sends);
  if (count > UMA_TRACE_SENDS) return refuse(trace, "%zu messages in one step are too many", count);
  int result = 0;
  for (size_t i = 0; i < count && !result; i++) result = read_message(trace, json_array_get(sends, i), &trace->sends[i]);
  for (size_t i = 0; i < count && !result; i++)
    if (trace->sends[i].type < COH_FIRST_MESSAGE) result = refuse(trace, "an access is no message");
  trace->event.send_count = (int)count;
  return result;
}

static int read_step(struct uma_trace *trace, json_t *args)
{
  struct uma_trace_event *event = &trace->event;
  const char *line, *name, *from, *state, *miss = "";
  json_int_t offset = 0, bytes = 0;
  json_t *input, *sends;
  json_error_t error;
  if (json_unpack_ex(args, &error, 0, "{s:s,s:i,s:o,s:s,s:s,s:s,s:o,s?I,s?I,s?s}", "line", &line, "by", &event->device, "input", &input,
                     "event", &name, "from", &from, "state", &state, "sends", &sends, "offset", &offset, "bytes", &bytes, "miss", &miss))
    return refuse(trace, "a step: %s", error.text);
  int result = read_line_address(trace, line);
  if (!result) result = read_message(trace, input, &event->input);
  if (result) return result;
  if (event->input.type < COH_FIRST_MESSAGE && event->input.target < 0) return refuse(trace, "an access goes to a cache, not to the home");
  const struct coh_controller *controller = &trace->protocol->controllers[event->input.target < 0 ? COH_DIRECTORY : COH_CACHE];
  result = read_event_name(trace, controller, name, &event->event);
  if (!result) result = read_state(trace, controller, from, &event->from);
  if (!result) result = read_state(trace, controller, state, &event->state);
  if (!result) result = read_miss(trace, miss, &event->miss);
  if (!result) result = read_access(trace, offset, bytes);
  return result ? result : read_sends(trace, sends);
}

static int read_touch(struct uma_trace *trace, json_t *args)
{
  const char *line, *access;
  json_int_t offset, bytes;
  json_error_t error;
  if (json_unpack_ex(args, &error, 0, "{s:s,s:s,s:I,s:I}", "line", &line, "access", &access, "offset", &offset, "bytes", &bytes))
    return refuse(trace, "a touch: %s", error.text);
  if (strcmp(access, "load") && strcmp(access, "store")) return refuse(trace, "access: \"%s\" is neither load nor store", access);
  trace->event.input = coh_access(strcmp(access, "store") ? COH_LOAD : COH_STORE, trace->event.device);
  int result = read_line_address(trace, line);
  return result ? result : read_access(trace, offset, bytes);
}

static int read_sum(struct uma_trace *trace, json_t *args)
{
  const char *line;
  json_int_t sums[COH_SUMS];
  json_error_t error;
  if (json_unpack_ex(args, &error, 0, "{s:s,s:I,s:I,s:I}", "line", &line, "loads", &sums[COH_SUM_LOADS], "stores", &sums[COH_SUM_STORES],
                     "hits", &sums[COH_SUM_HITS]))
    return refuse(trace, "a sum: %s", error.text);
  for (int i = 0; i < COH_SUMS; i++) {
    if (sums[i] < 0) return refuse(trace, "a sum of %" JSON_INTEGER_FORMAT " is not valid; expected 0 or more", sums[i]);
    trace->event.sums[i] = (uint64_t)sums[i];
  }
  return read_line_address(trace, line);
}

static int read_block(struct uma_trace *trace, json_t *args)
{
  const char *address, *site = "";
  json_int_t bytes = 0;
  json_error_t error;
  bool allocated = trace->event.kind == UMA_TRACE_ALLOC;
  if (json_unpack_ex(args, &error, 0, allocated ? "{s:s,s:I,s:s}" : "{s:s,s?I,s?s}", "address", &address, "bytes", &bytes, "site", &site))
    return refuse(trace, "a block: %s", error.text);
  int result = read_address(trace, address);
  if (result) return result;
  if (bytes < 0 || (uint64_t)bytes > trace->base + (uint64_t)trace->devices * trace->window_bytes - trace->event.address)
    return refuse(trace, "a block of %" JSON_INTEGER_FORMAT " bytes at %s is larger than the windows", bytes, address);
  trace->event.bytes = (uint64_t)bytes;
  snprintf(trace->event.site, sizeof trace->event.site, "%s", site);
  for (char *c = trace->event.site; *c; c++)
    if (iscntrl((unsigned char)*c)) *c = '?'; /* it is printed to terminals */
  return 0;
}

static int read_event(struct uma_trace *trace, json_t *root)
{
  static const char *const categories[] = {"step", "touch", "alloc", "free", "sum"};
  const char *category = "";
  json_t *args = NULL;
  json_error_t error;
  json_unpack(root, "{s:s}", "cat", &category);
  for (int kind = 0; kind <= UMA_TRACE_SUM; kind++) {
    if (strcmp(category, categories[kind])) continue;
    trace->event = (struct uma_trace_event){.kind = (enum uma_trace_kind)kind, .event = -1};
    if (json_unpack_ex(root, &error, 0, "{s:F,s:i,s:o}", "ts", &trace->event.time_us, "pid", &trace->event.device, "args", &args))
      return refuse(trace, "an event: %s", error.text);
    int result = kind == UMA_TRACE_STEP    ? read_step(trace, args)
                 : kind == UMA_TRACE_TOUCH ? read_touch(trace, args)
                 : kind == UMA_TRACE_SUM   ? read_sum(trace, args)
                                           : read_block(trace, args);
    if (!result && !is_device(trace, trace->event.device))
      result = refuse(trace, "device %d is not valid; expected 0 to %d", trace->event.device, trace->devices - 1);
    return result ? result : 1;
  }
  return 0;
}

/* Arrows say nothing that steps do not, and are half of the lines: they are told by their beginning. */
static bool is_arrow(const char *text)
{
  return !strncmp(text, "{\"ph\":\"s\"", 9) || !strncmp(text, "{\"ph\":\"f\"", 9);
}

int uma_trace_next(struct uma_trace *trace)
{
  for (int result = 0;;) {
    ssize_t length = read_line(trace);
    if (length < 0) return (int)length;
    if (!strcmp(trace->text, "]}")) return 0;
    if (is_arrow(trace->text)) continue;
    json_t *root = json_loadb(trace->text, (size_t)length, 0, NULL);
    result = root ? read_event(trace, root) : refuse(trace, "is not JSON; expected one event a line");
    json_decref(root);
    if (result) return result;
  }
}
