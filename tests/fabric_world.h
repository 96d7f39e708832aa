/* Nodes with endpoints of one fabric, for the tests of fabrics: each a process of its own. Over the simulated fabric, whose endpoints live
 * in one process, each is a thread, and they take turns: node_step and node_yield hand over, in the same order in every run. */
#ifndef TESTS_FABRIC_WORLD_H
#define TESTS_FABRIC_WORLD_H

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/types.h>

#include "fabric/sim.h"
#include "tests/pattern.h"

#define WORLD_MAX 16
#define WORLD_WINDOW 65536

struct node;

/* A message that arrived. The list of a node is in order of completion. */
struct world_message {
  struct world_message *next;
  struct fab_header header;
  unsigned char *data;
  size_t room;
  int device, channel, error;
  struct node *adopter; /* that has to release the data; NULL: the message's own */
};

struct world {
  const struct fab_ops *ops;
  int devices;
  bool wake_fds;            /* give shm eventfds */
  bool together;            /* bodies begin when all endpoints are open and know each other */
  size_t most_room;         /* what arrive grants at most; 0: no limit */
  struct fab_config config; /* what all endpoints have in common */
  int listen_fd[WORLD_MAX], wake_fd[WORLD_MAX];
  uint16_t ports[WORLD_MAX * FAB_CHANNELS];
  struct fab_contact *contacts; /* shared; of the endpoints that are open, and how many times one was opened behind them */
  _Atomic uint64_t *shared;     /* a page of zeroed words for the test's own use */
  pid_t pids[WORLD_MAX];
  /* sim: whose turn it is (WORLD_MAX: the test's own thread), and who takes part, under `lock` */
  pthread_mutex_t lock;
  int turn;
  struct world_actor {
    struct world *world;
    int (*body)(struct node *node);
    pthread_t thread;
    pthread_cond_t handed; /* its turn has come */
    bool running, killed, well;
  } actors[WORLD_MAX + 1];
};

struct node {
  struct world *world;
  int device;
  const struct fab_ops *ops;
  struct fab_endpoint *endpoint;
  struct world_message *first, **end;
  uint64_t seen;                         /* of the contacts */
  int arrived, completed, adopted, lost; /* how many upcalls */
  int lost_device;
};

/* The fabric number `index` that has `capability`, where this host allows it; NULL behind the last. Begins with 0. */
const struct fab_ops *world_fabric(unsigned capability, int index);

void world_create(struct world *world, const struct fab_ops *ops, int devices);
void world_destroy(struct world *world);
/* Runs `body` for each device as a node of its own, the endpoint open; true when all ended well. A minute without end is a failure. */
bool world_run(struct world *world, int (*body)(struct node *node));
void world_start(struct world *world, int device, int (*body)(struct node *node)); /* one of them */
bool world_ended_well(struct world *world, int device);                            /* waits for its end */
void world_kill(struct world *world, int device);                                  /* in the middle of whatever it does */

int node_open(struct node *node, struct world *world, int device);
void node_close(struct node *node);
void node_meet(struct node *node, int devices);                       /* waits until that many endpoints have been opened */
void node_step(struct node *node);                                    /* progress; lets others run when nothing moved */
void node_yield(struct node *node);                                   /* lets others run */
void node_post(struct node *node, int device, struct fab_send *send); /* send on the application's channel */
int node_finish(struct node *node, struct fab_send *send);            /* progress until it has left; its status */
int node_send(struct node *node, int device, int tag, const void *payload, size_t bytes, bool staged); /* post and finish */
struct world_message *node_receive(struct node *node); /* the next message; the caller frees it */
void message_free(struct world_message *message);

/* In the body of a node: it fails, saying where. */
#define must(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
      return 1; \
    } \
  } while (0)

#endif
