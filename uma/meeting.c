/* Meetings of the devices of one group (meeting.h), in two ways.
 *
 * With a processor for each device: everybody stores the meeting's number into its slot (release, after its contribution) and waits for the
 * same number in all others (acquire). Two slots by turns suffice: who writes slot n + 2 has seen everybody come to n + 1, and nobody
 * comes to n + 1 before it is done with reading n.
 *
 * With more devices than processors: everybody adds one to `arrived` (acquire and release, so the last one has seen all contributions), the
 * last one sets it back to 0 and stores the meeting's number into `held` (release), for which the others wait (acquire). One visit
 * to the processor is then enough for each device, and its cost does not depend on their number. The count is 0 again before anybody
 * can come to the next meeting, and `result` has two turns for the same reason as the slots.
 *
 * Sleeping: only the device that completes a meeting has to wake sleepers, and with flags it cannot know that it is the one, so all
 * ring. fab_bell_ring would cost a full fence while the flag's line is still on its way; instead the ringer looks at
 * `sleepers` without a fence, and who wants to sleep announces itself and then keeps looking for GRACE_NS. A store leaves
 * the processor long before that, so a flag that the ringer set before it looked is seen; sleeps are bounded if it is not.
 * Numbers are 64 bits wide and never wrap.
 */
#include "uma/meeting.h"

#include <errno.h>

#include "uma/clock.h"
#include "uma/collective.h"
#include "uma/session.h"
#include "uma/wait.h"
#include "uma/wire.h"

#define GRACE_NS 20000
#define SCRATCH_ALL ((size_t)64 << 20)
#define PAGE ((size_t)4096)

static size_t round_up(size_t bytes, size_t unit)
{
  return (bytes + unit - 1) / unit * unit;
}

size_t uma_scratch_bytes(int count)
{
  size_t share = SCRATCH_ALL / (size_t)count;
  share -= share % PAGE;
  return share > UMA_SCRATCH_MOST ? UMA_SCRATCH_MOST : share < UMA_SCRATCH_LEAST ? UMA_SCRATCH_LEAST : share;
}

/* Twice the usable size and two lines for each device: see collective_far.c on what is packed there. */
static size_t scratch_stride(int count)
{
  return round_up(2 * uma_scratch_bytes(count) + 2 * FAB_CACHE_LINE * UMA_MAX_DEVICES, PAGE) + 2 * FAB_CACHE_LINE;
}

/* Of the areas of all channels: the rooms, then what each device has of its own, then the slots, then the scratch. */
static size_t attendance_offset(void)
{
  return UMA_MAILBOXES * sizeof(struct uma_meeting_room);
}

static size_t slots_offset(int count)
{
  return attendance_offset() + UMA_MAILBOXES * (size_t)count * sizeof(struct uma_attendance);
}

static size_t scratch_offset(int count)
{
  return round_up(slots_offset(count) + UMA_MAILBOXES * 2 * (size_t)count * sizeof(struct uma_slot), PAGE);
}

size_t uma_collective_bytes(int count)
{
  return scratch_offset(count) + UMA_MAILBOXES * (size_t)count * UMA_SCRATCHES * scratch_stride(count);
}

void uma_meeting_open(struct uma_meeting *meeting, enum fab_channel channel)
{
  int count = uma_self.count, me = uma_self.device - uma_self.first;
  unsigned char *area = uma_self.segment + uma_self.layout.collectives;
  meeting->channel = channel;
  meeting->room = (struct uma_meeting_room *)area + channel;
  meeting->attendance = (struct uma_attendance *)(area + attendance_offset()) + (int)channel * count + me;
  meeting->slots = (struct uma_slot *)(area + slots_offset(count)) + (int)channel * 2 * count;
  meeting->me = me;
  meeting->count = count;
  meeting->counted = uma_self.shape.oversubscribed;
}

unsigned char *uma_scratch_of(const struct uma_meeting *meeting, int i, enum uma_scratch part)
{
  size_t index = ((size_t)meeting->channel * (size_t)meeting->count + (size_t)i) * UMA_SCRATCHES + part;
  return uma_self.segment + uma_self.layout.collectives + scratch_offset(meeting->count) + index * scratch_stride(meeting->count);
}

static bool has_come(_Atomic uint64_t *word, uint64_t number)
{
  return atomic_load_explicit(word, memory_order_acquire) == number;
}

/* Announces, looks for a while longer, then sleeps. */
static int sleep_for(struct fab_bell *bell, _Atomic uint64_t *word, uint64_t number)
{
  if (uma_any_lost() && !has_come(word, number)) return -EHOSTDOWN;
  uint32_t rings = fab_bell_begin(bell);
  uint64_t until_ns = fab_now_ns() + GRACE_NS;
  bool come;
  while (!(come = has_come(word, number)) && fab_now_ns() < until_ns) fab_pause();
  if (!come) fab_bell_sleep(bell, rings, UMA_SLEEP_NS);
  fab_bell_end(bell);
  return 0;
}

static int wait_for(struct fab_bell *bell, _Atomic uint64_t *word, uint64_t number)
{
  struct uma_waiter waiter = {0};
  int error = 0;
  while (!error && !has_come(word, number)) {
    if (uma_self.wire) uma_wire_help(uma_self.wire);
    if (!uma_wait_step(&waiter)) error = sleep_for(bell, word, number);
  }
  return error;
}

static void wake(struct fab_bell *bell)
{
  if (atomic_load_explicit(&bell->sleepers, memory_order_relaxed)) fab_bell_ring(bell);
}

static int meet_by_flags(struct uma_meeting *meeting, uint64_t number)
{
  struct fab_bell *bell = &meeting->room->bell;
  atomic_store_explicit(&uma_meeting_slot(meeting, number, meeting->me)->meeting, number, memory_order_release);
  for (int i = 0; i < meeting->count; i++) {
    int error = wait_for(bell, &uma_meeting_slot(meeting, number, i)->meeting, number);
    if (error) return error;
  }
  wake(bell);
  return 0;
}

static int meet_by_count(struct uma_meeting *meeting, uint64_t number, void (*last)(struct uma_meeting *, void *), void *context)
{
  struct uma_meeting_room *room = meeting->room;
  uint32_t before = atomic_fetch_add_explicit(&room->arrived, 1, memory_order_acq_rel);
  if (before + 1 < (uint32_t)meeting->count) return wait_for(&room->bell, &room->held, number);
  if (last) last(meeting, context);
  atomic_store_explicit(&room->arrived, 0, memory_order_relaxed);
  atomic_store_explicit(&room->held, number, memory_order_release);
  fab_bell_ring(&room->bell);
  return 0;
}

int uma_meeting_meet(struct uma_meeting *meeting, void (*last)(struct uma_meeting *meeting, void *context), void *context)
{
  /* Whoever leaves a meeting that is not complete has seen a loss, and losses are for ever: so nobody is counted for a later meeting
   * while others are at this one. */
  if (uma_any_lost()) return -EHOSTDOWN;
  uint64_t number = ++meeting->attendance->meetings;
  uma_crossing();
  if (uma_self.clock) uma_clock_meet(number);
  int result = meeting->counted ? meet_by_count(meeting, number, last, context) : meet_by_flags(meeting, number);
  if (uma_self.clock && !result) uma_clock_met(number);
  uma_crossing();
  return result;
}
