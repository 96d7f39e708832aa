/* Stands in for Criterion where that cannot run: ThreadSanitizer forbids the fixed addresses at which Criterion's worker processes share memory.
 * The same tests, each in a fork of a process of one thread; the part of the interface that they use. Built with SAN=thread only. */
#ifndef TESTS_PLAIN_CRITERION_H
#define TESTS_PLAIN_CRITERION_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct plain_test {
  const char *suite, *name;
  void (*run)(void);
  void (*init)(void), (*fini)(void);
  double timeout; /* unused; here so that .timeout = S may stand behind a test's name */
  struct plain_test *next;
};
extern struct plain_test *plain_tests;
extern int plain_failures; /* of the test that runs */
enum { PLAIN_SKIPPED = 77 };

#define Test(suite_, name_, ...) \
  static void suite_##_##name_##_run(void); \
  __attribute__((constructor)) static void suite_##_##name_##_add(void) \
  { \
    static struct plain_test test = {.suite = #suite_, .name = #name_, .run = suite_##_##name_##_run, ##__VA_ARGS__}; \
    test.next = plain_tests; \
    plain_tests = &test; \
  } \
  static void suite_##_##name_##_run(void)

#define PLAIN_TOLD(...) (fprintf(stderr, " " __VA_ARGS__), fputc('\n', stderr))
#define PLAIN_CHECK(condition, text, fatal, ...) \
  ((condition) ? (void)0 \
               : (fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, text), PLAIN_TOLD(__VA_ARGS__), plain_failures++, \
                  (fatal) ? _exit(1) : (void)0))

#define cr_assert(condition, ...) PLAIN_CHECK(condition, #condition, 1, ##__VA_ARGS__)
#define cr_assert_not(condition, ...) PLAIN_CHECK(!(condition), "not " #condition, 1, ##__VA_ARGS__)
#define cr_assert_eq(a, b, ...) PLAIN_CHECK((a) == (b), #a " == " #b, 1, ##__VA_ARGS__)
#define cr_assert_neq(a, b, ...) PLAIN_CHECK((a) != (b), #a " != " #b, 1, ##__VA_ARGS__)
#define cr_assert_geq(a, b, ...) PLAIN_CHECK((a) >= (b), #a " >= " #b, 1, ##__VA_ARGS__)
#define cr_assert_leq(a, b, ...) PLAIN_CHECK((a) <= (b), #a " <= " #b, 1, ##__VA_ARGS__)
#define cr_assert_fail(...) PLAIN_CHECK(0, "reached", 1, ##__VA_ARGS__)
#define cr_expect_neq(a, b, ...) PLAIN_CHECK((a) != (b), #a " != " #b, 0, ##__VA_ARGS__)
#define cr_expect_gt(a, b, ...) PLAIN_CHECK((a) > (b), #a " > " #b, 0, ##__VA_ARGS__)
#define cr_expect_geq(a, b, ...) PLAIN_CHECK((a) >= (b), #a " >= " #b, 0, ##__VA_ARGS__)
#define cr_expect_lt(a, b, ...) PLAIN_CHECK((a) < (b), #a " < " #b, 0, ##__VA_ARGS__)
#define cr_expect_leq(a, b, ...) PLAIN_CHECK((a) <= (b), #a " <= " #b, 0, ##__VA_ARGS__)
#define cr_expect_null(a, ...) PLAIN_CHECK((a) == NULL, #a " == NULL", 0, ##__VA_ARGS__)
#define cr_expect_arr_eq(a, b, bytes, ...) PLAIN_CHECK(!memcmp(a, b, bytes), #a " == " #b, 0, ##__VA_ARGS__)
#define cr_assert_lt(a, b, ...) PLAIN_CHECK((a) < (b), #a " < " #b, 1, ##__VA_ARGS__)
#define cr_assert_null(a, ...) PLAIN_CHECK((a) == NULL, #a " == NULL", 1, ##__VA_ARGS__)
#define cr_assert_gt(a, b, ...) PLAIN_CHECK((a) > (b), #a " > " #b, 1, ##__VA_ARGS__)
#define cr_expect_not(condition, ...) PLAIN_CHECK(!(condition), "not " #condition, 0, ##__VA_ARGS__)
#define cr_expect(condition, ...) PLAIN_CHECK(condition, #condition, 0, ##__VA_ARGS__)
#define cr_expect_eq(a, b, ...) PLAIN_CHECK((a) == (b), #a " == " #b, 0, ##__VA_ARGS__)
#define cr_expect_str_eq(a, b, ...) PLAIN_CHECK(!strcmp(a, b), #a " == " #b, 0, ##__VA_ARGS__)
#define cr_expect_float_eq(a, b, epsilon, ...) PLAIN_CHECK((a) - (b) <= (epsilon) && (b) - (a) <= (epsilon), #a " == " #b, 0, ##__VA_ARGS__)
#define cr_skip_test(...) (PLAIN_TOLD(__VA_ARGS__), _exit(PLAIN_SKIPPED))
#define cr_skip(...) cr_skip_test(__VA_ARGS__)
#define cr_log_info(...) PLAIN_TOLD(__VA_ARGS__)
#define cr_log_warn(...) PLAIN_TOLD(__VA_ARGS__)

#endif
