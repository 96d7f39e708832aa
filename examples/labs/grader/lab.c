/* Runs a lab's judge: the program `grade` that lab.mk builds is this file, the judge, and whatever of the other files it calls.
 *
 * The record of what was graded lies in memory shared with the children that do the grading, one child a group, one after the other. So
 * it is whole whatever a child does: a group that crashes or hangs keeps what it was credited before. The parent never runs code of the
 * student's. A child leads a process group of its own, all of which is killed at the end of its time, and at the end of the child.
 * Only the time limit looks at a clock; it is many times what the solution needs.
 */
#include <argp.h>
#include <dlfcn.h>
#include <errno.h>
#include <error.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab.h"

enum { SECONDS = 10, EXIT_BELOW = 1, EXIT_USAGE = 2, EXIT_STOPPED = 3, POINTS = 100 };

struct check {
  int group, got, points;
  char what[LAB_TEXT], help[LAB_TEXT];
};

struct note {
  char key[64], text[LAB_TEXT];
};

/* Shared with the children; all of it is plain. */
struct record {
  int check_count, mistake_count, picture_count;
  struct check checks[LAB_CHECKS];
  struct note mistakes[LAB_MISTAKES], pictures[LAB_PICTURES];
  char ended[LAB_GROUPS][LAB_TEXT]; /* why a group ended early, or "" */
};

struct lab {
  struct record *record;
  int group; /* under way */
  const char *student, *work, *out, *json;
  long least;
  bool hint;
  char path[4096];
  void *library; /* the student's */
};

static const struct lab_group *groups = lab_plan.groups;

static int group_count(void)
{
  int count = 0;
  while (count < LAB_GROUPS && groups[count].name) count++;
  return count;
}

/* ---- What a group calls ------------------------------------------------------------------------------------------ */

static void put_indented(const char *text)
{
  printf("         ");
  for (; *text; text++) {
    putchar(*text);
    if (*text == '\n') printf("         ");
  }
  putchar('\n');
}

static void credit(struct lab *lab, int got, int points, const char *what, const char *help, va_list arguments)
{
  struct record *record = lab->record;
  if (record->check_count == LAB_CHECKS) error(EXIT_USAGE, 0, "the judge makes more than %d checks", LAB_CHECKS);
  struct check *check = &record->checks[record->check_count];
  *check = (struct check){.group = lab->group, .got = got, .points = points};
  snprintf(check->what, sizeof check->what, "%s", what);
  if (got < points) vsnprintf(check->help, sizeof check->help, help, arguments);
  record->check_count++;
  printf("  %s %3d of %-3d %s\n", got == points ? "ok  " : got ? "part" : "--  ", got, points, what);
  if (check->help[0]) put_indented(check->help);
}

bool lab_check(struct lab *lab, int points, bool ok, const char *what, const char *help, ...)
{
  va_list arguments;
  va_start(arguments, help);
  credit(lab, ok ? points : 0, points, what, help, arguments);
  va_end(arguments);
  return ok;
}

void lab_credit(struct lab *lab, int got, int points, const char *what, const char *help, ...)
{
  va_list arguments;
  va_start(arguments, help);
  credit(lab, got < 0 ? 0 : got > points ? points : got, points, what, help, arguments);
  va_end(arguments);
}

void lab_mistake(struct lab *lab, const char *key, const char *help, ...)
{
  struct record *record = lab->record;
  for (int m = 0; m < record->mistake_count; m++)
    if (!strcmp(record->mistakes[m].key, key)) return;
  if (record->mistake_count == LAB_MISTAKES) return;
  struct note *note = &record->mistakes[record->mistake_count];
  va_list arguments;
  va_start(arguments, help);
  vsnprintf(note->text, sizeof note->text, help, arguments);
  va_end(arguments);
  snprintf(note->key, sizeof note->key, "%s", key);
  record->mistake_count++;
  printf("  a typical mistake (%s):\n", key);
  put_indented(note->text);
}

void lab_say(struct lab *lab, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  putchar('\n');
}

void lab_stop(struct lab *lab, const char *why, ...)
{
  va_list arguments;
  va_start(arguments, why);
  vsnprintf(lab->record->ended[lab->group], LAB_TEXT, why, arguments);
  va_end(arguments);
  fflush(NULL);
  _exit(EXIT_STOPPED);
}

/* ---- The student ------------------------------------------------------------------------------------------------- */

