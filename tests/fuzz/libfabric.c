/* Stands in for libfabric.so.1 where network.h has loaded it: the functions that fabric/ofi_load.c looks up, forwarded to network.c. */
#include <rdma/fabric.h>

int network_getinfo(const struct fi_info *hints, struct fi_info **info);
void network_freeinfo(struct fi_info *info);
struct fi_info *network_dupinfo(const struct fi_info *info);
int network_fabric(struct fid_fabric **fabric);

int fi_getinfo(uint32_t version, const char *node, const char *service, uint64_t flags, const struct fi_info *hints, struct fi_info **info)
{
  return network_getinfo(hints, info);
}

void fi_freeinfo(struct fi_info *info)
{
  network_freeinfo(info);
}

struct fi_info *fi_dupinfo(const struct fi_info *info)
{
  return network_dupinfo(info);
}

int fi_fabric(struct fi_fabric_attr *attr, struct fid_fabric **fabric, void *context)
{
  return network_fabric(fabric);
}

uint32_t fi_version(void)
{
  return FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION);
}

const char *fi_strerror(int error)
{
  return "an error of the network in memory";
}
