/* The instructions of litmus tests, in both ways of writing that test sets use:
 *
 *     movq $1,(x)    movq (%rax),%rbx    lock addq $2,(x)       source first, registers with %
 *     MOV [x],$1     MOV EBX,[y]         XCHG [x],EAX           target first, bare registers
 *
 * An immediate is never the target, and of two operands that are no immediate one is a register: so every instruction shows
 * which way it is written. Addresses are settled here: a register that holds the address of a location (0:rax=x) may be
 * copied and used as (%rax), and is no data. What the processor does not do at once becomes several steps, with the
 * temporaries between them.
 */
#include <ctype.h>
#include <errno.h>
#include <strings.h>

#include "uma/litmus_text.h"

#define ACCUMULATOR 0 /* cmpxchg compares with it */
#define TEMPORARY UMA_LITMUS_REGISTERS
#define SECOND_TEMPORARY (UMA_LITMUS_REGISTERS + 1)

enum operand_kind { NOTHING, NUMBER, REGISTER, MEMORY };
struct operand {
  enum operand_kind kind;
  uint64_t value;
  int index;    /* register or location */
  int size;     /* of a register */
  bool percent; /* a register was written with % */
};

struct instruction {
  const char *at;
  const struct mnemonic *mnemonic;
  int thread, size;
  bool locked;
  struct operand target, source;
};

struct mnemonic {
  const char *name;
  int (*emit)(struct uma_litmus_text *text, const struct instruction *i);
  int operands;
  uint8_t op, locked_op; /* of arithmetic */
  bool lockable;
};

/* ---- Steps */

static int emit(struct uma_litmus_text *text, const struct instruction *i, struct uma_litmus_step step)
{
  struct uma_litmus_thread *thread = &text->test->threads[i->thread];
  if (thread->count == UMA_LITMUS_STEPS)
    return uma_litmus_error(text, i->at, "thread %d has more than %d steps", i->thread, UMA_LITMUS_STEPS);
  step.size = (uint8_t)i->size;
  thread->steps[thread->count++] = step;
  return 0;
}

static int emit_memory(struct uma_litmus_text *text, const struct instruction *i, const struct operand *memory, struct uma_litmus_step step)
{
  step.location = (uint8_t)memory->index;
  if (text->widest[memory->index] < i->size) text->widest[memory->index] = (uint8_t)i->size;
  return emit(text, i, step);
}

static int load(struct uma_litmus_text *text, const struct instruction *i, const struct operand *memory, int reg)
{
  return emit_memory(text, i, memory, (struct uma_litmus_step){.op = UMA_LITMUS_LOAD, .reg = (uint8_t)reg});
}

/* The step with `operand`, a number or a register, as what it works with. */
static struct uma_litmus_step with(int op, int reg, const struct operand *operand)
{
  return (struct uma_litmus_step){.op = (uint8_t)op,
                                  .reg = (uint8_t)reg,
                                  .immediate = operand->kind == NUMBER,
                                  .source = operand->kind == REGISTER ? (uint8_t)operand->index : 0,
                                  .value = operand->value};
}

static const struct operand temporary = {.kind = REGISTER, .index = TEMPORARY};
static const struct operand zero = {.kind = NUMBER};

/* Data goes into this register: it holds no address any more. */
static void set(struct uma_litmus_text *text, const struct instruction *i, int reg)
{
  text->known[i->thread] |= 1u << reg;
  text->holds[i->thread][reg] = UMA_LITMUS_NO_ADDRESS;
}

/* The operand's value is used as data. */
static int use(struct uma_litmus_text *text, const struct instruction *i, const struct operand *operand)
{
  if (operand->kind != REGISTER || text->holds[i->thread][operand->index] == UMA_LITMUS_NO_ADDRESS) return 0;
  return uma_litmus_error(text, i->at, "%s: a register holds the address of %s; it can be copied and used in parentheses only",
                          i->mnemonic->name, text->test->locations[text->holds[i->thread][operand->index]].name);
}

/* ---- Instructions */

static int emit_fence(struct uma_litmus_text *text, const struct instruction *i)
{
  return emit(text, i, (struct uma_litmus_step){.op = i->mnemonic->op});
}

static int emit_nothing(struct uma_litmus_text *text, const struct instruction *i)
{
  return 0;
}

