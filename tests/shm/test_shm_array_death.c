/*
 * test_shm_array_death.c - what others find after a kill -9 in the middle of an operation.
 *
 * What a process does to names and locks, it does by system calls; between two of them it
 * only stores words.  So a child is traced and killed at its Nth system call, for every N:
 * no state that a death can leave is missed.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/array.h"
#include "shm/array_meta.h"

#define STOPS_MAX 4000

static char name[64];
static const struct array_shape shape = { .dimensions = 1, .length = { 1000 } };

static void
setup(void)
{
	snprintf(name, sizeof(name), "test-death-%d", (int)getpid());
}

static void
teardown(void)
{
	(void)array_unlink(name);
	(void)named_unlink(name);
}

TestSuite(array_death, .init = setup, .fini = teardown, .timeout = 600);

static int
count_ours(void *context, const char *file)
{
	*(int *)context += strstr(file, name) != NULL;
	return 0;
}

static int
names_left(void)
{
	int count = 0;

	(void)named_each("", count_ours, &count);
	return count;
}

static void
create_strong(void)
{
	struct array *a;

	if (array_create(name, ARRAY_i64, &shape, 0, 0, &a) == 0)
		array_close(a);
}

static void
create_weak(void)
{
	struct array *a;

	if (array_create(name, ARRAY_i64, &shape, ARRAY_WEAK, 0, &a) == 0)
		array_close(a);
}

static void
attach(void)
{
	struct array *a;

	if (array_attach(name, 0, &a) == 0)
		array_close(a);
}

static void
unlink_it(void)
{
	(void)array_unlink(name);
}

static void
restore_it(void)
{
	(void)array_restore(name);
}

/* Kill the child that runs `body` at its Nth stop.  False: it ended before. */
static bool
killed_at(int n, void (*body)(void))
{
	int status;

	pid_t child = fork();
	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(77);
		raise(SIGSTOP);
		body();
		_exit(0);
	}
	waitpid(child, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		cr_skip("needs ptrace");
	for (int i = 0; i < n && WIFSTOPPED(status); i++) {
		ptrace(PTRACE_SYSCALL, child, NULL, NULL);
		waitpid(child, &status, 0);
	}
	if (!WIFSTOPPED(status))
		return false;
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	return true;
}

Test(array_death, in_creation_leaves_nothing_that_is_not_collected)
{
	int left = 0, n = 1;
	struct array_collected done;

	while (n < STOPS_MAX && killed_at(n, create_weak)) {
		left += names_left() > 0;
		cr_assert_eq(array_collect_one(name, &done), 0);
		cr_assert_eq(names_left(), 0, "killed at stop %d", n);
		n++;
	}
	cr_expect(n < STOPS_MAX);
	cr_expect(left > 5, "the kills did not hit: %d of %d left something", left, n);
}

Test(array_death, in_creation_does_not_take_the_name)
{
	int n = 1, cut_off = 0, whole = 0;

	while (n < STOPS_MAX && killed_at(n, create_strong)) {
		struct array *a = NULL;
		int r = array_create(name, ARRAY_u8, &shape, 0, 0, &a);
		/* Either it had been made whole, or its name is free. */
		cr_assert(r == 0 || r == -EEXIST, "killed at stop %d: %d", n, r);
		if (r == -EEXIST) {
			cr_assert_eq(array_attach(name, 0, &a), 0, "killed at stop %d", n);
			cr_assert_eq(a->type, ARRAY_i64);
			whole++;
		} else {
			cut_off++;
		}
		array_close(a);
		cr_assert_eq(array_unlink(name), 0);
		cr_assert_eq(names_left(), 0, "killed at stop %d", n);
		n++;
	}
	cr_expect(n < STOPS_MAX);
	cr_expect(cut_off > 5 && whole > 5, "%d %d", cut_off, whole);
}

Test(array_death, while_attached_is_noticed_and_takes_a_weak_name_along)
{
	int n = 1, left = 0;

	for (bool more = true; more && n < STOPS_MAX; n++) {
		struct array *a = NULL;
		struct array_stat stat;
		cr_assert_eq(array_create(name, ARRAY_i64, &shape, ARRAY_WEAK | ARRAY_LOOK, 0, &a),
			     0);
		array_close(a);
		more = killed_at(n, attach);
		int r = array_stat(name, &stat);
		if (r == 0 && stat.state == ARRAY_LEFT) {
			left++;
			cr_expect_eq(stat.living, 0);
			cr_assert_eq(array_attach(name, 0, &a), -ENOENT, "killed at stop %d", n);
		} else if (r == 0 && stat.state == ARRAY_WHOLE) {
			/* killed before it was a holder */
			cr_assert_eq(array_attach(name, 0, &a), 0, "killed at stop %d", n);
			array_close(a);
		} else {
			/* killed within its removal, or after it */
			cr_assert(r == -ENOENT || stat.state == ARRAY_CUT_OFF);
			cr_assert_eq(array_attach(name, 0, &a), -ENOENT, "killed at stop %d", n);
		}
		cr_assert_eq(names_left(), 0, "killed at stop %d", n);
	}
	cr_expect(n < STOPS_MAX);
	cr_expect(left > 5, "%d", left);
}

