/* lane.c - which lane a connection takes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/internal.h"

static const struct client_lane *const lanes[] = { &lane_shm, &lane_unix, &lane_zmq };
#define LANE_COUNT (sizeof(lanes) / sizeof(lanes[0]))

const struct client_lane *
lane_choose(const char *name, struct pyprep_problem *why)
{
	const char *source = "";

	if (name == NULL || name[0] == '\0') {
		name = getenv("PYPREP_LANE");
		source = " (from PYPREP_LANE)";
	}
	if (name == NULL || name[0] == '\0')
		return lanes[0];
	for (size_t i = 0; i < LANE_COUNT; i++)
		if (strcmp(lanes[i]->name, name) == 0)
			return lanes[i];
	problem_set(why, -EINVAL, "bad_request", job_error_exit(ERR_BAD_REQUEST),
		    "there is no lane \"%.40s\"%s; expected shm, unix or zmq", name, source);
	return NULL;
}
