/* The allocator of one window (heap.h). The window is a row of pages; every page has one entry here, and nothing else is known.
 *
 * An extent is a run of pages whose first entry says what it is: FREE, USED (one block of whole pages) or SLAB (one page cut into
 * equal slots, a bit each). All other entries say INSIDE. So the extents are found by walking from entry 0, each telling where the
 * next begins. Free extents lie in bins by size (four to each power of two) and are joined with free neighbours at once; slabs with
 * room lie in a list for each class of sizes; a slab that loses its last block becomes a free extent. An entry also keeps the mark of the
 * block that began there last, even after it was freed: that is how a second free is told from a wild one.
 *
 * Everything is done under one mutex. Why the death of its owner at any instruction loses nothing:
 *   - What is true is only `word` of each entry and `bits` of slabs. The rest (lists, back, counters) follows from them, and who takes the
 *     mutex after a death rebuilds it (at a cost that grows with the number of extents, not with the window).
 *   - One slot is taken or given back by one store to `bits`.
 *   - A change of extents (split, join, new slab, end of a slab) is one plan of up to three words, put into the journal first. The store
 *     to journal.count makes it happen; after a death before the count is cleared again, the plan is carried out once more.
 *   - A new slab's `bits` are written before its plan, with the first slot taken; the last slot's bit is never cleared, its page changes
 *     instead. So there are no empty slabs at any moment.
 *   - All these stores are releases, so they happen in the order of the program; a hold of the mutex has one plan at most.
 * At worst the block that the dead was about to return, or to give back, stays allocated. */
#include "uma/heap.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/futex.h"
#include "uma/mutex.h"

#define NONE UINT32_MAX /* no page */
#define BINS 128        /* bin_of(2^32 - 1) + 1 */
#define BIN_WORDS ((BINS + 63) / 64)
#define CLASSES 22
#define SLOT_WORDS 4
#define LOOKS 8 /* extents of a bin that are compared before the first that fits best is taken */
#define DEBUG_PAGES 4096

enum kind { INSIDE, FREE, USED, SLAB };
#define MARK_PAGES 255 /* marks: 0 no block ever began here, 1 + class, or this */

struct page {
  _Alignas(FAB_CACHE_LINE) _Atomic uint64_t word; /* kind | mark << 8 | pages of the extent << 16 */
  _Atomic uint64_t bits[SLOT_WORDS];              /* SLAB: slot i is taken */
  uint32_t next, prev;                            /* FREE: in its bin; SLAB with room: in its class's list */
  uint32_t back;                                  /* last page of a FREE extent: its first */
  uint32_t taken;                                 /* SLAB: how many bits are set */
};

struct change {
  uint32_t page;
  uint64_t word;
};

struct plan {
  uint32_t count;
  struct change changes[3];
};

struct uma_heap {
  struct uma_mutex mutex;
  uint32_t pages;  /* of the window */
  uint64_t origin; /* page number of the window's first byte */
  struct {
    _Atomic uint32_t count;
    struct change changes[3];
  } journal;
  uint64_t used, peak, blocks; /* as in struct uma_usage */
  uint64_t filled[BIN_WORDS];  /* which bins are not empty */
  uint32_t bins[BINS];
  uint32_t partial[CLASSES]; /* slabs with room */
  struct page page[];
};

_Static_assert(sizeof(struct page) == 64, "one cache line a page");

static const uint16_t class_bytes[CLASSES] = {16,  32,  48,  64,  80,  96,  112, 128, 160,  192,  224,
                                              256, 320, 384, 448, 512, 576, 672, 816, 1024, 1360, 2048};

