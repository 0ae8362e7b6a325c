/*
 * power_cuts.c - power_cuts CUTS SEED [no_sync]: the power is cut while jobs go into the store, and
 * what had been acknowledged before must be there afterwards.
 *
 * The disk is a file system of its own on a loop device; the cut is FS_IOC_SHUTDOWN without a
 * flush, after which nothing that was not synced ever reaches it.  Only acknowledgements that came
 * before the cut began count: inside of it a sync may be answered without having happened.
 *
 * Needs root and loop devices: exit status 77 without.  "no_sync": the control arm, a store that
 * does not sync.  Exit status 0 when nothing was lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/store.h"
#include "ipc/clock.h"
#include "tests/files.h"

#define FS_IOC_SHUTDOWN     0x8004587d
#define SHUTDOWN_NOLOGFLUSH 2u
#define IMAGE_BYTES         "48M"
#define GROUP               8u
#define BEFORE_US           60000u /* the cut comes at a random moment of this time */

static const struct store_ops *ops = &store_sqlite;
static char dir[200], image[220], mount_point[220], state[240];
static bool no_sync;

static int
run(const char *command)
{
	int status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool
mounted(bool on)
{
	char command[600];

	if (on)
		snprintf(command, sizeof(command), "mount -o loop %s %s 2>/dev/null", image,
			 mount_point);
	else
		snprintf(command, sizeof(command), "umount %s 2>/dev/null", mount_point);
	for (int i = 0; i < 200; i++) {
		if (run(command) == 0)
			return true;
		usleep(10000);
	}
	return false;
}

/* ---- the one who writes ---- */

static void
add_group(struct store *s, uint64_t first, int acks)
{
	static const unsigned char params[] = { 0x80 };
	struct store_change changes[GROUP];

	for (unsigned i = 0; i < GROUP; i++) {
		changes[i] = (struct store_change){ .type = CHANGE_ADD };
		struct store_job *job = &changes[i].job;
		job->id = first + i;
		memcpy(job->token, &job->id, sizeof(job->id));
		job->kind = "noop";
		job->pool = "cpu";
		job->params = (struct bytes){ params, sizeof(params) };
		job->submitted_ns = clock_wall();
	}
	if (ops->apply(s, changes, GROUP) != 0)
		_exit(1); /* the disk is gone */
	uint64_t last = first + GROUP - 1;
	if (write(acks, &last, sizeof(last)) != (ssize_t)sizeof(last))
		_exit(1);
}

static _Noreturn void
write_jobs(int acks)
{
	struct store_options options = { .state_dir = state, .no_sync = no_sync };
	struct store_problem why = { "" };
	struct store *s;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ops->open(&s, &options, &why) != 0) {
		fprintf(stderr, "power_cuts: %s\n", why.message);
		_exit(2);
	}
	struct store_stats stats = { 0 };
	(void)ops->stats(s, &stats);
	for (uint64_t id = stats.max_id + 1;; id += GROUP)
		add_group(s, id, acks);
}

/* ---- the cut ---- */

/* The last id that was acknowledged before the cut; 0: none. */
static uint64_t
cut_while_writing(void)
{
	uint32_t flag = SHUTDOWN_NOLOGFLUSH;
	uint64_t last = 0, id;
	int acks[2];

	if (pipe2(acks, O_CLOEXEC | O_NONBLOCK) < 0)
		abort();
	fcntl(acks[1], F_SETFL, 0);
	int disk = open(mount_point, O_RDONLY | O_CLOEXEC);
	pid_t writer = fork();
	if (writer == 0)
		write_jobs(acks[1]);
	uint64_t end_ns = clock_now() + 20 * NS_PER_MS + (uint64_t)random() % BEFORE_US * NS_PER_US;
	while (clock_now() < end_ns) {
		struct pollfd p = { .fd = acks[0], .events = POLLIN };
		poll(&p, 1, 1);
		while (read(acks[0], &id, sizeof(id)) == (ssize_t)sizeof(id))
			last = id;
	}
	if (ioctl(disk, FS_IOC_SHUTDOWN, &flag) < 0) {
		perror("FS_IOC_SHUTDOWN");
		exit(77);
	}
	kill(writer, SIGKILL);
	waitpid(writer, NULL, 0);
	close(disk);
	close(acks[0]);
	close(acks[1]);
	return last;
}

