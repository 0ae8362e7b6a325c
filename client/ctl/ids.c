/* ids.c - the words of a command as job ids. */
#include "client/ctl/ids.h"

#include <inttypes.h>
#include <stdlib.h>

#include "client/ctl/number.h"
#include "client/ctl/reply.h"
#include "client/ctl/report.h"

static int
has_id(const struct ids *ids, uint64_t id)
{
	for (unsigned i = 0; i < ids->count; i++)
		if (ids->id[i] == id)
			return 1;
	return 0;
}

int
ids_read(const struct words *words, struct ids *ret)
{
	struct ids ids = { .id = ctl_alloc((size_t)words->count + 1, sizeof *ids.id) };

	for (int i = 0; i < words->count; i++) {
		uint64_t id;
		if (number_u64(words->word[i], &id) < 0) {
			ids_free(&ids);
			return ctl_fail(EXIT_USAGE, "usage",
					"a job's id is a whole number from 1, not '%s'",
					words->word[i]);
		}
		if (!has_id(&ids, id))
			ids.id[ids.count++] = id;
	}
	*ret = ids;
	return 0;
}

void
ids_free(struct ids *ids)
{
	free(ids->id);
}

bool
ids_complain(const msgpack_object *map, const char *key, const char *code, int status,
	     const char *sentence)
{
	const msgpack_object *id;
	char text[400] = "";
	size_t at = 0;

	unsigned count = field_list(map, key, &id);
	for (unsigned i = 0; i < count && at + 24 < sizeof text; i++)
		at += (size_t)snprintf(text + at, sizeof text - at, "%s%" PRIu64, i ? ", " : "",
				       id[i].via.u64);
	if (count > 0)
		ctl_fail(status, code, "%s: %s", sentence, text);
	return count > 0;
}
