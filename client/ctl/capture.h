/* capture.h - what one command wrote, collected until its receipt comes. */
#ifndef PYPREP_CTL_CAPTURE_H
#define PYPREP_CTL_CAPTURE_H

#include <stddef.h>

#include "client/pyprep.h"

struct capture {
	char *bytes[2]; /* stdout, stderr */
	size_t length[2];
	size_t capacity[2];
};

struct capture *capture_new(void);
void capture_add(struct capture *capture, const struct pyprep_event *output);
void capture_free(struct capture *capture); /* NULL is fine */

#endif
