/* The frames of page caches: see pages.h for what they are.
 *
 * Frame numbers are page numbers, so line_cache.c finds a page's frame at once, and finding, locking and stepping are the same as for lines.
 * frame->held tells where the page's data is, and what the second chance knows; it is guarded by the frame's lock. The queue of the pages that
 * this device holds is private to its process and guarded by a spin lock, which is taken with a frame locked (a page comes) or without
 * (one is to go), and inside of which nothing is locked. A page that another device took away stays in the queue until its turn comes.
 *
 * Releasing changes the page table after the frame was unlocked, so it may come late, when the page has gone and come back: then the page table
 * allows less than it might, and the next access finds that out. Only allowing more needs the lock. Where several pages are allowed at once
 * (write_around), all their frames are locked, the further ones only if nobody holds them: who holds a lock waits for none.
 *
 * A device that died keeps its frames; only its page table is gone (ESRCH), and with it the need to change it.
 */
#include "coherence/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "coherence/tally.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFDIO_CONTINUE_MODE_WP /* Linux 6.4 */
#define UFFDIO_CONTINUE_MODE_WP ((uint64_t)1 << 1)
#endif
#ifndef USERFAULTFD_IOC_NEW /* Linux 6.1 */
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#define SMALL_PAGE 4096

/* frame->held */
enum {
  IN_FRAME = 1,
  IN_STASH = 2,
  QUEUED = 4,
  USED = 8,
  SHOWN = 16,   /* the data came together with its place in the page table */
  LISTED = 32,  /* among those that this device got since it last released */
  EARLY = 64,   /* released: it is mapped with less than the state's right, or, */
  HIDDEN = 128, /* besides, not at all */
  TAKEN = 256,  /* who had it after this device last time wanted to write */
  MISTAKE = 512 /* how often it was released for nothing since then: this many times MISTAKES_MOST */
};
enum { MISTAKES_MOST = 2, AROUND = 16 };

static void cannot(const char *what, uint64_t line, int error)
{
  fprintf(stderr, "libuma: page %llu: %s: %s\n", (unsigned long long)line, what, strerror(error));
  abort(); /* the page table and the state would differ from here on */
}

static uint64_t line_of(const struct coh_frame *frame)
{
  return atomic_load_explicit(&frame->line_1, memory_order_relaxed) - 1;
}

static int device_of(const struct coh_engine *engine, const struct coh_frame *frame)
{
  return (int)((size_t)(frame - engine->all_frames) / engine->frame_count);
}

static enum coh_right right_of(const struct coh_engine *engine, int state)
{
  return (enum coh_right)engine->protocol->controllers[COH_CACHE].states[state].right;
}

/* ---- The page table of a device ---------------------------------------------------------------------------------- */

static int uffd_of(struct coh_engine *engine, int device)
{
  struct coh_pages *pages = engine->pages;
  int fd = atomic_load_explicit(&pages->uffds[device], memory_order_acquire), none = -1;
  if (fd >= 0) return fd;
  fd = pages->config.borrow(device);
  if (fd < 0) {
    fprintf(stderr, "libuma: the page table of device %d cannot be reached: %s\n", engine->shape.first + device, strerror(-fd));
    abort();
  }
  if (atomic_compare_exchange_strong(&pages->uffds[device], &none, fd)) return fd;
  close(fd); /* another thread was first */
  return none;
}

/* Its process is gone. Is there another one by the same number, which lends its own? Takes the place of the former under the same descriptor,
 * which other threads may be using. */
static bool renew_uffd(struct coh_engine *engine, int device)
{
  int fd = device == engine->me ? -1 : engine->pages->config.borrow(device);
  if (fd < 0) return false;
  dup3(fd, uffd_of(engine, device), O_CLOEXEC);
  close(fd);
  return true;
}

static uintptr_t address_of(const struct coh_engine *engine, uint64_t line)
{
  return engine->base + (line << engine->line_shift);
}

