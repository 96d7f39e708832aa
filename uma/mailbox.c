/* Matching of messages.
 *
 * A mailbox has two lists, in order of time: receives that wait for a message (posted), and messages that came before
 * their receive (arrivals). The fabric's sink asks at each header where the bytes go: into the buffer of the oldest posted receive that
 * matches, else into an arrival. A receive takes the oldest arrival that matches; if that is still coming in, it claims it and waits.
 *
 * PULL: a large send out of device memory inside the domain carries only address and length; the receiver copies straight out of
 * the sender's window and answers with a REPLY, upon which the send is complete. Bytes move once.
 *
 * Cached windows (coherent.h) are no memory that a fabric may touch: what is sent out of them is copied into a bounce buffer of the request first,
 * what is received into them waits in one until the receive is finished.
 *
 * Concurrency: everything of a mailbox, its endpoints included, is guarded by its mutex; upcalls run inside progress and so
 * under it. Only sleeping happens outside: announced before a last look at the endpoints, so that no arrival is missed.
 *
 * Windows of other groups, where the network reads and writes them (--fabric ofi): a put, get or atomic waits inside of the endpoint, and so under
 * the mutex; what arrives meanwhile comes by upcalls as always. At home the copy engine's thread moves the endpoint that exposes the window.
 *
 * Lost devices: the board tells, progress passes it on to the endpoints once a device, and they end what was under way with it. A receive that no
 * message has matched yet is given up by who waits for it; one into which a message comes is the fabric's until that has ended.
 *
 * Other groups are not believed: questions are for the copy engine only, addresses to pull from come from this host only, an answer is as long as
 * was asked for. */
#include "uma/mailbox.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "uma/clock.h"
#include "uma/coherent.h"
#include "uma/remote.h"
#include "uma/session.h"
#include "uma/spare.h"
#include "uma/wait.h"
#include "uma/wire.h"

#define PULL_BYTES ((size_t)32 << 10) /* from here on one copy and an answer beat two copies through the ring */
#define ADDRESS_BITS 48
#define ERRORS 4095 /* the largest that there is */

enum cookie_type { COOKIE_REQUEST, COOKIE_ARRIVAL };

struct uma_request {
  enum cookie_type type; /* first, as in struct arrival */
  bool sending, done;
  bool matched;          /* a message comes into it, which the fabric ends */
  int kind, device, tag; /* what a receive waits for; whom a send goes to */
  int result;
  void *buffer;
  size_t room;
  void *bounce, *window; /* where the bytes are meanwhile, and where received ones go in the end; NULL without */
  struct uma_status status;
  uint64_t answer_value;    /* of a REPLY: its `a` */
  struct fab_header header; /* with a modelled clock: of what was received */
  struct fab_send send;
  struct uma_request *answer; /* of a PULL: the REPLY that it waits for */
  struct uma_mailbox *box;
  struct uma_request *next;
};

struct arrival {
  enum cookie_type type;
  bool complete;
  int device, error;
  struct fab_header header;
  struct uma_request *claimant;
  struct arrival *next;
  unsigned char bytes[];
};

struct parcel { /* a send that nobody waits for */
  struct fab_send send;
  struct parcel *next;
  unsigned char bytes[];
};

struct uma_mailbox {
  pthread_mutex_t mutex;
  enum fab_channel channel;
  struct fab_endpoint *shm, *net; /* in the group, and between groups; NULL where there is none */
  struct uma_request *posted, **posted_end;
  struct arrival *arrivals, **arrivals_end;
  struct uma_spares spares;               /* arrivals that were */
  struct uma_request *unused, *abandoned; /* abandoned: sends that only the end of their endpoint ends */
  struct parcel *parcels;
  uint32_t next_number;
  struct uma_losses losses; /* that the endpoints know of */
};

/* ---- requests; all under the mutex */

