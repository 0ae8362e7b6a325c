/*
 * test_ipc_ls.c - pyprepctl ipc on named objects: who holds them, what is an orphan and what is
 * only unused, and that hostile files are listed and never touched.  No daemon is needed.
 */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/queue.h"
#include "shm/array.h"
#include "shm/array_meta.h"
#include "shm/owner.h"
#include "tests/helpers.h"

static char name[64], beside[NAMED_FILE_MAX];

static void
setup(void)
{
	snprintf(name, sizeof(name), "ipcls-%d", (int)getpid());
	array_file_beside(name, beside);
	setenv("PYPREP_RUNTIME_DIR", "/nonexistent/pyprep", 1);
	setenv("PATH", PYPREP_BIN ":/usr/bin:/bin", 1);
}

static void
teardown(void)
{
	char memory[NAMED_FILE_MAX];

	array_file_memory(name, memory);
	(void)named_unlink(beside);
	(void)named_unlink(memory);
	(void)named_unlink(name);
}

TestSuite(ipc_ls, .init = setup, .fini = teardown, .timeout = 120);

/* What ls says of our name: "STATE ATTACHED_COUNT", "" when it is not there. */
static void
look(char *ret, size_t size)
{
	struct command_result r =
		run_command("pyprepctl ipc ls --json 2>/dev/null | "
			    "jq -r 'select(.name == \"%s\") | \"\\(.state) \\(.attached_count)\"'",
			    name);

	snprintf(ret, size, "%.*s", (int)strcspn(r.output, "\n"), r.output);
	command_free(&r);
}

#define cr_expect_look(expected)                     \
	do {                                         \
		char seen_[128];                     \
		look(seen_, sizeof(seen_));          \
		cr_expect_str_eq(seen_, (expected)); \
	} while (0)

/* Status of `pyprepctl ipc rm ARGS`, and is the name still there? */
static int
rm(const char *args)
{
	struct command_result r = run_command("pyprepctl ipc rm %s %s 2>&1", args, name);
	int status = r.status;

	command_free(&r);
	return status;
}

static bool
exists(const char *file)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), NAMED_DIRECTORY "/%s", file);
	return access(path, F_OK) == 0;
}

/* A process that makes and holds the array until it is killed. */
static pid_t
holder(unsigned flags)
{
	struct array_shape shape = { .dimensions = 1, .length = { 1000 } };
	struct array *a;
	int ready[2];
	char byte;

	cr_assert_eq(pipe2(ready, O_CLOEXEC), 0);
	pid_t pid = test_fork();
	if (pid == 0) {
		byte = array_create(name, ARRAY_f64, &shape, flags, 0, &a) == 0;
		(void)!write(ready[1], &byte, 1);
		pause();
		_exit(0);
	}
	close(ready[1]);
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	cr_assert_eq(byte, 1);
	close(ready[0]);
	return pid;
}

Test(ipc_ls, a_weak_array_whose_holder_was_killed_is_an_orphan_and_a_held_one_is_not)
{
	pid_t pid = holder(ARRAY_WEAK);

	cr_expect_look("live 1");
	cr_expect_eq(rm("--orphans"), 0);
	cr_expect(exists(name), "rm --orphans removed what a living process holds");
	cr_expect_eq(rm(""), 1);
	cr_expect(exists(name), "rm without --force removed what a living process holds");
	kill_and_wait(pid, SIGKILL);
	cr_expect_look("orphan 0");
	cr_expect_eq(rm("--orphans --dry-run"), 0);
	cr_expect(exists(name));
	cr_expect_eq(rm("--orphans"), 0);
	cr_expect(!exists(name));
	cr_expect(!exists(beside));
	cr_expect_look("");
}

Test(ipc_ls, a_strong_array_without_holders_is_unused_and_goes_by_name_alone)
{
	kill_and_wait(holder(0), SIGKILL);
	cr_expect_look("unused 0");
	cr_expect_eq(rm("--orphans"), 0);
	cr_expect(exists(name));
	cr_expect_eq(rm(""), 0);
	cr_expect(!exists(name));
	cr_expect(!exists(beside));
}

