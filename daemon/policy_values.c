/* policy_values.c - how a value of each type is taken from a map of policies; see policy_reading.h
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/policy_reading.h"
#include "ipc/text.h"

enum job_error
policy_refuse(struct reading *r, enum job_error error, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(r->why, r->why_size, format, list);
	va_end(list);
	return error;
}

enum job_error
policy_refuse_value(struct reading *r, enum job_error error, const struct value *got)
{
	char shown[128];

	value_print(got, shown, sizeof(shown));
	return policy_refuse(r, error, "%s must be %s, got %s", r->field->name, r->field->expected,
			     shown);
}

/* ---- values ---- */

enum job_error
policy_next(struct reading *r, struct value *ret)
{
	if (unpack_next(&r->from, ret) < 0)
		return policy_refuse(r, ERR_BAD_REQUEST, "the policies end inside %s",
				     r->field->name);
	return ERR_NONE;
}

enum job_error
policy_take_int(struct reading *r, const struct value *v, int64_t low, int64_t high, int64_t *ret)
{
	if (v->type == VALUE_BIG)
		return policy_refuse_value(r, ERR_OUT_OF_RANGE, v);
	if (v->type != VALUE_INT)
		return policy_refuse_value(r, ERR_BAD_TYPE, v);
	if (v->integer < low || v->integer > high)
		return policy_refuse_value(r, ERR_OUT_OF_RANGE, v);
	*ret = v->integer;
	return ERR_NONE;
}

enum job_error
policy_next_int(struct reading *r, int64_t low, int64_t high, int64_t *ret)
{
	struct value v;
	enum job_error error = policy_next(r, &v);

	return error != ERR_NONE ? error : policy_take_int(r, &v, low, high, ret);
}

enum job_error
policy_take_text(struct reading *r, const struct value *v, uint32_t low, uint32_t high,
		 struct piece *ret)
{
	if (v->type != VALUE_TEXT)
		return policy_refuse_value(r, ERR_BAD_TYPE, v);
	if (v->length < low || v->length > high || !text_is_shown(v->text, v->length))
		return policy_refuse_value(r, ERR_OUT_OF_RANGE, v);
	*ret = (struct piece){ v->text, v->length };
	return ERR_NONE;
}

enum job_error
policy_next_text(struct reading *r, uint32_t low, uint32_t high, struct piece *ret)
{
	struct value v;
	enum job_error error = policy_next(r, &v);

	return error != ERR_NONE ? error : policy_take_text(r, &v, low, high, ret);
}

bool
piece_is(struct piece t, const char *word)
{
	return t.length == strlen(word) && memcmp(t.at, word, t.length) == 0;
}

bool
pieces_equal(struct piece a, struct piece b)
{
	return a.length == b.length && memcmp(a.at, b.at, a.length) == 0;
}

enum job_error
policy_take_word(struct reading *r, const struct value *v, const char *const *words, unsigned count,
		 unsigned *ret)
{
	if (v->type != VALUE_TEXT)
		return policy_refuse_value(r, ERR_BAD_TYPE, v);
	for (unsigned i = 0; i < count; i++)
		if (piece_is((struct piece){ v->text, v->length }, words[i])) {
			*ret = i;
			return ERR_NONE;
		}
	return policy_refuse_value(r, ERR_OUT_OF_RANGE, v);
}

enum job_error
policy_next_word(struct reading *r, const char *const *words, unsigned count, unsigned *ret)
{
	struct value v;
	enum job_error error = policy_next(r, &v);

	return error != ERR_NONE ? error : policy_take_word(r, &v, words, count, ret);
}

enum job_error
policy_take_list(struct reading *r, const struct value *v, uint32_t most)
{
	if (v->type != VALUE_LIST)
		return policy_refuse_value(r, ERR_BAD_TYPE, v);
	if (v->count == 0 || v->count > most)
		return policy_refuse_value(r, ERR_OUT_OF_RANGE, v);
	return ERR_NONE;
}

enum job_error
policy_next_tuple(struct reading *r, uint32_t count)
{
	struct value v;
	enum job_error error = policy_next(r, &v);

	if (error == ERR_NONE && (v.type != VALUE_LIST || v.count != count))
		error = policy_refuse_value(r, ERR_BAD_TYPE, &v);
	return error;
}

enum job_error
policy_refuse_twice(struct reading *r, struct piece name)
{
	return policy_refuse(r, ERR_BAD_REQUEST, "%s names \"%.*s\" twice", r->field->name,
			     (int)name.length, name.at);
}
