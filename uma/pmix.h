/* Start-up under any PMIx launcher (mpirun, srun --mpi=pmix, prterun): who belongs to the job, who shares a host, and an exchange of small
 * records between all of them.
 *
 *     struct uma_job job;
 *     uma_pmix_open(&job);
 *     uma_pmix_gather("contact", &mine, sizeof mine, all);       all[rank]
 *     ...
 *     uma_pmix_close();
 *
 * Records are for start-up: all that was ever brought travels again with each exchange. Under Open MPI 4.1 on two processors, 32 processes need
 * 10 ms for one of 1 KiB, and seconds for one of 1 MiB.
 *
 * One thread at a time. Functions return 0 or -errno, with a sentence left by uma_fail. */
#ifndef UMA_PMIX_H
#define UMA_PMIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The processes of the job are ranks 0 ... size - 1. Hosts are numbered by the lowest rank on them: rank 0 is on host 0. */
struct uma_job {
  int rank, size;
  int host, hosts;
  const int *host_of; /* [size]; valid until the process ends */
};

/* Whether a PMIx launcher started this process. Looks at the environment only. */
bool uma_pmix_present(void);

/* Loads libpmix and connects to the launcher. -ELIBACC when the library is missing. Works beside MPI_Init, before or after it: PMIx counts its
 * users. May be called again after uma_pmix_close. */
int uma_pmix_open(struct uma_job *job);

/* Collective: all processes bring `bytes` (the same number, 1 to UMA_PMIX_MOST) and get those of all, [rank * bytes]. `what` names the exchange
 * in errors; all processes make the same exchanges in the same order. */
#define UMA_PMIX_MOST ((size_t)1 << 20) /* a record of 4 MiB ends Open MPI 4.1's mpirun */
int uma_pmix_gather(const char *what, const void *mine, size_t bytes, void *all);

/* Collective. What one process wrote to files or sockets before it is there for all after it. */
int uma_pmix_barrier(void);

/* Says the sentence on standard error, has the launcher end all processes of the job, and ends this one with the status. Any thread. */
_Noreturn void uma_pmix_abort(int status, const char *sentence);

/* From now on this process may exit; while it is open, an exit makes the launcher end the job, as does _exit at any time. */
void uma_pmix_close(void);

/* Numbers hosts: ranks of one host have equal marks, whatever they are. host_of [size] out; returns how many hosts there are. */
int uma_pmix_number_hosts(const uint32_t *mark, int size, int *host_of);

#endif
