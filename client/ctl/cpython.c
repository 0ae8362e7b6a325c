/* cpython.c - Python programs built into pyprepctl: run one, and read what it says. */
#include "client/ctl/cpython.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/cpython_keeper.h"
#include "client/ctl/cpython_programs.h"
#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "ipc/cleanup.h"

#define VERSION_MS  20000
#define ANSWER_MAX  (1u << 20)
#define FIRST_FREE  3
#define PYTHON_NAME "python3"

static void __attribute__((format(printf, 3, 4)))
say(char *why, size_t size, const char *format, ...)
{
	va_list list;

	if (size == 0)
		return;
	va_start(list, format);
	vsnprintf(why, size, format, list);
	va_end(list);
}

static const char *
interpreter(void)
{
	const char *given = getenv("PYPREP_PYTHON");
	return given && given[0] ? given : PYTHON_NAME;
}

/* ---- programs ---- */

static const char *const before[] = { "common", "ways" };
#define BEFORE (sizeof before / sizeof before[0])

static const struct cpython_text *
text_of(const char *topic)
{
	for (const struct cpython_text *text = cpython_texts; text->topic; text++)
		if (strcmp(text->topic, topic) == 0)
			return text;
	return NULL;
}

static bool
is_topic(const char *name)
{
	for (size_t i = 0; i < BEFORE; i++)
		if (strcmp(name, before[i]) == 0)
			return false;
	return text_of(name) != NULL;
}

char *
cpython_program(const char *topic)
{
	const struct cpython_text *parts[BEFORE + 1];
	size_t length = 0;

	if (!is_topic(topic))
		return NULL;
	for (size_t i = 0; i <= BEFORE; i++) {
		parts[i] = text_of(i < BEFORE ? before[i] : topic);
		length += parts[i]->length;
	}
	char *program = ctl_alloc(1, length + 1), *end = program;
	for (size_t i = 0; i <= BEFORE; end += parts[i++]->length)
		memcpy(end, parts[i]->bytes, parts[i]->length);
	return program;
}

/* ---- its descriptors ---- */

/* Memory as a file, not in the place of a standard descriptor that is closed. */
static int
memory_file(const char *name)
{
	scoped_fd fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE);
	return moved < 0 ? -errno : moved;
}

static int
program_file(const char *topic, int *ret)
{
	scoped_free char *program = cpython_program(topic);
	scoped_fd fd = -1;

	if (!program)
		return -ENOENT;
	fd = memory_file("pyprep-program");
	if (fd < 0)
		return fd;
	size_t length = strlen(program);
	if (write(fd, program, length) != (ssize_t)length || lseek(fd, 0, SEEK_SET) < 0)
		return -EIO;
	*ret = take_fd(&fd);
	return 0;
}

