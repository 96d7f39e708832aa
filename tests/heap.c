/* The heap of one window: blocks lie where they may, never overlap, fill the window to its last page, and wrong frees are told. */
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/heap_blocks.h"

#define PAGE ((uint64_t)UMA_HEAP_PAGE)

static struct uma_usage usage_of(struct uma_heap *heap)
{
  struct uma_usage usage;
  uma_heap_usage(heap, &usage);
  return usage;
}

static void expect_empty(struct uma_heap *heap, size_t window_bytes)
{
  struct uma_usage usage = usage_of(heap);
  block_check(heap);
  cr_assert_eq(usage.capacity, window_bytes);
  cr_assert_eq(usage.used, 0);
  cr_assert_eq(usage.blocks, 0);
  cr_assert_eq(usage.largest_free, window_bytes);
}

Test(heap, a_block_of_every_small_size_holds_it_and_wastes_at_most_a_third)
{
  struct uma_heap *heap = block_heap(BLOCK_MiB, 0);
  for (size_t bytes = 1; bytes <= 3 * PAGE; bytes++) {
    uint64_t offset = uma_heap_alloc(heap, bytes, 16);
    cr_assert_neq(offset, UMA_HEAP_FULL);
    size_t stored = uma_heap_block_bytes(heap, offset);
    cr_assert(stored >= bytes && offset % 16 == 0, "%zu bytes are stored in %zu", bytes, stored);
    cr_assert(bytes > 2048 || stored <= bytes + bytes / 2 + 15, "%zu bytes are stored in %zu", bytes, stored);
    cr_assert_eq(usage_of(heap).used, stored);
    cr_assert_eq(uma_heap_free(heap, offset), 0);
  }
  expect_empty(heap, BLOCK_MiB);
  cr_assert_eq(usage_of(heap).peak, 3 * PAGE);
}

Test(heap, a_freed_block_is_the_next_of_its_size)
{
  struct uma_heap *heap = block_heap(BLOCK_MiB, 0);
  uint64_t keep = uma_heap_alloc(heap, 100, 16), first = uma_heap_alloc(heap, 100, 16), last = uma_heap_alloc(heap, 100, 16);
  cr_assert(keep == 0 && first == keep + 112 && last == first + 112);
  cr_assert_eq(uma_heap_free(heap, first), 0);
  cr_assert_eq(uma_heap_alloc(heap, 100, 16), first);
  uint64_t large = uma_heap_alloc(heap, 9000, 16);
  uma_heap_alloc(heap, 9000, 16);
  cr_assert_eq(uma_heap_free(heap, large), 0);
  cr_assert_eq(uma_heap_alloc(heap, 9000, 16), large);
}

Test(heap, blocks_are_aligned_as_addresses)
{
  const uint64_t addresses[] = {0, 0x200000000000, 0x200000000000 + 3 * PAGE, 0x200000000000 + 12345 * PAGE};
  for (int i = 0; i < 4; i++)
    for (size_t alignment = 1; alignment <= 16 * BLOCK_MiB; alignment *= 2) {
      struct uma_heap *heap = block_heap(64 * BLOCK_MiB, addresses[i]);
      for (size_t bytes = 1; bytes <= 4 * BLOCK_MiB; bytes *= 7) {
        uint64_t offset = uma_heap_alloc(heap, bytes, alignment);
        if (offset != UMA_HEAP_FULL) cr_assert_eq((addresses[i] + offset) % alignment, 0, "%zu aligned to %zu", bytes, alignment);
        else cr_assert(alignment >= 8 * BLOCK_MiB, "%zu aligned to %zu", bytes, alignment);
      }
      block_check(heap);
      munmap(heap, uma_heap_bytes(64 * BLOCK_MiB));
    }
}

Test(heap, an_alignment_as_large_as_the_window_is_met)
{
  struct uma_heap *heap = block_heap(64 * BLOCK_MiB, 0);
  cr_assert_eq(uma_heap_alloc(heap, 1, 64 * BLOCK_MiB), 0);
  cr_assert_eq(uma_heap_alloc(heap, 1, 64 * BLOCK_MiB), UMA_HEAP_FULL);
  cr_assert_eq(uma_heap_alloc(heap, 32 * BLOCK_MiB, 32 * BLOCK_MiB), 32 * BLOCK_MiB);
  block_check(heap);
}

