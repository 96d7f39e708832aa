/* Caches of pages: windows that plain loads and stores reach, kept coherent by the engine.
 *
 * Each device has a frame for every page of every window, at the page's offset in its part of one sparse file; that part is mapped at the
 * windows' addresses and registered with userfaultfd. A page that the device's cache does not hold is absent from the file (a hole), or is
 * there but not mapped, and an access to it faults; one that it may only read is mapped write-protected, and a store faults. The thread that
 * faults runs the protocol, as whoever misses does in mode `line`.
 *
 *   state's right    in the file                       in the page table
 *   none             a hole, or data that may be sent   nothing
 *   read             the page                           write-protected, or nothing (second chance, released)
 *   read-write       the page                           writable, or less (the same)
 *
 * Everybody changes anybody's frames: fills its own together with the page table (UFFDIO_COPY), others by pwrite, write-protects through the
 * userfaultfd of the device, revokes by punching a hole, which unmaps the page wherever it is mapped. Each under the frame's lock, so state,
 * file and page table agree when it is free: the page table never allows more than the state. A page that has to leave the page table although it may still be sent is unmapped by its own
 * device, which gives it up; if another device makes it leave, it moves to a second part of the file that is mapped nowhere, the stash.
 *
 * Where accesses are counted a third part holds each page as it was when the device got the right to store to it (tally.h).
 *
 * The engine itself touches the file and aliases of the windows' memory only, never the windows' addresses: it cannot fault.
 *
 * Releasing. To take a right out of the page table of a device that runs, the kernel interrupts its processor and waits, which takes longer than
 * all the rest of a fault. Nobody is interrupted where the page table has given the right up already. So before a device waits at a barrier, it
 * takes out of its own page table, by changes of many pages at once, what it has got since the last one: pages that it wrote are
 * write-protected (or unmapped, if whoever had them next last time wrote), pages that it read are unmapped. States and files stay. Where that
 * was for nothing the next access faults and maps the page again; after the second time the page is left alone until another device has had it.
 *
 * Keeping. Who has just got a page has not done its access yet. Others leave it the page for a moment (COH_KEEP_NS), or two devices that store
 * to one page could take it from each other for ever without a store done.
 *
 * Budget. A device that holds as many pages as it has frames gives one up first: the oldest that was not used since it was looked at last
 * (second chance). Whether a page was used is seen by unmapping it: the next access faults, finds the page still there, and maps it again.
 */
#ifndef COH_PAGES_H
#define COH_PAGES_H

#include <pthread.h>

#include "coherence/engine.h"

enum { COH_PREFETCH_MOST = 64, COH_BUDGET_LEAST = 16, COH_STRIDE_MOST = 1024, COH_KEEP_NS = 10000 };

struct coh_page_config {
  int frames_fd;             /* coh_pages_file_bytes long */
  size_t budget;             /* pages that a device may hold, COH_BUDGET_LEAST or more */
  int prefetch;              /* pages fetched at once when a device reads in order, 1 to COH_PREFETCH_MOST */
  bool thread;               /* faults are served by a thread of their own, also those of the kernel; else in the thread that faults */
  int (*borrow)(int device); /* a descriptor of the device's userfaultfd, which becomes the engine's; -errno when it cannot be had */
};

/* Faults of one kind. */
struct coh_sequence {
  _Atomic uint64_t last_line; /* of the last one, or the last that came along with it; */
  _Atomic uint64_t stride;    /* how far it was from the one before */
};

/* One process's view. */
struct coh_pages {
  struct coh_page_config config;
  _Atomic int uffds[COH_MAX_DEVICES]; /* -1: not borrowed yet */
  atomic_flag queue_lock;
  uint64_t *queue; /* room for every page; those that this device holds or held, the oldest first */
  uint64_t queue_mask, queue_begin, queue_end;
  uint64_t *listed; /* room for every page; those that this device got a right to since it last released; under queue_lock, too */
  _Atomic uint64_t listed_count;    /* also looked at without it */
  struct coh_sequence sequences[2]; /* of loads, of stores */
  pthread_t thread;                 /* that serves faults, when `serves` */
  int wake_fd;                      /* ends it */
  bool serves;
};

size_t coh_pages_file_bytes(const struct coh_shape *shape); /* of the one file with all devices' frames */

/* ---- page_cache.c */
/* Maps this device's frames at the windows' addresses (shape.base), where the address space is reserved. 0; -EPERM userfaultfd is not allowed;
 * -ENOSYS the kernel lacks what it takes; others. */
int coh_pages_open(struct coh_engine *engine, const struct coh_page_config *config);
void coh_pages_close(struct coh_engine *engine);
int coh_pages_descriptor(const struct coh_engine *engine); /* this device's userfaultfd, to be lent to the others */
/* Makes the page at `offset` (from the first window) present with the right. 0 or -EHOSTDOWN: it is lost. */
int coh_pages_fault(struct coh_engine *engine, uint64_t offset, bool write);
int coh_pages_flush(struct coh_engine *engine); /* coh_flush does it */
/* Puts private memory, all zero, in the place of the windows, and takes it away again. Meanwhile nothing here may be called for pages, of which
 * this device must hold none. 0 or -errno, after which there may be nothing at the windows' addresses. */
int coh_pages_hide(struct coh_engine *engine);
int coh_pages_show(struct coh_engine *engine);
/* This device is about to wait for others, which will want what it wrote, or write what it read: takes pages out of its own page table that others
 * would have to take out of it, which is dear while it runs. A hint; any thread. */
void coh_pages_release(struct coh_engine *engine);
/* The same for a range; *present is how many bytes from its beginning are there (and may be gone again at any time). */
int coh_pages_fetch(struct coh_engine *engine, uint64_t offset, size_t bytes, bool write, size_t *present);

/* Has the device got the page so recently that it may not have done its access yet? Then it is left to it for a moment. */
bool coh_pages_keep(const struct coh_engine *engine, int device, uint64_t line);

/* ---- page_fault.c: who serves faults */
/* `lost` is called when a page that a thread needs is lost; it does not return. */
int coh_pages_serve(struct coh_engine *engine, void (*lost)(uintptr_t address, bool write));
void coh_pages_stop(struct coh_engine *engine);

#endif
