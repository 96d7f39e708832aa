/* All that the library does with memory works on windows that are reached through caches of lines: accessors, ranges, copies, messages,
 * collectives, signals, streams; in one coherence domain and in several. */
#include <errno.h>

#include "tests/command.h"
#include "tests/pattern.h"
#include "tests/session.h"

static void run_line(int devices, int servers, int mode, size_t line, int (*function)(void *))
{
  struct uma_config config = {
      .coherence = UMA_COHERENCE_LINE, .servers = servers, .mode = mode, .memory = (size_t)16 << 20, .timeout = 120};
  config.line = line;
  config.cache = line * 64; /* small: things move */
  int result = uma_spawn(&config, devices, function, NULL);
  cr_assert_eq(result, 0, "%d devices, %d servers, mode %d, line %zu: %d (%s)", devices, servers, mode, line, result,
               result < 0 ? uma_last_error() : "");
}

static void run_shapes(int (*function)(void *))
{
  run_line(1, 1, UMA_MODE_SUPERNODE, 64, function);
  run_line(2, 1, UMA_MODE_SUPERNODE, 4096, function);
  run_line(5, 2, UMA_MODE_SUPERNODE, 128, function);
  run_line(2, 2, UMA_MODE_STACKED, 64, function);
  run_line(5, 2, UMA_MODE_STACKED, 256, function);
}

static int next_device(void)
{
  return (uma_device() + 1) % uma_device_count();
}

/* ---- Accessors ---- */

/* Packed side by side, so that they are at every alignment, and across lines. */
enum { A = 0, B = A + 1, C = B + 2, D = C + 4, E = D + 8, F = E + 8, G = F + 1, MIXED = G + 8, MANY = 64 };

static int access_scalars(void *unused)
{
  unsigned char *mine = uma_alloc_symmetric(MANY * MIXED), *theirs = uma_symmetric(mine, next_device());
  for (int i = 0; i < MANY; i++, theirs += MIXED) {
    uma_st((int8_t *)(theirs + A), (int8_t)(-i));
    uma_st((uint16_t *)(theirs + B), (uint16_t)(i * 1000));
    uma_st((float *)(theirs + C), (float)i / 4);
    uma_st((double *)(theirs + D), (double)i / 8);
    uma_st((const void **)(theirs + E), (const void *)(mine + i));
    uma_st((bool *)(theirs + F), i % 2 == 1);
    uma_st((int64_t *)(theirs + G), (int64_t)i << 40);
  }
  CHECK(!uma_barrier());
  int from = (uma_device() + uma_device_count() - 1) % uma_device_count();
  unsigned char *base = uma_symmetric(mine, from), *at = mine;
  for (int i = 0; i < MANY; i++, at += MIXED) {
    CHECK(uma_ld((int8_t *)(at + A)) == -i && uma_ld((uint16_t *)(at + B)) == (uint16_t)(i * 1000));
    CHECK(uma_ld((float *)(at + C)) == (float)i / 4 && uma_ld((double *)(at + D)) == (double)i / 8);
    CHECK(uma_ld((const void **)(at + E)) == (const void *)(base + i) && uma_ld((bool *)(at + F)) == (i % 2 == 1));
    CHECK(uma_ld((int64_t *)(at + G)) == (int64_t)i << 40);
  }
  return 0;
}

Test(line_library, scalars_of_every_size_at_every_place)
{
  run_line(1, 1, UMA_MODE_SUPERNODE, 64, access_scalars);
  run_line(3, 1, UMA_MODE_SUPERNODE, 64, access_scalars);
}

static int change_atomically(void *unused)
{
  uint64_t *mine = uma_alloc_symmetric(4096), *wide = uma_symmetric(mine, 0);
  uint32_t *narrow = (uint32_t *)(wide + 64);
  for (int i = 0; i < 500; i++) {
    uma_fetch_add(&wide[0], UINT64_C(0x100000001));
    uma_fetch_add(&narrow[0], 3u);
    uma_fetch_xor(&wide[1], UINT64_C(1) << uma_device());
    uma_fetch_or(&narrow[1], 1u << uma_device());
    for (uint64_t seen = uma_ld(&wide[2]), was; (was = uma_cas(&wide[2], seen, seen + 2)) != seen; seen = was) continue;
  }
  CHECK(!uma_barrier());
  uint64_t n = (uint64_t)uma_device_count();
  CHECK(uma_ld(&wide[0]) == n * 500 * UINT64_C(0x100000001) && uma_ld(&narrow[0]) == n * 1500);
  CHECK(uma_ld(&wide[1]) == 0 && uma_ld(&narrow[1]) == (1u << n) - 1 && uma_ld(&wide[2]) == n * 1000);
  CHECK(!uma_barrier());
  if (uma_device() == 0) {
    CHECK(uma_swap(&narrow[2], 5u) == 0 && uma_swap(&narrow[2], 6u) == 5 && uma_fetch_and(&narrow[2], 4u) == 6);
    CHECK(uma_ld(&narrow[2]) == 4 && uma_cas(&narrow[2], 9u, 1u) == 4 && uma_ld(&narrow[2]) == 4);
  }
  int local = 3; /* and private memory, as always */
  CHECK(uma_fetch_add(&local, 4) == 3 && uma_ld(&local) == 7);
  return 0;
}

