/* Windows as caches of pages: what is more than frames, what system calls see, signals, forks, stacks and threads on windows, and starts that
 * must fail. That all of the library works on them is what `make test` shows by running its other tests in this mode. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/command.h"
#include "tests/session.h"

enum { PAGE = 4096 };

/* ThreadSanitizer delivers signals later than they come, and knows no way out of a handler but its end. */
#if defined(__SANITIZE_THREAD__)
static const bool signals_are_plain = false;
#else
static const bool signals_are_plain = true;
#endif

static const struct uma_config base = {.coherence = UMA_COHERENCE_PAGE, .memory = (size_t)8 << 20, .timeout = 60};

static void run(struct uma_config config, int devices, int (*function)(void *))
{
  int result = uma_spawn(&config, devices, function, NULL);
  cr_assert_eq(result, 0, "%d devices: %d (%s)", devices, result, result < 0 ? uma_last_error() : "");
}

/* Runs with the table of counters kept away. */
static void run_counted(struct uma_config config, int devices, int (*function)(void *))
{
  char *said;
  config.stats = UMA_ON;
  int result = command_capture_spawn(&config, devices, function, NULL, &said);
  cr_assert_eq(result, 0, "%d (%s): %s", result, result < 0 ? uma_last_error() : "", said);
  free(said);
}

static bool may_serve_the_kernel(void)
{
  int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
  if (fd >= 0) close(fd);
  return fd >= 0 || !access("/dev/userfaultfd", R_OK | W_OK);
}

/* ---- Frames ---- */

/* Much more memory than frames, written and read by all devices. */
static int exceed_frames(void *unused)
{
  enum { PAGES = 600 };
  unsigned char *mine = uma_alloc_symmetric(PAGES * PAGE), *theirs = uma_symmetric(mine, (uma_device() + 1) % uma_device_count());
  CHECK(mine);
  for (int round = 1; round <= 3; round++) {
    for (int i = 0; i < PAGES; i++) *(int *)(theirs + i * PAGE + 64) = i * 100 + round;
    CHECK(!uma_barrier());
    for (int i = 0; i < PAGES; i++) CHECK(*(int *)(mine + i * PAGE + 64) == i * 100 + round);
    CHECK(!uma_barrier());
  }
  return 0;
}

Test(page_cache, more_memory_than_frames)
{
  struct uma_config config = base;
  config.frames = 16 * PAGE;
  run(config, 1, exceed_frames);
  run(config, 3, exceed_frames);
  config.page = (size_t)64 << 10;
  config.frames = (size_t)1 << 20;
  run(config, 2, exceed_frames);
}

/* A page that is used again and again stays, while others come and go. */
static int keep_used_pages(void *unused)
{
  unsigned char *pages = uma_malloc_on(0, 400 * PAGE);
  struct uma_counters before, after;
  CHECK(!uma_counters(0, &before));
  for (int i = 1; i < 400; i++) {
    pages[0]++;
    pages[i * PAGE]++;
  }
  CHECK(!uma_counters(0, &after));
  uint64_t evictions = after.evictions - before.evictions, misses = after.misses_cold + after.misses_capacity + after.misses_conflict;
  CHECK(evictions >= 400 - 16);
  CHECK(misses - before.misses_cold < 400 + 80); /* the hot page was brought back far less often than others came */
  CHECK(pages[0] == (unsigned char)399);
  return 0;
}

Test(page_cache, a_page_in_use_gets_a_second_chance)
{
  struct uma_config config = base;
  config.frames = 16 * PAGE;
  run_counted(config, 1, keep_used_pages);
}

static int read_in_order(void *unused)
{
  unsigned char *mine = uma_alloc_symmetric(256 * PAGE), *theirs = uma_symmetric(mine, 1 - uma_device()), sum = 0;
  struct uma_counters before, after;
  for (int i = 0; i < 256; i++) mine[i * PAGE] = 1;
  CHECK(!uma_barrier());
  CHECK(!uma_counters(uma_device(), &before));
  for (int i = 0; i < 256; i++) sum += theirs[i * PAGE];
  CHECK(!uma_counters(uma_device(), &after));
  CHECK(sum == 0 && after.prefetches - before.prefetches > 200);
  CHECK(after.prefetches - before.prefetches < 256);
  CHECK(!uma_barrier());
  CHECK(!uma_counters(uma_device(), &before));
  for (int i = 0; i < 256; i += 3) theirs[(i * 85 % 256) * PAGE] = 2; /* in no order */
  CHECK(!uma_counters(uma_device(), &after));
  CHECK(after.prefetches == before.prefetches);
  return 0;
}

