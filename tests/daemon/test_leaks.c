/* test_leaks.c - the ledger: what jobs leave behind is kept by kind and by job, over the deaths of
 * brokers and daemons; and orphans of a dead worker are ended, whatever pool it was of. */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/daemon/jobs.h"

#define CONFIG                                              \
	"[pool \"cpu\"]\nexecutor = process\nworkers = 1\n" \
	"[pool \"threads\"]\nexecutor = thread\n"           \
	"[pool \"shell\"]\nexecutor = command\nworkers = 1\n"

static struct test_daemon d;
static struct pyprep *p;

static void
setup(void)
{
	daemon_begin(&d, CONFIG);
	p = daemon_connect(&d);
}

static void
teardown(void)
{
	pyprep_close(p);
	daemon_end(&d);
}

TestSuite(leaks, .init = setup, .fini = teardown, .timeout = 120);

static uint64_t
leave(const char *params)
{
	struct pyprep_receipt receipt;

	cr_assert_eq(run_job(p, "fail", "cpu", params, 20000, &receipt), 0);
	cr_assert_str_eq(receipt.state, "succeeded", "%s: %s", params, receipt.error_message);
	return receipt.id;
}

static bool
ledger_has(const char *words, const char *text)
{
	return ask(p, "leaks", words, NULL) == 0 && strstr(ask_answer, text) != NULL;
}

static void
expect_in_ledger(const char *words, const char *text)
{
	cr_expect(ledger_has(words, text), "no %s in: %s", text, ask_answer);
}

static void
leave_everything(uint64_t *ids)
{
	ids[0] = leave("how=leak_fd");
	ids[1] = leave("how=leak_segment");
	ids[2] = leave("how=leak_child");
	ids[3] = leave("how=leak_file bytes=77");
}

#define ALL                                                                      \
	"\"kind\"=>\"fail\", \"jobs\"=>4, \"descriptors\"=>1, \"segments\"=>1, " \
	"\"processes\"=>2, \"files\"=>1, \"bytes\"=>77"

Test(leaks, are_summed_by_kind_and_kept_by_job)
{
	uint64_t ids[4];
	char words[32];

	expect_in_ledger(NULL, "\"kinds\"=>[]");
	leave_everything(ids);
	expect_in_ledger(NULL, ALL);
	snprintf(words, sizeof(words), "id=%ju", (uintmax_t)ids[2]);
	expect_in_ledger(words, "\"descriptors\"=>0, \"segments\"=>0, \"processes\"=>2");
	expect_in_ledger(words, "\"kinds\"=>[]");
	expect_in_ledger("kind=noop", "\"jobs\"=>[]");
	expect_in_ledger("id=999999", "\"jobs\"=>[]");
}

Test(leaks, of_a_command_are_the_same)
{
	struct pyprep_receipt receipt;

	receipt_for(p, start_shell(p, "echo 12 >$PYPREP_SCRATCH/a; sleep 1000 & true", 0), 20000,
		    &receipt);
	cr_assert_str_eq(receipt.state, "succeeded");
	expect_in_ledger(NULL, "\"kind\"=>\"exec\", \"jobs\"=>1, \"descriptors\"=>0, "
			       "\"segments\"=>0, \"processes\"=>1, \"files\"=>1, \"bytes\"=>3");
}

Test(leaks, are_not_forgotten_when_broker_and_daemon_die)
{
	uint64_t ids[4];
	pid_t broker = daemon_broker(&d);

	leave_everything(ids);
	kill(broker, SIGKILL);
	cr_assert(wait_until(60000, daemon_broker(&d) != broker && daemon_broker(&d) != 0));
	pyprep_close(p);
	p = daemon_connect(&d);
	expect_in_ledger(NULL, ALL);
	pyprep_close(p);
	kill_and_wait(d.pid, SIGKILL);
	d.pid = 0;
	daemon_launch(&d);
	cr_assert(daemon_wait_ready(&d, 60000));
	p = daemon_connect(&d);
	expect_in_ledger(NULL, ALL);
	leave("how=leak_fd");
	expect_in_ledger(NULL, "\"jobs\"=>5, \"descriptors\"=>2");
}

Test(leaks, of_good_jobs_there_are_none)
{
	static const char *const kinds[] = { "noop", "sumsq", "square", "fib", "primes",
					     "sort", "sleep", "touch",  "echo" };
	struct pyprep_receipt receipt;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		for (int n = 0; n < 80; n++) {
			const char *params = strcmp(kinds[i], "sleep") == 0    ? "ms=0"
					     : strcmp(kinds[i], "touch") == 0  ? "bytes=100000"
					     : strcmp(kinds[i], "fib") == 0    ? "n=20"
					     : strcmp(kinds[i], "sumsq") == 0  ? "n=1000"
					     : strcmp(kinds[i], "square") == 0 ? "x=5"
					     : strcmp(kinds[i], "primes") == 0 ? "limit=1000"
					     : strcmp(kinds[i], "sort") == 0   ? "n=1000"
									       : NULL;
			cr_assert_eq(run_job(p, kinds[i], "cpu", params, 20000, &receipt), 0);
			cr_assert_str_eq(receipt.state, "succeeded", "%s: %s", kinds[i],
					 receipt.error_message);
		}
	expect_in_ledger(NULL, "\"jobs\"=>[]");
	struct test_status status;
	cr_assert_eq(daemon_status(&d, &status), 0);
	cr_expect_eq(status_pool(&status, "cpu")->recycled, 0);
}

/* Where jobs share a process nobody looks after a job's children; when the process dies they go,
 * too. */
Test(leaks, children_of_a_worker_that_dies_are_ended)
{
	struct pyprep_receipt receipt;
	pid_t worker = daemon_worker(&d, "threads", 0), list[8], grandchild;

	cr_assert_eq(run_job(p, "fail", "threads", "how=leak_child", 20000, &receipt), 0);
	cr_assert_eq(list_children(worker, list, 8), 1);
	cr_assert_eq(list_children(list[0], &grandchild, 1), 1);
	kill(worker, SIGKILL);
	cr_expect(wait_until(20000, !process_exists(list[0]) && !process_exists(grandchild)));
	cr_expect(wait_until(20000, count_zombies(d.pid) == 0));
}
