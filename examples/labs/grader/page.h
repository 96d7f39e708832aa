/* Pages for a projector and the keyboard: self-contained, no network. What can be stepped through is an "item" with a sentence of its own;
 * arrow keys, Home, End and a click choose one, and the bar on top says its sentence.
 *
 *     FILE *out = lab_picture(lab, "bars.html", "messages before and after");
 *     page_begin(out, "Messages", "Four patterns, three protocols.");
 *     page_bars(out, &(struct page_bars){…});
 *     page_end(out);
 */
#ifndef LAB_PAGE_H
#define LAB_PAGE_H

#include <stdbool.h>
#include <stdio.h>

void page_begin(FILE *out, const char *title, const char *lead); /* lead: a sentence or two below the title */
void page_end(FILE *out);                                        /* closes the file, too */
void page_heading(FILE *out, const char *text);
void page_text(FILE *out, const char *text); /* with what HTML needs escaped */
const char *page_colour(int number);         /* of series, curve or device `number`; told apart without colour vision, too */

/* Bars side by side in groups; values[group * series_count + series]. The name of a group is broken into lines at "; ". */
struct page_bars {
  const char *title, *unit;
  int group_count, series_count;
  const char *const *groups, *const *series;
  const double *values;
  const bool *alarming; /* per value, drawn in red; or NULL */
};
void page_bars(FILE *out, const struct page_bars *bars);

struct page_curve {
  const char *name;
  int count;
  const double *x, *y; /* > 0 where the axis is logarithmic */
};
struct page_plot {
  const char *title, *x_label, *y_label;
  bool x_log, y_log;
  int curve_count;
  const struct page_curve *curves;
};
void page_plot(FILE *out, const struct page_plot *plot);

#endif
