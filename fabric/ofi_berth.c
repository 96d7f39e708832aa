/* Berths of the ofi fabric: large payloads that are written to their receiver before they are announced.
 *
 * A loan costs a round trip more than a message: the receiver has to ask for the bytes. Where the layer above adopts payloads (fab_sink), an endpoint
 * has berths for them: memory of its own, registered, of which each peer that has once sent something large gets a few (OFFER). The peer writes
 * a payload into a free one (fi_write), and the message WRITTEN comes behind it. The berth is free again when the layer above has released it
 * and the peer has read so: in whatever message goes there next, or, when half of its berths wait for that, in one of their own (FREED). A sender that
 * knows of no free berth lends, as before: so nobody ever waits for one.
 *
 * Why that is safe. The bytes are there before the message, because both go through one TCP stream (FI_ORDER_SAW, which `tcp;ofi_rxm` has only
 * without atomics: endpoints with berths do without). For other providers there are no berths: a NIC may keep the order of messages and not that of bytes.
 * Nobody looks at a berth before its message: a sender that dies in the middle leaves bytes behind that nobody reads. A berth belongs
 * to one peer for good, so that a peer that was given up, and is alive after all, cannot write where somebody else does.
 *
 * The sender's payload stays with the provider until the write has ended, and is not its owner's again before, whatever becomes of the message;
 * only when the peer is lost and the provider does not let go it is given up, as a read is (ofi_peer.c). */
#include "fabric/ofi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE ((size_t)4096)             /* where berths begin */
#define BERTHS_BYTES ((size_t)32 << 20) /* of all of an endpoint; what is never written to costs no memory */
#define BERTH_MOST ((size_t)1 << 30)

/* ---- what comes */

/* The bytes before the message, by the way that they go; and memory that need not be pinned. */
static bool keeps_order(const struct fi_info *info)
{
  const char *name = info->fabric_attr->prov_name;
  bool is_tcp = !strcmp(name, "net") || !strncmp(name, "tcp", 3);
  return is_tcp && info->tx_attr->msg_order & FI_ORDER_SAW && !(info->domain_attr->mr_mode & (FI_MR_LOCAL | FI_MR_ALLOCATED));
}

/* From one berth for so much to the next. */
static size_t distance(size_t most)
{
  return (most + PAGE - 1) / PAGE * PAGE;
}

bool fab_ofi_adopts(const struct fab_config *config)
{
  return config->adopted_bytes > FAB_OFI_PAYLOAD;
}

