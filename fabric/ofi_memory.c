/* Memory of the ofi fabric: registered windows, and put, get and atomics on those of others.
 *
 * A device registers its window when its endpoint opens; the contact brings the key to the others. Where the provider lets us choose
 * keys they are random, so that nobody who only reaches the port can guess one. In the modes of libfabric: FI_MR_VIRT_ADDR decides whether
 * remote addresses count from the window's address or from 0; FI_MR_PROV_KEY who chooses keys; FI_MR_ALLOCATED that the window must
 * have its pages first; FI_MR_ENDPOINT that a registration is bound to the endpoint; FI_MR_LOCAL that local memory is registered too.
 *
 * One access is under way at a time; it waits inside, polling, so upcalls run meanwhile. Over ofi_rxm it has an endpoint of libfabric of its own,
 * opened with the first (open_reach). A put returns when its bytes are in the home's memory (FI_DELIVERY_COMPLETE), so a message that is
 * sent afterwards may speak of them. If the device is lost in between, the operation may stay with the provider: its struct is abandoned to
 * the endpoint, and `local` of a get may still be written until close.
 *
 * Atomics are the provider's where it has all that are needed and carries them out by the home's processor (ofi_choose.c says why); else a
 * message asks the home, whose endpoint answers in progress. Memory of this device itself is just memory.
 */
#include "fabric/ofi.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "fabric/futex.h"

#define SPINS 64         /* polls without news before anything else is looked after */
#define YIELD_SPINS 1024 /* and before the processor is offered to others: longer than a large access takes */
#define NAP_SPINS 65536  /* and before it is left to them */
#define OTHER_LOOKS 8    /* at the queue of accesses, before one at that of messages */
#define KEY_STEP 0x9e3779b97f4a7c15ull

/* ---- registration */

static uint64_t new_key(struct fab_ofi_endpoint *e)
{
  size_t bytes = e->info->domain_attr->mr_key_size;
  if (!e->next_key && getrandom(&e->next_key, sizeof e->next_key, 0) < 0) e->next_key = KEY_STEP;
  e->next_key += KEY_STEP;
  return bytes < sizeof e->next_key ? e->next_key & ((1ull << 8 * bytes) - 1) : e->next_key;
}

int fab_ofi_register(struct fab_ofi_endpoint *e, const void *memory, size_t bytes, uint64_t access, struct fid_mr **mr)
{
  int error;
  do error = fi_mr_reg(e->domain, memory, bytes, access, 0, new_key(e), 0, mr, NULL);
  while (error == -FI_ENOKEY);
  if (error || !(e->info->domain_attr->mr_mode & FI_MR_ENDPOINT)) return error;
  error = fi_mr_bind(*mr, &e->ep->fid, 0);
  if (!error) error = fi_mr_enable(*mr);
  if (error) fi_close(&(*mr)->fid);
  return error;
}

int fab_ofi_register_window(struct fab_ofi_endpoint *e)
{
  const struct fab_config *config = &e->config;
  int place = config->device - config->first;
  if (!config->windows || place < 0 || place >= config->count) return 0;
  e->window = config->windows + (size_t)place * config->window_bytes;
  if ((e->info->domain_attr->mr_mode & FI_MR_ALLOCATED) && madvise(e->window, config->window_bytes, MADV_POPULATE_WRITE)) return -errno;
  return fab_ofi_register(e, e->window, config->window_bytes, FI_REMOTE_READ | FI_REMOTE_WRITE | FI_READ | FI_WRITE, &e->window_mr);
}

uint64_t fab_ofi_remote_address(const struct fab_ofi_endpoint *e, const void *memory, const void *beginning)
{
  bool virtual = e->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR;
  return virtual ? (uintptr_t)memory : (uint64_t)((const unsigned char *)memory - (const unsigned char *)beginning);
}

void fab_ofi_describe_window(const struct fab_ofi_endpoint *e, struct fab_contact *contact)
{
  if (!e->window_mr) return;
  contact->memory_address = fab_ofi_remote_address(e, e->window, e->window);
  contact->memory_key = fi_mr_key(e->window_mr);
  contact->memory_bytes = e->config.window_bytes;
}

static bool in_window(const struct fab_ofi_endpoint *e, const void *memory, size_t bytes)
{
  const unsigned char *first = memory;
  return e->window && first >= e->window && bytes <= e->config.window_bytes &&
         (size_t)(first - e->window) <= e->config.window_bytes - bytes;
}

int fab_ofi_lend(struct fab_ofi_endpoint *e, const void *payload, size_t bytes, struct fid_mr **mr, struct fab_ofi_loan *loan)
{
  bool own = in_window(e, payload, bytes);
  int error = own ? 0 : fab_ofi_register(e, payload, bytes, FI_REMOTE_READ, mr);
  if (error) return error;
  if (own) *mr = NULL;
  loan->address = fab_ofi_remote_address(e, payload, own ? e->window : payload);
  loan->key = fi_mr_key(own ? e->window_mr : *mr);
  return 0;
}

