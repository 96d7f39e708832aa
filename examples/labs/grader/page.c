/* Pages: see page.h. Bars and curves are drawn as SVG here; the script only walks from item to item. Colours are told apart without
 * colour vision, too (Okabe and Ito, 2008). */
#include <math.h>
#include <string.h>

#include "page.h"

enum { COLOURS = 7, WIDTH = 1040, HEIGHT = 420, LEFT = 90, RIGHT = 30, TOP = 30, BOTTOM = 72, TICKS = 5, LEGEND = 190, LINE = 128 };

static const char *const colours[COLOURS] = {"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7a7a00"};

const char *page_colour(int number)
{
  return colours[number % COLOURS];
}

static const char style[] =
    "<style>\n"
    "body{font:18px/1.4 system-ui,sans-serif;margin:1.2em auto;max-width:1100px;padding:0 1em;color:#1c2430;background:#fff}\n"
    "h1{font-size:1.5em;margin:.2em 0}h2{font-size:1.15em;margin:1.2em 0 .3em}p{margin:.3em 0 .8em}\n"
    "#bar{position:sticky;top:0;background:#fff;padding:.4em 0;border-bottom:1px solid #c5ccd6;z-index:2;min-height:2.2em}\n"
    "#bar button{font:inherit;min-width:2.6em}#say{margin-left:1em}#count{margin-left:.6em;color:#55657a}\n"
    "svg{max-width:100%;height:auto;display:block}svg text{font:15px system-ui,sans-serif;fill:#1c2430}svg .axis{stroke:#55657a}\n"
    "svg .label{font-weight:600;paint-order:stroke;stroke:#fff;stroke-width:4px}\n"
    "svg .grid{stroke:#e3e7ec}.item{cursor:pointer}.item.now{stroke:#000;stroke-width:3}\n"
    "table{border-collapse:collapse}td,th{border:1px solid #c5ccd6;padding:.2em .6em;text-align:left;vertical-align:top}\n"
    "th{background:#eef1f5}td.item.now{outline:3px solid #000;outline-offset:-3px}\n"
    "svg .alarm{fill:#b3261e;font-weight:700}tr.item.now td{background:#fff3c4}\n"
    "</style>\n";

static const char script[] =
    "<script>\n"
    "const items=[...document.querySelectorAll('.item')],say=document.getElementById('say'),count=document.getElementById('count');\n"
    "let now=-1;\n"
    "function show(n){if(!items.length)return;if(now>=0)items[now].classList.remove('now');now=Math.max(0,Math.min(items.length-1,n));\n"
    " const item=items[now];item.classList.add('now');say.textContent=item.dataset.say;count.textContent=(now+1)+' of '+items.length;\n"
    " item.scrollIntoView({block:'nearest'})}\n"
    "document.addEventListener('keydown',e=>{const to={ArrowRight:now+1,ArrowDown:now+1,' ':now+1,ArrowLeft:now-1,ArrowUp:now-1,Home:0,\n"
    " End:items.length-1}[e.key];if(to!==undefined){show(to);e.preventDefault()}});\n"
    "items.forEach((item,i)=>item.addEventListener('click',()=>show(i)));show(0);window.scrollTo(0,0);\n"
    "</script>\n";

void page_text(FILE *out, const char *text)
{
  for (; *text; text++) {
    if (*text == '<') fputs("&lt;", out);
    else if (*text == '&') fputs("&amp;", out);
    else if (*text == '"') fputs("&quot;", out);
    else fputc(*text, out);
  }
}

void page_begin(FILE *out, const char *title, const char *lead)
{
  fputs("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><link rel=\"icon\" href=\"data:,\"><title>", out);
  page_text(out, title);
  fprintf(out, "</title>\n%s<h1>", style);
  page_text(out, title);
  fputs("</h1>\n<p>", out);
  page_text(out, lead);
  fputs("</p>\n<div id=\"bar\"><button onclick=\"show(now-1)\">&lt;</button> <button onclick=\"show(now+1)\">&gt;</button>"
        "<span id=\"count\"></span><span id=\"say\"></span></div>\n",
        out);
}

void page_end(FILE *out)
{
  fprintf(out, "%s</html>\n", script);
  fclose(out);
}

void page_heading(FILE *out, const char *text)
{
  fputs("<h2>", out);
  page_text(out, text);
  fputs("</h2>\n", out);
}

