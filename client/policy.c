/*
 * policy.c - when and how often a job runs: a struct pyprep_policy, checked and packed into the
 * map of daemon/policy.h.  The broker checks it again; what is said here needs no round trip.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/internal.h"
#include "ipc/policy.h"
#include "ipc/text.h"

/* One policy_pack() at work. */
struct packing {
	const struct pyprep_policy *policy;
	const char *kind;
	msgpack_packer pk;
	unsigned entries;
	struct pyprep_problem *why;
};

static int refuse(struct packing *p, enum job_error error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int
refuse(struct packing *p, enum job_error error, const char *format, ...)
{
	char text[sizeof(p->why->message)];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	return problem_set(p->why, -EINVAL, job_error_text(error), job_error_exit(error), "%s",
			   text);
}

/* ---- checks ---- */

static int
check_wait(struct packing *p, const char *name, uint64_t ns)
{
	if (ns <= POLICY_WAIT_MAX)
		return 0;
	return refuse(p, ERR_OUT_OF_RANGE, "%s: %" PRIu64 " ns is longer than ten years", name, ns);
}

static int
check_count(struct packing *p, const char *name, uint64_t value, uint64_t low, uint64_t high)
{
	if (value >= low && value <= high)
		return 0;
	return refuse(p, ERR_OUT_OF_RANGE,
		      "%s must be from %" PRIu64 " to %" PRIu64 ", not %" PRIu64, name, low, high,
		      value);
}

/* Text that may be shown, of 1 to `most` bytes. */
static int
check_text(struct packing *p, const char *name, const char *text, size_t length, size_t most)
{
	if (length < 1 || length > most)
		return refuse(p, ERR_OUT_OF_RANGE, "%s must have 1 to %zu bytes, not %zu", name,
			      most, length);
	if (!text_is_shown(text, length))
		return refuse(p, ERR_OUT_OF_RANGE, "%s must be UTF-8 without control characters",
			      name);
	return 0;
}

static int
check_word(struct packing *p, const char *name, const char *word, const char *const *words)
{
	char list[100] = "";
	size_t used = 0;

	for (unsigned i = 0; words[i] != NULL; i++) {
		if (strcmp(word, words[i]) == 0)
			return 0;
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
					 i > 0 ? ", " : "", words[i]);
	}
	return refuse(p, ERR_OUT_OF_RANGE, "%s must be one of %s, not \"%.40s\"", name, list, word);
}

/* ---- entries ---- */

static void
put_name(struct packing *p, const char *name)
{
	pack_text(&p->pk, name);
	p->entries++;
}

static void
put_number(struct packing *p, const char *name, uint64_t value)
{
	put_name(p, name);
	msgpack_pack_uint64(&p->pk, value);
}

static void
put_text(struct packing *p, const char *name, const char *value)
{
	put_name(p, name);
	pack_text(&p->pk, value);
}

static int
put_backoff(struct packing *p)
{
	static const char *const words[] = { "exp", "const", NULL };
	const struct pyprep_policy *from = p->policy;
	uint64_t first_ns = from->backoff_first_ns, most_ns = from->backoff_most_ns;
	const char *word = from->backoff != NULL ? from->backoff : "exp";
	bool constant = strcmp(word, "const") == 0;

	if (from->backoff == NULL && first_ns == 0 && most_ns == 0)
		return 0;
	int r = check_word(p, "backoff", word, words);
	if (r == 0)
		r = check_wait(p, "backoff", first_ns > most_ns ? first_ns : most_ns);
	if (r < 0)
		return r;
	if (first_ns == 0 && !constant)
		first_ns = most_ns != 0 && most_ns < POLICY_FIRST_NS ? most_ns : POLICY_FIRST_NS;
	if (constant)
		most_ns = first_ns;
	else if (most_ns == 0)
		most_ns = first_ns > POLICY_MOST_NS ? first_ns : POLICY_MOST_NS;
	if (most_ns < first_ns)
		return refuse(p, ERR_OUT_OF_RANGE,
			      "backoff: the first wait, %" PRIu64 " ns, is longer than the "
			      "longest, %" PRIu64 " ns",
			      first_ns, most_ns);
	put_name(p, "backoff");
	msgpack_pack_array(&p->pk, 3);
	pack_text(&p->pk, word);
	msgpack_pack_uint64(&p->pk, first_ns);
	msgpack_pack_uint64(&p->pk, most_ns);
	return 0;
}

