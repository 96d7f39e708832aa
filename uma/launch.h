/* Starting a session's processes, and seeing it to its end. */
#ifndef UMA_LAUNCH_H
#define UMA_LAUNCH_H

#include "uma.h"

struct uma_program {
  char *const *argv;               /* NULL-terminated, found as execvp does; or */
  int (*function)(void *argument); /* run in a fork of the caller */
  void *argument;
  struct uma_modelled *modelled; /* NULL, or shared memory: the devices' modelled times at the end of a session with a profile */
};

/* Runs a session of `devices` devices and waits for its end. Returns as uma_spawn. With argv, SIGINT, SIGTERM and SIGHUP sent to the
 * caller end the session too, and the caller must have one thread. */
int uma_launch(const struct uma_config *config, int devices, const struct uma_program *program);

#endif
