/*
 * policy_fields.c - the keys of a map of policies: what each takes, in words and in code.
 *
 * To add one: a field in policy.h, a function and a row here, a line in policy.c's writing.
 */
#include <inttypes.h>
#include <string.h>

#include "daemon/policy_reading.h"
#include "daemon/policy_words.h"

const char *const backoff_words[] = { "const", "exp" };
const char *const jitter_words[] = { "none", "full" };
const char *const after_words[] = { "ok", "any" };
const char *const exists_words[] = { "reject", "return", "replace" };
const char *const retry_words[] = { "exit", "signal", "timeout", "worker_died", "oom", "error" };

_Static_assert(POLICY_KEY_MAX == STORE_KEY_MAX, "a key is kept as it was given");

/* ---- attempts ---- */

static enum job_error
read_retries(struct reading *r, const struct value *v)
{
	int64_t n = 0;
	enum job_error error = policy_take_int(r, v, 0, POLICY_RETRIES_MAX, &n);

	r->p.retries = (uint32_t)n;
	return error;
}

static enum job_error
read_backoff(struct reading *r, const struct value *v)
{
	unsigned kind = 0;
	int64_t first = 0, most = 0;

	if (v->type != VALUE_LIST || v->count != 3)
		return policy_refuse_value(r, ERR_BAD_TYPE, v);
	enum job_error error = policy_next_word(r, backoff_words, 2, &kind);
	if (error == ERR_NONE)
		error = policy_next_int(r, 0, POLICY_WAIT_MAX, &first);
	if (error == ERR_NONE)
		error = policy_next_int(r, 0, POLICY_WAIT_MAX, &most);
	if (error != ERR_NONE)
		return error;
	if (most < first)
		return policy_refuse(r, ERR_OUT_OF_RANGE,
				     "backoff: the first wait, %" PRId64 " ns, is longer than the "
				     "longest, %" PRId64 " ns",
				     first, most);
	if (kind == BACKOFF_EXP && first == 0)
		return policy_refuse(r, ERR_OUT_OF_RANGE,
				     "backoff: twice 0 stays 0; let \"exp\" begin above 0, or say "
				     "\"const\"");
	r->p.backoff = kind;
	r->p.backoff_first_ns = (uint64_t)first;
	r->p.backoff_most_ns = (uint64_t)most;
	return ERR_NONE;
}

static enum job_error
read_jitter(struct reading *r, const struct value *v)
{
	unsigned full = 0;
	enum job_error error = policy_take_word(r, v, jitter_words, 2, &full);

	r->p.jitter = full == 1;
	r->has_jitter = true;
	return error;
}

/* "exit:N" */
static bool
exit_status(struct piece t, uint8_t *ret)
{
	unsigned value = 0;

	if (t.length < 6 || t.length > 8 || memcmp(t.at, "exit:", 5) != 0 || t.at[5] == '0')
		return false;
	for (uint32_t i = 5; i < t.length; i++) {
		if (t.at[i] < '0' || t.at[i] > '9')
			return false;
		value = 10 * value + (unsigned)(t.at[i] - '0');
	}
	*ret = (uint8_t)value;
	return value <= UINT8_MAX;
}

static enum job_error
add_exit(struct reading *r, uint8_t status)
{
	for (unsigned i = 0; i < r->p.exit_count; i++)
		if (r->p.exits[i] == status)
			return ERR_NONE;
	if (r->p.exit_count == POLICY_LIST_MAX)
		return policy_refuse(
			r, ERR_OUT_OF_RANGE,
			"retry_on names more than %u exit statuses; \"exit\" means all",
			POLICY_LIST_MAX);
	r->p.exits[r->p.exit_count++] = status;
	return ERR_NONE;
}

static enum job_error
read_retry_on(struct reading *r, const struct value *v)
{
	enum job_error error = policy_take_list(r, v, RETRY_WORDS + POLICY_LIST_MAX);

	r->p.retry_on = 0;
	for (uint32_t i = 0; error == ERR_NONE && i < v->count; i++) {
		struct value word;
		uint8_t status;
		unsigned bit = 0;
		error = policy_next(r, &word);
		if (error != ERR_NONE)
			break;
		if (word.type == VALUE_TEXT &&
		    exit_status((struct piece){ word.text, word.length }, &status)) {
			error = add_exit(r, status);
			continue;
		}
		error = policy_take_word(r, &word, retry_words, RETRY_WORDS, &bit);
		if (error == ERR_NONE)
			r->p.retry_on |= 1u << bit;
	}
	return error;
}

/* ---- when ---- */

/* Never later than what read_at() takes. */
static uint64_t
later(uint64_t now_ns, uint64_t wait_ns)
{
	return now_ns > INT64_MAX - wait_ns ? INT64_MAX : now_ns + wait_ns;
}

