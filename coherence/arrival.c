/* What comes by the wire: whether it may, and what of it has to wait.
 *
 * A message that stalls is parked, and tried again whenever somebody receives (coh_retry). The list is under parked_mutex, which is held for its
 * links only: who tries takes the whole list, so two threads never have the same message, and what stalls again is parked anew. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coherence/engine.h"

struct coh_parked {
  struct coh_parked *next;
  uint64_t line;
  struct coh_message message;
  bool has_data, timed;
  struct coh_stamp stamp;
  unsigned char data[];
};

/* ---- What may come ----------------------------------------------------------------------------------------------- */

static bool is_device(const struct coh_engine *engine, int device)
{
  return device >= 0 && device < engine->shape.devices;
}

/* A request is what a device's own access sends, and here that goes by no wire. One that came all the same would keep a directory at work for a
 * device that never asked, and whose next access would wait for itself. */
static bool is_requested_elsewhere(const struct coh_engine *engine, const struct coh_message *message)
{
  return message->source == message->requestor && !coh_is_here(engine, message->requestor);
}

/* Nothing is believed: a message must be one of the protocol, between devices and homes that exist, to a controller of this host. */
static bool is_acceptable(const struct coh_engine *engine, const struct coh_message *message, uint64_t line, bool has_data)
{
  const struct coh_protocol *protocol = engine->protocol;
  if (message->type < COH_FIRST_MESSAGE || message->type >= protocol->message_count || line >= engine->bytes >> engine->line_shift)
    return false;
  int home = (int)(line / engine->window_lines), target = message->target == COH_HOME ? home : message->target;
  const struct coh_message_type *type = &protocol->messages[message->type];
  return is_device(engine, message->requestor) && (message->source == COH_HOME || is_device(engine, message->source)) &&
         (message->target == COH_HOME || is_device(engine, message->target)) && coh_is_here(engine, target) && type->data == has_data &&
         message->acks >= -1 && message->acks < engine->shape.devices &&
         (type->class != COH_REQUEST || is_requested_elsewhere(engine, message));
}

int coh_deliver(struct coh_engine *engine, const struct coh_message *message, uint64_t line, const void *data,
                const struct coh_stamp *stamp)
{
  if (!is_acceptable(engine, message, line, data)) {
    if (!atomic_fetch_add(&engine->refused, 1)) fprintf(stderr, "libuma: a message that cannot be one of this session was dropped\n");
    return -EINVAL;
  }
  coh_step_arrived(engine, message, line, data, stamp);
  return 0;
}

/* ---- What waits -------------------------------------------------------------------------------------------------- */

void coh_park(struct coh_engine *engine, const struct coh_message *message, uint64_t line, const void *data, const struct coh_stamp *stamp)
{
  size_t bytes = data ? engine->shape.line_bytes : 0;
  struct coh_parked *parked = malloc(sizeof *parked + bytes);
  if (!parked) abort(); /* a message would be lost */
  *parked = (struct coh_parked){.line = line, .message = *message, .has_data = data, .timed = stamp};
  if (stamp) parked->stamp = *stamp;
  if (data) memcpy(parked->data, data, bytes);
  pthread_mutex_lock(&engine->parked_mutex);
  bool full = atomic_load_explicit(&engine->parked_count, memory_order_relaxed) ==
              COH_PARKED_MOST; /* more than all threads of all devices can wait for */
  if (full) {
    free(parked);
    atomic_fetch_add(&engine->refused, 1);
  } else {
    parked->next = engine->parked;
    engine->parked = parked;
    atomic_fetch_add_explicit(&engine->parked_count, 1, memory_order_relaxed);
  }
  pthread_mutex_unlock(&engine->parked_mutex);
}

bool coh_stalls(struct coh_engine *engine)
{
  return atomic_load_explicit(&engine->parked_count, memory_order_relaxed);
}

bool coh_retry(struct coh_engine *engine)
{
  bool any = false;
  if (!coh_stalls(engine)) return false;
  pthread_mutex_lock(&engine->parked_mutex);
  struct coh_parked *parked = engine->parked, *next;
  engine->parked = NULL;
  atomic_store_explicit(&engine->parked_count, 0, memory_order_relaxed);
  pthread_mutex_unlock(&engine->parked_mutex);
  for (; parked; parked = next) {
    next = parked->next;
    any |= coh_step_arrived(engine, &parked->message, parked->line, parked->has_data ? parked->data : NULL,
                            parked->timed ? &parked->stamp : NULL);
    free(parked);
  }
  return any;
}

void coh_forget_parked(struct coh_engine *engine)
{
  for (struct coh_parked *parked = engine->parked, *next; parked; parked = next) {
    next = parked->next;
    free(parked);
  }
}