/* A thread that is served by another one sleeps until that has carried out the whole transaction (page_fault.c wakes it). */
static uint64_t asleep(const struct coh_engine *engine, uint64_t mode)
{
  return engine->pages->config.thread ? mode : 0;
}

static void protect(struct coh_engine *engine, int device, uint64_t line, uint64_t count, bool on)
{
  struct uffdio_writeprotect change = {.range = {address_of(engine, line), count << engine->line_shift},
                                       .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : asleep(engine, UFFDIO_WRITEPROTECT_MODE_DONTWAKE)};
  int result, tries = 0;
  while ((result = ioctl(uffd_of(engine, device), UFFDIO_WRITEPROTECT, &change)) &&
         (errno == EAGAIN || (errno == ESRCH && tries++ == 0 && renew_uffd(engine, device))))
    continue;
  if (result && errno != ESRCH && errno != ENOENT) cannot("cannot change its write protection", line, errno);
}

/* Of this device. Parts that are mapped already stay as they are. */
static void map(struct coh_engine *engine, uint64_t line, bool writable)
{
  uintptr_t at = address_of(engine, line), end = at + engine->shape.line_bytes;
  bool partly = false;
  while (at < end) {
    struct uffdio_continue change = {.range = {at, end - at},
                                     .mode = (writable ? 0 : UFFDIO_CONTINUE_MODE_WP) | asleep(engine, UFFDIO_CONTINUE_MODE_DONTWAKE)};
    if (!ioctl(engine->pages->uffds[engine->me], UFFDIO_CONTINUE, &change)) break;
    if (change.mapped > 0) at += (uintptr_t)change.mapped;
    else if (errno == EEXIST) partly = true, at += SMALL_PAGE;
    else if (errno != EAGAIN) cannot("cannot be mapped", line, errno);
  }
  if (partly && writable) protect(engine, engine->me, line, 1, false);
}

/* Out of this device's page table, not out of its frames. */
static void unmap(struct coh_engine *engine, uint64_t line, uint64_t count)
{
  if (madvise((void *)address_of(engine, line), count << engine->line_shift, MADV_DONTNEED)) cannot("cannot be unmapped", line, errno);
}

/* ---- Frames ------------------------------------------------------------------------------------------------------ */

/* Frames, stash, and twins. */
static size_t parts_of(const struct coh_shape *shape)
{
  return shape->tracked ? 3 : 2;
}

size_t coh_pages_file_bytes(const struct coh_shape *shape)
{
  return parts_of(shape) * (size_t)shape->devices * (size_t)shape->devices * shape->window_bytes;
}

/* Where a page is in the file; its place in the stash is engine->bytes further on, and that of its twin once more. */
static off_t place_of(const struct coh_engine *engine, int device, uint64_t line)
{
  return (off_t)(parts_of(&engine->shape) * (size_t)device * engine->bytes + (line << engine->line_shift));
}

static void punch(struct coh_engine *engine, off_t place)
{
  off_t bytes = (off_t)engine->shape.line_bytes;
  int result;
  while ((result = fallocate(engine->pages->config.frames_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, place, bytes)) && errno == EINTR)
    continue;
  if (result) cannot("cannot be given back", (uint64_t)place >> engine->line_shift, errno);
}

static void read_at(struct coh_engine *engine, off_t place, unsigned char *bytes)
{
  for (size_t done = 0; done < engine->shape.line_bytes;) {
    ssize_t got = pread(engine->pages->config.frames_fd, bytes + done, engine->shape.line_bytes - done, place + (off_t)done);
    if (got <= 0 && errno != EINTR) cannot("cannot be read", (uint64_t)place >> engine->line_shift, errno);
    if (got > 0) done += (size_t)got;
  }
}

