/* Three kernels that run on all devices, through coherent caches of lines of 64 bytes: what you mend in kernels.c. Nothing to change here.
 *
 * Each *_create is called once, by device 0, before anybody else; what it returns is handed to all devices, so it must lie in device memory
 * (or be a pointer into it). All other functions are called by the devices one at a time, so no locks are needed; but who had a
 * line before you, and what for, decides what your access costs. Device memory is reached by uma_ld, uma_st and the atomics only.
 * Variables of your file are private: each device has its own, which cost nothing and which nobody else sees. */
#ifndef KERNELS_H
#define KERNELS_H

#include <stdint.h>

enum { MOST_BINS = 64, MOST_ROWS = 1024, DIMENSION = 16 };

/* How often each bin was added to, by all devices together. Read by device 0, when every device has finished. */
void *histogram_create(int devices, int bins);
void histogram_add(void *histogram, int bin);
void histogram_finish(void *histogram); /* by each device, after its last item */
uint64_t histogram_read(void *histogram, int bin);

/* A counter for each device. Device 0 reads the counters of all now and then, and must see all that was counted until then. */
void *counters_create(int devices);
void counters_count(void *counters, uint64_t amount); /* to the calling device's counter */
uint64_t counters_read(void *counters, int device);

/* An embedding bag: the sums of some rows of a table that does not change, and how often each row was used, by all devices together
 * (read by device 0, when every device has finished). `values` is private memory of device 0: [rows][DIMENSION]. `user[row]` is the device that
 * uses that row most. The caches are too small for all of the table. */
void *bag_create(int devices, int rows, const uint32_t *values, const int *user);
void bag_sum(void *bag, const int *rows, int count, uint32_t *sum); /* sum[DIMENSION], private */
void bag_finish(void *bag);
uint64_t bag_uses(void *bag, int row);

#endif
