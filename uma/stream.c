/* Streams and the copy engine.
 *
 * One queue of jobs for the device, in the order in which they were pushed, so each stream's own jobs are in order; one thread, the
 * engine, takes them one by one. The queue is guarded by `mutex`. A job's end is published by the release of its stream's `finished` (or its event's
 * `reached`) and a ring of `done`; waiters acquire it. Streams count jobs: pushed by callers under the mutex, finished by the engine.
 *
 * In a session of several groups the engine also handles what other groups ask of this device, or do to its window by RMA, whenever it makes
 * progress: while idle, and inside jobs that wait for messages. It sleeps on an eventfd for new jobs together with its endpoint's descriptor.
 * The engine never takes the mutex while it runs a job, and nobody waits for the engine while holding it: no deadlock. */
#include "uma/stream.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "uma/clock.h"
#include "uma/collective.h"
#include "uma/mailbox.h"
#include "uma/session.h"
#include "uma/wait.h"

#define AWAKE_NS 5000000

enum job_kind { JOB_COPY, JOB_COPY_2D, JOB_COLLECTIVE, JOB_EVENT };

struct job {
  enum job_kind kind;
  struct uma_stream *stream;
  struct uma_event *event;
  struct uma_collective collective; /* copies use its dst and src, and count for the width */
  size_t dst_pitch, src_pitch, height;
  uint64_t ticket;
  uint64_t pushed_ticks; /* on the modelled clock, as is done_ticks below */
  struct job *next;
};

struct uma_stream {
  uint64_t pushed; /* guarded by the engine's mutex */
  _Atomic uint64_t finished;
  _Atomic int error; /* the first since it was last reported */
  _Atomic uint64_t done_ticks;
};

struct uma_event {
  _Atomic uint64_t recorded, reached; /* how often; reached == recorded: all that was recorded has happened */
  _Atomic uint64_t time_ns, done_ticks;
};

static struct {
  pthread_mutex_t mutex;
  struct job *first, **end;
  bool running, stopping, idle;
  int wake_fd;
  pthread_t thread;
  struct fab_bell done;
} engine = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local enum fab_channel own_channel = FAB_APPLICATION;

enum fab_channel uma_own_channel(void)
{
  return own_channel;
}

/* ---- the engine's thread */

static int run_job(const struct job *job)
{
  const struct uma_collective *c = &job->collective;
  switch (job->kind) {
  case JOB_COPY: return uma_copy(c->dst, c->src, c->count);
  case JOB_COPY_2D: return uma_copy_2d(c->dst, job->dst_pitch, c->src, job->src_pitch, c->count, job->height);
  case JOB_COLLECTIVE: return uma_collective_run(c, FAB_ENGINE);
  case JOB_EVENT:
    atomic_store_explicit(&job->event->time_ns, fab_now_ns(), memory_order_relaxed);
    atomic_store_explicit(&job->event->reached, job->ticket, memory_order_release);
    return 0;
  }
  return 0;
}

/* The engine's clock is not before that of who pushed the job, nor is who waits for the job before the engine's. */
static uint64_t clock_ticks(void)
{
  return uma_self.clock ? uma_clock_moment().ticks : 0;
}

static void wait_on_clock(_Atomic uint64_t *ticks)
{
  struct coh_moment moment = {.ticks = atomic_load_explicit(ticks, memory_order_relaxed)};
  if (uma_self.clock) uma_clock_reach(&moment);
}

static int run_timed_job(struct job *job)
{
  struct coh_moment moment = {.ticks = job->pushed_ticks};
  if (uma_self.clock) uma_clock_reach(&moment);
  if (job->event) atomic_store_explicit(&job->event->done_ticks, clock_ticks(), memory_order_relaxed); /* before it is reached */
  return run_job(job);
}

static void finish_job(struct job *job, int result)
{
  int none = 0;
  atomic_store_explicit(&job->stream->done_ticks, clock_ticks(), memory_order_relaxed);
  if (result) atomic_compare_exchange_strong(&job->stream->error, &none, result);
  atomic_fetch_add_explicit(&job->stream->finished, 1, memory_order_release);
  free(job);
  fab_bell_ring(&engine.done);
}

static struct job *next_job(bool *stop)
{
  pthread_mutex_lock(&engine.mutex);
  struct job *job = engine.first;
  if (job && !(engine.first = job->next)) engine.end = &engine.first;
  *stop = !job && engine.stopping;
  pthread_mutex_unlock(&engine.mutex);
  return job;
}