static enum job_error
read_delay(struct reading *r, const struct value *v)
{
	int64_t ns = 0;
	enum job_error error = policy_take_int(r, v, 0, POLICY_WAIT_MAX, &ns);

	if (error == ERR_NONE && ns > 0)
		r->p.at_ns = later(r->now_wall_ns, (uint64_t)ns);
	r->has_delay = true;
	return error;
}

static enum job_error
read_at(struct reading *r, const struct value *v)
{
	int64_t ns = 0;
	enum job_error error = policy_take_int(r, v, 0, INT64_MAX, &ns);

	if (error == ERR_NONE && !r->has_delay)
		r->p.at_ns = (uint64_t)ns;
	r->has_at = true;
	return error;
}

static enum job_error
read_after(struct reading *r, const struct value *v)
{
	enum job_error error = policy_take_list(r, v, POLICY_PARENTS);

	for (uint32_t i = 0; error == ERR_NONE && i < v->count; i++) {
		int64_t id = 0;
		unsigned mode = 0;
		error = policy_next_tuple(r, 2);
		if (error == ERR_NONE)
			error = policy_next_int(r, 1, INT64_MAX, &id);
		if (error == ERR_NONE)
			error = policy_next_word(r, after_words, 2, &mode);
		for (uint32_t j = 0; error == ERR_NONE && j < i; j++)
			if (r->parents[j].id == (uint64_t)id)
				error = policy_refuse(r, ERR_BAD_REQUEST,
						      "after names job %" PRId64 " twice", id);
		r->parents[i] = (struct policy_parent){ (uint64_t)id, mode };
		r->p.parent_count = i + 1;
	}
	return error;
}

static enum job_error
read_held(struct reading *r, const struct value *v)
{
	if (v->type != VALUE_BOOL)
		return policy_refuse_value(r, ERR_BAD_TYPE, v);
	r->p.held = v->boolean;
	return ERR_NONE;
}

static enum job_error
read_key(struct reading *r, const struct value *v)
{
	return policy_take_text(r, v, 1, POLICY_KEY_MAX, &r->key);
}

static enum job_error
read_if_exists(struct reading *r, const struct value *v)
{
	unsigned word = 0;
	enum job_error error = policy_take_word(r, v, exists_words, 3, &word);

	r->p.if_exists = word;
	r->has_if_exists = true;
	return error;
}

static enum job_error
read_cache(struct reading *r, const struct value *v)
{
	int64_t ns = 0;
	enum job_error error = policy_take_int(r, v, 1, POLICY_WAIT_MAX, &ns);

	r->p.cache_ns = (uint64_t)ns;
	return error;
}

static enum job_error
read_keep(struct reading *r, const struct value *v)
{
	int64_t ns = 0;
	enum job_error error = policy_take_int(r, v, 1, POLICY_WAIT_MAX, &ns);

	r->p.keep_ns = (uint64_t)ns;
	return error;
}

/* ---- what it takes ---- */

static bool
is_group(struct piece t)
{
	static const char *const roads[] = { "kind:", "key:" };

	for (unsigned i = 0; i < 2; i++) {
		size_t length = strlen(roads[i]);
		if (t.length > length && memcmp(t.at, roads[i], length) == 0)
			return true;
	}
	return false;
}

/* The same group twice is fine: 5 a second, and 100 a minute. */
static enum job_error
read_rate(struct reading *r, const struct value *v)
{
	enum job_error error = policy_take_list(r, v, POLICY_LIST_MAX);

	for (uint32_t i = 0; error == ERR_NONE && i < v->count; i++) {
		struct policy_rate *rate = &r->rates[i];
		struct piece group = { 0 };
		int64_t count = 0, window_ns = 0;
		error = policy_next_tuple(r, 3);
		if (error == ERR_NONE)
			error = policy_next_text(r, 1, POLICY_NAME_MAX, &group);
		if (error == ERR_NONE && !is_group(group))
			error = policy_refuse(r, ERR_OUT_OF_RANGE,
					      "rate: a group is \"kind:NAME\" or \"key:NAME\", got "
					      "\"%.*s\"",
					      (int)group.length, group.at);
		if (error == ERR_NONE)
			error = policy_next_int(r, 1, POLICY_COUNT_MAX, &count);
		if (error == ERR_NONE)
			error = policy_next_int(r, POLICY_WINDOW_MIN, POLICY_WAIT_MAX, &window_ns);
		if (error != ERR_NONE)
			break;
		*rate = (struct policy_rate){ .count = (uint32_t)count,
					      .window_ns = (uint64_t)window_ns };
		memcpy(rate->group, group.at, group.length);
		r->p.rate_count = i + 1;
	}
	return error;
}

