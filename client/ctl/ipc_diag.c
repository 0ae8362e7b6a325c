/*
 * ipc_diag.c - unix sockets as the kernel knows them: who is connected to whom, and how much
 * waits in them (sock_diag(7), as ss(8) asks it).  Where the kernel does not answer, the list is
 * empty and nothing is known of peers and depths.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/ctl/ipc.h"
#include "client/ctl/report.h"
#include "ipc/cleanup.h"

#define TCP_LISTEN 10 /* what the kernel calls the state of any listening socket */

static int
ask(int fd)
{
	struct {
		struct nlmsghdr header;
		struct unix_diag_req request;
	} message = {
		.header = { .nlmsg_len = sizeof message,
			    .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.request = { .sdiag_family = AF_UNIX,
			     .udiag_states = ~0u,
			     .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN },
	};
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	return sendto(fd, &message, sizeof message, 0, (struct sockaddr *)&kernel, sizeof kernel) <
			       0
		       ? -errno
		       : 0;
}

static void
keep_attribute(struct diag_socket *s, const struct rtattr *a)
{
	size_t length = RTA_PAYLOAD(a);
	const struct unix_diag_rqlen *queued = RTA_DATA(a);

	if (a->rta_type == UNIX_DIAG_PEER && length >= sizeof(uint32_t)) {
		memcpy(&s->peer, RTA_DATA(a), sizeof s->peer);
	} else if (a->rta_type == UNIX_DIAG_RQLEN && length >= sizeof *queued) {
		s->waiting = queued->udiag_rqueue;
	} else if (a->rta_type == UNIX_DIAG_NAME && length < sizeof s->path) {
		memcpy(s->path, RTA_DATA(a), length); /* an abstract name begins with a NUL: "" */
		s->path[length] = '\0';
	}
}

static void
keep_socket(struct diag_list *list, const struct nlmsghdr *h)
{
	const struct unix_diag_msg *m = NLMSG_DATA(h);
	int length = (int)h->nlmsg_len - (int)NLMSG_LENGTH(sizeof *m);

	if (length < 0)
		return;
	if (list->count == list->capacity) {
		list->capacity = list->capacity ? 2 * list->capacity : 64;
		list->sockets = ctl_realloc(list->sockets, list->capacity * sizeof *list->sockets);
	}
	struct diag_socket *s = &list->sockets[list->count++];
	*s = (struct diag_socket){ .inode = m->udiag_ino, .listens = m->udiag_state == TCP_LISTEN };
	for (const struct rtattr *a = (const void *)(m + 1); RTA_OK(a, length);
	     a = RTA_NEXT(a, length))
		keep_attribute(s, a);
}

void
diag_read(struct diag_list *list)
{
	scoped_fd fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	struct timeval patience = { .tv_sec = 2 };
	static char buffer[32768] __attribute__((aligned(8)));

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0 ||
	    ask(fd) < 0)
		return;
	for (;;) {
		ssize_t n = recv(fd, buffer, sizeof buffer, 0);
		if (n <= 0)
			return;
		unsigned left = (unsigned)n;
		for (const struct nlmsghdr *h = (const void *)buffer; NLMSG_OK(h, left);
		     h = NLMSG_NEXT(h, left)) {
			if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
				return;
			keep_socket(list, h);
		}
	}
}

const struct diag_socket *
diag_find(const struct diag_list *list, uint64_t inode)
{
	for (size_t i = 0; inode != 0 && i < list->count; i++)
		if (list->sockets[i].inode == inode)
			return &list->sockets[i];
	return NULL;
}

void
diag_free(struct diag_list *list)
{
	free(list->sockets);
	*list = (struct diag_list){ 0 };
}
