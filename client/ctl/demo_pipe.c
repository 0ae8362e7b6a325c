/* demo_pipe.c - demo pipe: there and back, both ways at once, a descriptor, and an end. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/ctl/demo.h"
#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "client/ctl/stats.h"
#include "client/ctl/units.h"
#include "ipc/clock.h"
#include "ipc/pipe.h"

#define LARGE    (32u << 20)
#define STREAM   (1u << 20)
#define PATIENCE 60000 /* ms */
#define STALL_MS 500

/* A pair, and what an actor has to know; it inherits all of it. */
struct pair {
	struct pipe_end ours, theirs;
	int sockets[2]; /* the same without pipe.h */
	char *large;
};

static int
open_pair(struct demo *demo, struct pair *pair)
{
	int r = pipe_create(&pair->ours, &pair->theirs);
	return r < 0 ? demo_fail(demo, "cannot make a pipe: %s", strerror(-r)) : 0;
}

/* Fork the other side; a pipe's end is hidden by whoever has a copy of it open. */
static pid_t
other_side(struct demo *demo, int (*act)(void *), struct pair *pair)
{
	pid_t pid = demo_actor(demo, act, pair);
	pipe_close(&pair->theirs);
	return pid;
}

/* ---- there and back ---- */

static int
send_back(void *context)
{
	struct pair *pair = context;
	char buffer[64];
	size_t bytes;

	pipe_close(&pair->ours);
	while (pipe_recv(&pair->theirs, buffer, sizeof buffer, &bytes, -1) == 0)
		if (pipe_send(&pair->theirs, buffer, bytes, -1) < 0)
			break;
	return 0;
}

static int
measure_trips(struct pair *pair, unsigned count, struct samples *ret)
{
	char frame[64] = "there and back", back[64];
	size_t bytes;
	int r = 0;

	for (unsigned i = 0; i < count && r == 0; i++) {
		uint64_t begun = clock_now();
		r = pipe_send(&pair->ours, frame, sizeof frame, PATIENCE);
		if (r == 0)
			r = pipe_recv(&pair->ours, back, sizeof back, &bytes, PATIENCE);
		samples_add(ret, clock_now() - begun);
	}
	return r;
}

static int
tell_trips(struct demo *demo)
{
	struct samples trips = { 0 };
	struct pair pair;

	demo_chapter(demo, "There and back");
	if (open_pair(demo, &pair) < 0)
		return -1;
	pid_t other = other_side(demo, send_back, &pair);
	int r = measure_trips(&pair, demo_quick(demo) ? 2000 : 20000, &trips);
	pipe_close(&pair.ours);
	bool ended = demo_wait(demo, other, PATIENCE) == 0;
	if (r < 0 || !ended)
		return demo_fail(demo, "round trips: %s", r < 0 ? strerror(-r) : "no end");
	double p50 = (double)samples_percentile(&trips, 50);
	demo_say(demo, "Two processes, %s frames of 64 bytes each way, one in flight: p50 %s.",
		 unit_count(trips.count).text, unit_time_human((uint64_t)p50).text);
	demo_say(demo, "We closed our end; the other side saw the end of file and left.");
	demo_figure(demo, "round_trip_p50_ns", p50, "ns", "round trip of 64 bytes, p50");
	demo_figure(demo, "round_trip_p99_ns", (double)samples_percentile(&trips, 99), "ns",
		    "round trip of 64 bytes, p99");
	samples_free(&trips);
	return 0;
}

/* ---- both ways at once ---- */

static int
send_then_take(struct pipe_end *end, char *large)
{
	void *frame;
	size_t bytes;

	if (pipe_send(end, large, LARGE, PATIENCE) < 0 ||
	    pipe_recv_new(end, LARGE, &frame, &bytes, PATIENCE) < 0)
		return 1;
	return bytes == LARGE && memcmp(frame, large, LARGE) == 0 ? 0 : 2;
}

static int
large_by_pipe(void *context)
{
	struct pair *pair = context;

	pipe_close(&pair->ours);
	return send_then_take(&pair->theirs, pair->large);
}

