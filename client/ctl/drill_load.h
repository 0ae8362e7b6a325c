/* drill_load.h - what the judge needs of the load. */
#ifndef PYPREP_CTL_DRILL_LOAD_H
#define PYPREP_CTL_DRILL_LOAD_H

#include "client/ctl/drill.h"

/* One turn of the load: with `more`, new jobs too. */
void drill_turn(struct drill *d, bool more);

#endif
