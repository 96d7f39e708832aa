/* Prints a protocol: the table and the state graph of a controller, as text, as a self-contained HTML page, or as a graph for dot.
 * Everything is read from the compiled tables, so what is printed is what runs. */
#include <math.h>
#include <string.h>

#include "coherence/protocol.h"

enum { MAX_COLUMNS = 160, CELL_TEXT = 160, EDGE_TEXT = 320 };

static const struct coh_controller *controller_of(const struct coh_protocol *protocol, enum coh_role role)
{
  return &protocol->controllers[role];
}

static const char *kind_name(enum coh_role role, const struct coh_state *state)
{
  return state->stable ? "stable" : role == COH_CACHE ? "transient" : "busy";
}

static void event_text(const struct coh_protocol *protocol, const struct coh_event *event, char *text, size_t size)
{
  size_t used = 0;
  for (int m = 0; m < protocol->message_count; m++)
    if (event->inputs >> m & 1) used += (size_t)snprintf(text + used, size - used, "%s%s", used ? "," : "", protocol->messages[m].name);
  for (int bit = 0; bit < 3; bit++)
    if (event->facts & (1 << bit))
      used += (size_t)snprintf(text + used, size - used, " %s", coh_fact_words[bit][event->facts_true >> bit & 1]);
}

/* The events that lead from one state to another, "" when there are none. */
static void edge_text(const struct coh_controller *controller, int from, int to, char *text, size_t size)
{
  size_t used = 0;
  text[0] = 0;
  for (int e = 0; e < controller->event_count && used < size; e++)
    if (controller->cells[from][e].kind == COH_CELL_GO && controller->cells[from][e].next == to)
      used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", controller->events[e].name);
}

/* ---- Text -------------------------------------------------------------------------------------------------------- */

static void text_legend(FILE *out, const struct coh_protocol *protocol, enum coh_role role)
{
  const struct coh_controller *controller = controller_of(protocol, role);
  char text[CELL_TEXT];
  fprintf(out, "States of the %s\n", coh_role_names[role]);
  for (int s = 0; s < controller->state_count; s++) {
    const struct coh_state *state = &controller->states[s];
    fprintf(out, "  %-10s %-10s %-9s  %s\n", state->name, role == COH_CACHE ? coh_right_names[state->right] : "", kind_name(role, state),
            state->meaning);
  }
  fprintf(out, "\nEvents\n");
  for (int e = 0; e < controller->event_count; e++) {
    event_text(protocol, &controller->events[e], text, sizeof text);
    fprintf(out, "  %-14s %-28s  %s\n", controller->events[e].name, text, controller->events[e].meaning);
  }
  fprintf(out, "\nActions\n");
  for (int a = 0; a < controller->action_count; a++) {
    const struct coh_action *action = &controller->actions[a];
    snprintf(text, sizeof text, "send %s to %s", protocol->messages[action->message].name, coh_target_names[action->to]);
    fprintf(out, "  %-14s %s\n", action->name, action->verb == COH_DO_SEND ? text : action->meaning);
  }
}

/* Row `row` of a cell's text: an action, then the next state; false below the last. */
static bool cell_row(const struct coh_controller *controller, int state, int event, int row, char *text, size_t size)
{
  const struct coh_cell *cell = &controller->cells[state][event];
  text[0] = 0;
  if (cell->kind == COH_CELL_STALL && row == 0) {
    snprintf(text, size, "stall");
    return true;
  }
  if (cell->kind != COH_CELL_GO) return false;
  if (row < cell->count) {
    snprintf(text, size, "%s", controller->actions[cell->actions[row]].name);
    return true;
  }
  if (row > cell->count) return false;
  bool moves = cell->next != state;
  if (moves) snprintf(text, size, "-> %s", controller->states[cell->next].name);
  if (!moves && !cell->count) snprintf(text, size, "-");
  return moves || !cell->count;
}

static int column_width(const struct coh_controller *controller, int event)
{
  char text[CELL_TEXT];
  size_t width = strlen(controller->events[event].name);
  for (int s = 0; s < controller->state_count; s++)
    for (int row = 0; cell_row(controller, s, event, row, text, sizeof text); row++)
      if (strlen(text) > width) width = strlen(text);
  return (int)width;
}

static void text_state_rows(FILE *out, const struct coh_controller *controller, int state, int first, int end, const int *widths)
{
  char text[CELL_TEXT];
  for (int row = 0, more = 1; more; row++) {
    char line[MAX_COLUMNS * 4];
    size_t used = (size_t)snprintf(line, sizeof line, "%-8s", row ? "" : controller->states[state].name);
    more = 0;
    for (int e = first; e < end; e++) {
      more |= cell_row(controller, state, e, row, text, sizeof text);
      used += (size_t)snprintf(line + used, sizeof line - used, "| %-*s ", widths[e], text);
    }
    if (more || row == 0) fprintf(out, "%s\n", line);
  }
}

