/* Reads litmus tests in the format of herd and litmus7, for X86 and X86_64:
 *
 *     X86_64 SB
 *     "strings, KEY=VALUE lines and comments (* like this *)"
 *     { uint64_t x; [y]=0; 0:rax=2; 1:rbx=x; }
 *      P0          | P1            ;
 *      movq $1,(x) | movq $1,(y)   ;
 *      MOV EAX,[y] | movq (x),%rax ;
 *     exists (0:eax=0 /\ 1:rax=0)
 *
 * This file has the characters, the name, the initial values and the table of columns; litmus_code.c has the instructions,
 * litmus_condition.c what follows the table. Everything is checked and bounded here: a test that was accepted can be run and
 * explored without further checks. Every mistake ends the reading with file, line, what was expected and what was found.
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <strings.h>

#include "uma/litmus_text.h"
#include "uma/session.h"

#define MOST_BYTES ((size_t)1 << 20)

int uma_litmus_error(const struct uma_litmus_text *text, const char *at, const char *format, ...)
{
  char sentence[256];
  int line = 1;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(sentence, sizeof sentence, format, arguments);
  va_end(arguments);
  for (const char *c = text->start; c < at; c++) line += *c == '\n';
  return uma_fail(-EINVAL, "%s:%d: %s", text->path, line, sentence);
}

int uma_litmus_expected(const struct uma_litmus_text *text, const char *what)
{
  char found[24];
  size_t length = 0;
  for (const char *c = text->at; length < sizeof found - 1 && *c && *c != '\n'; c++) {
    bool in_word = isalnum((unsigned char)*c) || *c == '_';
    if (length && !(in_word && (isalnum((unsigned char)found[length - 1]) || found[length - 1] == '_'))) break;
    found[length++] = isprint((unsigned char)*c) ? *c : '?';
  }
  found[length] = 0;
  if (!length) return uma_litmus_error(text, text->at, "expected %s, found the end of the %s", what, *text->at ? "line" : "text");
  return uma_litmus_error(text, text->at, "expected %s, found \"%s\"", what, found);
}

void uma_litmus_skip_blank(struct uma_litmus_text *text)
{
  text->at += strspn(text->at, " \t\r\n\f");
}

bool uma_litmus_accept(struct uma_litmus_text *text, const char *symbol)
{
  uma_litmus_skip_blank(text);
  size_t length = strlen(symbol);
  if (strncmp(text->at, symbol, length)) return false;
  text->at += length;
  return true;
}

static bool is_name_start(char c)
{
  return isalpha((unsigned char)c) || c == '_';
}

static bool is_name_part(char c)
{
  return isalnum((unsigned char)c) || c == '_' || c == '\'';
}

bool uma_litmus_accept_word(struct uma_litmus_text *text, const char *word)
{
  uma_litmus_skip_blank(text);
  size_t length = strlen(word);
  if (strncmp(text->at, word, length) || is_name_part(text->at[length])) return false;
  text->at += length;
  return true;
}

bool uma_litmus_at_number(struct uma_litmus_text *text)
{
  uma_litmus_skip_blank(text);
  return isdigit((unsigned char)text->at[*text->at == '-']);
}

int uma_litmus_take_number(struct uma_litmus_text *text, uint64_t *value)
{
  if (!uma_litmus_at_number(text)) return uma_litmus_expected(text, "a number");
  const char *begin = text->at;
  bool negative = *begin == '-';
  char *end;
  int base = begin[negative] == '0' && tolower((unsigned char)begin[negative + 1]) == 'x' ? 16 : 10;
  errno = 0;
  unsigned long long number = strtoull(begin + negative, &end, base);
  if (errno || (negative && number > UINT64_C(1) << 63)) return uma_litmus_error(text, begin, "the number does not fit in 64 bits");
  text->at = end;
  if (is_name_part(*end)) return uma_litmus_expected(text, "the end of the number");
  *value = negative ? 0 - (uint64_t)number : number;
  return 0;
}

int uma_litmus_take_name(struct uma_litmus_text *text, const char *what, char name[UMA_LITMUS_NAME])
{
  uma_litmus_skip_blank(text);
  if (!is_name_start(*text->at)) return uma_litmus_expected(text, what);
  size_t length = 0;
  while (is_name_part(text->at[length])) length++;
  if (length >= UMA_LITMUS_NAME)
    return uma_litmus_error(text, text->at, "the name \"%.20s...\" is longer than %d characters", text->at, UMA_LITMUS_NAME - 1);
  memcpy(name, text->at, length);
  name[length] = 0;
  text->at += length;
  return 0;
}

bool uma_litmus_find_register(const char *name, struct uma_litmus_register *reg)
{
  static const char names[UMA_LITMUS_REGISTERS][4][5] = {
      {"al", "ax", "eax", "rax"},      {"bl", "bx", "ebx", "rbx"},      {"cl", "cx", "ecx", "rcx"},      {"dl", "dx", "edx", "rdx"},
      {"sil", "si", "esi", "rsi"},     {"dil", "di", "edi", "rdi"},     {"bpl", "bp", "ebp", "rbp"},     {"spl", "sp", "esp", "rsp"},
      {"r8b", "r8w", "r8d", "r8"},     {"r9b", "r9w", "r9d", "r9"},     {"r10b", "r10w", "r10d", "r10"}, {"r11b", "r11w", "r11d", "r11"},
      {"r12b", "r12w", "r12d", "r12"}, {"r13b", "r13w", "r13d", "r13"}, {"r14b", "r14w", "r14d", "r14"}, {"r15b", "r15w", "r15d", "r15"},
  };
  for (int i = 0; i < UMA_LITMUS_REGISTERS; i++)
    for (int s = 0; s < 4; s++)
      if (!strcasecmp(name, names[i][s])) {
        *reg = (struct uma_litmus_register){i, 1 << s};
        return true;
      }
  return false;
}

int uma_litmus_take_register(struct uma_litmus_text *text, struct uma_litmus_register *reg)
{
  char name[UMA_LITMUS_NAME];
  uma_litmus_accept(text, "%");
  const char *at = text->at;
  int result = uma_litmus_take_name(text, "a register", name);
  if (result) return result;
  return uma_litmus_find_register(name, reg) ? 0 : uma_litmus_error(text, at, "expected a register such as rax or eax, found \"%s\"", name);
}

int uma_litmus_take_thread(struct uma_litmus_text *text, int limit, int *thread)
{
  uma_litmus_skip_blank(text);
  const char *at = text->at;
  uint64_t number = 0;
  int result = uma_litmus_take_number(text, &number);
  if (result) return result;
  if (!uma_litmus_accept(text, ":")) return uma_litmus_expected(text, "\":\" after the thread's number");
  if (number >= (uint64_t)limit)
    return uma_litmus_error(text, at, "there is no thread %llu; expected 0 to %d", (unsigned long long)number, limit - 1);
  *thread = (int)number;
  if (!text->named_at[number]) text->named_at[number] = at;
  return 0;
}

int uma_litmus_find_location(const struct uma_litmus *test, const char *name)
{
  for (int i = 0; i < test->location_count; i++)
    if (!strcmp(test->locations[i].name, name)) return i;
  return -1;
}

int uma_litmus_add_location(struct uma_litmus_text *text, const char *at, const char *name, int *location)
{
  struct uma_litmus *test = text->test;
  *location = uma_litmus_find_location(test, name);
  if (*location >= 0) return 0;
  if (test->location_count == UMA_LITMUS_LOCATIONS)
    return uma_litmus_error(text, at, "\"%s\" is one location too many; expected at most %d", name, UMA_LITMUS_LOCATIONS);
  *location = test->location_count++;
  struct uma_litmus_location *l = &test->locations[*location];
  strcpy(l->name, name);
  l->size = 4;
  l->is_signed = true;
  return 0;
}

/* ---- The name, and what stands before the initial values */

