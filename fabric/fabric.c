/* The list of fabrics. A new one is an entry here and a declaration in fabric.h. */
#include "fabric/fabric.h"

#define FABRICS 4

const struct fab_ops *fab_at(int index)
{
  static const struct fab_ops *const fabrics[FABRICS] = {&fab_shm, &fab_uring, &fab_ofi, &fab_sim};
  return index >= 0 && index < FABRICS ? fabrics[index] : NULL;
}
