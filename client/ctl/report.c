/* report.c - errors, the connection, and the end of stdout. */
#include "client/ctl/report.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/command.h"

static void
print_error_json(int status, const char *code, const char *message)
{
	json_t *error = json_pack("{s:{s:s, s:s%, s:i}}", "error", "code", code, "message", message,
				  strlen(message), "exit", status);
	if (error)
		json_dumpf(error, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(error);
}

int
ctl_fail(int status, const char *code, const char *format, ...)
{
	char message[1024];
	va_list list;

	va_start(list, format);
	vsnprintf(message, sizeof message, format, list);
	va_end(list);
	fprintf(stderr, "pyprepctl: %s\n", message);
	if (ctl.json)
		print_error_json(status, code, message);
	return status;
}

int
ctl_fail_problem(const struct pyprep_problem *why)
{
	int status = why->exit_status != 0 ? why->exit_status : EXIT_OURS;
	return ctl_fail(status, why->code[0] ? why->code : "internal", "%s", why->message);
}

void
ctl_note(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	fputs("pyprepctl: ", stderr);
	vfprintf(stderr, format, list);
	fputc('\n', stderr);
	va_end(list);
}

int
ctl_connect(struct pyprep **ret)
{
	struct pyprep_problem why = { .exit_status = EXIT_UNREACHABLE };

	if (pyprep_connect_lane(ctl.runtime_dir, ctl.lane, ret, &why) < 0)
		return ctl_fail_problem(&why);
	return 0;
}

_Noreturn void
ctl_no_memory(void)
{
	fputs("pyprepctl: out of memory\n", stderr);
	exit(EXIT_OURS);
}

void *
ctl_alloc(size_t count, size_t size)
{
	void *memory = calloc(count, size);
	if (!memory)
		ctl_no_memory();
	return memory;
}

void *
ctl_realloc(void *old, size_t size)
{
	void *memory = realloc(old, size);
	if (!memory)
		ctl_no_memory();
	return memory;
}

bool
output_broken(void)
{
	return ferror(stdout) != 0;
}

int
output_finish(int status)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	if (errno == EPIPE)
		return EXIT_SIGNALLED + SIGPIPE;
	ctl_note("cannot write to standard output: %s",
		 errno != 0 ? strerror(errno) : "an earlier write failed");
	return EXIT_OURS;
}
