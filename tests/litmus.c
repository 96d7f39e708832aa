/* Litmus tests: what the reader accepts and refuses, what the models allow, and that this host shows nothing else. */
#include <errno.h>
#include <glob.h>
#include <jansson.h>

#include "tests/command.h"
#include "tests/session.h"
#include "uma/config.h"
#include "uma/litmus.h"

#define LEAST_FILES 44
#define RUNS 2000        /* of each test */
#define LONG_RUNS 100000 /* with UMA_TEST_LONG */
#define SB "{ uint64_t x; uint64_t y; }\n P0 | P1 ;\n movq $1,(x) | movq $1,(y) ;\n movq (y),%rax | movq (x),%rax ;\n"

/* ThreadSanitizer makes a call of each access, and these calls synchronise. */
#if defined(__SANITIZE_THREAD__)
static const bool stores_can_wait = false;
#else
static const bool stores_can_wait = true;
#endif

static int parse(const char *text, struct uma_litmus **test)
{
  return uma_litmus_parse("t.litmus", text, strlen(text), test);
}

static struct uma_litmus *parsed(const char *text)
{
  struct uma_litmus *test = NULL;
  cr_assert_eq(parse(text, &test), 0, "%s in: %s", uma_last_error(), text);
  return test;
}

/* The outcomes that the model allows, as one line. */
static void expect_outcomes(const char *text, enum uma_litmus_model model, const char *wanted)
{
  struct uma_litmus *test = parsed(text);
  struct uma_litmus_outcomes set;
  char line[4096] = "", one[512];
  cr_assert_eq(uma_litmus_explore(test, model, &set), 0);
  for (size_t i = 0; i < set.count; i++) {
    uma_litmus_format(test, &set.list[i], one, sizeof one);
    snprintf(line + strlen(line), sizeof line - strlen(line), "%s%s", i ? " | " : "", one);
  }
  cr_expect_str_eq(line, wanted, "\"%s\" instead of \"%s\" for: %s", line, wanted, text);
  free(set.list);
  uma_litmus_free(test);
}

static void expect_error(const char *text, const char *wanted)
{
  struct uma_litmus *test = NULL;
  cr_expect_eq(parse(text, &test), -EINVAL, "accepted: %s", text);
  cr_expect(strstr(uma_last_error(), wanted), "\"%s\" is missing in \"%s\"", wanted, uma_last_error());
}

Test(litmus, both_ways_of_writing_are_read)
{
  expect_outcomes("X86_64 T\nKey=Value\n\"a string\"\n(* a (* nested *) comment *)\n{ uint64_t x; y=7; 0:rax=2; }\nP0;\nmovq %rax,(x);\n"
                  "movl (y),%ebx;\nlocations [0:ebx;]\nexists (x=2)",
                  UMA_LITMUS_SC, "0:ebx=7; [x]=2;");
  expect_outcomes("X86 T\n{ x=1; }\nP0;\nMOV EAX,[x];\nADD EAX,$2;\nMOV EBX,EAX;\nXCHG [x],EBX;\nLOCK INC [x];\nMFENCE;\nexists (0:EAX=3 "
                  "/\\ 0:EBX=1)\n",
                  UMA_LITMUS_SC, "0:EAX=3; 0:EBX=1;");
  expect_outcomes(
      "X86_64 T\n{ uint64_t x; 0:rsi=x; 0:rax=0x10; }\nP0;\nmovq %rsi,%rdi;\nlock xaddq %rax,(%rdi);\nlock subq $1,(%rsi);\nexists (x=1)",
      UMA_LITMUS_SC, "[x]=15;");
  expect_outcomes("X86_64 T\n{ int8_t x=-1; }\nP0;\nmovb (x),%al;\nmovq $-1,%rbx;\nxorl %ebx,%ebx;\nexists (0:al=-1 /\\ 0:rbx=0 /\\ x=255)",
                  UMA_LITMUS_SC, "0:al=-1; 0:rbx=0; [x]=-1;");
  expect_outcomes("X86_64 T\n{ uint64_t x; }\nP0;\nmovq $5,%rbx;\nlock cmpxchgq %rbx,(x);\nlock cmpxchgq %rbx,(x);\nexists (0:rax=5)",
                  UMA_LITMUS_SC, "0:rax=5;");
}