/* By size in units of 16 bytes, rounded up. */
static const uint8_t class_of_units[129] = {0,
                                            0,
                                            1,
                                            2,
                                            3,
                                            4,
                                            5,
                                            6,
                                            7,
                                            [9 ... 10] = 8,
                                            [11 ... 12] = 9,
                                            [13 ... 14] = 10,
                                            [15 ... 16] = 11,
                                            [17 ... 20] = 12,
                                            [21 ... 24] = 13,
                                            [25 ... 28] = 14,
                                            [29 ... 32] = 15,
                                            [33 ... 36] = 16,
                                            [37 ... 42] = 17,
                                            [43 ... 51] = 18,
                                            [52 ... 64] = 19,
                                            [65 ... 85] = 20,
                                            [86 ... 128] = 21};

/* ---- Words of entries */

static uint64_t make_word(enum kind kind, unsigned mark, uint64_t pages)
{
  return (uint64_t)kind | (uint64_t)mark << 8 | pages << 16;
}

static uint64_t word_at(const struct uma_heap *heap, uint32_t page)
{
  return atomic_load_explicit(&heap->page[page].word, memory_order_relaxed);
}

static enum kind kind_at(const struct uma_heap *heap, uint32_t page)
{
  return (enum kind)(word_at(heap, page) & 0xff);
}

static unsigned mark_at(const struct uma_heap *heap, uint32_t page)
{
  return word_at(heap, page) >> 8 & 0xff;
}

static uint32_t pages_at(const struct uma_heap *heap, uint32_t page)
{
  return (uint32_t)(word_at(heap, page) >> 16);
}

static unsigned slot_bytes(const struct uma_heap *heap, uint32_t page)
{
  return class_bytes[mark_at(heap, page) - 1];
}

static unsigned slots_of(unsigned bytes)
{
  return UMA_HEAP_PAGE / bytes;
}

static void plan_word(struct plan *plan, uint32_t page, enum kind kind, unsigned mark, uint64_t pages)
{
  plan->changes[plan->count++] = (struct change){page, make_word(kind, mark, pages)};
}

static void carry_out(struct uma_heap *heap, uint32_t count)
{
  for (uint32_t i = 0; i < count; i++) {
    const struct change *change = &heap->journal.changes[i];
    atomic_store_explicit(&heap->page[change->page].word, change->word, memory_order_release);
  }
  atomic_store_explicit(&heap->journal.count, 0, memory_order_release);
}

static void commit(struct uma_heap *heap, const struct plan *plan)
{
  memcpy(heap->journal.changes, plan->changes, plan->count * sizeof plan->changes[0]);
  atomic_store_explicit(&heap->journal.count, plan->count, memory_order_release);
  carry_out(heap, plan->count);
}

/* ---- Lists of pages, bins */

static void push(struct uma_heap *heap, uint32_t *list, uint32_t page)
{
  heap->page[page].prev = NONE;
  heap->page[page].next = *list;
  if (*list != NONE) heap->page[*list].prev = page;
  *list = page;
}

static void unlink_page(struct uma_heap *heap, uint32_t *list, uint32_t page)
{
  const struct page *entry = &heap->page[page];
  if (entry->next != NONE) heap->page[entry->next].prev = entry->prev;
  if (entry->prev != NONE) heap->page[entry->prev].next = entry->next;
  else *list = entry->next;
}

static unsigned bin_of(uint64_t pages)
{
  unsigned log = 63 - (unsigned)__builtin_clzll(pages);
  unsigned quarter = (unsigned)(log >= 2 ? pages >> (log - 2) : pages << (2 - log)) & 3;
  return log * 4 + quarter;
}

/* The first bin from this one on that is not empty, or BINS. */
static unsigned next_bin(const struct uma_heap *heap, unsigned bin)
{
  for (unsigned i = bin / 64; i < BIN_WORDS; i++, bin = i * 64) {
    uint64_t filled = heap->filled[i] & UINT64_MAX << bin % 64;
    if (filled) return i * 64 + (unsigned)__builtin_ctzll(filled);
  }
  return BINS;
}

static void bin_add(struct uma_heap *heap, uint32_t first)
{
  uint32_t pages = pages_at(heap, first);
  unsigned bin = bin_of(pages);
  heap->page[first + pages - 1].back = first;
  push(heap, &heap->bins[bin], first);
  heap->filled[bin / 64] |= 1ull << bin % 64;
}

