/* Lab 1: One address space. */
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "devices.h"
#include "page.h"

enum { SHAPES = 4, ROUND_TRIPS = 1000000, LAYOUTS = 4, ELEMENTS = 4096, SHOWN = 48, LINE = 64, WIDE = 1000 };

struct functions {
  uint64_t (*global_address)(const struct machine *, int, uint64_t);
  int (*home_of)(const struct machine *, uint64_t);
  uint64_t (*offset_of)(const struct machine *, uint64_t);
  uint64_t (*place)(const struct machine *, const struct layout *, uint64_t);
};

struct numbers {
  bool downwards, aligned;
  int devices;
};

static struct functions functions_of(struct lab *lab)
{
  return (struct functions){lab_function(lab, "global_address"), lab_function(lab, "home_of"), lab_function(lab, "offset_of"),
                            lab_function(lab, "place")};
}

static struct numbers numbers_of(struct lab *lab)
{
  return (struct numbers){(bool)lab_number(lab, "downwards", 0, 1), (bool)lab_number(lab, "aligned", 0, 1),
                          (int)lab_number(lab, "devices", 3, 6)};
}

static void task(struct lab *lab)
{
  struct numbers numbers = numbers_of(lab);
  lab_say(lab, "  your number 1: elements are dealt %s", numbers.downwards ? "downwards" : "upwards");
  lab_say(lab, "  your number 2: runs are %s", numbers.aligned ? "aligned to 64 bytes" : "packed");
  lab_say(lab, "  your session has %d devices", numbers.devices);
}

/* Small with holes, without holes, wide windows, and larger than 32 bits can count. */
static void make_shapes(struct lab *lab, struct machine shapes[SHAPES])
{
  int devices = numbers_of(lab).devices;
  uint64_t hole = (uint64_t)lab_number(lab, "hole", 1, 60) << 12;
  shapes[0] = (struct machine){0x200000000000, (1 << 20) + hole, 1 << 20, devices};
  shapes[1] = (struct machine){0x10000, 1 << 16, 1 << 16, 7};
  shapes[2] = (struct machine){0x7000000000, (uint64_t)3 << 30, (uint64_t)1 << 30, devices};
  shapes[3] = (struct machine){0x200000000000, (uint64_t)1 << 36, (uint64_t)1 << 35, 1000};
}

/* ---- Translation ------------------------------------------------------------------------------------------------- */

static uint64_t right_address(const struct machine *machine, int device, uint64_t offset)
{
  return machine->base + (uint64_t)device * machine->stride + offset;
}

/* True when (device, offset) becomes the right address, and comes back. */
static bool goes_round(const struct functions *f, const struct machine *m, int device, uint64_t offset)
{
  uint64_t address = f->global_address(m, device, offset);
  return address == right_address(m, device, offset) && f->home_of(m, address) == device && f->offset_of(m, address) == offset;
}

static void tell_round_trip(const struct functions *f, const struct machine *m, int device, uint64_t offset, char *text, size_t room)
{
  uint64_t address = f->global_address(m, device, offset), right = right_address(m, device, offset);
  snprintf(text, room,
           "device %d, offset %#lx (base %#lx, stride %#lx): global_address gives %#lx, expected %#lx; of that address home_of gives %d, "
           "offset_of %#lx",
           device, offset, m->base, m->stride, address, right, f->home_of(m, right), f->offset_of(m, right));
}

static void grade_round_trips(struct lab *lab, const struct functions *f, const struct machine *shapes)
{
  uint64_t seed = lab_seed(lab, "round trips");
  char text[LAB_TEXT] = "";
  int wrong[SHAPES] = {0}, bad = 0;
  for (int i = 0; i < ROUND_TRIPS; i++) {
    int shape = i % SHAPES;
    const struct machine *m = &shapes[shape];
    int device = (int)(lab_draw(&seed) % (uint64_t)m->devices);
    uint64_t offset = lab_draw(&seed) % m->window;
    if (goes_round(f, m, device, offset)) continue;
    if (!bad++) tell_round_trip(f, m, device, offset, text, sizeof text);
    wrong[shape]++;
  }
  lab_check(lab, 15, !bad, "a million random round trips", "%d of %d went wrong. The first: %s", bad, ROUND_TRIPS, text);
  if ((wrong[2] || wrong[3]) && !wrong[0] && !wrong[1])
    lab_mistake(lab, "narrow",
                "Small machines are right, large ones are wrong: somewhere an address, an offset or a product goes through an int of 32 "
                "bits. uint64_t from end to end.");
}

