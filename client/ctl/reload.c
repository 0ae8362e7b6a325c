/* reload.c - pyprepctl reload: the daemon reads its configuration again. */
#include "client/ctl/command.h"
#include "client/ctl/print_json.h"
#include "client/ctl/reply.h"
#include "client/ctl/report.h"

static const struct option_row options[] = {
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

static int
got_changes(void *context, const msgpack_object *map)
{
	const msgpack_object *sentence;

	(void)context;
	if (ctl.json) {
		json_print_line(json_of_object(map));
		return 0;
	}
	unsigned count = field_list(map, "changed", &sentence);
	for (unsigned i = 0; i < count; i++)
		if (sentence[i].type == MSGPACK_OBJECT_STR)
			printf("%.*s\n", (int)sentence[i].via.str.size, sentence[i].via.str.ptr);
	if (count == 0)
		printf("nothing changed\n");
	return 0;
}

static int
reload_run(const struct words *words)
{
	struct request request;

	if (words->count > 0)
		return ctl_fail(EXIT_USAGE, "usage", "reload takes no words, not '%s'",
				words->word[0]);
	request_begin(&request, "reload", 0);
	return request_once(&request, got_changes, NULL);
}

extern const struct command command_reload;
const struct command command_reload = {
	.name = "reload",
	.args = "",
	.summary = "let the daemon read its configuration again",
	.examples = "  pyprepctl reload\n",
	.more = "Prints what changed.  A configuration with a mistake changes nothing.\n",
	.options = options,
	.run = reload_run,
};