static int take_string(struct uma_litmus_text *text)
{
  const char *begin = ++text->at, *end = strchr(begin, '"');
  char *doc = text->test->doc;
  if (!end) return uma_litmus_error(text, begin, "expected \" at the end of the string, found the end of the text");
  if (asprintf(&text->test->doc, "%s%s%.*s", doc, *doc ? "\n" : "", (int)(end - begin), begin) < 0) {
    text->test->doc = doc;
    return uma_fail(-ENOMEM, "%s: out of memory", text->path);
  }
  free(doc);
  text->at = end + 1;
  return 0;
}

/* KEY=VALUE: tools leave such lines; they say nothing about the test. */
static int skip_remark(struct uma_litmus_text *text)
{
  size_t line = strcspn(text->at, "\n");
  if (!is_name_start(*text->at) || !memchr(text->at, '=', line))
    return uma_litmus_expected(text, "a string, KEY=VALUE, or { and the initial values");
  text->at += line;
  return 0;
}

static int take_header(struct uma_litmus_text *text)
{
  int result = 0;
  uma_litmus_skip_blank(text);
  if (!uma_litmus_accept_word(text, "X86_64") && !uma_litmus_accept_word(text, "X86"))
    return uma_litmus_expected(text, "X86_64 or X86 and the name of the test");
  text->at += strspn(text->at, " \t");
  size_t length = strcspn(text->at, " \t\r\n\f");
  if (!length) return uma_litmus_expected(text, "the name of the test");
  if (length >= UMA_LITMUS_NAME)
    return uma_litmus_error(text, text->at, "the test's name is longer than %d characters", UMA_LITMUS_NAME - 1);
  for (size_t i = 0; i < length; i++)
    if (!isgraph((unsigned char)text->at[i]))
      return uma_litmus_error(text, text->at, "the test's name has byte 0x%02x; expected ASCII", (unsigned char)text->at[i]);
  memcpy(text->test->name, text->at, length);
  text->at += length;
  while (!result && !uma_litmus_accept(text, "{")) result = *text->at == '"' ? take_string(text) : skip_remark(text);
  return result;
}

