/* Page faults of two devices served by nothing but the kernel operations that no cache of pages can do without: what access mode `page` is
 * compared with. Each device has frames in one file, mapped and registered with a userfaultfd in SIGBUS mode; there is no protocol, no
 * directory and no lock, because only one device touches pages at a time and knows what each access needs. */
#ifndef BENCH_BARE_H
#define BENCH_BARE_H

#include <stdbool.h>
#include <stddef.h>

/* What the handler does about a fault of this device. */
enum bare_deed {
  BARE_READ,    /* a page from home, write-protected */
  BARE_WRITE,   /* a page from home, writable */
  BARE_UPGRADE, /* the page is there, write-protected: no longer */
  BARE_TURN,    /* the page from the other device, which loses it */
};

struct bare {
  size_t page, bytes;
  unsigned char *home; /* shared by both devices */
  size_t home_bytes; /* all of them; or less, which stands for every page: what has come by a network always lies where the last one did */
  int frames;        /* a file with room for both devices' pages */
  int channel[2];    /* by device: a socket to the other */
  unsigned char *window;
  unsigned char *spare; /* room for a page on its way */
  int uffds[2];
};

/* May this process serve faults of its own accesses, and with `thread` those of the kernel? */
bool bare_allowed(bool thread);

/* Before the devices are started, and after they ended. 0, or -EIO after bench_fail. */
int bare_open(struct bare *bare, size_t page, size_t count);
void bare_close(struct bare *bare);

/* In devices 0 and 1, both: maps the window; the mappings end with the device. Ends it on an error. */
void bare_join(struct bare *bare);
/* From now on faults are served like this; bare_rest gives SIGBUS back to who had it before. */
void bare_serve(struct bare *bare, enum bare_deed deed);
void bare_rest(void);
void bare_drop(struct bare *bare); /* this device holds no page any more */
/* This device's own page at byte `at`, which it may write, is copied to `page`: it may only read it from now on, or has it no more. */
void bare_share(const struct bare *bare, size_t at, void *page);
void bare_yield(const struct bare *bare, size_t at, void *page);

#endif
