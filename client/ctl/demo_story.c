/* demo_story.c - what a story of `pyprepctl demo` tells with; see demo.h */
#include "client/ctl/demo_story.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/ctl/command.h"
#include "client/ctl/cpython.h"
#include "client/ctl/floor.h"
#include "client/ctl/print_table.h"
#include "client/ctl/report.h"
#include "client/ctl/units.h"
#include "ipc/clock.h"
#include "shm/named.h"

#define REDRAW_NS         (50 * NS_PER_MS)
#define PYTHON_TIMEOUT_MS 60000

bool
demo_quick(const struct demo *d)
{
	return d->quick;
}

void
demo_name(const struct demo *d, const char *suffix, char *ret)
{
	snprintf(ret, NAMED_MAX + 1, "%s.%.80s", d->aside->label, suffix);
}

const char *
demo_directory(const struct demo *d)
{
	return d->aside->directory;
}

/* ---- telling ---- */

static void
clear_live(struct demo *d)
{
	if (d->live)
		fputs("\r\033[K", stdout);
	d->live = false;
}

void
demo_chapter(struct demo *d, const char *format, ...)
{
	va_list list;

	if (ctl.json)
		return;
	clear_live(d);
	printf("\n%s", d->bold ? "\033[1m" : "");
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	printf("%s\n", d->bold ? "\033[0m" : "");
	fflush(stdout);
}

void
demo_say(struct demo *d, const char *format, ...)
{
	va_list list;

	if (ctl.json)
		return;
	clear_live(d);
	fputs("  ", stdout);
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	putchar('\n');
	fflush(stdout);
}

void
demo_live(struct demo *d, const char *format, ...)
{
	va_list list;
	uint64_t now = clock_now();

	if (ctl.json || !d->redraws || now - d->drawn_ns < REDRAW_NS)
		return;
	d->drawn_ns = now;
	fputs("\r  ", stdout);
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	fputs("\033[K", stdout);
	fflush(stdout);
	d->live = true;
}

static struct demo_figure *
figure_of(struct demo *d, const char *key)
{
	for (unsigned i = 0; i < d->figure_count; i++)
		if (strcmp(d->figures[i].key, key) == 0)
			return &d->figures[i];
	if (d->figure_count == DEMO_FIGURES)
		return NULL;
	struct demo_figure *f = &d->figures[d->figure_count++];
	*f = (struct demo_figure){ .value = NAN, .python = NAN };
	snprintf(f->key, sizeof f->key, "%s", key);
	return f;
}

void
demo_figure(struct demo *d, const char *key, double value, const char *unit, const char *what)
{
	struct demo_figure *f = figure_of(d, key);

	if (!f)
		return;
	f->value = value;
	snprintf(f->unit, sizeof f->unit, "%s", unit);
	snprintf(f->what, sizeof f->what, "%s", what);
}

void
demo_python_figure(struct demo *d, const char *key, double value)
{
	struct demo_figure *f = figure_of(d, key);

	if (f)
		f->python = value;
}

bool
demo_check(struct demo *d, bool held, const char *format, ...)
{
	char text[256];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	json_array_append_new(d->checks, json_pack("{s:s, s:b}", "what", text, "held", held));
	d->broken |= !held;
	if (!ctl.json) {
		clear_live(d);
		printf("  %s%s%s %s\n", colour_begin(held ? COLOUR_GOOD : COLOUR_BAD),
		       held ? "held  " : "BROKEN", colour_end(held ? COLOUR_GOOD : COLOUR_BAD),
		       text);
		fflush(stdout);
	}
	return held;
}

void
demo_conclude(struct demo *d, const char *format, ...)
{
	char text[512];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	json_array_append_new(d->answer, json_string(text));
}

int
demo_fail(struct demo *d, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(d->error, sizeof d->error, format, list);
	va_end(list);
	return -1;
}

/* ---- actors ---- */

pid_t
demo_actor(struct demo *d, int (*act)(void *context), void *context)
{
	(void)d;
	fflush(stdout);
	pid_t pid = floor_fork();
	if (pid == 0)
		_exit(act(context));
	return pid < 0 ? -errno : pid;
}

void
demo_apart(unsigned which)
{
	if (floor_cpu(1) >= 0)
		(void)floor_bind(0, floor_cpu(which));
}

void
demo_kill(struct demo *d, pid_t pid)
{
	(void)d;
	floor_kill(pid);
}

int
demo_wait(struct demo *d, pid_t pid, unsigned ms)
{
	uint64_t until = clock_now() + ms * NS_PER_MS;
	int status;

	(void)d;
	for (;;) {
		pid_t ended = waitpid(pid, &status, WNOHANG);
		if (ended == pid)
			return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
		if (ended < 0)
			return -errno;
		if (clock_now() >= until)
			return -ETIMEDOUT;
		nanosleep(&(struct timespec){ .tv_nsec = (long)NS_PER_MS }, NULL);
	}
}

/* ---- CPython ---- */

json_t *
demo_python(struct demo *d, const char *topic, const char *const *params)
{
	char why[400] = "";

	if (d->without_python)
		return NULL;
	if (d->python_version[0] == '\0' &&
	    cpython_version(d->python_version, sizeof d->python_version) < 0) {
		d->without_python = true;
		demo_say(d, "python3 is not there (PATH, or PYPREP_PYTHON): nothing of CPython is "
			    "shown beside");
		return NULL;
	}
	json_t *answer = cpython_run(topic, params, PYTHON_TIMEOUT_MS, why, sizeof why);
	if (!answer)
		demo_say(d, "CPython's part could not be measured: %s", why);
	return answer;
}

