/*
 * decode.c - a receipt as the daemon writes it, told as the user reads it: stages
 * that sum to the total, words, and an exit status.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/internal.h"

static void
fill_stages(const struct receipt *r, uint64_t returned_ns, struct pyprep_receipt *ret)
{
	struct stages s;

	receipt_stages(r, returned_ns, &s);
	ret->submit_ns = s.submit_ns;
	ret->store_ns = s.store_ns;
	ret->queue_ns = s.queue_ns;
	ret->dispatch_ns = s.dispatch_ns;
	ret->run_ns = s.run_ns;
	ret->return_ns = s.return_ns;
	ret->total_ns = s.total_ns;
	ret->residual_ns = s.residual_ns;
	ret->submitted_ns = s.submitted_ns;
	ret->ended_ns = s.ended_ns;
}

static const char *
method_text(unsigned method)
{
	static const char *const texts[] = {
		[USAGE_NONE] = "none", [USAGE_LIGHT] = "light", [USAGE_THREAD] = "thread",
		[USAGE_LOOP] = "loop", [USAGE_TREE] = "tree",
	};
	return method < sizeof(texts) / sizeof(texts[0]) ? texts[method] : "none";
}

static void
fill_usage(const struct outcome *o, struct pyprep_receipt *ret)
{
	const struct usage *u = &o->usage;

	ret->method = method_text(o->method);
	ret->oncpu_ns = u->oncpu_ns;
	ret->runqueue_ns = u->runqueue_ns;
	ret->blocked_ns = u->blocked_ns;
	ret->user_ns = u->user_ns;
	ret->system_ns = u->system_ns;
	ret->peak_memory_bytes = u->peak_memory_bytes;
	ret->switches_voluntary = u->switches_voluntary;
	ret->switches_involuntary = u->switches_involuntary;
	ret->faults_minor = u->faults_minor;
	ret->faults_major = u->faults_major;
}

/* What ended badly without naming an error has failed all the same. */
static int
error_status(unsigned error)
{
	int status = job_error_exit(error);
	return status != 0 ? status : job_error_exit(ERR_RUN);
}

/* A failed job's: a command's own where it has one, else that of the error. */
static int
failed_status(const struct outcome *o, bool command)
{
	bool signal = o->cause_value > 0 && o->cause_value < 128;

	if (o->cause == CAUSE_EXIT && o->cause_value > 0 && o->cause_value < 256)
		return o->cause_value;
	if (o->cause == CAUSE_SIGNAL && signal)
		return 128 + o->cause_value;
	if (o->cause == CAUSE_WORKER_DIED && signal && command)
		return 128 + o->cause_value;
	return error_status(o->error);
}

static int
exit_status(const struct outcome *o, bool command)
{
	switch (o->state) {
	case JOB_QUEUED:
	case JOB_RUNNING:
	case JOB_SUCCEEDED:
		return 0;
	case JOB_FAILED:
		return failed_status(o, command);
	case JOB_CANCELLED:
		return job_error_exit(ERR_CANCELLED);
	case JOB_TIMED_OUT:
		return job_error_exit(ERR_TIMED_OUT);
	case JOB_DEAD:
	case JOB_REFUSED:
		return error_status(o->error);
	default:
		return job_error_exit(ERR_INTERNAL);
	}
}

void
receipt_fill(const struct receipt *r, uint64_t returned_ns, bool command,
	     struct pyprep_receipt *ret)
{
	const struct outcome *o = &r->outcome;

	*ret = (struct pyprep_receipt){
		.id = r->id,
		.tag = r->tag,
		.state = job_state_text(o->state),
		.cause = job_cause_text(o->cause),
		.cause_value = o->cause_value,
		.error_code = job_error_text(o->error),
		.error_message = "",
		.attempt = r->attempt,
		.slot = r->worker_pid != 0 ? r->slot : -1,
		.worker_pid = (int)r->worker_pid,
		.truncated = (r->flags & RECEIPT_TRUNCATED) != 0,
		.cached = (r->flags & RECEIPT_CACHED) != 0,
		.memory_limit = r->flags & RECEIPT_LIMIT_CGROUP    ? "cgroup"
				: r->flags & RECEIPT_LIMIT_PROCESS ? "process"
								   : "none",
		.bystander = (r->flags & RECEIPT_BYSTANDER) != 0,
		.ended_wall_ns = r->ended_wall_ns,
		.items = r->items,
		.items_failed = r->items_failed,
		.exit_status = exit_status(o, command),
	};
	fill_stages(r, returned_ns, ret);
	fill_usage(o, ret);
}

int
receipt_open(const struct receipt *r, const void *tails, size_t length, const char **text,
	     size_t *text_length, struct pyprep_receipt *ret)
{
	size_t result = r->outcome.result_length;
	size_t message = r->outcome.message_length;

	if (result > length || message > length - result)
		return -EPROTO;
	ret->result = result > 0 ? tails : NULL;
	ret->result_length = result;
	*text = (const char *)tails + result;
	while (message > 0 && (*text)[message - 1] == '\0')
		message--;
	*text_length = message;
	return 0;
}

int
pyprep_receipt_decode(const void *bytes, size_t length, struct pyprep_receipt *ret)
{
	static _Thread_local char message[4096];
	struct pyprep_receipt decoded;
	struct receipt r;
	const char *text;
	size_t text_length;

	if (length < sizeof(r))
		return -EPROTO;
	memcpy(&r, bytes, sizeof(r)); /* `bytes` may lie anywhere */
	/* How a run was measured tells a command from what ran inside a worker. */
	receipt_fill(&r, r.returned_ns, r.outcome.method == USAGE_TREE, &decoded);
	if (receipt_open(&r, (const unsigned char *)bytes + sizeof(r), length - sizeof(r), &text,
			 &text_length, &decoded) < 0)
		return -EPROTO;
	if (text_length > 0) {
		snprintf(message, sizeof(message), "%.*s", (int)text_length, text);
		decoded.error_message = message;
	}
	*ret = decoded;
	return 0;
}
