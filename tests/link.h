/*
 * link.h - the link that a test's workers have: the same programs are run once for each
 * (tests/CMakeLists.txt), with TEST_LINK=pipe and so on; without it, over the ring.
 */
#ifndef PYPREP_TESTS_LINK_H
#define PYPREP_TESTS_LINK_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline const char *
test_link(void)
{
	const char *name = getenv("TEST_LINK");
	return name != NULL && name[0] != '\0' ? name : "ring";
}

/* For what is bound there; run-test removes it. */
static inline const char *
test_directory(void)
{
	const char *name = getenv("TMPDIR");
	return name != NULL ? name : "/tmp";
}

static inline bool
test_link_is(const char *name)
{
	return strcmp(test_link(), name) == 0;
}

#endif
