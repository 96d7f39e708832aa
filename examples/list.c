/* A linked list that crosses all devices: one node in every window, linked by raw pointers, walked by every device with plain loads.
 *
 *     uma run -n 8 build/examples/list
 *
 * Windows lie at the same addresses in every process, so a pointer that one device stores is followed by any other as it is. */
#include <stdio.h>
#include <uma.h>

struct node {
  struct node *next;
  int value;
};
struct list {
  struct node *first;
};

/* Device 0 makes all nodes, each in another device's window. */
static struct node *make_list(int devices)
{
  struct node *head = NULL;
  for (int device = devices - 1; device >= 0; device--) {
    struct node *node = uma_malloc_on(device, sizeof *node);
    if (!node) return NULL;
    *node = (struct node){.next = head, .value = device * device};
    head = node;
  }
  return head;
}

int main(void)
{
  if (uma_init(NULL)) return fprintf(stderr, "list: %s\n", uma_last_error()), 1;
  if (uma_domain_count() > 1) return fprintf(stderr, "list: pointers end at the border of a domain, run with --mode supernode\n"), 2;
  struct list *mine = uma_alloc_symmetric(sizeof *mine);
  if (!mine) return fprintf(stderr, "list: %s\n", uma_last_error()), 1;
  struct list *list = uma_symmetric(mine, 0); /* all use the one in device 0's window */
  if (uma_device() == 0) list->first = make_list(uma_device_count());
  uma_barrier();

  int length = 0;
  long sum = 0;
  for (const struct node *node = list->first; node; node = node->next) {
    length++;
    sum += node->value;
  }
  printf("device %d walked %d nodes in %d windows from %p: sum %ld\n", uma_device(), length, uma_device_count(), (void *)list->first, sum);
  return uma_finalize() ? 1 : 0;
}
