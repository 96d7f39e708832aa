/* The address space of lab 1. */
#include "address.h"

uint64_t global_address(const struct machine *machine, int device, uint64_t offset)
{
  if (device < 0 || device >= machine->devices || offset >= machine->window) return NOWHERE;
  return machine->base + (uint64_t)device * machine->stride + offset;
}

int home_of(const struct machine *machine, uint64_t address)
{
  if (address < machine->base) return -1;
  uint64_t device = (address - machine->base) / machine->stride;
  return device < (uint64_t)machine->devices && offset_of(machine, address) < machine->window ? (int)device : -1;
}

uint64_t offset_of(const struct machine *machine, uint64_t address)
{
  return (address - machine->base) % machine->stride;
}

uint64_t place(const struct machine *machine, const struct layout *layout, uint64_t i)
{
  uint64_t run = i / layout->run, devices = (uint64_t)machine->devices, bytes = layout->run * layout->size;
  uint64_t device = ((uint64_t)layout->first + devices - run % devices) % devices;
  return global_address(machine, (int)device, layout->start + run / devices * bytes + i % layout->run * layout->size);
}
