/*
 * title.c - the process title, written over the place of argv and environ.
 *
 * The kernel shows the bytes from argv[0] to the end of the arguments as the command line,
 * and goes on into the environment's place while the arguments do not end with a NUL.
 * PR_SET_MM_ARG_START would give any place, but needs CAP_SYS_RESOURCE.  The area is the
 * process's own; a fork copies it.
 */
#include "daemon/title.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static struct {
	char *start;
	size_t size;
	char **arguments, **environment; /* the copies; they live as long as the process */
} area;

/* A copy of a NULL-terminated list and its strings in one piece of the heap, or NULL. */
static char **
copy_list(char **list)
{
	size_t count = 0, bytes = 0;

	for (; list[count]; count++)
		bytes += strlen(list[count]) + 1;
	char **copy = malloc((count + 1) * sizeof(*copy) + bytes);
	if (copy == NULL)
		return NULL;
	char *at = (char *)(copy + count + 1);
	for (size_t i = 0; i < count; i++) {
		copy[i] = at;
		at = stpcpy(at, list[i]) + 1;
	}
	copy[count] = NULL;
	return copy;
}

/* The end of the strings of `list` that follow each other in memory from `end`. */
static char *
end_of(char **list, char *end)
{
	for (; *list && *list == end; list++)
		end += strlen(end) + 1;
	return end;
}

void
title_init(int argc, char **argv)
{
	if (argc < 1 || argv[0] == NULL || area.start)
		return;
	char *start = argv[0];
	char *end = end_of(argv, start);
	if (environ)
		end = end_of(environ, end);

	char **arguments = copy_list(argv);
	char **environment = arguments && environ ? copy_list(environ) : NULL;
	if (arguments == NULL || (environ && environment == NULL)) {
		free(arguments);
		return;
	}
	memcpy(argv, arguments, (size_t)argc * sizeof(*argv));
	environ = environment;
	area.arguments = arguments;
	area.environment = environment;
	char *slash = strrchr(argv[0], '/');
	program_invocation_name = argv[0];
	program_invocation_short_name = slash ? slash + 1 : argv[0];
	area.start = start;
	area.size = (size_t)(end - start);
}

void
title_set(const char *format, ...)
{
	char title[256], comm[16];
	va_list args;

	va_start(args, format);
	vsnprintf(title, sizeof(title), format, args);
	va_end(args);

	/* "pyprepd: worker cpu/0" becomes "pyprepd:cpu/0". */
	const char *last = strrchr(title, ' ');
	size_t first = last ? strcspn(title, " ") : strlen(title);
	size_t used = first < sizeof(comm) - 1 ? first : sizeof(comm) - 1;
	memcpy(comm, title, used);
	if (last)
		for (last++; *last != '\0' && used < sizeof(comm) - 1; last++)
			comm[used++] = *last;
	comm[used] = '\0';
	prctl(PR_SET_NAME, comm);

	if (area.size == 0)
		return;
	memset(area.start, 0, area.size);
	size_t length = strlen(title);
	memcpy(area.start, title, length < area.size ? length : area.size - 1);
}
