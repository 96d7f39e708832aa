/* The address space: the same addresses on every device, who lives where, and what an illegal access says. */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/command.h"
#include "tests/session.h"

struct node {
  struct node *next;
  int device;
};

/* A ring of nodes through all windows by raw pointers; each device walks all of it. */
static int walk_ring(void *argument)
{
  struct node *mine = uma_alloc_symmetric(sizeof *mine);
  int devices = uma_device_count(), me = uma_device();
  CHECK(mine);
  mine->next = uma_symmetric(mine, (me + 1) % devices);
  mine->device = me;
  CHECK(!uma_barrier());
  struct node *node = mine;
  for (int i = 0; i < 3 * devices; i++, node = node->next) {
    CHECK(node->device == (me + i) % devices);
    CHECK(uma_home(node) == node->device);
  }
  CHECK(!uma_barrier());
  return 0;
}

Test(space, raw_pointers_cross_devices)
{
  session_run(1, 1, UMA_MODE_SUPERNODE, walk_ring, NULL);
  session_run(2, 1, UMA_MODE_SUPERNODE, walk_ring, NULL);
  session_run(7, 3, UMA_MODE_SUPERNODE, walk_ring, NULL);
}

static int ask_who_and_where(void *argument)
{
  int stacked = *(int *)argument, devices = uma_device_count(), me = uma_device();
  CHECK(devices == 6 && uma_server_count() == 3 && uma_domain_count() == (stacked ? 3 : 1));
  for (int d = 0; d < devices; d++) {
    size_t bytes;
    unsigned char *window = uma_window(d, &bytes);
    CHECK(uma_server(d) == d / 2 && uma_domain(d) == (stacked ? d / 2 : 0));
    CHECK(uma_home(window) == d && uma_home(window + bytes - 1) == d);
    bool reachable = !stacked || d / 2 == me / 2;
    CHECK(uma_reachable(d) == reachable);
    CHECK(uma_path(d) == (d == me ? UMA_PATH_SELF : reachable ? UMA_PATH_MAP : UMA_PATH_MSG));
  }
  CHECK(uma_server(-1) == -EINVAL && uma_server(6) == -EINVAL && uma_domain(6) == -EINVAL && uma_path(6) == 0 && !uma_window(6, NULL));
  CHECK(uma_home(&devices) == -EFAULT && uma_home((char *)uma_window(0, NULL) - 1) == -EFAULT);
  CHECK(uma_symmetric(&devices, 0) == NULL && uma_symmetric(uma_window(0, NULL), 6) == NULL);
  return 0;
}

Test(space, devices_know_who_and_where_they_are)
{
  int stacked = 0;
  session_run(6, 3, UMA_MODE_SUPERNODE, ask_who_and_where, &stacked);
  stacked = 1;
  session_run(6, 3, UMA_MODE_STACKED, ask_who_and_where, &stacked);
}

Test(space, a_window_costs_nothing_until_touched)
{
  struct uma_config config = {.memory = (size_t)8 << 30};
  cr_assert_eq(uma_init(&config), 0, "%s", uma_last_error());
  size_t bytes;
  char *window = uma_window(0, &bytes);
  cr_assert_eq(bytes, (size_t)8 << 30);
  window[0] = window[bytes - 1] = 1;
  cr_assert_eq(uma_finalize(), 0);
}

static int touch_other_domain(void *argument)
{
  volatile int *theirs = uma_window(1, NULL);
  if (uma_device() == 0) *theirs = 1;
  uma_barrier();
  return 0;
}

Test(space, a_plain_access_to_another_domain_ends_with_a_message_that_helps)
{
  struct uma_config config = {.servers = 2, .mode = UMA_MODE_STACKED, .memory = 1 << 20, .timeout = 60};
  char *said;
  int result = command_capture_spawn(&config, 2, touch_other_domain, NULL, &said);
  cr_expect_eq(result, 128 + SIGSEGV, "%d", result);
  const char *wanted[] = {"device 0 (server 0)", "store to 0x", "memory of device 1 (server 1)", "uma_copy"};
  for (size_t i = 0; i < 4; i++) cr_expect(strstr(said, wanted[i]), "\"%s\" is missing in: %s", wanted[i], said);
}

static int take_foreign_fault(void *argument)
{
  volatile int *nowhere = NULL;
  return *nowhere;
}

Test(space, other_faults_keep_their_meaning)
{
  int result = uma_spawn(NULL, 1, take_foreign_fault, NULL);
  cr_assert(result == 128 + SIGSEGV || result == 1 || result == 66, "%d", result); /* a sanitizer ends the process itself: 1 or 66 */
}

Test(space, a_collision_names_the_mapping_and_the_way_out)
{
  struct uma_config config = {.memory = 1 << 20, .base = SESSION_OTHER_BASE};
  void *squatter = mmap((void *)SESSION_OTHER_BASE, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  cr_assert_neq(squatter, MAP_FAILED);
  cr_assert_eq(uma_init(&config), -EEXIST);
  char range[64];
  snprintf(range, sizeof range, "0x%zx-0x%zx", (size_t)SESSION_OTHER_BASE, (size_t)SESSION_OTHER_BASE + 4096);
  cr_expect(strstr(uma_last_error(), range) && strstr(uma_last_error(), "--base"), "%s", uma_last_error());
}

static int check_base(void *argument)
{
  CHECK((uintptr_t)uma_window(0, NULL) == SESSION_OTHER_BASE);
  return 0;
}

Test(space, the_base_can_be_moved)
{
  struct uma_config config = {.memory = 1 << 20, .base = SESSION_OTHER_BASE};
  cr_assert_eq(uma_spawn(&config, 3, check_base, NULL), 0, "%s", uma_last_error());
}
