/* Litmus tests: a few threads, a few shared locations, and the question whether one outcome can be seen.
 *
 *     uma_litmus_parse    text in the format of herd and litmus7 -> struct uma_litmus
 *     uma_litmus_run      runs it on devices                      -> histogram of outcomes
 *     uma_litmus_explore  tries every order that a memory model allows -> set of outcomes
 *
 * An instruction becomes one step, or several when the processor does not do it at once (`incq (x)` without lock is load, add, store).
 * Each location is a slot of 8 bytes; an access of `size` bytes touches the lowest ones.
 */
#ifndef UMA_LITMUS_H
#define UMA_LITMUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "uma.h"

#define UMA_LITMUS_THREADS 8
#define UMA_LITMUS_LOCATIONS 16
#define UMA_LITMUS_STEPS 64 /* of a thread */
#define UMA_LITMUS_REGISTERS 16
#define UMA_LITMUS_TEMPORARIES 2 /* further registers, for instructions that take several steps */
#define UMA_LITMUS_ALL_REGISTERS (UMA_LITMUS_REGISTERS + UMA_LITMUS_TEMPORARIES)
#define UMA_LITMUS_OBSERVED 32
#define UMA_LITMUS_NODES 256
#define UMA_LITMUS_NAME 64

enum uma_litmus_op {
  UMA_LITMUS_LOAD,  /* register = location */
  UMA_LITMUS_STORE, /* location = operand */
  UMA_LITMUS_MOVE,  /* register = operand; this and the next five touch no memory */
  UMA_LITMUS_ADD,
  UMA_LITMUS_SUB,
  UMA_LITMUS_AND,
  UMA_LITMUS_OR,
  UMA_LITMUS_XOR,
  UMA_LITMUS_SWAP,      /* register = location, location = operand, at once; so are the next five */
  UMA_LITMUS_FETCH_ADD, /* register = location, location += operand */
  UMA_LITMUS_FETCH_AND,
  UMA_LITMUS_FETCH_OR,
  UMA_LITMUS_FETCH_XOR,
  UMA_LITMUS_CAS, /* if (location == register) location = operand; register = the old value */
  UMA_LITMUS_FENCE_FULL,
  UMA_LITMUS_FENCE_STORE,
  UMA_LITMUS_FENCE_LOAD,
};

struct uma_litmus_step {
  uint8_t op;   /* enum uma_litmus_op */
  uint8_t size; /* 1, 2, 4 or 8 bytes */
  uint8_t location;
  uint8_t reg;    /* the register that is written */
  bool immediate; /* the operand is `value`, else register `source` */
  uint8_t source;
  uint64_t value;
};

struct uma_litmus_thread {
  int count;
  struct uma_litmus_step steps[UMA_LITMUS_STEPS];
  uint64_t initial[UMA_LITMUS_ALL_REGISTERS];
};

struct uma_litmus_location {
  char name[UMA_LITMUS_NAME];
  uint64_t initial;
  uint8_t size; /* of its type; what the final value is read with */
  bool is_signed;
};

/* One part of an outcome: a register of a thread or the final value of a location (thread -1). */
struct uma_litmus_observed {
  int8_t thread;
  uint8_t index, size;
  bool is_signed;
  char name[UMA_LITMUS_NAME + 8]; /* "0:rax" or "[x]" */
};

enum uma_litmus_kind { UMA_LITMUS_TRUE, UMA_LITMUS_EQUAL, UMA_LITMUS_NOT, UMA_LITMUS_BOTH, UMA_LITMUS_EITHER };
struct uma_litmus_node {
  uint8_t kind;        /* enum uma_litmus_kind */
  int16_t left, right; /* nodes; EQUAL: `left` is the place in the outcome */
  uint64_t value;
};

enum uma_litmus_quantifier { UMA_LITMUS_EXISTS, UMA_LITMUS_NOT_EXISTS, UMA_LITMUS_FORALL };

struct uma_litmus {
  char name[UMA_LITMUS_NAME];
  char *doc; /* the strings after the name, one a line */
  int thread_count, location_count, observed_count, node_count;
  struct uma_litmus_thread threads[UMA_LITMUS_THREADS];
  struct uma_litmus_location locations[UMA_LITMUS_LOCATIONS];
  struct uma_litmus_observed observed[UMA_LITMUS_OBSERVED]; /* the parts of an outcome, as they are printed */
  enum uma_litmus_quantifier quantifier;
  int condition; /* the root of the proposition */
  struct uma_litmus_node nodes[UMA_LITMUS_NODES];
  char *condition_text; /* the proposition as it was written */
  bool filter_ignored;  /* the file had a filter */
};

/* An outcome holds observed_count values. A set of outcomes has no duplicates and is sorted, the lowest first. */
struct uma_litmus_outcome {
  uint64_t values[UMA_LITMUS_OBSERVED];
  uint64_t count; /* how often it was seen; 1 when it comes from uma_litmus_explore */
};
struct uma_litmus_outcomes {
  size_t count;
  struct uma_litmus_outcome *list; /* freed by the caller */
};

