/* One line's life, out of a trace, as the ladder that the checker draws of its counterexamples. */
#include <errno.h>
#include <inttypes.h>

#include "uma/trace_facts.h"

void uma_trace_ladder_init(struct uma_trace_ladder *view, const struct uma_trace *trace, uint64_t line, uint64_t from, uint64_t most)
{
  *view = (struct uma_trace_ladder){.trace = trace, .line = line, .from = from, .most = most};
  coh_ladder_init(&view->ladder, trace->protocol, trace->devices);
  view->ladder.is_calm = true;
  view->ladder.skipped = (int)from - 1;
}

/* "bytes 4-7" of an access, "false sharing miss" of the step that ends it, "bytes 4-7, upgrade". */
static void describe(const struct uma_trace_event *event, char *text, size_t size)
{
  char bytes[32] = "", miss[32] = "";
  if (event->bytes == 1) snprintf(bytes, sizeof bytes, "byte %u", event->offset);
  if (event->bytes > 1) snprintf(bytes, sizeof bytes, "bytes %u-%u", event->offset, event->offset + (uint32_t)event->bytes - 1);
  if (event->miss) snprintf(miss, sizeof miss, "%s%s", coh_miss_names[event->miss], event->miss == COH_MISS_UPGRADE ? "" : " miss");
  snprintf(text, size, "%s%s%s", bytes, *bytes && *miss ? ", " : "", miss);
}

int uma_trace_ladder_add(struct uma_trace_ladder *view)
{
  const struct uma_trace_event *event = &view->trace->event;
  if (event->kind != UMA_TRACE_STEP || event->address != view->line) return 0;
  view->seen++;
  if (view->seen < view->from || view->seen - view->from >= view->most) return 0;
  struct coh_ladder_step step = {.input = event->input, .event = event->event, .from = event->from, .state = event->state};
  describe(event, step.about, sizeof step.about);
  int result = coh_ladder_add_step(&view->ladder, &step);
  for (int i = 0; i < event->send_count && !result; i++) result = coh_ladder_add_send(&view->ladder, &view->trace->sends[i]);
  return result;
}

void uma_trace_ladder_end(struct uma_trace_ladder *view, const struct uma_trace_line *line)
{
  struct coh_ladder *ladder = &view->ladder;
  uint64_t last = view->from + (uint64_t)ladder->step_count - 1;
  char place[COH_SITE_SIZE + 96] = "";
  if (line->use_count) uma_trace_place(view->trace, line, &line->uses[0], place, sizeof place);
  snprintf(ladder->title, sizeof ladder->title,
           "%s, line 0x%" PRIx64 " (home: device %d%s%s), steps %" PRIu64 " to %" PRIu64 " of %" PRIu64, ladder->protocol->name,
           line->address, uma_trace_home(view->trace, line->address), *place ? "; " : "", place, view->from, last, view->seen);
  int length = snprintf(ladder->verdict, sizeof ladder->verdict,
                        "%s: %" PRIu64 " true and %" PRIu64 " false sharing misses, %" PRIu64 " upgrades, %" PRIu64 " invalidations.",
                        uma_trace_verdict(view->trace, line), line->misses[COH_MISS_TRUE], line->misses[COH_MISS_FALSE],
                        line->misses[COH_MISS_UPGRADE], line->invalidations);
  if (last < view->seen)
    snprintf(ladder->verdict + length, sizeof ladder->verdict - (size_t)length,
             " %" PRIu64 " later steps are left out: go on by --from %" PRIu64, view->seen - last, last + 1);
}