static void grade_ends(struct lab *lab, const struct functions *f, const struct machine *shapes)
{
  char text[LAB_TEXT] = "";
  bool ok = true;
  for (int s = 0; s < SHAPES && ok; s++)
    for (int d = 0; d < shapes[s].devices && ok; d++) {
      uint64_t last = shapes[s].window - 1;
      ok = goes_round(f, &shapes[s], d, 0) && goes_round(f, &shapes[s], d, last);
      if (!ok) tell_round_trip(f, &shapes[s], d, goes_round(f, &shapes[s], d, 0) ? last : 0, text, sizeof text);
    }
  lab_check(lab, 5, ok, "the first and the last byte of every window", "%s", text);
}

/* Addresses that must have no home, for one machine; what home_of says of the first that has one, or -1. */
static int found_home(const struct functions *f, const struct machine *m, const uint64_t *addresses, int count, uint64_t *which)
{
  for (int i = 0; i < count; i++) {
    int home = f->home_of(m, addresses[i]);
    if (home == -1) continue;
    *which = addresses[i];
    return home;
  }
  return -1;
}

static void grade_nowhere(struct lab *lab, const struct functions *f, const struct machine *shapes)
{
  const struct machine *m = &shapes[0];
  uint64_t end = right_address(m, m->devices - 1, m->window), which = 0;
  uint64_t holes[] = {right_address(m, 0, m->window), right_address(m, 1, 0) - 1, right_address(m, 1, m->window)};
  uint64_t outside[] = {right_address(m, m->devices, 0), right_address(m, m->devices + 1, 5), UINT64_MAX}, before[] = {m->base - 1, 1, 0};
  int home = found_home(f, m, holes, 3, &which);
  if (!lab_check(lab, 5, home == -1, "an address in a hole has no home",
                 "home_of(%#lx) gives %d, expected -1: device %d's window ends at %#lx", which, home, home < 0 ? 0 : home,
                 right_address(m, home < 0 ? 0 : home, m->window)))
    lab_mistake(lab, "hole", "Windows lie `stride` apart but are only `window` long. An address in between belongs to nobody.");
  home = found_home(f, m, outside, 3, &which);
  if (!lab_check(lab, 5, home == -1, "an address behind the last window has no home",
                 "home_of(%#lx) gives %d, expected -1: the last of %d windows ends at %#lx", which, home, m->devices, end))
    lab_mistake(lab, "past-the-end", "Devices are 0 to devices - 1; what the division gives may be more than that.");
  home = found_home(f, m, before, 3, &which);
  lab_check(lab, 5, home == -1, "an address before the first window has no home",
            "home_of(%#lx) gives %d, expected -1: the base is %#lx. A difference of unsigned numbers never is negative", which, home,
            m->base);
  uint64_t bad[] = {f->global_address(m, -1, 0), f->global_address(m, m->devices, 0), f->global_address(m, 0, m->window)};
  lab_check(lab, 5, bad[0] == NOWHERE && bad[1] == NOWHERE && bad[2] == NOWHERE, "no such device, no such offset: NOWHERE",
            "device -1 gives %#lx, device %d of %d gives %#lx, offset %#lx of a window of %#lx gives %#lx", bad[0], m->devices, m->devices,
            bad[1], m->window, m->window, bad[2]);
}

static void grade_translation(struct lab *lab)
{
  struct functions f = functions_of(lab);
  struct machine shapes[SHAPES];
  make_shapes(lab, shapes);
  grade_round_trips(lab, &f, shapes);
  grade_ends(lab, &f, shapes);
  grade_nowhere(lab, &f, shapes);
}

/* ---- Placement --------------------------------------------------------------------------------------------------- */

