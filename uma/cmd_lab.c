/* `uma lab`: the labs of examples/labs, listed, graded, hinted at. Grading is make's work, in the lab's own folder: this finds the folder
 * and hands on the flags, so that a student, a course's grader and the tests of this repository all run the same. */
#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "uma/commands.h"

enum { EXIT_USAGE = 2, MOST_LABS = 99, LINE = 256 };

struct arguments {
  const char *verb, *number, *labs, *student, *json, *work;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
  struct arguments *arguments = state->input;
  switch (key) {
  case 'd': arguments->labs = text; return 0;
  case 's': arguments->student = text; return 0;
  case 'j': arguments->json = text; return 0;
  case 'w': arguments->work = text; return 0;
  case ARGP_KEY_ARG:
    if (!arguments->verb) arguments->verb = text;
    else if (!arguments->number) arguments->number = text;
    else argp_failure(state, EXIT_USAGE, 0, "one lab at a time, not \"%s\" as well", text);
    return 0;
  case ARGP_KEY_NO_ARGS: argp_failure(state, EXIT_USAGE, 0, "what? Expected list, grade N or hint N"); return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

/* ---- Finding ----------------------------------------------------------------------------------------------------- */

/* The checkout or the prefix that this program was built or installed into. */
static void find_root(char *root)
{
  ssize_t length = readlink("/proc/self/exe", root, PATH_MAX - 1);
  root[length > 0 ? length : 0] = 0;
  for (int up = 0; up < 2; up++) {
    char *slash = strrchr(root, '/');
    if (slash) *slash = 0;
  }
}

static bool has_labs(const char *folder)
{
  char path[3 * PATH_MAX];
  snprintf(path, sizeof path, "%s/lab.mk", folder);
  return !access(path, R_OK);
}

/* As asked for; else where the user stands or works; else what came with this program. */
static bool find_labs(const struct arguments *arguments, const char *root, char *labs, size_t size)
{
  const char *const places[] = {".", "..", "examples/labs", "examples/labs", "share/uma/labs"};
  enum { PLACES = sizeof places / sizeof *places, OF_USER = 3 };
  if (arguments->labs) {
    snprintf(labs, size, "%s", arguments->labs);
    return has_labs(labs);
  }
  for (int i = 0; i < PLACES; i++) {
    snprintf(labs, size, "%s%s%s", i < OF_USER ? "" : root, i < OF_USER ? "" : "/", places[i]);
    if (has_labs(labs)) return true;
  }
  return false;
}

/* The folder of lab `number`. */
static bool find_lab(const char *labs, long number, char *folder, size_t size)
{
  char pattern[3 * PATH_MAX];
  glob_t found;
  snprintf(pattern, sizeof pattern, "%s/%02ld-*", labs, number);
  bool exists = !glob(pattern, GLOB_ONLYDIR, NULL, &found);
  if (exists) snprintf(folder, size, "%s", found.gl_pathv[0]);
  globfree(&found);
  return exists;
}

/* ---- Doing ------------------------------------------------------------------------------------------------------- */

/* The first line of its README. */
static void print_title(const char *folder)
{
  char path[3 * PATH_MAX], line[LINE] = "";
  snprintf(path, sizeof path, "%s/README.md", folder);
  FILE *file = fopen(path, "re");
  if (!file || !fgets(line, sizeof line, file)) line[0] = 0;
  if (file) fclose(file);
  printf("  %s%s", line[0] == '#' ? line + 2 : folder, strchr(line, '\n') ? "" : "\n");
}

static int list(const char *labs)
{
  char folder[2 * PATH_MAX];
  printf("The labs in %s:\n", labs);
  for (long number = 1; number <= MOST_LABS; number++)
    if (find_lab(labs, number, folder, sizeof folder)) print_title(folder);
  printf("\n`uma lab grade N` grades one, `uma lab hint N` helps.\n");
  return 0;
}

static void add(char **words, int *count, const char *name, const char *value)
{
  if (value && asprintf(&words[(*count)++], "%s=%s", name, value) < 0) abort();
}

/* JSON and WORK are meant from where the user stands, make works in the lab. */
static const char *whole(const char *path, char *room)
{
  char here[PATH_MAX];
  if (!path || path[0] == '/' || !getcwd(here, sizeof here)) return path;
  snprintf(room, 2 * PATH_MAX, "%s/%s", here, path);
  return room;
}

/* Becomes make; returns only when that fails. */
static int make(const struct arguments *arguments, const char *folder, const char *root)
{
  char *words[12] = {"make", "-s", "-C", (char *)folder, (char *)arguments->verb}, json[2 * PATH_MAX], work[2 * PATH_MAX];
  int count = 5;
  add(words, &count, "UMA", root);
  add(words, &count, "STUDENT", arguments->student);
  add(words, &count, "JSON", whole(arguments->json, json));
  add(words, &count, "WORK", whole(arguments->work, work));
  execvp(words[0], words);
  fprintf(stderr, "uma lab: make: %s\n", strerror(errno));
  return EXIT_USAGE;
}

static int fail(const char *format, const char *about)
{
  fprintf(stderr, "uma lab: ");
  fprintf(stderr, format, about);
  fprintf(stderr, "\n");
  return EXIT_USAGE;
}

static int run(const struct arguments *arguments)
{
  char root[PATH_MAX], labs[2 * PATH_MAX], folder[2 * PATH_MAX];
  bool lists = !strcmp(arguments->verb, "list");
  if (!lists && strcmp(arguments->verb, "grade") && strcmp(arguments->verb, "hint"))
    return fail("\"%s\" is not valid; expected list, grade N or hint N", arguments->verb);
  if (!lists && !arguments->number) return fail("%s which lab? `uma lab list` lists them", arguments->verb);
  if (lists && arguments->number) return fail("list takes no number, not \"%s\"", arguments->number);
  long number = uma_cmd_number("lab", arguments->number, 1, MOST_LABS, 0);
  find_root(root);
  if (!find_labs(arguments, root, labs, sizeof labs))
    return fail("no labs in %s; say where they are: --labs DIR, the folder with lab.mk",
                arguments->labs ? arguments->labs : "or around this folder");
  if (lists) return list(labs);
  if (!find_lab(labs, number, folder, sizeof folder)) return fail("there is no lab %s; `uma lab list` lists them", arguments->number);
  return make(arguments, folder, root);
}

int uma_cmd_lab(int argc, char **argv)
{
  static const struct argp_option flags[] = {
      {"labs", 'd', "DIR", 0, "the folder of the labs, with lab.mk (default: around here, or those that came with this program)", 0},
      {"student", 's', "NAME", 0, "whose task: each name has its own numbers (default: $STUDENT)", 0},
      {"json", 'j', "FILE", 0, "also write the result as JSON", 0},
      {"work", 'w', "DIR", 0, "grade the files in DIR, not those in the lab's folder", 0},
      {0},
  };
  struct argp argp = {
      .options = flags,
      .parser = parse,
      .args_doc = "list\ngrade N\nhint N",
      .doc = "Lists the labs on coherence and the supernode, grades lab N, or gives its next hint.",
  };
  struct arguments arguments = {0};
  argp_err_exit_status = EXIT_USAGE;
  argp_parse(&argp, argc, argv, 0, NULL, &arguments);
  return run(&arguments);
}
