/* Operations that a fabric does not have, or has no need of. A table holds these stubs instead of NULL, so callers never test for it. */
#include "fabric/fabric.h"

#include <errno.h>
#include <string.h>

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

int fab_no_contact(struct fab_endpoint *endpoint, struct fab_contact *contact)
{
  memset(contact, 0, sizeof *contact);
  return 0;
}

int fab_no_connect(struct fab_endpoint *endpoint, const struct fab_contact *contacts)
{
  return 0;
}

void fab_no_release(struct fab_endpoint *endpoint, void *payload)
{
}
