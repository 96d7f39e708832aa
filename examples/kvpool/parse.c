/* Reads a trace in the Mooncake format: one JSON object a line,
 *
 *     {"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, 2353, 2354]}
 *
 * The replay needs hash_ids only; the other three must be there all the same, because a file without them is not a trace of
 * this format and its ids may mean something else. Further members are ignored. The first line that is not
 * of this form ends the reading with file:line and what was expected.
 */
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "examples/kvpool/trace.h"

struct place {
  const char *path;
  size_t line;
  char *error;
  size_t error_bytes;
};

static int __attribute__((format(printf, 2, 3))) broken(const struct place *place, const char *format, ...)
{
  int used = snprintf(place->error, place->error_bytes, "%s:%zu: ", place->path, place->line);
  va_list list;
  va_start(list, format);
  if (used >= 0 && (size_t)used < place->error_bytes) vsnprintf(place->error + used, place->error_bytes - (size_t)used, format, list);
  va_end(list);
  return -EINVAL;
}

static int check_number(const struct place *place, const json_t *request, const char *name)
{
  const json_t *value = json_object_get(request, name);
  if (!value) return broken(place, "\"%s\" is missing, expected a number of 0 or more", name);
  if (!json_is_number(value) || json_number_value(value) < 0) return broken(place, "\"%s\" is not a number of 0 or more", name);
  return 0;
}

static int add_ids(const struct place *place, const json_t *array, struct kv_draft *draft)
{
  if (!json_is_array(array)) return broken(place, "\"hash_ids\" is %s, expected an array of whole numbers", array ? "no array" : "missing");
  size_t count = json_array_size(array);
  uint64_t *ids = calloc(count + 1, sizeof *ids);
  int error = 0;
  if (!ids) return broken(place, "no memory for %zu block ids", count);
  for (size_t i = 0; i < count && !error; i++) {
    const json_t *id = json_array_get(array, i);
    if (!json_is_integer(id) || json_integer_value(id) < 0) error = broken(place, "hash_ids[%zu] is not a whole number of 0 or more", i);
    else ids[i] = (uint64_t)json_integer_value(id);
  }
  if (!error && kv_draft_add(draft, ids, count)) error = broken(place, "no memory for one more request");
  free(ids);
  return error;
}

static int add_object(const struct place *place, const json_t *request, struct kv_draft *draft)
{
  static const char *const numbers[] = {"timestamp", "input_length", "output_length"};
  if (!json_is_object(request)) return broken(place, "expected a JSON object with timestamp, input_length, output_length and hash_ids");
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    int error = check_number(place, request, numbers[i]);
    if (error) return error;
  }
  return add_ids(place, json_object_get(request, "hash_ids"), draft);
}

static int add_line(const struct place *place, const char *line, size_t bytes, struct kv_draft *draft)
{
  json_error_t wrong;
  json_t *request = json_loadb(line, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &wrong);
  if (!request) return broken(place, "column %d: %s; expected one JSON object on the line", wrong.column, wrong.text);
  int error = add_object(place, request, draft);
  json_decref(request);
  return error;
}

static int add_lines(FILE *file, struct place *place, size_t limit, struct kv_draft *draft)
{
  char *line = NULL;
  size_t room = 0;
  ssize_t bytes;
  int error = 0;
  while (!error && draft->requests < limit && (bytes = getline(&line, &room, file)) >= 0) {
    error = add_line(place, line, (size_t)bytes, draft);
    if (!error) place->line++;
  }
  free(line);
  return error;
}

int kv_parse(const char *path, size_t limit, struct kv_draft *draft, char *error, size_t error_bytes)
{
  struct place place = {.path = path, .line = 1, .error = error, .error_bytes = error_bytes};
  FILE *file = fopen(path, "r");
  if (!file) {
    snprintf(error, error_bytes, "cannot open the trace %s: %s", path, strerror(errno));
    return -EINVAL;
  }
  int result = add_lines(file, &place, limit, draft);
  if (!result && ferror(file)) result = broken(&place, "cannot read on: %s", strerror(errno));
  else if (!result && !draft->requests) result = broken(&place, "the file is empty, expected one JSON object a line");
  fclose(file);
  return result;
}
