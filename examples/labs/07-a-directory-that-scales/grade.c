/* Lab 7: sets of sharers, storage against surplus invalidations.
 *
 * The student's sets are tried against exact ones, many at a time, each between guard words. What a set of its kind needs to send at most,
 * follows from a model of the kind that knows nothing of bits. */
#include <stdlib.h>
#include <string.h>

#include "coherence/random.h"
#include "lab.h"
#include "page.h"
#include "sharers.h"

enum { SIZES = 5, SETS = 8, WORDS = DEVICES_MOST / 64, GUARDS = 2, OPERATIONS = 1500, STORES = 250, COUNT_BITS = 4, POINTERS_MOST = 14 };
enum { BUDGET_LEAST = 32, BUDGETS = 5 };
enum { RANDOM_DEVICES = 48, RANDOM_STEPS = 400000 };
#define GUARD 0x5a5a5a5a5a5a5a5aull

static const int sizes[SIZES] = {8, 16, 64, 200, 1024};

enum kind { FULL, LIMITED, COARSE, BEST, KINDS };
static const char *const kind_names[KINDS] = {"full_map", "limited", "coarse", "best"};

static int budget_of(struct lab *lab)
{
  return BUDGET_LEAST + 8 * (int)lab_number(lab, "budget", 0, BUDGETS - 1);
}

static bool is_interleaved(struct lab *lab)
{
  return lab_number(lab, "groups", 0, 1);
}

static void task(struct lab *lab)
{
  lab_say(lab, "  your budget: %d bits a set; the groups of your coarse vector are %s", budget_of(lab),
          is_interleaved(lab) ? "interleaved (device % groups)" : "neighbours (device / size)");
}

/* ---- A set between guards, and the exact one beside it ----------------------------------------------------------- */

struct box {
  uint64_t before[GUARDS], set[WORDS], after[GUARDS];
  bool has[DEVICES_MOST];
};

struct trial {
  struct lab *lab;
  const struct sharer_set *ops;
  enum kind kind;
  int devices, budget;
  char said[LAB_TEXT]; /* what is wrong, or "" */
};

static void clear(struct box *box)
{
  memset(box, 0, sizeof *box);
  for (int g = 0; g < GUARDS; g++) box->before[g] = box->after[g] = GUARD;
}

static int width_of(int devices)
{
  int width = 1;
  while (1 << width < devices) width++;
  return width;
}

/* Bits beyond those that are said to be used, or beyond the budget. */
static void check_storage(struct trial *trial, const struct box *box)
{
  int bits = trial->ops->bits(trial->devices, trial->budget), most = trial->kind == FULL ? trial->devices : trial->budget;
  for (int g = 0; g < GUARDS; g++)
    if (box->before[g] != GUARD || box->after[g] != GUARD)
      snprintf(trial->said, LAB_TEXT, "%d devices: memory outside of the set was written", trial->devices);
  if (bits > most || bits < 0)
    snprintf(trial->said, LAB_TEXT, "%d devices: bits() says %d; at most %d are yours", trial->devices, bits, most);
  for (int b = bits < 0 ? 0 : bits; b < WORDS * 64 && !trial->said[0]; b++)
    if (box->set[b / 64] >> (b % 64) & 1)
      snprintf(trial->said, LAB_TEXT, "%d devices: bit %d of the set is used, but bits() says that there are %d", trial->devices, b, bits);
}

/* The members, by next(); what is wrong with the way they are named. Returns how many. */
static int list_members(struct trial *trial, const struct box *box, bool *named)
{
  int count = 0, last = -1;
  memset(named, 0, DEVICES_MOST * sizeof *named);
  for (int d = trial->ops->next(trial->devices, trial->budget, box->set, 0); d >= 0;
       d = trial->ops->next(trial->devices, trial->budget, box->set, d + 1)) {
    if (d >= trial->devices) {
      snprintf(trial->said, LAB_TEXT, "%d devices: next() names device %d, which does not exist", trial->devices, d);
      lab_mistake(trial->lab, "beyond-the-last",
                  "The last group of a coarse vector may be smaller than the others: next() must end at the number "
                  "of devices.");
      return count;
    }
    if (d <= last) {
      snprintf(trial->said, LAB_TEXT, "%d devices: next() from %d returns %d: members must come in ascending order", trial->devices,
               last + 1, d);
      return count;
    }
    named[d] = true;
    last = d;
    count++;
  }
  return count;
}

