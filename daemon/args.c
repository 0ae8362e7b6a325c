/*
 * args.c - from a client's msgpack map to checked, packed arguments; see args.h.
 *
 * The map is read by unpack.h and never built as a tree: a kind takes a few values, and the
 * empty map of a kind that needs none costs a few stores.
 */
#include "daemon/args.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config.h"
#include "daemon/kind.h"
#include "daemon/unpack.h"

#define EMPTY_MAP    0x80
#define CHOICE_MAX   32 /* bytes of one choice of an enum */
#define CHOICES_MAX  16
#define EXPECTED_MAX 256

/* One args_pack() at work. */
struct packing {
	const struct kind *kind;
	struct args_buffer *out;
	char *why;
	size_t why_size;
};

void
args_buffer_free(struct args_buffer *b)
{
	free(b->bytes);
	*b = (struct args_buffer){ 0 };
}

static enum job_error refuse(struct packing *p, enum job_error error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static enum job_error
refuse(struct packing *p, enum job_error error, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(p->why, p->why_size, format, list);
	va_end(list);
	return error;
}

/* ---- the buffer ---- */

static bool
make_room(struct args_buffer *b, uint32_t more)
{
	if (b->capacity - b->length >= more)
		return true;
	uint32_t capacity = b->capacity < 256 ? 256 : b->capacity;
	while (capacity - b->length < more) {
		if (capacity > UINT32_MAX / 2)
			return false;
		capacity *= 2;
	}
	unsigned char *bytes = realloc(b->bytes, capacity);
	if (bytes == NULL)
		return false;
	b->bytes = bytes;
	b->capacity = capacity;
	return true;
}

static void
set_word(struct args_buffer *b, unsigned index, uint64_t word)
{
	memcpy(b->bytes + 8 * (size_t)index, &word, sizeof(word));
}

/* Append text and its NUL. */
static bool
append(struct args_buffer *b, const char *text, uint32_t length)
{
	if (!make_room(b, length + 1))
		return false;
	memcpy(b->bytes + b->length, text, length);
	b->bytes[b->length + length] = '\0';
	b->length += length + 1;
	return true;
}

/* ---- what a parameter expects, in words ---- */

/* Split "naive|memo|lru"; returns how many, with names[i] NUL-terminated in `space`. */
static size_t
split_choices(const char *choices, char space[CHOICES_MAX][CHOICE_MAX],
	      const char *names[CHOICES_MAX])
{
	size_t count = 0;

	while (count < CHOICES_MAX) {
		size_t length = strcspn(choices, "|");
		snprintf(space[count], CHOICE_MAX, "%.*s", (int)length, choices);
		names[count] = space[count];
		count++;
		if (choices[length] == '\0')
			break;
		choices += length + 1;
	}
	return count;
}

static void
print_choices(const struct param *param, char *buffer, size_t size)
{
	size_t used = (size_t)snprintf(buffer, size, "one of ");

	for (const char *c = param->choices; *c != '\0' && used + 3 < size; c++) {
		if (*c == '|') {
			buffer[used++] = ',';
			buffer[used++] = ' ';
		} else {
			buffer[used++] = *c;
		}
	}
	buffer[used] = '\0';
}

static void
print_expected(const struct param *param, char *buffer, size_t size)
{
	switch (param->type) {
	case PARAM_INT:
		snprintf(buffer, size, "an integer between %" PRId64 " and %" PRId64, param->low,
			 param->high);
		break;
	case PARAM_REAL:
		snprintf(buffer, size, "a number between %" PRId64 " and %" PRId64, param->low,
			 param->high);
		break;
	case PARAM_ENUM:
		print_choices(param, buffer, size);
		break;
	case PARAM_FLAG:
		snprintf(buffer, size, "true or false");
		break;
	case PARAM_TEXT:
		snprintf(buffer, size, "text of %" PRId64 " to %" PRId64 " bytes without NUL",
			 param->low, param->high);
		break;
	case PARAM_PATH:
		snprintf(
			buffer, size,
			"an absolute path (the daemon is in another directory than you) of %" PRId64
			" to %" PRId64 " bytes",
			param->low, param->high);
		break;
	case PARAM_LIST:
		snprintf(buffer, size, "a list of %" PRId64 " to %" PRId64 " texts without NUL",
			 param->low, param->high);
		break;
	case PARAM_END:
		buffer[0] = '\0';
		break;
	}
}

static enum job_error
refuse_value(struct packing *p, enum job_error error, const struct param *param,
	     const struct value *got)
{
	char expected[EXPECTED_MAX], shown[128];

	print_expected(param, expected, sizeof(expected));
	value_print(got, shown, sizeof(shown));
	return refuse(p, error, "%s must be %s, got %s", param->name, expected, shown);
}

/* ---- one value ---- */

/* Decimal text as an integer.  0, -EINVAL: no integer, -ERANGE: beyond int64_t. */
static int
parse_integer(const char *text, uint32_t length, int64_t *ret)
{
	bool negative = length > 0 && text[0] == '-';
	uint32_t i = negative || (length > 0 && text[0] == '+');
	uint64_t limit = (uint64_t)INT64_MAX + negative;
	uint64_t value = 0;
	bool over = false;

	if (i == length)
		return -EINVAL;
	for (; i < length; i++) {
		unsigned digit = (unsigned char)text[i] - (unsigned)'0';
		if (digit > 9)
			return -EINVAL;
		if (over || value > (limit - digit) / 10)
			over = true;
		else
			value = value * 10 + digit;
	}
	if (over)
		return -ERANGE;
	*ret = negative ? (int64_t)(0 - value) : (int64_t)value;
	return 0;
}

static enum job_error
pack_int(struct packing *p, const struct param *param, unsigned index, const struct value *v)
{
	int64_t integer = 0;
	int r = 0;

	if (v->type == VALUE_INT)
		integer = v->integer;
	else if (v->type == VALUE_BIG)
		r = -ERANGE;
	else if (v->type == VALUE_TEXT)
		r = parse_integer(v->text, v->length, &integer);
	else
		r = -EINVAL;
	if (r == -EINVAL)
		return refuse_value(p, ERR_BAD_TYPE, param, v);
	if (r == -ERANGE || integer < param->low || integer > param->high)
		return refuse_value(p, ERR_OUT_OF_RANGE, param, v);
	set_word(p->out, index, (uint64_t)integer);
	return ERR_NONE;
}

/* Decimal text as a double, exactly as long as given.  0 or -EINVAL. */
static int
parse_real(const char *text, uint32_t length, double *ret)
{
	char copy[64], *end;

	if (length == 0 || length >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, length);
	copy[length] = '\0';
	/* strtod() would also take blanks, names and hexadecimal. */
	if (strspn(copy, "0123456789+-.eE") != length)
		return -EINVAL;
	*ret = strtod(copy, &end);
	return *end == '\0' ? 0 : -EINVAL;
}

static enum job_error
pack_real(struct packing *p, const struct param *param, unsigned index, const struct value *v)
{
	double number = 0;
	uint64_t bits;

	if (v->type == VALUE_FLOAT)
		number = v->number;
	else if (v->type == VALUE_INT)
		number = (double)v->integer;
	else if (v->type == VALUE_BIG)
		number = (double)v->big;
	else if (v->type != VALUE_TEXT || parse_real(v->text, v->length, &number) < 0)
		return refuse_value(p, ERR_BAD_TYPE, param, v);
	/* Written so that what is no number is outside. */
	if (!(number >= (double)param->low && number <= (double)param->high))
		return refuse_value(p, ERR_OUT_OF_RANGE, param, v);
	memcpy(&bits, &number, sizeof(bits));
	set_word(p->out, index, bits);
	return ERR_NONE;
}

static enum job_error
pack_enum(struct packing *p, const struct param *param, unsigned index, const struct value *v)
{
	char space[CHOICES_MAX][CHOICE_MAX], shown[128], given[CHOICE_MAX], expected[EXPECTED_MAX];
	const char *names[CHOICES_MAX];

	if (v->type != VALUE_TEXT)
		return refuse_value(p, ERR_BAD_TYPE, param, v);
	size_t count = split_choices(param->choices, space, names);
	for (size_t i = 0; i < count; i++) {
		if (strlen(names[i]) == v->length && memcmp(names[i], v->text, v->length) == 0) {
			set_word(p->out, index, i);
			return ERR_NONE;
		}
	}
	snprintf(given, sizeof(given), "%.*s", (int)v->length, v->text);
	const char *near = nearest_name(given, names, count);
	if (near == NULL)
		return refuse_value(p, ERR_OUT_OF_RANGE, param, v);
	value_print(v, shown, sizeof(shown));
	print_expected(param, expected, sizeof(expected));
	return refuse(p, ERR_OUT_OF_RANGE, "%s must be %s, got %s; did you mean \"%s\"?",
		      param->name, expected, shown, near);
}

static bool
text_is(const struct value *v, const char *text)
{
	return v->type == VALUE_TEXT && v->length == strlen(text) &&
	       memcmp(v->text, text, v->length) == 0;
}

static enum job_error
pack_flag(struct packing *p, const struct param *param, unsigned index, const struct value *v)
{
	if ((v->type == VALUE_BOOL && v->boolean) || text_is(v, "true"))
		set_word(p->out, index, 1);
	else if (v->type == VALUE_BOOL || text_is(v, "false"))
		set_word(p->out, index, 0);
	else
		return refuse_value(p, ERR_BAD_TYPE, param, v);
	return ERR_NONE;
}

static enum job_error
pack_text(struct packing *p, const struct param *param, unsigned index, const struct value *v)
{
	if (v->type != VALUE_TEXT)
		return refuse_value(p, ERR_BAD_TYPE, param, v);
	if (v->length < param->low || v->length > param->high ||
	    memchr(v->text, '\0', v->length) != NULL ||
	    (param->type == PARAM_PATH && (v->length == 0 || v->text[0] != '/')))
		return refuse_value(p, ERR_OUT_OF_RANGE, param, v);
	uint32_t offset = p->out->length;
	if (!append(p->out, v->text, v->length))
		return refuse(p, ERR_INTERNAL, "no memory for %s", param->name);
	set_word(p->out, index, (uint64_t)offset << 32 | v->length);
	return ERR_NONE;
}

static enum job_error
pack_list(struct packing *p, const struct param *param, unsigned index, const struct value *v,
	  struct unpacker *u)
{
	if (v->type != VALUE_LIST)
		return refuse_value(p, ERR_BAD_TYPE, param, v);
	if (v->count < param->low || v->count > param->high)
		return refuse_value(p, ERR_OUT_OF_RANGE, param, v);
	uint32_t offset = p->out->length;
	for (uint32_t i = 0; i < v->count; i++) {
		struct value entry;
		if (unpack_next(u, &entry) < 0)
			return refuse(p, ERR_BAD_REQUEST, "the parameters end inside %s",
				      param->name);
		if (entry.type != VALUE_TEXT)
			return refuse_value(p, ERR_BAD_TYPE, param, &entry);
		if (memchr(entry.text, '\0', entry.length) != NULL)
			return refuse_value(p, ERR_OUT_OF_RANGE, param, &entry);
		if (!append(p->out, entry.text, entry.length))
			return refuse(p, ERR_INTERNAL, "no memory for %s", param->name);
	}
	set_word(p->out, index, (uint64_t)offset << 32 | v->count);
	return ERR_NONE;
}

static enum job_error
pack_value(struct packing *p, unsigned index, const struct value *v, struct unpacker *u)
{
	const struct param *param = &p->kind->params[index];

	switch (param->type) {
	case PARAM_INT:
		return pack_int(p, param, index, v);
	case PARAM_ENUM:
		return pack_enum(p, param, index, v);
	case PARAM_FLAG:
		return pack_flag(p, param, index, v);
	case PARAM_TEXT:
	case PARAM_PATH:
		return pack_text(p, param, index, v);
	case PARAM_LIST:
		return pack_list(p, param, index, v, u);
	case PARAM_REAL:
		return pack_real(p, param, index, v);
	case PARAM_END:
		break;
	}
	return refuse(p, ERR_INTERNAL, "%s is declared without a type", param->name);
}

static enum job_error
pack_default(struct packing *p, unsigned index)
{
	const struct param *param = &p->kind->params[index];
	char expected[EXPECTED_MAX];

	if (param->fallback == NULL) {
		print_expected(param, expected, sizeof(expected));
		return refuse(p, ERR_MISSING_PARAM, "%s needs %s: %s", p->kind->name, param->name,
			      expected);
	}
	struct value v = { .type = VALUE_TEXT,
			   .text = param->fallback,
			   .length = (uint32_t)strlen(param->fallback) };
	if (param->type == PARAM_LIST) /* its only default is the empty one */
		v = (struct value){ .type = VALUE_LIST, .count = 0 };
	return pack_value(p, index, &v, NULL);
}

/* ---- the map ---- */

static enum job_error
refuse_name(struct packing *p, const struct value *name)
{
	const char *names[PARAMS_MAX];
	char given[64], shown[128], list[256] = "";
	unsigned count = kind_param_count(p->kind);
	size_t used = 0;

	value_print(name, shown, sizeof(shown));
	if (count == 0)
		return refuse(p, ERR_UNKNOWN_PARAM, "%s takes no parameters, got %s", p->kind->name,
			      shown);
	for (unsigned i = 0; i < count; i++) {
		names[i] = p->kind->params[i].name;
		if (used < sizeof(list))
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
						 i > 0 ? ", " : "", names[i]);
	}
	snprintf(given, sizeof(given), "%.*s", (int)name->length, name->text);
	const char *near = nearest_name(given, names, count);
	if (near != NULL)
		return refuse(p, ERR_UNKNOWN_PARAM, "%s has no parameter %s; did you mean \"%s\"?",
			      p->kind->name, shown, near);
	return refuse(p, ERR_UNKNOWN_PARAM, "%s has no parameter %s; it takes %s", p->kind->name,
		      shown, list);
}

