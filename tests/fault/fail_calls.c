/*
 * fail_calls.c - fail_calls [OPTIONS]: call 1, 2, 3, ... of each role and class of a daemon fails,
 * until a run is clean; each time a script of jobs runs and is judged (fail_point.h).
 *
 *	--role R --class C --error E --when W --at K	only such points
 *	--most N	at most N points of a group, in N equal parts of its calls one by chance
 *	--points N	N points of all groups by chance, no more
 *	--jobs N	so many at once (2)
 *	--plant ARM	a fault of the product, which must be found: status 1.  lie: writes that
 *were not made; forget: jobs that are not kept; crash; hang
 *	--patience S	who takes longer hangs (90)
 *	--list	what a clean run calls
 *	--say	each point as it ends, with its time and the daemons' log
 *
 * Without an option it is a short test: each of the four must be found, and in a number of points
 *by chance nothing.  A group is a role, a class, an error, and whether it is one call that fails,
 *every one from there on, or every other.  SEED=N repeats what chance chose.  Exit status 0: no
 *point had a problem.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/fault/fail_point.h"
#include "tests/process.h"

#define CLEAN_RUNS   2u /* one after the other: the next call was not made */
#define JOBS_MOST    16
#define SHORT_POINTS 140u /* of which a third or so is never called */

#define NAME(name, text) text,
static const char *const role_names[] = { FAIL_ROLES(NAME) };
static const char *const class_names[] = { FAIL_CLASSES(NAME) };
static const char *const when_names[] = { "once", "always", "other" };

static const struct error_name {
	const char *name;
	uint32_t error;
} error_names[] = {
	{ "ENOSPC", ENOSPC }, { "EIO", EIO },       { "EMFILE", EMFILE }, { "ENOMEM", ENOMEM },
	{ "EINTR", EINTR },   { "EAGAIN", EAGAIN }, { "ENOLCK", ENOLCK }, { "short", FAIL_SHORT },
};

