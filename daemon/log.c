/*
 * log.c - lines on stderr, one write(2) each, so that lines of several processes never mix.
 *
 * The role and the level are set by log_open() before a process has threads, and only read
 * afterwards; log_line() may be called from any thread.
 */
#include "daemon/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES    4096 /* what a pipe takes in one piece (PIPE_BUF) */
#define MESSAGE_MAX_BYTES 2048

static struct {
	char role[64];
	enum log_level level;
	bool journal; /* stderr is the journal: it wants <N> and has its own clock */
	bool bad_level_told;
} self = { .role = "pyprepd", .level = LOG_LEVEL_INFO };

static const struct level_row {
	enum log_level level;
	const char *name;
} levels[] = {
	{ LOG_LEVEL_ERROR, "error" },
	{ LOG_LEVEL_WARN, "warn" },
	{ LOG_LEVEL_INFO, "info" },
	{ LOG_LEVEL_DEBUG, "debug" },
};
#define LEVEL_COUNT (sizeof(levels) / sizeof(levels[0]))

static const char *
level_name(enum log_level level)
{
	for (size_t i = 0; i < LEVEL_COUNT; i++)
		if (levels[i].level == level)
			return levels[i].name;
	return "info";
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

void
log_open(const char *role, enum log_level level)
{
	const char *wanted = getenv("PYPREP_LOG");
	bool known = false;

	snprintf(self.role, sizeof(self.role), "%s", role);
	self.level = level;
	self.journal = stderr_is_journal();
	if (wanted == NULL || *wanted == '\0')
		return;
	for (size_t i = 0; i < LEVEL_COUNT; i++)
		if (strcasecmp(wanted, levels[i].name) == 0) {
			self.level = levels[i].level;
			known = true;
		}
	if (!known && !self.bad_level_told) {
		self.bad_level_told = true; /* children inherit it: told once */
		log_warn("PYPREP_LOG is \"%s\"; expected error, warn, info or debug; going on "
			 "with %s",
			 wanted, level_name(level));
	}
}

/* Add `text` so that it can stand between quotes on one line. */
static size_t
escape(char *to, size_t size, const char *text)
{
	size_t used = 0;

	for (; *text != '\0' && used + 5 < size; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\') {
			to[used++] = '\\';
			to[used++] = (char)c;
		} else if (c == '\n' || c == '\t') {
			to[used++] = '\\';
			to[used++] = c == '\n' ? 'n' : 't';
		} else if (c < 0x20 || c == 0x7f) {
			used += (size_t)snprintf(to + used, size - used, "\\x%02x", c);
		} else {
			to[used++] = (char)c;
		}
	}
	to[used] = '\0';
	return used;
}

/* Everything before the message. */
static size_t
begin(char *line, size_t size, enum log_level level)
{
	struct timespec now;
	struct tm utc;
	int n;

	if (self.journal) {
		n = snprintf(line, size, "<%d>level=%s role=%s pid=%d msg=\"", (int)level,
			     level_name(level), self.role, (int)getpid());
		return (size_t)n;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	n = snprintf(line, size,
		     "level=%s role=%s pid=%d time=%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ msg=\"",
		     level_name(level), self.role, (int)getpid(), utc.tm_year + 1900,
		     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
		     now.tv_nsec / 1000000);
	return (size_t)n;
}

void
log_line(enum log_level level, const char *format, ...)
{
	char message[MESSAGE_MAX_BYTES], line[LINE_MAX_BYTES];
	int saved = errno;
	va_list args;

	if (level > self.level)
		return;
	va_start(args, format);
	int n = vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	if (n < 0)
		snprintf(message, sizeof(message), "%s", format);
	else if ((size_t)n >= sizeof(message))
		strcpy(message + sizeof(message) - 4, "...");

	size_t used = begin(line, sizeof(line), level);
	used += escape(line + used, sizeof(line) - used - 2, message);
	line[used++] = '"';
	line[used++] = '\n';
	/* A log that cannot be written has nowhere to say so. */
	while (write(STDERR_FILENO, line, used) < 0 && errno == EINTR)
		;
	errno = saved;
}