Test(litmus, strings_and_the_condition_are_kept)
{
  struct uma_litmus *test = parsed("X86_64 A+b-2\n\"one\"\nK=v\n\"SC=forbidden TSO=allowed\"\n" SB "~exists  (0:rax=0\n /\\ 1:rax=0)");
  cr_expect_str_eq(test->name, "A+b-2");
  cr_expect_str_eq(test->doc, "one\nSC=forbidden TSO=allowed");
  cr_expect_str_eq(test->condition_text, "(0:rax=0 /\\ 1:rax=0)");
  cr_expect_eq(test->quantifier, UMA_LITMUS_NOT_EXISTS);
  cr_expect_eq(uma_litmus_stated(test, UMA_LITMUS_SC), 0);
  cr_expect_eq(uma_litmus_stated(test, UMA_LITMUS_TSO), 1);
  uma_litmus_free(test);
}

/* Whether the proposition holds when rax of both threads of SB is 0. */
static bool holds(const char *proposition)
{
  char text[1024];
  snprintf(text, sizeof text, "X86_64 T\n%s exists %s", SB, proposition);
  struct uma_litmus *test = parsed(text);
  struct uma_litmus_outcome outcome = {.count = 1};
  bool result = uma_litmus_holds(test, &outcome);
  uma_litmus_free(test);
  return result;
}

Test(litmus, conditions_bind_as_in_herd)
{
  cr_expect(holds("(0:rax=0 /\\ 1:rax=0)"));
  cr_expect(holds("0:rax=0 \\/ 1:rax=1 /\\ 0:rax=1"));
  cr_expect(!holds("(0:rax=0 \\/ 1:rax=1) /\\ 0:rax=1"));
  cr_expect(holds("not (0:rax=1) /\\ ~ 1:rax=1"));
  cr_expect(holds("0:rax=1 => 1:rax=1"));
  cr_expect(!holds("0:rax=0 => 1:rax=1"));
  cr_expect(holds("true /\\ not false /\\ 0:rax!=1"));
}

