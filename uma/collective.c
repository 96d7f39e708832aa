/* The collectives of uma.h: arguments, small sizes, and the choice of the way.
 *
 * uma_NAME and uma_NAME_async fill in one struct uma_collective. It is checked completely before anything is exchanged, so that a call
 * that is wrong on all devices fails on all and leaves no trace. Then it is carried out by the caller on the channel of the
 * application, or later by the copy engine on its own; the channels share nothing.
 *
 *   in one group, the contribution fits a slot      one meeting (meeting.h); everybody takes from the slots what it needs
 *   in one group, larger                            collective_near.c: two meetings, parts of the work straight in the users' memory
 *   several groups                                  collective_far.c: the same, with messages between the groups in the middle
 *   in access mode `line`                           collective_cached.c: one of these, in chunks, with private memory
 *
 * Which way follows from arguments that are the same on all devices, so all go the same one. Reductions are taken in the order of the
 * devices inside a group, and of the groups; every element is combined by one rule wherever that happens, so all get the same bits.
 */
#include <errno.h>
#include <string.h>

#include "uma/clock.h"
#include "uma/collective_work.h"

#define DIRECT_SLOT_BYTES 512 /* with a processor for each device */

static const char *const names[] = {"uma_broadcast", "uma_allgather", "uma_reduce_scatter", "uma_allreduce", "uma_alltoall"};

/* ---- Arguments */

struct sizes {
  size_t element, block, src, dst; /* bytes */
};

static bool source_is_many(enum uma_collective_kind kind)
{
  return kind == UMA_REDUCE_SCATTER || kind == UMA_ALLTOALL;
}

static bool result_is_many(enum uma_collective_kind kind)
{
  return kind == UMA_ALLGATHER || kind == UMA_ALLTOALL;
}

/* False when a size does not fit. */
static bool sizes_of(const struct uma_collective *what, struct sizes *sizes)
{
  size_t devices = (size_t)uma_self.shape.devices, all;
  sizes->element = uma_is_reduction(what->kind) ? uma_type_size(what->type) : 1;
  if (__builtin_mul_overflow(what->count, sizes->element, &sizes->block)) return false;
  if (__builtin_mul_overflow(sizes->block, devices, &all) || all > PTRDIFF_MAX) return false;
  sizes->src = source_is_many(what->kind) ? all : sizes->block;
  sizes->dst = result_is_many(what->kind) ? all : sizes->block;
  return true;
}

static int refuse_operation(const struct uma_collective *what)
{
  const char *name = names[what->kind];
  if (!uma_type_size(what->type))
    return uma_fail(-EINVAL, "%s: %d is no type: UMA_INT32 (%d) to UMA_FLOAT64 (%d) are", name, (int)what->type, UMA_INT32, UMA_FLOAT64);
  if ((int)what->op < UMA_SUM || what->op > UMA_XOR)
    return uma_fail(-EINVAL, "%s: %d is no operation: UMA_SUM (%d) to UMA_XOR (%d) are", name, (int)what->op, UMA_SUM, UMA_XOR);
  return uma_fail(-EINVAL, "%s: UMA_AND, UMA_OR and UMA_XOR are for integers; floats have sum, min, max and prod", name);
}

static int check_operation(const struct uma_collective *what)
{
  if (uma_is_reduction(what->kind)) return uma_op_applies(what->type, what->op) ? 0 : refuse_operation(what);
  if (what->kind != UMA_BROADCAST || (what->root >= 0 && what->root < uma_self.shape.devices)) return 0;
  return uma_fail(-EINVAL, "%s: root %d is no device: 0 to %d are", names[what->kind], what->root, uma_self.shape.devices - 1);
}

static int refuse_buffer(const struct uma_collective *what, const char *parameter, const void *buffer, size_t bytes)
{
  const char *name = names[what->kind];
  int home;
  if (!buffer) return uma_fail(-EINVAL, "%s: %s is NULL with %zu bytes", name, parameter, bytes);
  if ((uintptr_t)buffer + bytes < (uintptr_t)buffer)
    return uma_fail(-EINVAL, "%s: %zu bytes from %s %p go beyond the end of memory", name, bytes, parameter, buffer);
  if (!uma_range_in_windows(buffer, bytes, &home) || uma_range_is_near(buffer, bytes)) return 0;
  return uma_fail(-EINVAL, "%s: %s %p is in the window of device %d, in another domain; pass this domain's or private memory", name,
                  parameter, buffer, home);
}

static inline int check_buffer(const struct uma_collective *what, const char *parameter, const void *buffer, size_t bytes)
{
  bool plain = buffer && (uintptr_t)buffer + bytes > (uintptr_t)buffer && uma_self.shape.domains == 1;
  return plain ? 0 : refuse_buffer(what, parameter, buffer, bytes);
}