static void tell_forgotten(struct trial *trial, const struct box *box, const bool *named, const char *after, int device)
{
  int forgotten = 0, sharers = 0;
  while (!(box->has[forgotten] && !named[forgotten])) forgotten++;
  for (int d = 0; d < trial->devices; d++) sharers += box->has[d];
  snprintf(trial->said, LAB_TEXT, "%d devices: after %s of device %d, device %d has a copy (as have %d others), and next() leaves it out",
           trial->devices, after, device, forgotten, sharers - 1);
  if (strcmp(after, "remove") == 0 && forgotten != device)
    lab_mistake(trial->lab, "remove-forgets-others",
                "Removing one device takes others away, who still have a copy. Where a bit stands for several "
                "devices, removing one of them can do nothing; and from an overflown set nothing can be removed.");
  else if (trial->kind != FULL && trial->devices > 8 && forgotten == device && sharers > 2)
    lab_mistake(trial->lab, "overflow-forgets",
                "A sharer came for whom there was no room, and was forgotten. It will go on reading old data: when "
                "there is no room the set must stand for more devices, not for fewer.");
}

static void check_members(struct trial *trial, const struct box *box, const char *after, int device)
{
  bool named[DEVICES_MOST];
  check_storage(trial, box);
  if (trial->said[0]) return;
  list_members(trial, box, named);
  for (int d = 0; d < trial->devices && !trial->said[0]; d++) {
    if (box->has[d] && !named[d]) tell_forgotten(trial, box, named, after, device);
    else if (trial->kind == FULL && named[d] && !box->has[d])
      snprintf(trial->said, LAB_TEXT, "%d devices: after %s of device %d, next() names device %d, which has no copy; a full map is exact",
               trial->devices, after, device, d);
  }
}

/* Several sets take turns, and move, so that what is known of one lies in it. */
static void try_sets(struct trial *trial, uint64_t seed)
{
  static struct box boxes[SETS], moved;
  for (int s = 0; s < SETS; s++) clear(&boxes[s]);
  for (int i = 0; i < OPERATIONS && !trial->said[0]; i++) {
    struct box *box = &boxes[lab_draw(&seed) % SETS];
    int device = (int)(lab_draw(&seed) % (uint64_t)trial->devices), what = (int)(lab_draw(&seed) % 16);
    moved = *box;
    clear(box);
    if (what == 0) {
      check_members(trial, box, "clearing", device);
      continue;
    }
    bool removes = what < 6 && moved.has[device];
    (removes ? trial->ops->remove : trial->ops->add)(trial->devices, trial->budget, moved.set, device);
    moved.has[device] = !removes;
    *box = moved;
    check_members(trial, box, removes ? "remove" : "add", device);
  }
}

static void grade_right(struct lab *lab, enum kind kind, const int points[SIZES])
{
  bool small = true;
  for (int s = 0; s < SIZES; s++) {
    char what[96];
    struct trial trial = {
        .lab = lab, .ops = lab_function(lab, kind_names[kind]), .kind = kind, .devices = sizes[s], .budget = budget_of(lab)};
    try_sets(&trial, lab_seed(lab, kind_names[kind]));
    snprintf(what, sizeof what, "%s, %d devices: nobody is left out, within the storage", kind_names[kind], sizes[s]);
    bool right = lab_check(lab, points[s], !trial.said[0], what, "%s", trial.said);
    if (sizes[s] < 32) small &= right;
    else if (small && !right && kind == FULL)
      lab_mistake(lab, "int-shift",
                  "It works up to 31 devices, and not beyond: 1 << device is an int. The words have 64 bits: "
                  "1ull << (device %% 64), in word device / 64.");
  }
}

/* ---- What a set of each kind needs to send ----------------------------------------------------------------------- */

struct model {
  enum kind kind;
  int devices, budget, room; /* room: for numbers of devices */
  int group;                 /* devices of a group, when numbers are given up */
  bool interleaved;          /* a group is not of neighbours, but of devices that lie as far apart as there are groups */
  int count;
  bool crowded, has[DEVICES_MOST], member[DEVICES_MOST];
};

