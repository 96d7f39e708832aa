/* Reads settings from flags, environment and struct uma_config by one table, and derives the session's shape.
 *
 * Every mistake is reported with the name it came under, its value, and what would be valid (uma_last_error). */
#include "uma/config.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "coherence/pages.h"
#include "uma/clock.h"

/* ThreadSanitizer lets a program map only its own ranges of addresses; this one lies below where it puts executables. */
#if defined(__SANITIZE_THREAD__)
#define DEFAULT_BASE 0x550000000000u
#define HIGHEST_ADDRESS 0x555500000000u
#else
#define DEFAULT_BASE 0x200000000000u
#define HIGHEST_ADDRESS 0x700000000000u /* above it the kernel maps libraries and stacks */
#endif
#define HUGE_PAGE ((size_t)2 << 20)
#define SMALL_PAGE ((size_t)4096)
#define LEAST_MEMORY ((size_t)64 << 10)

#define ROW(KIND, field, flag, initial, values, help) {UMA_SETTING_##KIND, offsetof(struct uma_config, field), flag, initial, values, help},
const struct uma_setting uma_settings[] = {UMA_SETTINGS(ROW)};
const int uma_setting_count = sizeof uma_settings / sizeof uma_settings[0];

void uma_setting_variable(const struct uma_setting *setting, char *name)
{
  strcpy(name, "UMA_");
  size_t i = 0;
  for (; i < 59 && setting->flag[i]; i++) name[4 + i] = setting->flag[i] == '-' ? '_' : (char)toupper((unsigned char)setting->flag[i]);
  name[4 + i] = 0;
}

int uma_parse_size(const char *text, size_t *bytes)
{
  char *end;
  if (!isdigit((unsigned char)text[0])) return -EINVAL;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  if (errno) return -EINVAL;
  const char *units = "KMGT", *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
  int shift = 0;
  if (unit) {
    shift = 10 * (int)(unit - units + 1);
    end++;
  }
  if (*end || value > SIZE_MAX >> shift) return -EINVAL;
  *bytes = (size_t)value << shift;
  return 0;
}

const char *uma_format_size(size_t bytes, char text[32])
{
  const char *units = "KMGT";
  int unit = -1;
  while (unit < 3 && bytes && bytes % 1024 == 0) {
    bytes /= 1024;
    unit++;
  }
  snprintf(text, 32, unit < 0 ? "%zu" : "%zu%c", bytes, unit < 0 ? 0 : units[unit]);
  return text;
}

static int read_word(const char *words, const char *text, int *place)
{
  size_t length = strlen(text);
  for (int i = 1; *words; i++) {
    size_t word = strcspn(words, "|");
    if (word == length && !memcmp(words, text, length)) {
      *place = i;
      return 0;
    }
    words += word + (words[word] == '|');
  }
  return -EINVAL;
}

static int read_number(const char *text, double *value)
{
  char *end;
  *value = strtod(text, &end);
  return end == text || *end || !isfinite(*value) || *value < 0 ? -EINVAL : 0;
}

static int read_integer(const char *text, int base, unsigned long long *value)
{
  char *end;
  errno = 0;
  *value = strtoull(text, &end, base);
  return errno || end == text || *end || text[0] == '-' ? -EINVAL : 0;
}

static int read_field(const struct uma_setting *setting, const char *text, void *field)
{
  unsigned long long value = 0;
  switch (setting->kind) {
  case UMA_SETTING_SIZE: /* none may be 0, which means "not set" */ return uma_parse_size(text, field) || !*(size_t *)field ? -EINVAL : 0;
  case UMA_SETTING_SECONDS: return read_number(text, field);
  case UMA_SETTING_CHOICE:
  case UMA_SETTING_SWITCH: return read_word(setting->values, text, field);
  case UMA_SETTING_TEXT: *(const char **)field = text; return 0;
  case UMA_SETTING_ADDRESS:
    if (read_integer(text, 16, &value)) return -EINVAL;
    *(uintptr_t *)field = value;
    return 0;
  case UMA_SETTING_COUNT:
    if (read_integer(text, 10, &value) || value < 1 || value > INT32_MAX) return -EINVAL;
    *(int *)field = (int)value;
    return 0;
  }
  return -EINVAL;
}