static bool
is_exit_status(const char *word)
{
	char *end;

	if (strncmp(word, "exit:", 5) != 0 || word[5] < '1' || word[5] > '9')
		return false;
	unsigned long status = strtoul(word + 5, &end, 10);
	return *end == '\0' && status <= UINT8_MAX;
}

static int
check_retry_on(struct packing *p, const char *word)
{
	static const char *const words[] = { "exit",        "signal", "timeout",
					     "worker_died", "oom",    "error" };

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(word, words[i]) == 0)
			return 0;
	if (is_exit_status(word))
		return 0;
	return refuse(p, ERR_OUT_OF_RANGE,
		      "retry_on: \"%.40s\" is none of exit:N (1 to 255), exit, signal, timeout, "
		      "worker_died, oom, error",
		      word);
}

static int
put_attempts(struct packing *p)
{
	static const char *const jitters[] = { "none", "full", NULL };
	const struct pyprep_policy *from = p->policy;
	unsigned words = 0;
	int r = check_count(p, "retries", from->retries, 0, POLICY_RETRIES_MAX);

	while (r == 0 && from->retry_on != NULL && from->retry_on[words] != NULL)
		r = check_retry_on(p, from->retry_on[words++]);
	if (r == 0 && words > POLICY_LIST_MAX)
		r = refuse(p, ERR_OUT_OF_RANGE, "retry_on: at most %u words, not %u",
			   POLICY_LIST_MAX, words);
	if (r == 0 && from->jitter != NULL)
		r = check_word(p, "jitter", from->jitter, jitters);
	if (r < 0)
		return r;
	if (from->retries > 0)
		put_number(p, "retries", from->retries);
	if (from->jitter != NULL)
		put_text(p, "jitter", from->jitter);
	if (words > 0) {
		put_name(p, "retry_on");
		msgpack_pack_array(&p->pk, words);
		for (unsigned i = 0; i < words; i++)
			pack_text(&p->pk, from->retry_on[i]);
	}
	return put_backoff(p);
}

static int
put_when(struct packing *p)
{
	const struct pyprep_policy *from = p->policy;
	int r = check_wait(p, "delay", from->delay_ns);

	if (r == 0 && from->delay_ns != 0 && from->at_ns != 0)
		r = refuse(p, ERR_BAD_REQUEST,
			   "delay and at both say when the job starts; give one of them");
	if (r == 0)
		r = check_count(p, "at", from->at_ns, 0, INT64_MAX);
	if (r < 0)
		return r;
	if (from->delay_ns != 0)
		put_number(p, "delay", from->delay_ns);
	if (from->at_ns != 0)
		put_number(p, "at", from->at_ns);
	if (from->hold) {
		put_name(p, "held");
		msgpack_pack_true(&p->pk);
	}
	return 0;
}

static int
put_after(struct packing *p)
{
	const struct pyprep_policy *from = p->policy;
	int r = check_count(p, "the number of jobs to start after", from->after_count, 0,
			    POLICY_PARENTS);

	if (r < 0 || from->after_count == 0)
		return r;
	put_name(p, "after");
	msgpack_pack_array(&p->pk, from->after_count);
	for (size_t i = 0; i < from->after_count; i++) {
		const struct pyprep_after *after = &from->after[i];
		r = check_count(p, "after: a job's id", after->id, 1, INT64_MAX);
		for (size_t j = 0; r == 0 && j < i; j++)
			if (from->after[j].id == after->id)
				r = refuse(p, ERR_BAD_REQUEST,
					   "after: job %" PRIu64 " is named twice", after->id);
		if (r < 0)
			return r;
		msgpack_pack_array(&p->pk, 2);
		msgpack_pack_uint64(&p->pk, after->id);
		pack_text(&p->pk, after->any ? "any" : "ok");
	}
	return 0;
}