static struct uma_request *request_new(struct uma_mailbox *box)
{
  struct uma_request *request = box->unused;
  if (request) box->unused = request->next;
  else request = malloc(sizeof *request);
  if (!request) {
    errno = ENOMEM;
    return NULL;
  }
  request->type = COOKIE_REQUEST;
  request->done = request->sending = request->matched = false;
  request->result = 0;
  request->answer = NULL;
  request->bounce = request->window = NULL;
  request->box = box;
  request->next = NULL;
  return request;
}

static void request_give_back(struct uma_request *request)
{
  if (request->answer) request_give_back(request->answer);
  free(request->bounce);
  request->next = request->box->unused;
  request->box->unused = request;
}

static bool request_done(const struct uma_request *request)
{
  if (request->answer) return request->answer->done;
  return request->sending ? request->send.status != FAB_PENDING : request->done;
}

static bool matches(const struct uma_request *request, int device, int kind, int tag)
{
  if (kind == UMA_KIND_PULL) kind = UMA_KIND_MESSAGE;
  return request->kind == kind && (request->device == device || request->device == UMA_ANY_DEVICE) &&
         (request->tag == tag || request->tag == UMA_ANY_TAG);
}

static void post(struct uma_mailbox *box, struct uma_request *request)
{
  *box->posted_end = request;
  box->posted_end = &request->next;
}

static void unpost(struct uma_mailbox *box, struct uma_request *request)
{
  for (struct uma_request **at = &box->posted; *at; at = &(*at)->next) {
    if (*at != request) continue;
    *at = request->next;
    if (box->posted_end == &request->next) box->posted_end = at;
    request->next = NULL;
    return;
  }
}

static struct uma_request *take_posted(struct uma_mailbox *box, int device, int kind, int tag)
{
  for (struct uma_request *request = box->posted; request; request = request->next)
    if (matches(request, device, kind, tag)) {
      unpost(box, request);
      return request;
    }
  return NULL;
}

static void drop_arrival(struct uma_mailbox *box, struct arrival *arrival)
{
  for (struct arrival **at = &box->arrivals; *at; at = &(*at)->next) {
    if (*at != arrival) continue;
    *at = arrival->next;
    if (box->arrivals_end == &arrival->next) box->arrivals_end = at;
    break;
  }
  uma_spare_give(&box->spares, arrival);
}

static void complete_receive(struct uma_request *request, int device, const struct fab_header *header, size_t bytes, int error)
{
  size_t stored = bytes < request->room ? bytes : request->room;
  request->status = (struct uma_status){.device = device, .tag = header->tag, .bytes = stored};
  request->result = error ? error : bytes > request->room ? -EMSGSIZE : 0;
  request->answer_value = header->a;
  request->header = *header;
  request->done = true;
}

/* ---- pulls */

static size_t pull_length(const struct fab_header *header)
{
  return header->b & (((uint64_t)1 << ADDRESS_BITS) - 1);
}

static void pull(struct uma_mailbox *box, struct uma_request *request, int device, const struct fab_header *header)
{
  uint64_t mask = ((uint64_t)1 << ADDRESS_BITS) - 1;
  const void *source = (const void *)(header->a & mask);
  size_t bytes = pull_length(header), stored = bytes < request->room ? bytes : request->room;
  int number = (int)((header->a >> ADDRESS_BITS) | (header->b >> ADDRESS_BITS << (64 - ADDRESS_BITS)));
  int error = uma_range_is_near(source, bytes) ? 0 : -EFAULT;
  if (!error) memmove(request->buffer, source, stored);
  complete_receive(request, device, header, bytes, error);
  struct fab_header reply = {.kind = UMA_KIND_REPLY, .tag = number};
  uma_mailbox_post(box, device, FAB_APPLICATION, &reply, NULL, false);
}

static void start_pull(struct uma_mailbox *box, struct uma_request *request, int tag, const void *buffer, size_t bytes)
{
  uint32_t number = request->answer->tag;
  request->send.header = (struct fab_header){
      .kind = UMA_KIND_PULL,
      .tag = tag,
      .a = (uintptr_t)buffer | (uint64_t)(number & 0xffff) << ADDRESS_BITS,
      .b = bytes | (uint64_t)(number >> 16) << ADDRESS_BITS,
  };
  request->send.payload = NULL;
  post(box, request->answer);
}

