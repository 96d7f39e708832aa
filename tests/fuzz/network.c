/* See network.h. Objects of libfabric are empty but for their tables; all there is to know is in one struct. */
#include "tests/fuzz/network.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIBRARY "fuzz-libfabric.so"
enum { RECEIVES_MOST = 256, PENDING_MOST = 512, QUEUE_MOST = 1024, PATTERN = 0xa5 };

struct completion {
  struct fi_cq_msg_entry entry;
  int error;
  const unsigned char *wire; /* of a receive */
};

static struct network {
  struct network_config config;
  int objects;
  struct {
    void *context, *memory;
    size_t bytes;
  } receives[RECEIVES_MOST];
  unsigned receive_count, filled; /* filled: their completions are not yet taken */
  struct network_operation pending[PENDING_MOST];
  unsigned pending_count;
  struct completion queue[QUEUE_MOST];
  unsigned first, queued;
  struct {
    unsigned count;
    int error;
  } refused[NETWORK_WHATS], refused_memory;
} network;

/* ---- What a test does to it -------------------------------------------------------------------------------------- */

/* It lies beside the program. ($ORIGIN would be where the sanitizer is, which calls dlopen for us.) */
static void *load(void)
{
  char path[4096] = "";
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - sizeof LIBRARY);
  while (length > 0 && path[length - 1] != '/') length--;
  strcpy(&path[length < 0 ? 0 : length], LIBRARY);
  return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

void network_load(void)
{
  static void *handle;
  if (!handle) handle = load();
  if (handle && !fab_ofi_load()) return;
  fprintf(stderr, "the network in memory cannot be loaded: %s\n", handle ? "fabric/ofi_load.c has another" : dlerror());
  abort();
}

void network_reset(const struct network_config *config)
{
  memset(&network, 0, sizeof network);
  network.config = *config;
}

int network_objects(void)
{
  return network.objects;
}

unsigned network_posted(void)
{
  return network.receive_count + network.filled;
}

unsigned network_queued(void)
{
  return network.queued;
}

static void enqueue(struct completion completion)
{
  if (network.queued == QUEUE_MOST) abort(); /* the queue was opened large enough for everything that can be posted */
  network.queue[(network.first + network.queued++) % QUEUE_MOST] = completion;
}

/* The oldest receive ends. */
static bool end_receive(const unsigned char *wire, size_t bytes, int error)
{
  if (!network.receive_count) return false;
  void *memory = network.receives[0].memory;
  struct completion completion = {.entry = {.op_context = network.receives[0].context, .flags = FI_RECV, .len = bytes}, .error = error};
  if (bytes > network.receives[0].bytes) completion.error = FI_ETRUNC;
  if (!completion.error && bytes) memcpy(memory, wire, bytes);
  if (!completion.error) completion.wire = memory;
  memmove(&network.receives[0], &network.receives[1], --network.receive_count * sizeof network.receives[0]);
  network.filled++;
  enqueue(completion);
  return true;
}

bool network_deliver(const unsigned char *wire, size_t bytes)
{
  return end_receive(wire, bytes, 0);
}

bool network_fail_receive(int error)
{
  return end_receive(NULL, 0, error);
}

void network_refuse(enum network_what what, unsigned count, int error)
{
  network.refused[what].count = count;
  network.refused[what].error = error;
}

void network_refuse_memory(unsigned count, int error)
{
  network.refused_memory.count = count;
  network.refused_memory.error = error;
}

unsigned network_pending(void)
{
  return network.pending_count;
}

const struct network_operation *network_operation(unsigned index)
{
  return &network.pending[index];
}

void network_complete(unsigned index, int error)
{
  struct network_operation operation = network.pending[index];
  memmove(&network.pending[index], &network.pending[index + 1], (--network.pending_count - index) * sizeof operation);
  if (!error && operation.memory && operation.what != NETWORK_SEND) memset(operation.memory, PATTERN, operation.bytes);
  enqueue((struct completion){.entry = {.op_context = operation.context, .len = operation.bytes}, .error = error});
}

/* A long loan is read piece by piece. */
static bool reads_into(const struct network_operation *operation, const void *memory, size_t bytes)
{
  return operation->what == NETWORK_READ && (uintptr_t)operation->memory - (uintptr_t)memory < bytes;
}

bool network_writes_to(const void *memory, size_t bytes)
{
  for (unsigned i = 0; i < network.pending_count; i++)
    if (reads_into(&network.pending[i], memory, bytes)) return true;
  return false;
}

void network_forget(const void *memory, size_t bytes)
{
  for (unsigned i = 0; i < network.pending_count; i++)
    if (reads_into(&network.pending[i], memory, bytes)) network.pending[i].memory = NULL;
}

/* ---- Objects ----------------------------------------------------------------------------------------------------- */

static int object_close(struct fid *fid)
{
  network.objects--;
  free(fid);
  return 0;
}

/* What is under way ends with the endpoint, without a completion. */
static int endpoint_close(struct fid *fid)
{
  network.receive_count = network.pending_count = 0;
  return object_close(fid);
}