/* ---- The initial values */

/* A type, if one is next: its size, and whether it is signed. */
static bool take_type(struct uma_litmus_text *text, uint8_t *size, bool *is_signed)
{
  static const struct {
    const char *name;
    uint8_t size;
    bool is_signed;
  } types[] = {{"int", 4, true},      {"long", 8, true},      {"short", 2, true},     {"char", 1, true},      {"int8_t", 1, true},
               {"uint8_t", 1, false}, {"int16_t", 2, true},   {"uint16_t", 2, false}, {"int32_t", 4, true},   {"uint32_t", 4, false},
               {"int64_t", 8, true},  {"uint64_t", 8, false}, {"intptr_t", 8, true},  {"uintptr_t", 8, false}};
  uma_litmus_accept_word(text, "volatile");
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
    if (uma_litmus_accept_word(text, types[i].name)) {
      *size = types[i].size;
      *is_signed = types[i].is_signed;
      return true;
    }
  return false;
}

/* "0:rax=1", "0:rax=x", "0:rax". */
static int take_initial_register(struct uma_litmus_text *text)
{
  int thread, location, result;
  struct uma_litmus_register reg;
  char name[UMA_LITMUS_NAME];
  if ((result = uma_litmus_take_thread(text, UMA_LITMUS_THREADS, &thread)) || (result = uma_litmus_take_register(text, &reg)))
    return result;
  uint64_t *initial = &text->test->threads[thread].initial[reg.index], value;
  text->known[thread] |= 1u << reg.index;
  if (!uma_litmus_accept(text, "=")) return 0;
  if (uma_litmus_at_number(text)) {
    if ((result = uma_litmus_take_number(text, &value))) return result;
    uma_litmus_set(initial, value, (unsigned)reg.size);
    text->holds[thread][reg.index] = UMA_LITMUS_NO_ADDRESS;
    return 0;
  }
  uma_litmus_accept(text, "&");
  const char *at = text->at;
  if ((result = uma_litmus_take_name(text, "a number or a location", name)) ||
      (result = uma_litmus_add_location(text, at, name, &location)))
    return result;
  text->holds[thread][reg.index] = (int16_t)location;
  return 0;
}

