/*
 * log.c - the log of one process: which lines are wanted, how many a second, where they go.  Lines
 * on stderr are one write(2) each, so that those of several processes never mix.
 *
 * Role, level and form are set before a process has threads, and only read afterwards; the counts
 * are atomic: any thread may log.
 */
#include "daemon/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/log_record.h"

static struct {
	char role[64];
	enum log_level level;
	enum log_format wanted, format; /* `format` is never auto */
	bool prefix;                    /* stderr is the journal's stream: it wants <N> */
	bool bad_level_told;
} self = { .role = "pyprepd", .level = LOG_LEVEL_INFO, .format = LOG_FORMAT_TEXT };

/* Of each event, and of plain lines (LOG_PLAIN). */
static struct limit {
	_Atomic uint64_t second; /* counted in */
	_Atomic uint32_t count;
	_Atomic uint32_t left_out; /* and not yet told */
} limits[LOG_EVENT_COUNT];
static _Atomic uint64_t lost; /* lines nobody took, not yet told */

/* ---- the form ---- */

bool
log_format_by_name(const char *name, enum log_format *ret)
{
	for (unsigned i = 0; i < LOG_FORMAT_COUNT; i++)
		if (strcmp(log_format_names[i], name) == 0) {
			*ret = (enum log_format)i;
			return true;
		}
	return false;
}

/* JOURNAL_STREAM names the device and inode of the journal's socket; after a redirection
 * of stderr it is still set but not true any more. */
static bool
stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

static void
settle_format(void)
{
	self.prefix = stderr_is_journal();
	if (self.wanted != LOG_FORMAT_AUTO)
		self.format = self.wanted;
	else if (self.prefix)
		self.format = LOG_FORMAT_JOURNAL;
	else
		self.format = isatty(STDERR_FILENO) ? LOG_FORMAT_TEXT : LOG_FORMAT_LOGFMT;
}

void
log_format(enum log_format format)
{
	self.wanted = format;
	settle_format();
}

void
log_open(const char *role, enum log_level level)
{
	static const enum log_level levels[] = { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO,
						 LOG_LEVEL_DEBUG };
	const char *wanted = getenv("PYPREP_LOG");
	bool known = false;

	snprintf(self.role, sizeof(self.role), "%s", role);
	self.level = level;
	settle_format();
	if (wanted == NULL || *wanted == '\0')
		return;
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (strcasecmp(wanted, log_level_name(levels[i])) == 0) {
			self.level = levels[i];
			known = true;
		}
	if (!known && !self.bad_level_told) {
		self.bad_level_told = true; /* children inherit it: told once */
		log_warn("PYPREP_LOG is \"%s\"; expected error, warn, info or debug; going on "
			 "with %s",
			 wanted, log_level_name(level));
	}
}

/* ---- out ---- */

/* One line on stderr, if whoever reads it has room for it now: false when not.  Another process
 * may fill the room between the look and the write; then this one waits for that reader. */
static bool
write_line(const char *line, size_t length)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };

	if (poll(&p, 1, 0) == 0)
		return false;
	/* A log that cannot be written has nowhere to say so. */
	while (write(STDERR_FILENO, line, length) < 0 && errno == EINTR)
		;
	return true;
}

/* False: nobody took it. */
static bool
send_out(const struct log_record *r)
{
	char line[LOG_LINE_MAX];
	size_t length;

	if (self.format == LOG_FORMAT_JOURNAL) {
		int e = log_to_journal(r);
		if (e == 0 || e == -EAGAIN)
			return e == 0;
	}
	if (self.format == LOG_FORMAT_JSON)
		length = log_as_json(r, line);
	else
		length = log_as_text(r, self.format != LOG_FORMAT_TEXT, self.prefix, line);
	return write_line(line, length);
}

static bool tell_count(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A line about lines: it counts nowhere. */
static bool
tell_count(const char *format, ...)
{
	char message[200];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	return send_out(&(struct log_record){ .level = LOG_LEVEL_WARN,
					      .event = LOG_SUPPRESSED,
					      .role = self.role,
					      .pid = getpid(),
					      .message = message });
}

static void
tell_left_out(enum log_event event)
{
	bool plain = event == LOG_PLAIN;
	uint32_t n = atomic_exchange(&limits[event].left_out, 0);

	if (n > 0 && !tell_count("%u %s lines were left out: more than %u in a second", n,
				 plain ? "other" : log_event_word(event),
				 plain ? LOG_LINES_A_SECOND : LOG_EVENTS_A_SECOND))
		atomic_fetch_add(&limits[event].left_out, n);
}

static void
tell_lost(void)
{
	uint64_t n = atomic_exchange(&lost, 0);

	if (n > 0 &&
	    !tell_count("%llu lines were lost: nobody took them in time", (unsigned long long)n))
		atomic_fetch_add(&lost, n);
}

/* ---- how many ---- */

static uint64_t
this_second(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec;
}

/* May one more of these be written in this second?  Two threads at its very begin may let a few
 * more through. */
static bool
admit(enum log_event event)
{
	struct limit *l = &limits[event];
	uint32_t most = event == LOG_PLAIN ? LOG_LINES_A_SECOND : LOG_EVENTS_A_SECOND;
	uint64_t now = this_second();

	if (atomic_load(&l->second) != now && atomic_exchange(&l->second, now) != now) {
		atomic_store(&l->count, 0);
		tell_left_out(event);
	}
	if (atomic_fetch_add(&l->count, 1) < most)
		return true;
	atomic_fetch_add(&l->left_out, 1);
	return false;
}

bool
log_tick(void)
{
	uint64_t now = this_second();
	bool more = false;

	for (unsigned i = 0; i < LOG_EVENT_COUNT; i++) {
		if (atomic_load(&limits[i].left_out) == 0)
			continue;
		if (atomic_load(&limits[i].second) == now)
			more = true;
		else
			tell_left_out((enum log_event)i);
	}
	tell_lost();
	return more || atomic_load(&lost) > 0;
}

void
log_close(void)
{
	for (unsigned i = 0; i < LOG_EVENT_COUNT; i++)
		tell_left_out((enum log_event)i);
	tell_lost();
}

/* ---- lines ---- */

bool
log_wants(enum log_level level)
{
	return level <= self.level;
}

static void
log_record_v(const struct log_record *about, const char *format, va_list args)
{
	struct log_record r = *about;
	char message[LOG_MESSAGE_MAX];

	int n = vsnprintf(message, sizeof(message), format, args);
	if (n < 0)
		snprintf(message, sizeof(message), "%s", format);
	else if ((size_t)n >= sizeof(message))
		strcpy(message + sizeof(message) - 4, "...");
	r.role = self.role;
	r.pid = getpid();
	r.message = message;
	if (atomic_load(&lost) > 0)
		tell_lost();
	if (!send_out(&r))
		atomic_fetch_add(&lost, 1);
}

void
log_line(enum log_level level, const char *format, ...)
{
	struct log_record r = { .level = level };
	int saved = errno;
	va_list args;

	va_start(args, format);
	if (level <= self.level && admit(LOG_PLAIN))
		log_record_v(&r, format, args);
	va_end(args);
	errno = saved;
}

void
log_event_at(enum log_level level, enum log_event event, const struct log_about *about,
	     const char *file, int line, const char *function, const char *format, ...)
{
	struct log_record r = {
		.level = level,
		.event = event,
		.about = about,
		.file = file,
		.line = line,
		.function = function,
	};
	int saved = errno;
	va_list args;

	va_start(args, format);
	if (level <= self.level && admit(event))
		log_record_v(&r, format, args);
	va_end(args);
	errno = saved;
}
