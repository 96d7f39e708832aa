/* The page: the wall in a sentence, figures, targets, the cache of keys and values, programs and machines on paper, the host, every row, and how
 * to read it all.
 * One file without references to anything outside of it; written beside the old one and renamed, so that no reader sees half a page. */
#include "bench/report.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/harness.h"

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, "
    "initial-scale=1\">\n"
    "<title>libuma: the communication wall</title>\n<style>\n"
    ":root { color-scheme: light; }\n"
    "body { margin: 0; background: #f8fafc; color: #0f172a; font: 18px/1.5 system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, "
    "sans-serif; }\n"
    "main { max-width: 1480px; margin: 0 auto; padding: 24px clamp(14px, 3vw, 48px) 64px; }\n"
    "h1 { font-size: clamp(26px, 3vw, 40px); margin: 12px 0 4px; } h2 { font-size: clamp(22px, 2.1vw, 30px); margin: 48px 0 14px; }\n"
    ".wall { font-size: clamp(22px, 2.4vw, 34px); line-height: 1.35; background: #fff; border-left: 8px solid #c1121f; border-radius: 8px;"
    " padding: 20px 26px; margin: 18px 0; box-shadow: 0 1px 4px #0f172a1f; }\n"
    ".note { color: #475569; } .grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 560px), 1fr)); gap: 20px; "
    "}\n"
    "figure { margin: 0; background: #fff; border-radius: 10px; padding: 14px 16px; box-shadow: 0 1px 4px #0f172a1f; }\n"
    "figcaption { color: #475569; margin-bottom: 6px; } figcaption b { color: #0f172a; display: block; font-size: 20px; }\n"
    "figure svg { width: 100%; height: auto; display: block; } .bars { grid-column: 1 / -1; overflow-x: auto; } .bars svg { min-width: "
    "620px; }\n"
    ".key { margin: 4px 0 8px; font-size: 16px; } .key span { white-space: nowrap; margin-right: 20px; }\n"
    ".key i { display: inline-block; width: 28px; margin-right: 8px; vertical-align: middle; }\n"
    ".scroll { overflow-x: auto; background: #fff; border-radius: 10px; box-shadow: 0 1px 4px #0f172a1f; }\n"
    "table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }\n"
    "th, td { text-align: left; padding: 7px 14px; border-bottom: 1px solid #e2e8f0; vertical-align: top; } thead th { background: "
    "#eef2f7; }\n"
    "td.n, th.n { text-align: right; white-space: nowrap; } .rows { font-size: 15px; } .rows td, .rows th { padding: 3px 10px; "
    "white-space: nowrap; }\n"
    ".verdict { font-weight: 600; white-space: nowrap; } .reached { color: #0b7a53; } .missed { color: #c1121f; } .none { color: #64748b; "
    "}\n"
    "summary { cursor: pointer; font-size: 20px; padding: 8px 0; } li { margin: 6px 0; }\n"
    "</style>\n</head>\n<body>\n<main>\n<h1>The communication wall</h1>\n"
    "<p class=\"note\">The same work on emulated devices as one supernode, whose memories share one address space, and as stacked servers, "
    "which exchange "
    "messages. Measured by <code>uma bench</code>.</p>\n";

static const char how_to_read[] =
    "<h2>How to read this</h2>\n<ul>\n"
    "<li><b>Supernode</b>: all devices are in one coherence domain and reach each other's memory by load and store. <b>Stacked</b>: two "
    "servers with half of the "
    "devices each; between them everything is a message through TCP sockets on this host (io_uring), staged through bounce buffers.</li>\n"
    "<li><b>Paths.</b> direct: the processor's load and store. rma: uma_get and uma_put. copy: uma_copy inside a domain. message: sent "
    "between devices. "
    "atomic: uma_fetch_xor. line: uma_ld, uma_st and atomics through coherent caches of lines (MESI); msi, mesi, moesi, mesif: the same by "
    "protocol. raw: the same without this library, on a plain shared mapping, by memcpy, or over a plain TCP connection. mpi, "
    "oshmem: Open MPI "
    "and its OpenSHMEM.</li>\n"
    "<li><b>Clock.</b> measured: this host really took that long. modelled: what the machine named in the row would take, by its "
    "profile; so are programs (program.*), which run in the mode that the machine has, and have no path.</li>\n"
    "<li><b>Median, least, most.</b> Each of the n samples is the mean of a stretch of a millisecond or more. What is compared ran in "
    "turn, A B A B, "
    "on pinned cores. On a virtual machine the way of a line between two cores can change from one minute to the next (the rows host.line "
    "show it "
    "before and after the run): trust ratios within one run more than times.</li>\n"
    "<li><b>bytes</b> is the size of one operation; of a table or chain its whole size; of a collective a device's larger buffer. Time of "
    "a message is half "
    "a round trip; rates of contended cases are those of all devices together.</li>\n"
    "</ul>\n";

