/* store_filter.h - which rows a filter lets through: the same answer for every engine. */
#ifndef PYPREP_DAEMON_STORE_FILTER_H
#define PYPREP_DAEMON_STORE_FILTER_H

#include <stdbool.h>

#include "daemon/store.h"

/* All of the filter but its limit. */
bool store_filter_fits(const struct store_filter *f, const struct store_row *row);

/* Has the policy map the label `name`, with `value` unless that is NULL? */
bool store_has_label(const struct bytes *policy, const char *name, const char *value);

#endif
