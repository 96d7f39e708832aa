/* The command `uma topology`: what it prints, and what it says to bad input. */
#include <criterion/criterion.h>

#include "fabric/profile.h"
#include "tests/command.h"

Test(topology_command, prints)
{
  command_expect("topology --list", 0, "scalex-10240          10,240  Sugon scaleX, 16 supernodes of 640: 10,240 cards\n");
  command_expect("topology cloudmatrix384", 0, "in each node: 14 x ub (28 GB/s, 175 ns a hop) from each device to 7 switches\n");
  command_expect("topology mtt-s4000-kuae", 0, "in each server: 1 x mtlink (17 GB/s, 500 ns a hop) between any two devices\n");
  command_expect("topology h100-8 --devices 12", 0, "12 x NVIDIA H100 SXM 80 GB: 80 GB at 3.35 TB/s");
  command_expect("topology h100-8 --numbers", 0, "links.nvlink.bandwidth                   400 GB/s       published ASTRA-sim");
  command_expect("topology scalex640 --coverage", 0, "1,000,000");
  command_expect("topology scalex640 --power", 0, "PUE 1.04, published");
  command_expect("topology cloudmatrix384 --parts", 0, "112");
  command_expect("topology mtt-s5000-kuae --efficiency", 0, "product         41.0 %");
  command_expect("topology mtt-s5000-kuae --efficiency --devices 8", 0, "stability       99.8 %");
  command_expect("topology --machines", 0, "scalex-10240         10,240   655.4 TB       640");
  command_expect("topology scalex640 --sensitivity", 0, "links.bus.latency");
  command_expect("topology --published", 0, "NCCL ring all-reduce, 8 x H100");
  command_expect("topology h100-8 --format dot", 0, "d0 -- n0s0 [label=\"1 x nvlink\\n400 GB/s, 180 ns\"];");
}

Test(topology_command, ways_between_two_devices)
{
  command_expect("topology h100-8 --path 0,9", 0, "from device 0 to device 9: in the same unit; the best way is direct\n");
  command_expect("topology h100-8 --path 0,9", 0, "load/store: there is no such way");
  command_expect("topology h100-8 --path 0,9 --bytes 16777216", 0, "4 chunks, pipelined");
  command_expect("topology gb200-nvl72 --path 0,71", 0, "a load of 8 B by device 0: 1.4 us\n");
  command_expect("topology h100-8 --path 0,1 --bytes 64", 0,
                 "a get of 64 B by device 0, load/store: 1.28 us, of which its request 360.1 ns\n");
}

Test(topology_command, pictures_of_all)
{
  for (int i = 0; fab_shipped_profile(i); i++) {
    char arguments[64], *said;
    snprintf(arguments, sizeof arguments, "topology %s --format svg --path 0,5", fab_shipped_profile(i));
    cr_assert_eq(command_uma(&said, "%s", arguments), 0, "%s", said);
    cr_expect_eq(strncmp(said, "<svg ", 5), 0);
    cr_expect_str_eq(said + strlen(said) - 7, "</svg>\n");
    cr_expect_eq(command_count(said, "<text "), command_count(said, "</text>"));
    cr_expect_eq(command_count(said, "<tspan "), command_count(said, "</tspan>"));
    cr_expect_eq(command_count(said, "http"), 1, "nothing from elsewhere but the name space");
    cr_expect_eq(command_count(said, "nan") + command_count(said, "\"-"), 0);
    free(said);
  }
}

Test(topology_command, bad_input_is_named)
{
  command_expect("topology", 2, "which profile? Expected a name (uma topology --list) or a file");
  command_expect("topology h100", 2,
                 "\"h100\" is neither a profile nor a file that can be read (No such file or directory); the profiles are h100-8, h200-8");
  command_expect("topology h100-8 gb200-nvl72", 2, "one profile at a time, not \"gb200-nvl72\" as well");
  command_expect("topology h100-8 --format pdf", 2, "--format: \"pdf\" is not valid; expected text, dot or svg");
  command_expect("topology h100-8 --devices 0", 2, "--devices: \"0\" is not valid; expected 1 to 1000000000");
  command_expect("topology h100-8 --devices 2000", 2, "2000 devices: the profile h100-8 has 1024; expected at most that many");
  command_expect("topology h100-8 --bytes x", 2, "--bytes: \"x\" is not valid");
  command_expect("topology /dev/null", 2, "/dev/null:1: the profile has no title; expected one");
  static const char *const bad[] = {"0", "0,", ",1", "0,1024", "a,b", "0,1,2", "-1,0", "0,1x", "0 ,1", "99999999999999999999,0", ""};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    char arguments[96], sentence[128];
    snprintf(arguments, sizeof arguments, "topology h100-8 --path '%s'", bad[i]);
    snprintf(sentence, sizeof sentence, "--path: \"%s\" is not valid; expected A,B, two devices of 0 to 1023", bad[i]);
    command_expect(arguments, 2, sentence);
  }
}
