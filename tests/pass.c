/* Descriptors go from one process to unrelated ones of the same user: all of them, each to its receiver, and to nobody else. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/session.h"
#include "uma/pass.h"

#define FILES 5
#define OWN 2
#define HOLE 7 /* every so many descriptors there is none */
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* A copy of what uma/pass.c expects on the wire, to send it wrong. */
struct hello {
  uint64_t magic;
  uint32_t version;
  int32_t index;
  uint32_t count, bytes;
};
#define MAGIC 0x73736170616d75u

/* A file that holds its number. */
static int numbered_file(int number)
{
  int fd = memfd_create("tests-pass", MFD_CLOEXEC);
  cr_assert(fd >= 0 && pwrite(fd, &number, sizeof number, 0) == sizeof number);
  return fd;
}

static int number_in(int fd)
{
  int number = -1;
  return pread(fd, &number, sizeof number, 0) == sizeof number ? number : -1;
}

static int count_open(void)
{
  int count = 0;
  for (int fd = 0; fd < 8192; fd++) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

static void allow_files(rlim_t count)
{
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max < count)
    cr_skip_test("a process may have %lu files open, not %lu", (unsigned long)limit.rlim_max, (unsigned long)count);
  limit.rlim_cur = count;
  setrlimit(RLIMIT_NOFILE, &limit);
}

/* The receiver: 0 when all came as it should. */
static int receive(const char *name, int index, int shared)
{
  int count = shared + OWN, *fds = malloc((size_t)count * sizeof *fds), before = count_open();
  char note[100] = "";
  CHECK(!uma_pass_take(name, index, fds, count, note, sizeof note));
  CHECK(!strcmp(note, "what else there is to know"));
  for (int i = 0; i < shared; i++) {
    if (i % HOLE == 0) {
      CHECK(fds[i] == -1);
    } else {
      CHECK(number_in(fds[i]) == i % FILES && fcntl(fds[i], F_GETFD) == FD_CLOEXEC);
    }
  }
  for (int i = 0; i < OWN; i++) CHECK(number_in(fds[shared + i]) == 100 * index + i);
  for (int i = 0; i < count; i++) CHECK(fds[i] < 0 || !close(fds[i]));
  CHECK(count_open() == before);
  free(fds);
  return 0;
}

static pid_t start_receiver(const struct uma_pass *pass, const char *name, int index, int shared)
{
  pid_t pid = fork();
  if (pid == 0) {
    close(pass->fd);
    _exit(receive(name, index, shared));
  }
  return pid;
}

static void expect_ended(pid_t pid, int wanted)
{
  int status;
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == wanted, "%#x", status);
}

static struct uma_parcel numbered_parcel(int receivers, int shared_count)
{
  static char note[100] = "what else there is to know";
  int *shared = malloc((size_t)shared_count * sizeof *shared), *own = malloc((size_t)receivers * OWN * sizeof *own), files[FILES];
  for (int i = 0; i < FILES; i++) files[i] = numbered_file(i);
  for (int i = 0; i < shared_count; i++) shared[i] = i % HOLE == 0 ? -1 : files[i % FILES];
  for (int i = 0; i < receivers * OWN; i++) own[i] = numbered_file(i / OWN * 100 + i % OWN);
  return (struct uma_parcel){
      .note = note, .bytes = sizeof note, .shared = shared, .shared_count = shared_count, .own = own, .own_count = OWN};
}

static void free_parcel(const struct uma_parcel *parcel)
{
  free((void *)parcel->shared);
  free((void *)parcel->own);
}

static void give_to(int receivers, int shared)
{
  struct uma_pass pass;
  char name[UMA_PASS_NAME];
  pid_t pids[64];
  struct uma_parcel parcel = numbered_parcel(receivers, shared);
  cr_assert_eq(uma_pass_offer(&pass, name), 0);
  for (int i = 0; i < receivers; i++) pids[i] = start_receiver(&pass, name, receivers - 1 - i, shared);
  cr_expect_eq(uma_pass_give(&pass, receivers, &parcel), 0, "%s", uma_last_error());
  cr_expect_eq(pass.fd, -1);
  for (int i = 0; i < receivers; i++) expect_ended(pids[i], 0);
  free_parcel(&parcel);
}

