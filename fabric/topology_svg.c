/* A topology as a picture, without references to anything outside of it.
 *
 * Boxes in boxes: each level holds one unit of the level below, drawn in full, and the others as a stack that says how many they are. The
 * scale-up network grows upwards from the devices, the scale-out network downwards from the NICs. Where everything lies follows from the
 * heights of the boxes, which are summed from inside out; then all is drawn from outside in, so that nothing covers what it holds. */
#include "fabric/topology_print.h"

#include <inttypes.h>
#include <string.h>

#include "fabric/table.h"

enum {
  TEXT = 200,
  PAD = 22,
  TITLE = 38,
  BAR = 34,
  GAP = 44,
  STACK = 124, /* right of the unit that is drawn: the others */
  INNER = 620,
  DEVICE = 62,
  HOST = 62,
  PANEL = 430,
  MARGIN = 28,
  HEAD = 84,
  MOST_DEVICES = 8
};

enum { UP, OUT };
static const char *const level_fills[FAB_LEVELS] = {"#ffffff", "#eef4fa", "#e2ebf4", "#d6e2ee", "#cad9e8", "#bed0e2"}; /* by level */
static const char *const colors[] = {"#1d6fb8", "#c2570c"};

struct picture {
  FILE *out;
  const struct fab_profile *profile;
  const struct fab_topology *topology;
  int stage[2][FAB_LEVELS]; /* by network and level: the stage that joins there, or -1 */
  int x[FAB_LEVELS], y[FAB_LEVELS], width[FAB_LEVELS], height[FAB_LEVELS];
  int devices_y, host_y, shown, width_all, height_all;
};

static void text_at(struct picture *picture, int x, int y, const char *class, const char *text)
{
  fprintf(picture->out, "<text class=\"%s\" x=\"%d\" y=\"%d\">", class, x, y);
  fab_put_escaped(picture->out, text);
  fprintf(picture->out, "</text>\n");
}

static void box(struct picture *picture, int x, int y, int width, int height, const char *style)
{
  fprintf(picture->out, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"8\" style=\"%s\"/>\n", x, y, width, height, style);
}

/* ---- Geometry ---------------------------------------------------------------------------------------------------- */

static void find_stages(struct picture *picture)
{
  memset(picture->stage, -1, sizeof picture->stage);
  for (int network = UP; network <= OUT; network++)
    for (int i = 0; i < picture->topology->network[network].stage_count; i++)
      picture->stage[network][picture->topology->network[network].stage[i].level] = i;
}

static int extra(const struct picture *picture, int network, int level)
{
  return picture->stage[network][level] >= 0 ? BAR + GAP : 0;
}

static void lay_out(struct picture *picture)
{
  const struct fab_topology *topology = picture->topology;
  int levels = topology->level_count, inner = DEVICE + GAP / 2 + HOST, width = INNER;
  for (int i = 0; i < levels; i++) {
    picture->height[i] = TITLE + extra(picture, UP, i) + inner + extra(picture, OUT, i) + PAD;
    picture->width[i] = width + 2 * PAD + (i ? STACK : 0);
    inner = picture->height[i], width = picture->width[i];
  }
  int x = MARGIN, y = HEAD;
  for (int i = levels - 1; i >= 0; i--) {
    picture->x[i] = x, picture->y[i] = y;
    x += PAD, y += TITLE + extra(picture, UP, i);
  }
  picture->devices_y = y;
  picture->host_y = y + DEVICE + GAP / 2;
  picture->width_all = MARGIN + picture->width[levels - 1] + MARGIN + PANEL + MARGIN;
  picture->height_all = HEAD + picture->height[levels - 1] + MARGIN;
  int panel = HEAD + 150 * topology->kind_count + 90 + 230; /* its three parts at most */
  if (picture->height_all < panel) picture->height_all = panel;
}

static uint64_t here(const struct fab_topology *topology, uint64_t size)
{
  return topology->devices < size ? topology->devices : size;
}

static int device_x(const struct picture *picture, int i)
{
  int wide = INNER / picture->shown;
  return picture->x[0] + PAD + wide * i + wide / 2;
}

/* ---- Boxes ------------------------------------------------------------------------------------------------------- */