/* ---- the sink: upcalls out of progress */

static bool may_come(const struct uma_mailbox *box, int device, const struct fab_header *header)
{
  if (header->kind == UMA_KIND_REQUEST) return box->channel == FAB_ENGINE;
  return header->kind != UMA_KIND_PULL || uma_is_local(device);
}

static void *arrive(void *context, int device, int channel, const struct fab_header *header, size_t *room, void **cookie)
{
  struct uma_mailbox *box = context;
  *cookie = NULL;
  *room = 0;
  if (!may_come(box, device, header)) return NULL;
  if (header->kind == UMA_KIND_REQUEST) return uma_remote_arrive(device, channel, header, room, cookie);
  struct uma_request *request = take_posted(box, device, (int)header->kind, header->tag);
  *cookie = request;
  if (request && header->kind == UMA_KIND_PULL) {
    pull(box, request, device, header);
    *cookie = NULL;
  } else if (request) {
    request->matched = true;
    *room = request->room < header->bytes ? request->room : header->bytes;
    return request->buffer;
  } else if (header->kind == UMA_KIND_MESSAGE || header->kind == UMA_KIND_PULL || header->kind == UMA_KIND_COLLECTIVE) {
    struct arrival *arrival = header->bytes < SIZE_MAX / 2 ? uma_spare_take(&box->spares, sizeof *arrival + header->bytes) : NULL;
    *cookie = arrival;
    if (!arrival) return NULL; /* dropped: its receiver waits for ever, as for a message that was never sent */
    *arrival = (struct arrival){.type = COOKIE_ARRIVAL, .device = device, .header = *header};
    *box->arrivals_end = arrival;
    box->arrivals_end = &arrival->next;
    *room = header->bytes;
    return arrival->bytes;
  }
  return NULL;
}

static void settle(struct uma_mailbox *box, struct uma_request *request, struct arrival *arrival)
{
  if (arrival->header.kind == UMA_KIND_PULL) {
    pull(box, request, arrival->device, &arrival->header);
  } else {
    size_t bytes = arrival->header.bytes, kept = bytes < request->room ? bytes : request->room;
    if (kept) memcpy(request->buffer, arrival->bytes, kept);
    complete_receive(request, arrival->device, &arrival->header, bytes, arrival->error);
  }
  drop_arrival(box, arrival);
}

static void complete(void *context, int device, int channel, const struct fab_header *header, void *cookie, int error)
{
  struct uma_mailbox *box = context;
  if (header->kind == UMA_KIND_REQUEST && may_come(box, device, header)) {
    uma_remote_complete(box, device, channel, header, cookie, error);
    return;
  }
  if (!cookie) return;
  if (*(enum cookie_type *)cookie == COOKIE_REQUEST) {
    complete_receive(cookie, device, header, header->bytes, error);
    return;
  }
  struct arrival *arrival = cookie;
  arrival->complete = true;
  arrival->error = error;
  if (arrival->claimant) settle(box, arrival->claimant, arrival);
}

/* Within one host the board tells who is lost; a link that ends at the end of a session is nothing to report. */
static void ignore_loss(void *context, int device, bool in_order)
{
}

/* Of the copy engine's endpoint, which watches other hosts. At the end of a session, too, but then nobody waits for anything any more. */
static void lose_far(void *context, int device, bool in_order)
{
  const struct uma_shape *shape = &uma_self.shape;
  if (uma_shape_host(shape, device) != uma_shape_host(shape, uma_self.device)) uma_board_lose(uma_self.board, device);
}

/* Between domains there are sockets, and nothing else watches other hosts. */
static void watch_by_uring(enum fab_channel channel, struct fab_config *config)
{
  config->silence_ns = uma_self.shape.silence_ns;
  config->watch = channel == FAB_ENGINE && uma_self.shape.hosts > 1;
  if (config->watch) config->sink.lost = lose_far;
}

/* Who waits inside of an endpoint does not come to tell_lost. */
static bool is_lost(void *context, int device)
{
  return uma_is_lost(device);
}

