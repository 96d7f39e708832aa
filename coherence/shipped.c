/* The protocols that come with the library: the files of coherence/protocols/, byte for byte, as read-only data.
 * The Makefile runs the compiler at the top of the source tree, where the assembler finds them. */
#include <strings.h>

#include "coherence/protocol.h"

#define SHIPPED(X) X(msi) X(mesi) X(moesi) X(mesif)

#define INCLUDE_TEXT(name) \
  extern const char coh_text_##name[] __attribute__((visibility("hidden"))); \
  __asm__(".pushsection .rodata\n" \
          ".hidden coh_text_" #name "\n.global coh_text_" #name "\n" \
          "coh_text_" #name ":\n.incbin \"coherence/protocols/" #name ".protocol\"\n.byte 0\n" \
          ".popsection\n");
SHIPPED(INCLUDE_TEXT)

#define ENTRY(name) {#name, coh_text_##name},
static const struct {
  const char *name, *text;
} shipped[] = {SHIPPED(ENTRY)};
enum { SHIPPED_COUNT = sizeof shipped / sizeof shipped[0] };

const char *coh_shipped_name(int index)
{
  return index >= 0 && index < SHIPPED_COUNT ? shipped[index].name : NULL;
}

const char *coh_shipped_text(const char *name)
{
  for (int i = 0; i < SHIPPED_COUNT; i++)
    if (!strcasecmp(shipped[i].name, name)) return shipped[i].text;
  return NULL;
}
