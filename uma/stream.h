/* The copy engine: one thread a device that carries out what streams hold, and serves requests of other domains (remote.c). */
#ifndef UMA_STREAM_H
#define UMA_STREAM_H

#include "fabric/fabric.h"

int uma_engine_start(void); /* if it does not run yet; 0 or -errno */
void uma_engine_stop(void); /* after the work that streams hold; nothing if it does not run */
/* The channel of the calling thread: FAB_ENGINE in the copy engine, FAB_APPLICATION elsewhere. */
enum fab_channel uma_own_channel(void);

#endif
