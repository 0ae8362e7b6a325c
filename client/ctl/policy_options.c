/* policy_options.c - the options that say when and how often a job runs, as a policy. */
#include "client/ctl/policy_options.h"

#include <stdlib.h>
#include <string.h>

#include "client/ctl/nearest.h"
#include "client/ctl/number.h"
#include "client/ctl/report.h"
#include "client/ctl/units.h"
#include "ipc/clock.h"
#include "ipc/policy.h"

static int
usage(const char *message)
{
	return ctl_fail(EXIT_USAGE, "usage", "%s", message);
}

/* A piece of a word, the spec's. */
static char *
piece(struct policy_spec *spec, const char *text, size_t length)
{
	char *copy = ctl_alloc(length + 1, 1);

	memcpy(copy, text, length);
	spec->texts = ctl_realloc(spec->texts, (spec->text_count + 1) * sizeof *spec->texts);
	spec->texts[spec->text_count++] = copy;
	return copy;
}

/* How many there are between commas in all values of a list. */
static size_t
count_items(const struct option_list *list)
{
	size_t count = 0;

	for (unsigned i = 0; i < list->count; i++) {
		count++;
		for (const char *c = list->value[i]; *c; c++)
			count += *c == ',';
	}
	return count;
}

/* Hand each item between commas to `add`. */
static int
each_item(const struct option_list *list, struct policy_spec *spec,
	  int (*add)(struct policy_spec *spec, char *item))
{
	for (unsigned i = 0; i < list->count; i++) {
		const char *at = list->value[i];
		for (;;) {
			size_t length = strcspn(at, ",");
			int status = add(spec, piece(spec, at, length));
			if (status != 0)
				return status;
			if (at[length] == '\0')
				break;
			at += length + 1;
		}
	}
	return 0;
}

/* ---- attempts ---- */

static int
bad_backoff(const char *text)
{
	return ctl_fail(EXIT_USAGE, "usage",
			"--backoff wants exp:FIRST..LONGEST, exp:FIRST or const:WAIT, such as "
			"exp:1s..5m, not '%s'",
			text);
}

static int
read_exp(const char *text, const char *waits, struct policy_spec *spec)
{
	struct pyprep_policy *p = &spec->policy;
	const char *dots = strstr(waits, "..");
	size_t length = dots ? (size_t)(dots - waits) : strlen(waits);

	if (number_duration(piece(spec, waits, length), &p->backoff_first_ns) < 0 ||
	    (dots && number_duration(dots + 2, &p->backoff_most_ns) < 0))
		return bad_backoff(text);
	if (p->backoff_first_ns == 0)
		return usage("--backoff exp: a wait of 0 would stay 0 when it is doubled; write "
			     "const:0");
	if (dots && p->backoff_most_ns < p->backoff_first_ns)
		return ctl_fail(EXIT_USAGE, "usage",
				"--backoff '%s': the first wait is longer than the longest", text);
	return 0;
}

static int
read_backoff(const char *text, struct policy_spec *spec)
{
	size_t length = strcspn(text, ":");
	const char *waits = text[length] == ':' ? text + length + 1 : NULL;

	spec->policy.backoff = piece(spec, text, length);
	if (strcmp(spec->policy.backoff, "exp") == 0)
		return waits ? read_exp(text, waits, spec) : 0;
	if (strcmp(spec->policy.backoff, "const") == 0 && waits &&
	    number_duration(waits, &spec->policy.backoff_first_ns) == 0)
		return 0;
	return bad_backoff(text);
}

static int
add_retry_on(struct policy_spec *spec, char *item)
{
	static const char *const words[] = { "exit",        "signal", "timeout",
					     "worker_died", "oom",    "error" };
	struct nearest nearest;
	size_t count = 0;
	int64_t status;

	while (spec->retry_on[count])
		count++;
	nearest_begin(&nearest, item);
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		nearest_offer(&nearest, words[i]);
	if (strncmp(item, "exit:", 5) == 0) {
		if (number_int(item + 5, 1, 255, &status) < 0)
			return ctl_fail(EXIT_USAGE, "usage",
					"--retry-on exit:N wants a status from 1 to 255, not '%s'",
					item + 5);
	} else if (nearest.distance != 0) {
		const char *best = nearest_best(&nearest);
		if (best)
			return ctl_fail(EXIT_USAGE, "usage",
					"--retry-on: '%s' is no way to end; did you mean %s?", item,
					best);
		return ctl_fail(EXIT_USAGE, "usage",
				"--retry-on wants some of exit:N,exit,signal,timeout,worker_died,"
				"oom,error, not '%s'",
				item);
	}
	spec->retry_on[count] = item;
	return 0;
}

