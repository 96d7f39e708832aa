/* Modelled time of one transaction (struct coh_clock of engine.h says what a clock is): engine.c keeps it, and knows who sends what to whom. */
#ifndef COH_MODELLED_H
#define COH_MODELLED_H

#include "coherence/engine.h"

/* Where the transaction is, as far as this host knows. */
struct coh_time {
  bool charged;            /* else nothing else is looked at */
  uint64_t now, home_now;  /* when the step under way is made; the latest that home has seen */
  struct coh_moment front; /* of all arrivals so far the last, with the parts of those that came to be the last */
};
/* Of the access that waits for it, under its frame's lock. */
struct coh_wait_time {
  uint64_t latest, done_at; /* of what has come to its cache the last; when the access is done */
  struct coh_moment front;  /* what led to the latest */
};
/* A message between devices of the domain. Its data counts as the protocol says, whether it is copied here or not. */
struct coh_hop {
  int from, to;
  bool data;
};

void coh_time_begin(const struct coh_clock *clock, struct coh_time *time, struct coh_wait_time *wait);
void coh_time_end(const struct coh_clock *clock, const struct coh_wait_time *wait);
/* When a message that departs at `ticks` arrives. */
uint64_t coh_time_hop(const struct coh_clock *clock, struct coh_time *time, const struct coh_hop *hop, uint64_t ticks);
/* It is given to its controller: a home makes its steps one after the other. */
void coh_time_step(struct coh_time *time, uint64_t ticks, bool at_home);
/* An access is told that something for it came, perhaps to another thread: its step is made at the time of the last. */
void coh_time_meet(struct coh_time *time, struct coh_wait_time *wait);
/* Messages to other hosts, and there; and one that has arrived on this host, but goes on to another of its processes. */
void coh_time_depart(const struct coh_clock *clock, const struct coh_time *time, const struct coh_hop *hop, uint64_t ticks,
                     struct coh_stamp *stamp);
uint64_t coh_time_resume(const struct coh_clock *clock, struct coh_time *time, const struct coh_hop *hop, const struct coh_stamp *stamp);
struct coh_stamp coh_time_stamp(const struct coh_time *time, uint64_t ticks);

#endif