/* All of it by write(2), then all by read(2), as one writes it the first time. */
static int
by_socket(int fd, char *large)
{
	size_t done;
	ssize_t n = 1;

	for (done = 0; done < LARGE && n > 0; done += n > 0 ? (size_t)n : 0)
		n = send(fd, large + done, LARGE - done, MSG_NOSIGNAL);
	for (done = 0; done < LARGE && n > 0; done += n > 0 ? (size_t)n : 0)
		n = recv(fd, large + done, LARGE - done, 0);
	return n > 0 ? 0 : 1;
}

static int
large_by_first_socket(void *context)
{
	return by_socket(((struct pair *)context)->sockets[0], ((struct pair *)context)->large);
}

static int
large_by_second_socket(void *context)
{
	return by_socket(((struct pair *)context)->sockets[1], ((struct pair *)context)->large);
}

static int
tell_stall(struct demo *demo, struct pair *pair)
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair->sockets) < 0)
		return demo_fail(demo, "socketpair: %s", strerror(errno));
	pid_t one = demo_actor(demo, large_by_first_socket, pair);
	pid_t two = demo_actor(demo, large_by_second_socket, pair);
	bool stalls = demo_wait(demo, one, STALL_MS) == -ETIMEDOUT &&
		      demo_wait(demo, two, 1) == -ETIMEDOUT;
	demo_say(demo, "A socket, both sides first write 32 MiB, then read: %s",
		 stalls ? "after 0.5 s both still wait for room.  Killed."
			: "they got through this time.");
	if (stalls) {
		demo_kill(demo, one);
		demo_kill(demo, two);
	}
	close(pair->sockets[0]);
	close(pair->sockets[1]);
	return 0;
}

static int
tell_both_ways(struct demo *demo, struct pair *pair)
{
	demo_chapter(demo, "Both sides send 32 MiB at once");
	if (tell_stall(demo, pair) < 0 || open_pair(demo, pair) < 0)
		return -1;
	uint64_t begun = clock_now();
	pid_t other = other_side(demo, large_by_pipe, pair);
	int r = send_then_take(&pair->ours, pair->large);
	int end = demo_wait(demo, other, PATIENCE);
	double seconds = (double)(clock_now() - begun) / NS_PER_S;
	pipe_close(&pair->ours);
	demo_say(demo,
		 "The pipe: who waits for room takes in what arrives.  Both are through after "
		 "%s.",
		 unit_time_human((uint64_t)(seconds * NS_PER_S)).text);
	demo_check(demo, r == 0 && end == 0,
		   "both sides sent a large frame at once, and both got the other's whole");
	demo_figure(demo, "both_ways_bytes_per_s", 2.0 * LARGE / seconds, "bytes",
		    "bytes a second, both ways at once");
	return 0;
}

/* ---- a descriptor ---- */

static int
write_where_told(void *context)
{
	struct pair *pair = context;
	struct pipe_fds fds;
	char text[64];
	size_t bytes;

	pipe_close(&pair->ours);
	if (pipe_recv_fds(&pair->theirs, text, sizeof text, &bytes, &fds, PATIENCE) < 0 ||
	    fds.count != 1)
		return 1;
	return write(fds.fd[0], text, bytes) == (ssize_t)bytes ? 0 : 2;
}

static int
tell_descriptor(struct demo *demo, struct pair *pair)
{
	static const char words[] = "written by the other side";
	char text[64] = "";
	int fds[2];

	demo_chapter(demo, "A descriptor travels with a frame");
	if (pipe(fds) < 0)
		return demo_fail(demo, "pipe: %s", strerror(errno));
	if (open_pair(demo, pair) < 0)
		return -1;
	pid_t other = other_side(demo, write_where_told, pair);
	int r = pipe_send_fds(&pair->ours, words, sizeof words, &fds[1], 1, PATIENCE);
	close(fds[1]);
	int end = demo_wait(demo, other, PATIENCE);
	ssize_t n = end == 0 ? read(fds[0], text, sizeof text - 1) : 0;
	close(fds[0]);
	pipe_close(&pair->ours);
	demo_say(demo, "We opened a file, passed it, closed ours; through it we read \"%s\".",
		 text);
	demo_check(demo, r == 0 && n == (ssize_t)sizeof words && strcmp(text, words) == 0,
		   "the other side wrote through a descriptor that came with a frame");
	return 0;
}

