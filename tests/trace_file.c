/* The trace that a session writes: it is JSON, every arrow that ends began, and what a controller receives was sent to it before. */
#include <jansson.h>
#include <uthash.h>

#include "tests/traced.h"

/* What was sent and not received yet, by what it says. */
struct sent {
  char key[160];
  int count;
  UT_hash_handle hh;
};

static void send(struct sent **all, const char *key)
{
  struct sent *found;
  HASH_FIND_STR(*all, key, found);
  if (!found) {
    found = calloc(1, sizeof *found);
    snprintf(found->key, sizeof found->key, "%s", key);
    HASH_ADD_STR(*all, key, found);
  }
  found->count++;
}

static bool receive(struct sent **all, const char *key)
{
  struct sent *found;
  HASH_FIND_STR(*all, key, found);
  return found && found->count-- > 0;
}

static int forget(struct sent **all)
{
  struct sent *one, *following;
  int left = 0;
  HASH_ITER(hh, *all, one, following)
  {
    left += one->count;
    HASH_DEL(*all, one);
    free(one);
  }
  return left;
}

static const char *text_of(const json_t *object, const char *name)
{
  const char *text = json_string_value(json_object_get(object, name));
  return text ? text : "";
}

static void key_of(char key[160], const char *line, const json_t *message)
{
  char *text = json_dumps(message, JSON_COMPACT);
  snprintf(key, 160, "%s %s", line, text);
  free(text);
}

/* An access goes from a cache to itself: no message. */
static bool is_access(const json_t *message)
{
  const char *name = json_string_value(json_array_get(message, 0));
  return !strcmp(name, "load") || !strcmp(name, "store") || !strcmp(name, "evict");
}

static void follow_step(struct sent **messages, const json_t *event)
{
  const json_t *args = json_object_get(event, "args"), *input = json_object_get(args, "input"), *sends = json_object_get(args, "sends");
  const char *line = text_of(args, "line");
  char key[160];
  json_t *message;
  size_t i;
  key_of(key, line, input);
  if (!is_access(input)) cr_expect(receive(messages, key), "received, but never sent: %s", key);
  json_array_foreach(sends, i, message)
  {
    key_of(key, line, message);
    send(messages, key);
  }
}

static void follow_arrow(struct sent **arrows, const json_t *event)
{
  char key[160];
  snprintf(key, sizeof key, "%s %" JSON_INTEGER_FORMAT, text_of(event, "name"), json_integer_value(json_object_get(event, "id")));
  if (!strcmp(text_of(event, "ph"), "s")) send(arrows, key);
  else cr_expect(receive(arrows, key), "an arrow ends that did not begin: %s", key);
}

Test(trace_file, every_message_is_sent_and_received)
{
  struct traced_session *session = traced_begin();
  struct sent *messages = NULL, *arrows = NULL;
  json_error_t error;
  json_t *event, *root = json_load_file(session->path, 0, &error);
  size_t i, steps = 0;
  cr_assert(root, "line %d: %s", error.line, error.text);
  json_array_foreach(json_object_get(root, "traceEvents"), i, event)
  {
    const char *category = text_of(event, "cat");
    if (!strcmp(category, "message")) follow_arrow(&arrows, event);
    if (strcmp(category, "step")) continue;
    follow_step(&messages, event);
    steps++;
  }
  cr_expect_gt(steps, 0);
  cr_expect_eq(forget(&messages), 0, "all that is sent is received when the session ends in order");
  cr_expect_eq(forget(&arrows), 0);
  json_decref(root);
  traced_end(session);
}
