/* The commands `uma protocol` and `uma check`: what they print, their exit status, and what they say to bad input. */
#include <criterion/criterion.h>

#include "coherence/protocol.h"
#include "tests/command.h"
#include "tests/mutant.h"

static char *write_mutant(void)
{
  char *path = strdup("/tmp/uma-mutant-XXXXXX"), *text = mutant_text(coh_shipped_text("msi"), "cache", "S", "Inv", "ack");
  int fd = mkstemp(path);
  cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
  close(fd);
  free(text);
  return path;
}

Test(protocol_command, tables_and_graphs)
{
  command_expect("protocol msi", 0, "MSI, the directory");
  command_expect("protocol MOESI --cache", 0, "OM_AC");
  command_expect("protocol mesif --directory --format dot", 0, "\"d F_DU\" -> \"d F_D\" [label=\"Unblock\"]");
  command_expect("protocol mesi --format html", 0, "<td id=\"c-2-1\" class=\"go\">store <b>&rarr; M</b></td>");
}

Test(protocol_command, proof)
{
  command_expect("check mesi", 0, "proved: in every state");
  command_expect("check moesi --caches 2 --sharers limited --lines 2 --depth 6", 0, "there is more");
  command_expect("check mesi --random --devices 12 --lines 5 --steps 20000 --seed 3", 0, "nothing is broken");
  command_expect("check mesi --random --devices 12 --lines 5 --steps 20000 --lose 3@700", 0, "device 3 lost after step 700: ");
}

/* A protocol of stable states only. */
Test(protocol_command, one_transaction_at_a_time)
{
#define STABLE "examples/labs/solutions/04-msi-atomic/right-silent/msi.protocol"
  if (access(STABLE, R_OK)) cr_skip_test("not run in the repository's root");
  command_expect("check " STABLE " --atomic", 0, "sharers full, one transaction at a time\n");
  command_expect("check " STABLE, 1, "BROKEN");
  command_expect("check moesi --atomic", 0, "proved: in every state");
  command_expect("check moesi --atomic --random", 2, "do not go with --random");
}

Test(protocol_command, counterexample_and_page)
{
  char *path = write_mutant(), *arguments, *said;
  if (asprintf(&arguments, "check %s --html %s.html && exit; cat %s.html; rm %s.html; exit 9", path, path, path, path) < 0) abort();
  cr_expect_eq(command_uma(&said, "%s", arguments), 9);
  cr_expect(strstr(said, "BROKEN: single writer"), "%s", said);
  cr_expect(strstr(said, "Last-Inv-Ack: store unblock"), "%s", said);
  cr_expect(strstr(said, "{cell:\"c-1-5\""), "the page names the broken cell");
  cr_expect_null(strstr(said, "http"), "the page needs nothing from elsewhere");
  free(arguments), free(said);
  if (asprintf(&arguments, "check %s --random", path) < 0) abort();
  command_expect(arguments, 1, "--seed 1");
  unlink(path);
  free(arguments), free(path);
}

Test(protocol_command, bad_input_is_named)
{
  command_expect(
      "protocol mosi", 2,
      "\"mosi\" is neither a protocol nor a file that can be read (No such file or directory); the protocols are msi, mesi, moesi, mesif");
  command_expect("protocol msi --format pdf", 2, "--format: \"pdf\" is not valid; expected text, html or dot");
  command_expect("protocol", 2, "which protocol?");
  command_expect("check mesi --caches 5", 2, "--caches: \"5\" is not valid; expected 2 to 4");
  command_expect("check mesi --lines 0", 2, "--lines: \"0\" is not valid; expected 1 to 2");
  command_expect("check mesi --sharers some", 2, "--sharers: \"some\" is not valid; expected full, limited or coarse");
  command_expect("check mesi --depth x", 2, "--depth: \"x\" is not valid");
  command_expect("check mesi --seed 4", 2, "go with --random only");
  command_expect("check mesi --random --caches 3", 2, "do not go with --random");
  command_expect("check mesi --lose 4", 2, "go with --random only");
  command_expect("check mesi --random --lose 16", 2,
                 "--lose: \"16\" is not valid; expected DEVICE or DEVICE@STEP, device 0 to 15, step 1 to 1000000");
  static const char *const bad[] = {"-1", "x", "3x", "3@", "3@0", "@5", "3@5x", "3@1000001", "99999999999999999999", "''"};
  for (int i = 0; i < (int)(sizeof bad / sizeof *bad); i++) {
    char arguments[64];
    snprintf(arguments, sizeof arguments, "check mesi --random --lose=%s", bad[i]);
    command_expect(arguments, 2, "is not valid; expected DEVICE or DEVICE@STEP");
  }
  command_expect("check mesi --random --devices 2000", 2, "--devices: \"2000\" is not valid; expected 2 to 1024");
  command_expect("check /dev/null", 2, "/dev/null:1: the section \"messages\" is missing");
}
