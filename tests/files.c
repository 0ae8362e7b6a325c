/* files.c - see files.h */
#include "tests/files.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void __attribute__((noreturn)) fail(const char *what, const char *path)
{
	fprintf(stderr, "cannot %s %s: %s\n", what, path, strerror(errno));
	abort();
}

void
test_dir_make(char *path, size_t size)
{
	const char *base = getenv("TMPDIR");
	snprintf(path, size, "%s/t.XXXXXX", base != NULL ? base : "/tmp");
	if (mkdtemp(path) == NULL)
		fail("make a directory like", path);
}

static int
remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	remove(path);
	return 0;
}

void
test_dir_remove(const char *path)
{
	nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

void
test_write_file(const char *directory, const char *name, const char *text, char *ret, size_t size)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	FILE *f = fopen(path, "we");
	if (f == NULL || fputs(text, f) == EOF || fclose(f) != 0)
		fail("write", path);
	if (ret != NULL)
		snprintf(ret, size, "%s", path);
}