Test(array_death, in_removal_is_finished_by_whoever_looks)
{
	int n = 1, half = 0;

	for (bool more = true; more && n < STOPS_MAX; n++) {
		struct array *a = NULL;
		cr_assert_eq(array_create(name, ARRAY_i64, &shape, 0, 0, &a), 0);
		array_close(a);
		more = killed_at(n, unlink_it);
		int names = names_left();
		half += names > 0 && names < 3;
		int r = array_attach(name, 0, &a);
		cr_assert(r == 0 ? names == 3 : r == -ENOENT, "killed at stop %d: %d", n, r);
		if (r == 0)
			array_close(a);
		if (r == 0)
			cr_assert_eq(array_unlink(name), 0);
		cr_assert_eq(names_left(), 0, "killed at stop %d", n);
	}
	cr_expect(half > 1, "%d", half);
}

Test(array_death, in_restoring_is_harmless)
{
	struct array *a = NULL, *b = NULL;
	int n = 1;

	cr_assert_eq(array_create(name, ARRAY_i64, &shape, 0, 0, &a), 0);
	((int64_t *)a->data)[999] = 17;
	for (bool more = true; more && n < STOPS_MAX; n++) {
		(void)shm_unlink(name);
		more = killed_at(n, restore_it);
		int r = array_restore(name);
		cr_assert(r == 0 || r == -EALREADY, "killed at stop %d: %d", n, r);
		cr_assert_eq(array_attach(name, 0, &b), 0);
		cr_assert_eq(((int64_t *)b->data)[999], 17);
		array_close(b);
	}
	array_close(a);
}

/* ---- many at once ---- */

#define PARTIES 4
#define ROUNDS  2500

/* Makes, attaches, leaves, over and over; returns 1 when something was not as promised. */
static int
come_and_go(unsigned seed)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct array *a = NULL;
		int r = array_create(name, ARRAY_i64, &shape, ARRAY_WEAK, 0, &a);
		if (r == -EEXIST)
			r = array_attach(name, 0, &a);
		if (r == -ENOENT)
			continue; /* it went just now */
		if (r != 0) {
			fprintf(stderr, "party %u, round %d: %s\n", seed, i, strerror(-r));
			return 1;
		}
		/* As long as one holds it, its name stays and means this memory. */
		if (!array_is_current(a)) {
			fprintf(stderr, "party %u, round %d: gone while held\n", seed, i);
			return 1;
		}
		array_close(a);
	}
	return 0;
}

static pid_t
start_party(unsigned seed)
{
	pid_t child = fork();

	if (child == 0)
		_exit(come_and_go(seed));
	return child;
}

Test(array_death, parties_that_come_and_go_never_lose_a_name_they_hold)
{
	pid_t child[PARTIES];
	int status;

	for (unsigned i = 0; i < PARTIES; i++)
		child[i] = start_party(i);
	for (unsigned i = 0; i < PARTIES; i++) {
		waitpid(child[i], &status, 0);
		cr_expect_eq(status, 0);
	}
	cr_expect_eq(names_left(), 0);
}

Test(array_death, parties_killed_at_random_leave_nothing_after_a_collection)
{
	pid_t child[PARTIES];
	struct array_collected done;
	unsigned seed = 1, kills = 0;
	int status;

	for (unsigned i = 0; i < PARTIES; i++)
		child[i] = start_party(i);
	while (kills < 300) {
		unsigned victim = (unsigned)rand_r(&seed) % PARTIES;
		usleep((unsigned)rand_r(&seed) % 2000);
		kill(child[victim], SIGKILL);
		waitpid(child[victim], &status, 0);
		cr_expect(WIFSIGNALED(status) || status == 0, "%d", status);
		kills += WIFSIGNALED(status);
		child[victim] = start_party(kills);
	}
	for (unsigned i = 0; i < PARTIES; i++) {
		kill(child[i], SIGKILL);
		waitpid(child[i], &status, 0);
	}
	cr_assert_eq(array_collect(&done), 0);
	cr_expect_eq(names_left(), 0);
}

/* ---- what somebody else planted ---- */

/* A file beside, owned by `uid`, whose making was cut off: it means the file that has our name. */
static void
plant(uid_t uid, const struct stat *data)
{
	struct array_meta meta = {
		.head = { ARRAY_MAGIC, ARRAY_VERSION, sizeof(meta), 1, 1 },
		.data_device = data->st_dev,
		.data_inode = data->st_ino,
		.data_bytes = 8000,
		.type = ARRAY_f64,
		.dimensions = 1,
		.length = { 1000 },
	};
	char beside[NAMED_FILE_MAX];
	int fd;

	array_file_beside(name, beside);
	cr_assert_eq(named_begin(sizeof(meta), 0666, &fd), 0);
	cr_assert_eq(pwrite(fd, &meta, sizeof(meta), 0), (ssize_t)sizeof(meta));
	cr_assert_eq(fchown(fd, uid, (gid_t)-1), 0);
	cr_assert_eq(named_publish(fd, beside), 0);
	close(fd);
}

/* Root clears up for all.  It must not be sent to remove a file of somebody's by a file beside that
 * somebody else wrote. */
Test(array_death, a_file_beside_of_another_user_has_no_say_over_the_data)
{
	struct array_collected done;
	struct stat data;
	int fd;

	if (geteuid() != 0)
		cr_skip_test("only root collects for others");
	for (int own = 0; own < 2; own++) {
		cr_assert_eq(named_begin(8000, 0600, &fd), 0);
		cr_assert_eq(named_publish(fd, name), 0);
		cr_assert_eq(fstat(fd, &data), 0);
		close(fd);
		plant(own ? data.st_uid : 65534, &data);
		cr_assert_eq(array_collect_one(name, &done), 0);
		cr_expect_eq(names_left(), own ? 0 : 1, "own %d: %d names left", own, names_left());
		(void)named_unlink(name);
	}
}