/* "x=1", "[x]=1", "x". */
static int take_initial_location(struct uma_litmus_text *text, bool typed, uint8_t size, bool is_signed)
{
  char name[UMA_LITMUS_NAME];
  int location, result;
  uint64_t value = 0;
  bool bracket = uma_litmus_accept(text, "[");
  const char *at = text->at;
  if ((result = uma_litmus_take_name(text, "a location, THREAD:REGISTER, or }", name))) return result;
  if (bracket && !uma_litmus_accept(text, "]")) return uma_litmus_expected(text, "]");
  if ((result = uma_litmus_add_location(text, at, name, &location))) return result;
  struct uma_litmus_location *l = &text->test->locations[location];
  if (typed) {
    l->size = size;
    l->is_signed = is_signed;
    text->typed[location] = true;
  }
  if (!uma_litmus_accept(text, "=")) return 0;
  if ((result = uma_litmus_take_number(text, &value))) return result;
  l->initial = value;
  return 0;
}

static int take_initial_values(struct uma_litmus_text *text)
{
  while (!uma_litmus_accept(text, "}")) {
    uint8_t size = 0;
    bool is_signed = false;
    if (uma_litmus_accept(text, ";")) continue;
    bool typed = take_type(text, &size, &is_signed);
    int result = uma_litmus_at_number(text) ? take_initial_register(text) : take_initial_location(text, typed, size, is_signed);
    if (result) return result;
    uma_litmus_skip_blank(text);
    if (*text->at != ';' && *text->at != '}') return uma_litmus_expected(text, "; or }");
  }
  return 0;
}

/* ---- The table of columns */

/* "P0 | P1 ;" */
static int take_thread_names(struct uma_litmus_text *text)
{
  struct uma_litmus *test = text->test;
  for (bool more = true; more;) {
    uma_litmus_skip_blank(text);
    const char *at = text->at;
    char name[UMA_LITMUS_NAME], wanted[8];
    if (test->thread_count == UMA_LITMUS_THREADS) return uma_litmus_error(text, at, "more than %d threads", UMA_LITMUS_THREADS);
    snprintf(wanted, sizeof wanted, "P%d", test->thread_count);
    int result = uma_litmus_take_name(text, wanted, name);
    if (result) return result;
    if (strcmp(name, wanted)) return uma_litmus_error(text, at, "expected %s, found \"%s\"", wanted, name);
    test->thread_count++;
    more = uma_litmus_accept(text, "|");
  }
  if (!uma_litmus_accept(text, ";")) return uma_litmus_expected(text, "| or ; after the name of a thread");
  for (int t = test->thread_count; t < UMA_LITMUS_THREADS; t++)
    if (text->named_at[t])
      return uma_litmus_error(text, text->named_at[t], "there is no thread %d; expected 0 to %d", t, test->thread_count - 1);
  return 0;
}

/* One cell; it is made a string for as long as it is read. */
static int take_cell(struct uma_litmus_text *text, int thread, size_t length)
{
  char *end = text->start + (text->at - text->start) + length, kept = *end;
  *end = 0;
  int result = uma_litmus_take_instruction(text, thread);
  *end = kept;
  text->at = end;
  return result;
}

static int take_row(struct uma_litmus_text *text)
{
  const char *begin = text->at;
  size_t row = strcspn(text->at, ";");
  int columns = 1, result;
  if (!text->at[row]) return uma_litmus_error(text, begin, "expected a row that ends with ; or exists, ~exists, forall");
  for (const char *c = begin; c < begin + row; c++) columns += *c == '|';
  if (columns != text->test->thread_count)
    return uma_litmus_error(text, begin, "a row of %d columns; expected %d, one a thread", columns, text->test->thread_count);
  for (int thread = 0; thread < columns; thread++) {
    result = take_cell(text, thread, strcspn(text->at, "|;"));
    if (result) return result;
    text->at++;
  }
  return 0;
}

