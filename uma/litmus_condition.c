/* What follows the columns of a litmus test:
 *
 *     locations [x; 0:rax;]      further parts of the outcome
 *     filter (...)               read and ignored
 *     exists (0:rax=1 /\ (x=2 \/ not [y]=1))       also ~exists and forall; => is implication
 *
 * The proposition becomes nodes in an array, children before parents. `not` binds tighter than /\, /\ tighter than \/,
 * \/ tighter than =>. Nesting is bounded, so recursion is.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "uma/litmus_text.h"
#include "uma/session.h"

#define MOST_NESTING 64

static const char *const quantifiers[] = {"exists", "~exists", "forall"};

const char *uma_litmus_quantifier_name(enum uma_litmus_quantifier quantifier)
{
  return quantifiers[quantifier];
}

/* ---- Parts of an outcome */

static int add_observed(struct uma_litmus_text *text, const char *at, struct uma_litmus_observed observed, int *place)
{
  struct uma_litmus *test = text->test;
  for (*place = 0; *place < test->observed_count; ++*place) {
    const struct uma_litmus_observed *o = &test->observed[*place];
    if (o->thread == observed.thread && o->index == observed.index && o->size == observed.size) return 0;
  }
  if (*place == UMA_LITMUS_OBSERVED)
    return uma_litmus_error(text, at, "more than %d registers and locations are observed", UMA_LITMUS_OBSERVED);
  test->observed[test->observed_count++] = observed;
  return 0;
}

/* "0:rax" */
static int take_observed_register(struct uma_litmus_text *text, int *place)
{
  const char *at = text->at;
  int thread, result;
  struct uma_litmus_register reg;
  if ((result = uma_litmus_take_thread(text, text->test->thread_count, &thread)) || (result = uma_litmus_take_register(text, &reg)))
    return result;
  int length = (int)(text->at - at);
  if (text->holds[thread][reg.index] != UMA_LITMUS_NO_ADDRESS)
    return uma_litmus_error(text, at, "%.*s holds an address; expected a register with data", length, at);
  if (!(text->known[thread] >> reg.index & 1))
    return uma_litmus_error(text, at, "%.*s: the register is never set in thread %d", length, at, thread);
  struct uma_litmus_observed observed = {
      .thread = (int8_t)thread, .index = (uint8_t)reg.index, .size = (uint8_t)reg.size, .is_signed = true};
  const char *name = text->at;
  while (name > at && isalnum((unsigned char)name[-1])) name--;
  snprintf(observed.name, sizeof observed.name, "%d:%.*s", thread, (int)(text->at - name), name);
  return add_observed(text, at, observed, place);
}

/* "x" or "[x]" */
static int take_observed_location(struct uma_litmus_text *text, int *place)
{
  char name[UMA_LITMUS_NAME];
  bool bracket = uma_litmus_accept(text, "[");
  uma_litmus_skip_blank(text);
  const char *at = text->at;
  int result = uma_litmus_take_name(text, "THREAD:REGISTER=NUMBER or LOCATION=NUMBER", name);
  if (result) return result;
  if (bracket && !uma_litmus_accept(text, "]")) return uma_litmus_expected(text, "]");
  int location = uma_litmus_find_location(text->test, name);
  if (location < 0) return uma_litmus_error(text, at, "there is no location \"%s\" in the test", name);
  const struct uma_litmus_location *l = &text->test->locations[location];
  struct uma_litmus_observed observed = {.thread = -1, .index = (uint8_t)location, .size = l->size, .is_signed = l->is_signed};
  snprintf(observed.name, sizeof observed.name, "[%s]", name);
  return add_observed(text, at, observed, place);
}

static int take_observed(struct uma_litmus_text *text, int *place)
{
  return uma_litmus_at_number(text) ? take_observed_register(text, place) : take_observed_location(text, place);
}

/* ---- The proposition */

static int add_node(struct uma_litmus_text *text, struct uma_litmus_node node, int *added)
{
  struct uma_litmus *test = text->test;
  if (test->node_count == UMA_LITMUS_NODES)
    return uma_litmus_error(text, text->at, "the condition has more than %d parts", UMA_LITMUS_NODES);
  *added = test->node_count;
  test->nodes[test->node_count++] = node;
  return 0;
}

static int negate(struct uma_litmus_text *text, int *node)
{
  return add_node(text, (struct uma_litmus_node){.kind = UMA_LITMUS_NOT, .left = (int16_t)*node}, node);
}

