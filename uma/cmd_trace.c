/* `uma trace`: what a recorded session's coherence cost, line by line, and one line's life. */
#include <argp.h>
#include <errno.h>
#include <error.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "uma/commands.h"
#include "uma/trace_facts.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };
enum { TOP = 10, TEXT_STEPS = 200, HTML_STEPS = 2000, MOST_STEPS = 20000 };

/* Flags as they were given; NULL: not. */
struct arguments {
  const char *file, *top, *json, *line, *html, *from, *steps;
};

static void check_arguments(struct argp_state *state, const struct arguments *arguments)
{
  if (arguments->line && (arguments->top || arguments->json))
    argp_failure(state, EXIT_USAGE, 0, "--top and --json do not go with --line; it takes --html, --from and --steps");
  if (!arguments->line && (arguments->html || arguments->from || arguments->steps))
    argp_failure(state, EXIT_USAGE, 0, "--html, --from and --steps go with --line only");
}

static error_t parse(int key, char *text, struct argp_state *state)
{
  struct arguments *arguments = state->input;
  switch (key) {
  case 't': arguments->top = text; return 0;
  case 'j': arguments->json = text; return 0;
  case 'l': arguments->line = text; return 0;
  case 'h': arguments->html = text; return 0;
  case 'f': arguments->from = text; return 0;
  case 's': arguments->steps = text; return 0;
  case ARGP_KEY_ARG:
    if (arguments->file) argp_failure(state, EXIT_USAGE, 0, "one trace at a time, not \"%s\" as well", text);
    arguments->file = text;
    return 0;
  case ARGP_KEY_NO_ARGS:
    argp_failure(state, EXIT_USAGE, 0, "which trace? Expected a file that `uma run --coherence line --trace FILE` wrote");
    return 0;
  case ARGP_KEY_END: check_arguments(state, arguments); return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

/* Reads all events into the facts, and into the ladder where there is one. 0 or a negative errno. */
static int read_all(struct uma_trace *trace, struct uma_trace_facts *facts, struct uma_trace_ladder *view)
{
  int result;
  while ((result = uma_trace_next(trace)) > 0) {
    result = uma_trace_facts_add(facts);
    if (!result && view) result = uma_trace_ladder_add(view);
    if (result) return result;
  }
  if (!result && !facts->steps) {
    fprintf(stderr, "uma trace: %s: no coherence message was sent in this session; expected accesses of memory in windows\n", trace->path);
    result = -ENODATA;
  }
  if (!result) uma_trace_facts_rank(facts);
  return result;
}

/* NULL, with what is wrong said, when it cannot be written. */
static FILE *create(const char *flag, const char *path)
{
  FILE *file = fopen(path, "w");
  if (!file) fprintf(stderr, "uma trace: %s: \"%s\" cannot be written: %s\n", flag, path, strerror(errno));
  return file;
}

/* Closes it; 0 or -EIO, said as well. */
static int finish(FILE *file, const char *flag, const char *path)
{
  bool failed = ferror(file);
  if (!fclose(file) && !failed) return 0;
  fprintf(stderr, "uma trace: %s: \"%s\" could not be written whole\n", flag, path);
  return -EIO;
}

/* ---- The hottest lines ------------------------------------------------------------------------------------------- */

static int top(struct uma_trace *trace, const struct arguments *arguments)
{
  int most = (int)uma_cmd_number("--top", arguments->top, 1, INT_MAX, TOP);
  struct uma_trace_facts facts;
  uma_trace_facts_init(&facts, trace);
  int result = read_all(trace, &facts, NULL);
  FILE *file = !result && arguments->json ? create("--json", arguments->json) : NULL;
  if (!result && arguments->json && !file) result = -EIO;
  if (!result) uma_trace_print_top(stdout, &facts, most);
  if (file) {
    uma_trace_json_top(file, &facts, most);
    result = finish(file, "--json", arguments->json);
  }
  uma_trace_facts_free(&facts);
  return result;
}

/* ---- One line ---------------------------------------------------------------------------------------------------- */

/* The beginning of the line that the address lies in. */
static int read_line_flag(const struct uma_trace *trace, const char *text, uint64_t *line)
{
  char *end;
  errno = 0;
  uint64_t address = strtoull(text, &end, 16);
  uint64_t bytes = (uint64_t)trace->devices * trace->window_bytes;
  if (errno || end == text || *end || *text == '-') {
    fprintf(stderr, "uma trace: --line: \"%s\" is not valid; expected a hexadecimal address\n", text);
    return -EINVAL;
  }
  if (!uma_trace_in_windows(trace, address)) {
    fprintf(stderr, "uma trace: --line: 0x%" PRIx64 " lies in no window; expected 0x%" PRIx64 " to 0x%" PRIx64 "\n", address, trace->base,
            trace->base + bytes - 1);
    return -EINVAL;
  }
  *line = address - (address - trace->base) % trace->line_bytes;
  return 0;
}

static int write_page(const struct coh_ladder *ladder, const char *path)
{
  FILE *file = create("--html", path);
  if (!file) return -EIO;
  coh_ladder_html(file, ladder);
  int result = finish(file, "--html", path);
  if (!result) printf("Steps to walk through: %s\n", path);
  return result;
}

/* All events were read. */
static int show_line(struct uma_trace_ladder *view, struct uma_trace_facts *facts, const struct arguments *arguments)
{
  struct uma_trace_line *line;
  HASH_FIND(hh, facts->lines, &view->line, sizeof view->line, line);
  if (!line || !view->seen) {
    fprintf(stderr, "uma trace: --line: nobody used the line at 0x%" PRIx64 "; `uma trace %s` lists lines that were used\n", view->line,
            facts->trace->path);
    return -EINVAL;
  }
  if (!view->ladder.step_count) {
    fprintf(stderr, "uma trace: --from: %" PRIu64 " is not valid; expected 1 to %" PRIu64 ", the steps of this line\n", view->from,
            view->seen);
    return -EINVAL;
  }
  uma_trace_ladder_end(view, line);
  if (arguments->html) return write_page(&view->ladder, arguments->html);
  coh_ladder_text(stdout, &view->ladder);
  return 0;
}

static int one_line(struct uma_trace *trace, const struct arguments *arguments)
{
  struct uma_trace_facts facts;
  struct uma_trace_ladder view;
  uint64_t line;
  long from = uma_cmd_number("--from", arguments->from, 1, INT_MAX, 1);
  long steps = uma_cmd_number("--steps", arguments->steps, 1, MOST_STEPS, arguments->html ? HTML_STEPS : TEXT_STEPS);
  int result = read_line_flag(trace, arguments->line, &line);
  if (result) return result;
  uma_trace_facts_init(&facts, trace);
  uma_trace_ladder_init(&view, trace, line, (uint64_t)from, (uint64_t)steps);
  result = read_all(trace, &facts, &view);
  if (!result) result = show_line(&view, &facts, arguments);
  coh_ladder_free(&view.ladder);
  uma_trace_facts_free(&facts);
  return result;
}

int uma_cmd_trace(int argc, char **argv)
{
  static const struct argp_option flags[] = {
      {"top", 't', "N", 0, "show the N lines whose sharing costs most (default 10)", 0},
      {"json", 'j', "FILE", 0, "write these lines there as well, one JSON object a line", 0},
      {"line", 'l', "ADDRESS", 0, "show every step of the line that this hexadecimal address lies in", 1},
      {"html", 'h', "FILE", 0, "of --line: write it as a page to step through, beside the protocol's tables", 1},
      {"from", 'f', "N", 0, "of --line: begin with step N (default 1)", 1},
      {"steps", 's', "N", 0, "of --line: show N steps, up to 20000 (default 200, or 2000 with --html)", 1},
      {0},
  };
  struct argp argp = {
      .options = flags,
      .parser = parse,
      .args_doc = "FILE",
      .doc = "Shows what coherence cost in a session that `uma run --coherence line --trace FILE` recorded: the lines that devices share, "
             "exactly, not sampled.\vLines are ranked by coherence misses and upgrades, then by messages. An access that hits sends no "
             "message and is no step of a line; which bytes were touched is known all the same. The file opens in Perfetto, "
             "too.\n\nExit status: 0, 1 out of memory, 2 bad input."};
  struct arguments arguments = {0};
  struct uma_trace trace;
  argp_err_exit_status = EXIT_USAGE;
  argp_parse(&argp, argc, argv, 0, NULL, &arguments);
  int result = uma_trace_open(&trace, arguments.file);
  if (!result) {
    result = arguments.line ? one_line(&trace, &arguments) : top(&trace, &arguments);
    uma_trace_close(&trace);
  }
  if (result == -ENOMEM) fprintf(stderr, "uma trace: out of memory\n");
  return !result ? 0 : result == -ENOMEM ? EXIT_FAILED : EXIT_USAGE;
}
