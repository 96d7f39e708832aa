/* The simulated fabric: a seed means one run, messages keep their order unless told otherwise, time waits, and a device can be lost. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/sim.h"

enum { DEVICES = 4, EVENTS = 4096, WINDOW = 64 };

/* What reached the sinks, in order. */
struct event {
  uint64_t now_ns;
  int from, to, tag; /* tag LOST: `to` has learned that `from` is lost */
  int error;
};
enum { LOST = -1 };

struct net;

struct end {
  struct net *net;
  int device;
  struct fab_endpoint *endpoint;
  unsigned char data[256];
};

struct net {
  struct fab_sim *sim;
  struct end ends[DEVICES];
  unsigned char windows[DEVICES][WINDOW];
  struct event events[EVENTS];
  int count, arrived;
};

static void note(struct end *end, int from, int tag, int error)
{
  struct net *net = end->net;
  cr_assert(net->count < EVENTS);
  net->events[net->count++] = (struct event){fab_sim_now_ns(net->sim), from, end->device, tag, error};
}

static void *on_arrive(void *context, int device, int channel, const struct fab_header *header, size_t *room, void **cookie)
{
  struct end *end = context;
  *room = sizeof end->data;
  end->net->arrived++;
  return end->data;
}

/* A message with hops left goes on to another device. */
static void on_complete(void *context, int device, int channel, const struct fab_header *header, void *cookie, int error)
{
  struct end *end = context;
  struct fab_send send = {.header = {.tag = header->tag, .a = header->a - 1}};
  note(end, device, header->tag, error);
  if (header->a && !error) fab_sim.send(end->endpoint, (end->device + header->tag) % DEVICES, FAB_APPLICATION, &send);
}

static void on_lost(void *context, int device, bool in_order)
{
  note(context, device, LOST, 0);
}

static int net_open(struct net *net, int device)
{
  struct end *end = &net->ends[device];
  struct fab_config config = {.device = device, .devices = DEVICES, .count = DEVICES, .sim = net->sim, .windows = net->windows[0]};
  config.window_bytes = WINDOW;
  config.sink = (struct fab_sink){.context = end, .arrive = on_arrive, .complete = on_complete, .lost = on_lost};
  end->net = net;
  end->device = device;
  return fab_sim.open(&config, &end->endpoint);
}

static struct net *net_create(uint64_t seed, bool unordered, int opened)
{
  struct net *net = calloc(1, sizeof *net);
  net->sim = fab_sim_create(&(struct fab_sim_options){.seed = seed, .devices = DEVICES, .unordered = unordered, .kinds = 3});
  cr_assert(net->sim);
  for (int d = 0; d < opened; d++) cr_assert_eq(net_open(net, d), 0);
  return net;
}

static void net_destroy(struct net *net)
{
  fab_sim_destroy(net->sim);
  free(net);
}

static int post(struct net *net, int from, int to, struct fab_send *send)
{
  fab_sim.send(net->ends[from].endpoint, to, FAB_APPLICATION, send);
  return send->status;
}

static void drain(struct net *net)
{
  while (fab_sim_step(net->sim)) continue;
}

static uint64_t test_seed(void)
{
  const char *text = getenv("UMA_TEST_SEED");
  uint64_t seed = text ? strtoull(text, NULL, 10) : 7;
  printf("UMA_TEST_SEED=%llu\n", (unsigned long long)seed);
  return seed;
}

/* Forty messages that are passed on 20 times each. */
static struct net *crowd(uint64_t seed)
{
  struct net *net = net_create(seed, true, DEVICES);
  for (int i = 0; i < 40; i++) {
    struct fab_send send = {.header = {.kind = (uint32_t)i % 3, .tag = i, .a = 20}};
    cr_assert_eq(post(net, i % DEVICES, i / DEVICES % DEVICES, &send), 0);
  }
  drain(net);
  cr_assert_eq(net->count, 40 * 21);
  return net;
}

