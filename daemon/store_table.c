/*
 * store_table.c - the engines of the store, and what they have in common.
 */
#include <string.h>

#include "daemon/store.h"
#include "daemon/store_filter.h"
#include "daemon/unpack.h"

const struct store_ops *const store_engines[] = { &store_sqlite, &store_memory, NULL };

const struct store_ops *
store_engine_by_name(const char *name)
{
	for (const struct store_ops *const *e = store_engines; *e != NULL; e++)
		if (strcmp((*e)->name, name) == 0)
			return *e;
	return NULL;
}

/* ---- labels ---- */

/* Pass over one value with all that is in it. */
static int
skip(struct unpacker *u)
{
	struct value v;

	for (uint64_t left = 1; left > 0; left--) {
		if (unpack_next(u, &v) < 0)
			return -1;
		if (v.type == VALUE_LIST)
			left += v.count;
		if (v.type == VALUE_MAP)
			left += 2ull * v.count;
	}
	return 0;
}

static bool
is_text(const struct value *v, const char *text)
{
	return v->type == VALUE_TEXT && v->length == strlen(text) &&
	       memcmp(v->text, text, v->length) == 0;
}

/* [[name, value], ...] */
static bool
find_label(struct unpacker *u, const char *name, const char *value)
{
	struct value list, pair, n, v;

	if (unpack_next(u, &list) < 0 || list.type != VALUE_LIST)
		return false;
	for (uint32_t i = 0; i < list.count; i++) {
		if (unpack_next(u, &pair) < 0 || pair.type != VALUE_LIST || pair.count != 2 ||
		    unpack_next(u, &n) < 0 || unpack_next(u, &v) < 0)
			return false;
		if (is_text(&n, name) && (value == NULL || is_text(&v, value)))
			return true;
	}
	return false;
}

bool
store_has_label(const struct bytes *policy, const char *name, const char *value)
{
	struct unpacker u = { policy->at, (const unsigned char *)policy->at + policy->length };
	struct value map, key;

	if (policy->length == 0 || unpack_next(&u, &map) < 0 || map.type != VALUE_MAP)
		return false;
	for (uint32_t i = 0; i < map.count; i++) {
		if (unpack_next(&u, &key) < 0)
			return false;
		if (is_text(&key, "labels"))
			return find_label(&u, name, value);
		if (skip(&u) < 0)
			return false;
	}
	return false;
}

/* ---- filter ---- */

static bool
same(const char *wanted, const char *text)
{
	return wanted == NULL || (text != NULL && strcmp(wanted, text) == 0);
}

bool
store_filter_fits(const struct store_filter *f, const struct store_row *row)
{
	const struct store_job *job = &row->job;
	unsigned state = row->ended ? row->end.receipt.outcome.state : JOB_QUEUED;

	if (f->id != 0 && job->id != f->id)
		return false;
	if (f->states != 0 && (state >= 32 || (f->states >> state & 1) == 0))
		return false;
	if (f->uid != UINT32_MAX && job->uid != f->uid)
		return false;
	if (f->before_id != 0 && job->id >= f->before_id)
		return false;
	if (f->since_ns != 0 && (!row->ended || row->end.ended_ns < f->since_ns))
		return false;
	return same(f->kind, job->kind) && same(f->pool, job->pool) && same(f->key, job->key) &&
	       (f->label_name == NULL ||
		store_has_label(&job->policy, f->label_name, f->label_value));
}
