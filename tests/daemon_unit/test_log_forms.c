/*
 * test_log_forms.c - the log's forms and promises: fields, JSON, the journal's protocol, that
 * nothing waits, and that a storm is counted.
 */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/log.h"

static int saved_stderr = -1, out[2], journal = -1;
static char directory[64], path[108];
static char text[1 << 20];

#define PIPE_BYTES 32768

/* stderr is a small pipe from here on, and there is a journal. */
static void
setup(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	unsetenv("PYPREP_LOG");
	unsetenv("JOURNAL_STREAM");
	cr_assert_eq(pipe2(out, O_NONBLOCK), 0);
	cr_assert_eq(fcntl(out[1], F_SETPIPE_SZ, PIPE_BYTES), PIPE_BYTES);
	fcntl(out[1], F_SETFL, 0);
	saved_stderr = dup(STDERR_FILENO);
	dup2(out[1], STDERR_FILENO);
	strcpy(directory, "/tmp/test-log.XXXXXX");
	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/socket", directory);
	strcpy(at.sun_path, path);
	journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(journal, (struct sockaddr *)&at, sizeof(at)), 0);
	log_journal_at(path);
	log_open("broker", LOG_LEVEL_INFO);
}

static void
tidy(void)
{
	dup2(saved_stderr, STDERR_FILENO);
	unlink(path);
	rmdir(directory);
}

