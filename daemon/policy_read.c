/*
 * policy_read.c - a submitter's policies, read from the map that a client or the store brings.
 *
 * The bytes may be anything.  They are read value by value (unpack.h) into lists of fixed
 * length; what is good at the end is copied into one piece of memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config.h"
#include "daemon/policy_reading.h"

static enum job_error
refuse_name(struct reading *r, const struct value *name)
{
	const char *names[POLICY_FIELDS_MAX];
	char given[POLICY_NAME_MAX + 1], shown[128], list[256] = "";
	size_t used = 0;

	value_print(name, shown, sizeof(shown));
	for (size_t i = 0; i < policy_field_count; i++) {
		names[i] = policy_fields[i].name;
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
					 i > 0 ? ", " : "", names[i]);
	}
	snprintf(given, sizeof(given), "%.*s", (int)name->length, name->text);
	const char *near = nearest_name(given, names, policy_field_count);
	if (near != NULL)
		return policy_refuse(r, ERR_UNKNOWN_PARAM,
				     "there is no policy %s; did you mean \"%s\"?", shown, near);
	return policy_refuse(r, ERR_UNKNOWN_PARAM, "there is no policy %s; there are %s", shown,
			     list);
}

static enum job_error
find_field(struct reading *r, const struct value *name, size_t *ret)
{
	char shown[128];

	if (name->type != VALUE_TEXT) {
		value_print(name, shown, sizeof(shown));
		return policy_refuse(r, ERR_BAD_REQUEST, "a policy's name must be text, got %s",
				     shown);
	}
	for (size_t i = 0; i < policy_field_count; i++)
		if (piece_is((struct piece){ name->text, name->length }, policy_fields[i].name)) {
			*ret = i;
			return ERR_NONE;
		}
	return refuse_name(r, name);
}

static enum job_error
read_map(struct reading *r)
{
	struct value map, name, v;
	uint32_t given = 0;

	if (unpack_next(&r->from, &map) < 0 || map.type != VALUE_MAP)
		return policy_refuse(r, ERR_BAD_REQUEST, "the policies are not a msgpack map");
	for (uint32_t i = 0; i < map.count; i++) {
		size_t index = 0;
		if (unpack_next(&r->from, &name) < 0)
			return policy_refuse(r, ERR_BAD_REQUEST, "the policies end inside a name");
		enum job_error error = find_field(r, &name, &index);
		if (error != ERR_NONE)
			return error;
		r->field = &policy_fields[index];
		if ((given & 1u << index) != 0)
			return policy_refuse(r, ERR_BAD_REQUEST, "%s is given twice",
					     r->field->name);
		given |= 1u << index;
		error = policy_next(r, &v);
		if (error == ERR_NONE)
			error = r->field->read(r, &v);
		if (error != ERR_NONE)
			return error;
	}
	if (r->from.at != r->from.end)
		return policy_refuse(r, ERR_BAD_REQUEST, "%zu bytes follow the map of policies",
				     (size_t)(r->from.end - r->from.at));
	return ERR_NONE;
}

/* What each of two says alone, and together is nonsense. */
static enum job_error
check_together(struct reading *r)
{
	if (r->has_delay && r->has_at)
		return policy_refuse(r, ERR_BAD_REQUEST,
				     "delay and at both say when it starts: give one of them");
	if (r->has_if_exists && r->key.length == 0)
		return policy_refuse(
			r, ERR_BAD_REQUEST,
			"if_exists says what happens when the key is there: give a key, too");
	if (!r->has_jitter)
		r->p.jitter = r->p.backoff == BACKOFF_EXP;
	return ERR_NONE;
}

/* ---- the result ---- */

static const char *
copy_piece(char **at, struct piece t)
{
	char *text = *at;

	if (t.length > 0)
		memcpy(text, t.at, t.length);
	text[t.length] = '\0';
	*at += t.length + 1;
	return text;
}

static struct policy *
in_one_piece(const struct reading *r)
{
	const struct policy *p = &r->p;
	size_t parents = p->parent_count * sizeof(*p->parents);
	size_t rates = p->rate_count * sizeof(*p->rates);
	size_t needs = p->need_count * sizeof(*p->needs);
	size_t labels = p->label_count * sizeof(*p->labels);
	size_t texts = r->key.length + 1;

	for (unsigned i = 0; i < p->label_count; i++)
		texts += r->label_names[i].length + r->label_values[i].length + 2;
	unsigned char *at = malloc(sizeof(*p) + parents + rates + needs + labels + texts);
	if (at == NULL)
		return NULL;
	struct policy *ret = (struct policy *)at;
	*ret = *p;
	at += sizeof(*p);
	ret->parents = memcpy(at, r->parents, parents);
	at += parents;
	ret->rates = memcpy(at, r->rates, rates);
	at += rates;
	ret->needs = memcpy(at, r->needs, needs);
	at += needs;
	ret->labels = (struct policy_label *)at;
	char *text = (char *)at + labels;
	for (unsigned i = 0; i < p->label_count; i++) {
		ret->labels[i].name = copy_piece(&text, r->label_names[i]);
		ret->labels[i].value = copy_piece(&text, r->label_values[i]);
	}
	ret->key = copy_piece(&text, r->key);
	return ret;
}

enum job_error
policy_read(const void *map, uint32_t length, uint64_t now_wall_ns, struct policy **ret, char *why,
	    size_t why_size)
{
	struct reading r;

	/* Its lists are large, and filled before they are read: they are not zeroed. */
	r.from = (struct unpacker){ map, (const unsigned char *)map + length };
	r.field = NULL;
	r.now_wall_ns = now_wall_ns;
	r.has_delay = r.has_at = r.has_jitter = r.has_if_exists = false;
	r.key = (struct piece){ 0 };
	r.why = why;
	r.why_size = why_size;
	r.p = (struct policy){
		.retry_on = POLICY_RETRY_ALL,
		.backoff = BACKOFF_EXP,
		.backoff_first_ns = POLICY_FIRST_NS,
		.backoff_most_ns = POLICY_MOST_NS,
		.crash_limit = POLICY_CRASHES,
	};
	if (length > POLICY_BYTES_MAX)
		return policy_refuse(&r, ERR_TOO_LARGE,
				     "the policies take %u bytes, at most %u are taken", length,
				     POLICY_BYTES_MAX);
	enum job_error error = read_map(&r);
	if (error == ERR_NONE)
		error = check_together(&r);
	if (error != ERR_NONE)
		return error;
	struct policy *p = in_one_piece(&r);
	if (p == NULL)
		return policy_refuse(&r, ERR_INTERNAL, "no memory for the policies");
	*ret = p;
	return ERR_NONE;
}