/* ---- moving */

static void free_parcels(struct uma_mailbox *box)
{
  for (struct parcel **at = &box->parcels; *at;) {
    struct parcel *parcel = *at;
    if (parcel->send.status == FAB_PENDING) {
      at = &parcel->next;
      continue;
    }
    *at = parcel->next;
    free(parcel);
  }
}

static void tell_lost(struct uma_mailbox *box)
{
  for (int device; (device = uma_next_lost(&box->losses)) >= 0;) {
    if (box->shm && uma_is_local(device)) box->shm->ops->lose(box->shm, device);
    if (box->net && !uma_is_local(device)) box->net->ops->lose(box->net, device);
  }
}

static int progress(struct uma_mailbox *box)
{
  int happened = 0;
  if (uma_any_lost()) tell_lost(box);
  if (box->shm) happened += box->shm->ops->progress(box->shm);
  if (box->net) happened += box->net->ops->progress(box->net);
  if (box->parcels) free_parcels(box);
  uma_crossing(); /* also when nothing seems to have happened: what others do to this window by RMA is not counted */
  return happened;
}

static struct fab_endpoint *endpoint_to(const struct uma_mailbox *box, int device)
{
  return box->shm && uma_is_local(device) ? box->shm : box->net;
}

void uma_mailbox_post(struct uma_mailbox *box, int device, enum fab_channel channel, const struct fab_header *header, const void *payload,
                      bool copy)
{
  size_t bytes = copy ? header->bytes : 0;
  struct fab_endpoint *endpoint = endpoint_to(box, device);
  struct parcel *parcel = malloc(sizeof *parcel + bytes);
  if (!parcel) return;
  if (bytes) memcpy(parcel->bytes, payload, bytes);
  parcel->send = (struct fab_send){
      .header = *header, .payload = copy ? parcel->bytes : payload, .staged = !copy && header->bytes, .status = FAB_PENDING};
  parcel->next = box->parcels;
  box->parcels = parcel;
  endpoint->ops->send(endpoint, device, channel, &parcel->send);
}

static void sleep_begin(struct uma_mailbox *box)
{
  if (box->shm) box->shm->ops->sleep_begin(box->shm);
  if (box->net) box->net->ops->sleep_begin(box->net);
}

static void sleep_end(struct uma_mailbox *box)
{
  if (box->shm) box->shm->ops->sleep_end(box->shm);
  if (box->net) box->net->ops->sleep_end(box->net);
}

/* Sleeps until something arrives or wake_fd (unless -1) is readable. Whether the network has something, as far as was seen. */
static bool mailbox_sleep(struct uma_mailbox *box, const struct uma_request *awaited, int wake_fd)
{
  struct pollfd fds[3] = {{.fd = -1}};
  int count = 0;
  pthread_mutex_lock(&box->mutex);
  sleep_begin(box);
  int happened = progress(box) || (awaited && request_done(awaited));
  pthread_mutex_unlock(&box->mutex);
  if (!happened && !box->net && wake_fd < 0) {
    box->shm->ops->sleep(box->shm, UMA_SLEEP_NS);
  } else if (!happened) {
    if (box->net) fds[count++] = (struct pollfd){.fd = box->net->ops->descriptor(box->net), .events = POLLIN};
    if (box->shm) fds[count++] = (struct pollfd){.fd = box->shm->ops->descriptor(box->shm), .events = POLLIN};
    if (wake_fd >= 0) fds[count++] = (struct pollfd){.fd = wake_fd, .events = POLLIN};
    poll(fds, (nfds_t)count, (int)(UMA_SLEEP_NS / 1000000));
  }
  pthread_mutex_lock(&box->mutex);
  sleep_end(box);
  pthread_mutex_unlock(&box->mutex);
  return happened || (box->net && fds[0].revents);
}

static bool step(struct uma_request *request)
{
  if (uma_self.wire) uma_wire_help(uma_self.wire);
  pthread_mutex_lock(&request->box->mutex);
  if (!request_done(request)) progress(request->box);
  bool done = request_done(request);
  pthread_mutex_unlock(&request->box->mutex);
  if (done) uma_crossing();
  return done;
}

