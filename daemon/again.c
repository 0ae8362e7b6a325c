/*
 * again.c - the command that does a job once more, as it was submitted: for whoever looks for the
 * cause of its end.
 */
#include "daemon/again.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/unpack.h"

struct line {
	char *at;
	size_t left;
	bool cut; /* it did not fit: a command that is cut does something else */
};

static void
put(struct line *l, const char *bytes, size_t length)
{
	if (length >= l->left) {
		l->cut = true;
		return;
	}
	memcpy(l->at, bytes, length);
	l->at += length;
	l->left -= length;
	*l->at = '\0';
}

static void
put_text(struct line *l, const char *text)
{
	put(l, text, strlen(text));
}

static bool
is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("_-./:=,+@%", c) != NULL);
}

/* As a shell reads it back. */
static void
put_word(struct line *l, const char *bytes, size_t length)
{
	bool plain = length > 0;

	for (size_t i = 0; i < length; i++)
		plain &= is_plain(bytes[i]);
	if (plain) {
		put(l, bytes, length);
		return;
	}
	put_text(l, "'");
	for (size_t i = 0; i < length; i++)
		if (bytes[i] == '\'')
			put_text(l, "'\\''");
		else
			put(l, &bytes[i], 1);
	put_text(l, "'");
}

static bool
put_value(struct line *l, struct unpacker *u, const struct value *v)
{
	char number[40];
	struct value item;

	switch (v->type) {
	case VALUE_TEXT:
		put_word(l, v->text, v->length);
		return true;
	case VALUE_INT:
		snprintf(number, sizeof(number), "%" PRId64, v->integer);
		break;
	case VALUE_BIG:
		snprintf(number, sizeof(number), "%" PRIu64, v->big);
		break;
	case VALUE_FLOAT:
		snprintf(number, sizeof(number), "%.17g", v->number);
		break;
	case VALUE_BOOL:
		snprintf(number, sizeof(number), "%s", v->boolean ? "true" : "false");
		break;
	case VALUE_LIST: /* argv: its words, each behind a blank */
		for (uint32_t i = 0; i < v->count; i++) {
			if (unpack_next(u, &item) < 0 || item.type != VALUE_TEXT)
				return false;
			put_text(l, " ");
			put_word(l, item.text, item.length);
		}
		return true;
	default:
		return false;
	}
	put_text(l, number);
	return true;
}

/* Words of a command come last, behind "--". */
static bool
put_params(struct line *l, const struct bytes *params)
{
	struct unpacker u = { params->at, (const unsigned char *)params->at + params->length };
	struct value map, key, value;

	if (params->length == 0)
		return true;
	if (unpack_next(&u, &map) < 0 || map.type != VALUE_MAP)
		return false;
	for (uint32_t i = 0; i < map.count; i++) {
		if (unpack_next(&u, &key) < 0 || key.type != VALUE_TEXT ||
		    unpack_next(&u, &value) < 0)
			return false;
		if (value.type == VALUE_LIST) {
			put_text(l, " --");
		} else {
			put_text(l, " ");
			put(l, key.text, key.length);
			put_text(l, "=");
		}
		if (!put_value(l, &u, &value))
			return false;
	}
	return true;
}

bool
again_print(const struct store_job *job, char *buffer, size_t size)
{
	struct line l = { .at = buffer, .left = size };
	char number[64];

	put_text(&l, "pyprepctl submit --pool ");
	put_text(&l, job->pool);
	if (job->timeout_ns != 0) {
		snprintf(number, sizeof(number), " --timeout %" PRIu64 "ns", job->timeout_ns);
		put_text(&l, number);
	}
	put_text(&l, " ");
	put_text(&l, job->kind);
	if (put_params(&l, &job->params) && !l.cut)
		return true;
	buffer[0] = '\0';
	return false;
}
