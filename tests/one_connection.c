/* Two devices of different domains that send first at the same moment end up with one connection between them, and lose no order. */
#include <sys/socket.h>
#include <unistd.h>

#include "tests/session.h"

/* Connected sockets of this process. */
static int count_connections(void)
{
  int count = 0;
  for (int fd = 0; fd < 1024; fd++) {
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    count += !getpeername(fd, (struct sockaddr *)&peer, &length) && peer.ss_family == AF_INET;
  }
  return count;
}

static int greet_at_once(void *argument)
{
  unsigned delay_us = *(unsigned *)argument;
  int other = 1 - uma_device(), sent[50], got;
  struct uma_request *requests[50];
  if (uma_device()) usleep(delay_us);
  for (int i = 0; i < 50; i++) {
    sent[i] = uma_device() * 1000 + i;
    CHECK(!uma_isend(other, 3, &sent[i], sizeof sent[i], &requests[i]));
  }
  for (int i = 0; i < 50; i++) CHECK(!uma_recv(other, 3, &got, sizeof got, NULL) && got == other * 1000 + i);
  for (int i = 0; i < 50; i++) CHECK(!uma_wait(requests[i], NULL));
  for (int i = 0; i < 10; i++) CHECK(!uma_barrier()); /* the one that was given up is closed in passing */
  CHECK(count_connections() == 1);
  return uma_barrier();
}

Test(one_connection, is_left_when_both_send_first)
{
  for (unsigned i = 0; i < 40; i++) {
    unsigned delay_us = i % 8 * 40;
    session_run(2, 2, UMA_MODE_STACKED, greet_at_once, &delay_us);
  }
}
