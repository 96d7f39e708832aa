/* Tables as text and as HTML (of the classes of bench/report.c: n for numbers, scroll, note). */
#include "fabric/table.h"

#include <stdlib.h>

void fab_put_escaped(FILE *out, const char *text)
{
  for (; *text; text++)
    if (*text == '<' || *text == '>' || *text == '&' || *text == '"') fprintf(out, "&#%d;", *text);
    else fputc(*text, out);
}

static void put_cell(const struct fab_table *table, int column, const char *tag, const char *text)
{
  int width = table->columns[column].width;
  if (!table->html) {
    fprintf(table->out, "%s%*s", column ? "  " : "", column == table->count - 1 && width < 0 ? 0 : width, text);
    return;
  }
  fprintf(table->out, "<%s%s>", tag, width > 0 ? " class=\"n\"" : "");
  fab_put_escaped(table->out, text);
  fprintf(table->out, "</%s>", tag);
}

void fab_table_begin(struct fab_table *table, const char *title, const char *note)
{
  if (table->html) {
    fprintf(table->out, "<h3>");
    fab_put_escaped(table->out, title);
    fprintf(table->out, "</h3>\n");
    if (note) fprintf(table->out, "<p class=\"note\">");
    if (note) fab_put_escaped(table->out, note);
    fprintf(table->out, "%s<div class=\"scroll\"><table>\n<thead><tr>", note ? "</p>\n" : "");
  } else {
    fprintf(table->out, "%s\n%s%s", title, note ? note : "", note ? "\n" : "");
  }
  for (int i = 0; i < table->count; i++) put_cell(table, i, "th", table->columns[i].name);
  fprintf(table->out, table->html ? "</tr></thead>\n" : "\n");
}

void fab_table_row(const struct fab_table *table, const char cells[][FAB_CELL])
{
  if (table->html) fprintf(table->out, "<tr>");
  for (int i = 0; i < table->count; i++) put_cell(table, i, "td", cells[i]);
  fprintf(table->out, table->html ? "</tr>\n" : "\n");
}

void fab_table_end(const struct fab_table *table)
{
  fprintf(table->out, table->html ? "</table></div>\n" : "\n");
}