/* Once any device is lost, collectives cannot complete, and others may leave without waiting for this one. But what is sent to a device that is there
 * stays the fabric's until it has got it. */
static bool peer_lost(const struct uma_request *request)
{
  if (!uma_any_lost()) return false;
  if (!request->sending && (request->device == UMA_ANY_DEVICE || request->kind == UMA_KIND_COLLECTIVE)) return true;
  if (uma_is_lost(request->device)) return true;
  return atomic_load(&uma_self.board->members[request->device].state) == UMA_MEMBER_LEFT;
}

static bool is_under_way(const struct uma_request *request)
{
  return request->matched || (request->answer && request->answer->matched);
}

/* False when there is no need or no way: it is done, or a message comes into it. */
static bool take_back(struct uma_request *request)
{
  struct uma_mailbox *box = request->box;
  pthread_mutex_lock(&box->mutex);
  bool taken = !request_done(request) && !is_under_way(request);
  if (taken) unpost(box, request);
  if (taken && request->answer) unpost(box, request->answer);
  for (struct arrival *arrival = box->arrivals; taken && arrival; arrival = arrival->next)
    if (arrival->claimant == request) arrival->claimant = NULL;
  pthread_mutex_unlock(&box->mutex);
  return taken;
}

/* Of one that was taken back. */
static int give_up(struct uma_request *request)
{
  struct uma_mailbox *box = request->box;
  pthread_mutex_lock(&box->mutex);
  if (request->sending && request->send.status == FAB_PENDING) {
    request->next = box->abandoned;
    box->abandoned = request;
  } else {
    request_give_back(request);
  }
  pthread_mutex_unlock(&box->mutex);
  return uma_fail(-EHOSTDOWN, "a device of the session was lost while a message from or to it was awaited");
}

static int message_result(const struct uma_request *request)
{
  int result = request->answer ? request->answer->result : request->sending ? request->send.status : request->result;
  if (result == -EMSGSIZE)
    return uma_fail(result, "a message from device %d with tag %d was longer than the buffer of %zu bytes", request->status.device,
                    request->status.tag, request->room);
  if (result == -EHOSTDOWN) return uma_fail(result, "device %d was lost", request->device);
  return result;
}

/* Waits; false when the peer was lost before. */
static bool await(struct uma_request *request)
{
  struct uma_waiter waiter = {0};
  while (!step(request)) {
    if (uma_wait_step(&waiter)) continue;
    mailbox_sleep(request->box, request, -1);
    if (peer_lost(request) && !step(request) && take_back(request)) return false;
  }
  return true;
}

static void give_back(struct uma_request *request)
{
  pthread_mutex_t *mutex = &request->box->mutex;
  pthread_mutex_lock(mutex);
  request_give_back(request);
  pthread_mutex_unlock(mutex);
}

int uma_mailbox_finish(struct uma_request *request, struct uma_status *status)
{
  if (!await(request)) return give_up(request);
  int result = message_result(request);
  if (status && !request->sending) *status = request->status;
  if (uma_self.clock && !request->sending && (request->kind == UMA_KIND_MESSAGE || request->kind == UMA_KIND_COLLECTIVE))
    uma_clock_receive(request->status.device, &request->header);
  int put =
      request->window && (!result || result == -EMSGSIZE) ? uma_cached_put(request->window, request->bounce, request->status.bytes) : 0;
  give_back(request);
  return put ? put : result;
}

bool uma_mailbox_test(struct uma_request *request)
{
  if (step(request)) return true;
  pthread_mutex_lock(&request->box->mutex);
  bool under_way = is_under_way(request);
  pthread_mutex_unlock(&request->box->mutex);
  return !under_way && peer_lost(request);
}

bool uma_mailbox_serve(struct uma_mailbox *box)
{
  pthread_mutex_lock(&box->mutex);
  int happened = progress(box);
  pthread_mutex_unlock(&box->mutex);
  return happened;
}