static int check_overlap(const struct uma_collective *what, const struct sizes *sizes)
{
  uintptr_t src = (uintptr_t)what->src, dst = (uintptr_t)what->dst;
  if (src >= dst + sizes->dst || dst >= src + sizes->src) return 0;
  if (what->kind == UMA_BROADCAST) return 0;
  if (src == dst && sizes->src == sizes->dst && what->kind != UMA_ALLTOALL) return 0;
  return uma_fail(-EINVAL, "%s: src %p (%zu bytes) and dst %p (%zu bytes) overlap%s", names[what->kind], what->src, sizes->src, what->dst,
                  sizes->dst, what->kind == UMA_ALLREDUCE ? "; they may be equal, or apart" : "; they must be apart");
}

int uma_collective_check(const struct uma_collective *what)
{
  struct sizes sizes;
  if (!uma_self.joined) return uma_fail(-EINVAL, "%s: outside of a session; call uma_init first", names[what->kind]);
  int error = check_operation(what);
  if (error) return error;
  if (!sizes_of(what, &sizes))
    return uma_fail(-EINVAL, "%s: %zu elements or bytes for each of %d devices are more than memory can hold", names[what->kind],
                    what->count, uma_self.shape.devices);
  if (!what->count) return 0;
  error = check_buffer(what, what->kind == UMA_BROADCAST ? "buffer" : "src", what->src, sizes.src);
  if (!error) error = check_buffer(what, "dst", what->dst, sizes.dst);
  if (!error) error = check_overlap(what, &sizes);
  return error;
}

/* ---- Small sizes in one group: what a device gives fits a slot */

/* By the last device to come, for all, when there are more devices than processors. */
static void combine_for_all(struct uma_meeting *meeting, void *context)
{
  const struct uma_work *work = context;
  const void *from[UMA_MAX_DEVICES];
  for (int i = 0; i < meeting->count; i++) from[i] = uma_meeting_data(meeting, i);
  size_t count = (size_t)work->blocks * work->what->count;
  uma_reduce_many(uma_meeting_result(meeting), from, meeting->count, count, work->what->type, work->what->op);
}

static void take_reduction(const struct uma_work *work)
{
  const struct uma_meeting *meeting = &work->meeting;
  const struct uma_collective *what = work->what;
  size_t offset = work->blocks > 1 ? (size_t)meeting->me * work->block : 0;
  const void *from[UMA_MAX_DEVICES];
  if (meeting->counted) {
    memcpy(what->dst, (unsigned char *)uma_meeting_result(meeting) + offset, work->block);
    return;
  }
  for (int i = 0; i < meeting->count; i++) from[i] = (const unsigned char *)uma_meeting_data(meeting, i) + offset;
  uma_reduce_many(what->dst, from, meeting->count, what->count, what->type, what->op);
}

static void take_blocks(const struct uma_work *work)
{
  const struct uma_meeting *meeting = &work->meeting;
  size_t offset = work->blocks > 1 ? (size_t)meeting->me * work->block : 0;
  unsigned char *dst = work->what->dst;
  for (int i = 0; i < meeting->count; i++)
    memcpy(dst + (size_t)i * work->block, (const unsigned char *)uma_meeting_data(meeting, i) + offset, work->block);
}

/* What goes through slots is written and read once more, for one meeting less: worth more where a meeting takes turns at processors, of which
 * modelled devices have one each whatever this host has. */
static bool is_small(const struct uma_work *work)
{
  bool turns = work->meeting.counted && !uma_self.clock;
  return (size_t)work->blocks * work->block <= (turns ? UMA_SLOT_BYTES : DIRECT_SLOT_BYTES);
}

/* On the modelled clock everybody reads what it needs out of the others' slots. */
static void charge_slots(const struct uma_work *work)
{
  if (work->what->kind != UMA_BROADCAST) uma_clock_gather(uma_self.domain_first, uma_self.domain_count, work->block);
  else uma_clock_hand_out(work->what->root, work->block, false);
}

static int run_small(struct uma_work *work)
{
  const struct uma_collective *what = work->what;
  bool reduces = uma_is_reduction(what->kind);
  if (work->has_src) memcpy(uma_meeting_mine(&work->meeting), what->src, (size_t)work->blocks * work->block);
  int error = uma_meeting_meet(&work->meeting, reduces ? combine_for_all : NULL, work);
  if (error) return error;
  if (uma_self.clock) charge_slots(work);
  if (reduces) take_reduction(work);
  else if (what->kind != UMA_BROADCAST) take_blocks(work);
  else if (work->has_dst) memcpy(what->dst, uma_meeting_data(&work->meeting, what->root), work->block);
  return 0;
}

/* ---- One domain on several hosts */

/* The modelled machine does not know that: on its clock the collective is what it would be on one host, meetings and all. Buffers are private
 * memory (collective_cached.c). */
static int charge_as_one(struct uma_work *work)
{
  int error = 0;
  if (is_small(work)) {
    error = uma_meet_all(work->channel);
    if (!error) charge_slots(work);
    return error;
  }
  work->limit = uma_work_near_limit(work);
  for (work->offset = 0; !error && work->offset < work->block; work->offset += work->length) {
    work->length = work->block - work->offset < work->limit ? work->block - work->offset : work->limit;
    error = uma_meet_all(work->channel);
    if (!error) uma_work_charge(work);
    if (!error) error = uma_meet_all(work->channel);
  }
  return error;
}

