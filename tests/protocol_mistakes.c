/* Loading a protocol reports every mistake, with its line and a sentence. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coherence/protocol.h"

/* Parses the text; what was said in *said. */
static int parse(const char *text, char **said)
{
  size_t size;
  struct coh_protocol *protocol = malloc(sizeof *protocol);
  FILE *report = open_memstream(said, &size);
  int result = coh_protocol_parse(text, "it", protocol, report);
  fclose(report);
  free(protocol);
  return result;
}

/* How much of `text` matches `pattern`, where any number of blanks matches any other; 0: it does not. */
static size_t match(const char *text, const char *pattern)
{
  const char *at = text;
  while (*pattern) {
    if (*at != *pattern) return 0;
    bool blank = *at == ' ';
    at++, pattern++;
    while (blank && *at == ' ') at++;
    while (blank && *pattern == ' ') pattern++;
  }
  return (size_t)(at - text);
}

/* msi with the first match of `from` after the line `section` replaced; *line is where. */
static char *edited(const char *section, const char *from, const char *to, int *line)
{
  const char *text = coh_shipped_text("msi"), *place = strstr(text, section);
  size_t length = 0;
  char *result;
  while (place && *place && !(length = match(place, from))) place++;
  if (!length) place = NULL;
  cr_assert(place, "\"%s\" is not in section %s", from, section);
  *line = 1;
  for (const char *at = text; at < place; at++) *line += *at == '\n';
  *line += from[0] == '\n';
  if (asprintf(&result, "%.*s%s%s", (int)(place - text), text, to, place + length) < 0) abort();
  return result;
}

static const struct mistake {
  const char *section, *from, *to, *sentence;
} mistakes[] = {
    {"messages", "GetS       request", "GetS       query", "message GetS is of class \"query\"; expected request, forward or response"},
    {"messages", "PutM       request   data", "PutM       request   line", "message PutM carries \"line\""},
    {"messages", "GetM       request   -", "GetS       request   -", "message GetS is declared twice"},
    {"cache states", "S          read ", "S          look ", "state S has the right \"look\"; expected none, read or read-write"},
    {"cache states", "IS_D       none        transient", "IS_D       none        moving",
     "state IS_D is \"moving\"; expected stable or transient"},
    {"cache states", "I          none        stable", "I          none        transient",
     "the first and so the initial one, but not stable"},
    {"cache states", "IM_A       none", "IS_D       none", "cache state IS_D is declared twice"},
    {"cache events", "Inv            Inv", "Inv            Invalidate", "event Inv stands for an unknown message \"Invalidate\""},
    {"cache events", "Data more", "Data later", "event Data-Acks: \"later\" is not a fact; expected last or more"},
    {"cache events", "Data more", "Data from-owner", "a cache does not know whether \"from-owner\""},
    {"cache events", "Data more", "Data last", "Data last is event Data and event Data-Acks at once"},
    {"cache events", "Evict          evict", "Evict          evict last", "evict more is no event of the cache"},
    {"cache actions", "send GetS to home", "send GetX to home", "action get_S sends an unknown message \"GetX\""},
    {"cache actions", "send GetS to home", "send GetS to owner", "action get_S sends to \"owner\"; expected home or requestor"},
    {"cache actions", "send GetS to home", "send GetS to requestor", "sends GetS, but the cache has no event for it"},
    {"cache actions", "get_S          send", "fill           send", "cache action fill is a word of the language"},
    {"cache actions", "unblock        send Unblock to home", "unblock        post Unblock to home",
     "expected \"NAME send MESSAGE to TARGET : meaning\""},
    {"cache transitions", "get_S              -> IS_D", "get_X              -> IS_D", "unknown cache action \"get_X\""},
    {"cache transitions", "get_S              -> IS_D", "get_S              -> IS_X", "unknown next state \"IS_X\" of the cache"},
    {"cache transitions", "I            Inv ", "I            Inv2 ", "unknown cache event \"Inv2\""},
    {"cache transitions", "I            Inv ", "IX           Inv ", "unknown cache state \"IX\""},
    {"cache transitions", "II_A         Put-Ack", "SI_A         Put-Ack",
     "duplicate cell: state SI_A, event Put-Ack already stands in line"},
    {"cache transitions", "-> SM_AD", "stall", "stall is what the whole cell does"},
    {"cache transitions", "S            Load                load", "S            Load                stall",
     "state S has the right read, but a load does not hit there"},
    {"cache transitions", "M            Store               store", "M            Store               stall",
     "state M has the right read-write, but a store does not hit there"},
    {"cache transitions", "fill store unblock -> M", "fill store unblock -> S",
     "a store is done on the way from IM_AD to S, which has the right read"},
    {"cache transitions", "I            Load                get_S", "I            Load                load",
     "a load hits in state I, which has no right to read"},
    {"cache transitions", "M            Fwd-GetM            data ", "M            Fwd-GetM            fill ",
     "the message's data is taken, but Fwd-GetM carries none"},
    {"cache transitions", "SI_A         Inv                 ack                -> II_A", "SI_A Put-Ack2 -",
     "unknown cache event \"Put-Ack2\""},
    {"directory states", "S_D        busy", "S_D        transient", "state S_D is \"transient\"; expected stable or busy"},
    {"directory events", "Data         Data", "Data         Data last", "a directory does not know whether \"last\""},
    {"directory actions", "send Data to requestor", "send Data to home",
     "action data sends to \"home\"; expected requestor, owner or sharers"},
    {"directory actions", "\ndirectory transitions", "\n\n", "the section \"directory transitions\" is missing"},
    {"protocol MSI", "protocol MSI", "MSI", "expected \"protocol NAME : meaning\""},
};
enum { MISTAKES = sizeof mistakes / sizeof mistakes[0] };

