/* ids.h - the words of a command as job ids. */
#ifndef PYPREP_CTL_IDS_H
#define PYPREP_CTL_IDS_H

#include <stdint.h>

#include "client/ctl/command.h"

struct ids {
	uint64_t *id; /* each once, in the order given */
	unsigned count;
};

/* 0, or EXIT_USAGE, said; then there is nothing to free. */
int ids_read(const struct words *words, struct ids *ret);
void ids_free(struct ids *ids);

#endif
