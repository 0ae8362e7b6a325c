/* policy_values.c - how a value of each type is taken from a map of policies; see policy_reading.h
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/policy_reading.h"

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

/* Does one whole character of UTF-8 stand at `at`?  Its bytes, or 0.  Overlong forms, surrogates
 * and what lies above U+10FFFF are none (RFC 3629). */
static uint32_t
utf8_length(const unsigned char *at, uint32_t left)
{
	static const struct {
		unsigned char first_low, first_high, second_low, second_high, length;
	} forms[] = {
		{ 0x00, 0x7f, 0x00, 0x00, 1 }, { 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (unsigned i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (at[0] < forms[i].first_low || at[0] > forms[i].first_high)
			continue;
		if (forms[i].length > left)
			return 0;
		if (forms[i].length > 1 &&
		    (at[1] < forms[i].second_low || at[1] > forms[i].second_high))
			return 0;
		for (unsigned j = 2; j < forms[i].length; j++)
			if ((at[j] & 0xc0) != 0x80)
				return 0;
		return forms[i].length;
	}
	return 0;
}

/* Names and values are shown on terminals and in JSON. */
static bool
is_shown_well(const unsigned char *at, uint32_t length)
{
	while (length > 0) {
		uint32_t n = utf8_length(at, length);
		if (n == 0 || at[0] < ' ' || at[0] == 0x7f)
			return false;
		at += n;
		length -= n;
	}
	return true;
}

enum job_error
policy_take_text(struct reading *r, const struct value *v, uint32_t low, uint32_t high,
		 struct piece *ret)
{
	if (v->type != VALUE_TEXT)
		return policy_refuse_value(r, ERR_BAD_TYPE, v);
	if (v->length < low || v->length > high ||
	    !is_shown_well((const unsigned char *)v->text, v->length))
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