Test(protocol_mistakes, each_is_named_with_its_line)
{
  for (int m = 0; m < MISTAKES; m++) {
    char *said, where[32];
    int line;
    char *text = edited(mistakes[m].section, mistakes[m].from, mistakes[m].to, &line);
    cr_expect_eq(parse(text, &said), -EINVAL, "%s", mistakes[m].sentence);
    cr_expect(strstr(said, mistakes[m].sentence), "expected: %s\nsaid: %s", mistakes[m].sentence, said);
    snprintf(where, sizeof where, "it:%d: ", line);
    bool elsewhere = strstr(mistakes[m].sentence, "missing") || strstr(mistakes[m].sentence, "no event of") ||
                     strstr(mistakes[m].sentence, "no event for");
    cr_expect(elsewhere || strstr(said, where), "expected %s\nsaid: %s", where, said);
    free(text);
    free(said);
  }
}

/* Appends lines to a section of msi. */
static void expect_said(const char *section, const char *heading_rest, const char *added, const char *sentence)
{
  char *said, *from, *to;
  int line;
  if (asprintf(&from, "%s\n", heading_rest) < 0 || asprintf(&to, "%s\n%s\n", heading_rest, added) < 0) abort();
  char *text = edited(section, from, to, &line);
  cr_expect_eq(parse(text, &said), -EINVAL, "%s", sentence);
  cr_expect(strstr(said, sentence), "expected: %s\nsaid: %s", sentence, said);
  free(text), free(from), free(to), free(said);
}

Test(protocol_mistakes, what_nothing_uses)
{
  expect_said("messages", "messages", "  GetX request - : asks", "unused message GetX");
  expect_said("cache states", "cache states\n  # name     right       kind         meaning\n  I          none        stable     : no copy",
              "  X none stable : lost", "cache state X cannot be reached from I");
  expect_said("cache states", "cache states\n  # name     right       kind         meaning\n  I          none        stable     : no copy",
              "  X none stable : lost", "cache state X has no way out");
  expect_said("cache actions", "cache actions", "  twice send Inv-Ack to requestor", "unused cache action twice");
  expect_said("directory events", "directory events", "  Late Put-Ack", "unused directory event Late");
}

Test(protocol_mistakes, all_are_reported_at_once)
{
  char *said;
  int count = 0;
  cr_assert_eq(parse("protocol X : y\nmessages\n A b c\n D e f\ncache states\n I none stable\n I none stable\n", &said), -EINVAL);
  for (const char *at = said; (at = strchr(at, '\n')); at++) count++;
  cr_expect_geq(count, 2 + 2 + 1 + 6, "said: %s", said);
  free(said);
}

Test(protocol_mistakes, rubbish_is_survived)
{
  char text[4096], *said;
  const char *seed = getenv("UMA_TEST_SEED");
  srand(seed ? (unsigned)atoi(seed) : 11);
  printf("UMA_TEST_SEED=%s\n", seed ? seed : "11");
  for (int round = 0; round < 300; round++) {
    const char *msi = coh_shipped_text("msi");
    size_t length = strlen(msi), from = (size_t)rand() % (length - sizeof text);
    memcpy(text, msi + from, sizeof text - 1);
    text[sizeof text - 1] = 0;
    for (int i = 0; i < 40; i++) text[(size_t)rand() % (sizeof text - 1)] = (char)(1 + rand() % 255);
    cr_assert_eq(parse(text, &said), -EINVAL);
    free(said);
  }
}
