/* kills.c - see kills.h */
#include "tests/daemon/kills.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "tests/daemon/jobs.h"
#include "tests/daemon/raw.h"

#define CLIENTS   2
#define IN_FLIGHT 24
#define JOBS_MAX  4000000u
#define SETTLE_MS 30000

/* One client: which jobs it has sent, and how many receipts each got. */
struct load {
	struct raw *raw;
	uint16_t noop, sleep, pool;
	uint32_t sent, back;
	unsigned char *receipts; /* of each tag */
};

/* What must be the same before and after. */
struct holdings {
	int supervisor_fds, broker_fds;
	int memfds; /* of both */
	int maps;   /* of links in the broker */
	int children, zombies;
};

/* ---- what a process holds ---- */

static int
count_memfds(pid_t pid)
{
	char path[64], target[256];
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	DIR *dir = opendir(path);
	for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
		ssize_t length = readlinkat(dirfd(dir), e->d_name, target, sizeof(target) - 1);
		if (length > 0) {
			target[length] = '\0';
			n += strstr(target, "memfd:") != NULL;
		}
	}
	if (dir != NULL)
		closedir(dir);
	return n;
}

static int
count_link_maps(pid_t pid)
{
	char path[64], line[512];
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	FILE *f = fopen(path, "re");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, "pyprep-link") != NULL || strstr(line, "pyprep-lane") != NULL;
	if (f != NULL)
		fclose(f);
	return n;
}

static struct holdings
look(const struct test_daemon *d, pid_t broker)
{
	pid_t children[64];

	return (struct holdings){
		.supervisor_fds = count_fds(d->pid),
		.broker_fds = count_fds(broker),
		.memfds = count_memfds(d->pid) + count_memfds(broker),
		.maps = count_link_maps(broker),
		.children = list_children(d->pid, children, 64),
		.zombies = count_zombies(d->pid),
	};
}

static bool
same(const struct holdings *a, const struct holdings *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* Spare links and a spare worker are made some milliseconds after the start: look until all is
 * there, nothing changes and nobody has anything to do. */
static struct holdings
look_when_quiet(const struct test_daemon *d, pid_t broker)
{
	if (!wait_until(SETTLE_MS, child_with_title(d->pid, "pyprepd: spare") > 0))
		fprintf(stderr, "the supervisor makes no spare worker\n");

	struct holdings now = look(d, broker), last;
	for (unsigned equal = 0; equal < 10;) {
		last = now;
		test_pause();
		now = look(d, broker);
		bool quiet = same(&last, &now) && process_state(d->pid) == 'S' &&
			     process_state(broker) == 'S';
		equal = quiet ? equal + 1 : 0;
	}
	return now;
}

static void
compare(const struct holdings *a, const struct holdings *b, char *text, size_t size)
{
	text[0] = '\0';
	if (!same(a, b))
		snprintf(text, size,
			 "supervisor fds %d -> %d, broker fds %d -> %d, memfds %d -> %d, maps %d "
			 "-> %d, children %d -> %d, zombies %d",
			 a->supervisor_fds, b->supervisor_fds, a->broker_fds, b->broker_fds,
			 a->memfds, b->memfds, a->maps, b->maps, a->children, b->children,
			 b->zombies);
}

/* ---- load ---- */

static void
load_open(struct load *l, const struct test_daemon *d)
{
	*l = (struct load){ .raw = raw_open(d), .receipts = calloc(1, JOBS_MAX) };
	if (l->raw == NULL || l->receipts == NULL)
		abort();
	raw_resolve(l->raw, "noop", "cpu", &l->noop, &l->pool);
	raw_resolve(l->raw, "sleep", "cpu", &l->sleep, &l->pool);
}

static void
take_receipts(struct load *l, struct kills_report *report)
{
	struct receipt receipt;

	while (raw_receipt(l->raw, 0, &receipt) == 1) {
		if (receipt.tag >= l->sent) {
			report->wrong++;
			continue;
		}
		l->back += l->receipts[receipt.tag]++ == 0;
		if (receipt.outcome.state == JOB_SUCCEEDED)
			report->succeeded++;
		else if (receipt.outcome.state == JOB_FAILED &&
			 receipt.outcome.cause == CAUSE_WORKER_DIED &&
			 receipt.outcome.cause_value == SIGKILL) {
			report->died++;
			report->lost += strstr(l->raw->message, "lost with the link") != NULL;
		} else
			report->wrong++;
	}
}

/* A noop is {}; a sleep is {"ms": 1}. */
static void
top_up(struct load *l)
{
	while (l->sent - l->back < IN_FLIGHT && l->sent < JOBS_MAX) {
		bool tiny = random() % 4 != 0;
		int r = tiny ? raw_submit(l->raw, l->sent, l->noop, l->pool, "\x80", 1)
			     : raw_submit(l->raw, l->sent, l->sleep, l->pool, "\x81\xa2ms\x01", 5);
		if (r < 0)
			return;
		l->sent++;
	}
}

static void
pump(struct load *loads, struct kills_report *report)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		take_receipts(&loads[i], report);
		top_up(&loads[i]);
	}
}

