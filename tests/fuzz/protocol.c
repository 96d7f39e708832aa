/* Fuzzing of the protocol language: any text is read; what turns out to be a protocol is printed in every format, and its tables are stepped with every
 * message in every state, which must stay inside them. */
#include "coherence/core.h"
#include "tests/fuzz/fuzz.h"

enum { DEVICES = 3 };

static void step_cache(const struct coh_protocol *protocol, int state, struct coh_message message)
{
  for (int acks = -1; acks < 2; acks++) {
    struct coh_cache_entry entry = {.state = (uint8_t)state, .acks = (int16_t)acks};
    struct coh_outcome outcome;
    message.target = 1;
    coh_cache_step(protocol, &entry, &message, &outcome);
    FUZZ_CHECK(entry.state < protocol->controllers[COH_CACHE].state_count && outcome.send_count <= COH_MAX_CELL_ACTIONS);
    FUZZ_CHECK(outcome.result == COH_DONE || entry.state == state);
  }
}

static void step_directory(const struct coh_protocol *protocol, const struct coh_sharer_kind *kind, int state, struct coh_message message)
{
  for (int owner_1 = 0; owner_1 < 2; owner_1++) {
    struct {
      struct coh_directory_entry entry;
      uint64_t sharers[COH_MAX_SHARER_WORDS];
    } at = {.entry = {.state = (uint8_t)state, .owner_1 = (uint16_t)owner_1}, .sharers = {owner_1 ? 0 : 5}};
    struct coh_outcome outcome;
    message.target = COH_HOME;
    coh_directory_step(protocol, kind, &at.entry, &message, &outcome);
    FUZZ_CHECK(at.entry.state < protocol->controllers[COH_DIRECTORY].state_count && outcome.send_count <= COH_MAX_CELL_ACTIONS);
    for (int d = coh_outcome_target(kind, &outcome, 0); d >= 0; d = coh_outcome_target(kind, &outcome, d + 1)) FUZZ_CHECK(d < DEVICES);
  }
}

static void step_all(const struct coh_protocol *protocol)
{
  struct coh_sharer_kind kind;
  FUZZ_CHECK(coh_sharer_kind_make("full", DEVICES, 0, &kind) == 0);
  for (int type = 0; type < protocol->message_count; type++) {
    struct coh_message message = {.type = (uint8_t)type, .acks = 1, .source = 0, .requestor = 2};
    for (int s = 0; s < protocol->controllers[COH_CACHE].state_count; s++) step_cache(protocol, s, message);
    for (int s = 0; type >= COH_FIRST_MESSAGE && s < protocol->controllers[COH_DIRECTORY].state_count; s++)
      step_directory(protocol, &kind, s, message);
  }
}

void fuzz_protocol(const uint8_t *bytes, size_t count)
{
  static struct coh_protocol protocol;
  char *text = malloc(count + 1);
  FILE *nowhere = fopen("/dev/null", "w");
  if (!text || !nowhere) abort();
  memcpy(text, bytes, count);
  text[count] = 0;
  if (coh_protocol_parse(text, "text", &protocol, nowhere) == 0) {
    for (enum coh_format format = COH_FORMAT_TEXT; format <= COH_FORMAT_DOT; format++) coh_print(nowhere, &protocol, COH_ROLES, format);
    step_all(&protocol);
  }
  fclose(nowhere);
  free(text);
}