static int emit_mov(struct uma_litmus_text *text, const struct instruction *i)
{
  int held = i->source.kind == REGISTER ? text->holds[i->thread][i->source.index] : UMA_LITMUS_NO_ADDRESS;
  bool copies_address = held != UMA_LITMUS_NO_ADDRESS && i->target.kind == REGISTER && i->size == 8;
  int result = copies_address ? 0 : use(text, i, &i->source);
  if (result) return result;
  if (i->target.kind == MEMORY) return emit_memory(text, i, &i->target, with(UMA_LITMUS_STORE, 0, &i->source));
  set(text, i, i->target.index);
  if (copies_address) text->holds[i->thread][i->target.index] = (int16_t)held;
  if (i->source.kind == MEMORY) return load(text, i, &i->source, i->target.index);
  return emit(text, i, with(UMA_LITMUS_MOVE, i->target.index, &i->source));
}

/* `lock sub` of a register adds its negative. */
static int emit_locked(struct uma_litmus_text *text, const struct instruction *i)
{
  int result;
  struct uma_litmus_step step = with(i->mnemonic->locked_op, TEMPORARY, &i->source);
  if (i->mnemonic->op == UMA_LITMUS_SUB && i->source.kind == NUMBER) step.value = uma_litmus_low(0 - step.value, (unsigned)i->size);
  if (i->mnemonic->op == UMA_LITMUS_SUB && i->source.kind == REGISTER) {
    if ((result = emit(text, i, with(UMA_LITMUS_MOVE, SECOND_TEMPORARY, &zero))) ||
        (result = emit(text, i, with(UMA_LITMUS_SUB, SECOND_TEMPORARY, &i->source))))
      return result;
    step.source = SECOND_TEMPORARY;
  }
  return emit_memory(text, i, &i->target, step);
}

static int emit_arithmetic(struct uma_litmus_text *text, const struct instruction *i)
{
  int result, op = i->mnemonic->op;
  if ((result = use(text, i, &i->source)) || (result = use(text, i, &i->target))) return result;
  if (i->locked) return emit_locked(text, i);
  if (i->target.kind == MEMORY) {
    if ((result = load(text, i, &i->target, TEMPORARY)) || (result = emit(text, i, with(op, TEMPORARY, &i->source)))) return result;
    return emit_memory(text, i, &i->target, with(UMA_LITMUS_STORE, 0, &temporary));
  }
  set(text, i, i->target.index);
  if (i->source.kind != MEMORY) return emit(text, i, with(op, i->target.index, &i->source));
  result = load(text, i, &i->source, TEMPORARY);
  return result ? result : emit(text, i, with(op, i->target.index, &temporary));
}

static int emit_by_one(struct uma_litmus_text *text, const struct instruction *i)
{
  struct instruction by_one = *i;
  by_one.source = (struct operand){.kind = NUMBER, .value = 1};
  return emit_arithmetic(text, &by_one);
}

/* xchg, xadd and cmpxchg with a location: `reg` receives its old value. */
static int emit_at_once(struct uma_litmus_text *text, const struct instruction *i, int op, int reg)
{
  const struct operand received = {.kind = REGISTER, .index = reg};
  int result;
  if (i->target.kind != MEMORY || i->source.kind != REGISTER)
    return uma_litmus_error(text, i->at, "%s: expected a location and a register", i->mnemonic->name);
  if ((result = use(text, i, &i->source)) || (result = use(text, i, &received))) return result;
  set(text, i, reg);
  return emit_memory(text, i, &i->target, with(op, reg, &i->source));
}

static int emit_xchg(struct uma_litmus_text *text, const struct instruction *i)
{
  struct instruction ordered = *i;
  int result;
  if (i->source.kind == MEMORY) {
    ordered.target = i->source;
    ordered.source = i->target;
  }
  if (ordered.target.kind == MEMORY || ordered.source.kind != REGISTER)
    return emit_at_once(text, &ordered, UMA_LITMUS_SWAP, ordered.source.index);
  if ((result = use(text, i, &i->source)) || (result = use(text, i, &i->target))) return result;
  set(text, i, i->source.index);
  set(text, i, i->target.index);
  if ((result = emit(text, i, with(UMA_LITMUS_MOVE, TEMPORARY, &i->source))) ||
      (result = emit(text, i, with(UMA_LITMUS_MOVE, i->source.index, &i->target))))
    return result;
  return emit(text, i, with(UMA_LITMUS_MOVE, i->target.index, &temporary));
}

static int emit_xadd(struct uma_litmus_text *text, const struct instruction *i)
{
  return i->locked ? emit_at_once(text, i, UMA_LITMUS_FETCH_ADD, i->source.index)
                   : uma_litmus_error(text, i->at, "xadd: expected lock before it");
}

static int emit_cmpxchg(struct uma_litmus_text *text, const struct instruction *i)
{
  return i->locked ? emit_at_once(text, i, UMA_LITMUS_CAS, ACCUMULATOR) : uma_litmus_error(text, i->at, "cmpxchg: expected lock before it");
}