/* ---- Axes -------------------------------------------------------------------------------------------------------- */

/* Values from `least` to `most` lie between two places in pixels. */
struct axis {
  double least, most, from, to;
  bool is_log;
};

static double place(const struct axis *axis, double value)
{
  double least = axis->is_log ? log(axis->least) : axis->least, most = axis->is_log ? log(axis->most) : axis->most;
  double at = axis->is_log ? log(value) : value;
  return axis->from + (axis->to - axis->from) * (most > least ? (at - least) / (most - least) : 0.5);
}

/* 1, 2 or 5 times a power of ten. */
static double round_step(double step)
{
  double power = pow(10, floor(log10(step))), part = step / power;
  return power * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
}

/* The value of the tick after `value`; the first for value < least. A logarithmic axis ticks by twos when it is short, else by tens. */
static double next_tick(const struct axis *axis, double value)
{
  if (axis->is_log) {
    double base = axis->most / axis->least > 1000 ? 10 : 2;
    return value < axis->least ? pow(base, ceil(log(axis->least) / log(base) - 1e-9)) : value * base;
  }
  double step = round_step((axis->most - axis->least) / TICKS);
  return value < axis->least ? ceil(axis->least / step - 1e-9) * step : value + step;
}

static void put_number(FILE *out, double value)
{
  if (fabs(value) < 1e-9) value = 0; /* no -0 */
  if (value >= 1e6) fprintf(out, "%gM", value / 1e6);
  else if (value >= 1e4) fprintf(out, "%gk", value / 1e3);
  else fprintf(out, "%.4g", value);
}

static void draw_y_axis(FILE *out, const struct axis *axis, int right)
{
  for (double tick = next_tick(axis, axis->least - 1); tick <= axis->most * (1 + 1e-9); tick = next_tick(axis, tick)) {
    double y = place(axis, tick);
    fprintf(out, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", LEFT,
            right, y, y, LEFT - 8, y + 5);
    put_number(out, tick);
    fputs("</text>\n", out);
  }
  fprintf(out, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", LEFT, LEFT, axis->from, axis->to);
}

static void draw_x_axis(FILE *out, const struct axis *axis, int y)
{
  for (double tick = next_tick(axis, axis->least - 1); tick <= axis->most * (1 + 1e-9); tick = next_tick(axis, tick)) {
    fprintf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">", place(axis, tick), y + 22);
    put_number(out, tick);
    fputs("</text>\n", out);
  }
  fprintf(out, "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n", axis->from, axis->to, y, y);
}

static void put_label(FILE *out, double x, double y, const char *anchor, const char *text)
{
  fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
  page_text(out, text);
  fputs("</text>\n", out);
}

/* One line below the other, broken at "; ". */
static void put_lines(FILE *out, double x, double y, const char *text)
{
  char part[LINE];
  for (const char *end; *text; text = *end ? end + 1 : end, y += 18) {
    while (*text == ' ') text++;
    end = text + strcspn(text, ";");
    snprintf(part, sizeof part, "%.*s", (int)(end - text), text);
    put_label(out, x, y, "middle", part);
  }
}

static void draw_legend(FILE *out, int number, const char *name)
{
  int y = TOP + 10 + number * 26, x = WIDTH - LEGEND + 10;
  fprintf(out, "<rect x=\"%d\" y=\"%d\" width=\"16\" height=\"16\" fill=\"%s\"/>", x, y - 13, page_colour(number));
  put_label(out, x + 24, y, "start", name);
}

static void begin_drawing(FILE *out, const char *title)
{
  page_heading(out, title);
  fprintf(out, "<svg viewBox=\"0 0 %d %d\" width=\"%d\">\n", WIDTH, HEIGHT, WIDTH);
}

/* ---- Bars -------------------------------------------------------------------------------------------------------- */

static void draw_bar(FILE *out, const struct page_bars *bars, const struct axis *y, int group, int series)
{
  double slot = (double)(WIDTH - LEGEND - LEFT) / bars->group_count, width = slot * 0.8 / bars->series_count;
  int number = group * bars->series_count + series;
  double value = bars->values[number], x = LEFT + slot * group + slot * 0.1 + width * series, top = place(y, value);
  bool alarms = bars->alarming && bars->alarming[number];
  const char *colour = alarms ? "#b3261e" : page_colour(series);
  fprintf(out, "<rect class=\"item\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\" data-value=\"%g\" data-say=\"", x,
          top, width * 0.92, fmax(y->from - top, 1), colour, value);
  page_text(out, bars->groups[group]);
  fputs(", ", out);
  page_text(out, bars->series[series]);
  fprintf(out, ": %g %s\"/>\n", value, bars->unit);
  if (width < 22) return;
  fprintf(out, "<text%s x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", alarms ? " class=\"alarm\"" : "", x + width * 0.46, top - 5);
  put_number(out, value);
  fputs("</text>\n", out);
}