static int take_rows(struct uma_litmus_text *text)
{
  int result = 0;
  uma_litmus_skip_blank(text);
  while (!result && *text->at && !uma_litmus_at_condition(text)) {
    result = take_row(text);
    uma_litmus_skip_blank(text);
  }
  return result;
}

/* A location that was given no type is as wide as its widest access, at least an int. */
static void settle_types(struct uma_litmus_text *text)
{
  for (int i = 0; i < text->test->location_count; i++) {
    struct uma_litmus_location *l = &text->test->locations[i];
    if (!text->typed[i] && text->widest[i] > l->size) l->size = text->widest[i];
    l->initial = uma_litmus_low(l->initial, l->size);
  }
}

/* ---- The whole */

/* Comments become blanks; what is no text is refused. */
static int clean(struct uma_litmus_text *text, size_t bytes)
{
  int depth = 0;
  bool in_string = false;
  char *opened = NULL;
  for (char *c = text->start; c < text->start + bytes; c++) {
    unsigned char byte = (unsigned char)*c;
    if (byte < ' ' && !strchr("\t\n\r\f", byte ? byte : 1)) return uma_litmus_error(text, c, "byte 0x%02x is no text", byte);
    if (!depth && byte == '"') in_string = !in_string;
    if (!in_string && c[0] == '(' && c[1] == '*') {
      if (!depth++) opened = c;
      c[1] = ' '; /* so that "(*)" does not end what it begins */
    } else if (depth && c[0] == '*' && c[1] == ')') {
      depth--;
      c[0] = c[1] = ' ';
    }
    if (depth && *c != '\n') *c = ' ';
  }
  if (depth) return uma_litmus_error(text, opened, "expected *) at the end of the comment, found the end of the text");
  return 0;
}

static int parse(struct uma_litmus_text *text, size_t bytes)
{
  int result;
  if ((result = clean(text, bytes)) || (result = take_header(text)) || (result = take_initial_values(text)) ||
      (result = take_thread_names(text)) || (result = take_rows(text)))
    return result;
  settle_types(text);
  return uma_litmus_take_condition(text);
}

int uma_litmus_parse(const char *path, const char *characters, size_t bytes, struct uma_litmus **test)
{
  struct uma_litmus_text text = {.path = path};
  int result = uma_fail(-ENOMEM, "%s: out of memory", path);
  if (bytes > MOST_BYTES) return uma_fail(-EINVAL, "%s:1: %zu bytes; expected at most %zu", path, bytes, MOST_BYTES);
  memset(text.holds, UMA_LITMUS_NO_ADDRESS, sizeof text.holds);
  text.test = calloc(1, sizeof *text.test);
  text.at = text.start = calloc(1, bytes + 1);
  if (text.test) text.test->doc = calloc(1, 1);
  if (text.start && text.test && text.test->doc) {
    memcpy(text.start, characters, bytes);
    result = parse(&text, bytes);
  }
  free(text.start);
  if (result) uma_litmus_free(text.test);
  else *test = text.test;
  return result;
}

int uma_litmus_read(const char *path, struct uma_litmus **test)
{
  FILE *file = fopen(path, "re");
  char *characters = malloc(MOST_BYTES + 1);
  int result = -ENOMEM;
  if (!file) result = uma_fail(-errno, "%s: %s", path, strerror(errno));
  else if (characters) {
    size_t bytes = fread(characters, 1, MOST_BYTES + 1, file);
    result = ferror(file) ? uma_fail(-errno, "%s: %s", path, strerror(errno)) : uma_litmus_parse(path, characters, bytes, test);
  }
  free(characters);
  if (file) fclose(file);
  return result;
}

void uma_litmus_free(struct uma_litmus *test)
{
  if (!test) return;
  free(test->doc);
  free(test->condition_text);
  free(test);
}