static enum job_error
find_name(struct packing *p, const struct value *name, unsigned *ret)
{
	if (name->type != VALUE_TEXT) {
		char shown[128];
		value_print(name, shown, sizeof(shown));
		return refuse(p, ERR_BAD_REQUEST, "a parameter's name must be text, got %s", shown);
	}
	for (unsigned i = 0; p->kind->params[i].type != PARAM_END; i++) {
		if (text_is(name, p->kind->params[i].name)) {
			*ret = i;
			return ERR_NONE;
		}
	}
	return refuse_name(p, name);
}

static enum job_error
pack_map(struct packing *p, struct unpacker *u, unsigned *given)
{
	struct value map, name, v;

	if (unpack_next(u, &map) < 0 || map.type != VALUE_MAP)
		return refuse(p, ERR_BAD_REQUEST, "the parameters are not a msgpack map");
	for (uint32_t i = 0; i < map.count; i++) {
		unsigned index = 0;
		if (unpack_next(u, &name) < 0)
			return refuse(p, ERR_BAD_REQUEST, "the parameters end inside a name");
		enum job_error error = find_name(p, &name, &index);
		if (error != ERR_NONE)
			return error;
		const char *called = p->kind->params[index].name;
		if ((*given & 1u << index) != 0)
			return refuse(p, ERR_BAD_REQUEST, "%s is given twice", called);
		*given |= 1u << index;
		if (unpack_next(u, &v) < 0)
			return refuse(p, ERR_BAD_REQUEST, "the parameters end inside %s", called);
		error = pack_value(p, index, &v, u);
		if (error != ERR_NONE)
			return error;
	}
	if (u->at != u->end)
		return refuse(p, ERR_BAD_REQUEST, "%zu bytes follow the map of parameters",
			      (size_t)(u->end - u->at));
	return ERR_NONE;
}