int fab_ofi_open_berths(struct fab_ofi_endpoint *e)
{
  size_t most = e->config.adopted_bytes, bytes = distance(most), count = bytes ? BERTHS_BYTES / bytes : 0;
  if (!fab_ofi_adopts(&e->config) || bytes > e->info->ep_attr->max_msg_size || !count || !keeps_order(e->info)) return 0;
  void *memory = mmap(NULL, count * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return -errno;
  e->berths = memory;
  e->berth_bytes = bytes;
  e->berth_count = (int)count;
  e->berth_owners = calloc(count, sizeof *e->berth_owners);
  return e->berth_owners ? fab_ofi_register(e, memory, count * bytes, FI_REMOTE_WRITE, &e->berths_mr) : -ENOMEM;
}

void fab_ofi_close_berths(struct fab_ofi_endpoint *e)
{
  if (e->berths_mr) fi_close(&e->berths_mr->fid);
  if (e->berths) munmap(e->berths, (size_t)e->berth_count * e->berth_bytes);
  free(e->berth_owners);
}

void fab_ofi_offer(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, size_t bytes)
{
  int left = e->berth_count - e->berths_given, count = left < FAB_OFI_BERTHS ? left : FAB_OFI_BERTHS;
  if (peer->berths || !count || bytes > e->config.adopted_bytes) return;
  peer->first_berth = e->berths_given;
  peer->berths = (1u << count) - 1;
  for (int i = 0; i < count; i++) e->berth_owners[e->berths_given++] = fab_ofi_number(e, peer);
  peer->due |= 1u << FAB_OFI_OFFER;
  fab_ofi_want(e, peer);
}

struct fab_header fab_ofi_describe_berths(const struct fab_ofi_endpoint *e, const struct fab_ofi_peer *peer)
{
  unsigned char *first = e->berths + (size_t)peer->first_berth * e->berth_bytes;
  return (struct fab_header){.tag = __builtin_popcount(peer->berths),
                             .bytes = e->config.adopted_bytes,
                             .a = fab_ofi_remote_address(e, first, e->berths),
                             .b = fi_mr_key(e->berths_mr)};
}

bool fab_ofi_is_written(const struct fab_ofi_endpoint *e, const struct fab_ofi_peer *peer, const struct fab_ofi_wire *wire)
{
  uint32_t bit = wire->berth < FAB_OFI_BERTHS ? 1u << wire->berth : 0;
  return peer->berths & bit && !((peer->adopted | peer->freed) & bit) && wire->header.bytes <= e->config.adopted_bytes;
}

void fab_ofi_adopt(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, const struct fab_ofi_wire *wire)
{
  const struct fab_sink *sink = &e->config.sink;
  int number = fab_ofi_number(e, peer);
  struct fab_header header = wire->header;
  if (e->closing) return;
  peer->adopted |= 1u << wire->berth;
  sink->adopt(sink->context, number / FAB_CHANNELS, number % FAB_CHANNELS, &header,
              e->berths + (size_t)(peer->first_berth + wire->berth) * e->berth_bytes);
}

void fab_ofi_release(struct fab_endpoint *endpoint, void *payload)
{
  struct fab_ofi_endpoint *e = (struct fab_ofi_endpoint *)endpoint;
  int index = (int)((size_t)((unsigned char *)payload - e->berths) / e->berth_bytes);
  struct fab_ofi_peer *peer = &e->peers[e->berth_owners[index]];
  uint32_t bit = 1u << (index - peer->first_berth);
  peer->adopted &= ~bit;
  peer->freed |= bit;
  if (fab_ofi_gone(e, peer) || 2 * __builtin_popcount(peer->freed) < __builtin_popcount(peer->berths)) return;
  peer->due |= 1u << FAB_OFI_FREED;
  fab_ofi_want(e, peer);
}

/* ---- what goes */

bool fab_ofi_take_offer(struct fab_ofi_peer *peer, const struct fab_header *offer)
{
  if (peer->offered || offer->tag < 1 || offer->tag > FAB_OFI_BERTHS || offer->bytes > BERTH_MOST) return false;
  peer->offered = peer->free_berths = (1u << offer->tag) - 1;
  peer->offered_bytes = (size_t)offer->bytes;
  peer->offered_address = offer->a;
  peer->offered_key = offer->b;
  return true;
}

bool fab_ofi_take_freed(struct fab_ofi_peer *peer, uint32_t berths)
{
  if (berths & ~(peer->offered & ~peer->free_berths)) return false;
  peer->free_berths |= berths;
  return true;
}

bool fab_ofi_can_write(const struct fab_ofi_endpoint *e, const struct fab_ofi_peer *peer, size_t bytes)
{
  return peer->free_berths && bytes <= peer->offered_bytes && e->free_write && !e->register_local;
}

bool fab_ofi_write(struct fab_ofi_endpoint *e, struct fab_ofi_peer *peer, struct fab_send *send)
{
  struct fab_ofi_write *write = e->free_write;
  int berth = __builtin_ctz(peer->free_berths);
  *write = (struct fab_ofi_write){
      .op = {.use = FAB_OFI_WRITE, .peer = fab_ofi_number(e, peer)}, .next = write->next, .send = send, .berth = berth};
  uint64_t address = peer->offered_address + (uint64_t)berth * distance(peer->offered_bytes);
  ssize_t error = fi_write(e->ep, send->payload, send->header.bytes, NULL, peer->address, address, peer->offered_key, &write->op);
  if (error && error != -FI_EAGAIN) fab_ofi_fail(e, fab_ofi_device_of(e, peer));
  if (error) return false;
  e->free_write = write->next;
  e->writing++;
  peer->writing++;
  peer->free_berths &= ~(1u << berth);
  send->lent = write;
  return true;
}

int fab_ofi_berth_of(const struct fab_send *send)
{
  return ((const struct fab_ofi_write *)send->lent)->berth;
}

/* The payload is its owner's again when both the write has ended and nothing more is to be sent of it. */
static void look(struct fab_ofi_endpoint *e, struct fab_ofi_write *write)
{
  if (!write->ended || !write->announced) return;
  if (write->send) write->send->status = write->error;
  write->send = NULL;
  write->next = e->free_write;
  e->free_write = write;
}

void fab_ofi_announced(struct fab_ofi_endpoint *e, struct fab_send *send, int error)
{
  struct fab_ofi_write *write = send->lent;
  write->announced = true;
  if (error) write->error = error;
  look(e, write);
}

void fab_ofi_wrote(struct fab_ofi_endpoint *e, struct fab_ofi_write *write, int error)
{
  e->writing--;
  e->peers[write->op.peer].writing--;
  write->ended = true;
  if (error) write->error = -EHOSTDOWN;
  if (error) fab_ofi_fail(e, write->op.peer / FAB_CHANNELS);
  look(e, write);
}

void fab_ofi_give_up_writes(struct fab_ofi_endpoint *e, int peer, int error)
{
  for (int i = 0; i < FAB_OFI_WRITES; i++) {
    struct fab_ofi_write *write = &e->writes[i];
    if (!write->send || write->ended || write->op.peer != peer) continue;
    write->send->status = error;
    write->send = NULL;
  }
}