static void bin_remove(struct uma_heap *heap, uint32_t first)
{
  unsigned bin = bin_of(pages_at(heap, first));
  unlink_page(heap, &heap->bins[bin], first);
  if (heap->bins[bin] == NONE) heap->filled[bin / 64] &= ~(1ull << bin % 64);
}

static void count_block(struct uma_heap *heap, size_t bytes)
{
  heap->blocks++;
  heap->used += bytes;
  if (heap->used > heap->peak) heap->peak = heap->used;
}

static void uncount_block(struct uma_heap *heap, size_t bytes)
{
  heap->blocks--;
  heap->used -= bytes;
}

/* ---- Extents */

struct want {
  uint64_t pages, alignment; /* both in pages */
};

/* The first page of this free extent where the wanted pages can begin, or NONE. */
static uint32_t place_in(const struct uma_heap *heap, uint32_t first, const struct want *want)
{
  uint64_t start = ((first + heap->origin + want->alignment - 1) & ~(want->alignment - 1)) - heap->origin;
  return start + want->pages <= (uint64_t)first + pages_at(heap, first) ? (uint32_t)start : NONE;
}

/* Of the first `looks` extents in the bin those that have the place: the smallest, of several the one at the lowest address. */
static uint32_t best_in_bin(const struct uma_heap *heap, unsigned bin, const struct want *want, uint32_t looks)
{
  uint32_t best = NONE;
  for (uint32_t first = heap->bins[bin]; first != NONE && looks; first = heap->page[first].next, looks--) {
    if (place_in(heap, first, want) == NONE) continue;
    uint32_t pages = pages_at(heap, first), least = best == NONE ? NONE : pages_at(heap, best);
    if (pages < least || (pages == least && first < best)) best = first;
  }
  return best;
}

/* A look into the bin that fits best, then into the next where every extent has the place, and only then all that could. */
static uint32_t find_extent(const struct uma_heap *heap, const struct want *want)
{
  unsigned bin = bin_of(want->pages);
  uint32_t best = best_in_bin(heap, bin, want, LOOKS);
  if (best != NONE) return best;
  uint64_t enough = want->pages + want->alignment - 1;
  unsigned sure = next_bin(heap, bin_of(enough < heap->pages ? enough : heap->pages) + 1);
  if (sure < BINS) return best_in_bin(heap, sure, want, LOOKS);
  for (bin = next_bin(heap, bin); bin < BINS && best == NONE; bin = next_bin(heap, bin + 1)) best = best_in_bin(heap, bin, want, NONE);
  return best;
}

/* Makes pages [start, + pages) of the free extent an extent of this kind; what is left on both sides stays free. */
static void carve(struct uma_heap *heap, uint32_t first, uint32_t start, uint32_t pages, enum kind kind, unsigned mark)
{
  struct plan plan = {0};
  uint32_t end = first + pages_at(heap, first), rest = start + pages;
  bin_remove(heap, first);
  if (start > first) plan_word(&plan, first, FREE, mark_at(heap, first), start - first);
  plan_word(&plan, start, kind, mark, pages);
  if (rest < end) plan_word(&plan, rest, FREE, mark_at(heap, rest), end - rest);
  commit(heap, &plan);
  if (start > first) bin_add(heap, first);
  if (rest < end) bin_add(heap, rest);
}

/* The first page of the free extent that ends before this page, or NONE. An old `back` does no harm: it is believed only
 * when a free extent begins there that ends here. */
static uint32_t free_before(const struct uma_heap *heap, uint32_t page)
{
  if (page == 0) return NONE;
  uint32_t first = heap->page[page - 1].back;
  return first < page && kind_at(heap, first) == FREE && first + pages_at(heap, first) == page ? first : NONE;
}

