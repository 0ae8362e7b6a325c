/*
 * test_why_said.c - what `why` says where it takes more than a command line: a pool that has
 * failed, a client that does not read, a store that cannot be written, another user's job.
 * tests/cli/why.bats has the rest.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "ipc/receipt.h"
#include "tests/daemon/policies.h"
#include "tests/daemon/raw.h"

#define CONFIG                                              \
	"[pool \"cpu\"]\nexecutor = process\nworkers = 2\n" \
	"[pool \"bad\"]\nexecutor = process\nworkers = 1\nrestart_max = 4\n"

static struct test_daemon d;

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(why_said, .fini = teardown, .timeout = 120);

/* Are these its reasons ("paused held"), in this order? */
static bool
reasons_are(struct pyprep *p, uint64_t id, const char *words)
{
	char ask_words[40], said[200] = "";

	snprintf(ask_words, sizeof(ask_words), "id=%ju", (uintmax_t)id);
	if (ask(p, "why", ask_words, NULL) < 0)
		return false;
	for (const char *at = ask_answer; (at = strstr(at, "\"reason\"=>\"")) != NULL;) {
		at += strlen("\"reason\"=>\"");
		snprintf(said + strlen(said), sizeof(said) - strlen(said), "%s%.*s",
			 said[0] != '\0' ? " " : "", (int)strcspn(at, "\""), at);
	}
	return strcmp(said, words) == 0;
}

static bool
pool_is(const char *name, const char *state)
{
	struct test_status status;
	return daemon_status(&d, &status) == 0 &&
	       strcmp(status_pool(&status, name)->state, state) == 0;
}

Test(why_said, of_a_pool_that_has_failed_and_what_to_do_about_it)
{
	struct pyprep_policy held = { .hold = 1 };
	struct pyprep_receipt r;

	daemon_begin(&d, CONFIG);
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_job job = { .kind = "noop", .pool = "bad", .policy = &held };
	uint64_t tag = start_job(p, &job);
	uint64_t id;
	cr_assert(wait_until(20000, (id = newest_job(p)) != 0));
	while (!pool_is("bad", "failed")) {
		pid_t worker = daemon_worker(&d, "bad", 0);
		if (worker > 0)
			kill(worker, SIGKILL);
	}
	cr_expect(reasons_are(p, id, "failed held"), "%s", ask_answer);
	cr_expect(strstr(ask_answer, "\"unknown\"=>\"pool\"") != NULL, "%s", ask_answer);
	/* In this order. */
	cr_assert_eq(ask(p, "resume", "pool=bad", NULL), 0);
	cr_assert(wait_until(20000,
			     reasons_are(p, id, "held") || reasons_are(p, id, "held starting")));
	release(p, id);
	receipt_for(p, tag, 20000, &r);
	cr_expect_str_eq(r.state, "succeeded");
	pyprep_close(p);
}

Test(why_said, of_a_client_that_does_not_read)
{
	const uint32_t jobs = 50000;
	struct receipt receipt;
	struct test_status status;
	uint16_t kind, pool;

	daemon_begin(&d, CONFIG);
	struct pyprep *p = daemon_connect(&d);
	struct raw *r = raw_open(&d);
	raw_resolve(r, "noop", "cpu", &kind, &pool);
	for (uint32_t sent = 0; sent < jobs;)
		if (raw_submit(r, sent, kind, pool, "\x80", 1) == 0)
			sent++;
		else
			test_pause();
	/* Ids are given in order: the last one is the last to be held. */
	cr_assert(wait_until(20000, daemon_status(&d, &status) == 0 && status.jobs_running == 0 &&
					    status.jobs_queued > 10000));
	cr_expect(wait_until(20000, reasons_are(p, jobs, "client")), "%s", ask_answer);
	cr_expect(strstr(ask_answer, "\"unknown\"=>\"client\"") != NULL, "%s", ask_answer);
	uint32_t got = 0;
	while (got < jobs && raw_receipt(r, 30000, &receipt) == 1)
		got += receipt.outcome.state == JOB_SUCCEEDED;
	cr_expect_eq(got, jobs, "it did not go on when they were read");
	raw_close(r);
	pyprep_close(p);
}

