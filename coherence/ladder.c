/* Records a run and prints it as a ladder of text; ladder_html.c prints it as a page. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coherence/ladder.h"

enum { LANE = 14, MOST_LANES = 9, TEXT_SIZE = 160 };

void coh_ladder_init(struct coh_ladder *ladder, const struct coh_protocol *protocol, int devices)
{
  *ladder = (struct coh_ladder){.protocol = protocol, .devices = devices};
}

void coh_ladder_free(struct coh_ladder *ladder)
{
  free(ladder->steps);
  free(ladder->arrows);
  ladder->steps = NULL;
  ladder->arrows = NULL;
}

/* ---- Recording --------------------------------------------------------------------------------------------------- */

static void *make_room(void *items, int count, int *room, size_t size)
{
  if (count < *room) return items;
  int more = *room ? *room * 2 : 64;
  void *larger = realloc(items, (size_t)more * size);
  if (larger) *room = more;
  return larger;
}

static int add_arrow(struct coh_ladder *ladder, const struct coh_message *message, int line, int sent, int received)
{
  struct coh_ladder_arrow *arrows = make_room(ladder->arrows, ladder->arrow_count, &ladder->arrow_room, sizeof *arrows);
  if (!arrows) return -ENOMEM;
  ladder->arrows = arrows;
  arrows[ladder->arrow_count++] = (struct coh_ladder_arrow){*message, line, sent, received};
  return 0;
}

static bool is_same(const struct coh_message *a, const struct coh_message *b)
{
  return a->type == b->type && a->acks == b->acks && a->source == b->source && a->target == b->target && a->requestor == b->requestor;
}

/* The message that the newest step received was the first of its like, or was sent before the recording began. */
static int land_arrow(struct coh_ladder *ladder, const struct coh_message *message, int line)
{
  while (ladder->landed < ladder->arrow_count && ladder->arrows[ladder->landed].received >= 0) ladder->landed++;
  for (int a = ladder->landed; a < ladder->arrow_count; a++) {
    struct coh_ladder_arrow *arrow = &ladder->arrows[a];
    if (arrow->received >= 0 || arrow->line != line || !is_same(&arrow->message, message)) continue;
    arrow->received = ladder->step_count - 1;
    return 0;
  }
  return add_arrow(ladder, message, line, -1, ladder->step_count - 1);
}

int coh_ladder_add_step(struct coh_ladder *ladder, const struct coh_ladder_step *step)
{
  struct coh_ladder_step *steps = make_room(ladder->steps, ladder->step_count, &ladder->step_room, sizeof *steps);
  if (!steps) return -ENOMEM;
  ladder->steps = steps;
  steps[ladder->step_count++] = *step;
  return step->input.type < COH_FIRST_MESSAGE ? 0 : land_arrow(ladder, &step->input, step->line);
}

int coh_ladder_add_send(struct coh_ladder *ladder, const struct coh_message *message)
{
  return add_arrow(ladder, message, ladder->steps[ladder->step_count - 1].line, ladder->step_count - 1, -1);
}

static int add_sends(struct coh_ladder *ladder, const struct coh_sharer_kind *kind, const struct coh_outcome *outcome)
{
  int result = 0;
  for (int i = 0; i < outcome->send_count && !result; i++) {
    struct coh_message message = outcome->sends[i].message;
    if (!outcome->sends[i].many) {
      result = coh_ladder_add_send(ladder, &message);
      continue;
    }
    for (int d = coh_outcome_target(kind, outcome, 0); d >= 0 && !result; d = coh_outcome_target(kind, outcome, d + 1)) {
      message.target = (int16_t)d;
      result = coh_ladder_add_send(ladder, &message);
    }
  }
  return result;
}

int coh_ladder_add(struct coh_ladder *ladder, const struct coh_sharer_kind *kind, int line, const struct coh_message *input,
                   const struct coh_outcome *outcome, const char *note)
{
  struct coh_ladder_step step = {.input = *input,
                                 .line = line,
                                 .event = outcome->event,
                                 .from = outcome->from,
                                 .state = outcome->state,
                                 .result = (uint8_t)outcome->result};
  snprintf(step.note, sizeof step.note, "%s", note ? note : "");
  int result = coh_ladder_add_step(ladder, &step);
  return result || outcome->result != COH_DONE ? result : add_sends(ladder, kind, outcome);
}

/* ---- Text -------------------------------------------------------------------------------------------------------- */

/* Small systems show all their devices. With too many, the last ones that took part have no lane. */
void coh_ladder_lanes(const struct coh_ladder *ladder, int most, struct coh_lanes *lanes)
{
  lanes->count = 0;
  for (int d = 0; d < ladder->devices; d++) {
    bool takes_part = ladder->devices <= 4;
    for (int s = 0; s < ladder->step_count; s++) takes_part |= ladder->steps[s].input.target == d || ladder->steps[s].input.source == d;
    lanes->column[d] = takes_part && lanes->count < most - 1 ? lanes->count : -1;
    if (lanes->column[d] >= 0) lanes->device[lanes->count++] = d;
  }
  lanes->device[lanes->count++] = COH_HOME;
}

int coh_lane_of(const struct coh_lanes *lanes, int device)
{
  return device < 0 ? lanes->count - 1 : lanes->column[device];
}

static const struct coh_controller *controller_at(const struct coh_ladder *ladder, const struct coh_ladder_step *step)
{
  return &ladder->protocol->controllers[step->input.target < 0 ? COH_DIRECTORY : COH_CACHE];
}

