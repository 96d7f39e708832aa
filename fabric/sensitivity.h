/* How much hangs on what nobody has published: closed forms with each assumed number at either end of its range. */
#ifndef FAB_SENSITIVITY_H
#define FAB_SENSITIVITY_H

#include "fabric/topology.h"

/* What is looked at: of the first `n` devices of the machine. */
enum fab_measure {
  FAB_FARTHEST_LOAD, /* a load of 8 B from the last device that the first reaches by load and store */
  FAB_FARTHEST_COPY, /* a copy of 1 MiB from the first to the last device, by the best way */
  FAB_ALLREDUCE,     /* a ring all-reduce of 256 MiB */
  FAB_ALLTOALL,      /* 64 KiB from each to each */
  FAB_PROGRESS,      /* an hour of progress of a job on all devices, with failures, checkpoints and restarts */
  FAB_MEASURES
};
extern const char *const fab_measure_names[FAB_MEASURES];

/* 0 and ticks, or -errno. */
int fab_measure(const struct fab_profile *profile, const struct fab_topology *topology, enum fab_measure measure, uint64_t *ticks);

/* Whether it is assumed, with a range, and a number that a clock can depend on: no count, power, energy or ratio, nothing of reliability. Counts say
 * what the machine is, not how fast its parts are; with another one the topology would not add up. */
bool fab_is_swayed(const struct fab_named_quantity *named);

struct fab_sway {
  const struct fab_named_quantity *quantity;
  double low, high; /* the measure with the number at that end : with the number as it is */
};

/* The assumed numbers that sway the measure by a thousandth or more, the strongest first, at most `room`. How many, or -errno. The profile is
 * changed on the way and is as before at the end. */
int fab_sensitivity(struct fab_profile *profile, uint64_t n, enum fab_measure measure, struct fab_sway *sways, int room);
void fab_print_sensitivity(FILE *out, bool html, struct fab_profile *profile, uint64_t n);

#endif
