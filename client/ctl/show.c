/* show.c - pyprepctl show: all that is known about one job. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/ids.h"
#include "client/ctl/jobmap.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_receipt.h"
#include "client/ctl/report.h"
#include "client/ctl/units.h"

static const struct option_row options[] = {
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

static const char *
text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

/* What only some jobs have. */
static void
print_more(const json_t *more)
{
	const json_t *item;
	size_t i;

	if (json_is_true(json_object_get(more, "detached")))
		printf("  detached: it is in the store\n");
	if (json_object_get(more, "waits"))
		printf("  waits for: %s\n", text_of(more, "waits"));
	if (json_object_get(more, "key"))
		printf("  key: %s\n", text_of(more, "key"));
	json_array_foreach(json_object_get(more, "labels"), i, item)
		printf("  label: %s\n", json_string_value(item) ? json_string_value(item) : "?");
	const json_t *attempts = json_object_get(more, "attempts");
	if (json_array_size(attempts) < 2)
		return;
	json_array_foreach(attempts, i, item)
		printf("  attempt %lld: %s, %s%s%s\n",
		       (long long)json_integer_value(json_object_get(item, "attempt")),
		       text_of(item, "state"), text_of(item, "cause"),
		       json_is_object(json_object_get(item, "error")) ? ": " : "",
		       text_of(json_object_get(item, "error"), "message"));
}

static int
got_job(void *context, const msgpack_object *map)
{
	struct pyprep_receipt receipt;
	struct jobmap job;

	(void)context;
	if (jobmap_read(map, &job) < 0)
		return -EPROTO;
	if (ctl.json) {
		json_print_line(json_of_jobmap(&job));
	} else if (jobmap_receipt(&job, &receipt) == 0) {
		receipt_print(stdout, &receipt, job.args);
		bool open = strcmp(receipt.state, "queued") == 0 ||
			    strcmp(receipt.state, "running") == 0;
		printf("  of user %s; %s %s ago\n", job.user ? job.user : "?",
		       open ? "submitted" : "ended", unit_time_human(job.age_ns).text);
		print_more(job.more);
	}
	jobmap_free(&job);
	return 0;
}

static int
show_run(const struct words *words)
{
	struct request request;
	struct ids ids;

	if (words->count != 1)
		return ctl_fail(EXIT_USAGE, "usage",
				"show takes one id; 'pyprepctl ls' lists them");
	int status = ids_read(words, &ids);
	if (status != 0)
		return status;
	request_begin(&request, "show", 1);
	request_u64(&request, "id", ids.id[0]);
	ids_free(&ids);
	return request_once(&request, got_job, NULL);
}

extern const struct command command_show;
const struct command command_show = {
	.name = "show",
	.args = "ID [--json]",
	.summary = "show all that is known about one job",
	.examples = "  pyprepctl show 17\n"
		    "  pyprepctl show 17 --json | jq .stages\n",
	.more = "Exit status: 3 no such job.\n",
	.options = options,
	.complete = COMPLETE_JOB,
	.run = show_run,
};
