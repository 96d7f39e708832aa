/* A ladder as a self-contained page: the lanes as a drawing, both tables of the protocol, and a few lines of script that walk through the
 * steps (buttons, arrow keys, Home and End, or a click on a step) and light the cell that each step took. */
#include "coherence/ladder.h"

enum { LANE_WIDTH = 118, ROW = 30, TOP = 46, LEFT = 40, MOST_LANES = 48, DID_SIZE = 160 };

static int lane_x(const struct coh_lanes *lanes, int device)
{
  return LEFT + LANE_WIDTH / 2 + LANE_WIDTH * coh_lane_of(lanes, device);
}

static int step_y(int step)
{
  return TOP + ROW * step + ROW;
}

static const struct coh_controller *controller_at(const struct coh_ladder *ladder, const struct coh_ladder_step *step)
{
  return &ladder->protocol->controllers[step->input.target < 0 ? COH_DIRECTORY : COH_CACHE];
}

static void put_text(FILE *out, const char *text)
{
  for (; *text; text++) {
    if (*text == '<' || *text == '>' || *text == '&' || *text == '"' || *text == '\'' || *text == '\\') fprintf(out, "&#%d;", *text);
    else fputc(*text, out);
  }
}

static void put_name(FILE *out, int device)
{
  if (device < 0) fputs("home", out);
  else fprintf(out, "C%d", device);
}

/* ---- The drawing ------------------------------------------------------------------------------------------------- */

static void draw_lanes(FILE *out, const struct coh_lanes *lanes, int bottom)
{
  for (int lane = 0; lane < lanes->count; lane++) {
    int x = lane_x(lanes, lanes->device[lane]);
    fprintf(out, "<line class=\"lane\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/><text class=\"who\" x=\"%d\" y=\"20\">", x, TOP - 18, x,
            bottom, x);
    put_name(out, lanes->device[lane]);
    fputs("</text>\n", out);
  }
}

/* From the step that sent it to the step that received it; dashed when either lies outside of the run. */
static void draw_arrow(FILE *out, const struct coh_ladder *ladder, const struct coh_lanes *lanes, const struct coh_ladder_arrow *arrow)
{
  const struct coh_message *message = &arrow->message;
  if (coh_lane_of(lanes, message->source) < 0 || coh_lane_of(lanes, message->target) < 0) return;
  int y1 = arrow->sent < 0 ? TOP - 8 : step_y(arrow->sent) + 8,
      y2 = arrow->received < 0 ? step_y(ladder->step_count) : step_y(arrow->received);
  int x1 = lane_x(lanes, message->source), x2 = lane_x(lanes, message->target), side = x1 < x2 ? 24 : -24;
  int under_way = arrow->sent < 0 || arrow->received < 0;
  fprintf(
      out,
      "<g class=\"arrow%s\" data-sent=\"%d\" data-received=\"%d\"><line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" marker-end=\"url(#tip)\"/>",
      under_way ? " open" : "", arrow->sent, arrow->received, x1, y1, x2 - side, y2);
  fprintf(out, "<text x=\"%d\" y=\"%d\">", x1 + (x2 - side - x1) * 55 / 100, y1 + (y2 - y1) * 55 / 100 - 4);
  put_text(out, ladder->protocol->messages[message->type].name);
  if (message->acks > 0) fprintf(out, " +%d", message->acks);
  fputs("</text></g>\n", out);
}

