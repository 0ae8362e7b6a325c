/* test_shm_array.c - arrays by name: creation, attachment, holders, names that go and come. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/array.h"
#include "shm/array_meta.h"
#include "shm/owner.h"

static char name[64];
static const struct array_shape ten_by_four = { .dimensions = 2, .length = { 10, 4 } };

static void
setup(void)
{
	snprintf(name, sizeof(name), "test-array-%d", (int)getpid());
}

static void
teardown(void)
{
	struct array_collected done;

	(void)array_unlink(name);
	(void)named_unlink(name);
	(void)array_collect_one(name, &done); /* others run beside */
}

TestSuite(array, .init = setup, .fini = teardown, .timeout = 600);

/* Files of ours in /dev/shm. */
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

static struct array *
made(unsigned flags)
{
	struct array *a = NULL;

	cr_assert_eq(array_create(name, ARRAY_f64, &ten_by_four, flags, 0, &a), 0);
	return a;
}

static struct array_stat
looked_at(void)
{
	struct array_stat stat = { 0 };

	cr_assert_eq(array_stat(name, &stat), 0);
	return stat;
}

/* A segment as Python makes it: sized, not allocated. */
static void
make_foreign(off_t bytes)
{
	int fd = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600);

	cr_assert(fd >= 0);
	cr_assert_eq(ftruncate(fd, bytes), 0);
	close(fd);
}

Test(array, is_seen_whole_by_all_who_attach_to_its_name)
{
	struct array *a = made(0), *b;

	cr_expect_eq(a->count, 40);
	cr_expect_eq(a->bytes, 320);
	for (int i = 0; i < 40; i++)
		cr_expect_eq(((double *)a->data)[i], 0.0);
	cr_assert_eq(array_attach(name, ARRAY_POPULATE, &b), 0);
	cr_expect_eq(b->type, ARRAY_f64);
	cr_expect_eq(b->shape.dimensions, 2);
	cr_expect_eq(b->shape.length[1], 4);
	((double *)b->data)[39] = 2.5;
	cr_expect_eq(((double *)a->data)[39], 2.5);

	/* The data is /dev/shm/NAME from byte 0, and nothing else. */
	double last;
	int fd = shm_open(name, O_RDONLY, 0);
	struct stat st;
	cr_assert_eq(fstat(fd, &st), 0);
	cr_expect_eq(st.st_size, 320);
	cr_expect_eq(st.st_mode & 0777, 0600);
	cr_expect_eq(pread(fd, &last, sizeof(last), 312), sizeof(last));
	cr_expect_eq(last, 2.5);
	close(fd);

	struct array_stat stat = looked_at();
	cr_expect_eq(stat.living, 2);
	cr_expect_eq(stat.holders[0], owner_self());
	cr_expect_eq(stat.creator, owner_self());
	cr_expect_eq(stat.state, ARRAY_WHOLE);
	cr_expect_null(array_close(a));
	cr_expect_null(array_close(b));
	cr_expect_null(array_close(NULL));
	cr_expect_eq(looked_at().living, 0);
	cr_expect_eq(array_unlink(name), 0);
	cr_expect_eq(array_unlink(name), -ENOENT);
	cr_expect_eq(names_left(), 0);
}

Test(array, a_taken_name_is_refused_and_nothing_of_the_attempt_stays)
{
	struct array *a = made(0), *b = NULL;

	cr_expect_eq(array_create(name, ARRAY_i8, &ten_by_four, 0, 0, &b), -EEXIST);
	cr_expect_eq(array_adopt(name, ARRAY_i8, &ten_by_four, 0, &b), -EEXIST);
	array_close(a);
	cr_assert_eq(array_unlink(name), 0);
	make_foreign(100);
	cr_expect_eq(array_create(name, ARRAY_i8, &ten_by_four, 0, 0, &b), -EEXIST);
	cr_expect_null(b);
	cr_expect_eq(names_left(), 1, "only the other's segment");
	cr_expect_eq(array_attach(name, 0, &b), -ENOENT, "a segment is no array until adopted");
}

