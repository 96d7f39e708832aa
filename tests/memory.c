/* Device memory through the public calls: who allocates where, wrong frees, full windows, symmetric blocks, huge pages. */
#include <errno.h>
#include <pthread.h>

#include "tests/session.h"

static int allocate_everywhere(void *argument)
{
  int me = uma_device(), devices = uma_device_count();
  for (int d = 0; d < devices; d++) {
    errno = 0;
    unsigned char *block = uma_malloc_on(d, 1000);
    if (!uma_reachable(d)) {
      CHECK(!block && errno == EREMOTE && uma_free(uma_window(d, NULL)) == -EREMOTE);
      continue;
    }
    CHECK(block && uma_home(block) == d && (uintptr_t)block % 16 == 0);
    memset(block, me, 1000);
    unsigned char *zeroed = uma_calloc_on(d, 10, 100);
    for (int i = 0; i < 1000; i++) CHECK(zeroed[i] == 0 && block[i] == me);
    CHECK(!uma_free(block) && !uma_free(zeroed));
  }
  for (size_t alignment = 1; alignment <= (size_t)4 << 20; alignment *= 2) {
    void *block = uma_memalign_on(me, alignment, 3 * alignment + 1);
    CHECK(block && (uintptr_t)block % alignment == 0 && !uma_free(block));
  }
  return uma_barrier();
}

Test(memory, any_device_allocates_in_any_window_it_reaches)
{
  session_run_shapes(allocate_everywhere, NULL);
}

static int misuse(void *argument)
{
  char *block = uma_malloc(100), local;
  CHECK(!uma_free(NULL) && uma_free(&local) == -EFAULT && strstr(uma_last_error(), "in no window"));
  CHECK(uma_free(block + 16) == -EINVAL && strstr(uma_last_error(), "not the beginning of a block"));
  CHECK(!uma_free(block) && uma_free(block) == -EALREADY && strstr(uma_last_error(), "freed before"));
  errno = 0;
  CHECK(!uma_malloc(0) && errno == EINVAL);
  CHECK(!uma_malloc_on(-1, 8) && errno == EINVAL && !uma_malloc_on(uma_device_count(), 8) && errno == EINVAL);
  CHECK(!uma_memalign_on(0, 48, 8) && errno == EINVAL);
  CHECK(!uma_malloc((size_t)-1) && errno == ENOMEM && !uma_calloc_on(0, SIZE_MAX / 2, 3) && errno == ENOMEM);
  CHECK(!uma_malloc((size_t)1 << 40) && errno == ENOMEM && strstr(uma_last_error(), "--memory"));
  struct uma_usage usage;
  CHECK(!uma_usage(0, &usage) && usage.used == 0 && usage.blocks == 0 && usage.capacity == (size_t)64 << 20 && usage.peak > 0);
  CHECK(uma_usage(99, &usage) == -EINVAL);
  return 0;
}

Test(memory, misuse_is_told_and_changes_nothing)
{
  session_run(1, 1, UMA_MODE_SUPERNODE, misuse, NULL);
}

static int fill(void *argument)
{
  size_t blocks = 0;
  for (void *block; (block = uma_malloc_on(0, (size_t)1 << 20)); blocks++) memset(block, 1, 1 << 20);
  CHECK(errno == ENOMEM);
  uma_barrier();
  uint64_t mine = blocks, all;
  CHECK(!uma_allreduce(&all, &mine, 1, UMA_UINT64, UMA_SUM) && all == 64);
  return 0;
}

Test(memory, a_window_is_filled_to_its_last_byte_by_all_together)
{
  session_run(3, 1, UMA_MODE_SUPERNODE, fill, NULL);
}

static int symmetric(void *argument)
{
  int me = uma_device(), devices = uma_device_count();
  void *obstacle = me % 2 ? uma_malloc((size_t)8 << 20) : NULL; /* windows differ */
  void *small = me % 3 ? uma_malloc(100) : NULL;
  unsigned char *blocks[4];
  for (int i = 0; i < 4; i++) {
    CHECK((blocks[i] = uma_alloc_symmetric((size_t)10 << 20)));
    CHECK(uma_home(blocks[i]) == me);
    uint64_t offset = (uint64_t)(blocks[i] - (unsigned char *)uma_window(me, NULL)), most, least;
    CHECK(!uma_allreduce(&most, &offset, 1, UMA_UINT64, UMA_MAX) && !uma_allreduce(&least, &offset, 1, UMA_UINT64, UMA_MIN) &&
          most == least);
    CHECK(uma_symmetric(blocks[i] + 5, (me + 1) % devices) == (unsigned char *)uma_window((me + 1) % devices, NULL) + offset + 5);
  }
  CHECK(!uma_alloc_symmetric((size_t)40 << 20) && errno == ENOMEM);
  CHECK(!uma_alloc_symmetric(0) && errno == EINVAL);
  for (int i = 0; i < 4; i++) CHECK(!uma_free_symmetric(blocks[i]));
  CHECK(!uma_free(small) && !uma_free(obstacle));
  CHECK((blocks[0] = uma_alloc_symmetric((size_t)60 << 20)));
  return 0;
}