static int
read_attempts(const struct policy_options *o, struct policy_spec *spec)
{
	const char *lone = o->backoff          ? "--backoff"
			   : o->jitter         ? "--jitter"
			   : o->retry_on.count ? "--retry-on"
					       : NULL;

	if (lone && o->retries == 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"%s is about further attempts: give --retries N, too", lone);
	spec->policy.retries = (unsigned)o->retries;
	spec->policy.jitter = o->jitter;
	int status = o->backoff ? read_backoff(o->backoff, spec) : 0;
	if (status != 0 || o->retry_on.count == 0)
		return status;
	spec->retry_on = ctl_alloc(count_items(&o->retry_on) + 1, sizeof *spec->retry_on);
	spec->policy.retry_on = spec->retry_on;
	return each_item(&o->retry_on, spec, add_retry_on);
}

/* ---- when ---- */

static int
read_at(const char *text, struct policy_spec *spec)
{
	uint64_t now_ns = clock_wall();
	int r = policy_time(text, now_ns, &spec->policy.at_ns);

	if (r == -ERANGE)
		return ctl_fail(EXIT_USAGE, "usage",
				"--at '%s': there is no such time (a day of the month, or an hour "
				"that the clocks skip)",
				text);
	if (r < 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"--at wants a time such as 16:30, 16:30:15, 2026-11-20T16:30:00 or "
				"2026-11-20T16:30:00Z, not '%s'",
				text);
	if (spec->policy.at_ns < now_ns && !ctl.quiet)
		ctl_note("--at %s was %s ago: the job starts at once", text,
			 unit_time_human(now_ns - spec->policy.at_ns).text);
	return 0;
}

static int
add_after(struct policy_spec *spec, char *item)
{
	struct pyprep_after *after = &spec->after[spec->policy.after_count];
	char *colon = strchr(item, ':');

	if (colon && strcmp(colon, ":any") == 0)
		after->any = 1;
	else if (colon && strcmp(colon, ":ok") != 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"--after %s: behind the id comes :ok (it succeeded) or :any (it "
				"ended)",
				item);
	if (colon)
		*colon = '\0';
	if (number_u64(item, &after->id) < 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"--after wants ids of jobs such as 7, 7:any or 7,8:any, not '%s'",
				item);
	for (size_t i = 0; i < spec->policy.after_count; i++)
		if (spec->after[i].id == after->id)
			return ctl_fail(EXIT_USAGE, "usage", "--after names job %s twice", item);
	spec->policy.after_count++;
	return 0;
}

static int
read_when(const struct policy_options *o, struct policy_spec *spec)
{
	if (o->at && o->delay_ns > 0)
		return usage("--delay and --at both say when the job starts; give one of them");
	spec->policy.delay_ns = o->delay_ns;
	spec->policy.hold = o->hold;
	int status = o->at ? read_at(o->at, spec) : 0;
	if (status != 0 || o->after.count == 0)
		return status;
	spec->after = ctl_alloc(count_items(&o->after), sizeof *spec->after);
	spec->policy.after = spec->after;
	return each_item(&o->after, spec, add_after);
}

/* ---- what it takes ---- */

static int
bad_rate(const char *text)
{
	return ctl_fail(EXIT_USAGE, "usage",
			"--rate wants N/TIME such as 5/1s, kind:NAME=5/1s or key:NAME=5/1s, not "
			"'%s'",
			text);
}

/* "1s", "100ms"; "s" is one of them. */
static int
read_window(const char *text, uint64_t *ret_ns)
{
	char one[16];

	if (text[0] < 'a' || text[0] > 'z')
		return number_duration(text, ret_ns);
	snprintf(one, sizeof one, "1%s", text);
	return number_duration(one, ret_ns);
}

/* [GROUP=]N/TIME; a key's name may have a "=" of its own. */
static int
read_rate(const char *text, struct pyprep_rate *rate, struct policy_spec *spec)
{
	const char *equals = strrchr(text, '='), *limit = equals ? equals + 1 : text;
	const char *slash = strchr(limit, '/');
	int64_t count;

	if (equals) {
		rate->group = piece(spec, text, (size_t)(equals - text));
		if (strcmp(rate->group, "kind") == 0)
			rate->group = NULL;
		else if (strncmp(rate->group, "kind:", 5) != 0 &&
			 strncmp(rate->group, "key:", 4) != 0)
			return bad_rate(text);
	}
	if (!slash)
		return bad_rate(text);
	const char *number = piece(spec, limit, (size_t)(slash - limit));
	if (number_int(number, 1, 1000000000, &count) < 0 ||
	    read_window(slash + 1, &rate->window_ns) < 0)
		return bad_rate(text);
	rate->count = (uint32_t)count;
	return 0;
}