void bench_html(FILE *html, const char *text)
{
  for (; *text; text++) switch (*text) {
    case '<': fputs("&lt;", html); break;
    case '>': fputs("&gt;", html); break;
    case '&': fputs("&amp;", html); break;
    case '"': fputs("&quot;", html); break;
    default: fputc(*text, html);
    }
}

static void write_wall(FILE *html, const struct bench_rows *rows)
{
  char sentence[600];
  if (!bench_wall_sentence(rows, sentence, sizeof sentence))
    snprintf(sentence, sizeof sentence, "The rows for the wall were not measured: run transfer.read, transfer.copy and transfer.pingpong.");
  fprintf(html, "<p class=\"wall\">");
  bench_html(html, sentence);
  fprintf(html, "</p>\n");
}

static void write_targets(FILE *html, const struct bench_rows *rows)
{
  static const char *const words[] = {"not measured", "reached", "missed"}, *const classes[] = {"none", "reached", "missed"};
  struct bench_target targets[BENCH_TARGETS];
  int count = bench_targets(rows, targets), counts[3] = {0};
  for (int i = 0; i < count; i++) counts[targets[i].verdict]++;
  fprintf(html,
          "<h2>Targets</h2>\n<p class=\"note\">%d reached, %d missed, %d not measured in this run.</p>\n<div class=\"scroll\"><table>\n"
          "<thead><tr><th>What</th><th>Wanted</th><th>Measured</th><th></th></tr></thead>\n",
          counts[BENCH_REACHED], counts[BENCH_MISSED], counts[BENCH_NOT_MEASURED]);
  for (int i = 0; i < count; i++) {
    int verdict = targets[i].verdict;
    fprintf(html, "<tr><td>");
    bench_html(html, targets[i].what);
    fprintf(html, "</td><td>%s</td><td>%s</td><td class=\"verdict %s\">%s</td></tr>\n", targets[i].wanted,
            verdict ? targets[i].measured : "", classes[verdict], words[verdict]);
  }
  fprintf(html, "</table></div>\n");
}

static void write_kvpool(FILE *html, const struct bench_rows *rows)
{
  static const char *const policies[][2] = {{"kvpool.private", "Stacked, each device its own cache"},
                                            {"kvpool.router", "Stacked, requests sent to where their blocks are"},
                                            {"kvpool.pooled", "Supernode, one cache over all windows"}};
  if (!bench_rows_find(rows, "kvpool.pooled", NULL, NULL, -1, BENCH_ANY, "hit_rate")) return;
  fprintf(html, "<h2>A pooled cache for served models</h2>\n<p class=\"note\">Blocks of keys and values of past prompts (examples/kvpool) "
                "on 8 devices: "
                "how many of the blocks that requests ask for are found.</p>\n<div class=\"scroll\"><table>\n<thead><tr><th>Cache</th>"
                "<th class=\"n\">Hit rate</th><th class=\"n\">Blocks served</th><th>Clock</th></tr></thead>\n");
  for (int i = 0; i < 3; i++) {
    const struct bench_row *hits = bench_rows_find(rows, policies[i][0], NULL, NULL, -1, BENCH_ANY, "hit_rate");
    const struct bench_row *rate = bench_rows_find(rows, policies[i][0], NULL, NULL, -1, BENCH_ANY, "rate");
    if (!hits) continue;
    fprintf(html, "<tr><td>%s</td><td class=\"n\">%.2f %%</td><td class=\"n\">", policies[i][1], 100 * hits->median);
    if (rate) fprintf(html, "%.3f million a second", rate->median);
    fprintf(html, "</td><td>%s</td></tr>\n", hits->clock);
  }
  fprintf(html, "</table></div>\n");
}

