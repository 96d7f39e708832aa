/* Access mode `line`: windows that are reached through the coherent caches of coherence/engine.h.
 *
 * The engine has an address of its own for the windows' memory (the alias); at their public addresses windows have no access rights, so
 * that a plain access ends with a message instead of reading what is not the newest. */
#ifndef UMA_COHERENT_H
#define UMA_COHERENT_H

#include "coherence/engine.h"
#include "uma/session.h"

/* ---- by the launcher */
/* The engine's part of a segment of `count` devices from `first`: its size (0 where there is none), and its contents. */
size_t uma_coherent_bytes(const struct uma_shape *shape, int first, int count);
int uma_coherent_format(const struct uma_shape *shape, int first, int count, void *area); /* 0 or -EINVAL: the protocol */
/* Once all devices have ended: the domain's counters as a table (the header as well for the first domain). */
void uma_coherent_print(int first, int count, struct coh_area *area);
/* The unnamed file that records go to, and in the end the trace at `path`, made from it and the areas, one a domain. 0 or -errno. */
int uma_coherent_spool(const char *path, int *spool);
int uma_coherent_trace(const char *path, int spool, struct coh_area *const *areas, int domains);

/* ---- by a device */
int uma_coherent_join(int spool); /* 0 or -ENOMEM */
void uma_coherent_leave(void);
/* fork.c: before a device's process is copied; then, in the copy, as the device that uma_self names by now. 0 or -ENOMEM. */
void uma_coherent_before_fork(void);
int uma_coherent_after_fork(void);

/* Does any byte lie in a window that is reached through a cache? */
bool uma_is_cached(const void *pointer, size_t bytes);
/* Ranges lie in cached windows. 0, or -EHOSTDOWN: a line was lost with the device that worked on it. */
int uma_cached_get(void *local, const void *global, size_t bytes);
int uma_cached_put(void *global, const void *local, size_t bytes);

/* For the trace: a block was allocated by the call at `site` ("file.c:12", or NULL), or freed. */
void uma_coherent_block(bool allocated, const void *block, size_t bytes, const char *site);

#endif