Test(litmus, mistakes_are_told_with_file_and_line)
{
  expect_error("", "t.litmus:1: expected X86_64 or X86 and the name of the test, found the end of the text");
  expect_error("X86_64 S\xc3\x9f\n", "the test's name has byte 0xc3; expected ASCII");
  expect_error("PPC SB\n", "t.litmus:1: expected X86_64 or X86 and the name of the test, found \"PPC\"");
  expect_error("X86_64 T\nnonsense\n", "t.litmus:2: expected a string, KEY=VALUE, or {");
  expect_error("X86_64 T\n(* open", "t.litmus:2: expected *) at the end of the comment");
  expect_error("X86_64 T\n\"open", "expected \" at the end of the string");
  expect_error("X86_64 T\n{ x=y; }\n", "t.litmus:2: expected a number, found \"y\"");
  expect_error("X86_64 T\n{ x=99999999999999999999; }\n", "does not fit in 64 bits");
  expect_error("X86_64 T\n{ 9:rax=1; }\n", "there is no thread 9; expected 0 to 7");
  expect_error("X86_64 T\n{ 3:rax=1; }\nP0;\n", "t.litmus:2: there is no thread 3; expected 0 to 0");
  expect_error("X86_64 T\n{ 0:foo=1; }\n", "expected a register such as rax or eax, found \"foo\"");
  expect_error("X86_64 T\n{ }\nP0|P1|P2|P3|P4|P5|P6|P7|P8;\n", "t.litmus:3: more than 8 threads");
  expect_error("X86_64 T\n{ }\nP0|P2;\n", "expected P1, found \"P2\"");
  expect_error("X86_64 T\n{ }\nP0|P1;\nmfence;\n", "t.litmus:4: a row of 1 columns; expected 2");
  expect_error("X86_64 T\n{ }\nP0;\n\nfrobq $1,(x);\n", "t.litmus:5: unknown instruction \"frobq\"");
  expect_error("X86_64 T\n{ }\nP0;\nL0: mfence;\n", "labels and jumps cannot be run");
  expect_error("X86_64 T\n{ }\nP0;\nmovq $1,x;\n", "expected a register such as rax or eax, found \"x\"");
  expect_error("X86_64 T\n{ }\nP0;\nmovq $1,(%rax);\n", "register rax of thread 0 holds no address here");
  expect_error("X86_64 T\n{ 0:rax=x; }\nP0;\naddq $1,%rax;\n", "a register holds the address of x");
  expect_error("X86_64 T\n{ }\nP0;\nmovq (x),(y);\n", "two locations");
  expect_error("X86_64 T\n{ }\nP0;\nmovq (x),%eax;\n", "mov of 8 bytes with a register of 4");
  expect_error("X86_64 T\n{ }\nP0;\nmovb $300,(x);\n", "300 does not fit in 1 bytes");
  expect_error("X86_64 T\n{ }\nP0;\nxchgb %al,(x);\n", "atomic instructions have 4 or 8");
  expect_error("X86_64 T\n{ }\nP0;\nlock movq $1,(x);\n", "lock mov: expected an instruction that changes a location");
  expect_error("X86_64 T\n{ }\nP0;\nmovq $1,(x) mfence;\n", "expected the end of the instruction, found \"mfence\"");
}

Test(litmus, mistakes_in_the_condition_are_told)
{
  expect_error("X86_64 T\n" SB, "t.litmus:6: expected exists, ~exists or forall and a condition, found the end of the text");
  expect_error("X86_64 T\n" SB "exists (0:rbx=1)", "t.litmus:6: 0:rbx: the register is never set in thread 0");
  expect_error("X86_64 T\n" SB "exists (z=1)", "there is no location \"z\" in the test");
  expect_error("X86_64 T\n" SB "exists (2:rax=1)", "there is no thread 2; expected 0 to 1");
  expect_error("X86_64 T\n" SB "exists (x=1", "expected /\\, \\/ or ), found the end of the text");
  expect_error("X86_64 T\n" SB "exists (x=1) x", "expected the end of the test, found \"x\"");
  expect_error("X86_64 T\n" SB "exists (x=y)", "expected a number, found \"y\"");
}

Test(litmus, what_is_too_much_is_refused)
{
  static char text[200000];
  struct uma_litmus *test;
  strcpy(text, "X86_64 T\n{ }\nP0;\n");
  for (int i = 0; i < 65; i++) strcat(text, "movq $1,(x);\n");
  strcat(text, "exists x=1");
  expect_error(text, "t.litmus:68: thread 0 has more than 64 steps");
  strcpy(text, "X86_64 T\n{ ");
  for (int i = 0; i < 17; i++) sprintf(text + strlen(text), "x%d=0; ", i);
  expect_error(text, "\"x16\" is one location too many; expected at most 16");
  strcpy(text, "X86_64 T\n" SB "exists ");
  memset(text + strlen(text), '(', 100000);
  expect_error(text, "nested deeper than 64");
  strcpy(text, "X86_64 T\n" SB "exists x=1");
  for (int i = 0; i < 300; i++) strcat(text, " /\\ x=1");
  expect_error(text, "the condition has more than 256 parts");
  cr_expect_eq(uma_litmus_parse("t.litmus", "X86_64 T\n\x01\x02", 11, &test), -EINVAL);
  cr_expect(strstr(uma_last_error(), "t.litmus:2: byte 0x01 is no text"), "%s", uma_last_error());
}

