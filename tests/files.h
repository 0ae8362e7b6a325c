/*
 * files.h - a temporary directory for a test.  A failure prints what was wrong and aborts.
 */
#ifndef PYPREP_TESTS_FILES_H
#define PYPREP_TESTS_FILES_H

#include <stddef.h>

/* A temporary directory of the test's own; test_dir_remove() takes all in it along. */
void test_dir_make(char *path, size_t size);
void test_dir_remove(const char *path);

/* Write `text` to `directory`/`name`; `ret` (may be NULL) gets the path. */
void test_write_file(const char *directory, const char *name, const char *text, char *ret,
		     size_t size);

#endif