void coh_ladder_did(const struct coh_ladder *ladder, const struct coh_ladder_step *step, char *text, size_t size)
{
  const struct coh_controller *controller = controller_at(ladder, step);
  text[0] = 0;
  if (step->event >= 0 && step->result == COH_DONE) coh_cell_text(controller, &controller->cells[step->from][step->event], text, size);
}

static void rule(const struct coh_lanes *lanes, char *row)
{
  memset(row, ' ', TEXT_SIZE);
  for (int lane = 0; lane < lanes->count; lane++) row[lane * LANE + LANE / 2] = '|';
  row[lanes->count * LANE] = 0;
}

/* Centred, but kept within the row. */
static void write_at(char *row, int centre, const char *text)
{
  int length = (int)strlen(text), width = (int)strlen(row), start = centre - length / 2;
  if (start + length > width) start = width - length;
  if (start < 0) start = 0;
  for (int i = 0; i < length && start + i < width; i++) row[start + i] = text[i];
}

/* "|---- GetM --->|" */
static void draw_arrow(const struct coh_ladder *ladder, const struct coh_lanes *lanes, const struct coh_message *message, char *row)
{
  int from = coh_lane_of(lanes, message->source), to = coh_lane_of(lanes, message->target);
  char label[COH_NAME_SIZE + 16];
  rule(lanes, row);
  if (from < 0 || to < 0 || from == to) return;
  int left = (from < to ? from : to) * LANE + LANE / 2 + 1, right = (from < to ? to : from) * LANE + LANE / 2 - 1;
  for (int i = left; i <= right; i++) row[i] = '-';
  row[from < to ? right : left] = from < to ? '>' : '<';
  if (message->acks > 0) snprintf(label, sizeof label, " %s %+d ", ladder->protocol->messages[message->type].name, message->acks);
  else snprintf(label, sizeof label, " %s ", ladder->protocol->messages[message->type].name);
  if ((int)strlen(label) > right - left - 1) label[right - left - 1] = 0;
  write_at(row, (left + right + 1) / 2 + (from > to), label);
}

/* The state of the lane's controller, and what it did on which event. */
static void text_step(FILE *out, const struct coh_ladder *ladder, const struct coh_lanes *lanes, int number)
{
  const struct coh_ladder_step *step = &ladder->steps[number];
  const struct coh_controller *controller = controller_at(ladder, step);
  char row[TEXT_SIZE + 1], did[TEXT_SIZE], state[2 * COH_NAME_SIZE + 4];
  bool access = step->input.type < COH_FIRST_MESSAGE;
  if (!access) {
    draw_arrow(ladder, lanes, &step->input, row);
    fprintf(out, "%4d  %s\n", ladder->skipped + number + 1, row);
  }
  rule(lanes, row);
  snprintf(state, sizeof state, step->from == step->state ? "%s" : "%s>%s", controller->states[step->from].name,
           controller->states[step->state].name);
  if (coh_lane_of(lanes, step->input.target) >= 0) write_at(row, coh_lane_of(lanes, step->input.target) * LANE + LANE / 2, state);
  coh_ladder_did(ladder, step, did, sizeof did);
  if (access) fprintf(out, "%4d  ", ladder->skipped + number + 1);
  else fputs("      ", out);
  fprintf(out, "%s  %s", row, step->event >= 0 ? controller->events[step->event].name : ladder->protocol->messages[step->input.type].name);
  if (step->line) fprintf(out, " (line %d)", step->line);
  if (step->about[0]) fprintf(out, " (%s)", step->about);
  fprintf(out, "%s%s\n", did[0] ? ": " : "", did);
  if (step->note[0]) fprintf(out, "      *** %s\n", step->note);
}

static void text_under_way(FILE *out, const struct coh_ladder *ladder)
{
  bool any = false;
  for (int a = 0; a < ladder->arrow_count; a++) {
    const struct coh_ladder_arrow *arrow = &ladder->arrows[a];
    char from[16] = "home", to[16] = "home";
    if (arrow->received >= 0) continue;
    if (arrow->message.source >= 0) snprintf(from, sizeof from, "C%d", arrow->message.source);
    if (arrow->message.target >= 0) snprintf(to, sizeof to, "C%d", arrow->message.target);
    fprintf(out, "%s %s %s>%s", any ? "," : "Still under way:", ladder->protocol->messages[arrow->message.type].name, from, to);
    any = true;
  }
  if (any) fputc('\n', out);
}

void coh_ladder_text(FILE *out, const struct coh_ladder *ladder)
{
  struct coh_lanes lanes;
  char row[TEXT_SIZE + 1], name[16];
  coh_ladder_lanes(ladder, MOST_LANES, &lanes);
  memset(row, ' ', sizeof row);
  row[lanes.count * LANE] = 0;
  for (int lane = 0; lane < lanes.count; lane++) {
    snprintf(name, sizeof name, lanes.device[lane] < 0 ? "home" : "C%d", lanes.device[lane]);
    write_at(row, lane * LANE + LANE / 2, name);
  }
  fprintf(out, "%s\n\nstep  %s\n", ladder->title, row);
  for (int s = 0; s < ladder->step_count; s++) text_step(out, ladder, &lanes, s);
  text_under_way(out, ladder);
  fprintf(out, "%s\n", ladder->verdict);
}
