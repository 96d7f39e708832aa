/* Copies between any two places of the address space: what include/uma.h does not do inline.
 *
 * A place is near (private memory, or a window of this domain: the processor reaches it), far (a window of another domain: its home's copy engine
 * does, remote.c) or cached (a window of this domain in access mode `line`, coherent.h). Near to near is one memcpy. Far ranges are cut where one
 * window ends and the next begins. What is far or cached on both sides goes through a bounce buffer of this device, chunk by chunk.
 * Nothing is copied unless all arguments are good. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "uma/clock.h"
#include "uma/coherent.h"
#include "uma/mailbox.h"
#include "uma/remote.h"
#include "uma/session.h"
#include "uma/stream.h"

#define CHUNK ((size_t)1 << 20)

static bool is_far(const void *pointer)
{
  int home;
  return uma_range_in_windows(pointer, 1, &home) && !uma_is_near(home);
}

/* Bytes from `pointer` to the end of its window, at most `bytes`. */
static size_t within_window(const void *pointer, size_t bytes, int *home)
{
  uma_range_in_windows(pointer, 1, home);
  size_t left = uma_self.shape.memory - (size_t)((const unsigned char *)pointer - uma_window_of(*home));
  return bytes < left ? bytes : left;
}

/* A range must be all private or all in windows. */
static int check_range(const char *what, const void *pointer, size_t bytes)
{
  size_t range = (size_t)uma_self.shape.devices * uma_self.shape.memory;
  uintptr_t begin = (uintptr_t)pointer, base = uma_self.shape.base;
  if (!pointer || bytes > UINTPTR_MAX / 2 || begin + bytes < begin)
    return uma_fail(-EFAULT, "%s: no %zu bytes can be at %p", what, bytes, pointer);
  if (begin + bytes <= base || begin >= base + range) return 0;
  if (uma_range_in_windows(pointer, bytes, NULL)) return 0;
  return uma_fail(-EFAULT, "%s: %zu bytes at %p leave the windows (0x%zx to 0x%zx)", what, bytes, pointer, (size_t)base,
                  (size_t)(base + range));
}

static int check_overlap(const void *dst, const void *src, size_t bytes)
{
  uintptr_t to = (uintptr_t)dst, from = (uintptr_t)src;
  if ((to >= from ? to - from : from - to) >= bytes) return 0;
  return uma_fail(-EINVAL, "source %p and destination %p overlap in a copy of %zu bytes", src, dst, bytes);
}

static int check_copy(void *dst, const void *src, size_t bytes)
{
  if (!uma_self.joined) return uma_fail(-EINVAL, "a copy was asked for outside of a session");
  int result = check_range("source", src, bytes);
  if (!result) result = check_range("destination", dst, bytes);
  return result ? result : check_overlap(dst, src, bytes);
}

/* From and to a window of this domain. */
static int read_near(unsigned char *dst, const unsigned char *window, size_t bytes)
{
  if (uma_self.lines) return uma_cached_get(dst, window, bytes);
  memcpy(dst, window, bytes);
  return 0;
}

static int write_near(unsigned char *window, const unsigned char *src, size_t bytes)
{
  if (uma_self.lines) return uma_cached_put(window, src, bytes);
  memcpy(window, src, bytes);
  return 0;
}

static int copy_from_beyond(unsigned char *near, const unsigned char *far, size_t bytes)
{
  int home, result = 0;
  for (size_t part; bytes && !result; near += part, far += part, bytes -= part) {
    part = within_window(far, bytes, &home);
    result = is_far(far) ? uma_remote_get(home, near, far, part) : read_near(near, far, part);
  }
  return result;
}

static int copy_to_beyond(unsigned char *far, const unsigned char *near, size_t bytes)
{
  int home, result = 0;
  for (size_t part; bytes && !result; near += part, far += part, bytes -= part) {
    part = within_window(far, bytes, &home);
    result = is_far(far) ? uma_remote_put(home, far, near, part) : write_near(far, near, part);
  }
  return result;
}

static int copy_by_bounce(unsigned char *dst, const unsigned char *src, size_t bytes)
{
  unsigned char *bounce = malloc(bytes < CHUNK ? bytes : CHUNK);
  if (!bounce) return uma_fail(-ENOMEM, "no memory for a bounce buffer");
  int result = 0;
  for (size_t part; bytes && !result; dst += part, src += part, bytes -= part) {
    part = bytes < CHUNK ? bytes : CHUNK;
    result = copy_from_beyond(bounce, src, part);
    if (!result) result = copy_to_beyond(dst, bounce, part);
  }
  free(bounce);
  return result;
}

