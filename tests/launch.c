/* The launcher: who fails, how it is told, and that nothing stays behind. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "tests/command.h"
#include "tests/session.h"

Test(launch, output_and_arguments_pass_through)
{
  command_expect("run -n 1 -- sh -c 'printf \"%s|\" \"$@\"' x -n 3 --mode", 0, "-n|3|--mode|");
  command_expect("run -n 3 --tag-output -- sh -c 'echo out; echo err >&2'", 0, "[2] err\n");
  command_expect("run -n 2 --tag-output -- printf 'no newline'", 0, "[1] no newline\n");
}

Test(launch, only_the_first_device_reads_the_input)
{
  char *said, line[512];
  snprintf(line, sizeof line, "echo input | %s/uma run -n 3 --tag-output cat", session_build());
  cr_expect_eq(command_run(line, &said), 0);
  cr_expect_str_eq(said, "[0] input\n");
}

Test(launch, the_first_failure_ends_the_session_and_is_named)
{
  command_expect("run -n 4 -- sh -c 'exit 7'", 7, "exited with code 7");
  command_expect("run -n 3 -- sh -c 'case $UMA_SESSION in 1,*) kill -9 $$ ;; *) exec sleep 100 ;; esac'", 137, "device 1 ");
  command_expect("run -n 3 -- sh -c 'case $UMA_SESSION in 1,*) kill -9 $$ ;; *) exec sleep 100 ;; esac'", 137,
                 "killed by signal 9 (Killed)");
  command_expect("run -n 2 -- sh -c 'trap \"\" TERM; case $UMA_SESSION in 1,*) exit 3 ;; *) while :; do sleep 1; done ;; esac'", 3,
                 "device 1 ");
}

Test(launch, bad_input_is_told)
{
  command_expect("run -n 2 ./no-such-program", 127, "cannot run \"./no-such-program\": No such file or directory");
  command_expect("run -n 2 /etc/passwd", 127, "Permission denied");
  command_expect("run -n 0 true", 2, "-n: \"0\" is not valid; expected 1 to 1024 devices");
  command_expect("run -n 1025 true", 2, "expected 1 to 1024 devices");
  command_expect("run -n -3 true", 2, "\"-3\" is not valid");
  command_expect("run -n 2 --memory 900T true", 2, "memory: 900T is not valid; expected 64K to");
  command_expect("run -n 2 --memory -4K true", 2, "--memory: \"-4K\" is not valid");
  command_expect("run -n 2 --memory 4K true", 2, "memory: 4K is not valid");
  command_expect("run -n 2 --servers 3 true", 2, "servers: 3 is not valid; expected 1 to 2");
  command_expect("run -n 2 --mode cluster true", 2, "--mode: \"cluster\" is not valid; expected supernode|stacked");
  command_expect("run -n 2 --base 0x1234 true", 2, "expected a multiple of 2M");
  command_expect("run -n 2 --timeout soon true", 2, "--timeout: \"soon\" is not valid; expected seconds");
  command_expect("run -n 2 --frobnicate true", 2, "unrecognized option");
  command_expect("run -n 2", 2, "no program was given");
  char *said;
  cr_expect_eq(setenv("UMA_HUGEPAGES", "sometimes", 1), 0);
  cr_expect_eq(command_uma(&said, "run true"), 2);
  cr_expect(strstr(said, "UMA_HUGEPAGES: \"sometimes\" is not valid; expected never|always"), "%s", said);
}

Test(launch, too_few_descriptors_are_told)
{
  char *said, line[512];
  snprintf(line, sizeof line, "ulimit -n 100; %s/uma run -n 200 true", session_build());
  cr_expect_eq(command_run(line, &said), 1);
  cr_expect(strstr(said, "200 devices need") && strstr(said, "the limit is 100"), "%s", said);
}

Test(launch, the_use_of_windows_can_be_printed)
{
  char *said;
  cr_expect_eq(command_uma(&said, "run --stats -n 2 --memory 1M %s/examples/hello", session_build()), 0, "%s", said);
  cr_expect(strstr(said, "capacity") && strstr(said, "1048576"), "%s", said);
}

Test(launch, info_tells_about_the_host)
{
  char line[256], *said;
  snprintf(line, sizeof line, "%s/uma info", session_build());
  cr_expect_eq(command_run(line, &said), 0);
  const char *wanted[] = {"processor", "NUMA", "fabric shm", "fabric uring", "open files", "UMA_MEMORY"};
  for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
    cr_expect(strstr(said, wanted[i]), "\"%s\" is missing in: %s", wanted[i], said);
}

Test(launch, a_session_has_a_time_limit)
{
  command_expect("run -n 2 --timeout 0.2 sleep 100", 124, "did not end within 0.2 s");
}

/* ---- uma_spawn */

static int return_device(void *argument)
{
  return uma_device() == 2 ? 42 : 0;
}

static int leave_without_finalize(void *argument)
{
  if (uma_device() == 1) _exit(0);
  uma_barrier();
  return 0;
}

static int hold_at_barrier(void *argument)
{
  if (uma_device() == 1) raise(SIGKILL);
  int result = uma_barrier();
  return result == -EHOSTDOWN && !uma_alive(1) && uma_alive(0) ? 0 : 50;
}

static int do_nothing(void *argument)
{
  return uma_barrier();
}

