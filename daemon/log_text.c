/* log_text.c - how a line looks: as text for people and logfmt, or as JSON; log.h lists the forms.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daemon/log_record.h"

#define X(name, word) [name] = word,
const char *const log_format_names[LOG_FORMAT_COUNT] = { LOG_FORMATS(X) };
#undef X

#define X(name, word, id) [name] = { word, id },
static const struct event_row {
	const char *word, *id;
} events[LOG_EVENT_COUNT] = { LOG_EVENTS(X) };
#undef X

const char *
log_level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "error";
	case LOG_LEVEL_WARN:
		return "warn";
	case LOG_LEVEL_INFO:
		return "info";
	case LOG_LEVEL_DEBUG:
		return "debug";
	}
	return "info";
}

const char *
log_event_word(enum log_event event)
{
	return event < LOG_EVENT_COUNT ? events[event].word : NULL;
}

const char *
log_event_id(enum log_event event)
{
	return event < LOG_EVENT_COUNT ? events[event].id : NULL;
}

/* ---- the fields ---- */

static void add_field(struct log_field *fields, unsigned *count, const char *name, bool number,
		      const char *format, ...) __attribute__((format(printf, 5, 6)));

static void
add_field(struct log_field *fields, unsigned *count, const char *name, bool number,
	  const char *format, ...)
{
	struct log_field *f = &fields[(*count)++];
	va_list args;

	f->name = name;
	f->number = number;
	va_start(args, format);
	vsnprintf(f->text, sizeof(f->text), format, args);
	va_end(args);
}

unsigned
log_fields(const struct log_record *r, struct log_field ret[LOG_FIELDS_MAX])
{
	static const struct log_about nothing;
	const struct log_about *a = r->about != NULL ? r->about : &nothing;
	unsigned n = 0;

	if (r->event != LOG_PLAIN)
		add_field(ret, &n, "event", false, "%s", log_event_word(r->event));
	if (a->job != 0)
		add_field(ret, &n, "job", true, "%llu", (unsigned long long)a->job);
	if (a->attempt > 1)
		add_field(ret, &n, "attempt", true, "%u", a->attempt);
	if (a->kind != NULL)
		add_field(ret, &n, "kind", false, "%s", a->kind);
	if (a->pool != NULL)
		add_field(ret, &n, "pool", false, "%s", a->pool);
	if (a->worker_pid != 0) {
		add_field(ret, &n, "worker", false, "%s/%u", a->pool != NULL ? a->pool : "",
			  a->slot);
		add_field(ret, &n, "worker_pid", true, "%u", a->worker_pid);
	}
	if (a->cause != NULL)
		add_field(ret, &n, "cause", false, "%s", a->cause);
	if (a->signal != 0)
		add_field(ret, &n, "signal", true, "%d", a->signal);
	if (a->status != 0)
		add_field(ret, &n, "status", true, "%d", a->status);
	return n;
}

/* ---- writing into a line that ends somewhere ---- */

struct out {
	char *at, *end; /* nothing is written at or beyond `end` */
};