static int object_bind(struct fid *fid, struct fid *other, uint64_t flags)
{
  return 0;
}

static int object_control(struct fid *fid, int command, void *argument)
{
  return command == FI_ENABLE ? 0 : -FI_ENOSYS; /* no descriptor to wait on */
}

static struct fi_ops object_ops = {.size = sizeof object_ops, .close = object_close, .bind = object_bind, .control = object_control};
static struct fi_ops endpoint_ops = {.size = sizeof endpoint_ops, .close = endpoint_close, .bind = object_bind, .control = object_control};

static void *object_new(size_t size)
{
  struct fid *fid = calloc(1, size);
  if (!fid) abort();
  fid->ops = &object_ops;
  network.objects++;
  return fid;
}

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

static int register_memory(struct fid *fid, const void *memory, size_t bytes, uint64_t access, uint64_t offset, uint64_t key,
                           uint64_t flags, struct fid_mr **mr, void *context)
{
  if (network.refused_memory.count) {
    network.refused_memory.count--;
    return network.refused_memory.error;
  }
  *mr = object_new(sizeof **mr);
  (*mr)->key = key;
  (*mr)->mem_desc = *mr;
  return 0;
}

static struct fi_ops_mr memory_ops = {.size = sizeof memory_ops, .reg = register_memory};

/* ---- The endpoint ------------------------------------------------------------------------------------------------ */

static ssize_t post(enum network_what what, void *memory, size_t bytes, fi_addr_t peer, void *context)
{
  if (network.refused[what].count) {
    network.refused[what].count--;
    return network.refused[what].error;
  }
  if (network.pending_count == PENDING_MOST) abort(); /* more than the endpoint has buffers */
  network.pending[network.pending_count++] = (struct network_operation){what, context, memory, bytes, (int)peer};
  return 0;
}

static ssize_t post_receive(struct fid_ep *ep, void *memory, size_t bytes, void *registration, fi_addr_t peer, void *context)
{
  if (network.receive_count == RECEIVES_MOST) abort();
  network.receives[network.receive_count].context = context;
  network.receives[network.receive_count].memory = memory;
  network.receives[network.receive_count++].bytes = bytes;
  return 0;
}

static ssize_t post_send(struct fid_ep *ep, const void *memory, size_t bytes, void *registration, fi_addr_t peer, void *context)
{
  return post(NETWORK_SEND, (void *)(uintptr_t)memory, bytes, peer, context);
}

static ssize_t post_read(struct fid_ep *ep, void *memory, size_t bytes, void *registration, fi_addr_t peer, uint64_t address, uint64_t key,
                         void *context)
{
  return post(NETWORK_READ, memory, bytes, peer, context);
}

static ssize_t post_write(struct fid_ep *ep, const void *memory, size_t bytes, void *registration, fi_addr_t peer, uint64_t address,
                          uint64_t key, void *context)
{
  return post(NETWORK_WRITE, NULL, bytes, peer, context);
}

static ssize_t post_write_message(struct fid_ep *ep, const struct fi_msg_rma *message, uint64_t flags)
{
  return post(NETWORK_WRITE, NULL, message->msg_iov->iov_len, message->addr, message->context);
}

static ssize_t post_fetch(struct fid_ep *ep, const void *operand, size_t count, void *registration, void *result, void *registration_2,
                          fi_addr_t peer, uint64_t address, uint64_t key, enum fi_datatype type, enum fi_op op, void *context)
{
  return post(NETWORK_ATOMIC, result, sizeof(uint64_t), peer, context);
}

static ssize_t post_compare(struct fid_ep *ep, const void *operand, size_t count, void *registration, const void *compare,
                            void *registration_2, void *result, void *registration_3, fi_addr_t peer, uint64_t address, uint64_t key,
                            enum fi_datatype type, enum fi_op op, void *context)
{
  return post(NETWORK_ATOMIC, result, sizeof(uint64_t), peer, context);
}

static int get_name(fid_t fid, void *address, size_t *bytes)
{
  memset(address, 0, *bytes);
  *bytes = 1;
  return 0;
}

static struct fi_ops_msg message_ops = {.size = sizeof message_ops, .recv = post_receive, .send = post_send};
static struct fi_ops_rma rma_ops = {.size = sizeof rma_ops, .read = post_read, .write = post_write, .writemsg = post_write_message};
static struct fi_ops_atomic atomic_ops = {.size = sizeof atomic_ops, .readwrite = post_fetch, .compwrite = post_compare};
static struct fi_ops_cm name_ops = {.size = sizeof name_ops, .getname = get_name};

static int open_endpoint(struct fid_domain *domain, struct fi_info *info, struct fid_ep **ep, void *context)
{
  *ep = object_new(sizeof **ep);
  (*ep)->fid.ops = &endpoint_ops;
  (*ep)->msg = &message_ops;
  (*ep)->rma = &rma_ops;
  (*ep)->atomic = &atomic_ops;
  (*ep)->cm = &name_ops;
  return 0;
}

