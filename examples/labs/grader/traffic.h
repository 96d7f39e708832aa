/* Access patterns, and what they may cost: a model of the messages that a contract asks for, access by access, without any table. */
#ifndef LAB_TRAFFIC_H
#define LAB_TRAFFIC_H

#include "machine.h"

enum { TRAFFIC_STEPS = 4096 };

struct pattern {
  const char *name;
  int devices, count;
  struct {
    uint8_t type, device; /* COH_LOAD, COH_STORE or COH_EVICT */
  } steps[TRAFFIC_STEPS];
};

/* One device loads its own line, stores into it, and gives it back. */
void pattern_private(struct pattern *pattern, int devices, int device, int rounds);
/* One device after the other loads the line, then stores into it. */
void pattern_migratory(struct pattern *pattern, int devices, int rounds);
/* One device stores, then `readers` others load. */
void pattern_producer_consumer(struct pattern *pattern, int devices, int producer, int readers, int rounds);
/* All devices load again and again, and once a round one of them stores. */
void pattern_read_mostly(struct pattern *pattern, int devices, int writer, int loads, int rounds);
/* One device after the other stores without loading. */
void pattern_write_write(struct pattern *pattern, int devices, int rounds);
/* Devices load and give the copy up; then one stores, and gives the line back. */
void pattern_evictions(struct pattern *pattern, int devices, int readers, int rounds);

/* What is agreed on. */
struct contract {
  bool confirms; /* a store awaits an ack from each sharer, a transaction ends with an Unblock, and an eviction is answered */
  bool relays; /* an owner's data goes to the home, which sends it on; else the owner answers by itself (and, for a load, tells the home) */
  bool notices;   /* who gives a clean copy up tells the home */
  bool exclusive; /* E: who reads a line that nobody has may store without a message */
  bool owned;     /* O: an owner that is read from stays the owner, and memory is not written */
};

struct cost {
  uint64_t messages, data; /* data: of these, with the line */
};

struct cost contract_cost(const struct contract *contract, const struct pattern *pattern);
/* Runs the pattern; false when the machine says what is wrong. */
bool pattern_run(const struct pattern *pattern, struct machine *machine);

#endif
