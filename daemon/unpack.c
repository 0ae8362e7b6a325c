/* unpack.c - see unpack.h; the format is that of msgpack's specification, "spec.md" */
#include "daemon/unpack.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_MAX 40 /* bytes of a text that an error quotes */

/* A big-endian unsigned integer of `bytes` bytes; false when they are not there. */
static bool
take_uint(struct unpacker *u, unsigned bytes, uint64_t *ret)
{
	uint64_t value = 0;

	if ((size_t)(u->end - u->at) < bytes)
		return false;
	for (unsigned i = 0; i < bytes; i++)
		value = value << 8 | *u->at++;
	*ret = value;
	return true;
}

static int
take_bytes(struct unpacker *u, enum value_type type, uint64_t length, struct value *ret)
{
	if ((uint64_t)(u->end - u->at) < length)
		return -EPROTO;
	*ret = (struct value){
		.type = type,
		.text = (const char *)u->at,
		.length = (uint32_t)length,
	};
	u->at += length;
	return 0;
}

/* Every element takes a byte at least. */
static int
take_count(struct unpacker *u, enum value_type type, uint64_t count, struct value *ret)
{
	uint64_t least = type == VALUE_MAP ? 2 * count : count;

	if ((uint64_t)(u->end - u->at) < least)
		return -EPROTO;
	*ret = (struct value){ .type = type, .count = (uint32_t)count };
	return 0;
}

static int
take_integer(struct unpacker *u, unsigned bytes, bool is_signed, struct value *ret)
{
	uint64_t raw;

	if (!take_uint(u, bytes, &raw))
		return -EPROTO;
	if (is_signed) {
		unsigned shift = 64 - 8 * bytes; /* widen the sign */
		*ret = (struct value){ .type = VALUE_INT,
				       .integer = (int64_t)(raw << shift) >> shift };
	} else if (raw > INT64_MAX) {
		*ret = (struct value){ .type = VALUE_BIG, .big = raw };
	} else {
		*ret = (struct value){ .type = VALUE_INT, .integer = (int64_t)raw };
	}
	return 0;
}

static int
take_float(struct unpacker *u, unsigned bytes, struct value *ret)
{
	uint64_t raw;

	if (!take_uint(u, bytes, &raw))
		return -EPROTO;
	*ret = (struct value){ .type = VALUE_FLOAT };
	if (bytes == 4) {
		uint32_t narrow = (uint32_t)raw;
		float f;
		memcpy(&f, &narrow, sizeof(f));
		ret->number = (double)f;
	} else {
		memcpy(&ret->number, &raw, sizeof(raw));
	}
	return 0;
}

/* A value whose length or count stands in the next `bytes` bytes. */
static int
take_sized(struct unpacker *u, enum value_type type, unsigned bytes, struct value *ret)
{
	uint64_t size;

	if (!take_uint(u, bytes, &size))
		return -EPROTO;
	if (type == VALUE_LIST || type == VALUE_MAP)
		return take_count(u, type, size, ret);
	return take_bytes(u, type, type == VALUE_EXT ? size + 1 : size, ret);
}

/* The heads with a type of their own; what follows them says the length. */
static int
take_by_head(struct unpacker *u, unsigned head, struct value *ret)
{
	switch (head) {
	case 0xc0:
		*ret = (struct value){ .type = VALUE_NIL };
		return 0;
	case 0xc2:
	case 0xc3:
		*ret = (struct value){ .type = VALUE_BOOL, .boolean = head == 0xc3 };
		return 0;
	case 0xc4: /* bin 8, 16, 32 */
	case 0xc5:
	case 0xc6:
		return take_sized(u, VALUE_TEXT, 1u << (head - 0xc4), ret);
	case 0xc7: /* ext 8, 16, 32 */
	case 0xc8:
	case 0xc9:
		return take_sized(u, VALUE_EXT, 1u << (head - 0xc7), ret);
	case 0xca:
		return take_float(u, 4, ret);
	case 0xcb:
		return take_float(u, 8, ret);
	case 0xcc: /* uint 8 .. 64 */
	case 0xcd:
	case 0xce:
	case 0xcf:
		return take_integer(u, 1u << (head - 0xcc), false, ret);
	case 0xd0: /* int 8 .. 64 */
	case 0xd1:
	case 0xd2:
	case 0xd3:
		return take_integer(u, 1u << (head - 0xd0), true, ret);
	case 0xd4: /* fixext 1 .. 16, and a byte of type */
	case 0xd5:
	case 0xd6:
	case 0xd7:
	case 0xd8:
		return take_bytes(u, VALUE_EXT, (1u << (head - 0xd4)) + 1, ret);
	case 0xd9: /* str 8, 16, 32 */
	case 0xda:
	case 0xdb:
		return take_sized(u, VALUE_TEXT, 1u << (head - 0xd9), ret);
	case 0xdc:
	case 0xdd:
		return take_sized(u, VALUE_LIST, 2u << (head - 0xdc), ret);
	case 0xde:
	case 0xdf:
		return take_sized(u, VALUE_MAP, 2u << (head - 0xde), ret);
	default: /* 0xc1 is no msgpack */
		return -EPROTO;
	}
}

int
unpack_next(struct unpacker *u, struct value *ret)
{
	if (u->at == u->end)
		return -EPROTO;
	unsigned head = *u->at++;

	if (head <= 0x7f || head >= 0xe0) {
		*ret = (struct value){ .type = VALUE_INT, .integer = (int8_t)head };
		return 0;
	}
	if (head <= 0x8f)
		return take_count(u, VALUE_MAP, head & 0x0f, ret);
	if (head <= 0x9f)
		return take_count(u, VALUE_LIST, head & 0x0f, ret);
	if (head <= 0xbf)
		return take_bytes(u, VALUE_TEXT, head & 0x1f, ret);
	return take_by_head(u, head, ret);
}

static void
print_text(const struct value *v, char *buffer, size_t size)
{
	char shown[SHOWN_MAX + 1];
	uint32_t n = v->length < SHOWN_MAX ? v->length : SHOWN_MAX;

	for (uint32_t i = 0; i < n; i++)
		shown[i] = isprint((unsigned char)v->text[i]) ? v->text[i] : '?';
	shown[n] = '\0';
	snprintf(buffer, size, "\"%s\"%s", shown, v->length > n ? "..." : "");
}

void
value_print(const struct value *v, char *buffer, size_t size)
{
	switch (v->type) {
	case VALUE_NIL:
		snprintf(buffer, size, "nil");
		break;
	case VALUE_BOOL:
		snprintf(buffer, size, "%s", v->boolean ? "true" : "false");
		break;
	case VALUE_INT:
		snprintf(buffer, size, "%" PRId64, v->integer);
		break;
	case VALUE_BIG:
		snprintf(buffer, size, "%" PRIu64, v->big);
		break;
	case VALUE_FLOAT:
		snprintf(buffer, size, "the number %g", v->number);
		break;
	case VALUE_TEXT:
		print_text(v, buffer, size);
		break;
	case VALUE_LIST:
		snprintf(buffer, size, "a list of %u", v->count);
		break;
	case VALUE_MAP:
		snprintf(buffer, size, "a map");
		break;
	case VALUE_EXT:
		snprintf(buffer, size, "an extension value");
		break;
	}
}
