/*
 * state_file.h - a file of fixed size in the state directory, mapped by the broker: what is written
 * to it survives the broker and the daemon, not a power cut.  Where the directory cannot be
 * written, or another daemon uses it, the same memory has no file.
 */
#ifndef PYPREP_DAEMON_STATE_FILE_H
#define PYPREP_DAEMON_STATE_FILE_H

#include <stddef.h>

struct state_file {
	void *base; /* NULL: not even memory */
	size_t bytes;
	int fd; /* -1: in memory */
};

/* 0, or -errno with `why` when it could only be had in memory (it works all the same; `base` NULL:
 * not even that).  A new file is all zeroes. */
int state_file_open(struct state_file *f, const char *state_dir, const char *name, size_t bytes,
		    const char **why);
void state_file_close(struct state_file *f);

#endif
