/* Numbers on the command line. */
#include <errno.h>
#include <error.h>
#include <stdlib.h>

#include "uma/commands.h"

enum { EXIT_USAGE = 2 };

long uma_cmd_number(const char *flag, const char *text, long least, long most, long otherwise)
{
  char *end;
  if (!text) return otherwise;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno || end == text || *end || value < least || value > most)
    error(EXIT_USAGE, 0, "%s: \"%s\" is not valid; expected %ld to %ld", flag, text, least, most);
  return value;
}
