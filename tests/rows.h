/* For tests of `uma bench`: the rows of a run. */
#ifndef TESTS_ROWS_H
#define TESTS_ROWS_H

#include "bench/rows.h"
#include "tests/command.h"

/* Runs the benchmarks that the arguments name, with their options, and loads what they wrote. */
static inline struct bench_rows rows_of_run(const char *arguments)
{
  char directory[] = "/tmp/uma-bench-test-XXXXXX", file[64], *said;
  struct bench_rows rows = {0};
  cr_assert(mkdtemp(directory));
  snprintf(file, sizeof file, "%s/rows.json", directory);
  cr_assert_eq(command_uma(&said, "bench --quick --no-peers --json %s %s", file, arguments), 0, "%s", said);
  free(said);
  cr_assert_eq(bench_rows_load(&rows, file), 0);
  unlink(file);
  rmdir(directory);
  return rows;
}

#endif
