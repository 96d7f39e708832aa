/* Recording every message of a session, and writing the records as a trace that Perfetto opens and `uma trace` reads.
 *
 * Each device has a buffer in the area; what is recorded by a thread of the device goes there, and from there, when it is full, to the
 * spool: an unnamed file that all devices inherit. Whoever ends the session takes what is left in the buffers, also of the dead, and
 * writes the trace. Records of one domain are ordered by their numbers: a message is received after it was sent, and a controller's steps are in
 * the order in which they were made.
 */
#ifndef COH_TRACE_H
#define COH_TRACE_H

#include "coherence/engine.h"
#include "coherence/tally.h"

enum { COH_TRACE_BUFFER = 256 << 10, COH_SITE_SIZE = 120 };

enum coh_sum { COH_SUM_LOADS, COH_SUM_STORES, COH_SUM_HITS, COH_SUMS }; /* accesses; how many of both hit */

enum coh_record_kind {
  COH_RECORD_STEP,  /* an input into a controller; followed by send_count messages, those to many one by one */
  COH_RECORD_TOUCH, /* the program touched bytes of a line that it had not touched since the line came; no step of its own */
  COH_RECORD_ALLOC, /* of `bytes` at `address`; followed by COH_SITE_SIZE bytes: "file.c:12" of the call, or "" */
  COH_RECORD_FREE,
  COH_RECORD_SUM, /* all that the device did to a line, when it leaves; followed by COH_SUMS numbers of 8 bytes */
};

struct coh_record {
  uint64_t number, time_ns; /* CLOCK_MONOTONIC */
  uint64_t address;         /* of the line; of the block */
  uint64_t bytes;           /* ALLOC; STEP and TOUCH: of the access, 0 when the input is no access */
  uint32_t offset;          /* of the access within the line */
  uint16_t size;            /* of the record with all that follows, a multiple of 8 */
  uint8_t kind;             /* enum coh_record_kind */
  uint8_t miss;             /* enum coh_miss */
  int16_t actor;            /* the device whose thread did it */
  struct coh_message input;
  int8_t event;
  uint8_t from, state, result;
  uint16_t send_count;
  uint16_t first; /* the first device of the domain */
  uint8_t unused[6];
};
_Static_assert(sizeof(struct coh_record) == 72, "lies in a file");

struct coh_trace_buffer {
  _Atomic uint32_t lock;    /* the holder's device + 1 */
  _Atomic uint32_t used;    /* bytes */
  _Atomic uint64_t dropped; /* records that could not be kept: the spool refused them */
  unsigned char bytes[COH_TRACE_BUFFER];
};

/* ---- trace.c: recording. Devices in records are numbered through the session, controllers and messages too. */
void coh_trace_step(struct coh_engine *engine, uint64_t line, const struct coh_message *input, const struct coh_outcome *outcome,
                    const struct coh_access *access, enum coh_miss miss);
void coh_trace_touch(struct coh_engine *engine, uint64_t line, int device, const struct coh_access *access);
/* `number`: from coh_area_next, drawn when the block was taken and nobody else knew, or before it was given back; 0: now. */
void coh_trace_sum(struct coh_engine *engine, uint64_t line, const uint64_t *sums);
void coh_trace_block(struct coh_engine *engine, enum coh_record_kind kind, uint64_t address, uint64_t bytes, const char *site,
                     uint64_t number);
/* At the end, by whoever ends the session: what is left in the area's buffers goes to the spool. Returns the number of records dropped. */
uint64_t coh_trace_drain(struct coh_area *area, int spool);

/* ---- trace_json.c ------------------------------------------------------------------------------------------------
 *
 * The records as a trace in Chrome's format: {"otherData":{...},"traceEvents":[...]}, one event a line. A process is a device, its thread 0
 * the cache, thread 1 the directory of its window. What the events of `uma trace` hold, in "args":
 *   cat "step"    number; line "0x..."; by (the device whose thread did it); input [message, source, target, requestor, acks], -1 the
 *                 home; event; from; state; sends [[message, source, target, requestor, acks]...]; for an access offset and bytes; miss: which kind it was,
 *                 of the step that ends a miss or begins an upgrade
 *   cat "touch"   line, access "load" or "store", offset, bytes
 *   cat "sum"     line, loads, stores, hits: all accesses of the device to it, when it left (a device that was killed leaves none)
 *   cat "alloc"   address, bytes, site;  cat "free"  address
 * A message is an arrow (ph s and f) from the step that sent it to the step that received it. A step takes no time that is measured; it is
 * drawn up to 50 ns wide. otherData holds the protocol's name and text, devices, line_bytes, base, window_bytes.
 * 0, -EIO when the spool ends in the middle of a record, -ENOMEM. */
int coh_trace_write(FILE *out, int spool, struct coh_area *const *areas, int domains);

#endif
