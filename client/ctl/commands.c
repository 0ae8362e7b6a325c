/* commands.c - the table of subcommands, in the order of help. */
#include <string.h>

#include "client/ctl/command.h"

/* To add one: a line here, a file that defines command_NAME. */
#define COMMANDS(X)   \
	X(submit)     \
	X(run)        \
	X(map)        \
	X(wait)       \
	X(ls)         \
	X(show)       \
	X(why)        \
	X(logs)       \
	X(retry)      \
	X(rm)         \
	X(cancel)     \
	X(hold)       \
	X(release)    \
	X(kinds)      \
	X(pools)      \
	X(pool)       \
	X(status)     \
	X(report)     \
	X(doctor)     \
	X(leaks)      \
	X(ping)       \
	X(queue)      \
	X(pipe)       \
	X(array)      \
	X(counter)    \
	X(lock)       \
	X(ipc)        \
	X(demo)       \
	X(explain)    \
	X(drill)      \
	X(bench)      \
	X(compare)    \
	X(drain)      \
	X(store)      \
	X(reload)     \
	X(stop)       \
	X(completion) \
	X(help)

#define X(name) extern const struct command command_##name;
COMMANDS(X)
#undef X

#define X(name) &command_##name,
const struct command *const commands[] = { COMMANDS(X) NULL };
#undef X

const struct command *
command_by_name(const char *name)
{
	for (const struct command *const *c = commands; *c; c++)
		if (strcmp((*c)->name, name) == 0)
			return *c;
	return NULL;
}
