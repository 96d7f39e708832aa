/* The model against what others measured and published: no number is fitted to a row, but where a row says so. */
#ifndef FAB_PUBLISHED_H
#define FAB_PUBLISHED_H

#include <stdbool.h>
#include <stdio.h>

enum { FAB_PUBLISHED_ROWS = 128 };

struct fab_published {
  const char *group; /* what belongs together, and is averaged */
  char what[80];
  const char *profile; /* a shipped one */
  const char *unit;
  double published, modelled;
  bool input;                  /* a number of the model was taken from it, so that it proves nothing */
  const char *source, *remark; /* remark: what to know of the group */
};

/* All rows into `rows`, of FAB_PUBLISHED_ROWS. How many, or -errno after a message on `report`. */
int fab_published_rows(struct fab_published *rows, FILE *report);
/* Of the rows of a group that are no input: the geometric mean of the sizes of their errors, as ASTRA-sim states its own. */
double fab_published_error(const struct fab_published *rows, int count, const char *group);
/* Both as a table, as text or HTML. 0 or -errno. */
int fab_published_print(FILE *out, bool html);

#endif
