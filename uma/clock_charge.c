/* What the operations of a session charge to the modelled clocks (clock.h), and the public questions about these.
 *
 * Private memory is taken to be in the memory of the device that uses it. What a device computes with plain instructions is not seen, nor are
 * its plain loads and stores (of cached pages, all but the faults): uma_compute says what they would be. */
#include <errno.h>

#include "uma/clock.h"
#include "uma/stream.h"

static int home_or_self(const void *pointer)
{
  int home = uma_home(pointer);
  return home < 0 ? uma_self.device : home;
}

/* Who carries it out, and whether the other side's bytes lie in its cache. */
static enum uma_flight flight_of(const void *dst, const void *src, size_t bytes, int from, int to)
{
  int me = uma_self.device;
  if ((from == me) == (to == me)) return UMA_FLIGHT_COPY;
  bool get = to == me, near = uma_clock_path(from, to)->way == FAB_WAY_LOAD_STORE;
  bool cached = near && uma_clock_cached(get ? src : dst, bytes);
  if (get) return cached ? UMA_FLIGHT_CACHED_GET : UMA_FLIGHT_GET;
  return cached ? UMA_FLIGHT_CACHED_PUT : UMA_FLIGHT_PUT;
}

/* In access mode `line` the caches charge what they bring from this domain. */
void uma_clock_copy(const void *dst, const void *src, size_t bytes)
{
  int from = home_or_self(src), to = home_or_self(dst);
  if (uma_self.lines) {
    from = uma_is_near(from) ? uma_self.device : from;
    to = uma_is_near(to) ? uma_self.device : to;
  }
  struct coh_moment moment = uma_clock_moment();
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

/* Everybody looks at the flags of all others at once, so the farthest decides. */
void uma_clock_met(uint64_t number, int first, int count)
{
  struct coh_moment moment = {.ticks = 0};
  int farthest = uma_self.device == first ? first + count - 1 : first;
  for (int d = first; d < first + count; d++) {
    uint64_t came = atomic_load_explicit(&uma_self.clock->devices[d][uma_own_channel()].met[number & 1], memory_order_relaxed);
    if (came > moment.ticks) moment.ticks = came;
  }
  uma_clock_reach(&moment);
  uma_clock_forget();
  if (count > 1) uma_clock_access(farthest, FAB_ACCESS_LOAD, sizeof(uint64_t));
}

static void move_all(int first, int count, size_t bytes, bool inwards)
{
  struct coh_moment begin = uma_clock_moment(), last = begin;
  enum uma_part_of_time part = UMA_SCALE_UP;
  int me = uma_self.device;
  for (int step = 0; step < count && bytes; step++) {
    int other = first + (me - first + step) % count; /* everybody begins elsewhere, so that nobody waits for another */
    if (other == me) continue;
    struct coh_moment moment = begin;
    uma_clock_fly(inwards ? other : me, inwards ? me : other, bytes, UMA_FLIGHT_MESSAGE, &moment);
    if (moment.ticks > last.ticks) last = moment;
    if (moment.ticks >= last.ticks) part = uma_clock_path(me, other)->way == FAB_WAY_LOAD_STORE ? UMA_SCALE_UP : UMA_NETWORK;
  }
  last.parts[part] += last.parts[UMA_WAITING]; /* behind its own other bytes */
  last.parts[UMA_WAITING] = 0;
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

void uma_clock_bring(int device, size_t bytes)
{
  struct coh_moment moment = uma_clock_moment();
  uma_clock_fly(device, uma_self.device, bytes, UMA_FLIGHT_MESSAGE, &moment);
  uma_clock_reach(&moment);
}

/* ---- Signals: words whose places fall together are taken for one ------------------------------------------------- */

static _Atomic uint64_t *signal_of(const void *word)
{
  uint64_t place = ((uintptr_t)word - uma_self.shape.base) / sizeof(uint64_t);
  return &uma_self.clock->signals[place * 0x9e3779b97f4a7c15u >> 52];
}
_Static_assert(UMA_CLOCK_SIGNALS == 1 << (64 - 52), "a hash of 12 bits");

void uma_clock_signal(const void *word)
{
  _Atomic uint64_t *signal = signal_of(word);
  uma_clock_access(home_or_self(word), FAB_ACCESS_STORE, sizeof(uint64_t));
  uint64_t now = uma_clock_moment().ticks, before = atomic_load_explicit(signal, memory_order_relaxed);
  while (before < now && !atomic_compare_exchange_weak(signal, &before, now)) continue;
}

void uma_clock_signalled(const void *word)
{
  struct coh_moment moment = {.ticks = atomic_load(signal_of(word))};
  uma_clock_reach(&moment);
  uma_clock_forget();
  uma_clock_access(home_or_self(word), FAB_ACCESS_LOAD, sizeof(uint64_t));
}

/* ---- The coherence engine ---------------------------------------------------------------------------------------- */

static void begin(void *context, struct coh_moment *moment)
{
  *moment = uma_clock_moment();
}

static void hop(void *context, int from, int to, bool data, struct coh_moment *moment)
{
  int first = uma_self.domain_first;
  if (from == to && !data) return;
  uma_clock_fly(first + from, first + to, uma_self.shape.line, data ? UMA_FLIGHT_COPY : UMA_FLIGHT_CONTROL, moment);
}

static void end(void *context, const struct coh_moment *moment)
{
  uma_clock_reach(moment);
}

const struct coh_clock uma_clock_engine = {.begin = begin, .hop = hop, .end = end};

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
  uint64_t ticks, moving;
  int result = fab_compute_ticks(topology, (uint64_t)uma_self.device, flops, bytes, type, &ticks);
  if (result)
    return uma_fail(result, "uma_compute: %s of %s has no %s", fab_topology_kind(topology, (uint64_t)uma_self.device)->name, topology->name,
                    fab_dtype_names[type]);
  fab_compute_ticks(topology, (uint64_t)uma_self.device, 0, bytes, type, &moving);
  uma_clock_spend(moving < ticks ? UMA_COMPUTING : UMA_MEMORY, ticks);
  return 0;
}

void uma_clock_tell(const struct uma_device_clock *clock, struct uma_modelled *modelled)
{
  double ns[UMA_PARTS_OF_TIME];
  for (int i = 0; i < UMA_PARTS_OF_TIME; i++) ns[i] = fab_ns_of_ticks(atomic_load(&clock->parts[i]));
  *modelled = (struct uma_modelled){.ns = fab_ns_of_ticks(atomic_load(&clock->now)),
                                    .compute_ns = ns[UMA_COMPUTING],
                                    .memory_ns = ns[UMA_MEMORY],
                                    .scale_up_ns = ns[UMA_SCALE_UP],
                                    .staging_ns = ns[UMA_STAGING],
                                    .network_ns = ns[UMA_NETWORK],
                                    .waiting_ns = ns[UMA_WAITING]};
}

int uma_modelled(int device, struct uma_modelled *modelled)
{
  if (uma_server(device) < 0) return -EINVAL; /* it has left the sentence */
  if (!uma_self.clock) return uma_fail(-ENODATA, "uma_modelled: no machine is modelled in this session; start it with --profile");
  uma_clock_tell(&uma_self.clock->devices[device][FAB_APPLICATION], modelled);
  return 0;
}

double uma_modelled_ns(void)
{
  return uma_self.clock ? fab_ns_of_ticks(uma_clock_moment().ticks) : 0;
}