void page_bars(FILE *out, const struct page_bars *bars)
{
  struct axis y = {.most = 1, .from = HEIGHT - BOTTOM, .to = TOP};
  double slot = (double)(WIDTH - LEGEND - LEFT) / bars->group_count;
  for (int i = 0; i < bars->group_count * bars->series_count; i++) y.most = fmax(y.most, bars->values[i]);
  begin_drawing(out, bars->title);
  draw_y_axis(out, &y, WIDTH - LEGEND);
  for (int g = 0; g < bars->group_count; g++) {
    for (int s = 0; s < bars->series_count; s++) draw_bar(out, bars, &y, g, s);
    put_lines(out, LEFT + slot * (g + 0.5), HEIGHT - BOTTOM + 20, bars->groups[g]);
  }
  fprintf(out, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n", LEFT, WIDTH - LEGEND, HEIGHT - BOTTOM, HEIGHT - BOTTOM);
  put_label(out, LEFT - 60, TOP - 10, "start", bars->unit);
  for (int s = 0; bars->series_count > 1 && s < bars->series_count; s++) draw_legend(out, s, bars->series[s]);
  fputs("</svg>\n", out);
}

/* ---- Curves ------------------------------------------------------------------------------------------------------ */

static void reach(struct axis *axis, double value, bool *any)
{
  if (!*any || value < axis->least) axis->least = value;
  if (!*any || value > axis->most) axis->most = value;
  *any = true;
}

static void draw_curve(FILE *out, const struct page_plot *plot, int number, const struct axis *x, const struct axis *y)
{
  const struct page_curve *curve = &plot->curves[number];
  const char *colour = page_colour(number);
  fprintf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"3\" points=\"", colour);
  for (int i = 0; i < curve->count; i++) fprintf(out, "%.1f,%.1f ", place(x, curve->x[i]), place(y, curve->y[i]));
  fputs("\"/>\n", out);
  for (int i = 0; i < curve->count; i++) {
    fprintf(out, "<circle class=\"item\" cx=\"%.1f\" cy=\"%.1f\" r=\"6\" fill=\"%s\" data-value=\"%g\" data-say=\"", place(x, curve->x[i]),
            place(y, curve->y[i]), colour, curve->y[i]);
    page_text(out, curve->name);
    fprintf(out, ": %g ", curve->y[i]);
    page_text(out, plot->y_label);
    fprintf(out, " at %g ", curve->x[i]);
    page_text(out, plot->x_label);
    fputs("\"/>\n", out);
  }
  draw_legend(out, number, curve->name);
}

void page_plot(FILE *out, const struct page_plot *plot)
{
  struct axis x = {.from = LEFT, .to = WIDTH - LEGEND - RIGHT, .is_log = plot->x_log};
  struct axis y = {.from = HEIGHT - BOTTOM, .to = TOP, .is_log = plot->y_log};
  bool any_x = false, any_y = false;
  for (int c = 0; c < plot->curve_count; c++)
    for (int i = 0; i < plot->curves[c].count; i++) {
      reach(&x, plot->curves[c].x[i], &any_x);
      reach(&y, plot->curves[c].y[i], &any_y);
    }
  if (!plot->y_log && y.least > 0) y.least = 0;
  if (y.most <= y.least) y.most = y.least + 1;
  begin_drawing(out, plot->title);
  draw_y_axis(out, &y, WIDTH - LEGEND - RIGHT);
  draw_x_axis(out, &x, HEIGHT - BOTTOM);
  for (int c = 0; c < plot->curve_count; c++) draw_curve(out, plot, c, &x, &y);
  put_label(out, LEFT - 80, TOP - 10, "start", plot->y_label);
  put_label(out, (LEFT + WIDTH - LEGEND) / 2.0, HEIGHT - 22, "middle", plot->x_label);
  fputs("</svg>\n", out);
}