bool uma_mailbox_rest(struct uma_mailbox *box, int wake_fd)
{
  return mailbox_sleep(box, NULL, wake_fd);
}

/* ---- starting */

static struct uma_request *new_receive(struct uma_mailbox *box, int device, int kind, int tag, void *buffer, size_t bytes)
{
  struct uma_request *request = request_new(box);
  if (!request) return NULL;
  request->kind = kind;
  request->device = device;
  request->tag = tag;
  request->buffer = buffer;
  request->room = bytes;
  return request;
}

static struct uma_request *new_send(struct uma_mailbox *box, int device, int kind, int tag, const void *buffer, size_t bytes)
{
  struct uma_request *request = new_receive(box, device, kind, tag, NULL, 0);
  if (!request) return NULL;
  request->sending = true;
  request->send.header = (struct fab_header){.kind = (uint32_t)kind, .tag = tag, .bytes = bytes};
  request->send.payload = buffer;
  request->send.staged = false;
  request->send.status = FAB_PENDING;
  return request;
}

static int next_number(struct uma_mailbox *box)
{
  return (int)(++box->next_number & INT32_MAX);
}

static void dispatch(struct uma_mailbox *box, struct uma_request *request, enum fab_channel channel)
{
  uma_crossing();
  struct fab_endpoint *endpoint = endpoint_to(box, request->device);
  endpoint->ops->send(endpoint, request->device, channel, &request->send);
}

/* Pages are as good as other memory for all but the kernel, which is in play between groups only. */
static bool needs_bounce(const void *buffer, size_t bytes)
{
  return uma_is_cached(buffer, bytes) && (uma_self.lines || uma_self.shape.groups > 1);
}

/* -ENOMEM in errno as well; or what the cache says. */
static int copy_out(const void *window, size_t bytes, void **bounce)
{
  *bounce = malloc(bytes);
  int result = *bounce ? uma_cached_get(*bounce, window, bytes) : -ENOMEM;
  if (result) free(*bounce);
  if (result) errno = -result;
  return result;
}

struct uma_request *uma_mailbox_start_send(struct uma_mailbox *box, int device, enum uma_kind kind, int tag, const void *buffer,
                                           size_t bytes)
{
  bool timed =
      uma_self.clock && (kind == UMA_KIND_MESSAGE || kind == UMA_KIND_COLLECTIVE); /* its header carries when it departed and arrives */
  bool pulled = kind == UMA_KIND_MESSAGE && bytes >= PULL_BYTES && uma_is_local(device) && uma_range_is_near(buffer, bytes) && !timed;
  void *bounce = NULL;
  if (needs_bounce(buffer, bytes)) {
    if (copy_out(buffer, bytes, &bounce)) return NULL;
    pulled = false;
    buffer = bounce;
  }
  pthread_mutex_lock(&box->mutex);
  struct uma_request *request = new_send(box, device, kind, tag, buffer, bytes);
  if (request) request->bounce = bounce;
  else free(bounce);
  if (request && pulled) {
    request->answer = new_receive(box, device, UMA_KIND_REPLY, next_number(box), NULL, 0);
    if (request->answer) start_pull(box, request, tag, buffer, bytes);
  }
  if (request && timed) uma_clock_send(device, &request->send.header);
  if (request) dispatch(box, request, box->channel);
  pthread_mutex_unlock(&box->mutex);
  return request;
}

static struct arrival *find_arrival(const struct uma_mailbox *box, const struct uma_request *request)
{
  for (struct arrival *arrival = box->arrivals; arrival; arrival = arrival->next)
    if (!arrival->claimant && matches(request, arrival->device, (int)arrival->header.kind, arrival->header.tag)) return arrival;
  return NULL;
}