/* "0:rax=1", "x=2", "[x]!=2" */
static int take_equation(struct uma_litmus_text *text, int *node)
{
  int place = 0, result;
  uint64_t value = 0;
  if ((result = take_observed(text, &place))) return result;
  bool unequal = uma_litmus_accept(text, "!=") || uma_litmus_accept(text, "<>");
  if (!unequal && !uma_litmus_accept(text, "=")) return uma_litmus_expected(text, "=");
  if ((result = uma_litmus_take_number(text, &value))) return result;
  value = uma_litmus_low(value, text->test->observed[place].size);
  result = add_node(text, (struct uma_litmus_node){.kind = UMA_LITMUS_EQUAL, .left = (int16_t)place, .value = value}, node);
  return result || !unequal ? result : negate(text, node);
}

static int take_proposition(struct uma_litmus_text *text, int depth, int *node);

static int take_term(struct uma_litmus_text *text, int depth, int *node)
{
  int result;
  if (depth > MOST_NESTING) return uma_litmus_error(text, text->at, "the condition is nested deeper than %d", MOST_NESTING);
  if (uma_litmus_accept_word(text, "not") || uma_litmus_accept(text, "~")) {
    result = take_term(text, depth + 1, node);
    return result ? result : negate(text, node);
  }
  if (uma_litmus_accept(text, "(")) {
    result = take_proposition(text, depth + 1, node);
    return result || uma_litmus_accept(text, ")") ? result : uma_litmus_expected(text, "/\\, \\/ or )");
  }
  if (uma_litmus_accept_word(text, "true")) return add_node(text, (struct uma_litmus_node){.kind = UMA_LITMUS_TRUE}, node);
  if (!uma_litmus_accept_word(text, "false")) return take_equation(text, node);
  result = add_node(text, (struct uma_litmus_node){.kind = UMA_LITMUS_TRUE}, node);
  return result ? result : negate(text, node);
}

static int join(struct uma_litmus_text *text, enum uma_litmus_kind kind, int right, int *node)
{
  return add_node(text, (struct uma_litmus_node){.kind = kind, .left = (int16_t)*node, .right = (int16_t)right}, node);
}

static int take_conjunction(struct uma_litmus_text *text, int depth, int *node)
{
  int right, result = take_term(text, depth, node);
  while (!result && uma_litmus_accept(text, "/\\"))
    if (!(result = take_term(text, depth, &right))) result = join(text, UMA_LITMUS_BOTH, right, node);
  return result;
}

static int take_disjunction(struct uma_litmus_text *text, int depth, int *node)
{
  int right, result = take_conjunction(text, depth, node);
  while (!result && uma_litmus_accept(text, "\\/"))
    if (!(result = take_conjunction(text, depth, &right))) result = join(text, UMA_LITMUS_EITHER, right, node);
  return result;
}

static int take_proposition(struct uma_litmus_text *text, int depth, int *node)
{
  int right, result = take_disjunction(text, depth, node);
  if (result || !uma_litmus_accept(text, "=>")) return result;
  if (depth > MOST_NESTING) return uma_litmus_error(text, text->at, "the condition is nested deeper than %d", MOST_NESTING);
  if ((result = negate(text, node)) || (result = take_proposition(text, depth + 1, &right))) return result;
  return join(text, UMA_LITMUS_EITHER, right, node);
}

static bool holds(const struct uma_litmus *test, int at, const uint64_t *values)
{
  const struct uma_litmus_node *node = &test->nodes[at];
  switch (node->kind) {
  case UMA_LITMUS_EQUAL: return values[node->left] == node->value;
  case UMA_LITMUS_NOT: return !holds(test, node->left, values);
  case UMA_LITMUS_BOTH: return holds(test, node->left, values) && holds(test, node->right, values);
  case UMA_LITMUS_EITHER: return holds(test, node->left, values) || holds(test, node->right, values);
  default: return true;
  }
}

bool uma_litmus_holds(const struct uma_litmus *test, const struct uma_litmus_outcome *outcome)
{
  return holds(test, test->condition, outcome->values);
}

bool uma_litmus_asked(const struct uma_litmus *test, const struct uma_litmus_outcome *outcome)
{
  return uma_litmus_holds(test, outcome) != (test->quantifier == UMA_LITMUS_FORALL);
}

/* ---- The whole */

static bool take_quantifier(struct uma_litmus_text *text, enum uma_litmus_quantifier *quantifier)
{
  bool negated = uma_litmus_accept(text, "~") || uma_litmus_accept_word(text, "not");
  *quantifier = negated ? UMA_LITMUS_NOT_EXISTS : UMA_LITMUS_EXISTS;
  if (uma_litmus_accept_word(text, "exists")) return true;
  *quantifier = UMA_LITMUS_FORALL;
  return !negated && uma_litmus_accept_word(text, "forall");
}

