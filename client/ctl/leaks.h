/* leaks.h - what one job left behind, for `show`. */
#ifndef PYPREP_CTL_LEAKS_H
#define PYPREP_CTL_LEAKS_H

#include <jansson.h>
#include <stdint.h>

/* {"descriptors": ...}, the caller's; NULL: nothing is known, or it left nothing. */
json_t *leaks_of_job(uint64_t id);

#endif
