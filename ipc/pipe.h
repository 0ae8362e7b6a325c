/*
 * pipe.h - a duplex, framed pipe between two processes, as multiprocessing.Pipe is one.
 *
 * A frame is 0 to frame_max bytes and up to PIPE_FDS_MAX descriptors.  It arrives whole or
 * not at all, in the order sent.
 *
 * Under it lies a SOCK_SEQPACKET pair.  A frame of up to PIPE_WHOLE_MAX bytes is one packet:
 * one system call to send, one to take.  A larger one is a train of packets, each saying where
 * in the frame it lies.  The kernel passes packets whole, so a sender killed at any instruction
 * leaves whole packets: a frame that was begun and not ended is dropped by the reader when the
 * end of file, or the first packet of another frame, comes behind it.  So even a successor that
 * goes on with a dead sender's descriptor cannot cause a torn frame.  Measured against it, 8 MiB
 * from process to process: trains 4.8 GB/s, a stream socket 5.3, a memfd for each frame 2.1 (its
 * pages have to be made first); a larger SO_SNDBUF changed nothing.
 *
 * No deadlock when both sides send large frames at once: while pipe_send() waits for room it
 * takes in what arrives and holds it for pipe_recv().  It holds up to `held_max` bytes (and one
 * frame more); beyond, it only waits for room.  The other side, waiting too, takes in on its
 * own account.  Only when both hold that much and still only send do both wait for ever, or
 * until their timeouts.
 *
 * Waiting is that of wake.h: 50 looks with yields between them, then poll(2).
 *
 * Blocking use: pipe_send, pipe_recv, pipe_recv_new, pipe_poll.
 * In an event loop: watch pipe_fd() for reading, and call pipe_try_recv() until -EAGAIN; those
 * calls never wait.  pipe_try_send() keeps of a large frame what the socket did not take: while
 * pipe_unsent() is not 0, watch for writing as well and call pipe_flush().
 *
 * End of file: when every descriptor of the other end is closed, by pipe_close() or death, what
 * was sent is still received, then -EPIPE.  A forked child must close the end it was not given,
 * or it hides that.
 *
 * One thread at a time may use an end, and it must not be moved: it points into itself.
 * Functions return 0 or -errno and leave outputs untouched on failure; nothing here logs.
 */
#ifndef PYPREP_IPC_PIPE_H
#define PYPREP_IPC_PIPE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PIPE_WHOLE_MAX (160u * 1024) /* a frame of up to so many bytes is one packet */
#define PIPE_FRAME_MAX (1u << 30)    /* the default of frame_max, and its most */
#define PIPE_HELD_MAX  (256u << 20)  /* the default of held_max */
#define PIPE_FDS_MAX   16u

/* What one end has done.  It alone writes; anybody may read.  May lie in shared memory: see
 * pipe_count_in(). */
struct pipe_counters {
	_Atomic uint64_t messages_out, bytes_out; /* frames sent whole; bytes without heads */
	_Atomic uint64_t messages_in, bytes_in;   /* frames given to the caller */
	_Atomic uint64_t high_bytes;              /* most bytes ever sent and not yet taken; 0 when
						     the other end's counters are not known */
	_Atomic uint64_t created_ns;              /* CLOCK_MONOTONIC */
};

/* Descriptors beside a frame. */
struct pipe_fds {
	int fd[PIPE_FDS_MAX];
	unsigned count;
};

struct pipe_held;

/* One end.  Fields are the implementation's; the two limits may be changed after attaching. */
struct pipe_end {
	int fd;
	bool ended;       /* the other side is gone, and all it sent has been taken in */
	size_t frame_max; /* longest frame to send or take */
	size_t held_max;
	struct pipe_held *held, **held_last; /* whole frames, taken in and not yet received */
	size_t held_bytes;
	struct pipe_held *partial; /* the frame under way; NULL: none */
	unsigned char *spill;      /* what of a packet does not fit the caller's buffer */
	bool scatters;             /* the next packet may be large, or have descriptors */
	unsigned char *unsent;     /* rest of a frame that pipe_try_send() took */
	size_t unsent_bytes, unsent_at, unsent_total; /* length, done, of the whole frame */
	struct pipe_counters *counters;               /* `own`, or somebody's memory */
	const struct pipe_counters *others;           /* the other end's, or NULL */
	void *shared;                                 /* pipe_create()'s: counters of both */
	struct pipe_counters own;
};

