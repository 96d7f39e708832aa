/* The labs grade as they should: right solutions get all points, the untouched start few, typical mistakes are recognised, and the JSON is whole.
 *
 * Solutions stand in examples/labs/solutions/NN-name/; examples/labs/grader/README.md says what is in their folders. */
#include <criterion/criterion.h>
#include <glob.h>
#include <jansson.h>

#include "tests/command.h"

#define LABS "examples/labs"
enum { START_MOST = 40 }; /* points of an untouched start */

static void skip_where_it_cannot_run(void)
{
#ifdef UMA_SAN
  cr_skip_test("a student's compiler knows nothing of sanitizers");
#endif
  if (access(LABS "/lab.mk", R_OK)) cr_skip_test("not run in the repository's root");
}

/* A folder of its own for what is built, removed by the caller. */
static char *make_out(void)
{
  char *out = strdup("/tmp/uma-lab-XXXXXX");
  cr_assert(mkdtemp(out));
  return out;
}

static void remove_out(char *out)
{
  char *said, line[256];
  snprintf(line, sizeof line, "rm -rf %s", out);
  command_run(line, &said);
  free(said), free(out);
}

/* Grades the files in `work` (NULL: the lab's own) for a student; what was said, and the JSON. */
static json_t *grade(const char *lab, const char *work, const char *student, const char *out, char **said)
{
  char *line, *root = getcwd(NULL, 0), path[512];
  snprintf(path, sizeof path, "%s/result.json", out);
  if (asprintf(&line, "MAKEFLAGS= make -s -C %s grade STUDENT='%s' OUT=%s JSON=%s UMA=%s %s%s%s", lab, student, out, path, root,
               work ? "WORK=" : "", work ? root : "", work ? work : "") < 0)
    abort();
  unlink(path);
  int status = command_run(line, said);
  cr_assert_eq(status, 0, "%s: exit status %d, said: %s", line, status, *said);
  json_error_t error;
  json_t *result = json_load_file(path, 0, &error);
  cr_assert(result, "%s: %s: %s", line, path, error.text);
  free(line), free(root);
  return result;
}

static int points_of(json_t *result)
{
  return (int)json_integer_value(json_object_get(result, "points"));
}

/* The points of the checks add up to those of the groups, and these to the whole. */
static void expect_sums(const char *lab, json_t *result)
{
  int points = 0, of = 0;
  size_t g, c;
  json_t *group, *check;
  json_array_foreach(json_object_get(result, "groups"), g, group)
  {
    int got = 0, most = (int)json_integer_value(json_object_get(group, "of"));
    json_array_foreach(json_object_get(group, "checks"), c, check) got += (int)json_integer_value(json_object_get(check, "points"));
    cr_expect_eq(json_integer_value(json_object_get(group, "points")), got, "%s: group %zu credits more than it has", lab, g);
    cr_expect_leq(got, most);
    points += got, of += most;
  }
  cr_expect_eq(points, points_of(result), "%s", lab);
  cr_expect_eq(of, 100, "%s", lab);
}

static bool is_recognised(json_t *result, const char *said, const char *expected)
{
  size_t m;
  json_t *mistake;
  json_array_foreach(json_object_get(result, "mistakes"), m, mistake)
  {
    if (!strcmp(json_string_value(json_object_get(mistake, "key")), expected)) return true;
  }
  return strstr(said, expected);
}

/* The first line of a file. */
static bool read_line(const char *folder, const char *name, char *line, size_t size)
{
  char path[512];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "r");
  bool read = file && fgets(line, (int)size, file);
  if (file) fclose(file);
  if (read) line[strcspn(line, "\n")] = 0;
  return read;
}

