/* Reading a trace that a session wrote (`uma run --trace`; coherence/trace.h documents the format), one event after the other.
 *
 * The file has one event a line, so that it is read line by line, whatever its size. It may come from anywhere: every field is checked
 * against the head before it is used, and what is wrong is said with the file's name and line.
 */
#ifndef UMA_TRACE_READ_H
#define UMA_TRACE_READ_H

#include "coherence/ladder.h"
#include "coherence/tally.h"
#include "coherence/trace.h"

enum { UMA_TRACE_SENDS = COH_MAX_CELL_ACTIONS + COH_MAX_DEVICES };

enum uma_trace_kind { UMA_TRACE_STEP, UMA_TRACE_TOUCH, UMA_TRACE_ALLOC, UMA_TRACE_FREE, UMA_TRACE_SUM };

struct uma_trace_event {
  enum uma_trace_kind kind;
  double time_us;
  int device;               /* of STEP: whose thread did it */
  uint64_t address;         /* of the line (within a window); of the block */
  uint64_t bytes;           /* of the block; of an access within the line, 0 when there is none */
  uint32_t offset;          /* of the access within the line */
  struct coh_message input; /* STEP; of TOUCH and accesses the type tells loads from stores */
  int8_t event;             /* STEP: by number, as the states; -1: none */
  uint8_t from, state;      /* STEP */
  enum coh_miss miss;       /* STEP */
  int send_count;           /* STEP: of `sends` of the trace */
  char site[COH_SITE_SIZE]; /* ALLOC: "file.c:12" or "" */
  uint64_t sums[COH_SUMS];  /* SUM */
};

struct uma_trace {
  const char *path;
  /* the head */
  int devices;
  size_t line_bytes, window_bytes;
  uint64_t base; /* of the first window */
  struct coh_protocol *protocol;
  /* the newest event */
  struct uma_trace_event event;
  struct coh_message sends[UMA_TRACE_SENDS];
  /* the reader's own */
  FILE *file;
  char *text;
  size_t room;
  unsigned long line_number;
};

/* 0 or a negative errno; what is wrong was said on stderr then, and nothing is to be closed. */
int uma_trace_open(struct uma_trace *trace, const char *path);
/* 1: trace->event is the next one; 0: there is none; a negative errno as above, but close it. */
int uma_trace_next(struct uma_trace *trace);
void uma_trace_close(struct uma_trace *trace);

static inline int uma_trace_home(const struct uma_trace *trace, uint64_t address)
{
  return (int)((address - trace->base) / trace->window_bytes);
}

static inline bool uma_trace_in_windows(const struct uma_trace *trace, uint64_t address)
{
  return address >= trace->base && address - trace->base < (uint64_t)trace->devices * trace->window_bytes;
}

#endif
