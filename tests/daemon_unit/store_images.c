/* store_images.c - see store_images.h */
#include "tests/daemon_unit/store_images.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/daemon_unit/store_fixture.h"

/* ---- files ---- */

const char *
store_path(const char *name)
{
	static char path[300];
	snprintf(path, sizeof(path), "%s/%s", store_dir, name);
	return path;
}

static struct image
read_image(const char *name)
{
	struct image f = { 0 };
	struct stat st;
	int fd = open(store_path(name), O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return f;
	if (fstat(fd, &st) < 0 || (f.bytes = malloc((size_t)st.st_size + 1)) == NULL ||
	    read(fd, f.bytes, (size_t)st.st_size) != st.st_size)
		abort();
	f.length = (size_t)st.st_size;
	f.changed = st.st_mtim;
	close(fd);
	return f;
}

/* As if the disk had done it: the time of the last change stays. */
void
write_image(const char *name, const struct image *f, size_t length)
{
	int fd = open(store_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct timespec times[2] = { f->changed, f->changed };

	if (fd < 0 || write(fd, f->bytes, length) != (ssize_t)length || futimens(fd, times) < 0)
		abort();
	close(fd);
}

void
flip_byte(const char *name, const struct image *f, size_t at, unsigned char mask)
{
	int fd = open(store_path(name), O_WRONLY | O_CLOEXEC);
	unsigned char byte = f->bytes[at] ^ mask;
	struct timespec times[2] = { f->changed, f->changed };

	if (fd < 0 || pwrite(fd, &byte, 1, (off_t)at) != 1 || futimens(fd, times) < 0)
		abort();
	close(fd);
}

/* The store as its files were when the writer was killed. */
struct image database, wal, claims;

void
forget_images(void)
{
	free(database.bytes);
	free(wal.bytes);
	free(claims.bytes);
	database = wal = claims = (struct image){ 0 };
}

void
take_images(void)
{
	forget_images();
	database = read_image("store.db");
	wal = read_image("store.db-wal");
	claims = read_image("claims");
}

void
put_images(void)
{
	unlink(store_path("store.db-wal"));
	unlink(store_path("store.db-shm"));
	write_image("store.db", &database, database.length);
	write_image("claims", &claims, claims.length);
	if (wal.length > 0)
		write_image("store.db-wal", &wal, wal.length);
}

/* ---- what is in it ---- */

static void
put(struct store_change *c)
{
	if (apply(c) != 0)
		abort();
}

void
fill_store(void)
{
	static unsigned char large[9000];
	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = (unsigned char)(i * 7);
	for (uint64_t id = 1; id <= STORE_JOBS; id++) {
		struct store_change c = new_job(id);
		c.job.params = (struct bytes){ large, id % 10 == 0 ? sizeof(large) : 20 * id };
		c.job.context = (struct bytes){ id % 2 ? "022\0/one\0" : "022\0/two\0", 9 };
		c.job.key = id == 5 ? "five" : NULL;
		put(&c);
		if (id % 4 == 0)
			write_output(id, 1, 1, 0, "some output of the job\n");
		if (id % 3 == 0)
			run_job(id, 1, JOB_SUCCEEDED);
	}
	for (uint32_t day = 1; day < 10; day++) {
		struct store_change c = { .type = CHANGE_TALLY,
					  .tally = { day, "fib", "cpu", { large, 500 } } };
		put(&c);
	}
}