struct uma_request *uma_mailbox_start_recv(struct uma_mailbox *box, int device, enum uma_kind kind, int tag, void *buffer, size_t bytes)
{
  bool bounces = needs_bounce(buffer, bytes);
  void *bounce = bounces ? malloc(bytes) : NULL;
  if (bounces && !bounce) return NULL;
  pthread_mutex_lock(&box->mutex);
  struct uma_request *request = new_receive(box, device, kind, tag, bounce ? bounce : buffer, bytes);
  if (!request) free(bounce);
  else if (bounce) {
    request->bounce = bounce;
    request->window = buffer;
  }
  struct arrival *arrival = request ? find_arrival(box, request) : NULL;
  if (arrival && arrival->complete) settle(box, request, arrival);
  else if (arrival) arrival->claimant = request;
  else if (request) post(box, request);
  pthread_mutex_unlock(&box->mutex);
  return request;
}

static int no_memory(void)
{
  return uma_fail(-ENOMEM, "no memory for a message");
}

int uma_mailbox_send(struct uma_mailbox *box, int device, enum uma_kind kind, int tag, const void *buffer, size_t bytes)
{
  struct uma_request *request = uma_mailbox_start_send(box, device, kind, tag, buffer, bytes);
  return request ? uma_mailbox_finish(request, NULL) : no_memory();
}

int uma_mailbox_recv(struct uma_mailbox *box, int device, enum uma_kind kind, int tag, void *buffer, size_t bytes,
                     struct uma_status *status)
{
  struct uma_request *request = uma_mailbox_start_recv(box, device, kind, tag, buffer, bytes);
  return request ? uma_mailbox_finish(request, status) : no_memory();
}

int uma_mailbox_exchange(struct uma_mailbox *box, enum uma_kind kind, int tag, int to, const void *out, size_t out_bytes, int from,
                         void *in, size_t in_bytes)
{
  struct uma_request *receive = uma_mailbox_start_recv(box, from, kind, tag, in, in_bytes);
  struct uma_request *send = receive ? uma_mailbox_start_send(box, to, kind, tag, out, out_bytes) : NULL;
  if (!send) {
    if (receive && !take_back(receive)) await(receive);
    if (receive) give_up(receive);
    return no_memory();
  }
  int received = uma_mailbox_finish(receive, NULL), sent = uma_mailbox_finish(send, NULL);
  return received ? received : sent;
}

int uma_mailbox_no_answer(int device)
{
  return uma_fail(-EPROTO, "device %d answered a request by what is no answer to it", device);
}

/* What the home says, if it is something that it may say: a result, and as many bytes as were asked for when that is no error. */
static int answer_result(const struct uma_request *reply)
{
  int64_t result = (int64_t)reply->answer_value;
  if (reply->result == -EHOSTDOWN) return message_result(reply);
  bool good = !reply->result && result >= -ERRORS && result <= INT32_MAX && (result < 0 || reply->status.bytes == reply->room);
  return good ? (int)result : uma_mailbox_no_answer(reply->device);
}

int uma_mailbox_ask(struct uma_mailbox *box, int device, int op, uint64_t a, const void *out, size_t out_bytes, void *answer,
                    size_t answer_bytes)
{
  pthread_mutex_lock(&box->mutex);
  int number = next_number(box);
  struct uma_request *reply = new_receive(box, device, UMA_KIND_REPLY, number, answer, answer_bytes);
  struct uma_request *send = reply ? new_send(box, device, UMA_KIND_REQUEST, op, out, out_bytes) : NULL;
  if (send) {
    send->send.header.a = a;
    send->send.header.b = (uint64_t)number;
    send->send.staged = true;
    post(box, reply);
    dispatch(box, send, FAB_ENGINE);
  }
  pthread_mutex_unlock(&box->mutex);
  if (!send) {
    if (reply) give_back(reply);
    return no_memory();
  }
  int sent = uma_mailbox_finish(send, NULL);
  if ((sent && take_back(reply)) || !await(reply)) return give_up(reply);
  int result = sent ? sent : answer_result(reply);
  give_back(reply);
  return result;
}

/* ---- windows of other groups */

struct fab_endpoint *uma_mailbox_enter(struct uma_mailbox *box)
{
  pthread_mutex_lock(&box->mutex);
  return box->net;
}