/* Makes the extent free and joins it with its free neighbours. */
static void release(struct uma_heap *heap, uint32_t page)
{
  struct plan plan = {0};
  uint32_t first = page, end = page + pages_at(heap, page), before = free_before(heap, page);
  if (end < heap->pages && kind_at(heap, end) == FREE) {
    uint32_t after = end;
    end += pages_at(heap, after);
    bin_remove(heap, after);
    plan_word(&plan, after, INSIDE, mark_at(heap, after), 0);
  }
  if (before != NONE) {
    bin_remove(heap, before);
    plan_word(&plan, page, INSIDE, mark_at(heap, page), 0);
    first = before;
  }
  plan_word(&plan, first, FREE, mark_at(heap, first), end - first);
  commit(heap, &plan);
  bin_add(heap, first);
}

static uint64_t alloc_pages(struct uma_heap *heap, size_t bytes, size_t alignment)
{
  if (bytes > (uint64_t)heap->pages * UMA_HEAP_PAGE) return UMA_HEAP_FULL;
  struct want want = {(bytes + UMA_HEAP_PAGE - 1) / UMA_HEAP_PAGE, alignment > UMA_HEAP_PAGE ? alignment / UMA_HEAP_PAGE : 1};
  uint32_t first = find_extent(heap, &want);
  if (first == NONE) return UMA_HEAP_FULL;
  uint32_t start = place_in(heap, first, &want);
  carve(heap, first, start, (uint32_t)want.pages, USED, MARK_PAGES);
  count_block(heap, want.pages * UMA_HEAP_PAGE);
  return (uint64_t)start * UMA_HEAP_PAGE;
}

/* ---- Slabs */

/* The smallest class that holds and aligns it, or CLASSES. */
static unsigned class_for(size_t bytes, size_t alignment)
{
  if (bytes > class_bytes[CLASSES - 1] || alignment > class_bytes[CLASSES - 1]) return CLASSES;
  unsigned class = class_of_units[(bytes + 15) / 16];
  while (class_bytes[class] & (alignment - 1)) class ++;
  return class;
}

static uint64_t slot_offset(const struct uma_heap *heap, uint32_t page, unsigned slot)
{
  return (uint64_t)page * UMA_HEAP_PAGE + slot * slot_bytes(heap, page);
}

static bool slot_taken(const struct uma_heap *heap, uint32_t page, unsigned slot)
{
  return atomic_load_explicit(&heap->page[page].bits[slot / 64], memory_order_relaxed) >> slot % 64 & 1;
}

static void flip_slot(struct uma_heap *heap, uint32_t page, unsigned slot)
{
  _Atomic uint64_t *bits = &heap->page[page].bits[slot / 64];
  atomic_store_explicit(bits, atomic_load_explicit(bits, memory_order_relaxed) ^ 1ull << slot % 64, memory_order_release);
}

/* The slab has room, so the lowest clear bit is a slot. */
static unsigned lowest_slot(const struct uma_heap *heap, uint32_t page)
{
  for (unsigned i = 0;; i++) {
    uint64_t clear = ~atomic_load_explicit(&heap->page[page].bits[i], memory_order_relaxed);
    if (clear) return i * 64 + (unsigned)__builtin_ctzll(clear);
  }
}

static uint64_t take_slot(struct uma_heap *heap, unsigned class)
{
  uint32_t page = heap->partial[class];
  unsigned slot = lowest_slot(heap, page);
  flip_slot(heap, page, slot);
  if (++heap->page[page].taken == slots_of(class_bytes[class])) unlink_page(heap, &heap->partial[class], page);
  count_block(heap, class_bytes[class]);
  return slot_offset(heap, page, slot);
}