/* FNV-1a (Fowler, Noll, Vo), then the finisher of splitmix64 (Steele and others, 2014). */
static uint64_t hash(uint64_t from, const char *text)
{
  uint64_t value = from ^ 0xcbf29ce484222325ull;
  for (; *text; text++) value = (value ^ (unsigned char)*text) * 0x100000001b3ull;
  return value;
}

uint64_t lab_draw(uint64_t *seed)
{
  uint64_t value = *seed += 0x9e3779b97f4a7c15ull;
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ull;
  value = (value ^ value >> 27) * 0x94d049bb133111ebull;
  return value ^ value >> 31;
}

uint64_t lab_seed(struct lab *lab, const char *name)
{
  uint64_t seed = hash(hash(name[0] == '@' ? 0 : (uint64_t)lab_plan.number, lab->student), name);
  return lab_draw(&seed);
}

long lab_number(struct lab *lab, const char *name, long least, long most)
{
  return least + (long)(lab_seed(lab, name) % (uint64_t)(most - least + 1));
}

const char *lab_work(struct lab *lab, const char *file)
{
  snprintf(lab->path, sizeof lab->path, "%s/%s", lab->work, file);
  return lab->path;
}

/* NULL, with errno, when it cannot be read. */
static char *read_text(const char *path)
{
  FILE *file = fopen(path, "re");
  if (!file) return NULL;
  char *text = NULL;
  size_t room = 0;
  if (getdelim(&text, &room, 0, file) < 0) {
    free(text);
    text = strdup("");
  }
  fclose(file);
  return text;
}

char *lab_read(struct lab *lab, const char *file)
{
  char *text = read_text(lab_work(lab, file));
  if (!text) lab_stop(lab, "%s cannot be read: %s", lab->path, strerror(errno));
  return text;
}

/* lab.mk leaves what gcc said beside student.so. */
static void stop_without_library(struct lab *lab, const char *said)
{
  snprintf(lab->path, sizeof lab->path, "%s/student.err", lab->out);
  char *compiler = read_text(lab->path);
  if (compiler && compiler[0]) lab_stop(lab, "your C files do not compile:\n%.300s", compiler);
  lab_stop(lab, "your C files cannot be loaded: %s", said);
}

void *lab_function(struct lab *lab, const char *name)
{
  if (!lab->library) {
    snprintf(lab->path, sizeof lab->path, "%s%s/student.so", lab->out[0] == '/' ? "" : "./", lab->out);
    lab->library = dlopen(lab->path, RTLD_NOW | RTLD_LOCAL);
    if (!lab->library) stop_without_library(lab, dlerror());
  }
  void *symbol = dlsym(lab->library, name);
  if (!symbol) lab_stop(lab, "%s is not defined in your files: did you rename it, or make it static?", name);
  return symbol;
}

FILE *lab_output(struct lab *lab, const char *file)
{
  snprintf(lab->path, sizeof lab->path, "%s/%s", lab->out, file);
  FILE *out = fopen(lab->path, "we");
  if (!out) lab_stop(lab, "%s cannot be written: %s", lab->path, strerror(errno));
  return out;
}

FILE *lab_picture(struct lab *lab, const char *file, const char *about)
{
  struct record *record = lab->record;
  bool known = false;
  for (int p = 0; p < record->picture_count; p++) known |= !strcmp(record->pictures[p].key, file);
  if (!known && record->picture_count < LAB_PICTURES) {
    struct note *note = &record->pictures[record->picture_count++];
    snprintf(note->key, sizeof note->key, "%s", file);
    snprintf(note->text, sizeof note->text, "%s", about);
  }
  return lab_output(lab, file);
}

static void *share(size_t bytes)
{
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) error(EXIT_USAGE, errno, "no shared memory of %zu bytes", bytes);
  return memory;
}

void *lab_shared(struct lab *lab, size_t bytes)
{
  return share(bytes);
}

/* ---- One group in one child -------------------------------------------------------------------------------------- */

static int group_points(const struct lab *lab, int group)
{
  int sum = 0;
  for (int c = 0; c < lab->record->check_count; c++)
    if (lab->record->checks[c].group == group) sum += lab->record->checks[c].got;
  return sum < groups[group].points ? sum : groups[group].points;
}

static void run_child(struct lab *lab)
{
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  groups[lab->group].grade(lab);
  fflush(NULL);
  _exit(0);
}

