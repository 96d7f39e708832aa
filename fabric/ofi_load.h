/* libfabric, loaded when it is first used. Include this instead of the headers of libfabric.
 *
 * Whoever links libfabric pays for it at every start: on Debian two of the libraries it pulls in measure the processor's clock for a
 * tenth of a second each before main begins. Most programs never leave their host. Of libfabric's interface only the functions below
 * are symbols, all else is calls through tables; they are renamed here, and ofi_load.c forwards them to the library. */
#ifndef FAB_OFI_LOAD_H
#define FAB_OFI_LOAD_H

#define fi_getinfo fab_fi_getinfo
#define fi_freeinfo fab_fi_freeinfo
#define fi_dupinfo fab_fi_dupinfo
#define fi_fabric fab_fi_fabric
#define fi_version fab_fi_version
#define fi_strerror fab_fi_strerror

#include <rdma/fabric.h>
#include <rdma/fi_atomic.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

/* Before any other function. 0, or -ELIBACC when libfabric is not installed, or is of another version than these headers: the symbols'
 * versions, by which a linked program would get the structures that it knows, do not help who looks symbols up. Thread-safe. */
int fab_ofi_load(void);

#endif