static int run_far(struct uma_work *work)
{
  bool as_one = uma_self.clock && uma_self.shape.groups > uma_self.shape.domains;
  if (!as_one) return uma_collective_far(work);
  uma_clock_pause();
  int error = uma_collective_far(work);
  uma_clock_go_on();
  return error ? error : charge_as_one(work);
}

/* ---- The choice */

static void prepare(struct uma_work *work, const struct uma_collective *what, enum fab_channel channel)
{
  bool is_broadcast = what->kind == UMA_BROADCAST, is_root = is_broadcast && what->root == uma_self.device;
  work->what = what;
  work->channel = channel;
  work->element = uma_is_reduction(what->kind) ? uma_type_size(what->type) : 1;
  work->block = what->count * work->element;
  work->blocks = source_is_many(what->kind) ? uma_self.shape.devices : 1;
  work->has_src = !is_broadcast || is_root;
  work->has_dst = !is_root;
  uma_meeting_open(&work->meeting, channel);
}

int uma_collective_run_plain(const struct uma_collective *what, enum fab_channel channel)
{
  struct uma_work work;
  int error;
  if (uma_any_lost()) return uma_fail(-EHOSTDOWN, "%s: a device was lost", names[what->kind]);
  prepare(&work, what, channel);
  if (uma_self.shape.groups > 1) error = run_far(&work);
  else if (is_small(&work)) error = run_small(&work);
  else error = uma_collective_near(&work);
  return error ? uma_fail(error, "%s: a device was lost, or a link to it", names[what->kind]) : 0;
}

int uma_collective_run(const struct uma_collective *what, enum fab_channel channel)
{
  struct sizes sizes;
  if (!what->count) return 0;
  if (!uma_self.lines && !(uma_self.engine && uma_self.shape.groups > 1)) return uma_collective_run_plain(what, channel);
  sizes_of(what, &sizes);
  struct uma_spread spread = {sizes.element, sizes.block, sizes.src / sizes.block, sizes.dst / sizes.block};
  return uma_collective_cached(what, &spread, channel);
}

/* ---- Public functions */

static int run_now(const struct uma_collective *what)
{
  int error = uma_collective_check(what);
  return error ? error : uma_collective_run(what, FAB_APPLICATION);
}

static int run_on(struct uma_stream *stream, const struct uma_collective *what)
{
  if (!stream) return uma_fail(-EINVAL, "%s_async: stream is NULL", names[what->kind]);
  int error = uma_collective_check(what);
  return error ? error : uma_stream_push_collective(stream, what);
}

int uma_broadcast(void *buffer, size_t bytes, int root)
{
  return run_now(&(struct uma_collective){.kind = UMA_BROADCAST, .dst = buffer, .src = buffer, .count = bytes, .root = root});
}

int uma_allgather(void *dst, const void *src, size_t bytes)
{
  return run_now(&(struct uma_collective){.kind = UMA_ALLGATHER, .dst = dst, .src = src, .count = bytes});
}

int uma_reduce_scatter(void *dst, const void *src, size_t count, enum uma_type type, enum uma_op op)
{
  return run_now(&(struct uma_collective){.kind = UMA_REDUCE_SCATTER, .dst = dst, .src = src, .count = count, .type = type, .op = op});
}

int uma_allreduce(void *dst, const void *src, size_t count, enum uma_type type, enum uma_op op)
{
  return run_now(&(struct uma_collective){.kind = UMA_ALLREDUCE, .dst = dst, .src = src, .count = count, .type = type, .op = op});
}

int uma_alltoall(void *dst, const void *src, size_t bytes)
{
  return run_now(&(struct uma_collective){.kind = UMA_ALLTOALL, .dst = dst, .src = src, .count = bytes});
}

int uma_broadcast_async(void *buffer, size_t bytes, int root, struct uma_stream *stream)
{
  return run_on(stream, &(struct uma_collective){.kind = UMA_BROADCAST, .dst = buffer, .src = buffer, .count = bytes, .root = root});
}

int uma_allgather_async(void *dst, const void *src, size_t bytes, struct uma_stream *stream)
{
  return run_on(stream, &(struct uma_collective){.kind = UMA_ALLGATHER, .dst = dst, .src = src, .count = bytes});
}

int uma_reduce_scatter_async(void *dst, const void *src, size_t count, enum uma_type type, enum uma_op op, struct uma_stream *stream)
{
  return run_on(stream,
                &(struct uma_collective){.kind = UMA_REDUCE_SCATTER, .dst = dst, .src = src, .count = count, .type = type, .op = op});
}

int uma_allreduce_async(void *dst, const void *src, size_t count, enum uma_type type, enum uma_op op, struct uma_stream *stream)
{
  return run_on(stream, &(struct uma_collective){.kind = UMA_ALLREDUCE, .dst = dst, .src = src, .count = count, .type = type, .op = op});
}

int uma_alltoall_async(void *dst, const void *src, size_t bytes, struct uma_stream *stream)
{
  return run_on(stream, &(struct uma_collective){.kind = UMA_ALLTOALL, .dst = dst, .src = src, .count = bytes});
}