/* Whether the network woke it. */
static bool rest(void)
{
  uint64_t drained;
  bool woken = false;
  pthread_mutex_lock(&engine.mutex);
  engine.idle = !engine.first && !engine.stopping;
  bool idle = engine.idle;
  pthread_mutex_unlock(&engine.mutex);
  if (!idle) return false;
  struct pollfd wake = {.fd = engine.wake_fd, .events = POLLIN};
  if (uma_self.mailbox[FAB_ENGINE]) woken = uma_mailbox_rest(uma_self.mailbox[FAB_ENGINE], engine.wake_fd);
  else poll(&wake, 1, -1);
  pthread_mutex_lock(&engine.mutex);
  engine.idle = false;
  pthread_mutex_unlock(&engine.mutex);
  return read(engine.wake_fd, &drained, sizeof drained) < 0 ? woken : true;
}

/* Others' RMA moves when this thread looks, but is nothing that it sees: after being woken by it, it gives way for longer before it sleeps again. */
static struct uma_waiter woken(void)
{
  return (struct uma_waiter){.yield_until_ns = uma_shape_has_rma(&uma_self.shape) ? fab_now_ns() + AWAKE_NS : 0};
}

static void *engine_main(void *argument)
{
  struct uma_waiter waiter = {0};
  own_channel = FAB_ENGINE;
  for (bool stop = false; !stop;) {
    struct job *job = next_job(&stop);
    bool served = uma_self.mailbox[FAB_ENGINE] && uma_mailbox_serve(uma_self.mailbox[FAB_ENGINE]);
    if (job) finish_job(job, run_timed_job(job));
    if (job || served) waiter = (struct uma_waiter){0};
    else if (!uma_wait_step(&waiter) && rest()) waiter = woken();
  }
  return NULL;
}

