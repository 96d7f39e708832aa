/* The modelled clock: what the machine of a profile (fabric/profile.h) would have taken, charged to by everything that goes through the library.
 *
 * Glossary
 *   clock     one for the application threads of a device and one for its copy engine; device d of the session is device d of the profile's machine
 *   tick      10 ps (fabric/topology.h); a clock never goes back, and stands at FAB_TICKS_MOST, a year, once it is there
 *   part      where time went (enum uma_part_of_time); the parts of a clock add up to it
 *   moment    a time with its parts (struct coh_moment): of something under way, which a clock reaches later
 *   resource  a link, a slot, a NIC, a memory: what several queue for
 *   flight    some bytes on their way from one memory to another, through resources
 *
 * All of it lies behind the board, in memory that every process of a host maps. Over several hosts, each has the clocks of its own devices, and the
 * queue of each resource is on the host of the first device that uses it; clock_far.c asks there. Times of what is under way travel with it: in
 * messages, requests and replies. Without a profile uma_self.clock is NULL and nothing here is called. Everything may be called by any thread. */
#ifndef UMA_CLOCK_H
#define UMA_CLOCK_H

#include "coherence/engine.h"
#include "fabric/topology.h"
#include "uma/session.h"

enum uma_part_of_time { UMA_COMPUTING, UMA_MEMORY, UMA_SCALE_UP, UMA_STAGING, UMA_NETWORK, UMA_WAITING, UMA_PARTS_OF_TIME };
_Static_assert((int)UMA_PARTS_OF_TIME == (int)COH_MOMENT_PARTS, "a moment is split as a clock is");

struct uma_device_clock {
  _Alignas(FAB_CACHE_LINE) _Atomic uint64_t now;
  _Atomic uint64_t parts[UMA_PARTS_OF_TIME];
  _Atomic uint64_t work, operations; /* no parts: what uma_compute charged, and what its operations alone would take */
  _Atomic uint64_t met[2];           /* when it came to the meetings of even and of odd number */
};

/* When a resource is busy, the latest times of it, in order and apart. What was before the first is not kept: then it is idle. */
enum { UMA_BUSY_TIMES = 7 };
struct uma_queue {
  _Alignas(2 * FAB_CACHE_LINE) _Atomic uint32_t lock; /* its holder's device + 1; 0: free */
  uint32_t count;
  struct {
    uint64_t begin, end;
  } busy[UMA_BUSY_TIMES];
};
_Static_assert(sizeof(struct uma_queue) == 2 * FAB_CACHE_LINE, "shared structure");

struct uma_clock {
  struct fab_topology topology;
  struct uma_device_clock devices[][UMA_MAILBOXES]; /* then, in whole queues, struct uma_queue [topology.resources] */
};

/* ---- clock.c: the area, by the launcher and by a device */
/* Loads the profile and checks that it has so many devices; sets *bytes to what its clocks need, and *digest, by which hosts know that they model
 * the same machine. 0 or -EINVAL with the sentence. */
int uma_clock_check(const char *profile, int devices, size_t *bytes, uint64_t *digest);
int uma_clock_create(const struct uma_shape *shape, int board_fd); /* behind a board that was sized for it */
int uma_clock_open(int board_fd);                                  /* uma_self.clock, NULL without a profile; 0 or -errno */
void uma_clock_close(void);
/* By the keeper once all devices have ended: the times of a host's devices, into [shape->devices]; untouched when the memory cannot be mapped. */
void uma_clock_read(const struct uma_shape *shape, int host, int board_fd, struct uma_modelled *modelled);
/* All of a clock; a wire structure. */
struct uma_clock_state {
  struct coh_moment moment;
  uint64_t work, operations; /* as in struct uma_device_clock */
};
_Static_assert(sizeof(struct uma_clock_state) == 72, "wire structure");
struct uma_clock_state uma_clock_state(const struct uma_device_clock *clock);
size_t uma_clock_offset(void); /* in the board's file */

