/* Two-sided messages: ping-pong, stream and rate, in both modes, beside a raw TCP connection over loopback that is used in the same way.
 *
 * The raw connection is made before the devices start; device 0 has one end, device 1 the other. Both sides spin on non-blocking calls,
 * as the library's waiting does at first, so that the comparison is between spinning and spinning. Buffers of messages are device
 * memory. */
#include "bench/harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fabric/futex.h"
#include "fabric/uring.h"

#define TAG 7
#define ACKNOWLEDGE 8
#define IN_FLIGHT 64
#define SPINS_BEFORE_YIELD 1000

struct talk {
  unsigned char *buffer; /* this device's */
  size_t bytes;
  int socket; /* this device's end of the raw connection */
};

/* ---- the raw connection */

static int listen_on_loopback(struct sockaddr_in *address)
{
  socklen_t length = sizeof *address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (listener < 0) return -errno;
  if (bind(listener, (struct sockaddr *)address, length) || listen(listener, 1) ||
      getsockname(listener, (struct sockaddr *)address, &length)) {
    int error = errno;
    close(listener);
    return -error;
  }
  return listener;
}

static int connect_pair(int ends[2])
{
  struct sockaddr_in address;
  int listener = listen_on_loopback(&address), yes = 1;
  if (listener < 0) return bench_fail("no TCP socket on loopback: %s", strerror(-listener));
  ends[0] = socket(AF_INET, SOCK_STREAM, 0);
  ends[1] = connect(ends[0], (struct sockaddr *)&address, sizeof address) ? -1 : accept(listener, NULL, NULL);
  int error = errno;
  close(listener);
  if (ends[1] < 0) {
    close(ends[0]);
    return bench_fail("no TCP connection over loopback: %s", strerror(error));
  }
  for (int i = 0; i < 2; i++) {
    setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(ends[i], IPPROTO_TCP, TCP_CONGESTION, FAB_LOOPBACK_CONGESTION, strlen(FAB_LOOPBACK_CONGESTION)); /* as the library's own */
  }
  return 0;
}

static void spin(unsigned *spins)
{
  if (++*spins % SPINS_BEFORE_YIELD) fab_pause();
  else sched_yield();
}

