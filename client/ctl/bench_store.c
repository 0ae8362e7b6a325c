/* bench_store.c - rows of the store: what a durable job costs, alone, in crowds, and in a backlog.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/bench.h"
#include "client/ctl/reply.h"
#include "ipc/clock.h"

#define RECORD_BYTES 128
#define WINDOW       4096
#define WAIT_MS      120000
#define ROUNDS       5

static const struct pyprep_job noop = { .kind = "noop", .pool = "cpu", .flags = PYPREP_DETACH };

/* ---- floors ---- */

/* Append so many bytes and sync them, one after the other. */
static int
bare_appends(const struct bench *bench, unsigned count, struct samples *ret,
	     struct bench_result *result)
{
	static const char record[RECORD_BYTES];
	char path[300];

	snprintf(path, sizeof path, "%s/appended", bench->directory);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	for (unsigned i = 0; fd >= 0 && i < count; i++) {
		uint64_t begun = clock_now();
		if (write(fd, record, sizeof record) != (ssize_t)sizeof record || fdatasync(fd) < 0)
			break;
		samples_add(ret, clock_now() - begun);
	}
	int error = errno;
	if (fd >= 0)
		close(fd);
	unlink(path);
	if (ret->count < count)
		return bench_fail(result, "cannot append to %s: %s", path, strerror(error));
	return 0;
}

/* ---- submitting ---- */

static int
accepted(struct bench_session *s, struct bench_result *result)
{
	struct pyprep_event event;
	int r;

	do
		r = pyprep_next(s->p, WAIT_MS, &event);
	while (r == -EINTR);
	if (r == 1 && event.type == PYPREP_ACCEPTED)
		return 0;
	return bench_fail(result, "a detached job was not acknowledged: %s",
			  r == 1 ? event.receipt.error_message : strerror(-r));
}

static int
one_by_one(struct bench_session *s, const struct pyprep_prepared *job, unsigned count,
	   struct samples *ret, struct bench_result *result)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t begun = clock_now();
		int r = pyprep_submit_prepared(s->p, job, NULL, NULL);
		if (r < 0)
			return bench_fail(result, "cannot submit: %s", strerror(-r));
		if (accepted(s, result) < 0)
			return -1;
		samples_add(ret, clock_now() - begun);
	}
	return 0;
}

static int
many(struct bench_session *s, const struct pyprep_prepared *job, uint64_t count,
     struct bench_result *result)
{
	uint64_t sent = 0, back = 0;

	while (back < count) {
		for (; sent < count && sent - back < WINDOW; sent++) {
			int r = pyprep_submit_prepared(s->p, job, NULL, NULL);
			if (r < 0)
				return bench_fail(result, "cannot submit: %s", strerror(-r));
		}
		uint64_t until = sent < count ? sent - WINDOW / 2 : count;
		for (; back < until; back++)
			if (accepted(s, result) < 0)
				return -1;
	}
	return 0;
}

/* Until nothing is queued and nothing runs. */
static int
all_done(struct bench_session *s, struct bench_result *result)
{
	struct bench_status status;

	do {
		bench_pause_ms(1);
		if (session_status(s, &status, result) < 0)
			return -1;
	} while (status.queued + status.running > 0);
	return 0;
}

/* ---- one at a time ---- */

static int
one_rounds(struct bench_session *s, const struct bench *bench, const struct pyprep_prepared *job,
	   struct bench_result *result)
{
	unsigned each = bench->quick ? 200 : 1000;
	double values[ROUNDS], floors[ROUNDS];
	struct samples all = { 0 }, running = { 0 };
	int r = session_tell(s, "pause", "cpu", result);

	for (unsigned i = 0; r == 0 && i < ROUNDS; i++) {
		struct samples one = { 0 }, least = { 0 };
		r = bare_appends(bench, each, &least, result);
		if (r == 0)
			r = one_by_one(s, job, each, &one, result);
		values[i] = (double)samples_percentile(&one, 50) / 1e3;
		floors[i] = (double)samples_percentile(&least, 50) / 1e3;
		for (uint64_t k = 0; k < one.count && one.values; k++)
			samples_add(&all, one.values[k]);
		samples_free(&one);
		samples_free(&least);
	}
	/* The same while those jobs run and end, which are commits, too. */
	if (r == 0)
		r = session_tell(s, "resume", "cpu", result);
	if (r == 0)
		r = one_by_one(s, job, each, &running, result);
	if (r == 0) {
		bench_percentiles(result, &all, 1e3);
		result->value = bench_median(values, ROUNDS);
		result->floor = bench_median(floors, ROUNDS);
		bench_extra(result, "while_jobs_end_p50",
			    (double)samples_percentile(&running, 50) / 1e3);
	}
	samples_free(&all);
	samples_free(&running);
	return r;
}

