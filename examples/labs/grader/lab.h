/* The grader library: what a lab's judge, its grade.c, is written with. README.md beside this file is the contract in ten lines.
 *
 *     static void grade_counts(struct lab *lab)
 *     {
 *       long (*place)(long) = lab_function(lab, "place");
 *       lab_check(lab, 5, place(7) == 3, "line 7 lies on device 3", "place(7) returns %ld; count the lines from 0", place(7));
 *     }
 *     const struct lab_plan lab_plan = {.number = 1, .title = "…", .groups = {{"counts", 100, grade_counts}}};
 *
 * Glossary
 *   group     a part of the grade with points of its own, all groups together 100. Each runs in a child process with a time limit, so
 *             what a student's code does there (crash, hang, exit) costs this group what was not yet credited, and nothing else
 *   check     one thing that is looked at, with some of the group's points
 *   mistake   a typical one that the judge recognises; told with what helps
 *   number    a parameter of the task that differs from student to student: it follows from the student's name, the lab and its own name
 *   work      the folder with the student's files; student.so in `out` is made of the C files among them
 *   out       the folder that is written to: pictures, hints already given
 */
#ifndef LAB_H
#define LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { LAB_GROUPS = 8, LAB_CHECKS = 96, LAB_MISTAKES = 12, LAB_PICTURES = 12, LAB_TEXT = 400 };

struct lab;

struct lab_group {
  const char *name;
  int points;
  void (*grade)(struct lab *lab);
  int seconds; /* after which it is ended; 0: 10 */
};

/* Each judge defines one. */
struct lab_plan {
  int number;
  const char *title;
  struct lab_group groups[LAB_GROUPS + 1]; /* the first without a name ends them */
  void (*task)(struct lab *lab);           /* NULL, or says the student's own numbers, by lab_say */
};
extern const struct lab_plan lab_plan;

/* ---- What a group calls ------------------------------------------------------------------------------------------ */

/* Credits `points` when `ok`; else prints the help, which says what was found, what was expected, and where to look. Returns ok. */
bool lab_check(struct lab *lab, int points, bool ok, const char *what, const char *help, ...) __attribute__((format(printf, 5, 6)));
/* The same in part: `got` of `points`. */
void lab_credit(struct lab *lab, int got, int points, const char *what, const char *help, ...) __attribute__((format(printf, 5, 6)));
/* A typical mistake was recognised: a short key for tests and statistics, and what helps. Each key is told once. */
void lab_mistake(struct lab *lab, const char *key, const char *help, ...) __attribute__((format(printf, 3, 4)));
void lab_say(struct lab *lab, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Ends the group here; what was credited counts. */
void lab_stop(struct lab *lab, const char *why, ...) __attribute__((format(printf, 2, 3), noreturn));

/* ---- The student ------------------------------------------------------------------------------------------------- */

/* Names that begin with @ stand for the same in all labs. */
long lab_number(struct lab *lab, const char *name, long least, long most);
uint64_t lab_seed(struct lab *lab, const char *name); /* for what is drawn at random */
uint64_t lab_draw(uint64_t *seed);                    /* the next number of that seed */

/* A symbol of the student's C files; ends the group with what gcc or the linker said when there is none. */
void *lab_function(struct lab *lab, const char *name);
/* The path of a student's file; freed by nobody, valid until the next call. */
const char *lab_work(struct lab *lab, const char *file);
/* Its text, freed by the caller; ends the group when it cannot be read. */
char *lab_read(struct lab *lab, const char *file);

/* ---- Pictures: pages in the folder `out`, noted in the report ---------------------------------------------------- */

/* Opened for writing; never NULL. `about` is what the report says of it. */
FILE *lab_picture(struct lab *lab, const char *file, const char *about);
/* Any other file there. */
FILE *lab_output(struct lab *lab, const char *file);

/* Memory that the group's child shares with processes that it starts (uma_spawn); zeroed, gone with the group. */
void *lab_shared(struct lab *lab, size_t bytes);

#endif