static void write_at(struct coh_engine *engine, off_t place, const unsigned char *bytes)
{
  for (size_t done = 0; done < engine->shape.line_bytes;) {
    ssize_t put = pwrite(engine->pages->config.frames_fd, bytes + done, engine->shape.line_bytes - done, place + (off_t)done);
    if (put <= 0 && errno != EINTR) cannot("cannot be written; is there no memory left?", (uint64_t)place >> engine->line_shift, errno);
    if (put > 0) done += (size_t)put;
  }
}

static _Atomic uint64_t *resident_of(struct coh_engine *engine, int device)
{
  return &(engine->clock + (device - engine->me))->resident;
}

static void set_held(struct coh_engine *engine, struct coh_frame *frame, int device, uint32_t held)
{
  uint32_t both = IN_FRAME | IN_STASH;
  if (held & both && !(frame->held & both)) atomic_fetch_add(resident_of(engine, device), 1);
  if (!(held & both) && frame->held & both) atomic_fetch_sub(resident_of(engine, device), 1);
  frame->held = held;
}

static void drop_stash(struct coh_engine *engine, struct coh_frame *frame, int device, uint64_t line)
{
  if (!(frame->held & IN_STASH)) return;
  punch(engine, place_of(engine, device, line) + (off_t)engine->bytes);
  set_held(engine, frame, device, frame->held & ~(uint32_t)IN_STASH);
}

static void drop_frame(struct coh_engine *engine, struct coh_frame *frame, int device, uint64_t line)
{
  if (!(frame->held & IN_FRAME)) return;
  punch(engine, place_of(engine, device, line));
  set_held(engine, frame, device, frame->held & ~(uint32_t)IN_FRAME);
}

/* Between the frame and the stash. */
static void copy_aside(struct coh_engine *engine, off_t from, off_t to)
{
  unsigned char *buffer = coh_buffer_take(engine);
  read_at(engine, from, buffer);
  write_at(engine, to, buffer);
  coh_buffer_give(engine, buffer);
}

/* ---- The queue of pages that this device holds -------------------------------------------------------------------- */

static void lock_queue(struct coh_pages *pages)
{
  struct coh_patience patience = {0};
  while (atomic_flag_test_and_set_explicit(&pages->queue_lock, memory_order_acquire)) coh_wait_turn(&patience);
}

static void unlock_queue(struct coh_pages *pages)
{
  atomic_flag_clear_explicit(&pages->queue_lock, memory_order_release);
}

static void enqueue(struct coh_pages *pages, uint64_t line)
{
  lock_queue(pages);
  pages->queue[pages->queue_end++ & pages->queue_mask] = line; /* each page at most once, and there is room for all */
  unlock_queue(pages);
}

static bool dequeue(struct coh_pages *pages, uint64_t *line)
{
  lock_queue(pages);
  bool any = pages->queue_begin != pages->queue_end;
  if (any) *line = pages->queue[pages->queue_begin++ & pages->queue_mask];
  unlock_queue(pages);
  return any;
}

static uint32_t mistakes_of(const struct coh_frame *frame)
{
  return frame->held / MISTAKE;
}

/* This device got a right, which it gives up early when it releases, unless that was for nothing before. */
static void list(struct coh_pages *pages, struct coh_frame *frame)
{
  if (frame->held & LISTED || mistakes_of(frame) == MISTAKES_MOST) return;
  frame->held |= LISTED;
  lock_queue(pages);
  pages->listed[atomic_fetch_add_explicit(&pages->listed_count, 1, memory_order_relaxed)] = line_of(frame);
  unlock_queue(pages);
}

static bool unlist(struct coh_pages *pages, uint64_t *line)
{
  lock_queue(pages);
  bool any = atomic_load_explicit(&pages->listed_count, memory_order_relaxed);
  if (any) *line = pages->listed[atomic_fetch_sub_explicit(&pages->listed_count, 1, memory_order_relaxed) - 1];
  unlock_queue(pages);
  return any;
}

