/* link_make.c - the ways in a table; links as the supervisor makes them. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ipc/link.h"
#include "shm/segment.h"

const struct link_row link_rows[LINK_WAY_COUNT] = {
	[LINK_RING] = { .name = "ring",
			.help = "two rings in shared memory, records in place",
			.footprint = link_ring_footprint,
			.open = link_ring_open },
	[LINK_PIPE] = { .name = "pipe",
			.help = "a socket pair, each record one packet",
			.footprint = link_pipe_footprint,
			.make = link_pipe_make,
			.open = link_pipe_open },
	[LINK_QUEUE] = { .name = "queue",
			 .help = "two bounded queues in shared memory, records copied in and out",
			 .footprint = link_queue_footprint,
			 .init = link_queue_init,
			 .open = link_queue_open },
	[LINK_ZMQ] = { .name = "zmq",
		       .help = "two pairs of ZeroMQ sockets",
		       .loses = true,
		       .footprint = link_zmq_footprint,
		       .make = link_zmq_make,
		       .discard = link_zmq_discard,
		       .open = link_zmq_open },
};

bool
link_way_by_name(const char *name, enum link_way *ret)
{
	for (unsigned i = 0; i < LINK_WAY_COUNT; i++) {
		if (strcmp(link_rows[i].name, name) != 0)
			continue;
		*ret = (enum link_way)i;
		return true;
	}
	return false;
}

size_t
link_footprint(enum link_way way)
{
	return sizeof(struct link_shared) + link_rows[way].footprint();
}

/* What the segment says about itself: nobody has mapped it yet. */
static int
describe(int memfd, enum link_way way, const char *address)
{
	uint32_t number = way;
	size_t length = strlen(address) + 1;

	if (way == LINK_RING) /* zeros say so */
		return 0;
	if (pwrite(memfd, &number, sizeof(number), offsetof(struct link_shared, way)) !=
		    sizeof(number) ||
	    pwrite(memfd, address, length, offsetof(struct link_shared, address)) !=
		    (ssize_t)length)
		return -EIO;
	return 0;
}

static int
init_carried(const struct link_row *row, int memfd)
{
	struct link_shared *shared = NULL;
	int r = link_map(memfd, &shared);

	if (r < 0)
		return r;
	r = row->init(shared->carried);
	link_unmap(shared);
	return r;
}

int
link_create(enum link_way way, const char *directory, struct link_fds *ret)
{
	const struct link_row *row = &link_rows[way];
	struct link_fds fds = LINK_NO_FDS;
	char address[LINK_ADDRESS_MAX] = "";
	int r = segment_create("pyprep-link", link_footprint(way), &fds.memfd);

	if (r == 0 && (fds.bell = bell_create()) < 0)
		r = fds.bell;
	if (r == 0 && row->make != NULL)
		r = row->make(&fds, directory, address);
	if (r == 0)
		r = describe(fds.memfd, way, address);
	if (r == 0 && row->init != NULL)
		r = init_carried(row, fds.memfd);
	if (r < 0) {
		link_discard(&fds);
		return r;
	}
	*ret = fds;
	return 0;
}

static void
drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void
link_discard(struct link_fds *fds)
{
	for (unsigned i = 0; i < LINK_WAY_COUNT; i++)
		if (link_rows[i].discard != NULL)
			link_rows[i].discard(fds);
	drop(&fds->memfd);
	drop(&fds->bell);
	for (int i = 0; i < 2; i++) {
		drop(&fds->broker[i]);
		drop(&fds->worker[i]);
	}
}

int
link_fds_for(const struct link_fds *fds, bool broker, int *ret)
{
	const int *own = broker ? fds->broker : fds->worker;
	int count = 0;

	ret[count++] = fds->memfd;
	ret[count++] = fds->bell;
	for (int i = 0; i < 2 && own[i] >= 0; i++)
		ret[count++] = own[i];
	return count;
}

void
link_fds_from(struct link_fds *ret, bool broker, const int *fds, int count)
{
	int *own = broker ? ret->broker : ret->worker;

	*ret = (struct link_fds)LINK_NO_FDS;
	for (int i = 0; i < count && i < 4; i++)
		*(i == 0 ? &ret->memfd : i == 1 ? &ret->bell : &own[i - 2]) = fds[i];
}

int
link_map(int memfd, struct link_shared **ret)
{
	uint32_t way = LINK_WAY_COUNT;
	void *base;

	if (pread(memfd, &way, sizeof(way), offsetof(struct link_shared, way)) != sizeof(way) ||
	    way >= LINK_WAY_COUNT)
		return -EINVAL;
	int r = segment_map(memfd, link_footprint((enum link_way)way), &base);
	if (r == 0)
		*ret = base;
	return r;
}

void
link_unmap(struct link_shared *shared)
{
	if (shared != NULL)
		segment_unmap(shared, link_footprint((enum link_way)shared->way));
}
