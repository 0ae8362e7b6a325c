/* show.c - pyprepctl show: all that is known about one job. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "client/ctl/command.h"
#include "client/ctl/ids.h"
#include "client/ctl/jobmap.h"
#include "client/ctl/leaks.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_receipt.h"
#include "client/ctl/report.h"
#include "client/ctl/units.h"
#include "ipc/clock.h"

#define TAIL_LINES 5 /* of a failed command's output */
#define OUTPUT_MS  10000

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

static long long
number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

/* ", 2026-03-01 17:05:09" in the user's time zone; "" for 0. */
static struct unit_text
wall_text(uint64_t ns)
{
	time_t seconds = (time_t)(ns / NS_PER_S);
	struct unit_text ret = { "" };
	struct tm local;

	if (ns != 0 && localtime_r(&seconds, &local) != NULL)
		strftime(ret.text, sizeof ret.text, ", %Y-%m-%d %H:%M:%S", &local);
	return ret;
}

/* What it left behind in its worker, and was put right. */
static void
print_left(const json_t *left)
{
	static const char *const names[] = { "descriptors", "segments", "processes", "files" };
	const char *before = "  left behind: ";

	for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (number_of(left, names[i]) == 0)
			continue;
		printf("%s%lld %s", before, number_of(left, names[i]), names[i]);
		before = ", ";
	}
	if (number_of(left, "bytes") > 0)
		printf(" (%s%s)", unit_bytes((uint64_t)number_of(left, "bytes")).text,
		       json_is_true(json_object_get(left, "more")) ? " and more" : "");
	putchar('\n');
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
	const json_t *labels = json_object_get(more, "labels");
	for (i = 0; i < json_array_size(labels); i++) {
		item = json_array_get(labels, i);
		printf("  label: %s\n", json_string_value(item) ? json_string_value(item) : "?");
	}
	if (json_object_get(more, "again"))
		printf("  once more: %s\n", text_of(more, "again"));
	const json_t *attempts = json_object_get(more, "attempts");
	if (json_array_size(attempts) < 2)
		return;
	for (i = 0; i < json_array_size(attempts); i++) {
		item = json_array_get(attempts, i);
		const char *cause = text_of(item, "cause");
		printf("  attempt %lld: %s%s%s%s%s\n",
		       (long long)json_integer_value(json_object_get(item, "attempt")),
		       text_of(item, "state"), cause[0] ? ", " : "", cause,
		       json_is_object(json_object_get(item, "error")) ? ": " : "",
		       text_of(json_object_get(item, "error"), "message"));
	}
}

/* ---- the last of its output ---- */

struct tail {
	char bytes[2][4096]; /* the last that came, by stream */
	size_t length[2];
};

static int
got_piece(void *context, const msgpack_object *map)
{
	struct tail *t = context;
	const msgpack_object *bytes = field_get(map, "bytes");
	unsigned stream = (unsigned)field_u64(map, "stream");

	if (bytes == NULL || bytes->type != MSGPACK_OBJECT_BIN || stream < 1 || stream > 2)
		return 0;
	char *to = t->bytes[stream - 1];
	size_t *length = &t->length[stream - 1], room = sizeof t->bytes[0];
	size_t count = bytes->via.bin.size < room ? bytes->via.bin.size : room;
	size_t keep = *length + count > room ? room - count : *length;
	memmove(to, to + *length - keep, keep);
	memcpy(to + keep, bytes->via.bin.ptr + bytes->via.bin.size - count, count);
	*length = keep + count;
	return 0;
}

static void
print_tail(const char *name, const char *bytes, size_t length)
{
	size_t from = length;
	unsigned lines = 0;

	if (length == 0)
		return;
	while (from > 0 && (bytes[from - 1] != '\n' || from == length || ++lines < TAIL_LINES))
		from--;
	printf("  the last of its %s:\n", name);
	while (from < length) {
		const char *end = memchr(bytes + from, '\n', length - from);
		size_t line = end ? (size_t)(end - bytes) - from : length - from;
		printf("    %.*s\n", (int)line, bytes + from);
		from += line + 1;
	}
}

static void
print_output(uint64_t id)
{
	static struct tail tail;
	struct pyprep_problem why;
	struct request request;
	struct pyprep *p;

	if (pyprep_connect_lane(ctl.runtime_dir, ctl.lane, &p, &why) < 0)
		return;
	request_begin(&request, "logs", 1);
	request_u64(&request, "id", id);
	(void)request_ask(&request, p, OUTPUT_MS, got_piece, &tail, &why);
	pyprep_close(p);
	print_tail("stdout", tail.bytes[0], tail.length[0]);
	print_tail("stderr", tail.bytes[1], tail.length[1]);
}

struct showing {
	json_t *left;    /* what it left behind; NULL: nothing */
	uint64_t failed; /* a detached command that did: its id */
};

static int
got_job(void *context, const msgpack_object *map)
{
	struct pyprep_receipt receipt;
	struct jobmap job;

	struct showing *showing = context;

	if (jobmap_read(map, &job) < 0)
		return -EPROTO;
	if (showing->left)
		json_object_set(job.more, "left", showing->left);
	if (ctl.json) {
		json_print_line(json_of_jobmap(&job));
	} else if (jobmap_receipt(&job, &receipt) == 0) {
		receipt_print(stdout, &receipt, job.args);
		bool open = strcmp(receipt.state, "queued") == 0 ||
			    strcmp(receipt.state, "running") == 0;
		printf("  of user %s; %s %s ago%s\n", job.user ? job.user : "?",
		       open ? "submitted" : "ended", unit_time_human(job.age_ns).text,
		       wall_text(receipt.ended_wall_ns).text);
		print_more(job.more);
		if (showing->left)
			print_left(showing->left);
		if (!open && strcmp(receipt.state, "succeeded") != 0 && job.kind &&
		    strcmp(job.kind, "exec") == 0 &&
		    json_is_true(json_object_get(job.more, "detached")))
			showing->failed = receipt.id;
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
	struct showing showing = { .left = leaks_of_job(ids.id[0]) };
	request_begin(&request, "show", 1);
	request_u64(&request, "id", ids.id[0]);
	ids_free(&ids);
	status = request_once(&request, got_job, &showing);
	json_decref(showing.left);
	if (status == 0 && showing.failed != 0)
		print_output(showing.failed);
	return status;
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
