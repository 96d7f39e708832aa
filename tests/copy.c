/* Copies between any two places: same bytes, whatever lies between; strided; on streams; wrong arguments. */
#include <errno.h>

#include "tests/pattern.h"
#include "tests/session.h"

#define MOST ((size_t)5 << 20)

/* Get from the right, put to the left, and from the right straight to the left, far or near. */
static int copy_sizes(void *argument)
{
  static const size_t sizes[] = {0, 1, 8, 4096, 65537, MOST};
  int me = uma_device(), devices = uma_device_count(), right = (me + 1) % devices, left = (me + devices - 1) % devices;
  unsigned char *source = uma_alloc_symmetric(MOST), *sink = uma_alloc_symmetric(MOST), *far = uma_alloc_symmetric(MOST),
                *local = malloc(MOST);
  CHECK(source && sink && far && local);
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    size_t bytes = sizes[s];
    pattern_fill(source, bytes, (unsigned)me);
    CHECK(!uma_barrier());
    CHECK(!uma_get(local, uma_symmetric(source, right), bytes) && pattern_holds(local, bytes, (unsigned)right));
    pattern_fill(local, bytes, (unsigned)(me + 100));
    CHECK(!uma_put(uma_symmetric(sink, left), local, bytes));
    CHECK(!uma_copy(uma_symmetric(far, left), uma_symmetric(source, right), bytes));
    CHECK(!uma_barrier());
    CHECK(pattern_holds(sink, bytes, (unsigned)(right + 100)));
    CHECK(pattern_holds(far, bytes, (unsigned)((right + 1) % devices)));
  }
  free(local);
  return uma_barrier();
}

Test(copy, bytes_are_the_same_at_both_ends)
{
  session_run_shapes(copy_sizes, NULL);
}

static int copy_rows(void *argument)
{
  int me = uma_device(), devices = uma_device_count();
  unsigned char *grid = uma_alloc_symmetric(64 * 100), *theirs = uma_symmetric(grid, (me + 1) % devices), local[20 * 10];
  CHECK(grid);
  memset(grid, 0, 64 * 100);
  CHECK(!uma_barrier());
  pattern_fill(local, sizeof local, (unsigned)me);
  CHECK(!uma_copy_2d(theirs + 5, 64, local, 20, 13, 10));
  CHECK(!uma_barrier());
  unsigned char expected[20 * 10];
  pattern_fill(expected, sizeof expected, (unsigned)((me + devices - 1) % devices));
  for (int row = 0; row < 100; row++)
    for (int column = 0; column < 64; column++) {
      bool inside = row < 10 && column >= 5 && column < 18;
      CHECK(grid[row * 64 + column] == (inside ? expected[row * 20 + column - 5] : 0));
    }
  CHECK(!uma_barrier());
  CHECK(uma_copy_2d(grid, 10, local, 20, 13, 10) == -EINVAL && uma_copy_2d(grid, 64, local, 20, 21, 10) == -EINVAL);
  CHECK(uma_copy_2d(grid, SIZE_MAX / 2, local, 20, 13, 10) == -EINVAL && uma_copy_2d(grid + 64, 64, grid, 64, 13, 10) == -EINVAL);
  CHECK(!uma_copy_2d(grid, 64, local, 20, 0, 10) && !uma_copy_2d(grid, 64, local, 20, 13, 0));
  return uma_barrier();
}

Test(copy, rows_keep_their_pitch)
{
  session_run_shapes(copy_rows, NULL);
}

static int misuse(void *argument)
{
  volatile size_t negative = (size_t)-5; /* hidden from the compiler, which would refuse it */
  size_t window;
  unsigned char *mine = uma_malloc(1000), *base = uma_window(0, &window), local[1000];
  unsigned char *end = base + window * (size_t)uma_device_count();
  CHECK(uma_get(local, local + 500, 100) == -EFAULT && strstr(uma_last_error(), "do not lie in windows"));
  CHECK(uma_put(local, local + 500, 100) == -EFAULT);
  CHECK(uma_get(local, end - 10, 100) == -EFAULT && uma_put(end - 10, local, 100) == -EFAULT && uma_copy(end - 10, local, 100) == -EFAULT);
  CHECK(uma_copy(base - 10, local, 100) == -EFAULT);
  CHECK(uma_get(local, mine, negative) == -EFAULT && uma_copy(local, mine, SIZE_MAX) == -EFAULT && uma_copy(NULL, mine, 8) == -EFAULT);
  CHECK(uma_copy(mine, mine + 10, 11) == -EINVAL && strstr(uma_last_error(), "overlap"));
  CHECK(uma_put(mine, mine + 10, 11) == -EINVAL && uma_get(mine + 10, mine, 11) == -EINVAL && !uma_copy(mine, mine + 10, 10));
  CHECK(uma_copy_async(mine, mine + 1, 10, NULL) == -EINVAL && uma_copy_async(mine, local, 10, NULL) == -EINVAL);
  return uma_barrier();
}

Test(copy, misuse_is_told_and_copies_nothing)
{
  session_run_shapes(misuse, NULL);
}

/* Streams run in order beside the device; events tell when. */
static int stream(void *argument)
{
  int me = uma_device(), devices = uma_device_count(), rounds = 20;
  size_t bytes = (size_t)1 << 20;
  unsigned char *source = uma_alloc_symmetric(bytes), *theirs = uma_symmetric(source, (me + 1) % devices), *chain[21];
  struct uma_stream *streams[2];
  struct uma_event *start, *end;
  pattern_fill(source, bytes, (unsigned)me);
  CHECK(!uma_barrier());
  CHECK(!uma_stream_create(&streams[0]) && !uma_stream_create(&streams[1]) && !uma_event_create(&start) && !uma_event_create(&end));
  CHECK(uma_event_query(start) == -EINVAL);
  for (int i = 0; i <= rounds; i++) CHECK((chain[i] = malloc(bytes)));
  CHECK(!uma_event_record(start, streams[0]));
  CHECK(!uma_copy_async(chain[0], theirs, bytes, streams[0]));
  for (int i = 1; i <= rounds; i++) CHECK(!uma_copy_async(chain[i], chain[i - 1], bytes, streams[0]));
  CHECK(!uma_copy_2d_async(chain[0], 100, theirs, 100, 50, 10, streams[1]));
  CHECK(!uma_event_record(end, streams[0]));
  CHECK(!uma_event_wait(end) && uma_event_query(end) == 1 && uma_event_query(start) == 1);
  CHECK(pattern_holds(chain[rounds], bytes, (unsigned)((me + 1) % devices)));
  double milliseconds = -1;
  CHECK(!uma_event_elapsed(start, end, &milliseconds) && milliseconds > 0);
  CHECK(!uma_stream_wait(streams[0]) && uma_stream_query(streams[0]) == 1);
  CHECK(!uma_stream_destroy(streams[0]) && !uma_stream_destroy(streams[1]) && !uma_event_destroy(start) && !uma_event_destroy(end));
  CHECK(uma_stream_create(&streams[0]) == 0 && !uma_copy_async(chain[1], theirs, bytes, streams[0])); /* finalize waits for it */
  return 0;
}

Test(copy, streams_work_in_order_beside_the_device)
{
  session_run_shapes(stream, NULL);
}
