/* `uma info`: what this host offers, and what limits a session here. */
#include <argp.h>
#include <dirent.h>
#include <numa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include "fabric/fabric.h"
#include "uma/commands.h"
#include "uma/config.h"

/* The rest of the first line of `path` that begins with `key` (any line when key is ""), or "unknown". */
static const char *read_line(const char *path, const char *key, char *text, size_t room)
{
  FILE *file = fopen(path, "re");
  char line[512];
  snprintf(text, room, "unknown");
  while (file && fgets(line, sizeof line, file)) {
    if (strncmp(line, key, strlen(key))) continue;
    char *value = line + strlen(key);
    value += strspn(value, " \t:");
    value[strcspn(value, "\n")] = 0;
    snprintf(text, room, "%s", value);
    break;
  }
  if (file) fclose(file);
  return text;
}

static void print_host(void)
{
  struct utsname name;
  char text[512], size[32];
  uname(&name);
  printf("libuma          %s\n", UMA_VERSION);
  printf("host            %s, %s %s, %s\n", name.nodename, name.sysname, name.release, name.machine);
  printf("processor       %s, %d for this process\n", read_line("/proc/cpuinfo", "model name", text, sizeof text), uma_host_processors());
  printf("memory          %s\n", uma_format_size(uma_host_memory() >> 20 << 20, size));
  printf("huge pages      shmem_enabled: %s\n", read_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "", text, sizeof text));
}

static void print_nodes(void)
{
  char size[32];
  if (numa_available() < 0) {
    printf("NUMA            not available\n");
    return;
  }
  for (int node = 0; node <= numa_max_node(); node++) {
    long long bytes = numa_node_size64(node, NULL);
    if (bytes > 0) printf("NUMA node %-5d %s\n", node, uma_format_size((size_t)bytes >> 20 << 20, size));
  }
}

static const char *use_of(const struct fab_ops *fabric)
{
  if (fabric == &fab_shm) return "within a domain on one host";
  if (fabric == &fab_uring) return "between domains (--mode stacked)";
  if (fabric == &fab_ofi) return "between hosts of a domain; between domains with --fabric ofi, whose windows it reads and writes (RMA)";
  return "no hardware: simulated, for tests and uma check --random";
}

static void print_fabrics(void)
{
  int refused = fab_uring_available();
  const struct fab_ops *fabric;
  for (int i = 0; (fabric = fab_at(i)); i++) {
    bool missing = fabric == &fab_uring && refused;
    const char *remark = missing ? "not available: " : use_of(fabric);
    printf("fabric %-8s %s%s%s%s%s\n", fabric->name, fabric->capabilities & FAB_MAP ? "MAP " : "",
           fabric->capabilities & FAB_RMA ? "RMA " : "", fabric->capabilities & FAB_MSG ? "MSG " : "", remark,
           missing ? strerror(-refused) : "");
  }
}

/* Of several hosts: what carries the fabric ofi on the loopback, which every host has. */
static void print_providers(void)
{
  struct fab_ofi_provider providers[16];
  int count = fab_ofi_providers(NULL, providers, 16);
  printf("libfabric       %s%s\n", fab_ofi_version(), count > 0 ? "" : ", no provider with ordered messages and RMA");
  for (int i = 0; i < count; i++)
    printf("provider %-13s %s%s\n", providers[i].name, providers[i].chosen ? "chosen: " : "", providers[i].remark);
}

static void print_limits(void)
{
  struct rlimit files, processes;
  char text[64];
  getrlimit(RLIMIT_NOFILE, &files);
  getrlimit(RLIMIT_NPROC, &processes);
  printf("limits          %d devices, %lu open files (ulimit -Hn), %lu processes (ulimit -u), %s mappings\n", UMA_MAX_DEVICES,
         (unsigned long)files.rlim_max, (unsigned long)processes.rlim_cur, read_line("/proc/sys/vm/max_map_count", "", text, sizeof text));
}

static void print_settings(void)
{
  char variable[64];
  printf("\n%-16s %-18s %-12s %s\n", "setting", "variable", "now", "valid");
  for (int i = 0; i < uma_setting_count; i++) {
    uma_setting_variable(&uma_settings[i], variable);
    const char *text = getenv(variable);
    printf("--%-14s %-18s %-12s %s\n", uma_settings[i].flag, variable, text ? text : uma_settings[i].initial, uma_settings[i].values);
  }
}

int uma_cmd_info(int argc, char **argv)
{
  struct argp argp = {.doc = "Prints this host, its NUMA nodes, fabrics and limits, and the settings of a session."};
  argp_parse(&argp, argc, argv, 0, NULL, NULL);
  print_host();
  print_nodes();
  print_fabrics();
  print_providers();
  print_limits();
  print_settings();
  return 0;
}