/* False when the time is over. */
static bool await(pid_t child, int seconds, int *status)
{
  int fd = pidfd_open(child, 0);
  if (fd < 0) error(EXIT_USAGE, errno, "pidfd_open");
  struct pollfd event = {.fd = fd, .events = POLLIN};
  int ready;
  while ((ready = poll(&event, 1, seconds * 1000)) < 0 && errno == EINTR) {
  }
  close(fd);
  kill(-child, SIGKILL); /* whoever it started, too */
  if (!ready) kill(child, SIGKILL);
  waitpid(child, status, 0);
  return ready;
}

static void run_group(struct lab *lab)
{
  const struct lab_group *group = &groups[lab->group];
  char *ended = lab->record->ended[lab->group];
  int status, seconds = group->seconds ? group->seconds : SECONDS;
  printf("\n%s\n", group->name);
  fflush(NULL);
  pid_t child = fork();
  if (child < 0) error(EXIT_USAGE, errno, "fork");
  if (!child) run_child(lab);
  if (!await(child, seconds, &status))
    snprintf(ended, LAB_TEXT, "did not end within %d s: an endless loop, or somebody waits for ever", seconds);
  else if (WIFSIGNALED(status))
    snprintf(ended, LAB_TEXT, "crashed: %s. Run it under gdb, or compile with CFLAGS=-fsanitize=address", strsignal(WTERMSIG(status)));
  else if (WEXITSTATUS(status) && WEXITSTATUS(status) != EXIT_STOPPED)
    snprintf(ended, LAB_TEXT, "ended the process with exit status %d", WEXITSTATUS(status));
  if (ended[0]) printf("  stopped:\n"), put_indented(ended);
}

/* ---- The report -------------------------------------------------------------------------------------------------- */

static int total_points(const struct lab *lab)
{
  int sum = 0;
  for (int g = 0; g < group_count(); g++) sum += group_points(lab, g);
  return sum;
}

static json_t *json_checks(const struct record *record, int group)
{
  json_t *list = json_array();
  for (int c = 0; c < record->check_count; c++) {
    const struct check *check = &record->checks[c];
    if (check->group != group) continue;
    json_array_append_new(
        list, json_pack("{s:s, s:i, s:i, s:s}", "what", check->what, "points", check->got, "of", check->points, "help", check->help));
  }
  return list;
}

static json_t *json_groups(const struct lab *lab)
{
  json_t *list = json_array();
  for (int g = 0; g < group_count(); g++)
    json_array_append_new(list, json_pack("{s:s, s:i, s:i, s:s, s:o}", "name", groups[g].name, "points", group_points(lab, g), "of",
                                          groups[g].points, "stopped", lab->record->ended[g], "checks", json_checks(lab->record, g)));
  return list;
}

static json_t *json_notes(const struct note *notes, int count, const char *key)
{
  json_t *list = json_array();
  for (int i = 0; i < count; i++) json_array_append_new(list, json_pack("{s:s, s:s}", key, notes[i].key, "text", notes[i].text));
  return list;
}

/* What students write may not be UTF-8; what JSON cannot hold becomes a question mark. */
static void clean(char *text)
{
  for (; *text; text++)
    if ((unsigned char)*text >= 0x80 || ((unsigned char)*text < 0x20 && *text != '\n')) *text = '?';
}

static void clean_record(struct record *record)
{
  for (int c = 0; c < record->check_count; c++) clean(record->checks[c].what), clean(record->checks[c].help);
  for (int m = 0; m < record->mistake_count; m++) clean(record->mistakes[m].text);
  for (int g = 0; g < LAB_GROUPS; g++) clean(record->ended[g]);
}

static void write_json(struct lab *lab)
{
  struct record *record = lab->record;
  char student[256];
  snprintf(student, sizeof student, "%s", lab->student);
  clean(student);
  clean_record(record);
  json_t *object = json_pack("{s:i, s:s, s:s, s:i, s:i, s:o, s:o, s:o}", "lab", lab_plan.number, "title", lab_plan.title, "student",
                             student, "points", total_points(lab), "of", POINTS, "groups", json_groups(lab), "mistakes",
                             json_notes(record->mistakes, record->mistake_count, "key"), "pictures",
                             json_notes(record->pictures, record->picture_count, "file"));
  if (!object || json_dump_file(object, lab->json, JSON_INDENT(1))) error(EXIT_USAGE, errno, "--json: %s cannot be written", lab->json);
  json_decref(object);
}

