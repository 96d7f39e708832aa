/* Two devices, two ways to get something across: what you write in wall.c. Nothing to change here.
 *
 * All functions are called by device 0 and by device 1, at the same time; uma_device() tells which one you are. Device memory is reached by
 * uma_ld and uma_st, through a coherent cache of lines of 64 bytes; everything else is private. */
#ifndef WALL_H
#define WALL_H

#include <stddef.h>
#include <stdint.h>

/* Device memory: a word that device 0 writes and one that device 1 writes, each in a line of its own. Both are 0. */
struct court {
  uint64_t *from_0, *from_1;
};

/* Ping-pong: in round k (1, 2, … rounds) device 0 throws the number k; device 1 waits for it, and throws back k + spin; device 0 waits for that, and
 * only then begins the next round. Returns the sum of what this device has caught. */
uint64_t ping_by_load_store(const struct court *court, int rounds, uint64_t spin);
uint64_t ping_by_message(int rounds, uint64_t spin);

/* Streaming: `words` words of device 0 come to device 1, into dst. dst is private memory of device 1, and NULL on device 0. */
void stream_by_load_store(const uint64_t *src, uint64_t *dst, size_t words); /* src: device memory at device 0; device 1 loads it */
void stream_by_message(const uint64_t *src, uint64_t *dst, size_t words,
                       size_t chunk); /* src: private memory of device 0, NULL on device 1;
                                                                                            messages of `chunk` bytes, the last one shorter */

#endif