static void make_layouts(struct lab *lab, int devices, struct layout layouts[LAYOUTS])
{
  uint64_t seed = lab_seed(lab, "layouts");
  for (int l = 0; l < LAYOUTS; l++)
    layouts[l] = (struct layout){.size = 8 * (1 + lab_draw(&seed) % 4),
                                 .run = l ? 1 + lab_draw(&seed) % 7 : 1,
                                 .start = LINE * (lab_draw(&seed) % 9),
                                 .first = (int)(lab_draw(&seed) % (uint64_t)devices)};
}

static uint64_t right_place(const struct machine *m, const struct layout *l, const struct numbers *numbers, uint64_t i)
{
  uint64_t run = i / l->run, bytes = l->run * l->size, devices = (uint64_t)m->devices, step = run % devices;
  if (numbers->aligned) bytes = (bytes + LINE - 1) / LINE * LINE;
  uint64_t device = ((uint64_t)l->first + (numbers->downwards ? devices - step : step)) % devices;
  return right_address(m, (int)device, l->start + run / devices * bytes + i % l->run * l->size);
}

/* All elements are where the layout with these numbers has them. */
static bool is_placed_by(const struct functions *f, const struct machine *m, const struct layout *layouts, const struct numbers *numbers)
{
  for (int l = 0; l < LAYOUTS; l++)
    for (uint64_t i = 0; i < ELEMENTS; i++)
      if (f->place(m, &layouts[l], i) != right_place(m, &layouts[l], numbers, i)) return false;
  return true;
}

static void look_for_other_numbers(struct lab *lab, const struct functions *f, const struct machine *m, const struct layout *layouts)
{
  struct numbers mine = numbers_of(lab), other = mine;
  for (int which = 1; which < 4; which++) {
    other.downwards = mine.downwards ^ (which & 1), other.aligned = mine.aligned ^ (which >> 1);
    if (is_placed_by(f, m, layouts, &other))
      lab_mistake(lab, "other-numbers", "This layout follows other numbers: dealt %s, runs %s. Yours are at the top.",
                  other.downwards ? "downwards" : "upwards", other.aligned ? "aligned" : "packed");
  }
}

