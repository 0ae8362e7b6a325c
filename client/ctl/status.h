/* status.h - what `status`, `pools` and others read from the daemon's "status" reply. */
#ifndef PYPREP_CTL_STATUS_H
#define PYPREP_CTL_STATUS_H

#include "client/ctl/print_table.h"
#include "client/ctl/reply.h"

/* The table of pools: one row per pool's map. */
void pools_table_begin(struct table *table);
void pools_table_add(struct table *table, const msgpack_object *pool);

#endif