int uma_setting_read(const struct uma_setting *setting, const char *source, const char *text, struct uma_config *config)
{
  if (!read_field(setting, text, (char *)config + setting->offset)) return 0;
  return uma_fail(-EINVAL, "%s: \"%s\" is not valid; expected %s", source, text, setting->values);
}

static size_t field_bytes(const struct uma_setting *setting)
{
  switch (setting->kind) {
  case UMA_SETTING_SIZE: return sizeof(size_t);
  case UMA_SETTING_SECONDS: return sizeof(double);
  case UMA_SETTING_ADDRESS: return sizeof(uintptr_t);
  case UMA_SETTING_TEXT: return sizeof(const char *);
  default: return sizeof(int);
  }
}

int uma_config_resolve(struct uma_config *config)
{
  static const char zero[16];
  for (int i = 0; i < uma_setting_count; i++) {
    const struct uma_setting *setting = &uma_settings[i];
    if (memcmp((char *)config + setting->offset, zero, field_bytes(setting))) continue;
    char variable[64];
    uma_setting_variable(setting, variable);
    const char *text = getenv(variable);
    int result = uma_setting_read(setting, text ? variable : setting->flag, text ? text : setting->initial, config);
    if (result) return result;
  }
  return 0;
}

int uma_host_processors(void)
{
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set)) return 1;
  return CPU_COUNT(&set);
}

