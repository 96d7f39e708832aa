/* A profile with some of its numbers replaced: "h100-8:links.nvlink.latency=100 ns;scale_out.nic_latency=1 us" is that machine with these two. The
 * names are those that `uma topology NAME --numbers` lists; what is replaced counts as assumed, with no range. The whole is checked again, as a
 * count or a bandwidth may no longer agree with others. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/profile.h"

size_t fab_profile_base(const char *name)
{
  const char *equals = strchr(name, '='), *colon = equals ? memrchr(name, ':', (size_t)(equals - name)) : NULL;
  return colon ? (size_t)(colon - name) : strlen(name);
}

static char *trim(char *text)
{
  text += strspn(text, " ");
  for (size_t length = strlen(text); length && text[length - 1] == ' ';) text[--length] = 0;
  return text;
}

/* "NAME=NUMBER UNIT"; returns whether it was reported as a mistake. */
static bool change(struct fab_profile *profile, char *text, FILE *report)
{
  char *equals = strchr(text, '='), *name = text;
  double value;
  const char *unit;
  if (!equals) {
    fprintf(report, "%s: \"%s\" changes no number; expected NAME=NUMBER UNIT, several of them with ; between\n", profile->name, trim(text));
    return true;
  }
  *equals = 0;
  name = trim(name);
  struct fab_quantity *quantity = fab_profile_find(profile, name);
  if (!quantity) {
    fprintf(report, "%s: it has no number \"%s\"; expected one that `uma topology %s --numbers` lists\n", profile->name, name,
            profile->name);
    return true;
  }
  char *number = trim(equals + 1);
  const char *wrong = fab_quantity_parse(number, quantity->dimension, &value, &unit);
  if (wrong) {
    fprintf(report, "%s: %s: %s\n", profile->name, name, wrong);
    return true;
  }
  *quantity = (struct fab_quantity){.value = value,
                                    .low = value,
                                    .high = value,
                                    .status = FAB_ASSUMED,
                                    .dimension = quantity->dimension,
                                    .text = number,
                                    .unit = unit,
                                    .low_text = number,
                                    .high_text = number,
                                    .place = "given with the name of the profile",
                                    .line = quantity->line};
  return false;
}

int fab_profile_change(struct fab_profile *profile, const char *changes, FILE *report)
{
  int mistakes = 0;
  char *rest = strdup(changes);
  if (!rest) return -ENOMEM;
  free(profile->changes);
  profile->changes = rest;
  for (char *one; (one = strsep(&rest, ";"));) mistakes += change(profile, one, report);
  if (!mistakes) mistakes = fab_profile_check(profile, profile->name, report);
  return mistakes ? -EINVAL : 0;
}