Test(heap, a_full_window_is_full_to_its_last_page)
{
  struct uma_heap *heap = block_heap(64 * PAGE, 0);
  uint64_t offsets[64];
  cr_assert_eq(uma_heap_alloc(heap, 64 * PAGE + 1, 16), UMA_HEAP_FULL);
  cr_assert_eq(uma_heap_alloc(heap, SIZE_MAX, 16), UMA_HEAP_FULL);
  cr_assert_eq(uma_heap_alloc(heap, 64 * PAGE, 16), 0);
  cr_assert_eq(uma_heap_alloc(heap, 1, 16), UMA_HEAP_FULL);
  cr_assert_eq(uma_heap_free(heap, 0), 0);
  for (int i = 0; i < 64; i++) offsets[i] = uma_heap_alloc(heap, PAGE, 16);
  cr_assert_neq(offsets[63], UMA_HEAP_FULL);
  cr_assert_eq(uma_heap_alloc(heap, 1, 16), UMA_HEAP_FULL);
  for (int i = 20; i < 25; i++) cr_assert_eq(uma_heap_free(heap, offsets[i]), 0);
  cr_assert_eq(uma_heap_alloc(heap, 5 * PAGE + 1, 16), UMA_HEAP_FULL);
  cr_assert_eq(uma_heap_alloc(heap, 5 * PAGE, 16), offsets[20]);
  cr_assert_eq(usage_of(heap).used, 64 * PAGE);
}

Test(heap, small_blocks_fill_a_window_and_take_the_room_of_larger_ones_at_last)
{
  struct uma_heap *heap = block_heap(2 * PAGE, 0);
  uint64_t large = uma_heap_alloc(heap, 2048, 16);
  for (int i = 0; i < 256; i++) cr_assert_neq(uma_heap_alloc(heap, 16, 16), UMA_HEAP_FULL);
  uint64_t last = uma_heap_alloc(heap, 16, 16);
  cr_assert_eq(last, large + 2048);
  cr_assert_eq(uma_heap_alloc(heap, 16, 16), UMA_HEAP_FULL);
  cr_assert_eq(uma_heap_free(heap, last), 0);
  cr_assert_eq(uma_heap_alloc(heap, 2000, 16), last);
  block_check(heap);
}

Test(heap, a_large_block_fits_beside_a_small_one)
{
  struct uma_heap *heap = block_heap(1024 * BLOCK_MiB, 0);
  cr_assert_eq(uma_heap_alloc(heap, 8, 16), 0);
  cr_assert_neq(uma_heap_alloc(heap, 600 * BLOCK_MiB, 16), UMA_HEAP_FULL);
  cr_assert_eq(uma_heap_alloc(heap, usage_of(heap).largest_free + 1, 16), UMA_HEAP_FULL);
  cr_assert_neq(uma_heap_alloc(heap, usage_of(heap).largest_free, 16), UMA_HEAP_FULL);
  cr_assert_eq(usage_of(heap).largest_free, 0);
}

Test(heap, an_extent_that_fits_is_found_among_many_that_do_not)
{
  struct uma_heap *heap = block_heap(8192 * PAGE, 0);
  uint64_t offsets[600];
  for (int i = 0; i < 600; i++) offsets[i] = uma_heap_alloc(heap, (i == 301 ? 9 : 8) * PAGE, 16);
  while (uma_heap_alloc(heap, PAGE, 16) != UMA_HEAP_FULL) continue;
  cr_assert_eq(uma_heap_free(heap, offsets[301]), 0); /* first freed lies last in the bin that 8 and 9 pages share */
  for (int i = 1; i < 600; i += 2)
    if (i != 301) cr_assert_eq(uma_heap_free(heap, offsets[i]), 0);
  cr_assert_eq(uma_heap_alloc(heap, 9 * PAGE, 16), offsets[301]);
  cr_assert_eq(uma_heap_alloc(heap, 9 * PAGE, 16), UMA_HEAP_FULL);
}

Test(heap, wrong_frees_are_told_and_change_nothing)
{
  struct uma_heap *heap = block_heap(256 * PAGE, 0);
  uint64_t small = uma_heap_alloc(heap, 48, 16), other = uma_heap_alloc(heap, 48, 16), large = uma_heap_alloc(heap, 5 * PAGE, 16);
  const uint64_t wild[] = {small + 1,        small + 16, small + 4080, small + 96, large + 8,  large + PAGE,
                           large + 5 * PAGE, 100 * PAGE, 255 * PAGE,   256 * PAGE, UINT64_MAX, UINT64_MAX - PAGE + 1};
  struct uma_usage before = usage_of(heap);
  for (unsigned i = 0; i < sizeof wild / sizeof wild[0]; i++) {
    int expected = wild[i] == small + 96 ? -EALREADY : -EINVAL; /* a slot that is free */
    cr_expect_eq(uma_heap_free(heap, wild[i]), expected, "offset %llx", (unsigned long long)wild[i]);
    cr_expect_eq(uma_heap_block_bytes(heap, wild[i]), 0);
  }
  struct uma_usage after = usage_of(heap);
  cr_assert(memcmp(&before, &after, sizeof before) == 0);
  cr_assert_eq(uma_heap_free(heap, small), 0);
  cr_assert_eq(uma_heap_free(heap, small), -EALREADY);
  cr_assert_eq(uma_heap_free(heap, other), 0); /* its page is an extent now */
  cr_assert_eq(uma_heap_free(heap, other), -EALREADY);
  cr_assert_eq(uma_heap_free(heap, large), 0); /* and this one joined it */
  cr_assert_eq(uma_heap_free(heap, large), -EALREADY);
  cr_assert_eq(uma_heap_free(heap, large + 1), -EINVAL);
  cr_assert_eq(uma_heap_alloc(heap, 200 * PAGE, 16), 0);
  cr_assert_eq(uma_heap_free(heap, large), -EINVAL); /* inside of another block now */
  block_check(heap);
}

