/* Reads a profile (its language: fabric/profiles/README.md) into plain numbers.
 *
 * libconfig makes a tree of the text; here each kind of group has a table of the keys that it may have, and one function walks any group by
 * its table. So a key that is unknown, missing or of the wrong kind is noticed in one place, with its line, and reading goes on: one run
 * reports all mistakes. What only the whole shows (whether the topology adds up) is left to profile_check.c. */
#include "fabric/profile.h"

#include <errno.h>
#include <libconfig.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum key_kind {
  KEY_QUANTITY,
  KEY_NAME, /* a text into char[FAB_MACHINE_NAME] */
  KEY_TEXT, /* a text that the tree keeps */
  KEY_FLAG, /* true or false */
  KEY_ELSE  /* read by its own function */
};

struct key {
  const char *name;
  enum key_kind kind;
  bool required;
  enum fab_dimension dimension;
  size_t offset; /* in the struct of the group */
};

struct reader {
  struct fab_profile *profile;
  const char *file;
  FILE *report;
  config_setting_t *sources;
  int mistakes;
};

static void mistake(struct reader *reader, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void mistake(struct reader *reader, int line, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  fprintf(reader->report, "%s:%d: ", reader->file, line > 0 ? line : 1);
  vfprintf(reader->report, format, arguments);
  fputc('\n', reader->report);
  va_end(arguments);
  reader->mistakes++;
}

static int line_of(const config_setting_t *setting)
{
  return (int)config_setting_source_line(setting);
}

/* ---- A quantity --------------------------------------------------------------------------------------------------- */

static const char *text_of(struct reader *reader, const config_setting_t *group, const char *key)
{
  config_setting_t *setting = config_setting_get_member(group, key);
  if (!setting) return NULL;
  const char *text = config_setting_get_string(setting);
  if (!text) mistake(reader, line_of(setting), "%s is not a text; expected for instance %s = \"...\"", key, key);
  return text;
}

static double number_of(struct reader *reader, const config_setting_t *group, const char *key, struct fab_quantity *quantity)
{
  double value = 0;
  const char *unit;
  config_setting_t *setting = config_setting_get_member(group, key);
  if (!setting) {
    mistake(reader, line_of(group), "%s has no %s; expected %s = \"NUMBER UNIT\"", config_setting_name(group), key, key);
    return 0;
  }
  const char *text = config_setting_get_string(setting);
  if (!text) {
    mistake(reader, line_of(setting), "%s of %s is a number without a unit; expected a text as \"NUMBER UNIT\"", key,
            config_setting_name(group));
    return 0;
  }
  const char *wrong = fab_quantity_parse(text, quantity->dimension, &value, &unit);
  if (wrong) mistake(reader, line_of(setting), "%s of %s: %s", key, config_setting_name(group), wrong);
  else if (!strcmp(key, "value")) quantity->text = text, quantity->unit = unit;
  else if (!strcmp(key, "low")) quantity->low_text = text;
  else quantity->high_text = text;
  return value;
}

static enum fab_status status_of(struct reader *reader, const config_setting_t *group)
{
  const char *word = text_of(reader, group, "status");
  for (int status = FAB_PUBLISHED; word && status < FAB_STATUSES; status++)
    if (!strcmp(word, fab_status_names[status])) return (enum fab_status)status;
  if (word)
    mistake(reader, line_of(group), "%s has the status \"%s\"; expected published, derived, measured or assumed",
            config_setting_name(group), word);
  else mistake(reader, line_of(group), "%s has no status; expected published, derived, measured or assumed", config_setting_name(group));
  return FAB_ASSUMED;
}

/* "KEY" or "KEY: place in it"; the key is one of the profile's sources. */
static void read_source(struct reader *reader, const config_setting_t *group, const char *source, struct fab_quantity *quantity)
{
  char key[FAB_MACHINE_NAME];
  size_t length = strcspn(source, ":");
  snprintf(key, sizeof key, "%.*s", (int)length, source);
  const char *document = NULL;
  if (length < sizeof key && reader->sources) config_setting_lookup_string(reader->sources, key, &document);
  if (!document)
    mistake(reader, line_of(group), "%s has the source \"%s\"; expected KEY or \"KEY: place\" with a KEY out of the group sources",
            config_setting_name(group), source);
  quantity->document = document;
  quantity->place = source + length + strspn(source + length, ": ");
}

static void check_quantity_keys(struct reader *reader, const config_setting_t *group, enum fab_status status)
{
  /* Which keys a quantity of each status must have; no other has them. */
  static const struct {
    const char *name;
    unsigned needed; /* by status, as bits */
  } keys[] = {{"value", ~0U},
              {"status", ~0U},
              {"source", 1U << FAB_PUBLISHED | 1U << FAB_DERIVED | 1U << FAB_MEASURED},
              {"formula", 1U << FAB_DERIVED},
              {"reason", 1U << FAB_ASSUMED},
              {"low", 1U << FAB_ASSUMED},
              {"high", 1U << FAB_ASSUMED}};
  for (int i = 0; i < config_setting_length(group); i++) {
    const config_setting_t *child = config_setting_get_elem(group, (unsigned)i);
    bool known = false;
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
      known |= !strcmp(keys[k].name, config_setting_name(child)) && (keys[k].needed & 1U << status);
    if (!known)
      mistake(reader, line_of(child), "unknown key %s in the %s number %s; expected value, status and %s", config_setting_name(child),
              fab_status_names[status], config_setting_name(group),
              status == FAB_ASSUMED   ? "reason, low, high"
              : status == FAB_DERIVED ? "source, formula"
                                      : "source");
  }
  for (size_t k = 2; k < sizeof keys / sizeof keys[0]; k++)
    if (keys[k].needed & 1U << status && !config_setting_get_member(group, keys[k].name))
      mistake(reader, line_of(group), "%s is %s and has no %s; expected one", config_setting_name(group), fab_status_names[status],
              keys[k].name);
}

static void note_quantity(struct reader *reader, const char *where, const char *name, int line, struct fab_quantity *quantity)
{
  struct fab_profile *profile = reader->profile;
  if (profile->quantity_count == FAB_PROFILE_QUANTITIES) {
    mistake(reader, line, "more than %d numbers; expected fewer", FAB_PROFILE_QUANTITIES);
    return;
  }
  struct fab_named_quantity *named = &profile->quantity[profile->quantity_count++];
  named->quantity = quantity;
  snprintf(named->name, sizeof named->name, "%s%s%s", where, *where ? "." : "", name);
}

static void read_quantity(struct reader *reader, const config_setting_t *group, const char *where, enum fab_dimension dimension,
                          struct fab_quantity *quantity)
{
  *quantity = (struct fab_quantity){
      .dimension = dimension, .line = line_of(group), .text = "", .unit = "", .place = "", .low_text = "", .high_text = ""};
  if (!config_setting_is_group(group)) {
    mistake(reader, line_of(group), "%s is not a number with its source; expected { value = \"NUMBER UNIT\"; status = ...; source = ...; }",
            config_setting_name(group));
    return;
  }
  quantity->status = status_of(reader, group);
  check_quantity_keys(reader, group, quantity->status);
  quantity->value = quantity->low = quantity->high = number_of(reader, group, "value", quantity);
  quantity->formula = text_of(reader, group, "formula");
  const char *source = text_of(reader, group, quantity->status == FAB_ASSUMED ? "reason" : "source");
  if (source && quantity->status != FAB_ASSUMED) read_source(reader, group, source, quantity);
  else if (source) quantity->place = source;
  if (quantity->status == FAB_ASSUMED && config_setting_get_member(group, "low") && config_setting_get_member(group, "high")) {
    quantity->low = number_of(reader, group, "low", quantity);
    quantity->high = number_of(reader, group, "high", quantity);
    if (quantity->low > quantity->value || quantity->value > quantity->high)
      mistake(reader, line_of(group), "%s is not between its low and its high; expected low <= value <= high", config_setting_name(group));
  }
  note_quantity(reader, where, config_setting_name(group), line_of(group), quantity);
}

/* ---- A group by its table ---------------------------------------------------------------------------------------- */

static void list_keys(const struct key *keys, int count, char *text, size_t room)
{
  size_t used = 0;
  *text = 0;
  for (int i = 0; i < count && used < room; i++) used += (size_t)snprintf(text + used, room - used, "%s%s", i ? ", " : "", keys[i].name);
}

static void read_key(struct reader *reader, const config_setting_t *setting, const char *where, const struct key *key, void *into)
{
  void *place = (char *)into + key->offset;
  if (key->kind == KEY_QUANTITY) {
    read_quantity(reader, setting, where, key->dimension, place);
  } else if (key->kind == KEY_FLAG) {
    if (config_setting_type(setting) != CONFIG_TYPE_BOOL) mistake(reader, line_of(setting), "%s is not true or false", key->name);
    else *(bool *)place = config_setting_get_bool(setting);
  } else if (key->kind != KEY_ELSE) {
    const char *text = config_setting_get_string(setting);
    if (!text || !*text) mistake(reader, line_of(setting), "%s is not a text; expected for instance %s = \"...\"", key->name, key->name);
    else if (key->kind == KEY_TEXT) *(const char **)place = text;
    else if (strlen(text) < FAB_MACHINE_NAME) strcpy(place, text);
    else mistake(reader, line_of(setting), "%s \"%s\" is longer than %d characters", key->name, text, FAB_MACHINE_NAME - 1);
  }
}

/* Reads all keys but those of kind KEY_ELSE. `where` is the group's name in the names of its quantities. */
static void read_group(struct reader *reader, const config_setting_t *group, const char *where, const struct key *keys, int count,
                       void *into)
{
  char all[400];
  const char *name = *where ? where : "the profile";
  if (!config_setting_is_group(group)) {
    mistake(reader, line_of(group), "%s is not a group; expected { key = ...; }", name);
    return;
  }
  list_keys(keys, count, all, sizeof all);
  for (int i = 0; i < config_setting_length(group); i++) {
    const config_setting_t *child = config_setting_get_elem(group, (unsigned)i);
    int found = 0;
    while (found < count && strcmp(keys[found].name, config_setting_name(child))) found++;
    if (found == count) mistake(reader, line_of(child), "unknown key %s in %s; expected %s", config_setting_name(child), name, all);
    else read_key(reader, child, where, &keys[found], into);
  }
  for (int i = 0; i < count; i++)
    if (keys[i].required && !config_setting_get_member(group, keys[i].name))
      mistake(reader, line_of(group), "%s has no %s; expected one", name, keys[i].name);
}

/* A list of groups: how many there are, at most `most`. */
static int list_length(struct reader *reader, const config_setting_t *parent, const char *name, int most, config_setting_t **list)
{
  *list = config_setting_get_member(parent, name);
  if (!*list) return 0;
  int count = config_setting_is_list(*list) ? config_setting_length(*list) : 0;
  if (!count) mistake(reader, line_of(*list), "%s is not a list; expected ( { ... }, { ... } )", name);
  if (count > most) mistake(reader, line_of(*list), "%s has %d entries; expected at most %d", name, count, most);
  return count > most ? most : count;
}

#define KEYS(table) table, (int)(sizeof table / sizeof table[0])
#define QUANTITY(type, field, required, dimension) \
  { \
#field, KEY_QUANTITY, required, dimension, offsetof(struct type, field) \
  }

/* ---- The groups -------------------------------------------------------------------------------------------------- */

static void read_flops(struct reader *reader, const config_setting_t *group, const char *where, struct fab_accelerator *accelerator)
{
  struct key keys[FAB_DTYPES];
  char prefix[2 * FAB_MACHINE_NAME + 16];
  for (int i = 0; i < FAB_DTYPES; i++)
    keys[i] = (struct key){fab_dtype_names[i], KEY_QUANTITY, false, FAB_OPERATIONS, (size_t)i * sizeof(struct fab_quantity)};
  snprintf(prefix, sizeof prefix, "%s.flops", where);
  read_group(reader, group, prefix, KEYS(keys), accelerator->flops);
}

static void read_accelerators(struct reader *reader, const config_setting_t *root)
{
#define A(field, required, dimension) QUANTITY(fab_accelerator, field, required, dimension)
  static const struct key keys[] = {
      {"name", KEY_NAME, true, 0, offsetof(struct fab_accelerator, name)},
      A(devices, false, FAB_COUNT),
      A(memory, true, FAB_BYTES),
      A(memory_bandwidth, true, FAB_BYTES_PER_SECOND),
      A(memory_latency, true, FAB_DURATION),
      A(memory_energy, false, FAB_ENERGY_PER_BIT),
      A(store_latency, true, FAB_DURATION),
      A(atomic_latency, true, FAB_DURATION),
      A(line, true, FAB_BYTES),
      A(cache, false, FAB_BYTES),
      {"flops", KEY_ELSE, true, 0, 0},
      A(power, true, FAB_POWER),
  };
#undef A
  config_setting_t *list;
  struct fab_profile *profile = reader->profile;
  profile->accelerator_count = list_length(reader, root, "accelerators", FAB_ACCELERATORS, &list);
  for (int i = 0; i < profile->accelerator_count; i++) {
    const config_setting_t *group = config_setting_get_elem(list, (unsigned)i);
    struct fab_accelerator *accelerator = &profile->accelerator[i];
    char where[32];
    snprintf(where, sizeof where, "accelerators.%d", i);
    read_group(reader, group, where, KEYS(keys), accelerator);
    const config_setting_t *flops = config_setting_is_group(group) ? config_setting_get_member(group, "flops") : NULL;
    if (flops) read_flops(reader, flops, where, accelerator);
  }
}

static void read_host(struct reader *reader, const config_setting_t *root)
{
#define H(field, required, dimension) QUANTITY(fab_host, field, required, dimension)
  static const struct key keys[] = {
      H(pcie_latency, true, FAB_DURATION),
      H(pcie_bandwidth, true, FAB_BYTES_PER_SECOND),
      H(pcie_overhead, true, FAB_DURATION),
      H(pcie_energy, false, FAB_ENERGY_PER_BIT),
      H(memory, false, FAB_BYTES),
      H(memory_latency, true, FAB_DURATION),
      H(memory_bandwidth, true, FAB_BYTES_PER_SECOND),
      H(bounce_buffer, true, FAB_BYTES),
      H(power, false, FAB_POWER),
  };
#undef H
  const config_setting_t *group = config_setting_get_member(root, "host");
  if (group) read_group(reader, group, "host", KEYS(keys), &reader->profile->host);
}

static void read_medium(struct reader *reader, const config_setting_t *group, struct fab_link *link)
{
  const config_setting_t *setting = config_setting_get_member(group, "medium");
  const char *word = setting ? config_setting_get_string(setting) : NULL;
  for (int i = 0; word && i < FAB_MEDIA; i++)
    if (!strcmp(word, fab_medium_names[i])) {
      link->medium = (enum fab_medium)i;
      return;
    }
  if (setting) mistake(reader, line_of(setting), "medium of link %s is not one; expected board, copper or optical", link->name);
}

static void read_links(struct reader *reader, const config_setting_t *root)
{
#define L(field, required, dimension) QUANTITY(fab_link, field, required, dimension)
  static const struct key keys[] = {
      {"medium", KEY_ELSE, true, 0, 0}, L(latency, true, FAB_DURATION),      L(bandwidth, true, FAB_BYTES_PER_SECOND),
      L(overhead, true, FAB_DURATION),  L(energy, true, FAB_ENERGY_PER_BIT),
  };
#undef L
  struct fab_profile *profile = reader->profile;
  const config_setting_t *links = config_setting_get_member(root, "links");
  if (links && !config_setting_is_group(links)) mistake(reader, line_of(links), "links is not a group; expected { NAME = { ... }; }");
  for (int i = 0; links && config_setting_is_group(links) && i < config_setting_length(links); i++) {
    const config_setting_t *group = config_setting_get_elem(links, (unsigned)i);
    if (i == FAB_LINKS) {
      mistake(reader, line_of(group), "more than %d links; expected fewer", FAB_LINKS);
      return;
    }
    struct fab_link *link = &profile->link[profile->link_count++];
    char where[FAB_MACHINE_NAME + 8];
    snprintf(link->name, sizeof link->name, "%s", config_setting_name(group));
    snprintf(where, sizeof where, "links.%s", link->name);
    read_group(reader, group, where, KEYS(keys), link);
    if (config_setting_is_group(group)) read_medium(reader, group, link);
  }
}

static void read_levels(struct reader *reader, const config_setting_t *root)
{
  static const struct key keys[] = {
      {"name", KEY_NAME, true, 0, offsetof(struct fab_level, name)},
      QUANTITY(fab_level, of, true, FAB_COUNT),
  };
  config_setting_t *list;
  struct fab_profile *profile = reader->profile;
  profile->level_count = list_length(reader, root, "levels", FAB_LEVELS, &list);
  for (int i = 0; i < profile->level_count; i++) {
    const config_setting_t *group = config_setting_get_elem(list, (unsigned)i);
    const char *name;
    char where[FAB_MACHINE_NAME + 8];
    if (!config_setting_is_group(group) || !config_setting_lookup_string(group, "name", &name)) name = "?";
    snprintf(where, sizeof where, "levels.%.*s", FAB_MACHINE_NAME - 1, name);
    read_group(reader, group, where, KEYS(keys), &profile->level[i]);
  }
}

static int find_link(struct reader *reader, const config_setting_t *setting, const char *name)
{
  const struct fab_profile *profile = reader->profile;
  for (int i = 0; name && i < profile->link_count; i++)
    if (!strcmp(profile->link[i].name, name)) return i;
  mistake(reader, line_of(setting), "link to nowhere: \"%s\" is not among the links; expected one of their names", name ? name : "?");
  return 0;
}

/* link = "nvlink", or ("nvlink", "mtlink"): one for each kind of accelerator. */
static void read_stage_links(struct reader *reader, const config_setting_t *setting, struct fab_stage *stage)
{
  int kinds = reader->profile->accelerator_count;
  bool list = config_setting_is_list(setting);
  if (list && config_setting_length(setting) != kinds) {
    mistake(reader, line_of(setting), "%d links for %d kinds of accelerators; expected one for each, or one name for all",
            config_setting_length(setting), kinds);
    return;
  }
  for (int i = 0; i < kinds; i++)
    stage->link[i] = find_link(reader, setting, list ? config_setting_get_string_elem(setting, i) : config_setting_get_string(setting));
}

static void read_stage(struct reader *reader, const config_setting_t *group, const char *network, struct fab_stage *stage)
{
#define S(field, required, dimension) QUANTITY(fab_stage, field, required, dimension)
  static const struct key keys[] = {
      {"level", KEY_ELSE, true, 0, 0}, {"link", KEY_ELSE, true, 0, 0}, {"mesh", KEY_FLAG, false, 0, offsetof(struct fab_stage, mesh)},
      S(lanes, true, FAB_COUNT),       S(switches, false, FAB_COUNT),  S(oversubscription, false, FAB_RATIO),
  };
#undef S
  const struct fab_profile *profile = reader->profile;
  const char *level = NULL;
  char where[2 * FAB_MACHINE_NAME];
  stage->line = line_of(group);
  if (config_setting_is_group(group)) config_setting_lookup_string(group, "level", &level);
  snprintf(where, sizeof where, "%s.%.*s", network, FAB_MACHINE_NAME - 1, level ? level : "?");
  read_group(reader, group, where, KEYS(keys), stage);
  stage->level = -1;
  for (int i = 0; level && i < profile->level_count; i++)
    if (!strcmp(profile->level[i].name, level)) stage->level = i;
  if (stage->level < 0)
    mistake(reader, line_of(group), "stage to nowhere: \"%s\" is not among the levels; expected one of their names", level ? level : "?");
  const config_setting_t *link = config_setting_is_group(group) ? config_setting_get_member(group, "link") : NULL;
  if (link) read_stage_links(reader, link, stage);
}

static void read_network(struct reader *reader, const config_setting_t *root, const char *name, const struct key *keys, int count,
                         struct fab_network *network)
{
  config_setting_t *list, *group = config_setting_get_member(root, name);
  if (!group) return;
  network->line = line_of(group);
  read_group(reader, group, name, keys, count, network);
  if (!config_setting_is_group(group)) return;
  network->stage_count = list_length(reader, group, "stages", FAB_STAGES, &list);
  for (int i = 0; i < network->stage_count; i++) read_stage(reader, config_setting_get_elem(list, (unsigned)i), name, &network->stage[i]);
}

static void read_networks(struct reader *reader, const config_setting_t *root)
{
#define N(field, required, dimension) QUANTITY(fab_network, field, required, dimension)
  static const struct key up[] = {
      {"coherent", KEY_FLAG, true, 0, offsetof(struct fab_network, coherent)},
      {"by_session", KEY_FLAG, false, 0, offsetof(struct fab_network, by_session)},
      {"stages", KEY_ELSE, true, 0, 0},
      N(message_latency, false, FAB_DURATION),
      N(switch_power, false, FAB_POWER),
  };
  static const struct key out[] = {
      {"staged", KEY_FLAG, true, 0, offsetof(struct fab_network, staged)},
      {"stages", KEY_ELSE, true, 0, 0},
      N(nics, true, FAB_COUNT),
      N(nic_latency, true, FAB_DURATION),
      N(nic_overhead, true, FAB_DURATION),
      N(switch_power, false, FAB_POWER),
  };
#undef N
  read_network(reader, root, "scale_up", KEYS(up), &reader->profile->scale_up);
  read_network(reader, root, "scale_out", KEYS(out), &reader->profile->scale_out);
}

/* One row of a curve's table: how many texts, each into points[].FIELD at `offset`. */
static int read_row(struct reader *reader, const config_setting_t *setting, enum fab_dimension dimension, size_t offset,
                    struct fab_curve_point *points)
{
  const char *name = config_setting_name(setting), *unit;
  int count = config_setting_is_list(setting) || config_setting_is_array(setting) ? config_setting_length(setting) : 0;
  if (!count) mistake(reader, line_of(setting), "%s is not a list; expected ( \"NUMBER UNIT\", ... )", name);
  if (count > FAB_CURVE_POINTS) mistake(reader, line_of(setting), "%s has %d numbers; expected at most %d", name, count, FAB_CURVE_POINTS);
  for (int i = 0; i < count && i < FAB_CURVE_POINTS; i++) {
    double *into = (double *)((char *)&points[i] + offset);
    const char *text = config_setting_get_string_elem(setting, i);
    const char *wrong = text ? fab_quantity_parse(text, dimension, into, &unit) : "expected a text as \"NUMBER UNIT\"";
    if (wrong) mistake(reader, line_of(setting), "number %d of %s: %s", i + 1, name, wrong);
  }
  return count;
}

static void check_curve(struct reader *reader, const config_setting_t *group, int sizes, int times, int gaps, struct fab_curve *curve)
{
  const char *name = config_setting_name(group);
  if (curve->status == FAB_DERIVED || curve->status == FAB_ASSUMED)
    mistake(reader, curve->line, "%s is %s; expected that the points of a curve are published or measured", name,
            fab_status_names[curve->status]);
  if (times != sizes || (gaps && gaps != sizes))
    mistake(reader, curve->line, "%s has %d sizes, %d times and %d gaps; expected as many of each, or no gaps", name, sizes, times, gaps);
  for (int i = 1; i < sizes && i < FAB_CURVE_POINTS; i++)
    if (curve->point[i].bytes <= curve->point[i - 1].bytes)
      mistake(reader, curve->line, "%s: size %d is not larger than the one before; expected rising sizes", name, i + 1);
  curve->count = sizes < FAB_CURVE_POINTS ? sizes : FAB_CURVE_POINTS;
}

static void read_curve(struct reader *reader, const config_setting_t *group, const char *where, struct fab_curve *curve)
{
  static const struct key keys[] = {
      {"status", KEY_ELSE, true, 0, 0}, {"source", KEY_ELSE, true, 0, 0}, {"bytes", KEY_ELSE, true, 0, 0},
      {"time", KEY_ELSE, true, 0, 0},   {"gap", KEY_ELSE, false, 0, 0},
  };
  static const struct {
    enum fab_dimension dimension;
    size_t offset;
  } rows[] = {{FAB_BYTES, offsetof(struct fab_curve_point, bytes)},
              {FAB_DURATION, offsetof(struct fab_curve_point, time)},
              {FAB_DURATION, offsetof(struct fab_curve_point, gap)}};
  int counts[3] = {0};
  struct fab_quantity quantity = {.place = ""};
  curve->line = line_of(group);
  read_group(reader, group, where, KEYS(keys), curve);
  if (!config_setting_is_group(group)) return;
  for (int i = 0; i < 3; i++) {
    const config_setting_t *row = config_setting_get_member(group, keys[i + 2].name);
    if (row) counts[i] = read_row(reader, row, rows[i].dimension, rows[i].offset, curve->point);
  }
  const char *source = text_of(reader, group, "source");
  if (source) read_source(reader, group, source, &quantity);
  curve->document = quantity.document;
  curve->place = quantity.place;
  curve->status = status_of(reader, group);
  check_curve(reader, group, counts[0], counts[1], counts[2], curve);
}

static void read_operations(struct reader *reader, const config_setting_t *root)
{
  struct key keys[FAB_CURVES];
  const config_setting_t *group = config_setting_get_member(root, "operations");
  if (!group) return;
  for (int i = 0; i < FAB_CURVES; i++) keys[i] = (struct key){fab_operation_names[i], KEY_ELSE, false, 0, 0};
  read_group(reader, group, "operations", KEYS(keys), NULL);
  for (int i = 0; i < FAB_CURVES && config_setting_is_group(group); i++) {
    char where[FAB_MACHINE_NAME];
    const config_setting_t *curve = config_setting_get_member(group, fab_operation_names[i]);
    snprintf(where, sizeof where, "operations.%s", fab_operation_names[i]);
    if (curve) read_curve(reader, curve, where, &reader->profile->curve[i]);
  }
}

static void read_efficiency(struct reader *reader, const config_setting_t *root)
{
#define E(field) QUANTITY(fab_efficiency, field, false, FAB_RATIO)
  static const struct key keys[] = {E(generality), E(chip), E(node), E(cluster), E(stability)};
#undef E
  const config_setting_t *group = config_setting_get_member(root, "efficiency");
  if (group) read_group(reader, group, "efficiency", KEYS(keys), &reader->profile->efficiency);
}

static void read_reliability(struct reader *reader, const config_setting_t *root)
{
#define R(field, dimension) QUANTITY(fab_reliability, field, true, dimension)
  static const struct key keys[] = {R(mtbf, FAB_LONG_DURATION), R(state, FAB_RATIO), R(storage_bandwidth, FAB_BYTES_PER_SECOND),
                                    R(restart, FAB_LONG_DURATION)};
#undef R
  const config_setting_t *group = config_setting_get_member(root, FAB_RELIABILITY);
  if (group) read_group(reader, group, FAB_RELIABILITY, KEYS(keys), &reader->profile->reliability);
}

static void read_root(struct reader *reader, const config_setting_t *root)
{
  static const struct key keys[] = {
      {"title", KEY_TEXT, true, 0, offsetof(struct fab_profile, title)},
      {"about", KEY_TEXT, false, 0, offsetof(struct fab_profile, about)},
      {"sources", KEY_ELSE, true, 0, 0},
      {"accelerators", KEY_ELSE, true, 0, 0},
      {"host", KEY_ELSE, true, 0, 0},
      {"links", KEY_ELSE, true, 0, 0},
      {"levels", KEY_ELSE, true, 0, 0},
      {"scale_up", KEY_ELSE, false, 0, 0},
      {"scale_out", KEY_ELSE, false, 0, 0},
      {"operations", KEY_ELSE, false, 0, 0},
      QUANTITY(fab_profile, pue, false, FAB_RATIO),
      {"efficiency", KEY_ELSE, false, 0, 0},
      {FAB_RELIABILITY, KEY_ELSE, false, 0, 0},
  };
  reader->profile->title = reader->profile->about = "";
  reader->sources = config_setting_get_member(root, "sources");
  for (int i = 0; reader->sources && i < config_setting_length(reader->sources); i++) {
    const config_setting_t *source = config_setting_get_elem(reader->sources, (unsigned)i);
    if (!config_setting_get_string(source))
      mistake(reader, line_of(source), "a source is not a text; expected KEY = \"document, table, date\"");
  }
  read_group(reader, root, "", KEYS(keys), reader->profile);
  read_accelerators(reader, root);
  read_host(reader, root);
  read_links(reader, root);
  read_levels(reader, root);
  read_networks(reader, root);
  read_operations(reader, root);
  read_efficiency(reader, root);
  read_reliability(reader, root);
}

/* ---- Files ------------------------------------------------------------------------------------------------------- */

static void name_after(const char *file, char *name)
{
  const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;
  const char *end = strstr(base, ".conf");
  snprintf(name, FAB_MACHINE_NAME, "%.*s", end ? (int)(end - base) : (int)strlen(base), base);
}

struct fab_profile *fab_profile_parse(const char *text, const char *file, FILE *report)
{
  struct fab_profile *profile = calloc(1, sizeof *profile);
  config_t *config = profile ? calloc(1, sizeof *config) : NULL;
  if (!config) {
    free(profile);
    return NULL;
  }
  struct reader reader = {.profile = profile, .file = file, .report = report};
  config_init(config);
  profile->config = config;
  name_after(file, profile->name);
  if (!config_read_string(config, text)) mistake(&reader, config_error_line(config), "%s", config_error_text(config));
  else read_root(&reader, config_root_setting(config));
  if (!reader.mistakes) reader.mistakes = fab_profile_check(profile, file, report);
  if (!reader.mistakes) return profile;
  fab_profile_free(profile);
  errno = EINVAL;
  return NULL;
}

void fab_profile_free(struct fab_profile *profile)
{
  if (!profile) return;
  config_destroy(profile->config);
  free(profile->config);
  free(profile->changes);
  free(profile);
}

struct fab_quantity *fab_profile_find(struct fab_profile *profile, const char *name)
{
  for (int i = 0; i < profile->quantity_count; i++)
    if (!strcmp(profile->quantity[i].name, name)) return profile->quantity[i].quantity;
  return NULL;
}

int fab_profile_path(const char *name, char *path, size_t room)
{
  const char *own = getenv("UMA_PROFILES"), *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
  int length;
  if (own && *own) length = snprintf(path, room, "%s/%s.conf", own, name);
  else if (config && *config) length = snprintf(path, room, "%s/uma/%s.conf", config, name);
  else if (home && *home) length = snprintf(path, room, "%s/.config/uma/%s.conf", home, name);
  else return -ENOENT;
  return length < (int)room ? 0 : -ENAMETOOLONG;
}

/* The text of a file, or NULL with errno. */
static char *read_file(const char *path)
{
  enum { MOST = 1 << 20 };
  FILE *file = fopen(path, "r");
  if (!file) return NULL;
  char *text = malloc(MOST + 1);
  size_t length = text ? fread(text, 1, MOST + 1, file) : 0;
  int error = !text ? ENOMEM : ferror(file) ? errno : length > MOST ? EFBIG : 0;
  fclose(file);
  if (text && !error && memchr(text, 0, length)) error = EINVAL;
  if (error) {
    free(text);
    errno = error;
    return NULL;
  }
  text[length] = 0;
  return text;
}

static void report_unknown(const char *name, int error, FILE *report)
{
  const char *shipped;
  fprintf(report, "\"%s\" is neither a profile nor a file that can be read (%s); the profiles are ", name, strerror(error));
  for (int i = 0; (shipped = fab_shipped_profile(i)); i++) fprintf(report, "%s%s", i ? ", " : "", shipped);
  fprintf(report, "%s\n", strchr(name, ':') ? "; with a number of its own: PROFILE:NAME=NUMBER UNIT" : "");
}

static void report_not_calibrated(const char *path, int error, FILE *report)
{
  fprintf(report, "\"%s\" is what `uma calibrate` writes, and %s%scannot be read (%s); run `uma calibrate` first\n", FAB_THIS_HOST, path,
          *path ? " " : "", strerror(error));
}

static struct fab_profile *load(const char *name_or_path, FILE *report)
{
  char own[4096];
  const char *path = name_or_path, *shipped;
  bool named = !strchr(name_or_path, '/') && !strstr(name_or_path, ".conf");
  if (named && !fab_profile_path(name_or_path, own, sizeof own)) path = own;
  char *text = read_file(path);
  int error = errno;
  if (!text && named && (shipped = fab_shipped_profile_text(name_or_path))) return fab_profile_parse(shipped, name_or_path, report);
  if (!text) {
    if (strcmp(name_or_path, FAB_THIS_HOST)) report_unknown(name_or_path, error, report);
    else report_not_calibrated(path == name_or_path ? "" : path, error, report);
    errno = error;
    return NULL;
  }
  struct fab_profile *profile = fab_profile_parse(text, path, report);
  error = errno;
  free(text);
  errno = error;
  return profile;
}

struct fab_profile *fab_profile_load(const char *name_or_path, FILE *report)
{
  size_t length = fab_profile_base(name_or_path);
  char *name = strndup(name_or_path, length);
  struct fab_profile *profile = name ? load(name, report) : NULL;
  int error = name ? errno : ENOMEM;
  free(name);
  if (profile && name_or_path[length] && (error = -fab_profile_change(profile, name_or_path + length + 1, report))) {
    fab_profile_free(profile);
    profile = NULL;
  }
  errno = error;
  return profile;
}
