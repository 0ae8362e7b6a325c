/* test_daemon_life.c - a real pyprepd from its start to its end: titles, descriptors, children. */
#include <criterion/criterion.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/helpers.h"

static struct test_daemon d;

static void
setup(void)
{
	daemon_begin(&d, NULL);
}

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(daemon_life, .init = setup, .fini = teardown, .timeout = 120);

Test(daemon_life, children_have_titles_and_belong_to_the_supervisor)
{
	struct test_status status;
	char title[128], want[128];
	cr_assert_eq(daemon_status(&d, &status), 0);
	cr_assert_eq(status.supervisor, d.pid);
	cr_assert(process_title(status.supervisor, title, sizeof(title)));
	cr_assert_str_eq(title, "pyprepd: supervisor");
	cr_assert(process_title(status.broker, title, sizeof(title)));
	cr_assert_str_eq(title, "pyprepd: broker");
	int workers = 0;
	for (unsigned p = 0; p < status.pool_count; p++)
		for (unsigned w = 0; w < status.pools[p].worker_count; w++, workers++) {
			snprintf(want, sizeof(want), "pyprepd: worker %s/%u", status.pools[p].name,
				 status.pools[p].workers[w].slot);
			cr_assert(process_title(status.pools[p].workers[w].pid, title,
						sizeof(title)));
			cr_assert_str_eq(title, want);
		}
	pid_t children[64];
	/* The broker; and the spare and the manager, which are forked a little later. */
	cr_assert(wait_until(20000, list_children(d.pid, children, 64) == workers + 3));
}

Test(daemon_life, runs_a_job_on_every_pool)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt receipt;
	cr_assert_eq(run_job(p, "sumsq", "cpu", "n=1000", 20000, &receipt), 0);
	cr_assert_str_eq(receipt.state, "succeeded", "%s", receipt.error_message);
	cr_assert_eq(receipt_int(&receipt), 332833500);
	cr_assert_eq(run_job(p, "square", "threads", "x=-7", 20000, &receipt), 0);
	cr_assert_eq(receipt_int(&receipt), 49);
	cr_assert_eq(run_job(p, "sleep", "io", "ms=5", 20000, &receipt), 0);
	cr_assert_str_eq(receipt.state, "succeeded");
	cr_assert_geq(receipt.run_ns, 5000000);
	pyprep_close(p);
}

/* Kill worker cpu/0 `times` times, each after its predecessor was replaced. */
static void
kill_worker(unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		pid_t before = daemon_worker(&d, "cpu", 0), now = 0;
		cr_assert_gt(before, 0);
		kill(before, SIGKILL);
		cr_assert(
			wait_until(20000, (now = daemon_worker(&d, "cpu", 0)) > 0 && now != before),
			"no replacement after kill %u", i);
		/* Deaths without work between them make the pool fail. */
		struct pyprep *p = daemon_connect(&d);
		struct pyprep_receipt receipt;
		for (int k = 0; k < 8; k++)
			cr_assert_eq(run_job(p, "noop", "cpu", NULL, 20000, &receipt), 0);
		pyprep_close(p);
	}
}

Test(daemon_life, replaces_a_killed_worker_and_leaves_no_zombie_and_no_descriptor)
{
	pid_t broker = daemon_broker(&d);
	kill_worker(5); /* the supervisor keeps a few things ready, made as they are needed */
	wait_until(200, false); /* ... and after a while */
	int supervisor_fds = count_fds(d.pid), broker_fds = count_fds(broker);
	kill_worker(20);
	cr_assert_eq(daemon_broker(&d), broker, "the broker was harmed");
	cr_assert(wait_until(20000, count_zombies(d.pid) == 0));
	cr_assert(wait_until(20000, count_fds(d.pid) <= supervisor_fds), "supervisor: %d, then %d",
		  supervisor_fds, count_fds(d.pid));
	cr_assert(wait_until(20000, count_fds(broker) <= broker_fds), "broker: %d, then %d",
		  broker_fds, count_fds(broker));
}

/* true: within a second. */
static bool
end_it(void)
{
	pid_t children[64];
	int n = list_children(d.pid, children, 64);
	uint64_t start = test_now_ms();
	int status = daemon_stop(&d, 20000);
	cr_assert_eq(status, 0, "status %d", status);
	bool soon = test_now_ms() - start < 1000;
	for (int i = 0; i < n; i++)
		cr_assert_not(process_exists(children[i]));
	return soon;
}

/* Late now and then on a machine that has other work; not each time. */
Test(daemon_life, ends_when_it_is_told_to_with_status_0_and_soon)
{
	bool soon = end_it();

	for (int i = 1; i < 5 && !soon; i++) {
		daemon_end(&d);
		setup();
		soon = end_it();
	}
	cr_expect(soon, "never within a second");
}

Test(daemon_life, takes_all_children_along_when_it_is_killed_and_starts_again)
{
	pid_t children[64];
	int n = list_children(d.pid, children, 64);
	cr_assert_gt(n, 4);
	kill_and_wait(d.pid, SIGKILL);
	for (int i = 0; i < n; i++)
		cr_assert(wait_until(20000, !process_exists(children[i])), "child %d lives",
			  children[i]);
	daemon_launch(&d);
	cr_assert(daemon_wait_ready(&d, 20000));
}

/* ---- the lock of the directory ---- */

static bool
holds_the_lock(pid_t pid)
{
	char path[64], target[256];
	bool found = false;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	DIR *dir = opendir(path);
	for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
		ssize_t n = readlinkat(dirfd(dir), e->d_name, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		found |= strstr(target, "/pyprepd.lock") != NULL;
	}
	if (dir != NULL)
		closedir(dir);
	return found;
}

Test(daemon_life, is_the_only_one_in_its_directory_and_its_broker_vouches_for_it)
{
	struct command_result second =
		run_command("%s --runtime-dir %s", PYPREP_BIN "/pyprepd", d.runtime);

	cr_expect_eq(second.status, 75);
	cr_expect(strstr(second.errors, "a daemon already runs in") != NULL, "%s", second.errors);
	command_free(&second);
	cr_expect(holds_the_lock(d.pid));
	cr_expect(holds_the_lock(daemon_broker(&d)));
	cr_expect_not(holds_the_lock(daemon_worker(&d, "cpu", 0)));
}

Test(daemon_life, waits_for_a_killed_daemons_last_process)
{
	char path[160];

	kill_and_wait(d.pid, SIGKILL);
	snprintf(path, sizeof(path), "%s/pyprepd.lock", d.runtime);
	int heir = open(path, O_RDWR | O_CLOEXEC);
	cr_assert_geq(heir, 0);
	cr_assert(wait_until(20000, flock(heir, LOCK_EX | LOCK_NB) == 0));
	daemon_launch(&d);
	cr_expect(!wait_until(300, !process_exists(d.pid)), "it gave up at once");
	cr_expect(!daemon_logged(&d, "already runs"));
	close(heir);
	cr_expect(daemon_wait_ready(&d, 60000));
}