Test(pass, shared_and_own_descriptors)
{
  give_to(0, 3);
  give_to(1, 0);
  give_to(3, 20);
  give_to(40, 249); /* with their own one more than a batch */
}

Test(pass, thousands_of_descriptors)
{
  allow_files(4200);
  give_to(3, 4000);
}

Test(pass, nothing_but_a_note)
{
  struct uma_pass pass;
  char name[UMA_PASS_NAME], note[] = "alone", got[sizeof note];
  cr_assert_eq(uma_pass_offer(&pass, name), 0);
  pid_t pid = fork();
  if (pid == 0) _exit(uma_pass_take(name, 0, NULL, 0, got, sizeof got) || strcmp(got, note));
  struct uma_parcel parcel = {.note = note, .bytes = sizeof note};
  cr_expect_eq(uma_pass_give(&pass, 1, &parcel), 0, "%s", uma_last_error());
  expect_ended(pid, 0);
}

/* ---- strangers */

static socklen_t address_of(const char *name, struct sockaddr_un *address)
{
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  memcpy(address->sun_path + 1, name, strlen(name));
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}

static int dial(const char *name)
{
  struct sockaddr_un address;
  socklen_t length = address_of(name, &address);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  return connect(fd, (struct sockaddr *)&address, length) ? -1 : fd;
}

static int dial_and_say(const char *name, const void *bytes, size_t count)
{
  int fd = dial(name);
  cr_assert(fd >= 0 && send(fd, bytes, count, MSG_NOSIGNAL) == (ssize_t)count);
  return fd;
}

static void become_nobody(void)
{
  if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)) _exit(90);
}

/* Another user says a proper hello and must get nothing but the end of the connection, or find nobody there any more. */
static pid_t start_other_user(const struct uma_pass *pass, const char *name, const struct hello *hello)
{
  pid_t pid = fork();
  if (pid) return pid;
  char bytes[64];
  close(pass->fd); /* or it would listen for as long as this waits */
  become_nobody();
  int fd = dial(name);
  _exit(fd >= 0 && send(fd, hello, sizeof *hello, MSG_NOSIGNAL) > 0 && recv(fd, bytes, sizeof bytes, 0) > 0);
}

Test(pass, strangers_are_turned_away)
{
  enum { RECEIVERS = 2, SHARED = 10 };
  struct uma_pass pass;
  char name[UMA_PASS_NAME], garbage[3000];
  struct uma_parcel parcel = numbered_parcel(RECEIVERS, SHARED);
  struct hello good = {.magic = MAGIC, .version = 1, .index = 1, .count = SHARED + OWN, .bytes = 100};
  memset(garbage, 0xa5, sizeof garbage);
  cr_assert_eq(uma_pass_offer(&pass, name), 0);
  pid_t other = getuid() == 0 ? start_other_user(&pass, name, &good) : 0;
  int fds[200], count = 0;
  for (int i = 0; i < 100; i++) fds[count++] = dial(name); /* silent ones, more than are kept */
  close(dial(name));
  fds[count++] = dial_and_say(name, garbage, sizeof garbage);
  fds[count++] = dial_and_say(name, garbage, sizeof good);
  fds[count++] = dial_and_say(name, &good, sizeof good - 1);
  struct hello bad[5] = {good, good, good, good, good};
  bad[0].magic++;
  bad[1].version++;
  bad[2].index = -1;
  bad[3].index = RECEIVERS;
  bad[4].count++;
  for (size_t i = 0; i < COUNT(bad); i++) fds[count++] = dial_and_say(name, &bad[i], sizeof bad[i]);
  pid_t pids[RECEIVERS];
  for (int i = 0; i < RECEIVERS; i++) pids[i] = start_receiver(&pass, name, i, SHARED);
  cr_expect_eq(uma_pass_give(&pass, RECEIVERS, &parcel), 0, "%s", uma_last_error());
  for (int i = 0; i < RECEIVERS; i++) expect_ended(pids[i], 0);
  if (other) expect_ended(other, 0);
  for (int i = 0; i < count; i++) cr_expect(recv(fds[i], garbage, sizeof garbage, MSG_DONTWAIT) <= 0 || i == count - 1, "stranger %d", i);
  free_parcel(&parcel);
}

