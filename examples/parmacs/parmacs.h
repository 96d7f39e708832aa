/* What the macros of uma.m4 expand to: PARMACS on libuma. Includes as little as it can, because old programs use many short names.
 *
 * All objects are declared as unsigned long, so that a declaration needs no header: programs hide them in headers of their own.
 *   lock, barrier          the name of one in the library, 0 before LOCKINIT, BARINIT
 *   pause                  0 or 1
 *   condition variable     how often it was signalled
 *   counter, of GETSUB     [0] a barrier, [1] the next number
 * The last three must lie in G_MALLOC memory. Whatever goes wrong ends the process with a sentence: such programs check nothing. */
#ifndef PARMACS_H
#define PARMACS_H

/* Programs have come to rely on these. */
#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#define PAGE_SIZE 4096

/* MAIN_INITENV: joins the session, and sees to it that exit() leaves it. Programs that make objects before that have it called for them. */
void parmacs_begin(void);
int parmacs_process(void);

/* CREATE: one new process, a copy or one that has rehearsed; or all of `processes`, of which the caller is one. They run the function and exit. */
void parmacs_create(void (*function)(void));
void parmacs_create_all(void (*function)(void), long processes);
void parmacs_wait_for_end(void); /* of all that this process has created */

/* G_MALLOC: in the window of the device `home`, or (home < 0) of all devices by turns; of the others if that is full. */
void *parmacs_malloc(unsigned long bytes, long home);
void parmacs_free(void *block);

void parmacs_lock_create(unsigned long *lock);
void parmacs_lock(const unsigned long *lock);
void parmacs_unlock(const unsigned long *lock);

void parmacs_barrier_create(unsigned long *barrier);
void parmacs_barrier(const unsigned long *barrier, long processes);

void parmacs_pause_set(unsigned long *flag, int set);
void parmacs_pause_wait(const unsigned long *flag);

void parmacs_condition_wait(const unsigned long *condition, const unsigned long *lock);
void parmacs_condition_signal(unsigned long *condition);

/* GETSUB: the next of 0 .. last; when none is left, -1 in all processes at once, and it begins again. */
void parmacs_counter_create(unsigned long *counter);
long parmacs_counter_next(unsigned long *counter, long last, long processes);

unsigned long parmacs_clock_us(void);

#endif
