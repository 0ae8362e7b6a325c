/* ids.h - the words of a command as job ids. */
#ifndef PYPREP_CTL_IDS_H
#define PYPREP_CTL_IDS_H

#include <msgpack.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/ctl/command.h"

struct ids {
	uint64_t *id; /* each once, in the order given */
	unsigned count;
};

/* 0, or EXIT_USAGE, said; then there is nothing to free. */
int ids_read(const struct words *words, struct ids *ret);
void ids_free(struct ids *ids);

/* Say "SENTENCE: 17, 18" for the ids of the list `key` of a reply; false: it has none. */
bool ids_complain(const msgpack_object *map, const char *key, const char *code, int status,
		  const char *sentence);

#endif