static void draw_level(struct picture *picture, int level)
{
  const struct fab_topology *topology = picture->topology;
  char title[TEXT], style[TEXT], count[TEXT];
  int x = picture->x[level], y = picture->y[level], width = picture->width[level], height = picture->height[level];
  snprintf(style, sizeof style, "fill:%s;stroke:#8aa0b8;stroke-width:1.2", level_fills[level]);
  box(picture, x, y, width, height, style);
  if (!level) return;
  uint64_t below = topology->level[level - 1].size, others = (here(topology, topology->level[level].size) + below - 1) / below - 1;
  int from = x + PAD + picture->width[level - 1], top = picture->y[level - 1], tall = picture->height[level - 1];
  for (int i = others > 2 ? 3 : (int)others; i > 0; i--) {
    snprintf(style, sizeof style, "fill:%s;stroke:#8aa0b8", level_fills[level - 1]);
    box(picture, from - 12 + 12 * i, top + 7 * i, 20, tall - 14 * i, style);
  }
  if (!others) return;
  snprintf(title, sizeof title, "+ %s", fab_text_count((double)others, count, sizeof count));
  text_at(picture, from + 50, top + tall / 2, "more", title);
}

/* Above the wires that cross it. */
static void draw_title(struct picture *picture, int level)
{
  const struct fab_topology *topology = picture->topology;
  char title[TEXT], count[TEXT];
  snprintf(title, sizeof title, "%s: %s devices", topology->level[level].name,
           fab_text_count((double)here(topology, topology->level[level].size), count, sizeof count));
  fprintf(picture->out, "<text class=\"level halo\" style=\"stroke:%s\" x=\"%d\" y=\"%d\">%s</text>\n", level_fills[level],
          picture->x[level] + 14, picture->y[level] + 25, title);
}

static void draw_devices(struct picture *picture)
{
  const struct fab_topology *topology = picture->topology;
  uint64_t size = here(topology, topology->level[0].size);
  int wide = INNER / picture->shown - 10;
  if (wide > 140) wide = 140;
  for (int i = 0; i < picture->shown; i++) {
    char name[TEXT], memory[TEXT];
    bool rest = size > MOST_DEVICES && i == picture->shown - 1;
    uint64_t device = (uint64_t)i;
    box(picture, device_x(picture, i) - wide / 2, picture->devices_y, wide, DEVICE,
        rest ? "fill:#f1f5f9;stroke:#64748b;stroke-dasharray:5 4" : "fill:#dcfce7;stroke:#15803d;stroke-width:1.4");
    if (rest) snprintf(name, sizeof name, "+ %" PRIu64, size - MOST_DEVICES + 1);
    else snprintf(name, sizeof name, "%" PRIu64, device);
    text_at(picture, device_x(picture, i), picture->devices_y + 26, "device", name);
    fab_text_bytes((double)fab_topology_kind(topology, device)->memory_bytes, memory, sizeof memory);
    text_at(picture, device_x(picture, i), picture->devices_y + 47, "small", rest ? "more" : memory);
  }
}

static void draw_host(struct picture *picture)
{
  const struct fab_topology *topology = picture->topology;
  uint64_t nics =
      topology->devices_per_nic ? (here(topology, topology->level[0].size) + topology->devices_per_nic - 1) / topology->devices_per_nic : 0;
  int x = picture->x[0] + PAD, y = picture->host_y, host_width = nics ? INNER * 58 / 100 : INNER;
  char text[TEXT], a[TEXT], b[TEXT];
  fprintf(picture->out, "<g stroke=\"#64748b\" stroke-width=\"2\">\n");
  for (int i = 0; i < picture->shown; i++)
    fprintf(picture->out, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>\n", device_x(picture, i), picture->devices_y + DEVICE,
            device_x(picture, i), y - 8);
  fprintf(picture->out, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" stroke-width=\"4\"/>\n</g>\n", x, y - 8, x + INNER, y - 8);
  box(picture, x, y, host_width - 12, HOST, "fill:#f1f5f9;stroke:#64748b");
  snprintf(text, sizeof text, "host: memory %s", fab_text_bandwidth((double)topology->host_bandwidth, a, sizeof a));
  text_at(picture, x + 12, y + 25, "plain", text);
  snprintf(text, sizeof text, "PCIe %s, bounce buffers of %s", fab_text_bandwidth((double)topology->pcie_bandwidth, a, sizeof a),
           fab_text_bytes((double)topology->chunk, b, sizeof b));
  text_at(picture, x + 12, y + 47, "quiet", text);
  if (!nics) return;
  box(picture, x + host_width, y, INNER - host_width, HOST, "fill:#ffedd5;stroke:#c2570c;stroke-width:1.4");
  snprintf(text, sizeof text, "%" PRIu64 " NIC%s", nics, nics == 1 ? "" : "s");
  text_at(picture, x + host_width + 12, y + 25, "plain", text);
  snprintf(text, sizeof text, "%s at each end%s", fab_text_ticks(topology->nic_latency, a, sizeof a), topology->staged ? ", staged" : "");
  text_at(picture, x + host_width + 12, y + 47, "quiet", text);
}