enum job_error
args_pack(const struct kind *kind, const void *map, size_t length, struct args_buffer *out,
	  char *why, size_t why_size)
{
	struct packing p = { .kind = kind, .out = out, .why = why, .why_size = why_size };
	struct unpacker u = { .at = map, .end = (const unsigned char *)map + length };
	unsigned count = kind_param_count(kind);
	unsigned given = 0;

	out->length = 0;
	if (!make_room(out, 8 * count))
		return refuse(&p, ERR_INTERNAL, "no memory for the parameters");
	out->length = 8 * count;
	if (length > 1 || (length == 1 && *u.at != EMPTY_MAP)) {
		enum job_error error = pack_map(&p, &u, &given);
		if (error != ERR_NONE)
			return error;
	}
	for (unsigned i = 0; i < count; i++) {
		if ((given & 1u << i) != 0)
			continue;
		enum job_error error = pack_default(&p, i);
		if (error != ERR_NONE)
			return error;
	}
	return ERR_NONE;
}

/* ---- reading ---- */

static uint64_t
word_at(const void *packed, unsigned index)
{
	uint64_t word;

	memcpy(&word, (const unsigned char *)packed + 8 * (size_t)index, sizeof(word));
	return word;
}

int64_t
args_int(const void *packed, unsigned index)
{
	return (int64_t)word_at(packed, index);
}

