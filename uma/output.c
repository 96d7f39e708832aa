/* Tagged output: each device writes into two pipes, the keeper copies whole lines to its own standard output and error with
 * "[device] " before each. One line is one write, so lines of different devices never mix. A line longer than the buffer is cut in pieces. */
#include "uma/output.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "uma.h"

#define ROOM 8192

struct channel {
  int read_fd, write_fd;
  size_t held;
  char text[ROOM];
};

struct uma_output {
  int devices;
  struct channel channels[]; /* [device * 2 + (standard error)] */
};

int uma_output_open(int devices, struct uma_output **output)
{
  struct uma_output *out = calloc(1, sizeof *out + 2 * (size_t)devices * sizeof out->channels[0]);
  if (!out) return -ENOMEM;
  out->devices = devices;
  for (int i = 0; i < 2 * devices; i++) out->channels[i].read_fd = out->channels[i].write_fd = -1;
  *output = out;
  return 0;
}

void uma_output_close(struct uma_output *output)
{
  for (int i = 0; i < 2 * output->devices; i++)
    if (output->channels[i].read_fd >= 0) close(output->channels[i].read_fd);
}

void uma_output_redirect(struct uma_output *output, int device)
{
  for (int i = 0; i < 2; i++) {
    struct channel *channel = &output->channels[device * 2 + i];
    dup2(channel->write_fd, STDOUT_FILENO + i);
  }
}

void uma_output_started(struct uma_output *output, int device)
{
  for (int i = 0; i < 2; i++) {
    struct channel *channel = &output->channels[device * 2 + i];
    close(channel->write_fd);
    channel->write_fd = -1;
  }
}

int uma_output_prepare(struct uma_output *output, int device)
{
  for (int i = 0; i < 2; i++) {
    int fds[2];
    struct channel *channel = &output->channels[device * 2 + i];
    if (pipe2(fds, O_CLOEXEC)) return -errno;
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    channel->read_fd = fds[0];
    channel->write_fd = fds[1];
  }
  return 0;
}

int uma_output_poll_set(struct uma_output *output, struct pollfd *fds)
{
  int count = 0;
  for (int i = 0; i < 2 * output->devices; i++)
    if (output->channels[i].read_fd >= 0) fds[count++] = (struct pollfd){.fd = output->channels[i].read_fd, .events = POLLIN};
  return count;
}

static void write_line(int index, const char *text, size_t length, bool ended)
{
  char tag[16];
  int tag_length = snprintf(tag, sizeof tag, "[%d] ", index / 2);
  struct iovec parts[] = {{tag, (size_t)tag_length}, {(char *)text, length}, {"\n", ended ? 0 : 1}};
  if (writev(STDOUT_FILENO + index % 2, parts, 3) < 0) return; /* the reader is gone; the devices must not stop for it */
}

static void write_lines(int index, struct channel *channel, bool all)
{
  char *begin = channel->text, *end = channel->text + channel->held, *newline;
  while ((newline = memchr(begin, '\n', (size_t)(end - begin)))) {
    write_line(index, begin, (size_t)(newline + 1 - begin), true);
    begin = newline + 1;
  }
  if (begin < end && (all || (begin == channel->text && channel->held == ROOM))) {
    write_line(index, begin, (size_t)(end - begin), false);
    begin = end;
  }
  channel->held = (size_t)(end - begin);
  memmove(channel->text, begin, channel->held);
}

static void forward(int index, struct channel *channel)
{
  while (channel->read_fd >= 0) {
    ssize_t got = read(channel->read_fd, channel->text + channel->held, ROOM - channel->held);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return;
    channel->held += (size_t)got;
    write_lines(index, channel, got == 0);
    if (got > 0) continue;
    close(channel->read_fd);
    channel->read_fd = -1;
  }
}

void uma_output_forward(struct uma_output *output)
{
  for (int i = 0; i < 2 * output->devices; i++) forward(i, &output->channels[i]);
}

void uma_output_flush(struct uma_output *output)
{
  uma_output_forward(output);
  for (int i = 0; i < 2 * output->devices; i++) write_lines(i, &output->channels[i], true);
}

static pid_t parent_of(const char *process)
{
  char path[300], line[512];
  snprintf(path, sizeof path, "/proc/%s/stat", process);
  FILE *file = fopen(path, "re");
  if (!file) return 0;
  const char *behind_name = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
  fclose(file);
  int parent = 0;
  return behind_name && sscanf(behind_name, ") %*c %d", &parent) == 1 ? parent : 0;
}

void uma_output_end_children(pid_t parent)
{
  DIR *processes = opendir("/proc");
  for (struct dirent *entry; processes && (entry = readdir(processes));)
    if (isdigit((unsigned char)entry->d_name[0]) && parent_of(entry->d_name) == parent) kill((pid_t)atoi(entry->d_name), SIGKILL);
  if (processes) closedir(processes);
}
