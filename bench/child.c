/* Another program, run for its standard output: the peers, and the examples that are benchmarks.
 *
 * Its standard error goes to a temporary file whose end is told when it fails. It ends with this process (PR_SET_PDEATHSIG), and with
 * its time: first by SIGTERM, so that a launcher can end its own children and remove its files, two seconds later by SIGKILL. The same
 * when this process is interrupted: callers then clean up, and call bench_child_after. */
#include "bench/harness.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fabric/futex.h"

#define LOOK_MS 500 /* how often an interruption is looked for that came just before the sleep */

static volatile sig_atomic_t interrupted; /* the signal's number */

static void interrupt(int number)
{
  interrupted = number;
}

static const int ends[] = {SIGINT, SIGTERM, SIGHUP};

static void catch_ends(struct sigaction *before)
{
  const struct sigaction action = {.sa_handler = interrupt};
  for (int i = 0; i < 3; i++) sigaction(ends[i], &action, &before[i]);
}

static void restore_ends(const struct sigaction *before)
{
  for (int i = 0; i < 3; i++) sigaction(ends[i], &before[i], NULL);
}

void bench_child_after(void)
{
  if (interrupted) raise(interrupted);
}

static void become(const struct bench_child *child, int out, int err, pid_t parent)
{
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);
  for (const char *const *pair = child->environment; pair && *pair; pair += 2) setenv(pair[0], pair[1], 1);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  execvp(child->arguments[0], child->arguments);
  dprintf(STDERR_FILENO, "%s: %s\n", child->arguments[0], strerror(errno));
  _exit(127);
}

/* Hands on every whole line; what is left moves to the front. */
static size_t hand_on(const struct bench_child *child, char *buffer, size_t filled)
{
  char *begin = buffer, *end;
  while ((end = memchr(begin, '\n', filled - (size_t)(begin - buffer)))) {
    *end = 0;
    child->line(child->context, begin);
    begin = end + 1;
  }
  size_t left = filled - (size_t)(begin - buffer);
  memmove(buffer, begin, left);
  return left;
}

/* Until the output ends: true. False when the time is over, or this process is to end. */
static bool read_lines(const struct bench_child *child, int in)
{
  static char buffer[65536];
  uint64_t deadline = fab_now_ns() + (uint64_t)child->seconds * 1000000000u;
  size_t filled = 0;
  for (;;) {
    uint64_t now = fab_now_ns();
    struct pollfd ready = {in, POLLIN, 0};
    if (now >= deadline || interrupted) return false;
    int events = poll(&ready, 1, LOOK_MS);
    if (events < 0 && errno != EINTR) return false;
    if (events <= 0) continue;
    ssize_t now_read = read(in, buffer + filled, sizeof buffer - 1 - filled);
    if (now_read <= 0) return true;
    filled = hand_on(child, buffer, filled + (size_t)now_read);
    if (filled == sizeof buffer - 1) filled = 0; /* a line that long is none of ours */
  }
}

static void end_child(pid_t pid)
{
  kill(pid, SIGTERM);
  for (int i = 0; i < 200; i++) {
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid) return;
    usleep(10000);
  }
  kill(pid, SIGKILL);
}

/* The end of what the program said, in one line. */
static const char *last_words(FILE *err, char *text, size_t room)
{
  long length, wanted = (long)room - 1;
  fseek(err, 0, SEEK_END);
  length = ftell(err);
  fseek(err, length > wanted ? length - wanted : 0, SEEK_SET);
  text[fread(text, 1, room - 1, err)] = 0;
  for (char *c = text; *c; c++)
    if (*c == '\n') *c = ' ';
  return text;
}

static int judge(const struct bench_child *child, bool in_time, int status, FILE *err)
{
  char text[300];
  const char *name = child->arguments[0];
  if (interrupted) return bench_fail("%s was interrupted", name);
  if (!in_time) return bench_fail("%s was ended after %d s", name, child->seconds);
  if (WIFSIGNALED(status)) return bench_fail("%s died by signal %d: %s", name, WTERMSIG(status), last_words(err, text, sizeof text));
  if (WEXITSTATUS(status)) return bench_fail("%s ended with status %d: %s", name, WEXITSTATUS(status), last_words(err, text, sizeof text));
  return 0;
}

int bench_child_run(const struct bench_child *child)
{
  int out[2], status = 0;
  FILE *err = tmpfile();
  if (!err) return bench_fail("no temporary file: %s", strerror(errno));
  if (pipe(out)) {
    fclose(err);
    return bench_fail("no pipe: %s", strerror(errno));
  }
  struct sigaction before[3];
  fflush(NULL);
  catch_ends(before);
  pid_t parent = getpid(), pid = fork();
  if (!pid) restore_ends(before);
  if (!pid) become(child, out[1], fileno(err), parent);
  close(out[1]);
  bool in_time = pid > 0 && read_lines(child, out[0]);
  close(out[0]);
  if (pid > 0 && !in_time) end_child(pid);
  if (pid > 0) waitpid(pid, &status, 0);
  int result = pid > 0 ? judge(child, in_time, status, err) : bench_fail("fork: %s", strerror(errno));
  fclose(err);
  restore_ends(before);
  return result;
}

bool bench_in_path(const char *program)
{
  char text[4096], file[4300], *save = NULL;
  snprintf(text, sizeof text, "%s", getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
  for (char *part = strtok_r(text, ":", &save); part; part = strtok_r(NULL, ":", &save)) {
    snprintf(file, sizeof file, "%s/%s", part, program);
    if (!access(file, X_OK)) return true;
  }
  return false;
}
