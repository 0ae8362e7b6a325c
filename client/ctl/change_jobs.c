/* change_jobs.c - see change_jobs.h */
#include "client/ctl/change_jobs.h"

#include <inttypes.h>

#include "client/ctl/ids.h"
#include "client/ctl/print_json.h"
#include "client/ctl/report.h"

struct change {
	const char *verb, *did, *busy_why;
	int status;
};

static int
got_answer(void *context, const msgpack_object *map)
{
	struct change *c = context;
	uint64_t count = field_u64(map, "done");

	if (ctl.json)
		json_print_line(json_pack("{s:o, s:I}", "schema",
					  json_sprintf("pyprep.%s/1", c->verb), c->did,
					  (json_int_t)count));
	else if (!ctl.quiet)
		printf("%s %" PRIu64 " job%s\n", c->did, count, count == 1 ? "" : "s");
	if (ids_complain(map, "busy", "bad_request", EXIT_SOME_FAILED, c->busy_why))
		c->status = EXIT_SOME_FAILED;
	if (ids_complain(map, "missing", "no_such_job", EXIT_NO_SUCH, "no such job"))
		c->status = EXIT_NO_SUCH;
	if (ids_complain(map, "not_allowed", "not_allowed", EXIT_NOT_ALLOWED,
			 "not allowed, these are another user's jobs"))
		c->status = EXIT_NOT_ALLOWED;
	return 0;
}

int
change_jobs(const struct words *words, const char *verb, const char *did, const char *busy_why)
{
	struct change change = { .verb = verb, .did = did, .busy_why = busy_why };
	struct request request;
	struct ids ids;

	if (words->count == 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"%s takes one id or more; 'pyprepctl ls --state all' lists them",
				verb);
	int status = ids_read(words, &ids);
	if (status != 0)
		return status;
	request_begin(&request, verb, 1);
	request_list(&request, "ids", ids.count);
	for (unsigned i = 0; i < ids.count; i++)
		msgpack_pack_uint64(&request.packer, ids.id[i]);
	ids_free(&ids);
	int r = request_once(&request, got_answer, &change);
	return r != 0 ? r : change.status;
}