int uma_engine_start(void)
{
  int error = 0;
  sigset_t all, before;
  sigfillset(&all);
  sigdelset(&all, SIGBUS); /* that is how absent pages are brought */
  pthread_mutex_lock(&engine.mutex);
  if (!engine.running) {
    engine.first = NULL;
    engine.end = &engine.first;
    engine.stopping = engine.idle = false;
    engine.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the program's signals go to the program's threads */
    error = engine.wake_fd < 0 ? errno : pthread_create(&engine.thread, NULL, engine_main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    engine.running = !error;
    if (error && engine.wake_fd >= 0) close(engine.wake_fd);
  }
  pthread_mutex_unlock(&engine.mutex);
  return error ? uma_fail(-error, "cannot start the copy engine: %s", strerror(error)) : 0;
}

static void wake_engine(void)
{
  uint64_t one = 1;
  if (engine.idle && write(engine.wake_fd, &one, sizeof one) < 0) return; /* full: it is awake */
}

void uma_engine_stop(void)
{
  pthread_mutex_lock(&engine.mutex);
  bool running = engine.running;
  engine.stopping = true;
  if (running) wake_engine();
  pthread_mutex_unlock(&engine.mutex);
  if (!running) return;
  pthread_join(engine.thread, NULL);
  close(engine.wake_fd);
  engine.running = false;
}

/* ---- streams */

int uma_stream_create(struct uma_stream **stream)
{
  if (!uma_self.joined) return uma_fail(-EINVAL, "uma_stream_create was called outside of a session");
  int result = uma_engine_start();
  if (result) return result;
  *stream = calloc(1, sizeof **stream);
  return *stream ? 0 : uma_fail(-ENOMEM, "no memory for a stream");
}

static int push(struct uma_stream *stream, const struct job *what)
{
  if (!stream) return uma_fail(-EINVAL, "the stream is NULL");
  struct job *job = malloc(sizeof *job);
  if (!job) return uma_fail(-ENOMEM, "no memory for a job of a stream");
  *job = *what;
  job->stream = stream;
  job->next = NULL;
  job->pushed_ticks = clock_ticks();
  pthread_mutex_lock(&engine.mutex);
  if (job->event) job->ticket = atomic_fetch_add(&job->event->recorded, 1) + 1;
  stream->pushed++;
  *engine.end = job;
  engine.end = &job->next;
  wake_engine();
  pthread_mutex_unlock(&engine.mutex);
  return 0;
}

static uint64_t pushed_to(struct uma_stream *stream)
{
  pthread_mutex_lock(&engine.mutex);
  uint64_t pushed = stream->pushed;
  pthread_mutex_unlock(&engine.mutex);
  return pushed;
}

/* Waits until *count, which the engine raises, has reached `target`. */
static void await_count(const _Atomic uint64_t *count, uint64_t target)
{
  struct uma_waiter waiter = {0};
  while (atomic_load_explicit(count, memory_order_acquire) < target) {
    if (uma_wait_step(&waiter)) continue;
    uint32_t rings = fab_bell_begin(&engine.done);
    if (atomic_load(count) < target) fab_bell_sleep(&engine.done, rings, UMA_SLEEP_NS);
    fab_bell_end(&engine.done);
  }
}

int uma_stream_wait(struct uma_stream *stream)
{
  if (!stream) return uma_fail(-EINVAL, "the stream is NULL");
  await_count(&stream->finished, pushed_to(stream));
  wait_on_clock(&stream->done_ticks);
  int error = atomic_exchange(&stream->error, 0);
  return error ? uma_fail(error, "work on a stream failed: %s", uma_strerror(error)) : 0;
}

void uma_engine_drain(void)
{
  struct uma_stream last = {0};
  struct uma_event event = {0};
  struct job job = {.kind = JOB_EVENT, .event = &event};
  if (engine.running && !push(&last, &job)) uma_stream_wait(&last);
}

int uma_stream_query(struct uma_stream *stream)
{
  if (!stream) return uma_fail(-EINVAL, "the stream is NULL");
  return atomic_load_explicit(&stream->finished, memory_order_acquire) >= pushed_to(stream);
}

int uma_stream_destroy(struct uma_stream *stream)
{
  int result = uma_stream_wait(stream);
  free(stream);
  return result;
}

int uma_copy_async(void *dst, const void *src, size_t bytes, struct uma_stream *stream)
{
  struct job job = {.kind = JOB_COPY, .collective = {.dst = dst, .src = src, .count = bytes}};
  int result = uma_copy_check(dst, src, bytes);
  return result ? result : push(stream, &job);
}

int uma_copy_2d_async(void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width, size_t height,
                      struct uma_stream *stream)
{
  struct job job = {.kind = JOB_COPY_2D,
                    .dst_pitch = dst_pitch,
                    .src_pitch = src_pitch,
                    .height = height,
                    .collective = {.dst = dst, .src = src, .count = width}};
  int result = uma_copy_2d_check(dst, dst_pitch, src, src_pitch, width, height);
  return result ? result : push(stream, &job);
}

int uma_stream_push_collective(struct uma_stream *stream, const struct uma_collective *collective)
{
  struct job job = {.kind = JOB_COLLECTIVE, .collective = *collective};
  return push(stream, &job);
}

/* ---- events */

int uma_event_create(struct uma_event **event)
{
  *event = calloc(1, sizeof **event);
  return *event ? 0 : uma_fail(-ENOMEM, "no memory for an event");
}

int uma_event_record(struct uma_event *event, struct uma_stream *stream)
{
  struct job job = {.kind = JOB_EVENT, .event = event};
  return event ? push(stream, &job) : uma_fail(-EINVAL, "the event is NULL");
}

int uma_event_query(struct uma_event *event)
{
  uint64_t recorded = event ? atomic_load(&event->recorded) : 0;
  if (!recorded) return uma_fail(-EINVAL, "the event was never recorded");
  return atomic_load_explicit(&event->reached, memory_order_acquire) >= recorded;
}

int uma_event_wait(struct uma_event *event)
{
  int reached = uma_event_query(event);
  if (reached == 0) await_count(&event->reached, atomic_load(&event->recorded));
  if (reached >= 0) wait_on_clock(&event->done_ticks);
  return reached < 0 ? reached : 0;
}

int uma_event_elapsed(struct uma_event *start, struct uma_event *end, double *milliseconds)
{
  if (uma_event_query(start) != 1 || uma_event_query(end) != 1) return uma_fail(-EAGAIN, "both events must have been reached");
  *milliseconds = (double)(int64_t)(atomic_load(&end->time_ns) - atomic_load(&start->time_ns)) / 1e6;
  return 0;
}

int uma_event_destroy(struct uma_event *event)
{
  if (event && atomic_load(&event->recorded)) uma_event_wait(event);
  free(event);
  return 0;
}
