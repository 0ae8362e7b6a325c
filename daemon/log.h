/*
 * log.h - one line per event on stderr: logfmt with role and pid; under systemd with
 * the <N> priority prefix the journal understands.
 *
 *   level=warn role=supervisor pid=12 msg="worker cpu/0 died" signal=9 next="restarting"
 *
 * Floors 1 and 2 return errors in silence; the daemon says each once, where it is
 * handled, with what happens next.
 */
#ifndef PYPREP_DAEMON_LOG_H
#define PYPREP_DAEMON_LOG_H

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARN = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

void log_open(const char *role, enum log_level level); /* after fork: again */
void log_line(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
