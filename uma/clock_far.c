/* The modelled clock over several hosts: what is asked of other hosts' devices, and their answers.
 *
 * Any device of a host can answer, as all of them map its clocks and queues; asked is the one that the question is about, or, when that is lost, the
 * next one of its host. Questions go by the wire (wire.h), and are answered there in the middle of receiving: nothing here waits but who asks. */
#include <errno.h>

#include "uma/clock.h"
#include "uma/wire.h"

/* ---- asking */

static int ask(int device, struct uma_clock_letter *letter)
{
  const struct uma_shape *shape = &uma_self.shape;
  int host = uma_shape_host(shape, device), first = uma_shape_first(shape, host, shape->hosts);
  int count = uma_shape_first(shape, host + 1, shape->hosts) - first, result = -EHOSTDOWN;
  struct uma_clock_letter question = *letter;
  question.version = UMA_CLOCK_VERSION;
  for (int i = 0; i < count && result == -EHOSTDOWN; i++) {
    *letter = question;
    result = uma_wire_ask(uma_self.clock_wire, first + (device - first + i) % count, letter);
  }
  if (result) return result;
  return letter->version == UMA_CLOCK_VERSION && letter->op == question.op ? 0 : -EPROTO;
}

/* An answer that brings the flight no further would be asked for again for ever. */
int uma_clock_ask_carry_on(int device, int from, int to, uint64_t bytes, struct coh_flight *flight)
{
  struct uma_clock_letter letter = {.op = UMA_CLOCK_CARRY_ON, .carry_on = {.from = from, .to = to, .bytes = bytes, .flight = *flight}};
  int result = ask(device, &letter);
  const struct coh_flight *now = &letter.carry_on.flight;
  if (result) return result;
  bool further = now->leg > flight->leg || (now->leg == flight->leg && now->step > flight->step);
  if (!further || now->leg > FAB_PATH_LEGS || now->step >= FAB_LEG_STEPS || now->head > FAB_TICKS_MOST || now->tail > FAB_TICKS_MOST)
    return -EPROTO;
  if (now->tail < flight->tail) uma_clock_complain("a flight was carried backwards by another host", flight->tail, now->tail);
  *flight = *now;
  return 0;
}

int uma_clock_ask_signal(int device, const void *word, uint64_t *ticks)
{
  struct uma_clock_letter letter = {.op = UMA_CLOCK_NOTED_SIGNAL, .signal = {.word = (uintptr_t)word}};
  int result = ask(device, &letter);
  if (!result) *ticks = letter.signal.ticks;
  return result;
}

int uma_clock_ask_state(int device, struct uma_clock_state *state)
{
  struct uma_clock_letter letter = {.op = UMA_CLOCK_STATE, .state = {.device = device}};
  int result = ask(device, &letter);
  if (!result) *state = letter.state.state;
  return result;
}

/* ---- answering. Nothing is believed: what makes no sense is refused. */

static bool answer_signal(struct uma_clock_letter *letter)
{
  const void *word = (const void *)(uintptr_t)letter->signal.word;
  int home;
  if (letter->signal.word % sizeof(uint64_t) || !uma_range_in_windows(word, sizeof(uint64_t), &home) || !uma_is_local(home)) return false;
  letter->signal.ticks = uma_clock_noted_signal(word);
  return true;
}

static bool answer_state(struct uma_clock_letter *letter)
{
  int64_t device = letter->state.device;
  if (device < 0 || device >= uma_self.shape.devices) return false;
  letter->state.state = uma_clock_state(&uma_self.clock->devices[device][FAB_APPLICATION]);
  return true;
}

void uma_clock_answer(struct uma_clock_letter *letter)
{
  bool good = letter->version == UMA_CLOCK_VERSION;
  if (good && letter->op == UMA_CLOCK_CARRY_ON)
    good = uma_clock_carry_on(letter->carry_on.from, letter->carry_on.to, letter->carry_on.bytes, &letter->carry_on.flight);
  else if (good && letter->op == UMA_CLOCK_NOTED_SIGNAL) good = answer_signal(letter);
  else if (good && letter->op == UMA_CLOCK_STATE) good = answer_state(letter);
  else good = false;
  if (!good) *letter = (struct uma_clock_letter){.version = UMA_CLOCK_VERSION, .op = UMA_CLOCK_REFUSED};
}