/* ---- clock.c: time. Of the clock of the calling thread, unless a device is named. */
struct coh_moment uma_clock_moment(void);              /* now, with no parts yet */
void uma_clock_reach(const struct coh_moment *moment); /* not before it; its parts are where the time went */
void uma_clock_spend(enum uma_part_of_time part, uint64_t ticks);
void uma_clock_raise(int device, uint64_t ticks); /* that device's application threads wait until then */
uint64_t uma_clock_of(int device);                /* of its application threads */
/* While a thread waits in a loop, what it looks at is not charged. Nests. */
#define UMA_CLOCK_THREAD __attribute__((tls_model("initial-exec"))) /* a few bytes that every charge looks at */
extern _Thread_local int uma_clock_paused __attribute__((visibility("hidden"))) UMA_CLOCK_THREAD;
static inline void uma_clock_pause(void)
{
  uma_clock_paused++;
}
static inline void uma_clock_go_on(void)
{
  uma_clock_paused--;
}
/* Says once a process that virtual time is not to be trusted any more. */
void uma_clock_complain(const char *what, uint64_t from, uint64_t to);

/* ---- clock_queue.c: flights and queues */
/* Bytes from the memory of one device to another's, by the best way, queueing; *moment is when they are there. `message`: with what software adds
 * within a scale-up network; `control`: a few bytes that come from no memory and do not queue. `get` and `put`: a copy that its target or its source
 * carries out, `cached` when the far side of it lies in that device's cache; `read` and `write`: the same by plain loads and stores; `gather`: a
 * message that its target fetches. What the target carries out begins with its request, a control message. Where the profile has a curve of such an
 * operation, it takes that as a whole, and what it waits for the resources of its way. */
enum uma_flight_kind {
  UMA_FLIGHT_COPY,
  UMA_FLIGHT_MESSAGE,
  UMA_FLIGHT_GATHER,
  UMA_FLIGHT_CONTROL,
  UMA_FLIGHT_GET,
  UMA_FLIGHT_PUT,
  UMA_FLIGHT_CACHED_GET,
  UMA_FLIGHT_CACHED_PUT,
  UMA_FLIGHT_READ,
  UMA_FLIGHT_WRITE,
  UMA_FLIGHT_CACHED_READ,
  UMA_FLIGHT_CACHED_WRITE,
};
void uma_clock_fly(int from, int to, size_t bytes, enum uma_flight_kind how, struct coh_moment *moment);
/* The same on behalf of a thread, perhaps another one, that did not wait in a loop when this began. */
void uma_clock_fly_always(int from, int to, size_t bytes, enum uma_flight_kind how, struct coh_moment *moment);
/* Whether the profile has a curve of such an operation between them. */
bool uma_clock_knows(int from, int to, enum uma_flight_kind how);
/* Adds the parts of a flight that took `elapsed`. */
void uma_clock_explain(int from, int to, size_t bytes, enum uma_flight_kind how, uint64_t elapsed, struct coh_moment *moment);
uint64_t uma_clock_departure(int from, int to, size_t bytes); /* ticks for which a message keeps its sender */
/* The way between two devices, which there always is: profiles join all their devices. */
const struct fab_path *uma_clock_path(int from, int to);
/* When a flight that begins then arrives if nobody else is there: of a message, or what of one is gathered. */
uint64_t uma_clock_alone(int from, int to, size_t bytes, enum uma_flight_kind how, uint64_t begins);
/* The load, store or atomic of a word, or message and answer where the profile has no load and store between the two. */
void uma_clock_access(int home, enum fab_access access, size_t bytes);
/* So many loads, each of which waits for the one before, somewhere in so much memory there. */
void uma_clock_chase(int home, size_t bytes, uint64_t loads);
/* At a flag there that many look at together when it changes: nobody waits for another. */
void uma_clock_look(int home);
struct uma_queue *uma_clock_queue(uint64_t resource);
int uma_clock_ways_open(void); /* 0 or -errno with the sentence */
void uma_clock_ways_close(void);
/* A line or page in two parts: until it leaves this host, and from there on another one to its arrival (the rest is asked for); *moment is when it
 * departed. */