/* ---- a store without room ---- */

static void
fill_up(const char *path)
{
	static const char block[4096];
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	while (fd >= 0 && write(fd, block, sizeof(block)) > 0)
		;
	if (fd >= 0)
		close(fd);
}

static char state[128], filling[160];

/* A daemon with a small disk of its own. */
static void
begin_on_small_disk(void)
{
	if (geteuid() != 0)
		cr_skip_test("needs root to mount a small disk");
	daemon_prepare(&d, CONFIG);
	snprintf(state, sizeof(state), "%s/state", d.root);
	snprintf(filling, sizeof(filling), "%s/filling", state);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("small", state, "tmpfs", 0, "size=16m,mode=0700") < 0)
		cr_skip_test("may not mount");
	daemon_launch(&d);
	cr_assert(daemon_wait_ready(&d, 20000));
}

/* Until a submit is refused: what the store had reserved is used up first. */
static void
use_up(struct pyprep *p)
{
	struct pyprep_receipt r;

	for (bool full = false; !full;) {
		fill_up(filling);
		full = detach(p, "noop", NULL, NULL, &r) == 0;
	}
	cr_expect_str_eq(r.error_code, "store_full");
}

static void
end_on_small_disk(void)
{
	daemon_end(&d);
	umount(state);
}

Test(why_said, of_a_store_that_cannot_be_written)
{
	struct pyprep_receipt r;

	begin_on_small_disk();
	struct pyprep *p = daemon_connect(&d);
	cr_assert_eq(ask(p, "pause", "pool=cpu", NULL), 0);
	uint64_t id = detach(p, "noop", NULL, NULL, NULL);
	cr_assert(reasons_are(p, id, "paused"), "%s", ask_answer);
	use_up(p);
	cr_assert_eq(ask(p, "resume", "pool=cpu", NULL), 0);
	cr_expect(wait_until(20000, reasons_are(p, id, "store")), "%s", ask_answer);
	cr_expect(strstr(ask_answer, "No space left on device") != NULL, "%s", ask_answer);
	unlink(filling);
	end_of(p, id, 60000, &r);
	cr_expect_str_eq(r.state, "succeeded");
	pyprep_close(p);
	end_on_small_disk();
}

/* It is over, and so are its worker and the place that it had there. */
Test(why_said, of_a_job_whose_end_waits_for_the_store)
{
	struct pyprep_receipt r;
	char words[64];

	begin_on_small_disk();
	struct pyprep *p = daemon_connect(&d);
	pid_t broker = daemon_broker(&d);
	uint64_t id = detach(p, "sleep", "ms=600000", NULL, NULL);
	cr_assert(wait_until(20000, jobs_started(p) == 1));
	use_up(p);
	cr_assert_eq(ask(p, "resize", "pool=cpu workers=0", NULL), 0);
	snprintf(words, sizeof(words), "ids=%ju,", (uintmax_t)id);
	cr_assert_eq(ask(p, "cancel", words, NULL), 0);
	snprintf(words, sizeof(words), "id=%ju", (uintmax_t)id);
	cr_expect(wait_until(20000, ask(p, "why", words, NULL) == 0 &&
					    strstr(ask_answer, "\"ending\"=>true")),
		  "%s", ask_answer);
	cr_expect(strstr(ask_answer, "\"worker\"=>nil"), "%s", ask_answer);
	cr_assert_eq(ask(p, "show", words, NULL), 0);
	cr_expect(strstr(ask_answer, "\"detached\"=>true"), "%s", ask_answer);
	cr_expect_eq(daemon_broker(&d), broker, "it died of the question");
	unlink(filling);
	end_of(p, id, 60000, &r);
	cr_expect_str_eq(r.state, "cancelled");
	pyprep_close(p);
	end_on_small_disk();
}
