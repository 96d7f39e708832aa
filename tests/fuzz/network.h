/* A provider of libfabric without a network: what one endpoint posts waits here until a test says how it ends, and a test puts messages into the
 * receives that it posted. There is one endpoint at a time, in a program of one thread.
 *
 * fabric/ofi_load.c loads "libfabric.so.1". network_load loads libfabric.c under that name first, so this process gets that one: it forwards
 * to here. A process that has called network_load sees no real provider any more, and the other way round. */
#ifndef TESTS_FUZZ_NETWORK_H
#define TESTS_FUZZ_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fabric/ofi_load.h"

enum network_what { NETWORK_SEND, NETWORK_READ, NETWORK_WRITE, NETWORK_ATOMIC, NETWORK_WHATS };

struct network_operation {
  enum network_what what;
  void *context, *memory;
  size_t bytes;
  int peer; /* number: the first byte of its contact's address */
};

struct network_config {
  uint64_t mr_mode;
  bool atomics;
  size_t message_most;                                       /* max_msg_size */
  void (*idle)(void);                                        /* somebody looks for completions and there are none */
  void (*received)(const unsigned char *wire, size_t bytes); /* a message is handed over */
};

void network_load(void); /* aborts when libfabric.c is not there */
void network_reset(const struct network_config *config);
int network_objects(void);     /* of libfabric that are not closed */
unsigned network_posted(void); /* receives in the provider's hands: posted, or filled and not yet handed over */
unsigned network_queued(void); /* completions that nobody has taken yet */

/* Into the oldest receive; more than fits is an error of that receive. False: none is posted. */
bool network_deliver(const unsigned char *wire, size_t bytes);
bool network_fail_receive(int error);
/* The `count` next attempts to post answer `error`; and the same for registrations of memory. */
void network_refuse(enum network_what what, unsigned count, int error);
void network_refuse_memory(unsigned count, int error);

unsigned network_pending(void); /* operations; by their age */
const struct network_operation *network_operation(unsigned index);
void network_complete(unsigned index, int error);         /* a read or atomic that ends well writes its memory now */
bool network_writes_to(const void *memory, size_t bytes); /* is a read into it pending? */
void network_forget(const void *memory, size_t bytes);    /* a read into it will write nothing */

#endif