static void put(struct out *o, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* All of it or nothing. */
static void
put(struct out *o, const char *format, ...)
{
	size_t room = (size_t)(o->end - o->at);
	va_list args;

	va_start(args, format);
	int n = vsnprintf(o->at, room, format, args);
	va_end(args);
	if (n >= 0 && (size_t)n < room)
		o->at += n;
}

static void
put_bytes(struct out *o, const char *bytes, size_t count)
{
	if ((size_t)(o->end - o->at) <= count)
		return;
	memcpy(o->at, bytes, count);
	o->at += count;
}

static void
put_time(struct out *o)
{
	struct timespec now;
	struct tm utc;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	put(o, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", utc.tm_year + 1900, utc.tm_mon + 1,
	    utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_nsec / 1000000);
}

/* So that it can stand between quotes on one line; the end is cut off when there is no room. */
static void
put_escaped(struct out *o, const char *text)
{
	for (; *text != '\0' && o->end - o->at > 5; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\')
			put(o, "\\%c", c);
		else if (c == '\n' || c == '\t')
			put(o, "\\%c", c == '\n' ? 'n' : 't');
		else if (c < 0x20 || c == 0x7f)
			put(o, "\\x%02x", c);
		else
			*o->at++ = (char)c;
	}
}

/* ---- text, logfmt ---- */

static void
put_fields(struct out *o, const struct log_record *r)
{
	struct log_field fields[LOG_FIELDS_MAX];
	unsigned count = log_fields(r, fields);

	for (unsigned i = 0; i < count; i++)
		put(o, " %s=%s", fields[i].name, fields[i].text);
}

size_t
log_as_text(const struct log_record *r, bool fields, bool prefix, char line[LOG_LINE_MAX])
{
	char behind[LOG_FIELDS_MAX * 96];
	struct out o = { line, line + LOG_LINE_MAX };
	struct out last = { behind, behind + sizeof(behind) };

	if (fields)
		put_fields(&last, r);
	size_t room = (size_t)(last.at - behind) + 2; /* for them, the quote, the newline */
	if (prefix)
		put(&o, "<%d>", (int)r->level);
	put(&o, "level=%s role=%s pid=%d ", log_level_name(r->level), r->role, (int)r->pid);
	if (!prefix) {
		put(&o, "time=");
		put_time(&o);
		put(&o, " ");
	}
	put(&o, "msg=\"");
	o.end -= room;
	put_escaped(&o, r->message);
	*o.at++ = '"';
	memcpy(o.at, behind, room - 2);
	o.at += room - 2;
	*o.at++ = '\n';
	return (size_t)(o.at - line);
}

/* ---- JSON ---- */

/* Bytes of the well-formed UTF-8 character at `s`; 0: it is none. */
static size_t
utf8_length(const unsigned char *s)
{
	static const struct {
		unsigned char low, high, second_low, second_high;
		size_t length;
	} forms[] = {
		{ 0x01, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (s[0] < forms[i].low || s[0] > forms[i].high)
			continue;
		if (forms[i].length > 1 &&
		    (s[1] < forms[i].second_low || s[1] > forms[i].second_high))
			return 0;
		for (size_t n = 2; n < forms[i].length; n++)
			if ((s[n] & 0xc0) != 0x80)
				return 0;
		return forms[i].length;
	}
	return 0;
}

static void
put_json_text(struct out *o, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	while (*s != '\0' && o->end - o->at > 7) {
		size_t length = utf8_length(s);
		if (length == 0)
			put(o, "\\ufffd");
		else if (*s == '"' || *s == '\\')
			put(o, "\\%c", *s);
		else if (*s < 0x20 || *s == 0x7f)
			put(o, "\\u%04x", *s);
		else
			put_bytes(o, (const char *)s, length);
		s += length > 0 ? length : 1;
	}
}

size_t
log_as_json(const struct log_record *r, char line[LOG_LINE_MAX])
{
	struct log_field fields[LOG_FIELDS_MAX];
	struct out o = { line, line + LOG_LINE_MAX };
	unsigned count = log_fields(r, fields);

	put(&o, "{\"schema\":\"pyprep.log/1\",\"time\":\"");
	put_time(&o);
	put(&o, "\",\"level\":\"%s\",\"role\":\"%s\",\"pid\":%d", log_level_name(r->level), r->role,
	    (int)r->pid);
	for (unsigned i = 0; i < count; i++) {
		const char *quote = fields[i].number ? "" : "\"";
		put(&o, ",\"%s\":%s%s%s", fields[i].name, quote, fields[i].text, quote);
	}
	if (r->event != LOG_PLAIN)
		put(&o, ",\"message_id\":\"%s\"", log_event_id(r->event));
	/* Last, so that it is what is cut. */
	put(&o, ",\"msg\":\"");
	o.end -= 3;
	put_json_text(&o, r->message);
	memcpy(o.at, "\"}\n", 3);
	return (size_t)(o.at + 3 - line);
}
