/* Operations that a fabric does not have. A table holds these stubs instead of NULL, so callers never test for it. */
#include "fabric/fabric.h"

#include <errno.h>

int fab_enosys_put(struct fab_endpoint *endpoint, int device, uint64_t offset, const void *local, size_t bytes)
{
  return -ENOSYS;
}

int fab_enosys_get(struct fab_endpoint *endpoint, int device, uint64_t offset, void *local, size_t bytes)
{
  return -ENOSYS;
}

int fab_enosys_atomic(struct fab_endpoint *endpoint, enum fab_atomic op, int device, uint64_t offset, size_t size, uint64_t operand,
                      uint64_t expected, uint64_t *old)
{
  return -ENOSYS;
}