int
bench_detached_one(const struct bench *bench, struct bench_result *result)
{
	struct pyprep_prepared *job = NULL;
	struct bench_session s;

	int r = session_open(bench, CONFIG_TWO_WORKERS, &s, result);
	if (r == 0)
		r = session_prepare(&s, &noop, &job, result);
	if (r == 0)
		r = one_rounds(&s, bench, job, result);
	pyprep_prepared_free(job);
	session_close(&s);
	return r;
}

/* ---- many ---- */

int
bench_detached_done(const struct bench *bench, struct bench_result *result)
{
	uint64_t each = bench->quick ? 20000 : 100000;
	double values[ROUNDS];
	struct pyprep_prepared *job = NULL;
	struct bench_session s;

	int r = session_open(bench, CONFIG_TWO_WORKERS, &s, result);
	if (r == 0)
		r = session_prepare(&s, &noop, &job, result);
	for (unsigned i = 0; r == 0 && i < ROUNDS; i++) {
		uint64_t begun = clock_now();
		r = many(&s, job, each, result);
		if (r == 0)
			r = all_done(&s, result);
		values[i] = (double)each / ((double)(clock_now() - begun) / 1e9);
	}
	if (r == 0) {
		result->value = bench_median(values, ROUNDS);
		result->floor = NAN;
		result->n = ROUNDS * each;
	}
	pyprep_prepared_free(job);
	session_close(&s);
	return r;
}

/* ---- a backlog ---- */

static double
bytes_of_store(const struct bench_daemon *d)
{
	static const char *const names[] = { "store.db", "store.db-wal" };
	double bytes = 0;

	for (int i = 0; i < 2; i++) {
		char path[320];
		struct stat st;
		snprintf(path, sizeof path, "%s/state/%s", d->directory, names[i]);
		if (stat(path, &st) == 0)
			bytes += (double)st.st_size;
	}
	return bytes;
}

/* Kill the daemon with its backlog, and see how long the next one takes to have it again. */
static int
restart(const struct bench *bench, struct bench_session *s, double *ret_s,
	struct bench_result *result)
{
	struct bench_status status = { 0 };

	pyprep_close(s->p);
	s->p = NULL;
	kill(s->daemon.pid, SIGKILL);
	waitpid(s->daemon.pid, NULL, 0);
	uint64_t begun = clock_now();
	if (daemon_again(bench, &s->daemon, false, result) < 0 ||
	    daemon_wait(&s->daemon, result) < 0)
		return -1;
	if (pyprep_connect(s->daemon.runtime, &s->p, NULL) < 0)
		return bench_fail(result, "the daemon does not answer after its restart");
	do {
		bench_pause_ms(1);
		if (session_status(s, &status, result) < 0)
			return -1;
	} while (!status.loaded);
	*ret_s = (double)(clock_now() - begun) / 1e9;
	return 0;
}

int
bench_detached_backlog(const struct bench *bench, struct bench_result *result)
{
	uint64_t count = bench->quick ? 100000 : 1000000, part = count / 10;
	double first = 0, last = 0, back_s = 0;
	struct pyprep_prepared *job = NULL;
	struct bench_session s;

	int r = session_open(bench, CONFIG_TWO_WORKERS, &s, result);
	if (r == 0)
		r = session_prepare(&s, &noop, &job, result);
	if (r == 0)
		r = session_tell(&s, "pause", "cpu", result);
	for (unsigned i = 0; r == 0 && i < 10; i++) {
		uint64_t begun = clock_now();
		r = many(&s, job, part, result);
		last = (double)part / ((double)(clock_now() - begun) / 1e9);
		first = i == 0 ? last : first;
	}
	pyprep_prepared_free(job);
	double bytes = r == 0 ? bytes_of_store(&s.daemon) : 0;
	if (r == 0)
		r = restart(bench, &s, &back_s, result);
	if (r == 0) {
		result->value = bytes / (double)count;
		result->floor = RECORD_BYTES;
		result->n = count;
		bench_extra(result, "first_tenth_per_s", first);
		bench_extra(result, "last_tenth_per_s", last);
		bench_extra(result, "restart_s", back_s);
	}
	session_close(&s);
	return r;
}