Test(launch, spawn_returns_the_first_failure)
{
  struct uma_config config = {.memory = 1 << 20, .timeout = 60};
  cr_expect_eq(uma_spawn(&config, 3, do_nothing, NULL), 0);
  cr_expect_eq(uma_spawn(&config, 3, return_device, NULL), 42);
  cr_expect_eq(uma_spawn(&config, 3, leave_without_finalize, NULL), 1);
  cr_expect_eq(uma_spawn(&config, 0, do_nothing, NULL), -EINVAL);
  cr_expect_eq(uma_spawn(&config, 5000, do_nothing, NULL), -EINVAL);
  cr_expect_eq(uma_spawn(&config, 2, NULL, NULL), -EINVAL);
  config.servers = 9;
  cr_expect_eq(uma_spawn(&config, 2, do_nothing, NULL), -EINVAL);
  cr_expect(strstr(uma_last_error(), "servers: 9"), "%s", uma_last_error());
}

Test(launch, a_session_may_go_on_without_a_lost_device)
{
  struct uma_config config = {.memory = 1 << 20, .timeout = 60, .on_failure = UMA_ON_FAILURE_CONTINUE};
  char *said;
  int result = command_capture_spawn(&config, 4, hold_at_barrier, NULL, &said);
  cr_expect_eq(result, 128 + SIGKILL, "%d", result);
  cr_expect(strstr(said, "device 1") && !strstr(said, "device 0") && !strstr(said, "device 2"), "%s", said);
}

Test(launch, many_devices_on_few_processors)
{
  struct uma_config config = {.memory = (size_t)1 << 30, .timeout = 120};
  cr_expect_eq(uma_spawn(&config, 256, do_nothing, NULL), 0, "%s", uma_last_error());
}

Test(launch, the_largest_session)
{
  struct uma_config config = {.memory = (size_t)256 << 20, .timeout = 200};
  cr_expect_eq(uma_spawn(&config, UMA_MAX_DEVICES, do_nothing, NULL), 0, "%s", uma_last_error());
}

/* ---- nothing stays behind */

/* How many processes run whose command line holds the word. */
static int count_processes(const char *word)
{
  char *said, line[256];
  snprintf(line, sizeof line,
           "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q '^sleep %s ' && echo x; done; true", word);
  command_run(line, &said);
  int count = 0;
  for (char *c = said; *c; c++) count += *c == 'x';
  free(said);
  return count;
}

static void await_count(const char *word, int count)
{
  for (int i = 0; i < 500 && count_processes(word) != count; i++) usleep(20000);
  cr_expect_eq(count_processes(word), count, "%d processes \"sleep %s\" instead of %d", count_processes(word), word, count);
}

/* Starts a session whose devices and their children sleep, and ends its launcher by the signal. */
static void end_launcher(int number, bool keeper)
{
  char word[32], line[256];
  snprintf(word, sizeof word, "%d", 100000 + (int)getpid() * 4 + number % 4);
  snprintf(line, sizeof line, "sleep %s & exec sleep %s", word, word);
  pid_t launcher = fork();
  if (launcher == 0) {
    char path[512];
    snprintf(path, sizeof path, "%s/uma", session_build());
    int null = open("/dev/null", O_RDWR);
    dup2(null, STDERR_FILENO);
    execl(path, path, "run", "-n", "3", "sh", "-c", line, (char *)NULL);
    _exit(127);
  }
  await_count(word, 6);
  pid_t target = launcher;
  if (keeper) {
    char *children;
    snprintf(line, sizeof line, "cat /proc/%d/task/%d/children", launcher, launcher);
    command_run(line, &children);
    target = atoi(children);
  }
  cr_assert_eq(kill(target, number), 0);
  int status;
  waitpid(launcher, &status, 0);
  await_count(word, 0);
}

Test(launch, nothing_outlives_a_terminated_launcher)
{
  end_launcher(SIGTERM, false);
  end_launcher(SIGINT, false);
}

Test(launch, nothing_outlives_a_killed_launcher)
{
  end_launcher(SIGKILL, false);
}

/* The devices note their process numbers, then wait for ever; the keeper is their parent. */
static int note_and_wait(void *argument)
{
  atomic_int *pids = argument;
  pids[uma_device()] = getpid();
  pids[3 + uma_device()] = getppid();
  for (;;) pause();
  return 0;
}

Test(launch, devices_end_with_a_killed_keeper)
{
  struct uma_config config = {.memory = 1 << 20};
  atomic_int *pids = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t front = fork();
  if (front == 0) _exit(uma_spawn(&config, 3, note_and_wait, pids) ? 1 : 0);
  for (int d = 0; d < 3; d++)
    while (!pids[3 + d]) usleep(1000);
  kill(pids[3], SIGKILL);
  waitpid(front, NULL, 0);
  for (int d = 0; d < 3; d++) {
    for (int i = 0; i < 500 && !kill(pids[d], 0); i++) usleep(10000);
    cr_expect(kill(pids[d], 0) && errno == ESRCH, "device %d is still there", d);
  }
}

Test(launch, shared_memory_has_no_name)
{
  char *before, *after;
  struct uma_config config = {.memory = 1 << 20, .timeout = 60};
  command_run("ls /dev/shm /tmp | sort", &before);
  cr_expect_eq(uma_spawn(&config, 4, do_nothing, NULL), 0);
  command_run("ls /dev/shm /tmp | sort", &after);
  cr_expect(strstr(after, "uma") == NULL || strstr(before, "uma"), "%s", after);
}