static int
put_key(struct packing *p)
{
	static const char *const words[] = { "reject", "return", "replace", NULL };
	const struct pyprep_policy *from = p->policy;
	int r = 0;

	if (from->if_exists != NULL)
		r = check_word(p, "if_exists", from->if_exists, words);
	if (r == 0 && from->if_exists != NULL && from->key == NULL)
		r = refuse(p, ERR_BAD_REQUEST,
			   "if_exists says what happens when the key is there; give a key, too");
	if (r == 0 && from->key != NULL)
		r = check_text(p, "key", from->key, strlen(from->key), POLICY_KEY_MAX);
	if (r < 0)
		return r;
	if (from->key != NULL)
		put_text(p, "key", from->key);
	if (from->if_exists != NULL)
		put_text(p, "if_exists", from->if_exists);
	return 0;
}

static int
put_rates(struct packing *p)
{
	const struct pyprep_policy *from = p->policy;
	char own[POLICY_NAME_MAX + 1];
	int r = check_count(p, "the number of rates", from->rate_count, 0, POLICY_LIST_MAX);

	if (r < 0 || from->rate_count == 0)
		return r;
	snprintf(own, sizeof(own), "kind:%s", p->kind);
	put_name(p, "rate");
	msgpack_pack_array(&p->pk, from->rate_count);
	for (size_t i = 0; i < from->rate_count; i++) {
		const struct pyprep_rate *rate = &from->rates[i];
		const char *group = rate->group != NULL ? rate->group : own;
		r = check_text(p, "rate: a group", group, strlen(group), POLICY_NAME_MAX);
		if (r == 0 && strncmp(group, "kind:", 5) != 0 && strncmp(group, "key:", 4) != 0)
			r = refuse(p, ERR_OUT_OF_RANGE,
				   "rate: a group is kind:NAME or key:NAME, not \"%s\"", group);
		if (r == 0)
			r = check_count(p, "rate: the number of starts", rate->count, 1,
					POLICY_COUNT_MAX);
		if (r == 0)
			r = check_count(p, "rate: the window in ns", rate->window_ns,
					POLICY_WINDOW_MIN, POLICY_WAIT_MAX);
		if (r < 0)
			return r;
		msgpack_pack_array(&p->pk, 3);
		pack_text(&p->pk, group);
		msgpack_pack_uint32(&p->pk, rate->count);
		msgpack_pack_uint64(&p->pk, rate->window_ns);
	}
	return 0;
}

static const char *
need_name(const struct pyprep_need *need)
{
	return need->name != NULL ? need->name : "";
}

static int
put_needs(struct packing *p)
{
	const struct pyprep_policy *from = p->policy;
	int r = check_count(p, "the number of resources", from->need_count, 0, POLICY_LIST_MAX);

	if (r < 0 || from->need_count == 0)
		return r;
	put_name(p, "need");
	msgpack_pack_array(&p->pk, from->need_count);
	for (size_t i = 0; i < from->need_count; i++) {
		const struct pyprep_need *need = &from->needs[i];
		const char *name = need_name(need);
		r = check_text(p, "need: a resource's name", name, strlen(name), POLICY_NAME_MAX);
		for (size_t j = 0; r == 0 && j < i; j++)
			if (strcmp(need_name(&from->needs[j]), name) == 0)
				r = refuse(p, ERR_BAD_REQUEST, "need: \"%s\" is named twice", name);
		if (r == 0)
			r = check_count(p, "need: how much", need->count, 1, POLICY_COUNT_MAX);
		if (r < 0)
			return r;
		msgpack_pack_array(&p->pk, 2);
		pack_text(&p->pk, name);
		msgpack_pack_uint64(&p->pk, need->count);
	}
	return 0;
}