/* A page becomes a slab with its first slot taken. */
static uint64_t take_new_slab(struct uma_heap *heap, unsigned class)
{
  const struct want want = {1, 1};
  uint32_t page = find_extent(heap, &want);
  if (page == NONE) return UMA_HEAP_FULL;
  struct page *entry = &heap->page[page];
  for (unsigned i = 0; i < SLOT_WORDS; i++) atomic_store_explicit(&entry->bits[i], i == 0, memory_order_release);
  carve(heap, page, page, 1, SLAB, class + 1);
  entry->taken = 1;
  push(heap, &heap->partial[class], page);
  count_block(heap, class_bytes[class]);
  return slot_offset(heap, page, 0);
}

/* With no page left, a slot of a larger class will do. */
static uint64_t alloc_slot(struct uma_heap *heap, unsigned class, size_t alignment)
{
  if (heap->partial[class] != NONE) return take_slot(heap, class);
  uint64_t offset = take_new_slab(heap, class);
  for (class ++; offset == UMA_HEAP_FULL && class < CLASSES; class ++)
    if (heap->partial[class] != NONE && !(class_bytes[class] & (alignment - 1))) offset = take_slot(heap, class);
  return offset;
}

static void free_slot(struct uma_heap *heap, uint32_t page, unsigned slot)
{
  unsigned bytes = slot_bytes(heap, page);
  uint32_t *partial = &heap->partial[mark_at(heap, page) - 1];
  uint32_t taken = heap->page[page].taken--;
  uncount_block(heap, bytes);
  if (taken == 1) {
    unlink_page(heap, partial, page);
    release(heap, page);
    return;
  }
  flip_slot(heap, page, slot);
  if (taken == slots_of(bytes)) push(heap, partial, page);
}

/* ---- Entering and leaving */

static void clear_derived(struct uma_heap *heap)
{
  heap->used = heap->blocks = 0;
  memset(heap->filled, 0, sizeof heap->filled);
  for (unsigned i = 0; i < BINS; i++) heap->bins[i] = NONE;
  for (unsigned i = 0; i < CLASSES; i++) heap->partial[i] = NONE;
}

static uint32_t count_taken(const struct uma_heap *heap, uint32_t page)
{
  int taken = 0;
  for (unsigned i = 0; i < SLOT_WORDS; i++)
    taken += __builtin_popcountll(atomic_load_explicit(&heap->page[page].bits[i], memory_order_relaxed));
  return (uint32_t)taken;
}

static void derive_slab(struct uma_heap *heap, uint32_t page)
{
  unsigned class = mark_at(heap, page) - 1, bytes = class_bytes[class];
  uint32_t taken = count_taken(heap, page);
  heap->page[page].taken = taken;
  heap->blocks += taken;
  heap->used += (uint64_t)taken * bytes;
  if (taken < slots_of(bytes)) push(heap, &heap->partial[class], page);
}

static void derive_extent(struct uma_heap *heap, uint32_t page)
{
  switch (kind_at(heap, page)) {
  case FREE: bin_add(heap, page); break;
  case SLAB: derive_slab(heap, page); break;
  case USED:
    heap->blocks++;
    heap->used += (uint64_t)pages_at(heap, page) * UMA_HEAP_PAGE;
    break;
  case INSIDE: break;
  }
}

/* Everything that follows from the words and bits, from these alone. */
static void rebuild(struct uma_heap *heap)
{
  carry_out(heap, atomic_load_explicit(&heap->journal.count, memory_order_relaxed));
  clear_derived(heap);
  for (uint32_t page = 0; page < heap->pages && pages_at(heap, page); page += pages_at(heap, page)) derive_extent(heap, page);
  if (heap->peak < heap->used) heap->peak = heap->used;
}

static const char *find_fault(const struct uma_heap *heap);

#ifdef UMA_DEBUG
static void check_in_debug_builds(const struct uma_heap *heap)
{
  const char *fault = heap->pages <= DEBUG_PAGES ? find_fault(heap) : NULL;
  if (!fault) return;
  fprintf(stderr, "uma: the heap is broken: %s\n", fault);
  abort();
}
#else
static void check_in_debug_builds(const struct uma_heap *heap)
{
}
#endif

