/* A cache of blocks of keys and values (of a language model), in the memory of all devices: what you write in pool.c. Nothing to change here.
 *
 * Each device's window has so many places for blocks. A block is found by its key, which is never 0. Devices call these functions one at a time,
 * so no locks are needed. Your own notes (which block is where, who used it last) lie in device memory, so that all devices see them:
 * here it is reached by plain loads and stores, and pointers into it mean the same on every device. */
#ifndef POOL_H
#define POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BLOCK_BYTES = 1024 };

/* The machine: moves a block between private memory of the calling device and a place of any device. What leaves or enters another device's window
 * counts as remote. Your notes do not count. */
void block_read(int device, int place, void *block);
void block_write(int device, int place, const void *block);

/* Called once, by device 0, before all else; what it returns is handed to all devices. */
void *pool_create(int devices, int places);

/* True, with the block, when the pool holds it. */
bool pool_lookup(void *pool, uint64_t key, void *block);

/* Keeps a block that pool_lookup did not find a moment ago. When no place is free, another block must go: see the handout. */
void pool_insert(void *pool, uint64_t key, const void *block);

#endif