struct coh_flight uma_clock_depart(int from, int to, enum uma_flight_kind how, uint64_t ticks);
void uma_clock_land(int from, int to, enum uma_flight_kind how, const struct coh_flight *flight, struct coh_moment *moment);
/* For another host: carries a chunk on through the steps whose queues are here; false: there is no such flight. */
bool uma_clock_carry_on(int from, int to, uint64_t bytes, struct coh_flight *flight);

/* ---- clock_cache.c: what the calling thread has touched in other devices' memory since it last met others */
/* Whether all of it lies in this device's cache; from now on it does, as far as there is room. False for a profile without caches. */
bool uma_clock_cached(const void *pointer, size_t bytes);
/* Whether it has touched all of it and nothing else that large, which need not fit into the cache. */
bool uma_clock_touched(const void *pointer, size_t bytes);
void uma_clock_forget(void); /* it has met others, who may have written anything */

/* ---- clock_charge.c: what operations charge */
void uma_clock_copy(const void *dst, const void *src, size_t bytes);
/* A message departs: the sender is charged until its bytes have left, and *header says when it departed and when it arrives. It arrives. */
void uma_clock_send(int device, struct fab_header *header);
void uma_clock_receive(int device, const struct fab_header *header);
/* Around a meeting (meeting.h) of a group's devices, of whom one speaks for those of its domain on other hosts: all go on at the time of the last,
 * and what looking at the flags of their domain takes. */
void uma_clock_meet(uint64_t number);
void uma_clock_met(uint64_t number);
uint64_t uma_clock_last_meeting(enum fab_channel channel); /* when the last of this group came to it */
/* A step of a collective: this device reads `bytes` of each other one of the group, or writes them there, all at once. */
void uma_clock_gather(int first, int count, size_t bytes);
void uma_clock_scatter(int first, int count, size_t bytes);
/* All others of the domain read `bytes` of one at once; together: nobody goes on before the last. */
void uma_clock_hand_out(int device, size_t bytes, bool together);
/* Signals: when the word is signalled, once that was charged, noted at its home before the word is changed; after it was found changed. */
uint64_t uma_clock_signal(const void *word);
void uma_clock_note_signal(const void *word, uint64_t ticks); /* of this host */
uint64_t uma_clock_noted_signal(const void *word);            /* likewise */
void uma_clock_signalled(const void *word);
extern const struct coh_clock uma_clock_engine; /* for coherence/engine.h */

/* ---- clock_far.c: what is asked of other hosts' devices, by wire.h */
#define UMA_CLOCK_VERSION 1
enum uma_clock_op { UMA_CLOCK_REFUSED, UMA_CLOCK_CARRY_ON, UMA_CLOCK_NOTED_SIGNAL, UMA_CLOCK_STATE };
struct uma_clock_letter { /* question and answer */
  uint32_t version, op;
  union {
    struct {
      int32_t from, to;
      uint64_t bytes;
      struct coh_flight flight;
    } carry_on;
    struct {
      uint64_t word, ticks;
    } signal;
    struct {
      int64_t device;
      struct uma_clock_state state;
    } state;
  };
};
_Static_assert(sizeof(struct uma_clock_letter) == 88, "wire structure");
/* Each asks the device, and others of its host when it is lost. 0; -EHOSTDOWN nobody answers; -EPROTO not with sense. */
int uma_clock_ask_carry_on(int device, int from, int to, uint64_t bytes, struct coh_flight *flight);
int uma_clock_ask_signal(int device, const void *word, uint64_t *ticks);
int uma_clock_ask_state(int device, struct uma_clock_state *state);
/* The other side; never waits. */
void uma_clock_answer(struct uma_clock_letter *letter);

#endif