static void draw_step(FILE *out, const struct coh_ladder *ladder, const struct coh_lanes *lanes, int number)
{
  const struct coh_ladder_step *step = &ladder->steps[number];
  int x = lane_x(lanes, step->input.target), y = step_y(number);
  bool access = step->input.type < COH_FIRST_MESSAGE;
  if (coh_lane_of(lanes, step->input.target) < 0) return;
  fprintf(out, "<g class=\"step%s\" data-step=\"%d\"><text class=\"number\" x=\"14\" y=\"%d\">%d</text>", step->note[0] ? " wrong" : "",
          number, y + 4, ladder->skipped + number + 1);
  if (access)
    fprintf(out, "<text class=\"access\" x=\"%d\" y=\"%d\">%s</text>", x, y - 12, ladder->protocol->messages[step->input.type].name);
  fprintf(out, "<rect x=\"%d\" y=\"%d\" width=\"48\" height=\"18\" rx=\"4\"/><text x=\"%d\" y=\"%d\">", x - 24, y - 9, x, y + 4);
  put_text(out, controller_at(ladder, step)->states[step->state].name);
  fputs("</text></g>\n", out);
}

static void draw(FILE *out, const struct coh_ladder *ladder, const struct coh_lanes *lanes)
{
  int width = LEFT + LANE_WIDTH * lanes->count, height = step_y(ladder->step_count) + ROW;
  fprintf(out,
          "<svg id=\"ladder\" width=\"%d\" height=\"%d\"><defs><marker id=\"tip\" orient=\"auto\" markerUnits=\"userSpaceOnUse\" "
          "markerWidth=\"9\" markerHeight=\"9\" refX=\"7\" "
          "refY=\"4\"><path d=\"M0 0L8 4L0 8z\" fill=\"#3b6ea5\"/></marker></defs>\n",
          width, height);
  draw_lanes(out, lanes, height - 8);
  for (int a = 0; a < ladder->arrow_count; a++) draw_arrow(out, ladder, lanes, &ladder->arrows[a]);
  for (int s = 0; s < ladder->step_count; s++) draw_step(out, ladder, lanes, s);
  fputs("</svg>\n", out);
}

/* ---- The steps, for the script ----------------------------------------------------------------------------------- */

static void put_step(FILE *out, const struct coh_ladder *ladder, int number)
{
  const struct coh_ladder_step *step = &ladder->steps[number];
  const struct coh_controller *controller = controller_at(ladder, step);
  char did[DID_SIZE];
  coh_ladder_did(ladder, step, did, sizeof did);
  if (step->event >= 0) fprintf(out, "{cell:\"%c-%d-%d\",say:\"<b>", step->input.target < 0 ? 'd' : 'c', step->from, step->event);
  else fputs("{cell:\"\",say:\"<b>", out);
  put_name(out, step->input.target);
  if (step->line) fprintf(out, "</b> (line %d)<b>", step->line);
  fputs("</b> in <b>", out);
  put_text(out, controller->states[step->from].name);
  fputs("</b>, ", out);
  put_text(out, step->event >= 0 ? controller->events[step->event].name : ladder->protocol->messages[step->input.type].name);
  if (step->about[0]) fputs(" (", out), put_text(out, step->about), fputs(")", out);
  if (step->input.source != step->input.target) fputs(" from ", out), put_name(out, step->input.source);
  fputs(": ", out);
  put_text(out, did[0] ? did : "nothing");
  fputs(", then <b>", out);
  put_text(out, controller->states[step->state].name);
  fputs("</b>", out);
  if (step->note[0]) fputs("<br><em>", out), put_text(out, step->note), fputs("</em>", out);
  fputs("\"},\n", out);
}

static const char page_style[] =
    "<style>\n"
    "#bar{position:sticky;top:0;background:#fff;padding:.5em 0;border-bottom:1px solid #c5ccd6;z-index:2}\n"
    "#bar button{font:inherit;min-width:2.6em}#say{margin-left:1em}#verdict.wrong,em{color:#b3261e;font-style:normal}\n"
    "#page{display:flex;gap:1.5em;align-items:flex-start;margin-top:.6em}#left{flex:none;max-width:62vw;max-height:86vh;overflow:auto}\n"
    "#right{flex:1;min-width:0;overflow:auto;max-height:86vh;scroll-padding:2.5em 1em 1em 5em}\n"
    ".lane{stroke:#c5ccd6}.who{font-weight:700}svg text{text-anchor:middle}.step{cursor:pointer}\n"
    ".step rect{fill:#fff;stroke:#55657a}.number{fill:#8a94a3}.access{fill:#7a4b00}\n"
    ".arrow line{stroke:#3b6ea5}.arrow text{fill:#3b6ea5}.arrow.open line{stroke-dasharray:4 3}\n"
    ".later{opacity:.13}.now rect{fill:#ffd75e;stroke:#d08900;stroke-width:2}.now line{stroke-width:2.5}.wrong rect{stroke:#b3261e}\n"
    "</style>\n";