Test(page_cache, pages_read_in_order_come_along)
{
  run_counted(base, 2, read_in_order);
}

/* ---- The kernel ---- */

static int call_the_kernel(void *served)
{
  unsigned char *absent = uma_malloc(4 * PAGE), *theirs = uma_alloc_symmetric(4 * PAGE), byte;
  int fds[2];
  CHECK(absent && theirs && !pipe(fds));
  theirs = uma_symmetric(theirs, (uma_device() + 1) % uma_device_count());
  if (!served) {
    CHECK(write(fds[1], "text", 4) == 4);
    CHECK(read(fds[0], absent, 4) < 0 && errno == EFAULT);
    CHECK(uma_prefetch(absent, 4 * PAGE, UMA_WRITE) == 4 * PAGE);
    CHECK(read(fds[0], absent, 4) == 4 && !memcmp(absent, "text", 4));
    CHECK(uma_prefetch(theirs + 3, 100, UMA_READ) == 100);
  } else {
    CHECK(write(fds[1], "text", 4) == 4);
    CHECK(read(fds[0], absent + PAGE - 2, 4) == 4 && !memcmp(absent + PAGE - 2, "text", 4));
  }
  CHECK(write(fds[1], theirs, 3) == 3 && read(fds[0], &byte, 1) == 1 && byte == 0);
  return uma_barrier();
}

static int call_unserved(void *unused)
{
  return call_the_kernel(NULL);
}

static int call_served(void *unused)
{
  return call_the_kernel("served");
}

Test(page_cache, system_calls_need_what_is_present)
{
  run(base, 2, call_unserved);
}

Test(page_cache, a_thread_serves_system_calls)
{
  struct uma_config config = base;
  config.faults = UMA_FAULTS_THREAD;
  if (!may_serve_the_kernel()) cr_skip_test("faults of the kernel may be served by the privileged only");
  run(config, 2, call_served);
}

static int prefetch_badly(void *unused)
{
  char private[10] = "";
  CHECK(uma_prefetch(private, 10, UMA_READ) == 10);
  CHECK(uma_prefetch(uma_window(0, NULL), (size_t)1 << 40, UMA_READ) == -EFAULT);
  CHECK(uma_prefetch(private, 10, (enum uma_access)7) == -EINVAL && strstr(uma_last_error(), "7 is not valid"));
  return 0;
}

Test(page_cache, prefetch_tells_bad_arguments)
{
  run(base, 1, prefetch_badly);
}

/* ---- Signals ---- */

static volatile sig_atomic_t own_faults;
static sigjmp_buf back;

static void on_own_fault(int number, siginfo_t *info, void *context)
{
  own_faults++;
  siglongjmp(back, 1);
}

/* A fault of the program's own, in a file that is shorter than its mapping. */
static int fault_elsewhere(void *unused)
{
  volatile char *beyond = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, memfd_create("short", MFD_CLOEXEC), 0);
  int *word = uma_malloc(PAGE);
  *word = 5;
  if (!sigsetjmp(back, 1)) CHECK(beyond[PAGE] == 0);
  CHECK(own_faults == 1 && *word == 5);
  return 0;
}

Test(page_cache, the_programs_own_handler_goes_on_working)
{
  struct sigaction action = {.sa_sigaction = on_own_fault, .sa_flags = SA_SIGINFO | SA_NODEFER}, former;
  sigaction(SIGBUS, &action, &former);
  run(base, 2, fault_elsewhere);
  sigaction(SIGBUS, &former, NULL);
}

static volatile sig_atomic_t ticks;
static uint64_t *touched_by_ticks;

static void on_tick(int number)
{
  touched_by_ticks[ticks % 64 * (PAGE / 8)]++;
  if (++ticks % 4 == 0) siglongjmp(back, 1);
}

