/* change_jobs.c - see change_jobs.h */
#include "client/ctl/change_jobs.h"

#include <errno.h>
#include <inttypes.h>

#include "client/ctl/ids.h"
#include "client/ctl/print_json.h"
#include "client/ctl/report.h"

#define IDS_AT_ONCE 4096 /* docs/protocol.md */

struct change {
	const char *verb, *did, *busy_why;
	uint64_t done;
	int status;
};

static int
got_answer(void *context, const msgpack_object *map)
{
	struct change *c = context;

	c->done += field_u64(map, "done");
	if (ids_complain(map, "busy", "bad_request", EXIT_SOME_FAILED, c->busy_why))
		c->status = EXIT_SOME_FAILED;
	if (ids_complain(map, "missing", "no_such_job", EXIT_NO_SUCH, "no such job"))
		c->status = EXIT_NO_SUCH;
	if (ids_complain(map, "not_allowed", "not_allowed", EXIT_NOT_ALLOWED,
			 "not allowed, these are another user's jobs"))
		c->status = EXIT_NOT_ALLOWED;
	return 0;
}

static int
send_change(struct change *c, const struct ids *ids)
{
	struct request request;

	request_begin(&request, c->verb, 1);
	request_list(&request, "ids", ids->count);
	for (unsigned i = 0; i < ids->count; i++)
		msgpack_pack_uint64(&request.packer, ids->id[i]);
	return request_once(&request, got_answer, c);
}

static void
say_done(const struct change *c)
{
	if (ctl.json)
		json_print_line(json_pack("{s:o, s:I}", "schema",
					  json_sprintf("pyprep.%s/1", c->verb), c->did,
					  (json_int_t)c->done));
	else if (!ctl.quiet)
		printf("%s %" PRIu64 " job%s\n", c->did, c->done, c->done == 1 ? "" : "s");
}

int
change_jobs(const struct words *words, const char *verb, const char *did, const char *busy_why)
{
	struct change change = { .verb = verb, .did = did, .busy_why = busy_why };
	struct ids ids;

	if (words->count == 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"%s takes one id or more; 'pyprepctl ls --state all' lists them",
				verb);
	int status = ids_read(words, &ids);
	if (status != 0)
		return status;
	int r = send_change(&change, &ids);
	ids_free(&ids);
	if (r == 0)
		say_done(&change);
	return r != 0 ? r : change.status;
}

/* ---- all in one state ---- */

struct found {
	struct ids ids;
	unsigned seen; /* attached ones, too, which cannot be changed */
};

static int
got_jobs(void *context, const msgpack_object *map)
{
	struct found *found = context;
	struct pyprep_receipt receipt;
	const msgpack_object *job;

	unsigned count = field_list(map, "jobs", &job);
	for (unsigned i = 0; i < count && found->seen < IDS_AT_ONCE; i++) {
		const msgpack_object *bytes = field_get(&job[i], "receipt");
		if (!bytes || bytes->type != MSGPACK_OBJECT_BIN ||
		    pyprep_receipt_decode(bytes->via.bin.ptr, bytes->via.bin.size, &receipt) < 0)
			return -EPROTO;
		found->seen++;
		if (field_bool(&job[i], "detached"))
			found->ids.id[found->ids.count++] = receipt.id;
	}
	return 0;
}

static int
find_jobs(const char *state, struct found *found)
{
	struct request request;

	found->seen = found->ids.count = 0;
	request_begin(&request, "ls", 2);
	request_text(&request, "state", state);
	request_u64(&request, "limit", IDS_AT_ONCE);
	return request_once(&request, got_jobs, found);
}

int
change_jobs_in(const char *state, const char *verb, const char *did, const char *busy_why)
{
	struct change change = { .verb = verb, .did = did, .busy_why = busy_why };
	struct found found = { .ids.id = ctl_alloc(IDS_AT_ONCE, sizeof(*found.ids.id)) };
	uint64_t before;
	int r;

	do {
		before = change.done;
		r = find_jobs(state, &found);
		if (r == 0 && found.ids.count > 0)
			r = send_change(&change, &found.ids);
	} while (r == 0 && found.seen == IDS_AT_ONCE && change.done > before);
	ids_free(&found.ids);
	if (r == 0)
		say_done(&change);
	return r != 0 ? r : change.status;
}