static void model_clear(struct model *model)
{
  model->count = 0;
  model->crowded = false;
  memset(model->has, 0, sizeof model->has);
  memset(model->member, 0, sizeof model->member);
}

static struct model make_model(enum kind kind, int devices, int budget, bool interleaved)
{
  struct model model = {.kind = kind, .devices = devices, .budget = budget, .interleaved = interleaved && kind == COARSE};
  int bits = budget - COUNT_BITS, room = bits / width_of(devices);
  model.room = room < POINTERS_MOST ? room : POINTERS_MOST;
  model.group = kind == LIMITED ? devices : kind == COARSE ? (devices + budget - 1) / budget : (devices + bits - 1) / bits;
  if (kind == COARSE) model.room = 0;
  if (kind == FULL || (kind == BEST && devices <= budget)) model.room = devices;
  return model;
}

static int group_of(const struct model *model, int device)
{
  int groups = (model->devices + model->group - 1) / model->group;
  return model->interleaved ? device % groups : device / model->group;
}

static void model_spread(struct model *model, int device)
{
  for (int d = 0; d < model->devices; d++) model->member[d] |= group_of(model, d) == group_of(model, device);
}

static void model_add(struct model *model, int device)
{
  if (model->has[device] && !model->crowded) return;
  model->has[device] = true;
  if (!model->crowded && model->count < model->room) {
    model->member[device] = true;
    model->count++;
    return;
  }
  if (!model->crowded)
    for (int d = 0; d < model->devices; d++)
      if (model->member[d]) model_spread(model, d);
  model->crowded = true;
  model_spread(model, device);
}

static void model_remove(struct model *model, int device)
{
  model->has[device] = false;
  if (model->crowded && model->group > 1) return;
  if (model->member[device] && !model->crowded) model->count--;
  model->member[device] = false;
}

/* ---- Traffic ----------------------------------------------------------------------------------------------------- */

struct traffic {
  long sent, needed, bound; /* invalidations: of the student's set, of an exact one, of the model's */
  long foreign;             /* members of one of these two sets only */
};

/* How many devices read the line before the next store: mostly few. */
static int degree(uint64_t *seed, int devices)
{
  int of_ten = (int)(lab_draw(seed) % 10), most = of_ten < 7 ? 3 : of_ten < 9 ? 8 : devices / 4 + 1;
  return 1 + (int)(lab_draw(seed) % (uint64_t)(most < devices ? most : devices));
}

static void load(struct trial *trial, struct box *box, struct model *model, int device)
{
  trial->ops->add(trial->devices, trial->budget, box->set, device);
  model_add(model, device);
  box->has[device] = true;
}

static void give_up(struct trial *trial, struct box *box, struct model *model, int device)
{
  trial->ops->remove(trial->devices, trial->budget, box->set, device);
  model_remove(model, device);
  box->has[device] = false;
}

static void store(struct trial *trial, struct box *box, struct model *model, int writer, struct traffic *traffic)
{
  bool named[DEVICES_MOST];
  list_members(trial, box, named);
  for (int d = 0; d < trial->devices; d++) {
    if (d == writer) continue;
    traffic->sent += named[d];
    traffic->needed += box->has[d];
    traffic->bound += model->member[d];
    traffic->foreign += named[d] != model->member[d];
  }
  clear(box);
  model_clear(model);
}

/* Readers are neighbours in half of the rounds, as programs place them; some load twice, some give their copies up. */
static struct traffic run_traffic(struct trial *trial, uint64_t seed)
{
  static struct box box;
  struct model model = make_model(trial->kind, trial->devices, trial->budget, is_interleaved(trial->lab));
  struct traffic traffic = {0};
  clear(&box);
  model_clear(&model);
  for (int r = 0; r < STORES; r++) {
    int readers = degree(&seed, trial->devices), first = (int)(lab_draw(&seed) % (uint64_t)trial->devices);
    bool neighbours = lab_draw(&seed) % 2;
    for (int i = 0; i < readers; i++) {
      int device = (neighbours ? first + i : (int)(lab_draw(&seed) % (uint64_t)trial->devices)) % trial->devices;
      load(trial, &box, &model, device);
      if (lab_draw(&seed) % 4 == 0) load(trial, &box, &model, device);
      if (lab_draw(&seed) % 8 == 0) give_up(trial, &box, &model, device);
    }
    store(trial, &box, &model, (int)(lab_draw(&seed) % (uint64_t)trial->devices), &traffic);
  }
  return traffic;
}