Test(array, names_types_and_shapes_that_make_no_sense_are_refused)
{
	struct array_shape none = { 0 },
			   huge = { .dimensions = 2, .length = { 1ull << 40, 1ull << 40 } };
	struct array *a = NULL;

	cr_expect_eq(array_create("a/b", ARRAY_i8, &ten_by_four, 0, 0, &a), -EINVAL);
	cr_expect_eq(array_create("pyprep.array.x", ARRAY_i8, &ten_by_four, 0, 0, &a), -EINVAL);
	cr_expect_eq(array_create(name, ARRAY_NOTHING, &ten_by_four, 0, 0, &a), -EINVAL);
	cr_expect_eq(array_create(name, ARRAY_i8, &none, 0, 0, &a), -EINVAL);
	cr_expect_eq(array_create(name, ARRAY_i8, &huge, 0, 0, &a), -EFBIG);
	cr_expect_eq(array_attach("..", 0, &a), -EINVAL);
	cr_expect_null(a);
	cr_expect_eq(names_left(), 0);
}

Test(array, a_weak_one_goes_with_its_last_holder_and_not_before_its_first)
{
	struct array *a = made(ARRAY_WEAK | ARRAY_LOOK), *b, *c;

	array_close(a);
	cr_expect_eq(looked_at().state, ARRAY_WHOLE, "nobody has held it yet");
	cr_assert_eq(array_attach(name, 0, &b), 0);
	cr_assert_eq(array_attach(name, 0, &c), 0);
	cr_assert_eq(array_attach(name, ARRAY_LOOK, &a), 0);
	array_close(b);
	array_close(a);
	cr_expect_eq(looked_at().living, 1, "who only looks does not count");
	((double *)c->data)[0] = 1; /* the memory is there */
	array_close(c);
	cr_expect_eq(names_left(), 0);
	cr_expect_eq(array_attach(name, 0, &a), -ENOENT);
}

Test(array, another_array_under_the_name_is_noticed)
{
	struct array *old = made(0), *new;

	cr_expect(array_is_current(old));
	cr_assert_eq(array_unlink(name), 0);
	cr_expect(!array_is_current(old));
	new = made(0);
	cr_expect(!array_is_current(old));
	cr_expect(array_is_current(new));
	((double *)old->data)[0] = 7;
	cr_expect_eq(((double *)new->data)[0], 0);
	array_close(old); /* must not touch the new one's holders */
	cr_expect_eq(looked_at().living, 1);
	array_close(new);
}

Test(array, a_name_removed_behind_our_back_is_noticed_and_given_back)
{
	struct array *a = made(0), *b;

	cr_expect_eq(array_restore(name), -EALREADY);
	((double *)a->data)[3] = 1.5;
	cr_assert_eq(shm_unlink(name), 0);
	struct array_stat stat = looked_at();
	cr_expect_eq(stat.state, ARRAY_NAME_GONE);
	cr_expect(stat.restorable);
	cr_expect_eq(array_attach(name, 0, &b), -ESTALE);
	cr_expect_eq(array_create(name, ARRAY_i8, &ten_by_four, 0, 0, &b), -EEXIST);
	((double *)a->data)[4] = 2.5; /* holders go on with the same memory */

	make_foreign(10);
	cr_expect_eq(looked_at().state, ARRAY_REPLACED);
	cr_expect_eq(array_restore(name), -EEXIST, "another's file is not touched");
	cr_assert_eq(shm_unlink(name), 0);

	cr_assert_eq(array_restore(name), 0);
	cr_assert_eq(array_attach(name, 0, &b), 0);
	cr_expect_eq(((double *)b->data)[3], 1.5);
	cr_expect_eq(((double *)b->data)[4], 2.5);
	((double *)b->data)[5] = 3.5;
	cr_expect_eq(((double *)a->data)[5], 3.5);
	array_close(a);
	array_close(b);
	struct array_collected done;
	cr_assert_eq(array_collect_one(name, &done), 0);
	cr_expect_eq(looked_at().state, ARRAY_WHOLE, "a strong array with its name stays");
	cr_assert_eq(shm_unlink(name), 0);
	cr_assert_eq(array_collect_one(name, &done), 0);
	cr_expect_eq(names_left(), 0, "without a name and a holder it is nobody's");
}

