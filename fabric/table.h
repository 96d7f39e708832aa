/* Tables for people, as text in columns or as a part of an HTML page, from the same calls. */
#ifndef FAB_TABLE_H
#define FAB_TABLE_H

#include <stdbool.h>
#include <stdio.h>

enum { FAB_TABLE_COLUMNS = 12, FAB_CELL = 240 };

struct fab_column {
  const char *name;
  int width; /* as text; negative: left-aligned, and text in HTML as well */
};

struct fab_table {
  FILE *out;
  bool html;
  int count;
  const struct fab_column *columns;
};

/* Heading, a sentence on what it shows (NULL: none), the columns' names. */
void fab_table_begin(struct fab_table *table, const char *title, const char *note);
void fab_table_row(const struct fab_table *table, const char cells[][FAB_CELL]);
void fab_table_end(const struct fab_table *table);

void fab_put_escaped(FILE *out, const char *text); /* as text or an attribute of HTML and SVG */

#endif