static enum job_error
read_need(struct reading *r, const struct value *v)
{
	enum job_error error = policy_take_list(r, v, POLICY_LIST_MAX);

	for (uint32_t i = 0; error == ERR_NONE && i < v->count; i++) {
		struct policy_need *need = &r->needs[i];
		struct piece name = { 0 };
		int64_t count = 0;
		error = policy_next_tuple(r, 2);
		if (error == ERR_NONE)
			error = policy_next_text(r, 1, POLICY_NAME_MAX, &name);
		for (uint32_t j = 0; error == ERR_NONE && j < i; j++)
			if (piece_is(name, r->needs[j].name))
				error = policy_refuse_twice(r, name);
		if (error == ERR_NONE)
			error = policy_next_int(r, 1, POLICY_COUNT_MAX, &count);
		if (error != ERR_NONE)
			break;
		*need = (struct policy_need){ .count = (uint64_t)count };
		memcpy(need->name, name.at, name.length);
		r->p.need_count = i + 1;
	}
	return error;
}

static enum job_error
read_memory(struct reading *r, const struct value *v)
{
	int64_t bytes = 0;
	enum job_error error = policy_take_int(r, v, POLICY_MEMORY_MIN, POLICY_MEMORY_MAX, &bytes);

	r->p.memory_bytes = (uint64_t)bytes;
	return error;
}

static enum job_error
read_nice(struct reading *r, const struct value *v)
{
	int64_t n = 0;
	enum job_error error = policy_take_int(r, v, 0, POLICY_NICE_MAX, &n);

	r->p.nice = (int)n;
	return error;
}

static enum job_error
read_labels(struct reading *r, const struct value *v)
{
	enum job_error error = policy_take_list(r, v, POLICY_LIST_MAX);

	for (uint32_t i = 0; error == ERR_NONE && i < v->count; i++) {
		struct piece *name = &r->label_names[i];
		error = policy_next_tuple(r, 2);
		if (error == ERR_NONE)
			error = policy_next_text(r, 1, POLICY_NAME_MAX, name);
		/* `ls --filter NAME=VALUE` could not name it */
		if (error == ERR_NONE && memchr(name->at, '=', name->length) != NULL)
			error = policy_refuse(r, ERR_OUT_OF_RANGE,
					      "labels: a name has no \"=\", got \"%.*s\"",
					      (int)name->length, name->at);
		for (uint32_t j = 0; error == ERR_NONE && j < i; j++)
			if (pieces_equal(*name, r->label_names[j]))
				error = policy_refuse_twice(r, *name);
		if (error == ERR_NONE)
			error = policy_next_text(r, 0, POLICY_TEXT_MAX, &r->label_values[i]);
		r->p.label_count = i + 1;
	}
	return error;
}

static enum job_error
read_crash_limit(struct reading *r, const struct value *v)
{
	int64_t n = 0;
	enum job_error error = policy_take_int(r, v, 1, POLICY_CRASHES_MAX, &n);

	r->p.crash_limit = (uint32_t)n;
	return error;
}

#define NS_RANGE "nanoseconds, at most ten years"

const struct field policy_fields[] = {
	{ "retries", read_retries, "an integer between 0 and 10000" },
	{ "backoff", read_backoff,
	  "a list of \"const\" or \"exp\", the first and the longest wait in " NS_RANGE },
	{ "jitter", read_jitter, "\"none\" or \"full\"" },
	{ "retry_on", read_retry_on,
	  "a list of \"exit:N\" (1 to 255), \"exit\", \"signal\", \"timeout\", \"worker_died\", "
	  "\"oom\", \"error\"" },
	{ "delay", read_delay, NS_RANGE },
	{ "at", read_at, "a time in nanoseconds since 1970" },
	{ "after", read_after, "a list of 1 to 256 [job's id, \"ok\" or \"any\"]" },
	{ "held", read_held, "true or false" },
	{ "key", read_key, "UTF-8 text of 1 to 127 bytes without control characters" },
	{ "if_exists", read_if_exists, "\"reject\", \"return\" or \"replace\"" },
	{ "cache", read_cache, "1 or more " NS_RANGE },
	{ "keep", read_keep, "1 or more " NS_RANGE },
	{ "rate", read_rate,
	  "a list of 1 to 16 [group of at most 63 bytes, jobs from 1 to 1000000000, window in ns "
	  "from 1 ms to ten years]" },
	{ "need", read_need,
	  "a list of 1 to 16 [name of 1 to 63 bytes, number from 1 to 1000000000]" },
	{ "memory", read_memory, "a number of bytes between 1 MiB and 64 TiB" },
	{ "nice", read_nice, "an integer between 0 and 19" },
	{ "labels", read_labels,
	  "a list of 1 to 16 [name of 1 to 63 bytes, value of 0 to 127 bytes], UTF-8 without "
	  "control "
	  "characters" },
	{ "crash_limit", read_crash_limit, "an integer between 1 and 1000" },
};
const size_t policy_field_count = sizeof(policy_fields) / sizeof(policy_fields[0]);
_Static_assert(sizeof(policy_fields) / sizeof(policy_fields[0]) <= POLICY_FIELDS_MAX,
	       "raise POLICY_FIELDS_MAX");
