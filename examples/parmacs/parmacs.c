/* PARMACS on libuma, see uma.m4 and parmacs.h.
 *
 * Processes come into being in one of two ways:
 *
 *   by copying      (`uma run --create`) Device 0 alone runs main(), and CREATE is uma_fork.
 *   by rehearsing   (all devices exist from the beginning: mpirun, `uma run --hosts H`) Every device runs main() by itself, device 0 for good, the
 *                   others as a rehearsal: in the place of the windows they have private memory (uma_rehearse), their standard output goes
 *                   nowhere, and device 0 tells them what it got: addresses of blocks, names of locks and barriers, in the order in which main()
 *                   asks for them. At the i-th CREATE device i ends its rehearsal: its globals are by now what main()'s are, it sees the
 *                   memory of all, and calls the function. Device 0 goes on at once and tells later devices what they still have to know.
 *
 * A rehearsing device does not know whether there will be a CREATE for it. CREATEs come before main() waits for any of the new processes; so
 * whoever is left when it does (the casting is over) is not needed and exits. Device 0 gets to the same place in the program and tells
 * no more from there on. Each other device sends a message when it exits, for which WAIT_FOR_END waits. */
#include "examples/parmacs/parmacs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

#include "uma.h"

#define LARGE 65536 /* blocks of that size begin on a multiple of it: with pages of cached windows, whatever their size up to it */
enum { CUE_TAG, END_TAG };

/* What device 0 has done, for those that rehearse. */
struct cue {
  unsigned long what; /* enum what */
  unsigned long bytes, result;
};
enum what { G_MALLOC_CUE, LOCKINIT_CUE, BARINIT_CUE, CREATE_CUE, END_CUE };
static const char *const cue_names[] = {"G_MALLOC", "LOCKINIT", "BARINIT", "CREATE", "the end of the program"};

static int created[UMA_MAX_DEVICES], created_count;
static bool all_exist; /* from the beginning: processes rehearse */
static bool rehearses; /* this one does */
static bool cast;      /* whoever is not created by now never will be */
static int roles;      /* how many CREATEs there were, as main() sees it */
static int saved_output;

/* "what: why" and the end. */
static void fail(const char *what)
{
  fprintf(stderr, "device %d: %s: %s\n", uma_device(), what, uma_last_error());
  exit(1);
}

/* ---- rehearsals */

/* Device 0: to all that rehearse. Returns the result. */
static unsigned long tell(enum what what, unsigned long bytes, unsigned long result)
{
  struct cue cue = {what, bytes, result};
  if (!all_exist || cast || uma_device()) return result;
  for (int d = roles + 1; d < uma_device_count(); d++)
    if (uma_send(d, CUE_TAG, &cue, sizeof cue)) fail(cue_names[what]);
  return result;
}

/* What device 0 told about the same call. */
static unsigned long hear(enum what what, unsigned long bytes)
{
  struct cue cue;
  if (uma_recv(0, CUE_TAG, &cue, sizeof cue, NULL)) fail(cue_names[what]);
  if (cue.what == what && cue.bytes == bytes) return cue.result;
  fprintf(stderr, "device %d: %s of %lu bytes, where device 0 had %s of %lu; until CREATE a program must do the same in every process\n",
          uma_device(), cue_names[what], bytes, cue_names[cue.what], cue.bytes);
  exit(1);
}

static void rehearse(void)
{
  if (uma_rehearse(true)) {
    fprintf(stderr, "MAIN_INITENV: %s, or as one process that creates the others: uma run -n N --create\n", uma_last_error());
    exit(1);
  }
  rehearses = true;
  fflush(stdout);
  saved_output = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
  int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  dup2(nowhere, STDOUT_FILENO);
  close(nowhere);
}

static void end_rehearsal(void)
{
  if (uma_rehearse(false)) fail("CREATE");
  rehearses = false;
  fflush(stdout);
  dup2(saved_output, STDOUT_FILENO);
  close(saved_output);
}

/* main() is about to wait for others, if it has created any. */
static void end_casting(bool any)
{
  if (!all_exist || cast || !any) return;
  cast = true;
  if (rehearses) exit(0);
}

