/* One address space: what you write in address.c. Nothing to change here. */
#ifndef ADDRESS_H
#define ADDRESS_H

#include <stdint.h>

/* Device d's memory is its window: the addresses from base + d * stride, `window` of them. stride >= window: between two windows there may
 * be a hole, addresses that mean nothing. */
struct machine {
  uint64_t base, stride, window;
  int devices;
};

/* Elements of `size` bytes, dealt to the devices like cards: `run` of them to device `first`, as many to the next device, and so on, round
 * and round. Each device keeps its runs one behind the other, in its window, from offset `start` on (a multiple of 64). */
struct layout {
  uint64_t size, run, start;
  int first;
};

#define NOWHERE ((uint64_t)0) /* no window begins at 0 */

/* The address of byte `offset` of a device's window; NOWHERE when there is no such device, or its window no such byte. */
uint64_t global_address(const struct machine *machine, int device, uint64_t offset);

/* The device whose window holds the address, or -1 when none does. */
int home_of(const struct machine *machine, uint64_t address);

/* Where in its window an address lies; called only for addresses that have a home. */
uint64_t offset_of(const struct machine *machine, uint64_t address);

/* The address at which element `i` begins. */
uint64_t place(const struct machine *machine, const struct layout *layout, uint64_t i);

#endif