/* The provider's descriptor of local memory, where it wants one; *mr is to be closed afterwards unless it is NULL. */
static int local_memory(struct fab_ofi_endpoint *e, const void *memory, size_t bytes, struct fid_mr **mr, void **registration)
{
  *mr = NULL;
  *registration = NULL;
  if (!e->register_local) return 0;
  int error = in_window(e, memory, bytes) ? 0 : fab_ofi_register(e, memory, bytes, FI_READ | FI_WRITE, mr);
  if (!error) *registration = fi_mr_desc(*mr ? *mr : e->window_mr);
  return error;
}

/* ---- the endpoint that reaches */

void fab_ofi_refuse(struct fab_ofi_endpoint *e, struct fab_ofi_op *op)
{
  op->use = FAB_OFI_REFUSE;
  fi_recv(e->reach, NULL, 0, NULL, FI_ADDR_UNSPEC, op);
}

/* Over ofi_rxm a queue with a descriptor makes tcp ask the kernel which of its connections has something; a queue without, where nobody can
 * sleep, lets it ask each of them: an eighth less for who waits for one answer. So accesses have an endpoint of their own. It also listens, as all
 * do; what strangers send there is refused, or libfabric would keep it. */
static int open_reach(struct fab_ofi_endpoint *e)
{
  struct fi_cq_attr attributes = {.format = FI_CQ_FORMAT_MSG, .wait_obj = FI_WAIT_NONE};
  attributes.size = (size_t)e->numbers + 1 + FAB_OFI_REFUSES;
  int error = fi_cq_open(e->domain, &attributes, &e->reach_cq, NULL);
  if (!error) error = fab_ofi_open_endpoint(e, e->reach_cq, &e->reach);
  for (int i = 0; i < FAB_OFI_REFUSES && !error; i++) fab_ofi_refuse(e, &e->refuses[i]);
  if (!error || !e->reach_cq) return error;
  fi_close(&e->reach_cq->fid);
  e->reach_cq = NULL;
  return error;
}

static void find_reach(struct fab_ofi_endpoint *e)
{
  bool apart = e->wait_fd >= 0 && strstr(e->info->fabric_attr->prov_name, "ofi_rxm") && !open_reach(e);
  if (!apart) e->reach = e->ep;
}

/* ---- waiting */

/* The endpoint through which a device's memory is reached: the engine's, whose process always calls progress, where there is one. */
static struct fab_ofi_peer *home_of(struct fab_ofi_endpoint *e, int device)
{
  struct fab_ofi_peer *engine = &e->peers[device * FAB_CHANNELS + FAB_ENGINE], *application = engine - FAB_ENGINE + FAB_APPLICATION;
  return engine->known && engine->memory_bytes ? engine : application;
}

static int begin_access(struct fab_ofi_endpoint *e, const struct fab_ofi_peer *peer, uint64_t offset, size_t bytes)
{
  if (fab_ofi_gone(e, peer) || peer->ended) return -EHOSTDOWN;
  if (!peer->known || bytes > peer->memory_bytes || offset > peer->memory_bytes - bytes) return -EFAULT;
  if (!e->reach) find_reach(e);
  e->accessed = fab_ofi_number(e, peer);
  return 0;
}

/* The layer above may know; it cannot say so by lose() meanwhile. */
static void ask_above(struct fab_ofi_endpoint *e, int device)
{
  const struct fab_sink *sink = &e->config.sink;
  if (sink->is_lost && sink->is_lost(sink->context, device)) fab_ofi_fail(e, device);
}

/* At the queue of accesses, where there is one, and now and then at that of messages. */
static int look_at_queues(struct fab_ofi_endpoint *e, unsigned idle)
{
  int news = e->reach_cq ? fab_ofi_poll_reach(e) : 0;
  return e->reach_cq && idle % OTHER_LOOKS ? news : news + fab_ofi_poll(e);
}

/* One look for news; false: the home is lost. */
static bool look(struct fab_ofi_endpoint *e, const struct fab_ofi_peer *peer, unsigned *idle)
{
  if (look_at_queues(e, *idle)) *idle = 0;
  else if (++*idle % SPINS == 0) {
    fab_ofi_progress(&e->base);
    ask_above(e, fab_ofi_device_of(e, peer));
    if (*idle >= NAP_SPINS) fab_nap();
    else if (*idle % YIELD_SPINS == 0) sched_yield();
  }
  return !fab_ofi_gone(e, peer);
}

static void abandon(struct fab_ofi_endpoint *e, struct fab_ofi_access *fresh)
{
  e->access->next = e->abandoned;
  e->abandoned = e->access;
  e->access = fresh;
}