static int in_order(const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

/* Two elements that share a byte: their distance, else 0. */
static uint64_t shared_bytes(const struct functions *f, const struct machine *m, const struct layout *layout, uint64_t *where)
{
  uint64_t addresses[ELEMENTS];
  for (uint64_t i = 0; i < ELEMENTS; i++) addresses[i] = f->place(m, layout, i);
  qsort(addresses, ELEMENTS, sizeof addresses[0], in_order);
  for (int i = 1; i < ELEMENTS; i++)
    if (addresses[i] - addresses[i - 1] < layout->size) {
      *where = addresses[i - 1];
      return layout->size - (addresses[i] - addresses[i - 1]);
    }
  return 0;
}

/* Whether offsets count elements of the whole array, not those of the device. */
static bool counts_all(const struct machine *m, const struct functions *f, const struct layout *layout)
{
  for (uint64_t i = 0; i < ELEMENTS; i++) {
    uint64_t address = f->place(m, layout, i);
    if (address < m->base || (address - m->base) % m->stride != layout->start + i * layout->size) return false;
  }
  return true;
}

static void grade_homes(struct lab *lab, const struct functions *f, const struct machine *m, const struct layout *layouts)
{
  struct numbers numbers = numbers_of(lab);
  const struct layout *bad = NULL;
  uint64_t at = 0;
  for (int l = 0; l < LAYOUTS && !bad; l++)
    for (at = 0; at < ELEMENTS; at++) {
      uint64_t address = f->place(m, &layouts[l], at), right = right_place(m, &layouts[l], &numbers, at);
      if (address >= m->base && (address - m->base) / m->stride == (right - m->base) / m->stride) continue;
      bad = &layouts[l];
      break;
    }
  uint64_t address = bad ? f->place(m, bad, at) : m->base, right = bad ? right_place(m, bad, &numbers, at) : 0;
  lab_check(lab, 10, !bad, "each element has the home it should have",
            "%d devices, runs of %lu, first device %d: element %lu lies at device %ld, expected %lu", m->devices, bad ? bad->run : 0,
            bad ? bad->first : 0, at, ((long)address - (long)m->base) / (long)m->stride, (right - m->base) / m->stride);
}

static void grade_room(struct lab *lab, const struct functions *f, const struct machine *m, const struct layout *layouts)
{
  struct numbers numbers = numbers_of(lab);
  uint64_t where = 0, shared = 0, at = 0;
  bool ok = true;
  int l;
  for (l = 0; l < LAYOUTS && !shared; l++) shared = shared_bytes(f, m, &layouts[l], &where);
  lab_check(lab, 10, !shared, "no two elements share a byte", "two elements share %lu bytes near %#lx (size %lu, runs of %lu)", shared,
            where, layouts[l - 1].size, layouts[l - 1].run);
  for (l = 0; l < LAYOUTS && ok; l++)
    for (at = 0; at < ELEMENTS; at++)
      if (!(ok = f->place(m, &layouts[l], at) == right_place(m, &layouts[l], &numbers, at))) break;
  const struct layout *bad = &layouts[l - 1];
  if (lab_check(lab, 10, ok, "every element at the offset it should have, no room lost",
                "element %lu (size %lu, runs of %lu, start %#lx) lies at %#lx, expected %#lx", at, bad->size, bad->run, bad->start,
                f->place(m, bad, at), right_place(m, bad, &numbers, at)))
    return;
  if (counts_all(m, f, &layouts[0]))
    lab_mistake(lab, "counts-all",
                "The offset counts the elements of the whole array; a window only holds its own. Count how many runs this device had "
                "before: the others leave no gaps.");
}

static void grade_placement(struct lab *lab)
{
  struct functions f = functions_of(lab);
  struct machine shapes[SHAPES];
  struct layout layouts[LAYOUTS];
  make_shapes(lab, shapes);
  make_layouts(lab, shapes[0].devices, layouts);
  grade_homes(lab, &f, &shapes[0], layouts);
  grade_room(lab, &f, &shapes[0], layouts);
  look_for_other_numbers(lab, &f, &shapes[0], layouts);
}

/* ---- A real session ---------------------------------------------------------------------------------------------- */

/* What the devices report. */
struct report {
  struct functions f;
  struct layout layout;
  struct machine machine;
  uint64_t offset; /* of the symmetric block that the elements lie in */
  uint64_t addresses[DEVICES_MOST][SHOWN];
  int wrong_homes, wrong_values[DEVICES_MOST], outside[DEVICES_MOST];
};

static uint64_t value_of(uint64_t i)
{
  return i * 0x9e3779b97f4a7c15ull + 1;
}

/* The element's address, when all of it lies in the block that was made for the elements: else nothing is stored or loaded there. */
static uint64_t *element(const struct report *report, uint64_t i, size_t room)
{
  uint64_t address = report->addresses[uma_device()][i];
  int home = uma_home((void *)address);
  if (home < 0 || address % sizeof(uint64_t)) return NULL;
  uint64_t offset = address - (uint64_t)(uintptr_t)uma_window(home, NULL);
  return offset >= report->offset && offset + sizeof(uint64_t) <= report->offset + room ? (uint64_t *)address : NULL;
}

static void describe_machine(struct report *report, const void *block)
{
  size_t window;
  uintptr_t base = (uintptr_t)uma_window(0, &window);
  report->machine = (struct machine){base, (uintptr_t)uma_window(1, NULL) - base, window, uma_device_count()};
  report->offset = report->layout.start = (uintptr_t)block - (uintptr_t)uma_window(uma_device(), NULL);
}

static int on_device(void *argument)
{
  struct report *report = argument;
  int me = uma_device();
  size_t room = SHOWN * 64;
  void *block = uma_alloc_symmetric(room + LINE);
  if (!block) return 1;
  block = (void *)(((uintptr_t)block + LINE - 1) / LINE * LINE);
  if (!me) describe_machine(report, block);
  uma_barrier();
  for (uint64_t i = 0; i < SHOWN; i++) report->addresses[me][i] = report->f.place(&report->machine, &report->layout, i);
  for (uint64_t i = 0; i < SHOWN; i++) {
    uint64_t *at = element(report, i, room);
    if (!at) report->outside[me]++;
    else if (uma_home(at) == me) *at = value_of(i);
    if (at && !me) report->wrong_homes += report->f.home_of(&report->machine, (uintptr_t)at) != uma_home(at);
  }
  uma_barrier();
  for (uint64_t i = 0; i < SHOWN; i++) {
    const uint64_t *at = element(report, i, room);
    if (!at || *at != value_of(i)) report->wrong_values[me]++;
  }
  return uma_barrier();
}

/* ---- The picture ------------------------------------------------------------------------------------------------- */

static void draw_cell(FILE *out, double x, double y, double width, int home, const char *label, const char *say)
{
  fprintf(out, "<rect class=\"item\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"44\" fill=\"%s\" data-home=\"%d\" data-say=\"%s\"/>", x,
          y, width, home < 0 ? "#dfe3e8" : page_colour(home), home, say);
  if (label[0])
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\" class=\"label\" pointer-events=\"none\">%s</text>\n", x + width / 2,
            y + 28, label);
}