/* Bytes of a good test changed at random: read or refused, and what was read can be explored. */
Test(litmus, random_changes_do_no_harm)
{
  const char *from = getenv("UMA_TEST_SEED"),
             *good = "X86_64 T\n\"doc\"\n(* c *)\n" SB " lock incq (x) | xchgq %rbx,[x] ;\nlocations [x;]\nexists (0:rax=0 /\\ not x=0)";
  unsigned seed = from ? (unsigned)strtoul(from, NULL, 10) : 1;
  static const char alphabet[] = "{}()[];|,$%=:/\\~*\" \n0129xyraxmovqlck";
  size_t bytes = strlen(good);
  printf("seed %u (UMA_TEST_SEED)\n", seed);
  for (int round = 0; round < 20000; round++) {
    char text[512];
    struct uma_litmus *test;
    struct uma_litmus_outcomes set;
    strcpy(text, good);
    for (int changes = rand_r(&seed) % 4 + 1; changes; changes--)
      text[(size_t)rand_r(&seed) % bytes] =
          rand_r(&seed) % 8 ? alphabet[(size_t)rand_r(&seed) % (sizeof alphabet - 1)] : (char)rand_r(&seed);
    if (uma_litmus_parse("t.litmus", text, bytes, &test)) continue;
    cr_assert_eq(uma_litmus_explore(test, UMA_LITMUS_TSO, &set), 0, "%s: %s", uma_last_error(), text);
    free(set.list);
    uma_litmus_free(test);
  }
}

Test(litmus, models_allow_what_they_should)
{
  expect_outcomes("X86_64 T\n" SB "exists (0:rax=0 /\\ 1:rax=0)", UMA_LITMUS_SC,
                  "0:rax=0; 1:rax=1; | 0:rax=1; 1:rax=0; | 0:rax=1; 1:rax=1;");
  expect_outcomes("X86_64 T\n" SB "exists (0:rax=0 /\\ 1:rax=0)", UMA_LITMUS_TSO,
                  "0:rax=0; 1:rax=0; | 0:rax=0; 1:rax=1; | 0:rax=1; 1:rax=0; | 0:rax=1; 1:rax=1;");
  expect_outcomes("X86_64 T\n{ uint64_t x; }\nP0;\nmovq $513,(x);\nmovb $5,(x);\nmovq (x),%rax;\nexists (0:rax=0)", UMA_LITMUS_TSO,
                  "0:rax=517;");
}

/* ---- The set of files */

static glob_t find_files(void)
{
  glob_t files;
  cr_assert_eq(glob("tests/litmus/*.litmus", 0, NULL, &files), 0, "tests/litmus/*.litmus: run this from the top of the repository");
  cr_assert_geq(files.gl_pathc, LEAST_FILES);
  return files;
}

static struct uma_litmus *read_file(const char *path)
{
  struct uma_litmus *test = NULL;
  cr_assert_eq(uma_litmus_read(path, &test), 0, "%s", uma_last_error());
  return test;
}

Test(litmus, files_state_what_the_models_say)
{
  glob_t files = find_files();
  for (size_t f = 0; f < files.gl_pathc; f++) {
    struct uma_litmus *test = read_file(files.gl_pathv[f]);
    for (int m = 0; m < UMA_LITMUS_MODELS; m++) {
      struct uma_litmus_outcomes set;
      cr_assert_eq(uma_litmus_explore(test, m, &set), 0, "%s", uma_last_error());
      cr_expect_eq(uma_litmus_stated(test, m), uma_litmus_any_asked(test, &set), "%s: what it states of %s is wrong", files.gl_pathv[f],
                   uma_litmus_model_name(m));
      free(set.list);
    }
    uma_litmus_free(test);
  }
  globfree(&files);
}

