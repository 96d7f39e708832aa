/* A run as a message-sequence ladder: who did what in which state, and which message went from where to where.
 * Steps are recorded in the order in which they happened, then printed as text or as a self-contained page with steps to walk through. */
#ifndef COH_LADDER_H
#define COH_LADDER_H

#include "coherence/core.h"

struct coh_ladder_step {
  struct coh_message input;
  int line;
  int8_t event; /* -1: none */
  uint8_t from, state;
  uint8_t result; /* enum coh_result */
  char about[64]; /* more about the input, or "" */
  char note[96];  /* what went wrong here, or "" */
};

/* A message, from the step that sent it (-1: before the first) to the step that received it (-1: still under way). */
struct coh_ladder_arrow {
  struct coh_message message;
  int line, sent, received;
};

struct coh_ladder {
  const struct coh_protocol *protocol;
  int devices, step_count, arrow_count, step_room, arrow_room;
  int landed; /* so many arrows, from the first, were received */
  struct coh_ladder_step *steps;
  struct coh_ladder_arrow *arrows;
  int skipped;  /* steps before the first that is recorded; people count from there */
  bool is_calm; /* the verdict is no complaint */
  char title[256], verdict[256];
};

void coh_ladder_init(struct coh_ladder *ladder, const struct coh_protocol *protocol, int devices);
void coh_ladder_free(struct coh_ladder *ladder);
/* -ENOMEM when it cannot be kept. `kind` tells whom a send to many reaches. */
int coh_ladder_add(struct coh_ladder *ladder, const struct coh_sharer_kind *kind, int line, const struct coh_message *input,
                   const struct coh_outcome *outcome, const char *note);
/* The same in parts, when there is no outcome: a step, with the message that it received; then each message that it sent. */
int coh_ladder_add_step(struct coh_ladder *ladder, const struct coh_ladder_step *step);
int coh_ladder_add_send(struct coh_ladder *ladder, const struct coh_message *message);

/* Which device stands in which column: those that took part, in order, and the home last. */
struct coh_lanes {
  int count, device[COH_MAX_DEVICES + 1], column[COH_MAX_DEVICES]; /* column -1: it has none */
};

void coh_ladder_lanes(const struct coh_ladder *ladder, int most, struct coh_lanes *lanes);
int coh_lane_of(const struct coh_lanes *lanes, int device);
/* "fill load unblock": what the step did. */
void coh_ladder_did(const struct coh_ladder *ladder, const struct coh_ladder_step *step, char *text, size_t size);

void coh_ladder_text(FILE *out, const struct coh_ladder *ladder);
void coh_ladder_html(FILE *out, const struct coh_ladder *ladder);

#endif