/* A timer's handler faults, and every fourth time does not return, while the devices fight for the same pages. */
static int be_interrupted(void *unused)
{
  uint64_t *mine = uma_alloc_symmetric(64 * PAGE), *theirs = uma_symmetric(mine, 1 - uma_device());
  struct itimerval every = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
  touched_by_ticks = theirs;
  CHECK(!uma_barrier());
  signal(SIGALRM, on_tick);
  sigsetjmp(back, 1);
  setitimer(ITIMER_REAL, &every, NULL);
  for (int i = 0; ticks < 40; i++) mine[i % 64 * (PAGE / 8) + 1 + uma_device()]++;
  setitimer(ITIMER_REAL, &never, NULL);
  signal(SIGALRM, SIG_IGN);
  CHECK(!uma_barrier());
  uint64_t sum = 0;
  for (int i = 0; i < 64; i++) sum += theirs[i * (PAGE / 8)];
  CHECK(sum == (uint64_t)ticks);
  return uma_barrier();
}

Test(page_cache, handlers_may_fault_and_jump)
{
  if (!signals_are_plain) cr_skip_test("the sanitizer's signals are not the kernel's");
  run(base, 2, be_interrupted);
}

/* ---- Processes and threads ---- */

static int fork_and_exec(void *unused)
{
  int *word = uma_malloc(PAGE), status;
  *word = 7;
  CHECK(system("exit 3") == 3 << 8);
  pid_t child = fork();
  if (child == 0) _exit(*word == 7 ? 0 : 1);
  CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
  CHECK(*word == 7 && uma_free(word) == 0);
  return 0;
}

Test(page_cache, a_forked_process_has_no_windows)
{
  char *said;
  cr_expect_eq(command_capture_spawn(&base, 1, fork_and_exec, NULL, &said), 0, "%s", said);
  cr_expect(strstr(said, "forked"), "%s", said);
  free(said);
}

static void *fault_on_one_page(void *pages)
{
  uint64_t *words = pages;
  for (int i = 0; i < 300; i++) __atomic_fetch_add(&words[i % 20 * (PAGE / 8)], 1, __ATOMIC_RELAXED);
  return NULL;
}

static int fault_together(void *unused)
{
  pthread_t threads[8];
  uint64_t *pages = uma_alloc_symmetric(20 * PAGE), sum = 0;
  pages = uma_symmetric(pages, 0);
  CHECK(!uma_barrier());
  for (int i = 0; i < 8; i++) CHECK(!pthread_create(&threads[i], NULL, fault_on_one_page, pages));
  for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
  CHECK(!uma_barrier());
  for (int i = 0; i < 20; i++) sum += pages[i * (PAGE / 8)];
  CHECK(sum == (uint64_t)uma_device_count() * 8 * 300);
  return uma_barrier();
}

Test(page_cache, threads_fault_on_one_page_together)
{
  struct uma_config config = base;
  config.frames = 16 * PAGE;
  run(config, 2, fault_together);
}

static __attribute__((noinline)) int go_deep(int depth)
{
  volatile char room[1000];
  room[0] = (char)depth;
  return depth ? go_deep(depth - 1) + (room[0] == (char)depth) : 0;
}

static void *use_a_stack(void *result)
{
  static char elsewhere[64 << 10];
  stack_t stack = {.ss_sp = elsewhere, .ss_size = sizeof elsewhere}, former;
  sigaltstack(&stack, &former);
  *(int *)result = go_deep(300);
  sigaltstack(&former, NULL);
  return NULL;
}

/* A thread's stack can lie on a window, when its beginning is present (a thread starts with its signals blocked), and its signals have an
 * alternate stack. */
static int run_on_a_window(void *unused)
{
  pthread_attr_t attributes;
  pthread_t thread;
  size_t bytes = (size_t)1 << 20;
  void *stack = uma_memalign_on(0, PAGE, bytes);
  int result = 0;
  CHECK(uma_prefetch((char *)stack + bytes - bytes / 16, bytes / 16, UMA_WRITE) == (ptrdiff_t)bytes / 16);
  pthread_attr_init(&attributes);
  CHECK(!pthread_attr_setstack(&attributes, stack, bytes));
  CHECK(!pthread_create(&thread, &attributes, use_a_stack, &result));
  CHECK(!pthread_join(thread, NULL));
  CHECK(result == 300);
  return 0;
}