/* Runs the test and expects only outcomes that the model allows; returns whether the asked one was seen. */
static bool run_within(enum uma_litmus_model model, const struct uma_litmus *test, const struct uma_litmus_options *options)
{
  struct uma_litmus_outcomes seen, allowed;
  char text[2048];
  uint64_t total = 0;
  cr_assert_eq(uma_litmus_explore(test, model, &allowed), 0);
  cr_assert_eq(uma_litmus_run(test, options, &seen), 0, "%s: %s", test->name, uma_last_error());
  for (size_t i = 0; i < seen.count; i++) {
    uma_litmus_format(test, &seen.list[i], text, sizeof text);
    cr_expect(uma_litmus_contains(test, &allowed, &seen.list[i]), "%s: %s was seen and %s forbids it", test->name, text,
              uma_litmus_model_name(model));
    total += seen.list[i].count;
  }
  cr_expect_eq(total, options->runs);
  bool asked = uma_litmus_any_asked(test, &seen);
  free(seen.list);
  free(allowed.list);
  return asked;
}

static uint64_t runs_of_each(void)
{
  return getenv("UMA_TEST_LONG") ? LONG_RUNS : RUNS;
}

static void run_files(enum uma_litmus_model model, const struct uma_litmus_options *options)
{
  glob_t files = find_files();
  for (size_t f = 0; f < files.gl_pathc; f++) {
    struct uma_litmus *test = read_file(files.gl_pathv[f]);
    run_within(model, test, options);
    uma_litmus_free(test);
  }
  globfree(&files);
}

Test(litmus, nothing_forbidden_is_seen_in_mode_none)
{
  run_files(UMA_LITMUS_TSO, &(struct uma_litmus_options){.config = {.coherence = UMA_COHERENCE_NONE}, .runs = runs_of_each(), .seed = 1});
}

Test(litmus, nothing_forbidden_is_seen_on_one_line)
{
  run_files(UMA_LITMUS_TSO, &(struct uma_litmus_options){
                                .config = {.coherence = UMA_COHERENCE_NONE}, .runs = runs_of_each(), .seed = 1, .same_line = true});
}

static void run_in_mode_line(const char *protocol, bool same_line, uint64_t runs)
{
  struct uma_litmus_options options = {.runs = runs, .seed = 1, .same_line = same_line};
  options.config.coherence = UMA_COHERENCE_LINE;
  options.config.protocol = protocol;
  options.config.line = same_line ? 256 : 64;
  options.config.cache = 256 * 1024;
  run_files(UMA_LITMUS_SC, &options);
}

Test(litmus, mode_line_is_sequentially_consistent)
{
  run_in_mode_line("mesi", false, runs_of_each());
}

Test(litmus, mode_line_is_sequentially_consistent_with_other_protocols)
{
  uint64_t runs = runs_of_each() / 4;
  run_in_mode_line("mesi", true, runs);
  run_in_mode_line("msi", false, runs);
  run_in_mode_line("moesi", false, runs);
  run_in_mode_line("mesif", false, runs);
}

Test(litmus, mode_none_shows_store_buffering)
{
  if (uma_host_processors() < 2) cr_skip_test("one processor never shows a store that waits: its own loads see it");
  if (!stores_can_wait) cr_skip_test("the sanitizer's calls empty the queue of stores");
  struct uma_litmus *test = read_file("tests/litmus/SB.litmus");
  bool seen = false;
  for (uint64_t seed = 1; seed <= 100 && !seen; seed++) {
    struct uma_litmus_options options = {.runs = 20000, .seed = seed};
    seen = run_within(UMA_LITMUS_TSO, test, &options);
  }
  cr_expect(seen, "2,000,000 runs of SB without its relaxed outcome");
  uma_litmus_free(test);
}

/* Devices of one thread each give away no page before their stores to it are done. */
Test(litmus, mode_page_is_sequentially_consistent_between_devices)
{
  for (int same_page = 0; same_page < 2; same_page++) {
    struct uma_litmus_options options = {.runs = runs_of_each() / 4, .seed = 1, .same_line = same_page};
    options.config.coherence = UMA_COHERENCE_PAGE;
    run_files(UMA_LITMUS_SC, &options);
  }
}