static const struct mnemonic mnemonics[] = {
    {"mov", emit_mov, 2, 0, 0, false},
    {"xchg", emit_xchg, 2, 0, 0, true},
    {"xadd", emit_xadd, 2, 0, 0, true},
    {"cmpxchg", emit_cmpxchg, 2, 0, 0, true},
    {"add", emit_arithmetic, 2, UMA_LITMUS_ADD, UMA_LITMUS_FETCH_ADD, true},
    {"sub", emit_arithmetic, 2, UMA_LITMUS_SUB, UMA_LITMUS_FETCH_ADD, true},
    {"and", emit_arithmetic, 2, UMA_LITMUS_AND, UMA_LITMUS_FETCH_AND, true},
    {"or", emit_arithmetic, 2, UMA_LITMUS_OR, UMA_LITMUS_FETCH_OR, true},
    {"xor", emit_arithmetic, 2, UMA_LITMUS_XOR, UMA_LITMUS_FETCH_XOR, true},
    {"inc", emit_by_one, 1, UMA_LITMUS_ADD, UMA_LITMUS_FETCH_ADD, true},
    {"dec", emit_by_one, 1, UMA_LITMUS_SUB, UMA_LITMUS_FETCH_ADD, true},
    {"mfence", emit_fence, 0, UMA_LITMUS_FENCE_FULL, 0, false},
    {"sfence", emit_fence, 0, UMA_LITMUS_FENCE_STORE, 0, false},
    {"lfence", emit_fence, 0, UMA_LITMUS_FENCE_LOAD, 0, false},
    {"nop", emit_nothing, 0, 0, 0, false},
};

/* ---- Reading */

/* "addq" is "add" with 8 bytes; without a suffix the operands tell. */
static const struct mnemonic *find_mnemonic(const char *word, int *size)
{
  static const char suffixes[] = "bwlq";
  for (size_t m = 0; m < sizeof mnemonics / sizeof mnemonics[0]; m++) {
    size_t length = strlen(mnemonics[m].name);
    if (strncasecmp(word, mnemonics[m].name, length)) continue;
    if (!word[length]) return &mnemonics[m];
    const char *suffix = strchr(suffixes, tolower((unsigned char)word[length]));
    if (!suffix || word[length + 1] || !mnemonics[m].operands) continue;
    *size = 1 << (suffix - suffixes);
    return &mnemonics[m];
  }
  return NULL;
}

/* What stands in parentheses or brackets: a location, or a register that holds its address. */
static int take_address(struct uma_litmus_text *text, int thread, const char *closing, struct operand *operand)
{
  char name[UMA_LITMUS_NAME];
  struct uma_litmus_register reg;
  bool percent = uma_litmus_accept(text, "%");
  const char *at = text->at;
  int result = uma_litmus_take_name(text, "a location or a register", name);
  if (result) return result;
  operand->kind = MEMORY;
  if (uma_litmus_find_register(name, &reg)) {
    operand->index = reg.size == 8 ? text->holds[thread][reg.index] : UMA_LITMUS_NO_ADDRESS;
    if (operand->index == UMA_LITMUS_NO_ADDRESS)
      return uma_litmus_error(text, at, "register %s of thread %d holds no address here; expected one such as {%d:%s=x;}", name, thread,
                              thread, name);
  } else {
    if (percent) return uma_litmus_error(text, at, "expected a register such as rax, found \"%s\"", name);
    if ((result = uma_litmus_add_location(text, at, name, &operand->index))) return result;
  }
  return uma_litmus_accept(text, closing) ? 0 : uma_litmus_expected(text, closing);
}

static int take_operand(struct uma_litmus_text *text, int thread, struct operand *operand)
{
  struct uma_litmus_register reg;
  if (uma_litmus_accept(text, "(")) return take_address(text, thread, ")", operand);
  if (uma_litmus_accept(text, "[")) return take_address(text, thread, "]", operand);
  if (uma_litmus_accept(text, "$") || uma_litmus_at_number(text)) {
    operand->kind = NUMBER;
    return uma_litmus_take_number(text, &operand->value);
  }
  if (*text->at != '%' && !isalpha((unsigned char)*text->at))
    return uma_litmus_expected(text, "$number, a register, (location) or [location]");
  operand->percent = *text->at == '%';
  int result = uma_litmus_take_register(text, &reg);
  if (result) return result;
  operand->kind = REGISTER;
  operand->index = reg.index;
  operand->size = reg.size;
  return 0;
}