Test(array, a_segment_of_pythons_is_adopted_with_its_bytes)
{
	struct array *a = NULL, *b;
	const struct array_shape shape = { .dimensions = 1, .length = { 1000 } };
	char byte = 42;

	cr_expect_eq(array_adopt(name, ARRAY_i16, &shape, 0, &a), -ENOENT);
	make_foreign(2001);
	int fd = shm_open(name, O_RDWR, 0);
	cr_assert_eq(pwrite(fd, &byte, 1, 10), 1);
	cr_expect_eq(array_adopt(name, ARRAY_i32, &shape, 0, &a), -ERANGE, "it is too short");
	cr_expect_null(a);
	cr_expect_eq(names_left(), 1);
	cr_assert_eq(array_adopt(name, ARRAY_i16, &shape, 0, &a), 0);
	cr_expect_eq(((int16_t *)a->data)[5], 42);
	struct stat st;
	cr_assert_eq(fstat(fd, &st), 0);
	cr_expect(st.st_blocks * 512 >= 2000, "its pages are allocated");
	cr_assert_eq(array_attach(name, ARRAY_READ_ONLY, &b), 0);
	((int16_t *)a->data)[6] = 7;
	cr_expect_eq(((int16_t *)b->data)[6], 7);
	cr_expect(looked_at().adopted);
	array_close(b);
	cr_assert_eq(shm_unlink(name), 0); /* as Python does at its end */
	cr_expect_eq(array_restore(name), -ENODATA, "its memory had that one name");
	array_close(a);
	close(fd);
}

Test(array, mapped_for_reading_it_cannot_be_written)
{
	struct array *a = made(0), *b;
	int status;

	cr_assert_eq(array_attach(name, ARRAY_READ_ONLY, &b), 0);
	pid_t child = fork();
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		((volatile double *)b->data)[0] = 1;
		_exit(0);
	}
	waitpid(child, &status, 0);
	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "%d", status);
	array_close(a);
	array_close(b);
}

