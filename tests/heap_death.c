/* The heap after deaths: whoever is killed inside of it, at any instruction, loses at most the one block it was at, and blocks nobody. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/heap_blocks.h"

#define PAGE ((size_t)UMA_HEAP_PAGE)

/* ---- At every instruction: a child does one thing step by step. After each step a copy of the heap is what its death at this
 * instruction would leave behind; the copy is recovered and examined. */

#define SMALL_WINDOW (64 * PAGE)
#define BLOCKS 5

struct scene {
  const char *name;
  size_t sizes[BLOCKS]; /* blocks that are allocated first, 0 is none */
  unsigned freed;       /* bit i: block i is then freed again */
  int victim;           /* the action is to free this block, or with -1 to allocate: */
  size_t bytes, alignment;
};

static const struct scene scenes[] = {
    {"a new slab", {0}, 0, -1, 16, 16},
    {"a slot", {16}, 0, -1, 16, 16},
    {"the last slot of a slab", {2048}, 0, -1, 2048, 16},
    {"a slot of a larger class", {2048, 63 * 4096}, 0, -1, 16, 16},
    {"pages in the middle of an extent", {4096}, 0, -1, 3 * 4096, 32 * 4096},
    {"a whole extent", {4096}, 0, -1, 63 * 4096, 16},
    {"more than there is", {4096}, 0, -1, 64 * 4096, 16},
    {"freeing a slot", {16, 16, 16}, 0, 1, 0, 0},
    {"freeing a slot of a full slab", {2048, 2048, 4096}, 0, 1, 0, 0},
    {"freeing the last slot of a slab", {4096, 16, 4096}, 0, 1, 0, 0},
    {"freeing the last slot of a slab between free extents", {9000, 16, 9000, 4096}, 5, 1, 0, 0},
    {"freeing pages between blocks", {9000, 9000, 9000}, 0, 1, 0, 0},
    {"freeing pages behind a free extent", {9000, 9000, 9000}, 1, 1, 0, 0},
    {"freeing pages before a free extent", {9000, 9000, 9000, 16}, 4, 1, 0, 0},
    {"freeing pages between free extents", {9000, 9000, 9000, 16}, 5, 1, 0, 0},
};
#define SCENES (sizeof scenes / sizeof scenes[0])

struct stage {
  const struct scene *scene;
  struct uma_heap *heap;
  uint64_t offsets[BLOCKS];
  unsigned standing; /* bit i: block i is allocated and not the action's */
  int actor;         /* device that acts */
};

static bool everybody_else_is_lost(int device) /* a device's own token is never asked for */
{
  return device != 0;
}

static void stage_set(struct stage *stage, const struct scene *scene)
{
  stage->scene = scene;
  stage->heap = block_heap(SMALL_WINDOW, 0);
  stage->standing = 0;
  stage->actor = 1;
  for (int i = 0; i < BLOCKS && scene->sizes[i]; i++) {
    stage->offsets[i] = uma_heap_alloc(stage->heap, scene->sizes[i], 16);
    if (!(scene->freed >> i & 1) && i != scene->victim) stage->standing |= 1u << i;
  }
  for (int i = 0; i < BLOCKS; i++)
    if (scene->freed >> i & 1) uma_heap_free(stage->heap, stage->offsets[i]);
}

static void stage_act(const struct stage *stage)
{
  if (stage->scene->victim < 0) uma_heap_alloc(stage->heap, stage->scene->bytes, stage->scene->alignment);
  else uma_heap_free(stage->heap, stage->offsets[stage->scene->victim]);
}

