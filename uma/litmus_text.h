/* The text of a litmus test while it is read; private to uma/litmus_parse.c, litmus_code.c and litmus_condition.c. */
#ifndef UMA_LITMUS_TEXT_H
#define UMA_LITMUS_TEXT_H

#include "uma/litmus.h"

#define UMA_LITMUS_NO_ADDRESS (-1)

struct uma_litmus_text {
  const char *path;
  char *start;    /* the whole text, NUL-terminated; comments are blanks */
  const char *at; /* what is read next */
  struct uma_litmus *test;
  int16_t holds[UMA_LITMUS_THREADS][UMA_LITMUS_ALL_REGISTERS]; /* the location whose address a register holds here, or NO_ADDRESS */
  uint32_t known[UMA_LITMUS_THREADS];                          /* a bit for each register that is set anywhere in the thread */
  const char *named_at[UMA_LITMUS_THREADS];                    /* where the thread was named before the threads were, or NULL */
  uint8_t widest[UMA_LITMUS_LOCATIONS];                        /* bytes of its widest access */
  bool typed[UMA_LITMUS_LOCATIONS];
};

struct uma_litmus_register {
  int index; /* 0 .. UMA_LITMUS_REGISTERS - 1 */
  int size;
};

/* ---- litmus_parse.c */
/* Records "path:line: ..." and returns -EINVAL. `at` is the place in the text. */
int uma_litmus_error(const struct uma_litmus_text *text, const char *at, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same, "expected `what`, found ..." at the place that is read next. */
int uma_litmus_expected(const struct uma_litmus_text *text, const char *what);
void uma_litmus_skip_blank(struct uma_litmus_text *text);
bool uma_litmus_accept(struct uma_litmus_text *text, const char *symbol); /* skips blanks, and the symbol if it is next */
bool uma_litmus_accept_word(struct uma_litmus_text *text, const char *word);
bool uma_litmus_at_number(struct uma_litmus_text *text);
int uma_litmus_take_number(struct uma_litmus_text *text, uint64_t *value);
int uma_litmus_take_name(struct uma_litmus_text *text, const char *what, char name[UMA_LITMUS_NAME]);
int uma_litmus_take_register(struct uma_litmus_text *text, struct uma_litmus_register *reg); /* with or without % */
int uma_litmus_take_thread(struct uma_litmus_text *text, int limit, int *thread);            /* "0:" */
bool uma_litmus_find_register(const char *name, struct uma_litmus_register *reg);
int uma_litmus_find_location(const struct uma_litmus *test, const char *name); /* or -1 */
int uma_litmus_add_location(struct uma_litmus_text *text, const char *at, const char *name, int *location);

/* ---- litmus_code.c: the instruction in the cell that is the whole text from here, or none, as the next steps of the thread */
int uma_litmus_take_instruction(struct uma_litmus_text *text, int thread);

/* ---- litmus_condition.c: from `locations`, `filter` or the quantifier to the end of the text */
bool uma_litmus_at_condition(struct uma_litmus_text *text);
int uma_litmus_take_condition(struct uma_litmus_text *text);

#endif
