/* array_look.c - what arrays there are, in what state; collecting and restoring them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/array_meta.h"
#include "shm/owner.h"

const char *
array_state_text(enum array_state state)
{
	static const char *const texts[] = {
		[ARRAY_WHOLE] = "whole",       [ARRAY_NAME_GONE] = "name gone",
		[ARRAY_REPLACED] = "replaced", [ARRAY_CUT_OFF] = "cut off",
		[ARRAY_LEFT] = "left",
	};

	return (size_t)state < sizeof(texts) / sizeof(texts[0]) ? texts[state] : "unknown";
}

static int
describe(const struct array_beside *b, struct array_stat *ret)
{
	char memory[NAMED_FILE_MAX];
	struct stat st;
	bool exists;

	int r = array_meta_read(b->meta, ret);
	if (r < 0)
		return r;
	snprintf(ret->name, sizeof(ret->name), "%s", b->name);
	array_file_memory(b->name, memory);
	ret->living = array_meta_holders(b->meta, ret->holders, &ret->dead);
	ret->state = array_meta_state(b, ret->living);
	ret->restorable = (ret->state == ARRAY_NAME_GONE || ret->state == ARRAY_REPLACED) &&
			  array_data_is(b->meta, memory, &exists);
	if (fstat(b->fd, &st) < 0)
		return -errno;
	ret->uid = st.st_uid;
	ret->mode = st.st_mode & 0777;
	return 0;
}

int
array_look(int fd, const char *name, struct array_stat *ret)
{
	struct array_meta copy;
	struct array_beside b = { .fd = fd, .meta = &copy };
	struct array_stat stat = { 0 };

	if (!named_is_valid(name))
		return -EINVAL;
	snprintf(b.name, sizeof(b.name), "%s", name);
	ssize_t n = pread(fd, &copy, sizeof(copy), 0);
	if (n < 0)
		return -errno;
	if (n != sizeof(copy))
		return -EPROTO;
	int r = describe(&b, &stat);
	if (r == 0)
		*ret = stat;
	return r;
}

/* What looks cut off or left may only be under way: then wait for who is at it. */
static int
look_twice(int fd, const char *name, struct array_stat *stat)
{
	int r = array_look(fd, name, stat);

	if (r < 0 || !array_is_orphan(stat))
		return r;
	r = array_beside_lock(fd, true);
	return r < 0 ? r : array_look(fd, name, stat);
}

int
array_stat(const char *name, struct array_stat *ret)
{
	char file[NAMED_FILE_MAX];
	struct array_stat stat = { 0 };
	int fd;

	if (!named_is_valid(name))
		return -EINVAL;
	array_file_beside(name, file);
	for (;;) {
		int r = named_open(file, false, &fd);
		if (r < 0)
			return r;
		r = look_twice(fd, name, &stat);
		/* Removed, and perhaps made again, while we looked: that one it is. */
		bool same = named_is_same(file, fd);
		close(fd); /* and let go of the lock */
		if (!same)
			continue;
		if (r == 0)
			*ret = stat;
		return r;
	}
}

bool
array_is_busy(int fd)
{
	if (array_beside_lock(fd, false) < 0)
		return true;
	array_beside_unlock(fd);
	return false;
}

bool
array_is_orphan(const struct array_stat *stat)
{
	return array_meta_is_orphan(stat->state, stat->living);
}

/* ---- all of them ---- */

struct walk {
	int (*each)(void *context, const struct array_stat *stat);
	void *context;
	struct array_stat stat;
};

static int
walk_one(void *context, const char *file)
{
	struct walk *walk = context;

	/* What cannot be read, or goes while we look, is not there. */
	if (array_stat(file + strlen(ARRAY_PREFIX), &walk->stat) < 0)
		return 0;
	return walk->each(walk->context, &walk->stat);
}

int
array_each(int (*each)(void *context, const struct array_stat *stat), void *context)
{
	struct walk walk = { .each = each, .context = context };

	return named_each(ARRAY_PREFIX, walk_one, &walk);
}

