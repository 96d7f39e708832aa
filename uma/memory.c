/* Allocation of device memory: the public face of the heaps (heap.c).
 *
 * Huge pages: where the kernel gives none to shared memory by itself (shmem_enabled is `never` on many hosts), MADV_COLLAPSE does. It is asked
 * for each huge page of a window when the first block in it is allocated; a bit in the segment remembers that, so that other processes, whose page faults
 * then find the huge page in place, need not ask again. If the kernel has none left the block stands on small pages. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "uma/coherent.h"
#include "uma/heap.h"
#include "uma/remote.h"
#include "uma/session.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define HUGE_PAGE ((size_t)2 << 20)

static void *fail_with(int error)
{
  errno = error;
  return NULL;
}

/* The kernel collapses only what has a page in it; adding nothing to a byte gives it one, and is harmless to whoever uses it. */
static int collapse_page(unsigned char *page)
{
  __atomic_fetch_or(page, 0, __ATOMIC_RELAXED);
  return madvise(page, HUGE_PAGE, MADV_COLLAPSE);
}

static void collapse(int device, uint64_t offset, size_t bytes)
{
  _Atomic uint64_t *bits = uma_segment_at(uma_self.layout.collapsed + (size_t)(device - uma_self.first) * uma_self.layout.collapsed_stride);
  for (uint64_t page = offset / HUGE_PAGE; page <= (offset + bytes - 1) / HUGE_PAGE; page++) {
    uint64_t bit = (uint64_t)1 << (page % 64);
    if (atomic_load_explicit(&bits[page / 64], memory_order_relaxed) & bit) continue;
    if (!collapse_page(uma_self.memory + (size_t)(device - uma_self.first) * uma_self.shape.memory + page * HUGE_PAGE))
      atomic_fetch_or(&bits[page / 64], bit);
  }
}

/* The place in the source that asked, once. */
static const char *take_site(void)
{
  const char *site = uma_site_;
  uma_site_ = NULL;
  return site;
}

static void *clear(unsigned char *block, size_t bytes)
{
  static const unsigned char zero[UMA_HEAP_PAGE];
  if (!uma_is_cached(block, bytes)) return memset(block, 0, bytes);
  for (size_t done = 0, part; done < bytes; done += part) {
    part = bytes - done < sizeof zero ? bytes - done : sizeof zero;
    int result = uma_cached_put(block + done, zero, part);
    if (result) return uma_free(block), fail_with(-result);
  }
  return block;
}

/* Is there a heap that this device may use? Else errno and the sentence are set. */
static bool has_heap(int device)
{
  if (uma_reachable(device)) return true;
  bool exists = uma_self.joined && device >= 0 && device < uma_self.shape.devices;
  if (exists) uma_fail(-EREMOTE, "device %d is in another domain; only its own domain's devices allocate there", device);
  else uma_server(device); /* leaves the sentence */
  errno = exists ? EREMOTE : EINVAL;
  return false;
}

/* On this host or another. 0, -ENOMEM, or -EHOSTDOWN. */
static int allocate(int device, size_t bytes, size_t alignment, uint64_t *offset)
{
  if (bytes > uma_self.shape.memory || alignment > uma_self.shape.memory) return -ENOMEM;
  if (!uma_is_local(device)) return uma_remote_alloc(device, bytes, alignment, offset);
  *offset = uma_heap_alloc(uma_heap_of(device), bytes, alignment);
  return *offset == UMA_HEAP_FULL ? -ENOMEM : 0;
}

void *(uma_memalign_on)(int device, size_t alignment, size_t bytes)
{
  const char *site = take_site();
  uint64_t offset;
  if (!has_heap(device)) return NULL;
  if (bytes == 0 || alignment == 0 || (alignment & (alignment - 1))) {
    uma_fail(-EINVAL, "%zu bytes aligned to %zu: expected a size above 0 and a power of two", bytes, alignment);
    return fail_with(EINVAL);
  }
  int error = allocate(device, bytes, alignment, &offset);
  if (error == -ENOMEM)
    uma_fail(-ENOMEM, "the window of device %d (%zu bytes, see --memory) has no room for %zu bytes", device, uma_self.shape.memory, bytes);
  if (error) return fail_with(-error);
  if (uma_self.shape.hugepages == UMA_HUGEPAGES_ALWAYS && uma_is_local(device)) collapse(device, offset, bytes);
  uma_coherent_allocated(uma_window_of(device) + offset, bytes, site, 0);
  return uma_window_of(device) + offset;
}

void *(uma_malloc_on)(int device, size_t bytes)
{
  return (uma_memalign_on)(device, 16, bytes);
}

void *(uma_malloc)(size_t bytes)
{
  return (uma_malloc_on)(uma_device(), bytes);
}

void *(uma_calloc_on)(int device, size_t count, size_t size)
{
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    uma_fail(-ENOMEM, "%zu elements of %zu bytes are more than any window holds", count, size);
    return fail_with(ENOMEM);
  }
  void *block = (uma_malloc_on)(device, bytes);
  return block ? clear(block, bytes) : NULL;
}

