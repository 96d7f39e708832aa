/* Two-sided messages: matching, order, sizes, non-blocking forms, wrong use; inside a domain and across. */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "tests/pattern.h"
#include "tests/session.h"

/* Every size from every kind of memory to every kind, round a ring. */
static int send_sizes(void *argument)
{
  static const size_t sizes[] = {0, 1, 8, 24, 25, 63, 64, 100, 4096, 32767, 32768, 300001, 3 << 20};
  size_t most = 3 << 20;
  int me = uma_device(), devices = uma_device_count(), right = (me + 1) % devices, left = (me + devices - 1) % devices;
  unsigned char *out[2] = {malloc(most), uma_malloc(most)}, *in[2] = {malloc(most), uma_malloc(most)};
  CHECK(out[0] && out[1] && in[0] && in[1]);
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
    for (int kind = 0; kind < 4; kind++) {
      struct uma_request *send, *receive;
      struct uma_status status;
      pattern_fill(out[kind & 1], sizes[s], (unsigned)(me + kind));
      CHECK(!uma_irecv(left, (int)s, in[kind >> 1], most, &receive));
      CHECK(!uma_isend(right, (int)s, out[kind & 1], sizes[s], &send));
      CHECK(!uma_wait(receive, &status) && !uma_wait(send, NULL));
      CHECK(status.device == left && status.tag == (int)s && status.bytes == sizes[s]);
      CHECK(pattern_holds(in[kind >> 1], sizes[s], (unsigned)(left + kind)));
    }
  return uma_barrier();
}

Test(message, every_size_arrives_whole)
{
  session_run_shapes(send_sizes, NULL);
}

/* Device 0 takes messages in another order than they came; within one sender and tag order holds. */
static int match(void *argument)
{
  int me = uma_device(), devices = uma_device_count(), rounds = 20;
  if (me != 0) {
    for (int i = 0; i < rounds; i++) {
      int value = me * 1000 + i;
      CHECK(!uma_send(0, i % 2, &value, sizeof value));
    }
    return uma_barrier();
  }
  int seen[64][2] = {{0}}, value;
  struct uma_status status;
  for (int d = devices - 1; d > 0; d--)
    for (int i = 1; i < rounds; i += 2) {
      CHECK(!uma_recv(d, 1, &value, sizeof value, &status));
      CHECK(value == d * 1000 + i && status.device == d && status.tag == 1);
    }
  for (int i = 0; i < rounds / 2 * (devices - 1); i++) {
    CHECK(!uma_recv(UMA_ANY_DEVICE, UMA_ANY_TAG, &value, sizeof value, &status));
    CHECK(status.tag == 0 && value == status.device * 1000 + 2 * seen[status.device][0]++);
  }
  return uma_barrier();
}

Test(message, device_and_tag_choose_and_order_holds)
{
  session_run_shapes(match, NULL);
  session_run(16, 4, UMA_MODE_STACKED, match, NULL);
}

/* All send much more than any ring or socket holds, to all, before anybody receives. */
static int flood(void *argument)
{
  int devices = uma_device_count(), me = uma_device();
  size_t bytes = 400000;
  struct uma_request **sends = calloc((size_t)devices, sizeof *sends);
  unsigned char *out = malloc(bytes), *in = malloc(bytes);
  pattern_fill(out, bytes, (unsigned)me);
  for (int d = 0; d < devices; d++) CHECK(!uma_isend(d, 9, out, bytes, &sends[d]));
  for (int d = 0; d < devices; d++) CHECK(!uma_recv(d, 9, in, bytes, NULL) && pattern_holds(in, bytes, (unsigned)d));
  for (int d = 0; d < devices; d++) CHECK(!uma_wait(sends[d], NULL));
  return uma_barrier();
}

Test(message, a_flood_from_all_to_all_does_not_deadlock)
{
  session_run_shapes(flood, NULL);
}

static int misuse(void *argument)
{
  char buffer[8] = {0};
  struct uma_status status;
  CHECK(uma_send(-2, 0, buffer, 1) == -EINVAL && uma_send(99, 0, buffer, 1) == -EINVAL && strstr(uma_last_error(), "expected 0 to"));
  CHECK(uma_send(0, -1, buffer, 1) == -EINVAL && uma_recv(0, -7, buffer, 1, NULL) == -EINVAL && uma_send(0, 0, NULL, 1) == -EINVAL);
  CHECK(uma_send(0, 0, buffer, (size_t)-1) == -EINVAL);
  CHECK(uma_wait(NULL, NULL) == -EINVAL && uma_test(NULL, NULL) == -EINVAL);
  CHECK(!uma_send(uma_device(), 5, "longer than that", 17));
  CHECK(uma_recv(uma_device(), 5, buffer, sizeof buffer, &status) == -EMSGSIZE && status.bytes == 8 && !memcmp(buffer, "longer t", 8));
  struct uma_request *request;
  CHECK(!uma_irecv(uma_device(), 6, buffer, 8, &request) && uma_test(request, NULL) == 0);
  CHECK(!uma_send(uma_device(), 6, "1234567", 8));
  int done;
  while (!(done = uma_test(request, &status))) continue;
  CHECK(done == 1 && status.bytes == 8 && !memcmp(buffer, "1234567", 8));
  return uma_barrier();
}

Test(message, misuse_and_long_messages_are_told)
{
  session_run_shapes(misuse, NULL);
}

static void *echo(void *argument)
{
  int tag = (int)(long)argument, value;
  for (int i = 0; i < 200; i++)
    if (uma_recv(0, tag, &value, sizeof value, NULL) || uma_send(0, tag, &value, sizeof value)) return "echo failed";
  return NULL;
}

static void *ask(void *argument)
{
  int tag = (int)(long)argument, value;
  for (int i = 0; i < 200; i++)
    if (uma_send(1, tag, &i, sizeof i) || uma_recv(1, tag, &value, sizeof value, NULL) || value != i) return "a wrong answer";
  return NULL;
}

static int threads(void *argument)
{
  pthread_t ids[4];
  void *fault;
  for (long tag = 0; tag < 4; tag++) CHECK(!pthread_create(&ids[tag], NULL, uma_device() ? echo : ask, (void *)tag));
  for (int i = 0; i < 4; i++) {
    pthread_join(ids[i], &fault);
    CHECK(!fault);
  }
  return uma_barrier();
}

Test(message, threads_may_send_and_receive_at_once)
{
  session_run(2, 1, UMA_MODE_SUPERNODE, threads, NULL);
  session_run(2, 2, UMA_MODE_STACKED, threads, NULL);
  session_run_over("tcp;ofi_rxm", 2, 2, UMA_MODE_STACKED, threads, NULL);
}

static int wait_for_lost(void *argument)
{
  char byte;
  if (uma_device() == 1) _exit(9);
  int result = uma_recv(1, 0, &byte, 1, NULL);
  return result == -EHOSTDOWN ? 0 : 50;
}

Test(message, a_lost_sender_ends_the_wait)
{
  for (int mode = UMA_MODE_SUPERNODE; mode <= UMA_MODE_STACKED; mode++) {
    struct uma_config config = {.servers = 3, .mode = mode, .memory = 1 << 20, .timeout = 60, .on_failure = UMA_ON_FAILURE_CONTINUE};
    cr_expect_eq(uma_spawn(&config, 3, wait_for_lost, NULL), 9);
  }
}