double
args_real(const void *packed, unsigned index)
{
	uint64_t word = word_at(packed, index);
	double number;

	memcpy(&number, &word, sizeof(number));
	return number;
}

const char *
args_text(const void *packed, unsigned index, uint32_t *ret_length)
{
	uint64_t word = word_at(packed, index);

	if (ret_length != NULL)
		*ret_length = (uint32_t)word;
	return (const char *)packed + (word >> 32);
}

const char *
args_list(const void *packed, unsigned index, uint32_t *ret_count)
{
	return args_text(packed, index, ret_count);
}

static void
print_one(const struct param *param, unsigned index, const void *packed, char *buffer, size_t size)
{
	char space[CHOICES_MAX][CHOICE_MAX];
	const char *names[CHOICES_MAX], *text;
	uint32_t count;
	size_t used = 0;

	switch (param->type) {
	case PARAM_INT:
		snprintf(buffer, size, "%" PRId64, args_int(packed, index));
		break;
	case PARAM_REAL:
		snprintf(buffer, size, "%.15g", args_real(packed, index));
		break;
	case PARAM_ENUM:
		split_choices(param->choices, space, names);
		snprintf(buffer, size, "%s", names[args_int(packed, index)]);
		break;
	case PARAM_FLAG:
		snprintf(buffer, size, "%s", args_int(packed, index) != 0 ? "true" : "false");
		break;
	case PARAM_TEXT:
	case PARAM_PATH:
		snprintf(buffer, size, "%s", args_text(packed, index, NULL));
		break;
	case PARAM_LIST:
		text = args_list(packed, index, &count);
		buffer[0] = '\0';
		for (uint32_t i = 0; i < count && used < size; i++, text += strlen(text) + 1)
			used += (size_t)snprintf(buffer + used, size - used, "%s%s",
						 i > 0 ? " " : "", text);
		break;
	case PARAM_END:
		buffer[0] = '\0';
		break;
	}
}

void
args_print(const struct kind *kind, const void *packed, char *buffer, size_t size)
{
	size_t used = 0;

	if (size == 0)
		return;
	buffer[0] = '\0';
	for (unsigned i = 0; kind->params[i].type != PARAM_END && used + 1 < size; i++) {
		used += (size_t)snprintf(buffer + used, size - used, "%s%s=", i > 0 ? " " : "",
					 kind->params[i].name);
		if (used >= size)
			break;
		print_one(&kind->params[i], i, packed, buffer + used, size - used);
		used += strlen(buffer + used);
	}
	for (size_t i = 0; buffer[i] != '\0'; i++)
		if ((unsigned char)buffer[i] < ' ' || buffer[i] == 0x7f)
			buffer[i] = '?';
}
