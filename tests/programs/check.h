/* A device of a session that finds something wrong says so and ends. */
#ifndef TESTS_PROGRAMS_CHECK_H
#define TESTS_PROGRAMS_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include "uma.h"

#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "%s:%d: device %d: %s does not hold (%s)\n", __FILE__, __LINE__, uma_device(), #condition, uma_last_error()); \
      exit(99); \
    } \
  } while (0)

#endif