/* ---- litmus_parse.c, litmus_code.c, litmus_condition.c: 0, or -EINVAL with "path:line: what was expected" in uma_last_error */
int uma_litmus_parse(const char *path, const char *text, size_t bytes, struct uma_litmus **test);
int uma_litmus_read(const char *path, struct uma_litmus **test); /* also what open and read return */
void uma_litmus_free(struct uma_litmus *test);
bool uma_litmus_holds(const struct uma_litmus *test,
                      const struct uma_litmus_outcome *outcome); /* the proposition, without its quantifier */
/* Whether this is the outcome that is asked for: where the proposition holds; with `forall`, where it does not. */
bool uma_litmus_asked(const struct uma_litmus *test, const struct uma_litmus_outcome *outcome);
void uma_litmus_format(const struct uma_litmus *test, const struct uma_litmus_outcome *outcome, char *text,
                       size_t room); /* "0:rax=0; [x]=1;" */
const char *uma_litmus_quantifier_name(enum uma_litmus_quantifier quantifier);

/* ---- litmus_outcomes.c */
struct uma_litmus_tally; /* a set of outcomes that grows; NULL is the empty one */
int uma_litmus_tally_add(struct uma_litmus_tally **tally, const struct uma_litmus *test, const uint64_t *values); /* 0 or -ENOMEM */
int uma_litmus_tally_end(struct uma_litmus_tally **tally, const struct uma_litmus *test,
                         struct uma_litmus_outcomes *outcomes); /* the set; frees the tally */
bool uma_litmus_contains(const struct uma_litmus *test, const struct uma_litmus_outcomes *set, const struct uma_litmus_outcome *outcome);
bool uma_litmus_any_asked(const struct uma_litmus *test, const struct uma_litmus_outcomes *set);

/* ---- litmus_model.c */
enum uma_litmus_model { UMA_LITMUS_SC, UMA_LITMUS_TSO, UMA_LITMUS_MODELS };
/* All outcomes that the model allows. -E2BIG: more than UMA_LITMUS_MAX_STATES states. */
#define UMA_LITMUS_MAX_STATES 2000000
int uma_litmus_explore(const struct uma_litmus *test, enum uma_litmus_model model, struct uma_litmus_outcomes *outcomes);
const char *uma_litmus_model_name(enum uma_litmus_model model);
/* What the file says of the asked outcome in a string such as "SC=forbidden TSO=allowed": 1 allowed, 0 forbidden, -1 nothing. */
int uma_litmus_stated(const struct uma_litmus *test, enum uma_litmus_model model);

/* ---- litmus_run.c */
struct uma_litmus_options {
  struct uma_config config; /* its coherence decides how locations are reached */
  uint64_t runs, seed;
  bool same_line; /* all locations in one line, else each in its own and in the window of another device */
};
/* Where a PMIx launcher started this process: joins its session, which then runs all tests, and returns 1; uma_finalize ends it. Else 0, or -errno. */
int uma_litmus_join(const struct uma_litmus_options *options);
/* Runs the test on thread_count devices that it starts; in a session that was joined on its devices, all of which call it, and only device 0
 * gets the outcomes. 0, UMA_LITMUS_SILENT on the others, or -errno. */
enum { UMA_LITMUS_SILENT = 1000 }; /* no status of a process */
int uma_litmus_run(const struct uma_litmus *test, const struct uma_litmus_options *options, struct uma_litmus_outcomes *outcomes);

/* ---- What both the runner and the models do */
static inline uint64_t uma_litmus_low(uint64_t value, unsigned size)
{
  return size == 8 ? value : value & ((UINT64_C(1) << 8 * size) - 1);
}

/* As the processor does it: 4 bytes clear the upper half, 1 and 2 bytes leave the rest. */
static inline void uma_litmus_set(uint64_t *reg, uint64_t value, unsigned size)
{
  uint64_t low = uma_litmus_low(value, size);
  *reg = size >= 4 ? low : (*reg & ~uma_litmus_low(~UINT64_C(0), size)) | low;
}

static inline uint64_t uma_litmus_operand(const struct uma_litmus_step *step, const uint64_t *registers)
{
  return step->immediate ? step->value : registers[step->source];
}

static inline bool uma_litmus_is_local(const struct uma_litmus_step *step)
{
  return step->op >= UMA_LITMUS_MOVE && step->op <= UMA_LITMUS_XOR;
}

static inline bool uma_litmus_is_locked(const struct uma_litmus_step *step)
{
  return step->op >= UMA_LITMUS_SWAP && step->op <= UMA_LITMUS_CAS;
}

static inline void uma_litmus_do_local(const struct uma_litmus_step *step, uint64_t *registers)
{
  uint64_t operand = uma_litmus_operand(step, registers), old = registers[step->reg], value = operand;
  switch (step->op) {
  case UMA_LITMUS_ADD: value = old + operand; break;
  case UMA_LITMUS_SUB: value = old - operand; break;
  case UMA_LITMUS_AND: value = old & operand; break;
  case UMA_LITMUS_OR: value = old | operand; break;
  case UMA_LITMUS_XOR: value = old ^ operand; break;
  default: break;
  }
  uma_litmus_set(&registers[step->reg], value, step->size);
}

#endif
