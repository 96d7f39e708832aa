/* What the operations of a session charge to the modelled clocks (clock.h), and the public questions about these.
 *
 * Private memory is taken to be in the memory of the device that uses it. What a device computes with plain instructions is not seen, nor are
 * its plain loads and stores (of cached pages, all but the faults): uma_compute and uma_charge_* say what they would be. */
#include <errno.h>

#include "uma/clock.h"
#include "uma/coherent.h"
#include "uma/meeting.h"
#include "uma/stream.h"

static int home_or_self(const void *pointer)
{
  int home = uma_home(pointer);
  return home < 0 ? uma_self.device : home;
}

/* Who carries it out, and whether the other side's bytes lie in its cache. */
static enum uma_flight_kind flight_of(const void *dst, const void *src, size_t bytes, int from, int to)
{
  int me = uma_self.device;
  if ((from == me) == (to == me)) return UMA_FLIGHT_COPY;
  bool get = to == me, near = uma_clock_path(from, to)->way == FAB_WAY_LOAD_STORE;
  bool cached = near && uma_clock_cached(get ? src : dst, bytes);
  if (get) return cached ? UMA_FLIGHT_CACHED_GET : UMA_FLIGHT_GET;
  return cached ? UMA_FLIGHT_CACHED_PUT : UMA_FLIGHT_PUT;
}

/* In access mode `line` the caches charge what they bring from this domain, and what is copied between them and private memory. */
void uma_clock_copy(const void *dst, const void *src, size_t bytes)
{
  int from = home_or_self(src), to = home_or_self(dst), me = uma_self.device;
  if (uma_self.lines) {
    from = uma_is_near(from) ? me : from;
    to = uma_is_near(to) ? me : to;
  }
  if (from == me && to == me && uma_self.lines && (uma_is_cached(src, bytes) || uma_is_cached(dst, bytes))) return;
  struct coh_moment moment = uma_clock_moment();
  if (from != me && to != me) uma_clock_fly(me, from, 0, UMA_FLIGHT_CONTROL, &moment); /* it asks the one to send to the other */
  uma_clock_fly(from, to, bytes, flight_of(dst, src, bytes, from, to), &moment);
  uma_clock_reach(&moment);
}

/* ---- Messages ---------------------------------------------------------------------------------------------------- */

/* Its bytes have left when they are through the first leg. */
void uma_clock_send(int device, struct fab_header *header)
{
  const struct fab_path *path = uma_clock_path(uma_self.device, device);
  struct coh_moment arrival = uma_clock_moment();
  header->a = arrival.ticks;
  uma_clock_fly(uma_self.device, device, header->bytes, UMA_FLIGHT_MESSAGE, &arrival);
  header->b = arrival.ticks;
  enum uma_part_of_time part = device == uma_self.device         ? UMA_MEMORY
                               : path->way == FAB_WAY_LOAD_STORE ? UMA_SCALE_UP
                               : path->way == FAB_WAY_STAGED     ? UMA_STAGING
                                                                 : UMA_NETWORK;
  uma_clock_spend(part, uma_clock_departure(uma_self.device, device, header->bytes));
}

/* What is missing to its arrival is the way's, as far as that was on it; before it departed this device waited for the other. */
void uma_clock_receive(int device, const struct fab_header *header)
{
  struct coh_moment moment = {.ticks = header->b < FAB_TICKS_MOST ? header->b : FAB_TICKS_MOST};
  uint64_t flight = moment.ticks > header->a ? moment.ticks - header->a : 0;
  if (header->b < header->a) uma_clock_complain("a message arrived before it departed", header->a, header->b);
  uma_clock_explain(device, uma_self.device, header->bytes, UMA_FLIGHT_MESSAGE, flight, &moment);
  uma_clock_reach(&moment);
  uma_clock_forget();
}

/* ---- Meetings and collectives ------------------------------------------------------------------------------------ */

void uma_clock_meet(uint64_t number)
{
  struct uma_device_clock *clock = &uma_self.clock->devices[uma_self.device][uma_own_channel()];
  uint64_t now = atomic_load_explicit(&clock->now, memory_order_relaxed);
  atomic_store_explicit(&clock->met[number & 1], now, memory_order_relaxed); /* others read it after the meeting */
}

