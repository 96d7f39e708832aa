/* Bare libfabric: see bare_link.h.
 *
 * Every operation has a context of its own, which is free again before it is used again: of sends at most BARE_UNDER_WAY are under way, and
 * who wants more waits; a receive is posted again when its message has come. Puts and gets are alone on their queue. */
#include "bench/bare_link.h"

#include <stdlib.h>
#include <string.h>

#include "bench/harness.h"

static int find(struct fi_info **info)
{
  struct fi_info *hints = fab_ofi_load() ? NULL : fi_allocinfo();
  if (!hints) return -FI_ENOMEM;
  hints->caps = FI_MSG | FI_RMA;
  hints->mode = FI_CONTEXT | FI_CONTEXT2;
  hints->ep_attr->type = FI_EP_RDM;
  hints->tx_attr->msg_order = hints->rx_attr->msg_order = FI_ORDER_SAS | FI_ORDER_SAW;
  hints->domain_attr->threading = FI_THREAD_DOMAIN;
  hints->domain_attr->control_progress = hints->domain_attr->data_progress = FI_PROGRESS_MANUAL;
  hints->fabric_attr->prov_name = strdup(BARE_PROVIDER);
  int error = fi_getinfo(FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION), "127.0.0.1", NULL, FI_SOURCE, hints, info);
  fi_freeinfo(hints);
  return error;
}

static int open_all(struct bare_link *link, enum fi_wait_obj wait, void *window, size_t bytes)
{
  struct fi_cq_attr queue = {.format = FI_CQ_FORMAT_MSG, .wait_obj = wait};
  struct fi_av_attr addresses = {.type = FI_AV_TABLE};
  int error = find(&link->info);
  if (!error) error = fi_fabric(link->info->fabric_attr, &link->fabric, NULL);
  if (!error) error = fi_domain(link->fabric, link->info, &link->domain, NULL);
  if (!error) error = fi_cq_open(link->domain, &queue, &link->cq, NULL);
  if (!error) error = fi_av_open(link->domain, &addresses, &link->av, NULL);
  if (!error) error = fi_endpoint(link->domain, link->info, &link->ep, NULL);
  if (!error) error = fi_ep_bind(link->ep, &link->cq->fid, FI_TRANSMIT | FI_RECV);
  if (!error) error = fi_ep_bind(link->ep, &link->av->fid, 0);
  if (!error) error = fi_enable(link->ep);
  if (!error) error = fi_mr_reg(link->domain, window, bytes, FI_REMOTE_READ | FI_REMOTE_WRITE, 0, 1, 0, &link->mr, NULL);
  return error;
}

void bare_link_open(struct bare_link *link, enum fi_wait_obj wait, void *window, size_t bytes, struct bare_contact *contacts)
{
  struct bare_contact *own = &contacts[uma_device()], *other = &contacts[!uma_device()];
  size_t room = sizeof own->address;
  *link = (struct bare_link){0};
  bench_check(open_all(link, wait, window, bytes), "libfabric");
  bench_check(fi_getname(&link->ep->fid, own->address, &room), "fi_getname");
  own->key = fi_mr_key(link->mr);
  bench_barrier();
  bench_require(fi_av_insert(link->av, other->address, 1, &link->other, 0, NULL) == 1, "fi_av_insert failed");
  link->key = other->key;
}

void bare_link_close(struct bare_link *link)
{
  struct fid *all[] = {&link->ep->fid, &link->mr->fid, &link->cq->fid, &link->av->fid, &link->domain->fid, &link->fabric->fid};
  for (int i = 0; i < 6; i++) fi_close(all[i]);
  fi_freeinfo(link->info);
  free(link->in);
}

/* ---- one-sided */

static void wait_for_one(struct bare_link *link)
{
  struct fi_cq_msg_entry entry;
  ssize_t count;
  do count = fi_cq_read(link->cq, &entry, 1);
  while (count == -FI_EAGAIN);
  bench_require(count == 1, "libfabric: %s", fi_strerror((int)-count));
}

void bare_progress(struct bare_link *link)
{
  struct fi_cq_msg_entry entry;
  fi_cq_read(link->cq, &entry, 1);
}

void bare_put(struct bare_link *link, const void *local, size_t bytes)
{
  struct iovec vector = {(void *)local, bytes};
  struct fi_rma_iov remote = {0, bytes, link->key};
  struct fi_msg_rma message = {&vector, NULL, 1, link->other, &remote, 1, &link->contexts[0], 0};
  ssize_t error;
  while ((error = fi_writemsg(link->ep, &message, FI_COMPLETION | FI_DELIVERY_COMPLETE)) == -FI_EAGAIN) bare_progress(link);
  bench_require(!error, "libfabric: %s", fi_strerror((int)-error));
  wait_for_one(link);
}

void bare_get(struct bare_link *link, void *local, size_t bytes)
{
  ssize_t error;
  while ((error = fi_read(link->ep, local, bytes, NULL, link->other, 0, link->key, &link->contexts[0])) == -FI_EAGAIN) bare_progress(link);
  bench_require(!error, "libfabric: %s", fi_strerror((int)-error));
  wait_for_one(link);
}

/* ---- messages */

static void post(struct bare_link *link, int index)
{
  ssize_t error = fi_recv(link->ep, link->in[index], BARE_MESSAGE, NULL, FI_ADDR_UNSPEC, &link->contexts[index]);
  bench_require(!error, "libfabric: %s", fi_strerror((int)-error));
}

void bare_listen(struct bare_link *link)
{
  link->in = calloc(BARE_UNDER_WAY, sizeof *link->in);
  bench_require(link->in, "no memory for messages");
  for (int i = 0; i < BARE_UNDER_WAY; i++) post(link, i);
}

static void poll_queue(struct bare_link *link)
{
  struct fi_cq_msg_entry entries[BARE_UNDER_WAY];
  ssize_t count = fi_cq_read(link->cq, entries, BARE_UNDER_WAY);
  bench_require(count > 0 || count == -FI_EAGAIN, "libfabric: %s", fi_strerror((int)-count));
  for (ssize_t i = 0; i < count; i++) {
    int index = (int)((struct fi_context2 *)entries[i].op_context - link->contexts);
    if (index >= BARE_UNDER_WAY) {
      link->sending--;
      continue;
    }
    link->arrived++;
    post(link, index);
  }
}

/* The context of what is to be sent. */
static struct fi_context2 *begin_send(struct bare_link *link)
{
  while (link->sending == BARE_UNDER_WAY) poll_queue(link);
  link->sending++;
  return &link->contexts[BARE_UNDER_WAY + link->next++ % BARE_UNDER_WAY];
}

void bare_send(struct bare_link *link, const void *message, size_t bytes)
{
  ssize_t error;
  struct fi_context2 *context = begin_send(link);
  while ((error = fi_send(link->ep, message, bytes, NULL, link->other, context)) == -FI_EAGAIN) poll_queue(link);
  bench_require(!error, "libfabric: %s", fi_strerror((int)-error));
}

void bare_write(struct bare_link *link, const void *data, size_t bytes)
{
  ssize_t error;
  struct fi_context2 *context = begin_send(link);
  while ((error = fi_write(link->ep, data, bytes, NULL, link->other, 0, link->key, context)) == -FI_EAGAIN) poll_queue(link);
  bench_require(!error, "libfabric: %s", fi_strerror((int)-error));
}

void bare_receive(struct bare_link *link)
{
  while (!link->arrived) poll_queue(link);
  link->arrived--;
}

void bare_settle(struct bare_link *link)
{
  while (link->sending) poll_queue(link);
}
