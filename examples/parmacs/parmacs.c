/* PARMACS on libuma, see uma.m4 and parmacs.h. */
#include "examples/parmacs/parmacs.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

#include "uma.h"

#define LARGE 65536 /* blocks of that size begin on a multiple of it: with pages of cached windows, whatever their size up to it */

static int created[UMA_MAX_DEVICES], created_count;

/* "what: why" and the end. */
static void fail(const char *what)
{
  fprintf(stderr, "device %d: %s: %s\n", uma_device(), what, uma_last_error());
  exit(1);
}

/* ---- processes */

static void leave(void)
{
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
  if (uma_device() > 0) {
    if (uma_device() == 1) fprintf(stderr, "a program with PARMACS macros begins as one process; run it with: uma run -n N --create\n");
    exit(1);
  }
  atexit(leave);
}

int parmacs_process(void)
{
  return uma_device();
}

void parmacs_create(void (*function)(void))
{
  fflush(NULL);
  int device = uma_fork();
  if (device == 0) {
    created_count = 0;
    function();
    exit(0);
  }
  if (device == -ENOSPC)
    fprintf(stderr, "CREATE: the session has %d devices, and the program wants more processes; run it with a larger uma run -n\n",
            uma_device_count());
  if (device < 0) fail("CREATE");
  created[created_count++] = device;
}

void parmacs_create_all(void (*function)(void), long processes)
{
  for (long i = 1; i < processes; i++) parmacs_create(function);
  function();
}

void parmacs_wait_for_end(void)
{
  for (int i = 0; i < created_count; i++)
    if (uma_wait_device(created[i])) fail("WAIT_FOR_END");
  created_count = 0;
}

/* ---- memory */

void *parmacs_malloc(unsigned long bytes, long home)
{
  static int turn;
  parmacs_begin();
  unsigned long alignment = bytes < PAGE_SIZE ? 64 : bytes < LARGE ? PAGE_SIZE : LARGE;
  int devices = uma_device_count(), first = (int)((home < 0 ? turn++ : home) % devices);
  for (int i = 0; i < devices; i++) {
    void *block = uma_memalign_on((first + i) % devices, alignment, bytes ? bytes : 1);
    if (block) return block;
  }
  fprintf(stderr, "G_MALLOC: no window has %lu bytes left; run with a larger --memory\n", bytes);
  return NULL;
}

void parmacs_free(void *block)
{
  if (uma_free(block)) fail("G_FREE");
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
void parmacs_lock_create(unsigned long *lock)
{
  parmacs_begin();
  struct uma_lock made;
  int result = -ENOSPC;
  for (int i = 0, devices = uma_device_count(); i < devices && result == -ENOSPC; i++)
    result = uma_lock_create((uma_device() + i) % devices, &made);
  if (result) fail("LOCKINIT");
  *lock = name_of(made.home, made.index);
}

void parmacs_lock(const unsigned long *lock)
{
  struct uma_lock named = named_lock(*lock);
  int result = uma_lock(&named);
  if (result && result != -EOWNERDEAD) fail("LOCK");
}

void parmacs_unlock(const unsigned long *lock)
{
  struct uma_lock named = named_lock(*lock);
  if (uma_unlock(&named)) fail("UNLOCK");
}

void parmacs_barrier_create(unsigned long *barrier)
{
  parmacs_begin();
  struct uma_barrier made;
  if (uma_barrier_create(uma_device(), &made)) fail("BARINIT");
  *barrier = name_of(made.home, made.index);
}

void parmacs_barrier(const unsigned long *barrier, long processes)
{
  struct uma_barrier named = named_barrier(*barrier);
  if (uma_barrier_wait(&named, (int)processes)) fail("BARRIER");
}

/* ---- words in G_MALLOC memory */

static void change(unsigned long *word, uint64_t value, enum uma_signal how, const char *what)
{
  if (uma_signal(word, value, how)) fail(what);
}

void parmacs_pause_set(unsigned long *flag, int set)
{
  change(flag, set != 0, UMA_SIGNAL_SET, "SETPAUSE");
}

void parmacs_pause_wait(const unsigned long *flag)
{
  if (uma_wait_until(flag, UMA_NE, 0)) fail("WAITPAUSE");
}

/* A signal between the unlocking and the waiting has changed the word, so it is not missed. */
void parmacs_condition_wait(const unsigned long *condition, const unsigned long *lock)
{
  uint64_t before = uma_ld(condition);
  parmacs_unlock(lock);
  if (uma_wait_until(condition, UMA_NE, before)) fail("CONDVARWAIT");
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
