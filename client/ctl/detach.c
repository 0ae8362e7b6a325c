/*
 * detach.c - submit --detach: each job has a token, made here, by which the daemon knows it
 * again.  When the daemon dies under us, what it has not acknowledged is submitted again with the
 * same tokens: what was durable is found, the rest is made.
 */
#include "client/ctl/detach.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "client/ctl/print_json.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"

#define PATIENCE_NS (30 * NS_PER_S) /* for a daemon that is gone to come back */
#define RETRY_MS    100
#define BURST       64

struct detaching {
	uint64_t wanted, accepted, refused;
	unsigned char base[8]; /* the first half of all tokens; the second is the job's number */
	unsigned char *done;   /* a bit per job: accepted or refused */
	int status;            /* of the last refusal */
	bool hopeless;         /* refused for what it is: more of the same is no use */
	uint64_t progress_ns;  /* when something was accepted last */
	struct pyprep *p;
	struct pyprep_prepared *prepared;
};

static bool
is_done(const struct detaching *d, uint64_t number)
{
	return d->done[number / 8] >> number % 8 & 1;
}

static void
print_accepted(const struct pyprep_event *event)
{
	if (ctl.json)
		json_print_line(json_pack("{s:s, s:I, s:b}", "schema", "pyprep.accepted/1", "id",
					  (json_int_t)event->id, "known", event->known));
	else if (ctl.quiet)
		printf("%" PRIu64 "\n", event->id);
	else
		printf("job %" PRIu64 " %s\n", event->id,
		       event->known ? "was there before" : "accepted: it is in the store");
}

static void
got_event(struct detaching *d, const struct pyprep_event *event)
{
	uint64_t number = (uint64_t)(uintptr_t)event->user - 1;
	const struct pyprep_receipt *r = &event->receipt;

	if (event->type == PYPREP_ACCEPTED) {
		d->done[number / 8] |= (unsigned char)(1u << number % 8);
		d->accepted++;
		d->progress_ns = clock_now();
		print_accepted(event);
	} else if (event->type == PYPREP_RECEIPT && strcmp(r->state, "refused") == 0) {
		d->done[number / 8] |= (unsigned char)(1u << number % 8);
		d->status = r->exit_status;
		if (d->refused++ == 0 || ctl.json)
			ctl_fail(r->exit_status, r->error_code, "%s", r->error_message);
		d->hopeless |= r->exit_status != EXIT_TRY_LATER;
	}
}

/* What has come, or with `wait` all that is outstanding; -errno when the daemon is gone. */
static int
take_events(struct detaching *d, bool wait)
{
	struct pyprep_event event;
	int r;

	while ((r = pyprep_next(d->p, wait ? -1 : 0, &event)) == 1)
		got_event(d, &event);
	return r == -EINTR ? 0 : r;
}

static int
submit_one(struct detaching *d, uint64_t number)
{
	unsigned char token[PYPREP_TOKEN];

	memcpy(token, d->base, sizeof(d->base));
	for (unsigned i = 0; i < 8; i++)
		token[PYPREP_TOKEN - 1 - i] = (unsigned char)(number >> 8 * i);
	return pyprep_submit_token(d->p, d->prepared, token, (void *)(uintptr_t)(number + 1), NULL);
}

static int
submit_rest(struct detaching *d)
{
	int r = 0;

	for (uint64_t i = 0; i < d->wanted && r == 0 && !d->hopeless; i++) {
		if (is_done(d, i))
			continue;
		r = submit_one(d, i);
		if (r == -EAGAIN) { /* --no-wait-for-room */
			d->status = EXIT_TRY_LATER;
			return ctl_fail(
				EXIT_TRY_LATER, "queue_full",
				"the daemon has no room for more jobs now; try again later");
		}
		if (r == 0 && i % BURST == BURST - 1)
			r = take_events(d, false);
	}
	while (r == 0 && pyprep_outstanding(d->p) > 0)
		r = take_events(d, true);
	return r < 0 ? r : 0;
}

/* One connection's worth: 0 all is said, -errno the daemon is gone, else an exit status. */
static int
one_round(struct detaching *d, const struct jobspec *spec)
{
	struct pyprep_problem why = { 0 };

	int r = pyprep_connect_lane(ctl.runtime_dir, ctl.lane, &d->p, &why);
	if (r < 0)
		return d->progress_ns == 0 ? ctl_fail_problem(&why) : r;
	r = pyprep_prepare(d->p, &spec->job, &d->prepared, &why);
	if (r == 0) {
		if (d->progress_ns == 0)
			d->progress_ns = clock_now();
		r = submit_rest(d);
		pyprep_prepared_free(d->prepared);
	} else if (r != -EPIPE) {
		r = ctl_fail_problem(&why);
	}
	/* Receipts that say "broker_lost" are of jobs that will be submitted again. */
	pyprep_close(d->p);
	return r;
}

int
detach_jobs(const struct jobspec *spec, uint64_t count)
{
	struct detaching d = { .wanted = count };
	struct jobspec detached = *spec;
	int r;

	detached.job.flags |= PYPREP_DETACH;
	d.done = ctl_alloc(count / 8 + 1, 1);
	if (getrandom(d.base, sizeof(d.base), 0) != (ssize_t)sizeof(d.base)) {
		free(d.done);
		return ctl_fail(EXIT_OURS, "internal", "no random bytes for the jobs' tokens");
	}
	while ((r = one_round(&d, &detached)) < 0 ||
	       (r == 0 && !d.hopeless && d.accepted + d.refused < count)) {
		if (clock_now() - d.progress_ns > PATIENCE_NS)
			break;
		poll(NULL, 0, RETRY_MS);
	}
	free(d.done);
	if (r > 0)
		return r;
	if (d.accepted + d.refused < count && !d.hopeless)
		return ctl_fail(EXIT_OURS, "broker_lost",
				"the daemon is gone; %" PRIu64 " of %" PRIu64
				" jobs were acknowledged, the others may be in its store",
				d.accepted, count);
	if (d.refused > 0)
		return d.status;
	return 0;
}