/* As many columns as fit, then the next ones below. */
static void text_table(FILE *out, const struct coh_controller *controller)
{
  int widths[COH_MAX_EVENTS] = {0}, first = 0;
  for (int e = 0; e < controller->event_count; e++) widths[e] = column_width(controller, e);
  while (first < controller->event_count) {
    int end = first, columns = 8;
    while (end < controller->event_count && (end == first || columns + widths[end] + 3 <= MAX_COLUMNS)) columns += widths[end++] + 3;
    fprintf(out, "\n%-8s", "");
    for (int e = first; e < end; e++) fprintf(out, "| %-*s ", widths[e], controller->events[e].name);
    fputc('\n', out);
    for (int s = 0; s < controller->state_count; s++) {
      for (int i = 0; i < columns; i++) fputc('-', out);
      fputc('\n', out);
      text_state_rows(out, controller, s, first, end, widths);
    }
    first = end;
  }
}

static void text_graph(FILE *out, const struct coh_controller *controller)
{
  char events[EDGE_TEXT];
  fprintf(out, "\nState graph\n");
  for (int s = 0; s < controller->state_count; s++)
    for (int next = 0; next < controller->state_count; next++) {
      edge_text(controller, s, next, events, sizeof events);
      if (events[0] && next != s) fprintf(out, "  %-8s -> %-8s  %s\n", controller->states[s].name, controller->states[next].name, events);
    }
}

static void text_print(FILE *out, const struct coh_protocol *protocol, enum coh_role role)
{
  fprintf(out, "%s, the %s: %s\n\n", protocol->name, coh_role_names[role], protocol->meaning);
  text_legend(out, protocol, role);
  text_table(out, controller_of(protocol, role));
  text_graph(out, controller_of(protocol, role));
  fputc('\n', out);
}

/* ---- HTML -------------------------------------------------------------------------------------------------------- */

static void html_text(FILE *out, const char *text)
{
  for (; *text; text++) {
    if (*text == '<') fputs("&lt;", out);
    else if (*text == '&') fputs("&amp;", out);
    else if (*text == '"') fputs("&quot;", out);
    else fputc(*text, out);
  }
}

void coh_print_html_style(FILE *out)
{
  fputs("<style>\n"
        "body{font:14px/1.35 system-ui,sans-serif;margin:1.2em;color:#1c2430;background:#fff}\n"
        "h1{font-size:1.35em;margin:.2em 0}h2{font-size:1.1em;margin:1.2em 0 .4em}\n"
        "table.coh{border-collapse:collapse;font:clamp(11.5px,.85vw,16px)/1.3 ui-monospace,monospace}\n"
        ".coh th,.coh td{border:1px solid #c5ccd6;padding:2px 5px;vertical-align:top;text-align:left}\n"
        ".coh th{background:#eef1f5;white-space:nowrap}.coh thead th{position:sticky;top:0;z-index:1}.coh "
        "tr>th:first-child{position:sticky;left:0}\n"
        ".coh td.stall{color:#8a6d1a;background:#fdf8e6}.coh td.empty{background:#f4f5f7}.coh tr.stable>th{background:#dfe9f7}\n"
        ".coh b{color:#0b5cad;font-weight:600;white-space:nowrap}.coh td.lit{background:#ffd75e;outline:2px solid #d08900}\n"
        "svg text{font:13px ui-monospace,monospace}\n"
        "</style>\n",
        out);
}

static void html_cell(FILE *out, const struct coh_controller *controller, enum coh_role role, int state, int event)
{
  const struct coh_cell *cell = &controller->cells[state][event];
  char text[CELL_TEXT];
  const char *classes[] = {"empty", "stall", "go"};
  coh_cell_text(controller, cell, text, sizeof text);
  fprintf(out, "<td id=\"%c-%d-%d\" class=\"%s\">", coh_role_names[role][0], state, event, classes[cell->kind]);
  html_text(out, text);
  if (cell->kind == COH_CELL_GO && cell->next != state) {
    fputs(" <b>&rarr; ", out);
    html_text(out, controller->states[cell->next].name);
    fputs("</b>", out);
  }
  fputs(cell->kind == COH_CELL_GO && !cell->count && cell->next == state ? "&ndash;</td>" : "</td>", out);
}

static void html_heading(FILE *out, const char *name, const char *meaning)
{
  fputs("<th title=\"", out);
  html_text(out, meaning);
  fputs("\">", out);
  html_text(out, name);
  fputs("</th>", out);
}

void coh_print_html_table(FILE *out, const struct coh_protocol *protocol, enum coh_role role)
{
  const struct coh_controller *controller = controller_of(protocol, role);
  fputs("<table class=\"coh\"><thead><tr><th></th>", out);
  for (int e = 0; e < controller->event_count; e++) html_heading(out, controller->events[e].name, controller->events[e].meaning);
  fputs("</tr></thead>\n", out);
  for (int s = 0; s < controller->state_count; s++) {
    fprintf(out, "<tr class=\"%s\">", kind_name(role, &controller->states[s]));
    html_heading(out, controller->states[s].name, controller->states[s].meaning);
    for (int e = 0; e < controller->event_count; e++) html_cell(out, controller, role, s, e);
    fputs("</tr>\n", out);
  }
  fputs("</table>\n", out);
}