static struct traffic measure(struct lab *lab, enum kind kind, int devices, int budget)
{
  struct trial trial = {.lab = lab, .ops = lab_function(lab, kind_names[kind]), .kind = kind, .devices = devices, .budget = budget};
  return run_traffic(&trial, lab_seed(lab, "traffic"));
}

static bool is_right(struct lab *lab, enum kind kind, int devices)
{
  struct trial trial = {.lab = lab, .ops = lab_function(lab, kind_names[kind]), .kind = kind, .devices = devices, .budget = budget_of(lab)};
  try_sets(&trial, lab_seed(lab, kind_names[kind]));
  return !trial.said[0];
}

static void grade_surplus(struct lab *lab, enum kind kind)
{
  static const int points[SIZES] = {1, 1, 2, 3, 3};
  for (int s = 0; s < SIZES; s++) {
    char what[96];
    if (!is_right(lab, kind, sizes[s])) {
      lab_say(lab, "       %s, %d devices: what it sends counts when nobody is left out", kind_names[kind], sizes[s]);
      continue;
    }
    struct traffic traffic = measure(lab, kind, sizes[s], budget_of(lab));
    snprintf(what, sizeof what, "%s, %d devices: at most %ld surplus invalidations", kind_names[kind], sizes[s],
             traffic.bound - traffic.needed);
    bool foreign = kind == COARSE && traffic.foreign && traffic.sent <= traffic.bound + traffic.bound / 2;
    lab_check(lab, points[s], traffic.sent <= traffic.bound && !foreign, what, "%ld are sent for nothing, in %d stores%s",
              traffic.sent - traffic.needed, STORES, foreign ? ", and not to the devices of your groups" : "");
    if (foreign)
      lab_mistake(lab, "other-groups",
                  "Your groups are not those of your task: see at the top whether they are neighbours or interleaved.");
    if (traffic.sent > traffic.bound && kind == LIMITED)
      lab_mistake(lab, "room-wasted",
                  "The set overflows earlier than it needs to. Does a device that is added twice take two places? Does one "
                  "that is removed give its place back? Is a number as narrow as it can be?");
    if (traffic.sent > traffic.bound && kind == COARSE && !foreign)
      lab_mistake(lab, "groups-too-big",
                  "The groups are larger than they need to be: as many groups as the budget has bits, none of them for "
                  "devices that do not exist.");
  }
}

/* ---- Groups ------------------------------------------------------------------------------------------------------ */

static void grade_full(struct lab *lab)
{
  grade_right(lab, FULL, (const int[]){4, 4, 4, 4, 4});
}

static void grade_limited(struct lab *lab)
{
  grade_right(lab, LIMITED, (const int[]){3, 3, 3, 3, 3});
  grade_surplus(lab, LIMITED);
}

static void grade_coarse(struct lab *lab)
{
  grade_right(lab, COARSE, (const int[]){3, 3, 3, 3, 3});
  grade_surplus(lab, COARSE);
}

static void grade_best(struct lab *lab)
{
  grade_right(lab, BEST, (const int[]){2, 2, 2, 2, 2});
  grade_surplus(lab, BEST);
}

/* ---- The picture ------------------------------------------------------------------------------------------------- */

/* Storage against traffic at the largest size, over the budgets that there are; the full map is one point. */
static void draw_storage(struct lab *lab, FILE *out)
{
  double bits[KINDS][BUDGETS], sent[KINDS][BUDGETS];
  struct page_curve curves[KINDS];
  for (int k = 0; k < KINDS; k++) {
    const struct sharer_set *ops = lab_function(lab, kind_names[k]);
    int points = k == FULL ? 1 : BUDGETS;
    for (int b = 0; b < points; b++) {
      int budget = BUDGET_LEAST + 8 * b, used = ops->bits(DEVICES_MOST, budget);
      bits[k][b] = used > 0 ? used : 1;
      sent[k][b] = (double)(measure(lab, (enum kind)k, DEVICES_MOST, budget).sent + 1) / STORES; /* above 0 */
    }
    curves[k] = (struct page_curve){kind_names[k], points, bits[k], sent[k]};
  }
  page_plot(out, &(struct page_plot){"Storage against traffic, 1,024 devices", "bits a line", "invalidations a store", true, true, KINDS,
                                     curves});
}