/* ---- collecting ---- */

static void
strike_the_dead(struct array_beside *b, unsigned *ret_struck)
{
	for (unsigned i = 0; i < ARRAY_HOLDERS_MAX; i++) {
		uint64_t word = atomic_load(&b->meta->holders[i]);
		if (word != OWNER_NOBODY && !owner_alive(word)) {
			atomic_store(&b->meta->holders[i], OWNER_NOBODY);
			(*ret_struck)++;
		}
	}
}

static int
collect_one(void *context, const char *file)
{
	struct array_collected *done = context;
	struct array_stat stat = { 0 };
	struct array_beside b;

	int r = array_beside_open(file + strlen(ARRAY_PREFIX), false, &b);
	if (r == -EBUSY)
		done->kept++;
	if (r < 0)
		return 0;
	r = describe(&b, &stat);
	if (r == 0 && !array_meta_is_orphan(stat.state, stat.living)) {
		if (b.writable)
			strike_the_dead(&b, &done->holders);
	} else if (r == 0 && array_beside_remove(&b) == 0) {
		done->arrays++;
		done->bytes += stat.bytes;
	} else if (r == 0) {
		done->kept++;
	}
	array_beside_close(&b);
	return 0;
}

/* Memory whose file beside somebody removed by hand.  The file beside is published first and
 * removed last, so one that lacks it is nobody's. */
static int
collect_memory(void *context, const char *file)
{
	struct array_collected *done = context;
	char beside[NAMED_FILE_MAX], path[sizeof(NAMED_DIRECTORY) + NAMED_FILE_MAX];
	struct stat st;

	array_file_beside(file + strlen(ARRAY_MEMORY_PREFIX), beside);
	snprintf(path, sizeof(path), NAMED_DIRECTORY "/%s", beside);
	if (lstat(path, &st) == 0)
		return 0;
	snprintf(path, sizeof(path), NAMED_DIRECTORY "/%s", file);
	if (lstat(path, &st) < 0)
		return 0;
	if (named_unlink(file) < 0) {
		done->kept++;
		return 0;
	}
	done->arrays++;
	done->bytes += st.st_nlink > 1 ? 0 : (uint64_t)st.st_size;
	return 0;
}

int
array_collect(struct array_collected *ret)
{
	struct array_collected done = { 0 };

	int r = named_each(ARRAY_PREFIX, collect_one, &done);
	if (r == 0)
		r = named_each(ARRAY_MEMORY_PREFIX, collect_memory, &done);
	if (r == 0)
		*ret = done;
	return r;
}

int
array_collect_one(const char *name, struct array_collected *ret)
{
	struct array_collected done = { 0 };
	char file[NAMED_FILE_MAX];

	if (!named_is_valid(name))
		return -EINVAL;
	array_file_beside(name, file);
	(void)collect_one(&done, file);
	array_file_memory(name, file);
	(void)collect_memory(&done, file);
	*ret = done;
	return 0;
}

/* ---- restoring ---- */

static int
link_again(struct array_beside *b)
{
	char memory[NAMED_FILE_MAX];
	bool exists;
	int fd;

	switch (array_meta_state(b, array_meta_holders(b->meta, NULL, NULL))) {
	case ARRAY_WHOLE:
		return -EALREADY;
	case ARRAY_REPLACED:
		return -EEXIST;
	case ARRAY_CUT_OFF:
	case ARRAY_LEFT:
		return -ENOENT;
	case ARRAY_NAME_GONE:
		break;
	}
	array_file_memory(b->name, memory);
	if (!array_data_is(b->meta, memory, &exists))
		return -ENODATA;
	int r = named_open(memory, false, &fd);
	if (r < 0)
		return r;
	r = named_publish(fd, b->name);
	close(fd);
	return r;
}

int
array_restore(const char *name)
{
	struct array_beside b;

	int r = array_beside_open(name, true, &b);
	if (r < 0)
		return r;
	r = link_again(&b);
	array_beside_close(&b);
	return r;
}