Test(heap, a_vast_window_costs_only_what_is_used)
{
  size_t window_bytes = (size_t)1 << 40;
  struct uma_heap *heap = block_heap(window_bytes, 0);
  uint64_t first = uma_heap_alloc(heap, 100, 16), half = uma_heap_alloc(heap, window_bytes / 2, 16);
  cr_assert(first != UMA_HEAP_FULL && half != UMA_HEAP_FULL);
  size_t pages = uma_heap_bytes(window_bytes) / 4096, touched = 0;
  unsigned char *resident = malloc(pages);
  cr_assert_eq(mincore(heap, pages * 4096, resident), 0);
  for (size_t i = 0; i < pages; i++) touched += resident[i] & 1;
  free(resident);
  cr_assert(touched <= 8, "%zu pages of bookkeeping are touched", touched);
  cr_assert_eq(uma_heap_free(heap, first), 0);
  cr_assert_eq(uma_heap_free(heap, half), 0);
  cr_assert_eq(usage_of(heap).largest_free, window_bytes);
}

/* ---- Against a model: who owns each 16 bytes of the window */

#define MODEL_PAGES 512
#define MODEL_UNITS (MODEL_PAGES * 256)
#define MODEL_BLOCKS 1000
#define MODEL_ORIGIN 0x200000005000 /* aligned to a page only */

struct model {
  struct uma_heap *heap;
  uint64_t random;
  unsigned char taken[MODEL_UNITS];
  uint64_t offsets[MODEL_BLOCKS];
  size_t used, blocks;
};

static void model_set(struct model *model, uint64_t offset, size_t bytes, int taken)
{
  for (size_t unit = offset / 16; unit < (offset + bytes) / 16; unit++) {
    cr_assert_eq(model->taken[unit], !taken, "offset %llu of %zu bytes overlaps another", (unsigned long long)offset, bytes);
    model->taken[unit] = (unsigned char)taken;
  }
}

static int model_has_room(const struct model *model, size_t bytes, size_t alignment)
{
  size_t pages = (bytes + PAGE - 1) / PAGE, run = 0;
  static const unsigned char none[256];
  for (size_t page = MODEL_PAGES; page-- > 0;) {
    run = memcmp(model->taken + page * 256, none, 256) == 0 ? run + 1 : 0;
    if (run >= pages && (MODEL_ORIGIN + page * PAGE) % alignment == 0) return 1;
  }
  return 0;
}

static void model_alloc(struct model *model, int i)
{
  size_t bytes = block_random_bytes(&model->random, 300 * BLOCK_KiB), alignment = 1ull << block_random(&model->random) % 18;
  if (block_random(&model->random) % 4) alignment = 16;
  uint64_t offset = uma_heap_alloc(model->heap, bytes, alignment);
  model->offsets[i] = offset;
  if (offset == UMA_HEAP_FULL) {
    cr_assert(!model_has_room(model, bytes, alignment), "%zu bytes aligned to %zu would have fitted", bytes, alignment);
    return;
  }
  size_t stored = uma_heap_block_bytes(model->heap, offset);
  cr_assert(stored >= bytes && (MODEL_ORIGIN + offset) % alignment == 0);
  model_set(model, offset, stored, 1);
  model->used += stored;
  model->blocks++;
}

static void model_free(struct model *model, int i)
{
  uint64_t offset = model->offsets[i];
  size_t stored = uma_heap_block_bytes(model->heap, offset), inside = block_random(&model->random) % stored;
  model_set(model, offset, stored, 0);
  if (inside) cr_assert_eq(uma_heap_free(model->heap, offset + inside), -EINVAL);
  cr_assert_eq(uma_heap_free(model->heap, offset), 0);
  cr_assert_eq(uma_heap_free(model->heap, offset), -EALREADY);
  model->offsets[i] = UMA_HEAP_FULL;
  model->used -= stored;
  model->blocks--;
}