Test(line_library, atomics)
{
  run_shapes(change_atomically);
}

/* ---- Ranges and copies ---- */

static int move_ranges(void *unused)
{
  enum { BYTES = 300001 };
  static unsigned char there[BYTES], back[BYTES];
  unsigned char *mine = uma_alloc_symmetric(2 * BYTES), *theirs = uma_symmetric(mine, next_device());
  unsigned seed = (unsigned)uma_device();
  pattern_fill(there, BYTES, seed);
  CHECK(!uma_put(theirs + 3, there, BYTES - 3));
  CHECK(!uma_get(back, theirs + 3, BYTES - 3));
  CHECK(pattern_holds(back, BYTES - 3, seed));
  CHECK(!uma_copy(theirs + BYTES + 1, theirs + 3, 200000)); /* window to window */
  memset(back, 0, BYTES);
  CHECK(!uma_copy(back, theirs + BYTES + 1, 200000));
  CHECK(pattern_holds(back, 200000, seed));
  CHECK(!uma_barrier());
  struct uma_stream *stream;
  CHECK(!uma_stream_create(&stream));
  CHECK(!uma_copy_async(theirs + 64, there, 100000, stream));
  CHECK(!uma_copy_2d_async(back, 100, theirs + 64, 200, 100, 400, stream));
  CHECK(!uma_stream_wait(stream));
  CHECK(!uma_stream_destroy(stream));
  for (int row = 0; row < 400; row++) CHECK(!memcmp(back + row * 100, there + row * 200, 100));
  volatile size_t too_many = (size_t)1 << 40;
  CHECK(uma_get(back, mine, too_many) == -EFAULT);
  CHECK(!uma_barrier());
  return 0;
}

Test(line_library, ranges_and_copies)
{
  run_shapes(move_ranges);
}

/* Memory that was used, given back, and asked for zeroed; a block that fills the end of one window. */
static int allocate(void *unused)
{
  size_t bytes;
  unsigned char *window = uma_window(uma_device(), &bytes), *block = uma_malloc(9999), out[9999];
  CHECK(block);
  pattern_fill(out, sizeof out, 1);
  CHECK(!uma_put(block, out, sizeof out));
  CHECK(!uma_free(block));
  block = uma_calloc_on(uma_device(), 9999, 1);
  CHECK(block);
  for (int i = 0; i < 9999; i++) CHECK(uma_ld(&block[i]) == 0);
  uma_st((uint64_t *)(window + bytes - 8), UINT64_C(11));
  CHECK(uma_ld((uint64_t *)(window + bytes - 8)) == 11);
  return 0;
}

Test(line_library, allocation)
{
  run_shapes(allocate);
}

/* ---- Messages and signals ---- */

static int send_around(void *unused)
{
  enum { BYTES = 150000 };
  static unsigned char out[BYTES];
  int from = (uma_device() + uma_device_count() - 1) % uma_device_count();
  unsigned char *in_window = uma_malloc(BYTES), *out_window = uma_malloc(BYTES);
  struct uma_request *receive, *send;
  struct uma_status status;
  CHECK(in_window && out_window);
  for (size_t bytes = 1; bytes <= BYTES; bytes = bytes * 9 + 5) {
    pattern_fill(out, bytes, (unsigned)uma_device());
    CHECK(!uma_put(out_window, out, bytes));
    CHECK(!uma_irecv(from, 5, in_window, bytes, &receive));
    CHECK(!uma_isend(next_device(), 5, out_window, bytes, &send));
    CHECK(!uma_wait(receive, &status) && !uma_wait(send, NULL));
    CHECK(status.bytes == bytes && status.device == from);
    CHECK(!uma_get(out, in_window, bytes));
    CHECK(pattern_holds(out, bytes, (unsigned)from));
  }
  return 0;
}

Test(line_library, messages)
{
  run_shapes(send_around);
}

static int signal_around(void *unused)
{
  uint64_t *mine = uma_alloc_symmetric(4096), *theirs = uma_symmetric(mine, next_device()), values[16];
  for (uint64_t round = 1; round <= 50; round++) {
    for (int i = 0; i < 16; i++) values[i] = round * 100 + (uint64_t)i;
    CHECK(!uma_put_signal(theirs + 8, values, sizeof values, theirs, 1, UMA_SIGNAL_ADD));
    CHECK(!uma_wait_until(mine, UMA_GE, round));
    for (int i = 0; i < 16; i++) CHECK(uma_ld(&mine[8 + i]) == round * 100 + (uint64_t)i);
    CHECK(!uma_barrier());
  }
  return 0;
}

Test(line_library, signals)
{
  run_shapes(signal_around);
}

/* ---- Collectives ---- */

