/* What a device asks of another one that shares no memory with it: by request and reply, or, bytes and words of its window, by RMA.
 *
 * The asking thread sends a REQUEST to the copy engine of the home device, over the network, and waits for the REPLY, making progress meanwhile. The home's engine handles
 * a request while it makes progress itself, without waiting for anything, so engines that ask each other cannot deadlock.
 * A put's bytes go from the socket into the window (through a bounce buffer: they are marked staged); a get's reply likewise. Where windows are
 * cached the bytes wait in a buffer of the home, and go through its cache.
 *
 * Where the network reads and writes windows (uma_shape_has_rma) get, put and atomics go by it, past the home's program. A signal is a request all the
 * same: besides the word it has a bell to ring, which is no part of the window, and one message that does both is faster than an atomic and a message.
 *
 * Nothing that comes from a socket is believed: offsets, sizes, operations are checked, a bad request is answered with an error, and a bad answer is
 * an error. */
#include "uma/remote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "uma/clock.h"
#include "uma/coherent.h"
#include "uma/heap.h"
#include "uma/mailbox.h"
#include "uma/session.h"
#include "uma/stream.h"
#include "uma/wait.h"

#define PIECE_BYTES ((size_t)4 << 20) /* of a put or get, between which other threads of this channel have their turn */

enum remote_op {
  REMOTE_GET,
  REMOTE_PUT,
  REMOTE_ATOMIC,
  REMOTE_SIGNAL,
  REMOTE_LOCK,
  REMOTE_BARRIER,
  REMOTE_ALLOC,
  REMOTE_FREE,
  REMOTE_USAGE
};

/* Of a window, whosever it is. */
static bool in_window(uint64_t offset, uint64_t bytes)
{
  return offset <= uma_self.shape.memory && bytes <= uma_self.shape.memory - offset;
}

/* ---- asking */

static uint64_t offset_of(int home, const void *global)
{
  return (uint64_t)((const unsigned char *)global - uma_window_of(home));
}

static struct uma_mailbox *own_box(void)
{
  return uma_self.mailbox[uma_own_channel()];
}

static int ask(int home, enum remote_op op, const struct uma_question *question, void *answer, size_t bytes)
{
  int result = uma_mailbox_ask(own_box(), home, op, 0, question, sizeof *question, answer, bytes);
  return result > 0 ? uma_mailbox_no_answer(home) : result;
}

/* ---- windows that the network reads and writes */

static int access_result(int home, int error)
{
  uma_crossing();
  if (!error) return 0;
  if (error == -EHOSTDOWN) return uma_fail(error, "device %d was lost", home);
  return uma_fail(error, "the window of device %d cannot be reached by the network: %s", home, strerror(-error));
}

enum direction { PUT, GET };

static int move(int home, uint64_t offset, unsigned char *local, size_t bytes, enum direction direction)
{
  int error = 0;
  uma_crossing();
  for (size_t piece; bytes && !error; bytes -= piece, offset += piece, local += piece) {
    piece = bytes < PIECE_BYTES ? bytes : PIECE_BYTES;
    struct fab_endpoint *net = uma_mailbox_enter(own_box());
    if (direction == PUT) error = net->ops->put(net, home, offset, local, piece);
    else error = net->ops->get(net, home, offset, local, piece);
    uma_mailbox_leave(own_box());
  }
  return access_result(home, error);
}

static int do_atomic(int home, enum fab_atomic op, uint64_t offset, size_t size, uint64_t operand, uint64_t expected, uint64_t *old)
{
  uma_crossing();
  struct fab_endpoint *net = uma_mailbox_enter(own_box());
  int error = net->ops->atomic(net, op, home, offset, size, operand, expected, old);
  uma_mailbox_leave(own_box());
  return access_result(home, error);
}

/* ---- the operations */

int uma_remote_get(int home, void *local, const void *global, size_t bytes)
{
  if (uma_shape_has_rma(&uma_self.shape)) return move(home, offset_of(home, global), local, bytes, GET);
  struct uma_question question = {.offset = offset_of(home, global), .bytes = bytes};
  return ask(home, REMOTE_GET, &question, local, bytes);
}

int uma_remote_put(int home, void *global, const void *local, size_t bytes)
{
  if (uma_shape_has_rma(&uma_self.shape)) return move(home, offset_of(home, global), (void *)(uintptr_t)local, bytes, PUT);
  int result = uma_mailbox_ask(own_box(), home, REMOTE_PUT, offset_of(home, global), local, bytes, NULL, 0);
  return result > 0 ? uma_mailbox_no_answer(home) : result;
}

