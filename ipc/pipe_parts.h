/* pipe_parts.h - what pipe.c (ends, sending, waiting) and pipe_take.c (receiving) share. */
#ifndef PYPREP_IPC_PIPE_PARTS_H
#define PYPREP_IPC_PIPE_PARTS_H

#include "ipc/pipe.h"

/* Before the bytes of each packet.  Both sides are one machine: no byte order. */
struct pipe_head {
	uint32_t total;  /* bytes of the whole frame */
	uint32_t offset; /* of this packet's bytes in it; 0: a frame begins */
};

/* The offset of an empty packet that says: the next one may have descriptors.  Only then, and
 * when frames are large, the reader uses recvmsg(). */
#define PIPE_ANNOUNCE UINT32_MAX

#define PIPE_SMALL 4096u                                       /* copying it costs less */
#define PIPE_SPILL (PIPE_WHOLE_MAX + sizeof(struct pipe_head)) /* any packet, head and all */

/* How long a call still waits, and how often it has looked. */
struct pipe_wait {
	uint64_t deadline_ns; /* 0: for ever */
	unsigned looks;
	bool never;
};

struct pipe_wait pipe_wait_begin(int timeout_ms);

/* Wait for `events` of poll(2) by the policy of wake.h: 0 to look again, -ETIMEDOUT, -EINTR. */
int pipe_wait(struct pipe_end *p, struct pipe_wait *wait, short events);

/* Take one packet in, without waiting, and hold the frame it may end.  0, -EAGAIN, -EPIPE,
 * -EPROTO, -ENOMEM. */
int pipe_take_in(struct pipe_end *p);

/* Frees all frames, also the one under way. */
void pipe_take_end(struct pipe_end *p);

#endif
