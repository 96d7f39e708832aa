/* Access modes `line` and `page`: windows that are reached through the coherent caches of coherence/engine.h.
 *
 * The engine has an address of its own for the windows' memory (the alias). At their public addresses windows have no access rights in mode
 * `line`, so that a plain access ends with a message instead of reading what is not the newest; in mode `page` the device's frames are there. */
#ifndef UMA_COHERENT_H
#define UMA_COHERENT_H

#include "coherence/engine.h"
#include "uma/session.h"

/* ---- by the launcher */
/* The engine's part of the segment of the group of device `first`: its size (0 where there is none), and its contents. */
size_t uma_coherent_bytes(const struct uma_shape *shape, int first);
int uma_coherent_format(const struct uma_shape *shape, int first, void *area); /* 0 or -EINVAL: the protocol */
/* The file with the frames of that group's devices, in mode `page`; else -1. 0 or -errno. */
int uma_coherent_frames(const struct uma_shape *shape, int first, int *fd);
/* Once all devices have ended: the domain's counters as a table (the header as well for the first domain). */
void uma_coherent_print(int first, int count, struct coh_area *area);
/* The unnamed file that records go to, and in the end the trace at `path`, made from it and the areas, one a domain. 0 or -errno. */
int uma_coherent_spool(const char *path, int *spool);
int uma_coherent_trace(const char *path, int spool, struct coh_area *const *areas, int domains);

/* ---- by a device */
int uma_coherent_join(const struct uma_inheritance *from); /* 0 or -errno with the sentence */
int uma_coherent_serve(void); /* from now on absent pages are brought; once the session is joined. 0 or -errno */
void uma_coherent_leave(void);
/* fork.c: around the copying of a device's process. before, in the one that is copied; then go_on there, and in the copy after_fork, as the
 * device that uma_self names by now. 0 or -errno. How many threads of this process serve faults, which before ends. */
void uma_coherent_before_fork(void);
int uma_coherent_go_on(void);
int uma_coherent_after_fork(void);
int uma_coherent_threads(void);

/* This device is about to wait for others that will use what it has used (pages.h). */
void uma_coherent_release(void);

/* Does any byte lie in a window that is reached through a cache? */
bool uma_is_cached(const void *pointer, size_t bytes);
/* Ranges lie in cached windows. 0, or -EHOSTDOWN: a line was lost with the device that worked on it. */
int uma_cached_get(void *local, const void *global, size_t bytes);
int uma_cached_put(void *global, const void *local, size_t bytes);

/* For the trace: a block was allocated by the call at `site` ("file.c:12", or NULL), or freed, at a moment: after it was taken and before
 * anybody else could know, or before it was given back. 0: now. */
uint64_t uma_coherent_moment(void);
void uma_coherent_allocated(const void *block, size_t bytes, const char *site, uint64_t moment);
void uma_coherent_freed(const void *block, uint64_t moment);

#endif