/* Both ends, before a fork: each process closes the one it does not use, by pipe_close().  The
 * counters of both lie in memory that a fork shares.  On failure both are closed. */
int pipe_create(struct pipe_end *ret_a, struct pipe_end *ret_b);

/* The same as descriptors (close-on-exec), to be passed on and attached elsewhere. */
int pipe_pair(int ret_fds[2]);

/* Make an end of such a descriptor, which it owns from now on (not on failure). */
int pipe_attach(struct pipe_end *ret, int fd);

/* Count in `mine` instead (kept as it is when its created_ns is not 0: a successor goes on), and
 * read the other end's in `others`, which may be NULL.  Both stay the caller's. */
void pipe_count_in(struct pipe_end *p, struct pipe_counters *mine,
		   const struct pipe_counters *others);

/* Closes the descriptor and frees what is held; descriptors held with frames are closed. */
void pipe_close(struct pipe_end *p);

/* To watch in an event loop: readable when there is something for pipe_try_recv(), or the end. */
static inline int
pipe_fd(const struct pipe_end *p)
{
	return p->fd;
}

/* ---- blocking; timeout_ms -1: for ever ----
 *
 * -ETIMEDOUT; -EPIPE: the other side is gone; -EMSGSIZE: above frame_max; -EINTR: a signal came
 * while asleep; -EPROTO: the other side sent what no pipe sends, or a frame above our frame_max,
 * which is dropped.  A send that fails has sent nothing: what was begun the reader drops. */
int pipe_send(struct pipe_end *p, const void *data, size_t bytes, int timeout_ms);

/* The same with descriptors beside the frame; they stay the caller's, too. */
int pipe_send_fds(struct pipe_end *p, const void *data, size_t bytes, const int *fds,
		  unsigned count, int timeout_ms);

/* The next frame into `buffer`.  -EMSGSIZE: it is longer than `room`; it stays the next one, and
 * pipe_next_bytes() says its length.  Descriptors that came with it are closed. */
int pipe_recv(struct pipe_end *p, void *buffer, size_t room, size_t *ret_bytes, int timeout_ms);

/* The same, with the descriptors (close-on-exec), which are then the caller's. */
int pipe_recv_fds(struct pipe_end *p, void *buffer, size_t room, size_t *ret_bytes,
		  struct pipe_fds *ret_fds, int timeout_ms);

/* The next frame in memory of its own, to be freed by free(); -EMSGSIZE as above. */
int pipe_recv_new(struct pipe_end *p, size_t limit, void **ret, size_t *ret_bytes, int timeout_ms);

/* Is there a whole frame, or the end?  1 then, 0 when the time is over, or -errno.  What arrives
 * meanwhile is held. */
int pipe_poll(struct pipe_end *p, int timeout_ms);

/* Length of the frame that pipe_poll() or -EMSGSIZE was about; 0 when none is held. */
size_t pipe_next_bytes(const struct pipe_end *p);

/* ---- never waiting ---- */

/* Send all of it, or nothing: -EAGAIN when the socket is full or pipe_unsent() is not 0.  Of a
 * frame above PIPE_WHOLE_MAX a copy of the rest may be kept: then 0, and pipe_unsent() says how
 * much is left to pipe_flush().  Smaller frames are sent whole at once. */
int pipe_try_send(struct pipe_end *p, const void *data, size_t bytes);

/* The next whole frame, or -EAGAIN. */
int pipe_try_recv(struct pipe_end *p, void *buffer, size_t room, size_t *ret_bytes);

/* Send more of what is kept: 0 when all is sent, -EAGAIN when not. */
int pipe_flush(struct pipe_end *p);

static inline size_t
pipe_unsent(const struct pipe_end *p)
{
	return p->unsent_bytes - p->unsent_at;
}

/* Bytes this end has sent and the other has not yet taken; 0 when that is not known. */
uint64_t pipe_depth_bytes(const struct pipe_end *p);

#endif