enum access { PUT, GET, FETCH, COMPARE };

struct request {
  enum access access;
  void *local, *registration;
  size_t bytes;
  uint64_t address;
  enum fi_datatype type; /* FETCH and COMPARE: and operands in `words` */
  enum fi_op op;
  uint64_t *words; /* operand, expected, old */
};

static ssize_t post(struct fab_ofi_endpoint *e, const struct fab_ofi_peer *peer, const struct request *r)
{
  uint64_t key = peer->memory_key;
  void *words = e->memory_mr ? fi_mr_desc(e->memory_mr) : NULL, *context = e->access;
  struct iovec vector = {r->local, r->bytes};
  struct fi_rma_iov remote = {r->address, r->bytes, key};
  struct fi_msg_rma message = {&vector, (void **)(uintptr_t)&r->registration, 1, peer->address, &remote, 1, context, 0};
  switch (r->access) {
  case PUT: return fi_writemsg(e->reach, &message, FI_COMPLETION | FI_DELIVERY_COMPLETE);
  case GET: return fi_read(e->reach, r->local, r->bytes, r->registration, peer->address, r->address, key, context);
  case FETCH:
    return fi_fetch_atomic(e->reach, &r->words[0], 1, words, &r->words[2], words, peer->address, r->address, key, r->type, r->op, context);
  case COMPARE:
    return fi_compare_atomic(e->reach, &r->words[0], 1, words, &r->words[1], words, &r->words[2], words, peer->address, r->address, key,
                             r->type, r->op, context);
  }
  return -EINVAL;
}

/* A provider that cannot do it at all says so; all else is about the other end. */
static int refused(struct fab_ofi_endpoint *e, const struct fab_ofi_peer *peer, int error)
{
  if (error == -FI_ENOSYS || error == -FI_EOPNOTSUPP || error == -FI_EINVAL || error == -FI_ENOMEM) return error;
  fab_ofi_fail(e, fab_ofi_device_of(e, peer));
  return -EHOSTDOWN;
}

/* Hands a request to the provider and waits for its completion. */
static int carry_out(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, const struct request *request)
{
  unsigned idle = 0;
  ssize_t error;
  *e->access = (struct fab_ofi_access){.op = {.use = FAB_OFI_ACCESS, .peer = fab_ofi_number(e, peer)}};
  while ((error = post(e, peer, request)) == -FI_EAGAIN)
    if (!look(e, peer, &idle)) return -EHOSTDOWN;
  if (error) return refused(e, peer, (int)error);
  bool alive = true;
  while (!e->access->done && alive) alive = look(e, peer, &idle);
  if (!e->access->done) {
    struct fab_ofi_access *fresh = calloc(1, sizeof *fresh);
    while (!fresh && !e->access->done) fab_ofi_poll(e);
    if (fresh) abandon(e, fresh);
    return -EHOSTDOWN;
  }
  if (e->access->error) return refused(e, peer, e->access->error);
  peer->heard = true;
  return 0;
}

/* ---- put and get */

static int move(struct fab_ofi_endpoint *e, enum access access, int device, uint64_t offset, void *local, size_t bytes)
{
  struct fab_ofi_peer *peer = home_of(e, device);
  struct request request = {.access = access, .local = local};
  struct fid_mr *mr;
  int error = begin_access(e, peer, offset, bytes);
  if (!error) error = local_memory(e, local, bytes, &mr, &request.registration);
  if (error) return error;
  for (size_t done = 0; done < bytes && !error; done += request.bytes) {
    request.bytes = fab_ofi_piece(e, bytes - done);
    request.local = (unsigned char *)local + done;
    request.address = peer->memory_address + offset + done;
    error = carry_out(e, peer, &request);
  }
  e->accessed = -1;
  if (mr) fi_close(&mr->fid);
  return error;
}

static unsigned char *own(const struct fab_ofi_endpoint *e, int device, uint64_t offset)
{
  return device == e->config.device && e->window ? e->window + offset : NULL;
}

int fab_ofi_put(struct fab_endpoint *endpoint, int device, uint64_t offset, const void *local, size_t bytes)
{
  struct fab_ofi_endpoint *e = (struct fab_ofi_endpoint *)endpoint;
  unsigned char *at = own(e, device, offset);
  if (!at) return move(e, PUT, device, offset, (void *)(uintptr_t)local, bytes);
  memmove(at, local, bytes);
  return 0;
}

int fab_ofi_get(struct fab_endpoint *endpoint, int device, uint64_t offset, void *local, size_t bytes)
{
  struct fab_ofi_endpoint *e = (struct fab_ofi_endpoint *)endpoint;
  unsigned char *at = own(e, device, offset);
  if (!at) return move(e, GET, device, offset, local, bytes);
  memmove(local, at, bytes);
  return 0;
}

