/*
 * output.h - what a command writes: from its pipe into the link, in place.
 *
 * Each of stdout and stderr has a pipe.  Up to `left` bytes go to the broker while the command
 * runs, as MSG_RUN_OUTPUT records; the rest is read and dropped, so that the command does not
 * block on it.  Nothing here waits: when the link is full the pipe is left alone until the broker
 * has drained, and a command that writes faster waits as for any slow reader.
 */
#ifndef PYPREP_DAEMON_EXECUTORS_OUTPUT_H
#define PYPREP_DAEMON_EXECUTORS_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/link.h"

#define OUTPUT_CHUNK 16384u

struct output {
	int fd;          /* our end of the pipe; -1 when closed */
	uint32_t stream; /* 1 or 2 */
	uint64_t left;   /* bytes still to be kept */
	bool truncated;  /* some were dropped */
};

/* Make the pipe; the caller owns *ret_child_end (close-on-exec, above 2).  0 or -errno. */
int output_open(struct output *o, uint32_t stream, uint64_t cap, int *ret_child_end);
void output_close(struct output *o);

/* Is there room for the next chunk?  If not, the broker will ring the worker's bell. */
bool output_has_room(const struct output *o, struct link_worker *l);

/* The pipe is readable and there is room: move one chunk, or drop one into `devnull`.  At end of
 * file the pipe is closed. */
void output_move(struct output *o, struct link_worker *l, uint64_t ticket, int devnull);

/* Bytes in the pipe now.  When all writers are dead that is all there will be. */
uint32_t output_waiting(const struct output *o);

#endif
