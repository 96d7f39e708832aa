/* Numbers for people. Bytes are powers of 1024 where that is how they were meant (4 MiB), otherwise of 1000 (80 GB). */
#include "fabric/topology_print.h"

#include <math.h>

static const char *scaled(double value, const char *const *units, int count, double step, char *text, size_t room)
{
  int unit = 0;
  while (unit < count - 1 && fabs(value) >= step * 0.99995) value /= step, unit++;
  snprintf(text, room, "%.4g %s", value, units[unit]);
  return text;
}

const char *fab_text_ticks(uint64_t ticks, char *text, size_t room)
{
  static const char *const units[] = {"ns", "us", "ms", "s"};
  return scaled(fab_ns_of_ticks(ticks), units, 4, 1000, text, room);
}

const char *fab_text_bytes(double bytes, char *text, size_t room)
{
  static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB", "EB"}, *const binary[] = {"B", "KiB", "MiB", "GiB"};
  bool whole = bytes >= 1024 && bytes < 1ULL << 40 && fmod(bytes, bytes < 1 << 20 ? 1 << 10 : 1 << 20) == 0;
  return whole ? scaled(bytes, binary, 4, 1024, text, room) : scaled(bytes, units, 7, 1000, text, room);
}

const char *fab_text_bandwidth(double bytes_per_second, char *text, size_t room)
{
  static const char *const units[] = {"B/s", "KB/s", "MB/s", "GB/s", "TB/s", "PB/s", "EB/s"};
  return scaled(bytes_per_second, units, 7, 1000, text, room);
}

const char *fab_text_power(double watts, char *text, size_t room)
{
  static const char *const units[] = {"W", "kW", "MW", "GW"};
  return scaled(watts, units, 4, 1000, text, room);
}

const char *fab_text_seconds(double seconds, char *text, size_t room)
{
  static const struct {
    const char *unit;
    double seconds;
  } units[] = {{"years", 365.25 * 86400}, {"days", 86400}, {"h", 3600}, {"min", 60}};
  for (int i = 0; i < 4; i++)
    if (seconds >= 2 * units[i].seconds) {
      snprintf(text, room, "%.3g %s", seconds / units[i].seconds, units[i].unit);
      return text;
    }
  snprintf(text, room, "%.3g s", seconds);
  return text;
}

const char *fab_text_count(double count, char *text, size_t room)
{
  char digits[40];
  int length = snprintf(digits, sizeof digits, "%.0f", count);
  size_t used = 0;
  for (int i = 0; i < length && used + 2 < room; i++) {
    if (i && (length - i) % 3 == 0) text[used++] = ',';
    text[used++] = digits[i];
  }
  text[used] = 0;
  return text;
}