/* What could not go now comes again. */
static void requeue(struct coh_engine *engine, uint64_t line)
{
  struct coh_frame *frame = coh_frame_find(engine, engine->me, line);
  if (!frame) return;
  if (frame->held & (IN_FRAME | IN_STASH) && !(frame->held & QUEUED)) {
    frame->held |= QUEUED;
    enqueue(engine->pages, line);
  }
  coh_frame_unlock(engine, frame);
}

/* Looks at the oldest page: it goes, or gets another chance. False when there is none. */
static bool look_at_oldest(struct coh_engine *engine)
{
  uint64_t line;
  if (!dequeue(engine->pages, &line)) return false;
  struct coh_frame *frame = coh_frame_find(engine, engine->me, line);
  if (!frame) return true;
  bool used = frame->held & USED, held = frame->held & IN_FRAME && right_of(engine, frame->entry.state) > COH_RIGHT_NONE;
  frame->held &= ~(uint32_t)(USED | (held && used ? 0 : QUEUED));
  if (held && used) {
    unmap(engine, line, 1);
    enqueue(engine->pages, line);
  }
  coh_frame_unlock(engine, frame);
  if (!held || used) return true;
  if (coh_evict(engine, line)) requeue(engine, line);
  return true;
}

/* As many looks as there are pages, twice, find one that can go, unless all are at work. */
static void make_room(struct coh_engine *engine)
{
  struct coh_pages *pages = engine->pages;
  uint64_t resident = atomic_load_explicit(resident_of(engine, engine->me), memory_order_relaxed);
  for (uint64_t looks = 2 * resident + 2; looks && resident >= pages->config.budget; looks--) {
    if (!look_at_oldest(engine)) return;
    resident = atomic_load_explicit(resident_of(engine, engine->me), memory_order_relaxed);
  }
}

int coh_pages_flush(struct coh_engine *engine)
{
  struct coh_patience patience = {0};
  uint64_t line;
  int first = 0;
  while (dequeue(engine->pages, &line)) {
    struct coh_frame *frame = coh_frame_find(engine, engine->me, line);
    if (!frame) continue;
    frame->held &= ~(uint32_t)(USED | QUEUED);
    coh_frame_unlock(engine, frame);
    int result;
    while ((result = coh_evict(engine, line)) == -EAGAIN) coh_wait_turn(&patience);
    if (result && !first) first = result;
  }
  return first;
}

/* ---- Releasing ---------------------------------------------------------------------------------------------------- */

/* Pages next to each other that the page table shall do the same with. */
struct stretch {
  uint64_t first, count;
  bool hide; /* unmap; else write-protect */
};

static void release_stretch(struct coh_engine *engine, struct stretch *stretch)
{
  if (stretch->count && stretch->hide) unmap(engine, stretch->first, stretch->count);
  else if (stretch->count) protect(engine, engine->me, stretch->first, stretch->count, true);
  stretch->count = 0;
}

static void release_page(struct coh_engine *engine, uint64_t line, struct stretch *stretch)
{
  struct coh_frame *frame = coh_frame_find(engine, engine->me, line);
  if (!frame) return;
  enum coh_right right = right_of(engine, frame->entry.state);
  bool hide = right == COH_RIGHT_READ || frame->held & TAKEN;
  frame->held &= ~(uint32_t)LISTED;
  if (right > COH_RIGHT_NONE) frame->held |= hide ? EARLY | HIDDEN : EARLY;
  coh_frame_unlock(engine, frame);
  if (right == COH_RIGHT_NONE) return;
  bool before = line + 1 == stretch->first, after = line == stretch->first + stretch->count;
  if (stretch->hide != hide || !(before || after)) release_stretch(engine, stretch);
  *stretch = (struct stretch){stretch->count && after ? stretch->first : line, stretch->count + 1, hide};
}

