/* Collectives over several groups (session.h): load and store inside, messages between.
 *
 * Every chunk is opened and closed by a meeting of each group's devices, as in collective_near.c. In between, the first `lanes`
 * devices of each group (as many as the smallest group has) each take a part of the chunk across: lane l of one group talks to
 * lane l of the others only, so all lanes are at work at the same time. A lane leaves what it got in its scratch memory,
 * and after the closing meeting every device fetches it from there. Chunks have one length everywhere, whether buffers are private or not.
 *
 *   broadcast       a tree over the groups, from the root's
 *   all-gather      in step s each group gives its blocks to the s-th group after it
 *   all-reduce      the lane's part has one piece for each group; group k gets all partial sums of piece k, adds
 *                   them up in the order of the groups, and gives the sum to all. A small part is one piece: everybody gets everything
 *   reduce-scatter  a group's devices share the work of summing up the blocks of another's, and send them straight to their owners
 *   all-to-all      near blocks as inside a group, all others from device to device
 *
 * Why nobody waits for ever: all devices go through the same steps in the same order, and in step s a device sends to the group s
 * after its own while it receives from the one s before. Who has come least far can always go on: its partners are in the same step or
 * wait for it there. The tag of a message is its step; messages of two devices keep their order, so chunks do not mix.
 */
#include <string.h>

#include "uma/clock.h"
#include "uma/collective_work.h"
#include "uma/mailbox.h"

/* An all-reduce of few bytes over few groups takes one step, in which everybody sends everything to everybody. */
#define WHOLE_BYTES ((size_t)8 << 10)
#define WHOLE_GROUPS 8

/* The view from this device. */
struct far {
  struct uma_work *work;
  struct uma_mailbox *box;
  int groups, group;             /* their number, and this one */
  int lanes, lane;               /* lane >= lanes: this device takes nothing across */
  struct uma_part part;          /* of the chunk, what the lane takes across */
  unsigned char *out, *received; /* scratch */
};

static int first_of(int group)
{
  return uma_shape_first(&uma_self.shape, group, uma_self.shape.groups);
}

static int count_of(int group)
{
  return first_of(group + 1) - first_of(group);
}

static int after(const struct far *far, int step)
{
  return (far->group + step) % far->groups;
}

static int before(const struct far *far, int step)
{
  return (far->group - step + far->groups) % far->groups;
}

/* The device of a group that has this device's lane. */
static int peer(const struct far *far, int group)
{
  return first_of(group) + far->lane;
}

static bool has_lane(const struct far *far)
{
  return far->lane < far->lanes;
}

/* An exchange in which either side may be empty. */
static int trade(const struct far *far, int tag, int to, const void *out, size_t out_bytes, int from, void *in, size_t in_bytes)
{
  if (out_bytes && in_bytes) return uma_mailbox_exchange(far->box, UMA_KIND_COLLECTIVE, tag, to, out, out_bytes, from, in, in_bytes);
  if (out_bytes) return uma_mailbox_send(far->box, to, UMA_KIND_COLLECTIVE, tag, out, out_bytes);
  if (in_bytes) return uma_mailbox_recv(far->box, from, UMA_KIND_COLLECTIVE, tag, in, in_bytes, NULL);
  return 0;
}

/* ---- Broadcast */

/* Down a binomial tree over the groups, numbered from the root's. */
static int pass_down(const struct far *far, int root, const unsigned char *source)
{
  int rank = (far->group - root + far->groups) % far->groups, bit = 1, error = 0;
  size_t bytes = far->part.bytes;
  while (bit < far->groups && !(rank & bit)) bit <<= 1;
  if (rank) error = trade(far, rank, 0, NULL, 0, peer(far, before(far, bit)), far->out, bytes);
  for (bit >>= 1; bit && !error; bit >>= 1)
    if (rank + bit < far->groups) error = trade(far, rank + bit, peer(far, after(far, bit)), source, bytes, 0, NULL, 0);
  return error;
}

static int broadcast_across(struct far *far)
{
  const struct uma_work *work = far->work;
  int root = work->what->root, group = uma_shape_group(&uma_self.shape, root);
  const unsigned char *source = far->out;
  if (uma_is_local(root)) {
    const unsigned char *chunk = work->source[root - uma_self.first];
    if (work->has_dst) memcpy((unsigned char *)work->what->dst + work->offset, chunk, work->length);
    source = chunk + far->part.offset;
  }
  return has_lane(far) ? pass_down(far, group, source) : 0;
}

/* ---- All-gather */

/* Scratch holds the lane's part of all blocks, in the order of the devices, without gaps. */
static int gather_across(struct far *far)
{
  const struct uma_work *work = far->work;
  size_t bytes = far->part.bytes;
  int error = 0;
  uma_work_fetch(work);
  if (!has_lane(far)) return 0;
  for (int i = 0; i < work->meeting.count; i++) memcpy(far->received + (size_t)i * bytes, work->source[i] + far->part.offset, bytes);
  for (int step = 1; step < far->groups && !error; step++) {
    int to = after(far, step), from = before(far, step);
    error = trade(far, step, peer(far, to), far->received, (size_t)count_of(far->group) * bytes, peer(far, from),
                  far->out + (size_t)first_of(from) * bytes, (size_t)count_of(from) * bytes);
  }
  return error;
}

