/* Your sets of sharers. As they stand, they forget everybody. */
#include <stddef.h>
#include <stdlib.h>

#include "sharers.h"

/* ---- Full map: bit d of the set is device d -------------------------------------------------------------------- */

static int full_bits(int devices, int budget)
{
  return devices;
}

static void full_add(int devices, int budget, uint64_t *set, int device)
{
}

static void full_remove(int devices, int budget, uint64_t *set, int device)
{
}

static int full_next(int devices, int budget, const uint64_t *set, int from)
{
  return -1;
}

const struct sharer_set full_map = {full_bits, full_add, full_remove, full_next};

/* ---- Limited pointers ------------------------------------------------------------------------------------------ */

static int limited_bits(int devices, int budget)
{
  return budget;
}

static void limited_add(int devices, int budget, uint64_t *set, int device)
{
}

static void limited_remove(int devices, int budget, uint64_t *set, int device)
{
}

static int limited_next(int devices, int budget, const uint64_t *set, int from)
{
  return -1;
}

const struct sharer_set limited = {limited_bits, limited_add, limited_remove, limited_next};

/* ---- Coarse vector --------------------------------------------------------------------------------------------- */

static int coarse_bits(int devices, int budget)
{
  return budget;
}

static void coarse_add(int devices, int budget, uint64_t *set, int device)
{
}

static void coarse_remove(int devices, int budget, uint64_t *set, int device)
{
}

static int coarse_next(int devices, int budget, const uint64_t *set, int from)
{
  return -1;
}

const struct sharer_set coarse = {coarse_bits, coarse_add, coarse_remove, coarse_next};

/* ---- The best of these, or better: put your own functions here --------------------------------------------------- */

const struct sharer_set best = {coarse_bits, coarse_add, coarse_remove, coarse_next};