static int
run_child(int (*body)(void))
{
	int status = 0;

	pid_t child = fork();
	if (child == 0)
		_exit(body());
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int
as_another_user(void)
{
	struct array *a = NULL;

	if (setgid(65534) < 0 || setuid(65534) < 0)
		return 1;
	if (array_attach(name, 0, &a) != -EACCES)
		return 2;
	if (array_attach(name, ARRAY_READ_ONLY, &a) != 0 || a->counted)
		return 3;
	if (((double *)a->data)[1] != 4.0)
		return 4;
	array_close(a);
	return array_unlink(name) == -EPERM ? 0 : 5;
}

Test(array, another_user_may_do_what_its_mode_says)
{
	struct array *a = NULL;

	if (getuid() != 0)
		cr_skip("needs root to become another user");
	umask(077); /* the mode is exact all the same */
	cr_assert_eq(array_create(name, ARRAY_f64, &ten_by_four, 0, 0644, &a), 0);
	((double *)a->data)[1] = 4;
	cr_expect_eq(run_child(as_another_user), 0);
	cr_expect_eq(looked_at().living, 1);
	array_close(a);
}

static struct array *parents;

static int
close_the_parents(void)
{
	array_close(parents);
	return 0;
}

Test(array, a_forked_child_that_closes_its_parents_view_leaves_the_parent_a_holder)
{
	parents = made(ARRAY_WEAK);
	cr_expect_eq(run_child(close_the_parents), 0);
	cr_expect_eq(looked_at().living, 1);
	cr_expect(array_is_current(parents));
	array_close(parents);
	cr_expect_eq(names_left(), 0);
}

/* A child that holds the array, too, and lives on with its parent's descriptors. */
static _Noreturn void
hold_on(int told)
{
	struct array *own;
	int r = array_attach(name, 0, &own);

	(void)!write(told, &r, sizeof(r));
	for (;;)
		pause();
}

Test(array, a_parent_that_closes_leaves_no_lock_with_its_forked_child)
{
	int told[2], r = -1;

	parents = made(ARRAY_WEAK);
	cr_assert_eq(pipe(told), 0);
	pid_t child = fork();
	if (child == 0)
		hold_on(told[1]);
	cr_assert_eq(read(told[0], &r, sizeof(r)), sizeof(r));
	cr_expect_eq(r, 0);
	array_close(parents);
	cr_expect_eq(looked_at().living, 1, "only the child holds it");
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	struct array_collected done;
	cr_expect_eq(array_collect_one(name, &done), 0);
	cr_expect_eq(names_left(), 0);
	close(told[0]);
	close(told[1]);
}

/* In a mount namespace of its own, with 64 KiB of /dev/shm. */
static int
in_a_small_shm(void)
{
	const struct array_shape small = { .dimensions = 1, .length = { 8192 } };
	const struct array_shape large = { .dimensions = 1, .length = { 1 << 20 } };
	struct array *a = NULL;

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=64k") < 0)
		return 77;
	if (array_create(name, ARRAY_i8, &large, 0, 0, &a) != -ENOSPC || names_left() != 0)
		return 1;
	make_foreign(1 << 20);
	if (array_adopt(name, ARRAY_i8, &large, 0, &a) != -ENOSPC || names_left() != 1)
		return 2;
	shm_unlink(name);
	if (array_create(name, ARRAY_i8, &small, 0, 0, &a) != 0)
		return 3;
	memset(a->data, 1, a->bytes);
	array_close(a);
	/* The data fits exactly, the page beside it does not. */
	const struct array_shape rest = { .dimensions = 1, .length = { 53248 } };
	char kept[64];
	strcpy(kept, name);
	strcat(name, "2");
	int r = array_create(name, ARRAY_i8, &rest, 0, 0, &a);
	strcpy(name, kept);
	return r == -ENOSPC && names_left() == 3 ? 0 : 4;
}

Test(array, a_full_shm_is_an_error_and_no_sigbus)
{
	int status = run_child(in_a_small_shm);

	if (status == 77)
		cr_skip("needs a mount namespace (root) for a small /dev/shm");
	cr_expect_eq(status, 0, "%d", status);
}

Test(array, slots_of_dead_holders_are_taken_again)
{
	struct array *a = made(0), *b = NULL;
	struct array_beside beside;
	int status;

	cr_assert_eq(array_beside_open(name, true, &beside), 0);
	for (unsigned i = 0; i < ARRAY_HOLDERS_MAX; i++)
		atomic_store(&beside.meta->holders[i], owner_self());
	array_beside_unlock(beside.fd);
	cr_expect_eq(array_attach(name, 0, &b), -EUSERS);
	cr_expect_null(b);
	cr_assert_eq(array_beside_lock(beside.fd, true), 0); /* whoever collects passes by */
	pid_t child = fork();
	if (child == 0) {
		atomic_store(&beside.meta->holders[7], owner_self());
		_exit(0);
	}
	waitpid(child, &status, 0);
	cr_expect_eq(looked_at().dead, 1);
	array_beside_unlock(beside.fd);
	cr_assert_eq(array_attach(name, 0, &b), 0);
	cr_expect_eq(b->slot, 7);
	array_close(b);
	array_beside_close(&beside);
	array_close(a);
}

Test(array, nonsense_beside_is_refused_and_a_stopped_holder_of_its_lock_is_not_waited_for)
{
	struct array *a = made(0), *b = NULL;
	struct array_beside beside;

	cr_assert_eq(array_beside_open(name, true, &beside), 0);
	cr_expect_eq(array_attach(name, 0, &b), -EBUSY);
	struct array_meta kept = *beside.meta;
	beside.meta->length[1] = 1ull << 60;
	array_beside_unlock(beside.fd);
	cr_expect_eq(array_attach(name, 0, &b), -EPROTO);
	beside.meta->length[1] = 400; /* says more than there is */
	cr_expect_eq(array_attach(name, 0, &b), -ERANGE);
	beside.meta->dimensions = 9;
	cr_expect_eq(array_attach(name, 0, &b), -EPROTO);
	beside.meta->dimensions = kept.dimensions;
	beside.meta->length[1] = kept.length[1];
	beside.meta->type = 99;
	cr_expect_eq(array_attach(name, 0, &b), -EPROTO);
	beside.meta->type = kept.type;
	cr_assert_eq(array_attach(name, 0, &b), 0);
	array_close(b);
	array_close(a);
	array_beside_close(&beside);
}