static void enter(struct uma_heap *heap)
{
  if (uma_mutex_lock(&heap->mutex) == -EOWNERDEAD) rebuild(heap);
}

static void leave(struct uma_heap *heap)
{
  check_in_debug_builds(heap);
  uma_mutex_unlock(&heap->mutex);
}

/* ---- The interface */

size_t uma_heap_bytes(size_t window_bytes)
{
  return sizeof(struct uma_heap) + window_bytes / UMA_HEAP_PAGE * sizeof(struct page);
}

void uma_heap_format(struct uma_heap *heap, size_t window_bytes, uint64_t address)
{
  heap->pages = (uint32_t)(window_bytes / UMA_HEAP_PAGE);
  heap->origin = address / UMA_HEAP_PAGE;
  if (heap->pages) atomic_store_explicit(&heap->page[0].word, make_word(FREE, 0, heap->pages), memory_order_release);
  rebuild(heap);
}

uint64_t uma_heap_alloc(struct uma_heap *heap, size_t bytes, size_t alignment)
{
  if (bytes == 0 || alignment == 0) return UMA_HEAP_FULL;
  unsigned class = class_for(bytes, alignment);
  enter(heap);
  uint64_t offset = class < CLASSES ? alloc_slot(heap, class, alignment) : alloc_pages(heap, bytes, alignment);
  leave(heap);
  return offset;
}

/* ---- Blocks at a given place */

static uint32_t pages_for(size_t bytes)
{
  return (uint32_t)((bytes + UMA_HEAP_PAGE - 1) / UMA_HEAP_PAGE);
}

uint64_t uma_heap_find(struct uma_heap *heap, uint64_t from, size_t bytes)
{
  uint64_t start = (from + UMA_HEAP_PAGE - 1) / UMA_HEAP_PAGE, found = UMA_HEAP_FULL;
  if (bytes == 0 || bytes > (uint64_t)heap->pages * UMA_HEAP_PAGE) return found;
  enter(heap);
  for (uint32_t first = 0; first < heap->pages && found == UMA_HEAP_FULL; first += pages_at(heap, first)) {
    uint64_t place = first > start ? first : start;
    if (kind_at(heap, first) == FREE && place + pages_for(bytes) <= (uint64_t)first + pages_at(heap, first)) found = place * UMA_HEAP_PAGE;
  }
  leave(heap);
  return found;
}

int uma_heap_take(struct uma_heap *heap, uint64_t offset, size_t bytes)
{
  uint64_t start = offset / UMA_HEAP_PAGE, end = start + pages_for(bytes);
  uint32_t first = 0;
  int result = -EBUSY;
  if (bytes == 0 || bytes > (uint64_t)heap->pages * UMA_HEAP_PAGE) return result;
  enter(heap);
  while (first < heap->pages && (uint64_t)first + pages_at(heap, first) <= start) first += pages_at(heap, first);
  if (first < heap->pages && kind_at(heap, first) == FREE && end <= (uint64_t)first + pages_at(heap, first)) {
    carve(heap, first, (uint32_t)start, pages_for(bytes), USED, MARK_PAGES);
    count_block(heap, (size_t)pages_for(bytes) * UMA_HEAP_PAGE);
    result = 0;
  }
  leave(heap);
  return result;
}

/* ---- Giving back */

static bool in_free_extent(const struct uma_heap *heap, uint32_t page)
{
  for (unsigned bin = next_bin(heap, 0); bin < BINS; bin = next_bin(heap, bin + 1))
    for (uint32_t first = heap->bins[bin]; first != NONE; first = heap->page[first].next)
      if (page - first < pages_at(heap, first)) return true;
  return false;
}

/* Whether a block with this mark, which began in the page, begins (or began) at this byte of it. */
static bool begins_at(unsigned mark, unsigned byte)
{
  if (mark == 0 || mark == MARK_PAGES) return mark && byte == 0;
  return byte % class_bytes[mark - 1] == 0 && byte / class_bytes[mark - 1] < slots_of(class_bytes[mark - 1]);
}

