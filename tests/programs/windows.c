/* A device of a session over two hosts whose domains libfabric joins (--fabric ofi): it reads and writes the window of its partner on the other
 * host in every way; tests/two_hosts.c runs it. It says so when all is well. */
#include "tests/pattern.h"
#include "tests/programs/check.h"

#define BYTES (((size_t)3 << 20) + 5)

static int me, devices, partner;

static void move_bytes(void)
{
  unsigned char *mine = uma_alloc_symmetric(BYTES), *theirs = uma_symmetric(mine, partner), *local = malloc(BYTES);
  CHECK(mine && local && !uma_barrier());
  pattern_fill(local, BYTES, (unsigned)me);
  CHECK(!uma_put(theirs, local, BYTES) && !uma_barrier() && pattern_holds(mine, BYTES, (unsigned)partner) && !uma_barrier());
  pattern_fill(mine, BYTES, (unsigned)(me + 50));
  CHECK(!uma_barrier() && !uma_get(local, theirs, BYTES) && pattern_holds(local, BYTES, (unsigned)(partner + 50)) && !uma_barrier());
  free(local);
}

static void change_words(void)
{
  uint64_t *words = uma_alloc_symmetric(2 * sizeof *words), *first = uma_symmetric(words, 0), *theirs = uma_symmetric(words, partner);
  CHECK(words);
  words[0] = words[1] = 0;
  CHECK(!uma_barrier());
  for (int i = 0; i < 200; i++) uma_fetch_add(first, 1);
  CHECK(!uma_barrier() && uma_ld(first) == 200u * (unsigned)devices);
  for (uint64_t round = 1; round <= 20; round++) {
    CHECK(!uma_signal(theirs + 1, 1, UMA_SIGNAL_ADD) && !uma_wait_until(words + 1, UMA_GE, round));
  }
}

static void talk(void)
{
  static unsigned char out[BYTES], in[BYTES];
  struct uma_request *request;
  double sum, one = 1;
  pattern_fill(out, BYTES, (unsigned)me);
  CHECK(!uma_isend(partner, 1, out, BYTES, &request) && !uma_recv(partner, 1, in, BYTES, NULL) && !uma_wait(request, NULL));
  CHECK(pattern_holds(in, BYTES, (unsigned)partner) && !uma_allreduce(&sum, &one, 1, UMA_FLOAT64, UMA_SUM) && sum == devices);
}

int main(void)
{
  CHECK(!uma_init(NULL));
  me = uma_device();
  devices = uma_device_count();
  partner = (me + devices / 2) % devices;
  CHECK(uma_path(partner) == UMA_PATH_RMA && !uma_reachable(partner));
  move_bytes();
  change_words();
  talk();
  CHECK(!uma_finalize());
  printf("windows are right\n");
  return 0;
}