/* ---- afterwards ---- */

struct seen {
	uint64_t count, last;
	uint64_t gaps;
};

static int
see(void *context, const struct store_row *row)
{
	struct seen *seen = context;

	seen->gaps += row->job.id != seen->last + 1;
	seen->last = row->job.id;
	seen->count++;
	return 0;
}

/* Open it as a daemon does; the highest id, with all below it there. */
static bool
look_again(struct seen *ret, char *text, size_t size)
{
	struct store_options options = { .state_dir = state };
	struct store_problem why = { "" };
	struct store *s;

	*ret = (struct seen){ 0 };
	if (ops->open(&s, &options, &why) != 0) {
		snprintf(text, size, "it does not open: %.300s", why.message);
		return false;
	}
	int r = ops->load(s, 0, SIZE_MAX, false, see, ret);
	ops->close(s);
	if (r < 0)
		snprintf(text, size, "it cannot be read: %s", strerror(-r));
	return r == 0;
}

static void
prepare(void)
{
	char command[900];

	if (geteuid() != 0) {
		printf("skip: power_cuts needs root\n");
		exit(77);
	}
	test_dir_make(dir, sizeof(dir));
	snprintf(image, sizeof(image), "%s/image", dir);
	snprintf(mount_point, sizeof(mount_point), "%s/disk", dir);
	snprintf(state, sizeof(state), "%s/state", mount_point);
	snprintf(command, sizeof(command),
		 "mkdir %s && truncate -s " IMAGE_BYTES " %s && mke2fs -q -F -t ext4 %s",
		 mount_point, image, image);
	if (run(command) != 0 || !mounted(true)) {
		printf("skip: power_cuts cannot make a file system on a loop device\n");
		test_dir_remove(dir);
		exit(77);
	}
}

int
main(int argc, char **argv)
{
	unsigned cuts = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 300;
	unsigned seed = argc > 2 && argv[2][0] != '\0' ? (unsigned)strtoul(argv[2], NULL, 10)
						       : (unsigned)time(NULL);
	uint64_t acknowledged = 0, lost = 0, kept_more = 0, runs = 0, begin_ns = clock_now();
	char text[400] = "";

	no_sync = argc > 3 && strcmp(argv[3], "no_sync") == 0;
	printf("power_cuts %u %u%s\n", cuts, seed, no_sync ? " no_sync" : "");
	fflush(stdout);
	srandom(seed);
	prepare();
	uint64_t before = 0; /* the last id there, before this cut */
	for (unsigned i = 0; i < cuts && text[0] == '\0'; i++) {
		struct seen seen;
		uint64_t last = cut_while_writing();
		if (!mounted(false) || !mounted(true)) {
			snprintf(text, sizeof(text), "the disk cannot be mounted again");
			break;
		}
		bool good = look_again(&seen, text, sizeof(text));
		if (!good && no_sync) { /* lost as a whole, as may be */
			text[0] = '\0';
			runs++;
			char command[300];
			snprintf(command, sizeof(command), "rm -rf %s", state);
			run(command);
			seen.last = 0;
		}
		acknowledged += last > before ? last - before : 0;
		uint64_t missing = last > seen.last ? last - seen.last : 0;
		lost += missing + seen.gaps;
		runs += missing + seen.gaps > 0;
		kept_more += seen.last > last && last > 0 ? seen.last - last : 0;
		before = seen.last;
	}
	mounted(false);
	test_dir_remove(dir);
	printf("%u cuts in %.0f s: %ju acknowledged, %ju lost (in %ju cuts); %ju kept that nobody "
	       "had been told of yet\n%s%s",
	       cuts, (double)(clock_now() - begin_ns) / 1e9, (uintmax_t)acknowledged,
	       (uintmax_t)lost, (uintmax_t)runs, (uintmax_t)kept_more, text,
	       text[0] != '\0' ? "\n" : "");
	bool passed = lost == 0 && runs == 0 && text[0] == '\0' && acknowledged > 0;
	printf(passed ? "1 passed\n" : "FAILED\n");
	return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