/* Nothing but the block of the action may be there or not be there; then all that is known is freed. */
static void stage_examine(const struct stage *stage, struct uma_heap *heap, int state)
{
  const char *name = stage->scene->name, *fault = uma_heap_invalid(heap);
  cr_assert(fault == NULL, "%s, death in state %d: %s", name, state, fault ? fault : "");
  struct uma_usage usage;
  uma_heap_usage(heap, &usage);
  size_t standing = (size_t)__builtin_popcount(stage->standing);
  cr_assert(usage.blocks == standing || usage.blocks == standing + 1, "%s, death in state %d: %zu blocks", name, state, usage.blocks);
  for (int i = 0; i < BLOCKS; i++) {
    if (!(stage->standing >> i & 1)) continue;
    cr_assert(uma_heap_block_bytes(heap, stage->offsets[i]) >= stage->scene->sizes[i], "%s, death in state %d", name, state);
    cr_assert_eq(uma_heap_free(heap, stage->offsets[i]), 0, "%s, death in state %d", name, state);
  }
  if (stage->scene->victim >= 0) uma_heap_free(heap, stage->offsets[stage->scene->victim]);
  uma_heap_usage(heap, &usage);
  cr_assert(usage.blocks <= (stage->scene->victim < 0), "%s, death in state %d: %zu blocks", name, state, usage.blocks);
  cr_assert(usage.blocks || uma_heap_alloc(heap, SMALL_WINDOW, 16) == 0, "%s, death in state %d", name, state);
  fault = uma_heap_invalid(heap);
  cr_assert(fault == NULL, "%s, death in state %d: %s", name, state, fault ? fault : "");
}

static void stage_clear(struct stage *stage)
{
  munmap(stage->heap, uma_heap_bytes(SMALL_WINDOW));
}

/* A child that stops itself, then does the action; -1 where processes may not be traced. */
static pid_t start_stepping(void (*act)(const struct stage *), const struct stage *stage)
{
  pid_t pid = block_fork();
  if (pid == 0) {
    uma_mutex_identify(stage->actor, stage->actor == 1 ? NULL : everybody_else_is_lost);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL)) _exit(77);
    raise(SIGSTOP);
    act(stage);
    raise(SIGSTOP);
    _exit(0);
  }
  int status;
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  return WIFSTOPPED(status) ? pid : -1;
}

