/* The public messages: arguments checked, then the mailbox of the application threads. */
#include <errno.h>

#include "uma/mailbox.h"
#include "uma/session.h"

static int check(const char *call, int device, int tag, bool receive, const void *buffer, size_t bytes)
{
  if (!uma_self.joined) return uma_fail(-EINVAL, "%s was called outside of a session", call);
  if ((device < 0 || device >= uma_self.shape.devices) && !(receive && device == UMA_ANY_DEVICE))
    return uma_fail(-EINVAL, "%s: device %d does not exist; expected 0 to %d%s", call, device, uma_self.shape.devices - 1,
                    receive ? " or UMA_ANY_DEVICE" : "");
  if (tag < 0 && !(receive && tag == UMA_ANY_TAG))
    return uma_fail(-EINVAL, "%s: tag %d is not valid; expected 0 or more%s", call, tag, receive ? ", or UMA_ANY_TAG" : "");
  if ((!buffer && bytes) || bytes > PTRDIFF_MAX)
    return uma_fail(-EINVAL, "%s: %zu bytes at %p; expected memory, and a size below %td", call, bytes, buffer, PTRDIFF_MAX);
  return 0;
}

int uma_isend(int device, int tag, const void *buffer, size_t bytes, struct uma_request **request)
{
  int result = check("uma_isend", device, tag, false, buffer, bytes);
  if (result) return result;
  *request = uma_mailbox_start_send(uma_self.mailbox[FAB_APPLICATION], device, UMA_KIND_MESSAGE, tag, buffer, bytes);
  return *request ? 0 : uma_fail(-ENOMEM, "no memory for a message");
}

int uma_irecv(int device, int tag, void *buffer, size_t bytes, struct uma_request **request)
{
  int result = check("uma_irecv", device, tag, true, buffer, bytes);
  if (result) return result;
  *request = uma_mailbox_start_recv(uma_self.mailbox[FAB_APPLICATION], device, UMA_KIND_MESSAGE, tag, buffer, bytes);
  return *request ? 0 : uma_fail(-ENOMEM, "no memory for a message");
}

int uma_wait(struct uma_request *request, struct uma_status *status)
{
  return request ? uma_mailbox_finish(request, status) : uma_fail(-EINVAL, "uma_wait: the request is NULL");
}

int uma_test(struct uma_request *request, struct uma_status *status)
{
  if (!request) return uma_fail(-EINVAL, "uma_test: the request is NULL");
  if (!uma_mailbox_test(request)) return 0;
  int result = uma_mailbox_finish(request, status);
  return result ? result : 1;
}

int uma_send(int device, int tag, const void *buffer, size_t bytes)
{
  int result = check("uma_send", device, tag, false, buffer, bytes);
  return result ? result : uma_mailbox_send(uma_self.mailbox[FAB_APPLICATION], device, UMA_KIND_MESSAGE, tag, buffer, bytes);
}

int uma_recv(int device, int tag, void *buffer, size_t bytes, struct uma_status *status)
{
  int result = check("uma_recv", device, tag, true, buffer, bytes);
  return result ? result : uma_mailbox_recv(uma_self.mailbox[FAB_APPLICATION], device, UMA_KIND_MESSAGE, tag, buffer, bytes, status);
}