int uma_free(void *pointer)
{
  int home;
  if (!pointer) return 0;
  if (!uma_range_in_windows(pointer, 1, &home)) return uma_fail(-EFAULT, "uma_free: %p is in no window", pointer);
  if (!uma_is_near(home))
    return uma_fail(-EREMOTE, "uma_free: %p is in the window of device %d, which is in another domain", pointer, home);
  uint64_t moment = uma_coherent_moment(); /* as soon as it is free, it may be allocated again */
  uint64_t offset = (uint64_t)((unsigned char *)pointer - uma_window_of(home));
  int result = uma_is_local(home) ? uma_heap_free(uma_heap_of(home), offset) : uma_remote_free(home, offset);
  if (result == -EHOSTDOWN) return result;
  if (result == -EALREADY) return uma_fail(result, "uma_free: %p (window of device %d) was freed before", pointer, home);
  if (result) return uma_fail(result, "uma_free: %p (window of device %d) is not the beginning of a block", pointer, home);
  uma_coherent_freed(pointer, moment);
  return 0;
}

int uma_usage(int device, struct uma_usage *usage)
{
  if (!has_heap(device)) return -errno;
  if (!uma_is_local(device)) return uma_remote_usage(device, usage);
  uma_heap_usage(uma_heap_of(device), usage);
  return 0;
}

/* ---- symmetric blocks */

/* The same offset must be free in all windows. Each device proposes the first that suits its own window, not below what all agreed on so far;
 * the largest proposal is the next candidate. It only grows, so the search ends; an offset free everywhere is never skipped. When all propose
 * the same one each takes it, and starts again if an ordinary allocation came between. */
static int64_t search_symmetric(size_t bytes, uint64_t *moment)
{
  struct uma_heap *heap = uma_heap_of(uma_self.device);
  int64_t candidate = 0;
  while (candidate < INT64_MAX) {
    uint64_t found = uma_heap_find(heap, (uint64_t)candidate, bytes);
    int64_t mine[2] = {found == UMA_HEAP_FULL ? INT64_MAX : (int64_t)found, found == UMA_HEAP_FULL ? -INT64_MAX : -(int64_t)found}, all[2];
    if (uma_allreduce(all, mine, 2, UMA_INT64, UMA_MAX)) return INT64_MAX;
    candidate = all[0];
    if (all[0] != -all[1] || candidate == INT64_MAX) continue; /* largest and smallest differ */
    int32_t refused = uma_heap_take(heap, (uint64_t)candidate, bytes) != 0, any;
    *moment = uma_coherent_moment(); /* others may use it as soon as all have agreed */
    if (uma_allreduce(&any, &refused, 1, UMA_INT32, UMA_MAX)) return INT64_MAX;
    if (!any) return candidate;
    if (!refused) uma_heap_free(heap, (uint64_t)candidate);
    if (uma_barrier()) return INT64_MAX;
  }
  return candidate;
}

void *(uma_alloc_symmetric)(size_t bytes)
{
  const char *site = take_site();
  if (!has_heap(uma_self.joined ? uma_self.device : -1)) return NULL;
  if (bytes == 0) {
    uma_fail(-EINVAL, "uma_alloc_symmetric: 0 bytes; expected more");
    return fail_with(EINVAL);
  }
  uint64_t moment = 0;
  int64_t offset = bytes > uma_self.shape.memory ? INT64_MAX : search_symmetric(bytes, &moment);
  if (offset == INT64_MAX) {
    uma_fail(-ENOMEM, "not every window (%zu bytes, see --memory) has room for %zu bytes at one offset", uma_self.shape.memory, bytes);
    return fail_with(ENOMEM);
  }
  if (uma_self.shape.hugepages == UMA_HUGEPAGES_ALWAYS) collapse(uma_self.device, (uint64_t)offset, bytes);
  uma_coherent_allocated(uma_window_of(uma_self.device) + offset, bytes, site, moment);
  return uma_window_of(uma_self.device) + offset;
}

void *uma_symmetric(const void *pointer, int device)
{
  int home;
  if (!uma_range_in_windows(pointer, 1, &home) || device < 0 || device >= uma_self.shape.devices) {
    uma_fail(-EINVAL, "uma_symmetric: %p, device %d: expected a pointer into a window, and a device", pointer, device);
    return NULL;
  }
  return (unsigned char *)pointer + ((ptrdiff_t)device - home) * (ptrdiff_t)uma_self.shape.memory;
}

int uma_free_symmetric(void *pointer)
{
  int home, result = pointer && uma_range_in_windows(pointer, 1, &home) && home == uma_self.device ? 0 : -EINVAL;
  if (result) uma_fail(result, "uma_free_symmetric: %p is not in the own window", pointer);
  int met = uma_barrier(); /* nobody uses it any more */
  if (!result) result = uma_free(pointer);
  return result ? result : met;
}