/* ---- All-reduce */

/* dst = what the groups have in far->received, in their order, `stride` bytes apart. */
static void add_up(const struct far *far, void *dst, size_t stride, size_t bytes)
{
  const struct uma_collective *what = far->work->what;
  const void *from[UMA_MAX_DEVICES];
  for (int k = 0; k < far->groups; k++) from[k] = far->received + (size_t)k * stride;
  uma_reduce_many(dst, from, far->groups, bytes / far->work->element, what->type, what->op);
}

static int reduce_whole(const struct far *far)
{
  size_t bytes = far->part.bytes;
  int error = 0;
  memcpy(far->received + (size_t)far->group * bytes, far->out, bytes);
  for (int step = 1; step < far->groups && !error; step++) {
    int to = after(far, step), from = before(far, step);
    error = trade(far, step, peer(far, to), far->out, bytes, peer(far, from), far->received + (size_t)from * bytes, bytes);
  }
  if (!error) add_up(far, far->out, bytes, bytes);
  return error;
}

/* Collects all partial sums of this group's piece, then hands the sum round. */
static int reduce_pieces(const struct far *far)
{
  struct uma_part own = uma_part_of(far->part.bytes, far->group, far->groups);
  int error = 0;
  memcpy(far->received + (size_t)far->group * own.bytes, far->out + own.offset, own.bytes);
  for (int step = 1; step < far->groups && !error; step++) {
    int to = after(far, step), from = before(far, step);
    struct uma_part theirs = uma_part_of(far->part.bytes, to, far->groups);
    error = trade(far, step, peer(far, to), far->out + theirs.offset, theirs.bytes, peer(far, from),
                  far->received + (size_t)from * own.bytes, own.bytes);
  }
  if (!error) add_up(far, far->out + own.offset, own.bytes, own.bytes);
  for (int step = 1; step < far->groups && !error; step++) {
    int to = after(far, step), from = before(far, step);
    struct uma_part theirs = uma_part_of(far->part.bytes, from, far->groups);
    error = trade(far, far->groups + step, peer(far, to), far->out + own.offset, own.bytes, peer(far, from), far->out + theirs.offset,
                  theirs.bytes);
  }
  return error;
}

static int allreduce_across(struct far *far)
{
  if (!has_lane(far)) return 0;
  uma_work_reduce(far->work, far->out, 0, far->part.offset, far->part.bytes);
  bool whole = far->part.bytes <= WHOLE_BYTES && far->groups <= WHOLE_GROUPS;
  return whole ? reduce_whole(far) : reduce_pieces(far);
}

/* ---- Reduce-scatter */

/* The blocks of group `to` that this device sums up are those whose place in their group is, modulo this group's size, its own:
 * none, one, or two where this group is the smaller one. What it receives comes from the one device of
 * `from` that the same rule names. Nobody waits in a ring for second blocks: only the first device of a group sends one, to
 * the last of a larger one, which sends no second block itself. */
static int scatter_step(struct far *far, int step)
{
  struct uma_work *work = far->work;
  int to = after(far, step), from = before(far, step), own = work->meeting.me, size = work->meeting.count;
  int sender = first_of(from) + own % count_of(from), error = 0;
  unsigned char *in = far->received + (size_t)from * work->length;
  size_t in_bytes = work->length;
  if (own >= count_of(to)) return trade(far, step, 0, NULL, 0, sender, in, in_bytes);
  for (int i = own; i < count_of(to) && !error; i += size) {
    uma_work_reduce(work, far->out, first_of(to) + i, 0, work->length);
    error = trade(far, step, first_of(to) + i, far->out, work->length, sender, in, in_bytes);
    in_bytes = 0;
  }
  return error;
}

static int scatter_across(struct far *far)
{
  struct uma_work *work = far->work;
  int error = 0;
  uma_work_reduce(work, far->received + (size_t)far->group * work->length, uma_self.device, 0, work->length);
  for (int step = 1; step < far->groups && !error; step++) error = scatter_step(far, step);
  if (!error) add_up(far, (unsigned char *)work->what->dst + work->offset, work->length, work->length);
  return error;
}

/* ---- All-to-all */

static int alltoall_across(const struct far *far)
{
  const struct uma_collective *what = far->work->what;
  const unsigned char *src = what->src;
  unsigned char *dst = what->dst;
  size_t block = far->work->block;
  int devices = uma_self.shape.devices, error = 0;
  for (int step = 1; step < devices && !error; step++) {
    int to = (uma_self.device + step) % devices, from = (uma_self.device - step + devices) % devices;
    error = trade(far, step, to, src + (size_t)to * block, uma_is_local(to) ? 0 : block, from, dst + (size_t)from * block,
                  uma_is_local(from) ? 0 : block);
  }
  return error;
}