static void print_summary(const struct lab *lab)
{
  printf("\n");
  for (int g = 0; g < group_count(); g++)
    printf("  %-24s %3d of %3d%s\n", groups[g].name, group_points(lab, g), groups[g].points, lab->record->ended[g][0] ? "  stopped" : "");
  printf("  %-24s %3d of %3d\n", "all", total_points(lab), POINTS);
  for (int p = 0; p < lab->record->picture_count; p++)
    printf("  %s/%s: %s\n", lab->out, lab->record->pictures[p].key, lab->record->pictures[p].text);
}

/* ---- Hints ------------------------------------------------------------------------------------------------------- */

/* hints.txt beside the judge: one after the other, between them lines of "---". How many were given stands in out/hints. */
static int give_hint(struct lab *lab)
{
  int given = 0, number = 1;
  snprintf(lab->path, sizeof lab->path, "%s/hints", lab->out);
  FILE *file = fopen(lab->path, "re");
  if (file && fscanf(file, "%d", &given) != 1) given = 0;
  if (file) fclose(file);
  char *text = read_text("hints.txt"), *hint = text;
  if (!text) error(EXIT_USAGE, errno, "hints.txt");
  for (char *end; hint; hint = end ? end + 5 : NULL, number++) {
    end = strstr(hint, "\n---\n");
    if (number > given + 1) break;
    printf("Hint %d. %.*s\n", number, end ? (int)(end - hint) : (int)strcspn(hint, ""), hint);
  }
  printf(hint ? "`make hint` again gives the next one.\n" : "These were all hints.\n");
  file = fopen(lab->path, "we");
  if (!file || fprintf(file, "%d\n", number - 1) < 0 || fclose(file)) error(EXIT_USAGE, errno, "%s", lab->path);
  free(text);
  return 0;
}

/* ---- The program ------------------------------------------------------------------------------------------------- */

static error_t parse(int key, char *text, struct argp_state *state)
{
  struct lab *lab = state->input;
  char *end;
  switch (key) {
  case 's': lab->student = text; return 0;
  case 'w': lab->work = text; return 0;
  case 'o': lab->out = text; return 0;
  case 'j': lab->json = text; return 0;
  case 'h': lab->hint = true; return 0;
  case 'l':
    lab->least = strtol(text, &end, 10);
    if (end == text || *end || lab->least < 0 || lab->least > POINTS)
      argp_failure(state, EXIT_USAGE, 0, "--least: \"%s\" is not valid; expected 0 to %d", text, POINTS);
    return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static int grade(struct lab *lab)
{
  int sum = 0;
  for (int g = 0; g < group_count(); g++) sum += groups[g].points;
  if (sum != POINTS) error(EXIT_USAGE, 0, "the judge's groups have %d points together; expected %d", sum, POINTS);
  printf("Lab %d, %s, for %s\n", lab_plan.number, lab_plan.title, lab->student);
  if (lab_plan.task) lab_plan.task(lab);
  for (lab->group = 0; lab->group < group_count(); lab->group++) run_group(lab);
  print_summary(lab);
  if (lab->json) write_json(lab);
  return total_points(lab) < lab->least ? EXIT_BELOW : 0;
}

int main(int argc, char **argv)
{
  static const struct argp_option flags[] = {
      {"student", 's', "NAME", 0, "whose task; every name has its own numbers (default: anonymous)", 0},
      {"work", 'w', "DIR", 0, "where the student's files are (default: here)", 0},
      {"out", 'o', "DIR", 0, "where pages are written (default: build)", 0},
      {"json", 'j', "FILE", 0, "also write the result as JSON", 0},
      {"least", 'l', "POINTS", 0, "exit status 1 below so many points (default 0)", 0},
      {"hint", 'h', 0, 0, "do not grade, but give the next hint", 0},
      {0},
  };
  struct argp argp = {.options = flags, .parser = parse, .doc = "Grades a lab."};
  struct lab lab = {.student = "", .work = ".", .out = "build"};
  argp_err_exit_status = EXIT_USAGE;
  argp_parse(&argp, argc, argv, 0, NULL, &lab);
  if (!lab.student[0]) lab.student = "anonymous";
  setvbuf(stdout, NULL, _IOLBF, 0);
  lab.record = share(sizeof *lab.record);
  return lab.hint ? give_hint(&lab) : grade(&lab);
}
