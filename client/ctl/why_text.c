/* why_text.c - what a job waits for, in sentences; see why.h. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/units.h"
#include "client/ctl/why.h"

uint64_t
why_u64(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

const char *
why_str(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

static const char *
plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

#define COUNT(n) unit_count_human(n).text
#define TIME(ns) unit_time_human(ns).text

/* ---- putting a sentence together ---- */

struct words {
	char *text;
	size_t size, used;
};

static void say(struct words *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
say(struct words *w, const char *format, ...)
{
	va_list args;

	if (w->used >= w->size)
		return;
	va_start(args, format);
	int n = vsnprintf(w->text + w->used, w->size - w->used, format, args);
	va_end(args);
	w->used += n > 0 ? (size_t)n : 0;
}

/* "job 17 (sleep, running for 3.2 s), job 18 (noop, queued)" */
static void
say_jobs(struct words *w, const json_t *list, uint64_t count)
{
	const json_t *job;
	size_t i;

	for (i = 0; i < json_array_size(list); i++) {
		job = json_array_get(list, i);
		say(w, "%sjob %" PRIu64, i > 0 ? ", " : "", why_u64(job, "id"));
		if (why_str(job, "state")[0] == '\0')
			continue;
		say(w, " (%s, %s", why_str(job, "kind"), why_str(job, "state"));
		if (json_is_integer(json_object_get(job, "for_ns")))
			say(w, " for %s", TIME(why_u64(job, "for_ns")));
		say(w, ")");
	}
	if (count > json_array_size(list))
		say(w, " and %s more", COUNT(count - json_array_size(list)));
}

/* ---- one function a reason ---- */

struct sentence {
	const json_t *job, *reason;
	struct words words;
	struct words remedy;
};

static bool
text_store(struct sentence *s)
{
	const char *trouble = why_str(s->reason, "trouble");

	if (trouble[0])
		say(&s->words, "the store cannot be written: %s; it is tried again every second",
		    trouble);
	else
		say(&s->words, "it is being written to the store");
	return false;
}

static bool
text_time(struct sentence *s)
{
	say(&s->words, "it is to start in %s, by its delay", TIME(why_u64(s->reason, "in_ns")));
	return false;
}

static bool
text_backoff(struct sentence *s)
{
	say(&s->words, "attempt %" PRIu64 " begins in %s, by its backoff",
	    why_u64(s->reason, "attempt"), TIME(why_u64(s->reason, "in_ns")));
	return false;
}

static bool
text_dependency(struct sentence *s)
{
	say(&s->words, "it waits for the end of ");
	say_jobs(&s->words, json_object_get(s->reason, "jobs"), why_u64(s->reason, "count"));
	return false;
}

static bool
text_held(struct sentence *s)
{
	say(&s->words, "it is held");
	say(&s->remedy, "pyprepctl release %" PRIu64, why_u64(s->job, "id"));
	return true;
}

static bool
text_resource(struct sentence *s)
{
	uint64_t asked = why_u64(s->reason, "asked"), limit = why_u64(s->reason, "limit");
	uint64_t ahead = why_u64(s->reason, "ahead");
	const char *name = why_str(s->reason, "name");

	say(&s->words, "resource %s: %" PRIu64 " of %" PRIu64 " used, and it needs %" PRIu64, name,
	    why_u64(s->reason, "used"), limit, asked);
	if (json_array_size(json_object_get(s->reason, "holders")) > 0) {
		say(&s->words, "; used by ");
		say_jobs(&s->words, json_object_get(s->reason, "holders"),
			 why_u64(s->reason, "count"));
	}
	if (ahead > 0)
		say(&s->words, "; %s job%s before it there", COUNT(ahead),
		    ahead == 1 ? " is" : "s are");
	if (asked > limit)
		say(&s->words, "; the configuration has no more than %" PRIu64, limit);
	return false;
}

static bool
text_rate(struct sentence *s)
{
	uint64_t ahead = why_u64(s->reason, "ahead"), in_ns = why_u64(s->reason, "in_ns");

	say(&s->words, "rate of %s: %" PRIu64 " of %" PRIu64 " starts within %s are used",
	    why_str(s->reason, "group"), why_u64(s->reason, "used"), why_u64(s->reason, "limit"),
	    TIME(why_u64(s->reason, "window_ns")));
	if (in_ns > 0)
		say(&s->words, "; the next is free in %s", TIME(in_ns));
	if (ahead > 0)
		say(&s->words, "; %s job%s before it there", COUNT(ahead),
		    ahead == 1 ? " is" : "s are");
	return false;
}

static bool
resume(struct sentence *s, const char *what)
{
	say(&s->words, "pool %s %s", why_str(s->job, "pool"), what);
	say(&s->remedy, "pyprepctl pool resume %s", why_str(s->job, "pool"));
	return true;
}

static bool
text_drain(struct sentence *s)
{
	return resume(s, "is being drained, and starts no detached job");
}

static bool
text_paused(struct sentence *s)
{
	return resume(s, "is paused");
}

static bool
text_failed(struct sentence *s)
{
	return resume(s, "has failed: its workers died at start, see the daemon's log");
}

static bool
text_alone(struct sentence *s)
{
	say(&s->words, "it has killed workers, and waits for a fresh one to run there alone");
	return false;
}

static bool
text_cache(struct sentence *s)
{
	const json_t *job = json_object_get(s->reason, "job");

	if (why_u64(job, "id") == 0)
		say(&s->words, "the result of one like it is there: it is about to get it");
	else
		say(&s->words,
		    "job %" PRIu64 ", which is the same, runs for %s: it gets that one's result, "
		    "or runs itself if that one fails",
		    why_u64(job, "id"), TIME(why_u64(job, "for_ns")));
	return false;
}

static bool
text_client(struct sentence *s)
{
	say(&s->words, "its client does not read its results; it goes on when they are read");
	return false;
}

/* What makes it start now stands with the workers. */
static bool
text_ahead(struct sentence *s)
{
	uint64_t count = why_u64(s->reason, "count"), higher = why_u64(s->reason, "higher");
	bool exact = json_is_true(json_object_get(s->reason, "exact"));

	say(&s->words, "%s%s job%s before it", exact ? "" : "about ", COUNT(count),
	    count == 1 ? " goes" : "s go");
	if (higher > 0 && higher < count)
		say(&s->words, ", %s of them of a higher priority", COUNT(higher));
	else if (higher > 0)
		say(&s->words, ", of a higher priority");
	say(&s->words, " (strategy %s): ", why_str(s->reason, "strategy"));
	say_jobs(&s->words, json_object_get(s->reason, "jobs"), count);
	return true;
}

static void
say_needed(struct sentence *s)
{
	uint64_t needed = why_u64(s->reason, "needed");

	if (needed == 0)
		return;
	say(&s->words, "; it would start now with %" PRIu64 " worker%s", needed, plural(needed));
	say(&s->remedy, "pyprepctl pool resize %s %" PRIu64, why_str(s->job, "pool"), needed);
}

static bool
text_busy(struct sentence *s)
{
	uint64_t workers = why_u64(s->reason, "workers"), at_once = why_u64(s->reason, "at_once");

	if (workers == 1)
		say(&s->words, "the only worker");
	else if (workers == 2)
		say(&s->words, "both workers");
	else
		say(&s->words, "all %" PRIu64 " workers", workers);
	say(&s->words, " of pool %s %s busy", why_str(s->job, "pool"), workers == 1 ? "is" : "are");
	if (at_once > 1)
		say(&s->words, " (%" PRIu64 " jobs at once each)", at_once);
	if (json_array_size(json_object_get(s->reason, "running")) > 0) {
		say(&s->words, " with ");
		say_jobs(&s->words, json_object_get(s->reason, "running"),
			 why_u64(s->reason, "busy"));
	}
	say_needed(s);
	return s->remedy.used > 0;
}

static bool
text_no_workers(struct sentence *s)
{
	say(&s->words, "pool %s has no workers", why_str(s->job, "pool"));
	say_needed(s);
	return s->remedy.used > 0;
}

static bool
text_starting(struct sentence *s)
{
	say(&s->words, "none of the %" PRIu64 " worker%s of pool %s is ready yet",
	    why_u64(s->reason, "size"), plural(why_u64(s->reason, "size")),
	    why_str(s->job, "pool"));
	return false;
}

static const struct {
	const char *word;
	bool (*text)(struct sentence *s); /* can something be done about it? */
} reasons[] = {
	{ "store", text_store },
	{ "time", text_time },
	{ "backoff", text_backoff },
	{ "dependency", text_dependency },
	{ "held", text_held },
	{ "resource", text_resource },
	{ "rate", text_rate },
	{ "drain", text_drain },
	{ "cache", text_cache },
	{ "alone", text_alone },
	{ "client", text_client },
	{ "paused", text_paused },
	{ "failed", text_failed },
	{ "draining", text_drain },
	{ "ahead", text_ahead },
	{ "busy", text_busy },
	{ "no_workers", text_no_workers },
	{ "starting", text_starting },
};

bool
why_reason(const json_t *job, const json_t *reason, char *text, size_t size, char *remedy,
	   size_t remedy_size)
{
	struct sentence s = { job, reason, { text, size, 0 }, { remedy, remedy_size, 0 } };
	const char *word = why_str(reason, "reason");

	text[0] = remedy[0] = '\0';
	for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
		if (strcmp(reasons[i].word, word) == 0)
			return reasons[i].text(&s);
	say(&s.words, "%s", word);
	return false;
}

/* ---- figures ---- */

void
why_start(const json_t *job, char *text, size_t size)
{
	static const struct {
		const char *unknown, *words;
	} known[] = {
		{ "overdue", "what runs there takes longer than any such job before" },
		{ "pool", "its pool starts nothing now" },
		{ "no_workers", "its pool has no workers" },
		{ "held", "it is held" },
		{ "dependency", "nobody can say when the jobs end that it waits for" },
		{ "resource", "nobody can say when the resource is free" },
		{ "rate", "nobody can say when its turn is" },
		{ "cache", "it is not to run" },
		{ "store", "it is not in the store yet" },
		{ "alone", "it waits for a fresh worker" },
		{ "drain", "its pool is being drained" },
		{ "client", "its client does not read" },
		{ "no_memory", "the daemon has no memory to work it out" },
	};
	const json_t *start = json_object_get(job, "start");
	const char *unknown = why_str(start, "unknown");
	struct words w = { text, size, 0 };

	text[0] = '\0';
	if (!json_is_object(start))
		return;
	if (strcmp(unknown, "no_history") == 0) {
		say(&w, "when it starts is not known: no job of kind %s has ended on pool %s yet",
		    why_str(start, "kind"), why_str(job, "pool"));
		return;
	}
	for (size_t i = 0; unknown[0] && i < sizeof known / sizeof known[0]; i++)
		if (strcmp(known[i].unknown, unknown) == 0)
			say(&w, "when it starts is not known: %s", known[i].words);
	if (unknown[0])
		return;
	uint64_t low = why_u64(start, "p10_ns"), high = why_u64(start, "p90_ns");
	uint64_t runs = why_u64(start, "runs");
	if (high == 0)
		say(&w, "it starts at once");
	else if (runs == 0)
		say(&w, "it starts in %s", TIME(high));
	else
		say(&w, "it starts in %s to %s, about %s (p10 to p90, by %s run%s)", TIME(low),
		    TIME(high), TIME(why_u64(start, "p50_ns")), COUNT(runs), plural(runs));
}

void
why_runs(const json_t *job, char *text, size_t size)
{
	const json_t *runs = json_object_get(job, "runs");

	if (!json_is_object(runs))
		snprintf(text, size, "no job of kind %s has ended on pool %s yet",
			 why_str(job, "kind"), why_str(job, "pool"));
	else
		snprintf(text, size,
			 "such jobs run for %s to %s there, about %s (p10 to p90 of %s)",
			 TIME(why_u64(runs, "p10_ns")), TIME(why_u64(runs, "p90_ns")),
			 TIME(why_u64(runs, "p50_ns")), COUNT(why_u64(runs, "count")));
}