/* ---- Networks ---------------------------------------------------------------------------------------------------- */

static int bar_y(const struct picture *picture, int network, int level)
{
  return network == UP ? picture->y[level] + TITLE : picture->y[level] + picture->height[level] - PAD - BAR;
}

static void wire(struct picture *picture, int network, int x1, int y1, int x2, int y2, double bandwidth)
{
  double thickness = 1.5;
  for (double at = 20e9; at < bandwidth && thickness < 9; at *= 2) thickness += 0.8;
  fprintf(picture->out, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" stroke=\"%s\" stroke-width=\"%.1f\" stroke-linecap=\"round\"/>\n",
          x1, y1, x2, y2, colors[network], thickness);
}

static int lower_anchor(const struct picture *picture, int network, int stage, int *y)
{
  if (stage > 0) {
    int level = picture->topology->network[network].stage[stage - 1].level;
    *y = bar_y(picture, network, level) + (network == UP ? 0 : BAR);
    return picture->x[level] + picture->width[level] / 2;
  }
  *y = picture->host_y + HOST;
  return picture->x[0] + PAD + INNER * 8 / 10;
}

static void draw_wires(struct picture *picture, int network, int level)
{
  const struct fab_topology *topology = picture->topology;
  int index = picture->stage[network][level], near = bar_y(picture, network, level) + (network == UP ? BAR : 0), y;
  const struct fab_topology_stage *stage = &topology->network[network].stage[index];
  double bandwidth = (double)topology->link[stage->link[0]].bandwidth * (double)stage->lanes;
  if (!index && network == UP) {
    for (int i = 0; i < picture->shown; i++)
      wire(picture, network, device_x(picture, i), near, device_x(picture, i), picture->devices_y, bandwidth);
  } else {
    int x = lower_anchor(picture, network, index, &y);
    wire(picture, network, x, near, x, y, bandwidth);
  }
  if (level && picture->topology->level[level].units * topology->level[level].size > stage->below) {
    int from = picture->x[level] + PAD + picture->width[level - 1] + 18, edge = picture->y[level - 1];
    if (here(topology, topology->level[level].size) > topology->level[level - 1].size)
      wire(picture, network, from, near, from, network == UP ? edge + 12 : edge + picture->height[level - 1] - 12, bandwidth);
  }
}

static void draw_bar(struct picture *picture, int network, int level)
{
  const struct fab_topology *topology = picture->topology;
  int index = picture->stage[network][level], x = picture->x[level] + PAD, y = bar_y(picture, network, level);
  const struct fab_topology_stage *stage = &topology->network[network].stage[index];
  const struct fab_topology_link *link = &topology->link[stage->link[0]];
  const struct fab_network *from = network == UP ? &picture->profile->scale_up : &picture->profile->scale_out;
  char text[TEXT], a[TEXT], b[TEXT], style[TEXT];
  snprintf(style, sizeof style, "fill:%s;stroke:%s;%s", network == UP ? "#dbeafe" : "#ffedd5", colors[network],
           stage->mesh ? "stroke-dasharray:7 4" : "stroke-width:1.6");
  box(picture, x, y, picture->width[level] - 2 * PAD, BAR, style);
  if (stage->mesh) snprintf(text, sizeof text, "full mesh");
  else snprintf(text, sizeof text, "%s switch%s", fab_text_count((double)stage->switches, a, sizeof a), stage->switches == 1 ? "" : "es");
  size_t used = strlen(text);
  snprintf(text + used, sizeof text - used, ", %s",
           network == UP ? topology->coherent ? "load and store, coherent" : "load and store" : "messages");
  used = strlen(text);
  if (index && from->stage[index].oversubscription.value > 1.001)
    snprintf(text + used, sizeof text - used, ", oversubscribed %.3g : 1", from->stage[index].oversubscription.value);
  text_at(picture, x + 14, y + 23, network == UP ? "up" : "outward", text);
  snprintf(text, sizeof text, "%" PRIu64 " x %s: %s, %s a hop", stage->lanes, link->name,
           fab_text_bandwidth((double)link->bandwidth, a, sizeof a), fab_text_ticks(link->latency, b, sizeof b));
  text_at(picture, x + picture->width[level] - 2 * PAD - 14, y + 23, network == UP ? "up right" : "outward right", text);
}

