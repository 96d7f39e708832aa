/* In a session that a PMIx launcher started nobody but its devices knows who of their own host has died: they watch each other. */
#ifndef UMA_WATCH_H
#define UMA_WATCH_H

#include <sys/types.h>

/* Watches the processes of devices [first, first + count) from a thread, until uma_watch_stop: one that ends without having left the session is lost,
 * for all devices of this host. 0: not this one. 0 or -errno with the sentence. */
int uma_watch_start(const pid_t *processes, int first, int count);
void uma_watch_stop(void); /* does nothing where it was not started */

#endif