/* One instruction; false when the child has finished its action. */
static bool step(pid_t pid)
{
  int status;
  cr_assert_eq(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  cr_assert(WIFSTOPPED(status), "the child ended by itself, status %x", status);
  if (WSTOPSIG(status) == SIGTRAP) return true;
  cr_assert_eq(WSTOPSIG(status), SIGSTOP);
  kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  return false;
}

/* Examines every state that the action leaves behind between two instructions, and hands each `every`th to `also`. Returns how many. */
static int step_through(const struct stage *stage, void (*act)(const struct stage *), int every, void (*also)(const struct stage *))
{
  pid_t pid = start_stepping(act, stage);
  if (pid < 0) return 0;
  size_t bytes = uma_heap_bytes(SMALL_WINDOW);
  struct stage copy = *stage;
  copy.heap = block_shared_memory(bytes);
  copy.actor++;
  void *state = block_shared_memory(bytes);
  int states = 0;
  while (step(pid)) {
    if (memcmp(state, stage->heap, bytes) == 0) continue;
    memcpy(state, stage->heap, bytes);
    memcpy(copy.heap, state, bytes);
    if (also && states % every == 0) also(&copy);
    memcpy(copy.heap, state, bytes);
    stage_examine(stage, copy.heap, states++);
  }
  munmap(copy.heap, bytes);
  munmap(state, bytes);
  return states;
}

static void act_recover(const struct stage *stage)
{
  struct uma_usage usage;
  uma_heap_usage(stage->heap, &usage);
}

static void step_through_recovery(const struct stage *stage)
{
  step_through(stage, act_recover, 1, NULL);
}

Test(heap_death, at_every_instruction_loses_one_block_at_most)
{
  uma_mutex_identify(0, everybody_else_is_lost);
  int states = 0;
  for (size_t i = 0; i < SCENES; i++) {
    struct stage stage;
    stage_set(&stage, &scenes[i]);
    states += step_through(&stage, stage_act, 1, NULL);
    stage_clear(&stage);
  }
  if (states == 0) cr_skip("processes may not be traced here");
  cr_assert_gt(states, 10 * (int)SCENES, "%d states", states);
}

Test(heap_death, in_the_recovery_from_a_death_loses_nothing_more)
{
  uma_mutex_identify(0, everybody_else_is_lost);
  for (size_t i = 0; i < SCENES; i++) {
    struct stage stage;
    stage_set(&stage, &scenes[i]);
    if (step_through(&stage, stage_act, 3, step_through_recovery) == 0) cr_skip("processes may not be traced here");
    stage_clear(&stage);
  }
}

/* ---- At random moments, while others use the heap */

#define WINDOW (64 * BLOCK_MiB)
#define SURVIVORS 2
#define KILLS 400
#define DEVICES (1 + SURVIVORS + KILLS)
#define OWNED 24 /* blocks of one device */

struct arena {
  struct uma_heap *heap;
  unsigned char *window;
  uint64_t seed;
  _Atomic int stop, failures;
  _Atomic uint32_t lost[DEVICES];
  _Atomic uint64_t owned[DEVICES][OWNED]; /* offset + 1, stored after allocation and cleared before the free */
};

static struct arena *arena;

static bool is_lost(int device)
{
  return atomic_load(&arena->lost[device]);
}

static void give_back(uint64_t owned)
{
  if (!block_intact(arena->window, owned - 1)) atomic_fetch_add(&arena->failures, 1);
  if (uma_heap_free(arena->heap, owned - 1)) atomic_fetch_add(&arena->failures, 1);
}

static void use_one(int device, uint64_t *random)
{
  _Atomic uint64_t *place = &arena->owned[device][block_random(random) % OWNED];
  uint64_t owned = atomic_exchange(place, 0);
  if (owned) {
    give_back(owned);
    return;
  }
  size_t bytes = 8 + block_random_bytes(random, 20 * BLOCK_KiB), alignment = block_random(random) % 8 ? 16 : 16384;
  uint64_t offset = uma_heap_alloc(arena->heap, bytes, alignment);
  if (offset == UMA_HEAP_FULL) return;
  block_fill(arena->window, offset, bytes);
  atomic_store(place, offset + 1);
}

static void give_all_back(int device)
{
  for (int i = 0; i < OWNED; i++) {
    uint64_t owned = atomic_exchange(&arena->owned[device][i], 0);
    if (owned) give_back(owned);
  }
}

static pid_t start_device(int device)
{
  pid_t pid = block_fork();
  if (pid) return pid;
  uma_mutex_identify(device, is_lost);
  uint64_t random = arena->seed + (uint64_t)device;
  while (!atomic_load(&arena->stop)) use_one(device, &random);
  give_all_back(device);
  _exit(0);
}

/* Starts a device, kills it after a while, and frees what it surely owned. */
static void kill_one(int device, uint64_t *random)
{
  pid_t pid = start_device(device);
  struct timespec pause = {0, (long)(block_random(random) % 2000000)};
  nanosleep(&pause, NULL);
  kill(pid, SIGKILL);
  int status;
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  cr_assert(WIFSIGNALED(status), "device %d ended by itself, status %x", device, status);
  atomic_store(&arena->lost[device], 1);
  if (device % 8 == 0) block_check(arena->heap);
  give_all_back(device);
}

static void make_arena(void)
{
  arena = block_shared_memory(sizeof *arena);
  arena->heap = block_heap(WINDOW, 0);
  arena->window = block_shared_memory(WINDOW);
  arena->seed = block_seed();
  uma_mutex_identify(0, is_lost);
}

Test(heap_death, of_hundreds_at_random_moments_leaves_the_survivors_their_blocks)
{
  make_arena();
  uint64_t random = arena->seed;
  pid_t survivors[SURVIVORS];
  for (int i = 0; i < SURVIVORS; i++) survivors[i] = start_device(1 + i);
  for (int i = 0; i < KILLS; i++) kill_one(1 + SURVIVORS + i, &random);
  atomic_store(&arena->stop, 1);
  for (int i = 0, status; i < SURVIVORS; i++) cr_assert(waitpid(survivors[i], &status, 0) > 0 && status == 0);
  block_check(arena->heap);
  struct uma_usage usage;
  uma_heap_usage(arena->heap, &usage);
  cr_assert_eq(atomic_load(&arena->failures), 0);
  cr_assert(usage.blocks <= KILLS, "%zu blocks were lost by %d deaths", usage.blocks, KILLS);
}
