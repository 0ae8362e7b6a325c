/* siphash.c - see siphash.h */
#include "daemon/siphash.h"

#include <string.h>

struct state {
	uint64_t v0, v1, v2, v3;
};

static uint64_t
rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static void
rounds(struct state *s, unsigned count)
{
	while (count-- > 0) {
		s->v0 += s->v1;
		s->v1 = rotate(s->v1, 13) ^ s->v0;
		s->v0 = rotate(s->v0, 32);
		s->v2 += s->v3;
		s->v3 = rotate(s->v3, 16) ^ s->v2;
		s->v0 += s->v3;
		s->v3 = rotate(s->v3, 21) ^ s->v0;
		s->v2 += s->v1;
		s->v1 = rotate(s->v1, 17) ^ s->v2;
		s->v2 = rotate(s->v2, 32);
	}
}

static void
take(struct state *s, uint64_t word)
{
	s->v3 ^= word;
	rounds(s, 2);
	s->v0 ^= word;
}

struct digest
siphash(const uint64_t key[2], const void *bytes, size_t length)
{
	const unsigned char *at = bytes;
	uint64_t word, last = (uint64_t)length << 56;
	struct digest d;
	struct state s = {
		.v0 = key[0] ^ 0x736f6d6570736575u,
		.v1 = key[1] ^ 0x646f72616e646f6du ^ 0xee,
		.v2 = key[0] ^ 0x6c7967656e657261u,
		.v3 = key[1] ^ 0x7465646279746573u,
	};

	for (size_t left = length; left >= sizeof(word); left -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		take(&s, word);
		at += sizeof(word);
	}
	for (size_t i = 0; i < length % sizeof(word); i++)
		last |= (uint64_t)at[i] << 8 * i;
	take(&s, last);
	s.v2 ^= 0xee;
	rounds(&s, 4);
	d.half[0] = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
	s.v1 ^= 0xdd;
	rounds(&s, 4);
	d.half[1] = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
	return d;
}
