/* why.c - pyprepctl why: what a job waits for, when it will start, what would start it now. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/ids.h"
#include "client/ctl/jobmap.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_receipt.h"
#include "client/ctl/reply.h"
#include "client/ctl/report.h"
#include "client/ctl/units.h"
#include "client/ctl/why.h"

#define TEXT_MAX 1200

static const struct option_row options[] = {
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

/* ---- what the daemon says ---- */

static int
got_why(void *context, const msgpack_object *map)
{
	json_t **job = context;

	*job = json_of_object(map);
	return 0;
}

/* Each reason gets its sentence and its remedy; start_now: all the remedies, or null when that
 * is not enough. */
static void
add_texts(json_t *job)
{
	json_t *now = json_array();
	bool possible = true;
	json_t *reason;
	size_t i;

	const json_t *reasons = json_object_get(job, "reasons");
	for (i = 0; i < json_array_size(reasons); i++) {
		reason = json_array_get(reasons, i);
		char text[TEXT_MAX], remedy[200];
		possible &= why_reason(job, reason, text, sizeof text, remedy, sizeof remedy);
		json_object_set_new(reason, "text", json_string(text));
		json_object_set_new(reason, "remedy",
				    remedy[0] ? json_string(remedy) : json_null());
		if (remedy[0])
			json_array_append_new(now, json_string(remedy));
	}
	if (!possible) {
		json_decref(now);
		now = json_null();
	}
	json_object_set_new(job, "start_now", now);
}

/* ---- one that runs ---- */

static void
add_cpu(json_t *job)
{
	const json_t *worker = json_object_get(job, "worker");
	struct cpu_share share;

	json_object_set_new(job, "cpu", json_null());
	if (!json_is_object(worker) || !json_is_integer(json_object_get(worker, "started_ns")))
		return;
	bool command = strcmp(why_str(job, "executor"), "command") == 0;
	if (why_cpu((pid_t)why_u64(worker, "pid"), command, &share) < 0)
		return;
	json_object_set_new(job, "cpu",
			    json_pack("{s:I, s:I, s:I, s:i}", "on_ns", (json_int_t)share.on_ns,
				      "waiting_ns", (json_int_t)share.waiting_ns, "span_ns",
				      (json_int_t)share.span_ns, "threads", (int)share.threads));
}

static void
print_cpu(const json_t *job)
{
	const json_t *cpu = json_object_get(job, "cpu"), *worker = json_object_get(job, "worker");
	uint64_t beside = why_u64(worker, "beside");

	if (!json_is_object(cpu))
		return;
	double span = (double)why_u64(cpu, "span_ns");
	double on = (double)why_u64(cpu, "on_ns") / span;
	double waiting = (double)why_u64(cpu, "waiting_ns") / span;
	printf("  in the last %s its %s was on a CPU for %.0f %% of the time, and waited for one "
	       "for %.0f %%%s",
	       unit_time_human(why_u64(cpu, "span_ns")).text,
	       strcmp(why_str(job, "executor"), "command") == 0 ? "tree of processes" : "worker",
	       100 * on, 100 * waiting,
	       waiting > 0.1                 ? ": others want the same CPUs"
	       : on < 0.02 && waiting < 0.02 ? ": it sleeps, or waits for I/O"
					     : "");
	if (beside > 0)
		printf(" (with %s other%s there)", unit_count_human(beside).text,
		       beside == 1 ? "" : "s");
	putchar('\n');
}

static void
print_running(const json_t *job)
{
	const json_t *worker = json_object_get(job, "worker");
	char text[TEXT_MAX];

	printf("job %" PRIu64 " (%s) ", why_u64(job, "id"), why_str(job, "kind"));
	if (json_is_true(json_object_get(job, "ending"))) {
		printf("has ended; the store is being told\n");
		return;
	}
	bool started = json_is_integer(json_object_get(worker, "started_ns"));
	if (started)
		printf("has run for %s", unit_time_human(why_u64(worker, "started_ns")).text);
	else
		printf("was sent ahead");
	printf(" on %s/%" PRIu64 " (pid %" PRIu64 ")%s\n", why_str(job, "pool"),
	       why_u64(worker, "slot"), why_u64(worker, "pid"),
	       json_is_true(json_object_get(worker, "stopping")) ? ", and is being ended" : "");
	if (!started)
		printf("  it begins when what runs there has ended, or goes back when another "
		       "worker is free\n");
	why_runs(job, text, sizeof text);
	printf("  %s\n", text);
	print_cpu(job);
}

/* ---- one that waits ---- */