/* ---- Completions ------------------------------------------------------------------------------------------------- */

static struct completion dequeue(void)
{
  struct completion completion = network.queue[network.first];
  network.first = (network.first + 1) % QUEUE_MOST;
  network.queued--;
  if (completion.entry.flags & FI_RECV) network.filled--;
  if (completion.wire) network.config.received(completion.wire, completion.entry.len);
  return completion;
}

static ssize_t read_queue(struct fid_cq *cq, void *to, size_t most)
{
  size_t count = 0;
  if (!network.queued) network.config.idle();
  for (; count < most && network.queued && !network.queue[network.first].error; count++)
    ((struct fi_cq_msg_entry *)to)[count] = dequeue().entry;
  if (count) return (ssize_t)count;
  return network.queued ? -FI_EAVAIL : -FI_EAGAIN;
}

static ssize_t read_error(struct fid_cq *cq, struct fi_cq_err_entry *to, uint64_t flags)
{
  struct completion completion = dequeue();
  *to = (struct fi_cq_err_entry){.op_context = completion.entry.op_context, .err = completion.error};
  return 1;
}

static struct fi_ops_cq queue_ops = {.size = sizeof queue_ops, .read = read_queue, .readerr = read_error};

static int open_queue(struct fid_domain *domain, struct fi_cq_attr *attributes, struct fid_cq **cq, void *context)
{
  *cq = object_new(sizeof **cq);
  (*cq)->ops = &queue_ops;
  return 0;
}

/* ---- Addresses, domain, fabric ----------------------------------------------------------------------------------- */

static int insert(struct fid_av *av, const void *address, size_t count, fi_addr_t *number, uint64_t flags, void *context)
{
  *number = *(const unsigned char *)address;
  return 1;
}

static struct fi_ops_av address_ops = {.size = sizeof address_ops, .insert = insert};

static int open_addresses(struct fid_domain *domain, struct fi_av_attr *attributes, struct fid_av **av, void *context)
{
  *av = object_new(sizeof **av);
  (*av)->ops = &address_ops;
  return 0;
}

static int query_atomic(struct fid_domain *domain, enum fi_datatype type, enum fi_op op, struct fi_atomic_attr *attributes, uint64_t flags)
{
  attributes->count = 1;
  return 0;
}

static struct fi_ops_domain domain_ops = {
    .size = sizeof domain_ops, .av_open = open_addresses, .cq_open = open_queue, .endpoint = open_endpoint, .query_atomic = query_atomic};

static int open_domain(struct fid_fabric *fabric, struct fi_info *info, struct fid_domain **domain, void *context)
{
  *domain = object_new(sizeof **domain);
  (*domain)->ops = &domain_ops;
  (*domain)->mr = &memory_ops;
  return 0;
}

static struct fi_ops_fabric fabric_ops = {.size = sizeof fabric_ops, .domain = open_domain};

int network_fabric(struct fid_fabric **fabric);
int network_fabric(struct fid_fabric **fabric)
{
  *fabric = object_new(sizeof **fabric);
  (*fabric)->ops = &fabric_ops;
  return 0;
}

/* ---- What there is ----------------------------------------------------------------------------------------------- */

static struct info {
  struct fi_info info; /* first */
  struct fi_tx_attr tx;
  struct fi_rx_attr rx;
  struct fi_ep_attr ep;
  struct fi_domain_attr domain;
  struct fi_fabric_attr fabric;
  char name[16];
} template;

struct fi_info *network_dupinfo(const struct fi_info *from);
struct fi_info *network_dupinfo(const struct fi_info *from)
{
  struct info *made = malloc(sizeof *made);
  if (!made) return NULL;
  *made = from ? *(const struct info *)from : template;
  made->info.tx_attr = &made->tx;
  made->info.rx_attr = &made->rx;
  made->info.ep_attr = &made->ep;
  made->info.domain_attr = &made->domain;
  made->info.fabric_attr = &made->fabric;
  made->fabric.prov_name = from ? made->name : NULL;
  return &made->info;
}

void network_freeinfo(struct fi_info *info);
void network_freeinfo(struct fi_info *info)
{
  struct info *made = (struct info *)info;
  if (info->fabric_attr->prov_name != made->name) free(info->fabric_attr->prov_name); /* that of hints is their maker's copy */
  free(made);
}

int network_getinfo(const struct fi_info *hints, struct fi_info **info);
int network_getinfo(const struct fi_info *hints, struct fi_info **info)
{
  static struct info one;
  one = (struct info){.tx = {.msg_order = FI_ORDER_SAS | FI_ORDER_SAW},
                      .ep = {.max_msg_size = network.config.message_most},
                      .domain = {.mr_mode = (int)network.config.mr_mode, .mr_key_size = 8},
                      .name = "tcp-memory"};
  one.info.caps = network.config.atomics ? FI_ATOMIC : 0;
  *info = network_dupinfo(&one.info);
  return *info ? 0 : -FI_ENOMEM;
}
