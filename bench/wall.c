/* The communication wall at a glance: how much dearer a message between stacked servers is than a load, and from which size on copies
 * catch up. */
#include "bench/report.h"

static const struct bench_row *latency(const struct bench_rows *rows, const char *bench, const char *path, const char *mode, size_t bytes)
{
  return bench_rows_find(rows, bench, path, mode, 2, bytes, "latency");
}

/* The least size from which on staged copies take at most twice as long as direct ones; `last_ratio` is that of the largest size.
 * 0 when there is none. */
static size_t catches_up(const struct bench_rows *rows, size_t *largest, double *last_ratio)
{
  size_t since = 0;
  *largest = 0;
  for (size_t bytes = 8; bytes <= (size_t)1 << 30; bytes *= 2) {
    const struct bench_row *direct = latency(rows, "transfer.copy", "copy", "supernode", bytes);
    const struct bench_row *staged = latency(rows, "transfer.copy", "message", "stacked", bytes);
    if (!direct || !staged) continue;
    *largest = bytes;
    *last_ratio = staged->median / direct->median;
    if (*last_ratio > 2) since = 0;
    else if (!since) since = bytes;
  }
  return since;
}

bool bench_wall_sentence(const struct bench_rows *rows, char *text, size_t room)
{
  const struct bench_row *load = latency(rows, "transfer.read", "direct", "supernode", 8);
  const struct bench_row *message = latency(rows, "transfer.pingpong", "message", "stacked", 8);
  char load_text[32], message_text[32], size_text[32], end[200] = "";
  size_t largest, size;
  double ratio = 0;
  if (!load || !message) return false;
  size = catches_up(rows, &largest, &ratio);
  if (size)
    snprintf(end, sizeof end, "; staged copies catch up to within 2× of direct ones at %s",
             bench_size_text(size, size_text, sizeof size_text));
  else if (largest)
    snprintf(end, sizeof end, "; staged copies never catch up to within 2× of direct ones: at %s they still take %.1f× as long",
             bench_size_text(largest, size_text, sizeof size_text), ratio);
  bench_value_text(load->median, "ns", load_text, sizeof load_text);
  bench_value_text(message->median, "ns", message_text, sizeof message_text);
  snprintf(text, room, "At 8 B a remote load costs %s, the same bytes by message between stacked servers %s: a wall of %.0f×%s.", load_text,
           message_text, message->median / load->median, end);
  return true;
}