/* What stands in stderr's pipe now, taken out and added to `text`. */
static size_t
take(size_t used)
{
	ssize_t n;

	while ((n = read(out[0], text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	return used;
}

/* Makes a line long. */
static const char *
filler(void)
{
	static char bytes[1500];

	memset(bytes, '-', sizeof(bytes) - 1);
	return bytes;
}

static unsigned
count_of(const char *needle)
{
	unsigned n = 0;

	for (const char *at = text; (at = strstr(at, needle)) != NULL; at++)
		n++;
	return n;
}

static void
worker_dies(void)
{
	log_event(LOG_LEVEL_WARN, LOG_WORKER_DIED,
		  ABOUT(.job = 42, .kind = "exec", .pool = "shell", .slot = 3, .worker_pid = 77,
			.cause = "worker_died", .signal = 9),
		  "worker %s died", "shell/3");
}

TestSuite(log_forms, .init = setup, .fini = tidy, .timeout = 60);

Test(log_forms, logfmt_says_what_an_event_is_about_behind_the_sentence)
{
	log_format(LOG_FORMAT_LOGFMT);
	worker_dies();
	take(0);
	cr_assert_not_null(strstr(text, "msg=\"worker shell/3 died\" event=worker_died job=42 "
					"kind=exec pool=shell worker=shell/3 worker_pid=77 "
					"cause=worker_died signal=9\n"),
			   "%s", text);
}

Test(log_forms, text_is_for_people_and_has_no_fields)
{
	log_format(LOG_FORMAT_TEXT);
	worker_dies();
	take(0);
	cr_assert_not_null(strstr(text, "msg=\"worker shell/3 died\"\n"), "%s", text);
	cr_assert_null(strstr(text, "event="), "%s", text);
}

Test(log_forms, auto_gives_a_pipe_logfmt)
{
	log_format(LOG_FORMAT_AUTO);
	worker_dies();
	take(0);
	cr_assert_not_null(strstr(text, " event=worker_died"), "%s", text);
}

Test(log_forms, json_has_the_fields_with_their_types)
{
	log_format(LOG_FORMAT_JSON);
	worker_dies();
	take(0);
	json_t *json = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
	cr_assert_not_null(json, "%s", text);
	cr_assert_eq(json_integer_value(json_object_get(json, "job")), 42);
	cr_assert_eq(json_integer_value(json_object_get(json, "signal")), 9);
	cr_assert_str_eq(json_string_value(json_object_get(json, "pool")), "shell");
	cr_assert_str_eq(json_string_value(json_object_get(json, "event")), "worker_died");
	cr_assert_str_eq(json_string_value(json_object_get(json, "msg")), "worker shell/3 died");
	cr_assert_str_eq(json_string_value(json_object_get(json, "role")), "broker");
	cr_assert_eq(strlen(json_string_value(json_object_get(json, "message_id"))), 32u);
	json_decref(json);
}

/* Any bytes: names of files need not be UTF-8. */
Test(log_forms, json_is_json_whatever_the_sentence_holds)
{
	char message[3000];

	log_format(LOG_FORMAT_JSON);
	srand(20);
	for (unsigned round = 0; round < 400; round++) {
		size_t length = (size_t)rand() % (sizeof(message) - 1);
		for (size_t i = 0; i < length; i++)
			message[i] = (char)(round % 2 ? 1 + rand() % 255 : 0xc0 + rand() % 64);
		message[length] = '\0';
		log_event(LOG_LEVEL_ERROR, 1 + round % (LOG_EVENT_COUNT - 1), ABOUT(.job = round),
			  "%s", message);
		size_t used = take(0);
		cr_assert_leq(used, 4096u);
		cr_assert_eq(strchr(text, '\n'), text + used - 1);
		json_error_t why;
		json_t *json = json_loads(text, 0, &why);
		cr_assert_not_null(json, "%s in %s", why.text, text);
		json_decref(json);
	}
}

/* ---- the journal ---- */

/* One entry that the journal got; its length, or -1: there is none. */
static ssize_t
entry(void)
{
	ssize_t n = recv(journal, text, sizeof(text) - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	return n;
}

Test(log_forms, the_journal_gets_fields)
{
	log_format(LOG_FORMAT_JOURNAL);
	worker_dies();
	cr_assert_gt(entry(), 0);
	const char *const lines[] = {
		"MESSAGE=worker shell/3 died\n", "\nPRIORITY=4\n",
		"\nPYPREP_ROLE=broker\n",        "\nPYPREP_JOB=42\n",
		"\nPYPREP_POOL=shell\n",         "\nPYPREP_KIND=exec\n",
		"\nPYPREP_WORKER=shell/3\n",     "\nPYPREP_WORKER_PID=77\n",
		"\nPYPREP_EVENT=worker_died\n",  "\nMESSAGE_ID=2bb675438bd04ea6a3b0616291c9021e\n",
		"\nCODE_FUNC=worker_dies\n",     "\nSYSLOG_IDENTIFIER=pyprepd\n",
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		cr_assert_not_null(strstr(text, lines[i]), "no %s in %s", lines[i], text);
	cr_assert_eq(take(0), 0u, "nothing is on stderr");
}

Test(log_forms, a_sentence_of_two_lines_is_one_field)
{
	static const unsigned char expected[] = "MESSAGE\n\x07\0\0\0\0\0\0\0one\ntwo\nPRIORITY=6\n";

	log_format(LOG_FORMAT_JOURNAL);
	log_info("one\ntwo");
	cr_assert_gt(entry(), (ssize_t)sizeof(expected));
	cr_assert_eq(memcmp(text, expected, sizeof(expected) - 1), 0);
}

Test(log_forms, without_a_journal_lines_go_to_stderr)
{
	log_journal_at("/nowhere/socket");
	log_format(LOG_FORMAT_JOURNAL);
	worker_dies();
	take(0);
	cr_assert_not_null(strstr(text, "msg=\"worker shell/3 died\" event="), "%s", text);
}

/* The journal is stopped: its queue takes some, and no one reads. */
Test(log_forms, a_journal_that_does_not_read_stops_nobody)
{
	unsigned sent = 0, lines = 0;

	log_format(LOG_FORMAT_JOURNAL);
	for (; sent < 150; sent++)
		log_info("line %u %s", sent, filler());

	unsigned long long told = 0;
	while (entry() > 0)
		lines += strncmp(text, "MESSAGE=line ", 13) == 0;
	/* The control arm: some did not fit.  Who sends on a socket that blocks would have waited.
	 */
	cr_assert_lt(lines, sent);
	while (log_tick())
		;
	cr_assert_gt(entry(), 0);
	cr_assert_eq(sscanf(text, "MESSAGE=%llu lines were lost", &told), 1, "%s", text);
	cr_assert_eq(lines + told, sent);
}

/* Children close every descriptor they were not given: its number belongs to another file. */
Test(log_forms, a_child_has_a_journal_of_its_own)
{
	int before = dup(STDIN_FILENO); /* the number that the journal's socket will have */
	close(before);
	log_format(LOG_FORMAT_JOURNAL);
	log_info("parent");
	cr_assert_gt(entry(), 0);
	int other[2];
	cr_assert_eq(pipe2(other, O_NONBLOCK), 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(other[1], before);
		log_info("child");
		_exit(0);
	}
	int status;
	waitpid(pid, &status, 0);
	cr_assert_gt(entry(), 0);
	cr_assert_not_null(strstr(text, "MESSAGE=child\n"), "%s", text);
	cr_assert_eq(read(other[0], text, sizeof(text)), -1, "the other file got it");
}

/* ---- nothing waits, and nothing floods ---- */

Test(log_forms, a_reader_of_stderr_that_is_stopped_stops_nobody)
{
	unsigned sent = 0;
	unsigned long long told = 0;

	log_format(LOG_FORMAT_TEXT);
	for (; sent < 150; sent++) /* far more than it holds */
		log_info("line %u %s", sent, filler());
	cr_assert_geq(take(0), PIPE_BYTES / 2u);
	unsigned lines = count_of("msg=\"line ");
	cr_assert_lt(lines, sent);
	while (log_tick())
		take(0);
	take(0);
	cr_assert_eq(sscanf(strstr(text, "msg=\""), "msg=\"%llu lines were lost", &told), 1, "%s",
		     text);
	cr_assert_eq(lines + told, sent);
}

static uint64_t
second(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec;
}

Test(log_forms, a_storm_of_events_is_counted_not_written)
{
	uint64_t first = second();
	unsigned told = 0, n;
	size_t used = 0;

	log_format(LOG_FORMAT_LOGFMT);
	for (unsigned i = 0; i < 5000; i++) {
		worker_dies();
		used = take(used);
	}
	uint64_t seconds = second() - first + 1;
	while (log_tick())
		used = take(used);
	take(used);
	unsigned written = count_of("event=worker_died");
	cr_assert_leq(written, LOG_EVENTS_A_SECOND * seconds);
	cr_assert_geq(written, LOG_EVENTS_A_SECOND);
	for (const char *at = text; (at = strstr(at, "msg=\"")) != NULL; at++)
		if (sscanf(at, "msg=\"%u worker_died lines were left out", &n) == 1)
			told += n;
	cr_assert_eq(written + told, 5000u, "%u written, %u told", written, told);
}

Test(log_forms, a_storm_of_one_event_leaves_the_others_alone)
{
	size_t used = 0;

	log_format(LOG_FORMAT_LOGFMT);
	for (unsigned i = 0; i < 200; i++) {
		worker_dies();
		used = take(used);
	}
	log_event(LOG_LEVEL_ERROR, LOG_POOL_FAILED, ABOUT(.pool = "cpu"), "pool cpu has failed");
	log_info("something else");
	take(used);
	cr_assert_eq(count_of("event=pool_failed pool=cpu\n"), 1u);
	cr_assert_eq(count_of("msg=\"something else\"\n"), 1u);
}