Test(fabric_sim, a_seed_means_one_run)
{
  uint64_t seed = test_seed();
  struct net *first = crowd(seed), *again = crowd(seed), *other = crowd(seed + 1);
  cr_expect(!memcmp(first->events, again->events, sizeof first->events));
  cr_expect(memcmp(first->events, other->events, sizeof first->events));
  for (int i = 1; i < first->count; i++) cr_expect(first->events[i - 1].now_ns <= first->events[i].now_ns);
  net_destroy(first);
  net_destroy(again);
  net_destroy(other);
}

/* How many of 600 messages from one device to two others come after one that was sent later; with and without payload, whole or cut. */
static int overtaken(bool unordered)
{
  static struct fab_send sends[600];
  static unsigned char payload[1000];
  struct net *net = net_create(test_seed(), unordered, DEVICES);
  int latest[DEVICES] = {-1, -1, -1, -1}, count = 0;
  for (int i = 0; i < 600; i++) {
    sends[i] = (struct fab_send){.header = {.tag = i, .bytes = i % 3 ? 0 : (uint64_t)i}, .payload = payload};
    cr_expect_eq(post(net, 0, 1 + i % 2, &sends[i]), i % 3 || !i ? 0 : FAB_PENDING);
  }
  drain(net);
  cr_assert_eq(net->count, 600);
  for (int i = 0; i < 600; i++) {
    const struct event *event = &net->events[i];
    cr_expect_eq(sends[i].status, 0);
    count += event->tag < latest[event->to];
    if (event->tag > latest[event->to]) latest[event->to] = event->tag;
  }
  net_destroy(net);
  return count;
}

Test(fabric_sim, order_is_kept_unless_told_otherwise)
{
  cr_expect_eq(overtaken(false), 0);
  cr_expect_gt(overtaken(true), 0);
}

Test(fabric_sim, time_waits_for_who_is_not_open_or_does_not_ask)
{
  struct net *net = net_create(test_seed(), false, 2);
  struct fab_send send = {.header = {.tag = 5}};
  cr_expect_eq(post(net, 0, 2, &send), 0);
  cr_expect_eq(fab_sim_step(net->sim), 0);
  cr_expect_eq(fab_sim_now_ns(net->sim), 0);
  cr_expect_eq(net_open(net, 2), 0);
  cr_expect_eq(net_open(net, 2), -EBUSY);
  cr_expect_eq(fab_sim.progress(net->ends[1].endpoint), 0);
  cr_expect_eq(fab_sim_under_way(net->sim), 1);
  cr_expect_eq(fab_sim.progress(net->ends[2].endpoint), 1);
  cr_expect(net->count == 1 && net->events[0].to == 2 && net->events[0].tag == 5);
  cr_expect_gt(fab_sim_now_ns(net->sim), 0);
  net_destroy(net);
}

Test(fabric_sim, what_has_left_before_the_end_arrives_and_what_goes_to_the_closed_fails)
{
  struct net *net = net_create(test_seed(), false, DEVICES);
  struct fab_send half = {.header = {.tag = 1, .bytes = 100}, .payload = net->windows}, to = half, bare = {.header = {.tag = 2}};
  cr_expect_eq(post(net, 0, 1, &half), FAB_PENDING);
  while (!net->arrived) cr_assert_eq(fab_sim_step(net->sim), 1);
  cr_expect_eq(post(net, 0, 1, &bare), 0);
  cr_expect_eq(post(net, 2, 0, &to), FAB_PENDING);
  fab_sim.close(net->ends[0].endpoint);
  cr_expect_eq(half.status, -ECANCELED);
  drain(net);
  cr_expect_eq(to.status, -EHOSTDOWN);
  cr_assert_eq(net->count, 2);
  cr_expect(net->events[0].tag == 1 && net->events[0].error == -EHOSTDOWN);
  cr_expect(net->events[1].tag == 2 && net->events[1].error == 0);
  cr_expect_eq(net_open(net, 0), 0); /* and it may begin anew */
  net_destroy(net);
}