static void draw_windows(FILE *out, const struct machine *m)
{
  double scale = WIDE / (double)(m->stride * (uint64_t)m->devices);
  char label[32], say[160];
  page_heading(out, "The address space: windows, and holes between them");
  fprintf(out, "<svg viewBox=\"0 0 1040 60\" width=\"1040\">\n");
  for (int d = 0; d < m->devices; d++) {
    uint64_t begin = right_address(m, d, 0), end = right_address(m, d, m->window);
    double x = (double)(begin - m->base) * scale, width = (double)m->window * scale;
    snprintf(label, sizeof label, "device %d", d);
    snprintf(say, sizeof say, "device %d: %#lx to %#lx", d, begin, end - 1);
    draw_cell(out, x, 8, width, d, label, say);
    snprintf(say, sizeof say, "a hole: %#lx to %#lx mean nothing", end, begin + m->stride - 1);
    if (m->stride > m->window) draw_cell(out, x + width, 8, (double)(m->stride - m->window) * scale, -1, "", say);
  }
  fprintf(out, "</svg>\n");
}

static void say_element(char *say, size_t room, const struct machine *m, uint64_t address, int i, int home)
{
  if (home < 0) snprintf(say, room, "element %d: %#lx lies in no window", i, address);
  else snprintf(say, room, "element %d: device %d, offset %#lx, address %#lx", i, home, address - right_address(m, home, 0), address);
}

static int true_home(const struct machine *m, uint64_t address)
{
  uint64_t device = (address - m->base) / m->stride, offset = (address - m->base) % m->stride;
  return address >= m->base && device < (uint64_t)m->devices && offset < m->window ? (int)device : -1;
}

static void draw_elements(FILE *out, const struct machine *m, const uint64_t *addresses)
{
  char label[16], say[160];
  page_heading(out, "The elements in their order, coloured by home");
  fprintf(out, "<svg viewBox=\"0 0 1040 110\" width=\"1040\">\n");
  for (int i = 0; i < SHOWN; i++) {
    int home = true_home(m, addresses[i]);
    say_element(say, sizeof say, m, addresses[i], i, home);
    snprintf(label, sizeof label, "%d", i);
    draw_cell(out, i % (SHOWN / 2) * (WIDE / (double)(SHOWN / 2)), i < SHOWN / 2 ? 4 : 56, WIDE / (double)(SHOWN / 2) - 3, home, label,
              say);
  }
  fprintf(out, "</svg>\n");
}

/* The windows around the elements: `least` bytes from their beginning on, `bytes` of them. */
static void draw_insides(FILE *out, const struct machine *m, const struct layout *layout, const uint64_t *addresses, double bytes)
{
  char label[16], say[160];
  page_heading(out, "Each window from the offset where the elements begin");
  fprintf(out, "<svg viewBox=\"0 0 1040 %d\" width=\"1040\">\n", m->devices * 54 + 8);
  for (int d = 0; d < m->devices; d++) {
    fprintf(out, "<text x=\"0\" y=\"%d\">device %d</text><rect x=\"80\" y=\"%d\" width=\"920\" height=\"44\" fill=\"#f2f4f7\"/>\n",
            d * 54 + 32, d, d * 54 + 4);
    for (int i = 0; i < SHOWN; i++) {
      double offset = (double)(addresses[i] - right_address(m, d, layout->start)), width = (double)layout->size / bytes * 920;
      if (true_home(m, addresses[i]) != d || offset < 0 || offset + (double)layout->size > bytes) continue;
      say_element(say, sizeof say, m, addresses[i], i, d);
      snprintf(label, sizeof label, "%d", i);
      draw_cell(out, 80 + offset / bytes * 920, d * 54 + 4, width - 2, d, width > 20 ? label : "", say);
    }
  }
  fprintf(out, "</svg>\n");
}

