/* The last device of a session that a launcher started ends as the argument says, while the others wait for it at a barrier; tests/launchers.c runs it. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "uma.h"

static void end(const char *how)
{
  if (!strcmp(how, "kill")) raise(SIGKILL);
  if (!strcmp(how, "exit")) exit(3);
  if (!strcmp(how, "silently")) _exit(0);
  exit(uma_finalize() ? 1 : 5); /* properly */
}

int main(int argc, char **argv)
{
  int result;
  if (argc != 2) return 2;
  if (uma_init(NULL) || uma_barrier()) {
    fprintf(stderr, "die: %s\n", uma_last_error());
    return 1;
  }
  if (uma_device() == uma_device_count() - 1) end(argv[1]);
  if (!strcmp(argv[1], "properly")) return uma_finalize() ? 1 : 0;
  do result = uma_barrier();
  while (!result);
  for (;;) pause(); /* it is the launcher that ends this */
}