/* ---- Panel ------------------------------------------------------------------------------------------------------- */

static int draw_kinds(struct picture *picture, int x, int y)
{
  const struct fab_topology *topology = picture->topology;
  for (int i = 0; i < topology->kind_count; i++) {
    const struct fab_device_kind *kind = &topology->kind[i];
    char text[TEXT], a[TEXT], b[TEXT], c[TEXT];
    text_at(picture, x, y, "level", kind->name);
    snprintf(text, sizeof text, "%s at %s, load %s", fab_text_bytes((double)kind->memory_bytes, a, sizeof a),
             fab_text_bandwidth((double)kind->memory_bandwidth, b, sizeof b), fab_text_ticks(kind->load, c, sizeof c));
    text_at(picture, x, y += 24, "plain", text);
    snprintf(text, sizeof text, "%.0f W", kind->watts);
    for (int dtype = 0; dtype < FAB_DTYPES; dtype++)
      if (kind->flops[dtype] > 0) {
        size_t used = strlen(text);
        if (used > 30 && !strchr(text, '\n')) {
          text_at(picture, x, y += 22, "plain", text);
          used = 0;
        }
        snprintf(text + used, sizeof text - used, "%s%s %.4g T/s", used ? ", " : "", fab_dtype_names[dtype], kind->flops[dtype] / 1e12);
      }
    text_at(picture, x, y += 22, "plain", text);
    y += 34;
  }
  return y;
}

static int draw_numbers(struct picture *picture, int x, int y)
{
  static const char *const fills[FAB_STATUSES] = {"", "#15803d", "#1d6fb8", "#7c3aed", "#d97706"};
  int counts[FAB_STATUSES] = {0}, all = picture->profile->quantity_count, at = x, wide = PANEL - 10;
  char text[TEXT] = "";
  for (int i = 0; i < all; i++) counts[picture->profile->quantity[i].quantity->status]++;
  text_at(picture, x, y, "level", "Where the numbers are from");
  y += 12;
  for (int status = FAB_PUBLISHED; status < FAB_STATUSES; status++) {
    int part = counts[status] * wide / all;
    if (part) fprintf(picture->out, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"16\" fill=\"%s\"/>\n", at, y, part, fills[status]);
    at += part;
  }
  fprintf(picture->out, "<text class=\"plain\" x=\"%d\" y=\"%d\">", x, y += 38);
  for (int status = FAB_PUBLISHED; status < FAB_STATUSES; status++)
    if (counts[status]) {
      snprintf(text, sizeof text, "%d %s  ", counts[status], fab_status_names[status]);
      fprintf(picture->out, "<tspan fill=\"%s\" font-weight=\"600\">%s </tspan>", fills[status], text);
    }
  fprintf(picture->out, "</text>\n");
  return y + 40;
}

/* What a copy takes: the latencies by the kind of step, then the bytes; all ways on one scale. */
static void draw_way(struct picture *picture, const struct fab_path *path, const struct fab_pair *pair, uint64_t longest, int x, int *y)
{
  static const char *const fills[] = {"#15803d", "#64748b", "#94a3b8", "#c2570c", "#1d6fb8", "#1d6fb8", "#1d6fb8"};
  uint64_t by_kind[FAB_STEP_ACROSS + 1] = {0}, total = fab_path_ticks(path, pair->bytes, 0), rest = total;
  char text[TEXT], a[TEXT];
  for (int leg = 0; leg < path->count; leg++)
    for (int i = 0; i < path->leg[leg].count; i++) {
      by_kind[path->leg[leg].step[i].kind] += path->leg[leg].step[i].latency;
      rest -= path->leg[leg].step[i].latency;
    }
  snprintf(text, sizeof text, "%s: %s", fab_way_names[path->way], fab_text_ticks(total, a, sizeof a));
  text_at(picture, x, *y, "plain", text);
  double scale = (double)(PANEL - 10) / (double)longest, at = x;
  for (int kind = 0; kind <= FAB_STEP_ACROSS + 1; kind++) {
    double wide = scale * (double)(kind > FAB_STEP_ACROSS ? rest : by_kind[kind]);
    fprintf(picture->out, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"18\" fill=\"%s\"/>\n", at, *y + 7, wide,
            kind > FAB_STEP_ACROSS ? "#fbbf24" : fills[kind]);
    at += wide;
  }
  *y += 50;
}

