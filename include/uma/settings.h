/* The one table of settings.
 *
 * Each row is at once a flag of `uma run`, an environment variable and a field of struct uma_config:
 *
 *     X(KIND, field, "flag", "default", "values or unit", "help")
 *
 * The flag is `--flag`, the variable is UMA_ and the flag in capitals with _ for -. KIND says how the text is
 * read and which C type the field has (see UMA_FIELD_* in uma.h):
 *     COUNT    a whole number                             int
 *     SIZE     bytes, with an optional K, M, G or T       size_t
 *     SECONDS  a number of seconds, with a fraction       double
 *     ADDRESS  a hexadecimal address                      uintptr_t
 *     CHOICE   one of the words in "values"               int, the word's place in the list, counted from 1
 *     SWITCH   0 or 1 (the flag alone means 1)            int, 1 for off and 2 for on
 *     TEXT     a name or a path                           const char *, which stays the caller's
 * A field that is 0 was not set: the environment decides, and after it the default of this table.
 */
#ifndef UMA_SETTINGS_H
#define UMA_SETTINGS_H

/* clang-format off */
#define UMA_SETTINGS(X) \
  X(COUNT, servers, "servers", "1", "1 to the number of devices", "servers that the devices sit in, in equal blocks") \
  X(COUNT, hosts, "hosts", "1", "1 to the number of devices", "hosts that the devices sit on: those of different hosts share no memory") \
  X(TEXT, provider, "provider", "", "a provider of libfabric", "what carries messages between hosts (uma info lists them)") \
  X(TEXT, interface, "interface", "", "a name, an address or any", "where this host is reached by others (loopback under uma run)") \
  X(SECONDS, silence, "silence", "20", "seconds, at least 1", "how long another host may be silent before its devices are lost") \
  X(CHOICE, mode, "mode", "supernode", "supernode|stacked", "one coherence domain over all servers, or one for each server") \
  X(CHOICE, fabric, "fabric", "uring", "uring|ofi", "what crosses domains: messages over sockets, or RMA and messages by libfabric") \
  X(SIZE, memory, "memory", "1G", "64K to the memory of this host", "size of each device's window (it costs what is touched)") \
  X(CHOICE, coherence, "coherence", "none", "none|line|page", "who keeps copies consistent: none the processor; caches of lines, or of pages") \
  X(TEXT, protocol, "protocol", "mesi", "msi, mesi, moesi, mesif or a file", "the coherence protocol of the caches (coherence/README.md)") \
  X(SIZE, line, "line", "64", "64 to 4K, a power of two", "size of a line of the caches") \
  X(SIZE, cache, "cache", "1M", "a power of two times line and ways", "size of each device's cache") \
  X(COUNT, ways, "ways", "8", "1 to 64", "places of a cache in which a line may be") \
  X(SIZE, page, "page", "4K", "4K to 2M, a power of two", "size of a page of --coherence page") \
  X(SIZE, frames, "frames", "1T", "64K or more, and 16 pages", "memory in which each device keeps pages (no more than all windows)") \
  X(COUNT, prefetch, "prefetch", "8", "1 to 64", "pages that come at once to a device that reads in order") \
  X(CHOICE, faults, "faults", "auto", "auto|signal|thread", "who brings a page: the thread that needs it (auto), or one that serves the kernel, too") \
  X(CHOICE, sharers, "sharers", "full", "full|limited|coarse", "what directories know: every sharer, a few by name, or groups") \
  X(CHOICE, hugepages, "hugepages", "never", "never|always", "back allocated memory by huge pages") \
  X(CHOICE, numa, "numa", "auto", "auto|none|interleave", "windows on their device's NUMA node, where they fall, or on all nodes") \
  X(CHOICE, on_failure, "on-failure", "end", "end|continue", "end the session with the first device that fails, or go on without it") \
  X(SWITCH, create, "create", "0", "0|1", "start device 0 only; it creates the others as copies of itself (uma_fork)") \
  X(SECONDS, timeout, "timeout", "0", "seconds, 0 for none", "end the session after this time") \
  X(SWITCH, tag_output, "tag-output", "0", "0|1", "write [device] before each line that a device prints") \
  X(TEXT, profile, "profile", "", "a profile (uma topology lists them) or a file", "model what the session would take on that machine: a second clock") \
  X(SWITCH, stats, "stats", "0", "0|1", "print the use of each window when the session ends, and what the caches did; with a profile, where modelled time went") \
  X(TEXT, trace, "trace", "", "a file", "record every coherence message there (opens in Perfetto; uma trace)") \
  X(ADDRESS, base, "base", "0", "hexadecimal, a multiple of 2M, 0 for the default", "where the address space begins")
/* clang-format on */

#endif