static int
check_label(struct packing *p, const char *const *labels, unsigned i)
{
	const char *label = labels[i], *equals = strchr(label, '=');

	if (equals == NULL || equals == label)
		return refuse(p, ERR_BAD_REQUEST,
			      "label \"%.80s\" is not of the form NAME=VALUE; write for example "
			      "team=blue",
			      label);
	size_t length = (size_t)(equals - label);
	int r = check_text(p, "label: the name", label, length, POLICY_NAME_MAX);
	if (r == 0 && equals[1] != '\0')
		r = check_text(p, "label: the value", equals + 1, strlen(equals + 1),
			       POLICY_TEXT_MAX);
	for (unsigned j = 0; r == 0 && j < i; j++)
		if (strncmp(labels[j], label, length + 1) == 0)
			r = refuse(p, ERR_BAD_REQUEST, "label \"%.*s\" is given twice", (int)length,
				   label);
	return r;
}

static int
put_labels(struct packing *p)
{
	const char *const *labels = p->policy->labels;
	unsigned count = 0;
	int r = 0;

	while (r == 0 && labels != NULL && labels[count] != NULL)
		r = check_label(p, labels, count++);
	if (r == 0)
		r = check_count(p, "the number of labels", count, 0, POLICY_LIST_MAX);
	if (r < 0 || count == 0)
		return r;
	put_name(p, "labels");
	msgpack_pack_array(&p->pk, count);
	for (unsigned i = 0; i < count; i++) {
		const char *equals = strchr(labels[i], '=');
		msgpack_pack_array(&p->pk, 2);
		msgpack_pack_str_with_body(&p->pk, labels[i], (size_t)(equals - labels[i]));
		pack_text(&p->pk, equals + 1);
	}
	return 0;
}

static int
put_limits(struct packing *p)
{
	const struct pyprep_policy *from = p->policy;
	int r = check_wait(p, "cache", from->cache_ns);

	if (r == 0)
		r = check_wait(p, "keep", from->keep_ns);
	if (r == 0 && from->memory_bytes != 0)
		r = check_count(p, "the limit of memory in bytes", from->memory_bytes,
				POLICY_MEMORY_MIN, POLICY_MEMORY_MAX);
	if (r == 0 && (from->nice < 0 || from->nice > POLICY_NICE_MAX))
		r = refuse(p, ERR_OUT_OF_RANGE, "nice must be from 0 to %d, not %d",
			   POLICY_NICE_MAX, from->nice);
	if (r == 0)
		r = check_count(p, "crash_limit", from->crash_limit, 0, POLICY_CRASHES_MAX);
	if (r < 0)
		return r;
	if (from->cache_ns != 0)
		put_number(p, "cache", from->cache_ns);
	if (from->keep_ns != 0)
		put_number(p, "keep", from->keep_ns);
	if (from->memory_bytes != 0)
		put_number(p, "memory", from->memory_bytes);
	if (from->nice != 0)
		put_number(p, "nice", (uint64_t)from->nice);
	if (from->crash_limit != 0)
		put_number(p, "crash_limit", from->crash_limit);
	return 0;
}

int
policy_pack(const struct pyprep_policy *policy, const char *kind, msgpack_sbuffer *out,
	    struct pyprep_problem *why)
{
	static int (*const parts[])(struct packing *) = { put_attempts, put_when,  put_after,
							  put_key,      put_rates, put_needs,
							  put_labels,   put_limits };
	struct packing p = { .policy = policy, .kind = kind, .why = why };
	size_t begin = out->size;

	msgpack_packer_init(&p.pk, out, msgpack_sbuffer_write);
	/* The head of a map with a 16 bit count, which is known at the end. */
	if (msgpack_sbuffer_write(out, "\xde\0\0", 3) < 0)
		return problem_memory(why);
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		int r = parts[i](&p);
		if (r < 0)
			return r;
	}
	out->data[begin + 2] = (char)p.entries;
	if (out->size - begin > POLICY_BYTES_MAX)
		return refuse(&p, ERR_TOO_LARGE,
			      "the job's policies take %zu bytes, at most %u are taken: shorten "
			      "its labels and names",
			      out->size - begin, POLICY_BYTES_MAX);
	return 0;
}