Test(ipc_ls, force_removes_a_held_array_and_its_holder_goes_on)
{
	pid_t pid = holder(0);

	cr_expect_eq(rm("--force"), 0);
	cr_expect(!exists(name));
	cr_expect(process_exists(pid));
	kill_and_wait(pid, SIGKILL);
}

Test(ipc_ls, an_array_that_was_never_finished_is_an_orphan)
{
	struct array_meta meta = {
		.head = { ARRAY_MAGIC, ARRAY_VERSION, sizeof(meta), owner_self(), 1 },
		.type = ARRAY_f64,
		.dimensions = 1,
		.length = { 10 },
		.data_bytes = 80,
	};
	int fd;

	atomic_store(&meta.state, ARRAY_META_MAKING);
	cr_assert_eq(named_begin(sizeof(meta), 0600, &fd), 0);
	cr_assert_eq(pwrite(fd, &meta, sizeof(meta), 0), (ssize_t)sizeof(meta));
	cr_assert_eq(named_publish(fd, beside), 0);
	/* Somebody is at it: */
	cr_assert_eq(array_beside_lock(fd, false), 0);
	cr_expect_look("live 0");
	array_beside_unlock(fd);
	cr_expect_look("orphan 0");
	cr_expect_eq(rm("--orphans"), 0);
	cr_expect(!exists(beside));
	close(fd);
}

/* ---- queues ---- */

static void
queue_setup(void)
{
	setup();
	snprintf(beside, sizeof(beside), QUEUE_PREFIX "%s", name);
}

static void
queue_teardown(void)
{
	(void)queue_unlink(name);
}

TestSuite(ipc_ls_queue, .init = queue_setup, .fini = queue_teardown, .timeout = 120);

Test(ipc_ls_queue, shows_messages_members_and_depth_and_changes_nothing)
{
	struct queue_options options = { .capacity = 8, .message_max = 100 };
	struct queue_stat before, after;
	struct queue *q;
	unsigned char byte[100];
	uint32_t length;

	cr_assert_eq(queue_create(name, &options, &q), 0);
	cr_expect_look("idle 1");
	for (int i = 0; i < 5; i++)
		cr_assert_eq(queue_put(q, "message", 7, QUEUE_NO_WAIT), 0);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(queue_get(q, byte, sizeof(byte), &length, QUEUE_NO_WAIT), 0);
	queue_stat(q, &before);
	cr_expect_look("live 1");
	struct command_result r = run_command(
		"pyprepctl ipc ls --json queue 2>/dev/null | jq -c 'select(.name == \"%s\") | "
		"[.in, .out, .depth, .depth_high, .free, .bytes_in, .bytes_out, .bytes]'",
		name);
	char expected[128];
	snprintf(expected, sizeof(expected), "[5,2,3,5,5,35,14,%llu]\n",
		 (unsigned long long)before.bytes);
	cr_expect_str_eq(r.output, expected);
	command_free(&r);
	queue_stat(q, &after);
	cr_expect_eq(memcmp(&before, &after, sizeof(before)), 0);
	cr_expect_eq(rm(""), 1);
	q = queue_detach(q);
	cr_expect_look("unused 0");
	cr_expect_eq(rm("--orphans"), 0);
	cr_expect(exists(beside));
	cr_expect_eq(rm(""), 0);
	cr_expect(!exists(beside));
}

Test(ipc_ls_queue, a_killed_member_is_not_attached)
{
	struct queue_options options = { .capacity = 8, .message_max = 100 };
	struct queue *q;

	cr_assert_eq(queue_create(name, &options, &q), 0);
	pid_t pid = test_fork();
	if (pid == 0) {
		(void)queue_put(q, "x", 1, QUEUE_NO_WAIT); /* joins */
		pause();
		_exit(0);
	}
	cr_assert(wait_until(20000, queue_size(q) == 1));
	cr_expect_look("live 2");
	kill_and_wait(pid, SIGKILL);
	cr_expect_look("live 1");
	queue_detach(q);
}