int uma_remote_atomic(int home, enum uma_atomic op, void *pointer, size_t size, uint64_t operand, uint64_t expected, uint64_t *old)
{
  if ((uintptr_t)pointer % size) return -EINVAL;
  if (uma_shape_has_rma(&uma_self.shape))
    return do_atomic(home, (enum fab_atomic)op, offset_of(home, pointer), size, operand, expected, old);
  struct uma_question question = {
      .offset = offset_of(home, pointer), .operand = operand, .expected = expected, .op = op, .size = (uint32_t)size};
  return ask(home, REMOTE_ATOMIC, &question, old, sizeof *old);
}

int uma_remote_signal(int home, uint64_t *word, uint64_t value, enum uma_signal how, uint64_t ticks)
{
  struct uma_question question = {.offset = offset_of(home, word), .operand = value, .op = how, .ticks = ticks};
  return ask(home, REMOTE_SIGNAL, &question, NULL, 0);
}

int uma_remote_lock(enum uma_lock_op op, int home, uint32_t index, uint64_t *ticks)
{
  struct uma_question question = {.operand = index, .op = op, .ticks = *ticks};
  int result = uma_mailbox_ask(own_box(), home, REMOTE_LOCK, 0, &question, sizeof question, ticks, sizeof *ticks);
  return result > (op == UMA_LOCK_CREATE ? UMA_LOCKS - 1 : 0) ? uma_mailbox_no_answer(home) : result;
}

int uma_remote_barrier(enum uma_barrier_op op, int home, uint32_t index, uint64_t argument, struct uma_barrier_answer *answer)
{
  struct uma_question question = {.operand = index, .expected = argument, .op = op, .ticks = answer->ticks};
  return ask(home, REMOTE_BARRIER, &question, answer, sizeof *answer);
}

int uma_remote_alloc(int home, size_t bytes, size_t alignment, uint64_t *offset)
{
  struct uma_question question = {.bytes = bytes, .operand = alignment};
  uint64_t found;
  int result = ask(home, REMOTE_ALLOC, &question, &found, sizeof found);
  if (!result && (found % alignment || !in_window(found, bytes))) result = uma_mailbox_no_answer(home);
  if (!result) *offset = found;
  return result;
}

int uma_remote_free(int home, uint64_t offset)
{
  struct uma_question question = {.offset = offset};
  return ask(home, REMOTE_FREE, &question, NULL, 0);
}

int uma_remote_usage(int home, struct uma_usage *usage)
{
  struct uma_question question = {0};
  return ask(home, REMOTE_USAGE, &question, usage, sizeof *usage);
}

/* ---- answering, in the home's copy engine */

/* What a reply carries. */
struct answer {
  union {
    uint64_t value;
    struct uma_usage usage;
    struct uma_barrier_answer barrier;
  };
  const void *payload;
  size_t bytes;
  void *allocated; /* what is freed once the payload was sent, or NULL */
  bool in_window;  /* the payload stays where it is until it has been sent */
};

/* What a put arrives in when the window itself is not to be touched. */
struct deferred_put {
  uint64_t offset, bytes;
  unsigned char data[];
};

static unsigned char *own_window(void)
{
  return uma_window_of(uma_self.device);
}

void *uma_remote_arrive(int device, int channel, const struct fab_header *header, size_t *room, void **cookie)
{
  uma_crossing();
  *cookie = NULL;
  *room = 0;
  if (header->tag == REMOTE_PUT) {
    if (!in_window(header->a, header->bytes)) return NULL;
    struct deferred_put *put = uma_self.engine ? malloc(sizeof *put + header->bytes) : NULL;
    if (uma_self.engine && !put) return NULL;
    if (put) *put = (struct deferred_put){header->a, header->bytes};
    *cookie = put ? (void *)put : own_window() + header->a;
    *room = header->bytes;
    return put ? put->data : *cookie;
  } else if (header->bytes == sizeof(struct uma_question)) {
    *cookie = malloc(sizeof(struct uma_question));
    *room = *cookie ? sizeof(struct uma_question) : 0;
  }
  return *cookie;
}

static int answer_atomic(const struct uma_question *question, struct answer *answer)
{
  unsigned size = question->size;
  bool word = size == 4 || size == 8, byte = (size == 1 || size == 2) && question->op <= UMA_ATOMIC_STORE;
  if ((!word && !byte) || question->op > UMA_ATOMIC_XOR || question->offset % size || !in_window(question->offset, size)) return -EINVAL;
  unsigned char *cell = own_window() + question->offset;
  answer->bytes = sizeof answer->value;
  if (uma_self.engine) answer->value = uma_atomic_slow_((enum uma_atomic)question->op, cell, size, question->operand, question->expected);
  else answer->value = fab_atomic_apply((enum fab_atomic)question->op, cell, size, question->operand, question->expected);
  return 0;
}