/* ---- atomics */

static enum fi_op native_op(enum fab_atomic op)
{
  static const enum fi_op ops[] = {[FAB_LOAD] = FI_ATOMIC_READ,
                                   [FAB_STORE] = FI_ATOMIC_WRITE,
                                   [FAB_SWAP] = FI_ATOMIC_WRITE,
                                   [FAB_CAS] = FI_CSWAP,
                                   [FAB_ADD] = FI_SUM,
                                   [FAB_AND] = FI_BAND,
                                   [FAB_OR] = FI_BOR,
                                   [FAB_XOR] = FI_BXOR};
  return ops[op];
}

static enum fi_datatype type_of(size_t size)
{
  return size == 1 ? FI_UINT8 : size == 2 ? FI_UINT16 : size == 4 ? FI_UINT32 : FI_UINT64;
}

/* A word whose first `size` bytes in memory are the value's low ones, and back. */
static uint64_t in_memory(uint64_t value, size_t size)
{
  uint64_t word = 0;
  const uint8_t small = (uint8_t)value;
  const uint16_t half = (uint16_t)value;
  const uint32_t middle = (uint32_t)value;
  memcpy(&word, size == 1 ? (const void *)&small : size == 2 ? (const void *)&half : size == 4 ? (const void *)&middle : &value, size);
  return word;
}

static uint64_t from_memory(uint64_t word, size_t size)
{
  uint8_t small;
  uint16_t half;
  uint32_t middle;
  memcpy(&small, &word, sizeof small);
  memcpy(&half, &word, sizeof half);
  memcpy(&middle, &word, sizeof middle);
  return size == 1 ? small : size == 2 ? half : size == 4 ? middle : word;
}

static int ask_provider(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, const struct fab_header *q, uint64_t *old)
{
  size_t size = (size_t)q->tag;
  uint64_t *words = (uint64_t *)(void *)(e->memory + (FAB_OFI_RECEIVES + FAB_OFI_SENDS) * (size_t)FAB_OFI_BUFFER);
  enum fab_atomic op = (enum fab_atomic)q->kind;
  struct request request = {.access = op == FAB_CAS ? COMPARE : FETCH, .type = type_of(size), .op = native_op(op), .words = words};
  request.address = peer->memory_address + q->bytes;
  words[0] = in_memory(q->a, size);
  words[1] = in_memory(q->b, size);
  words[2] = 0;
  int error = carry_out(e, peer, &request);
  *old = from_memory(words[2], size);
  return error;
}

static int ask_home(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, const struct fab_header *q, uint64_t *old)
{
  unsigned idle = 0;
  e->question++;
  e->answered = false;
  while (!fab_ofi_ask(e, peer, q))
    if (!look(e, peer, &idle)) return -EHOSTDOWN;
  while (!e->answered)
    if (!look(e, peer, &idle)) return -EHOSTDOWN;
  *old = e->answer;
  return e->answer_error;
}

int fab_ofi_atomic(struct fab_endpoint *endpoint, enum fab_atomic op, int device, uint64_t offset, size_t size, uint64_t operand,
                   uint64_t expected, uint64_t *old)
{
  struct fab_ofi_endpoint *e = (struct fab_ofi_endpoint *)endpoint;
  struct fab_header question = {.kind = op, .tag = (int32_t)size, .bytes = offset, .a = operand, .b = expected};
  struct fab_ofi_peer *peer = home_of(e, device);
  unsigned char *at = own(e, device, offset);
  uint64_t before = 0;
  int error = at ? 0 : begin_access(e, peer, offset, size);
  if (error) return error;
  if (at) before = fab_atomic_apply(op, at, size, operand, expected);
  else error = (e->native_atomics ? ask_provider : ask_home)(e, peer, &question, &before);
  e->accessed = -1;
  if (old && !error) *old = before;
  return error;
}

/* Whether an atomic that somebody asks for lies in the window and makes sense. */
static bool is_sound(const struct fab_ofi_endpoint *e, const struct fab_header *q)
{
  size_t size = q->tag == 1 || q->tag == 2 || q->tag == 4 || q->tag == 8 ? (size_t)q->tag : 0, least = q->kind <= FAB_STORE ? 1 : 4;
  return e->window && q->kind <= FAB_XOR && size >= least && q->bytes % size == 0 && size <= e->config.window_bytes &&
         q->bytes <= e->config.window_bytes - size;
}

void fab_ofi_serve(struct fab_ofi_endpoint *e, struct fab_header *question)
{
  struct fab_header q = *question;
  *question = (struct fab_header){.tag = is_sound(e, &q) ? 0 : -EFAULT};
  if (!question->tag) question->a = fab_atomic_apply((enum fab_atomic)q.kind, e->window + q.bytes, (size_t)q.tag, q.a, q.b);
}