/* What was written to `fd`, as text; the caller frees it. */
static char *
text_of_file(int fd)
{
	char *text = ctl_alloc(1, ANSWER_MAX + 1);
	ssize_t n = pread(fd, text, ANSWER_MAX, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* The last line that is not empty; cuts `text`. */
static const char *
last_line(char *text)
{
	size_t length = strlen(text);

	while (length > 0 && text[length - 1] == '\n')
		text[--length] = '\0';
	char *newline = strrchr(text, '\n');
	return newline ? newline + 1 : text;
}

/* ---- one run ---- */

struct run {
	const char *topic;
	int timeout_ms;
	int program, out, err, lifeline[2];
	struct keeper_outcome *outcome;
	bool interrupted;
};

static int
run_open(struct run *run)
{
	int r = program_file(run->topic, &run->program);
	if (r < 0)
		return r;
	run->out = memory_file("pyprep-answer");
	if (run->out < 0)
		return run->out;
	run->err = memory_file("pyprep-errors");
	if (run->err < 0)
		return run->err;
	if (pipe2(run->lifeline, O_CLOEXEC) < 0)
		return -errno;
	run->outcome = floor_share(sizeof *run->outcome);
	return run->outcome ? 0 : -ENOMEM;
}

static void
run_close(struct run *run)
{
	int *const fds[] = { &run->program, &run->out, &run->err, &run->lifeline[0],
			     &run->lifeline[1] };

	for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
		close_scoped_fd(fds[i]);
	if (run->outcome)
		munmap(run->outcome, sizeof *run->outcome);
}

/* A signal that has a handler asks us to end: then the lifeline is cut. */
static int
run_keeper(struct run *run, const char *const *params)
{
	const struct keeper_order order = {
		.interpreter = interpreter(),
		.topic = run->topic,
		.params = params,
		.program = run->program,
		.out = run->out,
		.err = run->err,
		.lifeline = run->lifeline[0],
		.timeout_ms = run->timeout_ms,
	};

	fflush(stdout);
	pid_t keeper = keeper_start(&order, run->outcome);
	if (keeper < 0)
		return keeper;
	close(run->lifeline[0]);
	run->lifeline[0] = -1;
	while (waitpid(keeper, NULL, 0) < 0) {
		if (errno != EINTR)
			return -errno;
		run->interrupted = true;
		close_scoped_fd(&run->lifeline[1]);
		run->lifeline[1] = -1;
	}
	return 0;
}

/* Why there is no answer, as one sentence; false when there is one. */
static bool
run_problem(const struct run *run, char *errors, char *why, size_t size)
{
	const struct keeper_outcome *o = run->outcome;

	if (run->interrupted)
		say(why, size, "interrupted");
	else if (!o->done)
		say(why, size, "the process that keeps Python was killed");
	else if (o->exec_errno != 0)
		say(why, size, "%s cannot be started: %s", interpreter(), strerror(o->exec_errno));
	else if (o->timed_out)
		say(why, size, "Python's %s took more than %d ms and was killed", run->topic,
		    run->timeout_ms);
	else if (o->strays)
		say(why, size, "Python's %s left processes behind; they were killed", run->topic);
	else if (WIFSIGNALED(o->wait_status))
		say(why, size, "Python's %s was killed by signal %d", run->topic,
		    WTERMSIG(o->wait_status));
	else if (o->wait_status != 0)
		say(why, size, "Python's %s failed: %s", run->topic, last_line(errors));
	else
		return false;
	return true;
}

static json_t *
run_answer(const struct run *run, char *why, size_t size)
{
	scoped_free char *errors = text_of_file(run->err);
	scoped_free char *text = text_of_file(run->out);

	if (run_problem(run, errors, why, size))
		return NULL;
	const char *line = last_line(text);
	json_t *answer = json_loads(line, 0, NULL);
	if (!json_is_object(answer)) {
		say(why, size, "Python's %s printed no JSON object: '%.60s'", run->topic, line);
		json_decref(answer);
		return NULL;
	}
	return answer;
}

static bool
is_absent(int exec_errno)
{
	return exec_errno == ENOENT || exec_errno == EACCES || exec_errno == ENOTDIR;
}

/* The same with an errno: -ENOENT when the interpreter is not there. */
static int
run_topic(const char *topic, const char *const *params, int timeout_ms, json_t **ret, char *why,
	  size_t size)
{
	struct run run = { .topic = topic,
			   .timeout_ms = timeout_ms,
			   .program = -1,
			   .out = -1,
			   .err = -1,
			   .lifeline = { -1, -1 } };
	json_t *answer = NULL;

	int r = run_open(&run);
	if (r == 0)
		r = run_keeper(&run, params);
	if (r < 0)
		say(why, size, "cannot run Python's %s: %s", topic, strerror(-r));
	else
		answer = run_answer(&run, why, size);
	if (r == 0 && !answer)
		r = is_absent(run.outcome->exec_errno) ? -ENOENT : -EIO;
	run_close(&run);
	if (r == 0)
		*ret = answer;
	return r;
}

json_t *
cpython_run(const char *topic, const char *const *params, int timeout_ms, char *why,
	    size_t why_size)
{
	json_t *answer = NULL;

	(void)run_topic(topic, params, timeout_ms, &answer, why, why_size);
	return answer;
}

double
cpython_figure(const char *topic, const char *const *params, int timeout_ms, const char *key)
{
	char why[200];
	json_t *answer = cpython_run(topic, params, timeout_ms, why, sizeof why);
	json_t *value = answer ? json_object_get(answer, key) : NULL;
	double figure = json_is_number(value) ? json_number_value(value) : NAN;

	json_decref(answer);
	return figure;
}

int
cpython_version(char *ret, size_t size)
{
	static char version[64];
	static int known = 1; /* 0 or -errno once it is */
	char why[200];
	json_t *answer;

	if (known == 1) {
		known = run_topic("version", NULL, VERSION_MS, &answer, why, sizeof why);
		if (known == 0) {
			snprintf(version, sizeof version, "%s",
				 json_string_value(json_object_get(answer, "version")));
			json_decref(answer);
		}
	}
	if (known == 0)
		snprintf(ret, size, "%s", version);
	return known;
}