bool uma_litmus_at_condition(struct uma_litmus_text *text)
{
  const char *kept = text->at;
  enum uma_litmus_quantifier quantifier;
  bool found = uma_litmus_accept_word(text, "locations") || uma_litmus_accept_word(text, "filter") || take_quantifier(text, &quantifier);
  text->at = kept;
  return found;
}

/* "[x; 0:rax;]" */
static int take_locations(struct uma_litmus_text *text)
{
  int place, result;
  if (!uma_litmus_accept(text, "[")) return uma_litmus_expected(text, "[");
  while (!uma_litmus_accept(text, "]")) {
    if ((result = take_observed(text, &place))) return result;
    if (uma_litmus_accept(text, ";")) continue;
    if (*text->at != ']') return uma_litmus_expected(text, "; or ]");
  }
  return 0;
}

static int take_before_condition(struct uma_litmus_text *text)
{
  int ignored, result = 0;
  while (!result) {
    if (uma_litmus_accept_word(text, "locations")) result = take_locations(text);
    else if (uma_litmus_accept_word(text, "filter")) {
      text->test->filter_ignored = true;
      result = take_proposition(text, 0, &ignored);
    } else break;
  }
  return result;
}

static int compare_observed(const void *left, const void *right)
{
  const struct uma_litmus_observed *a = left, *b = right;
  int a_thread = a->thread < 0 ? UMA_LITMUS_THREADS : a->thread, b_thread = b->thread < 0 ? UMA_LITMUS_THREADS : b->thread;
  return a_thread != b_thread ? a_thread - b_thread : strcmp(a->name, b->name);
}

/* Threads first, in their order, then locations. */
static void sort_observed(struct uma_litmus *test)
{
  struct uma_litmus_observed before[UMA_LITMUS_OBSERVED];
  int16_t place[UMA_LITMUS_OBSERVED] = {0};
  memcpy(before, test->observed, sizeof before);
  qsort(test->observed, (size_t)test->observed_count, sizeof test->observed[0], compare_observed);
  for (int i = 0; i < test->observed_count; i++)
    for (int j = 0; j < test->observed_count; j++)
      if (!compare_observed(&before[i], &test->observed[j])) place[i] = (int16_t)j;
  for (int n = 0; n < test->node_count; n++)
    if (test->nodes[n].kind == UMA_LITMUS_EQUAL) test->nodes[n].left = place[test->nodes[n].left];
}

/* As it was written, with single blanks. */
static char *tidy(const char *begin, const char *end)
{
  char *text = calloc(1, (size_t)(end - begin) + 1), *to = text;
  for (const char *c = begin; text && c < end; c++) {
    if (!isspace((unsigned char)*c)) *to++ = *c;
    else if (to > text && to[-1] != ' ') *to++ = ' ';
  }
  while (to > text && to[-1] == ' ') *--to = 0;
  return text;
}

int uma_litmus_take_condition(struct uma_litmus_text *text)
{
  struct uma_litmus *test = text->test;
  int result = take_before_condition(text);
  if (result) return result;
  uma_litmus_skip_blank(text);
  if (!take_quantifier(text, &test->quantifier)) return uma_litmus_expected(text, "exists, ~exists or forall and a condition");
  uma_litmus_skip_blank(text);
  const char *begin = text->at;
  if ((result = take_proposition(text, 0, &test->condition))) return result;
  test->condition_text = tidy(begin, text->at);
  if (!test->condition_text) return uma_fail(-ENOMEM, "%s: out of memory", text->path);
  uma_litmus_skip_blank(text);
  if (*text->at) return uma_litmus_expected(text, "the end of the test");
  sort_observed(test);
  return 0;
}

void uma_litmus_format(const struct uma_litmus *test, const struct uma_litmus_outcome *outcome, char *text, size_t room)
{
  size_t used = 0;
  text[0] = 0;
  for (int i = 0; i < test->observed_count && used < room; i++) {
    const struct uma_litmus_observed *o = &test->observed[i];
    unsigned unused = 64 - 8u * o->size;
    long long value = o->is_signed ? (long long)(outcome->values[i] << unused) >> unused : (long long)outcome->values[i];
    used += (size_t)snprintf(text + used, room - used, o->is_signed ? "%s%s=%lld;" : "%s%s=%llu;", i ? " " : "", o->name, value);
  }
}
