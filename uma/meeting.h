/* Meetings: how the devices of one group exchange a little data and wait for each other, once.
 *
 * Each device has two slots a channel, used by turns. To take part in a meeting a device writes its contribution into
 * uma_meeting_mine(), calls uma_meeting_meet(), and then reads the contributions of all by uma_meeting_data(), until it comes to the
 * next meeting. All devices hold the same meetings in the same order; channels are independent of each other.
 * A device also has scratch memory a channel for what is staged on its way.
 */
#ifndef UMA_MEETING_H
#define UMA_MEETING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/fabric.h"
#include "fabric/futex.h"

#define UMA_SLOT_BYTES 4096 /* the most that a device contributes to a meeting */

/* The flag is in the line of the first bytes, so that one transfer brings both. 128 bytes more than a page, so that
 * the slots of different devices do not fall into the same set of the cache. */
struct uma_slot {
  _Alignas(2 * FAB_CACHE_LINE) _Atomic uint64_t meeting; /* the number of the meeting that the data is for */
  unsigned char data[UMA_SLOT_BYTES + 2 * FAB_CACHE_LINE - sizeof(uint64_t)];
};
_Static_assert(sizeof(struct uma_slot) == UMA_SLOT_BYTES + 2 * FAB_CACHE_LINE, "shared structure");

/* Private to its device; in shared memory because it has to begin at 0 with each session. */
struct uma_attendance {
  _Alignas(2 * FAB_CACHE_LINE) uint64_t meetings;
};

struct uma_meeting_room {
  _Alignas(2 * FAB_CACHE_LINE) _Atomic uint32_t arrived; /* to the meeting under way; counted when oversubscribed only */
  _Alignas(2 * FAB_CACHE_LINE) _Atomic uint64_t held;    /* the last meeting that everybody has come to; likewise */
  _Alignas(2 * FAB_CACHE_LINE) struct fab_bell bell;     /* rung once everybody has come */
  struct uma_slot result[2];
};

/* Scratch memory of a device and channel, in three parts. */
enum uma_scratch { UMA_SCRATCH_IN, UMA_SCRATCH_OUT, UMA_SCRATCH_RECEIVED, UMA_SCRATCHES };
#define UMA_SCRATCH_MOST ((size_t)1 << 20)
#define UMA_SCRATCH_LEAST ((size_t)64 << 10)

/* One process's view of a channel's area. */
struct uma_meeting {
  enum fab_channel channel;
  struct uma_meeting_room *room;
  struct uma_slot *slots;            /* [2][count] */
  struct uma_attendance *attendance; /* this device's */
  int me, count;                     /* place among the devices of the group, and their number */
  bool counted;                      /* more devices than processors */
};

void uma_meeting_open(struct uma_meeting *meeting, enum fab_channel channel);

static inline struct uma_slot *uma_meeting_slot(const struct uma_meeting *meeting, uint64_t number, int i)
{
  return &meeting->slots[(number & 1) * (uint64_t)meeting->count + (uint64_t)i];
}
/* Where this device's contribution to the next meeting goes. */
static inline void *uma_meeting_mine(const struct uma_meeting *meeting)
{
  return uma_meeting_slot(meeting, meeting->attendance->meetings + 1, meeting->me)->data;
}
/* What the i-th device of the group has contributed to the meeting just held. */
static inline const void *uma_meeting_data(const struct uma_meeting *meeting, int i)
{
  return uma_meeting_slot(meeting, meeting->attendance->meetings, i)->data;
}
/* The result of the meeting under way or just held, UMA_SLOT_BYTES; for `last` below. */
static inline void *uma_meeting_result(const struct uma_meeting *meeting)
{
  return meeting->room->result[meeting->attendance->meetings & 1].data;
}
/* Waits until all have come. When counted, the last one to come calls last(meeting, context) first, if that is not NULL: it sees all
 * contributions and may write a result, which everybody sees. Without counting it is not called. 0 or -EHOSTDOWN. */
int uma_meeting_meet(struct uma_meeting *meeting, void (*last)(struct uma_meeting *meeting, void *context), void *context);

/* All devices of the session, of all groups, by meetings and messages: what a barrier is (sync.c). 0 or -EHOSTDOWN with the sentence. */
int uma_meet_all(enum fab_channel channel);

size_t uma_scratch_bytes(int count); /* usable bytes of one scratch part, of `count` devices; never grows with count */
unsigned char *uma_scratch_of(const struct uma_meeting *meeting, int i, enum uma_scratch part);

#endif