static int answer_signal(const struct uma_question *question)
{
  if (question->offset % 8 || !in_window(question->offset, 8) || question->op < UMA_SIGNAL_SET || question->op > UMA_SIGNAL_ADD)
    return -EINVAL;
  uma_signal_apply((uint64_t *)(own_window() + question->offset), question->operand, (enum uma_signal)question->op, uma_self.device,
                   question->ticks);
  return 0;
}

static int answer_lock(const struct uma_question *question, int device, struct answer *answer)
{
  if (question->op > UMA_LOCK_DESTROY || question->operand > UINT32_MAX) return -EINVAL;
  answer->bytes = sizeof answer->value;
  answer->value = question->ticks;
  return uma_lock_apply((enum uma_lock_op)question->op, uma_self.device, (uint32_t)question->operand, device, &answer->value);
}

static int answer_barrier(const struct uma_question *question, struct answer *answer)
{
  if (question->op > UMA_BARRIER_LOOK || question->operand > UINT32_MAX) return -EINVAL;
  answer->bytes = sizeof answer->barrier;
  answer->barrier = (struct uma_barrier_answer){.ticks = question->ticks};
  return uma_barrier_apply((enum uma_barrier_op)question->op, uma_self.device, (uint32_t)question->operand, question->expected,
                           &answer->barrier);
}

static int answer_alloc(const struct uma_question *question, struct answer *answer)
{
  uint64_t bytes = question->bytes, alignment = question->operand, most = uma_self.shape.memory;
  if (!bytes || !alignment || alignment & (alignment - 1)) return -EINVAL;
  if (bytes > most || alignment > most) return -ENOMEM;
  answer->bytes = sizeof answer->value;
  answer->value = uma_heap_alloc(uma_heap_of(uma_self.device), bytes, alignment);
  return answer->value == UMA_HEAP_FULL ? -ENOMEM : 0;
}

static int answer_free(const struct uma_question *question)
{
  return in_window(question->offset, 1) ? uma_heap_free(uma_heap_of(uma_self.device), question->offset) : -EINVAL;
}

static int answer_usage(struct answer *answer)
{
  answer->bytes = sizeof answer->usage;
  uma_heap_usage(uma_heap_of(uma_self.device), &answer->usage);
  return 0;
}

/* Out of a cache the bytes are copied first. */
static int answer_get(const struct uma_question *question, struct answer *answer)
{
  if (!in_window(question->offset, question->bytes)) return -EFAULT;
  answer->payload = own_window() + question->offset;
  answer->bytes = question->bytes;
  answer->in_window = !uma_self.engine;
  if (answer->in_window || !question->bytes) return 0;
  answer->allocated = malloc(question->bytes);
  int result = answer->allocated ? uma_cached_get(answer->allocated, answer->payload, question->bytes) : -ENOMEM;
  answer->payload = answer->allocated;
  return result;
}

static int answer_question(const struct fab_header *header, const struct uma_question *question, int device, struct answer *answer)
{
  answer->payload = &answer->value;
  switch (header->tag) {
  case REMOTE_ATOMIC: return answer_atomic(question, answer);
  case REMOTE_SIGNAL: return answer_signal(question);
  case REMOTE_LOCK: return answer_lock(question, device, answer);
  case REMOTE_BARRIER: return answer_barrier(question, answer);
  case REMOTE_ALLOC: return answer_alloc(question, answer);
  case REMOTE_FREE: return answer_free(question);
  case REMOTE_USAGE: return answer_usage(answer);
  case REMOTE_GET: return answer_get(question, answer);
  default: return -EINVAL;
  }
}

static int put_now(const struct deferred_put *put)
{
  return uma_cached_put(own_window() + put->offset, put->data, put->bytes);
}

void uma_remote_complete(struct uma_mailbox *box, int device, int channel, const struct fab_header *header, void *cookie, int error)
{
  struct answer answer = {0};
  int result = cookie ? 0 : -EFAULT;
  bool put = header->tag == REMOTE_PUT;
  uma_crossing();
  uma_clock_pause(); /* who asked was charged for all of it */
  if (cookie && !put && !error) result = answer_question(header, cookie, device, &answer);
  if (cookie && put && !error && uma_self.engine) result = put_now(cookie);
  uma_clock_go_on();
  struct fab_header reply = {.kind = UMA_KIND_REPLY, .tag = (int32_t)header->b, .bytes = result < 0 ? 0 : answer.bytes};
  reply.a = (uint64_t)(int64_t)result;
  if (!error && channel >= 0 && channel < UMA_MAILBOXES)
    uma_mailbox_post(box, device, (enum fab_channel)channel, &reply, answer.payload, !answer.in_window);
  free(answer.allocated);
  if (!put || uma_self.engine) free(cookie);
}
