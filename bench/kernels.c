/* The kernels in the PARMACS style (examples/parmacs) on two devices: plain windows against cached pages, the same program on the same data.
 * They are run as a user would run them; each prints how long its parallel part took, and whether its result is right.
 *
 * Sizes are among those that the SPLASH suites are run with. Pages are of 16 KiB, a row or a block of these, and the protocol is MOESI, because
 * what one writes and others read need not go home; both are in the name of the case. */
#include "bench/harness.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static const struct kernel {
  const char *name, *quick, *full; /* sizes */
} kernels[] = {
    {"lu", "1024", "1024"},       {"fft", "4194304", "4194304"}, {"stencil", "514", "1026"},
    {"radix", "32768", "262144"}, {"barnes", "1024", "4096"},
};
enum { KERNELS = sizeof kernels / sizeof kernels[0] };

static void keep_line(void *context, const char *line)
{
  if (*line) snprintf(context, 4096, "%s", line);
}

/* "lu: 512 x 512, blocks of 16, 2 processes, 83858 us, error 3.4e-15: verified" */
static int take_result(const struct kernel *kernel, const char *path, const char *line)
{
  const char *unit = strstr(line, " us"), *digits = unit;
  char bench[48];
  while (digits && digits > line && digits[-1] != ' ') digits--;
  double us = digits ? strtod(digits, NULL) : 0;
  if (us <= 0 || !strstr(line, "verified")) return bench_fail("%s: its last line is no result: '%.200s'", kernel->name, line);
  snprintf(bench, sizeof bench, "page.kernel.%s", kernel->name);
  struct bench_row row = bench_row_of(bench, path, "supernode", 2, 0, "latency", "ns");
  bench_record(&row, us * 1e3);
  return 0;
}

static int run_kernel(const struct kernel *kernel, const char *coherence)
{
  char uma[600], program[600], last[4096] = "";
  const char *size = bench_run.options.quick ? kernel->quick : kernel->full;
  snprintf(uma, sizeof uma, "%s/uma", bench_run.directory);
  snprintf(program, sizeof program, "%s/examples/parmacs/%s", bench_run.directory, kernel->name);
  const char *arguments[] = {uma,          "run",   "-n", "2",     "--create", "--coherence", coherence, "--page", "16K",
                             "--protocol", "moesi", "--", program, "-p",       "2",           "-n",      size,     NULL};
  bench_progress("page.kernel.%s", kernel->name);
  struct bench_child child = {(char *const *)arguments, NULL, 120, keep_line, last};
  int result = bench_child_run(&child);
  bench_child_after();
  bool paged = !strcmp(coherence, "page");
  return result ? result : take_result(kernel, paged ? "page" : "direct", last);
}

/* The kernels are beside the command in the build directory, and not where the command was installed. */
static int run_kernels(void)
{
  char program[600];
  int result = 0;
  snprintf(program, sizeof program, "%s/examples/parmacs/%s", bench_run.directory, kernels[0].name);
  if (access(program, X_OK)) {
    if (bench_run.options.name_count) return bench_fail("%s: %s; it is built by make", program, strerror(errno));
    return 0;
  }
  for (int k = 0; k < KERNELS && !result; k++) {
    result = run_kernel(&kernels[k], "none");
    if (!result) result = run_kernel(&kernels[k], "page");
  }
  return result;
}

const struct bench_case bench_kernel_cases[] = {
    {"page.kernel", "programs in the PARMACS style on cached pages (16 KiB, MOESI) and on plain windows (2 devices)", run_kernels},
    {NULL, NULL, NULL},
};
