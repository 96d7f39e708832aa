/* The student's code as the devices of a real session, for counts that do not depend on luck: devices may act one at a time. */
#ifndef LAB_DEVICES_H
#define LAB_DEVICES_H

#include <semaphore.h>
#include <uma.h>

#include "lab.h"

enum { DEVICES_MOST = 16 };

/* Runs function(argument) on all devices (uma_spawn). Credits nothing; ends the group with what happened when a device fails. `config` may be
 * NULL; a limit of time that is less than any group's is set in it. */
void devices_run(struct lab *lab, const struct uma_config *config, int devices, int (*function)(void *), void *argument);

/* Turns: device 0, 1, … and 0 again. Lies in memory that the devices share (lab_shared). */
struct turns {
  int devices;
  sem_t begins[DEVICES_MOST];
};
void turns_init(struct turns *turns, int devices); /* before the devices start */
void turns_await(struct turns *turns);             /* this device's turn */
void turns_pass(struct turns *turns);              /* to the next device */

#endif
