/* again.h - the command that does a job once more; see again.c. */
#ifndef PYPREP_DAEMON_AGAIN_H
#define PYPREP_DAEMON_AGAIN_H

#include "daemon/store.h"

/* "pyprepctl submit --pool cpu sumsq n=1000", quoted for a shell.  false, and "": it does not fit, or
 * has a parameter that cannot be typed. */
bool again_print(const struct store_job *job, char *buffer, size_t size);

#endif