Test(ipc_ls_queue, garbage_and_what_was_cut_is_unknown)
{
	struct queue_options options = { .capacity = 1000, .message_max = 100 };
	size_t bytes = queue_footprint(&options);
	unsigned char *image = calloc(1, bytes);
	char path[PATH_MAX];

	snprintf(path, sizeof(path), NAMED_DIRECTORY "/%s", beside);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert(fd >= 0);
	unsigned char *aligned = aligned_alloc(128, bytes);
	memset(aligned, 0, bytes);
	cr_assert_eq(queue_init(aligned, bytes, &options), 0);
	srandom(2);
	for (int round = 0; round < 40; round++) {
		memcpy(image, aligned, bytes);
		for (size_t i = sizeof(struct named_head); i < 16384;
		     i += 1 + (size_t)random() % 200)
			image[i] = (unsigned char)random();
		cr_assert_eq(pwrite(fd, image, bytes, 0), (ssize_t)bytes);
		off_t cut = round % 2 ? (off_t)((size_t)random() % bytes)
				      : (off_t)1 << (30 + round / 2);
		cr_assert_eq(ftruncate(fd, cut), 0);
		/* Whatever it shows, it ends, and removes nothing. */
		cr_expect_eq(rm("--orphans"), 0);
		struct command_result r = run_command("pyprepctl ipc ls queue 2>&1");
		cr_expect_eq(r.status, 0, "status %d: %s%s", r.status, r.output, r.errors);
		command_free(&r);
		cr_expect(exists(beside));
		cr_assert_eq(ftruncate(fd, 0), 0);
	}
	close(fd);
	unlink(path);
	free(image);
	free(aligned);
}

/* ---- hostile files ---- */

/* A file beside an array with `bytes` of garbage; sparse when `bytes` is more than that. */
static void
plant(const void *garbage, size_t length, off_t bytes)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), NAMED_DIRECTORY "/%s", beside);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	cr_assert(fd >= 0);
	cr_assert_eq(write(fd, garbage, length), (ssize_t)length);
	cr_assert_eq(ftruncate(fd, bytes), 0);
	close(fd);
}

Test(ipc_ls, hostile_files_are_unknown_and_stay)
{
	unsigned char garbage[8192];
	struct array_meta *meta = (void *)garbage;

	srandom(1);
	for (int round = 0; round < 60; round++) {
		for (size_t i = 0; i < sizeof(garbage); i++)
			garbage[i] = (unsigned char)random();
		if (round % 2 == 1) { /* a true head, and nonsense behind it */
			meta->head.magic = ARRAY_MAGIC;
			meta->head.version = ARRAY_VERSION;
			meta->head.bytes = sizeof(*meta);
			meta->head.creator = owner_self();
		}
		size_t length = round % 3 == 0 ? (size_t)random() % sizeof(*meta) : sizeof(*meta);
		plant(garbage, length, round % 5 == 4 ? (off_t)1 << 40 : (off_t)length);
		cr_expect_look("unknown 0");
		cr_expect_eq(rm("--orphans"), 0);
		cr_expect(exists(beside), "round %d", round);
	}
	cr_expect_eq(rm(""), 1);
	cr_expect(exists(beside));
}

Test(ipc_ls, what_is_no_plain_file_is_not_opened_for_long)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), NAMED_DIRECTORY "/%s", beside);
	cr_assert_eq(mkfifo(path, 0600), 0);
	cr_expect_look("unknown 0");
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(symlink("/etc/passwd", path), 0);
	cr_expect_look("unknown 0");
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(mkdir(path, 0700), 0);
	cr_expect_look("unknown 0");
	cr_expect_eq(rm("--orphans"), 0);
	cr_assert_eq(rmdir(path), 0);
}
