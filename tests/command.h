/* For tests of whole programs: run a shell line or a session, and keep what it says. */
#ifndef TESTS_COMMAND_H
#define TESTS_COMMAND_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/session.h"
#include "uma.h"

static inline char *command_read_all(FILE *file)
{
  size_t held = 0, room = 1 << 16;
  char *text = malloc(room);
  for (size_t got; (got = fread(text + held, 1, room - held - 1, file)) > 0;) {
    held += got;
    if (room - held < 4096) text = realloc(text, room *= 2);
  }
  text[held] = 0;
  return text;
}

/* Runs the shell line; standard output and error together in *said. Returns the exit status. */
static inline int command_run(const char *line, char **said)
{
  char *whole;
  if (asprintf(&whole, "{ %s\n} 2>&1", line) < 0) abort();
  FILE *pipe = popen(whole, "r");
  *said = command_read_all(pipe);
  int status = pclose(pipe);
  free(whole);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Runs the `uma` of this build with these arguments, as command_run does. */
static inline int __attribute__((format(printf, 2, 3))) command_uma(char **said, const char *format, ...)
{
  char *arguments, *line;
  va_list list;
  va_start(list, format);
  if (vasprintf(&arguments, format, list) < 0 || asprintf(&line, "%s/uma %s", session_build(), arguments) < 0) abort();
  va_end(list);
  int status = command_run(line, said);
  free(arguments);
  free(line);
  return status;
}

/* It ends with the status, and says what is wanted. */
static inline void command_expect(const char *arguments, int status, const char *wanted)
{
  char *said;
  int result = command_uma(&said, "%s", arguments);
  cr_expect_eq(result, status, "uma %s: %d instead of %d: %s", arguments, result, status, said);
  cr_expect(strstr(said, wanted), "uma %s: \"%s\" is missing in: %s", arguments, wanted, said);
  free(said);
}

/* How often the words were said. */
static inline int command_count(const char *said, const char *words)
{
  int count = 0;
  for (; (said = strstr(said, words)); said++) count++;
  return count;
}

/* uma_spawn with standard error kept. */
static inline int command_capture_spawn(const struct uma_config *config, int devices, int (*function)(void *), void *argument, char **said)
{
  FILE *file = tmpfile();
  int saved = dup(STDERR_FILENO);
  dup2(fileno(file), STDERR_FILENO);
  int result = uma_spawn(config, devices, function, argument);
  dup2(saved, STDERR_FILENO);
  close(saved);
  rewind(file);
  *said = command_read_all(file);
  fclose(file);
  return result;
}

#endif