void coh_pages_release(struct coh_engine *engine)
{
  struct coh_pages *pages = engine->pages;
  struct stretch stretch = {0};
  sigset_t all, before;
  uint64_t line;
  if (!atomic_load_explicit(&pages->listed_count, memory_order_relaxed)) return;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before); /* or a signal's handler could fault while this thread holds a lock */
  while (unlist(pages, &line)) release_page(engine, line, &stretch);
  release_stretch(engine, &stretch);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- What a step does -------------------------------------------------------------------------------------------- */

static void keep_twin(struct coh_engine *engine, off_t place)
{
  copy_aside(engine, place, place + 2 * (off_t)engine->bytes);
}

static void compare_with_twin(struct coh_engine *engine, int device, uint64_t line)
{
  unsigned char *before = coh_buffer_take(engine), *after = coh_buffer_take(engine);
  off_t place = place_of(engine, device, line), twin = place + 2 * (off_t)engine->bytes;
  read_at(engine, twin, before);
  read_at(engine, place, after);
  coh_tally_changes(engine, line, device, before, after);
  punch(engine, twin);
  coh_buffer_give(engine, before);
  coh_buffer_give(engine, after);
}

static bool holds_data(const struct coh_engine *engine, int state)
{
  return engine->protocol->controllers[COH_CACHE].states[state].holds_data;
}

/* A page that this device gives up, and that may still be sent meanwhile, only leaves the page table. */
static void page_retract(struct coh_engine *engine, struct coh_frame *frame, int from, int to)
{
  enum coh_right before = right_of(engine, from), after = right_of(engine, to);
  int device = device_of(engine, frame);
  if (after >= before) return;
  if (device != engine->me) frame->held = (frame->held & (TAKEN - 1) & ~(uint32_t)EARLY) | (after == COH_RIGHT_NONE ? TAKEN : 0);
  if (device == engine->me && after == COH_RIGHT_NONE && holds_data(engine, to)) unmap(engine, line_of(frame), 1);
  else if (before == COH_RIGHT_WRITE) protect(engine, device, line_of(frame), 1, true);
  if (before == COH_RIGHT_WRITE && engine->tally) compare_with_twin(engine, device, line_of(frame));
}

/* Data and place in the page table at once, where both are absent. False when a part was there. */
static bool show(struct coh_engine *engine, uint64_t line, const unsigned char *bytes, bool writable)
{
  size_t done = 0;
  while (done < engine->shape.line_bytes) {
    struct uffdio_copy copy = {.dst = address_of(engine, line) + done,
                               .src = (uintptr_t)bytes + done,
                               .len = engine->shape.line_bytes - done,
                               .mode = (writable ? 0 : UFFDIO_COPY_MODE_WP) | asleep(engine, UFFDIO_COPY_MODE_DONTWAKE)};
    if (!ioctl(engine->pages->uffds[engine->me], UFFDIO_COPY, &copy)) return true;
    if (copy.copy > 0) done += (size_t)copy.copy;
    else if (errno == EEXIST) return false;
    else if (errno != EAGAIN) cannot("cannot be filled; is there no memory left?", line, errno);
  }
  return true;
}

static void page_fill(struct coh_engine *engine, struct coh_frame *frame, const unsigned char *bytes, int to)
{
  int device = device_of(engine, frame);
  uint64_t line = line_of(frame);
  bool mine = device == engine->me, now = mine && !(frame->held & (IN_FRAME | IN_STASH)) && right_of(engine, to) > COH_RIGHT_NONE;
  if (now && show(engine, line, bytes, right_of(engine, to) == COH_RIGHT_WRITE)) frame->held |= SHOWN;
  else write_at(engine, place_of(engine, device, line), bytes);
  set_held(engine, frame, device, frame->held | IN_FRAME);
  drop_stash(engine, frame, device, line);
  if (!mine || frame->held & QUEUED) return;
  frame->held |= QUEUED;
  enqueue(engine->pages, line);
}

