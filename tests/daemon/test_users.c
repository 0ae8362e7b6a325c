/*
 * test_users.c - who may do what: a daemon of user "daemon" (1) that serves group "games", members
 * of it (users 2 and 3), a stranger (4), an operator; and root's own daemon.  Needs root.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/daemon/jobs.h"

#define OWNER    1
#define MEMBER   2
#define OTHER    3 /* "sys" */
#define STRANGER 4
#define GAMES    60
#define NOBODYS  65534

#define POOLS                                               \
	"[pool \"cpu\"]\nexecutor = process\nworkers = 2\n" \
	"[pool \"shell\"]\nexecutor = command\nworkers = 1\n"

static struct test_daemon d;
static char bin[128]; /* where everybody may execute */

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(users, .fini = teardown, .timeout = 120);

static void
become(uid_t uid, gid_t gid, bool games)
{
	gid_t groups[] = { GAMES };

	if (setgroups(games ? 1 : 0, groups) < 0 || setgid(gid) < 0 || setuid(uid) < 0)
		_exit(126);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* changing the user has undone it */
}

static void
launch_as(uid_t uid)
{
	d.pid = test_fork();
	if (d.pid != 0)
		return;
	if (uid != 0)
		become(uid, uid, true);
	char program[160];
	snprintf(program, sizeof(program), "%s/pyprepd", bin);
	int log = open(d.log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	int null = open("/dev/null", O_RDONLY);
	dup2(null, 0), dup2(log, 1), dup2(log, 2);
	close_range(3, ~0u, 0);
	execl(program, "pyprepd", "--runtime-dir", d.runtime, "--config", d.config, (char *)NULL);
	_exit(127);
}

/* A daemon of `uid`; everybody may reach its directory, not its socket. */
static void
begin_as(uid_t uid, const char *config)
{
	const char *temporary = getenv("TMPDIR");
	char state[160];

	if (geteuid() != 0)
		cr_skip_test("needs root to be other users");
	daemon_prepare(&d, config);
	if (temporary != NULL && strcmp(temporary, "/tmp") != 0)
		chmod(temporary, 0711);
	chmod(d.root, 0711);
	chmod(d.config, 0644);
	snprintf(state, sizeof(state), "%s/state", d.root);
	snprintf(bin, sizeof(bin), "%s/bin", d.root);
	struct command_result copy = run_command("mkdir %s && cp %s/pyprepd %s/pyprepctl %s && "
						 "chmod -R a+rX %s && : >%s",
						 bin, PYPREP_BIN, PYPREP_BIN, bin, bin, d.log);
	cr_assert_eq(copy.status, 0, "%s", copy.errors);
	command_free(&copy);
	cr_assert(chown(d.runtime, uid, uid) == 0 && chown(state, uid, uid) == 0 &&
		  chown(d.log, uid, uid) == 0);
	chmod(d.runtime, 0755);
	launch_as(uid);
	cr_assert(daemon_wait_ready(&d, 20000), "the daemon of user %u is not ready", uid);
}

/* pyprepctl as somebody: is its exit status this one, and `word` in what it says? */
#define expect_as(uid, gid, status_wanted, word, ...)                                             \
	do {                                                                                      \
		char arguments[256];                                                              \
		snprintf(arguments, sizeof(arguments), __VA_ARGS__);                              \
		struct command_result said =                                                      \
			run_command("cd / && setpriv --reuid=%d --regid=%d --clear-groups "       \
				    "%s/pyprepctl %s",                                            \
				    uid, gid, bin, arguments);                                    \
		cr_expect_eq(said.status, status_wanted,                                          \
			     "user %d: pyprepctl %s: %d, not %d\n%s%s", uid, arguments,           \
			     said.status, status_wanted, said.output, said.errors);               \
		cr_expect(strstr(said.output, word) != NULL || strstr(said.errors, word) != NULL, \
			  "user %d: pyprepctl %s: no \"%s\" in\n%s%s", uid, arguments, word,      \
			  said.output, said.errors);                                              \
		command_free(&said);                                                              \
	} while (0)

/* A client of user `uid` that holds a running job; its number comes back. */
static pid_t
start_guest(uid_t uid, gid_t gid, uint64_t *ret_job)
{
	int ends[2];
	cr_assert_eq(pipe(ends), 0);
	pid_t pid = test_fork();

	if (pid == 0) {
		become(uid, gid, false);
		struct pyprep *p = daemon_connect(&d);
		start(p, "sleep", "cpu", "ms=60000", 0);
		uint64_t id = 0;
		wait_until(20000, (id = newest_job(p)) != 0);
		(void)!write(ends[1], &id, sizeof(id));
		struct pyprep_receipt receipt;
		bool cancelled = next_receipt(p, 60000, &receipt) == 1 &&
				 strcmp(receipt.state, "cancelled") == 0;
		_exit(cancelled ? 0 : 1);
	}
	*ret_job = 0;
	close(ends[1]);
	cr_assert_eq(read(ends[0], ret_job, sizeof(*ret_job)), (ssize_t)sizeof(*ret_job));
	cr_assert(*ret_job != 0);
	close(ends[0]);
	return pid;
}

Test(users, of_the_group_see_and_end_their_own_jobs_only)
{
	uint64_t job;

	begin_as(OWNER, "[daemon]\ngroup = games\nsocket_mode = 0660\n" POOLS);
	pid_t guest = start_guest(MEMBER, GAMES, &job);
	int id = (int)job;
	expect_as(MEMBER, GAMES, 0, "running", "show %d", id);
	expect_as(MEMBER, GAMES, 0, "sleep", "ls");
	expect_as(OTHER, GAMES, 77, "another user", "show %d", id);
	expect_as(OTHER, GAMES, 77, "", "cancel %d", id);
	expect_as(OTHER, GAMES, 77, "another user", "wait %d", id);
	struct command_result ls = run_command("cd / && setpriv --reuid=%d --regid=%d "
					       "--clear-groups %s/pyprepctl ls",
					       OTHER, GAMES, bin);
	cr_expect(strstr(ls.output, "sleep") == NULL, "user %d sees\n%s", OTHER, ls.output);
	command_free(&ls);
	expect_as(OTHER, GAMES, 0, "", "cancel --all");
	expect_as(MEMBER, GAMES, 0, "running", "show %d", id);
	expect_as(OTHER, GAMES, 0, "succeeded", "submit noop");
	/* root and the daemon's own user see all. */
	expect_as(0, 0, 0, "running", "show %d", id);
	expect_as(OWNER, OWNER, 0, "running", "show %d", id);
	expect_as(MEMBER, GAMES, 0, "cancelled 1 job", "cancel %d", id);
	cr_expect_eq(wait_exit(guest, 20000), 0, "its owner was not told of the cancel");
}

Test(users, of_the_group_are_no_operators)
{
	begin_as(OWNER, "[daemon]\ngroup = games\nsocket_mode = 0660\n" POOLS);
	expect_as(MEMBER, GAMES, 77, "operators", "pool resize cpu 3");
	expect_as(MEMBER, GAMES, 77, "operators", "pool pause cpu");
	expect_as(MEMBER, GAMES, 77, "operators", "reload");
	expect_as(MEMBER, GAMES, 77, "operators", "stop");
	expect_as(MEMBER, GAMES, 0, "running", "status");
	cr_expect(process_exists(d.pid));
}

Test(users, named_as_operators_are)
{
	uint64_t job;

	begin_as(OWNER, "[daemon]\ngroup = games\nsocket_mode = 0660\noperators = sys\n" POOLS);
	pid_t guest = start_guest(MEMBER, GAMES, &job);
	expect_as(OTHER, GAMES, 0, "", "pool resize cpu 2");
	expect_as(OTHER, GAMES, 0, "running", "show %d", (int)job);
	expect_as(OTHER, GAMES, 0, "cancelled 1 job", "cancel %d", (int)job);
	cr_expect_eq(wait_exit(guest, 20000), 0);
	expect_as(MEMBER, GAMES, 77, "operators", "pool resize cpu 3");
}

Test(users, outside_the_group_are_kept_out_by_the_sockets_mode)
{
	begin_as(OWNER, "[daemon]\ngroup = games\nsocket_mode = 0660\n" POOLS);
	expect_as(STRANGER, NOBODYS, 77, "not allowed", "submit noop");
	expect_as(STRANGER, NOBODYS, 77, "not allowed", "status");
}

/* The broker has closed when their first frame comes: they must hear its reason all the same. */
Test(users, outside_the_group_are_told_so_when_they_can_connect)
{
	begin_as(OWNER, "[daemon]\ngroup = games\nsocket_mode = 0666\n" POOLS);
	for (int i = 0; i < 20; i++)
		expect_as(STRANGER, NOBODYS, 77, "does not serve you", "submit noop");
	expect_as(MEMBER, GAMES, 0, "succeeded", "submit noop");
}

Test(users, of_a_supplementary_group_are_members)
{
	begin_as(OWNER, "[daemon]\ngroup = games\nsocket_mode = 0660\n" POOLS);
	struct command_result said = run_command(
		"cd / && setpriv --reuid=2 --regid=2 --groups=%d %s/pyprepctl submit noop", GAMES,
		bin);
	cr_expect_eq(said.status, 0, "%s", said.errors);
	command_free(&said);
}

Test(users, are_refused_by_roots_daemon)
{
	begin_as(0, "[daemon]\ngroup = games\nsocket_mode = 0666\n" POOLS);
	expect_as(MEMBER, GAMES, 77, "does not serve you", "submit noop");
	expect_as(STRANGER, NOBODYS, 77, "does not serve you", "run exec -- id -u");
	expect_as(0, 0, 0, "succeeded", "submit noop");
}

Test(users, run_commands_as_themselves_when_roots_daemon_drops_to_them)
{
	begin_as(0, "[daemon]\ngroup = games\nsocket_mode = 0660\ndrop_to_client = yes\n" POOLS);
	expect_as(MEMBER, GAMES, 0, "uid 2", "run exec -- sh -c 'echo uid $(id -u)'");
	expect_as(MEMBER, GAMES, 0, "no root",
		  "run exec -- sh -c "
		  "'id -G | grep -qw 0 || echo no root'");
	expect_as(MEMBER, GAMES, 1, "ermission denied", "run exec -- cat /etc/shadow");
	expect_as(MEMBER, GAMES, 77, "only commands", "submit noop");
	expect_as(STRANGER, NOBODYS, 77, "", "run exec -- id -u");
	expect_as(0, 0, 0, "uid 0", "run exec -- sh -c 'echo uid $(id -u)'");
}

/* A process of a user whose jobs wait in the paused pool, `queued` of them with those of others. It
 * ends with 0 when all have succeeded. */
static pid_t
start_batch(uid_t uid, gid_t gid, unsigned count, uint64_t queued)
{
	int ready[2];
	char byte;

	cr_assert_eq(pipe(ready), 0);
	pid_t pid = test_fork();
	if (pid != 0) {
		close(ready[1]);
		cr_assert_eq(read(ready[0], &byte, 1), 1, "user %u's jobs do not wait", uid);
		close(ready[0]);
		return pid;
	}
	become(uid, gid, true);
	struct pyprep *p = daemon_connect(&d);
	struct test_status status;
	struct tally t = { 0 };
	for (unsigned i = 0; i < count; i++)
		start(p, "sleep", "cpu", "ms=2", 0);
	bool good =
		wait_until(20000, daemon_status(&d, &status) == 0 && status.jobs_queued == queued);
	(void)!write(ready[1], "", good ? 1 : 0);
	_exit(finish_all(p, 60000, &t) && t.succeeded == count ? 0 : 1);
}

struct shares {
	uint64_t many_ns, few_ns; /* run time of both, until the last of the few jobs ended */
	uint64_t longest_ns;
	unsigned many; /* jobs of the other user by then */
};

/* 300 jobs of one user wait, then 10 of another come: who ran before the 10 were done? */
static void
run_many_and_few(const char *strategy, struct shares *ret)
{
	char text[400], user[32];
	unsigned long long run_ns;

	snprintf(text, sizeof(text),
		 "[daemon]\ngroup = games\nsocket_mode = 0660\n"
		 "[pool \"cpu\"]\nexecutor = process\nworkers = 1\nstrategy = %s\n",
		 strategy);
	begin_as(OWNER, text);
	expect_as(OWNER, OWNER, 0, "paused", "pool pause cpu");
	pid_t many = start_batch(MEMBER, GAMES, 300, 300);
	pid_t few = start_batch(OTHER, GAMES, 10, 310);
	expect_as(OWNER, OWNER, 0, "running", "pool resume cpu");
	cr_expect_eq(wait_exit(few, 60000), 0);
	cr_expect_eq(wait_exit(many, 60000), 0);
	/* In the order in which they ended. */
	struct command_result ls =
		run_command("%s/pyprepctl ls --state finished --json | "
			    "jq -rs 'sort_by(-.age_ns)[] | \"\\(.user) \\(.stages.run_ns)\"'",
			    bin);
	*ret = (struct shares){ 0 };
	unsigned few_left = 10;
	int used;
	for (const char *at = ls.output;
	     few_left > 0 && sscanf(at, "%31s %llu\n%n", user, &run_ns, &used) == 2; at += used) {
		bool of_few = strcmp(user, "sys") == 0;
		few_left -= of_few;
		ret->many += !of_few;
		*(of_few ? &ret->few_ns : &ret->many_ns) += run_ns;
		if (run_ns > ret->longest_ns)
			ret->longest_ns = run_ns;
	}
	cr_assert_eq(few_left, 0, "%s", ls.output);
	command_free(&ls);
	daemon_end(&d);
}

Test(users, get_the_same_share_of_a_fair_pool)
{
	struct shares s;

	/* By turns, apart by what was under way: one runs, one was sent ahead. */
	run_many_and_few("fair", &s);
	cr_expect(s.many_ns <= s.few_ns + 4 * s.longest_ns, "%ju us and %ju us, longest %ju us",
		  (uintmax_t)s.many_ns / 1000, (uintmax_t)s.few_ns / 1000,
		  (uintmax_t)s.longest_ns / 1000);
	/* The control arm: in order of coming the 300 are first. */
	run_many_and_few("fifo", &s);
	cr_expect_eq(s.many, 300);
}

Test(users, do_not_get_each_others_results)
{
	begin_as(OWNER, "[daemon]\ngroup = games\nsocket_mode = 0660\n" POOLS);
	expect_as(MEMBER, GAMES, 0, "\"cached\":false", "submit square x=9 --cache 1h --json");
	expect_as(MEMBER, GAMES, 0, "\"cached\":true", "submit square x=9 --cache 1h --json");
	expect_as(OTHER, GAMES, 0, "\"cached\":false", "submit square x=9 --cache 1h --json");
	expect_as(0, 0, 0, "\"cached\":false", "submit square x=9 --cache 1h --json");
	expect_as(OTHER, GAMES, 0, "\"cached\":true", "submit square x=9 --cache 1h --json");
}
