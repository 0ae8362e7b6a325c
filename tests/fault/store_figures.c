/*
 * store_figures.c - store_figures [JOBS [GROUP [random]]]: what the store costs.  Adds JOBS plain
 * jobs in commits of GROUP, closes, opens, loads and lists them, then claims and ends them all in
 * commits of GROUP; prints bytes and rates.  `random`: tokens that do not begin with the time.
 * Exit status 0 when each queued job takes at most 512 bytes of disk and none is missing.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/store.h"
#include "ipc/clock.h"
#include "tests/files.h"

static const struct store_ops *ops = &store_sqlite;
static struct store *store;
static struct store_options options;
static char dir[256];

static void
must(int r, const char *what)
{
	if (r < 0) {
		fprintf(stderr, "store_figures: %s: %s\n", what, strerror(-r));
		test_dir_remove(dir);
		exit(EXIT_FAILURE);
	}
}

static void
open_store(void)
{
	struct store_problem why = { "" };
	must(ops->open(&store, &options, &why), why.message);
}

static double
seconds(uint64_t since)
{
	return (double)(clock_now() - since) / 1e9;
}

/* What one of `jobs` has cost since `start`: wall time, and that of the CPU, which does not depend
 * on who else is at work. */
struct stamp {
	uint64_t wall;
	double cpu;
};

static struct stamp
begin(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (struct stamp){ clock_now(),
			       (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
				       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6 };
}

static void
print_rate(const char *what, uint64_t jobs, struct stamp since)
{
	double took = seconds(since.wall), cpu = begin().cpu - since.cpu;
	printf("%s: %.0f jobs/s; %.2f s in all; CPU %.2f us a job\n", what, (double)jobs / took,
	       took, cpu * 1e6 / (double)jobs);
}

static uint64_t
disk(void)
{
	static const char *const names[] = { "store.db", "store.db-wal", "store.db-shm", "claims" };
	uint64_t bytes = 0;

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char path[300];
		struct stat st;
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		if (stat(path, &st) == 0)
			bytes += (uint64_t)st.st_blocks * 512;
	}
	return bytes;
}

/* 128 bytes of parameters, as a command with a few arguments has. */
static void
make_job(struct store_change *c, uint64_t id, bool random)
{
	static const unsigned char params[128] = { 0x81, 0xa4, 'a', 'r', 'g', 'v', 0xc4, 120 };
	uint64_t now = clock_wall(), ms = now / NS_PER_MS;

	*c = (struct store_change){ .type = CHANGE_ADD,
				    .job = { .id = id,
					     .kind = "command",
					     .pool = "shell",
					     .params = { params, sizeof(params) },
					     .submitted_ns = now,
					     .uid = 1000,
					     .gid = 1000 } };
	uint64_t mix = id * 0x9e3779b97f4a7c15ull;
	memcpy(c->job.token + 8, &mix, 8);
	mix *= 0xbf58476d1ce4e5b9ull;
	memcpy(c->job.token, &mix, 8);
	for (int i = 0; i < 6 && !random; i++)
		c->job.token[i] = (unsigned char)(ms >> (40 - 8 * i));
}

static int
count_row(void *context, const struct store_row *row)
{
	uint64_t *next = context;
	return row->job.id == ++*next ? 0 : -1;
}

static int
count_any(void *context, const struct store_row *row)
{
	(void)row;
	++*(uint64_t *)context;
	return 0;
}

static void
add_all(uint64_t jobs, uint64_t group, bool random)
{
	struct store_change *c = calloc(group, sizeof(*c));
	struct stamp start = begin();
	uint64_t worst = 0;

	for (uint64_t id = 1; id <= jobs;) {
		size_t n = 0;
		while (n < group && id <= jobs)
			make_job(&c[n++], id++, random);
		uint64_t before = clock_now();
		must(ops->apply(store, c, n), "apply");
		if (clock_now() - before > worst)
			worst = clock_now() - before;
	}
	free(c);
	print_rate("add", jobs, start);
	printf("slowest commit: %.1f ms\n", (double)worst / 1e6);
}

