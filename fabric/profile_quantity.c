/* Numbers with units: "400 GB/s" is 4e11 of the dimension bytes a second. A number without a unit, or with one of another dimension, is no
 * quantity. Counts have the thing that is counted as their unit. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/profile.h"

const char *const fab_dtype_names[FAB_DTYPES] = {"fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8"};
const char *const fab_status_names[FAB_STATUSES] = {"absent", "published", "derived", "measured", "assumed"};
const char *const fab_medium_names[FAB_MEDIA] = {"board", "copper", "optical"};
const char *const fab_operation_names[FAB_CURVES] = {"get",   "put",       "message",     "cached_get",  "cached_put",
                                                     "read",  "write",     "far_get",     "far_put",     "far_message",
                                                     "chase", "own_chase", "cached_read", "cached_write"};

static const struct unit {
  const char *name;
  enum fab_dimension dimension;
  double factor;
} units[] = {
    {"B", FAB_BYTES, 1},
    {"KB", FAB_BYTES, 1e3},
    {"MB", FAB_BYTES, 1e6},
    {"GB", FAB_BYTES, 1e9},
    {"TB", FAB_BYTES, 1e12},
    {"KiB", FAB_BYTES, 1024},
    {"MiB", FAB_BYTES, 1048576},
    {"GiB", FAB_BYTES, 1073741824},
    {"TiB", FAB_BYTES, 1099511627776},
    {"MB/s", FAB_BYTES_PER_SECOND, 1e6},
    {"GB/s", FAB_BYTES_PER_SECOND, 1e9},
    {"TB/s", FAB_BYTES_PER_SECOND, 1e12},
    {"Mb/s", FAB_BYTES_PER_SECOND, 1e6 / 8},
    {"Gb/s", FAB_BYTES_PER_SECOND, 1e9 / 8},
    {"Tb/s", FAB_BYTES_PER_SECOND, 1e12 / 8},
    {"ps", FAB_DURATION, 1e-3},
    {"ns", FAB_DURATION, 1},
    {"us", FAB_DURATION, 1e3},
    {"ms", FAB_DURATION, 1e6},
    {"s", FAB_DURATION, 1e9},
    {"min", FAB_LONG_DURATION, 60},
    {"h", FAB_LONG_DURATION, 3600},
    {"days", FAB_LONG_DURATION, 86400},
    {"years", FAB_LONG_DURATION, 365.25 * 86400},
    {"GFLOPS", FAB_OPERATIONS, 1e9},
    {"TFLOPS", FAB_OPERATIONS, 1e12},
    {"PFLOPS", FAB_OPERATIONS, 1e15},
    {"GOPS", FAB_OPERATIONS, 1e9},
    {"TOPS", FAB_OPERATIONS, 1e12},
    {"mW", FAB_POWER, 1e-3},
    {"W", FAB_POWER, 1},
    {"kW", FAB_POWER, 1e3},
    {"MW", FAB_POWER, 1e6},
    {"fJ/bit", FAB_ENERGY_PER_BIT, 1e-3},
    {"pJ/bit", FAB_ENERGY_PER_BIT, 1},
    {"nJ/bit", FAB_ENERGY_PER_BIT, 1e3},
    {"x", FAB_RATIO, 1},
    {"%", FAB_RATIO, 0.01},
};
enum { UNITS = sizeof units / sizeof units[0] };

/* By dimension: what a unit looks like, and the range of a value (a clock must be able to count with it). */
static const struct {
  const char *example;
  double least, most;
} dimensions[FAB_DIMENSIONS] = {
    [FAB_BYTES] = {"\"80 GB\"", 1, 1e18},
    [FAB_BYTES_PER_SECOND] = {"\"400 GB/s\" or \"400 Gb/s\"", 1, 1e17},
    [FAB_DURATION] = {"\"900 ns\" or \"2 us\"", 0, 1e12},
    [FAB_LONG_DURATION] = {"\"10 min\" or \"50000 h\"", 1, 1e12},
    [FAB_OPERATIONS] = {"\"989 TFLOPS\" or \"200 TOPS\"", 1, 1e21},
    [FAB_POWER] = {"\"700 W\" or \"10 kW\"", 0, 1e12},
    [FAB_ENERGY_PER_BIT] = {"\"5 pJ/bit\"", 0, 1e6},
    [FAB_RATIO] = {"\"60 %\" or \"1.04 x\"", 0, 1e6},
    [FAB_COUNT] = {"\"8 devices\"", 1, 1e9},
};

static const struct unit *find_unit(const char *name)
{
  for (int i = 0; i < UNITS; i++)
    if (!strcmp(units[i].name, name)) return &units[i];
  return NULL;
}

/* A thing that can be counted: "devices". */
static bool is_noun(const char *unit)
{
  for (const char *at = unit; *at; at++)
    if (!islower((unsigned char)*at) && *at != '-') return false;
  return strlen(unit) > 2;
}

static const char *expected(const char *format, const char *text, enum fab_dimension dimension)
{
  static _Thread_local char message[240];
  int used = snprintf(message, sizeof message, format, text);
  if (used < (int)sizeof message)
    snprintf(message + used, sizeof message - (size_t)used, "; expected for instance %s", dimensions[dimension].example);
  return message;
}

const char *fab_quantity_parse(const char *text, enum fab_dimension dimension, double *value, const char **unit)
{
  char *end;
  double number = strtod(text, &end), factor = 1;
  if (end == text || !isfinite(number)) return expected("\"%.60s\" is not a number with a unit", text, dimension);
  while (*end == ' ') end++;
  if (!*end) return expected("\"%.60s\" has no unit", text, dimension);
  if (dimension == FAB_COUNT) {
    if (find_unit(end) || !is_noun(end)) return expected("\"%.60s\" counts nothing", text, dimension);
    if (number != floor(number)) return expected("\"%.60s\" is not a whole number", text, dimension);
  } else {
    const struct unit *found = find_unit(end);
    if (!found && is_noun(end)) return expected("\"%.60s\" is a count", text, dimension);
    if (!found) return expected("\"%.60s\" has an unknown unit", text, dimension);
    if (found->dimension != dimension) return expected("\"%.60s\" has a unit of another dimension", text, dimension);
    factor = found->factor;
  }
  number *= factor;
  if (number < 0) return expected("\"%.60s\" is negative", text, dimension);
  if (number < dimensions[dimension].least || number > dimensions[dimension].most)
    return expected("\"%.60s\" is out of range", text, dimension);
  *value = number;
  *unit = end;
  return NULL;
}

const char *fab_source_text(const struct fab_quantity *quantity, char *text, size_t room)
{
  bool both = quantity->document && *quantity->place;
  snprintf(text, room, "%s%s%s", quantity->document ? quantity->document : "", both ? ": " : "", quantity->place);
  return text;
}
