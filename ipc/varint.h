/*
 * varint.h - numbers in as few bytes as they need: seven bits in each, the lowest first, the eighth
 * says that more follow.  Writing counts on when there is no more room, so that a first pass with
 * no room at all tells how much is needed; reading stops at the end and says so.
 */
#ifndef PYPREP_IPC_VARINT_H
#define PYPREP_IPC_VARINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct varint_out {
	unsigned char *at;
	size_t room, length; /* `length` may be more than there was room for */
};

struct varint_in {
	const unsigned char *at, *end;
	bool failed; /* something was not there, or was no number */
};

static inline void
varint_put(struct varint_out *o, uint64_t value)
{
	do {
		unsigned char byte = (unsigned char)(value & 0x7f);
		value >>= 7;
		if (o->length < o->room)
			o->at[o->length] = value != 0 ? byte | 0x80 : byte;
		o->length++;
	} while (value != 0);
}

/* 0 when there is none; i->failed says so. */
static inline uint64_t
varint_get(struct varint_in *i)
{
	uint64_t value = 0;

	for (unsigned shift = 0; i->at < i->end; shift += 7) {
		unsigned char byte = *i->at++;
		if (shift == 63 && byte > 1)
			break;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return value;
	}
	i->failed = true;
	i->at = i->end;
	return 0;
}

#endif