/* ---- kills ---- */

struct victim {
	pid_t pid;
	uint64_t ready_ns;
};

/* Who is in `slot` of pool "cpu", if they have said ready. */
static bool
look_at_slot(struct pyprep *watch, unsigned slot, struct victim *ret)
{
	char key[32];
	int pid;
	unsigned long long ready_ns;

	if (ask(watch, "status", NULL, NULL) < 0)
		return false;
	snprintf(key, sizeof(key), "\"slot\"=>%u,", slot);
	const char *pool = strstr(ask_answer, "\"name\"=>\"cpu\"");
	const char *at = pool != NULL ? strstr(pool, key) : NULL;
	const char *p = at != NULL ? strstr(at, "\"pid\"=>") : NULL;
	const char *q = p != NULL ? strstr(p, "\"ready_ns\"=>") : NULL;
	if (q == NULL || sscanf(p, "\"pid\"=>%d", &pid) != 1 ||
	    sscanf(q, "\"ready_ns\"=>%llu", &ready_ns) != 1 || pid == 0 || ready_ns == 0)
		return false;
	*ret = (struct victim){ pid, ready_ns };
	return true;
}

/* Kill who is in a random slot and go on working until another is ready there. */
static bool
kill_one(struct load *loads, struct pyprep *watch, unsigned workers, struct kills_report *report,
	 uint32_t *ret_us)
{
	unsigned slot = (unsigned)random() % workers;
	uint64_t until = clock_now() + (uint64_t)(random() % 4000) * NS_PER_US;
	uint64_t deadline = test_now_ms() + SETTLE_MS;
	struct victim victim, next;

	while (clock_now() < until)
		pump(loads, report);
	/* One that is recycled may be gone by now. */
	while (!look_at_slot(watch, slot, &victim) || kill(victim.pid, SIGKILL) < 0)
		if (test_now_ms() > deadline)
			return false;
		else
			pump(loads, report);
	uint64_t killed_ns = clock_now();
	do {
		pump(loads, report);
		if (test_now_ms() > deadline)
			return false;
	} while (!look_at_slot(watch, slot, &next) || next.pid == victim.pid);
	*ret_us = (uint32_t)((next.ready_ns - killed_ns) / NS_PER_US);
	return true;
}

static int
by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static void
sum_up(struct kills_report *report, uint32_t *us)
{
	unsigned n = report->kills;

	if (n == 0)
		return;
	qsort(us, n, sizeof(*us), by_value);
	report->ready_us[0] = us[n / 2];
	report->ready_us[1] = us[n * 9 / 10];
	report->ready_us[2] = us[n - 1];
}

static void
finish(struct load *l, struct kills_report *report, bool spoil)
{
	uint64_t deadline = test_now_ms() + SETTLE_MS;

	while (l->back < l->sent && test_now_ms() < deadline) {
		take_receipts(l, report);
		test_pause();
	}
	for (int i = 0; i < 5; i++) { /* a second receipt would come now */
		test_pause();
		take_receipts(l, report);
	}
	if (spoil) {
		l->receipts[0]++;
		l->receipts[1]--;
	}
	report->jobs += l->sent;
	for (uint32_t tag = 0; tag < l->sent; tag++) {
		report->missing += l->receipts[tag] == 0;
		report->duplicates += l->receipts[tag] > 1;
	}
	raw_close(l->raw);
	free(l->receipts);
}

void
kill_workers(struct test_daemon *d, unsigned kills, unsigned seed, bool spoil,
	     struct kills_report *ret)
{
	struct kills_report *report = ret;
	struct test_status status;
	struct load loads[CLIENTS];
	struct pyprep *left_open = NULL;
	uint32_t *us = calloc(kills, sizeof(*us));
	bool on = true;

	*report = (struct kills_report){ 0 };
	srandom(seed);
	if (us == NULL || daemon_status(d, &status) < 0)
		abort();
	unsigned workers = status_pool(&status, "cpu")->worker_count;
	struct pyprep *watch = daemon_connect(d);
	ask(watch, "status", NULL, NULL);
	struct holdings before = look_when_quiet(d, status.broker), now = before;

	for (unsigned i = 0; i < CLIENTS; i++)
		load_open(&loads[i], d);
	while (on && report->kills < kills) {
		on = kill_one(loads, watch, workers, report, &us[report->kills]);
		report->kills += on;
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		finish(&loads[i], report, spoil && i == 0);
	if (spoil)
		left_open = daemon_connect(d);
	sum_up(report, us);
	/* What is spoiled never gets the same again: no need to wait for it. */
	wait_until(spoil ? 1000 : 20000, (now = look(d, status.broker), same(&before, &now)));
	compare(&before, &now, report->leak, sizeof(report->leak));
	pyprep_close(left_open);
	pyprep_close(watch);
	free(us);
}