/* ---- Chunks */

/* The most that a chunk needs in scratch is, of its length: blocks for a staged source; the number of groups for what
 * reduce-scatter receives; (lanes + 1) / lanes of the number of groups, at most twice, for what all-gather receives. */
static int divisor_of(const struct uma_work *work)
{
  return work->blocks > 1 ? work->blocks : work->what->kind == UMA_ALLGATHER ? uma_self.shape.groups : 1;
}

static int go_across(struct far *far)
{
  switch (far->work->what->kind) {
  case UMA_BROADCAST: return broadcast_across(far);
  case UMA_ALLGATHER: return gather_across(far);
  case UMA_ALLREDUCE: return allreduce_across(far);
  case UMA_REDUCE_SCATTER: return scatter_across(far);
  case UMA_ALLTOALL: uma_work_fetch(far->work); return 0;
  }
  return 0;
}

/* To `dst` from the scratch of all lanes, of which each has its part of block `index`. */
static void fetch_from_lanes(const struct far *far, unsigned char *dst, size_t index)
{
  const struct uma_meeting *meeting = &far->work->meeting;
  for (int lane = 0; lane < far->lanes; lane++) {
    struct uma_part part = uma_part_of(far->work->length, lane, far->lanes);
    memcpy(dst + part.offset, uma_scratch_of(meeting, lane, UMA_SCRATCH_OUT) + index * part.bytes, part.bytes);
  }
}

static void fetch_results(const struct far *far)
{
  const struct uma_work *work = far->work;
  unsigned char *dst = (unsigned char *)work->what->dst + work->offset;
  enum uma_collective_kind kind = work->what->kind;
  if (kind == UMA_ALLREDUCE || (kind == UMA_BROADCAST && !uma_is_local(work->what->root))) fetch_from_lanes(far, dst, 0);
  for (int g = 0; kind == UMA_ALLGATHER && g < uma_self.shape.devices; g++)
    if (!uma_is_local(g)) fetch_from_lanes(far, dst + (size_t)g * work->block, (size_t)g);
}

/* On the modelled clock: what is read of the group's other devices before anything goes across, and after it. Messages charge themselves. */
static void charge_before(const struct far *far)
{
  enum uma_collective_kind kind = far->work->what->kind;
  size_t bytes = far->work->length;
  if (kind == UMA_ALLREDUCE || (kind == UMA_ALLGATHER && has_lane(far))) uma_clock_gather(uma_self.first, uma_self.count, far->part.bytes);
  if (kind == UMA_ALLGATHER || kind == UMA_ALLTOALL) uma_clock_gather(uma_self.first, uma_self.count, bytes);
  if (kind == UMA_REDUCE_SCATTER) uma_clock_gather(uma_self.first, uma_self.count, bytes * (size_t)far->groups);
}

static void charge_after(const struct far *far)
{
  enum uma_collective_kind kind = far->work->what->kind;
  size_t part = far->work->length / (size_t)far->lanes, blocks = (size_t)(uma_self.shape.devices - uma_self.count);
  if (kind == UMA_ALLREDUCE || kind == UMA_BROADCAST) uma_clock_gather(uma_self.first, far->lanes, part);
  if (kind == UMA_ALLGATHER) uma_clock_gather(uma_self.first, far->lanes, part * blocks);
}

static int run_chunk(struct far *far)
{
  struct uma_work *work = far->work;
  int error = uma_work_open(work);
  if (error) return error;
  far->part = has_lane(far) ? uma_part_of(work->length, far->lane, far->lanes) : (struct uma_part){0, 0};
  if (uma_self.clock) charge_before(far);
  error = go_across(far);
  if (!error) error = uma_work_close(work);
  if (!error) fetch_results(far);
  if (!error && uma_self.clock) charge_after(far);
  return error;
}

int uma_collective_far(struct uma_work *work)
{
  const struct uma_shape *shape = &uma_self.shape;
  struct far far = {.work = work, .box = uma_self.mailbox[work->channel], .groups = shape->groups, .group = uma_self.group};
  int error = 0;
  far.lanes = shape->devices / shape->groups;
  far.lane = work->meeting.me;
  far.out = uma_scratch_of(&work->meeting, far.lane, UMA_SCRATCH_OUT);
  far.received = uma_scratch_of(&work->meeting, far.lane, UMA_SCRATCH_RECEIVED);
  work->pushes = false;
  work->chunked = true;
  work->limit = uma_work_limit(UMA_SCRATCH_MOST, divisor_of(work));
  for (work->offset = 0; !error && work->offset < work->block; work->offset += work->length) error = run_chunk(&far);
  if (!error && work->what->kind == UMA_ALLTOALL) error = alltoall_across(&far);
  return error;
}
