/*
 * read.c - read a file from the event loop, one chunk per turn, so that others get theirs
 * in between.  The kernel has no readiness for regular files: each chunk may wait for the disk.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/kind.h"
#include "daemon/kinds/file.h"
#include "daemon/kinds/timer.h"

enum { PATH };

#define CHUNK_BYTES (128 * 1024)

struct reading {
	int fd;
	struct event *turn; /* a timer of 0: once per turn of the loop */
	uint64_t bytes;
	uint64_t checksum; /* FNV-1a, 64 bits */
	unsigned char chunk[CHUNK_BYTES];
};

static void
reading_free(struct reading *r)
{
	if (r->turn != NULL)
		event_free(r->turn);
	close(r->fd);
	free(r);
}

static uint64_t
fnv1a(uint64_t hash, const unsigned char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3;
	return hash;
}

static void
say(struct call *call, const struct reading *r)
{
	msgpack_packer p = call_packer(call);

	msgpack_pack_map(&p, 2);
	msgpack_pack_str_with_body(&p, "bytes", 5);
	msgpack_pack_uint64(&p, r->bytes);
	msgpack_pack_str_with_body(&p, "checksum", 8);
	msgpack_pack_uint64(&p, r->checksum);
}

static void
read_turn(evutil_socket_t fd, short what, void *arg)
{
	struct io_call *io = arg;
	struct reading *r = io->state;

	(void)fd;
	(void)what;
	io_enter(io);
	ssize_t n = read(r->fd, r->chunk, sizeof(r->chunk));
	if (n > 0) {
		r->checksum = fnv1a(r->checksum, r->chunk, (size_t)n);
		r->bytes += (uint64_t)n;
	}
	if (n > 0 || (n < 0 && errno == EINTR)) {
		evtimer_add(r->turn, &(struct timeval){ 0 });
		io_leave(io);
		return;
	}
	if (n == 0)
		say(&io->call, r);
	else
		call_fail(&io->call, "cannot read %s: %s", args_text(io->call.args, PATH, NULL),
			  strerror(errno));
	reading_free(r);
	io_done(io);
}

static void
read_start(struct io_call *io)
{
	uint64_t size;
	int fd = file_open(&io->call, args_text(io->call.args, PATH, NULL), &size);
	if (fd < 0) {
		io_done(io);
		return;
	}
	struct reading *r = malloc(sizeof(*r));
	if (r == NULL) {
		close(fd);
		call_no_memory(&io->call, "no memory for a buffer");
		io_done(io);
		return;
	}
	r->fd = fd;
	r->bytes = 0;
	r->checksum = 0xcbf29ce484222325;
	r->turn = timer_start(io, read_turn, 0);
	io->state = r;
	if (r->turn == NULL) {
		reading_free(r);
		io_done(io);
	}
}

static void
read_stop(struct io_call *io)
{
	reading_free(io->state);
}

const struct kind kind_read = {
	.name = "read",
	.class = KIND_IO,
	.help = "read a file in pieces from the event loop: bytes and FNV-1a checksum",
	.params = {
		[PATH] = { .name = "path", .type = PARAM_PATH, .low = 1, .high = FILE_PATH_MAX,
			   .help = "the file; absolute" },
	},
	.start = read_start,
	.stop = read_stop,
};