/* ---- processes */

/* A process that failed does not wait for all to leave: they may be waiting for it, and the launcher ends them. */
static void leave(int status, void *unused)
{
  if (all_exist && status) return;
  tell(END_CUE, 0, 0);
  if (all_exist && uma_device()) uma_send(0, END_TAG, NULL, 0);
  uma_finalize();
}

void parmacs_begin(void)
{
  static bool begun;
  if (begun) return;
  begun = true;
  if (uma_init(NULL)) {
    fprintf(stderr, "MAIN_INITENV: %s\n", uma_last_error());
    exit(1);
  }
  all_exist = uma_device_count() > 1 && !uma_can_fork();
  if (all_exist && uma_device()) rehearse();
  on_exit(leave, NULL);
}

int parmacs_process(void)
{
  return rehearses ? 0 : uma_device();
}

static void run_created(void (*function)(void))
{
  created_count = 0;
  cast = true;
  function();
  exit(0);
}

/* The number of the device that has the next role. Does not return in that device. */
static int cast_next(void (*function)(void))
{
  if (cast) {
    fprintf(stderr, "CREATE: main() has waited for processes, or this is not main(); run it with: uma run -n N --create\n");
    exit(1);
  }
  if (!rehearses) tell(CREATE_CUE, 0, 0);
  else hear(CREATE_CUE, 0);
  if (++roles >= uma_device_count()) return -ENOSPC;
  if (!rehearses || roles != uma_device()) return roles;
  end_rehearsal();
  run_created(function);
  return 0;
}

void parmacs_create(void (*function)(void))
{
  fflush(NULL);
  int device = all_exist ? cast_next(function) : uma_fork();
  if (device == 0) run_created(function);
  if (device == -ENOSPC) {
    fprintf(stderr, "CREATE: the session has %d devices, and the program wants more processes; run it with a larger uma run -n\n",
            uma_device_count());
    exit(1);
  }
  if (device < 0) fail("CREATE");
  created[created_count++] = device;
}

void parmacs_create_all(void (*function)(void), long processes)
{
  for (long i = 1; i < processes; i++) parmacs_create(function);
  end_casting(true);
  function();
}

static int wait_for(int device)
{
  return all_exist ? uma_recv(device, END_TAG, NULL, 0, NULL) : uma_wait_device(device);
}

void parmacs_wait_for_end(void)
{
  end_casting(true);
  for (int i = 0; i < created_count; i++)
    if (wait_for(created[i])) fail("WAIT_FOR_END");
  created_count = 0;
}

/* ---- memory */

static void *allocate(unsigned long bytes, long home)
{
  static int turn;
  unsigned long alignment = bytes < PAGE_SIZE ? 64 : bytes < LARGE ? PAGE_SIZE : LARGE;
  int devices = uma_device_count(), first = (int)((home < 0 ? turn++ : home) % devices);
  for (int i = 0; i < devices; i++) {
    void *block = uma_memalign_on((first + i) % devices, alignment, bytes ? bytes : 1);
    if (block) return block;
  }
  fprintf(stderr, "G_MALLOC: no window has %lu bytes left; run with a larger --memory\n", bytes);
  return NULL;
}

void *parmacs_malloc(unsigned long bytes, long home)
{
  parmacs_begin();
  return (void *)(rehearses ? hear(G_MALLOC_CUE, bytes) : tell(G_MALLOC_CUE, bytes, (unsigned long)allocate(bytes, home)));
}

void parmacs_free(void *block)
{
  if (!rehearses && uma_free(block)) fail("G_FREE");
}

/* ---- locks and barriers */

static unsigned long name_of(int32_t home, uint32_t index)
{
  return ((unsigned long)home << 32 | index) + 1;
}

static struct uma_lock named_lock(unsigned long name)
{
  return name ? (struct uma_lock){(int32_t)((name - 1) >> 32), (uint32_t)(name - 1)} : (struct uma_lock){-1, 0};
}

