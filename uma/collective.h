/* The collectives' part of a segment, and what the stream engine calls. */
#ifndef UMA_COLLECTIVE_H
#define UMA_COLLECTIVE_H

#include <stddef.h>

#include "fabric/fabric.h"
#include "uma.h"

size_t uma_collective_bytes(int count); /* of zeroed shared memory for `count` devices (a hole-y file: only what is used costs) */

enum uma_collective_kind { UMA_BROADCAST, UMA_ALLGATHER, UMA_REDUCE_SCATTER, UMA_ALLREDUCE, UMA_ALLTOALL };

/* One collective with its arguments, so that blocking calls and streams share one path. */
struct uma_collective {
  enum uma_collective_kind kind;
  void *dst;
  const void *src;
  size_t count; /* of elements, or bytes for those without a type */
  enum uma_type type;
  enum uma_op op;
  int root;
};
int uma_collective_check(const struct uma_collective *collective); /* 0 or -EINVAL with uma_last_error */
int uma_collective_run(const struct uma_collective *collective, enum fab_channel channel);

/* stream.c: queues a checked collective */
int uma_stream_push_collective(struct uma_stream *stream, const struct uma_collective *collective);

#endif
