/* Mutants of the shipped protocols: one cell changed. */
#ifndef LAB_MUTANT_H
#define LAB_MUTANT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coherence/protocol.h"

/* The text with everything after "STATE EVENT" replaced in the one line of "ROLE transitions" that begins so; NULL when there is none. */
static inline char *mutant_text(const char *text, const char *role, const char *state, const char *events, const char *rest)
{
  char *result = NULL, heading[64], first[64], second[256], line[512];
  size_t size;
  FILE *out = open_memstream(&result, &size);
  bool inside = false, found = false;
  snprintf(heading, sizeof heading, "%s transitions", role);
  while (*text) {
    size_t length = strcspn(text, "\n");
    snprintf(line, sizeof line, "%.*s", (int)length, text);
    if (line[0] && line[0] != ' ' && line[0] != '#') inside = !strcmp(line, heading);
    bool here = inside && sscanf(line, "%63s %255s", first, second) == 2 && !strcmp(first, state) && !strcmp(second, events);
    found |= here;
    if (here) fprintf(out, "  %s %s %s\n", state, events, rest);
    else fprintf(out, "%s\n", line);
    text += length + (text[length] == '\n');
  }
  fclose(out);
  if (found) return result;
  free(result);
  return NULL;
}

#endif