/* Which errors a class can have.  What is interrupted or cut is tried again, so never always. */
#define FOR_GOOD (1u << FAIL_ONCE | 1u << FAIL_ALWAYS)
#define PASSING  (1u << FAIL_ONCE | 1u << FAIL_OTHER)
#define ONE_TIME (1u << FAIL_ONCE)
static const struct row {
	enum fail_class class;
	uint32_t error;
	unsigned when;
} rows[] = {
	{ FAIL_OPEN, EMFILE, FOR_GOOD },     { FAIL_OPEN, EIO, FOR_GOOD },
	{ FAIL_OPEN, ENOSPC, FOR_GOOD },     { FAIL_FD, EMFILE, FOR_GOOD },
	{ FAIL_FD, ENOMEM, FOR_GOOD },       { FAIL_WRITE, ENOSPC, FOR_GOOD },
	{ FAIL_WRITE, EIO, FOR_GOOD },       { FAIL_WRITE, EINTR, PASSING },
	{ FAIL_WRITE, FAIL_SHORT, PASSING }, { FAIL_READ, EIO, FOR_GOOD },
	{ FAIL_READ, EINTR, PASSING },       { FAIL_READ, FAIL_SHORT, PASSING },
	{ FAIL_LOG, ENOSPC, FOR_GOOD },      { FAIL_LOG, EIO, FOR_GOOD },
	{ FAIL_LOG, EINTR, PASSING },        { FAIL_LOG, FAIL_SHORT, PASSING },
	{ FAIL_PIPE_WRITE, EINTR, PASSING }, { FAIL_PIPE_WRITE, FAIL_SHORT, PASSING },
	{ FAIL_PIPE_READ, EINTR, PASSING },  { FAIL_PIPE_READ, FAIL_SHORT, PASSING },
	{ FAIL_SEND, ENOMEM, FOR_GOOD },     { FAIL_SEND, EINTR, PASSING },
	{ FAIL_SEND, EAGAIN, PASSING },      { FAIL_SEND, FAIL_SHORT, PASSING },
	{ FAIL_RECV, ENOMEM, FOR_GOOD },     { FAIL_RECV, EINTR, PASSING },
	{ FAIL_RECV, FAIL_SHORT, PASSING },  { FAIL_SYNC, EIO, FOR_GOOD },
	{ FAIL_SYNC, ENOSPC, FOR_GOOD },     { FAIL_ROOM, ENOSPC, FOR_GOOD },
	{ FAIL_ROOM, EIO, ONE_TIME },        { FAIL_ROOM, EINTR, PASSING },
	{ FAIL_NAME, ENOSPC, FOR_GOOD },     { FAIL_NAME, EIO, FOR_GOOD },
	{ FAIL_STAT, EIO, FOR_GOOD },        { FAIL_STAT, ENOMEM, FOR_GOOD },
	{ FAIL_LOCK, ENOLCK, FOR_GOOD },     { FAIL_LOCK, EINTR, PASSING },
	{ FAIL_MMAP, ENOMEM, FOR_GOOD },     { FAIL_FORK, EAGAIN, FOR_GOOD },
	{ FAIL_FORK, ENOMEM, FOR_GOOD },     { FAIL_THREAD, EAGAIN, FOR_GOOD },
	{ FAIL_EPOLL, ENOMEM, FOR_GOOD },    { FAIL_EPOLL, ENOSPC, FOR_GOOD },
	{ FAIL_WAIT, EINTR, PASSING },       { FAIL_LOAD, ENOMEM, FOR_GOOD },
	{ FAIL_ALLOC, ENOMEM, FOR_GOOD },    { FAIL_ALLOC_SQLITE, ENOMEM, FOR_GOOD },
	{ FAIL_ZMQ, ENOMEM, FOR_GOOD },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

struct group {
	enum fail_role role;
	enum fail_class class;
	uint32_t error;
	enum fail_when when;
};

struct sum {
	unsigned points, clean, refused, errors, aborted, problems;
};

static struct options {
	const char *role, *class, *error, *when, *plant;
	uint64_t at;
	unsigned most, points, jobs, seed, patience;
	bool list, say;
} options = { .jobs = 2 };

/* Of all processes. */
static struct shared {
	_Atomic unsigned next;
	struct sum sums[FAIL_ROLE_COUNT][FAIL_CLASS_COUNT][JOBS_MOST];
} * shared;

static struct group groups[FAIL_ROLE_COUNT * ROWS * 3];
static unsigned group_count;
static struct fail_place place;
static uint64_t calls[FAIL_ROLE_COUNT][FAIL_CLASS_COUNT]; /* of a clean run */

static const char *
error_name(uint32_t error)
{
	for (size_t i = 0; i < sizeof(error_names) / sizeof(error_names[0]); i++)
		if (error_names[i].error == error)
			return error_names[i].name;
	return "?";
}

/* ---- points ---- */

static void
print_point(const char *what, const struct fail_point *p)
{
	printf("%s --role %s --class %s --error %s --when %s --at %ju", what, role_names[p->role],
	       class_names[p->class], error_name(p->error), when_names[p->when], (uintmax_t)p->at);
}

static void
print_log(void)
{
	struct command_result log = run_command("cat %s", place.log);

	fputs(log.output, stdout);
	command_free(&log);
	fflush(stdout);
}

static void
say(const struct fail_point *p, const struct fail_outcome *o, uint64_t begun_ms)
{
	print_point("point", p);
	printf(": %llu ms%s%s\n", (unsigned long long)(test_now_ms() - begun_ms),
	       o->hit ? "" : ", clean", o->refused ? ", ended by itself" : "");
	print_log();
}

/* true: the call was made. */
static bool
try_point(const struct group *g, uint64_t at, unsigned job)
{
	struct fail_point point = {
		.role = g->role, .class = g->class, .error = g->error, .when = g->when, .at = at
	};
	struct sum *sum = &shared->sums[g->role][g->class][job];
	struct fail_outcome o;
	uint64_t begun_ms = test_now_ms();

	fail_run(&place, &point, &o);
	if (options.say)
		say(&point, &o, begun_ms);
	if (o.hit)
		sum->points++;
	else
		sum->clean++;
	sum->refused += o.refused;
	sum->errors += o.errors > 0;
	sum->aborted += o.aborted;
	if (o.problem[0] == '\0')
		return o.hit;
	sum->problems++;
	print_point("PROBLEM", &point);
	printf(": %s\n    from%s\n", o.problem, fail_where(&place));
	fflush(stdout);
	return o.hit;
}

/* All calls, one after the other; or one by chance of each of `most` equal parts. */
static void
try_group(const struct group *g, unsigned job)
{
	uint64_t count = calls[g->role][g->class];
	unsigned clean = 0;

	if (count == 0)
		return;
	if (options.at > 0) {
		(void)try_point(g, options.at, job);
		return;
	}
	if (options.most == 0 || count <= options.most) {
		for (uint64_t at = 1; clean < CLEAN_RUNS; at++)
			clean = try_point(g, at, job) ? 0 : clean + 1;
		return;
	}
	for (unsigned i = 0; i < options.most; i++) {
		uint64_t from = count * i / options.most, to = count * (i + 1) / options.most;
		(void)try_point(g, from + 1 + (uint64_t)random() % (to - from), job);
	}
}

/* ---- one process of several ---- */

static void
learn(void)
{
	struct fail_outcome o;

	for (int i = 0; i < 2; i++) {
		fail_learn(&place, &o);
		for (int r = 0; r < FAIL_ROLE_COUNT; r++)
			for (int c = 0; c < FAIL_CLASS_COUNT; c++)
				if (place.calls[r][c] > calls[r][c])
					calls[r][c] = place.calls[r][c];
	}
	if (o.problem[0] == '\0')
		return;
	printf("PROBLEM: without any fault: %s\n", o.problem);
	exit(EXIT_FAILURE);
}

static void
work(unsigned job)
{
	fail_place_open(&place);
	if (options.patience > 0)
		place.patience_ms = options.patience * 1000;
	learn();
	srandom(options.seed + job);
	for (unsigned n; (n = atomic_fetch_add(&shared->next, 1)) < options.points ||
			 (options.points == 0 && n < group_count);) {
		if (options.points == 0) {
			srandom(options.seed + n);
			try_group(&groups[n], job);
			continue;
		}
		srandom(options.seed + n);
		const struct group *g = &groups[(unsigned)random() % group_count];
		uint64_t count = calls[g->role][g->class];
		if (count > 0)
			(void)try_point(g, 1 + (uint64_t)random() % count, job);
	}
	fail_place_close(&place);
}

/* ---- the groups ---- */

static bool
chosen(const char *option, const char *name)
{
	return option == NULL || strcmp(option, name) == 0;
}

static void
add_groups(enum fail_role role, const struct row *row)
{
	for (unsigned w = 0; w < 3; w++) {
		if ((row->when & 1u << w) == 0 || !chosen(options.when, when_names[w]) ||
		    !chosen(options.error, error_name(row->error)) ||
		    !chosen(options.class, class_names[row->class]) ||
		    !chosen(options.role, role_names[role]))
			continue;
		groups[group_count++] = (struct group){
			.role = role, .class = row->class, .error = row->error, .when = w
		};
	}
}

static void
list_calls(void)
{
	for (int r = 0; r < FAIL_ROLE_COUNT; r++)
		for (int c = 0; c < FAIL_CLASS_COUNT; c++)
			if (calls[r][c] > 0)
				printf("%-10s %-12s %6ju calls\n", role_names[r], class_names[c],
				       (uintmax_t)calls[r][c]);
}

/* ---- what came of it ---- */

static void
add(struct sum *to, const struct sum *from)
{
	to->points += from->points;
	to->clean += from->clean;
	to->refused += from->refused;
	to->errors += from->errors;
	to->aborted += from->aborted;
	to->problems += from->problems;
}

static unsigned
report(void)
{
	struct sum all = { 0 };

	printf("%-10s %-12s %7s %7s %7s %7s %7s %7s %8s\n", "role", "class", "calls", "points",
	       "clean", "refused", "told", "aborted", "problems");
	for (int r = 0; r < FAIL_ROLE_COUNT; r++) {
		for (int c = 0; c < FAIL_CLASS_COUNT; c++) {
			struct sum sum = { 0 };
			for (int j = 0; j < JOBS_MOST; j++)
				add(&sum, &shared->sums[r][c][j]);
			add(&all, &sum);
			if (sum.points + sum.clean + sum.problems > 0)
				printf("%-10s %-12s %7ju %7u %7u %7u %7u %7u %8u\n", role_names[r],
				       class_names[c], (uintmax_t)calls[r][c], sum.points,
				       sum.clean, sum.refused, sum.errors, sum.aborted,
				       sum.problems);
		}
	}
	printf("%u points, %u clean runs: %u daemons refused or ended, %u points of which clients "
	       "were told, %u managers ended by libzmq; %u problems\n",
	       all.points, all.clean, all.refused, all.errors, all.aborted, all.problems);
	return all.problems;
}

/* ---- control arms ---- */

static const char *const arms[] = { "lie", "forget", "crash", "hang" };

/* A product that does what it must not: is it found? */
static int
plant(const char *what)
{
	struct fail_point point = { .role = FAIL_BROKER,
				    .class = FAIL_WRITE,
				    .when = FAIL_ALWAYS,
				    .at = 1,
				    .when_ready = true };
	struct fail_outcome o;

	fail_place_open(&place);
	place.patience_ms = 4000; /* what is looked for never comes */
	if (strcmp(what, "lie") == 0) {
		point.error = FAIL_LIE;
	} else if (strcmp(what, "crash") == 0) {
		point.error = FAIL_CRASH;
		point.when = FAIL_ONCE;
	} else if (strcmp(what, "hang") == 0) {
		point.error = FAIL_HANG;
		point.class = FAIL_SYNC;
	} else if (strcmp(what, "forget") == 0) {
		place.store = "memory";
		point.at = 0; /* nothing fails */
	} else {
		printf("--plant %s: expected lie, forget, crash or hang\n", what);
		return 2;
	}
	fail_run(&place, &point, &o);
	if (options.say)
		print_log();
	fail_place_close(&place);
	printf("%s: %s\n", what, o.problem[0] != '\0' ? o.problem : "not found");
	return o.problem[0] != '\0' ? 1 : 0;
}

/* In a process of its own, since a place changes more than itself. */
static bool
finds(const char *what)
{
	fflush(stdout);
	pid_t pid = test_fork();
	int status;

	if (pid == 0)
		exit(plant(what));
	while (waitpid(pid, &status, 0) < 0)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

/* ---- options ---- */

static int
parse(int argc, char **argv)
{
	static const struct option table[] = {
		{ "role", required_argument, NULL, 'r' },
		{ "class", required_argument, NULL, 'c' },
		{ "error", required_argument, NULL, 'e' },
		{ "when", required_argument, NULL, 'w' },
		{ "at", required_argument, NULL, 'a' },
		{ "most", required_argument, NULL, 'm' },
		{ "points", required_argument, NULL, 'p' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "plant", required_argument, NULL, 'P' },
		{ "patience", required_argument, NULL, 't' },
		{ "list", no_argument, NULL, 'l' },
		{ "say", no_argument, NULL, 's' },
		{ 0 },
	};
	const char *seed = getenv("SEED");
	int c;

	options.seed = seed != NULL && *seed != '\0' ? (unsigned)strtoul(seed, NULL, 10)
						     : (unsigned)time(NULL);
	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
		unsigned number = optarg != NULL ? (unsigned)strtoul(optarg, NULL, 10) : 0;
		switch (c) {
		case 'r':
			options.role = optarg;
			break;
		case 'c':
			options.class = optarg;
			break;
		case 'e':
			options.error = optarg;
			break;
		case 'w':
			options.when = optarg;
			break;
		case 'a':
			options.at = number;
			break;
		case 'm':
			options.most = number;
			break;
		case 'p':
			options.points = number;
			break;
		case 'j':
			options.jobs = number;
			break;
		case 'P':
			options.plant = optarg;
			break;
		case 't':
			options.patience = number;
			break;
		case 'l':
			options.list = true;
			break;
		case 's':
			options.say = true;
			break;
		default:
			return 2;
		}
	}
	if (options.jobs < 1 || options.jobs > JOBS_MOST)
		options.jobs = 2;
	return optind == argc ? 0 : 2;
}

static void
learn_calls(void)
{
	fail_place_open(&place);
	learn();
	fail_place_close(&place);
	for (unsigned role = 0; role < FAIL_ROLE_COUNT; role++)
		for (size_t i = 0; i < ROWS; i++)
			add_groups(role, &rows[i]);
}

/* true: no point had a problem. */
static bool
try_all(void)
{
	uint64_t begun_ms = test_now_ms();
	unsigned failed = 0;
	int status;

	printf("fail_calls: %u groups, SEED=%u\n", group_count, options.seed);
	fflush(stdout);
	for (unsigned job = 0; job < options.jobs; job++) {
		if (test_fork() == 0) {
			work(job);
			exit(EXIT_SUCCESS);
		}
	}
	while (wait(&status) > 0)
		failed += status != 0;
	unsigned problems = report();
	printf("%llu s\n", (unsigned long long)(test_now_ms() - begun_ms) / 1000);
	return problems == 0 && failed == 0;
}

static bool
test_in_short(void)
{
	bool found = true;

	for (size_t i = 0; i < sizeof(arms) / sizeof(arms[0]); i++)
		found = finds(arms[i]) && found;
	options.points = SHORT_POINTS;
	if (getenv("SEED") == NULL)
		options.seed = 1; /* the same points each time, as far as the same calls are made */
	learn_calls();
	return try_all() && found;
}

int
main(int argc, char **argv)
{
	if (parse(argc, argv) != 0) {
		fputs("fail_calls: see the top of fail_calls.c\n", stderr);
		return 2;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		abort();
	if (options.plant != NULL)
		return plant(options.plant);
	if (argc == 1) {
		bool good = test_in_short();
		puts(good ? "1 passed" : "FAILED");
		return good ? EXIT_SUCCESS : EXIT_FAILURE;
	}
	learn_calls();
	if (options.list) {
		list_calls();
		return EXIT_SUCCESS;
	}
	return try_all() ? EXIT_SUCCESS : EXIT_FAILURE;
}
