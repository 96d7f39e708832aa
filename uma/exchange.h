/* How devices that have endpoints of fab_ofi (uma_shape_has_contacts) learn each other's contacts (struct fab_contact) when a session starts: each
 * gives its own and gets all. Under `uma run` and uma_spawn the keeper collects and distributes them over a socket that each device inherits,
 * else PMIx does (job.h). */
#ifndef UMA_EXCHANGE_H
#define UMA_EXCHANGE_H

#include <netinet/in.h>
#include <poll.h>

#include "uma/session.h"

/* ---- by a device: exchanges the contacts of all its endpoints, and connects them. 0 or -errno with the sentence; -ENOTCONN: a device has
 * ended without joining. */
int uma_exchange_contacts(const struct uma_inheritance *from);

/* ---- by the keeper */
struct uma_exchange;
int uma_exchange_open(int devices, struct uma_exchange **exchange);    /* 0 or -errno with the sentence */
int uma_exchange_end(const struct uma_exchange *exchange, int device); /* the socket that the device inherits */
void uma_exchange_keep(struct uma_exchange *exchange, int device);     /* in the device, without exec: closes all ends but its own */
void uma_exchange_started(struct uma_exchange *exchange, int device);  /* the device has its end */
void uma_exchange_ended(struct uma_exchange *exchange, int device);    /* it will not give anything any more */
int uma_exchange_poll_set(const struct uma_exchange *exchange, struct pollfd *fds); /* how many, at most one a device */
void uma_exchange_forward(struct uma_exchange *exchange);                           /* takes what there is; never waits */
void uma_exchange_close(struct uma_exchange *exchange);

/* ---- sockets */
/* A listening socket of any port at the address, which is of this host. 0 or -errno with the sentence. */
int uma_listen(struct in_addr address, int *fd, uint16_t *port);
/* A descriptor over a Unix socket. */
int uma_fd_send(int socket, int fd);       /* 0 or -errno */
int uma_fd_receive(int socket, int flags); /* close-on-exec, or -errno; flags as of recv(2) */

#endif