size_t uma_host_memory(void)
{
  size_t memory = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
  const char *limits[] = {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
  for (int i = 0; i < 2; i++) {
    FILE *file = fopen(limits[i], "r");
    unsigned long long limit;
    if (!file) continue;
    if (fscanf(file, "%llu", &limit) == 1 && limit < memory) memory = limit;
    fclose(file);
  }
  return memory;
}

static int check_choices(const struct uma_config *config)
{
  for (int i = 0; i < uma_setting_count; i++) {
    const struct uma_setting *setting = &uma_settings[i];
    if (setting->kind != UMA_SETTING_CHOICE && setting->kind != UMA_SETTING_SWITCH) continue;
    int words = 1, value = *(const int *)((const char *)config + setting->offset);
    for (const char *c = setting->values; *c; c++) words += *c == '|';
    if (value < 1 || value > words)
      return uma_fail(-EINVAL, "%s: %d is not valid; expected 1 to %d for %s", setting->flag, value, words, setting->values);
  }
  return 0;
}

static bool is_power_of_two(size_t n)
{
  return n && !(n & (n - 1));
}

/* The caches of access mode `line`. */
static int check_cache(const struct uma_config *config)
{
  char line[32], cache[32];
  uma_format_size(config->line, line);
  uma_format_size(config->cache, cache);
  if (config->line < COH_LINE_LEAST || config->line > COH_LINE_MOST || !is_power_of_two(config->line))
    return uma_fail(-EINVAL, "line: %s is not valid; expected 64 to 4K, a power of two", line);
  if (config->ways > COH_WAYS_MOST) return uma_fail(-EINVAL, "ways: %d is not valid; expected 1 to %d", config->ways, COH_WAYS_MOST);
  size_t set = config->line * (size_t)config->ways;
  if (config->cache % set || !is_power_of_two(config->cache / set) || config->cache > uma_host_memory())
    return uma_fail(-EINVAL, "cache: %s is not valid; expected a power of two times line x ways, %zu bytes, within the memory of this host",
                    cache, set);
  return 0;
}

/* Those of access mode `page`. */
static int check_pages(const struct uma_config *config)
{
  char page[32], frames[32];
  uma_format_size(config->page, page);
  uma_format_size(config->frames, frames);
  if (config->page < SMALL_PAGE || config->page > HUGE_PAGE || !is_power_of_two(config->page))
    return uma_fail(-EINVAL, "page: %s is not valid; expected 4K to 2M, a power of two", page);
  if (config->frames < LEAST_MEMORY || config->frames / config->page < COH_BUDGET_LEAST)
    return uma_fail(-EINVAL, "frames: %s is not valid; expected 64K or more, and at least %d pages of %s", frames, COH_BUDGET_LEAST, page);
  if (config->prefetch > COH_PREFETCH_MOST)
    return uma_fail(-EINVAL, "prefetch: %d is not valid; expected 1 to %d", config->prefetch, COH_PREFETCH_MOST);
  return 0;
}

static int check_huge_pages(const struct uma_config *config)
{
  if (config->hugepages != UMA_HUGEPAGES_ALWAYS || config->coherence != UMA_COHERENCE_PAGE) return 0;
  return uma_fail(-EINVAL, "hugepages: always does not go with --coherence page, whose pages have their own size (--page); expected never");
}

static int check_protocol(const struct uma_config *config)
{
  if (strlen(config->protocol) >= sizeof((struct uma_shape *)0)->protocol)
    return uma_fail(-EINVAL, "protocol: a name of %zu characters is too long; expected up to %zu", strlen(config->protocol),
                    sizeof((struct uma_shape *)0)->protocol - 1);
  return 0;
}

static int check_trace(const struct uma_config *config)
{
  if (!*config->trace || config->coherence != UMA_COHERENCE_NONE) return 0;
  return uma_fail(-EINVAL, "trace: \"%s\": there are no coherence messages with --coherence none; expected line or page", config->trace);
}

/* Several hosts, which share no memory. */
static int check_hosts(const struct uma_config *config, int devices)
{
  const struct uma_shape *shape = NULL;
  const char *texts[] = {config->provider, config->interface}, *names[] = {"provider", "interface"};
  for (int i = 0; i < 2; i++)
    if (strlen(texts[i]) >= sizeof shape->provider)
      return uma_fail(-EINVAL, "%s: \"%s\" is too long; expected up to %zu characters", names[i], texts[i], sizeof shape->provider - 1);
  if (config->silence < 1)
    return uma_fail(-EINVAL, "silence: %g s is not valid; expected at least 1, as others are asked now and then only", config->silence);
  if (config->hosts < 1 || config->hosts > devices)
    return uma_fail(-EINVAL, "hosts: %d is not valid; expected 1 to %d, the number of devices", config->hosts, devices);
  if (config->hosts == 1) return 0;
  if (config->servers != 1 && config->servers % config->hosts)
    return uma_fail(-EINVAL, "servers: %d is not valid; expected a multiple of the number of hosts, %d, as a server sits on one host",
                    config->servers, config->hosts);
  if (config->coherence == UMA_COHERENCE_NONE && config->mode == UMA_MODE_SUPERNODE)
    return uma_fail(-EINVAL,
                    "coherence: none is not valid with %d hosts: the processor's loads and stores reach the memory of one host only; "
                    "expected page or line, or --mode stacked, where every server is a domain",
                    config->hosts);
  if (*config->trace)
    return uma_fail(-EINVAL, "trace: \"%s\": messages of several hosts have no common order; expected one host", config->trace);
  if (config->create == UMA_ON) return uma_fail(-EINVAL, "create: a device cannot be copied to another host; expected one host");
  return 0;
}

static int check_fabric(const struct uma_config *config)
{
  bool crossed = config->hosts > 1 || (config->mode == UMA_MODE_STACKED && config->servers > 1);
  if (config->fabric == UMA_FABRIC_URING || crossed) return 0;
  return uma_fail(-EINVAL,
                  "fabric: ofi is not valid with one coherence domain on one host, as it carries what crosses these; expected uring, or "
                  "--mode stacked with several --servers or --hosts");
}

/* The machine that is modelled, if any, has to have a device for each of the session's. */
static int check_profile(const struct uma_config *config, int devices, size_t *bytes, uint64_t *digest)
{
  size_t most = sizeof((struct uma_shape *)0)->profile - 1;
  *bytes = 0;
  *digest = 0;
  if (!*config->profile) return 0;
  if (strlen(config->profile) > most)
    return uma_fail(-EINVAL, "profile: a name of %zu characters is too long; expected up to %zu", strlen(config->profile), most);
  return uma_clock_check(config->profile, devices, bytes, digest);
}

static int check_create(const struct uma_config *config)
{
  if (config->create != UMA_ON || config->mode != UMA_MODE_STACKED || config->servers == 1) return 0;
  return uma_fail(-EINVAL, "create: devices create each other in one coherence domain only; expected --mode supernode");
}

int uma_config_shape(const struct uma_config *config, int devices, struct uma_shape *shape)
{
  char text[32], limit[32];
  if (check_choices(config) || check_huge_pages(config) || check_cache(config) || check_pages(config) || check_protocol(config) ||
      check_trace(config) || check_create(config))
    return -EINVAL;
  if (devices < 1 || devices > UMA_MAX_DEVICES)
    return uma_fail(-EINVAL, "devices: %d is not valid; expected 1 to %d", devices, UMA_MAX_DEVICES);
  if (check_hosts(config, devices) || check_fabric(config)) return -EINVAL;
  if (config->servers < 1 || config->servers > devices)
    return uma_fail(-EINVAL, "servers: %d is not valid; expected 1 to %d, the number of devices", config->servers, devices);
  size_t host = uma_host_memory();
  if (config->memory < LEAST_MEMORY || config->memory > host)
    return uma_fail(-EINVAL, "memory: %s is not valid; expected 64K to %s, the memory of this host", uma_format_size(config->memory, text),
                    uma_format_size(host >> 20 << 20, limit));
  size_t page = config->hugepages == UMA_HUGEPAGES_ALWAYS ? HUGE_PAGE : config->coherence == UMA_COHERENCE_PAGE ? config->page : SMALL_PAGE;
  size_t memory = (config->memory + page - 1) / page * page;
  uintptr_t base = config->base ? config->base : DEFAULT_BASE;
  if (base % HUGE_PAGE || base < HUGE_PAGE || base >= HIGHEST_ADDRESS)
    return uma_fail(-EINVAL, "base: 0x%zx is not valid; expected a multiple of 2M below 0x%zx", (size_t)base, (size_t)HIGHEST_ADDRESS);
  if (memory > (HIGHEST_ADDRESS - base) / (size_t)devices)
    return uma_fail(-EINVAL, "memory: %d windows of %s do not fit between 0x%zx and 0x%zx", devices, uma_format_size(memory, text),
                    (size_t)base, (size_t)HIGHEST_ADDRESS);
  size_t clock_bytes;
  uint64_t clock_digest;
  if (check_profile(config, devices, &clock_bytes, &clock_digest)) return -EINVAL;
  int servers = config->servers < config->hosts ? config->hosts : config->servers;
  int domains = config->mode == UMA_MODE_STACKED ? servers : 1;
  *shape = (struct uma_shape){
      .devices = devices,
      .hosts = config->hosts,
      .servers = servers,
      .domains = domains,
      .groups = domains > config->hosts ? domains : config->hosts,
      .fabric = config->fabric,
      .silence_ns = (uint64_t)(fmin(config->silence, 1e9) * 1e9),
      .base = base,
      .memory = memory,
      .hugepages = config->hugepages,
      .numa = config->numa,
      .on_failure = config->on_failure,
      .stats = config->stats,
      .coherence = config->coherence,
      .ways = config->ways,
      .sharers = config->sharers,
      .line = config->coherence == UMA_COHERENCE_PAGE ? config->page : config->line,
      .cache = config->cache,
      .frames = config->frames,
      .prefetch = config->prefetch,
      .faults = config->faults,
      .traced = *config->trace,
      .clock_bytes = clock_bytes,
      .clock_digest = clock_digest,
      .create = config->create == UMA_ON,
      .oversubscribed = devices > uma_host_processors(),
  };
  strcpy(shape->protocol, config->protocol);
  strcpy(shape->profile, config->profile);
  strcpy(shape->provider, config->provider);
  strcpy(shape->interface, config->interface);
  return 0;
}