static void
print_queued(const json_t *job)
{
	const json_t *reason, *now = json_object_get(job, "start_now"), *command;
	char text[TEXT_MAX];
	size_t i;

	printf("job %" PRIu64 " (%s, for pool %s) has waited for %s\n", why_u64(job, "id"),
	       why_str(job, "kind"), why_str(job, "pool"),
	       unit_time_human(why_u64(job, "for_ns")).text);
	const json_t *reasons = json_object_get(job, "reasons");
	for (i = 0; i < json_array_size(reasons); i++) {
		reason = json_array_get(reasons, i);
		printf("  %s", why_str(reason, "text"));
		if (json_is_integer(json_object_get(reason, "for_ns")))
			printf(" (so for %s)", unit_time_human(why_u64(reason, "for_ns")).text);
		putchar('\n');
	}
	if (json_array_size(json_object_get(job, "reasons")) == 0)
		printf("  nothing holds it back: it is about to start\n");
	why_start(job, text, sizeof text);
	if (text[0])
		printf("  %s\n", text);
	if (json_array_size(now) == 0)
		return;
	printf("to start it now:\n");
	for (i = 0; i < json_array_size(now); i++) {
		command = json_array_get(now, i);
		printf("  %s\n", json_string_value(command));
	}
}

/* ---- one that has ended ---- */

struct ended {
	json_t *json;
	bool found;
};

static void
print_ended(const struct jobmap *job, const struct pyprep_receipt *r)
{
	char text[TEXT_MAX];

	printf("job %" PRIu64 " (%s) has ended: %s", r->id, job->kind ? job->kind : "?", r->state);
	failure_text(r, text, sizeof text);
	if (text[0])
		printf(", %s", text);
	printf("; %s ago\n", unit_time_human(job->age_ns).text);
	if (r->attempt > 1)
		printf("  that was attempt %u\n", r->attempt);
	printf("  it waited %s in its queue and ran for %s; pyprepctl show %" PRIu64
	       " has all of it\n",
	       unit_time_human(r->queue_ns).text, unit_time_human(r->run_ns).text, r->id);
}

static int
got_ended(void *context, const msgpack_object *map)
{
	struct ended *e = context;
	struct pyprep_receipt receipt;
	struct jobmap job;
	char text[TEXT_MAX];

	if (jobmap_read(map, &job) < 0)
		return -EPROTO;
	if (jobmap_receipt(&job, &receipt) == 0) {
		e->found = true;
		failure_text(&receipt, text, sizeof text);
		if (ctl.json)
			e->json = json_pack("{s:s, s:I, s:b, s:s, s:[{s:s, s:s, s:n}], s:n, s:o}",
					    "schema", "pyprep.why/1", "id", (json_int_t)receipt.id,
					    "live", 0, "state", receipt.state, "reasons", "reason",
					    "ended", "text", text[0] ? text : receipt.state,
					    "remedy", "start_now", "job", json_of_jobmap(&job));
		else
			print_ended(&job, &receipt);
	}
	jobmap_free(&job);
	return 0;
}

static int
tell_ended(struct pyprep *p, uint64_t id)
{
	struct ended ended = { 0 };
	struct request request;

	request_begin(&request, "show", 1);
	request_u64(&request, "id", id);
	int status = request_send(&request, p, got_ended, &ended);
	if (ended.json)
		json_print_line(ended.json);
	return status;
}

/* ---- the command ---- */

static void
tell(json_t *job)
{
	json_object_set_new(job, "schema", json_string("pyprep.why/1"));
	add_texts(job);
	bool queued = strcmp(why_str(job, "state"), "queued") == 0;
	if (!queued)
		add_cpu(job);
	if (ctl.json)
		json_print_line(json_incref(job));
	else if (queued)
		print_queued(job);
	else
		print_running(job);
}

static int
why_run(const struct words *words)
{
	struct request request;
	struct pyprep *p;
	struct ids ids;
	json_t *job = NULL;

	if (words->count != 1)
		return ctl_fail(EXIT_USAGE, "usage", "why takes one id; 'pyprepctl ls' lists them");
	int status = ids_read(words, &ids);
	if (status != 0)
		return status;
	uint64_t id = ids.id[0];
	ids_free(&ids);
	if ((status = ctl_connect(&p)) != 0)
		return status;
	request_begin(&request, "why", 1);
	request_u64(&request, "id", id);
	status = request_send(&request, p, got_why, &job);
	if (status == 0 && json_is_true(json_object_get(job, "live")))
		tell(job);
	else if (status == 0)
		status = tell_ended(p, id);
	json_decref(job);
	pyprep_close(p);
	return status;
}

extern const struct command command_why;
const struct command command_why = {
	.name = "why",
	.args = "ID [--json]",
	.summary = "tell what a job waits for, when it will start, what would start it now",
	.examples = "  pyprepctl why 17\n"
		    "  pyprepctl why 17 --json | jq -r '.start_now[]?' | sh\n",
	.more = "Exit status: 3 no such job.\n",
	.options = options,
	.complete = COMPLETE_JOB,
	.run = why_run,
};