static void write_host(FILE *html, const char *from)
{
  fprintf(html, "<h2>The host</h2>\n");
  if (from) {
    fprintf(html, "<p class=\"note\">The rows were read from ");
    bench_html(html, from);
    fprintf(html, ". This is the host on which the page was written; the rows may be from another.</p>\n");
  }
  fprintf(html, "<div class=\"scroll\"><table>\n");
  bench_host_table(html);
  fprintf(html, "</table></div>\n");
}

static void write_row(FILE *html, const struct bench_row *row)
{
  const double values[] = {row->median, row->min, row->max};
  char text[32];
  fprintf(html, "<tr><td>");
  bench_html(html, row->bench);
  fprintf(html, "</td><td>");
  bench_html(html, row->path);
  fprintf(html, "</td><td>");
  bench_html(html, row->mode);
  fprintf(html, "</td><td class=\"n\">%d</td><td class=\"n\">%s</td><td>", row->devices, bench_size_text(row->bytes, text, sizeof text));
  bench_html(html, row->metric);
  fprintf(html, "</td>");
  for (int i = 0; i < 3; i++) {
    fprintf(html, "<td class=\"n\">");
    bench_html(html, bench_value_text(values[i], row->unit, text, sizeof text));
    fprintf(html, "</td>");
  }
  fprintf(html, "<td class=\"n\">%d</td><td>%s</td><td>", row->n, row->clock);
  bench_html(html, row->profile);
  fprintf(html, "</td></tr>\n");
}

static void write_rows(FILE *html, const struct bench_rows *rows)
{
  fprintf(html,
          "<h2>All rows</h2>\n<details><summary>%zu rows</summary>\n<div class=\"scroll\"><table "
          "class=\"rows\">\n<thead><tr><th>bench</th><th>path</th>"
          "<th>mode</th><th class=\"n\">devices</th><th class=\"n\">size</th><th>metric</th><th class=\"n\">median</th><th "
          "class=\"n\">least</th>"
          "<th class=\"n\">most</th><th class=\"n\">n</th><th>clock</th><th>profile</th></tr></thead>\n",
          rows->count);
  for (size_t i = 0; i < rows->count; i++) write_row(html, &rows->row[i]);
  fprintf(html, "</table></div>\n</details>\n");
}

static int write_page(FILE *html, const struct bench_rows *rows, const char *from)
{
  fputs(head, html);
  write_wall(html, rows);
  int result = bench_figures(html, rows);
  write_kvpool(html, rows);
  write_targets(html, rows);
  bench_programs_section(html, rows);
  bench_sensitivity_print(html, true, rows);
  if (!result) result = bench_machines(html);
  fputs(how_to_read, html);
  write_host(html, from);
  write_rows(html, rows);
  fputs("</main>\n</body>\n</html>\n", html);
  return result;
}

int bench_make_directories(const char *directory)
{
  char part[4096];
  if (snprintf(part, sizeof part, "%s", directory) >= (int)sizeof part) return -ENAMETOOLONG;
  for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    if (mkdir(part, 0777) && errno != EEXIST) return -errno;
    *slash = '/';
  }
  return mkdir(part, 0777) && errno != EEXIST ? -errno : 0;
}

int bench_report_prepare(const char *directory)
{
  int result = bench_make_directories(directory);
  if (!result && access(directory, W_OK)) result = -errno;
  if (result) fprintf(stderr, "uma bench: cannot write a report in '%s': %s\n", directory, strerror(-result));
  if (result || bench_in_path("gnuplot")) return result;
  fprintf(stderr, "uma bench: --report needs gnuplot, which is not installed (in Debian: gnuplot-nox)\n");
  return -ENOENT;
}

int bench_report(const struct bench_rows *rows, const char *directory, const char *from)
{
  char page[4200], draft[4200];
  int result = 0;
  snprintf(page, sizeof page, "%s/index.html", directory);
  snprintf(draft, sizeof draft, "%s/.index.html.new", directory);
  FILE *html = fopen(draft, "w");
  if (!html) {
    result = -errno;
    fprintf(stderr, "uma bench: cannot write a report in '%s': %s\n", directory, strerror(-result));
    return result;
  }
  result = write_page(html, rows, from);
  if (fclose(html) && !result) result = -EIO;
  if (!result && rename(draft, page)) result = -errno;
  if (result) {
    unlink(draft);
    fprintf(stderr, "uma bench: the report '%s' was not written: %s\n", page, strerror(-result));
  }
  return result;
}