static void page_copy_out(struct coh_engine *engine, struct coh_frame *frame, unsigned char *bytes)
{
  int device = device_of(engine, frame);
  off_t place = place_of(engine, device, line_of(frame)) + (frame->held & IN_STASH ? (off_t)engine->bytes : 0);
  if (frame->held & (IN_FRAME | IN_STASH)) read_at(engine, place, bytes);
  else memset(bytes, 0, engine->shape.line_bytes); /* a broken protocol sends what it has not */
}

static bool is_only_protected(const struct coh_engine *engine, const struct coh_frame *frame)
{
  return frame->held & EARLY && !(frame->held & HIDDEN) && right_of(engine, frame->entry.state) == COH_RIGHT_WRITE;
}

/* It was released for nothing, as this device is the first to use it again. */
static void note_mistake(struct coh_engine *engine, struct coh_frame *frame)
{
  frame->held = (frame->held & ~(uint32_t)(EARLY | HIDDEN)) + (mistakes_of(frame) < MISTAKES_MOST ? MISTAKE : 0);
  list(engine->pages, frame);
}

/* The page may be stored to again, and so may those close behind it of which the same is true. Several frames are locked at once then, but none
 * is waited for. */
static void write_around(struct coh_engine *engine, uint64_t line)
{
  struct coh_frame *frames[AROUND] = {0};
  uint64_t first = line, end = line + 1;
  for (uint64_t i = 1; i < AROUND; i++) {
    frames[i] = coh_frame_try(engine, engine->me, line + i);
    if (!frames[i] || !is_only_protected(engine, frames[i])) continue;
    note_mistake(engine, frames[i]);
    if (line + i != end) {
      protect(engine, engine->me, first, end - first, false);
      first = line + i;
    }
    end = line + i + 1;
  }
  protect(engine, engine->me, first, end - first, false);
  for (int i = 1; i < AROUND; i++)
    if (frames[i]) coh_frame_unlock(engine, frames[i]);
}

/* An access to a page that is held already: it was not mapped, for a second chance, or another thread was first. */
static void page_perform(struct coh_engine *engine, struct coh_frame *frame, struct coh_access *access)
{
  enum coh_right right = right_of(engine, frame->entry.state);
  if (right < (access->input == COH_STORE ? COH_RIGHT_WRITE : COH_RIGHT_READ)) return; /* grant will do it */
  bool only_protected = is_only_protected(engine, frame);
  if (frame->held & EARLY) note_mistake(engine, frame);
  if (only_protected) write_around(engine, line_of(frame));
  else map(engine, line_of(frame), right == COH_RIGHT_WRITE);
  frame->held |= USED;
}

/* It leaves the page table; its data stays while it may still be sent: in the frame when this is the device's own process, which has
 * unmapped it (retract). */
static void withdraw(struct coh_engine *engine, struct coh_frame *frame, int device, int to)
{
  uint64_t line = line_of(frame);
  off_t place = place_of(engine, device, line);
  if (holds_data(engine, to) && device == engine->me) return;
  if (holds_data(engine, to) && frame->held & IN_FRAME) {
    copy_aside(engine, place, place + (off_t)engine->bytes);
    set_held(engine, frame, device, frame->held | IN_STASH);
  }
  drop_frame(engine, frame, device, line);
}

static void page_grant(struct coh_engine *engine, struct coh_frame *frame, int from, int to)
{
  enum coh_right before = right_of(engine, from), after = right_of(engine, to);
  int device = device_of(engine, frame);
  uint64_t line = line_of(frame);
  if (before > COH_RIGHT_NONE && after == COH_RIGHT_NONE) withdraw(engine, frame, device, to);
  if (!holds_data(engine, to)) {
    drop_frame(engine, frame, device, line);
    drop_stash(engine, frame, device, line);
  }
  if (after <= before) return;
  if (frame->held & IN_STASH) {
    off_t place = place_of(engine, device, line);
    copy_aside(engine, place + (off_t)engine->bytes, place);
    set_held(engine, frame, device, frame->held | IN_FRAME);
    drop_stash(engine, frame, device, line);
  }
  if (after == COH_RIGHT_WRITE && engine->tally) keep_twin(engine, place_of(engine, device, line));
  if (device != engine->me) return; /* it maps the page when it faults */
  if (before == COH_RIGHT_READ && !(frame->held & HIDDEN)) protect(engine, engine->me, line, 1, false);
  else if (!(frame->held & SHOWN)) map(engine, line, after == COH_RIGHT_WRITE);
  frame->held = (frame->held & ~(uint32_t)(SHOWN | EARLY | HIDDEN)) | USED;
  atomic_store_explicit(&frame->used, fab_now_ns(), memory_order_relaxed);
  list(engine->pages, frame);
}

