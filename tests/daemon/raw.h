/*
 * raw.h - a client without libpyprep: frames as they are, and the lane in the test's own hands.
 * For clients that misbehave, and to see what a library would hide (a second receipt).
 */
#ifndef PYPREP_TESTS_DAEMON_RAW_H
#define PYPREP_TESTS_DAEMON_RAW_H

#include "ipc/lane.h"
#include "ipc/message.h"
#include "tests/helpers.h"

struct raw {
	int fd;
	void *base; /* the lane; NULL: none */
	size_t size;
	uint64_t charged; /* bytes of memory that the lane's file has */
	struct lane lane;
	uint32_t number; /* of the last request */
	struct frame_in in;
	char message[256]; /* of the last receipt; cut */
};

/* A connected, non-blocking socket, or -errno. */
int raw_connect(const struct test_daemon *d);

/* Connect, greet, map the lane; NULL on failure.  End with raw_close(). */
struct raw *raw_open(const struct test_daemon *d);
void raw_close(struct raw *r);

/* Wait at most `ms` for the next frame that is no bell: 0 with r->in set, or -errno. */
int raw_frame(struct raw *r, unsigned ms);

/* Is the other side gone within `ms`?  What it still says is read. */
bool raw_is_dropped(struct raw *r, unsigned ms);

/* Indexes of a kind and a pool, or abort. */
void raw_resolve(struct raw *r, const char *kind, const char *pool, uint16_t *ret_kind,
		 uint16_t *ret_pool);

/* A submit with packed parameters `params`: 0, or -EAGAIN when the ring is full. */
int raw_submit(struct raw *r, uint64_t tag, uint16_t kind, uint16_t pool, const void *params,
	       uint32_t length);
/* The same with flags (SUBMIT_*), whose parts of the tail stand in `tail` before the parameters; an
 * array job when `items` is not 0. */
int raw_submit_flags(struct raw *r, uint64_t tag, uint16_t kind, uint16_t pool, uint16_t flags,
		     int64_t items, const void *tail, uint32_t length);
void raw_bell(struct raw *r);

/* The next receipt within `ms`: 1 with *ret set, or 0, or -EPIPE. */
int raw_receipt(struct raw *r, unsigned ms, struct receipt *ret);

#endif
