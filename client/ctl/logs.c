/* logs.c - pyprepctl logs: what a detached command wrote. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/ids.h"
#include "client/ctl/print_json.h"
#include "client/ctl/reply.h"
#include "client/ctl/report.h"

#define LOOK_MS 200 /* with --follow: between two looks */

static struct {
	bool follow;
	const char *stream;
	int64_t attempt;
} arg;

static const struct option_row options[] = {
	{ "follow", 'f', OPTION_FLAG, &arg.follow, NULL, "go on until the job has ended", 0, 0 },
	{ "stream", 's', OPTION_CHOICE, &arg.stream, "both|stdout|stderr",
	  "only this one (else both, each to where it belongs)", 0, 0 },
	{ "attempt", 0, OPTION_INT, &arg.attempt, "N", "of this attempt (else the last)", 1,
	  65535 },
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

struct reading {
	uint64_t id;
	uint64_t from[3]; /* by stream: what has been seen */
	bool ended, more;
};

static bool
shows(unsigned stream)
{
	if (arg.stream == NULL || strcmp(arg.stream, "both") == 0)
		return true;
	return strcmp(arg.stream, stream == 1 ? "stdout" : "stderr") == 0;
}

static void
show(const struct reading *r, unsigned stream, const char *bytes, size_t length)
{
	if (!shows(stream))
		return;
	if (ctl.json) {
		json_t *line =
			json_pack("{s:s, s:I, s:s, s:I}", "schema", "pyprep.output/1", "id",
				  (json_int_t)r->id, "stream", stream == 1 ? "stdout" : "stderr",
				  "offset", (json_int_t)r->from[stream]);
		json_object_set_new(line, "bytes", json_of_bytes(bytes, length));
		json_print_line(line);
	} else {
		fwrite(bytes, 1, length, stream == 1 ? stdout : stderr);
	}
}

static int
got_map(void *context, const msgpack_object *map)
{
	struct reading *r = context;
	const msgpack_object *bytes = field_get(map, "bytes");

	if (bytes == NULL) { /* the last one */
		r->ended = field_bool(map, "ended");
		r->more = field_bool(map, "more");
		return 0;
	}
	unsigned stream = (unsigned)field_u64(map, "stream");
	uint64_t offset = field_u64(map, "offset");
	if (bytes->type != MSGPACK_OBJECT_BIN || stream < 1 || stream > 2)
		return -EPROTO;
	r->from[stream] = offset;
	show(r, stream, bytes->via.bin.ptr, bytes->via.bin.size);
	r->from[stream] = offset + bytes->via.bin.size;
	return 0;
}

static int
read_once(struct reading *r, struct pyprep *p)
{
	struct request request;

	request_begin(&request, "logs", 4);
	request_u64(&request, "id", r->id);
	request_u64(&request, "attempt", (uint64_t)arg.attempt);
	request_u64(&request, "stdout_from", r->from[1]);
	request_u64(&request, "stderr_from", r->from[2]);
	return request_send(&request, p, got_map, r);
}

static int
read_all(struct reading *r, struct pyprep *p)
{
	for (;;) {
		int status = read_once(r, p);
		if (status != 0)
			return status;
		fflush(stdout);
		if (output_broken() || (!r->more && (r->ended || !arg.follow)))
			return 0;
		if (!r->more)
			poll(NULL, 0, LOOK_MS);
	}
}

static int
logs_run(const struct words *words)
{
	struct reading reading = { 0 };
	struct pyprep *p;
	struct ids ids;

	if (words->count != 1)
		return ctl_fail(EXIT_USAGE, "usage",
				"logs takes one id; 'pyprepctl ls --state all' lists them");
	int status = ids_read(words, &ids);
	if (status != 0)
		return status;
	reading.id = ids.id[0];
	ids_free(&ids);
	status = ctl_connect(&p);
	if (status != 0)
		return status;
	status = read_all(&reading, p);
	pyprep_close(p);
	return status;
}

extern const struct command command_logs;
const struct command command_logs = {
	.name = "logs",
	.args = "ID [-f]",
	.summary = "print what a detached command wrote",
	.examples = "  pyprepctl logs 17\n"
		    "  pyprepctl logs -f 17\n"
		    "  pyprepctl logs 17 --stream stderr --attempt 1\n",
	.more = "Its stdout goes to stdout, its stderr to stderr.  What attached jobs write is not "
		"kept.\n"
		"Exit status: 3 no such detached job.\n",
	.options = options,
	.complete = COMPLETE_JOB,
	.run = logs_run,
};