/* Whether a block begins at this byte of the page: 0, -EALREADY it did but was freed, -EINVAL. */
static int find_block(const struct uma_heap *heap, uint32_t page, unsigned byte)
{
  if (!begins_at(mark_at(heap, page), byte)) return -EINVAL;
  switch (kind_at(heap, page)) {
  case USED: return 0;
  case FREE: return -EALREADY;
  case SLAB: return slot_taken(heap, page, byte / slot_bytes(heap, page)) ? 0 : -EALREADY;
  case INSIDE: return in_free_extent(heap, page) ? -EALREADY : -EINVAL;
  }
  return -EINVAL;
}

static void free_block(struct uma_heap *heap, uint32_t page, unsigned byte)
{
  if (kind_at(heap, page) == SLAB) {
    free_slot(heap, page, byte / slot_bytes(heap, page));
  } else {
    uncount_block(heap, (size_t)pages_at(heap, page) * UMA_HEAP_PAGE);
    release(heap, page);
  }
}

int uma_heap_free(struct uma_heap *heap, uint64_t offset)
{
  if (offset / UMA_HEAP_PAGE >= heap->pages) return -EINVAL;
  uint32_t page = (uint32_t)(offset / UMA_HEAP_PAGE);
  unsigned byte = offset % UMA_HEAP_PAGE;
  enter(heap);
  int result = find_block(heap, page, byte);
  if (result == 0) free_block(heap, page, byte);
  leave(heap);
  return result;
}

size_t uma_heap_block_bytes(struct uma_heap *heap, uint64_t offset)
{
  if (offset / UMA_HEAP_PAGE >= heap->pages) return 0;
  uint32_t page = (uint32_t)(offset / UMA_HEAP_PAGE);
  size_t bytes = 0;
  enter(heap);
  if (find_block(heap, page, offset % UMA_HEAP_PAGE) == 0)
    bytes = kind_at(heap, page) == SLAB ? slot_bytes(heap, page) : (size_t)pages_at(heap, page) * UMA_HEAP_PAGE;
  leave(heap);
  return bytes;
}

static uint32_t largest_extent(const struct uma_heap *heap)
{
  uint32_t largest = 0;
  unsigned last = BINS;
  for (unsigned bin = next_bin(heap, 0); bin < BINS; bin = next_bin(heap, bin + 1)) last = bin;
  if (last == BINS) return 0;
  for (uint32_t first = heap->bins[last]; first != NONE; first = heap->page[first].next)
    if (pages_at(heap, first) > largest) largest = pages_at(heap, first);
  return largest;
}

void uma_heap_usage(struct uma_heap *heap, struct uma_usage *usage)
{
  enter(heap);
  usage->capacity = (size_t)heap->pages * UMA_HEAP_PAGE;
  usage->used = heap->used;
  usage->peak = heap->peak;
  usage->blocks = heap->blocks;
  usage->largest_free = (size_t)largest_extent(heap) * UMA_HEAP_PAGE;
  leave(heap);
}

/* ---- Invariants: find_fault counts by walking the extents, then finds the same in the lists and counters. */

struct census {
  uint64_t blocks, used;
  uint32_t free_extents, partial_slabs;
};

static const char *slab_fault(const struct uma_heap *heap, uint32_t page, struct census *census)
{
  unsigned class = mark_at(heap, page) - 1;
  if (class >= CLASSES) return "a slab is of no class";
  uint32_t taken = count_taken(heap, page), slots = slots_of(class_bytes[class]);
  if (pages_at(heap, page) != 1) return "a slab has not one page";
  if (taken != heap->page[page].taken) return "a slab counts its blocks wrongly";
  if (taken == 0) return "a slab is empty";
  for (uint32_t slot = slots; slot < SLOT_WORDS * 64; slot++)
    if (slot_taken(heap, page, slot)) return "a slab has blocks behind its last slot";
  census->blocks += taken;
  census->used += (uint64_t)taken * class_bytes[class];
  census->partial_slabs += taken < slots;
  return NULL;
}