void uma_mailbox_leave(struct uma_mailbox *box)
{
  pthread_mutex_unlock(&box->mutex);
}

/* ---- opening */

static int open_box(enum fab_channel channel, const struct uma_inheritance *from, struct uma_mailbox **result)
{
  struct uma_mailbox *box = calloc(1, sizeof *box);
  if (!box) return -ENOMEM;
  pthread_mutex_init(&box->mutex, NULL);
  box->channel = channel;
  box->posted_end = &box->posted;
  box->arrivals_end = &box->arrivals;
  bool by_ofi = uma_shape_is_by_ofi(&uma_self.shape);
  struct fab_config config = {
      .sink = {.context = box, .arrive = arrive, .complete = complete, .lost = by_ofi ? uma_wire_lost : ignore_loss, .is_lost = is_lost},
      .windows = uma_window_of(uma_self.first),
      .window_bytes = uma_self.shape.memory,
      .first = uma_self.first,
      .count = uma_self.count,
      .rings = uma_segment_at(uma_self.layout.rings),
      .wake_fds = from->wake_fds,
      .listen_fd = from->listen_fd[channel],
      .ports = uma_self.board->ports,
      .addresses = uma_self.board->addresses,
  };
  uma_wire_configure(&config, channel);
  int error = channel == FAB_APPLICATION ? fab_shm.open(&config, &box->shm) : 0;
  if (!uma_shape_has_rma(&uma_self.shape)) config.windows = NULL, config.count = 0; /* cached, or nobody's to touch */
  if (!by_ofi) watch_by_uring(channel, &config);
  const struct fab_ops *net = from->net ? from->net : by_ofi ? &fab_ofi : &fab_uring;
  if (!error && uma_self.shape.groups > 1) error = net->open(&config, &box->net);
  *result = box; /* also on an error: closing frees it */
  if (!error) return 0;
  return uma_fail(error, "cannot open an endpoint for messages%s: %s", by_ofi ? " by libfabric (see `uma info` for providers)" : "",
                  strerror(-error));
}

int uma_mailboxes_open(const struct uma_inheritance *from)
{
  int result = open_box(FAB_APPLICATION, from, &uma_self.mailbox[FAB_APPLICATION]);
  if (!result && uma_self.shape.groups > 1) result = open_box(FAB_ENGINE, from, &uma_self.mailbox[FAB_ENGINE]);
  return result;
}

int uma_mailboxes_contact(struct fab_contact contacts[FAB_CHANNELS])
{
  for (int channel = 0; channel < UMA_MAILBOXES; channel++) {
    struct fab_endpoint *net = uma_self.mailbox[channel]->net;
    int error = net->ops->contact(net, &contacts[channel]);
    if (error) return uma_fail(error, "an endpoint has no address: %s", strerror(-error));
  }
  return 0;
}

int uma_mailboxes_connect(const struct fab_contact *contacts)
{
  for (int channel = 0; channel < UMA_MAILBOXES; channel++) {
    struct fab_endpoint *net = uma_self.mailbox[channel]->net;
    int error = net->ops->connect(net, contacts);
    if (error) return uma_fail(error, "the contacts of the other devices are not valid: %s", strerror(-error));
  }
  return 0;
}

void uma_mailbox_close(enum fab_channel channel)
{
  struct uma_mailbox *box = uma_self.mailbox[channel];
  if (!box) return;
  uma_self.mailbox[channel] = NULL;
  if (box->shm) box->shm->ops->close(box->shm);
  if (box->net) box->net->ops->close(box->net);
  while (box->arrivals) drop_arrival(box, box->arrivals);
  uma_spares_close(&box->spares);
  for (struct uma_request *next, *request = box->abandoned; request; request = next) {
    next = request->next;
    request_give_back(request);
  }
  for (struct uma_request *next, *request = box->unused; request; request = next) {
    next = request->next;
    free(request);
  }
  for (struct parcel *next, *parcel = box->parcels; parcel; parcel = next) {
    next = parcel->next;
    free(parcel);
  }
  pthread_mutex_destroy(&box->mutex);
  free(box);
}