static void
end_all(uint64_t jobs, uint64_t group)
{
	struct store_change *c = calloc(group, sizeof(*c));
	struct stamp start = begin();
	uint64_t claiming = 0;

	for (uint64_t id = 1; id <= jobs;) {
		size_t n = 0;
		uint64_t before = clock_now();
		for (; n < group && id <= jobs; n++, id++) {
			uint64_t now = clock_wall();
			c[n] = (struct store_change){
				.type = CHANGE_END,
				.end = { .id = id,
					 .ended_ns = now,
					 .result = { "\x81\xa4"
						     "exit\x00",
						     7 },
					 .executor = "command",
					 .receipt = { .id = id,
						      .attempt = 1,
						      .submitted_ns = 1000000000000,
						      .received_ns = 1000000030000,
						      .handed_ns = 1000005000000,
						      .returned_ns = 1000006000000,
						      .worker_pid = 12345,
						      .outcome = { .state = JOB_SUCCEEDED,
								   .cause = CAUSE_EXIT,
								   .started_ns = 1000005010000,
								   .ended_ns = 1000005900000,
								   .usage = { 500000, 1000, 300000,
									      300000, 200000,
									      3000000, 200, 0, 3,
									      1 } } } }
			};
			must(ops->claim(store, id, 1, &c[n].end.fence), "claim");
		}
		claiming += clock_now() - before;
		must(ops->apply(store, c, n), "apply");
		for (size_t i = 0; i < n; i++) {
			must(c[i].result, "end");
			ops->unclaim(store, c[i].end.id, c[i].end.fence);
		}
	}
	free(c);
	print_rate("claim and end", jobs, start);
	printf("a claim: %.0f ns\n", (double)claiming / (double)jobs);
}

static void
reopen(void)
{
	uint64_t start = clock_now();
	ops->close(store);
	printf("close: %.1f ms\n", seconds(start) * 1e3);
	start = clock_now();
	open_store();
	printf("open: %.1f ms\n", seconds(start) * 1e3);
}

/* What one write and fdatasync cost here: a commit cannot take less. */
static void
measure_disk(void)
{
	char path[300], block[4096] = { 1 };
	snprintf(path, sizeof(path), "%s/sync", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), n = 300;
	must(fd, "open");
	must(posix_fallocate(fd, 0, 4096 * 300), "fallocate");
	uint64_t start = clock_now();
	for (int i = 0; i < n; i++)
		if (pwrite(fd, block, sizeof(block), (off_t)i * 4096) < 0 || fdatasync(fd) < 0)
			must(-1, "fdatasync");
	printf("the disk: %.0f us for a write and fdatasync of 4 KiB\n", seconds(start) * 1e6 / n);
	close(fd);
	unlink(path);
}

int
main(int argc, char **argv)
{
	uint64_t jobs = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000, seen = 0;
	uint64_t group = argc > 2 ? strtoull(argv[2], NULL, 10) : 1024;
	bool random = argc > 3 && strcmp(argv[3], "random") == 0;

	test_dir_make(dir, sizeof(dir));
	options = (struct store_options){ .state_dir = dir };
	printf("%llu jobs of 128 bytes of parameters, %llu a commit, %s tokens\n",
	       (unsigned long long)jobs, (unsigned long long)group, random ? "random" : "timed");
	measure_disk();
	open_store();
	add_all(jobs, group, random);
	double running = (double)disk() / (double)jobs;
	reopen();
	double closed = (double)disk() / (double)jobs;
	printf("on disk: %.1f bytes a job, %.1f while it was open\n", closed, running);
	struct stamp start = begin();
	must(ops->load(store, 0, SIZE_MAX >> 1, false, count_row, &seen), "load");
	print_rate("load", seen, start);
	uint64_t listed = 0;
	start = begin();
	must(ops->list(store, &(struct store_filter){ .uid = UINT32_MAX }, count_any, &listed),
	     "list");
	print_rate("list", listed, start);
	end_all(jobs, group);
	printf("on disk: %.1f bytes an ended job\n", (double)disk() / (double)jobs);
	reopen();
	start = begin();
	uint64_t pruned = 0;
	options.keep_ns = 1;
	ops->close(store);
	open_store();
	for (int n; (n = ops->prune(store, 1000)) > 0;)
		pruned += (uint64_t)n;
	print_rate("prune", pruned, start);
	ops->close(store);
	printf("on disk: %llu bytes when all are gone\n", (unsigned long long)disk());
	test_dir_remove(dir);
	bool good = seen == jobs && listed == jobs && pruned == jobs && running <= 512;
	printf(good ? "1 passed\n" : "FAILED\n");
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