static int draw_ways(struct picture *picture, const struct fab_pair *pair, int x, int y)
{
  static const enum fab_way ways[] = {FAB_WAY_LOAD_STORE, FAB_WAY_DIRECT, FAB_WAY_STAGED};
  static const char *const keys[][2] = {{"memory", "#15803d"}, {"PCIe", "#64748b"},  {"host", "#94a3b8"},
                                        {"NIC", "#c2570c"},    {"links", "#1d6fb8"}, {"bytes", "#fbbf24"}};
  struct fab_path path;
  uint64_t longest = 1;
  char text[TEXT], a[TEXT];
  snprintf(text, sizeof text, "%s from device %" PRIu64 " to %" PRIu64, fab_text_bytes((double)pair->bytes, a, sizeof a), pair->a, pair->b);
  text_at(picture, x, y, "level", text);
  y += 28;
  for (int i = 0; i < 3; i++)
    if (!fab_topology_path(picture->topology, pair->a, pair->b, ways[i], &path) && fab_path_ticks(&path, pair->bytes, 0) > longest)
      longest = fab_path_ticks(&path, pair->bytes, 0);
  for (int i = 0; i < 3; i++)
    if (!fab_topology_path(picture->topology, pair->a, pair->b, ways[i], &path)) draw_way(picture, &path, pair, longest, x, &y);
  fprintf(picture->out, "<text class=\"plain\" x=\"%d\" y=\"%d\">", x, y);
  for (int i = 0; i < 6; i++) fprintf(picture->out, "<tspan fill=\"%s\" font-weight=\"700\">%s </tspan>", keys[i][1], keys[i][0]);
  fprintf(picture->out, "</text>\n");
  return y + 30;
}

/* ---- The whole --------------------------------------------------------------------------------------------------- */

static void begin(struct picture *picture)
{
  fprintf(picture->out,
          "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" font-family=\"system-ui, 'Segoe UI', "
          "Helvetica, Arial, sans-serif\">\n<style>\n"
          ".title { font-size: 26px; font-weight: 700; fill: #0f172a; } .about { font-size: 15px; fill: #475569; }\n"
          ".level { font-size: 17px; font-weight: 650; fill: #0f172a; } .plain { font-size: 15px; fill: #0f172a; }\n"
          ".quiet { font-size: 14px; fill: #475569; } .device { font-size: 18px; font-weight: 650; fill: #14532d; text-anchor: middle; }\n"
          ".small { font-size: 13px; fill: #166534; text-anchor: middle; } .more { font-size: 17px; font-weight: 650; fill: #334155; }\n"
          ".up { font-size: 15px; fill: #12507f; } .outward { font-size: 15px; fill: #8a3c08; }\n"
          ".right { text-anchor: end; font-weight: 600; } .halo { paint-order: stroke; stroke-width: 7px; }\n"
          "</style>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#f8fafc\"/>\n",
          picture->width_all, picture->height_all, picture->width_all, picture->height_all);
  text_at(picture, MARGIN, 40, "title", picture->profile->title);
  text_at(picture, MARGIN, 66, "about", picture->profile->about);
}

void fab_print_topology_svg(FILE *out, const struct fab_profile *profile, const struct fab_topology *topology, const struct fab_pair *pair)
{
  uint64_t size = here(topology, topology->level[0].size);
  struct picture picture = {.out = out, .profile = profile, .topology = topology, .shown = size > MOST_DEVICES ? MOST_DEVICES : (int)size};
  find_stages(&picture);
  lay_out(&picture);
  begin(&picture);
  for (int level = topology->level_count - 1; level >= 0; level--) draw_level(&picture, level);
  for (int network = UP; network <= OUT; network++)
    for (int level = 0; level < topology->level_count; level++)
      if (picture.stage[network][level] >= 0) draw_wires(&picture, network, level);
  for (int level = 0; level < topology->level_count; level++) draw_title(&picture, level);
  for (int network = UP; network <= OUT; network++)
    for (int level = 0; level < topology->level_count; level++)
      if (picture.stage[network][level] >= 0) draw_bar(&picture, network, level);
  draw_devices(&picture);
  draw_host(&picture);
  int x = picture.width_all - MARGIN - PANEL, y = draw_kinds(&picture, x, HEAD + 20);
  y = draw_numbers(&picture, x, y);
  if (pair->wanted) draw_ways(&picture, pair, x, y);
  fprintf(out, "</svg>\n");
}