static const char *free_fault(const struct uma_heap *heap, uint32_t page, struct census *census)
{
  uint32_t end = page + pages_at(heap, page);
  if (end < heap->pages && kind_at(heap, end) == FREE) return "two free extents are adjacent";
  if (heap->page[end - 1].back != page) return "the last page of a free extent does not know its first";
  census->free_extents++;
  return NULL;
}

static const char *extent_fault(const struct uma_heap *heap, uint32_t page, struct census *census)
{
  uint32_t pages = pages_at(heap, page);
  if (pages == 0 || pages > heap->pages - page) return "an extent has no pages, or pages behind the window's end";
  for (uint32_t i = page + 1; i < page + pages; i++)
    if (kind_at(heap, i) != INSIDE) return "an extent begins inside of another";
  switch (kind_at(heap, page)) {
  case FREE: return free_fault(heap, page, census);
  case SLAB: return slab_fault(heap, page, census);
  case USED:
    if (mark_at(heap, page) != MARK_PAGES) return "a block of whole pages is not marked as one";
    census->blocks++;
    census->used += (uint64_t)pages * UMA_HEAP_PAGE;
    return NULL;
  case INSIDE: break;
  }
  return "a page belongs to no extent";
}

/* Whether all pages of a list are of this kind and belong there (`key`: the bin, or the class); counts them down in *left. */
static const char *list_fault(const struct uma_heap *heap, uint32_t first, enum kind kind, unsigned key, uint32_t *left)
{
  uint32_t prev = NONE;
  for (uint32_t page = first; page != NONE; prev = page, page = heap->page[page].next) {
    if (page >= heap->pages) return "a list leads out of the window";
    if ((*left)-- == 0) return "a list has too many pages";
    if (kind_at(heap, page) != kind) return "a list has a page of the wrong kind";
    if ((kind == FREE ? bin_of(pages_at(heap, page)) : mark_at(heap, page) - 1) != key) return "a page is in the wrong list";
    if (heap->page[page].prev != prev) return "a list is not the same in both directions";
    if (kind == SLAB && heap->page[page].taken == slots_of(slot_bytes(heap, page))) return "a full slab is in a list";
  }
  return NULL;
}

static const char *lists_fault(const struct uma_heap *heap, struct census *census)
{
  const char *fault = NULL;
  for (unsigned bin = 0; bin < BINS && !fault; bin++) {
    fault = list_fault(heap, heap->bins[bin], FREE, bin, &census->free_extents);
    if (!fault && (heap->filled[bin / 64] >> bin % 64 & 1) != (heap->bins[bin] != NONE)) fault = "a bin is not what its bit says";
  }
  for (unsigned class = 0; class < CLASSES && !fault; class ++)
    fault = list_fault(heap, heap->partial[class], SLAB, class, &census->partial_slabs);
  if (fault) return fault;
  return census->free_extents || census->partial_slabs ? "a page is missing in its list" : NULL;
}

static const char *find_fault(const struct uma_heap *heap)
{
  struct census census = {0};
  for (uint32_t page = 0; page < heap->pages; page += pages_at(heap, page)) {
    const char *fault = extent_fault(heap, page, &census);
    if (fault) return fault;
  }
  if (census.blocks != heap->blocks) return "the number of blocks is wrong";
  if (census.used != heap->used) return "the number of used bytes is wrong";
  if (heap->peak < heap->used) return "the peak is below what is used";
  if (atomic_load_explicit(&heap->journal.count, memory_order_relaxed)) return "the journal is not empty";
  return lists_fault(heap, &census);
}

const char *uma_heap_invalid(struct uma_heap *heap)
{
  enter(heap);
  const char *fault = find_fault(heap);
  uma_mutex_unlock(&heap->mutex);
  return fault;
}