/* Whether the processor cannot reach every byte of the range; windows of the own domain are contiguous. */
static bool is_beyond(const void *pointer, size_t bytes)
{
  if (uma_self.lines) return uma_range_in_windows(pointer, bytes, NULL);
  return uma_self.shape.domains > 1 && uma_range_in_windows(pointer, bytes, NULL) && !uma_range_is_near(pointer, bytes);
}

/* The copy engine serves others between chunks; other threads need not. */
static void copy_near(unsigned char *dst, const unsigned char *src, size_t bytes)
{
  if (uma_own_channel() == FAB_ENGINE && uma_self.mailbox[FAB_ENGINE])
    for (; bytes > CHUNK; dst += CHUNK, src += CHUNK, bytes -= CHUNK) {
      memcpy(dst, src, CHUNK);
      uma_mailbox_serve(uma_self.mailbox[FAB_ENGINE]);
    }
  memcpy(dst, src, bytes);
}

static int copy_part(void *dst, const void *src, size_t bytes)
{
  bool to_beyond = is_beyond(dst, bytes), from_beyond = is_beyond(src, bytes);
  /* sockets cannot fill cached pages, so these are bounced, too */
  if ((to_beyond && (from_beyond || uma_is_cached(src, bytes))) || (from_beyond && uma_is_cached(dst, bytes)))
    return copy_by_bounce(dst, src, bytes);
  if (to_beyond) return copy_to_beyond(dst, src, bytes);
  if (from_beyond) return copy_from_beyond(dst, src, bytes);
  copy_near(dst, src, bytes);
  return 0;
}

/* As one copy on the modelled clock, however it is carried out here. */
static int copy_checked(void *dst, const void *src, size_t bytes)
{
  if (uma_self.clock) uma_clock_copy(dst, src, bytes);
  return copy_part(dst, src, bytes);
}

int uma_copy(void *dst, const void *src, size_t bytes)
{
  if (bytes == 0) return 0;
  int result = check_copy(dst, src, bytes);
  return result ? result : copy_checked(dst, src, bytes);
}

static int require_windows(const char *what, const void *global, size_t bytes)
{
  if (uma_range_in_windows(global, bytes, NULL)) return 0;
  return uma_fail(-EFAULT, "%s: %zu bytes at %p do not lie in windows", what, bytes, global);
}

int uma_get_slow_(void *local, const void *global, size_t bytes)
{
  if (bytes == 0) return 0;
  int result = require_windows("uma_get", global, bytes);
  return result ? result : uma_copy(local, global, bytes);
}

int uma_put_slow_(void *global, const void *local, size_t bytes)
{
  if (bytes == 0) return 0;
  int result = require_windows("uma_put", global, bytes);
  return result ? result : uma_copy(global, local, bytes);
}

/* ---- two dimensions */

int uma_copy_2d_check(void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width, size_t height)
{
  size_t dst_bytes, src_bytes;
  if (width == 0 || height == 0) return 0;
  if (dst_pitch < width || src_pitch < width)
    return uma_fail(-EINVAL, "pitches %zu and %zu: expected at least the width, %zu", dst_pitch, src_pitch, width);
  if (__builtin_mul_overflow(dst_pitch, height - 1, &dst_bytes) || __builtin_mul_overflow(src_pitch, height - 1, &src_bytes) ||
      __builtin_add_overflow(dst_bytes, width, &dst_bytes) || __builtin_add_overflow(src_bytes, width, &src_bytes))
    return uma_fail(-EINVAL, "%zu rows with pitches %zu and %zu are more than the address space", height, dst_pitch, src_pitch);
  int result = check_copy(dst, src, 0);
  if (!result) result = check_range("source", src, src_bytes);
  if (!result) result = check_range("destination", dst, dst_bytes);
  uintptr_t to = (uintptr_t)dst, from = (uintptr_t)src;
  if (!result && to < from + src_bytes && from < to + dst_bytes)
    return uma_fail(-EINVAL, "source %p and destination %p overlap in a copy of %zu rows", src, dst, height);
  return result;
}

int uma_copy_2d(void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width, size_t height)
{
  int result = uma_copy_2d_check(dst, dst_pitch, src, src_pitch, width, height);
  if (result || width == 0) return result;
  if (dst_pitch == width && src_pitch == width && height) return copy_checked(dst, src, width * height);
  if (uma_self.clock) uma_clock_copy(dst, src, width * height);
  for (size_t row = 0; row < height && !result; row++)
    result = copy_part((unsigned char *)dst + row * dst_pitch, (const unsigned char *)src + row * src_pitch, width);
  return result;
}

int uma_copy_check(void *dst, const void *src, size_t bytes)
{
  return bytes ? check_copy(dst, src, bytes) : 0;
}
