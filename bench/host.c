/* The host that the numbers are from, as far as it may explain them. */
#include <dirent.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "bench/report.h"

/* What follows `key` and a colon in the first line of a file that begins with it; the whole first line when key is "". */
static void file_text(const char *path, const char *key, char *text, size_t room)
{
  FILE *file = fopen(path, "r");
  char line[512];
  snprintf(text, room, "unknown");
  while (file && fgets(line, sizeof line, file)) {
    if (strncmp(line, key, strlen(key))) continue;
    const char *value = *key ? strchr(line, ':') : line;
    value = value ? value + (*key ? 1 : 0) : line;
    value += strspn(value, " \t");
    line[strcspn(line, "\n")] = 0;
    snprintf(text, room, "%s", value);
    break;
  }
  if (file) fclose(file);
}

void bench_host_processor(char *text, size_t room)
{
  file_text("/proc/cpuinfo", "model name", text, room);
}

static void row(FILE *html, const char *name, const char *text)
{
  fprintf(html, "<tr><th>%s</th><td>", name);
  bench_html(html, text);
  fprintf(html, "</td></tr>\n");
}

static int count_nodes(void)
{
  DIR *directory = opendir("/sys/devices/system/node");
  int count = 0;
  for (struct dirent *entry; directory && (entry = readdir(directory));)
    count += !strncmp(entry->d_name, "node", 4) && strspn(entry->d_name + 4, "0123456789") == strlen(entry->d_name + 4);
  if (directory) closedir(directory);
  return count ? count : 1;
}

static void caches(FILE *html)
{
  char text[200], part[64];
  const int names[] = {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE};
  size_t used = 0;
  for (int i = 0; i < 3; i++) {
    long bytes = sysconf(names[i]);
    if (bytes <= 0) continue;
    used += (size_t)snprintf(text + used, sizeof text - used, "%sL%d %s", used ? ", " : "", i + 1,
                             bench_size_text((size_t)bytes, part, sizeof part));
  }
  if (used) row(html, "Caches", text);
}

void bench_host_table(FILE *html)
{
  char text[1200], part[512], other[512];
  struct utsname name;
  struct sysinfo info;
  time_t now = time(NULL);
  struct tm local;
  uname(&name);
  sysinfo(&info);
  file_text("/proc/cpuinfo", "model name", part, sizeof part);
  row(html, "Processor", part);
  snprintf(text, sizeof text, "%ld cores online, %d NUMA node%s", sysconf(_SC_NPROCESSORS_ONLN), count_nodes(),
           count_nodes() == 1 ? "" : "s");
  row(html, "Cores", text);
  caches(html);
  row(html, "Memory", bench_size_text((size_t)info.totalram * info.mem_unit >> 20 << 20, part, sizeof part));
  snprintf(text, sizeof text, "%s %s, %s", name.sysname, name.release, name.machine);
  row(html, "Kernel", text);
  file_text("/sys/kernel/mm/transparent_hugepage/enabled", "", part, sizeof part);
  file_text("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "", other, sizeof other);
  snprintf(text, sizeof text, "private memory: %s; shared memory: %s", part, other);
  row(html, "Huge pages", text);
  row(html, "libuma", UMA_VERSION);
  strftime(text, sizeof text, "%Y-%m-%d %H:%M %Z", localtime_r(&now, &local));
  row(html, "Date", text);
}