static void raw_send(int socket, const unsigned char *buffer, size_t bytes)
{
  unsigned spins = 0;
  for (size_t sent = 0; sent < bytes;) {
    ssize_t now = send(socket, buffer + sent, bytes - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (now > 0) sent += (size_t)now;
    else if (errno == EAGAIN) spin(&spins);
    else bench_require(false, "raw send: %s", strerror(errno));
  }
}

static void raw_recv(int socket, unsigned char *buffer, size_t bytes)
{
  unsigned spins = 0;
  for (size_t received = 0; received < bytes;) {
    ssize_t now = recv(socket, buffer + received, bytes - received, MSG_DONTWAIT);
    if (now > 0) received += (size_t)now;
    else if (now < 0 && errno == EAGAIN) spin(&spins);
    else bench_require(false, "raw recv: %s", now ? strerror(errno) : "closed");
  }
}

/* ---- steps; in each, device 0 and device 1 do the two halves */

static void message_send(const struct talk *talk, int tag, size_t bytes)
{
  bench_check(uma_send(1 - uma_device(), tag, talk->buffer, bytes), "uma_send");
}

static void message_recv(const struct talk *talk, int tag, size_t bytes)
{
  struct uma_status status;
  bench_check(uma_recv(1 - uma_device(), tag, talk->buffer, bytes, &status), "uma_recv");
  bench_require(status.bytes == bytes, "a message of %zu bytes came with %zu", bytes, status.bytes);
}

static void pingpong(void *context, long count)
{
  struct talk *talk = context;
  for (long i = 0; i < count; i++) {
    if (!uma_device()) message_send(talk, TAG, talk->bytes);
    message_recv(talk, TAG, talk->bytes);
    if (uma_device()) message_send(talk, TAG, talk->bytes);
  }
}

static void raw_pingpong(void *context, long count)
{
  struct talk *talk = context;
  for (long i = 0; i < count; i++) {
    if (!uma_device()) raw_send(talk->socket, talk->buffer, talk->bytes);
    raw_recv(talk->socket, talk->buffer, talk->bytes);
    if (uma_device()) raw_send(talk->socket, talk->buffer, talk->bytes);
  }
}

static void stream(void *context, long count)
{
  struct talk *talk = context;
  for (long i = 0; i < count; i++)
    if (!uma_device()) message_send(talk, TAG, talk->bytes);
    else message_recv(talk, TAG, talk->bytes);
  if (uma_device()) message_send(talk, ACKNOWLEDGE, 8);
  else message_recv(talk, ACKNOWLEDGE, 8);
}

static void raw_stream(void *context, long count)
{
  struct talk *talk = context;
  for (long i = 0; i < count; i++)
    if (!uma_device()) raw_send(talk->socket, talk->buffer, talk->bytes);
    else raw_recv(talk->socket, talk->buffer, talk->bytes);
  if (uma_device()) raw_send(talk->socket, talk->buffer, 8);
  else raw_recv(talk->socket, talk->buffer, 8);
}

/* IN_FLIGHT small messages at once, each in its own place. */
static void burst(void *context, long count)
{
  struct talk *talk = context;
  struct uma_request *requests[IN_FLIGHT];
  for (long i = 0; i < count; i++) {
    for (int m = 0; m < IN_FLIGHT; m++) {
      unsigned char *place = talk->buffer + (size_t)m * talk->bytes;
      bench_check(uma_device() ? uma_irecv(0, TAG, place, talk->bytes, &requests[m]) : uma_isend(1, TAG, place, talk->bytes, &requests[m]),
                  uma_device() ? "uma_irecv" : "uma_isend");
    }
    for (int m = 0; m < IN_FLIGHT; m++) bench_check(uma_wait(requests[m], NULL), "uma_wait");
  }
  if (uma_device()) message_send(talk, ACKNOWLEDGE, 8);
  else message_recv(talk, ACKNOWLEDGE, 8);
}

/* ---- cases */

static struct talk begin(const int *ends, size_t bytes)
{
  unsigned char *mine = uma_alloc_symmetric(bytes);
  bench_require(mine, "no device memory: %s", uma_last_error());
  memset(mine, uma_device(), bytes);
  return (struct talk){mine, bytes, ends ? ends[uma_device()] : -1};
}

/* A pattern goes to device 1, comes back changed, and is looked at: once a size. */
static void verify(const struct talk *talk)
{
  unsigned char mark = (unsigned char)(talk->bytes % 251);
  if (!uma_device()) {
    for (size_t i = 0; i < talk->bytes; i++) talk->buffer[i] = (unsigned char)(mark + i);
    message_send(talk, TAG, talk->bytes);
  }
  message_recv(talk, TAG, talk->bytes);
  for (size_t i = 0; i < talk->bytes; i++) {
    unsigned char expected = (unsigned char)(mark + i + (uma_device() ? 0 : 1));
    bench_require(talk->buffer[i] == expected, "byte %zu of a message of %zu is %d, not %d", i, talk->bytes, talk->buffer[i], expected);
    talk->buffer[i]++;
  }
  if (uma_device()) message_send(talk, TAG, talk->bytes);
}

static void pingpong_body(void *ends)
{
  int count;
  const size_t *sizes = bench_sizes(&count);
  struct talk talk = begin(ends, sizes[count - 1]);
  for (int s = 0; s < count; s++) {
    talk.bytes = sizes[s];
    verify(&talk);
    struct bench_variant variants[] = {
        {"transfer.pingpong", "message", NULL, sizes[s], BENCH_LATENCY | BENCH_BANDWIDTH, 2, NULL, pingpong, &talk, NULL},
        {"transfer.pingpong", "raw", "-", sizes[s], BENCH_LATENCY | BENCH_BANDWIDTH, 2, NULL, raw_pingpong, &talk, NULL},
    };
    bench_compare(variants, ends ? 2 : 1);
  }
}

static void stream_body(void *ends)
{
  int count;
  const size_t *sizes = bench_sizes(&count);
  struct talk talk = begin(ends, sizes[count - 1]);
  for (int s = 0; s < count; s++) {
    talk.bytes = sizes[s];
    verify(&talk);
    struct bench_variant variants[] = {
        {"transfer.stream", "message", NULL, sizes[s], BENCH_BANDWIDTH, 1, NULL, stream, &talk, NULL},
        {"transfer.stream", "raw", "-", sizes[s], BENCH_BANDWIDTH, 1, NULL, raw_stream, &talk, NULL},
    };
    bench_compare(variants, ends ? 2 : 1);
  }
}

static void rate_body(void *unused)
{
  struct talk talk = begin(NULL, 8 * IN_FLIGHT);
  talk.bytes = 8;
  struct bench_variant variant = {"sync.message_rate", "message", NULL, 8, BENCH_RATE, IN_FLIGHT, NULL, burst, &talk, NULL};
  bench_compare(&variant, 1);
}

/* In the supernode alone; stacked, beside the raw connection where that is asked for. */
static int run_both(void (*body)(void *), bool with_raw)
{
  struct bench_session session = {.devices = 2, .mode = UMA_MODE_SUPERNODE};
  int ends[2], result = bench_spawn(&session, body, NULL);
  session.mode = UMA_MODE_STACKED;
  if (result || !with_raw) return result ? result : bench_spawn(&session, body, NULL);
  result = connect_pair(ends);
  if (result) return result;
  result = bench_spawn(&session, body, ends);
  close(ends[0]);
  close(ends[1]);
  return result;
}

static int run_pingpong(void)
{
  return run_both(pingpong_body, true);
}

static int run_stream(void)
{
  return run_both(stream_body, true);
}

static int run_rate(void)
{
  return run_both(rate_body, false);
}

const struct bench_case bench_message_cases[] = {
    {"transfer.pingpong", "one message there and back, half of it: in the supernode, stacked, and over a raw TCP connection", run_pingpong},
    {"transfer.stream", "messages one after the other: in the supernode, stacked, and over a raw TCP connection", run_stream},
    {"sync.message_rate", "small messages, 64 in flight", run_rate},
    {NULL, NULL, NULL},
};
