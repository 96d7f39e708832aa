/* Targets of fuzzing: functions that take any bytes and must neither crash, hang, leak nor break what they check themselves.
 *
 * An input is read from its front; where it has ended everything reads as 0. So every sequence of bytes is an input, and a small change of the bytes
 * is a small change of what happens. Targets depend on nothing but the input. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fuzz_input {
  const uint8_t *at, *end;
};

static inline bool fuzz_more(const struct fuzz_input *in)
{
  return in->at < in->end;
}

/* As many of `bytes` as there are; the rest is 0. Returns how many there were. */
static inline size_t fuzz_take(struct fuzz_input *in, void *to, size_t bytes)
{
  size_t left = (size_t)(in->end - in->at), taken = bytes < left ? bytes : left;
  memset(to, 0, bytes);
  if (taken) memcpy(to, in->at, taken);
  in->at += taken;
  return taken;
}

static inline uint8_t fuzz_byte(struct fuzz_input *in)
{
  return fuzz_more(in) ? *in->at++ : 0;
}

static inline uint16_t fuzz_half(struct fuzz_input *in)
{
  uint16_t half;
  fuzz_take(in, &half, sizeof half);
  return half;
}

/* Part of an input in which real messages come: whoever runs a target with UMA_FUZZ_RECORD=FILE gets what was sent as another input. */
void fuzz_record(const void *bytes, size_t count); /* targets.c */

#define FUZZ_CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
      abort(); \
    } \
  } while (0)

struct fuzz_target {
  const char *name; /* and that of its folder in corpus/ */
  void (*run)(const uint8_t *bytes, size_t count);
};

extern const struct fuzz_target fuzz_targets[]; /* targets.c; ends with a name of NULL */

void fuzz_ofi(const uint8_t *bytes, size_t count);       /* ofi.c: messages from the network to an endpoint of the ofi fabric */
void fuzz_coherence(const uint8_t *bytes, size_t count); /* coherence.c: messages of other hosts to the engine */
void fuzz_pages(const uint8_t *bytes, size_t count);     /* coherence.c: the same with caches of pages */
void fuzz_mailbox(const uint8_t *bytes, size_t count);   /* mailbox.c: messages and questions of other groups to a device of a session */
void fuzz_wire(const uint8_t *bytes, size_t count);      /* wire.c: what comes by the wire to a device of a session over hosts */
void fuzz_protocol(const uint8_t *bytes, size_t count);  /* protocol.c: texts in the protocol language, and steps of what they say */

#endif
