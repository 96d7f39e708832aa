/* Modelled time: see modelled.h. Times of a transaction are its thread's own; those of an access belong to whoever has its frame locked. */
#include "coherence/modelled.h"

void coh_time_begin(const struct coh_clock *clock, struct coh_time *time, struct coh_wait_time *wait)
{
  time->charged = clock && clock->begin(clock->context, &time->front);
  if (!time->charged) return;
  time->now = wait->latest = wait->done_at = time->front.ticks;
  wait->front = time->front;
}

void coh_time_end(const struct coh_clock *clock, const struct coh_wait_time *wait)
{
  struct coh_moment moment = wait->front;
  moment.ticks = wait->done_at;
  clock->end(clock->context, &moment);
}

/* What was won over the latest arrival so far is this hop's, as far as it took so long. */
static void advance(struct coh_moment *front, const struct coh_moment *arrival, uint64_t departed)
{
  if (arrival->ticks <= front->ticks) return;
  uint64_t won = arrival->ticks - front->ticks, whole = arrival->ticks - departed;
  for (int i = 0; i < COH_MOMENT_PARTS; i++)
    front->parts[i] += won < whole ? (uint64_t)((unsigned __int128)arrival->parts[i] * won / whole) : arrival->parts[i];
  front->ticks = arrival->ticks;
}

uint64_t coh_time_hop(const struct coh_clock *clock, struct coh_time *time, const struct coh_hop *hop, uint64_t ticks)
{
  struct coh_moment moment = {.ticks = ticks};
  clock->hop(clock->context, hop->from, hop->to, hop->data, &moment);
  advance(&time->front, &moment, ticks);
  return moment.ticks;
}

void coh_time_step(struct coh_time *time, uint64_t ticks, bool at_home)
{
  time->now = ticks;
  if (!at_home) return;
  if (time->home_now > time->now) time->now = time->home_now;
  time->home_now = time->now;
}

void coh_time_meet(struct coh_time *time, struct coh_wait_time *wait)
{
  if (wait->latest < time->now) wait->latest = time->now;
  time->now = wait->latest;
  if (wait->front.ticks < time->front.ticks) wait->front = time->front;
}

/* ---- Other hosts ------------------------------------------------------------------------------------------------- */

void coh_time_depart(const struct coh_clock *clock, const struct coh_time *time, const struct coh_hop *hop, uint64_t ticks,
                     struct coh_stamp *stamp)
{
  *stamp = (struct coh_stamp){.ticks = ticks, .front = time->front};
  clock->depart(clock->context, hop->from, hop->to, hop->data, ticks, &stamp->flight);
}

uint64_t coh_time_resume(const struct coh_clock *clock, struct coh_time *time, const struct coh_hop *hop, const struct coh_stamp *stamp)
{
  struct coh_moment moment = {.ticks = stamp->ticks};
  time->charged = true;
  time->front = stamp->front;
  if (stamp->flight.leg == COH_ARRIVED) return stamp->ticks;
  clock->land(clock->context, hop->from, hop->to, hop->data, &stamp->flight, &moment);
  advance(&time->front, &moment, stamp->ticks);
  return moment.ticks;
}

struct coh_stamp coh_time_stamp(const struct coh_time *time, uint64_t ticks)
{
  return (struct coh_stamp){.ticks = ticks, .front = time->front, .flight = {.leg = COH_ARRIVED}};
}
