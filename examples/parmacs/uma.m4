/* divert(-1)m4_divert(-1)
PARMACS on libuma: classic shared-memory programs run on devices, unchanged.

    m4 uma.m4 program.c.in > program.c      (or m4 -P, as Splash-4 wants it)
    cc -Iexamples/parmacs program.c -Lbuild -lparmacs -luma -lm
    uma run -n N --create ./program ...     with N at least the number of processes that the program is told

or, over several hosts, with all N processes from the beginning:

    mpirun -x UMA_COHERENCE=page --host A:2,B:2 ./program ...
    uma run -n N --hosts H --coherence page ./program ...

A process is a device, and CREATE copies the calling one: what was set before it, globals too, is seen by the new process, what is set
later is not; what all are to see lies in G_MALLOC memory, at one address everywhere. A program made for threads, which changes globals
after CREATE for all to see, computes something else.

Where all processes exist from the beginning nothing can be copied. There every process runs main() by itself: the first for good, the others
as a rehearsal, which ends at the CREATE that is theirs. Until then they get the same addresses, locks and barriers as the first one, but
private memory in their place, and from MAIN_INITENV on their output goes nowhere. So what main() sets before CREATE is the same
everywhere, and what it writes into G_MALLOC memory the first process alone writes. For that a program must keep to these rules:
  - until CREATE main() does the same in every process: it does not depend on time, process numbers, addresses of its own, or random
    numbers without a fixed seed, does not read standard input, and writes no files
  - main() creates processes before it waits for any of them, or for a lock, and only once; only main() creates processes
  - there are at least as many devices as processes; those that are left over exit
Who breaks the first rule is told so when the order of G_MALLOC, LOCKINIT, BARINIT, CREATE differs.

    MAIN_ENV EXTERN_ENV             the header parmacs.h
    MAIN_INITENV(...) MAIN_END      uma_init; exit(0), with uma_finalize on the way
    CREATE(f)                       uma_fork, or the end of a rehearsal; the new process calls f and exits
    CREATE(f, p)                    that p - 1 times, then the caller calls f too
    WAIT_FOR_END(p)                 uma_wait_device, or a message, for all that this process has created, whatever p is
    G_MALLOC(n) G_MALLOC(n, home)   uma_memalign_on the devices by turns, or on one; whole pages from one page on, else cache lines
    NU_MALLOC(n, home)              the same; also G_MALLOC_F, NU_MALLOC_F, which are expressions; G_FREE NU_FREE: uma_free
    LOCKDEC LOCKINIT LOCK UNLOCK    struct uma_lock, outside of the windows; also NLOCK...
    ALOCKDEC(a, n) ALOCKINIT ALOCK(a, i) AULOCK AGETL    an array of them
    BARDEC BARINIT BARRIER(b, p)    struct uma_barrier, likewise, among p processes
    PAUSEDEC PAUSEINIT SETPAUSE CLEARPAUSE WAITPAUSE     uma_signal and uma_wait_until on a word in G_MALLOC memory
    CONDVARDEC CONDVARINIT CONDVARWAIT(c, l) CONDVARSIGNAL CONDVARBCAST    the same on a count; a signal wakes all, who look again
    GSDEC GSINIT GETSUB(s, sub, last, p)    uma_fetch_add; -1 for all p processes together once it is used up; also NU_GS...
    CLOCK(t) GET_PID(i) GET_HOME(i)         microseconds; uma_device
    RELEASE_FENCE ACQUIRE_FENCE FULL_FENCE  the processor's
    FETCH_ADD FETCH_SUB FETCH_ADD_DOUBLE LOAD STORE CAS    the processor's atomics (Splash-4; the first three end with a semicolon, as G_MALLOC does)
    NEWPROC BAREXCLUDE BARINCLUDE EVENT PAUSE SET_HOME ST_LOG SPLASH3_ROI... AUG_... TRACE_... and their kind    nothing

Monitors (MONINIT, MENTER, ...) are not defined. A macro with arguments is one only where a parenthesis follows its name.

This comment opens and closes in the output. With -P the names of builtin macros begin with m4_: the two that are used get names of their own.
define(`uma_define', defn(`define'))define(`uma_ifelse', defn(`ifelse'))
m4_define(`uma_define', m4_defn(`m4_define'))m4_define(`uma_ifelse', m4_defn(`m4_ifelse'))

NAME(...) is BODY, NAME without a parenthesis is itself:
uma_define(`uma_macro', `uma_define(`$1', `uma_ifelse($'`#, 0, ``$1'', `$2')')')

uma_define(`MAIN_ENV', `
#include "parmacs.h"
')
uma_define(`EXTERN_ENV', `
#include "parmacs.h"
')
uma_define(`MAIN_INITENV', `{parmacs_begin();}')
uma_define(`MAIN_END', `{exit(0);}')

uma_macro(`CREATE', `{uma_ifelse(`$2', `', `parmacs_create((void (*)(void))($1));',
  `parmacs_create_all((void (*)(void))($1), ($2));')}')
uma_define(`WAIT_FOR_END', `{parmacs_wait_for_end();}')

uma_macro(`G_MALLOC_F', `parmacs_malloc(($1), uma_ifelse(`$2', `', `-1', `($2)'))')
uma_macro(`G_MALLOC', `G_MALLOC_F(`$1', `$2');')
uma_macro(`NU_MALLOC_F', `G_MALLOC_F(`$1', `$2')')
uma_macro(`NU_MALLOC', `G_MALLOC_F(`$1', `$2');')
uma_macro(`G_FREE', `{parmacs_free($1);}')
uma_macro(`NU_FREE', `{parmacs_free($1);}')

uma_macro(`LOCKDEC', `unsigned long $1;')
uma_macro(`LOCKINIT', `{parmacs_lock_create(&($1));}')
uma_macro(`LOCK', `{parmacs_lock(&($1));}')
uma_macro(`UNLOCK', `{parmacs_unlock(&($1));}')
uma_macro(`NLOCKDEC', `unsigned long $1;')
uma_macro(`NLOCKINIT', `{parmacs_lock_create(&($1));}')
uma_macro(`NLOCK', `{parmacs_lock(&($1));}')
uma_macro(`NUNLOCK', `{parmacs_unlock(&($1));}')

uma_macro(`ALOCKDEC', `unsigned long $1[$2];')
uma_macro(`ALOCKINIT', `{ long parmacs_i; for (parmacs_i = 0; parmacs_i < ($2); parmacs_i++) parmacs_lock_create(&($1)[parmacs_i]); }')
uma_macro(`AGETL', `(($1)[$2])')
uma_macro(`ALOCK', `{parmacs_lock(&($1)[$2]);}')
uma_macro(`AULOCK', `{parmacs_unlock(&($1)[$2]);}')

uma_macro(`BARDEC', `unsigned long $1;')
uma_macro(`BARINIT', `{parmacs_barrier_create(&($1));}')
uma_macro(`BARRIER', `{parmacs_barrier(&($1), ($2));}')

uma_macro(`PAUSEDEC', `unsigned long $1;')
uma_macro(`PAUSEINIT', `{parmacs_pause_set(&($1), 0);}')
uma_macro(`SETPAUSE', `{parmacs_pause_set(&($1), 1);}')
uma_macro(`CLEARPAUSE', `{parmacs_pause_set(&($1), 0);}')
uma_macro(`WAITPAUSE', `{parmacs_pause_wait(&($1));}')

uma_macro(`CONDVARDEC', `unsigned long $1;')
uma_macro(`CONDVARINIT', `{($1) = 0;}')
uma_macro(`CONDVARWAIT', `{parmacs_condition_wait(&($1), &($2));}')
uma_macro(`CONDVARSIGNAL', `{parmacs_condition_signal(&($1));}')
uma_macro(`CONDVARBCAST', `{parmacs_condition_signal(&($1));}')

uma_macro(`GSDEC', `unsigned long $1[2];')
uma_macro(`GSINIT', `{parmacs_counter_create($1);}')
uma_macro(`GETSUB', `{($2) = parmacs_counter_next(($1), ($3), ($4));}')
uma_macro(`NU_GSDEC', `unsigned long $1[2];')
uma_macro(`NU_GSINIT', `{parmacs_counter_create($1);}')
uma_macro(`NU_GETSUB', `{($2) = parmacs_counter_next(($1), ($3), ($4));}')

uma_macro(`CLOCK', `{($1) = parmacs_clock_us();}')
uma_macro(`GET_PID', `{($1) = parmacs_process();}')
uma_macro(`GET_HOME', `{($1) = parmacs_process();}')

uma_define(`RELEASE_FENCE', `{atomic_thread_fence(memory_order_release);}')
uma_define(`ACQUIRE_FENCE', `{atomic_thread_fence(memory_order_acquire);}')
uma_define(`FULL_FENCE', `{atomic_thread_fence(memory_order_seq_cst);}')

uma_macro(`FETCH_ADD', `atomic_fetch_add(&($1), ($2));')
uma_macro(`FETCH_SUB', `atomic_fetch_sub(&($1), ($2));')
uma_macro(`FETCH_ADD_DOUBLE', `__extension__({ double parmacs_old = atomic_load($1);
  while (!atomic_compare_exchange_weak(($1), &parmacs_old, parmacs_old + ($2))) continue;
  parmacs_old; });')
uma_macro(`LOAD', `atomic_load(&($1))')
uma_macro(`STORE', `atomic_store(&($1), ($2))')
uma_macro(`CAS', `atomic_compare_exchange_weak(&($1), &($2), ($3))')

uma_macro(`NEWPROC', `')
uma_macro(`BAREXCLUDE', `{;}')
uma_macro(`BARINCLUDE', `{;}')
uma_macro(`EVENT', `{;}')
uma_macro(`PAUSE', `{;}')
uma_macro(`SET_HOME', `{;}')
uma_macro(`ST_LOG', `{;}')
uma_macro(`AUG_DELAY', `{;}')
uma_macro(`AUG_SET_LOLIMIT', `;')
uma_macro(`AUG_SET_HILIMIT', `;')
uma_define(`SPLASH3_ROI_BEGIN', `')
uma_define(`SPLASH3_ROI_END', `')
uma_define(`SPLASH4_ROI_BEGIN', `')
uma_define(`SPLASH4_ROI_END', `')
uma_define(`AUG_ON', ` ')
uma_define(`AUG_OFF', ` ')
uma_define(`TRACE_ON', ` ')
uma_define(`TRACE_OFF', ` ')
uma_define(`REF_TRACE_ON', ` ')
uma_define(`REF_TRACE_OFF', ` ')
uma_define(`DYN_TRACE_ON', `;')
uma_define(`DYN_TRACE_OFF', `;')
uma_define(`DYN_REF_TRACE_ON', `;')
uma_define(`DYN_REF_TRACE_OFF', `;')
uma_define(`DYN_SIM_ON', `;')
uma_define(`DYN_SIM_OFF', `;')
uma_define(`DYN_SCHED_ON', `;')
uma_define(`DYN_SCHED_OFF', `;')
m4_divert(0)divert(0) */