static const char page_script[] =
    "let now=0;const bar=document.getElementById('say'),count=document.getElementById('count');\n"
    "function show(n){now=Math.max(0,Math.min(steps.length-1,n));\n"
    " document.querySelectorAll('.step').forEach(g=>{const "
    "s=+g.dataset.step;g.classList.toggle('later',s>now);g.classList.toggle('now',s==now)});\n"
    " document.querySelectorAll('.arrow').forEach(g=>{const s=+g.dataset.sent,r=+g.dataset.received;\n"
    "  g.classList.toggle('later',s>now);g.classList.toggle('now',s==now||r==now)});\n"
    " document.querySelectorAll('.lit').forEach(c=>c.classList.remove('lit'));\n"
    " const step=steps[now];if(!step)return;bar.innerHTML=step.say;count.textContent=(now+1+skipped)+' of '+(steps.length+skipped);\n"
    " const cell=document.getElementById(step.cell),g=document.querySelector('.step.now rect');\n"
    " if(cell){cell.classList.add('lit');cell.scrollIntoView({block:'nearest',inline:'nearest'})}\n"
    " if(g)g.scrollIntoView({block:'nearest'})}\n"
    "document.addEventListener('keydown',e=>{const to={ArrowRight:now+1,ArrowDown:now+1,' ':now+1,ArrowLeft:now-1,ArrowUp:now-1,Home:0,\n"
    " End:steps.length-1}[e.key];if(to!==undefined){show(to);e.preventDefault()}});\n"
    "document.querySelectorAll('.step').forEach(g=>g.addEventListener('click',()=>show(+g.dataset.step)));\n"
    "const at=location.hash.match(/^#(\\d+)$/);show(at?at[1]-1-skipped:0);\n";

void coh_ladder_html(FILE *out, const struct coh_ladder *ladder)
{
  struct coh_lanes lanes;
  coh_ladder_lanes(ladder, MOST_LANES, &lanes);
  fputs("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>", out);
  put_text(out, ladder->protocol->name);
  fputs("</title>\n", out);
  coh_print_html_style(out);
  fprintf(out, "%s<h1>", page_style);
  put_text(out, ladder->title);
  fprintf(out, "</h1><div id=\"verdict\"%s>", ladder->is_calm ? "" : " class=\"wrong\"");
  put_text(out, ladder->verdict);
  fputs("</div>\n<div id=\"bar\"><button onclick=\"show(0)\">|&lt;</button> <button onclick=\"show(now-1)\">&lt;</button> "
        "<button onclick=\"show(now+1)\">&gt;</button> <button onclick=\"show(steps.length-1)\">&gt;|</button> "
        "<span id=\"count\"></span><span id=\"say\"></span></div>\n<div id=\"page\"><div id=\"left\">\n",
        out);
  draw(out, ladder, &lanes);
  fputs("</div><div id=\"right\"><h2>The cache</h2>\n", out);
  coh_print_html_table(out, ladder->protocol, COH_CACHE);
  fputs("<h2>The directory</h2>\n", out);
  coh_print_html_table(out, ladder->protocol, COH_DIRECTORY);
  fputs("</div></div>\n<script>\nconst steps=[\n", out);
  for (int s = 0; s < ladder->step_count; s++) put_step(out, ladder, s);
  fprintf(out, "];\nconst skipped=%d;\n%s</script></html>\n", ladder->skipped, page_script);
}