const struct coh_cache_ops coh_page_ops = {page_retract, page_fill, page_copy_out, page_perform, page_grant};

bool coh_pages_keep(const struct coh_engine *engine, int device, uint64_t line)
{
  const struct coh_frame *frame = engine->all_frames + (size_t)device * engine->frame_count + line;
  uint64_t since_ns = atomic_load_explicit(&frame->used, memory_order_relaxed);
  return since_ns && fab_now_ns() - since_ns < COH_KEEP_NS;
}

/* ---- Faults ------------------------------------------------------------------------------------------------------ */

static int touch(struct coh_engine *engine, uint64_t offset, bool write)
{
  struct coh_access access = {
      .input = write ? COH_STORE : COH_LOAD, .deed = COH_TOUCH, .offset = (uint32_t)(offset & engine->line_mask & ~7ull), .bytes = 8};
  make_room(engine);
  return coh_access_line(engine, offset >> engine->line_shift, &access);
}

static bool is_absent(struct coh_engine *engine, uint64_t line)
{
  const struct coh_frame *frame = engine->frames + line;
  return atomic_load_explicit(&frame->line_1, memory_order_relaxed) != line + 1 ||
         __atomic_load_n(&frame->entry.state, __ATOMIC_RELAXED) == 0;
}

/* After the third fault of a kind at equal distances the next pages come along, up to the end of the window: to read what is absent, to write what
 * this device may read. What cannot be had is left to its own fault. */
static void fetch_ahead(struct coh_engine *engine, uint64_t line, bool write)
{
  struct coh_pages *pages = engine->pages;
  struct coh_sequence *sequence = &pages->sequences[write];
  uint64_t stride = line - atomic_exchange_explicit(&sequence->last_line, line, memory_order_relaxed);
  bool in_order = atomic_exchange_explicit(&sequence->stride, stride, memory_order_relaxed) == stride;
  uint64_t end = (line / engine->window_lines + 1) * engine->window_lines, next = line + stride;
  if (!in_order || !stride || stride > COH_STRIDE_MOST) return;
  for (int i = 1; i < pages->config.prefetch && next < end; i++, next += stride) {
    if (write ? coh_frame_right(engine, engine->me, next) != COH_RIGHT_READ : !is_absent(engine, next)) break;
    if (touch(engine, next << engine->line_shift, write)) return;
    if (engine->tally && !write) coh_tally_prefetch(engine);
  }
  atomic_store_explicit(&sequence->last_line, next - stride, memory_order_relaxed);
}

int coh_pages_fault(struct coh_engine *engine, uint64_t offset, bool write)
{
  int result = touch(engine, offset, write);
  if (!result) fetch_ahead(engine, offset >> engine->line_shift, write);
  return result;
}

int coh_pages_fetch(struct coh_engine *engine, uint64_t offset, size_t bytes, bool write, size_t *present)
{
  uint64_t end = offset + bytes, at = offset;
  int result = 0;
  while (at < end && !(result = touch(engine, at, write))) at = (at | engine->line_mask) + 1;
  *present = (at < end ? at : end) - offset;
  return result;
}

/* ---- Beginning and end ------------------------------------------------------------------------------------------- */