static void draw_scale(struct lab *lab, FILE *out)
{
  double surplus[KINDS][SIZES], devices[SIZES];
  struct page_curve curves[KINDS];
  for (int k = 0; k < KINDS; k++) {
    for (int s = 0; s < SIZES; s++) {
      struct traffic traffic = measure(lab, (enum kind)k, sizes[s], budget_of(lab));
      devices[s] = sizes[s];
      surplus[k][s] = (double)(traffic.sent - traffic.needed) / STORES;
    }
    curves[k] = (struct page_curve){kind_names[k], SIZES, devices, surplus[k]};
  }
  page_plot(out, &(struct page_plot){"What is sent for nothing, with your budget", "devices", "surplus invalidations a store", true, false,
                                     KINDS, curves});
}

static void draw(struct lab *lab)
{
  FILE *out = lab_picture(lab, "storage.html", "storage against traffic");
  page_begin(out, "A directory that scales", "Your four sets over one access pattern. Left and low is good.");
  draw_storage(lab, out);
  draw_scale(lab, out);
  page_end(out);
}

/* ---- The student's set in a directory ---------------------------------------------------------------------------- */

static const struct sharer_set *in_directory;

static void directory_add(const struct coh_sharer_kind *kind, uint64_t *set, int device)
{
  in_directory->add(kind->devices, kind->parameter, set, device);
}

static void directory_remove(const struct coh_sharer_kind *kind, uint64_t *set, int device)
{
  in_directory->remove(kind->devices, kind->parameter, set, device);
}

static int directory_next(const struct coh_sharer_kind *kind, const uint64_t *set, int from)
{
  return from < kind->devices ? in_directory->next(kind->devices, kind->parameter, set, from) : -1;
}

static bool directory_has(const struct coh_sharer_kind *kind, const uint64_t *set, int device)
{
  return directory_next(kind, set, device) == device;
}

static int directory_count(const struct coh_sharer_kind *kind, const uint64_t *set)
{
  int count = 0;
  for (int d = directory_next(kind, set, 0); d >= 0; d = directory_next(kind, set, d + 1)) count++;
  return count;
}

static void grade_protocol(struct lab *lab)
{
  static const struct coh_sharer_ops ops = {.name = "best, yours",
                                            .add = directory_add,
                                            .remove = directory_remove,
                                            .has = directory_has,
                                            .count = directory_count,
                                            .next = directory_next};
  static struct coh_protocol protocol;
  struct coh_random_options options = {.lines = 6, .seed = lab_seed(lab, "random"), .steps = RANDOM_STEPS};
  struct coh_random_result result;
  int budget = budget_of(lab);
  in_directory = lab_function(lab, "best");
  options.sharers = (struct coh_sharer_kind){&ops, RANDOM_DEVICES, budget, (in_directory->bits(RANDOM_DEVICES, budget) + 63) / 64};
  if (options.sharers.words < 1 || options.sharers.words > WORDS) lab_stop(lab, "bits() returns a number that cannot be");
  if (coh_protocol_load("msi", &protocol, stderr) || coh_random(&protocol, &options, &result))
    lab_stop(lab, "the random run cannot be made");
  if (result.broken) {
    FILE *page = lab_picture(lab, "ladder.html", "how MSI breaks with your set, to step through");
    coh_ladder_html(page, &result.ladder);
    fclose(page);
  }
  lab_check(lab, 10, !result.broken, "MSI with best in its directory stays coherent", "%s", result.sentence);
  coh_ladder_free(&result.ladder);
  draw(lab);
}

const struct lab_plan lab_plan = {
    .number = 7,
    .title = "A directory that scales",
    .task = task,
    .groups = {{"full map", 20, grade_full, 0},
               {"limited pointers", 25, grade_limited, 0},
               {"coarse vector", 25, grade_coarse, 0},
               {"best", 20, grade_best, 0},
               {"in a protocol", 10, grade_protocol, 20}},
};
