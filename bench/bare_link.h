/* Two devices and libfabric, with nothing in between: what the fabric `ofi`, and sessions over several hosts, are compared with. The same
 * provider as theirs, the same kind of endpoint (FI_EP_RDM on loopback), one queue for completions, registered memory; whoever waits spins
 * on its queue. */
#ifndef BENCH_BARE_LINK_H
#define BENCH_BARE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/ofi_load.h"

#define BARE_PROVIDER "tcp;ofi_rxm"
#define BARE_MESSAGE 8192 /* the longest message */
enum { BARE_UNDER_WAY = 8 /* receives that are posted, and sends that may be */ };

struct bare_contact {
  unsigned char address[64];
  uint64_t key; /* of the window */
};

struct bare_link {
  struct fi_info *info;
  struct fid_fabric *fabric;
  struct fid_domain *domain;
  struct fid_cq *cq;
  struct fid_av *av;
  struct fid_ep *ep;
  struct fid_mr *mr;
  fi_addr_t other;
  uint64_t key;                                    /* of the other's window */
  struct fi_context2 contexts[2 * BARE_UNDER_WAY]; /* receives, then sends */
  unsigned char (*in)[BARE_MESSAGE];
  int arrived;   /* messages not yet taken by bare_receive */
  int sending;   /* sends and writes not yet complete */
  unsigned next; /* of them */
};

/* Collective, in devices 0 and 1; contacts: by device, shared by both. They end the device on an error. */
void bare_link_open(struct bare_link *link, enum fi_wait_obj wait, void *window, size_t bytes, struct bare_contact *contacts);
void bare_link_close(struct bare_link *link);

/* One-sided, complete when it is done there. */
void bare_put(struct bare_link *link, const void *local, size_t bytes);
void bare_get(struct bare_link *link, void *local, size_t bytes);
void bare_progress(struct bare_link *link);

/* Messages, once bare_listen has posted receives. */
void bare_listen(struct bare_link *link);
void bare_send(struct bare_link *link, const void *message, size_t bytes); /* `message` stays as it is until later calls */
/* Into the other's window, before whatever is sent afterwards comes there; `data` likewise. */
void bare_write(struct bare_link *link, const void *data, size_t bytes);
void bare_receive(struct bare_link *link); /* any one */
void bare_settle(struct bare_link *link);  /* until all sends are complete */

#endif
