/* Every fabric's table is complete, and what a fabric does not claim answers -ENOSYS. */
#include "tests/fabric_world.h"

#include <errno.h>
#include <string.h>

static void check_complete(const struct fab_ops *ops)
{
  void *entries[(sizeof *ops - offsetof(struct fab_ops, open)) / sizeof(void *)];
  memcpy(entries, (const char *)ops + offsetof(struct fab_ops, open), sizeof entries);
  for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) cr_expect(entries[i], "%s: operation %zu", ops->name, i);
}

Test(fabric_enosys, tables)
{
  const struct fab_ops *ops;
  int count = 0;
  for (; (ops = fab_at(count)); count++) {
    check_complete(ops);
    if (ops->capabilities & FAB_RMA) continue;
    uint64_t old;
    char byte;
    cr_expect(ops->put(NULL, 0, 0, &byte, 1) == -ENOSYS);
    cr_expect(ops->get(NULL, 0, 0, &byte, 1) == -ENOSYS);
    cr_expect(ops->atomic(NULL, FAB_ADD, 0, 0, 8, 1, 0, &old) == -ENOSYS);
  }
  cr_expect(count >= 2 && !fab_at(-1));
}

Test(fabric_enosys, rings_fit_their_budget)
{
  for (int devices = 1; devices <= 1024; devices++) {
    size_t bytes = fab_shm_bytes(devices), pairs = (size_t)devices * (size_t)devices;
    cr_assert(bytes >= pairs * 4096 && bytes <= (17ull << 30), "%d devices: %zu bytes", devices, bytes);
  }
}
