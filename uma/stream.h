/* The copy engine: one thread a device that carries out what streams hold, and serves requests of other groups (remote.c). */
#ifndef UMA_STREAM_H
#define UMA_STREAM_H

#include <stddef.h>

#include "fabric/fabric.h"

int uma_engine_start(void);  /* if it does not run yet; 0 or -errno */
void uma_engine_drain(void); /* waits for the work that streams hold; nothing if it does not run */
void uma_engine_stop(void);
/* The channel of the calling thread: FAB_ENGINE in the copy engine, FAB_APPLICATION elsewhere. */
enum fab_channel uma_own_channel(void);

/* copy.c: the checks of uma_copy and uma_copy_2d alone; 0 or -errno */
int uma_copy_check(void *dst, const void *src, size_t bytes);
int uma_copy_2d_check(void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width, size_t height);

#endif
