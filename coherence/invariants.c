/* What must hold of a line at every moment, as named functions: the checker calls them on every state it finds, debug builds and stress
 * tests on what they see. A view must be of one moment: of a live line it is taken while nobody can step it. */
#include "coherence/core.h"

static int right_of(const struct coh_view *view, int device)
{
  return view->protocol->controllers[COH_CACHE].states[view->caches[device].state].right;
}

/* While a cache may write, no other may read. */
bool coh_single_writer(const struct coh_view *view, struct coh_breach *breach)
{
  int writer = COH_NOBODY, reader = COH_NOBODY;
  for (int device = 0; device < view->kind->devices; device++) {
    int right = right_of(view, device);
    if (right == COH_RIGHT_NONE) continue;
    if (right == COH_RIGHT_WRITE && writer < 0) writer = device;
    else reader = device;
    if (writer < 0 || reader < 0) continue;
    *breach = (struct coh_breach){writer, reader};
    return false;
  }
  return true;
}

/* What may be read is what the last completed store wrote. */
bool coh_reads_last_store(const struct coh_view *view, struct coh_breach *breach)
{
  for (int device = 0; view->versions && device < view->kind->devices; device++)
    if (right_of(view, device) > COH_RIGHT_NONE && view->versions[device] != view->last_version) {
      *breach = (struct coh_breach){device, COH_NOBODY};
      return false;
    }
  return true;
}

static bool is_stable(const struct coh_view *view)
{
  return view->protocol->controllers[COH_DIRECTORY].states[view->directory->state].stable;
}

/* The directory works on the transaction of a lost device, and nobody will end it. */
static bool is_lost(const struct coh_view *view)
{
  return view->lost_1 && view->directory->requestor_1 == view->lost_1;
}

/* While the directory is not at work, it knows of every copy, and every writer is the owner. */
bool coh_directory_covers(const struct coh_view *view, struct coh_breach *breach)
{
  int owner = coh_owner(view->directory);
  if (!is_stable(view)) return true;
  for (int device = 0; device < view->kind->devices; device++) {
    int right = right_of(view, device);
    bool known = device == owner || (right == COH_RIGHT_READ && view->kind->ops->has(view->kind, view->directory->sharers, device));
    if (right == COH_RIGHT_NONE || known) continue;
    *breach = (struct coh_breach){device, COH_NOBODY};
    return false;
  }
  return true;
}

/* When nothing is under way any more, every controller is in a stable state and awaits nothing, but for the cache of a lost device
 * and a directory that works for it. */
bool coh_nothing_waits(const struct coh_view *view, struct coh_breach *breach)
{
  const struct coh_state *states = view->protocol->controllers[COH_CACHE].states;
  *breach = (struct coh_breach){COH_NOBODY, COH_NOBODY};
  if (!view->resting) return true;
  for (int device = 0; device < view->kind->devices; device++) {
    if (device + 1 == view->lost_1) continue;
    if (!states[view->caches[device].state].stable || view->caches[device].acks) {
      breach->device = device;
      return false;
    }
  }
  return is_stable(view) || is_lost(view);
}

/* When nothing is under way, the last store's data is somewhere: in the owner's line, or else in memory. */
bool coh_data_is_kept(const struct coh_view *view, struct coh_breach *breach)
{
  int owner = coh_owner(view->directory);
  if (!view->resting || !view->versions || is_lost(view)) return true;
  *breach = (struct coh_breach){owner, COH_NOBODY};
  return (owner >= 0 ? view->versions[owner] : view->memory_version) == view->last_version;
}

const struct coh_invariant coh_invariants[] = {
    {"single writer", "while a cache may write a line, no other cache may read it", coh_single_writer},
    {"reads last store", "what a cache may read is what the last completed store wrote", coh_reads_last_store},
    {"directory covers", "while the directory is stable it knows of every copy, and every writer is the owner", coh_directory_covers},
    {"nothing waits", "when no message is under way, every controller is in a stable state", coh_nothing_waits},
    {"data is kept", "when no message is under way, the owner or else memory has what the last store wrote", coh_data_is_kept},
};
const int coh_invariant_count = sizeof coh_invariants / sizeof coh_invariants[0];

const struct coh_invariant *coh_broken_invariant(const struct coh_view *view, struct coh_breach *breach)
{
  for (int i = 0; i < coh_invariant_count; i++)
    if (!coh_invariants[i].holds(view, breach)) return &coh_invariants[i];
  return NULL;
}