static uint64_t last_of(uint64_t number)
{
  uint64_t last = 0;
  for (int d = uma_self.first; d < uma_self.first + uma_self.count; d++) {
    uint64_t came = atomic_load_explicit(&uma_self.clock->devices[d][uma_own_channel()].met[number & 1], memory_order_relaxed);
    if (came > last) last = came;
  }
  return last;
}

uint64_t uma_clock_last_meeting(enum fab_channel channel)
{
  struct uma_meeting meeting;
  uma_meeting_open(&meeting, channel);
  return last_of(meeting.attendance->meetings);
}

/* Everybody looks at the flags of all others at once, so the farthest decides. */
void uma_clock_met(uint64_t number)
{
  struct coh_moment moment = {.ticks = last_of(number)};
  int first = uma_self.domain_first, count = uma_self.domain_count;
  uma_clock_reach(&moment);
  uma_clock_forget();
  if (count > 1) uma_clock_look(uma_self.device == first ? first + count - 1 : first);
}

/* What it would take if only this device had something to move is where time goes to; beyond that it waits for others. The narrowest link decides how
 * its own bytes follow each other. */
static void move_all(int first, int count, size_t bytes, bool inwards)
{
  struct coh_moment begin = uma_clock_moment(), last = begin;
  enum uma_part_of_time part = UMA_SCALE_UP;
  enum uma_flight_kind how = inwards ? UMA_FLIGHT_GATHER : UMA_FLIGHT_MESSAGE;
  int me = uma_self.device;
  uint64_t turn = begin.ticks, alone = turn;
  for (int step = 0; step < count && bytes; step++) {
    int other = first + (me - first + step) % count; /* everybody begins elsewhere, so that nobody waits for another */
    if (other == me) continue;
    struct coh_moment moment = begin;
    int from = inwards ? other : me, to = inwards ? me : other;
    const struct fab_path *path = uma_clock_path(from, to);
    uma_clock_fly(from, to, bytes, how, &moment);
    if (moment.ticks > last.ticks) last = moment;
    if (moment.ticks >= last.ticks) part = path->way == FAB_WAY_LOAD_STORE ? UMA_SCALE_UP : UMA_NETWORK;
    uint64_t done = uma_clock_alone(from, to, bytes, how, turn);
    if (alone < done) alone = done;
    turn = fab_later(turn, fab_leg_busy(&path->leg[inwards ? path->count - 1 : 0], bytes));
  }
  uint64_t waited = last.ticks > alone ? last.ticks - alone : 0;
  if (waited < last.parts[UMA_WAITING]) {
    last.parts[part] = fab_later(last.parts[part], last.parts[UMA_WAITING] - waited);
    last.parts[UMA_WAITING] = waited;
  }
  uma_clock_reach(&last);
}

void uma_clock_gather(int first, int count, size_t bytes)
{
  move_all(first, count, bytes, true);
}

void uma_clock_scatter(int first, int count, size_t bytes)
{
  move_all(first, count, bytes, false);
}

/* The memory of the one, and its link, serve the others in the order of their numbers from there on, whoever comes by first here. */
void uma_clock_hand_out(int device, size_t bytes, bool together)
{
  int first = uma_self.domain_first, count = uma_self.domain_count;
  struct coh_moment begin = uma_clock_moment(), own = begin, last = begin;
  uint64_t turn = begin.ticks;
  for (int i = 1; i < count; i++) {
    int other = first + (device - first + i) % count;
    const struct fab_path *path = uma_clock_path(device, other);
    if (other == uma_self.device) own.ticks = turn;
    uint64_t done = uma_clock_alone(device, other, bytes, UMA_FLIGHT_GATHER, turn);
    if (last.ticks < done) last.ticks = done;
    turn = fab_later(turn, fab_leg_busy(&path->leg[0], bytes));
  }
  own.parts[UMA_WAITING] = own.ticks - begin.ticks;
  if (uma_self.device != device) uma_clock_fly(device, uma_self.device, bytes, UMA_FLIGHT_GATHER, &own);
  uma_clock_reach(&own);
  if (together) uma_clock_reach(&last);
}

/* ---- Signals: when each word of this host's windows was signalled last, at the place that it has there --------------- */

