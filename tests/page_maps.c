/* Cached pages cost page table entries only: a process has as many memory mappings with thousands of them as with none. */
#include <fcntl.h>
#include <unistd.h>

#include "tests/session.h"

/* ThreadSanitizer maps shadows of what is touched. */
#if defined(__SANITIZE_THREAD__)
static const bool maps_are_ours = false;
#else
static const bool maps_are_ours = true;
#endif

enum { DEVICES = 8, PAGES = 2000, PAGE = 4096 };
static const size_t window = (size_t)1 << 30;

/* Lines of the kernel's table, read without a buffer that would have to be mapped. */
static int count_mappings(void)
{
  static char part[PAGE];
  int fd = open("/proc/self/maps", O_RDONLY), lines = 0;
  for (ssize_t got; fd >= 0 && (got = read(fd, part, sizeof part)) > 0;)
    for (ssize_t i = 0; i < got; i++) lines += part[i] == '\n';
  if (fd >= 0) close(fd);
  return lines;
}

/* Far from each other, in all windows in turn; every device meets pages of its own and of all others. */
static uint64_t *page(unsigned char *block, int i)
{
  size_t at = ((size_t)i * 7919 * PAGE) % (window / 2);
  return (uint64_t *)((unsigned char *)uma_symmetric(block, i % DEVICES) + at);
}

static int spread_accesses(void *unused)
{
  unsigned char *block = uma_alloc_symmetric(window / 2);
  CHECK(block);
  uint64_t *first = page(block, uma_device());
  *first = *(page(block, uma_device() + DEVICES) + 1);
  CHECK(!uma_barrier());
  int before = count_mappings();
  for (int i = 0; i < PAGES; i++) CHECK(page(block, i)[1] == 0);
  for (int i = uma_device(); i < PAGES; i += DEVICES) page(block, i)[2] = (uint64_t)i + 1;
  CHECK(!uma_barrier());
  for (int i = 0; i < PAGES; i++) CHECK(page(block, i)[2] == (uint64_t)i + 1);
  CHECK(before > 0 && count_mappings() == before);
  CHECK(!uma_flush() && count_mappings() == before);
  return 0;
}

Test(page_maps, no_more_mappings_with_more_pages, .timeout = 120)
{
  if (!maps_are_ours) cr_skip_test("the sanitizer maps memory, too");
  struct uma_config config = {.coherence = UMA_COHERENCE_PAGE, .memory = window, .timeout = 100};
  int result = uma_spawn(&config, DEVICES, spread_accesses, NULL);
  cr_assert_eq(result, 0, "%d (%s)", result, result < 0 ? uma_last_error() : "");
}
