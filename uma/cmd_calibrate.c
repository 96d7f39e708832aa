/* `uma calibrate`: this host as a profile, so that it can stand beside machines on paper. The measuring is in bench/.
 *
 * The profile is written beside its final place and renamed once it is whole and was read back without a mistake: who reads it meanwhile finds
 * the one before. */
#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/calibrate.h"
#include "bench/report.h"
#include "fabric/profile.h"
#include "uma/commands.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };
enum { CHECK = 256, JSON, FROM };
enum { SECONDS = 40, MOST_SECONDS = 3600 };

struct arguments {
  const char *output, *seconds, *json, *from;
  bool check;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
  struct arguments *arguments = state->input;
  switch (key) {
  case 'o': arguments->output = text; return 0;
  case 's': arguments->seconds = text; return 0;
  case CHECK: arguments->check = true; return 0;
  case JSON: arguments->json = text; return 0;
  case FROM: arguments->from = text; return 0;
  case ARGP_KEY_ARG: argp_failure(state, EXIT_USAGE, 0, "\"%s\": expected options only", text); return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

/* ---- The file ---------------------------------------------------------------------------------------------------- */

static int fail(const char *path, const char *what, int error)
{
  fprintf(stderr, "uma calibrate: \"%s\" %s: %s; choose another place with --output FILE\n", path, what, strerror(error));
  return -error;
}

/* The folder that the file is to lie in, into `folder` of PATH_MAX. */
static void folder_of(const char *path, char *folder)
{
  const char *slash = strrchr(path, '/');
  if (!slash) strcpy(folder, ".");
  else snprintf(folder, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

/* A new file with a name of its own in that place's folder: its descriptor, or -errno; *name is the caller's. */
static int open_beside(const char *path, char **name)
{
  if (asprintf(name, "%s.XXXXXX", path) < 0) return *name = NULL, -ENOMEM;
  int fd = mkstemp(*name);
  return fd < 0 ? -errno : fd;
}

/* Finds out what cannot be written before anything is measured, by writing there: rights alone do not tell (/proc). 0 or -errno. */
static int prepare(const char *path)
{
  char folder[PATH_MAX];
  struct stat status;
  if (!*path || strlen(path) >= PATH_MAX) return fail(path, "cannot be written", *path ? ENAMETOOLONG : ENOENT);
  folder_of(path, folder);
  int result = bench_make_directories(folder);
  if (result) return fail(folder, "cannot be created", -result);
  if (stat(folder, &status) || !S_ISDIR(status.st_mode)) return fail(folder, "is no folder", ENOTDIR);
  if (!stat(path, &status) && S_ISDIR(status.st_mode)) return fail(path, "cannot be written", EISDIR);
  char *beside;
  int fd = open_beside(path, &beside);
  if (fd >= 0) close(fd), unlink(beside);
  free(beside);
  return fd < 0 ? fail(folder, "cannot be written to", -fd) : 0;
}

/* The text of the profile, which the language's reader accepts; NULL after a message. */
static char *profile_text(const struct bench_rows *rows)
{
  char *text = NULL;
  size_t size;
  FILE *out = open_memstream(&text, &size);
  int result = out ? bench_calibrate_write(out, rows) : -ENOMEM;
  if (out && fclose(out)) result = -ENOMEM;
  struct fab_profile *profile = result ? NULL : fab_profile_parse(text, FAB_THIS_HOST, stderr);
  fab_profile_free(profile);
  if (profile) return text;
  free(text);
  if (result == -ENOMEM) fprintf(stderr, "uma calibrate: out of memory\n");
  return NULL;
}

static int replace(const char *path, const char *text)
{
  char *beside;
  int fd = open_beside(path, &beside), error = fd < 0 ? -fd : 0;
  FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
  if (fd >= 0 && !file) error = errno, close(fd), unlink(beside);
  if (file) {
    fchmod(fd, 0644);
    bool bad = fputs(text, file) < 0 || fflush(file) || fsync(fd);
    error = bad ? errno : 0;
    if (fclose(file) && !error) error = errno;
    if (!error && rename(beside, path)) error = errno;
    if (error) unlink(beside);
  }
  free(beside);
  return error ? fail(path, "cannot be written", error) : 0;
}

/* ---- The command ------------------------------------------------------------------------------------------------- */

static int get_rows(const struct arguments *arguments, struct bench_rows *rows)
{
  int seconds = (int)uma_cmd_number("--seconds", arguments->seconds, 1, MOST_SECONDS, SECONDS);
  if (arguments->from) return bench_rows_load(rows, arguments->from);
  int result = bench_calibrate(seconds, arguments->check, rows);
  return !result && arguments->json ? bench_rows_save(rows, arguments->json) : result;
}

/* An exit status. */
static int calibrate(const struct arguments *arguments, const char *path)
{
  struct bench_rows rows = {0};
  int result = get_rows(arguments, &rows), apart = 0;
  char *text = result ? NULL : profile_text(&rows);
  if (!text || replace(path, text)) result = -EIO;
  if (!result) {
    bench_calibrate_print(stdout, &rows);
    printf("written: %s\n", path);
    if (arguments->check) apart = bench_calibrate_check(stdout, &rows, path);
  }
  free(text);
  bench_rows_free(&rows);
  return result || apart ? EXIT_FAILED : 0;
}

int uma_cmd_calibrate(int argc, char **argv)
{
  static const struct argp_option options[] = {
      {"output", 'o', "FILE", 0, "write the profile there (default: this-host.conf among your own profiles)", 0},
      {"seconds", 's', "S", 0, "measure for about so long (default 40)", 0},
      {"check", CHECK, 0, 0, "measure other sizes and operations in between, and hold the modelled clock against them", 0},
      {"json", JSON, "FILE", 0, "write what was measured to FILE, as uma bench does", 0},
      {"from", FROM, "FILE", 0, "measure nothing; take the rows that --json wrote", 0},
      {0},
  };
  static const struct argp argp = {
      .options = options,
      .parser = parse,
      .doc =
          "Measures what this host's operations cost, and writes that as the profile this-host, so that `uma topology this-host`, "
          "`uma compare ... this-host` and --profile this-host have it beside machines on paper.\vLet the host be idle meanwhile. The "
          "profile goes to $UMA_PROFILES, else $XDG_CONFIG_HOME/uma, else ~/.config/uma.\n\nExit status: 0; 1 it failed, or with --check "
          "a row's modelled value is more than 20 % from the measured one; 2 bad options."};
  struct arguments arguments = {0};
  char own[PATH_MAX];
  bench_command = "uma calibrate";
  argp_err_exit_status = EXIT_USAGE;
  argp_parse(&argp, argc, argv, 0, NULL, &arguments);
  if (arguments.from && (arguments.json || arguments.seconds)) {
    fprintf(stderr, "uma calibrate: --from measures nothing; expected it without --json and --seconds\n");
    return EXIT_USAGE;
  }
  if (!arguments.output && fab_profile_path(FAB_THIS_HOST, own, sizeof own)) {
    fprintf(stderr, "uma calibrate: none of UMA_PROFILES, XDG_CONFIG_HOME and HOME says where your profiles are; expected --output FILE\n");
    return EXIT_USAGE;
  }
  const char *path = arguments.output ? arguments.output : own;
  return prepare(path) || bench_output_check("uma calibrate: --json", arguments.json) ? EXIT_FAILED : calibrate(&arguments, path);
}
