/*
 * test_spare.c - the worker that is kept ready: it takes a dead one's place, is replaced itself,
 * and its own death costs nothing.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <string.h>

#include "tests/daemon/jobs.h"

#define CONFIG "[pool \"cpu\"]\nexecutor = process\nworkers = 2\n"

static struct test_daemon d;

static void
setup(void)
{
	daemon_begin(&d, CONFIG);
}

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(spare, .init = setup, .fini = teardown, .timeout = 120);

/* The pid of the daemon's spare, or 0. */
static pid_t
spare(void)
{
	pid_t children[64];
	char title[128];
	int n = list_children(d.pid, children, 64);

	for (int i = 0; i < n; i++)
		if (process_title(children[i], title, sizeof(title)) &&
		    strncmp(title, "pyprepd: spare", 14) == 0)
			return children[i];
	return 0;
}

static void
one_job(void)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt receipt;

	for (int i = 0; i < 4; i++)
		cr_assert_eq(run_job(p, "noop", "cpu", NULL, 20000, &receipt), 0);
	pyprep_close(p);
}

Test(spare, takes_the_place_of_a_dead_worker_and_is_replaced)
{
	cr_assert(wait_until(20000, spare() != 0), "no spare was forked");
	one_job();
	pid_t ready = spare(), victim = daemon_worker(&d, "cpu", 0);
	kill(victim, SIGKILL);
	cr_assert(wait_until(20000, daemon_worker(&d, "cpu", 0) == ready),
		  "the spare was not used");
	cr_expect(wait_until(20000, spare() != 0 && spare() != ready), "no other was forked");
	one_job();
}

Test(spare, that_dies_is_not_missed)
{
	cr_assert(wait_until(20000, spare() != 0));
	pid_t dead = spare();
	one_job();
	kill(dead, SIGKILL);
	daemon_kill_worker(&d, "cpu", 1);
	one_job();
	cr_expect(wait_until(20000, spare() != 0 && spare() != dead), "no other was forked");
	cr_expect(wait_until(20000, count_zombies(d.pid) == 0));
}

Test(spare, of_an_old_configuration_ends_at_a_reload)
{
	cr_assert(wait_until(20000, spare() != 0));
	pid_t old = spare();
	kill(d.pid, SIGHUP);
	cr_expect(wait_until(20000, !process_exists(old)), "it lived on");
	cr_expect(wait_until(20000, spare() != 0 && spare() != old), "no other was forked");
	one_job();
}
