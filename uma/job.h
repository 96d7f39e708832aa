/* A session whose processes a PMIx launcher has started (mpirun, srun, prterun), on one host or several: how they become its devices. */
#ifndef UMA_JOB_H
#define UMA_JOB_H

#include "uma/session.h"

/* Joins the session of the whole job; `config` as for uma_init, device 0's counts. 0 or -errno with the sentence. */
int uma_job_join(const struct uma_config *config);
/* In such a session: everybody brings `bytes` and gets those of all, by device. */
int uma_job_gather(const char *what, const void *mine, size_t bytes, void *all);
bool uma_job_joined(void);
void uma_job_leave(void); /* the last of all */

#endif