Test(memory, symmetric_blocks_have_one_offset_in_all_windows)
{
  session_run_shapes(symmetric, NULL);
}

static void *churn(void *argument)
{
  unsigned state = (unsigned)(uintptr_t)argument;
  unsigned char *blocks[32] = {0}, marks[32];
  size_t sizes[32];
  for (int i = 0; i < 3000; i++) {
    int k = rand_r(&state) % 32;
    if (blocks[k]) {
      for (size_t b = 0; b < sizes[k]; b += 97)
        if (blocks[k][b] != marks[k]) return "a block was overwritten";
      if (uma_free(blocks[k])) return "a block could not be freed";
    }
    sizes[k] = 1 + (size_t)rand_r(&state) % (rand_r(&state) % 10 ? 500 : 50000);
    blocks[k] = uma_malloc_on(rand_r(&state) % uma_device_count(), sizes[k]);
    if (!blocks[k]) return "no room";
    memset(blocks[k], marks[k] = (unsigned char)rand_r(&state), sizes[k]);
  }
  for (int k = 0; k < 32; k++) uma_free(blocks[k]);
  return NULL;
}

static int churn_by_threads(void *argument)
{
  pthread_t threads[3];
  void *fault;
  for (long i = 0; i < 3; i++) CHECK(!pthread_create(&threads[i], NULL, churn, (void *)(i * 1000 + uma_device() + 1)));
  for (int i = 0; i < 3; i++) {
    pthread_join(threads[i], &fault);
    CHECK(!fault || (fprintf(stderr, "%s\n", (char *)fault), false));
  }
  CHECK(!uma_barrier());
  struct uma_usage usage;
  for (int d = 0; d < uma_device_count(); d++) CHECK(!uma_usage(d, &usage) && usage.blocks == 0 && usage.largest_free == usage.capacity);
  return 0;
}

Test(memory, all_devices_and_threads_allocate_at_once)
{
  session_run(4, 1, UMA_MODE_SUPERNODE, churn_by_threads, NULL);
}

/* Kilobytes of huge mapped shared memory in this process. */
static long huge_kilobytes(void)
{
  FILE *file = fopen("/proc/self/smaps_rollup", "r");
  char line[256];
  long kilobytes = -1;
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "ShmemPmdMapped: %ld", &kilobytes) == 1) break;
  if (file) fclose(file);
  return kilobytes;
}

static int use_huge_pages(void *argument)
{
  size_t bytes = (size_t)16 << 20;
  unsigned char *mine = uma_alloc_symmetric(bytes), *block = uma_malloc(bytes);
  CHECK(mine && block);
  memset(mine, 1, bytes);
  memset(block, 2, bytes);
  CHECK(!uma_barrier());
  unsigned char *theirs = uma_symmetric(mine, (uma_device() + 1) % uma_device_count());
  for (size_t i = 0; i < bytes; i += 4096) CHECK(theirs[i] == 1);
  CHECK(huge_kilobytes() >= (long)(3 * bytes / 1024)); /* its own two blocks and the neighbour's */
  return uma_barrier();
}

static bool host_gives_huge_pages(void)
{
  size_t huge = (size_t)2 << 20;
  FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "r");
  size_t bytes = 0;
  if (!file) return false;
  if (fscanf(file, "%zu", &bytes) != 1) bytes = 0;
  fclose(file);
  return bytes == huge;
}

Test(memory, huge_pages_are_really_given)
{
  struct uma_config config = {
      .coherence = UMA_COHERENCE_NONE, .memory = (size_t)64 << 20, .hugepages = UMA_HUGEPAGES_ALWAYS, .timeout = 60};
  if (!host_gives_huge_pages()) cr_skip_test("this kernel has no transparent huge pages of 2 MiB");
  cr_assert_eq(uma_spawn(&config, 2, use_huge_pages, NULL), 0);
}