/* The states lie on a circle; an edge is bent towards its middle, more so the longer it is. */
static void html_edge(FILE *out, const struct coh_controller *controller, int from, int to)
{
  const double centre = 260, radius = 205;
  char events[EDGE_TEXT];
  edge_text(controller, from, to, events, sizeof events);
  if (!events[0] || from == to) return;
  double a = 2 * M_PI * from / controller->state_count, b = 2 * M_PI * to / controller->state_count;
  double x1 = centre + radius * sin(a), y1 = centre - radius * cos(a), x2 = centre + radius * sin(b), y2 = centre - radius * cos(b);
  double length = hypot(x2 - x1, y2 - y1), ux = (x2 - x1) / length, uy = (y2 - y1) / length;
  double mx = (x1 + x2) / 2 - uy * length * 0.14, my = (y1 + y2) / 2 + ux * length * 0.14;
  fprintf(out, "<path d=\"M%.0f %.0fQ%.0f %.0f %.0f %.0f\" marker-end=\"url(#head)\"><title>%s &rarr; %s: ", x1 + ux * 24, y1 + uy * 24, mx,
          my, x2 - ux * 27, y2 - uy * 27, controller->states[from].name, controller->states[to].name);
  html_text(out, events);
  fputs("</title></path>\n", out);
}

static void html_graph(FILE *out, const struct coh_controller *controller)
{
  fputs("<svg width=\"520\" height=\"520\"><defs><marker id=\"head\" orient=\"auto\" markerWidth=\"7\" markerHeight=\"7\" refX=\"6\" "
        "refY=\"3.5\">"
        "<path d=\"M0 0L7 3.5L0 7z\" fill=\"#55657a\"/></marker></defs>\n<g fill=\"none\" stroke=\"#55657a\">\n",
        out);
  for (int s = 0; s < controller->state_count; s++)
    for (int next = 0; next < controller->state_count; next++) html_edge(out, controller, s, next);
  fputs("</g><g text-anchor=\"middle\">\n", out);
  for (int s = 0; s < controller->state_count; s++) {
    double angle = 2 * M_PI * s / controller->state_count, x = 260 + 205 * sin(angle), y = 260 - 205 * cos(angle);
    fprintf(out, "<circle cx=\"%.0f\" cy=\"%.0f\" r=\"23\" fill=\"%s\" stroke=\"#55657a\"/><text x=\"%.0f\" y=\"%.0f\">%s</text>\n", x, y,
            controller->states[s].stable ? "#dfe9f7" : "#fff", x, y + 4, controller->states[s].name);
  }
  fputs("</g></svg>\n", out);
}

static void html_print(FILE *out, const struct coh_protocol *protocol, enum coh_role only)
{
  fprintf(out, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>%s</title>\n", protocol->name);
  coh_print_html_style(out);
  fprintf(out, "<h1>%s</h1><p>", protocol->name);
  html_text(out, protocol->meaning);
  fputs("</p>\n", out);
  for (int role = 0; role < COH_ROLES; role++) {
    if (only != COH_ROLES && (int)only != role) continue;
    fprintf(out, "<h2>The %s</h2>\n", coh_role_names[role]);
    coh_print_html_table(out, protocol, (enum coh_role)role);
    html_graph(out, controller_of(protocol, (enum coh_role)role));
  }
  fputs("</html>\n", out);
}

/* ---- dot --------------------------------------------------------------------------------------------------------- */

static void dot_controller(FILE *out, const struct coh_protocol *protocol, enum coh_role role)
{
  const struct coh_controller *controller = controller_of(protocol, role);
  char events[EDGE_TEXT];
  fprintf(out, "  subgraph cluster_%s {\n    label=\"%s, the %s\";\n", coh_role_names[role], protocol->name, coh_role_names[role]);
  for (int s = 0; s < controller->state_count; s++)
    fprintf(out, "    \"%c %s\" [label=\"%s\", shape=%s];\n", coh_role_names[role][0], controller->states[s].name,
            controller->states[s].name, controller->states[s].stable ? "doublecircle" : "ellipse");
  for (int s = 0; s < controller->state_count; s++)
    for (int next = 0; next < controller->state_count; next++) {
      edge_text(controller, s, next, events, sizeof events);
      if (!events[0] || next == s) continue;
      fprintf(out, "    \"%c %s\" -> \"%c %s\" [label=\"%s\"];\n", coh_role_names[role][0], controller->states[s].name,
              coh_role_names[role][0], controller->states[next].name, events);
    }
  fputs("  }\n", out);
}

void coh_print(FILE *out, const struct coh_protocol *protocol, enum coh_role role, enum coh_format format)
{
  if (format == COH_FORMAT_HTML) {
    html_print(out, protocol, role);
    return;
  }
  if (format == COH_FORMAT_DOT) fprintf(out, "digraph \"%s\" {\n", protocol->name);
  for (int r = 0; r < COH_ROLES; r++)
    if (role == COH_ROLES || (int)role == r) (format == COH_FORMAT_DOT ? dot_controller : text_print)(out, protocol, (enum coh_role)r);
  if (format == COH_FORMAT_DOT) fputs("}\n", out);
}
