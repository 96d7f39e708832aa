/* The keeper's helpers for what devices leave behind: their tagged output, and processes that they started. */
#ifndef UMA_OUTPUT_H
#define UMA_OUTPUT_H

#include <poll.h>
#include <sys/types.h>

struct uma_output; /* a pipe for each device's standard output and error */

int uma_output_open(int devices, struct uma_output **output);           /* 0 or -errno */
void uma_output_close(struct uma_output *output);                       /* closes descriptors only: for a child */
int uma_output_prepare(struct uma_output *output, int device);          /* in the keeper, before it starts the device; 0 or -errno */
void uma_output_redirect(struct uma_output *output, int device);        /* in the device: its output goes into the pipes */
void uma_output_started(struct uma_output *output, int device);         /* in the keeper: the device has its ends */
int uma_output_poll_set(struct uma_output *output, struct pollfd *fds); /* returns how many were filled, at most 2 a device */
void uma_output_forward(struct uma_output *output);                     /* whole lines that have come, each with its tag */
void uma_output_flush(struct uma_output *output);                       /* all that is left */

/* Sends SIGKILL to every process whose parent is `parent`. */
void uma_output_end_children(pid_t parent);

#endif