static void model_check(struct model *model)
{
  struct uma_usage usage = usage_of(model->heap);
  cr_assert(usage.used == model->used && usage.blocks == model->blocks && usage.peak >= usage.used);
  block_check(model->heap);
}

Test(heap, random_use_agrees_with_a_model)
{
  static struct model model;
  model.random = block_seed();
  model.heap = block_heap(MODEL_PAGES * PAGE, MODEL_ORIGIN);
  for (int i = 0; i < MODEL_BLOCKS; i++) model.offsets[i] = UMA_HEAP_FULL;
  for (int step = 0; step < 60000; step++) {
    int few = step / 5000 % 2 ? 40 : MODEL_BLOCKS; /* sometimes full, sometimes nearly empty */
    int i = (int)(block_random(&model.random) % MODEL_BLOCKS);
    if (model.offsets[i] != UMA_HEAP_FULL) model_free(&model, i);
    else if (i < few) model_alloc(&model, i);
    if (step % 64 == 0) model_check(&model);
  }
  for (int i = 0; i < MODEL_BLOCKS; i++)
    if (model.offsets[i] != UMA_HEAP_FULL) model_free(&model, i);
  expect_empty(model.heap, MODEL_PAGES * PAGE);
}

/* ---- Many at once: blocks go through shared places, so that one frees what another has allocated */

#define CROWD 4
#define CROWD_WINDOW (8 * BLOCK_MiB)
#define CROWD_PLACES 256
#define CROWD_STEPS 20000

struct crowd {
  struct uma_heap *heap;
  unsigned char *window;
  _Atomic uint64_t *places; /* offset + 1 of a block, or 0 */
  _Atomic int next, failures;
  uint64_t seed;
};

static void crowd_end_block(struct crowd *crowd, uint64_t place)
{
  if (place == 0) return;
  if (!block_intact(crowd->window, place - 1)) atomic_fetch_add(&crowd->failures, 1);
  if (uma_heap_free(crowd->heap, place - 1)) atomic_fetch_add(&crowd->failures, 1);
}

static void *crowd_member(void *argument)
{
  struct crowd *crowd = argument;
  uint64_t random = crowd->seed + (uint64_t)atomic_fetch_add(&crowd->next, 1);
  for (int step = 0; step < CROWD_STEPS; step++) {
    _Atomic uint64_t *place = &crowd->places[block_random(&random) % CROWD_PLACES];
    uint64_t old = atomic_exchange(place, 0);
    crowd_end_block(crowd, old);
    if (old) continue;
    size_t bytes = 8 + block_random_bytes(&random, 100 * BLOCK_KiB);
    uint64_t offset = uma_heap_alloc(crowd->heap, bytes, 16);
    if (offset == UMA_HEAP_FULL) continue;
    block_fill(crowd->window, offset, bytes);
    crowd_end_block(crowd, atomic_exchange(place, offset + 1));
  }
  return NULL;
}

static struct crowd *crowd_make(void)
{
  struct crowd *crowd = block_shared_memory(sizeof *crowd);
  crowd->heap = block_heap(CROWD_WINDOW, 0);
  crowd->window = block_shared_memory(CROWD_WINDOW);
  crowd->places = block_shared_memory(CROWD_PLACES * sizeof crowd->places[0]);
  crowd->seed = block_seed();
  return crowd;
}

static void crowd_finish(struct crowd *crowd)
{
  block_check(crowd->heap);
  for (int i = 0; i < CROWD_PLACES; i++) crowd_end_block(crowd, atomic_exchange(&crowd->places[i], 0));
  cr_assert_eq(atomic_load(&crowd->failures), 0);
  expect_empty(crowd->heap, CROWD_WINDOW);
}

Test(heap, threads_share_a_heap)
{
  struct crowd *crowd = crowd_make();
  pthread_t threads[CROWD];
  for (int i = 0; i < CROWD; i++) cr_assert_eq(pthread_create(&threads[i], NULL, crowd_member, crowd), 0);
  for (int i = 0; i < CROWD; i++) pthread_join(threads[i], NULL);
  crowd_finish(crowd);
}

Test(heap, processes_share_a_heap)
{
  struct crowd *crowd = crowd_make();
  for (int i = 0; i < CROWD; i++) {
    pid_t pid = block_fork();
    if (pid) continue;
    uma_mutex_identify(1 + i, NULL);
    crowd_member(crowd);
    _exit(0);
  }
  for (int i = 0, status; i < CROWD; i++) cr_assert(wait(&status) > 0 && status == 0);
  crowd_finish(crowd);
}
