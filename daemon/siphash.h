/*
 * siphash.h - SipHash-2-4 with 128 bits: a hash that nobody who does not know its key can make
 * collide (J.-P. Aumasson and D. Bernstein, 2012).
 */
#ifndef PYPREP_DAEMON_SIPHASH_H
#define PYPREP_DAEMON_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct digest {
	uint64_t half[2];
};

struct digest siphash(const uint64_t key[2], const void *bytes, size_t length);

#endif