/* One folder of solutions, for each student it is for. */
static void grade_solution(const char *lab, const char *folder, const char *out)
{
  char students[512], expected[256], line[256], work[512], *said;
  bool wrong = read_line(folder, "expected", expected, sizeof expected);
  snprintf(students, sizeof students, "%s/student", folder);
  snprintf(work, sizeof work, "/%s", folder);
  FILE *file = fopen(students, "r");
  cr_assert(file, "%s is missing", students);
  while (fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    json_t *result = grade(lab, work, line, out, &said);
    if (wrong) {
      cr_expect(is_recognised(result, said, expected), "%s for %s: \"%s\" is not recognised: %s", folder, line, expected, said);
      cr_expect_lt(points_of(result), 100, "%s for %s: %s", folder, line, said);
    } else cr_expect_eq(points_of(result), 100, "%s for %s: %s", folder, line, said);
    expect_sums(folder, result);
    json_decref(result), free(said);
  }
  fclose(file);
}

static void grade_start(const char *lab, const char *out)
{
  static const char *const students[] = {"", "ada", "Grace Hopper"};
  char *said;
  for (int i = 0; i < 3; i++) {
    json_t *result = grade(lab, NULL, students[i], out, &said);
    cr_expect_leq(points_of(result), START_MOST, "%s, untouched, for \"%s\": %s", lab, students[i], said);
    expect_sums(lab, result);
    json_decref(result), free(said);
  }
}

static void grade_lab(int number)
{
  char pattern[128];
  glob_t labs, folders;
  int wrong = 0, right = 0;
  skip_where_it_cannot_run();
  snprintf(pattern, sizeof pattern, LABS "/%02d-*", number);
  cr_assert_eq(glob(pattern, 0, NULL, &labs), 0, "there is no lab %d", number);
  char *out = make_out(), *lab = labs.gl_pathv[0];
  grade_start(lab, out);
  snprintf(pattern, sizeof pattern, LABS "/solutions/%s/*", strrchr(lab, '/') + 1);
  cr_assert_eq(glob(pattern, GLOB_ONLYDIR, NULL, &folders), 0, "no solutions of %s", lab);
  for (size_t f = 0; f < folders.gl_pathc; f++) {
    grade_solution(lab, folders.gl_pathv[f], out);
    if (strstr(folders.gl_pathv[f], "/wrong-")) wrong++;
    else right++;
  }
  cr_expect_geq(right, 1, "%s has no solution", lab);
  cr_expect_geq(wrong, 3, "%s has only %d typical wrong solutions", lab, wrong);
  globfree(&labs), globfree(&folders), remove_out(out);
}

Test(labs, lab_1)
{
  grade_lab(1);
}

Test(labs, lab_2)
{
  grade_lab(2);
}

Test(labs, lab_3)
{
  grade_lab(3);
}

Test(labs, lab_4)
{
  grade_lab(4);
}

Test(labs, lab_5)
{
  grade_lab(5);
}

Test(labs, lab_6)
{
  grade_lab(6);
}

Test(labs, lab_7)
{
  grade_lab(7);
}

Test(labs, lab_8)
{
  grade_lab(8);
}

Test(labs, lab_9)
{
  grade_lab(9);
}

Test(labs, lab_10)
{
  grade_lab(10);
}

/* The start of lab 7 with one function that does as told; what the judge says of it. */
static void expect_survived(const char *statement, const char *part)
{
  char *out = make_out(), *said, *line, work[64];
  if (asprintf(&line,
               "sed '0,/uint64_t .set, int device)/{/uint64_t .set, int device)/{n;s/{/{ %s/}}' " LABS "/07-*/sharers.c >%s/sharers.c",
               statement, out) < 0)
    abort();
  cr_assert_eq(command_run(line, &said), 0, "%s", said);
  free(said), free(line);
  snprintf(work, sizeof work, "%s", out);
  if (asprintf(&line, "MAKEFLAGS= make -s -C " LABS "/07-* grade WORK=%s OUT=%s JSON=%s/result.json UMA=\"$PWD\"", work, out, out) < 0)
    abort();
  cr_expect_eq(command_run(line, &said), 0, "%s", said);
  cr_expect(strstr(said, part), "%s: expected \"%s\", said: %s", statement, part, said);
  free(said), free(line);
  if (asprintf(&line, "%s/result.json", out) < 0) abort();
  json_t *result = json_load_file(line, 0, NULL);
  cr_assert(result, "%s: no JSON", statement);
  expect_sums(statement, result);
  cr_expect_eq(json_array_size(json_object_get(result, "groups")), 5, "the groups that did not crash are graded");
  json_decref(result), free(line), remove_out(out);
}