Test(page_cache, a_stack_on_a_window)
{
  if (!signals_are_plain) cr_skip_test("the sanitizer's signals are not the kernel's");
  run(base, 1, run_on_a_window);
}

/* ---- Death ---- */

static int leave_modified_pages(void *unused)
{
  enum { WORDS = 64 * PAGE / 8 };
  uint64_t *words = uma_symmetric(uma_alloc_symmetric(64 * PAGE), 0);
  if (uma_device() == 1) {
    for (uint64_t i = 0; i < WORDS; i++) words[i] = i + 1;
    CHECK(!uma_barrier());
    kill(getpid(), SIGKILL);
  }
  CHECK(!uma_barrier());
  while (uma_alive(1)) usleep(100);
  for (uint64_t i = 0; i < WORDS && uma_device() == 0; i++) {
    CHECK(words[i] == i + 1);
    words[i] = 0;
  }
  return 0;
}

Test(page_cache, what_the_dead_had_is_served)
{
  struct uma_config config = base;
  char *said;
  config.on_failure = UMA_ON_FAILURE_CONTINUE;
  cr_expect_eq(command_capture_spawn(&config, 3, leave_modified_pages, NULL, &said), 128 + SIGKILL, "%s", said);
  cr_expect(!strstr(said, "does not hold"), "%s", said);
  free(said);
}

/* ---- Starts ---- */

static void expect_refused(const char *command, int status, const char *sentence)
{
  char line[512], *said;
  snprintf(line, sizeof line, command, session_build(), session_build());
  cr_expect_eq(command_run(line, &said), status, "%s: %s", line, said);
  cr_expect(strstr(said, sentence), "%s: \"%s\" is missing in: %s", line, sentence, said);
  free(said);
}

Test(page_cache, bad_settings_are_named)
{
  expect_refused("%s/uma run --coherence page --page 3000 true", 2, "page: 3000 is not valid; expected 4K to 2M, a power of two");
  expect_refused("%s/uma run --coherence page --page 4M true", 2, "page: 4M is not valid");
  expect_refused("%s/uma run --coherence page --frames 32K true", 2, "frames: 32K is not valid; expected 64K or more");
  expect_refused("%s/uma run --coherence page --page 2M --frames 16M true", 2, "at least 16 pages of 2M");
  expect_refused("%s/uma run --coherence page --prefetch 65 true", 2, "prefetch: 65 is not valid; expected 1 to 64");
  expect_refused("%s/uma run --coherence page --faults never true", 2, "--faults: \"never\" is not valid; expected auto|signal|thread");
  expect_refused("%s/uma run --coherence page --hugepages always true", 2, "hugepages: always does not go with --coherence page");
  expect_refused("ulimit -n 40; %s/uma run -n 8 --coherence page true", 1, "8 devices need");
}

/* Without any privilege. */
static int run_unprivileged(void)
{
  pid_t child = fork();
  int status;
  if (child == 0) {
    if (setgid(65534) || setuid(65534)) _exit(98);
    struct uma_config config = base;
    _exit(uma_spawn(&config, 2, exceed_frames, NULL));
  }
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

Test(page_cache, needs_no_privilege)
{
  if (geteuid() != 0) cr_skip_test("not root: all other tests show it");
  cr_expect_eq(run_unprivileged(), 0);
}

Test(page_cache, serving_the_kernel_needs_privilege)
{
  char *said, line[256];
  snprintf(line, sizeof line, "setpriv --reuid 65534 --regid 65534 --clear-groups test -x %s/examples/hello", session_build());
  if (geteuid() != 0 || command_run(line, &said)) cr_skip_test("needs root to give rights up, and a build that others may run");
  free(said);
  expect_refused("setpriv --reuid 65534 --regid 65534 --clear-groups %s/uma run --coherence page --faults thread %s/examples/hello", 1,
                 "--faults thread needs sysctl vm.unprivileged_userfaultfd=1, or rights on /dev/userfaultfd; use --faults signal");
}