double
demo_number(const json_t *answer, const char *key)
{
	const json_t *value = json_object_get(answer, key);
	return json_is_number(value) ? json_number_value(value) : NAN;
}

/* ---- the end ---- */

/* "412.6 ms", "1,234,567/s", "8.0 MiB", "3", "17x" */
static struct unit_text
figure_text(double value, const char *unit)
{
	struct unit_text out;

	if (isnan(value))
		snprintf(out.text, sizeof out.text, "-");
	else if (strcmp(unit, "ns") == 0)
		out = unit_time_human((uint64_t)(value + 0.5));
	else if (strcmp(unit, "yes") == 0)
		snprintf(out.text, sizeof out.text, "%s", value != 0 ? "yes" : "no");
	else if (strcmp(unit, "bytes") == 0)
		out = unit_bytes_human((uint64_t)(value + 0.5));
	else if (strcmp(unit, "x") == 0)
		snprintf(out.text, sizeof out.text, "%.*fx", value < 10 ? 2 : 0, value);
	else if (strcmp(unit, "/s") == 0)
		snprintf(out.text, sizeof out.text, "%.28s/s",
			 unit_count_human((uint64_t)(value + 0.5)).text);
	else
		out = unit_count_human((uint64_t)(value + 0.5));
	return out;
}

static void
print_people(const struct demo *d)
{
	static const struct column columns[] = {
		{ "figure", COLUMN_TEXT, 0 },
		{ "pyprep", COLUMN_NUMBER, 0 },
		{ "CPython", COLUMN_NUMBER, 0 },
	};
	bool python = d->python_version[0] != '\0';
	struct table table;

	putchar('\n');
	table_begin(&table, columns, python ? 3 : 2, false);
	for (unsigned i = 0; i < d->figure_count; i++) {
		const struct demo_figure *f = &d->figures[i];
		table_text(&table, COLOUR_NONE, "%s", f->what[0] ? f->what : f->key);
		table_text(&table, COLOUR_NONE, "%s", figure_text(f->value, f->unit).text);
		if (python)
			table_text(&table, COLOUR_NONE, "%s", figure_text(f->python, f->unit).text);
	}
	table_print(&table);
	if (python)
		printf("CPython is %s.\n", d->python_version);
	for (size_t i = 0; i < json_array_size(d->answer); i++)
		printf("%s%s\n", i == 0 ? "\n" : "",
		       json_string_value(json_array_get(d->answer, i)));
}

static json_t *
number_or_null(double value)
{
	return isnan(value) || isinf(value) ? json_null() : json_real(value);
}

static void
print_json(const struct demo *d)
{
	json_t *figures = json_object(), *python = json_object();

	for (unsigned i = 0; i < d->figure_count; i++) {
		const struct demo_figure *f = &d->figures[i];
		json_object_set_new(figures, f->key, number_or_null(f->value));
		if (!isnan(f->python))
			json_object_set_new(python, f->key, number_or_null(f->python));
	}
	json_t *json = json_pack("{s:s, s:s, s:b, s:O, s:o, s:o}", "schema", d->schema, d->noun,
				 d->row->name, "ok", !d->broken && !d->error[0], "checks",
				 d->checks, "figures", figures, "python", python);
	if (json_array_size(d->answer) > 0)
		json_object_set(json, "answer", d->answer);
	if (d->python_version[0])
		json_object_set_new(json, "python_version", json_string(d->python_version));
	if (d->error[0])
		json_object_set_new(json, "error", json_string(d->error));
	json_dumpf(json, stdout, JSON_COMPACT | JSON_REAL_PRECISION(8));
	putchar('\n');
	json_decref(json);
}

static int
tell(void *context)
{
	struct demo *d = context;

	d->checks = json_array();
	d->answer = json_array();
	d->redraws = isatty(STDOUT_FILENO) && stderr_redraws();
	d->bold = colour_begin(COLOUR_DIM)[0] != '\0';
	int r = d->row->tell(d);
	clear_live(d);
	if (ctl.json)
		print_json(d);
	else if (r == 0)
		print_people(d);
	json_decref(d->checks);
	json_decref(d->answer);
	if (r < 0)
		return ctl.json ? EXIT_OURS : ctl_fail(EXIT_OURS, d->noun, "%s", d->error);
	return d->broken ? EXIT_SOME_FAILED : 0;
}

int
demo_tell(struct demo *d, unsigned patience_s)
{
	const char *name = d->row->name;

	if (!ctl.json)
		printf("%s: %s\n", name, d->row->summary);
	struct aside_result end = aside_run(d->aside, tell, d, patience_s);
	if (end.how == ASIDE_LATE)
		return ctl_fail(EXIT_OURS, d->noun, "%s %s took more than %u s and was ended",
				d->noun, name, patience_s);
	if (end.how == ASIDE_DIED)
		return ctl_fail(EXIT_OURS, d->noun, "%s %s was killed by signal %d", d->noun, name,
				end.value);
	return end.how == ASIDE_INTERRUPTED ? EXIT_SIGNALLED + end.value : end.value;
}
