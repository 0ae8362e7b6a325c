/*
 * log.h - one line per thing that happens, on stderr or to the journal.
 *
 *   log_warn("cannot accept: %s; trying again in 100 ms", strerror(errno));
 *   log_event(LOG_LEVEL_WARN, LOG_WORKER_DIED,
 *             ABOUT(.pool = "cpu", .slot = 0, .worker_pid = 12, .signal = 9),
 *             "worker cpu/0 (pid 12) died of signal 9 (Killed)");
 *
 * An event (log_ids.h) has fields beside its sentence, which say what it is about.  The forms:
 *
 *   text     level=warn role=supervisor pid=7 time=2026-11-20T10:00:00.123Z msg="worker cpu/0 ..."
 *   logfmt   the same, and the fields behind it: event=worker_died pool=cpu worker=cpu/0 ...
 *   json     the same as one JSON object a line
 *   journal  fields of the journal: MESSAGE, PRIORITY, MESSAGE_ID, PYPREP_POOL, PYPREP_WORKER, ...
 *   auto     journal when stderr is the journal, text on a terminal, else logfmt
 *
 * Nothing here ever waits: a line that its reader does not take now is lost, and counted.  Nor
 * can a storm fill the log: beyond LOG_EVENTS_A_SECOND of one event, LOG_LINES_A_SECOND of other
 * lines, they are only counted.  Both counts are told later, in a line of their own.
 *
 * Floors 1 and 2 return errors in silence; the daemon says each once, where it is
 * handled, with what happens next.
 */
#ifndef PYPREP_DAEMON_LOG_H
#define PYPREP_DAEMON_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/log_ids.h"

#define LOG_EVENTS_A_SECOND 50u
#define LOG_LINES_A_SECOND  200u

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARN = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

/*        name           word */
#define LOG_FORMATS(X)                 \
	X(LOG_FORMAT_AUTO, "auto")     \
	X(LOG_FORMAT_TEXT, "text")     \
	X(LOG_FORMAT_LOGFMT, "logfmt") \
	X(LOG_FORMAT_JSON, "json")     \
	X(LOG_FORMAT_JOURNAL, "journal")

enum log_format {
#define X(name, word) name,
	LOG_FORMATS(X)
#undef X
		LOG_FORMAT_COUNT
};
extern const char *const log_format_names[LOG_FORMAT_COUNT];
bool log_format_by_name(const char *name, enum log_format *ret);

/* What an event is about; what is 0 or NULL is not said. */
struct log_about {
	uint64_t job;
	unsigned attempt; /* said from the second one on */
	const char *kind, *pool;
	unsigned slot; /* of the worker; said when worker_pid is */
	uint32_t worker_pid;
	const char *cause; /* job_cause_text() */
	int signal, status;
};
#define ABOUT(...) (&(const struct log_about){ __VA_ARGS__ })

void log_open(const char *role, enum log_level level); /* after fork: again */
/* From now on, in this process and those forked later.  LOG_FORMAT_AUTO until it is called. */
void log_format(enum log_format format);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* `about` may be NULL. */
#define log_event(level, event, about, ...) \
	log_event_at((level), (event), (about), __FILE__, __LINE__, __func__, __VA_ARGS__)
void log_event_at(enum log_level level, enum log_event event, const struct log_about *about,
		  const char *file, int line, const char *function, const char *format, ...)
	__attribute__((format(printf, 7, 8)));

/* Would a line of this event be written now?  For those who would work to make one. */
bool log_wants(enum log_level level);

/* Tell what was left out in seconds that are over; is there more to be told later? */
bool log_tick(void);

/* The process ends: tell it now. */
void log_close(void);

/* Where the journal listens, for tests; NULL: /run/systemd/journal/socket. */
void log_journal_at(const char *path);

#endif
