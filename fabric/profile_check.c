/* What only the whole profile shows: whether the topology adds up. Each sentence names the numbers that do not agree. */
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "fabric/profile.h"

struct check {
  const struct fab_profile *profile;
  const char *file;
  FILE *report;
  int mistakes;
};

static void mistake(struct check *check, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void mistake(struct check *check, int line, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  fprintf(check->report, "%s:%d: ", check->file, line > 0 ? line : 1);
  vfprintf(check->report, format, arguments);
  fputc('\n', check->report);
  va_end(arguments);
  check->mistakes++;
}

uint64_t fab_profile_devices(const struct fab_profile *profile, int level)
{
  uint64_t devices = 1;
  for (int i = 0; i <= level; i++) devices *= (uint64_t)profile->level[i].of.value;
  return devices;
}

static void check_levels(struct check *check)
{
  const struct fab_profile *profile = check->profile;
  double devices = 1;
  if (!profile->level_count) mistake(check, 1, "no levels; expected levels = ( { name = \"server\"; of = ...; } )");
  for (int i = 0; i < profile->level_count; i++) {
    const struct fab_level *level = &profile->level[i];
    char below[FAB_MACHINE_NAME + 2];
    snprintf(below, sizeof below, "%ss", i ? profile->level[i - 1].name : "device");
    if (strcmp(level->of.unit, below))
      mistake(check, level->of.line, "level %s is made of \"%s\"; expected %s, the level below", level->name, level->of.text, below);
    if (level->name[strspn(level->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")])
      mistake(check, level->of.line, "the level name \"%s\" has a character that names may not have; expected letters, digits, - and _",
              level->name);
    for (int j = 0; j < i; j++)
      if (!strcmp(profile->level[j].name, level->name)) mistake(check, level->of.line, "two levels are called %s", level->name);
    devices *= level->of.value;
  }
  if (devices > 1e9) mistake(check, 1, "%.0f devices; expected at most 1000000000", devices);
}

static void check_accelerators(struct check *check)
{
  const struct fab_profile *profile = check->profile;
  uint64_t devices = fab_profile_devices(profile, profile->level_count - 1), sum = 0;
  int line = 1;
  if (!profile->accelerator_count) mistake(check, 1, "no accelerators; expected accelerators = ( { name = ...; } )");
  for (int i = 0; i < profile->accelerator_count; i++) {
    const struct fab_quantity *count = &profile->accelerator[i].devices;
    if (count->status == FAB_ABSENT && profile->accelerator_count == 1) return;
    if (count->status == FAB_ABSENT)
      mistake(check, profile->accelerator[i].memory.line, "%s has no devices; expected how many of them the machine has",
              profile->accelerator[i].name);
    sum += (uint64_t)count->value;
    line = count->line;
  }
  if (profile->accelerator_count && sum != devices)
    mistake(check, line, "the accelerators are %llu devices, but the levels hold %llu; expected the same", (unsigned long long)sum,
            (unsigned long long)devices);
}

/* Bytes a second that one unit of the stage sends to it. */
static double stage_bandwidth(const struct fab_profile *profile, const struct fab_stage *stage, double fan)
{
  double lanes = stage->lanes.value * (stage->mesh ? fan - 1 : 1);
  return lanes * profile->link[stage->link[0]].bandwidth.value;
}

static void check_oversubscription(struct check *check, const struct fab_stage *stage, const struct fab_stage *below, double below_fan)
{
  const struct fab_profile *profile = check->profile;
  double up = stage_bandwidth(profile, stage, 0), down = stage_bandwidth(profile, below, below_fan) * below_fan;
  const struct fab_quantity *stated = &stage->oversubscription;
  if (stage->mesh) return;
  if (stated->status == FAB_ABSENT)
    mistake(check, stage->line, "stage %s has no oversubscription; expected what comes from below : what goes up, here \"%.4g x\"",
            profile->level[stage->level].name, down / up);
  else if (fabs(down / up / stated->value - 1) > 0.01)
    mistake(check, stated->line,
            "the topology does not add up: stage %s is stated as oversubscribed \"%s\", but %.4g GB/s come from below and %.4g GB/s go up; "
            "expected \"%.4g x\"",
            profile->level[stage->level].name, stated->text, down / 1e9, up / 1e9, down / up);
}

/* `base` devices share each of the first stage's ports. */
static void check_stages(struct check *check, const char *name, const struct fab_network *network, double base)
{
  const struct fab_profile *profile = check->profile;
  double below = base, below_fan = 0;
  for (int i = 0; i < network->stage_count; i++) {
    const struct fab_stage *stage = &network->stage[i];
    const char *level = profile->level[stage->level].name;
    if (i && stage->level <= network->stage[i - 1].level) {
      mistake(check, stage->line, "stage %s of %s does not lie above the stage before it; expected levels from inside out", level, name);
      return;
    }
    if (stage->mesh && stage->switches.status != FAB_ABSENT) mistake(check, stage->line, "stage %s is a mesh with switches", level);
    if (!stage->mesh && stage->switches.status == FAB_ABSENT)
      mistake(check, stage->line, "stage %s has no switches; expected how many stand in one %s, or mesh = true", level, level);
    if (i) check_oversubscription(check, stage, &network->stage[i - 1], below_fan);
    double size = (double)fab_profile_devices(profile, stage->level);
    below_fan = size / below;
    below = size;
  }
}

static double last_size(const struct fab_profile *profile, const struct fab_network *network)
{
  return network->stage_count ? (double)fab_profile_devices(profile, network->stage[network->stage_count - 1].level) : 1;
}

static void check_networks(struct check *check)
{
  const struct fab_profile *profile = check->profile;
  const struct fab_network *out = &profile->scale_out;
  int last = profile->level_count - 1;
  double server = (double)fab_profile_devices(profile, 0), all = (double)fab_profile_devices(profile, last);
  if (out->stage_count && fmod(server, out->nics.value) != 0)
    mistake(check, out->nics.line, "the topology does not add up: %s for the %.0f devices of a %s; expected a divisor", out->nics.text,
            server, profile->level[0].name);
  if (!check->mistakes) check_stages(check, "scale_up", &profile->scale_up, 1);
  if (!check->mistakes && out->stage_count) check_stages(check, "scale_out", out, server / out->nics.value);
  if (!check->mistakes && profile->scale_up.by_session && last_size(profile, out) < all)
    mistake(check, profile->scale_up.line, "scale_up is by_session, but scale_out does not join all %.0f devices; expected that it does",
            all);
  double reach = fmax(fmax(last_size(profile, &profile->scale_up), last_size(profile, out)), server);
  if (!check->mistakes && reach < all)
    mistake(check, out->line > profile->scale_up.line ? out->line : profile->scale_up.line,
            "the topology does not add up: %.0f devices, but no network joins more than %.0f; expected a stage of level %s", all, reach,
            profile->level[last].name);
}

int fab_profile_check(const struct fab_profile *profile, const char *file, FILE *report)
{
  struct check check = {profile, file, report, 0};
  check_levels(&check);
  if (!check.mistakes) check_accelerators(&check);
  if (!check.mistakes) check_networks(&check);
  return check.mistakes;
}
