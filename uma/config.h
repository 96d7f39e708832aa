/* Settings as data: the table of uma/settings.h with its texts, parsing, and the shape of a session that follows from them. */
#ifndef UMA_CONFIG_H
#define UMA_CONFIG_H

#include "uma.h"
#include "uma/session.h"

enum uma_setting_kind {
  UMA_SETTING_COUNT,
  UMA_SETTING_SIZE,
  UMA_SETTING_SECONDS,
  UMA_SETTING_ADDRESS,
  UMA_SETTING_CHOICE,
  UMA_SETTING_SWITCH,
  UMA_SETTING_TEXT,
};

struct uma_setting {
  enum uma_setting_kind kind;
  size_t offset; /* of the field in struct uma_config */
  const char *flag, *initial, *values, *help;
};
extern const struct uma_setting uma_settings[];
extern const int uma_setting_count;

/* "UMA_ON_FAILURE" for "on-failure"; `name` has room for 64 bytes. */
void uma_setting_variable(const struct uma_setting *setting, char *name);
/* Reads `text` into the setting's field; `source` (a flag's or a variable's name) is named in the error. 0 or -EINVAL. */
int uma_setting_read(const struct uma_setting *setting, const char *source, const char *text, struct uma_config *config);
/* Fills what is not set from the environment and the defaults. 0 or -EINVAL. */
int uma_config_resolve(struct uma_config *config);
/* Checks a resolved configuration against the number of devices and this host. 0 or -EINVAL. */
int uma_config_shape(const struct uma_config *config, int devices, struct uma_shape *shape);

int uma_parse_size(const char *text, size_t *bytes);      /* "64K"; 0 or -EINVAL */
const char *uma_format_size(size_t bytes, char text[32]); /* the inverse, with the largest unit that divides it; else in bytes */
size_t uma_host_memory(void);                             /* of this host, or of this container if that is less */
int uma_host_processors(void);                            /* that this process may run on */

#endif