/* Device 1 is lost with a message half received from it, and others under way from it and to it. */
static void lose(struct net *net, struct fab_send *half, struct fab_send *to)
{
  struct fab_send from = {.header = {.tag = 3}}, vanishes = {.header = {.tag = 4}};
  cr_expect_eq(post(net, 1, 0, half), FAB_PENDING);
  while (!net->arrived) cr_assert_eq(fab_sim_step(net->sim), 1);
  cr_expect_eq(net->count, 0);
  cr_expect_eq(post(net, 1, 2, &from), 0);
  cr_expect_eq(post(net, 2, 1, &vanishes), 0);
  cr_expect_eq(post(net, 3, 1, to), FAB_PENDING);
  cr_expect_eq(fab_sim_lose(net->sim, 1), 0);
  cr_expect_eq(fab_sim_lose(net->sim, 1), 0);
  drain(net);
}

Test(fabric_sim, a_lost_device)
{
  struct net *net = net_create(test_seed(), false, DEVICES);
  struct fab_send half = {.header = {.tag = 1, .bytes = 200}, .payload = net->windows}, to = half, late = {.header = {.tag = 9}};
  int learned[DEVICES] = {0}, broken = 0;
  lose(net, &half, &to);
  for (int i = 0; i < net->count; i++) {
    const struct event *event = &net->events[i];
    cr_expect_eq(event->from, 1);
    if (event->tag == LOST) learned[event->to]++;
    else broken += event->to == 0 && event->tag == 1 && event->error == -EHOSTDOWN;
  }
  cr_expect(learned[0] == 1 && learned[1] == 0 && learned[2] == 1 && learned[3] == 1 && broken == 1 && net->count == 4);
  cr_expect(half.status == -EHOSTDOWN && to.status == -EHOSTDOWN);
  cr_expect_eq(post(net, 0, 1, &late), -EHOSTDOWN);
  cr_expect_eq(post(net, 1, 0, &late), -EHOSTDOWN);
  cr_expect_eq(fab_sim.put(net->ends[0].endpoint, 1, 0, "x", 1), -EHOSTDOWN);
  cr_expect_eq(fab_sim.put(net->ends[0].endpoint, 2, 0, "x", 1), 0);
  cr_expect(net->windows[2][0] == 'x' && net->windows[1][0] == 0);
  cr_expect_eq(post(net, 0, 2, &late), 0);
  drain(net);
  cr_expect_eq(net->events[net->count - 1].tag, 9);
  net_destroy(net);
}

Test(fabric_sim, who_opens_later_learns_of_the_lost)
{
  struct net *net = net_create(test_seed(), false, 2);
  cr_expect_eq(fab_sim_lose(net->sim, 3), 0);
  cr_expect_eq(net_open(net, 3), -EHOSTDOWN);
  cr_expect_eq(net_open(net, 2), 0);
  drain(net);
  cr_expect_eq(net->count, 3);
  net_destroy(net);
}

Test(fabric_sim, bad_choices_are_refused)
{
  struct fab_endpoint *endpoint;
  struct net *net = net_create(1, false, 0);
  errno = 0;
  cr_expect(!fab_sim_create(&(struct fab_sim_options){.devices = 0}) && errno == EINVAL);
  cr_expect(!fab_sim_create(&(struct fab_sim_options){.devices = 1, .kinds = -1}) && errno == EINVAL);
  cr_expect_eq(fab_sim.open(&(struct fab_config){.devices = 1}, &endpoint), -EINVAL);
  cr_expect_eq(fab_sim.open(&(struct fab_config){.sim = net->sim, .devices = 1}, &endpoint), -EINVAL);
  cr_expect_eq(fab_sim.open(&(struct fab_config){.sim = net->sim, .devices = DEVICES, .device = DEVICES}, &endpoint), -EINVAL);
  net_destroy(net);
}