static int collect(void *unused)
{
  size_t n = (size_t)uma_device_count(), me = (size_t)uma_device();
  for (size_t count = 1; count < 70000; count = count * 17 + 3) {
    int64_t *src = uma_malloc(n * count * 8), *dst = uma_malloc(n * count * 8), *check = malloc(n * count * 8);
    CHECK(src && dst && check);
    for (size_t i = 0; i < n * count; i++) check[i] = (int64_t)(i * (me + 1));
    CHECK(!uma_put(src, check, n * count * 8));
    CHECK(!uma_allreduce(dst, src, count, UMA_INT64, UMA_SUM));
    CHECK(!uma_get(check, dst, count * 8));
    for (size_t i = 0; i < count; i++) CHECK(check[i] == (int64_t)(i * n * (n + 1) / 2));
    CHECK(!uma_allreduce(src, src, count, UMA_INT64, UMA_MAX)); /* in place */
    for (size_t i = 0; i < count; i += 97) CHECK(uma_ld(&src[i]) == (int64_t)(i * n));
    for (size_t i = 0; i < n * count; i++) check[i] = (int64_t)(i + me * 1000000);
    CHECK(!uma_put(src, check, n * count * 8));
    CHECK(!uma_alltoall(dst, src, count * 8));
    for (size_t i = 0; i < n * count; i += 31) CHECK(uma_ld(&dst[i]) == (int64_t)(me * count + i % count + i / count * 1000000));
    CHECK(!uma_allgather(dst, src, count * 8));
    for (size_t i = 0; i < n * count; i += 31) CHECK(uma_ld(&dst[i]) == (int64_t)(i % count + i / count * 1000000));
    CHECK(!uma_reduce_scatter(check, src, count, UMA_INT64, UMA_MIN)); /* into private memory */
    for (size_t i = 0; i < count; i++) CHECK(check[i] == (int64_t)(me * count + i));
    CHECK(!uma_broadcast(src, n * count * 8, (int)n - 1));
    for (size_t i = 0; i < n * count; i += 31) CHECK(uma_ld(&src[i]) == (int64_t)(i + (n - 1) * 1000000));
    CHECK(!uma_free(src) && !uma_free(dst));
    free(check);
  }
  return 0;
}

Test(line_library, collectives)
{
  run_shapes(collect);
}

/* ---- What is not allowed ---- */

static int access_plainly(void *own)
{
  volatile int *word = uma_alloc_symmetric(64);
  if (!own) word = uma_symmetric((const void *)word, next_device());
  return *word;
}

Test(line_library, a_plain_access_ends_with_a_sentence)
{
  struct uma_config config = {.coherence = UMA_COHERENCE_LINE, .memory = 1 << 20, .timeout = 60};
  char *said;
  for (int own = 0; own < 2; own++) {
    cr_expect_eq(command_capture_spawn(&config, 2, access_plainly, own ? "own" : NULL, &said), 128 + SIGSEGV);
    cr_expect(strstr(said, "illegal plain load from 0x") && strstr(said, "--coherence line") && strstr(said, "uma_ld"), "%s", said);
    free(said);
  }
}

static int add_misaligned(void *unused)
{
  unsigned char *bytes = uma_malloc(64);
  return uma_fetch_add((uint32_t *)(bytes + 1), 1u) != 0;
}

Test(line_library, a_misaligned_atomic_ends_with_a_sentence)
{
  struct uma_config config = {.coherence = UMA_COHERENCE_LINE, .memory = 1 << 20, .timeout = 60};
  char *said;
  cr_expect_neq(command_capture_spawn(&config, 1, add_misaligned, NULL, &said), 0);
  cr_expect(strstr(said, "not aligned"), "%s", said);
  free(said);
}

static void expect_refused(const char *flags, const char *sentence)
{
  char line[512], *said;
  snprintf(line, sizeof line, "%s/uma run -n 2 %s -- true", session_build(), flags);
  cr_expect_eq(command_run(line, &said), 2, "%s: %s", flags, said);
  cr_expect(strstr(said, sentence), "%s: \"%s\" is missing in: %s", flags, sentence, said);
  free(said);
}

Test(line_library, bad_settings_are_named)
{
  expect_refused("--coherence lines", "--coherence: \"lines\" is not valid; expected none|line|page");
  expect_refused("--coherence line --line 48", "line: 48 is not valid; expected 64 to 4K, a power of two");
  expect_refused("--coherence line --line 8K", "line: 8K is not valid");
  expect_refused("--coherence line --ways 65", "ways: 65 is not valid; expected 1 to 64");
  expect_refused("--coherence line --cache 3000", "cache: 3000 is not valid; expected a power of two times line x ways, 512 bytes");
  expect_refused("--coherence line --cache 0", "--cache: \"0\" is not valid");
  expect_refused("--coherence line --sharers some", "--sharers: \"some\" is not valid; expected full|limited|coarse");
  expect_refused("--coherence line --protocol /no/such", "protocol: \"/no/such\" is neither a protocol nor a file that can be read");
  expect_refused("--coherence line --protocol LICENSE", "protocol: LICENSE:1: ");
  expect_refused("--trace /tmp/x", "trace: \"/tmp/x\": there are no coherence messages with --coherence none");
  expect_refused("--coherence line --trace /no/such/place", "trace: \"/no/such/place\" cannot be written: No such file or directory");
}