static void draw_strip(struct lab *lab, const struct machine *m, const struct layout *layout, const uint64_t *addresses)
{
  struct numbers numbers = numbers_of(lab);
  double bytes = 0;
  for (uint64_t i = 0; i < SHOWN; i++) {
    uint64_t end = right_place(m, layout, &numbers, i) + layout->size;
    double offset = (double)(end - right_address(m, true_home(m, end - 1), layout->start));
    if (offset > bytes) bytes = offset;
  }
  FILE *out = lab_picture(lab, "strip.html", "the address space, coloured by home");
  page_begin(out, "One address space", "What your functions say, each home in its colour. Grey: addresses that mean nothing.");
  draw_windows(out, m);
  draw_elements(out, m, addresses);
  draw_insides(out, m, layout, addresses, bytes);
  page_end(out);
}

static void draw_strip_of(struct lab *lab, const struct functions *f, int devices)
{
  struct machine shapes[SHAPES];
  struct layout layouts[LAYOUTS];
  uint64_t addresses[SHOWN];
  make_shapes(lab, shapes);
  make_layouts(lab, devices, layouts);
  for (uint64_t i = 0; i < SHOWN; i++) addresses[i] = f->place(&shapes[0], &layouts[1], i);
  draw_strip(lab, &shapes[0], &layouts[1], addresses);
}

/* Device 0's addresses are where the layout has them: only then the session tells anything about sharing. */
static bool is_where_it_should_be(struct lab *lab, const struct report *report)
{
  struct numbers numbers = numbers_of(lab);
  for (uint64_t i = 0; i < SHOWN; i++)
    if (report->addresses[0][i] != right_place(&report->machine, &report->layout, &numbers, i)) return false;
  return true;
}

static void grade_addresses(struct lab *lab, const struct report *report, bool right)
{
  int different = 0;
  for (int d = report->machine.devices - 1; d > 0; d--)
    if (memcmp(report->addresses[d], report->addresses[0], sizeof report->addresses[0])) different = d;
  if (different) {
    lab_check(lab, 10, false, "equal addresses in all processes", "devices 0 and %d compute different addresses for one element",
              different);
    lab_mistake(lab, "own-window",
                "What place says depends on who asks. A global address must follow from its arguments alone: no uma_device(), no static "
                "variable, no memory of this process only.");
  } else lab_check(lab, 10, right, "equal addresses in all processes", "equal, but not where the layout has them; see the group above");
}

static void grade_session(struct lab *lab)
{
  struct report *report = lab_shared(lab, sizeof *report);
  int devices = numbers_of(lab).devices, wrong = 0, outside = 0;
  struct layout layouts[LAYOUTS];
  make_layouts(lab, devices, layouts);
  report->f = functions_of(lab), report->layout = layouts[1];
  draw_strip_of(lab, &report->f, devices);
  devices_run(lab, NULL, devices, on_device, report);
  for (int d = 0; d < devices; d++) wrong += report->wrong_values[d], outside += report->outside[d];
  bool right = is_where_it_should_be(lab, report);
  grade_addresses(lab, report, right);
  lab_check(lab, 5, right && !report->wrong_homes, "home_of agrees with uma_home", "they differ for %d of %d elements%s",
            report->wrong_homes, SHOWN, right ? "" : "; but place does not spread them as it should");
  lab_check(lab, 15, right && !wrong, "what a home stores, every other device loads",
            "%d loads of %d devices did not give what the home has stored; %d addresses lay outside of the room for the elements%s", wrong,
            devices, outside, right ? "" : "; and place does not spread them as it should");
}

const struct lab_plan lab_plan = {
    .number = 1,
    .title = "One address space",
    .task = task,
    .groups = {{"translation", 40, grade_translation, 0}, {"placement", 30, grade_placement, 0}, {"a real session", 30, grade_session, 0}},
};
