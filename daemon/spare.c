/*
 * spare.c - role: a worker without a pool, forked ahead of need.
 *
 * It sleeps on its control socket until the supervisor says which worker it is (MSG_ASSIGN, with
 * the link); from there on it is that worker.  So a death is made good by a message and not by
 * a fork.  Its copy of the configuration is that of its birth: a reload ends it.
 */
#include <poll.h>
#include <stdlib.h>

#include "daemon/roles.h"
#include "ipc/message.h"

int
spare_main(const struct birth *birth)
{
	static struct frame_in in;
	struct birth worker = *birth;
	struct pollfd control = { .fd = birth->control, .events = POLLIN };
	const char *why = "";

	int r;

	do {
		poll(&control, 1, -1);
		r = frame_recv(birth->control, &in, &why);
	} while (r < 0 && !frame_is_end(r));
	if (r < 0)
		return EXIT_SUCCESS; /* end of file: it is not needed */
	if (in.type != MSG_ASSIGN || in.fd_count < 2)
		return EXIT_FAILURE;
	const struct assign_body *assign = in.body;
	worker.pool = assign->pool;
	worker.slot = assign->slot;
	link_fds_from(&worker.link, false, in.fds, in.fd_count);
	return worker_main(&worker);
}