/* ---- The command */

Test(litmus, command_reports_as_litmus7_does)
{
  command_expect("litmus --runs 100 tests/litmus/CoRW1.litmus", 0,
                 "Test CoRW1 Allowed\nHistogram (1 states)\n100   :>0:rax=0;\nNo\n\nWitnesses\nPositive: 0, Negative: 100\n"
                 "Condition exists (0:rax=1) is NOT validated\nObservation CoRW1 Never 0 100\nTime CoRW1 ");
  command_expect("litmus --runs 100 tests/litmus/ADD+wide.litmus", 0, "Test ADD+wide Required\nHistogram (1 states)\n100   *>[x]=3;\nOk\n");
  command_expect("litmus --explain tests/litmus/SB.litmus", 0, "* forbidden  allowed    0:rax=0; 1:rax=0;\n");
}

Test(litmus, command_exits_3_when_a_condition_is_refuted)
{
  char path[] = "/tmp/uma-litmus-XXXXXX", arguments[128];
  int fd = mkstemp(path);
  const char *text = "X86_64 T\n\"TSO=forbidden\"\n{ x=0; }\nP0;\nmovl $1,(x);\n~exists (x=1)\n";
  cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
  close(fd);
  snprintf(arguments, sizeof arguments, "litmus --runs 10 %s", path);
  command_expect(arguments, 3, "Condition ~exists (x=1) is NOT validated");
  snprintf(arguments, sizeof arguments, "litmus --explain %s", path);
  command_expect(arguments, 3, "TSO allows the outcome that is asked for; the file says otherwise");
  unlink(path);
}

Test(litmus, command_tells_bad_input)
{
  command_expect("litmus ", 2, "no file was given");
  command_expect("litmus --runs 0 tests/litmus/SB.litmus", 2, "--runs: \"0\" is not valid; expected 1 to 1000000000");
  command_expect("litmus --coherence magic tests/litmus/SB.litmus", 2, "--coherence: \"magic\" is not valid; expected none|line|page");
  command_expect("litmus no-such-file --runs 10 tests/litmus/CoWW.litmus", 1, "Observation CoWW Never 0 10");
  command_expect("litmus no-such-file", 1, "no-such-file: No such file or directory");
  command_expect("litmus /bin/sh", 1, "/bin/sh:1: ");
  command_expect("litmus --json /no/such/place tests/litmus/SB.litmus", 1, "--json /no/such/place: No such file or directory");
}

Test(litmus, command_writes_json)
{
  char *said, line[512];
  snprintf(line, sizeof line, "%s/uma litmus --runs 500 --json - tests/litmus/CoWW.litmus tests/litmus/SB.litmus 2>/dev/null",
           session_build());
  cr_assert_eq(command_run(line, &said), 0, "%s", said);
  char *second = strchr(said, '\n');
  cr_assert(second);
  *second++ = 0;
  json_t *one = json_loads(said, 0, NULL), *two = json_loads(second, 0, NULL);
  cr_assert(one && two, "%s\n%s", said, second);
  cr_expect_str_eq(json_string_value(json_object_get(one, "name")), "CoWW");
  cr_expect_str_eq(json_string_value(json_object_get(one, "observation")), "Never");
  cr_expect_str_eq(json_string_value(json_object_get(one, "mode")), "none");
  cr_expect_eq(json_integer_value(json_object_get(two, "runs")), 500);
  cr_expect_eq(json_integer_value(json_object_get(two, "threads")), 2);
  uint64_t total = 0;
  size_t i;
  json_t *state;
  json_array_foreach(json_object_get(two, "states"), i, state) total += (uint64_t)json_integer_value(json_object_get(state, "count"));
  cr_expect_eq(total, 500);
  json_decref(one);
  json_decref(two);
  free(said);
}