/* Finds out which of the two is the target. */
static int order_operands(struct uma_litmus_text *text, struct instruction *i, const struct operand *first, const struct operand *second)
{
  if (first->kind == MEMORY && second->kind == MEMORY)
    return uma_litmus_error(text, i->at, "%s: two locations; one operand must be a register", i->mnemonic->name);
  if (first->kind == NUMBER && second->kind == NUMBER)
    return uma_litmus_error(text, i->at, "%s: two numbers; expected a target", i->mnemonic->name);
  if (first->kind == REGISTER && second->kind == REGISTER && first->percent != second->percent)
    return uma_litmus_error(text, i->at, "%s: expected %% before both registers or before none", i->mnemonic->name);
  bool source_first = first->kind == NUMBER || (second->kind != NUMBER && (first->percent || second->percent));
  i->target = source_first ? *second : *first;
  i->source = source_first ? *first : *second;
  return 0;
}

static int take_operands(struct uma_litmus_text *text, struct instruction *i)
{
  struct operand operands[2] = {0};
  int result = 0;
  for (int n = 0; n < i->mnemonic->operands && !result; n++) {
    if (n && !uma_litmus_accept(text, ",")) return uma_litmus_expected(text, "a comma and another operand");
    result = take_operand(text, i->thread, &operands[n]);
  }
  if (result) return result;
  uma_litmus_skip_blank(text);
  if (*text->at) return uma_litmus_expected(text, "the end of the instruction");
  i->target = operands[0];
  if (i->mnemonic->operands == 2) return order_operands(text, i, &operands[0], &operands[1]);
  if (i->target.kind == NUMBER) return uma_litmus_error(text, i->at, "%s: expected a register or a location", i->mnemonic->name);
  return 0;
}

static bool fits(uint64_t value, unsigned size)
{
  uint64_t low = uma_litmus_low(value, size), sign = UINT64_C(1) << (8 * size - 1);
  return size == 8 || value == low || ((low & sign) && value == (low | ~uma_litmus_low(~UINT64_C(0), size)));
}

/* Suffix, registers and the location's type must agree on the size. */
static int settle_size(struct uma_litmus_text *text, struct instruction *i)
{
  const struct operand *operands[] = {&i->target, &i->source};
  const char *name = i->mnemonic->name;
  for (int n = 0; n < 2; n++) {
    if (operands[n]->kind != REGISTER) continue;
    if (i->size && i->size != operands[n]->size)
      return uma_litmus_error(text, i->at, "%s of %d bytes with a register of %d", name, i->size, operands[n]->size);
    i->size = operands[n]->size;
  }
  if (!i->size) i->size = i->target.kind == MEMORY && text->typed[i->target.index] ? text->test->locations[i->target.index].size : 4;
  if (i->source.kind == NUMBER && !fits(i->source.value, (unsigned)i->size))
    return uma_litmus_error(text, i->at, "%s: %lld does not fit in %d bytes", name, (long long)i->source.value, i->size);
  i->source.value = uma_litmus_low(i->source.value, (unsigned)i->size);
  return 0;
}

static int check_lock(struct uma_litmus_text *text, const struct instruction *i)
{
  bool memory = i->target.kind == MEMORY || i->source.kind == MEMORY, at_once = memory && (i->locked || i->mnemonic->emit == emit_xchg);
  if (i->locked && (!i->mnemonic->lockable || !memory || (i->target.kind != MEMORY && i->mnemonic->emit != emit_xchg)))
    return uma_litmus_error(text, i->at, "lock %s: expected an instruction that changes a location", i->mnemonic->name);
  if (at_once && i->size < 4)
    return uma_litmus_error(text, i->at, "%s of %d bytes; atomic instructions have 4 or 8", i->mnemonic->name, i->size);
  return 0;
}

int uma_litmus_take_instruction(struct uma_litmus_text *text, int thread)
{
  char word[UMA_LITMUS_NAME];
  struct instruction i = {.thread = thread};
  int result;
  uma_litmus_skip_blank(text);
  if (!*text->at) return 0;
  i.at = text->at;
  if ((result = uma_litmus_take_name(text, "an instruction", word))) return result;
  i.locked = !strcasecmp(word, "lock");
  if (i.locked && (result = uma_litmus_take_name(text, "an instruction after lock", word))) return result;
  if (uma_litmus_accept(text, ":")) return uma_litmus_error(text, i.at, "labels and jumps cannot be run: \"%s:\"", word);
  i.mnemonic = find_mnemonic(word, &i.size);
  if (!i.mnemonic)
    return uma_litmus_error(text, i.at,
                            "unknown instruction \"%.40s\"; expected mov, add, sub, and, or, xor, inc, dec, xchg, lock xadd, lock cmpxchg, "
                            "mfence, sfence, lfence or nop",
                            word);
  if ((result = take_operands(text, &i)) || (result = settle_size(text, &i)) || (result = check_lock(text, &i))) return result;
  return i.mnemonic->emit(text, &i);
}