static int
read_rates(const struct option_list *list, struct policy_spec *spec)
{
	spec->rates = ctl_alloc(list->count + 1, sizeof *spec->rates);
	spec->policy.rates = spec->rates;
	spec->policy.rate_count = list->count;
	for (unsigned i = 0; i < list->count; i++) {
		int status = read_rate(list->value[i], &spec->rates[i], spec);
		if (status != 0)
			return status;
	}
	return 0;
}

static int
read_needs(const struct option_list *list, struct policy_spec *spec)
{
	spec->needs = ctl_alloc(list->count + 1, sizeof *spec->needs);
	spec->policy.needs = spec->needs;
	spec->policy.need_count = list->count;
	for (unsigned i = 0; i < list->count; i++) {
		const char *text = list->value[i], *equals = strrchr(text, '=');
		int64_t count = 1;
		if (equals == text || text[0] == '\0' ||
		    (equals && number_int(equals + 1, 1, 1000000000, &count) < 0))
			return ctl_fail(EXIT_USAGE, "usage",
					"--need wants NAME or NAME=N with N from 1, such as gpu=2, "
					"not '%s'",
					text);
		spec->needs[i].name =
			piece(spec, text, equals ? (size_t)(equals - text) : strlen(text));
		spec->needs[i].count = (uint64_t)count;
	}
	return 0;
}

static int
read_labels(const struct option_list *list, struct policy_spec *spec)
{
	spec->labels = ctl_alloc(list->count + 1, sizeof *spec->labels);
	spec->policy.labels = spec->labels;
	for (unsigned i = 0; i < list->count; i++) {
		const char *text = list->value[i];
		if (!strchr(text, '=') || text[0] == '=')
			return ctl_fail(EXIT_USAGE, "usage",
					"--label wants NAME=VALUE such as team=blue, not '%s'",
					text);
		spec->labels[i] = text;
	}
	return 0;
}

static int
read_needed(const struct policy_options *o, struct policy_spec *spec)
{
	struct pyprep_policy *p = &spec->policy;

	if (o->if_exists && !o->key)
		return usage("--if-exists says what happens when the key is there: give --key K, "
			     "too");
	if (o->memory_bytes != 0 &&
	    (o->memory_bytes < POLICY_MEMORY_MIN || o->memory_bytes > POLICY_MEMORY_MAX))
		return usage("--memory-limit wants 1M to 64T");
	p->key = o->key;
	p->if_exists = o->if_exists;
	p->cache_ns = o->cache_ns;
	p->keep_ns = o->keep_ns;
	p->memory_bytes = o->memory_bytes;
	p->nice = (int)o->nice;
	p->crash_limit = (unsigned)o->crash_limit;
	int status = read_rates(&o->rate, spec);
	if (status == 0)
		status = read_needs(&o->need, spec);
	return status != 0 ? status : read_labels(&o->label, spec);
}

static bool
any_given(const struct policy_options *o)
{
	return o->retries || o->nice || o->crash_limit || o->backoff || o->jitter || o->at ||
	       o->key || o->if_exists || o->retry_on.count || o->after.count || o->rate.count ||
	       o->need.count || o->label.count || o->delay_ns || o->cache_ns || o->keep_ns ||
	       o->memory_bytes || o->hold;
}

int
policy_options_read(const struct policy_options *options, struct policy_spec *ret)
{
	*ret = (struct policy_spec){ .given = any_given(options) };
	if (!ret->given)
		return 0;
	int status = read_attempts(options, ret);
	if (status == 0)
		status = read_when(options, ret);
	return status != 0 ? status : read_needed(options, ret);
}

void
policy_spec_free(struct policy_spec *spec)
{
	for (size_t i = 0; i < spec->text_count; i++)
		free(spec->texts[i]);
	free(spec->texts);
	free(spec->retry_on);
	free(spec->labels);
	free(spec->after);
	free(spec->rates);
	free(spec->needs);
	*spec = (struct policy_spec){ 0 };
}
