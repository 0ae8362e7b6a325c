/* log_record.h - one line of the log before it has a form; shared by the log_*.c. */
#ifndef PYPREP_DAEMON_LOG_RECORD_H
#define PYPREP_DAEMON_LOG_RECORD_H

#include <sys/types.h>

#include "daemon/log.h"

#define LOG_LINE_MAX    4096u /* what a pipe takes in one piece (PIPE_BUF) */
#define LOG_MESSAGE_MAX 2048u
#define LOG_FIELDS_MAX  12u

struct log_record {
	enum log_level level;
	enum log_event event;          /* LOG_PLAIN: none */
	const struct log_about *about; /* NULL: nothing */
	const char *role;
	pid_t pid;
	const char *message;
	const char *file, *function; /* NULL: not known */
	int line;
};

/* A field of a record: "pool"; in the journal PYPREP_POOL. */
struct log_field {
	const char *name;
	char text[80];
	bool number;
};
unsigned log_fields(const struct log_record *r, struct log_field ret[LOG_FIELDS_MAX]);

const char *log_level_name(enum log_level level);
const char *log_event_word(enum log_event event); /* NULL: LOG_PLAIN */
const char *log_event_id(enum log_event event);

/* The whole line with its newline, at most LOG_LINE_MAX bytes; its length.  `prefix`: with the
 * <N> that the journal reads from a service's stderr, and without the time, which it has itself. */
size_t log_as_text(const struct log_record *r, bool fields, bool prefix, char line[LOG_LINE_MAX]);
size_t log_as_json(const struct log_record *r, char line[LOG_LINE_MAX]);

/* log_journal.c: 0; -EAGAIN: the journal does not take it now; other -errno: there is none. */
int log_to_journal(const struct log_record *r);

#endif