static _Atomic uint64_t *signal_of(const void *word)
{
  return uma_segment_at(uma_self.layout.signals + (size_t)((const unsigned char *)word - uma_window_of(uma_self.first)));
}

uint64_t uma_clock_signal(const void *word)
{
  uma_clock_access(home_or_self(word), FAB_ACCESS_STORE, sizeof(uint64_t));
  return uma_clock_moment().ticks;
}

void uma_clock_note_signal(const void *word, uint64_t ticks)
{
  _Atomic uint64_t *signal = signal_of(word);
  uint64_t before = atomic_load_explicit(signal, memory_order_relaxed);
  while (before < ticks && !atomic_compare_exchange_weak(signal, &before, ticks)) continue;
}

uint64_t uma_clock_noted_signal(const void *word)
{
  return atomic_load(signal_of(word));
}

void uma_clock_signalled(const void *word)
{
  struct coh_moment moment = {.ticks = 0};
  int home = home_or_self(word);
  if (uma_is_local(home)) moment.ticks = uma_clock_noted_signal(word);
  else uma_clock_ask_signal(home, word, &moment.ticks);
  uma_clock_reach(&moment);
  uma_clock_forget();
  uma_clock_access(home, FAB_ACCESS_LOAD, sizeof(uint64_t));
}

/* ---- The coherence engine ---------------------------------------------------------------------------------------- */

static bool begin(void *context, struct coh_moment *moment)
{
  *moment = uma_clock_moment();
  return !uma_clock_paused;
}

static enum uma_flight_kind kind_of(bool data)
{
  return data ? UMA_FLIGHT_COPY : UMA_FLIGHT_CONTROL;
}

static void hop(void *context, int from, int to, bool data, struct coh_moment *moment)
{
  int first = uma_self.domain_first;
  if (from == to && !data) return;
  uma_clock_fly_always(first + from, first + to, uma_self.shape.line, kind_of(data), moment);
}

static void depart(void *context, int from, int to, bool data, uint64_t ticks, struct coh_flight *flight)
{
  int first = uma_self.domain_first;
  *flight = uma_clock_depart(first + from, first + to, kind_of(data), ticks);
}

static void land(void *context, int from, int to, bool data, const struct coh_flight *flight, struct coh_moment *moment)
{
  int first = uma_self.domain_first;
  uma_clock_land(first + from, first + to, kind_of(data), flight, moment);
}

static void end(void *context, const struct coh_moment *moment)
{
  uma_clock_reach(moment);
}

const struct coh_clock uma_clock_engine = {.begin = begin, .hop = hop, .depart = depart, .land = land, .end = end};

/* ---- Public functions -------------------------------------------------------------------------------------------- */

_Static_assert(UMA_FP64 == FAB_FP64 + 1 && UMA_INT8 == FAB_INT8 + 1 && FAB_INT8 + 1 == FAB_DTYPES, "the same types in the same order");

int uma_compute(double flops, double bytes, enum uma_dtype dtype)
{
  if (!uma_self.joined) return uma_fail(-EINVAL, "uma_compute was called outside of a session");
  if (!(flops >= 0) || !(bytes >= 0))
    return uma_fail(-EINVAL, "uma_compute: %g operations and %g bytes; expected numbers of 0 or more", flops, bytes);
  if (dtype < UMA_FP64 || dtype > UMA_INT8)
    return uma_fail(-EINVAL, "uma_compute: %d is no type; expected UMA_FP64 (%d) to UMA_INT8 (%d)", (int)dtype, UMA_FP64, UMA_INT8);
  if (!uma_self.clock) return 0;
  const struct fab_topology *topology = &uma_self.clock->topology;
  enum fab_dtype type = (enum fab_dtype)(dtype - UMA_FP64);
  uint64_t ticks, moving, operating;
  int result = fab_compute_ticks(topology, (uint64_t)uma_self.device, flops, bytes, type, &ticks);
  if (result)
    return uma_fail(result, "uma_compute: %s of %s has no %s", fab_topology_kind(topology, (uint64_t)uma_self.device)->name, topology->name,
                    fab_dtype_names[type]);
  fab_compute_ticks(topology, (uint64_t)uma_self.device, 0, bytes, type, &moving);
  fab_compute_ticks(topology, (uint64_t)uma_self.device, flops, 0, type, &operating);
  struct uma_device_clock *clock = &uma_self.clock->devices[uma_self.device][uma_own_channel()];
  atomic_fetch_add_explicit(&clock->work, ticks, memory_order_relaxed);
  atomic_fetch_add_explicit(&clock->operations, operating, memory_order_relaxed);
  uma_clock_spend(moving < ticks ? UMA_COMPUTING : UMA_MEMORY, ticks);
  return 0;
}