Test(pass, an_index_is_served_once)
{
  struct uma_pass pass;
  char name[UMA_PASS_NAME], note[1] = "";
  int fd;
  cr_assert_eq(uma_pass_offer(&pass, name), 0);
  pass.limit_ns = 300000000;
  pid_t pid = fork();
  if (pid == 0) {
    if (uma_pass_take(name, 0, &fd, 0, note, 0)) _exit(1);
    _exit(uma_pass_take(name, 0, &fd, 0, note, 0) == -ECONNREFUSED ? 1 : !strstr(uma_last_error(), "turned this process away"));
  }
  cr_expect_eq(uma_pass_give(&pass, 2, &(struct uma_parcel){0}), -ETIMEDOUT);
  cr_expect(strstr(uma_last_error(), "1 of 2 processes of this host have not come"), "%s", uma_last_error());
  expect_ended(pid, 0);
}

/* Listens as another user, under the name; the writing end of a pipe says when. */
static pid_t start_impostor(const char *name)
{
  int ready[2];
  char byte;
  cr_assert(!pipe(ready));
  pid_t pid = fork();
  if (pid == 0) {
    struct sockaddr_un address;
    become_nobody();
    socklen_t length = address_of(name, &address);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (bind(fd, (struct sockaddr *)&address, length) || listen(fd, 5) || write(ready[1], "x", 1) != 1) _exit(91);
    for (;;) pause();
  }
  close(ready[1]);
  cr_assert(read(ready[0], &byte, 1) == 1);
  close(ready[0]);
  return pid;
}

Test(pass, another_user_is_not_believed)
{
  char name[UMA_PASS_NAME], note[1];
  int fd, status;
  if (getuid()) cr_skip_test("only root can become another user");
  snprintf(name, sizeof name, "uma-test-%d", getpid());
  pid_t impostor = start_impostor(name);
  cr_expect_eq(uma_pass_take(name, 0, &fd, 1, note, 1), -EPERM);
  cr_expect(strstr(uma_last_error(), "belongs to another user"), "%s", uma_last_error());
  kill(impostor, SIGKILL);
  waitpid(impostor, &status, 0);
}

/* ---- a giver that speaks nonsense */

struct nonsense {
  const void *first, *second; /* instead of the welcome, and of the batch */
  size_t first_bytes, second_bytes;
  int fds; /* that come along with the second, at most 4 */
};

