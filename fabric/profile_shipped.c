/* The profiles that come with the library: the files of fabric/profiles/, byte for byte, as read-only data.
 * The Makefile runs the compiler at the top of the source tree, where the assembler finds them. */
#include <string.h>

#include "fabric/profile.h"

#define SHIPPED(X) X(h100_8, "h100-8")

#define INCLUDE_TEXT(symbol, name) \
  extern const char fab_text_##symbol[] __attribute__((visibility("hidden"))); \
  __asm__(".pushsection .rodata\n" \
          ".hidden fab_text_" #symbol "\n.global fab_text_" #symbol "\n" \
          "fab_text_" #symbol ":\n.incbin \"fabric/profiles/" name ".conf\"\n.byte 0\n" \
          ".popsection\n");
SHIPPED(INCLUDE_TEXT)

#define ENTRY(symbol, name) {name, fab_text_##symbol},
static const struct {
  const char *name, *text;
} shipped[] = {SHIPPED(ENTRY)};
enum { SHIPPED_COUNT = sizeof shipped / sizeof shipped[0] };

const char *fab_shipped_profile(int index)
{
  return index >= 0 && index < SHIPPED_COUNT ? shipped[index].name : NULL;
}

const char *fab_shipped_profile_text(const char *name)
{
  for (int i = 0; i < SHIPPED_COUNT; i++)
    if (!strcmp(shipped[i].name, name)) return shipped[i].text;
  return NULL;
}
