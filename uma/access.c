/* uma_ld, uma_st and the atomics where the processor's own instructions do not do: on cached windows, and on windows of other domains.
 *
 * A hit in this device's cache is done here without a call (coherence/engine.h); a miss is the engine's. Words that are not aligned are
 * not atomic: loads and stores of them are ranges, anything else of them is refused, as are operations that cannot be completed because
 * a device was lost: there is no way to return an error, and no value to go on with, so the process ends with a message. */
#include <stdlib.h>

#include "uma/clock.h"
#include "uma/coherent.h"
#include "uma/remote.h"
#include "uma/session.h"
#include "uma/wait.h"

static void give_up(const void *pointer, const char *why)
{
  fprintf(stderr, "libuma: device %d: an atomic operation on %p (device %d) failed: %s\n", uma_self.device, pointer, uma_home(pointer),
          why);
  abort();
}

static bool is_aligned(const void *pointer, size_t size)
{
  return ((uintptr_t)pointer & (size - 1)) == 0;
}

/* Whether the cache of this device is the way; *offset is what the engine calls the address. */
static inline bool is_cached(const struct coh_engine *engine, const void *pointer, uint64_t *offset)
{
  *offset = (uintptr_t)pointer - (engine ? engine->base : 0);
  return engine && *offset < engine->bytes;
}

static uint64_t miss(enum uma_atomic op, void *pointer, uint64_t offset, size_t size, uint64_t operand, uint64_t expected)
{
  uint64_t old = 0;
  int result = 0;
  uma_crossing();
  if (is_aligned(pointer, size)) result = coh_atomic(uma_self.engine, (enum fab_atomic)op, offset, (unsigned)size, operand, expected, &old);
  else if (op == UMA_ATOMIC_LOAD) result = coh_get(uma_self.engine, &old, offset, size);
  else if (op == UMA_ATOMIC_STORE) result = coh_put(uma_self.engine, offset, &operand, size);
  else give_up(pointer, "the address is not aligned to the size of the word");
  if (result) give_up(pointer, uma_strerror(result));
  return old;
}

/* Memory of another domain; or of this one, which the processor reaches, when the session has several. */
static uint64_t ask(enum uma_atomic op, void *pointer, size_t size, uint64_t operand, uint64_t expected)
{
  uint64_t old = 0;
  int home, result;
  if (!uma_range_in_windows(pointer, size, &home) || uma_is_near(home))
    return fab_atomic_apply((enum fab_atomic)op, pointer, size, operand, expected);
  result = uma_remote_atomic(home, op, pointer, size, operand, expected, &old);
  if (result) give_up(pointer, uma_strerror(result));
  return old;
}

static enum fab_access access_of(enum uma_atomic op)
{
  return op == UMA_ATOMIC_LOAD ? FAB_ACCESS_LOAD : op == UMA_ATOMIC_STORE ? FAB_ACCESS_STORE : FAB_ACCESS_ATOMIC;
}

/* With a modelled clock: in access mode `line` what the engine charges for a miss, and then an access to this device's cache, in its own memory. */
static uint64_t charged(enum uma_atomic op, void *pointer, size_t size, uint64_t operand, uint64_t expected)
{
  uint64_t offset, old;
  struct coh_engine *engine = uma_self.lines;
  bool cached = is_cached(engine, pointer, &offset);
  int home = cached ? uma_self.device : uma_home(pointer);
  if (!cached) old = ask(op, pointer, size, operand, expected);
  else if (op == UMA_ATOMIC_LOAD ? !coh_hit_load(engine, offset, (unsigned)size, &old)
                                 : !coh_hit_atomic(engine, (enum fab_atomic)op, offset, (unsigned)size, operand, expected, &old))
    old = miss(op, pointer, offset, size, operand, expected);
  if (home >= 0 && home != uma_self.device && uma_clock_path(uma_self.device, home)->way == FAB_WAY_LOAD_STORE &&
      uma_clock_cached(pointer, size))
    home = uma_self.device;
  uma_clock_access(home < 0 ? uma_self.device : home, access_of(op), size);
  return old;
}

/* All but the hit, out of its way. */
static __attribute__((noinline)) uint64_t otherwise(enum uma_atomic op, void *pointer, size_t size, uint64_t operand, uint64_t expected)
{
  uint64_t offset;
  if (uma_self.clock) return charged(op, pointer, size, operand, expected);
  if (is_cached(uma_self.lines, pointer, &offset)) return miss(op, pointer, offset, size, operand, expected);
  return ask(op, pointer, size, operand, expected);
}

static __attribute__((noinline)) uint64_t load_otherwise(const void *pointer, size_t size)
{
  return otherwise(UMA_ATOMIC_LOAD, (void *)pointer, size, 0, 0);
}

uint64_t uma_load_slow_(const void *pointer, size_t size)
{
  struct coh_engine *engine = uma_self.hits;
  uint64_t offset, value;
  if (is_cached(engine, pointer, &offset) && coh_hit_load(engine, offset, (unsigned)size, &value)) return value;
  return load_otherwise(pointer, size);
}

void uma_store_slow_(void *pointer, size_t size, uint64_t value)
{
  struct coh_engine *engine = uma_self.hits;
  uint64_t offset;
  if (is_cached(engine, pointer, &offset) && coh_hit_store(engine, offset, (unsigned)size, value)) return;
  otherwise(UMA_ATOMIC_STORE, pointer, size, value, 0);
}

uint64_t uma_atomic_slow_(enum uma_atomic op, void *pointer, size_t size, uint64_t operand, uint64_t expected)
{
  struct coh_engine *engine = uma_self.hits;
  uint64_t offset, old;
  bool cached = is_cached(engine, pointer, &offset);
  if (cached && coh_hit_atomic(engine, (enum fab_atomic)op, offset, (unsigned)size, operand, expected, &old)) return old;
  return otherwise(op, pointer, size, operand, expected);
}
