/* The profiles that come with the library: the files of fabric/profiles/, byte for byte, as read-only data.
 * The Makefile runs the compiler at the top of the source tree, where the assembler finds them. */
#include <string.h>

#include "fabric/profile.h"

#define SHIPPED(X) \
  X(h100_8, "h100-8") \
  X(h200_8, "h200-8") \
  X(h20_8, "h20-8") \
  X(h800_8, "h800-8") \
  X(a100_pcie_8, "a100-pcie-8") \
  X(gb200_nvl72, "gb200-nvl72") \
  X(cloudmatrix384, "cloudmatrix384") \
  X(mtt_s4000_kuae, "mtt-s4000-kuae") \
  X(mtt_s5000_kuae, "mtt-s5000-kuae") \
  X(mtlink2_c256, "mtlink2-c256") \
  X(huashan_next, "huashan-next") \
  X(scalex640, "scalex640") \
  X(scalex_10240, "scalex-10240") \
  X(br20x, "br20x") \
  X(mixed_h100_s5000, "mixed-h100-s5000")

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