/* The device whose window has all of it, and whose memory this one can load; or -errno with the sentence. */
static int home_of(const char *function, const void *pointer, size_t bytes)
{
  if (!uma_self.joined) return uma_fail(-EINVAL, "%s was called outside of a session", function);
  int home = uma_home(pointer);
  size_t most = uma_self.shape.memory;
  if (home < 0 || bytes > most || (size_t)((const unsigned char *)pointer - uma_window_of(home)) > most - bytes)
    return uma_fail(-EINVAL, "%s: %zu bytes at %p do not lie in the window of one device", function, bytes, pointer);
  if (!uma_is_near(home))
    return uma_fail(-EHOSTUNREACH, "%s: %p belongs to device %d, whose memory plain loads and stores do not reach", function, pointer,
                    home);
  return home;
}

/* The own memory gives its first word after a load, and all of it at its bandwidth. */
static void charge_own(enum fab_access access, size_t bytes)
{
  uint64_t ticks = 0;
  fab_compute_ticks(&uma_self.clock->topology, (uint64_t)uma_self.device, 0, (double)bytes, FAB_FP64, &ticks);
  uma_clock_access(uma_self.device, access, sizeof(uint64_t));
  uma_clock_spend(UMA_MEMORY, ticks);
}

/* Without a curve of their own, a word is what an accessor takes, and more is what a copy does. */
static void charge_other(int home, const void *pointer, size_t bytes, enum fab_access access)
{
  static const struct {
    enum uma_flight_kind plain, touched, copy, cached;
  } kinds[] = {[FAB_ACCESS_LOAD] = {UMA_FLIGHT_READ, UMA_FLIGHT_CACHED_READ, UMA_FLIGHT_GET, UMA_FLIGHT_CACHED_GET},
               [FAB_ACCESS_STORE] = {UMA_FLIGHT_WRITE, UMA_FLIGHT_CACHED_WRITE, UMA_FLIGHT_PUT, UMA_FLIGHT_CACHED_PUT}};
  int me = uma_self.device, from = access == FAB_ACCESS_LOAD ? home : me, to = access == FAB_ACCESS_LOAD ? me : home;
  bool near = uma_clock_path(from, to)->way == FAB_WAY_LOAD_STORE, known = uma_clock_knows(from, to, kinds[access].plain);
  if (bytes <= sizeof(uint64_t) && !known) {
    uma_clock_access(home, access, bytes);
    return;
  }
  struct coh_moment moment = uma_clock_moment();
  enum uma_flight_kind how = known ? kinds[access].plain : kinds[access].copy;
  if (near && uma_clock_knows(from, to, kinds[access].touched)) how = uma_clock_touched(pointer, bytes) ? kinds[access].touched : how;
  else if (near && uma_clock_cached(pointer, bytes)) how = kinds[access].cached;
  uma_clock_fly(from, to, bytes, how, &moment);
  uma_clock_reach(&moment);
}

static int charge_range(const char *function, const void *pointer, size_t bytes, enum fab_access access)
{
  int home = home_of(function, pointer, bytes);
  if (home < 0) return home;
  if (!uma_self.clock || !bytes) return 0;
  if (home == uma_self.device) charge_own(access, bytes);
  else charge_other(home, pointer, bytes, access);
  return 0;
}

int uma_charge_reads(const void *pointer, size_t bytes)
{
  return charge_range("uma_charge_reads", pointer, bytes, FAB_ACCESS_LOAD);
}

int uma_charge_writes(const void *pointer, size_t bytes)
{
  return charge_range("uma_charge_writes", pointer, bytes, FAB_ACCESS_STORE);
}

int uma_charge_chase(const void *pointer, size_t bytes, uint64_t loads)
{
  int home = home_of("uma_charge_chase", pointer, bytes);
  if (home < 0) return home;
  if (uma_self.clock) uma_clock_chase(home, bytes, loads);
  return 0;
}
