/* test_log.c - one line per event: its form, its escapes, and which are left out. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/log.h"

static int saved_stderr = -1;
static int out[2];
static char text[8192];

/* stderr is a pipe from here on. */
static void
setup(void)
{
	unsetenv("PYPREP_LOG");
	unsetenv("JOURNAL_STREAM");
	log_journal_at("/nowhere/socket"); /* this machine may have one */
	cr_assert_eq(pipe(out), 0);
	saved_stderr = dup(STDERR_FILENO);
	dup2(out[1], STDERR_FILENO);
	close(out[1]);
}

/* What was logged since setup(); stderr is itself again. */
static const char *
logged(void)
{
	dup2(saved_stderr, STDERR_FILENO);
	ssize_t n = read(out[0], text, sizeof(text) - 1);
	text[n < 0 ? 0 : n] = '\0';
	return text;
}

TestSuite(log, .init = setup, .timeout = 600);

Test(log, a_line_has_level_role_pid_time_and_message)
{
	char head[64];
	int year, month, day, hour, minute, second, ms, used = 0;

	log_open("broker", LOG_LEVEL_INFO);
	log_warn("worker %s died", "cpu/0");
	const char *line = logged();
	snprintf(head, sizeof(head), "level=warn role=broker pid=%d time=", (int)getpid());
	cr_assert_eq(strncmp(line, head, strlen(head)), 0, "%s", line);
	line += strlen(head);
	cr_assert_eq(sscanf(line, "%d-%d-%dT%d:%d:%d.%3dZ %n", &year, &month, &day, &hour, &minute,
			    &second, &ms, &used),
		     7, "%s", line);
	cr_assert_str_eq(line + used, "msg=\"worker cpu/0 died\"\n");
}

Test(log, quotes_and_control_characters_are_escaped)
{
	log_open("broker", LOG_LEVEL_INFO);
	log_info("a \"b\" \\ c\nd\te\x1b[31m\x7f \xc3\xa9");
	cr_assert_not_null(
		strstr(logged(), "msg=\"a \\\"b\\\" \\\\ c\\nd\\te\\x1b[31m\\x7f \xc3\xa9\"\n"),
		"%s", text);
}

Test(log, a_message_without_end_is_cut)
{
	static char message[100000];

	memset(message, 'x', sizeof(message) - 1);
	log_open("broker", LOG_LEVEL_INFO);
	log_info("%s", message);
	const char *line = logged();
	cr_assert_not_null(strstr(line, "xxx...\"\n"));
	cr_assert_lt(strlen(line), 4096u);
}

Test(log, a_message_of_escapes_stays_one_line)
{
	static char message[3000];

	memset(message, '\x01', sizeof(message) - 1);
	log_open("broker", LOG_LEVEL_INFO);
	log_info("%s", message);
	const char *line = logged();
	cr_assert_leq(strlen(line), 4096u);
	cr_assert_eq(strchr(line, '\n'), line + strlen(line) - 1);
	cr_assert_eq(line[strlen(line) - 2], '"');
}

Test(log, what_is_below_the_level_is_left_out)
{
	log_open("broker", LOG_LEVEL_INFO);
	log_debug("quiet");
	log_error("loud");
	logged();
	cr_assert_null(strstr(text, "quiet"), "%s", text);
	cr_assert_not_null(strstr(text, "loud"), "%s", text);
}

Test(log, the_environment_sets_the_level)
{
	setenv("PYPREP_LOG", "debug", 1);
	log_open("broker", LOG_LEVEL_INFO);
	log_debug("first");
	setenv("PYPREP_LOG", "error", 1);
	log_open("broker", LOG_LEVEL_INFO);
	log_warn("second");
	logged();
	cr_assert_not_null(strstr(text, "msg=\"first\""), "%s", text);
	cr_assert_null(strstr(text, "second"), "%s", text);
}

Test(log, a_wrong_level_in_the_environment_is_told_once)
{
	setenv("PYPREP_LOG", "loud", 1);
	log_open("broker", LOG_LEVEL_INFO);
	log_open("broker", LOG_LEVEL_INFO);
	const char *line = logged();
	const char *at = strstr(line, "PYPREP_LOG is \\\"loud\\\"; expected error, warn, info or "
				      "debug; going on with info");
	cr_assert_not_null(at, "%s", line);
	cr_assert_null(strstr(at + 1, "PYPREP_LOG"), "%s", line);
}

Test(log, the_journal_gets_a_priority_and_no_time)
{
	char stream[64], expected[128];
	struct stat st;

	cr_assert_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_open("supervisor", LOG_LEVEL_INFO);
	log_info("ready");
	snprintf(expected, sizeof(expected), "<6>level=info role=supervisor pid=%d msg=\"ready\"\n",
		 (int)getpid());
	cr_assert_str_eq(logged(), expected);
}

Test(log, a_journal_that_stderr_is_not_does_not_count)
{
	setenv("JOURNAL_STREAM", "1:1", 1);
	log_open("supervisor", LOG_LEVEL_INFO);
	log_info("ready");
	cr_assert_eq(strncmp(logged(), "level=info ", 11), 0, "%s", text);
}

Test(log, errno_is_kept)
{
	log_open("broker", LOG_LEVEL_INFO);
	errno = ENOSPC;
	log_info("x");
	int after = errno;
	logged();
	cr_assert_eq(after, ENOSPC);
}