/* ---- the end ---- */

static int
stream_frames(void *context)
{
	struct pair *pair = context;
	uint64_t *frame = ctl_alloc(1, STREAM);

	pipe_close(&pair->ours);
	for (uint64_t number = 1;; number++) {
		for (size_t i = 0; i < STREAM / sizeof *frame; i++)
			frame[i] = number;
		if (pipe_send(&pair->theirs, frame, STREAM, -1) < 0)
			return 1;
	}
}

/* 1 when it is whole and the next one. */
static bool
is_whole(const uint64_t *frame, size_t bytes, uint64_t number)
{
	if (bytes != STREAM)
		return false;
	for (size_t i = 0; i < STREAM / sizeof *frame; i++)
		if (frame[i] != number)
			return false;
	return true;
}

static int
tell_end(struct demo *demo, struct pair *pair)
{
	unsigned before = demo_quick(demo) ? 20 : 200, torn = 0;
	uint64_t number = 0, killed = 0, *frame = ctl_alloc(1, STREAM);
	size_t bytes;
	int r;

	demo_chapter(demo, "The other side is killed while it sends");
	if (open_pair(demo, pair) < 0)
		return -1;
	pid_t other = other_side(demo, stream_frames, pair);
	for (;;) {
		if (number == before && killed == 0) {
			killed = clock_now();
			kill(other, SIGKILL);
		}
		r = pipe_recv(&pair->ours, frame, STREAM, &bytes, PATIENCE);
		if (r < 0)
			break;
		torn += !is_whole(frame, bytes, ++number);
		demo_live(demo, "frame %" PRIu64, number);
	}
	double took = (double)(clock_now() - killed);
	demo_kill(demo, other);
	pipe_close(&pair->ours);
	free(frame);
	demo_say(demo,
		 "Frames of 1 MiB came; after %u, kill -9.  %" PRIu64
		 " more were whole in the pipe, "
		 "then the end of file: %s after the kill.",
		 before, number - before, unit_time_human((uint64_t)took).text);
	demo_check(demo, r == -EPIPE && torn == 0,
		   "a peer killed in the middle of a frame is an end of file, never a torn frame");
	demo_figure(demo, "kill_to_end_ns", took, "ns", "from the kill to the end of file");
	return 0;
}

static void
tell_python(struct demo *demo)
{
	const char *trips[] = { "mode=roundtrip", "bytes=64",
				demo_quick(demo) ? "messages=2000" : "messages=10000", NULL };
	const char *end[] = { "mode=eof", NULL };
	json_t *answer = demo_python(demo, "pipe", trips);

	demo_python_figure(demo, "round_trip_p50_ns", demo_number(answer, "p50_ns"));
	demo_python_figure(demo, "round_trip_p99_ns", demo_number(answer, "p99_ns"));
	json_decref(answer);
	if (answer == NULL)
		return;
	answer = demo_python(demo, "pipe", end);
	demo_python_figure(demo, "kill_to_end_ns", demo_number(answer, "waited_s") * NS_PER_S);
	json_decref(answer);
}

static int
tell_pipe(struct demo *demo)
{
	struct pair pair = { .large = ctl_alloc(1, LARGE) };

	for (size_t i = 0; i < LARGE; i++)
		pair.large[i] = (char)(i * 7 + (i >> 16));
	int r = tell_trips(demo);
	if (r == 0)
		r = tell_both_ways(demo, &pair);
	if (r == 0)
		r = tell_descriptor(demo, &pair);
	if (r == 0)
		r = tell_end(demo, &pair);
	free(pair.large);
	if (r < 0)
		return r;
	demo_chapter(demo, "The same in CPython");
	tell_python(demo);
	return 0;
}

extern const struct demo_row demo_pipe;
const struct demo_row demo_pipe = {
	.name = "pipe",
	.summary = "a pipe: there and back, large frames both ways at once, a descriptor, an end",
	.tell = tell_pipe,
};