static void speak(int listener, const struct nonsense *nonsense)
{
  char bytes[64];
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(4 * sizeof(int))];
  } control = {.header = {.cmsg_len = CMSG_LEN((size_t)nonsense->fds * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
  memset(CMSG_DATA(&control.header), 0, 4 * sizeof(int));
  struct iovec piece = {(void *)nonsense->second, nonsense->second_bytes};
  struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
  if (nonsense->fds) message.msg_control = &control;
  if (nonsense->fds) message.msg_controllen = CMSG_SPACE((size_t)nonsense->fds * sizeof(int));
  int fd = accept(listener, NULL, NULL);
  if (recv(fd, bytes, sizeof bytes, 0) != sizeof(struct hello)) _exit(1);
  if (nonsense->first_bytes && send(fd, nonsense->first, nonsense->first_bytes, MSG_NOSIGNAL) < 0) _exit(2);
  if (nonsense->second_bytes && recv(fd, bytes, sizeof bytes, 0) > 0 && sendmsg(fd, &message, MSG_NOSIGNAL) < 0) _exit(3);
  _exit(0); /* it dies half-way */
}

static void expect_nonsense(const struct nonsense *nonsense, int count, int error, const char *sentence)
{
  char name[UMA_PASS_NAME], note[4] = "old";
  int fds[4] = {-5, -5, -5, -5}, before = count_open();
  struct sockaddr_un address;
  snprintf(name, sizeof name, "uma-test-%d", getpid());
  socklen_t length = address_of(name, &address);
  int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  cr_assert(!bind(listener, (struct sockaddr *)&address, length) && !listen(listener, 5));
  pid_t pid = fork();
  if (pid == 0) speak(listener, nonsense);
  close(listener);
  int result = uma_pass_take(name, 0, fds, count, note, sizeof note);
  cr_expect_eq(result, error, "%d instead of %d: %s", result, error, uma_last_error());
  cr_expect(strstr(uma_last_error(), sentence), "\"%s\" is missing in: %s", sentence, uma_last_error());
  cr_expect(fds[0] == -5 && !strcmp(note, "old"), "written without success");
  cr_expect_eq(count_open(), before, "descriptors were left open");
  expect_ended(pid, 0);
}

Test(pass, a_giver_that_dies_or_speaks_nonsense)
{
  struct __attribute__((packed)) {
    uint64_t magic;
    uint32_t version, count, bytes, reserved;
    char note[4];
  } good = {.magic = MAGIC, .version = 1, .count = 3, .bytes = 4, .note = "new"}, bad = good;
  struct batch {
    uint32_t first, count;
    uint8_t present[256];
  } batch = {.count = 3, .present = {1, 1, 0}};
  char long_one[400] = {0};
  expect_nonsense(&(struct nonsense){0}, 3, -EPIPE, "has ended, or turned this process away");
  expect_nonsense(&(struct nonsense){.first = &good, .first_bytes = sizeof good}, 3, -EPIPE, "has ended");
  expect_nonsense(&(struct nonsense){.first = &good, .first_bytes = sizeof good - 5}, 3, -EPROTO, "makes no sense");
  expect_nonsense(&(struct nonsense){.first = &good, .first_bytes = 5}, 3, -EPROTO, "makes no sense");
  bad.version = 2;
  expect_nonsense(&(struct nonsense){.first = &bad, .first_bytes = sizeof bad}, 3, -EPROTO, "makes no sense");
  expect_nonsense(&(struct nonsense){.first = &good, .first_bytes = sizeof good - 4}, 2, -EINVAL,
                  "gives 3 descriptors and 4 bytes, and 2 and 4 are expected");
  struct nonsense second = {.first = &good, .first_bytes = sizeof good, .second = &batch, .second_bytes = sizeof batch, .fds = 1};
  expect_nonsense(&second, 3, -EPROTO, "makes no sense");
  second.fds = 4;
  expect_nonsense(&second, 3, -EPROTO, "makes no sense");
  second.fds = 2; /* now it is right, and the giver ends before it hears so */
  batch.first = 1;
  expect_nonsense(&second, 3, -EPROTO, "makes no sense");
  batch.first = 0, batch.count = 2;
  expect_nonsense(&second, 3, -EPROTO, "makes no sense");
  batch.count = UINT32_MAX;
  expect_nonsense(&second, 3, -EPROTO, "makes no sense");
  second.second = long_one, second.second_bytes = sizeof long_one;
  expect_nonsense(&second, 3, -EPROTO, "makes no sense");
}

Test(pass, nobody_there)
{
  int fd;
  char note[1];
  cr_expect_eq(uma_pass_take("uma-nobody", 0, &fd, 1, note, 1), -ECONNREFUSED);
  cr_expect(strstr(uma_last_error(), "has ended"), "%s", uma_last_error());
}

/* ---- what goes wrong on the way */

Test(pass, a_receiver_that_dies_half_way)
{
  struct uma_pass pass;
  char name[UMA_PASS_NAME];
  struct uma_parcel parcel = numbered_parcel(2, 10);
  struct hello hello = {.magic = MAGIC, .version = 1, .index = 1, .count = 10 + OWN, .bytes = 100};
  cr_assert_eq(uma_pass_offer(&pass, name), 0);
  close(dial_and_say(name, &hello, sizeof hello));
  int result = uma_pass_give(&pass, 2, &parcel);
  cr_expect(result == -EPIPE || result == -ECONNRESET, "%d", result);
  cr_expect(strstr(uma_last_error(), "giving descriptors to process 1 of this host"), "%s", uma_last_error());
  free_parcel(&parcel);
}

Test(pass, a_receiver_that_stops_half_way)
{
  struct uma_pass pass;
  char name[UMA_PASS_NAME];
  struct uma_parcel parcel = numbered_parcel(2, 10);
  struct hello hello = {.magic = MAGIC, .version = 1, .index = 1, .count = 10 + OWN, .bytes = 100};
  cr_assert_eq(uma_pass_offer(&pass, name), 0);
  pass.limit_ns = 100000000;
  int fd = dial_and_say(name, &hello, sizeof hello);
  cr_expect_eq(uma_pass_give(&pass, 2, &parcel), -ETIMEDOUT, "%s", uma_last_error());
  close(fd);
  free_parcel(&parcel);
}

/* A receiver that may not have so many files open has none more than before. */
static int receive_too_many(const char *name)
{
  int fds[100], before = count_open();
  char note[100];
  struct rlimit limit = {.rlim_cur = 60, .rlim_max = 60};
  setrlimit(RLIMIT_NOFILE, &limit);
  CHECK(uma_pass_take(name, 0, fds, 100, note, sizeof note) == -EMFILE);
  CHECK(strstr(uma_last_error(), "may not have so many files open (ulimit -n)"));
  CHECK(count_open() == before);
  return 0;
}

Test(pass, a_receiver_with_too_many_files)
{
  struct uma_pass pass;
  char name[UMA_PASS_NAME];
  struct uma_parcel parcel = numbered_parcel(1, 100 - OWN);
  cr_assert_eq(uma_pass_offer(&pass, name), 0);
  pid_t pid = fork();
  if (pid == 0) _exit(receive_too_many(name));
  cr_expect_eq(uma_pass_give(&pass, 1, &parcel), -EPIPE, "%s", uma_last_error());
  expect_ended(pid, 0);
  free_parcel(&parcel);
}

Test(pass, impossible_parcels)
{
  struct uma_pass pass;
  char name[UMA_PASS_NAME], other[UMA_PASS_NAME], note[1];
  int fd, before = count_open();
  struct {
    struct uma_parcel parcel;
    int receivers, error;
    const char *sentence;
  } wrong[] = {
      {{0}, -1, -EINVAL, "descriptors for -1 processes"},
      {{.bytes = UMA_PASS_NOTE + 1}, 1, -EMSGSIZE, "a note of 65537 bytes; at most 65536 are possible"},
      {{.shared_count = -1}, 1, -EINVAL, "-1 and 0 descriptors for a process"},
      {{.own_count = -2}, 1, -EINVAL, "0 and -2 descriptors for a process"},
      {{.shared_count = UMA_PASS_FDS, .own_count = 1}, 1, -EINVAL, "0 to 65536 together are possible"},
  };
  for (size_t i = 0; i < COUNT(wrong); i++) {
    cr_assert_eq(uma_pass_offer(&pass, name), 0);
    cr_expect_eq(uma_pass_give(&pass, wrong[i].receivers, &wrong[i].parcel), wrong[i].error);
    cr_expect(strstr(uma_last_error(), wrong[i].sentence), "\"%s\" is missing in: %s", wrong[i].sentence, uma_last_error());
    cr_expect_eq(pass.fd, -1);
  }
  cr_expect_eq(uma_pass_take(name, 0, &fd, -1, note, 1), -EINVAL);
  cr_expect_eq(uma_pass_take(name, 0, &fd, 1, note, UMA_PASS_NOTE + 1), -EMSGSIZE);
  cr_assert_eq(uma_pass_offer(&pass, name), 0);
  uma_pass_withdraw(&pass);
  uma_pass_withdraw(&pass);
  cr_expect_eq(uma_pass_take(name, 0, &fd, 1, note, 1), -ECONNREFUSED);
  cr_assert_eq(uma_pass_offer(&pass, other), 0);
  cr_expect(strcmp(name, other) && strlen(name) == 36);
  uma_pass_withdraw(&pass);
  cr_expect_eq(count_open(), before);
}
