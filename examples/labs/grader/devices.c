/* Devices: see devices.h. A device that dies ends its session, so nobody waits for its turn in vain. */
#include <errno.h>
#include <string.h>

#include "devices.h"

enum { SECONDS = 5, TIMED_OUT = 124, SIGNALLED = 128 };

void devices_run(struct lab *lab, const struct uma_config *config, int devices, int (*function)(void *), void *argument)
{
  struct uma_config settings = config ? *config : (struct uma_config){0};
  settings.timeout = SECONDS;
  fflush(NULL);
  int result = uma_spawn(&settings, devices, function, argument);
  if (result < 0) lab_stop(lab, "the session of %d devices could not start: %s", devices, uma_last_error());
  if (result == TIMED_OUT)
    lab_stop(lab, "the devices did not end within %d s: an endless loop, or one waits for what never comes", SECONDS);
  if (result > SIGNALLED) lab_stop(lab, "a device ended by a signal (%s); what it said is above", strsignal(result - SIGNALLED));
  if (result) lab_stop(lab, "a device ended with exit status %d; what it said is above", result);
}

void turns_init(struct turns *turns, int devices)
{
  turns->devices = devices;
  for (int d = 0; d < devices; d++) sem_init(&turns->begins[d], 1, d == 0);
}

void turns_await(struct turns *turns)
{
  while (sem_wait(&turns->begins[uma_device()]) && errno == EINTR) {
  }
}

void turns_pass(struct turns *turns)
{
  sem_post(&turns->begins[(uma_device() + 1) % turns->devices]);
}