static struct uma_barrier named_barrier(unsigned long name)
{
  return name ? (struct uma_barrier){(int32_t)((name - 1) >> 32), (uint32_t)(name - 1)} : (struct uma_barrier){-1, 0};
}

/* On this device, or the next that has one left. */
static unsigned long create_lock(void)
{
  struct uma_lock made;
  int result = -ENOSPC;
  for (int i = 0, devices = uma_device_count(); i < devices && result == -ENOSPC; i++)
    result = uma_lock_create((uma_device() + i) % devices, &made);
  if (result) fail("LOCKINIT");
  return name_of(made.home, made.index);
}

void parmacs_lock_create(unsigned long *lock)
{
  parmacs_begin();
  *lock = rehearses ? hear(LOCKINIT_CUE, 0) : tell(LOCKINIT_CUE, 0, create_lock());
}

/* Before anything that may wait for another process. Who rehearses waits for nobody: main() is alone until the casting is over. */
static bool is_alone(void)
{
  end_casting(roles > 0);
  return rehearses;
}

void parmacs_lock(const unsigned long *lock)
{
  if (is_alone()) return;
  struct uma_lock named = named_lock(*lock);
  int result = uma_lock(&named);
  if (result && result != -EOWNERDEAD) fail("LOCK");
}

void parmacs_unlock(const unsigned long *lock)
{
  if (rehearses) return;
  struct uma_lock named = named_lock(*lock);
  if (uma_unlock(&named)) fail("UNLOCK");
}

static unsigned long create_barrier(void)
{
  struct uma_barrier made;
  if (uma_barrier_create(uma_device(), &made)) fail("BARINIT");
  return name_of(made.home, made.index);
}

void parmacs_barrier_create(unsigned long *barrier)
{
  parmacs_begin();
  *barrier = rehearses ? hear(BARINIT_CUE, 0) : tell(BARINIT_CUE, 0, create_barrier());
}

void parmacs_barrier(const unsigned long *barrier, long processes)
{
  if (is_alone()) return;
  struct uma_barrier named = named_barrier(*barrier);
  if (uma_barrier_wait(&named, (int)processes)) fail("BARRIER");
}

/* ---- words in G_MALLOC memory */

static void change(unsigned long *word, uint64_t value, enum uma_signal how, const char *what)
{
  if (rehearses) *word = how == UMA_SIGNAL_SET ? value : *word + value;
  else if (uma_signal(word, value, how)) fail(what);
}

void parmacs_pause_set(unsigned long *flag, int set)
{
  change(flag, set != 0, UMA_SIGNAL_SET, "SETPAUSE");
}

void parmacs_pause_wait(const unsigned long *flag)
{
  if (!is_alone() && uma_wait_until(flag, UMA_NE, 0)) fail("WAITPAUSE");
}

/* A signal between the unlocking and the waiting has changed the word, so it is not missed. */
void parmacs_condition_wait(const unsigned long *condition, const unsigned long *lock)
{
  uint64_t before = uma_ld(condition);
  parmacs_unlock(lock);
  if (!is_alone() && uma_wait_until(condition, UMA_NE, before)) fail("CONDVARWAIT");
  parmacs_lock(lock);
}

void parmacs_condition_signal(unsigned long *condition)
{
  change(condition, 1, UMA_SIGNAL_ADD, "CONDVARSIGNAL");
}

void parmacs_counter_create(unsigned long *counter)
{
  parmacs_barrier_create(&counter[0]);
  uma_st(&counter[1], 0);
}

long parmacs_counter_next(unsigned long *counter, long last, long processes)
{
  is_alone(); /* from here on what main() finds depends on others */
  long next = (long)uma_fetch_add(&counter[1], 1);
  if (next <= last) return next;
  parmacs_barrier(&counter[0], processes); /* all have found it used up: nobody counts until the next barrier */
  uma_st(&counter[1], 0);
  parmacs_barrier(&counter[0], processes);
  return -1;
}

unsigned long parmacs_clock_us(void)
{
  struct timeval now;
  gettimeofday(&now, NULL);
  return (unsigned long)now.tv_sec * 1000000u + (unsigned long)now.tv_usec;
}
