/*
 * lane.h - what one client and the broker share: a segment with two rings and two
 * sleeper flags.
 *
 *   submit ring   client -> broker: MSG_SUBMIT
 *   return ring   broker -> client: MSG_RECEIPT, MSG_OUTPUT, MSG_ITEMS
 *
 * The bell of both directions is a MSG_BELL frame on the client's control socket: one
 * descriptor tells the client of results, of replies and of the broker's end.  It is
 * not an eventfd, because a process that shares one can make the other side's read or
 * write block (F_SETFL on the shared description); a socket send with MSG_DONTWAIT cannot.
 *
 * The broker trusts nothing in this segment: it keeps its own positions, copies each
 * record before it looks at it (ring_copy), and an index that cannot be true ends
 * that client alone.  The sleeper flags can only cost a needless or a missing bell to the
 * client itself.
 */
#ifndef PYPREP_IPC_LANE_H
#define PYPREP_IPC_LANE_H

#include <stddef.h>
#include <stdint.h>

#include "ipc/wake.h"
#include "shm/ring.h"

#define LANE_BYTES_DEFAULT (256u * 1024)
#define LANE_BYTES_MIN     (256u * 1024)
#define LANE_BYTES_MAX     (4u * 1024 * 1024)
#define PAYLOAD_MAX        65536u /* parameters of one job, bytes of msgpack */

struct lane_shared {
	_Alignas(RING_LINE) struct wake broker; /* the broker sleeps on this client */
	_Alignas(RING_LINE) struct wake client;
	_Alignas(RING_LINE) unsigned char rings[];
};

enum lane_side { LANE_BROKER, LANE_CLIENT };

struct lane {
	struct lane_shared *shared;
	uint64_t capacity; /* of each ring */
	struct ring in; /* the side's consumer view */
	struct ring out; /* the side's producer view */
};

/* Bytes of a segment whose rings have `capacity`. */
size_t lane_footprint(uint64_t capacity);

/* View an already mapped segment.  -EINVAL or -EPROTO as ring_attach_*(). */
int lane_attach(struct lane *lane, void *base, uint64_t capacity, enum lane_side side);

#endif
