/* detach.h - submit --detach: jobs that the daemon keeps, whatever becomes of us. */
#ifndef PYPREP_CTL_DETACH_H
#define PYPREP_CTL_DETACH_H

#include "client/ctl/jobspec.h"

/* Submit `count` such jobs and print their ids as they become durable.  The exit status. */
int detach_jobs(const struct jobspec *spec, uint64_t count);

#endif