static int map_frames(struct coh_engine *engine)
{
  struct coh_pages *pages = engine->pages;
  off_t mine = place_of(engine, engine->me, 0);
  int fd = pages->config.frames_fd, sharing = MAP_SHARED | MAP_NORESERVE;
  void *windows = mmap((void *)engine->base, engine->bytes, PROT_READ | PROT_WRITE, sharing | MAP_FIXED, fd, mine);
  if (windows == MAP_FAILED) return -errno;
  /* A process that this one forks has no userfaultfd: it would read and write frames behind the protocol's back. */
  return madvise(windows, engine->bytes, MADV_DONTFORK) ? -errno : 0;
}

/* Faults of the kernel are served for the privileged only: those whom the system call allows it, or the device. */
static int create_uffd(bool for_kernel)
{
  int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | (for_kernel ? 0 : UFFD_USER_MODE_ONLY)), error = errno;
  if (fd >= 0) return fd;
  int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  if (device < 0) return -error;
  fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
  close(device);
  return fd >= 0 ? fd : -error;
}

static int register_windows(const struct coh_engine *engine)
{
  struct uffdio_register range = {.range = {engine->base, engine->bytes},
                                  .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP};
  if (!ioctl(engine->pages->uffds[engine->me], UFFDIO_REGISTER, &range)) return 0;
  return errno == EINVAL ? -ENOSYS : -errno;
}

static int open_uffd(struct coh_engine *engine)
{
  struct coh_pages *pages = engine->pages;
  int fd = create_uffd(pages->config.thread);
  if (fd < 0) return fd;
  pages->uffds[engine->me] = fd;
  struct uffdio_api api = {.api = UFFD_API,
                           .features = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
                                       UFFD_FEATURE_WP_HUGETLBFS_SHMEM | (pages->config.thread ? 0 : UFFD_FEATURE_SIGBUS)};
  if (ioctl(fd, UFFDIO_API, &api)) return errno == EINVAL ? -ENOSYS : -errno;
  return register_windows(engine);
}

int coh_pages_hide(struct coh_engine *engine)
{
  int kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  return mmap((void *)engine->base, engine->bytes, PROT_READ | PROT_WRITE, kind, -1, 0) == MAP_FAILED ? -errno : 0;
}

int coh_pages_show(struct coh_engine *engine)
{
  int result = map_frames(engine);
  return result ? result : register_windows(engine);
}

static int open_queue(struct coh_engine *engine)
{
  struct coh_pages *pages = engine->pages;
  size_t room = 1;
  while (room < engine->bytes >> engine->line_shift) room *= 2;
  void *queue = mmap(NULL, 2 * room * sizeof *pages->queue, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (queue == MAP_FAILED) return -errno;
  pages->queue = queue;
  pages->queue_mask = room - 1;
  pages->listed = pages->queue + room;
  return 0;
}

int coh_pages_open(struct coh_engine *engine, const struct coh_page_config *config)
{
  struct coh_pages *pages = calloc(1, sizeof *pages);
  if (!pages) return -ENOMEM;
  pages->config = *config;
  if (config->budget < engine->capacity) engine->capacity = config->budget;
  for (int d = 0; d < COH_MAX_DEVICES; d++) pages->uffds[d] = -1;
  engine->pages = pages;
  engine->ops = &coh_page_ops;
  int result = open_queue(engine);
  if (!result) result = map_frames(engine);
  if (!result) result = open_uffd(engine);
  if (result) coh_pages_close(engine);
  return result;
}

void coh_pages_close(struct coh_engine *engine)
{
  struct coh_pages *pages = engine->pages;
  for (int d = 0; d < COH_MAX_DEVICES; d++)
    if (pages->uffds[d] >= 0) close(pages->uffds[d]);
  if (pages->queue) munmap(pages->queue, 2 * (pages->queue_mask + 1) * sizeof *pages->queue);
  free(pages);
  engine->pages = NULL;
}

int coh_pages_descriptor(const struct coh_engine *engine)
{
  return engine->pages->uffds[engine->me];
}