Test(labs, crash_exit_and_endless_loop_are_messages)
{
  skip_where_it_cannot_run();
  expect_survived("*(volatile int *)0 = 1;", "crashed: Segmentation fault");
  expect_survived("_Exit(7);", "ended the process with exit status 7");
  expect_survived("for (;;) ;", "did not end within");
  expect_survived("oops", "your C files do not compile");
}

/* Runs make in the folder of lab 4. */
static void expect_make(const char *arguments, int status, const char *part)
{
  char *said, *line;
  if (asprintf(&line, "MAKEFLAGS= make -s -C " LABS "/04-* UMA=\"$PWD\" %s", arguments) < 0) abort();
  int got = command_run(line, &said);
  cr_expect_eq(got, status, "make %s: exit status %d, said: %s", arguments, got, said);
  cr_expect(strstr(said, part), "make %s: expected \"%s\", said: %s", arguments, part, said);
  free(said), free(line);
}

Test(labs, hints_limits_and_names)
{
  char *out = make_out(), arguments[256];
  skip_where_it_cannot_run();
  static const struct {
    const char *arguments;
    int status;
    const char *part;
  } cases[] = {
      {"hint", 0, "Hint 1. "},
      {"hint", 0, "Hint 2. "},
      {"grade LEAST=0", 0, "for anonymous"},
      {"grade LEAST=50", 2, "of 100"},
      {"grade LEAST=half", 2, "--least: \"half\" is not valid; expected 0 to 100"},
      {"grade STUDENT=\"O'Brien \\$HOME\"", 0, "for O'Brien"},
      {"grade WORK=/nowhere", 0, "/nowhere/msi.protocol cannot be read: No such file or directory"},
  };
  for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) {
    snprintf(arguments, sizeof arguments, "OUT=%s %s", out, cases[i].arguments);
    expect_make(arguments, cases[i].status, cases[i].part);
  }
  snprintf(arguments, sizeof arguments, "OUT=%s/other UMA=/nowhere grade", out);
  expect_make(arguments, 2, "libuma is not found in /nowhere. Build it (make), or say where it is: make grade UMA=path");
  remove_out(out);
}

/* What `make handout` packs is enough to grade with, and holds no solution. */
Test(labs, the_handout_stands_alone)
{
  char *said, *line, *out = make_out(), *root = getcwd(NULL, 0);
  skip_where_it_cannot_run();
  if (asprintf(&line,
               "set -e; export MAKEFLAGS=; make -s -C " LABS " handout OUT=%s/packed; cd %s; tar xzf packed/uma-labs.tar.gz; cd uma-labs; "
               "test ! -e solutions; for lab in [0-9]*; do make -s -C $lab grade UMA=%s STUDENT=ada >$lab.said 2>&1 || cat $lab.said; "
               "test -s $lab.said; done; grep -L ' of 100' *.said",
               out, out, root) < 0)
    abort();
  command_run(line, &said);
  cr_expect(!strstr(said, ".said") && !strstr(said, "rror"), "%s", said);
  free(said), free(line), free(root), remove_out(out);
}

Test(labs, the_command)
{
  skip_where_it_cannot_run();
  command_expect("lab list", 0, "Lab 4: ");
  command_expect("lab list --labs /nowhere", 2, "no labs in /nowhere; say where they are: --labs DIR");
  command_expect("lab list 3", 2, "list takes no number, not \"3\"");
  command_expect("lab", 2, "Expected list, grade N or hint N");
  command_expect("lab mark 4", 2, "\"mark\" is not valid; expected list, grade N or hint N");
  command_expect("lab grade", 2, "grade which lab?");
  command_expect("lab grade 98", 2, "there is no lab 98");
  command_expect("lab grade four", 2, "\"four\" is not valid; expected 1 to 99");
  command_expect("lab grade 4 5", 2, "one lab at a time");
}
